"""Memory image to input stream, and sent words to memory image (docs/hardware.md, section 5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sim.faults import ProgramFault
from tensorlib.program import WORD_BYTES, Burst, Command, Load, Store

Bytes = NDArray[np.uint8]

DROPPED = -1
"""Burst address of sent bytes that belong nowhere (int32 lanes past the end)."""


def command_words(command: Command) -> Bytes:
    """The command's own words, `n x 16`, byte 0 first."""
    words = command.words()
    data = b"".join(word.to_bytes(WORD_BYTES, "little") for word in words)
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, WORD_BYTES)


def burst_addresses(bursts: Sequence[Burst]) -> NDArray[np.int64]:
    """Byte address of each byte of the bursts, in order; `DROPPED` for dropped ones."""
    if not bursts:
        return np.zeros(0, dtype=np.int64)
    start, length = np.array(bursts, dtype=np.int64).T
    first = np.cumsum(length) - length
    inside = np.arange(int(length.sum())) - np.repeat(first, length)
    return np.where(np.repeat(start, length) < 0, DROPPED, np.repeat(start, length) + inside)


def load_words(command: Load, memory: Bytes) -> Bytes:
    """Data words of a LOAD, `n x 16`.

    Raises: `ProgramFault` if the bursts leave the image or do not hold what the LOAD takes.
    """
    addresses = burst_addresses(command.bursts)
    if len(addresses) != command.data_words * WORD_BYTES:
        raise ProgramFault(
            f"bursts hold {len(addresses)} bytes; the LOAD takes {command.data_words} words"
        )
    if len(addresses) and (addresses.min() < 0 or addresses.max() >= len(memory)):
        raise ProgramFault(f"a burst leaves the memory image of {len(memory)} bytes")
    return memory[addresses].reshape(-1, WORD_BYTES)


def build_stream(commands: Sequence[Command], memory: Bytes) -> Bytes:
    """All words of the input stream, `n x 16`: commands, and after each LOAD its data.

    Raises: `ProgramFault` as `load_words`.
    """
    return np.concatenate([part for pair in _parts(commands, memory) for part in pair])


def build_streams(commands: Sequence[Command], memory: Bytes) -> tuple[Bytes, Bytes]:
    """Command words, and data words: what goes over AXI4-Lite, and the stream left; `n x 16` each.

    Raises: `ProgramFault` as `load_words`.
    """
    words, data = zip(*_parts(commands, memory), strict=True)
    return np.concatenate(words), np.concatenate(data)


def _parts(commands: Sequence[Command], memory: Bytes) -> Iterator[tuple[Bytes, Bytes]]:
    """Each command's own words and its data words."""
    for index, command in enumerate(commands):
        data = np.zeros((0, WORD_BYTES), dtype=np.uint8)
        if isinstance(command, Load):
            try:
                data = load_words(command, memory)
            except ProgramFault as fault:
                raise fault.at(index, "LOAD") from None
        yield command_words(command), data


def scatter(commands: Sequence[Command], words: Bytes, memory: Bytes) -> None:
    """Nothing; writes sent words into the image, at the bursts of the STOREs in order.

    Args:
        words: `n x 16`, all words that the program sends.
    Raises: `ProgramFault` if the bursts do not hold exactly `n` words, or leave the image.
    """
    bursts = [b for command in commands if isinstance(command, Store) for b in command.bursts]
    addresses = burst_addresses(bursts)
    data = words.reshape(-1)
    if len(addresses) != len(data):
        raise ProgramFault(
            f"STORE bursts hold {len(addresses)} bytes, the program sends {len(data)}"
        )
    if len(addresses) and addresses.max() >= len(memory):
        raise ProgramFault(f"a STORE burst leaves the memory image of {len(memory)} bytes")
    kept = addresses != DROPPED
    memory[addresses[kept]] = data[kept]
