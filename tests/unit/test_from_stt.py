"""Designs from space-time transformations: how many, with which links, and whether they compute."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from dcp_hw.axes import axes_of
from dcp_hw.candidates import EXAMPLES, STYLES, Style
from dcp_hw.draw import random_array, random_mapping
from dcp_hw.lowering import Program, lower
from dcp_hw.mapping import Mapping
from dcp_hw.metrics import Infeasible
from dcp_hw.packing import memory_image, read_output
from dcp_hw.workload import Layer
from sim.interpreter import interpret, scatter
from sim.layer_data import make_data
from tensorlib.design import Design, Operand
from tensorlib.errors import AnalysisError
from tensorlib.families import FAMILIES, family
from tensorlib.from_stt import Held, NotGenerated, design_from_stt
from tensorlib.links import ArrayShape, build_links
from tensorlib.op import Operator, batched_gemm, conv2d, depthwise_conv2d, gemm, mttkrp
from tensorlib.reuse import Analysis, analyse
from tensorlib.structures import distinct_structures

ROWS, COLS = 3, 4
IDENTITY = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
SKEWED = [[1, 0, 0], [0, 1, 0], [1, 1, 1]]

# Selected loops, T, and what becomes of a stationary tensor, for families that no style uses.
OTHERS = {
    "broadcast": (conv2d(), "kxc", IDENTITY, "port", None),
    "weight_broadcast": (conv2d(), "kcx", IDENTITY, "chain", 1),
    "row_stationary": (conv2d(), "ryx", IDENTITY, "chain", None),
    "reduce_both": (conv2d(), "crs", [[1, 0, 0], [0, 1, 0], [0, 1, 1]], "chain", None),
}


def counted(op: Operator, *, gapless: bool = True) -> tuple[Counter[str], list[Design]]:
    """Reasons, and the designs of all structures of an operator."""
    reasons: Counter[str] = Counter()
    designs = []
    for s in distinct_structures(op):
        made = design_from_stt(op, s.selected, s.stt, ROWS, COLS, depth=8, words=8, gapless=gapless)
        if isinstance(made, Design):
            designs.append(made)
        else:
            reasons[made.reason] += 1
    return reasons, designs


IDLE = "T^-1 e_t has several non-zero entries, PEs idle between sweeps"


@pytest.mark.parametrize(
    ("op", "designs", "reasons"),
    [
        (gemm(), 42, {IDLE: 78}),
        (batched_gemm(), 108, {IDLE: 96}),
        (
            conv2d(),
            128,
            {
                IDLE: 354,
                "I is shared along links to another local step": 78,
                "I is shared along links that span two PEs": 30,
            },
        ),
        (
            depthwise_conv2d(),
            79,
            {
                IDLE: 150,
                "I is shared along links to another local step": 58,
                "I is shared along links that span two PEs": 30,
            },
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Operator) else "",
)
def test_what_is_generated(op: Operator, designs: int, reasons: dict[str, int]) -> None:
    found, made = counted(op)
    assert found == reasons
    assert len(made) == designs == len({d.hash() for d in made})
    every, windows = counted(op, gapless=False)
    assert not every
    assert [d for d in windows if d.window is None] == made
    assert len(windows) == designs + sum(reasons.values())


def analysis_of(design: Design, op: Operator) -> Analysis:
    return analyse(op, design.stt["loops"], design.stt["T"])


def vectors(operand: Operand) -> set[tuple[int, int, int]]:
    """(dp, delay) of all links; those without delay lead either way."""
    found = set()
    for link in operand.links:
        dp = (link.target[0] - link.source[0], link.target[1] - link.source[1])
        if not link.delay and dp < (0, 0):
            dp = (-dp[0], -dp[1])
        found.add((*dp, link.delay))
    return found


@pytest.mark.parametrize("op", [gemm(), depthwise_conv2d()], ids=lambda op: op.name)
def test_links_are_the_basis_of_the_analysis(op: Operator) -> None:
    for design in counted(op)[1]:
        analysis = analysis_of(design, op)
        assert design.stt["label"] == analysis.label()
        shape = ArrayShape((0, 0), ROWS, COLS)
        reuses = list(analysis.tensors.values())
        for (_, operand), reuse in zip(design.operands, reuses, strict=False):
            assert vectors(operand) == set(reuse.spatial)
            assert (operand.temporal == "chain") == (reuse.kind == "stationary")
            if operand.temporal == "none":
                assert len(operand.ports) == len(build_links(reuse, shape).ports)
        output = reuses[-1]
        assert (design.output.temporal == "chain") == (output.kind == "stationary")
        if design.output.temporal == "chain":
            continue
        assert design.exits == len(build_links(output, shape).ports)
        used = set()
        for exit_ in design.output.exits:
            cycle = 0
            placed = []
            for stage in exit_.stages:
                cycle += stage.delay
                placed += [(*pe, cycle) for pe in stage.pes]
            steps = [tuple(b - a for a, b in zip(placed[0], p, strict=True)) for p in placed]
            inverse = np.array(analysis.stt.inverse)
            access = np.array(op.access(op.output, analysis.selected))
            assert not (access @ inverse @ np.array(steps).T).any()
            used |= set(steps)
        assert set(output.spatial) <= {s if s > (0, 0, 0) or s[2] else tuple(-a for a in s)
                                       for s in used}  # fmt: skip


def test_every_pe_sees_the_element_of_its_loop_point() -> None:
    # along a link, the element M T^-1 (p, t) does not change; a diagonal reaches skews of 2
    op = gemm()
    designs = counted(op)[1]
    for design in counted(op, gapless=False)[1]:
        analysis = analysis_of(design, op)
        inverse = np.array(analysis.stt.inverse)
        for name, operand in zip(op.inputs, (design.input, design.weight), strict=True):
            for dp1, dp2, delay in vectors(operand):
                step = np.array([dp1, dp2, delay])
                assert not (np.array(op.access(name, analysis.selected)) @ inverse @ step).any()
    skews = Counter(max(design.skew[1][0], design.skew[0][1]) for design in designs)
    assert skews == {0: 9, 1: 27, 2: 6}
    kinds = Counter(axes_of(design).other for design in designs)
    # shared along a diagonal: the weight, sums; no mapping lays a layer on these
    assert kinds == {None: 22, "weight": 10, "output": 10}


STYLE_FAMILIES = {
    "unicast_tree": "uo", "unicast_multicast": "uw", "weight_stationary": "ws",
    "output_stationary": "os", "input_stationary": "is", "nvdla": "kc",
    "output_broadcast": "om", "pixel_multicast": "yx", "row_systolic": "ry",
}  # fmt: skip


@pytest.mark.parametrize("kind", FAMILIES)
def test_families_follow_from_a_transformation(kind: str) -> None:
    styles = {s.key: s for s in STYLES + EXAMPLES}
    held: Held
    if kind in STYLE_FAMILIES:
        s = styles[STYLE_FAMILIES[kind]]
        op, selected, matrix, held, axis = s.operator, s.selected, s.stt, s.held, s.chain_axis
    else:
        op, selected, matrix, held, axis = OTHERS[kind]
    for rows, cols in ((4, 4), (3, 8)):
        known = family(kind, rows, cols, name="x")
        made = design_from_stt(
            op, selected, matrix, rows, cols, depth=64, words=256, name="x", held=held,
            chain_axis=axis, slots=(known.input.slots, known.weight.slots),
        )  # fmt: skip
        assert made == known  # provenance aside
        if kind in STYLE_FAMILIES:
            assert s.array(rows, cols, depth=64, words=256, name="x") == known


@pytest.mark.parametrize("style", STYLES + EXAMPLES, ids=lambda s: s.key)
def test_labels_of_styles(style: Style) -> None:
    assert style.label == {
        "uo": "CSR-UUB", "uw": "CXR-UMT", "ws": "KCX-STS", "os": "KXC-SST", "is": "CXK-TSS",
        "kc": "KCR-MUB", "om": "KXC-MMT", "yx": "YXC-UBT", "ry": "RYX-SBS",
    }[style.key]  # fmt: skip
    if style.loops[2] != "any":
        assert list(style.loops) == list(style.selected)


@pytest.mark.parametrize(
    ("op", "selected", "matrix", "reason"),
    [
        (mttkrp(), "ijk", IDENTITY, "multiplies two operands, mttkrp has 3"),
        (gemm(), "mnk", [[1, 0, 0], [0, 1, 0], [0, 0, 2]], "det"),
        (gemm(), "mnk", [[1, 0, 1], [0, 1, 0], [0, 0, 1]], "several non-zero entries"),
        (conv2d(), "ksx", IDENTITY, "another local step"),
        (conv2d(), "rky", [[1, 0, -1], [0, 1, 0], [0, 0, 1]], "several"),
        (conv2d(), "ryx", [[1, -1, 0], [0, 1, 0], [0, 0, 1]], "span two PEs"),
    ],
)
def test_what_has_gaps_says_why(
    op: Operator, selected: str, matrix: list[list[int]], reason: str
) -> None:
    made = design_from_stt(op, selected, matrix, ROWS, COLS, depth=8, words=8, gapless=True)
    assert isinstance(made, NotGenerated)
    assert reason in made.reason
    other = design_from_stt(op, selected, matrix, ROWS, COLS, depth=8, words=8)
    if made.reason.startswith("not generated yet: "):
        assert other == made
    else:
        assert isinstance(other, Design)
        assert other.window == (*analysis_of(other, op).u, 0)


def test_two_held_tensors_and_wrong_matrices() -> None:
    scaled = Operator.parse("scaled", "abc", "O[a, b]", ["P[a, b]", "Q[b, c]"])
    made = design_from_stt(scaled, "abc", IDENTITY, 2, 2, depth=8, words=8, gapless=True)
    assert made == NotGenerated("two tensors held in the PEs at once")
    with pytest.raises(AnalysisError, match="singular"):
        design_from_stt(gemm(), "mnk", [[1, 0, 0], [1, 0, 0], [0, 0, 1]], 2, 2, depth=8, words=8)
    with pytest.raises(AnalysisError, match="three different loops"):
        design_from_stt(gemm(), "mn", IDENTITY, 2, 2, depth=8, words=8)


def test_mirrored_matrices_give_the_same_array() -> None:
    plain = design_from_stt(gemm(), "mnk", SKEWED, ROWS, COLS, depth=8, words=8)
    turned = [[-1, 0, 0], [0, 1, 0], [1, 1, 1]]
    assert design_from_stt(gemm(), "mnk", turned, ROWS, COLS, depth=8, words=8) == plain
    back = [[1, 0, 0], [0, 1, 0], [-1, -1, -1]]  # counts the reduction down
    assert design_from_stt(gemm(), "mnk", back, ROWS, COLS, depth=8, words=8) == plain


RUNS: tuple[tuple[Operator, str, list[list[int]], Held, int | None], ...] = (
    (gemm(), "mnk", [[1, 0, 0], [0, 1, 0], [-1, 0, 1]], "chain", 2),
    (gemm(), "kmn", [[0, 1, 0], [-1, 0, 0], [1, 1, -1]], "chain", 2),
    (gemm(), "nkm", [[1, 0, 0], [0, 1, 0], [0, 1, 1]], "port", None),
    (conv2d(), "ryk", [[1, 0, 0], [0, 1, 0], [1, 1, 1]], "port", None),  # diagonal multicast
    (conv2d(), "ryx", [[1, 0, 0], [0, -1, 0], [0, 1, 1]], "chain", None),  # systolic diagonal
    (conv2d(), "yxc", [[1, 0, 0], [0, 1, 0], [1, 0, 1]], "chain", 1),
)


def run_layer(layer: Layer, design: Design, program: Program | Infeasible) -> None:
    assert isinstance(program, Program), program
    data = make_data(layer, seed=1)
    memory = memory_image(program, data)
    scatter(program.commands, interpret(design, program.commands, memory).words, memory)
    assert np.array_equal(read_output(program, memory), data.output)


@pytest.mark.parametrize("case", RUNS, ids=lambda c: f"{c[0].name}-{c[1]}-{c[3]}")
def test_generated_arrays_compute(case: tuple) -> None:
    op, selected, matrix, held, axis = case
    design = design_from_stt(
        op, selected, matrix, 4, 4, depth=64, words=256, held=held, chain_axis=axis
    )
    assert isinstance(design, Design)
    rng = random.Random(selected)
    for layer in (
        Layer(name="gemm", operator="gemm", M=7, N=9, K=16),
        Layer(name="conv", operator="conv", K=5, C=6, Y=6, X=5, R=3, S=3, padding=1),
    ):
        program = next(
            p
            for _ in range(40)
            if not isinstance(m := random_mapping(layer, design, rng), Infeasible)
            and not isinstance(p := lower(layer, design, m), Infeasible)
        )
        run_layer(layer, design, program)


def test_chains_of_one_pe_run_along_the_axis_of_one() -> None:
    for kind, axis in (("weight_stationary", 1), ("output_stationary", 1), ("output_broadcast", 0)):
        axes = axes_of(family(kind, *((4, 1) if axis else (1, 4))))
        assert (axes.chain_axis if kind.startswith("weight") else axes.drained) == axis


def test_pes_that_no_loop_uses_are_off() -> None:
    layer = Layer(name="dw", operator="dwconv", K=7, C=7, Y=4, X=4, R=3, S=3, padding=1, groups=7)
    mapping = Mapping(axis1=(), axis2=(), kt=7, ct=1, yt=4, xt=4, ks=7, ys=4, xs=4)
    for rows, cols in ((1, 4), (4, 1), (3, 4)):
        design = family("broadcast", rows, cols)
        run_layer(layer, design, lower(layer, design, mapping))


@pytest.mark.parametrize("seed", range(8))
def test_random_arrays_compute(seed: int) -> None:
    rng = random.Random(seed)
    design = random_array(rng, *rng.choice(((4, 4), (3, 4), (1, 4))), depth=64, words=256)
    layer = Layer(name="conv", operator="conv", K=5, C=6, Y=6, X=5, R=3, S=3, padding=1)
    mapping = random_mapping(layer, design, rng)
    program = mapping if isinstance(mapping, Infeasible) else lower(layer, design, mapping)
    if isinstance(program, Program):
        run_layer(layer, design, program)
