"""Print the tables of docs/dataset.md for a finished data set.

    python scripts/dataset_card.py build/dataset/maestro-2000x2000-s0

Ratios are of latency, energy and their product (EDP) to the layer's bound on the row's machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from dcp_hw.maestro import dataset_plan as plans
from dcp_hw.maestro.dataset import Rows, load
from dcp_hw.maestro.dataset_recipes import (
    Recipes,
    apply,
    fitted_recipes,
    loose_recipes,
    uniform_recipes,
)
from dcp_hw.maestro.honest_fast import evaluate_batch, machine_row

COLUMNS = (
    *("layer_id", "hardware_id", "dataflow_kind", "reason", "latency_cycles", "energy_nj"),
    *("bound_cycles", "bound_energy_nj"),
)
PERCENTILES = (1, 10, 50, 90, 99)
NAMES = ("latency", "energy", "EDP")
Ratios = dict[str, NDArray[np.float64]]


def ratios(rows: Rows) -> Ratios:
    """Latency, energy and EDP over their bounds; infinite where infeasible."""
    latency = rows["latency_cycles"] / rows["bound_cycles"]
    energy = rows["energy_nj"].astype(np.float64) / rows["bound_energy_nj"]
    bad = rows["reason"] != 0
    found = zip(NAMES, (latency, energy, latency * energy), strict=True)
    return {name: np.where(bad, np.inf, values) for name, values in found}


def line(cells: Sequence[object]) -> None:
    """Print a row of a Markdown table."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def header(cells: Sequence[object]) -> None:
    """Print the head of a Markdown table."""
    line(cells)
    print("|" + "---|" * len(cells))


def spread(rows: Rows, found: Ratios) -> None:
    """How each kind of dataflow covers the space."""
    header(("kind", "rows", "feasible", "of", *(f"{p} %" for p in PERCENTILES), "rows <= 1.1"))
    kinds = [(kind, rows["dataflow_kind"] == i) for i, kind in enumerate(plans.KINDS)]
    for kind, mask in [*kinds, ("all", np.ones(len(rows), dtype=bool))]:
        for name, values in found.items():
            some = values[mask]
            done = some[np.isfinite(some)]
            share = f"{100 * len(done) / len(some):.1f} %"
            first = (kind, len(some), share) if name == NAMES[0] else ("", "", "")
            cells = (f"{value:.3g}" for value in np.percentile(done, PERCENTILES))
            line((*first, name, *cells, f"{100 * np.mean(some <= 1.1):.1f} %"))


def best(rows: Rows, found: Ratios) -> None:
    """The best row of each layer on the machines that most rows run on."""
    header(("machine", "rows a layer", *(f"best {name}: median, 90 %" for name in NAMES)))
    layers = int(rows["layer_id"].max()) + 1
    for number in range(len(plans.ANCHORS)):
        on = rows["hardware_id"] == number
        cells = [str(number), f"{on.sum() / layers:.0f}"]
        for values in found.values():
            least = np.full(layers, np.inf)
            np.minimum.at(least, rows["layer_id"][on], values[on])
            cells.append(f"{np.median(least):.3f}, {np.sort(least)[int(0.9 * layers)]:.3f}")
        line(cells)


def equal_samples(layers: int, number: int) -> None:
    """The best of equally many dataflows of a kind, on the first machines."""
    header(("machine", "kind", "feasible", "best latency: median, 90 %, worst", "no result"))
    makers: dict[str, Callable[[np.random.Generator, int], Recipes]] = {
        "uniform": uniform_recipes,
        "loose": loose_recipes,
        "fitted": fitted_recipes,
    }
    chosen = np.random.default_rng(1).choice(len(plans.all_layers()), layers, replace=False)
    for machine in range(3):
        limits = np.array([machine_row(plans.ANCHORS[machine])])
        for kind, make in makers.items():
            recipes = make(np.random.default_rng(2), number)
            least, feasible = [], 0
            for layer in (plans.all_layers()[i] for i in chosen):
                row = np.array([plans.evaluated(layer)])
                many = (np.repeat(x, number, axis=0) for x in (row, limits))
                cycles = evaluate_batch(row, limits, apply(recipes, *many)).cycles
                feasible += np.isfinite(cycles).sum()
                ratio = np.nan_to_num(cycles, nan=np.inf) / plans.bound_cycles(layer, limits)
                least.append(ratio.min())
            found = np.sort(least)
            done = found[np.isfinite(found)]
            cells = f"{np.median(found):.3f}, {found[int(0.9 * layers)]:.3f}, {done[-1]:.3f}"
            share = f"{100 * feasible / (layers * number):.1f} %"
            line((machine, kind, share, cells, layers - len(done)))


def main() -> int:
    """Print the tables; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder")
    rows = load(parser.parse_args().folder, feasible=False, columns=COLUMNS)
    found = ratios(rows)
    spread(rows, found)
    print()
    best(rows, found)
    print()
    equal_samples(40, 2000)
    return 0


if __name__ == "__main__":
    sys.exit(main())
