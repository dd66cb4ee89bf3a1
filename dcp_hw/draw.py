"""Mappings and arrays drawn at random, for tests and regression."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from dcp_hw.axes import axes_of
from dcp_hw.layout import Layout
from dcp_hw.mapping import Digits, Mapping, Unmappable
from dcp_hw.metrics import Infeasible
from dcp_hw.problem import BLOCK, LOOPS, REDUCTIONS, Problem, ceil_div, problem_of
from dcp_hw.workload import Layer
from tensorlib.design import Design
from tensorlib.from_stt import Held, design_from_stt
from tensorlib.op import Operator, batched_gemm, conv2d, depthwise_conv2d, gemm
from tensorlib.stt import matrices

TRIES = 60
OPERATORS = (gemm(), conv2d(), depthwise_conv2d())


def random_array(rng: random.Random, rows: int, cols: int, **settings: Any) -> Design:
    """An array of a random unimodular space-time transformation that mappings can use.

    Args:
        settings: of `design_from_stt`: name, depth, words and arguments of `elaborate`.
    """
    held: tuple[Held, ...] = ("chain", "chain", "port")
    return _drawn(rng, (rows, cols), OPERATORS, held, mapped=True, **settings)


def random_other_array(rng: random.Random, rows: int, cols: int, **settings: Any) -> Design:
    """An array of a random unimodular transformation that mappings cannot use, as `random_array`.

    With windows, or with a weight or an output along a diagonal: for `stt_program`.
    """
    operators = (*OPERATORS, batched_gemm())
    return _drawn(rng, (rows, cols), operators, ("chain", "port"), mapped=False, **settings)


def _drawn(
    rng: random.Random,
    shape: tuple[int, int],
    operators: Sequence[Operator],
    held: Sequence[Held],
    *,
    mapped: bool,
    **settings: Any,
) -> Design:
    """The first array drawn that mappings can use, or cannot."""
    choices = matrices()
    while True:
        op = rng.choice(operators)
        selected = rng.sample(op.iterators, 3)
        matrix = choices[rng.randrange(len(choices))].tolist()
        given: dict[str, Any] = {"held": rng.choice(held)}
        if mapped:
            given |= {"chain_axis": rng.choice((1, 2)), "gapless": True}
        design = design_from_stt(op, selected, matrix, *shape, **given, **settings)
        if isinstance(design, Design) and (axes_of(design).other is None) == mapped:
            return design


def random_mapping(layer: Layer, design: Design, rng: random.Random) -> Mapping | Infeasible:
    """A legal mapping of a layer on a design; Infeasible if none was found in a few tries."""
    problem = problem_of(layer)
    reason = "no mapping drawn"
    for _ in range(TRIES):
        try:
            mapping = _draw(problem, design, rng)
            Layout(problem, design, mapping)
        except Unmappable as error:
            reason = str(error)
            continue
        return mapping
    return Infeasible(reason)


def _draw(problem: Problem, design: Design, rng: random.Random) -> Mapping:
    axes = axes_of(design)
    used: set[str] = set()
    digits: list[Digits] = []
    for axis in (0, 1):
        allowed = [loop for loop in axes.loops(axis, problem) if loop not in used]
        slots = design.input.slots if axis == 1 else 1
        drawn = _digits(problem, allowed, axes.size[axis], slots, rng)
        used |= {loop for loop, _ in drawn}
        digits.append(drawn)
    lanes = dict(digits[0] + digits[1])

    def steps(loop: str) -> int:
        whole = ceil_div(problem.size(loop), lanes.get(loop, 1))
        return rng.choice([1, whole, rng.randint(1, whole)])

    kt, ct, yt, xt = steps("k"), steps("c"), steps("y"), steps("x")
    whole_c = ct >= ceil_div(problem.c, lanes.get("c", 1))
    reductions = [x for x in LOOPS if x in REDUCTIONS]
    others = [x for x in LOOPS if x not in REDUCTIONS]
    rng.shuffle(reductions)
    rng.shuffle(others)
    order = reductions + others
    if axes.chain in ("weight", "input") or rng.random() < 0.3:
        rng.shuffle(order)
    if axes.chain in ("weight", "input"):
        free = [x for x in order if x not in problem.loops_of(axes.chain)]
        order = free + [x for x in order if x not in free]
    tiles = list("kyx")
    rng.shuffle(tiles)

    def part(whole: int) -> int:
        return rng.randint(1, whole) if whole_c and rng.random() < 0.4 else whole

    return Mapping(
        axis1=digits[0],
        axis2=digits[1],
        kt=kt,
        ct=ct,
        yt=yt,
        xt=xt,
        ks=part(kt),
        ys=part(yt),
        xs=part(xt),
        order="".join(order),
        tiles="".join(tiles),
        snake=rng.random() < 0.5,
        late_params=rng.random() < 0.5,
    )


def _digits(
    problem: Problem, allowed: list[str], size: int, slots: int, rng: random.Random
) -> Digits:
    """Digits of one axis, fastest first; `k` first where it takes part."""
    rng.shuffle(allowed)
    allowed = allowed[: rng.choice((1, 1, 2, 3))]
    if "k" in allowed:
        allowed.sort(key=lambda loop: loop != "k")
    drawn: list[tuple[str, int]] = []
    room = size
    for number, loop in enumerate(allowed):
        most = min(room, 2 * problem.size(loop))
        if most < 2:
            continue
        count = rng.choice([most, rng.randint(2, most)])
        if loop == "k" and rng.random() < 0.8:
            count = 1 << (count.bit_length() - 1)
        if loop == "c":
            count = next(n for n in (BLOCK, 8, 4, 2, 1) if n <= count)
        if slots > 1 and number == 0:
            count = slots if count >= slots else count
        drawn.append((loop, count))
        room //= count
    return tuple(drawn)
