"""Predictor of the Tensorlib space: latency, energy and power of a layer on a design.

    log metric = log bound + log (closed form / bound) + correction(features)

The closed form (`tensorlib_form`) knows tiles, words and events; what it leaves out the network
learns from exact results, together with how far off it may be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from predictors.checkpoint import FORMAT, UNITS, read_tensors, write_tensors
from predictors.interface import PredictorError
from predictors.tensorlib_form import Closed, closed_form
from predictors.tensorlib_point import (
    ARRAY_NAMES,
    FEATURE_NAMES,
    LAYER_NAMES,
    MACHINE_NAMES,
    PRICE_SHAPE,
    SCALARS,
    Point,
)

SPACE = "tensorlib"
WEIGHTS = Path(__file__).parent / "weights" / SPACE
SHIPPED = WEIGHTS / "ours.safetensors"

_LEAST_SCALE, _MOST_SCALE = math.log(1e-3), math.log(1.0)
_MOST_STEPS = 3.0
"""A correction is at most so many scales, as in `predictors.model`."""
_REACH = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Size of the network."""

    width: int = 128
    layers: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What the predictor says of b points; every tensor has a gradient by the point.

    Attributes:
        log_latency, log_energy, log_power: b, logs of cycles, nJ, mW.
        half_width: b x 2, of latency and energy in logs: an interval for nine of ten layers.
        excess: b x 4, log of need over limit; above 0 the program does not fit its banks.
    """

    log_latency: Tensor
    log_energy: Tensor
    log_power: Tensor
    half_width: Tensor
    excess: Tensor

    @property
    def fits(self) -> Tensor:
        """b, whether all banks hold their tiles."""
        return (self.excess <= 1e-6).all(dim=1)


class DesignPredictor(nn.Module):
    """Latency and energy of points with an interval each."""

    def __init__(self, shape: Shape, prices: Tensor, scalars: Tensor) -> None:
        super().__init__()
        for name, value, wanted in (
            ("prices", prices, PRICE_SHAPE),
            ("scalars", scalars, (len(SCALARS),)),
        ):
            if tuple(value.shape) != wanted:
                raise PredictorError(f"{name} of shape {tuple(value.shape)}; accepted: {wanted}")
        self.shape = shape
        self.register_buffer("prices", prices.double())
        self.register_buffer("scalars", scalars.double())
        number = len(FEATURE_NAMES)
        self.register_buffer("mean", torch.zeros(number))
        self.register_buffer("spread", torch.ones(number))
        self.register_buffer("quantile", torch.full((2,), 2.944))  # logistic: 90 %
        parts: list[nn.Module] = []
        for one, two in pairwise([number, *[shape.width] * shape.layers]):
            parts += [nn.Linear(one, two), nn.SiLU()]
        last = nn.Linear(shape.width, 4)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(*parts, last)

    def normalise(self, features: Tensor) -> None:
        """Take mean and spread of the features (n x features) of the training data."""
        self.mean.copy_(features.mean(dim=0))
        self.spread.copy_(features.std(dim=0).clamp(min=1e-2))

    def closed(self, points: Point) -> Closed:
        """The closed form of points with this predictor's prices."""
        return closed_form(points, self.prices, self.scalars)

    def correct(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Correction of the logs (b x 2) and log scale of what remains (b x 2)."""
        out = self.network(((features - self.mean) / self.spread).clamp(-_REACH, _REACH))
        log_scale = _LEAST_SCALE + (_MOST_SCALE - _LEAST_SCALE) * torch.sigmoid(out[:, 2:])
        steps = _MOST_STEPS * torch.tanh(out[:, :2] / _MOST_STEPS)
        return steps * log_scale.exp(), log_scale

    def forward(self, points: Point) -> Estimate:
        """Prediction for points; latency is never below the physical bound."""
        found = self.closed(points)
        correction, log_scale = self.correct(found.features)
        latency = torch.maximum(found.latency + correction[:, 0], found.bound_latency.detach())
        energy = torch.maximum(found.energy + correction[:, 1], found.bound_energy.detach())
        return Estimate(
            log_latency=latency,
            log_energy=energy,
            log_power=energy - latency + self.scalars[-1].log(),
            half_width=self.quantile * log_scale.exp(),
            excess=found.excess,
        )


def describe(model: DesignPredictor) -> dict[str, Any]:
    """What every card holds, and what `load` compares."""
    names = {"layer": LAYER_NAMES, "machine": MACHINE_NAMES, "array": ARRAY_NAMES}
    return {
        "format": FORMAT,
        "space": SPACE,
        "metrics": UNITS,
        "kind": "ours",
        "inputs": {name: list(of) for name, of in names.items()},
        "features": list(FEATURE_NAMES),
        "shape": asdict(model.shape),
    }


def save(path: Path, model: DesignPredictor, card: Mapping[str, Any]) -> None:
    """Write a checkpoint; the card says where the weights come from, this adds what they are."""
    write_tensors(path, model.state_dict(), {**describe(model), **card})


def load(path: Path) -> tuple[DesignPredictor, dict[str, Any]]:
    """A predictor ready to predict, and its card.

    Raises: PredictorError for a file that is damaged, of another program, space or format, made
        for other features, or that holds numbers that are not finite.
    """
    tensors, card = read_tensors(path)
    for name, wanted in (("format", FORMAT), ("space", SPACE), ("metrics", UNITS),
                         ("kind", "ours")):  # fmt: skip
        if card.get(name) != wanted:
            raise PredictorError(f"{path}: {name} is {card.get(name)!r}; accepted: {wanted!r}")
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise PredictorError(f"{path}: {name} holds numbers that are not finite; train again")
    try:
        shape = Shape(**card["shape"])
        if not 1 <= shape.width <= 1 << 12 or not 1 <= shape.layers <= 16:
            raise ValueError(f"shape {shape}")
        model = DesignPredictor(shape, tensors["prices"], tensors["scalars"])
    except (KeyError, TypeError, ValueError) as error:
        raise PredictorError(
            f"{path}: its card does not describe a network ({error}); train it again with "
            "`dcp-hw train --space tensorlib`"
        ) from None
    expected = describe(model)
    if any(card.get(name) != expected[name] for name in ("features", "inputs")):
        raise PredictorError(f"{path}: made for other features than this version computes; "
                             "train it again with `dcp-hw train --space tensorlib`")  # fmt: skip
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise PredictorError(f"{path}: weights do not fit the network ({reason})") from None
    return model.eval().requires_grad_(False), card
