"""Register-by-register simulation of an elaborated array, to check the analysis against.

Ports inject, links and chains shift, PEs multiply, trees and chains add, cycle by cycle and with
consecutive sweeps in flight. What a PE must see comes from the loop nest alone: point `x` is
computed in cycle `start + t` on PE `p` with `(p, t) = T x`, on elements `M_t x`. Every operand
carries the name of its element, every partial sum the name of its output, and any meeting of
different names, two uses of one place in one cycle, or an incomplete output is a `SimulationError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tensorlib.array_parts import (
    NOTHING,
    DrainChain,
    Flags,
    LoadChain,
    OperandLinks,
    SimulationError,
    SumLinks,
    Sums,
)
from tensorlib.links import Ints
from tensorlib.op import Operator
from tensorlib.schedule import (
    LOAD_LEAD,
    Schedule,
    local_start,
    local_steps,
    pe_windows,
    port_spans,
    sweep_extent,
    sweep_starts,
    transfer_extent,
)

_RADIX = 1 << 12  # names of elements: coordinates in mixed radix, shifted to be positive


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """Output tensor of a simulated run, when sweeps started, and when the last result left.

    Cycles count from the start of the first sweep.
    """

    output: Ints
    starts: tuple[int, ...]
    last_exit: int


def loop_nest(op: Operator, sizes: Mapping[str, int], data: Mapping[str, Ints]) -> Ints:
    """Output of the operator by its definition, all loop points in one sum."""
    points = _box([sizes[i] for i in op.iterators])
    product = np.ones(len(points), dtype=np.int64)
    for tensor in op.inputs:
        product *= data[tensor][_index(op, tensor, points)]
    output = np.zeros(tensor_shape(op, sizes, op.output), dtype=np.int64)
    np.add.at(output, _index(op, op.output, points), product)
    return output


def tensor_shape(op: Operator, sizes: Mapping[str, int], tensor: str) -> tuple[int, ...]:
    """Extents of a tensor whose access matrix has no negative entries."""
    bounds = np.array([sizes[i] - 1 for i in op.iterators])
    return tuple((np.array(op.tensors[tensor]) @ bounds + 1).tolist())


def simulate(
    schedule: Schedule,
    sizes: Mapping[str, int],
    data: Mapping[str, Ints],
    *,
    interval: int,
    tiles: Mapping[str, int] | None = None,
    order: Sequence[str] = (),
) -> Result:
    """Run a whole operator on the array, sweep after sweep.

    Args:
        sizes: bounds of all loops; selected ones up to what the array was elaborated for.
        data: input tensors.
        interval: cycles between sweep starts; later where a chain is still busy.
        tiles: selected loops run in so many parts, each of `sizes` steps (1 by default).
        order: loops around the sweep (sequential, and over tiles), outermost first; by default
            in iterator order.
    Raises: `SimulationError` at the first thing that goes wrong.
    """
    return _Simulation(schedule, sizes, interval, tiles or {}, order).run(data)


class _Simulation:
    """Plans of one run: what the controller, address generators and the loop nest say."""

    def __init__(
        self,
        schedule: Schedule,
        sizes: Mapping[str, int],
        interval: int,
        tiles: Mapping[str, int],
        order: Sequence[str],
    ) -> None:
        self.schedule, self.sizes = schedule, sizes
        self.analysis, self.op = schedule.analysis, schedule.analysis.op
        self.selected = [self.op.column(i) for i in self.analysis.selected]
        self.total = {i: sizes[i] * tiles.get(i, 1) for i in self.op.iterators}
        self.sequence = self._sequence(order or self.op.iterators)
        self.changes = {t: self._changes(t) for t in self.op.tensor_names}
        transfers = {t: self._transfers(t).tolist() for t in schedule.chains}
        self.starts = sweep_starts(schedule, interval, len(self.sequence), transfers)
        extents = [sweep_extent(schedule, sizes)]
        extents += [transfer_extent(schedule, sizes, t) for t in schedule.chains]
        if schedule.chains:  # also PEs that are never enabled swap
            local = local_start(schedule, sizes)
            extents += [(int(local.min()), int(local.max()) + local_steps(self.analysis, sizes))]
        self.origin = min(first for first, _ in extents) - 1  # row 0 of the plans
        self.cycles = self.starts[-1] + max(last for _, last in extents) - self.origin + 2
        self.points, self.work = self._work()

    def _sequence(self, order: Sequence[str]) -> Ints:
        """`sweeps x iterators`: indices of the loops around each sweep."""
        steps = {i: self.sizes[i] if i in self.analysis.selected else 1 for i in order}
        points = _box([self.total[i] // steps[i] for i in order])
        sequence = np.zeros((len(points), len(self.op.iterators)), dtype=np.int64)
        columns = [self.op.column(i) for i in order]
        sequence[:, columns] = points * np.array([steps[i] for i in order])
        return sequence

    def _changes(self, tensor: str) -> Flags:
        """`sweeps + 1`: whether other elements are used than in the sweep before."""
        base = self.sequence @ np.array(self.op.tensors[tensor]).T
        return np.concatenate([[True], (base[1:] != base[:-1]).any(axis=1), [True]])

    def _transfers(self, tensor: str) -> Flags:
        """`sweeps`: loads before a sweep, drains after it."""
        change = self.changes[tensor]
        return change[1:] if tensor == self.op.output else change[:-1]

    def _work(self) -> tuple[Ints, Ints]:
        """All loop points, and `cycles x PEs` which of them is computed, from `T` alone."""
        box = _box([self.sizes[i] for i in self.analysis.selected])
        where = box @ np.array(self.analysis.stt.rows).T
        place = where[:, :2] - np.array(self.schedule.shape.origin)
        pe, t = place[:, 0] * self.schedule.shape.columns + place[:, 1], where[:, 2]
        points = np.repeat(self.sequence, len(box), axis=0)
        points[:, self.selected] += np.tile(box, (len(self.sequence), 1))
        work = np.full((self.cycles, self.schedule.shape.pes), NOTHING)
        for sweep, start in enumerate(self.starts):
            if (work[t + start - self.origin, pe] != NOTHING).any():
                raise SimulationError(f"sweep {sweep} needs a PE that an earlier one still uses")
            work[t + start - self.origin, pe] = sweep * len(box) + np.arange(len(box))
        windows = pe_windows(self.schedule, self.sizes)
        inside = (windows.first[pe] <= t) & (t <= windows.last[pe])
        if not inside.all() or (windows.last - windows.first + 1).sum() != len(box):
            raise SimulationError("PE enables differ from the loop nest")
        return points, work

    def _addresses(self, tensor: str, sweep: int, pes: Ints, cycles: Ints) -> Ints:
        """Names of the elements that address generators visit: `M_t T^-1 (p, t)`."""
        p = self.schedule.shape.positions()[pes]
        points = np.tile(self.sequence[sweep], (len(pes), 1))
        local = np.column_stack([p, cycles]) @ np.array(self.analysis.stt.inverse).T
        points[:, self.selected] += local
        return self._names(tensor, points)

    def _names(self, tensor: str, points: Ints) -> Ints:
        names = np.zeros(len(points), dtype=np.int64)
        for coordinate in (points @ np.array(self.op.tensors[tensor]).T).T:
            names = names * _RADIX + coordinate + _RADIX // 2
        return names

    def _coordinates(self, tensor: str, names: Ints) -> tuple[Ints, ...]:
        found = []
        for _ in self.op.tensors[tensor]:
            found.append(names % _RADIX - _RADIX // 2)
            names = names // _RADIX
        return tuple(found[::-1])

    def _port_plan(self, tensor: str) -> Ints:
        """`cycles x PEs`: element that each port injects, or whose partial sum it delivers."""
        plan = np.full((self.cycles, self.schedule.shape.pes), NOTHING)
        spans = port_spans(self.schedule, self.sizes, tensor)
        counts = np.where(spans.active, spans.last - spans.first + 1, 0)
        pes = np.repeat(self.schedule.links[tensor].ports, counts)
        within = np.arange(len(pes)) - np.repeat(np.cumsum(counts) - counts, counts)
        cycles = np.repeat(spans.first, counts) + within
        for sweep, start in enumerate(self.starts):
            if (plan[cycles + start - self.origin, pes] != NOTHING).any():
                raise SimulationError(f"two sweeps meet at a port of {tensor}")
            names = self._addresses(tensor, sweep, pes, cycles)
            plan[cycles + start - self.origin, pes] = names
        return plan

    def _flags(self, sweeps: Flags, offset: int) -> Flags:
        """`cycles x PEs`: local step `offset` of each PE in the marked sweeps."""
        plan = np.zeros((self.cycles, self.schedule.shape.pes), dtype=bool)
        local = local_start(self.schedule, self.sizes) + offset - self.origin
        for sweep in np.flatnonzero(sweeps):
            plan[local + self.starts[sweep], np.arange(len(local))] = True
        return plan

    def _load_chain(self, tensor: str) -> LoadChain:
        chain, loads = self.schedule.chains[tensor], self._transfers(tensor)
        order, local = (chain.order(self.schedule.shape), local_start(self.schedule, self.sizes))
        feed = np.full((self.cycles, len(order)), NOTHING)
        for sweep in np.flatnonzero(loads).tolist():
            for position in range(chain.length):
                pes = order[:, position]
                row = self.starts[sweep] + local[order[:, 0]] - LOAD_LEAD - position - self.origin
                if (feed[row, np.arange(len(order))] != NOTHING).any():
                    raise SimulationError(f"two loads of {tensor} meet at a chain port")
                feed[row, np.arange(len(order))] = self._addresses(
                    tensor, sweep, pes, np.zeros_like(pes)
                )
        return LoadChain(order, chain.hop, feed, self._flags(loads, 0))

    def _output(self) -> SumLinks | DrainChain:
        tensor = self.op.output
        if tensor in self.schedule.links:
            return SumLinks(self.schedule.links[tensor])
        chain, change = self.schedule.chains[tensor], self.changes[tensor]
        clear = self._flags(change[:-1], 0)
        capture = self._flags(change[1:], local_steps(self.analysis, self.sizes))
        return DrainChain(chain.order(self.schedule.shape), chain.hop, clear, capture)

    def run(self, data: Mapping[str, Ints]) -> Result:
        """Clock the array through all sweeps and check what comes out."""
        streamed = {t: self._port_plan(t) for t in self.schedule.links}
        inputs = {
            t: OperandLinks(self.schedule.links[t], streamed[t])
            if t in streamed
            else self._load_chain(t)
            for t in self.op.inputs
        }
        machine, output = self._output(), self.op.output
        total = np.zeros(tensor_shape(self.op, self.total, output), dtype=np.int64)
        arrived, last_exit = np.zeros_like(total), 0
        for cycle in range(self.cycles):
            busy = np.flatnonzero(self.work[cycle] != NOTHING)
            points = self.points[self.work[cycle, busy]]
            product = np.ones(len(busy), dtype=np.int64)
            for tensor, source in inputs.items():
                if (source.clock(cycle)[busy] != self._names(tensor, points)).any():
                    raise SimulationError(f"cycle {cycle}: a PE misses its element of {tensor}")
                product *= data[tensor][_index(self.op, tensor, points)]
            named = Sums(self._names(output, points), product, np.ones_like(product))
            ports, sums = machine.clock(cycle, busy, named)
            if output in streamed and (sums.names != streamed[output][cycle, ports]).any():
                raise SimulationError(f"cycle {cycle}: an exit port expects another output")
            place = self._coordinates(output, sums.names)
            np.add.at(total, place, sums.values)
            np.add.at(arrived, place, sums.counts)
            last_exit = cycle if len(ports) else last_exit
        self._check_complete(total, arrived, data)
        return Result(total, tuple(self.starts), last_exit + self.origin)

    def _check_complete(self, total: Ints, arrived: Ints, data: Mapping[str, Ints]) -> None:
        expected = np.zeros_like(arrived)
        np.add.at(expected, _index(self.op, self.op.output, self.points), 1)
        if (arrived != expected).any():
            raise SimulationError("an output lacks contributions")
        if (total != loop_nest(self.op, self.total, data)).any():
            raise SimulationError("outputs differ from the loop nest")


def _box(sizes: Sequence[int]) -> Ints:
    """All index vectors of a box in lexicographic order, `points x len(sizes)`."""
    grid: NDArray[np.int64] = np.indices(tuple(sizes)).reshape(len(sizes), -1).T
    return np.ascontiguousarray(grid)


def _index(op: Operator, tensor: str, points: Ints) -> tuple[Ints, ...]:
    """Coordinates of the tensor element of every loop point, as a NumPy index."""
    return tuple((points @ np.array(op.tensors[tensor]).T).T)
