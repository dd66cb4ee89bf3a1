"""Energy, leakage and area of a design: event counts times a sourced table.

One `EnergyModel` serves the analytical search (arrays of counts) and the measurement (counters of
the RTL), so that both price an event alike. docs/energy.md defines events, prices and sources.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dcp_hw.technology import DEFAULT_TECHNOLOGY, Macro, Technology, load_technology

TENSORS = ("input", "weight", "output")

EVENTS = (
    "mac",
    "pe_idle",
    "hop_input",
    "hop_weight",
    "hop_output",
    "stationary_load",
    "tree_add",
    "accumulate",
    "input_read",
    "weight_read",
    "output_read",
    "input_write",
    "weight_write",
    "output_write",
    "requantise",
    "bus_in_beat",
    "bus_out_beat",
)

PARTS = (
    "mac",
    "registers",
    "adders",
    "input_sram",
    "weight_sram",
    "output_sram",
    "requantise",
    "bus_in",
    "bus_out",
    "leakage",
)

FF_BITS_PER_PE = 57.0  # of the PE that the register energies were characterised on


class EnergyHardware(Protocol):
    """What of a hardware file sets energies."""

    @property
    def technology(self) -> str: ...
    @property
    def bus_in_bits(self) -> int: ...
    @property
    def bus_out_bits(self) -> int: ...
    @property
    def clock_mhz(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """All banks of a tensor that step together: one wide memory, `copies` times.

    Built of macros of at most 512 bits; below 512 bytes a copy, of flip-flops.
    """

    name: str
    rows: int  # words per copy
    width_bits: int  # of one access to all banks
    banks: int = 1  # an event counts the access of one bank: 1/banks of the width
    copies: int = 2  # 2: double-buffered
    element_bits: int = 8  # of one operand; only tables that price elements use it

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "name" and (int(value) != value or value < 1):
                raise ValueError(
                    f"memory {self.name!r}: {field.name} must be a whole number >= 1, got {value}"
                )
        if self.banks > self.width_bits:
            raise ValueError(
                f"memory {self.name!r}: {self.banks} banks in {self.width_bits} bits of width"
            )

    @property
    def bytes(self) -> float:
        """Bytes of all copies."""
        return self.rows * self.width_bits * self.copies / 8

    def _copy(self, technology: Technology) -> Macro:
        elements = -(-self.width_bits // self.element_bits)
        return technology.memory(self.rows, self.width_bits, elements)

    def read_pj(self, technology: Technology, fraction: float = 1.0) -> float:
        """Energy of a read of the whole width, or of a fraction of its banks, in pJ."""
        return self._copy(technology).read_pj * fraction

    def write_pj(self, technology: Technology, fraction: float = 1.0) -> float:
        """Energy of a write of the whole width, or of a fraction of its banks, in pJ."""
        return self._copy(technology).write_pj * fraction

    def leak_mw(self, technology: Technology) -> float:
        """Leakage of all copies, in mW."""
        return self._copy(technology).leak_mw * self.copies

    def area_um2(self, technology: Technology) -> float:
        """Area of all copies, in um2."""
        return self._copy(technology).area_um2 * self.copies


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyBreakdown:
    """Energy by part in nJ; `source` names table, node and origin."""

    mac: float
    registers: float
    adders: float
    input_sram: float
    weight_sram: float
    output_sram: float
    requantise: float
    bus_in: float
    bus_out: float
    leakage: float
    cycles: int
    clock_mhz: float
    source: str

    def parts(self) -> dict[str, float]:
        """Part -> nJ, in the order of `PARTS`."""
        return {part: getattr(self, part) for part in PARTS}

    @property
    def total_nj(self) -> float:
        """Sum of the parts in nJ."""
        return sum(self.parts().values())

    @property
    def power_mw(self) -> float:
        """Mean power in mW: energy over time."""
        return self.total_nj * self.clock_mhz / self.cycles if self.cycles else 0.0

    @property
    def edp(self) -> float:
        """Energy-delay product in cycles x nJ."""
        return self.total_nj * self.cycles


class EnergyModel:
    """Prices of one design's events in one technology.

    Attributes:
        technology: the table.
        parts: event -> part -> pJ per event.
        coefficients: event -> pJ per event, all parts.
        leakage_mw: of all memories (logic leakage is not in the table).
        clock_mhz: of the hardware.
    """

    def __init__(
        self,
        memories: Mapping[str, Memory],
        hardware: EnergyHardware,
        *,
        ff_bits_per_pe: float = FF_BITS_PER_PE,
        adder_in_pe: bool = True,
    ) -> None:
        """Prices from memories by tensor (`input`, `weight`, `output`) and hardware.

        Args:
            memories: an event of a tensor without a memory has no price and must not occur.
            hardware: technology, bus widths and clock.
            ff_bits_per_pe: flip-flops clocked per powered PE-cycle (all of the array / PEs).
            adder_in_pe: False where a product leaves its PE unadded (reduction tree, output bank),
                so that the one addition per MAC is counted by `tree_add` or `accumulate`.
        Raises: InputError for an unknown technology.
        """
        if unknown := sorted(set(memories) - set(TENSORS)):
            raise ValueError(f"memories must be of {', '.join(TENSORS)}; got {', '.join(unknown)}")
        self.technology = load_technology(hardware.technology)
        self.clock_mhz = float(hardware.clock_mhz)
        self.leakage_mw = sum(m.leak_mw(self.technology) for m in memories.values())
        pj = self.technology.energy_pj
        self.parts: dict[str, dict[str, float]] = {
            "mac": {
                "mac": pj["multiply"] + (pj["add"] if adder_in_pe else 0.0),
                "registers": pj["clock_per_bit"] * ff_bits_per_pe,
            },
            "pe_idle": {"registers": pj["clock_per_bit"] * ff_bits_per_pe},
            "hop_input": {"registers": pj["register_8bit"]},
            "hop_weight": {"registers": pj["register_8bit"]},
            "hop_output": {"registers": pj["register_32bit"]},
            "stationary_load": {"registers": pj["register_8bit"]},
            "tree_add": {"adders": pj["add"]},
            "accumulate": {"adders": pj["add"]},
            "requantise": {"requantise": pj["requantise"]},
            "bus_in_beat": {"bus_in": pj["bus_per_bit"] * hardware.bus_in_bits},
            "bus_out_beat": {"bus_out": pj["bus_per_bit"] * hardware.bus_out_bits},
        }
        for tensor, memory in memories.items():
            part, share = f"{tensor}_sram", 1 / memory.banks
            self.parts[f"{tensor}_read"] = {part: memory.read_pj(self.technology, share)}
            self.parts[f"{tensor}_write"] = {part: memory.write_pj(self.technology, share)}
        self.coefficients = {
            event: sum(self.parts[event].values()) for event in EVENTS if event in self.parts
        }

    @property
    def source(self) -> str:
        """One line that stands with every energy figure: table, node and origin."""
        return f"{self.technology.name}: {self.technology.title}"

    def vector(self, events: Iterable[str] = EVENTS) -> NDArray[np.float64]:
        """pJ per event (n), for `counts (m x n) @ vector`; NaN where an event has no price."""
        return np.array([self.coefficients.get(event, np.nan) for event in events])

    def leakage_nj(self, cycles: ArrayLike) -> NDArray[np.float64]:
        """Leakage energy in nJ over `cycles` (any shape): mW x us."""
        return np.asarray(cycles, dtype=np.float64) * (self.leakage_mw / self.clock_mhz)

    def total_nj(self, counts: Mapping[str, ArrayLike], cycles: ArrayLike) -> NDArray[np.float64]:
        """Total energy in nJ; counts and cycles are arrays of one shape, or scalars.

        Raises: ValueError for an event that does not exist, or occurs without its memory.
        """
        total = self.leakage_nj(cycles)
        for event, count in counts.items():
            total = total + np.asarray(count) * (self._price(event, count) * 1e-3)
        return total

    def breakdown(self, counts: Mapping[str, int], cycles: int) -> EnergyBreakdown:
        """Energy by part of one execution.

        Raises: ValueError as `total_nj`.
        """
        nj = dict.fromkeys(PARTS, 0.0)
        for event, count in counts.items():
            self._price(event, count)
            for part, pj in self.parts.get(event, {}).items():
                nj[part] += int(count) * pj * 1e-3
        nj["leakage"] = float(self.leakage_nj(cycles))
        return EnergyBreakdown(
            **nj, cycles=int(cycles), clock_mhz=self.clock_mhz, source=self.source
        )

    def _price(self, event: str, count: ArrayLike) -> float:
        """pJ per event; an event without a price must not occur."""
        if event in self.coefficients:
            return self.coefficients[event]
        if event not in EVENTS:
            raise ValueError(f"unknown event {event!r}; events are {', '.join(EVENTS)}")
        if np.any(np.asarray(count) != 0):
            raise ValueError(f"event {event!r} occurs, but the design has no such memory")
        return 0.0


def energy_nj(
    counts: Mapping[str, int],
    memories: Mapping[str, Memory],
    cycles: int,
    hardware: EnergyHardware,
    *,
    ff_bits_per_pe: float = FF_BITS_PER_PE,
    adder_in_pe: bool = True,
) -> EnergyBreakdown:
    """Energy by part of one execution; arguments and errors as `EnergyModel`."""
    model = EnergyModel(memories, hardware, ff_bits_per_pe=ff_bits_per_pe, adder_in_pe=adder_in_pe)
    return model.breakdown(counts, cycles)


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaBreakdown:
    """Area by part in mm2: macros and cells side by side, no layout or wires."""

    input_sram: float
    weight_sram: float
    output_sram: float
    pe_logic: float
    registers: float
    adders: float
    requantisers: float
    source: str

    def parts(self) -> dict[str, float]:
        """Part -> mm2."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "source"}

    @property
    def sram(self) -> float:
        """All memories in mm2."""
        return self.input_sram + self.weight_sram + self.output_sram

    @property
    def total(self) -> float:
        """Sum of the parts in mm2."""
        return sum(self.parts().values())


def area_mm2(
    memories: Mapping[str, Memory],
    pes: int,
    ff_bits: int,
    adders32: int,
    technology: str | Technology = DEFAULT_TECHNOLOGY,
    *,
    adder_in_pe: bool = True,
    requantisers: int = 0,
) -> AreaBreakdown:
    """Area by part.

    Args:
        memories: by tensor, as for `EnergyModel`.
        pes: multipliers, each with an int32 adder if `adder_in_pe`.
        ff_bits: flip-flops of the whole array (memories below 512 B a copy count by themselves).
        adders32: int32 adders outside the PEs (trees, accumulation at banks).
        technology: name, file or table.
        requantisers: parallel requantisation units.
    Raises: InputError for an unknown technology.
    """
    table = technology if isinstance(technology, Technology) else load_technology(technology)
    um2: dict[str, Any] = {f"{t}_sram": 0.0 for t in TENSORS}
    for tensor, memory in memories.items():
        um2[f"{tensor}_sram"] = memory.area_um2(table)
    area = table.area_um2
    um2["pe_logic"] = pes * (area["multiplier"] + (area["adder"] if adder_in_pe else 0.0))
    um2["registers"] = ff_bits * area["flip_flop"]
    um2["adders"] = adders32 * area["adder"]
    um2["requantisers"] = requantisers * area["requantiser"]
    mm2 = {part: value * 1e-6 for part, value in um2.items()}
    return AreaBreakdown(**mm2, source=f"{table.name}: {table.title}")
