"""What figures and texts of a report share: series, names of causes and parts, colours, formats.

A report is a plain dictionary in the form of `data/report.schema.json` (docs/report.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Report = Mapping[str, Any]
Row = Mapping[str, Any]
Units = Sequence[tuple[str, float]]

MODES = ("fixed", "per-layer", "example")

# cause or part -> (text, colour, hatch): Okabe-Ito colours, then greys and hatches
CAUSES = {
    "compute": ("compute", "#0072B2", ""),
    "fill_drain": ("fill and drain", "#56B4E9", "//"),
    "wait_load": ("waiting for load", "#E69F00", ""),
    "wait_store": ("waiting for store", "#D55E00", "\\\\"),
    "config": ("configuration", "#999999", ""),
}
ENERGY_PARTS = {
    "mac": ("MAC", "#D55E00", ""),
    "registers": ("registers and clock", "#E69F00", ""),
    "adders": ("adders", "#F0E442", ""),
    "input_sram": ("input SRAM", "#0072B2", ""),
    "weight_sram": ("weight SRAM", "#56B4E9", ""),
    "output_sram": ("output SRAM", "#009E73", ""),
    "requantise": ("requantise", "#CC79A7", ""),
    "bus_in": ("bus in", "#555555", ""),
    "bus_out": ("bus out", "#AAAAAA", ""),
    "leakage": ("leakage", "#FFFFFF", "///"),
}
# (unit, how many of the report's own units it is), largest first
CYCLE_UNITS = (("million", 1e6), ("thousand", 1e3))
NJ_UNITS = (("mJ", 1e6), ("µJ", 1e3), ("nJ", 1.0))
EDP_UNITS = (
    ("million cycles × mJ", 1e12),
    ("million cycles × µJ", 1e9),
    ("thousand cycles × µJ", 1e6),
)

FIXED_STYLE = ("#0072B2", "o")
PER_LAYER_STYLE = ("#D55E00", "D")
EXAMPLE_STYLES = (
    ("#009E73", "s"),
    ("#CC79A7", "^"),
    ("#E69F00", "v"),
    ("#56B4E9", "P"),
    ("#F0E442", "X"),
    ("#999999", "<"),
    ("#FFFFFF", ">"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One accelerator (or the per-layer mode) over the layers: a line of every figure."""

    mode: str
    design: str | None  # None: the per-layer mode, several designs
    label: str
    colour: str
    marker: str
    rows: Mapping[str, Row]  # layer name -> row of `layers[]`

    def measured(self, layer: str) -> Row | None:
        """Row of a layer where it was measured."""
        row = self.rows.get(layer)
        return row if row is not None and is_measured(row) else None


def is_measured(row: Row) -> bool:
    """Whether a row of `layers[]` carries a measurement."""
    return bool(row["feasible"]) and row.get("measured_cycles") is not None


def layer_names(layers: Iterable[Row]) -> list[str]:
    """Names in the order of first appearance."""
    return list(dict.fromkeys(row["layer"] for row in layers))


def layer_counts(report: Report) -> dict[str, int]:
    """Layer -> how often it occurs in the network."""
    return {row["layer"]: row["count"] for row in report["layers"]}


def series_key(row: Row) -> tuple[str, str | None]:
    """(mode, design) that a row of `layers[]` counts to; the per-layer mode is one."""
    return row["mode"], None if row["mode"] == "per-layer" else row["design"]


def series(report: Report) -> list[Series]:
    """Series in drawing order: fixed, per layer, examples."""
    labels = {design["id"]: design["label"] for design in report["designs"]}
    grouped: dict[tuple[str, str | None], dict[str, Row]] = {}
    for row in report["layers"]:
        grouped.setdefault(series_key(row), {})[row["layer"]] = row
    examples = iter(EXAMPLE_STYLES * (1 + len(grouped) // len(EXAMPLE_STYLES)))
    found = []
    for (mode, design), rows in sorted(grouped.items(), key=lambda item: MODES.index(item[0][0])):
        if mode == "fixed":
            label, style = f"fixed: {labels[design]}", FIXED_STYLE
        elif mode == "per-layer":
            many = len({row["design"] for row in rows.values() if row["design"] is not None})
            label, style = f"per layer ({plural(many, 'design')})", PER_LAYER_STYLE
        else:
            label, style = labels[design], next(examples)
        found.append(Series(mode, design, label, *style, rows))
    return found


def total_of(report: Report, one: Series) -> Row | None:
    """Row of `totals[]` of a series."""
    for total in report["totals"]:
        if (total["mode"], total["design"]) == (one.mode, one.design):
            return total  # type: ignore[no-any-return]
    return None


def shorten(text: str, most: int) -> str:
    """Text of at most `most` characters, an ellipsis in the middle of a longer one."""
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def number(value: float | None, digits: int = 3) -> str:
    """A number with thousands separators and `digits` significant digits, `–` for None."""
    if value is None:
        return "–"
    if isinstance(value, int) or value == 0:
        return f"{value:,.0f}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def percent(value: float | None) -> str:
    """A share in percent."""
    return "–" if value is None else f"{100 * value:.1f} %"


def ratio(value: float | None) -> str:
    """A ratio with three decimals."""
    return "–" if value is None else f"{value:.3f}"


def micro(value_nj: float | None) -> str:
    """nJ as text in µJ."""
    return "–" if value_nj is None else number(value_nj / 1000)


def unit_of(values: Sequence[float], units: Units) -> tuple[str, float]:
    """Largest unit in which the largest value is not below one; the smallest if there is none."""
    return next((unit for unit in units if max(values) >= unit[1]), units[-1])


def plural(count: int, word: str) -> str:
    """`1 port`, `2 ports`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def matrix(rows: Sequence[Sequence[int]]) -> str:
    """A matrix on one line."""
    return "[" + ", ".join("[" + " ".join(map(str, row)) + "]" for row in rows) + "]"


def plain(value: Any) -> str:
    """Free-form JSON (axes, sizes, ports) as short text: `k 16·c 4, y 8`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        nested = any(isinstance(item, (list, tuple, Mapping)) for item in value)
        return (", " if nested else " · ").join(map(plain, value))
    return "–" if value is None else str(value)


def hardware_line(report: Report) -> str:
    """The hardware in one line."""
    hw = report["hardware"]
    return (
        f"{hw['pes']} PEs, {hw['sram_kib']} KiB on-chip memory, bus {hw['bus_in_bits']} bit in and "
        f"{hw['bus_out_bits']} bit out, {hw['clock_mhz']} MHz, {hw['technology']}"
    )


def energy_line(report: Report) -> str:
    """Table, node and source of every energy figure, in one line."""
    table = report["energy_table"]
    return f"Energy table {table['name']} ({table['node_nm']} nm): {table['title']}"


def search_lines(report: Report) -> list[str]:
    """What each mode chose from, a sentence each; none for an older report."""
    return [
        line
        for found in report.get("search", [])
        for line in (
            [_search_line(f"{found['mode']} {key}", n) for key, n in found["examples"].items()]
            if "examples" in found
            else [_search_line(found["mode"], found)]
        )
    ]


def _search_line(who: str, n: Mapping[str, Any]) -> str:
    return (
        f"{who}: {n['candidates']:,} candidates ({n['styles']} arrays, {n['shapes']} shapes, "
        f"{n['splits']} memory splits, {n['bus_widths']} bus widths); left out for a narrower bus "
        f"{n['narrower_bus']:,}, more skew {n['more_skew']:,}, their bound {n['bound']:,}, "
        f"an empty bank {n['no_room']:,}; screened {n['screened']:,}, not examined "
        f"{n['not_examined']:,}; layers searched on {n['quick']}, finalists {n['full']}"
    )


TOTAL_COLUMNS = (
    "accelerator",
    "layers",
    "cycles",
    "× bound",
    "utilisation",
    "energy µJ",
    "power mW",
    "EDP cycles·nJ",
    "area mm²",
)


def total_cells(report: Report, one: Series) -> list[str]:
    """Cells of the table of totals for a series, aligned with `TOTAL_COLUMNS`."""
    total = total_of(report, one)
    area = max(
        (
            design["area_mm2"]
            for design in report["designs"]
            if design["id"] in {row["design"] for row in one.rows.values()}
        ),
        default=None,
    )
    if total is None:
        return [one.label, "none", *["–"] * (len(TOTAL_COLUMNS) - 3), number(area)]
    cover = str(total["layers_measured"])
    if total["infeasible"]:
        cover = f"{len(total['infeasible'])} infeasible"
    elif not total["complete"]:
        cover += f" of {total['layers_expected']}"
    edp = total["edp"]
    return [
        one.label,
        cover,
        number(total["measured_cycles"]),
        ratio(total["ratio_to_bound"]),
        percent(total["utilisation"]),
        micro(total["energy_total_nj"]),
        number(total["power_mw"]),
        "–" if edp is None else f"{edp:.3e}",
        number(area),
    ]
