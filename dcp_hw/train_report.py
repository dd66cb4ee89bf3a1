"""Judge trained predictors on the four quadrants of a data set, beside what needs no network."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dcp_hw.errors import InputError
from dcp_hw.process import note
from dcp_hw.train import HELD_SHARE, gap_batch, predictor_errors, prices
from dcp_hw.train_data import QUADRANTS, Samples, manifest_hash, read_samples
from dcp_hw.train_plots import regression_plot
from dcp_hw.train_scores import METRICS, Floats, Score, score
from predictors.checkpoint import KINDS, load
from predictors.features import estimate
from predictors.model import GapPredictor, Shape
from predictors.paper import PaperPredictor

LABELS = {
    "ours": "ours",
    "plain": "ours without the closed form",
    "paper": "the paper's",
    "closed": "closed form alone",
    "trees": "boosted trees",
    "bound": "bound alone",
}

Answer = tuple[Floats, Floats | None]
Method = Callable[[Samples], Answer]
"""Natural logs of latency, energy and power (n x 3), and half widths of intervals (n x 2)."""

_TREES: dict[str, Any] = {"max_iter": 400, "learning_rate": 0.1, "max_leaf_nodes": 63}
_TREE_ROWS = 200_000
"""Trees get the rows of the largest training, but at most so many: they take minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """All scores, and microseconds of one prediction by method."""

    scores: tuple[Score, ...]
    microseconds: dict[str, float]
    cards: dict[str, dict[str, Any]]

    def summary(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "scores": [asdict(one) for one in self.scores],
            "microseconds": self.microseconds,
        }

    def markdown(self) -> str:
        """A table for each quadrant: a row a method, four columns a metric."""
        lines = []
        for quadrant in QUADRANTS:
            lines += [f"### {quadrant}", "", *self._table(quadrant), ""]
        return "\n".join(lines)

    def _table(self, quadrant: str) -> list[str]:
        columns = [f"{metric}: {what}" for metric in METRICS for what in _COLUMNS]
        lines = ["| method | " + " | ".join(columns) + " |"]
        lines.append("|---" * (len(columns) + 1) + "|")
        for method, label in LABELS.items():
            found = {
                one.metric: one
                for one in self.scores
                if one.method == method and one.quadrant == quadrant
            }
            if found:
                cells = [cell for metric in METRICS for cell in _cells(found[metric])]
                lines.append(f"| {label} | " + " | ".join(cells) + " |")
        return lines


_COLUMNS = ("median error", "9 of 10 below", "rank in a layer", "on one machine")


def _cells(one: Score) -> tuple[str, ...]:
    errors = (f"{100 * value:.2f} %" for value in (one.median_error, one.p90_error))
    return (*errors, f"{one.spearman:.4f}", f"{one.spearman_machine:.4f}")


def report(data: Path, weights: Path, out: Path, *, layers: int, threads: int) -> Judged:
    """Scores of every method; writes CSV, Markdown and regression plots.

    Raises: InputError for weights that are missing, damaged, or were trained on other data.
    """
    torch.set_num_threads(threads)
    models, cards = _trained(weights, manifest_hash(data))
    methods = {name: _of_model(model) for name, model in models.items()}
    most = max(card["rows"] for card in cards.values())
    drawn, taken = _seed(cards), round(most / (1 - HELD_SHARE)) + 1
    trees = _trees(data, min(most, _TREE_ROWS), drawn)
    methods |= {"closed": _closed, "bound": _bound, "trees": trees}
    quadrants = {}
    for name, (of_layers, of_dataflows) in QUADRANTS.items():
        note(f"reading {name}")
        seen = of_layers == of_dataflows == "train"
        quadrants[name] = read_samples(
            data,
            of_layers,
            of_dataflows,
            most=None,
            seed=drawn,
            skip=taken if seen else 0,
            layers_most=layers,
        )
    scores, answers, speed = [], {}, {}
    for method, ask in methods.items():
        for name, rows in quadrants.items():
            note(f"{LABELS[method]} on {name}: {len(rows)} rows")
            start = time.process_time()
            logs, half = ask(rows)
            speed[method] = 1e6 * (time.process_time() - start) / max(len(rows), 1)
            scores += score(method, name, rows.logs, logs, rows.group, half)
            answers[method, name] = logs
    judged = Judged(scores=tuple(scores), microseconds=speed, cards=cards)
    _write(judged, out)
    for method in methods:
        regression_plot(
            out / f"regression-{method}.png",
            LABELS[method],
            {name: (rows.logs, answers[method, name]) for name, rows in quadrants.items()},
        )
    return judged


def _seed(cards: dict[str, dict[str, Any]]) -> int:
    """The seed of the rows; with one seed, a smaller training took a part of a larger one's."""
    seeds = {int(card["seed"]) for card in cards.values()}
    if len(seeds) != 1:
        raise InputError(f"weights of seeds {sorted(seeds)}; accepted: one seed for all, so that "
                         "rows not seen in training are known")  # fmt: skip
    return seeds.pop()


def _trained(weights: Path, source: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    models, cards = {}, {}
    for kind in KINDS:
        path = weights / f"{kind}.safetensors"
        if not path.exists():
            note(f"{path}: not there, left out")
            continue
        with predictor_errors():
            models[kind], cards[kind] = load(path, kind=kind)
        if missing := {"rows", "seed", "data_manifest_sha256"} - cards[kind].keys():
            raise InputError(f"{path}: its card lacks {', '.join(sorted(missing))}; train it again")
        if cards[kind]["data_manifest_sha256"] != source:
            raise InputError(f"{path}: trained on another data set than this; accepted: the one "
                             "its card names, or weights trained on this")  # fmt: skip
    if not models:
        raise InputError(f"{weights}: no checkpoints; accepted: a folder with one or more of "
                         f"{', '.join(f'{kind}.safetensors' for kind in KINDS)}")  # fmt: skip
    return models, cards


# --- methods ---------------------------------------------------------------------------------


def _of_model(model: GapPredictor | PaperPredictor) -> Method:
    @torch.no_grad()
    def ours(rows: Samples) -> Answer:
        logs, halves = [], []
        for x in rows.relaxed():
            found = model(x)
            parts = (found.log_latency, found.log_energy, found.log_power)
            logs.append(torch.stack(parts, dim=1))
            halves.append(found.half_width)
        return torch.cat(logs).numpy(), torch.cat(halves).numpy().astype(np.float64)

    @torch.no_grad()
    def paper(rows: Samples) -> Answer:
        parts = torch.from_numpy(rows.paper).split(8192)
        return torch.cat([model(part) for part in parts]).double().numpy(), None

    return paper if isinstance(model, PaperPredictor) else ours


def _with_power(logs: NDArray[Any]) -> Floats:
    """Latency and energy with power, which follows at the data set's clock."""
    clock = float(np.log(float(prices().scalars[2])))
    return np.column_stack([logs, logs[:, 1] - logs[:, 0] + clock]).astype(np.float64)


@torch.no_grad()
def _base(rows: Samples, *, closed: bool) -> Floats:
    model = GapPredictor(Shape(closed=closed), prices())
    parts = [model.base(estimate(x, model.prices)) for x in rows.relaxed()]
    return torch.cat(parts).numpy()


def _closed(rows: Samples) -> Answer:
    return _with_power(_base(rows, closed=True)), None


def _bound(rows: Samples) -> Answer:
    return _with_power(_base(rows, closed=False)), None


def _trees(data: Path, rows: int, seed: int) -> Method:
    """Boosted trees on the gap to the bound, with the features that need no closed form."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = GapPredictor(Shape(closed=False), prices())
    features, gaps = gap_batch(model, read_samples(data, "train", "train", most=rows, seed=seed))
    note(f"boosted trees: {len(features)} rows")
    fitted = [
        HistGradientBoostingRegressor(random_state=seed, **_TREES).fit(features, gaps[:, i])
        for i in range(2)
    ]

    def ask(some: Samples) -> Answer:
        seen, _ = gap_batch(model, some)
        added = np.column_stack([tree.predict(seen) for tree in fitted])
        return _with_power(_base(some, closed=False) + np.maximum(added, 0)), None

    return ask


# --- files -----------------------------------------------------------------------------------


def _write(judged: Judged, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with (out / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(Score)])
        for one in judged.scores:
            values = [getattr(one, field.name) for field in fields(Score)]
            writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in values])
    (out / "scores.md").write_text(judged.markdown(), encoding="utf-8")
