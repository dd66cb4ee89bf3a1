"""The report: totals, checks, and its files, on made-up measurements of a real network's size."""

from __future__ import annotations

import copy
import csv
import io
import json
import random
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from dcp_hw.energy import EnergyModel, Memory, area_mm2
from dcp_hw.errors import InputError
from dcp_hw.hardware import Hardware
from dcp_hw.report import completed, csv_text, problems, totals, validate, write_report
from dcp_hw.report_cards import card_svg
from dcp_hw.report_html import html_page
from dcp_hw.report_plots import figures
from dcp_hw.report_text import markdown, summary_table
from dcp_hw.report_view import number, series, shorten
from dcp_hw.workload import LayerSet

HARDWARE = Hardware()
DESIGNS = {  # id -> (mode, label, array, T, links of input, weight, output, slowdown)
    "fixed-0": ("fixed", "KCY-UMM U×O with reduction trees", (64, 4), "U×O",
                ([], [], [((0, 1), 0)]), 1.05),
    **{f"layer-{n}": ("per-layer", f"KCX-STS variant {n}", (16, 16), "I×O",
                      ([((0, 1), 0)], [((0, 0), 1)], [((1, 0), 0)]), 1.02) for n in range(6)},
    "ws-systolic": ("example", "weight-stationary systolic K×C", (16, 16), "K×C",
                    ([((0, 1), 1)], [((0, 0), 1)], [((1, 0), 1)]), 2.6),
    "os-systolic": ("example", "output-stationary systolic", (16, 16), "K×Y",
                    ([((0, 1), 1)], [((1, 0), 1)], [((0, 0), 1)]), 2.1),
    "is-systolic": ("example", "input-stationary systolic", (16, 16), "C×Y",
                    ([((0, 0), 1)], [((0, 1), 1)], [((1, 0), 1)]), 2.4),
    "nvdla-like": ("example", "K×C multicast and reduction tree (NVDLA-like)", (16, 16), "K×C",
                   ([((1, 0), 0)], [], [((0, 1), 0)]), 2.57),
    "os-multicast": ("example", "output-stationary multicast", (16, 16), "K×Y",
                     ([((0, 1), 0)], [((1, 0), 0)], [((0, 0), 1)]), 1.8),
    "shidiannao-like": ("example", "Y×X (ShiDianNao-like)", (14, 18), "Y×X",
                        ([((0, 1), 1), ((1, 0), 3)], [((0, 1), 0), ((1, 0), 0)],
                         [((0, 0), 1)]), 2.9),
    "eyeriss-like": ("example", "Y×R (Eyeriss-like)", (36, 7), "Y×R",
                     ([((1, -1), 0)], [((0, 1), 0)], [((1, 0), 1)]), 4.2),
}  # fmt: skip


def kind(links: list[Any], output: bool) -> str:
    names = [
        "stationary" if dp == (0, 0)
        else ("systolic_accumulation" if output else "systolic") if delay
        else ("reduction_tree" if output else "multicast")
        for dp, delay in links
    ]  # fmt: skip
    return "+".join(names) or "unicast"


def design(name: str) -> dict[str, Any]:
    mode, label, array, axes, wires, _ = DESIGNS[name]
    memories = {
        "input": Memory(name="input", rows=640, width_bits=1024, banks=128),
        "weight": Memory(name="weight", rows=640, width_bits=512, banks=64),
        "output": Memory(name="output", rows=320, width_bits=1024, banks=32, element_bits=32),
    }
    area = area_mm2(memories, array[0] * array[1], array[0] * array[1] * 57, 64)
    return {
        "id": name, "mode": mode, "label": label, "T": ((1, 0, 0), (0, 1, 0), (1, 1, 1)),
        "axes": {"p1": axes.split("×")[0], "p2": axes.split("×")[1], "t": "y"},
        "array": list(array), "bus_bits": {"in": 128, "out": 128},
        "sram_bytes": int(sum(m.bytes for m in memories.values())),
        "ports": {"input": 128, "weight": 64, "output": 64},
        "area_mm2": area.total, "area": area.parts(), "verilog": f"rtl/{name}.v",
        "interconnect": {
            tensor: {
                "kind": kind(links, tensor == "output"),
                "links": [{"dp": list(dp), "delay": delay} for dp, delay in links],
                "ports": 64,
                **({"chain": {"dp": [1, 0], "delay": 1}} if links == [((0, 0), 1)] else {}),
            }
            for tensor, links in zip(("input", "weight", "output"), wires, strict=True)
        },
        "memories": {
            t: {"banks": m.banks, "rows": m.rows, "width_bits": m.width_bits, "bytes": m.bytes}
            for t, m in memories.items()
        },
    }  # fmt: skip


def row(layer: Any, count: int, name: str, rng: random.Random) -> dict[str, Any]:
    mode, *_, slow = DESIGNS[name]
    bound = layer.bound_cycles(HARDWARE.pes, 16, 16)
    cycles = int(bound * rng.uniform(1.01, 2 * slow - 1.01)) + 60
    weights = [0.9 / slow, rng.uniform(0, 0.1), rng.uniform(0, 0.2), rng.uniform(0, 0.1), 0.01]
    shares = [int(cycles * w / sum(weights)) for w in weights]
    shares[0] += cycles - sum(shares)
    memories = {
        t: Memory(name=t, rows=640, width_bits=1024, banks=64)
        for t in ("input", "weight", "output")
    }
    counts = {
        "mac": layer.macs, "pe_idle": max(0, HARDWARE.pes * cycles - layer.macs),
        "hop_input": layer.macs, "tree_add": layer.macs * 3 // 4, "accumulate": layer.macs // 4,
        "input_read": layer.macs // 8, "weight_read": layer.macs // 4,
        "output_write": layer.macs // 16, "output_read": layer.macs // 16,
        "requantise": layer.output_elements,
        "bus_in_beat": int(slow * (layer.input_bytes + layer.weight_bytes)) // 16,
        "bus_out_beat": layer.output_bytes // 16,
    }  # fmt: skip
    energy = EnergyModel(memories, HARDWARE).breakdown(counts, cycles)
    return {
        "layer": layer.name, "count": count, "macs": layer.macs, "mode": mode, "design": name,
        "source": "rtl", "feasible": True, "reason": None,
        "intrinsic_size": {"k": 64, "c": 4, "y": 7}, "predicted_cycles": cycles,
        "measured_cycles": cycles, "bound_cycles": bound,
        "utilisation": layer.macs / (HARDWARE.pes * cycles),
        "cycles_by_cause": dict(zip(
            ("compute", "fill_drain", "wait_load", "wait_store", "config"), shares, strict=True
        )),
        "energy_nj": energy.parts(), "energy_total_nj": energy.total_nj,
        "words_expected": layer.output_elements, "words_compared": layer.output_elements,
        "mismatches": 0,
    }  # fmt: skip


def fake_report(names: tuple[str, ...] = tuple(DESIGNS), layers: int = 12) -> dict[str, Any]:
    """A report of MobileNet-V2; more layers than it has are repeats under other names."""
    rng = random.Random(3)
    chosen = list(LayerSet.load("mobilenetv2"))[:layers]
    rows: list[dict[str, Any]] = []
    per_layer = [name for name in names if DESIGNS[name][0] == "per-layer"]
    for at, layer in enumerate(chosen):
        rows += [
            row(layer, layer.count, name, rng) for name in names if name not in per_layer
        ]  # fmt: skip
        if per_layer:
            rows.append(row(layer, layer.count, per_layer[at % len(per_layer)], rng))
    return {
        "layerset": "mobilenetv2", "hardware": HARDWARE.to_dict(), "objective": "edp", "seed": 0,
        "versions": {"dcp-hw": "0.1.0", "verilator": "5.048", "chisel": "7.2.0"},
        "designs": [design(name) for name in names], "layers": rows, "totals": [],
    }  # fmt: skip


def infeasible(entry: dict[str, Any], reason: str = "no loop for p2") -> None:
    nothing = ("source", "intrinsic_size", "predicted_cycles", "measured_cycles", "utilisation",
               "cycles_by_cause", "energy_nj", "energy_total_nj", "words_expected",
               "words_compared", "mismatches")  # fmt: skip
    entry.update(dict.fromkeys(nothing), feasible=False, reason=reason)


def test_totals_weigh_by_count() -> None:
    report = fake_report()
    found = {(t["mode"], t["design"]): t for t in totals(report["layers"], 256, 500)}
    assert len(found) == 9
    assert [mode for mode, _ in found] == ["fixed", "per-layer", *["example"] * 7]
    total = found["fixed", "fixed-0"]
    rows = [r for r in report["layers"] if r["mode"] == "fixed"]
    cycles = sum(r["count"] * r["measured_cycles"] for r in rows)
    assert any(r["count"] > 1 for r in rows)
    assert total["measured_cycles"] == cycles
    assert sum(total["cycles_by_cause"].values()) == cycles
    energy = sum(r["count"] * r["energy_total_nj"] for r in rows)
    assert sum(total["energy_nj"].values()) == pytest.approx(energy)
    assert total["energy_total_nj"] == pytest.approx(energy)
    assert total["edp"] == pytest.approx(energy * cycles)
    assert total["power_mw"] == pytest.approx(energy / (cycles / 500))
    assert total["ratio_to_bound"] == cycles / sum(r["count"] * r["bound_cycles"] for r in rows)
    assert total["utilisation"] == pytest.approx(
        sum(r["count"] * r["macs"] for r in rows) / 256 / cycles
    )
    assert total["occurrences"] == sum(r["count"] for r in rows)
    assert total["complete"]
    assert found["per-layer", None]["designs"] == [f"layer-{n}" for n in range(6)]


def test_an_infeasible_layer_leaves_no_total() -> None:
    report = fake_report()
    bad = next(r for r in report["layers"] if r["design"] == "eyeriss-like")
    infeasible(bad)
    validate(report)
    by_design = {t["design"]: t for t in totals(report["layers"])}
    assert by_design["eyeriss-like"]["infeasible"] == [bad["layer"]]
    assert by_design["eyeriss-like"]["measured_cycles"] is None
    assert by_design["eyeriss-like"]["energy_nj"] is None
    assert by_design["eyeriss-like"]["edp"] is None
    assert by_design["ws-systolic"]["measured_cycles"] > 0
    assert "1 infeasible" in summary_table(completed(report))


def test_totals_say_when_they_cover_less() -> None:
    report = fake_report(("fixed-0", "ws-systolic"))
    report["layers"] = report["layers"][:-1]
    found = {t["design"]: t for t in totals(report["layers"])}
    assert found["fixed-0"]["complete"]
    assert not found["ws-systolic"]["complete"]
    assert "11 of 12" in summary_table(completed(report))


def test_valid_reports_pass() -> None:
    validate(fake_report())
    validate(completed(fake_report()))
    validate(fake_report(("fixed-0",), layers=1))
    assert problems(fake_report()) == []


def first(report: dict[str, Any]) -> dict[str, Any]:
    return report["layers"][0]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.pop("objective"), "'objective' is a required property"),
        (lambda r: r.update(objective="speed"), "objective: 'speed' is not one of"),
        (lambda r: first(r).pop("macs"), "layers.0: 'macs' is a required property"),
        (lambda r: first(r).update(measured_cycles=1.5), "layers.0.measured_cycles: 1.5"),
        (lambda r: first(r).update(energy_nj=None), r"layers.0.energy_nj"),
        (lambda r: first(r)["energy_nj"].update(dram=1), "'dram' was unexpected"),
        (lambda r: first(r)["cycles_by_cause"].update(config=10**6), "cycles_by_cause sums to"),
        (lambda r: first(r).update(energy_total_nj=1.0), "energy_nj sums to"),
        (lambda r: first(r).update(design="other"), "design 'other' is not in designs"),
        (lambda r: r["layers"].append(first(r)), "given twice"),
        (lambda r: r["designs"].append(r["designs"][0]), "fixed-0 given twice"),
        (lambda r: first(r).update(count=7), "count, macs, bound_cycles are"),
        (lambda r: infeasible(first(r), ""), "infeasible without a reason"),
        (lambda r: first(r).update(utilisation=float("nan")), "not JSON"),
        (lambda r: first(r).update(layer={"a", "b"}), "not JSON"),
        (lambda r: r["designs"][0].update(id="../x"), "designs.0.id"),
        (lambda r: r["designs"][0].update(T=[[1, 0], [0, 1]]), "designs.0.T"),
    ],
)
def test_broken_reports_are_told(change: Any, message: str) -> None:
    report = fake_report(("fixed-0", "ws-systolic"), layers=3)
    change(report)
    with pytest.raises(InputError, match=message):
        validate(report)


def test_problems_name_the_row() -> None:
    report = fake_report(("fixed-0",), layers=6)
    rows = report["layers"]
    rows[0].update(mismatches=3)
    rows[1].update(words_compared=rows[1]["words_compared"] - 1)
    rows[2].update(predicted_cycles=rows[2]["predicted_cycles"] + 1)
    rows[3].update(bound_cycles=rows[3]["measured_cycles"] + 1)
    rows[4].update(measured_cycles=None)
    infeasible(rows[5])
    found = problems(report)
    assert len(found) == 5
    for line, text in zip(
        found, ("3 of", "words compared", "predicted", "below the bound", "not measured"),
        strict=True,
    ):  # fmt: skip
        assert text in line
    assert rows[0]["layer"] in found[0]
    full = completed(report)
    assert found[0] in markdown(full, found, [])


class Page(HTMLParser):
    """Collects tags and what they fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.images = 0
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br", "rect", "line", "polygon"):
            self.open.append(tag)
        self.images += tag == "img"
        self.fetched += [v for k, v in attrs if k in ("src", "href") and v and v[0] != "#"]

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "line", "polygon"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_files_of_a_report(tmp_path: Path) -> None:
    report = fake_report()
    before = copy.deepcopy(report)
    paths = write_report(report, tmp_path / "out")
    assert report == before
    names = {path.name for path in paths}
    assert {"report.json", "report.csv", "report.md", "report.html"} <= names
    assert {p.name for p in (tmp_path / "out").iterdir()} == names
    pngs = [path for path in paths if path.suffix == ".png"]
    assert len(pngs) == 6
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pngs)

    written = json.loads((tmp_path / "out/report.json").read_text())
    validate(written)
    assert len(written["totals"]) == 9
    assert written["energy_table"]["node_nm"] == 45

    page = Page()
    page.feed((tmp_path / "out/report.html").read_text())
    assert page.open == []
    assert page.images == 6
    assert all(link.startswith("data:image/png;base64,") for link in page.fetched)
    assert "0 mismatches" in page.text
    assert "CACTI 7 itrs-lop" in page.text

    text = (tmp_path / "out/report.md").read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert target in names

    times = {path: path.stat().st_mtime_ns for path in paths}
    assert write_report(written, tmp_path / "out") == paths
    assert {path: path.stat().st_mtime_ns for path in paths} == times


@pytest.mark.parametrize(
    "names", [("fixed-0",), ("layer-0", "layer-1"), ("ws-systolic", "os-systolic")]
)
def test_intermediate_reports(names: tuple[str, ...], tmp_path: Path) -> None:
    report = fake_report(names, layers=4)
    if len(names) == 2 and names[0] != "layer-0":
        report["layers"] = report["layers"][:-1]
    write_report(report, tmp_path)
    assert "not measured:" in (tmp_path / "report.html").read_text()


def test_nothing_measured_yet(tmp_path: Path) -> None:
    report = fake_report(("fixed-0",), layers=2)
    for entry in report["layers"]:
        entry.update(measured_cycles=None, source=None)
    paths = write_report(report, tmp_path)
    assert not [path for path in paths if path.suffix == ".png"]
    write_report(report | {"designs": [], "layers": []}, tmp_path)


def test_a_failing_render_leaves_the_old_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dcp_hw.report_plots.figures", lambda report: [])
    paths = write_report(fake_report(("fixed-0",), layers=2), tmp_path)
    old = {path: path.read_bytes() for path in paths}
    written: list[Path] = []

    def full_disk(self: Path, data: bytes) -> int:
        written.append(self)
        if len(written) > 2:
            raise OSError("disk full")
        return 0

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="disk full"):
        write_report(fake_report(("fixed-0",), layers=3), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == old


def test_csv_has_every_row_and_part() -> None:
    report = completed(fake_report(("fixed-0", "ws-systolic"), layers=3))
    infeasible(report["layers"][1])
    rows = list(csv.DictReader(io.StringIO(csv_text(report))))
    assert len(rows) == 6
    parts = [name for name in rows[0] if name.endswith("_nj") and name != "energy_total_nj"]
    assert len(parts) == 10
    assert sum(float(rows[0][p]) for p in parts) == pytest.approx(float(rows[0]["energy_total_nj"]))
    assert rows[1]["measured_cycles"] == ""
    assert rows[1]["reason"] == "no loop for p2"
    assert rows[0]["energy_table"] == "45nm-lop (45 nm)"


def test_summary_table_is_aligned_plain_text() -> None:
    text = summary_table(completed(fake_report()))
    table = text.splitlines()[2:13]
    assert len({len(line) for line in table}) == 1
    assert len(table[0]) <= 160
    assert "mobilenetv2" in text
    assert "45 nm" in text


def test_series_are_told_apart() -> None:
    found = series(fake_report())
    assert len(found) == 9
    assert len({(s.colour, s.marker) for s in found}) == 9
    assert len({s.marker for s in found}) == 9


def test_user_text_is_escaped() -> None:
    report = fake_report(("fixed-0",), layers=2)
    report["designs"][0]["label"] = "<script>alert(1)</script> a|b $x_1$ {y^"
    report["layers"][0]["layer"] = "<b>&layer"
    full = completed(report)
    page = html_page(full, [], [])
    assert "<script" not in page
    assert "&lt;b&gt;&amp;layer" in page
    assert "a\\|b" in markdown(full, [], [])
    assert len(figures(full)) == 6  # names are no formulas


SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", [name for name in DESIGNS if DESIGNS[name][0] != "per-layer"])
def test_cards_are_svg(name: str) -> None:
    root = ElementTree.fromstring(card_svg(design(name)))
    text = " ".join(root.itertext())
    for word in ("input", "weight", "output", "640 × 1024 bit"):
        assert word in text


def test_card_draws_every_pe_link_and_port() -> None:
    """3 x 4 systolic inputs along the row: 3 ports, 9 links with a register each."""
    one = design("ws-systolic")
    one["array"] = [3, 4]
    one["interconnect"] = {
        "input": {"kind": "systolic", "links": [{"dp": [0, 1], "delay": 2}], "ports": 3}
    }
    root = ElementTree.fromstring(card_svg(one))
    group = next(g for g in root.iter(f"{SVG}g") if g.get("transform", "").startswith("translate"))
    rects = [r.get("width") for r in group.iter(f"{SVG}rect")]
    assert rects.count("20") == 12
    assert rects.count("8") == 9
    assert len([t for t in group.iter(f"{SVG}text") if t.text == "2"]) == 9
    strokes = [line.get("stroke") for line in group.iter(f"{SVG}line")]
    assert strokes.count("#111") == 3
    assert len(strokes) == 12


def ports(tensor: str, dp: list[int]) -> list[tuple[float, float]]:
    """Middles of the port arrows of a 3 x 4 array, in steps of PEs from PE (0, 0)."""
    one = design("ws-systolic") | {"array": [3, 4]}
    wires = {"kind": "systolic", "links": [{"dp": dp, "delay": 1}], "ports": 3}
    one["interconnect"] = {tensor: wires}
    root = ElementTree.fromstring(card_svg(one))
    group = next(g for g in root.iter(f"{SVG}g") if g.get("transform", "").startswith("translate"))
    first = next(group.iter(f"{SVG}rect"))
    x0, y0 = float(first.get("x", 0)) + 10, float(first.get("y", 0)) + 10
    lines = [line for line in group.iter(f"{SVG}line") if line.get("stroke") == "#111"]
    middles = [
        tuple((float(line.get(f"{a}1", 0)) + float(line.get(f"{a}2", 0))) / 2 for a in "xy")
        for line in lines
    ]
    return [((x - x0) / 40, (y - y0) / 40) for x, y in middles]


def test_ports_are_where_links_begin_or_end() -> None:
    """Inputs enter against dp, outputs leave along it."""
    assert all(-1 < x < 0 for x, _ in ports("input", [0, 1]))
    assert all(3 < x < 4 for x, _ in ports("input", [0, -1]))
    assert all(3 < x < 4 for x, _ in ports("output", [0, 1]))
    assert all(2 < y < 3 for _, y in ports("output", [1, 0]))
    assert [len(ports("input", dp)) for dp in ([0, 1], [1, 0], [1, 1])] == [3, 4, 6]


def test_number_formats() -> None:
    assert number(1234567) == "1,234,567"
    assert number(1234.5678) == "1,235"
    assert number(0.0123456) == "0.0123"
    assert number(0.0) == "0"
    assert number(None) == "–"
    assert (
        shorten("encoder_layers_encoder_layer_0_self_attention_qkv", 22) == "encoder_la…tention_qkv"
    )
