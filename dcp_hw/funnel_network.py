"""One design for all layers of a network: which ones are checked, with what checks have told.

Bounds of all programs (`bounds_programs`) rank shapes near those that propagation proposes. How far
a design is from its bound depends on the kind of array, so checks come in rounds: first one of each
kind, then those that are best if designs of a kind are as far from their bounds as those before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from functools import cache

import numpy as np

from dcp_hw.bounds_programs import BELOW, PointBound
from dcp_hw.candidates import SPLITS, Candidate, Point, Style
from dcp_hw.funnel_near import Key, Kind, halved, kind, near, probe
from dcp_hw.hardware import Hardware
from dcp_hw.known import network_value
from dcp_hw.tensorlib_dcp_code import style_fields
from dcp_hw.workload import Layer

SHAPES = 3
"""Proposed shapes of a kind that are bounded; shapes of a kind whose splits are compared first."""
BEST, STEPS = 3, 3
"""Best shapes of a kind whose neighbours are bounded, and how often, before each round."""
OF_A_SHAPE = 2
"""Designs of one shape checked in a round at most."""
HOPE = 0.25
"""Others may be nearer to their bounds than the nearest one of their kind: by the root."""
WORTH = 1.5
"""Kinds whose bounds are so many times the best value are left alone."""
SLACK = 1.3

_ALIKE: tuple[Callable[[Style], object], ...] = (
    lambda style: style.key,
    lambda style: style_fields(style)[:4],
    kind,
    lambda _: None,
)
"""What makes two arrays alike, most alike first: the same; the same axes and held tensor; kind."""


class Network:
    """Shapes with bounds of all layers together, and the designs that were checked.

    Attributes:
        seen: bound of a shape whatever its split; infinite where it cannot be best.
        checked: what was found of designs.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        hardware: Hardware,
        objective: str,
        proposed: Iterable[Point],
        within: Container[Point] | None = None,
    ) -> None:
        self.layers, self.hardware, self.objective = list(layers), hardware, objective
        self.within = within  # shapes to look at; None: all
        self.seen: dict[Point, float] = {}
        self.checked: dict[Key, float] = {}
        self._bounds: dict[Point, list[PointBound]] = {}
        self._splits: dict[Key, float] = {}
        self._least = np.zeros((len(self.layers), 2))  # the least cycles and nJ of each seen
        often: Counter[Kind] = Counter()
        for point in proposed:
            often[kind(point.style)] += 1
            if often[kind(point.style)] <= SHAPES:
                self._look(point)

    @property
    def best(self) -> float:
        """The least value of a checked design."""
        return min(self.checked.values(), default=np.inf)

    def choose(self, number: int) -> list[tuple[Key, Candidate]]:
        """So many designs to check next, the most promising first."""
        for _ in range(STEPS):
            for point in self._promising():
                pes = self.hardware.pes
                for other in (*halved(point.style, pes), *near(point, pes)):
                    if kind(other.style) == kind(point.style):
                        self._look(other)
        return self._first_of_kinds(number) if not self.checked else self._likely(number)

    def found(self, values: dict[Key, float]) -> None:
        """Nothing; what checks have told, of any designs."""
        for point, _ in values:
            self._look(point)
        self.checked |= values

    # --- bounds ---------------------------------------------------------------------

    def _look(self, point: Point) -> None:
        """Nothing; bounds a shape, unless it is known or cannot be best."""
        if point in self.seen or (self.within is not None and point not in self.within):
            return
        probed, bounds = probe(point), []
        costs = self._least.copy()
        for n, layer in enumerate(self.layers):
            bound = PointBound(layer, probed, self.hardware, {self.objective: np.inf}, slack=SLACK)
            bounds.append(bound)
            costs[n] = bound.least(BELOW, self.objective)[1:]
            if self._value(costs) >= self.best:
                self.seen[point] = np.inf
                return
        self.seen[point], self._bounds[point] = self._value(costs), bounds
        known = self._least > 0
        self._least = np.where(known, np.minimum(self._least, costs), costs)

    def _value(self, costs: np.ndarray) -> float:
        """Objective of the network from l x 2 cycles and nJ."""
        pairs = zip(self.layers, costs.tolist(), strict=True)
        return network_value(self.objective, [(x.count, (c, e)) for x, (c, e) in pairs])

    def _bound(self, key: Key) -> float:
        """Bound of a design."""
        if key not in self._splits:
            point, split = key
            least = [one.least(split, self.objective)[1:] for one in self._bounds[point]]
            self._splits[key] = self._value(np.array(least))
        return self._splits[key]

    # --- estimates ------------------------------------------------------------------

    def _ratios(self) -> Callable[[Style], float]:
        """How far designs like one are from their bounds, as far as checks have told."""
        told = [(key[0].style, value / self._bound(key))
                for key, value in self.checked.items()
                if np.isfinite(value) and key[0] in self._bounds]  # fmt: skip

        @cache
        def ratio(style: Style) -> float:
            for alike in _ALIKE:
                found = [x for other, x in told if alike(other) == alike(style)]
                if found:
                    return min(found) ** HOPE
            return 1.0

        return ratio

    def _promising(self) -> list[Point]:
        """The best shapes of every kind that may have the best design."""
        ratio = self._ratios()
        finite = [point for point, bound in self.seen.items() if np.isfinite(bound)]
        roof = WORTH * min(self.best, min((self.seen[x] for x in finite), default=np.inf) * WORTH)
        found: dict[Kind, dict[str, Point]] = {}  # one of those with the same bound
        for point in sorted(finite, key=lambda x: self.seen[x]):
            if self.seen[point] * ratio(point.style) < roof:
                found.setdefault(kind(point.style), {}).setdefault(f"{self.seen[point]:.9g}", point)
        return [point for some in found.values() for point in list(some.values())[:BEST]]

    def _first_of_kinds(self, number: int) -> list[tuple[Key, Candidate]]:
        """The design of least bound of each kind."""
        finite = [point for point, bound in self.seen.items() if np.isfinite(bound)]
        roof = WORTH**2 * min((self.seen[x] for x in finite), default=np.inf)
        shapes: dict[Kind, list[Point]] = {}
        for point in sorted(finite, key=lambda x: self.seen[x]):
            if self.seen[point] <= roof:
                shapes.setdefault(kind(point.style), []).append(point)
        designs = [[key for point in some[:SHAPES] for key in self._by_split(point)]
                   for some in shapes.values()]  # fmt: skip
        return self._candidates([min(keys, key=self._bound) for keys in designs if keys])[:number]

    def _by_split(self, point: Point) -> list[Key]:
        """Designs of a shape, least bound first."""
        keys = [(point, n) for n in range(len(SPLITS))]
        return sorted((x for x in keys if np.isfinite(self._bound(x))), key=self._bound)

    def _likely(self, number: int) -> list[tuple[Key, Candidate]]:
        """Designs that may be best if they are as far from their bounds as those like them."""
        ratio, values = self._ratios(), dict[Key, float]()
        for point in sorted(self.seen, key=lambda x: self.seen[x]):
            if self.seen[point] * ratio(point.style) >= self.best:
                continue
            for key in self._by_split(point):
                value = self._bound(key) * ratio(point.style)
                if value < self.best:
                    values[key] = value
        twins = {self._twin(key) for key in self.checked if key[0] in self._bounds}
        shapes: Counter[Point] = Counter()
        chosen: list[Key] = []
        for key in sorted(values, key=lambda x: values[x]):
            if (
                len(chosen) < number
                and self._twin(key) not in twins
                and shapes[key[0]] < OF_A_SHAPE
            ):
                twins.add(self._twin(key))
                shapes[key[0]] += 1
                chosen.append(key)
        return self._candidates(chosen)

    def _candidates(self, keys: Sequence[Key]) -> list[tuple[Key, Candidate]]:
        made = [(key, key[0].candidate(SPLITS[key[1]], self.hardware)) for key in keys]
        return [(key, candidate) for key, candidate in made if candidate is not None]

    def _twin(self, key: Key) -> tuple[object, ...]:
        """Equal for designs that are mirror images of each other, as far as bounds tell."""
        point, split = key
        sides = frozenset((point.rows, point.cols))
        return kind(point.style), sides, split, f"{self._bound(key):.9g}"
