"""Generated Verilog of every family: structure against the design, lint, and every port driven."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dcp_hw import rtl
from sim import protocol
from sim.audit import audit
from sim.interpreter import interpret
from sim.lint import lint
from sim.mutations import FAULTS, fits, mutate
from sim.protocol import Scenario
from sim.runner import Stalls
from sim.samples import samples
from sim.stream import build_stream
from tensorlib.design import Design
from tensorlib.families import FAMILIES, family

pytestmark = pytest.mark.needs("java", "verilator", "cocotb")

NARROW = {"data_bits": 7, "acc_bits": 24, "in_bits": 32, "out_bits": 64}


def designs() -> dict[str, Design]:
    """Every family, square, oblong and with one row; and narrow ones."""
    sizes = {"4x4": (4, 4), "3x5": (3, 5), "1x4": (1, 4)}
    every = {
        f"{kind} {name}": family(kind, *size) for kind in FAMILIES for name, size in sizes.items()
    }
    return every | {f"{kind} narrow": family(kind, 4, 4, **NARROW) for kind in FAMILIES}


DESIGNS = designs()
STRUCTURAL = (
    *("link one cycle late", "two links crossed", "operands of two PEs swapped"),
    "PE enabled a cycle late",
)


@pytest.fixture(scope="module")
def made() -> dict[str, rtl.Rtl]:
    return dict(zip(DESIGNS, rtl.verilog(list(DESIGNS.values())), strict=True))


@pytest.fixture(scope="module")
def env() -> dict[str, str]:
    from dcp_hw.toolchain import verilator_env

    return verilator_env()


@pytest.mark.parametrize("name", DESIGNS)
def test_verilog_is_the_design(name: str, made: dict[str, rtl.Rtl]) -> None:
    design = DESIGNS[name]
    found = audit(design, made[name].folder)
    assert found.problems == ()
    assert found.pes == found.multipliers == design.pes
    assert sum(found.memory_bits.values()) > 0


@pytest.mark.parametrize("name", DESIGNS)
def test_another_design_is_not_this_verilog(name: str, made: dict[str, rtl.Rtl]) -> None:
    kind, size = name.split()
    other = next(k for k in FAMILIES if k != kind)
    assert audit(DESIGNS[f"{other} {size}"], made[name].folder).problems


@pytest.mark.parametrize("name", [f"{kind} 4x4" for kind in FAMILIES])
def test_audit_finds_structural_faults(name: str, made: dict[str, rtl.Rtl], tmp_path: Path) -> None:
    tried = [fault for fault in STRUCTURAL if fits(FAULTS[fault], made[name].folder)]
    assert "PE enabled a cycle late" in tried
    for fault in tried:
        mutate(made[name].folder, tmp_path / fault, [FAULTS[fault]])
        assert audit(DESIGNS[name], tmp_path / fault).problems, fault


@pytest.mark.parametrize("name", DESIGNS)
def test_lint_finds_nothing(name: str, made: dict[str, rtl.Rtl], env: dict[str, str]) -> None:
    assert lint(made[name].folder, env=env) == []


@pytest.mark.parametrize(
    ("name", "buses"),
    [("nvdla", (128, 128)), ("weight_stationary", (32, 64)), ("output_stationary", (64, 32))],
)
def test_every_port_driven_from_python(
    name: str, buses: tuple[int, int], env: dict[str, str], tmp_path: Path
) -> None:
    """From random initial values; also cut off by a reset, or run twice without one."""
    sample = samples(in_bits=buses[0], out_bits=buses[1])[name]
    expected = interpret(sample.design, sample.commands, sample.memory)
    stream = build_stream(sample.commands, sample.memory)
    made = rtl.verilog([sample.design])[0]
    built = protocol.build_protocol(made.folder, tmp_path / "built", env=env)
    for stalls in (None, Stalls(source=0.2, sink=0.3), Stalls(source=0.01, sink=0.02, longest=300)):
        for scenario in (Scenario(abort_after=400), Scenario(runs=2)):
            result = protocol.run_protocol(
                built, stream, len(expected.words), 200_000, stalls, scenario=scenario
            )
            np.testing.assert_array_equal(result.words, expected.words)
            assert result.checksum == expected.checksum
            assert {n: result.counters[n] for n in expected.counters} == expected.counters
