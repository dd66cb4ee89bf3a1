"""Neighbours of dataflows: which are new, fit the buffers, and are worth a prediction (compiled).

The first-order change of the value,

    gradient by (log tiles, log units, parallel, order) times the difference of both codes,

tells of many random neighbours (`optimise_moves`) which are worse, or ranks them.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcp_hw.maestro.honest_axis import COMPILED, quotient, span
from dcp_hw.maestro.honest_plan import L1_SIZE, L2_SIZE, LEVELS, PES
from dcp_hw.maestro.honest_types import C, K, R, S, X, Y
from dcp_hw.mapspace import DIMENSIONS, TILE, UNITS
from dcp_hw.mapspace import ORDER as ORDERS
from dcp_hw.mapspace import PARALLEL as ALONG
from dcp_hw.optimise_moves import below, chance, change, draw, even, reseed, retile, rounds_of

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

PARTS = LEVELS * (2 * DIMENSIONS + 1 + DIMENSIONS * DIMENSIONS)
"""Numbers of a gradient: log tiles, log units, parallel, order (place x dimension)."""
TRIED = 1 << 14
"""Room for the dataflows of a group that were predicted already; a power of two."""
NONE, REJECT, RANK = range(3)
GUIDES = {"none": NONE, "reject": REJECT, "rank": RANK}
"""What a gradient is asked: nothing; which neighbours are worse; which are best."""
_WORSE, _STRICT = 0.01, 0.9  # first-order change above which so many are rejected
_T, _O = TILE.start, ORDERS.start
_FITTING = 80  # attempts to make a drawn dataflow fit
_DENSE = np.array([6, 3, 5, 5, 3, 3])
_DEPTHWISE = np.array([0, 7, 5, 5, 3, 3])
"""Tensors that a dimension is part of: bits of input, weight and output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """What the dataflows of g groups must keep to; l layers at most in a group.

    Attributes:
        sizes: g x 6, the largest tiles; may: g x 6, dimensions that may be spread; pes: g.
        layers: g x l x 11, number: g, how many of them count; machines: g x 6.
    """

    sizes: Integers
    may: NDArray[np.bool_]
    pes: Integers
    layers: Integers
    number: Integers
    machines: Integers

    def arrays(self) -> tuple[NDArray, ...]:
        """All of them in the order that the compiled loops take."""
        return (self.sizes, self.may, self.pes, self.layers, self.number, self.machines)


@njit(**COMPILED)
def first_order(a: Integers, b: Integers, gradient: Floats) -> float:
    """First-order change of the value from dataflow a to b."""
    total, at, levels = 0.0, 0, len(a)
    for i in range(levels):
        for d in range(DIMENSIONS):
            if a[i, _T + d] != b[i, _T + d]:
                total += gradient[at + d] * math.log(b[i, _T + d] / a[i, _T + d])
        at += DIMENSIONS
    for i in range(levels):
        if a[i, UNITS] != b[i, UNITS]:
            total += gradient[at + i] * math.log(b[i, UNITS] / a[i, UNITS])
    at += levels
    for i in range(levels):
        total += gradient[at + b[i, ALONG]] - gradient[at + a[i, ALONG]]
        at += DIMENSIONS
    for i in range(levels):
        for p in range(DIMENSIONS):
            total += gradient[at + b[i, _O + p]] - gradient[at + a[i, _O + p]]
            at += DIMENSIONS
    return total


@njit(**COMPILED)
def key_of(m: Integers) -> int:
    """A number from 1 for a dataflow; differs, as good as always, from that of another."""
    found = np.uint64(14695981039346656037)
    for i in range(len(m)):
        for c in range(_T + DIMENSIONS):
            found = (found ^ np.uint64(m[i, c])) * np.uint64(1099511628211)
            found ^= found >> np.uint64(29)
    return np.int64(found >> np.uint64(1)) + 1


@njit(**COMPILED)
def known(tried: Integers, key: int) -> bool:
    at = key & (len(tried) - 1)
    for _ in range(64):
        if tried[at] == key:
            return True
        if tried[at] == 0:
            return False
        at = (at + 1) & (len(tried) - 1)
    return False


@njit(**COMPILED)
def note(tried: Integers, key: int) -> None:
    at = key & (len(tried) - 1)
    for _ in range(64):
        if tried[at] in (0, key):
            tried[at] = key
            return
        at = (at + 1) & (len(tried) - 1)


@njit(**COMPILED)
def over(m: Integers, layers: Integers, number: int, machine: Integers) -> int:
    """0 if a dataflow fits on each layer, 1 if a PE's buffer is too small, 2 if the L2 is.

    What `honest_count.require` asks for, of dataflows whose tiles lie within the tiles above.
    """
    inner = 1
    for i in range(1, len(m)):
        inner *= m[i, UNITS]
    for k in range(number):
        layer = layers[k]
        masks, stride = (_DEPTHWISE if layer[8] else _DENSE), layer[6]
        changing, buffers, shared, own = 0, 1, 0, 0
        for i in range(len(m)):
            units, along = m[i, UNITS], m[i, ALONG]
            if i == 0:
                units = min(units, machine[PES] // inner)
            if layer[8] and along == K:
                along = C
            for d in range(DIMENSIONS):
                above = layer[d] if i == 0 else min(layer[d], m[i - 1, _T + d])
                if above > m[i, _T + d] * (units if along == d else 1):
                    changing |= masks[d]
            if i == 0:
                shared = _held(m[0], layer, stride, along, units, changing)
            above = layer[along] if i == 0 else min(layer[along], m[i - 1, _T + along])
            buffers *= min(units, _rounds(above, min(above, m[i, _T + along])))
            own = _held(m[i], layer, stride, along, 1, changing)
            if i < len(m) - 1:
                shared += own * buffers
        if machine[L1_SIZE] and own > machine[L1_SIZE]:
            return 1
        if machine[L2_SIZE] and shared > machine[L2_SIZE]:
            return 2
    return 0


@njit(**COMPILED)
def _rounds(whole: int, tile: int) -> int:
    return quotient(whole + tile - 1, tile)


@njit(**COMPILED)
def _held(
    row: Integers, layer: Integers, stride: int, along: int, units: int, changing: int
) -> int:
    """Elements that a store holds of a level's tile, of so many units together.

    Args:
        changing: a bit for each tensor that is held twice.
    """
    k = min(layer[K], row[_T + K] * (units if along == K else 1))
    c = min(layer[C], row[_T + C] * (units if along == C else 1))
    y = min(layer[Y], row[_T + Y] * (units if along == Y else 1))
    x = min(layer[X], row[_T + X] * (units if along == X else 1))
    r = min(layer[R], row[_T + R] * (units if along == R else 1))
    s = min(layer[S], row[_T + S] * (units if along == S else 1))
    inputs = c * span(y, r, stride) * span(x, s, stride)
    weights, outputs = c * r * s, y * x * (c if layer[8] else k)
    if not layer[8]:
        weights *= k
    total = inputs * (1 + (changing & 1)) + weights * (1 + (changing >> 1 & 1))
    return total + outputs * (1 + (changing >> 2 & 1))


@njit(**COMPILED)
def fit(
    m: Integers, sizes: Integers, layers: Integers, number: int, machine: Integers, attempts: int
) -> bool:
    """Shrink tiles, in place, until a dataflow fits; whether it does."""
    for _ in range(attempts):
        lacking = over(m, layers, number, machine)
        if lacking == 0:
            return True
        i, d = (len(m) - 1 if lacking == 1 else below(len(m) - 1)), below(DIMENSIONS)
        if lacking == 1 and chance() < 0.3:
            i = below(len(m))
        if m[i, _T + d] > 1 and (d < 4 or chance() < 0.2):
            rounds = rounds_of(m, sizes, i, d)
            retile(m, sizes, i, d, max(rounds + 1, int(1.5 * rounds)), False)
            even(m, sizes)
    return False


@njit(**COMPILED)
def worse(a: Integers, b: Integers, gradient: Floats) -> bool:
    """Whether b is worse, nine times of ten where the gradient says so.

    It says little of parallel dimensions, so it is not asked where one changes.
    """
    same = True
    for i in range(len(a)):
        same &= a[i, ALONG] == b[i, ALONG]
    return same and chance() < _STRICT and first_order(a, b, gradient) > _WORSE


def _compile() -> tuple[Callable[..., None], Callable[..., None]]:
    """The compiled loops; see `honest_fast._compile` for the tag."""
    here = Path(__file__).parent
    names = ("optimise_moves", "maestro/honest_axis")
    sources = [here / f"{name}.py" for name in names]
    tag = zlib.crc32(b"".join(path.read_bytes() for path in sources))

    @njit(cache=True, **COMPILED)
    def propose(
        mappings: Integers,
        gradients: Floats,
        each: int,
        sizes: Integers,
        may: Integers,
        pes: Integers,
        layers: Integers,
        number: Integers,
        machines: Integers,
        tried: Integers,
        random: Integers,
        draws: int,
        guide: int,
        out: Integers,
        found: Integers,
    ) -> None:
        """Fill `out` (n x k x 3 x 14) with the k most promising of `draws` neighbours of each
        dataflow, and `found` (n) with how many there are; the rest repeats the dataflow."""
        k = out.shape[1]
        scores, keys = np.full(k, float(tag % 2)), np.empty(k, np.int64)
        for n in range(len(mappings)):
            g = n // each
            if n % each == 0:
                reseed(random[g])
            have = 0
            for _ in range(draws):
                m = mappings[n].copy()
                mate = g * each + below(each)
                change(m, mappings[mate], sizes[g], may[g], pes[g])
                score = 0.0
                if guide == RANK:
                    score = first_order(mappings[n], m, gradients[n])
                elif guide == REJECT and chance() < _STRICT and worse(mappings[n], m, gradients[n]):
                    continue
                if have == k and score >= scores[k - 1]:
                    if guide != RANK:
                        break
                    continue
                key = key_of(m)
                if known(tried[g], key) or (keys[:have] == key).any():
                    continue
                if over(m, layers[g], number[g], machines[g]):
                    continue
                at = have if have < k else k - 1
                have = min(k, have + 1)
                while at > 0 and scores[at - 1] > score:
                    scores[at], keys[at], out[n, at] = scores[at - 1], keys[at - 1], out[n, at - 1]
                    at -= 1
                scores[at], keys[at], out[n, at] = score, key, m
            for at in range(have):
                note(tried[g], keys[at])
            for at in range(have, k):
                out[n, at] = mappings[n]
            found[n] = have

    @njit(cache=True, **COMPILED)
    def seeds(
        sizes: Integers,
        may: Integers,
        pes: Integers,
        layers: Integers,
        number: Integers,
        machines: Integers,
        random: Integers,
        out: Integers,
    ) -> None:
        """Fill `out` (g x n x 3 x 14) with drawn dataflows; most fit the buffers."""
        attempts = _FITTING + 0 * tag
        for g in range(out.shape[0]):
            reseed(random[g])
            for n in range(out.shape[1]):
                for _ in range(4):
                    draw(out[g, n], sizes[g], may[g], pes[g])
                    if fit(out[g, n], sizes[g], layers[g], number[g], machines[g], attempts):
                        break

    return propose, seeds


_propose, _draw_all = _compile()


def drawn(field: Field, random: Integers, number: int, levels: int = LEVELS) -> Integers:
    """Starts of each group, g x number x levels x 14, legal; nearly all fit the buffers.

    Args:
        random: g, a seed for each group.
    """
    out = np.zeros((len(random), number, levels, TILE.stop), np.int64)
    _draw_all(*field.arrays(), random, out)
    return out


def neighbours(
    field: Field,
    mappings: Integers,
    gradients: Floats,
    tried: Integers,
    random: Integers,
    *,
    tries: int,
    draws: int,
    guide: str,
) -> tuple[Integers, Integers]:
    """Legal neighbours that fit and were not tried before.

    Args:
        mappings: g x s x 3 x 14; gradients: g x s x PARTS.
        tried: g x TRIED, zeros at first; the neighbours are noted in it.
        random: g, a seed for each group.
        draws: of which at most `tries` are taken.

    Returns: g x s x tries x 3 x 14, and how many of them there are, g x s; the rest repeats the
        mapping.
    """
    g, s = mappings.shape[:2]
    out = np.empty((g * s, tries, LEVELS, TILE.stop), np.int64)
    found = np.zeros(g * s, np.int64)
    flat = np.ascontiguousarray(mappings.reshape(-1, LEVELS, TILE.stop))
    slopes = np.ascontiguousarray(gradients.reshape(-1, PARTS))
    _propose(flat, slopes, s, *field.arrays(), tried, random, draws, GUIDES[guide], out, found)
    return out.reshape(g, s, tries, LEVELS, TILE.stop), found.reshape(g, s)
