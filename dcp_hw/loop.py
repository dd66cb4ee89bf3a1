"""Search, generate, measure, fine-tune, search again, until nothing gets better.

The first candidates are those of the search over all arrays, ranked by cycle model and energy
table, each with several programs of every layer. A round measures the most promising ones, all
layers with probes and behind the memory model. What the model got wrong is learnt; then designs and
programs are searched again with the corrected cost (`loop_again`), and the next round chooses among
all. Verilog is made of what is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from dcp_hw import rtl
from dcp_hw.finetune import QUANTILE, Predictor, tune
from dcp_hw.loop_again import Search, search_again
from dcp_hw.loop_candidates import Pool, Task, first_pool
from dcp_hw.loop_guess import Guess, Measured, guess, promise
from dcp_hw.measure import Job
from dcp_hw.observations import probe
from dcp_hw.process import note
from dcp_hw.store import Record, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A design measured in a round.

    Attributes:
        new: it had not been measured before, with other programs.
        search: number of the search that found the design, 0 the first.
        promised: share of the best EDP that it was expected to save; None in the first round.
        predicted, modelled: the network's EDP before, by the predictor and by the model.
        measured: EDP, nJ x cycles.
        best_programs: EDP with the best program of each layer that was measured on the design, in
            this trial or before.
        layer_error, model_layer_error: median over layers of |predicted / measured EDP - 1|.
    """

    round: int
    design: str
    new: bool
    search: int
    promised: float | None
    predicted: float
    modelled: float
    measured: float
    best_programs: float
    energy_nj: float
    cycles: int
    layer_error: float
    model_layer_error: float
    layers_inside: float


@dataclass(slots=True, kw_only=True)
class Outcome:
    """All trials, what the searches after each fit did, and the predictor at the end."""

    trials: list[Trial] = field(default_factory=list)
    searches: list[Search] = field(default_factory=list)
    predictor: Predictor | None = None
    reason: str = ""

    def best(self, up_to: int | None = None) -> Trial:
        """The trial of least EDP, of rounds up to a number."""
        some = [t for t in self.trials if up_to is None or t.round <= up_to]
        return min(some, key=lambda t: t.best_programs)


def run(
    task: Task,
    store: Store,
    base: Predictor | None = None,
    after_round: Callable[[Outcome], object] = lambda _: None,
) -> Outcome:
    """The loop's trials, in order.

    Args:
        base: what is known before the first round; nothing if None.
        after_round: gets what was found so far.
    Raises: InputError if no design fits, and as `probe`.
    """
    pool = first_pool(task)
    found = Outcome()
    learnt: dict[str, Record] = {}
    measured: dict[str, tuple[float, float]] = {}
    predictor = base or tune([], seed=task.seed)
    number = 0
    while True:
        if number and len(found.trials) < task.budget:
            found.searches.append(search_again(pool, predictor, measured, number))
        chosen = _promising(pool, predictor, measured, found)
        if not chosen:
            break
        made = rtl.verilog([one.chosen[0].design for _, one in chosen])
        for (promised, one), verilog in zip(chosen, made, strict=True):
            records = _measured(task, one, verilog, store, f"round {number}: {one.design}")
            learnt |= {r.key: r for r in records}
            for o, r in zip(one.chosen, records, strict=True):
                measured[o.key] = r.energy_nj, float(r.cycles)
            done = trial(
                *(number, one, records, found.trials),
                search=pool.origin[one.design],
                promised=promised,
                together=_together(pool, one.design, predictor, measured),
            )
            found.trials.append(done)
        best = found.best().best_programs
        note(f"round {number}: best measured EDP {best:.4g} nJ x cycles")
        predictor = tune(list(learnt.values()), base=base, seed=task.seed, made_by="dcp-hw loop")
        found.predictor = predictor
        number += 1
        after_round(found)
    return found


def _measured(task: Task, one: Guess, made: rtl.Rtl, store: Store, what: str) -> list[Record]:
    """Records of a design's chosen programs, one a layer."""
    jobs = [
        Job(rtl=made, layer=o.layer, work=o.work(), seed=task.seed, profile=task.profile)
        for o in one.chosen
    ]
    return probe(jobs, task.hardware, task.memory, store, what)


def _together(pool: Pool, design: str, predictor: Predictor, measured: Measured) -> float:
    """EDP of a design with the best program of each layer that was measured on it."""
    rows = [[o for o in row if o.key in measured] for row in pool.rows[design]]
    return float(np.exp(guess(design, rows, predictor, measured).value))


Choice = tuple[float | None, Guess]
"""Share of the best EDP that a trial is expected to save, and what it runs."""


def _promising(
    pool: Pool, predictor: Predictor, measured: Measured, found: Outcome
) -> list[Choice]:
    """What to measure next; nothing, with the reason noted, if the loop is at its end."""
    room = min(pool.task.per_round, pool.task.budget - len(found.trials))
    if room < 1:
        found.reason = "budget spent"
        return []
    order: list[Choice]
    if found.trials:
        order, found.reason = _gainful(pool, predictor, measured, found)
    else:
        some = [guess(name, rows, predictor, measured) for name, rows in pool.rows.items()]
        order = [(None, one) for one in sorted(some, key=lambda one: one.value)]
    tried = {t.design for t in found.trials}
    apart: dict[object, Choice] = {}
    for item in order:  # one memory split of an array, those apart that were measured before
        name = item[1].design
        apart.setdefault(name if name in tried else pool.places[name][0], item)
    return list(apart.values())[:room]


def _gainful(
    pool: Pool, predictor: Predictor, measured: Measured, found: Outcome
) -> tuple[list[Choice], str]:
    """Trials by what they are expected to save; if that is too little, none and the reason."""
    best, least = float(np.log(found.best().best_programs)), pool.task.least_gain
    some = [promise(name, rows, predictor, measured, best) for name, rows in pool.rows.items()]
    new = [(s, g) for s, g in some if any(o.key not in measured for o in g.chosen)]
    if not new:
        return [], "all candidates measured"
    new.sort(key=lambda item: -item[0])
    if new[0][0] < least:
        much = f"{new[0][0]:.2%} of the best EDP, less than {least:.2%}"
        return [], f"the next trial is expected to save {much}"
    return list(new), ""


def trial(
    number: int,
    one: Guess,
    records: Sequence[Record],
    before: Sequence[Trial],
    *,
    search: int,
    promised: float | None,
    together: float,
) -> Trial:
    """What came of a design, beside what was predicted.

    Args:
        together: EDP with the best programs that were measured on it.
    """
    counts = np.array([o.count for o in one.chosen])
    energy = np.array([r.energy_nj for r in records])
    cycles = np.array([r.cycles for r in records])
    table = np.array([o.table_nj for o in one.chosen])
    model = np.array([o.cycles for o in one.chosen])
    exact = np.log(energy * cycles)
    off = one.layer_edp[:, 0] - exact
    edp = float((counts @ energy) * (counts @ cycles))
    return Trial(
        round=number,
        design=one.design,
        new=all(t.design != one.design for t in before),
        search=search,
        promised=promised,
        predicted=float(np.exp(one.value)),
        modelled=float((counts @ table) * (counts @ model)),
        measured=edp,
        best_programs=min(together, edp),
        energy_nj=float(counts @ energy),
        cycles=int(counts @ cycles),
        layer_error=float(np.median(np.abs(np.expm1(off)))),
        model_layer_error=float(np.median(np.abs(np.expm1(np.log(table * model) - exact)))),
        layers_inside=float(np.mean(np.abs(off) <= QUANTILE * one.layer_edp[:, 1] + 1e-9)),
    )
