"""The honest model with gradients equals the fast one where tiles divide."""

from __future__ import annotations

import os
import random
from math import isclose

import numpy as np
import pytest

from dcp_hw.maestro.honest_fast import (
    batch_counts,
    evaluate_batch,
    layer_row,
    machine_row,
    mapping_rows,
)
from dcp_hw.maestro.honest_types import HonestCounts, HonestLayer, HonestLevel, HonestMachine

if os.environ.get("REQUIRE_TOOLS") == "1":
    import torch
else:
    torch = pytest.importorskip("torch", reason="torch is missing; make setup-torch")

Case = tuple[HonestLayer, tuple[HonestLevel, ...], HonestMachine]


def divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


def even_case(rng: random.Random, depth: int) -> Case:
    """Tiles that divide, whole filters, folds without remainder, any bandwidth."""
    taps, stride = rng.choice((1, 3, 3, 5)), rng.choice((1, 1, 2))
    padding = rng.choice((0, 1)) if taps > 1 else 0
    depthwise = rng.random() < 0.2
    sizes = [1 if depthwise else rng.choice((4, 8, 12)), rng.choice((2, 6, 8)), 12, 8, taps, taps]
    layer = HonestLayer(
        **dict(zip("KCYXRS", sizes, strict=True)),
        stride=stride,
        padding=padding,
        depthwise=depthwise,
    )
    outer, levels = list(sizes), []
    for _ in range(depth):
        tile = [outer[d] if d > 3 else rng.choice(divisors(outer[d])) for d in range(6)]
        parallel = rng.randrange(6)
        along = 1 if depthwise and parallel == 0 else parallel
        tiles = outer[along] // tile[along]
        units = rng.choice([*divisors(tiles), 2 * tiles])
        levels.append(
            HonestLevel(
                parallel=parallel,
                order=tuple(rng.sample(range(6), 6)),
                tile=tuple(tile),
                clusters=units,
            )
        )
        outer = tile
    machine = HonestMachine(
        pes=1 << 20,
        noc_bw=rng.choice((None, 1, 3, 8, 64)),
        noc_latency=rng.choice((0, 2)),
        dram_bw=rng.choice((None, 1, 3, 16)),
    )
    return layer, tuple(levels), machine


def rows_of(cases: list[Case]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (
        np.array([layer_row(layer) for layer, _, _ in cases]),
        np.array([machine_row(machine) for _, _, machine in cases]),
        np.array([mapping_rows(levels) for _, levels, _ in cases]),
    )


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_equals_the_fast_model_at_dividing_tiles(depth: int) -> None:
    from dcp_hw.maestro.honest_torch import evaluate

    rng = random.Random(depth)
    cases = [even_case(rng, depth) for _ in range(300)]
    rows = rows_of(cases)
    found = evaluate(*map(torch.from_numpy, rows))
    batch = evaluate_batch(*rows)
    for i, (_, levels, machine) in enumerate(cases):
        counts = batch_counts(batch, i, depth, machine, levels)
        assert isinstance(counts, HonestCounts)
        for name in ("supplied", "taken", "drained", "collected", "required"):
            values = getattr(found, name)[i].numpy()
            np.testing.assert_allclose(values, getattr(counts, name), rtol=1e-12, err_msg=name)
        assert isclose(found.sums_read[i], counts.sums_read, rel_tol=1e-12, abs_tol=1e-6)
        assert isclose(found.l2_required[i], counts.l2_required, rel_tol=1e-12)
        assert isclose(found.cycles[i], counts.cycles, rel_tol=1e-12), cases[i]


def test_gradients_are_those_of_small_steps() -> None:
    """Where nothing is rounded up and no loop is about to get a second round."""
    from dcp_hw.maestro.honest_torch import evaluate

    rng = random.Random(9)
    cases = [
        (layer, levels, HonestMachine(pes=1 << 20))
        for layer, levels, _ in (even_case(rng, 3) for _ in range(40))
    ]
    layers, machines, mappings = map(torch.from_numpy, rows_of(cases))
    tiles = mappings[:, :, 8:].double()
    tiles[:, :, :4] *= torch.tensor([0.9, 0.8, 0.7])[:, None]  # away from the corners
    tiles.requires_grad_(True)

    def total(values: torch.Tensor) -> torch.Tensor:
        found = evaluate(layers, machines, mappings, values)
        return found.supplied[:, 0].sum(dim=1) + found.taken[:, 2].sum(dim=1) + found.cycles

    (gradient,) = torch.autograd.grad(total(tiles).sum(), tiles)
    assert gradient.abs().sum() > 0
    for level in range(3):
        for d in range(4):
            step = torch.zeros_like(tiles)
            step[:, level, d] = 1e-6
            with torch.no_grad():
                slope = (total(tiles + step) - total(tiles - step)) / 2e-6
            scale = slope.abs().clamp(min=1.0) + total(tiles).detach() * 1e-6
            assert ((slope - gradient[:, level, d]).abs() / scale).max() < 1e-3, (level, d)


def test_what_it_does_not_take() -> None:
    from dcp_hw.maestro.honest_torch import evaluate

    layer, levels, machine = even_case(random.Random(1), 2)
    wide = HonestLayer(K=4, C=2, Y=12, X=8, R=5, S=5, padding=2)
    with pytest.raises(ValueError, match="padding"):
        evaluate(*map(torch.from_numpy, rows_of([(wide, levels, machine)])))
    many = tuple(
        HonestLevel(parallel=0, order=tuple(range(6)), tile=layer.sizes, clusters=2) for _ in levels
    )
    with pytest.raises(ValueError, match="PEs"):
        evaluate(*map(torch.from_numpy, rows_of([(layer, many, HonestMachine(pes=1))])))
    partial = torch.ones(1, 2, 6, dtype=torch.float64)
    rows = rows_of([(HonestLayer(K=4, R=3, Y=4), levels, machine)])
    with pytest.raises(ValueError, match="whole"):
        evaluate(*map(torch.from_numpy, rows), partial)
