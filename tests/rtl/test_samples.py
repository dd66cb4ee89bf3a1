"""Hand-made programs on generated Verilog: every word, every cycle, every counter."""

from __future__ import annotations

import numpy as np
import pytest

from dcp_hw import rtl
from sim import protocol, reference, runner
from sim.interpreter import Result, build_stream, interpret, scatter
from sim.protocol import Scenario
from sim.runner import Stalls
from sim.sample_parts import Sample
from sim.samples import samples
from sim.stream import build_streams
from tensorlib.timing import CYCLE_CAUSES, Prediction, predict

pytestmark = pytest.mark.needs("java", "verilator", "cocotb")

NARROW = {"data_bits": 4, "acc_bits": 14}
VARIANTS: dict[str, tuple[tuple[str, ...], dict[str, int]]] = {
    "": (tuple(samples()), {}),
    " in 32 out 64": (("tiled", "output_stationary"), {"in_bits": 32, "out_bits": 64}),
    " in 64 out 32": (("tiled", "output_stationary"), {"in_bits": 64, "out_bits": 32}),
    " narrow": (("weight_stationary",), NARROW),
}
SAMPLES: dict[str, Sample] = {
    name + variant: samples(**settings)[name]
    for variant, (names, settings) in VARIANTS.items()
    for name in names
}
STALLS = {
    "often": Stalls(source=0.3, sink=0.7, longest=3),
    "long": Stalls(source=0.02, sink=0.02, longest=300, seed=5),
}
WORDS_COMPARED = 952
"""Of all samples, once."""


@pytest.fixture(scope="module")
def made() -> dict[str, rtl.Rtl]:
    designs = [sample.design for sample in SAMPLES.values()]
    return dict(zip(SAMPLES, rtl.verilog(designs), strict=True))


def run(
    name: str, made: dict[str, rtl.Rtl], stalls: Stalls | None = None
) -> tuple[Result, Prediction, runner.RunResult]:
    """What must come of a sample, and what comes."""
    sample = SAMPLES[name]
    expected = interpret(sample.design, sample.commands, sample.memory)
    prediction = predict(sample.design, sample.commands)
    built = rtl.model(made[name], jobs=1, quick=True)
    stream = build_stream(sample.commands, sample.memory)
    found = runner.run(built, stream, len(expected.words), 100_000, stalls)
    return expected, prediction, found


def same_words(expected: Result, found: runner.RunResult) -> None:
    """Nothing if all words and the checksum are equal."""
    assert len(expected.words) > 0
    np.testing.assert_array_equal(found.words, expected.words)
    assert found.checksum == expected.checksum


@pytest.mark.parametrize("name", SAMPLES)
def test_words_cycles_and_counters(name: str, made: dict[str, rtl.Rtl]) -> None:
    sample = SAMPLES[name]
    expected, prediction, found = run(name, made)
    same_words(expected, found)
    assert found.latency_cycles == found.observed_latency_cycles == prediction.latency_cycles
    assert found.counters == prediction.counters
    assert {key: found.counters[key] for key in expected.counters} == expected.counters
    assert found.design_id == int(sample.design.hash()[:8], 16)
    if name.endswith("narrow"):  # another result than the golden model's
        return
    memory = sample.memory.copy()
    scatter(sample.commands, found.words, memory)
    np.testing.assert_array_equal(memory, sample.expected)
    assert found.checksum == reference.checksum(sample.acc)
    assert found.counters["requantise"] == sample.acc.size


@pytest.mark.parametrize("stalls", STALLS)
@pytest.mark.parametrize("name", SAMPLES)
def test_stalls_change_nothing_but_time(name: str, stalls: str, made: dict[str, rtl.Rtl]) -> None:
    expected, prediction, found = run(name, made, STALLS[stalls])
    same_words(expected, found)
    assert found.latency_cycles > prediction.latency_cycles
    for counter in found.counters.keys() - CYCLE_CAUSES:
        assert found.counters[counter] == prediction.counters[counter], counter
    assert sum(found.counters[cause] for cause in CYCLE_CAUSES) == found.latency_cycles


def test_number_of_words() -> None:
    """What the tests above compare."""
    words = {n: len(interpret(s.design, s.commands, s.memory).words) for n, s in SAMPLES.items()}
    assert sum(words.values()) == WORDS_COMPARED


# --- every port driven from Python ------------------------------------------------------


@pytest.fixture(scope="module")
def driven(
    made: dict[str, rtl.Rtl], tmp_path_factory: pytest.TempPathFactory
) -> protocol.ProtocolBuilt:
    """The design that `broadcast` and `tiled` run on."""
    from dcp_hw.toolchain import verilator_env

    assert made["broadcast"].digest == made["tiled"].digest
    out = tmp_path_factory.mktemp("driven") / "broadcast"
    return protocol.build_protocol(made["broadcast"].folder, out, env=verilator_env())


@pytest.mark.parametrize(
    ("first", "second", "stalls"),
    [
        ("tiled", "broadcast", None),
        ("broadcast", "tiled", Stalls(source=0.3, sink=0.3, longest=9, seed=3)),
    ],
)
def test_another_program_before_changes_nothing(
    first: str, second: str, stalls: Stalls | None, driven: protocol.ProtocolBuilt
) -> None:
    """Two programs one after the other, with a start command and no reset in between."""
    before, sample = SAMPLES[first], SAMPLES[second]
    expected = interpret(sample.design, sample.commands, sample.memory)
    prediction = predict(sample.design, sample.commands)
    found = protocol.run_protocol(
        driven,
        build_stream(sample.commands, sample.memory),
        len(expected.words),
        100_000,
        stalls,
        scenario=Scenario(runs=2),
        before=build_stream(before.commands, before.memory),
    )
    same_words(expected, found)
    if stalls is None:
        assert found.latency_cycles == prediction.latency_cycles
        assert found.counters == prediction.counters
    else:
        assert found.latency_cycles > prediction.latency_cycles


@pytest.mark.parametrize("stalls", [None, Stalls(source=0.3, sink=0.3, longest=9, seed=4)])
@pytest.mark.parametrize("before", [None, "broadcast"])
def test_commands_over_axi_lite(
    before: str | None, stalls: Stalls | None, driven: protocol.ProtocolBuilt
) -> None:
    """The same words and activity as with commands in the stream, which has data words only."""
    sample = SAMPLES["tiled"]
    expected = interpret(sample.design, sample.commands, sample.memory)
    counters = dict(predict(sample.design, sample.commands).counters)
    program, data = build_streams(sample.commands, sample.memory)
    assert len(data) > 0
    assert len(program) + len(data) == counters["bus_in_beat"]
    counters["bus_in_beat"] = len(data)
    other = SAMPLES[before] if before else None
    found = protocol.run_protocol(
        driven,
        data,
        len(expected.words),
        100_000,
        stalls,
        scenario=Scenario(runs=2),
        before=build_stream(other.commands, other.memory) if other else None,
        program_words=program,
    )
    same_words(expected, found)
    for counter in counters.keys() - CYCLE_CAUSES:
        assert found.counters[counter] == counters[counter], counter
    assert sum(found.counters[cause] for cause in CYCLE_CAUSES) == found.latency_cycles
