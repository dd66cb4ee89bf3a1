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
from math import erf, exp, pi, sqrt

import numpy as np

from dcp_hw import rtl
from dcp_hw.finetune import QUANTILE, Predictor, tune
from dcp_hw.loop_again import Search, search_again
from dcp_hw.loop_candidates import Pool, Task, first_pool
from dcp_hw.loop_guess import Guess, Measured, guess
from dcp_hw.measure import Job
from dcp_hw.observations import probe
from dcp_hw.process import note
from dcp_hw.store import Record, Store

PATIENCE = 2
"""Rounds without a better design after which the loop ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A design measured in a round.

    Attributes:
        new: it had not been measured before, with other programs.
        search: number of the search that found the design, 0 the first.
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
    number = stale = 0
    while not found.reason:
        before = found.best().best_programs if found.trials else np.inf
        if number and len(found.trials) < task.budget:
            found.searches.append(search_again(pool, predictor, measured, number))
        chosen = _promising(pool, predictor, measured, found)
        if not chosen:
            break
        made = rtl.verilog([one.chosen[0].design for one in chosen])
        for one, verilog in zip(chosen, made, strict=True):
            records = _measured(task, one, verilog, store, f"round {number}: {one.design}")
            learnt |= {r.key: r for r in records}
            for o, r in zip(one.chosen, records, strict=True):
                measured[o.key] = r.energy_nj, float(r.cycles)
            together = _together(pool, one.design, predictor, measured)
            search = pool.origin[one.design]
            found.trials.append(
                trial(number, one, records, found.trials, search=search, together=together)
            )
        best = found.best().best_programs
        stale = stale + 1 if best >= before else 0
        note(f"round {number}: best measured EDP {best:.4g} nJ x cycles")
        predictor = tune(list(learnt.values()), base=base, seed=task.seed, made_by="dcp-hw loop")
        found.predictor = predictor
        number += 1
        if stale >= PATIENCE:
            found.reason = f"nothing better in {PATIENCE} rounds"
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


def _promising(pool: Pool, predictor: Predictor, measured: Measured, found: Outcome) -> list[Guess]:
    """What to measure next; nothing, with the reason noted, if the loop is at its end."""
    room = min(pool.task.per_round, pool.task.budget - len(found.trials))
    if room < 1:
        found.reason = "budget spent"
        return []
    order = [guess(name, rows, predictor, measured) for name, rows in pool.rows.items()]
    order = [g for g in order if any(o.key not in measured for o in g.chosen)]
    if not order:
        found.reason = "all candidates measured"
        return []
    order.sort(key=lambda g: g.value)
    if found.trials:
        least = float(np.log(found.best().best_programs))
        if min(g.value - 2 * g.spread for g in order) > least:
            found.reason = "no candidate is likely to be better"
            return []
        order.sort(key=lambda g: -expected_gain(g.value, g.spread, least))
    shapes: dict[int, Guess] = {}
    for one in order:
        shapes.setdefault(pool.places[one.design][0], one)  # one memory split of an array
    return list(shapes.values())[:room]


def expected_gain(value: float, spread: float, least: float) -> float:
    """Mean of max(0, least - x) for x of a normal distribution."""
    gain = least - value
    if spread <= 0:
        return max(0.0, gain)
    z = gain / spread
    below = 0.5 * (1 + erf(z / sqrt(2)))
    return gain * below + spread * exp(-z * z / 2) / sqrt(2 * pi)


def trial(
    number: int,
    one: Guess,
    records: Sequence[Record],
    before: Sequence[Trial],
    *,
    search: int,
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
