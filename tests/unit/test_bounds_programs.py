"""Bounds of programs: below everything that runs; branch and bound finds what brute force finds."""

from __future__ import annotations

import random

import numpy as np
import pytest

from dcp_hw import bounds_kernel as kernel
from dcp_hw import search
from dcp_hw.bounds import Bounds
from dcp_hw.bounds_optimum import Effort, optima
from dcp_hw.bounds_points import PointTable
from dcp_hw.bounds_programs import BELOW, PointBound, shaped_options
from dcp_hw.candidates import SPLITS, Point, design_of
from dcp_hw.fast import evaluate_batch
from dcp_hw.hardware import Hardware
from dcp_hw.known import QUICK, Choice, cost_of, evaluate, value
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
"""Batched products: both operands come from memory."""
STYLES = {style.key: style for style in space().arrays}
WIDE = search.Effort(lanes=12, keep=3, exact=16, near=12, starts=0, every=2)
ALL = {"edp": np.inf}


def programs(layer: Layer, design: Design, rng: random.Random) -> list[Mapping]:
    """Some of the mapper's programs, and programs that differ from them in one thing."""
    problem, _ = shaped_options(layer, design, np.inf)
    objective = rng.choice(search.OBJECTIVES)
    some = [m for _, m in search.ranked(problem, design, WIDE, objective=objective)]
    some = rng.sample(some, min(len(some), 8))
    near = [m for one in some for m in (*search.neighbours(one), *search._resized(problem, one))]
    return some + rng.sample(near, min(len(near), 40))


def measured(layer: Layer, design: Design, mappings: list[Mapping]) -> list[tuple[int, float]]:
    """Exact cycles and nJ; 0 cycles for what cannot run."""
    problem, _ = shaped_options(layer, design, np.inf)
    exact = evaluate_batch(problem, design, mappings, counters=True, long=False)
    counters = dict(zip(COUNTERS, exact.counters.T, strict=True))
    energy = energy_nj(design, HW, counters, exact.cycles)
    return list(zip(exact.cycles.tolist(), energy.tolist(), strict=True))


def lower(bound: PointBound, way: int, split: int, objective: str) -> float:
    """The bound of one way to spread the loops."""
    _, g, a = bound.ways[way]
    g = g.copy()
    rooms = (kernel_index for kernel_index in ("INPUT_ROWS", "WEIGHT_ROWS", "OUTPUT_WORDS"))
    for name, room in zip(rooms, bound.rooms[split], strict=True):
        g[getattr(search.scan, name)] = room
    sizes = np.zeros((4, kernel.MOST_SIZES, 3), dtype=np.int64)
    goal = search.OBJECTIVES.index(objective)
    return float(kernel.least(g, a, bound.prices[split], goal, np.inf, sizes)[0])


@pytest.mark.parametrize(
    ("layers", "seed"), [(LAYERS, 0), (LAYERS, 1), (LAYERS, 2), (TWO_OPERANDS, 5)]
)
def test_no_program_is_below_the_bound_of_its_lanes(layers: tuple[Layer, ...], seed: int) -> None:
    """Random designs and layers; each program against the bound of the lanes that it has."""
    rng = random.Random(seed)
    compared = 0
    while compared < 1000:
        layer = rng.choice(layers)
        style = rng.choice(list(STYLES.values()))
        rows, cols = rng.choice(list(shapes_of(style, HW.pes)))
        split = rng.randrange(len(SPLITS))
        design = design_of(style, rows, cols, SPLITS[split], HW)
        if design is None:
            continue
        bound = PointBound(layer, design, HW, ALL)
        _, options = shaped_options(layer, design, np.inf)
        place = {lanes: n for n, (_, lanes, _) in enumerate(options)}
        mappings = programs(layer, design, rng)
        least: dict[tuple[int, str], float] = {}
        for mapping, (cycles, nj) in zip(mappings, measured(layer, design, mappings), strict=True):
            way = place[mapping.axis1, mapping.axis2]
            for objective in search.OBJECTIVES if cycles else ():
                if (way, objective) not in least:
                    least[way, objective] = lower(bound, way, split, objective)
                found = value(objective, cycles, nj)
                assert found >= least[way, objective] * (1 - 1e-9), (design.name, layer, mapping)
                compared += 1


def test_bounds_are_close_to_what_is_found() -> None:
    """A bound of nothing would be valid too: most good programs are within a tenth of it."""
    style = STYLES["uo"]
    design = design_of(style, 64, 4, SPLITS[0], HW)
    assert design is not None
    ratios = []
    for layer in LAYERS[::5]:
        bound = PointBound(layer, design, HW, {"energy": np.inf}).least(0, "energy")
        outcome = evaluate(layer, design, HW, "energy", QUICK)
        ratios.append(cost_of(outcome)[1] / bound.value)
    assert min(ratios) >= 1
    assert np.median(ratios) < 1.1


def test_no_program_costs_infinity_not_nothing() -> None:
    """An array that no program of a layer fits must not look like the best one."""
    layer = next(x for x in LAYERS if x.name == "features_0_0")
    design = design_of(STYLES["oi"], 16, 16, SPLITS[0], HW)
    assert design is not None
    bound = PointBound(layer, design, HW, ALL)
    bound.rooms[:] = 0
    assert bound.least(0, "edp") == bound.least(BELOW, "edp") == (np.inf, np.inf, np.inf)


def test_shapes_are_bounded_below_their_splits_and_programs() -> None:
    layers = LayerSet("some", LAYERS[5:7])
    table = PointTable([STYLES["uw"], STYLES["io"]], layers, HW)
    rng = random.Random(1)
    for number, layer in enumerate(layers):
        values = table.values(number, layer, "edp")
        for point in rng.sample(range(len(table.rows)), 6):
            found = table.field.points[point]
            probe = found.style.array(found.rows, found.cols, depth=1, words=1)
            assert [getattr(probe, x).banks for x in ("input", "weight", "output")] == [
                banks[point] for banks in table.banks
            ]
            bound = PointBound(layer, probe, HW, ALL, cycles=table.least_cycles(point, layer))
            each = [bound.least(n, "edp").value for n in range(len(SPLITS))]
            assert bound.least(BELOW, "edp").value <= min(each) * (1 + 1e-9)
            assert (np.array(each) >= values[:, point] * (1 - 1e-9)).all()


def test_pixels_on_both_axes_need_no_more_steps_than_the_bound_says() -> None:
    """Rows and columns of a pointwise layer may lie on an axis each; one row of pixels cannot."""
    layer = next(x for x in LAYERS if x.name == "features_3_conv_2")
    design = design_of(STYLES["ww"], 3, 80, SPLITS[0], HW)
    assert design is not None
    outcome = evaluate(layer, design, HW, "latency", QUICK)
    assert cost_of(outcome)[0] >= Bounds(HW).cycles(layer, STYLES["ww"], [(3, 80)])[0]


def test_branch_and_bound_finds_what_brute_force_finds() -> None:
    """A small machine: every design searched by the mapper, against those that bounds leave."""
    small = Hardware(pes=4, sram_kib=24)
    layer = next(x for x in LAYERS if x.name == "features_15_conv_1_0")
    styles = [STYLES[key] for key in ("uw", "uo")]
    layers = LayerSet("one", (layer,))
    table = PointTable(styles, layers, small)
    found = optima(table, 0, layer, ("edp",), effort=Effort(tolerance=0.0, most=10_000))["edp"]
    best = np.inf
    for style in styles:
        for rows, cols in shapes_of(style, small.pes):
            for split in SPLITS:
                candidate = Point(style=style, rows=rows, cols=cols).candidate(split, small)
                if candidate is None:
                    continue
                outcome = evaluate(layer, candidate.design, small, "edp", QUICK)
                if isinstance(outcome, Choice):
                    best = min(best, outcome.cycles * outcome.energy_nj)
    assert found.bound <= found.value <= best
    assert found.searched < len(table.rows) * len(SPLITS)
