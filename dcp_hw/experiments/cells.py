"""Cells of an experiment: one search each, kept as a file, so that a stopped run goes on."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dcp_hw.baselines.methods import EXACT, ONE_SHOT, searcher
from dcp_hw.baselines.problem import Accelerator, Found, Objective, Problem
from dcp_hw.errors import InputError
from dcp_hw.progress import progress
from dcp_hw.workload import Layer, LayerSet

REFERENCE_BUDGET = 1_000_000
"""Samples that `exact` may use: the optima it proves are what others are compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is searched: every layer, objective, method and seed.

    Raises: InputError for an empty list or a name that is not known.
    """

    layers: LayerSet
    accelerator: Accelerator
    objectives: tuple[Objective, ...]
    methods: tuple[str, ...]
    budget: int
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("objectives", "methods", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise InputError(f"{name}: {list(values)}; accepted: at least one, each once")
        for method in self.methods:
            searcher(method)

    def _budget(self, method: str) -> int:
        """Samples of a layer; the reference for all others is not cut short by the budget."""
        return max(self.budget, REFERENCE_BUDGET) if method == EXACT else self.budget

    def cells(self) -> list[Cell]:
        """All cells; a method without chance has one seed, and layers that cannot run none."""
        return [
            Cell(layer, self.accelerator, objective, method, self._budget(method), seed)
            for objective in self.objectives
            for method in self.methods
            for seed in (self.seeds[:1] if method in ONE_SHOT else self.seeds)
            for layer in self.layers.layers
        ]


@dataclass(frozen=True, slots=True)
class Cell:
    """One search."""

    layer: Layer
    accelerator: Accelerator
    objective: Objective
    method: str
    budget: int
    seed: int

    @property
    def problem(self) -> Problem:
        """What is searched for."""
        return Problem(layer=self.layer, accelerator=self.accelerator, objective=self.objective)

    def path(self, folder: Path) -> Path:
        """The cell's file."""
        name = f"{self.layer.name}-{self.objective}-{self.budget}-seed{self.seed}.json"
        return folder / "cells" / self.method / name

    def key(self) -> dict[str, Any]:
        """What the result depends on."""
        layer = asdict(self.layer) | {"operator": str(self.layer.operator)}
        layer.pop("count")
        return {
            "layer": layer,
            "accelerator": asdict(self.accelerator),
            "objective": str(self.objective),
            "method": self.method,
            "budget": self.budget,
            "seed": self.seed,
        }

    def load(self, folder: Path) -> Found | None:
        """The stored result; None if there is none, or the model now gives another value."""
        try:
            content = json.loads(self.path(folder).read_text(encoding="utf-8"))
            if content["key"] != self.key():
                return None
            found = _found(content["found"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if found.mapping is None:
            return found
        problem = self.problem
        value = problem.value(*problem.costs(np.array([found.mapping])))[0]
        return found if math.isclose(value, found.value, rel_tol=1e-9) else None

    def save(self, folder: Path, found: Found) -> None:
        """Write the result; a stop leaves no half file."""
        path = self.path(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        values = asdict(found)
        for name in ("value", "cycles", "energy_nj"):
            values[name] = values[name] if math.isfinite(values[name]) else None
        beside = path.with_suffix(f".{os.getpid()}.part")
        beside.write_text(json.dumps({"key": self.key(), "found": values}), encoding="utf-8")
        beside.replace(path)


def _found(values: dict[str, Any]) -> Found:
    numbers = {
        name: math.inf if values[name] is None else float(values[name])
        for name in ("value", "cycles", "energy_nj")
    }
    mapping = values["mapping"]
    return Found(
        **(values | numbers)
        | {
            "mapping": None if mapping is None else tuple(tuple(row) for row in mapping),
            "trace": tuple((int(calls), float(value)) for calls, value in values["trace"]),
        }
    )


def fill(cells: Iterable[Cell], folder: Path, what: str) -> dict[Cell, Found]:
    """Results of all cells; those stored are read, the others searched and stored at once."""
    cells = list(cells)
    results = {}
    missing = []
    for cell in cells:
        found = cell.load(folder)
        if found is None:
            missing.append(cell)
        else:
            results[cell] = found
    with progress(what, len(missing)) as advance:
        for cell in missing:
            search = searcher(cell.method)
            found = search(cell.layer, cell.accelerator, cell.objective, cell.budget, cell.seed)
            cell.save(folder, found)
            results[cell] = found
            advance(1, f"{cell.method} {cell.layer.name} {cell.objective}")
    return {cell: results[cell] for cell in cells}
