"""The least that programs take whose bounds are below a value: each by the exact cycle model.

Bounds of a tile's programs (`bounds_sized`) say which orders of tile loops, rows of EXECs, numbers
of EXECs and pieces are worth a look. Of these every program is evaluated: all sizes of EXECs, both
directions, both places of parameters; first with memories as large as any split has, then, where
that is below, with the memories and the sequencer's orders that there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from dcp_hw import scan
from dcp_hw.axes import axes_of
from dcp_hw.bounds_facts import FACTS, facts, read_pj
from dcp_hw.bounds_programs import BELOW, CAPACITY, PointBound
from dcp_hw.bounds_sized import LEAD, ORDER, PART, PO, YS, least_of_tiles, same_parts
from dcp_hw.bounds_tiles import FIRST_STEPS, SIZE, TILES
from dcp_hw.fast import run_rows
from dcp_hw.hardware import Hardware
from dcp_hw.known import value
from dcp_hw.lane_options import Lanes, mapping_of
from dcp_hw.physical import energy_nj
from dcp_hw.problem import LOOPS, ceil_div
from dcp_hw.search import OBJECTIVES, ORDERS
from dcp_hw.stream_plan import KS, LATE, SNAKE, TRIM, XS, StreamPlan, mapping_row, stream_plan
from dcp_hw.stream_plan import LEAD as PIECES
from dcp_hw.stream_plan import ORDER as STEP_ORDER
from dcp_hw.stream_plan import TILES as TILE_ORDER
from dcp_hw.stream_plan import YS as ROWS
from tensorlib.activity import COUNTERS
from tensorlib.design import Design

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Sizes = tuple[Ints, Ints, Ints, Ints]
Best = tuple[float, int, Lanes, Ints]

MOST_PARTS = 1 << 15
MOST_PROGRAMS = 1 << 21
"""Programs of some tiles that are evaluated at most; where there are more, the bound counts."""
CHUNK = 1 << 14
READS = [COUNTERS.index("input_read"), COUNTERS.index("weight_read")]


@dataclass(frozen=True, slots=True)
class Leaf:
    """Programs with some lanes and tiles.

    Attributes:
        way: number of the lanes; trim: whether rows of padding are left out.
        sizes: rows of the tables of k, c, y, x.
    """

    way: int
    trim: int
    sizes: Sizes


class Exactly:
    """Programs of one layer on one array shape, at some memory splits.

    Args:
        designs: by the number of their split.
    Attributes:
        programs: evaluated so far; best: of those below the limit, value, split, lanes and
            columns.
    """

    def __init__(
        self, bound: PointBound, designs: Mapping[int, Design], hardware: Hardware, objective: str
    ) -> None:
        self.bound, self.objective, self.programs = bound, objective, 0
        self.designs = dict(designs)
        self.best: Best = (np.inf, -1, ((), ()), np.zeros(0, dtype=np.int64))
        self._weights = np.stack([_weights(x, hardware) for x in designs.values()], axis=1)
        self._facts: Ints = np.zeros(FACTS, dtype=np.int64)
        self._parts: Ints = np.zeros((MOST_PARTS, PART), dtype=np.int64)

    def least(self, leaf: Leaf, prices: Floats, borders: Ints, limit: float) -> dict[int, float]:
        """By split, the value of the best program if it is below the limit.

        Args:
            prices: of every split, `BELOW` last; borders: as `least_of_tiles`.
        """
        _, g, a = self.bound.ways[leaf.way]
        g[list(CAPACITY)] = self.bound.rooms[BELOW]
        bound, _, _, count = least_of_tiles(
            g, a, prices[BELOW], OBJECTIVES.index(self.objective), limit, *leaf.sizes, leaf.trim,
            borders, self._facts, self._parts,
        )  # fmt: skip
        if count == 0:
            return {}
        rows = self._rows(leaf, self._parts[:count]) if count <= MOST_PARTS else None
        if rows is None:
            return dict.fromkeys(self.designs, bound)
        best: dict[int, float] = {}
        for first in range(0, len(rows), CHUNK):
            some = rows[first : first + CHUNK]
            for split, found in self._below(leaf, some, prices, limit, bound).items():
                best[split] = min(found, best.get(split, np.inf))
        return best

    # --- the programs

    def _rows(self, leaf: Leaf, parts: Ints) -> Ints | None:
        """Columns of all programs that some parts stand for; None if they are too many."""
        k, c, y, x = leaf.sizes
        _, g, _ = self.bound.ways[leaf.way]
        several = [bool(n[TILES] > 1) for n in (k, y, x)]
        turns = sum(several) + bool(c[TILES] > 1) > 1 or g[scan.BATCH] > 1
        others = _counts(k, x, bool(c[TILES] > 1))
        wanted: dict[tuple[int, int, int, int], None] = {}
        for part in parts.tolist():
            order = _same_order(part[ORDER], several)
            for rows in _rows_like(y, part[YS], bool(leaf.trim)):
                wanted[order, rows, part[PO], part[LEAD]] = None
        directions = (0, 1) if turns else (0,)
        number = sum(len(others.get(po, ())) for _, _, po, _ in wanted)
        if number * 2 * len(directions) > MOST_PROGRAMS:
            return None
        found = [
            (ks, rows, xs, order, snake, late, lead)
            for order, rows, po, lead in wanted
            for ks, xs in others.get(po, ())
            for snake, late in product(directions, (0, 1))
        ]
        sizes = tuple(int(n[SIZE]) for n in (k, c, y, x))
        lanes, problem = self.bound.lanes[leaf.way], self.bound.problem
        axes = axes_of(next(iter(self.designs.values())))
        one = mapping_row(mapping_of(lanes, axes, problem, (*sizes, sizes[0], sizes[2], sizes[3])))
        out = np.tile(np.array(one, dtype=np.int64), (len(found), 1))
        if found:
            table = np.array(found, dtype=np.int64)
            out[:, [KS, ROWS, XS, SNAKE, LATE, PIECES]] = table[:, [0, 1, 2, 4, 5, 6]]
            out[:, TILE_ORDER : TILE_ORDER + 3] = _TILE_ORDERS[table[:, 3]]
            out[:, TRIM] = leaf.trim
        return out

    # --- what they take

    def _below(
        self, leaf: Leaf, rows: Ints, prices: Floats, limit: float, bound: float
    ) -> dict[int, float]:
        """By split, the least value of some programs if it is below the limit."""
        lanes = self.bound.lanes[leaf.way]
        plan = self._plan(next(iter(self.designs)), lanes)
        if plan is None:
            return {}
        roomy = plan._replace(g=plan.g.copy())
        roomy.g[list(CAPACITY)] = self.bound.rooms[BELOW]
        cycles, counters, left = self._run(roomy, rows)
        if left:
            return dict.fromkeys(self.designs, bound)
        counters[:, READS] = 0
        values = value(self.objective, cycles[:, None], self._nj(cycles, counters))  # type: ignore[arg-type]
        read = self._read_nj(leaf, prices)
        values = values + read * (cycles[:, None] if self.objective == "edp" else 1)
        if self.objective == "latency":
            values = np.repeat(cycles[:, None].astype(float), len(self.designs), axis=1)
        values[cycles == 0] = np.inf
        found: dict[int, float] = {}
        for n, split in enumerate(self.designs):
            some = rows[values[:, n] < limit]
            if len(some):
                exact, some = self.values(split, lanes, some)
                at = int(np.argmin(exact))
                if exact[at] < limit:
                    found[split] = float(exact[at])
                if exact[at] < self.best[0]:
                    self.best = float(exact[at]), split, lanes, some[at]
        return found

    def values(self, split: int, lanes: Lanes, rows: Ints) -> tuple[Floats, Ints]:
        """Values of some programs on a design in all the sequencer's orders, and their columns."""
        plan = self._plan(split, lanes)
        if plan is None:
            return np.full(len(rows), np.inf), rows
        if plan.g[scan.CHAIN] == scan.NO_CHAIN:
            rows = np.repeat(rows, len(ORDERS), axis=0)
            for i, order in enumerate(ORDERS):
                rows[i :: len(ORDERS), STEP_ORDER : STEP_ORDER + 6] = [
                    LOOPS.index(x) for x in order
                ]
        cycles, counters, _ = self._run(plan, rows)
        nj = self._nj(cycles, counters)[:, list(self.designs).index(split)]
        values = np.asarray(value(self.objective, cycles, nj), dtype=float)  # type: ignore[arg-type]
        values[cycles == 0] = np.inf
        return values, rows

    def _plan(self, split: int, lanes: Lanes) -> StreamPlan | None:
        return stream_plan(self.bound.problem, self.designs[split], lanes, int32=False)

    def _run(self, plan: StreamPlan, rows: Ints) -> tuple[Ints, Ints, bool]:
        """Cycles, counters, and whether some programs found no room."""
        exact, left = run_rows(plan, rows, counters=True)
        self.programs += len(rows)
        return exact.cycles, exact.counters, bool(left)

    def _nj(self, cycles: Ints, counters: Ints) -> Floats:
        """nJ of programs on all designs, `n x designs`."""
        return np.column_stack([counters, cycles]) @ self._weights

    def _read_nj(self, leaf: Leaf, prices: Floats) -> Floats:
        """Least nJ of reading operands, by design."""
        _, g, a = self.bound.ways[leaf.way]
        facts(g, a, *leaf.sizes, leaf.trim, 0, self._facts)
        pixels = bool(g[scan.CHAIN] == scan.WEIGHT_CHAIN)
        return np.array([
            read_pj(g, a, prices[n], *leaf.sizes, self._facts, pixels) for n in self.designs
        ]) * 1e-3  # fmt: skip


_TILE_ORDERS = np.array([["kyx".index(x) for x in order] for order in scan.TILE_ORDERS])


def _weights(design: Design, hardware: Hardware) -> Floats:
    """nJ of one of each counter and of a cycle: energy is a sum of these."""
    ones = np.eye(len(COUNTERS) + 1, dtype=np.int64)
    counters = dict(zip(COUNTERS, ones.T, strict=False))
    return energy_nj(design, hardware, counters, ones[:, -1])


def _steps(table: Ints) -> list[int]:
    """Steps that an EXEC may have along a loop: of a tile that is not cut, those of the mapping."""
    most = int(table[FIRST_STEPS])
    return [*range(1, most + 1), *([int(table[SIZE])] if table[SIZE] > most else [])]


def _counts(k: Ints, x: Ints, whole: bool) -> dict[int, list[tuple[int, int]]]:
    """EXECs of a full tile along k and x together -> sizes of EXECs along both."""
    found: dict[int, list[tuple[int, int]]] = {}
    for ks, xs in product(_steps(k), _steps(x)):
        if whole and (ks < k[SIZE] or xs < x[SIZE]):
            continue
        count = ceil_div(int(k[FIRST_STEPS]), ks) * ceil_div(int(x[FIRST_STEPS]), xs)
        found.setdefault(count, []).append((ks, xs))
    return found


def _rows_like(y: Ints, rows: int, trim: bool) -> list[int]:
    """Rows of EXECs that a bound for some rows stands for."""
    if trim:
        return [n for n in _steps(y) if n == rows or n > y[FIRST_STEPS] == rows]
    return [n for n in _steps(y) if same_parts(y, n, rows)]


def _same_order(order: int, several: list[bool]) -> int:
    """The first order of tile loops that is the same where only some loops have several tiles."""
    names = [[x for x in text if several["kyx".index(x)]] for text in scan.TILE_ORDERS]
    return names.index(names[order])
