"""The best mapping of a layer on a design.

Lanes are enumerated, tile sizes scanned with a compiled estimate (`scan`), and the best of them
ranked by the exact cycle model on their commands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product, zip_longest

import numpy as np
from numpy.typing import NDArray

from dcp_hw import scan
from dcp_hw.axes import axes_of
from dcp_hw.fast import evaluate, evaluate_batch
from dcp_hw.lane_options import constants, lane_options, mapping_of
from dcp_hw.lowering import Program, lower
from dcp_hw.mapping import LaneSplit, Mapping
from dcp_hw.metrics import Infeasible
from dcp_hw.problem import BLOCK, Problem, ceil_div, problem_of
from dcp_hw.workload import Layer
from tensorlib.activity import COUNTERS
from tensorlib.design import Design
from tensorlib.timing import Prediction

OBJECTIVES = ("latency", "energy", "edp")

LEADS = (1, 3)
"""Pieces of the first and the last tile that the scan tries; the refinement tries more."""

ORDERS = ("csrxyk", "csrkxy", "scrxyk")
"""Orders of sequencer loops that differ in bank reads only, for designs without chains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long to search: lanes scanned, estimates kept, mappings ranked exactly.

    Attributes:
        near: lanes that need more steps than so many mappings are estimated to take are left out.
        starts: best of the ranked mappings that are refined step by step.
        every: loops of at most so many steps get tiles of every size, not only balanced ones.
    """

    lanes: int
    keep: int
    exact: int
    near: int
    starts: int
    every: int


EFFORTS = {
    "quick": Effort(lanes=24, keep=8, exact=48, near=6, starts=1, every=4),
    "normal": Effort(lanes=60, keep=24, exact=300, near=24, starts=6, every=8),
    "thorough": Effort(lanes=200, keep=64, exact=2000, near=96, starts=24, every=24),
}

Score = Callable[[Prediction], float]


def best_mapping(
    layer: Layer,
    design: Design,
    *,
    score: Score | None = None,
    objective: str | None = None,
    effort: str = "normal",
    int32: bool = False,
) -> tuple[Mapping, Program, Prediction] | Infeasible:
    """The best mapping found, its program and its exact prediction.

    Args:
        score: what to minimise, of the exact prediction; latency by default.
        objective: what `score` is: `latency`, `energy` or `edp`. Where it is not said, mappings
            with few cycles and mappings with few loaded words are tried.
        effort: `quick`, `normal` or `thorough`.
    """
    if objective not in (None, *OBJECTIVES):
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}")
    if objective is None:
        goals = ("latency",) if score is None else ("latency", "energy")
    else:
        goals = (objective,)
    problem = _shaped(layer, design)
    found = _best(problem, design, score, EFFORTS[effort], int32, goals)
    if isinstance(found, Infeasible) and effort != "thorough":
        found = _best(problem, design, score, EFFORTS["thorough"], int32, goals)
    if isinstance(found, Infeasible):
        return Infeasible(f"{layer.name}: {found.reason}")
    program: Program | Infeasible = Infeasible(f"{layer.name}: no mapping runs")
    for mapping, prediction in found:
        program = lower(layer, design, mapping, int32=int32)
        if not isinstance(program, Infeasible):  # its numbers fit their commands
            return mapping, program, prediction
    return program


def _shaped(layer: Layer, design: Design) -> Problem:
    """The nest of a layer: pixels in one row, unless the array then needs more steps."""
    flat, square = problem_of(layer), problem_of(layer, flat=False)
    if flat == square:
        return flat
    options = [lane_options(problem, design) for problem in (flat, square)]
    if not options[0] or (options[1] and options[1][0][0] < options[0][0][0]):
        return square
    return flat


def _best(
    problem: Problem,
    design: Design,
    score: Score | None,
    effort: Effort,
    int32: bool,
    goals: tuple[str, ...],
) -> Iterator[tuple[Mapping, Prediction]] | Infeasible:
    """Mappings, best first, with what their commands take."""
    pools = [ranked(problem, design, effort, int32=int32, objective=goal) for goal in goals]
    candidates = [pair[1] for pairs in zip_longest(*pools) for pair in pairs if pair]
    if not candidates:
        return Infeasible(f"no tile of it fits design {design.name}")
    candidates = list(dict.fromkeys(candidates))
    judge = _Judge(problem, design, None if goals == ("latency",) else score, int32)
    tried = _running(judge, candidates, effort.exact)
    if not tried:  # none runs, or they are too long to try them all
        reason = ""
        for mapping in (candidates[0], candidates[-1]):
            answer = evaluate(problem, design, mapping, int32=int32)
            if isinstance(answer, Prediction):
                return iter([(mapping, answer)])
            reason = answer
        return Infeasible(reason)
    refined = [_refined(judge, mapping) for _, mapping in tried[: effort.starts]]
    refined.sort(key=lambda item: item[0])
    chosen = dict.fromkeys(mapping for _, mapping in [*refined, *tried])
    return _checked(problem, design, chosen, int32)


def _checked(
    problem: Problem, design: Design, mappings: Iterable[Mapping], int32: bool
) -> Iterator[tuple[Mapping, Prediction]]:
    """Mappings whose commands the cycle model runs."""
    for mapping in mappings:
        prediction = evaluate(problem, design, mapping, int32=int32)
        if isinstance(prediction, Prediction):
            yield mapping, prediction


def _running(judge: _Judge, candidates: list[Mapping], most: int) -> list[tuple[float, Mapping]]:
    """Exact values of the first `most` candidates that can run, best first."""
    tried: list[tuple[float, Mapping]] = []
    first = 0
    while first < len(candidates) and len(tried) < most:
        some = candidates[first : first + most - len(tried)]
        values = judge.values(some)
        tried += [(v, m) for v, m in zip(values, some, strict=True) if v < np.inf]
        first += len(some)
    return sorted(tried, key=lambda item: item[0])


class _Judge:
    """Exact values of mappings, each computed once: cycles, or a score of the prediction."""

    def __init__(self, problem: Problem, design: Design, score: Score | None, int32: bool) -> None:
        self.problem, self.design, self.score, self.int32 = problem, design, score, int32
        self._values: dict[Mapping, float] = {}

    def values(self, mappings: Sequence[Mapping]) -> list[float]:
        """Values of mappings; infinite for those that cannot run or have too many EXECs."""
        new = [m for m in dict.fromkeys(mappings) if m not in self._values]
        if new:
            wanted = self.score is not None
            exact = evaluate_batch(
                self.problem, self.design, new, int32=self.int32, counters=wanted, long=False
            )
            found = exact.cycles.tolist()
            if self.score is not None:
                found = [
                    self.score(_prediction(cycles, counters)) if cycles else 0
                    for cycles, counters in zip(found, exact.counters.tolist(), strict=True)
                ]
            ran = (exact.cycles > 0).tolist()
            pairs = zip(found, ran, strict=True)
            self._values |= zip(new, (v if ok else np.inf for v, ok in pairs), strict=True)
        return [self._values[m] for m in mappings]


_NO_TIMES = np.zeros(0, dtype=np.int64)


def _prediction(cycles: int, counters: list[int]) -> Prediction:
    """A prediction without the times of commands."""
    named = dict(zip(COUNTERS, counters, strict=True))
    return Prediction(latency_cycles=cycles, counters=named, begin=_NO_TIMES, end=_NO_TIMES)


def _refined(judge: _Judge, mapping: Mapping) -> tuple[float, Mapping]:
    """A mapping after exact steps to the best neighbour, and its value."""
    value = judge.values([mapping])[0]
    while True:
        others = [*neighbours(mapping), *_resized(judge.problem, mapping)]
        values = judge.values(others)
        best = int(np.argmin(values)) if values else 0
        if not values or values[best] >= value:
            return value, mapping
        value, mapping = values[best], others[best]


def _resized(problem: Problem, mapping: Mapping) -> Iterator[Mapping]:
    """Mappings with one tile size changed by one tile or one step; as many EXECs per tile."""
    lanes = dict(mapping.axis1 + mapping.axis2)
    for loop, tile, part in (
        ("k", "kt", "ks"),
        ("c", "ct", ""),
        ("y", "yt", "ys"),
        ("x", "xt", "xs"),
    ):
        whole = ceil_div(problem.size(loop), lanes.get(loop, 1))
        size = getattr(mapping, tile)
        tiles = ceil_div(whole, size)
        sizes = {ceil_div(whole, n) for n in (tiles - 1, tiles, tiles + 1) if n > 0}
        sizes |= {size - 1, size + 1, size // 2, 2 * size}
        for other in sorted(n for n in sizes - {size} if 1 <= n <= whole):
            change = {tile: other}
            if part:
                change[part] = ceil_div(other, ceil_div(size, getattr(mapping, part)))
            yield replace(mapping, **change)


def neighbours(mapping: Mapping) -> Iterator[Mapping]:
    """Mappings that differ in one thing: direction, place of parameters, EXEC sizes, order."""
    yield replace(mapping, snake=not mapping.snake)
    yield replace(mapping, late_params=not mapping.late_params)
    for tile, part in (("kt", "ks"), ("yt", "ys"), ("xt", "xs")):
        whole, size = getattr(mapping, tile), getattr(mapping, part)
        pieces = ceil_div(whole, size)
        for count in (pieces - 1, pieces + 1):
            if 1 <= count <= whole and ceil_div(whole, count) != size:
                yield replace(mapping, **{part: ceil_div(whole, count)})
    for order in scan.TILE_ORDERS:
        yield replace(mapping, tiles=order)
    yield replace(mapping, trim=not mapping.trim)
    for lead in (1, 2, 3, 4, 6):
        yield replace(mapping, lead=lead)
    for order in ORDERS:
        if mapping.order in ORDERS:
            yield replace(mapping, order=order)


def ranked(
    problem: Problem,
    design: Design,
    effort: Effort,
    *,
    int32: bool = False,
    objective: str = "latency",
) -> list[tuple[float, Mapping]]:
    """Estimates of the objective and mappings, best first."""
    axes = axes_of(design)
    found: list[tuple[float, Mapping]] = []
    options = lane_options(problem, design)
    for n, (steps, lanes, split) in enumerate(options):
        if found and n >= effort.lanes:
            break
        fewer = objective == "latency" and len(found) > effort.near
        if fewer and steps > found[effort.near][0]:
            break
        g = constants(problem, design, lanes, split, int32=int32)
        sizes = _tile_sizes(problem, design, split, effort.every)
        trimmable = (
            problem.depthwise and problem.padding and max(split.lanes["y"], split.lanes["r"]) == 1
        )
        cuttable = problem.depthwise and split.lanes["y"] == 1
        for trim, lead in product(
            (False, True) if trimmable else (False,), LEADS if cuttable else (1,)
        ):
            g[scan.TRIM], g[scan.LEAD] = int(trim), lead
            g[scan.GOAL] = OBJECTIVES.index(objective)
            estimates, rows, _ = scan.scan(g, *sizes, effort.keep)
            for value, row in zip(estimates.tolist(), rows.tolist(), strict=True):
                if value < np.inf:
                    mapping = mapping_of(lanes, axes, problem, tuple(row[:7]))
                    tiles = scan.TILE_ORDERS[row[7]]
                    found.append((value, replace(mapping, tiles=tiles, trim=trim, lead=lead)))
        found.sort(key=lambda item: item[0])
    return found


def _tile_sizes(
    problem: Problem, design: Design, split: LaneSplit, every: int
) -> tuple[NDArray[np.int64], ...]:
    """Steps per lane to try: kt, ct, yt, xt, and EXECs per tile."""
    n = split.lanes
    unit_k = split.ki * split.kd
    # steps of k per 16 channels
    whole_k = ceil_div(problem.k, n["k"])
    kts = _steps(whole_k, every)
    block = BLOCK // np.gcd(BLOCK, unit_k)
    kts = {k if k == whole_k and split.ko == 1 else ceil_div(k, block) * block for k in kts}
    if problem.depthwise and split.byte_input and split.ko > 1:
        kts |= {1}
    whole_c = ceil_div(problem.c, n["c"])
    cts = _steps(whole_c, every)
    block = 1 if split.byte_input else BLOCK // np.gcd(BLOCK, split.ci)
    if problem.depthwise or problem.c4:
        cts = {whole_c}
    else:
        cts = {c if c == whole_c and split.co == 1 else ceil_div(c, block) * block for c in cts}
    ys, xs = (_steps(ceil_div(problem.size(x), n[x]), every, 48) for x in "yx")
    if problem.c4 and n["x"] > 1:
        xs = {ceil_div(x, 4) * 4 for x in xs} | {ceil_div(x, 2) * 2 for x in xs}
    if problem.depthwise and split.byte_input and design.input.slots > 1:
        taps = n["s"] if split.s_slots else ceil_div(problem.s, n["s"])
        most = (BLOCK - (taps - 1) * problem.dilation - 1) // problem.stride + 1
        xs = {x for x in xs if x <= most} | {max(1, min(most, ceil_div(problem.x, n["x"])))}
    if axes_of(design).diagonal and len(split.axis) == 2:
        tap = "r" if "r" in split.axis else "s"
        reach = ceil_div(problem.size(tap), n[tap]) * problem.dilation // problem.stride
        ys, xs = ({reach}, xs) if tap == "r" else (ys, {reach})
    parts = np.array([1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28], dtype=np.int64)
    if problem.y > 1:
        parts = parts[:10]
    arrays = [np.array(sorted(v), dtype=np.int64) for v in (kts, cts, ys, xs)]
    return (*arrays, parts)


@lru_cache(maxsize=4096)
def _step_list(whole: int, most: int) -> tuple[int, ...]:
    values = sorted({ceil_div(whole, n) for n in range(1, whole + 1)}, reverse=True)
    if len(values) > most:
        chosen = np.unique(np.geomspace(1, len(values), most).astype(int) - 1)
        values = [values[i] for i in chosen]
    return tuple(values)


def _steps(whole: int, every: int, most: int = 24) -> set[int]:
    """Tile sizes to try: all of a short loop, otherwise at most `most` balanced ones."""
    if whole <= every:
        return set(range(1, whole + 1))
    return set(_step_list(whole, most))
