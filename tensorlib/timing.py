"""Cycles and counters of a command list, without data (docs/hardware.md, sections 8 and 9).

Exact for a source that is always valid and a sink that is always ready.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from tensorlib import timing_kernel as kernel
from tensorlib.activity import COUNTERS, Activity
from tensorlib.design import Design
from tensorlib.errors import AnalysisError
from tensorlib.program import TENSORS, Command, Config, End, Exec, Lanes, Load, Store

Ints = NDArray[np.int64]

CYCLE_CAUSES = ("compute", "fill_drain", "config", "wait_load", "wait_store")


class TimingError(AnalysisError):
    """A program that never ends, or whose end is not defined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What the counters of the hardware hold after a program.

    Attributes:
        latency_cycles: register LATENCY; the sum of the cycles by cause.
        counters: all counters of section 9, by name, in their order.
        begin, end: int64 per command, cycles: the header is consumed, the last word or load step
            (CONFIG, LANES, LOAD, END); the start, the last step (EXEC, STORE).
    """

    latency_cycles: int
    counters: dict[str, int]
    begin: Ints
    end: Ints

    @property
    def cycles(self) -> dict[str, int]:
        """Cycles by cause."""
        return {name: self.counters[name] for name in CYCLE_CAUSES}


def predict(design: Design, commands: Sequence[Command]) -> Prediction:
    """Latency, cycles by cause and counters of a program.

    Raises: `TimingError` for a program that is stuck, lacks END, or sends nothing.
    """
    if not commands or not isinstance(commands[-1], End):
        raise TimingError("a program ends with END")
    activity = Activity(design)
    table = np.zeros((len(commands), kernel.COLUMNS), dtype=np.int64)
    config: Config | None = None
    for index, command in enumerate(commands):
        if isinstance(command, Config):
            config = command
        activity.count(command)
        table[index, 0] = command.op
        values = _columns(design, command, config)
        table[index, 1 : 1 + len(values)] = values
    state = kernel.new_state(
        *(int(np.count_nonzero(table[:, 0] == kind)) for kind in (Load.op, Exec.op, Store.op)),
        len(commands),
    )
    settings = int(np.count_nonzero(table[:, 0] <= Lanes.op))
    begin, end = np.zeros(settings, dtype=np.int64), np.zeros(settings, dtype=np.int64)
    fill = design.input.chain_length or design.weight.chain_length
    lane_words = 1 + design.rows + design.cols
    setup = (design.r_in, design.r_out, lane_words, fill, design.finish_cycles)
    stuck = kernel.decode(table, state, begin, end, setup)
    if stuck < len(commands):
        name = type(commands[stuck]).__name__.upper()
        raise TimingError(f"command {stuck} ({name}) waits for ever")
    latency = int(state.heads[5]) + 1
    if latency == 0:
        raise TimingError("the program sends nothing, so its latency is not defined")
    waits = kernel.idle_causes(state, begin, end, int(state.end[-1]), latency)
    busy = int((state.exec_idle - 1 - state.exec_start).sum())
    counters = activity.counters(int(state.heads[4]))
    compute = counters["step"]
    causes = (compute, busy - compute, *(int(cycles) for cycles in waits))
    counters = dict(zip(CYCLE_CAUSES, causes, strict=True)) | counters
    return Prediction(
        latency_cycles=latency,
        counters={name: counters[name] for name in COUNTERS},
        begin=state.begin,
        end=state.end,
    )


def _columns(design: Design, command: Command, config: Config | None) -> tuple[int, ...]:
    """The kernel's columns of a command, after the opcode."""
    if isinstance(command, Load):
        return (
            TENSORS.index(command.tensor),
            command.buffer,
            *command.walk,
        )
    if isinstance(command, Exec):
        if config is None:
            raise TimingError("EXEC before CONFIG")
        depth = config.sweep_depth if design.chain_tensor else len(command.bounds)
        steps, sweeps = prod(command.bounds[:depth]), prod(command.bounds[depth:])
        return (
            *(command.input_buffer, command.weight_buffer, command.output_buffer),
            *(command.release_input, command.release_weight, command.output_complete),
            *(steps, sweeps, max(steps, config.sweep_min)),
        )
    if isinstance(command, Store):
        pixels = 16 >> command.log2_group
        words = 4 if command.int32 else (command.pixel_mask & ((1 << pixels) - 1)).bit_count()
        batch = 1 if command.int32 or pixels == 1 else command.bounds[0]
        return (
            command.output_buffer,
            command.release_output,
            not command.int32,
            command.params_buffer,
            command.release_params,
            *(prod(command.bounds) // batch, batch, words),
        )
    return ()
