"""A DRAM-like memory behind the streams: how long it waits before each word.

One channel gives the input stream, another takes the output. The memory is shared, so rows are
closed again after each burst of consecutive words: every burst activates its row (`activate_ns`
before its first word), no sooner than `spacing_ns` after the activation before and `cycle_ns`
after its bank's last, and is precharged behind its last word. The controller looks one burst
ahead: an activation overlaps the burst before. All banks pause for refresh. Bursts follow each
other as if always asked for; a FIFO at either end hides waits as long as it is neither empty nor
full. Timing is LPDDR4's (JESD209-4, 8 Gb a channel); one x16 channel gives 8.5 GB/s at
4267 MT/s, about a 128-bit bus at 500 MHz.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sim.stream import burst_addresses
from tensorlib.program import WORD_BYTES, Command, Load, Store

Waits = NDArray[np.uint16]
"""Cycles before each word of a stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dram:
    """Timing of the memory.

    Attributes:
        activate_ns, precharge_ns: tRCD, tRP. cycle_ns, spacing_ns: tRC, tRRD.
        refresh_ns, interval_ns: tRFC of all banks, every tREFI (0: no refresh).
        page_bytes, banks: pages of consecutive addresses lie in consecutive banks.
        fifo_beats: of each direction, 1 to 256.
        clock_mhz: of the accelerator.
    """

    activate_ns: float = 18.0
    precharge_ns: float = 18.0
    cycle_ns: float = 60.0
    spacing_ns: float = 10.0
    refresh_ns: float = 280.0
    interval_ns: float = 3904.0
    page_bytes: int = 2048
    banks: int = 8
    fifo_beats: int = 32
    clock_mhz: float = 500.0

    def __post_init__(self) -> None:
        if not 1 <= self.fifo_beats <= 256:
            raise ValueError(f"fifo_beats must be 1 to 256, got {self.fifo_beats}")
        if self.page_bytes < WORD_BYTES or self.page_bytes % WORD_BYTES or self.banks < 1:
            raise ValueError(f"pages of {self.page_bytes} bytes in {self.banks} banks do not work")
        if self.refresh_ns >= self.interval_ns > 0:
            raise ValueError("a refresh must be shorter than the time between two")
        times = (self.activate_ns, self.precharge_ns, self.cycle_ns, self.spacing_ns)
        times += (self.refresh_ns, self.interval_ns)
        if min(*times, self.clock_mhz) < 0 or self.cycles(sum(times)) >= 1 << 16:
            raise ValueError(f"times must be 0 to 65535 cycles, got {times} ns")

    def cycles(self, nanoseconds: float) -> int:
        """Whole cycles, rounded up."""
        return int(np.ceil(nanoseconds * self.clock_mhz / 1000 - 1e-9))

    def bursts(self, addresses: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index of the first word of each burst: consecutive words in one page."""
        jumps = np.diff(addresses) != WORD_BYTES
        turns = np.diff(addresses // self.page_bytes) != 0
        return np.concatenate(([0], np.flatnonzero(jumps | turns) + 1))

    def waits(self, addresses: NDArray[np.int64], beats: int = 1) -> Waits:
        """Cycles before each of the words at these byte addresses, in order.

        Args:
            beats: cycles of a word on the bus.
        """
        found = np.zeros(len(addresses), dtype=np.uint16)
        if not len(addresses):
            return found
        starts = self.bursts(addresses)
        lengths = np.diff(np.append(starts, len(addresses))) * beats
        banks = addresses[starts] // self.page_bytes % self.banks
        activate, precharge = self.cycles(self.activate_ns), self.cycles(self.precharge_ns)
        cycle, spacing = self.cycles(self.cycle_ns), self.cycles(self.spacing_ns)
        free = [0] * self.banks  # when a bank may be activated again
        last, begun, end = -spacing, 0, 0
        for start, length, bank in zip(
            starts.tolist(), lengths.tolist(), banks.tolist(), strict=True
        ):
            active = max(last + spacing, free[bank], begun)
            begun = max(end, active + activate)
            found[start] = begun - end
            end = begun + length
            free[bank] = max(active + cycle, end + precharge)
            last = active
        return found

    def write(self, path: Path, addresses: NDArray[np.int64], beats: int) -> None:
        """Nothing; the file that `DcpMemory` reads; arguments as of `waits`."""
        interval = self.cycles(self.interval_ns)
        head = (interval, self.cycles(self.refresh_ns) if interval else 0, self.fifo_beats, 0)
        values = np.concatenate((np.array(head, dtype=np.uint16), self.waits(addresses, beats)))
        values.astype("<u2").tofile(path)


def stream_addresses(commands: Sequence[Command], image_bytes: int) -> NDArray[np.int64]:
    """Byte address of each word of the input stream.

    Commands lie one after the other behind the memory image; data where their bursts are.
    """
    parts: list[NDArray[np.int64]] = []
    at = -(-image_bytes // WORD_BYTES) * WORD_BYTES
    for command in commands:
        words = len(command.words())
        parts.append(at + WORD_BYTES * np.arange(words, dtype=np.int64))
        at += WORD_BYTES * words
        if isinstance(command, Load):
            parts.append(burst_addresses(command.bursts)[::WORD_BYTES])
    return np.concatenate(parts)


def sent_addresses(commands: Sequence[Command]) -> NDArray[np.int64]:
    """Byte address of each word of the output stream; -1 bursts go nowhere and keep the page."""
    bursts = [b for c in commands if isinstance(c, Store) for b in c.bursts]
    byte = burst_addresses(bursts)[::WORD_BYTES]
    known = np.maximum.accumulate(np.where(byte >= 0, np.arange(len(byte)), 0))
    return np.maximum(byte[known], 0)
