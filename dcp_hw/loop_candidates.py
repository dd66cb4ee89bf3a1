"""Candidates of the loop: designs of the search, each with several programs of every layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from dcp_hw import physical, search
from dcp_hw.candidates import SPLITS, Split
from dcp_hw.errors import InputError
from dcp_hw.fast import evaluate_batch
from dcp_hw.finetune import group_of
from dcp_hw.funnel import Budget, Funnel
from dcp_hw.funnel_field import Field
from dcp_hw.hardware import Hardware
from dcp_hw.known import QUICK, Choice, Known
from dcp_hw.loop_twins import hardware_key, program_key
from dcp_hw.lowering import lower
from dcp_hw.mapping import Mapping
from dcp_hw.metrics import Infeasible
from dcp_hw.observations import Features, features, layer_code
from dcp_hw.problem import Problem, problem_of
from dcp_hw.progress import progress
from dcp_hw.space import space
from dcp_hw.work import Work
from dcp_hw.workload import Layer, LayerSet
from tensorlib.activity import COUNTERS
from tensorlib.design import Design

OBJECTIVES = ("edp", "energy", "latency")
"""Each gives a mapping of a layer on a design."""

MORE = 6
"""Further mappings of a layer on a design, with other lanes, tiles or orders."""

WORSE = 1.5
"""Up to this times the least EDP, by the model, a mapping is worth a thought."""

WIDE = search.Effort(lanes=12, keep=6, exact=64, near=4, starts=0, every=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to find a design for.

    Attributes:
        profile: data of all layers; memory: of `dcp_hw.switching.MEMORIES`.
        pool: designs that the first search hands over; per_round: measured each round.
        search: designs that every further search looks at; 0: only new programs.
        budget: designs measured at most.
        least_gain: share of the best EDP that a trial must be expected to save.
    """

    layers: LayerSet
    hardware: Hardware
    profile: str = "realistic"
    memory: str = "dram"
    pool: int = 24
    per_round: int = 2
    search: int = 32
    budget: int = 12
    least_gain: float = 0.005
    seed: int = 0
    jobs: int = 1

    def __post_init__(self) -> None:
        if min(self.pool, self.per_round, self.budget) < 1:
            raise InputError("pool, designs a round and budget must be at least 1")
        if self.search < 0:
            raise InputError("designs of a further search must be at least 0")
        if not 0 <= self.least_gain < 1:
            raise InputError(
                f"least gain {self.least_gain}; accepted: a share of the best EDP, 0 to below 1"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A layer's program on a design, with what the model says.

    Attributes:
        layer: one occurrence of it; count: how often it occurs.
        key: names hardware and commands; equal for options that differ in name only.
    """

    layer: Layer
    design: Design
    mapping: Mapping
    key: str
    features: Features
    group: tuple[int, int, int]
    table_nj: float
    cycles: int
    count: int

    def work(self) -> Work:
        """The program."""
        program = lower(self.layer, self.design, self.mapping)
        assert not isinstance(program, Infeasible)
        return Work(program)


Rows = list[list[Option]]
"""For each layer the options on one design."""

Place = tuple[int, Split]
"""Number of a point in the field, and memory split."""


@dataclass(slots=True, kw_only=True)
class Pool:
    """Designs that were looked at, with programs of every layer.

    Attributes:
        field: all arrays and shapes with their bounds.
        rows: name -> options; origin: name -> number of the search that found it, 0 the first.
        places: name -> where it is in the field; seen: places that need no further look.
        hardware: `hardware_key` -> name of the design that stands for all that have it.
        mappings, programs: evaluated exactly so far, by counts alone and by their commands.
    """

    task: Task
    field: Field
    rows: dict[str, Rows] = field(default_factory=dict)
    origin: dict[str, int] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    seen: set[Place] = field(default_factory=set)
    hardware: dict[str, str] = field(default_factory=dict)
    mappings: int = 0
    programs: int = 0

    def design(self, place: Place) -> Design | None:
        """The design at a place, marked as seen; None if it is known, or a bank would be empty."""
        self.seen.add(place)
        made = self.field.points[place[0]].candidate(place[1], self.task.hardware)
        if made is None:
            return None
        name = made.design.name
        first = self.hardware.setdefault(hardware_key(made.design), name)
        self.places.setdefault(name, place)
        return made.design if first == name and name not in self.rows else None

    def add(self, design: Design, rows: Rows, origin: int) -> bool:
        """Whether all layers have options; then the design is a candidate."""
        if not all(rows):
            return False
        self.rows[design.name] = rows
        self.origin[design.name] = origin
        return True

    def options(
        self, layer: Layer, design: Design, mappings: Iterable[Mapping], have: Sequence[Option] = ()
    ) -> list[Option]:
        """Options of mappings that run, those apart whose commands are the same."""
        found: dict[str, Option] = {}
        same = replace(layer, count=1)
        known = {option.key for option in have}
        hardware = self.task.hardware
        key = hardware_key(design)
        for mapping in mappings:
            program = lower(same, design, mapping)
            if isinstance(program, Infeasible):
                continue
            self.programs += 1
            name = f"{key} {program_key(program)}"
            if name in found or name in known:
                continue
            work = Work(program)
            cycles, counters = work.predicted_cycles, work.prediction.counters
            found[name] = Option(
                layer=same,
                design=design,
                mapping=mapping,
                key=name,
                features=features(same, design, work, hardware),
                group=group_of(self.task.profile, layer_code(same), design.hash()),
                table_nj=physical.energy(design, hardware, counters, cycles).total_nj,
                cycles=cycles,
                count=layer.count,
            )
        return list(found.values())

    def others(
        self, layer: Layer, design: Design, effort: search.Effort, most: int
    ) -> list[Mapping]:
        """Good mappings by the model that differ in lanes, tile order or the innermost tile."""
        scored: list[tuple[float, Mapping]] = []
        for problem in dict.fromkeys((problem_of(layer), problem_of(layer, flat=False))):
            ranked = [m for _, m in search.ranked(problem, design, effort, objective="edp")]
            scored += self.values(problem, design, ranked[: effort.exact])
        scored.sort(key=lambda item: item[0])
        chosen: dict[object, Mapping] = {}
        for value, mapping in scored:
            kind = (mapping.axis1, mapping.axis2, mapping.tiles, mapping.kt, mapping.yt)
            if value <= WORSE * scored[0][0] and len(chosen) < most:
                chosen.setdefault(kind, mapping)
        return list(chosen.values())

    def values(
        self, problem: Problem, design: Design, mappings: Sequence[Mapping]
    ) -> list[tuple[float, Mapping]]:
        """EDP by the model of the mappings that run."""
        exact = evaluate_batch(problem, design, mappings, counters=True, long=False)
        self.mappings += len(mappings)
        counters = dict(zip(COUNTERS, exact.counters.T, strict=True))
        energy = physical.energy_nj(design, self.task.hardware, counters, exact.cycles)
        edp = (energy * exact.cycles).tolist()
        return [(v, m) for v, m in zip(edp, mappings, strict=True) if v > 0]


def first_pool(task: Task) -> Pool:
    """The search's best designs with programs of every layer; equal hardware once.

    Raises: InputError if no design fits.
    """
    known = Known(task.hardware, "edp", task.jobs)
    found = space()
    pool = Pool(task=task, field=Field(found.arrays, task.layers, task.hardware))
    funnel = Funnel(pool.field, known, Budget(full=0), "loop", found.twins)
    funnel.finalists()
    designs = _different(pool, funnel)
    if not designs:
        raise InputError(
            "no design runs all layers on this hardware (give more sram_kib or fewer pes)"
        )
    outcomes = {}
    for objective in OBJECTIVES:
        searched = known if objective == "edp" else Known(task.hardware, objective, task.jobs)
        outcomes[objective] = searched.outcomes(designs, task.layers, QUICK, f"loop: {objective}")
    with progress("loop: programs", len(designs)) as advance:
        for design in designs:
            rows: Rows = []
            for layer in task.layers:
                best = [outcomes[o][design.name][layer.name] for o in OBJECTIVES]
                mappings = [choice.mapping for choice in best if isinstance(choice, Choice)]
                if mappings:
                    mappings += pool.others(layer, design, WIDE, MORE)
                rows.append(pool.options(layer, design, mappings))
            pool.add(design, rows, 0)
            advance(1, design.name)
    if not pool.rows:
        raise InputError("no candidate runs every layer")
    return pool


def _different(pool: Pool, funnel: Funnel) -> list[Design]:
    """The best designs by screening, one split of each point, one of those that are twins."""
    numbers = {candidate.design.name: number for number, candidate in funnel.pool.values()}
    found: list[Design] = []
    for screened in funnel.screened(len(funnel.pool)):
        number = numbers[screened.name]
        for split in SPLITS:
            made = pool.field.points[number].candidate(split, pool.task.hardware)
            if made is not None and made.design.name == screened.name:
                design = pool.design((number, split))
                found += [] if design is None else [design]
        if len(found) == pool.task.pool:
            break
    return found
