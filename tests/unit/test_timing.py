"""The timing model against a simulation cycle by cycle, and the counters against events."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

from sim.interpreter import build_stream, interpret
from sim.samples import samples
from tensorlib.activity import COUNTERS
from tensorlib.program import End, Exec, Store
from tensorlib.timing import CYCLE_CAUSES, TimingError, predict


def _sibling(name: str) -> ModuleType:
    """A module beside this file, which is in no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_sibling("slow_events")  # which slow_timing imports
slow_timing = _sibling("slow_timing")
random_programs = _sibling("random_programs")
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
