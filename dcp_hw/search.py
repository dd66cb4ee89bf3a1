"""The best mapping of a layer on a design.

Lanes are enumerated, tile sizes scanned with a compiled estimate (`scan`), and the best of them
ranked by the exact cycle model on their commands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product, zip_longest

import numpy as np
from numpy.typing import NDArray

from dcp_hw import scan
from dcp_hw.axes import axes_of
from dcp_hw.fast import latency
from dcp_hw.lane_options import constants, lane_options, mapping_of
from dcp_hw.lowering import Lowering, Program, lower
from dcp_hw.mapping import LaneSplit, Mapping, Unmappable
from dcp_hw.metrics import Infeasible
from dcp_hw.problem import BLOCK, Problem, ceil_div, problem_of
from dcp_hw.workload import Layer
from tensorlib.design import Design
from tensorlib.errors import AnalysisError
from tensorlib.timing import Prediction, predict

OBJECTIVES = ("latency", "energy", "edp")

LEADS = (1, 3)
"""Pieces of the first and the last tile that the scan tries; the refinement tries more."""

ORDERS = ("csrxyk", "csrkxy", "scrxyk")
"""Orders of sequencer loops that differ in bank reads only, for designs without chains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long to search: lanes scanned, estimates kept, mappings ranked exactly.

    Attributes:
        every: loops of at most so many steps get tiles of every size, not only balanced ones.
    """

    lanes: int
    keep: int
    exact: int
    every: int


EFFORTS = {
    "quick": Effort(lanes=24, keep=8, exact=6, every=4),
    "normal": Effort(lanes=60, keep=24, exact=24, every=8),
    "thorough": Effort(lanes=200, keep=64, exact=96, every=24),
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
    mapping, prediction = found
    program = lower(layer, design, mapping, int32=int32)
    if isinstance(program, Infeasible):
        return program
    return mapping, program, prediction


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
) -> tuple[Mapping, Prediction] | Infeasible:
    pools = [ranked(problem, design, effort, int32=int32, objective=goal) for goal in goals]
    candidates = [pair[1] for pairs in zip_longest(*pools) for pair in pairs if pair]
    if not candidates:
        return Infeasible(f"no tile of it fits design {design.name}")
    candidates = list(dict.fromkeys(candidates))
    if score is not None and not _is_latency(score, problem, design, candidates, int32):
        judge = _Judge(problem, design, score, int32)
    else:
        judge = _Judge(problem, design, None, int32)
    tried: list[tuple[float, Mapping]] = []
    for mapping in candidates:
        if len(tried) >= effort.exact:
            break
        value = judge.value(mapping)
        if value is not None:
            tried.append((value, mapping))
    for _, mapping in sorted(tried, key=lambda item: item[0]):
        mapping = _refined(judge, mapping)
        prediction = evaluate(problem, design, mapping, int32=int32)
        if isinstance(prediction, Prediction):
            return mapping, prediction
        judge.reason = prediction
    return Infeasible(judge.reason or "no mapping")


def _is_latency(
    score: Score, problem: Problem, design: Design, candidates: list[Mapping], int32: bool
) -> bool:
    """Whether a score is the latency, seen from the first mapping that runs."""
    for mapping in candidates:
        prediction = evaluate(problem, design, mapping, int32=int32)
        if isinstance(prediction, Prediction):
            return score(prediction) == prediction.latency_cycles
    return False


class _Judge:
    """Values of mappings, each computed once: a score, or cycles by the faster way.

    Attributes:
        reason: why the last mapping without a value cannot run.
    """

    def __init__(self, problem: Problem, design: Design, score: Score | None, int32: bool) -> None:
        self.problem, self.design, self.score, self.int32 = problem, design, score, int32
        self.reason = ""
        self._values: dict[Mapping, float | None] = {}

    def value(self, mapping: Mapping) -> float | None:
        """Value of a mapping; None if it cannot run."""
        if mapping not in self._values:
            self._values[mapping] = self._evaluate(mapping)
        return self._values[mapping]

    def _evaluate(self, mapping: Mapping) -> float | None:
        if self.score is None:
            cycles = latency(self.problem, self.design, mapping, int32=self.int32)
            if isinstance(cycles, int):
                return cycles
            self.reason = cycles
            return None
        prediction = evaluate(self.problem, self.design, mapping, int32=self.int32)
        if isinstance(prediction, Prediction):
            return self.score(prediction)
        self.reason = prediction
        return None


def _refined(judge: _Judge, mapping: Mapping) -> Mapping:
    """A mapping after exact steps to better neighbours."""
    value = judge.value(mapping)
    assert value is not None
    improved = True
    while improved:
        improved = False
        for other in neighbours(mapping):
            changed = judge.value(other)
            if changed is not None and changed < value:
                value, mapping, improved = changed, other, True
                break
    return mapping


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


def evaluate(
    problem: Problem, design: Design, mapping: Mapping, *, int32: bool = False
) -> Prediction | str:
    """The exact prediction of a mapping, or why it cannot run."""
    try:
        lowering = Lowering(problem, design, mapping, int32=int32, bursts=False)
        return predict(design, list(lowering.commands()))
    except (Unmappable, AnalysisError) as error:
        return str(error)


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
        fewer = objective == "latency" and len(found) > effort.exact
        if fewer and steps > found[effort.exact][0]:
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
            estimates, rows = scan.scan(g, *sizes, effort.keep)
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
