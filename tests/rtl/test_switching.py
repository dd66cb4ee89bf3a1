"""Toggles counted in simulation against NumPy counts of recorded values; the slow memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dcp_hw import rtl, toolchain
from dcp_hw.process import cache_dir
from sim import runner, toggles
from sim.dram import Dram, sent_addresses, stream_addresses
from sim.errors import SimError
from sim.interpreter import Result, build_stream, interpret
from sim.sample_parts import Sample
from sim.samples import samples
from tensorlib.timing import predict

pytestmark = pytest.mark.needs("java", "verilator", "cocotb")

NAMES = ("weight_stationary", "output_stationary")
P = 4

# One line a cycle of the whole simulation, a file for each value: those of a PE, and those around
# the array. Named by hand, and without any of the probes' code.
DUMP = """
module Dump #(parameter NAME = "", parameter WIDTH = 1) (
  input wire clock, input wire [WIDTH-1:0] v
);
  integer file;
  string report;
  initial begin
    if (!$value$plusargs("report=%s", report)) $fatal(1, "no +report");
    file = $fopen($sformatf("%s.%m.%s.dump", report, NAME), "w");
  end
  always @(posedge clock) $fwrite(file, "%h\\n", v);
  final $fclose(file);
endmodule
"""
PE = {
    "weight_stationary": (
        "PeHoldWeight",
        {"a": ("io_input", 8), "b": ("b_now", 8), "product": ("product", 16),
         "hold": ("b_now_shadow", 8)},
    ),
    "output_stationary": (
        "PeAccumulate",
        {"a": ("io_input", 8), "b": ("io_weight", 8), "product": ("product", 16),
         "sum": ("sum", 32), "drain": ("shadow", 32)},
    ),
}  # fmt: skip


def array_wires(name: str) -> dict[str, tuple[str, int]]:
    """Registers between PEs of the 4 x 4 array, by the words of docs/hardware.md."""
    found = {}
    for i in range(P):
        for j in range(P):
            if i:
                link = f"pe_{i}_{j}_io_input_inputLink_{i - 1}_{j}_to_{i}_{j}_0"
                found[f"link_input_{i}_{j}"] = (link, 8)
            if j:
                kind = "Chain" if name == "weight_stationary" else "Link"
                link = f"pe_{i}_{j}_io_weight_weight{kind}_{i}_{j - 1}_to_{i}_{j}_0"
                found[f"link_weight_{i}_{j}"] = (link, 8)
            if j and name == "output_stationary":
                link = f"pe_{i}_{j}_io_drainIn_drain_{i}_{j - 1}_to_{i}_{j}_0"
                found[f"drain_{i}_{j}"] = (link, 32)
    return found


@dataclass(frozen=True, kw_only=True)
class Seen:
    sample: Sample
    expected: Result
    found: runner.RunResult
    toggled: dict[str, int]
    values: dict[tuple[str, str], list[int]]
    stream: np.ndarray
    built: runner.Built


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    """Both samples run with probes and with a record of every value."""
    work = tmp_path_factory.mktemp("switching")
    return {name: _run(name, work) for name in NAMES}


def _build(name: str, work: Path) -> runner.Built:
    made = rtl.verilog([samples()[name].design])[0]
    source = toggles.instrumented(made.folder, work / f"{name}-source")
    module, wires = PE[name]
    dumps = [
        f'bind {module} Dump #(.NAME("{key}"), .WIDTH({bits})) dump_{key}(.clock(clock), .v({v}));'
        for key, (v, bits) in wires.items()
    ] + [
        f'bind PeArray Dump #(.NAME("{key}"), .WIDTH({b})) dump_{key}(.clock(clock), .v({v}));'
        for key, (v, b) in array_wires(name).items()
    ]
    (source / "dump.sv").write_text(DUMP + "\n".join(dumps) + "\n")
    with (source / "filelist.f").open("a") as file:
        file.write(f"{source / 'dump.sv'}\n")
    return runner.build(
        source,
        work / name,
        env=toolchain.verilator_env(),
        driver_dir=cache_dir() / "models" / "driver",
        top=toggles.TOP,
        jobs=1,
        quick=True,
    )


def _run(name: str, work: Path) -> Seen:
    sample = samples()[name]
    expected = interpret(sample.design, sample.commands, sample.memory)
    stream = build_stream(sample.commands, sample.memory)
    folder = work / f"{name}-run"
    built = _build(name, work)
    found = runner.run(built, stream, len(expected.words), 50_000, folder=folder)
    values: dict[tuple[str, str], list[int]] = {}
    for file in folder.glob("report.txt.*.dump"):
        place, key = file.name.removesuffix(".dump").rsplit(".", 1)
        values[place, key] = [int(value, 16) for value in file.read_text().split()]
    toggled = toggles.read_toggles(folder)
    return Seen(
        sample=sample, expected=expected, found=found, toggled=toggled, values=values,
        stream=stream, built=built,
    )  # fmt: skip


def bits_of(values: list[int]) -> np.ndarray:
    """n x 32 bits."""
    return (np.array(values, dtype=np.int64)[:, None] >> np.arange(32)) & 1


def flips(bits: np.ndarray) -> int:
    """Bits that differ from the row before, the first from 0."""
    return int(np.abs(np.diff(bits, axis=0, prepend=0)).sum())


def recorded(seen: Seen, form: str) -> int:
    """Toggles of all recorded values whose name matches."""
    return sum(flips(bits_of(v)) for (_, key), v in seen.values.items() if re.fullmatch(form, key))


@pytest.mark.parametrize("name", NAMES)
def test_probes_change_neither_words_nor_cycles(name: str, seen: dict[str, Seen]) -> None:
    one = seen[name]
    np.testing.assert_array_equal(one.found.words, one.expected.words)
    prediction = predict(one.sample.design, one.sample.commands)
    assert one.found.latency_cycles == one.found.observed_latency_cycles
    assert one.found.latency_cycles == prediction.latency_cycles
    assert one.found.counters == prediction.counters


@pytest.mark.parametrize("name", NAMES)
def test_toggles_are_those_of_the_recorded_values(name: str, seen: dict[str, Seen]) -> None:
    one = seen[name]
    assert len(one.values) == P * P * len(PE[name][1]) + len(array_wires(name))
    assert one.toggled["operand_input"] == recorded(one, "a") > 1000
    assert one.toggled["operand_weight"] == recorded(one, "b") > 1000
    assert one.toggled["product"] == recorded(one, "product") > 1000
    assert one.toggled["link_input"] == recorded(one, "link_input.*") > 1000
    assert one.toggled["link_weight"] == recorded(one, "link_weight.*") > 1000
    if name == "weight_stationary":  # the operand in use and the one that waits
        assert one.toggled["hold"] == recorded(one, "hold") + recorded(one, "b")
    else:
        assert one.toggled["link_output"] == recorded(one, "drain.*") > 1000
        assert one.toggled["sum"] >= recorded(one, "sum") > 1000
        assert one.toggled["hold"] == 0


@pytest.mark.parametrize("name", NAMES)
def test_partial_products_are_an_and_array(name: str, seen: dict[str, Seen]) -> None:
    one = seen[name]
    total = 0
    for place, key in one.values:
        if key == "a":
            a = bits_of(one.values[place, "a"])[:, :8]
            other = place.replace("dump_a", "dump_b")
            b = bits_of(one.values[other, "b"])[:, :8]
            total += flips((a[:, :, None] * b[:, None, :]).reshape(len(a), -1))
    assert one.toggled["partial_product"] == total > 1000


@pytest.mark.parametrize("name", NAMES)
def test_bus_toggles_are_those_of_the_words(name: str, seen: dict[str, Seen]) -> None:
    one = seen[name]
    for group, words in (("bus_in", one.stream), ("bus_out", one.found.words)):
        assert one.toggled[group] == flips(np.unpackbits(words, axis=1).astype(np.int64))


def test_a_slow_memory_changes_cycles_only(seen: dict[str, Seen], tmp_path: Path) -> None:
    one = seen["output_stationary"]
    commands, memory = one.sample.commands, one.sample.memory
    latency = {}
    for name, dram in (
        ("at once", Dram(activate_ns=0, precharge_ns=0, cycle_ns=0, spacing_ns=0, interval_ns=0)),
        ("lpddr4", Dram()),
        ("slow", Dram(activate_ns=400)),
    ):
        folder = tmp_path / name
        folder.mkdir()
        dram.write(folder / "words.bin.read", stream_addresses(commands, len(memory)), 1)
        dram.write(folder / "words.bin.write", sent_addresses(commands), 1)
        stalls = runner.Stalls(source=0.0, sink=0.0)
        found = runner.run(
            one.built, one.stream, len(one.expected.words), 50_000, stalls, folder=folder
        )
        np.testing.assert_array_equal(found.words, one.expected.words)
        latency[name] = found.latency_cycles
        same = ("partial_product", "product", "bus_in", "bus_out", "link_input")
        assert {k: toggles.read_toggles(folder)[k] for k in same} == {
            k: one.toggled[k] for k in same
        }
    assert latency["at once"] - one.found.latency_cycles in range(-2, 3)
    assert latency["at once"] < latency["lpddr4"] < latency["slow"]


def test_other_verilog_has_no_probes(tmp_path: Path) -> None:
    with pytest.raises(SimError, match="not an accelerator of ours"):
        toggles.instrumented(Path(__file__).parent / "fixtures" / "echo", tmp_path)
    with pytest.raises(SimError, match="no readable counts"):
        toggles.read_toggles(tmp_path)
