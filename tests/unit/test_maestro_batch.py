"""The compiled compat model equals the plain one, and the binary, in every column."""

from __future__ import annotations

import csv
import gzip
import math
import random
from pathlib import Path

import numpy as np
import pytest

from dcp_hw.errors import InputError
from dcp_hw.maestro.compat import GAMMA_HARDWARE, MaestroHardware, evaluate
from dcp_hw.maestro.compat_batch import COLUMNS, INTEGERS, evaluate_batch, evaluate_table
from dcp_hw.maestro.compat_build import KINDS, NAMES
from dcp_hw.maestro.compat_codes import evaluate_codes
from dcp_hw.maestro.compat_columns import columns
from dcp_hw.maestro.compat_table import HARDWARE, Table, parse_mappings
from dcp_hw.maestro.dataflow import Dataflow, Dim, Level, loop_sizes
from dcp_hw.maestro.encoding import encode, layer_code
from dcp_hw.maestro.layer import LayerType, MaestroLayer
from dcp_hw.maestro.mapping import Directive, Mapping, parse_compact
from dcp_hw.metrics import Infeasible

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "maestro"
INPUTS = (
    *("type", "K", "C", "Y", "X", "R", "S", "M", "N", "stride", "mapping"),
    *("pes", "noc_bw", "noc_latency", "offchip_bw", "simd"),
)


def reference(name: str) -> dict[str, list[str]]:
    """Columns of one of the reference files."""
    with gzip.open(FOLDER / f"{name}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {column: [row[column] for row in rows] for column in rows[0]}


def test_equals_the_binary_on_all_reference_rows() -> None:
    known = reference("reference")
    found = evaluate_batch({name: known[name] for name in INPUTS}, threads=2)
    assert len(found["runtime"]) == 19_249
    assert not any(found["infeasible"])
    wrong = []
    for name in COLUMNS:
        digits = 7 if name == "energy_full_nj" else 6
        for row, (value, printed) in enumerate(zip(found[name].tolist(), known[name], strict=True)):
            if name in INTEGERS:
                equal = str(value) == printed
            elif printed == "nan":
                equal = math.isnan(value)
            else:
                equal = float(f"{value:.{digits}g}") == float(f"{float(printed):.{digits}g}")
            if not equal:
                wrong.append((name, row, known["mapping"][row], value, printed))
    assert not wrong, (len(wrong), wrong[:10])


def test_crashes_are_infeasible() -> None:
    known = reference("crashes")
    found = evaluate_batch({name: known[name] for name in INPUTS})
    for code, reason in zip(known["exit_code"], found["infeasible"], strict=True):
        assert ("SIGFPE" in reason) == (code == "-8"), reason
        assert ("255" in reason) == (code == "255"), reason


# -------------------------------------------------------------------- random mappings


def random_layer(rng: random.Random) -> MaestroLayer:
    """A layer of any type, small, with strides, batches and sizes that tiles do not divide."""
    kind = rng.choice([LayerType.CONV] * 3 + [LayerType.DSCONV, LayerType.NGCONV, LayerType.GEMM])
    if kind is LayerType.GEMM:
        return MaestroLayer("l", kind, tuple((dim, rng.randint(1, 60)) for dim in "MNK"))
    taps = {"R": rng.choice((1, 1, 2, 3, 5)), "S": rng.choice((1, 1, 2, 3, 5))}
    sizes = {"K": rng.randint(1, 40), "C": rng.randint(1, 40), **taps}
    sizes |= {"Y": taps["R"] + rng.randint(0, 20), "X": taps["S"] + rng.randint(0, 20)}
    if kind is LayerType.NGCONV:
        sizes["G"] = rng.randint(1, 6)
    if rng.random() < 0.15:
        sizes["N"] = rng.randint(1, 4)
    stride = rng.choice((1, 1, 1, 2, 3))
    return MaestroLayer("l", kind, tuple(sizes.items()), (("X", stride), ("Y", stride)))


def random_mapping(rng: random.Random, layer: MaestroLayer) -> Mapping:
    """A mapping with missing dimensions, remainders, tiles too large, odd offsets, and errors."""
    sizes = layer.size
    if layer.type is LayerType.DSCONV and rng.random() < 0.9:
        del sizes["K"]
    levels, parents = [], dict(sizes)
    for _ in range(rng.choice((1, 1, 2, 2, 2, 3, 3, 3, 4))):
        dims = list(sizes)
        rng.shuffle(dims)
        dims = dims[: rng.randint(max(1, len(dims) - 2), len(dims))]
        spatial = set(dims[:1] if rng.random() < 0.9 else dims[:2])
        rng.shuffle(dims)
        style = rng.random()
        level = []
        for dim in dims:
            name, parent = dim, parents[dim]
            size = rng.randint(1, max(1, parent))
            if dim in ("R", "S") and not (dim in spatial and rng.random() < 0.5):
                size = sizes[dim]
            elif style < 0.3:
                size = rng.choice([x for x in range(1, parent + 1) if parent % x == 0])
            elif style > 0.9:
                size = rng.randint(1, 2 * parent + 2)
            offset = size
            if style > 0.7 and rng.random() < 0.3 and dim not in ("R", "S"):
                offset = rng.randint(1, size + 2)
            if dim in ("Y", "X") and rng.random() < 0.6:
                name = f"{dim}'"
                size = max(1, size - sizes["R" if dim == "Y" else "S"] + 1)
            parents[dim] = max(1, min(parent, size))
            level.append(Directive(dim in spatial, name, size, offset))
        levels.append(tuple(level))
    clusters = tuple(rng.choice((1, 2, 3, 4, 7)) for _ in levels[1:])
    return Mapping(tuple(levels), clusters)


def random_hardware(rng: random.Random) -> MaestroHardware:
    """Hardware with tight and loose bandwidths."""
    return MaestroHardware(
        pes=rng.choice((16, 64, 168, 1024)),
        noc_bw=rng.choice((1, 4, 16, 81_920_000)),
        noc_latency=rng.choice((0, 1, 3)),
        offchip_bw=rng.choice((1, 50, 1 << 30)),
        simd=rng.choice((1, 1, 2, 4)),
    )


def as_table(cases: list[tuple[MaestroLayer, Mapping, MaestroHardware]]) -> Table:
    """The cases as arrays."""
    sizes = [[layer.size.get(dim, 0) for dim in NAMES[:9]] for layer, _, _ in cases]
    strides = [[layer.stride.get(axis, 1) for axis in "XY"] for layer, _, _ in cases]
    kinds = [KINDS.index(layer.type) + 4 * layer.batched for layer, _, _ in cases]
    machines = [[getattr(machine, name) for name in HARDWARE] for _, _, machine in cases]
    directives, starts = parse_mappings([str(mapping) for _, mapping, _ in cases])
    return Table(directives, starts, *map(np.array, (sizes, strides, kinds, machines)))


def check_against_the_plain_form(
    cases: list[tuple[MaestroLayer, Mapping, MaestroHardware]],
) -> int:
    """Compare every column; the number of mappings that have a result."""
    found = evaluate_table(as_table(cases))
    feasible = 0
    for row, case in enumerate(cases):
        result = evaluate(*case)
        if isinstance(result, Infeasible):
            assert found["infeasible"][row] == result.reason, case
            continue
        feasible += 1
        assert found["infeasible"][row] == "", case
        for name, value in columns(result).items():
            other = found[name][row]
            if name in INTEGERS:
                assert other == value, (name, case)
            else:
                close = math.isclose(other, value, rel_tol=1e-12)
                assert close or (math.isnan(other) and math.isnan(value)), (name, case)
    return feasible


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_plain_form_on_random_mappings(seed: int) -> None:
    rng = random.Random(seed)
    cases = []
    for _ in range(500):
        layer = random_layer(rng)
        cases.append((layer, random_mapping(rng, layer), random_hardware(rng)))
    assert check_against_the_plain_form(cases) > 100


def test_equals_the_plain_form_on_layers_of_networks() -> None:
    """Three levels with remainders of remainders: most cases per mapping."""
    rng = random.Random(7)
    shapes = ([24, 96, 56, 56, 1, 1, 1], [128, 128, 30, 30, 3, 3, 1], [1, 96, 114, 114, 3, 3, 2])
    cases = []
    for _ in range(120):
        code = layer_code(rng.choice((*shapes, [197, 768, 768, 1, 1, 1, 3])))
        layer = code.to_maestro(stride=rng.choice((1, 1, 2)))
        sizes, levels = loop_sizes(layer), []
        for _ in range(3):
            tile = {d: sizes[d] if d in (Dim.R, Dim.S) else rng.randint(1, sizes[d]) for d in Dim}
            order = rng.sample(list(Dim), len(Dim))
            levels.append(
                Level(
                    parallel=rng.choice(list(Dim)),
                    units=rng.choice((1, 2, 4, 8)),
                    order=tuple(order),
                    tile=tuple(tile[d] for d in order),
                )
            )
            sizes = tile
        flow = Dataflow(tuple(levels))
        cases.append((*flow.to_maestro(layer), random_hardware(rng)))
    assert check_against_the_plain_form(cases) > 60


def test_equals_the_plain_form_where_iterations_overflow() -> None:
    """Below the top, so that MAESTRO either ends or goes on with too few iterations."""
    rng = random.Random(3)
    cases = []
    for _ in range(60):
        sizes = [rng.randint(100, 9000) for _ in range(2)] + [rng.randint(10, 400) for _ in "YX"]
        layer = MaestroLayer("l", LayerType.CONV, tuple(zip("KCYXRS", (*sizes, 1, 1), strict=True)))
        whole = [f"T{d}{n},{n}" for d, n in zip("CYX", sizes[1:], strict=True)]
        tiles = [f"T{d}{n},{n}" for d in "CYX" for n in [rng.randint(1, 3)]]
        text = " ".join([f"SK{sizes[0]},{sizes[0]}", *whole, "@4", "SK1,1", *tiles])
        cases.append((layer, parse_compact(text), random_hardware(rng)))
    assert 10 < check_against_the_plain_form(cases) < 50


def test_a_dimension_mapped_twice_goes_through_the_plain_form() -> None:
    cases = []
    for text in (
        "SK1,1 TK2,2 TC1,1",
        "SK4,4 TR3,3 TS3,3 TY5,3 TY'2,2 TX3,1",
        "SK1,1 TK2,2 @2 SC1,1",
    ):
        layer = MaestroLayer(
            "l", LayerType.CONV, tuple(zip("KCYXRS", (8, 8, 9, 9, 3, 3), strict=True))
        )
        cases.append((layer, parse_compact(text), GAMMA_HARDWARE))
    found = evaluate_table(as_table(cases))
    for row, case in enumerate(cases):
        result = evaluate(*case)
        assert not isinstance(result, Infeasible)
        assert found["runtime"][row] == columns(result)["runtime"]


# ------------------------------------------------------------------------------ codes


def test_codes_equal_the_mappings_that_they_stand_for() -> None:
    rng = random.Random(5)
    layers, flows, cases = [], [], []
    shapes = ([64, 32, 12, 10, 3, 3, 1], [1, 24, 9, 9, 3, 3, 2], [30, 20, 10, 1, 1, 1, 3])
    for _ in range(300):
        code = layer_code(rng.choice((*shapes, [50, 40, 1, 1, 1, 1, 0])))
        levels = []
        for _ in range(3):
            order = list(Dim)
            rng.shuffle(order)
            tile = tuple(rng.randint(1, 9) for _ in order)
            levels.append(
                Level(
                    parallel=rng.choice(list(Dim)),
                    units=rng.randint(1, 8),
                    order=tuple(order),
                    tile=tile,
                )
            )
        flow = Dataflow(tuple(levels))
        layers.append(code.values)
        flows.append(encode(flow))
        cases.append((*flow.to_maestro(code.to_maestro(stride=2)), GAMMA_HARDWARE))
    found = evaluate_codes(layers, flows, stride=2)
    expected = evaluate_table(as_table(cases))
    for name, column in expected.items():
        np.testing.assert_array_equal(found[name], column, name)


@pytest.mark.parametrize(
    ("layers", "flows", "message"),
    [
        ([1] * 7, np.ones((2, 3, 6, 2)), "accepted: "),
        ([1] * 6, np.ones((2, 3, 7, 2)), "do not fit"),
        ([1] * 7, np.ones((2, 3, 7, 2)), "no dataflow"),
        ([0] * 7, np.ones((2, 3, 7, 2)), "no layer"),
    ],
)
def test_wrong_codes_are_refused(layers: list[int], flows: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_codes(layers, flows)
