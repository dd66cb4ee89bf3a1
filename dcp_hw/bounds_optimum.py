"""The best design for a single layer, with a bound that no design of the space is below.

Branch and bound: shapes by `bounds_points`, shapes and then designs by `bounds_programs`, in the
order of their bounds; those below the best value found are searched by the mapper, least bound
first. What is left below it when the budget ends stands in the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dcp_hw.bounds_points import PointTable
from dcp_hw.bounds_programs import BELOW, PointBound
from dcp_hw.candidates import SPLITS, Point
from dcp_hw.funnel_near import probe
from dcp_hw.known import FULL, QUICK, Choice, cost_of, evaluate, value
from dcp_hw.workload import Layer
from tensorlib.design import Design

Key = tuple[int, int]
"""Number of a point and of a memory split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much of the space is searched by the mapper.

    Attributes:
        first: points by their bounds before anything is searched.
        chunk: points that are bounded before a few more designs are searched.
        tolerance: shapes that can be better by less than this share are not looked at.
        points: whose lanes are bounded at most; of the others the bound of the shape counts.
        some: designs searched between chunks; most: in all; full: of those, with a full search.
    """

    first: int = 96
    chunk: int = 256
    some: int = 3
    most: int = 24
    full: int = 4
    tolerance: float = 0.01
    points: int = 1536


EFFORT = Effort()


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimum:
    """The best of a layer under one objective.

    Attributes:
        choice: the best design and program found; None where nothing runs.
        bound: no program of the mapper's lanes on any design of the space has less.
        points: array shapes; bounded: those whose lanes were looked at; left: those that should
            have been.
        designs: bounded below the best value and therefore candidates; searched: by the mapper.
    """

    layer: Layer
    objective: str
    choice: Choice | None
    value: float
    bound: float
    points: int
    bounded: int
    left: int
    designs: int
    searched: int

    @property
    def gap(self) -> float:
        """Value over bound."""
        return self.value / self.bound


class _Goal:
    """One objective of the search."""

    def __init__(
        self, table: PointTable, number: int, layer: Layer, objective: str, tolerance: float
    ) -> None:
        self.table, self.layer, self.objective = table, layer, objective
        values = table.values(number, layer, objective)
        self.rough = values.min(axis=0)
        self.limit, self.choice, self.roof = np.inf, None, np.inf
        self.tolerance = tolerance
        self.designs: dict[Key, float] = {}
        self.searched: dict[Key, float] = {}

    def look(self, point: int, bound: PointBound) -> None:
        """Nothing; keeps the bound of a point if it is below the limit."""
        if bound.least(BELOW, self.objective, self.roof).value >= self.roof:
            return
        for split in range(len(SPLITS)):
            found = bound.least(split, self.objective, self.roof)
            if found.value < self.roof:
                self.designs[point, split] = found.value

    def next(self) -> Key | None:
        """The design of least bound that was not searched, if it can be the best."""
        open_ = {key: x for key, x in self.designs.items() if key not in self.searched}
        key = min(open_, key=lambda key: open_[key], default=None)
        return key if key is not None and open_[key] < self.limit else None

    def found(self, amount: float, choice: Choice) -> None:
        """Nothing; a value of the objective and what has it."""
        if amount < self.limit:
            self.limit, self.choice, self.roof = amount, choice, amount * (1 - self.tolerance)

    def search(self, key: Key, effort: str) -> None:
        """Nothing; searches the mappings of a design."""
        design = _design(self.table, key)
        if design is None:
            self.searched[key] = np.inf
            return
        outcome = evaluate(self.layer, design, self.table.hardware, self.objective, effort)
        found = value(self.objective, *cost_of(outcome))
        self.searched[key] = min(found, self.searched.get(key, np.inf))
        if isinstance(outcome, Choice):
            self.found(found, outcome)


def _design(table: PointTable, key: Key) -> Design | None:
    point: Point = table.field.points[key[0]]
    candidate = point.candidate(SPLITS[key[1]], table.hardware)
    return None if candidate is None else candidate.design


def optima(
    table: PointTable,
    number: int,
    layer: Layer,
    objectives: Sequence[str],
    known: Mapping[str, Sequence[Choice]] | None = None,
    effort: Effort = EFFORT,
) -> dict[str, Optimum]:
    """The best of a layer under some objectives.

    Args:
        number: of the layer in the table's field.
        known: objective -> choices found elsewhere; the best of them is the first limit.
    """
    goals = {name: _Goal(table, number, layer, name, effort.tolerance) for name in objectives}
    for name, choices in (known or {}).items():
        for choice in choices:
            goals[name].found(value(name, choice.cycles, choice.energy_nj), choice)
    done: set[int] = set()
    first = {n for goal in goals.values() for n in np.argsort(goal.rough)[: effort.first].tolist()}
    _look(goals, sorted(first), done, table, layer)
    _search(goals, effort.some, effort)
    while len(done) < effort.points:
        some: set[int] = set()
        for goal in goals.values():
            rough = np.where(goal.rough < goal.roof, goal.rough, np.inf)
            rough[list(done)] = np.inf
            order = np.argsort(rough)[: effort.chunk // len(goals)]
            some |= set(order[np.isfinite(rough[order])].tolist())
        if not some:
            break
        _look(goals, sorted(some), done, table, layer)
        _search(goals, effort.some, effort)
    _search(goals, effort.most, effort)
    return {name: _result(goal, layer, done, effort) for name, goal in goals.items()}


def _look(
    goals: Mapping[str, _Goal],
    points: Sequence[int],
    done: set[int],
    table: PointTable,
    layer: Layer,
) -> None:
    """Nothing; bounds some points under all objectives for which they can be best."""
    for point in points:
        done.add(point)
        wanted = [goal for goal in goals.values() if goal.rough[point] < goal.roof]
        if not wanted:
            continue
        bound = PointBound(
            layer,
            probe(table.field.points[point]),
            table.hardware,
            {goal.objective: goal.roof for goal in wanted},
            cycles=table.least_cycles(point, layer),
        )
        for goal in wanted:
            goal.look(point, bound)


def _search(goals: Mapping[str, _Goal], number: int, effort: Effort) -> None:
    """Nothing; a quick search of so many more designs each, as far as they can be best."""
    for goal in goals.values():
        for _ in range(number):
            key = goal.next()
            if key is None or len(goal.searched) >= effort.most:
                break
            goal.search(key, QUICK)


def _result(goal: _Goal, layer: Layer, done: set[int], effort: Effort) -> Optimum:
    """What was found, after a full search of the best designs."""
    for key in sorted(goal.searched, key=lambda key: goal.searched[key])[: effort.full]:
        goal.search(key, FULL)
    below = [x for x in goal.designs.values() if x < goal.roof]
    rough = goal.rough.copy()
    rough[list(done)] = np.inf
    return Optimum(
        layer=layer,
        objective=goal.objective,
        choice=goal.choice,
        value=goal.limit,
        bound=min([goal.roof, float(rough.min()), *below]),
        points=len(goal.rough),
        bounded=len(done),
        left=int((rough < goal.roof).sum()),
        designs=len(below),
        searched=len(goal.searched),
    )
