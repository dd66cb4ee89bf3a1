"""Fast simulation of one accelerator under cocotb: built once, run with any number of streams.

The accelerator and `harness.sv` (source, sink, register master) are verilated to a shared
object. `top.sv`, which cocotb runs, calls it for a thousand cycles at a time, so that neither
Python nor VPI touches the simulated cycles. The executable around that top depends on no design
and is compiled once.
The build follows "Extending Existing Build Flows" of cocotb's manual.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cocotb_tools import config as cocotb_config
from numpy.typing import NDArray

from sim.cocotb_run import run_cocotb
from sim.errors import HardwareError, SimError
from sim.verilate import (
    FAST,
    HERE,
    QUICK,
    Tools,
    built_aside,
    digest,
    find,
    key_of,
    port_bits,
    verilog_files,
    version,
)

WORD_BYTES = 16

Words = NDArray[np.uint8]
"""n x 16 bytes."""

COUNTER_NAMES = (
    *("compute", "fill_drain", "config", "wait_load", "wait_store"),
    *("step", "mac", "input_read", "weight_read", "input_write", "weight_write"),
    *("output_read", "output_write", "requantise", "bus_in_beat", "bus_out_beat"),
    *("hop_input", "hop_weight", "hop_output", "stationary_load"),
    *("tree_add", "accumulate", "sweep"),
)
"""Counter n is at register address 0x20 + 4n (docs/hardware.md, section 9)."""

_STATUS, _LATENCY, _CHECKSUM, _ID, _COUNTER = 0x04, 0x08, 0x0C, 0x10, 0x20
_ERROR_BIT = 4

_TOP = "DcpTop"
_HARNESS = "DcpHarness"
_PREFIX = "VDcpHarness"  # model.cpp includes its header
_RUNTIME = "libverilated.a"
_MODEL = "model.so"
_SHARED_OBJECT = ("-CFLAGS", "-fPIC -fvisibility=hidden")

_WORDS, _OUT, _REPORT = "words.bin", "out.bin", "report.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalls:
    """Random pauses of the stream's two ends.

    Attributes:
        source, sink: chance in a cycle that a pause begins, 0 .. 1.
        longest: a pause lasts 1 .. `longest` cycles.
        seed: of the pauses, not 0.
    """

    source: float = 0.2
    sink: float = 0.2
    longest: int = 8
    seed: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.source < 1 and 0 <= self.sink < 1):
            raise ValueError(f"stall chances must be in 0 .. 1, got {self.source}, {self.sink}")
        if self.longest < 1 or not 0 < self.seed < 1 << 32:
            raise ValueError(f"longest and seed must be >= 1, got {self.longest}, {self.seed}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A design ready to run; everything it needs is in the two folders."""

    folder: Path
    driver: Path
    top: str
    in_bits: int
    out_bits: int

    @property
    def model(self) -> Path:
        """The shared object."""
        return self.folder / _MODEL


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What one stream gave.

    Attributes:
        words: output words, m x 16 bytes.
        latency_cycles: the LATENCY register.
        observed_latency_cycles: from the first accepted input beat to the last output beat,
            both included, as the harness counted it.
        checksum, design_id: registers of these names.
        counters: by the names of docs/hardware.md, section 9.
        cycles: simulated, with reset and register accesses.
        seconds: wall time of these cycles, without the start of the simulator.
    """

    words: Words
    latency_cycles: int
    observed_latency_cycles: int
    checksum: int
    design_id: int
    counters: dict[str, int]
    cycles: int
    seconds: float

    @property
    def cycles_per_second(self) -> float:
        """Speed of the simulation."""
        return self.cycles / self.seconds


# --- build --------------------------------------------------------------------------


def build_driver(out_dir: Path, *, env: Mapping[str, str], jobs: int = 2) -> Path:
    """Folder with what all designs share; compiled if it is not there yet.

    That is the executable under cocotb, and Verilator's run-time library.
    """
    final = out_dir.resolve()
    libs = cocotb_config.libs_dir
    sources = [HERE / name for name in ("top.sv", "driver.cpp", "empty.sv")]
    key = digest(sources, *FAST, version(env), str(libs))
    if key_of(final) == key:
        return final
    with built_aside(final, key) as folder:
        tools = Tools(env=env, log=folder / "build.log", jobs=jobs)
        top, runtime = folder / "top", folder / "runtime"
        tools.verilate(
            [
                *("--exe", "--vpi", "--timing", "-CFLAGS", "-fcoroutines", "-o", _TOP, *FAST),
                *("-LDFLAGS", f"-Wl,-rpath,{libs} -L{libs} -lcocotbvpi_verilator -ldl"),
                *(*sources[:2], cocotb_config.share_dir / "lib" / "verilator" / "verilator.cpp"),
            ],
            folder=top,
            top=_TOP,
            prefix="Vtop",  # cocotb's main program includes Vtop.h
        )
        tools.make(_TOP, folder=top, makefile="Vtop.mk")
        tools.verilate(
            [*_SHARED_OBJECT, *FAST, sources[2]], folder=runtime, top=_HARNESS, prefix=_PREFIX
        )
        tools.make(_RUNTIME, "OPT_GLOBAL=-O2", folder=runtime, makefile=f"{_PREFIX}.mk")
        (top / _TOP).rename(folder / _TOP)
        (runtime / _RUNTIME).rename(folder / _RUNTIME)
        shutil.rmtree(top)
        shutil.rmtree(runtime)
    return final


def build(
    verilog_dir: Path,
    out_dir: Path,
    *,
    env: Mapping[str, str],
    driver_dir: Path | None = None,
    top: str = "Accelerator",
    jobs: int = 2,
    quick: bool = False,
) -> Built:
    """A design ready to run; compiled unless `out_dir` has it, made from the same text.

    Args:
        verilog_dir: the design, see `verilate.verilog_files`.
        out_dir: becomes the design's folder; put in place complete or not at all.
        env: variables that Verilator needs, on top of this process's own.
        driver_dir: folder of the part that designs share; `driver` beside `out_dir` if None.
        top: name of the accelerator's module.
        jobs: compilers at a time.
        quick: compiled in a third of the time, for small designs that run few cycles.

    Raises:
        SimError: Verilator or the compiler refused it.
    """
    final = out_dir.resolve()
    driver = build_driver(driver_dir or final.parent / "driver", env=env, jobs=jobs)
    files = verilog_files(verilog_dir)
    ports = port_bits(files, top)
    in_bits, out_bits = _stream_bits(ports, top)
    built = Built(folder=final, driver=driver, top=top, in_bits=in_bits, out_bits=out_bits)
    sources = [HERE / "harness.sv", HERE / "model.cpp", *(path.resolve() for path in files)]
    flags = QUICK if quick else FAST
    key = digest(sources, top, *flags, key_of(driver) or "")
    if key_of(final) == key:
        return built
    with built_aside(final, key) as folder:
        optimise = "-O0" if quick else "-O2"
        tools = Tools(env=env, log=folder / "build.log", jobs=jobs, optimise=optimise)
        work = folder / "model"
        tools.verilate(
            [
                *(f"-DDCP_TOP={top}", *(["-DDCP_TLAST"] if "m_axis_tlast" in ports else [])),
                *(f"-GIN_BITS={in_bits}", f"-GOUT_BITS={out_bits}"),
                *(f"-GCOUNTERS={len(COUNTER_NAMES)}", *_SHARED_OBJECT, *flags, *sources),
            ],
            folder=work,
            top=_HARNESS,
            prefix=_PREFIX,
        )
        tools.make(f"{_PREFIX}__ALL.a", "model.o", folder=work, makefile=f"{_PREFIX}.mk")
        tools.call(
            [
                *(find("g++", env), "-shared", "-Wl,-Bsymbolic", "-Wl,--no-undefined"),
                *("-o", folder / _MODEL, "model.o", f"{_PREFIX}__ALL.a", driver / _RUNTIME),
                "-lpthread",
            ],
            cwd=work,
            what="linking the simulation",
        )
        shutil.rmtree(work)
    return built


def _stream_bits(ports: Mapping[str, int], top: str) -> tuple[int, int]:
    """Widths of input and output stream."""
    absent = {"clock", "reset", "s_axis_tdata", "m_axis_tdata", "s_axil_araddr"} - ports.keys()
    if absent:
        raise SimError(f"module {top} has no port {', '.join(sorted(absent))}")
    bits = ports["s_axis_tdata"], ports["m_axis_tdata"]
    if not set(bits) <= {32, 64, 128}:
        raise SimError(f"stream widths of {top} must be 32, 64 or 128, got {bits[0]}, {bits[1]}")
    return bits


# --- run ----------------------------------------------------------------------------


def run(
    built: Built,
    stream_words: Words,
    expected_words: int,
    timeout_cycles: int,
    stalls: Stalls | None = None,
    *,
    folder: Path | None = None,
) -> RunResult:
    """What the accelerator answers to one stream.

    Args:
        stream_words: n x 16 bytes, commands and data in program order.
        expected_words: words that the program sends.
        timeout_cycles: cycles without an end after which it counts as hung.
        stalls: pauses of both streams; None for a source and a sink that are always ready.
        folder: where the run's files stay; a temporary one in the design's folder, kept only
            when something goes wrong, if None.

    Raises:
        HardwareError: the accelerator hung, left words in the stream, sent more or fewer words
            than expected, broke a bus rule, or miscounted its latency.
        SimError: the simulation itself failed.
    """
    if stream_words.ndim != 2 or stream_words.shape[1] != WORD_BYTES:
        raise ValueError(f"stream must be n x {WORD_BYTES} bytes, got {stream_words.shape}")
    if folder is None:
        own = Path(tempfile.mkdtemp(prefix="run.", dir=built.folder))
    else:
        own = folder.resolve()
        own.mkdir(parents=True, exist_ok=True)
    np.ascontiguousarray(stream_words[:, ::-1]).tofile(own / _WORDS)
    seconds = _simulate(built, own, timeout_cycles, stalls)
    report = _read_report(own)
    words = np.fromfile(own / _OUT, dtype=np.uint8)
    _check(report, own, len(words), expected_words, stalls)
    result = RunResult(
        words=words.reshape(-1, WORD_BYTES),
        latency_cycles=report[f"register_{_LATENCY}"],
        observed_latency_cycles=report["observed_latency"],
        checksum=report[f"register_{_CHECKSUM}"],
        design_id=report[f"register_{_ID}"],
        counters={
            name: report[f"register_{_COUNTER + 4 * n}"] for n, name in enumerate(COUNTER_NAMES)
        },
        cycles=report["cycles"],
        seconds=seconds,
    )
    if folder is None:
        shutil.rmtree(own)
    return result


def _simulate(built: Built, folder: Path, timeout_cycles: int, stalls: Stalls | None) -> float:
    """Wall time of the simulated cycles; the harness's files are then in `folder`."""
    plusargs = {
        "model": built.model,
        "words": folder / _WORDS,
        "out": folder / _OUT,
        "report": folder / _REPORT,
        "timeout": timeout_cycles,
    }
    if stalls is not None:
        plusargs |= {
            "source_stall": round(stalls.source * 65536),
            "sink_stall": round(stalls.sink * 65536),
            "longest": stalls.longest,
            "seed": stalls.seed,
        }
    said = run_cocotb(
        built.driver / _TOP,
        folder,
        test_module="sim.done_test",
        plusargs=[f"+{name}={value}" for name, value in plusargs.items()],
    )
    return float(said["seconds"])


def _read_report(folder: Path) -> dict[str, int]:
    """What the harness counted and read, by name."""
    path = folder / _REPORT
    try:
        pairs = (line.split() for line in path.read_text().splitlines())
        return {name: int(value) for name, value in pairs}
    except (OSError, ValueError) as error:
        raise SimError(f"the harness left no readable report: {error}", log=path) from error


def _check(
    report: Mapping[str, int], folder: Path, out_bytes: int, expected: int, stalls: Stalls | None
) -> None:
    """Nothing if the hardware did all it must.

    Raises:
        HardwareError: it did not.
    """
    status = report.get(f"register_{_STATUS}", 0)
    sent = out_bytes / WORD_BYTES
    wrong = []
    if not report["finished"]:
        wrong.append("the register bus does not answer")
    if report["timed_out"]:
        wrong.append(f"not done after {report['cycles']} cycles")
    if status & _ERROR_BIT:
        wrong.append("STATUS says error: unknown opcode")
    if report["in_left"] and not wrong:
        wrong.append(f"done after {report['in_beats']} input beats, with more to come")
    if sent != expected:
        wrong.append(f"sent {sent:g} words, expected {expected}")
    if report["dropped"]:
        wrong.append("m_axis_tvalid fell before the beat was taken")
    if report["changed"]:
        wrong.append("m_axis_tdata changed before the beat was taken")
    if report["bad_response"]:
        wrong.append("an access to a register was answered with an error")
    latency, observed = report.get(f"register_{_LATENCY}"), report["observed_latency"]
    if not wrong and stalls is None and latency != observed:
        wrong.append(f"LATENCY is {latency}, the harness counted {observed} cycles")
    if wrong:
        raise HardwareError(
            f"{'; '.join(wrong)} (status {status}, {report['in_beats']} input and"
            f" {report['out_beats']} output beats)",
            log=folder / _REPORT,
        )
