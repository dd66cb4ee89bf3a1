"""From all array shapes of some styles to a few designs: bounds, one mapping each, then searches.

points (style, shape)  -- bound not below the best found: out, provably -->
screened at one memory split  -- best ones -->  screened at all splits
-- best ones -->  quick search  -- finalists -->  full search
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from dcp_hw.bounds import Bounds
from dcp_hw.candidates import SPLITS, Candidate, Split, Style, design_of
from dcp_hw.hardware import Hardware
from dcp_hw.known import FAILED, FULL, QUICK, Known, cost_of, network_value
from dcp_hw.space import buses, shapes_of
from dcp_hw.workload import LayerSet
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
        layer_points, layer_splits: as `points` and `splits`, for each layer in mode `per-layer`.
        layer_search: designs on which each layer gets a quick search before that.
        pool, layer_quick: designs of which mode `per-layer` has all layers screened, and searched.
    """

    points: int = 64
    splits: int = 6
    quick: int = 8
    full: int = 2
    layer_points: int = 16
    layer_splits: int = 2
    pool: int = 32
    layer_search: int = 5
    layer_quick: int = 12


BUDGET = Budget()
EXAMPLE_BUDGET = Budget(points=16, splits=2, quick=2, full=1)
"""For each example: one array where `fixed` has all of them."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of candidates (style, shape, memory split, bus widths); parts sum to the whole.

    Attributes:
        styles: arrays considered, those with a twin of less skew included.
        shapes, splits, bus_widths: different values of each.
        candidates: all combinations.
        narrower_bus: left out, because the widest bus is never worse.
        more_skew: left out, because the same array with less skew is never worse.
        bound: left out, because no mapping can beat a design found.
        no_room: left out, because a bank would be empty.
        screened: one mapping of each layer was evaluated exactly.
        not_examined: left over.
        quick, full: of the screened ones, designs whose layers were searched.
    """

    styles: int = 0
    shapes: int = 0
    splits: int = 0
    bus_widths: int = 0
    candidates: int = 0
    narrower_bus: int = 0
    more_skew: int = 0
    bound: int = 0
    no_room: int = 0
    screened: int = 0
    not_examined: int = 0
    quick: int = 0
    full: int = 0

    def to_dict(self) -> dict[str, int]:
        """Names and numbers."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A style with an array shape."""

    style: Style
    rows: int
    cols: int

    def candidate(self, split: Split, hardware: Hardware) -> Candidate | None:
        """With a memory split; None if a bank would be empty."""
        design = design_of(self.style, self.rows, self.cols, split, hardware)
        return Candidate(style=self.style, design=design) if design else None


class Field:
    """Points of some styles with their bounds.

    Attributes:
        points: n points.
        cycles, energy_nj: `layers x n` lower bounds of one occurrence.
    """

    def __init__(self, styles: Sequence[Style], layers: LayerSet, hardware: Hardware) -> None:
        self.layers, self.hardware = layers, hardware
        self.points: list[Point] = []
        bounds = Bounds(hardware)
        cycles, energy = [], []
        for style in styles:
            shapes = list(shapes_of(style, hardware.pes))
            if not shapes:
                continue
            self.points += [Point(style=style, rows=r, cols=c) for r, c in shapes]
            least = [bounds.cycles(layer, style, shapes) for layer in layers]
            cycles.append(np.array(least))
            energy.append(
                np.array(
                    [bounds.energy_nj(x, shapes, c) for x, c in zip(layers, least, strict=True)]
                )
            )
        self.cycles: NDArray[np.int64] = np.hstack(cycles)
        self.energy_nj: NDArray[np.float64] = np.hstack(energy)

    def network(self, objective: str) -> NDArray[np.float64]:
        """Lower bound of a network's objective, one number per point."""
        counts = np.array([layer.count for layer in self.layers])
        cycles, energy = counts @ self.cycles, counts @ self.energy_nj
        return {"latency": cycles * 1.0, "energy": energy, "edp": cycles * energy}[objective]

    def order(self, objective: str) -> list[int]:
        """Points in the order in which to look at them, most promising first.

        By the network's bound. That of the energy knows neither reads of banks nor waiting, so
        small arrays that share little all have nearly the same; every other point is therefore
        the one of the least bound of EDP.
        """
        first = np.argsort(self.network(objective), kind="stable")
        if objective != "energy":
            return first.tolist()
        return in_turn(first, np.argsort(self.network("edp"), kind="stable"))

    def kinds(self, objective: str) -> list[int]:
        """The most promising point of every kind of array: roles of its axes, what it holds."""
        first: dict[object, int] = {}
        for number in self.order(objective):
            style = self.points[number].style
            first.setdefault((style.loops, style.wires.diagonals), number)
        return list(first.values())

    def tally(self, twins: Sequence[Style] = ()) -> Tally:
        """Counts of all candidates, nothing evaluated yet."""
        widths = len(buses(self.hardware))
        skewed = sum(len(list(shapes_of(style, self.hardware.pes))) for style in twins)
        designs = (len(self.points) + skewed) * len(SPLITS)
        return Tally(
            styles=len({p.style.key for p in self.points}) + len(twins),
            shapes=len({(p.rows, p.cols) for p in self.points}),
            splits=len(SPLITS),
            bus_widths=widths,
            candidates=designs * widths,
            narrower_bus=designs * (widths - 1),
            more_skew=skewed * len(SPLITS),
        )


def in_turn(first: NDArray[np.int64], other: NDArray[np.int64]) -> list[int]:
    """Numbers of two orders of the same points, one of each in turn, without repetition."""
    return list(dict.fromkeys(np.column_stack((first, other)).ravel().tolist()))


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
        layers = self.field.layers
        designs = [c.design for c in pool]
        what = f"{self.what}: {len(pool)} {what}"
        found = self.known.outcomes(designs, layers, effort, what)

        def order(candidate: Candidate) -> tuple[float, int]:
            costs = [(x.count, cost_of(found[candidate.design.name][x.name])) for x in layers]
            failing = sum(cost == FAILED for _, cost in costs)
            return network_value(self.known.objective, costs), failing

        return sorted(pool, key=order)

    def _settle(self) -> None:
        """Nothing; counts what was left out and what was left over."""
        rest = np.full(len(self.field.points), len(SPLITS))
        for number, splits in self.tried.items():
            rest[number] -= len(splits)
        out = self.lower >= self.limit
        self.tally.bound = int(rest[out].sum())
        self.tally.not_examined = int(rest[~out].sum())
