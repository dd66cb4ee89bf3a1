"""Experiment `bridge`: MAESTRO's best dataflows on the RTL, Tensorlib's best ones in the models.

Both directions share hardware: as many PEs, as much memory in all (L2 and PE buffers), DRAM as wide
as one bus. docs/bridge.md says what is compared and how differences are taken apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dcp_hw import rtl
from dcp_hw.baselines.problem import Accelerator, Found, Objective
from dcp_hw.bridge.lower import Lowered, lower_dataflow
from dcp_hw.bridge.models import Cost, compat_of, honest_cost, honest_of, rtl_cost
from dcp_hw.bridge.reasons import NotBridged, Reason
from dcp_hw.bridge.share import shared_designs
from dcp_hw.bridge.upward import Raised, raise_mapping
from dcp_hw.errors import CheckFailed
from dcp_hw.experiments.cells import Plan, fill
from dcp_hw.hardware import Hardware
from dcp_hw.maestro.dataflow import Dataflow, Dim, Level
from dcp_hw.maestro.encoding import maestro_layer
from dcp_hw.maestro.honest_types import HonestLevel, HonestMachine
from dcp_hw.mapping import Mapping
from dcp_hw.mapspace import levels_of
from dcp_hw.measure import Job, Measurement, measure_all
from dcp_hw.metrics import Infeasible
from dcp_hw.progress import progress
from dcp_hw.work import Work
from dcp_hw.workload import Layer, LayerSet
from tensorlib.design import Design
from tensorlib.program import Exec

CAUSES = ("fill_drain", "config", "wait_load", "wait_store")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the experiment compares.

    Attributes:
        l1_bytes: of a PE's buffer in MAESTRO's machine; the L2 gets what the PEs leave.
        workers: processes of searches and simulations.
    """

    layers: LayerSet
    hardware: Hardware
    objective: Objective
    methods: tuple[str, ...]
    budget: int
    l1_bytes: int = 64
    seed: int = 1
    workers: int = 2

    @property
    def machine(self) -> HonestMachine:
        """MAESTRO's machine with the PEs, memory and input bus of the hardware."""
        hardware = self.hardware
        return HonestMachine(
            pes=hardware.pes,
            l1_size=self.l1_bytes,
            l2_size=hardware.sram_bytes - hardware.pes * self.l1_bytes,
            dram_bw=hardware.bus_in_bytes,
        )

    @property
    def both_buses(self) -> HonestMachine:
        """The machine with DRAM as wide as the input and the output bus together."""
        width = self.hardware.bus_in_bytes + self.hardware.bus_out_bytes
        return replace(self.machine, dram_bw=width)

    @property
    def accelerator(self) -> Accelerator:
        """The machine with the hardware's energies and clock."""
        return Accelerator(
            machine=self.machine,
            technology=self.hardware.technology,
            clock_mhz=self.hardware.clock_mhz,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A layer program on the RTL.

    Attributes:
        honest: of the dataflow of the program; compat: MAESTRO's cycles and nJ of it.
        execs: EXEC commands; each fills and drains the array.
    """

    design: Design
    mapping: Mapping
    cost: Cost
    counters: dict[str, int]
    execs: int
    raised: Raised | NotBridged
    honest: Cost | Infeasible
    compat: tuple[float, float] | Infeasible


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """A layer's best MAESTRO dataflow.

    Attributes:
        wide: by the honest model with DRAM as wide as both buses together.
        strict: whether it is lowered as it is, or the first thing that is in the way.
        measured: None where it is not lowered.
    """

    layer: Layer
    method: str
    dataflow: Dataflow
    honest: Cost
    wide: Cost
    compat: tuple[float, float] | Infeasible
    strict: Reason | None
    lowered: Lowered | NotBridged
    measured: Measured | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverse:
    """A layer's best Tensorlib design and program."""

    layer: Layer
    measured: Measured


def best_dataflows(setting: Setting, store: Path) -> dict[str, tuple[str, Found]]:
    """Layer name -> method and outcome of the best search under the honest model."""
    plan = Plan(
        layers=setting.layers,
        accelerator=setting.accelerator,
        objectives=(setting.objective,),
        methods=setting.methods,
        budget=setting.budget,
        seeds=(setting.seed,),
    )
    best: dict[str, tuple[str, Found]] = {}
    for cell, found in fill(plan.cells(), store, f"{setting.layers.name}: searches").items():
        known = best.get(cell.layer.name)
        if found.mapping is not None and (known is None or found.value < known[1].value):
            best[cell.layer.name] = cell.method, found
    return best


def forward(setting: Setting, store: Path) -> list[Forward]:
    """Every layer's best MAESTRO dataflow, lowered, generated and measured."""
    best = best_dataflows(setting, store)
    layers = [layer for layer in setting.layers if layer.name in best]
    levels = [levels_of(np.array(best[layer.name][1].mapping)) for layer in layers]
    found: list[Lowered | NotBridged] = []
    strict: list[Reason | None] = []
    with progress("bridge: lowering", len(layers)) as advance:
        for layer, own in zip(layers, levels, strict=True):
            aim = str(setting.objective)
            one = lower_dataflow(layer, own, setting.hardware, objective=aim)
            found.append(one)
            strict.append(_strict(one))
            advance(1, layer.name)
    lowered = [one for one in found if isinstance(one, Lowered)]
    designs = shared_designs(lowered, setting.hardware)
    works = [
        (one.layer, design, Work(one.program(design)))
        for one, design in zip(lowered, designs, strict=True)
    ]
    measured = dict(zip([one.layer.name for one in lowered], measure(setting, works), strict=True))
    return [
        Forward(
            layer=layer,
            method=best[layer.name][0],
            dataflow=dataflow_of(own),
            honest=_feasible(honest_cost(layer, own, setting.hardware, setting.machine)),
            wide=_feasible(honest_cost(layer, own, setting.hardware, setting.both_buses)),
            compat=_compat(layer, dataflow_of(own), setting.hardware),
            strict=kind,
            lowered=one,
            measured=measured.get(layer.name),
        )
        for layer, own, kind, one in zip(layers, levels, strict, found, strict=True)
    ]


def _strict(one: Lowered | NotBridged) -> Reason | None:
    """What is in the way of a dataflow as it is; the nearest program has the fewest changes."""
    if isinstance(one, NotBridged):
        return one.kind
    return one.changes[0] if one.changes else None


def _feasible(cost: Cost | Infeasible) -> Cost:
    if isinstance(cost, Infeasible):
        raise CheckFailed(f"the best dataflow cannot run: {cost.reason}")
    return cost


def _compat(
    layer: Layer, dataflow: Dataflow, hardware: Hardware
) -> tuple[float, float] | Infeasible:
    shape = maestro_layer(layer)
    if reason := dataflow.why_illegal(shape, hardware.pes):
        return Infeasible(reason)
    return compat_of(layer, dataflow, hardware, hardware.pes)


def dataflow_of(levels: Sequence[HonestLevel]) -> Dataflow:
    """Levels of the honest model as a dataflow, outermost first."""
    return Dataflow(
        tuple(
            Level(
                parallel=Dim(level.parallel),
                units=level.clusters or 1,
                order=tuple(Dim(dim) for dim in level.order),
                tile=tuple(level.tile[dim] for dim in level.order),
            )
            for level in levels
        )
    )


def reverse(setting: Setting, mode: str) -> list[Reverse]:
    """Every layer's program of the shipped search, measured, in both models."""
    from dcp_hw import explore
    from dcp_hw.explore import Choice, Known

    known = Known(setting.hardware, str(setting.objective), setting.workers)
    plan = explore.plan(mode, setting.layers, known)
    chosen = [
        choice
        for per_layer in plan.choices.values()
        for choice in per_layer.values()
        if isinstance(choice, Choice)
    ]
    order = [layer.name for layer in setting.layers]
    chosen.sort(key=lambda choice: order.index(choice.layer.name))
    works = [(choice.layer, choice.design, choice.work()) for choice in chosen]
    return [
        Reverse(layer=choice.layer, measured=one)
        for choice, one in zip(chosen, measure(setting, works), strict=True)
    ]


# --- measurement -----------------------------------------------------------------------------


def measure(setting: Setting, works: Sequence[tuple[Layer, Design, Work]]) -> list[Measured]:
    """Programs on the simulated Verilog, from the cache where they were run before.

    Raises: CheckFailed for a wrong value, or cycles that are not the predicted ones.
    """
    designs = list({design.hash(): design for _, design, _ in works}.values())
    made = dict(zip([design.hash() for design in designs], rtl.verilog(designs), strict=True))
    jobs = [Job(rtl=made[design.hash()], layer=layer, work=work) for layer, design, work in works]
    with progress("bridge: simulating layers", len(jobs)) as advance:
        results = measure_all(
            jobs,
            lambda job, _: advance(1, f"{job.layer.name} on {job.rtl.design.name}"),
            workers=setting.workers,
        )
    return [_measured(setting, job, results[n]) for n, job in enumerate(jobs)]


def _measured(setting: Setting, job: Job, result: Measurement) -> Measured:
    layer, design, program = job.layer, job.rtl.design, job.work.program
    predicted = job.work.prediction
    if not result.correct:
        raise CheckFailed(f"{layer.name} on {design.name}: {result.mismatches} wrong values")
    if predicted.latency_cycles != result.latency_cycles or any(
        result.counters[name] != number for name, number in predicted.counters.items()
    ):
        raise CheckFailed(f"{layer.name} on {design.name}: counted otherwise than predicted")
    up = raise_mapping(layer, design, program.mapping)
    whole = raise_mapping(layer, design, program.mapping, whole_filters=True, most_levels=None)
    hardware = setting.hardware
    return Measured(
        design=design,
        mapping=program.mapping,
        cost=rtl_cost(program, design, hardware, result.counters, result.latency_cycles),
        counters=dict(result.counters),
        execs=sum(isinstance(command, Exec) for command in program.commands),
        raised=up,
        honest=up if isinstance(up, NotBridged) else honest_of(up, hardware, setting.machine),
        compat=whole
        if isinstance(whole, NotBridged)
        else compat_of(whole.layer, whole.dataflow, hardware, whole.pes),
    )
