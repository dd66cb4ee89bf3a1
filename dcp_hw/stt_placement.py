"""Where an array computes each point of a tile, found by enumeration: no reuse analysis.

The matrix says which PE computes a loop point, and when; the design's wires say which port a PE
gets its operand from and which exit takes its product, and how much earlier or later. From that
follows what every port must inject at every step, and which output leaves an exit at which. A
port that would have to inject two elements at once refutes the array for this operator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tensorlib.design import Design, Operand, Pe
from tensorlib.op import Operator
from tensorlib.stt import Stt, Triple

Ints = NDArray[np.int64]


class Unplaceable(Exception):
    """A tile that this array does not compute; the message says why."""


@dataclass(frozen=True, slots=True)
class Wires:
    """Per PE (row by row) where an operand comes from, or where a product goes.

    Attributes:
        end: number of the port or exit.
        late: steps between a PE's local step and that of its port (exit): a PE uses at step s
            what its port reads at s - late, and its product leaves its exit at s + late.
    """

    end: Ints
    late: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """What the banks of an operand hold for a tile.

    Attributes:
        slots: bytes that one step reads of a bank.
        steps: reads per sweep: steps of the window, or places of a chain.
        used: bool `banks x steps x slots`, bytes that some PE uses.
        element: int64 `banks x steps x slots x dimensions`, subscripts relative to the tile.
    """

    slots: int
    steps: int
    used: NDArray[np.bool_]
    element: Ints

    @property
    def bytes(self) -> int:
        """Of one sweep, in each bank."""
        return self.steps * self.slots


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """One tile of the selected loops on an array.

    Attributes:
        tile: sizes of the selected loops.
        steps: of a sweep: W.
        digits: int64 `(rows + cols) x 3`, what an axis position adds to the loop indices at step 0.
        streams: of input and weight.
        held: all sums of a sweep that leave by one exit belong to one output.
        words: of an output bank that one sweep writes.
        bank, word: int64 per point of the tile, where its output goes.
        points: int64 `n x 3`, the points of the tile.
    """

    tile: Triple
    steps: int
    digits: Ints
    streams: tuple[Stream, Stream]
    held: bool
    words: int
    bank: Ints
    word: Ints
    points: Ints


def matrix_of(design: Design) -> tuple[Stt, tuple[str, ...]]:
    """The transformation that a design is made from, and the selected loops.

    Raises: `Unplaceable` for a design without.
    """
    if "T" not in design.stt or "loops" not in design.stt:
        raise Unplaceable("the design does not say which transformation it is made from")
    return Stt.of(design.stt["T"]), tuple(design.stt["loops"])


def fits(design: Design, stt: Stt, tile: Sequence[int]) -> bool:
    """Whether the PEs of a tile lie on the array."""
    spans = (
        1 + sum(abs(a) * (n - 1) for a, n in zip(row, tile, strict=True)) for row in stt.rows[:2]
    )
    return all(span <= size for span, size in zip(spans, (design.rows, design.cols), strict=True))


def place(design: Design, op: Operator, tile: Triple) -> Placement:
    """A tile on the array.

    Raises: `Unplaceable` if the tile does not fit or the array does not share what it shares.
    """
    stt, loops = matrix_of(design)
    if not fits(design, stt, tile):
        raise Unplaceable(f"tile {tile} needs more than {design.rows} x {design.cols} PEs")
    points: Ints = np.indices(tile).reshape(3, -1).T
    where = points @ np.array(stt.rows).T
    origin = where[:, :2].min(axis=0)
    row, col = (where[:, :2] - origin).T
    pe = row * design.cols + col
    local = where[:, 2] - np.array(design.skew)[row, col]
    feeds = [_feeds(design, operand) for _, operand in design.operands]
    leaves = _leaves(design)
    reads = [local - wires.late[pe] for wires in feeds]
    exits = local + leaves.late[pe]
    held = not any(_moves(op, op.output, loops, stt.u))
    times = np.stack([local, *reads, exits])
    first, last = int(times.min()), int(times.max())
    if design.window is None and (first, last) != (int(local.min()), int(local.max())):
        raise Unplaceable("links lead to another step, and the PEs have no windows")
    steps = last - first + 1
    streams = [
        _stream(design, n, wires.end[pe], read - first, steps, op, points, pe)
        for n, (wires, read) in enumerate(zip(feeds, reads, strict=True))
    ]
    word, words = exits - first, steps
    if design.output.chains and not held:
        raise Unplaceable("sums stay in the PEs, but the output moves on")
    if held:
        word, words = word * 0, 1
    if design.output.chains:
        pes = [chain.pes for chain in design.output.chains]
        word, words = _place_in_chain(design, pes)[pe], design.output.chain_length
    return Placement(
        tile=tile,
        steps=steps,
        digits=_digits(design, stt, origin, first),
        streams=(streams[0], streams[1]),
        held=held,
        words=words,
        bank=leaves.end[pe],
        word=word,
        points=points,
    )


def _moves(op: Operator, tensor: str, loops: Sequence[str], u: Triple) -> list[int]:
    """Change of a tensor's subscripts from step to step."""
    moved = np.array(op.access(tensor, loops)) @ np.array(u)
    return [int(m) for m in moved]


def _feeds(design: Design, operand: Operand) -> Wires:
    """Ports by number, with PEs of a chain at the port of the chain."""
    port = {p.pe: n for n, p in enumerate(operand.ports)}
    sources = {link.target: link for link in operand.links}
    end: dict[Pe, int] = {pe: port[chain[0]] for chain in operand.chains for pe in chain}
    late = dict.fromkeys(end, 0)

    def follow(pe: Pe) -> None:
        path = []
        while pe not in end and pe not in port:
            path.append(pe)
            pe = sources[pe].source
        if pe in port and pe not in end:
            end[pe], late[pe] = port[pe], 0
        for target in reversed(path):
            link = sources[target]
            end[target] = end[link.source]
            apart = _skew(design, target) - _skew(design, link.source)
            late[target] = late[link.source] + link.delay - apart

    for pe in _pes(design):
        follow(pe)
    return _wires(design, end, late)


def _leaves(design: Design) -> Wires:
    """Exits (or drain chains) by bank."""
    end: dict[Pe, int] = {pe: c.bank for c in design.output.chains for pe in c.pes}
    late = dict.fromkeys(end, 0)
    for exit_ in design.output.exits:
        registers = 0
        for stage in reversed(exit_.stages):
            for pe in stage.pes:
                end[pe] = exit_.bank
                late[pe] = registers + _skew(design, pe) - _skew(design, exit_.head)
            registers += stage.delay
    return _wires(design, end, late)


def _wires(design: Design, end: Mapping[Pe, int], late: Mapping[Pe, int]) -> Wires:
    pes = _pes(design)
    return Wires(np.array([end[pe] for pe in pes]), np.array([late[pe] for pe in pes]))


def _place_in_chain(design: Design, chains: Sequence[Sequence[Pe]]) -> Ints:
    """Per PE its place in its chain: port or exit PE 0."""
    place = {pe: k for chain in chains for k, pe in enumerate(chain)}
    return np.array([place[pe] for pe in _pes(design)])


def _stream(
    design: Design, tensor: int, port: Ints, step: Ints, steps: int, op: Operator, points: Ints,
    pe: Ints,
) -> Stream:  # fmt: skip
    """What input (0) or weight (1) must hold, from port, step and PE of all points."""
    operand, name = design.operands[tensor][1], op.inputs[tensor]
    element = points @ np.array(op.access(name, matrix_of(design)[1])).T
    if operand.chains:  # read from the far end
        steps = operand.chain_length
        step = steps - 1 - _place_in_chain(design, operand.chains)[pe]
    if 16 % operand.slots:
        raise Unplaceable(f"{operand.slots} ports of a bank do not divide a row of 16 bytes")
    bank = np.array([p.bank for p in operand.ports])[port]
    slot = np.array([p.slot for p in operand.ports])[port]
    shape = (operand.banks, steps, operand.slots)
    found = np.zeros((*shape, element.shape[1]), dtype=np.int64)
    used = np.zeros(shape, dtype=np.bool_)
    found[bank, step, slot], used[bank, step, slot] = element, True
    if not np.array_equal(found[bank, step, slot], element):
        raise Unplaceable(f"PEs that share a port need different elements of {name}")
    return Stream(slots=operand.slots, steps=steps, used=used, element=found)


def _digits(design: Design, stt: Stt, origin: Ints, first: int) -> Ints:
    """Loop indices at step 0: linear in the PE's position, one term per axis.

    Without windows the loop that runs in time has no digit: its steps are those of the EXEC.
    """
    inverse = np.array(stt.inverse)
    per_axis = [_gradient(design, 0), _gradient(design, 1)]
    one = np.arange(design.rows)[:, None] * (inverse[:, 0] + per_axis[0] * inverse[:, 2])
    two = np.arange(design.cols)[:, None] * (inverse[:, 1] + per_axis[1] * inverse[:, 2])
    two = two + inverse @ np.array([*origin, first])
    digits = np.concatenate([one, two])
    if design.window is None:
        digits[:, [n for n in range(3) if stt.u[n]]] = 0
    reach = one[:, None] + two[None]
    if design.window is None:
        reach = reach[..., [n for n in range(3) if not stt.u[n]]]
    if np.abs(digits).max() > 127 or np.abs(reach).max() > 127:
        raise Unplaceable("loop indices of the PEs exceed 8 bits: a smaller array is needed")
    return digits


def _gradient(design: Design, axis: int) -> int:
    """Cycles by which PEs work later per index of an axis."""
    skew = np.array(design.skew)
    if skew.shape[axis] < 2:
        return 0
    steps = np.unique(np.diff(skew, axis=axis))
    if len(steps) > 1:
        raise Unplaceable("skew that does not grow evenly along the axes")
    return int(steps[0])


def _pes(design: Design) -> list[Pe]:
    return [(i, j) for i in range(design.rows) for j in range(design.cols)]


def _skew(design: Design, pe: Pe) -> int:
    return design.skew[pe[0]][pe[1]]
