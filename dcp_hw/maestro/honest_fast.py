"""The honest model, fast: batches of mappings, equal to the interpreter in every number."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcp_hw.maestro.honest_axis import LEAN
from dcp_hw.maestro.honest_count import (
    BOUNDARY,
    BOUNDARY_COLUMNS,
    BUFFERS,
    COUNT_COLUMNS,
    L2_REQUIRED,
    MACS,
    REQUIRED,
    SHARED_REQUIRED,
    SUMS_READ,
    count,
    require,
)
from dcp_hw.maestro.honest_input import Pairs, pairs_for
from dcp_hw.maestro.honest_kinds import Kinds
from dcp_hw.maestro.honest_plan import (
    DRAM_BW,
    L1_SIZE,
    L2_SIZE,
    LATENCY,
    LAYER_COLUMNS,
    LEVEL_COLUMNS,
    LEVELS,
    MACHINE_COLUMNS,
    NOC_BW,
    PES,
    PLAN_ROWS,
    TAG,
    Integers,
    Plan,
    prepare,
)
from dcp_hw.maestro.honest_rest import Scratch
from dcp_hw.maestro.honest_time import Rests, Trail, ends_time, rooms, steps_time
from dcp_hw.maestro.honest_types import (
    HonestCounts,
    HonestLayer,
    HonestLevel,
    HonestMachine,
)
from dcp_hw.metrics import Infeasible

FEASIBLE, NO_PES, L1_FULL, L2_FULL = range(4)
"""Reasons of a batch; `reason_text` words them."""

_KERNEL = ("axis", "count", "fast", "input", "kinds", "plan", "rest", "time", "whole")
"""Files that are compiled into one loop."""

_STRIPE = 2048  # mappings that one thread takes at a time


@dataclass(frozen=True, slots=True)
class HonestBatch:
    """Results of n mappings."""

    reason: NDArray[np.int8]  # n
    cycles: NDArray[np.float64]  # n; whole numbers, NaN where infeasible
    counts: NDArray[np.int64]  # n x COUNT_COLUMNS; the columns of `honest_count`


def layer_row(layer: HonestLayer) -> list[int]:
    """A layer as a row of integers (LAYER_COLUMNS)."""
    shape = (layer.stride, layer.padding, int(layer.depthwise), layer.rows, layer.columns)
    return [*layer.sizes, *shape]


def machine_row(machine: HonestMachine) -> list[int]:
    """A machine as a row of integers (MACHINE_COLUMNS); 0 stands for unlimited."""
    limits = (machine.pes, machine.l1_size, machine.l2_size, machine.noc_bw, machine.noc_latency)
    return [value or 0 for value in (*limits, machine.dram_bw)]


def mapping_rows(levels: Sequence[HonestLevel]) -> list[list[int]]:
    """A mapping as rows of integers (depth x LEVEL_COLUMNS)."""
    return [[x.clusters or 0, x.parallel, *x.order, *x.tile] for x in levels]


def _compile() -> Callable[..., None]:
    """The compiled loop over mappings.

    numba's cache looks at the file of the cached function only; the tag, which is part of the
    cache's key, changes with any compiled file. What the loop calls is not cached by itself.
    """
    sources = [Path(__file__).with_name(f"honest_{name}.py") for name in _KERNEL]
    tag = zlib.crc32(b"".join(path.read_bytes() for path in sources))

    @njit(cache=True, **LEAN)
    def evaluate_rows(
        layers: Integers,
        machines: Integers,
        mappings: Integers,
        w: Plan,
        pairs: Pairs,
        z: Kinds,
        q: Scratch,
        r: Rests,
        t: Trail,
        reason: NDArray[np.int8],
        cycles: NDArray[np.float64],
        counts: Integers,
    ) -> None:
        """Fill in the results of a stripe of mappings, one after another."""
        w[TAG, 0] = tag
        depth = mappings.shape[1]
        for i in range(mappings.shape[0]):
            layer = layers[i if layers.shape[0] > 1 else 0]
            machine = machines[i if machines.shape[0] > 1 else 0]
            if not prepare(layer, machine, mappings[i], w):
                reason[i] = NO_PES
                continue
            out = counts[i]
            require(w, depth, out)
            if machine[L1_SIZE] and out[REQUIRED + depth - 1] > machine[L1_SIZE]:
                reason[i] = L1_FULL
                continue
            if machine[L2_SIZE] and out[SHARED_REQUIRED] > machine[L2_SIZE]:
                reason[i] = L2_FULL
                continue
            count(w, pairs, depth, out)
            noc = float(machine[NOC_BW]) if machine[NOC_BW] else np.inf
            dram = float(machine[DRAM_BW]) if machine[DRAM_BW] else np.inf
            total = steps_time(w, z, q, r, t, depth, noc, dram)
            ends = ends_time(w, t, depth, noc, dram)
            cycles[i] = total + ends + 2 * depth * machine[LATENCY]

    return evaluate_rows


_evaluate = _compile()


def _rooms(sizes: tuple[int, int, int]) -> tuple[NDArray, ...]:
    """Room for one mapping after another; sizes: most outputs and taps of an axis, and padding."""
    return (np.zeros((PLAN_ROWS, 8), dtype=np.int64), pairs_for(*sizes), *rooms())


def evaluate_batch(
    layers: NDArray[np.integer],
    machines: NDArray[np.integer],
    mappings: NDArray[np.integer],
    *,
    threads: int = 1,
) -> HonestBatch:
    """Counts and cycles of n mappings of equal depth.

    Args:
        layers: n or 1 x LAYER_COLUMNS, as `layer_row`.
        machines: n or 1 x MACHINE_COLUMNS, as `machine_row`.
        mappings: n x depth x LEVEL_COLUMNS, as `mapping_rows`; depth 1 to 3.
    Raises: ValueError for arrays of another shape, or layers of 2^53 MACs and more.
    """
    layers, machines, mappings = (
        np.ascontiguousarray(values, dtype=np.int64) for values in (layers, machines, mappings)
    )
    n, depth = mappings.shape[:2]
    shapes = (layers.shape, machines.shape, mappings.shape)
    fits = len(layers) in (1, n) and len(machines) in (1, n) and 1 <= depth <= LEVELS
    wanted = (LAYER_COLUMNS, MACHINE_COLUMNS, LEVEL_COLUMNS)
    if not fits or tuple(shape[-1] for shape in shapes) != wanted:
        raise ValueError(f"layers, machines and mappings have shapes {shapes}; see evaluate_batch")
    largest = layers.max(axis=0, initial=0)
    bound = prod(largest[:6].tolist())  # on the MACs of any layer
    if bound >= 1 << 53 and np.prod(layers[:, :6].astype(np.float64), axis=1).max() >= 2.0**53:
        raise ValueError("layers must have fewer than 2^53 MACs")
    reason = np.zeros(n, dtype=np.int8)
    cycles = np.full(n, np.nan)
    counts = np.zeros((n, COUNT_COLUMNS), dtype=np.int64)
    sizes = (int(largest[2:4].max()), int(largest[4:6].max()), int(largest[7]))
    spare: list[tuple[NDArray, ...]] = []  # rooms that no thread uses

    def stripe(start: int) -> None:
        part = slice(start, min(start + _STRIPE, n))
        room = spare.pop() if spare else _rooms(sizes)
        _evaluate(
            layers[part] if len(layers) > 1 else layers,
            machines[part] if len(machines) > 1 else machines,
            mappings[part],
            *room,
            reason[part],
            cycles[part],
            counts[part],
        )
        spare.append(room)

    if threads == 1 or n <= _STRIPE:
        for start in range(0, n, _STRIPE):
            stripe(start)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(stripe, range(0, n, _STRIPE)))
    return HonestBatch(reason, cycles, counts)


def evaluate(
    layer: HonestLayer, levels: Sequence[HonestLevel], machine: HonestMachine
) -> HonestCounts | Infeasible:
    """Counts of one mapping, or why it cannot run; as `honest_interpreter.interpret`."""
    rows = np.array([mapping_rows(levels)])
    batch = evaluate_batch(np.array([layer_row(layer)]), np.array([machine_row(machine)]), rows)
    return batch_counts(batch, 0, len(levels), machine, levels)


def batch_counts(
    batch: HonestBatch,
    i: int,
    depth: int,
    machine: HonestMachine,
    levels: Sequence[HonestLevel],
) -> HonestCounts | Infeasible:
    """Row i of a batch in words."""
    row = [int(value) for value in batch.counts[i]]
    if batch.reason[i] != FEASIBLE:
        needed = prod(level.clusters or 1 for level in levels[1:])
        return Infeasible(reason_text(batch, i, depth, machine_row(machine), needed))
    boundaries = [
        row[BOUNDARY + BOUNDARY_COLUMNS * b : BOUNDARY + BOUNDARY_COLUMNS * (b + 1)]
        for b in range(depth + 1)
    ]
    return HonestCounts(
        cycles=int(batch.cycles[i]),
        macs=row[MACS],
        supplied=tuple((x[0], x[1], x[2]) for x in boundaries),
        taken=tuple((x[3], x[4], x[5]) for x in boundaries),
        drained=tuple(x[6] for x in boundaries),
        collected=tuple(x[7] for x in boundaries),
        sums_read=row[SUMS_READ],
        l2_required=row[L2_REQUIRED],
        required=tuple(row[REQUIRED : REQUIRED + depth]),
        buffers=tuple(row[BUFFERS : BUFFERS + depth]),
    )


def reason_text(batch: HonestBatch, i: int, depth: int, machine: Sequence[int], needed: int) -> str:
    """Why row i of a batch is infeasible.

    Args:
        machine: as `machine_row`; needed: units below the outermost level.
    """
    reason, row = int(batch.reason[i]), batch.counts[i]
    if reason == NO_PES:
        return f"{needed} PEs needed, have {machine[PES]}"
    if reason == L1_FULL:
        need = row[REQUIRED + depth - 1]
        return f"a PE buffer needs {need} elements, limit {machine[L1_SIZE]}"
    return f"L2 and buffers need {row[SHARED_REQUIRED]}, limit {machine[L2_SIZE]}"
