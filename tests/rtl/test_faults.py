"""Generated designs broken on purpose: the comparison with the interpreter must notice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dcp_hw import rtl
from sim import protocol, runner
from sim.errors import HardwareError
from sim.interpreter import Result, interpret
from sim.mutations import FAULTS, mutate
from sim.protocol import Scenario
from sim.runner import RunResult, Stalls
from sim.sample_parts import Sample, pack_parameters
from sim.samples import samples
from sim.stream import build_stream
from tensorlib.program import Load

pytestmark = [pytest.mark.needs("java", "verilator", "cocotb"), pytest.mark.slow]

KIND = "weight_stationary"  # has links, a chain, partial sums
CHANNELS = 20
STALLS = Stalls(source=0.2, sink=0.3, longest=4)
AFTER_A_RUN = "decoder keeps its state at a start"


@pytest.fixture(scope="module")
def env() -> dict[str, str]:
    from dcp_hw.toolchain import verilator_env

    return verilator_env()


@pytest.fixture(scope="module")
def sample() -> Sample:
    return with_ties(samples()[KIND])


@pytest.fixture(scope="module")
def expected(sample: Sample) -> Result:
    return interpret(sample.design, sample.commands, sample.memory)


def with_ties(sample: Sample) -> Sample:
    """The sample with scales by which the first pixel of every channel is 1/2 or 5/2."""
    load = next(c for c in sample.commands if isinstance(c, Load) and c.tensor == "params")
    odd = np.where(np.arange(CHANNELS) % 2, 1, 5)
    multiplier = np.ones(CHANNELS, dtype=np.int32)
    multiplier[1::2] = 3  # so that scales of other channels differ
    packed = pack_parameters(
        (odd - sample.acc[0]).astype(np.int32), multiplier, np.full(CHANNELS, 1, dtype=np.uint8)
    )
    memory = sample.memory.copy()
    start, length = load.bursts[0]
    memory[start : start + length] = packed.reshape(-1)
    return replace(sample, memory=memory)


def difference(result: RunResult, expected: Result) -> list[str]:
    """What a run has otherwise than the interpreter."""
    found = [name for name, value in expected.counters.items() if result.counters[name] != value]
    found += ["checksum"] if result.checksum != expected.checksum else []
    return found + ([] if np.array_equal(result.words, expected.words) else ["words"])


def seen(built: runner.Built, sample: Sample, expected: Result) -> list[str]:
    """What is wrong with a design, in a run at full speed and one with stalls."""
    stream = build_stream(sample.commands, sample.memory)
    found: list[str] = []
    for stalls in (None, STALLS):
        try:
            result = runner.run(built, stream, len(expected.words), 20_000, stalls)
        except HardwareError as error:
            found.append(error.message)
        else:
            found += difference(result, expected)
    return found


def test_the_unbroken_design_passes(
    sample: Sample, expected: Result, env: dict[str, str], tmp_path: Path
) -> None:
    made = rtl.verilog([sample.design])[0]
    built = runner.build(made.folder, tmp_path / "built", env=env, quick=True)
    assert seen(built, sample, expected) == []


@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - {AFTER_A_RUN}))
def test_faults_are_noticed(
    fault: str,
    sample: Sample,
    expected: Result,
    env: dict[str, str],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    mutate(rtl.verilog([sample.design])[0].folder, tmp_path / "broken", [FAULTS[fault]])
    driver = tmp_path_factory.getbasetemp() / "driver"
    built = runner.build(
        tmp_path / "broken", tmp_path / "built", env=env, driver_dir=driver, quick=True
    )
    assert seen(built, sample, expected)


def test_state_left_by_a_run_is_noticed(
    sample: Sample, expected: Result, env: dict[str, str], tmp_path: Path
) -> None:
    mutate(rtl.verilog([sample.design])[0].folder, tmp_path / "broken", [FAULTS[AFTER_A_RUN]])
    built = protocol.build_protocol(tmp_path / "broken", tmp_path / "built", env=env)
    stream = build_stream(sample.commands, sample.memory)
    once = protocol.run_protocol(built, stream, len(expected.words), 20_000)
    assert difference(once, expected) == []
    with pytest.raises(HardwareError):
        protocol.run_protocol(built, stream, len(expected.words), 20_000, scenario=Scenario(runs=2))
