"""What a loop's tiles of every size take: steps, words along it, first and last tile; compiled.

The spans and LOADs of `stream_layout` and `stream_kernel`, per loop, since they are products.
"""

# ruff: noqa: I001 (indices of arrays, many a line)
from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from dcp_hw.bounds_kernel import BLOCK, up
from dcp_hw.scan import (
    BYTES, C, C4, CI, CO, COMPILED, DEPTHWISE, DILATION, INPUT_SLOTS, IN_X, IN_Y, K, KD, KI, KO,
    NC, NK, NX, NY, PADDING, PARAM_ROWS, R, RT, ST, STRIDE, TAP_R, TAP_S, X, Y,
)  # fmt: skip

(
    SIZE, TILE, TILES, STEPS, FIRST_STEPS, LAST_STEPS, FIRST_COUNT, LAST_COUNT, FULL, MEMORY, ALL,
    BIG, FIRST, LAST, COLUMNS,
) = range(15)  # fmt: skip
"""Of a row: steps and elements of a full tile; tiles; steps of all; steps and elements of the first
and the last; tiles with as many steps as the first; what they load (blocks of channels, rows,
columns) of the memory and with padding; of the largest, the first and the last tile."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@numba.njit(**COMPILED)
def pixel_table(g: Ints, along_y: bool, trim: bool, out: Ints) -> int:
    """Number of sizes along y or x; fills in a row for each, `sizes x COLUMNS`."""
    total, lanes = (g[Y], g[NY]) if along_y else (g[X], g[NX])
    whole = up(total, lanes)
    most = whole if along_y or not g[C4] else up(whole, 4) * 4  # words of four pixels
    for size in range(1, most + 1):
        row = out[size - 1]
        tile = lanes * size
        row[:] = 0
        row[SIZE], row[TILE], row[TILES] = size, tile, up(total, tile)
        for n in range(row[TILES]):
            elements = min(tile, total - n * tile)
            steps = size if elements > size else elements
            width = (up(elements, size) - 1) * size + steps
            memory, all_ = _load(g, along_y, trim, n * tile, width)
            if n == 0:
                row[FIRST_COUNT], row[FIRST_STEPS], row[FIRST] = elements, steps, memory
            row[LAST_COUNT], row[LAST_STEPS], row[LAST] = elements, steps, memory
            row[STEPS] += steps
            row[FULL] += steps == row[FIRST_STEPS]
            row[MEMORY] += memory
            row[ALL] += all_
            row[BIG] = max(row[BIG], memory)
    return most


@numba.njit(**COMPILED)
def _load(g: Ints, along_y: bool, trim: bool, first: int, width: int) -> tuple[int, int]:
    """Rows or columns that a LOAD of output positions takes from the memory, and with padding."""
    inside = g[IN_Y] if along_y else g[IN_X]
    taps = g[TAP_R] * g[RT] if along_y else g[TAP_S] * g[ST]
    at = first * g[STRIDE] - g[PADDING]
    size = (width - 1) * g[STRIDE] + (taps - 1) * g[DILATION] + 1
    if g[C4] and not along_y:
        phase = at % 4
        at, size, inside = (at - phase) // 4, up(phase + size, 4), up(inside, 4)
    memory = max(0, min(size, inside - at) - max(0, -at))
    cleared = not along_y and g[BYTES] == 1 and g[INPUT_SLOTS] > 1
    return memory, memory if trim or cleared else size


@numba.njit(**COMPILED)
def piece_rows(g: Ints, trim: bool, first: int, count: int, lead: int) -> tuple[int, int, int]:
    """A tile of rows in pieces: rows of the memory beyond those of the whole, of the first piece,
    and of all others.
    """
    size = up(count, lead)
    found, begin = 0, 0
    for n in range(up(count, size)):
        rows = min(size, count - n * size)
        memory = _load(g, True, trim, first + n * size, rows)[0]
        found += memory
        if n == 0:
            begin = memory
    return found - _load(g, True, trim, first, count)[0], begin, found - begin


@numba.njit(**COMPILED)
def channel_table(g: Ints, along_k: bool, out: Ints) -> int:
    """Number of sizes along k or c that a layout allows; fills in a row for each."""
    depthwise = g[DEPTHWISE] == 1
    total, lanes = (g[K], g[NK]) if along_k else (g[C], g[NC])
    whole = up(up(total, lanes), BLOCK) * BLOCK
    count = 0
    if depthwise and not along_k:
        total, lanes, whole = 1, 1, 1
    for size in range(1, whole + 1):
        row = out[count]
        tile = lanes * size
        row[:] = 0
        row[SIZE], row[TILE], row[TILES] = size, tile, up(total, tile)
        if not _allowed(g, along_k, size, row[TILES]):
            continue
        carries = along_k == depthwise  # the channels of the input
        for n in range(row[TILES]):
            elements = min(tile, total - n * tile)
            active, steps = _channel_lanes(g, along_k, size, elements)
            blocks = _blocks(g, size, active, elements) if carries else 0
            if n == 0:
                row[FIRST_COUNT], row[FIRST_STEPS], row[FIRST] = elements, steps, blocks
            row[LAST_COUNT], row[LAST_STEPS], row[LAST] = elements, steps, blocks
            row[STEPS] += steps
            row[FULL] += steps == row[FIRST_STEPS]
            row[MEMORY] += blocks
            row[BIG] = max(row[BIG], blocks)
        before = out[count - 1]
        again = count > 0 and row[TILES] == 1 == before[TILES] and row[MEMORY] == before[MEMORY]
        if not (again and row[FIRST_STEPS] == before[FIRST_STEPS]):
            count += 1
    return count


@numba.njit(**COMPILED)
def _allowed(g: Ints, along_k: bool, size: int, tiles: int) -> bool:
    """Whether tiles of channels are whole blocks where they have to be."""
    depthwise, unit = g[DEPTHWISE] == 1, g[KI] * g[KD]
    if along_k:
        tile = g[NK] * size
        if (tiles > 1 and tile % BLOCK) or (g[KO] > 1 and size * unit % BLOCK):
            return False
        if depthwise and g[KO] > 1 and size > 1 and tiles > 1 and g[K] % tile:
            return False
        return up(g[K], BLOCK) <= g[PARAM_ROWS] or tile <= g[PARAM_ROWS] * BLOCK
    if depthwise:
        return True
    several = tiles > 1 or g[CO] > 1
    if g[C4]:
        return not several
    return bool(g[BYTES]) or not several or size * g[CI] % BLOCK == 0


@numba.njit(**COMPILED)
def _channel_lanes(g: Ints, along_k: bool, size: int, count: int) -> tuple[int, int]:
    """Lanes with work and steps of each, as `stream_layout` has them."""
    if not along_k:
        if g[DEPTHWISE] == 1:
            return 1, 1
        outer = up(count, size * g[CI])
        steps = size if outer > 1 else up(count, g[CI])
        return outer * g[CI] if g[CO] > 1 else min(g[CI], count), steps
    unit = g[KI] * g[KD]
    if g[KO] == 1:
        return min(unit, count), up(count, unit)
    if g[DEPTHWISE] == 1:
        return up(count, size * unit) * unit, size
    per_block, blocks = max(1, BLOCK // unit), up(count, BLOCK)
    steps = min(size, up(blocks, g[KO]) * per_block)
    return up(blocks * per_block, steps) * unit, steps


@numba.njit(**COMPILED)
def _blocks(g: Ints, size: int, lanes: int, count: int) -> int:
    """Blocks of channels that an input tile has."""
    if g[C4]:
        return 1
    depthwise = g[DEPTHWISE] == 1
    inner, several = (g[KI], g[KO] > 1) if depthwise else (g[CI], g[CO] > 1)
    outer = up(lanes, inner) if several else 1
    if outer == 1:
        return up(count, BLOCK)
    extent = size if g[BYTES] else up(size if depthwise else size * g[CI], BLOCK)
    return outer * extent


@numba.njit(**COMPILED)
def taps_cut(g: Ints) -> int:
    """Most rows of taps that a row of outputs loses at the borders."""
    above = min(g[RT], up(g[PADDING], g[DILATION]))
    bottom = (g[Y] - 1) * g[STRIDE] + (g[R] - 1) * g[DILATION] - g[PADDING] - (g[IN_Y] - 1)
    return max(above, min(g[RT], up(max(0, bottom), g[DILATION])))


@numba.njit(**COMPILED)
def fill_borders(g: Ints, out: Ints) -> None:
    """Nothing; changes of taps within EXECs, by rows of a tile and of an EXEC less one.

    Args:
        out: `rows x rows`.
    """
    for tile in range(1, g[Y] + 1):
        for part in range(1, tile + 1):
            out[tile - 1, part - 1] = _inner_borders(g, tile, part)


@numba.njit(**COMPILED)
def _inner_borders(g: Ints, tile: int, part: int) -> int:
    """Changes of taps from row to row, in a trimmed nest, that lie within an EXEC's rows.

    Args:
        tile, part: rows of a full tile and of a full EXEC.
    """
    found, before = 0, 0
    for row in range(g[Y]):
        top = row * g[STRIDE] - g[PADDING]
        low = max(0, up(-top, g[DILATION]))
        high = min(g[R], (g[IN_Y] - 1 - top) // g[DILATION] + 1)
        kind = low * (g[R] + 1) + high
        found += row > 0 and kind != before and row % tile % part != 0
        before = kind
    return found
