"""The cases of a level, compiled: a list of what each moves and computes; see `compat_cases`.

A list grows loop by loop. A head is a choice of states of the outer loops; with every state of the
next loop but the first it gives a case in which that loop moves and those behind it stand at their
start. A row of the list holds iterations, CODE and volumes at the places that the factors of a
loop's state have in the table, so that a row is a product of rows.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from dcp_hw.maestro.compat_build import (
    ABOVE,
    AFTER,
    COUNT,
    DIMS,
    FILTER,
    FIRST,
    HEAD,
    INPUT,
    LEVELS,
    LIVE,
    SECOND,
    Ints,
)
from dcp_hw.maestro.compat_cases import (
    CODE,
    COUPLES,
    CRITICAL,
    ENDS,
    HAS_STEADY,
    HELD,
    INSIDE,
    MACS,
    MOVING,
    MOVING_LOOP,
    OFTEN,
    OUT,
    OUTSIDE,
    RENEWS,
    STARTS_OVER,
    STATE,
    STATES,
    STUCK,
    TOTAL,
    WIDTH,
)
from dcp_hw.maestro.compat_pairs import spread
from dcp_hw.maestro.honest_axis import LEAN

LOADED = MOVING  # of a case: input and filter that it loads
COMPUTE = 9  # of a case: cycles of the slowest unit
HEADS = LEVELS  # where heads stand among the lists of the levels
MOST = 3**DIMS + 1

# Products over the loops from one on, all at their start; operands that start over
_OUT, _CRITICAL, _MACS, _IN, _FILTER, _RENEWS = (AFTER + i for i in range(6))
_MOVES = 2 * ENDS - (1 << MOVING_LOOP)  # bits of CODE that tell what moves


def new_lists() -> Ints:
    """Empty lists of cases."""
    return np.empty((LEVELS + 1, MOST, WIDTH), dtype=np.int64)


@njit(**LEAN)
def list_cases(w: Ints, loops: Ints, cases: Ints, level: int, mask: int, may_group: bool
               ) -> int:  # fmt: skip
    """Number of cases of a level, now in its list.

    Cases of equal volumes below the top level are taken as one, in an order that is not MAESTRO's,
    if that is asked for and loses nothing: the number of iterations fits 31 bits, and MAESTRO does
    not skip the first case (how often it sets requirements depends on the order).

    Args:
        mask: loops of the level above that hand down their last tile.
    """
    live, total = _start(w, loops, cases, level, mask)
    _suffixes(w, loops, cases, level, live)
    pair = w[level, HEAD, SECOND] >= 0
    a = b = 0
    if pair:
        a = _place(w, level, w[level, HEAD, FIRST], mask)
        b = _place(w, level, w[level, HEAD, SECOND], mask)
        spread(w, loops, cases, level, np.int64(0), a, b)  # no literal: one version is enough
    if may_group and level and total < 1 << 31 and cases[level, 0, CRITICAL] > 0:
        count = _grouped(w, loops, cases, level, live)
    else:
        count = _ordered(w, loops, cases, level, live)
    if pair:
        for at in range(1, count):
            spread(w, loops, cases, level, at, a, b)
    return count


@njit(**LEAN)
def _place(w: Ints, level: int, i: int, mask: int) -> int:
    """Where loop i stands in the table."""
    return i + DIMS * (mask >> w[level, ABOVE, i] & 1) if level else i


@njit(**LEAN)
def _start(w: Ints, loops: Ints, cases: Ints, level: int, mask: int) -> tuple[int, float]:
    """Number of loops that matter from case to case, and of iterations.

    The factors of the others are in the first head.
    """
    code, live, total = 0, 0, 1.0
    out = critical = macs = loaded = taps = 1
    first, second = w[level, HEAD, FIRST], w[level, HEAD, SECOND]
    for i in range(w[level, HEAD, COUNT]):
        place = _place(w, level, i, mask)
        code |= loops[level, place, STATE + CODE]
        if loops[level, place, STATES] == 1 and i not in (first, second):
            out *= loops[level, place, STATE + OUT]
            critical *= loops[level, place, STATE + CRITICAL]
            macs *= loops[level, place, STATE + MACS]
            loaded *= loops[level, place, INSIDE + INPUT]
            taps *= loops[level, place, INSIDE + FILTER]
            continue
        total *= loops[level, place, TOTAL]
        w[level, LIVE, live] = place
        live += 1
    cases[HEADS, 0, OFTEN], cases[HEADS, 0, CODE], cases[HEADS, 0, OUT] = 1, code, out
    cases[HEADS, 0, CRITICAL], cases[HEADS, 0, MACS] = critical, macs
    cases[HEADS, 0, OUTSIDE + INPUT], cases[HEADS, 0, OUTSIDE + FILTER] = loaded, taps
    return live, total


@njit(**LEAN)
def _suffixes(w: Ints, loops: Ints, cases: Ints, level: int, live: int) -> None:
    """Fill in the products over loops at their start, and the case where all are."""
    out = critical = macs = loaded = taps = 1
    held = cases[HEADS, 0, OUTSIDE + INPUT]
    held_taps = cases[HEADS, 0, OUTSIDE + FILTER]
    renews = 0
    for j in range(live, -1, -1):
        w[level, _OUT, j], w[level, _CRITICAL, j], w[level, _MACS, j] = out, critical, macs
        w[level, _IN, j], w[level, _FILTER, j], w[level, _RENEWS, j] = loaded, taps, renews
        if j:
            place = w[level, LIVE, j - 1]
            out *= loops[level, place, STATE + OUT]
            critical *= loops[level, place, STATE + CRITICAL]
            macs *= loops[level, place, STATE + MACS]
            loaded *= loops[level, place, INSIDE + INPUT]
            taps *= loops[level, place, INSIDE + FILTER]
            held *= loops[level, place, HELD + INPUT]
            held_taps *= loops[level, place, HELD + FILTER]
            renews |= loops[level, place, RENEWS]
    cases[level, 0, OFTEN], cases[level, 0, CODE] = 1, cases[HEADS, 0, CODE]
    cases[level, 0, OUT] = cases[HEADS, 0, OUT] * out
    cases[level, 0, CRITICAL] = cases[HEADS, 0, CRITICAL] * critical
    cases[level, 0, MACS] = cases[HEADS, 0, MACS] * macs
    cases[level, 0, LOADED + INPUT], cases[level, 0, LOADED + FILTER] = held, held_taps


@njit(**LEAN)
def _moves(w: Ints, loops: Ints, level: int, j: int, at: int) -> tuple[int, int, int]:
    """Bits of CODE and factors in input and filter of the j-th live loop as the moving one.

    Args:
        at: its state's place in the table.
    """
    place, fresh = w[level, LIVE, j], w[level, _RENEWS, j + 1]
    couples, i = loops[level, place, COUPLES], place % DIMS
    code = loops[level, place, at + CODE] | i + 1 << MOVING_LOOP | fresh << STARTS_OVER
    if loops[level, place, STUCK] & ~fresh:
        code |= ENDS
    loaded = couples & 1
    if loaded:
        loaded = loops[level, place, at + (OUTSIDE if fresh & 1 else MOVING) + INPUT]
    taps = couples >> 1
    if taps:
        taps = loops[level, place, at + (OUTSIDE if fresh >> 1 else MOVING) + FILTER]
    return code, loaded * w[level, _IN, j + 1], taps * w[level, _FILTER, j + 1]


@njit(**LEAN)
def _grouped(w: Ints, loops: Ints, cases: Ints, level: int, live: int) -> int:
    """List the cases; first and steady iterations outside of the moving loop are one state."""
    count = heads = 1
    for j in range(live):
        place = w[level, LIVE, j]
        for state in range(1, loops[level, place, STATES]):
            at = STATE + WIDTH * state
            often = loops[level, place, at + OFTEN]
            code, loaded, taps = _moves(w, loops, level, j, at)
            out = loops[level, place, at + OUT] * w[level, _OUT, j + 1]
            critical = loops[level, place, at + CRITICAL] * w[level, _CRITICAL, j + 1]
            for p in range(heads):
                cases[level, count, OFTEN] = cases[HEADS, p, OFTEN] * often
                cases[level, count, CODE] = cases[HEADS, p, CODE] | code
                cases[level, count, OUT] = cases[HEADS, p, OUT] * out
                cases[level, count, CRITICAL] = cases[HEADS, p, CRITICAL] * critical
                cases[level, count, LOADED] = cases[HEADS, p, OUTSIDE] * loaded
                cases[level, count, LOADED + 1] = cases[HEADS, p, OUTSIDE + 1] * taps
                count += 1
        if j + 1 < live:
            heads = _lengthen(loops, cases, level, place, heads)
    return count


@njit(**LEAN)
def _lengthen(loops: Ints, cases: Ints, level: int, place: int, heads: int) -> int:
    """Number of heads with one more loop, at its last state or at any other."""
    steady = loops[level, place, HAS_STEADY]
    last = loops[level, place, STATES] - 1
    more = heads
    if last > steady:
        at = STATE + WIDTH * last
        for p in range(heads):
            cases[HEADS, more, OFTEN] = cases[HEADS, p, OFTEN]
            cases[HEADS, more, CODE] = cases[HEADS, p, CODE] | loops[level, place, at + CODE]
            for q in range(OUT, OUTSIDE + 2):
                cases[HEADS, more, q] = cases[HEADS, p, q] * loops[level, place, at + q]
            more += 1
    often = 1 + steady * loops[level, place, STATE + WIDTH + OFTEN]
    for p in range(heads):
        cases[HEADS, p, OFTEN] *= often
        for q in range(OUT, OUTSIDE + 2):
            cases[HEADS, p, q] *= loops[level, place, STATE + q]
    return more


@njit(**LEAN)
def _ordered(w: Ints, loops: Ints, cases: Ints, level: int, live: int) -> int:
    """List the cases in MAESTRO's order.

    That is: all loops at their start; then a counter whose digits run 1, 2, ..., 0.
    """
    for q in range(WIDTH):
        cases[level, 1, q] = cases[HEADS, 0, q]
    heads = 1
    for j in range(live):
        place = w[level, LIVE, j]
        states = loops[level, place, STATES]
        for state in range(states):  # rows of factors; the heads are in the level's own list
            at = STATE + WIDTH * state
            for q in range(OUTSIDE + 2):
                cases[HEADS, 1 + state, q] = loops[level, place, at + q]
            if state:
                code, loaded, taps = _moves(w, loops, level, j, at)
                cases[HEADS, 1 + state, CODE] = code
                cases[HEADS, 1 + state, LOADED + INPUT] = loaded
                cases[HEADS, 1 + state, LOADED + FILTER] = taps
        for p in range(heads, 0, -1):
            for turn in range(states, 0, -1):  # the last one may take the head's own row
                _choose(cases, level, p, states * (p - 1) + turn, turn % states)
        heads *= states
    return heads


@njit(**LEAN)
def _choose(cases: Ints, level: int, head: int, target: int, state: int) -> None:
    """Row `target` = that of a head with one more loop, in a state."""
    code = cases[level, head, CODE]
    if state:
        code &= ~_MOVES
        for tensor in (INPUT, FILTER):
            loaded = cases[level, head, OUTSIDE + tensor]
            loaded *= cases[HEADS, 1 + state, LOADED + tensor]
            cases[level, target, LOADED + tensor] = loaded
    else:
        for tensor in (INPUT, FILTER):
            cases[level, target, LOADED + tensor] = cases[level, head, LOADED + tensor]
    cases[level, target, CODE] = code | cases[HEADS, 1 + state, CODE]
    cases[level, target, OFTEN] = cases[level, head, OFTEN] * cases[HEADS, 1 + state, OFTEN]
    for q in range(OUT, OUTSIDE + 2):
        cases[level, target, q] = cases[level, head, q] * cases[HEADS, 1 + state, q]
