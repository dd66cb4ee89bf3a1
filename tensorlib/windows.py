"""Arrays whose PEs are enabled step by step: any unimodular transformation of two operands.

With `u = T^-1 e_t` the loop indices of PE p at its local step s are `B p + u s`. If `u` has several
non-zero entries, or an element is handed on to another local step, no single set of PEs is busy
from the first step of a sweep to its last: each PE has a window of steps (docs/design-space.md,
"Windows"). Links are those of `build_links`, as late as the reuse vectors say.
"""

from __future__ import annotations

import itertools
from typing import Any

from tensorlib.design import Design, Exit, Link, Operand, Output, Pe, Port, Stage
from tensorlib.links import ArrayShape, Links, build_links
from tensorlib.reuse import Analysis


def window_design(
    analysis: Analysis,
    skew: Pe,
    rows: int,
    cols: int,
    *,
    depth: int,
    words: int,
    name: str,
    param_rows: int = 8,
    **settings: Any,
) -> Design:
    """The array of a transformation whose PEs have windows; every port has a bank of its own.

    Digit n of a PE is the index of the n-th selected loop; loop 0 of an EXEC is the local step.

    Args:
        analysis: mirrored so that the skew leads onwards.
        skew: cycles by which a PE works later, per index of each axis; >= 0.
        depth: 16-byte rows per operand bank and buffer.
        words: 32-bit words per output bank and buffer.
        settings: widths of `Design`.
    Raises: `AnalysisError` for sizes that no design has.
    """
    shape = ArrayShape((0, 0), rows, cols)
    first, second, output = (build_links(reuse, shape) for reuse in analysis.tensors.values())
    return Design(
        name=name,
        rows=rows,
        cols=cols,
        skew=tuple(tuple(i * skew[0] + j * skew[1] for j in range(cols)) for i in range(rows)),
        input=_operand(first, shape, depth),
        weight=_operand(second, shape, depth),
        output=_output(output, shape, words),
        param_rows=param_rows,
        window=(*analysis.u, 0),
        stt={
            "T": [list(row) for row in analysis.stt.rows],
            "label": analysis.label(),
            "loops": list(analysis.selected),
        },
        **settings,
    )


def _operand(links: Links, shape: ArrayShape, depth: int) -> Operand:
    ports = _axis1_first([_pe(n, shape) for n in links.ports.tolist()])
    return Operand(
        banks=len(ports),
        rows=depth,
        lanes=tuple(ports),
        ports=tuple(Port(bank, 0, pe) for bank, pe in enumerate(ports)),
        links=tuple(
            Link(_pe(int(links.neighbour[n]), shape), _pe(n, shape), int(links.delay[n]))
            for n in range(shape.pes)
            if links.neighbour[n] >= 0
        ),
    )


def _output(links: Links, shape: ArrayShape, words: int) -> Output:
    """Exits, each with the PE at the end of its links as `head`; lanes are banks."""
    exits = []
    for bank, head in enumerate(_axis1_first([_pe(n, shape) for n in links.ports.tolist()])):
        behind: dict[int, list[Pe]] = {}
        port = head[0] * shape.columns + head[1]
        for n in range(shape.pes):
            if links.port[n] == port:
                behind.setdefault(int(links.depth[n]), []).append(_pe(n, shape))
        depths = sorted(behind, reverse=True)
        delays = [0, *(a - b for a, b in itertools.pairwise(depths))]
        behind[0].sort(key=lambda pe: (pe != head, pe))
        stages = [Stage(tuple(behind[d]), late) for d, late in zip(depths, delays, strict=True)]
        exits.append(Exit(bank, tuple(stages)))
    return Output(
        banks=len(exits),
        words=words,
        lane_stride=1,
        store_lanes=tuple(range(len(exits))),
        exits=tuple(exits),
    )


def _pe(number: int, shape: ArrayShape) -> Pe:
    return divmod(number, shape.columns)


def _axis1_first(pes: list[Pe]) -> list[Pe]:
    return sorted(pes, key=lambda pe: (pe[1], pe[0]))
