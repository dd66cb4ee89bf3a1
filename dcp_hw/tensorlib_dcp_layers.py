"""Propagation for single layers beside the optimum of each layer; `python -m` runs it.

    python -m dcp_hw.tensorlib_dcp_layers --layerset mobilenetv2 --out docs/results/tensorlib-dcp

For every layer the best design of the space by branch and bound (`bounds_optimum`), with a bound
that no design is below, and what DCP and its variants find with 16 designs checked. With `--proof`
a slower bound of the whole space (`bounds_proof`) tells how far below DCP's design an optimum can
be. Layers that are in `optimum.csv`, `proposed.csv` or `proof.csv` already are left alone, so a run
that was stopped goes on.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from dcp_hw import tensorlib_dcp_plan as dcp
from dcp_hw.bounds_optimum import Optimum, optima
from dcp_hw.bounds_points import PointTable
from dcp_hw.bounds_proof import prove
from dcp_hw.hardware import Hardware, load_hardware
from dcp_hw.known import FAILED, Known, cost_of, value
from dcp_hw.process import note
from dcp_hw.space import space
from dcp_hw.tensorlib_dcp_settings import LAYER, Descent
from dcp_hw.workload import LayerSet

OBJECTIVES = ("edp", "energy")
_MOVES = LAYER.descent or Descent()
METHODS = {
    "dcp": LAYER,
    "dcp-without-gradients": replace(LAYER, descent=None),
    "dcp-random-moves": replace(LAYER, descent=replace(_MOVES, rate=0.0)),
}
"""The second has the starts alone, the third moves them at random (renewal) as often."""
CLOSE = 1.01
"""Times the optimum: what counts as found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best design of a layer by branch and bound.

    Attributes:
        value: cycles, nJ or their product; bound: no design of the space is below.
        points: array shapes; bounded: those whose lanes were bounded; left: those that could be
            better by their own bounds and were not looked at.
        designs: left below the bound's tolerance; searched: by the mapper.
        cpu_seconds: shared by the objectives of a run.
    """

    layer: str
    objective: str
    cycles: int
    energy_nj: float
    value: float
    bound: float
    points: int
    bounded: int
    left: int
    designs: int
    searched: int
    cpu_seconds: float
    design: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """What a method finds for a layer; checks: designs searched by the mapper's quick look."""

    layer: str
    objective: str
    method: str
    cycles: float
    energy_nj: float
    value: float
    checks: int
    design: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """What no design of the space is below.

    Attributes:
        value: of DCP's design when it was proven; bound: no design is below.
        shapes: whose lanes were bounded; programs: evaluated exactly; designs: that may be below
            the tolerance; least: the one whose bound is the least, `-` if none.
        cpu_seconds: shared by the objectives of a run.
    """

    layer: str
    objective: str
    value: float
    bound: float
    shapes: int
    programs: int
    designs: int
    least: str
    cpu_seconds: float


def find_proofs(
    layers: LayerSet, hardware: Hardware, out: Path, values: Mapping[tuple[str, str], float]
) -> list[Proven]:
    """Bounds of every layer of which a design's value is given; kept in `proof.csv`."""
    path = out / "proof.csv"
    rows: list[Proven] = _read(path, Proven)
    table: PointTable | None = None
    for number, layer in enumerate(layers):
        done = {row.objective for row in rows if row.layer == layer.name}
        wanted = {name: value for (key, name), value in values.items()
                  if key == layer.name and name not in done}  # fmt: skip
        if not wanted:
            continue
        table = table or PointTable(space().arrays, layers, hardware)
        began = time.process_time()
        found = prove(table, number, layer, wanted)
        seconds = round(time.process_time() - began, 1)
        rows += [
            Proven(layer=layer.name, objective=name, value=one.value, bound=one.bound,
                   shapes=one.shapes, programs=one.programs, designs=one.designs,
                   least=one.least or "-", cpu_seconds=seconds)
            for name, one in found.items()
        ]  # fmt: skip
        _write(path, rows)
        said = ", ".join(f"{x} within {one.value / one.bound:.4f}" for x, one in found.items())
        note(f"{layer.name}: {said} of what is proven, {seconds:.0f} CPU s")
    return rows


def find_optima(layers: LayerSet, hardware: Hardware, out: Path) -> list[Best]:
    """The best of every layer under all objectives; kept in `optimum.csv` layer by layer."""
    path = out / "optimum.csv"
    rows = _read(path, Best)
    table: PointTable | None = None
    for number, layer in enumerate(layers):
        wanted = [
            x for x in OBJECTIVES if (layer.name, x) not in {(r.layer, r.objective) for r in rows}
        ]
        if not wanted:
            continue
        table = table or PointTable(space().arrays, layers, hardware)
        began = time.process_time()
        found = optima(table, number, layer, wanted)
        seconds = time.process_time() - began
        rows += [_best_row(one, seconds) for one in found.values()]
        _write(path, rows)
        said = ", ".join(f"{x} within {one.gap:.4f} of its bound" for x, one in found.items())
        note(f"{layer.name}: {said}, {seconds:.0f} CPU s")
    return rows


def _best_row(found: Optimum, seconds: float) -> Best:
    choice = found.choice
    cycles, energy = FAILED if choice is None else cost_of(choice)
    return Best(
        layer=found.layer.name,
        objective=found.objective,
        cycles=int(cycles),
        energy_nj=energy,
        value=found.value,
        bound=found.bound,
        points=found.points,
        bounded=found.bounded,
        left=found.left,
        designs=found.designs,
        searched=found.searched,
        cpu_seconds=round(seconds, 1),
        design="-" if choice is None else choice.design.name,
    )


def propose_all(
    layers: LayerSet, hardware: Hardware, out: Path, methods: Sequence[str], jobs: int
) -> list[Proposed]:
    """What the methods find for every layer; kept in `proposed.csv`."""
    path = out / "proposed.csv"
    rows = _read(path, Proposed)
    for objective in OBJECTIVES:
        for method in methods:
            done = {r.layer for r in rows if (r.objective, r.method) == (objective, method)}
            missing = tuple(x for x in layers if x.name not in done)
            if not missing:
                continue
            began = time.process_time()
            known = Known(hardware, objective, jobs)
            bests, spent = dcp.layer_bests(missing, known, settings=METHODS[method])
            for best in bests:
                cost = FAILED if best.outcome is None else cost_of(best.outcome)
                rows.append(
                    Proposed(
                        layer=best.layer.name,
                        objective=objective,
                        method=method,
                        cycles=cost[0],
                        energy_nj=cost[1],
                        value=value(objective, *cost),
                        checks=best.calls,
                        design=best.candidate.design.name if best.candidate else "-",
                    )
                )
            _write(path, rows)
            seconds = time.process_time() - began
            note(f"{objective}, {method}: {spent:.0f} CPU s of propagation, {seconds:.0f} in all")
    return rows


# --- files ----------------------------------------------------------------------------


def _read(path: Path, kind: type[Any]) -> list[Any]:
    if not path.is_file():
        return []
    make = {"str": str, "int": int, "float": float}
    kinds = {field.name: make[str(field.type)] for field in fields(kind)}
    with path.open(newline="", encoding="utf-8") as file:
        return [kind(**{name: kinds[name](text) for name, text in line.items()})
                for line in csv.DictReader(file)]  # fmt: skip


def _write(path: Path, rows: Sequence[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp")
    with aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(rows[0])], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    aside.replace(path)


# --- tables ---------------------------------------------------------------------------


Rows = Sequence[Proposed]


def shares(bests: Sequence[Best], proposed: Rows) -> dict[tuple[str, str], tuple[int, int]]:
    """(Objective, method) -> layers within 1 % of the best known, and all layers."""
    least = _least(bests, proposed)
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for row in proposed:
        close, whole = found.get((row.objective, row.method), (0, 0))
        near = row.value <= CLOSE * least[row.layer, row.objective]
        found[row.objective, row.method] = close + near, whole + 1
    return found


def _least(bests: Sequence[Best], proposed: Rows) -> dict[tuple[str, str], float]:
    """(Layer, objective) -> least value that anything found."""
    least: dict[tuple[str, str], float] = {}
    for row in (*bests, *proposed):
        key = row.layer, row.objective
        least[key] = min(row.value, least.get(key, float("inf")))
    return least


SHARES = (1.01, 1.02, 1.05)
"""Times the proven bound: layers within them are counted."""


def proven_table(proofs: Sequence[Proven], proposed: Rows) -> list[str]:
    """Lines of a table: layers whose designs by DCP are near what is proven, by objective."""
    lines = ["", "DCP's design over what `--proof` proves that no design is below:", "",
             "| objective | layers proven | " + " | ".join(f"at most {x}" for x in SHARES)
             + " | largest |",
             "|---|--:|" + "--:|" * (len(SHARES) + 1)]  # fmt: skip
    values = {(r.layer, r.objective): r.value for r in proposed if r.method == "dcp"}
    for objective in OBJECTIVES:
        ratios = [values[p.layer, objective] / p.bound
                  for p in proofs if p.objective == objective]  # fmt: skip
        if ratios:
            cells = [str(sum(r <= share for r in ratios)) for share in SHARES]
            lines.append(f"| {objective} | {len(ratios)} | " + " | ".join(cells)
                         + f" | {max(ratios):.4f} |")  # fmt: skip
    return lines


def markdown(
    bests: Sequence[Best], proposed: Sequence[Proposed], proofs: Sequence[Proven], name: str
) -> str:
    """Tables of shares, and of every layer: the best known, its bounds, and the methods' ratios."""
    methods = list(dict.fromkeys(row.method for row in proposed))
    least = _least(bests, proposed)
    ratios = {
        (r.layer, r.objective, r.method): r.value / least[r.layer, r.objective] for r in proposed
    }
    names = " | ".join(methods)
    lines = [f"Command: `python -m dcp_hw.tensorlib_dcp_layers --layerset {name} --proof`", "",
             "Layers within 1 % of the best known:", "",
             f"| objective | {names} |", "|---|" + "--:|" * len(methods)]  # fmt: skip
    close = shares(bests, proposed)
    for objective in OBJECTIVES:
        cells = [close.get((objective, method), (0, 0)) for method in methods]
        lines.append(f"| {objective} | " + " | ".join(f"{a} of {b}" for a, b in cells) + " |")
    if proofs:
        lines += proven_table(proofs, proposed)
    bounds = {(p.layer, p.objective): p.bound for p in proofs}
    for objective in OBJECTIVES:
        lines += ["", f"## {objective}", "",
                  f"| layer | best known | / bound | / proof | {names} | best design | "
                  "shapes bounded | designs searched |",
                  "|---|--:|--:|--:|" + "--:|" * len(methods) + "---|--:|--:|"]  # fmt: skip
        for best in (row for row in bests if row.objective == objective):
            key = best.layer, objective
            low = least[key]
            cells = [ratios.get((best.layer, objective, method)) for method in methods]
            lines.append(
                f"| {best.layer} | {low:.5g} | {low / best.bound:.4f} | "
                + (f"{low / proof:.4f} | " if (proof := bounds.get(key)) else "| ")
                + " | ".join("" if x is None else f"{x:.4f}" for x in cells)
                + f" | {best.design} | {best.bounded:,} | {best.searched} |"
            )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Exit code of the comparison."""
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--layerset", default="mobilenetv2")
    p.add_argument("--hw", default="default")
    p.add_argument("--methods", default=",".join(METHODS), help=f"of {', '.join(METHODS)}")
    p.add_argument("--proof", action="store_true", help="prove how good DCP's designs are")
    p.add_argument("--layers", default="", help="of them, those to prove; all by default")
    p.add_argument("--jobs", type=int, default=1)
    p.add_argument("--out", type=Path, default=Path("build/tensorlib-dcp"))
    options = p.parse_args()
    layers, hardware = LayerSet.load(options.layerset), load_hardware(options.hw)
    methods = [name for name in options.methods.split(",") if name]
    wanted = {name for name in options.layers.split(",") if name} or {x.name for x in layers}
    if unknown := sorted(wanted - {x.name for x in layers}):
        p.error(f"--layers: no {', '.join(unknown)} in {layers.name}; names are in its CSV file")
    bests = find_optima(layers, hardware, options.out)
    proposed = propose_all(layers, hardware, options.out, methods, options.jobs)
    proofs: list[Proven] = _read(options.out / "proof.csv", Proven)
    if options.proof:
        of_dcp = {(r.layer, r.objective): r.value for r in proposed
                  if r.method == "dcp" and r.layer in wanted}  # fmt: skip
        proofs = find_proofs(layers, hardware, options.out, of_dcp)
    text = markdown(bests, proposed, proofs, layers.name)
    (options.out / "layers.md").write_text(text, encoding="utf-8")
    print(text, end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
