"""A MAESTRO dataflow on an array: transformation, design and layer program (docs/bridge.md).

    nest of the dataflow -> loops of both axes -> T with a searched skew -> tiles -> program

What cannot be kept is changed as little as possible and named in `changes`; with `strict` such a
dataflow is `NotBridged` instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from dcp_hw import physical
from dcp_hw.bridge.arrays import (
    Needs,
    Refused,
    array_styles,
    bytes_of,
    needs_of,
    probe_of,
    sized,
)
from dcp_hw.bridge.nest import Nest, nest_of
from dcp_hw.bridge.reasons import MEANING, NotBridged, Reason, kind_of
from dcp_hw.bridge.tiles import (
    Plan,
    Sketch,
    flattened,
    placements,
    plans,
    reductions_first,
    sketch_of,
    smaller,
)
from dcp_hw.candidates import Style
from dcp_hw.fast import evaluate_batch
from dcp_hw.hardware import Hardware
from dcp_hw.known import value
from dcp_hw.layout import Layout
from dcp_hw.lowering import Program, lower
from dcp_hw.maestro.honest_energy import honest_layers
from dcp_hw.maestro.honest_types import HonestLevel
from dcp_hw.mapping import Mapping, Unmappable
from dcp_hw.metrics import Infeasible
from dcp_hw.problem import Problem, problem_of
from dcp_hw.workload import Layer
from tensorlib.activity import COUNTERS
from tensorlib.design import Design

_HALVINGS = 14
_LOOKED_AT = 200
"""Fits that are evaluated before a dataflow is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """A dataflow on an array.

    Attributes:
        design: with banks of the size that this layer needs.
        changes: what of the dataflow was changed, by the class of what it could not keep.
        cut: an EXEC works on part of a tile.
        cycles, energy_nj: by the exact cycle model.
    """

    layer: Layer
    nest: Nest
    style: Style
    design: Design
    mapping: Mapping
    needs: Needs
    changes: tuple[Reason, ...]
    cut: bool
    cycles: int
    energy_nj: float

    def program(self, design: Design | None = None) -> Program:
        """The layer program on its design, or on one with larger banks."""
        program = lower(self.layer, design or self.design, self.mapping)
        assert not isinstance(program, Infeasible), program.reason
        return program


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """A plan on an array whose tiles fit the memory."""

    plan: Plan
    problem: Problem
    style: Style
    probe: Design
    needs: Needs


@dataclass(slots=True)
class _Search:
    """What a dataflow is lowered for, and why plans were refused."""

    layer: Layer
    hardware: Hardware
    objective: str
    refusals: list[tuple[Reason, str]] = field(default_factory=list)

    def refused(self, reason: str, kind: Reason | None = None) -> None:
        """Keep a reason."""
        self.refusals.append((kind or kind_of(reason), reason))

    def answer(self) -> NotBridged:
        """The last of the hurdles that any plan met."""
        if not self.refusals:
            return NotBridged(f"{self.layer.name}: no lanes fit the PEs", Reason.PES)
        kind, text = max(self.refusals, key=lambda item: _HURDLES.index(item[0]))
        return NotBridged(f"{self.layer.name}: {text.removeprefix(f'{self.layer.name}: ')}", kind)


_HURDLES = (
    *(Reason.AXES, Reason.BLOCKS, Reason.PARTIAL_SUMS, Reason.LIMITS, Reason.ORDER),
    Reason.MEMORY,
)
"""In the order in which plans meet them."""


def lower_dataflow(
    layer: Layer,
    levels: Sequence[HonestLevel],
    hardware: Hardware,
    *,
    objective: str = "edp",
    strict: bool = False,
) -> Lowered | NotBridged:
    """The array and the program of a dataflow, or why there are none.

    Args:
        levels: outermost first; Y and X count outputs.
        objective: what decides between equally near ones: latency, energy or edp.
        strict: nothing may be changed; the reason is then the first of the nearest changes.
    """
    shapes = honest_layers(layer)
    if isinstance(shapes, Infeasible):
        return NotBridged(f"{layer.name}: {shapes.reason}", Reason.LAYER)
    nest = nest_of(shapes[0].sizes, levels, hardware.pes)
    if isinstance(nest, NotBridged):
        return nest
    sketch = sketch_of(nest, layer, problem_of(layer, flat=False))
    if isinstance(sketch, NotBridged):
        return sketch
    search = _Search(layer, hardware, objective)
    fits = sorted(_fits(search, sketch), key=_nearness)[:_LOOKED_AT]
    for _, group in groupby(fits, key=_nearness):
        if best := _best(search, list(group)):
            changes = sorted(best[0].plan.changes, key=list(Reason).index)
            if strict and changes:
                return NotBridged(f"{layer.name}: {MEANING[changes[0]]}", changes[0])
            return _finished(search, nest, best)
    return search.answer()


def _nearness(fit: _Fit) -> tuple[int, float, int]:
    plan = fit.plan
    return len(plan.changes), plan.far, plan.cut


def _fits(search: _Search, sketch: Sketch) -> Iterator[_Fit]:
    """Plans on unskewed arrays whose tiles fit, each order as it is and with reductions first."""
    problem = problem_of(search.layer, flat=False)
    flat = problem_of(search.layer)
    nests = [(problem, sketch, problem.row > 0)]
    if flat != problem and (rows := flattened(sketch, flat)):
        nests.append((flat, rows, True))
    for nest_problem, drawn, is_flat in nests:
        for axes in placements(list(drawn.lanes)):
            styles = array_styles(nest_problem, axes, list(drawn.order), every=False)
            if isinstance(styles, Refused):
                search.refused(styles.reason, Reason.AXES)
                continue
            for plan in plans(drawn, nest_problem, axes, search.hardware.pes, flat=is_flat):
                for style in styles:
                    yield from _orders(_fit(search, nest_problem, style, plan))


def _orders(fit: _Fit | None) -> Iterator[_Fit]:
    """A fit, and the same with reductions innermost where they are not."""
    if fit is None:
        return
    yield fit
    order = fit.plan.mapping.order
    if (other := reductions_first(order)) != order:
        changes = fit.plan.changes | {Reason.ORDER}
        mapping = replace(fit.plan.mapping, order=other)
        yield replace(fit, plan=replace(fit.plan, mapping=mapping, changes=changes))


def _fit(search: _Search, problem: Problem, style: Style, plan: Plan) -> _Fit | None:
    """The plan on an array, with tiles halved until they fit the memory; None if never."""
    sizes = [max(1, _lanes(digits)) for digits in (plan.mapping.axis1, plan.mapping.axis2)]
    probe = probe_of(style, sizes[0], sizes[1])
    if isinstance(probe, Refused):
        if "bank" not in probe.reason and "slots" not in probe.reason:  # another way has none
            search.refused(probe.reason, Reason.AXES)
        return None
    for _ in range(_HALVINGS):
        room = _room(search, problem, style, probe, plan)
        if isinstance(room, Needs):
            return _Fit(plan=plan, problem=problem, style=style, probe=probe, needs=room)
        text, sums = room
        if kind_of(text) not in (Reason.MEMORY, Reason.LIMITS):
            search.refused(text)
            return None
        tried = [
            (_taken(search, problem, style, probe, other), n, other)
            for n, other in enumerate(smaller(plan, problem, sums=sums))
        ]
        if not tried:
            search.refused(text)
            return None
        cuts = [one for one in tried if one[2].cut and not plan.changes ^ one[2].changes]
        plan = min(cuts if sums and cuts else tried)[2]
    search.refused(text)
    return None


def _lanes(digits: Sequence[tuple[str, int]]) -> int:
    count = 1
    for _, lanes in digits:
        count *= lanes
    return count


def _design(search: _Search, style: Style, probe: Design, needs: Needs) -> Design:
    name = f"{style.key}_{probe.rows}x{probe.cols}"
    return sized(style, probe, needs, search.hardware, name)


def _room(
    search: _Search, problem: Problem, style: Style, probe: Design, plan: Plan
) -> Needs | tuple[str, bool]:
    """What the tiles take, or why they do not fit, and whether sums are what is too large."""
    try:
        needs = needs_of(Layout(problem, probe, plan.mapping))
    except Unmappable as error:
        return str(error), "output tile" in str(error)
    design = _design(search, style, probe, needs)
    if (taken := bytes_of(design)) <= search.hardware.sram_bytes:
        return needs
    sums = design.sram_bytes["output"] >= max(design.sram_bytes.values())
    return f"tiles of {taken} bytes: the largest does not fit a bank", sums


def _taken(search: _Search, problem: Problem, style: Style, probe: Design, plan: Plan) -> int:
    """Bytes of memory; far too many where the layout refuses."""
    try:
        return bytes_of(
            _design(search, style, probe, needs_of(Layout(problem, probe, plan.mapping)))
        )
    except Unmappable:
        return 1 << 60


def _best(search: _Search, group: list[_Fit]) -> tuple[_Fit, Design, int, float] | None:
    """The best of equally near fits by the exact cycle model, on arrays of all skews and chains."""
    best: tuple[float, _Fit, Design, int, float] | None = None
    for fit in group:
        judged = _judged(search, fit)
        if judged and (best is None or judged[0] < best[0]):
            best = judged
    if best is None:
        return None
    fit = best[1]
    mapping = fit.plan.mapping
    axes = (tuple(x for x, _ in mapping.axis1), tuple(x for x, _ in mapping.axis2))
    styles = array_styles(fit.problem, axes, list(mapping.order), every=True)
    for style in [] if isinstance(styles, Refused) else styles:
        other = _fit(_Search(search.layer, search.hardware, search.objective), fit.problem,
                     style, fit.plan)  # fmt: skip
        if other is None or other.plan != fit.plan:
            continue
        judged = _judged(search, other)
        if judged and judged[0] < best[0]:
            best = judged
    return best[1:]


def _judged(search: _Search, fit: _Fit) -> tuple[float, _Fit, Design, int, float] | None:
    """Objective, cycles and nJ of a fit; None if its commands do not run."""
    design = _design(search, fit.style, fit.probe, fit.needs)
    exact = evaluate_batch(fit.problem, design, [fit.plan.mapping], counters=True)
    cycles = int(exact.cycles[0])
    program = None if cycles else lower(search.layer, design, fit.plan.mapping)
    if isinstance(program, Infeasible):
        search.refused(program.reason)
    if not cycles:
        return None
    counters = dict(zip(COUNTERS, exact.counters[0].tolist(), strict=True))
    energy = physical.energy(design, search.hardware, counters, cycles).total_nj
    return value(search.objective, cycles, energy), fit, design, cycles, energy


def _finished(
    search: _Search, nest: Nest, best: tuple[_Fit, Design, int, float]
) -> Lowered | NotBridged:
    fit, design, cycles, energy = best
    program = lower(search.layer, design, fit.plan.mapping)
    if isinstance(program, Infeasible):
        return NotBridged(program.reason, kind_of(program.reason))
    return Lowered(
        layer=search.layer,
        nest=nest,
        style=fit.style,
        design=design,
        mapping=fit.plan.mapping,
        needs=fit.needs,
        changes=tuple(sorted(fit.plan.changes, key=list(Reason).index)),
        cut=fit.plan.cut,
        cycles=cycles,
        energy_nj=energy,
    )
