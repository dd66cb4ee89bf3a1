"""Table 3: one and several objectives at once.

Layer level: what each layer's best mapping under latency, energy or their product costs in all
metrics, summed over the network. Model level: fronts of latency and energy (`fronts`). Power is
energy over latency, so equal weights of latency and power are energy; power alone, and power with
energy, reward idling, and are shown but not searched for.
"""

from __future__ import annotations

import csv
import math
import statistics
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from dcp_hw.baselines.problem import Accelerator, Found, Objective
from dcp_hw.errors import InputError
from dcp_hw.experiments.cells import Cell, Plan, fill, split
from dcp_hw.experiments.costs import hardware_text, markdown_table, number
from dcp_hw.experiments.fronts import (
    REFERENCE,
    Front,
    FrontCell,
    fill_fronts,
    front_methods,
    in_bounds,
    share_of,
)
from dcp_hw.experiments.styles import new_figure, save, style
from dcp_hw.workload import LayerSet

OBJECTIVES = (Objective.LATENCY, Objective.ENERGY, Objective.EDP)


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiPlan:
    """What is searched.

    Attributes:
        weights: pairs of weights of latency and energy in a front.
        methods: of the fronts; single: of the layer level.
    """

    networks: tuple[LayerSet, ...]
    accelerator: Accelerator
    methods: tuple[str, ...]
    single: tuple[str, ...]
    weights: int
    budget: int
    seeds: tuple[int, ...]

    def fronts(self) -> list[FrontCell]:
        """Cells of the fronts."""
        return [
            FrontCell(network, self.accelerator, name, self.weights, budget, seed)
            for network in self.networks
            for name, budget in (split(m, self.budget) for m in front_methods(self.methods))
            for seed in self.seeds
        ]

    def plans(self) -> list[Plan]:
        """The layer level, one plan for each network; cells as Table 1's."""
        return [
            Plan(
                layers=network,
                accelerator=self.accelerator,
                objectives=OBJECTIVES,
                methods=self.single,
                budget=self.budget,
                seeds=self.seeds[:1],
            )
            for network in self.networks
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method at layer level under one objective: sums over the network.

    Attributes:
        power_mw: energy over latency of the whole network.
    """

    network: str
    objective: Objective
    method: str
    cycles: float
    energy_nj: float
    edp: float
    power_mw: float
    samples: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontRow:
    """One method's front of a network.

    Attributes:
        volume: share of the rectangle, mean over seeds; spread: standard deviation.
        points: on the front, mean over seeds.
        latency, energy: least, in multiples of the bounds, mean over seeds.
    """

    network: str
    method: str
    volume: float
    spread: float | None
    points: float
    latency: float
    energy: float
    samples: int
    cpu_seconds: float


def run(
    plan: MultiPlan, folder: Path, store: Path, command: str
) -> tuple[list[Row], list[FrontRow]]:
    """Both tables; writes table3.csv, fronts.csv, points.csv, table3.md and table3.png.

    Raises: InputError if the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        single: list[Row] = []
        for one in plan.plans():
            single += rows(one, fill(one.cells(), store, f"table3: {one.layers.name}"))
        fronts = fill_fronts(plan.fronts(), store)
        table = front_rows(fronts)
        write_csv(single, folder / "table3.csv")
        write_csv(table, folder / "fronts.csv")
        write_points(fronts, folder / "points.csv")
        page = markdown(plan, single, table, command)
        (folder / "table3.md").write_text(page, encoding="utf-8")
        plot(plan, fronts, folder / "table3.png")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
    return single, table


def rows(plan: Plan, results: dict[Cell, Found]) -> list[Row]:
    """Sums over a network's layers, by objective, in the order of the plan's methods."""
    out = []
    for objective in plan.objectives:
        for method in plan.names:
            mine = [
                (cell.layer.count, found)
                for cell, found in results.items()
                if (cell.objective, cell.method) == (objective, method)
            ]
            cycles = sum(count * found.cycles for count, found in mine)
            nj = sum(count * found.energy_nj for count, found in mine)
            known = math.isfinite(cycles)
            out.append(
                Row(
                    network=plan.layers.name,
                    objective=objective,
                    method=method,
                    cycles=cycles,
                    energy_nj=nj,
                    edp=sum(count * found.cycles * found.energy_nj for count, found in mine),
                    power_mw=nj / cycles * plan.accelerator.clock_mhz if known else math.inf,
                    samples=statistics.fmean(found.calls for _, found in mine),
                )
            )
    return out


def front_rows(fronts: dict[FrontCell, Front]) -> list[FrontRow]:
    """One row for each network and method, the largest volume first."""
    grouped: dict[tuple[str, str], list[tuple[FrontCell, Front]]] = {}
    for cell, front in fronts.items():
        grouped.setdefault((cell.network.name, cell.method), []).append((cell, front))
    out = []
    for (network, method), found in grouped.items():
        scaled = [in_bounds(front.points, cell) for cell, front in found]
        volumes = [share_of(points) for points in scaled]
        least = np.array([p.min(axis=0) if len(p) else [np.inf, np.inf] for p in scaled])
        out.append(
            FrontRow(
                network=network,
                method=method,
                volume=statistics.fmean(volumes),
                spread=statistics.stdev(volumes) if len(volumes) > 1 else None,
                points=statistics.fmean(len(front.points) for _, front in found),
                latency=float(least[:, 0].mean()),
                energy=float(least[:, 1].mean()),
                samples=round(statistics.fmean(front.samples for _, front in found)),
                cpu_seconds=statistics.fmean(front.cpu_seconds for _, front in found),
            )
        )
    names = list(dict.fromkeys(row.network for row in out))
    return sorted(out, key=lambda row: (names.index(row.network), -row.volume))


def write_csv(table: list[Row] | list[FrontRow], path: Path) -> None:
    """Write the rows."""
    names = [each.name for each in fields(table[0])]
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(names)
        for row in table:
            values = (getattr(row, name) for name in names)
            out.writerow([f"{v:.9g}" if isinstance(v, float) else v for v in values])


def write_points(fronts: dict[FrontCell, Front], path: Path) -> None:
    """Write the points of all fronts."""
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("network", "method", "seed", "cycles", "energy_nj"))
        for cell, front in fronts.items():
            head = (cell.network.name, cell.method, cell.seed)
            out.writerows((*head, f"{x:.9g}", f"{y:.9g}") for x, y in front.points.tolist())


def markdown(plan: MultiPlan, single: list[Row], table: list[FrontRow], command: str) -> str:
    """Both tables as a page."""
    lines = [
        "# Several objectives",
        "",
        f"{hardware_text(plan.accelerator)}. Honest model.",
        "",
        "## Layer level: one objective, all metrics",
        "",
        f"Each layer's best mapping under an objective, at most {plan.budget:,} samples a layer, "
        f"seed {plan.seeds[0]}, summed with the layers' counts. EDP is latency and energy with "
        "equal weights. Power is energy over latency: equal weights of latency and power are "
        "energy itself; power alone, or with energy, would reward a machine that idles, so it is "
        "shown and not searched for.",
    ]
    for one in plan.plans():
        lines += ["", f"### {one.layers.name}", ""]
        columns = ["objective: method", "cycles", "nJ", "EDP (cycles x nJ)", "mW", "samples"]
        mine = [row for row in single if row.network == one.layers.name]
        lines += markdown_table(columns, (_line(row) for row in mine))
    seeds = ", ".join(map(str, plan.seeds))
    lines += [
        "",
        "## Model level: fronts of latency and energy",
        "",
        f"One mapping for the network, {plan.weights} pairs of weights, {plan.budget:,} samples "
        f"over all of them (DCP: 16 for each), seeds {seeds}. Volume: share of the rectangle "
        f"between the sums of the layers' bounds and {REFERENCE[0]:g} times them that the front "
        "dominates; the bounds are those of layers by themselves. Least latency and energy in "
        "multiples of the bounds.",
    ]
    columns = ["method", "volume", "points", "least latency", "least energy", "samples", "CPU s"]
    for network in plan.networks:
        lines += ["", f"### {network.name}", ""]
        lines += markdown_table(
            columns, (_front_line(row) for row in table if row.network == network.name)
        )
    return "\n".join([*lines, "", "![fronts](table3.png)", "", f"Made by `{command}`.", ""])


def _line(row: Row) -> list[str]:
    if not math.isfinite(row.cycles):
        return [f"{row.objective}: {row.method}", "none", "", "", "", f"{row.samples:,.0f}"]
    return [
        f"{row.objective}: {row.method}",
        f"{row.cycles:.5g}",
        f"{row.energy_nj:.5g}",
        f"{row.edp:.5g}",
        f"{row.power_mw:.1f}",
        f"{row.samples:,.0f}",
    ]


def _front_line(row: FrontRow) -> list[str]:
    spread = f" ± {row.spread:.3f}" if row.spread is not None else ""
    return [
        row.method,
        f"{row.volume:.3f}{spread}",
        f"{row.points:.0f}",
        number(row.latency),
        number(row.energy),
        f"{row.samples:,}",
        f"{row.cpu_seconds:.1f}",
    ]


def plot(plan: MultiPlan, fronts: dict[FrontCell, Front], path: Path) -> None:
    """Write a PNG: the fronts of the first seed, a panel for each network."""
    figure, axes = new_figure(columns=len(plan.networks), size=(6.0, 4.8))
    for network, place in zip(plan.networks, axes[0], strict=True):
        for cell, front in fronts.items():
            if cell.network == network and cell.seed == plan.seeds[0] and len(front.points):
                points = in_bounds(front.points, cell)
                look = style(cell.method)
                place.step(*points.T, where="post", label=cell.method, markersize=4, **look)
        place.set(xscale="log", yscale="log", title=network.name)
        place.set(xlim=(1.0, 2 * REFERENCE[0]), ylim=(1.0, 2 * REFERENCE[1]))
        for axis in (place.xaxis, place.yaxis):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("{x:g}")
        place.set(xlabel="latency / sum of bounds", ylabel="energy / sum of bounds")
        place.grid(visible=True, which="both", alpha=0.3)
    axes[0][-1].legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    save(figure, path)
