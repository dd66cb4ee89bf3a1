"""Experiments in the MAESTRO space: one mapping for a network, fronts, resuming, counting."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from dcp_hw.baselines import network as networks
from dcp_hw.baselines.methods import METHODS
from dcp_hw.baselines.network import Network, search_network
from dcp_hw.baselines.problem import Accelerator, Found, Objective
from dcp_hw.cli import main
from dcp_hw.errors import InputError
from dcp_hw.experiments import cells, fig6, fronts, network_table, samples, versions
from dcp_hw.experiments.cells import Cell, Plan
from dcp_hw.experiments.costs import geometric_mean, shipped_training
from dcp_hw.maestro.honest_interpreter import interpret
from dcp_hw.maestro.honest_types import HonestMachine
from dcp_hw.mapspace import UNITS, levels_of
from dcp_hw.workload import Layer, LayerSet, Operator

SMALL = Accelerator(
    machine=HonestMachine(pes=12, l1_size=24, l2_size=200, noc_bw=4, noc_latency=1, dram_bw=3)
)
CONV = Layer(name="conv", operator=Operator.CONV, K=4, C=3, Y=4, X=2, R=3, S=3, padding=1)
DEPTH = Layer(
    name="depth", operator=Operator.DWCONV, K=6, C=6, Y=2, X=4, R=3, S=3, groups=6, padding=1,
    count=2,
)  # fmt: skip
PRODUCT = Layer(name="product", operator=Operator.GEMM, M=2, N=3, K=5, count=3)
THREE = LayerSet(name="three", layers=(CONV, DEPTH, PRODUCT))
NETWORK = Network(layers=THREE, accelerator=SMALL)


def by_hand(mapping: np.ndarray, layer_index: int) -> np.ndarray:
    """A shared mapping as it must run on a layer: written out, without MapSpace."""
    shape, _ = NETWORK.problems[layer_index].shape
    rows = [list(map(int, row)) for row in mapping]
    above = list(shape.sizes)
    for row in rows:
        above = [max(1, min(tile, most)) for tile, most in zip(row[8:], above, strict=True)]
        row[8:] = above
        if shape.depthwise and row[1] == 0:
            row[1] = 1
    return np.array(rows)


# --- one mapping for a network ------------------------------------------------------------


def test_a_network_is_the_sum_of_its_layers_on_the_interpreter() -> None:
    mappings = NETWORK.space.sample(np.random.default_rng(3), 24)
    values, cycles, _ = NETWORK.evaluate(mappings)
    compared = 0
    for i, mapping in enumerate(mappings):
        total, feasible = 0.0, True
        for j, problem in enumerate(NETWORK.problems):
            own = by_hand(mapping, j)
            counts = interpret(problem.shape[0], levels_of(own), SMALL.machine)
            feasible &= hasattr(counts, "cycles")
            if feasible:
                total += problem.layer.count * counts.cycles * problem.shape[1]
        assert feasible == np.isfinite(values[i])
        if feasible:
            assert total == pytest.approx(cycles[i])
            compared += 1
    assert 5 < compared < 20
    each = [
        problem.evaluate(problem.space.clip(mappings))[0] * problem.layer.count
        for problem in NETWORK.problems
    ]
    assert np.allclose(values, np.sum(each, axis=0))
    weighted = replace(NETWORK, weights=(0.75, 0.25)).evaluate(mappings)[0]
    layers = NETWORK.layer_costs(mappings)
    known = np.isfinite(values)
    powers = layers[:, 0, known] ** 1.5 * layers[:, 1, known] ** 0.5
    assert np.allclose(weighted[known], np.array([1, 2, 3]) @ powers)
    with pytest.raises(InputError, match="shares"):
        replace(NETWORK, weights=(0.5, 0.6))


@pytest.mark.parametrize("method", ["random", "ga", "gamma", "naas"])
def test_what_is_found_is_legal_on_every_layer_and_counted(method: str) -> None:
    seen: list[int] = []
    found = search_network(method, NETWORK, 150, 1, lambda m, c, e: seen.append(len(m)))
    assert found.calls == 150 == sum(seen)
    assert found.invalid > (0 if method == "random" else -1)
    mapping = np.array(found.mapping)
    assert NETWORK.space.why_illegal(mapping) is None
    for j, problem in enumerate(NETWORK.problems):
        own = by_hand(mapping, j)
        assert problem.space.why_illegal(own) is None
        assert own[:, UNITS].prod() <= 12
        assert hasattr(interpret(problem.shape[0], levels_of(own), SMALL.machine), "cycles")
    again = search_network(method, NETWORK, 150, 1)
    assert (again.value, again.mapping) == (found.value, found.mapping)
    assert found.value == pytest.approx(NETWORK.evaluate(mapping[None])[0][0])
    assert found.value >= NETWORK.least()[0]


def test_a_fixed_dataflow_of_a_network_is_that_of_its_layers() -> None:
    found = search_network("nvdla-like", NETWORK, 10, 1)
    layers = [METHODS["nvdla-like"](x, SMALL, Objective.EDP, 1000, 1) for x in THREE]
    counted = sum(x.count * one.value for x, one in zip(THREE, layers, strict=True))
    assert found.value == pytest.approx(counted)
    with pytest.raises(InputError, match="'magic' not found"):
        search_network("magic", NETWORK, 10, 1)


def test_dcp_sees_a_network_as_the_tables_do() -> None:
    pytest.importorskip("torch")
    from dcp_hw.optimise import check
    from dcp_hw.optimise_groups import Group
    from dcp_hw.optimise_predictor import load_frozen

    weights = (0.5, 0.5)
    group = Group(problems=NETWORK.problems, counts=NETWORK.counts, weights=weights)
    assert group.space.sizes.tolist() == NETWORK.space.sizes.tolist() == [4, 6, 4, 4, 3, 3]
    mappings = NETWORK.space.sample(np.random.default_rng(1), 16)
    values, cycles, _ = NETWORK.evaluate(mappings)
    found = check(group, mappings, load_frozen())
    assert found.value == pytest.approx(values.min())
    assert np.allclose(sorted(found.points[:, 0]), sorted(cycles[np.isfinite(cycles)]))


# --- cells --------------------------------------------------------------------------------


def network_plan(**changes: object) -> network_table.NetworkPlan:
    given = {
        "networks": (THREE,),
        "machines": (("small", SMALL),),
        "objectives": (Objective.EDP,),
        "methods": ("random", "gamma", "nvdla-like"),
        "budget": 60,
        "seeds": (1, 2),
    }
    return network_table.NetworkPlan(**(given | changes))


def test_a_table_goes_on_and_notices_a_changed_method(tmp_path, monkeypatch) -> None:
    text = ("Title", "Words.")
    run = (tmp_path / "out", tmp_path / "cells", "table2", text, "the command")
    first = network_table.run(network_plan(), *run)
    asked = []
    real = networks.search_network

    def watched(method: str, *rest: object) -> Found:
        asked.append(method)
        return real(method, *rest)

    monkeypatch.setattr(cells, "search_network", watched)
    again = network_table.run(network_plan(), *run)
    assert [(r.method, r.value) for r in again] == [(r.method, r.value) for r in first]
    assert asked == ["nvdla-like"]  # never kept
    real_version = versions.version
    monkeypatch.setattr(cells, "version", lambda m: "changed" if m == "gamma" else real_version(m))
    network_table.run(network_plan(), *run)
    assert asked[1:] == ["gamma", "gamma", "nvdla-like"]
    page = (tmp_path / "out" / "table2.md").read_text()
    assert "Made by `the command`" in page
    assert "| random |" in page
    assert (tmp_path / "out" / "table2.png").stat().st_size > 1000
    lines = (tmp_path / "out" / "table2.csv").read_text().splitlines()
    assert len(lines) == 1 + 3
    row = next(r for r in first if r.method == "random")
    seeds = [search_network("random", NETWORK, 60, seed).value for seed in (1, 2)]
    assert row.value == pytest.approx(np.mean(seeds))
    assert row.to_bound == pytest.approx(np.mean(seeds) / NETWORK.least()[0])
    assert (row.samples, row.evaluations) == (60, 180)


def test_a_network_cell_with_another_value_is_searched_again(tmp_path) -> None:
    cell = network_plan().cells()[0]
    found = cells.fill([cell], tmp_path, "test")[cell]
    assert cell.load(tmp_path) == found
    content = json.loads(cell.path(tmp_path).read_text())
    content["found"]["value"] *= 0.9
    cell.path(tmp_path).write_text(json.dumps(content))
    assert cell.load(tmp_path) is None
    larger = replace(THREE, layers=(replace(CONV, count=7), DEPTH, PRODUCT))
    assert replace(cell, subject=larger).load(tmp_path) is None


def test_layers_of_dcp_are_searched_together_once(tmp_path, monkeypatch) -> None:
    asked = []

    def together(problems, method, budget, seed):  # type: ignore[no-untyped-def]
        asked.append((method, [problem.name for problem in problems]))
        return [METHODS["random"](p.layer, SMALL, p.objective, 16, seed) for p in problems]

    monkeypatch.setattr(cells, "propagate_layers", together)
    plan = Plan(
        layers=THREE,
        accelerator=SMALL,
        objectives=(Objective.EDP,),
        methods=("dcp", "random@30"),
        budget=100,
        seeds=(1, 2),
    )
    results = cells.fill(plan.cells(), tmp_path, "test")
    assert asked == [("dcp", ["conv", "depth", "product"])] * 2
    assert len(results) == 2 * 3 + 3
    assert {f.calls for c, f in results.items() if c.method == "random"} == {30}
    cells.fill(plan.cells(), tmp_path, "test")
    assert len(asked) == 2


def test_names_may_hold_a_number_of_samples() -> None:
    assert cells.split("pso@1000", 7) == ("pso", 1000)
    assert cells.split("pso", 7) == ("pso", 7)
    for wrong in ("pso@", "pso@many", "pso@0"):
        with pytest.raises(InputError, match="NAME@SAMPLES"):
            cells.split(wrong, 7)


def test_versions_look_at_code_alone() -> None:
    plain = versions.meaning("def f(x):\n    return x + 1\n")
    told = versions.meaning('"""Module."""\ndef f(x):\n    """Sum."""\n    return x + 1  # why\n')
    assert plain == told
    assert plain != versions.meaning("def f(x):\n    return x + 2\n")
    assert versions.version("dcp") == versions.version("dcp-without-gradients")
    assert len({versions.version(m) for m in ("dcp", "ga", "naas", "exact", "nvdla-like")}) == 5


# --- samples ------------------------------------------------------------------------------


def found_with(trace: tuple[tuple[int, float], ...], calls: int) -> Found:
    return Found(
        method="m", value=trace[-1][1], mapping=None, cycles=1.0, energy_nj=1.0, calls=calls,
        invalid=0, trace=trace, seconds=0.0, cpu_seconds=0.0,
    )  # fmt: skip


def test_best_values_after_so_many_samples() -> None:
    found = found_with(((3, 8.0), (10, 4.0), (50, 2.0)), 60)
    after = [samples.best_after(found, n) for n in (2, 3, 10, 49, 50, 1000)]
    assert after == [math.inf, 8.0, 4.0, 4.0, 2.0, 2.0]
    until = [samples.samples_until(found, v) for v in (9.0, 5.0, 2.0, 1.0)]
    assert until == [3.0, 10.0, 50.0, math.inf]
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert geometric_mean([2.0, math.inf]) == math.inf


def test_rows_say_when_others_reach_dcp() -> None:
    plan = samples.SamplePlan(
        networks=(THREE,),
        each=2,
        accelerator=SMALL,
        objective=Objective.EDP,
        methods=("dcp", "ga"),
        budget=100,
        seeds=(1,),
    )
    (one,) = plan.plans()
    assert [layer.name for layer in one.layers] == ["conv", "product"]  # most and fewest MACs
    assert plan.served == 3
    cell = Cell(CONV, SMALL, Objective.EDP, "dcp", 100, 1)
    other = replace(cell, subject=PRODUCT)
    traces = {"dcp": ((1, 10.0), (4, 5.0)), "ga": ((2, 9.0), (30, 5.04))}
    results = {
        replace(each, method=method): found_with(trace, 16 if method == "dcp" else 100)
        for each in (cell, other)
        for method, trace in traces.items()
    }
    results[replace(other, method="ga")] = found_with(((5, 6.0),), 100)
    bounds = {CONV: 1.0, PRODUCT: 2.0}
    table = {row.method: row for row in samples.rows(plan, results, bounds)}
    assert (table["ga"].reached, table["ga"].layers, table["ga"].needed) == (1, 2, 30.0)
    assert table["dcp"].ratios[0] == pytest.approx(math.sqrt(5.0 * 2.5))
    assert table["ga"].ratios[-1] == pytest.approx(math.sqrt(5.04 * 3.0))
    training = shipped_training()
    assert training is not None
    counted = list(samples.accounts(plan, results, training).values())
    assert counted == [16, 16 + samples.predictions(), 16 + training.rows / 3, 16 + training.rows]
    assert samples.predictions() >= 16


# --- fronts -------------------------------------------------------------------------------


def test_volumes_by_hand() -> None:
    points = np.array([[2.0, 3.0], [3.0, 2.0], [4.0, 4.0], [1.0, 6.0]])
    assert fronts.share_of(points) == pytest.approx((3 * 2 + 2 * 1) / 16)
    assert fronts.share_of(np.empty((0, 2))) == 0
    assert fronts.share_of(np.array([[1.0, 1.0]])) == 1


def test_an_archive_keeps_what_nothing_beats() -> None:
    rng = np.random.default_rng(5)
    archive, every = fronts.Archive(), []
    for batch in range(6):
        points = rng.integers(1, 12, (20, 2)).astype(float)
        points[rng.random(20) < 0.2] = np.inf
        mappings = np.full((20, 3, 14), 0)
        mappings[:, 0, 0] = 100 * batch + np.arange(20)
        archive(mappings, points[:, 0], points[:, 1])
        every += [(*p, int(m)) for p, m in zip(points, mappings[:, 0, 0], strict=True)]
    finite = [p for p in every if math.isfinite(p[0])]
    best = {
        p[:2] for p in finite
        if not any(q[0] <= p[0] and q[1] <= p[1] and q[:2] != p[:2] for q in finite)
    }  # fmt: skip
    assert {tuple(p) for p in archive.points.tolist()} == best
    for point, mapping in zip(archive.points.tolist(), archive.mappings, strict=True):
        assert (*point, int(mapping[0, 0])) in every
    last = np.full((2, 3, 14), 7)
    archive(last, np.array([40.0, 0.5]), np.array([40.0, 0.5]))
    assert archive.points.tolist() == [[0.5, 0.5]]


def test_a_front_is_kept_and_counts_all_weights(tmp_path, monkeypatch) -> None:
    cell = fronts.FrontCell(THREE, SMALL, "gamma", 3, 90, 1)
    found = fronts.fill_fronts([cell], tmp_path)[cell]
    assert found.samples == 90
    _, cycles, nj = NETWORK.evaluate(found.mappings)
    assert np.allclose(np.column_stack([cycles, nj]), found.points)
    monkeypatch.setattr(fronts, "search_network", None)
    again = fronts.fill_fronts([cell], tmp_path)[cell]
    assert again.points.tolist() == found.points.tolist()
    path = cell.path(tmp_path)
    content = json.loads(path.read_text())
    content["found"]["points"][0][0] *= 0.5
    path.write_text(json.dumps(content))
    assert cell.load(tmp_path) is None


# --- unseen hardware ----------------------------------------------------------------------


def test_the_machines_are_none_that_were_trained_on() -> None:
    from dcp_hw.maestro.dataset_plan import draw
    from dcp_hw.maestro.honest_fast import machine_row

    known = draw(2000, 2000, 0).machines
    assert len(known) == 64
    for name, machine in fig6.MACHINES.items():
        row = machine_row(machine)
        assert not (known == row).all(axis=1).any()
        outside = [v < low or v > high for v, low, high in
                   zip(row, np.where(known > 0, known, 1 << 40).min(axis=0), known.max(axis=0),
                       strict=True)]  # fmt: skip
        assert any(outside) == (name in ("edge", "large")), name


def test_fine_tuning_lowers_the_error_on_other_samples() -> None:
    pytest.importorskip("torch")
    from dcp_hw.baselines.problem import Problem
    from dcp_hw.experiments.fig6_tune import errors, samples, tune
    from dcp_hw.optimise_predictor import Frozen, freeze
    from dcp_hw.train import gap_batch, prices
    from predictors.model import GapPredictor, Shape
    from predictors.train import Schedule

    problems = [Problem(layer=x, accelerator=SMALL, objective=Objective.EDP) for x in (CONV, DEPTH)]
    model = GapPredictor(Shape(closed=False), prices())
    drawn = samples(problems, 200, 1, 1)
    assert len(drawn) < 400  # infeasible ones teach nothing
    model.normalise(gap_batch(model, drawn)[0])
    frozen = Frozen(predict=freeze(model))
    before = errors(frozen, problems, 1)
    tuned = tune(frozen, problems, 200, 1, Schedule(epochs=15, batch=32, learning_rate=2e-3))
    after = errors(replace(frozen, predict=tuned.model), problems, 1)
    assert tuned.rows == len(drawn)
    assert errors(frozen, problems, 1) == before  # the given one stays
    assert all(a < 0.8 * b for a, b in zip(after, before, strict=True))


def test_a_predictor_that_only_learned_has_rows_of_its_own(tmp_path) -> None:
    pytest.importorskip("torch")
    from dcp_hw.train import prices
    from predictors.checkpoint import save
    from predictors.model import GapPredictor, Shape

    path = tmp_path / "plain.safetensors"
    save(path, GapPredictor(Shape(width=8, layers=1, closed=False), prices()), {"rows": 5})
    plan = fig6.UnseenPlan(
        network=LayerSet("one", (DEPTH,)),
        machines=("small",),
        methods=("random",),
        variants=("dcp, zero-shot", *fig6.LEARNED),
        budget=400,
        share=0.1,
        seeds=(1,),
        learned=path,
    )
    rows = {row.method: row for row in fig6.run(plan, tmp_path / "out", tmp_path / "cells", "x")}
    alone, tuned = (rows[f"learned alone, {shot}-shot"] for shot in ("zero", "few"))
    assert alone.latency_error > 20 * rows["dcp, zero-shot"].latency_error
    assert (alone.samples, tuned.samples) == (16, 56)
    assert alone.value >= rows["dcp, zero-shot"].value
    assert "plain.safetensors" in (tmp_path / "out" / "fig6.md").read_text(encoding="utf-8")
    with pytest.raises(InputError, match="checkpoint"):
        replace(plan, learned=None)


# --- commands -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["table2", "--methods", "exact"], "not found at model level"),
        (["table2", "--objectives", "speed"], "objective 'speed'"),
        (["table2", "--layersets", ""], "at least one"),
        (["tight", "--bandwidths", "8,none"], "--bandwidths"),
        (["samples", "--methods", "ga@x"], "NAME@SAMPLES"),
        (["samples", "--objectives", "edp,energy"], "accepted: one"),
        (["fig6", "--machines", "moon"], "machine 'moon' not found"),
        (["fig6", "--layersets", "tiny,vit_b16"], "accepted: one"),
        (["fig6", "--learned", "/nonsense"], "no checkpoint"),
    ],
)
def test_wrong_arguments_are_named(words: list[str], said: str, capsys) -> None:
    assert main(["experiment", *words]) == 2
    assert said in capsys.readouterr().err


def test_commands_write_their_pages(tmp_path, capsys) -> None:
    common = ["--out", str(tmp_path / "out"), "--cells", str(tmp_path / "cells")]
    common += ["--budget", "40", "--seeds", "1"]
    small = ["--layersets", "tiny", "--methods", "random,gamma"]
    assert main(["experiment", "samples", *small, *common, "--each", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {row["method"] for row in said["rows"]} == {"random", "gamma"}
    words = ["experiment", "table3", *small, *common, "--single", "random", "--weights", "2"]
    assert main(words) == 0
    page = capsys.readouterr().out
    assert "energy: random" in page
    assert "dcp-hw experiment table3 --layersets tiny" in page
    words = ["experiment", "fig6", *small, *common, "--machines", "small", "--without-dcp"]
    assert main(words) == 0
    assert "| gamma, 40 |" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    for name in ("samples", "table3", "fig6"):
        assert {f"{name}.csv", f"{name}.md", f"{name}.png"} <= names
