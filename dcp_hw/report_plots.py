"""PNG figures of a report, drawn with matplotlib (no display, no global state)."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dcp_hw.report_axes import (
    Styles,
    accelerator_axis,
    dots,
    figure_width,
    infeasible_note,
    layer_axis,
    legend_above,
    log_scale,
    stack,
    steps,
    two_panels,
)
from dcp_hw.report_view import (
    CAUSES,
    CYCLE_UNITS,
    EDP_UNITS,
    ENERGY_PARTS,
    NJ_UNITS,
    Report,
    Row,
    Series,
    Units,
    energy_line,
    hardware_line,
    is_measured,
    layer_counts,
    number,
    series,
    shorten,
    total_of,
    unit_of,
)

_DPI = 130
_STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.7,
    "text.parse_math": False,
    "legend.frameon": False,
    "figure.facecolor": "white",
}


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """A finished figure."""

    file: str
    title: str
    caption: str
    png: bytes


def figures(report: Report) -> list[Image]:
    """All figures that the measurements allow; none where nothing is measured yet."""
    lines = [s for s in series(report) if any(map(is_measured, s.rows.values()))]
    if not lines:
        return []
    drawn = [
        _drawn(report, "fig_totals.png", "Network totals", _TOTALS, _totals, lines),
        _drawn(report, "fig_latency.png", "Latency per layer", _LATENCY, _latency, lines),
        _drawn(report, "fig_energy.png", "Energy per layer", _ENERGY, _energy, lines),
        _drawn(report, "fig_utilisation.png", "Utilisation per layer", _USE, _utilisation, lines),
        _drawn(report, "fig_cycles.png", "Where the cycles went", _CYCLES, _cycles, lines),
        _drawn(report, "fig_energy_split.png", "Where the energy went", _SPLIT, _split, lines),
    ]
    return [image for image in drawn if image is not None]


# captions
_TOTALS = (
    "Sums over the network, each layer weighted by how often it occurs. Dashed: the sum of the "
    "layers' bounds; in brackets the ratio to it. Energy includes bus and leakage; EDP is total "
    "cycles times total energy."
)
_LATENCY = (
    "Cycles of one occurrence, measured on the RTL, and below the same over the layer's bound: the "
    "largest of MACs / PEs and compulsory bytes / bus bytes in and out (black)."
)
_ENERGY = "Energy of one occurrence: event counts of the RTL times the energy table."
_USE = (
    "MACs / (PEs × cycles). Black: the most that the bound allows, below 100 % where the bus and "
    "not the PEs limits a layer."
)
_CYCLES = "Share of each cause in a layer's cycles (per occurrence), and cycles of the network."
_SPLIT = "Share of each part in a layer's energy (per occurrence), and energy of the network."


def _drawn(
    report: Report,
    file: str,
    title: str,
    caption: str,
    draw: Callable[[Figure, Report, Sequence[Series]], bool],
    lines: Sequence[Series],
) -> Image | None:
    """One figure as PNG; None if `draw` had nothing to show."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(layout="constrained")
        FigureCanvasAgg(figure)
        if not draw(figure, report, lines):
            return None
        figure.supxlabel(_footer(report, "energy" in title.lower() or draw is _totals), size=7.5)
        sink = io.BytesIO()
        figure.savefig(sink, format="png", dpi=_DPI, metadata={"Software": None})
    return Image(file, title, caption, sink.getvalue())


def _footer(report: Report, with_energy: bool) -> str:
    text = f"{report['layerset']}: {hardware_line(report)}; objective {report['objective']}"
    return f"{text}\n{energy_line(report)}" if with_energy else text


# --- per layer ------------------------------------------------------------------------


def _bounds(report: Report) -> list[int]:
    bound = {row["layer"]: row["bound_cycles"] for row in report["layers"]}
    return [bound[name] for name in layer_counts(report)]


def _latency(figure: Figure, report: Report, lines: Sequence[Series]) -> bool:
    upper, lower = two_panels(figure, report)
    values = dots(upper, report, lines, lambda row: row["measured_cycles"])
    bounds = _bounds(report)
    steps(upper, bounds, "bound")
    log_scale(upper, 0.7 * min(*bounds, *values), 1.6 * max(*bounds, *values))
    upper.set_ylabel("latency (cycles, log)")
    infeasible_note(upper, lines)
    ratios = dots(lower, report, lines, lambda row: row["measured_cycles"] / row["bound_cycles"])
    lower.axhline(1, color="black", lw=1.4)
    log_scale(lower, 0.94 * min(1, *ratios), 1.15 * max(1.6, *ratios))
    lower.set_ylabel("latency / bound (log)")
    legend_above(figure, upper)
    return True


def _energy(figure: Figure, report: Report, lines: Sequence[Series]) -> bool:
    upper, lower = two_panels(figure, report)
    values = dots(upper, report, lines, lambda row: row["energy_total_nj"] / 1000)
    log_scale(upper, 0.7 * min(values), 1.6 * max(values))
    upper.set_ylabel("energy (µJ, log)")
    infeasible_note(upper, lines)
    per_mac = dots(lower, report, lines, lambda row: 1000 * row["energy_total_nj"] / row["macs"])
    log_scale(lower, 0.8 * min(per_mac), 1.3 * max(per_mac))
    lower.set_ylabel("energy per MAC (pJ, log)")
    legend_above(figure, upper)
    return True


def _utilisation(figure: Figure, report: Report, lines: Sequence[Series]) -> bool:
    counts = layer_counts(report)
    figure.set_size_inches(figure_width(report), 5.6)
    axes = figure.subplots()
    pes = report["hardware"]["pes"]
    macs = {row["layer"]: row["macs"] for row in report["layers"]}
    dots(axes, report, lines, lambda row: row["utilisation"])
    most = [macs[name] / (pes * bound) for name, bound in zip(counts, _bounds(report), strict=True)]
    steps(axes, most, "most that the bound allows")
    axes.set_ylim(0, 1.04)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylabel("utilisation (MACs / PEs / cycles)")
    layer_axis(axes, counts)
    legend_above(figure, axes)
    return True


# --- stacks ---------------------------------------------------------------------------


def _stacks(
    figure: Figure,
    report: Report,
    lines: Sequence[Series],
    field: str,
    quantity: str,
    styles: Styles,
    units: Units,
) -> bool:
    """Shares per layer of the fixed and per-layer modes, then network totals of all series."""
    shown = [line for line in lines if line.mode != "example"] or list(lines[:1])
    whole = [(line, total) for line, total in _network(report, lines) if total[field]]
    high = 0.33 * len(whole) + 0.3
    figure.set_size_inches(figure_width(report), 2.1 * len(shown) + high + 3.5)
    heights = [2.1] * len(shown) + ([high] if whole else [])
    panels = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    counts = layer_counts(report)
    for axes, line in zip(panels, shown, strict=False):
        rows = [line.measured(name) for name in counts]
        parts = [row[field] if row else {} for row in rows]
        stack(axes.bar, styles, parts, [sum(p.values()) or 1 for p in parts], width=0.86)
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set_ylabel(f"share of {quantity}")
        axes.set_title(shorten(line.label, 90))
        layer_axis(axes, counts, names=line is shown[-1])
    if whole:
        axes = panels[-1]
        parts = [total[field] for _, total in whole]
        unit, scale = unit_of([sum(p.values()) for p in parts], units)
        stack(axes.barh, styles, parts, [scale] * len(parts), height=0.7)
        accelerator_axis(axes, [line for line, _ in whole])
        axes.set_xlabel(f"network {quantity} ({unit})")
        axes.set_title("whole network")
    legend_above(figure, panels[0])
    return True


def _cycles(figure: Figure, report: Report, lines: Sequence[Series]) -> bool:
    return _stacks(figure, report, lines, "cycles_by_cause", "cycles", CAUSES, CYCLE_UNITS)


def _split(figure: Figure, report: Report, lines: Sequence[Series]) -> bool:
    return _stacks(figure, report, lines, "energy_nj", "energy", ENERGY_PARTS, NJ_UNITS)


# --- network --------------------------------------------------------------------------


def _network(report: Report, lines: Sequence[Series]) -> list[tuple[Series, Row]]:
    """Series with a total over all layers."""
    pairs = ((line, total_of(report, line)) for line in lines)
    return [(line, total) for line, total in pairs if total and total["complete"]]


def _totals(figure: Figure, report: Report, lines: Sequence[Series]) -> bool:
    whole = _network(report, lines)
    if not whole:
        return False
    figure.set_size_inches(12, 0.38 * len(whole) + 2.0)
    first, second, third = figure.subplots(1, 3, sharey=True)
    accelerator_axis(first, [line for line, _ in whole])
    quantities: tuple[tuple[str, str, Units], ...] = (
        ("cycles", "measured_cycles", CYCLE_UNITS),
        ("energy", "energy_total_nj", NJ_UNITS),
        ("EDP", "edp", EDP_UNITS),
    )
    for axes, (name, field, units) in zip((first, second, third), quantities, strict=True):
        unit, scale = unit_of([total[field] for _, total in whole], units)
        values = [total[field] / scale for _, total in whole]
        axes.barh(
            range(len(whole)), values, height=0.7, edgecolor="#333333", linewidth=0.5,
            color=[line.colour for line, _ in whole],
        )  # fmt: skip
        for at, (_, total) in enumerate(whole):
            by_bound = f" ({total['ratio_to_bound']:.3f} ×)" if axes is first else ""
            axes.annotate(
                number(values[at]) + by_bound, (values[at], at), (4, 0),
                textcoords="offset points", va="center", fontsize=8,
            )  # fmt: skip
        axes.set_xlim(0, (1.45 if axes is first else 1.2) * max(values))
        axes.set_xlabel(f"{name} ({unit})")
        axes.grid(False, axis="y")
    unit, scale = unit_of([total["measured_cycles"] for _, total in whole], CYCLE_UNITS)
    bound = whole[0][1]["bound_cycles"] / scale
    label = f"sum of the layers' bounds: {number(bound, 4)} {unit} cycles"
    first.axvline(bound, color="black", lw=1.4, ls="--", label=label)
    without = [shorten(line.label, 46) for line in lines if line not in [one for one, _ in whole]]
    title = f"no total (layers infeasible or not measured): {', '.join(without)}" if without else ""
    figure.legend(loc="outside upper left", title=title, alignment="left", title_fontsize=9)
    return True
