"""What the honest model takes and gives: a layer, a mapping, a machine, and counts.

Elements and cycles throughout; `honest_energy` converts to bytes and nanojoules at the end.
docs/honest-model.md defines every number.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

DIMS = ("K", "C", "Y", "X", "R", "S")
"""Dimensions of the loop nest; Y and X are *output* coordinates."""

K, C, Y, X, R, S = range(6)
INPUT, WEIGHT, OUTPUT = range(3)
TENSORS = ("input", "weight", "output")

MAX_LEVELS = 3
"""Levels of the DCP code, and the most that the fast model takes."""

_COUPLED = {
    False: ((C, Y, X, R, S), (K, C, R, S), (K, Y, X)),
    True: ((C, Y, X, R, S), (C, R, S), (C, Y, X)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HonestLayer:
    """One convolution; a matrix product `M x K times K x N` is K = N, C = K, Y = M.

    Raises: ValueError for sizes that no layer has.
    """

    K: int = 1
    C: int = 1
    Y: int = 1  # output rows
    X: int = 1  # output columns
    R: int = 1
    S: int = 1
    stride: int = 1
    padding: int = 0  # on every side of the input
    depthwise: bool = False  # K = 1: output channel = input channel
    rows: int | None = None  # of the stored input; None: as many as are needed
    columns: int | None = None

    def __post_init__(self) -> None:
        if min(self.sizes) < 1 or self.stride < 1 or self.padding < 0:
            raise ValueError(f"sizes and stride must be >= 1, padding >= 0, got {self}")
        if self.depthwise and self.K != 1:
            raise ValueError(f"a depthwise layer has K = 1 and C channels, got K = {self.K}")
        for name, need in zip(("rows", "columns"), self._needed(), strict=True):
            stored = getattr(self, name)
            if stored is None:
                stored = max(need, 1)
                object.__setattr__(self, name, stored)
            if stored < max(need, 1):
                raise ValueError(f"{name} must be >= {max(need, 1)} for this layer, got {stored}")

    def _needed(self) -> tuple[int, int]:
        """Least rows and columns of the stored input."""
        shrink = 2 * self.padding
        return (
            (self.Y - 1) * self.stride + self.R - shrink,
            (self.X - 1) * self.stride + self.S - shrink,
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes in the order of `DIMS`."""
        return (self.K, self.C, self.Y, self.X, self.R, self.S)

    @property
    def macs(self) -> int:
        """Multiply-accumulates, those on padding included."""
        return prod(self.sizes)

    def coupled(self, tensor: int) -> tuple[int, ...]:
        """Dimensions that select a tensor's elements."""
        return _COUPLED[self.depthwise][tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class HonestLevel:
    """One level of a dataflow.

    Raises: ValueError for a level that no code describes.
    """

    parallel: int  # dimension spread over the units
    order: tuple[int, ...]  # loops, outermost first
    tile: tuple[int, ...]  # elements, in the order of `DIMS`
    clusters: int | None = None  # units under each unit of the level above; outermost: a limit

    def __post_init__(self) -> None:
        if (
            sorted(self.order) != list(range(6))
            or len(self.tile) != 6
            or self.parallel not in range(6)
        ):
            raise ValueError(f"order must name each of KCYXRS once, with six tiles, got {self}")
        if min(self.tile) < 1 or (self.clusters is not None and self.clusters < 1):
            raise ValueError(f"tiles and clusters must be >= 1, got {self}")


@dataclass(frozen=True, slots=True)
class HonestMapping:
    """A dataflow: its levels, outermost first. Raises: ValueError for none or too many."""

    levels: tuple[HonestLevel, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.levels) <= MAX_LEVELS:
            raise ValueError(f"a mapping has 1 to {MAX_LEVELS} levels, got {len(self.levels)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HonestMachine:
    """Resources; None stands for unlimited."""

    pes: int
    l1_size: int | None = None  # elements of one PE's buffer
    l2_size: int | None = None  # elements of the L2 and all buffers between it and the PEs
    noc_bw: int | None = None  # elements per cycle and direction, from each store to its units
    noc_latency: int = 0  # cycles per level, paid when the pipeline fills and when it drains
    dram_bw: int | None = None  # elements per cycle, both directions together

    def __post_init__(self) -> None:
        limits = (self.pes, self.l1_size, self.l2_size, self.noc_bw, self.dram_bw)
        if any(limit is not None and limit < 1 for limit in limits) or self.noc_latency < 0:
            raise ValueError(f"resources must be >= 1 and the latency >= 0, got {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HonestCounts:
    """Everything counted in one run of a layer.

    Boundary 0 lies between DRAM and L2, 1 between L2 and the units of level 0, and so on; the last
    one leads into the PEs. Sums that go down are the partial sums read back.
    """

    cycles: int
    macs: int
    supplied: tuple[tuple[int, int, int], ...]  # boundary x tensor: read in the store above
    taken: tuple[tuple[int, int, int], ...]  # boundary x tensor: written in the units below
    drained: tuple[int, ...]  # boundary: sums read in the units below
    collected: tuple[int, ...]  # boundary: sums written in the store above
    sums_read: int  # by the MACs, in the PEs' buffers
    l2_required: int  # elements of the L2 alone
    required: tuple[int, ...]  # level: elements of one unit's buffer
    buffers: tuple[int, ...]  # level: number of those buffers

    @property
    def shared_required(self) -> int:
        """Elements of the L2 and all buffers between it and the PEs."""
        between = zip(self.required[:-1], self.buffers[:-1], strict=True)
        return self.l2_required + sum(size * number for size, number in between)
