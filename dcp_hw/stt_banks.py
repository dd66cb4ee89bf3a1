"""How packed words find the banks of an operand."""

from __future__ import annotations

import numpy as np

from dcp_hw.stt_placement import Ints
from tensorlib.design import ROW_BYTES, Operand, Pe
from tensorlib.program import LoadShape

MAX_COORDINATE = 1023


class Filter:
    """How the words of a LOAD find the banks of an operand.

    If axis-1 and axis-2 entries can be numbered so that their sums number the banks, words go
    bank by bank (coordinate a); else to all positions of the array (a, b), with zeros for those
    that have no bank.
    """

    def __init__(self, operand: Operand) -> None:
        self.lanes = operand.lanes
        numbered = _numbers(operand.lanes)
        rows, cols = (max(pe[axis] for pe in operand.lanes) + 1 for axis in (0, 1))
        self.one, self.two, self.order = ({}, {}, None) if numbered is None else numbered
        self.na, self.nb = (rows, cols) if numbered is None else (len(self.lanes), 1)

    def shape(self) -> LoadShape:
        """Every bank keeps the rows of one (a, b)."""
        return LoadShape(stride_c=ROW_BYTES, extent_a=1, extent_b=1, extent_c=MAX_COORDINATE)

    def low(self, axis: int, at: int) -> tuple[int, int]:
        """Lower bounds (a, b) of an entry."""
        if self.order is None:
            return (at, 0) if axis == 0 else (0, at)
        return ((self.one, self.two)[axis].get(at, 0) & MAX_COORDINATE, 0)

    def arrange(self, packed: Ints) -> Ints:
        """Bytes in the order of the LOAD, from `banks x bytes`."""
        if self.order is not None:
            return packed[self.order].reshape(-1)
        whole = np.full((self.na, self.nb, packed.shape[1]), -1, dtype=np.int64)
        for bank, (i, j) in enumerate(self.lanes):
            whole[i, j] = packed[bank]
        return whole.reshape(-1)


def _numbers(
    lanes: tuple[Pe, ...],
) -> tuple[dict[int, int], dict[int, int], list[int]] | None:
    """Numbers of axis-1 and axis-2 entries whose sums number the banks, and banks in that order.

    Possible if lanes, as lines between entries, form no ring. None otherwise.
    """
    one: dict[int, int] = {}
    two: dict[int, int] = {}
    left = list(range(len(lanes)))
    order: list[int] = []
    while left:
        ready = [b for b in left if (lanes[b][0] in one) != (lanes[b][1] in two)]
        bank = ready[0] if ready else left[0]
        i, j = lanes[bank]
        if i in one and j in two:
            return None
        if not ready:
            one[i] = 0
        if i in one:
            two[j] = len(order) - one[i]
        else:
            one[i] = len(order) - two[j]
        left.remove(bank)
        order.append(bank)
    return one, two, order
