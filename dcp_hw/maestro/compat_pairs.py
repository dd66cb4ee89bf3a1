"""Cases of levels with two spatial loops, compiled: their factors are sums over units.

Where this module and `compat_volumes` differ, the latter is right.
"""

from __future__ import annotations

from numba import njit

from dcp_hw.maestro.compat_build import (
    COUPLED,
    DIM,
    DIMS,
    EDGE,
    EDGE_UNITS,
    ENTRY,
    FILTER,
    FIRST,
    HEAD,
    INPUT,
    MAPPED,
    MAPPED_EDGE,
    OUTPUT,
    PARTIAL,
    POSITION,
    RANK,
    SECOND,
    UNIQUE,
    UNIQUE_EDGE,
    UNITS,
    Ints,
)
from dcp_hw.maestro.compat_cases import (
    CODE,
    CRITICAL,
    FLAGS,
    INIT,
    LAST,
    MACS,
    MOVING,
    MOVING_LOOP,
    OUT,
    STARTS_OVER,
    STATE,
    STATE_FIRST,
    STATE_SECOND,
    WIDTH,
    load_one,
)
from dcp_hw.maestro.honest_axis import LEAN


@njit(**LEAN)
def spread(w: Ints, loops: Ints, cases: Ints, level: int, at: int, place_a: int, place_b: int
           ) -> None:  # fmt: skip
    """Multiply a case by the factors of the level's two spatial loops.

    Args:
        place_a, place_b: where the loops stand in the table.
    """
    a, b, code = w[level, HEAD, FIRST], w[level, HEAD, SECOND], cases[level, at, CODE]
    _stand(w, loops, level, a, place_a, code >> STATE_FIRST & 3)
    _stand(w, loops, level, b, place_b, code >> STATE_SECOND & 3)
    made, slowest, macs = _make_two(w, level)
    cases[level, at, OUT] *= made
    cases[level, at, CRITICAL] *= slowest
    cases[level, at, MACS] *= macs
    moving = (code >> MOVING_LOOP & 15) - 1
    for tensor in (INPUT, FILTER):
        fresh = moving < 0 or (code >> (STARTS_OVER + tensor) & 1) != 0
        cases[level, at, MOVING + tensor] *= _load(w, level, tensor, a, b, moving, fresh)


@njit(**LEAN)
def _stand(w: Ints, loops: Ints, level: int, i: int, place: int, state: int) -> None:
    """Let spatial loop i stand in a state."""
    flags = loops[level, place, STATE + WIDTH * state + FLAGS]
    w[level, POSITION, i] = flags & 3
    w[level, EDGE, i] = flags >> 2 & 1
    w[level, PARTIAL, i] = flags >> 3 & 1


@njit(**LEAN)
def _edges(w: Ints, level: int, a: int, b: int) -> int:
    """2 if spatial loop a or b (-1: none) is at an edge, + 1 if the last one's is partial."""
    edge = partial = False
    if a >= 0:
        edge = w[level, EDGE, a] != 0
        partial = w[level, PARTIAL, a] != 0
    if b >= 0:
        edge = edge or w[level, EDGE, b] != 0
        rank_b = w[0, RANK, w[level, ENTRY + DIM, b]]
        if a < 0 or rank_b > w[0, RANK, w[level, ENTRY + DIM, a]]:
            partial = w[level, PARTIAL, b] != 0
    return (2 if edge else 0) + (1 if partial else 0)


# ----------------------------------------------------------------------------- operands


@njit(**LEAN)
def _load(w: Ints, level: int, tensor: int, a: int, b: int, moving: int, fresh: bool
          ) -> int:  # fmt: skip
    """Factor of both loops in an operand, summed over the units of the level."""
    if not w[0, COUPLED + tensor, w[level, ENTRY + DIM, a]]:
        a = -1
    if not w[0, COUPLED + tensor, w[level, ENTRY + DIM, b]]:
        b = -1
    if a >= 0 and b >= 0:
        return _load_two(w, level, a, b, moving, fresh)
    i = max(a, b)
    if i < 0:
        return 1
    shares = moving >= 0 and _shares(w, level, i, moving, fresh)
    edge, partial = w[level, EDGE, i], w[level, PARTIAL, i]
    return load_one(w, level, w[level, ENTRY + DIM, i], edge, partial, shares, moving < 0)


@njit(**LEAN)
def _shares(w: Ints, level: int, i: int, moving: int, fresh: bool) -> bool:
    """Whether units share elements along spatial loop i while a loop moves."""
    return i > moving if w[level, POSITION, i] == INIT else i == moving and not fresh


@njit(**LEAN)
def _load_two(w: Ints, level: int, a: int, b: int, moving: int, fresh: bool) -> int:
    """Factor of an operand's two spatial loops, summed over the units of the level."""
    edges, active = _edges(w, level, a, b), w[level, HEAD, EDGE_UNITS]
    alone = edges == 3 and active == 1
    total = _loaded(w, level, a, moving, fresh, True, alone) * _loaded(
        w, level, b, moving, fresh, True, alone
    )
    full = active - 1 - (edges & 1) if edges >= 2 else w[level, HEAD, UNITS] - 1
    if full > 0:
        total += full * (
            _loaded(w, level, a, moving, fresh, False, False)
            * _loaded(w, level, b, moving, fresh, False, False)
        )
    if edges == 3 and active > 1:
        total += _loaded(w, level, a, moving, fresh, False, True) * _loaded(
            w, level, b, moving, fresh, False, True
        )
    return total


@njit(**LEAN)
def _loaded(w: Ints, level: int, i: int, moving: int, fresh: bool, first: bool,
            partial: bool) -> int:  # fmt: skip
    """Factor of spatial loop i in what a unit loads of an operand."""
    dim = w[level, ENTRY + DIM, i]
    if moving < 0:
        edge = w[level, EDGE, i] != 0
        if edge:
            if w[level, HEAD, EDGE_UNITS] > 1:
                edge = partial
            elif not (first or partial):
                return 1
        return w[level, MAPPED_EDGE if edge else MAPPED, dim]
    if not first and _shares(w, level, i, moving, fresh):
        return w[level, UNIQUE_EDGE if partial else UNIQUE, dim]
    return w[level, MAPPED_EDGE if partial else MAPPED, dim]


# ------------------------------------------------------------------------------- output


@njit(**LEAN)
def _produced(w: Ints, level: int, i: int, is_output: bool, first: bool, partial: bool,
              reuse: bool) -> int:  # fmt: skip
    """Factor of spatial loop i in what a unit produces; 1 for no loop (i < 0)."""
    if i < 0:
        return 1
    dim, position = w[level, ENTRY + DIM, i], w[level, POSITION, i]
    name = dim + DIMS if is_output else dim
    if position == INIT and w[level, EDGE, i] and partial:
        if w[level, HEAD, EDGE_UNITS] > 1 and is_output and reuse:
            return w[level, UNIQUE_EDGE, name]
        return w[level, MAPPED_EDGE, name]
    if position == LAST:
        if w[level, HEAD, EDGE_UNITS] == 1:  # input extent even for an output
            return w[level, MAPPED_EDGE, dim] if first or partial else 1
        if partial:
            return w[level, UNIQUE_EDGE, name]
    return w[level, MAPPED, name] if first else max(w[level, UNIQUE, name], 1)


@njit(**LEAN)
def _made(w: Ints, level: int, a: int, b: int, c: int, d: int, first: bool, partial: bool,
          reuse: bool) -> int:  # fmt: skip
    """What a unit makes along spatial loops: a, b of the output, c, d of the reduction."""
    return (
        _produced(w, level, a, True, first, partial, reuse)
        * _produced(w, level, b, True, first, partial, reuse)
        * _produced(w, level, c, False, first, partial, reuse)
        * _produced(w, level, d, False, first, partial, reuse)
    )


@njit(**LEAN)
def _make_two(w: Ints, level: int) -> tuple[int, int, int]:
    """Factors in outputs of all units, in MACs of the slowest and in all MACs."""
    first, second = w[level, HEAD, FIRST], w[level, HEAD, SECOND]
    active, units = w[level, HEAD, EDGE_UNITS], w[level, HEAD, UNITS]
    a, c = (first, -1) if w[0, COUPLED + OUTPUT, w[level, ENTRY + DIM, first]] else (-1, first)
    b, d = (second, -1) if w[0, COUPLED + OUTPUT, w[level, ENTRY + DIM, second]] else (-1, second)
    edges = _edges(w, level, a, b)
    alone = edges == 3 and active == 1
    slowest = _made(w, level, a, b, c, d, True, alone, True)
    made = _made(w, level, a, b, -1, -1, True, alone, True)
    if a >= 0 or b >= 0:
        full = active - 1 - (edges & 1) if edges >= 2 else units - 1
        if full > 0:
            made += full * _made(w, level, a, b, -1, -1, False, False, True)
        if edges == 3 and active > 1:
            made += _made(w, level, a, b, -1, -1, False, True, True)
    if level > 0:
        return made, slowest, 0
    # all MACs: every spatial loop counts, and the last in the list tells of a partial tile
    edge = w[level, EDGE, first] != 0 or w[level, EDGE, second] != 0
    partial = w[level, PARTIAL, second] != 0
    if not edge:
        return made, slowest, units * _made(w, level, a, b, c, d, True, False, True)
    macs = _made(w, level, a, b, c, d, True, partial and active == 1, True)
    full = active - 1 - (1 if partial else 0)
    if full > 0:
        macs += full * _made(w, level, a, b, c, d, True, False, True)
    if partial and active > 1:
        macs += _made(w, level, a, b, c, d, False, True, False)
    return made, slowest, macs
