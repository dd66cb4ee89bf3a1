"""Annealing of dataflows, compiled: moves, the closed form, and what is kept.

A neighbour is judged layer by layer, those first that weigh most where it comes from, and given up
as soon as its value so far, with the bounds of the layers that are left, exceeds what would be
accepted. The tiles of a neighbour that does not fit the buffers are shrunk until it does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcp_hw.maestro.honest_axis import COMPILED
from dcp_hw.maestro.honest_plan import LEVELS
from dcp_hw.mapspace import DIMENSIONS, TILE, UNITS
from dcp_hw.optimise_closed import (
    DRAM,
    ENERGY_PARTS,
    LATENCY,
    LEAST_ENERGY,
    LEAST_LATENCY,
    LOGS,
    NOC,
    PES,
    bound_logs,
    energies,
)
from dcp_hw.optimise_closed_loops import (
    COLUMNS,
    DEPTHWISE,
    MASK,
    ROWS,
    loops,
    traffic,
    views,
)
from dcp_hw.optimise_closed_time import GROUP, timing
from dcp_hw.optimise_moves import below, chance, change, reseed
from dcp_hw.optimise_neighbours import fit, key_of, known, note, worse
from tensorlib.compiled import source_tag

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

_SHRINKS = 16  # attempts to make a neighbour fit
_DRAWS = 64  # neighbours drawn for each that is judged, at most


@njit(**COMPILED)
def _depth(row: Integers) -> int:
    """Levels of a packed dataflow (3 x 14)."""
    return LEVELS if row[LEVELS - 1, UNITS] > 0 else LEVELS - 1


@njit(**COMPILED)
def _keep(m: Integers, value: float, pool: Integers, values: Floats, once: bool) -> None:
    """Put a dataflow in the place of the worst that is kept, if it is better.

    Args:
        once: not if one of this value is kept: orders without effect make many of them.
    """
    worst = 0
    for n in range(len(values)):
        if once and abs(values[n] - value) <= 1e-12 * value:
            return
        if values[n] > values[worst]:
            worst = n
    if value < values[worst]:
        pool[worst], values[worst] = m, value


@njit(**COMPILED)
def _heaviest_first(parts: Floats, order: Integers) -> None:
    """Fill `order` with the layers by falling share of the value."""
    for k in range(len(parts)):
        at = k
        while at > 0 and parts[order[at - 1]] < parts[k]:
            order[at] = order[at - 1]
            at -= 1
        order[at] = k


def _compile() -> Callable[..., int]:
    """The compiled loop; `honest_fast._compile` says why it is a closure with a tag."""
    here = Path(__file__).parent
    names = ["mapspace", "maestro/honest_axis"]
    names += [f"optimise_{n}" for n in ("closed", "closed_loops", "closed_time")]
    names += ["optimise_moves", "optimise_neighbours"]
    tag = source_tag(*(str(here / f"{name}.py") for name in names))

    @njit(cache=True, **COMPILED)
    def anneal(
        at: Integers,
        values: Floats,
        shares: Floats,
        slopes: Floats,
        guided: bool,
        sizes: Integers,
        may: NDArray[np.bool_],
        pes: int,
        whole: Integers,
        whole_machine: Integers,
        layers: Floats,
        machine: Floats,
        factors: Floats,
        powers: Floats,
        stored: Floats,
        table: Floats,
        scalars: Floats,
        asked: int,
        slack: Floats,
        tried: Integers,
        pool: Integers,
        pool_values: Floats,
        seed: int,
    ) -> int:
        """Move s dataflows (`at`, s x 3 x 14, `packed`) in place until so many are judged;
        returns how many were. `values` (s) are sums over l layers of `factors` (l) x cycles and
        nJ to their `powers`, `shares` (s x l) their parts; infinite where a dataflow is new.
        `slack` (2): mean log by which the value may rise, at first and at last. The best go to
        `pool` (p x 3 x 14) and `pool_values`."""
        g, w = np.full((ROWS, LEVELS + 1, DIMENSIONS), float(tag % 2)), np.empty((8, 8))
        place, along = np.empty((LEVELS, DIMENSIONS), np.int64), np.empty(LEVELS, np.int64)
        changing, view = np.empty((LEVELS, 3)), np.empty((LEVELS, 3), np.int64)
        units, flow = np.empty(LEVELS), np.empty((LEVELS + 1, COLUMNS))
        room, volume = np.empty((LEVELS, DIMENSIONS, GROUP)), np.empty((LEVELS, 3))
        parts, logs = np.empty(ENERGY_PARTS), np.empty(LOGS)
        s, number = len(at), len(layers)
        least, macs, mine = np.empty(number), np.ones(number), np.empty(number)
        order = np.empty((s, number), np.int64)
        whole_room = np.empty((LEVELS, TILE.stop), np.int64)
        for k in range(number):
            bound_logs(layers[k], machine, stored, table, scalars, logs, w[4])
            log = powers[0] * logs[LEAST_LATENCY] + powers[1] * logs[LEAST_ENERGY]
            least[k] = factors[k] * math.exp(log) * (1.0 - 1e-6)
            for d in range(DIMENSIONS):
                macs[k] *= layers[k, d]
        floor, judged, draws, power = least.sum(), 0, 0, powers.sum()
        for n in range(s):
            _heaviest_first(shares[n], order[n])
        reseed(seed)
        while judged < asked and draws < _DRAWS * asked + s:
            n, new = draws % s, draws < s
            draws += 1
            if new and values[n] < np.inf:
                continue
            levels = _depth(at[n])
            m = whole_room[:levels]
            m[:] = at[n, :levels]
            if not new:
                mate = below(s)
                if _depth(at[mate]) != levels:
                    mate = n
                change(m, at[mate], sizes, may, pes)
                if guided and worse(at[n, :levels], m, slopes[n]):
                    continue
            if not fit(m, sizes, whole, number, whole_machine, _SHRINKS):
                continue
            key = key_of(m)
            if known(tried, key):
                continue
            note(tried, key)
            warmth = slack[0] + (slack[1] - slack[0]) * judged / asked
            limit = values[n] * math.exp(-warmth * power * math.log(1.0 - chance()))
            judged += 1
            total, rest = 0.0, floor
            for j in range(number):
                k = order[n, j]
                mask = MASK[int(layers[k, DEPTHWISE])]
                loops(layers[k], machine[PES], m, g, place, along, units, w)
                views(g, mask, changing[:levels], view[:levels])
                sums = traffic(
                    layers[k], g, place, along, mask, view[:levels], flow[: levels + 1], w
                )
                by = machine[NOC], machine[DRAM], machine[LATENCY]
                cycles, _, _ = timing(
                    layers[k], g, place, along[:levels], mask, changing, *by, room, volume, w[4:]
                )
                leak = energies(
                    flow[: levels + 1], sums, macs[k], stored, table, scalars, parts, w[4]
                )
                nj = parts.sum() + leak * cycles / scalars[2]
                mine[k] = factors[k] * cycles ** powers[0] * nj ** powers[1]
                total += mine[k]
                rest -= least[k]
                if total + rest > limit:
                    break
            if total + rest > limit:
                continue
            at[n, :levels], values[n], shares[n] = m, total, mine
            _keep(at[n], total, pool, pool_values, number == 1)
            _heaviest_first(mine, order[n])
        return judged

    return anneal


anneal = _compile()
