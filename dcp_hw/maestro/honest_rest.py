"""Cycles of a range after its first step, where no level below ever waits (compiled).

Steps fall into groups: the loop p that moved on, and the part (first or last size) of p and of each
loop outside it; loops inside p are at their first round and come from their last. A group whose
units work longer than its ports has a product for its cycles, so whole loops p sum up in closed
form; the others are summed group by group.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcp_hw.maestro.honest_axis import LEAN, WIDE, kept, overlap, span
from dcp_hw.maestro.honest_kinds import EXTENT, ROUNDS_OF, TOTAL, WORK, Kinds
from dcp_hw.maestro.honest_plan import (
    LAYER,
    MASK,
    ORDER,
    PARALLEL,
    ROUND,
    STRIDE,
    TILE,
    UNIT,
    Integers,
    Plan,
)

Scratch = NDArray[np.float64]
"""Columns: groups of the loops outside p. Rows below."""

CYCLES, WEIGHTS, OUTPUTS, CHANNELS, NUMBER, INITIAL, PLACE_Y, PLACE_X = range(8)
SPANS = 8  # + axis: positions, what stays (NoC), what stays (DRAM); column: part of Y + 2 part of R
STAYS, STAYS_L2 = 10, 12
SCRATCH_ROWS = 14
SCRATCH_COLUMNS = 64


@njit(**LEAN)
def axis_tables(
    w: Plan, z: Kinds, q: Scratch, level: int, kinds: Integers, place: Integers, at: int, d: int
) -> float:
    """Fill in positions of an axis for each part; the most of them per cycle."""
    stride, parallel = w[LAYER, STRIDE], w[UNIT + level, PARALLEL]
    a = d - 2
    moves = place[d] >= at or place[d + 2] >= at
    rate = 0.0
    uneven = 0  # bit set of Y or X and of R or S: a smaller last round, at this loop or outside
    for i in range(2):
        row, k, outside = 6 * level + d + 2 * i, kinds[d + 2 * i], place[d + 2 * i] <= at
        uneven |= (outside and z[row, k, EXTENT] != z[row, k, EXTENT + 1]) << i
    for part in range(4):
        if part & ~uneven:
            continue
        t1, t2, dy, work = _pair(w, z, level, d, kinds[d], place[d], at, part & 1)
        r1, r2, dr, taps = _pair(w, z, level, d + 2, kinds[d + 2], place[d + 2], at, part >> 1)
        positions = span(t1, r1, stride)
        stays, stays_l2 = positions, positions
        if moves:
            stays = stays_l2 = overlap(stride, t1, r1, t2, r2, dy, dr, -WIDE, WIDE)
            if stays and (parallel == d or parallel == d + 2):
                tile = w[TILE + level, parallel]
                stays = kept(stride, parallel >= 4, tile, t1, r1, t2, r2, dy, dr, -WIDE, WIDE)
        q[SPANS + a, part], q[STAYS + a, part], q[STAYS_L2 + a, part] = positions, stays, stays_l2
        rate = max(rate, positions / (float(work) * float(taps)))
    return rate


@njit(**LEAN)
def _pair(
    w: Plan, z: Kinds, level: int, d: int, kind: int, place: int, at: int, part: int
) -> tuple[int, int, int, int]:
    """Extent after and before a step change of the loop at a place, how far it moved, and work."""
    row = 6 * level + d
    if place > at:  # inside: from the last round to the first
        moved = (z[row, kind, ROUNDS_OF] - 1) * w[ROUND + level, d]
        return z[row, kind, EXTENT], z[row, kind, EXTENT + 1], moved, z[row, kind, WORK]
    new, work = z[row, kind, EXTENT + part], z[row, kind, WORK + part]
    if place == at:
        return new, z[row, kind, EXTENT], -w[ROUND + level, d], work
    return new, new, 0, work


@njit(**LEAN)
def rest(
    w: Plan,
    z: Kinds,
    q: Scratch,
    level: int,
    kinds: Integers,
    place: Integers,
    noc: float,
    dram: float,
) -> tuple[float, float]:
    """Cycles after the first step of a range: if its sums start at zero, and if there are some.

    Args:
        kinds: of the range, by dimension.
        place: room for six numbers.
        noc: elements per cycle, infinite where unlimited; `dram`: as well, and at inner levels.
    """
    loops = set_places(w, z, level, kinds, place)
    new, again = 0.0, 0.0
    grown = -1  # loops that the groups hold
    groups = 1
    for at in range(loops):
        p, moved = 0, 0
        everything = 1.0  # the sum over the groups of p if none waits
        cycles, weights, outputs, leaving, channels = 1.0, 1.0, 1.0, 1.0, 1.0
        weight_rate, output_rate, leaving_rate, input_rate = 1.0, 1.0, 1.0, 1.0
        for d in range(6):
            row, k = 6 * level + d, kinds[d]
            extent, work = float(z[row, k, EXTENT]), float(z[row, k, WORK])
            last, last_work = float(z[row, k, EXTENT + 1]), float(z[row, k, WORK + 1])
            least, most = work, extent / work
            if place[d] > at:
                everything *= work
                cycles *= work
                weights *= extent if w[MASK, 1] >> d & 1 else 1.0
                channels *= extent if d == 1 else 1.0
                outputs *= extent if w[MASK, 2] >> d & 1 else 1.0
                leaving *= last if w[MASK, 2] >> d & 1 else 1.0
            else:
                everything *= z[row, k, TOTAL] - (work if place[d] == at else 0.0)
                least, most = min(work, last_work), max(most, last / last_work)
            if place[d] >= at:
                moved |= 1 << d
                p = d if place[d] == at else p
            weight_rate *= most if w[MASK, 1] >> d & 1 else 1.0 / least
            output_rate *= most if w[MASK, 2] >> d & 1 else 1.0 / least
            leaving_rate *= extent / least if w[MASK, 2] >> d & 1 else 1.0 / least
            input_rate *= most if d == 1 else (1.0 / least if d == 0 else 1.0)
        read = weight_rate if moved & w[MASK, 1] else 0.0
        write = 0.0
        if moved & w[MASK, 2]:
            read += output_rate
            write = leaving_rate
        if moved & w[MASK, 0]:
            for d in range(2, 4):
                input_rate *= axis_tables(w, z, q, level, kinds, place, at, d)
            read += input_rate
        slack = 1.0 + 1e-9
        if max(read, write) * slack <= noc and (read + write) * slack <= dram:
            new += everything
            again += everything
            continue
        while grown < at:
            groups = grow(w, z, q, level, kinds, place, grown, groups)
            grown += 1
        row, k = 6 * level + p, kinds[p]
        selects_weight, selects_output = w[MASK, 1] >> p & 1, w[MASK, 2] >> p & 1
        place_y = 1 if p == 2 else (2 if p == 4 else 0)
        place_x = 1 if p == 3 else (2 if p == 5 else 0)
        extent = float(z[row, k, EXTENT])
        whole = extent == z[row, k, EXTENT + 1]
        for part in range(2):
            number = float(z[row, k, ROUNDS_OF] - (1 if whole else 2)) if part == 0 else 1.0
            if number == 0.0 or (whole and part):
                continue
            here = float(z[row, k, EXTENT + part])
            work = cycles * z[row, k, WORK + part]
            weight = weights * (here if selects_weight else 1.0)
            weight = weight if moved & w[MASK, 1] else 0.0
            enter = outputs * (here if selects_output else 1.0)
            enter = enter if moved & w[MASK, 2] else 0.0
            leave = leaving * (extent if selects_output else 1.0)
            leave = leave if moved & w[MASK, 2] else 0.0
            channel = channels * (here if p == 1 else 1.0)
            channel = channel if moved & w[MASK, 0] else 0.0
            stays = 0.0 if moved & 2 else 1.0
            initial = 0.0 if not selects_output else number
            for g in range(groups):
                y, x = int(q[PLACE_Y, g]) + place_y * part, int(q[PLACE_X, g]) + place_x * part
                busy = q[CYCLES, g] * work
                into, l2 = q[WEIGHTS, g] * weight, q[WEIGHTS, g] * weight
                if channel:
                    full = q[SPANS, y] * q[SPANS + 1, x]
                    into += (
                        q[CHANNELS, g] * channel * (full - stays * q[STAYS, y] * q[STAYS + 1, x])
                    )
                    kept_l2 = stays * q[STAYS_L2, y] * q[STAYS_L2 + 1, x]
                    l2 += q[CHANNELS, g] * channel * (full - kept_l2)
                back, out = q[OUTPUTS, g] * enter, q[OUTPUTS, g] * leave
                busy = max(busy, np.ceil(out / noc))
                first = max(busy, np.ceil(into / noc), np.ceil((l2 + out) / dram))
                later = max(busy, np.ceil((into + back) / noc), np.ceil((l2 + back + out) / dram))
                all_groups, first_groups = q[NUMBER, g] * number, q[INITIAL, g] * initial
                again += all_groups * later
                new += first_groups * first + (all_groups - first_groups) * later
    return new, again


@njit(**LEAN)
def set_places(w: Plan, z: Kinds, level: int, kinds: Integers, place: Integers) -> int:
    """Number the loops that have several rounds, outermost 0 (others -1); how many they are."""
    loops = 0
    for at in range(6):
        d = w[ORDER + level, at]
        place[d] = -1
        if z[6 * level + d, kinds[d], ROUNDS_OF] > 1:
            place[d] = loops
            loops += 1
    return loops


@njit(**LEAN)
def grow(
    w: Plan,
    z: Kinds,
    q: Scratch,
    level: int,
    kinds: Integers,
    place: Integers,
    at: int,
    groups: int,
) -> int:
    """Multiply the groups by the parts of the loop at a place (-1: begin with one group)."""
    if at < 0:
        for row in range(6):
            q[row, 0] = 1.0
        q[PLACE_Y, 0] = q[PLACE_X, 0] = 0.0
    doubled = False
    for d in range(6):
        if place[d] != at:
            continue
        row, k = 6 * level + d, kinds[d]
        rounds = float(z[row, k, ROUNDS_OF])
        doubled = z[row, k, EXTENT] != z[row, k, EXTENT + 1]
        for part in range(1, -1, -1):
            if part and not doubled:
                continue
            number = 1.0 if part else (rounds - 1 if doubled else rounds)
            initial = number
            if not w[MASK, 2] >> d & 1:
                initial = 0.0 if part else 1.0
            work, extent = float(z[row, k, WORK + part]), float(z[row, k, EXTENT + part])
            for g in range(groups):
                to = g + part * groups
                q[CYCLES, to] = q[CYCLES, g] * work
                q[WEIGHTS, to] = q[WEIGHTS, g] * (extent if w[MASK, 1] >> d & 1 else 1.0)
                q[OUTPUTS, to] = q[OUTPUTS, g] * (extent if w[MASK, 2] >> d & 1 else 1.0)
                q[CHANNELS, to] = q[CHANNELS, g] * (extent if d == 1 else 1.0)
                q[NUMBER, to] = q[NUMBER, g] * number
                q[INITIAL, to] = q[INITIAL, g] * initial
                q[PLACE_Y, to] = q[PLACE_Y, g] + part * (1.0 if d == 2 else 2.0 if d == 4 else 0.0)
                q[PLACE_X, to] = q[PLACE_X, g] + part * (1.0 if d == 3 else 2.0 if d == 5 else 0.0)
        if at >= 0:
            break
    return 2 * groups if doubled else groups
