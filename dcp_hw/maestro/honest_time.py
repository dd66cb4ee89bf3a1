"""Cycles of a mapping without walking its steps (compiled).

A step lasts as long as its slowest unit or port. The first step of a range depends on where the
units were before, so a step is followed down all levels, first steps only; the rest of each range
depends on its kinds alone and is looked up. docs/honest-model.md says why that is exact.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcp_hw.maestro.honest_axis import INLINED, LEAN, WIDE, kept, overlap, quotient, span
from dcp_hw.maestro.honest_kinds import (
    CHILD,
    EXTENT,
    FIELDS,
    KINDS,
    LENGTH,
    ROUNDS_OF,
    WORK,
    Kinds,
    list_kinds,
    never_waits,
)
from dcp_hw.maestro.honest_plan import (
    CHANGING,
    CLASS_SIZE,
    CLASSES,
    HOLDING,
    LAYER,
    LEVELS,
    MASK,
    PARALLEL,
    ROUND,
    SIZE,
    STRIDE,
    TILE,
    UNIT,
    WAITS,
    Integers,
    Plan,
)
from dcp_hw.maestro.honest_rest import SCRATCH_COLUMNS, SCRATCH_ROWS, Scratch, rest, set_places

Rests = NDArray[np.float64]
"""level x kinds of a range x (FRESH, PARTIAL): cycles after the first step."""
MOST_RANGES = KINDS**6

FRESH, PARTIAL = range(2)
"""Whether the sums of a step are new, or have been worked on before."""
WAIT, REST = SCRATCH_ROWS, SCRATCH_ROWS + 2  # + FRESH or PARTIAL: further rows of the scratch

Trail = NDArray[np.int64]
"""Rows: level x TRAIL_ROWS + those below; columns: dimensions."""
NEW, OLD, MOVED, KIND, PART, INNER_NEW, INNER_OLD, RANGE, PLACE, TRAIL_ROWS = range(10)


def rooms() -> tuple[Kinds, Scratch, Rests, Trail]:
    """Room for everything that one mapping after another needs."""
    return (
        np.zeros((6 * LEVELS + LEVELS, KINDS + 2, FIELDS), dtype=np.int64),
        np.zeros((SCRATCH_ROWS + 4, SCRATCH_COLUMNS)),
        np.zeros((LEVELS, MOST_RANGES, 2)),
        np.zeros((TRAIL_ROWS * LEVELS, 8), dtype=np.int64),
    )


@njit(**INLINED)
def _index(z: Kinds, level: int, kinds: Integers) -> int:
    """Number of a combination of kinds."""
    index = 0
    for d in range(6):
        index = index * z[6 * LEVELS + level, 0, d] + kinds[d]
    return index


@njit(**LEAN)
def _volume(w: Plan, tensor: int, extent: Integers) -> int:
    """Elements of a tensor in a box; for the input positions, with padding."""
    size = 1
    for d in range(4 if tensor == 0 else 6):
        if w[MASK, tensor] >> d & 1:
            if tensor == 0 and d >= 2:
                size *= span(extent[d], extent[d + 2], w[LAYER, STRIDE])
            else:
                size *= extent[d]
    return size


@njit(**LEAN)
def _stays(w: Plan, level: int, t: Trail, shared: bool) -> int:
    """Input elements of a step that were there before, where the channels are the same."""
    total = t[TRAIL_ROWS * level + NEW, 1]
    parallel = w[UNIT + level, PARALLEL]
    new, old, moved = (
        t[TRAIL_ROWS * level + NEW],
        t[TRAIL_ROWS * level + OLD],
        t[TRAIL_ROWS * level + MOVED],
    )
    for d in range(2, 4):
        args = (new[d], new[d + 2], old[d], old[d + 2], moved[d], moved[d + 2], -WIDE, WIDE)
        if shared and (parallel == d or parallel == d + 2):
            total *= kept(w[LAYER, STRIDE], parallel >= 4, w[TILE + level, parallel], *args)
        else:
            total *= overlap(w[LAYER, STRIDE], *args)
    return total


@njit(**LEAN)
def _wait(
    w: Plan, level: int, t: Trail, empty: int, pending: bool, noc: float, dram: float
) -> tuple[float, float]:
    """Cycles that the ports of a level need for a step: with FRESH sums, and with PARTIAL ones.

    Args:
        empty: bit set of the tensors that the units do not hold any more.
        pending: the sums of the last step before have not left yet.
    """
    moved = 0
    for d in range(6):
        moved |= (t[TRAIL_ROWS * level + MOVED, d] != 0) << d
    into, out, l2, back = 0, 0, 0, 0
    new = t[TRAIL_ROWS * level + NEW]
    if empty & 1 or moved & w[MASK, 0]:
        into = l2 = _volume(w, 0, new)
        if not empty & 1 and not moved & 2:
            into -= _stays(w, level, t, True)
            l2 -= _stays(w, level, t, False) if level == 0 else 0
    if empty & 2 or moved & w[MASK, 1]:
        weights = _volume(w, 1, new)
        into += weights
        l2 += weights
    if empty & 4 or moved & w[MASK, 2]:
        back = _volume(w, 2, new)
        if pending or not empty & 4:
            out = _volume(w, 2, t[TRAIL_ROWS * level + OLD])
    fresh, partial = np.ceil(max(into, out) / noc), np.ceil(max(into + back, out) / noc)
    if level:
        return fresh, partial
    return max(fresh, np.ceil((l2 + out) / dram)), max(partial, np.ceil((l2 + back + out) / dram))


@njit(**LEAN)
def _find(z: Kinds, row: int, size: int) -> int:
    """The kind of ranges of a size."""
    k = 0
    while z[row, k, LENGTH] != size:
        k += 1
    return k


@njit(**LEAN)
def _unit(w: Plan, z: Kinds, level: int, t: Trail, choice: int) -> int:
    """Lay the trail to the range of one unit at the next level.

    Choices: unit 0, the last one, the last of the step before, the first that idled before.
    Returns -1 if that is none of its own, 1 for a unit that idled before, otherwise 0.
    """
    p = w[UNIT + level, PARALLEL]
    tile = w[TILE + level, p]
    here, below = TRAIL_ROWS * level, TRAIL_ROWS * (level + 1)
    unit = 0
    if choice:
        units = quotient(t[here + NEW, p] + tile - 1, tile)
        before = quotient(t[here + OLD, p] + tile - 1, tile)
        unit = units - 1 if choice == 1 else (before - 1 if choice == 2 else before)
        if unit <= 0 or unit >= units or (choice == 2 and before == units):
            return -1
    row = 6 * (level + 1)
    for d in range(6):
        k, before = t[here + INNER_NEW, d], t[here + INNER_OLD, d]
        if unit and d == p:
            new, old = min(tile, t[here + NEW, p] - unit * tile), t[here + OLD, p] - unit * tile
            k = _find(z, row + p, new)
            before = _find(z, row + p, min(tile, old)) if old > 0 else k
        t[below + KIND, d], t[below + PART, d] = k, 0
        t[below + NEW, d], t[below + OLD, d] = z[row + d, k, EXTENT], z[row + d, before, EXTENT + 1]
        t[below + INNER_NEW, d] = z[row + d, k, CHILD]
        t[below + INNER_OLD, d] = z[row + d, before, CHILD + 1]
        rounds = (z[row + d, before, ROUNDS_OF] - 1) * w[ROUND + level + 1, d]
        t[below + MOVED, d] = t[here + MOVED, d] + rounds
    return 1 if unit * tile >= t[here + OLD, p] else 0


@njit(**LEAN)
def _step(
    w: Plan,
    z: Kinds,
    q: Scratch,
    r: Rests,
    t: Trail,
    level: int,
    calm: int,
    first: bool,
    noc: float,
    dram: float,
) -> tuple[float, float]:
    """Cycles of one step, with FRESH sums and with PARTIAL ones.

    Its trail begins at a level; levels from `calm` on never wait.

    Args:
        first: the layer's very first step; its loads are the fill.
    """
    fresh, partial = 0.0, 0.0
    choices = 4 if level + 1 < calm and _has_others(w, level) else 1
    inner = 4 if level + 2 < calm and _has_others(w, level + 1) else 1
    for path in range(choices * inner):
        empty, pending, back, valid = 0, not first, PARTIAL, True
        for at in range(level, calm):
            none, some = 0.0, 0.0
            if w[UNIT + at, WAITS] and not first:
                none, some = _wait(w, at, t, empty, pending, noc, dram)
            q[WAIT, at], q[WAIT + PARTIAL, at] = none, some if back else none
            if at > level:
                index = _index(z, at, t[TRAIL_ROWS * at + KIND])
                q[REST, at], q[REST + PARTIAL, at] = r[at, index, FRESH], r[at, index, back]
            if at + 1 == calm:
                continue
            choice = path % choices if at == level else path // choices
            idled = _unit(w, z, at, t, choice)
            valid = valid and idled >= 0
            if not valid:
                break
            p = w[UNIT + at, PARALLEL]
            if choice and w[MASK, 2] >> p & 1 == 0:  # only unit 0 gets the sums
                changed = empty & 4
                for d in range(6):
                    changed |= t[TRAIL_ROWS * at + MOVED, d] != 0 and w[MASK, 2] >> d & 1
                back = FRESH if changed else back
            if idled:
                pending = False
                for tensor in range(3):
                    empty |= (w[MASK, tensor] >> p & 1) << tensor
            empty |= w[UNIT + at + 1, CHANGING]
        if not valid:
            continue
        none = 1.0
        for d in range(6):
            row = TRAIL_ROWS * (calm - 1)
            none *= z[6 * (calm - 1) + d, t[row + KIND, d], WORK + t[row + PART, d]]
        some = none
        for at in range(calm - 1, level - 1, -1):
            none, some = max(none, q[WAIT, at]), max(some, q[WAIT + PARTIAL, at])
            if at > level:
                none, some = none + q[REST, at], some + q[REST + PARTIAL, at]
        fresh, partial = max(fresh, none), max(partial, some)
    return fresh, partial


@njit(**LEAN)
def _has_others(w: Plan, level: int) -> bool:
    """Whether other units than unit 0 can take longest: those that share rows or columns."""
    return w[UNIT + level, PARALLEL] >= 2 and w[UNIT + level, HOLDING] > 1


@njit(**LEAN)
def _rest_deep(
    w: Plan,
    z: Kinds,
    q: Scratch,
    r: Rests,
    t: Trail,
    level: int,
    calm: int,
    kinds: Integers,
    noc: float,
    dram: float,
) -> tuple[float, float]:
    """As `rest`, where levels below can wait as well: each group followed down."""
    place = t[TRAIL_ROWS * level + PLACE]
    loops = set_places(w, z, level, kinds, place)
    new, again, later = 0.0, 0.0, np.bool_(False)
    here = TRAIL_ROWS * level
    for at in range(loops):
        uneven = 0  # loops outside p, and p itself, whose last round is smaller
        for d in range(6):
            row, k = 6 * level + d, kinds[d]
            if 0 <= place[d] <= at and z[row, k, EXTENT] != z[row, k, EXTENT + 1]:
                uneven |= 1 << d
        parts = uneven
        while parts >= 0:
            number, initial = 1.0, 1.0
            for d in range(6):
                row, k, once = 6 * level + d, kinds[d], w[ROUND + level, d]
                part = parts >> d & 1
                rounds = z[row, k, ROUNDS_OF]
                t[here + KIND, d], t[here + PART, d], t[here + MOVED, d] = k, part, 0
                t[here + NEW, d] = t[here + OLD, d] = z[row, k, EXTENT + part]
                t[here + INNER_NEW, d] = t[here + INNER_OLD, d] = z[row, k, CHILD + part]
                if place[d] < 0:
                    continue
                reduced = w[MASK, 2] >> d & 1 == 0
                if place[d] > at:
                    t[here + OLD, d] = z[row, k, EXTENT + 1]
                    t[here + INNER_OLD, d] = z[row, k, CHILD + 1]
                    t[here + MOVED, d] = (rounds - 1) * once
                    continue
                times = 1 if part else rounds - (uneven >> d & 1)
                if place[d] == at:
                    t[here + OLD, d], t[here + MOVED, d] = z[row, k, EXTENT], -once
                    t[here + INNER_OLD, d] = z[row, k, CHILD]
                    times -= 1 - part
                number *= times
                if reduced:
                    initial *= 0.0 if part or place[d] == at else 1.0
                else:
                    initial *= times
            if number:
                fresh, partial = _step(w, z, q, r, t, level, calm, later, noc, dram)
                again += number * partial
                new += (number - initial) * partial + initial * fresh
            parts = (parts - 1) & uneven if parts else -1
    return new, again


@njit(**LEAN)
def steps_time(
    w: Plan,
    z: Kinds,
    q: Scratch,
    r: Rests,
    t: Trail,
    depth: int,
    noc: float,
    dram: float,
) -> float:
    """Cycles of all steps, without fill and last drains; bandwidths infinite where unlimited."""
    total = list_kinds(w, z, depth)
    calm = depth
    while calm > 0 and never_waits(w, z, calm - 1, noc, dram):
        calm -= 1
    if calm == 0:
        return total
    for level in range(calm):
        w[UNIT + level, WAITS] = level == calm - 1 or not never_waits(w, z, level, noc, dram)
    for level in range(calm - 1, -1, -1):
        kinds = t[TRAIL_ROWS * level + RANGE]
        number = 1
        for d in range(6):
            number *= z[6 * LEVELS + level, 0, d]
        for index in range(number):
            left = index
            for d in range(5, -1, -1):
                kinds[d] = left % z[6 * LEVELS + level, 0, d]
                left //= z[6 * LEVELS + level, 0, d]
            if level == calm - 1:
                slow = dram if level == 0 else np.inf
                times = rest(w, z, q, level, kinds, t[TRAIL_ROWS * level + PLACE], noc, slow)
            else:
                times = _rest_deep(w, z, q, r, t, level, calm, kinds, noc, dram)
            r[level, index, FRESH], r[level, index, PARTIAL] = times
    for d in range(6):
        t[KIND, d], t[PART, d], t[MOVED, d] = 0, 0, 0
        t[NEW, d] = t[OLD, d] = z[d, 0, EXTENT]
        t[INNER_NEW, d] = t[INNER_OLD, d] = z[d, 0, CHILD]
    # As literals numba would compile all steps a second time.
    top, first = np.int64(0), np.bool_(True)
    return _step(w, z, q, r, t, top, calm, first, noc, dram)[FRESH] + r[0, 0, FRESH]


@njit(**LEAN)
def ends_time(w: Plan, t: Trail, depth: int, noc: float, dram: float) -> float:
    """Cycles of the fill and the last drains, without latencies."""
    total = 0.0
    for level in range(depth):
        for d in range(6):
            outer = w[SIZE, d] if level == 0 else w[TILE + level - 1, d]
            t[NEW, d] = min(outer, w[ROUND + level, d])
            t[OLD, d] = _last(w, d, level) if w[MASK, 2] >> d & 1 else 1
        fill = _volume(w, 0, t[NEW]) + _volume(w, 1, t[NEW])
        drain = _volume(w, 2, t[OLD])
        if level == 0:
            total += max(np.ceil(fill / noc), np.ceil(fill / dram))
            total += max(np.ceil(drain / noc), np.ceil(drain / dram))
        else:
            total += np.ceil(fill / noc) + np.ceil(drain / noc)
    return total


@njit(**LEAN)
def _last(w: Plan, d: int, level: int) -> int:
    """Most elements along d in the last round of the last range of any unit."""
    if w[CLASSES + level, d] == 1:  # all ranges have one size
        size, once = w[CLASS_SIZE + 6 * level + d, 0], w[ROUND + level, d]
        return size if size <= once else size - quotient(size - 1, once) * once
    split = 0  # levels above that share d among units
    for i in range(level):
        split |= (w[UNIT + i, PARALLEL] == d) << i
    most = 0
    rest_units = split  # levels of which the last unit is followed, not unit 0
    while rest_units >= 0:
        size = w[SIZE, d]
        for i in range(level):
            once, tile = w[ROUND + i, d], w[TILE + i, d]
            size -= quotient(size - 1, once) * once
            if rest_units >> i & 1:
                size -= quotient(size - 1, tile) * tile
            size = min(size, tile)
        once = w[ROUND + level, d]
        most = max(most, size - quotient(size - 1, once) * once)
        rest_units = (rest_units - 1) & split if rest_units else -1
    return most
