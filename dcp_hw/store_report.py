"""What measured runs are like: a table of all, a summary for each data profile."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dcp_hw.store import Record


def write_table(records: Sequence[Record], folder: Path) -> Path:
    """The file written: `measurements.csv`, a row a run, with the toggles by group."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "measurements.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        groups = sorted({group for r in records for group in r.toggles})
        numbers = ("table_nj", "energy_nj", "energy_spread_nj")
        writer.writerow(
            ["layer", "profile", "memory", "design", "predicted_cycles", "cycles", *numbers]
            + [f"toggles_{group}" for group in groups]
        )
        for r in records:
            values = (sum(r.table_nj.values()), r.energy_nj, r.energy_spread_nj)
            writer.writerow(
                [r.layer, r.profile, r.memory, r.design, r.predicted_cycles, r.cycles]
                + [f"{value:.5g}" for value in values]
                + [r.toggles.get(group, 0) for group in groups]
            )
    return path


def by_profile(records: Sequence[Record]) -> str:
    """Measured over modelled for each profile, as a Markdown table."""
    lines = [
        "| profile | runs | measured / table energy: 10 % | median | 90 % | array alone: median "
        "| spread of prices | measured / predicted cycles: median | 90 % | most |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for profile in sorted({r.profile for r in records}):
        some = [r for r in records if r.profile == profile]
        energy = [r.energy_nj / sum(r.table_nj.values()) for r in some]
        cycles = [r.cycles / r.predicted_cycles for r in some]
        spread = float(np.median([r.energy_spread_nj / r.energy_nj for r in some]))
        low, middle, high = np.quantile(energy, (0.1, 0.5, 0.9))
        array = [_array(r.parts_nj) / _array(r.table_nj) for r in some]
        lines.append(
            f"| {profile} | {len(some)} | {low:.3f} | {middle:.3f} | {high:.3f} | "
            f"{np.median(array):.3f} | {spread:.1%} | {np.median(cycles):.3f} | "
            f"{np.quantile(cycles, 0.9):.3f} | {max(cycles):.2f} |"
        )
    return "\n".join(lines)


def _array(parts: Mapping[str, float]) -> float:
    return sum(parts[name] for name in ("mac", "adders", "registers"))
