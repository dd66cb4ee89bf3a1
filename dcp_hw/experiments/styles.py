"""One look for each method in all plots: colour-blind-safe colours, line styles and markers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

_STYLES: dict[str, tuple[str, str, str]] = {
    "dcp": ("#000000", "-", "*"),
    "dcp-random-moves": ("#000000", "--", "+"),
    "dcp-two-levels": ("#000000", "-.", "1"),
    "dcp-without-gradients": ("#000000", ":", "x"),
    "exact": ("#009E73", "-", "D"),
    "gamma": ("#D55E00", "-", "o"),
    "ga": ("#E69F00", "-", "s"),
    "naas": ("#0072B2", "-", "^"),
    "random": ("#888888", "-", "v"),
    "pso": ("#56B4E9", "-", "P"),
    "portfolio": ("#56B4E9", "--", "p"),
    "de": ("#CC79A7", "-", "h"),
    "cma-es": ("#CC79A7", "--", "H"),
    "tbpsa": ("#CC79A7", ":", "8"),
    "one-plus-one": ("#56B4E9", ":", "d"),
    "nvdla-like": ("#888888", "--", "<"),
    "eyeriss-like": ("#888888", ":", ">"),
    "shidiannao-like": ("#888888", "-.", "X"),
}
"""Okabe and Ito's colours, line style and marker by method."""
_OTHERS = ("#F0E442", "-", "o")


def style(method: str) -> dict[str, Any]:
    """Colour, line style and marker of a method, as matplotlib takes them."""
    colour, line, marker = _STYLES.get(method, _OTHERS)
    return {"color": colour, "linestyle": line, "marker": marker}


def draw_curve(axes: Any, method: str, x: Any, y: Any, **more: Any) -> None:
    """A method's line with some markers, labelled."""
    every = max(1, len(x) // 8)
    axes.plot(x, y, **style(method), markevery=every, markersize=5, label=method, **more)


def new_figure(columns: int = 1, rows: int = 1, size: tuple[float, float] = (6.0, 4.6)) -> Any:
    """A figure and its axes, rows x columns, each panel of a size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def save(figure: Any, path: Path) -> None:
    """Write a PNG."""
    figure.savefig(path, dpi=110)


def grouped_bars(
    axes: Any, groups: list[str], series: dict[str, list[float]], *, least: float = 0.0
) -> None:
    """Bars of each method beside each other, in groups; not finite: no bar, a cross instead."""
    width = 0.8 / max(1, len(series))
    where = np.arange(len(groups))
    hatches = {"-": "", "--": "//", ":": "..", "-.": "xx"}
    for i, (method, values) in enumerate(series.items()):
        look = style(method)
        x = where - 0.4 + width * (i + 0.5)
        known = np.isfinite(values)
        axes.bar(
            x[known],
            np.array(values)[known] - least,
            width,
            bottom=least,
            color=look["color"] if look["linestyle"] == "-" else "white",
            edgecolor=look["color"] if look["linestyle"] != "-" else "black",
            linewidth=0.6,
            hatch=hatches[look["linestyle"]],
            label=method,
        )
        if not known.all():
            axes.plot(x[~known], np.full(int((~known).sum()), least or 1.0), "x", color="black")
    axes.set_xticks(where, groups)
