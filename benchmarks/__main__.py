"""Speed of search and cycle model on MobileNet-V2's layers: a table with ratios, one run.

Rows: the estimate that prunes; the exact model on mappings that the search proposes, from their
integers and from `Mapping` objects, without and with all counters; prediction and lowering by
commands, which decide in the end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from dcp_hw import candidates, scan, search
from dcp_hw.fast import CHUNK, evaluate_batch, run_rows
from dcp_hw.hardware import Hardware
from dcp_hw.lane_options import constants, lane_options
from dcp_hw.lowering import lower
from dcp_hw.mapping import Mapping
from dcp_hw.metrics import Infeasible
from dcp_hw.problem import problem_of
from dcp_hw.stream_plan import StreamPlan, mapping_row, stream_plan
from dcp_hw.workload import LayerSet
from tensorlib.design import Design
from tensorlib.timing import predict

TARGETS = {"estimate (prunes)": 1_000_000, "exact cycles": 50_000}
MAPPINGS, PROGRAMS = 300, 4
"""Per layer: mappings evaluated, and programs made of the best of them."""
THREADS = min(2, os.cpu_count() or 1)
ONE = np.array([1], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Row:
    """Evaluations of one kind."""

    name: str
    threads: int
    count: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Evaluations per second."""
        return self.count / self.seconds

    @property
    def cpu_rate(self) -> float:
        """Evaluations per second of CPU time, times threads: the rate of an idle machine."""
        return self.count / self.cpu_seconds * self.threads


def timed(name: str, threads: int, work: Callable[[], int]) -> Row:
    """One row, the best of three; `work` returns how many evaluations it made."""
    work()  # compiles, fills caches
    rows = []
    for _ in range(3):
        start, cpu = time.perf_counter(), time.process_time()
        count = work()
        seconds = time.perf_counter() - start
        rows.append(Row(name, threads, count, seconds, time.process_time() - cpu))
    return max(rows, key=lambda row: row.rate)


Job = tuple[StreamPlan, np.ndarray]


def proposals(layers: LayerSet, design: Design) -> list[list[Mapping]]:
    """Per layer the mappings that a search evaluates: the best estimates and their neighbours."""
    found = []
    for layer in layers:
        best = [m for _, m in search.ranked(problem_of(layer), design, search.EFFORTS["normal"])]
        near = [n for m in best[:8] for n in search.neighbours(m)]
        found.append(list(dict.fromkeys([*best[:MAPPINGS], *near])))
    return found


def jobs_of(layers: LayerSet, design: Design, mappings: list[list[Mapping]]) -> list[Job]:
    """Plans with rows of their mappings, as `evaluate_batch` makes them."""
    jobs: list[Job] = []
    for layer, some in zip(layers, mappings, strict=True):

        def lanes(m: Mapping) -> tuple:
            return m.axis1, m.axis2

        for pair, group in groupby(sorted(some, key=lanes), key=lanes):
            plan = stream_plan(problem_of(layer), design, pair, int32=False)
            assert plan is not None
            rows = np.array([mapping_row(m) for m in group], dtype=np.int64)
            jobs += [(plan, rows[n : n + CHUNK]) for n in range(0, len(rows), CHUNK)]
    return jobs


def exact(jobs: list[Job], threads: int, *, counters: bool) -> int:
    """Mappings evaluated on a number of threads."""

    def work(job: Job) -> int:
        run_rows(*job, counters=counters)
        return len(job[1])

    if threads == 1:
        return sum(map(work, jobs))
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, jobs))


def estimates(layers: LayerSet, design: Design, threads: int) -> int:
    """Estimates made: programs (tiles, EXEC sizes and orders) whose cycles were estimated."""
    effort = search.EFFORTS["normal"]

    def work(name: str) -> int:
        problem = problem_of(layers[name])
        made = 0
        for _, lanes, split in lane_options(problem, design)[:8]:
            g = constants(problem, design, lanes, split, int32=False)
            sizes = search._tile_sizes(problem, design, split, effort.every)
            g[scan.TRIM], g[scan.LEAD] = 0, 1
            made += scan.scan(g, *sizes, effort.keep)[2]
        return made

    names = [layer.name for layer in layers]
    if threads == 1:
        return sum(map(work, names))
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, names))


def rows() -> Iterator[Row]:
    """All rows."""
    layers = LayerSet.load("mobilenetv2")
    style = candidates.STYLES[0]
    design = candidates.design_of(style, 64, 4, candidates.SPLITS[0], Hardware())
    assert design is not None
    mappings = proposals(layers, design)
    jobs = jobs_of(layers, design, mappings)

    def objects() -> int:
        for layer, some in zip(layers, mappings, strict=True):
            evaluate_batch(problem_of(layer), design, some)
        return sum(map(len, mappings))

    few = [(x, m) for x, some in zip(layers, mappings, strict=True) for m in some[:PROGRAMS]]
    programs = [lower(layer, design, mapping) for layer, mapping in few]
    ready = [p for p in programs if not isinstance(p, Infeasible)]

    def predictions() -> int:
        return len([predict(design, program.commands) for program in ready])

    def lowered() -> int:
        return len([lower(layer, design, mapping) for layer, mapping in few])

    for threads in dict.fromkeys((THREADS, 1)):
        yield timed("estimate (prunes)", threads, lambda n=threads: estimates(layers, design, n))
        yield timed("exact cycles", threads, lambda n=threads: exact(jobs, n, counters=False))
        yield timed(
            "exact cycles and counters", threads, lambda n=threads: exact(jobs, n, counters=True)
        )
    yield timed("exact cycles of Mapping objects", 1, objects)
    yield timed("prediction of commands", 1, predictions)
    yield timed("lowering to a program", 1, lowered)


def main() -> None:
    """Prints the table."""
    print(f"{'':32} {'threads':>7} {'per second':>12} {'per CPU s':>12} {'of target':>9}")
    for row in rows():
        target = TARGETS.get(row.name)
        share = f"{row.rate / target:9.2f}" if target else ""
        print(
            f"{row.name:32} {row.threads:7} {row.rate:12,.0f} {row.cpu_rate / row.threads:12,.0f}"
            f" {share}"
        )


if __name__ == "__main__":
    main()
