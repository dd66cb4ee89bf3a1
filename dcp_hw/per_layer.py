"""At most six designs for a network, each layer on the one that suits it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from dcp_hw.candidates import SPLITS, Candidate, Split, Style
from dcp_hw.funnel import BATCH, Budget, Funnel
from dcp_hw.funnel_field import Field, Tally, in_turn
from dcp_hw.funnel_near import likely
from dcp_hw.known import FAILED, FULL, QUICK, Cost, Known, Outcome, cost_of, value
from dcp_hw.workload import Layer

MAX_DESIGNS = 6
WORTH = 0.9998
"""A further design has to make the network better by this factor."""

FAR = 1e15
"""Cycles or nJ of what cannot run or is not known."""

Table = dict[tuple[str, str], Cost]
"""(Design name, layer name) -> cost."""


class PerLayer:
    """The choice of designs, and of a design for each layer.

    Points are screened for the layers on which their bounds are least; then designs are added one
    by one, and exchanged, while the network gets better. That need not be the best six. Designs
    that the search for a single one has screened take part, its best ones in every stage: so no
    network does worse with a design per layer than with one for all.
    """

    def __init__(
        self,
        field: Field,
        known: Known,
        budget: Budget,
        twins: Sequence[Style] = (),
        single: Funnel | None = None,
    ) -> None:
        self.field, self.known, self.budget = field, known, budget
        self.tally: Tally = field.tally(twins)
        self.layers = list(field.layers)
        self.counts = np.array([layer.count for layer in self.layers])
        self.designs: dict[str, Candidate] = {}
        self._point: dict[str, int] = {}
        self._tried: dict[int, set[Split]] = defaultdict(set)
        least = self.counts @ field.cycles.min(axis=1), self.counts @ field.energy_nj.min(axis=1)
        self.weights = self._weights(*least)
        self.whole: list[str] = []
        if single is not None:
            self._take_over(single)

    def _take_over(self, single: Funnel) -> None:
        """Nothing; finds one design for the network, or reads it, and keeps all it looked at."""
        self.whole = [candidate.design.name for candidate in single.finalists()]
        for name, (number, candidate) in single.pool.items():
            self.designs[name], self._point[name] = candidate, number
        for number, splits in single.tried.items():
            self._tried[number] |= splits
        self.tally.screened, self.tally.no_room = single.tally.screened, single.tally.no_room

    def chosen(self) -> tuple[list[Candidate], dict[str, dict[str, Outcome]]]:
        """Designs, and design name -> layer name -> outcome; each layer once."""
        self._screen_shapes()
        self._screen_splits()
        self._screen_likely()
        if not self.designs:
            return [], {}
        table = dict(self.known.screened)
        best = self._likely([*self.designs], table, self.budget.layer_search)
        self._search(best, QUICK, table, "best designs by layer")
        pool = self._completed(self._worthwhile(table))
        table = self.known.screened | table
        most = self.budget.layer_quick
        pool = list(dict.fromkeys([*self.greedy(pool, table, most, worth=1.0), *pool]))[:most]
        pool = list(dict.fromkeys([*pool, *self.whole]))
        self._search([(name, x) for name in pool for x in self.layers], QUICK, table, "designs")
        names = self.greedy(pool, table, MAX_DESIGNS)
        likely = self._likely(names, table, 2)
        likely += [(name, x) for name in self.whole for x in self.layers]
        found = self._search(list(dict.fromkeys(likely)), FULL, table, "mappings")
        only = {pair: table[pair] for pair in found}
        others = self.greedy(list(dict.fromkeys([*names, *self.whole])), only, MAX_DESIGNS)
        names = min(names, others, key=lambda some: self.assign(some, only)[0])
        choices: dict[str, dict[str, Outcome]] = defaultdict(dict)
        for layer, name in zip(self.layers, self.assign(names, only)[1], strict=True):
            choices[name][layer.name] = found[name, layer.name]
        self.tally.quick, self.tally.full = len(pool), len(names)
        self._settle()
        return [self.designs[name] for name in names if name in choices], dict(choices)

    # --- screening ------------------------------------------------------------------

    def _screen(self, wanted: Iterable[tuple[int, Split, Sequence[Layer]]], what: str) -> None:
        tasks = []
        for number, split, layers in wanted:
            candidate = self.field.points[number].candidate(split, self.field.hardware)
            new = split not in self._tried[number]
            self._tried[number].add(split)
            if candidate is None:
                self.tally.no_room += new
                continue
            self.tally.screened += new
            self.designs[candidate.design.name] = candidate
            self._point[candidate.design.name] = number
            tasks.append((candidate.design, layers))
        self.known.screen(tasks, f"per-layer: {what}")

    def _screen_shapes(self) -> None:
        """Nothing; screens the best shapes for the network, and those for each layer."""
        network = self.field.network(self.known.objective)
        first = self.field.order(self.known.objective)[:BATCH]
        self._screen([(n, SPLITS[0], self.layers) for n in first], "shapes")
        lower = self._weighed(self.field.cycles, self.field.energy_nj)
        wanted: dict[int, list[Layer]] = defaultdict(list)
        edp = self.field.cycles * self.field.energy_nj
        for n, layer in enumerate(self.layers):
            order = np.lexsort((network, lower[n]))
            numbers = order.tolist()
            if self.known.objective == "energy":  # as in `Field.order`
                numbers = in_turn(order, np.lexsort((network, edp[n])))
            for number in numbers[: self.budget.layer_points]:
                wanted[number].append(layer)
        self._screen([(n, SPLITS[0], layers) for n, layers in wanted.items()], "shapes by layer")

    def _screen_splits(self) -> None:
        """Nothing; screens each layer's best shapes at all memory splits."""
        wanted: dict[int, list[Layer]] = defaultdict(list)
        for layer in self.layers:
            for n in self._best_points(layer)[: self.budget.layer_splits]:
                wanted[n].append(layer)
        tasks = [(n, split, layers) for n, layers in wanted.items() for split in SPLITS[1:]]
        self._screen(tasks, "memory splits by layer")

    def _screen_likely(self) -> None:
        """Nothing; screens the designs near each layer's best shapes whose bounds are least."""
        numbers = {point: n for n, point in enumerate(self.field.points)}
        hardware, objective = self.field.hardware, self.known.objective
        wanted: dict[tuple[int, Split], list[Layer]] = defaultdict(list)
        for layer in self.layers if self.budget.layer_near else ():
            shapes = [self.field.points[n] for n in self._best_points(layer)]
            most = self.budget.layer_near
            for (point, n), _ in likely(layer, shapes, hardware, objective, most, numbers):
                wanted[numbers[point], SPLITS[n]].append(layer)
        self._screen([(n, x, layers) for (n, x), layers in wanted.items()], "likely by layer")

    def _best_points(self, layer: Layer) -> list[int]:
        """Points that were screened for a layer, best first."""
        costs = {
            n: self._worth(self.known.screened[name, layer.name])
            for name, n in self._point.items()
            if (name, layer.name) in self.known.screened
        }
        return sorted(costs, key=lambda n: costs[n])

    def _worthwhile(self, table: Table) -> list[str]:
        """A design for the network, then those that add most to it, as far as they are known."""
        whole = [d for d in self.designs if all((d, x.name) in table for x in self.layers)]
        base = min(whole, key=lambda d: self.assign([d], table)[0])
        names = list(self.designs)
        unknown = (FAR, FAR)
        costs = self.counts * np.array(
            [[self._worth(table.get((d, x.name), unknown)) for x in self.layers] for d in names]
        )
        best = costs[names.index(base)]
        chosen = [base]
        while len(chosen) < self.budget.pool:
            gains = np.maximum(0, best - costs).sum(axis=1)
            most = int(np.argmax(gains))
            if gains[most] <= 0:
                break
            chosen.append(names[most])
            best = np.minimum(best, costs[most])
        return chosen

    def _completed(self, names: list[str]) -> list[str]:
        """The same designs, with all layers screened."""
        self.known.screen([(self.designs[n].design, self.layers) for n in names], "per-layer: pool")
        return names

    # --- choosing -------------------------------------------------------------------

    def greedy(
        self, pool: Sequence[str], table: Table, most: int, *, worth: float = WORTH
    ) -> list[str]:
        """Designs of a pool, added and exchanged while the network gets better by a factor."""
        chosen: list[str] = []
        best = np.inf
        while len(chosen) < most:
            values = {
                name: self.assign([*chosen, name], table)[0] for name in pool if name not in chosen
            }
            name = min(values, key=lambda n: values[n], default=None)
            if name is None or (chosen and values[name] >= worth * best):
                break
            chosen, best = [*chosen, name], values[name]
            chosen, best = self._exchanged(chosen, best, pool, table)
        return chosen

    def _exchanged(
        self, chosen: list[str], best: float, pool: Sequence[str], table: Table
    ) -> tuple[list[str], float]:
        for place in range(len(chosen)):
            for name in pool:
                if name not in chosen:
                    other = [*chosen[:place], name, *chosen[place + 1 :]]
                    found = self.assign(other, table)[0]
                    if found < best:
                        chosen, best = other, found
        return chosen, best

    def assign(self, names: Sequence[str], table: Table) -> tuple[float, list[str]]:
        """Objective of the network with each layer on one of some designs, and on which.

        A product of cycles and energy is least where no layer can change to lower
        cycles x total energy + energy x total cycles: layers are assigned by these weights.
        """
        costs = np.array(
            [[table.get((name, x.name), (FAR, FAR)) for x in self.layers] for name in names]
        )
        cycles, energy = np.minimum(costs, FAR).transpose(2, 0, 1)
        weights = self.weights
        every = np.arange(len(self.layers))
        best, picks = np.inf, np.zeros(len(every), dtype=np.int64)
        for _ in range(3):
            pick = np.argmin(cycles * weights[0] + energy * weights[1], axis=0)
            totals = self.counts @ cycles[pick, every], self.counts @ energy[pick, every]
            found = value(self.known.objective, *totals)
            if found >= best:
                break
            best, picks, weights = found, pick, self._weights(*totals)
        return best, [names[n] for n in picks]

    def _likely(self, names: Sequence[str], table: Table, most: int) -> list[tuple[str, Layer]]:
        """For each layer the designs on which it did best so far."""
        found = []
        for layer in self.layers:
            costs = {name: self._worth(table.get((name, layer.name), FAILED)) for name in names}
            order = sorted(costs, key=lambda name: costs[name])
            found += [(name, layer) for name in order[:most]]
        return found

    def _search(
        self, wanted: Sequence[tuple[str, Layer]], effort: str, table: Table, what: str
    ) -> dict[tuple[str, str], Outcome]:
        """Outcomes of searches; puts their costs into the table."""
        pairs = [(self.designs[name].design, layer) for name, layer in wanted]
        found = self.known.pairs(pairs, effort, f"per-layer: {what}")
        table |= {pair: cost_of(outcome) for pair, outcome in found.items()}
        return found

    # --- weights --------------------------------------------------------------------

    def _weights(self, cycles: float, energy: float) -> tuple[float, float]:
        """Weights of a layer's cycles and nJ, given those of the network."""
        scale = 1 / max(cycles, energy, 1.0)
        weights = {"latency": (1.0, 0.0), "energy": (0.0, 1.0)}
        return weights.get(self.known.objective, (energy * scale, cycles * scale))

    def _weighed(self, cycles: NDArray, energy: NDArray) -> NDArray:
        return cycles * self.weights[0] + energy * self.weights[1]

    def _worth(self, cost: Cost) -> float:
        cycles, energy = min(cost[0], FAR), min(cost[1], FAR)
        return cycles * self.weights[0] + energy * self.weights[1]

    def _settle(self) -> None:
        """Nothing; counts points whose bounds are best for no layer, and what was left over."""
        best = np.full(len(self.layers), np.inf)
        for row, layer in enumerate(self.layers):
            best[row] = min(
                self._worth(cost)
                for (_, name), cost in self.known.screened.items()
                if name == layer.name
            )
        lower = self._weighed(self.field.cycles, self.field.energy_nj)
        out = (lower >= best[:, None]).all(axis=0)
        rest = np.full(len(self.field.points), len(SPLITS))
        for number, splits in self._tried.items():
            rest[number] -= len(splits)
        self.tally.bound = int(rest[out].sum())
        self.tally.not_examined = int(rest[~out].sum())
