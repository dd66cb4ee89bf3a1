"""The fast honest model equals the interpreter, alone and in batches."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from dcp_hw.maestro import honest_fast
from dcp_hw.maestro.honest_check import differences, random_case
from dcp_hw.maestro.honest_fast import (
    evaluate,
    evaluate_batch,
    layer_row,
    machine_row,
    mapping_rows,
)
from dcp_hw.maestro.honest_input import pairs_for
from dcp_hw.maestro.honest_interpreter import interpret
from dcp_hw.maestro.honest_types import HonestCounts, HonestLayer, HonestLevel, HonestMachine, Y


def test_equals_the_interpreter() -> None:
    """A sample; `python -m dcp_hw.maestro.honest_check` runs 20,000."""
    feasible, wrong = differences(250, seed=1)
    assert feasible > 100
    assert not wrong, wrong[0]


def test_a_batch_equals_its_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(honest_fast, "_STRIPE", 8)  # two threads, whose rooms serve many stripes
    rng = random.Random(2)
    cases = [case for case in (random_case(rng) for _ in range(300)) if len(case.levels) == 2]
    layers, machines, mappings = (
        np.array(rows)
        for rows in (
            [layer_row(case.layer) for case in cases],
            [machine_row(case.machine) for case in cases],
            [mapping_rows(case.levels) for case in cases],
        )
    )
    batch = evaluate_batch(layers, machines, mappings, threads=2)
    for i, case in enumerate(cases):
        alone = evaluate(case.layer, case.levels, case.machine)
        assert isinstance(alone, HonestCounts) == (batch.reason[i] == 0)
        if isinstance(alone, HonestCounts):
            assert alone.cycles == batch.cycles[i]
            assert alone.macs == batch.counts[i, 0]


def test_large_layers_keep_the_bounds() -> None:
    """Sizes that nobody can walk: MACs exact, time above the bound, faster with bandwidth."""
    rng = random.Random(3)
    layer = HonestLayer(K=128, C=96, Y=56, X=56, R=3, S=3, padding=1)
    for _ in range(60):
        levels, outer = [], layer.sizes
        for _ in range(3):
            outer = tuple(rng.randint(1, size) for size in outer)
            order = tuple(rng.sample(range(6), 6))
            clusters = rng.choice((1, 2, 4, 6))
            parallel = rng.randrange(6)
            levels.append(
                HonestLevel(parallel=parallel, order=order, tile=outer, clusters=clusters)
            )
        cycles = []
        for bandwidth in (1, 16, 256, None):
            machine = HonestMachine(pes=168, noc_bw=bandwidth, dram_bw=bandwidth)
            counts = evaluate(layer, levels, machine)
            assert isinstance(counts, HonestCounts)
            assert counts.macs == layer.macs
            assert counts.cycles * machine.pes >= layer.macs
            cycles.append(counts.cycles)
            if bandwidth:
                traffic = sum(counts.supplied[0]) + counts.collected[0]
                assert counts.cycles * bandwidth >= traffic
                assert counts.cycles * bandwidth >= max(
                    sum(counts.supplied[1]), counts.collected[1]
                )
        assert cycles == sorted(cycles, reverse=True)


def test_lists_of_padded_tiles_stay_in_their_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many units along a padded axis: compiled code does not notice when it writes too far."""
    layer = HonestLayer(Y=112, X=3, R=7, S=7, stride=2, padding=3)
    whole, single = (1, 1, 112, 3, 7, 7), (1, 1, 1, 3, 7, 7)
    machine = HonestMachine(pes=256, noc_bw=4, dram_bw=4)
    rooms = []

    def wide(*sizes: int) -> np.ndarray:
        usual = pairs_for(*sizes)
        room = np.zeros((usual.shape[0], 4 * usual.shape[1], usual.shape[2]), dtype=usual.dtype)
        rooms.append((usual.shape[1], room))
        return room

    monkeypatch.setattr(honest_fast, "pairs_for", wide)
    for tiles in ((single,), (whole, single), (whole, whole, single)):
        levels = tuple(
            HonestLevel(parallel=Y, order=tuple(range(6)), tile=tile, clusters=112 if i else None)
            for i, tile in enumerate(tiles)
        )
        levels = (replace(levels[0], clusters=None if len(tiles) == 1 else 1), *levels[1:])
        free = replace(machine, pes=112**3)
        assert evaluate(layer, levels, free) == interpret(layer, levels, free)
    assert len(rooms) == 3
    for usual, room in rooms:
        assert room[:, 1].any()
        assert not room[:, usual:].any()


def test_wrong_shapes_are_refused() -> None:
    row = np.ones((1, 11), dtype=np.int64)
    with pytest.raises(ValueError, match="shapes"):
        evaluate_batch(row, np.ones((1, 6)), np.ones((2, 4, 14)))
    with pytest.raises(ValueError, match="2\\^53"):
        evaluate_batch(row << 20, np.ones((1, 6)), np.ones((1, 1, 14)))


def test_large_layers_of_a_batch_are_judged_one_by_one() -> None:
    """Their largest sizes together have 2^60 MACs, none of them 2^53."""
    layers = [HonestLayer(K=1 << 30), HonestLayer(C=1 << 30)]
    level = HonestLevel(parallel=Y, order=tuple(range(6)), tile=(1,) * 6)
    batch = evaluate_batch(
        np.array([layer_row(layer) for layer in layers]),
        np.array([machine_row(HonestMachine(pes=1))]),
        np.array([mapping_rows([level])] * 2),
    )
    assert batch.counts[:, 0].tolist() == [1 << 30] * 2


@pytest.mark.parametrize("tile", [1, 2, 3])
def test_units_that_idle_take_no_new_weights(tile: int) -> None:
    """Seven rows on three units: the last fold leaves units idle, above and below."""
    layer = HonestLayer(K=2, C=2, Y=7, R=2)
    machine = HonestMachine(pes=6, noc_bw=2, dram_bw=1)
    for order in ((0, 1, 2, 3, 4, 5), (2, 1, 0, 3, 4, 5), (1, 2, 4, 0, 3, 5)):
        outer = HonestLevel(parallel=Y, order=order, tile=(1, 1, tile, 1, 1, 1))
        inner = HonestLevel(parallel=Y, order=order, tile=(1, 1, 1, 1, 1, 1), clusters=2)
        for levels in ((outer,), (outer, inner)):
            assert evaluate(layer, levels, machine) == interpret(layer, levels, machine)
