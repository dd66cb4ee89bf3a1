"""Operators, space-time transformations and reuse: exact facts and properties."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorlib.errors import AnalysisError
from tensorlib.lattice import contains, hermite, integer_kernel
from tensorlib.op import BUILT_IN, Operator, conv2d, gemm
from tensorlib.reuse import Analysis, analyse, orient
from tensorlib.structures import distinct_structures, selections, structure_codes
from tensorlib.stt import Stt, adjugates, determinants, matrices

OUTPUT_STATIONARY = ((1, 0, 0), (0, 1, 0), (1, 1, 1))
WEIGHT_STATIONARY = ((0, 1, 0), (0, 0, 1), (1, 1, 1))

# Distinct reuse structures up to swapped and mirrored PE axes, all selections of three loops,
# unimodular T over {-1, 0, 1}. Origin: exhaustive enumeration, docs/design-space.md.
STRUCTURES = {
    "gemm": 120,
    "batched_gemm": 204,
    "depthwise_conv2d": 317,
    "mttkrp": 480,
    "conv2d": 590,
    "ttmc": 1200,
}

unimodular = st.integers(0, len(matrices()) - 1).map(lambda i: Stt.of(matrices()[i].tolist()))
non_singular = st.integers(0, 11807).map(lambda i: Stt.of(matrices(unimodular=False)[i].tolist()))


@st.composite
def analyses(draw: st.DrawFn, stt: st.SearchStrategy[Stt] = unimodular) -> Analysis:
    name = draw(st.sampled_from(sorted(BUILT_IN)))
    op = BUILT_IN[name]()
    if name.endswith("conv2d"):
        op = BUILT_IN[name](stride=draw(st.integers(1, 3)), dilation=draw(st.integers(1, 3)))
    return analyse(op, draw(st.permutations(op.iterators))[:3], draw(stt))


# --- matrices -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "only_unimodular", "count"),
    [
        ((-1, 0, 1), True, 6960),
        ((-1, 0, 1), False, 11808),
        ((0, 1), True, 168),
        ((0, 1), False, 174),
    ],
)
def test_number_of_matrices(entries, only_unimodular, count):
    assert len(matrices(entries, unimodular=only_unimodular)) == count


def test_vectorised_inverse_is_exact():
    stts = matrices(unimodular=False)
    expected = determinants(stts)[:, None, None] * np.eye(3, dtype=int)
    assert (stts @ adjugates(stts) == expected).all()


@settings(deadline=None)
@given(non_singular, st.tuples(*[st.integers(-50, 50)] * 3))
def test_stt_round_trip(stt, x):
    assert stt.loops(stt.apply(x)) == x
    # u leads from one step of a PE to its next, `period` cycles later
    there = [a + b for a, b in zip(x, stt.u, strict=True)]
    p1, p2, t = stt.apply(x)
    assert stt.apply(there) == (p1, p2, t + stt.period)
    assert all(stt.loops((p1, p2, t + early)) is None for early in range(1, stt.period))


def test_schedule_is_injective_on_a_box():
    points = np.array(list(itertools.product(range(2), range(3), range(4))))
    images = np.einsum("nij,bj->nbi", matrices(unimodular=False), points) + 32
    code = np.sort((images[..., 0] * 64 + images[..., 1]) * 64 + images[..., 2], axis=1)
    assert (np.diff(code, axis=1) > 0).all()


@pytest.mark.parametrize(
    "rows",
    [((1, 0, 0), (0, 1, 0), (1, 1, 0)), ((1, 0), (0, 1)), ((1, 0, 0), (0, 1, 0), (0, 0, 0.5))],
)
def test_unusable_matrices_are_refused(rows):
    with pytest.raises(AnalysisError):
        Stt.of(rows)


# --- lattices and operators ---------------------------------------------------------------------


small = st.integers(-4, 4)


@settings(deadline=None)
@given(st.lists(st.tuples(small, small, small), min_size=1, max_size=4))
def test_kernel_is_complete(rows):
    kernel = integer_kernel(rows, 3)
    assert len(kernel) == 3 - np.linalg.matrix_rank(np.array(rows))
    for x in itertools.product(range(-3, 4), repeat=3):
        zero = all(sum(a * b for a, b in zip(row, x, strict=True)) == 0 for row in rows)
        assert contains(kernel, x) == zero


@settings(deadline=None)
@given(st.lists(st.tuples(small, small, small), min_size=2, max_size=3), st.integers(-3, 3))
def test_hermite_form_is_canonical(rows, q):
    first, second, *rest = rows
    changed = [[a + q * b for a, b in zip(first, second, strict=True)], [-b for b in second], *rest]
    assert hermite(changed[::-1]) == hermite(rows)


def test_parse_matches_hand_written_access():
    op = conv2d(stride=2, dilation=3)
    assert op.iterators == ("k", "c", "y", "x", "r", "s")
    assert op.tensors["I"] == ((0, 1, 0, 0, 0, 0), (0, 0, 2, 0, 3, 0), (0, 0, 0, 2, 0, 3))
    assert op.access("W", "skc") == ((0, 1, 0), (0, 0, 1), (0, 0, 0), (1, 0, 0))
    assert op.tensor_names == ("I", "W", "O")
    assert "g" in conv2d(groups=True).iterators
    assert Operator.parse("d", "ijk", "O[i]", ["A[2*i - j, k]"]).tensors["A"][0] == (2, -1, 0)


@pytest.mark.parametrize("text", ["A[i*2]", "A[q]", "A", "A[i+]", "A[3]", "A[]"])
def test_parse_refuses_what_it_does_not_understand(text):
    with pytest.raises(AnalysisError):
        Operator.parse("bad", "ijk", "O[i, j]", [text])


# --- reuse --------------------------------------------------------------------------------------


@settings(deadline=None)
@given(analyses(non_singular))
def test_reuse_is_the_kernel_seen_from_the_array(analysis):
    for name, reuse in analysis.tensors.items():
        access = analysis.op.access(name, analysis.selected)
        nullity = 3 - np.linalg.matrix_rank(np.array(access))
        assert reuse.rank == nullity == len(reuse.basis)
        # the links generate the lattice, are oriented, and meet the same element
        assert hermite(reuse.basis) == reuse.lattice
        for v in reuse.basis:
            assert orient(v) == v
            x = analysis.stt.loops(v)
            assert x is not None
            assert all(sum(a * b for a, b in zip(row, x, strict=True)) == 0 for row in access)
        assert reuse.is_output == (name == analysis.op.output)


@settings(deadline=None)
@given(analyses())
def test_two_spatial_directions_are_axis_aligned_if_possible(analysis):
    for reuse in analysis.tensors.values():
        if reuse.classes == 1 and not reuse.held:
            assert all(sorted(map(abs, v[:2])) == [0, 1] for v in reuse.spatial)
        if reuse.classes > 1:
            assert not any(
                contains(reuse.lattice, (1, 0, dt)) and contains(reuse.lattice, (0, 1, other))
                for dt in range(-6, 7)
                for other in range(-6, 7)
            )


@settings(deadline=None)
@given(analyses(), st.sampled_from(list(itertools.product((0, 1), (1, -1), (1, -1)))))
def test_structure_ignores_swapped_and_mirrored_axes(analysis, symmetry):
    swap, s1, s2 = symmetry
    first, second, time = analysis.stt.rows
    rows = [[s1 * a for a in first], [s2 * a for a in second]]
    other = analyse(analysis.op, analysis.selected, (*rows[:: -1 if swap else 1], time))
    assert other.structure_key() == analysis.structure_key()
    assert other.label() == analysis.label()


@settings(deadline=None)
@given(analyses(), analyses())
def test_codes_and_keys_agree(a, b):
    if a.op != b.op:
        b = analyse(a.op, a.op.iterators[-3:], b.stt)
    codes = [structure_codes(x.op, x.selected, np.array([x.stt.rows]))[0].tolist() for x in (a, b)]
    assert (codes[0] == codes[1]) == (a.structure_key() == b.structure_key())


@pytest.mark.parametrize("name", sorted(STRUCTURES))
def test_number_of_structures(name):
    op = BUILT_IN[name]()
    found = distinct_structures(op)
    assert len(found) == STRUCTURES[name]
    assert sum(s.members for s in found) == 6960 * len(selections(op))
    keys = {analyse(op, s.selected, s.stt).structure_key() for s in found[::3]}
    assert len(keys) == len(found[::3])


def test_gemm_structures_that_keep_pes_busy():
    found = [analyse(gemm(), s.selected, s.stt) for s in distinct_structures(gemm())]
    busy = [a for a in found if a.keeps_pes_busy]
    stationary = [a for a in found if any(r.held for r in a.tensors.values())]
    assert len(busy) == 42
    assert busy == stationary


def test_conv2d_links_that_need_care():
    found = [analyse(conv2d(), s.selected, s.stt) for s in distinct_structures(conv2d())]
    aligned = [[r for r in a.tensors.values() if r.axis_aligned] for a in found]
    assert sum(any(r.long_link for r in tensors) for tensors in aligned) == 92
    assert sum(any(r.diagonal_link for r in tensors) for tensors in aligned) == 403
    classes = [max(r.classes for r in a.tensors.values()) for a in found]
    assert (classes.count(2), classes.count(3), max(classes)) == (60, 8, 3)


@pytest.mark.parametrize(
    ("op", "loops", "matrix", "label", "kinds"),
    [
        (gemm(), "mnk", OUTPUT_STATIONARY, "MNK-SST", "systolic systolic stationary"),
        (
            gemm(),
            "mnk",
            WEIGHT_STATIONARY,
            "MNK-STS",
            "systolic stationary systolic_accumulation",
        ),
        (
            gemm(),
            "mnk",
            ((0, 1, 0), (0, 0, 1), (1, 0, 0)),
            "MNK-MTM",
            "multicast stationary reduction_tree",
        ),
        (
            conv2d(),
            "kcx",
            OUTPUT_STATIONARY,
            "KCX-STS",
            "systolic stationary systolic_accumulation",
        ),
        (
            conv2d(),
            "yxk",
            OUTPUT_STATIONARY,
            "YXK-TBU",
            "stationary systolic+systolic unicast",
        ),
        (
            conv2d(),
            "crk",
            ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
            "CRK-TUB",
            "stationary unicast reduction_tree+reduction_tree",
        ),
        (
            conv2d(),
            "yxs",
            ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
            "YXS-SBT",
            "systolic multicast+multicast stationary",
        ),
    ],
)
def test_known_dataflows(op, loops, matrix, label, kinds):
    analysis = analyse(op, loops, matrix)
    assert analysis.label() == label
    assert [r.kind for r in analysis.tensors.values()] == kinds.split()


def test_wrong_selection_is_refused():
    for loops in ("mm", "mmk", "mnq"):
        with pytest.raises(AnalysisError):
            analyse(gemm(), loops, OUTPUT_STATIONARY)
