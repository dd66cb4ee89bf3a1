"""Least cycles and energy of a layer on one array shape, over all programs of the mapper's lanes.

`bounds_kernel.least` for every way to spread the layer's loops over the axes that `lane_options`
knows; ways whose steps alone are too many are left out before.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcp_hw import bounds_kernel as kernel
from dcp_hw import scan
from dcp_hw.axes import axes_of
from dcp_hw.bounds import output_words, rows_inside
from dcp_hw.bounds_points import TENSORS, least_input_words, memory_of
from dcp_hw.candidates import SPLITS
from dcp_hw.hardware import Hardware
from dcp_hw.lane_options import (
    Lanes,
    axis_options,
    constants,
    lane_options,
    least_steps,
    mapping_of,
    placeable,
)
from dcp_hw.mapping import Digits, LaneSplit, Unmappable, split_lanes
from dcp_hw.physical import adder_in_pe, flip_flops
from dcp_hw.problem import BLOCK, LOOPS, Problem, ceil_div, problem_of
from dcp_hw.search import OBJECTIVES
from dcp_hw.technology import load_technology
from dcp_hw.workload import Layer
from tensorlib.design import Design

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Options = list[tuple[int, Lanes, LaneSplit]]
_SIZES = np.zeros((4, kernel.MOST_SIZES, 3), dtype=np.int64)
CAPACITY = (scan.INPUT_ROWS, scan.WEIGHT_ROWS, scan.OUTPUT_WORDS)
_PRICES = {
    "input": (kernel.INPUT_READ, kernel.INPUT_WRITE),
    "weight": (kernel.WEIGHT_READ, kernel.WEIGHT_WRITE),
    "output": (kernel.OUTPUT_READ, kernel.OUTPUT_WRITE),
}


class Least(NamedTuple):
    """The least value of an objective, its cycles and nJ."""

    value: float
    cycles: float
    energy_nj: float


NONE = Least(np.inf, np.inf, np.inf)


def shaped_options(
    layer: Layer, design: Design, most: float, slack: float = np.inf
) -> tuple[Problem, Options]:
    """The nest that the mapper takes and its lanes: pixels in a row unless rows need fewer steps.

    Args:
        most: lanes that need more steps are left out.
        slack: as are those that need so many times the least steps.
    """
    flat, square = problem_of(layer), problem_of(layer, flat=False)
    options = _lanes(flat, design, most, slack)
    least = ceil_div(layer.macs, design.pes)
    if flat == square or (options and options[0][0] <= least):
        return flat, options
    others = _lanes(square, design, most, slack)
    if others and (not options or others[0][0] < options[0][0]):
        return square, others
    return flat, options


def _lanes(problem: Problem, design: Design, most: float, slack: float) -> Options:
    """`lane_options` without lanes that need too many steps."""
    axes = axes_of(design)
    slots = (design.input.slots, design.weight.slots)
    if problem.activation_weights:  # which lanes are sensible depends on all of them
        options = [x for x in lane_options(problem, design) if x[0] <= most]
        return [x for x in options if x[0] <= slack * options[0][0]]
    found: Options = []
    for steps, lanes in _by_steps(problem, design, most):
        if found and steps > slack * found[0][0] * _ROUNDED:
            break
        try:
            split = split_lanes(problem, axes, slots, mapping_of(lanes, axes, problem))
        except Unmappable:
            continue
        if placeable(problem, axes, split):
            found.append((least_steps(problem, split), lanes, split))
    return sorted(found, key=lambda item: (item[0], len(item[1][0]) + len(item[1][1])))


def _by_steps(problem: Problem, design: Design, most: float) -> list[tuple[float, Lanes]]:
    """Lanes of two axes, no loop twice, with their steps; fewest first."""
    axes = axes_of(design)
    loops = LOOPS.replace("c", "") if problem.depthwise else LOOPS
    sizes = {loop: problem.size(loop) for loop in loops}
    whole = problem.batch * prod(sizes.values())
    firsts, seconds = ([(x, {loop for loop, _ in x}, _saved(sizes, x))
                        for x in axis_options(problem, design, axes, axis)]
                       for axis in (0, 1))  # fmt: skip
    found = [
        (whole * saved * more, (one, two))
        for one, names, saved in firsts
        for two, others, more in seconds
        if whole * saved * more <= most * _ROUNDED and not names & others
    ]
    return sorted(found, key=lambda item: item[0])


_ROUNDED = 1.000001
"""Of steps that are products of shares."""


def _saved(sizes: Mapping[str, int], digits: Digits) -> float:
    """Share of the steps that lanes leave."""
    return prod(ceil_div(sizes[loop], n) / sizes[loop] for loop, n in digits if loop in sizes)


class PointBound:
    """Bounds of one layer on one array shape, at every memory split.

    Args:
        design: the array, whatever its memories.
        limits: objective -> value from which on a bound need not be exact.
        cycles: that no program is below.
        slack: lanes that need so many times the least steps are left out; then the bound is only
            an estimate.
    Attributes:
        problem: the nest that the mapper takes; ways: its steps, constants of `scan` and of
            `bounds_kernel` for each way to spread the loops; lanes: these ways.
    """

    def __init__(
        self,
        layer: Layer,
        design: Design,
        hardware: Hardware,
        limits: Mapping[str, float],
        *,
        cycles: float = 0.0,
        slack: float = np.inf,
    ) -> None:
        problem = problem_of(layer)
        self.prices, self.rooms = _prices(layer, problem, design, hardware)
        self.words = least_input_words(layer) + ceil_div(layer.weight_bytes, BLOCK)
        self.cycles = cycles
        self.ways: list[tuple[int, Ints, Ints]] = []
        self.lanes: list[Lanes] = []
        most = max(self._most_steps(x, roof) for x, roof in limits.items())
        trimmed = rows_inside(problem) / (problem.y * problem.r) if problem.depthwise else 1.0
        problem, options = shaped_options(layer, design, most / trimmed, slack / trimmed)
        most = min(most, slack * options[0][0]) if options else 0.0
        self.problem = problem
        of_design = _of_design(design)
        for steps, lanes, split in options:
            inside = rows_inside(problem) if _trimmable(problem, split) else 0
            if inside:
                steps = steps // (problem.y * problem.r) * inside
            if steps <= most:
                g = constants(problem, design, lanes, split, int32=False)
                a = _array(problem, design, lanes, split) + of_design
                a[kernel.ROWS_INSIDE] = inside
                self.ways.append((steps, g, a))
                self.lanes.append(lanes)

    def _rough(self, split: int, objective: str, steps: float) -> float:
        """Bound of an objective by steps alone."""
        p, cycles = self.prices[split], max(steps, self.cycles)
        pj = p[kernel.FIXED_TRIMMED] + self.words * p[kernel.WORD] + cycles * p[kernel.PER_CYCLE]
        nj = pj * 1e-3
        return {"latency": cycles, "energy": nj, "edp": nj * cycles}[objective]

    def _most_steps(self, objective: str, limit: float) -> float:
        """Steps from which on the bound is not below a limit."""
        if not np.isfinite(limit):
            return np.inf
        low, high = 0.0, 1e15
        while high - low > 1e-4 * high:
            middle = (low * high) ** 0.5 if low else high / 4
            if self._rough(BELOW, objective, middle) < limit:
                low = middle
            elif middle < 1:
                return 0.0
            else:
                high = middle
        return high

    def least(self, split: int, objective: str, limit: float = np.inf) -> Least:
        """The least value at a split (or `BELOW` all); need not be exact from `limit` on."""
        goal, best = OBJECTIVES.index(objective), NONE
        prices = self.prices[split]
        if not np.isfinite(prices[kernel.PER_CYCLE]):
            return NONE
        for steps, g, a in self.ways:
            roof = min(limit, best.value)
            if self._rough(split, objective, steps) < roof:
                g[list(CAPACITY)] = self.rooms[split]
                found = Least(*kernel.least(g, a, prices, goal, roof, _SIZES))
                best = found if found.value < best.value else best
        return best


BELOW = -1
"""Instead of a split: every price the least of all splits, every memory the largest."""


def _trimmable(problem: Problem, split: LaneSplit) -> bool:
    """Whether rows of padding may be left out."""
    lanes = split.lanes
    return bool(problem.depthwise and problem.padding and max(lanes["y"], lanes["r"]) == 1)


def _of_design(design: Design) -> Ints:
    """What the kernel has to know of an array, whatever the lanes; zero elsewhere."""
    a = np.zeros(kernel.ARRAY_COUNT, dtype=np.int64)
    output = design.output
    a[kernel.SETUP_WORDS] = 7 + design.rows + design.cols
    a[kernel.INPUT_BANKS] = design.input.banks
    a[kernel.WEIGHT_BANKS] = design.weight.banks
    a[kernel.OUT_PER_RUN] = output.banks * max(output.chain_length, 1)
    a[kernel.ADDS] = 0 if adder_in_pe(design) else design.tree_adds_per_step + design.exits
    a[kernel.PES] = design.pes
    a[kernel.HOPS_8] = design.input.link_registers + design.weight.link_registers
    a[kernel.HOPS_32] = output.link_registers
    return a


def _array(problem: Problem, design: Design, lanes: Lanes, split: LaneSplit) -> Ints:
    """What the kernel has to know of lanes on an array; zero elsewhere."""
    a = np.zeros(kernel.ARRAY_COUNT, dtype=np.int64)
    axes, n = axes_of(design), split.lanes
    copies = {"input": 1, "weight": 1}
    for axis, digits in enumerate(lanes):
        for loop, count in digits:
            for name, operand in design.operands:
                held = operand.chains and axes.chain_axis == axis
                apart = name not in axes.shared[axis] and not axes.diagonal and not held
                apart = apart and (axis == 0 or operand.slots == 1)
                if apart and loop not in problem.loops_of(name):
                    copies[name] *= min(count, problem.size(loop))
    held_words = {name: _distinct_banks(problem, design, lanes, name) for name in copies}
    if split.byte_input:  # every bank keeps one byte of a word
        bytes_used = split.ki if problem.depthwise else BLOCK
        copies["input"] *= bytes_used
        held_words["input"] = ceil_div(held_words["input"] * BLOCK, bytes_used)
    a[kernel.DUP_INPUT], a[kernel.DUP_WEIGHT] = copies["input"], copies["weight"]
    a[kernel.INPUT_HELD], a[kernel.WEIGHT_HELD] = held_words["input"], held_words["weight"]
    a[kernel.CUTTABLE] = int(n["y"] == 1 < problem.y)
    return a


def _distinct_banks(problem: Problem, design: Design, lanes: Lanes, name: str) -> int:
    """Banks of an operand that hold different elements, at most."""
    axes, operand = axes_of(design), dict(design.operands)[name]
    if axes.diagonal:
        return operand.banks
    found = 1
    for axis, digits in enumerate(lanes):
        if name in axes.shared[axis] or (operand.chains and axes.chain_axis == axis):
            continue
        if axis == 1 and operand.slots > 1:
            found *= ceil_div(prod(count for _, count in digits), operand.slots)
        else:
            found *= prod(count for loop, count in digits if loop in problem.loops_of(name))
    return found


def _prices(
    layer: Layer, problem: Problem, design: Design, hardware: Hardware
) -> tuple[Floats, Ints]:
    """Prices and rooms at every split, and as a last row what none of them is below."""
    pj = load_technology(hardware.technology).energy_pj
    macs = trimmed = layer.macs
    if problem.depthwise and problem.padding:
        trimmed = macs // (problem.y * problem.r) * rows_inside(problem)
    each = pj["multiply"] + (pj["add"] if adder_in_pe(design) else 0.0)
    word = pj["bus_per_bit"] * 8 * BLOCK
    p = np.zeros((len(SPLITS), kernel.PRICES))
    rooms = np.zeros((len(SPLITS), len(TENSORS)), dtype=np.int64)
    p[:, kernel.PER_CYCLE] = flip_flops(design) * pj["clock_per_bit"]
    for n, name in enumerate(TENSORS):
        read, write = _PRICES[name]
        banks = getattr(design, name).banks
        for row, split in enumerate(SPLITS):
            leak, p[row, read], p[row, write], rooms[row, n] = memory_of(
                hardware, n, split[n], banks
            )
            p[row, kernel.PER_CYCLE] += leak / hardware.clock_mhz * 1e3
    p[:, [kernel.ADD, kernel.HOP_8, kernel.HOP_32, kernel.WORD]] = (
        *(pj[name] for name in ("add", "register_8bit", "register_32bit")), word)  # fmt: skip
    stored = layer.output_elements * (pj["requantise"] + p[:, kernel.OUTPUT_READ])
    stored = stored + output_words(layer) * word
    p[:, kernel.FIXED], p[:, kernel.FIXED_TRIMMED] = macs * each + stored, trimmed * each + stored
    usable = np.isfinite(p[:, kernel.PER_CYCLE])
    below = p[usable].min(axis=0) if usable.any() else np.full(kernel.PRICES, np.inf)
    return np.vstack([p, below]), np.vstack([rooms, rooms.max(axis=0)])
