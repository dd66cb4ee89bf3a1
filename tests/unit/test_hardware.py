"""Hardware and its YAML file; metrics."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dcp_hw.errors import InputError
from dcp_hw.hardware import Hardware, load_hardware
from dcp_hw.metrics import Infeasible, Metrics, Source
from dcp_hw.technology import load_technology


def test_the_shipped_file_states_the_defaults() -> None:
    assert load_hardware() == load_hardware("default") == Hardware()
    load_technology(Hardware().technology)


def test_derived_units() -> None:
    hardware = Hardware(sram_kib=2, bus_in_bits=64, bus_out_bits=32, clock_mhz=250)
    assert (hardware.sram_bytes, hardware.bus_in_bytes, hardware.bus_out_bytes) == (2048, 8, 4)
    assert hardware.cycle_ns == 4.0


def test_written_and_read_again_is_equal(tmp_path: Path) -> None:
    hardware = Hardware(pes=64, bus_in_bits=64, technology="45nm-hp")
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(hardware.to_dict()))
    assert load_hardware(path) == load_hardware(str(path)) == hardware


def test_a_key_left_out_takes_its_default(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("pes: 64\n")
    assert load_hardware(path) == Hardware(pes=64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a mapping of keys to values is needed, found NoneType; keys are pes, sram_kib"),
        ("- pes\n", "found list"),
        ("pes: [1\n", "not a YAML file"),
        ("pe: 64\n", "unknown key 'pe'; keys are pes"),
        ("1: 64\n", "unknown key 1"),
        ("pes: 64\npes: 65\n", "key 'pes' occurs more than once"),
        ("pes: many\n", r"pes is 'many' \(str\); accepted: a whole number"),
        ("pes: 64.0\n", r"pes is 64.0 \(float\)"),
        ("pes: true\n", r"pes is True \(bool\)"),
        ("pes:\n", r"pes is None"),
        ("pes: 0\n", "pes is 0; accepted: 1 to 65536"),
        ("sram_kib: -1\n", "sram_kib is -1; accepted: 1 to"),
        ("clock_mhz: 0\n", "clock_mhz is 0; accepted: 1 to"),
        ("bus_in_bits: 96\n", "bus_in_bits is 96; accepted: a power of two, 32, 64, 128"),
        ("bus_out_bits: 1024\n", "bus_out_bits is 1024; accepted: a power of two"),
        ("bus_out_bits: 16\n", "bus_out_bits is 16; accepted: a power of two"),
        ("technology: 3nm\n", "technology is '3nm'; accepted: .*45nm-lop"),
        ("technology: [1]\n", r"technology is \[1\]"),
    ],
)
def test_wrong_files_name_file_key_and_cure(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"mine\.yaml: .*{message}"):
        load_hardware(path)


def test_a_missing_or_binary_file_is_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hardware 'eyeriss' not found; have default"):
        load_hardware("eyeriss")
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"pes: \xff\n")
    with pytest.raises(InputError, match="not a YAML file"):
        load_hardware(path)


def test_power_is_energy_over_time() -> None:
    metrics = Metrics.of(latency_cycles=1000, energy_nj=50, clock_mhz=500, source=Source.MODEL)
    assert metrics.power_mw == 25.0  # 50 nJ in 2 us
    assert metrics.edp == 50_000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latency_cycles", 0),
        ("latency_cycles", float("inf")),
        ("energy_nj", -1.0),
        ("power_mw", float("nan")),
        ("source", "guess"),
    ],
)
def test_metrics_no_run_can_have_are_refused(name: str, value: object) -> None:
    values = {"latency_cycles": 1, "energy_nj": 1.0, "power_mw": 1.0, "source": "rtl"}
    assert Metrics(**values).source is Source.RTL
    with pytest.raises(ValueError, match=f"{name}|{value}"):
        Metrics(**(values | {name: value}))


def test_infeasible_gives_its_reason() -> None:
    assert Infeasible("L2 too small") == Infeasible("L2 too small")
    with pytest.raises(ValueError, match="needs a reason"):
        Infeasible("")
