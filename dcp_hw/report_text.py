"""The report as text: Markdown, and the table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dcp_hw.report_cards import card_facts, card_file
from dcp_hw.report_view import (
    TOTAL_COLUMNS,
    Report,
    Row,
    Series,
    energy_line,
    hardware_line,
    is_measured,
    matrix,
    micro,
    number,
    percent,
    plain,
    plural,
    ratio,
    search_lines,
    series,
    total_cells,
)

if TYPE_CHECKING:
    from dcp_hw.report_plots import Image

LAYER_COLUMNS = (
    "layer",
    "×",
    "MACs",
    "design",
    "cycles",
    "bound",
    "× bound",
    "utilisation",
    "energy µJ",
    "words compared",
    "mismatches",
)


def layer_cells(row: Row) -> list[str]:
    """Cells of one row of `layers[]`, aligned with `LAYER_COLUMNS`."""
    start = [row["layer"], str(row["count"]), number(row["macs"]), row["design"] or "–"]
    if not is_measured(row):
        what = f"infeasible: {row['reason']}" if not row["feasible"] else "not measured yet"
        return [*start, what, number(row["bound_cycles"]), *["–"] * 5]
    return [
        *start,
        number(row["measured_cycles"]),
        number(row["bound_cycles"]),
        ratio(row["measured_cycles"] / row["bound_cycles"]),
        percent(row["utilisation"]),
        micro(row["energy_total_nj"]),
        f"{number(row['words_compared'])} of {number(row['words_expected'])}",
        number(row["mismatches"]),
    ]


def headline(report: Report, issues: Sequence[str]) -> str:
    """One sentence on what was checked."""
    rows = [row for row in report["layers"] if is_measured(row)]
    words = sum(row["words_compared"] for row in rows)
    wrong = sum(row["mismatches"] for row in rows)
    text = (
        f"{len(rows)} layer runs measured on the generated RTL, {words:,} output words compared, "
        f"{wrong:,} mismatches"
    )
    same = sum(row["predicted_cycles"] == row["measured_cycles"] for row in rows)
    text += f"; predicted cycles equal measured cycles in {same} of {len(rows)} runs."
    return text + (f" **{plural(len(issues), 'problem')}, see below.**" if issues else "")


def summary_table(report: Report) -> str:
    """Network totals for a terminal: plain text, one line per accelerator.

    Args:
        report: with totals and energy table (`completed`).
    """
    rows = [list(TOTAL_COLUMNS), *(total_cells(report, one) for one in series(report))]
    rows = [[row[0][:44], *row[1:]] for row in rows]
    widths = [max(len(row[at]) for row in rows) for at in range(len(TOTAL_COLUMNS))]
    lines = [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    head = f"{report['layerset']}, objective {report['objective']}: {hardware_line(report)}"
    return "\n".join([head, "", *lines, "", energy_line(report)])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Markdown table, all but the first columns flush right."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return [line(head), "|" + "|".join(rule) + "|", *map(line, rows), ""]


def markdown(report: Report, issues: Sequence[str], images: Sequence[Image]) -> str:
    """The report as Markdown, its pictures as files beside it.

    Args:
        report: with totals and energy table (`completed`).
        issues: of `problems`.
        images: of `figures`.
    """
    lines = [f"# {report['layerset']}: measured accelerators", "", headline(report, issues), ""]
    lines += [f"Hardware: {hardware_line(report)}. Objective: {report['objective']}, "
              f"seed {report['seed']}.", "", f"{energy_line(report)}.", ""]  # fmt: skip
    if issues:
        lines += ["## Problems", "", *(f"* {issue}" for issue in issues), ""]
    lines += ["## Summary", ""]
    accelerators = series(report)
    lines += _table(TOTAL_COLUMNS, [total_cells(report, one) for one in accelerators])
    lines += ["× bound: cycles over the sum of the layers' bounds. Figures weighted by how often a "
              "layer occurs; energy includes bus and leakage. Per layer: switching designs is "
              "free, area is the largest design's.", ""]  # fmt: skip
    for image in images:
        lines += [f"## {image.title}", "", image.caption, "", f"![{image.title}]({image.file})", ""]
    lines += ["## Designs", ""]
    if searched := search_lines(report):
        lines += [*(f"* {line}" for line in searched), ""]
    for design in report["designs"]:
        lines += [f"### {design['label']} (`{design['id']}`)", ""]
        lines += [f"* {name}: {value}" for name, value in card_facts(design)]
        lines += [f"* T: {matrix(design['T'])} (rows p1, p2, t)", ""]
        if design.get("interconnect"):
            lines += [f"![interconnect]({card_file(design)})", ""]
    lines += ["## Layers", ""]
    for one in accelerators:
        lines += _layers(one)
    lines += ["## Versions", ""]
    lines += [f"* {tool}: {plain(version)}" for tool, version in report["versions"].items()]
    lines += ["", "## Sources of energy and area", "", f"{energy_line(report)}.", ""]
    lines += [f"* {k}: {v}" for k, v in report["energy_table"]["sources"].items()]
    return "\n".join(lines) + "\n"


def _layers(one: Series) -> list[str]:
    return [
        f"### {one.label}",
        "",
        *_table(LAYER_COLUMNS, [layer_cells(row) for row in one.rows.values()]),
    ]
