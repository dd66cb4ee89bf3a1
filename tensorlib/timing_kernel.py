"""The event recurrences of docs/hardware.md, section 8, compiled.

Times are cycles. A *generation* of a buffer is one filling of it; `[buffer, generation]` indexes
the times at which it became full (or complete) and free again. EXECs and STOREs are placed as
soon as everything that they wait for has a time; the decoder asks for such times and is stuck
where there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tensorlib import timing_words
from tensorlib.compiled import INNER, source_tag
from tensorlib.timing_words import (
    FIFO_WORDS,
    load_cycles,
    plain_stores,
    send,
    send_each,
    take,
    take_run,
)

Ints = NDArray[np.int64]

CONFIG, LANES, LOAD, EXEC, STORE, END = 1, 2, 3, 4, 5, 15
QUEUE = 4
START_AFTER = 1  # cycles from a command's second word to its start
FULL_AFTER = 2  # cycles from a LOAD's last step to a start that needs it
UNKNOWN = -1

COLUMNS = 10
"""Of a command table; after the opcode:

LOAD: tensor, buffer, na, nb, nc, b_lo, b_hi, c_lo, c_hi.
EXEC: input buffer, weight buffer, output buffer, release input, release weight, complete,
    steps of a sweep, sweeps, cycles from one sweep to the next.
STORE: output buffer, release, needs parameters, parameter buffer, release parameters,
    batches, steps of a batch, words of a batch.
"""


class State(NamedTuple):
    """Arrays of one run; `buffers x generations` or one entry per command of a kind."""

    full: Ints  # 3 tensors x 2 buffers x generations
    freed: Ints
    fulls: Ints  # 3 x 2: generations so far
    frees: Ints
    complete: Ints  # 2 output buffers x generations
    emptied: Ints
    completes: Ints  # 2
    empties: Ints
    kept: Ints  # 2: an EXEC has taken it and not completed it
    exec_at: Ints  # command
    exec_heard: Ints  # cycle of the second word
    exec_start: Ints
    exec_idle: Ints  # the unit is idle again
    exec_full: Ints  # operands are full
    store_at: Ints
    store_heard: Ints
    store_start: Ints
    store_idle: Ints
    beat: Ints  # ring: last beats of the words sent
    heads: Ints  # EXECs decoded, placed; STOREs decoded, placed; words given room; last beat;
    # words up to it that were sent without a gap
    front: Ints  # as in `take`
    begin: Ints  # per command: header consumed (LOAD) or start
    end: Ints  # last step


def new_state(loads: int, execs: int, stores: int, commands: int) -> State:
    """Nothing has happened yet; room for that many commands."""

    def times(*shape: int) -> Ints:
        return np.full(shape, UNKNOWN, dtype=np.int64)

    def counts(*shape: int) -> Ints:
        return np.zeros(shape, dtype=np.int64)

    return State(
        full=times(3, 2, loads + 1),
        freed=times(3, 2, loads + execs + stores + 1),
        fulls=counts(3, 2),
        frees=counts(3, 2),
        complete=times(2, execs + 1),
        emptied=times(2, stores + 1),
        completes=counts(2),
        empties=counts(2),
        kept=counts(2),
        exec_at=times(execs),
        exec_heard=times(execs),
        exec_start=times(execs),
        exec_idle=times(execs),
        exec_full=times(execs),
        store_at=times(stores),
        store_heard=times(stores),
        store_start=times(stores),
        store_idle=times(stores),
        beat=times(2 * FIFO_WORDS),
        heads=np.array([0, 0, 0, 0, 0, UNKNOWN, 0], dtype=np.int64),
        front=times(4),
        begin=times(commands),
        end=times(commands),
    )


@njit(**INNER)
def restart(s: State) -> None:
    """Nothing; as if nothing had happened yet. Times are read only after they are written."""
    s.fulls[:] = 0
    s.frees[:] = 0
    s.completes[:] = 0
    s.empties[:] = 0
    s.kept[:] = 0
    s.heads[:] = 0
    s.heads[5] = UNKNOWN


@njit(**INNER)
def _place_exec(s: State, table: Ints, fill: int, finish: int) -> bool:
    """Whether the next EXEC could be placed."""
    n = s.heads[1]
    if n == s.heads[0]:
        return False
    row = table[s.exec_at[n]]
    start = s.exec_heard[n] + START_AFTER
    if n > 0:
        start = max(start, s.exec_idle[n - 1])
    full = 0
    for tensor in range(2):
        buffer = row[1 + tensor]
        generation = s.frees[tensor, buffer]
        if generation >= s.fulls[tensor, buffer]:
            return False
        full = max(full, s.full[tensor, buffer, generation])
    out = row[3]
    generation = s.completes[out]
    if s.kept[out] == 0 and generation > 0:
        if s.empties[out] < generation:
            return False
        start = max(start, s.emptied[out, generation - 1])
    start = max(start, full)
    first = start + 1 + (fill + 1 if fill > 0 else 0)
    last = first + (row[8] - 1) * row[9] + row[7] - 1
    idle = last + finish
    for tensor in range(2):
        if row[4 + tensor] != 0:
            buffer = row[1 + tensor]
            s.freed[tensor, buffer, s.frees[tensor, buffer]] = idle
            s.frees[tensor, buffer] += 1
    if row[6] != 0:
        s.complete[out, generation] = idle
        s.completes[out] += 1
        s.kept[out] = 0
    else:
        s.kept[out] = 1
    s.exec_start[n] = start
    s.exec_idle[n] = idle
    s.exec_full[n] = full
    s.begin[s.exec_at[n]] = start
    s.end[s.exec_at[n]] = last
    s.heads[1] = n + 1
    return True


@njit(**INNER)
def _place_store(s: State, table: Ints, beats: int, plain: bool) -> bool:
    """Whether the next STORE could be placed."""
    n = s.heads[3]
    if n == s.heads[2]:
        return False
    row = table[s.store_at[n]]
    out = row[1]
    generation = s.empties[out]
    if generation >= s.completes[out]:
        return False
    start = max(s.store_heard[n] + START_AFTER, s.complete[out, generation])
    if n > 0:
        start = max(start, s.store_idle[n - 1])
    params = row[4]
    if row[3] != 0:
        if s.frees[2, params] >= s.fulls[2, params]:
            return False
        start = max(start, s.full[2, params, s.frees[2, params]])
    if plain:
        step = send(s.heads, start, beats, row[6], row[7], row[8])
    else:
        step = send_each(s.heads, s.beat, start, beats, row[6], row[7], row[8])
    idle = step + 1
    if row[2] != 0:
        s.emptied[out, generation] = idle
        s.empties[out] += 1
    if row[5] != 0:
        s.freed[2, params, s.frees[2, params]] = idle
        s.frees[2, params] += 1
    s.store_start[n] = start
    s.store_idle[n] = idle
    s.begin[s.store_at[n]] = start
    s.end[s.store_at[n]] = step
    s.heads[3] = n + 1
    return True


@njit(**INNER)
def _advance(s: State, table: Ints, fill: int, finish: int, beats_out: int, plain: bool) -> None:
    """Nothing; places all EXECs and STOREs that can be placed."""
    moved = True
    while moved:
        moved = _place_exec(s, table, fill, finish)
        moved = _place_store(s, table, beats_out, plain) or moved


@njit(**INNER)
def run_commands(
    table: Ints,
    s: State,
    config_begin: Ints,
    config_end: Ints,
    setup: tuple[int, int, int, int, int],
) -> int:
    """Runs the decoder over all commands, and everything that it starts.

    Args:
        setup: beats per input word, per output word, words of LANES, length of the fills (0
            without), cycles from an EXEC's last step to idle.
        config_begin, config_end: first and last cycle of each CONFIG and LANES, filled in.
    Returns: the number of commands, or the command at which the program is stuck.
    """
    beats, beats_out, lane_words, fill, finish = setup
    plain = plain_stores(table)
    front = s.front
    front[:] = -1
    configs = 0
    for k in range(len(table)):
        row = table[k]
        op = row[0]
        _advance(s, table, fill, finish, beats_out, plain)
        if op in (CONFIG, LANES):
            if s.heads[1] < s.heads[0]:
                return k
            quiet = s.exec_idle[s.heads[1] - 1] if s.heads[1] > 0 else 0
            arrival = max(front[0] + beats, front[2] + 1)
            config_begin[configs] = max(arrival + 1, front[3] + 1)
            s.begin[k] = take(front, beats, quiet)
            take_run(front, beats, (6 if op == CONFIG else lane_words) - 1)
            config_end[configs] = front[3]
            configs += 1
        elif op == LOAD:
            tensor, buffer = row[1], row[2]
            generation = s.fulls[tensor, buffer]
            free = 0
            if generation > 0:
                if s.frees[tensor, buffer] < generation:
                    return k
                free = s.freed[tensor, buffer, generation - 1]
            s.begin[k] = take(front, beats, free)
            load_cycles(front, beats, row)
            s.full[tensor, buffer, generation] = front[3] + FULL_AFTER
            s.fulls[tensor, buffer] += 1
        elif op in (EXEC, STORE):
            which = 0 if op == EXEC else 2
            n = s.heads[which]
            room = 0
            if n >= QUEUE:
                if s.heads[which + 1] <= n - QUEUE:
                    return k
                starts = s.exec_start if op == EXEC else s.store_start
                room = starts[n - QUEUE] + 1
            take(front, beats, room)
            heard = take(front, beats, 0)
            if op == EXEC:
                s.exec_at[n] = k
                s.exec_heard[n] = heard
            else:
                s.store_at[n] = k
                s.store_heard[n] = heard
            s.heads[which] = n + 1
        else:
            s.begin[k] = take(front, beats, 0)
        if op != EXEC and op != STORE:
            s.end[k] = front[3]
    _advance(s, table, fill, finish, beats_out, plain)
    if s.heads[1] < s.heads[0]:
        return s.exec_at[s.heads[1]]
    if s.heads[3] < s.heads[2]:
        return s.store_at[s.heads[3]]
    return len(table)


def _compile() -> Callable[[Ints, State, Ints, Ints, tuple[int, int, int, int, int]], int]:
    """`run_commands` from the cache, whose key depends on the sources of all that it calls."""
    tag = source_tag(__file__, timing_words.__file__)

    @njit(cache=True, _nrt=False)
    def decode(
        table: Ints,
        s: State,
        config_begin: Ints,
        config_end: Ints,
        setup: tuple[int, int, int, int, int],
    ) -> int:
        return run_commands(table, s, config_begin, config_end, setup) + 0 * tag

    return decode


decode = _compile()


@njit(**INNER)
def _overlap(begin: Ints, end: Ints, first: int, last: int) -> int:
    """Cycles of `first` .. `last` that lie in one of the intervals."""
    total = 0
    for n in range(len(begin)):
        total += max(0, min(end[n], last) - max(begin[n], first) + 1)
    return total


@njit(cache=True, _nrt=False)
def idle_causes(s: State, begin: Ints, end: Ints, ended: int, latency: int) -> tuple[int, int, int]:
    """Cycles in which the exec unit is idle: config, wait_load, wait_store.

    Args:
        begin, end: intervals of CONFIG and LANES.
        ended: cycle in which END is consumed.
    """
    config = 0
    load = 0
    store = 0
    first = 0
    execs = s.heads[1]
    for n in range(execs + 1):
        if n < execs:
            last = s.exec_start[n]
            turn = max(s.exec_heard[n] + 1, s.exec_full[n])  # from here on it waits for a store
        else:
            last = latency - 1
            turn = ended + 1
        early = min(last, turn - 1)
        if early >= first:
            overlap = _overlap(begin, end, first, early)
            config += overlap
            load += early - first + 1 - overlap
        late = max(first, turn)
        if last >= late:
            overlap = _overlap(begin, end, late, last)
            config += overlap
            store += last - late + 1 - overlap
        if n < execs:
            first = s.exec_idle[n]
    return config, load, store
