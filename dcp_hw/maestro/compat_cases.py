"""What the loops of a level contribute to the volumes of a case, compiled.

A case is one state of every loop, and its volumes are those of `compat_volumes`: products of one
factor per loop. The factors depend on the loop's state and, for operands, on where it stands to
the innermost loop that is past its start, the moving one. They are the same in all cases, so they
are looked up in a table. Only two spatial loops in one level do not factorise: a sum over units.
Where this module and `compat_volumes` differ, the latter is right.

The table is `level x place x field`. A loop has two places, its number and DIMS more: the size it
gets from the level above is that of a full tile or that of the last.
"""

from __future__ import annotations

from numba import njit

from dcp_hw.maestro.compat_build import (
    ABOVE,
    COUNT,
    COUPLED,
    DIM,
    DIMS,
    EDGE_UNITS,
    ENTRY,
    EXTENT,
    FILTER,
    FIRST,
    HEAD,
    INPUT,
    KIND,
    LOOP,
    MAPPED,
    MAPPED_EDGE,
    OFFSET,
    OUTPUT,
    RELEVANT,
    SECOND,
    SIZE,
    TEMPORAL,
    UNIQUE,
    UNIQUE_EDGE,
    UNITS,
    Ints,
    divide,
)
from dcp_hw.maestro.honest_axis import LEAN

INIT, STEADY, LAST = 0, 1, 2

# Fields of a loop: number of states and of iterations, whether there is a STEADY state, a number
# that tells apart what sizes lead to. Operands (bit 0: input, bit 1: filter) that the loop belongs
# to, that start over with it, that it cannot advance. Its factors in input and filter for a loop
# behind the moving one, and where no loop moves.
STATES, TOTAL, HAS_STEADY, SIGN, COUPLES, RENEWS, STUCK = range(7)
INSIDE, HELD = 7, 9
# Fields of a state: iterations, bits as below, factors in outputs, in MACs of the slowest unit and
# of all units, in input and filter for a loop outside of the moving one, and as the moving one.
STATE, WIDTH = 11, 10
OFTEN, CODE, OUT, CRITICAL, MACS, OUTSIDE, MOVING, FLAGS = 0, 1, 2, 3, 4, 5, 7, 9
FIELDS = STATE + 3 * WIDTH

# Bits of CODE. By loop: it hands down its last tile; a unit with a partial tile hands it down.
# The first spatial loop is at an edge, a partial one. States of the spatial loops where there are
# two. The moving loop + 1, operands that start over behind it, whether MAESTRO ends there.
PARTS = 16
FIRST_EDGE, FIRST_PARTIAL = 1 << 30, 1 << 31
STATE_FIRST, STATE_SECOND, MOVING_LOOP, STARTS_OVER = 32, 34, 36, 40
ENDS = 1 << 42


@njit(**LEAN)
def fill_loops(w: Ints, loops: Ints, level: int) -> None:
    """Fill in the table of a level, and the loops above whose last tile makes a difference."""
    relevant = 0
    for i in range(w[level, HEAD, COUNT]):
        dim = w[level, ENTRY + DIM, i]
        if level == 0:
            _fill(w, loops, level, i, i, w[0, EXTENT, dim])
            continue
        above, full = w[level - 1, LOOP, dim], w[level - 1, MAPPED, dim]
        last = w[level - 1, MAPPED_EDGE, dim]
        w[level, ABOVE, i] = above
        _fill(w, loops, level, i, i, full)
        if last != full:
            _fill(w, loops, level, i, DIMS + i, last)
            if loops[level, i, SIGN] != loops[level, DIMS + i, SIGN]:
                relevant |= 1 << above
    w[level, HEAD, RELEVANT] = relevant


@njit(**LEAN)
def _fill(w: Ints, loops: Ints, level: int, i: int, place: int, whole: int) -> None:
    """Fill in the table of one loop that got a size."""
    dim, size = w[level, ENTRY + DIM, i], w[level, ENTRY + SIZE, i]
    offset, units = w[level, ENTRY + OFFSET, i], w[level, HEAD, UNITS]
    couples = w[0, COUPLED + INPUT, dim] | w[0, COUPLED + FILTER, dim] << 1
    temporal = w[level, ENTRY + KIND, i] == TEMPORAL
    steady, rest, partial, span = 0, False, False, size
    if temporal:
        if whole > size:
            steady = divide(whole - size, offset)
            rest = steady * offset + size < whole
    else:
        span = size + offset * (units - 1)
        if whole > span:
            steady, rest, partial = _folds(whole, size, offset, units, span)
    loops[level, place, TOTAL] = 1 + steady + rest
    loops[level, place, HAS_STEADY] = steady > 0
    loops[level, place, SIGN] = -1 if whole < span else 4 * steady + 2 * rest + partial
    loops[level, place, COUPLES] = couples
    loops[level, place, RENEWS] = couples if whole > span else 0
    stuck = temporal and w[level, UNIQUE, dim] == 0
    loops[level, place, STUCK] = couples if stuck else 0
    n = 1 + (steady > 0) + rest
    loops[level, place, STATES] = n
    for state in range(n):
        begins, ends = state == 0, rest and state == n - 1
        edge = whole < span if begins else ends
        part = edge if begins else ends and partial
        often = 1 if begins or ends else steady
        if temporal:
            _temporal(w, loops, level, i, place, state, often, edge)
        else:
            position = INIT if begins else LAST if ends else STEADY
            flags = position | edge << 2 | part << 3
            _spatial(w, loops, level, i, place, state, often, flags)


@njit(**LEAN)
def _folds(whole: int, size: int, offset: int, units: int, span: int) -> tuple[int, bool, bool]:
    """Folds of a spatial loop after the first; whether a smaller one follows, with a part."""
    fold, folds = offset * units, divide(divide(whole - size, offset) + 1, units) - 1
    rest = (folds + 1) * fold + span > whole and folds * fold + span != whole
    if not rest:
        return max(folds, 0), False, False
    left = whole - (folds + 1) * fold
    active = 1 if left < size else divide(left - size, offset) + 1
    return max(folds, 0), True, (active - 1) * offset + size < left


@njit(**LEAN)
def _temporal(w: Ints, loops: Ints, level: int, i: int, place: int, state: int, often: int,
              edge: bool) -> None:  # fmt: skip
    """Fill in a state of a temporal loop."""
    dim, at = w[level, ENTRY + DIM, i], STATE + WIDTH * state
    held = MAPPED_EDGE if edge else MAPPED
    loops[level, place, at + OFTEN] = often
    loops[level, place, at + CODE] = 1 << i if edge else 0
    output = w[0, COUPLED + OUTPUT, dim] != 0
    made = w[level, held, DIMS + dim] if output else w[level, held, dim]
    loops[level, place, at + OUT] = made if output else 1
    loops[level, place, at + CRITICAL] = loops[level, place, at + MACS] = made
    loaded = w[level, held if state == 0 else MAPPED, dim]
    for tensor in (INPUT, FILTER):
        coupled = w[0, COUPLED + tensor, dim] != 0
        loops[level, place, at + OUTSIDE + tensor] = loaded if coupled else 1
        loops[level, place, at + MOVING + tensor] = w[level, UNIQUE, dim] if coupled else 0
        if state == 0:
            loops[level, place, INSIDE + tensor] = loaded if coupled else 1
            loops[level, place, HELD + tensor] = loaded if coupled else 1


@njit(**LEAN)
def _spatial(w: Ints, loops: Ints, level: int, i: int, place: int, state: int, often: int,
             flags: int) -> None:  # fmt: skip
    """Fill in a state of a spatial loop; of two, factors are 1, see `compat_pairs`.

    Args:
        flags: position, whether it is at an edge (4), and at a partial one (8).
    """
    dim, at = w[level, ENTRY + DIM, i], STATE + WIDTH * state
    two, edge, partial = w[level, HEAD, SECOND] >= 0, flags >> 2 & 1, flags >> 3 & 1
    code = 0
    if edge:
        code = 1 << (PARTS + i)
        if w[level, HEAD, EDGE_UNITS] == 1:
            code |= 1 << i
    if i == w[level, HEAD, FIRST]:
        code |= edge * FIRST_EDGE + partial * FIRST_PARTIAL
    if two:
        code |= state << (STATE_FIRST if i == w[level, HEAD, FIRST] else STATE_SECOND)
    loops[level, place, at + OFTEN], loops[level, place, at + CODE] = often, code
    loops[level, place, at + FLAGS] = flags
    made, slowest, macs = 1, 1, 1
    if not two:
        made, slowest, macs = _make_one(w, level, dim, flags)
    loops[level, place, at + OUT], loops[level, place, at + CRITICAL] = made, slowest
    loops[level, place, at + MACS] = macs
    for tensor in (INPUT, FILTER):
        outside = inside = held = 1
        moving = w[0, COUPLED + tensor, dim]
        if moving and not two:
            outside = load_one(w, level, dim, edge, partial, False, False)
            inside = moving = load_one(w, level, dim, edge, partial, True, False)
            held = load_one(w, level, dim, edge, partial, False, True)
        loops[level, place, at + OUTSIDE + tensor] = outside
        loops[level, place, at + MOVING + tensor] = moving
        if state == 0:
            loops[level, place, INSIDE + tensor] = inside
            loops[level, place, HELD + tensor] = held


@njit(**LEAN)
def load_one(w: Ints, level: int, dim: int, edge: int, partial: int, shares: bool, still: bool
              ) -> int:  # fmt: skip
    """Factor of an operand's only spatial loop, summed over the units of the level.

    Args:
        shares: a unit shares elements with the one before it.
        still: no loop moves.
    """
    full = w[level, MAPPED, dim]
    rest = w[level, UNIQUE, dim] if shares else full
    if not edge:
        return full + (w[level, HEAD, UNITS] - 1) * rest
    part, active = w[level, MAPPED_EDGE, dim], w[level, HEAD, EDGE_UNITS]
    if active == 1:
        return part if partial or still else full
    total = full + max(active - partial - 1, 0) * rest
    if partial:
        total += w[level, UNIQUE_EDGE, dim] if shares else part
    return total


@njit(**LEAN)
def _make_one(w: Ints, level: int, dim: int, flags: int) -> tuple[int, int, int]:
    """Factors of the only spatial loop: outputs of all units, MACs of the slowest, all MACs."""
    is_output = w[0, COUPLED + OUTPUT, dim] != 0
    name = dim + DIMS if is_output else dim
    full, units = w[level, MAPPED, name], w[level, HEAD, UNITS]
    shared = max(w[level, UNIQUE, name], 1)
    if not flags >> 2 & 1:
        return full + (units - 1) * shared if is_output else 1, full, units * full
    active, partial = w[level, HEAD, EDGE_UNITS], flags >> 3 & 1
    begins = flags & 3 == INIT
    if active == 1:
        part = w[level, MAPPED_EDGE, name if begins else dim]  # else input extent of an output
        if is_output:
            return part, part, part
        return 1, full if begins else part, part
    others = max(active - partial - 1, 0)
    made, macs = full + others * shared, full + others * full
    if partial:
        part = w[level, UNIQUE_EDGE, name]
        made += part
        macs += w[level, MAPPED_EDGE, name] if begins else part
    return made if is_output else 1, full, macs
