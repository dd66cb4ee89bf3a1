"""Array families to `Design`: banks, ports, links, chains and exits listed one by one.

Per axis a tensor is `own` (varies along the axis), `multicast` (shared, all PEs in one cycle) or
`systolic` (shared, one cycle a hop); an output is `own`, `tree` (summed in one cycle) or `chain`
(summed along registers). An axis along which anything is systolic or a chain is skewed: PE index
i works i cycles later, or as many times i as `skew` says. Besides, one tensor may be held in the
PEs and shifted in or out along an axis (`chain_axis`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tensorlib.design import Design, DrainChain, Exit, Link, Operand, Output, Pe, Port, Stage
from tensorlib.errors import AnalysisError

GROUP = 16
"""Lanes that the store reads at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperandSpec:
    """How the input or the weight reaches the PEs.

    Attributes:
        axis1, axis2: `own`, `multicast` or `systolic`.
        rows: 16-byte rows per bank and buffer.
        slots: ports along axis 2 that share a bank, at neighbouring bytes of one row.
        chain_axis: held in the PEs, filled by chains along this axis (1 or 2); both axes `own`.
        diagonal: shared by PE (i, j) and (i, j) + diagonal, both axes `own`; (1, -1) or (1, 1).
    """

    axis1: str
    axis2: str
    rows: int
    slots: int = 1
    chain_axis: int | None = None
    diagonal: Pe | None = None

    def __post_init__(self) -> None:
        _kinds("operand", (self.axis1, self.axis2), ("own", "multicast", "systolic"))
        own = self.axis1 == self.axis2 == "own"
        if self.chain_axis not in (None, 1, 2):
            raise AnalysisError(f"chain_axis must be 1, 2 or None, got {self.chain_axis}")
        if (self.chain_axis or self.diagonal) and not own:
            raise AnalysisError("a chained or diagonal operand needs own along both axes")
        if self.chain_axis and self.diagonal:
            raise AnalysisError("an operand is either chained or diagonal")
        _diagonal(self.diagonal)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """How products become outputs.

    Attributes:
        axis1, axis2: `own`, `tree` or `chain`.
        words: 32-bit words per bank and buffer.
        chain_axis: accumulated in the PEs, drained by shift chains along this axis (1 or 2).
        diagonal: summed along PE (i, j) and (i, j) + diagonal, both axes `own`; (1, -1) or (1, 1).
    """

    axis1: str
    axis2: str
    words: int
    chain_axis: int | None = None
    diagonal: Pe | None = None

    def __post_init__(self) -> None:
        _kinds("output", (self.axis1, self.axis2), ("own", "tree", "chain"))
        if self.chain_axis not in (None, 1, 2):
            raise AnalysisError(f"chain_axis must be 1, 2 or None, got {self.chain_axis}")
        if self.chain_axis and (self.axis1, self.axis2) != ("own", "own"):
            raise AnalysisError("an output held in the PEs needs own along both axes")
        if self.diagonal and (self.chain_axis or (self.axis1, self.axis2) != ("own", "own")):
            raise AnalysisError("a diagonal output needs own along both axes and no chain")
        _diagonal(self.diagonal)


def elaborate(
    name: str,
    rows: int,
    cols: int,
    *,
    input: OperandSpec,
    weight: OperandSpec,
    output: OutputSpec,
    skew: Pe | None = None,
    param_rows: int = 8,
    data_bits: int = 8,
    acc_bits: int = 32,
    in_bits: int = 128,
    out_bits: int = 128,
    stt: Mapping[str, Any] | None = None,
) -> Design:
    """The design of a family member with `rows` x `cols` PEs.

    Banks are numbered along axis 1 first, like store lanes.

    Args:
        skew: cycles per index of axis 1 and of axis 2; by default 1 along an axis with anything
            systolic or a chain, otherwise 0.
    Raises: `AnalysisError` for kinds that do not fit together, or slots that do not divide the
        ports along axis 2.
    """
    specs = {"input": input, "weight": weight, "output": output}
    per_index = _skews(specs) if skew is None else skew
    if min(per_index) < 0:
        raise AnalysisError(f"skew must be >= 0 along both axes, got {skew}")
    for axis in (1, 2):
        for tensor, spec in specs.items():
            kind, late = getattr(spec, f"axis{axis}"), per_index[axis - 1]
            if late and kind in ("multicast", "tree"):
                raise AnalysisError(
                    f"{tensor} is {kind} along axis {axis}, which another tensor skews; use "
                    + ("systolic" if kind == "multicast" else "chain")
                )
            if not late and kind in ("systolic", "chain"):
                raise AnalysisError(f"{tensor} is {kind} along axis {axis}, whose skew is 0")

    def cycles(pe: Pe) -> int:
        return pe[0] * per_index[0] + pe[1] * per_index[1]

    return Design(
        name=name,
        rows=rows,
        cols=cols,
        skew=tuple(tuple(cycles((i, j)) for j in range(cols)) for i in range(rows)),
        input=_operand(input, rows, cols, cycles),
        weight=_operand(weight, rows, cols, cycles),
        output=_output(output, rows, cols, cycles),
        param_rows=param_rows,
        data_bits=data_bits,
        acc_bits=acc_bits,
        in_bits=in_bits,
        out_bits=out_bits,
        stt=dict(stt or {}),
    )


Skew = Callable[[Pe], int]


def _skews(specs: Mapping[str, OperandSpec | OutputSpec]) -> Pe:
    one, two = (
        int(any(getattr(spec, f"axis{axis}") in ("systolic", "chain") for spec in specs.values()))
        for axis in (1, 2)
    )
    return one, two


def lane_stride(rows: int) -> int:
    """Store lanes from one axis-2 index to the next: groups of 16 begin at a whole column."""
    if GROUP % rows == 0 or rows % GROUP == 0:
        return rows
    return 1 << (rows - 1).bit_length() if rows <= GROUP else -(-rows // GROUP) * GROUP


def _operand(spec: OperandSpec, rows: int, cols: int, skew: Skew) -> Operand:
    links: list[Link] = []
    chains: list[tuple[Pe, ...]] = []
    if spec.chain_axis:
        chains = _lines(rows, cols, spec.chain_axis)
        heads = [chain[0] for chain in chains]
    else:
        sources = {pe: _source(spec, pe, rows, cols, skew) for pe in _all(rows, cols)}
        heads = [pe for pe, source in sources.items() if source is None]
        links = [
            Link(source, pe, skew(pe) - skew(source))
            for pe, source in sources.items()
            if source is not None
        ]
    ports, lanes = _banks(spec.slots, heads)
    return Operand(
        temporal="chain" if chains else "none",
        banks=len(lanes),
        rows=spec.rows,
        lanes=lanes,
        slots=spec.slots,
        ports=ports,
        links=tuple(links),
        chains=tuple(chains),
    )


def _source(spec: OperandSpec, pe: Pe, rows: int, cols: int, skew: Skew) -> Pe | None:
    """The neighbour that hands its operand to `pe`; None for a port."""
    i, j = pe
    if spec.diagonal:
        di, dj = spec.diagonal
        # against the diagonal (from larger i) unless that would go back in time
        from_larger = skew(pe) >= skew((i + di, j + dj))
        source = (i + di, j + dj) if from_larger else (i - di, j - dj)
        return source if 0 <= source[0] < rows and 0 <= source[1] < cols else None
    if spec.axis2 != "own" and j > 0:
        return (i, j - 1)
    if spec.axis1 != "own" and i > 0:
        return (i - 1, j)
    return None


def _banks(slots: int, heads: list[Pe]) -> tuple[tuple[Port, ...], tuple[Pe, ...]]:
    """Ports and the PE of slot 0 per bank; `slots` neighbours along axis 2 share a bank."""
    by_row: dict[int, list[int]] = {}
    for i, j in heads:
        by_row.setdefault(i, []).append(j)
    groups = []
    for i, columns in by_row.items():
        if len(columns) % slots:
            raise AnalysisError(
                f"slots {slots} do not divide the {len(columns)} ports of axis-1 index {i}"
            )
        columns.sort()
        groups += [(i, columns[n : n + slots]) for n in range(0, len(columns), slots)]
    groups.sort(key=lambda group: (group[1][0], group[0]))  # axis 1 fastest
    ports = [
        Port(bank, slot, (i, j))
        for bank, (i, columns) in enumerate(groups)
        for slot, j in enumerate(columns)
    ]
    return tuple(ports), tuple((i, columns[0]) for i, columns in groups)


def _output(spec: OutputSpec, rows: int, cols: int, skew: Skew) -> Output:
    """Exits or drain chains, their banks and store lanes.

    An axis that is summed or drained along has lane index 0; diagonals are counted from PE (0, 0)
    or, along (1, 1), from PE (0, cols - 1).
    """
    apart1 = spec.axis1 == "own" and spec.chain_axis != 1
    apart2 = spec.axis2 == "own" and spec.chain_axis != 2
    stride = lane_stride(rows if apart1 and not spec.diagonal else 1)
    groups: dict[int, list[Pe]] = {}
    for i, j in _all(rows, cols):
        lane = (j if apart2 else 0) * stride + (i if apart1 else 0)
        if spec.diagonal:
            lane = i + j if spec.diagonal == (1, -1) else i + cols - 1 - j
        groups.setdefault(lane, []).append((i, j))
    lanes = sorted(groups)
    exits, chains = [], []
    for bank, lane in enumerate(lanes):
        pes = groups[lane]
        if spec.chain_axis:
            chains.append(DrainChain(bank, tuple(sorted(pes, reverse=True))))
            continue
        by_skew: dict[int, list[Pe]] = {}
        for pe in sorted(pes):
            by_skew.setdefault(skew(pe), []).append(pe)
        skews = sorted(by_skew)
        delays = [0, *(b - a for a, b in itertools.pairwise(skews))]
        stages = [Stage(tuple(by_skew[s]), d) for s, d in zip(skews, delays, strict=True)]
        exits.append(Exit(bank, tuple(stages)))
    return Output(
        temporal="chain" if chains else "none",
        banks=len(lanes),
        words=spec.words,
        lane_stride=stride,
        store_lanes=tuple(lanes),
        exits=tuple(exits),
        chains=tuple(chains),
    )


def _all(rows: int, cols: int) -> list[Pe]:
    """All PEs, axis 1 fastest."""
    return [(i, j) for j in range(cols) for i in range(rows)]


def _lines(rows: int, cols: int, axis: int) -> list[tuple[Pe, ...]]:
    """The array cut into lines along an axis, index 0 first."""
    if axis == 1:
        return [tuple((i, j) for i in range(rows)) for j in range(cols)]
    return [tuple((i, j) for j in range(cols)) for i in range(rows)]


def _diagonal(diagonal: Pe | None) -> None:
    if diagonal not in (None, (1, -1), (1, 1)):
        raise AnalysisError(f"diagonal must be (1, -1) or (1, 1), got {diagonal}")


def _kinds(what: str, kinds: tuple[str, ...], accepted: tuple[str, ...]) -> None:
    for kind in kinds:
        if kind not in accepted:
            raise AnalysisError(f"{what} kind must be one of {', '.join(accepted)}, got {kind!r}")
