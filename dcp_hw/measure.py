"""Layers measured on the generated Verilog: every output value compared, every cycle counted."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from dcp_hw import rtl
from dcp_hw.errors import CheckFailed, ToolError
from dcp_hw.process import cache_dir
from dcp_hw.rtl import Rtl
from dcp_hw.work import Work
from dcp_hw.workload import Layer
from sim import runner
from sim.errors import HardwareError, SimError
from sim.layer_data import LayerData, make_data
from sim.reference import checksum
from sim.stream import build_stream, scatter

FORMAT = 2
"""Of the measurements in the cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One layer on one accelerator.

    Attributes:
        counters: of docs/hardware.md, section 9, as the hardware counted them.
        words_expected, words_compared, mismatches: output values.
        checksum_ok: the sum of all int32 values equals the reference's.
        cycles_per_second: speed of the simulation.
    """

    latency_cycles: int
    counters: dict[str, int]
    words_expected: int
    words_compared: int
    mismatches: int
    checksum_ok: bool
    cycles_per_second: float

    @property
    def correct(self) -> bool:
        """Whether every value was compared and equal."""
        return (
            self.words_compared == self.words_expected and not self.mismatches and self.checksum_ok
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A layer to measure: its program on a design."""

    rtl: Rtl
    layer: Layer
    work: Work
    seed: int = 0
    profile: str = "realistic"

    def data(self) -> LayerData:
        """Operands and expected results, in the design's widths."""
        design = self.rtl.design
        return make_data(
            self.layer,
            self.seed,
            self.profile,
            data_bits=design.data_bits,
            acc_bits=design.acc_bits,
        )

    def key(self) -> str:
        """Names the measurement: everything that its result depends on."""
        same = replace(self.layer, name="layer", count=1)
        parts = [FORMAT, self.rtl.digest, self.work.digest, same, self.seed, self.profile]
        return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:32]


def measure(
    job: Job,
    built: runner.Built,
    stalls: runner.Stalls | None = None,
    *,
    folder: Path | None = None,
) -> Measurement:
    """The layer's program run on the simulated Verilog, its outputs against the reference.

    Args:
        folder: where the run's files stay; see `runner.run`.

    Raises: CheckFailed if the hardware hangs or breaks a bus rule, ToolError if the simulator
    fails.
    """
    program = job.work.program
    data = job.data()
    memory = program.image(data)
    stream = build_stream(program.commands, memory)
    try:
        result = runner.run(
            built,
            stream,
            job.work.sent_words,
            timeout_cycles=20 * job.work.predicted_cycles + 100_000,
            stalls=stalls,
            folder=folder,
        )
    except HardwareError as error:
        raise CheckFailed(f"layer {job.layer.name} on {job.rtl.design.name}: {error}") from error
    except SimError as error:
        raise ToolError(str(error)) from error
    scatter(program.commands, result.words, memory)
    found, expected = program.results(memory, data)
    return Measurement(
        latency_cycles=result.latency_cycles,
        counters=dict(result.counters),
        words_expected=int(expected.size),
        words_compared=int(found.size),
        mismatches=int(np.count_nonzero(found != expected)),
        checksum_ok=result.checksum == checksum(data.acc),
        cycles_per_second=result.cycles_per_second,
    )


# --- many, cached -------------------------------------------------------------------


def cached(job: Job) -> Measurement | None:
    """The measurement of a job, if it has been made before."""
    path = _path(job)
    try:
        record = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return Measurement(**record)


def _path(job: Job) -> Path:
    return cache_dir() / "measurements" / f"{job.key()}.json"


def _keep(job: Job, result: Measurement) -> None:
    path = _path(job)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}.tmp")
    aside.write_text(json.dumps(asdict(result), indent=1))
    aside.replace(path)


def measure_all(
    jobs: Sequence[Job], done: Callable[[Job, Measurement], None], *, workers: int = 2
) -> dict[int, Measurement]:
    """Measurements by index of the job; those in the cache first, the others in parallel.

    One simulator is built at a time per worker, and a design's layers run once it is built.
    Ctrl-C stops after the measurements under way; what is finished stays in the cache.

    Raises: as `measure`.
    """
    found: dict[int, Measurement] = {}
    left: dict[str, list[int]] = {}
    for n, job in enumerate(jobs):
        known = cached(job)
        if known is None:
            left.setdefault(job.rtl.digest, []).append(n)
        else:
            found[n] = known
            done(job, known)
    if not left:
        return found
    # a build before its runs; long runs first
    with ThreadPoolExecutor(workers) as pool:
        pending: dict[Future, tuple[str, int | str]] = {}
        builds = iter(left)

        def build_next() -> None:
            digest = next(builds, None)
            if digest is not None:
                job = jobs[left[digest][0]]
                pending[pool.submit(rtl.model, job.rtl, jobs=1)] = ("built", digest)

        try:
            for _ in range(workers):
                build_next()
            while pending:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    kind, what = pending.pop(future)
                    if kind == "built":
                        built = future.result()
                        order = sorted(
                            left[str(what)], key=lambda n: -jobs[n].work.predicted_cycles
                        )
                        for n in order:
                            pending[pool.submit(measure, jobs[n], built)] = ("measured", n)
                        build_next()
                    else:
                        n = int(what)
                        found[n] = future.result()
                        _keep(jobs[n], found[n])
                        done(jobs[n], found[n])
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return found
