"""Codes of layers and dataflows: encode and decode are inverses on the whole legal space."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcp_hw.errors import InputError
from dcp_hw.maestro.dataflow import Dataflow, Dim, Level, from_genome, loop_sizes
from dcp_hw.maestro.encoding import (
    CodeType,
    LayerCode,
    dataflow_tensor,
    decode,
    decode_layer,
    encode,
    encode_layer,
    layer_code,
    layer_tensor,
    maestro_layer,
)
from dcp_hw.maestro.layer import LayerType, convolution, depthwise
from dcp_hw.workload import Layer, LayerSet, Operator

small = st.integers(1, 64)


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    """Any layer that has a code."""
    operator = draw(st.sampled_from([Operator.CONV, Operator.DWCONV, Operator.GEMM]))
    if operator is Operator.GEMM:
        sizes = {dim: draw(small) for dim in "MNK"}
        return Layer(name="l", operator=operator, **sizes)
    r, s = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    groups = draw(st.sampled_from([1, 2, 4]))
    channels = draw(st.integers(2, 16))
    window = {
        "stride": draw(st.integers(1, 3)),
        "padding": draw(st.integers(0, min(r, s) // 2)),
        "dilation": draw(st.integers(1, 2)),
    }
    sizes = {"R": r, "S": s, "Y": draw(st.integers(3, 20)), "X": draw(st.integers(3, 20))}
    if operator is Operator.DWCONV:
        return Layer(name="l", operator=operator, K=channels, C=channels, groups=channels,
                     **sizes, **window)  # fmt: skip
    return Layer(name="l", operator=operator, K=draw(small) * groups * 2, C=channels * groups,
                 groups=groups, **sizes, **window)  # fmt: skip


@given(layers())
@settings(max_examples=300, deadline=None)
def test_layers_survive_their_code(layer: Layer) -> None:
    code = encode_layer(layer)
    rest = {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}
    assert decode_layer(code, name="l", **rest) == layer
    assert layer_code(code.array()) == code
    if layer.dilation == 1:
        assert maestro_layer(layer).macs == layer.macs


@st.composite
def dataflows(draw: st.DrawFn) -> tuple[Dataflow, tuple[int, ...], bool]:
    """A legal dataflow and its layer: tiles within those above, whole filters."""
    shape = tuple(draw(st.integers(1, 12)) for _ in range(6))
    deep = draw(st.booleans())
    above = {dim: (1 if deep and dim is Dim.K else shape[dim]) for dim in Dim}
    levels = []
    for _ in range(draw(st.integers(1, 4))):
        order = draw(st.permutations(list(Dim)))
        tile = {dim: draw(st.integers(1, above[dim])) for dim in Dim}
        tile |= {dim: above[dim] for dim in (Dim.R, Dim.S)}
        levels.append(
            Level(
                parallel=draw(st.sampled_from(list(Dim))),
                units=draw(st.integers(1, 200)),
                order=tuple(order),
                tile=tuple(tile[dim] for dim in order),
            )
        )
        above = tile
    return Dataflow(tuple(levels)), shape, deep


@given(dataflows())
@settings(max_examples=300, deadline=None)
def test_dataflows_survive_their_code_and_genome(
    case: tuple[Dataflow, tuple[int, ...], bool],
) -> None:
    flow, (k, c, y, x, r, s), deep = case
    make = depthwise if deep else convolution
    layer = make("l", (1 if deep else k, c, y + r - 1, x + s - 1, r, s))
    code = encode(flow)
    assert code.shape == (len(flow.levels), 7, 2)
    assert decode(code, layer) == flow
    assert decode(code.astype(np.float32), layer) == flow
    np.testing.assert_array_equal(encode(decode(code)), code)
    assert from_genome(flow.to_genome()) == flow
    _, mapping = flow.to_maestro(layer)
    for level, directives in zip(flow.levels, mapping.levels, strict=True):
        assert len(directives) == 6 - deep
        assert sum(directive.spatial for directive in directives) == 1
        assert {directive.offset for directive in directives} <= set(level.tile)


def test_loops_count_outputs() -> None:
    layer = convolution("l", (8, 4, 11, 9, 3, 3), stride=2)
    assert [loop_sizes(layer)[dim] for dim in Dim] == [8, 4, 5, 4, 3, 3]


def test_every_shipped_layer_has_a_code_or_says_why() -> None:
    for name in ("mobilenetv2", "resnet50", "vgg16", "vit_b16"):
        for layer in LayerSet.load(name):
            if layer.operator is Operator.BGEMM:
                with pytest.raises(InputError, match="no code"):
                    encode_layer(layer)
                continue
            assert maestro_layer(layer).macs == layer.macs
    grouped = Layer(name="g", operator=Operator.CONV, K=8, C=8, Y=4, X=4, groups=2)
    assert maestro_layer(grouped).type is LayerType.NGCONV


@pytest.mark.parametrize(
    "code", [[1] * 6, [1, 1, 1, 1, 1, 1, 4], [0, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 2, 1, 1],
             [2, 1, 1, 1, 1, 1, 2], [1, 1, 2, 1, 1, 1, 0], [1.5, 1, 1, 1, 1, 1, 1]]
)  # fmt: skip
def test_codes_that_no_layer_has_are_refused(code: list[int]) -> None:
    with pytest.raises(InputError, match="accepted"):
        layer_code(code)


def test_codes_that_no_dataflow_has_are_refused() -> None:
    rows = [[0, 1], [0, 1], [1, 1], [2, 1], [3, 1], [4, 1], [5, 1]]
    assert decode([rows]).levels[0].parallel is Dim.K
    for row, value in ((0, [6, 1]), (1, [1, 1]), (2, [1, 0]), (3, [2.5, 1]), (0, [0, 0])):
        bad = [list(pair) for pair in rows]
        bad[row] = value
        with pytest.raises(InputError, match="accepted"):
            decode([bad])
    with pytest.raises(InputError, match="does not fit"):
        decode([[*rows[:1], [0, 9], *rows[2:]]], convolution("l", (8, 8, 8, 8, 1, 1)))


@pytest.mark.needs("torch")
def test_tensors_hold_the_codes() -> None:
    code = LayerCode(8, 4, 9, 9, 3, 3, CodeType.CONV)
    assert layer_tensor([code, code]).tolist() == [[8, 4, 9, 9, 3, 3, 1]] * 2
    flow = decode([[[0, 1], [0, 1], [1, 1], [2, 1], [3, 1], [4, 1], [5, 1]]] * 3)
    assert dataflow_tensor([flow]).shape == (1, 3, 7, 2)
