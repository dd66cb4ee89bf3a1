"""Random designs and layers on generated Verilog: bit-exact, cycle-exact, also under stalls.

Case `n` of a seed is the same whatever else runs: `dcp-hw regress --seed S --only n` repeats it.
Two cases in a row share a design, because building its simulation takes longest.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dcp_hw import rtl
from dcp_hw.axes import axes_of
from dcp_hw.draw import random_array, random_mapping, random_other_array
from dcp_hw.errors import DcpError, InputError
from dcp_hw.lowering import Program, lower
from dcp_hw.measure import Job, Measurement, measure
from dcp_hw.metrics import Infeasible
from dcp_hw.process import note
from dcp_hw.progress import progress
from dcp_hw.stt_program import SttProgram, stt_program
from dcp_hw.work import Work
from dcp_hw.workload import Layer
from sim.interpreter import ProgramFault, interpret, scatter
from sim.layer_data import PROFILES
from sim.runner import Stalls
from tensorlib.design import Design
from tensorlib.families import FAMILIES, family
from tensorlib.timing import CYCLE_CAUSES

SHAPES = ((4, 4), (1, 4), (8, 2), (3, 5), (16, 1), (7, 3), (16, 4), (5, 8), (2, 2), (12, 3))
BUSES = (32, 64, 128)
DATA_BITS = (8, 8, 8, 4, 7)
ACC_BITS = (32, 32, 32, 24, 20)
OPERATORS = ("gemm", "conv", "conv", "dwconv", "dwconv", "bgemm", "grouped")
SMALL = (1, 2, 3, 5, 7, 8, 11, 13, 16, 17, 20, 24, 31, 33, 40)
MAX_CYCLES = 30_000
SHARED = 2
"""Cases of one design."""
FROM_STT = "stt"
"""Kind of a design that follows from a random space-time transformation."""
FROM_OTHER_STT = "other"
"""Kind of a design that no mapping uses: with windows, or shared or summed along a diagonal."""
MAX_OTHER_MACS = 10_000
DESIGN_TRIES = 40
"""Draws of a layer and a mapping before another design is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A design, a layer that runs on it, and how."""

    seed: int
    number: int
    design: Design
    layer: Layer
    work: Work
    profile: str
    stalls: Stalls

    def key(self, generator: str) -> str:
        """Names what is run and expected: another design, program or prediction is another case."""
        prediction = list(self.work.prediction.counters.items())
        parts = [generator, self.design.hash(), self.work.digest, prediction, self.layer]
        parts += [self.number, self.profile, self.stalls]
        return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """What came of a case; `failure` is None if all of it held."""

    seed: int
    number: int
    design: str
    layer: str
    words: int
    predicted_cycles: int
    measured_cycles: int
    failure: str | None

    @property
    def passed(self) -> bool:
        """Whether everything held."""
        return self.failure is None

    def repeat(self) -> str:
        """The command that repeats the case, and why it failed."""
        return f"dcp-hw regress --seed {self.seed} --only {self.number}   # {self.failure}"

    def record(self) -> dict[str, object]:
        """As JSON."""
        return asdict(self)


def draw(seed: int, number: int) -> Case:
    """Case `number` of a seed."""
    rng = random.Random(f"{seed}/{number}")
    attempt, found = 0, None
    while found is None:
        found = _runnable(_design(seed, number // SHARED, attempt), rng)
        attempt += 1
    design, layer, work = found
    return Case(
        seed=seed,
        number=number,
        design=design,
        layer=layer,
        work=work,
        profile=rng.choice(PROFILES),
        stalls=Stalls(
            source=rng.choice((0.02, 0.2, 0.6)),
            sink=rng.choice((0.02, 0.2, 0.6)),
            longest=rng.choice((1, 3, 20)),
            seed=rng.randrange(1, 1 << 31),
        ),
    )


def _runnable(design: Design, rng: random.Random) -> tuple[Design, Layer, Work] | None:
    """A layer and its program on a design; None if none was found in some tries."""
    compile_ = _mapped if axes_of(design).other is None else _packed
    for _ in range(DESIGN_TRIES):
        try:
            layer = _layer(rng)
        except InputError:
            continue  # sizes that do not fit each other
        program = compile_(layer, design, rng)
        if isinstance(program, Infeasible):
            continue
        work = Work(program)
        if work.predicted_cycles <= MAX_CYCLES:
            return design, layer, work
    return None


def _mapped(layer: Layer, design: Design, rng: random.Random) -> Program | Infeasible:
    """The program of a random mapping."""
    mapping = random_mapping(layer, design, rng)
    if isinstance(mapping, Infeasible):
        return mapping
    return lower(layer, design, mapping, int32=rng.random() < 0.3)


def _packed(layer: Layer, design: Design, _rng: random.Random) -> SttProgram | Infeasible:
    """The program for an array that no mapping uses."""
    if layer.macs > MAX_OTHER_MACS:
        return Infeasible(f"more than {MAX_OTHER_MACS:,} MACs")
    return stt_program(layer, design)


def _design(seed: int, number: int, attempt: int) -> Design:
    rng = random.Random(f"{seed}/design {number}/{attempt}")
    # every family in turn, so that few cases cover them all, then as many arrays of a random T
    random_ones = len(FAMILIES) // 2
    kinds = [*sorted(FAMILIES), *[FROM_STT] * random_ones, *[FROM_OTHER_STT] * random_ones]
    kind = kinds[number % len(kinds)]
    rows, cols = rng.choice(SHAPES)
    if rng.random() < 0.3:
        rows, cols = cols, rows
    made = {FROM_STT: random_array, FROM_OTHER_STT: random_other_array}.get(kind)
    make = partial(family, kind) if made is None else partial(made, rng)
    return make(
        rows,
        cols,
        name=f"{kind}_{rows}x{cols}_{number}",
        depth=rng.choice((8, 24, 64, 100)),
        words=rng.choice((16, 60, 256)),
        in_bits=rng.choice(BUSES),
        out_bits=rng.choice(BUSES),
        param_rows=rng.choice((1, 3, 8)),
        data_bits=rng.choice(DATA_BITS),
        acc_bits=rng.choice(ACC_BITS),
    )


def _layer(rng: random.Random) -> Layer:
    def size(most: int) -> int:
        return rng.choice([n for n in SMALL if n <= most])

    operator = rng.choice(OPERATORS)
    if operator == "gemm":
        return Layer(name="gemm", operator="gemm", M=size(40), N=size(40), K=size(40))
    if operator == "bgemm":
        return Layer(
            name="bgemm", operator="bgemm", B=rng.choice((1, 2, 3)), M=size(13), N=size(20),
            K=size(20), transposed=rng.choice((0, 1)),
        )  # fmt: skip
    window_r, window_s = rng.choice(((1, 1), (3, 3), (3, 1), (2, 2), (1, 3), (5, 5)))
    stride, dilation = rng.choice((1, 1, 2, 3)), rng.choice((1, 1, 1, 2))
    padding = rng.choice((0, 0, 1, 2))
    padding = min(padding, ((min(window_r, window_s) - 1) * dilation + 1) // 2)
    height, width = size(13), size(17)
    common = {
        "Y": height,
        "X": width,
        "R": window_r,
        "S": window_s,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
    }
    if operator == "dwconv":
        channels = max(2, size(40))
        return Layer(
            name="dwconv", operator="dwconv", K=channels, C=channels, groups=channels, **common
        )
    if operator == "grouped":
        groups = rng.choice((2, 3))
        inputs, outputs = groups * rng.choice((2, 4, 16)), groups * rng.choice((2, 5, 16))
        return Layer(name="grouped", operator="conv", K=outputs, C=inputs, groups=groups, **common)
    return Layer(name="conv", operator="conv", K=size(33), C=size(33), **common)


def check(case: Case, one: rtl.Rtl) -> CaseResult:
    """What comes of a case: without stalls, then with."""
    work = case.work
    job = Job(rtl=one, layer=case.layer, work=work, seed=case.number, profile=case.profile)
    plain: Measurement | None = None
    failure = None
    try:
        built = rtl.model(one, jobs=1, quick=True)
        plain = measure(job, built)
        failure = _wrong(plain, work, timed=True)
        if failure is None and (wrong := _wrong(measure(job, built, case.stalls), work)):
            failure = f"with stalls: {wrong}"
    except DcpError as error:
        failure = str(error).splitlines()[0]
    if failure is not None:
        failure += _blame(job)
    return CaseResult(
        seed=case.seed,
        number=case.number,
        design=case.design.name,
        layer=str(case.layer),
        words=plain.words_compared if plain else 0,
        predicted_cycles=work.predicted_cycles,
        measured_cycles=plain.latency_cycles if plain else 0,
        failure=failure,
    )


def _wrong(found: Measurement, work: Work, *, timed: bool = False) -> str | None:
    """What differs from the reference and from the prediction; None if nothing does."""
    if not found.correct:
        sums = "" if found.checksum_ok else ", and the checksum of the sums"
        return f"{found.mismatches} of {found.words_expected} values differ{sums}"
    if timed and found.latency_cycles != work.predicted_cycles:
        return f"{found.latency_cycles} cycles, predicted {work.predicted_cycles}"
    wrong = {
        name: (found.counters[name], value)
        for name, value in work.prediction.counters.items()
        if found.counters[name] != value and (timed or name not in CYCLE_CAUSES)
    }
    return f"counters (measured, predicted): {wrong}" if wrong else None


def _blame(job: Job) -> str:
    """Whether the program itself is wrong, as its interpretation without hardware shows."""
    program, design = job.work.program, job.rtl.design
    data = job.data()
    memory = program.image(data)
    try:
        words = interpret(design, program.commands, memory).words
    except ProgramFault as fault:
        return f"; the program breaks a rule: {fault}"
    scatter(program.commands, words, memory)
    if np.array_equal(*program.results(memory, data)):
        return "; the interpreted program is right"
    return "; the interpreted program is wrong too"


def run(
    *, cases: int, seed: int, out: Path, only: int | None = None, workers: int = 2, batch: int = 40
) -> list[CaseResult]:
    """Results of cases 0 .. cases - 1 of a seed, or of one; passed ones are not run again.

    Raises: InputError for less than one case.
    """
    if cases < 1:
        raise InputError(f"count must be >= 1, got {cases}")
    if only is not None and only < 0:
        raise InputError(f"case must be >= 0, got {only}")
    numbers = [only] if only is not None else list(range(cases))
    out.mkdir(parents=True, exist_ok=True)
    log = out / f"results-{seed}.jsonl"
    known = {} if only is not None else dict(_records(log))
    results: dict[int, CaseResult] = {}
    with progress("regression", len(numbers)) as advance, ThreadPoolExecutor(workers) as pool:
        try:
            for first in range(0, len(numbers), batch):
                generator = rtl.generator_key()
                new = []
                for case in (draw(seed, n) for n in numbers[first : first + batch]):
                    passed = known.get(case.key(generator))
                    if passed is None:
                        new.append(case)
                    else:
                        results[case.number] = passed
                        advance(1)
                made = rtl.verilog([case.design for case in new])
                for group in pool.map(_check_all, _by_design(new, made)):
                    for case, result in group:
                        results[result.number] = result
                        if only is None and result.passed:
                            _append(log, case.key(generator), result)
                        advance(1, "" if result.passed else f"FAILED {result.repeat()}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    note(f"results: {log}")
    return [results[n] for n in numbers]


def _by_design(cases: Sequence[Case], made: Sequence[rtl.Rtl]) -> list[list[tuple[Case, rtl.Rtl]]]:
    """Cases with their Verilog, those of one design together: they wait for one build."""
    groups: dict[str, list[tuple[Case, rtl.Rtl]]] = {}
    for case, one in zip(cases, made, strict=True):
        groups.setdefault(one.digest, []).append((case, one))
    return list(groups.values())


def _check_all(group: Sequence[tuple[Case, rtl.Rtl]]) -> list[tuple[Case, CaseResult]]:
    return [(case, check(case, one)) for case, one in group]


def _append(log: Path, key: str, result: CaseResult) -> None:
    with log.open("a") as file:
        file.write(json.dumps({**result.record(), "key": key}) + "\n")


def _records(log: Path) -> Iterator[tuple[str, CaseResult]]:
    """Keys and results of passed cases; half-written lines are left out."""
    if not log.is_file():
        return
    for line in log.read_text().splitlines():
        try:
            record = json.loads(line)
            key = record.pop("key")
            yield key, CaseResult(**record)
        except (json.JSONDecodeError, KeyError, TypeError):
            continue
