"""Mappings: MAESTRO's directives, level by level, and their compact one-line text.

    SK1,1 TC64,64 TR3,3 TS3,3 TY3,1 TX3,1 @64 SC1,1 TY3,1 TX3,1 TR3,3 TS3,3

reads `S`patial or `T`emporal map, dimension, size, offset; `@n` is `Cluster(n, P)`: one unit of
the level before it consists of n units of the level after it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dcp_hw.errors import InputError
from dcp_hw.maestro.layer import DIMENSIONS, INT_MAX

_MAP = re.compile(r"([ST])([A-Z]'?)([0-9]+),([0-9]+)")
_CLUSTER = re.compile(r"@([0-9]+)")


@dataclass(frozen=True, slots=True)
class Directive:
    """A SpatialMap or TemporalMap of one dimension."""

    spatial: bool
    dim: str
    size: int
    offset: int

    def __post_init__(self) -> None:
        if self.dim not in DIMENSIONS:
            raise InputError(f"dimension {self.dim!r} is unknown; have {' '.join(DIMENSIONS)}")
        for name, value in (("size", self.size), ("offset", self.offset)):
            if not 1 <= value <= INT_MAX:
                raise InputError(
                    f"{name} of {self.dim} is {value}; accepted: an integer from 1 to {INT_MAX}"
                )

    def __str__(self) -> str:
        return f"{'S' if self.spatial else 'T'}{self.dim}{self.size},{self.offset}"


@dataclass(frozen=True, slots=True)
class Mapping:
    """Directives of each level, outermost first, and the clusters between the levels.

    Attributes:
        levels: one tuple of directives per level; an empty one inherits everything.
        clusters: units of level i + 1 in one unit of level i.
    """

    levels: tuple[tuple[Directive, ...], ...]
    clusters: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.levels) != len(self.clusters) + 1:
            raise InputError(
                f"{len(self.levels)} levels with {len(self.clusters)} clusters; "
                "accepted: one cluster between two levels"
            )
        for size in self.clusters:
            if not 1 <= size <= INT_MAX:
                raise InputError(f"cluster of {size}; accepted: an integer from 1 to {INT_MAX}")

    def __str__(self) -> str:
        """The compact text; inverse of `parse_compact`."""
        words = [str(directive) for directive in self.levels[0]]
        for size, level in zip(self.clusters, self.levels[1:], strict=True):
            words += [f"@{size}", *(str(directive) for directive in level)]
        return " ".join(words)


def parse_compact(text: str) -> Mapping:
    """The mapping of a compact text.

    Raises: InputError that names the word, its column and what is accepted.
    """
    levels: list[list[Directive]] = [[]]
    clusters: list[int] = []
    for word in re.finditer(r"\S+", text):
        token, column = word.group(), word.start() + 1
        try:
            if match := _MAP.fullmatch(token):
                kind, dim, size, offset = match.groups()
                levels[-1].append(Directive(kind == "S", dim, int(size), int(offset)))
            elif match := _CLUSTER.fullmatch(token):
                clusters.append(int(match.group(1)))
                levels.append([])
            else:
                raise InputError("not a directive; accepted: SK1,1 or TY'3,1 or @64")
        except (InputError, ValueError) as error:
            raise InputError(f"mapping, column {column}: {token[:40]!r}: {error}") from None
    if not any(levels):
        raise InputError("mapping is empty; accepted: words like SK1,1 TC64,64 @64 SC1,1")
    return Mapping(tuple(map(tuple, levels)), tuple(clusters))
