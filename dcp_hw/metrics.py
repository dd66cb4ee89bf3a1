"""Metrics of one layer on one design, and the protocol of everything that gives them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Protocol, TypeVar

from dcp_hw.hardware import Hardware
from dcp_hw.workload import Layer


class Source(StrEnum):
    """Where a number comes from; reports never mix them."""

    MODEL = "model"  # analytical cost or cycle model
    PREDICTOR = "predictor"  # neural predictor
    RTL = "rtl"  # counters of the simulated Verilog


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Cost of running one layer once.

    Raises: ValueError for a number that no run can have.
    """

    latency_cycles: float
    energy_nj: float
    power_mw: float
    source: Source

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", Source(self.source))
        for name, least_is_zero in (
            ("latency_cycles", False),
            ("energy_nj", True),
            ("power_mw", True),
        ):
            value = getattr(self, name)
            if not isfinite(value) or value < 0 or (value == 0 and not least_is_zero):
                bound = ">= 0" if least_is_zero else "> 0"
                raise ValueError(f"{name} must be finite and {bound}, got {value!r}")

    @property
    def edp(self) -> float:
        """Energy-delay product in cycles × nJ."""
        return self.latency_cycles * self.energy_nj

    @staticmethod
    def of(*, latency_cycles: float, energy_nj: float, clock_mhz: float, source: Source) -> Metrics:
        """Metrics whose power is the energy spread over the latency at that clock."""
        time_us = latency_cycles / clock_mhz
        return Metrics(
            latency_cycles=latency_cycles,
            energy_nj=energy_nj,
            power_mw=energy_nj / time_us,  # nJ / us = mW
            source=source,
        )


@dataclass(frozen=True, slots=True)
class Infeasible:
    """The answer for a dataflow that cannot run; a value, not an error."""

    reason: str

    def __post_init__(self) -> None:
        if not self.reason:
            raise ValueError("an infeasible dataflow needs a reason")


Point = TypeVar("Point", contravariant=True)
"""What is evaluated: a dataflow of one of the two design spaces."""


class Evaluator(Protocol[Point]):
    """Anything that costs a layer on a point: cost model, predictor or RTL measurement."""

    @property
    def source(self) -> Source:
        """The source that its metrics name."""
        ...

    def evaluate(self, layer: Layer, point: Point, hardware: Hardware) -> Metrics | Infeasible:
        """Metrics of one occurrence of the layer, or why the point cannot run it.

        Raises: ToolError if a tool is missing or fails; never for a bad point.
        """
        ...
