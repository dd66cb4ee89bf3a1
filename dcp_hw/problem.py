"""The canonical loop nest of a layer: what mappings, packing and lowering work on.

    O[b, k, y, x] += I[b, c, y * stride + r * dilation - padding, ...] * W[b, k, c, r, s]

Every layer becomes `batch` such nests with equal sizes; a depthwise nest has no loop `c`
(its `k` runs over the channels). A pointwise convolution is flattened to one row of pixels,
a strided one reads only the pixels that it needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dcp_hw.workload import Layer, Operator

LOOPS = "kcyxrs"
REDUCTIONS = "crs"
BLOCK = 16
"""Channels of one memory word."""

Int8 = NDArray[np.int8]


def ceil_div(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Sizes of one nest and where its pixels lie in memory.

    Attributes:
        batch: nests; each has its own input and output, and its own weights.
        in_y, in_x: canonical input size (after flattening and dropping skipped pixels).
        stored_y, stored_x: size of the stored input, pixels.
        row: pixels of one output row before flattening, 0 if not flattened.
        pick: stored pixels between two canonical ones (1x1 with stride).
        c4: the input has at most 4 channels and lies as 4 pixels x 4 channels a word.
        patch: words of one row of a patch; not 0 where windows do not overlap (stride = taps) and
            the input is c4: a window is then one pixel with 16 channels per word.
        activation_weights: the second operand lies in memory in the activation layout.
        weight_rows: it does so with its reduction index along the channels.
        shared_params: all nests have the same scale parameters.
        padded_groups: a grouped convolution done as a dense one with zero weights.
    """

    depthwise: bool
    batch: int
    k: int
    c: int
    y: int
    x: int
    r: int
    s: int
    stride: int = 1
    dilation: int = 1
    padding: int = 0
    in_y: int
    in_x: int
    stored_y: int
    stored_x: int
    row: int = 0
    pick: int = 1
    c4: bool = False
    patch: int = 0
    activation_weights: bool = False
    weight_rows: bool = False
    shared_params: bool = True
    padded_groups: bool = False

    def size(self, loop: str) -> int:
        """Bound of a loop."""
        return int(getattr(self, loop))

    @property
    def blocks_in(self) -> int:
        """16-channel blocks of one nest's input (1 in the c4 layout)."""
        channels = self.k if self.depthwise else self.c
        return 1 if self.c4 else ceil_div(channels, BLOCK)

    @property
    def blocks_out(self) -> int:
        """16-channel blocks of one nest's output."""
        return ceil_div(self.k, BLOCK)

    @property
    def input_words(self) -> int:
        """Words of one nest's stored input."""
        if self.c4 or self.patch:
            return self.stored_y * ceil_div(self.stored_x, 4)
        return self.blocks_in * self.stored_y * self.stored_x

    @property
    def output_pixels(self) -> int:
        """Pixels of one nest's output."""
        return self.y * self.x

    def loops_of(self, tensor: str) -> str:
        """Loops that the tensor depends on (`input`, `weight` or `output`)."""
        if tensor == "output":
            return "kyx"
        if tensor == "input":
            return "kyxrs" if self.depthwise else "cyxrs"
        return "krs" if self.depthwise else "kcrs"


@lru_cache(maxsize=4096)
def problem_of(layer: Layer, *, flat: bool = True) -> Problem:
    """The canonical nest of a layer; `flat` makes one row of a pointwise layer's pixels."""
    match layer.operator:
        case Operator.GEMM | Operator.BGEMM:
            return _matrix(layer)
        case Operator.DWCONV:
            return _convolution(layer, layer.K, 1, batch=1, depthwise=True, flat=flat)
    groups = layer.groups
    if groups > 1 and layer.C // groups % BLOCK == 0 and layer.K // groups % BLOCK == 0:
        k, c = layer.K // groups, layer.C // groups
        return _convolution(layer, k, c, batch=groups, depthwise=False, flat=flat)
    return _convolution(layer, layer.K, layer.C, batch=1, depthwise=False, flat=flat)


def _matrix(layer: Layer) -> Problem:
    batched = layer.operator is Operator.BGEMM
    return Problem(
        depthwise=False,
        batch=layer.B if batched else 1,
        k=layer.N,
        c=layer.K,
        y=1,
        x=layer.M,
        r=1,
        s=1,
        in_y=1,
        in_x=layer.M,
        stored_y=1,
        stored_x=layer.M,
        activation_weights=batched,
        weight_rows=batched and layer.transposed == 1,
    )


def _convolution(
    layer: Layer, k: int, c: int, *, batch: int, depthwise: bool, flat: bool
) -> Problem:
    assert layer.iy is not None
    assert layer.ix is not None
    c4 = not depthwise and layer.groups == 1 and layer.C <= 4
    pointwise = layer.R == layer.S == 1 and layer.padding == 0 and not c4
    whole = layer.S % 4 == 0 and layer.padding == 0 and layer.dilation == 1
    if c4 and layer.R == layer.S == layer.stride > 1 and whole:
        return _patches(layer)
    flat = flat and pointwise
    return Problem(
        depthwise=depthwise,
        batch=batch,
        k=k,
        c=c,
        y=1 if flat else layer.Y,
        x=layer.Y * layer.X if flat else layer.X,
        r=layer.R,
        s=layer.S,
        stride=1 if pointwise else layer.stride,
        dilation=1 if layer.R == layer.S == 1 else layer.dilation,
        padding=layer.padding,
        in_y=1 if flat else layer.Y if pointwise else layer.iy,
        in_x=layer.Y * layer.X if flat else layer.X if pointwise else layer.ix,
        stored_y=layer.iy,
        stored_x=layer.ix,
        row=layer.X if flat else 0,
        pick=layer.stride if pointwise else 1,
        c4=c4,
        shared_params=batch == 1,
        padded_groups=not depthwise and layer.groups > 1 and batch == 1,
    )


def _patches(layer: Layer) -> Problem:
    """Windows that do not overlap: every window is a pixel with R x S x 4 channels."""
    assert layer.iy is not None
    assert layer.ix is not None
    return Problem(
        depthwise=False,
        batch=1,
        k=layer.K,
        c=layer.R * layer.S * 4,
        y=1,
        x=layer.Y * layer.X,
        r=1,
        s=1,
        in_y=1,
        in_x=layer.Y * layer.X,
        stored_y=layer.iy,
        stored_x=layer.ix,
        row=layer.X,
        pick=layer.stride,
        patch=layer.S // 4,
    )


def block_offsets(problem: Problem, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Word offsets of 16-channel blocks of one nest's input."""
    if problem.patch:
        row, word = np.divmod(blocks, problem.patch)
        return row * ceil_div(problem.stored_x, 4) + word
    return blocks * (problem.input_words // problem.blocks_in)


def pixel_offsets(problem: Problem, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray:
    """Word offsets, inside one block, of canonical input pixels `rows` x `cols`.

    Returns: int64 `rows x cols`. In the c4 layout `cols` counts words of 4 pixels.
    """
    if problem.c4:
        return rows[:, None] * ceil_div(problem.stored_x, 4) + cols[None, :]
    if problem.row:
        pixel_y, pixel_x = np.divmod(cols, problem.row)
        if problem.patch:
            width, step = ceil_div(problem.stored_x, 4), problem.patch
            flat = pixel_y * problem.pick * width + pixel_x * step
        else:
            flat = (pixel_y * problem.stored_x + pixel_x) * problem.pick
        return np.broadcast_to(flat[None, :], (len(rows), len(cols)))
    return (rows[:, None] * problem.stored_x + cols[None, :]) * problem.pick


def canonical_input(layer: Layer, x: Int8) -> Int8:
    """The stored input as `batch x channels x stored_y x stored_x`."""
    problem = problem_of(layer)
    if layer.operator is Operator.GEMM:
        return x.T[None, :, None, :]
    if layer.operator is Operator.BGEMM:
        return x.transpose(0, 2, 1)[:, :, None, :]
    return x.reshape(problem.batch, -1, *x.shape[1:])


def canonical_weight(layer: Layer, w: Int8) -> Int8:
    """The second operand as `batch x K x C x R x S` (C = 1 for a depthwise nest)."""
    problem = problem_of(layer)
    if layer.operator is Operator.GEMM:
        return w.T[None, :, :, None, None]
    if layer.operator is Operator.BGEMM:
        return w.transpose(0, 2, 1)[:, :, :, None, None]
    if problem.patch:
        padded = np.zeros((layer.K, layer.R, layer.S, 4), dtype=np.int8)
        padded[..., : layer.C] = w.transpose(0, 2, 3, 1)
        return padded.reshape(1, layer.K, problem.c, 1, 1)
    if not problem.padded_groups:
        return w.reshape(problem.batch, problem.k, -1, problem.r, problem.s)
    outputs, inputs = layer.K // layer.groups, layer.C // layer.groups
    dense = np.zeros((1, layer.K, layer.C, layer.R, layer.S), dtype=np.int8)
    for g in range(layer.groups):
        ks = slice(g * outputs, (g + 1) * outputs)
        dense[0, ks, g * inputs : (g + 1) * inputs] = w[ks]
    return dense


def canonical_params(layer: Layer, values: NDArray) -> NDArray:
    """Scale parameters as `nests x K`; one row where all nests share them."""
    problem = problem_of(layer)
    return values.reshape(1 if problem.shared_params else problem.batch, problem.k)


def layer_output(layer: Layer, values: NDArray) -> NDArray:
    """`batch x K x Y x X` of the canonical nest in the shape of `layer.output_shape`."""
    if layer.operator is Operator.GEMM:
        return values[0, :, 0, :].T
    if layer.operator is Operator.BGEMM:
        return values[:, :, 0, :].transpose(0, 2, 1)
    return values.reshape(layer.output_shape)
