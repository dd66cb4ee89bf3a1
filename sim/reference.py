"""Golden models in plain NumPy: what the hardware must compute, and nothing about how.

Nothing here knows tiles, space-time transformations or designs, so that a wrong analysis
cannot agree with itself.

Why the results are exact. A product of two int8 has magnitude at most 2^14. A sum of at most
1024 of them, and every partial sum of it in any order, is an integer of magnitude at most 2^24,
and float32 holds all of these. So float32 BLAS is exact on at most 1024 products; longer
reductions are cut into such chunks, which are added in int32. That stays below 2^31 for up to
131,071 products, and a longer reduction is refused.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]

EXACT_PRODUCTS = 1 << 10
"""int8 products that float32 sums exactly: 2^24 / 2^14."""

MAX_REDUCTION = (1 << 17) - 1
"""int8 products that int32 sums without wrapping: (2^31 - 1) / 2^14."""

MULTIPLIER_BITS = 16
MAX_SHIFT = 47

_BLOCK_ELEMENTS = 1 << 22  # of one im2col block, to bound memory


def conv2d_int32(
    x: Int8, w: Int8, stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1
) -> Int32:
    """Convolution of one image; depthwise where `groups` equals the number of channels.

    Args:
        x: int8 input `C x H x W`, without padding.
        w: int8 weights `K x C/groups x R x S`.
    Returns: int32 `K x Y x X`, with Y = (H + 2 padding - (R - 1) dilation - 1) // stride + 1.
    Raises: ValueError for types or shapes that do not fit.
    """
    _check_int8(x=(x, 3), w=(w, 4))
    outputs, group_channels, taps_r, taps_s = w.shape
    if x.shape[0] != group_channels * groups or outputs % groups:
        raise ValueError(
            f"x {x.shape} and w {w.shape} do not fit {groups} groups; need x C x H x W and "
            "w K x C/groups x R x S with K divisible by groups"
        )
    _check_reduction(group_channels * taps_r * taps_s)
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    height, width = (
        (size - (taps - 1) * dilation - 1) // stride + 1
        for size, taps in zip(padded.shape[1:], (taps_r, taps_s), strict=True)
    )
    if height < 1 or width < 1:
        raise ValueError(f"window {taps_r} x {taps_s} does not fit the padded {padded.shape}")
    # every window as a view: C x Y x X x R x S
    step_c, step_y, step_x = padded.strides
    windows = np.lib.stride_tricks.as_strided(
        padded,
        (x.shape[0], height, width, taps_r, taps_s),
        (step_c, step_y * stride, step_x * stride, step_y * dilation, step_x * dilation),
        writeable=False,
    )
    if group_channels == 1 and outputs == groups:
        return _depthwise(windows, w[:, 0])
    return _grouped(windows, w, groups)


def _depthwise(windows: Int8, w: Int8) -> Int32:
    """Depthwise convolution, tap by tap in int32: `C x Y x X x R x S`, `C x R x S`."""
    total = np.zeros(windows.shape[:3], dtype=np.int32)
    for r, s in np.ndindex(*w.shape[1:]):
        total += np.multiply(windows[..., r, s], w[:, r, s, None, None], dtype=np.int32)
    return total


def _grouped(windows: Int8, w: Int8, groups: int) -> Int32:
    """Convolution as one matrix product per group, in exact chunks of rows (im2col)."""
    height, width, taps_r, taps_s = windows.shape[1:]
    outputs, group_channels = w.shape[:2]
    weights = w.reshape(groups, outputs // groups, -1)
    total = np.zeros((groups, outputs // groups, height, width), dtype=np.int32)
    # groups x C/groups x R x S x Y x X, still a view
    rows = windows.reshape(groups, group_channels, height, width, taps_r, taps_s)
    rows = rows.transpose(0, 1, 4, 5, 2, 3)
    channel_step = max(1, EXACT_PRODUCTS // (taps_r * taps_s))
    reduction = channel_step * taps_r * taps_s
    height_step = max(1, _BLOCK_ELEMENTS // (groups * min(reduction, weights.shape[2]) * width))
    for top in range(0, height, height_step):
        for first in range(0, group_channels, channel_step):
            block = rows[:, first : first + channel_step, :, :, top : top + height_step]
            columns = block.reshape(groups, -1, block.shape[4] * width)
            offset = first * taps_r * taps_s
            part = weights[:, :, offset : offset + columns.shape[1]]
            product = _matmul_int32(part, columns)
            total[:, :, top : top + height_step] += product.reshape(
                groups, outputs // groups, -1, width
            )
    return total.reshape(outputs, height, width)


def gemm_int32(a: Int8, w: Int8) -> Int32:
    """Matrix product of int8 `M x K` and `K x N`: int32 `M x N`."""
    _check_int8(a=(a, 2), w=(w, 2))
    return bgemm_int32(a[None], w[None])[0]


def bgemm_int32(a: Int8, w: Int8) -> Int32:
    """Matrix products of int8 `B x M x K` and `B x K x N`: int32 `B x M x N`."""
    _check_int8(a=(a, 3), w=(w, 3))
    if a.shape[0] != w.shape[0] or a.shape[2] != w.shape[1]:
        raise ValueError(f"a {a.shape} and w {w.shape} do not fit; need B x M x K and B x K x N")
    _check_reduction(a.shape[2])
    return _matmul_int32(a, w)


def _matmul_int32(a: Int8, b: Int8) -> Int32:
    """Exact batched product of int8 `B x M x K` and `B x K x N` by float32 BLAS."""
    total = np.zeros((a.shape[0], a.shape[1], b.shape[2]), dtype=np.int32)
    for chunk in _chunks(a.shape[2], EXACT_PRODUCTS):
        product = a[:, :, chunk].astype(np.float32) @ b[:, chunk].astype(np.float32)
        total += product.astype(np.int32)
    return total


def _chunks(length: int, step: int) -> Iterator[slice]:
    return (slice(first, first + step) for first in range(0, length, step))


def requantise(
    acc: Int32, bias: Int32, multiplier: Int32, shift: NDArray[np.uint8], axis: int = 0
) -> Int8:
    """int8 outputs: saturate(round_half_even((acc + bias) * multiplier / 2^shift)).

    The sum has 33 bits and does not wrap, the product 49; both are exact in int64.

    Args:
        acc: int32, channels along `axis` (0 for convolutions, -1 for matrix products).
        bias: int32, one per channel.
        multiplier: 0 to 65535 (16 bits, unsigned), one per channel.
        shift: 0 to 47, one per channel.
    Returns: int8 with the shape of `acc`, -128 to 127.
    Raises: ValueError for parameters out of range or of the wrong length.
    """
    channels = acc.shape[axis]
    for name, values, most in (
        ("bias", bias, None),
        ("multiplier", multiplier, (1 << MULTIPLIER_BITS) - 1),
        ("shift", shift, MAX_SHIFT),
    ):
        if values.shape != (channels,):
            raise ValueError(
                f"{name} must have one value per channel ({channels}), got shape {values.shape}"
            )
        if most is not None and (values.min() < 0 or values.max() > most):
            raise ValueError(f"{name} must be 0 to {most}, got {values.min()} to {values.max()}")
    along = [1] * acc.ndim
    along[axis] = channels

    def spread(values: NDArray) -> NDArray[np.int64]:
        return values.astype(np.int64).reshape(along)

    product = (acc.astype(np.int64) + spread(bias)) * spread(multiplier)
    shifts = spread(shift)
    floor = product >> shifts
    twice_rest = (product - (floor << shifts)) << 1  # against one unit, 1 << shifts
    unit = np.int64(1) << shifts
    up = (twice_rest > unit) | ((twice_rest == unit) & (floor & 1 == 1))
    return np.clip(floor + up, -128, 127).astype(np.int8)


def checksum(values: NDArray[np.integer]) -> int:
    """Sum of all values modulo 2^32, whatever their order (0 to 2^32 - 1)."""
    return int(values.sum(dtype=np.int64)) & 0xFFFFFFFF


def _check_int8(**arrays: tuple[NDArray, int]) -> None:
    for name, (array, rank) in arrays.items():
        if array.dtype != np.int8 or array.ndim != rank:
            raise ValueError(
                f"{name} must be int8 with {rank} dimensions, got {array.dtype} {array.shape}"
            )


def _check_reduction(products: int) -> None:
    if products > MAX_REDUCTION:
        raise ValueError(
            f"reduction of {products} products may wrap in int32; at most {MAX_REDUCTION}"
        )
