"""The predictor's closed form for whole dataflows, compiled: cycles; as `predictors.timing`."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcp_hw.maestro.honest_axis import LEAN
from dcp_hw.maestro.honest_types import INPUT, OUTPUT, WEIGHT, C, K, R, S, X, Y
from dcp_hw.mapspace import DIMENSIONS
from dcp_hw.optimise_closed_loops import (
    DEPTHWISE,
    EXTENT,
    MULTI,
    ONCE,
    PATH,
    SERIAL,
    STRIDE,
    span,
    volumes,
)

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

UNLIMITED = float(1 << 40)  # as `predictors.interface`
NUMBER, CHANGED, KEPT, KEPT_L2, AGAIN = 0, 1, 4, 5, 6
GROUP = 7
"""Columns of a group of steps; `CHANGED` has three tensors."""


@njit(**LEAN)
def groups(
    layer: Floats,
    g: Floats,
    place: Integers,
    along: Integers,
    mask: NDArray[np.bool_],
    out: Floats,
    volume: Floats,
    rounds: Floats,
) -> None:
    """Fill the steps of each level by the loop that moved, `3 x 6 x GROUP`; volumes of a round."""
    fresh = 1.0
    depthwise = layer[DEPTHWISE] > 0
    for i in range(len(along)):
        volumes(g[EXTENT, i], layer[STRIDE], int(layer[DEPTHWISE]), volume[i])
        for d in range(DIMENSIONS):
            rounds[d] = g[PATH, i, d] if i == 0 else max(1.0, g[PATH, i, d] / g[PATH, i - 1, d])
        whole = 1.0
        for p in range(DIMENSIONS):
            row = out[i, p]
            number, inside = rounds[p] - 1.0, fresh
            for d in range(DIMENSIONS):
                if place[i, d] < place[i, p]:
                    number *= rounds[d]
                    if not mask[OUTPUT, d] and not (d == K and depthwise):
                        inside /= rounds[d]
            reduced = not mask[OUTPUT, p] and not (p == K and depthwise)
            row[NUMBER] = max(0.0, number)
            row[AGAIN] = 1.0 if reduced else 1.0 - inside
            if reduced:
                whole *= rounds[p]
            for t in range(3):
                row[CHANGED + t] = 1.0 if mask[t, p] else 0.0
                for d in range(DIMENSIONS):
                    if mask[t, d] and _turned(g, place, i, p, d):
                        row[CHANGED + t] = 1.0
            _kept(layer, g, place, along, i, p, row)
        fresh /= whole


@njit(**LEAN)
def _turned(g: Floats, place: Integers, i: int, moved: int, d: int) -> bool:
    """Whether loop d goes back to its first round when another moves."""
    return place[i, moved] < place[i, d] and g[MULTI, i, d] > 0


@njit(**LEAN)
def _kept(
    layer: Floats, g: Floats, place: Integers, along: Integers, i: int, moved: int, row: Floats
) -> None:
    """Fill the shares of the input that stay in units and in the store above."""
    row[KEPT] = row[KEPT_L2] = 0.0
    if moved == C or _turned(g, place, i, moved, C):
        return
    stride, units, above = layer[STRIDE], 1.0, 1.0
    for d, f in ((Y, R), (X, S)):
        if _turned(g, place, i, moved, d) or _turned(g, place, i, moved, f):
            return
        if moved not in (d, f):
            continue
        wide = span(g[EXTENT, i, d], g[EXTENT, i, f], stride)
        share = 0.0
        if moved == d:
            share = max(0.0, (wide - stride * g[ONCE, i, d]) / wide)
        elif stride == 1:
            share = max(0.0, (wide - g[ONCE, i, f]) / wide)
        above *= share
        units *= share if along[i] not in (d, f) else 0.0
    row[KEPT], row[KEPT_L2] = units, above


@njit(**LEAN)
def _up(cycles: float) -> float:
    return max(0.0, np.ceil(cycles - 1e-6))


@njit(**LEAN)
def _wait(
    volume: Floats,
    inputs: float,
    weights: float,
    sums: float,
    kept: float,
    kept_l2: float,
    again: float,
    noc: float,
    dram: float,
) -> float:
    """Cycles that a level's ports take in a step; `dram` 0: not asked.

    Args:
        inputs, weights, sums: 1 where the step changes them.
    """
    inputs, weights, sums = inputs * volume[INPUT], weights * volume[WEIGHT], sums * volume[OUTPUT]
    back = sums * again
    cycles = _up(max(inputs * (1.0 - kept) + weights + back, sums) / noc)
    if dram > 0:
        cycles = max(cycles, _up((inputs * (1.0 - kept_l2) + weights + back + sums) / dram))
    return cycles


@njit(**LEAN)
def _first(volume: Floats, changes: Floats, kept: float, again: float, noc: float) -> float:
    """Wait of the first step of a range after a step above that changes tensors (3)."""
    return _wait(volume, changes[0], changes[1], changes[2], kept, 0.0, again, noc, 0.0)


@njit(**LEAN)
def timing(
    layer: Floats,
    g: Floats,
    place: Integers,
    along: Integers,
    mask: NDArray[np.bool_],
    changing: Floats,
    noc: float,
    dram: float,
    latency: float,
    room: Floats,
    volume: Floats,
    w: Floats,
) -> tuple[float, float, float]:
    """Cycles of a dataflow: all, the MACs alone, the ends.

    Args:
        latency: of the network; room: 3 x 6 x GROUP; volume: 3 x 3; w: room, 4 x 8.
    """
    levels = len(along)
    groups(layer, g, place, along, mask, room, volume, w[0])
    compute = work = 1.0
    for d in range(DIMENSIONS):
        compute *= g[SERIAL, 0, d]
        work *= g[SERIAL, 0, d] / g[PATH, levels - 1, d]
    changes, waits, rest = w[1], w[2], w[3]  # rest: steps of a range without its first, by level
    for i in range(levels):
        rest[i] = 0.0
    for i in range(levels - 1, -1, -1):
        for p in range(DIMENSIONS):
            row = room[i, p]
            if row[NUMBER] == 0.0:
                continue
            kept, again = row[KEPT], row[AGAIN]
            for t in range(3):
                changes[t] = row[CHANGED + t]
            own = _wait(
                volume[i],
                changes[0],
                changes[1],
                changes[2],
                kept,
                row[KEPT_L2],
                again,
                noc,
                dram if i == 0 else 0.0,
            )
            step = work
            for j in range(i + 1, levels):
                kept *= 1.0 - changing[j, INPUT]
                for t in range(3):
                    changes[t] = max(changes[t], changing[j, t])
                waits[j] = _first(volume[j], changes, kept, again, noc)
            for j in range(levels - 1, i, -1):
                step = max(step, waits[j]) + rest[j]
            rest[i] += row[NUMBER] * max(step, own)
    ends = 2.0 * levels * latency
    for i in range(levels):
        for elements in (volume[i, INPUT] + volume[i, WEIGHT], volume[i, OUTPUT]):
            cycles = _up(elements / noc)
            if i == 0:
                cycles = max(cycles, _up(elements / dram))
            ends += cycles if cycles < UNLIMITED else 0.0
    total = work
    for i in range(levels):
        total += rest[i]
    return total + ends, compute, ends
