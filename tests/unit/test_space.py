"""The space of accelerators, its bounds, and the search against brute force over a small one."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from math import prod

import jsonschema
import pytest

from dcp_hw import (
    bounds,
    bounds_programs,
    explore,
    funnel,
    funnel_field,
    funnel_near,
    funnel_network,
    per_layer,
    physical,
    search,
)
from dcp_hw import space as spaces
from dcp_hw.bounds import Bounds
from dcp_hw.candidates import EXAMPLES, STYLES, Style, design_of
from dcp_hw.draw import random_mapping
from dcp_hw.explore import Plan, plan
from dcp_hw.fast import evaluate
from dcp_hw.funnel import Budget
from dcp_hw.hardware import Hardware
from dcp_hw.known import Known
from dcp_hw.mapping import Unmappable
from dcp_hw.metrics import Infeasible
from dcp_hw.problem import problem_of
from dcp_hw.report_view import search_lines
from dcp_hw.technology import DATA
from dcp_hw.workload import Layer, LayerSet
from tensorlib.design import Design
from tensorlib.timing import Prediction

LAYERS = (
    Layer(name="product", operator="gemm", M=6, N=16, K=12),
    Layer(name="channels", operator="dwconv", K=16, C=16, Y=4, X=4, R=3, S=3, padding=1, groups=16),
    Layer(name="window", operator="conv", K=8, C=3, Y=5, X=4, R=3, S=3, padding=1, stride=2),
    Layer(name="batch", operator="bgemm", B=2, M=5, N=16, K=16),
)
ROOMY = Hardware(pes=16, sram_kib=64)
FOUND = spaces.space()
BY_KEY = {style.key: style for style in (*FOUND.arrays, *FOUND.twins)}


def cost(layer: Layer, design: Design, hardware: Hardware, mapping: object) -> tuple | None:
    """Exact cycles and nJ of a mapping; None if it cannot run."""
    answer = evaluate(problem_of(layer), design, mapping)  # type: ignore[arg-type]
    if not isinstance(answer, Prediction):
        return None
    cycles = answer.latency_cycles
    return cycles, physical.energy(design, hardware, answer.counters, cycles).total_nj


# --- what is in it ------------------------------------------------------------------


def test_census_counts_every_structure_once() -> None:
    counted = {
        name: (c.structures, c.generated, c.mapped, sum(c.reasons.values()))
        for name, c in FOUND.census.items()
    }
    # structures: design.md's and TensorLib's counts; generated: tests/unit/test_from_stt.py
    assert {name: c[:2] for name, c in counted.items()} == {
        "depthwise_conv2d": (317, 79), "conv2d": (590, 128), "gemm": (120, 42),
    }  # fmt: skip
    assert all(c[0] == c[2] + c[3] for c in counted.values())
    assert counted["gemm"][2] == 22


def test_named_styles_and_examples_are_points() -> None:
    wires = {(spaces.parts(s), s.wires.skew): s.key for s in BY_KEY.values()}
    points = {s.key: wires[spaces.parts(s), s.wires.skew] for s in STYLES + EXAMPLES}
    assert points == {
        "uo": "uo", "uw": "uw", "ws": "iohw2s11", "os": "iwho2s11", "is": "owhi1s11",
        "kc": "iopi", "om": "iwho1", "yx": "wwho1", "ry": "owdis10",
    }  # fmt: skip
    for style in STYLES + EXAMPLES:
        point = BY_KEY[points[style.key]]
        assert point.array(4, 8, depth=2, words=2, name="x") == style.array(
            4, 8, depth=2, words=2, name="x"
        )


def test_arrays_are_distinct() -> None:
    made = {key: s.array(3, 4, depth=2, words=2, name="x") for key, s in BY_KEY.items()}
    assert len({repr(design) for design in made.values()}) == len(made)


def test_shapes_leave_less_than_a_row_or_column_over() -> None:
    shapes = spaces.shapes(256)
    assert {(36, 7), (51, 5), (28, 9), (64, 4), (9, 28), (16, 16)} <= set(shapes)
    for rows, cols in shapes:
        assert rows * cols <= 256 < max((rows + 1) * cols, rows * (cols + 1))
    every = {(r, 256 // r) for r in range(1, 257)}
    assert every | {(c, r) for r, c in every} == set(shapes)


# --- bounds -------------------------------------------------------------------------


def brute_steps(sizes: dict[str, int], carried: tuple[str, str], shape: tuple[int, int]) -> int:
    """Least steps over all lane counts of all loops on either axis."""
    ways = [[(0, 1), *((axis, n) for axis in (0, 1) if loop in carried[axis]
                       for n in range(2, size + 1))] for loop, size in sizes.items()]  # fmt: skip
    best = prod(sizes.values())
    for lanes in product(*ways):
        if all(prod(n for axis, n in lanes if axis == a) <= shape[a] for a in (0, 1)):
            steps = prod(-(-size // n) for size, (_, n) in zip(sizes.values(), lanes, strict=True))
            best = min(best, steps)
    return best


@pytest.mark.parametrize("carried", [("kyx", "crs"), ("kyx", "yx"), ("crs", "cr"), ("k", "")])
def test_least_steps_equal_all_ways_to_spread_loops(carried: tuple[str, str]) -> None:
    rng = random.Random(str(carried))
    for _ in range(6):
        sizes = {loop: rng.randint(1, 5) for loop in "kcyxr"} | {"s": 1}
        shapes = [(rng.randint(1, 9), rng.randint(1, 9)) for _ in range(3)]
        found = bounds.least_steps(tuple(sizes.items()), carried, shapes, (False, False))
        assert found.tolist() == [brute_steps(sizes, carried, shape) for shape in shapes]


def drawn() -> Iterator[tuple[Layer, Style, tuple[int, int], Hardware, tuple]]:
    """Mappings drawn at random on random arrays, with their exact costs."""
    rng = random.Random(3)
    styles = [*BY_KEY.values(), *EXAMPLES]
    for _ in range(150):
        style, layer = rng.choice(styles), rng.choice(LAYERS)
        shape = rng.choice(list(spaces.shapes_of(style, 16)))
        bus = rng.choice(spaces.buses(ROOMY))
        hardware = Hardware(pes=16, sram_kib=64, bus_in_bits=bus[0], bus_out_bits=bus[1])
        design = design_of(style, *shape, (8, 6, 6), hardware)
        assert design is not None
        mapping = random_mapping(layer, design, rng)
        if not isinstance(mapping, Infeasible):
            found = cost(layer, design, hardware, mapping)
            if found is not None:
                yield layer, style, shape, hardware, found


def searched() -> Iterator[tuple[Layer, Style, tuple[int, int], Hardware, tuple]]:
    """Good mappings on arrays that suit them, where bounds are close."""
    for key, layer in product(("uo", "iw", "iohw1"), LAYERS):
        for shape in ((8, 2), (4, 4)):
            design = design_of(BY_KEY[key], *shape, (8, 6, 6), ROOMY)
            assert design is not None
            found = search.best_mapping(layer, design, effort="quick")
            if not isinstance(found, Infeasible):
                exact = cost(layer, design, ROOMY, found[0])
                if exact is not None:
                    yield layer, BY_KEY[key], shape, ROOMY, exact


def test_no_mapping_beats_its_bound() -> None:
    ratios = []
    for layer, style, shape, hardware, (cycles, energy) in (*drawn(), *searched()):
        bound = Bounds(hardware)
        least = bound.cycles(layer, style, [shape])
        assert cycles >= least[0], (layer.name, style.key, shape)
        assert energy >= bound.energy_nj(layer, [shape], least)[0]
        ratios.append(cycles / least[0])
    assert len(ratios) > 90
    assert min(ratios) < 1.4  # a bound of nothing would hold as well


def test_less_skew_is_never_worse() -> None:
    rng = random.Random(5)
    compared = 0
    for twin in rng.sample(FOUND.twins, 24):
        base = next(s for s in FOUND.arrays if spaces.parts(s) == spaces.parts(twin))
        one, two = (design_of(s, 4, 4, (8, 6, 6), ROOMY) for s in (base, twin))
        assert one is not None
        assert two is not None
        for layer in LAYERS:
            mapping = random_mapping(layer, two, rng)
            if isinstance(mapping, Infeasible):
                continue
            less, more = (cost(layer, d, ROOMY, mapping) for d in (one, two))
            assert (less is None) == (more is None)
            if less and more:
                assert less[0] < more[0]
                assert less[1] <= more[1]
                compared += 1
    assert compared > 40


def test_a_wider_bus_is_never_worse() -> None:
    rng = random.Random(6)
    compared = 0
    for key, layer in product(("uo", "iw", "uwho1", "iohw1"), LAYERS):
        made = {
            bus: design_of(BY_KEY[key], 4, 4, (8, 6, 6), ROOMY, bus) for bus in spaces.buses(ROOMY)
        }
        mapping = random_mapping(layer, made[128, 128], rng)  # type: ignore[arg-type]
        if isinstance(mapping, Infeasible):
            continue
        costs = {bus: cost(layer, d, ROOMY, mapping) for bus, d in made.items() if d}
        best = costs[128, 128]
        for (bits_in, bits_out), other in costs.items():
            if best and other and (bits_in, bits_out) != (128, 128):
                assert other[0] >= best[0] + (bits_in < 128)
                assert other[1] >= best[1] - 1e-9
                compared += 1
    assert compared > 60


# --- the search against brute force -------------------------------------------------

SMALL = Hardware(pes=6, sram_kib=6, bus_in_bits=64, bus_out_bits=32)
NETWORK = LayerSet(name="small", layers=LAYERS[:2])
KEYS = ("uw", "uo", "wo", "io", "ou", "iwho1", "ios10", "uos01")
FEW_SPLITS = ((8, 6, 6), (4, 8, 8))
ALL = Budget(points=999, splits=999, quick=6, full=2, layer_points=999, layer_splits=999,
             pool=999, layer_quick=6)  # fmt: skip
DRAWN = search.Effort(lanes=4, keep=2, exact=2, near=2, starts=1, every=4)
"""Lanes of fewest steps, tiles of the best estimates: evaluated exactly."""


def small_space() -> spaces.Space:
    chosen = [s for key, s in BY_KEY.items() if key in KEYS]
    return spaces.Space(
        census=FOUND.census,
        arrays=tuple(s for s in chosen if s.wires.skew == (0, 0)),
        twins=tuple(s for s in chosen if s.wires.skew != (0, 0)),
    )


def mappings(layer: Layer, design: Design) -> list[tuple]:
    """Exact costs of the mappings drawn for a layer on a design."""
    try:
        ranked = search.ranked(problem_of(layer), design, DRAWN)
    except Unmappable:
        return []
    found = [cost(layer, design, SMALL, mapping) for _, mapping in ranked[:5]]
    return [c for c in found if c is not None]


@pytest.fixture(scope="module")
def everything() -> dict[str, list[list[tuple]]]:
    """Design -> layer -> costs of mappings, for all candidates of the small space."""
    table: dict[str, list[list[tuple]]] = {}
    whole = small_space()
    for style in (*whole.arrays, *whole.twins):
        for shape in spaces.shapes_of(style, SMALL.pes):
            for split, bus in product(FEW_SPLITS, spaces.buses(SMALL)):
                design = design_of(style, *shape, split, SMALL, bus)
                if design is not None:
                    table[design.name] = [mappings(layer, design) for layer in NETWORK]
    return table


def best_on_one_design(table: dict[str, list[list[tuple]]], objective: str) -> float:
    """Least objective of the network over all designs and all pairs of mappings."""
    best = float("inf")
    for per_layer_costs in table.values():
        for pair in product(*per_layer_costs):
            best = min(best, total(pair, objective))
    return best


def total(costs: tuple, objective: str) -> float:
    cycles = sum(x.count * c[0] for x, c in zip(NETWORK, costs, strict=True))
    energy = sum(x.count * c[1] for x, c in zip(NETWORK, costs, strict=True))
    return {"latency": cycles, "energy": energy, "edp": cycles * energy}[objective]


def chosen(made: Plan, objective: str) -> float:
    outcomes = {name: o for per in made.choices.values() for name, o in per.items()}
    costs = [(outcomes[x.name].cycles, outcomes[x.name].energy_nj) for x in NETWORK]  # type: ignore[union-attr]
    return total(tuple(costs), objective)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("DCP_HW_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(explore, "space", small_space)
    for module in (funnel, funnel_field, funnel_near, funnel_network, bounds_programs, per_layer):
        monkeypatch.setattr(module, "SPLITS", FEW_SPLITS)
    monkeypatch.setattr(funnel, "BATCH", 2)


@pytest.mark.parametrize("objective", ["latency", "edp"])
def test_fixed_finds_nothing_worse_than_brute_force(
    small: None, everything: dict, objective: str
) -> None:
    made = plan("fixed", NETWORK, Known(SMALL, objective, 1), ALL)
    assert chosen(made, objective) <= best_on_one_design(everything, objective) * (1 + 1e-9)
    counts = made.search
    left = ("narrower_bus", "more_skew", "bound", "no_room", "screened", "not_examined")
    assert counts["candidates"] == sum(counts[name] for name in left)
    assert counts["bound"] > 0
    assert counts["not_examined"] == 0
    schema = json.loads((DATA / "report.schema.json").read_text())
    one = {"$defs": schema["$defs"], **schema["properties"]["search"]["items"]}
    jsonschema.validate(counts, one)
    assert f"screened {counts['screened']:,}" in search_lines({"search": [counts]})[0]


def test_per_layer_finds_nothing_worse_than_brute_force(small: None, everything: dict) -> None:
    made = plan("per-layer", NETWORK, Known(SMALL, "latency", 1), ALL)
    best = sum(
        layer.count * min(c[0] for table in everything.values() for c in table[n])
        for n, layer in enumerate(NETWORK)
    )
    assert chosen(made, "latency") <= best


def test_every_kind_of_array_is_looked_at_or_out_by_its_bound(small: None) -> None:
    field = funnel_field.Field(small_space().arrays, NETWORK, SMALL)
    few = Budget(points=1, splits=1, quick=1, full=1)
    search_ = funnel.Funnel(field, Known(SMALL, "edp", 1), few, "few")
    search_.finalists()
    kinds: dict[object, list[int]] = {}
    for number, point in enumerate(field.points):
        style = point.style
        kinds.setdefault((style.loops, style.wires.diagonals), []).append(number)
    seen = [bool(search_.tried.keys() & numbers) for numbers in kinds.values()]
    out = [min(search_.lower[numbers]) >= search_.limit for numbers in kinds.values()]
    assert all(a or b for a, b in zip(seen, out, strict=True))
    assert sum(seen) > 2


@pytest.mark.parametrize("objective", ["latency", "energy", "edp"])
def test_a_design_per_layer_is_no_worse_than_one_for_all(small: None, objective: str) -> None:
    few = Budget(points=40, splits=4, quick=2, full=1, layer_points=1, layer_splits=1, pool=1,
                 layer_search=1, layer_quick=1)  # fmt: skip
    made = plan("per-layer", NETWORK, Known(SMALL, objective, 1), few)
    one = plan("fixed", NETWORK, Known(SMALL, objective, 1), few)
    assert chosen(made, objective) <= chosen(one, objective)
    left = ("narrower_bus", "more_skew", "bound", "no_room", "screened", "not_examined")
    assert made.search["candidates"] == sum(made.search[name] for name in left)


def test_a_bound_that_is_too_high_is_noticed(
    small: None, everything: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = bounds.input_words
    monkeypatch.setattr(bounds, "input_words", lambda layer: 16 * words(layer))  # bytes
    made = plan("fixed", NETWORK, Known(SMALL, "latency", 1), ALL)
    assert chosen(made, "latency") > best_on_one_design(everything, "latency")


@pytest.mark.parametrize("objective", ["energy", "edp"])
def test_designs_near_the_screened_ones_are_searched(small: None, objective: str) -> None:
    """Screening alone, of one shape of each kind at one memory split, misses better ones."""
    alone = Budget(points=1, splits=0, quick=1, full=1, near=0)
    near = replace(alone, near=8)
    values, counts = {}, {}
    for budget in (alone, near):
        made = plan("fixed", NETWORK, Known(SMALL, objective, 1), budget)
        values[budget.near], counts[budget.near] = chosen(made, objective), made.search
    assert values[8] < values[0]
    assert counts[0]["quick"] == 1
    assert 1 < counts[8]["quick"] <= 1 + 8
