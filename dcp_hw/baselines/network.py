"""Model level: one mapping for all layers of a network, and the searches of it.

A mapping lives in the space of the largest sizes of all layers. On a layer it runs clipped to that
layer, so that it is legal there; it is feasible only if it is on every layer. The objective is the
sum over layers of count x the layer's value, as in Table 1. A sample is one mapping, evaluated on
every layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dcp_hw.baselines.blackbox import NEVERGRAD, naas, nevergrad_search, random_search
from dcp_hw.baselines.bounds import bound
from dcp_hw.baselines.fixed import FIXED
from dcp_hw.baselines.genetic import Search, gamma, genetic
from dcp_hw.baselines.methods import METHODS, run
from dcp_hw.baselines.problem import (
    Accelerator,
    Budgeted,
    Floats,
    Found,
    Integers,
    Objective,
    Problem,
    costs_of,
)
from dcp_hw.baselines.propagation import DCP, propagation
from dcp_hw.errors import InputError
from dcp_hw.maestro.honest_fast import layer_row
from dcp_hw.maestro.honest_types import DIMS, HonestLayer
from dcp_hw.mapspace import MapSpace
from dcp_hw.workload import LayerSet

Weights = tuple[float, float]
"""Of latency and energy; they sum to 1."""

_WEIGHTS: dict[Objective, Weights] = {
    Objective.LATENCY: (1.0, 0.0),
    Objective.ENERGY: (0.0, 1.0),
    Objective.EDP: (0.5, 0.5),
}


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network whose layers share one mapping, on one accelerator.

    Attributes:
        weights: of latency and energy in a layer's value; those of the objective if left out. With
            both above 0 the value is cycles^2l x nJ^2e, so that equal weights make the product.

    Raises: InputError for weights that are no shares, or a layer the honest model cannot express.
    """

    layers: LayerSet
    accelerator: Accelerator
    objective: Objective = Objective.EDP
    weights: Weights | None = None
    levels: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "objective", Objective(self.objective))
        weights = self.weights or _WEIGHTS[self.objective]
        if min(weights) < 0 or abs(sum(weights) - 1) > 1e-6:
            raise InputError(f"weights {weights}; accepted: two shares that sum to 1")
        object.__setattr__(self, "weights", weights)
        assert self.problems

    @property
    def name(self) -> str:
        """The network's name."""
        return self.layers.name

    @property
    def counts(self) -> tuple[int, ...]:
        """Occurrences of each layer."""
        return tuple(layer.count for layer in self.layers.layers)

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """Its layers one by one."""
        return tuple(
            Problem(
                layer=layer,
                accelerator=self.accelerator,
                objective=self.objective,
                levels=self.levels,
            )
            for layer in self.layers.layers
        )

    @cached_property
    def space(self) -> MapSpace:
        """Mappings of a layer as large as the largest in each dimension."""
        sizes = np.max([problem.space.sizes for problem in self.problems], axis=0)
        shape = HonestLayer(**dict(zip(DIMS, map(int, sizes), strict=True)))
        return MapSpace(shape, self.accelerator.machine.pes, self.levels)

    @property
    def powers(self) -> Weights:
        """Powers of cycles and nJ in a layer's value."""
        latency, energy = self.weights or _WEIGHTS[self.objective]
        return (2 * latency, 2 * energy) if latency > 0 and energy > 0 else (latency, energy)

    def layer_costs(self, mappings: Integers) -> Floats:
        """Cycles and nJ of one occurrence of each layer: layers x 2 x n; inf where infeasible."""
        shapes, times = zip(*(problem.shape for problem in self.problems), strict=True)
        own = np.concatenate([problem.space.clip(mappings) for problem in self.problems])
        rows = np.repeat([layer_row(shape) for shape in shapes], len(mappings), axis=0)
        costs = np.stack(costs_of(rows, own, self.accelerator))
        costs = costs.reshape(2, len(shapes), len(mappings)).swapaxes(0, 1)
        return costs * np.array(times)[:, None, None]

    def evaluate(self, mappings: Integers) -> tuple[Floats, Floats, Floats]:
        """Objective, cycles and nJ of n mappings, of the whole network; inf where infeasible."""
        costs = self.layer_costs(mappings)
        counts = np.array(self.counts, dtype=np.float64)
        cycles, nj = counts @ costs[:, 0], counts @ costs[:, 1]
        latency, energy = self.powers
        return counts @ (costs[:, 0] ** latency * costs[:, 1] ** energy), cycles, nj

    def least(self) -> tuple[float, float, float]:
        """Sums of the layers' lower bounds: of the objective, cycles and nJ."""
        bounds = [bound(problem) for problem in self.problems]
        latency, energy = self.powers
        values = [(b.cycles**latency * b.energy_nj**energy, b.cycles, b.energy_nj) for b in bounds]
        sums = np.array(self.counts) @ np.array(values)
        return float(sums[0]), float(sums[1]), float(sums[2])


# --- searches ----------------------------------------------------------------------------

NetworkSearch = Callable[[Network, int, int], Found]
"""Network, budget of samples and seed -> the best shared mapping."""

_SEARCHES: dict[str, Search] = {
    "random": random_search,
    "ga": genetic,
    **{name: nevergrad_search(name) for name in NEVERGRAD},
    "gamma": gamma,
    "naas": naas,
}
NETWORK_METHODS = (*_SEARCHES, *FIXED, *DCP)


def search_network(
    method: str,
    network: Network,
    budget: int,
    seed: int,
    watch: Callable[[Integers, Floats, Floats], None] | None = None,
) -> Found:
    """The best mapping that a method finds for a whole network.

    Args:
        budget: samples; each is evaluated on every layer. DCP takes at most its own 16.
        watch: sees every sample.

    Raises: InputError for a method that there is not.
    """
    if method in FIXED:
        return _fixed(method, network)
    if method in DCP:
        search = propagation(network, method, seed)
    elif method in _SEARCHES:
        search = _SEARCHES[method]
    else:
        raise InputError(f"method {method!r} not found; have {', '.join(NETWORK_METHODS)}")
    return run(method, _watched(search, watch), network, budget, seed)


def _watched(search: Search, watch: Callable[[Integers, Floats, Floats], None] | None) -> Search:
    def watched(evaluate: Budgeted, rng: np.random.Generator) -> None:
        evaluate.watch = watch
        search(evaluate, rng)

    return watched


def _fixed(method: str, network: Network) -> Found:
    """A fixed dataflow on each layer; where buffers are too small, that layer's tiles shrink.

    The tiles differ between layers, so there is no shared mapping to return.
    """
    found = [
        METHODS[method](problem.layer, network.accelerator, Objective.EDP, 1000, 1)
        for problem in network.problems
    ]
    costs = np.array([(one.cycles, one.energy_nj) for one in found])
    counts = np.array(network.counts)
    latency, energy = network.powers
    value = float(counts @ (costs[:, 0] ** latency * costs[:, 1] ** energy))
    calls = max(one.calls for one in found)
    return Found(
        method=method,
        value=value,
        mapping=None,
        cycles=float(counts @ costs[:, 0]),
        energy_nj=float(counts @ costs[:, 1]),
        calls=calls,
        invalid=calls - 1,
        trace=((calls, value),) if np.isfinite(value) else (),
        seconds=sum(one.seconds for one in found),
        cpu_seconds=sum(one.cpu_seconds for one in found),
    )
