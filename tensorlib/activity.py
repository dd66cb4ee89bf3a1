"""Activity counters of a command list: docs/hardware.md, section 9, counters 5 to 22."""

from __future__ import annotations

from collections import Counter
from math import prod

import numpy as np
from numpy.typing import NDArray

from tensorlib.design import Design, Operand
from tensorlib.program import Command, Config, Exec, Lanes, Load, LoadShape, Store
from tensorlib.row_kernel import row_changes

COUNTERS = (
    *("compute", "fill_drain", "config", "wait_load", "wait_store", "step", "mac"),
    *("input_read", "weight_read", "input_write", "weight_write", "output_read", "output_write"),
    *("requantise", "bus_in_beat", "bus_out_beat", "hop_input", "hop_weight", "hop_output"),
    *("stationary_load", "tree_add", "accumulate", "sweep"),
)
"""Names of all counters, by number."""

_COORDINATES = 1 << 10
_LANES = 16


class Activity:
    """Adds up the events of commands given in program order."""

    def __init__(self, design: Design) -> None:
        self.design = design
        self.total: Counter[str] = Counter()
        self.words_in = 0
        self.config: Config | None = None
        self.lanes: Lanes | None = None
        self._cache: dict[tuple[object, ...], int] = {}

    def count(self, command: Command) -> None:
        """Nothing; adds one command's events."""
        match command:
            case Config():
                self.config = command
                self.words_in += 6
                self._cache = {}
            case Lanes():
                self.lanes = command
                self.words_in += 1 + self.design.rows + self.design.cols
                self._cache = {}
            case Load():
                self._load(command)
                self.words_in += 1 + command.data_words
            case Exec():
                self._exec(command)
                self.words_in += 2
            case Store():
                self.total["requantise"] += _valid_values(command)
                self.words_in += 2
            case _:
                self.words_in += 1

    def counters(self, words_out: int) -> dict[str, int]:
        """Counters 5 to 22 by name, for a program that sends `words_out` words."""
        design, total = self.design, self.total
        pes, chain = design.pes, design.chain_length
        drained = total["sweep"] if design.chain_tensor == "output" else 0
        filled = total["sweep"] - drained
        steps = total["step"]
        derived = {
            "bus_in_beat": self.words_in * design.r_in,
            "bus_out_beat": words_out * design.r_out,
            "hop_input": steps * design.input.link_registers,
            "hop_weight": steps * design.weight.link_registers,
            "hop_output": steps * design.output.link_registers + drained * pes * chain,
            "stationary_load": filled * pes * chain,
            "tree_add": steps * design.tree_adds_per_step,
            "accumulate": (
                total["mac"] + drained * design.output.banks * chain
                if design.chain_tensor == "output"
                else steps * design.exits
            ),
        }
        return {name: total[name] + derived.get(name, 0) for name in COUNTERS[5:]}

    def _load(self, command: Load) -> None:
        """Rows that banks keep."""
        if command.tensor == "params" or self.config is None or self.lanes is None:
            return
        key = ("load", command.tensor, command.na, command.nb, *_columns(command))
        if key not in self._cache:
            shape = getattr(self.config, f"{command.tensor}_load")
            operand = getattr(self.design, command.tensor)
            self._cache[key] = _rows_kept(command, shape, operand, self.lanes)
        self.total[f"{command.tensor}_write"] += self._cache[key]

    def _exec(self, command: Exec) -> None:
        config, design = self.config, self.design
        if config is None or self.lanes is None:
            return
        steps = prod(command.bounds)
        self.total["step"] += steps
        if design.window is None:
            self.total["mac"] += steps * self._enabled(command.limits)
        else:
            sweep = command.bounds[0]
            self.total["mac"] += steps // sweep * self._enabled(command.limits, sweep)
        for tensor in ("input", "weight"):
            banks = getattr(design, tensor).banks
            self.total[f"{tensor}_read"] += banks * self._rows_read(tensor, command)
        outer = range(config.run_depth, len(command.bounds))
        runs = prod(command.bounds[loop] for loop in outer)
        fresh = prod(
            command.bounds[loop] for loop in outer if not config.reduction_mask >> loop & 1
        )
        partial = runs if command.accumulate else runs - fresh
        words = design.output.banks * max(design.output.chain_length, 1)
        self.total["output_read"] += partial * words
        self.total["output_write"] += runs * words
        if design.chain_tensor:
            self.total["sweep"] += prod(command.bounds[config.sweep_depth :])

    def _enabled(self, limits: tuple[int, ...], sweep: int = 1) -> int:
        """PEs whose digits are all within the limits; with windows, steps of PEs in a sweep."""
        key = ("enabled", sweep, *limits)
        if key not in self._cache:
            assert self.lanes is not None
            one, two = (
                np.array([lane.digits for lane in axis], dtype=np.int64)
                for axis in (self.lanes.axis1, self.lanes.axis2)
            )
            digit = ((one[:, None] + two[None] + 128) & 255) - 128
            moves = np.arange(sweep)[:, None] * np.array(self.design.window or (0,) * 4)
            digit = digit + moves[:, None, None]
            inside = (digit >= 0) & (digit < np.array(limits))
            self._cache[key] = int(np.count_nonzero(inside.all(axis=3)))
        return self._cache[key]

    def _rows_read(self, tensor: str, command: Exec) -> int:
        """Steps (or reads of fills) whose row differs from the one before."""
        config = self.config
        assert config is not None
        base = getattr(command, f"{tensor}_base") & (_LANES - 1)
        key = ("rows", tensor, base, *command.bounds)
        if key not in self._cache:
            bounds, strides = command.bounds, getattr(config, f"{tensor}_strides")
            length = getattr(self.design, tensor).chain_length
            if length:
                depth = config.sweep_depth
                bounds = (length, *bounds[depth:])
                strides = (getattr(config, f"{tensor}_fill_stride"), *strides[depth:])
            self._cache[key] = row_changes(
                np.array(bounds, dtype=np.int64), np.array(strides, dtype=np.int64), base
            )
        return self._cache[key]


def _rows_kept(command: Load, shape: LoadShape, operand: Operand, lanes: Lanes) -> int:
    """Bank rows written by a LOAD: words in the box of each bank."""
    first, second = np.array(operand.lanes).T

    def lows(field: str) -> NDArray[np.int64]:
        name = f"{command.tensor}_{field}"
        one = np.array([getattr(lane, name) for lane in lanes.axis1], dtype=np.int64)
        two = np.array([getattr(lane, name) for lane in lanes.axis2], dtype=np.int64)
        total: NDArray[np.int64] = (one[first] + two[second]) % _COORDINATES
        return total

    kept = np.ones(operand.banks, dtype=np.int64)
    for field, span in (("a", (0, command.na)), ("b", (0, command.nb)), ("c", _columns(command))):
        low, extent = lows(field), getattr(shape, f"extent_{field}")
        kept *= _overlap(span, low, low + extent) + _overlap(
            span, low - _COORDINATES, low + extent - _COORDINATES
        )
    return int(kept.sum())


def _columns(command: Load) -> tuple[int, int]:
    """First step of a row, and the one after its last."""
    return (command.c_lo, command.c_hi) if command.clear else (0, command.nc)


def _overlap(
    span: tuple[int, int], low: NDArray[np.int64], high: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Integers of `span` in low .. high - 1."""
    return np.maximum(0, np.minimum(span[1], high) - np.maximum(span[0], low))


def _valid_values(command: Store) -> int:
    """Outputs that a STORE sends and counts."""
    group = 1 << command.log2_group
    n0, n1, n2, n3 = (np.arange(n) for n in command.bounds)
    block = 0
    for index, stride in zip((n0, n1, n2, n3), command.param_strides, strict=True):
        block = np.add.outer(block, index * (stride & 15))
    block = (block & 255).reshape(len(n0), -1)
    lane = np.arange(_LANES)
    step = n0 * group if group < _LANES else n0 * 0
    channel = step[:, None] + lane % group
    sent = (command.pixel_mask >> (lane // group)) & 1
    # valid channels of a step, over lanes of sent pixels
    room = command.channels - _LANES * block
    valid = (channel[:, None, :] < room[:, :, None]) & (sent[None, None, :] == 1)
    return int(np.count_nonzero(valid))
