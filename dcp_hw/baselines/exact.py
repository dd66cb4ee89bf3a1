"""The proven optimum of a sub-space: two levels, dividing tiles, few loop orders.

The sub-space: tiles divide the tile above, filters are whole, any of K C Y X parallel at each
level, units of the inner level divide the PEs (the outer level gets the rest), the outer loops in
one of three orders (weights, inputs or outputs stay), the inner ones in the order where outputs
stay.

Branch and bound. A node is an outer level. Traffic between DRAM, L2 and the units of the outer
level depends on nothing else, so the node alone, evaluated as a mapping of one level, gives these
counts exactly. What enters a working unit's buffer must enter a PE's below it, and a unit needs at
least its MACs over its PEs. Together that bounds every mapping below the node. Nodes are opened by
rising bound; when it reaches the best value found, that value is the optimum. Within a node a
mapping whose own bound (`child_bounds`) is no better than the best value is not evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from dcp_hw.baselines.bounds import cheapest
from dcp_hw.baselines.problem import Budgeted, Problem
from dcp_hw.maestro.honest_count import (
    BOUNDARY,
    BOUNDARY_COLUMNS,
    BUFFERS,
    L2_REQUIRED,
    MACS,
    REQUIRED,
)
from dcp_hw.maestro.honest_energy import private_price, shared_price
from dcp_hw.maestro.honest_fast import evaluate_batch, layer_row, machine_row
from dcp_hw.maestro.honest_plan import PES
from dcp_hw.maestro.honest_types import (
    INPUT,
    OUTPUT,
    WEIGHT,
    C,
    HonestMachine,
    K,
    R,
    S,
    X,
    Y,
)
from dcp_hw.mapspace import ORDER, PARALLEL, TILE, UNITS
from dcp_hw.technology import load_technology

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

ORDERS = ((K, C, R, S, Y, X), (C, Y, X, R, S, K), (K, Y, X, C, R, S))
"""Outer loops: weights, inputs, outputs stay."""
INNER_ORDER = (K, Y, X, C, R, S)
SPREAD = (K, C, Y, X)
SUBSPACE = "2 levels, dividing tiles, whole filters, 3 outer orders"

_ROWS = 8192  # mappings looked at together
_FEW = 64  # and evaluated at first


@cache
def divisors(number: int) -> tuple[int, ...]:
    """All divisors, smallest first."""
    small = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return tuple(sorted({*small, *(number // d for d in small)}))


def dividing_tiles(sizes: tuple[int, ...]) -> Integers:
    """All tiles that divide the sizes, filters whole: n x 6."""
    choices = [divisors(size) for size in sizes[:R]] + [(sizes[R],), (sizes[S],)]
    return np.array(list(product(*choices)), dtype=np.int64)


def _spread(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Dimensions worth spreading; one of them where none is."""
    return tuple(d for d in SPREAD if sizes[d] > 1) or (C,)


@dataclass(frozen=True, slots=True)
class Nodes:
    """n outer levels, and what holds for all mappings below each.

    Attributes:
        rows: n x 14.
        work: cycles of the layer if each unit were a single PE that never waits.
        nj: least energy without leakage; leak_mw: least leakage.
        bound: of the objective; inf where the L2 is too small.
    """

    rows: Integers
    work: Floats
    nj: Floats
    leak_mw: Floats
    bound: Floats


def exact(evaluate: Budgeted) -> bool:
    """Whether the best of the sub-space is proven; the evaluator keeps it.

    Raises: BudgetSpent where the budget ends before.
    """
    problem = evaluate.problem
    nodes = open_nodes(problem)
    evaluate.partial = len(nodes.rows)
    order = np.argsort(nodes.bound, kind="stable")
    order = order[np.isfinite(nodes.bound[order])]
    at = 0
    while at < len(order) and nodes.bound[order[at]] < evaluate.best:
        rows, bounds, taken = [], [], 0
        while at < len(order) and taken < _ROWS and nodes.bound[order[at]] < evaluate.best:
            node, at = int(order[at]), at + 1
            if fold_bound(problem, nodes, node) >= evaluate.best:
                continue
            below = children(problem, nodes.rows[node])
            least = child_bounds(problem, nodes, node, below)
            open_ = least < evaluate.best
            rows.append(below[open_])
            bounds.append(least[open_])
            taken += len(rows[-1])
        if not rows:
            break
        _evaluate_promising(evaluate, np.concatenate(rows), np.concatenate(bounds))
    return evaluate.mapping is not None


def _evaluate_promising(evaluate: Budgeted, rows: Integers, bounds: Floats) -> None:
    """Evaluate mappings by rising bound until the bound reaches the best value."""
    order = np.argsort(bounds, kind="stable")
    start, number = 0, _FEW
    while start < len(order):
        part = order[start : start + number]
        part = part[bounds[part] < evaluate.best]
        if not len(part):
            return
        evaluate(rows[part])
        start, number = start + number, min(2 * number, _ROWS)


def outer_levels(problem: Problem) -> Integers:
    """All outer levels of the sub-space, n x 14."""
    layer, pes = problem.shape[0], problem.space.pes
    tiles = dividing_tiles(layer.sizes)
    heads = [
        (pes // inner, parallel, *order)
        for inner in divisors(pes)
        for parallel in _spread(layer.sizes)
        for order in ORDERS
    ]
    out = np.empty((len(heads), len(tiles), 14), dtype=np.int64)
    out[:, :, : TILE.start] = np.array(heads)[:, None]
    out[:, :, TILE] = tiles
    return out.reshape(-1, 14)


def children(problem: Problem, outer: Integers) -> Integers:
    """All mappings of the sub-space with this outer level, n x 2 x 14."""
    tile = tuple(outer[TILE].tolist())
    tiles = dividing_tiles(tile)
    spread = _spread(tile)
    out = np.empty((len(spread), len(tiles), 2, 14), dtype=np.int64)
    out[:, :, 0] = outer
    out[:, :, 1, UNITS] = problem.space.pes // outer[UNITS]
    out[:, :, 1, PARALLEL] = np.array(spread)[:, None]
    out[:, :, 1, ORDER] = INNER_ORDER
    out[:, :, 1, TILE] = tiles
    return out.reshape(-1, 2, 14)


def open_nodes(problem: Problem) -> Nodes:
    """All outer levels of the sub-space with their bounds."""
    rows = outer_levels(problem)
    one, times = problem.shape
    machine = problem.accelerator.machine
    free = np.tile(machine_row(HonestMachine(pes=machine.pes)), (len(rows), 1))
    free[:, PES] = rows[:, UNITS]
    batch = evaluate_batch(np.array([layer_row(one)]), free, rows[:, None])
    counts = batch.counts
    nj, leak_mw = _energies(problem, rows, counts)
    cycles = np.ceil(batch.cycles / (machine.pes // rows[:, UNITS])) + _ends(problem)
    total = nj + leak_mw * cycles / problem.accelerator.clock_mhz
    bound = problem.value(cycles * times, total * times)
    if machine.l2_size:
        shared = counts[:, L2_REQUIRED] + counts[:, REQUIRED] * counts[:, BUFFERS]
        bound[shared > machine.l2_size] = np.inf
    return Nodes(rows, batch.cycles, nj, leak_mw, bound)


def _ends(problem: Problem) -> int:
    """Cycles of two levels' first loads and last drains at least."""
    machine = problem.accelerator.machine
    return 4 * (machine.noc_latency + (1 if machine.noc_bw else 0))


def fold_bound(problem: Problem, nodes: Nodes, at: int) -> float:
    """What no mapping below node `at` undercuts: its bound with the best use of a unit's PEs.

    At most the least of `child_bounds`, and much quicker: where time alone counts, nodes of equal
    bound are many.
    """
    tile, units = nodes.rows[at, TILE], problem.space.pes // int(nodes.rows[at, UNITS])
    share = min(_least_share(int(tile[d]), units) for d in _spread(tuple(tile.tolist())))
    cycles = nodes.work[at] * share + _ends(problem)
    nj = nodes.nj[at] + nodes.leak_mw[at] * cycles / problem.accelerator.clock_mhz
    times = problem.shape[1]
    return float(problem.value(cycles * times, nj * times))


@cache
def _least_share(whole: int, units: int) -> float:
    """Least share of the work that one of so many units does, over tiles that divide `whole`."""
    return min(-(-whole // (tile * units)) * tile / whole for tile in divisors(whole))


def child_bounds(problem: Problem, nodes: Nodes, at: int, below: Integers) -> Floats:
    """Bound of the objective of each mapping below node `at`; inf where a PE's buffer overflows.

    As tiles divide, every step of the outer level hands a unit its full tile, so the time without
    waiting is exact; so is the buffer of a PE, and thus the price of its accesses.
    """
    machine = problem.accelerator.machine
    one, times = problem.shape
    inner, parallel = below[:, 1, TILE], below[:, 1, PARALLEL, None]
    above = below[:, 0, TILE]
    tile, whole = (np.take_along_axis(x, parallel, axis=1)[:, 0] for x in (inner, above))
    folds = -(-whole // (tile * below[:, 1, UNITS]))
    cycles = nodes.work[at] * (folds * tile / whole) + _ends(problem)
    size = private_elements(problem, below)
    extra = _private_extra(problem)[np.minimum(size, _SIZES - 1)]
    nj = nodes.nj[at] + one.macs * extra / 1000
    nj = nj + nodes.leak_mw[at] * cycles / problem.accelerator.clock_mhz
    values = problem.value(cycles * times, nj * times)
    if machine.l1_size:
        values[size > machine.l1_size] = np.inf
    return values


def private_elements(problem: Problem, below: Integers) -> Integers:
    """Elements of a PE's buffer for n two-level mappings with dividing tiles."""
    one = problem.shape[0]
    changing, above = np.zeros((len(below), 6), dtype=bool), problem.space.sizes
    for level in range(2):
        rounds = below[:, level, TILE].copy()
        along = below[:, level, PARALLEL]
        rounds[np.arange(len(below)), along] *= below[:, level, UNITS]
        changing |= rounds < above
        above = below[:, level, TILE]
    tile = below[:, 1, TILE]
    extents = tile.copy()
    for axis, taps in ((Y, R), (X, S)):
        extents[:, axis] = (tile[:, axis] - 1) * np.minimum(one.stride, tile[:, taps])
        extents[:, axis] += tile[:, taps]
    total = np.zeros(len(below), dtype=np.int64)
    for tensor in (INPUT, WEIGHT, OUTPUT):
        dims = list(one.coupled(tensor))
        size = extents[:, dims[:3]].prod(1) if tensor == INPUT else tile[:, dims].prod(1)
        total += size * np.where(changing[:, dims].any(axis=1), 2, 1)
    return total


_SIZES = 4096


def _private_extra(problem: Problem) -> Floats:
    """pJ that the accesses of one MAC cost above the least, by elements of a PE's buffer.

    Entry s is the least of all sizes from s on, so that the bound needs no monotony.
    """
    accelerator = problem.accelerator
    machine = accelerator.machine
    return _extra_table(accelerator.technology, machine.l1_size, machine.l2_size)


@cache
def _extra_table(technology: str, l1_size: int | None, l2_size: int | None) -> Floats:
    table = load_technology(technology)
    least = cheapest(technology, l1_size, l2_size)
    macros = [private_price(table, max(size, 1)) for size in range(_SIZES)]
    prices = np.array([3 * macro.read_pj + macro.write_pj for macro in macros])
    lowest = np.minimum.accumulate(prices[::-1])[::-1]
    return np.maximum(lowest - (3 * least.private_read + least.private_write), 0.0)


def _energies(problem: Problem, rows: Integers, counts: Integers) -> tuple[Floats, Floats]:
    """Least nJ and mW below nodes: exact as far as the units of level 0, then what must move."""
    accelerator = problem.accelerator
    table = load_technology(accelerator.technology)
    machine, pj = accelerator.machine, table.energy_pj
    least = cheapest(accelerator.technology, machine.l1_size, machine.l2_size)
    edges = counts[:, BOUNDARY : BOUNDARY + 2 * BOUNDARY_COLUMNS].reshape(-1, 2, BOUNDARY_COLUMNS)
    down, taken = edges[:, :, 0:3].sum(axis=2), edges[:, :, 3:6].sum(axis=2)
    drained, collected = edges[:, :, 6], edges[:, :, 7]
    entering = _used_loads(problem, rows, edges[:, 1])
    macs = counts[:, MACS]
    l2 = _price(problem, counts[:, L2_REQUIRED])
    unit = _price(problem, counts[:, REQUIRED])
    picojoules = (down[:, 0] + collected[:, 0]) * (8 * pj["bus_per_bit"])
    picojoules += (drained[:, 0] + down[:, 1]) * l2[0] + (taken[:, 0] + collected[:, 1]) * l2[1]
    picojoules += (drained[:, 1] + entering) * unit[0] + (taken[:, 1] + drained[:, 1]) * unit[1]
    picojoules += macs * (pj["multiply"] + pj["add"] + 3 * least.private_read + least.private_write)
    picojoules += entering * least.private_write
    return picojoules / 1000, l2[2] + unit[2] * counts[:, BUFFERS]


def _used_loads(problem: Problem, rows: Integers, edge: Integers) -> Integers:
    """Inputs and weights that working units of level 0 receive, at least; n.

    A unit that idles in the last fold takes what all units share, but hands nothing on: of shared
    tensors only the units that work in every fold count.

    Args:
        edge: counts of the boundary into the units, n x BOUNDARY_COLUMNS.
    """
    one, parallel = problem.shape[0], rows[:, PARALLEL]
    tiles = problem.space.sizes[parallel] // rows[np.arange(len(rows)), TILE.start + parallel]
    always = np.where(tiles > rows[:, UNITS], (tiles - 1) % rows[:, UNITS] + 1, tiles)
    loads = np.zeros(len(rows), dtype=np.int64)
    for tensor in (INPUT, WEIGHT):
        split = np.isin(parallel, one.coupled(tensor))
        loads += np.where(split, edge[:, 3 + tensor], edge[:, tensor] * always)
    return loads


def _price(problem: Problem, sizes: Integers) -> Floats:
    """Read and write pJ per element and leakage mW of shared memories, 3 x n."""
    table = load_technology(problem.accelerator.technology)
    known, which = np.unique(sizes, return_inverse=True)
    macros = [shared_price(table, max(int(size), 1)) for size in known]
    return np.array([(m.read_pj, m.write_pj, m.leak_mw) for m in macros]).T[:, which]
