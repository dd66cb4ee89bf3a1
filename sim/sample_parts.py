"""Parts of hand-made programs: memory images, lane tables, packed operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tensorlib.design import Design
from tensorlib.program import Burst, Command, Exec, Lane, Lanes

NO_LIMITS = (1, 1, 1, 1)
P = 4  # PEs along an axis


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A program, its memory image, and where its result must be.

    Attributes:
        memory: uint8, zeros where the output goes.
        expected: uint8, the image after the program.
        acc: int32 outputs before requantisation, any shape.
    """

    design: Design
    commands: tuple[Command, ...]
    memory: NDArray[np.uint8]
    expected: NDArray[np.uint8]
    acc: NDArray[np.int32]


class Image:
    """A memory image that grows word by word."""

    def __init__(self) -> None:
        self.parts: list[NDArray[np.uint8]] = []
        self.size = 0

    def put(self, values: NDArray) -> int:
        """Byte address at which `values` (a multiple of 16 bytes) begin."""
        data = np.frombuffer(np.ascontiguousarray(values).tobytes(), dtype=np.uint8)
        assert len(data) % 16 == 0
        address, self.size = self.size, self.size + len(data)
        self.parts.append(data)
        return address

    def bytes(self) -> NDArray[np.uint8]:
        """The whole image."""
        return np.concatenate(self.parts)


def blocks(x: NDArray) -> NDArray:
    """`C x Y x X` as `[C/16][Y][X][16]`, channels filled up with zeros."""
    channels = -(-x.shape[0] // 16) * 16
    padded = np.zeros((channels, *x.shape[1:]), dtype=x.dtype)
    padded[: x.shape[0]] = x
    return np.moveaxis(padded.reshape(-1, 16, *x.shape[1:]), 1, -1)


def parameters(rng: np.random.Generator, channels: int) -> tuple[NDArray, NDArray, NDArray]:
    """Bias, multiplier and shift that use most of int8."""
    bias = rng.integers(-5000, 5000, channels).astype(np.int32)
    multiplier = rng.integers(1 << 14, 1 << 16, channels).astype(np.int32)
    shift = rng.integers(25, 28, channels).astype(np.uint8)
    return bias, multiplier, shift


def pack_parameters(bias: NDArray, multiplier: NDArray, shift: NDArray) -> NDArray[np.uint8]:
    """Seven words per 16 channels."""
    rows = -(-len(bias) // 16)
    packed = np.zeros((rows, 112), dtype=np.uint8)

    def fill(values: NDArray, dtype: str, low: int, high: int) -> None:
        full = np.zeros(rows * 16, dtype=dtype)
        full[: len(values)] = values
        packed[:, low:high] = full.reshape(rows, 16).view(np.uint8).reshape(rows, -1)

    fill(bias, "<i4", 0, 64)
    fill(multiplier, "<u2", 64, 96)
    fill(shift, "u1", 96, 112)
    return packed


def lanes(axis1: Callable[[int], Lane], axis2: Callable[[int], Lane], design: Design) -> Lanes:
    """Tables from one function per axis."""
    return Lanes(
        axis1=tuple(axis1(i) for i in range(design.rows)),
        axis2=tuple(axis2(j) for j in range(design.cols)),
    )


def plain(_: int) -> Lane:
    """An entry that adds nothing."""
    return Lane()


def single(**fields: object) -> Exec:
    """An EXEC on buffers 0 that takes and releases everything."""
    defaults = {
        "input_buffer": 0,
        "weight_buffer": 0,
        "output_buffer": 0,
        "limits": NO_LIMITS,
        "release_input": True,
        "release_weight": True,
        "output_complete": True,
    }
    return Exec(**{**defaults, **fields})  # type: ignore[arg-type]


def six(*values: int, fill: int = 0) -> tuple[int, ...]:
    """Values of loops 0.., filled up."""
    return (*values, *[fill] * (6 - len(values)))


def sent_words(
    shape: tuple[int, ...], order: Sequence[tuple[int, ...]], address: int
) -> tuple[Burst, ...]:
    """One burst per word of an array `shape x 16` bytes at `address`, in `order` of indices."""
    return tuple((address + 16 * int(np.ravel_multi_index(i, shape)), 16) for i in order)
