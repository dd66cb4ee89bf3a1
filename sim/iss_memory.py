"""Banks and parameter memory of the interpreter: what LOADs put where."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.faults import ProgramFault
from sim.stream import Bytes
from tensorlib.design import ROW_BYTES, Design, Operand
from tensorlib.program import Lanes, Load, LoadShape

ADDRESS_MASK = 0xFFFF
COORDINATE_MASK = 0x3FF
BASE_MASK = 0x3FFF
PARAM_WORDS = 7


class LaneTable:
    """Both axes' entries, summed where banks and PEs ask."""

    def __init__(self, design: Design, lanes: Lanes) -> None:
        if (len(lanes.axis1), len(lanes.axis2)) != (design.rows, design.cols):
            raise ProgramFault(
                f"LANES has {len(lanes.axis1)} + {len(lanes.axis2)} entries, the array"
                f" {design.rows} + {design.cols}"
            )
        self.lanes = lanes
        self.window = design.window

    def place(self, tensor: str, lane: tuple[int, int]) -> tuple[int, int, int, int, int]:
        """Lower bounds a, b, c, base and byte select of a bank with entries `lane`."""
        one, two = self.lanes.axis1[lane[0]], self.lanes.axis2[lane[1]]

        def total(field: str, mask: int) -> int:
            name = f"{tensor}_{field}"
            return int(getattr(one, name) + getattr(two, name)) & mask

        a, b, c = (total(field, COORDINATE_MASK) for field in "abc")
        return a, b, c, total("base", BASE_MASK), total("select", 15)

    def enabled(self, limits: tuple[int, ...], steps: int) -> NDArray[np.bool_]:
        """PEs, row by row, whose digits are all in 0 .. limit - 1.

        With windows `steps x PEs`: at step n of loop 0 a digit is n times its step more.
        """
        one, two = (
            np.array([lane.digits for lane in axis], dtype=np.int64)
            for axis in (self.lanes.axis1, self.lanes.axis2)
        )
        digits = (one[:, None] + two[None]).astype(np.int8)  # modulo 2^8, two's complement
        if self.window is not None:
            moved = np.arange(steps)[:, None] * np.array(self.window)
            moving = digits.astype(np.int64) + moved[:, None, None]
            inside = (moving >= 0) & (moving < np.array(limits))
            return np.asarray(inside.all(axis=3).reshape(steps, -1))
        inside = (digits >= 0) & (digits < np.array(limits))
        return np.asarray(inside.all(axis=2).reshape(-1))


class OperandMemory:
    """The two buffers of all banks of the input or the weight.

    Attributes:
        data: int8 `2 x banks x bytes`, sign-extended from `widths.data` bits.
        written: bool, the same shape: bytes written by the last LOAD of the buffer.
    """

    def __init__(self, design: Design, name: str, operand: Operand) -> None:
        self.name = name
        self.operand = operand
        self.spare_bits = 8 - design.data_bits
        shape = (2, operand.banks, operand.rows * ROW_BYTES)
        self.data = np.zeros(shape, dtype=np.int8)
        self.written = np.zeros(shape, dtype=np.bool_)
        self.shape: LoadShape | None = None
        self.table: LaneTable | None = None
        self._patterns: dict[tuple[int, ...], tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def configure(self, shape: LoadShape) -> None:
        """Nothing; CONFIG."""
        self.shape = shape
        self._patterns = {}

    def place(self, table: LaneTable) -> None:
        """Nothing; LANES."""
        self.table = table
        self._patterns = {}

    def load(self, command: Load, words: Bytes) -> int:
        """Bank rows written by a LOAD with data words `n x 16`."""
        if min(command.na, command.nb, command.nc) < 1:
            raise ProgramFault("na, nb and nc must be >= 1")
        if command.clear and not 0 <= command.c_lo < command.c_hi:
            raise ProgramFault("a LOAD with `clear` needs c_lo < c_hi")
        first, end = (command.c_lo, command.c_hi) if command.clear else (0, command.nc)
        b = np.arange(command.nb)[:, None]
        c = np.arange(first, end)[None]
        inside = (b >= command.b_lo) & (b < command.b_hi) & (c >= command.c_lo) & (c < command.c_hi)
        steps = np.zeros((command.na, command.nb, end - first, ROW_BYTES), dtype=np.int8)
        values = words.view(np.int8).reshape(command.na, -1, ROW_BYTES)
        steps[:, inside] = (values << self.spare_bits) >> self.spare_bits
        key = (command.na, command.nb, first, end, command.clear, command.start)
        if key not in self._patterns:
            self._patterns[key] = self._pattern(command, range(first, end))
        target, source = self._patterns[key]
        written = self.written[command.buffer]
        written[:] = False
        assert self.shape is not None
        data = self.data[command.buffer]
        if self.shape.byte_mode:
            if command.clear:
                rows = np.unique(target // ROW_BYTES)
                data.reshape(-1, ROW_BYTES)[rows] = 0
                written.reshape(-1, ROW_BYTES)[rows] = True
            data.reshape(-1)[target] = steps.reshape(-1)[source]
            written.reshape(-1)[target] = True
        else:
            data.reshape(-1, ROW_BYTES)[target] = steps.reshape(-1, ROW_BYTES)[source]
            written.reshape(-1, ROW_BYTES)[target] = True
        return len(target)

    def _pattern(
        self, command: Load, columns: range
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where words go: rows of all banks and steps, or bytes of both in byte mode."""
        if self.shape is None or self.table is None:
            raise ProgramFault("LOAD before CONFIG and LANES")
        targets, sources = [], []
        shape, row_bytes = self.shape, ROW_BYTES
        for bank, lane in enumerate(self.operand.lanes):
            a0, b0, c0, base, select = self.table.place(self.name, lane)
            a, b, c = (
                np.array(span)[((np.array(span) - low) & COORDINATE_MASK) < extent]
                for span, low, extent in (
                    (range(command.na), a0, shape.extent_a),
                    (range(command.nb), b0, shape.extent_b),
                    (columns, c0, shape.extent_c),
                )
            )
            grid = a[:, None, None], b[None, :, None], c[None, None, :]
            strides = (shape.stride_a, shape.stride_b, shape.stride_c)
            origin = command.start - columns.start * shape.stride_c if command.clear else 0
            address = origin - base + sum(g * s for g, s in zip(grid, strides, strict=True))
            address = np.asarray(address) & ADDRESS_MASK
            if command.clear and shape.byte_mode:
                _check_rows(f"{self.name} bank {bank}", address // row_bytes)
            address = address.reshape(-1)
            row = (grid[0] * command.nb + grid[1]) * len(columns)
            step = (row + grid[2] - columns.start).reshape(-1)
            if len(address) and int(address.max()) // row_bytes >= self.operand.rows:
                raise ProgramFault(
                    f"{self.name} bank {bank} is written at byte {int(address.max())}; it has"
                    f" {self.operand.rows} rows of {row_bytes}"
                )
            if shape.byte_mode:
                targets.append(bank * self.operand.rows * row_bytes + address)
                sources.append(step * row_bytes + select)
            else:
                targets.append(bank * self.operand.rows + address // row_bytes)
                sources.append(step)
        return np.concatenate(targets), np.concatenate(sources)


def _check_rows(bank: str, rows: NDArray[np.int64]) -> None:
    """Nothing; rows of memory of a LOAD that clears them, `a x b x c`.

    Raises: ProgramFault where a row of the box has more than one, or two rows of the box share one.
    """
    if rows.size and (rows != rows[..., :1]).any():
        raise ProgramFault(f"{bank}: a LOAD with `clear` writes a row of its box to two rows")
    if rows.size and len(np.unique(rows)) < rows[..., 0].size:
        raise ProgramFault(f"{bank}: a LOAD with `clear` writes two rows of its box to one row")


class ParamMemory:
    """The two buffers of scale parameters, rows of 16 channels.

    Attributes:
        bias, multiplier, shift: int32, int32, uint8, `2 x rows x 16`.
        written: bool `2 x rows`.
    """

    def __init__(self, design: Design) -> None:
        self.rows = design.param_rows
        shape = (2, self.rows, 16)
        self.bias = np.zeros(shape, dtype=np.int32)
        self.multiplier = np.zeros(shape, dtype=np.int32)
        self.shift = np.zeros(shape, dtype=np.uint8)
        self.written = np.zeros(shape[:2], dtype=np.bool_)

    def load(self, command: Load, words: Bytes) -> None:
        """Nothing; a LOAD of blocks of seven words."""
        blocks, rest = divmod(command.data_words, PARAM_WORDS)
        if rest or command.data_words != command.steps:
            raise ProgramFault("a LOAD of parameters needs seven words per block and no padding")
        if not 1 <= blocks <= self.rows:
            raise ProgramFault(f"{blocks} parameter blocks do not fit {self.rows} rows")
        data = words.reshape(blocks, -1)
        n = command.buffer
        self.bias[n, :blocks] = data[:, :64].copy().view("<i4")
        self.multiplier[n, :blocks] = data[:, 64:96].copy().view("<u2")
        self.shift[n, :blocks] = data[:, 96:112]
        self.written[n] = np.arange(self.rows) < blocks
