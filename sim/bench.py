"""Testbench that drives every port of an accelerator from Python. Runs inside the simulator.

Slow (some ten thousand cycles a second), and independent of `harness.sv`: drivers and monitors
are cocotbext-axi's, and the checker below watches the buses' rules in every cycle.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, Timer
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)

PERIOD_NS = 2
CTRL, STATUS, LATENCY, CHECKSUM, ID, COUNTER = 0x00, 0x04, 0x08, 0x0C, 0x10, 0x20
PROGRAM = 0x80
START, FROM_REGISTERS = 1, 2
DONE, BUSY, ERROR = 1, 2, 4


class BeatBus(AxiStreamBus):
    """A stream without tlast, which the accelerator need not have."""

    _optional_signals = ("tvalid", "tready")


class RuleBroken(AssertionError):
    """The accelerator did what AXI does not allow."""


def pauses(chance: float, longest: int, rng: random.Random) -> Iterator[bool]:
    """Whether to pause, cycle by cycle: pauses of 1 .. `longest` cycles, begun with `chance`."""
    while True:
        if rng.random() < chance:
            for _ in range(rng.randint(1, longest)):
                yield True
        else:
            yield False


@dataclass
class Watcher:
    """Counts beats and holds the accelerator to valid/ready rules, in every cycle.

    Attributes:
        cycle: clock edges seen.
        first_in, last_out: cycles of the first input beat and of the last output beat.
    """

    dut: object
    cycle: int = 0
    in_beats: int = 0
    out_beats: int = 0
    first_in: int = 0
    last_out: int = 0
    _offered: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def restart(self) -> None:
        """Nothing; counts beats from 0 again."""
        self.in_beats = self.out_beats = self.first_in = self.last_out = 0

    async def watch(self) -> None:
        """Never returns."""
        dut = self.dut
        channels = {
            "m_axis": (dut.m_axis_tvalid, dut.m_axis_tready, (dut.m_axis_tdata,)),
            "s_axil_b": (dut.s_axil_bvalid, dut.s_axil_bready, (dut.s_axil_bresp,)),
            "s_axil_r": (
                *(dut.s_axil_rvalid, dut.s_axil_rready),
                (dut.s_axil_rdata, dut.s_axil_rresp),
            ),
        }
        edge = RisingEdge(dut.clock)
        while True:
            await edge
            self.cycle += 1
            if dut.reset.value:
                self._offered.clear()
                continue
            if dut.s_axis_tvalid.value and dut.s_axis_tready.value:
                self.first_in = self.first_in if self.in_beats else self.cycle
                self.in_beats += 1
            if dut.m_axis_tvalid.value and dut.m_axis_tready.value:
                self.last_out = self.cycle
                self.out_beats += 1
            for name, (valid, ready, payload) in channels.items():
                self._check(name, bool(valid.value), bool(ready.value), payload)

    def _check(self, name: str, valid: bool, ready: bool, payload: tuple) -> None:
        """Nothing if an offer stands, unaltered, until it is taken."""
        before = self._offered.pop(name, None)
        if before is None and (not valid or ready):
            return
        if not valid:
            raise RuleBroken(f"{name}: valid fell before ready")
        now = tuple(int(signal.value) for signal in payload)
        if before is not None and now != before:
            raise RuleBroken(f"{name}: payload changed before ready")
        if not ready:
            self._offered[name] = now


class Testbench:
    """Clock, reset, drivers, monitor and watcher of one accelerator."""

    def __init__(self, dut: object, seed: int) -> None:
        self.dut = dut
        self.rng = random.Random(seed)
        self.source = AxiStreamSource(
            BeatBus.from_prefix(dut, "s_axis"), dut.clock, dut.reset, byte_lanes=1
        )
        self.sink = AxiStreamSink(
            BeatBus.from_prefix(dut, "m_axis"), dut.clock, dut.reset, byte_lanes=1
        )
        self.registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clock, dut.reset)
        self.watcher = Watcher(dut)
        self.in_bytes = len(dut.s_axis_tdata) // 8
        self.out_bytes = len(dut.m_axis_tdata) // 8

    @classmethod
    async def start(cls, dut: object, seed: int = 1) -> Testbench:
        """A test bench with the clock running and the accelerator reset."""
        dut.reset.value = 1
        Clock(dut.clock, PERIOD_NS, unit="ns").start()
        bench = cls(dut, seed)
        bench.guard = cocotb.start_soon(bench.watcher.watch())
        await bench.reset()
        return bench

    async def reset(self, cycles: int = 8) -> None:
        """Nothing; resets the accelerator, the drivers and what they held."""
        self.dut.reset.value = 1
        self.source.clear()
        await ClockCycles(self.dut.clock, cycles)
        self.sink.clear()
        self.watcher.restart()
        await Timer(PERIOD_NS / 4, unit="ns", round_mode="round")
        self.dut.reset.value = 0
        await ClockCycles(self.dut.clock, 2)

    def stall(self, source: float, sink: float, longest: int) -> None:
        """Nothing; from now on streams and register channels pause at random."""
        read, write = self.registers.read_if, self.registers.write_if
        chances = {
            self.source: source,
            self.sink: sink,
            write.aw_channel: source,
            write.w_channel: source,
            write.b_channel: sink,
            read.ar_channel: source,
            read.r_channel: sink,
        }
        for driver, chance in chances.items():
            driver.set_pause_generator(
                pauses(chance, longest, random.Random(self.rng.random())) if chance else None
            )
            driver.pause = False

    async def read(self, address: int) -> int:
        """A register's value."""
        self.guard_alive()
        answer = await self.registers.read(address, 4)
        assert int(answer.resp) == 0, f"read of {address:#x} was answered {answer.resp!r}"
        return int.from_bytes(answer.data, "little")

    async def write(self, address: int, value: int) -> None:
        """Nothing; writes a register."""
        answer = await self.registers.write(address, value.to_bytes(4, "little"))
        assert int(answer.resp) == 0, f"write of {address:#x} was answered {answer.resp!r}"

    async def command(self, words: bytes) -> None:
        """Nothing; writes command words, four bytes at a time."""
        for at in range(0, len(words), 4):
            piece = int.from_bytes(words[at : at + 4], "little")
            await self.write(PROGRAM + at % 16, piece)

    def guard_alive(self) -> None:
        """Nothing, unless the watcher has found a broken rule."""
        if self.guard.done():
            self.guard.result()

    async def offer(self, words: bytes) -> None:
        """Nothing; queues a stream, in beats of the bus."""
        size = self.in_bytes
        beats = [
            int.from_bytes(words[at : at + size], "little") for at in range(0, len(words), size)
        ]
        await self.source.send(AxiStreamFrame(tdata=beats))

    def received(self) -> bytes:
        """All that came since the last call."""
        return b"".join(beat.to_bytes(self.out_bytes, "little") for beat in self.sink.read_nowait())

    async def finish(self, timeout_cycles: int) -> int:
        """STATUS once the accelerator is done or in error.

        Raises:
            AssertionError: it is neither after so many cycles.
        """
        end = self.watcher.cycle + timeout_cycles
        while self.watcher.cycle < end:
            status = await self.read(STATUS)
            if status & (DONE | ERROR):
                return status
            assert status & BUSY, f"STATUS is {status} between start and end"
            await ClockCycles(self.dut.clock, self.rng.randint(1, 20))
        raise AssertionError(
            f"not done after {timeout_cycles} cycles ({self.watcher.in_beats} input and"
            f" {self.watcher.out_beats} output beats)"
        )
