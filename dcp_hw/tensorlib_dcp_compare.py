"""Propagation beside the exact search in the Tensorlib space; `python -m` runs it.

    python -m dcp_hw.tensorlib_dcp_compare --layerset mobilenetv2 --out docs/results/tensorlib-dcp

Modes `fixed` and `per-layer`, and every layer on a design of its own, under each objective, by the
exact search, by DCP, and by DCP without gradients (the same random starts, the same checks). Each
row begins with an empty cache of searches, so that its CPU seconds are those of the whole search;
with `--warm` it takes what is in the cache, finds the same, and states no CPU seconds. A row that
is in the table already is left alone, so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import resource
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from dcp_hw import tensorlib_dcp_plan as dcp
from dcp_hw.explore import plan
from dcp_hw.hardware import load_hardware
from dcp_hw.known import FAILED, Cost, Known, Outcome, cost_of, network_value
from dcp_hw.process import note
from dcp_hw.tensorlib_dcp_settings import MODEL, Descent
from dcp_hw.workload import LayerSet

METHODS = ("exact", "dcp", "dcp-without-gradients")
OBJECTIVES = ("edp", "latency", "energy")
MODES = ("fixed", "per-layer", "each layer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method in one mode.

    Attributes:
        value: cycles, nJ or their product, of the network.
        designs: that were checked exactly on some layer; checks: pairs of layer and design.
        cpu_seconds: of the whole, search of mappings included, from an empty cache; not a number
            where the cache was not empty.
    """

    mode: str
    objective: str
    method: str
    cycles: float
    energy_nj: float
    value: float
    designs: int
    checks: int
    searched: int
    propagation_seconds: float
    cpu_seconds: float
    chosen: str


def cpu() -> float:
    """CPU seconds of this process and its ended children."""
    spent = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in spent)


@contextmanager
def empty_cache() -> Iterator[None]:
    """An empty folder instead of the cache of searches; removed at the end."""
    before = os.environ.get("DCP_HW_CACHE")
    with tempfile.TemporaryDirectory(prefix="dcp-hw-cache-") as folder:
        os.environ["DCP_HW_CACHE"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["DCP_HW_CACHE"]
            else:
                os.environ["DCP_HW_CACHE"] = before


def _best(choices: dict[str, dict[str, Outcome]]) -> dict[str, Cost]:
    return {name: cost_of(one) for some in choices.values() for name, one in some.items()}


def row_of(mode: str, objective: str, method: str, layers: LayerSet, known: Known) -> Row:
    """The row of one method in one mode, searched now."""
    began, propagation = cpu(), 0.0
    if mode == "each layer":
        bests, propagation = dcp.layer_bests(tuple(layers), known, gradients=method == "dcp")
        costs = {x.layer.name: FAILED if x.outcome is None else cost_of(x.outcome) for x in bests}
        names = [x.candidate.design.name if x.candidate else "-" for x in bests]
    elif method == "exact":
        found = plan(mode, layers, known)
        costs, names = _best(found.choices), list(found.designs)
    else:
        search = dcp.fixed if mode == "fixed" else dcp.per_layer
        chosen = search(tuple(layers), known, gradients=method == "dcp")
        costs, propagation = _best(chosen.choices), chosen.seconds
        names = [candidate.design.name for candidate in chosen.candidates]
    pairs = set(known.screened) | {key[:2] for key in known.table}
    return Row(
        mode=mode,
        objective=objective,
        method=method,
        cycles=sum(layer.count * costs[layer.name][0] for layer in layers),
        energy_nj=sum(layer.count * costs[layer.name][1] for layer in layers),
        value=network_value(objective, [(x.count, costs[x.name]) for x in layers]),
        designs=len({name for name, _ in pairs}),
        checks=len(pairs),
        searched=len(known.table),
        propagation_seconds=round(propagation, 1),
        cpu_seconds=round(cpu() - began, 1),
        chosen=" ".join(dict.fromkeys(names)),
    )


def compare(
    layers: LayerSet,
    wanted: Sequence[tuple[str, str, str]],
    out: Path,
    hardware: str,
    jobs: int,
    *,
    warm: bool = False,
) -> list[Row]:
    """Rows of (mode, objective, method); `comparison.csv` and `comparison.md` in `out`.

    Args:
        warm: take searches that are in the cache.
    """
    rows = _read(out / "comparison.csv")
    for mode, objective, method in wanted:
        if (mode, method) == ("each layer", "exact"):
            continue
        if any((x.mode, x.objective, x.method) == (mode, objective, method) for x in rows):
            continue
        known = Known(load_hardware(hardware), objective, jobs)
        if warm:
            row = row_of(mode, objective, method, layers, known)
            row = replace(row, cpu_seconds=math.nan)
        else:
            with empty_cache():
                row = row_of(mode, objective, method, layers, known)
        note(f"{mode}, {objective}, {method}: {row.value:.6g}, {row.cpu_seconds:.0f} CPU s")
        rows.append(row)
        rows.sort(key=lambda x: (OBJECTIVES.index(x.objective), MODES.index(x.mode),
                                 METHODS.index(x.method)))  # fmt: skip
        _write(out, rows, layers.name)
    return rows


def _read(path: Path) -> list[Row]:
    if not path.is_file():
        return []
    kinds = {field.name: {"str": str, "int": int, "float": float}[str(field.type)]
             for field in fields(Row)}  # fmt: skip
    with path.open(newline="", encoding="utf-8") as file:
        return [Row(**{name: kinds[name](value) for name, value in line.items()})
                for line in csv.DictReader(file)]  # fmt: skip


def _write(out: Path, rows: Sequence[Row], name: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with (out / "comparison.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    text = f"Command: `python -m dcp_hw.tensorlib_dcp_compare --layerset {name}`\n\n"
    (out / "comparison.md").write_text(text + markdown(rows), encoding="utf-8")


def markdown(rows: Sequence[Row]) -> str:
    """A table with each value beside the exact search's; of six designs for single layers."""
    exact = {(row.mode, row.objective): row.value for row in rows if row.method == "exact"}
    lines = ["| mode | objective | method | / exact | cycles | energy nJ | designs checked | "
             "checks | propagation CPU s | all CPU s |",
             "|---|---|---|--:|--:|--:|--:|--:|--:|--:|"]  # fmt: skip
    for row in rows:
        like = "per-layer" if row.mode == "each layer" else row.mode
        known = exact.get((like, row.objective))
        ratio = f"{row.value / known:.4f}" if known else ""
        lines.append(
            f"| {row.mode} | {row.objective} | {row.method} | {ratio} | {row.cycles:,.0f} | "
            f"{row.energy_nj:,.0f} | {row.designs} | {row.checks} | {row.propagation_seconds} | "
            f"{'' if math.isnan(row.cpu_seconds) else row.cpu_seconds} |"
        )
    return "\n".join(lines) + "\n"


ABLATIONS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "arrays, splits and orders without gradients": {"descent": Descent(discrete=False)},
    "no gradients, renewal alone": {"descent": Descent(rate=0.0)},
    "no renewal": {"descent": Descent(renew_every=0)},
    "one program per layer and array": {"programs": 1},
    "no last round": {"descent": Descent(last=(0, 0))},
    "starts only": {"descent": None},
}


def ablation(layers: LayerSet, hardware: str) -> str:
    """Predicted EDP of the best design at model level, three seeds each; as Markdown."""
    known = Known(load_hardware(hardware), "edp", 1)
    predictor = dcp.load_predictor()
    lines = ["| | predicted EDP, seeds 1 to 3 |", "|---|--:|"]
    for name, change in ABLATIONS.items():
        values = []
        for seed in (1, 2, 3):
            settings = replace(MODEL, seed=seed, **change)
            (found,), _ = dcp.proposals(tuple(layers), "model", known, settings, predictor)
            values.append(f"{math.exp(found[0].value):.3g}")
        lines.append(f"| {name} | {'; '.join(values)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Exit code of the comparison."""
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--layerset", default="mobilenetv2")
    for name, known in (("objectives", OBJECTIVES), ("modes", MODES), ("methods", METHODS)):
        p.add_argument(f"--{name}", default=",".join(known), help=f"of {', '.join(known)}")
    p.add_argument("--hw", default="default")
    p.add_argument("--jobs", type=int, default=2)
    p.add_argument("--out", type=Path, default=Path("build/tensorlib-dcp"))
    p.add_argument("--warm", action="store_true", help="take searches that are in the cache")
    p.add_argument("--ablation", action="store_true", help="instead: what each part is worth")
    options = p.parse_args()
    layers = LayerSet.load(options.layerset)
    if options.ablation:
        print(ablation(layers, options.hw), end="")
        return 0
    wanted = [
        (mode, objective, method)
        for objective in options.objectives.split(",")
        for mode in options.modes.split(",")
        for method in options.methods.split(",")
    ]
    rows = compare(layers, wanted, options.out, options.hw, options.jobs, warm=options.warm)
    print(markdown(rows), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
