"""Train the predictor of the Tensorlib space; judge it on layers and designs not seen before."""

from __future__ import annotations

import csv
import json
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dcp_hw.errors import InputError
from dcp_hw.hardware import Hardware
from dcp_hw.problem import problem_of
from dcp_hw.process import note
from dcp_hw.tensorlib_dcp_code import layer_numbers, machine_numbers
from dcp_hw.tensorlib_dcp_data import PARTS, Rows, load, make
from dcp_hw.tensorlib_dcp_points import points_of, price_tensors
from dcp_hw.train import predictor_errors, write_curve
from dcp_hw.train_scores import Floats, Score, score
from predictors.model import logistic_loss
from predictors.tensorlib import DesignPredictor, Shape, save
from predictors.tensorlib_form import Closed
from predictors.tensorlib_point import FEATURE_NAMES
from predictors.train import Batch, Schedule, check_finite, fit

CASES = 16_000
"""Cases of the default data set."""
COVERAGE = 0.9
_SCHEDULE = Schedule(epochs=10, batch=1024, learning_rate=2e-3, weight_decay=1e-6)
_HELD_FIFTH = 3  # layers whose hash leaves this are held out: curve and calibration
_PLAIN = FEATURE_NAMES.index("compute")
_TREES: dict[str, Any] = {"max_iter": 600, "learning_rate": 0.1, "max_leaf_nodes": 63}
LABELS = {
    "ours": "ours",
    "closed": "closed form alone",
    "trees": "boosted trees",
    "bound": "bound alone",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to train, on what, into which folder; a data set that is not there is made."""

    data: Path
    out: Path
    seed: int = 0
    cases: int = CASES
    epochs: int | None = None
    minutes: float | None = None
    threads: int = 1

    @property
    def schedule(self) -> Schedule:
        """The schedule with what was asked for instead."""
        found = asdict(_SCHEDULE) | {"epochs": self.epochs or _SCHEDULE.epochs}
        if self.minutes is not None:
            found["seconds"] = 60 * self.minutes
        return Schedule(**found)


def fresh(technology: str, clock_mhz: float, shape: Shape | None = None) -> DesignPredictor:
    """A predictor with the prices of a technology that has learnt nothing: the closed form."""
    return DesignPredictor(shape or Shape(), *price_tensors(technology, clock_mhz))


@torch.no_grad()
def closed_of(model: DesignPredictor, rows: Rows, *, chunk: int = 20_000) -> Closed:
    """Closed form and features of all rows."""
    layers = np.array([layer_numbers(x, problem_of(x)) for x in rows.layers])
    machines = np.array([machine_numbers(x) for x in rows.machines])
    found = []
    for first in range(0, len(rows), chunk):
        here = slice(first, first + chunk)
        points = points_of(rows.codes[here], layers[rows.layer[here]], machines[rows.machine[here]])
        found.append(model.closed(points))
    merged = {
        field.name: torch.cat([getattr(one, field.name) for one in found])
        for field in fields(Closed)
    }
    return Closed(**merged)


def batch_of(model: DesignPredictor, rows: Rows) -> Batch:
    """Features (n x features) and what is to be corrected (n x 2)."""
    found = closed_of(model, rows)
    known = torch.from_numpy(rows.logs)
    off = known - torch.stack([found.latency, found.energy], dim=1)
    return found.features, off.float()


def _loss(model: nn.Module, batch: Batch) -> Tensor:
    features, target = batch
    assert isinstance(model, DesignPredictor)
    return logistic_loss(*model.correct(features), target)


def _one_technology(rows: Rows) -> Hardware:
    kinds = {(machine.technology, machine.clock_mhz) for machine in rows.machines}
    if len(kinds) != 1:
        raise InputError(f"rows of {sorted(kinds)}; accepted: one technology and clock")
    return rows.machines[0]


def train(order: Order) -> tuple[Path, dict[str, Any]]:
    """The checkpoint's path and card; a training that was stopped goes on.

    Raises: InputError for data that cannot be learnt from, or a folder with another training.
    """
    torch.set_num_threads(order.threads)
    torch.manual_seed(order.seed)
    rows = load(make(order.data, cases=order.cases, seed=order.seed))
    machine = _one_technology(rows)
    learnt = rows.take(rows.part == PARTS.index("train"))
    held = np.array([zlib.crc32(repr(problem_of(x)).encode()) % 10 == _HELD_FIFTH
                     for x in rows.layers])[learnt.layer]  # fmt: skip
    with predictor_errors():
        model = fresh(machine.technology, machine.clock_mhz)
        batches = [batch_of(model, learnt.take(which)) for which in (~held, held)]
        for name, batch in zip(("training rows", "held rows"), batches, strict=True):
            check_finite({f"{name}, tensor {i}": part for i, part in enumerate(batch)})
        model.normalise(batches[0][0])
        facts = {
            "data_manifest": json.loads((order.data / "manifest.json").read_text()),
            "rows": int((~held).sum()),
            "technology": machine.technology,
            "clock_mhz": float(machine.clock_mhz),
        }
        note(f"tensorlib: {len(batches[0][0])} rows, {len(batches[1][0])} held out")
        curve = fit(
            model, _loss, batches[0], batches[1], order.schedule, seed=order.seed,
            state=order.out / "state.safetensors", identity=facts,
            report=lambda epoch: note(
                f"tensorlib: epoch {epoch.epoch} after {epoch.seconds:.0f} s: loss "
                f"{epoch.training_loss:.4f}, held out {epoch.held_loss:.4f}"
            ),
        )  # fmt: skip
        _calibrate(model, batches[1])
    card = {
        **facts,
        "seed": order.seed,
        "schedule": asdict(order.schedule),
        "training_seconds": curve[-1].seconds,
        "epochs_done": curve[-1].epoch,
        "coverage": COVERAGE,
        "errors": _errors(score_ours(model, rows)),
        "command": f"dcp-hw train --space tensorlib --cases {order.cases} --seed {order.seed}",
    }
    path = order.out / "ours.safetensors"
    save(path, model, card)
    write_curve(order.out / "ours-curve", "tensorlib", curve)
    return path, card


@torch.no_grad()
def _calibrate(model: DesignPredictor, held: Batch) -> None:
    """Scale the intervals so that they hold their share of the rows of held-out layers."""
    model.eval()
    correction, log_scale = model.correct(held[0])
    ratio = (correction - held[1]).abs() / log_scale.exp()
    model.quantile.copy_(torch.quantile(ratio, COVERAGE, dim=0))


# --- judging ----------------------------------------------------------------------------


Answer = tuple[Floats, Floats | None]


def _with_power(logs: NDArray[Any], model: DesignPredictor) -> Floats:
    clock = float(model.scalars[-1].log())
    return np.column_stack([logs, logs[:, 1] - logs[:, 0] + clock]).astype(np.float64)


@torch.no_grad()
def _ours(model: DesignPredictor, found: Closed) -> Answer:
    correction, log_scale = model.correct(found.features)
    least = torch.stack([found.bound_latency, found.bound_energy], dim=1)
    logs = torch.stack([found.latency, found.energy], dim=1) + correction
    half = (model.quantile * log_scale.exp()).double().numpy()
    return _with_power(torch.maximum(logs, least).numpy(), model), half


def score_ours(model: DesignPredictor, rows: Rows) -> list[Score]:
    """Scores of the predictor on each part but training."""
    return [one for part in PARTS[1:] for one in _score(model, rows, part, {"ours": _ours})]


def _score(
    model: DesignPredictor,
    rows: Rows,
    part: str,
    methods: dict[str, Callable[[DesignPredictor, Closed], Answer]],
) -> list[Score]:
    some = rows.take(rows.part == PARTS.index(part))
    if not len(some):
        return []
    found = closed_of(model, some)
    exact = _with_power(some.logs, model)
    group = np.column_stack([some.layer, some.machine])
    return [
        one
        for name, ask in methods.items()
        for one in score(name, part, exact, *_first(ask(model, found), group))
    ]


def _first(answer: Answer, group: NDArray) -> tuple[Floats, NDArray, Floats | None]:
    return answer[0], group, answer[1]


def _errors(scores: list[Score]) -> dict[str, dict[str, float]]:
    return {
        f"{one.quadrant}: {one.metric}": {
            "rows": one.rows,
            "median_error": round(one.median_error, 5),
            "spearman_in_layer": round(one.spearman, 5),
            "coverage": round(one.coverage or 0, 4),
        }
        for one in scores
    }


def _stack(latency: Tensor, energy: Tensor, model: DesignPredictor) -> Answer:
    return _with_power(torch.stack([latency, energy], dim=1).numpy(), model), None


def report(data: Path, model: DesignPredictor, out: Path, seed: int = 0) -> str:
    """Markdown of the scores of every method; writes CSV, Markdown and plots into `out`."""
    rows = load(data)
    learnt = rows.take(rows.part == PARTS.index("train"))
    trees = _trees(model, learnt, seed)
    methods: dict[str, Callable[[DesignPredictor, Closed], Answer]] = {
        "ours": _ours,
        "closed": lambda m, c: _stack(c.latency, c.energy, m),
        "trees": trees,
        "bound": lambda m, c: _stack(c.bound_latency, c.bound_energy, m),
    }
    scores = [one for part in PARTS[1:] for one in _score(model, rows, part, methods)]
    out.mkdir(parents=True, exist_ok=True)
    with (out / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(Score)])
        for one in scores:
            values = [getattr(one, field.name) for field in fields(Score)]
            writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in values])
    text = _markdown(scores)
    (out / "scores.md").write_text(text, encoding="utf-8")
    for part in PARTS[1:]:
        some = rows.take(rows.part == PARTS.index(part))
        if len(some):
            answer, _ = _ours(model, closed_of(model, some))
            name = f"regression-{part.replace(' ', '-')}.png"
            _plot(out / name, part, _with_power(some.logs, model), answer)
    return text


def _trees(
    model: DesignPredictor, rows: Rows, seed: int
) -> Callable[[DesignPredictor, Closed], Answer]:
    """Boosted trees on the gap to the bound, with the features that need no closed form."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    found = closed_of(model, rows)
    gaps = rows.logs - torch.stack([found.bound_latency, found.bound_energy], dim=1).numpy()
    seen = found.features[:, :_PLAIN].numpy()
    start = time.process_time()
    fitted = [HistGradientBoostingRegressor(random_state=seed, **_TREES).fit(seen, gaps[:, i])
              for i in range(2)]  # fmt: skip
    note(f"boosted trees: {len(rows)} rows in {time.process_time() - start:.0f} CPU s")

    def ask(m: DesignPredictor, some: Closed) -> Answer:
        plain = some.features[:, :_PLAIN].numpy()
        added = np.column_stack([np.maximum(tree.predict(plain), 0) for tree in fitted])
        bound = torch.stack([some.bound_latency, some.bound_energy], dim=1).numpy()
        return _with_power(bound + added, m), None

    return ask


def _plot(path: Path, part: str, exact: Floats, predicted: Floats) -> None:
    """Write a PNG: predicted against exact, a panel a metric, at most 6,000 points."""
    from matplotlib.figure import Figure

    shown = np.random.default_rng(0).permutation(len(exact))[:6000]
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    figure.suptitle(f"Tensorlib space, predicted against exact: {part}")
    panels = figure.subplots(1, 3)
    for i, name in enumerate(("latency (cycles)", "energy (nJ)", "power (mW)")):
        x, y = np.exp(exact[shown, i]), np.exp(predicted[shown, i])
        panels[i].loglog(x, y, ".", markersize=2, alpha=0.35, rasterized=True)
        panels[i].loglog([x.min(), x.max()], [x.min(), x.max()], "k-", linewidth=0.8)
        panels[i].set(xlabel=f"exact {name}", ylabel="predicted" if i == 0 else "")
        panels[i].grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def _markdown(scores: list[Score]) -> str:
    lines = []
    for part in dict.fromkeys(one.quadrant for one in scores):
        here = [one for one in scores if one.quadrant == part]
        lines += [f"### {part}: {here[0].rows} rows, {here[0].layers} layers", ""]
        lines += ["| method | metric | median error | 9 of 10 below | rank in a layer | in the "
                  "interval |", "|---|---|--:|--:|--:|--:|"]  # fmt: skip
        for one in here:
            inside = "" if one.coverage is None else f"{100 * one.coverage:.1f} %"
            lines.append(
                f"| {LABELS[one.method]} | {one.metric} | {100 * one.median_error:.2f} % | "
                f"{100 * one.p90_error:.2f} % | {one.spearman:.4f} | {inside} |"
            )
        lines.append("")
    return "\n".join(lines)
