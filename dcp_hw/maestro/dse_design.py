"""One design by itself: its layers one by one, on mappings as written; energy and area by part.

It shares prices with the sweep, and nothing else; `check` compares the two on a sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcp_hw.errors import CheckFailed
from dcp_hw.maestro.dse_kernel import AREA, CYCLES, ENERGY, POWER
from dcp_hw.maestro.dse_part import Setting
from dcp_hw.maestro.dse_price import KIB, PORT_BITS
from dcp_hw.maestro.dse_space import TILE_AXES
from dcp_hw.maestro.honest_energy import honest_layers, private_price, shared_price
from dcp_hw.maestro.honest_fast import evaluate
from dcp_hw.maestro.honest_types import HonestCounts, HonestMachine
from dcp_hw.metrics import Infeasible

Runs = list[tuple[str, int, HonestCounts]]
"""Name of each layer, how often it runs, and its counts."""

_CLOSE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """What one design is and costs; energies in nJ, areas in mm2."""

    parameters: dict[str, int]
    clusters: int
    buffer_bytes: int  # of one cluster
    l2_own_bytes: int  # what the clusters' buffers leave
    cycles: int
    layer_cycles: dict[str, int]  # of all occurrences
    energy_nj: dict[str, float]
    area_mm2: dict[str, float]
    clock_mhz: float

    @property
    def total_nj(self) -> float:
        """All parts, DRAM too."""
        return sum(self.energy_nj.values())

    @property
    def power_mw(self) -> float:
        """Mean power of the chip: all parts but DRAM, over the time."""
        return (self.total_nj - self.energy_nj["dram"]) * self.clock_mhz / self.cycles

    @property
    def total_mm2(self) -> float:
        """All parts."""
        return sum(self.area_mm2.values())


def sheet(setting: Setting, number: int) -> Sheet | Infeasible:
    """The design of this number, or why it cannot run all layers."""
    design = setting.space.design(number)
    runs = _runs(setting, design)
    if isinstance(runs, Infeasible):
        return runs
    clusters = design["pes"] // design["tile_units"]
    buffer = max(counts.required[0] for _, _, counts in runs)
    own = design["l2_kib"] * KIB - clusters * buffer
    needed = max(counts.l2_required for _, _, counts in runs)
    if own < needed:
        return Infeasible(f"L2 needs {needed} elements, the clusters' buffers leave {own}")
    cycles = {name: times * counts.cycles for name, times, counts in runs}
    energy, area = _costs(setting, design, runs, clusters, buffer, own, sum(cycles.values()))
    return Sheet(
        parameters=design,
        clusters=clusters,
        buffer_bytes=buffer,
        l2_own_bytes=own,
        cycles=sum(cycles.values()),
        layer_cycles=cycles,
        energy_nj=energy,
        area_mm2=area,
        clock_mhz=setting.clock_mhz,
    )


def _runs(setting: Setting, design: dict[str, int]) -> Runs | Infeasible:
    """Counts of all layers."""
    tile = tuple(design[f"tile_{name}"] for name in TILE_AXES)
    machine = HonestMachine(
        pes=design["pes"],
        l1_size=design["l1_bytes"],
        l2_size=design["l2_kib"] * KIB,
        noc_bw=design["noc_bw"],
        noc_latency=setting.noc_latency,
        dram_bw=setting.dram_bw,
    )
    runs: Runs = []
    for layer in setting.layers:
        shape = honest_layers(layer)
        if isinstance(shape, Infeasible):
            return shape
        one, times = shape
        counts = evaluate(one, setting.space.style.mapping(tile, one), machine)
        if isinstance(counts, Infeasible):
            return Infeasible(f"layer '{layer.name}': {counts.reason}")
        runs.append((layer.name, times * layer.count, counts))
    return runs


def _costs(
    setting: Setting,
    design: dict[str, int],
    runs: Runs,
    clusters: int,
    buffer: int,
    own: int,
    cycles: int,
) -> tuple[dict[str, float], dict[str, float]]:
    """Energy (nJ) and area (mm2) by part."""
    table, pes = setting.table, design["pes"]
    price, pj = setting.prices, table.energy_pj
    stores = (
        ("l2", 1, shared_price(table, -(-own // KIB) * KIB)),
        ("cluster_buffers", clusters, shared_price(table, buffer)),
        ("pe_buffers", pes, private_price(table, design["l1_bytes"])),
    )
    energy = {"dram": 0.0, **{name: 0.0 for name, _, _ in stores}, "mac": 0.0}
    for _, times, counts in runs:
        dram = sum(counts.supplied[0]) + counts.collected[0]
        energy["dram"] += times * dram * 8 * pj["bus_per_bit"] * 1e-3
        energy["mac"] += times * counts.macs * (pj["multiply"] + pj["add"]) * 1e-3
        for at, (name, _, memory) in enumerate(stores):
            reads, writes = counts.drained[at], sum(counts.taken[at])
            if at < 2:
                reads += sum(counts.supplied[at + 1])
                writes += counts.collected[at + 1]
            else:
                reads += 2 * counts.macs + counts.sums_read
                writes += counts.macs
            energy[name] += times * (reads * memory.read_pj + writes * memory.write_pj) * 1e-3
    ports = (clusters + 1) * design["noc_bw"]
    clock_pj = pes * price.pe_clock_pj + ports * PORT_BITS * pj["clock_per_bit"]
    leak_mw = sum(number * memory.leak_mw for _, number, memory in stores)
    energy |= {"clock": clock_pj * cycles * 1e-3, "leakage": leak_mw * cycles / setting.clock_mhz}
    area = {name: number * memory.area_um2 * 1e-6 for name, number, memory in stores}
    return energy, {"pes": pes * price.pe_mm2, **area, "ports": ports * price.port_mm2}


def check(
    setting: Setting, pool: NDArray[np.float64], numbers: NDArray[np.int64], sample: int, seed: int
) -> int:
    """How many designs of the front were computed a second time, one by one, and agree.

    Raises: CheckFailed for the first that does not.
    """
    chosen = np.random.default_rng(seed).permutation(len(numbers))[:sample]
    for row in chosen:
        number = int(numbers[row])
        found = sheet(setting, number)
        if isinstance(found, Infeasible):
            raise CheckFailed(f"dse: design {number} is on the front, but: {found.reason}")
        for what, column, value in (
            ("cycles", CYCLES, found.cycles),
            ("energy_nj", ENERGY, found.total_nj),
            ("area_mm2", AREA, found.total_mm2),
            ("power_mw", POWER, found.power_mw),
        ):
            if not np.isclose(pool[row, column], value, rtol=_CLOSE, atol=0):
                raise CheckFailed(
                    f"dse: design {number} has {what} {pool[row, column]} in the sweep and "
                    f"{value} by itself"
                )
    return len(chosen)
