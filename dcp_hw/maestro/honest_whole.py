"""What stays of the input along an axis whose filter is whole in every tile, in closed form.

The common case: tiles of R (or S) are as large as the layer's, so only outputs move. A tile of t
outputs touches `(t - 1) * min(stride, taps) + taps` positions; two tiles side by side share
`taps - stride`. `honest_input` handles everything else by lists of pairs of tiles.
"""

from __future__ import annotations

from numba import njit

from dcp_hw.maestro.honest_axis import INLINED, LEAN, quotient
from dcp_hw.maestro.honest_plan import (
    BOTH_IN,
    BOTH_OUT,
    CLASS_COUNT,
    CLASS_SIZE,
    CLASSES,
    ENTER,
    INNER_AT,
    INNER_IN,
    LAYER,
    OUTER_AT,
    PADDING,
    PARALLEL,
    PLACE,
    RANGES,
    REMAIN,
    ROUND,
    ROUNDS,
    ROWS,
    SIZE,
    STAY,
    STRIDE,
    TABLE,
    TILE,
    UNIT,
    Plan,
)


@njit(**INLINED)
def whole_axis(w: Plan, d: int, view: int, at: int, own: int, steps: int, number: int) -> bool:
    """Fill in what enters and stays along axis d (Y or X); False if it is not known.

    Args:
        own: the level whose units read together (-1: every tile by itself).
        steps, number: tiles of all units in all steps, and in the first rounds.
    """
    stride, taps, pad, size = w[LAYER, STRIDE], w[SIZE, d + 2], w[LAYER, PADDING], w[SIZE, d]
    if own >= 0 and w[UNIT + own, PARALLEL] != d:
        if w[UNIT + own, PARALLEL] == d + 2:
            return False
        own = -1
    high = 0  # positions of the last output that are padding
    if pad:
        high = max(0, (size - 1) * stride + taps - pad - w[LAYER, ROWS + d - 2])
        if max(pad, high) > stride or stride > taps:
            return False  # more than one output at an edge
    each = min(stride, taps)
    out = each * size + (taps - each) * steps - pad - high
    moved, first = 0, out
    if view >= 0 and w[ROUNDS + view, d] != w[RANGES + view, d]:
        once = w[ROUND + view, d]
        tile, splits = _moving(w, d, view, at, own)
        share = taps - stride - (once - tile) * stride
        if share > 0:
            if splits:
                return False
            moved = (steps - number) * share
        first = _first(w, d, view, at, tile, splits)
        if first < 0:
            return False
        if pad and w[CLASS_SIZE + 6 * view + d, 0] <= once:
            first -= pad
        if high and _last_range(w, d, view) <= once:
            first -= high
    w[ENTER, d], w[REMAIN, d], w[STAY, d] = out, moved, first
    return True


@njit(**LEAN)
def whole_table(w: Plan, d: int, view: int) -> None:
    """What `whole_axis` found, as `honest_input.axis_table` puts it."""
    row = TABLE + d - 2
    out, moved, first = w[ENTER, d], w[REMAIN, d], w[STAY, d]
    w[row, BOTH_OUT] = out
    if w[PLACE + max(view, 0), d] < w[PLACE + max(view, 0), d + 2]:
        w[row, INNER_AT], w[row, INNER_IN], w[row, OUTER_AT] = 0, out, moved
    else:
        w[row, INNER_AT], w[row, INNER_IN], w[row, OUTER_AT] = moved, first, 0
    w[row, BOTH_IN] = first


@njit(**INLINED)
def _moving(w: Plan, d: int, view: int, at: int, own: int) -> tuple[int, bool]:
    """Outputs of one unit, which decide whether it keeps anything; whether tiles are split."""
    if own >= 0:
        return w[TILE + own, d], True
    tile, splits = w[TILE + view, d] if at >= view else w[ROUND + view, d], False
    for level in range(view + 1, at + 1):
        if w[UNIT + level, PARALLEL] == d:
            tile, splits = w[TILE + level, d], True
    return tile, splits


@njit(**INLINED)
def _first(w: Plan, d: int, view: int, at: int, tile: int, splits: bool) -> int:
    """Positions in the first rounds of all ranges that were in the last; -1 if not known."""
    stride, taps = w[LAYER, STRIDE], w[SIZE, d + 2]
    once, each = w[ROUND + view, d], min(w[LAYER, STRIDE], w[SIZE, d + 2])
    total = 0
    for c in range(w[CLASSES + view, d]):
        size, count = w[CLASS_SIZE + 6 * view + d, c], w[CLASS_COUNT + 6 * view + d, c]
        if size <= once:  # a single round: it stays as a whole
            if splits and at >= view:
                return -1
            tiles = quotient(size + tile - 1, tile) if at >= view else 1
            total += count * (each * size + (taps - each) * tiles)
            continue
        moved = quotient(size - 1, once) * once
        share = taps - stride - (moved - tile) * stride
        if share > 0:
            if splits:
                return -1
            units = quotient(size - moved + tile - 1, tile) if at >= view else 1
            total += count * units * share
    return total


@njit(**LEAN)
def _last_range(w: Plan, d: int, view: int) -> int:
    """Outputs of the last range of a level."""
    if w[CLASSES + view, d] == 1:
        return w[CLASS_SIZE + 6 * view + d, 0]
    size = w[SIZE, d]
    for level in range(view):
        tile = w[TILE + level, d]
        size = min(tile, size - quotient(size - 1, tile) * tile)
    return size
