"""The layer program: typed commands and their 16-byte words (docs/hardware.md, section 5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from tensorlib.errors import AnalysisError

WORD_BYTES = 16
WORD_BITS = 8 * WORD_BYTES
LOOPS = 6
TENSORS = ("input", "weight", "params")

Burst = tuple[int, int]
"""Byte address in the memory image, number of bytes (a multiple of 16 except for int32 pieces)."""


class ProgramError(AnalysisError):
    """A command field is out of the range that its bits can hold."""


def pack(*fields: tuple[str, int, int, int]) -> int:
    """One word from `(name, value, low bit, width)`; negative values as two's complement.

    Raises: ProgramError if a value does not fit its width.
    """
    word = 0
    for name, value, low, width in fields:
        if not -(1 << (width - 1)) <= value < (1 << width):
            raise ProgramError(f"{name} = {value} does not fit {width} bits")
        word |= (value & ((1 << width) - 1)) << low
    return word


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadShape:
    """How one operand's banks take words: strides in bytes, box extents, byte or full rows."""

    stride_a: int = 0
    stride_b: int = 0
    stride_c: int = 0
    extent_a: int = 1
    extent_b: int = 1
    extent_c: int = 1
    byte_mode: bool = False

    def word(self, sweep_min: int = 0) -> int:
        """CONFIG data word 0 (input, with `sweep_min`) or 1 (weight)."""
        return pack(
            ("stride_a", self.stride_a, 0, 16),
            ("stride_b", self.stride_b, 16, 16),
            ("stride_c", self.stride_c, 32, 16),
            ("extent_a", self.extent_a, 48, 10),
            ("extent_b", self.extent_b, 58, 10),
            ("extent_c", self.extent_c, 68, 10),
            ("byte_mode", int(self.byte_mode), 78, 1),
            ("sweep_min", sweep_min, 80, 16),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Layer-wide settings; six strides each, loop 0 innermost."""

    input_load: LoadShape
    weight_load: LoadShape
    input_strides: tuple[int, ...]
    weight_strides: tuple[int, ...]
    output_strides: tuple[int, ...]
    run_depth: int
    reduction_mask: int
    sweep_depth: int = 0
    sweep_min: int = 0
    input_fill_stride: int = 0
    weight_fill_stride: int = 0
    drain_stride: int = 0
    op: ClassVar[int] = 1

    def words(self) -> list[int]:
        """Header and five data words."""

        def strides(
            name: str, values: tuple[int, ...], last: int
        ) -> list[tuple[str, int, int, int]]:
            if len(values) != LOOPS:
                raise ProgramError(f"{name} needs {LOOPS} strides, got {len(values)}")
            items = [(f"{name}[{i}]", v, 16 * i, 16) for i, v in enumerate(values)]
            return [*items, (f"{name} chain stride", last, 96, 16)]

        output = [
            *strides("output_strides", self.output_strides, self.drain_stride),
            ("run_depth", self.run_depth, 112, 3),
            ("reduction_mask", self.reduction_mask, 117, 6),
            ("sweep_depth", self.sweep_depth, 123, 3),
        ]
        return [
            self.op,
            self.input_load.word(self.sweep_min),
            self.weight_load.word(),
            pack(*strides("input_strides", self.input_strides, self.input_fill_stride)),
            pack(*strides("weight_strides", self.weight_strides, self.weight_fill_stride)),
            pack(*output),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One axis entry: what an axis position adds to lower bounds, byte selects and digits."""

    input_a: int = 0
    input_b: int = 0
    input_c: int = 0
    input_base: int = 0
    input_select: int = 0
    weight_a: int = 0
    weight_b: int = 0
    weight_c: int = 0
    weight_base: int = 0
    weight_select: int = 0
    digits: tuple[int, int, int, int] = (0, 0, 0, 0)

    def word(self) -> int:
        """The entry's word."""
        return pack(
            ("input_a", self.input_a, 0, 10),
            ("input_b", self.input_b, 10, 10),
            ("input_c", self.input_c, 20, 10),
            ("input_base", self.input_base, 30, 14),
            ("weight_a", self.weight_a, 44, 10),
            ("weight_b", self.weight_b, 54, 10),
            ("weight_c", self.weight_c, 64, 10),
            ("weight_base", self.weight_base, 74, 14),
            ("input_select", self.input_select, 88, 4),
            ("weight_select", self.weight_select, 92, 4),
            *[(f"digits[{n}]", d, 96 + 8 * n, 8) for n, d in enumerate(self.digits)],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """Lane tables of both axes."""

    axis1: tuple[Lane, ...]
    axis2: tuple[Lane, ...]
    op: ClassVar[int] = 2

    def words(self) -> list[int]:
        """Header, axis-1 entries, axis-2 entries."""
        return [self.op, *(lane.word() for lane in self.axis1 + self.axis2)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Fill one buffer; `bursts` lists the data words in the order in which they are consumed.

    Attributes:
        clear: rows have steps c_lo to c_hi - 1 only; a bank's first byte of a row clears the row.
        start: byte address of step c_lo, if `clear`.
    """

    tensor: str
    buffer: int
    na: int = 1
    nb: int = 1
    nc: int = 1
    b_lo: int = 0
    b_hi: int = 1
    c_lo: int = 0
    c_hi: int = 1
    clear: bool = False
    start: int = 0
    bursts: tuple[Burst, ...] = ()
    op: ClassVar[int] = 3

    def words(self) -> list[int]:
        """Header only; the data come from the bursts."""
        return [
            pack(
                ("op", self.op, 0, 4),
                ("tensor", TENSORS.index(self.tensor), 4, 2),
                ("buffer", self.buffer, 6, 1),
                *[
                    (n, getattr(self, n), 8 + 10 * i, 10)
                    for i, n in enumerate(("na", "nb", "nc", "b_lo", "b_hi", "c_lo", "c_hi"))
                ],
                ("clear", int(self.clear), 78, 1),
                ("start", self.start, 79, 16),
            )
        ]

    @property
    def steps(self) -> int:
        """Cycles of the load after its header: data words and zero words."""
        return self.na * self.nb * self.walk[2]

    @property
    def walk(self) -> tuple[int, int, int, int, int, int, int]:
        """na, nb, steps of a row, rows with data words (first, end), steps with them likewise."""
        if self.clear:
            steps = self.c_hi - self.c_lo
            return self.na, self.nb, steps, self.b_lo, self.b_hi, 0, steps
        return self.na, self.nb, self.nc, self.b_lo, self.b_hi, self.c_lo, self.c_hi

    @property
    def data_words(self) -> int:
        """Words taken from the stream."""
        rows = max(0, min(self.nb, self.b_hi) - self.b_lo)
        return self.na * rows * max(0, min(self.nc, self.c_hi) - self.c_lo)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exec:
    """One loop nest on the array."""

    input_buffer: int
    weight_buffer: int
    output_buffer: int
    bounds: tuple[int, ...]
    limits: tuple[int, int, int, int]
    release_input: bool = False
    release_weight: bool = False
    output_complete: bool = False
    accumulate: bool = False
    input_base: int = 0
    weight_base: int = 0
    output_base: int = 0
    op: ClassVar[int] = 4

    def words(self) -> list[int]:
        """Two words."""
        if len(self.bounds) != LOOPS or min(self.bounds) < 1:
            raise ProgramError(f"EXEC needs {LOOPS} bounds >= 1, got {self.bounds}")
        first = pack(
            ("op", self.op, 0, 4),
            ("input_buffer", self.input_buffer, 4, 1),
            ("weight_buffer", self.weight_buffer, 5, 1),
            ("output_buffer", self.output_buffer, 6, 1),
            ("release_input", int(self.release_input), 7, 1),
            ("release_weight", int(self.release_weight), 8, 1),
            ("output_complete", int(self.output_complete), 9, 1),
            ("accumulate", int(self.accumulate), 10, 1),
            *[(f"bounds[{i}]", b, 16 + 16 * i, 16) for i, b in enumerate(self.bounds)],
        )
        second = pack(
            ("input_base", self.input_base, 0, 16),
            ("weight_base", self.weight_base, 16, 16),
            ("output_base", self.output_base, 32, 16),
            *[(f"limits[{i}]", v, 48 + 9 * i, 9) for i, v in enumerate(self.limits)],
        )
        return [first, second]


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Send outputs; `bursts` lists where the sent words belong, in order."""

    output_buffer: int
    bounds: tuple[int, int, int, int]
    lane_strides: tuple[int, int, int, int]
    address_strides: tuple[int, int, int, int]
    param_strides: tuple[int, int, int, int]
    log2_group: int
    channels: int
    int32: bool = False
    release_output: bool = True
    params_buffer: int = 0
    release_params: bool = False
    params_row: int = 0
    address_base: int = 0
    lane_base: int = 0
    pixel_mask: int = 1
    bursts: tuple[Burst, ...] = field(default=())
    op: ClassVar[int] = 5

    def words(self) -> list[int]:
        """Two words."""
        first = pack(
            ("op", self.op, 0, 4),
            ("output_buffer", self.output_buffer, 4, 1),
            ("int32", int(self.int32), 5, 1),
            ("release_output", int(self.release_output), 6, 1),
            ("params_buffer", self.params_buffer, 7, 1),
            ("release_params", int(self.release_params), 8, 1),
            ("log2_group", self.log2_group, 9, 3),
            *[(f"bounds[{i}]", b, 12 + 12 * i, 12) for i, b in enumerate(self.bounds)],
            *[(f"lane_strides[{i}]", b, 60 + 8 * i, 8) for i, b in enumerate(self.lane_strides)],
            ("params_row", self.params_row, 92, 8),
            *[(f"param_strides[{i}]", b, 100 + 4 * i, 4) for i, b in enumerate(self.param_strides)],
        )
        second = pack(
            *[(f"address_strides[{i}]", b, 16 * i, 16) for i, b in enumerate(self.address_strides)],
            ("address_base", self.address_base, 64, 16),
            ("lane_base", self.lane_base, 80, 8),
            ("pixel_mask", self.pixel_mask, 88, 16),
            ("channels", self.channels, 104, 12),
        )
        return [first, second]


@dataclass(frozen=True, slots=True)
class End:
    """No more commands."""

    op: ClassVar[int] = 15

    def words(self) -> list[int]:
        """One word."""
        return [self.op]


Command = Config | Lanes | Load | Exec | Store | End
