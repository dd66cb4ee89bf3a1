"""Annealing of one dataflow for many layers: its values, limits, budget, and what it finds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dcp_hw.baselines.problem import Accelerator, Objective, Problem  # noqa: E402
from dcp_hw.cli import main  # noqa: E402
from dcp_hw.errors import InputError  # noqa: E402
from dcp_hw.maestro.honest_types import HonestMachine  # noqa: E402
from dcp_hw.optimise import optimise  # noqa: E402
from dcp_hw.optimise_anneal import _Walk, anneal_search  # noqa: E402
from dcp_hw.optimise_descent import whole_parts  # noqa: E402
from dcp_hw.optimise_groups import OBJECTIVE_WEIGHTS, Group, batch_of, on_layer  # noqa: E402
from dcp_hw.optimise_local import local_search, shaped  # noqa: E402
from dcp_hw.optimise_predictor import Frozen, freeze  # noqa: E402
from dcp_hw.optimise_settings import Annealing, Moves, Settings  # noqa: E402
from dcp_hw.train import prices  # noqa: E402
from dcp_hw.workload import Layer, Operator  # noqa: E402
from predictors.checkpoint import save  # noqa: E402
from predictors.model import GapPredictor, Shape  # noqa: E402

LAYERS = (
    Layer(name="pw", operator=Operator.CONV, K=24, C=16, Y=14, X=14),
    Layer(name="filter", operator=Operator.CONV, K=8, C=6, Y=9, X=9, R=3, S=3, count=2),
    Layer(name="dw", operator=Operator.DWCONV, K=12, C=12, Y=8, X=8, R=3, S=3, groups=12),
    Layer(name="fc", operator=Operator.GEMM, M=1, N=20, K=30),
)
TIGHT = Accelerator(machine=HonestMachine(pes=32, l1_size=24, l2_size=1500, noc_bw=4))


def group(objective: str = "edp") -> Group:
    aim = Objective(objective)
    found = (Problem(layer=layer, accelerator=TIGHT, objective=aim) for layer in LAYERS)
    counts = tuple(layer.count for layer in LAYERS)
    return Group(problems=tuple(found), counts=counts, weights=OBJECTIVE_WEIGHTS[aim])


@pytest.fixture(scope="module")
def model() -> GapPredictor:
    """The closed form alone: a network without training corrects nothing."""
    return GapPredictor(Shape(width=8, layers=1), prices()).eval().requires_grad_(False)


def walk(model: GapPredictor, one: Group, annealing: Annealing, starts: int = 8) -> _Walk:
    return _Walk(one, shaped([one], starts, 1)[0], model, annealing, 0.0)


@pytest.mark.parametrize("objective", ["edp", "latency", "energy"])
def test_what_is_kept_has_the_value_that_the_predictor_gives(
    model: GapPredictor, objective: str
) -> None:
    """Sums over layers by torch, mapping by mapping, against those of the compiled loop."""
    one = group(objective)
    way = walk(model, one, Annealing(predictions=600, pool=40))
    way.go(0, 600, 5)
    held = np.isfinite(way.pool_values)
    assert held.all()
    batch = batch_of([one], 40)
    said = model(batch.relaxed(whole_parts(torch.from_numpy(way.pool))))
    logs = np.stack([said.log_latency.numpy(), said.log_energy.numpy()])
    powers = {"edp": (1, 1), "latency": (1, 0), "energy": (0, 1)}[objective]
    each = np.exp(np.array(powers) @ (logs + batch.times.numpy()) + batch.count.numpy())
    sums = np.bincount(batch.owner.numpy(), weights=each)
    assert way.pool_values == pytest.approx(sums, rel=2e-4)
    rows = range(len(way.at))
    assert way.shares.sum(axis=1)[rows] == pytest.approx(way.values[rows])


def test_everything_kept_is_legal_and_fits_every_layer(model: GapPredictor) -> None:
    one = group()
    (passed,) = anneal_search(
        [one], shaped([one], 8, 1), model, Annealing(predictions=4000, rounds=2)
    )
    assert passed.fits.all()
    mappings = passed.mappings.numpy()
    assert len(np.unique(mappings.reshape(len(mappings), -1), axis=0)) == len(mappings) == 256
    for problem in one.problems:
        own = on_layer(mappings, problem)
        assert all(problem.space.why_illegal(m) is None for m in own)
        assert np.isfinite(problem.costs(own)).all()


def test_as_many_neighbours_are_judged_as_asked_and_half_go_on(model: GapPredictor) -> None:
    annealing = Annealing(predictions=640, rounds=4, halvings=1)
    assert annealing.slices == [(80 * i, 80 * (i + 1)) for i in range(8)]
    way = walk(model, group(), annealing)
    for guide in ("reject", "none"):
        way = walk(model, group(), replace(annealing, guide=guide))
        way.go(0, 300, 1)
        assert np.count_nonzero(way.tried) == 300
    before = way.values.copy()
    way.halve()
    assert sorted(way.values) == sorted(before)[:4]
    assert way.shares.sum(axis=1) == pytest.approx(way.values)


def test_gradients_leave_neighbours_out(model: GapPredictor) -> None:
    """With the same random numbers, other neighbours are judged."""
    ways = []
    for guide in ("reject", "none"):
        way = walk(model, group(), Annealing(predictions=500, guide=guide))
        way.go(0, 500, 1)
        ways.append(set(way.tried[way.tried > 0].tolist()))
    assert ways[0] != ways[1]


def test_it_finds_more_than_moves_that_the_predictor_judges(model: GapPredictor) -> None:
    """Means over three seeds, with random moves."""
    one, won = group(), []
    moves = Moves(steps=150, guide="none", halvings=3)
    for seed in (1, 2, 3):
        starts = shaped([one], 16, seed)
        (moved,) = local_search([one], starts, model, moves, seed=seed)
        annealing = Annealing(predictions=20_000, guide="none")
        (found,) = anneal_search([one], starts, model, annealing, seed=seed)
        won.append(float(moved.values[moved.fits].min() - found.values.min()))
    assert np.mean(won) > 0.02


def test_the_way_of_a_group_does_not_depend_on_others(model: GapPredictor) -> None:
    both = [group("edp"), group("energy")]
    annealing = Annealing(predictions=800, rounds=1)
    together = anneal_search(both, shaped(both, 4, 1), model, annealing, seed=3)
    for one, found in zip(both, together, strict=True):
        (alone,) = anneal_search([one], shaped([one], 4, 1), model, annealing, seed=3)
        assert torch.equal(alone.mappings, found.mappings)
    (other,) = anneal_search(both[:1], shaped(both[:1], 4, 1), model, annealing, seed=4)
    assert not torch.equal(other.mappings, together[0].mappings)


def test_a_machine_that_holds_nothing_is_an_outcome_not_an_error(model: GapPredictor) -> None:
    machine = Accelerator(machine=HonestMachine(pes=4, l1_size=2, l2_size=10))
    problems = tuple(replace(p, accelerator=machine) for p in group().problems)
    none = replace(group(), problems=problems)
    settings = Settings(
        starts=2, screened=4, descent=Annealing(predictions=100, rounds=1, halvings=1)
    )
    (outcome,) = optimise([none], Frozen(freeze(model)), settings, threads=1)
    assert outcome.mapping is None


def test_a_predictor_without_a_closed_form_is_refused(model: GapPredictor) -> None:
    one = group()
    plain = freeze(GapPredictor(Shape(width=8, layers=1, closed=False), prices()))
    for predict in (plain, lambda x: model(x)):
        with pytest.raises(InputError, match="accepted: one of kind 'ours'"):
            anneal_search([one], shaped([one], 2, 1), predict, Annealing(predictions=10))


@pytest.mark.parametrize(
    "wrong", [{"predictions": 0}, {"guide": "rank"}, {"rounds": 0}, {"warmth": -1.0}, {"pool": 0}]
)
def test_settings_without_a_meaning_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"accepted|have"):
        Annealing(**wrong)


def test_the_command_anneals_at_model_level(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: GapPredictor
) -> None:
    path = tmp_path / "closed.safetensors"
    save(path, model, {"rows": 5})
    words = ["optimise", "--layerset", "vit_b16", "--level", "model", "--json", "--screened", "32"]
    found = {}
    for more in (
        ["--predictions", "3000", "--guide", "none"],
        ["--method", "moves", "--steps", "2"],
    ):
        assert main([*words, "--weights", str(path), *more]) == 0
        report = json.loads(capsys.readouterr().out)
        found[more[0]] = report["results"][0]["value"]
    assert found["--predictions"] < found["--method"]
