"""Volumes of one iteration case, compiled: `compat_volumes` on the scratch array.

A case is one state of every loop. Its volumes are products of one factor per loop, and a loop
behind the innermost moving one stands at its start. So the cases are walked like a counter, in
MAESTRO's order, with products over the loops before the moving one (BEFORE) and over those behind
it (AFTER) at hand. Where this module and `compat_volumes` differ, the latter is right.
"""

from __future__ import annotations

from numba import njit

from dcp_hw.maestro.compat_build import (
    AFTER,
    BEFORE,
    COUNT,
    COUPLED,
    DIM,
    DIMS,
    EDGE,
    EDGE_UNITS,
    ENTRY,
    FILTER,
    FIRST,
    GIVEN,
    HEAD,
    INPUT,
    KIND,
    MAPPED,
    MAPPED_EDGE,
    NOW,
    OFFSET,
    OFTEN,
    OUTPUT,
    PARTIAL,
    POSITION,
    RANK,
    SECOND,
    SIZE,
    SPATIAL,
    STATES,
    TEMPORAL,
    UNIQUE,
    UNIQUE_EDGE,
    UNITS,
    Ints,
    crash,
    divide,
)
from dcp_hw.maestro.compat_reasons import Reason

INIT, STEADY, LAST = 0, 1, 2

# Products over temporal loops: volumes of input and filter, outputs, reduction. How often the case
# occurs. Which loops hand down their last tile. Behind a loop: which operands have a loop that
# starts over (bit 0: input, bit 1: filter).
P_IN, P_FILTER, P_OUT, P_REDUCE, P_OFTEN, P_MASK, P_FRESH = range(7)

_NOTHING_NEW = int(Reason.NOTHING_NEW)


@njit(cache=True, nogil=True, error_model="numpy")
def loop_states(w: Ints, level: int) -> None:
    """Fill in the states of every loop and the products over loops at their start."""
    count, units = w[level, HEAD, COUNT], w[level, HEAD, UNITS]
    for q in range(7):
        w[level, AFTER + q, count] = 0 if q >= P_MASK else 1
        w[level, BEFORE + q, 0] = 0 if q >= P_MASK else 1
    for i in range(count - 1, -1, -1):
        dim, size = w[level, ENTRY + DIM, i], w[level, ENTRY + SIZE, i]
        offset, whole = w[level, ENTRY + OFFSET, i], w[level, GIVEN, dim]
        if w[level, ENTRY + KIND, i] == TEMPORAL:
            _add_state(w, level, i, 0, 1, INIT, whole < size, False)
            n, steps = 1, divide(whole - size, offset)
            if size < whole and steps > 0:
                _add_state(w, level, i, n, steps, STEADY, False, False)
                n += 1
            if whole >= size and steps * offset + size < whole:
                _add_state(w, level, i, n, 1, LAST, True, False)
                n += 1
            span = size
        else:
            span, fold = size + offset * (units - 1), offset * units
            _add_state(w, level, i, 0, 1, INIT, whole < span, whole < span)
            n, folds = 1, divide(divide(whole - size, offset) + 1, units) - 1
            if span < whole and folds > 0:
                _add_state(w, level, i, n, folds, STEADY, False, False)
                n += 1
            if whole > span and (folds + 1) * fold + span > whole and folds * fold + span != whole:
                rest = whole - (folds + 1) * fold
                active = 1 if rest < size else (rest - size) // offset + 1
                partial = (active - 1) * offset + size < rest
                _add_state(w, level, i, n, 1, LAST, True, partial)
                n += 1
        w[level, STATES, i] = n
        extend(w, level, i, 0, 1, AFTER, i + 1, i)
        if whole > span:
            fresh = w[0, COUPLED + INPUT, dim] | w[0, COUPLED + FILTER, dim] << 1
            w[level, AFTER + P_FRESH, i] |= fresh


@njit(cache=True, nogil=True, error_model="numpy")
def _add_state(w: Ints, level: int, i: int, state: int, often: int, position: int, edge: bool,
               partial: bool) -> None:  # fmt: skip
    w[level, OFTEN + state, i] = often
    w[level, POSITION + state, i] = position
    w[level, EDGE + state, i] = edge
    w[level, PARTIAL + state, i] = partial


@njit(cache=True, nogil=True, error_model="numpy")
def extend(w: Ints, level: int, i: int, state: int, often: int, row: int, source: int,
           target: int) -> None:  # fmt: skip
    """Products at place `target` = those at `source` times the factors of loop i in a state.

    A moving loop's factor in P_IN and P_FILTER is that of a loop outside of the moving one.

    Args:
        often: iterations that stand for this state.
    """
    dim, edge = w[level, ENTRY + DIM, i], w[level, EDGE + state, i] != 0
    operand_in, operand_filter = w[level, row + P_IN, source], w[level, row + P_FILTER, source]
    out, reduce = w[level, row + P_OUT, source], w[level, row + P_REDUCE, source]
    mask = w[level, row + P_MASK, source]
    if w[level, ENTRY + KIND, i] == SPATIAL:
        if edge and w[level, HEAD, EDGE_UNITS] == 1:
            mask |= 1 << i
    else:
        loaded = w[level, MAPPED_EDGE if edge and state == 0 else MAPPED, dim]
        held = MAPPED_EDGE if edge else MAPPED
        if w[0, COUPLED + INPUT, dim]:
            operand_in *= loaded
        if w[0, COUPLED + FILTER, dim]:
            operand_filter *= loaded
        if w[0, COUPLED + OUTPUT, dim]:
            out *= w[level, held, DIMS + dim]
        else:
            reduce *= w[level, held, dim]
        if edge:
            mask |= 1 << i
    w[level, row + P_IN, target], w[level, row + P_FILTER, target] = operand_in, operand_filter
    w[level, row + P_OUT, target], w[level, row + P_REDUCE, target] = out, reduce
    w[level, row + P_OFTEN, target] = w[level, row + P_OFTEN, source] * often
    w[level, row + P_MASK, target] = mask
    w[level, row + P_FRESH, target] = w[level, row + P_FRESH, source]


@njit(cache=True, nogil=True, error_model="numpy")
def _loaded(w: Ints, level: int, i: int, moving: int, fresh: bool, first: bool,
            partial: bool) -> int:  # fmt: skip
    """Factor of spatial loop i in what a unit loads of an operand."""
    dim, state = w[level, ENTRY + DIM, i], w[level, NOW, i]
    if moving < 0:
        edge = w[level, EDGE + state, i] != 0
        if edge:
            if w[level, HEAD, EDGE_UNITS] > 1:
                edge = partial
            elif not (first or partial):
                return 1
        return w[level, MAPPED_EDGE if edge else MAPPED, dim]
    shares = i > moving if state == 0 else i == moving and not fresh
    if shares and not first:
        return w[level, UNIQUE_EDGE if partial else UNIQUE, dim]
    return w[level, MAPPED_EDGE if partial else MAPPED, dim]


@njit(cache=True, nogil=True, error_model="numpy")
def _produced(w: Ints, level: int, i: int, is_output: bool, first: bool, partial: bool,
              reuse: bool) -> int:  # fmt: skip
    """Factor of spatial loop i in what a unit produces; 1 for no loop (i < 0)."""
    if i < 0:
        return 1
    dim, state = w[level, ENTRY + DIM, i], w[level, NOW, i]
    name = dim + DIMS if is_output else dim
    position, edge = w[level, POSITION + state, i], w[level, EDGE + state, i]
    if position == INIT and edge and partial:
        if w[level, HEAD, EDGE_UNITS] > 1 and is_output and reuse:
            return w[level, UNIQUE_EDGE, name]
        return w[level, MAPPED_EDGE, name]
    if position == LAST:
        if w[level, HEAD, EDGE_UNITS] == 1:  # input extent even for an output
            return w[level, MAPPED_EDGE, dim] if first or partial else 1
        if partial:
            return w[level, UNIQUE_EDGE, name]
    return w[level, MAPPED, name] if first else max(w[level, UNIQUE, name], 1)


@njit(cache=True, nogil=True, error_model="numpy")
def _edges(w: Ints, level: int, a: int, b: int) -> int:
    """2 if spatial loop a or b (-1: none) is at an edge, + 1 if the last one's is partial."""
    edge = partial = False
    if a >= 0:
        edge = w[level, EDGE + w[level, NOW, a], a] != 0
        partial = w[level, PARTIAL + w[level, NOW, a], a] != 0
    if b >= 0:
        edge = edge or w[level, EDGE + w[level, NOW, b], b] != 0
        rank_b = w[0, RANK, w[level, ENTRY + DIM, b]]
        if a < 0 or rank_b > w[0, RANK, w[level, ENTRY + DIM, a]]:
            partial = w[level, PARTIAL + w[level, NOW, b], b] != 0
    return (2 if edge else 0) + (1 if partial else 0)


@njit(cache=True, nogil=True, error_model="numpy")
def ingress(w: Ints, level: int, tensor: int, moving: int) -> int:
    """Elements of an operand that enter the level; -1 where MAESTRO ends."""
    base, fresh = w[level, AFTER + tensor, moving + 1], True
    if moving >= 0:
        dim = w[level, ENTRY + DIM, moving]
        if not w[0, COUPLED + tensor, dim]:
            return 0
        base *= w[level, BEFORE + tensor, moving]
        fresh = (w[level, AFTER + P_FRESH, moving + 1] >> tensor & 1) != 0
        if w[level, ENTRY + KIND, moving] == TEMPORAL:
            if not fresh and w[level, UNIQUE, dim] == 0:
                crash(w, _NOTHING_NEW, dim, 0, 0)
                return -1
            base *= w[level, MAPPED if fresh else UNIQUE, dim]
    a, b = w[level, HEAD, FIRST], w[level, HEAD, SECOND]
    if not w[0, COUPLED + tensor, w[level, ENTRY + DIM, a]]:
        a = -1
    if b >= 0 and not w[0, COUPLED + tensor, w[level, ENTRY + DIM, b]]:
        b = -1
    if a < 0 and b < 0:
        return base
    if a < 0 or b < 0:
        return base * _load_one(w, level, max(a, b), moving, fresh)
    return base * _load_two(w, level, a, b, moving, fresh)


@njit(cache=True, nogil=True, error_model="numpy")
def _load_one(w: Ints, level: int, i: int, moving: int, fresh: bool) -> int:
    """Factor of an operand's only spatial loop, summed over the units of the level."""
    dim, state = w[level, ENTRY + DIM, i], w[level, NOW, i]
    shares = moving >= 0 and (i > moving if state == 0 else i == moving and not fresh)
    full = w[level, MAPPED, dim]
    rest = w[level, UNIQUE, dim] if shares else full
    if w[level, EDGE + state, i] == 0:
        return full + (w[level, HEAD, UNITS] - 1) * rest
    part, active = w[level, MAPPED_EDGE, dim], w[level, HEAD, EDGE_UNITS]
    partial = w[level, PARTIAL + state, i]
    if active == 1:
        return part if partial or moving < 0 else full
    total = full + max(active - partial - 1, 0) * rest
    if partial:
        total += w[level, UNIQUE_EDGE, dim] if shares else part
    return total


@njit(cache=True, nogil=True, error_model="numpy")
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


@njit(cache=True, nogil=True, error_model="numpy")
def _made(w: Ints, level: int, a: int, b: int, c: int, d: int, first: bool, partial: bool,
          reuse: bool) -> int:  # fmt: skip
    """What a unit makes along spatial loops: a, b of the output, c, d of the reduction."""
    return (
        _produced(w, level, a, True, first, partial, reuse)
        * _produced(w, level, b, True, first, partial, reuse)
        * _produced(w, level, c, False, first, partial, reuse)
        * _produced(w, level, d, False, first, partial, reuse)
    )


@njit(cache=True, nogil=True, error_model="numpy")
def case_volumes(w: Ints, level: int, moving: int, top: bool) -> tuple[int, int, int]:
    """Egress, MACs of the slowest unit and, at the top level, all MACs of the present case."""
    after, before = moving + 1, max(moving + 1, 0)
    outputs = w[level, AFTER + P_OUT, after] * w[level, BEFORE + P_OUT, before]
    reduction = w[level, AFTER + P_REDUCE, after] * w[level, BEFORE + P_REDUCE, before]
    if w[level, HEAD, SECOND] < 0:
        made, slowest, macs = _make_one(w, level, w[level, HEAD, FIRST])
    else:
        made, slowest, macs = _make_two(w, level, top)
    return outputs * made, outputs * reduction * slowest, outputs * reduction * macs


@njit(cache=True, nogil=True, error_model="numpy")
def _make_one(w: Ints, level: int, i: int) -> tuple[int, int, int]:
    """Factors of the only spatial loop: outputs of all units, MACs of the slowest, all MACs."""
    dim, state = w[level, ENTRY + DIM, i], w[level, NOW, i]
    is_output = w[0, COUPLED + OUTPUT, dim] != 0
    name = dim + DIMS if is_output else dim
    full, units = w[level, MAPPED, name], w[level, HEAD, UNITS]
    shared = max(w[level, UNIQUE, name], 1)
    if w[level, EDGE + state, i] == 0:
        return full + (units - 1) * shared if is_output else 1, full, units * full
    active, partial = w[level, HEAD, EDGE_UNITS], w[level, PARTIAL + state, i]
    begins = w[level, POSITION + state, i] == INIT
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


@njit(cache=True, nogil=True, error_model="numpy")
def _make_two(w: Ints, level: int, top: bool) -> tuple[int, int, int]:
    """As `_make_one`, of two spatial loops."""
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
    if not top:
        return made, slowest, 0
    # all MACs: every spatial loop counts, and the last in the list tells of a partial tile
    edge = w[level, EDGE + w[level, NOW, first], first] != 0
    edge = edge or w[level, EDGE + w[level, NOW, second], second] != 0
    partial = w[level, PARTIAL + w[level, NOW, second], second] != 0
    if not edge:
        return made, slowest, units * _made(w, level, a, b, c, d, True, False, True)
    macs = _made(w, level, a, b, c, d, True, partial and active == 1, True)
    full = active - 1 - (1 if partial else 0)
    if full > 0:
        macs += full * _made(w, level, a, b, c, d, True, False, True)
    if partial and active > 1:
        macs += _made(w, level, a, b, c, d, False, True, False)
    return made, slowest, macs
