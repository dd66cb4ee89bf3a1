"""How far below a value the optimum of a layer can be: a bound of every design and program.

Shapes by `bounds_points`, the lanes on them by `bounds_kernel`, and what both leave by
`bounds_sized`, tile size by tile size. Nothing is searched and no budget ends it: the answer is a
bound of the whole space, as far below the given value as no term excludes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcp_hw import bounds_kernel as kernel
from dcp_hw import scan
from dcp_hw.bounds import CONFIG_WORDS, output_words
from dcp_hw.bounds_facts import FACTS
from dcp_hw.bounds_points import PointTable
from dcp_hw.bounds_programs import BELOW, CAPACITY, NONE, Least, PointBound
from dcp_hw.bounds_sized import least_sized
from dcp_hw.bounds_tiles import COLUMNS, channel_table, fill_borders, pixel_table
from dcp_hw.candidates import SPLITS
from dcp_hw.funnel_near import probe
from dcp_hw.hardware import Hardware
from dcp_hw.known import value
from dcp_hw.problem import BLOCK, ceil_div, problem_of
from dcp_hw.search import OBJECTIVES
from dcp_hw.technology import load_technology
from dcp_hw.workload import Layer
from tensorlib.design import Design

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TOLERANCE = 0.0098
"""Share below the value from which on nothing is told apart; 1 / (1 - it) is below 1.01."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What no design is below.

    Attributes:
        value: cycles, nJ or their product, of the best design known.
        bound: of all designs and programs.
        shapes: bounded lanes by lanes; designs: that may be below the tolerance; least: the shape
            and the memory split whose bound is the least, empty where none is below.
    """

    layer: Layer
    objective: str
    value: float
    bound: float
    shapes: int
    designs: int
    least: str


class Sized:
    """Tables of tiles of the lanes at hand; scratch of `least_sized`."""

    def __init__(self) -> None:
        self.tables: Ints = np.zeros((5, 0, COLUMNS), dtype=np.int64)
        self.counts: Ints = np.zeros(5, dtype=np.int64)
        self.facts: Ints = np.zeros(FACTS, dtype=np.int64)
        self._borders: dict[int, Ints] = {}

    def least(
        self, g: Ints, a: Ints, prices: Floats, goal: int, limit: float, *, fill: bool = True
    ) -> Least:
        """The least value of some lanes if it is below the limit.

        Args:
            fill: whether lanes are others than before.
        """
        if fill:
            self.fill(g, a)
        found = least_sized(
            g, a, prices, goal, limit, self.tables, self.counts, self.borders(g, a), self.facts
        )
        return Least(*found) if found[0] < limit else NONE

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


Found = Iterator[tuple[str, int, float]]


def ways_below(
    layer: Layer,
    design: Design,
    hardware: Hardware,
    roofs: Mapping[str, float],
    sized: Sized,
    cycles: float = 0.0,
) -> Found:
    """(Objective, split, bound) of the lanes on an array shape whose bounds are below the roof.

    Args:
        roofs: of each objective; cycles: that no program is below.
    """
    bound = PointBound(layer, design, hardware, roofs, cycles=cycles)
    scratch = np.zeros((4, kernel.MOST_SIZES, 3), dtype=np.int64)
    for _, g, a in bound.ways:
        prices = stored(layer, g, bound.prices)
        # tiles with fewer channels, EXECs of one pixel: what the faster bound does not know
        unsure = (g[scan.BYTES] and not g[scan.DEPTHWISE]) or g[scan.CHAIN] == scan.WEIGHT_CHAIN
        filled = False
        for objective, roof in roofs.items():
            goal = OBJECTIVES.index(objective)
            g[list(CAPACITY)] = bound.rooms[BELOW]
            if not unsure and kernel.least(g, a, prices[BELOW], goal, roof, scratch)[0] >= roof:
                continue
            found = sized.least(g, a, prices[BELOW], goal, roof, fill=not filled)
            filled = True
            if found.value >= roof:
                continue
            for split in np.flatnonzero(np.isfinite(prices[:BELOW, kernel.PER_CYCLE])).tolist():
                g[list(CAPACITY)] = bound.rooms[split]
                found = sized.least(g, a, prices[split], goal, roof, fill=False)
                if found.value < roof:
                    yield objective, split, found.value


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
    roofs = {name: best * (1 - tolerance) for name, best in values.items()}
    rough = {name: rough_values(table, number, layer, name) for name in values}
    sized, shapes = Sized(), dict.fromkeys(values, 0)
    least = {name: (roof, "") for name, roof in roofs.items()}
    designs: dict[str, set[tuple[int, int]]] = {name: set() for name in values}
    below = np.any([rough[name] < roof for name, roof in roofs.items()], axis=0)
    for n in np.flatnonzero(below).tolist():
        point = table.field.points[n]
        wanted = {name: roof for name, roof in roofs.items() if rough[name][n] < roof}
        for name in wanted:
            shapes[name] += 1
        cycles = table.least_cycles(n, layer)
        for name, split, found in ways_below(
            layer, probe(point), table.hardware, wanted, sized, cycles
        ):
            designs[name].add((n, split))
            if found < least[name][0]:
                candidate = point.candidate(SPLITS[split], table.hardware)
                least[name] = found, candidate.design.name if candidate else "-"
    return {
        name: Proof(
            layer=layer,
            objective=name,
            value=values[name],
            bound=least[name][0],
            shapes=shapes[name],
            designs=len(designs[name]),
            least=least[name][1],
        )
        for name in values
    }
