"""Train a predictor of the MAESTRO space on rows of the benchmark data set."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dcp_hw.errors import InputError
from dcp_hw.maestro.dataset_plan import CLOCK_MHZ, TECHNOLOGY
from dcp_hw.process import note
from dcp_hw.technology import load_technology
from dcp_hw.train_data import Samples, manifest_hash, read_samples
from dcp_hw.train_prices import price_rows
from predictors.checkpoint import KINDS, parameters, save
from predictors.energy import Prices
from predictors.features import Estimate, estimate
from predictors.interface import PredictorError
from predictors.model import GapPredictor, Shape, logistic_loss
from predictors.paper import PaperPredictor, log_cosh_loss
from predictors.train import Batch, Epoch, Schedule, check_finite, fit

STATE, CHECKPOINT, CURVE = "state.safetensors", "{kind}.safetensors", "{kind}-curve"
COVERAGE = 0.9
"""Share of the rows of held-out layers that an interval holds."""
HELD_SHARE = 0.2
CALIBRATION_ROWS = 40_000

DEFAULT_ROWS = 1_000_000
SCHEDULES = {
    "ours": Schedule(epochs=10, batch=1024, learning_rate=1.5e-3, weight_decay=1e-6),
    "plain": Schedule(epochs=10, batch=1024, learning_rate=1.5e-3, weight_decay=1e-6),
    # As the paper states; it does not state the batch.
    "paper": Schedule(
        epochs=50,
        batch=1024,
        learning_rate=1e-2,
        epsilon=1e-3,
        weight_decay=1e-7,
        cosine=False,
        clip=None,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to train, on what, into which folder."""

    kind: str
    data: Path
    out: Path
    seed: int = 0
    rows: int = DEFAULT_ROWS
    minutes: float | None = None
    epochs: int | None = None
    machine: int | None = None
    threads: int = 2

    @property
    def schedule(self) -> Schedule:
        """The schedule of its kind, with what was asked for instead."""
        found = SCHEDULES[self.kind]
        seconds = None if self.minutes is None else 60 * self.minutes
        return replace(found, seconds=seconds, epochs=self.epochs or found.epochs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Where a training ended."""

    checkpoint: Path
    curve: tuple[Epoch, ...]
    card: dict[str, Any]


@contextmanager
def predictor_errors() -> Iterator[None]:
    """What a predictor refuses is wrong input like any other."""
    try:
        yield
    except PredictorError as error:
        raise InputError(str(error)) from None


def train(order: Order) -> Trained:
    """Train, or go on with a training that was stopped, and write checkpoint and curve.

    Raises: InputError for data that cannot be learnt from, or a folder with another training.
    """
    if order.kind not in KINDS:
        raise InputError(f"model '{order.kind}' not found; have {', '.join(KINDS)}")
    torch.set_num_threads(order.threads)
    source = manifest_hash(order.data)
    found = read_samples(
        order.data, "train", "train", most=order.rows, seed=order.seed, machine=order.machine
    )
    held = max(1, round(HELD_SHARE * len(found)))
    if held >= len(found):
        raise InputError(f"{order.data}: {len(found)} row to train on; accepted: 2 and more")
    with predictor_errors():
        return _train(order, found, held, source)


def _train(order: Order, found: Samples, held: int, source: str) -> Trained:
    parts = (found.take(np.arange(held, len(found))), found.take(np.arange(held)))
    torch.manual_seed(order.seed)
    if order.kind == "paper":
        model: nn.Module = PaperPredictor()
        data, kept, loss = *_paper_batches(model, *parts), _paper_loss
    else:
        model = GapPredictor(Shape(closed=order.kind == "ours"), prices())
        data, kept, loss = *_gap_batches(model, *parts), _gap_loss
    for name, batch in (("training rows", data), ("held rows", kept)):
        check_finite({f"{name}, tensor {i}": tensor for i, tensor in enumerate(batch)})
    schedule = order.schedule
    facts = {
        "data_manifest_sha256": source,
        "rows": len(data[0]),
        "machine": order.machine,
        "kind": order.kind,
    }
    note(f"{order.kind}: {parameters(model)} parameters, {len(data[0])} rows, "
         f"{schedule.epochs} epochs")  # fmt: skip
    curve = fit(
        model,
        loss,
        data,
        kept,
        schedule,
        seed=order.seed,
        state=order.out / STATE,
        identity=facts,
        report=lambda epoch: note(
            f"{order.kind}: epoch {epoch.epoch}/{schedule.epochs} after {epoch.seconds:.0f} s: "
            f"loss {epoch.training_loss:.4f}, held out {epoch.held_loss:.4f}"
        ),
    )
    card = {
        **facts,
        "seed": order.seed,
        "schedule": asdict(schedule),
        "training_seconds": curve[-1].seconds,
        "epochs_done": curve[-1].epoch,
        "technology": TECHNOLOGY,
        "clock_mhz": CLOCK_MHZ,
    }
    if isinstance(model, GapPredictor):
        card["calibration"] = _calibrate(model, order)
    path = order.out / CHECKPOINT.format(kind=order.kind)
    save(path, model, card)
    write_curve(order.out / CURVE.format(kind=order.kind), order.kind, curve)
    return Trained(checkpoint=path, curve=tuple(curve), card=card)


# --- batches and losses --------------------------------------------------------------------


def prices() -> Prices:
    """Prices of the data set's technology and clock."""
    arrays = price_rows(load_technology(TECHNOLOGY), CLOCK_MHZ)
    sizes, table, scalars = (torch.from_numpy(one) for one in arrays)
    return Prices(sizes=sizes, table=table, scalars=scalars)


def _paper_batches(model: PaperPredictor, data: Samples, held: Samples) -> tuple[Batch, Batch]:
    batches = data.tensors(), held.tensors()
    model.normalise(*batches[0])
    return batches


def _paper_loss(model: nn.Module, batch: Batch) -> Tensor:
    codes, logs = batch
    real = (logs - model.metric_mean) / model.metric_spread
    return log_cosh_loss(model.scaled(codes), real)


def _gap_batches(model: GapPredictor, data: Samples, held: Samples) -> tuple[Batch, Batch]:
    batches = gap_batch(model, data), gap_batch(model, held)
    model.normalise(batches[0][0])
    return batches


@torch.no_grad()
def gap_batch(model: GapPredictor, samples: Samples) -> Batch:
    """Features (n x features) and what is to be corrected (n x 2), float32."""
    number = len(model.shape.features)
    features, targets, start = [], [], 0
    known = torch.from_numpy(samples.logs[:, :2])
    for x in samples.relaxed():
        found: Estimate = estimate(x, model.prices)
        features.append(found.features[:, :number])
        targets.append((known[start : start + len(x)] - model.base(found)).float())
        start += len(x)
    return torch.cat(features), torch.cat(targets)


def _gap_loss(model: nn.Module, batch: Batch) -> Tensor:
    features, target = batch
    return logistic_loss(*model.correct(features), target)


@torch.no_grad()
def _calibrate(model: GapPredictor, order: Order) -> dict[str, Any]:
    """Scale the intervals so that they hold their share on layers that were held out."""
    held = read_samples(order.data, "validation", None, most=CALIBRATION_ROWS, seed=order.seed)
    features, target = gap_batch(model, held)
    correction, log_scale = model.correct(features)
    ratio = (correction - target).abs() / log_scale.exp()
    model.quantile.copy_(torch.quantile(ratio, COVERAGE, dim=0))
    return {
        "coverage": COVERAGE,
        "rows": len(held),
        "layers": len(np.unique(held.group[:, 0])),
        "quantile": [round(float(q), 4) for q in model.quantile],
    }


# --- the curve -----------------------------------------------------------------------------


def write_curve(stem: Path, title: str, curve: Sequence[Epoch]) -> None:
    """Losses by epoch as CSV and PNG beside each other."""
    with stem.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(asdict(curve[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(epoch) for epoch in curve)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    epochs = [epoch.epoch for epoch in curve]
    for name, label in (("training_loss", "training"), ("held_loss", "held out")):
        values = [getattr(epoch, name) for epoch in curve]
        axes.plot(epochs, [v if math.isfinite(v) else None for v in values], label=label)
    axes.set(xlabel="epoch", ylabel="loss", title=f"predictor '{title}'")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(stem.with_suffix(".png"), dpi=120)
