"""What `dse` sweeps: a dataflow style, its tiles, and the sizes of the hardware.

A design is a tile, a number of PEs, a NoC bandwidth, an L1 size and an L2 size; its number counts
them in this order, the L2 size fastest. One tile serves all layers; it is clipped to each.

Styles: Kwon et al., "Understanding Reuse, Performance, and Hardware Cost of DNN Dataflows: A
Data-Centric Approach Using MAESTRO", MICRO 2019, Table 3; maestro-project/maestro, data/mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from dcp_hw.errors import InputError
from dcp_hw.maestro.honest_types import DIMS, C, HonestLayer, HonestLevel, K, R, S, X, Y

Integers = NDArray[np.int64]

TILE_AXES = ("units", "K", "C", "Y", "X")
"""Units of one cluster, and the elements of one PE; filters are whole."""

_TILE_DIMS = (K, C, Y, X)
_MOST = 1 << 20  # of any value: the largest dimension of a layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """A dataflow style: what is spread over clusters and over the PEs of one, and loop orders."""

    name: str
    title: str
    parallel: tuple[int, int]  # over the clusters; over the PEs of a cluster
    order: tuple[int, ...]  # loops over the clusters' tiles, outermost first
    tiles: Mapping[str, tuple[int, ...]] = field(hash=False)

    def mapping(self, tile: tuple[int, ...], layer: HonestLayer) -> tuple[HonestLevel, HonestLevel]:
        """The two-level mapping of a tile, clipped to a layer."""
        units = tile[0]
        inner = [0] * 6
        for dim, size in zip(_TILE_DIMS, tile[1:], strict=True):
            inner[dim] = size
        inner[R], inner[S] = layer.R, layer.S
        if self.parallel[1] == R:
            inner[R] = 1
        outer = list(inner)
        split = split_dim(self.parallel[1], layer.depthwise)
        outer[split] = layer.R if split == R else inner[split] * units
        outer = [min(a, b) for a, b in zip(outer, layer.sizes, strict=True)]
        inner = [min(a, b) for a, b in zip(inner, outer, strict=True)]
        return (
            HonestLevel(parallel=self.parallel[0], order=self.order, tile=tuple(outer)),
            HonestLevel(
                parallel=self.parallel[1], order=self.order, tile=tuple(inner), clusters=units
            ),
        )


def split_dim(dim: int, depthwise: bool) -> int:
    """The dimension that the model splits: a depthwise layer has C where others have K."""
    return C if depthwise and dim == K else dim


STYLES = {
    style.name: style
    for style in (
        Style(
            name="kc-p",
            title="KC-P (NVDLA-like): K over clusters, C over PEs, weights stay",
            parallel=(K, C),
            order=(K, C, R, S, Y, X),
            tiles={
                "units": (4, 8, 16, 32, 64, 128),
                "K": (1, 2, 4, 8, 16, 32),
                "C": (1, 2, 4, 8),
                "Y": (1, 2, 4, 7, 14),
                "X": (1, 2, 4, 7, 14, 28),
            },
        ),
        Style(
            name="yr-p",
            title="YR-P (Eyeriss-like): rows over clusters, filter rows over PEs, rows stay",
            parallel=(Y, R),
            order=(C, K, Y, X, R, S),
            tiles={
                "units": (1, 2, 3, 4),
                "K": (1, 2, 3, 4, 6, 8, 12, 16, 24, 32),
                "C": (1, 2, 3, 4, 6, 8, 12, 16),
                "Y": (1, 2, 3, 4),
                "X": (1, 2, 4, 7, 14, 28, 56),
            },
        ),
        Style(
            name="yx-p",
            title="YX-P (ShiDianNao-like): rows over clusters, columns over PEs, outputs stay",
            parallel=(Y, X),
            order=(K, Y, X, C, R, S),
            tiles={
                "units": (2, 4, 7, 8, 14, 16, 28),
                "K": (1, 2, 4, 8, 16, 32),
                "C": (1, 2, 3, 4, 6, 8, 16),
                "Y": (1, 2, 3, 4, 7),
                "X": (1, 2, 3, 4, 7),
            },
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """All designs of one sweep. Raises: InputError for an empty list or a size out of range."""

    style: Style
    tiles: Mapping[str, tuple[int, ...]]
    pes: tuple[int, ...]
    noc_bw: tuple[int, ...]  # elements per cycle and direction
    l1_bytes: tuple[int, ...]
    l2_kib: tuple[int, ...]

    def __post_init__(self) -> None:
        axes = {**self.tiles, "pes": self.pes, "noc-bw": self.noc_bw}
        axes |= {"l1": self.l1_bytes, "l2-kib": self.l2_kib}
        for name, values in axes.items():
            if not values or list(values) != sorted(set(values)):
                raise InputError(f"{name}: {values}; accepted: rising values, each once")
            most = 1 << 16 if name in ("l2-kib", "pes") else _MOST
            if values[0] < 1 or values[-1] > most:
                raise InputError(f"{name}: {values}; accepted: integers from 1 to {most}")

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Numbers of tiles, PEs, bandwidths, L1 and L2 sizes."""
        tiles = prod(len(self.tiles[name]) for name in TILE_AXES)
        return (tiles, len(self.pes), len(self.noc_bw), len(self.l1_bytes), len(self.l2_kib))

    @property
    def designs(self) -> int:
        """How many designs there are."""
        return prod(self.shape)

    @property
    def tile_rows(self) -> Integers:
        """Tiles x TILE_AXES; the last axis fastest."""
        return np.array(list(product(*(self.tiles[name] for name in TILE_AXES))), dtype=np.int64)

    def design(self, number: int) -> dict[str, int]:
        """Parameters of one design by name."""
        places = [int(at) for at in np.unravel_index(number, self.shape)]
        tile = self.tile_rows[places[0]]
        named = {f"tile_{name}": int(v) for name, v in zip(TILE_AXES, tile, strict=True)}
        sizes = (self.pes, self.noc_bw, self.l1_bytes, self.l2_kib)
        names = ("pes", "noc_bw", "l1_bytes", "l2_kib")
        found = {
            name: values[at] for name, values, at in zip(names, sizes, places[1:], strict=True)
        }
        return {**found, **named}


_PES = ((8, 1, 64), (528, 2, 32), (1056, 4, 32), (2112, 8, 32))
"""8 to 4096: first, step / 8, how many; the step grows with the number."""

_HARDWARE = {
    "full": {
        "pes": tuple(first + 8 * step * i for first, step, count in _PES for i in range(count)),
        "noc_bw": (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256),
        "l1_bytes": (16, 32, 64, 128, 256, 512, 768, 1024, 1536, 2048, 3072, 4096),
        "l2_kib": (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048),
    },
    "quick": {
        "pes": (64, 128, 168, 256, 512),
        "noc_bw": (4, 16, 64),
        "l1_bytes": (64, 256, 512, 1024, 2048),
        "l2_kib": (32, 64, 128, 256, 512),
    },
}
SPACES = tuple(_HARDWARE)


def make_space(
    style: str,
    size: str = "full",
    *,
    axes: Mapping[str, tuple[int, ...]] | None = None,
    tiles: Mapping[str, tuple[int, ...]] | None = None,
) -> Space:
    """The space of a style.

    Args:
        size: `full`, or `quick` with every second tile value and few hardware sizes.
        axes: other values for `pes`, `noc_bw`, `l1_bytes`, `l2_kib`.
        tiles: other values for some of `TILE_AXES`.
    Raises: InputError for an unknown style, size or tile axis, or wrong values.
    """
    if style not in STYLES:
        raise InputError(f"style {style!r} not found; have {', '.join(STYLES)}")
    if size not in _HARDWARE:
        raise InputError(f"space {size!r} not found; have {', '.join(_HARDWARE)}")
    if unknown := sorted(set(tiles or {}) - set(TILE_AXES)):
        raise InputError(f"tile axis {', '.join(unknown)}; have {', '.join(TILE_AXES)}")
    known = STYLES[style].tiles
    if size == "quick":
        known = {name: values[::2] for name, values in known.items()}
    return Space(
        style=STYLES[style],
        tiles={**known, **(tiles or {})},
        **{**_HARDWARE[size], **(axes or {})},
    )


def describe_tile(style: Style, tile: Mapping[str, int]) -> str:
    """A tile in words: what a PE and a cluster hold."""
    sizes = " ".join(f"{name}{tile[f'tile_{name}']}" for name in TILE_AXES[1:])
    return f"{tile['tile_units']} PEs along {DIMS[style.parallel[1]]}, PE tile {sizes}"
