"""What the compiled tile stream needs to know of (problem, design, lanes), prepared once.

A mapping of these lanes is then one row of integers (`mapping_row`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcp_hw import scan
from dcp_hw.axes import axes_of
from dcp_hw.lane_options import Lanes, constants, mapping_of
from dcp_hw.lane_table import UNUSED, LaneTable
from dcp_hw.layout import BankIndex, Layout
from dcp_hw.mapping import LaneSplit, Mapping, Unmappable, split_lanes, tile_counts
from dcp_hw.problem import LOOPS, Problem
from dcp_hw.stores import StorePlan
from tensorlib.design import Design

Ints = NDArray[np.int64]

# constants of a plan, after those of `scan`
(
    SHARED, WEIGHT_SLOTS, OUT_CHAIN, DRAINED, DRAIN_SIZE, DIAGONAL, DIAG_PIXEL, DIAG_TAP,
    SIDE_1, SIDE_2, K_UNIT, LANES_R, LANES_S, BLOCKS_IN, BLOCKS_OUT, LANE_WORDS, FILL,
    INPUT_BANKS, WEIGHT_BANKS, OUTPUT_BANKS, PES, HOP_IN, HOP_WEIGHT, HOP_OUT, TREE_ADDS, EXITS,
    IN_A, IN_Y_, IN_R, IN_X_, IN_S, W_A, W_K, W_R, W_S, W_C,
) = range(scan.COUNT, scan.COUNT + 36)  # fmt: skip
AXIS_2 = 10
"""Greatest multiples IN_A .. W_C that a lane of axis 2 adds to a base, after those of axis 1."""
PLAN_COUNT = scan.COUNT + 36 + AXIS_2

NOT_DRAINED, DRAINED_K, DRAINED_Y, DRAINED_X, DRAINED_IDLE = range(5)

# columns of a bank table: box corner = constant + multiples of the mapping's sizes
(
    CONST_A, CONST_B, CONST_C, MUL_A, MUL_Y, MUL_R, MUL_X, MUL_S, MUL_C, PLACE, BANKS,
) = range(11)  # fmt: skip
MUL_K = MUL_Y
"""Of a weight bank, which no y concerns."""

# columns of a mapping
KT, CT, YT, XT, KS, YS, XS, ORDER, TILES, SNAKE, LATE, TRIM, LEAD, MAPPING_COUNT = (
    *range(8), 13, 16, 17, 18, 19, 20,
)  # fmt: skip

NOBODY = 1 << 30


class StreamPlan(NamedTuple):
    """Tables of one (problem, design, lanes).

    Attributes:
        g: constants, int64 `PLAN_COUNT`.
        lanes: store lanes `n x 5`: group, pixel, outer lane of k, lane of y, lane of x; sorted.
        banks_1, banks_2: packed weight banks `n x unit x 4`: lane of k, c, r, s at each port or
            chain place (0 where the loop has no digit, `NOBODY` where nobody is).
        input_banks, weight_banks: bank tables `n x 11`.
    """

    g: Ints
    lanes: Ints
    banks_1: Ints
    banks_2: Ints
    input_banks: Ints
    weight_banks: Ints


@lru_cache(maxsize=1 << 14)
def stream_plan(
    problem: Problem, design: Design, lanes: Lanes, *, int32: bool
) -> StreamPlan | None:
    """Tables of some lanes; None where no mapping with them can run."""
    try:
        return _plan(problem, design, lanes, int32)
    except Unmappable:
        return None


class _AnySize(Layout):
    """The parts of a layout that do not depend on tile sizes."""

    def __init__(self, problem: Problem, design: Design, mapping: Mapping) -> None:
        self.problem, self.design, self.mapping = problem, design, mapping
        self.axes = axes_of(design)
        slots = (design.input.slots, design.weight.slots)
        self.split = split_lanes(problem, self.axes, slots, mapping)
        self.tiles = tile_counts(problem, self.split, mapping)
        self.drained_loop = None
        if self.axes.drained is not None:
            on_axis = [x for x in (mapping.axis1, mapping.axis2)[self.axes.drained] if x[1] > 1]
            if len(on_axis) > 1:
                raise Unmappable("a drained axis can carry one loop only")
            self.drained_loop = on_axis[0][0] if on_axis else None
        s = self.split
        if s.kd > 1 and s.kd != self.axes.size[s.axis["k"]]:
            raise Unmappable("drained channels must use the whole axis")


def _plan(problem: Problem, design: Design, lanes: Lanes, int32: bool) -> StreamPlan:
    mapping = mapping_of(lanes, axes_of(design), problem)
    layout = _AnySize(problem, design, mapping)
    split, axes = layout.split, layout.axes
    table = LaneTable(layout)
    units = {loop: table.digit_unit(loop) for loop in table.digit_loops if loop is not None}
    g = np.zeros(PLAN_COUNT, dtype=np.int64)
    g[: scan.COUNT] = constants(problem, design, lanes, split, int32=int32)
    drained = axes.drained
    loop_code = {"k": DRAINED_K, "y": DRAINED_Y, "x": DRAINED_X, None: DRAINED_IDLE}
    values = {
        SHARED: int(problem.shared_params),
        WEIGHT_SLOTS: design.weight.slots,
        OUT_CHAIN: design.output.chain_length,
        DRAINED: NOT_DRAINED if drained is None else loop_code[layout.drained_loop],
        DRAIN_SIZE: 1 if drained is None else axes.size[drained],
        DIAGONAL: int(axes.diagonal),
        SIDE_1: axes.size[0] - 1,
        SIDE_2: axes.size[1] - 1,
        K_UNIT: units.get("k", 1),
        LANES_R: split.lanes["r"],
        LANES_S: split.lanes["s"],
        BLOCKS_IN: problem.blocks_in,
        BLOCKS_OUT: problem.blocks_out,
        LANE_WORDS: 1 + design.rows + design.cols,
        FILL: design.input.chain_length or design.weight.chain_length,
        INPUT_BANKS: design.input.banks,
        WEIGHT_BANKS: design.weight.banks,
        OUTPUT_BANKS: design.output.banks,
        PES: design.pes,
        HOP_IN: design.input.link_registers,
        HOP_WEIGHT: design.weight.link_registers,
        HOP_OUT: design.output.link_registers,
        TREE_ADDS: design.tree_adds_per_step,
        EXITS: design.exits,
    }
    for index, value in values.items():
        g[index] = value
    if axes.diagonal:
        _check_diagonal(lanes, split, problem)
        on_axes = {loop for digits in lanes for loop, _ in digits}
        g[DIAG_PIXEL] = 1 if "y" in on_axes else 2 if "x" in on_axes else 0
        g[DIAG_TAP] = 1 if "r" in on_axes else 2 if "s" in on_axes else 0
    tables = _places(layout)
    for axis in (0, 1):
        used = min(layout.used(axis), axes.size[axis])
        last = [*tables[0][axis][used - 1, MUL_A : MUL_S + 1]]
        last += [*tables[1][axis][used - 1, [MUL_A, MUL_K, MUL_R, MUL_S, MUL_C]]]
        g[IN_A + axis * AXIS_2 : IN_A + (axis + 1) * AXIS_2] = last
    one, two = (_members(BankIndex(layout, axis)) for axis in (0, 1))
    return StreamPlan(
        g,
        _store_lanes(layout),
        one,
        two,
        _banks(tables[0], design.input.lanes),
        _banks(tables[1], design.weight.lanes),
    )


def _check_diagonal(lanes: Lanes, split: LaneSplit, problem: Problem) -> None:
    """Nothing; what `LaneTable` wants of lanes whose input is shared along diagonals.

    Raises: `Unmappable`.
    """
    one, two = ({loop for loop, _ in digits} for digits in lanes)
    pair = one | two
    wrong = bool(set(split.axis) - set("yxrs")) or max(len(one), len(two)) > 1
    wrong |= bool(one and two and pair not in ({"y", "r"}, {"x", "s"}))
    wrong |= split.byte_input or (problem.c4 and not pair & {"y", "r"})
    if wrong:
        raise Unmappable("a diagonal input carries y and r, or x and s")


def _store_lanes(layout: Layout) -> Ints:
    """Lanes in the order in which STOREs are formed."""
    table = StorePlan(layout, None).lanes  # type: ignore[arg-type]
    rows = [
        (group, q, *place)
        for group, pixels in sorted(table.items())
        for q, place in sorted(pixels.items())
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 5)


def _members(index: BankIndex) -> Ints:
    """Lanes at the places of packed weight banks, `n x unit x 4`."""
    table = np.full((len(index.members), index.unit, 4), NOBODY, dtype=np.int64)
    for n, member in enumerate(index.members):
        for place, values in enumerate(member):
            if values is not None:
                table[n, place] = [values.get(loop, 0) for loop in "kcrs"]
    return table


def _places(layout: Layout) -> tuple[list[Ints], list[Ints]]:
    """What positions of each axis add to the boxes of input and weight banks: `size x 11`."""
    split, axes = layout.split, layout.axes
    inputs, weights = [], []
    for axis, size in enumerate(axes.size):
        digits = (layout.mapping.axis1, layout.mapping.axis2)[axis]
        chained = axes.chain == "input" and axis == axes.chain_axis
        banks = BankIndex(layout, axis)
        one, two = (np.zeros((size, BANKS + 1), dtype=np.int64) for _ in range(2))
        for i in range(size):
            position = (i, 0) if axis == 0 else (0, i)
            v = dict.fromkeys(LOOPS, 0) | {x: split.digit(x, position) for x, _ in digits}
            unused = i >= layout.used(axis)
            if axes.diagonal:
                one[i, PLACE] = i
            elif unused:
                one[i, CONST_A] = UNUSED[axis]
            elif not chained:
                outer = v["k"] // split.ki if layout.problem.depthwise else v["c"] // split.ci
                s = 0 if split.s_slots else v["s"]
                one[i, MUL_A : MUL_S + 1] = (outer, v["y"], v["r"], v["x"], s)
            if split.weights == "packed":
                index = banks.index_of(i)
                two[i, (CONST_A, CONST_B)[axis]] = UNUSED[axis] + 1 if index is None else index
            elif unused:
                two[i, CONST_A] = UNUSED[axis]
            elif split.weights == "rows":
                two[i, [MUL_A, MUL_K, CONST_C]] = (v["c"] // split.ci, *divmod(v["k"], split.ki))
            else:
                slotted = split.s_slots and layout.design.weight.slots > 1
                c = v["c"] // split.ci if split.weights == "columns" else 0
                two[i, MUL_A] = v["k"] // split.ki
                two[i, [MUL_R, MUL_S, MUL_C]] = (v["r"], 0 if slotted else v["s"], c)
        inputs.append(one)
        weights.append(two)
    return inputs, weights


def _banks(places: list[Ints], lanes: tuple[tuple[int, int], ...]) -> Ints:
    """Bank table: places of both axes added up, equal banks once with their number."""
    first, second = np.array(lanes).T
    rows = (places[0][first] + places[1][second])[:, :BANKS]
    unique, counts = np.unique(rows, axis=0, return_counts=True)
    return np.ascontiguousarray(np.column_stack([unique, counts]).astype(np.int64))


def mapping_row(mapping: Mapping) -> tuple[int, ...]:
    """The columns of a mapping, `MAPPING_COUNT` of them."""
    m = mapping
    return (
        *(m.kt, m.ct, m.yt, m.xt, m.ks, m.ys, m.xs),
        *(LOOPS.index(x) for x in m.order),
        *("kyx".index(x) for x in m.tiles),
        *(int(m.snake), int(m.late_params), int(m.trim), m.lead),
    )
