"""What a command list does on a design, without time: the golden model of whole programs.

Commands run as soon as their buffers allow, in the order of their queues; that order does not
change any result. Rules of docs/hardware.md that a program breaks raise `ProgramFault`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sim.faults import ProgramFault
from sim.iss_array import OutputMemory
from sim.iss_memory import LaneTable, OperandMemory, ParamMemory
from sim.iss_store import StoreUnit
from sim.iss_window import array_of
from sim.stream import DROPPED, Bytes, build_stream, load_words, scatter
from tensorlib.design import Design
from tensorlib.program import (
    TENSORS,
    Command,
    Config,
    End,
    Exec,
    Lanes,
    Load,
    ProgramError,
    Store,
)

__all__ = ["DROPPED", "ProgramFault", "Result", "build_stream", "interpret", "scatter"]

QUEUE = 4
"""Commands that each of the two queues holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a program sends, and some of the counters (docs/hardware.md, section 9).

    Attributes:
        words: uint8 `n x 16`, in the order sent.
        checksum: register CHECKSUM.
        counters: by name: step, mac, input_read, weight_read, input_write, weight_write,
            output_read, output_write, requantise, sweep.
    """

    words: Bytes
    checksum: int
    counters: dict[str, int] = field(default_factory=dict)


def interpret(design: Design, commands: Sequence[Command], memory: Bytes) -> Result:
    """Result of a command list on data in `memory`, which it does not change.

    Args:
        memory: uint8, the image that the bursts address.
    Raises: `ProgramFault` naming the command, for a program that breaks a rule or never ends.
    """
    machine = _Machine(design, memory)
    for index, command in enumerate(commands):
        try:
            machine.decode(index, command)
        except ProgramFault as fault:
            raise fault.at(index, type(command).__name__.upper()) from None
    return machine.result()


class _Machine:
    """Registers, memories, tokens and queues of one accelerator."""

    def __init__(self, design: Design, memory: Bytes) -> None:
        self.design = design
        self.memory = memory
        self.array = array_of(design)
        self.operands = {n: OperandMemory(design, n, o) for n, o in design.operands}
        self.params = ParamMemory(design)
        self.output = OutputMemory(design)
        self.store_unit = StoreUnit(design)
        self.config: Config | None = None
        self.table: LaneTable | None = None
        self.full = {name: [False, False] for name in TENSORS}
        self.taken: list[str] = ["free", "free"]  # or "kept", "complete"
        self.execs: deque[tuple[int, Exec]] = deque()
        self.stores: deque[tuple[int, Store]] = deque()
        self.ended = False
        self.words: list[Bytes] = []
        self.checksum = 0
        self.counters: Counter[str] = Counter()

    def decode(self, index: int, command: Command) -> None:
        """Nothing; takes one command, after all earlier ones that can have run."""
        if self.ended:
            raise ProgramFault("commands after END")
        try:
            command.words()
        except ProgramError as error:
            raise ProgramFault(str(error)) from error
        match command:
            case Config() | Lanes():
                if self.execs:
                    self._stuck("EXEC queue must run empty first")
                self._configure(command)
            case Load():
                self._load(command)
            case Exec():
                if self.config is None or self.table is None:
                    raise ProgramFault("EXEC before CONFIG and LANES")
                if len(self.execs) == QUEUE:
                    self._stuck("its queue is full")
                self.execs.append((index, command))
            case Store():
                if len(self.stores) == QUEUE:
                    self._stuck("its queue is full")
                self.stores.append((index, command))
            case End():
                self.ended = True
        self._advance()

    def result(self) -> Result:
        """What has been sent, once everything has run."""
        if not self.ended:
            raise ProgramFault("the program has no END")
        if self.execs or self.stores:
            self._stuck("the program never ends")
        words = [np.zeros((0, 16), dtype=np.uint8), *self.words]
        return Result(
            words=np.concatenate(words),
            checksum=self.checksum & 0xFFFFFFFF,
            counters=dict(self.counters),
        )

    def _configure(self, command: Config | Lanes) -> None:
        if isinstance(command, Config):
            self.config = command
            self.operands["input"].configure(command.input_load)
            self.operands["weight"].configure(command.weight_load)
            return
        self.table = LaneTable(self.design, command)
        for operand in self.operands.values():
            operand.place(self.table)

    def _load(self, command: Load) -> None:
        full = self.full[command.tensor]
        if full[command.buffer]:
            self._stuck(f"{command.tensor} buffer {command.buffer} never becomes free")
        words = load_words(command, self.memory)
        if command.tensor == "params":
            self.params.load(command, words)
        else:
            rows = self.operands[command.tensor].load(command, words)
            self.counters[f"{command.tensor}_write"] += rows
        full[command.buffer] = True

    def _advance(self) -> None:
        """Nothing; runs queued commands until none can."""
        moved = True
        while moved:
            moved = False
            if self.execs and self._why_exec_waits(self.execs[0][1]) is None:
                self._run(self.execs.popleft())
                moved = True
            if self.stores and self._why_store_waits(self.stores[0][1]) is None:
                self._run(self.stores.popleft())
                moved = True

    def _run(self, queued: tuple[int, Exec | Store]) -> None:
        index, command = queued
        try:
            if isinstance(command, Exec):
                self._exec(command)
            else:
                self._store(command)
        except ProgramFault as fault:
            raise fault.at(index, type(command).__name__.upper()) from None

    def _why_exec_waits(self, command: Exec) -> str | None:
        for tensor in ("input", "weight"):
            buffer = getattr(command, f"{tensor}_buffer")
            if not self.full[tensor][buffer]:
                return f"{tensor} buffer {buffer} is not full"
        if self.taken[command.output_buffer] == "complete":
            return f"output buffer {command.output_buffer} is not free"
        return None

    def _exec(self, command: Exec) -> None:
        assert self.config is not None
        assert self.table is not None
        if self.taken[command.output_buffer] == "free":
            self.output.written[command.output_buffer] = False
        enabled = self.table.enabled(command.limits, command.bounds[0])
        self.counters.update(
            self.array.run(self.config, command, enabled, self.operands, self.output)
        )
        self.taken[command.output_buffer] = "complete" if command.output_complete else "kept"
        if command.release_input:
            self.full["input"][command.input_buffer] = False
        if command.release_weight:
            self.full["weight"][command.weight_buffer] = False

    def _why_store_waits(self, command: Store) -> str | None:
        if self.taken[command.output_buffer] != "complete":
            return f"output buffer {command.output_buffer} is not complete"
        if not command.int32 and not self.full["params"][command.params_buffer]:
            return f"parameter buffer {command.params_buffer} is not full"
        return None

    def _store(self, command: Store) -> None:
        words, checksum, count = self.store_unit.run(command, self.output, self.params)
        declared = sum(length for _, length in command.bursts)
        if command.bursts and declared != words.size:
            raise ProgramFault(f"bursts hold {declared} bytes, the command sends {words.size}")
        self.words.append(words)
        self.checksum += checksum
        self.counters["requantise"] += count
        if command.release_output:
            self.taken[command.output_buffer] = "free"
        if command.release_params:
            self.full["params"][command.params_buffer] = False

    def _stuck(self, what: str) -> None:
        """Raises: `ProgramFault` that says what each queue waits for."""
        waits = [what]
        if self.execs:
            index, first = self.execs[0]
            waits.append(f"EXEC (command {index}) waits: {self._why_exec_waits(first)}")
        if self.stores:
            index, last = self.stores[0]
            waits.append(f"STORE (command {index}) waits: {self._why_store_waits(last)}")
        raise ProgramFault("deadlock: " + "; ".join(waits))
