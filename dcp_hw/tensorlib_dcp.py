"""Designs of the Tensorlib space by propagation through a predictor, checked exactly.

Many arrays, each with a program for every layer, move against the gradient of a predicted metric
(DCP paper, Sec. 4.3); of all designs that were passed the predicted best, at most 16, are searched
exactly. Layer level: each layer has arrays of its own. Model level: gradients are summed over the
layers. docs/dcp-tensorlib.md explains it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dcp_hw.candidates import Candidate
from dcp_hw.errors import InputError
from dcp_hw.hardware import Hardware
from dcp_hw.metrics import Infeasible
from dcp_hw.tensorlib_dcp_code import ARRAY, decode_array
from dcp_hw.tensorlib_dcp_form import Context, Form, context_of, harden, pin, random_form
from dcp_hw.workload import Layer
from predictors.interface import PredictorError
from predictors.tensorlib import SHIPPED, DesignPredictor, load

MOST_CHECKS = 16
WEIGHTS = {"latency": (1.0, 0.0), "energy": (0.0, 1.0), "edp": (1.0, 1.0)}
"""Of the logs of cycles and energy."""
_PENALTY = 3.0
"""Of a bank that overflows, per unit of its log excess."""
_UNFIT, _FITS = 1e3, 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """How arrays and programs move.

    Attributes:
        steps: T; 0: only the starts.
        rate, last_rate: step of Adam, and its last as a share of the first.
        renew_every: steps between renewals: the worse half goes on near the better; 0: never.
        noise: of renewed numbers, in logs and logits.
        temperature: of choices, for gradients.
        discrete: whether arrays, splits and orders have gradients; if not, renewal alone moves
            them.
    """

    steps: int = 80
    rate: float = 0.15
    last_rate: float = 0.1
    renew_every: int = 10
    noise: float = 0.3
    temperature: float = 1.0
    discrete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A search.

    Attributes:
        starts: arrays that move, per layer or per network; screened: random ones of which the
            predictor chooses them.
        checks: designs that are searched exactly; at most 16.
        descent: None: no gradient step ("DCP without gradients").
    """

    starts: int = 24
    screened: int = 384
    checks: int = MOST_CHECKS
    descent: Descent | None = Descent()
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Proposal:
    """A design with what was predicted of its layers.

    Attributes:
        value: weighted log of the predicted objective, of the network at model level.
        cycles, energy_nj: of each layer of the group, one occurrence.
        fits: whether all programs were predicted to fit.
        code: l x 42, of the best that was passed.
    """

    candidate: Candidate
    value: float
    cycles: tuple[float, ...]
    energy_nj: tuple[float, ...]
    fits: bool
    code: Tensor


def load_predictor(path: Path | None = None) -> DesignPredictor:
    """The predictor of a checkpoint, the shipped one without a path.

    Raises: InputError for a file that is missing, damaged or of another space.
    """
    path = path or SHIPPED
    if not path.exists():
        raise InputError(f"{path}: no checkpoint; train one with `dcp-hw train --space tensorlib`")
    try:
        return load(path)[0]
    except PredictorError as error:
        raise InputError(str(error)) from None


def check_machine(path: Path | None, hardware: Hardware) -> None:
    """Raises: InputError where a checkpoint was trained for other energies than the hardware's."""
    _, card = load(path or SHIPPED)
    for name in ("technology", "clock_mhz"):
        mine, asked = card.get(name), getattr(hardware, name)
        if mine is not None and mine != asked:
            raise InputError(f"{name} {asked} asked for; the predictor was trained for {mine} "
                             "(train another with `dcp-hw train --space tensorlib`)")  # fmt: skip


# --- values -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that share a design, and how often each occurs."""

    layers: tuple[Layer, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """Of a arrays with l programs each: value, fits: a; loss: a number; the others a x l."""

    value: Tensor
    loss: Tensor
    fits: Tensor
    latency: Tensor
    energy: Tensor
    over: Tensor


_Best = dict[tuple[int, ...], tuple[float, Tensor, Tensor, Tensor]]
"""Design -> value, codes, and logs of cycles and nJ of the best programs that were passed."""


class _Task:
    """One search of some groups: how values follow from forms, and what was passed."""

    def __init__(
        self,
        predictor: DesignPredictor,
        objective: str,
        descent: Descent,
        groups: int,
        *,
        frozen: bool = False,
    ) -> None:
        self.frozen = frozen
        self.predictor, self.weights, self.descent = predictor, WEIGHTS[objective], descent
        self.best: list[_Best] = [{} for _ in range(groups)]

    def evaluate(self, form: Form, context: Context, counts: Tensor) -> tuple[_Seen, Tensor]:
        """Predicted values of arrays with their programs, and the codes.

        Raises: InputError if the predictor gives numbers that are not finite.
        """
        points, code = harden(form, context, self.descent.temperature)
        found = self.predictor(points)
        a, layers = form.lanes.shape[:2]
        shape = (a, layers)
        latency, energy = found.log_latency.reshape(shape), found.log_energy.reshape(shape)
        over = torch.relu(found.excess).sum(1).reshape(shape)
        often = counts.repeat_interleave(a // len(counts), 0).log()
        logs = [(part + often).logsumexp(1) for part in (latency, energy)]
        value = self.weights[0] * logs[0] + self.weights[1] * logs[1]
        if not bool(torch.isfinite(value).all()):
            raise InputError("the predictor gives numbers that are not finite; train it again")
        fits = (over.detach() <= _FITS).all(1)
        loss = value.sum() + _PENALTY * over.sum() / layers**0.5
        parts = (value, loss, fits, latency, energy, over)
        return _Seen(*(x if x is loss else x.detach() for x in parts)), code

    def score(self, seen: _Seen) -> Tensor:
        """What is least for the best arrays, those that do not fit included; a."""
        return seen.value + _PENALTY * seen.over.sum(1) / seen.over.shape[1] ** 0.5

    def passed(self, seen: _Seen, code: Tensor) -> None:
        """Nothing; keeps designs that are better than before."""
        value = (seen.value + _UNFIT * (~seen.fits)).tolist()
        keys = code[:, 0, : len(ARRAY)].tolist()
        each = len(keys) // len(self.best)
        for n, (key, mine) in enumerate(zip(map(tuple, keys), value, strict=True)):
            best = self.best[n // each]
            if key not in best or mine < best[key][0]:
                best[key] = (mine, code[n], seen.latency[n], seen.energy[n])

    def descend(
        self, form: Form, context: Context, counts: Tensor, random: torch.Generator
    ) -> None:
        """Nothing; moves arrays and programs, and keeps what they pass."""
        descent = self.descent
        moving = self._moving(form)
        adam = torch.optim.Adam([part.requires_grad_() for part in moving],
                                lr=descent.rate, betas=(0.8, 0.95))  # fmt: skip
        best = torch.full((len(form.array),), torch.inf, dtype=torch.float64)
        kept = form.take(torch.arange(len(best)))
        for step in range(descent.steps):
            share = descent.last_rate ** (step / max(1, descent.steps - 1))
            adam.param_groups[0]["lr"] = descent.rate * share
            seen, code = self.evaluate(form, context, counts)
            self.passed(seen, code)
            better = self.score(seen) < best
            best = torch.where(better, self.score(seen), best)
            for mine, now in zip(kept.tensors(), form.tensors(), strict=True):
                mine[better] = now.detach()[better]
            adam.zero_grad()
            seen.loss.backward()
            if not descent.discrete:
                for part in (form.array, form.split, form.order):
                    part.grad = torch.zeros_like(part)
            adam.step()
            if descent.renew_every and (step + 1) % descent.renew_every == 0:
                self._renew(form, kept, best, descent.noise * share, random)
        with torch.no_grad():
            seen, code = self.evaluate(form, context, counts)
        self.passed(seen, code)

    def _renew(
        self, form: Form, kept: Form, best: Tensor, noise: float, random: torch.Generator
    ) -> None:
        """Nothing; puts the worse half of each group near the best points of the better half.

        Args:
            best: a, least score of each array so far; changed.
        """
        scores = best.reshape(len(self.best), -1)
        each = scores.shape[1]
        order = scores.argsort(1) + each * torch.arange(len(scores))[:, None]
        good, bad = order[:, : each // 2].flatten(), order[:, each - each // 2 :].flatten()
        pairs = zip(self._moving(kept), self._moving(form), strict=True)
        with torch.no_grad():
            for mine, now in pairs:
                drawn = torch.randn(mine[good].shape, generator=random, dtype=torch.float64)
                now[bad] = mine[good] + noise * drawn
        best[bad] = torch.inf

    def _moving(self, form: Form) -> list[Tensor]:
        return form.programs() if self.frozen else form.tensors()


def _proposals(best: _Best, number: int, hardware: Hardware) -> list[Proposal]:
    """The predicted best designs, best first; those that fit before those that do not."""
    found: list[Proposal] = []
    for value, code, latency, energy in sorted(best.values(), key=lambda one: one[0]):
        if len(found) == number:
            break
        candidate = decode_array(code[0].numpy(), hardware)
        if isinstance(candidate, Infeasible):
            continue  # a bank would be empty
        fits = value < _UNFIT / 2
        found.append(
            Proposal(
                candidate=candidate,
                value=value if fits else value - _UNFIT,
                cycles=tuple(latency.exp().tolist()),
                energy_nj=tuple(energy.exp().tolist()),
                fits=fits,
                code=code,
            )
        )
    return found


def propose(
    groups: Sequence[Group],
    hardware: Hardware,
    objective: str,
    predictor: DesignPredictor,
    settings: Settings,
    *,
    only: Candidate | None = None,
) -> list[list[Proposal]]:
    """At most `checks` designs for each group, predicted best first.

    Args:
        groups: of equally many layers; they move in one batch, each with arrays of its own.
        only: this design: programs move, arrays do not.
    """
    random = [_generator(group, settings.seed) for group in groups]
    context = context_of([group.layers for group in groups], hardware)
    counts = torch.tensor([group.counts for group in groups], dtype=torch.float64)
    descent = settings.descent or Descent(steps=0)
    task = _Task(predictor, objective, descent, len(groups), frozen=only is not None)
    wide = context.times(settings.screened)
    form = random_form(wide, random)
    if only is not None:
        pin(form, only)
    with torch.no_grad():
        seen, code = task.evaluate(form, wide, counts)
    task.passed(seen, code)
    if settings.descent is not None:
        order = task.score(seen).reshape(len(groups), -1).argsort(1)[:, : settings.starts]
        first = torch.arange(len(groups))[:, None] * settings.screened
        form = form.take((order + first).flatten())
        task.descend(form, context.times(settings.starts), counts, random[0])
    checks = min(settings.checks, MOST_CHECKS)
    return [_proposals(best, checks, hardware) for best in task.best]


def _generator(group: Group, seed: int) -> torch.Generator:
    names = " ".join(layer.name for layer in group.layers)
    return torch.Generator().manual_seed(zlib.crc32(f"{seed} {names}".encode()))


# --- groups -------------------------------------------------------------------------


def groups_of(layers: Sequence[Layer], level: str) -> list[Group]:
    """One group at model level, one for each layer at layer level."""
    if level == "model":
        return [Group(tuple(layers), tuple(layer.count for layer in layers))]
    return [Group((layer,), (layer.count,)) for layer in layers]
