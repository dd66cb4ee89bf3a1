"""Dataflows of two levels among codes of three: one whose middle level is trivial.

A trivial level has one unit and the tiles of the level above. As a level it has a store all the
same, which holds everything twice. Where a group allows it (`Group.shallow`), such a code stands
for the dataflow of two levels that is left without it; searches keep it as `3 x 14`, the evaluator
gets `2 x 14`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from dcp_hw.baselines.problem import Problem
from dcp_hw.mapspace import TILE, UNITS

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def trivial(mappings: Integers) -> NDArray[np.bool_]:
    """Which of mappings (... x 3 x 14) have a trivial middle level."""
    same = (mappings[..., 1, TILE] == mappings[..., 0, TILE]).all(axis=-1)
    return same & (mappings[..., 1, UNITS] == 1)


def packed(mappings: Integers) -> Integers:
    """Mappings n x 3 x 14 with trivial levels last, and zero; so compiled loops take them."""
    out, flat = np.array(mappings), trivial(mappings)
    out[flat, 1] = mappings[flat, 2]
    out[flat, 2] = 0
    return out


def unpacked(rows: Integers) -> Integers:
    """Inverse of `packed`: a zero level becomes the trivial one in the middle."""
    out, flat = np.array(rows), rows[..., 2, UNITS] == 0
    out[flat, 2] = rows[flat, 1]
    out[flat, 1] = rows[flat, 0]
    out[flat, 1, UNITS] = 1
    return out


def without_trivial(mapping: Integers) -> Integers:
    """A mapping 3 x 14 without its trivial level, if it has one."""
    return mapping[[0, 2]] if trivial(mapping) else mapping


def runs(mappings: Integers, shallow: bool) -> Iterator[Integers]:
    """Mappings n x 3 x 14 in their order, in parts of equal depth without trivial levels."""
    flat = trivial(mappings) & shallow
    for two, places in groupby(range(len(mappings)), key=lambda i: bool(flat[i])):
        part = mappings[list(places)]
        yield part[:, [0, 2]] if two else part


def costs(problem: Problem, mappings: Integers, shallow: bool) -> tuple[Floats, Floats]:
    """Exact cycles and nJ of n mappings (n x 3 x 14), as `Problem.costs`."""
    parts = [problem.costs(part) for part in runs(mappings, shallow)]
    cycles, nj = (np.concatenate(each) for each in zip(*parts, strict=True))
    return cycles, nj
