"""Learning from measurements: the store, prices of toggles, the fit, the loop."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dcp_hw import observations, observations_collect, physical, store, switching
from dcp_hw.cli import main
from dcp_hw.errors import InputError
from dcp_hw.finetune_model import SCALES, Fit, fit, predict
from dcp_hw.hardware import Hardware
from dcp_hw.store import Record, Store, StoreError
from sim.dram import Dram, sent_addresses, stream_addresses
from sim.layer_data import TYPICAL, make_data
from sim.toggles import GROUPS
from tensorlib.families import family
from tensorlib.program import End, Load
from tensorlib.program import Store as StoreCommand

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("mac", "registers", "adders", "input_sram", "weight_sram", "output_sram")
PARTS += ("requantise", "bus_in", "bus_out", "leakage")


def record(n: int = 0, **changes: Any) -> Record:
    """A record of nothing that was ever measured."""
    rng = np.random.default_rng(n)
    shares = rng.dirichlet(np.ones(len(PARTS)))
    features = {f"share_{part}": float(s) for part, s in zip(PARTS, shares, strict=True)}
    causes = rng.dirichlet(np.ones(5))
    names = ("compute", "fill_drain", "config", "wait_load", "wait_store")
    features |= {f"cause_{c}": float(s) for c, s in zip(names, causes, strict=True)}
    for name in ("bus_in", "bus_out", "product_activity", "busy", "input_changes"):
        features[name] = float(rng.random())
    for name in ("weight_changes", "stream_input", "stream_weight"):
        features[name] = float(rng.random())
    for name in ("input_fill", "weight_fill", "output_fill"):
        features[name] = float(rng.random())
    features |= {"in_bursts": float(rng.random() / 20), "out_bursts": float(rng.random() / 20)}
    features |= {"in_bits": 7.0, "out_bits": 7.0}
    values: dict[str, Any] = {
        "key": f"key{n}",
        "kind": "probed",
        "layer": f"layer{n % 9}",
        "operator": "conv",
        "profile": TYPICAL[n % 4],
        "seed": 0,
        "memory": "dram",
        "design": f"design{n // 9}",
        "design_hash": f"hash{n // 9}",
        "program_hash": "p",
        "verilog_hash": "v",
        "predicted_cycles": 1000,
        "cycles": 1100,
        "energy_nj": 50.0,
        "energy_spread_nj": 1.0,
        "layer_code": {"K": n % 9},
        "design_code": {},
        "hardware": {"technology": "45nm-lop"},
        "versions": {},
        "predicted": {"compute": 1000},
        "counters": {"compute": 1000},
        "toggles": {"product": 3},
        "table_nj": {part: 40.0 * float(s) for part, s in zip(PARTS, shares, strict=True)},
        "parts_nj": {"mac": 50.0},
        "features": features,
    }
    return Record(**(values | changes))


# --- store --------------------------------------------------------------------------


def test_store_gives_back_what_was_added_once(tmp_path: Path) -> None:
    place = tmp_path / "store"
    first, second = [record(n) for n in range(3)], [record(n) for n in range(2, 5)]
    assert Store(place).append(first) == 3
    assert Store(place).append(second) == 2  # key2 is there
    assert Store(place).append(second) == 0
    again = Store(place)
    assert again.read() == [record(n, made_at=r.made_at) for n, r in enumerate(again.read())]
    assert [r.key for r in again.read()] == [f"key{n}" for n in range(5)]
    assert len(list(place.iterdir())) == 2


def test_reading_a_store_does_not_abort_the_process(tmp_path: Path) -> None:
    """Arrow's threads must not outlive the read; with a Python file they did in three of ten."""
    Store(tmp_path).append([record(n) for n in range(3)])
    read = (
        "from pathlib import Path; from dcp_hw.store import Store; "
        f"assert len(Store(Path({str(tmp_path)!r})).read()) == 3"
    )
    ends = [subprocess.run([sys.executable, "-c", read], cwd=ROOT).returncode for _ in range(8)]
    assert ends == [0] * 8


def test_store_keeps_kinds_apart(tmp_path: Path) -> None:
    both = Store(tmp_path)
    both.append([record(0), record(1, kind="plain")])
    assert [r.key for r in both.read("plain")] == ["key1"]


def test_a_part_half_written_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(_descriptor: int) -> None:
        raise KeyboardInterrupt

    Store(tmp_path).append([record(0)])
    monkeypatch.setattr(store.os, "fsync", cut)
    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).append([record(1)])
    monkeypatch.undo()
    assert Store(tmp_path).keys() == {"key0"}
    assert Store(tmp_path).append([record(1)]) == 1


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_part_is_named(tmp_path: Path, damage: str) -> None:
    Store(tmp_path).append([record(n) for n in range(4)])
    (path,) = tmp_path.glob("part-*.parquet")
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    path.write_bytes(b"" if damage == "empty" else data[:-7] if damage == "cut" else data)
    with pytest.raises(StoreError, match=rf"{path.name} is damaged"):
        Store(tmp_path).read()


def test_foreign_and_missing_stores(tmp_path: Path) -> None:
    import hashlib

    import pyarrow as pa
    import pyarrow.parquet as parquet

    with pytest.raises(StoreError, match="no measurements; make some"):
        Store(tmp_path / "none").read()
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(StoreError, match="is a file"):
        Store(file).read()
    for data in (b"not parquet", None):
        path = tmp_path / "part-0-0.parquet"
        if data is None:
            parquet.write_table(pa.table({"a": [1]}), path)
        else:
            path.write_bytes(data)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
        path.rename(tmp_path / f"part-0-{digest}.parquet")
        with pytest.raises(StoreError, match="not a part of"):
            Store(tmp_path).read()
        (tmp_path / f"part-0-{digest}.parquet").unlink()


@pytest.mark.parametrize(
    "changes",
    [
        {"energy_nj": float("nan")},
        {"energy_nj": float("inf")},
        {"cycles": 0},
        {"parts_nj": {"mac": float("nan")}},
        {"features": {"busy": float("nan")}},
    ],
)
def test_numbers_that_no_run_has_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match=r"accepted: finite"):
        record(0, **changes)


# --- energy of toggles --------------------------------------------------------------


def test_energy_of_toggles_by_hand() -> None:
    design, hardware = family("weight_stationary", 4, 4, depth=64, words=64), Hardware()
    counters = dict.fromkeys(physical.COUNTED, 0) | {"bus_in_beat": 100, "input_read": 10}
    toggled = dict.fromkeys(GROUPS, 0) | {"partial_product": 1000, "product": 500, "bus_in": 3000}
    toggled |= {"link_input": 70, "hold": 30, "input_read": 40}
    found = switching.energy(design, hardware, counters, 200, toggled)
    k = 0.3 / 61.6
    mac = 1000 * 14.26 * k / 4 * 2 / 3
    adders = 500 * 14.26 * k * 4 / 3 / 8
    clock = physical.flip_flops(design) * 200 * 0.0014867
    registers = clock + (100 + 500) * 0.47 * k  # products lie in registers too
    bus = 100 * 128 * 8 * 0.72 + 3000 * 8 * 0.28 * 2
    assert found.parts["mac"] * 1e3 == pytest.approx(mac, rel=1e-3)
    assert found.parts["adders"] * 1e3 == pytest.approx(adders, rel=1e-3)
    assert found.parts["registers"] * 1e3 == pytest.approx(registers, rel=1e-3)
    assert found.parts["bus_in"] * 1e3 == pytest.approx(bus, rel=1e-3)
    table = physical.energy(design, hardware, counters, 200)
    read = (found.parts["input_sram"] - table.input_sram) * 1e3
    assert read == pytest.approx(40 * 0.47 * k, rel=1e-3)
    assert found.parts["leakage"] == table.leakage
    assert 0 < found.spread_nj < found.total_nj


def test_prices_say_what_is_wrong(tmp_path: Path) -> None:
    broken = tmp_path / "t.yaml"
    with pytest.raises(InputError, match="cannot be read"):
        switching.prices(broken)
    broken.write_text("scale: {value: 1}\n")
    with pytest.raises(InputError, match="wanted are scale"):
        switching.prices(broken)
    text = (switching.DATA / "switching_45nm.yaml").read_text().replace("14.26", ".nan")
    broken.with_name("u.yaml").write_text(text)
    with pytest.raises(InputError, match="finite"):
        switching.prices(broken.with_name("u.yaml"))


def test_data_profiles() -> None:
    layer = observations_collect._layer(random.Random(1), 0)
    zeros = {p: float(np.mean(make_data(layer, 0, p).x == 0)) for p in TYPICAL}
    assert zeros["uniform"] < 0.05
    assert zeros["realistic"] == pytest.approx(0.5, abs=0.06)
    assert zeros["sparse"] == pytest.approx(0.8, abs=0.06)
    smooth = make_data(layer, 0, "smooth").x.astype(float)
    steps = np.abs(np.diff(smooth, axis=-1)).mean() / smooth.std()
    assert steps < 0.5


# --- memory -------------------------------------------------------------------------


def test_waits_of_a_memory_by_hand() -> None:
    dram = Dram(clock_mhz=1000, activate_ns=10, precharge_ns=5, cycle_ns=40, spacing_ns=4,
                page_bytes=64, banks=2)  # fmt: skip
    # four words of page 0, then of page 1 (the other bank), a word of page 2 (bank 0 again)
    at = np.array([0, 16, 32, 48, 64, 80, 128], dtype=np.int64)
    # 0: activation at 0, words 10..14. 64: looked ahead from 10, 20 > 14: waits 6, words 20..22.
    # 128: bank 0 free at max(0 + 40, 14 + 5) = 40, ready at 50: waits 28.
    assert dram.waits(at).tolist() == [10, 0, 0, 0, 6, 0, 28]
    # two beats a word: words 10..18, 20..24, then from 50: waits 26
    assert dram.waits(at, beats=2).tolist() == [10, 0, 0, 0, 2, 0, 26]
    assert dram.waits(np.zeros(0, dtype=np.int64)).tolist() == []


def test_addresses_of_streams() -> None:
    load = Load(tensor="input", buffer=0, nc=3, c_hi=3, bursts=((32, 32), (96, 16)))
    fields = dict.fromkeys(("bounds", "lane_strides", "address_strides", "param_strides"), (1,) * 4)
    sent = StoreCommand(output_buffer=0, log2_group=4, channels=16,
                        bursts=((64, 16), (-1, 16), (0, 16)), **fields)  # fmt: skip
    commands = (load, sent, End())
    # image of 100 bytes: commands from 112 on; LOAD 1 word, STORE 2, END 1
    assert stream_addresses(commands, 100).tolist() == [112, 32, 48, 96, 128, 144, 160]
    assert sent_addresses(commands).tolist() == [64, 64, 0]


def test_a_memory_that_cannot_be() -> None:
    for wrong in ({"fifo_beats": 0}, {"page_bytes": 8}, {"refresh_ns": 5000.0}, {"cycle_ns": -1.0}):
        with pytest.raises(ValueError, match=r"must|do not work"):
            Dram(**wrong)  # type: ignore[arg-type]


# --- features -----------------------------------------------------------------------


def test_changes_of_an_address_by_walking_the_nest() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        bounds = rng.integers(1, 4, 6).tolist()
        strides = rng.choice([0, 0, 1, 2, 5], 6).tolist()
        walk = [
            sum(s * i for s, i in zip(strides, reversed(at), strict=True))
            for at in itertools.product(*(range(b) for b in reversed(bounds)))
        ]
        changes = 1 + sum(a != b for a, b in itertools.pairwise(walk))
        assert observations._changes(bounds, strides) == changes


# --- the fit ------------------------------------------------------------------------


def test_one_size_of_each_part_is_bayesian_regression() -> None:
    """With fixed scales and no smooth part: against the posterior of the weights themselves."""
    rng = np.random.default_rng(3)
    inputs, targets = rng.normal(size=(12, 3)), rng.normal(size=12)
    groups = rng.integers(0, 2, (12, 3))
    size = {"factor": 0.7, "linear": 0.4, "profile_factor": 0.3, "profile_linear": 0.5,
            "smooth": 1e-9, "layer": 0.6, "design": 0.25, "length": 1.0, "noise": 0.2}  # fmt: skip
    scales = np.log([[size[name] for name in SCALES]])
    model = Fit(inputs=inputs, groups=groups, targets=targets, scales=scales, weights=np.ones(1))
    new, which = rng.normal(size=(5, 3)), rng.integers(0, 3, (5, 3))

    def weighed(x: np.ndarray, p: np.ndarray) -> np.ndarray:
        ones = np.ones((len(x), 1))
        shared = np.hstack((0.7 * ones, 0.4 * x))
        own = [(p[:, :1] == n) * np.hstack((0.3 * ones, 0.5 * x)) for n in range(3)]
        effects = [size * (p[:, 1:] == n) for n in range(3) for size in [np.array([0.6, 0.25])]]
        return np.hstack((shared, *own, *effects))

    known, asked = weighed(inputs, groups), weighed(new, which)
    precision = known.T @ known / 0.2**2 + np.eye(known.shape[1])
    weights = np.linalg.solve(precision, known.T @ targets / 0.2**2)
    variance = (asked @ np.linalg.inv(precision) * asked).sum(axis=1) + 0.2**2
    mean, spread = predict(model, new, which)
    np.testing.assert_allclose(mean, asked @ weights, atol=1e-7)
    np.testing.assert_allclose(spread, np.sqrt(variance), atol=1e-7)


def test_fit_refuses_what_it_cannot_learn_from() -> None:
    x, p = np.zeros((2, 3)), np.zeros((2, 3), dtype=np.int64)
    with pytest.raises(ValueError, match="not finite"):
        fit(x, p, np.array([0.0, np.nan]))
    with pytest.raises(ValueError, match="one of each"):
        fit(x, p, np.zeros(3))


pytest.importorskip("torch")
pytest.importorskip("sklearn")


def world(count: int) -> list[Record]:
    """Runs whose energy and cycles follow from their features and profile, with 1 % of noise."""
    rng = np.random.default_rng(5)
    found = []
    for n in range(count):
        r = record(n)
        profile = TYPICAL.index(r.profile)
        shares = np.array([r.features[f"share_{part}"] for part in PARTS])
        slopes = np.array([-0.4, 0.3, -0.2, 0, 0, 0, 0, -0.3, 0.1, 0.0])
        energy = 40 * np.exp(shares @ slopes * (0.4 + 0.4 * profile) + rng.normal(0, 0.01))
        waits = 20 * r.features["out_bursts"] + rng.normal(0, 0.01)
        cycles = int(1000 * np.exp(max(0.0, waits)))
        found.append(replace(r, energy_nj=float(energy), cycles=cycles))
    return found


def test_fine_tuning_lowers_the_error_of_unseen_layers_and_designs() -> None:
    from dcp_hw.finetune_report import curve, split, summary

    records = world(270)
    parts = split(records, 0)
    seen = {r.layer for r in parts.pool}, {r.design for r in parts.pool}
    assert all(r.layer not in seen[0] and r.design not in seen[1] for r in parts.held_out)
    found = list(summary(curve(records, draws=2, seed=0, sizes=(0, 10, 60))))
    error = {(r["metric"], r["n"], r["method"]): r["median_error"] for r in found}
    inside = {(r["metric"], r["n"], r["method"]): r["coverage"] for r in found}
    for metric in ("energy", "cycles", "edp"):
        before = error[metric, 0, "fine-tuned"]
        assert before == pytest.approx(error[metric, 60, "model"])
        assert error[metric, 60, "fine-tuned"] < 0.35 * before
        assert error[metric, 60, "fine-tuned"] < 0.5 * error[metric, 60, "one factor"]
        assert 0.75 <= inside[metric, 60, "fine-tuned"] <= 1.0
    assert error["energy", 10, "fine-tuned"] < error["energy", 0, "fine-tuned"]


def test_a_checkpoint_predicts_what_was_saved(tmp_path: Path) -> None:
    from dcp_hw.finetune import load, save, tune
    from dcp_hw.finetune_report import estimate

    records = world(40)
    made = tune(records[:20], seed=1)
    save(tmp_path / "a.safetensors", made)
    read = load(tmp_path / "a.safetensors")
    assert read.measurements == 20
    assert read.card["technology"] == "45nm-lop"
    for name in ("energy", "cycles", "edp"):
        a, b = (getattr(estimate(p, records[20:]), name) for p in (made, read))
        np.testing.assert_array_equal(a, b)
    more = tune(records[20:30], base=read, seed=1)
    whole = tune(records[:30], seed=1)
    np.testing.assert_allclose(estimate(more, records[30:]).edp, estimate(whole, records[30:]).edp)


def test_checkpoints_that_are_not_ours(tmp_path: Path) -> None:
    from dcp_hw.finetune import load, save, tune
    from predictors.checkpoint import WEIGHTS, read_tensors, write_tensors

    with pytest.raises(InputError, match="no readable safetensors"):
        load(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match=r"(format|kind|space) is"):
        load(WEIGHTS / "ours.safetensors")
    good = tmp_path / "good.safetensors"
    save(good, tune(world(8)))
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(good.read_bytes()[:-20])
    with pytest.raises(InputError, match="no readable safetensors"):
        load(cut)
    tensors, card = read_tensors(good)
    bad = tmp_path / "bad.safetensors"
    write_tensors(bad, tensors | {"energy.targets": tensors["energy.targets"] * np.nan}, card)
    with pytest.raises(InputError, match="not finite"):
        load(bad)
    write_tensors(bad, tensors, card | {"features": ["other"]})
    with pytest.raises(InputError, match=r"features is \['other'\]"):
        load(bad)
    write_tensors(bad, {k: v for k, v in tensors.items() if k != "cycles.scales"}, card)
    with pytest.raises(InputError, match=r"lacks cycles\.scales"):
        load(bad)


def test_measurements_that_do_not_go_together() -> None:
    from dcp_hw.finetune import tune

    some = world(4)
    with pytest.raises(InputError, match=r"several values of memory: dram, ideal"):
        tune([*some, replace(some[0], memory="ideal")])
    with pytest.raises(InputError, match="lacks the feature"):
        tune([replace(some[0], features={"busy": 1.0})])
    with pytest.raises(InputError, match="profile corner not found"):
        tune([replace(some[0], profile="corner")])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["finetune", "--measurements", "{}/none"], "no probed measurements"),
        (["finetune", "--measurements", "{}/few"], "too few layers and designs"),
        (["finetune", "--measurements", "{}/some", "--n", "999"], "accepted: 0 to"),
        (["finetune", "--measurements", "{}/some", "--n", "-1"], "accepted: an integer"),
        (["finetune", "--measurements", "{}/some", "--base", "{}/no"], "no readable safetensors"),
        (["loop", "--profile", "corner"], "profile corner not found"),
        (["loop", "--memory", "flash"], "memory 'flash' not found"),
        (["loop", "--least-gain", "half"], "accepted: a share, 0 to below 1"),
        (["loop", "--least-gain", "nan"], "accepted: a share, 0 to below 1"),
        (["loop", "--measurements", "{}/file"], "is a file"),
        (["loop", "--measurements", "{}/few", "--out", "{}/file/x"], "cannot be written"),
        (["collect", "--profiles", "odd"], "profile odd not found"),
    ],
)
def test_wrong_input_ends_with_two(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Store(tmp_path / "few").append([record(0)])
    Store(tmp_path / "some").append(world(54))
    (tmp_path / "file").touch()
    assert main([word.format(tmp_path) for word in words]) == 2
    assert said in capsys.readouterr().err


def test_finetune_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Store(tmp_path / "s").append(world(120))
    out = tmp_path / "c.safetensors"
    words = ["finetune", "--measurements", f"{tmp_path}/s", "--n", "40", "--out", str(out)]
    assert main([*words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    error = {(r["method"], r["metric"]): r["median_error"] for r in rows}
    assert error["fine-tuned", "cycles"] < error["one factor", "cycles"]
    assert out.is_file()


# --- the loop -----------------------------------------------------------------------


def option(design: str, layer: int, energy: float, cycles: float, real: float) -> Any:
    """A program of a layer: what the model says, and by which factor cycles really are more."""
    facts = SimpleNamespace(real=real, number=layer, design=design, energy=energy, cycles=cycles)
    features = record(layer).features | {"out_bursts": (real - 1) / 20, "in_bursts": 0.0}
    return SimpleNamespace(
        layer=facts,
        design=design,
        work=lambda: None,
        key=f"{design} {layer} {energy} {cycles}",
        features=features,
        group=(3, layer, hash(design)),
        table_nj=energy,
        cycles=cycles,
        count=1,
    )


def test_the_loop_learns_what_the_model_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model likes designs that the memory slows down most; others are better."""
    from dcp_hw import loop
    from dcp_hw.loop_candidates import Task
    from dcp_hw.workload import LayerSet

    space = {}
    for n in range(10):
        slow = 1 + 0.2 * (9 - n)
        space[f"d{n}"] = [
            [option(f"d{n}", layer, 40.0, 1000.0 * (1 + 0.05 * n), slow)] for layer in range(5)
        ]
    truth = {
        name: sum(r[0].table_nj for r in rows)
        * sum(int(r[0].cycles * r[0].layer.real) for r in rows)
        for name, rows in space.items()
    }
    asked: list[str] = []

    def probe(jobs: Any, *_: Any) -> list[Record]:
        asked.append(jobs[0].layer.design)
        return [
            replace(
                record(j.number, key=f"{j.design} {j.number}", design_hash=j.design),
                profile="sparse",
                energy_nj=j.energy,
                table_nj={"mac": j.energy},
                cycles=int(j.cycles * j.real),
                predicted_cycles=int(j.cycles),
                features=record(j.number).features
                | {"out_bursts": (j.real - 1) / 20, "in_bursts": 0.0},
            )
            for j in (job.layer for job in jobs)
        ]

    task = Task(layers=LayerSet.load("tiny"), hardware=Hardware(), budget=6, per_round=1)
    places = {name: (n, None) for n, name in enumerate(space)}
    origin = dict.fromkeys(space, 0)
    pool = SimpleNamespace(task=task, rows=space, origin=origin, places=places)
    monkeypatch.setattr(loop, "first_pool", lambda _task: pool)
    monkeypatch.setattr(loop, "search_again", lambda *_: None)
    monkeypatch.setattr(loop.rtl, "verilog", list)
    monkeypatch.setattr(loop, "probe", probe)
    found = loop.run(task, Store(Path("nowhere")))
    assert asked[0] == "d0"  # the model's choice
    assert len(asked) == len(set(asked)) <= 6
    assert [t.design for t in found.trials] == asked
    assert found.best().measured == pytest.approx(min(truth[d] for d in asked))
    assert found.best().measured < 0.75 * found.trials[0].measured
    assert found.best().design in sorted(truth, key=lambda d: truth[d])[:3]
    assert found.trials[-1].layer_error < 0.3 * found.trials[0].layer_error
    assert found.reason


def test_a_guess_takes_the_best_options() -> None:
    from dcp_hw.finetune import tune
    from dcp_hw.loop_guess import guess

    rng = np.random.default_rng(2)
    rows = [
        [option("d", n, float(e), float(c), 1.0) for e, c in rng.uniform(10, 100, (3, 2))]
        for n in range(4)
    ]
    best = min(
        sum(o.table_nj for o in some) * sum(o.cycles for o in some)
        for some in itertools.product(*rows)
    )
    found = guess("d", rows, tune([]))
    assert np.exp(found.value) == pytest.approx(best, rel=0.02)
    assert found.spread > 0


def test_a_damaged_store_does_not_stop_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "part-0-0.parquet").write_bytes(b"x")
    monkeypatch.setattr(observations, "default_folder", lambda: tmp_path)
    observations.keep([], {}, Hardware())
    assert "measurements are not kept" in capsys.readouterr().err
