"""Exact latency of mappings, compiled from their integers to the last cycle, many in one call.

Rows of the cycle model's table in the order of `Lowering.commands`, then the model itself. Layout,
tiles and STOREs come from `stream_layout`, `stream_tiles`, `stream_stores`; all of it is
compiled into one function, whose cache key depends on all these files.
"""

# ruff: noqa: I001 (indices of arrays, many a line)
from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcp_hw import scan, stream_counts, stream_layout, stream_plan, stream_stores, stream_tiles
from dcp_hw.scan import (
    BYTES, C4, CHAIN, DEPTHWISE, DILATION, FINISH, IN_X, IN_Y, INT32, MAX_COUNT, NO_CHAIN,
    OUTPUT_CHAIN, PADDING, R_IN, R_OUT, SLOT_S, ST, STRIDE, SWEEP_MIN,
)  # fmt: skip
from dcp_hw.stream_counts import (
    Counts, count_exec, count_load, finish_counts, new_counts, restart_counts,
)  # fmt: skip
from dcp_hw.stream_layout import (
    BLOCKS_FULL, C_LOOP, COUNT, C_TILES, Derived, IN_EC, IN_SB, K_LOOP, K_TILE, K_TILES, LANES,
    PARAMS_TILES, REACH_R, REACH_S, R_LOOP, RUN_DEPTH, STEPS, SWEEP_DEPTH, X_LOOP,
    X_TILE, X_TILES, Y_LOOP, ceil_div, is_reduction, lay_out, new_derived,
)  # fmt: skip
from dcp_hw.stream_plan import (
    BLOCKS_OUT, FILL, KS, LANE_WORDS, LATE, ORDER, StreamPlan, TRIM, XS, XT, YS, YT,
)  # fmt: skip
from dcp_hw.stream_stores import Stores, channel_key, new_stores, pixel_key, shape_of
from dcp_hw.stream_tiles import (
    E_C, E_COMPLETE, E_FREES_INPUT, E_FREES_WEIGHT, E_INPUT, E_K, E_ROWS, E_SK, E_SX, E_SY,
    E_TAPS, E_WEIGHT, E_X, E_Y_COUNT, E_Y_FIRST, E_Y_LANES, E_Y_STEPS, LOAD_AFTER, LOAD_USE,
    NEVER, N_EXEC, N_FREES, N_LOADS, N_PARAMS, Tiles, fill_tiles, new_tiles,
)  # fmt: skip
from tensorlib import compiled, row_kernel, timing_kernel, timing_words
from tensorlib.compiled import INNER, source_tag
from tensorlib.timing_kernel import (
    COLUMNS, CONFIG, END, EXEC, LANES as LANES_OP, LOAD, QUEUE, STORE, State, new_state,
    restart, run_commands,
)  # fmt: skip

Ints = NDArray[np.int64]

RUN_DISTANCE = 3
PARAM_WORDS = 7
CANNOT_RUN, NO_ROOM = 0, -1


class Scratch(NamedTuple):
    """Arrays that evaluations use one after another."""

    derived: Derived
    tiles: Tiles
    stores: Stores
    counts: Counts
    table: Ints  # commands x COLUMNS
    rows: Ints  # commands written
    state: State


def new_scratch(execs: int) -> Scratch:
    """Room for mappings of that many EXECs."""
    commands = 8 * execs + 64
    return Scratch(
        new_derived(),
        new_tiles(execs),
        new_stores(),
        new_counts(),
        np.zeros((commands, COLUMNS), dtype=np.int64),
        np.zeros(1, dtype=np.int64),
        new_state(commands, commands, commands, commands),
    )


# --- rows of the table ----------------------------------------------------------------


@njit(**INNER)
def _row(
    z: Scratch, op: int, a: int, b: int, c: int, d: int, e: int, f: int, h: int, i: int, j: int
) -> None:
    """Nothing; adds a command."""
    row = z.table[z.rows[0]]
    row[0], row[1], row[2], row[3], row[4] = op, a, b, c, d
    row[5], row[6], row[7], row[8], row[9] = e, f, h, i, j
    z.rows[0] += 1


@njit(**INNER)
def _input_load(p: StreamPlan, m: Ints, z: Scratch, e: Ints) -> bool:
    """Whether an input LOAD fits its command; adds it."""
    g, w = p.g, z.derived.w
    span = z.derived.spans[X_LOOP, 1 if e[E_X] == w[X_TILES] - 1 else 0]
    width = (span[LANES] - 1) * m[XT] + span[STEPS]
    height = (e[E_Y_LANES] - 1) * m[YT] + e[E_Y_STEPS]
    row = e[E_Y_FIRST] * g[STRIDE] - g[PADDING]
    rows = (height - 1) * g[STRIDE] + (w[REACH_R] - 1) * g[DILATION] + 1
    if m[TRIM]:
        rows = min(row + rows, g[IN_Y]) - max(0, row)
        row = max(0, row)
    cols = (width - 1) * g[STRIDE] + (w[REACH_S] - 1) * g[DILATION] + 1
    col, size = e[E_X] * w[X_TILE] * g[STRIDE] - g[PADDING], g[IN_X]
    if g[C4]:
        phase = col % 4
        col = (col - phase) // 4
        cols, size = ceil_div(phase + cols, 4), ceil_div(size, 4)
    last = e[E_K] == w[K_TILES] - 1 if g[DEPTHWISE] else e[E_C] == w[C_TILES] - 1
    blocks = w[BLOCKS_FULL + (1 if last else 0)]
    if max(blocks, max(rows, cols)) > MAX_COUNT:
        return False
    b_lo, b_hi = max(0, -row), min(rows, g[IN_Y] - row)
    c_lo, c_hi = max(0, -col), min(cols, size - col)
    b_hi, c_hi = max(b_lo, b_hi), max(c_lo, c_hi)
    first, end = 0, cols
    if (c_lo > 0 or c_hi < cols) and g[BYTES] and w[IN_SB] == 16:
        beyond = (span[LANES] - 1) * m[XT] * g[STRIDE]
        beyond += 0 if g[SLOT_S] else (w[REACH_S] - g[ST]) * g[DILATION]
        if c_lo < w[IN_EC] and beyond < c_hi:
            first, end = c_lo, c_hi
    z.counts.words[0] += blocks * (b_hi - b_lo) * (c_hi - c_lo) + 1
    width, c_lo, c_hi = end - first, c_lo - first, c_hi - first
    _row(z, LOAD, 0, e[E_INPUT], blocks, rows, width, b_lo, b_hi, c_lo, c_hi)
    if z.counts.wanted[0]:
        count_load(g, m, w, z.counts, p.input_banks, 0, blocks, rows, first, end)
    return True


@njit(**INNER)
def _weight_load(p: StreamPlan, m: Ints, z: Scratch, e: Ints) -> None:
    """Nothing; adds a weight LOAD."""
    w = z.derived.w
    k = 1 if e[E_K] == w[K_TILES] - 1 else 0
    c = 1 if e[E_C] == w[C_TILES] - 1 else 0
    row = z.derived.weights[k, c]
    z.counts.words[0] += row[0] * row[1] * row[3] + 1
    _row(z, LOAD, 1, e[E_WEIGHT], row[0], row[1], row[2], 0, row[1], 0, row[3])
    if z.counts.wanted[0]:
        count_load(p.g, m, w, z.counts, p.weight_banks, 1, row[0], row[1], 0, row[2])


@njit(**INNER)
def _params_load(g: Ints, z: Scratch, e: Ints, buffer: int) -> None:
    """Nothing; adds a LOAD of parameters."""
    w = z.derived.w
    first = e[E_K] // w[PARAMS_TILES] * w[PARAMS_TILES] * w[K_TILE] // 16
    rows = min(g[BLOCKS_OUT] - first, ceil_div(w[PARAMS_TILES] * w[K_TILE], 16))
    z.counts.words[0] += rows * PARAM_WORDS + 1
    _row(z, LOAD, 2, buffer, rows, 1, PARAM_WORDS, 0, 1, 0, PARAM_WORDS)


@njit(**INNER)
def _bounds(g: Ints, m: Ints, z: Scratch, e: Ints) -> None:
    """Nothing; steps of each loop, in the order of the sequencer."""
    w, spans = z.derived.w, z.derived.spans
    k = spans[K_LOOP, 1 if e[E_K] == w[K_TILES] - 1 else 0, STEPS]
    x = spans[X_LOOP, 1 if e[E_X] == w[X_TILES] - 1 else 0, STEPS]
    for n in range(6):
        loop = m[ORDER + n]
        bound = g[ST]
        if loop == K_LOOP:
            bound = min(m[KS], k - e[E_SK] * m[KS])
        elif loop == C_LOOP:
            bound = spans[C_LOOP, 1 if e[E_C] == w[C_TILES] - 1 else 0, STEPS]
        elif loop == Y_LOOP:
            bound = e[E_ROWS]
        elif loop == X_LOOP:
            bound = min(m[XS], x - e[E_SX] * m[XS])
        elif loop == R_LOOP:
            bound = e[E_TAPS]
        z.counts.bounds[n] = bound


@njit(**INNER)
def _exec(p: StreamPlan, m: Ints, z: Scratch, e: Ints, output: int, n: int) -> bool:
    """Whether partial sums keep their distance; adds an EXEC."""
    g, w, bounds = p.g, z.derived.w, z.counts.bounds
    _bounds(g, m, z, e)
    run = between = 1
    for i in range(w[RUN_DEPTH]):
        run *= bounds[i]
    if g[CHAIN] != OUTPUT_CHAIN:
        for i in range(w[RUN_DEPTH], 6):
            if is_reduction(m[ORDER + i]):
                if bounds[i] > 1:
                    if run * (between - 1) + 1 < RUN_DISTANCE:
                        return False
                    break
            else:
                between *= bounds[i]
    steps = sweeps = 1
    for i in range(6):
        if i < w[SWEEP_DEPTH]:
            steps *= bounds[i]
        else:
            sweeps *= bounds[i]
    every = steps if g[CHAIN] == NO_CHAIN else max(steps, g[SWEEP_MIN])
    frees = e[E_FREES_INPUT], e[E_FREES_WEIGHT]
    complete = e[E_COMPLETE]
    _row(
        z, EXEC, e[E_INPUT], e[E_WEIGHT], output, frees[0], frees[1], complete, steps, sweeps, every
    )
    z.counts.words[0] += 2
    if z.counts.wanted[0]:
        count_exec(g, m, z.derived, z.counts, e, n % w[C_TILES] > 0)
    return True


@njit(**INNER)
def _shape(p: StreamPlan, m: Ints, z: Scratch, e: Ints) -> int:
    """Number of the STORE shape of an EXEC's output tile; -1 without room."""
    w, spans = z.derived.w, z.derived.spans
    k = spans[K_LOOP, 1 if e[E_K] == w[K_TILES] - 1 else 0]
    x = spans[X_LOOP, 1 if e[E_X] == w[X_TILES] - 1 else 0]
    y_key = pixel_key(e[E_Y_STEPS], e[E_Y_COUNT], e[E_Y_LANES], m[YT], m[YS], e[E_SY])
    x_key = pixel_key(x[STEPS], x[COUNT], x[LANES], m[XT], m[XS], e[E_SX])
    k_key = channel_key(p.g, m, k, e[E_SK])
    return shape_of(p.g, m, w, p.lanes, z.stores, k_key, y_key, x_key)


@njit(**INNER)
def _end(p: StreamPlan, m: Ints, z: Scratch, number: int) -> bool:
    """Whether there was room for the end of an output tile: parameters and STOREs; adds them."""
    g, end = p.g, z.tiles.ends[number]
    e = z.tiles.execs[end[N_EXEC]]
    shape = _shape(p, m, z, e)
    if shape < 0:
        return False
    first, stop = z.stores.spans[shape, 0], z.stores.spans[shape, 1]
    if z.rows[0] + stop - first + 16 > len(z.table):
        return False
    scaled = 1 - g[INT32]
    if end[N_LOADS] and scaled:
        _params_load(g, z, e, end[N_PARAMS])
    for n in range(first, stop):
        last = 1 if n == stop - 1 else 0
        frees = last * scaled * end[N_FREES]
        row, params = z.stores.rows[n], end[N_PARAMS]
        _row(z, STORE, number % 2, last, scaled, params, frees, row[0], row[1], row[2], 0)
        z.counts.words[0] += 2
    return True


# --- the program ----------------------------------------------------------------------


@njit(**INNER)
def _stands(t: Tiles, tensor: int, number: int, n: int, ahead: int) -> bool:
    """Whether a load stands before EXEC `n`: soon after the one that frees its buffer.

    It holds up the decoder, so it lets as many EXECs pass as the queues hold, if it is not
    needed before.
    """
    if number >= t.counts[2 + tensor]:
        return False
    use, after = t.loads[tensor, number, LOAD_USE], t.loads[tensor, number, LOAD_AFTER]
    return n == (use if after == NEVER else min(use, after + 1 + ahead))


@njit(**INNER)
def _loads_before(p: StreamPlan, m: Ints, z: Scratch, n: int, ahead: int, at: Ints) -> bool:
    """Whether the LOADs that stand before EXEC `n` fit their commands; adds them.

    Args:
        at: loads of inputs and of weights that came before.
    """
    t = z.tiles
    while True:
        i, j = _stands(t, 0, at[0], n, ahead), _stands(t, 1, at[1], n, ahead)
        if not i and not j:
            return True
        if i and (not j or t.loads[0, at[0], LOAD_USE] <= t.loads[1, at[1], LOAD_USE]):
            if not _input_load(p, m, z, t.execs[t.loads[0, at[0], LOAD_USE]]):
                return False
            at[0] += 1
        else:
            _weight_load(p, m, z, t.execs[t.loads[1, at[1], LOAD_USE]])
            at[1] += 1


@njit(**INNER)
def _fill_table(p: StreamPlan, m: Ints, z: Scratch) -> int:
    """1 if the table of commands is complete, CANNOT_RUN or NO_ROOM."""
    g, t = p.g, z.tiles
    z.rows[0] = z.stores.counts[0] = z.stores.counts[1] = 0
    restart_counts(z.counts)
    _row(z, CONFIG, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    _row(z, LANES_OP, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    z.counts.words[0] = 6 + g[LANE_WORDS]
    shape = _shape(p, m, z, t.execs[0])
    stores = z.stores.spans[shape, 1] - z.stores.spans[shape, 0]
    if shape < 0:
        return NO_ROOM
    ahead = QUEUE // stores if 0 < stores <= QUEUE else 1
    at = z.counts.at
    at[:] = 0
    waiting, execs, end = -1, t.counts[0], 0
    for n in range(execs):
        if z.rows[0] + 16 > len(z.table):
            return NO_ROOM
        e = t.execs[n]
        if not _loads_before(p, m, z, n, ahead, at) or not _exec(p, m, z, e, end % 2, n):
            return CANNOT_RUN
        if waiting >= 0 and not _end(p, m, z, waiting):
            return NO_ROOM
        waiting = -1
        if e[E_COMPLETE]:
            if t.ends[end, N_LOADS] and not g[INT32] and m[LATE] and n + 1 < execs:
                waiting = end
            elif not _end(p, m, z, end):
                return NO_ROOM
            end += 1
    _row(z, END, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    z.counts.words[0] += 1
    return 1


@njit(**INNER)
def run_mapping(p: StreamPlan, m: Ints, z: Scratch) -> int:
    """Exact latency of a mapping in cycles, CANNOT_RUN or NO_ROOM (larger scratch wanted)."""
    if not lay_out(p.g, m, z.derived, p.banks_1, p.banks_2):
        return CANNOT_RUN
    done = fill_tiles(p.g, m, z.derived, z.tiles)
    if done == 1:
        done = _fill_table(p, m, z)
    if done != 1:
        return done
    rows = z.rows[0]
    restart(z.state)
    at = z.counts
    setup = (p.g[R_IN], p.g[R_OUT], p.g[LANE_WORDS], p.g[FILL], p.g[FINISH])
    if run_commands(z.table[:rows], z.state, at.begin, at.end, setup) < rows:
        return CANNOT_RUN
    latency = z.state.heads[5] + 1
    if at.wanted[0] and latency > 0:
        finish_counts(p.g, z.counts, z.state, rows, latency)
    return latency


def _compile() -> Callable[..., int]:
    """The loop over mappings, from the cache."""
    modules = (scan, stream_counts, stream_layout, stream_plan, stream_stores, stream_tiles)
    others = (compiled, row_kernel, timing_kernel, timing_words)
    tag = source_tag(__file__, *(str(module.__file__) for module in (*modules, *others)))

    @njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
    def run_mappings(
        p: StreamPlan, mappings: Ints, z: Scratch, first: int, cycles: Ints, counters: Ints
    ) -> int:
        """Mappings evaluated, from `first` on; fewer than all where the scratch is too small.

        Args:
            mappings: `n x MAPPING_COUNT`.
            cycles: `n`, filled in; CANNOT_RUN where a mapping cannot.
            counters: `n x COUNTERS`, filled in; `0 x COUNTERS` if not wanted.
        """
        z.counts.wanted[0] = len(counters) > 0
        z.counts.wanted[1] = tag
        for n in range(first, len(mappings)):
            cycles[n] = run_mapping(p, mappings[n], z)
            if cycles[n] == NO_ROOM:
                return n
            if len(counters):
                for i in range(counters.shape[1]):
                    counters[n, i] = z.counts.sums[i] if cycles[n] > 0 else 0
        return len(mappings)

    return run_mappings


run_mappings = _compile()
