"""The columns of results, compiled: `compat_columns` on arrays.

Where this module and `compat_columns` differ, `compat_columns` is right. Sums are taken in
MAESTRO's order, on which a sixth digit may depend.
"""

from __future__ import annotations

from numba import njit

from dcp_hw.maestro.compat import KINDS, LONG_MIN
from dcp_hw.maestro.compat_build import FILTER, INPUT, NAMES, OUTPUT, Ints, R, S, X, Y
from dcp_hw.maestro.compat_columns import COUNTERS, DELAYS, L1_MACS, L2_MACS, MAC_NJ
from dcp_hw.maestro.compat_table import HARDWARE
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
    RUNTIME,
    SINGLE,
    UP_NEED,
    UP_READ,
    UP_WRITE,
    Floats,
    wrapped,
)
from dcp_hw.maestro.compat_totals import DELAYS as DELAY_PLACES
from dcp_hw.maestro.honest_axis import LEAN

INTEGERS = (
    *("runtime", "l1_req", "l2_req", "macs_reported", "macs_true", "physical"),
    *("peak_bw", "offchip_bw_req", *COUNTERS, *DELAYS),
)
"""Columns of exact integers."""

FLOATS = (
    *("energy_nj", "energy_full_nj", "throughput", "area", "power", "avg_bw", "avg_pes"),
    *("arith_intensity", "pe_power", "l1_power", "l2_power", "noc_power"),
)
"""The others, which MAESTRO prints with six digits."""

_COUNTERS, _DELAYS = INTEGERS.index(COUNTERS[0]), INTEGERS.index(DELAYS[0])
_PES, _NOC_BW, _SIMD = (HARDWARE.index(name) for name in ("pes", "noc_bw", "simd"))
_C, _G, _K, _M, _N = (NAMES.index(dim) for dim in "CGKMN")
_STORES = 4  # counters of a tensor: L1 reads, L1 writes, L2 reads, L2 writes
assert COUNTERS[:_STORES] == tuple(f"{KINDS[0]}_{store}" for store in ("l1r", "l1w", "l2r", "l2w"))


@njit(**LEAN)
def fill_columns(sizes: Ints, strides: Ints, kinds: Ints, hardware: Ints, row: int,
                 results: Ints, averages: Floats, integers: Ints, floats: Floats
                 ) -> None:  # fmt: skip
    """Fill in a row of `integers` and `floats`, both column x row."""
    true = _true_macs(sizes, strides, kinds, row)
    runtime, macs = results[RUNTIME], results[MACS]
    needed = results[UP_NEED + INPUT] + results[UP_NEED + FILTER] + results[UP_NEED + OUTPUT]
    units = hardware[row, _PES] * hardware[row, _SIMD]
    integers[0, row] = runtime
    integers[1, row], integers[2, row] = wrapped(results[L1_NEED]), wrapped(needed)
    integers[3, row], integers[4, row] = macs, true
    integers[5, row] = macs == true and runtime >= true / units
    integers[6, row], integers[7, row] = results[PEAK], results[OFFCHIP]
    _counters(results, integers, row)
    _delays(results, integers, row)
    _energies(results, floats, row)
    floats[2, row] = macs / runtime
    _area_and_power(hardware, integers, floats, row)
    floats[5, row] = results[BANDWIDTH] / results[ITERATIONS]
    floats[6, row], floats[7, row] = averages[ACTIVE], averages[INTENSITY]


@njit(**LEAN)
def blank_columns(sizes: Ints, strides: Ints, kinds: Ints, row: int, integers: Ints,
                  floats: Floats) -> None:  # fmt: skip
    """Fill in a row without a result: integers are 0, but for macs_true, and floats NaN."""
    for i in range(integers.shape[0]):
        integers[i, row] = 0
    for i in range(floats.shape[0]):
        floats[i, row] = float("nan")
    integers[4, row] = _true_macs(sizes, strides, kinds, row)


@njit(**LEAN)
def _counters(results: Ints, integers: Ints, row: int) -> None:
    for tensor in (INPUT, FILTER, OUTPUT):
        at = _COUNTERS + _STORES * tensor
        integers[at, row] = results[DOWN_READ + tensor]
        integers[at + 1, row] = results[DOWN_WRITE + tensor]
        integers[at + 2, row] = results[UP_READ + tensor]
        integers[at + 3, row] = results[UP_WRITE + tensor]


@njit(**LEAN)
def _delays(results: Ints, integers: Ints, row: int) -> None:
    """Minimum, maximum and average of ingress, egress, compute; averages are truncated."""
    done = results[ITERATIONS]
    for i in range(3):
        at, place = _DELAYS + 3 * i, DELAY_PLACES + 3 * i
        least, total = results[place], results[place + 2]
        average = abs(total) // max(done, 1)
        integers[at, row] = least if done > 0 else LONG_MIN
        integers[at + 1, row] = results[place + 1]
        integers[at + 2, row] = (average if total >= 0 else -average) if done > 0 else LONG_MIN


@njit(**LEAN)
def _energies(results: Ints, floats: Floats, row: int) -> None:
    """As `compat_columns.energy_nj`, for a layer alone in its file, and `energy_full_nj`."""
    energy = 0.0
    for tensor in (INPUT, FILTER):
        energy += results[UP_READ + tensor] * L2_MACS
        energy += results[UP_WRITE + tensor] * L2_MACS
    energy += results[UP_WRITE + OUTPUT] * L2_MACS
    level1 = level2 = 0
    for tensor in (INPUT, FILTER, OUTPUT):
        read, written = results[DOWN_READ + tensor], results[DOWN_WRITE + tensor]
        if results[SINGLE]:
            energy += read * L1_MACS
            energy += written * L1_MACS
        level1 += read + written
        level2 += results[UP_READ + tensor] + results[UP_WRITE + tensor]
    floats[0, row] = energy * MAC_NJ
    floats[1, row] = MAC_NJ * (L2_MACS * level2 + L1_MACS * level1 + results[MACS])


@njit(**LEAN)
def _area_and_power(hardware: Ints, integers: Ints, floats: Floats, row: int) -> None:
    """As `compat_columns.area_and_power`."""
    pes, simd = float(hardware[row, _PES]), float(hardware[row, _SIMD])
    noc_bw = float(hardware[row, _NOC_BW])
    l1_need, l2_need = float(integers[1, row] or 1), float(integers[2, row] or 1)
    arbiter = 1.2886 * (pes * pes) + 5.5814 * pes - 23.711
    bus = 14.662 * pes + 28.895
    floats[3, row] = (
        pes * (283.0 * simd + 0.104 * l1_need)
        + 0.104 * l2_need
        + 101.7938 * bus * noc_bw
        + 395.473 * max(arbiter, 1.0)
    )
    pe_power, l1_power, l2_power = 1.2223 * simd * pes, 0.00345 * l1_need * pes, 0.00345 * l2_need
    noc_power = 0.8 * bus / 1000 * noc_bw + 0.34 * max(arbiter / 1000, 1.0)
    floats[4, row] = pe_power + l1_power + l2_power + noc_power
    floats[8, row], floats[9, row] = pe_power, l1_power
    floats[10, row], floats[11, row] = l2_power, noc_power


@njit(**LEAN)
def _true_macs(sizes: Ints, strides: Ints, kinds: Ints, row: int) -> int:
    """Multiply-accumulates that the row's layer really needs."""
    if kinds[row] % 4 == 3:
        return sizes[row, _M] * sizes[row, _N] * sizes[row, _K]
    columns = max(-(-(sizes[row, X] - sizes[row, S] + 1) // strides[row, 0]), 0)
    lines = max(-(-(sizes[row, Y] - sizes[row, R] + 1) // strides[row, 1]), 0)
    kernels = 1 if kinds[row] % 4 == 1 else max(sizes[row, _K], 1)
    total = kernels * lines * columns
    for dim in (_C, R, S, _N, _G):
        total *= max(sizes[row, dim], 1)
    return total


@njit(cache=True, **LEAN)
def fill_true_macs(sizes: Ints, strides: Ints, kinds: Ints, macs: Ints) -> None:
    """Fill in the MACs that each row's layer really needs."""
    for row in range(kinds.shape[0]):
        macs[row] = _true_macs(sizes, strides, kinds, row)
