"""MAESTRO's cost model for columns of mappings, number for number as its binary prints it.

The compiled form of `compat`; what that form does not take (a dimension mapped twice in a level)
goes through `compat` itself.
"""

from __future__ import annotations

from collections.abc import Mapping as Columns
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcp_hw.maestro.compat import evaluate
from dcp_hw.maestro.compat_build import NAMES, UNUSUAL, Ints
from dcp_hw.maestro.compat_columns import COUNTERS, DELAYS
from dcp_hw.maestro.compat_columns import columns as plain_columns
from dcp_hw.maestro.compat_figures import FLOATS, INTEGERS
from dcp_hw.maestro.compat_kernel import evaluate_rows
from dcp_hw.maestro.compat_reasons import Reason, reason_text
from dcp_hw.maestro.compat_table import Table, table
from dcp_hw.metrics import Infeasible

__all__ = ["COLUMNS", "INTEGERS", "evaluate_batch", "evaluate_table"]

COLUMNS = (
    *("runtime", "energy_nj", "energy_full_nj", "throughput", "area", "power", "l1_req", "l2_req"),
    *("macs_reported", "macs_true", "physical", "peak_bw", "avg_bw", "offchip_bw_req", "avg_pes"),
    *("arith_intensity", *COUNTERS, *DELAYS),
    *("pe_power", "l1_power", "l2_power", "noc_power"),
)
"""Columns of a result, as in the reference data."""

_STRIPE = 4096


def evaluate_batch(
    columns: Columns[str, Sequence], *, threads: int = 1, first_row: int = 1
) -> dict[str, NDArray[Any]]:
    """MAESTRO's results for columns of layers, mappings and hardware.

    Args:
        columns: as `compat_table.table`: `type`, the layer's sizes (Y and X padded), `stride`,
            `mapping` in its compact text, `pes noc_bw noc_latency offchip_bw simd`.
        first_row: number of the first row in error messages.

    Returns: `COLUMNS`, and `infeasible`: why the binary has no result, "" where it has one. In
        rows without a result integers are 0 and floats NaN.

    Raises: InputError that names row, column, what was found and what is accepted.
    """
    return evaluate_table(table(columns, first_row=first_row, threads=threads), threads=threads)


def evaluate_table(rows: Table, *, threads: int = 1) -> dict[str, NDArray[Any]]:
    """As `evaluate_batch`, for arrays."""
    count = len(rows)
    integers = np.empty((len(INTEGERS), count), dtype=np.int64)
    floats, status = np.empty((len(FLOATS), count)), np.empty((count, 4), dtype=np.int64)

    def run(start: int) -> None:
        evaluate_rows(rows, start, min(start + _STRIPE, count), integers, floats, status)

    starts = range(0, count, _STRIPE)
    if threads <= 1 or len(starts) <= 1:
        for start in starts:
            run(start)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(run, starts))
    found: dict[str, NDArray[Any]] = dict(zip(INTEGERS, integers, strict=True))
    found.update(zip(FLOATS, floats, strict=True))
    return _finish(rows, {name: found[name] for name in COLUMNS}, status)


def _finish(rows: Table, found: dict[str, NDArray[Any]], status: Ints) -> dict[str, NDArray[Any]]:
    """Add `infeasible`, and evaluate unusual rows plainly."""
    reasons = np.full(len(rows), "", dtype=object)
    texts: dict[tuple[int, ...], str] = {}
    for row in np.flatnonzero(status[:, 0]).tolist():
        key = tuple(status[row].tolist())
        if key[0] == UNUSUAL:
            reasons[row] = _plain(rows, row, found)
            continue
        if key not in texts:
            reason, dim, a, b = key
            texts[key] = reason_text(Reason(reason), dim=NAMES[dim], a=a, b=b)
        reasons[row] = texts[key]
    return {**found, "infeasible": reasons}


def _plain(rows: Table, row: int, found: dict[str, NDArray[Any]]) -> str:
    """Fill in a row by the plain form; why there is no result, or nothing."""
    result = evaluate(rows.layer(row), rows.mapping(row), rows.machine(row))
    if isinstance(result, Infeasible):
        return result.reason
    for name, value in plain_columns(result).items():
        found[name][row] = value
    reported, true = found["macs_reported"][row], found["macs_true"][row]
    units = rows.hardware[row, 0] * rows.hardware[row, 4]
    found["physical"][row] = reported == true and found["runtime"][row] >= true / units
    return ""
