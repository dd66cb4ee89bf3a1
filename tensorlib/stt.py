"""Space-time transformation: a 3 x 3 integer matrix from loop indices to PE and time.

`(p1, p2, t) = T x` for the indices `x` of the three selected loops (TensorLib, Jia et al., DAC
2021, Sec. III). Exact integers; the inverse is kept as adjugate and determinant.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import gcd

import numpy as np
from numpy.typing import NDArray

from tensorlib.errors import AnalysisError

Triple = tuple[int, int, int]
Matrix3 = tuple[Triple, Triple, Triple]


@dataclass(frozen=True, slots=True)
class Stt:
    """A non-singular 3 x 3 integer matrix `T`, rows `p1`, `p2`, `t`."""

    rows: Matrix3

    def __post_init__(self) -> None:
        if len(self.rows) != 3 or any(len(row) != 3 for row in self.rows):
            raise AnalysisError(f"an STT matrix is 3 x 3, got {self.rows}")
        if self.det == 0:
            raise AnalysisError(
                f"STT matrix {self.rows} is singular: two loop points would share PE and time"
            )

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> Stt:
        """Matrix from nested sequences.

        Raises: `AnalysisError` for entries that are not integers.
        """
        if any(int(a) != a for row in rows for a in row):
            raise AnalysisError(f"an STT matrix has integer entries, got {rows}")
        return cls(tuple(tuple(int(a) for a in row) for row in rows))  # type: ignore[arg-type]

    @property
    def det(self) -> int:
        """Determinant; +1 or -1 for a unimodular matrix."""
        return sum(a * b for a, b in zip(self.rows[0], _cross(*self.rows[1:]), strict=True))

    @property
    def unimodular(self) -> bool:
        """Whether the inverse is an integer matrix too."""
        return abs(self.det) == 1

    @property
    def adjugate(self) -> Matrix3:
        """Integer matrix with `T * adjugate = det * I`."""
        a, b, c = self.rows
        return tuple(zip(_cross(b, c), _cross(c, a), _cross(a, b), strict=True))  # type: ignore[return-value]

    @property
    def inverse(self) -> Matrix3:
        """Exact inverse of a unimodular `T`.

        Raises: `AnalysisError` for `|det| > 1`; use `adjugate` and `det` there.
        """
        if not self.unimodular:
            raise AnalysisError(f"STT matrix {self.rows} has det {self.det}, no integer inverse")
        return tuple(tuple(self.det * a for a in row) for row in self.adjugate)  # type: ignore[return-value]

    @property
    def period(self) -> int:
        """Cycles between two consecutive steps of a PE: 1 for a unimodular `T`."""
        column = [row[2] for row in self.adjugate]
        return abs(self.det) // gcd(*column, self.det)

    @property
    def u(self) -> Triple:
        """`period * T^-1 e_t`: how the loop indices of a PE change from step to step."""
        return tuple(self.period * row[2] // self.det for row in self.adjugate)  # type: ignore[return-value]

    def apply(self, x: Sequence[int]) -> Triple:
        """`(p1, p2, t)` of loop indices `x`."""
        return tuple(sum(a * b for a, b in zip(row, x, strict=True)) for row in self.rows)  # type: ignore[return-value]

    def loops(self, point: Sequence[int]) -> Triple | None:
        """Loop indices `T^-1 (p1, p2, t)`; None where they are not integers."""
        det = self.det
        scaled = [sum(a * b for a, b in zip(row, point, strict=True)) for row in self.adjugate]
        if any(s % det for s in scaled):
            return None
        return tuple(s // det for s in scaled)  # type: ignore[return-value]


def _cross(a: Triple, b: Triple) -> Triple:
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def determinants(matrices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Exact determinants of `n x 3 x 3` integer matrices with small entries."""
    cross = np.cross(matrices[:, 1], matrices[:, 2])
    det: NDArray[np.int64] = np.einsum("ni,ni->n", matrices[:, 0], cross)
    return det


def adjugates(matrices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Adjugates of `n x 3 x 3` integer matrices: `T @ adj = det * I`."""
    a, b, c = matrices[:, 0], matrices[:, 1], matrices[:, 2]
    return np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=2)


@lru_cache(maxsize=8)
def matrices(
    entries: tuple[int, ...] = (-1, 0, 1), *, unimodular: bool = True
) -> NDArray[np.int64]:
    """All 3 x 3 matrices over `entries` that are unimodular (or just non-singular).

    Returns: read-only `n x 3 x 3` int64 in lexicographic order; over {-1, 0, 1} there are 6,960
        unimodular and 11,808 non-singular ones, over {0, 1} 168 and 174.
    """
    every = np.array(list(itertools.product(entries, repeat=9)), dtype=np.int64).reshape(-1, 3, 3)
    det = np.abs(determinants(every))
    found = every[det == 1 if unimodular else det > 0]
    found.setflags(write=False)
    return found
