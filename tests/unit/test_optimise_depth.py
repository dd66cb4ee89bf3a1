"""Dataflows of two levels among codes of three: costs, moves, gradients, and what is found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dcp_hw.baselines.exact import children, outer_levels  # noqa: E402
from dcp_hw.baselines.methods import searcher  # noqa: E402
from dcp_hw.baselines.network import Network, search_network  # noqa: E402
from dcp_hw.baselines.problem import GAMMA_ACCELERATOR, Accelerator, Objective, Problem  # noqa: E402
from dcp_hw.baselines.propagation import DCP, propagate_layers, settings_of  # noqa: E402
from dcp_hw.cli import main  # noqa: E402
from dcp_hw.errors import InputError  # noqa: E402
from dcp_hw.maestro.honest_fast import layer_row, machine_row  # noqa: E402
from dcp_hw.maestro.honest_types import HonestMachine  # noqa: E402
from dcp_hw.mapspace import MapSpace  # noqa: E402
from dcp_hw.optimise import check, sampled  # noqa: E402
from dcp_hw.optimise_anneal import _Walk, merged  # noqa: E402
from dcp_hw.optimise_depth import (  # noqa: E402
    costs,
    packed,
    runs,
    trivial,
    unpacked,
    without_trivial,
)
from dcp_hw.optimise_descent import predictions  # noqa: E402
from dcp_hw.optimise_groups import batch_of, group_of  # noqa: E402
from dcp_hw.optimise_local import shaped, shaped_of_two  # noqa: E402
from dcp_hw.optimise_neighbours import PARTS, first_order, over  # noqa: E402
from dcp_hw.optimise_predictor import Frozen, freeze  # noqa: E402
from dcp_hw.optimise_settings import LAYER, MOVED, Annealing, Moves  # noqa: E402
from dcp_hw.train import prices  # noqa: E402
from dcp_hw.workload import Layer, LayerSet, Operator  # noqa: E402
from predictors.checkpoint import save  # noqa: E402
from predictors.model import GapPredictor, Shape  # noqa: E402

LAYERS = (
    Layer(name="pw", operator=Operator.CONV, K=24, C=16, Y=14, X=14),
    Layer(name="filter", operator=Operator.CONV, K=8, C=6, Y=9, X=9, R=3, S=3, stride=2),
    Layer(name="dw", operator=Operator.DWCONV, K=12, C=12, Y=8, X=8, R=3, S=3, groups=12),
    Layer(name="fc", operator=Operator.GEMM, M=5, N=20, K=30),
)
TIGHT = Accelerator(
    machine=HonestMachine(pes=32, l1_size=64, l2_size=1500, noc_bw=4, noc_latency=2, dram_bw=2)
)
MACHINES = (GAMMA_ACCELERATOR, TIGHT)


def problem(layer: Layer, accelerator: Accelerator = TIGHT, objective: str = "edp") -> Problem:
    return Problem(layer=layer, accelerator=accelerator, objective=Objective(objective))


@pytest.fixture(scope="module")
def closed() -> Frozen:
    """The closed form alone: a network without training corrects nothing."""
    return Frozen(freeze(GapPredictor(Shape(width=8, layers=1), prices())))


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_codes_stand_for_the_two_levels_that_they_were_made_of(layer: Layer) -> None:
    one = group_of(problem(layer), shallow=True)
    two = shaped_of_two([one], 40, 2)[0]
    three = shaped([one], 40, 2)[0]
    mixed = np.concatenate([three, two])[np.random.default_rng(1).permutation(80)]
    assert trivial(two).all()
    again = unpacked(packed(mixed))
    pairs = zip(again, mixed, strict=True)
    assert all(np.array_equal(without_trivial(a), without_trivial(b)) for a, b in pairs)
    assert packed(two)[:, 2].max() == 0
    parts = list(runs(mixed, shallow=True))
    assert {part.shape[1] for part in parts} == {2, 3}
    single = [row for part in parts for row in part]
    assert all(np.array_equal(a, without_trivial(b)) for a, b in zip(single, mixed, strict=True))
    (whole,) = runs(mixed, shallow=False)
    assert np.array_equal(whole, mixed)
    exact = [problem(layer).costs(row[None]) for row in single]
    for found, each in zip(
        costs(problem(layer), mixed, True), zip(*exact, strict=True), strict=True
    ):
        assert np.array_equal(found, np.concatenate(each))


@pytest.mark.parametrize("accelerator", MACHINES, ids=("GAMMA's", "tight"))
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_two_levels_are_predicted_as_the_exact_model_counts_them(
    layer: Layer, accelerator: Accelerator, closed: Frozen
) -> None:
    """Dividing tiles, filters whole; with the third store energies are others."""
    one, rng = group_of(problem(layer, accelerator), shallow=True), np.random.default_rng(4)
    outer = rng.permutation(outer_levels(one.problems[0]))[:200]
    below = (children(one.problems[0], row) for row in outer)
    rows = unpacked(packed_of(np.concatenate([rng.permutation(x)[:5] for x in below])))
    errors, energies = {}, {}
    for shallow in (True, False):
        exact = costs(one.problems[0], rows, shallow)
        batch = batch_of([replace(one, shallow=shallow)], len(rows))
        told = predictions(batch, torch.from_numpy(rows), closed.predict)
        fits, energies[shallow] = np.isfinite(exact[0]), told.log_energy.numpy()
        assert fits.sum() > 20
        assert np.array_equal(told.feasible.numpy(), fits)
        said = (told.log_latency, told.log_energy)
        pairs = zip(said, exact, strict=True)
        off = [x.numpy() + batch.times.numpy() - np.log(y) for x, y in pairs]
        errors[shallow] = np.abs(np.array(off)[:, fits])
    assert np.median(errors[True]) < (1e-3 if accelerator is GAMMA_ACCELERATOR else 0.02)
    assert errors[True].mean() < 1.3 * errors[False].mean() + 1e-3
    assert (energies[False] > energies[True]).all()


@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_what_fits_is_what_the_exact_model_accepts(layer: Layer, levels: int) -> None:
    one = problem(layer)
    space = MapSpace(one.shape[0], 32, levels)
    rows = space.sample(np.random.default_rng(3), 400)
    machine, shape = (np.array(x) for x in (machine_row(TIGHT.machine), layer_row(one.shape[0])))
    found = [over.py_func(row, shape[None], 1, machine) == 0 for row in rows]
    assert found == np.isfinite(one.costs(rows)[0]).tolist()
    assert 20 < sum(found) < 380


def test_first_order_changes_are_those_of_the_code_with_a_trivial_level() -> None:
    """Both outer tiles of the code move together; what a trivial level is along counts nothing."""
    rng = np.random.default_rng(7)
    slopes = rng.normal(size=PARTS)
    units, parallel = slopes[18:21], slopes[21:39].reshape(3, 6)
    order = slopes[39:].reshape(3, 36)
    units[1], parallel[1], order[1] = 0, 0, 0
    space = MapSpace(problem(LAYERS[1]).shape[0], 32, 2)
    before, after = (packed_of(space.sample(rng, 30)) for _ in range(2))
    (short,) = merged(slopes[None])
    changes = []
    for a, b in zip(before, after, strict=True):
        changes.append(first_order.py_func(a[:2], b[:2], short))
        long = first_order.py_func(unpacked(a[None])[0], unpacked(b[None])[0], slopes)
        assert changes[-1] == pytest.approx(long)
    assert np.std(changes) > 1


def packed_of(two: np.ndarray) -> np.ndarray:
    return np.concatenate([two, np.zeros_like(two[:, :1])], axis=1)


@pytest.mark.parametrize("guide", ["reject", "none"])
def test_annealing_keeps_both_depths_legal_and_knows_their_values(
    guide: str, closed: Frozen
) -> None:
    one = group_of(problem(LAYERS[0]), shallow=True)
    starts = np.concatenate([shaped([one], 8, 1)[0], shaped_of_two([one], 8, 1)[0]])
    way = _Walk(one, starts, closed.predict, Annealing(predictions=3000, guide=guide), 0.0)
    way.slopes = merged(np.random.default_rng(2).normal(size=(16, PARTS)))
    way.go(0, 3000, 5)
    assert np.array_equal(trivial(unpacked(way.at)), np.arange(16) >= 8)  # depths stay
    found = unpacked(way.pool)
    assert 0 < trivial(found).sum() < len(found)
    space = one.space
    for row, deep in zip(found, trivial(found), strict=True):
        used = replace(space, levels=2) if deep else space
        assert used.why_illegal(without_trivial(row)) is None
    cycles, nj = costs(one.problems[0], found, shallow=True)
    assert np.median(np.abs(way.pool_values / (cycles * nj) - 1)) < 0.02


def test_half_of_the_starts_have_two_levels_where_a_group_allows_it() -> None:
    one = group_of(problem(LAYERS[0]), shallow=True)
    flat = trivial(sampled([one], LAYER)[0])
    assert len(flat) == LAYER.screened
    assert flat[LAYER.screened // 2 :].all()
    assert flat[: LAYER.screened // 2].mean() < 0.2
    for groups, settings in (([replace(one, shallow=False)], LAYER), ([one], MOVED)):
        assert trivial(sampled(groups, settings)).mean() < 0.2


def test_a_shared_code_keeps_its_trivial_level(closed: Frozen) -> None:
    one = group_of(problem(LAYERS[0], GAMMA_ACCELERATOR), shallow=True)
    rows = shaped_of_two([one], 4, 1)[0]
    for group, levels in ((one, 2), (replace(one, shallow=False), 3)):
        outcome = check(group, rows, closed)
        assert outcome.mapping is not None
        assert outcome.mapping.shape == outcome.layers[0].mapping.shape == (levels, 14)
        cycles, nj = group.problems[0].costs(outcome.mapping[None])
        assert outcome.value == pytest.approx(float(cycles[0] * nj[0]))


@pytest.mark.parametrize("objective", ["edp", "latency", "energy"])
@pytest.mark.parametrize("layer", LAYERS[:2], ids=lambda layer: layer.name)
def test_sixteen_calls_come_near_the_proven_optimum(
    layer: Layer, objective: str, closed: Frozen
) -> None:
    """Of two levels and dividing tiles; what DCP finds may be better."""
    one = problem(layer, GAMMA_ACCELERATOR, objective)
    proven = searcher("exact")(layer, GAMMA_ACCELERATOR, one.objective, 1_000_000, 1)
    assert proven.proven
    (found,) = propagate_layers([one], "dcp-two-levels", 10_000, 1, closed)
    assert found.calls == 16
    assert found.value <= 1.01 * proven.value
    again = one.evaluate(np.array([found.mapping]))[0][0]
    assert found.value == pytest.approx(float(again))


def test_only_the_row_of_two_levels_leaves_the_space_of_the_others(closed: Frozen) -> None:
    one = problem(LAYERS[0], GAMMA_ACCELERATOR)
    for method in DCP:
        (found,) = propagate_layers([one], method, 16, 1, closed)
        assert len(found.mapping) == (2 if method == "dcp-two-levels" else 3)
        again = one.evaluate(np.array([found.mapping]))[0][0]
        assert found.value == pytest.approx(float(again))
    network = Network(
        layers=LayerSet("one", LAYERS[:1]), accelerator=GAMMA_ACCELERATOR, objective=one.objective
    )
    with pytest.raises(InputError, match="accepted for a network"):
        search_network("dcp-two-levels", network, 16, 1)


def test_two_levels_win_where_a_third_store_does_not_fit(closed: Frozen) -> None:
    """Energy: with three levels alone the L2 is shared with one more buffer of each tensor."""
    from dcp_hw.optimise import optimise

    layer = Layer(name="wide", operator=Operator.CONV, K=1024, C=256, Y=14, X=14)
    one = group_of(problem(layer, GAMMA_ACCELERATOR, "energy"), shallow=True)
    free, bound = (
        optimise([group], closed, LAYER, threads=1)[0]
        for group in (one, replace(one, shallow=False))
    )
    assert free.mapping is not None
    assert free.mapping.shape == (2, 14)
    assert free.value < 0.95 * bound.value


def test_without_a_closed_form_moves_are_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(settings_of("dcp", 1, 16).descent, Annealing)
    assert isinstance(settings_of("dcp", 1, 16, closed=False).descent, Moves)
    away = settings_of("dcp-without-gradients", 1, 16)
    assert away == replace(LAYER, descent=None)
    model = GapPredictor(Shape(width=8, layers=1, closed=False), prices())
    save(tmp_path / "plain.safetensors", model, {"rows": 5})
    words = ["optimise", "--layerset", "mobilenetv2", "--layer", "classifier_1", "--steps", "3"]
    assert main([*words, "--json", "--weights", str(tmp_path / "plain.safetensors")]) == 0
    assert json.loads(capsys.readouterr().out)["calls"] == 16
    assert main(words) == 2
    assert "accepted: --predictions" in capsys.readouterr().err
