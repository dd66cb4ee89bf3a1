"""Search, generate, measure, fine-tune, search again, until nothing gets better.

The candidates are those of the search over all arrays, ranked by cycle model and energy table. A
round measures the most promising designs that were not measured yet, all layers with probes and
behind the memory model; what the model got wrong is learnt, and changes the order of the rest and
the mapping of each of their layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dcp_hw import rtl
from dcp_hw.errors import InputError
from dcp_hw.finetune import Floats, Predictor, group_of, tune
from dcp_hw.funnel import Budget, Field, Funnel
from dcp_hw.hardware import Hardware
from dcp_hw.known import QUICK, Choice, Known
from dcp_hw.measure import Job
from dcp_hw.observations import Features, features, layer_code, probe
from dcp_hw.process import note
from dcp_hw.space import space
from dcp_hw.store import Record, Store
from dcp_hw.workload import LayerSet

OBJECTIVES = ("edp", "energy", "latency")
"""Each gives a mapping of a layer on a design; the predictor chooses among them."""

PATIENCE = 2
"""Rounds without a better design after which the loop ends."""

OPTIMISM = 1.0
"""Standard deviations by which a design's value may come out lower, in the choice of designs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to find a design for.

    Attributes:
        profile: data of all layers; memory: `dram` or `ideal`.
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
    """A layer's program on a design, with what the model says."""

    job: Job
    features: Features
    group: tuple[int, int, int]
    table_nj: float
    cycles: int
    count: int


Options = dict[str, list[list[Option]]]
"""Design name -> for each layer its options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """A design with the best option of each layer, as predicted.

    Attributes:
        value: ln of the network's EDP (nJ x cycles); spread: its standard deviation.
        layer_edp: ln of each layer's EDP.
    """

    design: str
    chosen: tuple[Option, ...]
    value: float
    spread: float
    layer_edp: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A design measured in a round.

    Attributes:
        predicted, modelled: the network's EDP before, by the predictor and by the model.
        measured: EDP, nJ x cycles.
        layer_error, model_layer_error: median over layers of |predicted / measured EDP - 1|.
    """

    round: int
    design: str
    predicted: float
    modelled: float
    measured: float
    energy_nj: float
    cycles: int
    layer_error: float
    model_layer_error: float
    layers_inside: float


@dataclass(slots=True, kw_only=True)
class Outcome:
    """All trials, and the predictor at the end."""

    trials: list[Trial] = field(default_factory=list)
    predictor: Predictor | None = None
    reason: str = ""

    def best(self, up_to: int | None = None) -> Trial:
        """The trial of least EDP, of rounds up to a number."""
        some = [t for t in self.trials if up_to is None or t.round <= up_to]
        return min(some, key=lambda t: t.measured)


def run(task: Task, store: Store, base: Predictor | None = None) -> Outcome:
    """The loop's trials, in order.

    Args:
        base: what is known before the first round; nothing if None.
    Raises: InputError if no design fits, and as `probe`.
    """
    options = candidates(task)
    found = Outcome()
    learnt: list[Record] = []
    predictor = base or tune([], seed=task.seed)
    number = stale = 0
    while True:
        done = {t.design for t in found.trials}
        left = [n for n in options if n not in done]
        room = min(task.per_round, task.budget - len(done))
        if not left or room < 1:
            found.reason = "all candidates measured" if not left else "budget spent"
            break
        order = sorted(
            (guess(n, options[n], predictor) for n in left),
            key=lambda g: g.value - OPTIMISM * g.spread * (number > 0),
        )
        least = np.log(found.best().measured) if found.trials else np.inf
        if order[0].value - 2 * order[0].spread > least:
            found.reason = "no candidate is likely to be better"
            break
        before = found.best().measured if found.trials else np.inf
        for one in order[:room]:
            records = probe(
                [o.job for o in one.chosen],
                task.hardware,
                task.memory,
                store,
                f"round {number}: {one.design}",
            )
            found.trials.append(trial(number, one, records, options[one.design]))
            learnt += records
        best = found.best().measured
        stale = stale + 1 if best >= before else 0
        note(f"round {number}: best measured EDP {best:.4g} nJ x cycles")
        predictor = tune(learnt, base=base, seed=task.seed, made_by="dcp-hw loop")
        number += 1
        if stale >= PATIENCE:
            found.reason = f"nothing better in {PATIENCE} rounds"
            break
    found.predictor = predictor
    return found


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
    for name in names:
        rows = [
            _options(
                [outcomes[o][name][layer.name] for o in OBJECTIVES], made[name], layer.count, task
            )
            for layer in task.layers
        ]
        if all(rows):
            options[name] = rows
    if not options:
        raise InputError("no candidate runs every layer")
    return options


def _options(outcomes: Sequence[object], made: rtl.Rtl, count: int, task: Task) -> list[Option]:
    """Different programs of a layer, that of the EDP first."""
    found: dict[str, Option] = {}
    for outcome in outcomes:
        if not isinstance(outcome, Choice):
            continue
        work = outcome.work()
        if work.digest in found:
            continue
        job = Job(rtl=made, layer=outcome.layer, work=work, seed=task.seed, profile=task.profile)
        found[work.digest] = Option(
            job=job,
            features=features(job, task.hardware),
            group=group_of(task.profile, layer_code(job.layer), made.design.hash()),
            table_nj=outcome.energy_nj,
            cycles=outcome.cycles,
            count=count,
        )
    return list(found.values())


def guess(design: str, rows: Sequence[Sequence[Option]], predictor: Predictor) -> Guess:
    """The options that make a design's predicted EDP least, and that EDP.

    A layer's share of the network's EDP is taken to first order, about the sums before.
    """
    flat = [option for row in rows for option in row]
    seen = predictor.estimate(
        [o.features for o in flat],
        np.array([o.group for o in flat], dtype=np.int64),
        [o.table_nj for o in flat],
        [o.cycles for o in flat],
    )
    energy, cycles = np.exp(seen.energy[:, 0]), np.exp(seen.cycles[:, 0])
    counts = np.array([o.count for o in flat], dtype=np.float64)
    ends = np.cumsum([len(row) for row in rows])
    spans = [range(end - len(row), end) for end, row in zip(ends.tolist(), rows, strict=True)]
    chosen = [span[0] for span in spans]
    for _ in range(3):
        whole = (counts * energy)[chosen].sum(), (counts * cycles)[chosen].sum()
        cost = energy / whole[0] + cycles / whole[1]
        chosen = [min(span, key=lambda n: cost[n]) for span in spans]
    joules, time = (counts * energy)[chosen], (counts * cycles)[chosen]
    # errors of layers on one design are taken to go together
    spread = float(
        np.hypot(
            joules @ seen.energy[chosen, 1] / joules.sum(),
            time @ seen.cycles[chosen, 1] / time.sum(),
        )
    )
    return Guess(
        design=design,
        chosen=tuple(flat[n] for n in chosen),
        value=float(np.log(joules.sum()) + np.log(time.sum())),
        spread=spread,
        layer_edp=seen.edp[chosen],
    )


def trial(
    number: int, one: Guess, records: Sequence[Record], rows: Sequence[Sequence[Option]]
) -> Trial:
    """What came of a design, beside what was predicted."""
    counts = np.array([o.count for o in one.chosen])
    energy = np.array([r.energy_nj for r in records])
    cycles = np.array([r.cycles for r in records])
    table = np.array([o.table_nj for o in one.chosen])
    model = np.array([o.cycles for o in one.chosen])
    exact = np.log(energy * cycles)
    off = one.layer_edp[:, 0] - exact
    return Trial(
        round=number,
        design=one.design,
        predicted=float(np.exp(one.value)),
        modelled=float((counts @ table) * (counts @ model)),
        measured=float((counts @ energy) * (counts @ cycles)),
        energy_nj=float(counts @ energy),
        cycles=int(counts @ cycles),
        layer_error=float(np.median(np.abs(np.expm1(off)))),
        model_layer_error=float(np.median(np.abs(np.expm1(np.log(table * model) - exact)))),
        layers_inside=float(np.mean(np.abs(off) <= 1.6449 * one.layer_edp[:, 1])),
    )
