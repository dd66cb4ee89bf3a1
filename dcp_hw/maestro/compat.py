"""MAESTRO's cost model, number for number as its binary prints it.

Every quirk of the binary is here on purpose; `dcp_hw.maestro.honest` is the model to search with.
This module is the plain form and its definition; `compat_batch` is the same, fast, for columns.

Source: Kwon et al., "Understanding Reuse, Performance, and Hardware Cost of DNN Dataflow: A
Data-Centric Approach Using MAESTRO", MICRO 2019; maestro-project/maestro commit 4eb08d1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from dcp_hw.errors import InputError
from dcp_hw.maestro.compat_levels import ClusterLevel, build_levels, idiv
from dcp_hw.maestro.compat_reasons import Crash, Reason, reason_text
from dcp_hw.maestro.compat_volumes import Case, Volumes, cases
from dcp_hw.maestro.layer import INT_MAX, OVERLAP, MaestroLayer, Tensors, tensors
from dcp_hw.maestro.mapping import Mapping
from dcp_hw.metrics import Infeasible

LONG_MIN = -(1 << 63)
"""What the binary prints for a delay that no case sets."""

KINDS = ("input", "filter", "output")


@dataclass(frozen=True, slots=True, kw_only=True)
class MaestroHardware:
    """Hardware as MAESTRO's command line states it, with its defaults.

    Attributes:
        noc_bw, offchip_bw: elements per cycle.
        noc_latency: cycles; hops × latency of a hop.
        l1_size, l2_size: elements; never enforced, as in MAESTRO.

    Raises: InputError for a value out of range.
    """

    pes: int = 7
    noc_bw: int = INT_MAX
    noc_latency: int = 0
    offchip_bw: int = 70_000
    simd: int = 1
    l1_size: int = INT_MAX
    l2_size: int = INT_MAX

    def __post_init__(self) -> None:
        for name in ("pes", "noc_bw", "noc_latency", "offchip_bw", "simd", "l1_size", "l2_size"):
            value, least = getattr(self, name), 0 if name == "noc_latency" else 1
            if not isinstance(value, int) or not least <= value <= INT_MAX:
                raise InputError(
                    f"hardware: {name} is {value!r}; accepted: an integer from {least} to {INT_MAX}"
                )


GAMMA_HARDWARE = MaestroHardware(
    pes=168, noc_bw=81_920_000, noc_latency=1, offchip_bw=1 << 30, l1_size=512, l2_size=108_000
)
"""The hardware of GAMMA's experiments, which DCP uses as well."""


@dataclass(slots=True)
class Counts:
    """Result of one level on the sizes it received.

    Attributes:
        up_read, up_write, down_read, down_write: accesses of the stores above and below, per kind
            of tensor. For level 0 these are MAESTRO's L2 and L1.
        up_need, down_need: elements that the stores must hold, per kind of tensor.
        delays: minimum, maximum and sum over iterations of ingress, egress, compute.
        bandwidth_sum: elements per cycle summed over iterations.
        has_below: whether a case reached the next level, and its result.
    """

    runtime: int = 0
    macs: int = 0
    active: float = 0.0
    iterations: int = 0
    intensity: float = 0.0
    up_read: list[int] = field(default_factory=lambda: [0, 0, 0])
    up_write: list[int] = field(default_factory=lambda: [0, 0, 0])
    down_read: list[int] = field(default_factory=lambda: [0, 0, 0])
    down_write: list[int] = field(default_factory=lambda: [0, 0, 0])
    up_need: list[int] = field(default_factory=lambda: [0, 0, 0])
    down_need: list[int] = field(default_factory=lambda: [0, 0, 0])
    delays: list[list[int]] = field(default_factory=lambda: [[INF, 0, 0] for _ in range(3)])
    peak_bandwidth: int = 0
    bandwidth_sum: int = 0
    offchip_bandwidth: int = 0
    innermost: Counts | None = None


INF = 1 << 200


@dataclass(frozen=True, slots=True)
class CompatResult:
    """What MAESTRO computes for one layer: level 0's counts and the L1 requirement.

    Attributes:
        l1_need: elements, of the innermost level.
        single: whether MAESTRO holds one result only, which changes its energy column.
    """

    layer: MaestroLayer
    hardware: MaestroHardware
    counts: Counts
    l1_need: int
    single: bool


def evaluate(
    layer: MaestroLayer,
    mapping: Mapping | None,
    hardware: MaestroHardware = GAMMA_HARDWARE,
    *,
    batched: bool | None = None,
) -> CompatResult | Infeasible:
    """MAESTRO's result for one layer, or why the binary has none.

    Args:
        mapping: None for a layer of a file that has no Dataflow of its own.
        batched: whether the first layer of this type in the file declares N; None: as this one.
    """
    if mapping is None:
        return Infeasible(reason_text(Reason.NO_DATAFLOW))
    kind = tensors(layer.type, batched=layer.batched if batched is None else batched)
    try:
        levels = build_levels(layer, mapping, kind, hardware.pes)
        machine = _Machine(levels, kind, hardware, layer.type.is_convolution)
        top = machine.run(0, levels[0].dims)
    except Crash as crash:
        return Infeasible(str(crash))
    inner = top.innermost or top
    return CompatResult(layer, hardware, top, sum(inner.down_need), inner is top)


class _Machine:
    """Evaluates levels; equal calls are computed once."""

    def __init__(
        self,
        levels: list[ClusterLevel],
        kind: Tensors,
        hardware: MaestroHardware,
        is_convolution: bool,
    ) -> None:
        self.levels, self.kind, self.hardware = levels, kind, hardware
        self.overlap = OVERLAP if is_convolution else {}
        self.known: dict[tuple[int, tuple[int, ...]], Counts] = {}

    def run(self, index: int, dims: dict[str, int]) -> Counts:
        """Result of level `index` on the sizes `dims`.

        Raises: Crash where the binary would end without a result.
        """
        key = (index, tuple(dims.values()))
        if key not in self.known:
            self.known[key] = self._run(index, dims)
        return self.known[key]

    def _run(self, index: int, dims: dict[str, int]) -> Counts:
        level, counts = self.levels[index], Counts()
        done = 0
        for case in cases(level, dims):
            volumes = Volumes(level, self.kind, case)
            if done == 0:
                self._requirements(counts, volumes, dims)
            if case.occurrences <= 0:
                raise Crash(Reason.ITERATIONS)
            done += self._add_case(index, counts, case, volumes)
        if counts.iterations:
            counts.active /= counts.iterations
        return counts

    def _requirements(self, counts: Counts, volumes: Volumes, dims: dict[str, int]) -> None:
        """Set what the stores must hold, and the tensor sizes; called again after a skipped case,
        when inputs and filters are added to what was there."""
        for i, tensor in enumerate((self.kind.input, self.kind.filter)):
            counts.up_need[i] += 2 * volumes.ingress(tensor)
            counts.up_write[i] = prod(dims[dim] for dim in tensor)
            counts.down_need[i] += 2 * prod(volumes.level.mapped[dim] for dim in tensor)
        output = self.kind.output
        counts.up_need[2] = 2 * volumes.egress()
        counts.down_need[2] = 2 * prod(volumes.level.mapped[dim] for dim in output)
        counts.up_read[2] = prod(
            dims[dim] - dims[self.overlap[dim]] + 1 if dim in self.overlap else dims[dim]
            for dim in output
        )

    def _add_case(self, index: int, counts: Counts, case: Case, volumes: Volumes) -> int:
        """Add one case; 1 if it counts as evaluated, 0 if MAESTRO skips it."""
        often = case.occurrences
        out, macs, critical = volumes.egress(), volumes.macs(), volumes.critical_macs()
        counts.up_write[2] += often * out
        counts.down_read[2] += often * macs
        counts.down_write[2] += often * macs
        if critical <= 0:
            return 0
        into = 0
        for i, tensor in enumerate((self.kind.input, self.kind.filter)):
            loaded = volumes.ingress(tensor)
            into += loaded
            counts.up_read[i] += often * loaded
            counts.down_write[i] = counts.up_read[i]
            counts.down_read[i] += often * macs
        counts.intensity = ratio(macs, into)
        compute, active = self._compute(index, counts, case, volumes, critical)
        delay_in, delay_out = self._transfer(into), self._transfer(out)
        delay = compute + delay_in if case.all_init else max(delay_out, compute, delay_in)
        if index == 0:
            delay = self._offchip(counts, compute, delay)
        counts.runtime += often * delay
        counts.macs += often * macs
        counts.active += often * active
        counts.iterations += often
        compute = compute or 1
        counts.peak_bandwidth = max(counts.peak_bandwidth, idiv(max(into, out), compute))
        counts.bandwidth_sum += idiv(often * max(into, out), compute)
        for delays, value in zip(counts.delays, (delay_in, delay_out, compute), strict=True):
            delays[0] = min(delays[0], value)
            delays[1] = max(delays[1], value)
            delays[2] += often * value
        return 1

    def _compute(
        self, index: int, counts: Counts, case: Case, volumes: Volumes, critical: int
    ) -> tuple[int, float]:
        """Cycles of the slowest unit in one iteration, and average units at work below."""
        level = self.levels[index]
        state = case.states[level.first_spatial.dim]
        busy = level.edge_units if state.edge else level.units
        if index + 1 == len(self.levels):
            return -(-critical // self.hardware.simd), busy
        parts = [(state.edge and state.partial, 1 if state.edge and state.partial else busy)]
        if state.edge and state.partial and busy > 1:
            parts.append((False, busy - 1))
        compute, active = 0, 0.0
        for partial, units in parts:
            below = self.run(index + 1, volumes.handed_down(partial))
            if counts.innermost is None:
                counts.innermost = below.innermost or below
            compute = max(compute, below.runtime)
            active += below.active * units
        return compute, active or busy

    def _transfer(self, elements: int) -> int:
        """Cycles that the network takes for so many elements; -1 for none without latency."""
        bandwidth = self.hardware.noc_bw
        sends = idiv(elements, bandwidth)
        if elements != sends * bandwidth:  # also for a negative number
            sends += 1
        return self.hardware.noc_latency + sends - 1

    def _offchip(self, counts: Counts, compute: int, delay: int) -> int:
        """Delay with the off-chip memory; also halves the bandwidth it needs, once more per case.

        Raises: Crash for an iteration that computes nothing.
        """
        if compute == 0:
            raise Crash(Reason.NOTHING_DONE)
        operands, output = counts.up_need[0] + counts.up_need[1], counts.up_need[2]
        for need in (output, operands):
            bandwidth = idiv(need, compute)
            counts.offchip_bandwidth = max(counts.offchip_bandwidth, bandwidth)
            delay = max(delay, idiv(idiv(need, self.hardware.offchip_bw), 2))
        counts.offchip_bandwidth //= 2
        return delay


def ratio(a: float, b: float) -> float:
    """a / b as in IEEE 754."""
    if b:
        return a / b
    return float("nan") if a == 0 else float("inf") if a > 0 else float("-inf")
