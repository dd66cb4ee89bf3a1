"""Exact integer lattices in up to a handful of dimensions: kernels and canonical bases.

Plain Python integers throughout, so nothing overflows or rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

Vector = tuple[int, ...]


def integer_kernel(rows: Sequence[Sequence[int]], columns: int) -> tuple[Vector, ...]:
    """Basis of all integer `x` with `rows x = 0` (a saturated lattice), in canonical form.

    Args:
        rows: `d x columns` matrix.
    Returns: `columns - rank` vectors.
    """
    # Columns of [M; I] under unimodular column operations: where M vanishes, I holds the kernel.
    work = [[*(row[c] for row in rows), *(int(c == i) for i in range(columns))]
            for c in range(columns)]  # fmt: skip
    done = 0
    for r in range(len(rows)):
        while True:
            live = [c for c in range(done, columns) if work[c][r]]
            if len(live) <= 1:
                break
            pivot = min(live, key=lambda c: abs(work[c][r]))
            for c in live:
                if c != pivot:
                    q = work[c][r] // work[pivot][r]
                    work[c] = [a - q * b for a, b in zip(work[c], work[pivot], strict=True)]
        if live:
            work[done], work[live[0]] = work[live[0]], work[done]
            done += 1
    return hermite([w[len(rows) :] for w in work[done:]])


def hermite(vectors: Sequence[Sequence[int]]) -> tuple[Vector, ...]:
    """Canonical basis (row Hermite normal form) of the lattice that `vectors` generate.

    Returns: independent rows with positive pivots, entries above a pivot in `[0, pivot)`; equal
        for two inputs exactly if they generate the same lattice.
    """
    work = [list(v) for v in vectors]
    done = 0
    for c in range(len(work[0]) if work else 0):
        while True:
            live = [r for r in range(done, len(work)) if work[r][c]]
            if len(live) <= 1:
                break
            pivot = min(live, key=lambda r: abs(work[r][c]))
            for r in live:
                if r != pivot:
                    q = work[r][c] // work[pivot][c]
                    work[r] = [a - q * b for a, b in zip(work[r], work[pivot], strict=True)]
        if not live:
            continue
        row = work[live[0]]
        work[live[0]] = work[done]
        work[done] = row if row[c] > 0 else [-a for a in row]
        for r in range(done):
            q = work[r][c] // work[done][c]
            work[r] = [a - q * b for a, b in zip(work[r], work[done], strict=True)]
        done += 1
    return tuple(tuple(row) for row in work[:done])


def contains(basis: Sequence[Vector], vector: Sequence[int]) -> bool:
    """Whether a lattice given by its `hermite` basis contains `vector`."""
    rest = list(vector)
    for row in basis:
        c = next(i for i, a in enumerate(row) if a)
        q, remainder = divmod(rest[c], row[c])
        if remainder:
            return False
        rest = [a - q * b for a, b in zip(rest, row, strict=True)]
    return not any(rest)


def primitive(vector: Sequence[int]) -> Vector:
    """`vector` divided by the greatest common divisor of its entries."""
    g = gcd(*vector)
    return tuple(a // g for a in vector) if g else tuple(vector)
