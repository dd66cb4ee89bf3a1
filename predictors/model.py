"""Our predictor: the gap to the physical bound, as a closed form and what a network adds to it.

    log metric = log bound + log (closed form / bound) + correction(features)

The closed form (loops, traffic, timing, energy) follows the dataflow's loops with mean steps; what
it leaves out, the network learns from the data, together with how far off it may be. Without the
closed form (`closed=False`, for comparison) the network learns the whole gap to the bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from predictors.energy import Prices
from predictors.features import CLOSED_NAMES, PLAIN_NAMES, Estimate, estimate
from predictors.interface import Prediction, Relaxed

_LEAST_SCALE = math.log(1e-4)
_MOST_SCALES = {True: math.log(0.5), False: math.log(4.0)}
"""Of what remains, with and without the closed form."""
_MOST_STEPS = 3.0
"""A correction of the closed form is at most so many scales: where the closed form is exact the
scale is small and nothing is spoilt, and far from the data no correction runs away."""
_REACH = 6.0
"""Standardised features are clipped here: a relaxed dataflow may leave the data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Size of the network."""

    width: int = 256
    layers: int = 3
    closed: bool = True

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that the network sees."""
        return (*PLAIN_NAMES, *CLOSED_NAMES) if self.closed else PLAIN_NAMES


class GapPredictor(nn.Module):
    """Latency and energy of relaxed dataflows with an interval each."""

    def __init__(self, shape: Shape, prices: Prices) -> None:
        super().__init__()
        self.shape = shape
        for name, values in (
            ("sizes", prices.sizes),
            ("table", prices.table),
            ("scalars", prices.scalars),
        ):
            self.register_buffer(f"price_{name}", values.double())
        number = len(shape.features)
        self.register_buffer("mean", torch.zeros(number))
        self.register_buffer("spread", torch.ones(number))
        self.register_buffer("quantile", torch.full((2,), 2.944))  # logistic: 90 %
        widths = [number, *[shape.width] * shape.layers]
        parts: list[nn.Module] = []
        for a, b in pairwise(widths):
            parts += [nn.Linear(a, b), nn.SiLU()]
        last = nn.Linear(shape.width, 4)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(*parts, last)

    @property
    def prices(self) -> Prices:
        """The prices that it was trained with."""
        return Prices(sizes=self.price_sizes, table=self.price_table, scalars=self.price_scalars)

    def normalise(self, features: Tensor) -> None:
        """Take mean and spread of the features (n x features) of the training data."""
        self.mean.copy_(features.mean(dim=0))
        self.spread.copy_(features.std(dim=0).clamp(min=1e-3))

    def correct(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Correction of the logs (b x 2) and log scale of what remains (b x 2)."""
        seen = features[:, : len(self.shape.features)]
        scaled = ((seen - self.mean) / self.spread).clamp(-_REACH, _REACH)
        out = self.network(scaled)
        closed = self.shape.closed
        most = _MOST_SCALES[closed]
        log_scale = _LEAST_SCALE + (most - _LEAST_SCALE) * torch.sigmoid(out[:, 2:])
        if not closed:
            return out[:, :2], log_scale
        steps = _MOST_STEPS * torch.tanh(out[:, :2] / _MOST_STEPS)
        return steps * log_scale.exp(), log_scale

    def base(self, found: Estimate) -> Tensor:
        """What is corrected: the closed form, or the bound; logs, b x 2."""
        of = found if self.shape.closed else found.bound
        return torch.stack([of.latency, of.energy], dim=1)

    def forward(self, x: Relaxed) -> Prediction:
        """Prediction for relaxed dataflows; never below the physical bound."""
        return self.finish(estimate(x, self.prices))

    def finish(self, found: Estimate) -> Prediction:
        """Prediction from the closed form of dataflows, however that was computed."""
        correction, log_scale = self.correct(found.features)
        logs = self.base(found) + correction
        least = torch.stack([found.bound.latency, found.bound.energy], dim=1)
        logs = torch.maximum(logs, least.detach() - 1e-6)
        time_us = logs[:, 0] - self.price_scalars[2].log()
        return Prediction(
            log_latency=logs[:, 0],
            log_energy=logs[:, 1],
            log_power=logs[:, 1] - time_us,
            half_width=self.quantile * log_scale.exp(),
            l1_excess=found.l1_excess,
            l2_excess=found.l2_excess,
        )


def logistic_loss(correction: Tensor, log_scale: Tensor, target: Tensor) -> Tensor:
    """Mean negative log likelihood of b x 2 targets under logistic distributions.

    Its best correction lies between mean and median: rare large errors are heard, not obeyed.
    """
    off = (correction - target).abs() * (-log_scale).exp()
    return (off + 2 * nn.functional.softplus(-off) + log_scale).mean()
