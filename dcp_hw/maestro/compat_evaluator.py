"""Compat mode behind the protocol that all cost models answer."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dcp_hw.errors import InputError
from dcp_hw.hardware import Hardware
from dcp_hw.maestro.compat import GAMMA_HARDWARE, MaestroHardware, evaluate
from dcp_hw.maestro.compat_columns import energy_full_nj
from dcp_hw.maestro.dataflow import Dataflow
from dcp_hw.maestro.encoding import maestro_layer
from dcp_hw.metrics import Infeasible, Metrics, Source
from dcp_hw.workload import Layer


@dataclass(frozen=True, slots=True)
class CompatEvaluator:
    """MAESTRO's numbers for a layer on a dataflow; the energy is that of its screen.

    Attributes:
        machine: bandwidths and latency, which `Hardware` does not state; its PEs are not used.
    """

    machine: MaestroHardware = GAMMA_HARDWARE

    @property
    def source(self) -> Source:
        """An analytical model."""
        return Source.MODEL

    def evaluate(self, layer: Layer, point: Dataflow, hardware: Hardware) -> Metrics | Infeasible:
        """Metrics of one occurrence, or why MAESTRO has none. Power: energy over time."""
        try:
            shape, mapping = point.to_maestro(maestro_layer(layer))
        except InputError as error:
            return Infeasible(str(error))
        result = evaluate(shape, mapping, replace(self.machine, pes=hardware.pes))
        if isinstance(result, Infeasible):
            return result
        runtime, energy = result.counts.runtime, energy_full_nj(result)
        if runtime <= 0 or energy < 0:
            return Infeasible(f"MAESTRO skips the work: {runtime} cycles, {energy:.6g} nJ")
        return Metrics.of(
            latency_cycles=runtime,
            energy_nj=energy,
            clock_mhz=hardware.clock_mhz,
            source=self.source,
        )
