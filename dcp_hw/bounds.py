"""What no mapping can beat: least steps, cycles and energy of layers on array shapes.

An axis of n PEs carries lanes of the loops that its sharing allows; n_l lanes of a loop of N_l
steps leave ceil(N_l / n_l), whatever tiles and orders are. `least_steps` minimises the product over
all ways to split both axes, for many shapes at once. Nothing else is assumed of a mapping, so that
a candidate whose bound is not below a result found is no better than it (docs/design-space.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import prod

import numpy as np
from numpy.typing import NDArray

from dcp_hw.axes import Axes, axes_of
from dcp_hw.candidates import Style
from dcp_hw.hardware import Hardware
from dcp_hw.physical import PRODUCT_BITS
from dcp_hw.problem import BLOCK, LOOPS, Problem, ceil_div, problem_of
from dcp_hw.technology import load_technology
from dcp_hw.workload import Layer

Sizes = tuple[tuple[str, int], ...]
Shape = tuple[int, int]
Ints = NDArray[np.int64]

CONFIG_WORDS = 8
"""CONFIG and the head of LANES; an array of P1 x P2 takes P1 + P2 words more (cycle-model.md)."""

PIPELINE = 5
"""Cycles from the last step until the unit is idle, without skew and chains."""

PARAM_WORDS = 7
"""Words of scale parameters of 16 channels."""


@lru_cache(maxsize=65536)
def _least_products(sizes: Sizes, most: int, single: bool) -> Ints:
    """Least product of steps of some loops on n = 0 .. `most` lanes (n = 0 stands for 1).

    Args:
        single: only one of the loops may have lanes.
    """
    lanes = np.maximum(np.arange(most + 1), 1)
    if single:
        whole = prod(size for _, size in sizes)
        ways = [whole // size * -(-size // lanes) for _, size in sizes]
        return np.min([np.full(most + 1, whole), *ways], axis=0)
    best = np.ones(most + 1, dtype=np.int64)
    for _, size in sizes:
        before, best = best, best * size
        for n in range(2, min(size, most) + 1):
            if ceil_div(size, n) < ceil_div(size, n - 1):
                best[n:] = np.minimum(best[n:], ceil_div(size, n) * before[lanes[n:] // n])
    return best


def least_steps(
    sizes: Sizes, carried: tuple[str, str], shapes: Sequence[Shape], single: tuple[bool, bool]
) -> Ints:
    """Least product of steps of all loops, one number per shape.

    Args:
        sizes: (loop, steps without lanes); loops that are not to be counted have 1.
        carried: loops that each axis may carry; a loop has lanes on one axis only.
        single: whether an axis may carry one loop only.
    """
    rows, cols = np.array(shapes).T
    both = [loop for loop in carried[0] if loop in carried[1]]
    best: Ints | None = None
    for count in range(len(both) + 1):
        for first in combinations(both, count):
            names = (
                {x for x in carried[0] if x not in both or x in first},
                {x for x in carried[1] if x not in first},
            )
            found = np.full(len(shapes), prod(n for x, n in sizes if x not in names[0] | names[1]))
            for on, places, alone in zip(names, (rows, cols), single, strict=True):
                part = tuple((x, n) for x, n in sizes if x in on and n > 1)
                found = found * _least_products(part, int(places.max()), alone)[places]
            best = found if best is None else np.minimum(best, found)
    assert best is not None
    return best


@dataclass(frozen=True, slots=True)
class Bounds:
    """Least cycles and energy of layers on arrays of one hardware."""

    hardware: Hardware

    def cycles(self, layer: Layer, style: Style, shapes: Sequence[Shape]) -> Ints:
        """Cycles that no mapping is below, one number per shape with both axes > 1 or plain.

        The pixels of a pointwise layer may be one row, or rows and columns on an axis each.
        """
        nests = dict.fromkeys((problem_of(layer), problem_of(layer, flat=False)))
        found = [self._cycles(layer, problem, style, shapes) for problem in nests]
        return np.min(found, axis=0)

    def _cycles(
        self, layer: Layer, problem: Problem, style: Style, shapes: Sequence[Shape]
    ) -> Ints:
        """Cycles that no mapping of one nest is below."""
        axes = axes_of(style.array(3, 4, depth=1, words=1))
        rows, cols = np.array(shapes).T
        r_in, r_out = (128 // bits for bits in (self.hardware.bus_in_bits,
                                                self.hardware.bus_out_bits))  # fmt: skip
        config = CONFIG_WORDS + rows + cols
        skew = style.wires.skew
        finish = PIPELINE + (rows - 1) * skew[0] + (cols - 1) * skew[1]
        carried, single = _carried(axes, problem, style)
        sizes = tuple((x, problem.size(x)) for x in _loops(problem))
        steps = problem.batch * least_steps(sizes, carried, shapes, single)
        if problem.depthwise and problem.padding:
            steps = np.minimum(steps, _trimmed(problem, carried, shapes, single))
        working = steps + finish
        if axes.chain is not None:
            length = rows if style.chain_axis == 1 else cols
            kept = problem.loops_of(axes.chain)
            counted = tuple((x, n if x in kept else 1) for x, n in sizes)
            sweeps = problem.batch * least_steps(counted, carried, shapes, single)
            shortest = length + (axes.chain != "output")
            working = np.maximum(working + length + 1, sweeps * shortest)
        loaded = input_words(layer) * r_in
        stored = output_words(layer) * r_out
        return config * r_in + np.maximum(working, max(loaded, stored))

    def energy_nj(self, layer: Layer, shapes: Sequence[Shape], cycles: Ints) -> NDArray[np.float64]:
        """Energy that no mapping is below, one number per shape, given its least cycles.

        MACs, the additions that they need, the compulsory words on the bus, requantisation, and
        the clock of two registers per PE; no memory access, no leakage.
        """
        pj = load_technology(self.hardware.technology).energy_pj
        rows, cols = np.array(shapes).T
        words = input_words(layer) + output_words(layer)
        problem = problem_of(layer)
        macs = layer.macs
        if problem.depthwise:
            macs = macs // (problem.y * problem.r) * rows_inside(problem)
        fixed = (
            macs * pj["multiply"]
            + (macs - layer.output_elements) * pj["add"]
            + layer.output_elements * pj["requantise"]
            + words * 8 * BLOCK * pj["bus_per_bit"]
        )
        clock = cycles * (rows * cols) * ((PRODUCT_BITS + 1) * pj["clock_per_bit"])
        return (fixed + clock) * 1e-3


def rows_inside(problem: Problem) -> int:
    """Pairs of an output row and a tap whose input row is not padding: what a trimmed nest does."""
    taps = np.arange(problem.r) * problem.dilation - problem.padding
    rows = np.arange(problem.y)[:, None] * problem.stride + taps
    return int(((rows >= 0) & (rows < problem.in_y)).sum())


def _trimmed(
    problem: Problem, carried: tuple[str, str], shapes: Sequence[Shape], single: tuple[bool, bool]
) -> Ints:
    """Least steps of a depthwise nest that skips padding above and below; no lanes of y and r."""
    sizes = {x: problem.size(x) for x in _loops(problem)} | {"y": rows_inside(problem), "r": 1}
    loops = [on.replace("y", "").replace("r", "") for on in carried]
    whole = least_steps(tuple(sizes.items()), (loops[0], loops[1]), shapes, single)
    return problem.batch * whole


def _loops(problem: Problem) -> str:
    return LOOPS.replace("c", "") if problem.depthwise else LOOPS


def _carried(
    axes: Axes, problem: Problem, style: Style
) -> tuple[tuple[str, str], tuple[bool, bool]]:
    """Loops that each axis may carry, and whether only one of them."""
    loops = [axes.loops(axis, problem) for axis in (0, 1)]
    if axes.diagonal:
        loops = ["".join(x for x in on if x in "yxrs") for on in loops]
    alone = style.one_loop_per_axis or axes.diagonal
    single = [alone or axes.drained == axis for axis in (0, 1)]
    return (loops[0], loops[1]), (single[0], single[1])


def input_words(layer: Layer) -> int:
    """Words of 16 bytes that have to be loaded: input, weights, scale parameters."""
    params = PARAM_WORDS * ceil_div(problem_of(layer).k, BLOCK)
    return ceil_div(layer.input_bytes, BLOCK) + ceil_div(layer.weight_bytes, BLOCK) + params


def output_words(layer: Layer) -> int:
    """Words of 16 bytes that have to be stored."""
    return ceil_div(layer.output_bytes, BLOCK)
