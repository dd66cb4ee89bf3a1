"""Designs of the Tensorlib space by propagation through a predictor, checked exactly.

Many arrays, each with a program for every layer, move against the gradient of a predicted metric
(DCP paper, Sec. 4.3); of all designs that were passed the predicted best, at most 16, are searched
exactly. Layer level: each layer has arrays of its own. Model level: gradients are summed over the
layers. docs/dcp-tensorlib.md explains it.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dcp_hw.candidates import Candidate
from dcp_hw.errors import InputError
from dcp_hw.hardware import Hardware
from dcp_hw.metrics import Infeasible
from dcp_hw.tensorlib_dcp_code import ARRAY, AT, Floats, Integers, decode_array, encode_array
from dcp_hw.tensorlib_dcp_form import Context, Form, context_of, form_of, pin, random_form
from dcp_hw.tensorlib_dcp_legal import harden
from dcp_hw.tensorlib_dcp_settings import MOST_CHECKS, Descent, Settings
from dcp_hw.workload import Layer
from predictors.interface import PredictorError
from predictors.tensorlib import SHIPPED, DesignPredictor, load
from predictors.tensorlib_point import through

WEIGHTS = {"latency": (1.0, 0.0), "energy": (0.0, 1.0), "edp": (1.0, 1.0)}
"""Of the logs of cycles and energy."""
_PENALTY = 3.0
"""Of a bank that overflows, per unit of its log excess."""
_UNFIT, _FITS = 1e3, 1e-6
_SHARPNESS = 4.0
"""How much more a layer's better programs say of an array's gradient."""
_SPLITS_EACH = 3
"""Memory splits of one array and shape that the last round looks at."""
_OTHERS = 0.02
"""Share of the gradient that programs have which are not the best."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A design with what was predicted of its layers.

    Attributes:
        value: weighted log of the predicted objective, of the network at model level.
        cycles, energy_nj: of each layer of the group, one occurrence.
        fits: whether all programs were predicted to fit.
        codes: l x 42, of the best programs that were passed.
    """

    candidate: Candidate
    value: float
    cycles: tuple[float, ...]
    energy_nj: tuple[float, ...]
    fits: bool
    codes: Integers


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
    """Of a arrays with p programs for each of l layers.

    Attributes:
        value: a, weighted log of the objective, each layer on its best program; loss: a number.
        over: a, log excess of those programs, all layers together; fits: a.
        own: a x l x p, each program's score.
        latency, energy, scores: a x l, of the best programs; codes: a x l x 42.
    """

    value: Tensor
    loss: Tensor
    over: Tensor
    own: Tensor
    latency: Tensor
    energy: Tensor
    scores: Tensor
    codes: Tensor

    @property
    def rank(self) -> Tensor:
        """What is least for the best arrays, those that do not fit included; a."""
        return self.value + _PENALTY * self.over


@dataclass(slots=True)
class _Best:
    """The best programs that were passed on a design; l each, `codes` l x 42."""

    scores: Floats
    latency: Floats
    energy: Floats
    codes: Integers


class _Task:
    """One search of some groups: how values follow from forms, and what was passed."""

    def __init__(
        self,
        predictor: DesignPredictor,
        objective: str,
        descent: Descent,
        counts: Tensor,
        *,
        frozen: bool = False,
    ) -> None:
        self.predictor, self.weights, self.descent = predictor, WEIGHTS[objective], descent
        self.counts, self.frozen = counts, frozen
        self.best: list[dict[tuple[int, ...], _Best]] = [{} for _ in counts]

    def evaluate(self, form: Form, context: Context) -> _Seen:
        """Predicted values of arrays with their programs.

        Raises: InputError if the predictor gives numbers that are not finite.
        """
        points, code = harden(form, context, self.descent.temperature)
        found = self.predictor(points)
        a, layers = len(form.array), self.counts.shape[1]
        shape = (a, layers, -1)
        latency, energy = found.log_latency.reshape(shape), found.log_energy.reshape(shape)
        over = torch.relu(found.excess).sum(1).reshape(shape)
        own = self.weights[0] * latency + self.weights[1] * energy + _PENALTY * over
        if not bool(torch.isfinite(own).all()):
            raise InputError("the predictor gives numbers that are not finite; train it again")
        ranked = (own + _UNFIT * (over > _FITS)).detach()
        share = torch.softmax(-_SHARPNESS * ranked, dim=2)
        pick = ranked.argmin(2, keepdim=True)

        def chosen(part: Tensor) -> Tensor:
            return through(part.gather(2, pick).squeeze(2), (share * part).sum(2))

        often = self.counts.repeat_interleave(a // len(self.counts), 0).log()
        best, used = chosen(latency), chosen(energy)
        logs = [(part + often).logsumexp(1) for part in (best, used)]
        value = self.weights[0] * logs[0] + self.weights[1] * logs[1]
        excess = chosen(over).sum(1) / layers**0.5
        loss = (value + _PENALTY * excess).sum() + _OTHERS * own.sum()
        codes = code.reshape(a, layers, -1, code.shape[-1])
        index = pick[..., None].expand(-1, -1, 1, code.shape[-1])
        return _Seen(
            value=value.detach(),
            loss=loss,
            over=excess.detach(),
            own=own.detach(),
            latency=best.detach(),
            energy=used.detach(),
            scores=ranked.gather(2, pick).squeeze(2),
            codes=codes.gather(2, index).squeeze(2),
        )

    def passed(self, seen: _Seen) -> None:
        """Nothing; keeps each layer's best program on every design."""
        codes, scores, latency, energy = (
            part.numpy() for part in (seen.codes, seen.scores, seen.latency, seen.energy)
        )
        each = len(codes) // len(self.best)
        for n, key in enumerate(map(tuple, codes[:, 0, : len(ARRAY)].tolist())):
            known = self.best[n // each]
            best = known.get(key)
            if best is None:
                known[key] = _Best(*(part[n].copy() for part in (scores, latency, energy, codes)))
                continue
            better = scores[n] < best.scores
            if better.any():
                best.scores[better], best.latency[better] = scores[n, better], latency[n, better]
                best.energy[better], best.codes[better] = energy[n, better], codes[n, better]

    def descend(self, form: Form, context: Context, random: torch.Generator) -> None:
        """Nothing; moves arrays and programs, and keeps what they pass.

        Args:
            context: of one array of each group.
        """
        done, whole = 0, sum(steps for _, steps in self.descent.rounds)
        for number, steps in self.descent.rounds:
            form = self._fewer(form, context, number)
            self._round(form, context.times(number), random, range(done, done + steps), whole)
            done += steps
        number, steps = self.descent.last
        if steps and not self.frozen:
            self.frozen = True
            codes = np.concatenate([_distinct(best, number) for best in self.best])
            programs = context.layers.shape[1] // self.counts.shape[1]
            form = form_of(torch.from_numpy(codes), programs, self.descent.noise, random)
            self._round(form, context.times(number), random, range(steps), steps)

    @torch.no_grad()
    def _fewer(self, form: Form, context: Context, number: int) -> Form:
        """The best arrays of each group."""
        each = len(form.array) // len(self.best)
        seen = self.evaluate(form, context.times(each))
        self.passed(seen)
        order = seen.rank.reshape(-1, each).argsort(1)[:, torch.arange(number) % each]
        first = torch.arange(len(self.best))[:, None] * each
        return form.take((order + first).flatten())

    def _round(
        self, form: Form, context: Context, random: torch.Generator, steps: range, whole: int
    ) -> None:
        descent = self.descent
        moving = self._moving(form)
        adam = torch.optim.Adam(
            [part.requires_grad_() for part in moving], lr=descent.rate, betas=(0.8, 0.95)
        )
        best = torch.full((len(form.array),), torch.inf, dtype=torch.float64)
        kept = form.take(torch.arange(len(best)))
        for step in steps:
            share = descent.last_rate ** (step / max(1, whole - 1))
            adam.param_groups[0]["lr"] = descent.rate * share
            seen = self.evaluate(form, context)
            self.passed(seen)
            better = seen.rank < best
            best = torch.where(better, seen.rank, best)
            for mine, now in zip(kept.tensors(), form.tensors(), strict=True):
                mine[better] = now.detach()[better]
            adam.zero_grad()
            seen.loss.backward()
            if not descent.discrete:
                for part in (form.array, form.split, form.order):
                    part.grad = torch.zeros_like(part)
            adam.step()
            noise = descent.noise * share
            if descent.renew_every and (step + 1) % descent.renew_every == 0:
                self._renew_programs(form, seen.own, noise, random)
                if (step + 1) % (2 * descent.renew_every) == 0:
                    self._renew(form, kept, best, noise, random)

    def _moving(self, form: Form) -> list[Tensor]:
        return form.programs() if self.frozen else form.tensors()

    def _renew_programs(
        self, form: Form, own: Tensor, noise: float, random: torch.Generator
    ) -> None:
        """Nothing; puts the worse programs of each layer near its better ones.

        Args:
            own: a x l x p, their scores.
        """
        number = own.shape[2]
        if number < 2:
            return
        order = own.argsort(2)
        good, bad = order[..., : number // 2], order[..., number - number // 2 :]
        with torch.no_grad():
            for part in form.programs():
                whole = part.view(*own.shape, *part.shape[2:])
                tail = (1,) * (part.ndim - 2)

                def at(which: Tensor, part: Tensor = whole, tail: tuple[int, ...] = tail) -> Tensor:
                    return which.view(*which.shape, *tail).expand(*which.shape, *part.shape[3:])

                taken = whole.gather(2, at(good))
                drawn = torch.randn(taken.shape, generator=random, dtype=torch.float64)
                whole.scatter_(2, at(bad), taken + noise * drawn)

    def _renew(
        self, form: Form, kept: Form, best: Tensor, noise: float, random: torch.Generator
    ) -> None:
        """Nothing; puts the worse half of each group near the best points of the better half.

        Args:
            best: a, least rank of each array so far; changed.
        """
        scores = best.reshape(len(self.best), -1)
        each = scores.shape[1]
        order = scores.argsort(1) + each * torch.arange(len(scores))[:, None]
        good, bad = order[:, : each // 2].flatten(), order[:, each - each // 2 :].flatten()
        with torch.no_grad():
            for mine, now in zip(self._moving(kept), self._moving(form), strict=True):
                drawn = torch.randn(mine[good].shape, generator=random, dtype=torch.float64)
                now[bad] = mine[good] + noise * drawn
        best[bad] = torch.inf


def _distinct(found: dict[tuple[int, ...], _Best], number: int) -> Integers:
    """Codes (number x l x 42) of the best designs, few of one array and shape."""
    order = sorted(found.values(), key=lambda best: float(best.scores.sum()))
    taken: list[Integers] = []
    often: Counter[tuple[int, ...]] = Counter()
    for best in order:
        key = tuple(best.codes[0, : AT["share_input"]].tolist())
        often[key] += 1
        if often[key] <= _SPLITS_EACH:
            taken.append(best.codes)
        if len(taken) == number:
            break
    return np.stack([taken[n % len(taken)] for n in range(number)])


def _proposals(
    found: dict[tuple[int, ...], _Best],
    counts: Floats,
    weights: tuple[float, float],
    number: int,
    hardware: Hardware,
) -> list[Proposal]:
    """The predicted best designs, best first; those that fit before those that do not."""

    def value(best: _Best) -> float:
        cycles, energy = counts @ np.exp(best.latency), counts @ np.exp(best.energy)
        unfit = best.scores.max() > _UNFIT / 2
        return float(weights[0] * np.log(cycles) + weights[1] * np.log(energy) + _UNFIT * unfit)

    out: list[Proposal] = []
    for mine, best in sorted(((value(x), x) for x in found.values()), key=lambda pair: pair[0]):
        if len(out) == number:
            break
        candidate = decode_array(best.codes[0], hardware)
        if isinstance(candidate, Infeasible):
            continue  # a bank would be empty
        fits = mine < _UNFIT / 2
        out.append(
            Proposal(
                candidate=candidate,
                value=mine if fits else mine - _UNFIT,
                cycles=tuple(np.exp(best.latency).tolist()),
                energy_nj=tuple(np.exp(best.energy).tolist()),
                fits=fits,
                codes=best.codes,
            )
        )
    return out


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
    context = context_of([group.layers for group in groups], hardware, settings.programs)
    counts = torch.tensor([group.counts for group in groups], dtype=torch.float64)
    descent = settings.descent or Descent(rounds=(), last=(0, 0))
    task = _Task(predictor, objective, descent, counts, frozen=only is not None)
    wide = context.times(settings.screened)
    form = random_form(wide, random)
    if only is not None:
        pin(form, torch.from_numpy(encode_array(only))[None])
    with torch.no_grad():
        task.passed(task.evaluate(form, wide))
    if settings.descent is not None:
        task.descend(form, context, random[0])
    number = settings.pool or min(settings.checks, MOST_CHECKS)
    return [
        _proposals(best, often, task.weights, number, hardware)
        for best, often in zip(task.best, counts.numpy(), strict=True)
    ]


def _generator(group: Group, seed: int) -> torch.Generator:
    names = " ".join(layer.name for layer in group.layers)
    return torch.Generator().manual_seed(zlib.crc32(f"{seed} {names}".encode()))


# --- groups -------------------------------------------------------------------------


def groups_of(layers: Sequence[Layer], level: str) -> list[Group]:
    """One group at model level, one for each layer at layer level."""
    if level == "model":
        return [Group(tuple(layers), tuple(layer.count for layer in layers))]
    return [Group((layer,), (layer.count,)) for layer in layers]
