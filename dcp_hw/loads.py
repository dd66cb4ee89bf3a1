"""LOAD commands, what they read, and the memory map of a program."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dcp_hw.layout import MAX_COUNT, Layout
from dcp_hw.mapping import Unmappable
from dcp_hw.problem import BLOCK, block_offsets, ceil_div, pixel_offsets
from dcp_hw.stores import compress
from dcp_hw.tiles import Step, TileStream
from tensorlib.program import Burst, Load

PARAM_WORDS = 7


class LoadPlan:
    """Builds the LOADs of a layout.

    Attributes:
        regions: byte address of `input`, `weight`, `params`, `output`.
        weight_tiles: (nest, k tile, c tile) to (byte address, bytes), packed weights only.
        params_tiles: k tiles that share one load of parameters.
    """

    def __init__(
        self,
        layout: Layout,
        stream: TileStream,
        steps: Iterable[Step],
        *,
        int32: bool,
        with_bursts: bool,
    ) -> None:
        self.layout, self.stream = layout, stream
        self.problem, self.mapping, self.design = layout.problem, layout.mapping, layout.design
        self.int32, self.with_bursts = int32, with_bursts
        self.regions: dict[str, int] = {}
        self.weight_tiles: dict[tuple[int, int, int], Burst] = {}
        self._set_params()
        self._place(steps)

    # ------------------------------------------------------------------ memory

    def _place(self, steps: Iterable[Step]) -> None:
        """Nothing; sets the memory map."""
        p = self.problem
        self.regions["input"] = 0
        end = p.batch * p.input_words * BLOCK
        self.regions["weight"] = end
        if self.layout.split.weights == "columns":
            end += p.batch * p.blocks_out * p.c * BLOCK
        elif self.layout.split.weights == "rows":
            end += p.batch * ceil_div(p.c, BLOCK) * p.k * BLOCK
        else:
            for step in steps if self.with_bursts else ():
                key = self.stream.weight_key(step)
                if key not in self.weight_tiles:
                    size = self.weight(step, 0).data_words * BLOCK
                    self.weight_tiles[key] = (end, size)
                    end += size
        self.regions["params"] = end
        nests = 1 if p.shared_params else p.batch
        end += nests * p.blocks_out * PARAM_WORDS * BLOCK
        self.regions["output"] = end
        end += p.batch * p.blocks_out * p.output_pixels * BLOCK * (4 if self.int32 else 1)
        self.memory_bytes = end

    def _set_params(self) -> None:
        """Nothing; sets how many k tiles share one load of parameters."""
        rows, tiles = self.design.param_rows, self.layout.tiles
        if self.int32 or self.problem.blocks_out <= rows:
            self.params_tiles = tiles.k_tiles
        else:
            self.params_tiles = rows * BLOCK // tiles.k
            if self.params_tiles == 0:
                raise Unmappable(f"a k tile of {tiles.k} channels needs more parameter rows")

    def params_key(self, step: Step) -> tuple[int, int]:
        return (0 if self.problem.shared_params else step.b, step.k // self.params_tiles)

    # ------------------------------------------------------------------- loads

    def input(self, step: Step, buffer: int) -> Load:
        p, layout, stream = self.problem, self.layout, self.stream
        x = stream.x_span(step.x)
        shape = layout.input
        width = (x.lanes - 1) * self.mapping.xt + x.steps
        row0, rows = stream.loaded_rows(step.y)
        cols = (width - 1) * p.stride + (stream.tap_reach("s") - 1) * p.dilation + 1
        col0 = layout.pixel_start(step.x)
        size_x = p.in_x
        if p.c4:
            phase = col0 % 4
            col0 = (col0 - phase) // 4
            cols, size_x = ceil_div(phase + cols, 4), ceil_div(p.in_x, 4)
        first, blocks = self._input_blocks(step, shape.extents[0])
        if max(blocks, rows, cols) > MAX_COUNT:
            raise Unmappable("an input tile is too large for one LOAD")
        b_lo, b_hi = max(0, -row0), min(rows, p.in_y - row0)
        c_lo, c_hi = max(0, -col0), min(cols, size_x - col0)
        b_hi, c_hi = max(b_lo, b_hi), max(c_lo, c_hi)
        bursts: tuple[Burst, ...] = ()
        if self.with_bursts:
            inside = pixel_offsets(
                p, np.arange(row0 + b_lo, row0 + b_hi), np.arange(col0 + c_lo, col0 + c_hi)
            ).reshape(-1)
            index = np.minimum(np.arange(first, first + blocks), p.blocks_in - 1)
            offsets = step.b * p.input_words + block_offsets(p, index)
            words = offsets[:, None] + inside[None]
            bursts = compress(self.regions["input"] + words.reshape(-1) * BLOCK, BLOCK)
        padded = c_lo > 0 or c_hi < cols
        clear = padded and layout.short_rows(x.lanes, c_lo, c_hi)
        return Load(
            tensor="input",
            buffer=buffer,
            na=blocks,
            nb=rows,
            nc=cols,
            b_lo=b_lo,
            b_hi=b_hi,
            c_lo=c_lo,
            c_hi=c_hi,
            clear=clear,
            start=c_lo * shape.strides[2] if clear else 0,
            bursts=bursts,
        )

    def _input_blocks(self, step: Step, per_lane: int) -> tuple[int, int]:
        """First 16-channel block of an input tile and number of blocks to load."""
        p, s = self.problem, self.layout.split
        if p.c4:
            return 0, 1
        span = self.stream.k_span(step.k) if p.depthwise else self.stream.c_span(step.c)
        if p.depthwise:
            outer = ceil_div(span.lanes, s.ki) if s.ko > 1 else 1
        else:
            outer = ceil_div(span.lanes, s.ci) if s.co > 1 else 1
        blocks = outer * per_lane if outer > 1 else ceil_div(span.count, BLOCK)
        return span.first // BLOCK, blocks

    def weight(self, step: Step, buffer: int) -> Load:
        p, layout, stream = self.problem, self.layout, self.stream
        if layout.split.weights == "rows":
            return self._weight_rows(step, buffer)
        span, depth = stream.k_span(step.k), stream.c_span(step.c)
        columns = layout.split.weights == "columns"
        c_hi = None
        if layout.split.weights == "taps":
            counts = (ceil_div(span.count, BLOCK), p.r, p.s)
            if layout.split.ko > 1:
                counts = (ceil_div(span.lanes, BLOCK) * self.mapping.kt, p.r, p.s)
            if stream.tap_reach("r") > p.r or stream.tap_reach("s") > p.s:
                raise Unmappable("lanes of r or s do not divide the taps")
        elif columns:
            s = layout.split
            outer = ceil_div(depth.lanes, s.ci) if s.co > 1 else 1
            reach = ((outer - 1) * self.mapping.ct + depth.steps) * s.ci
            blocks = ceil_div(span.count, BLOCK)
            if s.ko > 1:
                blocks = ceil_div(span.lanes, BLOCK) * span.steps
                if span.steps != self.mapping.kt and span.lanes > BLOCK:
                    raise Unmappable("outer lanes of columns need whole tiles")
            counts, c_hi = (blocks, 1, reach), depth.count
        else:
            limits = stream.active_weight(step.k, step.c)
            banks = layout.weight_banks
            counts = (
                banks[0].active(limits),
                banks[1].active(limits),
                layout.packed_rows(span.steps),
            )
        if max(counts) > MAX_COUNT or counts[0] > 256:
            raise Unmappable("a weight tile is too large for one LOAD")
        bursts: tuple[Burst, ...] = ()
        if columns and self.with_bursts and "weight" in self.regions:
            index = np.minimum(span.first // BLOCK + np.arange(counts[0]), p.blocks_out - 1)
            index = step.b * p.blocks_out + index
            rows = depth.first + np.arange(depth.count)
            words = index[:, None] * p.c + rows[None]
            bursts = compress(self.regions["weight"] + words.reshape(-1) * BLOCK, BLOCK)
        elif not columns:
            tile = self.weight_tiles.get(stream.weight_key(step))
            bursts = (tile,) if tile and tile[1] else ()
        return Load(
            tensor="weight",
            buffer=buffer,
            na=counts[0],
            nb=counts[1],
            nc=counts[2],
            b_hi=counts[1],
            c_hi=counts[2] if c_hi is None else c_hi,
            bursts=bursts,
        )

    def _weight_rows(self, step: Step, buffer: int) -> Load:
        """Words of 16 c: blocks of c, then blocks of k, then 16 of k."""
        p, s, stream = self.problem, self.layout.split, self.stream
        span, depth = stream.k_span(step.k), stream.c_span(step.c)
        c_blocks, k_blocks = ceil_div(depth.count, BLOCK), ceil_div(span.count, BLOCK)
        if s.co > 1:
            c_blocks = ceil_div(depth.lanes, s.ci) * self.layout.weight.extents[0]
        if s.ko > 1:
            k_blocks = ceil_div(span.lanes, BLOCK) * span.steps
            if span.steps != self.mapping.kt and span.lanes > BLOCK:
                raise Unmappable("outer lanes of rows need whole tiles")
        if max(c_blocks, k_blocks) > MAX_COUNT or c_blocks > 256:
            raise Unmappable("a weight tile is too large for one LOAD")
        bursts: tuple[Burst, ...] = ()
        if self.with_bursts and "weight" in self.regions:
            total = ceil_div(p.c, BLOCK)
            block = np.minimum(depth.first // BLOCK + np.arange(c_blocks), total - 1)
            pixel = np.minimum(span.first + np.arange(k_blocks * BLOCK), p.k - 1)
            words = (step.b * total + block[:, None]) * p.k + pixel[None]
            bursts = compress(self.regions["weight"] + words.reshape(-1) * BLOCK, BLOCK)
        return Load(
            tensor="weight",
            buffer=buffer,
            na=c_blocks,
            nb=k_blocks,
            nc=BLOCK,
            b_hi=k_blocks,
            c_hi=BLOCK,
            bursts=bursts,
        )

    def params(self, step: Step, buffer: int) -> Load:
        p, tiles = self.problem, self.layout.tiles
        nest, group = self.params_key(step)
        first = group * self.params_tiles * tiles.k // BLOCK
        rows = min(p.blocks_out - first, ceil_div(self.params_tiles * tiles.k, BLOCK))
        words = rows * PARAM_WORDS
        address = self.regions["params"] + (nest * p.blocks_out + first) * PARAM_WORDS * BLOCK
        return Load(
            tensor="params",
            buffer=buffer,
            na=rows,
            nb=1,
            nc=PARAM_WORDS,
            b_hi=1,
            c_hi=PARAM_WORDS,
            bursts=((address, words * BLOCK),),
        )
