"""All traffic of the honest model in closed form (compiled).

Every count is `all tiles - sum over loops p of what the step changes of p leave in place`, and both
factorise over the dimensions; docs/honest-model.md derives it. `view` is the level whose loops
replace a tensor's tile (-1: none), `at` the innermost level whose units are counted one by one.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from dcp_hw.maestro.honest_axis import INLINED, LEAN, quotient, span
from dcp_hw.maestro.honest_input import Pairs, axis_table, make_pairs
from dcp_hw.maestro.honest_plan import (
    BOTH_IN,
    BOTH_OUT,
    CLASS_COUNT,
    CLASS_SIZE,
    CLASSES,
    ENTER,
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
    REMAIN,
    ROUND,
    ROUNDS,
    SINGLE,
    SIZE,
    SPLITS,
    STARTS,
    STAY,
    STRIDE,
    TABLE,
    TILE,
    UNIT,
    VIEW,
    Integers,
    Plan,
)
from dcp_hw.maestro.honest_whole import whole_axis, whole_table

# Columns of a row of counts.
MACS, SUMS_READ, L2_REQUIRED, SHARED_REQUIRED, REQUIRED, BUFFERS = 0, 1, 2, 3, 4, 7
BOUNDARY, BOUNDARY_COLUMNS = 10, 8  # each: supplied x 3, taken x 3, drained, collected
COUNT_COLUMNS = BOUNDARY + 4 * BOUNDARY_COLUMNS


@njit(**LEAN)
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


@njit(**LEAN)
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


@njit(**INLINED)
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


@njit(**LEAN)
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


@njit(**INLINED)
def _entering(w: Plan, view: int) -> int:
    """Elements that enter the units, from the rows ENTER, REMAIN and STAY.

    From the innermost loop outwards: `enter` counts what enters with the loops so far, `inside` is
    the product of what stays in place of them when a loop further out moves on.
    """
    enter, inside = 1, 1
    for place in range(5, -1, -1):
        p = w[ORDER + max(view, 0), place]
        enter = w[ENTER, p] * enter - w[REMAIN, p] * inside
        inside *= w[STAY, p]
    return enter


@njit(**LEAN)
def _plain(w: Plan, tensor: int, view: int, at: int) -> int:
    """Elements of weights or outputs that enter the units counted one by one."""
    for d in range(6):
        if w[MASK, tensor] >> d & 1:  # a selecting loop replaces the whole tile
            w[ENTER, d], w[REMAIN, d], w[STAY, d] = w[SIZE, d], 0, w[SINGLE + max(view, 0), d]
        else:
            steps, number = _uncoupled(w, d, view, at)
            w[ENTER, d], w[REMAIN, d], w[STAY, d] = steps, steps - number, number
    return _entering(w, view)


@njit(**LEAN)
def _inputs(w: Plan, pairs: Pairs, view: int, at: int, own: int) -> int:
    """Elements of the input that enter the units counted one by one; padding left out.

    Args:
        own: the level whose units read together (-1: every tile by itself).
    """
    for d in range(2, 4):
        if not _whole(w, d, view, at, own):
            return _listed(w, pairs, view, at, own)
    steps, number = _uncoupled(w, 0, view, at)
    w[ENTER, 0], w[REMAIN, 0], w[STAY, 0] = steps, steps - number, number
    w[ENTER, 1], w[REMAIN, 1], w[STAY, 1] = w[SIZE, 1], 0, w[SINGLE + max(view, 0), 1]
    for d in range(4, 6):  # their loops never move
        w[ENTER, d], w[REMAIN, d], w[STAY, d] = 1, 0, 1
    return _entering(w, view)


@njit(**INLINED)
def _whole(w: Plan, d: int, view: int, at: int, own: int) -> bool:
    """Fill in what axis d (Y or X) adds, if that is known in closed form."""
    if w[TILE + max(view, at, 0), d + 2] != w[SIZE, d + 2]:
        return False
    steps, number = _uncoupled(w, d, view, at)
    return whole_axis(w, d, view, at, own, steps, number)


@njit(**LEAN)
def _listed(w: Plan, pairs: Pairs, view: int, at: int, own: int) -> int:
    """As `_inputs`, where tiles of some axis must be listed.

    Y with R and X with S are one factor each, whose value depends on which of the two loops have
    been passed.
    """
    for d in range(2, 4):
        _axis(w, pairs, d, view, at, own)
    steps, number = _uncoupled(w, 0, view, at)
    enter = w[TABLE, BOTH_OUT] * w[TABLE + 1, BOTH_OUT]
    if view < 0:
        return enter * steps * w[SIZE, 1]
    stays_k, stays_c, stays_y, stays_x = 1, 1, w[TABLE, BOTH_OUT], w[TABLE + 1, BOTH_OUT]
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


@njit(**LEAN)
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
    if _whole(w, d, view, at, own):
        whole_table(w, d, view)
        return
    for loop in range(d, d + 3, 2):
        key = splits << 4 | (view + 1) << 2
        if w[LISTED, loop] != key:
            w[LISTED, loop] = key
            make_pairs(w, pairs, loop, view, at)
    axis_table(w, pairs, d, view, own if shared else -1)


@njit(**INLINED)
def _alike(w: Plan, level: int, view: int) -> bool:
    """Whether all units of a level that ever hold something work in each step that counts."""
    p, holding = w[UNIT + level, PARALLEL], w[UNIT + level, HOLDING]
    if view == level:
        return w[RANGES + level + 1, p] == holding * w[ROUNDS + level, p]
    return w[STARTS + level, p] == holding * w[RANGES + level, p]  # what is constant, comes once


@njit(**LEAN)
def count(w: Plan, pairs: Pairs, depth: int, out: Integers) -> None:
    """Write MACs, requirements and traffic of a mapping; columns as named above."""
    macs, outputs = 1, 1
    alone = np.int64(-1)  # as -1 alone, numba would compile all that follows a second time
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
        parallel, holding = w[UNIT + i, PARALLEL], w[UNIT + i, HOLDING] if b else 1
        # Only units side by side along an axis see other tiles than their parent.
        split = parallel >= 2 and holding > 1
        view = w[VIEW + i, 0]
        if inputs < 0 or split or view != w[VIEW + before, 0]:
            inputs = _inputs(w, pairs, view, at, i if split else alone)
        out[row] = out[row + 3] = inputs
        if split:
            out[row + 3] = inputs = _inputs(w, pairs, view, i, alone)
        elif holding > 1 and parallel == 0:  # units that idle share the tile, and take it
            out[row + 3] = inputs * holding
            inputs = inputs * holding if _alike(w, i, view) else -1
        view = w[VIEW + i, 1]
        if weights < 0 or view != w[VIEW + before, 1]:
            weights = _plain(w, 1, view, at)
        out[row + 1] = out[row + 4] = weights
        if holding > 1 and w[MASK, 1] >> parallel & 1 == 0:
            out[row + 4] = weights * holding
            weights = weights * holding if _alike(w, i, view) else -1
        view = w[VIEW + i, 2]
        if b == 0 or view != w[VIEW + before, 2]:
            sums = _plain(w, 2, view, at)
        collected = sums
        if holding > 1 and w[MASK, 2] >> parallel & 1 == 0:
            sums = sums * holding if _alike(w, i, view) else _plain(w, 2, view, i)
        loads = collected - fresh
        if b:
            fresh = sums - loads
        out[row + 2] = out[row + 5] = loads
        out[row + 6], out[row + 7] = sums, collected
    out[MACS], out[SUMS_READ] = macs, macs - fresh


@njit(**LEAN)
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
