"""The bridge between MAESTRO dataflows and Tensorlib designs, both ways."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from itertools import product
from math import prod
from pathlib import Path

import numpy as np
import pytest

from dcp_hw.baselines.problem import Objective
from dcp_hw.bridge.arrays import Refused, array_styles
from dcp_hw.bridge.lower import Lowered, lower_dataflow
from dcp_hw.bridge.models import TRAFFIC, Cost, compat_of, honest_cost, honest_of, rtl_cost
from dcp_hw.bridge.nest import Nest, nest_of
from dcp_hw.bridge.reasons import MEANING, NotBridged, Reason
from dcp_hw.bridge.share import shared_designs
from dcp_hw.bridge.upward import Raised, raise_mapping
from dcp_hw.cli import main
from dcp_hw.experiments.bridge import Forward, Measured, Reverse, Setting, dataflow_of
from dcp_hw.experiments.bridge_page import page
from dcp_hw.experiments.bridge_report import (
    cycle_causes,
    energy_causes,
    forward_row,
    mapping_files,
)
from dcp_hw.hardware import Hardware
from dcp_hw.lowering import lower
from dcp_hw.maestro.encoding import decode, encode, maestro_layer
from dcp_hw.maestro.honest_maestro import dataflow_levels, honest_levels
from dcp_hw.maestro.honest_types import DIMS, HonestLevel, HonestMachine
from dcp_hw.maestro.mapping_file import parse_mapping
from dcp_hw.mapping import Mapping
from dcp_hw.metrics import Infeasible
from dcp_hw.packing import memory_image, read_output
from dcp_hw.problem import problem_of
from dcp_hw.work import Work
from dcp_hw.workload import Layer, LayerSet
from sim.interpreter import interpret, scatter
from sim.layer_data import make_data
from tensorlib.design import Design, Operand

HARDWARE = Hardware(pes=64, sram_kib=64)
MACHINE = HonestMachine(pes=64, dram_bw=16)
POINTWISE = Layer(name="pointwise", operator="conv", K=64, C=32, Y=6, X=6)
SPATIAL = Layer(name="spatial", operator="conv", K=16, C=16, Y=8, X=8, R=3, S=3, padding=1)
DEPTHWISE = Layer(
    name="depthwise", operator="dwconv", K=32, C=32, Y=8, X=8, R=3, S=3, padding=1, groups=32
)
PRODUCT = Layer(name="product", operator="gemm", M=12, N=32, K=48)

# tensor -> dimensions that select its elements; K of a depthwise layer is its C
USES = {"input": "CYXRS", "weight": "KCRS", "output": "KYX"}
USES_DEPTHWISE = {"input": "CYXRS", "weight": "CRS", "output": "CYX"}


def level(text: str) -> HonestLevel:
    """A level from `UxD: K8 C4 ...`: units, parallel dimension, loops with tiles, outer first."""
    head, _, loops = text.partition(":")
    units, _, parallel = head.partition("x")
    words = loops.split()
    sizes = {word[0]: int(word[1:]) for word in words}
    return HonestLevel(
        parallel=DIMS.index(parallel),
        order=tuple(DIMS.index(word[0]) for word in words),
        tile=tuple(sizes[dim] for dim in DIMS),
        clusters=int(units),
    )


# Nothing has to be changed in these: lanes and tiles keep to blocks of 16 channels.
KEPT = {
    "k x c": (POINTWISE, ["4xC: K16 Y2 X6 C8 R1 S1", "16xK: K1 Y1 X1 C2 R1 S1"]),
    "k x y": (POINTWISE, ["2xY: Y1 K16 X6 C32 R1 S1", "16xK: K1 Y1 X1 C32 R1 S1"]),
    "y x x": (SPATIAL, ["8xY: K16 Y1 X4 C16 R3 S3", "4xX: K16 Y1 X1 C16 R3 S3"]),
    "c x r": (SPATIAL, ["16xC: K16 Y4 X8 C1 R3 S3", "3xR: K16 Y4 X8 C1 R1 S3"]),
    "depthwise": (DEPTHWISE, ["16xC: K1 C1 Y8 X8 R3 S3", "4xX: K1 C1 Y1 X2 R3 S3"]),
    "product": (PRODUCT, ["16xK: K2 C48 Y4 X1 R1 S1", "4xY: K2 C16 Y1 X1 R1 S1"]),
}
DATAFLOWS = {name: (layer, tuple(map(level, texts))) for name, (layer, texts) in KEPT.items()}


@lru_cache
def lowered(
    layer: Layer, levels: tuple[HonestLevel, ...], hardware: Hardware = HARDWARE
) -> Lowered:
    found = lower_dataflow(layer, levels, hardware)
    assert isinstance(found, Lowered), found
    return found


def raised(one: Lowered) -> Raised:
    found = raise_mapping(one.layer, one.design, one.mapping)
    assert isinstance(found, Raised), found
    return found


def nest(layer: Layer, levels: tuple[HonestLevel, ...], pes: int = 64) -> Nest:
    sizes = {
        "gemm": (layer.N, layer.K, layer.M, 1, 1, 1),
        "conv": (layer.K, layer.C, layer.Y, layer.X, layer.R, layer.S),
        "dwconv": (1, layer.C, layer.Y, layer.X, layer.R, layer.S),
    }[str(layer.operator)]
    found = nest_of(sizes, levels, pes)
    assert isinstance(found, Nest), found
    return found


# --- what a dataflow is ----------------------------------------------------------------------


def walk(sizes: tuple[int, ...], levels: tuple[HonestLevel, ...]) -> tuple[int, int, set[int]]:
    """MACs, most steps of a PE, and units that work, by walking every tile of every level."""

    def descend(number: int, box: tuple[range, ...], at: tuple[int, ...]) -> None:
        if number == len(levels):
            work[at] = work.get(at, 0) + prod(len(side) for side in box)
            return
        one = levels[number]
        sides = [
            [side[i : i + tile] for i in range(0, len(side), tile)]
            for side, tile in zip(box, one.tile, strict=True)
        ]
        for places in product(*(range(len(side)) for side in sides)):
            unit = places[one.parallel] % (one.clusters or 1)
            inner = tuple(side[i] for side, i in zip(sides, places, strict=True))
            descend(number + 1, inner, (*at, unit))

    work: dict[tuple[int, ...], int] = {}
    descend(0, tuple(range(size) for size in sizes), ())
    return sum(work.values()), max(work.values()), set(range(len(work)))


@pytest.mark.parametrize("name", KEPT)
def test_a_nest_has_the_macs_and_the_units_of_its_dataflow(name: str) -> None:
    layer, levels = DATAFLOWS[name]
    found = nest(layer, levels)
    macs, steps, units = walk(found.sizes, levels)
    assert macs == layer.macs
    assert prod(found.lanes) == len(units)
    assert prod(loop.steps for loop in (*found.tiles, *found.steps)) == steps


# --- down ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KEPT)
def test_a_dataflow_that_can_be_kept_is_kept(name: str) -> None:
    layer, levels = DATAFLOWS[name]
    one = lowered(layer, levels)
    macs, steps, units = walk(one.nest.sizes, levels)
    counters = Work(one.program()).prediction.counters
    assert one.changes == ()
    assert counters["mac"] == macs == layer.macs
    assert counters["compute"] == steps
    assert one.design.rows * one.design.cols == len(units)


@pytest.mark.parametrize("name", KEPT)
def test_a_lowered_program_computes_the_layer(name: str) -> None:
    program = lowered(*DATAFLOWS[name]).program()
    data = make_data(program.layer, seed=5)
    memory = memory_image(program, data)
    result = interpret(program.design, program.commands, memory)
    scatter(program.commands, result.words, memory)
    np.testing.assert_array_equal(read_output(program, memory), data.output)


@pytest.mark.parametrize("name", KEPT)
def test_the_models_agree_on_steps_and_traffic(name: str) -> None:
    """The honest model counts elements of a dataflow, the program's loads list bytes."""
    layer, levels = DATAFLOWS[name]
    one = lowered(layer, levels)
    work = Work(one.program())
    cycles, counters = work.predicted_cycles, dict(work.prediction.counters)
    ran = rtl_cost(one.program(), one.design, HARDWARE, counters, cycles)
    model = honest_cost(layer, levels, HARDWARE, MACHINE)
    same = honest_of(raised(one), HARDWARE, MACHINE)
    assert not isinstance(model, NotBridged)
    assert model.steps == same.steps == ran.steps  # type: ignore[union-attr]
    for tensor in TRAFFIC[:3]:
        assert model.dram[tensor] == same.dram[tensor]  # type: ignore[union-attr]
        if layer.R == 1 or tensor != "input":  # overlaps of windows are loaded anew
            assert ran.dram[tensor] == model.dram[tensor]  # type: ignore[union-attr]
    assert sum(ran.parts_nj.values()) == pytest.approx(one.energy_nj)


def sources(operand: Operand, design: Design) -> dict[tuple[int, int], tuple[int, int]]:
    """Per PE the PE whose port its operand comes from; chains hold an element in each PE."""
    links = {link.target: link.source for link in operand.links}
    found = {}
    for pe in product(range(design.rows), range(design.cols)):
        at = pe
        while at in links and not operand.chains:
            at = links[at]
        found[pe] = at
    return found


@pytest.mark.parametrize("name", KEPT)
def test_axes_share_what_the_parallel_dimensions_leave_alone(name: str) -> None:
    layer, levels = DATAFLOWS[name]
    one = lowered(layer, levels)
    uses = USES_DEPTHWISE if layer is DEPTHWISE else USES
    loops = {loop: axis for axis, on in enumerate((one.mapping.axis1, one.mapping.axis2))
             for loop, _ in on}  # fmt: skip
    names = {"k": "C" if layer is DEPTHWISE else "K", "x": "Y" if layer is PRODUCT else "X"}
    exits = {pe: n for n, e in enumerate(one.design.output.exits) for s in e.stages for pe in s.pes}
    wires = {
        "input": sources(one.design.input, one.design),
        "weight": sources(one.design.weight, one.design),
        "output": exits,
    }
    if one.design.output.chains:
        wires["output"] = {pe: pe for pe in wires["input"]}
    for loop, axis in loops.items():
        dim = names.get(loop, loop.upper())
        step = (1, 0) if axis == 0 else (0, 1)
        for tensor, root in wires.items():
            shared = all(
                root[pe] == root[other]
                for pe in root
                if (other := (pe[0] + step[0], pe[1] + step[1])) in root
            )
            assert shared == (dim not in uses[tensor]), (tensor, loop)


@pytest.mark.parametrize("name", KEPT)
def test_t_is_the_innermost_dimension_that_gives_an_array(name: str) -> None:
    """On no axis, and no tap of rows or columns side by side: inputs would move from PE to PE."""
    layer, levels = DATAFLOWS[name]
    selected = lowered(layer, levels).design.stt["selected"]
    spread = {DIMS[one.parallel] for one in levels}
    taken = spread | {tap for side, tap in ("YR", "XS") if side in spread}
    order = [DIMS[d] for d in reversed(levels[-1].order)]
    inner = [d for d in order if levels[-1].tile[DIMS.index(d)] > 1 and d not in taken]
    assert len(set(selected)) == 3
    if inner:
        names = {"K": "n", "C": "k", "Y": "m"} if layer is PRODUCT else {}
        assert selected[2] == names.get(inner[0], inner[0].lower())


def test_equal_arrays_are_built_once_with_room_for_all() -> None:
    small, large = (
        lowered(POINTWISE, (level(f"4xC: K16 Y{rows} X6 C8 R1 S1"), DATAFLOWS["k x c"][1][1]))
        for rows in (1, 3)
    )
    other = lowered(*DATAFLOWS["k x y"])
    one, same, apart = shared_designs([small, large, other], HARDWARE)
    assert one == same != apart
    assert one.input.rows == max(small.needs.input_rows, large.needs.input_rows)
    assert small.program(one).commands == small.program().commands


# --- why not ---------------------------------------------------------------------------------

BIG = Layer(name="big", operator="conv", K=64, C=128, Y=24, X=24)
STRIDED = replace(SPATIAL, name="strided", Y=4, X=4, stride=2)
PATCHES = Layer(name="patches", operator="conv", K=16, C=3, Y=4, X=4, R=4, S=4, stride=4)
REFUSED = {
    Reason.LAYER: (PATCHES, ["1xK: K16 C3 Y4 X4 R4 S4", "16xK: K1 C3 Y4 X4 R4 S4"]),
    Reason.THIRD_SPATIAL: (
        POINTWISE,
        ["2xY: K64 C32 Y3 X6 R1 S1", "2xC: K16 C16 Y3 X6 R1 S1", "16xK: K1 C16 Y1 X1 R1 S1"],
    ),
    Reason.SAME_DIMENSION: (
        POINTWISE,
        ["2xK: K16 C32 Y1 X6 R1 S1", "16xK: K1 C32 Y1 X1 R1 S1"],
    ),
    Reason.PARTIAL_SUMS: (
        POINTWISE,
        ["4xY: C16 K64 Y1 X6 R1 S1", "16xK: K1 C16 Y1 X1 R1 S1"],
    ),
    Reason.FILTER_TILES: (SPATIAL, ["4xY: K16 C16 Y1 X8 R1 S3", "16xK: K1 C16 Y1 X1 R1 S3"]),
    Reason.AXES: (STRIDED, ["4xY: K16 C16 Y1 X4 R3 S3", "3xR: K16 C16 Y1 X4 R1 S3"]),
    Reason.BLOCKS: (POINTWISE, ["4xC: K24 C8 Y2 X6 R1 S1", "12xK: K2 C8 Y1 X1 R1 S1"]),
    Reason.ORDER: (POINTWISE, ["2xY: K64 C32 Y1 X2 R1 S1", "16xK: C32 Y1 X2 K1 R1 S1"]),
    Reason.MEMORY: (BIG, ["4xC: K64 C32 Y24 X24 R1 S1", "16xK: K1 C32 Y1 X1 R1 S1"]),
    Reason.PES: (POINTWISE, ["1xC: K64 C32 Y6 X6 R1 S1", "128xK: K1 C32 Y1 X1 R1 S1"]),
}
NEVER = (Reason.LAYER, Reason.AXES, Reason.PES)


@pytest.mark.parametrize("kind", REFUSED)
def test_every_reason_is_given(kind: Reason) -> None:
    layer, texts = REFUSED[kind]
    levels = tuple(map(level, texts))
    found = lower_dataflow(layer, levels, HARDWARE, strict=True)
    assert isinstance(found, NotBridged)
    assert found.kind is kind, found
    assert kind in MEANING
    if kind in NEVER:
        return
    one = lowered(layer, levels)
    assert kind in one.changes
    counters = Work(one.program()).prediction.counters
    assert counters["mac"] >= layer.macs
    assert not isinstance(raise_mapping(layer, one.design, one.mapping), NotBridged)


def test_more_lanes_than_a_digit_counts() -> None:
    wide = replace(POINTWISE, name="wide", C=256)
    levels = (level("128xC: K64 C2 Y1 X6 R1 S1"), level("1xK: K64 C2 Y1 X1 R1 S1"))
    hardware = Hardware(pes=128, sram_kib=64)
    found = lower_dataflow(wide, levels, hardware, strict=True)
    assert isinstance(found, NotBridged)
    assert found.kind is Reason.LIMITS
    one = lowered(wide, levels, hardware)
    assert one.changes == (Reason.LIMITS,)
    assert dict(one.mapping.axis1 + one.mapping.axis2)["c"] < 128


def test_a_memory_that_holds_no_tile_is_infeasible() -> None:
    layer, levels = DATAFLOWS["k x c"]
    found = lower_dataflow(layer, levels, Hardware(pes=64, sram_kib=1))
    assert isinstance(found, NotBridged)
    assert found.kind is Reason.MEMORY


# --- up --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KEPT)
def test_down_and_up_is_the_same_nest(name: str) -> None:
    layer, levels = DATAFLOWS[name]
    one = lowered(layer, levels)
    up = raised(one)
    back = dataflow_levels(up.dataflow)
    assert not isinstance(back, NotBridged)
    again = nest(up.layer, back, up.pes)  # type: ignore[arg-type]
    assert walk(again.sizes, back)[:2] == walk(one.nest.sizes, levels)[:2]  # type: ignore[arg-type]
    if up.layer == layer:
        assert again.chip == one.nest.chip
        assert again.lanes == one.nest.lanes
        assert [x.dim for x in again.tiles] == [x.dim for x in one.nest.tiles]
        assert again.order == one.nest.order


@pytest.mark.parametrize("name", KEPT)
def test_up_and_down_is_the_same_program(name: str) -> None:
    first = lowered(*DATAFLOWS[name])
    up = raised(first)
    levels = dataflow_levels(up.dataflow)
    second = lowered(up.layer, levels)  # type: ignore[arg-type]
    assert second.changes == ()
    lanes = [dict(one.mapping.axis1 + one.mapping.axis2) for one in (first, second)]
    assert lanes[0] == lanes[1]
    sizes = [(m.kt, m.ct, m.yt, m.xt) for m in (first.mapping, second.mapping)]
    assert sizes[0] == sizes[1]
    assert second.cycles == first.cycles


@pytest.mark.parametrize("name", KEPT)
def test_the_mapping_file_and_the_code_say_the_same(name: str) -> None:
    up = raised(lowered(*DATAFLOWS[name]))
    block = parse_mapping(up.mapping_text()).layers[0]
    shape = maestro_layer(up.layer)
    assert block.layer.type is up.dataflow.to_maestro(shape)[0].type
    read = honest_levels(block.mapping, block.layer)  # type: ignore[arg-type]
    wanted = dataflow_levels(up.dataflow)
    assert not isinstance(read, NotBridged)
    for mine, theirs in zip(wanted, read, strict=True):  # type: ignore[arg-type]
        alike = [d for d in theirs.order if theirs.tile[d] == mine.tile[d]]
        assert len(alike) >= 5  # a depthwise layer has no K
    assert decode(encode(up.dataflow)) == up.dataflow


def test_too_many_parallel_loops_are_refused() -> None:
    one = lowered(*DATAFLOWS["k x c"])
    mapping = replace(
        one.mapping, axis1=(("k", 2), ("y", 2), ("x", 2)), axis2=(("c", 4),), kt=1, xt=1, xs=1, ks=1
    )
    found = raise_mapping(POINTWISE, one.design, mapping)
    assert isinstance(found, NotBridged)
    assert found.kind is Reason.LEVELS
    more = raise_mapping(POINTWISE, one.design, mapping, most_levels=None)
    assert isinstance(more, Raised)
    assert [x.units for x in more.dataflow.levels] == [2, 2, 2, 4]
    assert more.pes == 32


def test_what_a_dataflow_cannot_say_is_noted() -> None:
    one = lowered(*DATAFLOWS["depthwise"])
    mapping: Mapping = replace(one.mapping, snake=True, trim=True, lead=3, ys=1)
    found = raise_mapping(DEPTHWISE, one.design, mapping)
    assert isinstance(found, Raised)
    assert len(found.notes) == 4


# --- experiment ------------------------------------------------------------------------------


def measured(one: Lowered) -> Measured:
    """What a measurement would say; the cycle model equals the Verilog."""
    work = Work(one.program())
    counters = dict(work.prediction.counters)
    up = raised(one)
    return Measured(
        design=one.design,
        mapping=one.mapping,
        cost=rtl_cost(one.program(), one.design, HARDWARE, counters, work.predicted_cycles),
        counters=counters,
        execs=1,
        raised=up,
        honest=honest_of(up, HARDWARE, MACHINE),
        compat=compat_of(up.layer, up.dataflow, HARDWARE, up.pes),
    )


@pytest.mark.parametrize("name", KEPT)
def test_causes_add_up(name: str) -> None:
    layer, levels = DATAFLOWS[name]
    ran = measured(lowered(layer, levels))
    model = honest_cost(layer, levels, HARDWARE, MACHINE)
    assert isinstance(model, Cost)
    more = ran.cost.cycles - model.cycles
    assert sum(cycle_causes(model, ran.honest, ran).values()) == more
    energies = energy_causes(model, ran)
    assert sum(energies.values()) == pytest.approx(ran.cost.energy_nj - model.energy_nj)
    assert energies["dram_price_nj"] == pytest.approx(0, abs=1e-6)


def test_the_page_counts_what_is_lowered() -> None:
    layer, levels = DATAFLOWS["k x c"]
    one = lowered(layer, levels)
    model = honest_cost(layer, levels, HARDWARE, MACHINE)
    assert isinstance(model, Cost)
    there = Forward(
        layer=layer, method="exact", dataflow=dataflow_of(levels), honest=model, wide=model,
        compat=(1.0, 1.0), strict=None, lowered=one, measured=measured(one),
    )  # fmt: skip
    other = replace(DEPTHWISE, count=3)
    failed = replace(
        there, layer=other, lowered=NotBridged("too large", Reason.MEMORY), measured=None
    )
    back = [Reverse(layer=layer, measured=measured(one))]
    setting = Setting(
        layers=LayerSet("two", (layer, other)), hardware=HARDWARE, objective=Objective.EDP,
        methods=("exact",), budget=1,
    )  # fmt: skip
    text = page(setting, [there, failed], back, "the command")
    share = 100 * layer.macs / (layer.macs + 3 * other.macs)
    assert f"| as it is | 1 | 1 | {share:.1f} % |" in text
    assert f"| no | 1 | 3 | {100 - share:.1f} % |" in text
    assert "| memory | 0 | 1 |" in text
    assert f"| RTL | {one.cycles:,} |" in text
    row = forward_row(failed)
    assert (row["lowered"], row["why"]) == ("no", "too large")
    assert set(mapping_files([there], back)) == {"forward.m", "reverse.m"}


# --- command line ----------------------------------------------------------------------------


def test_the_command_goes_down_and_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = [
        [[0, 4], [2, 1], [3, 7], [0, 4], [1, 24], [4, 1], [5, 1]],
        [[1, 8], [2, 1], [3, 1], [0, 1], [1, 3], [4, 1], [5, 1]],
    ]
    (tmp_path / "code.json").write_text(json.dumps(code))
    layer = ["--layerset", "tiny", "--layer", "pointwise"]
    down = ["bridge", "down", *layer, "--code", str(tmp_path / "code.json")]
    assert main([*down, "--out", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["selected"][:2] in (["k", "c"], ["c", "k"])
    files = ["--design", str(tmp_path / "design.json"), "--program", str(tmp_path / "program.json")]
    assert main(["bridge", "up", *layer, *files, "--out", str(tmp_path / "x.m")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [rows[0] for rows in answer["code"]] == [rows[0] for rows in code]
    assert parse_mapping((tmp_path / "x.m").read_text()).layers[0].layer.name == "pointwise"


@pytest.mark.parametrize("text", ["[[1]]", "{", "[[[0, 1]]]", '"code"'])
def test_a_wrong_code_is_refused(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "code.json"
    file.write_text(text)
    words = ["--layerset", "tiny", "--layer", "pointwise", "--code", str(file)]
    assert main(["bridge", "down", *words]) == 2
    assert "accepted" in capsys.readouterr().err


def test_held_operands_have_banks_of_their_own() -> None:
    """No program fills chains whose ports share banks; such an array is neither made nor used."""
    layer = Layer(name="pointwise", operator="conv", K=16, C=16, Y=7, X=7)
    styles = array_styles(problem_of(layer), (("k",), ("c",)), "xyrsck", every=True)
    assert not isinstance(styles, Refused)
    chained = [x for x in styles if x.held == "chain" and x.stt[2][:2] == (0, 0)]
    assert {style.chain_axis for style in chained} == {1, 2}
    sizes = {"depth": 64, "words": 64}
    for style in chained:
        for _, operand in style.array(8, 8, **sizes).operands:
            assert not operand.chains or operand.slots == 1, style.key
    both = replace(chained[0], shared_banks=(True, True)).array(8, 8, **sizes)
    lanes = {"axis1": (("k", 8),), "axis2": (("c", 8),)}
    mapping = Mapping(**lanes, kt=2, ct=2, yt=7, xt=7, ks=2, ys=7, xs=7)
    refused = lower(layer, both, mapping)
    assert isinstance(refused, Infeasible)
    assert "share banks" in refused.reason
