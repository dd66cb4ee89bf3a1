"""Bounds of tiles: below every program that has them; proofs: below what brute force finds."""

from __future__ import annotations

import random

import numpy as np
import pytest

from dcp_hw import bounds_sized as kernel
from dcp_hw import scan, search
from dcp_hw.bounds_points import PointTable
from dcp_hw.bounds_programs import CAPACITY, PointBound, shaped_options
from dcp_hw.bounds_proof import Sized, prove, rough_values, stored
from dcp_hw.bounds_tiles import SIZE
from dcp_hw.candidates import SPLITS, Point, design_of
from dcp_hw.fast import evaluate_batch
from dcp_hw.hardware import Hardware
from dcp_hw.known import QUICK, Choice, evaluate, value
from dcp_hw.layerset_csv import load_layerset
from dcp_hw.mapping import Mapping
from dcp_hw.physical import energy_nj
from dcp_hw.space import shapes_of, space
from dcp_hw.workload import Layer, LayerSet
from tensorlib.activity import COUNTERS
from tensorlib.design import Design

HW = Hardware()
LAYERS = tuple(load_layerset("mobilenetv2"))
TWO_OPERANDS = tuple(x for x in load_layerset("vit_b16") if x.B > 1)
STYLES = {style.key: style for style in space().arrays}
WIDE = search.Effort(lanes=12, keep=3, exact=16, near=12, starts=0, every=2)
Costs = list[tuple[int, float]]
NOTHING = np.zeros((0, 5), dtype=np.int64)


def programs(layer: Layer, design: Design, rng: random.Random) -> list[Mapping]:
    """Some of the mapper's programs, and programs that differ from them in one thing."""
    problem, _ = shaped_options(layer, design, np.inf)
    ranked = search.ranked(problem, design, WIDE, objective=rng.choice(search.OBJECTIVES))
    some = [mapping for _, mapping in rng.sample(ranked, min(len(ranked), 6))]
    near = [m for one in some for m in (*search.neighbours(one), *search._resized(problem, one))]
    return some + rng.sample(near, min(len(near), 30))


def measured(layer: Layer, design: Design, mappings: list[Mapping]) -> Costs:
    """Exact cycles and nJ; 0 cycles for what cannot run."""
    problem, _ = shaped_options(layer, design, np.inf)
    exact = evaluate_batch(problem, design, mappings, counters=True, long=False)
    counters = dict(zip(COUNTERS, exact.counters.T, strict=True))
    energy = energy_nj(design, HW, counters, exact.cycles)
    return list(zip(exact.cycles.tolist(), energy.tolist(), strict=True))


class Lanes:
    """Bounds of the ways that a layer can lie on a design."""

    def __init__(self, layer: Layer, design: Design, split: int) -> None:
        self.layer, self.split, self.sized = layer, split, Sized()
        self.bound = PointBound(layer, design, HW, {"edp": np.inf})
        _, options = shaped_options(layer, design, np.inf)
        self.place = {lanes: n for n, (_, lanes, _) in enumerate(options)}

    def least(self, mapping: Mapping, objective: str) -> float:
        """The bound of all programs with a mapping's lanes, tile sizes and trimming."""
        _, g, a = self.bound.ways[self.place[mapping.axis1, mapping.axis2]]
        g[list(CAPACITY)] = self.bound.rooms[self.split]
        prices = stored(self.layer, g, self.bound.prices)[self.split]
        self.sized.fill(g, a)
        along_y = 4 if mapping.trim else 2
        ct = 1 if g[scan.DEPTHWISE] else mapping.ct
        sizes = ((0, mapping.kt), (1, ct), (along_y, mapping.yt), (3, mapping.xt))
        rows = []
        for loop, size in sizes:
            table = self.sized.tables[loop, : self.sized.counts[loop]]
            found = table[table[:, SIZE] == size]
            assert len(found) == 1, (mapping, loop)
            rows.append(found[0])
        assert kernel._fits(g, *rows), mapping
        goal = search.OBJECTIVES.index(objective)
        borders, facts = self.sized.borders(g, a), self.sized.facts
        return float(
            kernel.least_of_tiles(
                g, a, prices, goal, np.inf, *rows, int(mapping.trim), borders, facts, NOTHING
            )[0]
        )


@pytest.mark.parametrize(
    ("layers", "seed"), [(LAYERS, 3), (LAYERS, 8), (LAYERS, 12), (TWO_OPERANDS, 6)]
)
def test_no_program_is_below_the_bound_of_its_tiles(layers: tuple[Layer, ...], seed: int) -> None:
    rng = random.Random(seed)
    ratios: list[float] = []
    while len(ratios) < 450:
        layer = rng.choice(layers)
        style = rng.choice(list(STYLES.values()))
        rows, cols = rng.choice(list(shapes_of(style, HW.pes)))
        split = rng.randrange(len(SPLITS))
        design = design_of(style, rows, cols, SPLITS[split], HW)
        if design is None:
            continue
        lanes, mappings = Lanes(layer, design, split), programs(layer, design, rng)
        for mapping, cost in zip(mappings, measured(layer, design, mappings), strict=True):
            for objective in search.OBJECTIVES if cost[0] else ():
                found = value(objective, *cost) / lanes.least(mapping, objective)
                assert found >= 1 - 1e-9, (design.name, layer, mapping, objective)
                ratios.append(found)
    assert np.median(ratios) < 1.12  # a bound of nothing would be valid, too


def test_weights_that_stay_at_a_turn_are_those_of_two_tiles() -> None:
    """Packed weights begin each tile in words of their own; what stays is counted in elements."""
    layer = next(x for x in LAYERS if x.name == "features_8_conv_0_0")
    split = SPLITS.index((10, 5, 5))
    design = design_of(STYLES["wudiho2"], 11, 22, SPLITS[split], HW)
    assert design is not None
    mapping = Mapping(axis1=(("x", 11),), axis2=(), kt=16, ct=64, yt=1, xt=6, ks=16, ys=1, xs=2,
                      tiles="yxk", snake=True)  # fmt: skip
    (cost,) = measured(layer, design, [mapping])
    assert cost[1] >= Lanes(layer, design, split).least(mapping, "energy")


@pytest.mark.parametrize(
    ("name", "array", "at", "most"),
    [
        ("features_12_conv_1_0", ("uo", 64, 4), (8, 5, 7), 1.015),
        ("features_3_conv_2", ("wopw", 14, 18), (8, 4, 8), 1.005),
    ],
)
def test_the_best_designs_are_close_to_the_bounds_of_their_tiles(
    name: str, array: tuple[str, int, int], at: tuple[int, int, int], most: float
) -> None:
    """A depthwise layer that waits for words, and one whose channels fill half a word."""
    layer = next(x for x in LAYERS if x.name == name)
    design = design_of(STYLES[array[0]], array[1], array[2], at, HW)
    assert design is not None
    outcome = evaluate(layer, design, HW, "edp", QUICK)
    assert isinstance(outcome, Choice)
    bound = Lanes(layer, design, SPLITS.index(at)).least(outcome.mapping, "edp")
    assert 1 <= outcome.cycles * outcome.energy_nj / bound < most


def test_a_proof_is_below_what_brute_force_finds() -> None:
    """A small machine; the value that a proof begins with may be far above the optimum."""
    small = Hardware(pes=4, sram_kib=24)
    layer = next(x for x in LAYERS if x.name == "features_15_conv_1_0")
    styles = [STYLES[key] for key in ("uw", "uo")]
    table = PointTable(styles, LayerSet("one", (layer,)), small)
    best = {"edp": np.inf, "energy": np.inf}
    for style in styles:
        for rows, cols in shapes_of(style, small.pes):
            for split in SPLITS[::3]:
                candidate = Point(style=style, rows=rows, cols=cols).candidate(split, small)
                outcome = candidate and evaluate(layer, candidate.design, small, "edp", QUICK)
                if isinstance(outcome, Choice):
                    for name in best:
                        found = value(name, outcome.cycles, outcome.energy_nj)
                        best[name] = min(best[name], found)
    for name, proof in prove(table, 0, layer, {x: 1.03 * best[x] for x in best}).items():
        assert 0.95 * best[name] < proof.bound <= best[name]
        assert proof.programs > 0
        assert proof.bound >= rough_values(table, 0, layer, name).min()
    near = prove(table, 0, layer, {"edp": best["edp"] * 0.9})["edp"]
    assert near.bound <= 0.9 * best["edp"] * (1 - 0.0098)
