"""MAESTRO's recursion over levels and cases, compiled: `compat` on arrays, for many mappings.

Where this module and `compat` differ, `compat` is right.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcp_hw.maestro.compat_build import (
    AFTER,
    BEFORE,
    COUNT,
    COUPLED,
    CRASH,
    DIM,
    DIMS,
    EDGE,
    EDGE_UNITS,
    ENTRY,
    EXTENT,
    FILTER,
    FIRST,
    FIRST_LEVEL,
    FIRST_NEED,
    FRAME,
    GIVEN,
    HARDWARE,
    HEAD,
    INPUT,
    LEVELS,
    MAPPED,
    MAPPED_EDGE,
    NOC_BW,
    NOC_LATENCY,
    NOW,
    OFFCHIP_BW,
    OFTEN,
    OUTPUT,
    PARTIAL,
    SECOND,
    SIMD,
    STATES,
    TENSORS,
    UNITS,
    Ints,
    R,
    S,
    X,
    Y,
    build,
    crash,
    divide,
    new_work,
)
from dcp_hw.maestro.compat_cases import (
    P_MASK,
    P_OFTEN,
    case_volumes,
    ingress,
    loop_states,
)
from dcp_hw.maestro.compat_reasons import Reason
from dcp_hw.maestro.compat_walk import advance, advance_grouped

Floats = NDArray[np.float64]

# integers of a result
(RUNTIME, MACS, ITERATIONS, PEAK, BANDWIDTH, OFFCHIP, L1_NEED, SINGLE) = range(8)
UP_READ, UP_WRITE, DOWN_READ, DOWN_WRITE, UP_NEED = 8, 11, 14, 17, 20  # three tensors each
DELAYS = 23  # minimum, maximum, sum of ingress, egress, compute

ACTIVE, INTENSITY = 0, 1  # floats of a result

RESULTS = 32

_UNSET = np.iinfo(np.int64).max
_NOTHING_NEW, _NOTHING_DONE = int(Reason.NOTHING_NEW), int(Reason.NOTHING_DONE)
_ITERATIONS = int(Reason.ITERATIONS)


@njit(cache=True, nogil=True, error_model="numpy")
def evaluate_rows(directives: Ints, starts: Ints, sizes: Ints, strides: Ints, kinds: Ints,
                  hardware: Ints, results: Ints, averages: Floats, status: Ints
                  ) -> None:  # fmt: skip
    """Fill in `results`, `averages` and `status` of mappings; all arrays but the first by row.

    Args:
        directives: all rows' directives one after another; row r's from starts[r].
        sizes: of the nine dimensions, 0 for none.
        strides: of X and Y.
        kinds: as `compat_build.KINDS`.
        status: reason, dimension and two numbers; 0 for a result.
    """
    w = new_work()
    known = np.full((LEVELS, 1 << DIMS, 2), -1, dtype=np.int64)  # row and runtime, by mask
    active = np.zeros((LEVELS, (1 << DIMS) + 1))  # by mask; the last belongs to a level left
    for row in range(kinds.shape[0]):
        kind = kinds[row]
        for i in range(DIMS):
            w[0, EXTENT, i] = sizes[row, i]
            for j in range(4):
                w[0, COUPLED + j, i] = TENSORS[kind, j, i]  # the fourth is RANK
        for i in range(hardware.shape[1]):
            w[0, HARDWARE, i] = hardware[row, i]
        levels = build(w, directives, starts[row], starts[row + 1], strides[row, 0],
                       strides[row, 1], kind % 4 != 3)  # fmt: skip
        failed = levels < 0
        if not failed:
            for grouped in (True, False):
                w[1, HEAD, FIRST_NEED] = -1
                results[row, :] = 0
                for i in range(3):
                    results[row, DELAYS + 3 * i] = _UNSET
                averages[row, :] = 0.0
                if not grouped:
                    known[:, :, 0] = -1
                reason = _recurse(w, known, active, results, averages, row, levels, grouped)
                if reason != _NOTHING_NEW:  # which dimension it is depends on the order
                    break
            failed = reason != 0
        for i in range(4):
            status[row, i] = w[0, HEAD, CRASH + i] if failed else 0


@njit(cache=True, nogil=True, error_model="numpy")
def _recurse(w: Ints, known: Ints, active: Floats, results: Ints, averages: Floats, row: int,
             levels: int, may_group: bool) -> int:  # fmt: skip
    """0, with the row's results filled in, or the reason why there are none.

    Args:
        may_group: take cases of equal volumes below the top level as one.

    Walks the cases of a level. One that needs a result of the next level which is not there yet
    is left, the next level is walked, and the case is begun again: numba can call itself, but
    not from its cache.
    """
    level = mask = requirements = runtime = iterations = 0
    moving, working, grouped = -1, 0.0, False
    _begin(w, 0, 0)
    while True:
        # the case of states NOW, whose innermost moving loop is `moving`
        out, critical, macs = case_volumes(w, level, moving, level == 0)
        often = (w[level, BEFORE + P_OFTEN, moving + 1] + (1 << 31)) % (1 << 32) - (1 << 31)
        loaded = filters = 0
        if iterations == 0 or (critical > 0 and often > 0):
            loaded = ingress(w, level, INPUT, moving)
            filters = ingress(w, level, FILTER, moving) if loaded >= 0 else -1
            if filters < 0:
                return w[0, HEAD, CRASH]
        if often <= 0:
            return crash(w, _ITERATIONS, 0, 0, 0)
        compute, units = 0, 0.0
        if critical > 0:
            first = w[level, HEAD, FIRST]
            state = w[level, NOW, first]
            edge = w[level, EDGE + state, first] != 0
            busy = w[level, HEAD, EDGE_UNITS if edge else UNITS]
            if level + 1 == levels:
                compute, units = _cycles(critical, w[0, HARDWARE, SIMD]), float(busy)
            else:
                partial = edge and w[level, PARTIAL + state, first] != 0
                missing = -1
                for turn in range(2 if partial and busy > 1 else 1):
                    alone = partial and turn == 0
                    below = _mask(w, level, moving, alone)
                    if known[level + 1, below, 0] != row:
                        missing = below
                        break
                    compute = max(compute, known[level + 1, below, 1])
                    units += active[level + 1, below] * (1 if alone else busy - turn)
                if missing >= 0:
                    w[level, FRAME, 0], w[level, FRAME, 1] = mask, moving
                    w[level, FRAME, 2], w[level, FRAME, 3] = requirements, runtime
                    w[level, FRAME, 4], w[level, FRAME, 5] = iterations, grouped
                    active[level, -1] = working
                    level, mask, moving = level + 1, missing, -1
                    requirements, runtime, iterations, working = 0, 0, 0, 0.0
                    grouped = _begin(w, level, mask) and may_group
                    continue
                if units == 0.0:
                    units = float(busy)
        if iterations == 0:
            requirements += 1
            if level == 0:
                _require(w, results, row, loaded, filters, out)
        if level == 0:
            results[row, UP_WRITE + OUTPUT] += often * out
            results[row, DOWN_READ + OUTPUT] += often * macs
            results[row, DOWN_WRITE + OUTPUT] += often * macs
        if critical > 0:
            delay_in = _transfer(w, loaded + filters)
            delay_out = _transfer(w, out)
            delay = compute + delay_in if moving < 0 else max(compute, delay_in, delay_out)
            if level == 0:
                if compute == 0:
                    return crash(w, _NOTHING_DONE, 0, 0, 0)
                delay = _offchip(w, results, row, compute, delay)
                _count(results, averages, row, often, macs, loaded, filters, out, compute,
                       delay_in, delay_out)  # fmt: skip
            runtime += often * delay
            iterations += often
            working += units * often
        if moving < 0 and critical <= 0:
            grouped = False  # how many cases are skipped first depends on the order
        moving = advance_grouped(w, level, moving) if grouped else advance(w, level, moving)
        if moving >= 0:
            continue
        if iterations:
            working /= iterations
        if w[1, HEAD, FIRST_NEED] < 0:
            w[1, HEAD, FIRST_NEED] = _down_need(w, level, requirements)
            w[1, HEAD, FIRST_LEVEL] = level
        if level == 0:
            results[row, RUNTIME], results[row, ITERATIONS] = runtime, iterations
            results[row, L1_NEED] = w[1, HEAD, FIRST_NEED]
            results[row, SINGLE] = w[1, HEAD, FIRST_LEVEL] == 0
            averages[row, ACTIVE] = working
            return 0
        known[level, mask, 0], known[level, mask, 1], active[level, mask] = row, runtime, working
        level -= 1
        mask, moving = w[level, FRAME, 0], w[level, FRAME, 1]
        requirements, runtime = w[level, FRAME, 2], w[level, FRAME, 3]
        iterations, grouped = w[level, FRAME, 4], w[level, FRAME, 5] != 0
        working = active[level, -1]


@njit(cache=True, nogil=True, error_model="numpy")
def _begin(w: Ints, level: int, mask: int) -> bool:
    """Prepare a level for its first case; whether its number of iterations fits 31 bits.

    Args:
        mask: loops of the level above that hand down their last tile.
    """
    if level == 0:
        for dim in range(DIMS):
            w[0, GIVEN, dim] = w[0, EXTENT, dim]
    else:
        for i in range(w[level - 1, HEAD, COUNT]):
            dim = w[level - 1, ENTRY + DIM, i]
            w[level, GIVEN, dim] = w[level - 1, MAPPED_EDGE if mask >> i & 1 else MAPPED, dim]
    loop_states(w, level)
    total = 1.0
    for i in range(w[level, HEAD, COUNT]):
        w[level, NOW, i] = 0
        often = 0
        for state in range(w[level, STATES, i]):
            often += w[level, OFTEN + state, i]
        total *= often
    return total < 1 << 31


@njit(cache=True, nogil=True, error_model="numpy")
def _mask(w: Ints, level: int, moving: int, partial: bool) -> int:
    """Loops that hand down their last tile in the present case."""
    mask = w[level, AFTER + P_MASK, moving + 1] | w[level, BEFORE + P_MASK, moving + 1]
    if partial:
        for place in (FIRST, SECOND):
            i = w[level, HEAD, place]
            if i >= 0 and w[level, EDGE + w[level, NOW, i], i]:
                mask |= 1 << i
    return mask


@njit(cache=True, nogil=True, error_model="numpy")
def _require(w: Ints, results: Ints, row: int, loaded: int, filters: int, out: int) -> None:
    """Add what the L2 must hold, and set the sizes of the tensors."""
    results[row, UP_NEED + INPUT] += 2 * loaded
    results[row, UP_NEED + FILTER] += 2 * filters
    results[row, UP_NEED + OUTPUT] = 2 * out
    inputs = taps = outputs = 1
    for dim in range(DIMS):
        extent = w[0, GIVEN, dim]
        if w[0, COUPLED + INPUT, dim]:
            inputs *= extent
        if w[0, COUPLED + FILTER, dim]:
            taps *= extent
        if w[0, COUPLED + OUTPUT, dim]:
            if dim == X:
                extent += 1 - w[0, GIVEN, S]
            elif dim == Y:
                extent += 1 - w[0, GIVEN, R]
            outputs *= extent
    results[row, UP_WRITE + INPUT], results[row, UP_WRITE + FILTER] = inputs, taps
    results[row, UP_READ + OUTPUT] = outputs


@njit(cache=True, nogil=True, error_model="numpy")
def _down_need(w: Ints, level: int, requirements: int) -> int:
    """What the store below a level must hold, counted for operands as often as it was set."""
    total = 0
    for tensor in (INPUT, FILTER, OUTPUT):
        size = 2 if tensor == OUTPUT else 2 * requirements
        for dim in range(DIMS):
            if w[0, COUPLED + tensor, dim]:
                size *= w[level, MAPPED, dim]
        total += size
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _cycles(work: int, rate: int) -> int:
    """Cycles for some work, rounded up as MAESTRO does it (for negative work once too far)."""
    if work == 0 or rate == 1:
        return work
    if 0 < work <= rate:
        return 1
    cycles = divide(work, rate)
    return cycles if cycles * rate == work else cycles + 1


@njit(cache=True, nogil=True, error_model="numpy")
def _transfer(w: Ints, elements: int) -> int:
    """Cycles that the network takes for so many elements."""
    return w[0, HARDWARE, NOC_LATENCY] + _cycles(elements, w[0, HARDWARE, NOC_BW]) - 1


@njit(cache=True, nogil=True, error_model="numpy")
def _offchip(w: Ints, results: Ints, row: int, compute: int, delay: int) -> int:
    """Delay with the off-chip memory; also the bandwidth it needs, halved once more per case."""
    operands = results[row, UP_NEED + INPUT] + results[row, UP_NEED + FILTER]
    for need in (results[row, UP_NEED + OUTPUT], operands):
        results[row, OFFCHIP] = max(results[row, OFFCHIP], divide(need, compute))
        delay = max(delay, divide(divide(need, w[0, HARDWARE, OFFCHIP_BW]), 2))
    results[row, OFFCHIP] //= 2
    return delay


@njit(cache=True, nogil=True, error_model="numpy")
def _count(results: Ints, averages: Floats, row: int, often: int, macs: int, loaded: int,
           filters: int, out: int, compute: int, delay_in: int, delay_out: int
           ) -> None:  # fmt: skip
    """Add a case of the top level to the counters."""
    results[row, MACS] += often * macs
    results[row, UP_READ + INPUT] += often * loaded
    results[row, UP_READ + FILTER] += often * filters
    for tensor in (INPUT, FILTER):
        results[row, DOWN_WRITE + tensor] = results[row, UP_READ + tensor]
        results[row, DOWN_READ + tensor] += often * macs
    into = loaded + filters
    most = max(into, out)
    results[row, PEAK] = max(results[row, PEAK], divide(most, compute))
    results[row, BANDWIDTH] += divide(often * most, compute)
    averages[row, INTENSITY] = macs / into
    place = DELAYS
    for value in (delay_in, delay_out, compute):
        results[row, place] = min(results[row, place], value)
        results[row, place + 1] = max(results[row, place + 1], value)
        results[row, place + 2] += often * value
        place += 3
