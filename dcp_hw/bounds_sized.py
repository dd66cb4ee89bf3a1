"""Least cycles and energy of all programs with some lanes, tile sizes one by one; compiled.

Tighter than `bounds_kernel`, and slower: steps, words and EXECs are those of the tiles themselves
(`bounds_tiles`), and what is stored last has to wait for what is loaded last. The EXECs of a tile
are counted, not sized: the first of n has no less than an n-th of the tile's steps. Events are
those of `bounds_facts`. Derived in docs/design-space.md; it follows docs/cycle-model.md.
"""

# ruff: noqa: I001 (indices of arrays, many a line)
from __future__ import annotations

import numba
import numpy as np

from dcp_hw.bounds_facts import (
    TRIMMED, ALL_STEPS, ALL_TILES, SWEEPS, DATA, ZEROS, HEADS, BEGUN, LAST_WORDS, OUT_WORDS,
    PER_EXEC, INNER, LOOPS, event_pj, facts, tap_steps,
)  # fmt: skip
from dcp_hw.bounds_kernel import (
    CUTTABLE, FIXED, FIXED_TRIMMED, PER_CYCLE, ROWS_INSIDE, SETUP_WORDS, WORD, objective_value, up,
)  # fmt: skip
from dcp_hw.bounds_tiles import (
    BIG, BLOCK, FIRST, FIRST_COUNT, FIRST_STEPS, FULL, LAST, LAST_COUNT, LAST_STEPS, MEMORY, SIZE,
    STEPS, TILE, TILES, Floats, Ints, piece_rows,
)  # fmt: skip
from dcp_hw.scan import (
    BATCH, C, C4, CHAIN, COMPILED, DEPTHWISE, DRAIN_X, DRAIN_Y, K, KD, KI, OUTPUT_WORDS,
    PARAM_ROWS, R, RT, R_IN, R_OUT, S, ST, SWEEP_MIN, WEIGHT_CHAIN, Y, operands_fit,
)  # fmt: skip

ORDER, YS, PO, LEAD, PART = range(5)
"""Of programs with some tiles: order of tile loops, rows of an EXEC, EXECs of a full tile along k
and x together, pieces of the first and the last tile."""


@numba.njit(**COMPILED)
def _first_part(
    g: Ints, a: Ints, y: Ints, lane: int, rows: int, ys: int, po: int, trim: int
) -> int:  # fmt: skip
    """Steps of the first EXEC that completes outputs, at least.

    Args:
        lane: steps of a tile (or piece) for one row and tap; rows: its rows.
        ys, po: rows of an EXEC; EXECs of a full tile along k and x together.
    """
    return lane * tap_steps(g, a, y, min(rows, ys), trim) // po


@numba.njit(**COMPILED)
def _late_blocks(g: Ints, k: Ints, f: Ints, tiles: int) -> int:
    """Blocks whose parameters may come after the first EXEC of the last tiles, at most.

    They come with the first store of their group, or after the EXEC that follows it.

    Args:
        tiles: how many are the last tiles.
    """
    blocks = up(g[K], BLOCK)
    if g[BATCH] > 1:
        return blocks
    if blocks <= g[PARAM_ROWS]:
        return blocks if f[ALL_TILES] <= tiles + 1 else 0
    if f[LOOPS] > 1 or k[TILES] == 1:
        return min(blocks, (tiles + 1) * g[PARAM_ROWS])
    together = max(1, g[PARAM_ROWS] * BLOCK // k[TILE])
    found = 0
    for n in range(max(0, k[TILES] - tiles - 1), k[TILES]):
        if n % together == 0:
            first = n * k[TILE] // BLOCK
            found += min(up(together * k[TILE], BLOCK), blocks - first)
    return found


@numba.njit(**COMPILED)
def cycles_of(
    g: Ints, a: Ints, k: Ints, c: Ints, y: Ints, x: Ints, f: Ints, lead: int, ys: int, po: int,
    execs: int, ends: int, changes: int,
) -> tuple[int, int]:  # fmt: skip
    """Cycles and loaded words that a program takes at least.

    Args:
        lead: pieces of the first and the last tile.
        ys, po: rows of an EXEC; EXECs of a full tile along k and x together.
        execs, ends: EXECs of all tiles, and those of them that complete outputs.
        changes: of taps along y in a trimmed nest.
    """
    r_in, r_out, trim, per_exec = g[R_IN], g[R_OUT], f[TRIMMED], f[PER_EXEC]
    py = up(y[FIRST_STEPS], ys)
    blocks, last_c = (k, 1) if g[DEPTHWISE] == 1 else (c, c[LAST_STEPS])
    data, heads, begun, stored = f[DATA], f[HEADS], f[BEGUN], f[LAST_WORDS]
    lane = k[LAST_STEPS] * last_c * x[LAST_STEPS]
    rows, first_rows, later, pieces = y[LAST_STEPS], y[FIRST_STEPS], 0, 1
    words_row = stored // y[LAST_COUNT]
    piece_words, opening, last_rows = stored, rows, y[LAST]
    if lead > 1:
        start = piece_rows(g, trim, 0, y[FIRST_COUNT], lead)
        stop = piece_rows(g, trim, g[Y] - y[LAST_COUNT], y[LAST_COUNT], lead)
        first_rows, opening = up(y[FIRST_COUNT], lead), up(y[LAST_COUNT], lead)
        pieces = up(y[LAST_COUNT], opening)
        others = up(y[FIRST_COUNT], first_rows)
        rows = min(y[LAST_COUNT] - (pieces - 1) * opening,
                   y[FIRST_COUNT] - (others - 1) * first_rows)  # fmt: skip
        pieces, others = min(pieces, others), max(pieces, others)
        cuts = 1 if f[ALL_TILES] == 1 else 2
        more = max(0, min(start[0], stop[0])) * min(blocks[LAST], blocks[FIRST])
        data += cuts * more * min(x[LAST], x[FIRST])
        heads += cuts * (pieces - 1)
        begun -= blocks[FIRST] * (y[FIRST] - start[1]) * x[FIRST]
        last_rows = stop[1] + stop[2]
        later = max(start[2], stop[2]) * blocks[BIG] * x[BIG] + others
        execs = max(0, execs - cuts * changes * po)  # EXECs may end elsewhere
        execs, ends = execs + cuts * max(0, pieces - py), ends + cuts * max(0, pieces - py)
        piece_words, pieces = words_row * rows, others
    groups = up(g[K], BLOCK)
    words = data + heads + 2 * (execs + ends) + 7 * groups + 1
    # parameters and commands that are certain to come before the last tile's (last piece's) EXECs
    own = po * (py + changes)
    ready = data + heads + 7 * (groups - _late_blocks(g, k, f, 1))
    early = ready + 2 * max(0, execs - own - po * pieces)
    early += 2 * max(0, ends - po * (py + pieces) - 1) - later
    ready += 2 * max(0, execs - own) + 2 * max(0, ends - po * py - 1)
    piece = lane * tap_steps(g, a, y, rows, trim)
    opened = _first_part(g, a, y, lane, rows, ys, po, trim) + piece_words * r_out
    done, begin = per_exec + 5, (a[SETUP_WORDS] + begun) * r_in
    cycles = max(words * r_in, words + f[ZEROS])
    after = max(opened, piece + r_out) + done
    cycles = max(cycles, max(ready * r_in, ready + f[ZEROS]) + after)
    if lead > 1:
        first = _first_part(g, a, y, lane, opening, ys, po, trim)
        cycles = max(cycles, early * r_in + first + stored * r_out + done)
    if c[TILES] == 1 and f[ALL_TILES] > 1 + (lead > 1):
        clear = max(0, execs - 2 * own - po * pieces)
        sent = data + heads - 2 - pieces + 2 * max(0, ends - po * (2 * py + pieces) - 1)
        sent += 2 * clear + 7 * (groups - _late_blocks(g, k, f, 2))
        begun = begin + f[ALL_STEPS] + clear * per_exec
        cycles = max(cycles, done + _last_two(
            g, a, k, c, y, x, f, last_rows, ys, po, sent, begun, lead > 1
        ))  # fmt: skip
    busy = max(f[ALL_STEPS] + execs * per_exec, f[SWEEPS] * g[SWEEP_MIN])
    cycles = max(cycles, begin + busy + r_out + 5)
    before = f[ALL_STEPS] - piece + max(0, execs - own) * per_exec
    cycles = max(cycles, begin + before + opened + done)
    lane = k[FIRST_STEPS] * c[STEPS] * x[FIRST_STEPS]
    first = _first_part(g, a, y, lane, first_rows, ys, po, trim)
    return max(cycles, begin + first + done + f[OUT_WORDS] * r_out), words + 1


@numba.njit(**COMPILED)
def _last_two(
    g: Ints, a: Ints, k: Ints, c: Ints, y: Ints, x: Ints, f: Ints, last_rows: int, ys: int,
    po: int, sent: int, begun: int, cut: bool,
) -> int:  # fmt: skip
    """Cycles until the last two tiles are stored, at least: both are, after the first EXEC of one.

    The innermost tile loop with several tiles ends with a full and the last tile, or, where it
    runs back, with the full one.

    Args:
        last_rows: input rows that the last tile loads.
        sent: words of all tiles, of commands only those before the last two tiles.
        begun: first cycle of EXECs plus all their steps; cut: whether the last tile is in pieces.
    """
    inner = f[INNER]
    trim, r_in, r_out = f[TRIMMED], g[R_IN], g[R_OUT]
    kn, kc = k[LAST_STEPS], k[LAST_COUNT]
    xn, xc, yn, yc = x[LAST_STEPS], x[LAST_COUNT], y[LAST_STEPS], y[LAST_COUNT]
    both = kn * xn * yn
    blocks = k[LAST] if g[DEPTHWISE] == 1 else c[LAST]
    loads = blocks * last_rows * x[LAST]
    loads += up(k[LAST_COUNT], BLOCK) * g[R] * g[S] * (1 if g[DEPTHWISE] == 1 else g[C])
    words = up(kc, BLOCK) * yc * xc
    if inner == 0:
        kn, kc = k[FIRST_STEPS], k[FIRST_COUNT]
    elif inner == 1:
        yn, yc = y[FIRST_STEPS], y[FIRST_COUNT]
    else:
        xn, xc = x[FIRST_STEPS], x[FIRST_COUNT]
    both += kn * xn * yn
    full = up(kc, BLOCK) * yc * xc
    first = _first_part(g, a, y, kn * xn * c[STEPS], yn, ys, po, trim)
    most = c[STEPS] * g[RT] * g[ST]
    found = max((sent - loads) * r_in, begun - both * most) + first + (words + full) * r_out
    if f[LOOPS] > 1:  # it may run back
        if cut:
            return 0
        other = max(sent * r_in, begun - kn * xn * yn * most) + first + full * r_out
        found = min(found, other)
    return found


@numba.njit(**COMPILED)
def _fits(g: Ints, k: Ints, c: Ints, y: Ints, x: Ints) -> bool:
    """Whether a tile may fit the operands' banks, and the outputs' where sums go on."""
    if not g[C4] and not operands_fit(g, k[SIZE], c[SIZE], y[SIZE], x[SIZE]):
        return False
    if c[TILES] == 1:
        return True
    group = BLOCK // g[KI]
    pitch = up(k[SIZE] * g[KD], group) * group
    return pitch * x[SIZE] * g[DRAIN_X] * y[SIZE] * g[DRAIN_Y] <= g[OUTPUT_WORDS]


@numba.njit(**COMPILED)
def least_of_tiles(
    g: Ints, a: Ints, p: Floats, objective: int, limit: float, k: Ints, c: Ints, y: Ints, x: Ints,
    trim: int, borders: Ints, f: Ints, out: Ints,
) -> tuple[float, float, float, int]:  # fmt: skip
    """The least value over the orders, EXECs and pieces of given tiles, its cycles and its nJ.

    Args:
        k, c, y, x: rows of the tables of `bounds_tiles`.
        borders: changes of taps within EXECs, by rows of a tile and of an EXEC, less one each.
        f: scratch, `FACTS`.
        out: all below the limit, `n x PART`, if there is room for any; otherwise only the least is
            looked for.
    Returns: with these the number of all below the limit, which may be more than there is room for.
    """
    best, best_cycles, best_nj, count = limit, np.inf, np.inf, 0
    kt, yt, xt = k[FIRST_STEPS], y[FIRST_STEPS], x[FIRST_STEPS]
    least_parts = up(kt * g[KD] * xt * g[DRAIN_X] * yt * g[DRAIN_Y], g[OUTPUT_WORDS])
    several = c[TILES] > 1
    most_other = 1 if several else kt * xt
    changes = borders[len(borders) - 1, len(borders) - 1] if trim else 0
    by_pixel = g[CHAIN] == WEIGHT_CHAIN
    for order in range(3):
        facts(g, a, k, c, y, x, trim, order, f)
        single = by_pixel and y[LAST_STEPS] * x[LAST_STEPS] == 1
        pj = event_pj(g, a, p, k, c, y, x, f, single)
        least_pj = event_pj(g, a, p, k, c, y, x, f, True) if by_pixel else pj
        for ys in range(yt, 0 if not several else yt - 1, -1):
            if not trim and ys > 1 and same_parts(y, ys, ys - 1):
                continue  # smaller EXECs, no more of them
            some, py = False, up(yt, ys)
            full = y[FULL] * py + (y[TILES] - y[FULL]) * up(y[LAST_STEPS], ys)
            inner = borders[yt - 1, ys - 1] if trim else 0
            first = 1 if several else max(1, up(least_parts, py))
            for po in range(first, max(first, most_other) + 1):
                columns = k[FULL] * x[FULL] * (po - 1) + k[TILES] * x[TILES]
                execs = g[BATCH] * columns * full * c[TILES]
                ends = g[BATCH] * columns * full
                words = f[DATA] + f[HEADS] + 2 * (execs + ends) + 7 * up(g[K], BLOCK) + 2
                cycles = max(words - 1, f[ALL_STEPS] + execs * f[PER_EXEC])
                events = least_pj if py * po >= yt * xt else pj
                nj = (events + words * p[WORD] + cycles * p[PER_CYCLE]) * 1e-3
                bar = limit if len(out) else best
                if objective_value(objective, cycles, nj) >= bar:
                    break
                some = True
                execs += g[BATCH] * columns * inner
                for lead in (1, 2, 3, 4, 6):
                    if lead > 1 and (several or not a[CUTTABLE] or y[FIRST_COUNT] < 2):
                        break
                    cycles, words = cycles_of(
                        g, a, k, c, y, x, f, lead, ys, po, execs, ends, changes
                    )
                    nj = (events + words * p[WORD] + cycles * p[PER_CYCLE]) * 1e-3
                    value = objective_value(objective, cycles, nj)
                    if value < limit:
                        if count < len(out):
                            out[count, ORDER], out[count, YS] = order, ys
                            out[count, PO], out[count, LEAD] = po, lead
                        count += 1
                    if value < best:
                        best, best_cycles, best_nj = value, cycles, nj
            if not some and py >= least_parts and not by_pixel:
                break
    return best, best_cycles, best_nj, count


@numba.njit(**COMPILED)
def same_parts(y: Ints, one: int, other: int) -> bool:
    """Whether EXECs of so many rows are as many as those of others, in every tile."""
    full, last = y[FIRST_STEPS], y[LAST_STEPS]
    return bool(up(full, one) == up(full, other) and up(last, one) == up(last, other))


@numba.njit(**COMPILED)
def least_sized(
    g: Ints, a: Ints, p: Floats, objective: int, limit: float, tables: Ints, counts: Ints,
    borders: Ints, f: Ints, out: Ints,
) -> tuple[float, float, float, int]:  # fmt: skip
    """The least value over all programs with some lanes, its cycles and its nJ; `limit` and
    infinity if none is below.

    Args:
        g: constants of `lane_options.constants`; a: ARRAY_COUNT; p: PRICES.
        objective: LATENCY, ENERGY or EDP.
        tables: k, c, y, x and trimmed y, `5 x sizes x COLUMNS`; counts: sizes in each.
        borders, f: as `least_of_tiles`.
        out: all tiles below the limit, `n x 5`: whether trimmed, rows of k, c, y, x in their
            tables; if there is room for any.
    Returns: with these the number of all tiles below the limit.
    """
    best, count = (limit, np.inf, np.inf), 0
    nothing = np.zeros((0, PART), dtype=np.int64)
    for trim in range(2 if a[ROWS_INSIDE] else 1):
        along_y = 4 if trim else 2
        for ik in range(counts[0]):
            k = tables[0, ik]
            for ic in range(counts[1]):
                c = tables[1, ic]
                for iy in range(counts[along_y]):
                    y = tables[along_y, iy]
                    for ix in range(counts[3]):
                        x = tables[3, ix]
                        work = a[ROWS_INSIDE] * g[ST] if trim else y[STEPS] * g[RT] * g[ST]
                        steps = g[BATCH] * k[STEPS] * c[STEPS] * work * x[STEPS]
                        blocks = k[MEMORY] if g[DEPTHWISE] == 1 else c[MEMORY]
                        words = g[BATCH] * blocks * y[MEMORY] * x[MEMORY]
                        cycles = max(steps, words)
                        pj = words * p[WORD] + cycles * p[PER_CYCLE]
                        pj += p[FIXED_TRIMMED] if trim else p[FIXED]
                        bar = limit if len(out) else best[0]
                        if objective_value(objective, cycles, pj * 1e-3) >= bar:
                            continue
                        if not _fits(g, k, c, y, x):
                            continue
                        found = least_of_tiles(
                            g, a, p, objective, bar, k, c, y, x, trim, borders, f, nothing
                        )
                        if found[0] >= bar:
                            continue
                        if count < len(out):
                            out[count, 0], out[count, 1], out[count, 2] = trim, ik, ic
                            out[count, 3], out[count, 4] = iy, ix
                        count += 1
                        if found[0] < best[0]:
                            best = found[:3]
    return best[0], best[1], best[2], count
