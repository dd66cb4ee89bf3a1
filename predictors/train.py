"""Training on tensors: epochs of shuffled batches, a state file after each, the same run resumed.

A run that is killed and started again ends with the same weights as one that was not, unless it
has a limit of time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from predictors.checkpoint import read_tensors, write_tensors
from predictors.interface import PredictorError

Batch = tuple[Tensor, ...]
Loss = Callable[[nn.Module, Batch], Tensor]

_HELD_BATCH = 8192
_WARM = 0.02  # share of the training in which the rate rises


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How to train; Adam.

    Attributes:
        cosine: the rate rises, then falls to nothing; otherwise it stays.
        seconds: end (and fall) after so much training time; None: after the epochs.
    """

    epochs: int
    batch: int
    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    cosine: bool = True
    clip: float | None = 1.0
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One row of the curves."""

    epoch: int
    rows: int  # seen so far
    seconds: float  # of training so far
    training_loss: float
    held_loss: float


@dataclass(slots=True)
class _Run:
    """What changes during a training."""

    epoch: int = 0
    seconds: float = 0.0
    curve: list[Epoch] | None = None


def check_finite(data: Mapping[str, Tensor]) -> None:
    """Raises: PredictorError that names the tensor with numbers that are not finite."""
    for name, values in data.items():
        wrong = ~torch.isfinite(values)
        if bool(wrong.any()):
            rows = int(wrong.reshape(len(values), -1).any(dim=1).sum())
            raise PredictorError(
                f"{name}: {rows} of {len(values)} rows hold NaN or infinity; accepted: finite "
                "numbers (rows without metrics are infeasible: leave them out)"
            )


def fit(
    model: nn.Module,
    loss: Loss,
    data: Batch,
    held: Batch,
    schedule: Schedule,
    *,
    seed: int,
    state: Path,
    identity: Mapping[str, Any],
    report: Callable[[Epoch], None] = lambda _: None,
) -> list[Epoch]:
    """The curve of a training; the model holds its result.

    Args:
        data, held: tensors of equal length each; the second is never learnt from.
        state: file that holds the training between epochs; one that is there is gone on with.
        identity: what the training follows from, compared with that of the file.
    Raises: PredictorError for a state of another training, empty data, or a loss that is no
        number.
    """
    if not len(data[0]) or not len(held[0]):
        raise PredictorError("no rows to train on; accepted: at least one, and one held out")
    adam = torch.optim.Adam(
        model.parameters(),
        lr=schedule.learning_rate,
        betas=schedule.betas,
        eps=schedule.epsilon,
        weight_decay=schedule.weight_decay,
    )
    whole = json.loads(json.dumps({**identity, "seed": seed, "schedule": asdict(schedule)}))
    torch.manual_seed(seed)
    run = _restore(state, model, adam, whole) if state.exists() else _Run(curve=[])
    assert run.curve is not None
    while not _finished(run, schedule):
        training = _epoch(model, loss, data, schedule, adam, seed, run)
        run.epoch += 1
        run.curve.append(
            Epoch(
                epoch=run.epoch,
                rows=run.epoch * len(data[0]),
                seconds=round(run.seconds, 2),
                training_loss=training,
                held_loss=_held_loss(model, loss, held),
            )
        )
        _store(state, model, adam, whole, run)
        report(run.curve[-1])
    model.eval()
    return run.curve


def _finished(run: _Run, schedule: Schedule) -> bool:
    late = schedule.seconds is not None and run.seconds >= schedule.seconds
    return late or run.epoch >= schedule.epochs


def _epoch(
    model: nn.Module,
    loss: Loss,
    data: Batch,
    schedule: Schedule,
    adam: torch.optim.Adam,
    seed: int,
    run: _Run,
) -> float:
    """Mean loss of one pass over the data, cut short where the time is up."""
    model.train()
    order = torch.randperm(len(data[0]), generator=torch.Generator().manual_seed(seed + run.epoch))
    steps = -(-len(order) // schedule.batch)
    total, done = 0.0, 0
    for step, which in enumerate(order.split(schedule.batch)):
        if schedule.seconds is not None and run.seconds >= schedule.seconds:
            break
        start = time.monotonic()
        share = (run.epoch + step / steps) / schedule.epochs
        if schedule.seconds is not None:
            share = max(share, run.seconds / schedule.seconds)
        for group in adam.param_groups:
            group["lr"] = schedule.learning_rate * _rate(share, schedule.cosine)
        value = loss(model, tuple(tensor[which] for tensor in data))
        if not bool(torch.isfinite(value)):
            raise PredictorError(f"the loss became {value.item()} in epoch {run.epoch + 1}; "
                                 "lower the learning rate or look at the data")  # fmt: skip
        adam.zero_grad()
        value.backward()
        if schedule.clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), schedule.clip)
        adam.step()
        total, done = total + value.item() * len(which), done + len(which)
        run.seconds += time.monotonic() - start
    return total / max(done, 1)


def _rate(share: float, cosine: bool) -> float:
    """Learning rate as a share of the highest, after a share of the training."""
    if not cosine:
        return 1.0
    warm = min(1.0, (share + 1e-3) / _WARM)
    return warm * (0.5 + 0.5 * float(torch.cos(torch.tensor(min(share, 1.0) * torch.pi))))


@torch.no_grad()
def _held_loss(model: nn.Module, loss: Loss, held: Batch) -> float:
    model.eval()
    total = 0.0
    for start in range(0, len(held[0]), _HELD_BATCH):
        part = tuple(tensor[start : start + _HELD_BATCH] for tensor in held)
        total += loss(model, part).item() * len(part[0])
    return total / len(held[0])


# --- the state between epochs ------------------------------------------------------------


def _store(
    path: Path, model: nn.Module, adam: torch.optim.Adam, identity: dict[str, Any], run: _Run
) -> None:
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for i, slots in adam.state_dict()["state"].items():
        tensors |= {f"adam.{i}.{name}": value for name, value in slots.items()}
    tensors["random"] = torch.get_rng_state()
    curve = [asdict(epoch) for epoch in run.curve or []]
    card = {"identity": identity, "epoch": run.epoch, "seconds": run.seconds, "curve": curve}
    write_tensors(path, tensors, card)


def _restore(
    path: Path, model: nn.Module, adam: torch.optim.Adam, identity: dict[str, Any]
) -> _Run:
    tensors, card = read_tensors(path)
    found = card.get("identity")
    if found != identity:
        found = found if isinstance(found, dict) else {}
        names = [n for n in sorted({*found, *identity}) if found.get(n) != identity.get(n)]
        raise PredictorError(
            f"{path}: holds a training with another {', '.join(names)}; accepted: the same "
            "settings, another folder (--out), or remove this one"
        )
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("adam."):
            _, i, slot = name.split(".", 2)
            slots.setdefault(int(i), {})[slot] = value
    prefix = "model."
    weights = {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}
    try:
        model.load_state_dict(weights)
        groups = adam.state_dict()["param_groups"]
        adam.load_state_dict({"state": slots, "param_groups": groups})
        torch.set_rng_state(tensors["random"])
        curve = [Epoch(**row) for row in card["curve"]]
        return _Run(epoch=int(card["epoch"]), seconds=float(card["seconds"]), curve=curve)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise PredictorError(f"{path}: not a whole state of this training ({error}); remove it "
                             "to start again") from None  # fmt: skip
