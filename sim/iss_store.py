"""The interpreter's store unit: one STORE on the contents of its buffers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim import reference
from sim.faults import ProgramFault
from sim.iss_array import Ints, OutputMemory
from sim.iss_memory import ADDRESS_MASK, ParamMemory
from sim.stream import Bytes
from tensorlib.design import Design
from tensorlib.program import WORD_BYTES, Store

LANES = 16
"""Lanes of a group."""

_LANE_MASK = 0xFF
_PARAM_MASK = 0xFF
_PARAM_STRIDE_MASK = 0xF


class StoreUnit:
    """Store lanes of a design, and the STOREs that read them."""

    def __init__(self, design: Design) -> None:
        self.design = design
        lanes = (_LANE_MASK + 1) * LANES
        self.bank = np.full(lanes, -1, dtype=np.int64)  # -1: no such lane, reads 0
        self.bank[list(design.output.store_lanes)] = np.arange(design.output.banks)

    def run(
        self, command: Store, output: OutputMemory, params: ParamMemory
    ) -> tuple[Bytes, int, int]:
        """Sent words `n x 16`, sum of the valid int32 outputs modulo 2^32, and their number.

        Raises: `ProgramFault` for any rule that the command breaks.
        """
        group = 1 << command.log2_group
        if group > LANES or min(command.bounds) < 1:
            raise ProgramFault("log2_group must be 0 to 4 and bounds >= 1")
        steps = command.bounds[0]
        if group < LANES and (
            steps > LANES // group or (not command.int32 and steps * group < LANES)
        ):
            raise ProgramFault(
                f"n0 = {steps} does not fit G = {group}; a batch has {LANES // group}"
            )
        index = np.indices(command.bounds[::-1]).reshape(4, -1)[::-1]  # loop 0 fastest
        sums = self._lanes(command, index, output.data)  # steps x lanes
        written = self._lanes(command, index, output.written)

        def total(strides: tuple[int, ...]) -> Ints:
            return np.asarray(np.array(strides) @ index)

        strides = tuple(stride & _PARAM_STRIDE_MASK for stride in command.param_strides)
        block = total(strides) & _PARAM_MASK
        lane = np.arange(LANES)
        channel = lane % group + (index[0][:, None] * group if group < LANES else 0)
        valid = LANES * block[:, None] + channel < command.channels
        pixel = lane // group
        sent = np.array([command.pixel_mask >> q & 1 for q in range(LANES // group)], dtype=bool)
        valid &= sent[pixel]
        if np.any(valid & ~written):
            step, wrong = np.argwhere(valid & ~written)[0]
            raise ProgramFault(f"step {step}, lane {wrong} sends an output that was never written")
        checksum = reference.checksum(sums[valid])
        count = int(valid.sum())
        if command.int32:
            values = np.where(valid, sums, np.int32(0)).astype("<i4")
            return values.view(np.uint8).reshape(-1, WORD_BYTES), checksum, count
        row = (command.params_row + block) & _PARAM_MASK
        values8 = self._requantise(command, params, sums, valid, row, channel)
        # batches x steps of a batch x pixels x channels of a step -> batches x pixels x 16
        shaped = values8.reshape(-1, LANES // group, LANES // group, group)
        words = shaped.transpose(0, 2, 1, 3).reshape(-1, LANES // group, WORD_BYTES)[:, sent]
        return words.reshape(-1, WORD_BYTES).view(np.uint8), checksum, count

    def _lanes(self, command: Store, index: Ints, memory: NDArray) -> NDArray:
        """`steps x 16` of the buffer's words (or flags; lanes without a bank are written zeros)."""
        address = np.array(command.address_strides) @ index + command.address_base
        address &= ADDRESS_MASK
        if int(address.max()) >= self.design.output.words:
            raise ProgramFault(
                f"output word {int(address.max())} is sent; banks have {self.design.output.words}"
            )
        group = (np.array(command.lane_strides) @ index + command.lane_base) & _LANE_MASK
        bank = self.bank[group[:, None] * LANES + np.arange(LANES)]
        read = memory[command.output_buffer][address[:, None], bank]
        return np.where(bank < 0, np.array(memory.dtype == np.bool_, dtype=memory.dtype), read)

    def _requantise(
        self,
        command: Store,
        params: ParamMemory,
        sums: NDArray[np.int32],
        valid: NDArray[np.bool_],
        row: Ints,
        channel: NDArray[np.int64],
    ) -> NDArray[np.int8]:
        """int8 `steps x 16`; 0 where not valid."""
        values = np.zeros(sums.shape, dtype=np.int8)
        rows = np.broadcast_to(row[:, None], sums.shape)[valid]
        columns = np.broadcast_to(channel, sums.shape)[valid]
        n = command.params_buffer
        if len(rows) and (int(rows.max()) >= params.rows or not params.written[n][rows].all()):
            raise ProgramFault(
                f"parameter row {int(rows.max())} of buffer {n} is used, but its last LOAD"
                " did not write it"
            )
        try:
            values[valid] = (
                reference.requantise(
                    sums[valid],
                    params.bias[n][rows, columns],
                    params.multiplier[n][rows, columns],
                    params.shift[n][rows, columns],
                )
                if len(rows)
                else 0
            )
        except ValueError as error:
            raise ProgramFault(str(error)) from error
        return values
