"""The search against brute force on spaces small enough to try everything."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from dcp_hw import fast, scan
from dcp_hw.axes import axes_of
from dcp_hw.candidates import EXAMPLES, STYLES, candidates
from dcp_hw.draw import random_mapping
from dcp_hw.fast import evaluate, evaluate_batch
from dcp_hw.hardware import Hardware
from dcp_hw.lane_options import constants, lane_options, mapping_of
from dcp_hw.mapping import Mapping
from dcp_hw.metrics import Infeasible
from dcp_hw.problem import Problem, ceil_div, problem_of
from dcp_hw.search import best_mapping
from dcp_hw.workload import Layer, LayerSet
from tensorlib.activity import COUNTERS
from tensorlib.design import Design
from tensorlib.families import FAMILIES, family
from tensorlib.timing import Prediction

LAYERS = (
    Layer(name="product", operator="gemm", M=4, N=16, K=8),
    Layer(name="channels", operator="dwconv", K=16, C=16, Y=3, X=4, R=3, S=3, padding=1, groups=16),
    Layer(name="window", operator="conv", K=8, C=8, Y=3, X=3, R=3, S=3, padding=1),
)
KINDS = {"unicast_tree": (8, 2), "unicast_multicast": (4, 4), "weight_stationary": (4, 4)}


def all_mappings(layer: Layer, design: Design) -> Iterator[Mapping]:
    """All mappings with digits of any size and all tile sizes."""
    problem, axes = problem_of(layer), axes_of(design)
    order = "xykcsr" if axes.chain == "weight" else "csrxyk"
    options = [
        [(), *(((loop, n),) for loop in axes.loops(axis, problem) for n in range(2, size + 1))]
        for axis, size in enumerate(axes.size)
    ]
    for one, two in product(*options):
        lanes = dict(one + two)
        if len(lanes) < len(one) + len(two):
            continue
        whole = {x: ceil_div(problem.size(x), lanes.get(x, 1)) for x in "kcyx"}
        if problem.depthwise:
            whole["c"] = 1
        sizes = [range(1, whole[x] + 1) for x in "kcyx"]
        for kt, ct, yt, xt in product(*sizes):
            for tiles, ys in product(("kyx", "yxk"), {yt, ceil_div(yt, 2)}):
                sizes_of_exec = {"ks": kt, "ys": ys, "xs": xt}
                yield Mapping(
                    axis1=one,
                    axis2=two,
                    kt=kt,
                    ct=ct,
                    yt=yt,
                    xt=xt,
                    order=order,
                    tiles=tiles,
                    **sizes_of_exec,
                )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_search_finds_the_best(layer: Layer, kind: str) -> None:
    design = family(kind, *KINDS[kind], depth=24, words=64, param_rows=2)
    found = best_mapping(layer, design, effort="thorough")
    assert not isinstance(found, Infeasible)
    tried = list(all_mappings(layer, design))
    cycles = evaluate_batch(problem_of(layer), design, tried).cycles.tolist()
    assert found[2].latency_cycles <= min(n for n in cycles if n)
    for n in random.Random(1).sample(range(len(tried)), 150):  # what the batch says is so
        exact = evaluate(problem_of(layer), design, tried[n])
        assert cycles[n] == (exact.latency_cycles if isinstance(exact, Prediction) else 0)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_estimate_is_close_to_the_exact_model(layer: Layer) -> None:
    design = family("unicast_tree", 8, 2, depth=64, words=512, param_rows=2)
    problem, axes = problem_of(layer), axes_of(design)
    close = 0
    for _, lanes, split in lane_options(problem, design)[:20]:
        g = constants(problem, design, lanes, split, int32=False)
        whole = {x: ceil_div(problem.size(x), split.lanes[x]) for x in "kcyx"}
        sizes = [np.array([n], dtype=np.int64) for n in (*whole.values(), 1)]
        values, rows, _ = scan.scan(g, *sizes, 1)
        if values[0] == np.inf:
            continue
        mapping = mapping_of(lanes, axes, problem, tuple(rows[0][:7].tolist()))
        exact = evaluate(problem, design, mapping)
        if isinstance(exact, Prediction):
            assert values[0] == pytest.approx(exact.latency_cycles, rel=0.15)
            close += 1
    assert close


DESIGNS = tuple(
    tuple(c.design for c in candidates((style,), Hardware())) for style in STYLES + EXAMPLES
)
"""Per style."""
LONG = 400_000
"""Cycles of mappings whose commands are not made one by one here."""


def drawn_mapping(problem: Problem, design: Design, rng: random.Random) -> Mapping | None:
    """A mapping with sensible lanes, and sizes and orders of any kind."""
    options = lane_options(problem, design)
    if not options:
        return None
    _, lanes, split = rng.choice(options[:8])
    wholes = [ceil_div(problem.size(x), split.lanes[x]) for x in "kcyx"]
    sizes = [ceil_div(n, rng.choice((1, 1, 2, 3, 4, 6, 10, 25, 80))) for n in wholes]
    if rng.random() < 0.5:
        sizes[1] = wholes[1]
    unit = split.ki * split.kd
    sizes[0] = max(1, sizes[0] * unit // 16) * 16 // unit or 1
    parts = [ceil_div(sizes[n], rng.choice((1, 1, 2, 3))) for n in (0, 2, 3)]
    mapping = mapping_of(lanes, axes_of(design), problem, (*sizes, *parts))
    return replace(
        mapping,
        tiles="".join(rng.sample("kyx", 3)),
        snake=rng.random() < 0.5,
        late_params=rng.random() < 0.5,
        trim=problem.depthwise and rng.random() < 0.3,
        lead=rng.choice((1, 1, 2, 3)),
    )


@pytest.mark.parametrize("name", ["tiny", "mobilenetv2", "resnet50", "vit_b16"])
def test_compiled_mappings_equal_their_commands(name: str) -> None:
    """Cycles, all counters and what cannot run, for mappings of every style and example."""
    rng = random.Random(name)
    layers = list(LayerSet.load(name))
    ran = set()
    for turn in range(120 if name == "tiny" else 36):
        layer, design = rng.choice(layers), rng.choice(DESIGNS[turn % len(DESIGNS)])
        problem, int32 = problem_of(layer, flat=rng.random() < 0.8), rng.random() < 0.3
        drawn = [drawn_mapping(problem, design, rng) for _ in range(50)]
        mappings = [m for m in drawn if m is not None]
        exact = evaluate_batch(problem, design, mappings, int32=int32, counters=True)
        runs = [n for n, cycles in enumerate(exact.cycles) if 0 < cycles < LONG]
        fails = [n for n, cycles in enumerate(exact.cycles) if cycles == 0]
        for n in (*runs[:3], *fails[:2]):
            answer = evaluate(problem, design, mappings[n], int32=int32)
            expected = (0, [0] * len(COUNTERS))
            if isinstance(answer, Prediction):
                expected = answer.latency_cycles, [answer.counters[c] for c in COUNTERS]
                ran.add(design.name.split("_")[0])
            context = (layer.name, design.name, int32, mappings[n])
            found = (exact.cycles[n], exact.counters[n].tolist())
            assert (*context, *found) == (*context, *expected)
    assert len(ran) >= (9 if name == "tiny" else 4)


def test_odd_mappings_and_arrays_agree_too() -> None:
    """Digits and orders that no search proposes, on small arrays of every family."""
    rng = random.Random(9)
    layers = list(LayerSet.load("tiny"))
    ran = 0
    for _ in range(300):
        kind = rng.choice(sorted(FAMILIES))
        design = family(kind, rng.choice((2, 4, 8)), rng.choice((2, 4, 8)), depth=64, words=256)
        layer = rng.choice(layers)
        mapping = random_mapping(layer, design, rng)
        if isinstance(mapping, Infeasible):
            continue
        problem = problem_of(layer, flat=mapping.flat)
        exact = evaluate_batch(problem, design, [mapping], counters=True)
        answer = evaluate(problem, design, mapping)
        cycles = answer.latency_cycles if isinstance(answer, Prediction) else 0
        assert (kind, layer.name, mapping, cycles) == (kind, layer.name, mapping, exact.cycles[0])
        if isinstance(answer, Prediction):
            assert exact.counters[0].tolist() == [answer.counters[name] for name in COUNTERS]
            ran += 1
    assert ran > 60


def test_threads_give_the_same() -> None:
    """Many lanes in one call, on two threads."""
    design = family("unicast_tree", 8, 2, depth=64, words=512, param_rows=2)
    tried = list(all_mappings(LAYERS[1], design))
    problem = problem_of(LAYERS[1])
    one = evaluate_batch(problem, design, tried, counters=True)
    two = evaluate_batch(problem, design, tried, counters=True, threads=2)
    assert one.cycles.tolist() == two.cycles.tolist()
    assert one.counters.tolist() == two.counters.tolist()
    assert np.count_nonzero(one.cycles) > 50


def test_mappings_without_room_are_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    design = family("unicast_tree", 8, 2, depth=64, words=512, param_rows=2)
    problem = problem_of(LAYERS[1])
    tried = list(all_mappings(LAYERS[1], design))[::301]
    expected = evaluate_batch(problem, design, tried, counters=True)
    monkeypatch.setattr(fast, "FEW_EXECS", 2)
    monkeypatch.setattr(fast, "MOST_EXECS", 2)
    monkeypatch.setattr(fast, "_own", threading.local())
    short = evaluate_batch(problem, design, tried, counters=True)
    assert short.cycles.tolist() == expected.cycles.tolist()
    assert short.counters.tolist() == expected.counters.tolist()
    none = evaluate_batch(problem, design, tried, long=False)
    assert not none.cycles.any()


def test_layers_of_long_mappings_only_are_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    design = family("unicast_tree", 8, 2, depth=64, words=512, param_rows=2)
    usual = best_mapping(LAYERS[1], design)
    monkeypatch.setattr(fast, "FEW_EXECS", 2)
    monkeypatch.setattr(fast, "MOST_EXECS", 2)
    monkeypatch.setattr(fast, "_own", threading.local())
    found = best_mapping(LAYERS[1], design, effort="quick")
    assert not isinstance(usual, Infeasible)
    assert not isinstance(found, Infeasible)
    assert usual[2].latency_cycles <= found[2].latency_cycles < 2 * usual[2].latency_cycles


def test_score_and_objective_agree() -> None:
    design = family("unicast_tree", 16, 4)
    plain = best_mapping(LAYERS[0], design)
    scored = best_mapping(LAYERS[0], design, score=lambda p: p.latency_cycles)
    words = best_mapping(LAYERS[0], design, score=lambda p: p.counters["bus_in_beat"])
    assert not isinstance(plain, Infeasible)
    assert not isinstance(scored, Infeasible)
    assert not isinstance(words, Infeasible)
    assert plain[2].latency_cycles == scored[2].latency_cycles <= words[2].latency_cycles
    assert words[2].counters["bus_in_beat"] <= plain[2].counters["bus_in_beat"]


def test_objectives_are_checked() -> None:
    design = family("unicast_tree", 8, 2)
    with pytest.raises(ValueError, match="objective must be one of latency, energy, edp"):
        best_mapping(LAYERS[0], design, objective="speed")
