"""`SEARCH=dcp`: designs of modes `fixed` and `per-layer` from propagation, checked exactly.

At most 16 designs are checked on any layer; the exact search of mappings (`Known`) is that of
`SEARCH=exact`, so the methods differ in the designs that they look at and in nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dcp_hw.candidates import SPLITS, Candidate
from dcp_hw.funnel import Point, Tally
from dcp_hw.hardware import Hardware
from dcp_hw.known import FAILED, FULL, QUICK, Cost, Known, Outcome, cost_of, network_value
from dcp_hw.per_layer import FAR, MAX_DESIGNS, PerLayer, Table
from dcp_hw.process import note
from dcp_hw.space import buses, shapes_of, space
from dcp_hw.tensorlib_dcp import (
    LAYER,
    MODEL,
    MOST_CHECKS,
    Descent,
    Group,
    Proposal,
    Settings,
    check_machine,
    groups_of,
    load_predictor,
    propose,
)  # fmt: skip
from dcp_hw.tensorlib_dcp_near import likely
from dcp_hw.tensorlib_dcp_network import Network
from dcp_hw.workload import Layer
from predictors.tensorlib import DesignPredictor

FULL_DESIGNS = 2
ROUND = 4
"""Designs of a network that are checked before what they told chooses others."""
POOL = 4096
"""Designs of a network that are proposed."""
OWN_CHECKS, SHARED_CHECKS = 6, 10
"""Per layer: designs proposed for it alone, and designs that all layers are checked on."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a mode runs on.

    Attributes:
        candidates: at most one in mode `fixed`, at most six in mode `per-layer`.
        choices: design name -> layer name -> outcome.
        calls: pairs of layer and design that were searched exactly, once each.
        seconds: of propagation, CPU.
    """

    candidates: list[Candidate]
    choices: dict[str, dict[str, Outcome]]
    search: dict[str, Any]
    calls: int
    seconds: float


def proposals(
    layers: Sequence[Layer],
    level: str,
    known: Known,
    settings: Settings,
    predictor: DesignPredictor,
) -> tuple[list[list[Proposal]], float]:
    """Proposals of every group, and CPU seconds."""
    held, began = torch.get_num_threads(), time.process_time()
    torch.set_num_threads(1)  # tensors are small: more threads would wait for each other
    try:
        groups = groups_of(layers, level)
        found = propose(groups, known.hardware, known.objective, predictor, settings)
    finally:
        torch.set_num_threads(held)
    seconds = time.process_time() - began
    note(f"propagation, {level} level: {len(groups)} group(s) in {seconds:.1f} CPU s")
    return found, seconds


def fixed(
    layers: Sequence[Layer], known: Known, *, gradients: bool = True, weights: Path | None = None
) -> Chosen:
    """One design for a network; at most 16 are searched, and the best two of them in full.

    Args:
        gradients: False: the screened arrays are checked as they are.
        weights: checkpoint, the shipped one by default.
    """
    predictor = _predictor(known.hardware, weights)
    settings = replace(MODEL, pool=POOL)
    settings = settings if gradients else replace(settings, descent=None)
    (found,), seconds = proposals(layers, "model", known, settings, predictor)
    began = time.process_time()
    layers = list(layers)
    search = Network(layers, known.hardware, known.objective, _shapes(found))
    seconds += time.process_time() - began
    pool: dict[str, Candidate] = {}
    while len(pool) < settings.checks:
        began = time.process_time()
        some = search.choose(min(ROUND, settings.checks - len(pool)))
        seconds += time.process_time() - began
        if not some:
            break
        values = _values([c for _, c in some], layers, known, QUICK)
        search.found({key: values[c.design.name] for key, c in some})
        pool |= {c.design.name: c for _, c in some}
    values = _values(list(pool.values()), layers, known, QUICK)
    names = sorted(pool, key=lambda name: values[name])[:FULL_DESIGNS]
    values = _values([pool[name] for name in names], layers, known, FULL)
    best = [pool[name] for name in sorted(names, key=lambda name: values[name])[:1]]
    outcomes = known.outcomes([c.design for c in best], layers, FULL, "fixed: mappings")
    counts = _search("fixed", known.hardware, len(pool), len(pool), FULL_DESIGNS)
    return Chosen(best, outcomes, counts, len(pool) * len(layers), seconds)


def _values(
    some: Sequence[Candidate], layers: list[Layer], known: Known, effort: str
) -> dict[str, float]:
    """The network's value on designs after a search of all layers' mappings."""
    found = known.outcomes([c.design for c in some], layers, effort, f"fixed: {len(some)} designs")
    return {
        name: network_value(known.objective, [(x.count, cost_of(of[x.name])) for x in layers])
        for name, of in found.items()
    }


def _predictor(hardware: Hardware, weights: Path | None) -> DesignPredictor:
    predictor = load_predictor(weights)
    check_machine(weights, hardware)
    return predictor


# --- each layer alone ---------------------------------------------------------------


LAYER_FULL = 2
"""Of a layer's 16 designs: those whose mappings get a full search after the quick one."""


@dataclass(frozen=True, slots=True)
class LayerBest:
    """A layer's best design of those checked; None without one that runs it.

    Attributes:
        predicted: cycles and nJ of the best program that propagation passed on it.
        calls: designs that were checked on the layer.
    """

    layer: Layer
    candidate: Candidate | None
    outcome: Outcome | None
    predicted: tuple[float, float]
    calls: int


def layer_bests(
    layers: Sequence[Layer],
    known: Known,
    *,
    gradients: bool = True,
    weights: Path | None = None,
    settings: Settings = LAYER,
) -> tuple[list[LayerBest], float]:
    """The best of at most 16 designs for every layer, and CPU seconds of propagation.

    Propagation proposes arrays and shapes; the bound of their programs chooses memory splits and
    the 16 designs that are checked.
    """
    predictor = _predictor(known.hardware, weights)
    settings = settings if gradients else replace(settings, descent=None)
    found, seconds = proposals(layers, "layer", known, settings, predictor)
    began = time.process_time()
    pairs = [(x, _likely(x, some, known, settings.checks))
             for x, some in zip(layers, found, strict=True)]  # fmt: skip
    seconds += time.process_time() - began
    costs: Table = {}
    for effort, most in ((QUICK, MOST_CHECKS), (FULL, LAYER_FULL)):
        wanted = [(p.candidate.design, x) for x, some in pairs
                  for p in _ranked(x, some, costs, known)[:most]]  # fmt: skip
        searched = known.pairs(wanted, effort, f"layers: {effort} search")
        costs |= {pair: cost_of(outcome) for pair, outcome in searched.items()}
    return [_best_of(layer, some, known) for layer, some in pairs], seconds


def _shapes(some: Sequence[Proposal]) -> dict[Point, Proposal]:
    """Array shapes of proposals, each with the first of it."""
    shapes: dict[Point, Proposal] = {}
    for one in some:
        design = one.candidate.design
        point = Point(style=one.candidate.style, rows=design.rows, cols=design.cols)
        shapes.setdefault(point, one)
    return shapes


def _likely(
    layer: Layer, some: Sequence[Proposal], known: Known, checks: int
) -> dict[str, Proposal]:
    """At most so many designs of the proposed shapes and those near them, by name."""
    shapes = _shapes(some)
    chosen = likely(layer, list(shapes), known.hardware, known.objective, checks)
    unseen = next(iter(some), None)
    return {
        candidate.design.name: replace(shapes.get(point, unseen), candidate=candidate)
        for point, candidate in chosen
    }


def _value(known: Known, cost: Cost) -> float:
    return network_value(known.objective, [(1, cost)])


def _best_of(layer: Layer, some: dict[str, Proposal], known: Known) -> LayerBest:
    """The best of the designs whose mappings were searched."""
    keys = [(p, (name, layer.name, effort)) for name, p in some.items() for effort in (QUICK, FULL)]
    outcomes = [(p, known.table[key]) for p, key in keys if key in known.table]
    best, outcome = min(
        outcomes, key=lambda pair: _value(known, cost_of(pair[1])), default=(None, None)
    )
    return LayerBest(
        layer=layer,
        candidate=best.candidate if best else None,
        outcome=outcome,
        predicted=(best.cycles[0], best.energy_nj[0]) if best else (FAR, FAR),
        calls=len(some),
    )


def _ranked(layer: Layer, some: dict[str, Proposal], costs: Table, known: Known) -> list[Proposal]:
    """A layer's designs by what was found of them."""
    order = sorted(some, key=lambda name: _value(known, costs.get((name, layer.name), FAILED)))
    return [some[name] for name in order]


# --- per layer ----------------------------------------------------------------------


class _Assigned(PerLayer):
    """The choice of six designs from few, with the rules of mode `per-layer`."""

    def __init__(self, layers: Sequence[Layer], known: Known, pool: dict[str, Candidate]) -> None:
        self.known, self.layers, self.designs = known, list(layers), pool
        self.counts = torch.tensor([layer.count for layer in layers]).numpy()
        self.weights = (1.0, 1.0)

    def weigh(self, costs: Sequence[tuple[float, float]]) -> None:
        """Nothing; layers are weighed by the totals of these costs, one a layer."""
        cycles, energy = (sum(c * x[i] for c, x in zip(self.counts, costs, strict=True))
                          for i in (0, 1))  # fmt: skip
        self.weights = self._weights(float(cycles), float(energy))

    def searched(self, names: Sequence[str], table: Table) -> dict[str, dict[str, Outcome]]:
        """Each layer on the one of some designs that suits it, with the full search."""
        self._search(self._likely(names, table, 3), QUICK, table, "designs")
        found = self._search(self._likely(names, table, 2), FULL, table, "mappings")
        only = {pair: table[pair] for pair in found}
        choices: dict[str, dict[str, Outcome]] = {}
        for layer, name in zip(self.layers, self.assign(names, only)[1], strict=True):
            choices.setdefault(name, {})[layer.name] = found[name, layer.name]
        return choices


def per_layer(
    layers: Sequence[Layer], known: Known, *, gradients: bool = True, weights: Path | None = None
) -> Chosen:
    """At most six designs: proposals of single layers, chosen by what each adds to the network."""
    predictor = _predictor(known.hardware, weights)
    settings, network = (
        each if gradients else replace(each, descent=None)
        for each in (replace(LAYER, checks=OWN_CHECKS, pool=None), replace(MODEL, checks=4))
    )
    found, seconds = proposals(layers, "layer", known, settings, predictor)
    (shared,), more = proposals(layers, "model", known, network, predictor)
    tasks = [
        (proposal.candidate.design, [layer])
        for layer, some in zip(layers, found, strict=True)
        for proposal in some
    ]
    known.screen(tasks, "per-layer: proposals")
    pool = {p.candidate.design.name: p.candidate for p in shared}
    for layer, some in zip(layers, found, strict=True):
        best = min(some, key=lambda p: _worth(known, p.candidate, layer), default=None)
        if best is not None:
            pool[best.candidate.design.name] = best.candidate
    assigned = _Assigned(layers, known, pool)
    began = time.process_time()
    guess = predicted_table(pool, layers, known, predictor, settings)
    assigned.weigh([min((guess[n, x.name] for n in pool), key=lambda c: c[0] * c[1])
                    for x in layers])  # fmt: skip
    names = assigned.greedy([*pool], guess, SHARED_CHECKS, worth=1.0)
    seconds += more + time.process_time() - began
    known.screen([(pool[n].design, list(layers)) for n in names], "per-layer: pool")
    table = {pair: cost for pair, cost in known.screened.items() if pair[0] in names}
    chosen = assigned.greedy(names, table, MAX_DESIGNS)
    choices = assigned.searched(chosen, table)
    pairs = {(design.name, layer.name) for design, some in tasks for layer in some}
    pairs |= {(name, layer.name) for name in names for layer in layers}
    designs = {name for name, _ in pairs}
    search = _search("per-layer", known.hardware, len(designs), len(chosen), len(choices))
    candidates = [pool[name] for name in chosen if name in choices]
    return Chosen(candidates, choices, search, len(pairs), seconds)


def _worth(known: Known, candidate: Candidate, layer: Layer) -> float:
    cost = known.screened[candidate.design.name, layer.name]
    return network_value(known.objective, [(1, cost)])


def predicted_table(
    pool: dict[str, Candidate],
    layers: Sequence[Layer],
    known: Known,
    predictor: DesignPredictor,
    settings: Settings,
) -> Table:
    """Predicted cycles and nJ of every layer on every design: programs move, arrays do not."""
    held = torch.get_num_threads()
    torch.set_num_threads(1)
    descent = None if settings.descent is None else Descent(rounds=((4, 30),), last=(0, 0))
    few = replace(settings, screened=16, checks=1, descent=descent)
    table: Table = {}
    try:
        for name, candidate in pool.items():
            groups = [Group((layer,), (1,)) for layer in layers]
            found = propose(groups, known.hardware, known.objective, predictor, few,
                            only=candidate)  # fmt: skip
            for layer, some in zip(layers, found, strict=True):
                good = bool(some) and some[0].fits
                cost = (some[0].cycles[0], some[0].energy_nj[0]) if good else (FAR, FAR)
                table[name, layer.name] = cost
    finally:
        torch.set_num_threads(held)
    return table


# --- what was considered ------------------------------------------------------------


def _search(mode: str, hardware: Hardware, checked: int, quick: int, full: int) -> dict[str, Any]:
    """Counts as in report.json; what is neither ruled out nor checked was not examined."""
    found = space()
    widths = len(buses(hardware))
    points, skewed = (
        sum(len(list(shapes_of(style, hardware.pes))) for style in styles)
        for styles in (found.arrays, found.twins)
    )
    designs = (points + skewed) * len(SPLITS)
    tally = Tally(
        styles=len(found.arrays) + len(found.twins),
        shapes=len({x for style in found.arrays for x in shapes_of(style, hardware.pes)}),
        splits=len(SPLITS),
        bus_widths=widths,
        candidates=designs * widths,
        narrower_bus=designs * (widths - 1),
        more_skew=skewed * len(SPLITS),
        screened=checked,
        not_examined=points * len(SPLITS) - checked,
        quick=min(quick, checked),
        full=min(full, checked),
    )
    return {"mode": mode, "method": "dcp", **tally.to_dict()}


def most_checks() -> int:
    """Designs that any layer is checked on, at most."""
    assert OWN_CHECKS + SHARED_CHECKS <= MOST_CHECKS
    return MOST_CHECKS
