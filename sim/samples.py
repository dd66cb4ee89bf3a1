"""Small hand-made programs, one mapping per array family: matrix products and convolutions.

Each sample knows its operands and what memory must hold afterwards, from `sim.reference`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sim import reference
from sim.sample_gemm import (
    Gemm,
    gemm_broadcast,
    gemm_input_stationary,
    gemm_nvdla,
    gemm_tree,
    gemm_weight_stationary,
)  # fmt: skip
from sim.sample_parts import Image, P, Sample, blocks, lanes, single, six
from tensorlib.design import Design
from tensorlib.families import family
from tensorlib.program import Command, Config, End, Lane, Load, LoadShape, Store


def conv_row_stationary(
    design: Design, width: int = 5, channels: int = 20, seed: int = 0
) -> Sample:
    """3 x 3 convolution, padding 1, of `channels` x 4 x `width` to 16 channels, int32 outputs.

    Axis 1 = r, axis 2 = y; the input of PE (r, y) is row y + r - 1.
    """
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, (channels, P, width), dtype=np.int8)
    w = rng.integers(-128, 128, (16, channels, 3, 3), dtype=np.int8)
    acc = reference.conv2d_int32(x, w, padding=1)
    image = Image()
    cb = -(-channels // 16)
    at_x = image.put(blocks(x))
    packed = np.zeros((16, 3, 3, cb * 16), dtype=np.int8)
    packed[..., :channels] = w.transpose(0, 2, 3, 1)
    at_w = image.put(packed)
    columns = width + 2
    config = Config(
        input_load=LoadShape(
            stride_a=16 * columns, stride_c=16, extent_a=cb, extent_b=1, extent_c=columns
        ),
        weight_load=LoadShape(
            stride_a=16 * 3 * cb, stride_c=16, extent_a=16, extent_b=1, extent_c=3 * cb
        ),
        input_strides=six(1, 16 * columns, 16, 16, 0),
        weight_strides=six(1, 16, 16 * cb, 0, 16 * 3 * cb),
        output_strides=six(0, 0, 0, 1, width),
        run_depth=3,
        reduction_mask=0b111,
    )
    out = image.put(np.zeros((1, P, width, 16), dtype=np.int32))
    # one command per row of 16 lanes: channel by channel, 4 pixels of a column each
    bursts = [
        (out + 4 * (16 * (y * width + col) + k), 4) if y < P else (-1, 4)
        for col in range(width)
        for k in range(16)
        for y in range(16)
    ]
    commands: tuple[Command, ...] = (
        config,
        lanes(
            lambda r: Lane(input_b=r, weight_b=r, digits=(r, 0, 0, 0)),
            lambda y: Lane(input_b=y, digits=(0, y, 0, 0)),
            design,
        ),
        Load(
            tensor="input", buffer=0, na=cb, nb=P + 2, nc=columns, b_lo=1, b_hi=P + 1, c_lo=1,
            c_hi=width + 1, bursts=((at_x, 16 * cb * P * width),),
        ),
        Load(
            tensor="weight", buffer=0, na=16, nb=3, nc=3 * cb, b_hi=3, c_hi=3 * cb,
            bursts=((at_w, packed.size),),
        ),
        single(bounds=six(16, cb, 3, width, 16, fill=1), limits=(3, P, 1, 1)),
        Store(
            output_buffer=0, bounds=(16, width, 1, 1), lane_strides=(0, 0, 0, 0),
            address_strides=(width, 1, 0, 0), param_strides=(0, 0, 0, 0), log2_group=0,
            channels=16, int32=True, pixel_mask=15, bursts=tuple(bursts),
        ),
        End(),
    )  # fmt: skip
    memory = image.bytes()
    expected = memory.copy()
    expected[out:] = blocks(acc).reshape(-1).view(np.uint8)
    return Sample(design=design, commands=commands, memory=memory, expected=expected, acc=acc)


def samples(**settings: object) -> dict[str, Sample]:
    """All samples by name.

    Args:
        settings: of the designs, such as `in_bits`.
    """

    def design(kind: str, rows: int = P, cols: int = P) -> Design:
        return family(kind, rows, cols, depth=256, words=256, **settings)  # type: ignore[arg-type]

    small = Gemm(m=8, k=40, n=20)
    blocked = replace(small, k=64)
    return {
        "broadcast": gemm_broadcast(design("broadcast"), small),
        "output_stationary": gemm_broadcast(design("output_stationary"), small),
        "unicast_tree": gemm_tree(design("unicast_tree"), small),
        "nvdla": gemm_nvdla(design("nvdla"), small),
        "weight_stationary": gemm_weight_stationary(design("weight_stationary"), blocked),
        "input_stationary": gemm_input_stationary(design("input_stationary"), blocked),
        "row_stationary": conv_row_stationary(design("row_stationary", 3)),
        "row_systolic": conv_row_stationary(design("row_systolic", 3)),
    }
