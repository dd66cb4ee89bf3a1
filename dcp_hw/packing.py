"""Memory images of a program: operands and parameters in, outputs out."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from dcp_hw.layout import Layout
from dcp_hw.problem import (
    BLOCK,
    canonical_input,
    canonical_params,
    canonical_weight,
    ceil_div,
    layer_output,
)
from dcp_hw.tiles import TileStream

if TYPE_CHECKING:
    from dcp_hw.lowering import Program

Bytes = NDArray[np.uint8]
Int8 = NDArray[np.int8]
PARAM_BYTES = 112


class DataLike(Protocol):
    """What is read of `sim.layer_data.LayerData`."""

    @property
    def x(self) -> Int8: ...
    @property
    def w(self) -> Int8: ...
    @property
    def bias(self) -> NDArray[np.int32]: ...
    @property
    def multiplier(self) -> NDArray[np.int32]: ...
    @property
    def shift(self) -> NDArray[np.uint8]: ...
    @property
    def acc(self) -> NDArray[np.int32]: ...
    @property
    def output(self) -> Int8: ...


def blocks(values: NDArray) -> NDArray:
    """`batch x C x Y x X` as `batch x C/16 x Y x X x 16`, channels filled up with zeros."""
    batch, channels, height, width = values.shape
    full = ceil_div(channels, BLOCK) * BLOCK
    padded = np.zeros((batch, full, height, width), dtype=values.dtype)
    padded[:, :channels] = values
    return np.moveaxis(padded.reshape(batch, full // BLOCK, BLOCK, height, width), 2, -1)


def pack_c4(values: Int8) -> Int8:
    """`batch x C x Y x X` with C <= 4 as `batch x Y x X/4 x 4 pixels x 4 channels`."""
    batch, channels, height, width = values.shape
    words = ceil_div(width, 4)
    padded = np.zeros((batch, height, words * 4, 4), dtype=np.int8)
    padded[:, :, :width, :channels] = values.transpose(0, 2, 3, 1)
    return padded.reshape(batch, height, words, BLOCK)


def pack_params(bias: NDArray, multiplier: NDArray, shift: NDArray) -> Bytes:
    """Seven words per 16 channels, `nests x K` each."""
    nests, channels = bias.shape
    rows = ceil_div(channels, BLOCK)
    packed = np.zeros((nests, rows, PARAM_BYTES), dtype=np.uint8)

    def fill(values: NDArray, dtype: str, low: int, high: int) -> None:
        full = np.zeros((nests, rows * BLOCK), dtype=dtype)
        full[:, :channels] = values
        packed[:, :, low:high] = full.view(np.uint8).reshape(nests, rows, -1)

    fill(bias, "<i4", 0, 64)
    fill(multiplier, "<u2", 64, 96)
    fill(shift, "u1", 96, 112)
    return packed.reshape(-1)


def pack_weight_tile(layout: Layout, stream: TileStream, w: Int8, k: int, c: int) -> Bytes:
    """Words of one weight tile in the order of its LOAD.

    Args:
        w: `K x C x R x S` of one nest.
        k, c: tile indices.
    """
    p, s, t = layout.problem, layout.split, layout.tiles
    span, depth = stream.k_span(k), stream.c_span(c)
    if s.weights == "taps":
        channels = np.zeros((ceil_div(span.count, BLOCK) * BLOCK, p.r, p.s), dtype=np.int8)
        channels[: span.count] = w[span.first : span.first + span.count, 0]
        packed = channels.reshape(-1, BLOCK, p.r, p.s).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(packed).view(np.uint8).reshape(-1)
    reverse = layout.axes.chain == "weight"
    steps = layout.weight_depth
    rows = layout.packed_rows(span.steps)
    banks = layout.weight_banks
    limits = stream.active_weight(k, c)
    counts = [banks[axis].active(limits) for axis in (0, 1)]
    image = np.zeros((counts[0], counts[1], rows * BLOCK), dtype=np.int8)
    kk, rr, ss, cc = np.meshgrid(
        np.arange(span.steps), np.arange(t.rt), np.arange(t.st), np.arange(steps), indexing="ij"
    )
    local = layout.weight_local
    for one, two in product(range(counts[0]), range(counts[1])):
        members = [banks[0].members[one], banks[1].members[two]]
        width = max(len(members[0]), len(members[1]))
        values = np.zeros((*kk.shape, local), dtype=np.int8)
        for place in range(width):
            parts = [m[place] if len(m) > 1 else m[0] for m in members]
            if parts[0] is None or parts[1] is None:
                continue
            digit = {"k": 0, "c": 0, "r": 0, "s": 0} | parts[0] | parts[1]
            inner = s.ki * s.kd
            outer, lane = divmod(digit["k"], inner)
            k_index = span.first + (outer * span.steps + kk) * inner + lane
            outer, lane = divmod(digit["c"], s.ci)
            c_index = cc if p.depthwise else (outer * layout.mapping.ct + cc) * s.ci + lane
            r_index, s_index = digit["r"] * t.rt + rr, digit["s"] * t.st + ss
            c_index = c_index + (0 if p.depthwise else depth.first)
            inside = (k_index < span.first + span.count) & (r_index < p.r) & (s_index < p.s)
            inside &= c_index < (1 if p.depthwise else depth.first + depth.count)
            where = local - 1 - place if reverse else place
            chosen = w[k_index[inside], c_index[inside], r_index[inside], s_index[inside]]
            values[..., where][inside] = chosen
        flat = values.reshape(-1)
        image[one, two, : len(flat)] = flat
    return image.view(np.uint8).reshape(-1)


def memory_image(program: Program, data: DataLike) -> Bytes:
    """The whole memory before the program runs; zeros where its output goes."""
    layer, problem = program.layer, program.problem
    layout = Layout(problem, program.design, program.mapping)
    stream = TileStream(layout)
    memory = np.zeros(program.memory_bytes, dtype=np.uint8)

    def put(address: int, values: NDArray) -> None:
        flat = np.ascontiguousarray(values).view(np.uint8).reshape(-1)
        memory[address : address + len(flat)] = flat

    x = canonical_input(layer, data.x)
    put(program.regions["input"], pack_c4(x) if problem.c4 or problem.patch else blocks(x))
    w = canonical_weight(layer, data.w)
    if layout.split.weights == "columns":
        # pixel = reduction index, channel = column
        put(program.regions["weight"], blocks(w[..., 0, 0][:, :, None, :]))
    elif layout.split.weights == "rows":
        # pixel = column, channel = reduction index
        put(program.regions["weight"], blocks(w[..., 0, 0].transpose(0, 2, 1)[:, :, None, :]))
    else:
        for (b, k, c), (address, _) in program.weight_tiles.items():
            put(address, pack_weight_tile(layout, stream, w[b], k, c))
    put(
        program.regions["params"],
        pack_params(
            *(canonical_params(layer, v) for v in (data.bias, data.multiplier, data.shift))
        ),
    )
    return memory


def read_output(program: Program, memory: Bytes) -> NDArray:
    """The layer's output (`layer.output_shape`, int8 or int32) from the memory after the run."""
    p = program.problem
    kind = np.dtype("<i4") if program.int32 else np.dtype(np.int8)
    shape = (p.batch, p.blocks_out, p.y, p.x, BLOCK)
    first = program.regions["output"]
    size = int(np.prod(shape)) * kind.itemsize
    values = memory[first : first + size].view(kind).reshape(shape)
    channels = np.moveaxis(values, -1, 2).reshape(p.batch, -1, p.y, p.x)[:, : p.k]
    return layer_output(program.layer, channels)
