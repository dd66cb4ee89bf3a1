"""The predictor's closed form for whole dataflows, compiled: loops and traffic.

The same numbers as `predictors.loops` and `predictors.traffic`, whose texts explain them, without
gradients: counts instead of their logarithms, one dataflow on one layer at a time.

Rows of `g` are counts by level and dimension, `ROWS x 4 x 6`; `place` holds the place of each
dimension's loop, `3 x 6`.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcp_hw.maestro.honest_axis import LEAN
from dcp_hw.maestro.honest_types import INPUT, OUTPUT, WEIGHT, C, K, R, S, X, Y
from dcp_hw.mapspace import DIMENSIONS, ORDER, PARALLEL, TILE, UNITS

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

TILES, OUTER, ONCE, HOLD, RANGES, ROUNDS, STARTS, SINGLE, PATH, EXTENT, MULTI, SERIAL = range(12)
ROWS = 12
STRIDE, DEPTHWISE, STORED = 6, 8, 9  # columns of a layer
_TINY = 1e-30
_T, _O = TILE.start, ORDER.start

MASK = np.array(
    [
        [[0, 1, 1, 1, 1, 1], [1, 1, 0, 0, 1, 1], [1, 0, 1, 1, 0, 0]],
        [[0, 1, 1, 1, 1, 1], [0, 1, 0, 0, 1, 1], [0, 1, 1, 1, 0, 0]],
    ],
    dtype=np.bool_,
)
"""Which dimensions select an element of input, weight, output; the second for depthwise layers."""


@njit(**LEAN)
def loops(
    layer: Floats,
    pes: float,
    m: Integers,
    g: Floats,
    place: Integers,
    along: Integers,
    units: Floats,
    w: Floats,
) -> None:
    """Fill `g`, `place`, `along` (parallel dimensions) and `units` (3 each) from a mapping.

    Args:
        w: room, 8 x 8.
    """
    inner = 1
    for i in range(1, len(m)):
        inner *= m[i, UNITS]
    left = max(1.0, np.floor(pes / inner + 1e-6))
    for i in range(len(m)):
        units[i] = min(float(m[i, UNITS]), left) if i == 0 else m[i, UNITS]
        d = m[i, PARALLEL]
        along[i] = C if d == K and layer[DEPTHWISE] > 0 else d
        for p in range(DIMENSIONS):
            place[i, m[i, _O + p]] = p
    for d in range(DIMENSIONS):
        above = layer[d]
        for i in range(len(m)):
            tile = min(float(m[i, _T + d]), above)
            spread = units[i] if along[i] == d else 1.0
            g[TILES, i, d], g[OUTER, i, d], g[ONCE, i, d] = tile, above, tile * spread
            g[HOLD, i, d] = min(np.ceil(above / tile - 1e-9), units[i]) if along[i] == d else 1.0
            g[MULTI, i, d] = 1.0 if above > tile * spread else 0.0
            above = tile
        _count(layer[d], d, len(m), g, w)


@njit(**LEAN)
def _count(size: float, d: int, levels: int, g: Floats, w: Floats) -> None:
    """Exact counts of whole tiles of one dimension; as `predictors.loops._count`."""
    sizes, number, steps, path = w[0], w[1], w[2], w[3]
    sizes[0], number[0], steps[0], path[0] = size, 1.0, size, 1.0
    have = 1
    for i in range(levels):
        t, u = g[TILES, i, d], g[ONCE, i, d]
        ranges = rounds = starts = single = walked = length = 0.0
        for j in range(have):
            if number[j] > 0:
                ranges += number[j]
                rounds += number[j] * np.ceil(sizes[j] / u - 1e-9)
                starts += number[j] * np.ceil(min(sizes[j], u) / t - 1e-9)
                if sizes[j] <= u:
                    single += number[j] * sizes[j]
                whole = np.floor(sizes[j] / t + 1e-9)
            else:
                whole = 0.0
            rest = sizes[j] - whole * t
            sizes[have + j], number[have + j] = rest, number[j] if rest > 0 else 0.0
            sizes[j], number[j] = t, number[j] * whole
            folds = 0.0
            if path[j] > 0:
                walked += path[j] * np.ceil(steps[j] / u - 1e-9)
                length += path[j] * steps[j]
                folds = np.floor(steps[j] / u + 1e-9)
            rest = min(t, max(0.0, steps[j] - folds * u))
            steps[have + j], path[have + j] = rest, path[j] if rest > 0 else 0.0
            steps[j], path[j] = t, path[j] * folds
        have *= 2
        g[RANGES, i, d], g[ROUNDS, i, d], g[STARTS, i, d] = ranges, rounds, starts
        g[SINGLE, i, d], g[PATH, i, d] = max(single, _TINY), walked
        g[EXTENT, i, d] = length / walked
    g[RANGES, levels, d] = g[SERIAL, 0, d] = 0.0
    for j in range(have):
        g[RANGES, levels, d] += number[j]
        g[SERIAL, 0, d] += path[j] * steps[j]


@njit(**LEAN)
def span(extent: float, taps: float, stride: float) -> float:
    """Positions that `extent` outputs and `taps` taps need."""
    return (extent - 1.0) * min(stride, taps) + taps


@njit(**LEAN)
def volumes(box: Floats, stride: float, depthwise: int, out: Floats) -> None:
    """Elements of input, weight and output (3) in a box of six extents."""
    out[INPUT] = box[C] * span(box[Y], box[R], stride) * span(box[X], box[S], stride)
    out[WEIGHT] = box[C] * box[R] * box[S]
    out[OUTPUT] = box[Y] * box[X]
    if depthwise:
        out[OUTPUT] *= box[C]
    else:
        out[WEIGHT] *= box[K]
        out[OUTPUT] *= box[K]


@njit(**LEAN)
def views(g: Floats, mask: NDArray[np.bool_], changing: Floats, view: Integers) -> None:
    """Fill `changing` and `view`, both 3 x 3, level x tensor."""
    for t in range(3):
        nearest = -1
        for i in range(len(view)):
            changing[i, t] = 0.0
            for d in range(DIMENSIONS):
                if mask[t, d] and g[MULTI, i, d] > 0:
                    changing[i, t] = 1.0
            if changing[i, t] > 0:
                nearest = i
            view[i, t] = nearest


@njit(**LEAN)
def _seen(g: Floats, v: int, at: int, steps: Floats, number: Floats) -> None:
    """What a view at level v (-1: none) counts, units of levels up to `at` one by one."""
    for d in range(DIMENSIONS):
        if at < v:
            steps[d], number[d] = g[ROUNDS, v, d], g[RANGES, v, d]
            continue
        below = 1.0
        for i in range(v + 1, at + 1):
            below *= g[HOLD, i, d]
        steps[d] = number[d] = below
        if v >= 0:
            steps[d] *= g[RANGES, v + 1, d]
            number[d] *= g[STARTS, v, d]


@njit(**LEAN)
def _plain(
    layer: Floats, g: Floats, place: Integers, mask: NDArray[np.bool_], v: int, at: int, w: Floats
) -> float:
    """Elements of weights or outputs (which: `mask`, 6) that enter; `w` is room for 2 x 6."""
    steps, number = w[0], w[1]
    _seen(g, v, at, steps, number)
    total, least, stays = 1.0, 1.0, 0.0
    for d in range(DIMENSIONS):
        total *= layer[d] if mask[d] else steps[d]
        least *= layer[d] if mask[d] else 1.0
    if v < 0:
        return max(total, least)
    for p in range(DIMENSIONS):
        if mask[p] or steps[p] == number[p]:
            continue
        around = steps[p] - number[p]
        for d in range(DIMENSIONS):
            if place[v, d] < place[v, p]:
                around *= layer[d] if mask[d] else steps[d]
            elif d != p:
                around *= g[SINGLE, v, d] if mask[d] else number[d]
        stays += around
    return max(total - stays, least)


@njit(**LEAN)
def _alone(outside: bool, share: float) -> float:
    return 1.0 if outside else share


@njit(**LEAN)
def _inputs(
    layer: Floats, g: Floats, place: Integers, v: int, at: int, own: int, w: Floats
) -> float:
    """Elements of the input that enter.

    Args:
        own: dimension that the counted units share out, -1 for none; w: room.
    """
    steps, number, alone = w[0], w[1], w[2]
    _seen(g, v, at, steps, number)
    stride, stored = layer[STRIDE], layer[C] * layer[STORED] * layer[STORED + 1]
    whole_y, wide_y = _whole(layer, steps, Y, R, layer[STORED])
    whole_x, wide_x = _whole(layer, steps, X, S, layer[STORED + 1])
    total = steps[K] * layer[C] * whole_y * whole_x
    least = 0.25 * max(1.0, min(total, min(stored, layer[C] * whole_y * whole_x)))
    if v < 0:
        return max(total, least)
    for d in range(DIMENSIONS):
        alone[d] = g[SINGLE, v, d] / layer[d]
    at_place = place[v]
    kept = 0.0
    if steps[K] != number[K]:
        kept = (steps[K] - number[K]) * layer[C] * whole_y * whole_x
        for d in range(C, DIMENSIONS):
            kept *= _alone(at_place[d] < at_place[K], alone[d])
    for axis in range(2):
        d, f, e, h = (Y, R, X, S) if axis == 0 else (X, S, Y, R)
        wide, other = (wide_y, whole_x) if axis == 0 else (wide_x, whole_y)
        for moved in (d, f):
            if steps[moved] == number[moved] or own == moved:
                continue
            if moved == d:
                held, second = wide - stride * g[ONCE, v, d], f
            elif stride == 1:
                held, second = wide - g[ONCE, v, f], d
            else:
                continue
            if held <= 0:
                continue
            part = (steps[moved] - number[moved]) * held * steps[second]
            for inner in (second, C, e, h):
                part *= _alone(at_place[inner] < at_place[moved], alone[inner])
            fixed = steps[K] if at_place[K] < at_place[moved] else number[K]
            kept += part * fixed * layer[C] * other
    return max(total - kept, least)


@njit(**LEAN)
def _whole(layer: Floats, steps: Floats, d: int, f: int, stored: float) -> tuple[float, float]:
    """Positions of one axis that enter in all steps, and of a mean step."""
    stride = layer[STRIDE]
    wide = span(layer[d] / steps[d], layer[f] / steps[f], stride)
    padded = max(0.0, span(layer[d], layer[f], stride) - stored)
    return max(1.0, steps[d] * steps[f] * wide - padded * steps[f]), wide


SUPPLIED, TAKEN, DRAINED, COLLECTED, REQUIRED, BUFFERS = 0, 3, 6, 7, 8, 9
COLUMNS = 10
"""Of a row of traffic; the first two have three tensors."""


@njit(**LEAN)
def traffic(
    layer: Floats,
    g: Floats,
    place: Integers,
    along: Integers,
    mask: NDArray[np.bool_],
    view: Integers,
    out: Floats,
    w: Floats,
) -> float:
    """Fill `out` (4 x COLUMNS, by boundary); returns what the MACs read of older sums.

    Args:
        w: room.
    """
    fresh = macs = 1.0
    for d in range(DIMENSIONS):
        macs *= layer[d]
        fresh *= layer[d] if mask[OUTPUT, d] else 1.0
    for boundary in range(len(view) + 1):
        i = max(boundary - 1, 0)
        row, v = out[boundary], view[i]
        up = _plain(layer, g, place, mask[OUTPUT], v[OUTPUT], i - 1, w)
        weights = _plain(layer, g, place, mask[WEIGHT], v[WEIGHT], i - 1, w)
        own = along[i] if boundary else -1
        above = _inputs(layer, g, place, v[INPUT], i - 1, own, w)
        below, down, taken = above, up, weights
        if boundary:
            if along[i] >= Y:
                below = _inputs(layer, g, place, v[INPUT], i, -1, w)
            else:
                below = above * g[HOLD, i, K]
            if not mask[WEIGHT, along[i]]:
                taken = weights * g[HOLD, i, along[i]]
            down = _plain(layer, g, place, mask[OUTPUT], v[OUTPUT], i, w)
        loads = max(0.0, up - fresh)
        if boundary:
            fresh = max(down - loads, fresh)
        row[SUPPLIED], row[SUPPLIED + 1], row[SUPPLIED + 2] = above, weights, loads
        row[TAKEN], row[TAKEN + 1], row[TAKEN + 2] = below, taken, loads
        row[DRAINED], row[COLLECTED] = down, up
    _required(layer, g, view, out, w)
    return max(0.0, macs - fresh)


@njit(**LEAN)
def _required(layer: Floats, g: Floats, view: Integers, out: Floats, w: Floats) -> None:
    """Fill what the L2 and a buffer of each level hold, and how many there are."""
    buffers = 1.0
    for boundary in range(len(view) + 1):
        i = max(boundary - 1, 0)
        for d in range(DIMENSIONS):
            w[0, d] = g[TILES, i, d] if boundary else min(g[ONCE, 0, d], layer[d])
            buffers *= g[HOLD, i, d] if boundary else 1.0
        volumes(w[0], layer[STRIDE], int(layer[DEPTHWISE]), w[1])
        need = 0.0
        for t in range(3):
            need += w[1, t] * (2.0 if view[i, t] >= 0 else 1.0)
        out[boundary, REQUIRED], out[boundary, BUFFERS] = need, buffers
