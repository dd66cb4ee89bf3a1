"""The results of a mapping from the cases of its top level, compiled.

Where this module and `compat` differ, `compat` is right.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcp_hw.maestro.compat_build import (
    COUPLED,
    DIMS,
    EXTENT,
    FILTER,
    FIRST_LEVEL,
    FIRST_NEED,
    FRAME,
    HARDWARE,
    HEAD,
    INPUT,
    NOC_BW,
    NOC_LATENCY,
    OFFCHIP_BW,
    OUTPUT,
    Ints,
    R,
    S,
    X,
    Y,
    divide,
)
from dcp_hw.maestro.compat_cases import CRITICAL, OFTEN, OUT
from dcp_hw.maestro.compat_cases import MACS as CASE_MACS
from dcp_hw.maestro.compat_walk import COMPUTE, LOADED
from dcp_hw.maestro.honest_axis import LEAN

Floats = NDArray[np.float64]

# integers of a result
(RUNTIME, MACS, ITERATIONS, PEAK, BANDWIDTH, OFFCHIP, L1_NEED, SINGLE) = range(8)
UP_READ, UP_WRITE, DOWN_READ, DOWN_WRITE, UP_NEED = 8, 11, 14, 17, 20  # three tensors each
DELAYS = 23  # minimum, maximum, sum of ingress, egress, compute

ACTIVE, INTENSITY = 0, 1  # floats of a result

RESULTS = 32

_UNSET = np.iinfo(np.int64).max

# How far the walk of a level has come: sizes it got, next case, number of cases. How often
# requirements were set; cycles and iterations so far.
FRAME_MASK, FRAME_AT, FRAME_COUNT, FRAME_SET, FRAME_CYCLES, FRAME_DONE = range(6)


@njit(**LEAN)
def wrapped(often: int) -> int:
    """Iterations in MAESTRO's 32-bit counter."""
    return ((often + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


@njit(**LEAN)
def cycles(work: int, rate: int) -> int:
    """Cycles for some work, rounded up as MAESTRO does it (for negative work once too far)."""
    small = -(1 << 52) < work < 1 << 52
    whole = int(float(work) / float(rate)) if small else divide(work, rate)
    return whole + (whole * rate != work)


@njit(**LEAN)
def finish(w: Ints, cases: Ints, results: Ints, averages: Floats) -> None:
    """Fill in the results from the cases of the top level."""
    _requirements(w, cases, results)
    _costs(w, cases, results, averages)
    results[ITERATIONS] = w[0, FRAME, FRAME_DONE]
    results[L1_NEED] = w[1, HEAD, FIRST_NEED]
    results[SINGLE] = w[1, HEAD, FIRST_LEVEL] == 0
    for tensor in (INPUT, FILTER):
        results[DOWN_WRITE + tensor] = results[UP_READ + tensor]
        results[DOWN_READ + tensor] = results[MACS]


@njit(**LEAN)
def _requirements(w: Ints, cases: Ints, results: Ints) -> None:
    """Fill in what the L2 must hold, once for each case up to the first that is not skipped, and
    the sizes of the tensors."""
    loaded = taps = 0
    for at in range(w[0, FRAME, FRAME_SET]):
        loaded += 2 * cases[0, at, LOADED + INPUT]
        taps += 2 * cases[0, at, LOADED + FILTER]
        results[UP_NEED + OUTPUT] = 2 * cases[0, at, OUT]
    results[UP_NEED + INPUT], results[UP_NEED + FILTER] = loaded, taps
    inputs = taps = outputs = 1
    for dim in range(DIMS):
        extent = w[0, EXTENT, dim]
        if w[0, COUPLED + INPUT, dim]:
            inputs *= extent
        if w[0, COUPLED + FILTER, dim]:
            taps *= extent
        if w[0, COUPLED + OUTPUT, dim]:
            if dim == X:
                extent += 1 - w[0, EXTENT, S]
            elif dim == Y:
                extent += 1 - w[0, EXTENT, R]
            outputs *= extent
    results[UP_WRITE + INPUT], results[UP_WRITE + FILTER] = inputs, taps
    results[UP_READ + OUTPUT] = outputs


@njit(**LEAN)
def _costs(w: Ints, cases: Ints, results: Ints, averages: Floats) -> None:
    """Fill in cycles, MACs, accesses, bandwidths and delays, case by case in MAESTRO's order."""
    latency, bandwidth = w[0, HARDWARE, NOC_LATENCY], w[0, HARDWARE, NOC_BW]
    operands = results[UP_NEED + INPUT] + results[UP_NEED + FILTER]
    need = max(operands, results[UP_NEED + OUTPUT])
    floor = divide(divide(need, w[0, HARDWARE, OFFCHIP_BW]), 2)
    runtime = macs = all_macs = written = inputs = taps = peak = total = offchip = 0
    least_in = least_out = least = _UNSET
    most_in = most_out = most = sum_in = sum_out = sum_compute = 0
    intensity = 0.0
    for at in range(w[0, FRAME, FRAME_COUNT]):
        often, out = wrapped(cases[0, at, OFTEN]), cases[0, at, OUT]
        work = often * cases[0, at, CASE_MACS]
        written += often * out
        all_macs += work
        if cases[0, at, CRITICAL] <= 0:
            continue
        compute = cases[0, at, COMPUTE]
        loaded, filters = cases[0, at, LOADED + INPUT], cases[0, at, LOADED + FILTER]
        into = loaded + filters
        delay_in = latency + cycles(into, bandwidth) - 1
        delay_out = latency + cycles(out, bandwidth) - 1
        delay = max(compute, delay_in, delay_out) if at else compute + delay_in
        runtime += often * max(delay, floor)
        macs += work
        inputs += often * loaded
        taps += often * filters
        offchip = max(offchip, divide(need, compute)) >> 1
        moved = max(into, out)
        peak = max(peak, divide(moved, compute))
        total += divide(often * moved, compute)
        intensity = cases[0, at, CASE_MACS] / into
        least_in, most_in = min(least_in, delay_in), max(most_in, delay_in)
        least_out, most_out = min(least_out, delay_out), max(most_out, delay_out)
        least, most = min(least, compute), max(most, compute)
        sum_in += often * delay_in
        sum_out += often * delay_out
        sum_compute += often * compute
    results[RUNTIME], results[MACS] = runtime, macs
    results[UP_READ + INPUT], results[UP_READ + FILTER] = inputs, taps
    results[UP_WRITE + OUTPUT] = written
    results[DOWN_READ + OUTPUT] = results[DOWN_WRITE + OUTPUT] = all_macs
    results[PEAK], results[BANDWIDTH], results[OFFCHIP] = peak, total, offchip
    for i, value in enumerate((least_in, most_in, sum_in, least_out, most_out, sum_out,
                               least, most, sum_compute)):  # fmt: skip
        results[DELAYS + i] = value
    averages[INTENSITY] = intensity
