"""Hand-made programs of convolutions: padding, byte-wide banks, int32 stores."""

from __future__ import annotations

import numpy as np

from sim import reference
from sim.sample_parts import (
    Image,
    P,
    Sample,
    blocks,
    lanes,
    pack_parameters,
    parameters,
    sent_words,
    single,
    six,
)  # fmt: skip
from tensorlib.design import Design
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


def conv_depthwise(design: Design, width: int = 6, seed: int = 0) -> Sample:
    """3 x 3 depthwise convolution, padding 1, of 4 channels x 4 x `width`, int8 outputs.

    `unicast_multicast`: axis 1 = channel (a byte of each word), axis 2 = y.
    """
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, (P, P, width), dtype=np.int8)
    w = rng.integers(-128, 128, (P, 1, 3, 3), dtype=np.int8)
    bias, multiplier, shift = parameters(rng, P)
    acc = reference.conv2d_int32(x, w, padding=1, groups=P)
    output = reference.requantise(acc, bias, multiplier, shift)
    image = Image()
    at_x = image.put(blocks(x))
    at_w = image.put(blocks(w[:, 0]))
    at_p = image.put(pack_parameters(bias, multiplier, shift))
    out = image.put(np.zeros((1, P, width, 16), dtype=np.int8))
    columns = width + 2
    config = Config(
        input_load=LoadShape(
            stride_b=columns, stride_c=1, extent_b=3, extent_c=columns, byte_mode=True
        ),
        weight_load=LoadShape(stride_b=3, stride_c=1, extent_b=3, extent_c=3, byte_mode=True),
        input_strides=six(1, columns, 1),
        weight_strides=six(1, 3, 0),
        output_strides=six(0, 0, 1),
        run_depth=2,
        reduction_mask=3,
    )
    order = [(0, y, column) for column in range(width) for y in range(P)]
    commands: tuple[Command, ...] = (
        config,
        lanes(
            lambda i: Lane(input_select=i, weight_select=i),
            lambda j: Lane(input_b=j, input_base=j * columns),
            design,
        ),
        Load(tensor="params", buffer=1, na=1, nb=7, b_hi=7, bursts=((at_p, 112),)),
        Load(
            tensor="input", buffer=1, nb=P + 2, nc=columns, b_lo=1, b_hi=P + 1, c_lo=1,
            c_hi=width + 1, bursts=((at_x, 16 * P * width),),
        ),
        Load(tensor="weight", buffer=1, nb=3, nc=3, b_hi=3, c_hi=3, bursts=((at_w, 144),)),
        single(
            bounds=six(3, 3, width, fill=1), input_buffer=1, weight_buffer=1, output_buffer=1
        ),
        Store(
            output_buffer=1, bounds=(4, width, 1, 1), lane_strides=(0, 0, 0, 0),
            address_strides=(0, 1, 0, 0), param_strides=(0, 0, 0, 0), log2_group=2,
            channels=P, params_buffer=1, release_params=True, pixel_mask=15,
            bursts=sent_words((1, P, width), order, out),
        ),
        End(),
    )  # fmt: skip
    memory = image.bytes()
    expected = memory.copy()
    expected[out:] = blocks(output).reshape(-1).view(np.uint8)
    return Sample(design=design, commands=commands, memory=memory, expected=expected, acc=acc)
