"""The space of accelerators: every array that a transformation gives, shapes, splits, bus widths.

    operators -> structures of T -> designs made (`tensorlib.from_stt`) -> arrays that mappings
    know, both ways round, held tensors on chains or ports, ports that share banks
    -> x array shapes x memory splits x bus widths

Equal arrays of several operators or matrices are one `Style`. An array that differs from another
only in skew is left out where the other has less (`Space.twins`, docs/design-space.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

from dcp_hw.axes import Axes, axes_of
from dcp_hw.candidates import Matrix, Style
from dcp_hw.hardware import Hardware
from tensorlib.design_check import MAX_AXIS
from tensorlib.errors import AnalysisError
from tensorlib.from_stt import Interconnect, NotGenerated, interconnect
from tensorlib.op import Operator, conv2d, depthwise_conv2d, gemm
from tensorlib.reuse import analyse
from tensorlib.structures import distinct_structures

OPERATORS = (depthwise_conv2d(), conv2d(), gemm())
"""In this order: an array of several operators is named by the one with the least reuse."""

BUS_BITS = (32, 64, 128)
TENSORS = ("input", "weight", "output")
_TITLES = {"u": "unicast", "i": "shared input", "w": "shared weight", "o": "reduction tree"}
_LOOPS = {"u": "k|y|x", "i": "k", "w": "y|x", "o": "c|r|s"}
_TIME = {None: "any", "input": "k", "weight": "y|x", "output": "c|r|s"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """How many structures of an operator there are, and what becomes of them.

    Attributes:
        structures: distinct ones over all selections and unimodular T.
        generated: those that designs are made of.
        mapped: those that mappings lay layers on.
        reasons: why the others are not: reason -> structures.
    """

    structures: int
    generated: int
    mapped: int
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """All arrays of the operators.

    Attributes:
        census: per operator.
        arrays: distinct ones, those with a twin of less skew left out.
        twins: arrays with a twin of less skew.
    """

    census: Mapping[str, Census]
    arrays: tuple[Style, ...]
    twins: tuple[Style, ...]


@lru_cache(maxsize=1)
def space() -> Space:
    """The space of `OPERATORS`; takes about a second, once."""
    census: dict[str, Census] = {}
    arrays: dict[str, Style] = {}
    for op in OPERATORS:
        census[op.name], found = _arrays_of(op)
        for style in found:
            arrays.setdefault(style.key, style)
    skews: dict[Parts, list[tuple[int, int]]] = {}
    for style in arrays.values():
        skews.setdefault(parts(style), []).append(style.wires.skew)
    twins = [
        style
        for style in arrays.values()
        if any(_less(other, style.wires.skew) for other in skews[parts(style)])
    ]
    names = {style.key for style in twins}
    left = tuple(style for key, style in arrays.items() if key not in names)
    return Space(census=census, arrays=left, twins=tuple(twins))


def _arrays_of(op: Operator) -> tuple[Census, list[Style]]:
    reasons: Counter[str] = Counter()
    found: list[Style] = []
    generated = mapped = 0
    structures = distinct_structures(op)
    for structure in structures:
        p1, p2, t = structure.stt.rows
        made: list[Style] = []
        reason = ""
        for matrix in ((p1, p2, t), (p2, p1, t)):
            wires = interconnect(analyse(op, structure.selected, matrix))
            if isinstance(wires, NotGenerated):
                reason = wires.reason
                continue
            generated += matrix[0] is p1
            styles, why = _styles_of(op, wires)
            made += styles
            reason = why or reason
        mapped += bool(made)
        if not made:
            reasons[_short(reason)] += 1
        found += made
    count = Census(
        structures=len(structures), generated=generated, mapped=mapped, reasons=dict(reasons)
    )
    return count, found


def _short(reason: str) -> str:
    """A reason without the names of tensors, so that equal ones are counted together."""
    for tensor in ("I is", "W is", "O is", "A is", "B is", "C is"):
        reason = reason.replace(f"{tensor} shared", "a tensor is shared")
    return reason.removeprefix("not generated yet: ").split(":")[0]


def _styles_of(op: Operator, wires: Interconnect) -> tuple[list[Style], str]:
    """Styles of one transformation that mappings can use, and why there are none."""
    made: list[Style] = []
    reason = ""
    ways: list[tuple[str, int | None]] = [("port", None)]
    if wires.held is not None:
        ways += [("chain", 1), ("chain", 2)]
    for held, chain_axis in ways:
        style = _style(op, wires, held, chain_axis)
        axes = axes_of(style.array(3, 4, depth=1, words=1))
        if axes.other:
            reason = f"no mapping knows an {axes.other} along a diagonal".replace("an w", "a w")
            continue
        choices = [_bank_choices(style, wires, axes, n) for n in (0, 1)]
        for one, two in product(*choices):
            apart = "".join(
                name[0] for name, shared, of in zip(TENSORS, (one, two), choices, strict=False)
                if not shared and True in of
            )  # fmt: skip
            key = style.key + (f"p{apart}" if apart else "")
            made.append(replace(style, key=key, shared_banks=(one, two)))
    return made, "" if made else reason


def _bank_choices(style: Style, wires: Interconnect, axes: Axes, tensor: int) -> tuple[bool, ...]:
    """Whether the ports of the input (0) or the weight (1) along axis 2 may share banks."""
    own = wires.kinds[tensor][1] == "own" and wires.diagonals[tensor] is None
    held = style.held == "chain" and wires.held == tensor
    if not own or held or wires.skew[1]:
        return (False,)
    if tensor == 0 and not axes.reduced[1]:
        return (False,)  # only reductions lie at neighbouring bytes of an input row
    return (True, False)


def _style(op: Operator, wires: Interconnect, held: str, chain_axis: int | None) -> Style:
    """The style with a bank for each port."""
    one, two = letters(wires)
    chained = TENSORS[wires.held] if wires.held is not None and held == "chain" else None
    key = one + two
    title = f"{_title(one, wires.skew[0])} x {_title(two, wires.skew[1])}"
    if any(wires.diagonals):
        key += "".join("d" + TENSORS[n][0] for n, d in enumerate(wires.diagonals) if d)
        title += ", diagonal " + next(TENSORS[n] for n, d in enumerate(wires.diagonals) if d)
    if chained:
        key += f"h{chained[0]}{chain_axis}"
        title += f", {chained} held"
    if wires.skew != (0, 0):
        key += f"s{wires.skew[0]}{wires.skew[1]}"
    rows = wires.analysis.stt.rows
    matrix: Matrix = (rows[0], rows[1], rows[2])
    return Style(
        key=key,
        title=title,
        operator=op,
        selected="".join(wires.analysis.selected),
        stt=matrix,
        loops=(_LOOPS[one], _LOOPS[two], _TIME[chained]),
        held="chain" if chained else "port",
        chain_axis=chain_axis if chained else None,
    )


def _title(letter: str, skew: int) -> str:
    title = _TITLES[letter]
    if skew and letter == "o":
        return "systolic sums"
    return f"systolic {title}" if skew and letter in "iw" else title


def letters(wires: Interconnect) -> tuple[str, str]:
    """Per axis what its PEs share: o sums, i the input, w the weight, u nothing."""
    found = []
    for axis in (0, 1):
        own = [wires.kinds[tensor][axis] == "own" for tensor in range(3)]
        names = [letter for letter, alone in zip("iwo", own, strict=True) if not alone]
        if len(names) > 1:
            raise AnalysisError(f"axis {axis + 1} shares {' and '.join(names)}: no loop fits it")
        found.append(names[0] if names else "u")
    return found[0], found[1]


Parts = tuple[object, ...]


def parts(style: Style) -> Parts:
    """All that tells an array from others apart from its skew, and whether axes are composite."""
    wires = style.wires
    held = wires.held if style.held == "chain" else None
    where = style.chain_axis if held is not None else None
    return letters(wires), wires.diagonals, held, where, style.shared_banks


def _less(skew: tuple[int, int], other: tuple[int, int]) -> bool:
    return skew != other and skew[0] <= other[0] and skew[1] <= other[1]


# --- shapes and buses ---------------------------------------------------------------


def shapes(pes: int) -> tuple[tuple[int, int], ...]:
    """Rows and columns that leave less than a further row or column over.

    Returns: (n, pes // n) and (pes // n, n) for every n, also 36 x 7 or 51 x 5.
    """
    most = min(pes, MAX_AXIS)
    found = {(n, min(pes // n, MAX_AXIS)) for n in range(1, most + 1)}
    return tuple(sorted(found | {(cols, rows) for rows, cols in found}))


def shapes_of(style: Style, pes: int) -> Iterator[tuple[int, int]]:
    """Shapes of a style; one row or column only where that axis would sum.

    An array of one row has nothing along axis 1, whatever the style says of it; it is looked at
    once, as the style that sums there.
    """
    wires = style.wires
    one, two = letters(wires)
    plain = style.held != "chain" and not any(wires.diagonals)
    for rows, cols in shapes(pes):
        if rows == 1 and not (plain and one == "o"):
            continue
        if cols == 1 and not (plain and two == "o"):
            continue
        yield rows, cols


def buses(hardware: Hardware) -> tuple[tuple[int, int], ...]:
    """Bits of input and output bus, the widest first."""
    ins = [bits for bits in BUS_BITS if bits <= hardware.bus_in_bits]
    outs = [bits for bits in BUS_BITS if bits <= hardware.bus_out_bits]
    return tuple(sorted(product(ins, outs), reverse=True))
