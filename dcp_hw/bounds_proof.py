"""How far below a value the optimum of a layer can be: a bound of every design and program.

Shapes by `bounds_points`, the lanes on them by `bounds_kernel`, and what both leave by
`bounds_sized`, tile size by tile size. Nothing is searched and no budget ends it: the answer is a
bound of the whole space, as far below the given value as no term excludes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcp_hw import bounds_kernel as kernel
from dcp_hw import scan
from dcp_hw.bounds import CONFIG_WORDS, output_words
from dcp_hw.bounds_exact import Exactly, Leaf
from dcp_hw.bounds_facts import FACTS
from dcp_hw.bounds_points import PointTable
from dcp_hw.bounds_programs import BELOW, CAPACITY, NONE, Least, PointBound
from dcp_hw.bounds_sized import least_of_tiles, least_sized
from dcp_hw.bounds_tiles import COLUMNS, channel_table, fill_borders, pixel_table
from dcp_hw.candidates import SPLITS
from dcp_hw.funnel_near import probe
from dcp_hw.known import value
from dcp_hw.problem import BLOCK, ceil_div, problem_of
from dcp_hw.progress import progress
from dcp_hw.search import OBJECTIVES
from dcp_hw.technology import load_technology
from dcp_hw.workload import Layer

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TOLERANCE = 0.0098
"""Share below the value from which on nothing is told apart; 1 / (1 - it) is below 1.01."""


MOST_TILES = 1 << 17
"""Sizes of tiles with some lanes that are looked at one by one; of more their bound counts."""
_NOTHING: Ints = np.zeros((0, 5), dtype=np.int64)
Tiles = tuple[int, tuple[Ints, Ints, Ints, Ints]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What no design is below.

    Attributes:
        value: cycles, nJ or their product, of the best design known.
        bound: of all designs and programs.
        shapes: bounded lanes by lanes; programs: evaluated exactly, since bounds left them;
            designs: that may still be below the tolerance; least: the one whose bound is the
            least, empty where none is below.
    """

    layer: Layer
    objective: str
    value: float
    bound: float
    shapes: int
    programs: int
    designs: int
    least: str


class Sized:
    """Tables of tiles of the lanes at hand; scratch of `least_sized`."""

    def __init__(self) -> None:
        self.tables: Ints = np.zeros((5, 0, COLUMNS), dtype=np.int64)
        self.counts: Ints = np.zeros(5, dtype=np.int64)
        self.facts: Ints = np.zeros(FACTS, dtype=np.int64)
        self._borders: dict[int, Ints] = {}

    def least(self, g: Ints, a: Ints, prices: Floats, goal: int, limit: float) -> Least:
        """The least value of the lanes at hand if it is below the limit."""
        found = least_sized(
            g, a, prices, goal, limit, self.tables, self.counts, self.borders(g, a), self.facts,
            _NOTHING,
        )  # fmt: skip
        return Least(*found[:3]) if found[0] < limit else NONE

    def tiles(
        self, g: Ints, a: Ints, prices: Floats, goal: int, limit: float
    ) -> list[Tiles] | None:
        """All tiles below the limit, trimmed or not; None if they are too many."""
        out = np.zeros((MOST_TILES, 5), dtype=np.int64)
        count = least_sized(
            g, a, prices, goal, limit, self.tables, self.counts, self.borders(g, a), self.facts, out
        )[3]
        if count > MOST_TILES:
            return None
        return [
            (trim, (self.tables[0, k].copy(), self.tables[1, c].copy(),
                    self.tables[4 if trim else 2, y].copy(), self.tables[3, x].copy()))
            for trim, k, c, y, x in out[:count].tolist()
        ]  # fmt: skip

    def fill(self, g: Ints, a: Ints) -> None:
        """Nothing; tables of the tiles of some lanes."""
        most = int(max(g[[scan.K, scan.C, scan.Y, scan.X]])) + BLOCK
        if most > self.tables.shape[1]:
            self.tables = np.zeros((5, most, COLUMNS), dtype=np.int64)
        for n, along_k in enumerate((True, False)):
            self.counts[n] = channel_table(g, along_k, self.tables[n])
        self.counts[2] = pixel_table(g, True, False, self.tables[2])
        self.counts[3] = pixel_table(g, False, False, self.tables[3])
        if a[kernel.ROWS_INSIDE]:
            self.counts[4] = pixel_table(g, True, True, self.tables[4])

    def borders(self, g: Ints, a: Ints) -> Ints:
        """Changes of taps that EXECs of a trimmed nest have to begin at."""
        rows = int(g[scan.Y]) if a[kernel.ROWS_INSIDE] else 1
        if rows not in self._borders:
            self._borders[rows] = np.zeros((rows, rows), dtype=np.int64)
            if a[kernel.ROWS_INSIDE]:
                fill_borders(g, self._borders[rows])
        return self._borders[rows]


def stored(layer: Layer, g: Ints, prices: Floats) -> Floats:
    """Prices with the words that are stored: whole blocks of channels of every pixel."""
    words = g[scan.BATCH] * ceil_div(int(g[scan.K]), BLOCK) * g[scan.Y] * g[scan.X]
    more = (words - output_words(layer)) * prices[:, kernel.WORD]
    found = prices.copy()
    found[:, kernel.FIXED] += more
    found[:, kernel.FIXED_TRIMMED] += more
    return found


class Below:
    """What of a layer's designs is below a value under one objective.

    Args:
        roof: the value.
    Attributes:
        designs: point and split -> the least bound, or the value of the best program;
        programs: evaluated exactly.
    """

    def __init__(self, table: PointTable, layer: Layer, objective: str, roof: float) -> None:
        self.table, self.layer = table, layer
        self.objective, self.goal, self.roof = objective, OBJECTIVES.index(objective), roof
        self.designs: dict[tuple[int, int], float] = {}
        self.programs = 0
        self._none: set[bytes] = set()

    def look(self, point: int, bound: PointBound, sized: Sized, scratch: Ints) -> None:
        """Nothing; bounds all lanes on a shape, and evaluates what is below."""
        for way, (_, g, a) in enumerate(bound.ways):
            prices = stored(self.layer, g, bound.prices)
            g[list(CAPACITY)] = bound.rooms[BELOW]
            key = _digest(g, a, prices, bound.rooms)  # mirror images, more skew: the same
            if key in self._none:
                continue
            if not self._maybe(g, a, prices, scratch):
                self._none.add(key)
                continue
            sized.fill(g, a)
            tiles = sized.tiles(g, a, prices[BELOW], self.goal, self.roof)
            if tiles is None:  # too many to look at
                found = self._bounds(bound, way, prices, sized)
            else:
                leaves = [(Leaf(way, *one), self._splits(bound, Leaf(way, *one), prices, sized))
                          for one in tiles]  # fmt: skip
                found = self._exact(point, bound, prices, sized, leaves)
                if not any(splits for _, splits in leaves):
                    self._none.add(key)
            for split, least in found.items():
                self.designs[point, split] = min(least, self.designs.get((point, split), np.inf))

    def _maybe(self, g: Ints, a: Ints, prices: Floats, scratch: Ints) -> bool:
        """Whether the faster bound of some lanes is below the roof, or does not tell."""
        # tiles with fewer channels, EXECs of one pixel: what the faster bound does not know
        if (g[scan.BYTES] and not g[scan.DEPTHWISE]) or g[scan.CHAIN] == scan.WEIGHT_CHAIN:
            return True
        found = kernel.least(g, a, prices[BELOW], self.goal, self.roof, scratch)
        return bool(found[0] < self.roof)

    def _bounds(
        self, bound: PointBound, way: int, prices: Floats, sized: Sized
    ) -> dict[int, float]:
        """Bounds of some lanes at the splits where they are below the roof."""
        _, g, a = bound.ways[way]
        found = {}
        for split in _usable(prices):
            g[list(CAPACITY)] = bound.rooms[split]
            least = sized.least(g, a, prices[split], self.goal, self.roof).value
            if least < self.roof:
                found[split] = least
        return found

    def _splits(
        self, bound: PointBound, leaf: Leaf, prices: Floats, sized: Sized
    ) -> tuple[int, ...]:
        """Splits at which the bound of some tiles is below the roof."""
        _, g, a = bound.ways[leaf.way]
        found = []
        for split in _usable(prices):
            g[list(CAPACITY)] = bound.rooms[split]
            least = least_of_tiles(
                g, a, prices[split], self.goal, self.roof, *leaf.sizes, leaf.trim,
                sized.borders(g, a), sized.facts, _NOTHING,
            )[0]  # fmt: skip
            if least < self.roof:
                found.append(split)
        return tuple(found)

    def _exact(
        self, point: int, bound: PointBound, prices: Floats, sized: Sized,
        leaves: list[tuple[Leaf, tuple[int, ...]]],
    ) -> dict[int, float]:  # fmt: skip
        """The best programs of tiles that are below the roof, by split."""
        place, hardware = self.table.field.points[point], self.table.hardware
        splits = sorted({n for _, some in leaves for n in some})
        made = {n: place.candidate(SPLITS[n], hardware) for n in splits}
        designs = {n: one.design for n, one in made.items() if one is not None}
        if not designs:
            return {}
        exactly = Exactly(bound, designs, hardware, self.objective)
        best: dict[int, float] = {}
        for leaf, some in leaves:
            if designs.keys() & some:
                _, g, a = bound.ways[leaf.way]
                found = exactly.least(leaf, prices, sized.borders(g, a), self.roof)
                best |= {n: min(x, best.get(n, np.inf)) for n, x in found.items()}
        self.programs += exactly.programs
        return best


def _usable(prices: Floats) -> list[int]:
    """Splits that leave no bank empty."""
    return np.flatnonzero(np.isfinite(prices[:BELOW, kernel.PER_CYCLE])).tolist()


def _digest(*arrays: NDArray[Any]) -> bytes:
    """A short name of what arrays contain."""
    return blake2b(b"".join(x.tobytes() for x in arrays), digest_size=16).digest()


def rough_values(table: PointTable, number: int, layer: Layer, objective: str) -> Floats:
    """Bounds of a layer on every shape, with whole blocks of stored channels and the setup."""
    problem = problem_of(layer)
    words = problem.batch * problem.blocks_out * problem.y * problem.x - output_words(layer)
    words = words + CONFIG_WORDS + table.rows + table.cols
    bus = load_technology(table.hardware.technology).energy_pj["bus_per_bit"] * 8 * BLOCK * 1e-3
    energy = table.values(number, layer, "energy").min(axis=0)
    cycles = table.values(number, layer, "latency").min(axis=0)
    return value(objective, cycles, energy + words * bus)


def prove(
    table: PointTable,
    number: int,
    layer: Layer,
    values: Mapping[str, float],
    tolerance: float = TOLERANCE,
) -> dict[str, Proof]:
    """What no design of the space is below, given the best values known, by objective.

    Args:
        number: of the layer in the table's field.
    """
    rough = {name: rough_values(table, number, layer, name) for name in values}
    goals = {
        name: Below(table, layer, name, best * (1 - tolerance)) for name, best in values.items()
    }
    sized, shapes = Sized(), dict.fromkeys(values, 0)
    scratch = np.zeros((4, kernel.MOST_SIZES, 3), dtype=np.int64)
    below = np.any([rough[name] < goal.roof for name, goal in goals.items()], axis=0)
    with progress(f"{layer.name}: shapes", int(below.sum())) as advance:
        for n in np.flatnonzero(below).tolist():
            wanted = [goal for name, goal in goals.items() if rough[name][n] < goal.roof]
            cycles = table.least_cycles(n, layer)
            limits = {goal.objective: goal.roof for goal in wanted}
            point = probe(table.field.points[n])
            bound = PointBound(layer, point, table.hardware, limits, cycles=cycles)
            for goal in wanted:
                shapes[goal.objective] += 1
                goal.look(n, bound, sized, scratch)
            advance()
    return {name: _proof(goal, values[name], shapes[name]) for name, goal in goals.items()}


def _proof(goal: Below, best: float, shapes: int) -> Proof:
    """What is left below, as a result."""
    key = min(goal.designs, key=lambda x: goal.designs[x], default=None)
    name = ""
    if key is not None:
        candidate = goal.table.field.points[key[0]].candidate(SPLITS[key[1]], goal.table.hardware)
        name = candidate.design.name if candidate else "-"
    return Proof(
        layer=goal.layer,
        objective=goal.objective,
        value=best,
        bound=goal.roof if key is None else goal.designs[key],
        shapes=shapes,
        programs=goal.programs,
        designs=len(goal.designs),
        least=name,
    )
