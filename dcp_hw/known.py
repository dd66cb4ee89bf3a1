"""What designs make of layers, by the exact cycle model: searched once and kept in a cache."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from dcp_hw import physical, search
from dcp_hw.fast import evaluate_batch
from dcp_hw.hardware import Hardware
from dcp_hw.lane_options import lane_options
from dcp_hw.lowering import lower
from dcp_hw.mapping import Mapping as LayerMapping
from dcp_hw.metrics import Infeasible
from dcp_hw.problem import Problem, problem_of
from dcp_hw.process import cache_dir
from dcp_hw.progress import progress
from dcp_hw.work import Work
from dcp_hw.workload import Layer, LayerSet
from tensorlib.activity import COUNTERS
from tensorlib.design import Design
from tensorlib.timing import Prediction

QUICK, FULL = "quick", "normal"
"""Effort for choosing among a few designs, and for the mappings that are measured."""

SCREEN = search.Effort(lanes=4, keep=4, exact=16, near=4, starts=0, every=2)
"""For many designs: the mappings of each layer that the estimate likes best, evaluated exactly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The best mapping found for a layer on a design, and what the cycle model says of it."""

    layer: Layer
    design: Design
    mapping: LayerMapping
    cycles: int
    energy_nj: float

    def work(self) -> Work:
        """The layer program with its prediction."""
        program = lower(self.layer, self.design, self.mapping)
        assert not isinstance(program, Infeasible)
        return Work(program)


Outcome = Choice | Infeasible

Cost = tuple[float, float]
"""Cycles and nJ of one occurrence of a layer; infinite where it cannot run."""

FAILED: Cost = (float("inf"), float("inf"))


def cost_of(outcome: Outcome) -> Cost:
    """Cycles and nJ of an outcome."""
    if isinstance(outcome, Infeasible):
        return FAILED
    return outcome.cycles, outcome.energy_nj


def value(objective: str, cycles: float, energy_nj: float) -> float:
    """What is minimised: cycles, nJ, or their product."""
    return {"latency": cycles, "energy": energy_nj, "edp": cycles * energy_nj}[objective]


def network_value(objective: str, costs: Iterable[tuple[int, Cost]]) -> float:
    """Objective of a network from (count, cost) of its layers; infinite if one cannot run."""
    cycles = energy = 0.0
    for count, cost in costs:
        cycles += count * cost[0]
        energy += count * cost[1]
    return value(objective, cycles, energy)


# --- evaluation, cached -------------------------------------------------------------


def evaluate(
    layer: Layer, design: Design, hardware: Hardware, objective: str, effort: str
) -> Outcome:
    """Best mapping of a layer on a design; from the cache if it was searched before."""
    record = _cached(
        _key([layer], design, hardware, objective, effort),
        lambda: _search(layer, design, hardware, objective, effort),
    )
    if "reason" in record:
        return Infeasible(record["reason"])
    return Choice(
        layer=layer,
        design=design,
        mapping=_mapping(record["mapping"]),
        cycles=record["cycles"],
        energy_nj=record["energy_nj"],
    )


def screen(
    layers: Sequence[Layer], design: Design, hardware: Hardware, objective: str
) -> list[Cost]:
    """Costs of a good mapping of each layer, in a few ms a layer; from the cache if there."""

    def costs() -> list[Cost]:
        return [_screened(layer, design, hardware, objective) for layer in layers]

    key = _key(layers, design, hardware, objective, str(SCREEN))
    return [(cost[0], cost[1]) for cost in _cached(key, costs)]


def _cached(key: str, make: Callable[[], Any]) -> Any:
    path = cache_dir() / "search" / f"{key}.json"
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        record = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}.tmp")
    aside.write_text(json.dumps(record))
    aside.replace(path)
    return record


def _search(
    layer: Layer, design: Design, hardware: Hardware, objective: str, effort: str
) -> dict[str, Any]:
    def score(prediction: Prediction) -> float:
        return value(objective, *_cost(prediction, design, hardware))

    found = search.best_mapping(layer, design, score=score, objective=objective, effort=effort)
    if isinstance(found, Infeasible):
        return {"reason": found.reason}
    mapping, _, prediction = found
    cycles, energy_nj = _cost(prediction, design, hardware)
    return {"mapping": asdict(mapping), "cycles": cycles, "energy_nj": energy_nj}


def _cost(prediction: Prediction, design: Design, hardware: Hardware) -> Cost:
    cycles = prediction.latency_cycles
    return cycles, physical.energy(design, hardware, prediction.counters, cycles).total_nj


def _screened(layer: Layer, design: Design, hardware: Hardware, objective: str) -> Cost:
    problem = _shaped(layer, design)
    ranked = search.ranked(problem, design, SCREEN, objective=objective)
    while ranked:
        some, ranked = ranked[: SCREEN.exact], ranked[SCREEN.exact :]
        exact = evaluate_batch(problem, design, [m for _, m in some], counters=True, long=False)
        counters = dict(zip(COUNTERS, exact.counters.T, strict=True))
        energy = physical.energy_nj(design, hardware, counters, exact.cycles)
        costs = [
            (cycles, nj)
            for cycles, nj in zip(exact.cycles.tolist(), energy.tolist(), strict=True)
            if cycles
        ]
        if costs:
            return min(costs, key=lambda cost: value(objective, *cost))
    return FAILED


def _shaped(layer: Layer, design: Design) -> Problem:
    """The nest with fewer steps: pixels in one row, or rows and columns."""
    nests = dict.fromkeys((problem_of(layer), problem_of(layer, flat=False)))
    if len(nests) == 1:
        return next(iter(nests))
    far = 1 << 62

    def steps(problem: Problem) -> int:
        options = lane_options(problem, design)
        return options[0][0] if options else far

    return min(nests, key=steps)


def _mapping(record: Mapping[str, Any]) -> LayerMapping:
    digits = {
        name: tuple((loop, count) for loop, count in record[name]) for name in ("axis1", "axis2")
    }
    return LayerMapping(**{**record, **digits})


@cache
def _sources() -> str:
    """Hash of the code that decides a search's result."""
    here = Path(__file__).parent
    files = sorted([*here.glob("*.py"), *(here.parent / "tensorlib").glob("*.py")])
    left_out = ("report", "cli", "commands", "flow", "measure", "rtl", "rows", "toolchain")
    left_out += ("store", "switching", "observations", "finetune", "loop")
    left_out += ("optimise", "train", "tensorlib_dcp")
    chosen = ("explore", "funnel", "per_layer", "space", "bounds", "candidates")  # what to ask for
    digest = hashlib.sha256()
    for file in files:
        if not file.name.startswith((*left_out, *chosen)):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _key(layers: Sequence[Layer], design: Design, *rest: Any) -> str:
    nests = [replace(layer, name="layer", count=1) for layer in layers]
    same = replace(design, name="d", stt={}).hash()
    single = design.stt.get("one_loop_per_axis")
    text = "\n".join(map(str, [_sources(), *nests, same, *rest, single]))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


# --- many at once -------------------------------------------------------------------


@dataclass(slots=True)
class Known:
    """What has been evaluated so far, and with what."""

    hardware: Hardware
    objective: str
    jobs: int
    table: dict[tuple[str, str, str], Outcome] = field(default_factory=dict)
    screened: dict[tuple[str, str], Cost] = field(default_factory=dict)

    def outcomes(
        self, designs: Sequence[Design], layers: Iterable[Layer], effort: str, what: str
    ) -> dict[str, dict[str, Outcome]]:
        """Design name -> layer name -> outcome."""
        layers = list(layers)
        found = self.pairs([(d, layer) for d in designs for layer in layers], effort, what)
        return {
            d.name: {layer.name: found[d.name, layer.name] for layer in layers} for d in designs
        }

    def pairs(
        self, wanted: Sequence[tuple[Design, Layer]], effort: str, what: str
    ) -> dict[tuple[str, str], Outcome]:
        """(Design name, layer name) -> outcome, evaluated in parallel where not known."""
        new = [(d, layer) for d, layer in wanted if (d.name, layer.name, effort) not in self.table]
        calls = [(layer, design, self.hardware, self.objective, effort) for design, layer in new]
        for number, outcome in self._parallel(evaluate, calls, what):
            design, layer = new[number]
            self.table[design.name, layer.name, effort] = outcome
        return {(d.name, layer.name): self.table[d.name, layer.name, effort] for d, layer in wanted}

    def screen(self, wanted: Sequence[tuple[Design, Sequence[Layer]]], what: str) -> None:
        """Nothing; adds costs of layers on designs to `screened` where they are not known."""
        new: list[tuple[Design, list[Layer]]] = []
        for design, layers in wanted:
            missing = [x for x in layers if (design.name, x.name) not in self.screened]
            if missing:
                new.append((design, missing))
        calls = [(layers, design, self.hardware, self.objective) for design, layers in new]
        for number, costs in self._parallel(screen, calls, what):
            design, layers = new[number]
            for layer, cost in zip(layers, costs, strict=True):
                self.screened[design.name, layer.name] = cost

    def _parallel(
        self, work: Callable[..., Any], calls: Sequence[tuple[Any, ...]], what: str
    ) -> Iterable[tuple[int, Any]]:
        """(Number of the call, answer), in the order in which they end."""
        if not calls:
            return
        pool = ProcessPoolExecutor(max(1, self.jobs), initializer=_leave_signals_to_parent)
        with progress(what, len(calls)) as advance, pool:
            futures = {pool.submit(work, *call): number for number, call in enumerate(calls)}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
                    advance(1)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def screened_value(self, design: Design, layers: LayerSet | Sequence[Layer]) -> float:
        """Objective of a network whose layers have all been screened on a design."""
        costs = [(layer.count, self.screened[design.name, layer.name]) for layer in layers]
        return network_value(self.objective, costs)


def _leave_signals_to_parent() -> None:
    """Nothing; Ctrl-C, which a terminal sends to workers too, does not break their queues."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
