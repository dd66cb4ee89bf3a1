"""What the axes of an array can carry, read off a `Design`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

from dcp_hw.problem import REDUCTIONS, Problem
from tensorlib.design import Design, Operand, Pe

KINDS = ("own", "shared")


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """Per axis (index 0: axis 1, index 1: axis 2) how tensors lie along it.

    Attributes:
        size: PEs along each axis.
        shared: per axis the operands that all its PEs share.
        reduced: per axis whether products are summed along it.
        drained: axis of the output's drain chains, None without.
        chain_axis: axis of an operand's chains, None without.
        chain: tensor that is held in the PEs, None without.
        diagonal: the input is shared along PE (i, j), (i + 1, j - 1).
        other: what is shared or summed in a way that mappings do not know, None if nothing is;
            `window` if PEs are enabled step by step.
    """

    size: tuple[int, int]
    shared: tuple[frozenset[str], frozenset[str]]
    reduced: tuple[bool, bool]
    drained: int | None
    chain_axis: int | None
    chain: str | None
    diagonal: bool
    other: str | None = None

    def loops(self, axis: int, problem: Problem) -> str:
        """Loops that an axis may carry for a problem."""
        allowed = REDUCTIONS if self.reduced[axis] else "kyx"
        if problem.depthwise:
            allowed = allowed.replace("c", "")
        for tensor in self.shared[axis]:
            allowed = "".join(x for x in allowed if x not in problem.loops_of(tensor))
        return allowed


@lru_cache(maxsize=256)
def axes_of(design: Design) -> Axes:
    """The axes of a design."""
    size = (design.rows, design.cols)
    shared: list[frozenset[str]] = []
    roots = {name: _roots(operand) for name, operand in design.operands}
    for step in ((1, 0), (0, 1)):
        names = {
            name
            for name, root in roots.items()
            if size[step[1]] > 1
            and all(
                root[pe] == root[(pe[0] + step[0], pe[1] + step[1])]
                for pe in root
                if (pe[0] + step[0], pe[1] + step[1]) in root
            )
        }
        shared.append(frozenset(names))
    lines = [[pe for stage in e.stages for pe in stage.pes] for e in design.output.exits]
    chain_lines = [list(chain.pes) for chain in design.output.chains]
    drained = _direction(chain_lines, size)
    chain = design.chain_tensor
    operand_chains = [list(c) for name, o in design.operands for c in o.chains if name == chain]
    root = roots["input"]
    diagonal = (
        design.input.temporal == "none"
        and design.rows > 1
        and design.cols > 1
        and root[(1, 0)] == root[(0, 1)] != root[(0, 0)]
    )
    reduced = (_spans(lines, 0), _spans(lines, 1))
    apart = {
        name: [size[axis] for axis in (0, 1) if name not in shared[axis]] for name in roots
    } | {"output": [size[axis] for axis in (0, 1) if not reduced[axis]]}
    ways = {name: len(set(root.values())) for name, root in roots.items()}
    ways["output"] = len(lines) or prod(size)
    expected = {name: prod(sizes) for name, sizes in apart.items()}
    if diagonal:
        expected["input"] = sum(size) - 1
    other = [name for name in ways if ways[name] != expected[name]]
    return Axes(
        size=size,
        shared=(shared[0], shared[1]),
        reduced=reduced,
        drained=drained,
        chain_axis=_direction(operand_chains, size) if chain in ("input", "weight") else None,
        chain=chain,
        diagonal=diagonal,
        other="window" if design.window is not None else other[0] if other else None,
    )


def _roots(operand: Operand) -> dict[Pe, Pe]:
    """Per PE the PE whose port or chain place gives its operand."""
    if operand.chains:
        return {pe: pe for chain in operand.chains for pe in chain}
    source = {link.target: link.source for link in operand.links}
    root = {port.pe: port.pe for port in operand.ports}

    def find(pe: Pe) -> Pe:
        path = []
        while pe not in root:
            path.append(pe)
            pe = source[pe]
        for p in path:
            root[p] = root[pe]
        return root[pe]

    for pe in list(source):
        find(pe)
    return root


def _spans(lines: list[list[Pe]], axis: int) -> bool:
    return any(len({pe[axis] for pe in line}) > 1 for line in lines)


def _direction(lines: list[list[Pe]], size: tuple[int, int]) -> int | None:
    """Axis along which lines run, one of a single index for lines of one PE; None without lines."""
    if not lines:
        return None
    if not _spans(lines, 0) and not _spans(lines, 1):
        return 1 if size[1] == 1 < size[0] else 0
    return 1 if _spans(lines, 1) else 0
