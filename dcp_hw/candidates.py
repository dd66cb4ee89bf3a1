"""Accelerators worth considering for a budget: what `fixed`, `per-layer`, `example` choose from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from dcp_hw.hardware import Hardware
from tensorlib.design import Design
from tensorlib.families import family
from tensorlib.from_stt import Held
from tensorlib.op import Operator, conv2d, depthwise_conv2d
from tensorlib.reuse import analyse

PARAM_ROWS = 8
"""16-channel blocks of scale parameters per buffer."""

MAX_ROWS = 4096
"""Rows that a 16-bit byte address reaches."""

Split = tuple[int, int, int]
"""Shares of the on-chip memory for input, weight and output, in 20ths."""

SPLITS: tuple[Split, ...] = (
    *((10, 5, 5), (8, 6, 6), (10, 4, 6), (8, 5, 7), (12, 4, 4), (8, 4, 8), (6, 8, 6), (9, 6, 5)),
)
"""Of the array shape that a style is first tried with."""

FEW_SPLITS = SPLITS[:2]
"""Of its other array shapes."""

EXAMPLE_SPLITS: tuple[Split, ...] = ((10, 5, 5), (5, 5, 10), (8, 6, 6))

Matrix = tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """A way to lay a network on an array.

    Attributes:
        key: short name, part of file names.
        family: of `tensorlib.families`.
        title: what a reader calls it.
        operator: whose reuse the array assumes; layers with more reuse run on it too.
        selected: three of its loops, columns of `stt`.
        stt: space-time transformation, rows p1, p2, t.
        loops: role of axis 1, axis 2 and time in mappings.
        held: `port` where a stationary tensor has ports or exits instead of chains.
        chain_axis: of the stationary tensor.
        one_loop_per_axis: no composite axes in its mappings.

    `design_from_stt` makes the family's arrays from these (tests/unit/test_from_stt.py).
    """

    key: str
    family: str
    title: str
    operator: Operator
    selected: str
    stt: Matrix
    loops: tuple[str, str, str]
    held: Held = "chain"
    chain_axis: int | None = None
    one_loop_per_axis: bool = False

    @property
    def label(self) -> str:
        """TensorLib's form: selected loops, then a letter per tensor (docs/design-space.md)."""
        return analyse(self.operator, self.selected, self.stt).label()


_IDENTITY: Matrix = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
_SKEWED: Matrix = ((1, 0, 0), (0, 1, 0), (1, 1, 1))
_ROWS: Matrix = ((1, 0, 0), (0, 1, 0), (1, 0, 1))

# Axes of which nothing is shared are those of a depthwise layer: `c` there is `k` in a mapping.
STYLES = (
    Style(
        key="uo",
        family="unicast_tree",
        title="unicast x reduction tree",
        operator=depthwise_conv2d(),
        selected="csr",
        stt=_IDENTITY,
        loops=("k|y|x", "c|s", "any"),
    ),
    Style(
        key="uw",
        family="unicast_multicast",
        title="unicast x shared weight",
        operator=depthwise_conv2d(),
        selected="cxr",
        stt=_IDENTITY,
        loops=("k|y|x", "y|x", "any"),
        held="port",
    ),
)

EXAMPLES = (
    Style(
        key="ws",
        family="weight_stationary",
        title="weight-stationary systolic K x C",
        operator=conv2d(),
        selected="kcx",
        stt=_SKEWED,
        loops=("k", "c", "x"),
        chain_axis=2,
        one_loop_per_axis=True,
    ),
    Style(
        key="os",
        family="output_stationary",
        title="output-stationary systolic K x X",
        operator=conv2d(),
        selected="kxc",
        stt=_SKEWED,
        loops=("k", "x", "c"),
        chain_axis=2,
        one_loop_per_axis=True,
    ),
    Style(
        key="is",
        family="input_stationary",
        title="input-stationary systolic C x X",
        operator=conv2d(),
        selected="cxk",
        stt=_SKEWED,
        loops=("c", "x", "k"),
        chain_axis=1,
        one_loop_per_axis=True,
    ),
    Style(
        key="kc",
        family="nvdla",
        title="K x C, multicast and reduction tree (NVDLA-like)",
        operator=conv2d(),
        selected="kcr",
        stt=_IDENTITY,
        loops=("k", "c", "any"),
        one_loop_per_axis=True,
    ),
    Style(
        key="om",
        family="output_broadcast",
        title="output-stationary multicast K x X",
        operator=conv2d(),
        selected="kxc",
        stt=_IDENTITY,
        loops=("k", "x", "c"),
        chain_axis=1,
        one_loop_per_axis=True,
    ),
    Style(
        key="yx",
        family="pixel_multicast",
        title="output-stationary Y x X (ShiDianNao-like)",
        operator=conv2d(),
        selected="yxc",
        stt=_IDENTITY,
        loops=("y", "x", "c"),
        chain_axis=1,
        one_loop_per_axis=True,
    ),
    Style(
        key="ry",
        family="row_systolic",
        title="row-stationary R x Y (Eyeriss-like)",
        operator=conv2d(),
        selected="ryx",
        stt=_ROWS,
        loops=("r", "y", "x"),
        one_loop_per_axis=True,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One design to consider."""

    style: Style
    design: Design


def shapes(style: Style, pes: int) -> list[tuple[int, int]]:
    """Array shapes (rows, columns) of a style within `pes` PEs."""
    if style.key == "uo":
        return [(pes // cols, cols) for cols in (4, 2, 8) if pes >= cols]
    if style.key == "uw":
        return [(rows, pes // rows) for rows in (32, 16) if pes >= rows]
    if style.key == "ry":
        return [(rows, pes // rows) for rows in (3, 6) if pes >= rows]
    side = 1 << ((pes.bit_length() - 1) // 2)
    sizes = [side, 2 * side]
    return [(rows, pes // rows) for rows in sizes if 1 <= rows <= pes]


def design_of(
    style: Style, rows: int, cols: int, split: Split, hardware: Hardware
) -> Design | None:
    """The design with as deep banks as the split allows; None if a bank would be empty."""
    probe = family(style.family, rows, cols, depth=1, words=1)
    params = 2 * PARAM_ROWS * 112
    total = hardware.sram_bytes - params
    input_bytes, weight_bytes, output_bytes = (total * share // 20 for share in split)
    input_rows = min(MAX_ROWS, input_bytes // (32 * probe.input.banks))
    weight_rows = min(MAX_ROWS, weight_bytes // (32 * probe.weight.banks))
    words = output_bytes // (8 * probe.output.banks)
    if min(input_rows, weight_rows, words) < 1:
        return None
    return replace(
        probe,
        name=f"{style.key}_{rows}x{cols}_{split[0]}_{split[1]}_{split[2]}",
        input=replace(probe.input, rows=input_rows),
        weight=replace(probe.weight, rows=weight_rows),
        output=replace(probe.output, words=words),
        param_rows=PARAM_ROWS,
        in_bits=hardware.bus_in_bits,
        out_bits=hardware.bus_out_bits,
        stt={
            "label": style.label,
            "loops": list(style.loops),
            "operator": style.operator.name,
            "selected": list(style.selected),
            "T": [list(row) for row in style.stt],
            "one_loop_per_axis": style.one_loop_per_axis,
        },
    )


def candidates(styles: tuple[Style, ...], hardware: Hardware) -> Iterator[Candidate]:
    """Designs of some styles: array shapes and memory splits."""
    for style in styles:
        for number, (rows, cols) in enumerate(shapes(style, hardware.pes)):
            for split in _splits(style, number):
                design = design_of(style, rows, cols, split, hardware)
                if design is not None:
                    yield Candidate(style=style, design=design)


def _splits(style: Style, shape: int) -> tuple[Split, ...]:
    """Memory splits to try with a style's array shape number `shape`."""
    if style in EXAMPLES:
        return EXAMPLE_SPLITS
    return SPLITS if shape == 0 and style is STYLES[0] else FEW_SPLITS
