"""Parts of the report's figures: axes of layers and accelerators, markers, stacks, legends."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from dcp_hw.report_view import Report, Row, Series, layer_counts, shorten

LABEL = 22  # characters of a layer's name on an axis

Styles = Mapping[str, tuple[str, str, str]]


def layer_axis(axes: Axes, counts: Mapping[str, int], names: bool = True) -> None:
    """Layers along x, faint bands to follow one upwards."""
    axes.set_xlim(-0.6, len(counts) - 0.4)
    axes.grid(False, axis="x")
    for at in range(1, len(counts), 2):
        axes.axvspan(at - 0.5, at + 0.5, color="#F4F4F4", zorder=0)
    labels = [
        shorten(name, LABEL) + (f" ×{count}" if count > 1 else "") for name, count in counts.items()
    ]
    size = 8 if len(counts) <= 60 else 6
    axes.set_xticks(range(len(counts)), labels if names else [], rotation=90, fontsize=size)
    if names:
        axes.set_xlabel("layer (× occurrences)")


def figure_width(report: Report) -> float:
    """Inches of a figure with one slot per layer."""
    return min(24.0, max(9.0, 2.5 + 0.27 * len(layer_counts(report))))


def log_scale(axes: Axes, low: float, high: float) -> None:
    """Logarithmic y axis with plain numbers on it."""
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    decades = math.log10(high / low)
    subs = (1, 1.5, 2, 3, 5, 7) if decades < 1.5 else (1, 2, 5) if decades < 4 else (1,)
    subs = (*subs, 1.2) if decades < 1 else subs
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=50))
    axes.yaxis.set_minor_locator(LogLocator(subs=()))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}" if v >= 10 else f"{v:g}"))


def dots(
    axes: Axes, report: Report, lines: Sequence[Series], value: Callable[[Row], float]
) -> list[float]:
    """One marker per layer and series, side by side within the slot; the values drawn."""
    names = list(layer_counts(report))
    drawn = []
    room = [1.0 if line.mode == "example" else 2.5 for line in lines]
    for index, line in enumerate(lines):
        shift = 0.8 * ((sum(room[:index]) + room[index] / 2) / sum(room) - 0.5)
        points = [(at, row) for at, name in enumerate(names) if (row := line.measured(name))]
        ys = [value(row) for _, row in points]
        main = line.mode != "example"
        axes.plot(
            [at + shift for at, _ in points],
            ys,
            line.marker,
            color=line.colour,
            markeredgecolor="#222222",
            markeredgewidth=0.5,
            markersize=6 if main else 4.5,
            label=shorten(line.label, 46),
            zorder=4 if main else 3,
        )
        drawn += ys
    return drawn


def steps(axes: Axes, values: Sequence[float], label: str) -> None:
    """A black line across each layer's slot."""
    at = range(len(values))
    axes.hlines(
        values, [a - 0.45 for a in at], [a + 0.45 for a in at], color="black", lw=1.4, label=label,
        zorder=5,
    )  # fmt: skip


def legend_above(figure: Figure, axes: Axes) -> None:
    """Legend above the figure, as many columns as have room for the longest label."""
    handles, labels = axes.get_legend_handles_labels()
    inches = 0.6 + 0.06 * max((len(label) for label in labels), default=0)
    columns = max(1, min(6, len(labels), int(figure.get_figwidth() / inches)))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns)


def infeasible_note(axes: Axes, lines: Sequence[Series]) -> None:
    """Says which layers have no point because they cannot run there."""
    missing = [
        f"{shorten(line.label, 40)}: {sum(not row['feasible'] for row in line.rows.values())}"
        for line in lines
        if not all(row["feasible"] for row in line.rows.values())
    ]
    if missing:
        axes.annotate(
            "infeasible layers (not drawn): " + "; ".join(missing),
            (0.005, 0.985), xycoords="axes fraction", va="top", fontsize=8, color="#444444",
        )  # fmt: skip


def two_panels(figure: Figure, report: Report) -> tuple[Axes, Axes]:
    """A high and a lower panel over the same layers."""
    figure.set_size_inches(figure_width(report), 8.6)
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 2.2))
    layer_axis(upper, layer_counts(report), names=False)
    layer_axis(lower, layer_counts(report))
    return upper, lower


def accelerator_axis(axes: Axes, lines: Sequence[Series]) -> None:
    """Accelerators along y, the first on top."""
    axes.set_yticks(range(len(lines)), [shorten(line.label, 46) for line in lines])
    axes.invert_yaxis()
    axes.grid(False, axis="y")


def stack(
    bars: Callable[..., Any],
    styles: Styles,
    parts: Sequence[Mapping[str, float]],
    scales: Sequence[float],
    **size: float,
) -> None:
    """Stacked bars, `bars` being `axes.bar` (size: width) or `axes.barh` (size: height).

    Args:
        parts: per bar, part -> value.
        scales: per bar, what its values are divided by.
    """
    base = [0.0] * len(parts)
    start = "left" if "height" in size else "bottom"
    for part, (label, colour, hatch) in styles.items():
        values = [p.get(part, 0) / s for p, s in zip(parts, scales, strict=True)]
        bars(
            range(len(parts)), values, **size, **{start: base}, label=label, color=colour,
            edgecolor="#333333", linewidth=0.4, hatch=hatch,
        )  # fmt: skip
        base = [b + v for b, v in zip(base, values, strict=True)]
