"""What is known of a run before it is made; records of runs; runs made where a store lacks them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from math import log2, prod
from typing import Any

from dcp_hw import physical, switching, toolchain
from dcp_hw.hardware import Hardware
from dcp_hw.measure import Job, Measurement
from dcp_hw.process import note
from dcp_hw.progress import progress
from dcp_hw.store import Record, Store, StoreError, default_folder
from dcp_hw.work import Work
from dcp_hw.workload import Layer
from sim.dram import Dram, sent_addresses, stream_addresses
from tensorlib.design import Design
from tensorlib.program import LOOPS, Config, Exec, Load
from tensorlib.timing import CYCLE_CAUSES

FORMAT = 2
"""Of records; goes up with every change of features, probes or memory model."""

Features = dict[str, float]


# --- features -----------------------------------------------------------------------


def change_rates(design: Design, work: Work) -> tuple[float, float]:
    """Share of steps at whose start the multipliers' input, and weight, is read anew.

    A held operand changes once a sweep. Counted over the loop nests of all EXECs.
    """
    steps = 0
    changes = {"input": 0, "weight": 0}
    config: Config | None = None
    for command in work.program.commands:
        if isinstance(command, Config):
            config = command
        elif isinstance(command, Exec):
            assert config is not None
            steps += prod(command.bounds)
            for tensor in changes:
                strides = getattr(config, f"{tensor}_strides")
                changes[tensor] += _changes(command.bounds, strides)
    sweeps = work.prediction.counters["sweep"]
    for tensor in changes:
        if getattr(design, tensor).temporal == "chain":
            changes[tensor] = sweeps
    return changes["input"] / steps, changes["weight"] / steps


def _changes(bounds: Sequence[int], strides: Sequence[int]) -> int:
    """Steps of a loop nest whose address differs from the step before; the first counts."""
    total, back = 1, 0
    for n in range(LOOPS):
        if strides[n] != back:
            total += (bounds[n] - 1) * prod(bounds[n + 1 :])
        back += strides[n] * (bounds[n] - 1)
    return total


def stream_mix(work: Work) -> Features:
    """What the streams are made of.

    `stream_input`, `stream_weight`: shares of the words that come in; `*_fill`: elements of a
    tensor per byte that it takes in memory (int32 outputs: per word), the rest are zeros.
    """
    program = work.program
    loads = {"input": 0, "weight": 0, "params": 0}
    commands = 0
    for command in program.commands:
        commands += len(command.words())
        if isinstance(command, Load):
            loads[command.tensor] += command.data_words
    words = commands + sum(loads.values())
    found = {f"stream_{name}": loads[name] / words for name in ("input", "weight")}
    ends = sorted((*program.regions.values(), program.memory_bytes))
    layer = program.layer
    for name, shape in (
        ("input", layer.input_shape),
        ("weight", layer.weight_shape),
        ("output", layer.output_shape),
    ):
        start = program.regions[name]
        size = max(1, next((e for e in ends if e > start), start + 1) - start)
        elements = prod(shape) * (4 if name == "output" and program.int32 else 1)
        found[f"{name}_fill"] = min(1.0, elements / size)
    return found


def features(layer: Layer, design: Design, work: Work, hardware: Hardware) -> Features:
    """Numbers that the cycle model gives before anything is simulated.

    `share_*` are parts of the table's energy, `cause_*` of the predicted cycles; rates are per
    step or per predicted cycle; `*_bursts` counts runs of words that follow each other in memory.
    """
    prediction = work.prediction
    cycles, counters = prediction.latency_cycles, prediction.counters
    table = physical.energy(design, hardware, counters, cycles)
    inputs, weights = change_rates(design, work)
    a, b = inputs / 2, weights / 2
    found = {f"share_{part}": nj / table.total_nj for part, nj in table.parts().items()}
    found |= {f"cause_{cause}": counters[cause] / cycles for cause in CYCLE_CAUSES}
    streams = {
        "in": stream_addresses(work.program.commands, work.program.memory_bytes),
        "out": sent_addresses(work.program.commands),
    }
    for name, addresses in streams.items():
        bits = design.in_bits if name == "in" else design.out_bits
        found[f"bus_{name}"] = counters[f"bus_{name}_beat"] / cycles
        found[f"{name}_bursts"] = len(Dram().bursts(addresses)) / cycles
        found[f"{name}_bits"] = log2(bits)
    found |= stream_mix(work)
    return found | {
        "input_changes": inputs,
        "weight_changes": weights,
        # toggles of a partial product, both operands uniform: a bit of the and-array
        "product_activity": (a + b - a * b) / 2,
        "busy": counters["mac"] / (cycles * design.pes),
        "log_pes": log2(design.pes),
        "log_cycles": log2(cycles),
        "log_reduction": log2(layer.reduction),
        "adds_in_pe": float(physical.adder_in_pe(design)),
        "held_input": float(design.input.temporal == "chain"),
        "held_weight": float(design.weight.temporal == "chain"),
    }


# --- records ------------------------------------------------------------------------


@cache
def _versions() -> Mapping[str, str]:
    return toolchain.versions()


def design_code(design: Design) -> dict[str, Any]:
    """What makes a design, short; its hash names the whole."""
    code: dict[str, Any] = {"stt": design.stt, "array": [design.rows, design.cols]}
    for name in ("input", "weight"):
        operand = getattr(design, name)
        code[name] = {
            "temporal": operand.temporal,
            "banks": operand.banks,
            "rows": operand.rows,
            "slots": operand.slots,
        }
    output = design.output
    code["output"] = {
        "temporal": output.temporal,
        "banks": output.banks,
        "words": output.words,
    }
    return code | {"bus": [design.in_bits, design.out_bits], "skew_max": design.skew_max}


def layer_code(layer: Layer) -> dict[str, Any]:
    """Operator and sizes."""
    return {
        k: str(v) if k == "operator" else v
        for k, v in asdict(layer).items()
        if k not in ("name", "count")
    }


def job_key(job: Job, hardware: Hardware, memory: str, kind: str) -> str:
    """Names a measurement: everything that its result depends on."""
    parts = [FORMAT, job.key(), hardware.to_dict(), memory, kind]
    parts += [switching.prices()] if kind == "probed" else []
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:32]


def _record(job: Job, hardware: Hardware, measured: Measurement, **rest: Any) -> Record:
    work, design = job.work, job.rtl.design
    prediction = work.prediction
    run = (design, hardware, prediction.counters, prediction.latency_cycles)
    return Record(
        layer=job.layer.name,
        operator=str(job.layer.operator),
        profile=job.profile,
        seed=job.seed,
        design=design.name,
        design_hash=design.hash(),
        program_hash=work.digest,
        verilog_hash=job.rtl.digest,
        predicted_cycles=prediction.latency_cycles,
        cycles=measured.latency_cycles,
        layer_code=layer_code(job.layer),
        design_code=design_code(design),
        hardware=hardware.to_dict(),
        versions=_versions(),
        predicted=prediction.counters,
        counters=measured.counters,
        table_nj=physical.energy(*run).parts(),
        features=features(job.layer, design, work, hardware),
        **rest,
    )


def plain_record(job: Job, measured: Measurement, hardware: Hardware) -> Record:
    """Of a run without probes: energy by the table from the hardware's counters."""
    run = (job.rtl.design, hardware, measured.counters, measured.latency_cycles)
    parts = physical.energy(*run).parts()
    return _record(
        job,
        hardware,
        measured,
        key=job_key(job, hardware, "ideal", "plain"),
        kind="plain",
        memory="ideal",
        energy_nj=sum(parts.values()),
        energy_spread_nj=0.0,
        toggles={},
        parts_nj=parts,
    )


def probed_record(job: Job, seen: switching.Observation, hardware: Hardware) -> Record:
    """Of a run with probes."""
    return _record(
        job,
        hardware,
        seen.measured,
        key=job_key(job, hardware, seen.memory, "probed"),
        kind="probed",
        memory=seen.memory,
        energy_nj=seen.energy.total_nj,
        energy_spread_nj=seen.energy.spread_nj,
        toggles=seen.toggled,
        parts_nj=seen.energy.parts,
    )


def keep(jobs: Sequence[Job], results: Mapping[int, Measurement], hardware: Hardware) -> None:
    """Nothing; adds plain runs to the default store, those that it has not.

    A store that cannot be used is said, and nothing else: the report matters more.
    """
    store = Store(default_folder())
    try:
        known = store.keys()
        new = [n for n in results if job_key(jobs[n], hardware, "ideal", "plain") not in known]
        store.append(plain_record(jobs[n], results[n], hardware) for n in new if results[n].correct)
    except (StoreError, OSError) as error:
        note(f"measurements are not kept: {error}")


def probe(
    jobs: Sequence[Job], hardware: Hardware, memory: str, store: Store, what: str
) -> list[Record]:
    """Records of all jobs, in order; those that the store lacks are measured and added.

    A design's simulation is built once and its runs are added together, so that an interruption
    loses at most those of one design.

    Raises: CheckFailed for a wrong value, ToolError if a tool fails.
    """
    keys = [job_key(job, hardware, memory, "probed") for job in jobs]
    known = store.keys()
    by_design: dict[str, list[int]] = {}
    for n, (job, key) in enumerate(zip(jobs, keys, strict=True)):
        if key not in known:
            by_design.setdefault(job.rtl.digest, []).append(n)
    with progress(what, sum(map(len, by_design.values()))) as advance:
        for numbers in by_design.values():
            built = switching.model(jobs[numbers[0]].rtl)
            made: list[Record] = []
            try:
                for n in numbers:
                    seen = switching.observe(jobs[n], built, hardware, memory)
                    made.append(probed_record(jobs[n], seen, hardware))
                    advance(1, f"{jobs[n].layer.name} on {jobs[n].rtl.design.name}")
            finally:
                store.append(made)
    found = {record.key: record for record in store.read("probed")}
    return [found[key] for key in keys]
