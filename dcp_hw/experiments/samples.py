"""Sample efficiency: the best value after 10 to 10,000 samples, a dozen layers, all methods.

DCP stands there three times: by its own samples alone, with the training samples of its predictor
divided by the layers that it serves, and with all of them.
"""

from __future__ import annotations

import csv
import math
import statistics
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dcp_hw.baselines.bounds import bound
from dcp_hw.baselines.methods import EXACT
from dcp_hw.baselines.problem import Accelerator, Found, Objective, Problem
from dcp_hw.errors import InputError
from dcp_hw.experiments.cells import Cell, Plan, fill
from dcp_hw.experiments.costs import (
    Training,
    geometric_mean,
    hardware_text,
    markdown_table,
    number,
    shipped_training,
)
from dcp_hw.experiments.styles import draw_curve, new_figure, save, style
from dcp_hw.workload import Layer, LayerSet

MARKS = (10, 16, 30, 100, 300, 1000, 3000, 10_000)
"""Samples at which the table looks."""
DCP = "dcp"
WITHIN = 1.01


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePlan:
    """What is searched: some layers of each network, one machine, one objective."""

    networks: tuple[LayerSet, ...]
    each: int
    accelerator: Accelerator
    objective: Objective
    methods: tuple[str, ...]
    budget: int
    seeds: tuple[int, ...]

    def plans(self) -> list[Plan]:
        """One for each network."""
        return [
            Plan(
                layers=replace(network, layers=spread(network, self.each)),
                accelerator=self.accelerator,
                objectives=(self.objective,),
                methods=self.methods,
                budget=self.budget,
                seeds=self.seeds,
            )
            for network in self.networks
        ]

    @property
    def names(self) -> tuple[str, ...]:
        """The methods without their budgets."""
        return self.plans()[0].names

    @property
    def served(self) -> int:
        """Distinct layers of the networks: what one trained predictor serves here."""
        return sum(len(network.layers) for network in self.networks)

    def bounds(self) -> dict[Layer, float]:
        """The lower bound of each layer."""
        given = {"accelerator": self.accelerator, "objective": self.objective}
        return {
            layer: bound(Problem(layer=layer, **given)).of(self.objective)
            for plan in self.plans()
            for layer in plan.layers.layers
        }


def spread(network: LayerSet, number: int) -> tuple[Layer, ...]:
    """So many layers, evenly from the fewest MACs to the most, in network order."""
    ranked = sorted(network.layers, key=lambda layer: layer.macs)
    places = np.linspace(0, len(ranked) - 1, min(number, len(ranked))).round().astype(int)
    chosen = {ranked[i].name for i in places}
    return tuple(layer for layer in network.layers if layer.name in chosen)


def run(plan: SamplePlan, folder: Path, store: Path, command: str) -> list[Row]:
    """Rows of the table; writes samples.csv, samples.md and samples.png to a folder.

    Raises: InputError if the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        cells = [cell for one in plan.plans() for cell in one.cells()]
        results = fill(cells, store, "samples: searches")
        bounds = plan.bounds()
        table = rows(plan, results, bounds)
        write_csv(plan, results, bounds, folder / "samples.csv")
        page = markdown(plan, table, results, bounds, command)
        (folder / "samples.md").write_text(page, encoding="utf-8")
        plot(plan, results, bounds, folder / "samples.png")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
    return table


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method.

    Attributes:
        ratios: best / bound after each of MARKS, geometric mean over layers and seeds; inf as
            long as a layer has no value.
        samples: of a layer, mean; bounded: incomplete mappings that `exact` computed bounds of.
        cpu_seconds: of a layer, mean, without DCP's training.
        reached: layers on which it comes within 1 % of DCP's result, of `layers`.
        needed: samples that it takes for that, median over those layers; None: reached on none.
    """

    method: str
    ratios: tuple[float, ...]
    samples: float
    bounded: int
    cpu_seconds: float
    reached: int
    layers: int
    needed: float | None


def best_after(found: Found, samples: float) -> float:
    """The best value after so many samples; inf where there is none yet."""
    value = math.inf
    for calls, best in found.trace:
        if calls > samples:
            break
        value = best
    return value


def samples_until(found: Found, value: float) -> float:
    """Samples until a value is reached; inf if it never is."""
    return next((float(calls) for calls, best in found.trace if best <= value), math.inf)


Results = dict[Cell, Found]
Bounds = dict[Layer, float]


def ratio_after(results: Results, bounds: Bounds, method: str, samples: float) -> float:
    """Best / bound of a method after so many samples, geometric mean over layers and seeds."""
    return geometric_mean(
        best_after(found, samples) / bounds[cell.layer]
        for cell, found in results.items()
        if cell.method == method
    )


def rows(plan: SamplePlan, results: Results, bounds: Bounds) -> list[Row]:
    """One row for each method, the best result first."""
    goals = _means(results, DCP) if DCP in plan.names else {}
    out = []
    for method in plan.names:
        mine = {cell: found for cell, found in results.items() if cell.method == method}
        layers = {cell.layer for cell in mine}
        needed = {
            layer: statistics.median(
                samples_until(found, WITHIN * goals.get(layer, 0.0))
                for cell, found in mine.items()
                if cell.layer == layer
            )
            for layer in layers
        }
        reached = [count for count in needed.values() if math.isfinite(count)]
        out.append(
            Row(
                method=method,
                ratios=tuple(ratio_after(results, bounds, method, mark) for mark in MARKS),
                samples=statistics.fmean(found.calls for found in mine.values()),
                bounded=round(statistics.fmean(found.partial for found in mine.values())),
                cpu_seconds=statistics.fmean(found.cpu_seconds for found in mine.values()),
                reached=len(reached),
                layers=len(layers),
                needed=statistics.median(reached) if reached else None,
            )
        )
    return sorted(out, key=lambda row: row.ratios[-1])


def _means(results: Results, method: str) -> dict[Layer, float]:
    """A method's value on each layer, mean over seeds."""
    values: dict[Layer, list[float]] = {}
    for cell, found in results.items():
        if cell.method == method:
            values.setdefault(cell.layer, []).append(found.value)
    return {layer: statistics.fmean(each) for layer, each in values.items()}


def write_csv(plan: SamplePlan, results: Results, bounds: Bounds, path: Path) -> None:
    """Write the best / bound of every cell after each of MARKS."""
    network = {layer: one.layers.name for one in plan.plans() for layer in one.layers.layers}
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        head = ("network", "layer", "objective", "method", "seed", "samples", "cpu_seconds")
        out.writerow([*head, *(f"to_bound_after_{mark}" for mark in MARKS)])
        for cell, found in results.items():
            ratios = [best_after(found, mark) / bounds[cell.layer] for mark in MARKS]
            numbers = [f"{r:.6g}" if math.isfinite(r) else "" for r in ratios]
            names = (network[cell.layer], cell.layer.name, cell.objective, cell.method, cell.seed)
            out.writerow([*names, found.calls, f"{found.cpu_seconds:.3f}", *numbers])


def markdown(
    plan: SamplePlan, table: list[Row], results: Results, bounds: Bounds, command: str
) -> str:
    """The table as a page."""
    chosen = "; ".join(
        f"{one.layers.name}: {', '.join(layer.name for layer in one.layers.layers)}"
        for one in plan.plans()
    )
    lines = [
        "# Best value against samples",
        "",
        f"{len(bounds)} layers, spread evenly over each network's MACs: {chosen}. "
        f"{plan.objective}; {plan.budget:,} samples; seeds {', '.join(map(str, plan.seeds))}. "
        f"{hardware_text(plan.accelerator)}.",
        "",
        "Best value so far / lower bound, geometric mean over layers and seeds, after so many "
        "samples (calls of the honest model); a search that ended keeps its value. Empty as long "
        "as a layer has no feasible mapping. Populations are those of the whole budget: with a "
        "budget of 1,000 a genetic search does better at 1,000 samples than here.",
        "",
        *markdown_table(
            ["method", *(f"{mark:,}" for mark in MARKS)],
            ([row.method, *(number(ratio) for ratio in row.ratios)] for row in table),
        ),
        "",
        *_against_dcp(table),
        *_training_lines(plan, table, results, bounds),
        "",
        "![samples](samples.png)",
        "",
        f"Made by `{command}`.",
        "",
    ]
    return "\n".join(lines)


def _against_dcp(table: list[Row]) -> list[str]:
    """On how many layers others reach DCP's result, and by when."""
    if DCP not in {row.method for row in table}:
        return []
    head = ["method", "layers within 1 % of DCP's result", "samples for it, median", "samples"]
    head += ["bounds computed", "CPU s"]
    return [
        "On how many layers a method comes within 1 % of DCP's result, and after how many samples. "
        "Bounds of incomplete mappings, by which `exact` prunes, are no samples but cost time:",
        "",
        *markdown_table(
            head,
            (
                [row.method, f"{row.reached} of {row.layers}",
                 "" if row.needed is None else f"{row.needed:,.0f}", f"{row.samples:,.0f}",
                 f"{row.bounded:,}" if row.bounded else "", f"{row.cpu_seconds:.2f}"]
                for row in table
            ),
        ),
        "",
    ]  # fmt: skip


def accounts(plan: SamplePlan, results: Results, training: Training) -> dict[str, float]:
    """DCP's samples of a layer: its own, with predictions, with training."""
    own = statistics.fmean(f.calls for c, f in results.items() if c.method == DCP)
    return {
        "own samples": own,
        "with its predictions": own + predictions(),
        f"with training / {plan.served} layers": own + training.rows / plan.served,
        "with all training": own + training.rows,
    }


def predictions() -> int:
    """Predictions that DCP's default search asks for a layer."""
    from dcp_hw.optimise_settings import LAYER

    return LAYER.predictions


def _training_lines(
    plan: SamplePlan, table: list[Row], results: Results, bounds: Bounds
) -> list[str]:
    """Which method is best at DCP's number of samples, however they are counted."""
    training = shipped_training()
    mine = next((row for row in table if row.method == DCP), None)
    if training is None or mine is None:
        return []
    lines = [
        f"The predictor learned from {training.rows:,} samples of torchvision's layers on "
        f"64 machines. DCP's result, {mine.ratios[-1]:.3f} x the bound, against the best of the "
        "others with as many samples as DCP, counted in four ways; the "
        "others ended at their budgets:",
        "",
    ]
    found = []
    others = [row.method for row in table if not row.method.startswith(DCP)]
    for name, samples in accounts(plan, results, training).items():
        ranked = sorted(
            (ratio_after(results, bounds, method, samples), method) for method in others
        )
        sampled = [pair for pair in ranked if pair[1] != EXACT]
        texts = [f"{number(ratio)} ({method})" for ratio, method in (sampled[0], ranked[0])]
        found.append([name, f"{samples:,.0f}", number(mine.ratios[-1]), *texts])
    return lines + markdown_table(
        ["DCP's samples counted as", "samples", "DCP", "best sampled", "best, `exact` included"],
        found,
    )


def plot(plan: SamplePlan, results: Results, bounds: Bounds, path: Path) -> None:
    """Write a PNG: best / bound against samples, DCP with its training beside."""
    figure, axes = new_figure(size=(8.0, 5.2))
    place = axes[0][0]
    for method in plan.names:
        most = max(f.calls for c, f in results.items() if c.method == method)
        samples = np.unique(np.rint(np.geomspace(1, most, 60)).astype(int))
        ratios = np.array([ratio_after(results, bounds, method, n) for n in samples])
        known = np.isfinite(ratios)
        draw_curve(place, method, samples[known], ratios[known])
    training = shipped_training()
    if DCP in plan.names and training is not None:
        level = ratio_after(results, bounds, DCP, math.inf)
        marks = list(accounts(plan, results, training).items())
        place.plot(
            [n for _, n in marks], [level] * len(marks), color="black", linewidth=0.8, dashes=(4, 3)
        )
        for i, (name, samples) in enumerate(marks[1:]):
            place.plot(samples, level, **style(DCP) | {"linestyle": ""}, markersize=10)
            place.annotate(
                f"dcp {name}",
                (samples, level),
                (0, 150 - 30 * i),
                fontsize=8,
                ha="left" if i < 2 else "right",
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "linewidth": 0.6},
            )
    place.set(xscale="log", yscale="log", xlabel="samples of a layer (honest evaluations)")
    place.set(ylabel="best / lower bound, geometric mean", title=str(plan.objective))
    place.axhline(1.0, color="black", linewidth=0.8)
    place.grid(visible=True, which="both", alpha=0.3)
    place.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    save(figure, path)
