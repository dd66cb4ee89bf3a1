"""Discrete moves of dataflows and starts that are likely to be good (compiled).

A move changes a tile, the units of two levels, a parallel dimension, a loop's place, or takes a
part of another dataflow. Every result is legal and its tiles are even (`optimise_form.harden`).
Dataflows are arrays `3 x 14` as in `mapspace`, changed in place; random numbers are those of the
thread (`reseed`).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcp_hw.maestro.honest_axis import COMPILED, quotient
from dcp_hw.maestro.honest_plan import LEVELS
from dcp_hw.maestro.honest_types import R
from dcp_hw.mapspace import DIMENSIONS, TILE, UNITS
from dcp_hw.mapspace import ORDER as ORDERS
from dcp_hw.mapspace import PARALLEL as ALONG

Integers = NDArray[np.int64]

_T, _O = TILE.start, ORDERS.start
_KEEP_FILTERS, _KEEP_OTHERS = 0.8, 0.1  # shares of dimensions that no level cuts
_MORE, _MOST = 0.5, 0.2  # shares of steps with more than one move, with three

_STAY = np.array([[0, 0, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 1, 1]])
"""Loops that do not change weights, inputs, outputs: innermost where that tensor stays."""


@njit(**COMPILED)
def _ceil(a: int, b: int) -> int:
    return quotient(a + b - 1, b)


@njit(**COMPILED)
def reseed(seed: int) -> None:
    """Start the random numbers of this thread; compiled code has its own generator."""
    np.random.seed(seed)  # noqa: NPY002


@njit(**COMPILED)
def chance() -> float:
    """A random number from 0 to 1."""
    return np.random.random()  # noqa: NPY002


@njit(**COMPILED)
def below(n: int) -> int:
    """A random number from 0 to n - 1."""
    return int(chance() * n)


@njit(**COMPILED)
def _above(m: Integers, sizes: Integers, i: int, d: int) -> int:
    return sizes[d] if i == 0 else m[i - 1, _T + d]


@njit(**COMPILED)
def _spread(m: Integers, i: int, d: int) -> int:
    return m[i, UNITS] if m[i, ALONG] == d else 1


@njit(**COMPILED)
def rounds_of(m: Integers, sizes: Integers, i: int, d: int) -> int:
    return _ceil(_above(m, sizes, i, d), m[i, _T + d] * _spread(m, i, d))


@njit(**COMPILED)
def even(m: Integers, sizes: Integers) -> None:
    """Clip tiles to the tile above and take the least that need as many rounds, in place."""
    for i in range(len(m)):
        for d in range(DIMENSIONS):
            above, units = _above(m, sizes, i, d), _spread(m, i, d)
            tile = max(1, min(m[i, _T + d], above))
            m[i, _T + d] = _ceil(above, _ceil(above, tile * units) * units)


@njit(**COMPILED)
def retile(m: Integers, sizes: Integers, i: int, d: int, rounds: int, carry: bool) -> None:
    """Give a loop so many rounds; inner levels keep their tiles, or (`carry`) their rounds."""
    first = rounds_of(m, sizes, i + 1, d) if carry and i + 1 < len(m) else 1
    second = rounds_of(m, sizes, i + 2, d) if carry and i + 2 < len(m) else 1
    rounds = max(1, rounds)
    m[i, _T + d] = max(1, _ceil(_above(m, sizes, i, d), rounds * _spread(m, i, d)))
    for j in range(i + 1, len(m)):
        above = m[j - 1, _T + d]
        kept = first if j == i + 1 else second
        wanted = _ceil(above, kept * _spread(m, j, d)) if carry else m[j, _T + d]
        m[j, _T + d] = max(1, min(above, wanted))


@njit(**COMPILED)
def _other(rounds: int, most: int) -> int:
    """Another number of rounds, up to `most`."""
    kind = below(8)
    if kind == 0:
        found = rounds + 1
    elif kind == 1:
        found = rounds - 1
    elif kind == 2:
        found = 2 * rounds
    elif kind == 3:
        found = _ceil(rounds, 2)
    elif kind == 4:
        found = 1
    elif kind == 5:
        found = 3 * rounds
    elif kind == 6:
        found = most
    else:
        found = int(math.exp(chance() * math.log(most + 1.0)))
    return max(1, min(found, most))


@njit(**COMPILED)
def _move_tile(m: Integers, sizes: Integers) -> None:
    for _ in range(8):
        i, d = below(len(m)), below(DIMENSIONS)
        above = _above(m, sizes, i, d)
        if above == 1:
            continue
        rounds, most = rounds_of(m, sizes, i, d), _ceil(above, _spread(m, i, d))
        wanted = _other(rounds, most)
        if wanted != rounds:
            retile(m, sizes, i, d, wanted, chance() < 0.5)
            return


@njit(**COMPILED)
def _give(m: Integers, pes: int, i: int, units: int) -> int:
    """Give a level units; another level takes what is left. Returns that level."""
    units = max(1, min(units, pes))
    m[i, UNITS] = units
    j = _another(m, i)
    for k in range(len(m)):
        if k not in (i, j):
            m[k, UNITS] = max(1, min(m[k, UNITS], pes // units))
            units *= m[k, UNITS]
    m[j, UNITS] = max(1, pes // units)
    return j


@njit(**COMPILED)
def _another(m: Integers, i: int) -> int:
    """Another level than i."""
    return (i + 1 + below(len(m) - 1)) % len(m)


@njit(**COMPILED)
def _some_units(m: Integers, sizes: Integers, pes: int, i: int) -> int:
    """Another number of units of a level: near, a divisor of the PEs, or a share of the loop."""
    units, kind = m[i, UNITS], below(6)
    if kind == 0:
        return units + 1
    if kind == 1:
        return max(1, units - 1)
    if kind == 2:
        return 2 * units
    if kind == 3:
        return _ceil(units, 2)
    above = _above(m, sizes, i, m[i, ALONG])
    if kind == 4:
        return min(pes, _ceil(above, 1 + below(6)))
    found = 1 + below(pes)
    while pes % found:
        found = 1 + below(pes)
    return found


@njit(**COMPILED)
def _move_units(m: Integers, sizes: Integers, pes: int) -> None:
    i, keep = below(len(m)), chance() < 0.5
    old = np.empty(LEVELS, np.int64)
    for j in range(len(m)):
        old[j] = rounds_of(m, sizes, j, m[j, ALONG])
    _give(m, pes, i, _some_units(m, sizes, pes, i))
    for j in range(len(m)):
        retile(m, sizes, j, m[j, ALONG], old[j] if keep else 1, False)


@njit(**COMPILED)
def _move_parallel(m: Integers, sizes: Integers, may: Integers, pes: int) -> None:
    i = below(len(m))
    if chance() < 0.25:
        j = _another(m, i)
        for column in (UNITS, ALONG):
            m[i, column], m[j, column] = m[j, column], m[i, column]
        for level in (min(i, j), max(i, j)):
            retile(m, sizes, level, m[level, ALONG], 1, False)
        return
    for _ in range(8):
        d, old = below(DIMENSIONS), m[i, ALONG]
        above = _above(m, sizes, i, d)
        if d == old or not may[d] or above == 1:
            continue
        rounds = rounds_of(m, sizes, i, old)
        m[i, ALONG] = d
        if chance() < 0.5:  # the old loop keeps its rounds, else its tile
            retile(m, sizes, i, old, rounds, False)
        if chance() < 0.5:
            units = _some_units(m, sizes, pes, i) if chance() < 0.5 else m[i, UNITS]
            _give(m, pes, i, min(units, above))
        rounds = 1 if chance() < 0.7 else rounds_of(m, sizes, i, d)
        retile(m, sizes, i, d, rounds, False)
        return


@njit(**COMPILED)
def _move_order(m: Integers) -> None:
    i = below(len(m))
    if chance() < 0.25:
        _stay(m, i, below(3))
        return
    start, end = below(DIMENSIONS), below(DIMENSIONS)
    d = m[i, _O + start]
    step = 1 if end > start else -1
    for p in range(start, end, step):
        m[i, _O + p] = m[i, _O + p + step]
    m[i, _O + end] = d


@njit(**COMPILED)
def _stay(m: Integers, i: int, tensor: int) -> None:
    """Loops that do not change a tensor go innermost; otherwise loops keep their order."""
    found = np.empty(DIMENSIONS, np.int64)
    number = 0
    for inner in range(2):
        for p in range(DIMENSIONS):
            if _STAY[tensor, m[i, _O + p]] == inner:
                found[number] = m[i, _O + p]
                number += 1
    for p in range(DIMENSIONS):
        m[i, _O + p] = found[p]


@njit(**COMPILED)
def _mate(m: Integers, other: Integers) -> None:
    """Take a dimension's tiles, or a level's order, from another dataflow."""
    if chance() < 0.5:
        d = below(DIMENSIONS)
        for i in range(len(m)):
            m[i, _T + d] = other[i, _T + d]
    else:
        i = below(len(m))
        for p in range(DIMENSIONS):
            m[i, _O + p] = other[i, _O + p]


@njit(**COMPILED)
def _chain(m: Integers, sizes: Integers, d: int) -> None:
    """Draw the tiles of a dimension on all levels anew; filters are mostly whole."""
    whole = chance() < (_KEEP_FILTERS if d >= R else _KEEP_OTHERS)
    for i in range(len(m)):
        above, rounds = _above(m, sizes, i, d), 1
        most = _ceil(above, _spread(m, i, d))
        if not whole and chance() < 0.7:
            rounds = int(math.exp(chance() * math.log(most + 1.0)))
        m[i, _T + d] = max(1, _ceil(above, max(1, rounds) * _spread(m, i, d)))


@njit(**COMPILED)
def change(m: Integers, other: Integers, sizes: Integers, may: Integers, pes: int) -> None:
    """One to three random moves of a legal dataflow, in place; the result is legal and even."""
    share, moves = chance(), 1
    if share < _MORE:
        moves = 3 if share < _MOST else 2
    for _ in range(moves):
        kind = chance()
        if kind < 0.35:
            _move_tile(m, sizes)
        elif kind < 0.45:
            _chain(m, sizes, below(DIMENSIONS))
        elif kind < 0.6:
            _move_units(m, sizes, pes)
        elif kind < 0.75:
            _move_parallel(m, sizes, may, pes)
        elif kind < 0.95:
            _move_order(m)
        else:
            _mate(m, other)
        even(m, sizes)


@njit(**COMPILED)
def draw(m: Integers, sizes: Integers, may: Integers, pes: int) -> None:
    """A random dataflow made to be good: whole filters, even tiles, all PEs, a tensor stays."""
    left = pes
    for i in range(len(m)):
        for p in range(DIMENSIONS):
            m[i, _O + p] = p
        for p in range(DIMENSIONS - 1):
            q = p + below(DIMENSIONS - p)
            m[i, _O + p], m[i, _O + q] = m[i, _O + q], m[i, _O + p]
        _stay(m, i, below(3))
        d = below(DIMENSIONS)
        for _ in range(12):
            if may[d] and sizes[d] > 1 and (d < 4 or chance() < 0.3):
                break
            d = below(DIMENSIONS)
        if not may[d]:
            d = 1
        m[i, ALONG], m[i, UNITS] = d, 1
    i = below(len(m))
    _give(m, left, i, min(_some_units(m, sizes, pes, i), sizes[m[i, ALONG]]))
    for d in range(DIMENSIONS):
        _chain(m, sizes, d)
    even(m, sizes)
