"""Programs of whole layers, run by the interpreter, against the golden models."""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
import pytest

from dcp_hw.lowering import Program, lower
from dcp_hw.mapping import Mapping
from dcp_hw.metrics import Infeasible
from dcp_hw.packing import memory_image, read_output
from dcp_hw.search import best_mapping
from dcp_hw.workload import Layer, LayerSet
from sim.interpreter import interpret, scatter
from sim.layer_data import make_data
from sim.reference import checksum
from tensorlib.design import Design
from tensorlib.families import family
from tensorlib.program import Load

TINY = LayerSet.load("tiny")
DESIGNS = {
    "unicast_tree": (64, 4),
    "unicast_tree_16": (16, 4),
    "unicast_multicast": (8, 8),
    "weight_stationary": (16, 16),
    "input_stationary": (8, 8),
    "output_stationary": (8, 8),
    "output_broadcast": (8, 8),
    "nvdla": (16, 16),
    "broadcast": (8, 8),
    "row_stationary": (8, 8),
}
INT32_DESIGNS = ("unicast_tree", "unicast_multicast", "output_stationary")
SMALL_NETWORK = (  # MobileNet-V2's kinds of layers, scaled down
    Layer(name="image", operator="conv", K=16, C=3, Y=14, X=14, R=3, S=3, stride=2, padding=1),
    Layer(name="expand", operator="conv", K=48, C=16, Y=14, X=14),
    Layer(
        name="depthwise", operator="dwconv", K=48, C=48, Y=14, X=14, R=3, S=3, padding=1, groups=48
    ),
    Layer(
        name="depthwise_2",
        operator="dwconv",
        K=48,
        C=48,
        Y=7,
        X=7,
        R=3,
        S=3,
        stride=2,
        padding=1,
        groups=48,
    ),
    Layer(name="project", operator="conv", K=24, C=144, Y=7, X=7),
    Layer(name="classify", operator="gemm", M=1, N=100, K=160),
    Layer(
        name="groups_of_16", operator="conv", K=64, C=32, Y=5, X=5, R=3, S=3, groups=2, padding=1
    ),
)


@lru_cache(maxsize=32)
def design_of(kind: str) -> Design:
    """A test design."""
    rows, cols = DESIGNS[kind]
    return family(kind.removesuffix("_16"), rows, cols, depth=80, words=256, param_rows=16)


def run_and_check(program: Program) -> None:
    """Nothing; runs a program on seeded data and compares output, checksum and memory."""
    data = make_data(program.layer, seed=3)
    memory = memory_image(program, data)
    before = memory.copy()
    result = interpret(program.design, program.commands, memory)
    scatter(program.commands, result.words, memory)
    expected = data.acc if program.int32 else data.output
    np.testing.assert_array_equal(read_output(program, memory), expected)
    assert result.checksum == checksum(data.acc)
    assert result.counters["requantise"] == program.layer.output_elements
    output = program.regions["output"]
    np.testing.assert_array_equal(memory[:output], before[:output])


@pytest.mark.parametrize(
    ("kind", "int32"),
    [(kind, False) for kind in DESIGNS] + [(kind, True) for kind in INT32_DESIGNS],
)
@pytest.mark.parametrize("name", [layer.name for layer in TINY])
def test_tiny_layer(kind: str, name: str, int32: bool) -> None:
    found = best_mapping(TINY[name], design_of(kind), effort="quick", int32=int32)
    assert not isinstance(found, Infeasible), found
    _, program, prediction = found
    assert program.int32 == int32
    run_and_check(program)
    assert prediction.latency_cycles > 0


@pytest.mark.parametrize("kind", DESIGNS)
@pytest.mark.parametrize("layer", SMALL_NETWORK, ids=lambda layer: layer.name)
def test_network_layer(kind: str, layer: Layer) -> None:
    found = best_mapping(layer, design_of(kind), effort="quick")
    assert not isinstance(found, Infeasible), found
    run_and_check(found[1])


@pytest.mark.parametrize("kind", ["unicast_tree", "unicast_tree_16", "nvdla"])
@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize(("m", "n", "k"), [(9, 21, 24), (5, 70, 100)])
def test_a_second_operand_is_taken_as_an_earlier_layer_wrote_it(
    kind: str, transposed: int, m: int, n: int, k: int
) -> None:
    layer = Layer(name="attend", operator="bgemm", B=2, M=m, N=n, K=k, transposed=transposed)
    found = best_mapping(layer, design_of(kind), effort="quick")
    assert not isinstance(found, Infeasible), found
    program = found[1]
    run_and_check(program)
    second = make_data(layer, seed=3).w
    lies = second.transpose(0, 2, 1) if transposed else second  # pixels x channels
    pixels, channels = lies.shape[1:]
    written = np.zeros((2, -(-channels // 16) * 16, pixels), dtype=np.int8)
    written[:, :channels] = lies.transpose(0, 2, 1)
    words = written.reshape(2, -1, 16, pixels).transpose(0, 1, 3, 2).tobytes()
    start = program.regions["weight"]
    memory = memory_image(program, make_data(layer, seed=3))
    assert memory[start : start + len(words)].tobytes() == words
    assert start + len(words) == program.regions["params"]


def test_partial_sums_stay_on_chip() -> None:
    layer = Layer(name="deep", operator="gemm", M=6, N=32, K=64)
    lanes = {"axis1": (("k", 16), ("x", 2)), "axis2": (("c", 4),)}
    mapping = Mapping(**lanes, kt=2, ct=4, yt=1, xt=3, ks=2, ys=1, xs=3, snake=True)
    program = lower(layer, design_of("unicast_tree"), mapping)
    assert isinstance(program, Program)
    assert any(getattr(command, "accumulate", False) for command in program.commands)
    run_and_check(program)


def test_mapping_that_does_not_fit_is_a_value() -> None:
    mapping = Mapping(axis1=(("c", 4),), axis2=(), kt=1, ct=1, yt=1, xt=1, ks=1, ys=1, xs=1)
    answer = lower(TINY["gemm"], design_of("unicast_tree"), mapping)
    assert isinstance(answer, Infeasible)
    assert "axis 1 cannot carry c" in answer.reason


def test_program_json_lists_all_words() -> None:
    found = best_mapping(TINY["gemm"], design_of("unicast_tree"), effort="quick")
    assert not isinstance(found, Infeasible)
    content = json.loads(found[1].to_json())
    assert [c["op"] for c in content["commands"]][:2] == ["CONFIG", "LANES"]
    assert len(content["commands"]) == len(found[1].commands)


@pytest.mark.parametrize(
    ("layer", "design", "layouts"),
    [
        ("padded", "unicast_tree", {"input": "c4", "weight": "packed"}),
        ("conv", "weight_stationary", {"input": "c16", "weight": "packed"}),
        ("depthwise", "unicast_tree", {"input": "c16", "weight": "taps"}),
        ("bgemm_transposed", "unicast_tree", {"input": "c16", "weight": "rows"}),
    ],
)
def test_program_json_tells_how_operands_lie(
    layer: str, design: str, layouts: dict[str, str]
) -> None:
    found = best_mapping(TINY[layer], design_of(design), effort="quick")
    assert not isinstance(found, Infeasible)
    program = found[1]
    content = json.loads(program.to_json())
    assert content["layouts"] == layouts
    loads = [c for c in program.commands if isinstance(c, Load) and c.tensor == "weight"]
    tiles = content["weight_tiles"]
    assert bool(tiles) == (layouts["weight"] == "packed")
    for tile in tiles:
        load = next(x for x in loads if x.bursts[0][0] == tile["address"])
        assert (load.na, load.nb) == (tile["banks_1"], tile["banks_2"])
        assert load.data_words * 16 == tile["bytes"] == load.na * load.nb * load.nc * 16
    starts = sorted((t["nest"], t["k"], t["c"]) for t in tiles)
    assert len(set(starts)) == len(tiles)
    assert starts[:1] in ([], [(0, 0, 0)])


def test_packed_weights_lie_as_the_example_of_the_docs_says() -> None:
    """docs/hardware.md, 2.5: N = 24, K = 32, 8 lanes of k, 4 of c in one bank, two tiles."""
    layer = Layer(name="example", operator="gemm", M=4, N=24, K=32)
    mapping = Mapping(
        axis1=(("k", 8),), axis2=(("c", 4),), kt=2, ct=8, yt=1, xt=4, ks=2, ys=1, xs=4
    )
    program = lower(layer, family("unicast_tree", 8, 4, depth=64, words=64), mapping)
    assert isinstance(program, Program)
    data = make_data(layer, seed=1)
    memory, weight = memory_image(program, data).view(np.int8), data.w
    assert weight.shape == (32, 24)
    assert [(t["k"], t["k_steps"], t["bytes"]) for t in program.tiles] == [
        (0, 2, 512),
        (16, 1, 256),
    ]
    compared = 0
    for tile in program.tiles:
        for bank, step, c, p in np.ndindex(8, tile["k_steps"], 8, 4):
            address = tile["address"] + bank * tile["bytes"] // 8 + (step * 8 + c) * 4 + p
            assert memory[address] == weight[4 * c + p, tile["k"] + 8 * step + bank]
            compared += 1
    assert compared == 24 * 32
