"""Registers and wires of the simulated array (see `array_sim`), clocked one cycle at a time.

Everything moves names of elements: int64, `NOTHING` where there is no element. Plans say what
happens in which cycle; the parts know links, delays and chains, but no operator and no matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tensorlib.links import Ints, Links

NOTHING = -1
Flags = NDArray[np.bool_]


class SimulationError(AssertionError):
    """The array did not do what the loop nest asks for."""


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Named partial sums: names, values and numbers of contributions, all `n` long."""

    names: Ints
    values: Ints
    counts: Ints

    def at(self, keep: Flags | Ints) -> Sums:
        """The selected entries."""
        return Sums(self.names[keep], self.values[keep], self.counts[keep])


def empty_sums(size: int) -> Sums:
    """`size` places without a partial sum."""
    zeros = np.zeros(size, dtype=np.int64)
    return Sums(np.full(size, NOTHING), zeros, zeros.copy())


class OperandLinks:
    """Wires and delay registers that bring the elements of a streamed input to the PEs."""

    def __init__(self, links: Links, inject: Ints) -> None:
        self.inject = inject  # cycles x PEs, at ports
        self.source = _through_wires(links)
        registered = links.neighbour[self.source] >= 0
        self.reader = np.flatnonzero(registered)
        self.sender = links.neighbour[self.source[self.reader]]
        self.delay = links.delay[self.source[self.reader]]
        self.pipe = np.full((int(self.delay.max(initial=0)) + 1, len(links.delay)), NOTHING)

    def clock(self, cycle: int) -> Ints:
        """`PEs`: element at every PE in this cycle."""
        depth = len(self.pipe)
        operand: Ints = self.inject[cycle, self.source]
        operand[self.reader] = self.pipe[(cycle - self.delay) % depth, self.sender]
        self.pipe[cycle % depth] = operand
        return operand


class LoadChain:
    """Shift chains of a stationary input and the operand registers that swap from them."""

    def __init__(self, order: Ints, hop: int, feed: Ints, swap: Flags) -> None:
        self.feed, self.swap = feed, swap  # cycles x chains; cycles x PEs
        self.order, self.shadow = order, np.arange(order.shape[1]) * hop
        self.stages = np.full((len(order), int(self.shadow[-1]) + 1), NOTHING)
        self.active = np.full(order.size, NOTHING)

    def clock(self, cycle: int) -> Ints:
        """`PEs`: element held by every PE in this cycle."""
        operand = self.active.copy()
        if cycle + 1 < len(self.swap):
            arriving = np.empty_like(self.active)
            arriving[self.order] = self.stages[:, self.shadow]
            self.active = np.where(self.swap[cycle + 1], arriving, self.active)
        self.stages[:, 1:] = self.stages[:, :-1].copy()
        self.stages[:, 0] = self.feed[cycle]
        return operand


class SumLinks:
    """Adders, wires and delay registers that bring partial sums of a streamed output to ports."""

    def __init__(self, links: Links) -> None:
        self.sink = _through_wires(links)
        here = np.arange(len(links.neighbour))
        self.sender = np.flatnonzero((self.sink == here) & (links.neighbour >= 0))
        self.receiver = self.sink[links.neighbour[self.sender]]
        self.delay = links.delay[self.sender]
        self.at_port = links.neighbour < 0
        self.pipe = [empty_sums(len(here)) for _ in range(int(self.delay.max(initial=0)) + 1)]

    def clock(self, cycle: int, pes: Ints, products: Sums) -> tuple[Ints, Sums]:
        """Add this cycle's products; returns ports (PE numbers) and the sums that leave there."""
        depth = len(self.pipe)
        parts, places = [products], [self.sink[pes]]
        for delay in np.unique(self.delay):
            moving = self.delay == delay
            parts.append(self.pipe[(cycle - delay) % depth].at(self.sender[moving]))
            places.append(self.receiver[moving])
        merged = _merge(len(self.sink), np.concatenate(places), parts)
        self.pipe[cycle % depth] = merged
        leaving = np.flatnonzero(self.at_port & (merged.names != NOTHING))
        return leaving, merged.at(leaving)


class DrainChain:
    """Accumulators of a stationary output and the shift chains that empty them."""

    def __init__(self, order: Ints, hop: int, clear: Flags, capture: Flags) -> None:
        self.clear, self.capture = clear, capture  # cycles x PEs
        self.order, self.shadow = order, np.arange(order.shape[1]) * hop
        self.acc = empty_sums(order.size)
        self.stages = [empty_sums(len(order)) for _ in range(int(self.shadow[-1]) + 1)]

    def clock(self, cycle: int, pes: Ints, products: Sums) -> tuple[Ints, Sums]:
        """Accumulate this cycle's products; returns exit PEs and the sums that leave there."""
        exiting = self.stages[-1]
        keep = np.flatnonzero(exiting.names != NOTHING)
        self._shift_and_capture(cycle)
        cleared = self.clear[cycle]
        self.acc.names[cleared], self.acc.values[cleared] = NOTHING, 0
        self.acc.counts[cleared] = 0
        everywhere = np.arange(self.order.size)
        self.acc = _merge(self.order.size, np.concatenate([everywhere, pes]), [self.acc, products])
        return self.order[keep, -1], exiting.at(keep)

    def _shift_and_capture(self, cycle: int) -> None:
        """Move every chain by one register; captured accumulators enter at their shadow."""
        stages = [empty_sums(len(self.order)), *self.stages[:-1]]
        for position, stage in enumerate(self.shadow):
            pes = self.order[:, position]
            taken = self.capture[cycle, pes]
            if (stages[stage].names[taken] != NOTHING).any():
                raise SimulationError(f"cycle {cycle}: a drain chain is still in use")
            old, new = stages[stage], self.acc.at(pes)
            stages[stage] = Sums(
                np.where(taken, new.names, old.names),
                np.where(taken, new.values, old.values),
                np.where(taken, new.counts, old.counts),
            )
        self.stages = stages


def _through_wires(links: Links) -> Ints:
    """Per PE the first PE on its way to the port that has a registered link, or the port."""
    reached = np.arange(len(links.neighbour))
    while True:
        wired = (links.neighbour[reached] >= 0) & (links.delay[reached] == 0)
        if not wired.any():
            return reached
        reached[wired] = links.neighbour[reached[wired]]


def _merge(size: int, places: Ints, parts: list[Sums]) -> Sums:
    """Sum of all parts that meet in a place; parts without a name count nothing.

    Raises: `SimulationError` where partial sums of different outputs meet.
    """
    names = np.concatenate([p.names for p in parts])
    present = names != NOTHING
    places, names = places[present], names[present]
    merged = empty_sums(size)
    np.maximum.at(merged.names, places, names)
    if (merged.names[places] != names).any():
        raise SimulationError("partial sums of different outputs meet")
    np.add.at(merged.values, places, np.concatenate([p.values for p in parts])[present])
    np.add.at(merged.counts, places, np.concatenate([p.counts for p in parts])[present])
    return merged
