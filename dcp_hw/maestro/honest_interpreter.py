"""The honest model, defined: walk every step, hold real sets of elements, carry real values.

Slow and plain on purpose; `honest_fast` must equal it in every number. The rules are those of
docs/honest-model.md, in its order and words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from dcp_hw.maestro.honest_types import (
    INPUT,
    OUTPUT,
    TENSORS,
    WEIGHT,
    C,
    HonestCounts,
    HonestLayer,
    HonestLevel,
    HonestMachine,
    K,
    R,
    S,
    X,
    Y,
)
from dcp_hw.metrics import Infeasible

Box = tuple[tuple[int, int], ...]  # dimension: first, end
Element = tuple[int, ...]  # input c, row, column with padding; weight k, c, r, s; output k, y, x

DRAM, L2 = -2, -1


@dataclass(slots=True, eq=False)
class Store:
    """DRAM, the L2 or the buffer of one unit, and what it holds."""

    level: int
    children: list[Store] = field(default_factory=list)
    tiles: list[set[Element]] = field(default_factory=lambda: [set() for _ in TENSORS])
    values: dict[tuple[int, Element], int] = field(default_factory=dict)  # of input and weight
    sums: dict[Element, int] = field(default_factory=dict)  # partial sums, where there are any
    pending: int = 0  # sums drained into this store, their time not yet charged
    port: list[int] = field(default_factory=lambda: [0, 0])  # elements to and from the children


class Interpreter:
    """One run of a layer; `run` gives its counts, `output` afterwards the convolution."""

    def __init__(
        self,
        layer: HonestLayer,
        levels: tuple[HonestLevel, ...],
        machine: HonestMachine,
        inputs: NDArray[np.int64],
        weights: NDArray[np.int64],
    ) -> None:
        """Values: `inputs` C x rows x columns, `weights` K x C x R x S (K = 1 if depthwise)."""
        self.layer, self.machine, self.depth = layer, machine, len(levels)
        self.order = [level.order for level in levels]
        self.parallel = [C if layer.depthwise and x.parallel == K else x.parallel for x in levels]
        self.coupled = [layer.coupled(t) for t in range(3)]
        self.units = [levels[0].clusters or machine.pes] + [x.clusters or 1 for x in levels[1:]]
        limit = machine.pes // prod(self.units[1:])
        self.fits, self.units[0] = limit > 0, min(self.units[0], max(limit, 1))
        self.tile = [tuple(map(min, levels[0].tile, layer.sizes))]
        for level in levels[1:]:
            self.tile.append(tuple(map(min, level.tile, self.tile[-1])))
        self.outer = [layer.sizes, *self.tile]  # what each level tiles
        count = range(self.depth)
        self.rounds = [[self._rounds(i, d, self.outer[i][d]) for d in range(6)] for i in count]
        self.constant = [
            [all(self.rounds[i][d] == 1 for d in dims) for dims in self.coupled] for i in count
        ]
        self.holding = [
            min(self.units[i], _ceil(self.outer[i][p], self.tile[i][p]))
            for i, p in enumerate(self.parallel)
        ]
        self.supplied = [[0, 0, 0] for _ in range(self.depth + 1)]
        self.taken = [[0, 0, 0] for _ in range(self.depth + 1)]
        self.drained = [0] * (self.depth + 1)
        self.collected = [0] * (self.depth + 1)
        self.macs = self.sums_read = 0
        self.fill = [0] * self.depth
        self.dram = Store(DRAM)
        self.dram.values = {(INPUT, e): int(v) for e, v in _elements(inputs, layer.padding)}
        self.dram.values |= {(WEIGHT, e): int(v) for e, v in _elements(weights, 0)}

    def _rounds(self, level: int, dim: int, size: int) -> int:
        """Tiles of a loop over `size`, or folds of the parallel one."""
        together = self.units[level] if dim == self.parallel[level] else 1
        return _ceil(size, min(self.tile[level][dim], size) * together)

    # ------------------------------------------------------------------ sets of elements

    def _tile(self, tensor: int, box: Box | None) -> set[Element]:
        """Elements that the MACs of a box touch; input positions include padding."""
        if box is None:
            return set()
        if tensor == INPUT:
            stride = self.layer.stride
            rows = {y * stride + r for y in range(*box[Y]) for r in range(*box[R])}
            columns = {x * stride + s for x in range(*box[X]) for s in range(*box[S])}
            return set(product(range(*box[C]), rows, columns))
        if tensor == WEIGHT:
            return set(product(*(range(*box[d]) for d in (K, C, R, S))))
        return set(product(*(range(*box[d]) for d in self.coupled[OUTPUT])))

    def _steps(self, level: int, box: Box) -> Iterator[list[Box | None]]:
        """For each step the box of each unit that ever holds anything; None if it idles."""
        parallel, order = self.parallel[level], self.order[level]
        tile = [min(self.tile[level][d], end - start) for d, (start, end) in enumerate(box)]
        rounds = [self._rounds(level, d, end - start) for d, (start, end) in enumerate(box)]
        for index in product(*(range(rounds[d]) for d in order)):
            at = dict(zip(order, index, strict=True))
            boxes: list[Box | None] = []
            for unit in range(self.holding[level]):
                spans = []
                for d, (start, end) in enumerate(box):
                    k = at[d] * self.units[level] + unit if d == parallel else at[d]
                    spans.append((start + k * tile[d], min(start + (k + 1) * tile[d], end)))
                works = spans[parallel][0] < spans[parallel][1]
                boxes.append(tuple(spans) if works else None)
            yield boxes

    def _unit_tiles(self, level: int, boxes: list[Box | None]) -> list[list[set[Element]]]:
        """New tiles: unit x tensor. An idle unit shares what the parallel loop does not split."""
        split = [self.parallel[level] in dims for dims in self.coupled]
        return [
            [self._tile(t, boxes[0] if box is None and not split[t] else box) for t in range(3)]
            for box in boxes
        ]

    # ------------------------------------------------------------------ traffic

    def _drain(self, parent: Store, leaving: list[set[Element]]) -> int:
        """Sums that leave each child go up, those below it first; the number of distinct ones."""
        if not parent.children:
            return 0
        arrived: dict[Element, int] = {}
        for child, elements in zip(parent.children, leaving, strict=True):
            below = [unit.tiles[OUTPUT] & elements for unit in child.children]
            child.pending += self._drain(child, below)
            for element in elements & child.sums.keys():
                arrived[element] = arrived.get(element, 0) + child.sums.pop(element)
                self.drained[parent.level + 2] += 1
            child.tiles[OUTPUT] -= elements
        assert not arrived.keys() & parent.sums.keys(), "a sum is in the store and below it"
        parent.sums.update(arrived)
        self.collected[parent.level + 2] += len(arrived)
        parent.port[1] += len(arrived)
        return len(arrived)

    def _load(self, parent: Store, tiles: list[list[set[Element]]], works: list[bool]) -> int:
        """Children take their new tiles; the number of elements read, padding included."""
        moved = 0
        for tensor in (INPUT, WEIGHT):
            needs = [
                new[tensor] - child.tiles[tensor]
                for child, new in zip(parent.children, tiles, strict=True)
            ]
            read = set().union(*needs)
            moved += len(read)
            self.supplied[parent.level + 2][tensor] += sum(map(self._is_stored(tensor), read))
            for child, new, need in zip(parent.children, tiles, needs, strict=True):
                for element in filter(self._is_stored(tensor), need):
                    child.values[tensor, element] = parent.values[tensor, element]
                    self.taken[parent.level + 2][tensor] += 1
                for element in child.tiles[tensor] - new[tensor]:
                    child.values.pop((tensor, element), None)
                child.tiles[tensor] = new[tensor]
                if not new[tensor]:
                    self._forget(child, tensor)
        for child, new, working in zip(parent.children, tiles, works, strict=True):
            entering = new[OUTPUT] - child.tiles[OUTPUT]
            child.tiles[OUTPUT] = new[OUTPUT]
            for element in entering & parent.sums.keys() if working else ():
                child.sums[element] = parent.sums.pop(element)
                self.supplied[parent.level + 2][OUTPUT] += 1
                self.taken[parent.level + 2][OUTPUT] += 1
                moved += 1
        parent.port[0] += moved
        return moved

    def _is_stored(self, tensor: int) -> Callable[[Element], bool]:
        """Whether an element is more than padding."""
        return lambda element: (tensor, element) in self.dram.values

    def _forget(self, store: Store, tensor: int) -> None:
        """Empty everything below a store of an input or weight tensor."""
        for child in store.children:
            for element in child.tiles[tensor]:
                child.values.pop((tensor, element), None)
            child.tiles[tensor] = set()
            self._forget(child, tensor)

    def _change(
        self, parent: Store, tiles: list[list[set[Element]]], works: list[bool]
    ) -> tuple[int, int]:
        """Elements in and out of one step change, in that order."""
        leaving = [
            unit.tiles[OUTPUT] - new[OUTPUT]
            for unit, new in zip(parent.children, tiles, strict=True)
        ]
        out = self._drain(parent, leaving)
        return self._load(parent, tiles, works), out

    # ------------------------------------------------------------------ time

    def _cycles(self, elements: int, bandwidth: int | None) -> int:
        return 0 if bandwidth is None else _ceil(elements, bandwidth)

    def _multiply(self, pe: Store, box: Box) -> int:
        """All MACs of one PE in one step; one per cycle."""
        stride = self.layer.stride
        for k, c, y, x, r, s in product(*(range(*span) for span in box)):
            element = (c, y * stride + r, x * stride + s)
            out = (c, y, x) if self.layer.depthwise else (k, y, x)
            assert element in pe.tiles[INPUT], "an input is not in the buffer"
            assert out in pe.tiles[OUTPUT], "an output is not in the buffer"
            value = pe.values.get((INPUT, element), 0) * pe.values[WEIGHT, (k, c, r, s)]
            self.sums_read += out in pe.sums
            pe.sums[out] = pe.sums.get(out, 0) + value
            self.macs += 1
        return prod(end - start for start, end in box)

    def _idle(self, store: Store) -> int:
        """Cycles of a unit that does nothing in a step but finish draining."""
        cycles = max((self._idle(child) for child in store.children), default=0)
        cycles = max(cycles, self._cycles(store.pending, self.machine.noc_bw))
        store.pending = 0
        return cycles

    def _walk(self, level: int, parent: Store, box: Box, first: bool) -> int:
        """Cycles of all steps of a level in one range of its parent."""
        total = 0
        for boxes in self._steps(level, box):
            tiles, works = self._unit_tiles(level, boxes), [b is not None for b in boxes]
            cycles = 0
            if level == 0:  # the L2 follows: what leaves it must have left its units first
                union = [set().union(*(unit[t] for unit in tiles)) for t in range(3)]
                leaving = [
                    unit.tiles[OUTPUT] - new[OUTPUT]
                    for unit, new in zip(parent.children, tiles, strict=True)
                ]
                parent.pending += self._drain(parent, leaving)
                cycles = self._cycles(
                    sum(self._change(self.dram, [union], [True])), self.machine.dram_bw
                )
            elements, out = self._change(parent, tiles, works)
            into = self._cycles(elements, self.machine.noc_bw)
            out, parent.pending = self._cycles(out + parent.pending, self.machine.noc_bw), 0
            if first:
                self.fill[level] = max(self.fill[level], into, cycles)
                into = cycles = 0
            for unit, span in zip(parent.children, boxes, strict=True):
                if span is None:
                    cycles = max(cycles, self._idle(unit))
                elif level == self.depth - 1:
                    cycles = max(cycles, self._multiply(unit, span))
                else:
                    cycles = max(cycles, self._walk(level + 1, unit, span, first))
            total += max(cycles, into, out)
            first = False
        for tensor in range(3):
            if not self.constant[level][tensor]:
                self._empty(parent, tensor)
        return total

    def _empty(self, parent: Store, tensor: int) -> None:
        """At the end of a range: units give up a tensor that the next range replaces."""
        if tensor == OUTPUT:
            leaving = [set(unit.tiles[OUTPUT]) for unit in parent.children]
            parent.pending += self._drain(parent, leaving)
        else:
            self._forget(parent, tensor)

    # ------------------------------------------------------------------ the whole layer

    def _stores(self, level: int) -> Store:
        """A store of this level with everything below it."""
        below = range(self.holding[level + 1]) if level + 1 < self.depth else ()
        return Store(level, [self._stores(level + 1) for _ in below])

    def run(self) -> HonestCounts | Infeasible:
        """Counts of the whole layer, or why it cannot run."""
        if not self.fits:
            return Infeasible(f"{prod(self.units[1:])} PEs needed, have {self.machine.pes}")
        l2 = self._stores(L2)
        self.dram.children = [l2]
        l2_required, required = self._requirements()
        cycles = self._walk(0, l2, tuple((0, size) for size in self.layer.sizes), True)
        cycles += sum(self.fill) + 2 * self.depth * self.machine.noc_latency
        dram_out = self._drain(self.dram, [l2.tiles[OUTPUT]])
        parents = [l2]
        for level in range(self.depth):
            last = self._cycles(max(store.pending for store in parents), self.machine.noc_bw)
            if level == 0:
                last = max(last, self._cycles(dram_out, self.machine.dram_bw))
            cycles += last
            parents = [child for store in parents for child in store.children]
        counts = HonestCounts(
            cycles=cycles,
            macs=self.macs,
            supplied=tuple(map(tuple, self.supplied)),
            taken=tuple(map(tuple, self.taken)),
            drained=tuple(self.drained),
            collected=tuple(self.collected),
            sums_read=self.sums_read,
            l2_required=l2_required,
            required=required,
            buffers=tuple(prod(self.holding[: i + 1]) for i in range(self.depth)),
        )
        l1, l2_limit = self.machine.l1_size, self.machine.l2_size
        if l1 is not None and required[-1] > l1:
            return Infeasible(f"a PE buffer needs {required[-1]} elements, limit {l1}")
        if l2_limit is not None and counts.shared_required > l2_limit:
            return Infeasible(f"L2 and buffers need {counts.shared_required}, limit {l2_limit}")
        return counts

    def _requirements(self) -> tuple[int, tuple[int, ...]]:
        """Elements of the L2 and of one buffer of each level; full tiles, padding included."""
        first = next(self._steps(0, tuple((0, size) for size in self.layer.sizes)))
        l2, sizes = 0, []
        for t in range(3):
            union = set().union(*(self._tile(t, box) for box in first))
            l2 += len(union) * (1 if self.constant[0][t] else 2)
        for i in range(self.depth):
            required = 0
            for t in range(3):
                size = len(self._tile(t, tuple((0, size) for size in self.tile[i])))
                required += size * (1 if all(c[t] for c in self.constant[: i + 1]) else 2)
            sizes.append(required)
        return l2, tuple(sizes)

    def output(self) -> NDArray[np.int64]:
        """What has arrived in DRAM: K x Y x X (depthwise: C x Y x X)."""
        shape = tuple(self.layer.sizes[d] for d in self.coupled[OUTPUT])
        result = np.zeros(shape, dtype=np.int64)
        for element, value in self.dram.sums.items():
            result[element] = value
        return result


def interpret(
    layer: HonestLayer,
    levels: tuple[HonestLevel, ...],
    machine: HonestMachine,
) -> HonestCounts | Infeasible:
    """Counts of one layer under one mapping, every step walked; tiny layers only."""
    inputs = np.zeros((layer.C, layer.rows, layer.columns), dtype=np.int64)
    weights = np.zeros((layer.K, layer.C, layer.R, layer.S), dtype=np.int64)
    return Interpreter(layer, levels, machine, inputs, weights).run()


def _elements(values: NDArray[np.int64], padding: int) -> Iterator[tuple[Element, int]]:
    """Elements and values of a tensor; its last two axes start behind the padding."""
    shift = (0,) * (values.ndim - 2) + (padding, padding)
    for index in np.ndindex(*values.shape):
        yield tuple(map(sum, zip(index, shift, strict=True))), values[index]


def _ceil(a: int, b: int) -> int:
    return -(-a // b)
