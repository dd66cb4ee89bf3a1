"""(Layer, Design, Mapping) to a layer program: the only bridge between them.

The order of commands lets loads run ahead: L0 E0 L1 E1 P S0 L2 E2 S1 ... A STORE waits in its
queue without holding up the decoder; scale parameters come after the second tile unless the
mapping says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import numpy as np

from dcp_hw.layout import MAX_COUNT, Layout
from dcp_hw.mapping import Mapping, Unmappable
from dcp_hw.metrics import Infeasible
from dcp_hw.problem import (
    BLOCK,
    Problem,
    block_offsets,
    ceil_div,
    pixel_offsets,
    problem_of,
)
from dcp_hw.stores import StorePlan, compress
from dcp_hw.tiles import Residency, Step, TileStream
from dcp_hw.workload import Layer
from tensorlib.design import Design
from tensorlib.errors import AnalysisError
from tensorlib.program import Burst, Command, Config, End, Exec, Lanes, Load, Store

PARAM_WORDS = 7
RUN_DISTANCE = 3
QUEUE = 4
"""Commands that the exec queue and the store queue hold."""
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Program:
    """A layer program and its memory map.

    Attributes:
        regions: byte address of `input`, `weight`, `params`, `output`.
        weight_tiles: (nest, k tile, c tile) to (byte address, bytes), packed weights only.
        notes: what the program does that a user may not expect.
    """

    layer: Layer
    problem: Problem
    design: Design
    mapping: Mapping
    int32: bool
    commands: tuple[Command, ...]
    memory_bytes: int
    regions: dict[str, int]
    weight_tiles: dict[tuple[int, int, int], Burst] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The text of program.json: one command a line."""
        head = {
            "schema": SCHEMA,
            "layer": self.layer.name,
            "design": self.design.hash(),
            "mapping": asdict(self.mapping),
            "int32": self.int32,
            "memory_bytes": self.memory_bytes,
            "regions": self.regions,
            "notes": list(self.notes),
        }
        lines = [json.dumps(head)[:-1] + ', "commands": [']
        rows = []
        for command in self.commands:
            values = {"op": type(command).__name__.upper()}
            bursts = getattr(command, "bursts", ())
            values |= {"words": [f"{w:032x}" for w in command.words()]}  # type: ignore[dict-item]
            if bursts:
                values["bursts"] = [list(b) for b in bursts]  # type: ignore[assignment]
            rows.append(json.dumps(values))
        return "\n".join([*lines, ",\n".join(rows), "]}"]) + "\n"


def lower(
    layer: Layer, design: Design, mapping: Mapping, *, int32: bool = False
) -> Program | Infeasible:
    """The program of a layer under a mapping, or why there is none."""
    problem = problem_of(layer, flat=mapping.flat)
    try:
        lowering = Lowering(problem, design, mapping, int32=int32, bursts=True)
        commands = tuple(lowering.commands())
        for command in commands:
            command.words()
    except (Unmappable, AnalysisError) as error:
        return Infeasible(f"{layer.name}: {error}")
    notes = []
    if problem.padded_groups:
        notes.append("grouped convolution done as a dense one with zero weights")
    if problem.activation_weights and lowering.layout.split.weights == "packed":
        notes.append("second operand packed like weights beforehand")
    return Program(
        layer=layer,
        problem=problem,
        design=design,
        mapping=mapping,
        int32=int32,
        commands=commands,
        memory_bytes=lowering.memory_bytes,
        regions=lowering.regions,
        weight_tiles=lowering.weight_tiles,
        notes=tuple(notes),
    )


class Lowering:
    """One pass over the tile stream.

    Raises: `Unmappable` (constructor, `commands`) for a mapping that the design cannot run.
    """

    def __init__(
        self, problem: Problem, design: Design, mapping: Mapping, *, int32: bool, bursts: bool
    ) -> None:
        self.problem, self.design, self.mapping = problem, design, mapping
        self.int32, self.with_bursts = int32, bursts
        self.layout = Layout(problem, design, mapping)
        self.stream = TileStream(self.layout)
        self.plan = StorePlan(self.layout, self.stream)
        self.steps = list(self.stream.steps())
        self.weight_tiles: dict[tuple[int, int, int], Burst] = {}
        self._set_params()
        self._place()

    # ------------------------------------------------------------------ memory

    def _place(self) -> None:
        """Nothing; sets the memory map."""
        p = self.problem
        self.regions = {"input": 0}
        end = p.batch * p.input_words * BLOCK
        self.regions["weight"] = end
        if self.layout.split.weights == "columns":
            end += p.batch * p.blocks_out * p.c * BLOCK
        else:
            for step in self.steps:
                key = self.stream.weight_key(step)
                if key not in self.weight_tiles:
                    size = self._weight_load(step, 0).data_words * BLOCK
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

    def _params_key(self, step: Step) -> tuple[int, int]:
        return (0 if self.problem.shared_params else step.b, step.k // self.params_tiles)

    # ---------------------------------------------------------------- commands

    def commands(self) -> Iterator[Command]:
        """All commands in order."""
        layout, stream, steps = self.layout, self.stream, self.steps
        yield layout.config()
        yield layout.lanes()
        c_tiles = layout.tiles.c_tiles
        inputs = Residency([stream.input_key(s) for s in steps])
        weights = Residency([stream.weight_key(s) for s in steps])
        last_c = [n % c_tiles == c_tiles - 1 for n in range(len(steps))]
        ends = [s for n, s in enumerate(steps) if s.last and last_c[n]]
        output = -1
        params = Residency([self._params_key(s) for s in ends])
        waiting: list[list[Command]] = []
        loads = self._load_places(inputs, weights)
        for n, step in enumerate(steps):
            for tensor, use in loads[n]:
                if tensor == "input":
                    yield self._input_load(steps[use], inputs.buffer[use])
                else:
                    yield self._weight_load(steps[use], weights.buffer[use])
            complete = step.last and last_c[n]
            output += n == 0 or (steps[n - 1].last and last_c[n - 1])
            yield self._exec(
                step,
                buffers=(inputs.buffer[n], weights.buffer[n], output % 2),
                release=(inputs.release[n], weights.release[n]),
                complete=complete,
                accumulate=n % c_tiles > 0,
            )
            for late in waiting:
                yield from late
            waiting = []
            if not complete:
                continue
            tail: list[Command] = []
            fresh = params.load[output] and not self.int32
            if fresh:
                tail.append(self._params_load(step, params.buffer[output]))
            tail += self._stores_of(
                step,
                output % 2,
                self.regions["output"] if self.with_bursts else None,
                params.buffer[output],
                release_params=params.release[output] and not self.int32,
            )
            if fresh and self.mapping.late_params and n + 1 < len(steps):
                waiting.append(tail)
            else:
                yield from tail
        for late in waiting:
            yield from late
        yield End()

    def _load_places(self, inputs: Residency, weights: Residency) -> list[list[tuple[str, int]]]:
        """Per EXEC the loads (tensor, EXEC that needs it) that go before it.

        A load follows the EXEC that frees its buffer. It holds up the decoder, so it lets as
        many EXECs pass as the queues hold, if it is not needed before.
        """
        places: list[list[tuple[str, int]]] = [[] for _ in self.steps]
        stores = len(self._stores_of(self.steps[0], 0, None)) if self.steps else 1
        ahead = QUEUE // stores if stores <= QUEUE else 1
        for tensor, residency in (("input", inputs), ("weight", weights)):
            free_after = [-1, -1]
            for n, load in enumerate(residency.load):
                if load:
                    after = free_after[residency.buffer[n]]
                    places[n if after < 0 else min(n, after + 1 + ahead)].append((tensor, n))
                if residency.release[n]:
                    free_after[residency.buffer[n]] = n
        for place in places:
            place.sort(key=lambda item: item[1])
        return places

    def _stores_of(
        self,
        step: Step,
        buffer: int,
        address: int | None,
        params_buffer: int = 0,
        *,
        release_params: bool = False,
    ) -> list[Store]:
        return self.plan.stores(
            step,
            output_buffer=buffer,
            int32=self.int32,
            output_address=address,
            params_buffer=params_buffer,
            params_first=self._params_key(step)[1]
            * self.params_tiles
            * self.layout.tiles.k
            // BLOCK,
            release_params=release_params,
        )

    def _exec(
        self,
        step: Step,
        *,
        buffers: tuple[int, int, int],
        release: tuple[bool, bool],
        complete: bool,
        accumulate: bool,
    ) -> Exec:
        layout, m = self.layout, self.mapping
        bounds = self.stream.bounds(step)
        active = self.stream.active(step)
        order = m.order
        limits = [1, 1, 1, 1]
        for n, loop in enumerate(layout.digit_loops):
            if loop is not None:
                limits[n] = ceil_div(active[loop], layout.digit_unit(loop))
        given = tuple(bounds[loop] for loop in order)
        self._check_distance(given)
        inputs, weights = layout.input_strides, layout.weight_strides
        input_base = layout.input_base + step.sx * m.xs * inputs["x"]
        row = step.y * layout.tiles.y + step.sy * m.ys + step.rows[0]
        above = (
            row * self.problem.stride - self.problem.padding + step.taps[0] * self.problem.dilation
        )
        loaded, _ = self.stream.loaded_rows(step.y)
        input_base += (above - loaded) * layout.input.strides[1]
        input_base += step.sk * m.ks * inputs["k"]
        if self.problem.c4:
            input_base += layout.pixel_start(step.x) % 4 * 4
        return Exec(
            input_buffer=buffers[0],
            weight_buffer=buffers[1],
            output_buffer=buffers[2],
            bounds=given,
            limits=(limits[0], limits[1], limits[2], limits[3]),
            release_input=release[0],
            release_weight=release[1],
            output_complete=complete,
            accumulate=accumulate,
            input_base=input_base,
            weight_base=step.sk * m.ks * weights["k"] + step.taps[0] * weights["r"],
            output_base=layout.output_base + step.rows[0] * layout.y_pitch,
        )

    def _check_distance(self, bounds: tuple[int, ...]) -> None:
        """Nothing.

        Raises: `Unmappable` if partial sums of a word follow each other too closely.
        """
        if self.layout.axes.chain == "output":
            return
        between = 1
        for loop, bound in list(zip(self.mapping.order, bounds, strict=True))[
            self.layout.run_depth :
        ]:
            if loop in "crs":
                if bound > 1:
                    run = int(np.prod(bounds[: self.layout.run_depth]))
                    if run * (between - 1) + 1 < RUN_DISTANCE:
                        raise Unmappable("partial sums of one word follow too closely")
                    return
            else:
                between *= bound

    # ------------------------------------------------------------------- loads

    def _input_load(self, step: Step, buffer: int) -> Load:
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

    def _weight_load(self, step: Step, buffer: int) -> Load:
        p, layout, stream = self.problem, self.layout, self.stream
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
        if columns and self.with_bursts and hasattr(self, "regions") and "weight" in self.regions:
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

    def _params_load(self, step: Step, buffer: int) -> Load:
        p, tiles = self.problem, self.layout.tiles
        nest, group = self._params_key(step)
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


__all__ = ["Config", "Lanes", "Lowering", "Program", "Store", "lower"]
