"""Unseen hardware: DCP with the shipped predictor as it is, and fine-tuned; GAMMA from scratch.

None of the machines is among those that the shipped predictor learned from; some lie outside the
ranges these were drawn from. Fine-tuning takes a tenth of the samples that GAMMA uses, drawn at
random from the layers' spaces on that machine; infeasible ones count and teach nothing.
"""

from __future__ import annotations

import csv
import hashlib
import math
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcp_hw.baselines.bounds import bound
from dcp_hw.baselines.problem import Accelerator, Objective, Problem
from dcp_hw.baselines.propagation import propagate_layers, shipped
from dcp_hw.errors import InputError
from dcp_hw.experiments.cells import (
    Cell,
    fill,
    read_record,
    record_path,
    subject_key,
    write_record,
)
from dcp_hw.experiments.costs import hardware_text, markdown_table, number
from dcp_hw.experiments.styles import new_figure, save
from dcp_hw.experiments.versions import version
from dcp_hw.maestro.honest_types import HonestMachine
from dcp_hw.progress import progress
from dcp_hw.workload import LayerSet

if TYPE_CHECKING:
    from dcp_hw.experiments.fig6_tune import Tuned
    from dcp_hw.optimise_predictor import Frozen

MACHINES: dict[str, HonestMachine] = {
    "small": HonestMachine(
        pes=64, l1_size=256, l2_size=32_768, noc_bw=16, noc_latency=1, dram_bw=8
    ),
    "wide": HonestMachine(
        pes=512, l1_size=256, l2_size=524_288, noc_bw=64, noc_latency=1, dram_bw=32
    ),
    "starved": HonestMachine(
        pes=256, l1_size=512, l2_size=108_000, noc_bw=8, noc_latency=2, dram_bw=4
    ),
    "edge": HonestMachine(pes=16, l1_size=64, l2_size=8192, noc_bw=4, noc_latency=1, dram_bw=2),
    "large": HonestMachine(
        pes=2048, l1_size=512, l2_size=4_194_304, noc_bw=1024, noc_latency=1, dram_bw=256
    ),
}
"""By name; `edge` and `large` lie outside the ranges of the training machines."""
ZERO, FEW, AWAY = "dcp, zero-shot", "dcp, few-shot", "dcp without gradients, zero-shot"
VARIANTS = {ZERO: "dcp", FEW: "dcp", AWAY: "dcp-without-gradients"}
"""DCP's rows, and the method behind each."""
LEARNED_ZERO, LEARNED_FEW = "learned alone, zero-shot", "learned alone, few-shot"
LEARNED = {LEARNED_ZERO: "dcp", LEARNED_FEW: "dcp"}
"""The same with a predictor without a closed form, which knows of machines only what it learned."""
_METHODS = VARIANTS | LEARNED
_TUNED = (FEW, LEARNED_FEW)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnseenPlan:
    """What is searched.

    Attributes:
        methods: searches from scratch, with `budget` samples a layer.
        variants: of VARIANTS and LEARNED.
        learned: checkpoint of the predictor that LEARNED stands for.
        share: samples of fine-tuning, as a share of the budget.
    """

    network: LayerSet
    machines: tuple[str, ...]
    methods: tuple[str, ...]
    variants: tuple[str, ...]
    budget: int
    share: float
    seeds: tuple[int, ...]
    objective: Objective = Objective.EDP
    learned: Path | None = None

    def __post_init__(self) -> None:
        if self.learned is None and set(self.variants) & set(LEARNED):
            raise InputError(f"{LEARNED_ZERO}: accepted: with the checkpoint of a predictor")
        for what, names, known in (
            ("machine", self.machines, MACHINES),
            ("variant", self.variants, _METHODS),
        ):
            for name in names:
                if name not in known:
                    raise InputError(f"{what} {name!r} not found; have {', '.join(known)}")

    @property
    def few(self) -> int:
        """Samples of a layer that fine-tuning takes."""
        return max(1, round(self.share * self.budget))

    def cells(self, machine: str) -> Iterator[Cell]:
        """Searches from scratch on a machine, with a tenth of the samples too."""
        accelerator = Accelerator(machine=MACHINES[machine])
        for method in self.methods:
            for budget in dict.fromkeys((self.few, self.budget)):
                for seed in self.seeds:
                    for layer in self.network.layers:
                        yield Cell(layer, accelerator, self.objective, method, budget, seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method on one machine; the whole network.

    Attributes:
        value: sum over layers of count x value, mean over seeds; failed: layers without any.
        samples: of a layer, fine-tuning's among them.
        latency_error, energy_error: of the predictor, median relative error on other samples of
            the same layers and machine; None where there is no predictor.
        tuning_seconds: CPU seconds of fine-tuning, its samples among them.
    """

    machine: str
    method: str
    value: float
    spread: float | None
    to_bound: float
    failed: int
    samples: int
    cpu_seconds: float
    latency_error: float | None = None
    energy_error: float | None = None
    tuning_seconds: float | None = None


def run(plan: UnseenPlan, folder: Path, store: Path, command: str) -> list[Row]:
    """Rows of the table; writes fig6.csv, fig6.md and fig6.png to a folder.

    Raises: InputError if the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        table: list[Row] = []
        for machine in plan.machines:
            least = bound_of(plan, machine)
            table += scratch_rows(plan, machine, store, least)
            table += propagation_rows(plan, machine, store, least)
        write_csv(table, folder / "fig6.csv")
        (folder / "fig6.md").write_text(markdown(plan, table, command), encoding="utf-8")
        plot(plan, table, folder / "fig6.png")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
    return table


def bound_of(plan: UnseenPlan, machine: str) -> float:
    """Sum of the layers' lower bounds."""
    problems = problems_of(plan, machine)
    return sum(p.layer.count * bound(p).of(plan.objective) for p in problems)


def problems_of(plan: UnseenPlan, machine: str) -> list[Problem]:
    """The network's layers on a machine."""
    accelerator = Accelerator(machine=MACHINES[machine])
    return [
        Problem(layer=layer, accelerator=accelerator, objective=plan.objective)
        for layer in plan.network.layers
    ]


def scratch_rows(plan: UnseenPlan, machine: str, store: Path, least: float) -> list[Row]:
    """One row for each method and budget."""
    results = fill(plan.cells(machine), store, f"fig6: {machine}")
    out = []
    for method, budget in dict.fromkeys((cell.method, cell.budget) for cell in results):
        mine = {c: f for c, f in results.items() if (c.method, c.budget) == (method, budget)}
        sums = [
            sum(c.layer.count * f.value for c, f in mine.items() if c.seed == seed)
            for seed in plan.seeds
        ]
        out.append(
            Row(
                machine=machine,
                method=f"{method}, {budget:,}",
                value=statistics.fmean(sums),
                spread=_spread(sums),
                to_bound=statistics.fmean(sums) / least,
                failed=len({c.layer for c, f in mine.items() if not math.isfinite(f.value)}),
                samples=budget,
                cpu_seconds=statistics.fmean(f.cpu_seconds for f in mine.values()),
            )
        )
    return out


def _spread(values: list[float]) -> float | None:
    finite = len(values) > 1 and all(map(math.isfinite, values))
    return statistics.stdev(values) if finite else None


def propagation_rows(plan: UnseenPlan, machine: str, store: Path, least: float) -> list[Row]:
    """One row for each variant of DCP; what was searched before is read."""
    out = []
    with progress(f"fig6: {machine}: DCP", len(plan.variants) * len(plan.seeds)) as advance:
        for variant in plan.variants:
            found = []
            for seed in plan.seeds:
                found.append(propagated(plan, machine, variant, seed, store))
                advance(1, variant)
            sums = [one["value"] for one in found]
            mean = {
                name: statistics.fmean(one[name] for one in found)
                for name in ("cpu_seconds", "latency_error", "energy_error", "tuning_seconds")
            }
            out.append(
                Row(
                    machine=machine,
                    method=variant,
                    value=statistics.fmean(sums),
                    spread=_spread(sums),
                    to_bound=statistics.fmean(sums) / least,
                    failed=max(one["failed"] for one in found),
                    samples=max(one["samples"] for one in found),
                    **mean,
                )
            )
    return out


def propagated(
    plan: UnseenPlan, machine: str, variant: str, seed: int, store: Path
) -> dict[str, Any]:
    """Sums over the network of one variant and seed, searched or read."""
    key = {
        "subject": subject_key(plan.network),
        "machine": asdict(MACHINES[machine]),
        "objective": str(plan.objective),
        "variant": variant,
        "version": version(_METHODS[variant]),
        "tuning": plan.few if variant in _TUNED else 0,
        "seed": seed,
    }
    if variant in LEARNED and plan.learned:
        key["weights"] = hashlib.sha256(plan.learned.read_bytes()).hexdigest()
    path = record_path(store, _METHODS[variant], f"fig6-{machine}-{plan.network.name}", key)
    stored = read_record(path, key)
    if stored is not None and {"value", "failed", "samples", "tuning_seconds"} <= stored.keys():
        return stored | {"value": math.inf if stored["value"] is None else stored["value"]}
    found = _propagate(plan, machine, variant, seed)
    value = found["value"]
    write_record(path, key, found | {"value": value if math.isfinite(value) else None})
    return found


def _frozen(plan: UnseenPlan, variant: str) -> Frozen:
    """The predictor of a row, before it is tuned."""
    if variant not in LEARNED:
        return shipped()
    from dcp_hw.optimise_predictor import load_frozen

    return load_frozen(plan.learned)


def _propagate(plan: UnseenPlan, machine: str, variant: str, seed: int) -> dict[str, Any]:
    from dcp_hw.experiments.fig6_tune import errors, tune

    problems = problems_of(plan, machine)
    frozen, tuned = _frozen(plan, variant), None
    if variant in _TUNED:
        tuned: Tuned | None = tune(frozen, problems, plan.few, seed)
        frozen = replace(frozen, predict=tuned.model)
    latency, energy = errors(frozen, problems, seed)
    found = propagate_layers(problems, _METHODS[variant], plan.budget, seed, frozen)
    return {
        "value": sum(p.layer.count * f.value for p, f in zip(problems, found, strict=True)),
        "failed": sum(not math.isfinite(f.value) for f in found),
        "samples": max(f.calls for f in found) + (plan.few if tuned else 0),
        "cpu_seconds": statistics.fmean(f.cpu_seconds for f in found),
        "latency_error": latency,
        "energy_error": energy,
        "tuning_seconds": tuned.cpu_seconds if tuned else 0.0,
    }


def write_csv(table: list[Row], path: Path) -> None:
    """Write the rows."""
    names = [field.name for field in fields(Row)]
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(names)
        for row in table:
            values = (getattr(row, name) for name in names)
            out.writerow([f"{v:.9g}" if isinstance(v, float) else v for v in values])


def markdown(plan: UnseenPlan, table: list[Row], command: str) -> str:
    """The table as a page."""
    lines = [
        f"# Unseen hardware: {plan.network.name}",
        "",
        f"{plan.objective}, layer level, {len(plan.network.layers)} distinct layers weighted by "
        f"their count; seeds {', '.join(map(str, plan.seeds))}. None of these machines is among "
        "the 64 that the shipped predictor learned from; `edge` and `large` lie outside the ranges "
        "that those were drawn from.",
        "",
        f"Few-shot: the predictor's network is trained on with {plan.few:,} random samples of each "
        f"layer, {plan.share:g} x GAMMA's {plan.budget:,}; they are counted. Errors: median "
        "relative error on other random samples of the same layers. CPU s: of a layer; tuning: "
        "once for the network.",
    ]
    if plan.learned:
        lines += [
            "",
            f"Learned alone: a predictor without a closed form ({plan.learned.name}); it knows of "
            "machines what it learned, and is searched with in the same way.",
        ]
    columns = ["method", "value", "/ bound", "samples", "CPU s", "error, latency"]
    columns += ["error, energy", "tuning, CPU s"]
    for machine in plan.machines:
        text = hardware_text(Accelerator(machine=MACHINES[machine]))
        mine = sorted((r for r in table if r.machine == machine), key=lambda row: row.value)
        lines += ["", f"## {machine}: {text}", ""]
        lines += markdown_table(columns, map(_line, mine))
    return "\n".join([*lines, "", "![fig6](fig6.png)", "", f"Made by `{command}`.", ""])


def _line(row: Row) -> list[str]:
    spread = f" ± {row.spread:.2g}" if row.spread is not None else ""
    value = f"none on {row.failed} layers" if row.failed else f"{row.value:.5g}{spread}"
    errors = (row.latency_error, row.energy_error)
    return [
        row.method,
        value,
        number(row.to_bound),
        f"{row.samples:,}",
        f"{row.cpu_seconds:.2f}",
        *("" if error is None else f"{100 * error:.3f} %" for error in errors),
        "" if not row.tuning_seconds else f"{row.tuning_seconds:.1f}",
    ]


_COLOURS = (
    *("#000000", "#0072B2", "#999999", "#E69F00", "#D55E00", "#CC79A7", "#009E73", "#56B4E9"),
    "#F0E442",
)


def plot(plan: UnseenPlan, table: list[Row], path: Path) -> None:
    """Write a PNG: value / bound of every method on every machine."""
    figure, axes = new_figure(size=(9.5, 4.8))
    place = axes[0][0]
    methods = list(dict.fromkeys(row.method for row in table))
    methods.sort(key=lambda name: list(_METHODS).index(name) if name in _METHODS else 9)
    width = 0.8 / len(methods)
    for i, method in enumerate(methods):
        mine = {row.machine: row for row in table if row.method == method}
        ratios = [mine[machine].to_bound for machine in plan.machines]
        known = [(x, r) for x, r in enumerate(ratios) if math.isfinite(r)]
        place.bar(
            [x - 0.4 + width * (i + 0.5) for x, _ in known],
            [ratio - 1 for _, ratio in known],
            width,
            bottom=1.0,
            color=_COLOURS[i % len(_COLOURS)],
            hatch="//" * (i // len(_COLOURS)),
            edgecolor="black",
            linewidth=0.5,
            label=method,
        )
    place.set_xticks(range(len(plan.machines)), plan.machines)
    place.set(yscale="log", xlabel="machine")
    place.set(ylabel=f"{plan.objective} / sum of the layers' lower bounds")
    for every in (place.yaxis.set_major_formatter, place.yaxis.set_minor_formatter):
        every("{x:g}")
    place.grid(visible=True, axis="y", which="both", alpha=0.3)
    place.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0),
                 title="method, samples of a layer")  # fmt: skip
    save(figure, path)
