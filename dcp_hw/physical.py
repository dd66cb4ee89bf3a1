"""What a design weighs: its memories, area, and the energy of counted events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dcp_hw.energy import AreaBreakdown, EnergyBreakdown, EnergyModel, Memory, area_mm2
from dcp_hw.hardware import Hardware
from tensorlib.design import Design, Operand

ROW_BITS = 128
STORE_LANES = 16
PRODUCT_BITS = 16
DIGIT_BITS = 32
LANE_BITS = 88
"""Lower bounds, base and select of one operand bank (docs/hardware.md, LANES entry)."""

COUNTED = (
    *("mac", "input_read", "weight_read", "output_read", "input_write", "weight_write"),
    *("output_write", "requantise", "bus_in_beat", "bus_out_beat", "hop_input", "hop_weight"),
    *("hop_output", "stationary_load", "tree_add", "accumulate"),
)
"""Counters of docs/hardware.md, section 9, that have a price."""


def memories(design: Design) -> dict[str, Memory]:
    """Memories by tensor; all banks of a tensor step together."""

    def operand(name: str, o: Operand) -> Memory:
        return Memory(name=name, rows=o.rows, width_bits=o.banks * ROW_BITS, banks=o.banks)

    output = design.output
    return {
        "input": operand("input", design.input),
        "weight": operand("weight", design.weight),
        "output": Memory(
            name="output",
            rows=output.words,
            width_bits=output.banks * design.acc_bits,
            banks=output.banks,
            element_bits=32,
        ),
    }


def flip_flops(design: Design) -> int:
    """Registers of the array in bits: PEs, links, chains, and the sums at exits."""
    per_pe = PRODUCT_BITS + 1
    for operand in (design.input, design.weight):
        if operand.temporal == "chain":
            per_pe += 16  # held and shadow
    if design.output.temporal == "chain":
        per_pe += 2 * design.acc_bits
    links = 8 * (design.input.link_registers + design.weight.link_registers)
    exits = 2 * design.acc_bits * design.output.banks  # arrived and running sum
    sums = design.acc_bits * design.output.link_registers
    if design.window is not None:
        per_pe += DIGIT_BITS  # where its window begins
    return design.pes * per_pe + links + sums + exits


def adder_in_pe(design: Design) -> bool:
    """Whether each product is added in its own PE."""
    return design.output.temporal == "chain"


@lru_cache(maxsize=4096)
def area(design: Design, technology: str) -> AreaBreakdown:
    """Area by part in mm2: memories, PEs, registers, adders, requantisation; no wires."""
    in_pe = adder_in_pe(design)
    exits = design.output.banks
    return area_mm2(
        memories(design),
        design.pes,
        flip_flops(design) + LANE_BITS // 2 * (design.input.banks + design.weight.banks),
        exits + design.tree_adds_per_step,
        technology,
        adder_in_pe=in_pe,
        requantisers=STORE_LANES,
    )


@lru_cache(maxsize=4096)
def energy_model(design: Design, hardware: Hardware) -> EnergyModel:
    """Prices of a design's events; a beat is as wide as the design's bus."""
    return EnergyModel(
        memories(design),
        replace(hardware, bus_in_bits=design.in_bits, bus_out_bits=design.out_bits),
        ff_bits_per_pe=flip_flops(design) / design.pes,
        adder_in_pe=adder_in_pe(design),
    )


def events(design: Design, counters: Mapping[str, ArrayLike], cycles: ArrayLike) -> dict[str, Any]:
    """Priced events of one run, or of many (arrays of one shape).

    A stored value is one more read of its output word; a PE that does not fire is idle.
    """
    found: dict[str, Any] = {name: np.asarray(counters[name]) for name in COUNTED}
    found["output_read"] = found["output_read"] + found["requantise"]
    found["pe_idle"] = np.asarray(cycles) * design.pes - found["mac"]
    if adder_in_pe(design):
        # additions in the PE are part of its MAC; what is left happens at the banks
        found["accumulate"] = found["accumulate"] - found["mac"]
    return found


def energy(
    design: Design, hardware: Hardware, counters: Mapping[str, int], cycles: int
) -> EnergyBreakdown:
    """Energy by part of one run, in nJ."""
    model = energy_model(design, hardware)
    counts = {name: int(value) for name, value in events(design, counters, cycles).items()}
    return model.breakdown(counts, cycles)


def energy_nj(
    design: Design, hardware: Hardware, counters: Mapping[str, ArrayLike], cycles: ArrayLike
) -> NDArray[np.float64]:
    """Total energy in nJ of many runs of one design."""
    return energy_model(design, hardware).total_nj(events(design, counters, cycles), cycles)
