"""The layout of a mapping from integers, compiled: what `Layout` checks and derives.

The same rules as `layout`, `lane_table`, `mapping` and the spans of `tiles`; tests compare both.
"""

# ruff: noqa: I001 (indices of arrays, many a line)
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcp_hw.scan import (
    BYTES, C4, CHAIN, CHAIN_LENGTH, CI, CO, DEPTHWISE, DILATION,
    INPUT_CHAIN, INPUT_ROWS, INPUT_SLOTS, KD, KI, KO, MAX_BASE, MAX_COUNT, NC, NK, NO_CHAIN, NX,
    NY, OUTPUT_CHAIN, OUTPUT_WORDS, PACKED, PADDING, PARAM_ROWS, RT, SLOT_S, ST, STRIDE, TAP_R,
    TAP_S, ROWS, TAPS, WEIGHT_LOCAL, WEIGHT_ROWS, WEIGHTS, C, K, R, S, X, Y,
)  # fmt: skip
from dcp_hw.stream_plan import (
    AXIS_2, BLOCKS_IN, BLOCKS_OUT, CT, DIAG_PIXEL, DIAG_TAP, DIAGONAL, DRAIN_SIZE, DRAINED,
    DRAINED_IDLE, DRAINED_X, DRAINED_Y, IN_A, IN_R, IN_S, IN_X_, IN_Y_, KS, KT, LANES_R, LANES_S,
    LEAD, NOBODY, ORDER, SIDE_1, SIDE_2, TRIM, W_A, W_C, W_K, W_R, W_S, WEIGHT_SLOTS, XS, XT, YS,
    YT,
)  # fmt: skip
from tensorlib.compiled import INNER

Ints = NDArray[np.int64]

MAX_STRIDE = (1 << 15) - 1
K_LOOP, C_LOOP, Y_LOOP, X_LOOP, R_LOOP, S_LOOP = range(6)
"""Loops in the order of `problem.LOOPS`."""

# what is derived: `Derived.w`
(
    K_TILE, C_TILE, Y_TILE, X_TILE, K_TILES, C_TILES, Y_TILES, X_TILES,
    IN_SA, IN_SB, IN_SC, IN_EA, IN_EB, IN_EC, WT_SA, WT_SB, WT_SC, WT_EA, WT_EB, WT_EC,
    PIXEL, RUN_DEPTH, SWEEP_DEPTH, K_PITCH, Y_PITCH, PARAMS_TILES, BLOCKS_FULL, BLOCKS_LAST,
    REACH_R, REACH_S, IN_STRIDES, WT_STRIDES, DERIVED_COUNT,
) = (*range(31), 36, 42)  # fmt: skip

COUNT, LANES, STEPS, PARTS = range(4)
"""Of a span: elements, lanes with work, steps of each, EXECs along it."""


class Derived(NamedTuple):
    """What is derived of a mapping.

    Attributes:
        w: int64 `DERIVED_COUNT`.
        spans: loops k, c, y, x; full and last tile: `4 x 2 x 4`.
        weights: na, nb, nc, c_hi of weight LOADs: k full or last, c full or last, `2 x 2 x 4`.
    """

    w: Ints
    spans: Ints
    weights: Ints


def new_derived() -> Derived:
    """Room for what is derived."""
    return Derived(
        np.zeros(DERIVED_COUNT, dtype=np.int64),
        np.zeros((4, 2, 4), dtype=np.int64),
        np.zeros((2, 2, 4), dtype=np.int64),
    )


@njit(**INNER)
def ceil_div(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


@njit(**INNER)
def lay_out(g: Ints, m: Ints, d: Derived, one: Ints, two: Ints) -> bool:
    """Whether a mapping can run as far as its layout tells; fills in `d`.

    Args:
        g, one, two: of a `StreamPlan`: constants and packed weight banks.
        m: columns of the mapping.
    """
    _tile_counts(g, m, d.w)
    if not _blocks_fit(g, m, d.w):
        return False
    if not (_input(g, m, d.w) and _weight(g, m, d.w) and _orders(g, m, d.w)):
        return False
    if not (_output(g, m, d.w) and _strides_fit(g, m, d.w) and _bases_fit(g, m, d.w)):
        return False
    w = d.w
    w[PARAMS_TILES] = w[K_TILES]
    if g[BLOCKS_OUT] > g[PARAM_ROWS]:
        w[PARAMS_TILES] = g[PARAM_ROWS] * 16 // w[K_TILE]
    if w[PARAMS_TILES] == 0:
        return False
    _spans(g, m, d)
    return _weight_loads(g, m, d, one, two)


@njit(**INNER)
def _tile_counts(g: Ints, m: Ints, w: Ints) -> None:
    w[K_TILE], w[C_TILE] = g[NK] * m[KT], g[NC] * m[CT]
    w[Y_TILE], w[X_TILE] = g[NY] * m[YT], g[NX] * m[XT]
    if g[DEPTHWISE]:
        w[C_TILE] = 1
    w[K_TILES], w[C_TILES] = ceil_div(g[K], w[K_TILE]), ceil_div(g[C], w[C_TILE])
    w[Y_TILES], w[X_TILES] = ceil_div(g[Y], w[Y_TILE]), ceil_div(g[X], w[X_TILE])
    w[REACH_R], w[REACH_S] = g[TAP_R] * g[RT], g[TAP_S] * g[ST]


@njit(**INNER)
def _blocks_fit(g: Ints, m: Ints, w: Ints) -> bool:
    """`Layout._check_blocks`, and partial sums that would have to leave the chip."""
    unit, depthwise, several = g[KI] * g[KD], g[DEPTHWISE] == 1, w[C_TILES] > 1
    if several and (m[KS] < m[KT] or m[YS] < m[YT] or m[XS] < m[XT]):
        return False
    if m[KS] < m[KT] and m[KS] * unit % 16:
        return False
    if (w[K_TILES] > 1 and w[K_TILE] % 16) or (g[KO] > 1 and m[KT] * unit % 16):
        return False
    if g[C4] and (several or g[CO] > 1):
        return False
    if not depthwise and not g[BYTES] and not g[C4]:
        if (several or g[CO] > 1) and m[CT] * g[CI] % 16:
            return False
        if g[CO] == 1 and ceil_div(g[C], g[CI]) * g[CI] > ceil_div(g[C], 16) * 16:
            return False
    if depthwise and g[KO] > 1 and m[KT] > 1 and w[K_TILES] > 1 and g[K] % w[K_TILE]:
        return False
    if depthwise and not g[BYTES] and unit > 1:
        return False
    if m[TRIM] and (not depthwise or g[NY] > 1 or g[LANES_R] > 1):
        return False
    return not (m[LEAD] > 1 and (g[NY] > 1 or several))


@njit(**INNER)
def _input(g: Ints, m: Ints, w: Ints) -> bool:
    """Strides and extents of input banks; whether a tile fits them."""
    taps = g[LANES_S] if g[SLOT_S] else g[ST]
    rows = (m[YT] - 1) * g[STRIDE] + (g[RT] - 1) * g[DILATION] + 1
    cols = (m[XT] - 1) * g[STRIDE] + (taps - 1) * g[DILATION] + 1
    w[IN_EB], w[IN_EC] = rows, cols
    if g[BYTES]:
        w[IN_EA] = m[KT] if g[DEPTHWISE] else m[CT]
        if g[INPUT_SLOTS] > 1 and cols > 16:
            return False
        w[IN_SB], w[IN_SC] = 16 if g[INPUT_SLOTS] > 1 else cols, 1
        w[IN_SA] = rows * w[IN_SB]
        used = w[IN_EA] * w[IN_SA]
    elif g[C4]:
        if g[NX] > 1 and m[XT] * g[STRIDE] % 4:
            return False
        if g[LANES_S] > 1 and g[ST] * g[DILATION] % 4:
            return False
        words = 0
        for tile in range(min(w[X_TILES], 4)):
            phase = (tile * w[X_TILE] * g[STRIDE] - g[PADDING]) % 4
            words = max(words, ceil_div(phase + cols, 4))
        w[IN_EA], w[IN_EC] = 1, words
        w[IN_SA], w[IN_SB], w[IN_SC] = 0, words * 16, 16
        used = rows * words * 16
    else:
        blocks = ceil_div(m[KT] if g[DEPTHWISE] else m[CT] * g[CI], 16)
        if not (g[CO] > 1 or (g[DEPTHWISE] and g[KO] > 1)):
            blocks = min(blocks, g[BLOCKS_IN])
        w[IN_EA] = blocks
        w[IN_SA], w[IN_SB], w[IN_SC] = 16, cols * blocks * 16, blocks * 16
        used = rows * cols * blocks * 16
        used += g[CHAIN_LENGTH] if g[CHAIN] == INPUT_CHAIN else 0
    w[PIXEL] = 4 if g[C4] else w[IN_SC]
    strides = max(w[IN_SA], max(w[IN_SB], w[IN_SC]))
    extents = max(w[IN_EA], max(w[IN_EB], w[IN_EC]))
    return used <= g[INPUT_ROWS] * 16 and extents <= MAX_COUNT and strides <= MAX_STRIDE


@njit(**INNER)
def packed_rows(g: Ints, m: Ints, steps: int) -> int:
    """Rows of a packed weight bank with `steps` of k'."""
    depth = 1 if g[DEPTHWISE] else m[CT]
    return ceil_div(steps * g[RT] * g[ST] * depth * g[WEIGHT_LOCAL], 16)


@njit(**INNER)
def _weight(g: Ints, m: Ints, w: Ints) -> bool:
    """Strides and extents of weight banks; whether a tile fits them."""
    slotted = g[WEIGHT_SLOTS] > 1
    w[WT_EB] = 1
    if g[WEIGHTS] == PACKED:
        rows = packed_rows(g, m, m[KT])
        w[WT_EA], w[WT_EC] = 1, rows
        w[WT_SA], w[WT_SB], w[WT_SC] = 0, 0, 16
        used = rows * 16
    elif g[WEIGHTS] == TAPS:
        width = g[LANES_S] if slotted and g[SLOT_S] else g[ST]
        pitch = 16 if slotted and g[RT] * width > 16 else width
        block = ceil_div(g[RT] * pitch, 16) * 16 if slotted else g[RT] * pitch
        w[WT_EA], w[WT_EB], w[WT_EC] = m[KT], g[RT], width
        w[WT_SA], w[WT_SB], w[WT_SC] = block, pitch, 1
        used = m[KT] * block
    elif g[WEIGHTS] == ROWS:
        blocks = ceil_div(m[CT] * g[CI], 16)
        if g[CO] > 1 and m[CT] * g[CI] % 16:
            return False
        w[WT_EA], w[WT_EB], w[WT_EC] = blocks, m[KT], 1
        w[WT_SA], w[WT_SB], w[WT_SC] = 16, blocks * 16, 0
        used = m[KT] * blocks * 16
    else:
        depth = m[CT] * g[CI]
        w[WT_EA], w[WT_EC] = m[KT], depth
        w[WT_SA], w[WT_SB], w[WT_SC] = ceil_div(depth, 16) * 16, 0, 1
        used = m[KT] * w[WT_SA]
    strides = max(w[WT_SA], max(w[WT_SB], w[WT_SC]))
    extents = max(w[WT_EA], max(w[WT_EB], w[WT_EC]))
    return used <= g[WEIGHT_ROWS] * 16 and extents <= MAX_COUNT and strides <= MAX_STRIDE


@njit(**INNER)
def is_reduction(loop: int) -> bool:
    """Whether a loop is c, r or s."""
    return loop in (C_LOOP, R_LOOP, S_LOOP)


@njit(**INNER)
def _orders(g: Ints, m: Ints, w: Ints) -> bool:
    """Run and sweep depth; whether the order of loops suits the chains."""
    runs = 0
    while runs < 6 and is_reduction(m[ORDER + runs]):
        runs += 1
    w[RUN_DEPTH], w[SWEEP_DEPTH] = runs, 6
    if g[CHAIN] == NO_CHAIN:
        return True
    if g[CHAIN] == OUTPUT_CHAIN:
        w[SWEEP_DEPTH] = runs
        return runs == 3
    depth = 0
    while depth < 6:
        loop = m[ORDER + depth]
        free = loop in (Y_LOOP, X_LOOP)  # the weight lacks these, and c in a depthwise layer
        if g[CHAIN] == INPUT_CHAIN:
            free = loop == C_LOOP if g[DEPTHWISE] else loop == K_LOOP
        elif g[DEPTHWISE]:
            free = free or loop == C_LOOP
        if not free:
            break
        depth += 1
    w[SWEEP_DEPTH] = depth
    return depth > 0


@njit(**INNER)
def _output(g: Ints, m: Ints, w: Ints) -> bool:
    """Pitches of output words; whether a tile fits its bank."""
    group = 16 // g[KI]
    w[K_PITCH] = ceil_div(m[KS] * g[KD], group) * group
    rows, cols, idle = m[YS], m[XS], 1
    if g[DRAINED] == DRAINED_Y:
        rows *= g[DRAIN_SIZE]
    elif g[DRAINED] == DRAINED_X:
        cols *= g[DRAIN_SIZE]
    elif g[DRAINED] == DRAINED_IDLE:
        idle = g[DRAIN_SIZE]
    w[Y_PITCH] = w[K_PITCH] * cols
    return w[Y_PITCH] * rows * idle <= g[OUTPUT_WORDS]


@njit(**INNER)
def _strides_fit(g: Ints, m: Ints, w: Ints) -> bool:
    """Bytes per step of each loop in input and weight banks; whether CONFIG can hold all."""
    a, b = IN_STRIDES, WT_STRIDES
    w[a + K_LOOP], w[a + C_LOOP] = 0, w[IN_SA] if g[BYTES] else g[CI]
    if g[DEPTHWISE]:
        w[a + K_LOOP], w[a + C_LOOP] = w[IN_SA] if g[BYTES] else 1, 0
    w[a + Y_LOOP], w[a + X_LOOP] = g[STRIDE] * w[IN_SB], g[STRIDE] * w[PIXEL]
    w[a + R_LOOP], w[a + S_LOOP] = g[DILATION] * w[IN_SB], g[DILATION] * w[PIXEL]
    w[b : b + 6] = 0
    if g[WEIGHTS] == PACKED:
        local = g[WEIGHT_LOCAL]
        tap = local * (1 if g[DEPTHWISE] else m[CT])
        w[b + C_LOOP], w[b + S_LOOP], w[b + R_LOOP] = local, tap, tap * g[ST]
        w[b + K_LOOP] = tap * g[ST] * g[RT]
    else:
        w[b + K_LOOP] = w[WT_SB] if g[WEIGHTS] == ROWS else w[WT_SA]
        if g[WEIGHTS] == TAPS:
            w[b + R_LOOP], w[b + S_LOOP] = w[WT_SB], 1
        else:
            w[b + C_LOOP] = g[CI]
    most = max(g[KD], max(w[Y_PITCH], w[K_PITCH]))
    for n in range(a, a + 12):
        most = max(most, w[n])
    return most <= MAX_STRIDE


@njit(**INNER)
def _bases_fit(g: Ints, m: Ints, w: Ints) -> bool:
    """Whether the greatest base of each lane table fits LANES; diagonal lanes step alike."""
    quarter = 4 if g[C4] else 1
    if g[DIAGONAL]:
        pixel = (m[YT] if g[DIAG_PIXEL] == 1 else m[XT]) * g[STRIDE]
        tap = (g[RT] if g[DIAG_TAP] == 1 else g[ST]) * g[DILATION]
        if g[DIAG_PIXEL] and g[DIAG_TAP] and pixel != tap:
            return False
        if max(g[SIDE_1], g[SIDE_2]) * diagonal_pitch(g, m) * diagonal_stride(g, w) > MAX_BASE:
            return False
    for axis in range(2):
        n = axis * AXIS_2
        b = g[IN_Y_ + n] * m[YT] * g[STRIDE] + g[IN_R + n] * g[RT] * g[DILATION]
        c = g[IN_X_ + n] * m[XT] * g[STRIDE] // quarter
        c += g[IN_S + n] * g[ST] * g[DILATION] // quarter
        base = g[IN_A + n] * w[IN_EA] * w[IN_SA] + b * w[IN_SB] + c * w[IN_SC]
        if not g[DIAGONAL] and base > MAX_BASE:
            return False
        c = g[W_S + n] * g[ST] + g[W_C + n] * m[CT] * g[CI]
        b = g[W_R + n] * g[RT] + g[W_K + n] * m[KT]
        base = g[W_A + n] * w[WT_EA] * w[WT_SA] + b * w[WT_SB] + c * w[WT_SC]
        if base > MAX_BASE:
            return False
    return True


@njit(**INNER)
def diagonal_pitch(g: Ints, m: Ints) -> int:
    """Positions of the input from one place of a diagonal axis to the next."""
    if g[DIAG_PIXEL]:
        return (m[YT] if g[DIAG_PIXEL] == 1 else m[XT]) * g[STRIDE]
    if g[DIAG_TAP]:
        return (g[RT] if g[DIAG_TAP] == 1 else g[ST]) * g[DILATION]
    return 1


@njit(**INNER)
def diagonal_down(g: Ints) -> bool:
    """Whether diagonal places lie along y, not x."""
    return g[DIAG_PIXEL] == 1 or g[DIAG_TAP] == 1


@njit(**INNER)
def diagonal_stride(g: Ints, w: Ints) -> int:
    """Bytes of one of these positions."""
    return w[IN_SB] if diagonal_down(g) else w[IN_SC]


# --- spans ----------------------------------------------------------------------------


@njit(**INNER)
def _spans(g: Ints, m: Ints, d: Derived) -> None:
    """Nothing; full and last tiles along k, c, y and x."""
    w, spans = d.w, d.spans
    steps = (m[KS], 1 << 40, m[YS], m[XS])
    for loop in range(4):
        total, tile, tiles = g[K], w[K_TILE + loop], w[K_TILES + loop]
        if loop == 1:
            total = 1 if g[DEPTHWISE] else g[C]
        elif loop == 2:
            total = g[Y]
        elif loop == 3:
            total = g[X]
        for last in range(2):
            count = total - (tiles - 1) * tile if last else min(tile, total)
            lanes = _lanes_and_steps(g, m, loop, count)
            spans[loop, last, COUNT], spans[loop, last, LANES] = count, lanes[0]
            spans[loop, last, STEPS] = lanes[1]
            spans[loop, last, PARTS] = ceil_div(lanes[1], steps[loop])
    for last in range(2):
        span = spans[0 if g[DEPTHWISE] else 1, last]
        if g[C4]:
            w[BLOCKS_FULL + last] = 1
            continue
        inner, several = (g[KI], g[KO] > 1) if g[DEPTHWISE] else (g[CI], g[CO] > 1)
        outer = ceil_div(span[LANES], inner) if several else 1
        w[BLOCKS_FULL + last] = outer * w[IN_EA] if outer > 1 else ceil_div(span[COUNT], 16)


@njit(**INNER)
def _lanes_and_steps(g: Ints, m: Ints, loop: int, count: int) -> tuple[int, int]:
    """Lanes with work and steps of each, for a tile of `count` elements along a loop."""
    if loop == K_LOOP:
        unit = g[KI] * g[KD]
        if g[KO] == 1:
            return min(unit, count), ceil_div(count, unit)
        if g[DEPTHWISE]:
            return ceil_div(count, m[KT] * unit) * unit, m[KT]
        per_block = 16 // unit
        blocks = ceil_div(count, 16)
        steps = min(m[KT], ceil_div(blocks, g[KO]) * per_block)
        return ceil_div(blocks * per_block, steps) * unit, steps
    if loop == C_LOOP:
        if g[DEPTHWISE]:
            return 1, 1
        outer = ceil_div(count, m[CT] * g[CI])
        steps = m[CT] if outer > 1 else ceil_div(count, g[CI])
        return outer * g[CI] if g[CO] > 1 else min(g[CI], count), steps
    steps = m[YT] if loop == Y_LOOP else m[XT]
    lanes = ceil_div(count, steps)
    return lanes, steps if lanes > 1 else count


@njit(**INNER)
def _weight_loads(g: Ints, m: Ints, d: Derived, one: Ints, two: Ints) -> bool:
    """Sizes of weight LOADs; whether they fit the command."""
    for k in range(2):
        for c in range(2):
            row, span, depth = d.weights[k, c], d.spans[0, k], d.spans[1, c]
            if g[WEIGHTS] == PACKED:
                row[0] = _active(one, span[LANES], depth[LANES], g)
                row[1] = _active(two, span[LANES], depth[LANES], g)
                row[2] = row[3] = packed_rows(g, m, span[STEPS])
            elif not _bytes_load(g, m, d.w, row, span, depth):
                return False
            if max(row[0], max(row[1], row[2])) > MAX_COUNT or row[0] > 256:
                return False
    return True


@njit(**INNER)
def _bytes_load(g: Ints, m: Ints, w: Ints, row: Ints, span: Ints, depth: Ints) -> bool:
    """Whether weights that lie in memory like activations can be loaded; sizes of the LOAD."""
    k_blocks, c_blocks = ceil_div(span[COUNT], 16), ceil_div(depth[COUNT], 16)
    if g[WEIGHTS] == TAPS:
        if g[KO] > 1:
            k_blocks = ceil_div(span[LANES], 16) * m[KT]
        row[0], row[1], row[2], row[3] = k_blocks, g[R], g[S], g[S]
        return w[REACH_R] <= g[R] and w[REACH_S] <= g[S]
    outer = ceil_div(depth[LANES], g[CI]) if g[CO] > 1 else 1
    if g[KO] > 1:
        k_blocks = ceil_div(span[LANES], 16) * span[STEPS]
    if g[WEIGHTS] == ROWS:
        if g[CO] > 1:
            c_blocks = outer * w[WT_EA]
        row[0], row[1], row[2], row[3] = c_blocks, k_blocks, 16, 16
    else:
        row[0], row[1] = k_blocks, 1
        row[2], row[3] = ((outer - 1) * m[CT] + depth[STEPS]) * g[CI], depth[COUNT]
    return g[KO] == 1 or span[STEPS] == m[KT] or span[LANES] <= 16


@njit(**INNER)
def _active(banks: Ints, k: int, c: int, g: Ints) -> int:
    """Packed banks up to the last one with an enabled place."""
    for n in range(len(banks) - 1, -1, -1):
        for place in range(banks.shape[1]):
            v = banks[n, place]
            if v[0] < k and v[1] < c and v[2] < g[TAP_R] and v[3] < g[TAP_S] and v[0] < NOBODY:
                return n + 1
    return 0
