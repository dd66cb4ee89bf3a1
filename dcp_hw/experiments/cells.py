"""Cells of an experiment: one search each, kept as a file, so that a stopped run goes on.

A cell searches the mapping of a layer, or the one mapping of a network. Its key holds everything
that the result depends on, the version of the method's code too: where that changes, only that
method's cells are searched again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dcp_hw.baselines.fixed import FIXED
from dcp_hw.baselines.methods import EXACT, ONE_SHOT, searcher
from dcp_hw.baselines.network import Network, search_network
from dcp_hw.baselines.problem import Accelerator, Found, Objective, Problem, Searchable
from dcp_hw.baselines.propagation import DCP, propagate_layers
from dcp_hw.errors import InputError
from dcp_hw.experiments.versions import version
from dcp_hw.progress import progress
from dcp_hw.workload import Layer, LayerSet

REFERENCE_BUDGET = 1_000_000
"""Samples that `exact` may use: the optima it proves are what others are compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is searched: every layer, objective, method and seed.

    Attributes:
        methods: names; NAME@N gives that method N samples instead of `budget`, and one seed.

    Raises: InputError for an empty list or a name that is not known.
    """

    layers: LayerSet
    accelerator: Accelerator
    objectives: tuple[Objective, ...]
    methods: tuple[str, ...]
    budget: int
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("objectives", "names", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                name = "methods" if name == "names" else name
                raise InputError(f"{name}: {list(values)}; accepted: at least one, each once")
        for method in self.names:
            searcher(method)

    @property
    def names(self) -> tuple[str, ...]:
        """The methods without their budgets."""
        return tuple(split(method, self.budget)[0] for method in self.methods)

    def _budget(self, method: str) -> tuple[str, int]:
        """Name and samples; the reference for all others is not cut short by the budget."""
        name, budget = split(method, self.budget)
        return name, max(budget, REFERENCE_BUDGET) if name == EXACT else budget

    def _group(self, method: str) -> LayerSet | None:
        """The layers that are moved together."""
        return self.layers if split(method, 1)[0] in DCP else None

    def cells(self) -> list[Cell]:
        """All cells; a method without chance has one seed."""
        return [
            Cell(
                layer, self.accelerator, objective, *self._budget(method), seed, self._group(method)
            )
            for objective in self.objectives
            for method in self.methods
            for seed in (self.seeds[:1] if method in ONE_SHOT or "@" in method else self.seeds)
            for layer in self.layers.layers
        ]


def split(method: str, budget: int) -> tuple[str, int]:
    """Name and samples of NAME or NAME@N. Raises: InputError for an N that is no number."""
    name, at, number = method.partition("@")
    if not at:
        return name, budget
    if not (number.isascii() and number.isdigit() and len(number) < 10 and int(number) > 0):
        raise InputError(f"method {method!r}; accepted: NAME or NAME@SAMPLES")
    return name, int(number)


@dataclass(frozen=True, slots=True)
class Cell:
    """One search, of a layer or of a network as a whole.

    Attributes:
        group: layers whose mappings are searched together with the layer's, in one batch.
    """

    subject: Layer | LayerSet
    accelerator: Accelerator
    objective: Objective
    method: str
    budget: int
    seed: int
    group: LayerSet | None = None

    @property
    def layer(self) -> Layer:
        """The layer of a cell that has one."""
        assert isinstance(self.subject, Layer)
        return self.subject

    @property
    def problem(self) -> Searchable:
        """What is searched for."""
        given = {"accelerator": self.accelerator, "objective": self.objective}
        if isinstance(self.subject, LayerSet):
            return Network(layers=self.subject, **given)
        return Problem(layer=self.subject, **given)

    def batch(self) -> list[Cell]:
        """The cells that one search fills: itself, or those of all layers of its group."""
        if self.group is None:
            return [self]
        return [replace(self, subject=layer) for layer in self.group.layers]

    def search(self) -> dict[Cell, Found]:
        """The outcome of each cell of its batch; takes as long as the search does."""
        cells = self.batch()
        if self.group is not None:
            problems = [cell.problem for cell in cells]
            found = propagate_layers(problems, self.method, self.budget, self.seed)
            return dict(zip(cells, found, strict=True))
        if isinstance(problem := self.problem, Network):
            return {self: search_network(self.method, problem, self.budget, self.seed)}
        search = searcher(self.method)
        given = (self.layer, self.accelerator, self.objective, self.budget, self.seed)
        return {self: search(*given)}

    def path(self, store: Path) -> Path:
        """The cell's file; equal names of other layers or machines do not meet."""
        return record_path(store, self.method, self._title, self.key())

    @property
    def _title(self) -> str:
        return f"{self.subject.name}-{self.objective}-{self.budget}-seed{self.seed}"

    def key(self) -> dict[str, Any]:
        """What the result depends on."""
        found = {
            "subject": subject_key(self.subject),
            "accelerator": asdict(self.accelerator),
            "objective": str(self.objective),
            "method": self.method,
            "version": version(self.method),
            "budget": self.budget,
            "seed": self.seed,
        }
        return found if self.group is None else found | {"group": subject_key(self.group)}

    def load(self, store: Path) -> Found | None:
        """The stored result; None if there is none, or the model now gives another value."""
        stored = read_record(self.path(store), self.key())
        try:
            found = None if stored is None else _found(stored)
        except (ValueError, KeyError, TypeError):
            return None
        if found is None or found.mapping is None:
            again = self.method in FIXED and isinstance(self.subject, LayerSet)
            return None if again else found  # no mapping to evaluate, and quickly made
        value = self.problem.evaluate(np.array([found.mapping]))[0][0]
        return found if math.isclose(value, found.value, rel_tol=1e-9) else None

    def save(self, store: Path, found: Found) -> None:
        """Write the result; a stop leaves no half file."""
        values = asdict(found)
        for name in ("value", "cycles", "energy_nj"):
            values[name] = values[name] if math.isfinite(values[name]) else None
        write_record(self.path(store), self.key(), values)


def subject_key(subject: Layer | LayerSet) -> Any:
    """A layer without its count, or a network with the counts, as JSON values."""
    if isinstance(subject, LayerSet):
        return [(subject_key(layer), layer.count) for layer in subject.layers]
    values = asdict(subject) | {"operator": str(subject.operator)}
    values.pop("count")
    return values


def record_path(store: Path, folder: str, title: str, key: dict[str, Any]) -> Path:
    """Where the record of a key is kept."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:8]
    return store / folder / f"{title}-{digest}.json"


def read_record(path: Path, key: dict[str, Any]) -> dict[str, Any] | None:
    """What was stored under a key; None if nothing was, the file is damaged, or the key another."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        same = content["key"] == json.loads(json.dumps(key))
        return content["found"] if same and isinstance(content["found"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_record(path: Path, key: dict[str, Any], found: dict[str, Any]) -> None:
    """Store a result; a stop leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.part")
    beside.write_text(json.dumps({"key": key, "found": found}), encoding="utf-8")
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


def fill(cells: Iterable[Cell], store: Path, what: str) -> dict[Cell, Found]:
    """Results of all cells; those stored are read, the others searched and stored at once."""
    cells = list(cells)
    results = {cell: found for cell in cells if (found := cell.load(store)) is not None}
    missing = [cell for cell in cells if cell not in results]
    with progress(what, len(missing)) as advance:
        for cell in missing:
            if cell not in results:  # otherwise searched together with another
                for each, found in cell.search().items():
                    each.save(store, found)
                    results[each] = found
            advance(1, f"{cell.method} {cell.subject.name} {cell.objective}")
    return {cell: results[cell] for cell in cells}
