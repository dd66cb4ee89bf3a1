"""MAESTRO's recursion over levels and cases, compiled: `compat` on arrays, for many mappings.

Where this module and `compat` differ, `compat` is right.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numba import njit

from dcp_hw.maestro.compat_build import (
    COUPLED,
    CRASH,
    DIM,
    DIMS,
    EDGE_UNITS,
    ENTRY,
    EXTENT,
    FILTER,
    FIRST_LEVEL,
    FIRST_NEED,
    FRAME,
    HARDWARE,
    HEAD,
    INPUT,
    LEVELS,
    MAPPED,
    NOC_BW,
    NOC_LATENCY,
    OUTPUT,
    RELEVANT,
    SIMD,
    TENSORS,
    UNITS,
    Ints,
    build,
    crash,
    new_work,
)
from dcp_hw.maestro.compat_cases import (
    CODE,
    CRITICAL,
    ENDS,
    FIELDS,
    FIRST_EDGE,
    FIRST_PARTIAL,
    MOVING_LOOP,
    OFTEN,
    OUT,
    PARTS,
    fill_loops,
)
from dcp_hw.maestro.compat_figures import blank_columns, fill_columns
from dcp_hw.maestro.compat_reasons import Reason
from dcp_hw.maestro.compat_table import Table
from dcp_hw.maestro.compat_totals import (
    ACTIVE,
    FRAME_AT,
    FRAME_COUNT,
    FRAME_CYCLES,
    FRAME_DONE,
    FRAME_MASK,
    FRAME_SET,
    RESULTS,
    Floats,
    cycles,
    finish,
    wrapped,
)
from dcp_hw.maestro.compat_walk import COMPUTE, LOADED, list_cases, new_lists
from dcp_hw.maestro.honest_axis import LEAN

_NOTHING_NEW, _NOTHING_DONE = int(Reason.NOTHING_NEW), int(Reason.NOTHING_DONE)
_ITERATIONS = int(Reason.ITERATIONS)
_END, _CRASHED = -1, -2  # of a walk


@njit(**LEAN)
def _recurse(w: Ints, loops: Ints, cases: Ints, known: Ints, active: Floats, results: Ints,
             averages: Floats, levels: int, stamp: int) -> int:  # fmt: skip
    """0, with `results` and `averages` filled in, or the reason why there are none.

    Args:
        stamp: of what is known; odd to take cases of equal volumes below the top level as one.

    A level that needs a result of the next one which is not there yet is left, the next level is
    walked, and the case is begun again: numba can call itself, but not from its cache.
    """
    level = missing = np.int64(0)  # literals would be compiled on their own
    w[1, HEAD, FIRST_NEED] = -1
    _begin(w, loops, cases, active, level, missing, stamp)
    while True:
        if level + 1 == levels:
            missing = _walk_innermost(w, cases, active, level)
        else:
            missing = _walk(w, cases, known, active, level, stamp)
        if missing == _CRASHED:
            return w[0, HEAD, CRASH]
        if missing >= 0:
            level += 1
            _begin(w, loops, cases, active, level, missing, stamp)
            continue
        if w[1, HEAD, FIRST_NEED] < 0:
            w[1, HEAD, FIRST_NEED] = _down_need(w, level, w[level, FRAME, FRAME_SET])
            w[1, HEAD, FIRST_LEVEL] = level
        done, working = w[level, FRAME, FRAME_DONE], active[level, -1]
        if done:
            working /= done
        if level == 0:
            averages[ACTIVE] = working
            finish(w, cases, results, averages)
            return 0
        mask = w[level, FRAME, FRAME_MASK]
        known[level, mask, 0], known[level, mask, 1] = stamp, w[level, FRAME, FRAME_CYCLES]
        active[level, mask] = working
        level -= 1


@njit(**LEAN)
def _begin(w: Ints, loops: Ints, cases: Ints, active: Floats, level: int, mask: int,
           stamp: int) -> None:  # fmt: skip
    """Prepare a level for its first case.

    Args:
        mask: loops of the level above that hand down their last tile.
    """
    for i in range(FRAME_SET, FRAME_DONE + 1):
        w[level, FRAME, i] = 0
    w[level, FRAME, FRAME_MASK], w[level, FRAME, FRAME_AT] = mask, 0
    w[level, FRAME, FRAME_COUNT] = list_cases(w, loops, cases, level, mask, stamp & 1 == 1)
    active[level, -1] = 0.0


@njit(**LEAN)
def _ends(w: Ints, level: int, code: int, evaluated: bool, often: int) -> bool:
    """Whether MAESTRO ends in a case; the reason is stored."""
    if evaluated and code & ENDS:
        moving = (code >> MOVING_LOOP & 15) - 1
        crash(w, _NOTHING_NEW, w[level, ENTRY + DIM, moving], 0, 0)
        return True
    if often <= 0:
        crash(w, _ITERATIONS, 0, 0, 0)
        return True
    return False


@njit(**LEAN)
def _walk_innermost(w: Ints, cases: Ints, active: Floats, level: int) -> int:
    """Sum up the cases of the innermost level; whether MAESTRO ends."""
    simd, bandwidth = w[0, HARDWARE, SIMD], w[0, HARDWARE, NOC_BW]
    latency = w[0, HARDWARE, NOC_LATENCY]
    all_units, edge_units = w[level, HEAD, UNITS], w[level, HEAD, EDGE_UNITS]
    requirements = runtime = done = 0
    working = 0
    for at in range(w[level, FRAME, FRAME_COUNT]):
        critical, code = cases[level, at, CRITICAL], cases[level, at, CODE]
        often = wrapped(cases[level, at, OFTEN])
        evaluated = done == 0 or (critical > 0 and often > 0)
        if (code & ENDS or often <= 0) and _ends(w, level, code, evaluated, often):
            return _CRASHED
        requirements += done == 0
        if critical <= 0:
            continue
        compute = cycles(critical, simd)
        cases[level, at, COMPUTE] = compute
        loaded = cases[level, at, LOADED + INPUT] + cases[level, at, LOADED + FILTER]
        delay_in = latency + cycles(loaded, bandwidth) - 1
        if at == 0:
            delay = compute + delay_in
        else:
            delay_out = latency + cycles(cases[level, at, OUT], bandwidth) - 1
            delay = max(compute, delay_in, delay_out)
        runtime += often * delay
        done += often
        working += often * (edge_units if code & FIRST_EDGE else all_units)
    active[level, -1] = working
    w[level, FRAME, FRAME_SET], w[level, FRAME, FRAME_CYCLES] = requirements, runtime
    w[level, FRAME, FRAME_DONE] = done
    return _END


@njit(**LEAN)
def _walk(w: Ints, cases: Ints, known: Ints, active: Floats, level: int, stamp: int
          ) -> int:  # fmt: skip
    """Sum up the cases of a level, from where it was left.

    Returns: sizes for which a result of the next level is missing, or whether MAESTRO ends.
    """
    latency, bandwidth = w[0, HARDWARE, NOC_LATENCY], w[0, HARDWARE, NOC_BW]
    requirements, runtime = w[level, FRAME, FRAME_SET], w[level, FRAME, FRAME_CYCLES]
    done, working = w[level, FRAME, FRAME_DONE], active[level, -1]
    outcome = _END
    for at in range(w[level, FRAME, FRAME_AT], w[level, FRAME, FRAME_COUNT]):
        critical, code = cases[level, at, CRITICAL], cases[level, at, CODE]
        often = wrapped(cases[level, at, OFTEN])
        evaluated = done == 0 or (critical > 0 and often > 0)
        if (code & ENDS or often <= 0) and _ends(w, level, code, evaluated, often):
            return _CRASHED
        if critical <= 0:
            requirements += done == 0
            continue
        missing, compute, units = _below(w, known, active, level, code, stamp)
        if missing >= 0:
            w[level, FRAME, FRAME_AT], outcome = at, missing
            break
        requirements += done == 0
        done += often
        working += units * often
        if level == 0:
            if compute == 0:
                crash(w, _NOTHING_DONE, 0, 0, 0)
                return _CRASHED
            cases[0, at, COMPUTE] = compute
            continue
        loaded = cases[level, at, LOADED + INPUT] + cases[level, at, LOADED + FILTER]
        delay_in = latency + cycles(loaded, bandwidth) - 1
        delay_out = latency + cycles(cases[level, at, OUT], bandwidth) - 1
        delay = compute + delay_in if at == 0 else max(compute, delay_in, delay_out)
        runtime += often * delay
    w[level, FRAME, FRAME_SET], w[level, FRAME, FRAME_CYCLES] = requirements, runtime
    w[level, FRAME, FRAME_DONE], active[level, -1] = done, working
    return outcome


@njit(**LEAN)
def _below(w: Ints, known: Ints, active: Floats, level: int, code: int, stamp: int
           ) -> tuple[int, int, float]:  # fmt: skip
    """Cycles of the slowest unit in a case, and average units at work below.

    Returns: sizes for which they are missing or -1, cycles, units.
    """
    relevant = w[level + 1, HEAD, RELEVANT]
    busy = w[level, HEAD, EDGE_UNITS if code & FIRST_EDGE else UNITS]
    compute, units = 0, 0.0
    if code & FIRST_PARTIAL:
        mask = (code | code >> PARTS) & relevant
        if known[level + 1, mask, 0] != stamp:
            return mask, 0, 0.0
        compute, units = max(known[level + 1, mask, 1], 0), active[level + 1, mask]
        busy -= 1
    if busy > 0:
        mask = code & relevant
        if known[level + 1, mask, 0] != stamp:
            return mask, 0, 0.0
        compute = max(compute, known[level + 1, mask, 1])
        units += active[level + 1, mask] * busy
    if units == 0.0:
        units = float(w[level, HEAD, EDGE_UNITS if code & FIRST_EDGE else UNITS])
    return -1, compute, units


@njit(**LEAN)
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


def _compile() -> Callable[..., None]:
    """The compiled loop over mappings.

    numba's cache looks at the file of the cached function only; the tag, which is part of the
    cache's key, changes with any file of functions or numbers that are compiled. What the loop
    calls is not cached by itself.
    """
    here = Path(__file__).parent
    sources = [*sorted(here.glob("compat*.py")), here / "honest_axis.py", here / "layer.py"]
    tag = zlib.crc32(b"".join(path.read_bytes() for path in sources))

    @njit(cache=True, **LEAN)
    def evaluate_rows(start: int, stop: int, directives: Ints, starts: Ints, sizes: Ints,
                      strides: Ints, kinds: Ints, hardware: Ints, w: Ints, loops: Ints,
                      cases: Ints, known: Ints, active: Floats, results: Ints, averages: Floats,
                      integers: Ints, floats: Floats, status: Ints) -> None:  # fmt: skip
        """Fill in `integers`, `floats` and `status` of mappings, one after another."""
        w[0, HEAD, -1] = tag
        for row in range(start, stop):
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
                for level in range(levels):
                    fill_loops(w, loops, level)
                for grouped in range(1, -1, -1):
                    reason = _recurse(w, loops, cases, known, active, results, averages, levels,
                                      2 * row + grouped)  # fmt: skip
                    if reason != _NOTHING_NEW:  # which dimension it is depends on the order
                        break
                failed = reason != 0
            for i in range(4):
                status[row, i] = w[0, HEAD, CRASH + i] if failed else 0
            if failed:
                blank_columns(sizes, strides, kinds, row, integers, floats)
            else:
                fill_columns(sizes, strides, kinds, hardware, row, results, averages, integers,
                             floats)  # fmt: skip

    return evaluate_rows


_evaluate = _compile()


def evaluate_rows(
    rows: Table, start: int, stop: int, integers: Ints, floats: Floats, status: Ints
) -> None:
    """Fill in the results of some rows.

    Args:
        integers, floats: `compat_figures.INTEGERS` and `FLOATS` x all rows.
        status: all rows x reason, dimension and two numbers; 0 for a result.
    """
    loops = np.zeros((LEVELS, 2 * DIMS, FIELDS), dtype=np.int64)
    known = np.full((LEVELS, 1 << DIMS, 2), -1, dtype=np.int64)  # stamp and cycles, by mask
    active = np.zeros((LEVELS, (1 << DIMS) + 1))  # by mask; the last belongs to a level left
    _evaluate(
        *(start, stop, rows.directives, rows.starts, rows.sizes, rows.strides, rows.kinds),
        *(rows.hardware, new_work(), loops, new_lists(), known, active),
        *(np.zeros(RESULTS, dtype=np.int64), np.zeros(2), integers, floats, status),
    )
