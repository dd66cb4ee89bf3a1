"""The LANES command: what each position of the axes adds to bounds, bases and digits."""

from __future__ import annotations

from functools import cached_property

from dcp_hw.layout import Layout
from dcp_hw.mapping import Unmappable
from dcp_hw.problem import BLOCK
from tensorlib.program import Lane, Lanes

MAX_BASE = (1 << 14) - 1
UNUSED = (512, 256)
"""Lower bound in coordinate a that an unused position of axis 1 or 2 adds: it matches nothing."""


class LaneTable:
    """Entries of a layout."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.problem, self.mapping = layout.problem, layout.mapping
        self.split, self.tiles, self.axes = layout.split, layout.tiles, layout.axes

    @cached_property
    def digit_loops(self) -> tuple[str | None, ...]:
        """Loop of each lane digit; None for one that only switches positions off."""
        return tuple(loop for _, loop in self._digits)

    @cached_property
    def _digits(self) -> tuple[tuple[int, str | None], ...]:
        """Axis and loop of each lane digit."""
        found: list[tuple[int, str | None]] = []
        for axis, digits in enumerate((self.mapping.axis1, self.mapping.axis2)):
            found += [(axis, loop) for loop, _ in digits]
            if not digits and self.axes.size[axis] > 1:
                found.append((axis, None))
        if len(found) > 4:
            raise Unmappable(f"at most 4 digits, got {len(found)}")
        return tuple(found)

    def digit_unit(self, loop: str) -> int:
        """Lanes per value of a digit: 16 where there are more lanes than a digit can count."""
        if self.split.lanes[loop] <= 127:
            return 1
        if loop != "k" or self.split.ki != BLOCK:
            raise Unmappable(f"{self.split.lanes[loop]} lanes of {loop} exceed a digit")
        return BLOCK

    def command(self) -> Lanes:
        """The LANES command."""
        axes: list[tuple[Lane, ...]] = []
        for axis, size in enumerate(self.axes.size):
            axes.append(tuple(self._lane(axis, i) for i in range(size)))
        return Lanes(axis1=axes[0], axis2=axes[1])

    def _lane(self, axis: int, i: int) -> Lane:
        digits = [0, 0, 0, 0]
        own = (self.mapping.axis1, self.mapping.axis2)[axis]
        names = [loop for loop, _ in own]
        position = (i, 0) if axis == 0 else (0, i)
        unused = i >= self.layout.used(axis)
        values = {loop: self.split.digit(loop, position) for loop in names}
        marked = False
        for n, (of_axis, loop) in enumerate(self._digits):
            if loop is None:
                if of_axis == axis and i > 0:
                    digits[n], marked = -1, True
            elif loop in values:
                digits[n] = values[loop] // self.digit_unit(loop)
                if unused and not marked:
                    digits[n], marked = -1, True
        ia, ib, ic, base, select = self._input_lane(axis, i, values)
        wa, wb, wc, weight_base, weight_select = self._weight_lane(axis, i, values)
        if unused and not self.axes.diagonal:
            ia, ib, ic, base, select = UNUSED[axis], 0, 0, 0, 0
        if max(base, weight_base) > MAX_BASE:
            raise Unmappable("lane bases exceed 14 bits")
        return Lane(
            input_a=ia,
            input_b=ib,
            input_c=ic,
            input_base=base,
            input_select=select,
            weight_a=wa,
            weight_b=wb,
            weight_c=wc,
            weight_base=weight_base,
            weight_select=weight_select,
            digits=(digits[0], digits[1], digits[2], digits[3]),
        )

    def _input_lane(
        self, axis: int, i: int, values: dict[str, int]
    ) -> tuple[int, int, int, int, int]:
        p, m, s, t = self.problem, self.mapping, self.split, self.tiles
        a = b = c = select = 0
        if self.axes.diagonal:
            return self._diagonal_lane(axis, i, values)
        for loop, value in values.items():
            match loop:
                case "y":
                    b += value * m.yt * p.stride
                case "r":
                    b += value * t.rt * p.dilation
                case "x":
                    c += value * m.xt * p.stride // (4 if p.c4 else 1)
                case "s" if not s.s_slots:
                    c += value * t.st * p.dilation // (4 if p.c4 else 1)
                case "c":
                    a += (value // s.ci) * self.layout.input.extents[0]
                    if s.byte_input:
                        select = value % s.ci
                case "k" if p.depthwise:
                    outer = value // s.ki
                    a += outer * self.layout.input.extents[0]
                    if s.byte_input:
                        select = value % s.ki
        if self.axes.chain == "input" and axis == self.axes.chain_axis:
            a = b = c = select = 0
        base = sum(n * step for n, step in zip((a, b, c), self.layout.input.strides, strict=True))
        return a, b, c, base, select

    def _diagonal_lane(
        self, axis: int, i: int, values: dict[str, int]
    ) -> tuple[int, int, int, int, int]:
        """As `_input_lane` for an input shared along diagonals: PE (i, j) needs place i + j."""
        p, m, t, s = self.problem, self.mapping, self.tiles, self.split
        if set(self.split.axis) - set("yxrs"):
            raise Unmappable("a diagonal input carries y and r, or x and s")
        one = [loop for loop, _ in m.axis1]
        two = [loop for loop, _ in m.axis2]
        if max(len(one), len(two)) > 1 or (
            one and two and {*one, *two} not in ({"y", "r"}, {"x", "s"})
        ):
            raise Unmappable("a diagonal input carries y and r, or x and s")
        if s.byte_input:
            raise Unmappable("a diagonal input has no bytes on lanes")
        loops = {*one, *two}
        down = bool(loops & {"y", "r"})
        steps = []
        if loops & {"y", "x"}:
            steps.append((m.yt if "y" in loops else m.xt) * p.stride)
        if loops & {"r", "s"}:
            steps.append((t.rt if "r" in loops else t.st) * p.dilation)
        if len(set(steps)) > 1:
            raise Unmappable("a diagonal input needs equal steps along both axes")
        pitch = steps[0] if steps else 1
        if p.c4 and not down:
            raise Unmappable("a diagonal input of 4 channels carries y and r")
        b, c = (i * pitch, 0) if down else (0, i * pitch)
        base = b * self.layout.input.strides[1] + c * self.layout.input.strides[2]
        return 0, b, c, base, 0

    def _weight_lane(
        self, axis: int, i: int, values: dict[str, int]
    ) -> tuple[int, int, int, int, int]:
        m, s, t = self.mapping, self.split, self.tiles
        if s.weights == "packed":
            index = self.layout.weight_banks[axis].index_of(i)
            place = UNUSED[axis] + 1 if index is None else index
            return (place, 0, 0, 0, 0) if axis == 0 else (0, place, 0, 0, 0)
        a = b = c = select = 0
        for loop, value in values.items():
            match loop:
                case "k" if s.weights == "rows":
                    b += value // s.ki * m.kt
                    c += value % s.ki
                case "c" if s.weights == "rows":
                    a += value // s.ci * self.layout.weight.extents[0]
                case "k":
                    a += value // s.ki * self.layout.weight.extents[0]
                    select = value % s.ki
                case "r":
                    b += value * t.rt
                case "s" if not (s.s_slots and self.layout.design.weight.slots > 1):
                    c += value * t.st
                case "c" if s.weights == "columns":
                    c += value // s.ci * m.ct * s.ci
        base = sum(n * step for n, step in zip((a, b, c), self.layout.weight.strides, strict=True))
        if i >= self.layout.used(axis):
            return UNUSED[axis], 0, 0, 0, 0
        return a, b, c, base, select
