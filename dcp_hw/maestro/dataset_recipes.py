"""Dataflows of the data set: recipes that give each layer and machine a dataflow of its own.

One dataflow of absolute tiles fits few layers: sizes differ by a thousand. A *recipe* holds what
carries over: loop orders, which dimensions to spread over units, how the PEs are shared out among
the levels, in how many parts to cut, and what to shrink first where a buffer overflows. Applied to
a layer and a machine it becomes whole numbers, a code of three levels; docs/dataset.md says how.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from dcp_hw.maestro.honest_plan import L1_SIZE, L2_SIZE, LEVEL_COLUMNS, PES
from dcp_hw.maestro.honest_types import DIMS, C, K, R, S, X, Y

LEVELS = 3
Integers = NDArray[np.int64]

_SHARES = 64  # exponents of the PEs are 64ths
_WHOLE = 256  # one part
_UNLIMITED = 1 << 30
_CUTS = (1, 1, 1, 1, 1, 2, 2, 3, 4, 7, 8, 14, 16, 32)
_CAPS = (1, 1, 2, 3, 4, 6, 8, 16, 32, 64)
_FIRST = 1 << 12  # filters are the last to be cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipes:
    """n recipes; arrays of whole numbers."""

    order: Integers  # n x 3 x 6: loops, outermost first
    prefer: Integers  # n x 3 x 6: dimensions to spread, the first with more than one element
    share: Integers  # n x 2: level 1 and 2 take PEs^(share/64) units; level 0 the rest
    parts: Integers  # n x 3 x 6, by dimension: 256ths; into how many the parent's range is cut
    cap: Integers  # n x 3 x 6: elements of a tile at most
    keep: Integers  # n x 3 x 6: tiles are shrunk where elements / keep is largest
    spread: NDArray[np.bool_]  # n: cut into as many tiles as there are units, idle units moved up
    fitted: NDArray[np.bool_]  # n: shrunk until the buffers hold the tiles

    def __len__(self) -> int:
        return len(self.fitted)

    def take(self, which: Integers) -> Recipes:
        """Some of the recipes, also repeated."""
        return Recipes(**{f.name: getattr(self, f.name)[which] for f in fields(self)})

    def join(self, other: Recipes) -> Recipes:
        """These recipes, then the others."""
        both = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Recipes(**{name: np.concatenate(pair) for name, *pair in both})


def uniform_recipes(rng: np.random.Generator, number: int) -> Recipes:
    """Recipes that take no account of PEs and buffers: tiles uniform in 1 ... the parent's."""
    shape = (number, LEVELS, len(DIMS))
    parts = np.floor(_WHOLE / (1 - rng.random(shape))).astype(np.int64)
    parts[:, :, R:] = _WHOLE
    return Recipes(
        order=_permutations(rng, number),
        prefer=_permutations(rng, number),
        share=_shares(rng, number),
        parts=parts,
        cap=np.full(shape, _UNLIMITED),
        keep=np.ones(shape, dtype=np.int64),
        spread=np.zeros(number, dtype=bool),
        fitted=np.zeros(number, dtype=bool),
    )


def loose_recipes(rng: np.random.Generator, number: int) -> Recipes:
    """Uniform recipes whose tiles are shrunk until they fit."""
    weights = rng.integers(0, 7, (number, LEVELS, len(DIMS)))
    fits = {"fitted": np.ones(number, dtype=bool), "keep": np.exp2(weights).astype(np.int64)}
    return replace(uniform_recipes(rng, number), **fits)


def fitted_recipes(rng: np.random.Generator, number: int) -> Recipes:
    """Recipes that use all PEs and fill the buffers; what they choose is random."""
    shape = (number, LEVELS, len(DIMS))
    prefer = _permutations(rng, number)
    filters = np.isin(prefer, (R, S)) & (rng.random((number, 1, 1)) < 0.85)
    prefer = np.take_along_axis(prefer, np.argsort(filters, axis=2, kind="stable"), axis=2)
    parts = rng.choice(_CUTS, shape) * _WHOLE
    cap = np.where(rng.random(shape) < 0.25, rng.choice(_CAPS, shape), _UNLIMITED)
    cut = rng.random((number, LEVELS, 1)) < 0.1
    parts[:, :, R:] = np.where(cut, parts[:, :, R:], _WHOLE)
    cap[:, :, R:] = np.where(cut, cap[:, :, R:], _UNLIMITED)
    return Recipes(
        order=_permutations(rng, number),
        prefer=prefer,
        share=_shares(rng, number),
        parts=parts,
        cap=cap,
        keep=np.exp2(rng.integers(0, 7, shape)).astype(np.int64),
        spread=np.ones(number, dtype=bool),
        fitted=np.ones(number, dtype=bool),
    )


def _shares(rng: np.random.Generator, number: int) -> Integers:
    """`number x 2` exponents that leave the rest to level 0."""
    cuts = np.sort(rng.integers(0, _SHARES + 1, (number, 2)), axis=1)
    return np.stack([cuts[:, 0], cuts[:, 1] - cuts[:, 0]], axis=1)


def _permutations(rng: np.random.Generator, number: int) -> Integers:
    """`number x 3 x 6` random orders of the dimensions."""
    return rng.permuted(np.tile(np.arange(len(DIMS)), (number, LEVELS, 1)), axis=2)


# --- application ----------------------------------------------------------------------


def apply(recipes: Recipes, layers: Integers, machines: Integers) -> Integers:
    """Mappings of n recipes on n layers and machines, `n x 3 x LEVEL_COLUMNS` as evaluated.

    Args:
        layers, machines: rows as `honest_fast.layer_row` and `machine_row`.
    """
    units = _first_units(recipes.share, machines[:, PES])
    mapping = _lay_out(recipes, layers, machines, units)
    if len(again := np.flatnonzero(recipes.spread)):
        # with the units that found work; level 0 gets the others
        rows, limits = layers[again], machines[again]
        used = _used_units(mapping[again], rows)
        used[:, 0] = limits[:, PES] // (used[:, 1] * used[:, 2])
        mapping[again] = _lay_out(recipes.take(again), rows, limits, used)
    return mapping


def _first_units(share: Integers, pes: Integers) -> Integers:
    """Units of the three levels before anything is known of the tiles, `n x 3`."""
    inner = np.floor(pes[:, None] ** (share / _SHARES) + 1e-9).astype(np.int64)
    inner[:, 1] = np.minimum(inner[:, 1], pes // inner[:, 0])
    return np.column_stack([pes // (inner[:, 0] * inner[:, 1]), inner])


def _used_units(mapping: Integers, layers: Integers) -> Integers:
    """Units of each level that ever hold a tile, `n x 3`."""
    used, above = np.empty((len(mapping), LEVELS), dtype=np.int64), layers[:, :6]
    for level in range(LEVELS):
        along, tiles = mapping[:, level, 1:2], mapping[:, level, 8:]
        number = -(-_pick(above, along) // _pick(tiles, along))
        used[:, level] = np.minimum(mapping[:, level, 0], number)
        above = tiles
    return used


def _lay_out(recipes: Recipes, layers: Integers, machines: Integers, units: Integers) -> Integers:
    """Mappings with given units, level after level."""
    number = len(recipes)
    mapping = np.empty((number, LEVELS, LEVEL_COLUMNS), dtype=np.int64)
    above = layers[:, :6]
    room, private = (
        np.where(machines[:, column] > 0, machines[:, column], _UNLIMITED)
        for column in (L2_SIZE, L1_SIZE)
    )
    buffers = np.ones(number, dtype=np.int64)  # of the level above
    for level in range(LEVELS):
        along = _spread_dimension(recipes.prefer[:, level], above, layers)
        spread = np.where(np.arange(len(DIMS)) == along[:, None], units[:, level, None], 1)
        pieces = recipes.parts[:, level] * np.where(recipes.spread[:, None], spread, 1)
        tile = np.minimum(recipes.cap[:, level], -(-above * _WHOLE // pieces))
        store = _Store(level, layers, above, spread, buffers)
        limit = (room - room // 4, room, private)[level]  # a quarter of the L2 is for level 1
        _shrink(tile, recipes.keep[:, level], limit, recipes.fitted, store)
        everything = np.arange(number)
        room = room - store.need(everything, tile)
        buffers = buffers * store.held(everything, tile)[1]
        mapping[:, level, 0], mapping[:, level, 1] = units[:, level], along
        mapping[:, level, 2:8], mapping[:, level, 8:] = recipes.order[:, level], tile
        above = tile
    return mapping


@dataclass(frozen=True, slots=True)
class _Store:
    """What the tiles of a level need in memory; every tensor counted twice (double buffers)."""

    level: int
    layers: Integers
    above: Integers  # n x 6: range of the parent
    spread: Integers  # n x 6: units along each dimension
    buffers: Integers  # n: of the level above

    def held(self, rows: Integers, tiles: Integers) -> tuple[Integers, Integers]:
        """Elements of all units' tiles along each dimension, and how many units hold one."""
        rounds = np.minimum(tiles * self.spread[rows], self.above[rows])
        return rounds, (-(-rounds // tiles)).prod(axis=1)

    def need(self, rows: Integers, tiles: Integers) -> Integers:
        """Elements of one PE's buffer, or of all buffers of an outer level, the first with the L2.

        Args:
            rows: of the mappings that the tiles belong to.
        """
        layers = self.layers[rows]
        one = _elements(tiles, layers)
        if self.level == LEVELS - 1:
            return one
        rounds, units = self.held(rows, tiles)
        total = one * self.buffers[rows] * units
        return total + _elements(rounds, layers) if self.level == 0 else total


def _shrink(
    tile: Integers,
    keep: Integers,
    limit: Integers,
    fitted: NDArray[np.bool_],
    store: _Store,
) -> None:
    """Halve tiles in place, one dimension after another, until the store holds them."""
    rows = np.flatnonzero(fitted)
    while len(rows):
        tiles = tile[rows]
        over = (store.need(rows, tiles) > limit[rows]) & (tiles.max(axis=1) > 1)
        rows, tiles = rows[over], tiles[over]
        weight = (tiles - 1) * (_FIRST // keep[rows])
        weight[:, :R] *= _FIRST
        which = weight.argmax(axis=1)
        tile[rows, which] = (_pick(tiles, which[:, None]) + 1) // 2


def _spread_dimension(prefer: Integers, above: Integers, layers: Integers) -> Integers:
    """The first preferred dimension with more than one element; C for K of a depthwise layer."""
    prefer = np.where((layers[:, 8:9] != 0) & (prefer == K), C, prefer)
    found = (np.take_along_axis(above, prefer, axis=1) > 1).argmax(axis=1)
    return _pick(prefer, found[:, None])


def _elements(tile: Integers, layers: Integers) -> Integers:
    """Elements of the three tensors in a tile, each twice."""
    stride = layers[:, 6]
    rows = (tile[:, Y] - 1) * np.minimum(stride, tile[:, R]) + tile[:, R]
    columns = (tile[:, X] - 1) * np.minimum(stride, tile[:, S]) + tile[:, S]
    outputs = np.where(layers[:, 8] != 0, tile[:, C], tile[:, K]) * tile[:, Y] * tile[:, X]
    weights = tile[:, K] * tile[:, C] * tile[:, R] * tile[:, S]
    return 2 * (tile[:, C] * rows * columns + weights + outputs)


def _pick(values: Integers, which: Integers) -> Integers:
    """The value of each row in the column that `which` (n x 1) names."""
    return np.take_along_axis(values, which, axis=1)[:, 0]
