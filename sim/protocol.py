"""Slow simulation of one accelerator in which Python drives every port.

One Verilator model under cocotb (`bench.py`), with assertions, and with registers and memories
that start at random values, so that a missing reset shows.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cocotb_tools import config as cocotb_config

from sim.cocotb_run import run_cocotb
from sim.errors import HardwareError
from sim.protocol_test import SCENARIO_FILE
from sim.runner import COUNTER_NAMES, WORD_BYTES, RunResult, Stalls, Words
from sim.verilate import (
    HERE,
    Tools,
    built_aside,
    digest,
    key_of,
    port_bits,
    verilog_files,
    version,
)

_FLAGS = (
    *("-O3", "--assert", "--x-assign", "unique", "--x-initial", "unique"),
    *("--output-split", "5000", "--output-split-cfuncs", "1000"),
)
# differ from run to run where streams stall
_BY_TIME = (*COUNTER_NAMES[:5], "latency", "observed_latency")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What happens in a protocol run besides the stream itself.

    Attributes:
        runs: times that the stream is run, without a reset in between; all must agree.
        abort_after: cycles after which a first run is cut off with a reset, if any.
        random_start: registers and memories start at random values instead of 0.
    """

    runs: int = 1
    abort_after: int | None = None
    random_start: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolBuilt:
    """A design compiled for protocol runs."""

    folder: Path
    top: str

    @property
    def executable(self) -> Path:
        """The simulation, with cocotb's main program."""
        return self.folder / self.top


def build_protocol(
    verilog_dir: Path,
    out_dir: Path,
    *,
    env: Mapping[str, str],
    top: str = "Accelerator",
    jobs: int = 2,
) -> ProtocolBuilt:
    """A design ready for `run_protocol`; as `runner.build`, whose arguments it takes."""
    final = out_dir.resolve()
    libs = cocotb_config.libs_dir
    files = [path.resolve() for path in verilog_files(verilog_dir)]
    ports = port_bits(files, top)
    key = digest([*files, HERE / "protocol.py"], top, *_FLAGS, version(env), str(libs))
    built = ProtocolBuilt(folder=final, top=top)
    if key_of(final) == key:
        return built
    with built_aside(final, key) as folder:
        tools = Tools(env=env, log=folder / "build.log", jobs=jobs)
        work = folder / "model"
        visible = folder / "visible.vlt"  # Python needs the ports only; more is slower
        lines = [f'public_flat_rw -module "{top}" -var "{name}"' for name in sorted(ports)]
        visible.write_text("\n".join(["`verilator_config", *lines, ""]))
        tools.verilate(
            [
                *("--exe", "--vpi", "-o", top, *_FLAGS),
                *("-LDFLAGS", f"-Wl,-rpath,{libs} -L{libs} -lcocotbvpi_verilator"),
                *(visible, cocotb_config.share_dir / "lib" / "verilator" / "verilator.cpp"),
                *files,
            ],
            folder=work,
            top=top,
            prefix="Vtop",
        )
        tools.make(top, folder=work, makefile="Vtop.mk")
        (work / top).rename(folder / top)
        shutil.rmtree(work)
    return built


def run_protocol(
    built: ProtocolBuilt,
    stream_words: Words,
    expected_words: int,
    timeout_cycles: int,
    stalls: Stalls | None = None,
    *,
    scenario: Scenario | None = None,
    before: Words | None = None,
    program_words: Words | None = None,
    folder: Path | None = None,
) -> RunResult:
    """What the accelerator answers to one stream; as `runner.run`, whose errors it raises.

    Args:
        stalls: pauses of both streams and of the register bus's channels.
        scenario: what else happens; one run from random initial values if None.
        before: another stream, run to its end first, without a reset after it.
        program_words: the commands, written over AXI4-Lite; the stream then has data words only,
            and the result's times depend on how fast registers are written.
    """
    if stream_words.ndim != 2 or stream_words.shape[1] != WORD_BYTES:
        raise ValueError(f"stream must be n x {WORD_BYTES} bytes, got {stream_words.shape}")
    scenario = scenario or Scenario()
    if folder is None:
        own = Path(tempfile.mkdtemp(prefix="run.", dir=built.folder))
    else:
        own = folder.resolve()
        own.mkdir(parents=True, exist_ok=True)
    words, out = own / "words.bin", own / "out.bin"
    out.unlink(missing_ok=True)
    np.ascontiguousarray(stream_words).tofile(words)
    others = {"before": before, "program": program_words}
    for name, given in others.items():
        if given is not None:
            np.ascontiguousarray(given).tofile(own / f"{name}.bin")
    pauses = stalls or Stalls(source=0, sink=0)
    steady = stalls is None and program_words is None
    plan = {
        "words": str(words),
        "out": str(out),
        **{n: None if g is None else str(own / f"{n}.bin") for n, g in others.items()},
        "expected_words": expected_words,
        "timeout_cycles": timeout_cycles,
        "counters": COUNTER_NAMES,
        "by_time": _BY_TIME,
        "steady": steady,
        "runs": scenario.runs,
        "abort_after": scenario.abort_after,
        "source": pauses.source,
        "sink": pauses.sink,
        "longest": pauses.longest,
        "seed": pauses.seed,
    }
    (own / "scenario.json").write_text(json.dumps(plan))
    start = time.perf_counter()
    said = run_cocotb(
        built.executable,
        own,
        test_module="sim.protocol_test",
        plusargs=[
            f"+verilator+rand+reset+{2 if scenario.random_start else 0}",
            f"+verilator+seed+{pauses.seed % 2**31 or 1}",
        ],
        extra_env={SCENARIO_FILE: str(own / "scenario.json")},
    )
    seconds = time.perf_counter() - start
    result = RunResult(
        words=np.fromfile(out, dtype=np.uint8).reshape(-1, WORD_BYTES),
        latency_cycles=said["latency"],
        observed_latency_cycles=said["observed_latency"],
        checksum=said["checksum"],
        design_id=said["id"],
        counters={name: said[name] for name in COUNTER_NAMES},
        cycles=said["cycles"],
        seconds=seconds,
    )
    if steady and result.latency_cycles != result.observed_latency_cycles:
        raise HardwareError(
            f"LATENCY is {result.latency_cycles}, the test bench counted"
            f" {result.observed_latency_cycles} cycles",
            log=own / "sim.log",
        )
    if folder is None:
        shutil.rmtree(own)
    return result
