"""Accelerators: array styles, their shapes and memory splits, and the designs that follow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from dcp_hw.hardware import Hardware
from tensorlib.design import Design
from tensorlib.errors import AnalysisError
from tensorlib.from_stt import Held, Interconnect, NotGenerated, design_from_stt, interconnect
from tensorlib.op import Operator, conv2d, depthwise_conv2d
from tensorlib.reuse import analyse

PARAM_ROWS = 8
"""16-channel blocks of scale parameters per buffer."""

MAX_ROWS = 4096
"""Rows that a 16-bit byte address reaches."""

MAX_WORDS = 1 << 16
"""32-bit words of an output bank."""

Split = tuple[int, int, int]
"""Shares of the on-chip memory for input, weight and output, in 20ths."""

SPLITS: tuple[Split, ...] = (
    *((10, 5, 5), (8, 6, 6), (10, 4, 6), (8, 5, 7), (12, 4, 4), (8, 4, 8), (6, 8, 6), (9, 6, 5)),
    *((12, 3, 5), (10, 3, 7), (6, 6, 8), (5, 5, 10)),
)
"""The first is the one that array shapes are compared with."""

Matrix = tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]


@lru_cache(maxsize=4096)
def _wires(operator: Operator, selected: str, stt: Matrix) -> Interconnect | NotGenerated:
    return interconnect(analyse(operator, selected, stt))


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """A way to lay a network on an array, at any array shape.

    Attributes:
        key: short name, part of file names.
        title: what a reader calls it.
        operator: whose reuse the array assumes; layers with more reuse run on it too.
        selected: three of its loops, columns of `stt`.
        stt: space-time transformation, rows p1, p2, t.
        loops: role of axis 1, axis 2 and time in mappings.
        held: `port` where a stationary tensor has ports or exits instead of chains.
        chain_axis: of the stationary tensor.
        shared_banks: whether ports of the input and of the weight along axis 2 share banks, as
            many as a row of 16 bytes can feed.
        one_loop_per_axis: no composite axes in its mappings.
    """

    key: str
    title: str
    operator: Operator
    selected: str
    stt: Matrix
    loops: tuple[str, str, str]
    held: Held = "chain"
    chain_axis: int | None = None
    shared_banks: tuple[bool, bool] = (False, False)
    one_loop_per_axis: bool = False

    @property
    def label(self) -> str:
        """TensorLib's form: selected loops, then a letter per tensor (docs/design-space.md)."""
        return analyse(self.operator, self.selected, self.stt).label()

    @property
    def wires(self) -> Interconnect:
        """How tensors lie along the axes.

        Raises: `AnalysisError` for a transformation that no design is made of.
        """
        wires = _wires(self.operator, self.selected, self.stt)
        if isinstance(wires, NotGenerated):
            raise AnalysisError(f"style {self.key}: {wires.reason}")
        return wires

    def array(self, rows: int, cols: int, **settings: Any) -> Design:
        """The array with `rows` x `cols` PEs.

        Args:
            settings: of `design_from_stt`: depth, words, name and arguments of `elaborate`.
        Raises: `AnalysisError` for a transformation that no design is made of.
        """
        group = next(g for g in (16, 8, 4, 2, 1) if cols % g == 0)
        design = design_from_stt(
            self.operator,
            self.selected,
            self.stt,
            rows,
            cols,
            held=self.held,
            chain_axis=self.chain_axis,
            slots=(
                group if self.shared_banks[0] else 1,
                group if self.shared_banks[1] else 1,
            ),
            **settings,
        )
        if isinstance(design, NotGenerated):
            raise AnalysisError(f"style {self.key}: {design.reason}")
        return design


_IDENTITY: Matrix = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
_SKEWED: Matrix = ((1, 0, 0), (0, 1, 0), (1, 1, 1))
_ROWS: Matrix = ((1, 0, 0), (0, 1, 0), (1, 0, 1))

# Axes of which nothing is shared are those of a depthwise layer: `c` there is `k` in a mapping.
STYLES = (
    Style(
        key="uo",
        title="unicast x reduction tree",
        operator=depthwise_conv2d(),
        selected="csr",
        stt=_IDENTITY,
        loops=("k|y|x", "c|r|s", "any"),
        shared_banks=(True, True),
    ),
    Style(
        key="uw",
        title="unicast x shared weight",
        operator=depthwise_conv2d(),
        selected="cxr",
        stt=_IDENTITY,
        loops=("k|y|x", "y|x", "any"),
        held="port",
    ),
)
"""Two points of the space of `dcp_hw.space` with names of their own."""

EXAMPLES = (
    Style(
        key="ws",
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
        title="K x C, multicast and reduction tree (NVDLA-like)",
        operator=conv2d(),
        selected="kcr",
        stt=_IDENTITY,
        loops=("k", "c", "any"),
        shared_banks=(False, True),  # a bank of inputs a column: columns can be window taps
        one_loop_per_axis=True,
    ),
    Style(
        key="om",
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


@lru_cache(maxsize=1024)
def _probe(style: Style, rows: int, cols: int) -> Design:
    return style.array(rows, cols, depth=1, words=1, name="probe")


def design_of(
    style: Style,
    rows: int,
    cols: int,
    split: Split,
    hardware: Hardware,
    bus: tuple[int, int] | None = None,
) -> Design | None:
    """The design with as deep banks as the split allows; None if a bank would be empty.

    Args:
        bus: bits of input and output bus, those of the hardware by default.
    """
    probe = _probe(style, rows, cols)
    params = 2 * PARAM_ROWS * 112
    total = hardware.sram_bytes - params
    input_bytes, weight_bytes, output_bytes = (total * share // 20 for share in split)
    input_rows = min(MAX_ROWS, input_bytes // (32 * probe.input.banks))
    weight_rows = min(MAX_ROWS, weight_bytes // (32 * probe.weight.banks))
    words = min(MAX_WORDS, output_bytes // (8 * probe.output.banks))
    if min(input_rows, weight_rows, words) < 1:
        return None
    full = (hardware.bus_in_bits, hardware.bus_out_bits)
    in_bits, out_bits = bus or full
    width = "" if (in_bits, out_bits) == full else f"_b{in_bits}_{out_bits}"
    return replace(
        probe,
        name=f"{style.key}_{rows}x{cols}_{split[0]}_{split[1]}_{split[2]}{width}",
        input=replace(probe.input, rows=input_rows),
        weight=replace(probe.weight, rows=weight_rows),
        output=replace(probe.output, words=words),
        param_rows=PARAM_ROWS,
        in_bits=in_bits,
        out_bits=out_bits,
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
    """Designs of some styles at three shapes and two memory splits: samples, not the space."""
    for style in styles:
        for cols in (4, 8, 16):
            for split in SPLITS[:2]:
                if cols <= hardware.pes:
                    design = design_of(style, hardware.pes // cols, cols, split, hardware)
                    if design is not None:
                        yield Candidate(style=style, design=design)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A style with an array shape."""

    style: Style
    rows: int
    cols: int

    def candidate(self, split: Split, hardware: Hardware) -> Candidate | None:
        """With a memory split; None if a bank would be empty."""
        design = design_of(self.style, self.rows, self.cols, split, hardware)
        return Candidate(style=self.style, design=design) if design else None
