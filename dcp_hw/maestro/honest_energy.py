"""Energy of the honest model: reads, writes and MACs times one sourced table.

An element is one byte. DRAM costs the table's bus energy per bit. The L2 and the buffers between it
and the PEs are memories of the size used, 64 bits wide, whose word eight elements share; a PE's
buffer below 512 bytes is made of flip-flops, one element wide. Tables that price elements
(`maestro`) take their SRAM price for all shared memories and that of a register for a PE's buffer.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from dcp_hw.hardware import Hardware
from dcp_hw.maestro.honest_count import (
    BOUNDARY,
    BOUNDARY_COLUMNS,
    BUFFERS,
    L2_REQUIRED,
    MACS,
    REQUIRED,
    SUMS_READ,
)
from dcp_hw.maestro.honest_fast import (
    HonestBatch,
    batch_counts,
    evaluate_batch,
    layer_row,
    machine_row,
    mapping_rows,
)
from dcp_hw.maestro.honest_types import HonestLayer, HonestMachine, HonestMapping
from dcp_hw.metrics import Infeasible, Metrics, Source
from dcp_hw.technology import Macro, Technology, load_technology
from dcp_hw.workload import Layer, Operator

_WORD_ELEMENTS = 8
_FLIP_FLOP_BYTES = 512

Energies = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class HonestEnergy:
    """Energy by part in nJ, one number for each mapping."""

    dram: Energies
    l2: Energies
    buffers: Energies  # between the L2 and the PEs
    pe: Energies  # the PEs' buffers
    mac: Energies
    leakage: Energies

    @property
    def total_nj(self) -> Energies:
        """Sum of the parts."""
        return sum((getattr(self, f.name) for f in fields(self)), np.zeros_like(self.mac))


def shared_price(technology: Technology, elements: int) -> Macro:
    """Prices per element, and leakage, of an L2 or a buffer of this size."""
    words = -(-elements // _WORD_ELEMENTS)
    word = technology.memory(words, 8 * _WORD_ELEMENTS, _WORD_ELEMENTS)
    read, write = word.read_pj / _WORD_ELEMENTS, word.write_pj / _WORD_ELEMENTS
    return Macro(read, write, word.leak_mw, word.area_um2)


def private_price(technology: Technology, elements: int) -> Macro:
    """Prices per element, and leakage, of one PE's buffer of this size."""
    if isinstance(technology.sram, tuple):
        register = technology.energy_pj["register_8bit"]
        return Macro(register, register, 0.0, 0.0)
    if elements < _FLIP_FLOP_BYTES:
        return technology.memory(elements, 8, 1)
    return shared_price(technology, elements)


def accesses(counts: Counts, depth: int) -> tuple[Counts, Counts, Counts]:
    """Elements moved from and to DRAM (n), and reads and writes of each store (n x depth + 1).

    Stores are the L2, then the buffers of each level; a PE's reads and writes for its MACs count.
    """
    edges = counts[:, BOUNDARY : BOUNDARY + BOUNDARY_COLUMNS * (depth + 1)]
    edges = edges.reshape(len(counts), depth + 1, BOUNDARY_COLUMNS)
    down, up = edges[:, :, 0:3].sum(axis=2), edges[:, :, 7]  # out of and into the store above
    reads, writes = edges[:, :, 6].copy(), edges[:, :, 3:6].sum(axis=2)
    reads[:, :-1] += down[:, 1:]
    writes[:, :-1] += up[:, 1:]
    reads[:, -1] += 2 * counts[:, MACS] + counts[:, SUMS_READ]
    writes[:, -1] += counts[:, MACS]
    return down[:, 0] + up[:, 0], reads, writes


def energy(
    batch: HonestBatch, depth: int, *, technology: str | Technology, clock_mhz: float = 500.0
) -> HonestEnergy:
    """Energy of each mapping of a batch; NaN where it is infeasible."""
    table = technology if isinstance(technology, Technology) else load_technology(technology)
    counts, pj = batch.counts, table.energy_pj
    time_us = batch.cycles / clock_mhz  # NaN where infeasible
    known = np.where(np.isnan(batch.cycles), np.nan, 1.0)
    macs = counts[:, MACS]
    dram, all_reads, all_writes = accesses(counts, depth)
    parts = {"dram": dram * (8 * pj["bus_per_bit"])}
    leak_mw = np.zeros(len(counts))
    parts["buffers"] = np.zeros(len(counts))
    for store in range(depth + 1):  # the L2, then the buffers of each level
        reads, writes = all_reads[:, store], all_writes[:, store]
        column = L2_REQUIRED if store == 0 else REQUIRED + store - 1
        sizes, which = np.unique(counts[:, column], return_inverse=True)
        price = private_price if store == depth else shared_price
        prices = [price(table, max(int(size), 1)) for size in sizes]
        read, write, leak = (
            np.array([getattr(macro, name) for macro in prices])[which]
            for name in ("read_pj", "write_pj", "leak_mw")
        )
        leak_mw += leak * (counts[:, BUFFERS + store - 1] if store else 1)
        part = "l2" if store == 0 else ("pe" if store == depth else "buffers")
        parts[part] = parts.get(part, 0.0) + reads * read + writes * write
    parts["mac"] = macs * (pj["multiply"] + pj["add"])
    nanojoules = {name: value * (1e-3 * known) for name, value in parts.items()}
    return HonestEnergy(**nanojoules, leakage=leak_mw * time_us)


def honest_layers(layer: Layer) -> tuple[HonestLayer, int] | Infeasible:
    """The convolution that a layer runs, and how many times one after another."""
    if layer.operator in (Operator.GEMM, Operator.BGEMM):
        return HonestLayer(K=layer.N, C=layer.K, Y=layer.M), layer.B
    if layer.dilation != 1:
        return Infeasible(f"dilation {layer.dilation} is not modelled; accepted: 1")
    depthwise = layer.operator is Operator.DWCONV
    groups = 1 if depthwise else layer.groups
    shape = HonestLayer(
        K=1 if depthwise else layer.K // groups,
        C=layer.C // groups,
        Y=layer.Y,
        X=layer.X,
        R=layer.R,
        S=layer.S,
        stride=layer.stride,
        padding=layer.padding,
        depthwise=depthwise,
        rows=layer.iy,
        columns=layer.ix,
    )
    return shape, groups


@dataclass(frozen=True, slots=True, kw_only=True)
class HonestEvaluator:
    """The honest model behind the `Evaluator` protocol.

    PEs, L2, DRAM bandwidth, clock and table come from the hardware file; what it does not state is
    given here. Groups and batches run one after another.
    """

    l1_size: int | None = None
    noc_bw: int | None = None
    noc_latency: int = 0

    @property
    def source(self) -> Source:
        """A model."""
        return Source.MODEL

    def evaluate(
        self, layer: Layer, point: HonestMapping, hardware: Hardware
    ) -> Metrics | Infeasible:
        """Metrics of one occurrence of the layer, or why the mapping cannot run it."""
        shape = honest_layers(layer)
        if isinstance(shape, Infeasible):
            return shape
        one, times = shape
        machine = HonestMachine(
            pes=hardware.pes,
            l1_size=self.l1_size,
            l2_size=hardware.sram_bytes,
            noc_bw=self.noc_bw,
            noc_latency=self.noc_latency,
            dram_bw=hardware.bus_in_bytes,
        )
        levels = point.levels
        rows = (layer_row(one), machine_row(machine), mapping_rows(levels))
        batch = evaluate_batch(*(np.array([row]) for row in rows))
        counts = batch_counts(batch, 0, len(levels), machine, levels)
        if isinstance(counts, Infeasible):
            return counts
        nj = energy(
            batch, len(levels), technology=hardware.technology, clock_mhz=hardware.clock_mhz
        )
        return Metrics.of(
            latency_cycles=counts.cycles * times,
            energy_nj=float(nj.total_nj[0]) * times,
            clock_mhz=hardware.clock_mhz,
            source=self.source,
        )
