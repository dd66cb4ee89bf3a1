"""Hand-made programs of a matrix product, one mapping per array family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim import reference
from sim.sample_parts import (
    Image,
    P,
    Sample,
    blocks,
    lanes,
    pack_parameters,
    parameters,
    plain,
    sent_words,
    single,
    six,
)  # fmt: skip
from tensorlib.design import Design
from tensorlib.program import Command, Config, End, Lane, Load, LoadShape, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemm:
    """Operands of a matrix product with M pixels, K and N channels, and their image."""

    m: int
    k: int
    n: int
    seed: int = 0

    @property
    def a(self) -> NDArray[np.int8]:
        """`M x K`."""
        rng = np.random.default_rng(self.seed)
        return rng.integers(-128, 128, (self.m, self.k), dtype=np.int8)

    @property
    def w(self) -> NDArray[np.int8]:
        """`K x N`."""
        rng = np.random.default_rng(self.seed + 1)
        return rng.integers(-128, 128, (self.k, self.n), dtype=np.int8)

    @property
    def kb(self) -> int:
        """16-channel blocks of K."""
        return -(-self.k // 16)

    def weight_words(self) -> NDArray[np.int8]:
        """`N x K/16 x 16`: word (n, kb)."""
        return np.moveaxis(blocks(self.w[:, :, None])[..., 0, :], 1, 0)


def finish_gemm(
    gemm: Gemm,
    design: Design,
    before: list[Command],
    stores: Callable[[int], list[Store]],
    image: Image,
) -> Sample:
    """The sample: parameters, stores and expected output added to a program so far.

    Args:
        stores: STOREs for an int8 output `[N/16][M][16]` at the address given.
    """
    bias, multiplier, shift = parameters(np.random.default_rng(gemm.seed + 2), gemm.n)
    at = image.put(pack_parameters(bias, multiplier, shift))
    rows = -(-gemm.n // 16)
    load = Load(tensor="params", buffer=0, na=rows, nb=7, b_hi=7, bursts=((at, 112 * rows),))
    acc = reference.gemm_int32(gemm.a, gemm.w)
    output = reference.requantise(acc, bias, multiplier, shift, axis=-1)
    out = image.put(np.zeros((rows, gemm.m, 16), dtype=np.int8))
    memory = image.bytes()
    expected = memory.copy()
    expected[out:] = blocks(output.T[:, :, None]).reshape(-1).view(np.uint8)
    commands = (*before[:-1], load, before[-1], *stores(out), End())
    return Sample(design=design, commands=commands, memory=memory, expected=expected, acc=acc)


def gemm_broadcast(design: Design, gemm: Gemm) -> Sample:
    """Axis 1 = n, axis 2 = m. Also for `output_stationary` (drained along axis 2)."""
    image = Image()
    x = image.put(blocks(gemm.a.T[:, :, None]))
    w = image.put(gemm.weight_words())
    mb, nb, kb = gemm.m // P, -(-gemm.n // P), gemm.kb
    held = design.output.chain_length > 0
    stride_m = P if held else 1
    stride_n = gemm.m if held else mb
    config = Config(
        input_load=LoadShape(stride_a=16 * mb, stride_b=16, extent_a=kb, extent_b=mb, extent_c=1),
        weight_load=LoadShape(stride_a=16 * kb, stride_c=16, extent_a=nb, extent_b=1, extent_c=kb),
        input_strides=six(1, 16 * mb, 16, 0),
        weight_strides=six(1, 16, 0, 16 * kb),
        output_strides=six(0, 0, stride_m, stride_n),
        run_depth=2,
        reduction_mask=3,
        sweep_depth=2 * held,
        sweep_min=P * held,
        drain_stride=-1 if held else 0,
    )
    table = lanes(
        lambda i: Lane(weight_b=i, digits=(i, 0, 0, 0)), lambda j: Lane(input_c=j), design
    )
    size = 16 * gemm.n * kb
    before: list[Command] = [
        config,
        table,
        Load(
            tensor="input", buffer=0, na=kb, nb=mb, nc=P, b_hi=mb, c_hi=P,
            bursts=((x, 16 * kb * gemm.m),),
        ),
        Load(
            tensor="weight", buffer=0, na=nb, nb=P, nc=kb, b_hi=P, c_hi=kb, bursts=((w, size),)
        ),
        single(bounds=six(16, kb, mb, nb, fill=1), output_base=P - 1 if held else 0,
               limits=(P, 1, 1, 1)),
    ]  # fmt: skip
    rows = -(-gemm.n // 16)

    def stores(out: int) -> list[Store]:
        if held:  # one bank per channel: batches of one pixel, 4 steps
            order = [(b, m) for b in range(rows) for m in range(gemm.m)]
            return [
                Store(
                    output_buffer=0, bounds=(4, gemm.m, rows, 1), lane_strides=(0, 0, 0, 0),
                    address_strides=(gemm.m, 1, 4 * gemm.m, 0), param_strides=(0, 0, 1, 0),
                    log2_group=2, channels=gemm.n, pixel_mask=1,
                    bursts=sent_words((rows, gemm.m), order, out),
                )
            ]  # fmt: skip
        order = [(b, m) for b in range(rows) for m in range(gemm.m)]
        return [
            Store(
                output_buffer=0, bounds=(4, mb, rows, 1), lane_strides=(0, 0, 0, 0),
                address_strides=(mb, 1, 4 * mb, 0), param_strides=(0, 0, 1, 0),
                log2_group=2, channels=gemm.n, pixel_mask=15, release_params=True,
                bursts=sent_words((rows, gemm.m), order, out),
            )
        ]  # fmt: skip

    return finish_gemm(gemm, design, before, stores, image)


def gemm_tree(design: Design, gemm: Gemm) -> Sample:
    """`unicast_tree`: axis 1 = m, axis 2 = k (4 bytes of a row); all banks hold all weights."""
    image = Image()
    x = image.put(blocks(gemm.a.T[:, :, None]))
    w = image.put(gemm.weight_words())
    mb, kb = gemm.m // P, gemm.kb
    config = Config(
        input_load=LoadShape(stride_a=16 * mb, stride_b=16, extent_a=kb, extent_b=mb, extent_c=1),
        weight_load=LoadShape(stride_a=16 * kb, stride_b=16, extent_a=gemm.n, extent_b=kb),
        input_strides=six(P, 16 * mb, 16, 0),
        weight_strides=six(P, 16, 0, 16 * kb),
        output_strides=six(0, 0, 1, mb),
        run_depth=2,
        reduction_mask=3,
    )
    before: list[Command] = [
        config,
        lanes(lambda i: Lane(input_c=i), plain, design),
        Load(
            tensor="input", buffer=0, na=kb, nb=mb, nc=P, b_hi=mb, c_hi=P,
            bursts=((x, 16 * kb * gemm.m),),
        ),
        Load(
            tensor="weight", buffer=0, na=gemm.n, nb=kb, b_hi=kb,
            bursts=((w, 16 * kb * gemm.n),),
        ),
        single(bounds=six(P, kb, mb, gemm.n, fill=1)),
    ]  # fmt: skip
    rows = -(-gemm.n // 16)

    def stores(out: int) -> list[Store]:
        order = [(b, m) for b in range(rows) for m in range(gemm.m)]
        return [
            Store(
                output_buffer=0, bounds=(16, mb, rows, 1), lane_strides=(0, 0, 0, 0),
                address_strides=(mb, 1, 16 * mb, 0), param_strides=(0, 0, 1, 0),
                log2_group=0, channels=gemm.n, pixel_mask=15,
                bursts=sent_words((rows, gemm.m), order, out),
            )
        ]  # fmt: skip

    return finish_gemm(gemm, design, before, stores, image)


def gemm_nvdla(design: Design, gemm: Gemm) -> Sample:
    """`nvdla`: axis 1 = n, axis 2 = 16-channel blocks of k, whose weights share a row."""
    image = Image()
    x = image.put(blocks(gemm.a.T[:, :, None]))
    nb, ko = -(-gemm.n // P), gemm.kb // P
    # byte (n, k block / P, k in block, k block mod P)
    packed = gemm.weight_words().reshape(gemm.n, ko, P, 16).swapaxes(2, 3)
    w = image.put(packed)
    row = 16 * P * ko  # bytes of one n
    config = Config(
        input_load=LoadShape(
            stride_a=16 * gemm.m, stride_c=16, extent_a=ko, extent_b=1, extent_c=gemm.m
        ),
        weight_load=LoadShape(stride_a=row, stride_c=16, extent_a=nb, extent_b=1, extent_c=P * ko),
        input_strides=six(1, 16 * gemm.m, 16, 0),
        weight_strides=six(P, 16 * P, 0, row),
        output_strides=six(0, 0, 1, gemm.m),
        run_depth=2,
        reduction_mask=3,
    )
    before: list[Command] = [
        config,
        lanes(lambda i: Lane(weight_b=i), lambda j: Lane(input_b=j), design),
        Load(
            tensor="input", buffer=0, na=ko, nb=P, nc=gemm.m, b_hi=P, c_hi=gemm.m,
            bursts=((x, 16 * P * ko * gemm.m),),
        ),
        Load(
            tensor="weight", buffer=0, na=nb, nb=P, nc=P * ko, b_hi=P, c_hi=P * ko,
            bursts=((w, row * gemm.n),),
        ),
        single(bounds=six(16, ko, gemm.m, nb, fill=1)),
    ]  # fmt: skip
    return finish_gemm(gemm, design, before, _channel_stores(gemm), image)


def _channel_stores(gemm: Gemm) -> Callable[[int], list[Store]]:
    """STOREs of banks that hold one channel each, words `n/4 x m`."""
    rows = -(-gemm.n // 16)

    def stores(out: int) -> list[Store]:
        order = [(b, m) for b in range(rows) for m in range(gemm.m)]
        return [
            Store(
                output_buffer=0, bounds=(4, gemm.m, rows, 1), lane_strides=(0, 0, 0, 0),
                address_strides=(gemm.m, 1, 4 * gemm.m, 0), param_strides=(0, 0, 1, 0),
                log2_group=2, channels=gemm.n, pixel_mask=1,
                bursts=sent_words((rows, gemm.m), order, out),
            )
        ]  # fmt: skip

    return stores


def gemm_weight_stationary(design: Design, gemm: Gemm) -> Sample:
    """Axis 1 = n, axis 2 = 16-channel blocks of k; a sweep runs over all m."""
    image = Image()
    x = image.put(blocks(gemm.a.T[:, :, None]))
    w = image.put(gemm.weight_words())
    nb, kb = -(-gemm.n // P), gemm.kb
    ko = kb // P
    config = Config(
        input_load=LoadShape(
            stride_a=16 * gemm.m, stride_c=16, extent_a=ko, extent_b=1, extent_c=gemm.m
        ),
        weight_load=LoadShape(stride_a=16 * kb, stride_c=16, extent_a=nb, extent_b=1, extent_c=kb),
        input_strides=six(16, 1, 16 * gemm.m, 0),
        weight_strides=six(0, 1, 16 * P, 16 * kb),
        weight_fill_stride=-16,
        output_strides=six(1, 0, 0, gemm.m),
        run_depth=0,
        reduction_mask=0b110,
        sweep_depth=1,
        sweep_min=P + 1,
    )
    before: list[Command] = [
        config,
        lanes(lambda i: Lane(weight_b=i), lambda j: Lane(input_b=j), design),
        Load(
            tensor="input", buffer=0, na=ko, nb=P, nc=gemm.m, b_hi=P, c_hi=gemm.m,
            bursts=((x, 16 * kb * gemm.m),),
        ),
        Load(
            tensor="weight", buffer=0, na=nb, nb=P, nc=kb, b_hi=P, c_hi=kb,
            bursts=((w, 16 * gemm.n * kb),),
        ),
        single(bounds=six(gemm.m, 16, ko, nb, fill=1), weight_base=16 * (P - 1)),
    ]  # fmt: skip
    return finish_gemm(gemm, design, before, _channel_stores(gemm), image)


def gemm_input_stationary(design: Design, gemm: Gemm) -> Sample:
    """Axis 1 = 16-channel blocks of k, axis 2 = m; a sweep runs over all n."""
    image = Image()
    x = image.put(blocks(gemm.a.T[:, :, None]))
    w = image.put(gemm.weight_words())
    mb, kb = gemm.m // P, gemm.kb
    ko = kb // P
    config = Config(
        input_load=LoadShape(stride_a=16 * mb, stride_b=16, extent_a=kb, extent_b=mb, extent_c=1),
        weight_load=LoadShape(
            stride_a=16 * ko, stride_b=16, extent_a=gemm.n, extent_b=ko, extent_c=1
        ),
        input_strides=six(0, 1, 16 * mb * P, 16),
        input_fill_stride=-16 * mb,
        weight_strides=six(16 * ko, 1, 16, 0),
        output_strides=six(mb, 0, 0, 1),
        run_depth=0,
        reduction_mask=0b110,
        sweep_depth=1,
        sweep_min=P + 1,
    )
    before: list[Command] = [
        config,
        lanes(lambda i: Lane(weight_c=i), lambda j: Lane(input_c=j), design),
        Load(
            tensor="input", buffer=0, na=kb, nb=mb, nc=P, b_hi=mb, c_hi=P,
            bursts=((x, 16 * kb * gemm.m),),
        ),
        Load(
            tensor="weight", buffer=0, na=gemm.n, nb=ko, nc=P, b_hi=ko, c_hi=P,
            bursts=((w, 16 * gemm.n * kb),),
        ),
        single(bounds=six(gemm.n, 16, ko, mb, fill=1), input_base=16 * mb * (P - 1)),
    ]  # fmt: skip
    rows = -(-gemm.n // 16)

    def stores(out: int) -> list[Store]:
        order = [(b, m) for b in range(rows) for m in range(gemm.m)]
        return [
            Store(
                output_buffer=0, bounds=(16, mb, rows, 1), lane_strides=(0, 0, 0, 0),
                address_strides=(mb, 1, 16 * mb, 0), param_strides=(0, 0, 1, 0),
                log2_group=0, channels=gemm.n, pixel_mask=15,
                bursts=sent_words((rows, gemm.m), order, out),
            )
        ]  # fmt: skip

    return finish_gemm(gemm, design, before, stores, image)
