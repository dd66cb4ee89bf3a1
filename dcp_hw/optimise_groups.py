"""What dataflows are moved for: groups of layers that share one, and their weighted objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcp_hw.baselines.problem import Objective, Problem
from dcp_hw.errors import InputError
from dcp_hw.maestro.honest_fast import layer_row, machine_row
from dcp_hw.maestro.honest_types import HonestLayer, K
from dcp_hw.mapspace import DIMENSIONS, MapSpace
from dcp_hw.optimise_form import Limits
from dcp_hw.optimise_neighbours import Field
from predictors.interface import Prediction, Relaxed, relax

Weights = tuple[float, float]
"""Of latency and energy, summing to 1 (the lambdas of equation 4)."""

OBJECTIVE_WEIGHTS: dict[Objective, Weights] = {
    Objective.LATENCY: (1.0, 0.0),
    Objective.ENERGY: (0.0, 1.0),
    Objective.EDP: (0.5, 0.5),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Layers that share a dataflow: one at layer level, all at model level.

    Attributes:
        problems: on one machine, under one objective.
        counts: occurrences of each layer.
        weights: of latency and energy; `objective_weights` for those of an objective.
        common: keep tiles within every layer; otherwise a tile larger than a layer is that layer.
        shallow: a trivial middle level is none: its dataflow has two levels (`optimise_depth`).

    Raises: InputError for weights that are no shares, or a group without layers.
    """

    problems: tuple[Problem, ...]
    counts: tuple[int, ...]
    weights: Weights
    common: bool = False
    shallow: bool = False

    def __post_init__(self) -> None:
        check_weights(self.weights)
        if not self.problems or len(self.counts) != len(self.problems):
            raise InputError("a group of no layers; accepted: at least one, with a count each")

    @property
    def space(self) -> MapSpace:
        """Where the shared mapping lives: the largest sizes, or the least if `common`."""
        spaces = [problem.space for problem in self.problems]
        if len(spaces) == 1:
            return spaces[0]
        sizes = np.stack([space.sizes for space in spaces])
        held = sizes.min(axis=0) if self.common else sizes.max(axis=0)
        names = ("K", "C", "Y", "X", "R", "S")
        shape = HonestLayer(**dict(zip(names, map(int, held), strict=True)))
        return MapSpace(shape, spaces[0].pes, spaces[0].levels)

    @property
    def powers(self) -> Weights:
        """Powers of latency and energy in its value."""
        return tuple(powers(torch.tensor([self.weights]))[0].tolist())


def group_of(problem: Problem, count: int = 1, *, shallow: bool = False) -> Group:
    """One layer by itself, under its objective."""
    weights = OBJECTIVE_WEIGHTS[problem.objective]
    return Group(problems=(problem,), counts=(count,), weights=weights, shallow=shallow)


def check_weights(weights: Sequence[float]) -> None:
    """Raises: InputError for weights that are negative, no numbers, or do not sum to 1."""
    whole = sum(weights)
    if min(weights) < 0 or not abs(whole - 1) <= 1e-6:
        raise InputError(
            f"weights {', '.join(f'{w:g}' for w in weights)} of latency and energy sum to "
            f"{whole:g}; accepted: shares from 0 to 1 that sum to 1"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Groups with `starts` dataflows each, as tensors: n dataflows, m pairs with a layer.

    Attributes:
        layer, machine: m x 11, m x 6, as `Relaxed`; owner: m, the dataflow of each pair.
        count, times: m, logs of a layer's occurrences, and of the runs that make up one.
        weights: n x 2; limits: of the n dataflows; shallow: n, as `Group`.
    """

    layer: Tensor
    machine: Tensor
    owner: Tensor
    count: Tensor
    times: Tensor
    weights: Tensor
    limits: Limits
    shallow: Tensor

    def relaxed(self, parts: tuple[Tensor, Tensor, Tensor, Tensor]) -> Relaxed:
        """Each pair as predictors take it; tiles are clipped to the pair's layer."""
        tile, units, parallel, order = (part[self.owner] for part in parts)
        bound = self.layer[:, None, :DIMENSIONS].log().to(tile.dtype)
        tile = torch.where(tile <= bound, tile, bound)  # at the bound the gradient is the tile's
        return Relaxed(
            layer=self.layer,
            machine=self.machine,
            log_tile=tile,
            log_units=units,
            parallel=parallel,
            order=order,
        )

    def of(self, which: Tensor) -> Batch:
        """Only these dataflows (indices, rising), with all their layers."""
        kept = torch.isin(self.owner, which)
        place = torch.empty(len(self.weights), dtype=torch.int64)
        place[which] = torch.arange(len(which))
        limits = self.limits
        return Batch(
            layer=self.layer[kept],
            machine=self.machine[kept],
            owner=place[self.owner[kept]],
            count=self.count[kept],
            times=self.times[kept],
            weights=self.weights[which],
            limits=Limits(
                sizes=limits.sizes[which], pes=limits.pes[which], parallel=limits.parallel[which]
            ),
            shallow=self.shallow[which],
        )

    def objective(self, found: Prediction, caution: float = 0.0) -> tuple[Tensor, Tensor]:
        """Weighted logs of each dataflow (n), and by how much it exceeds the buffers (n, logs).

        One layer: `l * log cycles + e * log nJ`, with weights l and e (equation 4). Several: the
        log of the sum over layers of count x the same power of cycles and nJ, so that the gradient
        is the sum over layers of theirs (equation 3), each with its share of the value.

        Args:
            caution: share of the predictor's interval that is added, so that the search does not
                go where it is wrong.
        """
        power = powers(self.weights)[self.owner]
        logs = torch.stack([found.log_latency, found.log_energy], dim=1) + self.times[:, None]
        if caution:
            logs = logs + caution * found.half_width
        values = (logs * power).sum(dim=1) + self.count
        excess = (found.l1_excess.clamp(min=0) + found.l2_excess.clamp(min=0)).double()
        n = len(self.weights)
        over = torch.zeros(n, dtype=excess.dtype).index_add(0, self.owner, excess)
        return _log_sums(values.double(), self.owner, n) / powers(self.weights).sum(dim=1), over


def powers(weights: Tensor) -> Tensor:
    """Powers of latency and energy in a value, n x 2: equal weights make the product."""
    both = (weights > 0).all(dim=1, keepdim=True)
    return torch.where(both, 2 * weights, weights)


def _log_sums(values: Tensor, owner: Tensor, n: int) -> Tensor:
    """Log of the sums of exp(values) by owner."""
    most = torch.full((n,), -torch.inf, dtype=values.dtype)
    most = most.scatter_reduce(0, owner, values.detach(), "amax")
    sums = torch.zeros(n, dtype=values.dtype).index_add(0, owner, (values - most[owner]).exp())
    return sums.log() + most


def batch_of(groups: Sequence[Group], starts: int) -> Batch:
    """The tensors of groups; dataflow i belongs to group i // starts."""
    layers, machines, owner, counts, runs = [], [], [], [], []
    for g, group in enumerate(groups):
        for problem, count in zip(group.problems, group.counts, strict=True):
            shape, times = problem.shape
            layers.append(layer_row(shape))
            machines.append(machine_row(problem.accelerator.machine))
            owner.append(g)
            counts.append(count)
            runs.append(times)
    pairs = torch.arange(len(layers)).repeat_interleave(starts)
    first = torch.tensor(owner)[pairs] * starts
    plain = torch.ones(len(layers), 3, 7, 2, dtype=torch.int64)
    plain[:, :, 1:, 0] = torch.arange(DIMENSIONS)
    fixed = relax(torch.tensor(layers), torch.tensor(machines), plain)
    return Batch(
        layer=fixed.layer[pairs],
        machine=fixed.machine[pairs],
        owner=first + torch.arange(starts).repeat(len(layers)),
        count=torch.tensor(counts, dtype=torch.float64).log()[pairs],
        times=torch.tensor(runs, dtype=torch.float64).log()[pairs],
        weights=torch.tensor([g.weights for g in groups], dtype=torch.float64).repeat_interleave(
            starts, dim=0
        ),
        limits=limits_of(groups, starts),
        shallow=torch.tensor([g.shallow for g in groups]).repeat_interleave(starts),
    )


def field_of(groups: Sequence[Group]) -> Field:
    """The limits of groups as the discrete moves take them."""
    limits = limits_of(groups, 1)
    layers = np.zeros((len(groups), max(len(g.problems) for g in groups), 11), np.int64)
    for rows, group in zip(layers, groups, strict=True):
        for row, problem in zip(rows, group.problems, strict=False):
            row[:] = layer_row(problem.shape[0])
    return Field(
        sizes=limits.sizes.numpy(),
        may=limits.parallel.numpy(),
        pes=limits.pes.numpy(),
        layers=layers,
        number=np.array([len(group.problems) for group in groups]),
        machines=np.array([machine_row(g.problems[0].accelerator.machine) for g in groups]),
    )


def limits_of(groups: Sequence[Group], starts: int) -> Limits:
    """The limits of groups with `starts` dataflows each."""
    spaces = [group.space for group in groups]
    may = torch.ones(len(groups), DIMENSIONS, dtype=torch.bool)
    for i, group in enumerate(groups):
        if all(problem.shape[0].depthwise for problem in group.problems):
            may[i, K] = False
    return Limits(
        sizes=torch.from_numpy(np.stack([space.sizes for space in spaces])).repeat_interleave(
            starts, dim=0
        ),
        pes=torch.tensor([space.pes for space in spaces]).repeat_interleave(starts),
        parallel=may.repeat_interleave(starts, dim=0),
    )


def on_layer(mappings: NDArray[np.int64], problem: Problem) -> NDArray[np.int64]:
    """Shared mappings (n x 3 x 14) as they run on one layer: clipped to it, thus legal."""
    return problem.space.clip(mappings)


def relaxed_of(problem: Problem, mappings: NDArray[np.int64]) -> Relaxed:
    """Legal mappings of a layer (n x 3 x 14) as predictors take them; exact."""
    return relax(
        torch.tensor([layer_row(problem.shape[0])]),
        torch.tensor([machine_row(problem.accelerator.machine)]),
        torch.from_numpy(problem.space.code(mappings)),
    )
