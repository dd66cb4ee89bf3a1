"""The timing model against a simulation cycle by cycle, and the counters against events."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import random_programs
import slow_timing

from sim.interpreter import build_stream, interpret
from sim.samples import samples
from tensorlib.activity import COUNTERS
from tensorlib.program import End, Exec, Store
from tensorlib.row_kernel import row_changes
from tensorlib.timing import CYCLE_CAUSES, TimingError, predict
from tensorlib.timing_words import load_cycles, send, send_each

BUSES = ((128, 128), (64, 32), (32, 64), (32, 128), (128, 32))


@pytest.mark.parametrize("bus", BUSES)
@pytest.mark.parametrize("name", samples())
def test_samples_take_as_long_as_cycle_by_cycle(name: str, bus: tuple[int, int]) -> None:
    sample = samples(in_bits=bus[0], out_bits=bus[1])[name]
    prediction = predict(sample.design, sample.commands)
    latency, counters = slow_timing.SlowMachine(sample.design, sample.commands).run()
    assert prediction.latency_cycles == latency
    assert prediction.counters == {counter: counters.get(counter, 0) for counter in COUNTERS}
    assert sum(prediction.cycles.values()) == latency


@pytest.mark.parametrize("block", range(8))
def test_random_programs_take_as_long_as_cycle_by_cycle(block: int) -> None:
    ended = 0
    for seed in range(50 * block, 50 * block + 50):
        rng = random.Random(seed)
        design = random_programs.random_design(rng)
        commands = random_programs.random_program(rng, design, rng.randint(1, 8))
        try:
            latency, counters = slow_timing.SlowMachine(design, commands).run()
        except slow_timing.Stuck:
            latency, counters = 0, {}
        if latency == 0:  # stuck, or nothing sent
            with pytest.raises(TimingError):
                predict(design, commands)
            continue
        ended += 1
        prediction = predict(design, commands)
        expected = {counter: counters.get(counter, 0) for counter in COUNTERS}
        assert (seed, prediction.latency_cycles) == (seed, latency)
        assert (seed, prediction.counters) == (seed, expected)
    assert ended > 30


@pytest.mark.parametrize("name", samples())
def test_counters_agree_with_the_interpreter(name: str) -> None:
    sample = samples()[name]
    result = interpret(sample.design, sample.commands, sample.memory)
    counters = predict(sample.design, sample.commands).counters
    assert {counter: counters[counter] for counter in result.counters} == result.counters
    assert counters["bus_in_beat"] == len(build_stream(sample.commands, sample.memory))
    assert counters["bus_out_beat"] == len(result.words)
    assert counters["mac"] >= sample.acc.size


def test_times_of_commands() -> None:
    """By hand: CONFIG from cycle 1 (the first word arrives in 0), 6 words, LANES 9 words."""
    sample = samples()["broadcast"]
    prediction = predict(sample.design, sample.commands)
    assert prediction.begin[:2].tolist() == [1, 7]
    assert prediction.end[:2].tolist() == [6, 15]
    assert (prediction.begin[2], prediction.end[2]) == (16, 16 + 24)  # 3 x 8 input words
    assert (prediction.begin[3], prediction.end[3]) == (41, 41 + 60)  # 20 x 3 weight words
    # 14 parameter words after their header; EXEC's second word 2 cycles later; start; steps
    start = 101 + 15 + 2 + 1
    index = next(n for n, c in enumerate(sample.commands) if isinstance(c, Exec))
    assert (prediction.begin[index], prediction.end[index]) == (start, start + 480)
    # D = 5; then steps, of which 4 make the first batch; words from 6 cycles later
    store = next(n for n, c in enumerate(sample.commands) if isinstance(c, Store))
    assert prediction.begin[store] == start + 480 + 5
    assert prediction.end[store] == start + 480 + 5 + 16
    assert prediction.latency_cycles == start + 480 + 5 + 16 + 6 + 4


def test_programs_without_an_end_are_refused() -> None:
    sample = samples()["broadcast"]
    with pytest.raises(TimingError, match="ends with END"):
        predict(sample.design, sample.commands[:-1])
    with pytest.raises(TimingError, match="waits for ever"):
        predict(sample.design, [c for c in sample.commands if not isinstance(c, Exec)])
    with pytest.raises(TimingError, match="sends nothing"):
        predict(sample.design, [End()])


def test_causes_come_first() -> None:
    assert COUNTERS[: len(CYCLE_CAUSES)] == CYCLE_CAUSES
    assert len(COUNTERS) == 23


def _walk_words(beats: int, na: int, nb: int, nc: int, box: tuple[int, int, int, int]) -> list[int]:
    """Arrivals and consumptions of docs/hardware.md, section 8, of two equal LOADs in turn."""
    arrived, consumed, step = [beats - 1], [], -1
    b_lo, b_hi, c_lo, c_hi = box
    for _ in range(2):
        for _, b, c in itertools.product(range(na), range(nb), range(nc)):
            step += 1
            if b_lo <= b < b_hi and c_lo <= c < c_hi:
                step = max(step, arrived[-1] + 1)
                consumed.append(step)
                place = consumed[-2] + 1 if len(consumed) > 1 else 0
                arrived.append(max(arrived[-1] + beats, place))
    return [step, *consumed[-2:]]


def test_loads_take_as_long_as_word_by_word() -> None:
    rng = random.Random(5)
    for _ in range(300):
        beats, na = rng.choice((1, 2, 4)), rng.choice((1, 2, 9))
        nb, nc = rng.choice((1, 3, 7, 12)), rng.choice((1, 2, 5, 9, 20))
        b_lo, c_lo = rng.choice((0, 0, 1)), rng.choice((0, 0, 1, 2))
        b_hi, c_hi = nb - rng.choice((0, 0, 1, 2)), nc - rng.choice((0, 0, 1, 2, 3))
        box = (b_lo, b_hi, c_lo, c_hi)
        front = np.array([-1, -1, -1, -1])
        for _ in range(2):
            load_cycles(front, beats, np.array([3, 0, 0, na, nb, nc, *box]))
        expected = _walk_words(beats, na, nb, nc, box)
        found = [front[3], front[2], front[1]]
        assert (beats, na, nb, nc, box, found[: len(expected)]) == (
            beats,
            na,
            nb,
            nc,
            box,
            expected,
        )


def test_stores_take_as_long_as_word_by_word() -> None:
    rng = random.Random(6)
    for _ in range(300):
        beats = rng.choice((1, 2, 4))
        fast, slow = np.array([0] * 5 + [-1, 0]), np.array([0] * 5 + [-1, 0])
        ring, start = np.zeros(128, dtype=np.int64), 0
        for _ in range(rng.randint(1, 6)):
            steps = rng.choice((1, 1, 2, 4, 8, 16, 100))
            words = rng.randint(0, min(16, max(4, steps)))
            batches, start = rng.choice((1, 2, 5, 40, 300)), start + rng.choice((0, 0, 3, 100))
            last = send_each(slow, ring, start, beats, batches, steps, words)
            assert send(fast, start, beats, batches, steps, words) == last
            assert fast[4:6].tolist() == slow[4:6].tolist()
            start = last + 1


def test_row_changes_equal_a_walk_over_all_steps() -> None:
    rng = random.Random(7)
    for _ in range(300):
        bounds = [rng.choice((1, 1, 2, 3, 5, 17, 20)) for _ in range(rng.randint(1, 4))]
        strides = [rng.choice((0, 1, 3, 4, 15, 16, 48, -1, -16, 700)) for _ in bounds]
        base = rng.randrange(16)
        addresses = [
            base + sum(i * s for i, s in zip(reversed(index), strides, strict=True))
            for index in itertools.product(*(range(n) for n in reversed(bounds)))
        ]
        rows = [address % 65536 // 16 for address in addresses]
        expected = 1 + sum(a != b for a, b in itertools.pairwise(rows))
        assert row_changes(np.array(bounds), np.array(strides), base) == expected
