"""Layers as the loop nests that `tensorlib` analyses, with places of elements in tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from dcp_hw.workload import Layer, Operator
from tensorlib import op

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nest:
    """A loop nest with sizes.

    Attributes:
        sizes: of all iterators.
        shapes: extents of each tensor, row-major in the layer's data.
        offset: added to the last two subscripts of the first input: minus the padding.
    """

    op: op.Operator
    sizes: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]]
    offset: int = 0

    def places(self, tensor: str, subscripts: Ints) -> Ints:
        """Places of elements in a tensor, -1 outside it; `... x dimensions` to `...`."""
        shape = np.array(self.shapes[tensor])
        if tensor == self.op.inputs[0] and self.offset:
            subscripts = subscripts.copy()
            subscripts[..., -2:] += self.offset
        strides = np.array([prod(shape[n + 1 :]) for n in range(len(shape))])
        inside = ((subscripts >= 0) & (subscripts < shape)).all(axis=-1)
        places: Ints = np.where(inside, subscripts @ strides, -1)
        return places


def nest_of(layer: Layer) -> Nest:
    """The nest of a layer, by the operator that its kind of arrays is analysed for."""
    if not layer.operator.is_convolution:
        batched = layer.operator is Operator.BGEMM
        nest = op.batched_gemm() if batched else op.gemm()
        sizes = {"m": layer.M, "n": layer.N, "k": layer.K} | ({"b": layer.B} if batched else {})
        shapes = (layer.input_shape, layer.weight_shape, layer.output_shape)
        return Nest(op=nest, sizes=sizes, shapes=dict(zip(nest.tensor_names, shapes, strict=True)))
    assert layer.iy is not None
    assert layer.ix is not None
    g, taps = layer.groups, (layer.R, layer.S)
    image = (layer.iy, layer.ix)
    pixels = {"y": layer.Y, "x": layer.X, "r": layer.R, "s": layer.S}
    steps = {"stride": layer.stride, "dilation": layer.dilation}
    k, c = layer.K // g, layer.C // g
    if layer.operator is Operator.DWCONV:
        nest = op.depthwise_conv2d(**steps)
        return Nest(
            op=nest, sizes={"c": g, **pixels}, offset=-layer.padding,
            shapes={"I": (g, *image), "W": (g, *taps), "O": layer.output_shape},
        )  # fmt: skip
    nest = op.conv2d(**steps, groups=g > 1)
    lead = (g,) if g > 1 else ()
    return Nest(
        op=nest,
        sizes={"k": k, "c": c, **pixels} | ({"g": g} if g > 1 else {}),
        offset=-layer.padding,
        shapes={
            "I": (*lead, c, *image),
            "W": (*lead, k, c, *taps),
            "O": (*lead, k, layer.Y, layer.X),
        },
    )
