"""Several metrics at once: a grid of weights, the Pareto front of checked points, hypervolume."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcp_hw.errors import InputError

Floats = NDArray[np.float64]


def weight_grid(number: int) -> tuple[tuple[float, float], ...]:
    """Weights of latency and energy, evenly from all of one to all of the other; each sums to 1.

    Raises: InputError for fewer than two.
    """
    if number < 2:
        raise InputError(f"a grid of {number} weights; accepted: at least 2")
    shares = np.linspace(1.0, 0.0, number)
    return tuple((float(share), float(1.0 - share)) for share in shares)


def pareto(points: Floats) -> Floats:
    """The points (n x 2) that no other equals or beats in both, smallest first; equal ones once."""
    order = np.lexsort((points[:, 1], points[:, 0]))
    kept, lowest = [], np.inf
    for point in points[order]:
        if point[1] < lowest:
            kept.append(point)
            lowest = point[1]
    return np.array(kept).reshape(-1, 2)


def hypervolume(points: Floats, reference: tuple[float, float]) -> float:
    """Area that points (n x 2) dominate below a reference; points beyond it add nothing."""
    front = pareto(points[(points < reference).all(axis=1)])
    area, above = 0.0, reference[1]
    for x, y in front:
        area += (reference[0] - x) * (above - y)
        above = y
    return float(area)
