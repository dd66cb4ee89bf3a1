"""Propagation: what is found, fronts, what is refused, methods and the command."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from propagation import DEPTHWISE, LAYERS, POINTWISE, problem, starts_of, toy, weighted  # noqa: E402

from dcp_hw import optimise_descent  # noqa: E402
from dcp_hw.baselines.problem import GAMMA_ACCELERATOR, Accelerator, Objective, Problem  # noqa: E402
from dcp_hw.cli import main  # noqa: E402
from dcp_hw.errors import InputError  # noqa: E402
from dcp_hw.maestro.honest_fast import evaluate  # noqa: E402
from dcp_hw.maestro.honest_maestro import honest_layer, honest_levels  # noqa: E402
from dcp_hw.maestro.honest_types import HonestMachine  # noqa: E402
from dcp_hw.maestro.mapping_file import parse_mapping  # noqa: E402
from dcp_hw.mapspace import TILE, UNITS, levels_of  # noqa: E402
from dcp_hw.optimise import SEARCHERS, candidates, check, optimise, sampled  # noqa: E402
from dcp_hw.optimise_descent import descend  # noqa: E402
from dcp_hw.optimise_form import (  # noqa: E402
    dataflow_tensors,
    form_of,
)
from dcp_hw.optimise_front import hypervolume, pareto  # noqa: E402
from dcp_hw.optimise_groups import (  # noqa: E402
    batch_of,
    group_of,
    on_layer,
)
from dcp_hw.optimise_predictor import Frozen, freeze, load_frozen  # noqa: E402
from dcp_hw.optimise_settings import (  # noqa: E402
    DRAWN,
    LAYER,
    Descent,
    Moves,
    Relaxation,
    Settings,
)
from dcp_hw.optimise_text import maestro_text  # noqa: E402
from predictors.checkpoint import save  # noqa: E402
from predictors.energy import Prices  # noqa: E402
from predictors.interface import Prediction, Relaxed  # noqa: E402
from predictors.model import GapPredictor, Shape  # noqa: E402
from predictors.paper import PaperPredictor  # noqa: E402


@pytest.fixture(scope="module")
def closed() -> Frozen:
    """The closed form of the predictor."""
    from dcp_hw.train import prices

    return Frozen(freeze(GapPredictor(Shape(width=8, layers=1), prices())))


# --- what is found -------------------------------------------------------------------------------


def test_descent_reaches_the_optimum_of_a_simple_predictor() -> None:
    """Energy of `toy` is least where every tile is e, so 3 (or 1 and 2 where a layer has no more);
    order of level 1 by hand: place p costs p^2 of its dimension, any order is equal."""
    group = weighted(POINTWISE, latency=0.0)
    found = descend([group], starts_of([group], 4), toy, Descent(steps=40, rate=0.2, even=False))
    best = found[0].best(1)[0]
    assert best[:, TILE][:, :4].tolist() == [[3, 3, 3, 3]] * 3


def test_the_best_on_the_way_is_kept_not_the_last() -> None:
    """A rate so large that the walk jumps about."""
    group = weighted(POINTWISE, latency=0.0)
    settings = Descent(steps=30, rate=50.0, last_rate=1.0, renew_every=0)
    passed = descend([group], starts_of([group], 3), toy, settings)[0]
    ends = passed.values.reshape(3, -1)[:, -1]
    index = batch_of([group], 1)
    best = passed.best(1)
    parts = dataflow_tensors(form_of(best), best, index.limits, Relaxation())
    value = float(index.objective(toy(index.relaxed(parts)))[0])
    assert value == pytest.approx(float(passed.values.min()), abs=1e-5)
    assert value < float(ends.min())


def test_best_mappings_are_distinct_and_those_that_fit_come_first() -> None:
    group = weighted(POINTWISE)
    mappings = starts_of([group], 6)[0]
    passed = optimise_descent.Passed(
        mappings=torch.cat([mappings, mappings]),
        values=torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0, 0.0] * 2, dtype=torch.float64),
        fits=torch.tensor([True, True, True, False, False, False] * 2),
    )
    assert torch.equal(passed.best(16), mappings[[2, 1, 0, 5, 4, 3]])
    assert len(passed.best(2)) == 2


def test_gradients_find_better_mappings_than_their_starts(closed: Frozen) -> None:
    """By the exact evaluator, with as many calls, from the same starts."""
    groups = [group_of(problem(layer)) for layer in (POINTWISE, DEPTHWISE)]
    for drawn, steps, share in (("uniform", Descent(steps=25), 0.8), ("shaped", Moves(), 0.9)):
        moved = Settings(starts=8, screened=32, drawn=drawn, descent=steps)
        with_steps = optimise(groups, closed, moved, threads=1)
        without = optimise(groups, closed, replace(moved, descent=None), threads=1)
        for better, worse in zip(with_steps, without, strict=True):
            assert better.value < share * worse.value
            assert better.calls == worse.calls == 16


def test_both_methods_start_from_the_same_mappings() -> None:
    group = group_of(problem())
    for drawn in DRAWN:
        one, other = (sampled([group], Settings(descent=d, drawn=drawn)) for d in (Moves(), None))
        assert np.array_equal(one, other)
        assert not np.array_equal(one, sampled([group], Settings(seed=2, drawn=drawn)))


def test_exact_values_are_those_of_the_model(closed: Frozen) -> None:
    """And calls are the candidates times the layers."""
    group = weighted(*LAYERS[:2])
    shared = starts_of([group], 5)[0].numpy()
    outcome = check(group, shared, closed)
    assert outcome.calls == 10
    assert len(outcome.points) <= 5
    total = 0.0
    for one, count in zip(outcome.layers, group.counts, strict=True):
        cycles, nj = one.problem.costs(one.mapping[None])
        assert (one.cycles, one.energy_nj) == (cycles[0], nj[0])
        total += count * cycles[0] * nj[0]
    assert outcome.value == pytest.approx(total)


@pytest.mark.parametrize("common", [False, True])
def test_a_shared_dataflow_is_legal_on_every_layer(closed: Frozen, common: bool) -> None:
    group = weighted(*LAYERS, common=common)
    settings = Settings(starts=4, screened=16, descent=Descent(steps=6))
    ((found, _),) = candidates([group], closed, settings)
    for mapping in found:
        for one in group.problems:
            own = on_layer(mapping[None], one)[0]
            assert one.space.why_illegal(own) is None
            if common and not one.shape[0].depthwise:
                assert np.array_equal(own, mapping)
    (outcome,) = optimise([group], closed, settings, threads=1)
    assert len(outcome.layers) == len(LAYERS)
    assert outcome.calls <= 16 * len(LAYERS)


def test_a_machine_that_holds_nothing_is_an_outcome_not_an_error(closed: Frozen) -> None:
    machine = Accelerator(machine=HonestMachine(pes=4, l1_size=2, l2_size=10))
    tight = Problem(layer=POINTWISE, accelerator=machine, objective=Objective.EDP)
    settings = Settings(starts=2, screened=4, descent=Descent(steps=2))
    (outcome,) = optimise([group_of(tight)], closed, settings, threads=1)
    assert outcome.mapping is None
    assert outcome.layers == ()
    assert outcome.invalid == outcome.calls


def test_the_mapping_file_says_the_same_to_the_honest_model() -> None:
    """The written text, read again, costs what the mapping costs (no padding, all PEs used)."""
    one = problem()
    mapping = one.space.sample(np.random.default_rng(2), 1)[0]
    mapping[0, UNITS] = one.space.pes // mapping[1:, UNITS].prod()
    text = maestro_text(one, mapping)
    assert text is not None
    block = parse_mapping(text).layers[0]
    again = evaluate(
        honest_layer(block.layer),
        honest_levels(block.mapping, block.layer),
        one.accelerator.machine,
    )
    mine = evaluate(one.shape[0], levels_of(mapping), one.accelerator.machine)
    assert again == mine


# --- fronts ------------------------------------------------------------------------------------


def test_front_and_hypervolume_by_hand() -> None:
    points = np.array([[1.0, 4.0], [2.0, 2.0], [3.0, 3.0], [4.0, 1.0], [2.0, 2.0], [1.0, 5.0]])
    assert pareto(points).tolist() == [[1.0, 4.0], [2.0, 2.0], [4.0, 1.0]]
    # Columns below (5, 5): from 1 to 2 height 1, from 2 to 4 height 3, from 4 to 5 height 4.
    assert hypervolume(points, (5.0, 5.0)) == 1 + 2 * 3 + 1 * 4
    assert hypervolume(np.array([[6.0, 1.0]]), (5.0, 5.0)) == 0.0


# --- what is refused -----------------------------------------------------------------------------


def small_prices() -> Prices:
    return Prices(
        sizes=torch.tensor([1.0, 1e6]).double(),
        table=torch.ones(2, 6).double(),
        scalars=torch.tensor([1.0, 1.0, 500.0]).double(),
    )


def test_wrong_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint"):
        load_frozen(tmp_path / "none.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"not tensors")
    with pytest.raises(InputError, match="no readable safetensors"):
        load_frozen(damaged)
    paper = tmp_path / "paper.safetensors"
    save(paper, PaperPredictor(), {})
    with pytest.raises(InputError, match="'paper'; accepted"):
        load_frozen(paper)
    model = GapPredictor(Shape(width=4, layers=1), small_prices())
    with torch.no_grad():
        model.network[0].weight[0, 0] = math.nan
    bad = tmp_path / "nan.safetensors"
    save(bad, model, {})
    with pytest.raises(InputError, match="not finite"):
        load_frozen(bad)


def test_a_predictor_for_other_energies_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    card = {"technology": "elsewhere", "clock_mhz": 500, "rows": 7}
    save(path, GapPredictor(Shape(width=4, layers=1), small_prices()), card)
    frozen = load_frozen(path)
    assert frozen.samples == 7
    with pytest.raises(InputError, match="trained for elsewhere"):
        optimise([group_of(problem())], frozen, Settings(starts=1, screened=1))


def test_a_predictor_that_gives_nan_is_refused() -> None:
    def broken(x: Relaxed) -> Prediction:
        found = toy(x)
        return replace(found, log_energy=found.log_energy * math.nan)

    group = weighted(POINTWISE)
    with pytest.raises(InputError, match="NaN or infinity"):
        descend([group], starts_of([group], 2), broken, Descent(steps=1))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Descent(steps=-1),
        lambda: Descent(round_every=0),
        lambda: Descent(rate=math.nan),
        lambda: Descent(rule="newton"),
        lambda: Relaxation(discrete="magic"),
        lambda: Moves(guide="magic"),
        lambda: Moves(tries=9, draws=8),
        lambda: Settings(drawn="magic"),
        lambda: Settings(caution=-1.0),
        lambda: Relaxation(temperature=0),
        lambda: Settings(checks=17),
        lambda: Settings(starts=8, screened=4),
    ],
)
def test_settings_without_a_meaning_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InputError, match=r"accepted|have"):
        make()


# --- methods and command ---------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    from dcp_hw.train import prices

    path = tmp_path / "closed.safetensors"
    save(path, GapPredictor(Shape(width=8, layers=1), prices()), {"rows": 5})
    return path


def test_methods_keep_to_the_budget(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcp_hw.optimise._shipped", lambda: load_frozen(checkpoint))
    short = replace(LAYER, descent=replace(LAYER.descent, predictions=2000))
    monkeypatch.setattr("dcp_hw.optimise.LAYER", short)
    for budget, calls in ((5, 5), (100, 16)):
        values = {}
        for name, method in SEARCHERS.items():
            found = method(POINTWISE, GAMMA_ACCELERATOR, Objective.EDP, budget, 1)
            assert (found.method, found.calls, found.training_samples) == (name, calls, 5)
            cost = problem().costs(np.array([found.mapping]))
            assert found.value == pytest.approx(float(cost[0][0] * cost[1][0]))
            values[name] = found.value
        assert values["dcp"] < values["dcp-without-gradients"]


def test_the_command_prints_code_text_and_metrics(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["optimise", "--layerset", "mobilenetv2", "--layer", "classifier_1", "--json"]
    quick = ["--starts", "4", "--screened", "8", "--weights", str(checkpoint)]
    quick += ["--predictions", "300"]
    assert main([*words, *quick, "--objective", "latency,edp"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [r["objective"] for r in report["results"]] == ["latency", "edp"]
    one = report["results"][1]["layers"][0]
    assert np.array(one["code"]).shape in {(2, 7, 2), (3, 7, 2)}
    words_three = [*words, *quick[:-2], "--method", "moves", "--steps", "2"]
    assert main([*words_three, "--objective", "edp"]) == 0
    moved = json.loads(capsys.readouterr().out)["results"][0]["layers"][0]
    assert np.array(moved["code"]).shape == (3, 7, 2)
    assert one["maestro"].startswith("Network")
    assert set(one["exact"]) == set(one["predicted"]) == {"cycles", "energy_nj"}
    assert report["calls"] == sum(r["calls"] for r in report["results"]) <= 32
    assert main([*words, *quick, "--front", "3"]) == 0
    front = json.loads(capsys.readouterr().out)["fronts"][0]
    assert len(front["weights"]) == 3
    assert front["hypervolume"] > 0


@pytest.mark.parametrize(
    "words",
    [
        ["--layerset", "nonsense"],
        ["--layerset", "tiny", "--layer", "nonsense"],
        ["--layerset", "tiny", "--objective", "area"],
        ["--layerset", "tiny", "--common-tiles"],
        ["--layerset", "tiny", "--checks", "40"],
        ["--layerset", "tiny", "--weights", "/nonsense"],
        ["--layerset", "tiny", "--rate", "0"],
    ],
)
def test_wrong_words_end_with_exit_code_2(words: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(["optimise", *words]) == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert "dcp-hw: error:" in message
