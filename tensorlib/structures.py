"""Distinct reuse structures of an operator over all loop selections and unimodular matrices.

Vectorised: for a unimodular `T` a reuse lattice is saturated, so one primitive vector names it
(its direction at rank 1, its orthogonal functional at rank 2). Agrees with
`Analysis.structure_key`, which takes one design at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tensorlib.errors import AnalysisError
from tensorlib.lattice import integer_kernel, primitive
from tensorlib.op import Operator
from tensorlib.reuse import AXIS_SYMMETRIES
from tensorlib.stt import Stt, adjugates, determinants, matrices

Selection = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Structure:
    """One reuse structure: a simple member of its class, and the number of all members."""

    selected: Selection
    stt: Stt
    members: int


def selections(op: Operator) -> tuple[Selection, ...]:
    """All choices of three loops, in iterator order.

    Other orders are column permutations of `T`, which the matrices cover.
    """
    return tuple(itertools.combinations(op.iterators, 3))


def structure_codes(
    op: Operator, selected: Sequence[str], stts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Codes that are equal exactly for equal reuse structures, across selections of one operator.

    Args:
        stts: `n x 3 x 3` unimodular matrices with entries in {-1, 0, 1}.
    Returns: `n x tensors` int64, the lexicographically smallest of the eight array symmetries.
    Raises: `AnalysisError` for other matrices, or coefficients too large for the code.
    """
    det = determinants(stts)
    if np.any(np.abs(det) != 1):
        raise AnalysisError("structure codes need unimodular matrices; use Analysis.structure_key")
    inverse = adjugates(stts) * det[:, None, None]
    named = [_lattice_vectors(op, selected, t, stts, inverse) for t in op.tensor_names]
    variants = [np.stack([_code(r, v, *sym) for r, v in named], axis=1) for sym in AXIS_SYMMETRIES]
    return _row_minimum(variants)


def distinct_structures(op: Operator) -> tuple[Structure, ...]:
    """One representative of every reuse structure of `op` over unimodular T in {-1, 0, 1}.

    The representative has the fewest non-zero entries in `u`, then in `T`, then negative ones.
    Returns: GEMM 120, batched GEMM 204, depthwise 317, MTTKRP 480, conv2d 590, TTMc 1,200.
    """
    stts = matrices()
    u = adjugates(stts)[:, :, 2]
    cost = (
        (u != 0).sum(1) * 1000 + (stts != 0).sum((1, 2)) * 10 + (stts < 0).sum((1, 2))
    )  # fmt: skip
    loops = selections(op)
    codes = np.concatenate([structure_codes(op, s, stts) for s in loops])
    order = np.argsort(np.tile(cost, len(loops)), kind="stable")
    _, first, counts = np.unique(codes[order], axis=0, return_index=True, return_counts=True)
    found = []
    for position, members in sorted(zip(order[first].tolist(), counts.tolist(), strict=True)):
        selection, index = divmod(position, len(stts))
        found.append(Structure(loops[selection], Stt.of(stts[index].tolist()), members))
    return tuple(found)


def _lattice_vectors(
    op: Operator,
    selected: Sequence[str],
    tensor: str,
    stts: NDArray[np.int64],
    inverse: NDArray[np.int64],
) -> tuple[int, NDArray[np.int64]]:
    """Rank of a tensor's lattice and `n x 3` primitive vectors that name it."""
    kernel = integer_kernel(op.access(tensor, selected), 3)
    if len(kernel) == 1:
        return 1, stts @ np.array(kernel[0])
    if len(kernel) == 2:
        normal = np.array(primitive(np.cross(*np.array(kernel)).tolist()))
        return 2, np.einsum("i,nij->nj", normal, inverse)
    return len(kernel), np.zeros((len(stts), 3), dtype=np.int64)


_SPAN = 1 << 16  # entries of lattice vectors are below half of this


def _code(rank: int, vectors: NDArray[np.int64], swap: bool, s1: int, s2: int) -> NDArray[np.int64]:
    """One integer per vector up to sign, after PE axes are mirrored and swapped."""
    moved = vectors[:, [1, 0, 2]] if swap else vectors
    moved = moved * np.array([s1, s2, 1])
    if moved.size and np.abs(moved).max() >= _SPAN // 2:
        raise AnalysisError(f"access coefficients must stay below {_SPAN // 2}")
    value = (moved[:, 0] * _SPAN + moved[:, 1]) * _SPAN + moved[:, 2]
    code: NDArray[np.int64] = np.abs(value) * 4 + rank
    return code


def _row_minimum(variants: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Lexicographically smallest row among equally shaped `n x k` arrays, row by row."""
    best = variants[0]
    for other in variants[1:]:
        differs = best != other
        column = np.argmax(differs, axis=1)[:, None]
        smaller = np.take_along_axis(other, column, 1) < np.take_along_axis(best, column, 1)
        best = np.where(smaller, other, best)
    return best
