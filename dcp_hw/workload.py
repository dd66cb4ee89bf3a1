"""Layers and layer sets: what is computed, and the least it can cost.

A layer is one perfect loop nest. Convolutions use the dimensions K C Y X R S, where K and C
count all channels (not those of one group) and Y, X belong to the *output*:

    O[k, y, x] += I[c, y * stride + r * dilation - padding, ...] * W[k, c, r, s]

Matrix products use B M N K, where K is the reduction (as in BLAS):

    O[b, m, n] += A[b, m, k] * W[b, k, n]

A layer set is the list of layers of one network, each distinct layer once with its `count`.
`layerset_csv` reads and writes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cached_property, lru_cache
from math import prod
from pathlib import Path

from dcp_hw.errors import InputError

MAX_SIZE = 1 << 20
"""Largest dimension of a layer: far above any network, far below an overflow."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class Operator(StrEnum):
    """What a layer computes."""

    CONV = "conv"  # convolution, also grouped
    DWCONV = "dwconv"  # depthwise convolution: K = C = groups
    GEMM = "gemm"  # activations x weights
    BGEMM = "bgemm"  # activations x activations, B times

    @property
    def is_convolution(self) -> bool:
        """Whether the operator has the dimensions K C Y X R S."""
        return self in (Operator.CONV, Operator.DWCONV)

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dimensions that a layer of this operator has."""
        if self.is_convolution:
            return ("K", "C", "Y", "X", "R", "S")
        return ("B", "M", "N", "K") if self is Operator.BGEMM else ("M", "N", "K")

    @property
    def fields(self) -> frozenset[str]:
        """Names of the fields of `Layer` that mean something for this operator."""
        window = ("stride", "padding", "dilation", "groups", "iy", "ix")
        more = window if self.is_convolution else ()
        if self is Operator.BGEMM:
            more = ("transposed",)
        return frozenset(("name", "operator", "count", *self.dims, *more))


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of a network; a dimension that the operator does not have stays 1.

    `iy` and `ix` are height and width of the stored input without padding. Left out, they are
    the smallest that give Y and X; a network may have more (a strided convolution that ends
    short of the last row). For matrix products they stay None.

    `transposed` is 1 for a `bgemm` whose second operand lies in memory as `B x N x K`, as the keys
    of an attention do: the reduction index runs along channels, in both operands.

    Raises: InputError for a layer that cannot exist; the message names the field.
    """

    name: str
    operator: Operator
    K: int
    C: int = 1
    Y: int = 1
    X: int = 1
    R: int = 1
    S: int = 1
    B: int = 1
    M: int = 1
    N: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1
    iy: int | None = None
    ix: int | None = None
    transposed: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise InputError(
                f"layer name {self.name!r} is not accepted; use a letter, then letters, "
                "digits and '_' (names end up in file and module names)"
            )
        try:
            object.__setattr__(self, "operator", Operator(self.operator))
        except ValueError:
            raise self._error(
                "operator", f"is {self.operator!r}", f"one of {', '.join(Operator)}"
            ) from None
        self._check_integers()
        self._check_unused()
        if self.operator.is_convolution:
            self._check_groups()
            self._settle_input_axis("iy", "Y", "R")
            self._settle_input_axis("ix", "X", "S")

    def _error(self, field: str, found: str, accepted: str) -> InputError:
        return InputError(f"layer '{self.name}': {field} {found}; accepted: {accepted}")

    def _check_integers(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("name", "operator") or (value is None and field.name in ("iy", "ix")):
                continue
            least = 0 if field.name in ("padding", "transposed") else 1
            most = 1 if field.name == "transposed" else MAX_SIZE
            is_integer = isinstance(value, int) and not isinstance(value, bool)
            if not is_integer or not least <= value <= most:
                raise self._error(field.name, f"is {value!r}", f"an integer from {least} to {most}")

    def _check_unused(self) -> None:
        used = self.operator.fields
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in used and value != field.default:
                raise self._error(
                    field.name,
                    f"is {value}, which {self.operator} does not have",
                    f"leave it out; {self.operator} has {' '.join(self.operator.dims)}",
                )

    def _check_groups(self) -> None:
        if self.operator is Operator.DWCONV:
            if not self.K == self.C == self.groups:
                raise self._error(
                    "groups",
                    f"is {self.groups} with K = {self.K} and C = {self.C}",
                    "K = C = groups for dwconv (several outputs per channel: conv with groups = C)",
                )
        elif self.K % self.groups or self.C % self.groups:
            raise self._error(
                "groups",
                f"is {self.groups} with K = {self.K} and C = {self.C}",
                "a common divisor of K and C",
            )
        elif self.groups > 1 and self.K == self.C == self.groups:
            raise self._error("groups", "equals K and C", "operator dwconv for such a layer")

    def _settle_input_axis(self, name: str, output: str, kernel: str) -> None:
        """Fill in or check the input size of one axis."""
        window = (getattr(self, kernel) - 1) * self.dilation + 1
        least = (getattr(self, output) - 1) * self.stride + window - 2 * self.padding
        most = least + self.stride - 1
        given = getattr(self, name)
        if most < 1:
            raise self._error(
                "padding",
                f"is {self.padding}, so that {output} = {getattr(self, output)} needs no input",
                f"a padding that leaves {name} >= 1",
            )
        if given is None:
            object.__setattr__(self, name, max(least, 1))
        elif not least <= given <= most:
            computed = (given + 2 * self.padding - window) // self.stride + 1
            raise self._error(
                name,
                f"is {given}, which gives {output} = {computed} and not {getattr(self, output)}",
                f"{max(least, 1)} to {most} for this stride, padding, dilation and {kernel}",
            )

    # ------------------------------------------------------------------ shapes

    @property
    def sizes(self) -> dict[str, int]:
        """Size of each dimension that the operator has, in the order of `Operator.dims`."""
        return {dim: getattr(self, dim) for dim in self.operator.dims}

    @property
    def reduction(self) -> int:
        """Number of products summed into one output element."""
        if self.operator.is_convolution:
            return self.C // self.groups * self.R * self.S
        return self.K

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the stored input: `C x iy x ix`, `M x K` or `B x M x K`, no padding."""
        if self.operator.is_convolution:
            return (self.C, self.iy, self.ix)
        return self._with_batch(self.M, self.K)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the second operand: `K x C/groups x R x S`, `K x N` or `B x K x N`.

        `transposed` says how it lies in memory, not what it is.
        """
        if self.operator.is_convolution:
            return (self.K, self.C // self.groups, self.R, self.S)
        return self._with_batch(self.K, self.N)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output: `K x Y x X`, `M x N` or `B x M x N`."""
        if self.operator.is_convolution:
            return (self.K, self.Y, self.X)
        return self._with_batch(self.M, self.N)

    def _with_batch(self, rows: int, columns: int) -> tuple[int, ...]:
        return (self.B, rows, columns) if self.operator is Operator.BGEMM else (rows, columns)

    # ------------------------------------------------------------------- costs

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one occurrence, those on padding included."""
        return self.output_elements * self.reduction

    @property
    def output_elements(self) -> int:
        """Output elements of one occurrence."""
        return prod(self.output_shape)

    @property
    def input_bytes(self) -> int:
        """Bytes of the int8 input that some MAC reads: the compulsory input traffic.

        Less than the stored input where a stride skips rows or columns (1x1 with stride 2
        reads a quarter), equal to it nearly everywhere else.
        """
        if not self.operator.is_convolution:
            return prod(self.input_shape)
        step = (self.stride, self.padding, self.dilation)
        rows = _touched(self.iy, self.Y, self.R, *step)
        return self.C * rows * _touched(self.ix, self.X, self.S, *step)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the int8 second operand."""
        return prod(self.weight_shape)

    @property
    def output_bytes(self) -> int:
        """Bytes of the output requantised to int8."""
        return self.output_elements

    def bound_cycles(self, pes: int, bus_in_bytes: int, bus_out_bytes: int) -> int:
        """Cycles that one occurrence needs at least: one MAC per PE, each tensor moved once.

        Source: roofline with compulsory traffic; input and output bus work at the same time.
        """
        return max(
            _ceil_div(self.macs, pes),
            _ceil_div(self.input_bytes + self.weight_bytes, bus_in_bytes),
            _ceil_div(self.output_bytes, bus_out_bytes),
        )


@lru_cache(maxsize=4096)
def _touched(size: int, outputs: int, taps: int, stride: int, padding: int, dilation: int) -> int:
    """Number of the `size` input positions of one axis that some window reads."""
    touched: set[int] = set()
    for tap in range(taps):
        first = tap * dilation - padding
        touched.update(range(first, first + outputs * stride, stride))
    return sum(0 <= position < size for position in touched)


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True)
class LayerSet:
    """The distinct layers of one network, in network order.

    Raises: InputError if it is empty or two layers share a name.
    """

    name: str
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        if not self.layers:
            raise InputError(f"layer set '{self.name}' has no layers; add at least one row")
        if len(self._by_name) < len(self.layers):
            names = [layer.name for layer in self.layers]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise InputError(
                f"layer set '{self.name}': names {', '.join(twice)} occur more than once; "
                "give each layer its own name, and equal layers one row with a count"
            )

    @cached_property
    def _by_name(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, name: str) -> Layer:
        """The layer called `name`; InputError if there is none."""
        return self.select(name).layers[0]

    def select(self, names: str) -> LayerSet:
        """The layers named in a comma-separated list, in network order.

        Raises: InputError if a name is unknown or the list is empty.
        """
        wanted = {name.strip() for name in names.split(",")} - {""}
        unknown = sorted(wanted - self._by_name.keys())
        if unknown or not wanted:
            raise InputError(
                f"layers {', '.join(unknown) or 'none'} asked of layer set '{self.name}'; "
                f"have {', '.join(self._by_name)} (name them separated by commas)"
            )
        return LayerSet(self.name, tuple(x for x in self.layers if x.name in wanted))

    @property
    def occurrences(self) -> int:
        """Number of layers of the network, repeated ones included."""
        return sum(layer.count for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the network, weighted by `count`."""
        return sum(layer.count * layer.macs for layer in self.layers)

    @property
    def output_elements(self) -> int:
        """Output elements of all layers, weighted by `count`."""
        return sum(layer.count * layer.output_elements for layer in self.layers)

    def bound_cycles(self, pes: int, bus_in_bytes: int, bus_out_bytes: int) -> int:
        """Sum of the layers' bounds, weighted by `count`; see `Layer.bound_cycles`."""
        return sum(
            layer.count * layer.bound_cycles(pes, bus_in_bytes, bus_out_bytes)
            for layer in self.layers
        )

    @staticmethod
    def load(name: str | Path) -> LayerSet:
        """The layer set called `name`, or the one in that CSV file.

        Raises: InputError that says file, line, what was found and what is accepted.
        """
        from dcp_hw.layerset_csv import load_layerset  # it imports this module

        return load_layerset(name)
