"""The plot of Table 1: how far from the bound, and how fast."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from dcp_hw.baselines.problem import Found, Objective
from dcp_hw.experiments.cells import Cell, Plan
from dcp_hw.experiments.styles import draw_curve


def plot(
    plan: Plan, results: dict[Cell, Found], bounds: dict[tuple[str, Objective], float], path: Path
) -> None:
    """Write a PNG: best / bound against samples, geometric mean over layers and seeds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0 * len(plan.objectives), 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    for column, objective in enumerate(plan.objectives, start=1):
        axes = figure.add_subplot(1, len(plan.objectives), column)
        for method in plan.names:
            samples, ratio = curve(results, bounds, objective, method)
            known = np.isfinite(ratio)
            draw_curve(axes, method, samples[known], ratio[known])
        axes.set(xscale="log", yscale="log", xlabel="samples of a layer")
        axes.set(ylabel="best / lower bound, geometric mean", title=str(objective))
        axes.axhline(1.0, color="black", linewidth=0.8)
        axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.savefig(path, dpi=120)


def curve(
    results: dict[Cell, Found],
    bounds: dict[tuple[str, Objective], float],
    objective: Objective,
    method: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Samples, and best / bound after as many: geometric mean, NaN until every layer has a value.

    The curve of a method ends where its longest search does.
    """
    cells = [c for c in results if (c.objective, c.method) == (objective, method)]
    most = max(max(1, results[cell].calls) for cell in cells)
    samples = np.unique(np.rint(np.geomspace(1, most, 60)).astype(int))
    logs = np.zeros(len(samples))
    for cell in cells:
        trace = results[cell].trace
        at = np.searchsorted([calls for calls, _ in trace], samples, side="right") - 1
        least = bounds[cell.layer.name, objective]
        values = [math.log(value / least) for _, value in trace] + [math.nan]
        logs += np.array(values)[at]  # -1: nothing found yet
    return samples, np.exp(logs / len(cells))
