"""All traffic of the honest model in closed form (compiled).

Every count is `all tiles - sum over loops p of what the step changes of p leave in place`, and both
factorise over the dimensions; docs/honest-model.md derives it. `view` is the level whose loops
replace a tensor's tile (-1: none), `at` the innermost level whose units are counted one by one.
"""

from __future__ import annotations

from numba import njit

from dcp_hw.maestro.honest_axis import COMPILED, span
from dcp_hw.maestro.honest_input import AT, IN, OUT, Pairs, axis, make_pairs
from dcp_hw.maestro.honest_plan import (
    CLASS_COUNT,
    CLASS_SIZE,
    CLASSES,
    HOLDING,
    LAYER,
    LISTED,
    MASK,
    ORDER,
    PARALLEL,
    PLACE,
    RANGES,
    ROUND,
    ROUNDS,
    SINGLE,
    SIZE,
    STARTS,
    STRIDE,
    TILE,
    UNIT,
    USED,
    VIEW,
    Integers,
    Plan,
)

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
    number = (first + tile - 1) // tile
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
    split = False
    for level in range(view + 1, at + 1):
        split |= w[UNIT + level, PARALLEL] == d
    if view < 0:
        number = _paths(w, d, 0, at, w[SIZE, d]) if split else 1
        return number, number
    if not split:
        return w[RANGES + view + 1, d], w[STARTS + view, d]
    steps, number = 0, 0
    tile = w[TILE + view, d]
    units = w[ROUND + view, d] // tile
    full = _paths(w, d, view + 1, at, tile)
    for c in range(w[CLASSES + view, d]):
        size, count = w[CLASS_SIZE + 6 * view + d, c], w[CLASS_COUNT + 6 * view + d, c]
        whole = size // tile
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
    """Elements of weights or outputs that enter the units counted one by one."""
    mask = w[MASK, tensor]
    total = 1
    for d in range(6):
        total *= w[SIZE, d] if mask >> d & 1 else _uncoupled(w, d, view, at)[0]
    if view < 0:
        return total
    inside, outside = 1, total  # product of the loops inside p; of p and those outside it
    stays = 0
    for place in range(5, -1, -1):
        p = w[ORDER + view, place]
        if mask >> p & 1:  # a selecting loop replaces the whole tile
            inside *= w[SINGLE + view, p]
            outside //= w[SIZE, p]
        else:
            steps, number = _uncoupled(w, p, view, at)
            outside //= steps
            stays += outside * (steps - number) * inside
            inside *= number
        if inside == 0:
            break
    return total - stays


@njit(**COMPILED)
def _inputs(w: Plan, pairs: Pairs, view: int, at: int, own: int) -> int:
    """Elements of the input that enter the units counted one by one; padding left out."""
    steps, number = _uncoupled(w, 0, view, at)
    total = steps * w[SIZE, 1] * axis(w, pairs, 2, OUT, OUT, own) * axis(w, pairs, 3, OUT, OUT, own)
    if view < 0:
        return total
    for place in range(6):
        p = w[ORDER + view, place]
        if p == 1:
            continue  # other channels: nothing stays
        stays = steps - number if p == 0 else (steps if w[PLACE + view, 0] < place else number)
        stays *= w[SIZE, 1] if w[PLACE + view, 1] < place else w[SINGLE + view, 1]
        for d in range(2, 4):
            if stays:
                state, taps = _state(w, view, d, place), _state(w, view, d + 2, place)
                stays *= axis(w, pairs, d, state, taps, own)
        total -= stays
    return total


@njit(**COMPILED)
def _state(w: Plan, view: int, d: int, place: int) -> int:
    """Whether the loop over d lies outside the loop at a place, is it, or lies inside."""
    if w[PLACE + view, d] == place:
        return AT
    return OUT if w[PLACE + view, d] < place else IN


@njit(**COMPILED)
def _key(w: Plan, d: int, view: int, at: int) -> int:
    """A number that tells apart what a view counts along d: of which levels unit by unit."""
    split = 0
    for level in range(max(view, 0), at + 1):
        split |= (w[UNIT + level, PARALLEL] == d) << level
    return (view + 1) * 16 + split


@njit(**COMPILED)
def _same(w: Plan, view: int, at: int) -> bool:
    """Whether the last inputs counted by themselves were those of this view; notes this one."""
    same = True
    for d in range(6):
        key = _key(w, d, view, at)
        same = same and key == w[USED, d]
        w[USED, d] = key
    return same


@njit(**COMPILED)
def count(w: Plan, pairs: Pairs, depth: int, out: Integers) -> None:
    """Write MACs, requirements and traffic of a mapping; columns as named above."""
    macs, outputs = 1, 1
    for d in range(6):
        macs *= w[SIZE, d]
        outputs *= w[SIZE, d] if w[MASK, 2] >> d & 1 else 1
    for d in range(6):
        w[LISTED, d] = w[USED, d] = -1
    known = 0  # the last count of inputs whose units do not read together
    loads, fresh = 0, outputs  # sums read back here; sums that started at zero in the units above
    for b in range(depth + 1):
        i = max(b - 1, 0)
        row = BOUNDARY + BOUNDARY_COLUMNS * b
        for turn in range(2 if b else 1):  # read by all units of a parent; taken by each
            at = i - 1 + turn
            parallel = w[UNIT + i, PARALLEL]
            for t in range(3):
                alone = w[MASK, t] >> parallel & 1 == 0
                if turn and alone and t < 2:
                    out[row + 3 + t] = out[row + t] * w[UNIT + i, HOLDING]
                elif turn and not alone and (t or parallel < 2):
                    out[row + 3 + t] = out[row + t]
                elif t:
                    out[row + 3 * turn + t] = _plain(w, t, w[VIEW + i, t], at)
                else:
                    view = w[VIEW + i, 0]
                    for d in range(2, 6):
                        key = _key(w, d, view, at)
                        if key != w[LISTED, d]:
                            w[LISTED, d] = key
                            make_pairs(w, pairs, d, view, at)
                    # Only units side by side along an axis see other tiles than their parent.
                    own = i if b and not turn and parallel >= 2 else -1
                    key = own < 0 and _same(w, view, at)
                    out[row + 3 * turn] = known if key else _inputs(w, pairs, view, at, own)
                    if own < 0:
                        known = out[row + 3 * turn]
        if b == 0:
            for t in range(3):
                out[row + 3 + t] = out[row + t]
        drained, collected = out[row + 5], out[row + 2]
        loads = collected - fresh
        if b:
            fresh = drained - loads
        out[row + 2] = out[row + 5] = loads
        out[row + 6], out[row + 7] = drained, collected
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
