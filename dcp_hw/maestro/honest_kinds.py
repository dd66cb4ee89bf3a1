"""Ranges by size, and whether a level can ever wait for its ports (compiled).

Time follows unit 0 of each level, and the few units that can take longer. Along one dimension the
ranges they walk at a level have at most three sizes; each size is a *kind*. A step is described by
the kind of its range and, for each dimension, by a part: FIRST (a full round) or LAST.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcp_hw.maestro.honest_axis import INLINED, LEAN, quotient, span
from dcp_hw.maestro.honest_plan import (
    LAYER,
    LEVELS,
    MASK,
    ROUND,
    SIZE,
    STRIDE,
    TILE,
    UNEVEN,
    Plan,
)

Kinds = NDArray[np.int64]
"""(level x 6 + dimension) x kind x fields below; row LEVELS x 6 + level, kind 0: kinds by dim."""

KINDS = 4  # most of one dimension, and a spare
LENGTH, ROUNDS_OF = 0, 1
EXTENT = 2  # + part: elements of all units together in a first or last round
CHILD = 4  # + part: kind of unit 0's range at the next level
WORK = 6  # + part: MACs of unit 0 along this dimension; of the whole range
TOTAL = 8
FIELDS = 9


@njit(**INLINED)
def _kind(z: Kinds, level: int, d: int, size: int) -> int:
    """The kind of a size at a level; a new one if there is none."""
    row = 6 * level + d
    number = z[6 * LEVELS + level, 0, d]
    for k in range(number):
        if z[row, k, LENGTH] == size:
            return k
    z[row, number, LENGTH] = size
    z[6 * LEVELS + level, 0, d] = number + 1
    return number


@njit(**LEAN)
def list_kinds(w: Plan, z: Kinds, depth: int) -> float:
    """Fill in all kinds; the cycles of the layer if it never waits."""
    cycles = 1.0
    for d in range(6):
        cycles *= _uneven(w, z, depth, d) if w[UNEVEN, d] else _even(w, z, depth, d)
    return cycles


@njit(**INLINED)
def _even(w: Plan, z: Kinds, depth: int, d: int) -> int:
    """The one kind of each level along d, where all tiles divide; its MACs of unit 0."""
    work = w[TILE + depth - 1, d]
    for level in range(depth - 1, -1, -1):
        size = w[TILE + level - 1, d] if level else w[SIZE, d]
        once, row = w[ROUND + level, d], 6 * level + d
        rounds = 1 if size <= once else quotient(size + once - 1, once)
        z[6 * LEVELS + level, 0, d] = 1
        z[row, 0, LENGTH], z[row, 0, ROUNDS_OF] = size, rounds
        z[row, 0, EXTENT], z[row, 0, EXTENT + 1] = min(once, size), size - (rounds - 1) * once
        z[row, 0, CHILD] = z[row, 0, CHILD + 1] = 0
        z[row, 0, WORK] = z[row, 0, WORK + 1] = work
        work *= rounds
        z[row, 0, TOTAL] = work
    return work


@njit(**LEAN)
def _uneven(w: Plan, z: Kinds, depth: int, d: int) -> int:
    """The kinds of each level along d; all MACs of unit 0."""
    for level in range(depth):
        z[6 * LEVELS + level, 0, d] = 0
    _kind(z, 0, d, w[SIZE, d])
    for level in range(depth):
        once, tile, row = w[ROUND + level, d], w[TILE + level, d], 6 * level + d
        for k in range(z[6 * LEVELS + level, 0, d]):
            size = z[row, k, LENGTH]
            rounds = 1 if size <= once else quotient(size + once - 1, once)
            z[row, k, ROUNDS_OF] = rounds
            z[row, k, EXTENT] = min(once, size)
            z[row, k, EXTENT + 1] = size - (rounds - 1) * once
            for part in range(2):
                extent = z[row, k, EXTENT + part]
                if level == depth - 1:
                    z[row, k, WORK + part] = min(extent, tile)
                    continue
                z[row, k, CHILD + part] = _kind(z, level + 1, d, min(extent, tile))
                if once > tile and d >= 2 and extent > tile and extent % tile:
                    _kind(z, level + 1, d, extent % tile)  # its last unit
    for level in range(depth - 1, -1, -1):
        row = 6 * level + d
        for k in range(z[6 * LEVELS + level, 0, d]):
            if level < depth - 1:
                for part in range(2):
                    child = z[row, k, CHILD + part]
                    z[row, k, WORK + part] = z[row + 6, child, TOTAL]
            rounds = z[row, k, ROUNDS_OF]
            z[row, k, TOTAL] = (rounds - 1) * z[row, k, WORK] + z[row, k, WORK + 1]
    return z[d, 0, TOTAL]


@njit(**LEAN)
def never_waits(w: Plan, z: Kinds, level: int, noc: float, dram: float) -> bool:
    """Whether the units of a level always work longer than its ports (a sufficient condition).

    A tensor's elements per cycle are at most a product over the dimensions: of elements per cycle
    where it is coupled, of 1 per cycle elsewhere. All products are taken times `cycles`, the
    least work of any step.
    """
    inputs, weights, outputs, write, cycles = 1.0, 1.0, 1.0, 1.0, 1.0
    selects_weight, selects_output = w[MASK, 1], w[MASK, 2]
    single = 0  # dimensions with one kind, whose rounds are alike
    for d in range(6):
        row = 6 * level + d
        extent, work = float(z[row, 0, EXTENT]), float(z[row, 0, WORK])
        most, largest, least = extent, extent, work
        number = z[6 * LEVELS + level, 0, d]
        if number == 1 and z[row, 0, WORK] == z[row, 0, WORK + 1]:
            single |= 1 << d  # its first round has the most elements
        else:
            rate = extent / work
            for k in range(number):
                for part in range(2):
                    extent, work = float(z[row, k, EXTENT + part]), float(z[row, k, WORK + part])
                    rate = max(rate, extent / work)
                    largest, least = max(largest, extent), min(least, work)
            most = rate * least
        cycles *= least
        weights *= most if selects_weight >> d & 1 else 1.0
        if selects_output >> d & 1:
            outputs *= most
            write *= largest
        inputs *= most if d == 1 else 1.0
        if d >= 4:
            if (single >> d & 1) + (single >> d - 2 & 1) == 2:
                inputs *= span(z[row - 2, 0, EXTENT], z[row, 0, EXTENT], w[LAYER, STRIDE])
            else:
                inputs *= _axis_rate(w, z, level, d - 2) * _least(z, level, d - 2) * least
    read = inputs + weights + outputs
    slack = 1.0 + 1e-9
    if level == 0 and (read + write) * slack > dram * cycles:
        return False
    return max(read, write) * slack <= noc * cycles


@njit(**LEAN)
def _least(z: Kinds, level: int, d: int) -> int:
    """Least work of a step along d."""
    least = z[6 * level + d, 0, WORK]
    for k in range(z[6 * LEVELS + level, 0, d]):
        least = min(least, z[6 * level + d, k, WORK], z[6 * level + d, k, WORK + 1])
    return least


@njit(**LEAN)
def _axis_rate(w: Plan, z: Kinds, level: int, d: int) -> float:
    """Most input positions per cycle of an axis."""
    most = 0.0
    row = 6 * level + d
    for k in range(z[6 * LEVELS + level, 0, d]):
        for part in range(2):
            t, work = z[row, k, EXTENT + part], z[row, k, WORK + part]
            for j in range(z[6 * LEVELS + level, 0, d + 2]):
                for other in range(2):
                    r, taps = z[row + 2, j, EXTENT + other], z[row + 2, j, WORK + other]
                    rate = span(t, r, w[LAYER, STRIDE]) / (float(work) * float(taps))
                    most = max(most, rate)
    return most
