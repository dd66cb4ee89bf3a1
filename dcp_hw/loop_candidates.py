"""Candidates of the loop: the search's best designs, with several programs of every layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from dcp_hw import physical, rtl, search
from dcp_hw.errors import InputError
from dcp_hw.fast import evaluate_batch
from dcp_hw.finetune import group_of
from dcp_hw.funnel import Budget, Field, Funnel
from dcp_hw.hardware import Hardware
from dcp_hw.known import QUICK, Choice, Known
from dcp_hw.lowering import lower
from dcp_hw.mapping import Mapping
from dcp_hw.measure import Job
from dcp_hw.metrics import Infeasible
from dcp_hw.observations import Features, features, layer_code
from dcp_hw.problem import problem_of
from dcp_hw.progress import progress
from dcp_hw.space import space
from dcp_hw.work import Work
from dcp_hw.workload import Layer, LayerSet
from tensorlib.activity import COUNTERS
from tensorlib.design import Design

OBJECTIVES = ("edp", "energy", "latency")
"""Each gives a mapping of a layer on a design."""

MORE = 5
"""Further mappings of a layer on a design, with other lanes, tiles or orders."""

WORSE = 1.5
"""Up to this times the least EDP, by the model, a mapping is worth a thought."""

_WIDE = search.Effort(lanes=12, keep=6, exact=64, near=4, starts=0, every=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to find a design for.

    Attributes:
        profile: data of all layers; memory: of `dcp_hw.switching.MEMORIES`.
        pool: designs that the search hands over; per_round: measured each round.
        budget: designs measured at most.
    """

    layers: LayerSet
    hardware: Hardware
    profile: str = "realistic"
    memory: str = "dram"
    pool: int = 24
    per_round: int = 2
    budget: int = 12
    seed: int = 0
    jobs: int = 1

    def __post_init__(self) -> None:
        if min(self.pool, self.per_round, self.budget) < 1:
            raise InputError("pool, designs a round and budget must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A layer's program on a design, with what the model says.

    Attributes:
        key: names design and program.
    """

    job: Job
    key: str
    features: Features
    group: tuple[int, int, int]
    table_nj: float
    cycles: int
    count: int


Options = dict[str, list[list[Option]]]
"""Design name -> for each layer its options."""


def candidates(task: Task) -> Options:
    """The search's best designs with programs of every layer.

    Raises: InputError if no design fits.
    """
    known = Known(task.hardware, "edp", task.jobs)
    found = space()
    funnel = Funnel(
        Field(found.arrays, task.layers, task.hardware),
        known,
        Budget(quick=task.pool, full=1),
        "loop",
        found.twins,
    )
    funnel.finalists()
    designs = funnel.screened(task.pool)
    if not designs:
        raise InputError(
            "no design runs all layers on this hardware (give more sram_kib or fewer pes)"
        )
    names = [design.name for design in designs]
    outcomes = {}
    for objective in OBJECTIVES:
        searched = known if objective == "edp" else Known(task.hardware, objective, task.jobs)
        outcomes[objective] = searched.outcomes(designs, task.layers, QUICK, f"loop: {objective}")
    made = dict(zip(names, rtl.verilog(designs), strict=True))
    options: Options = {}
    with progress("loop: programs", len(names)) as advance:
        for name in names:
            rows = [
                _options(
                    [outcomes[o][name][layer.name] for o in OBJECTIVES], made[name], layer, task
                )
                for layer in task.layers
            ]
            if all(rows):
                options[name] = rows
            advance(1, name)
    if not options:
        raise InputError("no candidate runs every layer")
    return options


def _options(outcomes: Sequence[object], made: rtl.Rtl, layer: Layer, task: Task) -> list[Option]:
    """Different programs of a layer, that of the EDP first; none if it cannot run."""
    found: dict[str, Option] = {}
    same = replace(layer, count=1)
    mappings = [outcome.mapping for outcome in outcomes if isinstance(outcome, Choice)]
    if not mappings:
        return []
    for mapping in [*mappings, *_others(same, made.design, task.hardware)]:
        program = lower(same, made.design, mapping)
        if isinstance(program, Infeasible):
            continue
        work = Work(program)
        if work.digest in found:
            continue
        job = Job(rtl=made, layer=same, work=work, seed=task.seed, profile=task.profile)
        cycles, counters = work.predicted_cycles, work.prediction.counters
        energy = physical.energy(made.design, task.hardware, counters, cycles).total_nj
        found[work.digest] = Option(
            job=job,
            key=f"{made.digest} {work.digest}",
            features=features(job, task.hardware),
            group=group_of(task.profile, layer_code(same), made.design.hash()),
            table_nj=energy,
            cycles=cycles,
            count=layer.count,
        )
    return list(found.values())


def _others(layer: Layer, design: Design, hardware: Hardware) -> Iterator[Mapping]:
    """Good mappings by the model that differ in lanes, tile order or the innermost tile."""
    scored: list[tuple[float, Mapping]] = []
    for problem in dict.fromkeys((problem_of(layer), problem_of(layer, flat=False))):
        ranked = [m for _, m in search.ranked(problem, design, _WIDE, objective="edp")]
        exact = evaluate_batch(problem, design, ranked[: _WIDE.exact], counters=True)
        counters = dict(zip(COUNTERS, exact.counters.T, strict=True))
        energy = physical.energy_nj(design, hardware, counters, exact.cycles)
        values = (energy * exact.cycles).tolist()
        scored += [(v, m) for v, m in zip(values, ranked, strict=False) if v > 0]
    scored.sort(key=lambda item: item[0])
    seen = set()
    for value, mapping in scored:
        kind = (mapping.axis1, mapping.axis2, mapping.tiles, mapping.kt, mapping.yt)
        if value <= WORSE * scored[0][0] and kind not in seen and len(seen) <= MORE:
            seen.add(kind)
            yield mapping
