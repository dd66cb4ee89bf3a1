"""Links, windows and intervals: exact facts, and every array run register by register."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tensorlib.array_sim import SimulationError, loop_nest, simulate, tensor_shape
from tensorlib.errors import AnalysisError
from tensorlib.links import ArrayShape
from tensorlib.op import BUILT_IN, Operator, conv2d, gemm
from tensorlib.reuse import Analysis, analyse
from tensorlib.schedule import (
    Schedule,
    build_schedule,
    initiation_interval,
    local_start,
    local_steps,
    pe_windows,
    port_spans,
    shortest_interval,
    skew,
    sweep_extent,
    sweep_starts,
    transfer_extent,
)
from tensorlib.structures import distinct_structures
from tensorlib.stt import Stt, matrices

OUTPUT_STATIONARY = ((1, 0, 0), (0, 1, 0), (1, 1, 1))
WEIGHT_STATIONARY = ((0, 1, 0), (0, 0, 1), (1, 1, 1))  # of m, n, k
MULTICAST = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
SIZES = {"m": 3, "n": 5, "k": 7}


def random_data(op: Operator, sizes: dict[str, int], seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {t: rng.integers(-128, 128, tensor_shape(op, sizes, t)) for t in op.inputs}


def check(
    schedule: Schedule,
    sizes: dict[str, int],
    interval: int,
    tiles: dict[str, int] | None = None,
    order: tuple[str, ...] = (),
) -> tuple[int, ...]:
    """Run all sweeps, compare with the loop nest and with the promised times."""
    op = schedule.analysis.op
    total = {i: n * (tiles or {}).get(i, 1) for i, n in sizes.items()}
    data = random_data(op, total)
    result = simulate(schedule, sizes, data, interval=interval, tiles=tiles, order=order)
    assert (result.output == loop_nest(op, total, data)).all()
    if op.output in schedule.links:
        spans = port_spans(schedule, sizes, op.output)
        assert result.last_exit == result.starts[-1] + spans.last[spans.active].max()
    else:
        last = transfer_extent(schedule, sizes, op.output)[1]
        assert result.last_exit <= result.starts[-1] + last
    return result.starts


# --- facts --------------------------------------------------------------------------------------


def test_output_stationary_gemm_by_hand():
    analysis = analyse(gemm(), "mnk", OUTPUT_STATIONARY, SIZES)
    schedule = build_schedule(analysis, SIZES)
    assert (schedule.shape.rows, schedule.shape.columns) == (3, 5)
    assert skew(analysis) == (1, 1)
    assert initiation_interval(analysis, SIZES) == 7
    assert [schedule.ports(t) for t in "ABC"] == [3, 5, 5]
    assert sweep_extent(schedule, SIZES) == (0, 2 + 4 + 6)
    # A enters at column 0 and reaches column j after j registers
    assert schedule.links["A"].depth.reshape(3, 5)[1].tolist() == [0, 1, 2, 3, 4]
    assert schedule.links["A"].ports.tolist() == [0, 5, 10]
    # C leaves along p1, the shorter axis: 3 elements per chain, 2 registers per PE
    assert (schedule.chains["C"].axis, schedule.chains["C"].length) == (0, 3)
    assert schedule.chains["C"].hop == 2


def test_shared_port_can_be_busier_than_a_pe():
    # PE (y, k) steps through r; all share one port of I, which sends y + r: 5 + 3 - 1 elements
    sizes = {"y": 5, "k": 4, "r": 3}
    analysis = analyse(conv2d(), "ykr", MULTICAST, sizes)
    schedule = build_schedule(analysis, sizes)
    assert analysis.tensors["I"].basis == ((-1, 0, 1), (0, 1, 0))
    assert schedule.ports("I") == 1
    assert pe_windows(schedule, sizes).longest() == 3
    assert initiation_interval(analysis, sizes) == 7


@pytest.mark.parametrize(
    ("selected", "matrix", "sizes", "interval"),
    [
        ("mnk", OUTPUT_STATIONARY, SIZES, 7),
        ("mnk", WEIGHT_STATIONARY, SIZES, 3),
        ("mnk", ((1, 0, -1), (0, 1, -1), (1, 1, 1)), SIZES, None),  # det 3
        ("mnk", ((1, 0, -1), (0, 1, -1), (0, 0, 1)), SIZES, 5),
    ],
)
def test_initiation_interval_by_hand(selected, matrix, sizes, interval):
    analysis = analyse(gemm(), selected, matrix, sizes)
    if interval is None:
        with pytest.raises(AnalysisError):
            initiation_interval(analysis, sizes)
    else:
        assert initiation_interval(analysis, sizes) == interval


def test_skew_follows_the_smallest_loop():
    # W[k] is held by a PE while y and x move on together, one up, one down: its window starts at
    # y = 0 (in the same cycle along p2 = y + x) or at x = highest (a cycle later per PE)
    matrix = ((1, 0, 0), (0, 1, 1), (0, 1, 0))
    for x, loop, kind in ((4, 2, "systolic+stationary"), (9, 1, "multicast+stationary")):
        sizes = {"k": 3, "y": 7, "x": x}
        analysis = analyse(conv2d(), "kyx", matrix, sizes)
        assert analysis.u == (0, 1, -1)
        assert (analysis.skew_loop, analysis.tensors["W"].kind) == (loop, kind)
        assert initiation_interval(analysis, sizes) == min(7, x)


def test_transfers_delay_sweeps():
    # a weight per PE, 7 rows deep: loads take 7 cycles on the k axis, 5 on the n axis
    sizes = {"m": 2, "n": 5, "k": 7}
    analysis = analyse(gemm(), "mnk", WEIGHT_STATIONARY, sizes)
    assert analysis.label() == "MNK-STS"
    schedule = build_schedule(analysis, sizes, chain_axis={"B": 1})
    assert schedule.chains["B"].length == 7
    loads = {"B": [True, False, True, True]}
    assert sweep_starts(schedule, 2, 4, loads) == [0, 2, 7, 14]


def test_sizes_must_be_given():
    analysis = analyse(gemm(), "mnk", OUTPUT_STATIONARY)
    with pytest.raises(AnalysisError, match="k"):
        initiation_interval(analysis, {"m": 3, "n": 4})


@pytest.mark.parametrize("name", ["conv2d", "depthwise_conv2d", "mttkrp", "ttmc"])
def test_one_port_per_element_class(name):
    op, seen = BUILT_IN[name](), set()
    for structure in distinct_structures(op)[::3]:
        sizes = dict(zip(structure.selected, (4, 3, 5), strict=True))
        analysis = analyse(op, structure.selected, structure.stt, sizes)
        schedule = build_schedule(analysis, sizes)
        for tensor, reuse in analysis.tensors.items():
            if reuse.classes:
                seen.add(reuse.classes)
                assert schedule.ports(tensor) == reuse.classes
    assert seen >= {1, 2}


# --- every array, register by register ----------------------------------------------------------


@st.composite
def unimodular(draw: st.DrawFn) -> Stt:
    """Unimodular matrices: over {-1, 0, 1}, and sometimes larger entries."""
    rows = matrices()[draw(st.integers(0, len(matrices()) - 1))]
    if draw(st.integers(0, 5)) == 0:
        shear = np.eye(3, dtype=int)
        i, j = draw(st.sampled_from([(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)]))
        shear[i, j] = draw(st.sampled_from([-2, -1, 1, 2]))
        rows = shear @ rows
    return Stt.of(rows.tolist())


bound = st.sampled_from([1, 2, 3, 4, 5, 7])


@st.composite
def cases(draw: st.DrawFn, name: str) -> tuple[Schedule, dict[str, int], dict[str, int]]:
    """An array built for some sizes, and sizes and tile counts to run on it."""
    options = {}
    if name.endswith("conv2d"):
        options = {
            "stride": draw(st.sampled_from([1, 1, 2, 3])),
            "dilation": draw(st.integers(1, 2)),
        }
    op = BUILT_IN[name](**options)
    selected = draw(st.permutations(op.iterators))[:3]
    built = {i: draw(bound) for i in selected}
    analysis = analyse(op, selected, draw(unimodular()), built)
    assume(analysis.skew_loop is not None or not any(t.held for t in analysis.tensors.values()))
    axes = {t: draw(st.sampled_from([0, 1])) for t in op.tensor_names}
    schedule = build_schedule(analysis, built, chain_axis=axes)
    assume(schedule.shape.pes <= 400)
    sizes = {i: draw(st.integers(1, 2)) for i in op.iterators}
    sizes |= {i: draw(st.sampled_from([n, n, max(1, n - 1), 1])) for i, n in built.items()}
    return schedule, sizes, {i: draw(st.integers(1, 2)) for i in selected}


@pytest.mark.parametrize("name", sorted(BUILT_IN))
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_arrays_compute_the_operator_at_the_initiation_interval(name, data):
    schedule, sizes, tiles = data.draw(cases(name))
    order = tuple(data.draw(st.permutations(schedule.analysis.op.iterators)))
    interval = initiation_interval(schedule.analysis, sizes)
    check(schedule, sizes, interval, tiles, order)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(BUILT_IN)))
def test_interval_is_the_shortest_possible(data, name):
    schedule, sizes, tiles = data.draw(cases(name))
    tiles = dict.fromkeys(tiles, 2)
    interval = initiation_interval(schedule.analysis, sizes)
    shortest = shortest_interval(schedule, sizes)
    accesses = [a for rows in schedule.analysis.op.tensors.values() for row in rows for a in row]
    assert shortest == interval or (max(accesses) > 1 and shortest < interval)
    check(schedule, sizes, shortest, tiles)
    streams = [port_spans(schedule, sizes, t).longest() for t in schedule.links]
    busiest = max([pe_windows(schedule, sizes).longest(), *streams])
    if busiest > 1 and not schedule.chains:
        with pytest.raises(SimulationError):
            check(schedule, sizes, busiest - 1, tiles)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(BUILT_IN)))
def test_windows_are_loop_points_and_local_steps(data, name):
    schedule, sizes, _ = data.draw(cases(name))
    analysis, windows = schedule.analysis, pe_windows(schedule, sizes)
    bounds = [sizes[i] for i in analysis.selected]
    points = np.indices(bounds).reshape(3, -1).T
    images = points @ np.array(analysis.stt.rows).T
    assert len(np.unique(images, axis=0)) == len(points)  # the schedule is injective
    assert int((windows.last - windows.first + 1).sum()) == len(points)
    place = images[:, :2] - np.array(schedule.shape.origin)
    pe = place[:, 0] * schedule.shape.columns + place[:, 1]
    assert (windows.first[pe] <= images[:, 2]).all()
    assert (images[:, 2] <= windows.last[pe]).all()
    if analysis.skew_loop is None:
        return
    step = images[:, 2] - local_start(schedule, sizes)[pe]
    assert (step >= 0).all()
    assert (step < local_steps(analysis, sizes)).all()


@settings(max_examples=100, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(BUILT_IN)))
def test_links_lead_to_the_same_element(data, name):
    schedule = data.draw(cases(name))[0]
    positions = schedule.shape.positions()
    for tensor, links in schedule.links.items():
        access = np.array(schedule.analysis.op.access(tensor, schedule.analysis.selected))
        sign = 1 if tensor == schedule.analysis.op.output else -1
        assert (links.delay >= 0).all()
        dp = positions[links.port] - positions
        step = np.column_stack([dp, sign * links.depth])
        assert not (step @ np.array(schedule.analysis.stt.inverse).T @ access.T).any()
        assert set(links.port.tolist()) == set(links.ports.tolist())


# --- what must fail -----------------------------------------------------------------------------


def output_stationary() -> tuple[Analysis, Schedule]:
    analysis = analyse(gemm(), "mnk", OUTPUT_STATIONARY, SIZES)
    return analysis, build_schedule(analysis, SIZES)


def test_interval_below_the_pe_window_fails():
    _, schedule = output_stationary()
    check(schedule, SIZES, 7, {"n": 2})
    with pytest.raises(SimulationError):
        check(schedule, SIZES, 6, {"n": 2})


@pytest.mark.parametrize("pe", [1, 7, 14])
@pytest.mark.parametrize("change", ["delay", "neighbour"])
def test_a_broken_link_is_found(pe, change):
    _, schedule = output_stationary()
    links = schedule.links["A"]
    broken = getattr(links, change).copy()
    broken[pe] = links.delay[pe] + 1 if change == "delay" else (pe + 5) % 15
    tampered = replace(schedule, links={**schedule.links, "A": replace(links, **{change: broken})})
    with pytest.raises(SimulationError):
        check(tampered, SIZES, 7)


def test_a_broken_accumulation_link_is_found():
    analysis = analyse(gemm(), "mnk", WEIGHT_STATIONARY, SIZES)
    schedule = build_schedule(analysis, SIZES)
    check(schedule, SIZES, 5, {"m": 2, "n": 2})
    links = schedule.links["C"]
    delay = links.delay.copy()
    delay[9] += 1
    with pytest.raises(SimulationError):
        check(
            replace(schedule, links={**schedule.links, "C": replace(links, delay=delay)}), SIZES, 5
        )


def test_a_chain_against_the_skew_is_found():
    _, schedule = output_stationary()
    chain = replace(schedule.chains["C"], hop=1)  # lockstep
    with pytest.raises(SimulationError):
        check(replace(schedule, chains={"C": chain}), SIZES, 7, {"m": 2, "n": 2})


def test_a_larger_array_passes_elements_on():
    shape = ArrayShape((-1, -2), 6, 9)
    analysis = analyse(gemm(), "mnk", OUTPUT_STATIONARY, SIZES)
    check(build_schedule(analysis, SIZES, shape=shape), SIZES, 9, {"m": 2, "n": 2, "k": 2})
