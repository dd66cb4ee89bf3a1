"""Mappings near a nest: lanes, tiles and orders, those that keep the nest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations, product
from math import gcd, log, prod

from dcp_hw.bridge.arrays import Loops
from dcp_hw.bridge.nest import Nest
from dcp_hw.bridge.reasons import NotBridged, Reason
from dcp_hw.maestro.honest_types import C, K, R, S, X, Y
from dcp_hw.mapping import Digits, Mapping
from dcp_hw.problem import BLOCK, REDUCTIONS, Problem, ceil_div
from dcp_hw.workload import Layer, Operator

MAX_DIGIT = 127
"""Lanes that a digit counts one by one; k goes in blocks of 16 above it."""

Changes = frozenset[Reason]


def loop_names(layer: Layer) -> dict[int, str]:
    """Loop of a mapping for each dimension of the honest model that the layer has."""
    if layer.operator in (Operator.GEMM, Operator.BGEMM):
        return {K: "k", C: "c", Y: "x"}
    if layer.operator is Operator.DWCONV:
        return {C: "k", Y: "y", X: "x", R: "r", S: "s"}
    return {K: "k", C: "c", Y: "y", X: "x", R: "r", S: "s"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """A nest in the loops of mappings.

    Attributes:
        lanes: per parallel loop, in the order of levels, the innermost first.
        chip: elements on chip per loop; sizes: of the layer.
        tiles: loops over tiles with more than one, outermost first.
        order: sequencer loops, innermost first.
        changes: what of the nest no mapping keeps, whatever the array.
    """

    lanes: dict[str, int]
    chip: dict[str, int]
    sizes: dict[str, int]
    tiles: tuple[str, ...]
    order: str
    changes: Changes

    def steps(self, loop: str) -> int:
        """Steps of one lane in a tile."""
        return ceil_div(self.chip.get(loop, 1), self.lanes.get(loop, 1))


def sketch_of(nest: Nest, layer: Layer, problem: Problem) -> Sketch | NotBridged:
    """The nest in the loops of mappings, c innermost of the tiles and filters whole."""
    names = loop_names(layer)
    if problem.patch or problem.padded_groups:
        what = "patches of an image" if problem.patch else "a dense convolution"
        return NotBridged(f"{layer.name} runs as {what}", Reason.LAYER)
    changes: set[Reason] = set()
    lanes: dict[str, int] = {}
    for one in reversed(nest.spread):
        loop = names[one.dim]
        if loop in lanes:
            changes.add(Reason.SAME_DIMENSION)
        lanes[loop] = lanes.get(loop, 1) * one.units
    if len(lanes) > 2:
        changes.add(Reason.THIRD_SPATIAL)
    chip = {names[d]: nest.chip[d] for d in names}
    sizes = {names[d]: nest.sizes[d] for d in names}
    for tap in "rs":
        if chip.get(tap, 1) < sizes.get(tap, 1):
            changes.add(Reason.FILTER_TILES)
            chip[tap] = sizes[tap]
    walk = [names[loop.dim] for loop in nest.tiles if names.get(loop.dim, "r") not in "rs"]
    if "c" in walk and walk[-1] != "c":
        changes.add(Reason.PARTIAL_SUMS)
    outer_first = [names[d] for d in nest.order if d in names]
    inner = "".join(reversed(outer_first))
    rest = "".join(loop for loop in "csrxyk" if loop not in inner)
    return Sketch(
        lanes=lanes,
        chip=chip,
        sizes=sizes,
        tiles=tuple(loop for loop in walk if loop != "c"),
        order=inner + rest,
        changes=frozenset(changes),
    )


def flattened(sketch: Sketch, problem: Problem) -> Sketch | None:
    """The sketch on a nest whose pixels are one row; None where tiles are not whole rows."""
    if not problem.row:
        return None
    if sketch.chip["x"] < sketch.sizes["x"] or "x" in sketch.lanes:
        return None
    width = sketch.sizes["x"]
    lanes = {"x" if loop == "y" else loop: count for loop, count in sketch.lanes.items()}
    rows = sketch.chip["y"]
    sizes = sketch.sizes | {"y": 1, "x": sketch.sizes["y"] * width}
    order = sketch.order.replace("y", "")
    return replace(
        sketch,
        lanes=lanes,
        chip=sketch.chip | {"y": 1, "x": rows * width},
        sizes=sizes,
        tiles=tuple("x" if loop == "y" else loop for loop in sketch.tiles if loop != "x"),
        order=order + "y",
    )


# --- placements ------------------------------------------------------------------------------


def placements(loops: Sequence[str]) -> Iterator[tuple[Loops, Loops]]:
    """Ways to put loops on two axes, each axis' fastest loop first.

    Two loops have an axis each; more share axes.
    """
    if len(loops) <= 2:
        padded = (*((loop,) for loop in loops), (), ())[:2]
        yield padded[0], padded[1]
        if padded[0] != padded[1]:
            yield padded[1], padded[0]
        return
    for where in product((0, 1), repeat=len(loops)):
        parts = [[x for x, axis in zip(loops, where, strict=True) if axis == n] for n in (0, 1)]
        if parts[0] and parts[1]:
            yield from product(permutations(parts[0]), permutations(parts[1]))


# --- sizes -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A mapping and how far it is from its nest.

    Attributes:
        far: sum over loops of the logarithms of how lanes and tiles differ.
        cut: an EXEC works on part of a tile, because sums of all do not fit.
    """

    mapping: Mapping
    changes: Changes
    far: float
    cut: bool = False


def plans(
    sketch: Sketch, problem: Problem, axes: tuple[Loops, Loops], pes: int, *, flat: bool
) -> list[Plan]:
    """Mappings of a sketch with these axes: as it is, then with lanes and tiles of blocks."""
    found: dict[Mapping, Plan] = {}
    loops = axes[0] + axes[1]
    long = any(sketch.lanes[loop] > MAX_DIGIT for loop in loops if loop != "k")
    why = Reason.LIMITS if long else Reason.BLOCKS
    choices = [_lane_counts(sketch, problem, loop) for loop in loops]
    for counts in product(*choices):
        lanes = dict(zip(loops, counts, strict=True))
        if not _within(lanes, sketch, pes):
            continue
        digits = [tuple((loop, lanes[loop]) for loop in on) for on in axes]
        for kt, ct in product(_tiles(sketch, "k", lanes), _tiles(sketch, "c", lanes)):
            sizes = {"k": kt, "c": 1 if problem.depthwise else ct}
            sizes |= {loop: _pixels(sketch, loop, lanes, problem) for loop in "yx"}
            mapping = _mapping(sketch, (digits[0], digits[1]), sizes, flat=flat)
            far = _distance(sketch, lanes, sizes)
            changes = sketch.changes | ({why} if far > 0 else set())
            found.setdefault(mapping, Plan(mapping=mapping, changes=changes, far=far))
    return sorted(found.values(), key=lambda plan: (len(plan.changes), plan.far))


def _within(lanes: dict[str, int], sketch: Sketch, pes: int) -> bool:
    """Whether the lanes fit the PEs, if need be with fewer pixels side by side (in place)."""
    while (used := prod(lanes.values())) > pes:
        pixels = [loop for loop in "xy" if lanes.get(loop, 1) > 1]
        if not pixels:
            return False
        widest = max(pixels, key=lambda loop: lanes[loop])
        left = max(1, lanes[widest] * pes // used)
        lanes[widest] = ceil_div(sketch.chip[widest], ceil_div(sketch.chip[widest], left))
    return True


def _lane_counts(sketch: Sketch, problem: Problem, loop: str) -> list[int]:
    """Lanes of a loop: as many as the nest has, and blocks near it."""
    asked = sketch.lanes[loop]
    found = [asked]
    if loop in "kc":
        steps = (1, 2, 4, 8, *range(BLOCK, 8 * BLOCK * BLOCK, BLOCK))
        found += [max(n for n in steps if n <= asked), min(n for n in steps if n >= asked)]
    if loop == "k" and problem.depthwise and asked < BLOCK:
        found.append(BLOCK)
    if loop != "k" and asked > MAX_DIGIT:
        whole = sketch.sizes[loop]
        found = [asked, ceil_div(whole, ceil_div(whole, MAX_DIGIT // BLOCK * BLOCK))]
    if loop == "c" and asked < BLOCK and sketch.sizes["c"] <= BLOCK:
        found.append(sketch.sizes["c"])
    return list(dict.fromkeys(found))


def _tiles(sketch: Sketch, loop: str, lanes: dict[str, int]) -> list[int]:
    """Steps of k or c in a lane: those of the nest, and whole blocks near it."""
    if loop not in sketch.sizes:
        return [1]
    count = lanes.get(loop, 1)
    whole = ceil_div(sketch.sizes[loop], count)
    asked = min(whole, ceil_div(sketch.chip[loop], count))
    found = [asked]
    for block in (BLOCK // gcd(BLOCK, count), BLOCK):
        found += [max(block, asked // block * block), ceil_div(asked, block) * block, block]
    if ceil_div(sketch.sizes[loop], BLOCK) * BLOCK <= 2 * sketch.chip[loop]:
        found.append(whole)
    most = ceil_div(whole, BLOCK) * BLOCK
    return list(dict.fromkeys(n for n in found if n <= most))


def _pixels(sketch: Sketch, loop: str, lanes: dict[str, int], problem: Problem) -> int:
    steps = ceil_div(sketch.chip.get(loop, 1), lanes.get(loop, 1))
    if loop == "x" and problem.c4 and lanes.get("x", 1) > 1:
        return ceil_div(steps, 4) * 4
    return steps


def _distance(sketch: Sketch, lanes: dict[str, int], sizes: dict[str, int]) -> float:
    far = sum(abs(log(lanes[loop] / sketch.lanes[loop])) for loop in lanes)
    for loop, steps in sizes.items():
        whole = sketch.sizes.get(loop, 1)
        asked = min(whole, sketch.chip.get(loop, 1))
        taken = min(whole, steps * lanes.get(loop, 1))
        far += abs(log(taken / asked)) if loop in sketch.sizes else 0.0
    return round(far, 9)


def _mapping(
    sketch: Sketch, axes: tuple[Digits, Digits], sizes: dict[str, int], *, flat: bool
) -> Mapping:
    tiles = "".join(sketch.tiles)
    return Mapping(
        axis1=axes[0],
        axis2=axes[1],
        kt=sizes["k"],
        ct=sizes["c"],
        yt=sizes["y"],
        xt=sizes["x"],
        ks=sizes["k"],
        ys=sizes["y"],
        xs=sizes["x"],
        order=sketch.order,
        tiles=tiles + "".join(loop for loop in "kyx" if loop not in tiles),
        flat=flat,
    )


def reductions_first(order: str) -> str:
    """The order with the reductions innermost, otherwise as it was."""
    inner = "".join(loop for loop in order if loop in REDUCTIONS)
    return inner + "".join(loop for loop in order if loop not in REDUCTIONS)


def smaller(plan: Plan, problem: Problem, *, sums: bool) -> Iterator[Plan]:
    """The plan with a tile, or what one EXEC does of it, halved.

    Args:
        sums: parts of tiles help: their output does not fit.
    """
    m = plan.mapping
    lanes = dict(m.axis1 + m.axis2)
    whole_c = problem.depthwise or lanes.get("c", 1) * m.ct >= problem.c
    if sums and whole_c:
        for part in ("ys", "xs"):
            if (size := getattr(m, part)) > 1:
                yield replace(plan, mapping=replace(m, **{part: ceil_div(size, 2)}), cut=True)
        unit = BLOCK // gcd(BLOCK, lanes.get("k", 1))
        if m.ks > unit:
            half = ceil_div(ceil_div(m.ks, 2), unit) * unit
            yield replace(plan, mapping=replace(m, ks=half), cut=True)
    changes = plan.changes | {Reason.MEMORY}
    for tile, part in (("yt", "ys"), ("xt", "xs"), ("kt", "ks"), ("ct", "")):
        size = getattr(m, tile)
        unit = 1
        if tile in ("kt", "ct"):
            unit = BLOCK // gcd(BLOCK, lanes.get(tile[0], 1))
        half = ceil_div(ceil_div(size, 2), unit) * unit
        if half >= size or (tile == "ct" and problem.depthwise):
            continue
        change = {tile: half} | ({part: min(half, getattr(m, part))} if part else {})
        if tile == "ct":
            change |= {"ks": m.kt, "ys": m.yt, "xs": m.xt}
        yield replace(plan, mapping=replace(m, **change), changes=changes, far=plan.far + log(2))
