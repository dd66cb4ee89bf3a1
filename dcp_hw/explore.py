"""Which designs: candidates' layers evaluated by the exact cycle model, the best ones chosen."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from dcp_hw import physical
from dcp_hw.candidates import EXAMPLES, STYLES, Candidate, Style, candidates
from dcp_hw.errors import DcpError
from dcp_hw.hardware import Hardware
from dcp_hw.lowering import lower
from dcp_hw.mapping import Mapping as LayerMapping
from dcp_hw.metrics import Infeasible
from dcp_hw.process import cache_dir
from dcp_hw.progress import progress
from dcp_hw.search import best_mapping
from dcp_hw.work import Work
from dcp_hw.workload import Layer, LayerSet
from tensorlib.design import Design
from tensorlib.timing import Prediction

MAX_PER_LAYER_DESIGNS = 6
QUICK, FULL = "quick", "normal"
"""Effort for choosing among many designs, and for the mappings that are measured."""

FINALISTS = 2
"""Candidates of a style that get the full search of mappings."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Designs of a mode and the choice for each layer that they run.

    Attributes:
        choices: design name -> layer name -> outcome; a layer stands under one design only in
            mode `per-layer`, under every design otherwise.
    """

    designs: dict[str, Design]
    titles: dict[str, str]
    choices: dict[str, dict[str, Outcome]]


class NoDesign(DcpError):
    """No candidate runs all layers."""


# --- evaluation, cached -------------------------------------------------------------


def evaluate(
    layer: Layer, design: Design, hardware: Hardware, objective: str, effort: str
) -> Outcome:
    """Best mapping of a layer on a design; from the cache if it was searched before."""
    path = cache_dir() / "search" / f"{_key(layer, design, hardware, objective, effort)}.json"
    try:
        record = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        record = _search(layer, design, hardware, objective, effort)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(f".{os.getpid()}.tmp")
        aside.write_text(json.dumps(record))
        aside.replace(path)
    if "reason" in record:
        return Infeasible(record["reason"])
    return Choice(
        layer=layer,
        design=design,
        mapping=_mapping(record["mapping"]),
        cycles=record["cycles"],
        energy_nj=record["energy_nj"],
    )


def _search(
    layer: Layer, design: Design, hardware: Hardware, objective: str, effort: str
) -> dict[str, Any]:
    def score(prediction: Prediction) -> float:
        cycles = prediction.latency_cycles
        if objective == "latency":
            return cycles
        nj = physical.energy(design, hardware, prediction.counters, cycles).total_nj
        return nj if objective == "energy" else nj * cycles

    found = best_mapping(layer, design, score=score, objective=objective, effort=effort)
    if isinstance(found, Infeasible):
        return {"reason": found.reason}
    mapping, _, prediction = found
    energy = physical.energy(design, hardware, prediction.counters, prediction.latency_cycles)
    return {
        "mapping": asdict(mapping),
        "cycles": prediction.latency_cycles,
        "energy_nj": energy.total_nj,
    }


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
    digest = hashlib.sha256()
    for file in files:
        if not file.name.startswith(left_out):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _key(*parts: Any) -> str:
    layer, design, *rest = parts
    same = (replace(layer, name="layer", count=1), replace(design, name="d", stt={}).hash())
    text = "\n".join(map(str, [_sources(), *same, *rest, design.stt.get("one_loop_per_axis")]))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


# --- choosing -----------------------------------------------------------------------


@dataclass(slots=True)
class Known:
    """What has been evaluated so far, and with what."""

    hardware: Hardware
    objective: str
    jobs: int
    table: dict[tuple[str, str, str], Outcome] = field(default_factory=dict)

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
        pool = ProcessPoolExecutor(max(1, self.jobs), initializer=_leave_signals_to_parent)
        with progress(what, len(new)) as advance, pool:
            futures = {
                pool.submit(evaluate, layer, design, self.hardware, self.objective, effort): (
                    design.name,
                    layer.name,
                    effort,
                )
                for design, layer in new
            }
            try:
                for future in as_completed(futures):
                    self.table[futures[future]] = future.result()
                    advance(1)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return {(d.name, layer.name): self.table[d.name, layer.name, effort] for d, layer in wanted}

    def cost(self, choices: Iterable[tuple[int, Outcome]]) -> float:
        """Objective of a network from (count, outcome) of its layers; infinite if one fails."""
        cycles = energy = 0.0
        for count, outcome in choices:
            if isinstance(outcome, Infeasible):
                return float("inf")
            cycles += count * outcome.cycles
            energy += count * outcome.energy_nj
        return {"latency": cycles, "energy": energy, "edp": cycles * energy}[self.objective]


def _leave_signals_to_parent() -> None:
    """Nothing; Ctrl-C, which a terminal sends to workers too, does not break their queues."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def plan(mode: str, layers: LayerSet, known: Known) -> Plan:
    """Designs and choices of a mode.

    Raises: NoDesign if `fixed` finds no design that runs every layer.
    """
    if mode == "fixed":
        best = _finalists(STYLES, layers, known)[0]
        return _plan([best], known.outcomes([best.design], layers, FULL, "fixed: mappings"))
    if mode == "example":
        bests = [_finalists((style,), layers, known)[0] for style in EXAMPLES]
        designs = [c.design for c in bests]
        return _plan(bests, known.outcomes(designs, layers, FULL, "examples: mappings"))
    return _per_layer(layers, known)


def _plan(chosen: Sequence[Candidate], choices: dict[str, dict[str, Outcome]]) -> Plan:
    return Plan(
        designs={c.design.name: c.design for c in chosen},
        titles={c.design.name: c.style.title for c in chosen},
        choices=choices,
    )


def _network(layers: LayerSet, outcomes: Mapping[str, Outcome]) -> list[tuple[int, Outcome]]:
    return [(layer.count, outcomes[layer.name]) for layer in layers]


def _finalists(styles: tuple[Style, ...], layers: LayerSet, known: Known) -> list[Candidate]:
    """The best candidates of some styles, best first, by a quick and then a full search."""
    pool = list(candidates(styles, known.hardware))
    names = ", ".join(style.key for style in styles)
    quick = known.outcomes([c.design for c in pool], layers, QUICK, f"{names}: {len(pool)} designs")
    costs = {c.design.name: known.cost(_network(layers, quick[c.design.name])) for c in pool}
    pool.sort(key=lambda c: (costs[c.design.name], _failing(quick[c.design.name])))
    pool = pool[:FINALISTS]
    full = known.outcomes([c.design for c in pool], layers, FULL, f"{names}: finalists")
    pool.sort(key=lambda c: known.cost(_network(layers, full[c.design.name])))
    return pool


def _failing(outcomes: Mapping[str, Outcome]) -> int:
    return sum(isinstance(o, Infeasible) for o in outcomes.values())


def _per_layer(layers: LayerSet, known: Known) -> Plan:
    """At most six designs, added one by one while the network gets better."""
    pool = list(candidates(STYLES, known.hardware))
    quick = known.outcomes([c.design for c in pool], layers, QUICK, "per-layer: designs")

    def assign(
        names: Sequence[str], table: Mapping[str, Mapping[str, Outcome]]
    ) -> dict[str, tuple[str, Outcome]]:
        """Layer -> (design, outcome): the best of some designs for each layer."""
        return {
            layer.name: min(
                ((name, table[name][layer.name]) for name in names),
                key=lambda item: known.cost([(1, item[1])]),
            )
            for layer in layers
        }

    def network(names: Sequence[str], table: Mapping[str, Mapping[str, Outcome]]) -> float:
        best = assign(names, table)
        return known.cost([(layer.count, best[layer.name][1]) for layer in layers])

    chosen: list[str] = []
    while len(chosen) < MAX_PER_LAYER_DESIGNS:
        left = [c.design.name for c in pool if c.design.name not in chosen]
        if not left:
            break
        costs = {name: network([*chosen, name], quick) for name in left}
        best = min(left, key=lambda name: (costs[name], _failing(quick[name])))
        if chosen and costs[best] >= 0.9995 * network(chosen, quick):
            break
        chosen.append(best)
    designs = {c.design.name: c for c in pool if c.design.name in chosen}
    first = assign(chosen, quick)
    wanted = {name: [x for x in layers if first[x.name][0] == name] for name in chosen}
    full = known.pairs(
        [(designs[name].design, layer) for name in chosen for layer in wanted[name]],
        FULL,
        "per-layer: mappings",
    )
    final = {
        layer.name: (name, full[name, layer.name]) for name in chosen for layer in wanted[name]
    }
    choices: dict[str, dict[str, Outcome]] = {name: {} for name in chosen}
    for layer_name, (name, outcome) in final.items():
        choices[name][layer_name] = outcome
    used = [designs[name] for name in chosen if choices[name]]
    return _plan(used, {name: c for name, c in choices.items() if c})
