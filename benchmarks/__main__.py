"""Speed of search and cycle model on MobileNet-V2's layers: a table with ratios, one run.

Rows: the estimate that prunes, the exact latency of a mapping as the search gets it, the exact
recurrence alone (its commands already made), and lowering with prediction of a whole program.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dcp_hw import candidates, scan, search
from dcp_hw.fast import latency
from dcp_hw.hardware import Hardware
from dcp_hw.lowering import lower
from dcp_hw.metrics import Infeasible
from dcp_hw.problem import problem_of
from dcp_hw.workload import LayerSet
from tensorlib.timing import predict

TARGETS = {"estimate (prunes)": 1_000_000, "exact latency": 50_000}
MAPPINGS = 12


@dataclass(frozen=True, slots=True)
class Row:
    """Evaluations of one kind."""

    name: str
    count: int
    seconds: float

    @property
    def rate(self) -> float:
        """Evaluations per second, one core."""
        return self.count / self.seconds


def timed(name: str, work: Callable[[], int]) -> Row:
    """One row; `work` returns how many evaluations it made."""
    work()  # compiles, fills caches
    start = time.perf_counter()
    count = work()
    return Row(name, count, time.perf_counter() - start)


def rows() -> Iterator[Row]:
    """All rows."""
    layers = list(LayerSet.load("mobilenetv2"))
    style = candidates.STYLES[0]
    design = candidates.design_of(style, 64, 4, candidates.SPLITS[0], Hardware())
    assert design is not None
    effort = search.EFFORTS["quick"]
    kept: list[tuple] = []
    for layer in layers:
        problem = problem_of(layer)
        for _, mapping in search.ranked(problem, design, effort)[:MAPPINGS]:
            if isinstance(latency(problem, design, mapping), int):
                kept.append((layer, problem, mapping))

    def estimates() -> int:
        made = 0
        original = scan.scan

        def counting(g, kts, cts, yts, xts, parts, keep):  # type: ignore[no-untyped-def]
            nonlocal made
            made += len(kts) * len(cts) * len(yts) * len(xts)
            return original(g, kts, cts, yts, xts, parts, keep)

        scan.scan = counting
        try:
            for layer in layers:
                search.ranked(problem_of(layer), design, effort)
        finally:
            scan.scan = original
        return made

    def exact() -> int:
        for _, problem, mapping in kept:
            latency(problem, design, mapping)
        return len(kept)

    programs = [lower(layer, design, mapping) for layer, _, mapping in kept]
    ready = [p for p in programs if not isinstance(p, Infeasible)]

    def predictions() -> int:
        for program in ready:
            predict(design, program.commands)
        return len(ready)

    def programs_made() -> int:
        for layer, _, mapping in kept:
            lower(layer, design, mapping)
        return len(kept)

    yield timed("estimate (prunes)", estimates)
    yield timed("exact latency", exact)
    yield timed("prediction with all counters", predictions)
    yield timed("lowering to a program", programs_made)


def main() -> None:
    """Prints the table."""
    table = list(rows())
    slowest = min(row.rate for row in table)
    print(f"{'':32} {'per second':>12} {'x slowest':>10} {'x target':>9}   (one core)")
    for row in table:
        target = TARGETS.get(row.name)
        share = f"{row.rate / target:9.3f}" if target else " " * 9
        print(f"{row.name:32} {row.rate:12,.0f} {row.rate / slowest:10.1f} {share}")


if __name__ == "__main__":
    main()
