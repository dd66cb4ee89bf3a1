"""What `stt_builder` builds with: loops around sweeps, packed areas, parts of a program."""

from __future__ import annotations

from dataclasses import dataclass, field

from dcp_hw.problem import ceil_div
from dcp_hw.stt_placement import Ints
from tensorlib.program import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A loop around the sweeps.

    Attributes:
        iterator: of the operator.
        step: its indices per turn: the tile's size of a selected loop, else 1.
        size: all its indices.
        selected: position among the selected loops, None for others.
        operands: whether input and weight depend on it.
        reduces: the output does not.
    """

    iterator: str
    step: int
    size: int
    selected: int | None
    operands: tuple[bool, bool]
    reduces: bool

    @property
    def count(self) -> int:
        """Turns, a last one cut short included."""
        return ceil_div(self.size, self.step)

    def parts(self) -> list[tuple[int, int, int]]:
        """(first turn, turns, indices of a turn) of whole turns and of the one cut short."""
        whole, rest = divmod(self.size, self.step)
        return [p for p in ((0, whole, self.step), (whole, 1, rest)) if p[1] and p[2]]


@dataclass(slots=True)
class Area:
    """A packed operand: places of its bytes, and where each part of it begins."""

    places: list[Ints] = field(default_factory=list)
    begins: dict[tuple[int, ...], int] = field(default_factory=dict)
    size: int = 0


class TooLarge(Exception):
    """A tile that banks do not hold."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a program is made of; see `dcp_hw.stt_program.SttProgram`."""

    commands: tuple[Command, ...]
    packed: tuple[Ints, Ints]
    unpacked: Ints
