"""Exact cycles and counters of mappings without their commands: compiled, many in one call.

`stream_kernel` makes the cycle model's rows from integers; tests compare it with `Lowering` and
`predict`, which decide about the few mappings that have no room in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from threading import local
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcp_hw.lowering import Lowering
from dcp_hw.mapping import Mapping, Unmappable
from dcp_hw.problem import Problem
from dcp_hw.stream_counts import COUNTERS as COUNTER_COUNT
from dcp_hw.stream_kernel import NO_ROOM, Scratch, new_scratch, run_mappings
from dcp_hw.stream_plan import StreamPlan, mapping_row, stream_plan
from tensorlib.activity import COUNTERS
from tensorlib.design import Design
from tensorlib.errors import AnalysisError
from tensorlib.timing import Prediction, predict

Ints = NDArray[np.int64]

FEW_EXECS, MOST_EXECS = 1 << 11, 1 << 17
CHUNK = 64
"""Mappings that a thread takes at a time."""


class Exact(NamedTuple):
    """What the cycle model says of some mappings.

    Attributes:
        cycles: int64 `n`; 0 where a mapping cannot run.
        counters: int64 `n x 23`, in the order of `tensorlib.activity.COUNTERS`; `0 x 23` if they
            were not wanted.
    """

    cycles: Ints
    counters: Ints


def evaluate(
    problem: Problem, design: Design, mapping: Mapping, *, int32: bool = False
) -> Prediction | str:
    """The exact prediction of a mapping by its commands, or why it cannot run."""
    try:
        lowering = Lowering(problem, design, mapping, int32=int32, bursts=False)
        return predict(design, list(lowering.commands()))
    except (Unmappable, AnalysisError) as error:
        return str(error)


def latency(
    problem: Problem, design: Design, mapping: Mapping, *, int32: bool = False
) -> int | str:
    """Exact cycles of a mapping, equal to `predict` on its commands; or why it cannot run."""
    cycles = int(evaluate_batch(problem, design, [mapping], int32=int32).cycles[0])
    if cycles:
        return cycles
    answer = evaluate(problem, design, mapping, int32=int32)
    return answer if isinstance(answer, str) else answer.latency_cycles


def evaluate_batch(
    problem: Problem,
    design: Design,
    mappings: Sequence[Mapping],
    *,
    int32: bool = False,
    counters: bool = False,
    threads: int = 1,
    long: bool = True,
) -> Exact:
    """Exact cycles, and counters if wanted, of mappings of one layer on one design.

    Args:
        threads: the work releases Python's lock.
        long: work out mappings of more than `MOST_EXECS` EXECs too, which takes seconds to
            minutes each; otherwise their cycles are 0.
    """
    found = Exact(
        np.zeros(len(mappings), dtype=np.int64),
        np.zeros((len(mappings) if counters else 0, COUNTER_COUNT), dtype=np.int64),
    )
    order = sorted(range(len(mappings)), key=lambda n: (mappings[n].axis1, mappings[n].axis2))
    jobs = []
    for lanes, group in groupby(order, key=lambda n: (mappings[n].axis1, mappings[n].axis2)):
        plan = stream_plan(problem, design, lanes, int32=int32)
        if plan is None:
            continue
        places = np.array(list(group))
        rows = np.array([mapping_row(mappings[n]) for n in places], dtype=np.int64)
        jobs += [
            (plan, rows[n : n + CHUNK], places[n : n + CHUNK]) for n in range(0, len(rows), CHUNK)
        ]

    def work(job: tuple[StreamPlan, Ints, Ints]) -> list[int]:
        plan, rows, places = job
        answer, left_out = run_rows(plan, rows, counters=counters)
        found.cycles[places] = answer.cycles
        if counters:
            found.counters[places] = answer.counters
        return [int(places[n]) for n in left_out]

    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            left_out = [n for some in pool.map(work, jobs) for n in some]
    else:
        left_out = [n for job in jobs for n in work(job)]
    for n in left_out if long else ():
        answer = evaluate(problem, design, mappings[n], int32=int32)
        found.cycles[n] = answer.latency_cycles if isinstance(answer, Prediction) else 0
        if counters and isinstance(answer, Prediction):
            found.counters[n] = [answer.counters[name] for name in COUNTERS]
    return found


_own = local()


def _scratch(execs: int) -> Scratch:
    """The thread's scratch, with room for at least that many EXECs."""
    have: tuple[int, Scratch] | None = getattr(_own, "scratch", None)
    if have is None or have[0] < execs:
        have = (execs, new_scratch(execs))
        _own.scratch = have
    return have[1]


def run_rows(plan: StreamPlan, rows: Ints, *, counters: bool = False) -> tuple[Exact, list[int]]:
    """Exact cycles and counters of mappings with equal lanes, and those that found no room.

    Args:
        rows: `n x MAPPING_COUNT`, as `mapping_row`.
    """
    cycles = np.zeros(len(rows), dtype=np.int64)
    counts = np.zeros((len(rows) if counters else 0, COUNTER_COUNT), dtype=np.int64)
    left_out, first, room = [], 0, FEW_EXECS
    while first < len(rows):
        done = run_mappings(plan, rows, _scratch(room), first, cycles, counts)
        if done == len(rows):
            break
        if room >= MOST_EXECS:
            left_out.append(done)
            cycles[done] = 0
            room, done = FEW_EXECS, done + 1
        else:
            room *= 8
        first = done
    assert NO_ROOM not in cycles
    return Exact(cycles, counts), left_out
