"""Model level: one mapping for each network, by method; Table 2 and the tight settings.

A value is the sum over layers of count x value, mean over seeds. Beside it stand its ratio to the
sum of the layers' lower bounds, each layer by itself, which one shared mapping need not reach, and
to the best of the three fixed dataflows. A sample is one mapping, evaluated on all layers.
"""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from dcp_hw.baselines.fixed import FIXED
from dcp_hw.baselines.network import NETWORK_METHODS, Network
from dcp_hw.baselines.problem import Accelerator, Found, Objective
from dcp_hw.errors import InputError
from dcp_hw.experiments.cells import Cell, fill, split
from dcp_hw.experiments.costs import geometric_mean, hardware_text, markdown_table, number
from dcp_hw.experiments.styles import grouped_bars, new_figure, save
from dcp_hw.workload import LayerSet

WITHIN = 1.01


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPlan:
    """What is searched: every network, machine, objective, method and seed.

    Raises: InputError for a method that there is not at model level.
    """

    networks: tuple[LayerSet, ...]
    machines: tuple[tuple[str, Accelerator], ...]
    objectives: tuple[Objective, ...]
    methods: tuple[str, ...]
    budget: int
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        for method in self.methods:
            if split(method, self.budget)[0] not in NETWORK_METHODS:
                raise InputError(f"method {method!r} not found at model level; have "
                                 f"{', '.join(NETWORK_METHODS)}")  # fmt: skip

    def cases(self) -> Iterator[tuple[LayerSet, str, Accelerator, Objective]]:
        """Every network on every machine under every objective."""
        for network in self.networks:
            for label, accelerator in self.machines:
                for objective in self.objectives:
                    yield network, label, accelerator, objective

    def cells(self) -> list[Cell]:
        """All cells; fixed dataflows have one seed."""
        return [
            Cell(network, accelerator, objective, *split(method, self.budget), seed)
            for network, _, accelerator, objective in self.cases()
            for method in self.methods
            for seed in (self.seeds[:1] if method in FIXED else self.seeds)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method on one network, machine and objective.

    Attributes:
        value: mean over seeds; inf if a seed found nothing. spread: standard deviation.
        to_bound, to_fixed: ratios to the layers' bounds, and to the best fixed dataflow.
        to_best: ratio to the best method.
        cycles, energy_nj: of the network, mean over seeds.
        samples: mappings; evaluations: samples x distinct layers.
        cpu_seconds: of one search.
    """

    network: str
    machine: str
    objective: Objective
    method: str
    value: float
    spread: float | None
    to_bound: float
    to_fixed: float | None
    to_best: float
    cycles: float
    energy_nj: float
    samples: int
    evaluations: int
    invalid: float
    cpu_seconds: float


def run(
    plan: NetworkPlan, folder: Path, store: Path, name: str, text: tuple[str, str], command: str
) -> list[Row]:
    """Rows of the table; writes NAME.csv, NAME.md and NAME.png to a folder.

    Args:
        text: title and introduction of the page.

    Raises: InputError if the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        results = fill(plan.cells(), store, f"{name}: searches")
        table = rows(plan, results)
        write_csv(table, folder / f"{name}.csv")
        page = markdown(plan, table, name, text, command)
        (folder / f"{name}.md").write_text(page, encoding="utf-8")
        plot(plan, table, folder / f"{name}.png")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
    return table


def rows(plan: NetworkPlan, results: dict[Cell, Found]) -> list[Row]:
    """The rows, case by case, best value first."""
    out = []
    for network, label, accelerator, objective in plan.cases():
        given = {"layers": network, "accelerator": accelerator, "objective": objective}
        least = Network(**given).least()[0]
        mine = {
            method: [
                found
                for cell, found in results.items()
                if (cell.subject, cell.accelerator, cell.objective, cell.method)
                == (network, accelerator, objective, method)
            ]
            for method in (split(m, plan.budget)[0] for m in plan.methods)
        }
        values = {m: statistics.fmean(f.value for f in found) for m, found in mine.items()}
        fixed = min((values[m] for m in FIXED if m in values), default=math.inf)
        case = (network, label, objective)
        found = [
            _row(case, m, each, least, fixed, min(values.values())) for m, each in mine.items()
        ]
        out += sorted(found, key=lambda row: row.value)
    return out


def _row(
    case: tuple[LayerSet, str, Objective],
    method: str,
    found: list[Found],
    least: float,
    fixed: float,
    best: float,
) -> Row:
    network, label, objective = case
    values = [one.value for one in found]
    value = statistics.fmean(values)
    samples = round(statistics.fmean(one.calls for one in found))
    known = math.isfinite(value)
    return Row(
        network=network.name,
        machine=label,
        objective=objective,
        method=method,
        value=value,
        spread=statistics.stdev(values) if len(values) > 1 and known else None,
        to_bound=value / least,
        to_fixed=value / fixed if known and math.isfinite(fixed) else None,
        to_best=value / best if known else math.inf,
        cycles=statistics.fmean(one.cycles for one in found),
        energy_nj=statistics.fmean(one.energy_nj for one in found),
        samples=samples,
        evaluations=samples * len(network.layers),
        invalid=sum(one.invalid for one in found) / sum(one.calls for one in found),
        cpu_seconds=statistics.fmean(one.cpu_seconds for one in found),
    )


def write_csv(table: list[Row], path: Path) -> None:
    """Write the rows."""
    names = [field.name for field in fields(Row)]
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(names)
        out.writerows([_cell(getattr(row, name)) for name in names] for row in table)


def _cell(value: object) -> object:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return f"{value:.9g}" if isinstance(value, float) else value


def overview(table: list[Row]) -> list[str]:
    """Lines of a table over all cases: how often a method is first, and how far behind it is."""
    methods = dict.fromkeys(row.method for row in table)
    found = []
    for method in methods:
        mine = [row for row in table if row.method == method]
        behind = geometric_mean(row.to_best for row in mine)
        first = sum(row.to_best <= WITHIN for row in mine)
        samples = statistics.fmean(row.samples for row in mine)
        seconds = statistics.fmean(row.cpu_seconds for row in mine)
        line = [f"{first} of {len(mine)}", number(behind), f"{samples:,.0f}", f"{seconds:.2f}"]
        found.append((behind, [method, *line]))
    found.sort(key=lambda pair: pair[0])
    columns = ["method", "within 1 % of the best", "value / best, geometric mean", "samples"]
    return markdown_table([*columns, "CPU s"], (line for _, line in found))


def markdown(
    plan: NetworkPlan, table: list[Row], name: str, text: tuple[str, str], command: str
) -> str:
    """The table as a page."""
    title, introduction = text
    seeds = ", ".join(map(str, plan.seeds))
    lines = [f"# {title}", "", introduction, ""]
    lines += [f"At most {plan.budget:,} samples; seeds {seeds}. Machines:", ""]
    lines += [f"* {label}: {hardware_text(accelerator)}" for label, accelerator in plan.machines]
    lines += ["", *overview(table)]
    columns = ["method", "value", "/ bound", "/ best fixed", "cycles", "nJ", "samples"]
    columns += ["evaluations", "invalid", "CPU s"]
    for network, label, _, objective in plan.cases():
        case = (network.name, label, objective)
        mine = [row for row in table if (row.network, row.machine, row.objective) == case]
        machine = f", {label}" if len(plan.machines) > 1 else ""
        lines += ["", f"## {network.name}{machine}: {objective}", ""]
        lines += markdown_table(columns, (_line(row) for row in mine))
    lines += ["", f"![{name}]({name}.png)", "", f"Made by `{command}`.", ""]
    return "\n".join(lines)


def _line(row: Row) -> list[str]:
    if not math.isfinite(row.value):
        return [row.method, "none", *[""] * 4, f"{row.samples:,}", f"{row.evaluations:,}",
                f"{100 * row.invalid:.0f} %", f"{row.cpu_seconds:.2f}"]  # fmt: skip
    spread = f" ± {row.spread:.2g}" if row.spread is not None else ""
    return [
        row.method,
        f"{row.value:.5g}{spread}",
        number(row.to_bound),
        number(row.to_fixed),
        f"{row.cycles:.4g}",
        f"{row.energy_nj:.4g}",
        f"{row.samples:,}",
        f"{row.evaluations:,}",
        f"{100 * row.invalid:.0f} %",
        f"{row.cpu_seconds:.2f}",
    ]


def plot(plan: NetworkPlan, table: list[Row], path: Path) -> None:
    """Bars: value / bound by method; a panel for each objective, or for each network."""
    by_machine = len(plan.machines) > 1
    panels = [n.name for n in plan.networks] if by_machine else list(plan.objectives)
    figure, axes = new_figure(columns=len(panels), size=(6.4, 4.8))
    for panel, place in zip(panels, axes[0], strict=True):
        mine = [r for r in table if panel == (r.network if by_machine else r.objective)]
        groups = list(dict.fromkeys(r.machine if by_machine else r.network for r in mine))
        series = {
            method: [
                next(
                    (
                        r.to_bound
                        for r in mine
                        if r.method == method and group == (r.machine if by_machine else r.network)
                    ),
                    math.inf,
                )
                for group in groups
            ]
            for method in (split(m, plan.budget)[0] for m in plan.methods)
        }
        grouped_bars(place, groups, series, least=1.0)
        place.set(yscale="log", title=str(panel))
        place.set(ylabel="value / sum of the layers' lower bounds")
        place.grid(visible=True, axis="y", which="both", alpha=0.3)
    axes[0][-1].legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    save(figure, path)
