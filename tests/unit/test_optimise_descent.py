"""Propagation: the equations, and steps with their rounding, clipping and legality."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from propagation import (  # noqa: E402
    DEPTHWISE,
    FILTER,
    LAYERS,
    POINTWISE,
    gradient_of,
    problem,
    starts_of,
    toy,
    weighted,
)

from dcp_hw import optimise_descent  # noqa: E402
from dcp_hw.errors import InputError  # noqa: E402
from dcp_hw.mapspace import ORDER, PARALLEL, TILE  # noqa: E402
from dcp_hw.optimise_descent import Mover, descend, loss_of  # noqa: E402
from dcp_hw.optimise_form import (  # noqa: E402
    clip,
    dataflow_tensors,
    form_of,
    harden,
    snap,
    softsort,
)
from dcp_hw.optimise_front import weight_grid  # noqa: E402
from dcp_hw.optimise_groups import (  # noqa: E402
    Group,
    batch_of,
    group_of,
    limits_of,
)
from dcp_hw.optimise_settings import (  # noqa: E402
    Descent,
    Relaxation,
)
from dcp_hw.workload import Layer  # noqa: E402

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
