"""Levels of a mapping, compiled: `compat_levels` on one scratch array.

A dimension is its place in `NAMES`. A directive is a row of KIND, DIM, SIZE, OFFSET; a cluster is
one with its units as SIZE. Where this module and `compat_levels` differ, `compat_levels` is right.

The scratch array `w` is `level x row x place` (one array, because numba copies and counts each
array that it hands to a function). Rows by place in HEAD, by loop, or by dimension.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcp_hw.maestro.compat_reasons import Reason
from dcp_hw.maestro.honest_axis import LEAN
from dcp_hw.maestro.layer import INT_MAX, LayerType, tensors

NAMES = ("C", "G", "K", "M", "N", "R", "S", "X", "Y", "X'", "Y'")
"""Dimensions by number; the first nine in the order in which MAESTRO unrolls missing ones."""

DIMS = 9
R, S, X, Y, X_OUT, Y_OUT = 5, 6, 7, 8, 9, 10
LEVELS = 4
TEMPORAL, SPATIAL, CLUSTER = 0, 1, 2
KIND, DIM, SIZE, OFFSET = 0, 1, 2, 3
INPUT, FILTER, OUTPUT = 0, 1, 2

UNUSUAL = 99
"""Status of a mapping that only the plain form evaluates: it maps a dimension twice."""

KINDS = (LayerType.CONV, LayerType.DSCONV, LayerType.NGCONV, LayerType.GEMM)
"""Layer types by number; with a batch dimension the number is 4 higher."""

Ints = NDArray[np.int64]

# rows of the scratch array
HEAD = 0  # COUNT ... RELEVANT; of level 0 also CRASH, of level 1 FIRST_NEED, FIRST_LEVEL
ENTRY = 1  # 4 rows by loop: the complete directives, outermost first
EXTENT = 5  # by dimension: sizes that the level is built for (0: none)
MAPPED, UNIQUE, MAPPED_EDGE, UNIQUE_EDGE = 6, 7, 8, 9  # by dimension; from DIMS on as outputs
LOOP = 10  # by dimension: its loop
ABOVE = 11  # by loop: the loop of the level above that has this dimension
POSITION, EDGE, PARTIAL = 12, 13, 14  # by loop: where a spatial one stands, see compat_cases
LIVE, AFTER = 15, 16  # 1 and 6 rows, see compat_walk
COUPLED, RANK = 22, 25  # level 0; 3 rows and 1 by dimension
HARDWARE = 26  # level 0: PES ... SIMD
FRAME = 27  # how far the walk of a level has come, see compat_kernel
_ROWS = 28

# places in HEAD
COUNT, UNITS, EDGE_UNITS, FIRST, SECOND, RELEVANT = range(6)
CRASH = 6
FIRST_NEED, FIRST_LEVEL = 6, 7

# places in HARDWARE
PES, NOC_BW, NOC_LATENCY, OFFCHIP_BW, SIMD = range(5)

_LEVELS, _FILTER_OFFSET = int(Reason.LEVELS), int(Reason.FILTER_OFFSET)
_FILTER_SIZE, _OVERSUBSCRIBED = int(Reason.FILTER_SIZE), int(Reason.OVERSUBSCRIBED)
_NO_FILTER, _NOT_FOUND = int(Reason.NO_FILTER), int(Reason.NOT_FOUND)
_SPATIALS, _SPAN = int(Reason.SPATIALS), int(Reason.SPAN)
_INT_MAX = INT_MAX


def _tensors() -> Ints:
    """Kind x 4 x dimension: whether it belongs to input, filter, output; its rank.

    Of two spatial dimensions of a tensor the one of higher rank tells of a partial tile.
    """
    table = np.zeros((2 * len(KINDS), 4, DIMS), dtype=np.int64)
    for i, kind in enumerate((*KINDS, *KINDS)):
        found = tensors(kind, batched=i >= len(KINDS))
        for j, dims in enumerate((found.input, found.filter, found.output)):
            table[i, j, [NAMES.index(dim) for dim in dims]] = 1
        order = "NGKCRSYX" if kind.is_convolution else "MKN"
        table[i, 3, [NAMES.index(dim) for dim in order]] = range(len(order))
    return table


TENSORS = _tensors()


def new_work() -> Ints:
    """An empty scratch array."""
    return np.zeros((LEVELS, _ROWS, 2 * DIMS), dtype=np.int64)


@njit(**LEAN)
def divide(a: int, b: int) -> int:
    """Quotient rounded toward zero, for b > 0.

    Below 2^52 the quotient of the doubles, which takes a third of the time, is exact: a / b is at
    least 1 / b below the next integer, which is more than half a step of a double.
    """
    if 0 <= a < 1 << 52 and b < 1 << 52:
        return int(float(a) / float(b))
    return a // b if a >= 0 else -(-a // b)


@njit(**LEAN)
def crash(w: Ints, reason: int, dim: int, a: int, b: int) -> int:
    """The reason, which is also stored."""
    w[0, HEAD, CRASH] = reason
    w[0, HEAD, CRASH + 1] = dim
    w[0, HEAD, CRASH + 2] = a
    w[0, HEAD, CRASH + 3] = b
    return reason


@njit(**LEAN)
def build(w: Ints, directives: Ints, start: int, stop: int, stride_x: int, stride_y: int,
          convolution: bool) -> int:  # fmt: skip
    """Number of levels built, or minus the reason why there are none.

    Args:
        w: with EXTENT of level 0, COUPLED, RANK and HARDWARE filled in.
    """
    levels, top, pes = 1, 1, w[0, HARDWARE, PES]
    for i in range(start, stop):
        if directives[i, KIND] == CLUSTER:
            levels += 1
            if top <= _INT_MAX:
                top *= directives[i, SIZE]
    if levels > LEVELS:
        return -crash(w, _LEVELS, 0, levels, 0)
    for i in range(start, stop):
        dim, size = directives[i, DIM], directives[i, SIZE]
        if directives[i, KIND] == TEMPORAL and dim in (R, S):
            whole = w[0, EXTENT, dim]
            if size != directives[i, OFFSET]:
                return -crash(w, _FILTER_OFFSET, dim, size, directives[i, OFFSET])
            if whole not in (0, size):
                return -crash(w, _FILTER_SIZE, dim, size, whole)
    if top > pes:
        return -crash(w, _OVERSUBSCRIBED, 0, top, pes)
    units, place = divide(pes, top), start
    for level in range(levels):
        given = place
        while place < stop and directives[place, KIND] != CLUSTER:
            place += 1
        status = _complete(w, level, directives, given, place)
        if status == 0:
            status = _finish(w, level, stride_x, stride_y, convolution)
        if status == 0:
            w[level, HEAD, UNITS] = units
            status = _edge_units(w, level)
        if status:
            return -status
        _static_sizes(w, level, convolution)
        if level + 1 < levels:
            units = directives[place, SIZE]
            place += 1
            for dim in range(DIMS):
                w[level + 1, EXTENT, dim] = 0
                if w[0, COUPLED + INPUT, dim] or w[0, COUPLED + FILTER, dim]:
                    extent = min(w[level, MAPPED, dim], w[level, EXTENT, dim])
                    w[level + 1, EXTENT, dim] = extent
    return levels


@njit(**LEAN)
def _complete(w: Ints, level: int, directives: Ints, start: int, stop: int) -> int:
    """Fill in the directives of a level; 0, or the reason why there are none."""
    seen = taps_x = taps_y = 0
    for i in range(start, stop):
        dim = directives[i, DIM]
        if seen >> dim & 1:
            return crash(w, UNUSUAL, 0, 0, 0)
        seen |= 1 << dim
        if dim == S:
            taps_x = directives[i, SIZE]
        elif dim == R:
            taps_y = directives[i, SIZE]
    if (seen >> X & 1 and seen >> X_OUT & 1) or (seen >> Y & 1 and seen >> Y_OUT & 1):
        return crash(w, UNUSUAL, 0, 0, 0)
    if seen >> X_OUT & 1:
        if taps_x == 0:
            return crash(w, _NO_FILTER, X_OUT, 0, 0)
        seen |= 1 << X
    if seen >> Y_OUT & 1:
        if taps_y == 0:
            return crash(w, _NO_FILTER, Y_OUT, 0, 0)
        seen |= 1 << Y
    count = 0
    if level > 0:  # inherited ones stand in front, in reverse order
        for i in range(w[level - 1, HEAD, COUNT] - 1, -1, -1):
            dim = w[level - 1, ENTRY + DIM, i]
            if not seen >> dim & 1:
                seen |= 1 << dim
                size, offset = w[level - 1, ENTRY + SIZE, i], w[level - 1, ENTRY + OFFSET, i]
                _set(w, level, count, TEMPORAL, dim, size, offset)
                count += 1
    for i in range(start, stop):
        dim, size = directives[i, DIM], directives[i, SIZE]
        if dim >= X_OUT:
            size += (taps_x if dim == X_OUT else taps_y) - 1
            dim -= 2
        _set(w, level, count, directives[i, KIND], dim, size, directives[i, OFFSET])
        count += 1
    for dim in range(DIMS):
        operand = w[0, COUPLED + INPUT, dim] | w[0, COUPLED + FILTER, dim]
        if operand and not seen >> dim & 1:
            extent = w[level, EXTENT, dim]
            _set(w, level, count, TEMPORAL, dim, extent, extent)
            count += 1
    w[level, HEAD, COUNT] = count
    return 0


@njit(**LEAN)
def _set(w: Ints, level: int, i: int, kind: int, dim: int, size: int, offset: int) -> None:
    w[level, ENTRY + KIND, i] = kind
    w[level, ENTRY + DIM, i] = dim
    w[level, ENTRY + SIZE, i] = size
    w[level, ENTRY + OFFSET, i] = offset
    w[level, LOOP, dim] = i


@njit(**LEAN)
def _finish(w: Ints, level: int, stride_x: int, stride_y: int, convolution: bool) -> int:
    """Apply strides and find the spatial loops; 0, or the reason why MAESTRO ends."""
    spatial = 0
    w[level, HEAD, SECOND] = -1
    for i in range(w[level, HEAD, COUNT]):
        dim = w[level, ENTRY + DIM, i]
        if w[level, EXTENT, dim] == 0:
            return crash(w, _NOT_FOUND, dim, 0, 0)
        if convolution and dim == X and stride_x != 1:
            _apply_stride(w, level, i, stride_x, w[0, EXTENT, S])
        elif convolution and dim == Y and stride_y != 1:
            _apply_stride(w, level, i, stride_y, w[0, EXTENT, R])
        if w[level, ENTRY + KIND, i] == SPATIAL:
            w[level, HEAD, FIRST if spatial == 0 else SECOND] = i
            spatial += 1
    return crash(w, _SPATIALS, 0, spatial, 0) if spatial < 1 or spatial > 2 else 0


@njit(**LEAN)
def _apply_stride(w: Ints, level: int, i: int, stride: int, taps: int) -> None:
    size = w[level, ENTRY + SIZE, i]
    if size < taps:
        return
    outputs = divide(size + stride - taps, stride)
    w[level, ENTRY + SIZE, i] = outputs * min(stride, taps) + max(taps - stride, 0)
    w[level, ENTRY + OFFSET, i] = outputs * (taps if level > 0 and taps < stride else stride)


@njit(**LEAN)
def _edge_units(w: Ints, level: int) -> int:
    """Set the units at work in a spatial edge; 0, or the reason why MAESTRO ends."""
    i, n = w[level, HEAD, FIRST], w[level, HEAD, UNITS]
    dim, size = w[level, ENTRY + DIM, i], w[level, ENTRY + SIZE, i]
    offset, whole = w[level, ENTRY + OFFSET, i], w[level, EXTENT, dim]
    if whole + offset * n + size > _INT_MAX:
        return crash(w, _SPAN, dim, 0, 0)
    units = 1
    if whole > offset * (n - 1) + size:
        folds = divide(divide(whole - size, offset) + 1, n) - 1
        rest = whole - (folds + 1) * offset * n
        if rest >= size:
            units = divide(rest - size, offset) + 1
    elif whole > size:
        units = divide(whole - size, offset) + 1
        if offset * (units - 1) + size < whole:
            units += 1
    w[level, HEAD, EDGE_UNITS] = units
    return 0


@njit(**LEAN)
def _static_sizes(w: Ints, level: int, convolution: bool) -> None:
    for i in range(w[level, HEAD, COUNT]):
        dim, size = w[level, ENTRY + DIM, i], w[level, ENTRY + SIZE, i]
        offset, whole = w[level, ENTRY + OFFSET, i], w[level, EXTENT, dim]
        steps = divide(whole - size, offset) if whole > size else 0
        edge = whole - (steps + 1) * offset
        if edge < 0:
            edge = whole
        unique = min(size, offset)
        if w[level, ENTRY + KIND, i] == TEMPORAL and whole <= size:
            unique = 0
        has_edge = steps * offset + size < whole or size > whole
        for name in (dim, DIMS + dim):
            w[level, MAPPED, name] = size
            w[level, UNIQUE, name] = unique
            w[level, MAPPED_EDGE, name] = edge if has_edge else size
            w[level, UNIQUE_EDGE, name] = max(offset - (size - edge), 0)
    if not convolution:
        return
    for i in range(w[level, HEAD, COUNT]):
        dim, offset = w[level, ENTRY + DIM, i], w[level, ENTRY + OFFSET, i]
        if dim in (X, Y):
            taps, size = S if dim == X else R, w[level, MAPPED, dim]
            w[level, MAPPED, DIMS + dim] = size - w[level, MAPPED, taps] + 1
            w[level, UNIQUE, DIMS + dim] = min(offset, size)
            edge = w[level, MAPPED_EDGE, dim] - w[level, MAPPED_EDGE, taps] + 1
            w[level, MAPPED_EDGE, DIMS + dim] = edge
            w[level, UNIQUE_EDGE, DIMS + dim] = min(offset, edge)
