"""Search, generate, measure, fine-tune, search again, until nothing gets better.

The candidates are those of the search over all arrays, ranked by cycle model and energy table, each
with several programs of every layer. A round measures the most promising ones, all layers with
probes and behind the memory model. What the model got wrong is learnt; it changes the order of the
designs and the programs of their layers, also of designs that were measured with others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dcp_hw.finetune import QUANTILE, Estimate, Floats, Predictor, tune
from dcp_hw.loop_candidates import Option, Task, candidates
from dcp_hw.observations import probe
from dcp_hw.process import note
from dcp_hw.store import Record, Store

Measured = Mapping[str, tuple[float, float]]
"""Key of an option -> measured nJ and cycles."""

PATIENCE = 2
"""Rounds without a better design after which the loop ends."""

OPTIMISM = 1.0
"""Standard deviations by which a design's value may come out lower, in the choice of designs."""


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
        new: it had not been measured before, with other programs.
        predicted, modelled: the network's EDP before, by the predictor and by the model.
        measured: EDP, nJ x cycles.
        layer_error, model_layer_error: median over layers of |predicted / measured EDP - 1|.
    """

    round: int
    design: str
    new: bool
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
    learnt: dict[str, Record] = {}
    measured: dict[str, tuple[float, float]] = {}
    predictor = base or tune([], seed=task.seed)
    number = stale = 0
    while not found.reason:
        before = found.best().measured if found.trials else np.inf
        chosen = _promising(task, options, predictor, measured, found)
        if not chosen:
            break
        for one in chosen:
            records = probe(
                [o.job for o in one.chosen],
                task.hardware,
                task.memory,
                store,
                f"round {number}: {one.design}",
            )
            found.trials.append(trial(number, one, records, found.trials))
            learnt |= {r.key: r for r in records}
            for o, r in zip(one.chosen, records, strict=True):
                measured[o.key] = r.energy_nj, float(r.cycles)
        best = found.best().measured
        stale = stale + 1 if best >= before else 0
        note(f"round {number}: best measured EDP {best:.4g} nJ x cycles")
        predictor = tune(list(learnt.values()), base=base, seed=task.seed, made_by="dcp-hw loop")
        number += 1
        if stale >= PATIENCE:
            found.reason = f"nothing better in {PATIENCE} rounds"
    found.predictor = predictor
    return found


def _promising(
    task: Task,
    options: Mapping[str, Sequence[Sequence[Option]]],
    predictor: Predictor,
    measured: Measured,
    found: Outcome,
) -> list[Guess]:
    """What to measure next; nothing, with the reason noted, if the loop is at its end."""
    room = min(task.per_round, task.budget - len(found.trials))
    if room < 1:
        found.reason = "budget spent"
        return []
    order = [guess(name, rows, predictor, measured) for name, rows in options.items()]
    order = [g for g in order if any(o.key not in measured for o in g.chosen)]
    order.sort(key=lambda g: g.value - OPTIMISM * g.spread * bool(found.trials))
    if not order:
        found.reason = "all candidates measured"
        return []
    least = np.log(found.best().measured) if found.trials else np.inf
    if min(g.value - 2 * g.spread for g in order) > least:
        found.reason = "no candidate is likely to be better"
        return []
    return order[:room]


def guess(
    design: str,
    rows: Sequence[Sequence[Option]],
    predictor: Predictor,
    measured: Measured | None = None,
) -> Guess:
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
    seen = _with_measured(seen, flat, measured or {})
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


def _with_measured(seen: Estimate, options: Sequence[Option], measured: Measured) -> Estimate:
    """The estimate, with what was measured in its place, without doubt."""
    energy, cycles = seen.energy.copy(), seen.cycles.copy()
    for n, option in enumerate(options):
        if option.key in measured:
            known = measured[option.key]
            energy[n], cycles[n] = (np.log(known[0]), 0.0), (np.log(known[1]), 0.0)
    return Estimate(energy=energy, cycles=cycles)


def trial(number: int, one: Guess, records: Sequence[Record], before: Sequence[Trial]) -> Trial:
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
        new=all(t.design != one.design for t in before),
        predicted=float(np.exp(one.value)),
        modelled=float((counts @ table) * (counts @ model)),
        measured=float((counts @ energy) * (counts @ cycles)),
        energy_nj=float(counts @ energy),
        cycles=int(counts @ cycles),
        layer_error=float(np.median(np.abs(np.expm1(off)))),
        model_layer_error=float(np.median(np.abs(np.expm1(np.log(table * model) - exact)))),
        layers_inside=float(np.mean(np.abs(off) <= QUANTILE * one.layer_edp[:, 1] + 1e-9)),
    )
