"""Frozen predictors for propagation: loaded, checked against the machine, behind one signature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from dcp_hw.baselines.problem import Accelerator
from dcp_hw.errors import InputError
from dcp_hw.train_cli import WEIGHTS
from predictors.checkpoint import load
from predictors.interface import Prediction, PredictorError, Relaxed
from predictors.model import GapPredictor

SHIPPED = WEIGHTS / "ours.safetensors"


@dataclass(frozen=True, slots=True)
class Frozen:
    """A predictor that learns no more.

    Attributes:
        samples: rows that it was trained on.
        technology, clock_mhz: what its energies hold for; None: not stated.
    """

    predict: Callable[[Relaxed], Prediction]
    samples: int = 0
    technology: str | None = None
    clock_mhz: float | None = None

    @property
    def closed(self) -> bool:
        """Whether it has a closed form, which judges many dataflows in little time."""
        return isinstance(self.predict, GapPredictor) and self.predict.shape.closed

    def check(self, accelerator: Accelerator) -> None:
        """Raises: InputError if it was trained for other energies."""
        for name in ("technology", "clock_mhz"):
            mine, asked = getattr(self, name), getattr(accelerator, name)
            if mine is not None and mine != asked:
                raise InputError(
                    f"{name} {asked} asked for; the predictor was trained for {mine} "
                    "(train another with `dcp-hw dataset` and `dcp-hw train`)"
                )


def load_frozen(path: Path | None = None) -> Frozen:
    """The predictor of a checkpoint; the shipped one without a path.

    Raises: InputError for a file that is not there, damaged, or holds a predictor that cannot say
        anything about mixtures (the paper's).
    """
    path = path or SHIPPED
    if not path.exists():
        raise InputError(f"{path}: no checkpoint; train one with `dcp-hw train`, or give --weights")
    try:
        model, card = load(path)
    except PredictorError as error:
        raise InputError(str(error)) from None
    if not isinstance(model, GapPredictor):
        raise InputError(
            f"{path}: a predictor of kind {card.get('kind')!r}; accepted: 'ours' or 'plain', whose "
            "input is a relaxed dataflow"
        )
    return Frozen(
        predict=freeze(model),
        samples=int(card.get("rows", 0)),
        technology=card.get("technology"),
        clock_mhz=card.get("clock_mhz"),
    )


def freeze(model: torch.nn.Module) -> Callable[[Relaxed], Prediction]:
    """The model without dropout and without gradients of its weights."""
    return model.eval().requires_grad_(False)
