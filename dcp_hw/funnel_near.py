"""From the array shapes that propagation proposes to the designs that are checked.

A predictor knows a design by the programs that propagation found for it; the bound of all programs
(`bounds_programs`) is closer to the best one. It chooses among proposed shapes, those near the best
of them, and their memory splits.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np

from dcp_hw.bounds_programs import BELOW, PointBound
from dcp_hw.candidates import SPLITS, Candidate, Point, Style
from dcp_hw.hardware import Hardware
from dcp_hw.problem import ceil_div
from dcp_hw.space import letters, shapes_of, space
from dcp_hw.tensorlib_dcp_code import style_fields
from dcp_hw.workload import Layer
from tensorlib.design import Design

Kind = tuple[str, ...]
Key = tuple[Point, int]
"""A shape, and the number of a memory split."""

SHAPES = 32
"""Proposed shapes that are bounded, besides two of every kind."""
ROUNDS, BEST = 4, 8
"""Times that the shapes near the best ones are bounded, and how many best ones."""
OF_A_SHAPE, OF_A_KIND = 2, 6
"""Designs of one shape, and of arrays that share the same along their axes, checked at most."""
_SLACK = 1.3


def likely(
    layer: Layer,
    proposed: Sequence[Point],
    hardware: Hardware,
    objective: str,
    checks: int,
    within: Container[Point] | None = None,
) -> list[tuple[Key, Candidate]]:
    """Designs with the least bounds, best first.

    Args:
        proposed: shapes, best first.
        within: shapes to look at; all by default.
    """
    values: dict[Key, float] = {}
    seen: dict[Point, float] = {}
    kinds: dict[Kind, list[float]] = {}

    def look(point: Point) -> None:
        if point in seen or (within is not None and point not in within):
            return
        roof = _roof(kinds, 2 * checks)
        bound = PointBound(layer, probe(point), hardware, {objective: roof}, slack=_SLACK)
        seen[point] = bound.least(BELOW, objective, roof).value
        if seen[point] >= roof:
            return
        for n in range(len(SPLITS)):
            values[point, n] = bound.least(n, objective, roof).value
        some = heapq.nsmallest(OF_A_SHAPE, (values[point, n] for n in range(len(SPLITS))))
        mine = kinds.setdefault(kind(point.style), [])
        mine[:] = heapq.nsmallest(OF_A_KIND, (*mine, *some))

    often: Counter[Kind] = Counter()
    for n, point in enumerate(proposed):
        often[kind(point.style)] += 1
        if n < SHAPES or often[kind(point.style)] <= 2:
            look(point)
    for point in _few_of_a_kind(seen, len(seen), 1):
        for rows, cols in _fitting(point.style, hardware.pes, _sides(layer)):
            look(Point(style=point.style, rows=rows, cols=cols))
    for _ in range(ROUNDS):
        for point in _few_of_a_kind(seen, BEST, 3):
            for other in near(point, hardware.pes):
                look(other)
    return _taken(values, hardware, checks)


def _roof(kinds: Mapping[Kind, Sequence[float]], number: int) -> float:
    """The value of which so many designs are below, no more of a kind than may be checked."""
    best = sorted(x for values in kinds.values() for x in values)
    return best[number] if len(best) > number else np.inf


@lru_cache(maxsize=1024)
def kind(style: Style) -> Kind:
    """What PEs share along the two axes, whichever is which."""
    return tuple(sorted(letters(style.wires)))


def _few_of_a_kind(seen: Mapping[Point, float], number: int, most: int) -> list[Point]:
    """The best shapes, at most so many of a kind."""
    often: Counter[Kind] = Counter()
    found: list[Point] = []
    for point in sorted(seen, key=lambda x: seen[x]):
        often[kind(point.style)] += 1
        if often[kind(point.style)] <= most and len(found) < number:
            found.append(point)
    return found


def _taken(
    values: Mapping[Key, float], hardware: Hardware, checks: int
) -> list[tuple[Key, Candidate]]:
    """Designs by their values, few of a shape and kind: bounds of some kinds are less close.

    Of arrays that differ in what their bounds do not see (axes turned, banks shared where nothing
    lies along them) the first is taken.
    """
    often: Counter[Point] = Counter()
    kinds: Counter[Kind] = Counter()
    same: set[tuple[object, ...]] = set()
    chosen: list[tuple[Key, Candidate]] = []
    for point, split in sorted(values, key=lambda key: values[key]):
        candidate = point.candidate(SPLITS[split], hardware)
        full = often[point] == OF_A_SHAPE or kinds[kind(point.style)] == OF_A_KIND
        if candidate is None or full or values[point, split] == np.inf:
            continue
        sides = min(point.rows, point.cols), max(point.rows, point.cols)
        twin = kind(point.style), sides, split, values[point, split]
        if twin in same:
            continue
        same.add(twin)
        often[point] += 1
        kinds[kind(point.style)] += 1
        chosen.append(((point, split), candidate))
        if len(chosen) == checks:
            break
    return chosen


@lru_cache(maxsize=1 << 14)
def probe(point: Point) -> Design:
    """The array of a point; its memories do not matter."""
    return point.style.array(point.rows, point.cols, depth=1, words=1, name="probe")


def near(point: Point, pes: int) -> Iterator[Point]:
    """Shapes that differ in one thing: rows and columns, the array, or the axes turned."""
    for rows, cols in _sizes_near(point.style, point.rows, pes, 1):
        if rows != point.rows or cols != point.cols:
            yield Point(style=point.style, rows=rows, cols=cols)
    changed = [(style, point.rows) for style in _similar(point.style)]
    for style, wanted in (*changed, *((x, point.cols) for x in _turned(point.style))):
        for rows, cols in _sizes_near(style, wanted, pes, 0):
            yield Point(style=style, rows=rows, cols=cols)


@lru_cache(maxsize=1 << 10)
def halved(style: Style, pes: int) -> tuple[Point, ...]:
    """The shapes of an array with 2, 4, 8, ... rows."""
    wanted = [(n, max((c for r, c in _shapes(style, pes) if r == n), default=0))
              for n in (1 << i for i in range(1, pes.bit_length()))]  # fmt: skip
    return tuple(Point(style=style, rows=rows, cols=cols) for rows, cols in wanted if cols)


@lru_cache(maxsize=1 << 14)
def _sizes_near(style: Style, rows: int, pes: int, reach: int) -> tuple[tuple[int, int], ...]:
    """Legal shapes of about so many rows: these, and powers of two below and above.

    Args:
        reach: so many shapes further in the order of rows; then also half and twice the rows.
    """
    legal = sorted(_shapes(style, pes))
    below = 1 << (rows.bit_length() - 1)
    wanted = [rows, below, 2 * below]
    if reach:
        wanted += [rows // 2, 2 * rows, below // 2]
    found = {min(legal, key=lambda x, n=n: (abs(x[0] - n), -x[1])) for n in wanted}
    at = legal.index(min(legal, key=lambda x: (abs(x[0] - rows), -x[1])))
    found |= set(legal[max(0, at - reach) : at + reach + 1])
    return tuple(sorted(found))


def _sides(layer: Layer) -> frozenset[int]:
    """Lanes that rows, columns or taps of a layer fill; none where it has one tap."""
    taps = {layer.R * layer.S, layer.R, layer.S} - {1}
    pixels = {n for size in (layer.Y, layer.X) for n in (ceil_div(size, 2), size, 2 * size)}
    return frozenset(taps | pixels) if taps else frozenset()


@lru_cache(maxsize=1 << 12)
def _fitting(style: Style, pes: int, sides: frozenset[int]) -> tuple[tuple[int, int], ...]:
    """Legal shapes of an array, both of whose sides are among some."""
    return tuple(sorted(x for x in _shapes(style, pes) if sides.issuperset(x)))


@lru_cache(maxsize=1024)
def _shapes(style: Style, pes: int) -> frozenset[tuple[int, int]]:
    return frozenset(shapes_of(style, pes))


def _parts(style: Style) -> tuple[object, ...]:
    """What tells arrays apart: each axis, the diagonal, what is held and how, shared banks."""
    one, two, diagonal, held, chain_axis, *rest = style_fields(style)
    return one, two, diagonal, (held, chain_axis, *rest[:2]), tuple(rest[2:])


@lru_cache(maxsize=1024)
def _similar(style: Style) -> tuple[Style, ...]:
    """Arrays that differ in one part, or in an axis and in which banks are shared."""
    *mine, _ = _parts(style)
    found = []
    for other in space().arrays:
        *theirs, _ = _parts(other)
        changed = sum(a != b for a, b in zip(mine, theirs, strict=True))
        if changed <= 1 and other.key != style.key:
            found.append(other)
    return tuple(found)


@lru_cache(maxsize=1024)
def _turned(style: Style) -> tuple[Style, ...]:
    """Arrays that share along axis 1 what this one shares along axis 2, and the other way round."""
    one, two, diagonal, *_ = _parts(style)
    if one == two:
        return ()
    return tuple(x for x in space().arrays if _parts(x)[:3] == (two, one, diagonal))
