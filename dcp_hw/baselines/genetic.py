"""Genetic searches on the integers of a mapping: a general one, and GAMMA's operators.

Both work on whole populations as arrays, `n x levels x 14`. GAMMA is re-implemented from its
publication and from what its code does: its operators and rates, on the honest evaluator.

Source: Kao and Krishna, "GAMMA: Automating the HW Mapping of DNN Models on Accelerators via
Genetic Algorithm", ICCAD 2020; maestro-project/gamma commit 3d6caf8.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dcp_hw.baselines.problem import Budgeted
from dcp_hw.mapspace import DIMENSIONS, ORDER, PARALLEL, TILE, UNITS, MapSpace

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]

_FEW_SAMPLES = 2000  # below, a population is a twentieth of the budget


def population(budget: int, most: int = 100) -> int:
    """Individuals for a budget: 100 where that leaves 20 generations, fewer otherwise."""
    return most if budget >= _FEW_SAMPLES else max(10, min(most, budget // 20))


# --- the general genetic algorithm ----------------------------------------------------

_ELITE = 0.1
_NEW = 0.1
_CROSS = 0.7
_CHANGE = 1.5  # genes changed in a child, on average


def genetic(evaluate: Budgeted, rng: np.random.Generator) -> None:
    """A general genetic algorithm: tournaments, uniform crossover, mutation, elites, newcomers."""
    space = evaluate.problem.space
    number = population(evaluate.budget)
    people = space.sample(rng, number)
    values = evaluate(people)
    keep = max(1, int(_ELITE * number))
    while True:
        new = int(_NEW * number)
        children = number - keep - new
        mothers, fathers = (_tournament(values, rng, children) for _ in range(2))
        young = people[mothers]
        mix = _gene_mask(rng, space, children, 0.5) & (rng.random((children, 1, 1)) < _CROSS)
        young = _inherit(young, people[fathers], mix)
        genes = space.levels * (3 + DIMENSIONS)
        young = _mutate(young, _gene_mask(rng, space, children, _CHANGE / genes), space, rng)
        young = np.concatenate([young, space.sample(rng, new)])
        found = evaluate(young)
        best = np.argsort(values, kind="stable")[:keep]
        people = np.concatenate([people[best], young])
        values = np.concatenate([values[best], found])


def _tournament(values: Floats, rng: np.random.Generator, number: int) -> Integers:
    """The better of two individuals, `number` times."""
    pairs = rng.integers(0, len(values), (number, 2))
    return np.where(values[pairs[:, 0]] <= values[pairs[:, 1]], pairs[:, 0], pairs[:, 1])


def _gene_mask(rng: np.random.Generator, space: MapSpace, number: int, rate: float) -> Booleans:
    """Genes at random: per level units, parallel dimension, order, six tiles; n x levels x 9."""
    return rng.random((number, space.levels, 3 + DIMENSIONS)) < rate


def _columns(mask: Booleans) -> Booleans:
    """The mask of genes as a mask of columns: an order is one gene."""
    order = np.repeat(mask[:, :, 2:3], DIMENSIONS, axis=2)
    return np.concatenate([mask[:, :, :2], order, mask[:, :, 3:]], axis=2)


def _inherit(mothers: Integers, fathers: Integers, mask: Booleans) -> Integers:
    return np.where(_columns(mask), fathers, mothers)


def _mutate(
    people: Integers, mask: Booleans, space: MapSpace, rng: np.random.Generator
) -> Integers:
    """New values for the genes of a mask; an order gets one swap, half of the tiles a step of 2."""
    number = len(people)
    fresh = space.sample(rng, number)
    swapped = _swap_loops(people[:, :, ORDER].reshape(-1, DIMENSIONS), rng)
    fresh[:, :, ORDER] = swapped.reshape(number, space.levels, DIMENSIONS)
    tiles = people[:, :, TILE]
    steps = np.where(rng.random(tiles.shape) < 0.5, tiles * 2, (tiles + 1) // 2)
    fresh[:, :, TILE] = np.where(rng.random(tiles.shape) < 0.5, steps, fresh[:, :, TILE])
    return space.clip(np.where(_columns(mask), fresh, people))


def _swap_loops(orders: Integers, rng: np.random.Generator) -> Integers:
    """Orders (n x 6) with two random loops swapped in each."""
    rows = np.arange(len(orders))
    first = rng.integers(0, DIMENSIONS, len(orders))
    second = (first + rng.integers(1, DIMENSIONS, len(orders))) % DIMENSIONS
    out = orders.copy()
    out[rows, first], out[rows, second] = orders[rows, second], orders[rows, first]
    return out


# --- GAMMA ------------------------------------------------------------------------------

_PARENTS, _ELITES = 0.4, 0.05
_CROSSOVER, _REORDER, _TILE_MUTATION = 0.57, 0.47, 0.53
_TILE_ROUNDS = 3
_SWAP_PARALLEL, _GROWTH, _AGING = 0.1, 0.57, 0.27


def gamma(evaluate: Budgeted, rng: np.random.Generator) -> None:
    """GAMMA: crossover of tiles, reordering, tile mutation, growth and aging of levels.

    The code has a fixed number of levels, so aging makes a level trivial (one unit, the tile above)
    and growth gives a trivial level units and a tile of its own.
    """
    space = evaluate.problem.space
    number = population(evaluate.budget)
    people = first_generation(space, number, rng)
    while True:
        values = evaluate(people)
        if not np.isfinite(values).any():
            people = first_generation(space, number, rng)
            continue
        people, values = _survivors(people, values, number)
        valid = int(np.isfinite(values).sum())
        parents = people[: max(1, min(int(_PARENTS * number), valid))]
        elites = parents[: max(1, int(_ELITES * number))].copy()
        young = crossover(parents, number, rng)
        for operator in (reorder, mutate_tiles, swap_parallel, grow, age):
            young = operator(young, space, rng)
        people = np.concatenate([elites, space.clip(young)])


def first_generation(space: MapSpace, number: int, rng: np.random.Generator) -> Integers:
    """GAMMA's start: random outer tiles, inner tiles of 1, and two individuals of tiles 1."""
    out = space.sample(rng, number)  # its orders and parallel dimensions
    out[:, 0, TILE] = rng.integers(1, space.sizes + 1, (number, DIMENSIONS))
    out[:2, 0, TILE] = 1
    out[:, 1:, TILE] = 1
    out[:, 0, UNITS] = space.pes
    for level in range(1, space.levels):
        above = _parallel_tile(out, level)
        out[:, level, UNITS] = rng.integers(1, np.minimum(above, space.pes) + 1)
    return space.clip(out)


def _parallel_tile(people: Integers, level: int) -> Integers:
    """Tile above of each individual's parallel dimension at a level."""
    along = people[:, level, PARALLEL, None]
    return np.take_along_axis(people[:, level - 1, TILE], along, axis=1)[:, 0]


def _survivors(people: Integers, values: Floats, number: int) -> tuple[Integers, Floats]:
    """The best `number` distinct individuals, best first."""
    flat = people.reshape(len(people), -1)
    _, distinct = np.unique(flat, axis=0, return_index=True)
    order = distinct[np.argsort(values[distinct], kind="stable")][:number]
    return people[order], values[order]


def crossover(parents: Integers, number: int, rng: np.random.Generator) -> Integers:
    """Children: pairs of copies of two parents that swap the tiles of one dimension."""
    pairs = (number + 1) // 2
    first = rng.integers(0, len(parents), pairs)
    second = (first + rng.integers(1, max(2, len(parents)), pairs)) % len(parents)
    one, other = parents[first].copy(), parents[second].copy()
    hit = np.flatnonzero(rng.random(pairs) < _CROSSOVER)
    column = TILE.start + rng.integers(0, DIMENSIONS, len(hit))
    one[hit, :, column], other[hit, :, column] = other[hit, :, column], one[hit, :, column]
    return np.concatenate([one, other])[:number]


def reorder(people: Integers, space: MapSpace, rng: np.random.Generator) -> Integers:
    """Two loops swapped at a random level of random individuals."""
    number = len(people)
    hits = rng.integers(0, number, number)[rng.random(number) < _REORDER]
    spots = np.unique(np.stack([hits, rng.integers(0, space.levels, len(hits))]), axis=1)
    out = people.copy()
    out[spots[0], spots[1], ORDER] = _swap_loops(people[spots[0], spots[1], ORDER], rng)
    return out


def mutate_tiles(people: Integers, space: MapSpace, rng: np.random.Generator) -> Integers:
    """Three times: one random gene of an individual, a tile or a parallel dimension with units."""
    out, number = people.copy(), len(people)
    for _ in range(_TILE_ROUNDS):
        hit = np.flatnonzero(rng.random(number) < _TILE_MUTATION)
        level = rng.integers(0, space.levels, len(hit))
        gene = rng.integers(0, DIMENSIONS + 1, len(hit))
        tiles = gene < DIMENSIONS
        rows, at, dim = hit[tiles], level[tiles], gene[tiles]
        most = np.where(at > 0, out[rows, at - 1, TILE.start + dim], space.sizes[dim])
        out[rows, at, TILE.start + dim] = rng.integers(1, most + 1)
        _mutate_parallel(out, hit[~tiles], level[~tiles], space, rng)
    return out


def _mutate_parallel(
    out: Integers, rows: Integers, level: Integers, space: MapSpace, rng: np.random.Generator
) -> None:
    """New parallel dimensions, in place; below the outermost level also units, a divisor."""
    dim = rng.integers(0, DIMENSIONS, len(rows))
    out[rows, level, PARALLEL] = dim
    inner = level > 0
    rows, level, dim = rows[inner], level[inner], dim[inner]
    most = np.minimum(out[rows, level - 1, TILE.start + dim], space.pes)
    out[rows, level, UNITS] = _random_divisor(most, rng)


def _random_divisor(numbers: Integers, rng: np.random.Generator) -> Integers:
    """A divisor of each number, all equally likely."""
    out = np.ones_like(numbers)
    for value in np.unique(numbers).tolist():
        divisors = np.array([d for d in range(1, value + 1) if value % d == 0])
        same = numbers == value
        out[same] = rng.choice(divisors, int(same.sum()))
    return out


def _some_levels(
    people: Integers, rate: float, rng: np.random.Generator
) -> tuple[Integers, Integers]:
    """Random individuals, and for each a level below the outermost."""
    rows = np.flatnonzero(rng.random(len(people)) < rate)
    return rows, rng.integers(1, people.shape[1], len(rows))


def swap_parallel(people: Integers, space: MapSpace, rng: np.random.Generator) -> Integers:
    """Parallel dimensions of two neighbouring levels swapped."""
    out = people.copy()
    if space.levels > 1:
        rows, level = _some_levels(people, _SWAP_PARALLEL, rng)
        out[rows, level, PARALLEL] = people[rows, level - 1, PARALLEL]
        out[rows, level - 1, PARALLEL] = people[rows, level, PARALLEL]
    return out


def grow(people: Integers, space: MapSpace, rng: np.random.Generator) -> Integers:
    """Trivial levels get units, a parallel dimension and tiles of 1 along it."""
    out = people.copy()
    if space.levels == 1:
        return out
    rows, level = _some_levels(people, _GROWTH, rng)
    same = (people[rows, level, TILE] == people[rows, level - 1, TILE]).all(axis=1)
    rows, level = (x[same & (people[rows, level, UNITS] == 1)] for x in (rows, level))
    _mutate_parallel(out, rows, level, space, rng)
    out[rows, level, TILE.start + out[rows, level, PARALLEL]] = 1
    return out


def age(people: Integers, space: MapSpace, rng: np.random.Generator) -> Integers:
    """A random individual at a time loses a level: one unit, and the tile of the level above."""
    out = people.copy()
    if space.levels > 1 and rng.random() < _AGING:
        row, level = int(rng.integers(len(people))), int(rng.integers(1, space.levels))
        out[row, level, UNITS] = 1
        out[row, level, TILE] = out[row, level - 1, TILE]
    return out


Search = Callable[[Budgeted, np.random.Generator], None]
