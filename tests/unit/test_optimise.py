"""Propagation: its equations, rounding, clipping, legality, what it counts and what it refuses.

The predictor is a small one stated here, whose gradients and optima are known by hand, or the
closed form of `predictors.model` with a network that adds nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dcp_hw import optimise_descent  # noqa: E402
from dcp_hw.baselines.problem import GAMMA_ACCELERATOR, Accelerator, Objective, Problem  # noqa: E402
from dcp_hw.baselines.propagation import settings_of  # noqa: E402
from dcp_hw.cli import main  # noqa: E402
from dcp_hw.errors import InputError  # noqa: E402
from dcp_hw.maestro.honest_fast import evaluate  # noqa: E402
from dcp_hw.maestro.honest_maestro import honest_layer, honest_levels  # noqa: E402
from dcp_hw.maestro.honest_types import HonestMachine  # noqa: E402
from dcp_hw.maestro.mapping_file import parse_mapping  # noqa: E402
from dcp_hw.mapspace import ORDER, PARALLEL, TILE, UNITS, levels_of  # noqa: E402
from dcp_hw.optimise import SEARCHERS, candidates, check, optimise, sampled  # noqa: E402
from dcp_hw.optimise_descent import Mover, descend, loss_of  # noqa: E402
from dcp_hw.optimise_form import (  # noqa: E402
    clip,
    dataflow_tensors,
    form_of,
    harden,
    snap,
    softsort,
)
from dcp_hw.optimise_front import hypervolume, pareto, weight_grid  # noqa: E402
from dcp_hw.optimise_groups import (  # noqa: E402
    Group,
    batch_of,
    field_of,
    group_of,
    limits_of,
    on_layer,
)
from dcp_hw.optimise_local import gradients, local_search, shaped  # noqa: E402
from dcp_hw.optimise_neighbours import TRIED, first_order, neighbours  # noqa: E402
from dcp_hw.optimise_predictor import Frozen, freeze, load_frozen  # noqa: E402
from dcp_hw.optimise_settings import (  # noqa: E402
    DRAWN,
    LAYER,
    MODEL,
    Descent,
    Moves,
    Relaxation,
    Settings,
)
from dcp_hw.optimise_text import maestro_text  # noqa: E402
from dcp_hw.workload import Layer, Operator  # noqa: E402
from predictors.checkpoint import save  # noqa: E402
from predictors.energy import Prices  # noqa: E402
from predictors.interface import Prediction, Relaxed  # noqa: E402
from predictors.model import GapPredictor, Shape  # noqa: E402
from predictors.paper import PaperPredictor  # noqa: E402

POINTWISE = Layer(name="pw", operator=Operator.CONV, K=24, C=16, Y=14, X=14)
FILTER = Layer(name="filter", operator=Operator.CONV, K=8, C=6, Y=9, X=9, R=3, S=3, count=2)
DEPTHWISE = Layer(name="dw", operator=Operator.DWCONV, K=12, C=12, Y=8, X=8, R=3, S=3, groups=12)
PRODUCT = Layer(name="fc", operator=Operator.GEMM, M=1, N=20, K=30)
LAYERS = (POINTWISE, FILTER, DEPTHWISE, PRODUCT)


def problem(layer: Layer = POINTWISE, objective: str = "edp") -> Problem:
    return Problem(layer=layer, accelerator=GAMMA_ACCELERATOR, objective=Objective(objective))


def weighted(*layers: Layer, latency: float = 0.5, common: bool = False) -> Group:
    return Group(
        problems=tuple(problem(layer) for layer in layers),
        counts=tuple(layer.count for layer in layers),
        weights=(latency, 1 - latency),
        common=common,
    )


@pytest.fixture(scope="module")
def closed() -> Frozen:
    """The closed form of the predictor."""
    from dcp_hw.train import prices

    return Frozen(freeze(GapPredictor(Shape(width=8, layers=1), prices())))


def toy(x: Relaxed) -> Prediction:
    """Smooth in everything; latency falls with tiles and units, energy has an optimum at e^1."""
    size = x.layer[:, :6].log().sum(-1)
    latency = size - 0.3 * x.log_tile.sum((1, 2)) - 0.2 * x.log_units.sum(1) + x.parallel[:, 0, 0]
    places = torch.arange(6.0)
    energy = ((x.log_tile - 1.0) ** 2).sum((1, 2)) + 0.1 * (x.order[:, 1] @ places**2).norm(dim=1)
    zero = torch.zeros(len(x))
    return Prediction(
        log_latency=latency.double(),
        log_energy=energy.double(),
        log_power=(energy - latency).double(),
        half_width=torch.zeros(len(x), 2),
        l1_excess=zero,
        l2_excess=zero,
    )


def starts_of(groups: list[Group], number: int, seed: int = 3) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    drawn = [group.space.sample(rng, number) for group in groups]
    return torch.from_numpy(np.stack(drawn))


def gradient_of(group: Group, mapping: torch.Tensor, predict: Callable) -> list[torch.Tensor]:
    """Gradient of the loss of one dataflow by its four parts, relaxed (no rounding)."""
    form, batch = form_of(mapping), batch_of([group], 1)
    parts = dataflow_tensors(
        form, mapping, batch.limits, Relaxation(discrete="soft", temperature=1.0)
    )
    value, _ = batch.objective(predict(batch.relaxed(parts)))
    return list(torch.autograd.grad(loss_of(value).sum(), form.leaves(), allow_unused=True))


# --- equations 2 to 4 ------------------------------------------------------------------------


def test_the_target_is_one_below_and_constant() -> None:
    """d/dP log cosh(P - R') with R' = P - 1 held is tanh(1), whatever P is."""
    values = torch.tensor([-4.0, 0.0, 30.0, 900.0], dtype=torch.float64, requires_grad=True)
    loss = loss_of(values)
    assert torch.allclose(loss, torch.full((4,), math.log(math.cosh(1.0)), dtype=torch.float64))
    loss.sum().backward()
    assert torch.allclose(values.grad, torch.full((4,), math.tanh(1.0), dtype=torch.float64))


def numeric(group: Group, mapping: torch.Tensor, leaf: int, at: tuple[int, ...]) -> float:
    """Central difference of tanh(1) x the value, by one number of the form."""

    def value(shift: float) -> float:
        form = form_of(mapping)
        with torch.no_grad():
            form.leaves()[leaf][at] += shift
        batch = batch_of([group], 1)
        # The tensors are filled by hand: straight-through values do not follow the form.
        parts = (
            form.log_tile,
            form.log_units,
            form.parallel.softmax(dim=-1),
            softsort(form.order, 1.0),
        )
        with torch.no_grad():
            return float(batch.objective(toy(batch.relaxed(parts)))[0])

    h = 1e-2
    return math.tanh(1.0) * (value(h) - value(-h)) / (2 * h)


@pytest.mark.parametrize("layers", [(POINTWISE,), (POINTWISE, FILTER, DEPTHWISE)])
@pytest.mark.parametrize("latency", [1.0, 0.5, 0.2])
def test_gradients_are_the_finite_differences(layers: tuple[Layer, ...], latency: float) -> None:
    """One layer and several layers, one metric and two: equations 2, 3 and 4."""
    group = weighted(*layers, latency=latency, common=True)
    mapping = torch.from_numpy(group.space.sample(np.random.default_rng(5), 1))
    mapping[:, :, TILE] = 1  # inside every layer, so that no tile is at a limit
    found = gradient_of(group, mapping, toy)
    for leaf, at in [(0, (0, 1, 2)), (0, (0, 2, 1)), (1, (0, 1)), (2, (0, 0, 0)), (3, (0, 1, 4))]:
        expected = numeric(group, mapping, leaf, at)
        mine = 0.0 if found[leaf] is None else float(found[leaf][at])
        assert mine == pytest.approx(expected, rel=2e-2, abs=2e-3), (leaf, at)


def test_weights_mix_the_gradients_of_single_metrics() -> None:
    """Equation 4: sum of lambda_i x gradient_i."""
    mapping = starts_of([weighted(POINTWISE)], 1)[0]
    latency, energy, both = (
        gradient_of(weighted(POINTWISE, latency=share), mapping, toy)[0] for share in (1, 0, 0.3)
    )
    assert torch.allclose(both, 0.3 * latency + 0.7 * energy, atol=1e-6)
    assert not torch.allclose(latency, energy)


def test_a_shared_dataflow_sums_gradients_over_layers() -> None:
    """Equation 3: each layer's gradient with its share of the value; counts included."""
    mapping = torch.ones(1, 3, 14, dtype=torch.int64)
    mapping[:, :, ORDER] = torch.arange(6)
    mapping[:, :, PARALLEL] = 1
    layers = (POINTWISE, FILTER)
    shared = gradient_of(weighted(*layers, common=True), mapping, toy)[0]
    alone = [gradient_of(weighted(layer), mapping, toy)[0] for layer in layers]
    values = []
    for layer in layers:
        batch = batch_of([weighted(replace(layer, count=1))], 1)
        parts = dataflow_tensors(form_of(mapping), mapping, batch.limits, Relaxation())
        values.append(
            layer.count * math.exp(2 * batch.objective(toy(batch.relaxed(parts)))[0].item())
        )
    expected = sum(v * g for v, g in zip(values, alone, strict=True)) / sum(values)
    assert torch.allclose(shared, expected, atol=1e-6)


@pytest.mark.parametrize("wrong", [(0.6, 0.6), (1.2, -0.2), (math.nan, 1.0)])
def test_weights_that_are_no_shares_are_refused(wrong: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="sum to"):
        Group(problems=(problem(),), counts=(1,), weights=wrong)


def test_a_grid_of_weights_sums_to_one() -> None:
    grid = weight_grid(5)
    assert grid[0] == (1.0, 0.0)
    assert grid[-1] == (0.0, 1.0)
    assert all(sum(pair) == pytest.approx(1.0) for pair in grid)
    with pytest.raises(InputError, match="at least 2"):
        weight_grid(1)


# --- steps, rounding, clipping -----------------------------------------------------------------


def test_a_plain_step_is_the_rate_times_the_gradient() -> None:
    group = weighted(POINTWISE)
    mapping = starts_of([group], 1)[0]
    form, batch = form_of(mapping), batch_of([group], 1)
    before = form.log_tile.detach().clone()
    parts = dataflow_tensors(form, mapping, batch.limits, Relaxation())
    value, over = batch.objective(toy(batch.relaxed(parts)))
    (expected,) = torch.autograd.grad(loss_of(value).sum(), [form.log_tile], retain_graph=True)
    Mover(Descent(rule="plain")).move(form, value, over, rate=0.25)
    assert torch.allclose(form.log_tile, before - 0.25 * expected)


def test_numbers_are_rounded_every_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """T_int = 3 of T = 10 steps: after 3, 6 and 9; the form then holds logs of integers."""
    calls: list[int] = []
    moved = 0
    real_move, real_snap = Mover.move, snap

    def count_move(self: Mover, *args: object, **named: object) -> None:
        nonlocal moved
        moved += 1
        real_move(self, *args, **named)

    def count_snap(form: object, mappings: torch.Tensor) -> None:
        calls.append(moved)
        real_snap(form, mappings)
        numbers = form.log_tile.detach().exp()
        assert torch.allclose(numbers, numbers.round(), atol=1e-3)

    monkeypatch.setattr(optimise_descent, "snap", count_snap)
    monkeypatch.setattr(Mover, "move", count_move)
    group = weighted(POINTWISE)
    settings = Descent(steps=10, round_every=3, renew_every=0)
    descend([group], starts_of([group], 2), toy, settings)
    assert calls == [3, 6, 9]
    assert moved == 10


@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_every_dataflow_on_the_way_is_legal(layer: Layer, even: bool) -> None:
    """Also after wild steps; checked by the space's own words."""
    group = group_of(problem(layer))
    form = form_of(starts_of([group], 40)[0])
    limits = limits_of([group], 40)
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for leaf in form.leaves():
            leaf += 6 * torch.randn(leaf.shape, generator=random)
    wild = harden(form, limits, even=even).numpy()
    assert [group.space.why_illegal(mapping) for mapping in wild] == [None] * 40
    clip(form, limits)
    assert bool((form.log_tile >= 0).all())
    assert bool((form.log_tile[:, 0] <= limits.sizes.log() + 1e-6).all())
    assert bool((form.log_tile[:, 1:] <= form.log_tile[:, :-1] + 1e-6).all())
    assert bool((form.log_units.sum(1) <= limits.pes.log() + 1e-5).all())
    for mapping in harden(form, limits, even=even).numpy():
        assert group.space.why_illegal(mapping) is None


def test_clipping_moves_nothing_that_is_inside() -> None:
    group = weighted(POINTWISE)
    form = form_of(starts_of([group], 30)[0])
    before = [leaf.detach().clone() for leaf in form.leaves()]
    clip(form, limits_of([group], 30))
    for leaf, was in zip(form.leaves(), before, strict=True):
        assert torch.allclose(leaf, was, atol=1e-6)


def test_hardening_gives_legal_mappings_back() -> None:
    for layer in LAYERS:
        group = group_of(problem(layer))
        mappings = starts_of([group], 50)[0]
        assert torch.equal(harden(form_of(mappings), limits_of([group], 50)), mappings)


def test_even_tiles_need_as_many_rounds_and_never_more_elements() -> None:
    group = weighted(POINTWISE)
    limits, mappings = limits_of([group], 200), starts_of([group], 200)[0]
    even = harden(form_of(mappings), limits, even=True)
    assert bool((even[:, 0, TILE] <= mappings[:, 0, TILE]).all())

    def rounds(m: torch.Tensor) -> torch.Tensor:
        spread = torch.ones_like(m[:, 0, TILE]).scatter_(1, m[:, 0, 1:2], m[:, 0, :1])
        return -(-limits.sizes // (m[:, 0, TILE] * spread))

    assert torch.equal(rounds(even), rounds(mappings))
    assert bool((even[:, 0, TILE] < mappings[:, 0, TILE]).any())


def test_the_predictor_sees_real_dataflows_and_passes_gradients() -> None:
    """Straight-through: permutations and one-hot rows forward, gradients to scores and logits."""
    group = weighted(POINTWISE)
    mappings, limits = starts_of([group], 5)[0], limits_of([group], 5)
    form = form_of(mappings)
    _, _, parallel, order = dataflow_tensors(form, mappings, limits, Relaxation())
    assert torch.allclose(order.detach().sum(2), torch.ones(5, 3, 6))
    assert torch.allclose(order.detach().argmax(3), mappings[:, :, ORDER])
    assert torch.allclose(order.detach().amax(3), torch.ones(5, 3, 6))
    assert torch.equal(parallel.detach().argmax(2), mappings[:, :, PARALLEL])
    loss = (order * torch.arange(6.0)[:, None] * torch.arange(6.0)).sum() + parallel[..., 2].sum()
    loss.backward()
    assert bool((form.order.grad != 0).any())
    assert bool((form.parallel.grad != 0).any())
    _, _, fixed, still = dataflow_tensors(form, mappings, limits, Relaxation(discrete="fixed"))
    assert not fixed.requires_grad
    assert not still.requires_grad


def test_softsort_is_a_permutation_where_scores_differ() -> None:
    scores = torch.tensor([3.0, -1.0, 2.0, 9.0, 0.0, 5.0])
    rows = softsort(scores, 0.01)
    assert torch.equal(rows.argmax(1), torch.tensor([1, 4, 2, 0, 5, 3]))
    assert torch.allclose(softsort(scores, 5.0).sum(1), torch.ones(6))


# --- discrete moves ------------------------------------------------------------------------------


def near(groups: list[Group], mappings: np.ndarray, guide: str = "none", **named: object):
    """Neighbours under the slopes of `toy`, as far as there are any: for each start a list."""
    flat = torch.from_numpy(mappings).flatten(0, 1)
    slopes = gradients(batch_of(groups, mappings.shape[1]), flat, toy)
    tried = named.pop("tried", None)
    found, number = neighbours(
        field_of(groups),
        mappings,
        slopes.reshape(*mappings.shape[:2], -1),
        np.zeros((len(groups), TRIED), np.int64) if tried is None else tried,
        np.arange(len(groups)) + 5,
        **{"tries": 20, "draws": 60, "guide": guide} | named,
    )
    rows = zip(found.reshape(-1, *found.shape[2:]), number.ravel(), strict=True)
    return [mine[:n] for mine, n in rows], slopes


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_starts_and_neighbours_are_legal_even_and_fit(layer: Layer) -> None:
    """By the words of the space and by the exact model."""
    one = problem(layer)
    group = group_of(one)
    starts = shaped([group], 30, 1)
    assert np.isfinite(one.costs(starts[0])[0]).mean() > 0.9
    found, _ = near([group], starts)
    rows = np.concatenate(found)
    assert len(rows) > 100
    assert [one.space.why_illegal(m) for m in (*starts[0], *rows)] == [None] * (30 + len(rows))
    assert np.isfinite(one.costs(rows)[0]).all()
    tensor = torch.from_numpy(rows)
    evened = harden(form_of(tensor), limits_of([group], len(rows)), even=True)
    assert torch.equal(evened, tensor)


def test_no_neighbour_comes_twice() -> None:
    group = group_of(problem())
    starts, tried = shaped([group], 6, 1), np.zeros((1, TRIED), np.int64)
    rows = [row for _ in range(3) for some in near([group], starts, tried=tried)[0] for row in some]
    keys = {row.tobytes() for row in rows}
    # The second call draws what the first drew: all of it is known, others take its place.
    assert len(keys) == len(rows) > 120


def test_moves_reach_every_number_of_the_code() -> None:
    """Units, parallel dimensions, orders and tiles of each level change."""
    group = group_of(problem(FILTER))
    starts = shaped([group], 20, 2)
    found, _ = near([group], starts, tries=60, draws=200)
    changed = np.zeros((3, 14), dtype=bool)
    for start, rows in zip(starts[0], found, strict=True):
        changed |= (rows != start).any(axis=0)
    assert changed.all()


def test_the_first_order_change_of_a_linear_value_is_its_change() -> None:
    """Latency of `toy` is linear in logs and in the parallel dimension."""
    group = weighted(POINTWISE, latency=1.0)
    starts = shaped([group], 8, 1)
    found, slopes = near([group], starts)
    for start, rows, slope in zip(starts[0], found, slopes, strict=True):
        both = torch.from_numpy(np.concatenate([start[None], rows]))
        batch = batch_of([group], len(both))
        parts = dataflow_tensors(form_of(both), both, batch.limits, Relaxation())
        value = batch.objective(toy(batch.relaxed(parts)))[0].detach().numpy()
        mine = [first_order(start, row, slope) for row in rows]
        assert np.allclose(mine, value[1:] - value[0], atol=1e-4)


def test_the_first_order_change_by_an_order_is_the_gradient_by_its_matrix() -> None:
    """By hand: loops 0 and 1 of level 2 change places."""
    mapping = shaped([group_of(problem())], 1, 1)[0, 0]
    other, slope = mapping.copy(), np.random.default_rng(1).normal(size=147)
    a, b = mapping[2, ORDER][:2]
    other[2, ORDER.start : ORDER.start + 2] = b, a
    matrix = slope[39:].reshape(3, 6, 6)[2]
    expected = matrix[0, b] + matrix[1, a] - matrix[0, a] - matrix[1, b]
    assert first_order(mapping, other, slope) == pytest.approx(expected)


def test_gradients_reject_what_is_worse_and_rank_what_is_best() -> None:
    group = weighted(POINTWISE, latency=1.0)
    starts = shaped([group], 8, 1)
    worse, mean = {}, {}
    for guide in ("none", "reject", "rank"):
        found, slopes = near([group], starts, guide)
        pairs = [
            (a, b, g) for a, some, g in zip(starts[0], found, slopes, strict=True) for b in some
        ]
        mean[guide] = np.mean([first_order(*pair) for pair in pairs])
        kept = [x for x in pairs if (x[0][:, PARALLEL] == x[1][:, PARALLEL]).all()]
        worse[guide] = np.mean([first_order(*pair) > 0.01 for pair in kept])
    assert mean["rank"] < mean["none"] - 0.3
    assert worse["reject"] < 0.6 * worse["none"]


def test_moves_reach_the_optimum_of_a_simple_predictor() -> None:
    """Tiles of 3, the whole number nearest e, in nearly all places."""
    group = weighted(POINTWISE, latency=0.0)
    (passed,) = local_search([group], shaped([group], 4, 1), toy, Moves(steps=60))
    best = passed.best(1)[0][:, TILE][:, :4]
    assert int((best == 3).sum()) >= 10


def test_the_way_of_a_group_does_not_depend_on_the_batch() -> None:
    groups = [weighted(POINTWISE), weighted(DEPTHWISE)]
    both = local_search(groups, shaped(groups, 3, 1), toy, Moves(steps=6))
    for group, mine in zip(groups, both, strict=True):
        (alone,) = local_search([group], shaped([group], 3, 1), toy, Moves(steps=6))
        assert torch.equal(alone.mappings, mine.mappings)


def test_halving_gives_up_the_worse_half_and_keeps_to_the_predictions() -> None:
    group, asked = group_of(problem()), []

    def predict(x: Relaxed) -> Prediction:
        asked.append(len(x))
        return toy(x)

    moves = Moves(steps=14, tries=2, draws=8, guide="none", halvings=2, warmth=0.0)
    assert moves.halved_at == {2, 6}
    (passed,) = local_search([group], starts_of([group], 8).numpy(), predict, moves)
    assert asked == [8, *[16] * 2, *[8] * 4, *[4] * 8]
    assert len(passed.values) == sum(asked)
    settings = Settings(starts=8, screened=20, descent=moves)
    assert settings.predictions == 20 + sum(asked[1:])
    starts, second = passed.values[:8], passed.values[8 + 32 :]
    assert second.min() < starts.min()
    alone = Moves(steps=14, tries=2, draws=8, guide="none", warmth=0.0)
    kept = local_search([group], starts_of([group], 1).numpy(), toy, replace(alone, halvings=3))
    assert len(kept[0].values) == 1 + 28  # one goes on


def test_one_mapping_for_many_layers_is_searched_longer() -> None:
    assert MODEL.predictions > 5 * LAYER.predictions
    assert settings_of("dcp", 3, 7, shared=True) == replace(MODEL, seed=3, checks=7)
    for shared, base in ((False, LAYER), (True, MODEL)):
        twin = settings_of("dcp-random-moves", 3, 99, shared=shared)
        assert twin == replace(base, seed=3, descent=replace(base.descent, guide="none"))
    shared = settings_of("dcp-random-moves", 3, 99, shared=True)
    assert shared.predictions == MODEL.predictions
    assert settings_of("dcp-without-gradients", 1, 99, shared=True).descent is None


def test_caution_adds_the_interval() -> None:
    """A dataflow of which the predictor is unsure looks worse by the powers of both metrics."""

    def unsure(x: Relaxed) -> Prediction:
        return replace(toy(x), half_width=torch.tensor([[0.1, 0.4]]).expand(len(x), 2).double())

    for latency, more in ((1.0, 0.1), (0.0, 0.4), (0.5, 0.25)):
        group = weighted(POINTWISE, latency=latency)
        mapping, batch = starts_of([group], 1)[0], batch_of([group], 1)
        x = batch.relaxed(dataflow_tensors(form_of(mapping), mapping, batch.limits, Relaxation()))
        plain, cautious = (batch.objective(unsure(x), share)[0] for share in (0.0, 1.0))
        assert float(cautious - plain) == pytest.approx(more, abs=1e-6)


def test_a_part_of_a_batch_has_the_values_of_the_whole() -> None:
    groups = [weighted(*LAYERS[:2]), weighted(PRODUCT)]
    batch, mappings = batch_of(groups, 3), starts_of(groups, 3).flatten(0, 1)
    which = torch.tensor([1, 2, 4])

    def value(batch, mappings):  # type: ignore[no-untyped-def]
        parts = dataflow_tensors(form_of(mappings), mappings, batch.limits, Relaxation())
        return batch.objective(toy(batch.relaxed(parts)))[0]

    assert torch.equal(value(batch.of(which), mappings[which]), value(batch, mappings)[which])


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
