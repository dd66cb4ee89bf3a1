"""Arrays of every transformation compute: programs for them, interpreted, against the reference.

Expected values come from the operator's definition (`sim.reference`), never from reuse analysis.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from dcp_hw.axes import axes_of
from dcp_hw.cli import main
from dcp_hw.draw import random_mapping
from dcp_hw.metrics import Infeasible
from dcp_hw.stt_banks import Filter
from dcp_hw.stt_builder import Builder
from dcp_hw.stt_layer import nest_of
from dcp_hw.stt_placement import Unplaceable, place
from dcp_hw.stt_program import SttProgram, stt_program
from dcp_hw.workload import Layer
from sim.interpreter import ProgramFault, interpret
from sim.layer_data import make_data
from sim.stream import scatter
from tensorlib.design import Design, Link, Port, Stage
from tensorlib.design_json import from_text, to_text
from tensorlib.errors import AnalysisError
from tensorlib.families import family
from tensorlib.from_stt import Held, design_from_stt
from tensorlib.program import Exec, Load, Store
from tensorlib.structures import distinct_structures
from tensorlib.timing import predict

GEMM = Layer(name="gemm", operator="gemm", M=7, N=5, K=9)
LAYERS = (
    Layer(name="bgemm", operator="bgemm", B=3, M=5, N=4, K=7),
    Layer(name="conv", operator="conv", K=3, C=4, Y=5, X=3, R=3, S=2, padding=1, stride=2),
    Layer(name="dilated", operator="conv", K=4, C=3, Y=4, X=5, R=2, S=3, padding=1, dilation=2),
    Layer(name="grouped", operator="conv", K=4, C=6, Y=4, X=3, R=2, S=2, groups=2),
    Layer(name="dw", operator="dwconv", K=5, C=5, Y=5, X=4, R=3, S=2, padding=1, groups=5),
)
MULTI = [[1, 0, 1], [0, 1, 1], [0, 0, 1]], [[1, 0, 1], [0, 1, 0], [0, 0, 1]]

SYSTOLIC = [[-1, 0, 1], [0, 1, 1], [1, 1, 1]]


def differences(program: SttProgram, design: Design | None = None) -> str:
    """What an interpreted program does otherwise than it should; also words without outputs."""
    design = design or program.design
    data = make_data(program.layer, seed=3, profile="uniform")
    memory = program.image(data)
    try:
        result = interpret(design, program.commands, memory)
    except ProgramFault as fault:
        return str(fault)
    scatter(program.commands, result.words, memory)
    wrong = []
    if not np.array_equal(*program.results(memory, data)):
        wrong.append("words")
    if not np.array_equal(program.output(memory), data.acc):
        wrong.append("output")
    counters = predict(design, program.commands).counters
    if {name: counters[name] for name in result.counters} != result.counters:
        wrong.append("counters")
    if counters["mac"] != program.layer.macs:
        wrong.append("macs")
    return ", ".join(wrong)


def array(layer: Layer, selected: str, matrix: object, rows: int = 4, cols: int = 5) -> Design:
    """The design of a transformation, for the operator of a layer."""
    made = design_from_stt(nest_of(layer).op, selected, matrix, rows, cols, depth=64, words=512)
    assert isinstance(made, Design)
    return made


def computed(layer: Layer, held: Held, every: int) -> Counter[str]:
    """How arrays of structures do, every so many of them: with or without windows, and what not."""
    op = nest_of(layer).op
    found: Counter[str] = Counter()
    for s in distinct_structures(op)[::every]:
        design = design_from_stt(op, s.selected, s.stt, 4, 5, depth=64, words=512, held=held)
        assert isinstance(design, Design), design
        program = stt_program(layer, design)
        assert isinstance(program, SttProgram), (s, program)
        kind = "gapless" if design.window is None else "windows"
        found[kind] += 1
        if wrong := differences(program):
            found[f"{kind} wrong: {wrong}"] += 1
    return found


def test_every_gemm_structure_computes() -> None:
    assert computed(GEMM, "chain", 1) == {"gapless": 42, "windows": 78}


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (LAYERS[0], {"gapless": 11, "windows": 10}),
        (LAYERS[1], {"gapless": 6, "windows": 27}),
        (LAYERS[2], {"gapless": 6, "windows": 27}),
        (LAYERS[4], {"gapless": 8, "windows": 24}),
    ],
    ids=lambda value: value.name if isinstance(value, Layer) else "",
)
def test_structures_of_other_operators_compute(layer: Layer, expected: dict[str, int]) -> None:
    every = {"bgemm": 10, "conv": 20, "dilated": 20, "dw": 10}[layer.name]
    assert computed(layer, "port", every) == expected


def test_grouped_convolutions_run_on_arrays_of_plain_ones() -> None:
    layer = LAYERS[3]
    plain = nest_of(LAYERS[1]).op
    for matrix in MULTI:
        design = design_from_stt(plain, "kyr", matrix, 4, 5, depth=64, words=512)
        assert isinstance(design, Design)
        program = stt_program(layer, design)
        assert isinstance(program, SttProgram)
        assert differences(program) == ""


def test_diagonals_that_no_mapping_knows_compute() -> None:
    op = nest_of(GEMM).op
    found = Counter()
    for s in distinct_structures(op):
        for held in ("chain", "port"):
            design = design_from_stt(
                op, s.selected, s.stt, 4, 5, depth=64, words=512, held=held, gapless=True
            )
            if not isinstance(design, Design) or axes_of(design).other is None:
                continue
            found[axes_of(design).other, held] += 1
            program = stt_program(GEMM, design)
            assert isinstance(program, SttProgram)
            assert differences(program) == ""
    assert set(found.values()) == {10}
    assert len(found) == 4


@pytest.mark.parametrize("matrix", MULTI)
def test_tiles_loops_and_banks_of_any_size(matrix: list[list[int]]) -> None:
    """Tiles cut short, EXECs of many sweeps, banks that hold one sweep only."""
    op = nest_of(GEMM).op
    sizes = set()
    for depth, words in ((64, 512), (3, 40), (1, 9)):
        design = design_from_stt(op, "mnk", matrix, 3, 4, depth=depth, words=words)
        assert isinstance(design, Design)
        for tile in (None, (2, 2, 1), (1, 2, 2), (1, 1, 1)):
            program = stt_program(GEMM, design, tile=tile)
            assert isinstance(program, SttProgram), program
            assert tile in (None, program.tile)
            assert differences(program) == "", (depth, tile)
            kinds = Counter(type(command) for command in program.commands)
            sizes.add((kinds[Load] > 2, kinds[Exec] > 1, kinds[Store] > 1))
            assert (program.unpacked < 0).any() or tile == (1, 1, 1)
    assert sizes >= {(False, True, False), (True, True, True)}


def test_windows_are_as_the_cycle_model_counts_them() -> None:
    """One step per cycle: sweeps x window steps, of which the layer's MACs are used."""
    design = array(GEMM, "mnk", MULTI[1])
    program = stt_program(GEMM, design, tile=(2, 3, 3))
    assert isinstance(program, SttProgram)
    counters = predict(design, program.commands).counters
    assert counters["compute"] == 4 * 2 * 3 * program.window
    assert counters["mac"] == GEMM.macs


# --- what must not work ------------------------------------------------------------------


def broken(design: Design, **operand: object) -> Design:
    return replace(design, input=replace(design.input, **operand))


def test_a_late_link_is_noticed() -> None:
    design = array(GEMM, "mnk", SYSTOLIC)
    program = stt_program(GEMM, design)
    assert isinstance(program, SttProgram)
    assert differences(program) == ""
    first, *others = design.input.links
    late = replace(design, input=replace(
        design.input, links=(Link(first.source, first.target, first.delay + 1), *others)
    ))  # fmt: skip
    assert differences(program, late) != ""
    refused = stt_program(GEMM, late, tile=program.tile)
    assert isinstance(refused, Infeasible) or differences(refused) == ""


def test_a_late_exit_is_noticed() -> None:
    design = array(GEMM, "mnk", SYSTOLIC)
    program = stt_program(GEMM, design)
    assert isinstance(program, SttProgram)
    exits = list(design.output.exits)
    n = next(n for n, e in enumerate(exits) if len(e.stages) > 1)
    head, second, *rest = exits[n].stages
    exits[n] = replace(exits[n], stages=(head, Stage(second.pes, second.delay + 1), *rest))
    late = replace(design, output=replace(design.output, exits=tuple(exits)))
    assert differences(program, late) != ""


def test_a_window_that_moves_the_wrong_way_is_noticed() -> None:
    design = array(GEMM, "mnk", MULTI[1])
    program = stt_program(GEMM, design)
    assert isinstance(program, SttProgram)
    assert design.window is not None
    turned = replace(design, window=tuple(-step for step in design.window))
    assert "words" in differences(program, turned)
    still = replace(design, window=(0, 0, 0, 0))
    assert differences(program, still) != ""


def test_an_array_of_another_operator_is_refused() -> None:
    shared = array(LAYERS[1], "kcx", [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert stt_program(GEMM, shared) == Infeasible("gemm has no loops c, x")
    # a depthwise weight is not shared by channels
    matrix = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    wide = design_from_stt(nest_of(LAYERS[1]).op, "crx", matrix, 4, 5, depth=64, words=512)
    assert isinstance(wide, Design)
    refused = stt_program(LAYERS[4], wide)
    assert isinstance(refused, Infeasible)
    assert "exit" in refused.reason


def test_mappings_leave_windows_alone() -> None:
    design = array(LAYERS[1], "kcx", MULTI[1])
    for seed in range(3):
        refused = random_mapping(LAYERS[1], design, random.Random(seed))
        assert refused == Infeasible(
            "no mapping enables PEs step by step, as the windows of this array do"
        )


def test_refusals_say_why() -> None:
    design = array(GEMM, "mnk", MULTI[1])
    assert stt_program(GEMM, family("broadcast", 4, 4)) == Infeasible(
        "the design does not say which transformation it is made from"
    )
    assert stt_program(GEMM, design, tile=(9, 1, 1)) == Infeasible(
        "tile (9, 1, 1) must be 1 to (7, 5, 9)"
    )
    refused = stt_program(GEMM, design, tile=(7, 5, 9))
    assert refused == Infeasible("tile (7, 5, 9) needs more than 4 x 5 PEs")
    small = replace(design, output=replace(design.output, words=1))
    assert stt_program(GEMM, small) == Infeasible("output banks do not hold the sums of a sweep")
    with pytest.raises(Unplaceable, match="grow evenly"):
        place(
            replace(design, skew=((0, 0, 0, 0, 1), *design.skew[1:]), window=(0, 0, 0, 0)),
            nest_of(GEMM).op,
            (1, 1, 1),
        )


def test_partial_sums_of_short_sweeps_are_three_steps_apart() -> None:
    design = array(GEMM, "mnk", [[1, 0, 1], [0, 1, 0], [0, 0, 1]])
    program = stt_program(GEMM, design, tile=(1, 1, 1))
    assert isinstance(program, SttProgram)
    assert program.window >= 3
    built = Builder(design, nest_of(GEMM), place(design, nest_of(GEMM).op, (1, 1, 1)))
    assert built.exec_steps == program.window * GEMM.macs


# --- the parts ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lanes", "ring"),
    [
        ([(0, 0), (1, 0), (2, 0), (0, 1), (0, 2)], False),  # two edges
        ([(2, 0), (2, 1), (1, 1), (0, 2)], False),
        ([(i, j) for i in range(3) for j in range(2)], True),
        ([(4, 3)], False),
    ],
)
def test_words_find_their_banks(lanes: list[tuple[int, int]], ring: bool) -> None:
    base = family("unicast_tree", 5, 4).input
    ports = tuple(Port(n, 0, pe) for n, pe in enumerate(lanes))
    filt = Filter(replace(base, banks=len(lanes), lanes=tuple(lanes), ports=ports, slots=1))
    packed = np.arange(len(lanes))[:, None] + np.zeros(16, dtype=np.int64)
    words = filt.arrange(packed).reshape(filt.na, filt.nb, 16)
    assert (filt.nb > 1) == ring
    for bank, (i, j) in enumerate(lanes):
        (a1, b1), (a2, b2) = filt.low(0, i), filt.low(1, j)
        assert (words[(a1 + a2) & 1023, (b1 + b2) & 1023] == bank).all()


def test_designs_with_windows_survive_their_file(root: Path) -> None:
    design = array(LAYERS[1], "ryx", [[1, 0, 1], [0, 1, 1], [0, 0, 1]])
    text = to_text(design)
    assert from_text(text) == design
    assert '"window": {"steps": [' in text
    with pytest.raises(AnalysisError, match=r"window: missing fields \['steps'\]"):
        from_text(text.replace('"window": {"steps"', '"window": {"stairs"'))
    schema = json.loads((root / "tensorlib/schemas/design.schema.json").read_text())
    jsonschema.validate(json.loads(text), schema)


def test_rules_of_designs_with_windows() -> None:
    design = array(GEMM, "mnk", MULTI[1])
    for window, message in (((0, 1, 0), "needs 4 entries"), ((0, 8, 0, 0), "-7 to 7")):
        with pytest.raises(AnalysisError, match=message):
            replace(design, window=window)
    with pytest.raises(AnalysisError, match="no chains"):
        replace(family("weight_stationary", 3, 3), window=(1, 0, 0, 0))
    with pytest.raises(AnalysisError, match="links delay"):
        broken(design, links=tuple(replace(x, delay=-1) for x in design.input.links))
    with pytest.raises(AnalysisError, match="skew difference"):
        replace(array(GEMM, "mnk", [[1, 0, 0], [0, 1, 0], [0, 1, 1]]), skew=((0,) * 5,) * 4)


# --- the command --------------------------------------------------------------------------

BACKWARD = ("--loops", "mnk", "--matrix", "1,0,1 0,1,0 0,0,1")


def stt(*arguments: str) -> int:
    return main(["stt", "--layers", "gemm_prime", "--rows", "3", "--cols", "4", *arguments])


def test_the_command_compares_every_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert stt(*BACKWARD, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["right"]
    assert row["windows"]
    assert row["matrix"] == "1,0,1 0,1,0 0,0,1"
    assert row["words"] > 13 * 17
    assert row["busy"] == pytest.approx(13 * 17 * 23 / (12 * steps(row)), abs=1e-4)


def steps(row: dict) -> int:
    """Steps of all sweeps of 13 x 17 x 23."""
    tile = [int(n) for n in row["tile"].split("x")]
    return row["steps"] * int(
        np.prod([-(-n // t) for n, t in zip((13, 17, 23), tile, strict=True)])
    )


def test_the_command_fails_if_a_word_differs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = SttProgram.sums
    monkeypatch.setattr(SttProgram, "sums", lambda self, memory: right(self, memory) + 1)
    assert stt(*BACKWARD) == 1
    assert "0 right" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give --loops with --matrix, or --every"),
        ((*BACKWARD, "--every"), "give --loops with --matrix, or --every"),
        (("--loops", "mnk", "--matrix", "1,0 0,1"), "three rows of three integers"),
        (("--loops", "kcx", "--matrix", BACKWARD[3]), "gemm has no iterator 'c'"),
        (("--loops", "mnk", "--matrix", "1,0,0 0,1,0 0,0,2"), "no array of this T"),
        (("--loops", "mnk", "--matrix", "1,0,0 1,0,0 0,0,1"), "singular"),
        ((*BACKWARD, "--rows", "0"), "array.rows must be an integer 1 to 1024"),
    ],
)
def test_the_command_says_what_it_accepts(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stt(*arguments) == 2
    assert message in capsys.readouterr().err
