"""Rows of memory that loop nests read, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tensorlib.compiled import INNER

Ints = NDArray[np.int64]

ROW = 16
ROOM = 10
ROWS = 1 << 12
"""Rows that an address of 16 bits reaches."""


@njit(**INNER)
def rows_of_nest(room: Ints, bounds: Ints, strides: Ints, loops: int, base: int) -> int:
    """As `row_changes`, of the first `loops` loops, without an array of its own.

    Args:
        room: scratch, `ROOM x ROW`.
    """
    starts, changes, outer = room[: loops + 1], room[ROOM - 2], room[ROOM - 1]
    starts[:] = 0  # places where the loops below may begin
    starts[loops, base % ROW] = 1
    for loop in range(loops - 1, -1, -1):
        for place in range(ROW):
            if starts[loop + 1, place]:
                for n in range(min(bounds[loop], ROW)):
                    starts[loop, (place + n * strides[loop]) % ROW] = 1
    changes[:] = 0  # of the loops below, by place
    reach = 0  # from their first address to their last
    for loop in range(loops):
        count, stride = bounds[loop], strides[loop]
        for place in range(ROW):
            if not starts[loop + 1, place]:
                continue
            total = 0
            for n in range(min(count, ROW)):
                begin = (place + n * stride) % ROW
                rounds = (count - n - 1) // ROW + 1
                total += rounds * changes[begin]
                turns = rounds if (count - 1 - n) % ROW else rounds - 1  # all but the last round
                if ((begin + stride) // ROW - (begin + reach) // ROW) % ROWS != 0:
                    total += turns
            outer[place] = total
        for place in range(ROW):
            changes[place] = outer[place]
        reach += (count - 1) * stride
    return changes[base % ROW] + 1


@njit(cache=True)
def row_changes(bounds: Ints, strides: Ints, base: int) -> int:
    """Steps of a loop nest (loop 0 fastest) whose 16-byte row differs from the step before.

    Takes time per loop, not per step: what the loops inside one do depends on where in a row they
    begin, of which there are 16 places; how often they begin there repeats every 16 rounds.
    """
    room = np.zeros((ROOM, ROW), dtype=np.int64)
    return rows_of_nest(room, bounds, strides, len(bounds), base)
