"""Directives to honest levels, row by row (compiled); `honest_maestro` is the way in."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcp_hw.maestro.compat_build import CLUSTER, KINDS, NAMES, SPATIAL
from dcp_hw.maestro.honest_plan import LEVELS

Ints = NDArray[np.int64]

_COMPILED = {"cache": True, "nogil": True, "error_model": "numpy"}
_NONE = -1
_LOOPS = ("K", "C", "Y", "X", "R", "S")


def _loops() -> Ints:
    """Kind x dimension of `NAMES`: the loop that it is, or -1."""
    table = np.full((len(KINDS), len(NAMES)), _NONE, dtype=np.int64)
    for i, kind in enumerate(KINDS):
        pairs = {name: name for name in _LOOPS} | {"Y'": "Y", "X'": "X"}
        if not kind.is_convolution:
            pairs = {"N": "K", "K": "C", "M": "Y"}
        for name, loop in pairs.items():
            table[i, NAMES.index(name)] = _LOOPS.index(loop)
    return table


_LOOP = _loops()
_N, _G, _M, _Y, _X = (NAMES.index(name) for name in ("N", "G", "M", "Y", "X"))
_DSCONV, _NGCONV, _GEMM = 1, 2, 3  # places in KINDS
_LEVELS, _SPATIALS, _TWICE, _NOT_FOUND, _OFFSET, _TAPS = range(1, 7)  # of `Inexpressible`
_BATCH, _GROUPS, _STRIDES, _NO_OUTPUT = 7, 8, 10, 11


@njit(**_COMPILED)
def convert(
    directives: Ints,
    starts: Ints,
    sizes: Ints,
    strides: Ints,
    kinds: Ints,
    padding: Ints,
    layers: Ints,
    mappings: Ints,
    depths: Ints,
    status: Ints,
) -> None:
    """Fill in layers, mappings, depths and status; `honest_maestro.Rows` names their columns."""
    for row in range(kinds.shape[0]):
        if _layer(sizes[row], strides[row], kinds[row] % 4, padding[row], layers[row], status[row]):
            part = directives[starts[row] : starts[row + 1]]
            depths[row] = _levels(part, kinds[row] % 4, layers[row], mappings[row], status[row])


@njit(**_COMPILED)
def _fail(status: Ints, reason: int, dim: int, a: int, b: int) -> bool:
    status[0], status[1], status[2], status[3] = reason, dim, a, b
    return False


@njit(**_COMPILED)
def _layer(size: Ints, stride: Ints, kind: int, padding: int, layer: Ints, status: Ints) -> bool:
    """Fill in one layer; False if the model cannot express it."""
    layer[:11] = 1
    layer[7] = layer[8] = 0
    for name in range(len(size)):
        loop = _LOOP[kind, name]
        if loop != _NONE:
            layer[loop] = max(size[name], 1)
    if kind == _GEMM:
        layer[9] = layer[2]
        return True
    if size[_N] > 1:
        return _fail(status, _BATCH, _NONE, size[_N], 0)
    if kind == _NGCONV and size[_G] > 1:
        return _fail(status, _GROUPS, _NONE, size[_G], 0)
    if stride[0] != stride[1]:
        return _fail(status, _STRIDES, _NONE, stride[0], stride[1])
    if kind == _DSCONV:
        layer[0], layer[8] = 1, 1
    layer[6], layer[7] = stride[0], padding
    layer[9], layer[10] = layer[2] - 2 * padding, layer[3] - 2 * padding
    for axis in range(2, 4):
        if layer[axis] < layer[axis + 2]:
            return _fail(status, _NO_OUTPUT, _Y if axis == 2 else _X, layer[axis], layer[axis + 2])
        layer[axis] = (layer[axis] - layer[axis + 2]) // stride[0] + 1
    return True


@njit(**_COMPILED)
def _levels(directives: Ints, kind: int, layer: Ints, mapping: Ints, status: Ints) -> int:
    """Fill in the levels of one mapping; how many there are, 0 if the model cannot express them."""
    depth = 1
    for i in range(directives.shape[0]):
        depth += directives[i, 0] == CLUSTER
    if depth > LEVELS:
        _fail(status, _LEVELS, _NONE, depth, 0)
        return 0
    start = 0
    for level in range(depth):
        end = start
        while end < directives.shape[0] and directives[end, 0] != CLUSTER:
            end += 1
        outer = mapping[level - 1, 8:] if level else layer[:6]
        mapping[level, 0] = directives[start - 1, 2] if level else 0
        if not _level(directives[start:end], kind, layer, level, outer, mapping[level], status):
            return 0
        start = end + 1
    return depth


@njit(**_COMPILED)
def _level(
    directives: Ints, kind: int, layer: Ints, level: int, outer: Ints, row: Ints, status: Ints
) -> bool:
    """Fill in one level from its directives; False if the model cannot express them."""
    found, place, spatials = 0, 2, 0
    for i in range(directives.shape[0]):
        name = directives[i, 1]
        loop = _LOOP[kind, name]
        if loop == _NONE:
            if kind == _GEMM or name == _M or (name == _G and kind != _NGCONV):
                return _fail(status, _NOT_FOUND, name, 0, 0)
            continue  # a batch or a group of one
        if found >> loop & 1:
            return _fail(status, _TWICE, name, level, 0)
        found |= 1 << loop
        row[place] = loop
        row[8 + loop] = min(directives[i, 2], outer[loop])  # inputs of Y and X: see below
        place += 1
        if directives[i, 0] == SPATIAL:
            row[1] = loop
            spatials += 1
    for loop in range(6):
        if not found >> loop & 1:
            row[place], row[8 + loop] = loop, outer[loop]
            place += 1
    if spatials != 1:
        return _fail(status, _SPATIALS, _NONE, level, spatials)
    for i in range(directives.shape[0]):
        name, size, offset = directives[i, 1], directives[i, 2], directives[i, 3]
        loop, step = _LOOP[kind, name], 1
        if loop == _NONE:
            continue
        if name in (_Y, _X):
            taps, step = row[8 + loop + 2], layer[6]
            if size < taps:
                return _fail(status, _TAPS, name, size, taps)
            size = (size - taps) // step + 1
            row[8 + loop] = min(size, outer[loop])
        if size < outer[loop] and offset != size and offset != size * step:
            return _fail(status, _OFFSET, name, size, offset)
    return True
