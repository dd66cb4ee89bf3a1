"""Dataflows of the DCP space: per level a parallel dimension, a loop order and tiles.

Y and X count *outputs*; a tile's offset is its size. GAMMA's genomes are the same thing with any
number of levels. A layer that is a matrix product M × K times K × N has the dimensions K = N,
C = K, Y = M and X = R = S = 1.

Sources: DCP paper, Sec. 4.1; Kao and Krishna, "GAMMA: Automating the HW Mapping of DNN Models on
Accelerators via Genetic Algorithm", ICCAD 2020; maestro-project/gamma.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from math import prod

from dcp_hw.errors import InputError
from dcp_hw.maestro.layer import LayerType, MaestroLayer, convolution
from dcp_hw.maestro.mapping import Directive, Mapping

Genome = list[list[str | int]]
"""GAMMA's form: blocks of [parallel dimension, units] and six [dimension, tile], outer first."""

BLOCK = 7
"""Entries of a genome's block, rows of a code's level."""


class Dim(IntEnum):
    """Dimensions in the order of the code."""

    K = 0
    C = 1
    Y = 2
    X = 3
    R = 4
    S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level of a dataflow.

    Attributes:
        parallel: dimension spread over the units of the level.
        units: units of this level in one unit of the level above. The outermost level has as
            many as the PEs give, and at most this many where a model heeds it (MAESTRO does not).
        order: the loops, outermost first.
        tile: elements of one unit, aligned with `order`.

    Raises: InputError for a level that no code describes.
    """

    parallel: Dim
    units: int
    order: tuple[Dim, ...]
    tile: tuple[int, ...]

    def __post_init__(self) -> None:
        if sorted(self.order) != sorted(Dim) or len(self.tile) != len(Dim):
            names = " ".join(getattr(dim, "name", str(dim)) for dim in self.order)
            raise InputError(
                f"loops {names} with {len(self.tile)} tiles; "
                "accepted: each of K C Y X R S once, with a tile each"
            )
        if self.parallel not in list(Dim):
            raise InputError(f"parallel dimension {self.parallel}; accepted: K C Y X R S")
        if self.units < 1 or min(self.tile) < 1:
            raise InputError(f"{self.units} units, tiles {self.tile}; accepted: at least 1 each")

    @property
    def sizes(self) -> dict[Dim, int]:
        """Tile of each dimension."""
        return dict(zip(self.order, self.tile, strict=True))


@dataclass(frozen=True, slots=True)
class Dataflow:
    """Levels, outermost first. Raises: InputError if there are none."""

    levels: tuple[Level, ...]

    def __post_init__(self) -> None:
        if not self.levels:
            raise InputError("a dataflow without levels; accepted: at least one")

    def why_illegal(self, layer: MaestroLayer, pes: int) -> str | None:
        """What keeps the dataflow from being legal for the layer, None if it is.

        Legal: every tile within that of the level above (the layer at the top), whole filters,
        and no more units below the outermost level than PEs.
        """
        above = loop_sizes(layer)
        whole = dict(above)
        for i, level in enumerate(self.levels):
            for dim, tile in level.sizes.items():
                if tile > above[dim]:
                    return f"level {i}: tile {tile} of {dim.name} exceeds {above[dim]} above it"
            for dim in (Dim.R, Dim.S):
                if level.sizes[dim] != whole[dim]:
                    return f"level {i}: {dim.name} is {level.sizes[dim]} of {whole[dim]}"
            above = level.sizes
        needed = prod(level.units for level in self.levels[1:])
        return f"{needed} units on {pes} PEs" if needed > pes else None

    def to_maestro(self, layer: MaestroLayer) -> tuple[MaestroLayer, Mapping]:
        """The layer and the mapping that GAMMA would write for MAESTRO.

        A GEMM becomes a convolution. A depthwise layer has no loop K; where K is parallel, C is.
        The units of the outermost level are not written.
        """
        shape = as_convolution(layer)
        depthwise = shape.type is LayerType.DSCONV
        levels = []
        for level in self.levels:
            parallel = Dim.C if depthwise and level.parallel is Dim.K else level.parallel
            levels.append(
                tuple(
                    Directive(dim is parallel, _written(dim), tile, tile)
                    for dim, tile in zip(level.order, level.tile, strict=True)
                    if not (depthwise and dim is Dim.K)
                )
            )
        return shape, Mapping(tuple(levels), tuple(level.units for level in self.levels[1:]))

    def to_genome(self) -> Genome:
        """GAMMA's genome; inverse of `from_genome`."""
        genome: Genome = []
        for level in self.levels:
            genome.append([level.parallel.name, level.units])
            genome += [[dim.name, tile] for dim, tile in zip(level.order, level.tile, strict=True)]
        return genome


def _written(dim: Dim) -> str:
    """Name of a dimension in a mapping file: Y and X in output coordinates."""
    return f"{dim.name}'" if dim in (Dim.Y, Dim.X) else dim.name


def from_genome(genome: Genome) -> Dataflow:
    """The dataflow of a GAMMA genome with any number of levels.

    Raises: InputError that names the entry, what was found and what is accepted.
    """
    if not isinstance(genome, list | tuple) or not genome or len(genome) % BLOCK:
        raise InputError(
            f"a genome of {len(genome) if isinstance(genome, list | tuple) else 'no'} entries; "
            f"accepted: {BLOCK} for each level, [parallel, units] and six [dimension, tile]"
        )
    genes = [_gene(gene, i) for i, gene in enumerate(genome)]
    levels = []
    for start in range(0, len(genes), BLOCK):
        (parallel, units), *loops = genes[start : start + BLOCK]
        order, tile = (tuple(part) for part in zip(*loops, strict=True))
        try:
            levels.append(Level(parallel=parallel, units=units, order=order, tile=tile))
        except InputError as error:
            raise InputError(f"genome, level {start // BLOCK}: {error}") from None
    return Dataflow(tuple(levels))


def _gene(gene: object, place: int) -> tuple[Dim, int]:
    accepted = "[dimension, number], a dimension of K C Y X R S and an integer of at least 1"
    if not isinstance(gene, list | tuple) or len(gene) != 2:
        raise InputError(f"genome, entry {place}: {gene!r}; accepted: {accepted}")
    name, number = gene
    whole = isinstance(number, int) and not isinstance(number, bool) and number >= 1
    if name not in Dim.__members__ or not whole:
        raise InputError(f"genome, entry {place}: {gene!r}; accepted: {accepted}")
    return Dim[name], number


def as_convolution(layer: MaestroLayer) -> MaestroLayer:
    """The layer itself, or for a matrix product the convolution that GAMMA makes of it."""
    if layer.type is not LayerType.GEMM:
        return layer
    size = layer.size
    return convolution(layer.name, (size["N"], size["K"], size["M"], 1, 1, 1))


def loop_sizes(layer: MaestroLayer) -> dict[Dim, int]:
    """Sizes of the six loops, Y and X as true outputs (stride included)."""
    shape = as_convolution(layer)
    size = shape.size
    rows, columns = shape.outputs
    channels = 1 if shape.type is LayerType.DSCONV else size["K"]
    return {
        Dim.K: channels,
        Dim.C: size["C"],
        Dim.Y: rows,
        Dim.X: columns,
        Dim.R: size["R"],
        Dim.S: size["S"],
    }
