"""Table 1 of the searches: sums, cells that are read again, commands."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dcp_hw.baselines.methods import EXACT, METHODS
from dcp_hw.baselines.problem import Accelerator, Budgeted, Found, Objective, Problem
from dcp_hw.cli import main
from dcp_hw.errors import InputError
from dcp_hw.experiments import cells, table1
from dcp_hw.layerset_csv import load_layerset
from dcp_hw.maestro.honest_interpreter import interpret
from dcp_hw.maestro.honest_types import HonestMachine
from dcp_hw.mapspace import levels_of
from dcp_hw.workload import Layer, LayerSet, Operator

SMALL = Accelerator(
    machine=HonestMachine(pes=12, l1_size=64, l2_size=900, noc_bw=4, noc_latency=1, dram_bw=3)
)
TIGHT = Accelerator(machine=HonestMachine(pes=2, l1_size=64, l2_size=900))
LITTLE = Layer(name="little", operator=Operator.CONV, K=4, C=3, Y=4, X=2, R=3, S=3, padding=1)

LAYERS = LayerSet(
    name="two", layers=(LITTLE, Layer(name="p", operator=Operator.GEMM, M=2, N=3, K=4, count=3))
)


def plan(**changes: object) -> cells.Plan:
    given = {
        "layers": LAYERS,
        "accelerator": SMALL,
        "objectives": (Objective.EDP,),
        "methods": ("random", "exact"),
        "budget": 40,
        "seeds": (1, 2),
    }
    return cells.Plan(**(given | changes))


def test_table_sums_layers_by_count(tmp_path) -> None:
    table = {row.method: row for row in table1.run(plan(), tmp_path, "command")}
    sums = [
        sum(
            layer.count * METHODS["random"](layer, SMALL, Objective.EDP, 40, seed).value
            for layer in LAYERS
        )
        for seed in (1, 2)
    ]
    optimum = sum(
        layer.count * METHODS[EXACT](layer, SMALL, Objective.EDP, 10**6, 1).value
        for layer in LAYERS
    )
    assert table["random"].value == pytest.approx(np.mean(sums))
    assert table["random"].spread == pytest.approx(np.std(sums, ddof=1))
    assert table["random"].to_optimum == pytest.approx(np.mean(sums) / optimum)
    assert table["exact"].to_optimum == pytest.approx(1)
    assert table["random"].calls == 40
    assert len((tmp_path / "layers.csv").read_text().splitlines()) == 1 + 2 * 2 + 2
    assert (tmp_path / "table1.png").stat().st_size > 1000
    assert "| exact |" in (tmp_path / "table1.md").read_text()


def test_cells_are_read_again_unless_the_model_disagrees(tmp_path, monkeypatch) -> None:
    first = cells.fill(plan().cells(), tmp_path, "test")

    def never(name: str) -> object:
        raise AssertionError(f"{name} was searched again")

    with monkeypatch.context() as patch:
        wanted = plan().cells()
        patch.setattr(cells, "searcher", never)
        again = cells.fill(wanted, tmp_path, "test")
        assert [f.trace for f in again.values()] == [f.trace for f in first.values()]
        assert list(again.values()) == list(first.values())
    cell = plan().cells()[0]
    path = cell.path(tmp_path)
    content = json.loads(path.read_text())
    content["found"]["value"] *= 0.5  # a better value than its mapping has
    path.write_text(json.dumps(content))
    assert cell.load(tmp_path) is None
    assert cells.fill([cell], tmp_path, "test")[cell].value == first[cell].value
    path.write_text("{")
    assert cell.load(tmp_path) is None


def test_cells_of_other_hardware_are_not_taken(tmp_path) -> None:
    cells.fill(plan().cells(), tmp_path, "test")
    assert all(cell.load(tmp_path) is None for cell in plan(accelerator=TIGHT).cells())


# --- commands ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["baseline", "tiny", "--layer", "none"], "layer 'none' not found"),
        (["baseline", "tiny", "--method", "magic"], "method 'magic' not found"),
        (["baseline", "tiny", "--budget", "0"], "at least 1"),
        (["baseline", "tiny", "--layer", "dilated"], "dilation"),
        (["experiment", "table1", "--objectives", "speed"], "objective 'speed'"),
        (["experiment", "table1", "--objectives", "edp,edp"], "each once"),
        (["experiment", "table1", "--methods", "gamma,magic"], "method 'magic' not found"),
        (["experiment", "table1", "--layerset", "nothing"], "not found"),
    ],
)
def test_wrong_arguments_are_named(words: list[str], said: str, capsys) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_baseline_prints_its_mapping(capsys) -> None:
    words = ["baseline", "tiny", "--budget", "50", "--num_pes", "16", "--method", "random"]
    assert main([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["calls"] == 50
    layer = load_layerset("tiny").layers[0]
    rows = np.array([said["mapping"]])
    assert rows[0, :, 0].prod() <= 16
    machine = HonestMachine(pes=16, l1_size=512, l2_size=108_000, noc_bw=81_920_000, noc_latency=1)
    problem = Problem(
        layer=layer, accelerator=Accelerator(machine=machine), objective=Objective.EDP
    )
    counts = interpret(problem.shape[0], levels_of(rows[0]), machine)
    assert counts.cycles == said["cycles"]
    assert said["value"] == pytest.approx(said["cycles"] * said["energy_nj"])
    assert main(words) == 0
    assert "50 samples" in capsys.readouterr().out


def test_no_search_has_an_empty_plan() -> None:
    with pytest.raises(InputError, match="methods"):
        plan(methods=())
    with pytest.raises(InputError, match="budget"):
        Budgeted(plan().cells()[0].problem, 0)


def test_who_is_first_by_hand() -> None:
    """Layers within 1 % of the best of others; variants of DCP are no rivals of each other."""
    values = {  # of the layers `little` and `p`
        "exact": (90.0, 100.0),
        "random": (99.0, 101.0),
        "gamma": (99.9, 103.0),
        "dcp": (99.5, 101.0),
        "dcp-two-levels": (80.0, 99.0),
    }
    table = plan(methods=tuple(values), seeds=(1,))
    results = {
        cell: Found(
            method=cell.method, value=values[cell.method][table.layers.layers.index(cell.layer)],
            mapping=None, cycles=1.0, energy_nj=1.0, calls=1, invalid=0, trace=(), seconds=0.0,
            cpu_seconds=0.0,
        )
        for cell in table.cells()
    }  # fmt: skip
    bounds = {(layer.name, Objective.EDP): 10.0 for layer in LAYERS}
    found = {row.method: (row.first, row.sampled) for row in table1.rows(table, results, bounds)}
    assert found == {
        "exact": (0, 2),  # a variant of DCP is first, which is no sampling method
        "random": (0, 2),
        "gamma": (0, 1),
        "dcp": (1, 2),  # 101: within 1 % of 100; 99 is a variant's
        "dcp-two-levels": (2, 2),
    }
