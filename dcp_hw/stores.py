"""STORE commands of one output tile, and where their words go."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dcp_hw.layout import Layout
from dcp_hw.mapping import Unmappable
from dcp_hw.problem import BLOCK, ceil_div
from dcp_hw.tiles import Step, TileStream
from tensorlib.program import Burst, Store

Four = tuple[int, int, int, int]

DROPPED = -1
MAX_CHANNELS = (1 << 12) - 1
MAX_PARAM_STRIDE = 15


@dataclass(frozen=True, slots=True)
class Box:
    """What one pixel of a group sends: outer k lane, words (first, count) along y and x."""

    outer: int
    blocks: int
    rows: tuple[int, int]
    cols: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Dim:
    """One loop of a STORE."""

    name: str
    count: int
    lane: int = 0
    address: int = 0
    param: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One STORE of a part of a tile, apart from buffers and parameter rows."""

    mask: tuple[int, ...]  # pixels of a group
    box: Box
    start: tuple[int, int]  # group, parameter row
    dims: tuple[Dim, ...]
    bounds: Four
    lane_strides: Four
    address_strides: Four
    param_strides: Four
    address: int
    pixel_mask: int


class StorePlan:
    """Builds the STOREs of a layout."""

    def __init__(self, layout: Layout, stream: TileStream) -> None:
        self.layout, self.stream = layout, stream
        self.group = layout.split.ki
        self.drained = layout.drained_loop
        self._shapes: dict[tuple[int, ...], list[Shape]] = {}

    @cached_property
    def lanes(self) -> dict[int, dict[int, tuple[int, int, int]]]:
        """Per group, per pixel q: outer lane of k, lane of y, lane of x."""
        layout, design = self.layout, self.layout.design
        split, drained = layout.split, layout.axes.drained
        ends = [(e.bank, e.pes[0]) for e in design.output.exits]
        ends += [(c.bank, c.pes[0]) for c in design.output.chains]
        table: dict[int, dict[int, tuple[int, int, int]]] = {}
        for bank, pe in ends:
            place = tuple(
                0 if layout.axes.reduced[axis] or axis == drained else pe[axis] for axis in (0, 1)
            )
            position = (place[0], place[1])
            if position[0] >= layout.used(0) or position[1] >= layout.used(1):
                continue
            lane = design.output.store_lanes[bank]
            k = split.digit("k", position)
            if k % split.ki != lane % self.group:
                raise Unmappable("lanes of k do not lie on consecutive store lanes")
            if k % split.ki:
                continue
            outer = 0 if split.kd > 1 else k // split.ki
            y, x = (
                0 if loop == self.drained else split.digit(loop, position) for loop in ("y", "x")
            )
            table.setdefault(lane // BLOCK, {})[lane % BLOCK // self.group] = (outer, y, x)
        return table

    def stores(
        self,
        step: Step,
        *,
        output_buffer: int,
        int32: bool,
        output_address: int | None,
        params_buffer: int,
        params_first: int,
        release_params: bool,
    ) -> list[Store]:
        """The STOREs that send what EXECs of `step`'s output tile left in a buffer.

        Args:
            output_address: byte address of the output region; None leaves bursts out.
            params_first: first 16-channel block of the loaded parameters.
        """
        layout, split = self.layout, self.layout.split
        k_span = self.stream.k_span(step.k)
        first_block = k_span.first // BLOCK + step.sk * (
            layout.mapping.ks * split.ki * split.kd // BLOCK
        )
        found: list[Store] = []
        shapes = self.shapes_of(step)
        for n, shape in enumerate(shapes):
            row = first_block + shape.start[1]
            last = n == len(shapes) - 1
            bursts: tuple[Burst, ...] = ()
            if output_address is not None:
                bursts = self._bursts(step, shape, row, int32, output_address)
            found.append(
                Store(
                    output_buffer=output_buffer,
                    bounds=shape.bounds,
                    lane_strides=shape.lane_strides,
                    address_strides=shape.address_strides,
                    param_strides=shape.param_strides,
                    log2_group=self.group.bit_length() - 1,
                    channels=min(MAX_CHANNELS, layout.problem.k - BLOCK * row),
                    int32=int32,
                    release_output=last,
                    params_buffer=params_buffer,
                    release_params=release_params and last,
                    params_row=row - params_first,
                    address_base=shape.address,
                    lane_base=shape.start[0],
                    pixel_mask=shape.pixel_mask,
                    bursts=bursts,
                )
            )
        return found

    def shapes_of(self, step: Step) -> list[Shape]:
        """What STOREs of equal parts of tiles have in common; computed once."""
        spans = (self.stream.k_span(step.k), self.stream.y_span(step.y), self.stream.x_span(step.x))
        key = (*(s.count for s in spans), step.sk, step.sy, step.sx)
        if key in self._shapes:
            return self._shapes[key]
        layout, split = self.layout, self.layout.split
        per_lane = spans[0].steps * split.ki * split.kd // BLOCK if split.ko > 1 else 0
        shapes = []
        for (mask, box), groups in self._boxes(step).items():
            pairs = [(g, outer * per_lane) for g, outer in groups]
            for start, dims in self._nests(pairs, box):
                four = [*dims, *[Dim("none", 1)] * (4 - len(dims))]
                shapes.append(
                    Shape(
                        mask=mask,
                        box=box,
                        start=start,
                        dims=tuple(dims),
                        bounds=_four([d.count for d in four]),
                        lane_strides=_four([d.lane for d in four]),
                        address_strides=_four([d.address for d in four]),
                        param_strides=_four([d.param for d in four]),
                        address=box.rows[0] * layout.y_pitch + box.cols[0] * layout.k_pitch,
                        pixel_mask=sum(1 << q for q in mask),
                    )
                )
        self._shapes[key] = shapes
        return shapes

    # ------------------------------------------------------------------- boxes

    def _boxes(self, step: Step) -> dict[tuple[tuple[int, ...], Box], list[tuple[int, int]]]:
        """Groups (number, outer k lane) per pixel mask and box."""
        found: dict[tuple[tuple[int, ...], Box], list[tuple[int, int]]] = {}
        rows = {y: self._runs("y", step, y) for y in self._lane_values(1)}
        cols = {x: self._runs("x", step, x) for x in self._lane_values(2)}
        for group, pixels in sorted(self.lanes.items()):
            boxes: dict[Box, list[int]] = {}
            for q, (outer, y, x) in sorted(pixels.items()):
                blocks = self._blocks(step, outer)
                if not blocks:
                    continue
                for row, col in itertools.product(rows[y], cols[x]):
                    same = Box(outer, blocks, row, col)
                    boxes.setdefault(same, []).append(q)
            for box, qs in boxes.items():
                plain = Box(0, box.blocks, box.rows, box.cols)
                found.setdefault((tuple(qs), plain), []).append((group, box.outer))
        return found

    def _lane_values(self, which: int) -> set[int]:
        return {pixel[which] for pixels in self.lanes.values() for pixel in pixels.values()}

    def _blocks(self, step: Step, outer: int) -> int:
        """16-channel blocks that an outer lane of k has in an EXEC."""
        split, mapping = self.layout.split, self.layout.mapping
        span = self.stream.k_span(step.k)
        unit = split.ki * split.kd
        channels = min(mapping.ks, span.steps - step.sk * mapping.ks) * unit
        first = (outer * span.steps + step.sk * mapping.ks) * unit
        return ceil_div(max(0, min(channels, span.count - first)), BLOCK)

    def _runs(self, loop: str, step: Step, lane: int) -> list[tuple[int, int]]:
        """Word runs (first, count) along y or x that hold outputs, in units of that loop."""
        m = self.layout.mapping
        if loop == "y":
            span, whole, part, sub = self.stream.y_span(step.y), m.yt, m.ys, step.sy
        else:
            span, whole, part, sub = self.stream.x_span(step.x), m.xt, m.xs, step.sx
        bound = min(part, span.steps - sub * part)
        if self.drained != loop:
            count = min(bound, span.count - lane * whole - sub * part)
            return [(0, count)] if count > 0 else []
        runs: list[tuple[int, int]] = []
        for n in range(span.lanes):
            count = min(bound, span.count - n * whole - sub * part)
            if count <= 0:
                continue
            if runs and sum(runs[-1]) == n * part:
                runs[-1] = (runs[-1][0], runs[-1][1] + count)
            else:
                runs.append((n * part, count))
        return runs

    # ------------------------------------------------------------------- loops

    def _nests(
        self, groups: list[tuple[int, int]], box: Box
    ) -> list[tuple[tuple[int, int], list[Dim]]]:
        """Start (group, param row) and loops of the STOREs of equal boxes."""
        layout = self.layout
        per_batch = BLOCK // self.group
        inner = [Dim("t", per_batch, address=1)] if self.group < BLOCK else []
        rows, cols = box.rows[1], box.cols[1]
        if rows == 1 or cols == 1 or cols * layout.k_pitch == layout.y_pitch:
            pitch = layout.y_pitch if cols == 1 else layout.k_pitch
            pixels = [Dim("pixel", rows * cols, address=pitch)]
        else:
            pixels = [
                Dim("x", cols, address=layout.k_pitch),
                Dim("y", rows, address=layout.y_pitch),
            ]
        blocks = [Dim("block", box.blocks, address=per_batch, param=1)]
        fixed = inner + [d for d in pixels + blocks if d.count > 1]
        for start, dims in _factor(groups):
            if len(fixed) + len(dims) <= 4 and all(d.param <= MAX_PARAM_STRIDE for d in dims):
                return [(start, fixed + dims)]
        nests = []
        for part in _lines(groups):
            start, dims = next(iter(_factor(part)))
            if len(fixed) + len(dims) <= 4:
                nests.append((start, fixed + dims))
            else:
                nests += [(pair, fixed) for pair in part]
        if len(fixed) > 4:
            raise Unmappable("a STORE would need more than four loops")
        return nests

    # ------------------------------------------------------------------ bursts

    def _bursts(
        self,
        step: Step,
        stored: Shape,
        row: int,
        int32: bool,
        address: int,
    ) -> tuple[Burst, ...]:
        p = self.layout.problem
        mask, box, start, dims = stored.mask, stored.box, stored.start, stored.dims
        active = [d for d in dims if int32 or d.name != "t"]
        shape = [d.count for d in reversed(active)]
        index = dict(
            zip(
                [d.name for d in reversed(active)],
                np.indices(shape).reshape(len(shape), -1) if shape else [],
                strict=True,
            )
        )
        total = int(np.prod(shape)) if shape else 1
        zero = np.zeros(total, dtype=np.int64)
        names = {d.name: d for d in dims}
        group, block = zero + start[0], zero + row
        for name in ("group", "group2"):
            if name in names:
                group = group + index[name] * names[name].lane
                block = block + index[name] * names[name].param
        block = block + index.get("block", zero)
        if "pixel" in index:
            row_index, col_index = np.divmod(index["pixel"], box.cols[1])
        else:
            row_index, col_index = index.get("y", zero), index.get("x", zero)
        qs = range(BLOCK // self.group) if int32 else mask
        size = 4 * self.group if int32 else BLOCK
        unit = 4 * BLOCK if int32 else BLOCK
        columns = []
        for q in qs:
            if q not in mask:
                columns.append(zero + DROPPED)
                continue
            lanes = np.array([self.lanes[int(g)][q] for g in np.unique(group)])
            lane = lanes[np.searchsorted(np.unique(group), group)]
            y = self._coordinate("y", step, lane[:, 1], row_index + box.rows[0])
            x = self._coordinate("x", step, lane[:, 2], col_index + box.cols[0])
            place = ((step.b * p.blocks_out + block) * p.y + y) * p.x + x
            columns.append(address + place * unit + index.get("t", zero) * size)
        return compress(np.stack(columns, axis=1).reshape(-1), size)

    def _coordinate(self, loop: str, step: Step, lane: NDArray, index: NDArray) -> NDArray:
        """Output rows (or columns) of words `index` along y (or x)."""
        m, t = self.layout.mapping, self.layout.tiles
        if loop == "y":
            first, whole, part, sub = self.stream.y_span(step.y).first, m.yt, m.ys, step.sy
        else:
            first, whole, part, sub = step.x * t.x, m.xt, m.xs, step.sx
        if self.drained == loop:
            lane, index = np.divmod(index, part)
        return first + lane * whole + sub * part + index


def _factor(groups: list[tuple[int, int]]) -> list[tuple[tuple[int, int], list[Dim]]]:
    """Start and up to two loops that give exactly these (group, param row) pairs, if any."""
    start = groups[0]
    if len(groups) == 1:
        return [(start, [])]
    found = []
    for inner in range(1, len(groups) + 1):
        if len(groups) % inner:
            continue
        outer = len(groups) // inner
        step = _difference(groups, 1) if inner > 1 else (0, 0)
        jump = _difference(groups, inner) if outer > 1 else (0, 0)
        expected = [
            (start[0] + i * step[0] + o * jump[0], start[1] + i * step[1] + o * jump[1])
            for o in range(outer)
            for i in range(inner)
        ]
        if expected == groups and min(step[1], jump[1]) >= 0:
            dims = [
                Dim("group", inner, *_lane_param(step)),
                Dim("group2", outer, *_lane_param(jump)),
            ]
            found.append((start, [d for d in dims if d.count > 1]))
    return sorted(found, key=lambda item: len(item[1]))


def _lane_param(step: tuple[int, int]) -> tuple[int, int, int]:
    return step[0], 0, step[1]


def _difference(groups: list[tuple[int, int]], n: int) -> tuple[int, int]:
    return groups[n][0] - groups[0][0], groups[n][1] - groups[0][1]


def _lines(groups: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Groups of equal parameter row, cut where their distance changes."""
    lines: list[list[tuple[int, int]]] = []
    for _, same in itertools.groupby(sorted(groups, key=lambda g: (g[1], g[0])), lambda g: g[1]):
        line: list[tuple[int, int]] = []
        for pair in same:
            if len(line) > 1 and pair[0] - line[-1][0] != line[1][0] - line[0][0]:
                lines.append(line)
                line = []
            line.append(pair)
        lines.append(line)
    return lines


def compress(addresses: NDArray, size: int) -> tuple[Burst, ...]:
    """Bursts of consecutive pieces of `size` bytes; negative addresses are dropped pieces."""
    if not len(addresses):
        return ()
    dropped = addresses < 0
    follows = (np.diff(addresses) == size) & ~dropped[1:] & ~dropped[:-1]
    follows |= dropped[1:] & dropped[:-1]
    starts = np.flatnonzero(np.concatenate([[True], ~follows]))
    lengths = np.diff(np.append(starts, len(addresses))) * size
    return tuple(zip(addresses[starts].tolist(), lengths.tolist(), strict=True))


def _four(values: list[int]) -> tuple[int, int, int, int]:
    if len(values) != 4:
        raise Unmappable("a STORE has four loops")
    return values[0], values[1], values[2], values[3]
