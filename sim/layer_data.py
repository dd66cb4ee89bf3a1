"""Seeded data for one layer: operands, and the requantisation that fits their result.

Profiles:
    realistic  half-Gaussian activations after a ReLU (half of them zero), Gaussian weights;
               both operands of a `bgemm` are signed Gaussian activations.
    uniform    every int8 value equally likely.
    corner     zeros, +-1 and the extremes; every other channel has an extreme bias,
               multiplier or shift.
    extreme    the largest sums there are: inputs -128, weights -128 and 127 in turn along the
               channels.
    smooth     positive activations that change slowly along rows and columns (of a matrix, from
               row to row), Gaussian weights.
    sparse     as `realistic`, with 80 % of the activations zero.

Multiplier and shift are fitted to the exact int32 result, so that the int8 outputs spread over
their range (standard deviation near 32) and hardly saturate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sim import reference
from sim.reference import Int8, Int32

PROFILES = ("realistic", "uniform", "corner", "extreme")
"""Drawn from by the regression."""
TYPICAL = ("uniform", "realistic", "smooth", "sparse")
"""Of which switching is measured."""

OUTPUT_SIGMA = 32.0  # of the int8 outputs; 127 is four of them
_ACTIVATION_SIGMA = 40.0
_WEIGHT_SIGMA = 32.0
_ZEROS = 0.8  # of sparse activations
_SMOOTH = 0.95  # correlation of neighbours
_SMOOTH_MEAN, _SMOOTH_SIGMA = 60.0, 25.0
_BIAS_SHARE = 0.1  # of the accumulator's spread
_CORNER_VALUES = (0, 1, -1, 127, -128)
_EXTREMES = (  # bias, multiplier, shift
    (2**31 - 1, 65_535, 0),
    (-(2**31), 65_535, 0),
    (2**31 - 1, 65_535, 47),
    (-(2**31), 1, 24),
    (0, 0, 0),
    (0, 1, 0),
    (0, 32_768, 16),  # halves: rounds to even
    (0, 65_535, 47),
)
_PRIOR_VALUES = 16  # weight of the whole layer in the scale of a channel with few outputs


class LayerLike(Protocol):
    """What is read of a layer; `dcp_hw.workload.Layer` has all of it."""

    @property
    def operator(self) -> str: ...
    @property
    def input_shape(self) -> tuple[int, ...]: ...
    @property
    def weight_shape(self) -> tuple[int, ...]: ...
    @property
    def stride(self) -> int: ...
    @property
    def padding(self) -> int: ...
    @property
    def dilation(self) -> int: ...
    @property
    def groups(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerData:
    """Operands and expected results of one layer; all arrays are read-only."""

    x: Int8  # input, shape layer.input_shape
    w: Int8  # second operand, shape layer.weight_shape
    bias: Int32  # one per channel: K of a convolution, N of a matrix product
    multiplier: Int32  # 0 to 65535, one per channel
    shift: NDArray[np.uint8]  # 0 to 47, one per channel
    acc: Int32  # exact sums of products, without bias; shape layer.output_shape
    output: Int8  # requantised, same shape

    def __post_init__(self) -> None:
        for name in self.__slots__:
            getattr(self, name).flags.writeable = False


def accumulate(layer: LayerLike, x: Int8, w: Int8) -> Int32:
    """Exact int32 result of a layer on its two operands; shape layer.output_shape."""
    match str(layer.operator):
        case "conv" | "dwconv":
            return reference.conv2d_int32(
                x, w, layer.stride, layer.padding, layer.dilation, layer.groups
            )
        case "gemm":
            return reference.gemm_int32(x, w)
        case "bgemm":
            return reference.bgemm_int32(x, w)
        case other:
            raise ValueError(f"operator must be conv, dwconv, gemm or bgemm, got {other!r}")


def channel_axis(layer: LayerLike) -> int:
    """Output axis with one bias, multiplier and shift per index."""
    return 0 if str(layer.operator) in ("conv", "dwconv") else -1


def make_data(
    layer: LayerLike,
    seed: int,
    profile: str = "realistic",
    *,
    data_bits: int = 8,
    acc_bits: int = 32,
) -> LayerData:
    """Operands, requantisation parameters and expected results of a layer.

    Equal arguments give equal data.

    Args:
        data_bits: operands keep so many low bits, sign-extended.
        acc_bits: sums wrap to so many.

    Raises: ValueError for an unknown profile or operator.
    """
    known = dict.fromkeys(PROFILES + TYPICAL)
    if profile not in known:
        raise ValueError(f"data profile {profile!r} not found; have {', '.join(known)}")
    rng = np.random.default_rng(seed)
    signed = str(layer.operator) == "bgemm"
    x = _activations(rng, layer.input_shape, profile, signed=signed)
    if signed:
        w = _activations(rng, layer.weight_shape, profile, signed=True)
    else:
        w = _draw(rng, layer.weight_shape, profile, _WEIGHT_SIGMA)
    axis = channel_axis(layer)
    if profile == "extreme":
        np.moveaxis(w, axis, 0)[1::2] = 127
    x, w = wrapped(x, data_bits), wrapped(w, data_bits)
    acc = wrapped(accumulate(layer, x, w), acc_bits)
    bias, multiplier, shift = _fit(rng, np.moveaxis(acc, axis, 0).reshape(acc.shape[axis], -1))
    if profile == "corner":
        for channel in range(1, len(bias), 2):
            extreme = _EXTREMES[channel // 2 % len(_EXTREMES)]
            bias[channel], multiplier[channel], shift[channel] = extreme
    output = reference.requantise(acc, bias, multiplier, shift, axis)
    return LayerData(
        x=x, w=w, bias=bias, multiplier=multiplier, shift=shift, acc=acc, output=output
    )


def wrapped(values: NDArray, bits: int) -> NDArray:
    """The low bits of signed integers, sign-extended."""
    spare = 8 * values.itemsize - bits
    return (values << spare) >> spare if spare else values


def _activations(
    rng: np.random.Generator, shape: tuple[int, ...], profile: str, *, signed: bool
) -> Int8:
    if profile == "smooth":
        return _smooth(rng, shape, (0,) if len(shape) == 2 else (1,) if signed else (1, 2))
    values = _draw(rng, shape, profile, _ACTIVATION_SIGMA)
    if profile == "sparse":
        # half of them are zero after the ReLU
        kept = (1 - _ZEROS) * (1 if signed else 2)
        values = values * (rng.random(shape, dtype=np.float32) < kept)
    return values if signed or profile not in ("realistic", "sparse") else np.maximum(values, 0)


def _smooth(rng: np.random.Generator, shape: tuple[int, ...], axes: tuple[int, ...]) -> Int8:
    """A field with exponential correlation along some axes, 0 to 127."""
    field = rng.standard_normal(shape)
    for axis in axes:
        lines = np.moveaxis(field, axis, 0)
        for n in range(1, len(lines)):
            lines[n] = _SMOOTH * lines[n - 1] + math.sqrt(1 - _SMOOTH**2) * lines[n]
    return np.clip(np.rint(_SMOOTH_MEAN + _SMOOTH_SIGMA * field), 0, 127).astype(np.int8)


def _draw(rng: np.random.Generator, shape: tuple[int, ...], profile: str, sigma: float) -> Int8:
    """int8 values of the profile; Gaussian ones stop at +-127."""
    if profile == "uniform":
        return rng.integers(-128, 128, shape, dtype=np.int8)
    if profile == "corner":
        return rng.choice(np.array(_CORNER_VALUES, dtype=np.int8), shape)
    if profile == "extreme":
        return np.full(shape, -128, dtype=np.int8)
    values = rng.standard_normal(shape, dtype=np.float32) * np.float32(sigma)
    return np.clip(np.rint(values), -127, 127).astype(np.int8)


def _fit(
    rng: np.random.Generator, sums: NDArray[np.int32]
) -> tuple[Int32, Int32, NDArray[np.uint8]]:
    """Bias, multiplier and shift for sums `channels x outputs per channel`.

    Each channel is scaled by its root mean square, taken together with the whole layer's where
    it has few outputs (a matrix-vector product has one).
    """
    channels, outputs = sums.shape
    bias_sigma = _BIAS_SHARE * max(1.0, math.sqrt(np.mean(np.square(sums, dtype=np.float64))))
    bias = np.rint(rng.standard_normal(channels) * bias_sigma).astype(np.int32)
    squares = np.square(sums + bias[:, None].astype(np.float64))
    total = squares.sum(axis=1) + _PRIOR_VALUES * squares.mean()
    scale = OUTPUT_SIGMA / np.sqrt(np.maximum(total / (outputs + _PRIOR_VALUES), 1.0))
    mantissa, exponent = np.frexp(scale)  # scale = mantissa * 2^exponent, 0.5 <= mantissa < 1
    bits = reference.MULTIPLIER_BITS
    multiplier = np.minimum(np.rint(mantissa * 2.0**bits), 2**bits - 1).astype(np.int32)
    shift = bits - exponent
    return bias, multiplier, shift.astype(np.uint8)
