"""Table 1: every layer x objective x method under one budget; docs/baselines.md explains it.

Distinct layers are searched once and weighted by their count. A network's value is the sum over
layers of count x value, for EDP too. Ratios stand beside it: to the sum of the layers' lower
bounds, and to the sum of the proven optima of the sub-space that `exact` searches.
"""

from __future__ import annotations

import csv
import math
import statistics
from dataclasses import dataclass
from pathlib import Path

from dcp_hw.baselines.bounds import bound
from dcp_hw.baselines.methods import EXACT
from dcp_hw.baselines.problem import Found, Objective
from dcp_hw.baselines.propagation import DCP
from dcp_hw.errors import InputError
from dcp_hw.experiments.cells import Cell, Plan, fill
from dcp_hw.experiments.costs import hardware_text, training_text

UNITS = {Objective.LATENCY: "cycles", Objective.ENERGY: "nJ", Objective.EDP: "cycles x nJ"}
LAYER_COLUMNS = (
    *("layer", "count", "objective", "method", "seed", "value", "bound", "to_bound", "to_optimum"),
    *("cycles", "energy_nj", "calls", "invalid", "partial", "training_samples"),
    *("cpu_seconds", "seconds", "proven"),
)
WITHIN = 1.01
"""A value this near to the best one of a layer counts as first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method under one objective, the whole network.

    Attributes:
        value: sum over layers of count x value, mean over seeds; inf if a layer has no mapping.
        spread: standard deviation over seeds, None with one.
        to_bound, to_optimum: ratios of the sum; None where the other sum is not known.
        first: layers where it is within 1 % of the best method, of `layers`; DCP's rows are not
            compared with each other.
        sampled: the same against the sampling baselines: without `exact` and DCP's other rows.
        failed: layers without a feasible mapping.
        invalid: share of the samples; cpu_seconds: of a layer, mean.
    """

    objective: Objective
    method: str
    value: float
    spread: float | None
    to_bound: float
    to_optimum: float | None
    first: int
    sampled: int
    layers: int
    failed: int
    calls: int
    invalid: float
    cpu_seconds: float
    seconds: float


def run(plan: Plan, folder: Path, command: str, store: Path | None = None) -> list[Row]:
    """Rows of the table; writes CSV, Markdown and PNG to a folder.

    Args:
        store: folder of the cells, which other experiments share; left out, `folder/cells`.

    Raises: InputError if the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        results = fill(plan.cells(), store or folder / "cells", f"{plan.layers.name}: searches")
        bounds = {
            (layer.name, objective): bound(
                Cell(layer, plan.accelerator, objective, "", 1, 0).problem
            ).of(objective)
            for layer in plan.layers.layers
            for objective in plan.objectives
        }
        table = rows(plan, results, bounds)
        write_layers(plan, results, bounds, folder / "layers.csv")
        write_summary(table, folder / "table1.csv")
        (folder / "table1.md").write_text(markdown(plan, table, results, command), encoding="utf-8")
        from dcp_hw.experiments.table1_plot import plot

        plot(plan, results, bounds, folder / "table1.png")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
    return table


Bounds = dict[tuple[str, Objective], float]


def mean_values(plan: Plan, results: dict[Cell, Found]) -> dict[tuple[str, Objective, str], float]:
    """(layer, objective, method) -> value, mean over seeds."""
    values: dict[tuple[str, Objective, str], list[float]] = {}
    for cell, found in results.items():
        values.setdefault((cell.layer.name, cell.objective, cell.method), []).append(found.value)
    return {key: statistics.fmean(numbers) for key, numbers in values.items()}


def rows(plan: Plan, results: dict[Cell, Found], bounds: Bounds) -> list[Row]:
    """The rows of the table, by objective, best value first."""
    means = mean_values(plan, results)
    found = [
        _row(plan, results, bounds, means, objective, method)
        for objective in plan.objectives
        for method in plan.names
    ]
    return sorted(found, key=lambda row: (plan.objectives.index(row.objective), row.value))


def _row(
    plan: Plan,
    results: dict[Cell, Found],
    bounds: Bounds,
    means: dict[tuple[str, Objective, str], float],
    objective: Objective,
    method: str,
) -> Row:
    layers = plan.layers.layers
    mine = {c: f for c, f in results.items() if (c.objective, c.method) == (objective, method)}
    seeds = sorted({cell.seed for cell in mine})
    sums = [
        sum(cell.layer.count * found.value for cell, found in mine.items() if cell.seed == seed)
        for seed in seeds
    ]
    others = tuple(m for m in plan.names if m != EXACT and m not in DCP)
    rivals = tuple(m for m in plan.names if method not in DCP or m not in DCP)
    value = statistics.fmean(sums)
    optimum = _optimum(results, objective, len(layers))
    calls = sum(found.calls for found in mine.values())
    return Row(
        objective=objective,
        method=method,
        value=value,
        spread=statistics.stdev(sums) if len(sums) > 1 and math.isfinite(value) else None,
        to_bound=value / sum(x.count * bounds[x.name, objective] for x in layers),
        to_optimum=value / optimum if optimum else None,
        first=_first(plan, means, objective, method, rivals),
        sampled=_first(plan, means, objective, method, others),
        layers=len(layers),
        failed=sum(not math.isfinite(means[x.name, objective, method]) for x in layers),
        calls=calls // (len(seeds) * len(layers)),
        invalid=sum(found.invalid for found in mine.values()) / max(1, calls),
        cpu_seconds=statistics.fmean(found.cpu_seconds for found in mine.values()),
        seconds=statistics.fmean(found.seconds for found in mine.values()),
    )


def _first(
    plan: Plan,
    means: dict[tuple[str, Objective, str], float],
    objective: Objective,
    method: str,
    others: tuple[str, ...],
) -> int:
    """Layers where a method is within 1 % of the best of others, itself among them."""
    count = 0
    for layer in plan.layers.layers:
        best = min(means[layer.name, objective, m] for m in {*others, method})
        count += math.isfinite(best) and means[layer.name, objective, method] <= WITHIN * best
    return count


def _optimum(results: dict[Cell, Found], objective: Objective, layers: int) -> float | None:
    """Sum of the sub-space's optima, None unless every layer's is proven."""
    proven = [
        cell.layer.count * found.value
        for cell, found in results.items()
        if cell.method == EXACT and cell.objective is objective and found.proven
    ]
    return sum(proven) if len(proven) == layers else None


def write_layers(plan: Plan, results: dict[Cell, Found], bounds: Bounds, path: Path) -> None:
    """Write one line for each cell."""
    proven = {
        (cell.layer.name, cell.objective): found.value
        for cell, found in results.items()
        if cell.method == EXACT and found.proven
    }
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(LAYER_COLUMNS)
        for cell, found in results.items():
            key = (cell.layer.name, cell.objective)
            ratio = found.value / proven[key] if key in proven else None
            numbers = (found.value, bounds[key], found.value / bounds[key], ratio)
            head = (cell.layer.name, cell.layer.count, cell.objective, cell.method, cell.seed)
            cost = (found.cycles, found.energy_nj)
            counts = (found.calls, found.invalid, found.partial, found.training_samples)
            times = (f"{found.cpu_seconds:.3f}", f"{found.seconds:.3f}")
            texts = (_cell(x) for x in (*numbers, *cost))
            out.writerow((*head, *texts, *counts, *times, found.proven or ""))


def write_summary(table: list[Row], path: Path) -> None:
    """Write the rows."""
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        names = Row.__slots__
        out.writerow(names)
        out.writerows([_cell(getattr(row, name)) for name in names] for row in table)


def _cell(value: object) -> object:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return f"{value:.9g}" if isinstance(value, float) else value


def markdown(plan: Plan, table: list[Row], results: dict[Cell, Found], command: str) -> str:
    """The table as a page."""
    lines = [
        f"# Mappings of {plan.layers.name} by method",
        "",
        f"{len(plan.layers.layers)} distinct layers, weighted by their count; at most "
        f"{plan.budget:,} samples a layer; seeds {', '.join(map(str, plan.seeds))}. "
        f"{hardware_text(plan.accelerator)}. Honest model; invalid candidates count as samples.",
        "",
        "`/ bound`: to the sum of the layers' lower bounds. `/ optimum`: to the sum of the proven "
        "optima of the sub-space of `exact` (two levels, dividing tiles; below 1 where a mapping "
        "outside it is better). `exact` is not cut short by the budget; its samples are complete "
        "mappings only. `first`: layers where the method is within 1 % of the best one (DCP's rows "
        "are not compared with each other); `first of sampled`: of the best sampling baseline (all "
        "but `exact` and DCP's rows) or itself. `dcp-two-levels` searches mappings of two levels "
        "too, as `exact` does; the other searches have three. "
        "Times are of a layer, on a shared machine.",
    ]
    lines += ["", cells_text(table)]
    for objective in plan.objectives:
        lines += [
            "",
            f"## {objective} ({UNITS[objective]})",
            "",
            "| method | value | / bound | / optimum | first | first of sampled | samples | invalid "
            "| CPU s |",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
            *(_line(row) for row in table if row.objective is objective),
        ]
    if cost := training_text(results):
        lines += ["", cost]
    lines += ["", "![table](table1.png)", "", f"Made by `{command}`.", ""]
    return "\n".join(lines)


def cells_text(table: list[Row]) -> str:
    """In how many cells, layer x objective, each method is within 1 % of the best."""
    counts: dict[str, list[int]] = {}
    for row in table:
        held = counts.setdefault(row.method, [0, 0, 0])
        for i, number in enumerate((row.first, row.sampled, row.layers)):
            held[i] += number
    ranked = sorted(counts.items(), key=lambda item: (-item[1][0], -item[1][1]))
    parts = [f"{method} {first} ({sampled})" for method, (first, sampled, _) in ranked if sampled]
    number = max(held[2] for held in counts.values())
    return (
        f"Of {number} cells, layer x objective, within 1 % of the best method (in brackets: of the "
        f"best sampling baseline or itself): {', '.join(parts)}."
    )


def _line(row: Row) -> str:
    value, ratio = f"{row.value:.5g}", f"{row.to_bound:.3f}"
    if row.failed:
        value, ratio = f"none on {row.failed} layers", ""
    elif row.spread is not None:
        value += f" ± {row.spread:.2g}"
    optimum = f"{row.to_optimum:.3f}" if row.to_optimum and not row.failed else ""
    return (
        f"| {row.method} | {value} | {ratio} | {optimum} | {row.first} of {row.layers} "
        f"| {row.sampled} of {row.layers} "
        f"| {row.calls:,} | {100 * row.invalid:.0f} % | {row.cpu_seconds:.2f} |"
    )
