"""The interpreter's PE array where PEs are enabled step by step (design.json, `window`)."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from sim.faults import ProgramFault
from sim.iss_array import Array, OutputMemory, changes, check_distance, nest_addresses
from sim.iss_memory import ADDRESS_MASK, OperandMemory
from tensorlib.design import ROW_BYTES, Design, Operand, Pe
from tensorlib.program import Config, Exec

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


class WindowArray(Array):
    """Wiring of a design with windows, and the EXECs that run on it.

    A PE works `skew` cycles after the sequencer; what reaches it over links left its port `late`
    steps before, its product leaves its exit `late` steps after. Both must fall into the EXEC.
    """

    def __init__(self, design: Design) -> None:
        super().__init__(design)
        self.late_in = {name: _late_in(design, operand) for name, operand in design.operands}
        self.late_out = _late_out(design)[self.order]

    def run(
        self,
        config: Config,
        command: Exec,
        enabled: Flags,
        operands: dict[str, OperandMemory],
        output: OutputMemory,
    ) -> dict[str, int]:
        """Counters of one EXEC; changes the output buffer.

        Args:
            enabled: bool `steps of loop 0 x PEs`, PEs row by row.
        Raises: `ProgramFault` for any rule that it breaks.
        """
        self._check(config, command)
        steps = prod(command.bounds)
        busy = np.tile(enabled, (steps // len(enabled), 1))
        product = np.ones(busy.shape, dtype=np.int32)
        rows_read = {}
        for name in ("input", "weight"):
            values, rows_read[name] = self._operand(name, config, command, operands[name], busy)
            product *= values
        sums, fed = self._exits(product, busy)
        run = prod(command.bounds[: config.run_depth])
        address = nest_addresses(
            command.bounds, config.output_strides, command.output_base, config.run_depth
        )
        address &= ADDRESS_MASK
        when = np.arange(len(address)) * run
        check_distance(address, when, when + run - 1)
        if int(address.max()) >= self.design.output.words:
            raise ProgramFault(
                f"output word {int(address.max())} is used; banks have {self.design.output.words}"
            )
        partial = self._partial(config, command)
        by_run = (len(address), run, -1)
        values = sums.reshape(by_run).sum(axis=1, dtype=np.int32)
        self._accumulate(
            output, command.output_buffer, address, partial, values, fed.reshape(by_run).any(axis=1)
        )
        banks = self.design.output.banks
        return {
            "step": steps,
            "mac": int(busy.sum()),
            "input_read": rows_read["input"] * self.design.input.banks,
            "weight_read": rows_read["weight"] * self.design.weight.banks,
            "output_read": int(partial.sum()) * banks,
            "output_write": len(partial) * banks,
            "sweep": 0,
        }

    def _operand(
        self, name: str, config: Config, command: Exec, memory: OperandMemory, busy: Flags
    ) -> tuple[NDArray[np.int32], int]:
        """Operand `steps x PEs` (0 where a PE is off), and rows read by each bank."""
        strides, base = getattr(config, f"{name}_strides"), getattr(command, f"{name}_base")
        every = nest_addresses(command.bounds, strides, base, 0) & ADDRESS_MASK
        step, pe = np.nonzero(busy)
        read = step - self.late_in[name][pe]
        if len(read) and (read.min() < 0 or read.max() >= len(every)):
            raise ProgramFault(
                f"an enabled PE uses what its port of {name} reads before or after the EXEC"
            )
        values = np.zeros(busy.shape, dtype=np.int32)
        if len(read):
            wiring, buffer = self.wiring[name], getattr(command, f"{name}_buffer")
            bank, slot, address = wiring.bank[pe], wiring.slot[pe], every[read]
            found = self._read(name, memory, buffer, bank, slot, address[None])
            values[step, pe] = found[0]
        return values, changes(every // ROW_BYTES)

    def _exits(self, product: NDArray[np.int32], busy: Flags) -> tuple[NDArray[np.int32], Flags]:
        """Sums `steps x exits` that leave, and whether an enabled PE is in them."""
        width = int(self.bank[-1]) + 1
        sums = np.zeros((len(busy), width), dtype=np.int32)
        fed = np.zeros(sums.shape, dtype=np.bool_)
        step, place = np.nonzero(busy[:, self.order])
        leaves = step + self.late_out[place]
        if len(leaves) and (leaves.min() < 0 or leaves.max() >= len(busy)):
            raise ProgramFault("the product of an enabled PE leaves before or after the EXEC")
        where = (leaves, self.bank[place])
        np.add.at(sums, where, product[step, self.order[place]])
        fed[where] = True
        return sums, fed


def array_of(design: Design) -> Array:
    """The array of a design."""
    return Array(design) if design.window is None else WindowArray(design)


def _skew(design: Design, pe: Pe) -> int:
    return design.skew[pe[0]][pe[1]]


def _late_in(design: Design, operand: Operand) -> Ints:
    """Per PE (row by row) its step less the one at which its port reads what it uses."""
    links = {link.target: link for link in operand.links}
    late = []
    for i in range(design.rows):
        for j in range(design.cols):
            cycles, at = 0, (i, j)
            while at in links:
                cycles += links[at].delay
                at = links[at].source
            late.append(cycles - _skew(design, (i, j)) + _skew(design, at))
    return np.array(late)


def _late_out(design: Design) -> Ints:
    """Per PE (row by row) the step at which its product leaves its exit less its own."""
    late = np.zeros((design.rows, design.cols), dtype=np.int64)
    for exit_ in design.output.exits:
        cycles = 0
        for stage in reversed(exit_.stages):
            for pe in stage.pes:
                late[pe] = cycles + _skew(design, pe) - _skew(design, exit_.head)
            cycles += stage.delay
    return late.reshape(-1)
