"""Claimed results against physical bounds: which hold, which break, and by how much.

A claim is what someone says a layer or a network takes on some PEs. A bound breaks only if no
number that the claim's written digits may stand for keeps it. docs/audit.md lists the bounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from dcp_hw.maestro.audit_bounds import Floor, Part, energy_floor_nj, floor
from dcp_hw.technology import DEFAULT_TECHNOLOGY, load_technology
from dcp_hw.workload import Layer


class Sense(StrEnum):
    """How a claim must compare with its limit."""

    LEAST = ">="
    MOST = "<="
    EQUAL = "=="


@dataclass(frozen=True, slots=True)
class Number:
    """A claimed number: what is written, and the range that its digits stand for."""

    value: float
    low: float
    high: float

    @staticmethod
    def exact(value: float) -> Number:
        """A number that was not rounded."""
        return Number(value, value, value)

    def times(self, factor: int) -> Number:
        """The number, multiplied."""
        return Number(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One bound, and whether a claim keeps it.

    Attributes:
        bound: its name in docs/audit.md.
        reason: where the limit comes from.
    """

    bound: str
    claimed: float
    sense: Sense
    limit: float
    unit: str
    holds: bool
    reason: str

    @property
    def factor(self) -> float:
        """How many times the claim is off, at least 1; infinite where it is 0 or less."""
        least, most = sorted((self.claimed, self.limit))
        return math.inf if least <= 0 else most / least

    def record(self) -> dict[str, str | float | bool | None]:
        """The verdict for JSON, which has no infinity."""
        factor = self.factor
        return {
            "bound": self.bound,
            "holds": self.holds,
            "claimed": self.claimed,
            "sense": str(self.sense),
            "limit": self.limit,
            "unit": self.unit,
            "factor": factor if math.isfinite(factor) else None,
            "reason": self.reason,
            "text": str(self),
        }

    def __str__(self) -> str:
        word = "holds" if self.holds else "BROKEN"
        text = f"{self.bound:13} {word:6}  {_text(self.claimed)} claimed, {self._limit()}"
        return text if self.holds else f"{text}: {self._off()}"

    def _limit(self) -> str:
        word = {Sense.LEAST: "at least ", Sense.MOST: "at most ", Sense.EQUAL: "must be "}
        unit = f" {self.unit}" if self.unit else ""
        return f"{word[self.sense]}{_text(self.limit)}{unit} ({self.reason})"

    def _off(self) -> str:
        if not math.isfinite(self.factor):
            return "impossible"
        way = "low" if self.claimed < self.limit else "high"
        return f"{self.factor:.4g} x too {way}"


def _text(number: float) -> str:
    if abs(number) < 1e15 and number == int(number):
        return f"{int(number):,}"
    return f"{number:.6g}"


def verdict(
    bound: str, claimed: Number, sense: Sense, limit: Number, unit: str, reason: str
) -> Verdict:
    """The verdict of a claim on one bound; touching ranges hold."""
    low, high = limit.low * (1 - 1e-12), limit.high * (1 + 1e-12)  # sums of floats
    holds = {
        Sense.LEAST: claimed.high >= low,
        Sense.MOST: claimed.low <= high,
        Sense.EQUAL: claimed.high >= low and claimed.low <= high,
    }[sense]
    return Verdict(
        bound=bound,
        claimed=claimed.value,
        sense=sense,
        limit=limit.value,
        unit=unit,
        holds=holds,
        reason=reason,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What is claimed of layers on a machine; None where nothing is.

    Attributes:
        layers: (layer, times).
        noc_bw, offchip_bw: elements per cycle and direction; None: unlimited.
        fused: layers overlap and activations stay on chip.
        mean: MACs, cycles, energy and EDP are means over the layers instead of sums.
        energy_parts: what the claimed energy contains.
        utilisation: share of the PEs that work; throughput: MACs per cycle.
    """

    name: str
    layers: tuple[tuple[Layer, int], ...]
    pes: int
    simd: int = 1
    noc_bw: int | None = None
    offchip_bw: int | None = None
    l1_size: int | None = None
    l2_size: int | None = None
    clock_mhz: float = 500.0
    technology: str = DEFAULT_TECHNOLOGY
    energy_parts: frozenset[Part] = frozenset(Part)
    fused: bool = False
    mean: bool = False
    macs: Number | None = None
    cycles: Number | None = None
    energy_nj: Number | None = None
    edp: Number | None = None
    power_mw: Number | None = None
    utilisation: Number | None = None
    throughput: Number | None = None
    l1_req: Number | None = None
    l2_req: Number | None = None
    source: str = ""

    @property
    def units(self) -> int:
        """MACs per cycle at most."""
        return self.pes * self.simd

    @property
    def runs(self) -> int:
        """Number of layers that run, repeated ones included."""
        return sum(times for _, times in self.layers)

    def summed(self) -> Claim:
        """The claim with sums for means."""
        if not self.mean:
            return self
        sums = {
            name: number.times(self.runs)
            for name in ("macs", "cycles", "energy_nj", "edp")
            if (number := getattr(self, name)) is not None
        }
        return replace(self, mean=False, **sums)

    def floor(self, bandwidth: int | None = None) -> Floor:
        """The least that the layers take."""
        return floor(self.layers, units=self.units, bandwidth=bandwidth, fused=self.fused)


def audit(claim: Claim) -> tuple[Verdict, ...]:
    """The verdict on each bound that the claim says enough for."""
    claim = claim.summed()
    return (*_work(claim), *_traffic(claim), *_energy(claim), *_shares(claim), *_buffers(claim))


def _work(claim: Claim) -> Iterator[Verdict]:
    least = claim.floor()
    if claim.macs:
        true = Number.exact(least.macs)
        yield verdict("macs", claim.macs, Sense.EQUAL, true, "MACs", "the layers' own")
    if claim.cycles:
        limit = Number.exact(least.compute_cycles)
        reason = f"{least.macs:,} MACs, {claim.units:,} per cycle"
        yield verdict("compute", claim.cycles, Sense.LEAST, limit, "cycles", reason)


def _traffic(claim: Claim) -> Iterator[Verdict]:
    for bound, bandwidth in (("noc", claim.noc_bw), ("offchip", claim.offchip_bw)):
        if claim.cycles and bandwidth:
            least = claim.floor(bandwidth)
            inwards, outwards = least.entering_cycles or 0, least.leaving_cycles or 0
            reason = (
                f"{least.entering:,} elements in, {least.leaving:,} out, {bandwidth:,} per cycle"
            )
            limit = Number.exact(max(inwards, outwards))
            yield verdict(bound, claim.cycles, Sense.LEAST, limit, "cycles", reason)


def _energy(claim: Claim) -> Iterator[Verdict]:
    cycles, energy, least = claim.cycles, claim.energy_nj, claim.floor()
    if energy:
        table = load_technology(claim.technology)
        work = (least.macs, least.entering, least.leaving)
        limit = Number.exact(energy_floor_nj(*work, table, claim.energy_parts))
        parts = " + ".join(part for part in Part if part in claim.energy_parts)
        reason = f"{parts}, compulsory, table {claim.technology}"
        yield verdict("energy", energy, Sense.LEAST, limit, "nJ", reason)
    if claim.edp and not claim.fused:
        yield _edp_floor(claim, claim.edp)
    if claim.edp and cycles and energy:
        product = _product(cycles, energy)
        single = claim.runs == 1
        sense, reason = (Sense.EQUAL if single else Sense.MOST), "cycles x energy"
        yield verdict("edp", claim.edp, sense, product, "cycles x nJ", reason)
    if claim.power_mw and cycles and energy:
        clock = claim.clock_mhz
        low, high = energy.low * clock / cycles.high, energy.high * clock / cycles.low
        power = Number(energy.value * clock / cycles.value, low, high)
        reason = f"energy / time at {clock:g} MHz"
        yield verdict("power", claim.power_mw, Sense.EQUAL, power, "mW", reason)


def _edp_floor(claim: Claim, edp: Number) -> Verdict:
    """The EDP against the sum of the layers' floors, which no product of sums is below."""
    table, limit = load_technology(claim.technology), 0.0
    for layer, times in claim.layers:
        least = floor(((layer, 1),), units=claim.units)
        work = (least.macs, least.entering, least.leaving)
        energy = energy_floor_nj(*work, table, claim.energy_parts)
        limit += times * least.compute_cycles * energy
    reason = "sum of the layers' least cycles x least energy"
    return verdict("edp", edp, Sense.LEAST, Number.exact(limit), "cycles x nJ", reason)


def _product(a: Number, b: Number) -> Number:
    return Number(a.value * b.value, a.low * b.low, a.high * b.high)


def _shares(claim: Claim) -> Iterator[Verdict]:
    macs = claim.floor().macs
    if claim.utilisation:
        whole = Number.exact(1)
        yield verdict("utilisation", claim.utilisation, Sense.MOST, whole, "", "all PEs at work")
    if claim.utilisation and claim.cycles:
        peak = macs / claim.units
        cycles = claim.cycles
        needed = Number(peak / cycles.value, peak / cycles.high, peak / cycles.low)
        reason = "MACs / (cycles x MACs per cycle)"
        yield verdict("utilisation", claim.utilisation, Sense.LEAST, needed, "", reason)
    if claim.throughput:
        peak, reason = Number.exact(claim.units), f"{claim.pes:,} PEs x {claim.simd} MACs"
        yield verdict("throughput", claim.throughput, Sense.MOST, peak, "MACs/cycle", reason)
    if claim.throughput and claim.cycles:
        cycles = claim.cycles
        rate = Number(macs / cycles.value, macs / cycles.high, macs / cycles.low)
        reason = "the layers' MACs / cycles"
        yield verdict("throughput", claim.throughput, Sense.EQUAL, rate, "MACs/cycle", reason)


def _buffers(claim: Claim) -> Iterator[Verdict]:
    for bound, needed, size in (
        ("l1", claim.l1_req, claim.l1_size),
        ("l2", claim.l2_req, claim.l2_size),
    ):
        if needed and size:
            limit = Number.exact(size)
            yield verdict(bound, needed, Sense.MOST, limit, "elements", "size of the buffer")
