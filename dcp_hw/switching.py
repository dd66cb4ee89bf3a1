"""Energy from the bits that really toggle, and one measurement of it (docs/learning.md).

The table of `dcp_hw.energy` prices an event whatever its data. Here multipliers, adders, registers
and the bus interface pay for the toggles that probes beside the array counted; clocks, memory
accesses, requantisation and leakage keep the table's price.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from dcp_hw import physical, toolchain
from dcp_hw.energy import EnergyBreakdown
from dcp_hw.errors import InputError, ToolError
from dcp_hw.hardware import Hardware
from dcp_hw.measure import Job, Measurement, measure
from dcp_hw.process import cache_dir
from dcp_hw.rtl import Rtl
from dcp_hw.technology import DATA, TOGGLE_ACTIVITY
from sim import runner, toggles
from sim.dram import Dram, sent_addresses, stream_addresses
from sim.errors import SimError
from tensorlib.design import Design

QUICK_PES = 64
"""Up to so many PEs a simulation is compiled sooner and runs slower."""

MEMORIES = ("ideal", "random", "dram")
"""Always ready; random pauses (`sim.runner.Stalls`); `sim.dram.Dram`."""

_VALUES = {
    "osu018_pj": ("operand_bit", "register_bit"),
    "split": ("set_bits", "multiplier_share", "product_toggles", "bus_io_share"),
}
_REGISTERS = ("product", "sum", "link_input", "link_weight", "link_output", "hold")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """pJ per toggled bit at 45 nm, with the spread of its logarithm.

    Attributes:
        product_pj: of a multiplier's partial products.
        add_pj: of a product on its way through an adder.
        register_pj: of a register and the wires it drives.
        bus_share: of the bus price, the part that follows toggles.
        spreads: relative standard deviation, by attribute.
    """

    product_pj: float
    add_pj: float
    register_pj: float
    bus_share: float
    spreads: Mapping[str, float]


@cache
def prices(path: Path = DATA / "switching_45nm.yaml") -> Prices:
    """The prices of a table.

    Raises: InputError for a table that is missing, broken or lacks a value.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        scale = float(content["scale"]["value"])
        rows = {n: content[part][n] for part, names in _VALUES.items() for n in names}
        value = {name: float(row["value"]) for name, row in rows.items()}
        spread = {name: float(row["spread"]) for name, row in rows.items()}
    except OSError as error:
        raise InputError(f"switching table {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        wanted = ", ".join(f"{part}.{n}" for part, names in _VALUES.items() for n in names)
        raise InputError(
            f"{path}: {error!r}; wanted are scale, {wanted}, each with value, spread"
        ) from error
    if not all(math.isfinite(v) and v > 0 for v in (scale, *value.values(), *spread.values())):
        raise InputError(f"{path}: values and spreads must be finite and > 0")
    operand, bits, share = (
        value["operand_bit"] * scale,
        value["set_bits"],
        value["multiplier_share"],
    )
    return Prices(
        product_pj=operand / bits * share,
        add_pj=operand * bits * (1 - share) / value["product_toggles"],
        register_pj=value["register_bit"] * scale,
        bus_share=value["bus_io_share"],
        spreads={
            "product_pj": math.hypot(
                spread["operand_bit"], spread["set_bits"], spread["multiplier_share"]
            ),
            "add_pj": math.hypot(
                spread["operand_bit"], spread["product_toggles"], spread["multiplier_share"]
            ),
            "register_pj": spread["register_bit"],
            "bus_share": spread["bus_io_share"],
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchingEnergy:
    """Energy of one run by part, nJ, and the standard deviation that its prices leave."""

    parts: Mapping[str, float]
    spread_nj: float

    @property
    def total_nj(self) -> float:
        """Sum of the parts in nJ."""
        return sum(self.parts.values())


def energy(
    design: Design,
    hardware: Hardware,
    counters: Mapping[str, int],
    cycles: int,
    toggled: Mapping[str, int],
    table: Prices | None = None,
) -> SwitchingEnergy:
    """Energy of a run from its counters and toggles.

    Args:
        toggled: bits by group of `sim.toggles.GROUPS`.
    """
    price = table or prices()
    plain = physical.energy(design, hardware, counters, cycles).parts()
    model = physical.energy_model(design, hardware)
    clock_pj = model.coefficients["pe_idle"]
    registers = sum(toggled[group] for group in _REGISTERS)
    bus_pj = model.technology.energy_pj["bus_per_bit"]
    share = price.bus_share
    follows = {
        "product_pj": {"mac": toggled["partial_product"] * price.product_pj},
        "add_pj": {"adders": toggled["product"] * price.add_pj},
        "register_pj": {
            "registers": registers * price.register_pj,
            "input_sram": (toggled["input_read"] + toggled["input_write"]) * price.register_pj,
            "weight_sram": (toggled["weight_read"] + toggled["weight_write"]) * price.register_pj,
            "output_sram": toggled["output_read"] * price.register_pj,
            "requantise": toggled["params_read"] * price.register_pj,
        },
        "bus_share": {
            bus: toggled[bus] * bus_pj * share / TOGGLE_ACTIVITY for bus in ("bus_in", "bus_out")
        },
    }
    parts = {
        **plain,
        "mac": 0.0,
        "adders": 0.0,
        "registers": clock_pj * design.pes * cycles * 1e-3,
        "bus_in": plain["bus_in"] * (1 - share),
        "bus_out": plain["bus_out"] * (1 - share),
    }
    variance = 0.0
    for name, some in follows.items():
        for part, picojoules in some.items():
            parts[part] += picojoules * 1e-3
        varying = sum(some.values()) * 1e-3
        if name == "bus_share":  # what it adds to the toggles it takes from the rest
            varying -= (plain["bus_in"] + plain["bus_out"]) * share
        variance += (varying * price.spreads[name]) ** 2
    return SwitchingEnergy(parts=parts, spread_nj=math.sqrt(variance))


# --- measuring ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One layer run with probes.

    Attributes:
        toggled: bits by group, over the whole run.
        memory: one of `MEMORIES`.
    """

    measured: Measurement
    toggled: Mapping[str, int]
    energy: SwitchingEnergy
    table: EnergyBreakdown
    memory: str


def model(rtl: Rtl, *, jobs: int = 1) -> runner.Built:
    """The compiled simulation of a design with its probes.

    Raises: ToolError if Verilator or the compiler fails.
    """
    root = cache_dir() / "models"
    root.mkdir(parents=True, exist_ok=True)
    quick = rtl.design.pes <= QUICK_PES
    try:
        with tempfile.TemporaryDirectory(prefix="probes.", dir=root) as name:
            return runner.build(
                toggles.instrumented(rtl.folder, Path(name)),
                root / (rtl.digest[:32] + "-probed"),
                env=toolchain.verilator_env(),
                driver_dir=root / "driver",
                top=toggles.TOP,
                jobs=jobs,
                quick=quick,
            )
    except SimError as error:
        raise ToolError(str(error)) from error


def observe(job: Job, built: runner.Built, hardware: Hardware, memory: str = "dram") -> Observation:
    """A layer measured with probes: values compared, cycles, toggles and their energy.

    Raises: CheckFailed if the hardware hangs or a value is wrong, ToolError if the simulator
    fails.
    """
    if memory not in MEMORIES:
        raise InputError(f"memory {memory!r} not found; have {', '.join(MEMORIES)}")
    folder = Path(tempfile.mkdtemp(prefix="run.", dir=built.folder))
    stalls = runner.Stalls() if memory == "random" else None
    if memory == "dram":
        program, dram = job.work.program, Dram(clock_mhz=hardware.clock_mhz)
        read = stream_addresses(program.commands, program.memory_bytes)
        design = job.rtl.design
        dram.write(folder / "words.bin.read", read, design.r_in)
        dram.write(folder / "words.bin.write", sent_addresses(program.commands), design.r_out)
        stalls = runner.Stalls(source=0.0, sink=0.0)
    measured = measure(job, built, stalls, folder=folder)
    try:
        toggled = toggles.read_toggles(folder)
    except SimError as error:
        raise ToolError(str(error)) from error
    shutil.rmtree(folder)
    run = (job.rtl.design, hardware, measured.counters, measured.latency_cycles)
    return Observation(
        measured=measured,
        toggled=toggled,
        energy=energy(*run, toggled),
        table=physical.energy(*run),
        memory=memory,
    )
