"""The event recurrences of docs/hardware.md, section 8, compiled.

Times are cycles. A *generation* of a buffer is one filling of it; `[buffer, generation]` indexes
the times at which it became full (or complete) and free again. EXECs and STOREs are placed as
soon as everything that they wait for has a time; the decoder asks for such times and is stuck
where there is none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]

CONFIG, LANES, LOAD, EXEC, STORE, END = 1, 2, 3, 4, 5, 15
QUEUE = 4
FIFO_WORDS = 64
START_AFTER = 1  # cycles from a command's second word to its start
FULL_AFTER = 2  # cycles from a LOAD's last step to a start that needs it
SEND_AFTER = 6  # cycles from the last step of a batch to its first beat
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
    heads: Ints  # EXECs decoded, placed; STOREs decoded, placed; words given room; last beat
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
        heads=np.array([0, 0, 0, 0, 0, UNKNOWN], dtype=np.int64),
        begin=times(commands),
        end=times(commands),
    )


@njit(cache=True)
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


@njit(cache=True)
def _place_store(s: State, table: Ints, beats: int) -> bool:
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
    step = start
    given = s.heads[4]
    beat = s.heads[5]
    words = row[8]
    ring = len(s.beat)
    for _ in range(row[6]):
        step += 1
        need = given + words - FIFO_WORDS  # words that must have left
        if words > 0 and need > 0:
            step = max(step, s.beat[(need - 1) % ring] + 1)
        step += row[7] - 1
        for word in range(words):
            beat = max(step + SEND_AFTER, beat + 1) + beats - 1
            s.beat[(given + word) % ring] = beat
        given += words
    idle = step + 1
    if row[2] != 0:
        s.emptied[out, generation] = idle
        s.empties[out] += 1
    if row[5] != 0:
        s.freed[2, params, s.frees[2, params]] = idle
        s.frees[2, params] += 1
    s.heads[4] = given
    s.heads[5] = beat
    s.store_start[n] = start
    s.store_idle[n] = idle
    s.begin[s.store_at[n]] = start
    s.end[s.store_at[n]] = step
    s.heads[3] = n + 1
    return True


@njit(cache=True)
def _advance(s: State, table: Ints, fill: int, finish: int, beats_out: int) -> None:
    """Nothing; places all EXECs and STOREs that can be placed."""
    moved = True
    while moved:
        moved = _place_exec(s, table, fill, finish)
        moved = _place_store(s, table, beats_out) or moved


@njit(cache=True)
def _take(front: Ints, beats: int, earliest: int) -> int:
    """Cycle in which the next word is consumed, not before `earliest`.

    `front`: arrival of the word before, consumption of the two before, last decoder step.
    """
    arrival = max(front[0] + beats, front[2] + 1)
    cycle = max(arrival + 1, front[3] + 1, earliest)
    front[0] = arrival
    front[2] = front[1]
    front[1] = cycle
    front[3] = cycle
    return cycle


@njit(cache=True)
def decode(
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
    front = np.array([-1, -1, -1, -1], dtype=np.int64)
    configs = 0
    for k in range(len(table)):
        row = table[k]
        op = row[0]
        _advance(s, table, fill, finish, beats_out)
        if op in (CONFIG, LANES):
            if s.heads[1] < s.heads[0]:
                return k
            quiet = s.exec_idle[s.heads[1] - 1] if s.heads[1] > 0 else 0
            arrival = max(front[0] + beats, front[2] + 1)
            config_begin[configs] = max(arrival + 1, front[3] + 1)
            s.begin[k] = _take(front, beats, quiet)
            for _ in range((6 if op == CONFIG else lane_words) - 1):
                _take(front, beats, 0)
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
            s.begin[k] = _take(front, beats, free)
            c_lo = min(row[8], row[5])
            c_hi = max(c_lo, min(row[9], row[5]))
            for _ in range(row[3]):
                for b in range(row[4]):
                    if b < row[6] or b >= row[7]:
                        front[3] += row[5]
                        continue
                    front[3] += c_lo
                    for _ in range(c_hi - c_lo):
                        _take(front, beats, 0)
                    front[3] += row[5] - c_hi
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
            _take(front, beats, room)
            heard = _take(front, beats, 0)
            if op == EXEC:
                s.exec_at[n] = k
                s.exec_heard[n] = heard
            else:
                s.store_at[n] = k
                s.store_heard[n] = heard
            s.heads[which] = n + 1
        else:
            s.begin[k] = _take(front, beats, 0)
        if op != EXEC and op != STORE:
            s.end[k] = front[3]
    _advance(s, table, fill, finish, beats_out)
    if s.heads[1] < s.heads[0]:
        return s.exec_at[s.heads[1]]
    if s.heads[3] < s.heads[2]:
        return s.store_at[s.heads[3]]
    return len(table)


@njit(cache=True)
def _overlap(begin: Ints, end: Ints, first: int, last: int) -> int:
    """Cycles of `first` .. `last` that lie in one of the intervals."""
    total = 0
    for n in range(len(begin)):
        total += max(0, min(end[n], last) - max(begin[n], first) + 1)
    return total


@njit(cache=True)
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
    for n in range(len(s.exec_at) + 1):
        if n < len(s.exec_at):
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
        if n < len(s.exec_at):
            first = s.exec_idle[n]
    return config, load, store


@njit(cache=True)
def row_changes(bounds: Ints, strides: Ints, base: int) -> int:
    """Steps of a loop nest (loop 0 fastest) whose 16-byte row differs from the step before."""
    loops = len(bounds)
    index = np.zeros(loops, dtype=np.int64)
    inner = bounds[0]
    rest = 1
    for loop in range(1, loops):
        rest *= bounds[loop]
    before = -1
    changes = 0
    outer = base
    for _ in range(rest):
        address = outer
        for _ in range(inner):
            row = (address & 0xFFFF) >> 4
            if row != before:
                changes += 1
                before = row
            address += strides[0]
        for loop in range(1, loops):
            index[loop] += 1
            outer += strides[loop]
            if index[loop] < bounds[loop]:
                break
            outer -= strides[loop] * bounds[loop]
            index[loop] = 0
    return changes
