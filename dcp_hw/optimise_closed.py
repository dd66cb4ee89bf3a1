"""The predictor's closed form for whole dataflows, compiled: what `predictors.features.estimate`
says of real dataflows, to the last digits, without gradients and some ten times as fast.

Searches try many whole dataflows and ask for few gradients. `tests/unit/test_optimise_closed.py`
holds both forms against each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from dcp_hw.maestro.honest_axis import COMPILED, LEAN
from dcp_hw.mapspace import DIMENSIONS, TILE
from dcp_hw.optimise_closed_loops import (
    BUFFERS,
    COLLECTED,
    COLUMNS,
    DEPTHWISE,
    DRAINED,
    EXTENT,
    HOLD,
    MASK,
    ONCE,
    OUTER,
    REQUIRED,
    ROUNDS,
    ROWS,
    SERIAL,
    STORED,
    STRIDE,
    SUPPLIED,
    TAKEN,
    TILES,
    loops,
    traffic,
    views,
    volumes,
)
from dcp_hw.optimise_closed_time import GROUP, timing
from predictors.energy import PRICE_COLUMNS, Prices
from predictors.features import CLOSED_NAMES, PLAIN_NAMES, Bound, Estimate
from predictors.interface import LEVELS, MACHINE_NAMES
from predictors.traffic import INPUT, OUTPUT, WEIGHT, C
from tensorlib.compiled import source_tag

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

PES, L1, L2, NOC, LATENCY, DRAM = range(len(MACHINE_NAMES))
FEATURES = len(PLAIN_NAMES) + len(CLOSED_NAMES)
LATENCY_LOG, ENERGY_LOG, L1_OVER, L2_OVER = range(4)
LEAST_LATENCY, LEAST_ENERGY, LEAST_COMPUTE, LEAST_NOC, LEAST_DRAM = range(4, 9)
LOGS = 9
"""Columns of what is found beside the features."""
ENERGY_PARTS = 6  # of the energy
_CAP, _LOW, _FIT = 18.0, -18.0, 12.0  # as in `predictors.features`


@njit(**LEAN)
def _price(elements: float, sizes: Floats, table: Floats, shared: int, out: Floats) -> None:
    """Fill read, write and leakage (3) of a memory of so many elements; as `Prices.at`."""
    inside = min(max(elements, sizes[0]), sizes[-1])
    left, right = 0, len(sizes) - 1
    while right - left > 1:
        middle = (left + right) // 2
        if sizes[middle] < inside:
            left = middle
        else:
            right = middle
    share = (inside - sizes[right - 1]) / (sizes[right] - sizes[right - 1])
    for c in range(PRICE_COLUMNS // 2):
        at = shared * (PRICE_COLUMNS // 2) + c
        out[c] = table[right - 1, at] * (1.0 - share) + table[right, at] * share


@njit(**LEAN)
def bound_logs(
    layer: Floats,
    machine: Floats,
    sizes: Floats,
    table: Floats,
    scalars: Floats,
    out: Floats,
    tensors: Floats,
) -> None:
    """Fill the logs of the least cycles and nJ; as `predictors.features.bound_of`."""
    macs = 1.0
    for d in range(DIMENSIONS):
        macs *= layer[d]
    volumes(layer[:DIMENSIONS], layer[STRIDE], int(layer[DEPTHWISE]), tensors)
    stored = layer[C] * layer[STORED] * layer[STORED + 1]
    into = min(tensors[INPUT], stored) + tensors[WEIGHT]
    result = tensors[OUTPUT]
    read, write = table[0, 3], table[0, 4]
    energy = macs * scalars[0] + into * (read + write) + result * write
    energy += (into + result) * scalars[1]
    out[LEAST_COMPUTE] = math.log(macs / machine[PES])
    out[LEAST_NOC] = math.log(max(into, result) / machine[NOC])
    out[LEAST_DRAM] = math.log((into + result) / machine[DRAM])
    least = max(out[LEAST_COMPUTE], out[LEAST_NOC], out[LEAST_DRAM])
    out[LEAST_LATENCY], out[LEAST_ENERGY] = max(0.0, least), math.log(energy * 1e-3)


@njit(**LEAN)
def _three(row: Floats, at: int) -> float:
    return row[at] + row[at + 1] + row[at + 2]


@njit(**LEAN)
def energies(
    flow: Floats,
    sums_read: float,
    macs: float,
    sizes: Floats,
    table: Floats,
    scalars: Floats,
    parts: Floats,
    price: Floats,
) -> float:
    """Fill nJ of DRAM, stores and MACs (6); returns the leakage in mW; as `energy_of`.

    Args:
        flow: a row for each store, the L2 first.
    """
    leak, levels = 0.0, len(flow) - 1
    parts[1 + LEVELS] = 0.0
    parts[0] = (_three(flow[0], SUPPLIED) + flow[0, COLLECTED]) * scalars[1] * 1e-3
    for b in range(levels + 1):
        reads = flow[b, DRAINED]
        writes = _three(flow[b], TAKEN)
        if b < levels:
            reads += _three(flow[b + 1], SUPPLIED)
            writes += flow[b + 1, COLLECTED]
        else:
            reads += 2.0 * macs + sums_read
            writes += macs
        _price(flow[b, REQUIRED], sizes, table, 1 if b < levels else 0, price)
        parts[1 + b] = (reads * price[0] + writes * price[1]) * 1e-3
        leak += price[2] * flow[b, BUFFERS]
    parts[5] = macs * scalars[0] * 1e-3
    return leak


@njit(**LEAN)
def _plain_features(
    layer: Floats,
    machine: Floats,
    g: Floats,
    place: Integers,
    along: Integers,
    units: Floats,
    logs: Floats,
    macs: float,
    out: NDArray[np.float32],
) -> int:
    """Fill PLAIN_NAMES; returns how many they are."""
    at = 0
    for c in range(9):
        out[at + c] = math.log(layer[c]) if c < 7 else layer[c]
    at += 9
    for c in range(len(machine)):
        out[at + c] = machine[c] if c == LATENCY else min(_CAP, math.log(machine[c]))
    at += len(machine)
    block = LEVELS * DIMENSIONS
    for i in range(LEVELS):
        for d in range(DIMENSIONS):
            j = at + i * DIMENSIONS + d
            out[j] = math.log(g[TILES, i, d])
            out[j + block] = math.log(max(1.0, g[OUTER, i, d] / g[ONCE, i, d]))
            out[j + 2 * block] = 1.0 if along[i] == d else 0.0
            out[j + 3 * block] = place[i, d]
    at += 4 * block
    for i in range(LEVELS):
        out[at + i] = math.log(units[i])
    at += LEVELS
    least = logs[LEAST_LATENCY]
    out[at] = max(_LOW, logs[LEAST_COMPUTE] - least)
    out[at + 1] = max(_LOW, logs[LEAST_DRAM] - least)
    out[at + 2] = max(_LOW, logs[LEAST_NOC] - least)
    out[at + 3] = max(_LOW, logs[LEAST_ENERGY] - math.log(macs))
    return at + 4


@njit(**LEAN)
def _closed_features(
    layer: Floats,
    machine: Floats,
    g: Floats,
    flow: Floats,
    out: NDArray[np.float32],
    at: int,
    tensors: Floats,
) -> int:
    """Fill the first of CLOSED_NAMES from column `at` on; returns the next column."""
    block, serial = LEVELS * DIMENSIONS, 1.0
    for d in range(DIMENSIONS):
        serial *= g[SERIAL, 0, d]
    volumes(layer[:DIMENSIONS], layer[STRIDE], int(layer[DEPTHWISE]), tensors)
    for i in range(LEVELS):
        held = 1.0
        for d in range(DIMENSIONS):
            j, once = at + i * DIMENSIONS + d, g[ONCE, i, d]
            out[j] = math.log(min(once, g[OUTER, i, d]) / g[EXTENT, i, d])
            out[j + block] = math.log(g[ROUNDS, i, d] / max(1.0, layer[d] / once))
            held *= g[HOLD, i, d]
        out[at + 2 * block + i] = math.log(held)
    at += 2 * block + LEVELS
    edges = 3 * (LEVELS + 1)
    for b in range(LEVELS + 1):
        width, ports, total = machine[NOC] if b else machine[DRAM], 1.0, 0.0
        if b:
            ports = flow[b - 1, BUFFERS]
        for t in range(3):
            total += flow[b, SUPPLIED + t]
            out[at + 3 * b + t] = math.log(max(1.0, flow[b, SUPPLIED + t]) / tensors[t])
        out[at + edges + b] = math.log(flow[b, DRAINED] / tensors[OUTPUT])
        busy = math.log(total / ports / width / serial)
        out[at + edges + LEVELS + 1 + b] = max(-_FIT, busy)
    return at + edges + 2 * (LEVELS + 1)


def _compile() -> Callable[..., None]:
    """The compiled loop; `honest_fast._compile` says why it is a closure with a tag."""
    here = Path(__file__).parent
    names = ("optimise_closed_loops", "optimise_closed_time", "mapspace")
    tag = source_tag(*(str(here / f"{name}.py") for name in names))

    @njit(cache=True, **COMPILED)
    def estimates(
        layers: NDArray[np.float32],
        machines: NDArray[np.float32],
        mappings: Integers,
        owner: Integers,
        shallow: NDArray[np.bool_],
        sizes: Floats,
        table: Floats,
        scalars: Floats,
        features: NDArray[np.float32],
        found: Floats,
    ) -> None:
        """Fill features and logs of mapping `owner[n]` on layer n, one after another.

        Logs of a shallow one are without its middle level; its features are of all three.
        """
        g, w = np.full((ROWS, LEVELS + 1, DIMENSIONS), float(tag % 2)), np.empty((8, 8))
        place, along = np.empty((LEVELS, DIMENSIONS), np.int64), np.empty(LEVELS, np.int64)
        changing, view = np.empty((LEVELS, 3)), np.empty((LEVELS, 3), np.int64)
        units, flow = np.empty(LEVELS), np.empty((LEVELS + 1, COLUMNS))
        room, volume = np.empty((LEVELS, DIMENSIONS, GROUP)), np.empty((LEVELS, 3))
        layer, machine = np.empty(layers.shape[1]), np.empty(machines.shape[1])
        parts, two = np.empty(ENERGY_PARTS), np.empty((2, TILE.stop), np.int64)
        for n in range(len(owner)):
            layer[:], machine[:] = layers[n], machines[n]
            mask, out, logs = MASK[int(layer[DEPTHWISE])], features[n], found[n]
            loops(layer, machine[PES], mappings[owner[n]], g, place, along, units, w)
            views(g, mask, changing, view)
            sums_read = traffic(layer, g, place, along, mask, view, flow, w)
            noc, dram = machine[NOC], machine[DRAM]
            bound_by = noc, dram, machine[LATENCY]
            cycles, compute, ends = timing(
                layer, g, place, along, mask, changing, *bound_by, room, volume, w[4:]
            )
            bound_logs(layer, machine, sizes, table, scalars, logs, w[4])
            macs = 1.0
            for d in range(DIMENSIONS):
                macs *= layer[d]
            leak = energies(flow, sums_read, macs, sizes, table, scalars, parts, w[4])
            total = parts.sum() + leak * cycles / scalars[2]
            logs[LATENCY_LOG], logs[ENERGY_LOG] = math.log(cycles), math.log(total)
            shared = 0.0
            for b in range(LEVELS):
                shared += flow[b, REQUIRED] * flow[b, BUFFERS]
            logs[L1_OVER] = math.log(flow[LEVELS, REQUIRED] / machine[L1])
            logs[L2_OVER] = math.log(shared / machine[L2])
            at = _plain_features(layer, machine, g, place, along, units, logs, macs, out)
            at = _closed_features(layer, machine, g, flow, out, at, w[4])
            out[at], out[at + 1] = compute / cycles, ends / cycles
            out[at + 2] = logs[LATENCY_LOG] - logs[LEAST_LATENCY]
            out[at + 3] = logs[ENERGY_LOG] - logs[LEAST_ENERGY]
            out[at + 4] = max(0.0, 1.0 - parts.sum() / total)
            at += 5
            for c in range(ENERGY_PARTS):
                out[at + c] = parts[c] / total
            at += ENERGY_PARTS
            out[at] = min(_FIT, max(-_FIT, logs[L1_OVER]))
            out[at + 1] = min(_FIT, max(-_FIT, logs[L2_OVER]))
            if not shallow[owner[n]]:
                continue
            two[0], two[1] = mappings[owner[n], 0], mappings[owner[n], 2]
            loops(layer, machine[PES], two, g, place, along, units, w)
            views(g, mask, changing[:2], view[:2])
            sums_read = traffic(layer, g, place, along, mask, view[:2], flow[:3], w)
            cycles, compute, ends = timing(
                layer, g, place, along[:2], mask, changing, *bound_by, room, volume, w[4:]
            )
            leak = energies(flow[:3], sums_read, macs, sizes, table, scalars, parts, w[4])
            total = parts.sum() + leak * cycles / scalars[2]
            logs[LATENCY_LOG], logs[ENERGY_LOG] = math.log(cycles), math.log(total)
            shared = 0.0
            for b in range(2):
                shared += flow[b, REQUIRED] * flow[b, BUFFERS]
            logs[L1_OVER] = math.log(flow[2, REQUIRED] / machine[L1])
            logs[L2_OVER] = math.log(shared / machine[L2])

    return estimates


_estimates = _compile()


def estimate_whole(
    layer: Tensor,
    machine: Tensor,
    mappings: Tensor,
    owner: Tensor,
    prices: Prices,
    shallow: NDArray[np.bool_] | None = None,
) -> Estimate:
    """Closed form and features of whole dataflows, without gradients.

    Args:
        layer, machine: m x 11 and m x 6, as `predictors.interface.Relaxed`.
        mappings: n x 3 x 14; tiles larger than a layer count as that layer's size.
        owner: m, the mapping of each row.
        shallow: n, mappings that are judged without their middle level, which is trivial.
    """
    m = len(owner)
    features, found = np.empty((m, FEATURES), np.float32), np.empty((m, LOGS))
    _estimates(
        layer.numpy(),
        machine.numpy(),
        np.ascontiguousarray(mappings.numpy()),
        owner.numpy(),
        np.zeros(len(mappings), np.bool_) if shallow is None else shallow,
        prices.sizes.numpy(),
        prices.table.numpy(),
        prices.scalars.numpy(),
        features,
        found,
    )
    logs = torch.from_numpy(found)
    return Estimate(
        latency=logs[:, LATENCY_LOG],
        energy=logs[:, ENERGY_LOG],
        l1_excess=logs[:, L1_OVER],
        l2_excess=logs[:, L2_OVER],
        bound=Bound(
            latency=logs[:, LEAST_LATENCY],
            energy=logs[:, LEAST_ENERGY],
            compute=logs[:, LEAST_COMPUTE],
            noc=logs[:, LEAST_NOC],
            dram=logs[:, LEAST_DRAM],
        ),
        features=torch.from_numpy(features),
    )
