"""Model evaluations that a sweep needs: each distinct one of a part once.

L1 and L2 size change no count and no cycle, only what fits and what an access costs. The same holds
for PEs that fill no further cluster, for clusters and units that never get a tile, and for tiles
beyond the layer's size. `Workload.groups` brings all these to one form, so that what is equal is
evaluated once; `tests/unit/test_maestro_dse.py` compares with mappings that are not brought there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcp_hw.errors import InputError
from dcp_hw.maestro.dse_space import Integers, Space, split_dim
from dcp_hw.maestro.honest_count import L2_REQUIRED, MACS, REQUIRED
from dcp_hw.maestro.honest_energy import accesses, honest_layers
from dcp_hw.maestro.honest_fast import L1_FULL, evaluate_batch, layer_row, mapping_rows
from dcp_hw.maestro.honest_types import HonestLayer
from dcp_hw.metrics import Infeasible
from dcp_hw.workload import LayerSet

TRAFFIC = ("dram", "l2_read", "l2_write", "mid_read", "mid_write", "pe_read", "pe_write", "mac")
"""Columns of the traffic of one design, in elements."""

_BLOCK = 1 << 16  # rows given to the model at a time
_UNITS_BITS = 20


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """One layer of a sweep, with all tiles brought to their least form.

    Attributes:
        times: how often the layer runs, one after another.
        forms: distinct mappings x 2 x LEVEL_COLUMNS.
        form: tile -> its form.
        clusters: form -> clusters that get a tile.
    """

    layer: HonestLayer
    times: int
    forms: Integers
    form: Integers
    clusters: Integers


def groups(layers: LayerSet, space: Space) -> tuple[Group, ...]:
    """The layers of a sweep.

    Raises: InputError for a layer that the model does not know.
    """
    tiles = [tuple(map(int, row)) for row in space.tile_rows]
    found = []
    for layer in layers:
        shape = honest_layers(layer)
        if isinstance(shape, Infeasible):
            raise InputError(f"layer '{layer.name}': {shape.reason} (leave it out: --layers)")
        one, times = shape
        rows = np.array([_least(space, tile, one) for tile in tiles])
        flat, form = np.unique(rows.reshape(len(rows), -1), axis=0, return_inverse=True)
        forms = flat.reshape(-1, *rows.shape[1:])
        outer = split_dim(space.style.parallel[0], one.depthwise)
        clusters = -(-one.sizes[outer] // forms[:, 0, 8 + outer])
        found.append(Group(one, times * layer.count, forms, form.reshape(-1), clusters))
    return tuple(found)


def _least(space: Space, tile: tuple[int, ...], layer: HonestLayer) -> list[list[int]]:
    """Rows of a tile's mapping with no unit that never gets a tile."""
    outer, inner = rows = mapping_rows(space.style.mapping(tile, layer))
    split = split_dim(space.style.parallel[1], layer.depthwise)
    inner[0] = min(inner[0], -(-outer[8 + split] // inner[8 + split]))
    return rows


@dataclass(frozen=True, slots=True, eq=False)
class Needs:
    """What the tiles of a part need on each number of PEs: tiles x PEs.

    Attributes:
        l1, l2, buffer: elements of a PE's buffer, of the L2, of one cluster's buffer; the most
            that any layer needs.
        clusters: built, 0 where the PEs do not make one.
        asked: layer -> what it runs there: form and clusters that work, as one number.
    """

    l1: Integers
    l2: Integers
    buffer: Integers
    clusters: Integers
    asked: tuple[Integers, ...]
    calls: int


def needs(groups: tuple[Group, ...], space: Space, part: slice) -> Needs:
    """Requirements, from the model, without counting traffic or time."""
    units = space.tile_rows[part, 0]
    clusters = np.array(space.pes)[None, :] // units[:, None]
    l1, l2, buffer = (np.zeros(clusters.shape, dtype=np.int64) for _ in range(3))
    asked, calls = [], 0
    for group in groups:
        form = group.form[part]
        working = np.minimum(clusters, group.clusters[form][:, None])
        key = (form[:, None] << _UNITS_BITS) + working
        found, at = np.unique(key, return_inverse=True)
        at = at.reshape(key.shape)
        # An L1 of one element is too small for every mapping: the model stops at what it needs.
        batch = evaluate_batch(_layer(group), _machines(group, found, l1=1), _forms(group, found))
        built = (found & _UNITS_MASK) > 0
        if np.any(batch.reason[built] != L1_FULL):
            raise RuntimeError("a mapping that needs no buffer")
        calls += int(np.count_nonzero(built))
        for total, column in ((l1, REQUIRED + 1), (l2, L2_REQUIRED), (buffer, REQUIRED)):
            np.maximum(total, batch.counts[:, column][at], out=total)
        asked.append(key)
    return Needs(l1, l2, buffer, clusters, tuple(asked), calls)


@dataclass(frozen=True, slots=True, eq=False)
class Totals:
    """Cycles (points x bandwidths) and traffic (points x TRAFFIC) of all layers together.

    Attributes:
        distinct: layer and form and clusters of each evaluation, packed; without bandwidths.
        wanted: evaluations without bringing equal mappings to one form.
    """

    cycles: NDArray[np.float64]
    traffic: NDArray[np.float64]
    distinct: Integers
    wanted: int


def evaluate(
    groups: tuple[Group, ...],
    space: Space,
    need: Needs,
    alive: NDArray[np.bool_],
    *,
    dram_bw: int | None,
    noc_latency: int,
) -> Totals:
    """Cycles and traffic of the tiles and PEs marked in `alive` (tiles x PEs), in this order."""
    points = int(np.count_nonzero(alive))
    cycles = np.zeros((points, len(space.noc_bw)))
    traffic = np.zeros((points, len(TRAFFIC)))
    distinct = []
    for number, (group, key) in enumerate(zip(groups, need.asked, strict=True)):
        found, at = np.unique(key[alive], return_inverse=True)
        times, moved = _run(group, found, space.noc_bw, dram_bw or 0, noc_latency)
        cycles += group.times * times[at]
        traffic += group.times * moved[at]
        distinct.append(found + (number << (2 * _UNITS_BITS + 3)))
    wanted = points * len(groups) * len(space.noc_bw)
    return Totals(cycles, traffic, np.concatenate(distinct), wanted)


def _run(
    group: Group, found: Integers, bandwidths: tuple[int, ...], dram_bw: int, latency: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cycles (n x bandwidths) and traffic (n x TRAFFIC) of distinct mappings of a layer."""
    cycles = np.empty((len(found), len(bandwidths)))
    traffic = np.empty((len(found), len(TRAFFIC)))
    step = max(1, _BLOCK // len(bandwidths))
    for start in range(0, len(found), step):
        some = found[start : start + step]
        machines = _machines(group, some, dram=dram_bw, latency=latency)
        machines = np.repeat(machines, len(bandwidths), axis=0)
        machines[:, 3] = np.tile(bandwidths, len(some))
        mappings = np.repeat(_forms(group, some), len(bandwidths), axis=0)
        batch = evaluate_batch(_layer(group), machines, mappings)
        if np.any(batch.reason):
            raise RuntimeError("a mapping without limits is infeasible")
        cycles[start : start + step] = batch.cycles.reshape(len(some), -1)
        counts = batch.counts[:: len(bandwidths)]  # bandwidth changes no count
        dram, reads, writes = accesses(counts, 2)
        both = [part[:, store] for store in range(3) for part in (reads, writes)]
        traffic[start : start + step] = np.stack([dram, *both, counts[:, MACS]], axis=1)
    return cycles, traffic


_UNITS_MASK = (1 << _UNITS_BITS) - 1


def _layer(group: Group) -> Integers:
    return np.array([layer_row(group.layer)])


def _forms(group: Group, keys: Integers) -> Integers:
    return group.forms[keys >> _UNITS_BITS]


def _machines(
    group: Group, keys: Integers, *, l1: int = 0, dram: int = 0, latency: int = 0
) -> Integers:
    """Machines with exactly the PEs of the clusters that work; bandwidth unlimited."""
    rows = np.zeros((len(keys), 6), dtype=np.int64)
    rows[:, 0] = (keys & _UNITS_MASK) * _forms(group, keys)[:, 1, 0]
    rows[:, 1], rows[:, 4], rows[:, 5] = l1, latency, dram
    return rows
