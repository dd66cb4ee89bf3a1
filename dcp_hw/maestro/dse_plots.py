"""Pictures of a sweep: throughput over area and power, energy over throughput.

Every cell of a picture that holds a valid design is drawn; none is left out or sampled.
"""

from __future__ import annotations

import io
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from dcp_hw.maestro import dse_kernel as kernel
from dcp_hw.maestro.dse_front import OBJECTIVES, best
from dcp_hw.maestro.dse_part import Part, Setting
from dcp_hw.report_plots import Image
from dcp_hw.report_view import plural

_MARKS = {
    "throughput": ("*", 420, "#D55E00"),
    "energy": ("X", 130, "#0072B2"),
    "edp": ("D", 45, "#009E73"),
}
_NAMES = {"throughput": "highest throughput", "energy": "least energy", "edp": "least EDP"}
_STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.parse_math": False,
    "legend.frameon": False,
}
_THROUGHPUT = "throughput, MACs per cycle"


def images(setting: Setting, total: Part) -> list[Image]:
    """The three pictures; none where no design is valid."""
    if not len(total.arrays["pool"]):
        return []
    with matplotlib.rc_context(_STYLE):
        return [
            _by_limit(setting, total, "area"),
            _by_limit(setting, total, "power"),
            _energy(setting, total),
        ]


def _title(setting: Setting) -> str:
    layers = f"{setting.layers.name}, {plural(len(setting.layers), 'layer')}"
    return f"{setting.space.style.name.upper()} on {layers}"


def _by_limit(setting: Setting, total: Part, what: str) -> Image:
    """Throughput over area (colour: mean power) or over power (colour: mean number of PEs)."""
    arrays, is_area = total.arrays, what == "area"
    count, value = arrays[f"by_{what}"]
    limit = setting.area_mm2 if is_area else setting.power_mw
    column = kernel.AREA if is_area else kernel.POWER
    axis = "area, mm²" if is_area else "mean power of the chip, mW"
    colour = "mean power of a cell's designs, mW" if is_area else "mean PEs of a cell's designs"
    figure = Figure(figsize=(8.6, 5.4), layout="constrained")
    axes = figure.add_subplot()
    mean = np.divide(value, count, out=np.full(value.shape, np.nan), where=count > 0)
    drawn = axes.pcolormesh(
        np.linspace(0, limit, count.shape[1] + 1), _rows(setting), mean, cmap="viridis"
    )
    figure.colorbar(drawn, ax=axes, label=colour, pad=0.01)
    _optima(axes, arrays["pool"], lambda row: (row[column], _throughput(setting, row)))
    axes.axvline(limit, color="#888888", linewidth=0.8, linestyle="--")
    axes.set_xlim(0, limit * 1.03)
    axes.set_ylim(0, _top(setting, total))
    axes.set_xlabel(f"{axis} (limit {limit:g})")
    axes.set_ylabel(_THROUGHPUT)
    axes.set_title(f"{_title(setting)}: throughput over {what}")
    caption = (
        f"Each coloured cell holds at least one of {int(count.sum()):,} valid designs. "
        f"Colour: {colour}."
    )
    return _image(figure, f"throughput-{what}", f"Throughput over {what}", caption)


def _energy(setting: Setting, total: Part) -> Image:
    """Energy over throughput: all valid designs in grey, the front by its area."""
    arrays = total.arrays
    pool, count = arrays["pool"], arrays["by_energy"]
    scale = setting.scalars[kernel.LEAST_ENERGY] * 1e-6  # mJ
    edges = scale * 2.0 ** np.linspace(0, kernel.ENERGY_OCTAVES, count.shape[1] + 1)
    figure = Figure(figsize=(8.6, 5.4), layout="constrained")
    axes = figure.add_subplot()
    filled = np.where(count.T > 0, 1.0, np.nan)
    axes.pcolormesh(_rows(setting), edges, filled, cmap=ListedColormap(["#CFCFCF"]))
    throughput = _throughput(setting, pool)
    drawn = axes.scatter(
        throughput, pool[:, kernel.ENERGY] * 1e-6, c=pool[:, kernel.AREA], s=5, cmap="plasma"
    )
    figure.colorbar(drawn, ax=axes, label="area of a design on the front, mm²", pad=0.01)
    stairs = np.minimum.accumulate(pool[:, kernel.ENERGY]) >= pool[:, kernel.ENERGY]
    axes.step(
        throughput[stairs],
        pool[stairs, kernel.ENERGY] * 1e-6,
        where="pre",
        color="black",
        linewidth=1,
        label="front of throughput and energy",
    )
    _optima(axes, pool, lambda row: (_throughput(setting, row), row[kernel.ENERGY] * 1e-6))
    used = np.flatnonzero(count.sum(axis=0))
    axes.set_yscale("log")
    for labels in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        labels(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:g}"[0] in "1235" else ""))
    axes.set_ylim(edges[used[0]] * 0.85, edges[used[-1] + 1] * 1.1)
    axes.set_xlim(0, _top(setting, total))
    axes.set_xlabel(_THROUGHPUT)
    axes.set_ylabel("energy of one inference with DRAM, mJ")
    axes.set_title(f"{_title(setting)}: energy over throughput")
    caption = (
        f"Grey: cells that hold at least one of {int(count.sum()):,} valid designs. Coloured: the "
        f"{len(pool):,} designs that none equals or beats in throughput, energy and area at once."
    )
    return _image(figure, "energy-throughput", "Energy over throughput", caption)


def _rows(setting: Setting) -> NDArray[np.float64]:
    """Edges of the throughput cells."""
    most = setting.scalars[kernel.MOST_THROUGHPUT]
    return np.linspace(0, most, kernel.THROUGHPUT_BINS + 1)


def _top(setting: Setting, total: Part) -> float:
    """End of the throughput axis."""
    return float(_throughput(setting, total.arrays["pool"]).max()) * 1.08


def _throughput(setting: Setting, pool: Any) -> Any:
    return setting.scalars[kernel.MACS] / pool[..., kernel.CYCLES]


def _optima(axes: Axes, pool: NDArray[np.float64], place: Any) -> None:
    """Marks of the best designs, and the legend."""
    for objective in OBJECTIVES:
        marker, size, colour = _MARKS[objective]
        x, y = place(pool[best(pool, objective)])
        axes.scatter(
            [x],
            [y],
            marker=marker,
            s=size,
            color=colour,
            edgecolors="white",
            linewidths=0.9,
            zorder=5,
            clip_on=False,
            label=_NAMES[objective],
        )
    axes.figure.legend(loc="outside lower center", ncols=4)  # type: ignore[union-attr]


def _image(figure: Figure, name: str, title: str, caption: str) -> Image:
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return Image(f"{name}.png", title, caption, buffer.getvalue())
