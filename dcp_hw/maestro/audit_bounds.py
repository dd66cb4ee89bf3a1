"""The least that a layer or a network takes: MACs, compulsory traffic, energy.

The floors hold for every dense accelerator that runs layers one after another: each MAC is done
(those on padding too), each element of the input that some MAC reads and each weight enters once,
each output leaves once. Elements are bytes. docs/audit.md says what they leave out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcp_hw.technology import Technology
from dcp_hw.workload import Layer

_WORD_ELEMENTS = 8

Count = int | NDArray[np.int64]


class Part(StrEnum):
    """A part of an energy that a floor covers."""

    MAC = "mac"
    SRAM = "sram"  # on-chip memory nearest to DRAM
    DRAM = "dram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The least that one run of something takes; times are for the given resources.

    Attributes:
        entering: elements of inputs and weights; leaving: elements of outputs.
    """

    macs: int
    entering: int
    leaving: int
    compute_cycles: int
    entering_cycles: int | None = None
    leaving_cycles: int | None = None


def floor(
    layers: Iterable[tuple[Layer, int]],
    *,
    units: int,
    bandwidth: int | None = None,
    fused: bool = False,
) -> Floor:
    """The floor of layers, each run a number of times.

    Args:
        layers: (layer, times).
        units: MACs per cycle at most.
        bandwidth: elements per cycle and direction; None: unlimited.
        fused: layers overlap and activations stay on chip, so that only weights must move.
    """
    macs = entering = leaving = compute = inwards = outwards = 0
    for layer, times in layers:
        loads = layer.weight_bytes + (0 if fused else layer.input_bytes)
        stores = 0 if fused else layer.output_bytes
        macs += times * layer.macs
        entering += times * loads
        leaving += times * stores
        compute += times * ceil_div(layer.macs, units)
        inwards += times * ceil_div(loads, bandwidth or 1)
        outwards += times * ceil_div(stores, bandwidth or 1)
    if fused:
        compute, inwards = ceil_div(macs, units), ceil_div(entering, bandwidth or 1)
    return Floor(
        macs=macs,
        entering=entering,
        leaving=leaving,
        compute_cycles=compute,
        entering_cycles=inwards if bandwidth else None,
        leaving_cycles=outwards if bandwidth else None,
    )


def energy_floor_nj(
    macs: Count, entering: Count, leaving: Count, technology: Technology, parts: frozenset[Part]
) -> Any:
    """Energy in nJ of MACs and of compulsory traffic in elements, by the parts asked for.

    SRAM: what enters is written and read once, what leaves is written once, at the price of the
    cheapest memory of the table. DRAM: everything crosses the bus once.

    Returns: a number, or an array for arrays.
    """
    prices = technology.energy_pj
    word = technology.memory(1, 8 * _WORD_ELEMENTS, _WORD_ELEMENTS)
    read, write = word.read_pj / _WORD_ELEMENTS, word.write_pj / _WORD_ELEMENTS
    picojoules = {
        Part.MAC: macs * (prices["multiply"] + prices["add"]),
        Part.SRAM: entering * (read + write) + leaving * write,
        Part.DRAM: (entering + leaving) * 8 * prices["bus_per_bit"],
    }
    return sum(picojoules[part] for part in Part if part in parts) / 1000


def ceil_div(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)
