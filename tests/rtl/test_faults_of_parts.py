"""Faults in the parts that one program alone does not use: a program that uses each notices.

`test_faults.py` breaks what every program needs, on one design.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dcp_hw import rtl
from dcp_hw.lowering import Program, lower
from dcp_hw.mapping import Mapping
from dcp_hw.packing import memory_image
from dcp_hw.workload import Layer
from sim import runner
from sim.errors import HardwareError
from sim.interpreter import build_stream, interpret
from sim.layer_data import make_data
from sim.mutations import Edit, mutate
from sim.runner import Stalls
from sim.sample_parts import Sample
from sim.samples import samples
from sim.verilate import key_of
from tensorlib.families import family
from tensorlib.program import Load
from tensorlib.timing import predict

pytestmark = [pytest.mark.needs("java", "verilator", "cocotb"), pytest.mark.slow]

STALLS = Stalls(source=0.1, sink=0.7, longest=9)
NARROW = "tiled, narrow buses"
SHORT_ROWS = "padded depthwise layer"


@dataclass(frozen=True, slots=True)
class Fault:
    """An edit of the design that a sample runs on, and how that shows.

    Attributes:
        shows: what differs: words, checksum, cycles, counters; or the bench's message.
    """

    sample: str
    edit: Edit
    shows: str


FAULTS = {
    "link cut": Fault(
        "row_systolic",
        Edit("PeArray.*", r"(inputLink_1_1_to_2_0_0 <=)[^;]+;", r"\1 8'h0;"),
        "words",
    ),
    "delay of a link removed": Fault(
        "row_systolic",
        Edit("PeArray.*", r"(\.io_input\s*)\(\w*inputLink_0_1_to_1_0_0\)", r"\1(io_input_1)"),
        "words",
    ),
    "sum of a PE lost on its way": Fault(
        "row_systolic",
        Edit("PeArray.*", r"(sumLink_1_2_0 <=[^;]+?) \+ \w*sumLink_1_1_0;", r"\1;"),
        "words",
    ),
    "weights not passed on": Fault(
        "weight_stationary",
        Edit("PeArray.*", r"(Chain_0_1_to_0_2_0 <=) _pe_0_1_io_chain", r"\1 _pe_0_0_io_chain"),
        "words",
    ),
    "accumulator of 16 bits": Fault(
        "output_stationary",
        Edit("PeAccumulate.*", r"sum <= (.+);$", r"sum <= 32'hFFFF & (\1);"),
        "words",
    ),
    "drain in the wrong direction": Fault(
        "output_stationary",
        Edit("OutputBanks.*", r"\+ io_drainStride", "- io_drainStride", None),
        "words",
    ),
    "drain cut short": Fault(
        "output_stationary",
        Edit("Sequencer.*", r"drainLeft <= 5'hF", "drainLeft <= 5'hB"),
        "cycles",
    ),
    "row of a bank off by one": Fault(
        "tiled",
        Edit("InputBanks.*", r"(\.wrow\s*)\((bank_address_1\[.+)\),$", r"\1(\2 + 9'h1),"),
        "words",
    ),
    "second buffer not apart": Fault(
        "tiled", Edit("WeightBanks.*", r"\{io_buffer, 8'h0\}", "9'h0"), "words"
    ),
    "words of a neighbour kept too": Fault(
        "tiled",
        Edit("InputBanks.*", r"(step_c - io_place_2_c) <", r"\1 <="),
        "counters",
    ),
    "partial sum between two EXECs lost": Fault(
        "tiled", Edit("Sequencer.*", r"\{held_accumulate,", "{1'b0,"), "words"
    ),
    "queue gives the next command": Fault(
        "tiled",
        Edit("Queue4_ExecCommand.*", r"(\.R0_addr \()deq_ptr_value", r"\1deq_ptr_value + 2'h1"),
        "not done",
    ),
    "buffer freed too early": Fault(
        "tiled",
        Edit(
            "Accelerator.*",
            r"(full_0_0 <=\s+_decoder_io_filled_0_0) \| ~\(\w+ & [^)]+\)\s+& full_0_0;",
            r"\1;",
        ),
        "not done",
    ),
    "padding one row short": Fault(
        "row_systolic", Edit("Decoder.*", r"b < bLo \|", "b + 10'h1 < bLo |"), "unknown opcode"
    ),
    "padding one column late": Fault(
        "row_systolic", Edit("Decoder.*", r"c >= cHi", "c > cHi"), "unknown opcode"
    ),
    "padding not 0": Fault(
        "row_systolic",
        Edit("Decoder.*", r"(io_load_bits_word = )isPadding \? 128'h0 : (\w+)", r"\1\2"),
        "words",
    ),
    "last PE within a limit disabled": Fault(
        "row_systolic",
        Edit("LaneTable.*", r"(_held_digit_T\w*\}) < (io_limits_0)", r"\1 + 9'h1 < \2", None),
        "words",
    ),
    "no saturation above": Fault(
        "nvdla", Edit("StoreUnit.*", r"> 51'sh7F\b", "> 51'shFFF", None), "words"
    ),
    "rounded down": Fault(
        "nvdla",
        Edit("StoreUnit.*", r"_GEN_\d+ > _bytes_result_one_T\w*\[48:0\]", "1'b0", None),
        "words",
    ),
    "channels past the end sent": Fault(
        "nvdla",
        Edit("StoreUnit.*", r"channels1 <= held_channels", "channels1 <= 12'hFFF"),
        "counters",
    ),
    "room in the FIFO misjudged": Fault(
        "row_systolic", Edit("StoreUnit.*", r"< 7'h41", "< 7'h71"), "words"
    ),
    "beat dropped on the way in": Fault(
        NARROW,
        Edit("InputAdapter.*", r"else if \(_GEN\)", "else if (_GEN & io_beat_bits[7:0] != 8'h55)"),
        "unknown opcode",
    ),
    "halves of a word swapped on the way out": Fault(
        NARROW,
        Edit("OutputAdapter.*", r"io_beat_bits = count \?", "io_beat_bits = ~count ?"),
        "words",
    ),
    "hops not counted": Fault(
        "row_systolic",
        Edit("Activity.*", r"hopInput <= hopInput \+", "hopInput <= 32'h0 +"),
        "counters",
    ),
    "rows of padding not cleared": Fault(
        SHORT_ROWS, Edit("OperandRam.*", r"bytemode && wclear", "1'b0"), "words"
    ),
    "rows cleared at every word": Fault(
        SHORT_ROWS, Edit("InputBanks.*", r"step_clear & \([^;]+;", "step_clear;", None), "words"
    ),
    "rows cleared at the first word only": Fault(
        SHORT_ROWS,
        Edit(
            "InputBanks.*",
            r"step_clear & \(step_first \| [^;]+;",
            "step_clear & step_first;",
            None,
        ),
        "words",
    ),
}  # fmt: skip


def all_samples() -> dict[str, Sample]:
    return samples() | {
        NARROW: samples(in_bits=32, out_bits=64)["tiled"],
        SHORT_ROWS: padded_depthwise(),
    }


def padded_depthwise() -> Sample:
    """Tiles with padding on the left, on none, on the right, in buffers that held others."""
    layer = Layer(
        name="padded", operator="dwconv", K=48, C=48, Y=6, X=30, R=3, S=3, padding=1, groups=48
    )
    design = family("unicast_tree", 32, 4, depth=80, words=256, param_rows=16)
    mapping = Mapping(
        axis1=(("k", 16), ("x", 2)),
        axis2=(("s", 3),),
        kt=1,
        ct=1,
        yt=6,
        xt=5,
        ks=1,
        ys=6,
        xs=5,
        order="csrxyk",
        trim=True,
    )
    program = lower(layer, design, mapping)
    assert isinstance(program, Program)
    data = make_data(layer, seed=5)
    loads = [c for c in program.commands if isinstance(c, Load) and c.tensor == "input"]
    assert {(c.c_lo, c.c_hi, c.clear) for c in loads} == {
        (1, 12, True),
        (0, 12, False),
        (0, 11, True),
    }
    return Sample(
        design=design,
        commands=program.commands,
        memory=memory_image(program, data),
        expected=memory_image(program, data),
        acc=data.acc,
    )


SAMPLES = all_samples()


def differences(built: runner.Built, sample: Sample) -> list[str]:
    """What a design does otherwise than it should, at full speed; if nothing, under stalls."""
    expected = interpret(sample.design, sample.commands, sample.memory)
    prediction = predict(sample.design, sample.commands)
    stream = build_stream(sample.commands, sample.memory)
    for stalls in (None, STALLS):
        try:
            result = runner.run(built, stream, len(expected.words), 20_000, stalls)
        except HardwareError as error:
            found = [error.message]
        else:
            equal = {
                "words": np.array_equal(result.words, expected.words),
                "checksum": result.checksum == expected.checksum,
            }
            if stalls is None:
                equal["cycles"] = result.latency_cycles == prediction.latency_cycles
                equal["counters"] = result.counters == prediction.counters
            found = [name for name, same in equal.items() if not same]
        if found:
            return found if stalls is None else [f"stalled: {what}" for what in found]
    return []


@pytest.fixture(scope="module")
def made() -> dict[str, rtl.Rtl]:
    used = sorted({fault.sample for fault in FAULTS.values()})
    return dict(zip(used, rtl.verilog([SAMPLES[name].design for name in used]), strict=True))


@pytest.mark.parametrize("name", sorted({fault.sample for fault in FAULTS.values()}))
def test_unbroken_designs_pass(name: str, made: dict[str, rtl.Rtl]) -> None:
    assert differences(rtl.model(made[name], jobs=1, quick=True), SAMPLES[name]) == []


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_noticed(name: str, made: dict[str, rtl.Rtl], tmp_path: Path) -> None:
    from dcp_hw.toolchain import verilator_env

    fault = FAULTS[name]
    good = rtl.model(made[fault.sample], jobs=1, quick=True)
    mutate(made[fault.sample].folder, tmp_path / "broken", [fault.edit])
    built = runner.build(
        tmp_path / "broken",
        tmp_path / "built",
        env=verilator_env(),
        driver_dir=good.driver,
        quick=True,
    )
    assert key_of(built.folder) != key_of(good.folder)
    found = differences(built, SAMPLES[fault.sample])
    assert any(fault.shows in what for what in found), found
