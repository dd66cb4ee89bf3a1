"""Regression plots of predictors: predicted against exact, as in the DCP paper's Fig. 5."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dcp_hw.train_scores import Floats

_UNITS = ("latency (cycles)", "energy (nJ)", "power (mW)")
_POINTS = 6000
_ROWS = {
    "seen layers": ("seen layers, seen dataflows", "seen layers, unseen dataflows"),
    "unseen layers": ("unseen layers, seen dataflows", "unseen layers, unseen dataflows"),
}


def regression_plot(path: Path, title: str, rows: Mapping[str, tuple[Floats, Floats]]) -> None:
    """Write a PNG: metrics side by side, seen layers above unseen ones.

    Args:
        rows: exact and predicted natural logs (n x 3 each) by quadrant.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    figure.suptitle(f"Predicted against exact: {title}")
    panels = figure.subplots(len(_ROWS), len(_UNITS))
    rng = np.random.default_rng(0)
    for line, (which, quadrants) in zip(panels, _ROWS.items(), strict=True):
        exact, predicted = (np.concatenate([rows[name][i] for name in quadrants]) for i in range(2))
        shown = rng.permutation(len(exact))[:_POINTS]
        for i, axes in enumerate(line):
            x, y = np.exp(exact[shown, i]), np.exp(predicted[shown, i])
            off = np.abs(np.expm1(predicted[:, i] - exact[:, i]))
            ends = np.array([exact[:, i].min(), exact[:, i].max()])
            axes.loglog(x, y, ".", markersize=2, alpha=0.35, rasterized=True)
            axes.loglog(np.exp(ends), np.exp(ends), "k-", linewidth=0.8)
            low, high = np.exp(ends[0]) / 2, np.exp(ends[1]) * 2
            axes.set(xlim=(low, high), ylim=(low, high), xlabel=f"exact {_UNITS[i]}")
            axes.set_title(f"{which}: median error {100 * np.median(off):.2f} %", fontsize=9)
            axes.grid(alpha=0.3)
        line[0].set_ylabel("predicted")
    figure.savefig(path, dpi=110)
