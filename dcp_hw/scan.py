"""A fast estimate of a mapping's latency, and the scan of tile sizes with it (compiled).

The estimate counts steps, loaded words and stored words exactly for the tile loops and adds
what cannot overlap; the exact model then ranks the best of them.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

# indices of the constants that `scan` takes
(
    K, C, Y, X, R, S, BATCH, STRIDE, DILATION, PADDING, IN_Y, IN_X, C4, DEPTHWISE,
    NK, NC, NY, NX, RT, ST, TAP_R, TAP_S, SLOT_S, KI, KD, KO, CI, CO, BYTES, WEIGHTS,
    INPUT_ROWS, WEIGHT_ROWS, OUTPUT_WORDS, PARAM_ROWS, INPUT_SLOTS, WEIGHT_LOCAL,
    WEIGHT_BANKS_2, DRAIN_K, DRAIN_X, DRAIN_Y, FINISH, SWEEP_MIN, CHAIN, CHAIN_LENGTH,
    R_IN, R_OUT, SETUP, INT32, BASE_Y, BASE_X, BASE_C, TRIM, LEAD, GOAL, COUNT,
) = range(55)  # fmt: skip

COMPILED: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}

PACKED, TAPS, COLUMNS, ROWS = 0, 1, 2, 3
NO_CHAIN, INPUT_CHAIN, WEIGHT_CHAIN, OUTPUT_CHAIN = 0, 1, 2, 3
TILE_ORDERS = ("kyx", "yxk", "ykx")
MAX_COUNT = 1023
MAX_BASE = (1 << 14) - 1
FAR = 1 << 60
LATENCY, ENERGY, EDP = 0, 1, 2
WORD_CYCLES = 16
"""Energy of a word on the bus in units of what a cycle costs besides (leakage, clock)."""


@numba.njit(**COMPILED)
def _ceil(a: int, b: int) -> int:
    return -(-a // b)


@numba.njit(**COMPILED)
def _span_sum(total: int, lanes: int, steps: int) -> tuple[int, int, int]:
    """Tiles, steps of all of them, steps of the last one (pixels: lanes blocked)."""
    tile = lanes * steps
    tiles = _ceil(total, tile)
    rest = total - (tiles - 1) * tile
    last = steps if rest > steps else rest
    return tiles, (tiles - 1) * steps + last, last


@numba.njit(**COMPILED)
def _reach(total: int, lanes: int, steps: int, stride: int, window: int) -> tuple[int, int]:
    """Input positions loaded for all tiles, and for the largest one."""
    tile = lanes * steps
    tiles = _ceil(total, tile)
    rest = total - (tiles - 1) * tile
    used = _ceil(rest, steps)
    last = used * steps if used > 1 else rest
    full = (tile - 1) * stride + window
    tail = (last - 1) * stride + window
    return (tiles - 1) * full + tail, full if tiles > 1 else tail


@numba.njit(**COMPILED)
def weight_bytes(g: np.ndarray, kt: int, ct: int) -> int:
    """Bytes of one weight bank that a tile uses."""
    if g[WEIGHTS] == TAPS:
        width = g[TAP_S] if g[SLOT_S] else g[ST]
        size = g[RT] * width
        if size > 16 and g[WEIGHT_LOCAL] > 1:
            size = g[RT] * 16
        return kt * _ceil(size, 16) * 16
    if g[WEIGHTS] == COLUMNS or g[WEIGHTS] == ROWS:
        return kt * _ceil(ct * g[CI], 16) * 16
    depth = 1 if g[DEPTHWISE] == 1 else ct
    return _ceil(kt * g[RT] * g[ST] * depth * g[WEIGHT_LOCAL], 16) * 16


@numba.njit(**COMPILED)
def operands_fit(g: np.ndarray, kt: int, ct: int, yt: int, xt: int) -> bool:
    """Whether input and weight tiles fit their banks and commands."""
    depthwise = g[DEPTHWISE] == 1
    # --- input banks
    taps = g[TAP_S] if g[SLOT_S] else g[ST]
    rows = (yt - 1) * g[STRIDE] + (g[RT] - 1) * g[DILATION] + 1
    cols = (xt - 1) * g[STRIDE] + (taps - 1) * g[DILATION] + 1
    if g[BYTES]:
        blocks = kt if depthwise else ct
        row = cols
        if g[INPUT_SLOTS] > 1:
            if cols > 16:
                return False
            row = 16
        used = blocks * rows * row
        stride_a, stride_y, stride_x = rows * row, row, 1
    elif g[C4]:
        words = _ceil(cols + 3, 4)
        blocks = 1
        used = rows * words * 16
        stride_a, stride_y, stride_x = 0, words * 16, 4
        if g[NX] > 1 and xt * g[STRIDE] % 4:
            return False
    else:
        blocks = _ceil(kt if depthwise else ct * g[CI], 16)
        limit = _ceil(g[K] if depthwise else g[C], 16)
        blocks = min(blocks, limit)
        word = blocks * 16
        used = rows * cols * word
        if g[CHAIN] == INPUT_CHAIN:
            used += g[CHAIN_LENGTH]
        stride_a, stride_y, stride_x = 16, cols * word, word
    if used > g[INPUT_ROWS] * 16:
        return False
    base = (
        (g[NY] - 1) * g[BASE_Y] * yt * g[STRIDE] * stride_y
        + (g[NX] - 1) * g[BASE_X] * xt * g[STRIDE] * stride_x
        + (g[CO] - 1) * g[BASE_C] * blocks * stride_a
    )
    if base > MAX_BASE:
        return False
    used = weight_bytes(g, kt, ct)
    return used <= g[WEIGHT_ROWS] * 16 and used // 16 <= MAX_COUNT


@numba.njit(**COMPILED)
def estimate(
    g: np.ndarray, kt: int, ct: int, yt: int, xt: int, ks: int, ys: int, xs: int, order: int
) -> tuple[int, int]:
    """Estimated latency, cycles, and loaded words; FAR if the tiles do not fit the memories."""
    depthwise = g[DEPTHWISE] == 1
    depth = 1 if depthwise else ct
    weight_used = weight_bytes(g, kt, ct)
    # --- output banks
    group = 16 // g[KI]
    pitch = _ceil(ks * g[KD], group) * group
    if pitch * xs * g[DRAIN_X] * ys * g[DRAIN_Y] > g[OUTPUT_WORDS]:
        return FAR, 0
    # --- tiles
    unit = g[KI] * g[KD]
    k_tile = g[NK] * kt
    k_tiles = _ceil(g[K], k_tile)
    k_last = g[K] - (k_tiles - 1) * k_tile
    if g[KO] > 1:
        if k_tiles > 1 and depthwise and kt > 1 and k_last != k_tile:
            return FAR, 0
        per_block = 16 // unit if unit < 16 else 1
        k_end = kt if depthwise else min(kt, _ceil(_ceil(k_last, 16), g[KO]) * per_block)
    else:
        k_end = _ceil(k_last, unit)
    k_steps = (k_tiles - 1) * kt + k_end
    if _ceil(k_tile, 16) > g[PARAM_ROWS] and k_tiles > 1:
        return FAR, 0
    if k_tiles == 1 and _ceil(g[K], 16) > g[PARAM_ROWS]:
        return FAR, 0
    if depthwise:
        c_tiles, c_steps, c_end = 1, 1, 1
    else:
        c_tile = g[NC] * ct
        c_tiles = _ceil(g[C], c_tile)
        rest = g[C] - (c_tiles - 1) * c_tile
        c_end = ct if _ceil(rest, ct * g[CI]) > 1 else _ceil(rest, g[CI])
        c_steps = (c_tiles - 1) * ct + c_end
    y_tiles, y_steps, y_end = _span_sum(g[Y], g[NY], yt)
    x_tiles, x_steps, x_end = _span_sum(g[X], g[NX], xt)
    if c_tiles > 1 and (ks < kt or ys < yt or xs < xt):
        return FAR, 0
    k_execs = (k_tiles - 1) * _ceil(kt, ks) + _ceil(k_end, ks)
    y_execs = (y_tiles - 1) * _ceil(yt, ys) + _ceil(y_end, ys)
    x_execs = (x_tiles - 1) * _ceil(xt, xs) + _ceil(x_end, xs)
    outputs = g[BATCH] * k_execs * y_execs * x_execs
    execs = outputs * c_tiles
    taps_steps = g[RT] * g[ST]
    steps = g[BATCH] * k_steps * c_steps * y_steps * x_steps * taps_steps
    compute = steps + execs * g[FINISH]
    first = min(ks, kt) * min(ct, c_steps) * min(ys, y_steps) * min(xs, x_steps) * taps_steps
    if g[CHAIN]:
        if g[CHAIN] == OUTPUT_CHAIN:
            sweep = c_end * taps_steps if c_tiles == 1 else ct * taps_steps
        elif g[CHAIN] == WEIGHT_CHAIN:
            sweep = min(ys, g[Y]) * min(xs, g[X])
        else:
            sweep = ks
        if sweep < g[SWEEP_MIN]:
            compute += steps // max(1, sweep) * (g[SWEEP_MIN] - sweep)
        if g[CHAIN] != OUTPUT_CHAIN:
            compute += execs * (g[CHAIN_LENGTH] + 1)
    # --- loads
    window_r = (g[RT] * g[TAP_R] - 1) * g[DILATION] + 1
    window_s = ((g[TAP_S] * g[ST]) - 1) * g[DILATION] + 1
    in_rows, rows_one = _reach(g[Y], g[NY], yt, g[STRIDE], window_r)
    in_cols, cols_one = _reach(g[X], g[NX], xt, g[STRIDE], window_s)
    if g[TRIM]:
        above = g[PADDING]
        below = (g[Y] - 1) * g[STRIDE] + window_r - g[PADDING] - g[IN_Y]
        below = max(0, below)
        in_rows -= above + below
        if y_tiles == 1:
            rows_one -= above + below
        borders = 1 if below == 0 else 2
        compute += g[BATCH] * k_execs * x_execs * borders * g[FINISH]
        compute -= g[BATCH] * k_steps * x_steps * g[ST] * borders
    if rows_one > MAX_COUNT or cols_one > MAX_COUNT:
        return FAR, 0
    if g[BYTES] and g[INPUT_SLOTS] > 1:  # padding columns are not loaded
        beyond = (g[X] - 1) * g[STRIDE] + window_s - g[PADDING] - g[IN_X]
        padded = g[PADDING] + max(0, beyond)
        in_cols -= padded
        if x_tiles == 1:
            cols_one -= padded
    if g[C4]:
        in_cols = in_cols // 4 + 2 * x_tiles
        cols_one = _ceil(cols_one + 3, 4)
        in_blocks, blocks_one = 1, 1
    else:
        channels = g[K] if depthwise else g[C]
        in_blocks = _ceil(channels, 16)
        blocks_one = min(in_blocks, _ceil(k_tile if depthwise else g[NC] * ct, 16))
        if g[CO] > 1:
            in_blocks = max(in_blocks, c_tiles * blocks_one)
    lead_words = 0
    rows_first, y_last = rows_one, min(ys, y_end)
    if g[LEAD] > 1:
        piece = _ceil(min(yt, g[Y]), g[LEAD])
        rows_first = min(rows_one, (piece - 1) * g[STRIDE] + window_r)
        y_last = min(y_last, piece)
        halo = max(0, window_r - g[STRIDE]) * (g[LEAD] - 1)
        lead_words = 2 * halo * cols_one * blocks_one
    inside = c_tiles
    if order == 0:
        inside = c_tiles * y_tiles * x_tiles
    elif order == 2:
        inside = c_tiles * x_tiles
    passes = 1
    if not depthwise and k_tiles > 1 and inside > 2:
        passes = k_tiles
    input_words = g[BATCH] * in_rows * in_cols * in_blocks * passes
    if g[WEIGHTS] == TAPS:
        weight_one = _ceil(k_tile, 16) * g[R] * g[S]
        weight_words = _ceil(g[K], 16) * g[R] * g[S]
    elif g[WEIGHTS] == COLUMNS:
        weight_one = _ceil(min(k_tile, g[K]), 16) * min(g[NC] * ct, _ceil(g[C], g[CI]) * g[CI])
        weight_words = _ceil(g[K], 16) * c_steps * g[NC]
    elif g[WEIGHTS] == ROWS:
        weight_one = _ceil(min(k_tile, g[K]), 16) * 16 * _ceil(min(g[NC] * ct, g[C]), 16)
        weight_words = _ceil(g[K], 16) * 16 * c_tiles * _ceil(min(g[NC] * ct, g[C]), 16)
    else:
        lanes = min(g[NK], g[K]) * g[WEIGHT_BANKS_2]
        if g[CHAIN] == WEIGHT_CHAIN:
            lanes = g[WEIGHT_BANKS_2]
        weight_one = lanes * (weight_used // 16)
        tail = _ceil(k_end * taps_steps * depth * g[WEIGHT_LOCAL], 16)
        weight_words = c_tiles * ((k_tiles - 1) * weight_one + lanes * tail)
    repeats = 1
    held = k_tiles * c_tiles if order == 1 else c_tiles
    if order == 2:
        if k_tiles * c_tiles > 2:
            repeats = y_tiles
        if c_tiles > 2:
            repeats *= x_tiles
    elif held > 2:
        repeats = y_tiles * x_tiles
    weight_words *= g[BATCH] * repeats
    params = 0
    if not g[INT32]:
        params = 7 * _ceil(g[K], 16)
        if _ceil(g[K], 16) > g[PARAM_ROWS] and order != 0 and k_tiles > 2:
            params *= y_tiles if order == 2 else y_tiles * x_tiles
    input_words += lead_words
    loads = input_words + weight_words + params + 3 * execs + 2 * outputs
    prologue = g[SETUP] + (rows_first * cols_one * blocks_one + weight_one) * g[R_IN] + 4
    # --- stores
    scale = 4 if g[INT32] else 1
    out_words = g[BATCH] * _ceil(g[K], 16) * g[Y] * g[X] * scale
    stores = out_words * g[R_OUT] + 2 * outputs
    last_pixels = min(g[NY] * y_last, g[Y]) * min(g[NX] * min(xs, x_end), g[X])
    last_store = _ceil(min(g[NK] * min(ks, k_end), g[K]), 16) * last_pixels * scale * g[R_OUT] + 8
    last_exec = min(ks, k_end) * c_end * y_last * min(xs, x_end) * taps_steps + g[FINISH]
    parts = _ceil(kt, ks) * _ceil(yt, ys) * _ceil(xt, xs)
    if parts > 5:  # more than the queues hold: they wait behind the next tile's load
        loads += compute * (parts - 5) // parts // g[R_IN]
    busy = prologue + compute + last_store
    loading = g[SETUP] + loads * g[R_IN] + last_exec + last_store
    storing = prologue + first + g[FINISH] + stores
    return max(busy, max(loading, storing)), input_words + weight_words + params


@numba.njit(**COMPILED)
def goal(g: np.ndarray, cycles: int, words: int) -> float:
    """What to minimise: cycles, or something that grows with energy or their product."""
    if g[GOAL] == LATENCY:
        return float(cycles)
    energy = float(cycles + WORD_CYCLES * words)
    return energy if g[GOAL] == ENERGY else energy * cycles


@numba.njit(**COMPILED)
def best_parts(
    g: np.ndarray, kt: int, ct: int, yt: int, xt: int, parts: np.ndarray, c_whole: bool
) -> tuple[float, int, int, int, int, int]:
    """Best estimate of a tile over its EXEC sizes and tile orders.

    Returns: value, ks, ys, xs, order, and how many estimates were made.
    """
    best, at, made = np.inf, (kt, yt, xt, 0), 0
    for pk in parts:
        ks = _ceil(kt, pk)
        if pk > 1 and (not c_whole or ks * g[KI] * g[KD] % 16 or _ceil(kt, ks) != pk):
            continue
        for py in parts:
            ys = _ceil(yt, py)
            if py > 1 and (not c_whole or _ceil(yt, ys) != py):
                continue
            for px in parts:
                xs = _ceil(xt, px)
                if px > 1 and (not c_whole or _ceil(xt, xs) != px):
                    continue
                for order in range(3):
                    made += 1
                    cycles, words = estimate(g, kt, ct, yt, xt, ks, ys, xs, order)
                    if cycles >= FAR:
                        continue
                    value = goal(g, cycles, words)
                    if value < best:
                        best, at = value, (ks, ys, xs, order)
    return best, at[0], at[1], at[2], at[3], made


@numba.njit(**COMPILED)
def _steps(total: int, lanes: int, steps: int) -> int:
    """Least steps along a loop: full tiles, and a last one spread over all lanes."""
    tiles = _ceil(total, lanes * steps)
    return (tiles - 1) * steps + _ceil(total - (tiles - 1) * lanes * steps, lanes)


@numba.njit(**COMPILED)
def least(g: np.ndarray, kt: int, ct: int, yt: int, xt: int) -> float:
    """A value that no estimate of a tile is below: its steps alone, all lanes busy."""
    steps = g[BATCH] * _steps(g[K], g[NK], kt) * _steps(g[Y], g[NY], yt) * _steps(g[X], g[NX], xt)
    if g[DEPTHWISE] != 1:
        steps *= _steps(g[C], g[NC], ct)
    rows = g[RT] - (2 if g[TRIM] else 0)
    return goal(g, steps * max(0, rows) * g[ST], 0)


@numba.njit(**COMPILED)
def scan(
    g: np.ndarray,
    kts: np.ndarray,
    cts: np.ndarray,
    yts: np.ndarray,
    xts: np.ndarray,
    parts: np.ndarray,
    keep: int,
) -> tuple[np.ndarray, np.ndarray, int]:
    """The best tile sizes.

    Args:
        g: constants, int64 `COUNT`.
        parts: numbers of EXECs per tile to try along each loop.
    Returns: values of the goal, `keep` (infinite where fewer fit), and int64 `keep x 8`: kt, ct,
        yt, xt, ks, ys, xs, tile order; and how many programs were estimated or ruled out by
        their steps.
    """
    best = np.full(keep, np.inf)
    found = np.zeros((keep, 8), dtype=np.int64)
    worst = made = 0
    for kt in kts:
        for ct in cts:
            for yt in yts:
                for xt in xts:
                    c_whole = g[DEPTHWISE] == 1 or ct * g[NC] >= g[C]
                    if not operands_fit(g, kt, ct, yt, xt):
                        continue
                    made += 1
                    if least(g, kt, ct, yt, xt) >= best[worst]:
                        continue
                    value, ks, ys, xs, order, more = best_parts(g, kt, ct, yt, xt, parts, c_whole)
                    made += more
                    if value >= best[worst]:
                        continue
                    best[worst] = value
                    row = (kt, ct, yt, xt, ks, ys, xs, order)
                    for n in range(8):
                        found[worst, n] = row[n]
                    worst = np.argmax(best)
    return best, found, made
