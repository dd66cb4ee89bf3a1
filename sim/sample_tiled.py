"""A hand-made program of several tiles: both buffers of all tensors, partial sums in between."""

from __future__ import annotations

import numpy as np

from sim import reference
from sim.sample_gemm import Gemm
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


def gemm_tiled(design: Design, gemm: Gemm, m_tile: int = 8) -> Sample:
    """As `gemm_broadcast`, tile by tile of m and half by half of k, in both buffers of all.

    Loads run ahead of the EXECs, partial sums stay in the output buffer between two EXECs.
    """
    image = Image()
    x = image.put(blocks(gemm.a.T[:, :, None]))
    w = image.put(gemm.weight_words())
    bias, multiplier, shift = parameters(np.random.default_rng(gemm.seed + 2), gemm.n)
    at = image.put(pack_parameters(bias, multiplier, shift))
    rows, nb, half = -(-gemm.n // 16), -(-gemm.n // P), gemm.kb // 2
    out = image.put(np.zeros((rows, gemm.m, 16), dtype=np.int8))
    mb = m_tile // P
    commands: list[Command] = [
        Config(
            input_load=LoadShape(
                stride_a=16 * mb, stride_b=16, extent_a=half, extent_b=mb, extent_c=1
            ),
            weight_load=LoadShape(
                stride_a=16 * half, stride_c=16, extent_a=nb, extent_b=1, extent_c=half
            ),
            input_strides=six(1, 16 * mb, 16, 0),
            weight_strides=six(1, 16, 0, 16 * half),
            output_strides=six(0, 0, 1, mb),
            run_depth=2,
            reduction_mask=3,
        ),
        lanes(lambda i: Lane(weight_b=i), lambda j: Lane(input_c=j), design),
        Load(tensor="params", buffer=0, na=rows, nb=7, b_hi=7, bursts=((at, 112 * rows),)),
    ]
    tiles = gemm.m // m_tile
    for tile in range(tiles):
        for part in range(2):
            buffer = (2 * tile + part) % 2
            blocks_k = range(part * half, (part + 1) * half)
            weights = tuple(
                (w + 16 * (n * gemm.kb + part * half), 16 * half) for n in range(gemm.n)
            )
            commands += [
                Load(
                    tensor="input", buffer=buffer, na=half, nb=mb, nc=P, b_hi=mb, c_hi=P,
                    bursts=tuple(
                        (x + 16 * (k * gemm.m + tile * m_tile), 16 * m_tile) for k in blocks_k
                    ),
                ),
                Load(
                    tensor="weight", buffer=buffer, na=nb, nb=P, nc=half, b_hi=P, c_hi=half,
                    bursts=weights,
                ),
                single(
                    bounds=six(16, half, mb, nb, fill=1), input_buffer=buffer,
                    weight_buffer=buffer, output_buffer=tile % 2, accumulate=part > 0,
                    output_complete=part > 0,
                ),
            ]  # fmt: skip
        pixels = range(tile * m_tile, (tile + 1) * m_tile)
        order = [(b, m) for b in range(rows) for m in pixels]
        commands.append(
            Store(
                output_buffer=tile % 2, bounds=(4, mb, rows, 1), lane_strides=(0, 0, 0, 0),
                address_strides=(mb, 1, 4 * mb, 0), param_strides=(0, 0, 1, 0), log2_group=2,
                channels=gemm.n, pixel_mask=15, release_params=tile == tiles - 1,
                bursts=sent_words((rows, gemm.m), order, out),
            )
        )  # fmt: skip
    memory = image.bytes()
    acc = reference.gemm_int32(gemm.a, gemm.w)
    output = reference.requantise(acc, bias, multiplier, shift, axis=-1)
    expected = memory.copy()
    expected[out:] = blocks(output.T[:, :, None]).reshape(-1).view(np.uint8)
    return Sample(
        design=design, commands=(*commands, End()), memory=memory, expected=expected, acc=acc
    )
