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

from dcp_hw.maestro.compat import KINDS, LONG_MIN, evaluate
from dcp_hw.maestro.compat_build import NAMES, UNUSUAL, Ints
from dcp_hw.maestro.compat_columns import COUNTERS, DELAYS, L1_MACS, L2_MACS, MAC_NJ
from dcp_hw.maestro.compat_columns import columns as plain_columns
from dcp_hw.maestro.compat_kernel import evaluate_rows
from dcp_hw.maestro.compat_reasons import Reason, reason_text
from dcp_hw.maestro.compat_table import Table, table
from dcp_hw.maestro.compat_totals import (
    ACTIVE,
    BANDWIDTH,
    DOWN_READ,
    DOWN_WRITE,
    INTENSITY,
    ITERATIONS,
    L1_NEED,
    MACS,
    OFFCHIP,
    PEAK,
    RESULTS,
    RUNTIME,
    SINGLE,
    UP_NEED,
    UP_READ,
    UP_WRITE,
)
from dcp_hw.maestro.compat_totals import DELAYS as DELAY_PLACES
from dcp_hw.metrics import Infeasible

INTEGERS = (
    *("runtime", "l1_req", "l2_req", "macs_reported", "macs_true", "physical"),
    *("peak_bw", "offchip_bw_req", *COUNTERS, *DELAYS),
)
"""Columns of exact integers; the others are floats, which MAESTRO prints with six digits."""

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
    results = np.zeros((count, RESULTS), dtype=np.int64)
    averages, status = np.full((count, 2), np.nan), np.zeros((count, 4), dtype=np.int64)
    workers = max(threads, 1)

    def run(worker: int) -> None:
        for start in range(worker * _STRIPE, count, workers * _STRIPE):
            stop = min(start + _STRIPE, count)
            part = rows.part(start, stop)
            evaluate_rows(
                *(part.directives, part.starts, part.sizes, part.strides, part.kinds),
                part.hardware,
                *(results[start:stop], averages[start:stop], status[start:stop]),
            )

    if workers == 1:
        run(0)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(run, range(workers)))
    return _finish(rows, _columns(rows, results, averages), status)


def _columns(rows: Table, results: Ints, averages: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """The columns of results, in MAESTRO's order of operations where a sixth digit may turn."""
    pes, simd = rows.hardware[:, 0], rows.hardware[:, 4]
    noc_bw = rows.hardware[:, 1]
    l1_need, l2_need = (
        _wrap32(results[:, L1_NEED]),
        _wrap32(results[:, UP_NEED : UP_NEED + 3].sum(axis=1)),
    )
    counters = {
        f"{kind}_{store}": results[:, place + i]
        for i, kind in enumerate(KINDS)
        for store, place in (
            *(("l1r", DOWN_READ), ("l1w", DOWN_WRITE)),
            *(("l2r", UP_READ), ("l2w", UP_WRITE)),
        )
    }
    done, runtime, macs = results[:, ITERATIONS], results[:, RUNTIME], results[:, MACS]
    true = true_macs(rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        row: dict[str, NDArray[Any]] = {
            "runtime": runtime,
            "energy_nj": _energy(counters, results[:, SINGLE]),
            "energy_full_nj": _energy_full(counters, macs),
            "throughput": macs / runtime,
            **_area_and_power(pes, simd, noc_bw, l1_need, l2_need),
            "l1_req": l1_need,
            "l2_req": l2_need,
            "macs_reported": macs,
            "macs_true": true,
            "physical": ((macs == true) & (runtime >= true / (pes * simd))).astype(np.int64),
            "peak_bw": results[:, PEAK],
            "avg_bw": results[:, BANDWIDTH] / done,
            "offchip_bw_req": results[:, OFFCHIP],
            "avg_pes": averages[:, ACTIVE],
            "arith_intensity": averages[:, INTENSITY],
            **counters,
        }
    for i, kind in enumerate(("ing", "egr", "cmp")):
        least, most, total = (results[:, DELAY_PLACES + 3 * i + j] for j in range(3))
        average = np.sign(total) * (np.abs(total) // np.maximum(done, 1))
        row[f"{kind}_min"] = np.where(done > 0, least, LONG_MIN)
        row[f"{kind}_max"] = most
        row[f"{kind}_avg"] = np.where(done > 0, average, LONG_MIN)
    return {name: row[name] for name in COLUMNS}


def _finish(rows: Table, found: dict[str, NDArray[Any]], status: Ints) -> dict[str, NDArray[Any]]:
    """Add `infeasible`, blank rows without a result, and evaluate unusual rows plainly."""
    reasons = np.full(len(rows), "", dtype=object)
    ended = np.flatnonzero(status[:, 0])
    texts: dict[tuple[int, ...], str] = {}
    for row in ended.tolist():
        key = tuple(status[row].tolist())
        if key[0] == UNUSUAL:
            result = evaluate(rows.layer(row), rows.mapping(row), rows.machine(row))
            if not isinstance(result, Infeasible):
                for name, value in plain_columns(result).items():
                    found[name][row] = value
                reported, true = found["macs_reported"][row], found["macs_true"][row]
                units = rows.hardware[row, 0] * rows.hardware[row, 4]
                enough = found["runtime"][row] >= true / units
                found["physical"][row] = reported == true and enough
                continue
            reasons[row] = result.reason
        else:
            if key not in texts:
                reason, dim, a, b = key
                texts[key] = reason_text(Reason(reason), dim=NAMES[dim], a=a, b=b)
            reasons[row] = texts[key]
    failed = reasons != ""
    for name, column in found.items():
        if name != "macs_true":
            column[failed] = 0 if name in INTEGERS else np.nan
    return {**found, "infeasible": reasons}


def _wrap32(values: Ints) -> Ints:
    return (values + (1 << 31)) % (1 << 32) - (1 << 31)


def _energy(counters: Columns[str, Ints], single: Ints) -> NDArray[np.float64]:
    """The energy column of MAESTRO's CSV, for a layer alone in its file."""
    total = np.zeros(len(single))
    for name in ("input_l2r", "input_l2w", "filter_l2r", "filter_l2w", "output_l2w"):
        total += counters[name] * L2_MACS
    own = np.zeros(len(single)) + total
    for kind in KINDS:
        own += counters[f"{kind}_l1r"] * L1_MACS
        own += counters[f"{kind}_l1w"] * L1_MACS
    return np.where(single == 1, own, total) * MAC_NJ


def _energy_full(counters: Columns[str, Ints], macs: Ints) -> NDArray[np.float64]:
    """The total energy on MAESTRO's screen."""
    level2 = sum(counters[f"{kind}_l2{x}"] for kind in KINDS for x in "rw")
    level1 = sum(counters[f"{kind}_l1{x}"] for kind in KINDS for x in "rw")
    return MAC_NJ * (L2_MACS * level2 + L1_MACS * level1 + macs)


def _area_and_power(
    pes: Ints, simd: Ints, noc_bw: Ints, l1_need: Ints, l2_need: Ints
) -> dict[str, NDArray[np.float64]]:
    """As `compat_columns.area_and_power`."""
    arbiter = 1.2886 * pes.astype(np.float64) ** 2 + 5.5814 * pes - 23.711
    bus = 14.662 * pes + 28.895
    l1_need, l2_need = np.where(l1_need == 0, 1, l1_need), np.where(l2_need == 0, 1, l2_need)
    pe_power, l1_power, l2_power = 1.2223 * simd * pes, 0.00345 * l1_need * pes, 0.00345 * l2_need
    noc_power = 0.8 * bus / 1000 * noc_bw + 0.34 * np.maximum(arbiter / 1000, 1)
    return {
        "area": pes * (283 * simd + 0.104 * l1_need)
        + 0.104 * l2_need
        + 101.7938 * bus * noc_bw
        + 395.473 * np.maximum(arbiter, 1),
        "power": pe_power + l1_power + l2_power + noc_power,
        "pe_power": pe_power,
        "l1_power": l1_power,
        "l2_power": l2_power,
        "noc_power": noc_power,
    }


def true_macs(rows: Table) -> Ints:
    """Multiply-accumulates that each row's layer really needs."""
    size = dict(zip(NAMES, rows.sizes.T, strict=False))
    whole = {dim: np.maximum(values, 1) for dim, values in size.items()}
    is_gemm = rows.kinds % 4 == 3
    stride_x, stride_y = rows.strides.T
    columns = np.maximum(-(-(size["X"] - size["S"] + 1) // stride_x), 0)
    lines = np.maximum(-(-(size["Y"] - size["R"] + 1) // stride_y), 0)
    taps = whole["C"] * whole["R"] * whole["S"] * whole["N"] * whole["G"]
    kernels = np.where(rows.kinds % 4 == 1, 1, whole["K"])
    convolution = kernels * taps * lines * columns
    return np.where(is_gemm, size["M"] * size["N"] * size["K"], convolution)
