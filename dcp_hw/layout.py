"""Where a mapping puts elements in the banks: CONFIG and the addresses of EXECs.

Input banks hold rows of 16 channels of one pixel (`rows`), rows of 4 pixels x 4 channels (`c4`)
or bytes of one channel (`byte_input`). Weight banks hold
`packed`: [k'][r'][s'][c'][ports or chain places of the bank], bytes, any packing is free;
`taps`: bytes [k'][r][s] of one channel (depthwise); `columns`: bytes [k'][c] of one column
(a second operand from memory); `rows`: [k'][c], whole rows of 16 c, of a transposed one.
Output banks hold words [y][x][k'].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from dcp_hw.axes import Axes, axes_of
from dcp_hw.mapping import (
    LaneSplit,
    Mapping,
    TileCounts,
    Unmappable,
    reductions_first,
    split_lanes,
    tile_counts,
)
from dcp_hw.problem import BLOCK, LOOPS, Problem, ceil_div
from tensorlib.design import Design
from tensorlib.program import Config, LoadShape

MAX_COUNT = 1023
MAX_ADDRESS = (1 << 15) - 1


@dataclass(frozen=True, slots=True)
class Shape:
    """Strides (bytes or words), box extents of one operand's banks, and bytes used."""

    strides: tuple[int, int, int]
    extents: tuple[int, int, int]
    used: int


class Layout:
    """All that is the same for every tile of (problem, design, mapping).

    Raises: `Unmappable` for a mapping that does not fit the design.
    """

    def __init__(self, problem: Problem, design: Design, mapping: Mapping) -> None:
        self.problem, self.design, self.mapping = problem, design, mapping
        self.axes: Axes = axes_of(design)
        slots = (design.input.slots, design.weight.slots)
        self.split: LaneSplit = split_lanes(problem, self.axes, slots, mapping)
        self.tiles: TileCounts = tile_counts(problem, self.split, mapping)
        self._check_blocks()
        self.input = self._input_shape()
        self.pixel = 4 if problem.c4 else self.input.strides[2]
        self.weight_local = self._weight_local()
        self.weight = self._weight_shape()
        self._check_order()
        self._output()
        for name, shape, operand in (
            ("input", self.input, design.input),
            ("weight", self.weight, design.weight),
        ):
            if shape.used > operand.rows * BLOCK:
                raise Unmappable(f"{name} tile of {shape.used} bytes does not fit a bank")
            if max(shape.extents) > MAX_COUNT or max(shape.strides) > MAX_ADDRESS:
                raise Unmappable(f"{name} tile is too large for its command")
        if self.output_words > design.output.words:
            raise Unmappable(f"output tile of {self.output_words} words does not fit a bank")

    # ------------------------------------------------------------------ checks

    def _check_blocks(self) -> None:
        p, m, s, t = self.problem, self.mapping, self.split, self.tiles
        channels = m.ks * s.kd * s.ki
        if m.ks < m.kt and channels % BLOCK:
            raise Unmappable("EXECs along k must begin at blocks of 16 channels")
        if t.k_tiles > 1 and t.k % BLOCK:
            raise Unmappable("tiles along k must begin at blocks of 16 channels")
        if s.ko > 1 and m.kt * s.kd * s.ki % BLOCK:
            raise Unmappable("outer lanes of k must begin at blocks of 16 channels")
        if s.kd > 1 and s.kd != self.axes.size[s.axis["k"]]:
            raise Unmappable("drained channels must use the whole axis")
        if p.c4 and (t.c_tiles > 1 or s.co > 1):
            raise Unmappable("an input of 4 channels has one tile and no outer lanes of c")
        if not p.depthwise and not s.byte_input and not p.c4:
            if (t.c_tiles > 1 or s.co > 1) and m.ct * s.ci % BLOCK:
                raise Unmappable("tiles and outer lanes of c must begin at blocks of 16 channels")
            if s.co == 1 and ceil_div(p.c, s.ci) * s.ci > ceil_div(p.c, BLOCK) * BLOCK:
                raise Unmappable("lanes of c reach past the last block")
        if p.depthwise and s.ko > 1 and m.kt > 1 and t.k_tiles > 1 and p.k % t.k:
            raise Unmappable("outer lanes of depthwise channels need whole tiles")
        if p.depthwise and not s.byte_input and (s.ki > 1 or s.kd > 1):
            raise Unmappable("channels of a depthwise layer need bytes on lanes")
        if m.trim and (not p.depthwise or s.lanes["y"] > 1 or s.lanes["r"] > 1):
            raise Unmappable("only depthwise layers without lanes of y and r can be trimmed")
        if m.lead > 1 and (s.lanes["y"] > 1 or t.c_tiles > 1):
            raise Unmappable("first tiles are cut only without lanes of y and tiles of c")
        drained = self.axes.drained
        if drained is not None:
            on_axis = (m.axis1, m.axis2)[drained]
            if len([x for x in on_axis if x[1] > 1]) > 1:
                raise Unmappable("a drained axis can carry one loop only")

    def _check_order(self) -> None:
        """Nothing; sets run and sweep depth."""
        order = self.mapping.order
        runs = reductions_first(order)
        self.run_depth, self.sweep_depth = runs, 0
        match self.axes.chain:
            case "output":
                if runs < 3:
                    raise Unmappable("with an output chain the reductions must be innermost")
                self.sweep_depth = runs
            case "weight" | "input" as held:
                free = "".join(x for x in LOOPS if x not in self.problem.loops_of(held))
                if self.problem.depthwise and held == "input":
                    free += "c"  # has one step
                depth = 0
                while depth < 6 and order[depth] in free:
                    depth += 1
                if depth == 0:
                    raise Unmappable(f"the loops that {held} lacks must be innermost")
                self.sweep_depth = depth
                self.run_depth = runs if runs else 0

    # ------------------------------------------------------------------- input

    def _input_shape(self) -> Shape:
        p, m, s, t = self.problem, self.mapping, self.split, self.tiles
        taps = s.lanes["s"] if s.s_slots else t.st
        rows = (m.yt - 1) * p.stride + (t.rt - 1) * p.dilation + 1
        cols = (m.xt - 1) * p.stride + (taps - 1) * p.dilation + 1
        slotted = self.design.input.slots > 1
        if s.byte_input:
            blocks = m.kt if p.depthwise else m.ct
            row = cols
            if slotted:
                if cols > BLOCK:
                    raise Unmappable(f"{cols} pixels of a lane do not fit a row of 16 bytes")
                row = BLOCK
            return Shape((rows * row, row, 1), (blocks, rows, cols), blocks * rows * row)
        if p.c4:
            if s.lanes["x"] > 1 and m.xt * p.stride % 4:
                raise Unmappable("lanes of x must begin at words of 4 pixels")
            if s.lanes["s"] > 1 and t.st * p.dilation % 4:
                raise Unmappable("lanes of s must begin at words of 4 pixels")
            starts = [self.pixel_start(i) % 4 for i in range(min(t.x_tiles, 4))]
            words = max(ceil_div(phase + cols, 4) for phase in starts)
            return Shape((0, words * BLOCK, BLOCK), (1, rows, words), rows * words * BLOCK)
        channels = m.kt if p.depthwise else m.ct * s.ci
        blocks = min(ceil_div(channels, BLOCK), p.blocks_in)
        if s.co > 1 or (p.depthwise and s.ko > 1):
            blocks = ceil_div(channels, BLOCK)
        word = blocks * BLOCK
        used = rows * cols * word + (self.design.chain_length if self.axes.chain == "input" else 0)
        return Shape((BLOCK, cols * word, word), (blocks, rows, cols), used)

    def short_rows(self, x_lanes: int, c_lo: int, c_hi: int) -> bool:
        """Whether a LOAD may leave out columns of padding: banks clear the rows that they keep.

        Each bank must have a row of memory per input row, and a column of the data in it.

        Args:
            x_lanes: lanes of x with work in the tile.
            c_lo, c_hi: columns of the tile that the memory holds.
        """
        p, m, s, t = self.problem, self.mapping, self.split, self.tiles
        if not s.byte_input or self.input.strides[1] != BLOCK:
            return False
        last = (x_lanes - 1) * m.xt * p.stride
        if not s.s_slots:
            last += (ceil_div(p.s, t.st) - 1) * t.st * p.dilation
        return c_lo < self.input.extents[2] and last < c_hi

    def pixel_start(self, tile: int) -> int:
        """First input column of an x tile, before padding is cut off."""
        return tile * self.tiles.x * self.problem.stride - self.problem.padding

    @cached_property
    def input_strides(self) -> dict[str, int]:
        """Bytes per step of each loop."""
        p, s = self.problem, self.split
        row, pixel = self.input.strides[1], self.pixel
        block = self.input.strides[0]
        if p.depthwise:
            k, c = (block if s.byte_input else 1), 0
        else:
            k, c = 0, (block if s.byte_input else s.ci)
        return {
            "k": k,
            "c": c,
            "y": p.stride * row,
            "x": p.stride * pixel,
            "r": p.dilation * row,
            "s": p.dilation * pixel,
        }

    # ------------------------------------------------------------------ weight

    def _weight_local(self) -> int:
        """Ports or chain places of one weight bank."""
        if self.axes.chain == "weight":
            return self.design.chain_length
        return self.design.weight.slots

    def _weight_shape(self) -> Shape:
        m, s, t = self.mapping, self.split, self.tiles
        slotted = self.design.weight.slots > 1
        if s.weights == "taps":
            width = s.lanes["s"] if slotted and s.s_slots else t.st
            pitch = width
            if slotted and t.rt * width > BLOCK:
                pitch = BLOCK
            block = ceil_div(t.rt * pitch, BLOCK) * BLOCK if slotted else t.rt * pitch
            return Shape((block, pitch, 1), (m.kt, t.rt, width), m.kt * block)
        if s.weights == "columns":
            depth = m.ct * s.ci
            block = ceil_div(depth, BLOCK) * BLOCK
            return Shape((block, 0, 1), (m.kt, 1, depth), m.kt * block)
        if s.weights == "rows":
            blocks = ceil_div(m.ct * s.ci, BLOCK)
            if s.co > 1 and m.ct * s.ci % BLOCK:
                raise Unmappable("outer lanes of c must begin at blocks of 16 channels")
            return Shape((BLOCK, blocks * BLOCK, 0), (blocks, m.kt, 1), m.kt * blocks * BLOCK)
        rows = self.packed_rows(m.kt)
        return Shape((0, 0, BLOCK), (1, 1, rows), rows * BLOCK)

    def packed_rows(self, steps: int) -> int:
        """Rows of a packed weight bank with `steps` of k'."""
        t = self.tiles
        return ceil_div(steps * t.rt * t.st * self.weight_depth * self.weight_local, BLOCK)

    @property
    def weight_depth(self) -> int:
        """Steps of c per k', r', s' in a packed weight bank."""
        return 1 if self.problem.depthwise else self.mapping.ct

    @cached_property
    def weight_strides(self) -> dict[str, int]:
        """Bytes per step of each loop."""
        t, s = self.tiles, self.split
        if s.weights == "taps":
            block, row, _ = self.weight.strides
            return {"k": block, "c": 0, "y": 0, "x": 0, "r": row, "s": 1}
        if s.weights == "columns":
            return {"k": self.weight.strides[0], "c": s.ci, "y": 0, "x": 0, "r": 0, "s": 0}
        if s.weights == "rows":
            return {"k": self.weight.strides[1], "c": s.ci, "y": 0, "x": 0, "r": 0, "s": 0}
        c = self.weight_local
        tap = c * self.weight_depth
        row = tap * t.st
        return {"k": row * t.rt, "c": c, "y": 0, "x": 0, "r": row, "s": tap}

    # ------------------------------------------------------------------ output

    def _output(self) -> None:
        """Nothing; sets sizes of the output words [y][x][k']."""
        m, s = self.mapping, self.split
        places = {"k": 1, "x": 1, "y": 1}
        drained = self.axes.drained
        self.drained_loop: str | None = None
        idle = 1  # positions of a drained axis that carries no loop: written, never stored
        if drained is not None:
            on_axis = [x for x in (m.axis1, m.axis2)[drained] if x[1] > 1]
            if on_axis:
                self.drained_loop = on_axis[0][0]
                places[self.drained_loop] = self.axes.size[drained]
            else:
                idle = self.axes.size[drained]
        group = BLOCK // s.ki
        self.k_pitch = ceil_div(m.ks * s.kd, group) * group  # words of one pixel
        self.y_pitch = self.k_pitch * m.xs * places["x"]
        words = self.y_pitch * m.ys * places["y"]
        self.output_words = words * idle
        self.lane_pitch = 0
        if drained is not None:
            pitches = {"k": 1, "x": self.k_pitch * m.xs, "y": self.y_pitch * m.ys, None: words}
            self.lane_pitch = pitches[self.drained_loop]
        self.output_base = max(0, self.design.output.chain_length - 1) * self.lane_pitch

    @cached_property
    def output_strides(self) -> dict[str, int]:
        """Words per step of each loop."""
        return {"k": self.split.kd, "c": 0, "y": self.y_pitch, "x": self.k_pitch, "r": 0, "s": 0}

    # ---------------------------------------------------------------- commands

    def config(self) -> Config:
        """The CONFIG command."""
        order, m, s = self.mapping.order, self.mapping, self.split

        def load(shape: Shape, byte_mode: bool) -> LoadShape:
            a, b, c = shape.strides
            ea, eb, ec = shape.extents
            return LoadShape(
                stride_a=a,
                stride_b=b,
                stride_c=c,
                extent_a=ea,
                extent_b=eb,
                extent_c=ec,
                byte_mode=byte_mode,
            )

        def strides(values: dict[str, int]) -> tuple[int, ...]:
            if max(values.values()) > MAX_ADDRESS:
                raise Unmappable("a loop stride does not fit 16 bits")
            return tuple(values[loop] for loop in order)

        mask = sum(1 << i for i, loop in enumerate(order) if loop in "crs")
        del m
        return Config(
            input_load=load(self.input, s.byte_input),
            weight_load=load(self.weight, s.weights not in ("packed", "rows")),
            input_strides=strides(self.input_strides),
            weight_strides=strides(self.weight_strides),
            output_strides=strides(self.output_strides),
            run_depth=self.run_depth,
            reduction_mask=mask,
            sweep_depth=self.sweep_depth,
            sweep_min=self.design.sweep_min,
            input_fill_stride=-1 if self.axes.chain == "input" else 0,
            weight_fill_stride=1 if self.axes.chain == "weight" else 0,
            drain_stride=-self.lane_pitch,
        )

    @cached_property
    def input_base(self) -> int:
        """Byte address that every EXEC adds: a chain is filled from its far end."""
        return self.design.chain_length - 1 if self.axes.chain == "input" else 0

    def used(self, axis: int) -> int:
        """Positions of an axis that have work."""
        count = 1
        for _, n in (self.mapping.axis1, self.mapping.axis2)[axis]:
            count *= n
        return count

    @cached_property
    def weight_banks(self) -> tuple[BankIndex, BankIndex]:
        """Per axis the distinct packed weight banks."""
        return BankIndex(self, 0), BankIndex(self, 1)


class BankIndex:
    """Packed weight banks along one axis: positions with equal digits share their words.

    Attributes:
        members: per bank the digits (loop, value) of each port or chain place; None if unused.
    """

    def __init__(self, layout: Layout, axis: int) -> None:
        digits = (layout.mapping.axis1, layout.mapping.axis2)[axis]
        loops = [x for x, _ in digits if x in layout.problem.loops_of("weight")]
        if layout.axes.chain == "weight" and axis == layout.axes.chain_axis:
            self.unit = layout.axes.size[axis]
        else:
            self.unit = layout.design.weight.slots if axis == 1 else 1
        self.members: list[tuple[dict[str, int] | None, ...]] = []
        self._index: list[int | None] = []
        used = layout.used(axis)
        for first in range(0, layout.axes.size[axis], self.unit):
            if first >= used:
                self._index.append(None)
                continue
            places: list[dict[str, int] | None] = []
            for i in range(first, first + self.unit):
                position = (i, 0) if axis == 0 else (0, i)
                values = {x: layout.split.digit(x, position) for x in loops}
                places.append(values if i < used else None)
            member = tuple(places)
            if member not in self.members:
                self.members.append(member)
            self._index.append(self.members.index(member))

    def index_of(self, i: int) -> int | None:
        """Bank of position i; None if unused."""
        return self._index[i // self.unit]

    def active(self, limits: dict[str, int]) -> int:
        """Banks up to the last one with an enabled place, given the number of lanes per loop."""
        last = 0
        for n, member in enumerate(self.members):
            for values in member:
                if values is not None and all(v < limits[x] for x, v in values.items()):
                    last = n + 1
        return last
