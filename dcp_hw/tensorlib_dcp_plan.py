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

import numpy as np
import torch

from dcp_hw.bounds_programs import PointBound
from dcp_hw.candidates import SPLITS, Candidate, Point
from dcp_hw.funnel_field import Tally
from dcp_hw.funnel_near import Kind, kind, likely, probe
from dcp_hw.funnel_network import SLACK, Network
from dcp_hw.hardware import Hardware
from dcp_hw.known import FAILED, FULL, QUICK, Cost, Known, Outcome, cost_of, network_value
from dcp_hw.per_layer import FAR, MAX_DESIGNS, PerLayer, Table
from dcp_hw.process import note
from dcp_hw.space import buses, shapes_of, space
from dcp_hw.tensorlib_dcp import (
    Proposal,
    check_machine,
    groups_of,
    load_predictor,
    propose,
)  # fmt: skip
from dcp_hw.tensorlib_dcp_settings import LAYER, MODEL, MOST_CHECKS, Settings
from dcp_hw.workload import Layer
from predictors.tensorlib import DesignPredictor

FULL_DESIGNS = 2
ROUND = 4
"""Designs of a network that are checked before what they told chooses others."""
POOL = 4096
"""Designs of a network that are proposed."""
OWN_DESIGNS = 6
"""In mode per-layer: likely designs of each layer, of which those are chosen that are checked."""


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


LAYER_FULL = 6
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
        for (point, _), candidate in chosen
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
    """At most six designs of 16 on which all layers are checked.

    Bounds choose the 16 from those that are likely for single layers and for the network: half of
    them first, the others with what the checks of the first have told of their kinds.
    """
    predictor = _predictor(known.hardware, weights)
    settings, network = (
        each if gradients else replace(each, descent=None)
        for each in (LAYER, replace(MODEL, pool=POOL))
    )
    found, seconds = proposals(layers, "layer", known, settings, predictor)
    (shared,), more = proposals(layers, "model", known, network, predictor)
    began = time.process_time()
    pool = _pool(layers, found, shared, known)
    bounds = bounds_table(pool, layers, known)
    seconds += more + time.process_time() - began
    designs = {name: candidate for name, (_, candidate) in pool.items()}
    assigned = _Assigned(layers, known, designs)
    names: list[str] = []
    table: Table = {}
    for most in (settings.checks // 2, settings.checks):
        guess = _guess(pool, layers, bounds, table)
        assigned.weigh([min((guess[n, x.name] for n in pool), key=lambda c: c[0] * c[1])
                        for x in layers])  # fmt: skip
        some = assigned.greedy([*pool], guess, settings.checks, worth=1.0)
        names += [name for name in some if name not in names][: most - len(names)]
        outcomes = known.pairs([(designs[n].design, x) for n in names for x in layers], QUICK,
                               f"per-layer: {len(names)} designs")  # fmt: skip
        table |= {pair: cost_of(outcome) for pair, outcome in outcomes.items()}
    chosen = assigned.greedy(names, table, MAX_DESIGNS)
    choices = assigned.searched(chosen, table)
    search = _search("per-layer", known.hardware, len(names), len(names), len(choices))
    candidates = [designs[name] for name in chosen if name in choices]
    return Chosen(candidates, choices, search, len(names) * len(layers), seconds)


Pool = dict[str, tuple[tuple[Point, int], Candidate]]
"""Designs by name, each with its shape and the number of its memory split."""


def _pool(
    layers: Sequence[Layer],
    found: Sequence[Sequence[Proposal]],
    shared: Sequence[Proposal],
    known: Known,
) -> Pool:
    """Designs that are likely for single layers, and of every kind for the network."""
    pool: Pool = {}
    for layer, some in zip(layers, found, strict=True):
        chosen = likely(layer, list(_shapes(some)), known.hardware, known.objective, OWN_DESIGNS)
        pool |= {candidate.design.name: (key, candidate) for key, candidate in chosen}
    network = Network(layers, known.hardware, known.objective, _shapes(shared))
    for key, candidate in network.choose(MOST_CHECKS):
        pool[candidate.design.name] = key, candidate
    return pool


def bounds_table(pool: Pool, layers: Sequence[Layer], known: Known) -> Table:
    """What no program of a layer on a design is below, nearly: `Network` says why."""
    table: Table = {}
    splits: dict[Point, list[tuple[str, int]]] = {}
    for name, ((point, split), _) in pool.items():
        splits.setdefault(point, []).append((name, split))
    for point, names in splits.items():
        for layer in layers:
            bound = PointBound(layer, probe(point), known.hardware, {known.objective: np.inf},
                               slack=SLACK)  # fmt: skip
            for name, split in names:
                table[name, layer.name] = bound.least(split, known.objective)[1:]
    return table


def _guess(pool: Pool, layers: Sequence[Layer], bounds: Table, checked: Table) -> Table:
    """Costs as checked; of other designs the bounds, as far from them as the kind's nearest."""
    nearest: dict[tuple[Kind, str], tuple[float, float]] = {}
    for (name, layer), cost in checked.items():
        key = kind(pool[name][1].style), layer
        low, held = bounds[name, layer], nearest.get(key, (np.inf, np.inf))
        ratio = (cost[0] / low[0], cost[1] / low[1])
        nearest[key] = min(held, ratio, key=lambda x: x[0] * x[1])
    guess: Table = dict(checked)
    for name, (_, candidate) in pool.items():
        for layer in layers:
            if (name, layer.name) not in checked:
                far = nearest.get((kind(candidate.style), layer.name), (1.0, 1.0))
                cycles, energy = bounds[name, layer.name]
                guess[name, layer.name] = (min(FAR, cycles * min(far[0], FAR)),
                                           min(FAR, energy * min(far[1], FAR)))  # fmt: skip
    return guess


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
    return {"mode": mode, **tally.to_dict()}
