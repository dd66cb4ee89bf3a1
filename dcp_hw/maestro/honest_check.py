"""Random small cases of the honest model, to hold the interpreter and the fast model together."""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import prod

from dcp_hw.maestro.honest_types import DIMS, HonestLayer, HonestLevel, HonestMachine

_MOST_MACS = 1500  # per case: the interpreter walks each of them


@dataclass(frozen=True, slots=True)
class Case:
    """One evaluation."""

    layer: HonestLayer
    levels: tuple[HonestLevel, ...]
    machine: HonestMachine


def random_case(rng: random.Random) -> Case:
    """A small case: any operator, 1 to 3 levels, remainders, strides, padding, any bandwidth."""
    layer = _random_layer(rng)
    levels: list[HonestLevel] = []
    outer = layer.sizes
    whole = rng.random()  # how often a loop of a level has one tile
    for number in range(rng.randint(1, 3)):
        tile = tuple(size if rng.random() < whole else rng.randint(1, size) for size in outer)
        free = number == 0 and rng.random() < 0.3
        levels.append(
            HonestLevel(
                parallel=rng.randrange(6),
                order=tuple(rng.sample(range(6), 6)),
                tile=tuple(t + (rng.random() < 0.05) for t in tile),  # now and then too large
                clusters=None if free else rng.choice((1, 2, 2, 3, 4, 6)),
            )
        )
        outer = tile
    tight = (None, 1, 2, 3, 5, 10)
    sizes = (None, None, None, 10, 40, 160)
    machine = HonestMachine(
        pes=rng.choice((4, 12, 30, 64)),
        l1_size=rng.choice(sizes),
        l2_size=rng.choice((*sizes, 400)),
        noc_bw=rng.choice(tight),
        noc_latency=rng.choice((0, 1, 3)),
        dram_bw=rng.choice(tight),
    )
    return Case(layer, tuple(levels), machine)


def _random_layer(rng: random.Random) -> HonestLayer:
    """A layer of few MACs; matrix products and depthwise layers among them."""
    kind = rng.choice(("conv", "conv", "conv", "depthwise", "gemm"))
    while True:
        sizes = [rng.randint(1, most) for most in (4, 4, 8, 8, 5, 5)]
        if kind == "depthwise":
            sizes[0] = 1
        if kind == "gemm":
            sizes = [2 * sizes[0], 2 * sizes[1], sizes[2], 1, 1, 1]
        if prod(sizes) > _MOST_MACS:
            continue
        stride = rng.choice((1, 1, 2, 3))
        padding = 0 if kind == "gemm" else rng.choice((0, 0, 1, 2))
        spare = rng.choice((0, 0, 1))  # rows of the stored input that no MAC reads
        need = [(sizes[d] - 1) * stride + sizes[d + 2] - 2 * padding for d in (2, 3)]
        if min(need) < 1:
            continue
        return HonestLayer(
            **dict(zip(DIMS, sizes, strict=True)),
            stride=stride,
            padding=padding,
            depthwise=kind == "depthwise",
            rows=need[0] + spare,
            columns=need[1] + spare,
        )
