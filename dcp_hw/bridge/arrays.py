"""Arrays for what a dataflow spreads over two axes: T with a searched skew, and memories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

from dcp_hw.axes import axes_of
from dcp_hw.candidates import MAX_ROWS, MAX_WORDS, PARAM_ROWS, Style
from dcp_hw.hardware import Hardware
from dcp_hw.layout import Layout
from dcp_hw.problem import BLOCK, REDUCTIONS, Problem, ceil_div
from tensorlib.design import Design
from tensorlib.errors import AnalysisError
from tensorlib.from_stt import Held, NotGenerated, interconnect
from tensorlib.op import Operator, conv2d, depthwise_conv2d, gemm
from tensorlib.reuse import analyse

Loops = tuple[str, ...]
"""Loops of a mapping on one axis."""

MAX_PARAM_ROWS = 256
"""Blocks of 16 channels that a design's scale parameters can have (docs/hardware.md, section 3)."""

SKEWS = tuple(product((0, 1), repeat=2))
"""Cycles by which a PE is later than its neighbour along axis 1 and axis 2."""


def shares(loops: Loops, problem: Problem) -> str | None:
    """What PEs along an axis with these loops share: u nothing, i, w, or o sums; None: a mixture.

    An empty axis shares nothing and everything: an empty text.
    """
    if not loops:
        return ""
    if set(loops) <= set(REDUCTIONS):
        return "o"
    if set(loops) & set(REDUCTIONS):
        return None
    if "k" not in loops:
        return "w"
    return "i" if loops == ("k",) and not problem.depthwise else "u"


def operator_of(problem: Problem, letters: Sequence[str]) -> tuple[Operator, dict[str, str]]:
    """The operator whose reuse the array assumes, and its name of each loop of a mapping."""
    if problem.depthwise or "u" in letters:
        names = {"k": "c", "y": "y", "x": "x", "r": "r", "s": "s"}
        strides = {"stride": problem.stride, "dilation": problem.dilation}
        return depthwise_conv2d(**strides), names if problem.depthwise else names | {"c": "r"}
    if problem.r == problem.s == 1 and problem.y == 1:
        return gemm(), {"k": "n", "c": "k", "x": "m"}
    names = {loop: loop for loop in "kcyxrs"}
    return conv2d(stride=problem.stride, dilation=problem.dilation), names


@dataclass(frozen=True, slots=True)
class Refused:
    """Why no array has these axes."""

    reason: str


def array_styles(
    problem: Problem, axes: tuple[Loops, Loops], times: Sequence[str], *, every: bool
) -> list[Style] | Refused:
    """Arrays whose axes carry the loops, those without skew first.

    Args:
        times: loops from the innermost one outwards; the first that is on no axis becomes t.
        every: all skews and chains; otherwise no skew and a stationary tensor on ports.
    """
    letters = [shares(loops, problem) for loops in axes]
    if None in letters:
        return Refused("an axis cannot both sum and keep sums apart")
    if letters[0] == letters[1] == "u" or set(letters) == {"u", "i"}:
        return Refused("no operator has two axes along which nothing is shared")
    op, names = operator_of(problem, [x for x in letters if x])
    reason = "no transformation"
    for late in range(max(1, len(times))):
        selected = _selected(op, names, axes, times[late:])
        made: list[Style] = []
        for skew in SKEWS if every else SKEWS[:1]:
            matrix = ((1, 0, 0), (0, 1, 0), (*skew, 1))
            wires = interconnect(analyse(op, selected, matrix))
            if isinstance(wires, NotGenerated):
                reason = wires.reason
                continue
            ways: list[tuple[Held, int | None]] = [("port", None)]
            if every and wires.held is not None:
                ways += [("chain", 1), ("chain", 2)]
            for (held, chain_axis), banks in product(ways, product((True, False), repeat=2)):
                if held == "chain" and wires.held in (0, 1) and banks[wires.held]:
                    continue  # no program fills chains whose ports share banks
                made.append(
                    Style(
                        key=_key(selected, skew, held, chain_axis, banks),
                        title=_title(letters, skew, held),
                        operator=op,
                        selected="".join(selected),
                        stt=matrix,
                        loops=("|".join(axes[0]) or "-", "|".join(axes[1]) or "-", selected[2]),
                        held=held,
                        chain_axis=chain_axis,
                        shared_banks=banks,
                    )
                )
        if made:
            return made
    return Refused(reason)


def _selected(
    op: Operator, names: dict[str, str], axes: tuple[Loops, Loops], times: Sequence[str]
) -> tuple[str, str, str]:
    """Loops p1, p2, t of the operator; an axis of one PE gets one that is left."""
    chosen: list[str | None] = []
    for loops in axes:
        known = [names[loop] for loop in loops if loop in names]
        chosen.append(known[0] if known else None)
    later = [names[loop] for loop in times if loop in names and names[loop] not in chosen]
    left = [name for name in op.iterators if name not in chosen and name not in later[:1]]
    time = later[0] if later else left.pop()
    found = [name if name is not None else left.pop() for name in chosen]
    return found[0], found[1], time


def _key(
    selected: Sequence[str],
    skew: tuple[int, int],
    held: str,
    chain_axis: int | None,
    banks: tuple[bool, bool],
) -> str:
    key = "b" + "".join(selected)
    key += f"s{skew[0]}{skew[1]}" if skew != (0, 0) else ""
    key += f"h{chain_axis}" if held == "chain" else ""
    return key + "".join(f"p{name}" for name, one in zip("iw", banks, strict=True) if not one)


def _title(letters: Sequence[str | None], skew: tuple[int, int], held: str) -> str:
    words = {"u": "unicast", "i": "shared input", "w": "shared weight", "o": "sums", "": "one PE"}
    title = " x ".join(words[letter or ""] for letter in letters)
    if any(skew):
        title += f", skew {skew[0]} {skew[1]}"
    return title + (", held" if held == "chain" else "")


@lru_cache(maxsize=512)
def probe_of(style: Style, rows: int, cols: int) -> Design | Refused:
    """The array with the deepest banks that a design can have; no memory is that large."""
    try:
        design = style.array(rows, cols, depth=MAX_ROWS, words=MAX_WORDS, name="probe")
    except AnalysisError as error:
        return Refused(str(error))
    other = axes_of(design).other
    return Refused(f"no mapping knows how PEs share the {other}") if other else design


@dataclass(frozen=True, slots=True)
class Needs:
    """Per buffer: rows of input and weight banks, words of output banks, blocks of parameters."""

    input_rows: int
    weight_rows: int
    words: int
    param_rows: int

    def __or__(self, other: Needs) -> Needs:
        return Needs(
            max(self.input_rows, other.input_rows),
            max(self.weight_rows, other.weight_rows),
            max(self.words, other.words),
            max(self.param_rows, other.param_rows),
        )


def needs_of(layout: Layout) -> Needs:
    """What the tiles of a layout take."""
    return Needs(
        max(1, ceil_div(layout.input.used, BLOCK)),
        max(1, ceil_div(layout.weight.used, BLOCK)),
        max(1, layout.output_words),
        min(MAX_PARAM_ROWS, max(PARAM_ROWS, ceil_div(layout.tiles.k, BLOCK))),
    )


def sized(style: Style, probe: Design, needs: Needs, hardware: Hardware, name: str) -> Design:
    """The array with banks of the size that is needed."""
    return replace(
        probe,
        name=name,
        input=replace(probe.input, rows=needs.input_rows),
        weight=replace(probe.weight, rows=needs.weight_rows),
        output=replace(probe.output, words=needs.words),
        param_rows=needs.param_rows,
        in_bits=hardware.bus_in_bits,
        out_bits=hardware.bus_out_bits,
        stt={
            "label": style.label,
            "loops": list(style.loops),
            "operator": style.operator.name,
            "selected": list(style.selected),
            "T": [list(row) for row in style.stt],
            "one_loop_per_axis": False,
        },
    )


def bytes_of(design: Design) -> int:
    """Bytes of all memories, both buffers."""
    return sum(design.sram_bytes.values())
