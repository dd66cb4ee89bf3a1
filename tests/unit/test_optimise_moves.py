"""Discrete moves: neighbours, what gradients reject and rank, halving, caution."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from propagation import (  # noqa: E402
    DEPTHWISE,
    FILTER,
    LAYERS,
    POINTWISE,
    PRODUCT,
    problem,
    starts_of,
    toy,
    weighted,
)

from dcp_hw.baselines.propagation import settings_of  # noqa: E402
from dcp_hw.mapspace import ORDER, PARALLEL, TILE  # noqa: E402
from dcp_hw.optimise_form import (  # noqa: E402
    dataflow_tensors,
    form_of,
    harden,
)
from dcp_hw.optimise_groups import (  # noqa: E402
    Group,
    batch_of,
    field_of,
    group_of,
    limits_of,
)
from dcp_hw.optimise_local import gradients, local_search, shaped  # noqa: E402
from dcp_hw.optimise_neighbours import TRIED, first_order, neighbours  # noqa: E402
from dcp_hw.optimise_settings import (  # noqa: E402
    LAYER,
    MODEL,
    Moves,
    Relaxation,
    Settings,
)
from dcp_hw.workload import Layer  # noqa: E402
from predictors.interface import Prediction, Relaxed  # noqa: E402

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
