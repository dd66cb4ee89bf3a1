"""Input positions of one axis, counted without walking them (compiled).

A tile of `t` outputs and `r` taps touches the positions `{y * stride + r}`. All counts are of such
sets: one tile, what two tiles share, and what units side by side need not load again.

The second tile of a pair lies `dy` outputs and `dr` taps after the first one. A window
`[low, high)`, counted from the first position of the first tile, leaves out padding.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

COMPILED = {"nogil": True, "error_model": "numpy", "_nrt": True}
"""How compiled functions that make arrays are compiled."""

LEAN = COMPILED | {"_nrt": False}
"""How those of the honest model are compiled, that make none; `honest_fast` caches the whole.

Without numba's runtime nobody counts references to arrays, which otherwise costs two atomic
operations per array and call: half of the time of a mapping.
"""

INLINED = LEAN | {"forceinline": True}
"""How short ones are compiled."""

WIDE = 1 << 60
"""A window of -WIDE to WIDE leaves nothing out."""


@njit(**LEAN)
def quotient(a: int, b: int) -> int:
    """a // b for 0 <= a < 2^52 and 0 < b < 2^52, by doubles, in a fraction of the time.

    It is exact: a / b is at least 1 / b below the next integer, more than half a step of a double.
    """
    return int(float(a) / float(b))


@njit(**LEAN)
def span(t: int, r: int, stride: int) -> int:
    """Positions that `t` outputs and `r` taps touch."""
    return (t - 1) * min(stride, r) + r


@njit(**LEAN)
def overlap(
    stride: int, t1: int, r1: int, t2: int, r2: int, dy: int, dr: int, low: int, high: int
) -> int:
    """Positions inside the window that both tiles touch."""
    if (r1 >= stride or t1 == 1) and (r2 >= stride or t2 == 1):
        start = dy * stride + dr
        first = max(0, start, low)
        return max(0, min((t1 - 1) * stride + r1, start + (t2 - 1) * stride + r2, high) - first)
    total = 0
    for phase in range(min(stride, r1)):  # positions of one remainder are intervals of rows
        taps = (r1 - phase + stride - 1) // stride
        tap = dr + (phase - dr) % stride
        if tap >= dr + r2:
            continue
        start = dy + (tap - phase) // stride
        end = start + t2 + (dr + r2 - 1 - tap) // stride
        first = max(0, start, -((phase - low) // stride))
        total += max(0, min(t1 + taps - 1, end, -((phase - high) // stride)) - first)
    return total


@njit(**LEAN)
def kept(
    stride: int,
    along_r: bool,
    tile: int,
    t1: int,
    r1: int,
    t2: int,
    r2: int,
    dy: int,
    dr: int,
    low: int,
    high: int,
) -> int:
    """Positions of the first tile that no unit has to load, having had the second one.

    Both tiles are split among units, `tile` outputs (or taps, `along_r`) each; a unit beyond the
    second tile's end held nothing. A position counts if every unit that needs it had it.
    """
    new_t, new_r, old_t, old_r = t1, r1, t2, r2  # of the first, largest unit
    if along_r:
        new_r, old_r = min(r1, tile), min(r2, tile)
    else:
        new_t, old_t = min(t1, tile), min(t2, tile)
    start = dy * stride + dr
    if start >= (new_t - 1) * stride + new_r or start + (old_t - 1) * stride + old_r <= 0:
        return 0
    one = (r1 if along_r else t1) <= tile and (r2 if along_r else t2) <= tile
    if one or (dy == 0 and dr == 0 and t1 == t2 and r1 == r2):
        return overlap(stride, t1, r1, t2, r2, dy, dr, low, high)
    spare = 0
    if not along_r and low == -WIDE:
        # Beyond the reach of one tile, each further unit in the middle adds the same number.
        spare = max(0, min(t1, t2) // tile - (new_r + stride - 1) // stride // tile - 4)
    less, more = 0, 0
    for extra in range(2 if spare else 1):
        out = (spare - extra) * tile
        less, more = (
            more,
            _split(stride, along_r, tile, t1 - out, r1, t2 - out, r2, dy, dr, low, high),
        )
    return more + (more - less) * (spare - 1) if spare else more


@njit(**COMPILED)
def _split(
    stride: int,
    along_r: bool,
    tile: int,
    t1: int,
    r1: int,
    t2: int,
    r2: int,
    dy: int,
    dr: int,
    low: int,
    high: int,
) -> int:
    """As `kept`, unit by unit."""
    units = -(-(r1 if along_r else t1) // tile)
    edges = np.empty((4, units), dtype=np.int64)
    total = 0
    for phase in range(stride):  # positions of one remainder are intervals of rows
        count = 0
        for unit in range(units):
            if along_r:
                y, r, tn, tp = 0, unit * tile, t1, t2
                rn, rp = min(tile, r1 - r), min(tile, r2 - r)
            else:
                y, r, rn, rp = unit * tile, 0, r1, r2
                tn, tp = min(tile, t1 - y), min(tile, t2 - y)
            first, end = _rows(stride, phase, y, tn, r, rn)
            if end > first:
                edges[0, count] = max(first, -((phase - low) // stride))
                edges[1, count] = min(end, -((phase - high) // stride))
                edges[2, count], edges[3, count] = _rows(stride, phase, y + dy, tp, r + dr, rp)
                count += 1
        total += _in_all(edges, count)
    return total


@njit(**LEAN)
def _rows(stride: int, phase: int, y: int, t: int, r: int, taps: int) -> tuple[int, int]:
    """First row and end of a tile's positions `row * stride + phase`."""
    tap = r + (phase - r) % stride
    if t <= 0 or taps <= 0 or tap >= r + taps:
        return 0, 0
    row = y + (tap - phase) // stride
    return row, row + t + (r + taps - 1 - tap) // stride


@njit(**LEAN)
def _in_all(edges: NDArray[np.int64], units: int) -> int:
    """Positions z of some interval with: every unit whose new interval has z had it before.

    `edges`: first and end of each unit's new interval, of its old one; both ascend with the unit.
    """
    total = 0
    low = 0  # units low..high - 1 need the positions of the zone
    high = 0
    at = -WIDE
    while low < units:
        if low == high:
            at = max(at, edges[0, low])
            high += 1
        while high < units and edges[0, high] <= at:
            high += 1
        until = edges[1, low]
        if high < units:
            until = min(until, edges[0, high])
        first, end = at, until
        for unit in range(low, high):
            first, end = max(first, edges[2, unit]), min(end, edges[3, unit])
        total += max(0, end - first)
        at = max(at, until)
        while low < high and edges[1, low] <= at:
            low += 1
    return total
