"""What a search minimises, and the one evaluator that counts every sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dcp_hw.errors import InputError
from dcp_hw.maestro.honest_energy import energy, honest_layers
from dcp_hw.maestro.honest_fast import (
    FEASIBLE,
    HonestBatch,
    evaluate_batch,
    layer_row,
    machine_row,
)
from dcp_hw.maestro.honest_types import HonestLayer, HonestMachine
from dcp_hw.mapspace import MapSpace
from dcp_hw.metrics import Infeasible
from dcp_hw.technology import DEFAULT_TECHNOLOGY
from dcp_hw.workload import Layer

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


class Objective(StrEnum):
    """What is minimised: cycles, nJ, or cycles x nJ."""

    LATENCY = "latency"
    ENERGY = "energy"
    EDP = "edp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """Resources of a machine, and what energy is computed with."""

    machine: HonestMachine
    technology: str = DEFAULT_TECHNOLOGY
    clock_mhz: float = 500.0


GAMMA_ACCELERATOR = Accelerator(
    machine=HonestMachine(pes=168, l1_size=512, l2_size=108_000, noc_bw=81_920_000, noc_latency=1)
)
"""The hardware of GAMMA's and DCP's experiments: bandwidth is no limit there."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One layer on one accelerator under one objective.

    Raises: InputError for a layer that the honest model cannot express.
    """

    layer: Layer
    accelerator: Accelerator
    objective: Objective
    levels: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "objective", Objective(self.objective))
        if isinstance(found := honest_layers(self.layer), Infeasible):
            raise InputError(f"layer '{self.layer.name}': {found.reason}")

    @cached_property
    def shape(self) -> tuple[HonestLayer, int]:
        """The convolution that runs, and how many times (groups, batches)."""
        found = honest_layers(self.layer)
        assert not isinstance(found, Infeasible)
        return found

    @cached_property
    def space(self) -> MapSpace:
        """The legal mappings."""
        return MapSpace(self.shape[0], self.accelerator.machine.pes, self.levels)

    def costs(self, mappings: Integers) -> tuple[Floats, Floats]:
        """Cycles and nJ of one occurrence of the layer for n mappings; inf where infeasible.

        Args:
            mappings: n x depth x 14.
        """
        one, times = self.shape
        cycles, nj = costs_of(np.array([layer_row(one)]), mappings, self.accelerator)
        return cycles * times, nj * times

    @property
    def name(self) -> str:
        """What is searched."""
        return self.layer.name

    def value(self, cycles: Floats, nj: Floats) -> Floats:
        """The objective from its parts."""
        if self.objective is Objective.LATENCY:
            return cycles
        return nj if self.objective is Objective.ENERGY else cycles * nj

    def evaluate(self, mappings: Integers) -> tuple[Floats, Floats, Floats]:
        """Objective, cycles and nJ of n mappings; inf where infeasible."""
        cycles, nj = self.costs(mappings)
        return self.value(cycles, nj), cycles, nj


def costs_of(
    layers: Integers, mappings: Integers, accelerator: Accelerator
) -> tuple[Floats, Floats]:
    """Cycles and nJ of one run of n mappings; inf where infeasible.

    Args:
        layers: n x 11 or 1 x 11, as `layer_row`; mappings: n x depth x 14.
    """
    batch = evaluate_batch(layers, np.array([machine_row(accelerator.machine)]), mappings)
    done = batch.reason == FEASIBLE
    cycles, nj = np.full((2, len(mappings)), np.inf)
    kept = HonestBatch(batch.reason[done], batch.cycles[done], batch.counts[done])
    price = energy(
        kept,
        np.shape(mappings)[1],
        technology=accelerator.technology,
        clock_mhz=accelerator.clock_mhz,
    )
    cycles[done], nj[done] = kept.cycles, price.total_nj
    return cycles, nj


class Searchable(Protocol):
    """What mappings are searched for: one layer, or a network that shares a mapping."""

    @property
    def name(self) -> str: ...

    @property
    def objective(self) -> Objective: ...

    @property
    def space(self) -> MapSpace: ...

    def evaluate(self, mappings: Integers) -> tuple[Floats, Floats, Floats]:
        """Objective, cycles and nJ of n mappings; inf where infeasible."""
        ...


class BudgetSpent(Exception):
    """The evaluator was asked for more samples than were left."""


@dataclass(slots=True)
class Budgeted:
    """The only way to the costs of mappings: counts samples and keeps the best.

    Every row counts, infeasible, illegal or asked before. A batch that exceeds the budget is
    evaluated as far as the budget goes; then `BudgetSpent` ends the search. A row outside the legal
    space counts and has no value.
    """

    problem: Searchable
    budget: int
    calls: int = 0
    invalid: int = 0
    best: float = np.inf
    mapping: Integers | None = None  # levels x 14
    cycles: float = np.inf
    energy_nj: float = np.inf
    trace: list[tuple[int, float]] = field(default_factory=list)  # calls -> best, at improvements
    partial: int = 0  # incomplete mappings that a bound was computed for; no samples
    watch: Callable[[Integers, Floats, Floats], None] | None = None  # mappings, cycles, nJ

    def __post_init__(self) -> None:
        if not isinstance(self.budget, int) or self.budget < 1:
            raise InputError(f"budget is {self.budget!r}; accepted: an integer of at least 1")

    @property
    def left(self) -> int:
        """Samples that may still be asked."""
        return self.budget - self.calls

    def __call__(self, mappings: Integers) -> Floats:
        """Objective of n mappings (n x depth x 14), inf for invalid ones.

        Raises: BudgetSpent if they are more than were left.
        """
        asked = len(mappings)
        mappings = np.asarray(mappings, dtype=np.int64)[: self.left]
        values = self._costs(mappings) if len(mappings) else np.empty(0)
        if asked > len(mappings):
            raise BudgetSpent
        return values

    def _costs(self, mappings: Integers) -> Floats:
        legal = _legal(self.problem.space, mappings)
        values, cycles, nj = np.full((3, len(mappings)), np.inf)
        values[legal], cycles[legal], nj[legal] = self.problem.evaluate(mappings[legal])
        values[~np.isfinite(cycles)] = np.inf
        if self.watch:
            self.watch(mappings, cycles, nj)
        lowest = np.minimum.accumulate(np.minimum(values, self.best))
        before = np.concatenate([[self.best], lowest[:-1]])
        for i in np.flatnonzero(lowest < before).tolist():
            self.trace.append((self.calls + i + 1, float(lowest[i])))
        at = int(values.argmin())
        if values[at] < self.best:
            self.best, self.mapping = float(values[at]), mappings[at].copy()
            self.cycles, self.energy_nj = float(cycles[at]), float(nj[at])
        self.calls += len(mappings)
        self.invalid += int((~np.isfinite(values)).sum())
        return values


def _legal(space: MapSpace, mappings: Integers) -> NDArray[np.bool_]:
    """Which of n mappings are legal; any depth."""
    tiles, orders = mappings[:, :, 8:14], mappings[:, :, 2:8]
    above = np.concatenate(
        [np.broadcast_to(space.sizes, (len(mappings), 1, 6)), tiles[:, :-1]], axis=1
    )
    fine = ((tiles >= 1) & (tiles <= above)).all(axis=(1, 2))
    fine &= (np.sort(orders, axis=2) == np.arange(6)).all(axis=(1, 2))
    fine &= ((mappings[:, :, 1] >= 0) & (mappings[:, :, 1] < 6)).all(axis=1)
    units = mappings[:, :, 0]
    fine &= (units >= 1).all(axis=1)
    return fine & (units.astype(np.float64).prod(axis=1) <= space.pes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The outcome of one search.

    Attributes:
        value: the objective of the best mapping; inf if none is feasible.
        calls: samples used, `invalid` of them infeasible or illegal.
        trace: (calls, best value) at each improvement.
        seconds: wall time; cpu_seconds: of this process.
        proven: what the value is the proven optimum of, if anything.
        partial: incomplete mappings that a bound was computed for; they are no samples.
        training_samples: samples that a predictor learned from beforehand.
    """

    method: str
    value: float
    mapping: tuple[tuple[int, ...], ...] | None
    cycles: float
    energy_nj: float
    calls: int
    invalid: int
    trace: tuple[tuple[int, float], ...]
    seconds: float
    cpu_seconds: float
    proven: str | None = None
    partial: int = 0
    training_samples: int = 0
