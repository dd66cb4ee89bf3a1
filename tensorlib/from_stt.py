"""From a space-time transformation to a design: reuse of every tensor, then banks, ports and links.

    analysis = analyse(op, selected, T)  ->  per tensor: own / multicast / systolic along each axis,
    a diagonal, a chain  ->  `elaborate`  ->  `Design`

An array *without gaps* has links as late as their ends are skewed apart, so PEs share a tensor if
they use one element in the same local step; its PEs are enabled for a whole EXEC (`interconnect`).
That is every array whose `u` has one non-zero entry, except where an element is handed to a
neighbour for another local step, as windows along `x` hand on pixels from tap to tap. These and
all others are arrays with a *window* per PE (`tensorlib/windows.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tensorlib.design import Design, Pe
from tensorlib.elaborate import OperandSpec, OutputSpec, elaborate
from tensorlib.op import Operator
from tensorlib.reuse import Analysis, TensorReuse, analyse, skew_vector
from tensorlib.stt import Stt
from tensorlib.windows import window_design

Held = Literal["chain", "port"]


@dataclass(frozen=True, slots=True)
class NotGenerated:
    """A transformation that no design (or none without gaps) is made of, and why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Interconnect:
    """What an array's links follow from; axes are mirrored so that skew and links lead onwards.

    Attributes:
        analysis: of the matrix after mirroring: its PE (p1, p2) is PE (i, j) of a design, up to
            where the array begins.
        skew: cycles by which a PE works later, per index of each axis; >= 0.
        kinds: per tensor (inputs first, output last) its kind along axis 1 and axis 2.
        diagonals: per tensor the diagonal along which it is shared or summed, if any.
        held: position of the tensor that stays in the PEs during a sweep and is not shared, if any.
    """

    analysis: Analysis
    skew: Pe
    kinds: tuple[tuple[str, str], ...]
    diagonals: tuple[Pe | None, ...]
    held: int | None


def design_from_stt(
    op: Operator,
    selected: Sequence[str],
    matrix: Stt | Sequence[Sequence[int]],
    rows: int,
    cols: int,
    *,
    depth: int,
    words: int,
    name: str | None = None,
    held: Held = "chain",
    chain_axis: int | None = None,
    slots: tuple[int, int] = (1, 1),
    gapless: bool = False,
    **settings: Any,
) -> Design | NotGenerated:
    """The array of a space-time transformation, with `rows` x `cols` PEs.

    Where there is none without gaps, an array with a window per PE, in which a tensor that stays
    is repeated by ports; `held`, `chain_axis` and `slots` do not concern it.

    The first input of `op` is the design's input, the second its weight. The matrix (after
    mirroring), the label and the selected loops go into `stt`.

    Args:
        selected: three loops, in the order of the columns of `matrix`.
        matrix: rows p1, p2, t.
        depth: 16-byte rows per operand bank and buffer.
        words: 32-bit words per output bank and buffer.
        held: what becomes of a stationary tensor: `chain` moves it into (out of) the PEs by shift
            chains; `port` gives every PE a port that repeats the element, or an exit that sums.
        chain_axis: 1 or 2, along which chains run; by default the shorter axis, then the one
            with less skew.
        slots: ports along axis 2 that share a bank, of input and weight.
        gapless: no array with windows.
        settings: further arguments of `elaborate`.
    Raises: `AnalysisError` for a wrong selection, a singular matrix, or sizes that no design has.
    """
    given = analyse(op, selected, matrix)
    wires = interconnect(given)
    if isinstance(wires, NotGenerated):
        if gapless or _never(given):
            return wires
        analysis = _mirrored(given)
        return window_design(
            analysis, _skew(analysis), rows, cols, depth=depth, words=words,
            name=name or _name(analysis.label(), rows, cols), **settings,
        )  # fmt: skip
    analysis = wires.analysis
    label = analysis.label()
    axis: int | None = None
    if wires.held is not None and held == "chain":
        axis = chain_axis or min((1, 2), key=lambda a: ((rows, cols)[a - 1], wires.skew[a - 1]))
    chained = [axis if n == wires.held else None for n in range(3)]
    operands = [
        OperandSpec(
            axis1=kinds[0], axis2=kinds[1], rows=depth, slots=slots[n], chain_axis=chained[n],
            diagonal=wires.diagonals[n],
        )
        for n, kinds in enumerate(wires.kinds[:2])
    ]  # fmt: skip
    return elaborate(
        name or _name(label, rows, cols),
        rows,
        cols,
        input=operands[0],
        weight=operands[1],
        output=OutputSpec(
            axis1=wires.kinds[2][0], axis2=wires.kinds[2][1], words=words, chain_axis=chained[2],
            diagonal=wires.diagonals[2],
        ),
        skew=wires.skew,
        stt={
            "T": [list(row) for row in analysis.stt.rows],
            "label": label,
            "loops": list(analysis.selected),
        },
        **settings,
    )  # fmt: skip


def _name(label: str, rows: int, cols: int) -> str:
    return f"{label.lower().replace('-', '_')}_{rows}x{cols}"


def interconnect(analysis: Analysis) -> Interconnect | NotGenerated:
    """How tensors lie along the axes of an array without gaps, or why there is none."""
    if reason := _never(analysis) or _gaps(analysis):
        return NotGenerated(reason)
    analysis = _mirrored(analysis)
    skew = _skew(analysis)
    kinds: list[tuple[str, str]] = []
    diagonals: list[Pe | None] = []
    held = [n for n, reuse in enumerate(analysis.tensors.values()) if reuse.kind == "stationary"]
    if len(held) > 1:
        return NotGenerated("two tensors held in the PEs at once")
    for reuse in analysis.tensors.values():
        if reason := _tensor_reason(reuse, skew):
            return NotGenerated(reason)
        diagonals.append(_diagonal(reuse))
        one, two = (_kind(reuse, axis, late) for axis, late in enumerate(skew))
        kinds.append((one, two))
    return Interconnect(
        analysis=analysis,
        skew=skew,
        kinds=tuple(kinds),
        diagonals=tuple(diagonals),
        held=held[0] if held else None,
    )


def _never(analysis: Analysis) -> str | None:
    """Why there is no design at all; None if there is one."""
    inputs = len(analysis.tensors) - 1
    if inputs != 2:
        return f"not generated yet: a PE multiplies two operands, {analysis.op.name} has {inputs}"
    if not analysis.stt.unimodular:
        return f"not generated yet: det(T) = {analysis.stt.det}, PEs work in some cycles only"
    if analysis.skew_loop is None:
        return f"not generated yet: no entry of T^-1 e_t = {analysis.u} is 1 or -1"
    return None


def _gaps(analysis: Analysis) -> str | None:
    """Why PEs cannot all work without gaps; None if they can."""
    if not analysis.keeps_pes_busy:
        return "T^-1 e_t has several non-zero entries, PEs idle between sweeps"
    return None


def _tensor_reason(reuse: TensorReuse, skew: Pe) -> str | None:
    """Why this tensor needs windows; None if it does not."""
    what = f"{reuse.tensor} is shared along"
    if not reuse.axis_aligned:
        return f"{what} two directions, but not along the axes"
    if reuse.long_link:
        return f"{what} links that span two PEs"
    if any(dt != skew[0] * dp1 + skew[1] * dp2 for dp1, dp2, dt in reuse.spatial):
        return f"{what} links to another local step"
    return None


def _skew(analysis: Analysis) -> Pe:
    assert analysis.skew_loop is not None  # u has an entry 1 or -1
    return skew_vector(analysis.stt, analysis.skew_loop)


def _mirrored(analysis: Analysis) -> Analysis:
    """The same array with axes mirrored: skew >= 0, diagonals along (1, -1) where that is free."""
    skew = list(_skew(analysis))
    signs = [-1 if late < 0 else 1 for late in skew]
    falling = any(signs[0] * signs[1] * v[0] * v[1] < 0 for v in _diagonals(analysis))
    if _diagonals(analysis) and not falling and 0 in skew:
        signs[skew.index(0)] = -1
    rows = analysis.stt.rows
    mirrored = [[sign * a for a in row] for sign, row in zip((*signs, 1), rows, strict=True)]
    if any(sign < 0 for sign in signs):
        return analyse(analysis.op, analysis.selected, mirrored)
    return analysis


def _diagonals(analysis: Analysis) -> list[Pe]:
    return [v[:2] for reuse in analysis.tensors.values() for v in reuse.spatial if v[0] and v[1]]


def _diagonal(reuse: TensorReuse) -> Pe | None:
    return next(((1, v[0] * v[1]) for v in reuse.spatial if v[0] and v[1]), None)


def _kind(reuse: TensorReuse, axis: int, late: int) -> str:
    """Kind along an axis (0 or 1) that is `late` cycles later per index."""
    if not any(v[axis] and not v[1 - axis] for v in reuse.spatial):
        return "own"
    if reuse.is_output:
        return "chain" if late else "tree"
    return "systolic" if late else "multicast"
