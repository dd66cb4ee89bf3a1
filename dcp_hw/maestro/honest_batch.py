"""The honest model for columns of layers, mappings and hardware: `maestro-batch --mode honest`.

Input and result have the names of the reference data where those mean something in the honest
model; docs/maestro.md lists them.
"""

from __future__ import annotations

from collections.abc import Mapping as Columns
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcp_hw.errors import InputError
from dcp_hw.maestro.compat import MaestroHardware
from dcp_hw.maestro.compat_build import NAMES
from dcp_hw.maestro.compat_figures import fill_true_macs
from dcp_hw.maestro.compat_table import HARDWARE, Table, integer_column, table
from dcp_hw.maestro.honest_count import (
    BOUNDARY,
    BOUNDARY_COLUMNS,
    COUNT_COLUMNS,
    L2_REQUIRED,
    MACS,
    REQUIRED,
    SHARED_REQUIRED,
    SUMS_READ,
)
from dcp_hw.maestro.honest_energy import energy
from dcp_hw.maestro.honest_fast import FEASIBLE, HonestBatch, reason_text
from dcp_hw.maestro.honest_fast import evaluate_batch as evaluate_rows
from dcp_hw.maestro.honest_maestro import Ints, Rows, inexpressible_text, table_of, table_rows
from dcp_hw.maestro.honest_plan import (
    DRAM_BW,
    L1_SIZE,
    L2_SIZE,
    LATENCY,
    LEVELS,
    MACHINE_COLUMNS,
    NOC_BW,
    PES,
)
from dcp_hw.maestro.layer import INT_MAX, MaestroLayer
from dcp_hw.maestro.mapping import Mapping
from dcp_hw.technology import DEFAULT_TECHNOLOGY

CLOCK_MHZ = 500.0
TECHNOLOGY = DEFAULT_TECHNOLOGY

COUNTERS = tuple(
    f"{kind}_{store}" for kind in ("input", "filter", "output") for store in ("l1r", "l1w")
) + tuple(f"{kind}_{store}" for kind in ("input", "filter", "output") for store in ("l2r", "l2w"))
HONEST_COUNTERS = (
    *("input_dram_r", "filter_dram_r", "output_dram_r", "output_dram_w"),
    *("between_r", "between_w"),
)
PARTS = ("dram", "l2", "buffers", "pe", "mac", "leakage")
_MACHINE = {
    "pes": PES,
    "l1_size": L1_SIZE,
    "l2_size": L2_SIZE,
    "noc_bw": NOC_BW,
    "noc_latency": LATENCY,
    "offchip_bw": DRAM_BW,
}
INTEGERS = (
    *("runtime", "l1_req", "l2_req", "macs_reported", "macs_true", "physical"),
    *(*COUNTERS, *HONEST_COUNTERS, "l2_own_req"),
)
"""Columns of exact integers; the others are floats."""


def evaluate_batch(
    columns: Columns[str, Sequence], *, threads: int = 1, first_row: int = 1
) -> dict[str, NDArray[Any]]:
    """The honest model's results for columns of layers, mappings and hardware.

    Args:
        columns: as `compat_table.table`; optional `l1_size l2_size` (elements; empty or 0 for
            unlimited) and `padding` (how much of Y and X is padding, on every side).
        first_row: number of the first row in error messages.

    Returns: the columns of docs/maestro.md, and `infeasible`: why the mapping cannot run, "" where
        it can. In rows without a result integers are 0 and floats NaN.

    Raises: InputError that names row, column, what was found and what is accepted.
    """
    given = table(columns, first_row=first_row, threads=threads)
    count = len(given)
    limits = [integer_column(columns, name, count, first_row) for name in ("l1_size", "l2_size")]
    padding = _padding(given, integer_column(columns, "padding", count, first_row), first_row)
    return evaluate_table(
        given, l1_size=limits[0], l2_size=limits[1], padding=padding, threads=threads
    )


def evaluate_table(
    given: Table,
    *,
    l1_size: Ints | None = None,
    l2_size: Ints | None = None,
    padding: Ints | None = None,
    threads: int = 1,
) -> dict[str, NDArray[Any]]:
    """As `evaluate_batch`, for arrays."""
    rows = table_rows(given, padding)
    count = len(given)
    machines = np.zeros((count, MACHINE_COLUMNS), dtype=np.int64)
    machine = dict(zip(HARDWARE, given.hardware.T, strict=True))
    limits = {"l1_size": l1_size, "l2_size": l2_size}
    for name, place in _MACHINE.items():
        values = machine.get(name, limits.get(name))
        if values is not None:  # MAESTRO's largest number stands for unlimited
            machines[:, place] = np.where(values == INT_MAX, 0, values)
    found = _blank(count)
    fill_true_macs(given.sizes, given.strides, given.kinds, found["macs_true"])
    reasons = np.full(count, "", dtype=object)
    for depth in range(1, LEVELS + 1):
        which = np.flatnonzero((rows.depths == depth) & (rows.status[:, 0] == 0))
        if which.size:
            batch = evaluate_rows(
                rows.layers[which], machines[which], rows.mappings[which, :depth], threads=threads
            )
            _fill(found, which, batch, depth)
            for i in np.flatnonzero(batch.reason != FEASIBLE).tolist():
                needed = rows.mappings[which[i], 1:depth, 0].prod()
                reasons[which[i]] = reason_text(batch, i, depth, machines[which[i]], int(needed))
    _say(rows, reasons)
    found["physical"] = (found["runtime"] * machine["pes"] >= found["macs_true"]).astype(np.int64)
    found["physical"] &= found["macs_reported"] == found["macs_true"]
    failed = reasons != ""
    for name, column in found.items():
        if name != "macs_true":
            column[failed] = 0 if name in INTEGERS else np.nan
    return {**found, "infeasible": reasons}


def _padding(given: Table, padding: Ints, first_row: int) -> Ints:
    """The column, after a check that every layer keeps some input."""
    sizes = given.sizes[:, [NAMES.index("Y"), NAMES.index("X")]].min(axis=1)
    bad = np.flatnonzero((given.kinds % 4 != 3) & (2 * padding >= sizes))
    if bad.size:
        raise InputError(
            f"row {first_row + bad[0]}, padding: {padding[bad[0]]}; "
            "accepted: less than half of Y and X, which it is part of"
        )
    return padding


def _blank(count: int) -> dict[str, NDArray[Any]]:
    """Columns in the order of the result."""
    floats = ("energy_nj", "energy_full_nj", "throughput", "power")
    names = ("runtime", *floats, "l1_req", "l2_req", "macs_reported", "macs_true", "physical")
    parts = tuple(f"{part}_nj" for part in PARTS)
    return {
        name: np.zeros(count, dtype=np.int64 if name in INTEGERS else np.float64)
        for name in (*names, *COUNTERS, *HONEST_COUNTERS, "l2_own_req", *parts)
    }


def _fill(found: dict[str, NDArray[Any]], which: Ints, batch: HonestBatch, depth: int) -> None:
    """Write the results of mappings of one depth."""
    counts, cycles = batch.counts, batch.cycles
    done = batch.reason == FEASIBLE
    macs, sums = counts[:, MACS], counts[:, SUMS_READ]
    edges = counts[:, BOUNDARY:COUNT_COLUMNS].reshape(len(counts), -1, BOUNDARY_COLUMNS)
    supplied, taken = edges[:, :, 0:3], edges[:, :, 3:6]
    drained, collected = edges[:, :, 6], edges[:, :, 7]
    row: dict[str, NDArray[Any]] = {
        "runtime": np.where(done, cycles, 0).astype(np.int64),
        "throughput": macs / cycles,
        "l1_req": counts[:, REQUIRED + depth - 1],
        "l2_req": counts[:, SHARED_REQUIRED],
        "l2_own_req": counts[:, L2_REQUIRED],
        "macs_reported": macs,
        "output_dram_r": supplied[:, 0, 2],
        "output_dram_w": collected[:, 0],
        "between_r": supplied[:, 2 : depth + 1].sum(axis=(1, 2)) + drained[:, 1:depth].sum(axis=1),
        "between_w": taken[:, 1:depth].sum(axis=(1, 2)) + collected[:, 2 : depth + 1].sum(axis=1),
    }
    for t, kind in enumerate(("input", "filter", "output")):
        is_sum = kind == "output"
        if not is_sum:
            row[f"{kind}_dram_r"] = supplied[:, 0, t]
        row[f"{kind}_l2r"] = supplied[:, 1, t] + (drained[:, 0] if is_sum else 0)
        row[f"{kind}_l2w"] = taken[:, 0, t] + (collected[:, 1] if is_sum else 0)
        row[f"{kind}_l1r"] = (sums + drained[:, depth]) if is_sum else macs
        row[f"{kind}_l1w"] = taken[:, depth, t] + (macs if is_sum else 0)
    price = energy(batch, depth, technology=TECHNOLOGY, clock_mhz=CLOCK_MHZ)
    row |= {f"{part}_nj": getattr(price, part) for part in PARTS}
    row["energy_nj"] = price.total_nj
    row["power"] = price.total_nj / (cycles / CLOCK_MHZ)
    row["energy_full_nj"] = energy(batch, depth, technology="maestro").total_nj
    for name, values in row.items():
        found[name][which] = values


def _say(rows: Rows, reasons: NDArray[Any]) -> None:
    """Write why mappings cannot be expressed; each sentence made once."""
    texts: dict[tuple[int, ...], str] = {}
    for i in np.flatnonzero(rows.status[:, 0]).tolist():
        key = tuple(rows.status[i].tolist())
        if key not in texts:
            texts[key] = inexpressible_text(*key)
        reasons[i] = texts[key]


def evaluate_cases(
    cases: Sequence[tuple[MaestroLayer, Mapping]], machine: MaestroHardware
) -> dict[str, NDArray[Any]]:
    """As `evaluate_batch`, for layers and mappings on one machine; its buffer sizes hold."""
    limits = {
        name: np.full(len(cases), getattr(machine, name), dtype=np.int64)
        for name in ("l1_size", "l2_size")
    }
    return evaluate_table(table_of(cases, machine), **limits)
