"""The EXECs of a mapping in order, and which buffers they use, compiled.

The rules of `TileStream` and `Residency`; tests compare both.
"""

# ruff: noqa: I001 (indices of arrays, many a line)
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcp_hw.scan import BATCH, DEPTHWISE, DILATION, IN_Y, PADDING, R, RT, STRIDE
from dcp_hw.stream_layout import (
    C_TILES, COUNT, Derived, K_TILES, LANES, PARAMS_TILES, PARTS, STEPS, X_TILES, Y_TILE, Y_TILES,
    ceil_div,
)  # fmt: skip
from dcp_hw.stream_plan import LEAD, SHARED, SNAKE, TILES, TRIM, YS
from tensorlib.compiled import INNER

Ints = NDArray[np.int64]

NEVER = -1

# columns of an EXEC
(
    E_B, E_K, E_C, E_X, E_Y, E_Y_FIRST, E_Y_COUNT, E_Y_LANES, E_Y_STEPS, E_SK, E_SY, E_SX,
    E_ROW, E_ROWS, E_TAP, E_TAPS, E_COMPLETE, E_INPUT, E_FREES_INPUT, E_WEIGHT, E_FREES_WEIGHT,
    E_COUNT,
) = range(22)  # fmt: skip

# columns of an output tile's end
N_EXEC, N_PARAMS, N_LOADS, N_FREES, N_COUNT = range(5)

LOAD_USE, LOAD_AFTER = 0, 1
"""EXEC that needs a load, and the last one that used what was in its buffer, or NEVER."""


class Tiles(NamedTuple):
    """The EXECs of a mapping.

    Attributes:
        execs: `most x E_COUNT`.
        ends: `most x N_COUNT`.
        loads: inputs, weights: `2 x most x 2`.
        counts: EXECs, ends, input loads, weight loads.
        held: inputs, weights, parameters: keys of the two buffers, last uses: `3 x 4`.
        at: indices of the four tile loops, outermost first; directions; bounds: `3 x 4`.
    """

    execs: Ints
    ends: Ints
    loads: Ints
    counts: Ints
    held: Ints
    at: Ints


def new_tiles(most: int) -> Tiles:
    """Room for that many EXECs."""
    return Tiles(
        execs=np.zeros((most, E_COUNT), dtype=np.int64),
        ends=np.zeros((most, N_COUNT), dtype=np.int64),
        loads=np.zeros((2, most, 2), dtype=np.int64),
        counts=np.zeros(4, dtype=np.int64),
        held=np.zeros((3, 4), dtype=np.int64),
        at=np.zeros((3, 4), dtype=np.int64),
    )


@njit(**INNER)
def fill_tiles(g: Ints, m: Ints, d: Derived, t: Tiles) -> int:
    """1 if all EXECs of a mapping were listed, 0 if it cannot run, -1 without room."""
    t.counts[:] = 0
    t.held[:] = NEVER
    walk = 1
    t.at[2, 3] = d.w[C_TILES]
    for n in range(3):
        t.at[2, n] = d.w[(K_TILES, Y_TILES, X_TILES)[m[TILES + n]]]
    for n in range(4):
        walk *= t.at[2, n]
    for b in range(g[BATCH]):
        t.at[0] = 0
        t.at[1] = 1
        for n in range(walk):
            cut = m[LEAD] > 1 and (b + n == 0 or (b + 1 == g[BATCH] and n + 1 == walk))
            found = _fill_tile(g, m, d, t, b, cut)
            if found != 1:
                return found
            _next_tile(t.at, m[SNAKE] != 0)
    for buffer in range(2):
        for tensor in range(2):
            if t.held[tensor, 2 + buffer] != NEVER:
                column = E_FREES_INPUT if tensor == 0 else E_FREES_WEIGHT
                t.execs[t.held[tensor, 2 + buffer], column] = 1
        if t.held[2, 2 + buffer] != NEVER:
            t.ends[t.held[2, 2 + buffer], N_FREES] = 1
    return 1


@njit(**INNER)
def _next_tile(at: Ints, snake: bool) -> None:
    """Nothing; moves the indices on. A loop that ends turns around or begins anew."""
    for loop in range(3, -1, -1):
        index = at[0, loop] + at[1, loop]
        if 0 <= index < at[2, loop]:
            at[0, loop] = index
            return
        if snake:
            at[1, loop] = -at[1, loop]
        else:
            at[0, loop] = 0


@njit(**INNER)
def _fill_tile(g: Ints, m: Ints, d: Derived, t: Tiles, b: int, cut: bool) -> int:
    """The EXECs of one tile; a cut tile has pieces along y. Result as `fill_tiles`."""
    k = y = x = 0
    for n in range(3):
        if m[TILES + n] == 0:
            k = t.at[0, n]
        elif m[TILES + n] == 1:
            y = t.at[0, n]
        else:
            x = t.at[0, n]
    span = d.spans[2, 1 if y == d.w[Y_TILES] - 1 else 0]
    first, count = y * d.w[Y_TILE], span[COUNT]
    if not cut:
        tile = (b, k, t.at[0, 3], x, y, first, count, span[LANES], span[STEPS])
        return _fill_parts(g, m, d, t, tile, span[PARTS])
    size = ceil_div(count, m[LEAD])
    for piece in range(m[LEAD]):
        rows = min(size, count - piece * size)
        if rows <= 0:
            continue
        name = d.w[Y_TILES] + y * m[LEAD] + piece
        tile = (b, k, t.at[0, 3], x, name, first + piece * size, rows, 1, rows)
        found = _fill_parts(g, m, d, t, tile, ceil_div(rows, m[YS]))
        if found != 1:
            return found
    return 1


@njit(**INNER)
def _fill_parts(
    g: Ints,
    m: Ints,
    d: Derived,
    t: Tiles,
    tile: tuple[int, int, int, int, int, int, int, int, int],
    y_parts: int,
) -> int:
    """The EXECs of one tile or piece, given its first columns. Result as `fill_tiles`."""
    b, k, c, x, y = tile[0], tile[1], tile[2], tile[3], tile[4]
    w = d.w
    k_parts = d.spans[0, 1 if k == w[K_TILES] - 1 else 0, PARTS]
    x_parts = d.spans[3, 1 if x == w[X_TILES] - 1 else 0, PARTS]
    channel = k if g[DEPTHWISE] else c
    key = (b * (w[K_TILES] + w[C_TILES]) + channel) * w[Y_TILES] * (1 + m[LEAD]) + y
    key = key * w[X_TILES] + x
    weight_key = (b * w[K_TILES] + k) * w[C_TILES] + c
    for sk in range(k_parts):
        for sy in range(y_parts):
            for sx in range(x_parts):
                begin = t.counts[0]
                found = _fill_rows(g, m, t, tile, sk, sy, sx)
                if found != 1:
                    return found
                for n in range(begin, t.counts[0]):
                    e = t.execs[n]
                    e[E_INPUT] = _hold(t, 0, key, n, E_FREES_INPUT)
                    e[E_WEIGHT] = _hold(t, 1, weight_key, n, E_FREES_WEIGHT)
                    last = n == t.counts[0] - 1 and n % w[C_TILES] == w[C_TILES] - 1
                    e[E_COMPLETE] = last
                    if last:
                        nest = 0 if g[SHARED] else b
                        _end(t, n, nest * w[K_TILES] + k // w[PARAMS_TILES])
    return 1


@njit(**INNER)
def _fill_rows(
    g: Ints,
    m: Ints,
    t: Tiles,
    tile: tuple[int, int, int, int, int, int, int, int, int],
    sk: int,
    sy: int,
    sx: int,
) -> int:
    """The EXECs of one part: one, or with `TRIM` one per kind of border. As `fill_tiles`."""
    count = min(m[YS], tile[8] - sy * m[YS])
    row = 0
    before = (-1, -1)
    deepest = g[IN_Y] - 1 - (g[R] - 1) * g[DILATION]  # top of the last row that has all taps
    while row < count:
        taps, rows = (0, g[RT]), count
        if m[TRIM]:
            top = (tile[5] + sy * m[YS] + row) * g[STRIDE] - g[PADDING]
            rows = 1
            if 0 <= top <= deepest:
                rows = min(count - row, (deepest - top) // g[STRIDE] + 1)
            low = max(0, ceil_div(-top, g[DILATION]))
            high = min(g[R], (g[IN_Y] - 1 - top) // g[DILATION] + 1)
            if high <= low:
                return 0
            taps = (low, high - low)
        if taps == before:
            t.execs[t.counts[0] - 1, E_ROWS] += rows
        else:
            n = t.counts[0]
            if n >= len(t.execs):
                return -1
            e = t.execs[n]
            for i in range(9):
                e[i] = tile[i]
            e[E_SK], e[E_SY], e[E_SX] = sk, sy, sx
            e[E_ROW], e[E_ROWS], e[E_TAP], e[E_TAPS] = row, rows, taps[0], taps[1]
            e[E_FREES_INPUT] = e[E_FREES_WEIGHT] = 0
            t.counts[0] = n + 1
        before = taps
        row += rows
    return 1


@njit(**INNER)
def _place(held: Ints, key: int) -> tuple[int, bool]:
    """Buffer that a use of a tile gets, and whether it is loaded for it."""
    if held[0] == key:
        return 0, False
    if held[1] == key:
        return 1, False
    return 0 if held[2] <= held[3] else 1, True


@njit(**INNER)
def _hold(t: Tiles, tensor: int, key: int, n: int, frees: int) -> int:
    """Buffer that EXEC `n` finds an operand in; lists the load that it takes."""
    held = t.held[tensor]
    buffer, load = _place(held, key)
    if load:
        used = held[2 + buffer]
        if used != NEVER:
            t.execs[used, frees] = 1
        held[buffer] = key
        count = t.counts[2 + tensor]
        t.loads[tensor, count, LOAD_USE], t.loads[tensor, count, LOAD_AFTER] = n, used
        t.counts[2 + tensor] = count + 1
    held[2 + buffer] = n
    return buffer


@njit(**INNER)
def _end(t: Tiles, n: int, key: int) -> None:
    """Nothing; lists the end of an output tile after EXEC `n`, and its parameters."""
    held, count = t.held[2], t.counts[1]
    buffer, load = _place(held, key)
    if load:
        if held[2 + buffer] != NEVER:
            t.ends[held[2 + buffer], N_FREES] = 1
        held[buffer] = key
    held[2 + buffer] = count
    end = t.ends[count]
    end[N_EXEC], end[N_PARAMS], end[N_LOADS], end[N_FREES] = n, buffer, load, 0
    t.counts[1] = count + 1
