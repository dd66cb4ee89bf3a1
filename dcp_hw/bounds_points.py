"""Least cycles and energy of layers on every array shape at every memory split, many at once.

What `dcp_hw.bounds` says of an array shape, with what its memories cost: leakage while it works,
and a write and a read of every output. For choosing the shapes that `bounds_programs` looks at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dcp_hw.axes import axes_of
from dcp_hw.candidates import MAX_ROWS, MAX_WORDS, PARAM_ROWS, SPLITS, Style
from dcp_hw.energy import Memory
from dcp_hw.funnel_field import Field
from dcp_hw.hardware import Hardware
from dcp_hw.problem import BLOCK, ceil_div, problem_of
from dcp_hw.technology import load_technology
from dcp_hw.workload import Layer, LayerSet

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
TENSORS = ("input", "weight", "output")
_SMALL = 3
"""Sides of arrays whose columns no bank of several ports divides."""


@dataclass(frozen=True, slots=True)
class Prices:
    """One tensor's memories: mW of both buffers of all banks, pJ of a read and a write of one.

    Attributes:
        leak, read, write: splits x points; infinite where a bank would be empty.
        rows: rows of a bank (words of an output bank), splits x points.
    """

    leak: Floats
    read: Floats
    write: Floats
    rows: Ints


class PointTable:
    """Points of a field with what their memories cost.

    Attributes:
        banks: of input, weight and output, one number per point.
        prices: of input, weight and output.
    """

    def __init__(self, styles: Sequence[Style], layers: LayerSet, hardware: Hardware) -> None:
        self.field = Field(styles, layers, hardware)
        self.hardware = hardware
        points = self.field.points
        self._numbers = {layer.name: n for n, layer in enumerate(layers)}
        self.rows = np.array([point.rows for point in points])
        self.cols = np.array([point.cols for point in points])
        kinds = [_kind(point.style) for point in points]
        group = np.ones_like(self.cols)
        for size in (2, 4, 8, 16):
            group = np.where(self.cols % size == 0, size, group)
        self.banks: list[Ints] = []
        for n, tensor in enumerate(TENSORS):
            powers = np.array([kind.powers[n] for kind in kinds])
            banks = self.rows ** powers[:, 0] * self.cols ** powers[:, 1]
            if tensor != "output":
                shared = np.array([point.style.shared_banks[n] for point in points])
                banks = np.where(shared, banks // group, banks)
            if tensor == "input":
                diagonal = np.array([kind.diagonal for kind in kinds])
                banks = np.where(diagonal, self.rows + self.cols - 1, banks)
            self.banks.append(banks)
        per_pe = np.array([kind.bits_per_pe for kind in kinds])
        self.clocked_bits = self.rows * self.cols * per_pe + 64 * self.banks[2]
        self.clears = np.array([point.style.shared_banks[0] for point in points])
        self.prices = [self._prices(n) for n in range(3)]

    def _prices(self, tensor: int) -> Prices:
        banks, inverse = np.unique(self.banks[tensor], return_inverse=True)
        found = np.array(
            [
                [memory_of(self.hardware, tensor, split[tensor], int(n)) for n in banks]
                for split in SPLITS
            ]
        )[:, inverse]
        return Prices(*(found[:, :, i] for i in range(3)), found[:, :, 3].astype(np.int64))

    def values(self, number: int, layer: Layer, objective: str) -> Floats:
        """Lower bounds of one occurrence of a layer of the field, splits x points."""
        pj = load_technology(self.hardware.technology).energy_pj
        cycles = np.maximum(self.field.cycles[number], self._loading(layer)).astype(float)
        bus = pj["bus_per_bit"] * 8 * BLOCK * 1e-3
        words = least_input_words(layer) - ceil_div(layer.input_bytes, BLOCK)
        leak = sum(prices.leak for prices in self.prices)
        held = 17 * self.rows * self.cols  # bits that the bound of the point has already
        clock = (self.clocked_bits - held) * (pj["clock_per_bit"] * 1e-3)
        stored = layer.output_elements * (self.prices[2].read + self.prices[2].write) * 1e-3
        clocked = (cycles - self.field.cycles[number]) * held * (pj["clock_per_bit"] * 1e-3)
        energy = self.field.energy_nj[number] + clocked + stored + words * bus
        for prices, count in zip(
            self.prices, (layer.input_bytes, layer.weight_bytes), strict=False
        ):
            energy = energy + count / BLOCK * (prices.read + prices.write) * 1e-3
        energy = energy + cycles * (clock + leak / self.hardware.clock_mhz)
        if objective == "latency":
            return np.where(np.isfinite(energy), cycles, np.inf)
        return energy if objective == "energy" else energy * cycles

    def least_cycles(self, point: int, layer: Layer) -> int:
        """Cycles that no program of a layer is below."""
        number = self._numbers[layer.name]
        return int(max(self.field.cycles[number, point], self._loading(layer)[point]))

    @lru_cache(maxsize=64)  # noqa: B019 (a table lives as long as the program)
    def _loading(self, layer: Layer) -> Ints:
        """Cycles of loading a depthwise layer with its columns of padding."""
        problem = problem_of(layer)
        if not problem.depthwise:
            return np.zeros_like(self.rows)
        beats = 128 // self.hardware.bus_in_bits
        taps = (problem.s - 1) * problem.dilation
        columns = max(problem.in_x, (problem.x - 1) * problem.stride + taps + 1)
        rows = min(problem.in_y, (problem.y - 1) * problem.stride + problem.r)
        words = problem.blocks_in * rows * columns
        config = 8 + self.rows + self.cols
        return np.where(self.clears, 0, config * beats + words)


def least_input_words(layer: Layer) -> int:
    """Words that have to be loaded of a layer's input: as it lies in memory, if all is needed."""
    problem, least = problem_of(layer), ceil_div(layer.input_bytes, BLOCK)
    taps = ((problem.r - 1) * problem.dilation, (problem.s - 1) * problem.dilation)
    whole = min(taps) + 1 >= problem.stride and problem.pick == 1 and not problem.patch
    needed = [(n - 1) * problem.stride + more + 1 - problem.padding
              for n, more in zip((problem.y, problem.x), taps, strict=True)]  # fmt: skip
    if not whole or needed[0] < problem.in_y or needed[1] < problem.in_x:
        return 0 if not problem.row else least
    return max(least, problem.batch * problem.input_words)


@dataclass(frozen=True, slots=True)
class _Kind:
    powers: tuple[tuple[int, int], ...]  # per tensor: of rows and columns
    bits_per_pe: int
    diagonal: bool


@lru_cache(maxsize=1024)
def _kind(style: Style) -> _Kind:
    """How banks and registers grow with the array."""
    n = _SMALL
    small, tall, wide = (
        style.array(r, c, depth=1, words=1) for r, c in ((n, n), (n * n, n), (n, n * n))
    )
    powers = []
    for tensor in TENSORS:
        banks = [getattr(design, tensor).banks for design in (small, tall, wide)]
        powers.append((round(np.log(banks[1] / banks[0]) / np.log(n)),
                       round(np.log(banks[2] / banks[0]) / np.log(n))))  # fmt: skip
    bits = 17 + 16 * sum(operand.temporal == "chain" for _, operand in small.operands)
    bits += 64 * (small.output.temporal == "chain")
    return _Kind(tuple(powers), bits, axes_of(small).diagonal)


@lru_cache(maxsize=1 << 14)
def memory_of(
    hardware: Hardware, tensor: int, share: int, banks: int
) -> tuple[float, float, float, int]:
    """mW, pJ of a read, pJ of a write and rows of a tensor's banks, as `candidates.design_of`."""
    room = (hardware.sram_bytes - 2 * PARAM_ROWS * 112) * share // 20
    operand = tensor < 2
    rows = min(MAX_ROWS, room // (32 * banks)) if operand else min(MAX_WORDS, room // (8 * banks))
    if rows < 1:
        return np.inf, 0.0, 0.0, 0
    width, element = (8 * BLOCK, 8) if operand else (32, 32)
    memory = Memory(name="m", rows=rows, width_bits=width * banks, banks=banks,
                    element_bits=element)  # fmt: skip
    table = load_technology(hardware.technology)
    return memory.leak_mw(table), memory.read_pj(table, 1 / banks), memory.write_pj(
        table, 1 / banks), rows  # fmt: skip
