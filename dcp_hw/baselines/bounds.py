"""The least that any mapping of a layer can cost in the honest model, per objective.

Latency: MACs over PEs and the latency of one level, or what every port must carry over its
bandwidth. Energy: MACs; three reads and a write of a PE's buffer for each (a sum that starts at
zero is not read by its MAC but when it leaves); every input and weight that is read and every
output crosses the L2 once; each access at the price of the cheapest buffer that the limits allow;
the leakage of the smallest L2 over the least time. EDP: their product.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from dcp_hw.baselines.problem import Accelerator, Objective, Problem
from dcp_hw.maestro.audit_bounds import ceil_div
from dcp_hw.maestro.honest_energy import private_price, shared_price
from dcp_hw.technology import Technology, load_technology

_LEAST_ELEMENTS = 3  # of a buffer: one of each tensor


@dataclass(frozen=True, slots=True)
class Bound:
    """Lower bounds of one occurrence of a layer."""

    cycles: float
    energy_nj: float

    def of(self, objective: Objective) -> float:
        """The bound of an objective."""
        if objective is Objective.LATENCY:
            return self.cycles
        return self.energy_nj if objective is Objective.ENERGY else self.cycles * self.energy_nj


@dataclass(frozen=True, slots=True, kw_only=True)
class Cheapest:
    """Least prices in pJ per element, and leakage in mW, over the sizes that limits allow."""

    shared_read: float
    shared_write: float
    private_read: float
    private_write: float
    leak_mw: float


@cache
def cheapest(technology: str, l1_size: int | None, l2_size: int | None) -> Cheapest:
    """Least prices of the buffers; every size of a PE's is tried, and those of the L2 by eights."""
    table = load_technology(technology)
    most = min(l1_size or _MOST, _MOST)
    private = [private_price(table, size) for size in range(_LEAST_ELEMENTS, max(most, 3) + 1)]
    shared = [shared_price(table, size) for size in _shared_sizes(l2_size)]
    return Cheapest(
        shared_read=min(x.read_pj for x in shared),
        shared_write=min(x.write_pj for x in shared),
        private_read=min(x.read_pj for x in private),
        private_write=min(x.write_pj for x in private),
        leak_mw=min(x.leak_mw for x in shared),
    )


_MOST = 4096  # elements; prices beyond only rise


def _shared_sizes(l2_size: int | None) -> range:
    most = min(l2_size or _MOST, _MOST)
    return range(_LEAST_ELEMENTS, max(most, _LEAST_ELEMENTS) + 1, 8)


def bound(problem: Problem) -> Bound:
    """The bound of one occurrence of the layer, for mappings of the problem's levels or fewer.

    Buffers between the L2 and the PEs are left out: a mapping of one level has none.
    """
    layer, accelerator = problem.layer, problem.accelerator
    _, times = problem.shape
    machine = accelerator.machine
    entering, leaving = layer.input_bytes + layer.weight_bytes, layer.output_bytes
    cycles = times * (ceil_div(layer.macs // times, machine.pes) + 2 * machine.noc_latency)
    if machine.dram_bw:
        cycles = max(cycles, ceil_div(entering + leaving, machine.dram_bw))
    if machine.noc_bw:
        cycles = max(cycles, ceil_div(max(entering, leaving), machine.noc_bw))
    return Bound(float(cycles), _energy_nj(layer.macs, entering, leaving, cycles, accelerator))


def _energy_nj(
    macs: int, entering: int, leaving: int, cycles: float, accelerator: Accelerator
) -> float:
    table: Technology = load_technology(accelerator.technology)
    machine, pj = accelerator.machine, table.energy_pj
    least = cheapest(accelerator.technology, machine.l1_size, machine.l2_size)
    through = entering + leaving
    picojoules = (
        macs * (pj["multiply"] + pj["add"])
        + macs * (3 * least.private_read + least.private_write)
        + entering * least.private_write
        + through * (least.shared_read + least.shared_write)
        + through * 8 * pj["bus_per_bit"]
    )
    leakage_nj = least.leak_mw * cycles / accelerator.clock_mhz
    return picojoules / 1000 + leakage_nj
