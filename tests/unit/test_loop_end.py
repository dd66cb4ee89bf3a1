"""What a trial of the loop is expected to save, and the end of the loop by it."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dcp_hw import loop, loop_guess
from dcp_hw.errors import InputError
from dcp_hw.finetune import Estimate
from dcp_hw.hardware import Hardware
from dcp_hw.loop_candidates import Task
from dcp_hw.workload import LayerSet

COUNTS = (1, 3, 2)

LEAST = 53
"""Cycles of every program by the model; no memory makes them fewer."""


class Told:
    """A predictor that knows the mean and the doubt of each option by its name."""

    def __init__(self, table: dict[str, tuple[float, float, float, float]]) -> None:
        self.table = table

    def estimate(self, features: Any, *_: Any) -> Estimate:
        """As `Predictor.estimate`; a feature is the option's name."""
        rows = np.array([self.table[f] for f in features])
        return Estimate(energy=rows[:, [0, 1]], cycles=rows[:, [2, 3]])


def some(rng: np.random.Generator, programs: int = 5) -> tuple[Told, list[list[Any]]]:
    """Three layers with programs whose costs are unsure by 2 to 12 %, cycles at least 53."""
    table: dict[str, tuple[float, float, float, float]] = {}
    rows = []
    for layer, count in enumerate(COUNTS):
        names = [f"{layer} {n}" for n in range(programs)]
        for name in names:
            mean, doubt = rng.uniform(4.0, 4.1, 2), rng.uniform(0.02, 0.12, 2)
            table[name] = (mean[0], doubt[0], mean[1], doubt[1])
        known = {"group": (0, 0, 0), "table_nj": 1.0, "cycles": LEAST, "count": count}
        rows.append([SimpleNamespace(key=name, features=name, **known) for name in names])
    return Told(table), rows


def drawn(
    told: Told, rng: np.random.Generator, tried: list[str], held: list[str] | None, best: float
) -> float:
    """Mean share of the best EDP saved, of many draws; each layer keeps what is better.

    The network's EDP of every combination of tried and held programs is worked out in full.
    """
    draws = 100_000
    energy_off, cycles_off = rng.normal(size=(2, draws))
    ways = [(t,) if held is None else (t, h) for t, h in zip(tried, held or tried, strict=True)]
    least = np.full(draws, np.inf)
    for choice in product(*ways):
        joules, time = np.zeros(draws), np.zeros(draws)
        for count, name in zip(COUNTS, choice, strict=True):
            mean_e, doubt_e, mean_t, doubt_t = told.table[name]
            if held is not None and name in held:
                doubt_e = doubt_t = 0.0
            joules += count * np.exp(mean_e + doubt_e * energy_off)
            time += count * np.maximum(LEAST, np.exp(mean_t + doubt_t * cycles_off))
        least = np.minimum(least, joules * time)
    return float(np.maximum(0, 1 - least / best).mean())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_promise_is_the_mean_saving_of_many_draws(seed: int) -> None:
    """Of a new design, and of one with a measured program of each layer, better or worse."""
    rng = np.random.default_rng(seed)
    told, rows = some(rng)
    held = [f"{layer} 2" for layer in range(3)]
    measured = {h: (np.exp(told.table[h][0]), np.exp(told.table[h][2])) for h in held}
    costs = np.array([measured[h] for h in held])
    own = float(np.prod(np.array(COUNTS) @ costs))
    for known, best in ((None, own), (held, own), (held, 0.97 * own)):
        given = {} if known is None else measured
        saved, one = loop_guess.promise("d", rows, told, given, float(np.log(best)))  # type: ignore[arg-type]
        tried = [option.key for option in one.chosen]
        expected = drawn(told, rng, tried, known, best)
        assert saved == pytest.approx(expected, rel=0.1, abs=3e-4)
        assert saved > 1e-3


def test_programs_with_the_most_expected_gain_are_tried() -> None:
    """One that may be better, not the one of the least mean, and none that cannot matter."""
    name = {"sure": (4.0, 1e-9), "held": (4.0, 0.05), "doubtful": (4.01, 0.05), "bad": (4.5, 0.01)}
    name["wild"] = (
        4.6,
        0.4,
    )  # would be tried if errors of 0.4 were of energy, not of its logarithm
    table = {f"0 {k}": (mean, doubt, 4.0, 0.0) for k, (mean, doubt) in name.items()}
    known = {"group": (0, 0, 0), "table_nj": 1.0, "cycles": 1, "count": 1}
    row = [SimpleNamespace(key=k, features=k, **known) for k in table]
    measured = {"0 held": (np.exp(4.0), np.exp(4.0))}
    for options, tried in ((row, "0 doubtful"), ([row[0], row[1], row[3]], "0 held")):
        saved, one = loop_guess.promise("d", [options], Told(table), measured, 8.0)  # type: ignore[arg-type]
        assert one.chosen[0].key == tried
        assert (saved > 0.01) == (tried == "0 doubtful")


# --- the end ------------------------------------------------------------------------


def ended(monkeypatch: pytest.MonkeyPatch, promises: list[float], **settings: Any) -> loop.Outcome:
    """The loop where the most promising of three designs promises this much, round by round.

    No trial saves anything, and every design can always run other programs.
    """
    task = Task(layers=LayerSet.load("tiny"), hardware=Hardware(pes=4), per_round=1, **settings)
    rounds = iter(promises)
    now: dict[str, float] = {}
    names = ("a", "b", "c")
    pool: Any = SimpleNamespace(
        task=task,
        rows={name: [] for name in names},
        places={name: (n, None) for n, name in enumerate(names)},
        origin=dict.fromkeys(names, 0),
    )

    def option(name: str) -> Any:
        key = f"{name} {len(made)}"
        design = SimpleNamespace(name=name)
        return SimpleNamespace(key=key, count=1, table_nj=10.0, cycles=10, design=design)

    def guess(name: str, *_: Any) -> Any:
        return SimpleNamespace(
            design=name, chosen=(option(name),), value=np.log(100.0), layer_edp=np.zeros((1, 2))
        )

    def promise(name: str, *_: Any) -> Any:
        return now["most"] * (1 if name == "b" else 0.5), guess(name)

    made: list[str] = []

    def search_again(*_: Any) -> Any:
        now["most"] = next(rounds)
        return None

    def verilog(designs: Any) -> list[Any]:
        made.extend(d.name for d in designs)
        return list(designs)

    monkeypatch.setattr(loop, "first_pool", lambda _: pool)
    monkeypatch.setattr(loop, "search_again", search_again)
    monkeypatch.setattr(loop, "guess", guess)
    monkeypatch.setattr(loop, "promise", promise)
    monkeypatch.setattr(loop.rtl, "verilog", verilog)
    record = SimpleNamespace(key="k", energy_nj=10.0, cycles=10)
    monkeypatch.setattr(loop, "_measured", lambda *_: [record])
    monkeypatch.setattr(loop, "_together", lambda *_: 100.0)
    monkeypatch.setattr(loop, "tune", lambda *_, **__: None)
    found = loop.run(task, SimpleNamespace())  # type: ignore[arg-type]
    assert made == [t.design for t in found.trials]
    return found


def test_rounds_without_gain_do_not_end_the_loop_while_more_is_expected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promises = [0.03, 0.02, 0.012, 0.02, 0.0101, 0.0099, 0.5]
    found = ended(monkeypatch, promises, least_gain=0.01, budget=50)
    assert [t.promised for t in found.trials] == [None, *promises[:5]]
    assert [t.design for t in found.trials] == ["a", *"bbbbb"]
    assert "0.99%" in found.reason
    assert "1.00%" in found.reason


def test_the_budget_ends_the_loop_whatever_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ended(monkeypatch, [0.2] * 20, least_gain=0.01, budget=4)
    assert len(found.trials) == 4
    assert found.reason == "budget spent"
    # without a least gain nothing else does
    found = ended(monkeypatch, [0.0] * 20, least_gain=0.0, budget=7)
    assert len(found.trials) == 7
    assert found.reason == "budget spent"


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_least_gain_is_a_share(share: float) -> None:
    with pytest.raises(InputError, match="a share of the best EDP, 0 to below 1"):
        Task(layers=LayerSet.load("tiny"), hardware=Hardware(pes=4), least_gain=share)
