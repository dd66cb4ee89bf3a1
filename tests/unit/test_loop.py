"""The loop's searches: equal hardware once, Verilog of what is measured, a search after a fit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dcp_hw import loop, loop_again, loop_candidates
from dcp_hw.candidates import SPLITS
from dcp_hw.finetune import Estimate
from dcp_hw.hardware import Hardware
from dcp_hw.loop_candidates import WORSE, Pool, Task, first_pool
from dcp_hw.loop_guess import Guess, guess
from dcp_hw.loop_twins import hardware_key
from dcp_hw.space import Space, space
from dcp_hw.store import Store
from dcp_hw.workload import LayerSet
from tensorlib.design import Design

HARDWARE = Hardware(pes=4, sram_kib=16)


class Planted:
    """A predictor whose corrections are given: factors of cycles by features."""

    def __init__(self, factor: Any = lambda f: 1.0, spread: float = 0.01) -> None:
        self.factor, self.spread = factor, spread

    def estimate(self, features: Any, _groups: Any, table_nj: Any, cycles: Any) -> Estimate:
        """As `Predictor.estimate`."""
        factors = np.array([self.factor(f) for f in features])
        spread = np.full(len(factors), self.spread)
        return Estimate(
            energy=np.column_stack((np.log(table_nj), spread)),
            cycles=np.column_stack((np.log(cycles) + np.log(factors), spread)),
        )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of searches that these tests share."""
    return tmp_path_factory.mktemp("cache")


def of(monkeypatch: pytest.MonkeyPatch, cache: Path, *keys: str, **settings: Any) -> Task:
    """A task whose space has these styles only."""
    arrays = tuple(style for style in space().arrays if style.key in keys)
    assert len(arrays) == len(keys)
    some = Space(census={}, arrays=arrays, twins=())
    monkeypatch.setattr(loop_candidates, "space", lambda: some)
    monkeypatch.setenv("DCP_HW_CACHE", str(cache))
    layers = LayerSet.load("tiny").select("conv,pointwise")
    given = {"layers": layers, "hardware": HARDWARE, "jobs": 1} | settings
    return Task(**given)


def design(key: str, rows: int, cols: int) -> Design:
    """An array of the space with small memories."""
    style = next(style for style in space().arrays if style.key == key)
    return style.array(rows, cols, depth=16, words=16, name=f"{key}_{rows}x{cols}")


# --- twins --------------------------------------------------------------------------


def text(one: Design) -> str:
    """design.json without what the generator does not read (docs/hardware.md, section 3)."""
    content = json.loads(one.canonical_json())
    del content["name"], content["stt"], content["tensors"]["output"]["lane_stride"]
    return json.dumps(content, sort_keys=True)


def test_designs_that_differ_in_name_only_are_the_same_hardware() -> None:
    keys = ("uo", "uopw", "uopi", "uopiw", "uw", "wu", "wupw", "oo", "io")
    some = [design(k, r, c) for k in keys for r, c in ((3, 2), (2, 3), (2, 4))]
    for one, other in pairwise(sorted(some, key=text)):
        if text(one) == text(other):
            assert hardware_key(one) == hardware_key(other)
    kinds = {text(one) for one in some}
    assert len(kinds) < len(some)
    # rows and columns of a kind are told apart by their banks: no mirror images among these
    assert len({hardware_key(one) for one in some}) == len(kinds)


def test_mirror_images_are_the_same_hardware() -> None:
    """A row of PEs that sums is a column that sums; its banks are numbered alike."""
    assert hardware_key(design("ou", 1, 6)) != hardware_key(design("ou", 2, 3))
    for one, other in (("ou", "uo"), ("ow", "wo")):
        row, column = design(one, 1, 17), design(other, 17, 1)
        assert text(row) != text(column)
        assert hardware_key(row) == hardware_key(column)
        deeper = replace(column, weight=replace(column.weight, rows=17))
        assert hardware_key(deeper) != hardware_key(row)


def test_a_pool_has_each_hardware_and_each_program_once(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    layers = LayerSet.load("tiny").select("pointwise")
    task = of(monkeypatch, cache, "uo", "uopw", "uopi", "uopiw", pool=40, layers=layers)
    pool = first_pool(task)
    designs = [rows[0][0].design for rows in pool.rows.values()]
    shapes = {(p.rows, p.cols) for p in pool.field.points}
    assert {(d.rows, d.cols) for d in designs} == shapes
    assert len(designs) == len({text(d) for d in designs}) < len(pool.field.points)
    for rows in pool.rows.values():
        for row in rows:
            commands = [o.work().program.commands for o in row]
            assert len(set(commands)) == len(row) > 1


# --- Verilog and measurements -------------------------------------------------------


def measured_by(
    monkeypatch: pytest.MonkeyPatch, task: Task, truth: Planted
) -> tuple[loop.Outcome, list[str]]:
    """The loop with a hardware that is as planted, learnt at once; designs made into Verilog."""
    made: list[str] = []

    def verilog(designs: Sequence[Design]) -> list[Any]:
        made.extend(d.name for d in designs)
        return [SimpleNamespace(design=d, digest=d.hash()) for d in designs]

    def probe(jobs: Sequence[Any], hardware: Hardware, *_: Any) -> list[Any]:
        found = []
        for job in jobs:
            work, array = job.work, job.rtl.design
            told = loop_candidates.features(job.layer, array, work, hardware)
            nj = loop_candidates.physical.energy(
                array, hardware, work.prediction.counters, work.predicted_cycles
            ).total_nj
            cycles = work.predicted_cycles * truth.factor(told)
            key = f"{array.name} {work.digest}"
            found.append(SimpleNamespace(key=key, energy_nj=nj, cycles=cycles))
        return found

    monkeypatch.setattr(loop.rtl, "verilog", verilog)
    monkeypatch.setattr(loop, "probe", probe)
    monkeypatch.setattr(loop, "tune", lambda records, **_: truth if records else Planted())
    after: list[int] = []
    found = loop.run(task, Store(Path("nowhere")), None, lambda o: after.append(len(o.trials)))
    assert after == [sum(t.round <= n for t in found.trials) for n in range(len(after))]
    assert after[-1] == len(found.trials)
    return found, made


def small_arrays(features: Any) -> float:
    """Hardware on which 4 PEs take 10 times as long as the model says, and 3 do not."""
    return 10.0 if features["log_pes"] == 2 else 1.0


STYLES = ("uo", "uopw", "uw", "oo", "wo", "io")


def test_the_second_search_finds_what_the_first_did_not_have(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    task = of(monkeypatch, cache, *STYLES, pool=2, per_round=1, search=12, budget=3)
    first = first_pool(task)
    assert {rows[0][0].design.pes for rows in first.rows.values()} == {4}
    found, made = measured_by(monkeypatch, task, Planted(small_arrays))
    assert found.trials[0].search == 0
    second = found.trials[1]
    assert second.search == 1
    assert second.design not in first.rows
    assert found.searches[0].promising == second.design
    # 3 PEs: at most 4/3 as many steps as 4, and not 10 times the cycles
    sizes = {name: name.split("_")[1] for name in made}
    assert sizes[second.design] in ("3x1", "1x3")
    assert second.measured < found.trials[0].measured / 4
    # the least that a full look at all places with 3 PEs finds
    every = Pool(task=task, field=first.field)
    for n, point in enumerate(first.field.points):
        if point.rows * point.cols == 3:
            for split in SPLITS[::3]:
                one = every.design((n, split))
                if one is not None:
                    loop_again._look(every, one, 1)
    values = [guess(n, rows, Planted()).value for n, rows in every.rows.items()]
    assert np.log(found.best().measured) <= min(values) + np.log(1.02)


def test_verilog_is_made_of_what_is_measured_and_equal_hardware_measured_once(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    twins = ("uo", "uopw", "uopi", "uopiw")
    task = of(monkeypatch, cache, *twins, pool=6, per_round=2, search=8, budget=6)
    found, made = measured_by(monkeypatch, task, Planted(small_arrays))
    assert len(found.trials) > 3
    assert made == [trial.design for trial in found.trials]
    points = {f"{p.style.key}_{p.rows}x{p.cols}": p for p in first_pool(task).field.points}
    kinds = set()
    for name in made:
        style, shape, *split = name.split("_")
        place = tuple(map(int, split))
        candidate = points[f"{style}_{shape}"].candidate(place, HARDWARE)  # type: ignore[arg-type]
        assert candidate is not None
        kinds.add(text(candidate.design))
    assert len(kinds) == len(set(made))
    for trial in found.trials:
        least = min(t.measured for t in found.trials if t.design == trial.design)
        assert trial.best_programs <= trial.measured
        assert found.best().best_programs <= least


def test_the_budget_of_a_search_is_kept(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    task = of(monkeypatch, cache, *STYLES, pool=3, search=5)
    pool = first_pool(task)
    before = set(pool.rows)
    did = loop_again.search_again(pool, Planted(small_arrays), {}, 1)
    assert did.designs == 5
    assert did.candidates == len(set(pool.rows) - before) <= 5
    layers = len(task.layers)
    most = did.designs * layers * loop_again.LOOK
    more = loop_again.PROGRAMS + loop_again.STEP + loop_candidates.MORE
    assert 0 < did.programs <= most + loop_again.DEEP * layers * more
    assert did.mappings > did.programs


# --- programs and points ------------------------------------------------------------


def test_new_programs_follow_the_corrected_cost(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    """Each burst costs 40 cycles that the model does not know."""
    hardware = Hardware(pes=4, sram_kib=32)
    task = of(monkeypatch, cache, "uo", pool=1, hardware=hardware)
    pool = first_pool(task)
    (name,) = pool.rows
    truth = Planted(lambda f: 1 + 40 * (f["in_bursts"] + f["out_bursts"]))

    def real(option: Any) -> float:
        bursts = option.features["in_bursts"] + option.features["out_bursts"]
        return option.table_nj * (option.cycles + 40 * bursts * option.cycles)

    before = [min(map(real, row)) for row in pool.rows[name]]
    known = [{o.key for o in row} for row in pool.rows[name]]
    loop_again.deepen(pool, guess(name, pool.rows[name], truth), truth, {})
    after = [min(map(real, row)) for row in pool.rows[name]]
    assert all(a <= b for a, b in zip(after, before, strict=True))
    assert min(a / b for a, b in zip(after, before, strict=True)) < 0.97
    for row, keys in zip(pool.rows[name], known, strict=True):
        assert len({o.key for o in row}) == len(row)
        least = min(o.table_nj * o.cycles for o in row)
        new = [o for o in row if o.key not in keys]
        assert new
        # all runs of a step lie below the limit of that step; the least falls only
        assert all(o.table_nj * o.cycles <= 1.5 * WORSE * least for o in new)


def test_points_are_ranked_by_bound_and_what_their_kind_showed() -> None:
    def point(style: str, axes: str) -> Any:
        return SimpleNamespace(style=SimpleNamespace(key=style, loops=(*axes, "any")))

    points = [point("a", "kc"), point("a", "kc"), point("b", "kc"), point("c", "xx")]
    field = SimpleNamespace(points=points, network=lambda _: np.array([1.0, 4.0, 3.0, 9.0]))
    places = {"seen": (0, SPLITS[0]), "other": (3, SPLITS[0])}
    pool: Any = SimpleNamespace(field=field, places=places)

    def told(name: str, times: float, bound: float) -> Guess:
        rest = {"chosen": (), "spread": 0.0, "layer_edp": np.zeros((0, 2))}
        value = float(np.log(times * bound))
        return Guess(design=name, value=value, energy_nj=1.0, cycles=1.0, **rest)  # type: ignore[arg-type]

    # style a costs 8 times its bound, so does b, of the same axes; c 1.1 times
    found = loop_again.ranked_points(pool, [told("seen", 8, 1), told("other", 1.1, 9)])
    assert found == [0, 3, 2, 1]  # 8, 9.9, 24, 32
    assert loop_again.ranked_points(pool, [told("seen", 8, 1)]) == [0, 2, 1, 3]


def test_a_design_is_worth_its_best_measured_programs() -> None:
    """Those of several trials together; programs that were only predicted do not count."""
    rng = np.random.default_rng(1)
    costs = rng.uniform(50, 100, (3, 4, 2))
    rows = [
        [
            SimpleNamespace(
                key=f"{n} {m}", features={}, group=(0, n, 0), table_nj=1.0, cycles=1, count=n + 1
            )
            for m in range(5)
        ]
        for n in range(3)
    ]
    measured = {f"{n} {m}": tuple(costs[n, m]) for n in range(3) for m in range(4)}
    pool: Any = SimpleNamespace(rows={"d": rows})
    found = loop._together(pool, "d", Planted(), measured)  # type: ignore[arg-type]
    counts = np.arange(1, 4)
    best = min(
        float(
            np.prod(sum(c * costs[n, m] for n, (c, m) in enumerate(zip(counts, some, strict=True))))
        )
        for some in product(range(4), repeat=3)
    )
    assert found == pytest.approx(best, rel=1e-3)
    assert found >= best * (1 - 1e-9)
