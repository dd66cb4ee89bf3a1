"""(Layer, Design, Mapping) to a layer program: the only bridge between them.

The order of commands lets loads run ahead: L0 E0 L1 E1 P S0 L2 E2 S1 ... A STORE waits in its
queue without holding up the decoder; scale parameters come after the second tile unless the
mapping says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from dcp_hw.lane_table import LaneTable
from dcp_hw.layout import Layout
from dcp_hw.loads import LoadPlan
from dcp_hw.mapping import Mapping, Unmappable
from dcp_hw.metrics import Infeasible
from dcp_hw.packing import Bytes, DataLike, memory_image, read_output
from dcp_hw.problem import (
    BLOCK,
    Problem,
    ceil_div,
    problem_of,
)
from dcp_hw.stores import StorePlan
from dcp_hw.tiles import Residency, Step, TileStream
from dcp_hw.workload import Layer
from tensorlib.design import Design
from tensorlib.errors import AnalysisError
from tensorlib.program import Burst, Command, End, Exec, Store

RUN_DISTANCE = 3
QUEUE = 4
"""Commands that the exec queue and the store queue hold."""
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Program:
    """A layer program and its memory map.

    Attributes:
        regions: byte address of `input`, `weight`, `params`, `output`.
        layouts: how `input` (c16, c4) and `weight` (packed, taps, columns, rows) lie in memory.
        weight_tiles: (nest, k tile, c tile) to (byte address, bytes), packed weights only.
        tiles: the same tiles with their contents, for whoever packs them (docs/hardware.md, 2.5).
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
    layouts: dict[str, str] = field(default_factory=dict)
    weight_tiles: dict[tuple[int, int, int], Burst] = field(default_factory=dict)
    tiles: tuple[dict[str, int], ...] = ()
    notes: tuple[str, ...] = ()

    def image(self, data: DataLike) -> Bytes:
        """The memory before the program runs."""
        return memory_image(self, data)

    def results(
        self, memory: Bytes, data: DataLike
    ) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
        """The layer's output that the program left in memory, and what it must be."""
        return read_output(self, memory), data.acc if self.int32 else data.output

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
            "layouts": self.layouts,
            "weight_tiles": list(self.tiles),
            "notes": list(self.notes),
        }
        return program_text(head, self.commands)


def program_text(head: dict[str, object], commands: Sequence[Command]) -> str:
    """The text of a program.json with these fields before its commands."""
    lines = [json.dumps(head)[:-1] + ', "commands": [']
    rows = []
    for command in commands:
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
        memory_bytes=lowering.loads.memory_bytes,
        regions=lowering.loads.regions,
        layouts={
            "input": "c4" if problem.c4 or problem.patch else "c16",
            "weight": lowering.layout.split.weights,
        },
        weight_tiles=lowering.loads.weight_tiles,
        tiles=tuple(lowering.weight_tiles()),
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
        self.table = LaneTable(self.layout)
        self.stream = TileStream(self.layout)
        self.plan = StorePlan(self.layout, self.stream)
        self.steps = list(self.stream.steps())
        self.loads = LoadPlan(self.layout, self.stream, self.steps, int32=int32, with_bursts=bursts)

    def weight_tiles(self) -> Iterator[dict[str, int]]:
        """Packed weight tiles as they lie in memory: place, size, first elements, banks."""
        packed = self.layout.split.weights == "packed"
        for (nest, k, c), (address, size) in self.loads.weight_tiles.items() if packed else ():
            span, limits = self.stream.k_span(k), self.stream.active_weight(k, c)
            one, two = (banks.active(limits) for banks in self.layout.weight_banks)
            yield {
                "address": address,
                "bytes": size,
                "nest": nest,
                "k": span.first,
                "k_steps": span.steps,
                "c": self.stream.c_span(c).first,
                "banks_1": one,
                "banks_2": two,
            }

    # ---------------------------------------------------------------- commands

    def commands(self) -> Iterator[Command]:
        """All commands in order."""
        layout, stream, steps = self.layout, self.stream, self.steps
        yield layout.config()
        yield self.table.command()
        c_tiles = layout.tiles.c_tiles
        inputs = Residency([stream.input_key(s) for s in steps])
        weights = Residency([stream.weight_key(s) for s in steps])
        last_c = [n % c_tiles == c_tiles - 1 for n in range(len(steps))]
        ends = [s for n, s in enumerate(steps) if s.last and last_c[n]]
        output = -1
        params = Residency([self.loads.params_key(s) for s in ends])
        waiting: list[list[Command]] = []
        loads = self._load_places(inputs, weights)
        for n, step in enumerate(steps):
            for tensor, use in loads[n]:
                if tensor == "input":
                    yield self.loads.input(steps[use], inputs.buffer[use])
                else:
                    yield self.loads.weight(steps[use], weights.buffer[use])
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
                tail.append(self.loads.params(step, params.buffer[output]))
            tail += self._stores_of(
                step,
                output % 2,
                self.loads.regions["output"] if self.with_bursts else None,
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
            params_first=self.loads.params_key(step)[1]
            * self.loads.params_tiles
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
        for n, loop in enumerate(self.table.digit_loops):
            if loop is not None:
                limits[n] = ceil_div(active[loop], self.table.digit_unit(loop))
        given = tuple(bounds[loop] for loop in order)
        self._check_distance(given)
        inputs, weights = layout.input_strides, layout.weight_strides
        input_base = layout.input_base + step.sx * m.xs * inputs["x"]
        row = self.stream.y_span(step.y).first + step.sy * m.ys + step.rows[0]
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
