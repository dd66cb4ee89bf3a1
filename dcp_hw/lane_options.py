"""Which loops, and how many lanes of each, the axes of a design can carry for a problem."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np
from numpy.typing import NDArray

from dcp_hw import scan
from dcp_hw.axes import Axes, axes_of
from dcp_hw.mapping import Digits, LaneSplit, Mapping, Unmappable, split_lanes
from dcp_hw.problem import BLOCK, LOOPS, Problem, ceil_div
from tensorlib.design import Design

Lanes = tuple[Digits, Digits]

_ORDERS = {None: "csrxyk", "output": "csrxyk", "weight": "xykcsr", "input": "kxycsr"}


def loop_order(axes: Axes, problem: Problem) -> str:
    """The order of sequencer loops that suits a design, innermost first."""
    if axes.chain == "input" and problem.depthwise:
        return "ckxysr"  # the input lacks c only, which has one step
    return _ORDERS[axes.chain]


def mapping_of(
    lanes: Lanes, axes: Axes, problem: Problem, sizes: tuple[int, ...] = (1,) * 7
) -> Mapping:
    """A mapping from lanes and kt, ct, yt, xt, ks, ys, xs."""
    kt, ct, yt, xt, ks, ys, xs = sizes
    return Mapping(
        axis1=lanes[0],
        axis2=lanes[1],
        kt=kt,
        ct=ct,
        yt=yt,
        xt=xt,
        ks=ks,
        ys=ys,
        xs=xs,
        order=loop_order(axes, problem),
        flat=problem.row > 0,
    )


def lane_options(problem: Problem, design: Design) -> list[tuple[int, Lanes, LaneSplit]]:
    """All sensible lanes, fewest steps first, each with the steps it needs at least.

    A second operand from memory is taken as it lies wherever the array can.
    """
    axes = axes_of(design)
    slots = (design.input.slots, design.weight.slots)
    found: dict[Lanes, tuple[int, Lanes, LaneSplit]] = {}
    firsts, seconds = (list(axis_options(problem, design, axes, axis)) for axis in (0, 1))
    for one in firsts:
        names = {loop for loop, _ in one}
        for two in seconds:
            if names & {loop for loop, _ in two}:
                continue
            try:
                split = split_lanes(problem, axes, slots, mapping_of((one, two), axes, problem))
            except Unmappable:
                continue
            if not placeable(problem, axes, split):
                continue
            found[(one, two)] = (least_steps(problem, split), (one, two), split)
    as_it_lies = [item for item in found.values() if item[2].weights != "packed"]
    chosen = as_it_lies if problem.activation_weights and as_it_lies else found.values()
    return sorted(chosen, key=lambda item: (item[0], len(item[1][0]) + len(item[1][1])))


def placeable(problem: Problem, axes: Axes, split: LaneSplit) -> bool:
    """Whether input banks can hold what the lanes need, whatever the tile."""
    rt, st = (ceil_div(problem.size(x), split.lanes[x]) for x in "rs")
    if problem.c4 and split.lanes["s"] > 1 and st * problem.dilation % 4:
        return False
    if not axes.diagonal:
        return True
    loops = set(split.axis)
    if loops in ({"y", "r"}, {"x", "s"}):
        # neighbours along both axes are one step of the input apart
        tap = (rt if "r" in loops else st) * problem.dilation
        return tap % problem.stride == 0 and not (problem.c4 and "s" in loops)
    return len(loops) <= 1 and loops <= set("yxrs") and not (problem.c4 and loops & set("xs"))


def least_steps(problem: Problem, split: LaneSplit) -> int:
    """Steps of a whole layer with these lanes."""
    loops = LOOPS.replace("c", "") if problem.depthwise else LOOPS
    return problem.batch * prod(ceil_div(problem.size(x), split.lanes[x]) for x in loops)


def axis_options(problem: Problem, design: Design, axes: Axes, axis: int) -> Iterator[Digits]:
    """Digits of one axis: every loop with every useful count, at most three loops."""
    loops = [x for x in axes.loops(axis, problem) if problem.size(x) > 1]
    size = axes.size[axis]
    single = (
        axes.drained == axis or axes.diagonal or bool(design.stt.get("one_loop_per_axis", False))
    )
    seen: set[Digits] = set()

    def grow(digits: Digits, left: int, rest: list[str]) -> Iterator[Digits]:
        if digits not in seen:
            seen.add(digits)
            yield digits
        if len(digits) == (1 if single else 3):
            return
        for n, loop in enumerate(rest):
            for count in _counts(problem, design, axes, axis, loop, left, first=not digits):
                yield from grow((*digits, (loop, count)), left // count, rest[n + 1 :])

    yield from grow((), size, loops)


def _counts(
    problem: Problem, design: Design, axes: Axes, axis: int, loop: str, left: int, *, first: bool
) -> Iterator[int]:
    """Lane counts of a loop that an axis can carry."""
    size = problem.size(loop)
    match loop:
        case "k" if axes.drained == axis:
            if left == axes.size[axis]:
                yield left
        case "k" if axis == 0 and first:
            most = ceil_div(size, BLOCK) * BLOCK
            for count in (2, 4, 8, *range(BLOCK, left + 1, BLOCK)):
                if count <= left and count <= most:
                    yield count
        case "k":
            most = min(left, ceil_div(size, BLOCK))
            yield from _useful(ceil_div(size, BLOCK), most)
        case "c":
            chained = axes.chain == "input" and axes.chain_axis == axis
            if chained:
                yield min(left, size)
                return
            slots = design.input.slots if axis == 1 else 1
            if slots > 1:
                inner = min(slots, size)
                if inner >= 2 and inner <= left:
                    yield inner
                for outer in _useful(ceil_div(size, BLOCK), left // slots):
                    yield outer * slots
                return
            if left >= BLOCK:
                yield BLOCK
            yield from _useful(ceil_div(size, BLOCK), left)
        case "r" | "s":
            if axes.diagonal:
                if size <= left:
                    yield size
                return
            for count in range(2, min(left, size) + 1):
                if size % count == 0:
                    yield count
        case _:
            if axes.diagonal:
                yield min(left, size)
                return
            yield from _useful(size, left)


def _useful(size: int, most: int) -> list[int]:
    """Counts from 2 to `most` that are the least for their number of steps."""
    return sorted({ceil_div(size, ceil_div(size, n)) for n in range(2, min(size, most) + 1)} - {1})


def constants(
    problem: Problem, design: Design, lanes: Lanes, split: LaneSplit, *, int32: bool
) -> NDArray[np.int64]:
    """What `scan.scan` needs to know."""
    axes = axes_of(design)
    n = split.lanes
    rt, st = ceil_div(problem.r, n["r"]), ceil_div(problem.s, n["s"])
    chain = {None: 0, "input": 1, "weight": 2, "output": 3}[axes.chain]
    weight_loops = problem.loops_of("weight")
    local = design.chain_length if axes.chain == "weight" else design.weight.slots
    banks = 1
    for axis, digits in enumerate(lanes):
        on_chain = axes.chain == "weight" and axis == axes.chain_axis
        count = prod(x[1] for x in digits if x[0] in weight_loops and (chain == 2 or x[0] != "k"))
        if on_chain:
            count = 1
        elif axis == 1 and chain != 2:
            count = ceil_div(count, design.weight.slots)
        banks *= count
    places = {"k": 1, "x": 1, "y": 1}
    if axes.drained is not None:
        drained = lanes[axes.drained]
        places[drained[0][0] if drained else "x"] = axes.size[axes.drained]
    g = np.zeros(scan.COUNT, dtype=np.int64)
    values = {
        scan.K: problem.k,
        scan.C: problem.c,
        scan.Y: problem.y,
        scan.X: problem.x,
        scan.R: problem.r,
        scan.S: problem.s,
        scan.BATCH: problem.batch,
        scan.STRIDE: problem.stride,
        scan.DILATION: problem.dilation,
        scan.PADDING: problem.padding,
        scan.IN_Y: problem.in_y,
        scan.IN_X: problem.in_x,
        scan.C4: int(problem.c4),
        scan.DEPTHWISE: int(problem.depthwise),
        scan.NK: n["k"],
        scan.NC: n["c"],
        scan.NY: n["y"],
        scan.NX: n["x"],
        scan.RT: rt,
        scan.ST: st,
        scan.TAP_R: ceil_div(problem.r, rt),
        scan.TAP_S: ceil_div(problem.s, st),
        scan.SLOT_S: int(split.s_slots),
        scan.KI: split.ki,
        scan.KD: split.kd,
        scan.KO: split.ko,
        scan.CI: split.ci,
        scan.CO: split.co,
        scan.BYTES: int(split.byte_input),
        scan.WEIGHTS: ("packed", "taps", "columns", "rows").index(split.weights),
        scan.INPUT_ROWS: design.input.rows,
        scan.WEIGHT_ROWS: design.weight.rows,
        scan.OUTPUT_WORDS: design.output.words,
        scan.PARAM_ROWS: 1 << 30 if int32 else design.param_rows,
        scan.INPUT_SLOTS: design.input.slots,
        scan.WEIGHT_LOCAL: local,
        scan.WEIGHT_BANKS_2: banks,
        scan.DRAIN_K: places["k"],
        scan.DRAIN_X: places["x"],
        scan.DRAIN_Y: places["y"],
        scan.FINISH: design.finish_cycles,
        scan.SWEEP_MIN: design.sweep_min,
        scan.CHAIN: chain,
        scan.CHAIN_LENGTH: design.chain_length,
        scan.R_IN: design.r_in,
        scan.R_OUT: design.r_out,
        scan.SETUP: (8 + design.rows + design.cols) * design.r_in,
        scan.INT32: int(int32),
        scan.BASE_Y: 1,
        scan.BASE_X: 1,
        scan.BASE_C: 1,
    }
    for index, value in values.items():
        g[index] = value
    return g
