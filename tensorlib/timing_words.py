"""Words on the buses: the cycles of runs of them, compiled (docs/cycle-model.md).

What follows takes time per run of alike words, not per word. These functions are compiled into
the kernels that call them, whose cache keys depend on this file.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]

FIFO_WORDS = 64
SEND_AFTER = 6  # cycles from the last step of a batch to its first beat
STORE = 5


@njit(_nrt=False)
def take(front: Ints, beats: int, earliest: int) -> int:
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


@njit(_nrt=False)
def take_run(front: Ints, beats: int, words: int) -> None:
    """Nothing; consumes `words` words, one step each.

    The front queue holds two words. Once a word is consumed right after its arrival, the next
    one is, too, because nothing but its arrival holds it up. The third word at the latest is: if
    two before it came without waiting, it arrives no earlier than the place of the first was
    free again. From there on words are `beats` apart.
    """
    for _ in range(min(words, 3)):
        take(front, beats, 0)
    if words > 3:
        front[0] += beats * (words - 3)
        front[1] = front[0] + 1
        front[2] = front[1] - beats
        front[3] = front[1]


@njit(_nrt=False)
def _alike(front: Ints, before: tuple[int, int, int, int], left: int) -> int:
    """How many repetitions of a piece were skipped: all that are left, or none.

    Times depend on each other by sums and maxima only. A piece that ends in the state in which it
    began, apart from a shift in time, is repeated with that shift.

    Args:
        before: the front at the beginning of the piece that has just ended.
    """
    shift = front[3] - before[3]
    for n in range(3):
        if front[n] - before[n] != shift:
            return 0
    for n in range(4):
        front[n] += left * shift
    return left


@njit(_nrt=False)
def _rows(front: Ints, beats: int, rows: int, low: int, words: int, rest: int) -> None:
    """Nothing; `rows` times `low` zero words, `words` data words and `rest` zero words."""
    while rows > 0:
        before = (front[0], front[1], front[2], front[3])
        front[3] += low
        take_run(front, beats, words)
        front[3] += rest
        rows -= 1
        rows -= _alike(front, before, rows)


@njit(_nrt=False)
def load_cycles(front: Ints, beats: int, row: Ints) -> None:
    """Nothing; moves the front and the decoder over a LOAD's words.

    Args:
        front: as in `take`.
        row: of the command table.
    """
    na, nb, nc = row[3], row[4], row[5]
    low = min(row[8], nc)
    words = max(0, min(row[9], nc) - low)
    first = max(0, row[6])
    rows = max(0, min(row[7], nb) - first)
    if words == 0 or rows == 0:
        front[3] += na * nb * nc
        return
    if rows * words == nb * nc:
        take_run(front, beats, na * nb * nc)
        return
    above, below, rest = first * nc, (nb - first - rows) * nc, nc - low - words
    if words == nc:
        words, rows = words * rows, 1
    while na > 0:
        before = (front[0], front[1], front[2], front[3])
        front[3] += above
        _rows(front, beats, rows, low, words, rest)
        front[3] += below
        na -= 1
        na -= _alike(front, before, na)


@njit(_nrt=False)
def plain_stores(table: Ints) -> bool:
    """Whether `send` may be used: no batch has more words than steps, or at most four."""
    for k in range(len(table)):
        if table[k, 0] == STORE and table[k, 8] > max(table[k, 7], 4):
            return False
    return True


@njit(_nrt=False)
def _until_change(steps: int, cost: int, ahead: int, limit: int) -> int:
    """Batches before the FIFO gets full or the sender idle; a great number if neither happens.

    Args:
        ahead: cycles from the last step to the last beat, at most `limit`.
    """
    if cost > steps:
        return (limit - ahead) // (cost - steps) + 1
    if cost == steps:
        return 1 << 40
    slack = ahead - steps - SEND_AFTER + 1
    return slack // (steps - cost) + 1 if slack >= 0 else 0


@njit(_nrt=False)
def send(heads: Ints, start: int, beats: int, batches: int, steps: int, words: int) -> int:
    """Last step of a STORE; as `send_each`, by the runs of batches that are alike.

    Words that follow each other without a gap lie `beats` apart, so one number, `run`, tells the
    last beat of every word that a batch may wait for. A word before the run has left before it
    matters: when the run began the sender had caught up with the steps, at most 5 cycles behind,
    and by then the 64 - `words` words between would have needed more steps than that (see
    docs/cycle-model.md). After one batch of a kind (idle sender, backlog, FIFO full) the ones
    after it repeat with constant differences until the kind changes.
    """
    if words == 0:
        return start + batches * steps
    step, last, run = start, heads[5], heads[6]
    cost = words * beats
    limit = (FIFO_WORDS - words) * beats  # from the word that must have left to the last one
    left = batches
    while left > 0:
        full = run > FIFO_WORDS - words and last - limit > step
        if full:
            step = last - limit
        step += steps
        left -= 1
        idle = last < step + SEND_AFTER - 1
        if idle:
            last, run = step + SEND_AFTER - 1, 0
        last += cost
        run += words
        more = 0  # batches like this one
        if idle:
            more = left if cost < steps else 0
            last += more * steps
        else:
            if full and cost > steps:
                more = left
                step += more * (cost - steps)
            elif not full and last - limit <= step:
                more = _until_change(steps, cost, last - step, limit)
                more = min(more, left)
            last += more * cost
            run += more * words
        left -= more
        step += more * steps
    heads[4] += batches * words
    heads[5], heads[6] = last, run
    return step


@njit(_nrt=False)
def send_each(
    heads: Ints, ring: Ints, start: int, beats: int, batches: int, steps: int, words: int
) -> int:
    """Last step of a STORE, word by word: any number of words in a batch."""
    step = start
    given, beat = heads[4], heads[5]
    size = len(ring)
    for _ in range(batches):
        step += 1
        need = given + words - FIFO_WORDS  # words that must have left
        if words > 0 and need > 0:
            step = max(step, ring[(need - 1) % size] + 1)
        step += steps - 1
        for word in range(words):
            beat = max(step + SEND_AFTER, beat + 1) + beats - 1
            ring[(given + word) % size] = beat
        given += words
    heads[4], heads[5] = given, beat
    return step
