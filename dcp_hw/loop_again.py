"""The search after a fit: further designs, and further programs of the most promising ones.

Nothing is simulated and no Verilog is made; the exact cycle model answers, and the predictor
corrects what it says. The model's answers are counted (`Search`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from math import log

import numpy as np

from dcp_hw import search
from dcp_hw.candidates import SPLITS, Point
from dcp_hw.finetune import Predictor
from dcp_hw.known import SCREEN
from dcp_hw.loop_candidates import MORE, WIDE, WORSE, Option, Place, Pool
from dcp_hw.loop_guess import Guess, Measured, estimate, guess
from dcp_hw.mapping import Mapping
from dcp_hw.problem import Problem, ceil_div, problem_of
from dcp_hw.progress import progress
from tensorlib.design import Design

LOOK = 3
"""Programs of a layer with which a design is looked at first."""

BEST = 3
"""Designs of the least corrected EDP whose neighbours are looked at."""

DEEP, PROGRAMS = 4, 32
"""Designs that get further programs in a search, and how many of a layer at most."""

STEP = 8
"""Programs made of a program's neighbours, those of the least EDP by the model."""

SHAPES = 6
"""Shapes of the same style next to a design's that are its neighbours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a search after a fit did.

    Attributes:
        number: of the search, 1 for the first after a fit.
        designs: looked at for the first time, `candidates` of them run every layer.
        mappings, programs: that the exact model evaluated, by counts alone and by commands.
        promising: its best guess among designs that were not measured.
        corrected, modelled: EDP of that guess, by the predictor and by the model.
    """

    number: int
    designs: int
    candidates: int
    mappings: int
    programs: int
    promising: str
    corrected: float
    modelled: float


def search_again(pool: Pool, predictor: Predictor, measured: Measured, number: int) -> Search:
    """What was done; adds designs and programs to the pool."""
    before = pool.mappings, pool.programs
    guesses = _guesses(pool, predictor, measured)
    looked = found = 0
    places = proposals(pool, guesses)
    with progress(f"search {number}: designs", pool.task.search) as advance:
        while looked < pool.task.search and (place := next(places, None)) is not None:
            design = pool.design(place)
            if design is not None:
                looked += 1
                found += _look(pool, design, number)
                advance(1, design.name)
    guesses = _guesses(pool, predictor, measured)
    with progress(f"search {number}: programs", len(guesses[:DEEP])) as advance:
        for one in guesses[:DEEP]:
            deepen(pool, one, predictor, measured)
            advance(1, one.design)
    guesses = _guesses(pool, predictor, measured)
    done = {key.split()[0] for key in measured}
    new = [g for g in guesses if g.chosen[0].key.split()[0] not in done]
    best = (new or guesses)[0]
    counts = np.array([o.count for o in best.chosen])
    table = counts @ np.array([o.table_nj for o in best.chosen])
    return Search(
        number=number,
        designs=looked,
        candidates=found,
        mappings=pool.mappings - before[0],
        programs=pool.programs - before[1],
        promising=best.design,
        corrected=float(np.exp(best.value)),
        modelled=float(table * (counts @ np.array([o.cycles for o in best.chosen]))),
    )


def _guesses(pool: Pool, predictor: Predictor, measured: Measured) -> list[Guess]:
    """All designs, those of the least corrected EDP first."""
    found = [guess(name, rows, predictor, measured) for name, rows in pool.rows.items()]
    return sorted(found, key=lambda g: g.value)


def _look(pool: Pool, design: Design, number: int) -> bool:
    """Whether a design runs all layers; it gets a few programs of each."""
    rows = []
    for layer in pool.task.layers:
        mappings = pool.others(layer, design, SCREEN, LOOK)
        rows.append(pool.options(layer, design, mappings))
        if not rows[-1]:
            return False
    return pool.add(design, rows, number)


# --- designs ------------------------------------------------------------------------


def proposals(pool: Pool, guesses: Sequence[Guess]) -> Iterator[Place]:
    """Places that were not seen: neighbours of the best designs and points of all, in turn.

    Args:
        guesses: best first.
    """
    near = [neighbours(pool, pool.places[g.design]) for g in guesses[:BEST]]
    beside = chain.from_iterable(zip_longest(*near))
    for places in zip_longest(beside, ((n, SPLITS[0]) for n in ranked_points(pool, guesses))):
        for place in places:
            if place is not None and place not in pool.seen:
                yield place


def ranked_points(pool: Pool, guesses: Sequence[Guess]) -> list[int]:
    """Points by what their bound and the designs that were looked at let expect.

    ln(corrected EDP / bound) is that of the designs of the same style, else of those with the same
    roles of the axes, else of all; its median.
    """
    bounds = np.log(pool.field.network("edp"))
    gaps: dict[object, list[float]] = defaultdict(list)
    for one in guesses:
        number = pool.places[one.design][0]
        gap = one.value - bounds[number]
        for kind in _kinds(pool.field.points[number]):
            gaps[kind].append(gap)
    known = {kind: float(np.median(some)) for kind, some in gaps.items()}
    expected = [
        bound + next(known[kind] for kind in _kinds(point) if kind in known)
        for bound, point in zip(bounds.tolist(), pool.field.points, strict=True)
    ]
    return np.argsort(expected, kind="stable").tolist()


def _kinds(point: Point) -> tuple[object, ...]:
    """What a point has in common with others, most telling first."""
    return point.style.key, point.style.loops[:2], None


def neighbours(pool: Pool, place: Place) -> Iterator[Place]:
    """Places that differ in one thing: memory split, shape, or what the array holds and shares."""
    number, split = place
    point = pool.field.points[number]
    splits = [(number, other) for other in SPLITS if other != split]
    same = [
        (n, other)
        for n, other in enumerate(pool.field.points)
        if other.style.key == point.style.key and n != number
    ]
    same.sort(key=lambda item: _distance(item[1], point))
    shapes = [(n, split) for n, _ in same[:SHAPES]]
    styles = [
        (n, split)
        for n, other in enumerate(pool.field.points)
        if (other.rows, other.cols) == (point.rows, point.cols)
        and other.style.loops[:2] == point.style.loops[:2]
        and n != number
    ]
    for places in zip_longest(shapes, styles, splits):
        yield from (other for other in places if other is not None)


def _distance(one: Point, other: Point) -> float:
    return abs(log(one.rows / other.rows)) + abs(log(one.cols / other.cols))


# --- programs -----------------------------------------------------------------------


def deepen(pool: Pool, one: Guess, predictor: Predictor, measured: Measured) -> None:
    """Nothing; adds programs of each layer near those of the least corrected cost."""
    rows = pool.rows[one.design]

    def cost(options: Sequence[Option]) -> list[float]:
        seen = estimate(options, predictor, measured)
        share = np.exp(seen.energy[:, 0]) / one.energy_nj + np.exp(seen.cycles[:, 0]) / one.cycles
        return share.tolist()

    for layer, row in zip(pool.task.layers, rows, strict=True):
        design = row[0].design
        if len(row) <= LOOK:
            row += pool.options(layer, design, pool.others(layer, design, WIDE, MORE), row)
        costs = dict(zip([o.key for o in row], cost(row), strict=True))
        tried = {option.mapping for option in row}
        walked: set[Mapping] = set()
        room = pool.programs + PROGRAMS
        while pool.programs < room:
            left = [o for o in row if o.mapping not in walked]
            if not left:
                break
            start = min(left, key=lambda o: costs[o.key])
            walked.add(start.mapping)
            mappings = _beside(pool, start, tried, min(o.table_nj * o.cycles for o in row))
            tried |= set(mappings)
            new = pool.options(layer, design, mappings, row)
            row += new
            costs |= zip([o.key for o in new], cost(new), strict=True) if new else ()


def _beside(pool: Pool, start: Option, tried: set[Mapping], least: float) -> list[Mapping]:
    """Mappings that differ in a step from an option's, not tried, best first by the model."""
    problem = problem_of(start.layer, flat=start.mapping.flat)
    near = [*search.neighbours(start.mapping), *_resized(problem, start.mapping)]
    new = [m for m in dict.fromkeys(near) if m not in tried]
    values = pool.values(problem, start.design, new)
    good = sorted((item for item in values if item[0] <= WORSE * least), key=lambda i: i[0])
    return [mapping for _, mapping in good[:STEP]]


def _resized(problem: Problem, mapping: Mapping) -> Iterator[Mapping]:
    """Mappings with one tile half or twice as large, or of a tile less or more; cut alike."""
    lanes = dict(mapping.axis1 + mapping.axis2)
    for loop, tile, part in zip(
        "kcyx", ("kt", "ct", "yt", "xt"), ("ks", "", "ys", "xs"), strict=True
    ):
        whole = ceil_div(problem.size(loop), lanes.get(loop, 1))
        size = getattr(mapping, tile)
        tiles = ceil_div(whole, size)
        sizes = {size // 2, 2 * size, ceil_div(whole, tiles + 1)}
        sizes |= {ceil_div(whole, tiles - 1)} if tiles > 1 else set()
        for other in sorted(n for n in sizes - {size} if 1 <= n <= whole):
            change = {tile: other}
            if part:
                change[part] = ceil_div(other, ceil_div(size, getattr(mapping, part)))
            yield replace(mapping, **change)
