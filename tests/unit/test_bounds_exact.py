"""Programs that bounds leave are evaluated: their least value is that of brute force."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, product
from math import prod
from typing import Any

import numpy as np
import pytest

from dcp_hw import scan, search
from dcp_hw.axes import axes_of
from dcp_hw.bounds_exact import Exactly, Leaf
from dcp_hw.bounds_programs import BELOW, CAPACITY, PointBound
from dcp_hw.bounds_proof import Sized, stored
from dcp_hw.candidates import SPLITS, design_of
from dcp_hw.fast import evaluate_batch
from dcp_hw.hardware import Hardware
from dcp_hw.known import value
from dcp_hw.lane_options import Lanes, mapping_of
from dcp_hw.mapping import Mapping
from dcp_hw.physical import energy_nj
from dcp_hw.problem import Problem, ceil_div
from dcp_hw.space import space
from dcp_hw.workload import Layer, Operator
from tensorlib.activity import COUNTERS
from tensorlib.design import Design

HW = Hardware(pes=64, sram_kib=16)
STYLES = {style.key: style for style in space().arrays}
SPLIT = SPLITS.index((8, 5, 7))
MOST = 12_000
"""Programs of some lanes that brute force evaluates at most."""


def depthwise(channels: int, rows: int, columns: int, stride: int) -> Layer:
    return Layer(
        name="one", operator=Operator("dwconv"), K=channels, C=channels, Y=rows, X=columns, R=3,
        S=3, stride=stride, padding=1, groups=channels,
    )  # fmt: skip


def dense(outputs: int, inputs: int, rows: int, columns: int, taps: int = 1) -> Layer:
    return Layer(
        name="one", operator=Operator("conv"), K=outputs, C=inputs, Y=rows, X=columns, R=taps,
        S=taps, padding=taps // 2,
    )  # fmt: skip


def sizes_of(problem: Problem, lanes: Lanes) -> list[range]:
    """Steps of tiles along k, c, y, x; outputs in blocks of 16 may be more than there are."""
    counts = dict(lanes[0] + lanes[1])
    found = []
    for loop in "kcyx":
        whole = ceil_div(problem.size(loop), counts.get(loop, 1))
        if loop == "k" and counts.get(loop, 1) < 16:
            whole = ceil_div(whole, 16) * 16
        found.append(range(1, 2 if loop == "c" and problem.depthwise else whole + 1))
    return found


def everything(problem: Problem, design: Design, lanes: Lanes) -> Iterator[Mapping]:
    """All programs with some lanes, those that cannot run too."""
    axes = axes_of(design)
    chained = mapping_of(lanes, axes, problem).order
    plain = search.ORDERS if design.chain_tensor is None else (chained,)
    leads = (1, 2) if problem.depthwise else (1,)
    trims = (False, True) if problem.depthwise else (False,)
    for kt, ct, yt, xt in product(*sizes_of(problem, lanes)):
        for ks, ys, xs in product(range(1, kt + 1), range(1, yt + 1), range(1, xt + 1)):
            one = mapping_of(lanes, axes, problem, (kt, ct, yt, xt, ks, ys, xs))
            for tiles, order, snake, late, lead, trim in product(
                scan.TILE_ORDERS, plain, (False, True), (False, True), leads, trims
            ):
                yield replace(one, tiles=tiles, order=order, snake=snake, late_params=late,
                              lead=lead, trim=trim)  # fmt: skip


def brute_force(
    problem: Problem, design: Design, mappings: list[Mapping]
) -> tuple[np.ndarray, np.ndarray]:
    """Cycles and nJ of the programs that run."""
    exact = evaluate_batch(problem, design, mappings, counters=True, long=False)
    counters = dict(zip(COUNTERS, exact.counters.T, strict=True))
    ran = exact.cycles > 0
    return exact.cycles[ran], energy_nj(design, HW, counters, exact.cycles)[ran]


class Recorded(Exactly):
    """Keeps the values of all programs that bounds leave."""

    seen: set[float]

    def _below(self, leaf: Leaf, rows: np.ndarray, *others: Any) -> dict[int, float]:
        values, _ = self.values(SPLIT, self.bound.lanes[leaf.way], rows)
        self.seen |= {float(f"{x:.9g}") for x in values.tolist()}
        return super()._below(leaf, rows, *others)


class Found:
    """What bounds and the evaluation of what they leave say of a design."""

    def __init__(self, layer: Layer, design: Design, objective: str) -> None:
        self.layer, self.design, self.objective = layer, design, objective
        self.bound = PointBound(layer, design, HW, {objective: np.inf})
        self.sized = Sized()

    def least(self, way: int, limit: float) -> tuple[float, set[float]]:
        """The value of the best program with some lanes, if it is below the limit; all values."""
        _, g, a = self.bound.ways[way]
        prices = stored(self.layer, g, self.bound.prices)
        g[list(CAPACITY)] = self.bound.rooms[BELOW]
        self.sized.fill(g, a)
        goal = search.OBJECTIVES.index(self.objective)
        tiles = self.sized.tiles(g, a, prices[BELOW], goal, limit)
        assert tiles is not None
        exactly = Recorded(self.bound, {SPLIT: self.design}, HW, self.objective)
        exactly.seen = set()
        borders = self.sized.borders(g, a)
        each = [exactly.least(Leaf(way, *one), prices, borders, limit) for one in tiles]
        return min((x[SPLIT] for x in each if x), default=np.inf), exactly.seen


@pytest.mark.parametrize("objective", ["edp", "energy", "latency"])
@pytest.mark.parametrize(
    ("layer", "array", "rows", "cols"),
    [
        (depthwise(32, 3, 2, 1), "uo", 16, 3),
        (depthwise(48, 2, 3, 2), "uo", 32, 2),
        (depthwise(32, 3, 2, 1), "uohw2", 16, 3),
        (dense(16, 32, 2, 2), "io", 16, 4),
        (dense(16, 32, 4, 2), "iw", 16, 2),
        (dense(16, 3, 3, 2, taps=3), "iw", 16, 2),
        (dense(16, 3, 7, 1, taps=3), "iwho2", 16, 2),
    ],
)
def test_bounds_leave_all_programs_below_and_the_least_is_found(
    layer: Layer, array: str, rows: int, cols: int, objective: str
) -> None:
    design = design_of(STYLES[array], rows, cols, SPLITS[SPLIT], HW)
    assert design is not None
    found, compared = Found(layer, design, objective), 0
    for way, lanes in enumerate(found.bound.lanes):
        if prod(len(x) for x in sizes_of(found.bound.problem, lanes)) > 130:
            continue
        mappings = list(islice(everything(found.bound.problem, design, lanes), MOST + 1))
        if len(mappings) > MOST:
            continue
        cycles, nj = brute_force(found.bound.problem, design, mappings)
        if len(cycles) == 0:
            continue
        values = np.asarray(value(objective, cycles, nj), dtype=float)  # type: ignore[arg-type]
        least = values.min()
        best, seen = found.least(way, least * 1.1)
        assert best == pytest.approx(least, rel=1e-9), lanes
        assert {float(f"{x:.9g}") for x in values[values < least * 1.1]} <= seen
        assert found.least(way, least * (1 - 1e-9))[0] == np.inf
        compared += 1
        if compared == 2:
            break
    assert compared
