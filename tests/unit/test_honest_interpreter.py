"""The honest model's definition: values equal a convolution, and no bound is broken."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from dcp_hw.maestro.honest_check import Case, random_case
from dcp_hw.maestro.honest_interpreter import Interpreter, Store, interpret
from dcp_hw.maestro.honest_types import (
    OUTPUT,
    WEIGHT,
    HonestCounts,
    HonestLayer,
    HonestLevel,
    HonestMachine,
)
from dcp_hw.metrics import Infeasible

CASES = 80  # per seed


def convolution(layer: HonestLayer, inputs: NDArray, weights: NDArray) -> NDArray:
    """Outputs K x Y x X, one window at a time."""
    p, s = layer.padding, layer.stride
    padded = np.pad(inputs, ((0, 0), (p, p), (p, p)))
    out = np.zeros((layer.C if layer.depthwise else layer.K, layer.Y, layer.X), dtype=np.int64)
    for y in range(layer.Y):
        for x in range(layer.X):
            window = padded[:, y * s : y * s + layer.R, x * s : x * s + layer.S]
            products = weights * window
            out[:, y, x] = products.sum(axis=(0, 2, 3) if layer.depthwise else (1, 2, 3))
    return out


def stores(store: Store) -> Iterator[Store]:
    """A store and all below it."""
    yield store
    for child in store.children:
        yield from stores(child)


def feasible(seed: int, count: int) -> Iterator[tuple[Case, Interpreter, HonestCounts, NDArray]]:
    """Cases without buffer limits that have enough PEs, run; with the output they should have."""
    rng, values = random.Random(seed), np.random.default_rng(seed)
    for _ in range(count):
        case = random_case(rng)
        layer = case.layer
        inputs = values.integers(-99, 99, (layer.C, layer.rows, layer.columns))
        weights = values.integers(-99, 99, (layer.K, layer.C, layer.R, layer.S))
        machine = replace(case.machine, l1_size=None, l2_size=None)
        walk = Interpreter(layer, case.levels, machine, inputs, weights)
        counts = walk.run()
        if isinstance(counts, HonestCounts):
            yield case, walk, counts, convolution(layer, inputs, weights)


@pytest.mark.parametrize("seed", range(2))
def test_values_and_bounds(seed: int) -> None:
    seen = 0
    for case, walk, counts, expected in feasible(seed, CASES):
        layer, machine = case.layer, case.machine
        np.testing.assert_array_equal(walk.output(), expected)
        assert counts.macs == layer.macs
        assert counts.cycles * machine.pes >= counts.macs
        for store in stores(walk.dram):
            if store is walk.dram:
                busy, bandwidth = sum(store.port), machine.dram_bw
            else:
                busy, bandwidth = max(store.port), machine.noc_bw
            assert bandwidth is None or counts.cycles * bandwidth >= busy
        assert counts.supplied[0][0] >= touched_inputs(layer)
        assert counts.supplied[0][1] >= layer.K * layer.C * layer.R * layer.S
        assert counts.collected[0] >= expected.size
        seen += 1
    assert seen > CASES / 2


def touched_inputs(layer: HonestLayer) -> int:
    """Stored input elements that some MAC reads."""
    rows = {y * layer.stride + r for y in range(layer.Y) for r in range(layer.R)}
    columns = {x * layer.stride + s for x in range(layer.X) for s in range(layer.S)}
    inside = [
        sum(0 <= at - layer.padding < stored for at in places)
        for places, stored in ((rows, layer.rows), (columns, layer.columns))
    ]
    return layer.C * inside[0] * inside[1]


@pytest.mark.parametrize("seed", range(2))
def test_sums_are_conserved(seed: int) -> None:
    """Every sum in a unit was loaded or started at zero, and leaves it once."""
    for _, walk, counts, expected in feasible(seed, CASES):
        loads = [supplied[OUTPUT] for supplied in counts.supplied]
        drains, arrivals = counts.drained, counts.collected
        assert loads == [taken[OUTPUT] for taken in counts.taken]
        assert arrivals[0] == arrivals[1] == drains[0] == loads[0] + expected.size
        assert loads[1] == loads[0]
        for at in range(1, walk.depth):
            assert loads[at + 1] == arrivals[at + 1] - (drains[at] - loads[at])
        assert counts.sums_read == counts.macs - (drains[-1] - loads[-1])
        for supplied, taken in zip(counts.supplied, counts.taken, strict=True):
            assert all(a <= b for a, b in zip(supplied, taken, strict=True))


@pytest.mark.parametrize("name", ["noc_bw", "dram_bw"])
def test_more_bandwidth_is_never_slower(name: str) -> None:
    rng = random.Random(7)
    for _ in range(40):
        case = random_case(rng)
        cycles = []
        for bandwidth in (1, 2, 3, 7, None):
            machine = replace(case.machine, l1_size=None, l2_size=None, **{name: bandwidth})
            counts = interpret(case.layer, case.levels, machine)
            cycles.append(0 if isinstance(counts, Infeasible) else counts.cycles)
        assert cycles == sorted(cycles, reverse=True)


def test_limits_make_a_mapping_infeasible() -> None:
    layer = HonestLayer(K=4, C=4)
    level = HonestLevel(parallel=0, order=(0, 1, 2, 3, 4, 5), tile=(2, 4, 1, 1, 1, 1), clusters=2)
    machine = HonestMachine(pes=2)
    counts = interpret(layer, (level,), machine)
    assert isinstance(counts, HonestCounts)
    # All tensors stay: one fold of K, one tile of C. PE: 4 inputs, 8 weights, 2 outputs.
    assert (counts.required, counts.shared_required) == ((14,), 24)
    assert counts.cycles == 8
    for limit in ({"l1_size": 13}, {"l2_size": 23}):
        assert isinstance(interpret(layer, (level,), replace(machine, **limit)), Infeasible)
    for enough in ({"l1_size": 14}, {"l2_size": 24}):
        assert interpret(layer, (level,), replace(machine, **enough)) == counts
    inner = replace(level, clusters=3)
    assert isinstance(interpret(layer, (level, inner), machine), Infeasible)


def test_a_worked_example() -> None:
    """One PE, 1x3 taps over 4 outputs, two at a time, taps one by one; counted by hand."""
    layer = HonestLayer(X=4, S=3)
    level = HonestLevel(parallel=0, order=(0, 1, 2, 4, 3, 5), tile=(1, 1, 1, 2, 1, 1), clusters=1)
    counts = interpret(layer, (level,), HonestMachine(pes=1, noc_bw=1, noc_latency=5))
    assert isinstance(counts, HonestCounts)
    # Inputs {0 1} {1 2} {2 3}, then for the next two outputs {2 3} {3 4} {4 5}; weights: every
    # step another one.
    assert counts.supplied[1] == (2 + 1 + 1 + 0 + 1 + 1, 6, 0)
    assert counts.collected == (4, 4)
    assert counts.sums_read == counts.macs - 4 == 8
    # Fill 3, steps of max(2 MACs, inputs + 1 weight, drain), last drain 2, latency twice.
    assert counts.cycles == 3 + (2 + 2 + 2 + 2 + 2 + 2) + 2 + 2 * 5


def test_weight_of_depthwise_layers_has_no_k() -> None:
    layer = HonestLayer(C=3, Y=2, X=2, R=2, S=2, depthwise=True)
    level = HonestLevel(parallel=0, order=(0, 1, 2, 3, 4, 5), tile=(1, 1, 2, 2, 2, 2), clusters=3)
    counts = interpret(layer, (level,), HonestMachine(pes=3))
    assert isinstance(counts, HonestCounts)
    assert counts.supplied[1][WEIGHT] == 12
    assert counts.cycles == 16, "K in parallel spreads the channels"
    with pytest.raises(ValueError, match="depthwise"):
        HonestLayer(K=2, depthwise=True)
