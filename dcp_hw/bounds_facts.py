"""What all programs with some lanes and tiles have in common: steps, words, events; compiled."""

# ruff: noqa: I001 (indices of arrays, many a line)
from __future__ import annotations

import numba

from dcp_hw.bounds_kernel import (
    ADD, ADDS, DUP_INPUT, DUP_WEIGHT, FIXED, FIXED_TRIMMED, HOPS_32, HOPS_8, HOP_32, HOP_8,
    INPUT_BANKS, INPUT_READ, INPUT_WRITE, OUTPUT_READ, OUTPUT_WRITE, OUT_PER_RUN, PES,
    ROWS_INSIDE, SETUP_WORDS, WEIGHT_BANKS, WEIGHT_HELD, WEIGHT_READ, WEIGHT_WRITE, least_reads,
    reloaded, up, words_of_weights,
)  # fmt: skip
from dcp_hw.bounds_tiles import (
    ALL, BIG, BLOCK, FIRST, FIRST_COUNT, FIRST_STEPS, LAST_COUNT, LAST_STEPS, MEMORY, SIZE, STEPS,
    TILE, TILES, Floats, Ints, taps_cut,
)  # fmt: skip
from dcp_hw.scan import (
    BATCH, BYTES, C4, CHAIN, CHAIN_LENGTH, CI, COMPILED, DEPTHWISE, FINISH, INPUT_CHAIN,
    INPUT_SLOTS, K, NO_CHAIN, OUTPUT_CHAIN, PACKED, R, RT, S, ST, WEIGHTS, WEIGHT_CHAIN,
    WEIGHT_LOCAL, WEIGHT_ROWS, X, Y,
)  # fmt: skip

(
    TRIMMED, ALL_STEPS, ALL_TILES, OUTPUTS, SWEEPS, DATA, INPUT_WORDS, WEIGHT_WORDS, ZEROS, HEADS,
    BEGUN, LAST_WORDS, OUT_WORDS, PER_EXEC, INNER, LOOPS, FACTS,
) = range(17)  # fmt: skip
"""What is true of all programs with some tiles: whether they are trimmed; steps; output tiles;
runs of sums; sweeps of chains; words of setup, inputs and weights; of these inputs, weights; cycles
of zeros; heads of LOADs; words that the first tile loads; stored words of the last tile, and of
all; cycles of an EXEC beyond its steps; the innermost loop of several tiles (k, y, x), and how many
such loops there are."""


@numba.njit(**COMPILED)
def _packed_words(g: Ints, k: Ints, c: Ints) -> int:
    """Words of packed weights, all tiles once: a bank begins each tile in a word of its own."""
    if g[WEIGHTS] != PACKED:
        return 0
    found, each = 0, g[RT] * g[ST] * g[WEIGHT_LOCAL]
    depth = 1 if g[DEPTHWISE] == 1 else c[SIZE]
    for n in range(4):
        last_k, last_c = n % 2, n // 2
        tiles = (1 if last_k else k[TILES] - 1) * (1 if last_c else c[TILES] - 1)
        steps = k[LAST_STEPS] if last_k else k[FIRST_STEPS]
        elements = (k[LAST_COUNT] if last_k else k[FIRST_COUNT]) * g[R] * g[S]
        elements *= c[LAST_COUNT] if last_c else c[FIRST_COUNT]
        used = steps * each * (c[LAST_STEPS] if last_c else c[FIRST_STEPS])
        found += tiles * up(elements, used) * up(steps * each * depth, BLOCK)
    return g[BATCH] * found


@numba.njit(**COMPILED)
def _loaded(
    g: Ints, a: Ints, k: Ints, c: Ints, y: Ints, x: Ints, order: int
) -> tuple[int, int]:  # fmt: skip
    """Words of inputs and of weights that are loaded, for an order of tile loops."""
    depthwise = g[DEPTHWISE] == 1
    blocks = k if depthwise else c
    once = g[BATCH] * blocks[MEMORY] * y[MEMORY] * x[MEMORY]
    one = g[BATCH] * blocks[BIG] * y[BIG] * x[BIG]
    weights_once = weights = words_of_weights(g)
    tile = up(k[TILE] * (1 if depthwise else c[TILE]) * g[R] * g[S], BLOCK)
    tile = g[BATCH] * min(tile, g[WEIGHT_ROWS] * a[WEIGHT_HELD])
    kn, cn, yn, xn = k[TILES], c[TILES], y[TILES], x[TILES]
    words = once
    if order == 0:
        if not depthwise and cn * yn * xn > 2:
            words = reloaded(once, kn, 1, one)
        if cn > 2:
            weights = reloaded(weights_once, yn * xn, kn, tile)
    elif order == 1:
        if not depthwise and cn > 2:
            words = reloaded(once, kn, yn * xn, one)
        if kn * cn > 2:
            weights = reloaded(weights_once, yn * xn, 1, tile)
    else:
        if not depthwise and cn * xn > 2:
            words = reloaded(once, kn, yn, one)
        if cn > 2:
            weights = reloaded(weights_once, xn, kn, tile)
        if kn * cn > 2:
            weights = reloaded(weights, yn, 1, tile)
    return words, weights + max(0, _packed_words(g, k, c) - weights_once)


@numba.njit(**COMPILED)
def tap_steps(g: Ints, a: Ints, y: Ints, rows: int, trim: int) -> int:
    """Steps of taps that some rows of a lane take at least."""
    cut = y[STEPS] * g[RT] - a[ROWS_INSIDE] if trim else 0
    return max(1, rows * g[RT] - cut) * g[ST]


@numba.njit(**COMPILED)
def facts(
    g: Ints, a: Ints, k: Ints, c: Ints, y: Ints, x: Ints, trim: int, order: int, f: Ints
) -> None:
    """Nothing; fills in what is true of all programs with these tiles: `FACTS`."""
    depthwise = g[DEPTHWISE] == 1
    taps = g[RT] * g[ST]
    work = a[ROWS_INSIDE] * g[ST] if trim else y[STEPS] * taps
    outputs = g[BATCH] * k[STEPS] * y[STEPS] * x[STEPS] * c[TILES]
    f[TRIMMED], f[OUTPUTS] = trim, outputs
    f[ALL_STEPS] = g[BATCH] * k[STEPS] * c[STEPS] * work * x[STEPS]
    f[ALL_TILES] = g[BATCH] * k[TILES] * y[TILES] * x[TILES]
    f[SWEEPS] = 0
    if g[CHAIN] == OUTPUT_CHAIN:
        f[SWEEPS] = outputs
    elif g[CHAIN] == WEIGHT_CHAIN:
        each = g[ST] if trim else taps  # a border may have one row
        f[SWEEPS] = g[BATCH] * k[STEPS] * c[STEPS] * each * y[TILES] * x[TILES]
    elif g[CHAIN] == INPUT_CHAIN:
        f[SWEEPS] = f[ALL_STEPS] if depthwise else f[ALL_STEPS] // k[STEPS] * k[TILES]
    f[INPUT_WORDS], f[WEIGHT_WORDS] = _loaded(g, a, k, c, y, x, order)
    f[DATA] = a[SETUP_WORDS] + f[INPUT_WORDS] + f[WEIGHT_WORDS]
    blocks = k if depthwise else c
    memory = blocks[MEMORY] * y[MEMORY] * x[MEMORY]
    f[ZEROS] = g[BATCH] * (blocks[MEMORY] * y[ALL] * x[ALL] - memory)
    inputs = f[ALL_TILES] if depthwise else g[BATCH] * c[TILES] * y[TILES] * x[TILES]
    f[HEADS] = inputs + g[BATCH] * k[TILES] * c[TILES]
    first_weights = k[FIRST_COUNT] * c[FIRST_COUNT] * g[R] * g[S] // BLOCK
    f[BEGUN] = blocks[FIRST] * y[FIRST] * x[FIRST] + first_weights
    f[LAST_WORDS] = up(k[LAST_COUNT], BLOCK) * y[LAST_COUNT] * x[LAST_COUNT]
    f[OUT_WORDS] = g[BATCH] * up(g[K], BLOCK) * g[Y] * g[X]
    chained = g[CHAIN] == INPUT_CHAIN or g[CHAIN] == WEIGHT_CHAIN
    f[PER_EXEC] = g[FINISH] + (g[CHAIN_LENGTH] + 1 if chained else 0)
    several = (k[TILES] > 1, y[TILES] > 1, x[TILES] > 1)
    f[LOOPS] = several[0] + several[1] + several[2]
    f[INNER] = 0
    for n in range(3):  # outermost first
        loop = (0, 1, 2)[n] if order == 0 else (1, 2, 0)[n] if order == 1 else (1, 0, 2)[n]
        if several[loop]:
            f[INNER] = loop


@numba.njit(**COMPILED)
def _one_tap_pj(g: Ints, a: Ints, p: Floats, k: Ints, c: Ints, steps: int) -> float:
    """Energy of reading operands for dense layers of one tap without chains, at least.

    Where k is the next loop an input stays, and the weights of more than a row are read again and
    again; otherwise a row of weights may stay, and the input of the next pixel is read.
    """
    ct, kt = c[FIRST_STEPS], k[FIRST_STEPS]
    packed = g[WEIGHTS] == PACKED and g[CHAIN] == NO_CHAIN and g[DEPTHWISE] != 1
    if not packed or g[BYTES] or g[C4] or g[RT] * g[ST] > 1:
        return 0.0
    if ct * g[CI] > BLOCK or c[LAST_STEPS] != ct:
        return 0.0
    one = ct * g[WEIGHT_LOCAL]
    inputs, weights = steps / ct * a[INPUT_BANKS] * p[INPUT_READ], 0.0
    if kt * one > BLOCK:
        weights = steps * (g[WEIGHT_LOCAL] / BLOCK) * a[WEIGHT_BANKS] * p[WEIGHT_READ]
    return min(inputs / kt + weights, inputs / min(kt, max(1, BLOCK // one)))


@numba.njit(**COMPILED)
def read_pj(
    g: Ints, a: Ints, p: Floats, k: Ints, c: Ints, y: Ints, x: Ints, f: Ints, pixels: bool
) -> float:  # fmt: skip
    """Energy of reading operands, at least; whatever the order of the sequencer's loops.

    Args:
        pixels: whether EXECs may have one pixel of a lane only.
    """
    steps, sweeps = f[ALL_STEPS], f[SWEEPS]
    yt, xt = (1, 1) if pixels else (y[FIRST_STEPS], x[FIRST_STEPS])
    reads, weight_reads = least_reads(g, a, steps, sweeps, k[FIRST_STEPS], c[FIRST_STEPS], yt, xt)
    if c[LAST_STEPS] != c[FIRST_STEPS]:  # the last tile reads in its own way
        some = c[LAST_STEPS] / c[STEPS]
        last = least_reads(g, a, steps, sweeps, k[FIRST_STEPS], c[LAST_STEPS], yt, xt)
        reads += some * (last[0] - reads)
        weight_reads += some * (last[1] - weight_reads)
    slotted = g[BYTES] == 1 and g[INPUT_SLOTS] > 1 and g[DEPTHWISE] == 1
    if slotted and g[CHAIN] == NO_CHAIN and g[RT] - (taps_cut(g) if f[TRIMMED] else 0) > 1:
        # a row of the image lies in a row of its own: the next tap and the next pixel do, too
        reads = max(reads, steps / g[ST] * a[INPUT_BANKS])
    return max(
        reads * p[INPUT_READ] + weight_reads * p[WEIGHT_READ], _one_tap_pj(g, a, p, k, c, steps)
    )


@numba.njit(**COMPILED)
def event_pj(
    g: Ints, a: Ints, p: Floats, k: Ints, c: Ints, y: Ints, x: Ints, f: Ints, pixels: bool
) -> float:  # fmt: skip
    """Energy of everything but words and cycles; arguments as `read_pj`."""
    steps, sweeps = f[ALL_STEPS], f[SWEEPS]
    chained = g[CHAIN] == INPUT_CHAIN or g[CHAIN] == WEIGHT_CHAIN
    runs = steps if chained else f[OUTPUTS]
    again = runs - g[BATCH] * k[STEPS] * y[STEPS] * x[STEPS]
    drained = sweeps if g[CHAIN] == OUTPUT_CHAIN else 0
    held = sweeps - drained
    return (
        (p[FIXED_TRIMMED] if f[TRIMMED] else p[FIXED])
        + (steps * a[ADDS] + drained * a[OUT_PER_RUN]) * p[ADD]
        + steps * (a[HOPS_8] * p[HOP_8] + a[HOPS_32] * p[HOP_32])
        + (held * p[HOP_8] + drained * p[HOP_32]) * (a[PES] * g[CHAIN_LENGTH])
        + read_pj(g, a, p, k, c, y, x, f, pixels)
        + f[INPUT_WORDS] * a[DUP_INPUT] * p[INPUT_WRITE]
        + f[WEIGHT_WORDS] * a[DUP_WEIGHT] * p[WEIGHT_WRITE]
        + a[OUT_PER_RUN] * (runs * p[OUTPUT_WRITE] + again * p[OUTPUT_READ])
    )
