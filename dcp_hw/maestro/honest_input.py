"""Traffic of the input in closed form (compiled): tiles that overlap, strides and padding.

The input is coupled to Y with R and to X with S. What stays in place at a step change is summed
over pairs of tiles, after and before: a short list for each of the four dimensions and for each
state of its loop, OUT (outside the changing loop), AT (it is that loop) or IN (inside).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcp_hw.maestro.honest_axis import LEAN, WIDE, kept, overlap
from dcp_hw.maestro.honest_plan import (
    BOTH_IN,
    BOTH_OUT,
    CLASS_COUNT,
    CLASS_SIZE,
    CLASSES,
    INNER_AT,
    INNER_IN,
    LAYER,
    OUTER_AT,
    PADDING,
    PARALLEL,
    PLACE,
    RANGES,
    ROUND,
    ROUNDS,
    ROWS,
    SIZE,
    STRIDE,
    TABLE,
    TILE,
    UNIT,
    Plan,
)

OUT, AT, IN = range(3)

Pairs = NDArray[np.int64]
"""(4 dims x 3 states + 1 spare) x entries x 5; entry 0 of a list holds its length."""
FIRST, MOVED, NEW, OLD, COUNT = range(5)  # start (-1: anywhere), old - new start, sizes
SPARE = 12


def pairs_for(largest: int, taps: int, padding: int) -> Pairs:
    """Room for the pairs of layers with at most these sizes."""
    entries = 64
    if padding:
        entries += 4 * min(padding, largest) + 2 * taps
    return np.zeros((SPARE + 1, entries, 5), dtype=np.int64)


@njit(**LEAN)
def _add(pairs: Pairs, row: int, first: int, moved: int, new: int, old: int, count: int) -> None:
    """Append a pair of tiles to a list."""
    number = pairs[row, 0, 0] + 1
    pairs[row, 0, 0] = number
    pairs[row, number, FIRST], pairs[row, number, MOVED] = first, moved
    pairs[row, number, NEW], pairs[row, number, OLD] = new, old
    pairs[row, number, COUNT] = count


@njit(**LEAN)
def _at_edge(w: Plan, d: int, first: int, size: int) -> bool:
    """Whether outputs first .. first + size - 1 of Y or X need padding."""
    stride, padding = w[LAYER, STRIDE], w[LAYER, PADDING]
    last = padding + w[LAYER, ROWS + d - 2]
    return first * stride < padding or (first + size - 1) * stride + w[SIZE, d + 2] > last


@njit(**LEAN)
def make_pairs(w: Plan, pairs: Pairs, d: int, view: int, at: int) -> None:
    """List the tiles of units of level `at` for all step changes of the loop of level `view`.

    With padding, tiles of R and S are listed one by one with their place; tiles of Y and X at an
    edge appear with their place, and are taken back (negative count) where they stand in bulk.
    """
    row = 3 * (d - 2)
    for state in range(3):
        pairs[row + state, 0, 0] = 0
    padded = w[LAYER, PADDING] > 0
    if not padded or d < 4:
        _bulk(w, pairs, d, view, at)
    if padded:
        size = w[SIZE, d]
        end = 0
        while end < size and (d >= 4 or _at_edge(w, d, end, 1)):
            end = _placed(w, pairs, d, view, at, end)[1]
        start = size
        while start > end and _at_edge(w, d, start - 1, 1):
            start = _placed(w, pairs, d, view, at, start - 1)[0]
    for level in range(view + 1, at + 1):
        if w[UNIT + level, PARALLEL] == d:
            for state in range(3):
                _split(w, pairs, row + state, d, w[TILE + level, d])
    if padded and d < 4:
        for state in range(3):
            _take_back(w, pairs, row + state, d)


@njit(**LEAN)
def _bulk(w: Plan, pairs: Pairs, d: int, view: int, at: int) -> None:
    """The pairs of tiles by size, wherever they are."""
    row = 3 * (d - 2)
    if view < 0:
        _add(pairs, row + OUT, -1, 0, w[SIZE, d], w[SIZE, d], 1)
        return
    once = w[ROUND + view, d]
    tile = w[TILE + view, d] if at >= view else once  # unit by unit, or all units as one
    for c in range(w[CLASSES + view, d]):
        size, count = w[CLASS_SIZE + 6 * view + d, c], w[CLASS_COUNT + 6 * view + d, c]
        if count == 0:
            continue
        whole = size // tile
        rest = size - whole * tile
        units = once // tile
        moved = 0 if size <= once else (size - 1) // once * once  # first to last round
        if whole:
            _add(pairs, row + OUT, -1, 0, tile, tile, count * whole)
        if whole > units:
            _add(pairs, row + AT, -1, -once, tile, tile, count * (whole - units))
        if size - moved >= tile:
            stay = (size - moved) // tile
            _add(pairs, row + IN, -1, moved, tile, tile, count * stay)
        if rest:
            _add(pairs, row + OUT, -1, 0, rest, rest, count)
            if whole >= units:
                _add(pairs, row + AT, -1, -once, rest, tile, count)
            _add(pairs, row + IN, -1, moved, tile if moved else rest, rest, count)


@njit(**LEAN)
def _placed(w: Plan, pairs: Pairs, d: int, view: int, at: int, inside: int) -> tuple[int, int]:
    """Append the pairs of the one tile that an output or tap lies in; its start and end."""
    row = 3 * (d - 2)
    low, size = 0, w[SIZE, d]  # the range around it
    for level in range(view):
        number = (inside - low) // w[TILE + level, d] * w[TILE + level, d]
        low, size = low + number, min(w[TILE + level, d], size - number)
    once = w[ROUND + view, d] if view >= 0 else size
    tile = w[TILE + view, d] if at >= view >= 0 else once
    number = (inside - low) // tile
    start = low + number * tile
    new = min(tile, size - number * tile)
    _add(pairs, row + OUT, start, 0, new, new, 1)
    if number * tile >= once:
        _add(pairs, row + AT, start, -once, new, tile, 1)
    else:
        moved = (size - 1) // once * once
        old = min(tile, size - number * tile - moved)
        if old > 0:
            _add(pairs, row + IN, start, moved, new, old, 1)
    return start, start + new


@njit(**LEAN)
def _split(w: Plan, pairs: Pairs, row: int, d: int, tile: int) -> None:
    """Split the pairs of a list among units; a unit needs both tiles to keep anything.

    Of outputs with a place only those at an edge are kept, as in `_take_back`: the rest is bulk.
    """
    for entry in range(pairs[row, 0, 0] + 1):
        for column in range(5):
            pairs[SPARE, entry, column] = pairs[row, entry, column]
    pairs[row, 0, 0] = 0
    for entry in range(1, pairs[SPARE, 0, 0] + 1):
        first, moved = pairs[SPARE, entry, FIRST], pairs[SPARE, entry, MOVED]
        new, old, count = (
            pairs[SPARE, entry, NEW],
            pairs[SPARE, entry, OLD],
            pairs[SPARE, entry, COUNT],
        )
        start = 0
        if first < 0:  # all whole tiles are alike
            start = min(new, old) // tile * tile
            if start:
                _add(pairs, row, first, moved, tile, tile, count * (start // tile))
        while start < min(new, old):
            place = first + start if first >= 0 else first
            part = min(tile, new - start)
            if first < 0 or d >= 4 or _at_edge(w, d, place, part):
                _add(pairs, row, place, moved, part, min(tile, old - start), count)
            start += tile


@njit(**LEAN)
def _take_back(w: Plan, pairs: Pairs, row: int, d: int) -> None:
    """Of the tiles with a place keep those at an edge, and take them out of the bulk."""
    number = pairs[row, 0, 0]
    pairs[row, 0, 0] = 0
    for entry in range(1, number + 1):
        for column in range(5):
            pairs[SPARE, entry, column] = pairs[row, entry, column]
    for entry in range(1, number + 1):
        first, moved = pairs[SPARE, entry, FIRST], pairs[SPARE, entry, MOVED]
        new, old, count = (
            pairs[SPARE, entry, NEW],
            pairs[SPARE, entry, OLD],
            pairs[SPARE, entry, COUNT],
        )
        if first < 0 or _at_edge(w, d, first, new):
            _add(pairs, row, first, moved, new, old, count)
            if first >= 0:
                _add(pairs, row, -1, moved, new, old, -count)


@njit(**LEAN)
def axis_table(w: Plan, pairs: Pairs, d: int, view: int, own: int) -> None:
    """Positions of an axis that stay in place, summed over all pairs of tiles of two states.

    Of the loops over d (Y or X) and d + 2 (R or S) one is the inner one; while it moves, the outer
    one stays, and when the outer one moves, the inner one starts again.

    Args:
        own: the level whose units share the axis and read together (-1: every tile by itself).
    """
    row = TABLE + d - 2
    total = _sum(w, pairs, d, OUT, OUT, own)
    w[row, BOTH_OUT] = total
    if view < 0:
        return
    inner, outer = d, d + 2
    if w[PLACE + view, d] < w[PLACE + view, d + 2]:
        inner, outer = d + 2, d
    w[row, INNER_AT], w[row, INNER_IN] = 0, total
    if w[ROUNDS + view, inner] != w[RANGES + view, inner]:  # otherwise it never moves
        states = (AT, OUT) if inner == d else (OUT, AT)
        w[row, INNER_AT] = _sum(w, pairs, d, states[0], states[1], own)
        states = (IN, OUT) if inner == d else (OUT, IN)
        total = w[row, INNER_IN] = _sum(w, pairs, d, states[0], states[1], own)
    w[row, OUTER_AT], w[row, BOTH_IN] = 0, total
    if w[ROUNDS + view, outer] != w[RANGES + view, outer]:
        states = (AT, IN) if outer == d else (IN, AT)
        w[row, OUTER_AT] = _sum(w, pairs, d, states[0], states[1], own)
        w[row, BOTH_IN] = _sum(w, pairs, d, IN, IN, own)


@njit(**LEAN)
def _sum(w: Plan, pairs: Pairs, d: int, state: int, taps: int, own: int) -> int:
    """Positions that stay in place, over the pairs of tiles of two states; `own`: see above."""
    stride, padding = w[LAYER, STRIDE], w[LAYER, PADDING]
    parallel = w[UNIT + own, PARALLEL] if own >= 0 else 0
    tile = w[TILE + own, parallel] if own >= 0 else 0
    total = 0
    a, b = 3 * (d - 2) + state, 3 * d + taps
    for i in range(1, pairs[a, 0, 0] + 1):
        t1, t2, dy = pairs[a, i, NEW], pairs[a, i, OLD], pairs[a, i, MOVED]
        for j in range(1, pairs[b, 0, 0] + 1):
            r1, r2, dr = pairs[b, j, NEW], pairs[b, j, OLD], pairs[b, j, MOVED]
            low, high = -WIDE, WIDE
            if padding and pairs[a, i, FIRST] >= 0:
                low = padding - pairs[a, i, FIRST] * stride - pairs[b, j, FIRST]
                high = low + w[LAYER, ROWS + d - 2]
            if own >= 0:
                stay = kept(stride, parallel >= 4, tile, t1, r1, t2, r2, dy, dr, low, high)
            else:
                stay = overlap(stride, t1, r1, t2, r2, dy, dr, low, high)
            total += pairs[a, i, COUNT] * pairs[b, j, COUNT] * stay
    return total
