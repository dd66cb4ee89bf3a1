"""Layers: shapes and costs against brute force, and what is refused."""

from __future__ import annotations

from itertools import product
from math import prod
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dcp_hw.errors import InputError
from dcp_hw.layerset_csv import load_layerset
from dcp_hw.workload import Layer, LayerSet


def conv(**changes: object) -> Layer:
    values = {"name": "a", "operator": "conv", "K": 4, "C": 6, "Y": 5, "X": 7, "R": 3, "S": 3}
    return Layer(**(values | changes))


@st.composite
def convolutions(draw: st.DrawFn) -> Layer:
    small = st.integers(1, 4)
    sizes = {name: draw(small) for name in ("Y", "X", "R", "S", "stride", "dilation", "groups")}
    sizes["padding"] = draw(st.integers(0, 2))
    sizes["K"], sizes["C"] = (sizes["groups"] * draw(small) for _ in "KC")
    for axis, taps in (("Y", "R"), ("X", "S")):
        least = (sizes[axis] - 1) * sizes["stride"] + (sizes[taps] - 1) * sizes["dilation"] + 1
        assume(least - 2 * sizes["padding"] >= 1)
        extra = draw(st.integers(0, sizes["stride"] - 1))
        sizes["iy" if axis == "Y" else "ix"] = least - 2 * sizes["padding"] + extra
    depthwise = sizes["K"] == sizes["C"] == sizes["groups"] > 1
    return Layer(name="a", operator="dwconv" if depthwise else "conv", **sizes)


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_costs_equal_the_loop_nest(layer: Layer) -> None:
    macs = 0
    read, weights, written = set(), set(), set()
    per_group_c, per_group_k = layer.C // layer.groups, layer.K // layer.groups
    loops = (layer.K, per_group_c, layer.Y, layer.X, layer.R, layer.S)
    for k, c, y, x, r, s in product(*map(range, loops)):
        macs += 1
        row = y * layer.stride + r * layer.dilation - layer.padding
        column = x * layer.stride + s * layer.dilation - layer.padding
        if 0 <= row < layer.iy and 0 <= column < layer.ix:
            read.add((k // per_group_k * per_group_c + c, row, column))
        weights.add((k, c, r, s))
        written.add((k, y, x))
    assert layer.macs == macs
    assert layer.input_bytes == len(read) <= prod(layer.input_shape)
    assert layer.weight_bytes == len(weights) == prod(layer.weight_shape)
    assert layer.output_bytes == len(written) == prod(layer.output_shape)


def test_shapes_of_matrix_products() -> None:
    gemm = Layer(name="a", operator="gemm", M=3, N=5, K=7)
    assert (gemm.input_shape, gemm.weight_shape, gemm.output_shape) == ((3, 7), (7, 5), (3, 5))
    assert (gemm.macs, gemm.reduction, gemm.sizes) == (105, 7, {"M": 3, "N": 5, "K": 7})
    bgemm = Layer(name="a", operator="bgemm", B=2, M=3, N=5, K=7)
    assert bgemm.input_shape == (2, 3, 7)
    assert bgemm.weight_shape == (2, 7, 5)
    assert (bgemm.output_shape, bgemm.macs) == ((2, 3, 5), 210)


def test_input_size_defaults_to_the_smallest() -> None:
    layer = conv(Y=112, X=112, stride=2, padding=1)
    assert layer.input_shape == (6, 223, 223)
    assert conv(Y=112, X=112, stride=2, padding=1, iy=224, ix=224).input_shape == (6, 224, 224)


def test_a_stride_may_skip_inputs() -> None:
    layer = conv(R=1, S=1, Y=28, X=28, stride=2, iy=56, ix=56)
    assert layer.input_bytes == 6 * 28 * 28
    assert layer.input_shape == (6, 56, 56)


def test_the_bound_is_the_slowest_of_array_and_ports() -> None:
    layer = conv(K=8, C=16, Y=4, X=4, R=1, S=1)  # 2048 MACs, 256 + 128 bytes in, 128 out
    assert layer.bound_cycles(8, 1024, 1024) == 256
    assert layer.bound_cycles(1024, 5, 1024) == 77
    assert layer.bound_cycles(1024, 1024, 3) == 43


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "a b"}, "layer name 'a b'"),
        ({"name": ""}, "layer name ''"),
        ({"operator": "pool"}, "operator is 'pool'; accepted: one of conv, dwconv, gemm, bgemm"),
        ({"K": 0}, "K is 0; accepted: an integer from 1"),
        ({"Y": 2.0}, r"Y is 2\.0"),
        ({"Y": True}, "Y is True"),
        ({"C": 1 << 21}, "C is 2097152"),
        ({"padding": -1}, "padding is -1; accepted: an integer from 0"),
        ({"M": 3}, "M is 3, which conv does not have"),
        ({"groups": 4}, "groups is 4 with K = 4 and C = 6; accepted: a common divisor"),
        ({"C": 4, "groups": 4}, "accepted: operator dwconv"),
        ({"operator": "dwconv", "groups": 4}, "accepted: K = C = groups"),
        ({"iy": 6}, "iy is 6, which gives Y = 4 and not 5; accepted: 7 to 7"),
        ({"ix": 12, "stride": 2}, "ix is 12, which gives X = 5 and not 7; accepted: 15 to 16"),
        ({"Y": 1, "padding": 2}, "needs no input"),
        ({"operator": "gemm", "M": 2, "N": 2}, "C is 6, which gemm does not have"),
    ],
)
def test_impossible_layers_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        conv(**changes)


def test_layer_sets_select_by_name() -> None:
    layerset = LayerSet("net", (conv(name="a"), conv(name="b", count=3), conv(name="c")))
    assert [layer.name for layer in layerset.select("c, a")] == ["a", "c"]
    assert layerset["b"].count == 3
    assert layerset.occurrences == 5
    assert layerset.macs == 5 * conv().macs
    with pytest.raises(InputError, match=r"layers x, y asked of layer set 'net'; have a, b, c"):
        layerset.select("a,y,x")
    with pytest.raises(InputError, match="layers none asked"):
        layerset.select(" ,")


def test_layer_sets_have_layers_with_distinct_names() -> None:
    with pytest.raises(InputError, match="has no layers"):
        LayerSet("net", ())
    with pytest.raises(InputError, match="names a occur more than once"):
        LayerSet("net", (conv(), conv()))


# ------------------------------------------------------------------------- CSV

HEADER = "name,operator,K,C,Y,X,R,S\n"
ROW = "a,conv,4,6,5,7,3,3\n"


def test_csv_cells_may_be_empty_and_lines_comments(tmp_path: Path) -> None:
    path = tmp_path / "net.csv"
    rows = ["# made by hand", "", "K , operator,name,C,Y,count,R", "4,conv,a,6,5,,"]
    text = "\r\n".join([*rows, "8,dwconv,b,8,2,7,1", ""])
    path.write_text(text, encoding="utf-8-sig", newline="")
    layerset = load_layerset(path)
    assert layerset.name == "net"
    assert layerset.layers == (
        Layer(name="a", operator="conv", K=4, C=6, Y=5),
        Layer(name="b", operator="dwconv", K=8, C=8, groups=8, Y=2, count=7),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"net\.csv: no header found; the first line names columns"),
        ("# nothing\n\n", r"net\.csv: no header found"),
        (HEADER, "layer set 'net' has no layers"),
        ("name,K\na,4\n", r"net\.csv:1: missing columns 'operator' in the header; accepted are"),
        ("name,operator,K,Z\n", r"net\.csv:1: unknown columns 'Z'"),
        ("name,operator,k\n", r"net\.csv:1: unknown columns 'k'"),
        ("name,operator,K,K\n", r"net\.csv:1: repeated columns 'K'"),
        (HEADER + "a,conv,4\n", r"net\.csv:2: 3 cells found, but the header has 8 columns"),
        (HEADER + ROW.strip() + ",1\n", r"net\.csv:2: 9 cells found"),
        (HEADER + "\n#\n" + ROW.replace("4", "four"), r"net\.csv:4: column K is 'four'"),
        (HEADER + ROW.replace("4", "4.0"), r"net\.csv:2: column K is '4\.0'; accepted: a whole"),
        (HEADER + ROW.replace("4", "-4"), r"net\.csv:2: column K is '-4'"),
        (HEADER + ROW.replace("4", "٤"), r"net\.csv:2: column K is '٤'"),
        (HEADER + ROW.replace("4", "0"), r"net\.csv:2: layer 'a': K is 0"),
        (HEADER + ROW.replace("4", ""), r"net\.csv:2: column K is empty"),
        (HEADER + ROW.replace("a", ""), r"net\.csv:2: column name is empty"),
        (HEADER + ROW.replace("conv", "conv3d"), r"net\.csv:2: layer 'a': operator is 'conv3d'"),
        (HEADER + ROW.replace("conv", "gemm"), r"net\.csv:2: layer 'a': C is 6, which gemm"),
        (HEADER + ROW.replace("conv", "dwconv"), r"net\.csv:2: layer 'a': groups is 4"),
        (HEADER + ROW + ROW, "layer set 'net': names a occur more than once"),
        (HEADER + '"a,conv\n', r"net\.csv: cannot be read as CSV"),
        (HEADER + ROW.replace("a", "a\udcff"), r"net\.csv: cannot be read as CSV text in UTF-8"),
    ],
)
def test_malformed_csv_names_file_line_and_cure(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "net.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=message) as caught:
        load_layerset(path)
    assert caught.value.exit_code == 2


def test_unknown_layer_set_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'mobilenetv3' not found; have mobilenetv2, resnet101"):
        load_layerset("mobilenetv3")
    with pytest.raises(InputError, match=r"add dcp_hw/layersets/mobilenetv3\.csv"):
        load_layerset("mobilenetv3")
    with pytest.raises(InputError, match="give the path of a CSV file"):
        load_layerset(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match="not found"):
        load_layerset(tmp_path)
