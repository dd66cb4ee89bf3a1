"""The Pareto front of throughput, energy and area."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcp_hw.maestro.dse_kernel import AREA, CYCLES, ENERGY

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

OBJECTIVES = ("throughput", "energy", "edp")


def front(pool: Floats, numbers: Integers) -> tuple[Floats, Integers]:
    """The designs that no other one equals or beats in cycles, energy and area at once.

    Of designs equal in all three, the one with the lowest number. Fewest cycles come first.
    """
    order = np.lexsort((numbers, pool[:, AREA], pool[:, ENERGY], pool[:, CYCLES]))
    kept = order[_undominated(pool[order, ENERGY], pool[order, AREA])]
    return pool[kept], numbers[kept]


@njit(cache=True, nogil=True)
def _undominated(energy: Floats, area: Floats) -> NDArray[np.bool_]:
    """Rows, in order of cycles, that no earlier row equals or beats in both.

    `stairs` holds the least areas of the rows so far, energies rising and areas falling.
    """
    keep = np.zeros(len(energy), dtype=np.bool_)
    stairs = np.empty((2, len(energy)))
    steps = 0
    for i in range(len(energy)):
        at = np.searchsorted(stairs[0, :steps], energy[i], side="right")
        if at > 0 and stairs[1, at - 1] <= area[i]:
            continue
        keep[i] = True
        if at > 0 and stairs[0, at - 1] == energy[i]:
            at -= 1
        end = at
        while end < steps and stairs[1, end] >= area[i]:
            end += 1
        if end == at:
            for k in range(steps, at, -1):
                stairs[0, k], stairs[1, k] = stairs[0, k - 1], stairs[1, k - 1]
            steps += 1
        elif end > at + 1:
            gone = end - at - 1
            for k in range(at + 1, steps - gone):
                stairs[0, k], stairs[1, k] = stairs[0, k + gone], stairs[1, k + gone]
            steps -= gone
        stairs[0, at], stairs[1, at] = energy[i], area[i]
    return keep


def best(pool: Floats, objective: str) -> int:
    """Row of the best design of a front; of equal ones the first (fewest cycles)."""
    value = {
        "throughput": pool[:, CYCLES],
        "energy": pool[:, ENERGY],
        "edp": pool[:, CYCLES] * pool[:, ENERGY],
    }[objective]
    return int(np.argmin(value))
