"""Codes of the DCP space: layers as 7 integers, dataflows as levels × 7 × 2 integers.

A layer's code is K, C, Y, X, R, S, T: sizes of the padded input, and T = 0 FC, 1 CONV, 2 DSCONV,
3 GEMM. As in GAMMA's files an FC is K outputs and C inputs, a DSCONV has K = 1, and a GEMM holds
M, N, K in the first three. Stride, padding, dilation and groups are not in the code.

A dataflow's code has the outermost level first; `[:, 0]` is the parallel row; `[..., 0]` is a
dimension's index in K C Y X R S and `[..., 1]` a number of units or elements.

Source: DCP paper, Sec. 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dcp_hw.errors import InputError
from dcp_hw.maestro.dataflow import BLOCK, Dataflow, Dim, Level
from dcp_hw.maestro.layer import (
    INT_MAX,
    LayerType,
    MaestroLayer,
    convolution,
    depthwise,
    gemm,
)
from dcp_hw.workload import Layer, Operator

if TYPE_CHECKING:
    import torch

CODE = ("K", "C", "Y", "X", "R", "S", "T")
"""Names of the numbers in a layer's code."""

DCP_LEVELS = 3
"""Levels of a dataflow in the DCP paper: L2, L1, L0."""


class CodeType(IntEnum):
    """The last number of a layer's code."""

    FC = 0
    CONV = 1
    DSCONV = 2
    GEMM = 3


@dataclass(frozen=True, slots=True)
class LayerCode:
    """The code of a layer. Raises: InputError for a code that no layer has."""

    K: int
    C: int
    Y: int
    X: int
    R: int
    S: int
    T: CodeType

    def __post_init__(self) -> None:
        if self.T not in list(CodeType):
            raise InputError(f"T is {self.T}; accepted: 0 FC, 1 CONV, 2 DSCONV, 3 GEMM")
        object.__setattr__(self, "T", CodeType(self.T))
        for name, value in zip(CODE[:-1], self.values, strict=False):
            if not 1 <= value <= INT_MAX:
                raise InputError(f"{name} is {value}; accepted: an integer from 1 to {INT_MAX}")
        if self.R > self.Y and self.T in (CodeType.CONV, CodeType.DSCONV):
            raise InputError(f"R is {self.R} with Y = {self.Y}; accepted: at most Y")
        if self.S > self.X and self.T in (CodeType.CONV, CodeType.DSCONV):
            raise InputError(f"S is {self.S} with X = {self.X}; accepted: at most X")
        rest = {
            CodeType.FC: self.values[2:6],
            CodeType.GEMM: self.values[3:6],
            CodeType.DSCONV: self.values[:1],
        }.get(self.T, ())
        if any(value != 1 for value in rest):
            raise InputError(f"{self.T.name} {self.values}; accepted: 1 for what it does not have")

    @property
    def values(self) -> tuple[int, ...]:
        """The seven integers."""
        return tuple(int(value) for value in astuple(self))

    def array(self) -> NDArray[np.int64]:
        """The code as an array of 7."""
        return np.array(self.values, dtype=np.int64)

    def to_maestro(self, name: str = "layer", *, stride: int = 1) -> MaestroLayer:
        """The layer that MAESTRO evaluates for this code; a product has no stride."""
        if self.T is CodeType.GEMM:
            return gemm(name, self.K, self.C, self.Y)
        if self.T is CodeType.FC:
            return convolution(name, self.values[:6])
        make = depthwise if self.T is CodeType.DSCONV else convolution
        return make(name, self.values[:6], stride=stride)


def encode_layer(layer: Layer) -> LayerCode:
    """The code of a layer; inverse of `decode_layer`.

    Raises: InputError for a batched product of activations, which has no code.
    """
    if layer.operator is Operator.BGEMM:
        raise InputError(f"layer '{layer.name}': bgemm has no code; accepted: conv, dwconv, gemm")
    if layer.operator is Operator.GEMM:
        if layer.M == 1:
            return LayerCode(layer.N, layer.K, 1, 1, 1, 1, CodeType.FC)
        return LayerCode(layer.M, layer.N, layer.K, 1, 1, 1, CodeType.GEMM)
    grows = 2 * layer.padding
    kind = CodeType.DSCONV if layer.operator is Operator.DWCONV else CodeType.CONV
    channels = 1 if kind is CodeType.DSCONV else layer.K
    rows, columns = layer.iy + grows, layer.ix + grows
    return LayerCode(channels, layer.C, rows, columns, layer.R, layer.S, kind)


def decode_layer(
    code: LayerCode | Sequence[int],
    *,
    name: str = "layer",
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    count: int = 1,
) -> Layer:
    """The layer of a code and of what the code leaves out.

    Raises: InputError for a code that no layer has.
    """
    code = code if isinstance(code, LayerCode) else layer_code(code)
    if code.T is CodeType.FC:
        return Layer(name=name, operator=Operator.GEMM, M=1, N=code.K, K=code.C, count=count)
    if code.T is CodeType.GEMM:
        return Layer(name=name, operator=Operator.GEMM, M=code.K, N=code.C, K=code.Y, count=count)
    depth = code.T is CodeType.DSCONV
    iy, ix = code.Y - 2 * padding, code.X - 2 * padding
    return Layer(
        name=name,
        operator=Operator.DWCONV if depth else Operator.CONV,
        K=code.C if depth else code.K,
        C=code.C,
        Y=(code.Y - (code.R - 1) * dilation - 1) // stride + 1,
        X=(code.X - (code.S - 1) * dilation - 1) // stride + 1,
        R=code.R,
        S=code.S,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=code.C if depth else groups,
        iy=iy,
        ix=ix,
        count=count,
    )


def layer_code(values: Sequence[int]) -> LayerCode:
    """The code in seven numbers. Raises: InputError for another number of them."""
    numbers = [_integer(value) for value in np.asarray(values).tolist()]
    if len(numbers) != len(CODE):
        raise InputError(f"a layer's code of {len(numbers)} numbers; accepted: {len(CODE)}")
    return LayerCode(*numbers)


def maestro_layer(layer: Layer) -> MaestroLayer:
    """The layer as MAESTRO takes it, its input padded.

    Raises: InputError for a layer that MAESTRO cannot state (dilation, a batched product).
    """
    if layer.dilation > 1:
        raise InputError(f"layer '{layer.name}': MAESTRO has no dilation; found {layer.dilation}")
    code = encode_layer(layer)
    if layer.operator is Operator.GEMM:
        return gemm(layer.name, layer.M, layer.N, layer.K)
    if layer.operator is Operator.DWCONV or layer.groups == 1:
        return code.to_maestro(layer.name, stride=layer.stride)
    groups = layer.groups
    sizes = (layer.K // groups, layer.C // groups, *code.values[2:6])
    plain = convolution(layer.name, sizes, stride=layer.stride)
    return MaestroLayer(layer.name, LayerType.NGCONV, (("G", groups), *plain.sizes), plain.strides)


def encode(dataflow: Dataflow) -> NDArray[np.int64]:
    """Code of a dataflow, `levels x 7 x 2`; inverse of `decode`."""
    return np.array(
        [
            [
                [level.parallel, level.units],
                *([dim, tile] for dim, tile in zip(level.order, level.tile, strict=True)),
            ]
            for level in dataflow.levels
        ],
        dtype=np.int64,
    )


def decode(code: NDArray[np.integer] | Sequence, layer: MaestroLayer | None = None) -> Dataflow:
    """The dataflow of a code.

    Args:
        code: `levels x 7 x 2` whole numbers.
        layer: check that the dataflow is legal for this layer (PEs aside).

    Raises: InputError for a code that is no dataflow, or is illegal for the layer.
    """
    array = np.asarray(code)
    if array.ndim != 3 or array.shape[1:] != (BLOCK, 2) or not array.shape[0]:
        raise InputError(f"a dataflow's code of shape {array.shape}; accepted: (levels, 7, 2)")
    levels = []
    for i, rows in enumerate(array.tolist()):
        pairs = [(_integer(dim), _integer(number)) for dim, number in rows]
        if any(not 0 <= dim < len(Dim) for dim, _ in pairs):
            raise InputError(f"level {i}: dimensions {[d for d, _ in pairs]}; accepted: 0 to 5")
        (parallel, units), *loops = pairs
        levels.append(
            Level(
                parallel=Dim(parallel),
                units=units,
                order=tuple(Dim(dim) for dim, _ in loops),
                tile=tuple(tile for _, tile in loops),
            )
        )
    dataflow = Dataflow(tuple(levels))
    if layer is not None and (reason := dataflow.why_illegal(layer, INT_MAX)):
        raise InputError(f"dataflow does not fit layer '{layer.name}': {reason}")
    return dataflow


def _integer(value: float) -> int:
    """A whole number; codes that come from a tensor are floats."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise InputError(f"code holds {value!r}; accepted: whole numbers")
    return int(value)


def layer_tensor(codes: Sequence[LayerCode]) -> torch.Tensor:
    """Codes of layers as a predictor takes them: float32, `b x 7`."""
    import torch

    return torch.tensor([code.values for code in codes], dtype=torch.float32)


def dataflow_tensor(dataflows: Sequence[Dataflow]) -> torch.Tensor:
    """Codes of dataflows as a predictor takes them: float32, `b x levels x 7 x 2`."""
    import torch

    return torch.tensor(np.stack([encode(one) for one in dataflows]), dtype=torch.float32)
