"""Generated data: statistics, coverage of corners, and that a seed decides everything."""

from __future__ import annotations

import numpy as np
import pytest

from dcp_hw.layerset_csv import load_layerset
from dcp_hw.workload import Layer
from sim import reference
from sim.layer_data import PROFILES, LayerData, channel_axis, make_data

ARRAYS = ("x", "w", "bias", "multiplier", "shift", "acc", "output")


def saturated(data: LayerData) -> float:
    return float(np.isin(data.output, (-128, 127)).mean())


@pytest.mark.parametrize("name", [layer.name for layer in load_layerset("mobilenetv2")])
def test_outputs_of_mobilenetv2_spread_and_hardly_saturate(name: str) -> None:
    data = make_data(load_layerset("mobilenetv2")[name], seed=1)
    assert 20 <= data.output.std() <= 60
    assert saturated(data) < 0.01


@pytest.mark.parametrize(
    ("network", "name"),
    [
        ("vgg16", "classifier_6"),
        ("resnet50", "layer4_0_conv2"),
        ("vit_b16", "encoder_layers_encoder_layer_0_self_attention_scores"),
        ("vit_b16", "encoder_layers_encoder_layer_0_mlp_3"),
    ],
)
def test_outputs_of_other_networks_too(network: str, name: str) -> None:
    data = make_data(load_layerset(network)[name], seed=2)
    assert 20 <= data.output.std() <= 60
    assert saturated(data) < 0.01


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", [layer.name for layer in load_layerset("tiny")])
def test_shapes_types_and_consistency(name: str, profile: str) -> None:
    layer = load_layerset("tiny")[name]
    data = make_data(layer, seed=3, profile=profile)
    assert data.x.shape == layer.input_shape
    assert data.w.shape == layer.weight_shape
    assert data.acc.shape == data.output.shape == layer.output_shape
    types = [getattr(data, array).dtype for array in ARRAYS]
    assert types == [np.int8, np.int8, np.int32, np.int32, np.uint8, np.int32, np.int8]
    again = reference.requantise(
        data.acc, data.bias, data.multiplier, data.shift, channel_axis(layer)
    )
    np.testing.assert_array_equal(again, data.output)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_seed_decides_everything(profile: str) -> None:
    layer = load_layerset("tiny")["conv"]
    first, second = (make_data(layer, seed=5, profile=profile) for _ in range(2))
    for array in ARRAYS:
        np.testing.assert_array_equal(getattr(first, array), getattr(second, array))
    if profile != "extreme":
        assert (make_data(layer, seed=6, profile=profile).x != first.x).any()
    with pytest.raises(ValueError, match="read-only"):
        first.x[0] = 0


def test_realistic_activations_follow_a_relu() -> None:
    data = make_data(load_layerset("mobilenetv2")["features_2_conv_0_0"], seed=1)
    assert data.x.min() == 0
    assert data.x.max() == 127
    assert 0.45 < (data.x == 0).mean() < 0.55
    assert abs(data.w.mean(dtype=np.float64)) < 3
    attention = make_data(load_layerset("tiny")["bgemm"], seed=1)
    assert attention.x.min() < 0
    assert attention.w.min() < 0


def test_corner_data_reach_every_extreme() -> None:
    layer = Layer(name="a", operator="conv", K=64, C=8, Y=4, X=4, R=3, S=3)
    data = make_data(layer, seed=1, profile="corner")
    assert {-128, 127, 0, 1, -1} == set(np.unique(data.x)) == set(np.unique(data.w))
    assert {-(2**31), 2**31 - 1} <= set(data.bias.tolist())
    assert {0, 65_535} <= set(data.multiplier.tolist())
    assert {0, 47} <= set(data.shift.tolist())
    assert {-128, 127, 0} <= set(np.unique(data.output))


def test_extreme_data_give_the_largest_sums() -> None:
    layer = Layer(name="a", operator="gemm", M=3, N=4, K=1000)
    data = make_data(layer, seed=1, profile="extreme")
    assert data.acc.max() == 1000 * 128 * 128
    assert data.acc.min() == -1000 * 128 * 127


def test_an_unknown_profile_is_refused() -> None:
    layer = load_layerset("tiny")["conv"]
    with pytest.raises(ValueError, match="data profile 'mean' not found; have realistic"):
        make_data(layer, seed=1, profile="mean")
