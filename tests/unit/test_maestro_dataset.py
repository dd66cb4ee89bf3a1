"""The benchmark data set: rows against the interpreter, legality, resuming, damage, splits."""

from __future__ import annotations

import importlib.util
import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dcp_hw.cli import main
from dcp_hw.errors import InputError
from dcp_hw.layerset_csv import load_layerset
from dcp_hw.maestro import dataset_plan as plans
from dcp_hw.maestro.dataflow import Dim, loop_sizes
from dcp_hw.maestro.dataset import Rows, load
from dcp_hw.maestro.dataset_make import Made, make
from dcp_hw.maestro.dataset_recipes import fitted_recipes, loose_recipes, uniform_recipes
from dcp_hw.maestro.dataset_rows import (
    DATAFLOW,
    ENERGY,
    HARDWARE,
    LAYER,
    codes,
    layers_of,
    mappings_of,
    part_bytes,
)
from dcp_hw.maestro.encoding import decode, layer_code
from dcp_hw.maestro.honest_energy import honest_layers
from dcp_hw.maestro.honest_fast import layer_row
from dcp_hw.maestro.honest_interpreter import interpret
from dcp_hw.maestro.honest_types import HonestCounts, HonestLayer, HonestLevel, HonestMachine
from dcp_hw.metrics import Infeasible
from dcp_hw.technology import load_technology
from dcp_hw.workload import Layer, Operator

SIZE = {"layers": 30, "dataflows": 40, "seed": 3}
NEEDED = ("l2_required", "level0_required", "level1_required", "pe_required", "shared_required")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A small data set, made in one go."""
    return make(tmp_path_factory.mktemp("dataset") / "whole", threads=1, **SIZE)


@pytest.fixture(scope="module")
def rows(made: Made) -> Rows:
    """All its rows."""
    names = ("layer_id", "dataflow_id", "reason", "latency_cycles", "energy_nj", "bound_cycles")
    return load(made.path, feasible=False, columns=(*names, "bound_energy_nj", *NEEDED))


def content(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- layers ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mobilenetv2", "resnet50", "resnet101", "vgg16", "vit_b16"])
def test_the_shipped_layer_sets_are_among_the_layers(name: str) -> None:
    """They come from module hooks, the data set's from what torch dispatches."""

    def alone(layer: Layer) -> HonestLayer:
        shape = honest_layers(layer)
        assert not isinstance(shape, Infeasible)
        return shape[0]

    known = {alone(layer) for layer in plans.all_layers()}
    assert {alone(layer) for layer in load_layerset(name)} <= known


def test_codes_state_every_layer() -> None:
    layers = plans.all_layers()
    found = layers_of(np.array([plans.coded(layer) for layer in layers]))
    for layer, row in zip(layers, found.tolist(), strict=True):
        shape = honest_layers(layer)
        assert not isinstance(shape, Infeasible)
        assert row == layer_row(shape[0]), layer
    assert len({tuple(row) for row in found.tolist()}) == len(layers) >= 2000


# --- rows -----------------------------------------------------------------------------

TINY = (
    Layer(name="a", operator=Operator.CONV, K=3, C=2, Y=4, X=5, R=3, S=3, padding=1),
    Layer(name="b", operator=Operator.CONV, K=2, C=3, Y=3, X=3, R=3, S=2, stride=2),
    Layer(name="c", operator=Operator.DWCONV, K=6, C=6, Y=4, X=4, R=3, S=3, padding=1, groups=6),
    Layer(name="d", operator=Operator.GEMM, M=5, N=7, K=6),
    Layer(name="e", operator=Operator.GEMM, M=1, N=11, K=13),
    Layer(name="f", operator=Operator.CONV, K=5, C=4, Y=3, X=2, R=1, S=1, stride=2),
)


def tiny_plan() -> plans.Plan:
    """Tiny layers on machines whose limits matter to them."""
    rng, n = np.random.default_rng(5), 24
    machines = [
        [rng.integers(2, 40), rng.integers(16, 90), rng.integers(150, 900), *rng.integers(0, 6, 3)]
        for _ in range(len(plans.ANCHORS) + 8)
    ]
    recipes = uniform_recipes(rng, 8).join(loose_recipes(rng, 8)).join(fitted_recipes(rng, 8))
    ground = plans.Ground(
        seed=1,
        layers=TINY,
        layer_split=np.zeros(len(TINY), dtype=np.int64),
        machines=np.array(machines, dtype=np.int64),
        dataflows=n,
    )
    zeros = np.zeros(n, dtype=np.int64)
    return plans.Plan(ground=ground, recipes=recipes, kind=zeros, split=zeros)


def test_rows_equal_the_interpreter() -> None:
    """Layer, dataflow and machine are built from a row's columns alone."""
    plan = tiny_plan()
    reasons = []
    for part in range(len(TINY)):
        for row in pq.read_table(io.BytesIO(part_bytes(plan, part))).to_pylist():
            expected = _interpreted(row)
            reasons.append(row["reason"])
            if isinstance(expected, Infeasible):
                assert row["latency_cycles"] is None
                assert row["energy_nj"] is None
                assert ("PE buffer" in expected.reason) == (row["reason"] == 2), row
                continue
            assert row["reason"] == 0, row
            assert row["latency_cycles"] == expected.cycles, row
            needed = (expected.l2_required, *expected.required, expected.shared_required)
            assert tuple(row[name] for name in NEEDED) == needed
            assert row["macs"] == expected.macs
            _check_energy(row, expected)
    assert min(np.bincount(reasons, minlength=4)[[0, 2, 3]]) >= 3  # each outcome was compared


def _interpreted(row: dict[str, int]) -> HonestCounts | Infeasible:
    """What the interpreter says of a row."""
    layer = layer_code([row[name] for name in LAYER[:7]]).to_maestro("row", stride=row["stride"])
    sizes = {dim.name: size for dim, size in loop_sizes(layer).items()}
    kind, padding = row["T"], row["padding"]
    shape = HonestLayer(
        **sizes,
        stride=row["stride"],
        padding=padding,
        depthwise=kind == 2,
        rows=row["Y"] - 2 * padding if kind != 3 else None,
        columns=row["X"] - 2 * padding if kind != 3 else None,
    )
    dataflow = decode(np.array([row[name] for name in DATAFLOW]).reshape(3, 7, 2))
    levels = tuple(
        HonestLevel(
            parallel=level.parallel,
            order=level.order,
            tile=tuple(level.sizes[dim] for dim in Dim),
            clusters=level.units,
        )
        for level in dataflow.levels
    )
    pes, l1, l2, noc, latency, dram = (row[name] for name in HARDWARE)
    machine = HonestMachine(
        pes=pes, l1_size=l1, l2_size=l2, noc_bw=noc or None, noc_latency=latency,
        dram_bw=dram or None,
    )  # fmt: skip
    return interpret(shape, levels, machine)


def _check_energy(row: dict[str, float], counts: HonestCounts) -> None:
    """Parts that follow from counts and prices alone; the sum; power at 500 MHz."""
    prices = load_technology("45nm-lop").energy_pj
    mac = counts.macs * (prices["multiply"] + prices["add"]) / 1000
    dram = (sum(counts.supplied[0]) + counts.collected[0]) * 8 * prices["bus_per_bit"] / 1000
    assert row["energy_mac_nj"] == pytest.approx(mac, rel=1e-6)
    assert row["energy_dram_nj"] == pytest.approx(dram, rel=1e-6)
    assert row["energy_nj"] == pytest.approx(sum(row[name] for name in ENERGY), rel=1e-6)
    power = row["energy_nj"] / (row["latency_cycles"] * 2)  # nJ per 2 ns: W
    assert row["power_mw"] == pytest.approx(1000 * power, rel=1e-6)


def test_dataflows_are_legal(rows: Rows) -> None:
    """Tiles within their parents', no more units than PEs; with whole filters also for MAESTRO."""
    whole = 0
    for code, dataflow, hardware in zip(rows.layer, rows.dataflow, rows.hardware, strict=True):
        layer = layer_code(code[:7]).to_maestro("row", stride=int(code[7]))
        levels = decode(dataflow).levels
        above = loop_sizes(layer)
        is_whole = True
        for level in levels:
            assert all(1 <= level.sizes[dim] <= above[dim] for dim in Dim), (code, dataflow)
            is_whole &= all(level.sizes[dim] == above[dim] for dim in (Dim.R, Dim.S))
            above = level.sizes
        assert np.prod([level.units for level in levels]) <= hardware[0]
        if is_whole:
            whole += 1
            assert decode(dataflow).why_illegal(layer, int(hardware[0])) is None
    assert 0.8 * len(rows) < whole < len(rows)


def test_codes_and_mappings_are_inverses() -> None:
    rng = np.random.default_rng(0)
    mappings = rng.integers(1, 99, (50, 3, 14))
    mappings[:, :, 2:8] = rng.permuted(np.tile(np.arange(6), (50, 3, 1)), axis=2)
    assert np.array_equal(mappings_of(codes(mappings)), mappings)


def test_fitted_recipes_fit_and_come_near_the_bound(made: Made) -> None:
    """What uniform sampling misses."""
    ratio, share = {}, {}
    for kind in plans.KINDS:
        everything = load(made.path, kinds=[kind], feasible=False)
        some = load(made.path, kinds=[kind])
        share[kind] = len(some) / len(everything)
        ratio[kind] = np.median(some["latency_cycles"] / some["bound_cycles"])
    assert min(share[kind] for kind in ("loose", "fitted", "elite")) > 0.97
    assert share["uniform"] < 0.5
    assert ratio["elite"] < ratio["fitted"] < ratio["loose"]
    assert ratio["elite"] < 2.5


def test_no_row_beats_a_bound(rows: Rows) -> None:
    done = rows["reason"] == 0
    assert (rows["latency_cycles"][done] >= rows["bound_cycles"][done]).all()
    assert (rows["energy_nj"][done] >= rows["bound_energy_nj"][done]).all()
    assert (rows["latency_cycles"][~done] == 0).all()
    assert np.isnan(rows["energy_nj"][~done]).all()


# --- folders --------------------------------------------------------------------------


def test_threads_do_not_matter(made: Made, tmp_path: Path) -> None:
    make(tmp_path / "again", threads=3, **SIZE)
    assert content(tmp_path / "again") == content(made.path)


_KILLED = """
import os, signal, sys
from pathlib import Path
sys.modules["torch"] = None  # not needed
from dcp_hw.maestro import dataset
from dcp_hw.maestro.dataset_make import make
left = int(sys.argv[2])
plain = Path.replace
def replace(self, target):
    global left
    left -= 1
    if left == 0:
        os.truncate(self, os.path.getsize(self) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(self, target)
Path.replace = replace
make(Path(sys.argv[1]), layers=30, dataflows=40, seed=3, threads=2)
"""


def test_killed_three_times_it_ends_with_the_same_bytes(made: Made, tmp_path: Path) -> None:
    """Killed in the middle of writing: the journal, a table, a part."""
    folder = tmp_path / "killed"
    for files in (3, 1, 6):
        command = [sys.executable, "-c", _KILLED, str(folder), str(files)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not (folder / "manifest.json").exists()
    again = make(folder, threads=1, **SIZE)
    assert again.kept > 0
    assert again.made > 0
    assert content(folder) == content(made.path)


def test_damage_is_found_and_mended(made: Made, tmp_path: Path) -> None:
    folder, before = tmp_path / "damaged", content(made.path)
    folder.mkdir()
    for name, data in before.items():
        (folder / name).write_bytes(data)
    flipped = bytearray(before["part-00001.parquet"])
    flipped[len(flipped) // 2] ^= 1
    (folder / "part-00001.parquet").write_bytes(flipped)
    (folder / "part-00002.parquet").write_bytes(before["part-00002.parquet"][:-20])
    (folder / "part-00003.parquet").unlink()
    assert make(folder, threads=1, **SIZE).made == 3
    assert content(folder) == before
    (folder / "dataflows.parquet").write_bytes(b"")
    assert make(folder, threads=1, **SIZE).made == 0
    assert content(folder) == before


def test_other_bytes_than_the_manifest_states_are_refused(made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "forged"
    folder.mkdir()
    for name, data in content(made.path).items():
        (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["part-00000.parquet"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"part-00000.*other bytes"):
        make(folder, threads=1, **SIZE)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--layers", "3"], "holds a data set of layers 30 (asked: 3)"),
        (["--seed", "4"], "seed 3 (asked: 4)"),
        (["--seed", "-1"], "accepted: 0 and up"),
        (["--layers", "999999"], "accepted: 1 to"),
        (["--layers", "0"], "accepted: a whole number from 1"),
        (["--dataflows", "99999"], "accepted: 1 to 32767"),
        (["--space", "moon"], "invalid choice"),
    ],
)
def test_wrong_requests_are_refused(
    made: Made, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    sizes = ["--layers", "30", "--dataflows", "40", "--seed", "3"]
    assert main(["dataset", "--out", str(made.path), *sizes, *words]) == 2
    assert said in capsys.readouterr().err


def test_folders_of_others_are_left_alone(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert main(["dataset", "--layers", "2", "--dataflows", "2", "--out", str(tmp_path)]) == 2
    assert "accepted: an empty or a new folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(InputError, match="no finished data set"):
        load(tmp_path)
    with pytest.raises(InputError, match="have train, validation, test"):
        load(made.path, layers="tests")
    with pytest.raises(InputError, match="column cost not found"):
        load(made.path, columns=["cost"])


def test_command_says_what_it_did(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--layers", "30", "--dataflows", "40", "--seed", "3"]
    assert main(["dataset", "--out", str(made.path), *sizes, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["rows"] == 1200
    assert (said["made"], said["kept"]) == (0, 8)
    assert said["feasible"] == len(load(made.path))


# --- splits ---------------------------------------------------------------------------


def test_splits_hold_apart_layers_and_dataflows(made: Made, rows: Rows) -> None:
    columns = ("layer_id", "dataflow_id")
    seen: dict[str, list[set[int]]] = {name: [] for name in columns}
    total = 0
    for layers in plans.SPLITS:
        for dataflows in plans.SPLITS:
            some = load(
                made.path, layers=layers, dataflows=dataflows, feasible=False, columns=columns
            )
            total += len(some)
            if layers == dataflows:
                for name in columns:
                    seen[name].append(set(some[name].tolist()))
    assert total == len(rows) == 1200
    for name, count in (("layer_id", 30), ("dataflow_id", 40)):
        train, validation, test = seen[name]
        assert len(train) == round(0.7 * count)
        assert len(test) == round(0.2 * count)
        assert not train & validation
        assert not (train | validation) & test
        assert len(train | validation | test) == count


def test_machines_can_be_chosen(made: Made, rows: Rows) -> None:
    some = load(made.path, machines=[1], feasible=False)
    limits = (168, 128, 27_000, 16, 1, 16)  # the tight machine of docs/dataset.md
    assert (some.hardware == limits).all()
    assert 0 < len(some) == (rows.hardware == limits).all(axis=1).sum()


def test_columns_follow_the_code(made: Made, rows: Rows) -> None:
    """The reader's arrays are the file's columns in the order of the code."""
    table = pq.read_table(made.path / "part-00000.parquet")
    n = table.num_rows
    assert table["level1_loop2_size"].to_pylist() == rows.dataflow[:n, 1, 3, 1].tolist()
    assert table["level2_parallel_dim"].to_pylist() == rows.dataflow[:n, 2, 0, 0].tolist()
    assert table["stride"].to_pylist() == rows.layer[:n, 7].tolist()
    assert table["dram_bw"].to_pylist() == rows.hardware[:n, 5].tolist()


# --- Ray ------------------------------------------------------------------------------


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="needs ray, an optional extra (pip install 'dcp-hw[ray]')",
)
def test_a_ray_cluster_makes_the_same_rows(made: Made, tmp_path: Path) -> None:
    sizes = ["--layers", "30", "--dataflows", "40", "--seed", "3"]
    assert main(["dataset", "--out", str(tmp_path / "ray"), *sizes, "--ray", "local"]) == 0
    assert content(tmp_path / "ray") == content(made.path)


def test_without_ray_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["dataset", "--out", str(tmp_path / "x"), "--ray", "local"]) == 3
    assert "pip install 'dcp-hw[ray]'" in capsys.readouterr().err
