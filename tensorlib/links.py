"""Links, ports and chains of the PE array: who hands an element to whom, and how late.

An input element enters at a port and walks over links; a partial sum walks the other way round
and leaves at a port. Both are forests over the PEs, one tree per port. Valid for every integer
point: a PE of the array passes elements on also where it computes nothing itself.
Source: docs/design-space.md, "Links" and "Chains".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tensorlib.reuse import TensorReuse
from tensorlib.stt import Stt, Triple

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ArrayShape:
    """The rectangle of PEs that `p = (p1, p2)` of all loop points lie in.

    PEs are counted row by row: PE `(row, column)` is `p = origin + (row, column)`.
    """

    origin: tuple[int, int]
    rows: int
    columns: int

    @classmethod
    def covering(cls, stt: Stt, sizes: Sequence[int]) -> ArrayShape:
        """Bounding box of `p` over the loop points `0 <= x < sizes`."""
        lows, highs = [], []
        for row in stt.rows[:2]:
            reach = [a * (n - 1) for a, n in zip(row, sizes, strict=True)]
            lows.append(sum(min(r, 0) for r in reach))
            highs.append(sum(max(r, 0) for r in reach))
        return cls((lows[0], lows[1]), highs[0] - lows[0] + 1, highs[1] - lows[1] + 1)

    @property
    def pes(self) -> int:
        """Number of PEs."""
        return self.rows * self.columns

    def positions(self) -> Ints:
        """`pes x 2`: `(p1, p2)` of every PE."""
        grid: Ints = np.indices((self.rows, self.columns)).reshape(2, -1).T
        positions: Ints = grid + np.array(self.origin)
        return positions

    def shifted(self, dp1: int, dp2: int) -> Ints:
        """`pes`: number of the PE at `p + (dp1, dp2)`, -1 where that is not on the array."""
        row, column = np.indices((self.rows, self.columns)).reshape(2, -1)
        row, column = row + dp1, column + dp2
        inside = (row >= 0) & (row < self.rows) & (column >= 0) & (column < self.columns)
        return np.where(inside, row * self.columns + column, -1)


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """Links of one streamed tensor; every field is `pes` long, in units of PEs and cycles.

    `neighbour`: the PE that an element comes from (input) or a partial sum goes to (output), -1
    at a port; `delay`: registers on that link; `port`: the PE whose port serves this one;
    `depth`: registers between port and PE. PE `p` uses at `t` what its port injects at
    `t - depth` (input), or its contribution leaves at `t + depth` (output).
    """

    neighbour: Ints
    delay: Ints
    port: Ints
    depth: Ints

    @property
    def ports(self) -> Ints:
        """Numbers of the PEs with a port, ascending."""
        return np.flatnonzero(self.neighbour < 0)


@dataclass(frozen=True, slots=True)
class Chain:
    """Shift chains of a stationary tensor: one along every line of PEs of one array axis.

    Elements move from the entrance (smallest skew) to the far end, `hop` registers per PE: one
    shadow register and `hop - 1` delays, so that shifting keeps pace with the skew. A transfer
    occupies a chain for `length` cycles.
    """

    axis: int  # 0: along p1 (a chain per column), 1: along p2 (a chain per row)
    reverse: bool  # entrance at the highest coordinate
    length: int
    hop: int

    def order(self, shape: ArrayShape) -> Ints:
        """`chains x length`: PE numbers from the entrance to the far end."""
        grid = np.arange(shape.pes).reshape(shape.rows, shape.columns)
        lines = grid.T if self.axis == 0 else grid
        return lines[:, ::-1] if self.reverse else lines


def build_links(reuse: TensorReuse, shape: ArrayShape) -> Links:
    """Links of a streamed tensor on an array.

    The first spatial reuse vector whose neighbour is on the array is taken, a port where there is
    none. Two spatial directions without an axis-aligned basis: the nearest PE among all lattice
    vectors, so that each residue class has a single port.
    """
    sign = 1 if reuse.is_output else -1
    neighbour = np.full(shape.pes, -1, dtype=np.int64)
    delay = np.zeros(shape.pes, dtype=np.int64)
    for dp1, dp2, dt in _link_vectors(reuse, shape):
        target = shape.shifted(sign * dp1, sign * dp2)
        taken = (neighbour < 0) & (target >= 0)
        neighbour[taken] = target[taken]
        delay[taken] = dt
    port, depth = np.arange(shape.pes), np.zeros(shape.pes, dtype=np.int64)
    while (moving := neighbour[port] >= 0).any():
        depth[moving] += delay[port[moving]]
        port[moving] = neighbour[port[moving]]
    return Links(neighbour, delay, port, depth)


def build_chain(skew: tuple[int, int], shape: ArrayShape, axis: int | None = None) -> Chain:
    """Chain of a stationary tensor towards increasing skew.

    Args:
        skew: cycles per row and per column (`skew`).
        axis: array axis to run along; by default the shorter one, then the one with less delay.
    """
    lengths = (shape.rows, shape.columns)
    if axis is None:
        axis = min((0, 1), key=lambda a: (lengths[a], abs(skew[a])))
    return Chain(axis, skew[axis] < 0, lengths[axis], 1 + abs(skew[axis]))


def _link_vectors(reuse: TensorReuse, shape: ArrayShape) -> Sequence[Triple]:
    """Candidate links in order of preference."""
    if reuse.axis_aligned:
        return reuse.spatial
    (a1, a2, at), (b1, b2, bt) = reuse.spatial
    span = range(-shape.rows - shape.columns, shape.rows + shape.columns + 1)
    combined = ((i * a1 + j * b1, i * a2 + j * b2, i * at + j * bt) for i in span for j in span)
    near = [
        v for v in combined
        if (v[2], v[0], v[1]) > (0, 0, 0) and abs(v[0]) < shape.rows and abs(v[1]) < shape.columns
    ]  # fmt: skip
    return sorted(near, key=lambda v: (abs(v[0]) + abs(v[1]), v[2], v))
