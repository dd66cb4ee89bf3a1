"""Speed of both models of the MAESTRO space: `make bench-maestro`.

Random mappings of layers of MobileNet-V2, ResNet-50, VGG16 and ViT-B/16, 1 to 3 levels, tiles that
divide what is above them or any tiles, filters whole or (two rows) split as well; 256 PEs, buffers
as given (their check is part of the work, nearly all mappings pass), a network of 64 and a DRAM of
16 elements per cycle, so that stalls occur. Rates are medians of wall time, infeasible mappings
included; `cpu us` is CPU time per mapping, which other work on the machine disturbs less. The two
ratios compare the wall rate with the target, and what the CPU time would give on as many idle
cores.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from dcp_hw.maestro.compat import MaestroHardware
from dcp_hw.maestro.compat_batch import evaluate_table
from dcp_hw.maestro.compat_codes import table_of_codes
from dcp_hw.maestro.compat_table import Table
from dcp_hw.maestro.honest_fast import evaluate_batch, machine_row
from dcp_hw.maestro.honest_maestro import code_rows
from dcp_hw.maestro.honest_types import HonestMachine

Ints = NDArray[np.int64]

LAYERS = (  # K C Y X R S T, stride, padding; Y and X of the padded input
    ((32, 3, 226, 226, 3, 3, 1), 2, 1),
    ((1, 96, 114, 114, 3, 3, 2), 2, 1),
    ((24, 96, 56, 56, 1, 1, 1), 1, 0),
    ((64, 64, 58, 58, 3, 3, 1), 1, 1),
    ((128, 128, 30, 30, 3, 3, 1), 1, 1),
    ((512, 512, 9, 9, 3, 3, 1), 1, 1),
    ((512, 128, 28, 28, 1, 1, 1), 1, 0),
    ((197, 768, 768, 1, 1, 1, 3), 1, 0),
    ((1000, 2048, 1, 1, 1, 1, 0), 1, 0),
)
MACHINE = HonestMachine(
    pes=256, l1_size=1 << 16, l2_size=1 << 24, noc_bw=64, noc_latency=1, dram_bw=16
)
TARGETS = {  # mappings/s, 3 levels, 2 threads
    ("honest", True): 1_000_000,
    ("honest", False): 250_000,
    ("compat", True): 200_000,
    ("compat", False): 200_000,
}
BINARY = (
    "MAESTRO's own binary (commit 4eb08d1, default build, one idle core, one process):\n"
    "900/s with 1 level, 250-260/s with 2, 75/s with 3 levels dividing, 34/s with remainders.\n"
    "Measured once, when the model was specified; not by this program."
)


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement."""

    mode: str
    levels: int
    divides: bool
    splits: bool  # filters as well
    threads: int
    batch: int
    per_second: float
    cpu_us: float  # per mapping
    feasible: float  # share
    peak_mb: float  # of the process so far

    @property
    def target(self) -> int | None:
        """Mappings/s that the project wants; for 3 levels on 2 threads."""
        wanted = self.levels == 3 and self.threads == 2 and self.batch >= 100_000
        wanted &= not self.splits
        return TARGETS[self.mode, self.divides] if wanted else None

    @property
    def ratios(self) -> tuple[float, float] | None:
        """To the target: of the wall rate, and of what the CPU time would give on idle cores."""
        if self.target is None:
            return None
        return self.per_second / self.target, self.threads * 1e6 / self.cpu_us / self.target


def sample(
    count: int, levels: int, divides: bool, seed: int, splits: bool = False
) -> tuple[Ints, Ints, Ints, Ints]:
    """Random codes: layers `n x 7`, dataflows `n x levels x 7 x 2`, strides, paddings."""
    rng = np.random.default_rng(seed)
    which = rng.integers(len(LAYERS), size=count)
    codes = np.array([code for code, _, _ in LAYERS])[which]
    strides, pads = (np.array([row[i] for row in LAYERS])[which] for i in (1, 2))
    outer = codes[:, :6].copy()
    outer[:, 2:4] = (codes[:, 2:4] - codes[:, 4:6]) // strides[:, None] + 1
    gemm = codes[:, 6] == 3
    outer[gemm, 0], outer[gemm, 1], outer[gemm, 2] = codes[gemm, 1], codes[gemm, 2], codes[gemm, 0]
    flows = np.zeros((count, levels, 7, 2), dtype=np.int64)
    for level in range(levels):
        tile = outer.copy()
        for d in range(6 if splits else 4):
            tile[:, d] = _parts(outer[:, d], divides, rng)
        flows[:, level, 0, 0] = rng.integers(6, size=count)
        flows[:, level, 0, 1] = rng.choice((1, 2, 4, 8), size=count) if level else 1 << 20
        order = np.argsort(rng.random((count, 6)), axis=1)
        flows[:, level, 1:, 0] = order
        flows[:, level, 1:, 1] = np.take_along_axis(tile, order, axis=1)
        outer = tile
    return codes, flows, strides, pads


def _parts(sizes: Ints, divides: bool, rng: np.random.Generator) -> Ints:
    """A random divisor of each size, or any number up to it."""
    if not divides:
        return rng.integers(1, sizes + 1)
    found = np.empty_like(sizes)
    for size in np.unique(sizes):
        rows = sizes == size
        numbers = np.arange(1, size + 1)
        found[rows] = rng.choice(numbers[size % numbers == 0], size=int(rows.sum()))
    return found


def work_of(
    mode: str, levels: int, divides: bool, batch: int, threads: int, splits: bool
) -> Callable[[], float]:
    """What is timed: it evaluates a batch and returns the feasible share."""
    drawn = min(batch, 100_000)  # larger batches repeat these
    codes, flows, strides, pads = sample(drawn, levels, divides, levels, splits)
    again = np.arange(batch) % drawn
    if mode == "honest":
        layers, mappings = code_rows(codes, flows, stride=strides, padding=pads)
        rows = layers[again], np.array([machine_row(MACHINE)]), mappings[again]
        return lambda: float((evaluate_batch(*rows, threads=threads).reason == 0).mean())
    hardware = MaestroHardware(pes=256, noc_bw=64, noc_latency=1, offchip_bw=16)
    table = _repeated(table_of_codes(codes, flows, stride=strides, hardware=hardware), batch)
    return lambda: float((evaluate_table(table, threads=threads)["infeasible"] == "").mean())


def _repeated(table: Table, batch: int) -> Table:
    """A table of `batch` rows."""
    times = -(-batch // len(table))
    if times == 1:
        return table
    starts = [table.starts[:-1] + i * len(table.directives) for i in range(times)]
    end = [np.array([times * len(table.directives)])]
    rows = (table.sizes, table.strides, table.kinds, table.hardware)
    whole = (np.concatenate([x] * times) for x in rows)
    grown = Table(np.concatenate([table.directives] * times), np.concatenate(starts + end), *whole)
    return grown.part(0, batch)


def measured(
    mode: str, levels: int, divides: bool, batch: int, threads: int, splits: bool = False
) -> Row:
    """One row: the median of some rounds of at least a tenth of a second."""
    work = work_of(mode, levels, divides, batch, threads, splits)
    feasible = work()  # compiles, or loads what was compiled
    times, cpu, runs = [], 0.0, 0
    spent = 0.0
    while len(times) < 3 or (spent < 0.3 and len(times) < 1000):
        before, start = time.process_time(), time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
        cpu += time.process_time() - before
        spent += times[-1]
        runs += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rate = batch / statistics.median(times)
    return Row(
        mode,
        levels,
        divides,
        splits,
        threads,
        batch,
        rate,
        1e6 * cpu / runs / batch,
        feasible,
        peak,
    )


def rows(most: int) -> Iterator[Row]:
    """All rows; batches grow up to `most` for 3 levels."""
    for mode in ("honest", "compat"):
        for divides in (True, False):
            for levels in (1, 2, 3):
                for threads in (1, 2):
                    yield measured(mode, levels, divides, min(most, 100_000), threads)
            if mode == "honest":
                yield measured(mode, 3, divides, min(most, 100_000), 2, splits=True)
        for batch in (1, 100, 10_000, 1_000_000):
            if batch <= most:
                yield measured(mode, 3, True, batch, 2)


_HEAD = (
    "model  levels tiles               threads     batch   mappings/s cpu us feasible peak MB "
    "x target (cpu)"
)


def _line(row: Row) -> str:
    """A row of the table."""
    tiles = "dividing" if row.divides else "remainders"
    tiles += ", filters" if row.splits else ""
    ratios = "" if row.ratios is None else f"{row.ratios[0]:8.2f} ({row.ratios[1]:.2f})"
    return (
        f"{row.mode:6} {row.levels:6} {tiles:19} {row.threads:7} {row.batch:9,} "
        f"{row.per_second:12,.0f} {row.cpu_us:6.2f} {row.feasible:8.1%} {row.peak_mb:7.0f} {ratios}"
    )


def main() -> None:
    """Prints the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=1_000_000, help="largest batch")
    parser.add_argument("--json", action="store_true", help="one JSON object per row")
    options = parser.parse_args()
    if not options.json:
        print(_HEAD)
    for row in rows(options.most):
        if options.json:
            print(
                json.dumps(asdict(row) | {"target": row.target, "ratios": row.ratios}), flush=True
            )
        else:
            print(_line(row), flush=True)
    print(BINARY, file=sys.stderr if options.json else sys.stdout)


if __name__ == "__main__":
    main()
