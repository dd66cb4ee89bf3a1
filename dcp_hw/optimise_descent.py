"""Propagation: gradient descent on dataflows through a frozen predictor (DCP paper, Sec. 4.3).

For a metric P to minimise the target is R' = P - 1, a constant; the loss is log cosh(P - R'). With
D the dataflow and eta the step:

    D <- D - eta * d/dD  loss(P(D), R')                       one layer          (equation 2)
    D <- D - eta * d/dD  sum over layers of loss              one for all        (equation 3)
    D <- D - eta * sum over metrics of lambda_i * d/dD loss   several metrics    (equation 4)

After each step min-max clipping; every T_int steps rounding to integers. Every dataflow that is
passed is remembered with its prediction: the best ones, not the last, are the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dcp_hw.errors import InputError
from dcp_hw.mapspace import DIMENSIONS, ORDER, PARALLEL, TILE, UNITS
from dcp_hw.optimise_closed import estimate_whole
from dcp_hw.optimise_depth import trivial
from dcp_hw.optimise_form import (
    Form,
    clip,
    dataflow_tensors,
    form_of,
    harden,
    snap,
)
from dcp_hw.optimise_groups import Batch, Group, batch_of
from dcp_hw.optimise_settings import Descent, Relaxation
from predictors.interface import Prediction, Relaxed
from predictors.model import GapPredictor

Predict = Callable[[Relaxed], Prediction]

FITS = 1e-6
"""Excess up to which a dataflow fits, as `Prediction.feasible`."""
_BETAS, _LEAST = (0.8, 0.95), 1e-3
CHUNK = 1536
"""Pairs of layer and dataflow in one tensor: where a step costs least per pair."""


@dataclass(frozen=True, slots=True)
class Passed:
    """Everything that the dataflows of one group passed; p of them.

    Attributes:
        mappings: p x 3 x 14, legal; values: p, predicted weighted logs; fits: p, predicted.
    """

    mappings: Tensor
    values: Tensor
    fits: Tensor

    def best(self, number: int) -> Tensor:
        """At most so many distinct mappings, n x 3 x 14; those that fit first, then by value."""
        order = (self.values + torch.where(self.fits, 0.0, 1e6)).argsort(stable=True)
        rows, inverse = torch.unique(self.mappings[order].flatten(1), dim=0, return_inverse=True)
        first = torch.full((len(rows),), len(order)).scatter_reduce(
            0, inverse, torch.arange(len(order)), "amin"
        )
        return self.mappings[order[first.sort().values[:number]]]


def log_cosh(difference: Tensor) -> Tensor:
    """The paper's loss of one number, without overflow."""
    size = difference.abs()
    return size + torch.nn.functional.softplus(-2 * size) - 0.6931471805599453


def loss_of(values: Tensor) -> Tensor:
    """Loss of each value against the target one below it, which is a constant."""
    return log_cosh(values - (values.detach() - 1))


def descend(
    groups: Sequence[Group],
    starts: Tensor,
    predict: Predict,
    descent: Descent,
    *,
    caution: float = 0.0,
    seed: int = 0,
) -> list[Passed]:
    """What each group's dataflows passed on their way, the starts included.

    Args:
        starts: groups x s x 3 x 14, legal mappings.
        predict: a frozen predictor.

    Raises: InputError if the predictor gives numbers that are not finite.
    """
    number = starts.shape[1]
    found: list[Passed] = []
    for chunk in chunks_of(groups, number):
        part = starts[chunk.start : chunk.stop].flatten(0, 1)
        batch = batch_of(groups[chunk.start : chunk.stop], number)
        found += _descend(batch, part, predict, descent, number, caution, seed)
    return found


def chunks_of(groups: Sequence[Group], starts: int) -> list[range]:
    """Consecutive groups with few enough pairs to be moved together; at least one."""
    out, begin, pairs = [], 0, 0
    for i, group in enumerate(groups):
        size = len(group.problems) * starts
        if i > begin and pairs + size > CHUNK:
            out.append(range(begin, i))
            begin, pairs = i, 0
        pairs += size
    if groups:
        out.append(range(begin, len(groups)))
    return out


def _descend(
    batch: Batch,
    starts: Tensor,
    predict: Predict,
    descent: Descent,
    number: int,
    caution: float,
    seed: int,
) -> list[Passed]:
    """As `descend`, for dataflows that fit into one batch; `number` of each group."""
    random = torch.Generator().manual_seed(seed)
    form = form_of(starts)
    clip(form, batch.limits)
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    best = Best(starts.clone(), torch.full((len(starts),), torch.inf, dtype=torch.float64))
    mappings, mover = starts, Mover(descent)
    for step in range(descent.steps + 1):
        last = step == descent.steps
        if last and descent.relaxation.discrete != "soft":
            value, over = judge(batch, mappings, predict, caution)
        else:
            parts = dataflow_tensors(form, mappings, batch.limits, descent.relaxation)
            value, over = evaluate(batch, parts, predict, caution)
        fits = over.detach() <= FITS
        seen.append((mappings, value.detach(), fits))
        if last:
            break
        best.update(mappings, value.detach(), fits)
        share = descent.last_rate ** (step / max(1, descent.steps - 1))
        mover.move(form, value, over, descent.rate * share)
        if descent.renew_every and (step + 1) % descent.renew_every == 0:
            best.renew(form, number, descent.noise, random)
        clip(form, batch.limits)
        noisy = _noisy(form, descent.relaxation, random)
        mappings = harden(noisy, batch.limits, even=descent.even)
        if (step + 1) % descent.round_every == 0:
            snap(form, mappings)
    merged = [torch.stack(parts, dim=1) for parts in zip(*seen, strict=True)]
    groups = range(0, len(starts), number)
    return [Passed(*(part[i : i + number].flatten(0, 1) for part in merged)) for i in groups]


@dataclass(slots=True)
class Best:
    """The best that each of n dataflows passed so far; infinite where none has fitted."""

    mappings: Tensor
    values: Tensor

    def update(self, mappings: Tensor, values: Tensor, fits: Tensor) -> None:
        """Take what is better, in place."""
        better = fits & (values < self.values)
        self.values = torch.where(better, values, self.values)
        self.mappings = torch.where(better[:, None, None], mappings, self.mappings)

    def renew(self, form: Form, number: int, noise: float, random: torch.Generator) -> None:
        """The worse half of each group goes on near the best of the better half, in place."""
        half = number // 2
        if not half:
            return
        ranked = self.values.reshape(-1, number).argsort(dim=1, stable=True)
        first = torch.arange(len(ranked))[:, None] * number
        good, poor = (ranked[:, :half] + first).flatten(), (ranked[:, -half:] + first).flatten()
        with torch.no_grad():
            for leaf, near in zip(
                form.leaves(), form_of(self.mappings[good]).leaves(), strict=True
            ):
                leaf[poor] = near + noise * torch.randn(near.shape, generator=random)
        self.mappings[poor], self.values[poor] = self.mappings[good], self.values[good]


def evaluate(
    batch: Batch, parts: tuple[Tensor, Tensor, Tensor, Tensor], predict: Predict, caution: float
) -> tuple[Tensor, Tensor]:
    """Weighted logs and excess of n dataflows.

    Raises: InputError if the predictor gives numbers that are not finite.
    """
    return _finite(*batch.objective(predict(batch.relaxed(parts)), caution))


def judge(
    batch: Batch, mappings: Tensor, predict: Predict, caution: float
) -> tuple[Tensor, Tensor]:
    """As `evaluate`, of whole dataflows (n x 3 x 14) and without gradients.

    Raises: InputError if the predictor gives numbers that are not finite.
    """
    return _finite(*batch.objective(predictions(batch, mappings, predict), caution))


@torch.no_grad()
def predictions(batch: Batch, mappings: Tensor, predict: Predict) -> Prediction:
    """What the predictor says of each pair of layer and whole dataflow (n x 3 x 14)."""
    if not isinstance(predict, GapPredictor):
        return predict(batch.relaxed(whole_parts(mappings)))
    rows = (batch.layer, batch.machine, mappings, batch.owner)
    shallow = batch.shallow.numpy() & trivial(mappings.numpy())
    return predict.finish(estimate_whole(*rows, predict.prices, shallow))


def whole_parts(mappings: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log tiles, log units, parallel dimensions and orders of n x 3 x 14 mappings."""
    one_hot = torch.nn.functional.one_hot
    return (
        mappings[:, :, TILE].float().log(),
        mappings[:, :, UNITS].float().log(),
        one_hot(mappings[:, :, PARALLEL], DIMENSIONS).float(),
        one_hot(mappings[:, :, ORDER], DIMENSIONS).float(),
    )


def _finite(value: Tensor, over: Tensor) -> tuple[Tensor, Tensor]:
    if not bool(torch.isfinite(value).all() & torch.isfinite(over).all()):
        raise InputError(
            "the predictor gave NaN or infinity; accepted: a checkpoint of `dcp-hw train` for this "
            "space (train it again, or give another with --weights)"
        )
    return value, over


@dataclass(slots=True)
class Mover:
    """Steps of dataflows against the gradient: the paper's plain ones, or Adam's."""

    descent: Descent
    steps: int = 0
    mean: list[Tensor] | None = None
    square: list[Tensor] | None = None

    def move(self, form: Form, value: Tensor, over: Tensor, rate: float) -> None:
        """One step, in place: `D - rate * gradient`, each number scaled by Adam if asked for."""
        loss = loss_of(value).sum() + self.descent.penalty * over.sum()
        found = torch.autograd.grad(loss, form.leaves(), allow_unused=True)
        gradients = [
            torch.zeros_like(leaf) if gradient is None else gradient.nan_to_num(0.0)
            for leaf, gradient in zip(form.leaves(), found, strict=True)
        ]
        if self.descent.rule == "adam":
            gradients = self._scaled(gradients)
        with torch.no_grad():
            for leaf, gradient in zip(form.leaves(), gradients, strict=True):
                leaf -= rate * gradient

    def _scaled(self, gradients: list[Tensor]) -> list[Tensor]:
        """Adam's steps. Source: Kingma and Ba, "Adam", ICLR 2015."""
        if self.mean is None or self.square is None:
            self.mean = [torch.zeros_like(g) for g in gradients]
            self.square = [torch.zeros_like(g) for g in gradients]
        self.steps += 1
        first, second = _BETAS
        out = []
        for mean, square, gradient in zip(self.mean, self.square, gradients, strict=True):
            mean.lerp_(gradient, 1 - first)
            square.lerp_(gradient**2, 1 - second)
            scale = (square / (1 - second**self.steps)).sqrt() + _LEAST
            out.append(mean / (1 - first**self.steps) / scale)
        return out


def _noisy(form: Form, relaxation: Relaxation, random: torch.Generator) -> Form:
    """The form with Gumbel noise on its discrete choices."""
    if not relaxation.gumbel or relaxation.discrete == "fixed":
        return form
    logits, scores = (
        part.detach()
        - relaxation.gumbel * torch.empty_like(part).exponential_(generator=random).log()
        for part in (form.parallel, form.order)
    )
    return Form(form.log_tile, form.log_units, logits, scores)
