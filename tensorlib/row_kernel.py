"""Rows of memory that loop nests read, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]

ROW = 16
ROWS = 1 << 12
"""Rows that an address of 16 bits reaches."""


@njit(cache=True)
def row_changes(bounds: Ints, strides: Ints, base: int) -> int:
    """Steps of a loop nest (loop 0 fastest) whose 16-byte row differs from the step before.

    Takes time per loop, not per step: what the loops inside one do depends on where in a row they
    begin, of which there are 16 places; how often they begin there repeats every 16 rounds.
    """
    loops = len(bounds)
    starts = np.zeros((loops + 1, ROW), dtype=np.bool_)  # places where the loops below may begin
    starts[loops, base % ROW] = True
    for loop in range(loops - 1, -1, -1):
        for place in range(ROW):
            if starts[loop + 1, place]:
                for n in range(min(bounds[loop], ROW)):
                    starts[loop, (place + n * strides[loop]) % ROW] = True
    changes = np.zeros(ROW, dtype=np.int64)  # of the loops below, by place
    reach = 0  # from their first address to their last
    for loop in range(loops):
        outer = np.zeros(ROW, dtype=np.int64)
        count, stride = bounds[loop], strides[loop]
        for place in range(ROW):
            if not starts[loop + 1, place]:
                continue
            total = 0
            for n in range(min(count, ROW)):
                begin = (place + n * stride) % ROW
                rounds = (count - n - 1) // ROW + 1
                total += rounds * changes[begin]
                last = begin + reach
                turns = rounds if (count - 1 - n) % ROW else rounds - 1  # all but the last round
                if ((begin + stride) // ROW - last // ROW) % ROWS != 0:
                    total += turns
            outer[place] = total
        changes = outer
        reach += (count - 1) * stride
    return changes[base % ROW] + 1
