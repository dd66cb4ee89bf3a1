"""One mapping laid out for the compiled model: clipped tiles, units, constants, sizes of ranges.

A plan is an int64 array of eight columns whose rows the constants below name. Column d of a row by
dimension is dimension d of `DIMS`. One plan serves mapping after mapping.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcp_hw.maestro.honest_axis import INLINED, LEAN, quotient

Plan = NDArray[np.int64]
Integers = NDArray[np.int64]

LEVELS = 3  # most levels that a plan holds

# What a row of the inputs holds.
LAYER_COLUMNS = 11  # K C Y X R S stride padding depthwise rows columns
MACHINE_COLUMNS = 6  # pes l1_size l2_size noc_bw noc_latency dram_bw; 0 for unlimited
PES, L1_SIZE, L2_SIZE, NOC_BW, LATENCY, DRAM_BW = range(6)
LEVEL_COLUMNS = 14  # clusters (0: free), parallel, order x 6, tile x 6

SIZE = 0  # of the layer, by dimension
LAYER = 1
STRIDE, PADDING, ROWS, COLUMNS = range(4)
MASK = 2  # by tensor: bit set of the coupled dimensions
TILE = 3  # by level and dimension; clipped to the level above
ROUND = TILE + LEVELS  # elements of one round of each loop: tile x units for the parallel one
ORDER = ROUND + LEVELS  # dimensions, outermost loop first
PLACE = ORDER + LEVELS  # by dimension: its place in the order
UNIT = PLACE + LEVELS
# CHANGING: bit set of the non-constant tensors; WAITS: whether its ports can be the slowest
PARALLEL, UNITS, HOLDING, CHANGING, WAITS = range(5)
VIEW = UNIT + LEVELS  # by level and tensor: nearest level at or above where it is not constant
RANGES = VIEW + LEVELS  # by level and dimension: ranges of that level in the layer
ROUNDS = RANGES + LEVELS + 1  # rounds in all of them
SINGLE = ROUNDS + LEVELS  # elements in those that have one round
STARTS = SINGLE + LEVELS  # tiles in the first rounds
CLASSES = STARTS + LEVELS  # by level and dimension: how many sizes its ranges have
CLASS_SIZE = CLASSES + LEVELS  # by level x 6 + dimension: those sizes
CLASS_COUNT = CLASS_SIZE + 6 * LEVELS  # and how often each occurs
LISTED = CLASS_COUNT + 6 * LEVELS  # by dimension: what honest_count has listed
TABLE = LISTED + 1  # Y with R, X with S: what stays by state of the inner and the outer loop
BOTH_OUT, INNER_AT, INNER_IN, OUTER_AT, BOTH_IN, KEY = range(6)
SPLITS = TABLE + 2  # by dimension: bit set of the levels where several units share it
UNEVEN = SPLITS + 1  # by dimension: whether some tile is smaller than the others
ENTER = UNEVEN + 1  # by dimension: what enters a unit in all its steps,
REMAIN = ENTER + 1  # what a step of its loop leaves in place,
STAY = REMAIN + 1  # and what stays when a loop further out moves on
TAG = STAY + 1  # of the sources
PLAN_ROWS = TAG + 1


@njit(**LEAN)
def prepare(layer: Integers, machine: Integers, levels: Integers, w: Plan) -> bool:
    """Lay out one mapping (`levels`: depth x LEVEL_COLUMNS); False if the PEs do not suffice."""
    depth = levels.shape[0]
    for d in range(6):
        w[SIZE, d] = layer[d]
        w[RANGES, d] = w[CLASSES, d] = w[CLASS_COUNT + d, 0] = 1
        w[CLASS_SIZE + d, 0] = layer[d]
        w[SPLITS, d] = w[UNEVEN, d] = 0
    w[LAYER, STRIDE], w[LAYER, PADDING] = layer[6], layer[7]
    w[LAYER, ROWS], w[LAYER, COLUMNS] = layer[9], layer[10]
    depthwise = layer[8] != 0
    # K C Y X R S are the bits 1 2 4 8 16 32.
    w[MASK, 0] = 62
    w[MASK, 1] = 50 if depthwise else 51
    w[MASK, 2] = 14 if depthwise else 13
    inner = 1
    for i in range(1, depth):
        inner *= max(1, levels[i, 0])
    limit = machine[PES] // inner
    if limit == 0:
        return False
    for i in range(depth):
        units = max(1, levels[i, 0])
        if i == 0:
            units = limit if levels[0, 0] == 0 else min(units, limit)
        parallel = levels[i, 1]
        if depthwise and parallel == 0:
            parallel = 1
        changing = 0
        for d in range(6):
            place = levels[i, 2 + d]
            w[ORDER + i, d] = place
            w[PLACE + i, place] = d
            outer = w[SIZE, d] if i == 0 else w[TILE + i - 1, d]
            tile = min(outer, np.int64(levels[i, 8 + d]))
            once, side = tile, 1
            if d == parallel:
                once, side = tile * units, units
                w[UNIT + i, HOLDING] = min(units, quotient(outer + tile - 1, tile))
                w[SPLITS, d] |= (outer > tile and units > 1) << i
            w[TILE + i, d], w[ROUND + i, d] = tile, once
            changing |= (outer > once) << d
            _ranges(w, i, d, tile, side)
        w[UNIT + i, PARALLEL], w[UNIT + i, UNITS] = parallel, units
        w[UNIT + i, CHANGING] = 0
        for t in range(3):
            if changing & w[MASK, t]:
                w[UNIT + i, CHANGING] |= 1 << t
                w[VIEW + i, t] = i
            else:
                w[VIEW + i, t] = w[VIEW + i - 1, t] if i else -1
    return True


@njit(**INLINED)
def _ranges(w: Plan, i: int, d: int, tile: int, units: int) -> None:
    """Sum up the ranges of a level in one dimension, and list those of the next level."""
    here, below, once = 6 * i + d, 6 * (i + 1) + d, tile * units
    ranges, rounds, single, starts, number = 0, 0, 0, 0, 0
    for c in range(w[CLASSES + i, d]):
        size, count = w[CLASS_SIZE + here, c], w[CLASS_COUNT + here, c]
        whole = quotient(size, tile)
        rest = size - whole * tile
        tiles = whole + (rest > 0)
        ranges += count * tiles
        if size <= once:
            rounds += count
            single += count * size
            starts += count * tiles
        else:
            rounds += count * (tiles if units == 1 else quotient(tiles + units - 1, units))
            starts += count * units
        w[UNEVEN, d] |= rest > 0
        if rest and i + 1 < LEVELS:
            number += 1
            w[CLASS_SIZE + below, number], w[CLASS_COUNT + below, number] = rest, count
    w[RANGES + i + 1, d], w[ROUNDS + i, d] = ranges, rounds
    w[SINGLE + i, d], w[STARTS + i, d] = single, starts
    if i + 1 < LEVELS:
        whole = ranges
        for c in range(1, number + 1):
            whole -= w[CLASS_COUNT + below, c]
        w[CLASS_SIZE + below, 0], w[CLASS_COUNT + below, 0] = tile, whole
        w[CLASSES + i + 1, d] = number + 1
