"""All methods by name, behind one protocol; other parts add theirs through `SEARCHERS`.

A module named in `PLUGINS` may hold `SEARCHERS: dict[str, Searcher]`. Its methods appear beside
these; one whose module is not there is reported as unknown.
"""

from __future__ import annotations

import importlib
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dcp_hw.baselines.blackbox import NEVERGRAD, naas, nevergrad_search, random_search
from dcp_hw.baselines.exact import SUBSPACE, exact
from dcp_hw.baselines.fixed import FIXED, fixed_search
from dcp_hw.baselines.genetic import Search, gamma, genetic
from dcp_hw.baselines.problem import (
    Accelerator,
    Budgeted,
    BudgetSpent,
    Found,
    Objective,
    Problem,
    Searchable,
)
from dcp_hw.errors import InputError
from dcp_hw.workload import Layer

PLUGINS = ("dcp_hw.optimise",)
OPTIONAL = ("torch", "safetensors")
"""Packages without which a plug-in has no methods."""


class Searcher(Protocol):
    """Anything that looks for the best mapping of a layer under a budget of exact evaluations."""

    def __call__(
        self,
        layer: Layer,
        accelerator: Accelerator,
        objective: Objective,
        budget: int,
        seed: int,
    ) -> Found:
        """The best mapping and the trace; at most `budget` samples, equal for equal seeds."""
        ...


@dataclass(frozen=True, slots=True)
class _Method:
    """A search on the shared space as a `Searcher`."""

    name: str
    search: Search

    def __call__(
        self, layer: Layer, accelerator: Accelerator, objective: Objective, budget: int, seed: int
    ) -> Found:
        problem = Problem(layer=layer, accelerator=accelerator, objective=objective)
        return run(self.name, self.search, problem, budget, seed)


def _exact(
    layer: Layer, accelerator: Accelerator, objective: Objective, budget: int, seed: int
) -> Found:
    """Branch and bound of the sub-space; the seed means nothing."""
    problem = Problem(layer=layer, accelerator=accelerator, objective=objective)
    return run(EXACT, lambda evaluate, _rng: exact(evaluate), problem, budget, seed, SUBSPACE)


EXACT = "exact"
_SEARCHES: dict[str, Search] = {
    "random": random_search,
    "ga": genetic,
    **{name: nevergrad_search(name) for name in NEVERGRAD},
    "gamma": gamma,
    "naas": naas,
    **{name: fixed_search(name) for name in FIXED},
}
METHODS: dict[str, Searcher] = {
    **{name: _Method(name, search) for name, search in _SEARCHES.items()},
    EXACT: _exact,
}
ONE_SHOT = (*FIXED, EXACT)
"""Methods in which no seed plays a part."""


def methods() -> dict[str, Searcher]:
    """All methods that there are, those of `PLUGINS` last."""
    found = dict(METHODS)
    for name in PLUGINS:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            absent = error.name or ""
            if absent and (name.startswith(absent) or absent.split(".")[0] in OPTIONAL):
                continue
            raise
        found |= getattr(module, "SEARCHERS", {})
    return found


def searcher(name: str) -> Searcher:
    """The method of a name. Raises: InputError that lists those there are."""
    known = methods()
    if name not in known:
        raise InputError(f"method {name!r} not found; have {', '.join(known)}")
    return known[name]


def run(
    name: str,
    search: Callable[[Budgeted, np.random.Generator], object],
    problem: Searchable,
    budget: int,
    seed: int,
    proves: str | None = None,
) -> Found:
    """The outcome of one search; equal arguments give equal outcomes, times aside.

    Args:
        proves: what is proven where the search ends before its budget.
    """
    evaluate = Budgeted(problem, budget)
    stream = zlib.crc32(f"{name} {problem.name} {problem.objective}".encode())
    rng = np.random.default_rng([seed, stream])
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        search(evaluate, rng)
    except BudgetSpent:
        proves = None
    mapping = evaluate.mapping
    return Found(
        method=name,
        value=evaluate.best,
        mapping=None if mapping is None else tuple(tuple(row) for row in mapping.tolist()),
        cycles=evaluate.cycles,
        energy_nj=evaluate.energy_nj,
        calls=evaluate.calls,
        invalid=evaluate.invalid,
        trace=tuple(evaluate.trace),
        seconds=time.perf_counter() - wall,
        cpu_seconds=time.process_time() - cpu,
        partial=evaluate.partial,
        proven=proves if mapping is not None else None,
    )
