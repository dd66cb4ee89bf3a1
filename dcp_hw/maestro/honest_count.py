"""All traffic of the honest model in closed form (compiled).

Every count is `all tiles - sum over loops p of what the step changes of p leave in place`, and both
factorise over the dimensions; docs/honest-model.md derives it. `view` is the level whose loops
replace a tensor's tile (-1: none), `at` the innermost level whose units are counted one by one.
"""

from __future__ import annotations

from numba import njit

from dcp_hw.maestro.honest_axis import COMPILED, quotient, span
from dcp_hw.maestro.honest_input import Pairs, axis_table, make_pairs
from dcp_hw.maestro.honest_plan import (
    BOTH_IN,
    BOTH_OUT,
    CLASS_COUNT,
    CLASS_SIZE,
    CLASSES,
    HOLDING,
    INNER_AT,
    INNER_IN,
    KEY,
    LAYER,
    LISTED,
    MASK,
    ORDER,
    OUTER_AT,
    PARALLEL,
    RANGES,
    ROUND,
    ROUNDS,
    SINGLE,
    SIZE,
    SPLITS,
    STARTS,
    STRIDE,
    TABLE,
    TILE,
    UNIT,
    VIEW,
    Integers,
    Plan,
)
from dcp_hw.maestro.honest_whole import whole_table

# Columns of a row of counts.
MACS, SUMS_READ, L2_REQUIRED, SHARED_REQUIRED, REQUIRED, BUFFERS = 0, 1, 2, 3, 4, 7
BOUNDARY, BOUNDARY_COLUMNS = 10, 8  # each: supplied x 3, taken x 3, drained, collected
COUNT_COLUMNS = BOUNDARY + 4 * BOUNDARY_COLUMNS


@njit(**COMPILED)
def _units(w: Plan, d: int, level: int, at: int, size: int) -> tuple[int, int]:
    """Units of a level along d that work on a range, and the share of the last; 1 beyond `at`."""
    if level > at:
        return 1, size
    tile = w[TILE + level, d]
    if w[UNIT + level, PARALLEL] != d:
        return 1, min(tile, size)
    first = min(size, w[ROUND + level, d])
    number = quotient(first + tile - 1, tile)
    return number, first - (number - 1) * tile


@njit(**COMPILED)
def _paths(w: Plan, d: int, level: int, at: int, size: int) -> int:
    """Units of levels `level` to `at`, three at most, that work on some part of a range."""
    total = 0
    number, last = _units(w, d, level, at, size)
    for i in range(2):  # all units but the last, then the last
        outer = 1 if i else number - 1
        if outer == 0:
            continue
        middle, rest = _units(w, d, level + 1, at, last if i else w[TILE + level, d])
        for j in range(2):
            inner = 1 if j else middle - 1
            if inner:
                part = rest if j else w[TILE + level + 1, d]
                total += outer * inner * _units(w, d, level + 2, at, part)[0]
    return total


@njit(**COMPILED)
def _uncoupled(w: Plan, d: int, view: int, at: int) -> tuple[int, int]:
    """Steps of all unit paths along d, and paths, for a tensor that d does not select."""
    if at < view:
        return w[ROUNDS + view, d], w[RANGES + view, d]
    splits = w[SPLITS, d] >> (view + 1) & ((1 << (at - view)) - 1)
    if splits:
        return _split(w, d, view, at, splits)
    if view < 0:
        return 1, 1
    return w[RANGES + view + 1, d], w[STARTS + view, d]


@njit(**COMPILED)
def _split(w: Plan, d: int, view: int, at: int, splits: int) -> tuple[int, int]:
    """As `_uncoupled`, where units of levels after the view share d (bit set, from there on)."""
    if splits & (splits - 1) == 0 and (view < 0 or w[CLASSES + view + 1, d] == 1):
        level = view + 1 + (splits >> 1)  # of three levels, the only one that shares
        full = w[UNIT + level, HOLDING]
        if view < 0:
            return full, full
        return full * w[RANGES + view + 1, d], full * w[STARTS + view, d]
    if view < 0:
        number = _paths(w, d, 0, at, w[SIZE, d])
        return number, number
    steps, number = 0, 0
    tile = w[TILE + view, d]
    units = quotient(w[ROUND + view, d], tile)
    full = _paths(w, d, view + 1, at, tile)
    for c in range(w[CLASSES + view, d]):
        size, count = w[CLASS_SIZE + 6 * view + d, c], w[CLASS_COUNT + 6 * view + d, c]
        whole = quotient(size, tile)
        steps += count * whole * full
        number += count * min(whole, units) * full
        if size > whole * tile:
            rest = count * _paths(w, d, view + 1, at, size - whole * tile)
            steps += rest
            if whole < units:
                number += rest
    return steps, number


@njit(**COMPILED)
def _plain(w: Plan, tensor: int, view: int, at: int) -> int:
    """Elements of weights or outputs that enter the units counted one by one.

    From the innermost loop outwards: `enter` counts what enters with the loops so far, `inside` is
    the product of what stays in place of them when a loop further out moves on.
    """
    mask = w[MASK, tensor]
    enter, inside = 1, 1
    if view < 0:
        for d in range(6):
            enter *= w[SIZE, d] if mask >> d & 1 else _uncoupled(w, d, view, at)[0]
        return enter
    for place in range(5, -1, -1):
        p = w[ORDER + view, place]
        if mask >> p & 1:  # a selecting loop replaces the whole tile
            enter *= w[SIZE, p]
            inside *= w[SINGLE + view, p]
        else:
            steps, number = _uncoupled(w, p, view, at)
            enter = steps * enter - (steps - number) * inside
            inside *= number
    return enter


@njit(**COMPILED)
def _inputs(w: Plan, pairs: Pairs, view: int, at: int, own: int) -> int:
    """Elements of the input that enter the units counted one by one; padding left out.

    As `_plain`; Y with R and X with S are one factor each, whose value depends on which of the two
    loops have been passed.

    Args:
        own: the level whose units read together (-1: every tile by itself).
    """
    for d in range(2, 4):
        _axis(w, pairs, d, view, at, own)
    steps, number = _uncoupled(w, 0, view, at)
    enter = w[TABLE, BOTH_OUT] * w[TABLE + 1, BOTH_OUT]
    if view < 0:
        return enter * steps * w[SIZE, 1]
    stays_k, stays_c, stays_y, stays_x = 1, 1, 1, 1
    stays_y, stays_x = w[TABLE, BOTH_OUT], w[TABLE + 1, BOTH_OUT]
    passed = 0
    for place in range(5, -1, -1):
        p = w[ORDER + view, place]
        if p == 0:
            enter = steps * enter - (steps - number) * stays_c * stays_y * stays_x
            stays_k = number
        elif p == 1:
            enter *= w[SIZE, 1]
            stays_c = w[SINGLE + view, 1]
        else:
            row = TABLE + (p & 1)
            second = passed >> (p & 1) & 1
            passed |= 1 << (p & 1)
            stays = w[row, OUTER_AT] if second else w[row, INNER_AT]
            if stays:
                other = stays_x if p & 1 == 0 else stays_y
                enter -= stays * stays_k * stays_c * other
            stays = w[row, BOTH_IN] if second else w[row, INNER_IN]
            if p & 1 == 0:
                stays_y = stays
            else:
                stays_x = stays
    return enter


@njit(**COMPILED)
def _axis(w: Plan, pairs: Pairs, d: int, view: int, at: int, own: int) -> None:
    """Make sure that the table of an axis is that of this view."""
    splits = 0
    for level in range(max(view, 0), at + 1):
        parallel = w[UNIT + level, PARALLEL]
        splits |= ((parallel == d) | (parallel == d + 2) << 1) << 2 * level
    shared = own >= 0 and (w[UNIT + own, PARALLEL] == d or w[UNIT + own, PARALLEL] == d + 2)
    key = splits << 4 | (view + 1) << 2 | (own + 1 if shared else 0)
    if w[TABLE + d - 2, KEY] == key:
        return
    w[TABLE + d - 2, KEY] = key
    steps, number = _uncoupled(w, d, view, at)
    if whole_table(w, d, view, at, own if shared else -1, steps, number):
        return
    for loop in range(d, d + 3, 2):
        key = splits << 4 | (view + 1) << 2
        if w[LISTED, loop] != key:
            w[LISTED, loop] = key
            make_pairs(w, pairs, loop, view, at)
    axis_table(w, pairs, d, view, own if shared else -1)


@njit(**COMPILED)
def count(w: Plan, pairs: Pairs, depth: int, out: Integers) -> None:
    """Write MACs, requirements and traffic of a mapping; columns as named above."""
    macs, outputs = 1, 1
    for d in range(6):
        macs *= w[SIZE, d]
        outputs *= w[SIZE, d] if w[MASK, 2] >> d & 1 else 1
        w[LISTED, d] = -1
    w[TABLE, KEY] = w[TABLE + 1, KEY] = -1
    inputs, weights, sums = -1, -1, 0  # entering the working units of the last boundary, if known
    fresh = outputs  # sums that started at zero in the units above
    for b in range(depth + 1):
        i, before = max(b - 1, 0), max(b - 2, 0)
        at = b - 2 if b else -1
        row = BOUNDARY + BOUNDARY_COLUMNS * b
        parallel, holding = w[UNIT + i, PARALLEL], w[UNIT + i, HOLDING]
        # Only units side by side along an axis see other tiles than their parent.
        split = parallel >= 2 and b > 0 and holding > 1
        view = w[VIEW + i, 0]
        if inputs < 0 or split or view != w[VIEW + before, 0]:
            inputs = _inputs(w, pairs, view, at, i if split else -1)
        out[row] = out[row + 3] = inputs
        if split:
            out[row + 3] = inputs = _inputs(w, pairs, view, i, -1)
        elif b and holding > 1 and parallel == 0:  # units that idle share the tile, and take it
            out[row + 3], inputs = inputs * holding, -1
        if weights < 0 or w[VIEW + i, 1] != w[VIEW + before, 1]:
            weights = _plain(w, 1, w[VIEW + i, 1], at)
        out[row + 1] = out[row + 4] = weights
        if b and holding > 1 and w[MASK, 1] >> parallel & 1 == 0:
            out[row + 4], weights = weights * holding, -1
        if b == 0 or w[VIEW + i, 2] != w[VIEW + before, 2]:
            sums = _plain(w, 2, w[VIEW + i, 2], at)
        collected = sums
        if b and holding > 1 and w[MASK, 2] >> parallel & 1 == 0:
            sums = _plain(w, 2, w[VIEW + i, 2], i)
        loads = collected - fresh
        if b:
            fresh = sums - loads
        out[row + 2] = out[row + 5] = loads
        out[row + 6], out[row + 7] = sums, collected
    out[MACS], out[SUMS_READ] = macs, macs - fresh


@njit(**COMPILED)
def require(w: Plan, depth: int, out: Integers) -> None:
    """Write the elements of the L2 and of one buffer of each level, and the number of those."""
    between, number = 0, 1
    for b in range(depth + 1):
        i = max(b - 1, 0)
        total = 0
        for t in range(3):
            size = 1 if w[VIEW + i, t] < 0 else 2
            for d in range(4 if t == 0 else 6):
                if w[MASK, t] >> d & 1:
                    extent = w[TILE + i, d] if b else min(w[ROUND, d], w[SIZE, d])
                    if t == 0 and d >= 2:
                        taps = w[TILE + i, d + 2] if b else min(w[ROUND, d + 2], w[SIZE, d + 2])
                        extent = span(extent, taps, w[LAYER, STRIDE])
                    size *= extent
            total += size
        if b == 0:
            out[L2_REQUIRED] = total
        else:
            number *= w[UNIT + i, HOLDING]
            out[REQUIRED + i], out[BUFFERS + i] = total, number
        if b < depth:
            between += total if b == 0 else total * number
    out[SHARED_REQUIRED] = between
