"""From all array shapes of some styles to a few designs: bounds, one mapping each, then searches.

points (style, shape)  -- bound not below the best found: out, provably -->
screened at one memory split  -- best ones -->  screened at all splits
-- best ones -->  quick search  -- the same of likely ones near them -->
finalists  -->  full search
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dcp_hw.candidates import SPLITS, Candidate, Split, Style
from dcp_hw.funnel_field import Field
from dcp_hw.funnel_near import Key
from dcp_hw.funnel_network import Network
from dcp_hw.known import FAILED, FULL, QUICK, Cost, Known, cost_of, network_value
from tensorlib.design import Design

BATCH = 16
"""Points screened before the best of them prunes others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much to look at; what is left over is counted.

    Attributes:
        points: points screened at the first memory split.
        splits: of those, points screened at all splits.
        quick, full: designs whose layers get a quick and a full search.
        near, at_once: designs near the screened shapes that get a quick search too, chosen by the
            bound of all programs (`funnel_network`); of these, how many before what they told
            chooses others.
        layer_points, layer_splits: as `points` and `splits`, for each layer in mode `per-layer`.
        layer_near: designs near those that are screened for each layer, too, by their bounds.
        layer_search: designs on which each layer gets a quick search before that.
        pool, layer_quick: designs of which mode `per-layer` has all layers screened, and searched.
    """

    points: int = 64
    splits: int = 6
    quick: int = 8
    full: int = 2
    near: int = 16
    at_once: int = 4
    layer_points: int = 16
    layer_splits: int = 2
    layer_near: int = 8
    pool: int = 32
    layer_search: int = 5
    layer_quick: int = 12


BUDGET = Budget()
EXAMPLE_BUDGET = Budget(points=16, splits=2, quick=2, full=1, near=0)
"""For each example: one array where `fixed` has all of them."""


class Funnel:
    """The way of a field's points through the stages, for a network on one design.

    Attributes:
        pool: designs whose layers were all screened: name -> number of the point, design.
        values: what the network costs on each of them, from screening.
        tried: number of a point -> memory splits looked at.
    """

    def __init__(
        self, field: Field, known: Known, budget: Budget, what: str, twins: Sequence[Style] = ()
    ) -> None:
        self.field, self.known, self.budget, self.what = field, known, budget, what
        self.tally = field.tally(twins)
        self.lower = field.network(known.objective)
        self.limit = np.inf  # value of the best design so far
        self.values: dict[str, float] = {}
        self.pool: dict[str, tuple[int, Candidate]] = {}
        self.tried: dict[int, set[Split]] = defaultdict(set)

    def finalists(self) -> list[Candidate]:
        """Designs with a full search of all layers, best first; empty if no bank fits."""
        self._screen_shapes()
        self._screen_splits()
        pool = [item[-1] for item in self._best()]
        pool = self._searched(pool[: self.budget.quick], QUICK, "designs")
        pool = self._searched([*pool, *self._near(pool)], QUICK, "designs")
        self.tally.quick = len(pool)
        pool = self._searched(pool[: self.budget.full], FULL, "finalists")
        self.tally.full = len(pool)
        self._settle()
        return pool

    def screened(self, most: int) -> list[Design]:
        """Designs that run all layers, best first by screening: one split of each point."""
        first: dict[int, Design] = {}
        for number, candidate in self._best():
            if np.isfinite(self.values[candidate.design.name]):
                first.setdefault(number, candidate.design)
        return list(first.values())[:most]

    def _best(self) -> list[tuple[int, Candidate]]:
        """The pool in the order of its values."""
        return sorted(self.pool.values(), key=lambda item: self.values[item[-1].design.name])

    def _screen_shapes(self) -> None:
        """Nothing; screens the first points, without those that cannot be better.

        Then the first of every kind of array: bounds know the steps of an array, not what its
        banks and chains cost, and favour kinds where these cost most.
        """
        objective = self.known.objective
        first = self.field.order(objective)[: self.budget.points]
        first = list(dict.fromkeys([*first, *self.field.kinds(objective)]))
        for start in range(0, len(first), BATCH):
            batch = [n for n in first[start : start + BATCH] if self.lower[n] < self.limit]
            if batch:
                self._screen([(n, SPLITS[0]) for n in batch], f"shapes from {start + 1}")

    def _screen_splits(self) -> None:
        """Nothing; screens the best points at all other memory splits."""
        found = self._best()[: self.budget.splits]
        best = [n for n, _ in found if self.lower[n] < self.limit]
        self._screen([(n, split) for n in best for split in SPLITS[1:]], "memory splits")

    def _near(self, searched: Sequence[Candidate]) -> list[Candidate]:
        """Likely designs besides those that were searched, each after a quick search.

        Raised bounds choose among the shapes of every kind that screening likes and those near
        them: first the best of every kind, then those that are best if they are about as far from
        their bounds as what was searched.
        """
        if not (searched and self.budget.near):
            return []
        layers, known = list(self.field.layers), self.known
        numbers = {point: n for n, point in enumerate(self.field.points)}
        shapes = dict.fromkeys(self.field.points[number] for number, _ in self._best())
        network = Network(layers, self.field.hardware, known.objective, shapes, numbers)
        names = {candidate.design.name for candidate in searched}
        some = network.choose(self.budget.at_once)
        network.found({self._key(c): self._value(c) for c in searched})
        found: list[Candidate] = []
        while some:
            new = [(key, c) for key, c in some if c.design.name not in names]
            keys = [(numbers[point], SPLITS[n]) for (point, n), _ in new]
            self._screen([(n, x) for n, x in keys if x not in self.tried[n]], "likely designs")
            found += self._searched([c for _, c in new], QUICK, "likely designs")
            network.found({key: self._value(c) for key, c in some})
            some = network.choose(min(self.budget.at_once, self.budget.near - len(found)))
        return found

    def _key(self, candidate: Candidate) -> Key:
        """The point of a screened design and the number of its memory split."""
        point = self.field.points[self.pool[candidate.design.name][0]]
        made = [point.candidate(split, self.field.hardware) for split in SPLITS]
        return point, made.index(candidate)

    def _value(self, candidate: Candidate) -> float:
        """What the network costs on a design after the quick search."""
        return network_value(self.known.objective, self._costs(candidate, QUICK))

    def _screen(self, wanted: Sequence[tuple[int, Split]], what: str) -> None:
        made: list[tuple[int, Candidate]] = []
        for number, split in wanted:
            candidate = self.field.points[number].candidate(split, self.field.hardware)
            self.tried[number].add(split)
            if candidate is None:
                self.tally.no_room += 1
            else:
                made.append((number, candidate))
        layers = list(self.field.layers)
        self.known.screen([(c.design, layers) for _, c in made], f"{self.what}: {what}")
        for number, candidate in made:
            name = candidate.design.name
            self.pool[name] = number, candidate
            self.values[name] = self.known.screened_value(candidate.design, layers)
            self.limit = min(self.limit, self.values[name])
        self.tally.screened += len(made)

    def _searched(self, pool: list[Candidate], effort: str, what: str) -> list[Candidate]:
        """Some candidates after a search of their layers' mappings, best first."""
        layers, known = self.field.layers, self.known
        known.outcomes([c.design for c in pool], layers, effort, f"{self.what}: {len(pool)} {what}")

        def order(candidate: Candidate) -> tuple[float, int]:
            costs = self._costs(candidate, effort)
            return network_value(known.objective, costs), sum(c == FAILED for _, c in costs)

        return sorted(pool, key=order)

    def _costs(self, candidate: Candidate, effort: str) -> list[tuple[int, Cost]]:
        """How often layers occur, and what they cost on a design after a search."""
        name, table = candidate.design.name, self.known.table
        return [(x.count, cost_of(table[name, x.name, effort])) for x in self.field.layers]

    def _settle(self) -> None:
        """Nothing; counts what was left out and what was left over."""
        rest = np.full(len(self.field.points), len(SPLITS))
        for number, splits in self.tried.items():
            rest[number] -= len(splits)
        out = self.lower >= self.limit
        self.tally.bound = int(rest[out].sum())
        self.tally.not_examined = int(rest[~out].sum())
