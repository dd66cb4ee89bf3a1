"""From a layer set to a measured report: choose designs, write Verilog, simulate, report."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dcp_hw import explore, observations, rows, rtl, toolchain
from dcp_hw.explore import Choice, Plan
from dcp_hw.hardware import Hardware
from dcp_hw.measure import Job, Measurement, measure_all
from dcp_hw.metrics import Infeasible
from dcp_hw.process import note
from dcp_hw.progress import progress
from dcp_hw.report import completed, problems, write_report
from dcp_hw.report_text import summary_table
from dcp_hw.workload import LayerSet

MODES = ("fixed", "per-layer", "example")
OBJECTIVES = ("latency", "energy", "edp")
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the user asks for."""

    layerset: LayerSet
    hardware: Hardware
    objective: str
    modes: tuple[str, ...]
    seed: int
    out: Path
    search: str = "exact"
    jobs: int = field(default_factory=lambda: os.cpu_count() or 1)


def generate(order: Order) -> tuple[dict[str, Any], list[str]]:
    """The finished report, and all that is wrong with it; files are in `order.out`.

    The report is written anew after every mode, so that a result can be read early.
    """
    out = order.out
    out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    wrong: list[str] = []
    report: dict[str, Any] = {
        "layerset": order.layerset.name,
        "hardware": order.hardware.to_dict(),
        "objective": order.objective,
        "seed": order.seed,
        "versions": toolchain.versions(),
        "designs": [],
        "layers": [],
        "search": [],
    }
    known = explore.Known(order.hardware, order.objective, order.jobs)
    for mode in (m for m in MODES if m in order.modes):
        plan = explore.plan(mode, order.layerset, known, method=order.search)
        report["search"].append(plan.search)
        note(f"{mode}: {len(plan.designs)} design(s) chosen, {time.monotonic() - start:.0f} s")
        _measure(order, mode, plan, report, wrong)
        paths = write_report(report, out)
        write_manifest(order, report["versions"])
        note(f"{mode}: report in {paths[0].parent} after {time.monotonic() - start:.0f} s")
        if mode != order.modes[-1]:
            for line in summary_table(completed(report)).splitlines():
                note(line)
    return completed(report), problems(report) + wrong


def write_manifest(order: Order, versions: dict[str, str]) -> None:
    """Nothing; `manifest.json`: what was asked with which tools, and the hash of every file."""
    files = sorted(p for p in order.out.rglob("*") if p.is_file() and not _is_passing(p))
    manifest = {
        "schema": 1,
        "layerset": order.layerset.name,
        "layers": [layer.name for layer in order.layerset],
        "hardware": order.hardware.to_dict(),
        "objective": order.objective,
        "modes": list(order.modes),
        "search": order.search,
        "seed": order.seed,
        "versions": versions,
        "sha256": {
            str(path.relative_to(order.out)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        },
    }
    _write(order.out / MANIFEST, json.dumps(manifest, indent=1) + "\n")


def _is_passing(path: Path) -> bool:
    """Whether a file is the manifest itself, make's, or one that is being written."""
    return path.name in (MANIFEST, "generate.args", "generate.stamp") or ".making" in str(path)


def _counter_differences(job: Job, measured: Measurement) -> list[str]:
    """Counters of the hardware that differ from the prediction."""
    return [
        f"{job.layer.name} on {job.rtl.design.name}: counter {name} is {measured.counters[name]}, "
        f"predicted {value}"
        for name, value in job.work.prediction.counters.items()
        if measured.counters[name] != value
    ]


def _measure(order: Order, mode: str, plan: Plan, report: dict[str, Any], wrong: list[str]) -> None:
    """Nothing; adds a mode's designs and rows to the report, and what is wrong to a list."""
    made = dict(
        zip(plan.designs, rtl.verilog([plan.designs[d] for d in plan.designs]), strict=True)
    )
    titles = plan.titles
    for name, one in made.items():
        folder = _place_verilog(one, order.out / "verilog" / name)
        relative = folder.relative_to(order.out)
        card = rows.design_row(one.design, mode, titles[name], order.hardware, relative)
        if card["id"] not in {d["id"] for d in report["designs"]}:
            report["designs"].append(card)
    jobs: list[Job] = []
    places: list[tuple[str, str]] = []
    for name, per_layer in plan.choices.items():
        for layer in order.layerset:
            choice = per_layer.get(layer.name)
            if isinstance(choice, Choice):
                jobs.append(Job(rtl=made[name], layer=layer, work=choice.work(), seed=order.seed))
                places.append((name, layer.name))
    _write_predictions(order.out / f"predictions-{mode}.json", places, jobs)
    _write_programs(order.out / "programs", places, jobs)
    with progress(f"{mode}: simulating layers", len(jobs)) as advance:
        results = measure_all(
            jobs,
            lambda job, _: advance(1, f"{job.layer.name} on {job.rtl.design.name}"),
            workers=order.jobs,
        )
    observations.keep(jobs, results, order.hardware)
    for job, measured in ((job, results[n]) for n, job in enumerate(jobs)):
        wrong += _counter_differences(job, measured)
    by_place = {place: (jobs[n], results[n]) for n, place in enumerate(places)}
    for name, per_layer in plan.choices.items():
        design = made[name].design
        for layer in order.layerset:
            choice = per_layer.get(layer.name)
            if choice is None:
                continue
            if isinstance(choice, Infeasible):
                row = rows.infeasible_row(layer, mode, design, order.hardware, choice.reason)
            else:
                job, measured = by_place[name, layer.name]
                row = rows.layer_row(layer, mode, design, order.hardware, job.work, measured)
            report["layers"].append(row)


STAMP = "verilog.key"
"""File beside copied Verilog: key of design and generator, by which it is made anew or left."""


def _place_verilog(one: rtl.Rtl, target: Path) -> Path:
    """A copy of the cached Verilog beside the report; untouched if it is there already."""
    stamp = target / STAMP
    if not stamp.is_file() or stamp.read_text() != one.digest:
        aside = target.with_name(target.name + ".making")
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(one.folder, aside)
        (aside / STAMP).write_text(one.digest)
        shutil.rmtree(target, ignore_errors=True)
        aside.rename(target)
    return target


def _write_predictions(path: Path, places: Iterable[tuple[str, str]], jobs: list[Job]) -> None:
    """Nothing; what the cycle model says, with its hash, before any simulator starts."""
    table = [
        {
            "design": design,
            "layer": layer,
            "predicted_cycles": job.work.predicted_cycles,
            "counters": dict(job.work.prediction.counters),
            "program": job.work.digest,
        }
        for (design, layer), job in zip(places, jobs, strict=True)
    ]
    text = json.dumps(table, indent=1)
    digest = hashlib.sha256(text.encode()).hexdigest()
    _write(path, text)
    _write(path.with_suffix(".sha256"), f"{digest}  {path.name}\n")
    note(f"predictions written before simulation: {path.name} sha256 {digest[:16]}")


def _write_programs(folder: Path, places: Iterable[tuple[str, str]], jobs: list[Job]) -> None:
    for (design, layer), job in zip(places, jobs, strict=True):
        _write(folder / design / f"{layer}.json", job.work.program.to_json())


def _write(path: Path, text: str) -> None:
    """Nothing; writes beside and moves; an equal file keeps its time."""
    if path.is_file() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".making")
    aside.write_text(text)
    aside.replace(path)
