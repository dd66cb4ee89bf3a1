"""The legal space of MAESTRO mappings that every search shares: bounds, clipping, encodings.

A point is an array `levels x 14` of whole numbers, as `honest_fast.mapping_rows`: units, parallel
dimension, six loops outermost first, six tiles in the order K C Y X R S. Three levels make the DCP
code (3, 7, 2). Legal are tiles from 1 to the tile above (the layer at the top; Y and X count
outputs), any loop order, any parallel dimension, units whose product is at most the PEs. Buffer
limits are left to the evaluator: a legal mapping may be infeasible. Filters may be cut, which the
honest model counts exactly.

Source: DCP paper, Sec. 4.1 and 4.3 (min-max clipping); docs/baselines.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcp_hw.maestro.honest_plan import LEVEL_COLUMNS, LEVELS
from dcp_hw.maestro.honest_types import DIMS, C, HonestLayer, HonestLevel, K

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

UNITS, PARALLEL = 0, 1
ORDER = slice(2, 8)
TILE = slice(8, 14)
"""Columns of a level."""

DIMENSIONS = len(DIMS)
IMPORTANCES = 1 + 3 * DIMENSIONS
"""Reals of a level in the encoding by importance."""


@dataclass(frozen=True, slots=True)
class MapSpace:
    """All legal mappings of a layer on a number of PEs.

    Raises: ValueError for a number of PEs or levels that no mapping has.
    """

    layer: HonestLayer
    pes: int
    levels: int = LEVELS

    def __post_init__(self) -> None:
        if self.pes < 1 or not 1 <= self.levels <= LEVELS:
            raise ValueError(f"PEs must be >= 1 and levels 1 to {LEVELS}, got {self}")

    @property
    def reals(self) -> int:
        """Numbers of the plain real encoding: as many as the code has."""
        return self.levels * LEVEL_COLUMNS

    @property
    def importances(self) -> int:
        """Numbers of the real encoding by importance."""
        return self.levels * IMPORTANCES

    @property
    def sizes(self) -> Integers:
        """Sizes of the six loops."""
        return np.array(self.layer.sizes, dtype=np.int64)

    def clip(self, mappings: Integers) -> Integers:
        """The legal mappings nearest from below: tiles to the tile above, units to the PEs left.

        The innermost units go first; the outermost level gets what they leave. A depthwise layer
        has C parallel where K was. Orders must be permutations already.

        Args:
            mappings: n x levels x 14; unchanged.
        """
        out = np.array(mappings, dtype=np.int64)
        above, left = self.sizes[None], np.full(len(out), self.pes)
        for level in range(self.levels):
            out[:, level, TILE] = above = np.clip(out[:, level, TILE], 1, above)
        for level in reversed(range(self.levels)):
            out[:, level, UNITS] = units = np.clip(out[:, level, UNITS], 1, left)
            left = left // units
        if self.layer.depthwise:
            out[:, :, PARALLEL][out[:, :, PARALLEL] == K] = C
        return out

    def why_illegal(self, mapping: Integers) -> str | None:
        """What keeps one mapping from being legal, None if it is."""
        above, used = self.sizes, 1
        for i, row in enumerate(np.asarray(mapping)):
            tile = row[TILE]
            if sorted(row[ORDER]) != list(range(DIMENSIONS)):
                return f"level {i}: loops {row[ORDER].tolist()}; accepted: each of 0 to 5 once"
            if not 0 <= row[PARALLEL] < DIMENSIONS:
                return f"level {i}: parallel dimension {row[PARALLEL]}; accepted: 0 to 5"
            if self.layer.depthwise and row[PARALLEL] == K:
                return f"level {i}: K is parallel; a depthwise layer has C"
            if (tile < 1).any() or (tile > above).any():
                return f"level {i}: tiles {tile.tolist()}; accepted: 1 to {above.tolist()}"
            if row[UNITS] < 1:
                return f"level {i}: {row[UNITS]} units; accepted: at least 1"
            used *= int(row[UNITS])
            above = tile
        return f"{used} units on {self.pes} PEs" if used > self.pes else None

    def sample(self, rng: np.random.Generator, number: int) -> Integers:
        """Random legal mappings, `number x levels x 14`; `decode` of uniform numbers."""
        return self.decode(rng.random((number, self.reals)))

    def decode(self, reals: Floats) -> Integers:
        """Mappings of real vectors, n x `reals`; numbers outside [0, 1] are clipped.

        Per level: units, parallel dimension, a rank for each dimension's loop (smallest outermost)
        and a tile for each. Units and tiles are powers of what is left: u stands for `limit^u`.
        For the outermost units u stands for `limit^2u`, so that half of all points use all PEs.
        """
        parts = np.clip(reals, 0.0, 1.0).reshape(len(reals), self.levels, LEVEL_COLUMNS)
        parallel = np.minimum((parts[:, :, 1] * DIMENSIONS).astype(np.int64), DIMENSIONS - 1)
        return self._build(parts[:, :, 0], parallel, parts[:, :, ORDER], parts[:, :, TILE])

    def decode_importance(self, reals: Floats) -> Integers:
        """Mappings of NAAS-like vectors, n x `importances`, in [0, 1].

        Per level: units, an importance of each dimension for being parallel (the largest is),
        an importance for its loop (the largest is outermost), and a tile for each.
        Source: Lin, Yang, Han, "NAAS: Neural Accelerator Architecture Search", DAC 2021.
        """
        parts = np.clip(reals, 0.0, 1.0).reshape(len(reals), self.levels, IMPORTANCES)
        units, spread, loops, tiles = np.split(parts, [1, 1 + DIMENSIONS, 1 + 2 * DIMENSIONS], 2)
        return self._build(units[:, :, 0], spread.argmax(axis=2), -loops, tiles)

    def _build(self, units: Floats, parallel: Integers, ranks: Floats, tiles: Floats) -> Integers:
        """Mappings from shares of the units and tiles, and from ranks of the loops."""
        number = len(units)
        out = np.empty((number, self.levels, LEVEL_COLUMNS), dtype=np.int64)
        out[:, :, PARALLEL] = parallel
        out[:, :, ORDER] = np.argsort(ranks, axis=2, kind="stable")
        above, left = np.tile(self.sizes, (number, 1)), np.full(number, self.pes)
        for level in range(self.levels):
            out[:, level, TILE] = above = np.rint(above ** tiles[:, level]).astype(np.int64)
        for level in reversed(range(self.levels)):
            share = units[:, level] if level else np.minimum(2 * units[:, level], 1.0)
            out[:, level, UNITS] = here = np.rint(left**share).astype(np.int64)
            left = left // here
        return self.clip(out)

    def code(self, mappings: Integers) -> Integers:
        """DCP codes of mappings, n x levels x 7 x 2; inverse of `from_code`."""
        mappings = np.asarray(mappings)
        out = np.empty((*mappings.shape[:2], DIMENSIONS + 1, 2), dtype=np.int64)
        out[:, :, 0, 0], out[:, :, 0, 1] = mappings[:, :, PARALLEL], mappings[:, :, UNITS]
        out[:, :, 1:, 0] = mappings[:, :, ORDER]
        tiles = np.take_along_axis(mappings[:, :, TILE], mappings[:, :, ORDER], axis=2)
        out[:, :, 1:, 1] = tiles
        return out

    def from_code(self, codes: Integers) -> Integers:
        """Mappings of DCP codes, clipped; n x levels x 14."""
        codes = np.asarray(codes)
        out = np.empty((*codes.shape[:2], LEVEL_COLUMNS), dtype=np.int64)
        out[:, :, UNITS], out[:, :, PARALLEL] = codes[:, :, 0, 1], codes[:, :, 0, 0]
        out[:, :, ORDER] = codes[:, :, 1:, 0]
        np.put_along_axis(out[:, :, TILE], codes[:, :, 1:, 0], codes[:, :, 1:, 1], axis=2)
        return self.clip(out)


def levels_of(mapping: Integers) -> tuple[HonestLevel, ...]:
    """One mapping in words."""
    return tuple(
        HonestLevel(
            parallel=int(row[PARALLEL]),
            order=tuple(row[ORDER].tolist()),
            tile=tuple(row[TILE].tolist()),
            clusters=int(row[UNITS]),
        )
        for row in np.asarray(mapping)
    )


def text(mapping: Integers) -> str:
    """One mapping on one line: per level units, parallel dimension, loops with their tiles."""
    parts = []
    for row in np.asarray(mapping):
        loops = " ".join(f"{DIMS[d]}{row[TILE][d]}" for d in row[ORDER])
        parts.append(f"{row[UNITS]}x{DIMS[row[PARALLEL]]}: {loops}")
    return " | ".join(parts)
