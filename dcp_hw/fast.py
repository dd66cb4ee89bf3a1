"""The exact latency of a mapping without its commands: rows for the cycle model, made once each.

Equal tiles have equal commands apart from buffers, so that a row is computed for the first of
them only. The order of commands is that of `Lowering`; tests compare both.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from dcp_hw.lowering import Lowering
from dcp_hw.mapping import Mapping, Unmappable
from dcp_hw.problem import Problem
from dcp_hw.tiles import Step
from tensorlib import timing_kernel as kernel
from tensorlib.design import Design
from tensorlib.program import TENSORS, Config, End, Exec, Lanes, Load, Store

Row = tuple[int, ...]


class RowLoads:
    """Rows of LOADs; stands for the `LoadPlan` of a `Lowering`."""

    def __init__(self, lowering: Lowering) -> None:
        self.plan, self.stream = lowering.loads, lowering.stream
        self.depthwise = lowering.problem.depthwise
        self.params_tiles, self.params_key = self.plan.params_tiles, self.plan.params_key
        self.regions = self.plan.regions
        self._rows: dict[tuple[Any, ...], tuple[int, ...]] = {}

    def _row(self, key: tuple[Any, ...], build: Any, step: Step, buffer: int) -> Row:
        if key not in self._rows:
            c: Load = build(step, 0)
            self._rows[key] = c.walk
        return (Load.op, TENSORS.index(key[0]), buffer, *self._rows[key])

    def input(self, step: Step, buffer: int) -> Row:
        """Row of an input LOAD."""
        span = self.stream.k_span(step.k) if self.depthwise else self.stream.c_span(step.c)
        key = ("input", span.count, step.y, step.x)
        return self._row(key, self.plan.input, step, buffer)

    def weight(self, step: Step, buffer: int) -> Row:
        """Row of a weight LOAD."""
        key = ("weight", self.stream.k_span(step.k).count, self.stream.c_span(step.c).count)
        return self._row(key, self.plan.weight, step, buffer)

    def params(self, step: Step, buffer: int) -> Row:
        """Row of a LOAD of parameters."""
        return self._row(("params", self.params_key(step)), self.plan.params, step, buffer)


class RowLanes:
    """The row of LANES; stands for the `LaneTable` of a `Lowering`, whose checks it leaves out."""

    def command(self) -> Row:
        """Row of the LANES command."""
        return (Lanes.op,)


class RowLowering(Lowering):
    """A lowering whose commands are rows of the cycle model's table."""

    def __init__(
        self, problem: Problem, design: Design, mapping: Mapping, *, int32: bool = False
    ) -> None:
        super().__init__(problem, design, mapping, int32=int32, bursts=False)
        self.loads = RowLoads(self)  # type: ignore[assignment]
        self.table = RowLanes()  # type: ignore[assignment]
        self._exec_rows: dict[tuple[Any, ...], Row] = {}
        self._store_rows: dict[tuple[Any, ...], list[Row]] = {}

    def _key(self, step: Step) -> tuple[Any, ...]:
        s = self.stream
        counts = (s.k_span(step.k), s.c_span(step.c), s.y_span(step.y), s.x_span(step.x))
        return (*(c.count for c in counts), step.sk, step.sy, step.sx, step.rows, step.taps)

    def _exec(self, step: Step, **settings: Any) -> Row:  # type: ignore[override]
        key = self._key(step)
        if key not in self._exec_rows:
            bounds = tuple(self.stream.bounds(step)[loop] for loop in self.mapping.order)
            self._check_distance(bounds)
            chained = self.design.chain_tensor is not None
            depth = self.layout.sweep_depth if chained else len(bounds)
            steps = prod(bounds[:depth])
            least = self.design.sweep_min if chained else 0
            self._exec_rows[key] = (steps, prod(bounds[depth:]), max(steps, least))
        return (
            Exec.op,
            *settings["buffers"],
            *settings["release"],
            settings["complete"],
            *self._exec_rows[key],
        )

    def _stores_of(  # type: ignore[override]
        self,
        step: Step,
        buffer: int,
        address: int | None,
        params_buffer: int = 0,
        *,
        release_params: bool = False,
    ) -> list[Row]:
        key = self._key(step)
        if key not in self._store_rows:
            rows = []
            for shape in self.plan.shapes_of(step):
                words = 4 if self.int32 else len(shape.mask)
                batch = 1 if self.int32 or self.plan.group == 16 else shape.bounds[0]
                rows.append((prod(shape.bounds) // batch, batch, words))
            self._store_rows[key] = rows
        rows = self._store_rows[key]
        return [
            (
                Store.op,
                buffer,
                n == len(rows) - 1,
                not self.int32,
                params_buffer,
                release_params and n == len(rows) - 1,
                *row,
            )
            for n, row in enumerate(rows)
        ]


def latency(
    problem: Problem, design: Design, mapping: Mapping, *, int32: bool = False
) -> int | str:
    """Exact cycles of a mapping, equal to `predict` on its commands; or why it cannot run.

    Limits of the LANES entries are not checked: lower what is chosen.
    """
    try:
        rows: list[Row] = []
        for item in RowLowering(problem, design, mapping, int32=int32).commands():
            if isinstance(item, tuple):
                rows.append(item)
            else:
                assert isinstance(item, Config | End)
                rows.append((item.op,))
    except Unmappable as error:
        return str(error)
    table = np.zeros((len(rows), kernel.COLUMNS), dtype=np.int64)
    for index, row in enumerate(rows):
        table[index, : len(row)] = row
    counts = [sum(row[0] == op for row in rows) for op in (Load.op, Exec.op, Store.op)]
    state = kernel.new_state(*counts, len(rows))
    begin, end = np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64)
    fill = design.input.chain_length or design.weight.chain_length
    lane_words = 1 + design.rows + design.cols
    setup = (design.r_in, design.r_out, lane_words, fill, design.finish_cycles)
    if kernel.decode(table, state, begin, end, setup) < len(rows):
        return "the program waits for ever"
    return int(state.heads[5]) + 1
