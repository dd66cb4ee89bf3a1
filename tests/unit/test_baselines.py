"""Searches of MAESTRO mappings: optima of tiny spaces, budgets, bounds, encodings."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from dcp_hw.baselines import genetic
from dcp_hw.baselines.blackbox import NEVERGRAD
from dcp_hw.baselines.bounds import bound
from dcp_hw.baselines.exact import (
    ORDERS,
    child_bounds,
    children,
    fold_bound,
    open_nodes,
    outer_levels,
    private_elements,
)
from dcp_hw.baselines.fixed import FIXED
from dcp_hw.baselines.methods import EXACT, METHODS
from dcp_hw.baselines.problem import (
    Accelerator,
    Budgeted,
    BudgetSpent,
    Objective,
    Problem,
)
from dcp_hw.maestro.encoding import decode, encode
from dcp_hw.maestro.honest_count import REQUIRED
from dcp_hw.maestro.honest_energy import energy
from dcp_hw.maestro.honest_fast import FEASIBLE, evaluate_batch, layer_row, machine_row
from dcp_hw.maestro.honest_interpreter import interpret
from dcp_hw.maestro.honest_types import HonestCounts, HonestMachine
from dcp_hw.mapspace import MapSpace, levels_of
from dcp_hw.workload import Layer, Operator

PRODUCT = Layer(name="product", operator=Operator.GEMM, M=1, N=3, K=2)
CONV = Layer(
    name="conv", operator=Operator.CONV, K=4, C=6, Y=6, X=4, R=3, S=3, padding=1, iy=6, ix=4
)
DEPTHWISE = Layer(
    name="depthwise",
    operator=Operator.DWCONV,
    K=6,
    C=6,
    Y=4,
    X=6,
    R=3,
    S=3,
    groups=6,
    stride=2,
    padding=1,
)
TIGHT = Accelerator(
    machine=HonestMachine(pes=2, l1_size=9, l2_size=60, noc_bw=2, noc_latency=1, dram_bw=2)
)
SMALL = Accelerator(
    machine=HonestMachine(pes=12, l1_size=64, l2_size=900, noc_bw=4, noc_latency=1, dram_bw=3)
)
SEARCHES = [name for name in METHODS if name not in (*FIXED, EXACT)]


def brute_values(
    layer: Layer, accelerator: Accelerator, objective: Objective, rows: np.ndarray
) -> np.ndarray:
    """Objective of each mapping by the evaluator's own calls; inf where infeasible."""
    one, _ = Problem(layer=layer, accelerator=accelerator, objective=objective).shape
    machine = np.array([machine_row(accelerator.machine)])
    batch = evaluate_batch(np.array([layer_row(one)]), machine, rows)
    nj = energy(batch, rows.shape[1], technology=accelerator.technology).total_nj
    values = {"latency": batch.cycles, "energy": nj, "edp": batch.cycles * nj}[objective]
    return np.where(batch.reason == FEASIBLE, values, np.inf)


def whole_space() -> np.ndarray:
    """Every distinct mapping of PRODUCT on 2 PEs; loops and dimensions of size 1 stand for all."""
    tiles = [
        np.array([(k, c, 1, 1, 1, 1) for k, c in zip(ks, cs, strict=True)])
        for ks in product(range(1, 4), repeat=3)
        if ks[0] >= ks[1] >= ks[2]
        for cs in product(range(1, 3), repeat=3)
        if cs[0] >= cs[1] >= cs[2]
    ]
    heads = [
        np.array([(u, p, *o) for u, p, o in zip(units, parallel, orders, strict=True)])
        for units in product(range(1, 3), repeat=3)
        if np.prod(units) <= 2
        for parallel in product((0, 1, 2), repeat=3)
        for orders in product(((0, 1, 2, 3, 4, 5), (1, 0, 2, 3, 4, 5)), repeat=3)
    ]
    out = np.empty((len(heads), len(tiles), 3, 14), dtype=np.int64)
    out[..., :8], out[..., 8:] = np.array(heads)[:, None], np.array(tiles)
    return out.reshape(-1, 3, 14)


@pytest.fixture(scope="module")
def optimum() -> dict[Objective, float]:
    """The least EDP and latency of the whole space of PRODUCT."""
    rows = whole_space()
    found = {}
    for objective in (Objective.EDP, Objective.LATENCY):
        values = brute_values(PRODUCT, TIGHT, objective, rows)
        assert 0.05 < np.isinf(values).mean() < 0.95  # limits matter
        found[objective] = float(values.min())
    return found


# --- every method finds the optimum ----------------------------------------------------


@pytest.mark.parametrize("name", SEARCHES)
def test_method_finds_the_optimum_of_a_tiny_space(
    name: str, optimum: dict[Objective, float]
) -> None:
    if name in NEVERGRAD:
        pytest.importorskip("nevergrad")
    local = name in ("one-plus-one", "cma-es")  # they stay in a local optimum of the EDP
    objective = Objective.LATENCY if local else Objective.EDP
    found = METHODS[name](PRODUCT, TIGHT, objective, 1000, 1)
    assert found.value == pytest.approx(optimum[objective], rel=1e-12)
    assert found.calls == 1000
    assert found.trace[-1][1] == found.value


def test_value_of_the_optimum_is_the_interpreters(optimum: dict[Objective, float]) -> None:
    found = METHODS["gamma"](PRODUCT, TIGHT, Objective.EDP, 1000, 1)
    problem = Problem(layer=PRODUCT, accelerator=TIGHT, objective=Objective.EDP)
    counts = interpret(problem.shape[0], levels_of(np.array(found.mapping)), TIGHT.machine)
    assert isinstance(counts, HonestCounts)
    assert found.cycles == counts.cycles
    assert found.cycles * found.energy_nj == pytest.approx(optimum[Objective.EDP])


@pytest.mark.parametrize("name", ["random", "ga", "gamma", "naas", "de", "cma-es"])
def test_equal_seeds_give_equal_searches(name: str) -> None:
    if name in NEVERGRAD:
        pytest.importorskip("nevergrad")
    first, again, other = (
        METHODS[name](CONV, SMALL, Objective.EDP, 60, seed) for seed in (1, 1, 2)
    )
    assert (first.trace, first.mapping) == (again.trace, again.mapping)
    assert first.trace != other.trace


# --- exact ------------------------------------------------------------------------------


def subspace(layer: Layer, pes: int) -> np.ndarray:
    """Every mapping of the sub-space by plain loops."""
    problem = Problem(layer=layer, accelerator=SMALL, objective=Objective.EDP)
    sizes = problem.shape[0].sizes

    def tiles(above: tuple[int, ...]) -> list[tuple[int, ...]]:
        dims = [[t for t in range(1, size + 1) if size % t == 0] for size in above[:4]]
        return [(*tile, *above[4:]) for tile in product(*dims)]

    rows = []
    for outer in tiles(sizes):
        for inner in tiles(outer):
            for units in (u for u in range(1, pes + 1) if pes % u == 0):
                for p, q, order in product(range(4), range(4), ORDERS):
                    if layer.operator is Operator.DWCONV and 0 in (p, q):
                        continue
                    rows.append(((pes // units, p, *order, *outer), (units, q, *ORDERS[2], *inner)))
    return np.array(rows)


LITTLE = Layer(name="little", operator=Operator.CONV, K=4, C=3, Y=4, X=2, R=3, S=3, padding=1)
LITTLE_DEPTHWISE = Layer(
    name="little", operator=Operator.DWCONV, K=6, C=6, Y=4, X=2, R=3, S=3, groups=6, stride=2
)


@pytest.mark.parametrize("layer", [LITTLE, LITTLE_DEPTHWISE], ids=["conv", "depthwise"])
@pytest.mark.parametrize("objective", list(Objective))
def test_exact_is_the_optimum_of_its_subspace(layer: Layer, objective: Objective) -> None:
    rows = subspace(layer, 12)
    values = brute_values(layer, SMALL, objective, rows)
    found = METHODS[EXACT](layer, SMALL, objective, 10**6, 0)
    assert found.proven
    assert found.value == pytest.approx(values.min(), rel=1e-12)
    assert found.calls < len(rows) / 10  # the bounds do something


@pytest.mark.parametrize("layer", [CONV, DEPTHWISE, PRODUCT], ids=lambda x: x.name)
@pytest.mark.parametrize("accelerator", [SMALL, TIGHT], ids=["small", "tight"])
@pytest.mark.parametrize("objective", list(Objective))
def test_bounds_hold_below_every_node(
    layer: Layer, accelerator: Accelerator, objective: Objective
) -> None:
    problem = Problem(layer=layer, accelerator=accelerator, objective=objective)
    nodes = open_nodes(problem)
    assert len(nodes.rows) == len(outer_levels(problem))
    machine = np.array([machine_row(accelerator.machine)])
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(nodes.rows), 40).tolist():
        below = children(problem, nodes.rows[at])
        batch = evaluate_batch(np.array([layer_row(problem.shape[0])]), machine, below)
        values = brute_values(layer, accelerator, objective, below)
        slack = 1 + 1e-9
        assert (nodes.bound[at] <= values * slack).all()
        least = child_bounds(problem, nodes, at, below)
        assert (least <= values * slack).all()
        if np.isfinite(least).any():
            assert fold_bound(problem, nodes, at) <= least.min() * slack
        assert (bound(problem).of(objective) <= values * slack).all()
        needed = batch.counts[:, REQUIRED + 1]
        assert (private_elements(problem, below) == needed).all()


def test_exact_without_budget_proves_nothing() -> None:
    found = METHODS[EXACT](LITTLE, SMALL, Objective.ENERGY, 3, 0)
    assert (found.calls, found.proven) == (3, None)


@pytest.mark.parametrize("technology", ["45nm-lop", "45nm-hp", "maestro"])
@pytest.mark.parametrize("layer", [CONV, DEPTHWISE], ids=lambda x: x.name)
def test_no_mapping_is_below_the_bound(layer: Layer, technology: str) -> None:
    for machine in (SMALL.machine, HonestMachine(pes=7), HonestMachine(pes=30, dram_bw=1)):
        accelerator = Accelerator(machine=machine, technology=technology)
        problem = Problem(layer=layer, accelerator=accelerator, objective=Objective.EDP)
        for levels in (1, 2, 3):
            space = MapSpace(problem.shape[0], machine.pes, levels)
            cycles, nj = problem.costs(space.sample(np.random.default_rng(levels), 3000))
            least = bound(problem)
            assert np.isfinite(cycles).any()
            assert cycles.min() >= least.cycles
            assert nj.min() >= least.energy_nj


# --- budget -----------------------------------------------------------------------------


@pytest.fixture
def problem() -> Problem:
    return Problem(layer=CONV, accelerator=SMALL, objective=Objective.LATENCY)


def test_budget_is_kept_to_the_sample(problem: Problem) -> None:
    evaluate = Budgeted(problem, 100)
    rows = problem.space.sample(np.random.default_rng(1), 64)
    first = evaluate(rows)
    with pytest.raises(BudgetSpent):
        evaluate(rows)
    assert (evaluate.calls, evaluate.left) == (100, 0)
    with pytest.raises(BudgetSpent):
        evaluate(rows[:1])
    assert evaluate.calls == 100
    assert evaluate.best == first.min()
    assert evaluate.trace == sorted(evaluate.trace, key=lambda x: (x[0], -x[1]))


def test_trace_is_that_of_one_sample_at_a_time(problem: Problem) -> None:
    rows = problem.space.sample(np.random.default_rng(2), 200)
    values = brute_values(CONV, SMALL, Objective.LATENCY, rows)
    expected, best = [], np.inf
    for i, value in enumerate(values, start=1):
        if value < best:
            best = value
            expected.append((i, value))
    evaluate = Budgeted(problem, 200)
    for part in np.split(rows, [1, 7, 50, 51, 130]):
        evaluate(part)
    assert evaluate.trace == expected
    assert evaluate.invalid == np.isinf(values).sum() > 0


def test_illegal_rows_count_and_have_no_value(problem: Problem) -> None:
    good = problem.space.sample(np.random.default_rng(3), 400)
    good = good[np.isfinite(brute_values(CONV, SMALL, Objective.LATENCY, good))][:6]
    bad = good.copy()
    bad[0, 0, 8] = 5  # K has 4
    bad[1, 2, 9] = bad[1, 1, 9] + 1  # above the tile above
    bad[2, :, 0] = (4, 2, 2)  # 16 units on 12 PEs
    bad[3, 1, 2:4] = 1  # a loop twice
    bad[4, 0, 1] = 6
    bad[5, 0, 0] = 0
    assert all(problem.space.why_illegal(row) is None for row in good)
    assert all(problem.space.why_illegal(row) for row in bad)
    evaluate = Budgeted(problem, 12)
    assert np.isinf(evaluate(bad)).all()
    assert np.isfinite(evaluate(good)).all()
    assert (evaluate.calls, evaluate.invalid) == (12, 6)


@pytest.mark.parametrize("budget", [1, 7, 333])
def test_searches_use_their_budget(budget: int) -> None:
    for name in ("random", "ga", "gamma", "naas"):
        assert METHODS[name](CONV, SMALL, Objective.EDP, budget, 1).calls == budget


def test_a_search_without_any_feasible_mapping_ends() -> None:
    tiny = Accelerator(machine=HonestMachine(pes=4, l1_size=2))
    for name in ("random", "ga", "gamma", "naas", *FIXED, EXACT):
        found = METHODS[name](CONV, tiny, Objective.EDP, 500, 1)
        assert found.mapping is None
        assert found.value == np.inf
        assert found.invalid == found.calls
        assert found.proven is None


def test_groups_run_one_after_another() -> None:
    grouped = Layer(name="g", operator=Operator.CONV, K=8, C=12, Y=6, X=4, groups=2)
    half = Layer(name="h", operator=Operator.CONV, K=4, C=6, Y=6, X=4)
    pair = [Problem(layer=x, accelerator=SMALL, objective=Objective.EDP) for x in (grouped, half)]
    rows = pair[1].space.sample(np.random.default_rng(0), 50)
    both, one = (np.array(p.costs(rows)) for p in pair)
    assert np.allclose(both, 2 * one)


# --- the space ----------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [CONV, DEPTHWISE, PRODUCT], ids=lambda x: x.name)
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_every_encoding_gives_legal_mappings(layer: Layer, levels: int) -> None:
    shape = Problem(layer=layer, accelerator=SMALL, objective=Objective.EDP).shape[0]
    space = MapSpace(shape, 12, levels)
    rng = np.random.default_rng(4)
    wild = rng.integers(-5, 400, (200, levels, 14))
    wild[:, :, 1] %= 6
    wild[:, :, 2:8] = rng.permuted(np.tile(np.arange(6), (200, levels, 1)), axis=2)
    for rows in (
        space.sample(rng, 200),
        space.decode(rng.normal(0.5, 1.0, (200, space.reals))),
        space.decode_importance(rng.normal(0.5, 1.0, (200, space.importances))),
        space.clip(wild),
        genetic.first_generation(space, 200, rng),
    ):
        assert [space.why_illegal(row) for row in rows] == [None] * 200
        assert (space.clip(rows) == rows).all()


def test_the_real_encoding_reaches_every_value(problem: Problem) -> None:
    rows = problem.space.sample(np.random.default_rng(5), 20_000)
    for level in range(3):
        assert set(rows[:, level, 1]) == set(range(6))
        assert len({tuple(row) for row in rows[:, level, 2:8]}) == 720
        for dim, size in enumerate(problem.space.sizes):
            assert set(rows[:, level, 8 + dim]) == set(range(1, size + 1))
        assert set(rows[:, level, 0]) == set(range(1, 13))


def test_importances_order_the_loops(problem: Problem) -> None:
    reals = np.full((1, 3, 19), 1.0)
    reals[0, 1, 1:7] = (0.1, 0.2, 0.9, 0.3, 0.0, 0.8)  # parallel: Y
    reals[0, 1, 7:13] = (0.5, 0.9, 0.1, 0.2, 0.8, 0.0)  # loops: C R K X Y S
    row = problem.space.decode_importance(reals.reshape(1, -1))[0, 1]
    assert row[1] == 2
    assert row[2:8].tolist() == [1, 4, 0, 3, 2, 5]


def test_codes_are_those_of_the_encoding(problem: Problem) -> None:
    rows = problem.space.sample(np.random.default_rng(6), 50)
    codes = problem.space.code(rows)
    assert codes.shape == (50, 3, 7, 2)
    assert all((encode(decode(code)) == code).all() for code in codes)
    level = decode(codes[0]).levels[1]
    assert level.units == rows[0, 1, 0]
    assert [level.sizes[dim] for dim in sorted(level.order)] == rows[0, 1, 8:].tolist()
    assert (problem.space.from_code(codes) == rows).all()


# --- GAMMA's operators -----------------------------------------------------------------


def test_gamma_operators_change_what_they_name(problem: Problem) -> None:
    rng, space = np.random.default_rng(7), problem.space
    people = space.sample(rng, 300)
    moved = genetic.reorder(people, space, rng)
    assert (np.sort(moved[:, :, 2:8], axis=2) == np.arange(6)).all()
    assert (np.delete(moved, range(2, 8), axis=2) == np.delete(people, range(2, 8), axis=2)).all()
    assert 60 < (moved != people).any(axis=(1, 2)).sum() < 200
    swaps = (moved != people).sum(axis=2)
    assert set(swaps.ravel()) == {0, 2}

    aged = people
    for _ in range(60):
        aged = genetic.age(aged, space, rng)
    changed = np.flatnonzero((aged != people).any(axis=(1, 2)))
    assert changed.size
    for i in changed:
        assert any(
            aged[i, k, 0] == 1 and (aged[i, k, 8:] == aged[i, k - 1, 8:]).all() for k in (1, 2)
        )
    grown = genetic.grow(aged, space, rng)
    trivial = (aged[:, 1:, 8:] == aged[:, :-1, 8:]).all(axis=2) & (aged[:, 1:, 0] == 1)
    assert (grown != aged).any(axis=2)[:, 1:][~trivial].sum() == 0
    assert (grown != aged).any()


def test_gamma_crossover_exchanges_the_tiles_of_one_dimension() -> None:
    parents = np.ones((2, 3, 14), dtype=np.int64)
    parents[1] = 2
    children_ = genetic.crossover(parents, 200, np.random.default_rng(8))
    kinds = set()
    for child in children_:
        assert len(np.unique(child[:, :8])) == 1  # the rest stays with its parent
        foreign = child[:, 8:] != child[0, 0]
        assert (foreign == foreign[0]).all()  # all levels alike
        kinds.add(int(foreign[0].sum()))
    assert kinds == {0, 1}
