"""Energy and area: prices against their sources, lookup against the table, sums."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dcp_hw.energy import (
    EVENTS,
    PARTS,
    TENSORS,
    EnergyModel,
    Memory,
    area_mm2,
    energy_nj,
)
from dcp_hw.errors import InputError
from dcp_hw.technology import DATA, load_technology, technologies


@dataclass(frozen=True)
class Hardware:
    technology: str = "45nm-lop"
    bus_in_bits: int = 128
    bus_out_bits: int = 64
    clock_mhz: float = 500


def memories() -> dict[str, Memory]:
    return {
        "input": Memory(name="input", rows=640, width_bits=1024, banks=128),
        "weight": Memory(name="weight", rows=512, width_bits=512, banks=64),
        "output": Memory(name="output", rows=1280, width_bits=128, banks=4, element_bits=32),
    }


def rows(cell: str = "itrs-lop") -> dict[tuple[int, int], dict[str, float]]:
    with (DATA / "sram_45nm.csv").open() as file:
        return {
            (int(r["size_bytes"]), int(r["width_bits"])): {
                k: float(r[k]) for k in ("read_pJ", "write_pJ", "leak_mW", "area_um2")
            }
            for r in csv.DictReader(file)
            if r["cell"] == cell
        }


def test_derived_values_follow_from_their_sources() -> None:
    pj = load_technology("45nm-lop").energy_pj
    anchor = (0.2 + 0.1) / 61.6  # Horowitz MAC / gate-level nets and gates of a firing PE
    assert pj["multiply"] + pj["add"] == pytest.approx(0.3)
    assert pj["clock_per_bit"] == pytest.approx(17.4 * anchor / 57, rel=1e-3)
    assert pj["toggle_per_bit"] == pytest.approx(0.47 * anchor, rel=1e-3)
    assert pj["register_8bit"] == pytest.approx(8 * 0.5 * pj["toggle_per_bit"], rel=1e-3)
    assert pj["register_32bit"] == pytest.approx(32 * 0.5 * pj["toggle_per_bit"], rel=1e-3)
    assert pj["requantise"] == pytest.approx(3.1 / 2 + 2 * 0.1)
    area = load_technology("45nm-lop").area_um2
    assert area["flip_flop"] == pytest.approx(96 * (130 / 180) ** 2 * 0.16, rel=1e-2)
    assert area["requantiser"] == pytest.approx(3495 / 2 + 2 * 137, rel=1e-3)


def test_powered_pe_cycle_is_the_anchored_clock_floor() -> None:
    model = EnergyModel(memories(), Hardware())
    assert model.coefficients["pe_idle"] == pytest.approx(0.085, abs=5e-4)
    assert model.coefficients["mac"] == pytest.approx(0.3 + model.coefficients["pe_idle"])


@pytest.mark.parametrize("cell", ["itrs-lop", "itrs-hp", "itrs-lstp"])
def test_every_row_of_the_table_is_met_exactly(cell: str) -> None:
    table = load_technology(f"45nm-{cell.removeprefix('itrs-')}").sram
    checked = 0
    for (size, width), row in rows(cell).items():
        macro = table.macro(size, width)
        assert (macro.read_pj, macro.write_pj, macro.leak_mw, macro.area_um2) == pytest.approx(
            tuple(row.values())
        )
        checked += 1
    assert checked == 81


def test_lookup_interpolates_and_never_extrapolates() -> None:
    table, have = load_technology("45nm-lop").sram, rows()
    middle = table.macro(math.sqrt(4096 * 8192), 128).read_pj
    assert middle == pytest.approx(
        math.sqrt(have[4096, 128]["read_pJ"] * have[8192, 128]["read_pJ"])
    )
    assert table.macro(16, 64) == table.macro(512, 64)
    assert table.macro(512, 512) == table.macro(2048, 512)
    big, twice = table.macro(1 << 20, 64), table.macro(1 << 21, 64)
    assert twice.read_pj == big.read_pj
    assert twice.leak_mw == pytest.approx(2 * big.leak_mw)
    slightly = table.macro((1 << 20) + 64, 64)
    assert slightly.area_um2 == pytest.approx(2 * table.macro((1 << 19) + 32, 64).area_um2)


def test_wide_memory_is_cheapest_split_in_macros() -> None:
    table = load_technology("45nm-lop").sram
    one, four = table.wide(512, 512), table.wide(512, 2048)
    for name in ("read_pj", "write_pj", "leak_mw", "area_um2"):
        assert getattr(four, name) == pytest.approx(4 * getattr(one, name))
    plain = table.macro(512 * 512 / 8, 512)
    assert one.read_pj + one.write_pj <= plain.read_pj + plain.write_pj
    odd = table.wide(1024, 288)
    full = table.wide(1024, 256)
    assert full.read_pj < odd.read_pj < table.wide(1024, 512).read_pj
    assert table.wide(640, 3).read_pj == table.wide(640, 8).read_pj


def test_bank_access_costs_its_share() -> None:
    technology, memory = load_technology("45nm-lop"), memories()["input"]
    model = EnergyModel(memories(), Hardware())
    assert 128 * model.coefficients["input_read"] == pytest.approx(memory.read_pj(technology))
    assert 128 * model.coefficients["input_write"] == pytest.approx(memory.write_pj(technology))
    assert memory.read_pj(technology, 0.25) == pytest.approx(memory.read_pj(technology) / 4)


def test_small_memories_are_flip_flops() -> None:
    technology = load_technology("45nm-lop")
    small = Memory(name="input", rows=8, width_bits=504, copies=2)
    assert small.bytes == 2 * 504
    assert small.leak_mw(technology) == 0
    assert small.area_um2(technology) == pytest.approx(2 * 504 * 8 * 8.0)
    assert 0 < small.write_pj(technology) < small.read_pj(technology)
    assert Memory(name="input", rows=8, width_bits=512).leak_mw(technology) > 0


def test_copies_leak_and_take_area_but_do_not_cost_accesses() -> None:
    technology = load_technology("45nm-lop")
    one, two = (Memory(name="input", rows=640, width_bits=64, copies=c) for c in (1, 2))
    assert two.leak_mw(technology) == pytest.approx(2 * one.leak_mw(technology))
    assert two.area_um2(technology) == pytest.approx(2 * one.area_um2(technology))
    assert two.read_pj(technology) == one.read_pj(technology)


def test_breakdown_sums_and_derives() -> None:
    counts = {event: 1000 + 7 * n for n, event in enumerate(EVENTS)}
    hardware = Hardware()
    model = EnergyModel(memories(), hardware)
    energy = energy_nj(counts, memories(), 10_000, hardware)
    expected = sum(counts[e] * model.coefficients[e] for e in EVENTS) * 1e-3
    expected += model.leakage_mw * 20  # 10,000 cycles at 500 MHz are 20 us
    assert energy.total_nj == pytest.approx(expected)
    assert set(energy.parts()) == set(PARTS)
    assert min(energy.parts().values()) > 0
    assert energy.power_mw == pytest.approx(energy.total_nj / 20)
    assert energy.edp == pytest.approx(energy.total_nj * 10_000)
    assert energy.bus_in == pytest.approx(counts["bus_in_beat"] * 128 * 8e-3)
    assert energy.bus_out == pytest.approx(counts["bus_out_beat"] * 64 * 8e-3)
    assert "45nm-lop" in energy.source
    assert "itrs-lop" in energy.source


def test_arrays_equal_scalars() -> None:
    rng = np.random.default_rng(1)
    hardware, mems = Hardware(), memories()
    counts = {event: rng.integers(0, 1 << 30, (3, 5)) for event in EVENTS}
    cycles = rng.integers(1, 1 << 20, (3, 5))
    model = EnergyModel(mems, hardware, adder_in_pe=False)
    total = model.total_nj(counts, cycles)
    for at in np.ndindex(3, 5):
        one = model.breakdown({e: int(c[at]) for e, c in counts.items()}, int(cycles[at]))
        assert total[at] == pytest.approx(one.total_nj, rel=1e-12)
    matrix = np.stack([counts[e] for e in EVENTS], axis=-1)
    assert matrix @ model.vector() * 1e-3 + model.leakage_nj(cycles) == pytest.approx(total)


def test_an_addition_is_paid_once() -> None:
    """A column of 16 PEs: a chain adds in its PEs; a tree adds 15 times, its bank once."""
    chain = energy_nj({"mac": 16}, {}, 0, Hardware())
    tree = energy_nj(
        {"mac": 16, "tree_add": 15, "accumulate": 1}, {}, 0, Hardware(), adder_in_pe=False
    )
    assert tree.mac + tree.adders == pytest.approx(chain.mac + chain.adders)
    assert area_mm2({}, 16, 0, 16, adder_in_pe=False).total == pytest.approx(
        area_mm2({}, 16, 0, 0).total
    )


def test_maestro_table() -> None:
    model = EnergyModel(memories(), Hardware(technology="maestro"))
    mac = model.coefficients["mac"]
    assert mac == pytest.approx(0.23)
    for tensor in TENSORS:  # one element per bank access here
        assert model.coefficients[f"{tensor}_read"] == pytest.approx(18.61 * mac)
    for event in ("hop_input", "hop_weight", "hop_output", "stationary_load"):
        assert model.coefficients[event] == pytest.approx(1.68 * mac)
    assert model.leakage_mw == 0
    assert model.coefficients["bus_in_beat"] == 0


def test_area_breakdown() -> None:
    area = area_mm2(memories(), 256, 256 * 57, 64, requantisers=4)
    assert area.pe_logic == pytest.approx(256 * (282 + 137) * 1e-6)
    assert area.registers == pytest.approx(256 * 57 * 8e-6)
    assert area.sram == pytest.approx(
        sum(m.area_um2(load_technology("45nm-lop")) for m in memories().values()) * 1e-6
    )
    assert area.total == pytest.approx(sum(area.parts().values()))
    # eda.md: multiplier, adder and 57 flip-flops together stay under 1,000 um2
    assert area_mm2({}, 1, 57, 0).total < 1e-3


def test_unknown_events_and_missing_memories_are_errors() -> None:
    model = EnergyModel({"input": memories()["input"]}, Hardware())
    assert model.total_nj({"weight_read": np.zeros(3), "mac": 1}, np.zeros(3)).shape == (3,)
    with pytest.raises(ValueError, match="no such memory"):
        model.total_nj({"weight_read": np.array([0, 1])}, 0)
    with pytest.raises(ValueError, match="unknown event 'macs'"):
        model.breakdown({"macs": 0}, 0)
    with pytest.raises(ValueError, match="must be of input, weight, output"):
        EnergyModel({"psum": memories()["input"]}, Hardware())


@pytest.mark.parametrize(("field", "value"), [("rows", 0), ("width_bits", 2.5), ("copies", -1)])
def test_impossible_memories(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field} must be a whole number >= 1"):
        Memory(**{"name": "input", "rows": 1, "width_bits": 8, field: value})


def test_unknown_technology_says_what_there_is() -> None:
    with pytest.raises(
        InputError, match="'7nm' not found; have 45nm-hp, 45nm-lop, 45nm-lstp, maestro"
    ) as error:
        load_technology("7nm")
    assert error.value.exit_code == 2
    assert technologies() == ("45nm-hp", "45nm-lop", "45nm-lstp", "maestro")


def test_own_table_extends_another(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nextends: 45nm-lop\nenergy_pj:\n  bus_per_bit: {value: 3.9, source: HBM2}\n"
    )
    own, base = load_technology(str(path)), load_technology("45nm-lop")
    assert own.energy_pj["bus_per_bit"] == 3.9
    assert own.sources["bus_per_bit"] == "HBM2"
    assert own.energy_pj["add"] == base.energy_pj["add"]
    assert own.memory(640, 64, 8) == base.memory(640, 64, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n", "must be a mapping, got list"),
        ("a: [\n", "cannot be read"),
        ("volts: 1\n", "unknown volts; accepted"),
        ("extends: 3nm\n", "extends must be one of"),
        ("node_nm: 45\n", "energy_pj must be a mapping"),
        ("extends: BASE\nenergy_pj: {add: {value: -1}}\n", "energy_pj.add must be"),
        ("extends: BASE\nenergy_pj: {sub: {value: 1}}\n", "missing or unknown: sub"),
        ("extends: BASE\nnode_nm: none\n", "node_nm must be a whole number"),
        ("extends: BASE\nsram: {model: magic}\n", "must be cacti or per_element"),
        ("extends: BASE\nsram: {model: cacti, file: x.csv, cell: c}\n", "cannot be read"),
        ("extends: BASE\nsram: {model: cacti, file: own.csv, cell: c}\n", "own.csv:2: not an"),
        ("extends: BASE\nsram: {model: cacti, file: ok.csv, cell: c}\n", "no rows .* have lop"),
        (
            "extends: BASE\nsram: {model: per_element, read_pj: 1}\n",
            "needs read_pj and write_pj",
        ),
    ],
)
def test_broken_tables(tmp_path: Path, text: str, message: str) -> None:
    header = "cell,size_bytes,width_bits,read_pJ,write_pJ,leak_mW,area_um2\n"
    (tmp_path / "own.csv").write_text(header + "c,512,8,1,1,0,x\n")
    (tmp_path / "ok.csv").write_text(header + "lop,512,8,1,1,1,1\n")
    (tmp_path / "t.yaml").write_text(text.replace("BASE", "45nm-lop"))
    with pytest.raises(InputError, match=message):
        load_technology(str(tmp_path / "t.yaml"))
