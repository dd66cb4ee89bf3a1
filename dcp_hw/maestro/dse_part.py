"""One part of a sweep: some tiles on all hardware; what falls out, and why."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dcp_hw.maestro import dse_kernel as kernel
from dcp_hw.maestro.dse_evaluate import Group, Needs, Totals, evaluate, groups, needs
from dcp_hw.maestro.dse_front import front
from dcp_hw.maestro.dse_price import AREA, KIB, Prices, buffer_prices, load_table, prices
from dcp_hw.maestro.dse_space import Integers, Space
from dcp_hw.technology import Technology
from dcp_hw.workload import LayerSet

PRUNED = ("no_cluster", "area_floor", "l1_needed", "l2_needed", "area_needed")
"""Why all designs of a tile and a number of PEs are invalid before any evaluation, in this order.

no_cluster: fewer PEs than one cluster has. area_floor: the PEs with the smallest L1 and L2 exceed
the area. l1_needed, l2_needed: the tile needs more than the largest size. area_needed: the PEs with
the smallest buffers that hold the tile exceed the area.
"""

PRICED = ("l1_small", "l2_small", "area", "power", "valid")
"""What the closed form says of each design that is left, the first that holds."""

_REDUCE = 1 << 17  # candidates kept before the front is taken of them


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is swept under which limits."""

    space: Space
    layers: LayerSet
    area_mm2: float
    power_mw: float  # of the chip: DRAM is not in it
    clock_mhz: float
    technology: str
    dram_bw: int | None  # elements per cycle, both directions together
    noc_latency: int

    @cached_property
    def table(self) -> Technology:
        """The table of prices."""
        return load_table(self.technology)

    @cached_property
    def prices(self) -> Prices:
        """Prices of the sizes in the space."""
        return prices(self.table, self.space.l1_bytes, self.space.l2_kib)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Layers with the tiles' least forms."""
        return groups(self.layers, self.space)

    @cached_property
    def least_cycles(self) -> float:
        """Cycles that no design beats: all PEs that can work, each tensor moved once.

        Scales the pictures and the grid; nothing is pruned by it.
        """
        total, pes = 0.0, np.array(self.space.pes)
        for layer, group in zip(self.layers, self.groups, strict=True):
            built = pes[None, :] // self.space.tile_rows[:, :1]
            working = np.minimum(built, group.clusters[group.form][:, None])
            most = (working * group.forms[group.form, 1, :1]).max()
            moved = layer.input_bytes + layer.weight_bytes + layer.output_bytes
            slowest = moved / self.dram_bw if self.dram_bw else 0.0
            total += layer.count * max(layer.macs / max(1, most), slowest)
        return total

    @cached_property
    def scalars(self) -> NDArray[np.float64]:
        """Scalars of the kernel."""
        found = np.zeros(kernel.SCALARS)
        price, macs = self.prices, self.layers.macs
        for name, value in (
            ("AREA_LIMIT", self.area_mm2),
            ("POWER_LIMIT", self.power_mw),
            ("CLOCK", self.clock_mhz),
            ("PE_MM2", price.pe_mm2),
            ("PORT_MM2", price.port_mm2),
            ("PE_CLOCK", price.pe_clock_pj),
            ("PORT_CLOCK", price.port_clock_pj),
            ("MAC_PJ", price.mac_pj),
            ("DRAM_PJ", price.dram_pj),
            ("LEAST_CYCLES", self.least_cycles),
            ("LEAST_ENERGY", macs * price.mac_pj * 1e-3),
            ("MACS", macs),
            ("MOST_THROUGHPUT", macs / self.least_cycles),
        ):
            found[getattr(kernel, name)] = value
        return found


@dataclass(frozen=True, slots=True)
class Part:
    """Results of some tiles, by name: `pruned` and `fate` in designs, `calls` to the model,
    pictures, and the candidates of the front (`pool`, `numbers`)."""

    arrays: dict[str, NDArray[np.generic]]


CALLS = ("wanted", "run", "requirements")
"""Evaluations that the points of a part want, those run, and calls for requirements only."""


def empty_part(setting: Setting) -> Part:
    """A part without designs."""
    rows = kernel.THROUGHPUT_BINS
    return Part(
        {
            "pruned": np.zeros(len(PRUNED), dtype=np.int64),
            "fate": np.zeros(kernel.FATES, dtype=np.int64),
            "calls": np.zeros(len(CALLS), dtype=np.int64),
            "by_area": np.zeros((2, rows, kernel.AREA_BINS)),
            "by_power": np.zeros((2, rows, kernel.POWER_BINS)),
            "by_energy": np.zeros((rows, kernel.ENERGY_BINS), dtype=np.int64),
            "pool": np.zeros((0, kernel.POOL_COLUMNS)),
            "numbers": np.zeros(0, dtype=np.int64),
            "distinct": np.zeros(0, dtype=np.int64),
        }
    )


def merge(total: Part, part: Part) -> None:
    """Adds a part's results to `total`; the front of both is taken."""
    here, there = total.arrays, part.arrays
    for name in ("pruned", "fate", "calls", "by_area", "by_power", "by_energy"):
        here[name] += there[name]
    pool = np.concatenate([here["pool"], there["pool"]])
    here["pool"], here["numbers"] = front(pool, np.concatenate([here["numbers"], there["numbers"]]))


def sweep_part(setting: Setting, tiles: slice) -> Part:
    """Results of some tiles of the space."""
    part = empty_part(setting)
    space = setting.space
    need = needs(setting.groups, space, tiles)
    buffer = buffer_prices(setting.table, need.buffer)
    why = prune(setting, need, buffer)
    alive = why == len(PRUNED)
    each = len(space.noc_bw) * len(space.l1_bytes) * len(space.l2_kib)
    part.arrays["pruned"] += each * np.bincount(why.ravel(), minlength=len(PRUNED) + 1)[:-1]
    calls = part.arrays["calls"]
    calls[2] = need.calls
    if not alive.any():
        return part
    totals = evaluate(
        setting.groups,
        space,
        need,
        alive,
        dram_bw=setting.dram_bw,
        noc_latency=setting.noc_latency,
    )
    calls[0], calls[1] = totals.wanted, len(totals.distinct) * len(space.noc_bw)
    part.arrays["distinct"] = totals.distinct
    _price(setting, tiles, need, buffer, alive, totals, part)
    return part


def prune(setting: Setting, need: Needs, buffer: NDArray[np.float64]) -> Integers:
    """Place in `PRUNED` of each tile and number of PEs; its length where none holds.

    Areas of memories do not always rise with their size: the least of all that would do is taken.
    """
    space, price = setting.space, setting.prices
    pes = np.array(space.pes)[None, :]
    l1_least, l2_least = _least_areas(setting, need)
    logic = pes * price.pe_mm2
    ports = (need.clusters + 1) * space.noc_bw[0] * price.port_mm2
    floor = logic + pes * price.l1[:, AREA].min() + price.l2[1:, AREA].min()
    with np.errstate(invalid="ignore"):
        least = logic + pes * l1_least + l2_least + need.clusters * buffer[..., AREA] + ports
    # a little above the limit: rounding may not prune what the kernel would find valid
    limit = setting.area_mm2 * (1 + 1e-9)
    rules = (
        need.clusters == 0,
        np.broadcast_to(floor > limit, least.shape),
        np.isinf(l1_least),
        np.isinf(l2_least),
        least > limit,
    )
    return np.select(rules, range(len(PRUNED)), default=len(PRUNED))


def _least_areas(setting: Setting, need: Needs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least areas in mm2 of an L1 and of an L2 that hold the tile, infinite where none does."""
    space, price = setting.space, setting.prices
    l1_sizes, l2_sizes = np.array(space.l1_bytes), np.array(space.l2_kib) * KIB
    l1_area = np.append(np.minimum.accumulate(price.l1[::-1, AREA])[::-1], np.inf)
    l1_least = l1_area[np.searchsorted(l1_sizes, need.l1)]
    left = l2_sizes[:, None, None] - need.clusters * need.buffer
    rows = np.clip(-(-left // KIB), 1, None)
    l2_least = np.where(left >= need.l2, price.l2[rows, AREA], np.inf).min(axis=0)
    return l1_least, l2_least


def _price(
    setting: Setting,
    tiles: slice,
    need: Needs,
    buffer: NDArray[np.float64],
    alive: NDArray[np.bool_],
    totals: Totals,
    part: Part,
) -> None:
    """Sweeps L1 and L2 sizes of all points, tile by tile."""
    space, arrays = setting.space, part.arrays
    per_tile = space.designs // space.shape[0]
    sizes = [
        np.array(axis, dtype=np.int64) for axis in (space.noc_bw, space.l1_bytes, space.l2_kib)
    ]
    grid = np.full((kernel.GRID_CYCLES, kernel.GRID_ENERGY), np.inf)
    pool = np.empty((per_tile, kernel.POOL_COLUMNS))
    numbers = np.empty(per_tile, dtype=np.int64)
    start = 0
    for t, row in enumerate(alive):
        places = np.flatnonzero(row)
        points = slice(start, start + len(places))
        start += len(places)
        pes = np.stack([places, np.array(space.pes)[places], need.clusters[t, places]], axis=1)
        wanted = np.stack([need.l1[t], need.l2[t], need.buffer[t]], axis=1)[places]
        found = kernel.sweep(
            (tiles.start + t) * per_tile,
            np.ascontiguousarray(pes),
            *sizes,
            setting.prices.l1,
            setting.prices.l2,
            np.ascontiguousarray(buffer[t, places]),
            wanted,
            totals.cycles[points],
            totals.traffic[points],
            setting.scalars,
            arrays["fate"],
            arrays["by_area"],
            arrays["by_power"],
            arrays["by_energy"],
            grid,
            pool,
            numbers,
        )
        arrays["pool"] = np.concatenate([arrays["pool"], pool[:found]])
        arrays["numbers"] = np.concatenate([arrays["numbers"], numbers[:found]])
        if len(arrays["pool"]) > _REDUCE:
            arrays["pool"], arrays["numbers"] = front(arrays["pool"], arrays["numbers"])
    arrays["pool"], arrays["numbers"] = front(arrays["pool"], arrays["numbers"])
