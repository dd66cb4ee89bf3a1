"""Energy of the honest model, and the model as an evaluator."""

from __future__ import annotations

import numpy as np
import pytest

from dcp_hw.hardware import Hardware
from dcp_hw.maestro.honest_energy import (
    HonestEvaluator,
    energy,
    honest_layers,
    private_price,
    shared_price,
)
from dcp_hw.maestro.honest_fast import evaluate_batch, layer_row, machine_row, mapping_rows
from dcp_hw.maestro.honest_types import HonestLayer, HonestLevel, HonestMachine, HonestMapping
from dcp_hw.metrics import Infeasible, Metrics, Source
from dcp_hw.technology import load_technology
from dcp_hw.workload import Layer

LEVELS = (
    HonestLevel(parallel=0, order=(0, 1, 2, 3, 4, 5), tile=(4, 8, 4, 4, 3, 3), clusters=4),
    HonestLevel(parallel=1, order=(2, 3, 0, 1, 4, 5), tile=(4, 1, 1, 1, 3, 3), clusters=8),
)
LAYER = HonestLayer(K=16, C=8, Y=8, X=8, R=3, S=3, padding=1)
MACHINE = HonestMachine(pes=32, noc_bw=16, dram_bw=8)


def batch():
    """The example as a batch of one."""
    rows = (layer_row(LAYER), machine_row(MACHINE), mapping_rows(LEVELS))
    return evaluate_batch(*(np.array([row]) for row in rows))


def test_macs_and_dram_are_priced_by_the_table() -> None:
    result = batch()
    table = load_technology("45nm-lop")
    nj = energy(result, 2, technology="45nm-lop")
    assert nj.mac[0] == pytest.approx(LAYER.macs * 0.3e-3)
    traffic = result.counts[0, 10:13].sum() + result.counts[0, 17]
    assert nj.dram[0] == pytest.approx(traffic * 8 * table.energy_pj["bus_per_bit"] * 1e-3)
    assert nj.leakage[0] > 0
    parts = (nj.dram, nj.l2, nj.buffers, nj.pe, nj.mac, nj.leakage)
    assert nj.total_nj[0] == pytest.approx(sum(part[0] for part in parts))


def test_maestros_constants() -> None:
    result = batch()
    nj = energy(result, 2, technology="maestro")
    macs = LAYER.macs
    assert nj.mac[0] == pytest.approx(0.00023 * macs)
    assert (nj.dram[0], nj.leakage[0]) == (0, 0)
    row = result.counts[0]
    pe = row[26 + 3 : 26 + 6].sum() + row[26 + 6] + 3 * macs + row[1]
    assert nj.pe[0] == pytest.approx(1.68 * 0.00023 * pe)


def test_prices_follow_size() -> None:
    table = load_technology("45nm-lop")
    assert shared_price(table, 1 << 17).read_pj > shared_price(table, 1 << 12).read_pj
    assert private_price(table, 100) == table.memory(100, 8, 1)
    assert private_price(table, 512) == shared_price(table, 512)


def test_evaluator() -> None:
    layer = Layer(name="c", operator="conv", K=16, C=8, Y=8, X=8, R=3, S=3, padding=1)
    evaluator = HonestEvaluator(noc_bw=16)
    metrics = evaluator.evaluate(layer, HonestMapping(LEVELS), Hardware(pes=32))
    assert isinstance(metrics, Metrics)
    assert metrics.source is Source.MODEL
    assert metrics.latency_cycles * 32 >= layer.macs
    few = evaluator.evaluate(layer, HonestMapping(LEVELS), Hardware(pes=4))
    assert isinstance(few, Infeasible)
    batched = Layer(name="b", operator="bgemm", B=3, M=8, N=16, K=8)
    single = Layer(name="s", operator="gemm", M=8, N=16, K=8)
    both = [
        evaluator.evaluate(x, HonestMapping(LEVELS), Hardware(pes=32)) for x in (batched, single)
    ]
    assert both[0].latency_cycles == 3 * both[1].latency_cycles
    dilated = Layer(name="d", operator="conv", K=2, C=2, Y=4, X=4, R=3, S=3, dilation=2)
    assert isinstance(honest_layers(dilated), Infeasible)
