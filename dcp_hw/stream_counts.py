"""Counters of a mapping from integers, compiled: what `tensorlib.activity` adds up.

Tests compare both, and the causes of idle cycles with `tensorlib.timing`.
"""

# ruff: noqa: I001 (indices of arrays, many a line)
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcp_hw.scan import (
    BATCH, C4, CHAIN, CHAIN_LENGTH, CI, DILATION, INPUT_CHAIN, K, NC, NK, NO_CHAIN, NX, NY,
    OUTPUT_CHAIN, PADDING, R_IN, R_OUT, RT, ST, STRIDE, TAP_R, TAP_S, WEIGHT_CHAIN, X, Y,
)  # fmt: skip
from dcp_hw.stream_layout import (
    C_LOOP, C_TILES, Derived, IN_EA, IN_SB, IN_STRIDES, K_LOOP, K_TILES, LANES,
    RUN_DEPTH, R_LOOP, SWEEP_DEPTH, WT_EA, WT_STRIDES, X_LOOP, X_TILE, X_TILES,
    diagonal_down, diagonal_pitch, is_reduction,
)  # fmt: skip
from dcp_hw.stream_plan import (
    BANKS, CONST_A, CONST_B, CONST_C, CT, EXITS, HOP_IN, HOP_OUT, HOP_WEIGHT, INPUT_BANKS, K_UNIT,
    KS, KT, LANES_R, LANES_S, MUL_A, MUL_C, MUL_K, MUL_R, MUL_S, MUL_X, MUL_Y, ORDER, OUT_CHAIN,
    OUTPUT_BANKS, PES, PLACE, TREE_ADDS, TRIM, WEIGHT_BANKS, XS, XT, YS, YT,
)  # fmt: skip
from dcp_hw.stream_tiles import (
    E_C, E_K, E_ROW, E_SK, E_SX, E_SY, E_TAP, E_X, E_Y_FIRST, E_Y_LANES,
)  # fmt: skip
from tensorlib.compiled import INNER
from tensorlib.row_kernel import ROOM, ROW, rows_of_nest
from tensorlib.timing_kernel import State, idle_causes

Ints = NDArray[np.int64]

(
    COMPUTE, FILL_DRAIN, CONFIGURE, WAIT_LOAD, WAIT_STORE, STEP, MAC, INPUT_READ, WEIGHT_READ,
    INPUT_WRITE, WEIGHT_WRITE, OUTPUT_READ, OUTPUT_WRITE, REQUANTISE, BUS_IN, BUS_OUT,
    HOP_INPUT_, HOP_WEIGHT_, HOP_OUTPUT_, STATIONARY, TREE_ADD, ACCUMULATE, SWEEP, COUNTERS,
) = range(24)  # fmt: skip
"""Places of `tensorlib.activity.COUNTERS`."""

MEMO = 64
COORDINATES = 1 << 10


class Counts(NamedTuple):
    """Sums of one mapping, and scratch.

    Attributes:
        wanted: not 0 if counters are to be counted; tag of the sources.
        words: words that the program sends in.
        sums: `COUNTERS`.
        bounds: of the EXEC at hand, innermost loop first.
        begin, end: cycles of CONFIG and LANES.
        at: input and weight LOADs so far.
        keys, values: what was counted before: `2 x MEMO x 8` (rows read, rows written).
        known: entries of each.
    """

    wanted: Ints
    words: Ints
    sums: Ints
    bounds: Ints
    begin: Ints
    end: Ints
    at: Ints
    keys: Ints
    values: Ints
    known: Ints
    key: Ints
    nest: Ints
    room: Ints


def new_counts() -> Counts:
    """Nothing counted."""

    def room(*shape: int) -> Ints:
        return np.zeros(shape, dtype=np.int64)

    return Counts(
        *(room(2), room(1), room(COUNTERS), room(6), room(2), room(2), room(2)),
        *(room(2, MEMO, 8), room(2, MEMO), room(2), room(8), room(2, 7)),
        room=room(ROOM, ROW),
    )


@njit(**INNER)
def restart_counts(c: Counts) -> None:
    """Nothing; forgets the mapping before."""
    c.words[:] = 0
    c.sums[:] = 0
    c.known[:] = 0


@njit(**INNER)
def _recall(c: Counts, kind: int) -> int:
    """Entry of the key at hand; MEMO if there is none."""
    for n in range(min(c.known[kind], MEMO)):
        same = True
        for i in range(8):
            same = same and c.keys[kind, n, i] == c.key[i]
        if same:
            return n
    return MEMO


@njit(**INNER)
def _remember(c: Counts, kind: int, value: int) -> None:
    """Nothing; keeps a value for the key at hand, in turn where there are many."""
    n = c.known[kind] % MEMO
    for i in range(8):
        c.keys[kind, n, i] = c.key[i]
    c.values[kind, n] = value
    c.known[kind] += 1


# --- LOADs ----------------------------------------------------------------------------


@njit(**INNER)
def _overlap(first: int, end: int, low: int, extent: int) -> int:
    """Integers of first .. end - 1 in a box side that wraps at COORDINATES."""
    low %= COORDINATES
    inside = max(0, min(end, low + extent) - max(first, low))
    low -= COORDINATES
    return inside + max(0, min(end, low + extent) - max(first, low))


@njit(**INNER)
def count_load(
    g: Ints, m: Ints, w: Ints, c: Counts, banks: Ints, tensor: int,
    na: int, nb: int, first: int, end: int,
) -> None:  # fmt: skip
    """Nothing; counts the rows that banks keep of a LOAD of columns first .. end - 1."""
    key = c.key
    key[:] = 0
    key[0], key[1], key[2], key[3], key[4] = tensor, na, nb, first, end
    known = _recall(c, 1)
    if known == MEMO:
        _remember(c, 1, _rows_kept(g, m, w, banks, tensor, na, nb, first, end))
        known = (c.known[1] - 1) % MEMO
    c.sums[INPUT_WRITE + tensor] += c.values[1, known]


@njit(**INNER)
def _rows_kept(
    g: Ints, m: Ints, w: Ints, banks: Ints, tensor: int, na: int, nb: int, first: int, end: int
) -> int:
    """Words in the boxes of all banks."""
    quarter = 4 if g[C4] else 1
    at = IN_EA if tensor == 0 else WT_EA
    pitch, down = diagonal_pitch(g, m), diagonal_down(g)
    total = 0
    for n in range(len(banks)):
        bank = banks[n]
        a = bank[CONST_A] + bank[MUL_A] * w[at]
        if tensor == 0:
            b = bank[MUL_Y] * m[YT] * g[STRIDE] + bank[MUL_R] * g[RT] * g[DILATION]
            col = bank[MUL_X] * m[XT] * g[STRIDE] // quarter
            col += bank[MUL_S] * g[ST] * g[DILATION] // quarter
            if down:
                b += bank[PLACE] * pitch
            else:
                col += bank[PLACE] * pitch
        else:
            b = bank[CONST_B] + bank[MUL_R] * g[RT] + bank[MUL_K] * m[KT]
            col = bank[CONST_C] + bank[MUL_S] * g[ST] + bank[MUL_C] * m[CT] * g[CI]
        kept = _overlap(0, na, a, w[at]) * _overlap(0, nb, b, w[at + 1])
        total += bank[BANKS] * kept * _overlap(first, end, col, w[at + 2])
    return total


# --- EXECs ----------------------------------------------------------------------------


@njit(**INNER)
def count_exec(g: Ints, m: Ints, d: Derived, c: Counts, e: Ints, accumulate: bool) -> None:
    """Nothing; counts the events of an EXEC whose bounds are at hand."""
    w, sums = d.w, c.sums
    steps = runs = fresh = sweeps = 1
    for n in range(6):
        bound = c.bounds[n]
        steps *= bound
        if n >= w[RUN_DEPTH]:
            runs *= bound
            fresh *= 1 if is_reduction(m[ORDER + n]) else bound
        if n >= w[SWEEP_DEPTH]:
            sweeps *= bound
    sums[STEP] += steps
    sums[MAC] += steps * _enabled(g, d, e)
    words = g[OUTPUT_BANKS] * max(g[OUT_CHAIN], 1)
    sums[OUTPUT_READ] += (runs if accumulate else runs - fresh) * words
    sums[OUTPUT_WRITE] += runs * words
    if g[CHAIN] != NO_CHAIN:
        sums[SWEEP] += sweeps
    bases = _bases(g, m, w, e)
    sums[INPUT_READ] += g[INPUT_BANKS] * _rows_read(g, m, w, c, 0, bases[0] % 16)
    sums[WEIGHT_READ] += g[WEIGHT_BANKS] * _rows_read(g, m, w, c, 1, bases[1] % 16)


@njit(**INNER)
def _enabled(g: Ints, d: Derived, e: Ints) -> int:
    """PEs whose lanes all have work."""
    w, spans = d.w, d.spans
    k = spans[K_LOOP, 1 if e[E_K] == w[K_TILES] - 1 else 0, LANES]
    c = spans[C_LOOP, 1 if e[E_C] == w[C_TILES] - 1 else 0, LANES]
    x = spans[X_LOOP, 1 if e[E_X] == w[X_TILES] - 1 else 0, LANES]
    k = (k + g[K_UNIT] - 1) // g[K_UNIT] * g[K_UNIT]
    pes = min(g[NK], k) * min(g[NC], c) * min(g[NY], e[E_Y_LANES]) * min(g[NX], x)
    return pes * min(g[LANES_R], g[TAP_R]) * min(g[LANES_S], g[TAP_S])


@njit(**INNER)
def _bases(g: Ints, m: Ints, w: Ints, e: Ints) -> tuple[int, int]:
    """Byte addresses that an EXEC adds, of input and weight."""
    top = e[E_Y_FIRST] * g[STRIDE] - g[PADDING]
    loaded = max(0, top) if m[TRIM] else top
    row = e[E_Y_FIRST] + e[E_SY] * m[YS] + e[E_ROW]
    above = row * g[STRIDE] - g[PADDING] + e[E_TAP] * g[DILATION]
    base = g[CHAIN_LENGTH] - 1 if g[CHAIN] == INPUT_CHAIN else 0
    base += e[E_SX] * m[XS] * w[IN_STRIDES + X_LOOP] + (above - loaded) * w[IN_SB]
    base += e[E_SK] * m[KS] * w[IN_STRIDES + K_LOOP]
    if g[C4]:
        base += (e[E_X] * w[X_TILE] * g[STRIDE] - g[PADDING]) % 4 * 4
    weight = e[E_SK] * m[KS] * w[WT_STRIDES + K_LOOP] + e[E_TAP] * w[WT_STRIDES + R_LOOP]
    return base, weight


@njit(**INNER)
def _rows_read(g: Ints, m: Ints, w: Ints, c: Counts, tensor: int, base: int) -> int:
    """Steps, or reads of fills, whose row differs from the one before."""
    for n in range(6):
        c.key[n] = c.bounds[n]
    c.key[6], c.key[7] = base, tensor
    known = _recall(c, 0)
    if known < MEMO:
        return c.values[0, known]
    strides = WT_STRIDES if tensor else IN_STRIDES
    bounds, steps = c.nest[0], c.nest[1]
    first, loops = 0, 0
    if g[CHAIN] == (WEIGHT_CHAIN if tensor else INPUT_CHAIN):
        bounds[0], steps[0] = g[CHAIN_LENGTH], 1 if tensor else -1
        first, loops = w[SWEEP_DEPTH], 1
    for n in range(first, 6):
        bounds[loops], steps[loops] = c.bounds[n], w[strides + m[ORDER + n]]
        loops += 1
    rows = rows_of_nest(c.room, bounds, steps, loops, base)
    _remember(c, 0, rows)
    return rows


# --- the whole ------------------------------------------------------------------------


@njit(**INNER)
def finish_counts(g: Ints, c: Counts, s: State, commands: int, latency: int) -> None:
    """Nothing; the counters that follow from sums and times."""
    sums, pes, chain = c.sums, g[PES], g[CHAIN_LENGTH]
    busy = 0
    for n in range(s.heads[1]):
        busy += s.exec_idle[n] - 1 - s.exec_start[n]
    waits = idle_causes(s, c.begin, c.end, s.end[commands - 1], latency)
    steps = sums[STEP]
    sums[COMPUTE], sums[FILL_DRAIN] = steps, busy - steps
    sums[CONFIGURE], sums[WAIT_LOAD], sums[WAIT_STORE] = waits
    drained = sums[SWEEP] if g[CHAIN] == OUTPUT_CHAIN else 0
    sums[REQUANTISE] = g[BATCH] * g[K] * g[Y] * g[X]
    sums[BUS_IN], sums[BUS_OUT] = c.words[0] * g[R_IN], s.heads[4] * g[R_OUT]
    sums[HOP_INPUT_], sums[HOP_WEIGHT_] = steps * g[HOP_IN], steps * g[HOP_WEIGHT]
    sums[HOP_OUTPUT_] = steps * g[HOP_OUT] + drained * pes * chain
    sums[STATIONARY] = (sums[SWEEP] - drained) * pes * chain
    sums[TREE_ADD] = steps * g[TREE_ADDS]
    sums[ACCUMULATE] = steps * g[EXITS]
    if g[CHAIN] == OUTPUT_CHAIN:
        sums[ACCUMULATE] = sums[MAC] + drained * g[OUTPUT_BANKS] * chain
