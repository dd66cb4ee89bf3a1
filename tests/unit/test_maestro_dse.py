"""`dcp-hw dse` against a plain sweep: every design by itself, mappings as written, no pruning."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from dcp_hw import cli
from dcp_hw.errors import CheckFailed
from dcp_hw.maestro import dse_design, dse_evaluate, dse_part, dse_run
from dcp_hw.maestro.dse_front import best, front
from dcp_hw.maestro.dse_part import PRICED, PRUNED, Setting
from dcp_hw.maestro.dse_report import summary
from dcp_hw.maestro.dse_space import STYLES, TILE_AXES, make_space
from dcp_hw.maestro.honest_energy import energy, private_price, shared_price
from dcp_hw.maestro.honest_fast import evaluate, evaluate_batch, layer_row, mapping_rows
from dcp_hw.maestro.honest_types import HonestLayer, HonestLevel, HonestMachine
from dcp_hw.technology import load_technology
from dcp_hw.workload import Layer, LayerSet, Operator

LAYERS = LayerSet(
    "three",
    (
        Layer(name="a", operator=Operator.CONV, K=10, C=7, Y=9, X=8, R=3, S=3, padding=1, count=2),
        Layer(
            name="b",
            operator=Operator.DWCONV,
            K=12,
            C=12,
            groups=12,
            Y=5,
            X=5,
            R=3,
            S=3,
            stride=2,
            padding=1,
        ),
        Layer(name="c", operator=Operator.GEMM, M=3, N=11, K=13),
    ),
)
SHAPES = {
    "a": (HonestLayer(K=10, C=7, Y=9, X=8, R=3, S=3, padding=1), 2),
    "b": (HonestLayer(C=12, Y=5, X=5, R=3, S=3, stride=2, padding=1, depthwise=True), 1),
    "c": (HonestLayer(K=11, C=13, Y=3), 1),
}
TILES = {
    "kc-p": {"units": (2, 5), "K": (1, 3), "C": (1, 4), "Y": (2,), "X": (1, 4)},
    "yr-p": {"units": (2, 3, 5), "K": (1, 4), "C": (3,), "Y": (1, 2), "X": (4,)},
    "yx-p": {"units": (3, 5), "K": (1, 2), "C": (1, 5), "Y": (1,), "X": (1, 3)},
}
AXES = {"pes": (4, 16, 37), "noc_bw": (1, 6), "l1_bytes": (64, 192, 600), "l2_kib": (2, 5, 9)}
LIMITS = {"kc-p": (0.25, 5.2), "yr-p": (0.20, 3.0), "yx-p": (0.20, 3.4)}  # all reasons occur


def setting(style: str, *, area: float = 0.0, power: float = 0.0) -> Setting:
    """The small sweep of a style."""
    limits = LIMITS[style]
    return Setting(
        space=make_space(style, axes=AXES, tiles=TILES[style]),
        layers=LAYERS,
        area_mm2=area or limits[0],
        power_mw=power or limits[1],
        clock_mhz=400.0,
        technology="45nm-lop",
        dram_bw=5,
        noc_latency=2,
    )


# --- the plain sweep ----------------------------------------------------------------


def written(style: str, tile: tuple[int, ...], layer: HonestLayer) -> list[HonestLevel]:
    """The mapping of a tile as docs/dse.md writes it, nothing clipped."""
    units, k, c, y, x = tile
    r, s = layer.R, layer.S
    outer, inner, across, order = {
        "kc-p": ((k, c * units, y, x, r, s), (k, c, y, x, r, s), (0, 1), (0, 1, 4, 5, 2, 3)),
        "yr-p": ((k, c, y, x, r, s), (k, c, y, x, 1, s), (2, 4), (1, 0, 2, 3, 4, 5)),
        "yx-p": ((k, c, y, x * units, r, s), (k, c, y, x, r, s), (2, 3), (0, 2, 3, 1, 4, 5)),
    }[style]
    return [
        HonestLevel(parallel=across[0], order=order, tile=outer),
        HonestLevel(parallel=across[1], order=order, tile=inner, clusters=units),
    ]


def plain_sweep(style: str, setting: Setting) -> dict[int, Any]:
    """Number of each design -> why it is invalid, or (cycles, energy, area, power)."""
    tiles = product(*(TILES[style][name] for name in TILE_AXES))
    found: dict[int, Any] = {}
    points = product(tiles, AXES["pes"], AXES["noc_bw"])
    number = 0
    for tile, pes, bandwidth in points:
        machine = HonestMachine(pes=pes, noc_bw=bandwidth, noc_latency=2, dram_bw=5)
        runs = None
        if pes >= tile[0]:
            runs = [
                (n, evaluate(layer, written(style, tile, layer), machine))
                for layer, n in SHAPES.values()
            ]
        for l1, l2 in product(AXES["l1_bytes"], AXES["l2_kib"]):
            found[number] = (
                plain_design(setting, runs, pes, pes // tile[0], bandwidth, l1, l2 * 1024)
                if runs
                else "clusters"
            )
            number += 1
    return found


def plain_design(
    setting: Setting, runs: Any, pes: int, clusters: int, bandwidth: int, l1: int, l2: int
) -> Any:
    """One design, by the words of docs/dse.md."""
    table = load_technology("45nm-lop")
    pj, um2 = table.energy_pj, table.area_um2
    if l1 < max(run.required[1] for _, run in runs):
        return "l1"
    buffer = max(run.required[0] for _, run in runs)
    own = l2 - clusters * buffer
    if own < max(run.l2_required for _, run in runs):
        return "l2"
    shared = shared_price(table, 1024 * ceil(own / 1024))
    middle, private = shared_price(table, buffer), private_price(table, l1)
    area = shared.area_um2 + clusters * middle.area_um2 + pes * private.area_um2
    area += pes * (um2["multiplier"] + um2["adder"] + 57 * um2["flip_flop"])
    area += (clusters + 1) * 16 * bandwidth * um2["flip_flop"]
    cycles = sum(n * run.cycles for n, run in runs)
    chip = dram = 0.0
    for n, run in runs:
        down, up = [sum(x) for x in run.supplied], run.collected
        into, out = [sum(x) for x in run.taken], run.drained
        dram += n * (down[0] + up[0]) * 64
        chip += n * run.macs * (pj["multiply"] + pj["add"])
        chip += n * (out[0] + down[1]) * shared.read_pj + n * (into[0] + up[1]) * shared.write_pj
        chip += n * (out[1] + down[2]) * middle.read_pj + n * (into[1] + up[2]) * middle.write_pj
        chip += n * (out[2] + 2 * run.macs + run.sums_read) * private.read_pj
        chip += n * (into[2] + run.macs) * private.write_pj
    clocked = 57 * pes + 16 * bandwidth * (clusters + 1)
    chip += cycles * clocked * pj["clock_per_bit"]
    leak = shared.leak_mw + clusters * middle.leak_mw + pes * private.leak_mw
    chip = chip * 1e-3 + leak * cycles / 400.0
    power = chip * 400.0 / cycles
    if area * 1e-6 > setting.area_mm2:
        return "area"
    if power > setting.power_mw:
        return "power"
    return (cycles, chip + dram * 1e-3, area * 1e-6, power)


def plain_front(points: dict[int, tuple[float, ...]]) -> list[int]:
    """Numbers of the designs that none equals or beats; of equal ones the first."""
    kept = []
    for number, point in points.items():
        beaten = any(
            all(a <= b for a, b in zip(other[:3], point[:3], strict=True))
            and (other[:3] != point[:3] or at < number)
            for at, other in points.items()
            if at != number
        )
        if not beaten:
            kept.append(number)
    return kept


def compare(style: str, out: Path) -> None:
    """The sweep equals the plain one: what is valid, why the rest is not, the front."""
    small = setting(style)
    plain = plain_sweep(style, small)
    done = dse_run.run(small, out, threads=1)
    arrays = done.total.arrays
    valid = {n: point for n, point in plain.items() if not isinstance(point, str)}
    pruned = dict(zip(PRUNED, arrays["pruned"], strict=True))
    fate = dict(zip(PRICED, arrays["fate"], strict=True))
    reasons = list(plain.values())
    assert len(plain) == small.space.designs
    assert pruned["no_cluster"] == reasons.count("clusters")
    assert sum(pruned.values()) + sum(fate.values()) == len(plain)
    assert fate["power"] == reasons.count("power")
    assert fate["valid"] == len(valid)
    assert set(arrays["numbers"]) == set(plain_front(valid))
    for row, number in zip(arrays["pool"], arrays["numbers"], strict=True):
        assert row == pytest.approx(valid[int(number)], rel=1e-12)
    assert done.evaluations <= arrays["calls"][1] <= arrays["calls"][0]


@pytest.mark.parametrize("style", STYLES)
def test_equals_the_plain_sweep(style: str, tmp_path: Path) -> None:
    """Valid designs, reasons and front of each style, remainders and strides included."""
    compare(style, tmp_path)
    reasons = [why for why in plain_sweep(style, setting(style)).values() if isinstance(why, str)]
    assert {"l1", "l2", "area", "power", "clusters"} <= set(reasons)


def _prune_more(rule: str) -> Any:
    """A pruning that also drops what the rule does not prove."""
    real = dse_part.prune

    def broken(small: Setting, need: Any, buffer: Any) -> Any:
        if rule == "l1":
            need = replace(need, l1=need.l1 * 4)
        if rule == "l2":
            need = replace(need, l2=need.l2 + 3000)
        if rule == "area":
            small = replace(small, area_mm2=small.area_mm2 * 0.6)
        return real(small, need, buffer)

    return broken


def _drop_clusters(space: Any, tile: Any, layer: Any) -> Any:
    """Least forms that take one unit too few for the clusters."""
    rows = dse_evaluate.mapping_rows(space.style.mapping(tile, layer))
    rows[1][0] = max(1, rows[1][0] - 1)
    return rows


@pytest.mark.parametrize(
    ("module", "name", "broken"),
    [
        (dse_part, "prune", _prune_more("l1")),
        (dse_part, "prune", _prune_more("l2")),
        (dse_part, "prune", _prune_more("area")),
        (dse_evaluate, "_least", _drop_clusters),
        (dse_part, "front", lambda pool, numbers: (pool[:-1], numbers[:-1])),
        (dse_part, "evaluate", lambda *a, **k: dse_evaluate.evaluate(*a, **{**k, "dram_bw": 6})),
    ],
    ids=["prune l1", "prune l2", "prune area", "idle units", "front", "bandwidth"],
)
def test_a_broken_rule_is_noticed(
    module: Any, name: str, broken: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison fails where a rule prunes or covers what it must not."""
    monkeypatch.setattr(module, name, broken)
    with pytest.raises(AssertionError):
        compare("kc-p", tmp_path)


def test_distinct_evaluations_are_counted_once(tmp_path: Path) -> None:
    """Evaluations under loose limits: the set of clipped mappings, PEs that work, bandwidths."""
    loose = setting("kc-p", area=100, power=1e6)
    loose = replace(loose, space=replace(loose.space, l1_bytes=(4000,), l2_kib=(500,)))
    done = dse_run.run(loose, tmp_path, threads=2)
    seen = set()
    for units, k, c, y, x in product(*(TILES["kc-p"][name] for name in TILE_AXES)):
        for pes in AXES["pes"]:
            if pes < units:
                continue
            for name, (layer, _) in SHAPES.items():
                tile = (min(k, layer.K), min(c, layer.C), min(y, layer.Y), min(x, layer.X))
                outer = min(c * units, layer.C)
                working = min(units, ceil(outer / tile[1]))
                split, size = (layer.C, outer) if layer.depthwise else (layer.K, tile[0])
                clusters = min(pes // units, ceil(split / size))
                seen.add((name, *tile, outer, working, clusters))
    assert done.evaluations == len(seen) * len(AXES["noc_bw"])
    assert sum(done.total.arrays["pruned"][1:]) == 0


# --- parts --------------------------------------------------------------------------


def test_the_front_of_random_points() -> None:
    """Against all pairs; coordinates of few values, so that many are equal."""
    rng = np.random.default_rng(5)
    for size in (1, 7, 60, 300):
        pool = rng.integers(1, 9, (size, 4)).astype(float)
        numbers = rng.permutation(size)
        order = np.argsort(numbers)
        points = {int(numbers[i]): tuple(map(float, pool[i])) for i in order}
        kept = front(pool, numbers)[1]
        assert sorted(map(int, kept)) == plain_front(points)


def test_the_best_designs_are_the_best_of_all(tmp_path: Path) -> None:
    """Throughput, energy and EDP: against the least over all valid designs."""
    style = "yr-p"
    valid = [x for x in plain_sweep(style, setting(style)).values() if not isinstance(x, str)]
    pool = dse_run.run(setting(style), tmp_path, threads=1).total.arrays["pool"]
    assert pool[best(pool, "throughput"), 0] == min(x[0] for x in valid)
    assert pool[best(pool, "energy"), 1] == pytest.approx(min(x[1] for x in valid), rel=1e-12)
    row = pool[best(pool, "edp")]
    assert row[0] * row[1] == pytest.approx(min(x[0] * x[1] for x in valid), rel=1e-12)


def test_counts_are_priced_as_the_honest_model_prices_them() -> None:
    """Where memories are built as large as they are used, parts equal `honest_energy`."""
    layers = LayerSet("one", LAYERS.layers[:1])
    tile = (2, 3, 4, 2, 4)
    layer = SHAPES["a"][0]
    levels = written("kc-p", tile, layer)
    pes = 2 * 4  # four clusters: K = 10 in tiles of 3
    row = [pes, 0, 0, 6, 2, 5]
    rows = (np.array([layer_row(layer)]), np.array([row]), np.array([mapping_rows(levels)]))
    batch = evaluate_batch(*rows)
    expected = energy(batch, 2, technology="45nm-lop", clock_mhz=400.0)
    need = evaluate(layer, levels, HonestMachine(pes=pes)).required[1]
    space = make_space(
        "kc-p",
        axes={"pes": (pes,), "noc_bw": (6,), "l1_bytes": (need,), "l2_kib": (64,)},
        tiles={name: (size,) for name, size in zip(TILE_AXES, tile, strict=True)},
    )
    found = dse_design.sheet(replace(setting("kc-p"), space=space, layers=layers), 0)
    assert isinstance(found, dse_design.Sheet)
    parts = found.energy_nj
    assert found.cycles == 2 * batch.cycles[0]
    for name, value in (
        ("dram", expected.dram),
        ("mac", expected.mac),
        ("cluster_buffers", expected.buffers),
        ("pe_buffers", expected.pe),
    ):
        assert parts[name] == pytest.approx(2 * value[0], rel=1e-12)


def test_designs_by_themselves_equal_the_sweep(tmp_path: Path) -> None:
    """`check` agrees on all of the front, and fails for a figure that is not the design's."""
    small = setting("yx-p")
    arrays = dse_run.run(small, tmp_path, threads=1).total.arrays
    pool, numbers = arrays["pool"], arrays["numbers"]
    assert dse_design.check(small, pool, numbers, 10**6, 0) == len(numbers) > 3
    for column in range(4):
        wrong = pool.copy()
        wrong[:, column] *= 1.001
        with pytest.raises(CheckFailed):
            dse_design.check(small, wrong, numbers, 3, 0)


# --- stopped and resumed ------------------------------------------------------------


def results(done: dse_run.Done) -> dict[str, bytes]:
    """All results of a sweep but how they were run."""
    same = {name: a for name, a in done.total.arrays.items() if name != "calls"}
    return {name: np.asarray(a).tobytes() for name, a in same.items()}


def test_a_stopped_sweep_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after two parts, the next run makes the others and ends with the same result."""
    monkeypatch.setattr(dse_run, "PART_TILES", 4)
    small = setting("kc-p")
    whole = dse_run.run(small, tmp_path / "whole", threads=1)
    assert whole.parts > 3
    made: list[slice] = []
    real = dse_run.sweep_part

    def stops(what: Setting, tiles: slice) -> Any:
        made.append(tiles)
        if len(made) == 3:
            raise KeyboardInterrupt
        return real(what, tiles)

    monkeypatch.setattr(dse_run, "sweep_part", stops)
    with pytest.raises(KeyboardInterrupt):
        dse_run.run(small, tmp_path / "cut", threads=1)
    again = dse_run.run(small, tmp_path / "cut", threads=1)
    assert again.resumed in (2, 3)  # the part after the one that stopped may have begun
    begun = 3 + again.resumed - 2
    assert len(made) == begun + whole.parts - again.resumed
    assert results(again) == results(whole)
    assert again.evaluations == whole.evaluations


@pytest.mark.parametrize("harm", ["cut short", "altered", "no hash", "other setting"])
def test_a_damaged_part_is_made_again(
    harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that is not what was written is never read."""
    monkeypatch.setattr(dse_run, "PART_TILES", 4)
    small = setting("kc-p")
    whole = dse_run.run(small, tmp_path, threads=1)
    path = sorted((tmp_path / "parts").glob("*.npz"))[1]
    data = bytearray(path.read_bytes())
    if harm == "cut short":
        path.write_bytes(data[: len(data) // 2])
    elif harm == "altered":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif harm == "no hash":
        path.with_suffix(".json").unlink()
    else:
        small = replace(small, power_mw=small.power_mw * 1.01)
    again = dse_run.run(small, tmp_path, threads=1)
    assert again.parts - again.resumed == (whole.parts if harm == "other setting" else 1)
    if harm != "other setting":
        assert results(again) == results(whole)


# --- the command --------------------------------------------------------------------


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files, JSON and counts of a quick sweep of one layer."""
    words = ["dse", "--space", "quick", "--layers", "features_24", "--out", str(tmp_path)]
    words += ["--pes", "64-256/64", "--tile", "K=1,8", "--objective", "edp", "--json"]
    assert cli.main(words) == 0
    about = json.loads(capsys.readouterr().out)
    assert about == json.loads((tmp_path / "summary.json").read_text())
    assert about["setting"]["axes"]["pes"] == [64, 128, 192, 256]
    parts = {**about["pruned_invalid_before_evaluation"], **about["priced_in_closed_form"]}
    assert sum(parts.values()) == about["designs"]
    assert list(about["optima"]) == ["edp", "throughput", "energy"]
    table = pq.read_table(tmp_path / "front.parquet").to_pydict()
    assert len(table["design"]) == about["front"] == about["front_designs_checked_one_by_one"]
    assert min(table["edp_cycles_nj"]) == pytest.approx(about["optima"]["edp"]["edp_cycles_nj"])
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "http" not in page
    assert "<script" not in page
    for picture in ("throughput-area", "throughput-power", "energy-throughput"):
        assert (tmp_path / f"{picture}.png").read_bytes().startswith(b"\x89PNG")


def test_no_valid_design_is_a_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Limits that nothing keeps: exit code 0, an empty front, no pictures."""
    words = ["dse", "--space", "quick", "--layers", "features_24", "--area-mm2", "0.001"]
    assert cli.main([*words, "--out", str(tmp_path)]) == 0
    assert "no design is valid" in capsys.readouterr().out
    assert pq.read_table(tmp_path / "front.parquet").num_rows == 0
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--style", "nvdla"], "kc-p"),
        (["--layerset", "vgg17"], "vgg16"),
        (["--layers", "conv99"], "features_0"),
        (["--layers", ""], "features_0"),
        (["--area-mm2", "-1"], "above 0"),
        (["--area-mm2", "nan"], "above 0"),
        (["--power-mw", "lots"], "above 0"),
        (["--clock-mhz", "0"], "above 0"),
        (["--technology", "7nm"], "45nm-lop"),
        (["--technology", "maestro"], "45nm-lop"),
        (["--pes", "0"], "at least 1"),
        (["--pes", "16-8"], "at least 1"),
        (["--pes", "8-16/0"], "at least 1"),
        (["--pes", "70000"], "65536"),
        (["--l1", "64,,128"], "at least 1"),
        (["--l2-kib", "999999999"], "65536"),
        (["--noc-bw", "1-999999999"], "at most"),
        (["--tile", "K"], "NAME=LIST"),
        (["--tile", "Q=1"], "units, K, C, Y, X"),
        (["--tile", "K=x"], "at least 1"),
        (["--threads", "0"], "1 to 64"),
        (["--seed", "-3"], "at least 0"),
        (["--dram-bw", "1.5"], "at least 0"),
        (["--objective", "speed"], "throughput"),
    ],
    ids=" ".join,
)
def test_wrong_input(
    words: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and a message that says what is accepted."""
    assert cli.main(["dse", "--space", "quick", "--out", str(tmp_path), *words]) == 2
    captured = capsys.readouterr()
    assert named in captured.err
    assert not captured.out


def test_layers_that_the_model_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dilated convolution is named, and how to leave it out."""
    path = tmp_path / "net.csv"
    path.write_text("name,operator,K,C,Y,X,R,S,dilation\none,conv,4,4,8,8,3,3,2\n")
    assert (
        cli.main(["dse", "--space", "quick", "--layerset", str(path), "--out", str(tmp_path)]) == 2
    )
    error = capsys.readouterr().err
    assert "'one'" in error
    assert "--layers" in error


def test_out_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that cannot be made: exit code 2."""
    path = tmp_path / "file"
    path.write_text("")
    assert cli.main(["dse", "--space", "quick", "--out", str(path)]) == 2
    assert "--out" in capsys.readouterr().err


def test_summary_counts_every_design_once(tmp_path: Path) -> None:
    """Lost designs are an error, not a smaller number."""
    small = setting("kc-p")
    done = dse_run.run(small, tmp_path, threads=1)
    assert summary(small, done, "energy", 0)["designs"] == small.space.designs
    done.total.arrays["fate"][0] -= 1
    with pytest.raises(RuntimeError):
        summary(small, done, "energy", 0)
