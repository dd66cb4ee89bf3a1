"""Arrays that no mapping uses, on generated Verilog: every word, every cycle, every counter.

PEs with windows (`u` with several non-zero entries, elements handed on to another local step),
weights shared and outputs summed along diagonals.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dcp_hw import rtl
from dcp_hw.stt_layer import nest_of
from dcp_hw.stt_program import SttProgram, stt_program
from dcp_hw.toolchain import verilator_env
from dcp_hw.workload import Layer
from sim import audit, runner
from sim.errors import HardwareError
from sim.interpreter import interpret
from sim.layer_data import make_data
from sim.lint import lint
from sim.mutations import Edit, mutate
from sim.runner import Stalls
from sim.stream import build_stream, scatter
from tensorlib.design import Design
from tensorlib.from_stt import Held, design_from_stt
from tensorlib.timing import CYCLE_CAUSES, predict

pytestmark = pytest.mark.needs("java", "verilator", "cocotb")

GEMM = Layer(name="gemm", operator="gemm", M=7, N=5, K=9)
CONV = Layer(name="conv", operator="conv", K=3, C=2, Y=5, X=6, R=3, S=2, padding=1)
STRIDED = Layer(
    name="strided", operator="conv", K=3, C=2, Y=4, X=5, R=3, S=2, padding=1, stride=2
)  # fmt: skip
STALLS = Stalls(source=0.3, sink=0.6, longest=5, seed=7)


@dataclass(frozen=True, slots=True)
class Case:
    """A layer on the array of a transformation.

    Attributes:
        window: of the design.
        bits: of the input and output bus.
    """

    layer: Layer
    loops: str
    matrix: tuple[tuple[int, int, int], ...]
    window: tuple[int, ...] | None
    held: Held = "port"
    bits: tuple[int, int] = (128, 128)

    def design(self, name: str) -> Design:
        made = design_from_stt(
            nest_of(self.layer).op, self.loops, self.matrix, 3, 4, depth=16, words=128,
            held=self.held, name=name, in_bits=self.bits[0], out_bits=self.bits[1],
        )  # fmt: skip
        assert isinstance(made, Design)
        assert made.window == self.window
        return made


CASES = {
    "forward": Case(GEMM, "mnk", ((0, 0, 1), (1, -1, 1), (0, 1, 1)), (1, 1, 0, 0)),
    "backward": Case(GEMM, "mnk", ((1, 0, 1), (0, 1, 0), (0, 0, 1)), (-1, 0, 1, 0)),
    "systolic": Case(GEMM, "mnk", ((-1, 0, 1), (0, 1, 1), (1, 1, 1)), (1, -1, 1, 0), bits=(32, 64)),
    "by_two": Case(GEMM, "mnk", ((-1, 0, 1), (1, 1, 1), (0, 1, 1)), (-1, 2, -1, 0)),
    "other_step": Case(CONV, "ksx", ((1, 0, 0), (0, 1, 0), (0, 0, 1)), (0, 0, 1, 0)),
    "classes": Case(STRIDED, "kyr", ((1, -1, 1), (1, 1, 0), (1, 0, 0)), (1, -1, -2, 0)),
    "two_apart": Case(CONV, "ryx", ((1, -1, 0), (0, 1, 0), (0, 0, 1)), (0, 0, 1, 0)),
    "diagonal_weight": Case(GEMM, "mnk", ((1, 0, 0), (1, 1, 0), (1, 1, 1)), None, held="chain"),
    "diagonal_output": Case(GEMM, "mnk", ((0, 0, 1), (0, 1, 1), (1, 1, 1)), None),
}


def program_of(name: str) -> SttProgram:
    case = CASES[name]
    program = stt_program(case.layer, case.design(name))
    assert isinstance(program, SttProgram), program
    return program


@pytest.fixture(scope="module")
def programs() -> dict[str, SttProgram]:
    return {name: program_of(name) for name in CASES}


@pytest.fixture(scope="module")
def made(programs: dict[str, SttProgram]) -> dict[str, rtl.Rtl]:
    designs = [program.design for program in programs.values()]
    return dict(zip(programs, rtl.verilog(designs), strict=True))


def differences(built: runner.Built, program: SttProgram, stalls: Stalls | None) -> list[str]:
    """What hardware does otherwise than the reference and the cycle model say."""
    data = make_data(program.layer, seed=5, profile="uniform")
    memory = program.image(data)
    expected = interpret(program.design, program.commands, memory)
    prediction = predict(program.design, program.commands)
    stream = build_stream(program.commands, memory)
    try:
        found = runner.run(built, stream, len(expected.words), 60_000, stalls)
    except HardwareError as error:
        return [error.message]
    scatter(program.commands, found.words, memory)
    counters = {
        name for name, value in prediction.counters.items()
        if found.counters[name] != value and (stalls is None or name not in CYCLE_CAUSES)
    }  # fmt: skip
    same = {
        "words": np.array_equal(*program.results(memory, data)),
        "interpreted words": np.array_equal(found.words, expected.words),
        "output": np.array_equal(program.output(memory), data.acc),
        "checksum": found.checksum == expected.checksum,
        "cycles": stalls is not None or found.latency_cycles == prediction.latency_cycles,
        "counters": not counters,
    }
    return [what for what, equal in same.items() if not equal]


@pytest.mark.parametrize("name", CASES)
def test_words_cycles_and_counters(
    name: str, made: dict[str, rtl.Rtl], programs: dict[str, SttProgram]
) -> None:
    built = rtl.model(made[name], jobs=1, quick=True)
    assert differences(built, programs[name], None) == []
    assert differences(built, programs[name], STALLS) == []
    assert (programs[name].unpacked < 0).any()


@pytest.mark.parametrize("name", ["systolic", "classes"])
def test_verilog_is_what_the_design_lists(name: str, made: dict[str, rtl.Rtl]) -> None:
    assert audit.audit(made[name].design, made[name].folder).problems == ()
    assert lint(made[name].folder, env=verilator_env()) == []


FAULTS = {
    "window stands still": Edit("LaneTable.*", r"(moved_1_1 = 18'h0) - \w+;", r"\1;"),
    "window a step late": Edit("Accelerator.*", r"(\.io_step_0\s*\()(\w+)\)", r"\1\2 + 16'h1)"),
    "limit of a digit doubled": Edit(
        "LaneTable.*", r"\{10'h0, io_limits_1\}", "{9'h0, io_limits_1, 1'h0}"
    ),
    "link a cycle early": Edit(
        "PeArray.*", r"(inputLink_0_1_to_0_2_0 <=) \w+;", r"\1 io_input_0;"
    ),
    "sum of a PE lost on its way": Edit(
        "PeArray.*", r"(sumLink_2_2_0 <=[^;]+?) \+ \w*sumLink_2_1_0;", r"\1;"
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_noticed(
    fault: str, made: dict[str, rtl.Rtl], programs: dict[str, SttProgram], tmp_path: Path
) -> None:
    good = rtl.model(made["systolic"], jobs=1, quick=True)
    mutate(made["systolic"].folder, tmp_path / "broken", [FAULTS[fault]])
    built = runner.build(
        tmp_path / "broken", tmp_path / "built", env=verilator_env(),
        driver_dir=good.driver, quick=True,
    )  # fmt: skip
    assert differences(built, programs["systolic"], None) != []


def test_audit_notices_a_late_window(made: dict[str, rtl.Rtl], tmp_path: Path) -> None:
    late = Edit("Accelerator.*", r"(\.io_step_2\s*\()\w+\)", r"\1_sequencer_io_inner)")
    mutate(made["systolic"].folder, tmp_path / "broken", [late])
    (problem,) = audit.audit(made["systolic"].design, tmp_path / "broken").problems
    assert "lanes.io_step_2 is" in problem
