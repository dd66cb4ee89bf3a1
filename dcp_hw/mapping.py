"""`Mapping`: how a layer's loops are spread over an array, its tiles and their order."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from dcp_hw.axes import Axes
from dcp_hw.problem import BLOCK, LOOPS, REDUCTIONS, Problem, ceil_div

Digits = tuple[tuple[str, int], ...]


class Unmappable(Exception):
    """A mapping that cannot run; `lower` and the search turn it into `Infeasible`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """One way to run a layer on a design.

    Attributes:
        axis1, axis2: (loop, lanes) digits of each axis, fastest first; each loop once.
        kt, ct, yt, xt: steps of a loaded tile in one lane, per loop.
        ks, ys, xs: steps of one EXEC in one lane; a tile is cut into several EXECs where they
            are smaller than kt, yt, xt.
        order: the six sequencer loops, innermost first.
        tiles: order of tile loops, outermost first (c is always the innermost of all).
        snake: run inner tile loops back and forth, so that the tile at a turn stays.
        late_params: load scale parameters after the next tile instead of before it.
        trim: depthwise only: do not load padding above and below the image; border rows get
            EXECs of their own, with fewer taps.
        flat: the pixels of a pointwise layer are one row.
        lead: pieces along y, each with its own load, that the first and the last tile are cut
            into: less waiting for the first load and after the last one.
    """

    axis1: Digits
    axis2: Digits
    kt: int
    ct: int
    yt: int
    xt: int
    ks: int
    ys: int
    xs: int
    order: str = "csrxyk"
    tiles: str = "kyx"
    snake: bool = False
    late_params: bool = True
    trim: bool = False
    flat: bool = True
    lead: int = 1

    def __post_init__(self) -> None:
        names = [loop for loop, _ in self.axis1 + self.axis2]
        if len(set(names)) != len(names) or not set(names) <= set(LOOPS):
            raise Unmappable(f"each loop may be one digit of one axis, got {names}")
        if sorted(self.order) != sorted(LOOPS) or sorted(self.tiles) != ["k", "x", "y"]:
            raise Unmappable(f"orders must name each loop once, got {self.order}, {self.tiles}")
        steps = (self.kt, self.ct, self.yt, self.xt, self.ks, self.ys, self.xs)
        if min(steps) < 1 or min((n for _, n in self.axis1 + self.axis2), default=1) < 1:
            raise Unmappable("steps and lanes must be >= 1")
        if self.lead < 1:
            raise Unmappable("a tile is cut into at least one piece")
        if self.ks > self.kt or self.ys > self.yt or self.xs > self.xt:
            raise Unmappable("an EXEC cannot be larger than its tile")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSplit:
    """How many lanes each loop has, and of which kind.

    Channels of a tile: k = ((outer * kt + k') * kd + drained) * ki + inner, and
    c = (outer * ct + c') * ci + inner.

    Attributes:
        lanes: lanes per loop.
        axis: axis (0 or 1) per loop that has a digit.
        stride: lanes between two values of the loop's digit.
        ki, kd, ko: inner (store) lanes, drained lanes, outer lanes of k.
        ci, co: inner and outer lanes of c.
        s_slots: s lanes are neighbouring bytes of a bank.
        byte_input: input banks take one byte of each word.
        weights: `packed`, `taps`, `columns` or `rows` (see `layout`).
    """

    lanes: dict[str, int]
    axis: dict[str, int]
    stride: dict[str, int]
    ki: int
    kd: int
    ko: int
    ci: int
    co: int
    s_slots: bool
    byte_input: bool
    weights: str

    def digit(self, loop: str, position: tuple[int, int]) -> int:
        """Value of a loop's digit at an array position (unchecked against unused lanes)."""
        if loop not in self.axis:
            return 0
        return position[self.axis[loop]] // self.stride[loop] % self.lanes[loop]


def split_lanes(
    problem: Problem, axes: Axes, slots: tuple[int, int], mapping: Mapping
) -> LaneSplit:
    """Kinds of lanes of a mapping.

    Args:
        slots: ports per bank of input and weight.
    Raises: `Unmappable` if an axis cannot carry what the mapping puts on it.
    """
    if axes.other == "window":
        raise Unmappable("no mapping enables PEs step by step, as the windows of this array do")
    if axes.other:
        raise Unmappable(f"no mapping knows how PEs share the {axes.other} of this array")
    chained = {"input": slots[0], "weight": slots[1]}.get(axes.chain or "", 1)
    if chained > 1:
        raise Unmappable(f"no program fills chains whose {axes.chain} ports share banks")
    lanes = dict.fromkeys(LOOPS, 1)
    axis: dict[str, int] = {}
    stride: dict[str, int] = {}
    digits = (mapping.axis1, mapping.axis2)
    for number, axis_digits in enumerate(digits):
        step = 1
        for loop, count in axis_digits:
            if loop not in axes.loops(number, problem):
                raise Unmappable(f"axis {number + 1} cannot carry {loop}")
            lanes[loop], axis[loop], stride[loop] = count, number, step
            step *= count
        if step > axes.size[number]:
            raise Unmappable(f"{step} lanes do not fit axis {number + 1}")
    ki, kd, ko = _split_k(axes, digits, lanes["k"], axis.get("k"))
    ci, s_slots, byte_input = 1, False, False
    first = digits[1][0] if digits[1] else None
    if slots[0] > 1 and first:
        loop, count = first
        inner = min(count, slots[0])
        if count % inner or (len(digits[1]) > 1 and inner != slots[0]):
            raise Unmappable(f"{count} lanes of {loop} do not fit {slots[0]} ports per bank")
        if loop == "c":
            ci = inner
        elif loop == "s" and problem.depthwise and count <= slots[0] and problem.dilation == 1:
            s_slots = True
        else:
            raise Unmappable(f"{loop} cannot lie on ports that share a bank")
    if axes.chain == "input" and axes.chain_axis is not None:
        on_chain = digits[axes.chain_axis]
        if len(on_chain) > 1 or (on_chain and on_chain[0][0] != "c"):
            raise Unmappable("a chain of inputs can carry c only")
        ci = lanes["c"] if on_chain else 1
    if problem.depthwise and lanes["k"] > 1 and ki > 1:
        byte_input = True
        if ki != BLOCK and lanes["k"] < problem.k:
            raise Unmappable("channels of a depthwise layer need 16 lanes")
    if s_slots and not byte_input:
        raise Unmappable("taps on shared banks need channels on lanes")
    c_first = any(d and d[0][0] == "c" for d in digits)
    if not problem.depthwise and ci == 1 and lanes["c"] == BLOCK and c_first and not problem.c4:
        byte_input, ci = True, BLOCK
    if problem.depthwise and kd > 1:
        raise Unmappable("channels of a depthwise layer cannot be drained")
    co = lanes["c"] // ci
    weights = "packed"
    # ports of one weight bank read neighbouring bytes: only what lies so may be on them
    on_ports = {loop for loop, _ in digits[1]} & set(REDUCTIONS) if slots[1] > 1 else set()
    if problem.depthwise and byte_input and axes.chain != "weight" and ki == BLOCK:
        if on_ports <= ({"s"} if s_slots else set()):
            weights = "taps"
    elif problem.activation_weights and ki == BLOCK and axes.chain != "weight":
        neighbours = {"c"} if ci == min(lanes["c"], slots[1]) else set()
        if on_ports <= neighbours and not problem.weight_rows:
            weights = "columns"
        elif on_ports <= neighbours and (ci == 1 or neighbours):
            weights = "rows"
    return LaneSplit(
        lanes=lanes,
        axis=axis,
        stride=stride,
        ki=ki,
        kd=kd,
        ko=ko,
        ci=ci,
        co=co,
        s_slots=s_slots,
        byte_input=byte_input,
        weights=weights,
    )


def _split_k(
    axes: Axes, digits: tuple[Digits, Digits], count: int, axis: int | None
) -> tuple[int, int, int]:
    """Inner, drained and outer lanes of k."""
    if axis is None or count == 1:
        return 1, 1, 1
    if axis == axes.drained:
        return 1, count, 1
    if axis == 0 and digits[0][0][0] == "k":
        if count <= BLOCK:
            if count & (count - 1):
                raise Unmappable(f"{count} lanes of k; up to 16 must be a power of two")
            return count, 1, 1
        if count % BLOCK:
            raise Unmappable(f"{count} lanes of k; above 16 must be a multiple of 16")
        return BLOCK, 1, count // BLOCK
    return 1, 1, count


@dataclass(frozen=True, slots=True, kw_only=True)
class TileCounts:
    """Elements of a full tile and number of tiles, per loop."""

    k: int
    c: int
    y: int
    x: int
    k_tiles: int
    c_tiles: int
    y_tiles: int
    x_tiles: int
    rt: int  # steps of r and s in one lane; they are not tiled
    st: int

    @property
    def total(self) -> int:
        """Loaded tile combinations of one nest."""
        return prod((self.k_tiles, self.c_tiles, self.y_tiles, self.x_tiles))


def tile_counts(problem: Problem, split: LaneSplit, mapping: Mapping) -> TileCounts:
    """Tiles of a mapping.

    Raises: `Unmappable` for partial sums that would have to leave the chip.
    """
    n = split.lanes
    k, c, y, x = (
        n["k"] * mapping.kt,
        n["c"] * mapping.ct,
        n["y"] * mapping.yt,
        n["x"] * mapping.xt,
    )
    if problem.depthwise:
        c = 1
    c_tiles = ceil_div(problem.c, c)
    subs = (mapping.ks < mapping.kt, mapping.ys < mapping.yt, mapping.xs < mapping.xt)
    if c_tiles > 1 and any(subs):
        raise Unmappable("tiles along c need one EXEC per tile")
    return TileCounts(
        k=k,
        c=c,
        y=y,
        x=x,
        k_tiles=ceil_div(problem.k, k),
        c_tiles=c_tiles,
        y_tiles=ceil_div(problem.y, y),
        x_tiles=ceil_div(problem.x, x),
        rt=ceil_div(problem.r, n["r"]),
        st=ceil_div(problem.s, n["s"]),
    )


def reductions_first(order: str) -> int:
    """Number of leading loops of an order that are reductions."""
    depth = 0
    while depth < len(order) and order[depth] in REDUCTIONS:
        depth += 1
    return depth
