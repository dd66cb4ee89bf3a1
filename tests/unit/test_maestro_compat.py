"""The compat model prints what MAESTRO's binary prints, row by row and column by column."""

from __future__ import annotations

import csv
import gzip
import math
from dataclasses import replace
from pathlib import Path

import pytest

from dcp_hw.hardware import Hardware
from dcp_hw.maestro.compat import MaestroHardware, evaluate
from dcp_hw.maestro.compat_columns import columns
from dcp_hw.maestro.compat_evaluator import CompatEvaluator
from dcp_hw.maestro.dataflow import Dataflow, Dim, Level, loop_sizes
from dcp_hw.maestro.encoding import maestro_layer
from dcp_hw.maestro.layer import MaestroLayer, convolution, depthwise, gemm
from dcp_hw.maestro.mapping import parse_compact
from dcp_hw.metrics import Infeasible, Metrics
from dcp_hw.workload import LayerSet

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "maestro"
HARDWARE = ("pes", "noc_bw", "noc_latency", "offchip_bw", "simd")


def rows(name: str) -> list[dict[str, str]]:
    """Rows of one of the reference files."""
    with gzip.open(FOLDER / f"{name}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def layer(row: dict[str, str]) -> MaestroLayer:
    """The layer of a reference row."""
    if row["type"] == "GEMM":
        return gemm("l", int(row["M"]), int(row["N"]), int(row["K"]))
    make = {"CONV": convolution, "DSCONV": depthwise}[row["type"]]
    return make("l", [int(row[dim]) for dim in "KCYXRS"], stride=int(row["stride"]))


def hardware(row: dict[str, str]) -> MaestroHardware:
    """The hardware of a reference row."""
    return MaestroHardware(**{name: int(row[name]) for name in HARDWARE})


def differs(column: str, found: float, printed: str) -> bool:
    """Whether a value is not what MAESTRO printed: integers exact, floats to six digits."""
    if isinstance(found, int):
        return str(found) != printed
    if math.isnan(found) or printed == "nan":
        return not (math.isnan(found) and printed == "nan")
    digits = 7 if column == "energy_full_nj" else 6  # derived when the file was made
    return float(f"{found:.{digits}g}") != float(f"{float(printed):.{digits}g}")


def test_the_plain_form_equals_the_binary() -> None:
    """On every eighth row; the compiled form, equal to it, is compared on all."""
    wrong = []
    for row in rows("reference")[::8]:
        result = evaluate(layer(row), parse_compact(row["mapping"]), hardware(row))
        assert not isinstance(result, Infeasible), (row["mapping"], result)
        for name, value in columns(result).items():
            if differs(name, value, row[name]):
                wrong.append((row["layer"], row["mapping"], name, value, row[name]))
        if int(row["macs_true"]) != layer(row).macs:
            wrong.append((row["layer"], "macs_true", layer(row).macs, row["macs_true"]))
    assert not wrong, wrong[:10]


@pytest.mark.parametrize("code", ["-8", "255"])
def test_crashes_of_the_binary_are_infeasible(code: str) -> None:
    crashed = [row for row in rows("crashes") if row["exit_code"] == code]
    assert crashed
    for row in crashed:
        result = evaluate(layer(row), parse_compact(row["mapping"]), hardware(row))
        assert isinstance(result, Infeasible), row
        assert ("SIGFPE" in result.reason) == (code == "-8"), result


def test_the_evaluator_gives_metrics_or_a_reason() -> None:
    layer = LayerSet.load("tiny").layers[0]
    order = tuple(Dim)
    flow = Dataflow((Level(parallel=Dim.K, units=1, order=order, tile=(1, 1, 1, 1, 1, 1)),))
    sizes = loop_sizes(maestro_layer(layer))
    tile = tuple(sizes[dim] if dim in (Dim.R, Dim.S) else 1 for dim in order)
    whole = Dataflow((replace(flow.levels[0], tile=tile),))
    metrics = CompatEvaluator().evaluate(layer, whole, Hardware())
    assert isinstance(metrics, Metrics)
    assert metrics.latency_cycles * 256 >= layer.macs
    levels = (*whole.levels, replace(whole.levels[0], units=512))
    crowded = CompatEvaluator().evaluate(layer, Dataflow(levels), Hardware())
    assert isinstance(crowded, Infeasible)
    assert "512 units on 256 PEs" in crowded.reason
