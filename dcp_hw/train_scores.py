"""How good predictions are: relative errors, and rank correlation within layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

METRICS = ("latency", "energy", "power")
_LEAST = 20  # rows of a group, below which its ranks say little

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One method on one metric of one quadrant.

    Attributes:
        median_error, p90_error: of |predicted / exact - 1|.
        spearman: median over layers of the rank correlation within a layer, all machines.
        spearman_machine: the same within a layer on one machine.
        coverage: share of rows inside the interval; None where the method gives none.
    """

    method: str
    quadrant: str
    metric: str
    rows: int
    layers: int
    median_error: float
    p90_error: float
    spearman: float
    spearman_machine: float
    coverage: float | None = None


def score(
    method: str,
    quadrant: str,
    exact: Floats,
    predicted: Floats,
    group: NDArray[np.int64],
    half_width: Floats | None = None,
) -> list[Score]:
    """Scores of each metric.

    Args:
        exact, predicted: n x 3 natural logs.
        group: n x 2, layer and machine.
        half_width: n x 2, of latency and energy, in the same logs.
    """
    found = []
    both = group[:, 0] * (int(group[:, 1].max()) + 1) + group[:, 1]
    for i, metric in enumerate(METRICS):
        off = np.abs(np.expm1(predicted[:, i] - exact[:, i]))
        covered = None
        if half_width is not None and i < half_width.shape[1]:
            inside = np.abs(predicted[:, i] - exact[:, i]) <= half_width[:, i] + 1e-9
            covered = float(inside.mean())
        found.append(
            Score(
                method=method,
                quadrant=quadrant,
                metric=metric,
                rows=len(exact),
                layers=len(np.unique(group[:, 0])),
                median_error=float(np.median(off)),
                p90_error=float(np.quantile(off, 0.9)),
                spearman=within(exact[:, i], predicted[:, i], group[:, 0]),
                spearman_machine=within(exact[:, i], predicted[:, i], both),
                coverage=covered,
            )
        )
    return found


def within(exact: Floats, predicted: Floats, group: NDArray[np.int64]) -> float:
    """Median over groups of the rank correlation inside one; NaN without a group of 20 rows."""
    found = [spearman(exact[rows], predicted[rows]) for rows in _groups(group)]
    known = [value for value in found if not np.isnan(value)]
    return float(np.median(known)) if known else float("nan")


def _groups(group: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    order = np.argsort(group, kind="stable")
    ends = np.flatnonzero(np.diff(group[order])) + 1
    return (rows for rows in np.split(order, ends) if len(rows) >= _LEAST)


def spearman(a: Floats, b: Floats) -> float:
    """Rank correlation; equal values share their mean rank; NaN where one side is constant."""
    from scipy.stats import rankdata

    ranks = [rankdata(np.round(values, 9)) for values in (a, b)]
    spread = [np.std(each) for each in ranks]
    if min(spread) == 0:
        return 0.0 if spread[0] else float("nan")  # says nothing about what does differ
    return float(np.corrcoef(*ranks)[0, 1])
