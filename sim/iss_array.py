"""The interpreter's PE array: one EXEC on the contents of its buffers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from sim.faults import ProgramFault
from sim.iss_memory import ADDRESS_MASK, OperandMemory
from tensorlib.design import ROW_BYTES, Design, Operand, Pe
from tensorlib.program import Config, Exec

Ints = NDArray[np.int64]

RUN_DISTANCE = 3
"""Steps between two uses of an output word."""

_BLOCK = 1 << 18  # products at a time: stays in the cache


@dataclass(frozen=True, slots=True)
class Wiring:
    """Where each PE (row by row) gets an operand.

    Attributes:
        bank, slot: of the port at the other end of its links, or of its chain.
        position: in its chain; 0 without chains.
    """

    bank: Ints
    slot: Ints
    position: Ints

    @classmethod
    def of(cls, design: Design, operand: Operand) -> Wiring:
        """Follows links (any order) and chains from the ports."""
        root: dict[Pe, tuple[int, int, int]] = {
            port.pe: (port.bank, port.slot, 0) for port in operand.ports
        }
        for chain in operand.chains:
            bank, slot, _ = root[chain[0]]
            root.update({pe: (bank, slot, k) for k, pe in enumerate(chain)})
        source = {link.target: link.source for link in operand.links}
        for pe in source:
            path = [pe]
            while path[-1] not in root:
                path.append(source[path[-1]])
            root.update(dict.fromkeys(path, root[path[-1]]))
        flat = [root[i, j] for i in range(design.rows) for j in range(design.cols)]
        return cls(*np.array(flat, dtype=np.int64).T)


class OutputMemory:
    """The two buffers of all output banks: int32 and bool `2 x words x banks`."""

    def __init__(self, design: Design) -> None:
        shape = (2, design.output.words, design.output.banks)
        self.data = np.zeros(shape, dtype=np.int32)
        self.written = np.zeros(shape, dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class _Table:
    """Operand of enabled PEs: `values[index[step]]`, int32 `n x PEs`; `rows_read` bank rows."""

    values: NDArray[np.int32]
    index: Ints
    rows_read: int


class Array:
    """Wiring of a design, and the EXECs that run on it."""

    def __init__(self, design: Design) -> None:
        self.design = design
        self.wiring = {name: Wiring.of(design, operand) for name, operand in design.operands}
        output = design.output
        if output.chains:
            chains = sorted(output.chains, key=lambda chain: chain.bank)
            pes = [pe for chain in chains for pe in chain.pes]  # bank by bank, exit PE first
            self.bank = np.arange(len(pes))  # every PE has a sum of its own
        else:
            exits = sorted(output.exits, key=lambda exit_: exit_.bank)
            pes = [pe for exit_ in exits for pe in exit_.pes]
            self.bank = np.repeat(np.arange(len(exits)), [len(e.pes) for e in exits])
        self.order = np.array([i * design.cols + j for i, j in pes])  # PEs by sum

    def run(
        self,
        config: Config,
        command: Exec,
        enabled: NDArray[np.bool_],
        operands: dict[str, OperandMemory],
        output: OutputMemory,
    ) -> dict[str, int]:
        """Counters of one EXEC; changes the output buffer.

        Args:
            enabled: bool, PEs row by row.
        Raises: `ProgramFault` for any rule that it breaks.
        """
        self._check(config, command)
        steps = prod(command.bounds)
        sums = self.order[enabled[self.order]]  # enabled PEs, grouped by sum
        of_sum = self.bank[enabled[self.order]]
        tables = [
            self._table(name, config, command, operands[name], sums) for name in ("input", "weight")
        ]
        run = prod(command.bounds[: config.run_depth])
        first = nest_addresses(
            command.bounds, config.output_strides, command.output_base, config.run_depth
        )
        partial = self._partial(config, command)
        chain = self.design.output.chain_length
        if chain:
            drain = np.arange(chain) * config.drain_stride
            address = ((first[:, None] + drain) & ADDRESS_MASK).reshape(-1)
            interval = max(run, config.sweep_min)
            when = (np.arange(len(first))[:, None] * interval + np.arange(chain)).reshape(-1)
            check_distance(address, when, when)
        else:
            address = first & ADDRESS_MASK
            when = np.arange(len(first)) * run
            check_distance(address, when, when + run - 1)
        if int(address.max()) >= self.design.output.words:
            raise ProgramFault(
                f"output word {int(address.max())} is used; banks have {self.design.output.words}"
            )
        writes = max(chain, 1)
        for start, stop, values in self._sums(tables, run, sums, of_sum):
            rows = slice(start * writes, stop * writes)
            fed = np.zeros(values.shape[1], dtype=np.bool_)
            fed[of_sum] = True
            if chain:  # runs x banks x chain -> runs, chain x banks
                values = values.reshape(stop - start, -1, chain).transpose(0, 2, 1)
                values = values.reshape(-1, values.shape[2])
                fed = np.tile(fed.reshape(-1, chain).T, (stop - start, 1))
            again = np.repeat(partial[start:stop], writes)
            fed = np.broadcast_to(fed, values.shape)
            self._accumulate(output, command.output_buffer, address[rows], again, values, fed)
        banks = self.design.output.banks
        held = self.design.chain_tensor is not None
        return {
            "step": steps,
            "mac": steps * len(sums),
            "input_read": tables[0].rows_read * self.design.input.banks,
            "weight_read": tables[1].rows_read * self.design.weight.banks,
            "output_read": int(partial.sum()) * writes * banks,
            "output_write": len(partial) * writes * banks,
            "sweep": prod(command.bounds[config.sweep_depth :]) if held else 0,
        }

    def _check(self, config: Config, command: Exec) -> None:
        if max(config.run_depth, config.sweep_depth) > len(command.bounds):
            raise ProgramFault("run_depth and sweep_depth must be <= 6")
        held = self.design.chain_tensor
        if held and config.sweep_min < self.design.sweep_min:
            raise ProgramFault(
                f"sweep_min {config.sweep_min} is below {self.design.sweep_min}, which"
                f" {held} chains of {self.design.chain_length} PEs need"
            )
        if held == "output" and config.sweep_depth != config.run_depth:
            raise ProgramFault("an output chain needs sweep_depth = run_depth")
        for loop in range(config.run_depth):
            if command.bounds[loop] > 1 and config.output_strides[loop]:
                raise ProgramFault(f"output stride of loop {loop}, inside a run, must be 0")

    def _partial(self, config: Config, command: Exec) -> NDArray[np.bool_]:
        """Per run: whether it begins with the bank's word."""
        strides = [
            int(loop >= config.run_depth and config.reduction_mask >> loop & 1)
            for loop in range(len(command.bounds))
        ]
        index = nest_addresses(command.bounds, strides, int(command.accumulate), config.run_depth)
        return np.asarray(index != 0)

    def _table(
        self, name: str, config: Config, command: Exec, memory: OperandMemory, pes: Ints
    ) -> _Table:
        """Operand `name` of `pes` over all steps."""
        wiring = self.wiring[name]
        strides = getattr(config, f"{name}_strides")
        base = getattr(command, f"{name}_base")
        buffer = getattr(command, f"{name}_buffer")
        bank, slot = wiring.bank[pes], wiring.slot[pes]
        length = memory.operand.chain_length
        if length:
            fill = getattr(config, f"{name}_fill_stride")
            start = nest_addresses(command.bounds, strides, base, config.sweep_depth)
            reads = start[:, None] + np.arange(length) * fill
            address = (start[:, None] + (length - 1 - wiring.position[pes]) * fill) & ADDRESS_MASK
            sweep = prod(command.bounds[: config.sweep_depth])
            index = np.repeat(np.arange(len(start)), sweep)
            rows_read = changes((reads & ADDRESS_MASK).reshape(-1) // ROW_BYTES)
        else:
            every = nest_addresses(command.bounds, strides, base, 0) & ADDRESS_MASK
            rows_read = changes(every // ROW_BYTES)
            used = np.zeros(ADDRESS_MASK + 1, dtype=np.bool_)
            used[every] = True
            unique = np.flatnonzero(used)
            place = np.zeros(ADDRESS_MASK + 1, dtype=np.int64)
            place[unique] = np.arange(len(unique))
            index = place[every]
            address = unique[:, None]
        if not len(pes):
            return _Table(np.zeros((len(address), 0), dtype=np.int32), index, rows_read)
        # one column per port (or PE of a chain), then spread over the PEs
        column = (bank * ROW_BYTES + slot) * max(length, 1) + wiring.position[pes]
        _, pick, spread = np.unique(column, return_index=True, return_inverse=True)
        if length:
            address = address[:, pick]
        values = self._read(name, memory, buffer, bank[pick], slot[pick], address)
        return _Table(values[:, spread], index, rows_read)

    def _read(
        self, name: str, memory: OperandMemory, buffer: int, bank: Ints, slot: Ints, address: Ints
    ) -> NDArray[np.int32]:
        """int32 `n x ports` at `address + slot`, with all checks."""
        if np.any((address % ROW_BYTES) + slot >= ROW_BYTES):
            raise ProgramFault(f"a read of {name} crosses a row: address mod 16 + slot > 15")
        if int(address.max()) // ROW_BYTES >= memory.operand.rows:
            raise ProgramFault(
                f"{name} byte {int(address.max())} is read; banks have {memory.operand.rows} rows"
            )
        where = address + slot
        written = memory.written[buffer][bank, where]
        if not written.all():
            row, port = np.argwhere(~written)[0]
            raise ProgramFault(
                f"{name} buffer {buffer}, bank {int(bank[port])}, byte"
                f" {int(np.broadcast_to(where, written.shape)[row, port])} is read by an enabled"
                " PE, but its last LOAD did not write it"
            )
        return memory.data[buffer][bank, where].astype(np.int32)

    def _sums(
        self, tables: list[_Table], run: int, pes: Ints, of_sum: Ints
    ) -> Iterator[tuple[int, int, NDArray[np.int32]]]:
        """Yields first run, past the last run, int32 `runs x sums` (exits, or PEs of chains)."""
        count = len(tables[0].index) // run
        width = int(self.bank[-1]) + 1
        if not len(pes):
            yield 0, count, np.zeros((count, width), dtype=np.int32)
            return
        starts = np.flatnonzero(np.diff(of_sum, prepend=-1))
        block = max(1, _BLOCK // (run * len(pes)))
        span = min(run, max(1, _BLOCK // len(pes)))  # steps at a time of a long run
        for first in range(0, count, block):
            last = min(count, first + block)
            total = np.zeros((last - first, len(pes)), dtype=np.int32)
            for step in range(0, run, span):
                length = min(span, run - step)
                whole = slice(first * run, last * run)
                part = slice(first * run + step, first * run + step + length)
                at = whole if span == run else part
                product = tables[0].values[tables[0].index[at]]
                product *= tables[1].values[tables[1].index[at]]
                shaped = product.reshape(last - first, length, -1)
                total += shaped.sum(axis=1, dtype=np.int32)
            values = np.zeros((last - first, width), dtype=np.int32)
            values[:, of_sum[starts]] = np.add.reduceat(total, starts, axis=1, dtype=np.int32)
            yield first, last, values

    def _accumulate(
        self,
        output: OutputMemory,
        buffer: int,
        address: Ints,
        partial: NDArray[np.bool_],
        values: NDArray[np.int32],
        fed: NDArray[np.bool_],
    ) -> None:
        """Nothing; adds or writes sums `n x banks` to words, in order.

        Args:
            fed: bool `n x banks`, sums with an enabled PE, which must not begin with an
                unwritten word.
        """
        data, written = output.data[buffer], output.written[buffer]
        spare = 32 - self.design.acc_bits
        order = np.argsort(address, kind="stable")
        ranked = address[order]
        begins = np.flatnonzero(np.diff(ranked, prepend=-1))
        rank = np.empty(len(address), dtype=np.int64)
        rank[order] = np.arange(len(address)) - np.repeat(
            begins, np.diff(begins, append=len(address))
        )
        by_rank = np.argsort(rank, kind="stable")
        for chosen in np.split(by_rank, np.flatnonzero(np.diff(rank[by_rank])) + 1):
            words, again = address[chosen], partial[chosen, None]
            if np.any(again & ~written[words] & fed[chosen]):
                raise ProgramFault(
                    f"a partial sum begins with output word {int(words[0])}.."
                    f"{int(words[-1])} of buffer {buffer}, which was not written"
                )
            total = values[chosen] + np.where(again, data[words], np.int32(0))
            data[words] = (total << spare) >> spare
            written[words] |= ~again


def nest_addresses(bounds: Sequence[int], strides: Sequence[int], base: int, depth: int) -> Ints:
    """base + sum of index * stride over the loops from `depth` outwards, in step order."""
    address = np.array([base], dtype=np.int64)
    for loop in reversed(range(depth, len(bounds))):
        address = (address[:, None] + np.arange(bounds[loop]) * strides[loop]).reshape(-1)
    return address


def changes(rows: Ints) -> int:
    """Rows that differ from the one before; the first one does."""
    return 1 + int(np.count_nonzero(np.diff(rows)))


def check_distance(address: Ints, first: Ints, last: Ints) -> None:
    """Nothing; uses of a word, each from `first` to `last`, must lie 3 steps apart."""
    order = np.lexsort((first, address))
    same = np.diff(address[order]) == 0
    distance = first[order][1:] - last[order][:-1]
    if np.any(same & (distance < RUN_DISTANCE)):
        word = int(address[order][1:][same & (distance < RUN_DISTANCE)][0])
        raise ProgramFault(f"runs write output word {word} less than {RUN_DISTANCE} steps apart")
