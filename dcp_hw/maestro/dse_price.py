"""Area and energy prices of a design, from one sourced table (docs/energy.md).

Memories are priced as built, not as used. The L2 size holds the L2 and the clusters' buffers; these
are as large as the tile needs, and what is left is the L2. It is priced in steps of 1 KiB, upwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcp_hw.energy import FF_BITS_PER_PE
from dcp_hw.errors import InputError
from dcp_hw.maestro.honest_energy import private_price, shared_price
from dcp_hw.technology import Macro, SramTable, Technology, load_technology

Floats = NDArray[np.float64]

READ, WRITE, LEAK, AREA = range(4)
"""Columns of a table of memories: pJ per element, pJ per element, mW, mm2."""

KIB = 1024
PORT_BITS = 2 * 8
"""Flip-flops of a store's port for one element per cycle: down and up."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prices:
    """Prices of all parts."""

    l1: Floats  # L1 sizes x 4, of one PE
    l2: Floats  # KiB x 4; row 0 is not used
    pe_mm2: float  # multiplier, adder, registers
    port_mm2: float  # of one store, for one element per cycle
    pe_clock_pj: float  # per PE and cycle
    port_clock_pj: float  # per store, element of bandwidth and cycle
    mac_pj: float
    dram_pj: float  # per element


def _row(macro: Macro) -> tuple[float, float, float, float]:
    return (macro.read_pj, macro.write_pj, macro.leak_mw, macro.area_um2 * 1e-6)


def load_table(name: str) -> Technology:
    """The table by name. Raises: InputError where it has no areas of memories."""
    table = load_technology(name)
    if not isinstance(table.sram, SramTable):
        raise InputError(f"technology {name!r} prices elements and has no area of memories; "
                         "accepted: a table with CACTI rows, as 45nm-lop")  # fmt: skip
    return table


def prices(table: Technology, l1_bytes: tuple[int, ...], l2_kib: tuple[int, ...]) -> Prices:
    """Prices for these sizes of memories."""
    energy, area = table.energy_pj, table.area_um2
    steps = [_row(shared_price(table, kib * KIB)) for kib in range(1, max(l2_kib) + 1)]
    registers = area["flip_flop"] * FF_BITS_PER_PE
    return Prices(
        l1=np.array([_row(private_price(table, size)) for size in l1_bytes]),
        l2=np.array([(0.0,) * 4, *steps]),
        pe_mm2=(area["multiplier"] + area["adder"] + registers) * 1e-6,
        port_mm2=area["flip_flop"] * PORT_BITS * 1e-6,
        pe_clock_pj=energy["clock_per_bit"] * FF_BITS_PER_PE,
        port_clock_pj=energy["clock_per_bit"] * PORT_BITS,
        mac_pj=energy["multiply"] + energy["add"],
        dram_pj=energy["bus_per_bit"] * 8,
    )


def buffer_prices(table: Technology, sizes: NDArray[np.int64]) -> Floats:
    """Prices of clusters' buffers: `sizes.shape` x 4."""
    known, which = np.unique(sizes, return_inverse=True)
    rows = np.array([_row(shared_price(table, max(int(size), 1))) for size in known])
    return rows[which.reshape(sizes.shape)]
