"""Least cycles and energy of all programs of a layer with some lanes on an array; compiled.

A bound holds for every size of tiles and EXECs, every order of tile loops, with and without trimmed
borders and cut first tiles. It follows the rules of docs/cycle-model.md; docs/design-space.md
derives it. Of tiles only their number along each loop is enumerated: for a given number the
smallest size is the one that loads and holds least.
"""

# ruff: noqa: I001 (indices of arrays, many a line)
from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from dcp_hw.scan import (
    BATCH, BYTES, C, C4, CHAIN, CHAIN_LENGTH, CI, COMPILED, DEPTHWISE, DILATION, DRAIN_X,
    DRAIN_Y, ENERGY, FINISH, INPUT_CHAIN, INPUT_ROWS, INPUT_SLOTS, IN_X, IN_Y, K, KD, KI, LATENCY,
    NC, NK, NO_CHAIN, NX, NY, OUTPUT_CHAIN, OUTPUT_WORDS, PACKED, PADDING, PARAM_ROWS, R, ROWS,
    RT, R_IN, R_OUT, S, ST, STRIDE, SWEEP_MIN, TAPS, WEIGHTS, WEIGHT_CHAIN, WEIGHT_LOCAL,
    WEIGHT_ROWS, X, Y, operands_fit,
)  # fmt: skip

(
    SETUP_WORDS, INPUT_BANKS, WEIGHT_BANKS, OUT_PER_RUN, ADDS, PES, HOPS_8, HOPS_32, DUP_INPUT,
    DUP_WEIGHT, ROWS_INSIDE, CUTTABLE, INPUT_HELD, WEIGHT_HELD, ARRAY_COUNT,
) = range(15)  # fmt: skip
"""Whole numbers of an array with lanes. ROWS_INSIDE is 0 where borders cannot be trimmed;
INPUT_HELD and WEIGHT_HELD: words that a row of all banks holds, copies not counted."""

(
    FIXED, FIXED_TRIMMED, PER_CYCLE, ADD, HOP_8, HOP_32, INPUT_READ, INPUT_WRITE, WEIGHT_READ,
    WEIGHT_WRITE, OUTPUT_READ, OUTPUT_WRITE, WORD, PRICES,
) = range(14)  # fmt: skip
"""Prices in pJ; FIXED is what every program pays: MACs, stored words, requantisation."""

BLOCK = 16
MOST_SIZES = 1024
FAR = 1 << 30
MAX_ADDRESS = (1 << 15) - 1
_LEADS = np.array([1, 2, 3, 4, 6])
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@numba.njit(**COMPILED)
def up(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


@numba.njit(**COMPILED)
def _tile_sizes(total: int, lanes: int, unit: int, out: np.ndarray) -> int:
    """Number of tile sizes to look at; fills `n x 3`: tiles, least and largest steps of a tile.

    Args:
        unit: steps are multiples of it where there is more than one tile.
    """
    whole = up(total, lanes)
    count, last = 0, 0
    n = 1
    while n <= whole:
        step = up(whole, n)
        if n > 1:
            step = up(step, unit) * unit
        tiles = up(total, lanes * step)
        if tiles > last:
            largest = whole if tiles == 1 else max(step, (total - 1) // (lanes * (tiles - 1)))
            out[count, 0], out[count, 1], out[count, 2] = tiles, step, largest
            count, last = count + 1, tiles
        # the next number of tiles with a smaller step
        smaller = up(whole, n) - 1
        if smaller < 1:
            break
        n = max(n + 1, up(whole, smaller))
    return count


@numba.njit(**COMPILED)
def reloaded(base: int, times: int, groups: int, largest: int) -> int:
    """Words of `base` loaded `times` over, if the two tiles of a buffer stay at every turn."""
    return base + (times - 1) * max(0, base - 2 * groups * largest)


@numba.njit(**COMPILED)
def _input_room(g: np.ndarray, yt: int) -> int:
    """Rows of an input bank that a tile can use: commands cannot say longer rows of an image.

    Args:
        yt: most steps along y.
    """
    if g[BYTES] or g[C4]:
        return g[INPUT_ROWS]
    rows = (yt - 1) * g[STRIDE] + (g[RT] - 1) * g[DILATION] + 1
    return min(g[INPUT_ROWS], rows * (MAX_ADDRESS // (g[STRIDE] * BLOCK)))


@numba.njit(**COMPILED)
def words_of_weights(g: np.ndarray) -> int:
    """Words of all weights; those of a second operand begin anew in every row or column."""
    depth = 1 if g[DEPTHWISE] == 1 else g[C]
    if g[WEIGHTS] == ROWS:
        return g[BATCH] * g[K] * up(depth, BLOCK)
    if g[WEIGHTS] == PACKED:
        return up(g[BATCH] * g[K] * depth * g[R] * g[S], BLOCK)
    return g[BATCH] * up(g[K], BLOCK) * depth * g[R] * g[S]


@numba.njit(**COMPILED)
def _rows_of(g: np.ndarray, lanes_steps: int, trim: int) -> int:
    """Input rows that the first output rows need; without padding above the image if trimmed."""
    rows = min(lanes_steps, g[Y])
    taps = (g[R] - 1) * g[DILATION] + 1
    found = (rows - 1) * g[STRIDE] + taps
    return min(g[IN_Y], max(0, found - g[PADDING])) if trim else found


@numba.njit(**COMPILED)
def _clears(g: np.ndarray) -> bool:
    """Whether banks may clear columns of padding instead of loading them."""
    return g[C4] == 1 or (g[BYTES] == 1 and g[INPUT_SLOTS] > 1)


@numba.njit(**COMPILED)
def _columns_of(g: np.ndarray, lanes_steps: int) -> int:
    """Input columns, in words of four pixels in the layout of few channels."""
    columns = min(lanes_steps, g[X])
    taps = (g[S] - 1) * g[DILATION] + 1
    found = (columns - 1) * g[STRIDE] + taps
    if _clears(g):
        found = min(g[IN_X], max(0, found - g[PADDING]))
    return found // 4 if g[C4] else found


@numba.njit(**COMPILED)
def _span(total: int, tiles: int, stride: int, taps: int, inside: int) -> int:
    """Positions of the memory that all tiles along one loop load together, at least.

    Args:
        inside: positions that the memory has; others are padding.
    """
    halo = max(0, taps - stride)
    full = (total - 1) * stride + taps  # of a single tile
    padded = max(0, full - inside)
    return max(0, full + (tiles - 1) * halo - padded)


@numba.njit(**COMPILED)
def _ends(
    g: np.ndarray, kt: int, ct: int, yt: int, xt: int, kn: int, yn: int, xn: int, lead: int,
    trim: int, c_last: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Words of the first loads, and of the last tile its steps and the words of its store."""
    depthwise = g[DEPTHWISE] == 1
    rows = up(g[NY] * min(yt, g[Y]), lead)
    k_tile = min(g[K], g[NK] * kt)
    channels = k_tile if depthwise else min(g[C], g[NC] * ct)
    weights = k_tile * g[R] * g[S] * (1 if depthwise else channels)
    blocks = 1 if g[C4] else max(1, channels // BLOCK)
    first = _rows_of(g, rows, trim) * _columns_of(g, g[NX] * xt) * blocks + weights // BLOCK
    k_last = g[K] - (kn - 1) * g[NK] * kt
    y_last = up(g[Y] - (yn - 1) * g[NY] * yt, lead)
    x_last = g[X] - (xn - 1) * g[NX] * xt
    taps = max(0, up(y_last, g[NY]) * g[RT] - (2 if trim else 0)) * g[ST]
    steps = max(1, up(k_last, g[NK]) * up(x_last, g[NX]) * c_last * taps)
    stored = max(1, k_last // BLOCK) * max(1, y_last) * max(1, x_last)
    return first, steps, stored * g[R_OUT]


@numba.njit(**COMPILED)
def _least_ends(
    g: np.ndarray, k: np.ndarray, c: np.ndarray, y: np.ndarray, x: np.ndarray, lead: int,
    trim: int, cut: int,
) -> tuple[int, int]:  # fmt: skip
    """Least cycles of first loads and last store, and of the last tile from its load on.

    Both are at least what they are at one of the extremes of tile sizes.

    Args:
        k, c, y, x: number, least and largest size of tiles.
        cut: cycles that it costs to cut all tiles, so that the last store is short; 0: they
            cannot be.
    """
    begun, ended = FAR, FAR
    c_last = 1
    if g[DEPTHWISE] != 1:
        c_last = max(1, up(g[C] - (c[0] - 1) * g[NC] * c[2], g[NC]))
    for corner in range(8):
        i, j, n = 1 + corner % 2, 1 + corner // 2 % 2, 1 + corner // 4
        if (i == 2 and k[2] == k[1]) or (j == 2 and y[2] == y[1]) or (n == 2 and x[2] == x[1]):
            continue
        first, steps, stored = _ends(
            g, k[i], c[1], y[j], x[n], k[0], y[0], x[0], lead, trim, c_last
        )
        if cut:
            stored = min(stored, cut)
        begun = min(begun, first * g[R_IN] + stored)
        ended = min(ended, steps + stored)
    return begun, ended


@numba.njit(**COMPILED)
def _input_share(g: np.ndarray, kt: int, ct: int, yt: int, xt: int) -> float:
    """Most steps, one after the other, that find their input in one row of a bank.

    Args:
        kt: steps of a tile at most; ct, yt, xt: at least.
    """
    taps = g[RT] * g[ST]
    # the last tap of a pixel may be the first of the next one
    rows_again = g[RT] / (g[RT] - 1) if g[RT] > 1 else 1.0
    taps_again = taps / (taps - 1) if taps > 1 else 1.0
    if g[CHAIN] == WEIGHT_CHAIN:  # x and y are the innermost loops
        if g[BYTES] or g[C4]:
            return float(BLOCK * kt)
        return float(BLOCK * kt) if yt * xt == 1 else 1.0
    if g[C4]:
        return ct * g[ST] * rows_again if g[RT] > 1 else float(BLOCK * ct * g[ST] * kt)
    if g[BYTES]:
        columns = (xt - 1) * g[STRIDE] + g[ST]
        if columns * g[DILATION] < BLOCK:  # rows of the image share a row of the bank
            return float(BLOCK * taps * (1 if g[DEPTHWISE] == 1 else kt * ct))
        if g[DEPTHWISE] == 1 or ct == 1:
            return g[ST] * rows_again if g[RT] > 1 else float(BLOCK * g[ST] * kt)
        return g[ST] * taps_again
    if g[DEPTHWISE] == 1:
        return float(BLOCK) if taps == 1 else taps_again
    if ct * g[CI] > BLOCK:
        return max(1.0, BLOCK / g[CI]) * taps_again
    return float(ct * kt) if taps == 1 else ct * taps_again


@numba.njit(**COMPILED)
def least_reads(
    g: np.ndarray, a: np.ndarray, steps: int, sweeps: int, kt: int, ct: int, yt: int, xt: int
) -> tuple[float, float]:
    """Least rows read from all input and weight banks; sizes as in `_input_share`."""
    depth = 1 if g[DEPTHWISE] == 1 else ct
    local = g[WEIGHT_LOCAL] if g[WEIGHTS] == PACKED else g[CI]  # bytes from step to step
    one = depth * g[RT] * g[ST] * local  # bytes of a bank for an output
    from_weight = 0.0
    if g[CHAIN] == INPUT_CHAIN:
        from_input = sweeps * (g[CHAIN_LENGTH] / BLOCK)
    else:
        from_input = steps / _input_share(g, kt, depth, yt, xt)
    if g[CHAIN] == WEIGHT_CHAIN:
        from_weight = sweeps * (g[CHAIN_LENGTH] / BLOCK)
    elif g[CHAIN] != INPUT_CHAIN and g[WEIGHTS] != TAPS and one > BLOCK:
        from_weight = steps * (local / BLOCK)
    return from_input * a[INPUT_BANKS], from_weight * a[WEIGHT_BANKS]


@numba.njit(**COMPILED)
def least(
    g: np.ndarray, a: np.ndarray, p: np.ndarray, objective: int, limit: float, sizes: np.ndarray
) -> tuple[float, float, float]:
    """The least value of the objective over all programs with some lanes, its cycles and its nJ.

    Args:
        g: constants of `lane_options.constants`.
        a: ARRAY_COUNT; p: PRICES.
        objective: LATENCY, ENERGY or EDP.
        limit: values from here on need not be exact.
        sizes: scratch, `4 x MOST_SIZES x 3`.
    """
    depthwise, chained = g[DEPTHWISE] == 1, g[CHAIN] in (INPUT_CHAIN, WEIGHT_CHAIN)
    k_unit = BLOCK // np.gcd(BLOCK, g[NK])
    c_unit = 1
    if not (depthwise or g[BYTES] or g[C4]):
        c_unit = BLOCK // np.gcd(BLOCK, g[CI])
    count_k = _tile_sizes(g[K], g[NK], k_unit, sizes[0])
    count_c = 1
    sizes[1, 0] = 1
    if not depthwise:
        count_c = _tile_sizes(g[C], g[NC], c_unit, sizes[1])
        if g[C4]:
            count_c = 1
    count_y = _tile_sizes(g[Y], g[NY], 1, sizes[2])
    count_x = _tile_sizes(g[X], g[NX], 1, sizes[3])
    taps = g[RT] * g[ST]
    k_steps, y_steps, x_steps = up(g[K], g[NK]), up(g[Y], g[NY]), up(g[X], g[NX])
    c_steps = 1 if depthwise else up(g[C], g[NC])
    per_exec = g[FINISH] + (g[CHAIN_LENGTH] + 1 if chained else 0)
    k_blocks, c_blocks = up(g[K], BLOCK), up(g[C], BLOCK)
    out_words = g[BATCH] * k_blocks * g[Y] * g[X]
    window_r = (g[R] - 1) * g[DILATION] + 1
    window_s = (g[S] - 1) * g[DILATION] + 1
    weight_base = words_of_weights(g)
    weight_room = g[WEIGHT_ROWS] * a[WEIGHT_HELD]
    params = 7 * k_blocks
    leads = len(_LEADS) if a[CUTTABLE] else 1
    best, best_cycles, best_nj = np.inf, 0.0, 0.0
    for trim in range(2 if a[ROWS_INSIDE] else 1):
        y_work = y_steps * taps if trim == 0 else a[ROWS_INSIDE] * g[ST]
        steps = g[BATCH] * k_steps * c_steps * y_work * x_steps
        outputs_one = g[BATCH] * k_steps * y_steps * x_steps
        fixed = p[FIXED_TRIMMED] if trim else p[FIXED]
        for ik in range(count_k):
            k = sizes[0, ik]
            blocks_tile = up(g[NK] * k[1], BLOCK)
            if (up(g[K], BLOCK) if k[0] == 1 else blocks_tile) > g[PARAM_ROWS]:
                continue
            for ic in range(count_c):
                c = sizes[1, ic]
                for iy in range(count_y):
                    y = sizes[2, iy]
                    for ix in range(count_x):
                        x = sizes[3, ix]
                        xt = x[1]
                        if g[C4] and g[NX] > 1:
                            unit = 4 // np.gcd(4, g[STRIDE])
                            xt = up(xt, unit) * unit
                        if not operands_fit(g, k[1], c[1], y[1], xt):
                            continue
                        if c[0] > 1:
                            group = BLOCK // g[KI]
                            pitch = up(k[1] * g[KD], group) * group
                            words = pitch * x[1] * g[DRAIN_X] * y[1] * g[DRAIN_Y]
                            if words > g[OUTPUT_WORDS]:
                                continue
                        tiles = g[BATCH] * k[0] * y[0] * x[0]
                        filled = up(outputs_one * g[KD], g[OUTPUT_WORDS])
                        execs = max(tiles * c[0], filled)
                        if trim and y[1] > 1:
                            execs += g[BATCH] * k[0] * x[0]
                        outputs = outputs_one * c[0]
                        # --- sweeps of chains
                        if g[CHAIN] == NO_CHAIN:
                            sweeps = 0
                        elif g[CHAIN] == OUTPUT_CHAIN:
                            sweeps = outputs
                        elif g[CHAIN] == WEIGHT_CHAIN:
                            each = taps if trim == 0 else g[ST]  # a border may have one row
                            sweeps = g[BATCH] * k_steps * c_steps * each * y[0] * x[0]
                        else:
                            sweeps = steps // k_steps * (1 if depthwise else k[0])
                            if depthwise:
                                sweeps = steps
                        busy = max(steps + execs * per_exec, sweeps * g[SWEEP_MIN])
                        # --- words
                        rows = _span(g[Y], y[0], g[STRIDE], window_r, g[IN_Y])
                        columns = _span(g[X], x[0], g[STRIDE], window_s, g[IN_X])
                        if g[C4]:
                            columns = columns // 4
                        input_blocks = k_blocks if depthwise else c_blocks
                        if g[C4]:
                            input_blocks = 1
                        input_base = g[BATCH] * rows * columns * input_blocks
                        zeros = 0
                        if not g[C4]:
                            if not trim:
                                rows = _span(g[Y], y[0], g[STRIDE], window_r, g[IN_Y] + FAR)
                            if not _clears(g):
                                columns = _span(g[X], x[0], g[STRIDE], window_s, g[IN_X] + FAR)
                            zeros = g[BATCH] * rows * columns * input_blocks - input_base
                        one_rows = min(g[IN_Y], (g[NY] * y[2] - 1) * g[STRIDE] + window_r)
                        one_columns = min(g[IN_X], (g[NX] * x[2] - 1) * g[STRIDE] + window_s)
                        one = (
                            one_rows
                            * one_columns
                            * (1 if depthwise or g[C4] else up(g[NC] * c[2], BLOCK))
                        )
                        one = min(one, _input_room(g, y[2]) * a[INPUT_HELD])
                        one_weight = up(g[NK] * k[2] * g[NC] * c[2] * g[R] * g[S], BLOCK)
                        one_weight = g[BATCH] * min(one_weight, weight_room)
                        one *= g[BATCH]
                        for order in range(3):
                            yx = y[0] * x[0]
                            input_words, weight_words = input_base, weight_base
                            if order == 0:
                                if not depthwise and c[0] * yx > 2:
                                    input_words = reloaded(input_base, k[0], 1, one)
                                if c[0] > 2:
                                    weight_words = reloaded(weight_base, yx, k[0], one_weight)
                            elif order == 1:
                                if not depthwise and c[0] > 2:
                                    input_words = reloaded(input_base, k[0], yx, one)
                                if k[0] * c[0] > 2:
                                    weight_words = reloaded(weight_base, yx, 1, one_weight)
                            else:
                                if not depthwise and c[0] * x[0] > 2:
                                    input_words = reloaded(input_base, k[0], y[0], one)
                                if c[0] > 2:
                                    weight_words = reloaded(weight_base, x[0], k[0], one_weight)
                                if k[0] * c[0] > 2:
                                    weight_words = reloaded(weight_words, y[0], 1, one_weight)
                            heads = 2 * execs + 2 * tiles + k[0] * c[0] + y[0] * x[0]
                            words = a[SETUP_WORDS] + input_words + weight_words + params + heads
                            # --- energy without time
                            reads, weight_reads = least_reads(
                                g, a, steps, sweeps, k[2], c[1], y[1], x[1]
                            )
                            runs = steps if chained else outputs
                            again = runs - outputs_one
                            drained = sweeps if g[CHAIN] == OUTPUT_CHAIN else 0
                            held = sweeps - drained
                            pj = (
                                fixed
                                + (words * p[WORD])
                                + (steps * a[ADDS] + drained * a[OUT_PER_RUN]) * p[ADD]
                                + steps * (a[HOPS_8] * p[HOP_8] + a[HOPS_32] * p[HOP_32])
                                + (held * p[HOP_8] + drained * p[HOP_32])
                                * (a[PES] * g[CHAIN_LENGTH])
                                + reads * p[INPUT_READ]
                                + weight_reads * p[WEIGHT_READ]
                                + input_words * a[DUP_INPUT] * p[INPUT_WRITE]
                                + weight_words * a[DUP_WEIGHT] * p[WEIGHT_WRITE]
                                + a[OUT_PER_RUN] * (runs * p[OUTPUT_WRITE] + again * p[OUTPUT_READ])
                            )
                            rough = max(busy, max(words * g[R_IN], words + zeros))
                            rough_value = objective_value(
                                objective, rough, (pj + rough * p[PER_CYCLE]) * 1e-3
                            )
                            if rough_value >= limit or rough_value >= best:
                                continue
                            for lead in _LEADS[: leads if c[0] == 1 else 1]:
                                cut = 0 if c[0] > 1 else tiles * per_exec
                                more = 0
                                if lead > 1:
                                    if min(y[2] * g[NY], g[Y]) < 2:
                                        continue
                                    more = 1 if lead < 4 else lead // 2
                                begun, ended = _least_ends(g, k, c, y, x, lead, trim, cut)
                                data = a[SETUP_WORDS] + input_words + weight_words
                                setup = a[SETUP_WORDS] * g[R_IN]
                                loading = max((words + 3 * more) * g[R_IN], words + zeros)
                                loaded = max(data * g[R_IN], data + zeros)
                                cycles = max(
                                    max(setup + begun + busy + more * per_exec + 5, loading),
                                    max(
                                        loaded + ended + per_exec + 5,
                                        setup + per_exec + out_words * g[R_OUT],
                                    ),
                                )
                                nj = (pj + cycles * p[PER_CYCLE]) * 1e-3
                                value = objective_value(objective, cycles, nj)
                                if value < best:
                                    best, best_cycles, best_nj = value, cycles, nj
    return best, best_cycles, best_nj


@numba.njit(**COMPILED)
def objective_value(objective: int, cycles: float, nj: float) -> float:
    """Cycles, nJ, or their product."""
    if objective == LATENCY:
        return cycles
    if objective == ENERGY:
        return nj
    return cycles * nj
