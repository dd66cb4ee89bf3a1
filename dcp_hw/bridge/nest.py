"""A MAESTRO dataflow as one explicit loop nest: what is on chip, what is parallel, what follows.

Level 0 moves tiles between DRAM and chip: its rounds are tile loops, the union of its units' tiles
is what the chip holds. Levels with more than one working unit are parallel. All other rounds, and
the elements of a PE's own tile, are steps on the chip. A PE's tile has no order of its own in
MAESTRO; it takes that of the innermost level. Y and X count outputs (docs/honest-model.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from dcp_hw.bridge.reasons import NotBridged, Reason
from dcp_hw.maestro.honest_types import DIMS, HonestLevel
from dcp_hw.problem import ceil_div


@dataclass(frozen=True, slots=True)
class Spread:
    """A parallel dimension: `units` of a level work on tiles side by side."""

    dim: int
    units: int
    level: int


@dataclass(frozen=True, slots=True)
class Rounds:
    """A loop with more than one step; level = number of levels stands for a PE's own tile."""

    dim: int
    steps: int
    level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Nest:
    """A dataflow on one layer.

    Attributes:
        sizes: of the layer, K C Y X R S.
        chip: elements of each dimension that are on chip together.
        spread: parallel dimensions, outermost first; only levels where several units work.
        tiles: loops over what the chip holds, outermost first.
        steps: loops on the chip in one PE, outermost first.
    """

    sizes: tuple[int, ...]
    chip: tuple[int, ...]
    spread: tuple[Spread, ...]
    tiles: tuple[Rounds, ...]
    steps: tuple[Rounds, ...]

    @property
    def lanes(self) -> tuple[int, ...]:
        """Units that split each dimension."""
        return tuple(
            prod(one.units for one in self.spread if one.dim == dim) for dim in range(len(DIMS))
        )

    @property
    def order(self) -> tuple[int, ...]:
        """Dimensions of the steps, outermost first, each where it last occurs."""
        inner = list(dict.fromkeys(loop.dim for loop in reversed(self.steps)))
        return tuple(reversed(inner))

    @property
    def time(self) -> int | None:
        """The innermost dimension of the steps; None if a PE does one step on each tile."""
        return self.steps[-1].dim if self.steps else None


def nest_of(sizes: Sequence[int], levels: Sequence[HonestLevel], pes: int) -> Nest | NotBridged:
    """The nest of a dataflow on a layer; the outermost level gets the PEs that are left.

    Args:
        sizes: of the layer's loops, K C Y X R S.
    """
    below = prod(level.clusters or 1 for level in levels[1:])
    if below > pes:
        return NotBridged(f"{below} units on {pes} PEs", Reason.PES)
    above = tuple(sizes)
    spread: list[Spread] = []
    tiles: list[Rounds] = []
    steps: list[Rounds] = []
    chip = above
    for number, level in enumerate(levels):
        units = level.clusters or pes
        if number == 0:
            units = min(units, pes // below)
        tile = tuple(min(a, t) for a, t in zip(above, level.tile, strict=True))
        working = min(units, ceil_div(above[level.parallel], tile[level.parallel]))
        taken = [t * (working if d == level.parallel else 1) for d, t in enumerate(tile)]
        if working > 1:
            spread.append(Spread(level.parallel, working, number))
        rounds = [
            Rounds(dim, ceil_div(above[dim], taken[dim]), number)
            for dim in level.order
            if above[dim] > taken[dim]
        ]
        if number == 0:
            tiles = rounds
            chip = tuple(min(a, t) for a, t in zip(above, taken, strict=True))
        else:
            steps += rounds
        above = tile
    last = levels[-1].order
    steps += [Rounds(dim, above[dim], len(levels)) for dim in last if above[dim] > 1]
    return Nest(
        sizes=tuple(sizes), chip=chip, spread=tuple(spread), tiles=tuple(tiles), steps=tuple(steps)
    )
