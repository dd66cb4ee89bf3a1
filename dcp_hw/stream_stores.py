"""STOREs of an output tile from integers, compiled: how many, and their batches, steps, words.

The rules of `StorePlan`; tests compare both. Tiles of equal shape have equal STOREs.
"""

# ruff: noqa: SIM110 (numba compiles no generators)
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcp_hw.scan import INT32, KD, KI, KO
from dcp_hw.stream_layout import COUNT, K_PITCH, LANES, STEPS, Y_PITCH, ceil_div
from dcp_hw.stream_plan import DRAINED, DRAINED_X, DRAINED_Y, KS, XS, YS
from tensorlib.compiled import INNER

Ints = NDArray[np.int64]

MOST_SHAPES = 512
MOST_ROWS = 8192
MOST_BOXES = 4096
MAX_PARAM_STRIDE = 15
WIDE = 1 << 20


class Stores(NamedTuple):
    """STOREs of the shapes met so far.

    Attributes:
        keys: `MOST_SHAPES x 3`: what a shape depends on, along k, y and x.
        spans: `MOST_SHAPES x 2`: first row, end.
        rows: `MOST_ROWS x 3`: batches, steps of a batch, words of a batch.
        counts: shapes, rows.
        boxes: scratch: pixel mask, outer lane, blocks, rows (first, count), columns, group.
        pairs: scratch: box, group, parameter row.
        local: scratch: the same of one group.
        groups: scratch: group, parameter row.
        runs: scratch: runs of rows of one lane (first, count), of columns.
    """

    keys: Ints
    spans: Ints
    rows: Ints
    counts: Ints
    boxes: Ints
    local: Ints
    pairs: Ints
    groups: Ints
    runs: Ints


def new_stores() -> Stores:
    """No shapes."""

    def room(*shape: int) -> Ints:
        return np.zeros(shape, dtype=np.int64)

    return Stores(
        keys=room(MOST_SHAPES, 3),
        spans=room(MOST_SHAPES, 2),
        rows=room(MOST_ROWS, 3),
        counts=room(2),
        boxes=room(MOST_BOXES, 7),
        local=room(MOST_BOXES, 7),
        pairs=room(MOST_BOXES, 3),
        groups=room(MOST_BOXES, 2),
        runs=room(2, MOST_BOXES, 2),
    )


@njit(**INNER)
def pixel_key(steps: int, count: int, lanes: int, whole: int, part: int, sub: int) -> int:
    """What the runs of words along y or x depend on: words of a lane, of the last one, lanes."""
    bound = min(part, steps - sub * part)
    last = max(0, min(bound, count - (lanes - 1) * whole - sub * part))
    return (bound * WIDE + last) * WIDE + lanes


@njit(**INNER)
def channel_key(g: Ints, m: Ints, span: Ints, sub: int) -> int:
    """The same along k: blocks of a lane, of the last one, lanes, blocks between lanes."""
    unit = g[KI] * g[KD]
    outer = span[LANES] // unit if span[LANES] > unit else 1
    channels = min(m[KS], span[STEPS] - sub * m[KS]) * unit
    first = ((outer - 1) * span[STEPS] + sub * m[KS]) * unit
    last = ceil_div(max(0, min(channels, span[COUNT] - first)), 16)
    between = span[STEPS] * unit // 16 if g[KO] > 1 else 0
    return ((ceil_div(channels, 16) * 4096 + last) * 4096 + outer) * WIDE + between


@njit(**INNER)
def shape_of(g: Ints, m: Ints, w: Ints, lanes: Ints, s: Stores, k: int, y: int, x: int) -> int:
    """Number of the shape with these keys; -1 if there is no room for one more."""
    for n in range(s.counts[0]):
        if s.keys[n, 0] == k and s.keys[n, 1] == y and s.keys[n, 2] == x:
            return n
    n = s.counts[0]
    if n >= MOST_SHAPES or not _add_shape(g, m, w, lanes, s, k, y, x):
        return -1
    s.keys[n, 0], s.keys[n, 1], s.keys[n, 2] = k, y, x
    s.counts[0] = n + 1
    return n


@njit(**INNER)
def _runs(runs: Ints, key: int, lane: int, part: int, drained: bool) -> int:
    """How many runs of words (first, count) a lane has along y or x; fills them in."""
    bound, last, lanes = key // WIDE // WIDE, key // WIDE % WIDE, key % WIDE
    if not drained:
        runs[0, 0] = 0
        runs[0, 1] = bound if lane < lanes - 1 else last if lane == lanes - 1 else 0
        return 1 if runs[0, 1] > 0 else 0
    found = 0
    for n in range(lanes):
        count = bound if n < lanes - 1 else last
        if count <= 0:
            continue
        if found and runs[found - 1, 0] + runs[found - 1, 1] == n * part:
            runs[found - 1, 1] += count
        else:
            runs[found, 0], runs[found, 1] = n * part, count
            found += 1
    return found


@njit(**INNER)
def _same_box(a: Ints, b: Ints, first: int) -> bool:
    for n in range(first, 7):
        if a[n] != b[n]:
            return False
    return True


@njit(**INNER)
def _add_shape(g: Ints, m: Ints, w: Ints, lanes: Ints, s: Stores, k: int, y: int, x: int) -> bool:
    """Whether there was room for the STOREs of one more shape."""
    between = k % WIDE
    boxes = pairs = 0
    n = 0
    while n < len(lanes):
        group, found = lanes[n, 0], 0
        while n < len(lanes) and lanes[n, 0] == group:
            found = _pixel_boxes(g, m, s, lanes[n], k, y, x, found)
            if found < 0:
                return False
            n += 1
        for i in range(found):
            box = 0
            local = s.local[i]
            outer = local[1]
            local[1] = 0
            while box < boxes and not _same_box(s.boxes[box], local, 0):
                box += 1
            if max(box, pairs) >= MOST_BOXES - 1:
                return False
            if box == boxes:
                for j in range(7):
                    s.boxes[box, j] = local[j]
                boxes += 1
            s.pairs[pairs, 0], s.pairs[pairs, 1] = box, group
            s.pairs[pairs, 2] = outer * between
            pairs += 1
    first = s.counts[1]
    for box in range(boxes):
        count = 0
        for i in range(pairs):
            if s.pairs[i, 0] == box:
                s.groups[count, 0], s.groups[count, 1] = s.pairs[i, 1], s.pairs[i, 2]
                count += 1
        if s.counts[1] + count > MOST_ROWS:
            return False
        _nests(g, w, s, s.boxes[box], count)
    s.spans[s.counts[0], 0], s.spans[s.counts[0], 1] = first, s.counts[1]
    return True


@njit(**INNER)
def _pixel_boxes(
    g: Ints, m: Ints, s: Stores, lane: Ints, k: int, y: int, x: int, found: int
) -> int:
    """Boxes of a group after those of one more pixel; -1 if there is no room."""
    outer = lane[2]
    lanes = k // WIDE % 4096
    full, last = k // WIDE // 4096 // 4096, k // WIDE // 4096 % 4096
    blocks = full if outer < lanes - 1 else last if outer == lanes - 1 else 0
    if blocks == 0:
        return found
    rows = _runs(s.runs[0], y, lane[3], m[YS], g[DRAINED] == DRAINED_Y)
    cols = _runs(s.runs[1], x, lane[4], m[XS], g[DRAINED] == DRAINED_X)
    for i in range(rows):
        for j in range(cols):
            if found >= MOST_BOXES - 1:
                return -1
            box = s.local[found]
            box[0], box[1], box[2] = 0, outer, blocks
            box[3], box[4] = s.runs[0, i, 0], s.runs[0, i, 1]
            box[5], box[6] = s.runs[1, j, 0], s.runs[1, j, 1]
            n = 0
            while not _same_box(s.local[n], box, 1):
                n += 1
            s.local[n, 0] |= 1 << lane[1]
            found = max(found, n + 1)
    return found


@njit(**INNER)
def _nests(g: Ints, w: Ints, s: Stores, box: Ints, count: int) -> None:
    """Nothing; adds the STOREs of equal boxes in `count` groups."""
    rows, cols = box[4], box[6]
    line = rows == 1 or cols == 1 or cols * w[K_PITCH] == w[Y_PITCH]
    fixed = (1 if g[KI] < 16 else 0) + (box[2] > 1)
    fixed += (1 if rows * cols > 1 else 0) if line else 2
    if _factors(s.groups, count, 4 - fixed):
        _add_row(g, s, box, count)
        return
    _sort(s.groups, count)
    n = 0
    while n < count:
        end = n + 1
        while end < count and s.groups[end, 1] == s.groups[n, 1]:
            step = s.groups[end, 0] - s.groups[end - 1, 0]
            if end - n > 1 and step != s.groups[n + 1, 0] - s.groups[n, 0]:
                break
            end += 1
        if end - n == 1 or fixed < 4:
            _add_row(g, s, box, end - n)
        else:
            for _ in range(n, end):
                _add_row(g, s, box, 1)
        n = end


@njit(**INNER)
def _factors(groups: Ints, count: int, room: int) -> bool:
    """Whether up to two loops, and at most `room`, run over these (group, parameter row) pairs."""
    if count == 1:
        return room >= 0
    for inner in range(1, count + 1):
        if count % inner:
            continue
        outer = count // inner
        dims = (1 if inner > 1 else 0) + (1 if outer > 1 else 0)
        lane = groups[1, 0] - groups[0, 0] if inner > 1 else 0
        param = groups[1, 1] - groups[0, 1] if inner > 1 else 0
        lane_2 = groups[inner, 0] - groups[0, 0] if outer > 1 else 0
        param_2 = groups[inner, 1] - groups[0, 1] if outer > 1 else 0
        if dims > room or min(param, param_2) < 0 or max(param, param_2) > MAX_PARAM_STRIDE:
            continue
        same = True
        for n in range(count):
            i, o = n % inner, n // inner
            same = same and groups[n, 0] == groups[0, 0] + i * lane + o * lane_2
            same = same and groups[n, 1] == groups[0, 1] + i * param + o * param_2
        if same:
            return True
    return False


@njit(**INNER)
def _sort(groups: Ints, count: int) -> None:
    """Nothing; pairs by parameter row, then group."""
    for n in range(1, count):
        lane, param = groups[n, 0], groups[n, 1]
        i = n
        while i > 0 and (groups[i - 1, 1], groups[i - 1, 0]) > (param, lane):
            groups[i, 0], groups[i, 1] = groups[i - 1, 0], groups[i - 1, 1]
            i -= 1
        groups[i, 0], groups[i, 1] = lane, param


@njit(**INNER)
def _add_row(g: Ints, s: Stores, box: Ints, groups: int) -> None:
    """Nothing; adds a STORE over some groups."""
    per_batch = 16 // g[KI]
    words = 0
    for q in range(16):
        words += box[0] >> q & 1
    batch = 1 if g[INT32] or per_batch == 1 else per_batch
    total = per_batch * box[4] * box[6] * box[2] * groups
    row = s.rows[s.counts[1]]
    row[0], row[1], row[2] = total // batch, batch, 4 if g[INT32] else words
    s.counts[1] += 1
