"""Predictors: counts, exact codes, the closed form against the evaluator, gradients, files."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from dcp_hw.cli import main  # noqa: E402
from dcp_hw.errors import InputError  # noqa: E402
from dcp_hw.maestro import dataset_plan, dataset_rows  # noqa: E402
from dcp_hw.maestro.dataset import Rows  # noqa: E402
from dcp_hw.maestro.dataset_recipes import (  # noqa: E402
    apply,
    fitted_recipes,
    uniform_recipes,
)
from dcp_hw.maestro.honest_count import (  # noqa: E402
    BOUNDARY,
    BUFFERS,
    L2_REQUIRED,
    REQUIRED,
    SHARED_REQUIRED,
    SUMS_READ,
)
from dcp_hw.maestro.honest_fast import L1_FULL, L2_FULL, evaluate_batch  # noqa: E402
from dcp_hw.train import prices  # noqa: E402
from dcp_hw.train_data import COLUMNS, samples_of  # noqa: E402
from dcp_hw.train_scores import score, spearman, within  # noqa: E402
from predictors.checkpoint import (  # noqa: E402
    WEIGHTS,
    load,
    parameters,
    read_tensors,
    save,
    write_tensors,
)
from predictors.features import CLOSED_NAMES, PLAIN_NAMES, estimate  # noqa: E402
from predictors.interface import PredictorError, Relaxed, harden, relax  # noqa: E402
from predictors.loops import loops_of  # noqa: E402
from predictors.model import GapPredictor, Shape, logistic_loss  # noqa: E402
from predictors.paper import PaperPredictor, log_cosh_loss  # noqa: E402
from predictors.timing import timing_of  # noqa: E402
from predictors.traffic import Traffic, coupled, traffic_of, views  # noqa: E402
from predictors.train import Schedule, check_finite, fit  # noqa: E402


@dataclass(frozen=True)
class Drawn:
    """Layers, machines and codes with what the evaluator says of them."""

    layer: np.ndarray
    machine: np.ndarray
    code: np.ndarray
    reason: np.ndarray
    logs: np.ndarray  # n x 2, NaN where infeasible
    counts: np.ndarray
    layer_id: np.ndarray

    def relaxed(self, rows: np.ndarray | slice = slice(None)) -> Relaxed:
        parts = (self.layer[rows], self.machine[rows], self.code[rows])
        return relax(*(torch.from_numpy(part) for part in parts))


@lru_cache(maxsize=4)
def drawn(layers: int = 25, each: int = 60, seed: int = 99) -> Drawn:
    """Layers and dataflows of a seed that no data set for training has."""
    rng = np.random.default_rng(seed)
    ground = dataset_plan.draw(layers, each, seed)
    rows = np.repeat([dataset_plan.evaluated(layer) for layer in ground.layers], each, axis=0)
    machines = ground.machines[rng.integers(len(ground.machines), size=len(rows))]
    recipes = fitted_recipes(rng, each).join(uniform_recipes(rng, each))
    which = np.tile(rng.integers(2 * each, size=each), layers)
    mappings = apply(recipes.take(which), rows, machines)
    batch = evaluate_batch(rows, machines, mappings)
    energy = dataset_plan.nanojoules(batch)["total"]
    return Drawn(
        layer=rows,
        machine=machines,
        code=dataset_rows.codes(mappings),
        reason=batch.reason,
        logs=np.log(np.column_stack([batch.cycles, energy])),
        counts=batch.counts,
        layer_id=np.repeat(np.arange(layers), each),
    )


def feasible(data: Drawn) -> np.ndarray:
    return np.flatnonzero(data.reason == 0)


def closed_form(x: Relaxed) -> tuple[Traffic, torch.Tensor]:
    loops, mask = loops_of(x), coupled(x)
    changing, view = views(loops, mask)
    cycles = timing_of(x, loops, mask, changing).total
    return traffic_of(x, loops, mask, view), cycles


# --- the paper's predictor ----------------------------------------------------------------


def test_the_papers_predictor_has_the_stated_size() -> None:
    """0.4M parameters and 1M multiply-adds, the latter counted by torch, not by us."""
    from torch.utils.flop_counter import FlopCounterMode

    model = PaperPredictor().eval()
    assert 0.38e6 <= parameters(model) <= 0.42e6
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 49))
    assert 0.9e6 <= counter.get_total_flops() / 2 <= 1.1e6


def test_log_cosh_is_that_also_far_out() -> None:
    predicted = torch.tensor([[0.0, 3.0, -2.0], [1.0, 0.5, 300.0]], dtype=torch.float64)
    real = torch.zeros_like(predicted)
    expected = np.log(np.cosh(predicted[:, :2].numpy())).sum()
    expected += math.log(math.cosh(-2.0)) + 300 - math.log(2)
    assert log_cosh_loss(predicted, real).item() == pytest.approx(expected / 2, rel=1e-9)


def test_the_papers_predictor_refuses_other_codes() -> None:
    with pytest.raises(PredictorError, match=r"\(b, 49\)"):
        PaperPredictor()(torch.zeros(2, 42))


# --- codes ----------------------------------------------------------------------------------


def test_relaxing_codes_is_exact() -> None:
    data = drawn()
    x = data.relaxed()
    assert torch.equal(harden(x), torch.from_numpy(data.code))
    for rows in (x.parallel, x.order, x.order.transpose(-1, -2)):
        assert torch.equal(rows.sum(-1), torch.ones_like(rows.sum(-1)))
        assert set(rows.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("where", "value"),
    [((0, 0, 1, 0), 7), ((0, 1, 3, 1), 0), ((0, 2, 0, 0), 6), ((0, 2, 0, 1), -1)],
)
def test_codes_that_are_no_dataflows_are_refused(where: tuple[int, ...], value: int) -> None:
    data = drawn()
    code = data.code[:1].copy()
    code[where] = value
    with pytest.raises(PredictorError, match="accepted"):
        relax(*(torch.from_numpy(a) for a in (data.layer[:1], data.machine[:1], code)))


# --- the closed form against the evaluator ---------------------------------------------------


def test_requirements_equal_the_evaluators() -> None:
    data = drawn()
    traffic, _ = closed_form(data.relaxed())
    columns = [L2_REQUIRED, REQUIRED, REQUIRED + 1, REQUIRED + 2]
    np.testing.assert_allclose(traffic.required, data.counts[:, columns], rtol=1e-6)
    np.testing.assert_allclose(
        traffic.buffers[:, 1:], data.counts[:, BUFFERS : BUFFERS + 3], rtol=1e-6
    )
    np.testing.assert_allclose(traffic.shared_required, data.counts[:, SHARED_REQUIRED], rtol=1e-6)


def test_feasibility_is_the_evaluators() -> None:
    data = drawn()
    found = estimate(data.relaxed(), prices())
    assert len(np.unique(data.reason)) >= 3
    np.testing.assert_array_equal(found.l1_excess > 1e-6, data.reason == L1_FULL)
    fits = data.reason != L1_FULL
    np.testing.assert_array_equal(found.l2_excess[fits] > 1e-6, data.reason[fits] == L2_FULL)


def test_traffic_is_that_of_the_evaluator_but_for_odd_remainders() -> None:
    data = drawn()
    rows = feasible(data)
    traffic, cycles = closed_form(data.relaxed(rows))
    edges = data.counts[rows, BOUNDARY:].reshape(len(rows), 4, 8)
    both = [
        *((traffic.supplied[:, b, t], edges[:, b, t]) for b in range(4) for t in range(2)),
        *((traffic.taken[:, b, t], edges[:, b, 3 + t]) for b in range(4) for t in range(2)),
        *((traffic.drained[:, b], edges[:, b, 6]) for b in range(4)),
        *((traffic.collected[:, b], edges[:, b, 7]) for b in range(4)),
        (traffic.sums_read + 1, data.counts[rows, SUMS_READ] + 1),
        (cycles, np.exp(data.logs[rows, 0])),
    ]
    for number, (found, exact) in enumerate(both):
        error = np.abs(found.numpy() / exact - 1)
        assert np.median(error) < 1e-3, number
        assert np.quantile(error, 0.9) < 0.1, number


# --- our predictor ------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def shipped() -> GapPredictor:
    model, _ = load(WEIGHTS / "ours.safetensors", kind="ours")
    assert isinstance(model, GapPredictor)
    return model


def test_shipped_weights_meet_the_targets_on_new_layers() -> None:
    """Layers, dataflows and machines of another seed, exact values from the evaluator."""
    data = drawn(40, 80, 1234)
    rows = feasible(data)
    with torch.no_grad():
        found = shipped()(data.relaxed(rows))
    logs = torch.stack([found.log_latency, found.log_energy], dim=1).numpy()
    for i in range(2):
        error = np.abs(np.expm1(logs[:, i] - data.logs[rows, i]))
        assert np.median(error) <= 0.05
        assert within(data.logs[rows, i], logs[:, i], data.layer_id[rows]) >= 0.97
    inside = np.abs(logs - data.logs[rows]) <= found.half_width.numpy() + 1e-9
    assert inside.mean() >= 0.8
    np.testing.assert_allclose(found.log_power, logs[:, 1] - logs[:, 0] + math.log(500), rtol=1e-9)


def test_predictions_keep_the_bound() -> None:
    data = drawn()
    with torch.no_grad():
        found = shipped()(data.relaxed())
    macs = data.layer[:, :6].prod(axis=1)
    least = np.log(macs / data.machine[:, 0])
    assert (found.log_latency.numpy() >= least - 1e-5).all()


def test_every_part_of_a_dataflow_has_a_gradient() -> None:
    data = drawn()
    x = data.relaxed(feasible(data)[:200])
    parts = [v.clone().requires_grad_() for v in (x.log_tile, x.log_units, x.parallel, x.order)]
    found = shipped()(x.with_dataflow(*parts))
    for metric in (found.log_latency, found.log_energy, found.l1_excess, found.l2_excess):
        gradients = torch.autograd.grad(metric.sum(), parts, retain_graph=True, allow_unused=True)
        assert gradients[0] is not None
        assert gradients[0].abs().sum() > 0
        assert all(g is None or torch.isfinite(g).all() for g in gradients)
    for metric in (found.log_latency, found.log_energy):
        gradients = torch.autograd.grad(metric.sum(), parts, retain_graph=True)
        for name, gradient in zip(("tile", "units", "parallel", "order"), gradients, strict=True):
            share = (gradient.flatten(1).abs().sum(1) > 0).double().mean()
            assert share > 0.5, name


def test_gradients_by_order_are_finite_differences() -> None:
    """Towards a doubly stochastic mean; orders enter without rounding, so both must agree."""
    data = drawn()
    x = data.relaxed(feasible(data)[:60])
    model = GapPredictor(Shape(width=16, layers=1), prices()).double()
    blend = 0.7 * x.order.double() + 0.3 / 6
    step = torch.randn(blend.shape, generator=torch.Generator().manual_seed(0)).double() * 1e-5

    def metrics(order: torch.Tensor) -> torch.Tensor:
        y = x.with_dataflow(x.log_tile, x.log_units, x.parallel, order)
        found = estimate(y, model.prices)
        return torch.stack([found.latency, found.energy])

    order = blend.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(metrics(order).sum(), order)
    slope = (gradient * step).flatten(1).sum(1)
    with torch.no_grad():
        difference = (metrics(blend + step) - metrics(blend - step)).sum(0) / 2
    error = (slope - difference).abs() / (difference.abs() + 1e-7)
    assert error.median() < 1e-3


def test_gradients_by_tiles_say_where_the_exact_metrics_go() -> None:
    """The sign of the gradient against what the evaluator says of half and of twice the tile."""
    data = drawn()
    rows = feasible(data)
    x = data.relaxed(rows)
    tile = x.log_tile.clone().requires_grad_()
    found = shipped()(x.with_dataflow(tile, x.log_units, x.parallel, x.order))
    agree = total = 0
    rng = np.random.default_rng(0)
    for i, metric in enumerate((found.log_latency, found.log_energy)):
        (gradient,) = torch.autograd.grad(metric.sum(), tile, retain_graph=True)
        level, dim = rng.integers(3, size=len(rows)), rng.integers(4, size=len(rows))
        slope = gradient.numpy()[np.arange(len(rows)), level, dim]
        change = _exact(data, rows, level, dim, True, i) - _exact(data, rows, level, dim, False, i)
        clear = (np.abs(change) > 0.1) & np.isfinite(change) & (slope != 0)
        agree += (np.sign(slope) == np.sign(change))[clear].sum()
        total += clear.sum()
    assert total > 100
    assert agree / total > 0.8


def _exact(
    data: Drawn, rows: np.ndarray, level: np.ndarray, dim: np.ndarray, up: bool, metric: int
) -> np.ndarray:
    """Log metric after a tile was doubled or halved, within its neighbours."""
    mappings = dataset_rows.mappings_of(data.code[rows])
    tiles, every = mappings[:, :, 8:], np.arange(len(rows))
    above = np.where(
        level == 0, data.layer[rows][every, dim], tiles[every, np.maximum(level - 1, 0), dim]
    )
    below = np.where(level == 2, 1, tiles[every, np.minimum(level + 1, 2), dim])
    now = tiles[every, level, dim]
    tiles[every, level, dim] = np.clip(now * 2 if up else now // 2, below, above)
    machines = data.machine[rows].copy()
    machines[:, 1:3] = 0
    batch = evaluate_batch(data.layer[rows], machines, mappings)
    energy = dataset_plan.nanojoules(batch)["total"]
    return np.log([batch.cycles, energy][metric])


def test_logistic_loss_is_the_likelihood_of_scipys_distribution() -> None:
    from scipy.stats import logistic

    rng = np.random.default_rng(0)
    at, log_scale, target = rng.normal(size=(3, 50, 2)) * 2
    expected = -logistic.logpdf(target, loc=at, scale=np.exp(log_scale)).mean()
    found = logistic_loss(*(torch.from_numpy(v) for v in (at, log_scale, target)))
    assert found.item() == pytest.approx(expected, rel=1e-9)


# --- scores --------------------------------------------------------------------------------------


def test_rank_correlation_by_hand() -> None:
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([10.0, 20, 40, 30])) == pytest.approx(0.8)
    assert spearman(np.array([1.0, 2, 3]), np.zeros(3)) == 0
    assert math.isnan(spearman(np.zeros(3), np.array([1.0, 2, 3])))


def test_scores_are_within_layers() -> None:
    """Across the layers the order is right, inside each it is reversed."""
    exact = np.repeat([0.0, 10.0, 20.0], 30) + np.tile(np.linspace(0, 1, 30), 3)
    other = np.repeat([0.0, 10.0, 20.0], 30) - np.tile(np.linspace(0, 1, 30), 3)
    group = np.column_stack([np.repeat([0, 1, 2], 30), np.zeros(90, dtype=int)])
    logs = [np.column_stack([v, v, v]) for v in (exact, other)]
    (first, *_) = score("m", "q", logs[0], logs[1], group, np.full((90, 2), 0.5))
    assert first.spearman == pytest.approx(-1)
    assert first.coverage == pytest.approx(np.mean(np.abs(exact - other) <= 0.5))
    assert first.median_error == pytest.approx(np.median(np.abs(np.exp(other - exact) - 1)))


# --- files ---------------------------------------------------------------------------------------


def test_a_checkpoint_gives_the_same_predictions(tmp_path: Path) -> None:
    model = GapPredictor(Shape(width=8, layers=2), prices())
    torch.nn.init.normal_(model.network[-1].weight)
    save(tmp_path / "a.safetensors", model, {"seed": 7})
    again, card = load(tmp_path / "a.safetensors", kind="ours")
    x = drawn().relaxed(slice(20))
    assert torch.equal(again(x).log_latency, model.eval()(x).log_latency)
    assert card["seed"] == 7
    assert card["features"] == [*PLAIN_NAMES, *CLOSED_NAMES]
    assert card["metrics"] == {"latency_cycles": "cycles", "energy_nj": "nJ", "power_mw": "mW"}


def _other_features(card: dict, tensors: dict) -> None:
    card["features"] = card["features"][::-1]


def _not_finite(card: dict, tensors: dict) -> None:
    tensors["network.0.weight"][0, 0] = float("nan")


def _cut_off(card: dict, tensors: dict) -> None:
    tensors["network.0.weight"] = tensors["network.0.weight"][:, 1:].contiguous()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda card, _: card.update(space="tensorlib"), "space is 'tensorlib'"),
        (lambda card, _: card.update(format=0), "format is 0"),
        (lambda card, _: card.update(kind="plain"), "kind 'plain'"),
        (lambda card, _: card.update(shape={"width": "wide"}), "describe a network"),
        (lambda _, tensors: tensors.pop("price_table"), "describe a network"),
        (_other_features, "other features"),
        (_not_finite, "not finite"),
        (_cut_off, "do not fit"),
    ],
)
def test_foreign_checkpoints_are_refused(tmp_path: Path, change: object, says: str) -> None:
    path = tmp_path / "a.safetensors"
    save(path, GapPredictor(Shape(width=8), prices()), {})
    tensors, card = read_tensors(path)
    change(card, tensors)
    write_tensors(path, tensors, card)
    with pytest.raises(PredictorError, match=says):
        load(path, kind="ours")


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "a.safetensors"
    with pytest.raises(PredictorError, match="no readable"):
        load(path)
    path.write_bytes(b"\x80\x04 a pickle, or anything else")
    with pytest.raises(PredictorError, match="no readable"):
        load(path)
    save_file({"w": torch.zeros(2)}, path)
    with pytest.raises(PredictorError, match="without a card"):
        load(path)


# --- training ------------------------------------------------------------------------------------


class _Stopped(Exception):
    """Stands for a kill."""


def _fit(state: Path, stop: int | None = None, seed: int = 3) -> tuple[torch.nn.Module, list]:
    torch.manual_seed(1)
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.Dropout(0.2), torch.nn.SiLU(), torch.nn.Linear(8, 1)
    )
    inputs = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    data = (inputs, inputs.sum(1, keepdim=True))

    def report(epoch: object) -> None:
        if stop is not None and epoch.epoch == stop:
            raise _Stopped

    curve = fit(
        model,
        lambda m, batch: (m(batch[0]) - batch[1]).square().mean(),
        tuple(t[:240] for t in data),
        tuple(t[240:] for t in data),
        Schedule(epochs=5, batch=64, learning_rate=0.02),
        seed=seed,
        state=state,
        identity={"rows": 240},
        report=report,
    )
    return model, curve


def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole, curve = _fit(tmp_path / "whole")
    with pytest.raises(_Stopped):
        _fit(tmp_path / "cut", stop=2)
    resumed, again = _fit(tmp_path / "cut")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    assert [e.held_loss for e in curve] == [e.held_loss for e in again]
    assert curve[-1].held_loss < curve[0].held_loss


def test_a_state_of_another_training_is_refused(tmp_path: Path) -> None:
    _fit(tmp_path / "state")
    with pytest.raises(PredictorError, match="another seed"):
        _fit(tmp_path / "state", seed=4)
    (tmp_path / "state").write_bytes((tmp_path / "state").read_bytes()[:100])
    with pytest.raises(PredictorError, match="no readable"):
        _fit(tmp_path / "state")


def test_numbers_that_are_not_finite_are_named() -> None:
    with pytest.raises(PredictorError, match=r"energy: 1 of 3 rows"):
        check_finite({"energy": torch.tensor([[1.0, 2], [math.nan, 1], [3, 4]])})
    columns = {name: np.ones(2) for name in COLUMNS}
    columns["energy_nj"] = np.array([1.0, math.nan])
    rows = Rows(
        layer=np.ones((2, 9), dtype=np.int16),
        dataflow=np.ones((2, 3, 7, 2), dtype=np.int16),
        hardware=np.ones((2, 6), dtype=np.int32),
        columns=columns,
    )
    with pytest.raises(InputError, match="1 of 2 feasible rows"):
        samples_of(rows)


def _dcp_hw(*words: str | Path) -> int:
    """Exit code; an error that the command does not word itself is raised."""
    return main([str(word) for word in words])


def test_the_commands_from_data_to_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, weights = tmp_path / "data", tmp_path / "weights"
    sizes = ("--layers", "30", "--dataflows", "40", "--threads", "1")
    assert _dcp_hw("dataset", *sizes, "--out", data) == 0
    capsys.readouterr()
    settings = ("--rows", "300", "--epochs", "2", "--threads", "1", "--json")
    train = ("train", "--data", data, *settings, "--out", weights)
    assert _dcp_hw(*train, "--model", "plain") == 0
    card = json.loads(capsys.readouterr().out)
    assert card["rows"] == 240
    assert {p.name for p in weights.iterdir()} == {
        *("plain.safetensors", "plain-curve.csv", "plain-curve.png", "state.safetensors")
    }
    assert _dcp_hw(*train, "--model", "plain", "--seed", "1") == 2
    assert "another seed" in capsys.readouterr().err
    judge = ("train", "--report", "--data", data, "--weights", weights, "--threads", "1")
    assert _dcp_hw(*judge, "--out", tmp_path) == 0
    assert "bound alone" in capsys.readouterr().out
    assert (tmp_path / "scores.csv").read_text().count("\n") > 12
    assert (tmp_path / "regression-plain.png").stat().st_size > 10_000


def test_wrong_input_is_said_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, says in (
        (("--data", tmp_path), "no finished data set"),
        (("--data", tmp_path, "--report", "--weights", tmp_path), "no finished data set"),
        (("--data", tmp_path, "--minutes", "-1"), "accepted: a number above 0"),
    ):
        assert _dcp_hw("train", *words) == 2
        assert says in capsys.readouterr().err
