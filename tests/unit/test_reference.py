"""Golden models against loops, against exact fractions and, where it is there, against torch."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sim import reference


def random_int8(seed: int, *shape: int) -> NDArray[np.int8]:
    return np.random.default_rng(seed).integers(-128, 128, shape, dtype=np.int8)


def loop_nest(
    x: NDArray[np.int8], w: NDArray[np.int8], stride: int, padding: int, dilation: int, groups: int
) -> NDArray[np.int64]:
    """Convolution as its definition reads, in Python integers."""
    outputs, group_channels, taps_r, taps_s = w.shape
    height, width = (
        (size + 2 * padding - (taps - 1) * dilation - 1) // stride + 1
        for size, taps in zip(x.shape[1:], (taps_r, taps_s), strict=True)
    )
    result = np.zeros((outputs, height, width), dtype=np.int64)
    for k, c, i, j, r, s in product(
        *map(range, (outputs, group_channels, height, width)), range(taps_r), range(taps_s)
    ):
        row = i * stride + r * dilation - padding
        column = j * stride + s * dilation - padding
        if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
            channel = k // (outputs // groups) * group_channels + c
            result[k, i, j] += int(x[channel, row, column]) * int(w[k, c, r, s])
    return result


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_convolution_equals_the_loop_nest(data: st.DataObject) -> None:
    def draw(least: int, most: int) -> int:
        return data.draw(st.integers(least, most))

    stride, padding, dilation, groups = draw(1, 3), draw(0, 2), draw(1, 3), draw(1, 3)
    taps_r, taps_s, group_channels, group_outputs = (draw(1, 3) for _ in range(4))
    height, width = ((t - 1) * dilation + draw(1, 4) for t in (taps_r, taps_s))
    seed = draw(0, 2**32)
    x = random_int8(seed, groups * group_channels, height, width)
    w = random_int8(seed + 1, groups * group_outputs, group_channels, taps_r, taps_s)
    settled = (stride, padding, dilation, groups)
    result = reference.conv2d_int32(x, w, *settled)
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, loop_nest(x, w, *settled))


def test_convolution_in_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "EXACT_PRODUCTS", 20)
    monkeypatch.setattr(reference, "_BLOCK_ELEMENTS", 200)
    x, w = random_int8(1, 10, 9, 8), random_int8(2, 6, 5, 3, 3)
    result = reference.conv2d_int32(x, w, 1, 1, 1, 2)
    np.testing.assert_array_equal(result, loop_nest(x, w, 1, 1, 1, 2))


def test_matrix_products_equal_python_integers() -> None:
    a, w = random_int8(1, 3, 4, 2500), random_int8(2, 3, 2500, 5)
    expected = np.einsum("bmk,bkn->bmn", a.astype(object), w.astype(object))
    np.testing.assert_array_equal(reference.bgemm_int32(a, w), expected)
    np.testing.assert_array_equal(reference.gemm_int32(a[1], w[1]), expected[1])


@pytest.mark.parametrize(("left", "right"), [(-128, -128), (-128, 127), (127, 127)])
def test_the_longest_reduction_neither_rounds_nor_wraps(left: int, right: int) -> None:
    length = reference.MAX_REDUCTION
    a = np.full((1, length), left, dtype=np.int8)
    w = np.full((length, 2), right, dtype=np.int8)
    assert (reference.gemm_int32(a, w) == left * right * length).all()
    convolved = reference.conv2d_int32(a.reshape(-1, 1, 1), w.T.reshape(2, -1, 1, 1))
    assert (convolved == left * right * length).all()
    with pytest.raises(ValueError, match="may wrap"):
        reference.gemm_int32(np.pad(a, ((0, 0), (0, 1))), np.pad(w, ((0, 1), (0, 0))))


def test_shapes_and_types_that_do_not_fit_are_refused() -> None:
    x, w = random_int8(1, 4, 5, 5), random_int8(2, 4, 2, 3, 3)
    with pytest.raises(ValueError, match="do not fit 1 groups"):
        reference.conv2d_int32(x, w)
    with pytest.raises(ValueError, match="x must be int8"):
        reference.conv2d_int32(x.astype(np.int32), w, groups=2)
    with pytest.raises(ValueError, match="window 3 x 3 does not fit"):
        reference.conv2d_int32(x, w, dilation=3, groups=2)
    with pytest.raises(ValueError, match="w must be int8 with 2 dimensions"):
        reference.gemm_int32(x[0], w)
    with pytest.raises(ValueError, match="do not fit"):
        reference.gemm_int32(random_int8(1, 2, 3), random_int8(1, 2, 3))


@pytest.mark.needs("torch")
@pytest.mark.parametrize(
    ("channels", "outputs", "side", "taps", "stride", "padding", "dilation", "groups"),
    [
        (3, 32, 224, 3, 2, 1, 1, 1),
        (96, 96, 57, 3, 2, 1, 1, 96),
        (96, 192, 29, 3, 1, 1, 1, 96),  # two outputs per channel
        (320, 64, 7, 1, 1, 0, 1, 1),
        (1500, 8, 9, 3, 1, 2, 2, 1),  # several chunks
        (64, 64, 28, 5, 3, 4, 2, 4),
    ],
)
def test_convolution_equals_torch(
    channels: int,
    outputs: int,
    side: int,
    taps: int,
    stride: int,
    padding: int,
    dilation: int,
    groups: int,
) -> None:
    import torch

    x = random_int8(1, channels, side, side)
    w = random_int8(2, outputs, channels // groups, taps, taps)
    expected = torch.nn.functional.conv2d(
        torch.tensor(x, dtype=torch.float64)[None],
        torch.tensor(w, dtype=torch.float64),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    result = reference.conv2d_int32(x, w, stride, padding, dilation, groups)
    np.testing.assert_array_equal(result, expected[0].numpy())


# ---------------------------------------------------------------- requantisation


def exact_requantise(acc: int, bias: int, multiplier: int, shift: int) -> int:
    """One output in exact fractions; Python's round takes the even neighbour of a half."""
    value = round(Fraction((acc + bias) * multiplier, 1 << shift))
    return min(max(value, -128), 127)


INT32 = st.one_of(
    st.integers(-(2**31), 2**31 - 1), st.integers(-300, 300), st.sampled_from([-(2**31), 2**31 - 1])
)
MULTIPLIER = st.one_of(st.integers(0, 65_535), st.sampled_from([0, 1, 32_768, 65_535]))
SHIFT = st.integers(0, 47)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(INT32, INT32, MULTIPLIER, SHIFT), min_size=1, max_size=30))
def test_requantise_equals_exact_fractions(cases: list[tuple[int, int, int, int]]) -> None:
    acc, bias, multiplier, shift = (
        np.array(column, dtype=kind)
        for column, kind in zip(
            zip(*cases, strict=True), (np.int32, np.int32, np.int32, np.uint8), strict=True
        )
    )
    result = reference.requantise(acc[:, None], bias, multiplier, shift)
    assert result.dtype == np.int8
    assert result[:, 0].tolist() == [exact_requantise(*case) for case in cases]


def test_halves_round_to_even() -> None:
    acc = np.array([[-5, -3, -1, 1, 3, 5, 7]], dtype=np.int32)  # halves of odd numbers
    one = np.ones(1, dtype=np.int32)
    result = reference.requantise(acc, 0 * one, one, np.ones(1, dtype=np.uint8))
    assert result.tolist() == [[-2, -2, 0, 0, 2, 2, 4]]


def test_channels_lie_along_the_axis() -> None:
    acc = np.full((2, 3, 4), 8, dtype=np.int32)
    zero = np.zeros(4, dtype=np.int32)
    result = reference.requantise(acc, zero, zero + 1, np.arange(4, dtype=np.uint8), axis=-1)
    assert (result == [8, 4, 2, 1]).all()
    with pytest.raises(ValueError, match=r"one value per channel \(2\)"):
        reference.requantise(acc, zero, zero, zero.astype(np.uint8))


@pytest.mark.parametrize(("multiplier", "shift"), [(65_536, 0), (-1, 0), (1, 48)])
def test_parameters_out_of_range_are_refused(multiplier: int, shift: int) -> None:
    one = np.ones(1, dtype=np.int32)
    with pytest.raises(ValueError, match="must be 0 to"):
        reference.requantise(one, one, multiplier * one, np.array([shift], dtype=np.uint8))


def test_checksum_is_the_sum_modulo_2_32() -> None:
    values = np.array([2**31 - 1, 2**31 - 1, 2**31 - 1, -5], dtype=np.int32)
    assert reference.checksum(values) == (3 * (2**31 - 1) - 5) % 2**32
    assert reference.checksum(values[::-1].reshape(2, 2)) == reference.checksum(values)
    assert reference.checksum(np.array([-1], dtype=np.int8)) == 0xFFFF_FFFF
