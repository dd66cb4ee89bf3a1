"""Cost models on one dataflow: the honest model by parts, compat, and counters of the RTL."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dcp_hw import physical
from dcp_hw.bridge.upward import Raised
from dcp_hw.hardware import Hardware
from dcp_hw.lowering import Program
from dcp_hw.maestro.compat import GAMMA_HARDWARE
from dcp_hw.maestro.compat_evaluator import CompatEvaluator
from dcp_hw.maestro.dataflow import Dataflow
from dcp_hw.maestro.honest_energy import energy, honest_layers
from dcp_hw.maestro.honest_fast import (
    batch_counts,
    evaluate_batch,
    layer_row,
    machine_row,
    mapping_rows,
)
from dcp_hw.maestro.honest_maestro import dataflow_levels
from dcp_hw.maestro.honest_types import HonestLevel, HonestMachine
from dcp_hw.metrics import Infeasible
from dcp_hw.problem import BLOCK
from dcp_hw.workload import Layer
from tensorlib.design import Design
from tensorlib.program import Load

PARTS = ("dram", "memories", "logic", "leakage")
"""Parts of the energy that both models have."""

TRAFFIC = ("input", "weight", "output", "params", "commands")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a model or a measurement says of one occurrence of a layer.

    Attributes:
        steps: cycles in which PEs work, without waiting.
        parts_nj: energy by `PARTS`.
        dram: bytes by `TRAFFIC`; an element is one byte, models have no parameters or commands.
    """

    cycles: int
    steps: int
    parts_nj: dict[str, float]
    dram: dict[str, int]

    @property
    def energy_nj(self) -> float:
        """Sum of the parts."""
        return sum(self.parts_nj.values())


def honest_cost(
    layer: Layer,
    levels: tuple[HonestLevel, ...],
    hardware: Hardware,
    machine: HonestMachine,
) -> Cost | Infeasible:
    """The honest model's cost of a dataflow; `steps` from a machine that never waits."""
    shapes = honest_layers(layer)
    if isinstance(shapes, Infeasible):
        return shapes
    one, times = shapes
    free = HonestMachine(pes=machine.pes)
    row = mapping_rows(levels)
    machines = np.array([machine_row(machine), machine_row(free)])
    batch = evaluate_batch(np.array([layer_row(one)]), machines, np.array([row, row]))
    counts = batch_counts(batch, 0, len(levels), machine, levels)
    if isinstance(counts, Infeasible):
        return counts
    split = energy(batch, len(levels), technology=hardware.technology, clock_mhz=hardware.clock_mhz)
    names = {
        "dram": ("dram",),
        "memories": ("l2", "buffers", "pe"),
        "logic": ("mac",),
        "leakage": ("leakage",),
    }
    moved = counts.supplied[0]
    return Cost(
        cycles=counts.cycles * times,
        steps=int(batch.cycles[1]) * times,
        parts_nj={
            part: sum(float(getattr(split, name)[0]) for name in own) * times
            for part, own in names.items()
        },
        dram={
            "input": moved[0] * times,
            "weight": moved[1] * times,
            "output": (moved[2] + counts.collected[0]) * times,
            "params": 0,
            "commands": 0,
        },
    )


def honest_of(raised: Raised, hardware: Hardware, machine: HonestMachine) -> Cost | Infeasible:
    """The honest model's cost of a raised dataflow, however large its buffers."""
    levels = dataflow_levels(raised.dataflow)
    if isinstance(levels, Infeasible):
        return levels
    return honest_cost(raised.layer, levels, hardware, replace(machine, l1_size=None, l2_size=None))


def compat_of(
    layer: Layer, dataflow: Dataflow, hardware: Hardware, pes: int
) -> tuple[float, float] | Infeasible:
    """MAESTRO's cycles and nJ (its screen's) of a dataflow on so many PEs."""
    machine = replace(GAMMA_HARDWARE, pes=pes)
    found = CompatEvaluator(machine).evaluate(layer, dataflow, replace(hardware, pes=pes))
    if isinstance(found, Infeasible):
        return found
    return found.latency_cycles, found.energy_nj


def rtl_cost(
    program: Program, design: Design, hardware: Hardware, counters: dict[str, int], cycles: int
) -> Cost:
    """A measured run in the words of the models."""
    parts = physical.energy(design, hardware, counters, cycles).parts()
    own = {
        "dram": [name for name in parts if name.startswith("bus_")],
        "memories": [name for name in parts if name.endswith("_sram")],
        "leakage": ["leakage"],
    }
    taken = {name for names in own.values() for name in names}
    own["logic"] = [name for name in parts if name not in taken]
    loads = {"input": 0, "weight": 0, "params": 0}
    for command in program.commands:
        if isinstance(command, Load):
            loads[command.tensor] += command.data_words * BLOCK
    bytes_in = counters["bus_in_beat"] * design.in_bits // 8
    return Cost(
        cycles=cycles,
        steps=counters["compute"],
        parts_nj={part: sum(parts[name] for name in own[part]) for part in PARTS},
        dram={
            "input": loads["input"],
            "weight": loads["weight"],
            "output": counters["bus_out_beat"] * design.out_bits // 8,
            "params": loads["params"],
            "commands": bytes_in - sum(loads.values()),
        },
    )
