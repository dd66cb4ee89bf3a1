"""The order in which the cases of a level are walked, compiled; see `compat_cases`."""

from __future__ import annotations

from numba import njit

from dcp_hw.maestro.compat_build import BEFORE, COUNT, HEAD, NOW, OFTEN, POSITION, STATES, Ints
from dcp_hw.maestro.compat_cases import LAST, STEADY, extend


@njit(cache=True, nogil=True, error_model="numpy")
def advance(w: Ints, level: int, moving: int) -> int:
    """The moving loop of the next case in MAESTRO's order, -1 at the end.

    The order: all loops at their start; then a counter whose digits run 1, 2, ..., 0.
    """
    count, changed = w[level, HEAD, COUNT], 0
    if moving < 0:
        for j in range(count):
            w[level, NOW, j] = 1 if w[level, STATES, j] > 1 else 0
    else:
        for i in range(count - 1, -1, -1):
            if w[level, STATES, i] > 1:
                w[level, NOW, i] += 1
                if w[level, NOW, i] == w[level, STATES, i]:
                    w[level, NOW, i] = 0
                    changed = i
                    break
                if w[level, NOW, i] > 1:
                    changed = i
                    break
    moving = -1
    for j in range(count - 1, -1, -1):
        if w[level, NOW, j] > 0:
            moving = j
            break
    for j in range(changed, moving + 1):
        state = w[level, NOW, j]
        extend(w, level, j, state, w[level, OFTEN + state, j], BEFORE, j, j + 1)
    return moving


@njit(cache=True, nogil=True, error_model="numpy")
def advance_grouped(w: Ints, level: int, moving: int) -> int:
    """As `advance`, but first and steady iterations of loops outside of the moving one are one.

    They have the same volumes. Such a loop is either at its first state, which then stands for
    the steady ones too, or at its last. The order is another one.
    """
    count = w[level, HEAD, COUNT]
    if moving >= 0:
        state = w[level, NOW, moving] + 1
        if state < w[level, STATES, moving]:
            w[level, NOW, moving] = state
            often = w[level, OFTEN + state, moving]
            extend(w, level, moving, state, often, BEFORE, moving, moving + 1)
            return moving
        w[level, NOW, moving] = 0
    begin = max(moving, 0)
    for j in range(moving + 1, count):
        if w[level, STATES, j] > 1:
            return _move(w, level, begin, j)
    for i in range(moving - 1, -1, -1):
        last = w[level, STATES, i] - 1
        if w[level, NOW, i] > 0:
            w[level, NOW, i] = 0
        elif last > 0 and w[level, POSITION + last, i] == LAST:
            w[level, NOW, i] = last
            for j in range(i + 1, count):
                if w[level, STATES, j] > 1:
                    return _move(w, level, i, j)
    return -1


@njit(cache=True, nogil=True, error_model="numpy")
def _move(w: Ints, level: int, begin: int, moving: int) -> int:
    """Let loop `moving` take its second state, with the products of loops from `begin` on."""
    for i in range(begin, moving):
        state, often = w[level, NOW, i], 1
        if state == 0 and w[level, STATES, i] > 1 and w[level, POSITION + 1, i] == STEADY:
            often += w[level, OFTEN + 1, i]
        extend(w, level, i, state, often, BEFORE, i, i + 1)
    w[level, NOW, moving] = 1
    extend(w, level, moving, 1, w[level, OFTEN + 1, moving], BEFORE, moving, moving + 1)
    return moving
