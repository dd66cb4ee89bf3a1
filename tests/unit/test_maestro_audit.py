"""Bounds hold for what is possible and break for what is not; the documented verdicts repeat."""

from __future__ import annotations

import csv
import gzip
import json
import math
import re
import shlex
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dcp_hw import cli
from dcp_hw.errors import InputError
from dcp_hw.maestro import honest_batch
from dcp_hw.maestro.audit import audit
from dcp_hw.maestro.audit_bounds import Part, energy_floor_nj
from dcp_hw.maestro.audit_claims import load_claims
from dcp_hw.maestro.audit_mappings import checks, least
from dcp_hw.maestro.compat_table import table
from dcp_hw.technology import load_technology

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "tests" / "golden" / "maestro" / "reference.csv.gz"
DATA = ROOT / "dcp_hw" / "maestro" / "data"
INPUTS = (
    *("type", "K", "C", "Y", "X", "R", "S", "M", "N", "stride", "mapping"),
    *("pes", "noc_bw", "noc_latency", "offchip_bw", "simd"),
)
L2_PJ = 18.61 * 0.23


def reference() -> list[dict[str, str]]:
    """Rows of the reference file."""
    with gzip.open(REFERENCE, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def positions(outputs: int, taps: int, stride: int, padding: int, size: int) -> int:
    """Number of stored positions that some window of an axis reads, by listing them."""
    read = {y * stride + r - padding for y in range(outputs) for r in range(taps)}
    return len(read & set(range(size)))


def network_by_hand(name: str) -> tuple[int, int, float]:
    """(MACs, sum of ceil(MACs / 168), L2 floor in nJ) of a layer set of convolutions and GEMMs."""
    text = (ROOT / "dcp_hw" / "layersets" / f"{name}.csv").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    macs = cycles = moved = 0
    for row in csv.DictReader(lines):
        at = {key: int(cell) for key, cell in row.items() if cell.isdigit()}
        count = at["count"]
        if row["operator"] in ("gemm", "bgemm"):
            b, m, n, k = (at.get(dim, 1) for dim in "BMNK")
            work, entering, leaving = b * m * n * k, b * (m * k + k * n), b * m * n
        else:
            groups = at["K"] if row["operator"] == "dwconv" else at.get("groups", 1)
            taps = at.get("R", 1) * at.get("S", 1)
            work = at["K"] * at["C"] // groups * taps * at.get("Y", 1) * at.get("X", 1)
            stride, padding = at.get("stride", 1), at.get("padding", 0)
            rows = positions(at["Y"], at["R"], stride, padding, at["iy"])
            columns = positions(at["X"], at["S"], stride, padding, at["ix"])
            entering = at["C"] * rows * columns + at["K"] * at["C"] // groups * taps
            leaving = at["K"] * at["Y"] * at["X"]
        macs += count * work
        cycles += count * math.ceil(work / 168)
        moved += count * (2 * entering + leaving)
    return macs, cycles, moved * L2_PJ / 1000


# ------------------------------------------------------------------------------ claims


@pytest.mark.parametrize("name", ["mobilenetv2", "resnet101", "vit_b16"])
def test_the_paper_is_held_against_the_layers_own_numbers(name: str) -> None:
    _, cycles, energy = network_by_hand(name)
    found = [x for x in load_claims(DATA / "claims_dcp_table1.csv") if "sum" in x.name]
    limits = set()
    for claim in found:
        if any(layer.name in ("features_0_0", "conv1", "conv_proj") for layer, _ in claim.layers):
            compute, sram = audit(claim)
            limits.add((compute.limit, round(sram.limit, 3)))
    assert (cycles, round(energy, 3)) in limits
    assert len(limits) == 3


def test_the_papers_latencies_are_below_the_bound() -> None:
    verdicts = {x.name: audit(x) for x in load_claims(DATA / "claims_dcp_table1.csv")}
    broken = Counter(v.bound for all_of in verdicts.values() for v in all_of if not v.holds)
    assert broken == {"compute": 10, "energy": 6}
    compute = verdicts["DCP MobileNet-V2 (sum)"][0]
    assert compute.claimed == 96_600
    assert compute.factor == pytest.approx(300_774_272 / 168 / 96_600, rel=1e-4)


# One layer by hand: 8 x 6 x 3 x 3 taps on 8 x 10 outputs, 10 x 12 inputs.
MACS = 8 * 6 * 9 * 80
ENTERING, LEAVING = 6 * 120 + 8 * 6 * 9, 8 * 80
PEAK = MACS // 32  # cycles on 32 PEs; divides
ENERGY = (MACS * 0.3 + (ENTERING + LEAVING) * 64) / 1000  # without SRAM
HOLDING = {
    "macs": str(MACS),
    "cycles": str(PEAK),
    "energy_nj": f"{ENERGY + 0.001:.3f}",
    "energy_parts": "mac+dram",
    "utilisation": "1",
    "throughput": "32",
    "edp": repr(PEAK * (ENERGY + 0.001))[:9],
    "power_mw": f"{(ENERGY + 0.001) * 500 / PEAK:.4f}",
    "noc_bw": str(math.ceil(ENTERING / PEAK)),
    "offchip_bw": str(math.ceil(ENTERING / PEAK)),
    "l1_req": "512",
    "l1_size": "512",
    "l2_req": "99",
    "l2_size": "100",
}


def broken_by(tmp_path: Path, **changes: str) -> set[str]:
    """Bounds that a claim on layer `conv` of `tiny` breaks."""
    row = {"network": "tiny", "layer": "conv", "pes": "32", **HOLDING, **changes}
    path = tmp_path / "claims.csv"
    path.write_text(f"{','.join(row)}\n{','.join(row.values())}\n")
    (claim,) = load_claims(path)
    verdicts = audit(claim)
    if not changes:
        assert {v.bound for v in verdicts} == {
            *("macs", "compute", "noc", "offchip", "energy", "edp", "power"),
            *("utilisation", "throughput", "l1", "l2"),
        }
    return {v.bound for v in verdicts if not v.holds}


def test_a_claim_on_every_bound_holds(tmp_path: Path) -> None:
    assert broken_by(tmp_path) == set()


@pytest.mark.parametrize(
    ("changes", "bounds"),
    [
        ({"macs": str(MACS - 1)}, {"macs"}),
        ({"macs": str(MACS + 1)}, {"macs"}),
        ({"pes": "31"}, {"compute", "throughput", "utilisation", "edp"}),
        ({"pes": "31", "simd": "2"}, set()),
        ({"noc_bw": str(ENTERING // PEAK)}, {"noc"}),
        ({"offchip_bw": str(ENTERING // PEAK)}, {"offchip"}),
        ({"energy_nj": f"{ENERGY - 0.01:.3f}"}, {"energy", "edp", "power"}),
        (
            {"energy_nj": f"{ENERGY - 0.01:.3f}", "energy_parts": "dram"},
            {"edp", "power"},
        ),
        ({"energy_parts": "mac+sram+dram"}, {"energy", "edp"}),
        ({"energy_parts": "mac+sram"}, set()),
        ({"utilisation": "1.001"}, {"utilisation"}),
        ({"utilisation": "0.99"}, {"utilisation"}),
        ({"throughput": "33"}, {"throughput"}),
        ({"throughput": "31"}, {"throughput"}),
        ({"edp": str(3 * PEAK * round(ENERGY))}, {"edp"}),
        ({"edp": "1e3"}, {"edp"}),
        ({"power_mw": "1"}, {"power"}),
        ({"clock_mhz": "250"}, {"power"}),
        ({"l1_req": "513"}, {"l1"}),
        ({"l2_req": "101"}, {"l2"}),
        ({"fused": "1", "noc_bw": "1"}, set()),
    ],
)
def test_a_claim_beyond_a_bound_breaks_it(
    tmp_path: Path, changes: dict[str, str], bounds: set[str]
) -> None:
    assert broken_by(tmp_path, **changes) == bounds


@pytest.mark.parametrize(
    ("cycles", "holds"),
    [(str(PEAK), True), (str(PEAK - 1), False), ("1.1e3", True), ("1.0e3", False), ("1e3", True)],
)
def test_digits_say_how_far_a_claim_was_rounded(tmp_path: Path, cycles: str, holds: bool) -> None:
    assert PEAK == 1080  # 1.1e3 may be 1050 to 1150, 1.0e3 up to 1050, 1e3 up to 1500
    path = tmp_path / "claims.csv"
    path.write_text(f"network,layer,pes,cycles\ntiny,conv,32,{cycles}\n")
    (verdict,) = audit(load_claims(path)[0])
    assert verdict.holds is holds


def test_half_a_digit_is_the_most_that_rounding_hides(tmp_path: Path) -> None:
    path = tmp_path / "claims.csv"
    path.write_text("network,layer,pes,cycles\ntiny,conv,33,1.0e3\n")
    (verdict,) = audit(load_claims(path)[0])
    assert verdict.limit == math.ceil(MACS / 33) == 1048  # 1.0e3 may be 1050
    assert verdict.holds


@pytest.mark.parametrize("off", [-1, 0, 1])
def test_macs_of_a_network_count_every_occurrence(tmp_path: Path, off: int) -> None:
    macs, _, _ = network_by_hand("resnet101")
    path = tmp_path / "claims.csv"
    path.write_text(f"network,pes,macs\nresnet101,168,{macs + off}\n")
    (verdict,) = audit(load_claims(path)[0])
    assert verdict.limit == macs
    assert verdict.holds is (off == 0)


def test_a_mean_counts_once_for_each_run(tmp_path: Path) -> None:
    macs, cycles, _ = network_by_hand("resnet101")
    runs = 105
    path = tmp_path / "claims.csv"
    for mean, holds in ((math.ceil(cycles / runs), True), (cycles // runs, False)):
        path.write_text(f"network,pes,reading,cycles\nresnet101,168,mean,{mean}\n")
        (verdict,) = audit(load_claims(path)[0])
        assert verdict.limit == cycles >= macs / 168
        assert verdict.holds is holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no claims"),
        ("network,pes,cycles\n", "no claims"),
        ("network,cycles\ntiny,5\n", r":1: missing columns 'pes'"),
        ("network,pes,cycles,oops\n", r":1: unknown columns 'oops'"),
        ("network,pes,cycles,pes\n", r":1: repeated columns 'pes'"),
        ("network,pes,cycles\ntiny,8\n", r":2: 2 cells; accepted: 3"),
        ("network,pes,cycles\ntiny,8,\n", r":2: claims nothing"),
        ("network,pes,cycles\n,8,5\n", r":2: column network is empty"),
        ("network,pes,cycles\nnope,8,5\n", r":2: layer set 'nope' not found"),
        ("network,layer,pes,cycles\ntiny,nope,8,5\n", r":2: layers nope asked"),
        ("network,pes,cycles\ntiny,0,5\n", r":2: column pes is '0'; accepted"),
        ("network,pes,cycles\ntiny,8,nan\n", r":2: column cycles is 'nan'; accepted"),
        ("network,pes,cycles\ntiny,8,-5\n", r":2: column cycles is '-5'; accepted"),
        ("network,pes,cycles\ntiny,8,0\n", r":2: column cycles is '0'; accepted"),
        ("network,pes,cycles,technology\ntiny,8,5,3nm\n", r":2: column technology"),
        ("network,pes,cycles,energy_parts\ntiny,8,5,l2\n", r":2: column energy_parts is 'l2'"),
        ("network,pes,cycles,fused\ntiny,8,5,yes\n", r":2: column fused is 'yes'"),
        ("network,pes,cycles,reading\ntiny,8,5,median\n", r":2: column reading is 'median'"),
    ],
)
def test_wrong_claims_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "claims.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_claims(path)


# ---------------------------------------------------------------------------- mappings


def row_by_hand(row: dict[str, str]) -> dict[str, bool]:
    """Which bounds a row of the reference file breaks, by plain sums on its columns."""
    at = {name: int(row[name] or 1) for name in ("K", "C", "Y", "X", "R", "S", "M", "N", "stride")}
    if row["type"] == "GEMM":
        macs = at["M"] * at["N"] * at["K"]
        inputs, filters, outputs = at["M"] * at["K"], at["K"] * at["N"], at["M"] * at["N"]
    else:
        lines, columns = (
            len(range(0, at[axis] - at[taps] + 1, at["stride"])) for axis, taps in ("YR", "XS")
        )
        depthwise = row["type"] == "DSCONV"
        filters = (1 if depthwise else at["K"]) * at["C"] * at["R"] * at["S"]
        macs = filters * lines * columns
        outputs = (at["C"] if depthwise else at["K"]) * lines * columns
        read = [
            positions(count, at[taps], at["stride"], 0, at[axis])
            for count, axis, taps in ((lines, "Y", "R"), (columns, "X", "S"))
        ]
        inputs = at["C"] * read[0] * read[1]
    runtime, pes = int(row["runtime"]), int(row["pes"]) * int(row["simd"])
    floor = (2 * (inputs + filters) + outputs) * L2_PJ / 1000
    slowest = max(inputs + filters, outputs)
    return {
        "macs": int(row["macs_reported"]) != macs,
        "compute": runtime * pes < macs,
        "noc": runtime < math.ceil(slowest / int(row["noc_bw"])),
        "offchip": runtime < math.ceil(slowest / int(row["offchip_bw"])),
        "input_reads": int(row["input_l2r"]) < inputs,
        "filter_reads": int(row["filter_l2r"]) < filters,
        "output_writes": int(row["output_l2w"]) < outputs,
        "energy": float(row["energy_nj"]) < floor * (1 - 1e-5),  # six printed digits
        "energy_full": float(row["energy_full_nj"]) < (floor + macs * 0.23e-3) * (1 - 1e-5),
        "throughput": float(row["throughput"]) > pes * (1 + 1e-5),
        "utilisation": float(row["avg_pes"]) > int(row["pes"]) * (1 + 1e-5),
    }


@pytest.mark.parametrize("physical", ["0", "1"])
def test_reference_rows_break_what_their_columns_say(
    physical: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row for row in reference() if row["physical"] == physical]
    expected = [row_by_hand(row) for row in rows]
    counts = Counter(bound for row in expected for bound, broken in row.items() if broken)
    code = cli.main(["audit", str(REFERENCE), "--where", f"physical={physical}", "--json"])
    (found,) = json.loads(capsys.readouterr().out)["files"]
    assert code == 1
    assert found["summary"]["rows"] == len(rows)
    assert found["summary"]["broken"] == sum(any(row.values()) for row in expected)
    assert found["summary"]["broken"] == len(rows) or physical == "1"
    bounds = {name: x["broken"] for name, x in found["summary"]["bounds"].items()}
    assert {name: count for name, count in bounds.items() if count} == counts
    listed = Counter(v["bound"] for row in found["mappings"] for v in row["verdicts"])
    assert listed == counts
    first = found["mappings"][0]
    assert int(reference()[int(first["name"].split()[1]) - 1]["runtime"]) == first["claimed_cycles"]


@pytest.mark.parametrize("padding", [0, 1])
def test_the_honest_model_keeps_every_bound(padding: int) -> None:
    known = reference()[padding :: 1 + 2 * padding]
    columns = {name: [row[name] for row in known] for name in INPUTS}
    padded = [padding * (row["Y"] > "" and min(int(row["Y"]), int(row["X"])) > 2) for row in known]
    columns["padding"] = padded
    rows = table(columns)
    found = honest_batch.evaluate_batch(columns)
    done = found["infeasible"] == ""
    floor = least(rows.kinds, rows.sizes, rows.strides, np.array(padded))
    pes = rows.hardware[:, 0].astype(float)
    bounds = checks(floor, rows.hardware, {**found, "avg_pes": found["macs_true"] * 0 + pes})
    assert np.count_nonzero(done) > (4_000 if padding else 14_000)
    for check in bounds:
        if not check.bound.startswith("energy"):  # other prices: below
            assert not np.any(check.broken & done), check.bound
    work = (floor.macs, floor.inputs + floor.filters, floor.outputs)
    parts = frozenset(Part)
    price = energy_floor_nj(*work, load_technology(honest_batch.TECHNOLOGY), parts)
    assert np.all(found["energy_nj"][done] >= price[done])
    price = energy_floor_nj(*work, load_technology("maestro"), parts)
    assert np.all(found["energy_full_nj"][done] >= price[done])


# ------------------------------------------------------------------------------ command


MAPPING = """Network n {
  Layer a { Type: CONV Dimensions { K: 4, C: 8, R: 3, S: 3, Y: 10, X: 10 }
    Dataflow { SpatialMap(1,1) K; TemporalMap(8,8) C; TemporalMap(3,3) R; TemporalMap(3,3) S;
      TemporalMap(8,8) Y'; TemporalMap(8,8) X'; } }
  Layer b { Type: GEMM Dimensions { M: 3, N: 4, K: 5 } }
}
"""


def test_a_mapping_file_gets_every_verdict_and_the_honest_cycles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.m"
    path.write_text(MAPPING)
    options = ["--num_pes=4", "--noc_bw_cstr=64", "--l1_size_cstr=10000"]
    assert cli.main(["audit", str(path), *options, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["files"]
    first, second = found["mappings"]
    limits = {v["bound"]: v["limit"] for v in first["verdicts"]}
    assert limits["compute"] == 64 * 9 * 8
    assert limits["noc"] == math.ceil((8 * 100 + 4 * 8 * 9) / 64)
    assert limits["l1"] == 10_000
    assert first["honest_cycles"] >= first["claimed_cycles"] >= limits["compute"]
    assert "no Dataflow" in second["infeasible"]
    assert not second["verdicts"]
    assert found["summary"]["without_result"] == 1
    assert cli.main(["audit", str(path), *options]) == 0
    assert "by the honest model" in capsys.readouterr().out
    assert cli.main(["audit", str(path), *options[:2], "--l1_size_cstr=10"]) == 1
    assert re.search(r"l1 +BROKEN", capsys.readouterr().out)


def test_documented_audits_repeat(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    text = (ROOT / "docs" / "audit.md").read_text()
    blocks = re.findall(r"    \$ dcp-hw (.*)\n((?:    .*\n)+)", text)
    assert len(blocks) == 4
    for command, expected in blocks:
        assert cli.main(shlex.split(command)) == 1
        printed = capsys.readouterr().out
        assert printed == re.sub(r"(?m)^    ", "", expected), command


@pytest.mark.parametrize(
    "arguments",
    [
        ["no.m"],
        ["no.txt"],
        ["no.csv"],
        [str(REFERENCE), "--where", "physical"],
        [str(REFERENCE), "--where", "nothing=0"],
        [str(REFERENCE), "--where", "physical=7"],
        [str(REFERENCE), "--threads=0"],
        [str(REFERENCE), "--show=-1"],
        [str(DATA / "gamma_best.json")],
        [str(DATA / "claims_dcp_table1.csv"), "--where", "a=b"],
        [str(DATA / "gamma_best.json"), "--where", "a=b", "--layers", "x"],
    ],
)
def test_wrong_arguments_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["audit", *arguments]) == 2
    assert capsys.readouterr().err.startswith("dcp-hw: error: ")


def test_documented_commands_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("docs", "dcp_hw"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "build").mkdir()
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "maestro.md").read_text()
    commands = re.findall(r"    \$ dcp-hw (.*)\n", text)
    assert {command.split()[0] for command in commands} == {"maestro", "maestro-batch", "audit"}
    for command in commands:  # every documented audit finds something
        expected = int(command.startswith("audit"))
        assert cli.main(shlex.split(command)) == expected, (command, capsys.readouterr())
        assert capsys.readouterr().out
    assert (tmp_path / "build" / "honest.parquet").is_file()
    compat = list(csv.DictReader((tmp_path / "build" / "compat.csv").open()))
    assert all(row["physical"] in ("0", "1") for row in compat)
    lines = (ROOT / "docs" / "examples" / "net.m").read_text().splitlines()
    assert "\n".join(f"    {line}" for line in lines) in text
