"""Propagation over whole numbers: dataflows go to neighbours that the predictor finds better.

In each step the gradient of the predicted value at every dataflow, by its code, says which of many
random neighbours (`optimise_moves`) are worse; the predictor sees a few of the others, and the best
of these is taken if it is better, or not much worse. Every dataflow that the predictor saw is
remembered; none is seen twice. A group's way depends on nothing but its layers and the seed.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcp_hw.maestro.honest_plan import LEVELS
from dcp_hw.mapspace import TILE
from dcp_hw.optimise_depth import unpacked
from dcp_hw.optimise_descent import (
    FITS,
    Passed,
    Predict,
    chunks_of,
    evaluate,
    judge,
    whole_parts,
)
from dcp_hw.optimise_groups import Batch, Group, batch_of, field_of
from dcp_hw.optimise_neighbours import PARTS, TRIED, drawn, neighbours
from dcp_hw.optimise_settings import Moves

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

_UNFIT = 1e3  # added to the value of a dataflow that does not fit


def shaped(groups: Sequence[Group], number: int, seed: int) -> Integers:
    """Starts drawn by what good dataflows have in common, g x number x 3 x 14.

    All PEs are used, filters are mostly whole, tiles are even, and at each level one tensor stays
    in place the longest; tiles shrink until the buffers suffice.
    """
    return drawn(field_of(groups), seeds_of(groups, seed, 0), number)


def shaped_of_two(groups: Sequence[Group], number: int, seed: int) -> Integers:
    """As `shaped`, of two levels: the middle one is trivial."""
    two = drawn(field_of(groups), seeds_of(groups, seed, -1), number, 2)
    packed = np.zeros((*two.shape[:2], LEVELS, TILE.stop), np.int64)
    packed[:, :, :2] = two
    return unpacked(packed)


def local_search(
    groups: Sequence[Group],
    starts: Integers,
    predict: Predict,
    moves: Moves,
    *,
    caution: float = 0.0,
    seed: int = 0,
) -> list[Passed]:
    """What the predictor saw of each group, the starts included.

    Args:
        starts: g x s x 3 x 14, legal.

    Raises: InputError if the predictor gives numbers that are not finite.
    """
    found: list[Passed] = []
    for chunk in chunks_of(groups, starts.shape[1] * moves.tries):
        part = slice(chunk.start, chunk.stop)
        walk = _Walk(groups[part], starts[part], predict, caution)
        for step in range(moves.steps):
            if step in moves.halved_at:
                walk.halve()
            walk.step(moves, step, seed)
        found += walk.passed()
    return found


class _Walk:
    """The dataflows of some groups on their way: s of each of g groups."""

    def __init__(
        self, groups: Sequence[Group], starts: Integers, predict: Predict, caution: float
    ) -> None:
        self.groups, self.predict, self.caution = groups, predict, caution
        self.field = field_of(groups)
        self.at = starts.copy()
        self.batch = batch_of(groups, starts.shape[1])
        self.wide: Batch | None = None  # of the neighbours
        self.values = self._predicted(self.batch, starts)
        self.slopes = np.zeros((*starts.shape[:2], PARTS))
        self.stale = np.ones(starts.shape[:2], dtype=bool)
        self.tried = np.zeros((len(groups), TRIED), np.int64)
        self.seen = [(starts, self.values)]

    def step(self, moves: Moves, step: int, seed: int) -> None:
        """One step of all dataflows."""
        if moves.guide != "none" and step % moves.refresh == 0:
            self._slope()
        random = seeds_of(self.groups, seed, step + 1)
        near, number = neighbours(
            self.field,
            self.at,
            self.slopes,
            self.tried,
            random,
            tries=moves.tries,
            draws=moves.draws,
            guide=moves.guide,
        )
        g, s, k = near.shape[:3]
        if self.wide is None:
            self.wide = batch_of(self.groups, s * k)
        values = self._predicted(self.wide, near.reshape(g, s * k, *near.shape[3:]))
        self.seen.append((near.reshape(g, s * k, *near.shape[3:]), values))
        values = values.reshape(g, s, k)
        values = np.where(np.arange(k) < number[:, :, None], values, np.inf)
        best = values.argmin(axis=2)[:, :, None]
        chosen = np.take_along_axis(near, best[..., None, None], axis=2)[:, :, 0]
        reached = np.take_along_axis(values, best, axis=2)[:, :, 0]
        room = moves.warmth * (1 - step / moves.steps)
        slack = [np.random.default_rng(r).exponential(size=s) for r in random.tolist()]
        taken = reached < self.values + room * np.stack(slack)
        self.at = np.where(taken[:, :, None, None], chosen, self.at)
        self.values = np.where(taken, reached, self.values)
        self.stale |= taken

    def halve(self) -> None:
        """Only the better half of each group goes on; one at least."""
        number = self.at.shape[1]
        kept = self.values.argsort(axis=1, kind="stable")[:, : max(1, number // 2)]
        rows = np.arange(len(kept))[:, None]
        self.at, self.values = self.at[rows, kept], self.values[rows, kept]
        self.slopes, self.stale = self.slopes[rows, kept], self.stale[rows, kept]
        self.batch, self.wide = batch_of(self.groups, kept.shape[1]), None

    def passed(self) -> list[Passed]:
        """All dataflows seen, by group."""
        mappings, values = (np.concatenate(parts, axis=1) for parts in zip(*self.seen, strict=True))
        fits = torch.from_numpy(values < _UNFIT / 2)
        return [
            Passed(*parts)
            for parts in zip(
                torch.from_numpy(mappings), torch.from_numpy(values), fits, strict=True
            )
        ]

    def _predicted(self, batch: Batch, mappings: Integers) -> Floats:
        """Weighted logs, g x n, worse by far where a dataflow does not fit."""
        flat = torch.from_numpy(mappings).flatten(0, 1)
        values, over = judge(batch, flat, self.predict, self.caution)
        return (values + _UNFIT * (over > FITS)).numpy().reshape(mappings.shape[:2])

    def _slope(self) -> None:
        """Gradients where a dataflow is new."""
        which = torch.from_numpy(np.flatnonzero(self.stale))
        if not len(which):
            return
        new = torch.from_numpy(self.at).flatten(0, 1)[which]
        slopes = gradients(self.batch.of(which), new, self.predict, self.caution)
        self.slopes.reshape(-1, PARTS)[which.numpy()] = slopes
        self.stale[:] = False


def gradients(batch: Batch, mappings: Tensor, predict: Predict, caution: float = 0.0) -> Floats:
    """Gradient of the weighted log by the code of each of n dataflows, n x PARTS."""
    parts = tuple(part.requires_grad_() for part in whole_parts(mappings))
    values, _ = evaluate(batch, parts, predict, caution)
    found = torch.autograd.grad(values.sum(), parts, allow_unused=True)
    slopes = [
        torch.zeros_like(part) if slope is None else slope.nan_to_num(0.0)
        for part, slope in zip(parts, found, strict=True)
    ]
    return torch.cat([slope.flatten(1) for slope in slopes], dim=1).double().numpy()


def seeds_of(groups: Sequence[Group], seed: int, step: int) -> Integers:
    """A seed for each group, whatever batch it is in."""
    names = (" ".join(problem.layer.name for problem in group.problems) for group in groups)
    return np.array([zlib.crc32(f"{seed} {step} {each}".encode()) for each in names])
