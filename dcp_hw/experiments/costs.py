"""What tables say beside their values: hardware, DCP's training, numbers as text."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from dcp_hw.baselines.problem import Accelerator, Found
from dcp_hw.experiments.cells import Cell
from dcp_hw.experiments.versions import SHIPPED


@dataclass(frozen=True, slots=True)
class Training:
    """What the shipped predictor took: rows it learned from, seconds of training."""

    rows: int
    seconds: float


def shipped_training(path: Path = SHIPPED) -> Training | None:
    """Rows and seconds from the card of a checkpoint; None without one. Loads no torch."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        card = json.loads(header["__metadata__"]["dcp_hw_predictor"])
        return Training(int(card["rows"]), float(card["training_seconds"]))
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None


def hardware_text(accelerator: Accelerator) -> str:
    """An accelerator in words."""
    machine = accelerator.machine

    def limit(value: int | None) -> str:
        return "unlimited" if not value or value >= 1 << 24 else f"{value:,}"

    parts = (
        f"{machine.pes} PEs",
        f"L1 {limit(machine.l1_size)}, L2 {limit(machine.l2_size)} elements",
        f"NoC {limit(machine.noc_bw)}, DRAM {limit(machine.dram_bw)} elements per cycle",
    )
    return f"{', '.join(parts)}; {accelerator.technology}"


def training_text(results: dict[Cell, Found]) -> str | None:
    """DCP's time split into data, training and search; None without DCP among the results.

    The data's share is the training rows at the CPU time a sample of random search took here.
    """
    mine = [(cell, found) for cell, found in results.items() if cell.method == "dcp"]
    training = shipped_training()
    if not mine or training is None:
        return None
    search = sum(found.cpu_seconds for _, found in mine)
    text = (
        f"DCP's cost: one training of the shipped predictor on {training.rows:,} samples, "
        f"{training.seconds:.0f} s; {len(mine)} searches, {search:.0f} CPU s, "
        f"{sum(found.calls for _, found in mine):,} samples."
    )
    each = [f.cpu_seconds / f.calls for c, f in results.items() if c.method == "random" and f.calls]
    if each:
        data = training.rows * fmean(each)
        text += (
            f" Evaluating the training samples takes {data:.0f} CPU s at the cost of a random "
            f"sample here ({1e6 * fmean(each):.0f} µs)."
        )
    return text


def number(value: float | None, digits: int = 3) -> str:
    """A number of a Markdown table; empty where there is none."""
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:.{digits}f}" if value < 1000 else f"{value:.3g}"


def geometric_mean(values: Iterable[float]) -> float:
    """The geometric mean; infinite if a value is, NaN of none."""
    values = list(values)
    if not values:
        return math.nan
    if not all(map(math.isfinite, values)):
        return math.inf
    return math.exp(fmean(map(math.log, values)))


def markdown_table(columns: list[str], rows: Iterable[list[str]]) -> list[str]:
    """Lines of a table whose first column is text and whose others are numbers."""
    lines = [f"| {' | '.join(columns)} |", "|---|" + "--:|" * (len(columns) - 1)]
    return lines + [f"| {' | '.join(row)} |" for row in rows]
