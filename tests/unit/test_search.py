"""The search against brute force on spaces small enough to try everything."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from dcp_hw import scan
from dcp_hw.axes import axes_of
from dcp_hw.fast import latency
from dcp_hw.lane_options import constants, lane_options, mapping_of
from dcp_hw.mapping import Mapping, Unmappable
from dcp_hw.metrics import Infeasible
from dcp_hw.problem import ceil_div, problem_of
from dcp_hw.search import EFFORTS, best_mapping, evaluate, neighbours, ranked
from dcp_hw.workload import Layer, LayerSet
from tensorlib.families import family
from tensorlib.timing import Prediction

LAYERS = (
    Layer(name="product", operator="gemm", M=4, N=16, K=8),
    Layer(name="channels", operator="dwconv", K=16, C=16, Y=3, X=4, R=3, S=3, padding=1, groups=16),
    Layer(name="window", operator="conv", K=8, C=8, Y=3, X=3, R=3, S=3, padding=1),
)
KINDS = {"unicast_tree": (8, 2), "unicast_multicast": (4, 4), "weight_stationary": (4, 4)}


def brute_force(layer: Layer, kind: str) -> int:
    """Least latency of all mappings with digits of any size and all tile sizes."""
    design = family(kind, *KINDS[kind], depth=24, words=64, param_rows=2)
    problem, axes = problem_of(layer), axes_of(design)
    order = "xykcsr" if axes.chain == "weight" else "csrxyk"
    best = 1 << 60
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
                try:
                    mapping = Mapping(
                        axis1=one,
                        axis2=two,
                        kt=kt,
                        ct=ct,
                        yt=yt,
                        xt=xt,
                        ks=kt,
                        ys=ys,
                        xs=xt,
                        order=order,
                        tiles=tiles,
                    )
                except Unmappable:
                    continue
                answer = evaluate(problem, design, mapping)
                if isinstance(answer, Prediction):
                    best = min(best, answer.latency_cycles)
    return best


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_search_finds_the_best(layer: Layer, kind: str) -> None:
    design = family(kind, *KINDS[kind], depth=24, words=64, param_rows=2)
    found = best_mapping(layer, design, effort="thorough")
    assert not isinstance(found, Infeasible)
    assert found[2].latency_cycles <= brute_force(layer, kind)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_estimate_is_close_to_the_exact_model(layer: Layer) -> None:
    design = family("unicast_tree", 8, 2, depth=64, words=512, param_rows=2)
    problem, axes = problem_of(layer), axes_of(design)
    close = 0
    for _, lanes, split in lane_options(problem, design)[:20]:
        g = constants(problem, design, lanes, split, int32=False)
        whole = {x: ceil_div(problem.size(x), split.lanes[x]) for x in "kcyx"}
        sizes = [np.array([n], dtype=np.int64) for n in (*whole.values(), 1)]
        values, rows = scan.scan(g, *sizes, 1)
        if values[0] == np.inf:
            continue
        mapping = mapping_of(lanes, axes, problem, tuple(rows[0][:7].tolist()))
        exact = evaluate(problem, design, mapping)
        if isinstance(exact, Prediction):
            assert values[0] == pytest.approx(exact.latency_cycles, rel=0.15)
            close += 1
    assert close


@pytest.mark.parametrize("kind", [*KINDS, "input_stationary", "output_stationary", "nvdla"])
@pytest.mark.parametrize("int32", [False, True], ids=["int8", "int32"])
def test_fast_latency_equals_the_exact_model(kind: str, int32: bool) -> None:
    rows, cols = KINDS.get(kind, (8, 8))
    design = family(kind, rows, cols, depth=32, words=128, param_rows=2, in_bits=64)
    compared = 0
    for layer in (*LAYERS, *LayerSet.load("tiny")):
        problem = problem_of(layer)
        mappings = [pair[1] for pair in ranked(problem, design, EFFORTS["quick"], int32=int32)[:2]]
        for mapping in [*mappings, *(n for m in mappings[:1] for n in neighbours(m))]:
            exact = evaluate(problem, design, mapping, int32=int32)
            if isinstance(exact, Prediction):
                assert latency(problem, design, mapping, int32=int32) == exact.latency_cycles
                compared += 1
    assert compared > 100


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
