"""Annealing of dataflows: neighbours judged by the predictor's closed form.

Compiled code (`optimise_anneal_kernel`) judges many times the neighbours that the whole predictor
could in that time; of one dataflow for a network it gives most up after a few layers. The whole
predictor chooses the starts, gives the gradients, and ranks the best dataflows in the end. For a
layer by itself dataflows of two levels walk beside those of three (`optimise_depth`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from dcp_hw.errors import InputError
from dcp_hw.maestro.honest_plan import LEVELS
from dcp_hw.mapspace import DIMENSIONS, UNITS
from dcp_hw.optimise_anneal_kernel import anneal
from dcp_hw.optimise_depth import packed, unpacked
from dcp_hw.optimise_descent import FITS, Passed, Predict, judge
from dcp_hw.optimise_groups import Group, batch_of, field_of, powers
from dcp_hw.optimise_local import gradients, seeds_of
from dcp_hw.optimise_neighbours import PARTS
from dcp_hw.optimise_settings import Annealing
from predictors.model import GapPredictor

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def anneal_search(
    groups: Sequence[Group],
    starts: Integers,
    predict: Predict,
    annealing: Annealing,
    *,
    caution: float = 0.0,
    seed: int = 0,
) -> list[Passed]:
    """The best that each group's dataflows passed, judged by the whole predictor.

    Args:
        starts: g x s x 3 x 14, legal.

    Raises: InputError for a predictor without a closed form, or numbers that are not finite.
    """
    if not isinstance(predict, GapPredictor) or not predict.shape.closed:
        raise InputError(
            "annealing needs a predictor with a closed form; accepted: one of kind 'ours' (or give "
            "--method moves)"
        )
    walks = [
        _Walk(group, rows, predict, annealing, caution)
        for group, rows in zip(groups, starts, strict=True)
    ]
    each = len(annealing.slices) // (annealing.halvings + 1)
    for i, (begin, end) in enumerate(annealing.slices):
        if i and i % each == 0:
            for walk in walks:
                walk.halve()
        if annealing.guide != "none":
            _slope(walks, predict, caution)
        for walk, random in zip(walks, seeds_of(groups, seed, i).tolist(), strict=True):
            walk.go(begin, end, random)
    return [walk.passed() for walk in walks]


def _slope(walks: Sequence[_Walk], predict: Predict, caution: float) -> None:
    """Take the gradients at the dataflows of all groups, in one batch.

    Of two levels: at the code with a trivial one between.
    """
    number = len(walks[0].at)
    batch = batch_of([walk.group for walk in walks], number)
    rows = np.concatenate([walk.at for walk in walks])
    found = gradients(batch, torch.from_numpy(unpacked(rows)), predict, caution)
    flat = rows[:, -1, UNITS] == 0
    found[flat] = merged(found[flat])
    for walk, slopes in zip(walks, found.reshape(len(walks), number, -1), strict=True):
        walk.slopes = slopes


class _Walk:
    """The dataflows of one group on their way."""

    def __init__(
        self,
        group: Group,
        starts: Integers,
        predict: GapPredictor,
        annealing: Annealing,
        caution: float,
    ) -> None:
        self.group, self.predict, self.caution, self.annealing = group, predict, caution, annealing
        self.at = np.ascontiguousarray(packed(starts) if group.shallow else starts)
        number, layers = len(starts), len(group.problems)
        self.values = np.full(number, np.inf)
        self.shares = np.full((number, layers), np.inf)
        self.slopes = np.zeros((number, PARTS))
        self.left: list[Integers] = []  # dataflows that were given up
        self.fixed = _fixed(group, predict)
        room = max(64, 4 * annealing.predictions).bit_length()
        self.tried = np.zeros(1 << (room - 1), np.int64)
        self.pool = np.zeros((annealing.pool, *starts.shape[1:]), np.int64)
        self.pool_values = np.full(annealing.pool, np.inf)

    def go(self, begin: int, end: int, seed: int) -> None:
        """Judge the neighbours from number `begin` to `end`."""
        guided = self.annealing.guide != "none"
        left = 1 - np.array([begin, end]) / self.annealing.predictions
        state = (self.at, self.values, self.shares, self.slopes, guided)
        kept = (self.tried, self.pool, self.pool_values)
        anneal(*state, *self.fixed, end - begin, self.annealing.warmth * left, *kept, seed)

    def halve(self) -> None:
        """Only the better half goes on; one at least."""
        kept = self.values.argsort(kind="stable")[: max(1, len(self.at) // 2)]
        if len(self.group.problems) == 1:
            self.left.append(np.delete(self.at, kept, axis=0))
        self.at, self.values, self.shares = self.at[kept], self.values[kept], self.shares[kept]
        self.slopes = self.slopes[kept]

    def passed(self) -> Passed:
        """The best of all, by the whole predictor; where nothing fitted, what there is."""
        some = np.isfinite(self.pool_values)
        rows = self.pool[some] if some.any() else self.at
        if len(self.group.problems) == 1:
            rows = np.concatenate([rows, self.at, *self.left])
        mappings = torch.from_numpy(unpacked(rows))
        batch = batch_of([self.group], len(mappings))
        values, over = judge(batch, mappings, self.predict, self.caution)
        return Passed(mappings, values, over <= FITS)


def merged(slopes: Floats) -> Floats:
    """Gradients at codes with a trivial middle level (n x PARTS) by the two levels that are left.

    Both outer tiles move together. What is left stands first, the rest is zero.
    """
    out, at, to = np.zeros_like(slopes), 0, 0
    for size in (DIMENSIONS, 1, DIMENSIONS, DIMENSIONS * DIMENSIONS):  # as `first_order` reads
        part = slopes[:, at : at + LEVELS * size].reshape(-1, LEVELS, size)
        two = part[:, [0, 2]]
        if at == 0:
            two[:, 0] += part[:, 1]
        out[:, to : to + 2 * size] = two.reshape(len(two), 2 * size)
        at, to = at + LEVELS * size, to + 2 * size
    return out


def _fixed(group: Group, predict: GapPredictor) -> tuple[object, ...]:
    """What the compiled loop is told of a group, in its order."""
    field, batch, prices = field_of([group]), batch_of([group], 1), predict.prices
    power = powers(batch.weights)[0]
    factors = (batch.count + batch.times * power.sum()).exp()
    return (
        *(part[0] for part in (field.sizes, field.may, field.pes)),
        field.layers[0],
        field.machines[0],
        batch.layer.double().numpy(),
        batch.machine[0].double().numpy(),
        *(part.double().numpy() for part in (factors, power)),
        *(part.double().numpy() for part in (prices.sizes, prices.table, prices.scalars)),
    )
