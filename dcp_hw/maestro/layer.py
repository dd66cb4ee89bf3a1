"""Layers as MAESTRO's mapping files state them, and the tensors of each layer type.

Unlike `dcp_hw.workload.Layer`, the sizes Y and X are those of the *input*, padding included, and
K and C of a grouped convolution are those of one group.

Source: maestro-project/maestro, `Layer` blocks of the files in data/mapping.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from dcp_hw.errors import InputError

INT_MAX = (1 << 31) - 1
"""MAESTRO keeps sizes in 32-bit integers."""

OVERLAP = {"Y": "R", "X": "S"}
"""Input axis -> filter axis that slides along it."""

DIMENSIONS = ("N", "G", "K", "C", "R", "S", "Y", "X", "Y'", "X'", "M")
"""Every dimension name that a layer may declare."""


class LayerType(StrEnum):
    """The layer types that MAESTRO evaluates."""

    CONV = "CONV"
    DSCONV = "DSCONV"  # depthwise
    NGCONV = "NGCONV"  # grouped, with the groups as dimension G
    TRCONV = "TRCONV"  # evaluated as CONV
    GEMM = "GEMM"

    @property
    def is_convolution(self) -> bool:
        """Whether the type has input axes with a sliding filter."""
        return self is not LayerType.GEMM

    @property
    def required(self) -> tuple[str, ...]:
        """Dimensions that a layer must declare; Y, X may be given as Y', X'."""
        return {
            LayerType.GEMM: ("M", "N", "K"),
            LayerType.DSCONV: ("C", "R", "S", "Y", "X"),
            LayerType.NGCONV: ("G", "K", "C", "R", "S", "Y", "X"),
        }.get(self, ("K", "C", "R", "S", "Y", "X"))

    @property
    def model(self) -> LayerType:
        """The type whose tensors MAESTRO uses for it."""
        return LayerType.CONV if self is LayerType.TRCONV else self


@dataclass(frozen=True, slots=True)
class Tensors:
    """Dimensions of the three tensors; the output in terms of input coordinates."""

    input: tuple[str, ...]
    filter: tuple[str, ...]
    output: tuple[str, ...]

    @property
    def operands(self) -> tuple[str, ...]:
        """Sorted dimensions of the input and the filter."""
        return tuple(sorted({*self.input, *self.filter}))


_TENSORS = {
    LayerType.CONV: Tensors(("C", "Y", "X"), ("K", "C", "R", "S"), ("K", "Y", "X")),
    LayerType.DSCONV: Tensors(("C", "Y", "X"), ("C", "R", "S"), ("C", "Y", "X")),
    LayerType.NGCONV: Tensors(
        ("G", "C", "Y", "X"), ("G", "K", "C", "R", "S"), ("G", "K", "C", "Y", "X")
    ),
    LayerType.GEMM: Tensors(("M", "K"), ("K", "N"), ("M", "N")),
}


def tensors(kind: LayerType, *, batched: bool = False) -> Tensors:
    """The tensors of a layer type.

    Args:
        batched: the first layer of that type in the file declares N.
    """
    plain = _TENSORS[kind.model]
    if not batched or kind is LayerType.GEMM:
        return plain
    return Tensors(("N", *plain.input), plain.filter, ("N", *plain.output))


@dataclass(frozen=True, slots=True)
class MaestroLayer:
    """One layer of a mapping file.

    Attributes:
        sizes: (dimension, size) as declared, in that order.
        strides: (dimension, stride) of declared dimensions with a stride above 1.

    Raises: InputError for a layer that MAESTRO cannot evaluate; the message names the field.
    """

    name: str
    type: LayerType
    sizes: tuple[tuple[str, int], ...]
    strides: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "type", LayerType(self.type))
        declared = [dim for dim, _ in self.sizes]
        for dim, size in (*self.sizes, *self.strides):
            if dim not in DIMENSIONS:
                raise self._error(f"dimension {dim} is unknown; have {' '.join(DIMENSIONS)}")
            if not isinstance(size, int) or not 1 <= size <= INT_MAX:
                raise self._error(f"{dim} is {size!r}; accepted: an integer from 1 to {INT_MAX}")
        twice = sorted({dim for dim in declared if declared.count(dim) > 1})
        if twice:
            raise self._error(f"{' '.join(twice)} declared more than once; accepted: once each")
        for dim in self.type.required:
            prime = f"{dim}'" if dim in OVERLAP else dim
            if dim not in declared and prime not in declared:
                raise self._error(f"has no {dim}; {self.type} needs {' '.join(self.type.required)}")
            if prime != dim and dim in declared and prime in declared:
                raise self._error(f"has both {dim} and {prime}; accepted: one of them")
        kept = tuple((dim, step) for dim, step in self.strides if step > 1 and dim in declared)
        object.__setattr__(self, "strides", kept)

    def _error(self, what: str) -> InputError:
        return InputError(f"layer '{self.name}': {what}")

    @property
    def size(self) -> dict[str, int]:
        """Declared sizes by dimension."""
        return dict(self.sizes)

    @property
    def stride(self) -> dict[str, int]:
        """Strides above 1 by dimension."""
        return dict(self.strides)

    @property
    def batched(self) -> bool:
        """Whether the layer declares a batch dimension that is not part of a GEMM."""
        return self.type.is_convolution and "N" in self.size

    @property
    def outputs(self) -> tuple[int, int]:
        """True output rows and columns, stride included; (1, 1) for a GEMM."""
        if not self.type.is_convolution:
            return (1, 1)
        size, stride = self.size, self.stride
        found = []
        for axis, taps in OVERLAP.items():
            whole = size.get(f"{axis}'", size.get(axis, 1) - size[taps] + 1)
            step = stride.get(axis, stride.get(f"{axis}'", 1))
            found.append(max(0, -(-whole // step)))
        return found[0], found[1]

    @property
    def macs(self) -> int:
        """Multiply-accumulates that the layer really needs."""
        size = self.size
        if self.type is LayerType.GEMM:
            return size["M"] * size["N"] * size["K"]
        rows, columns = self.outputs
        total = rows * columns
        reduced = ("K", "C", "R", "S", "N", "G") if self.type is not LayerType.DSCONV else "CRSN"
        for dim in reduced:
            total *= size.get(dim, 1)
        return total


def convolution(name: str, sizes: Iterable[int], *, stride: int = 1) -> MaestroLayer:
    """A CONV layer from K, C, Y, X, R, S (Y, X of the padded input) and one stride."""
    return _six(name, LayerType.CONV, sizes, stride)


def depthwise(name: str, sizes: Iterable[int], *, stride: int = 1) -> MaestroLayer:
    """A DSCONV layer from K, C, Y, X, R, S (K is 1 in MAESTRO's own files) and one stride."""
    return _six(name, LayerType.DSCONV, sizes, stride)


def gemm(name: str, m: int, n: int, k: int) -> MaestroLayer:
    """A GEMM layer: (m × k) times (k × n)."""
    return MaestroLayer(name, LayerType.GEMM, (("M", m), ("N", n), ("K", k)))


def _six(name: str, kind: LayerType, sizes: Iterable[int], stride: int) -> MaestroLayer:
    return MaestroLayer(
        name,
        kind,
        tuple(zip("KCYXRS", sizes, strict=True)),
        (("X", stride), ("Y", stride)) if stride != 1 else (),
    )
