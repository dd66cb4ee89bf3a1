"""The honest model for tables of MAESTRO's mappings: what it takes, refuses and promises."""

from __future__ import annotations

import csv
import gzip
from math import prod
from pathlib import Path

import numpy as np
import pytest

from dcp_hw import cli
from dcp_hw.errors import InputError
from dcp_hw.maestro.compat import GAMMA_HARDWARE
from dcp_hw.maestro.compat_batch import evaluate_batch as compat_batch
from dcp_hw.maestro.dataflow import Dataflow, Dim, Level
from dcp_hw.maestro.encoding import encode, layer_code
from dcp_hw.maestro.honest_batch import INTEGERS, evaluate_batch
from dcp_hw.maestro.honest_fast import evaluate, layer_row, mapping_rows
from dcp_hw.maestro.honest_interpreter import interpret
from dcp_hw.maestro.honest_maestro import (
    code_rows,
    dataflow_levels,
    honest_layer,
    honest_levels,
)
from dcp_hw.maestro.honest_types import C, HonestLayer, HonestLevel, HonestMachine, K, X, Y
from dcp_hw.maestro.layer import INT_MAX, MaestroLayer, convolution, depthwise, gemm
from dcp_hw.maestro.mapping import parse_compact
from dcp_hw.metrics import Infeasible

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "maestro" / "reference.csv.gz"
LAYER = convolution("l", (8, 6, 12, 10, 3, 3))


def dividing(row: dict[str, str]) -> bool:
    """Whether a mapping lies where MAESTRO counts exactly.

    Every tile divides its parent's (outputs, whole filters), stride 1, and the tiles of a parallel
    dimension are at most as many as the units, or a multiple of them.
    """
    if row["stride"] not in ("", "1") or row["mapping_class"] not in ("div1", "div2", "div3"):
        return False
    outer = {d: int(row[d]) for d in ("K", "C", "R", "S", "M", "N") if row[d]}
    for axis, taps in (("Y", "R"), ("X", "S")):
        if row[axis]:
            outer[f"{axis}'"] = int(row[axis]) - int(row[taps]) + 1
    mapping = parse_compact(row["mapping"])
    units = (int(row["pes"]) // prod(mapping.clusters), *mapping.clusters)
    for level, number in zip(mapping.levels, units, strict=True):
        for x in level:
            if x.dim not in outer or outer[x.dim] % x.size or x.offset != x.size:
                return False
            tiles = outer[x.dim] // x.size
            if x.spatial and tiles > number and tiles % number:
                return False
            outer[x.dim] = x.size
    return True


def test_times_are_those_of_compat_where_it_counts_exactly() -> None:
    """Same MACs; with unlimited bandwidth the same time, and less where MAESTRO adds latency."""
    with gzip.open(GOLDEN, "rt", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if dividing(row)]
    assert len(rows) > 2500
    assert {row["mapping_class"] for row in rows} == {"div1", "div2", "div3"}
    assert {row["type"] for row in rows} == {"CONV", "DSCONV", "GEMM"}
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    for name in ("noc_bw", "offchip_bw"):
        columns[name] = [str(INT_MAX)] * len(rows)
    columns |= {"noc_latency": ["0"] * len(rows), "simd": ["1"] * len(rows)}
    honest, compat = evaluate_batch(columns), compat_batch(columns)
    assert set(honest["infeasible"]) == {""}
    np.testing.assert_array_equal(honest["macs_reported"], compat["macs_reported"])
    pes = np.array(columns["pes"], dtype=np.int64)
    assert (honest["runtime"] * pes >= honest["macs_true"]).all()
    np.testing.assert_array_equal(honest["runtime"], compat["runtime"])
    columns["noc_latency"] = ["1"] * len(rows)  # each start of a level waits for it in MAESTRO
    slower = compat_batch(columns)["runtime"]
    assert (honest["runtime"] <= slower).all()
    assert (honest["runtime"] < slower).mean() > 0.9


def test_levels_of_a_mapping() -> None:
    """Tiles in outputs; what a level leaves out has one tile."""
    found = honest_levels(parse_compact("SK2,2 TY6,4 TX'5,5 TR3,3 TC4,4 @3 TR1,1 SC1,1"), LAYER)
    assert not isinstance(found, Infeasible)
    assert (found[0].parallel, found[0].clusters) == (K, None)
    assert found[0].order == (K, Y, X, 4, C, 5)
    assert found[0].tile == (2, 4, 4, 5, 3, 3)
    assert (found[1].parallel, found[1].clusters) == (C, 3)
    assert found[1].tile == (2, 1, 4, 5, 1, 3)
    stride2 = convolution("l", (8, 6, 13, 13, 3, 3), stride=2)
    for text in ("SK1,1 TY5,2 TX7,6", "SK1,1 TY5,4 TX7,3"):  # offsets in outputs, or in inputs
        found = honest_levels(parse_compact(text + " TR3,3 TS3,3"), stride2)
        assert not isinstance(found, Infeasible)
        assert found[0].tile == (1, 6, 2, 3, 3, 3)


def test_layers() -> None:
    assert honest_layer(LAYER) == HonestLayer(K=8, C=6, Y=10, X=8, R=3, S=3)
    padded = honest_layer(convolution("l", (8, 6, 12, 11, 3, 3), stride=2), padding=1)
    assert padded == HonestLayer(
        K=8, C=6, Y=5, X=5, R=3, S=3, stride=2, padding=1, rows=10, columns=9
    )
    assert honest_layer(depthwise("l", (1, 6, 5, 5, 3, 3))) == HonestLayer(
        C=6, Y=3, X=3, R=3, S=3, depthwise=True
    )
    assert honest_layer(gemm("l", 3, 4, 5)) == HonestLayer(K=4, C=5, Y=3)
    by_outputs = MaestroLayer(
        "l",
        LAYER.type,
        tuple(zip(("K", "C", "Y'", "X'", "R", "S"), (8, 6, 10, 8, 3, 3), strict=True)),
    )
    assert honest_layer(by_outputs) == honest_layer(LAYER)
    with pytest.raises(InputError, match="padding 5"):
        honest_layer(LAYER, padding=5)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("SK1,1 @2 SC1,1 @2 SC1,1 @2 SC1,1", "4 levels"),
        ("TK1,1", "level 0 has 0 SpatialMaps"),
        ("SK1,1 @2 SK1,1 SC1,1", "level 1 has 2 SpatialMaps"),
        ("SK1,1 TK2,2", "maps K twice"),
        ("SK1,1 TY3,1 TY'2,2", "maps Y' twice"),
        ("SK1,1 TM1,1", "no dimension M"),
        ("SK1,1 TC3,2", "hold 3 and advance by 2"),
        ("SK1,1 TY5,2", "hold 3 and advance by 2"),
        ("SK1,1 TY2,1", "smaller than its 3 taps"),
    ],
)
def test_what_cannot_be_expressed_is_infeasible(text: str, reason: str) -> None:
    found = honest_levels(parse_compact(text), LAYER)
    assert isinstance(found, Infeasible)
    assert reason in found.reason


def one(text: str = "SK2,2 TY'4,4 TC4,4 @3 TR1,1 SC1,1", **given: object) -> dict[str, list]:
    """Columns of one row."""
    row = dict(zip("KCYXRS", (8, 6, 12, 10, 3, 3), strict=True)) | {"pes": 13, "noc_bw": 5}
    row |= {"type": "CONV", "mapping": text, "offchip_bw": 3, "noc_latency": 2} | given
    return {name: [value] for name, value in row.items()}


def test_a_row_equals_the_interpreter() -> None:
    """Counters, under the names that MAESTRO gives them."""
    found = {name: column[0] for name, column in evaluate_batch(one(padding=1)).items()}
    layer = HonestLayer(K=8, C=6, Y=10, X=8, R=3, S=3, padding=1, rows=10, columns=8)
    levels = (
        HonestLevel(parallel=K, order=(0, 2, 1, 3, 4, 5), tile=(2, 4, 4, 8, 3, 3)),
        HonestLevel(parallel=C, order=(4, 1, 0, 2, 3, 5), tile=(2, 1, 4, 8, 1, 3), clusters=3),
    )
    machine = HonestMachine(pes=13, noc_bw=5, noc_latency=2, dram_bw=3)
    counts = interpret(layer, levels, machine)
    assert not isinstance(counts, Infeasible)
    assert found["runtime"] == counts.cycles
    assert found["macs_reported"] == found["macs_true"] == counts.macs
    assert (found["l1_req"], found["l2_req"]) == (counts.required[1], counts.shared_required)
    assert found["l2_own_req"] == counts.l2_required
    assert found["input_l2r"] == counts.supplied[1][0]
    assert found["filter_l1w"] == counts.taken[2][1]
    assert found["output_l2w"] == counts.collected[1] + counts.taken[0][2]
    assert found["output_l2r"] == counts.supplied[1][2] + counts.drained[0]
    assert found["output_l1r"] == counts.sums_read + counts.drained[2]
    dram = [found[f"{name}_dram_r"] for name in ("input", "filter", "output")]
    assert dram == list(counts.supplied[0])
    assert found["output_dram_w"] == counts.collected[0]
    assert found["between_r"] == sum(counts.supplied[2]) + counts.drained[1]
    assert found["between_w"] == sum(counts.taken[1]) + counts.collected[2]
    parts = sum(found[f"{x}_nj"] for x in ("dram", "l2", "buffers", "pe", "mac", "leakage"))
    assert found["energy_nj"] == pytest.approx(parts)
    assert found["power"] == pytest.approx(found["energy_nj"] / (found["runtime"] / 500))
    accesses = {
        x: sum(int(found[f"{k}_{x}{m}"]) for k in ("input", "filter", "output") for m in "rw")
        for x in ("l1", "l2")
    }
    between = int(found["between_r"] + found["between_w"])
    screen = 0.23e-3 * (18.61 * (accesses["l2"] + between) + 1.68 * accesses["l1"] + counts.macs)
    assert found["energy_full_nj"] == pytest.approx(screen, rel=1e-4)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"pes": 2}, "3 PEs needed, have 2"),
        ({"l1_size": 100}, "limit 100"),
        ({"l2_size": 1000}, "limit 1000"),
        ({"simd": 2}, "2 SIMD lanes"),
        ({"N": 2}, "a batch of 2"),
        ({"type": "NGCONV", "G": 4}, "4 groups"),
        ({"Y": 2}, "there is no output"),
        ({"mapping": "TK1,1"}, "SpatialMaps"),
    ],
)
def test_infeasible_rows_say_why(given: dict[str, object], reason: str) -> None:
    found = evaluate_batch(one(**given))
    assert reason in found["infeasible"][0]
    for name, column in found.items():
        if name not in ("infeasible", "macs_true"):
            assert column[0] == 0 if name in INTEGERS else np.isnan(column[0])


def test_wrong_cells_are_refused() -> None:
    with pytest.raises(InputError, match=r"row 8, padding: 5; accepted: less than half"):
        evaluate_batch(one(padding=5), first_row=8)
    with pytest.raises(InputError, match=r"row 1, l1_size: 'big'; accepted: an integer"):
        evaluate_batch(one(l1_size="big"))


def test_codes_and_dataflows() -> None:
    """A code, its dataflow and the mapping it stands for are one and the same."""
    rng = np.random.default_rng(4)
    codes = [
        [64, 32, 12, 10, 3, 3, 1],
        [1, 24, 9, 9, 3, 3, 2],
        [30, 20, 10, 1, 1, 1, 3],
        [5, 7, 1, 1, 1, 1, 0],
    ]
    for code in codes * 5:
        levels = tuple(
            Level(
                parallel=Dim(int(rng.integers(6))),
                units=int(rng.integers(1, 4)),
                order=tuple(Dim(int(d)) for d in rng.permutation(6)),
                tile=tuple(rng.integers(1, 9, 6).tolist()),
            )
            for _ in range(3)
        )
        flow = Dataflow(levels)
        stride = int(rng.integers(1, 3))
        layers, mappings = code_rows(code, encode(flow)[None], stride=stride)
        layer = layer_code(code).to_maestro(stride=stride)
        honest = honest_layer(layer)
        assert not isinstance(honest, Infeasible)
        assert layers[0].tolist() == layer_row(honest)
        direct = dataflow_levels(flow)
        assert not isinstance(direct, Infeasible)
        assert mappings[0].tolist() == mapping_rows(direct)
        written = honest_levels(flow.to_maestro(layer)[1], flow.to_maestro(layer)[0])
        assert not isinstance(written, Infeasible)
        free = (
            HonestLevel(parallel=direct[0].parallel, order=direct[0].order, tile=direct[0].tile),
            *direct[1:],
        )
        machine = HonestMachine(pes=GAMMA_HARDWARE.pes, noc_bw=7, dram_bw=9)
        assert evaluate(honest, written, machine) == evaluate(honest, free, machine)
    with pytest.raises(InputError, match="has no outputs"):
        code_rows([4, 4, 2, 4, 3, 3, 2], np.array([encode(flow)]))


MAPPING_FILE = """Network net {
  Layer A { Type: CONV Dimensions { K: 8, C: 6, R: 3, S: 3, Y: 12, X: 10 }
    Dataflow { SpatialMap(2,2) K; TemporalMap(4,4) Y'; Cluster(3, P); SpatialMap(1,1) C; } }
  Layer B { Type: GEMM Dimensions { M: 3, N: 4, K: 7 } Dataflow { SpatialMap(2,1) M; } }
}
"""


def test_the_command_prints_honest_numbers(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "file.m"
    path.write_text(MAPPING_FILE)
    assert cli.main(["maestro", str(path), "--mode", "honest", "--num_pes=13", "--csv"]) == 1
    printed = capsys.readouterr()
    assert "layer 'B': cannot run: tiles of M hold 2" in printed.err
    names, values = (line.split(",") for line in printed.out.splitlines())
    row = dict(zip(names, values, strict=True))
    layer, levels = (
        honest_layer(LAYER),
        honest_levels(parse_compact("SK2,2 TY'4,4 @3 SC1,1"), LAYER),
    )
    assert not isinstance(layer, Infeasible)
    assert not isinstance(levels, Infeasible)
    counts = interpret(layer, levels, HonestMachine(pes=13, dram_bw=70_000))
    assert not isinstance(counts, Infeasible)
    assert (row["layer"], int(row["runtime"])) == ("A", counts.cycles)
    assert (
        cli.main(["maestro", str(path), "--mode", "honest", "--l1_size_cstr=9", "--num_pes=9"]) == 1
    )
    assert "limit 9" in capsys.readouterr().err
    assert cli.main(["maestro", str(path), "--mode", "honest", "--print_res_csv_file=true"]) == 2
