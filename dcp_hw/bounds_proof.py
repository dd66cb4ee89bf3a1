"""How far below a value the optimum of a layer can be: a bound of every design and program.

Shapes by `bounds_points`, the lanes on them by `bounds_kernel`, and what both leave by
`bounds_sized`, tile size by tile size. Nothing is searched and no budget ends it: the answer is a
bound of the whole space, as far below the given value as no term excludes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcp_hw import bounds_kernel as kernel
from dcp_hw import scan
from dcp_hw.bounds import output_words
from dcp_hw.bounds_points import PointTable
from dcp_hw.bounds_programs import BELOW, CAPACITY, NONE, Least, PointBound
from dcp_hw.bounds_sized import FACTS, least_sized
from dcp_hw.bounds_tiles import COLUMNS, channel_table, fill_borders, pixel_table
from dcp_hw.candidates import SPLITS
from dcp_hw.funnel_near import probe
from dcp_hw.hardware import Hardware
from dcp_hw.problem import BLOCK, ceil_div
from dcp_hw.search import OBJECTIVES
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


def ways_below(
    layer: Layer, design: Design, hardware: Hardware, objective: str, roof: float, sized: Sized,
    cycles: float = 0.0,
) -> Iterator[tuple[int, float]]:  # fmt: skip
    """(Split, bound) of the lanes on an array shape whose bounds are below the roof.

    Args:
        cycles: that no program is below.
    """
    bound = PointBound(layer, design, hardware, {objective: roof}, cycles=cycles)
    goal = OBJECTIVES.index(objective)
    scratch = np.zeros((4, kernel.MOST_SIZES, 3), dtype=np.int64)
    for _, g, a in bound.ways:
        prices = stored(layer, g, bound.prices)
        g[list(CAPACITY)] = bound.rooms[BELOW]
        # tiles with fewer channels, EXECs of one pixel: what the faster bound does not know
        unsure = (g[scan.BYTES] and not g[scan.DEPTHWISE]) or g[scan.CHAIN] == scan.WEIGHT_CHAIN
        if not unsure and kernel.least(g, a, prices[BELOW], goal, roof, scratch)[0] >= roof:
            continue
        if sized.least(g, a, prices[BELOW], goal, roof).value >= roof:
            continue
        for split in range(len(SPLITS)):
            if not np.isfinite(prices[split, kernel.PER_CYCLE]):
                continue
            g[list(CAPACITY)] = bound.rooms[split]
            found = sized.least(g, a, prices[split], goal, roof, fill=False)
            if found.value < roof:
                yield split, found.value


def prove(
    table: PointTable, number: int, layer: Layer, objective: str, value: float,
    tolerance: float = TOLERANCE,
) -> Proof:  # fmt: skip
    """What no design of the space is below, given the best value known.

    Args:
        number: of the layer in the table's field.
    """
    roof = value * (1 - tolerance)
    rough = table.values(number, layer, objective).min(axis=0)
    points = [int(n) for n in np.argsort(rough) if rough[n] < roof]
    sized, least, where = Sized(), roof, ""
    designs: set[tuple[int, int]] = set()
    for n in points:
        point = table.field.points[n]
        cycles = table.least_cycles(n, layer)
        some = ways_below(
            layer, probe(point), table.hardware, objective, roof, sized, cycles=cycles
        )
        for split, found in some:
            designs.add((n, split))
            if found < least:
                candidate = point.candidate(SPLITS[split], table.hardware)
                least, where = found, candidate.design.name if candidate else "-"
    return Proof(
        layer=layer,
        objective=objective,
        value=value,
        bound=least,
        shapes=len(points),
        designs=len(designs),
        least=where,
    )
