"""Pareto fronts of latency and energy, one mapping for a network, over a grid of weights.

Every method searches each pair of weights with its share of the budget; all its samples count for
its front. Points are in multiples of the sums of the layers' lower bounds, and the hypervolume is
the share of the rectangle between the bounds and REFERENCE times them that a front dominates.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dcp_hw.baselines.fixed import FIXED
from dcp_hw.baselines.network import DCP, Network, search_network
from dcp_hw.baselines.problem import Accelerator, Floats, Integers
from dcp_hw.experiments.cells import read_record, record_path, subject_key, write_record
from dcp_hw.experiments.versions import version
from dcp_hw.optimise_front import hypervolume, pareto, weight_grid
from dcp_hw.progress import progress
from dcp_hw.workload import LayerSet

REFERENCE = (5.0, 5.0)
"""Multiples of the bounds beyond which a point adds nothing."""


@dataclass(frozen=True, slots=True)
class FrontCell:
    """The front of one method on one network; `budget` samples over all weights."""

    network: LayerSet
    accelerator: Accelerator
    method: str
    weights: int
    budget: int
    seed: int

    def key(self) -> dict[str, Any]:
        """What the result depends on."""
        return {
            "subject": subject_key(self.network),
            "accelerator": asdict(self.accelerator),
            "method": self.method,
            "version": version(self.method),
            "weights": self.weights,
            "budget": self.budget,
            "seed": self.seed,
        }

    def path(self, store: Path) -> Path:
        """The cell's file."""
        title = f"front-{self.network.name}-{self.weights}-{self.budget}-seed{self.seed}"
        return record_path(store, self.method, title, self.key())

    def load(self, store: Path) -> Front | None:
        """The stored front; None without one, or where the model now gives other points."""
        stored = read_record(self.path(store), self.key())
        if stored is None:
            return None
        try:
            found = Front(
                points=np.array(stored["points"], dtype=np.float64).reshape(-1, 2),
                mappings=np.array(stored["mappings"], dtype=np.int64).reshape(-1, 3, 14),
                samples=int(stored["samples"]),
                cpu_seconds=float(stored["cpu_seconds"]),
            )
        except (KeyError, TypeError, ValueError):
            return None
        if not len(found.mappings):
            return None if len(found.points) else found
        network = Network(layers=self.network, accelerator=self.accelerator)
        _, cycles, nj = network.evaluate(found.mappings)
        same = np.allclose(np.column_stack([cycles, nj]), found.points, rtol=1e-9)
        return found if same else None

    def save(self, store: Path, found: Front) -> None:
        """Write the front."""
        values = {
            "points": found.points.tolist(),
            "mappings": found.mappings.tolist(),
            "samples": found.samples,
            "cpu_seconds": found.cpu_seconds,
        }
        write_record(self.path(store), self.key(), values)


@dataclass(frozen=True, slots=True)
class Front:
    """Points that nothing the method sampled beats.

    Attributes:
        points: n x 2, cycles and nJ of the network, ascending; mappings: n x 3 x 14.
        samples: mappings evaluated, on all layers.
    """

    points: Floats
    mappings: Integers
    samples: int
    cpu_seconds: float


@dataclass(slots=True)
class Archive:
    """Keeps the front of all samples that pass."""

    points: Floats = field(default_factory=lambda: np.empty((0, 2)))
    mappings: Integers = field(default_factory=lambda: np.empty((0, 3, 14), dtype=np.int64))

    def __call__(self, mappings: Integers, cycles: Floats, nj: Floats) -> None:
        """Take in n samples, in place."""
        known = np.isfinite(cycles) & np.isfinite(nj)
        points = np.concatenate([self.points, np.column_stack([cycles, nj])[known]])
        held = np.concatenate([self.mappings, mappings[known]])
        place = {tuple(point): i for i, point in reversed(list(enumerate(points.tolist())))}
        front = pareto(points)
        self.points, self.mappings = front, held[[place[tuple(p)] for p in front.tolist()]]


def search_front(cell: FrontCell) -> Front:
    """The front; takes as long as the searches of all weights do."""
    archive, samples, began = Archive(), 0, time.process_time()
    grid = weight_grid(cell.weights)
    share = max(1, cell.budget // len(grid))
    for i, weights in enumerate(grid):
        network = Network(layers=cell.network, accelerator=cell.accelerator, weights=weights)
        seed = cell.seed if cell.method in DCP else 1000 * cell.seed + i  # DCP: same starts
        samples += search_network(cell.method, network, share, seed, archive).calls
    return Front(archive.points, archive.mappings, samples, time.process_time() - began)


def fill_fronts(cells: Iterable[FrontCell], store: Path) -> dict[FrontCell, Front]:
    """Fronts of all cells; those stored are read, the others searched and stored at once."""
    cells = list(cells)
    found = {cell: front for cell in cells if (front := cell.load(store)) is not None}
    missing = [cell for cell in cells if cell not in found]
    with progress("table3: fronts", len(missing)) as advance:
        for cell in missing:
            found[cell] = front = search_front(cell)
            cell.save(store, front)
            advance(1, f"{cell.method} {cell.network.name} seed {cell.seed}")
    return {cell: found[cell] for cell in cells}


def front_methods(methods: Iterable[str]) -> list[str]:
    """The methods that have a front: those whose mappings depend on the weights."""
    return [method for method in methods if method not in FIXED]


def in_bounds(points: Floats, cell: FrontCell) -> Floats:
    """Points (n x 2) in multiples of the sums of the layers' lower bounds."""
    network = Network(layers=cell.network, accelerator=cell.accelerator)
    return points / np.array(network.least()[1:])


def share_of(points: Floats) -> float:
    """Hypervolume of points in multiples of the bounds, as a share of the rectangle."""
    area = (REFERENCE[0] - 1) * (REFERENCE[1] - 1)
    return hypervolume(points, REFERENCE) / area if len(points) else 0.0
