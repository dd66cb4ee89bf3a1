"""The shipped layer sets against the networks as published, written out here by hand."""

from __future__ import annotations

from collections import Counter

import pytest

from dcp_hw.layerset_csv import dump_layerset, layerset_names, load_layerset
from dcp_hw.workload import Layer, LayerSet, Operator

# A convolution: K, C, output side, kernel side, stride, groups, input side.
# A matrix product: B, M, N, K.
Shape = tuple[int, ...]


def mobilenetv2() -> list[Shape]:
    """Sandler et al., CVPR 2018, Table 2: expansion, channels, repeats, stride."""
    blocks = [
        *[(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)],
        *[(6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)],
    ]
    shapes: list[Shape] = [(32, 3, 112, 3, 2, 1, 224)]
    channels, side = 32, 112
    for expansion, out, repeats, first_stride in blocks:
        for stride in [first_stride] + [1] * (repeats - 1):
            wide = channels * expansion
            if expansion > 1:
                shapes.append((wide, channels, side, 1, 1, 1, side))
            shapes.append((wide, wide, side // stride, 3, stride, wide, side))
            side //= stride
            shapes.append((out, wide, side, 1, 1, 1, side))
            channels = out
    return [*shapes, (1280, 320, 7, 1, 1, 1, 7), (1, 1, 1000, 1280)]


def resnet(repeats: tuple[int, ...]) -> list[Shape]:
    """He et al., CVPR 2016, Table 1; the stride in the 3x3 convolution as everybody trains it."""
    shapes: list[Shape] = [(64, 3, 112, 7, 2, 1, 224)]
    channels, side = 64, 56
    for stage, blocks in enumerate(repeats):
        width = 64 << stage
        for block in range(blocks):
            out_side = side // 2 if stage and not block else side
            stride = side // out_side
            shapes += [
                (width, channels, side, 1, 1, 1, side),
                (width, width, out_side, 3, stride, 1, side),
                (4 * width, width, out_side, 1, 1, 1, out_side),
            ]
            if not block:
                shapes.append((4 * width, channels, out_side, 1, stride, 1, side))
            channels, side = 4 * width, out_side
    return [*shapes, (1, 1, 1000, 2048)]


def vgg16() -> list[Shape]:
    """Simonyan and Zisserman, ICLR 2015, Table 1, column D."""
    shapes: list[Shape] = []
    channels = 3
    for side, width, convolutions in (
        *[(224, 64, 2), (112, 128, 2), (56, 256, 3), (28, 512, 3), (14, 512, 3)],
    ):
        for _ in range(convolutions):
            shapes.append((width, channels, side, 3, 1, 1, side))
            channels = width
    return [*shapes, (1, 1, 4096, 512 * 7 * 7), (1, 1, 4096, 4096), (1, 1, 1000, 4096)]


def vit_b16() -> list[Shape]:
    """Dosovitskiy et al., ICLR 2021, Table 1: 12 layers, width 768, MLP 3072, 12 heads."""
    tokens = 14 * 14 + 1
    block = [
        (1, tokens, 3 * 768, 768),
        (12, tokens, tokens, 64),
        (12, tokens, 64, tokens),
        (1, tokens, 768, 768),
        (1, tokens, 3072, 768),
        (1, tokens, 768, 3072),
    ]
    return [(768, 3, 14, 16, 16, 1, 224), *block * 12, (1, 1, 1000, 768)]


NETWORKS = {
    "mobilenetv2": mobilenetv2(),
    "resnet50": resnet((3, 4, 6, 3)),
    "resnet101": resnet((3, 4, 23, 3)),
    "vgg16": vgg16(),
    "vit_b16": vit_b16(),
}


def shape_of(layer: Layer) -> Shape:
    """A layer in the form of the tables above, which know square convolutions only."""
    if not layer.operator.is_convolution:
        return (layer.B, layer.M, layer.N, layer.K)
    assert (layer.Y, layer.R, layer.iy) == (layer.X, layer.S, layer.ix)
    assert layer.padding == (layer.R // 2 if layer.R < 16 else 0)
    assert layer.dilation == 1
    return (layer.K, layer.C, layer.Y, layer.R, layer.stride, layer.groups, layer.iy)


def macs_of(shape: Shape) -> int:
    if len(shape) == 4:
        b, m, n, k = shape
        return b * m * n * k
    k, c, side, kernel, _stride, groups, _input = shape
    return k * (c // groups) * side**2 * kernel**2


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_of_the_published_network_is_there(name: str) -> None:
    counted = Counter[Shape]()
    for layer in load_layerset(name):
        counted[shape_of(layer)] += layer.count
    assert counted == Counter(NETWORKS[name])


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_are_distinct_and_in_network_order(name: str) -> None:
    layers = load_layerset(name).layers
    shapes = [shape_of(layer) for layer in layers]
    # resnet's downsampling convolution runs after the block's main path, as in the table
    assert shapes == list(dict.fromkeys(NETWORKS[name]))


# MACs of the whole network. Each is within 1 % of what its source rounds: MobileNet-V2 300M
# (paper), ResNet 4.1 and 7.8 G (with the stride in the 3x3), VGG 15.5 G, ViT 17.6 G (torchvision).
@pytest.mark.parametrize(
    ("name", "macs", "outputs", "occurrences"),
    [
        ("mobilenetv2", 300_774_272, 6_679_112, 53),
        ("resnet50", 4_089_184_256, 11_114_984, 54),
        ("resnet101", 7_801_405_440, 16_232_936, 105),
        ("vgg16", 15_470_264_320, 13_556_712, 16),
        ("vit_b16", 17_563_828_224, 23_895_544, 74),
    ],
)
def test_totals(name: str, macs: int, outputs: int, occurrences: int) -> None:
    layerset = load_layerset(name)
    assert layerset.macs == macs == sum(map(macs_of, NETWORKS[name]))
    assert layerset.output_elements == outputs
    assert layerset.occurrences == occurrences == len(NETWORKS[name])


# parameters of the published models less biases and batch normalisation, which are no operands
@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("mobilenetv2", 3_504_872 - 1000 - 2 * 17_056),
        ("resnet50", 25_557_032 - 1000 - 2 * 26_560),
        ("vgg16", 138_357_544 - 4224 - 2 * 4096 - 1000),
    ],
)
def test_weights_are_the_parameters(name: str, weights: int) -> None:
    layers = load_layerset(name)
    assert sum(layer.count * layer.weight_bytes for layer in layers) == weights


def test_mobilenetv2_bound() -> None:
    """256 PEs, 128 bit in and out: the denominator of the network totals in the reports."""
    assert load_layerset("mobilenetv2").bound_cycles(256, 16, 16) == 1_406_930


def test_tiny_has_every_kind_and_stays_tiny() -> None:
    layers = load_layerset("tiny")
    assert {layer.operator for layer in layers} == set(Operator)
    assert all(layer.macs < 50_000 for layer in layers)
    assert any(layer.groups > 1 and layer.operator is Operator.CONV for layer in layers)
    assert any(layer.stride > 1 and layer.dilation > 1 for layer in layers)
    assert any(layer.M == 1 and layer.operator is Operator.GEMM for layer in layers)
    assert any(layer.R != layer.S for layer in layers)


@pytest.mark.parametrize("name", layerset_names())
def test_written_and_read_again_is_equal(name: str, tmp_path) -> None:
    layerset = load_layerset(name)
    path = tmp_path / f"{name}.csv"
    path.write_text(dump_layerset(layerset, "a comment\nof two lines"), encoding="utf-8")
    assert LayerSet.load(path) == layerset
    assert LayerSet.load(str(path)) == layerset
