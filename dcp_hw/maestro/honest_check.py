"""The fast honest model against the interpreter, on random small cases.

python -m dcp_hw.maestro.honest_check --n 20000 --seed 0
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from dcp_hw.maestro.honest_fast import evaluate
from dcp_hw.maestro.honest_interpreter import interpret
from dcp_hw.maestro.honest_types import (
    DIMS,
    C,
    HonestCounts,
    HonestLayer,
    HonestLevel,
    HonestMachine,
    K,
    R,
    Y,
)

_MOST_MACS = 1500  # per case: the interpreter walks each of them


@dataclass(frozen=True, slots=True)
class Case:
    """One evaluation."""

    layer: HonestLayer
    levels: tuple[HonestLevel, ...]
    machine: HonestMachine


def random_case(rng: random.Random) -> Case:
    """A small case: any operator, 1 to 3 levels, remainders, strides, padding, any bandwidth."""
    kind = rng.random()
    if kind < 0.25:
        return _halo_case(rng)
    layer = _long_layer(rng) if kind < 0.28 else _random_layer(rng)
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
                clusters=None if free else rng.choice((1, 2, 2, 3, 4, 6, 12)),
            )
        )
        outer = tile
    return Case(layer, tuple(levels), _random_machine(rng, (None, 1, 2, 3, 5, 10)))


def _halo_case(rng: random.Random) -> Case:
    """Units side by side along rows or taps, some idle in the last fold, on a slow network.

    Here and nearly only here units other than the first take longest: those that come back from
    idling load a whole tile of which the first unit still holds a part.
    """
    along, units, tile = rng.choice((Y, Y, R)), rng.choice((2, 2, 3)), rng.choice((1, 1, 2))
    while True:
        half = rng.randint(1, 3)
        sizes = [2 * half + rng.randint(0, 1), rng.randint(1, 4), 0, rng.choice((1, 1, 2)), 0, 1]
        sizes[along] = tile * units + rng.randint(1, tile * units)
        sizes[Y + R - along] = rng.randint(2, 6)
        if prod(sizes) <= _MOST_MACS:
            break
    stride = rng.choice((1, 1, 1, 2))
    layer = HonestLayer(**dict(zip(DIMS, sizes, strict=True)), stride=stride)
    outer = [half, *sizes[1:]]
    outer[along] = tile
    if rng.random() < 0.3:
        outer[Y + R - along] = rng.randint(1, outer[Y + R - along])
    inner = [rng.randint(1, half), rng.choice((1, sizes[C])), *outer[2:]]
    inside = C if inner[C] == 1 else rng.choice((K, C, Y, R))
    if inside in (Y, R):
        inner[inside] = 1
    top = [rng.choice((s, s, max(1, s - 1))) for s in sizes]
    levels = [
        HonestLevel(
            parallel=parallel,
            order=tuple(rng.sample(range(6), 6)),
            tile=tuple(tiles),
            clusters=clusters,
        )
        for parallel, tiles, clusters in (
            (rng.randrange(6), top, rng.choice((1, 2))),
            (along, outer, units),
            (inside, inner, rng.choice((2, 4, 6))),
        )
    ]
    machine = _random_machine(rng, (1, 1, 2))
    return Case(layer, tuple(levels[rng.choice((0, 1, 1)) :]), replace(machine, pes=512))


def _long_layer(rng: random.Random) -> HonestLayer:
    """Many rows or columns with padding: more units side by side than a short layer can have."""
    long, taps, padding = rng.randint(40, 110), rng.randint(1, 5), rng.randint(1, 3)
    stride = rng.choice((1, 2))
    least = max(1, (2 * padding + stride - taps) // stride + 1)  # outputs that leave an input
    short = rng.randint(least, least + 1)
    sizes = {"Y": long, "X": short, "R": taps, "S": taps}
    if rng.random() < 0.5:
        sizes |= {"Y": short, "X": long}
    return HonestLayer(**sizes, stride=stride, padding=padding)


def _random_machine(rng: random.Random, bandwidths: tuple[int | None, ...]) -> HonestMachine:
    """Few PEs; tight, loose or unlimited bandwidths and buffers."""
    sizes = (*(None,) * 8, 10, 40, 160)
    return HonestMachine(
        pes=rng.choice((4, 12, 30, 128)),
        l1_size=rng.choice(sizes),
        l2_size=rng.choice((*sizes, 400)),
        noc_bw=rng.choice(bandwidths),
        noc_latency=rng.choice((0, 1, 3)),
        dram_bw=rng.choice((None, 1, 2, 3, 5, 10)),
    )


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


def differences(count: int, seed: int, *, every: int = 0) -> tuple[int, list[Case]]:
    """Number of feasible cases among the first `count`, and the cases on which the models differ.

    They must agree on every counter, on the cycles, and on what is infeasible and why.

    Args:
        every: say on stderr how far it is after that many cases; 0 for never.
    """
    rng, feasible, wrong = random.Random(seed), 0, []
    for number in range(count):
        if every and number and number % every == 0:
            print(f"{number} of {count} cases, {len(wrong)} differences", file=sys.stderr)
        case = random_case(rng)
        slow = interpret(case.layer, case.levels, case.machine)
        fast = evaluate(case.layer, case.levels, case.machine)
        feasible += isinstance(slow, HonestCounts)
        if slow != fast:
            wrong.append(case)
    return feasible, wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Print how many cases agree; exit code 1 if one does not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=20_000, help="number of cases")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    feasible, wrong = differences(options.n, options.seed, every=2000)
    print(f"{options.n} cases, {feasible} of them feasible, {len(wrong)} differences")
    for case in wrong[:3]:
        print(case, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
