"""A dataflow as numbers that gradients can move, and the legal integers that it stands for.

Sizes are logarithms; a parallel dimension is six logits, an order six scores (smallest outermost).
Forward, the predictor always sees real dataflows: rounded, clipped, one-hot, permutations.
Backward, each discrete choice has the gradient of a smooth stand-in (straight-through): of the
number before rounding, of a softmax of the logits, of SoftSort of the scores.

Sources: DCP paper, Sec. 4.3 (rounding, min-max clipping); Prillo and Eisenschlos, "SoftSort",
ICML 2020; Jang, Gu, Poole, "Categorical Reparameterization with Gumbel-Softmax", ICLR 2017.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from dcp_hw.mapspace import DIMENSIONS, ORDER, PARALLEL, TILE, UNITS
from dcp_hw.optimise_settings import Relaxation
from predictors.interface import LEVELS

_SHARP = 2.0  # logits and scores of a given dataflow: distance between first and next


@dataclass(slots=True)
class Form:
    """n dataflows in motion, levels outermost first; leaves of the gradient, changed in place.

    Attributes:
        log_tile: n x 3 x 6; log_units: n x 3; parallel: n x 3 x 6 logits; order: n x 3 x 6 scores.
    """

    log_tile: Tensor
    log_units: Tensor
    parallel: Tensor
    order: Tensor

    def leaves(self) -> list[Tensor]:
        """The four tensors."""
        return [getattr(self, f.name) for f in fields(self)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the dataflows must keep to.

    Attributes:
        sizes: n x 6, the largest tile of each dimension.
        pes: n, units of all levels together.
        parallel: n x 6, dimensions that may be spread.
    """

    sizes: Tensor
    pes: Tensor
    parallel: Tensor


def form_of(mappings: Tensor) -> Form:
    """The form of mappings, n x 3 x 14 (`mapspace`); `harden` gives them back if they are legal."""
    one_hot = torch.nn.functional.one_hot(mappings[:, :, PARALLEL], DIMENSIONS)
    scores = torch.empty(mappings[:, :, ORDER].shape)
    places = torch.arange(DIMENSIONS, dtype=scores.dtype).expand_as(scores)
    scores.scatter_(2, mappings[:, :, ORDER], places)
    parts = (
        mappings[:, :, TILE].float().log(),
        mappings[:, :, UNITS].float().log(),
        _SHARP * one_hot.float(),
        scores,
    )
    return Form(*(part.contiguous().requires_grad_() for part in parts))


@torch.no_grad()
def clip(form: Form, limits: Limits) -> None:
    """Min-max clipping, in place: tiles to the tile above, units to the PEs that are left."""
    above = limits.sizes.log()
    for level in range(LEVELS):
        above = torch.minimum(form.log_tile[:, level].clamp(min=0), above)
        form.log_tile[:, level] = above
    left = limits.pes.log()
    for level in reversed(range(LEVELS)):
        units = torch.minimum(form.log_units[:, level].clamp(min=0), left)
        form.log_units[:, level] = units
        left = left - units


@torch.no_grad()
def harden(form: Form, limits: Limits, *, even: bool = False) -> Tensor:
    """The legal mappings that the form stands for, int64 `n x 3 x 14`.

    Numbers are rounded and clipped as `MapSpace.clip` does, the largest logit is parallel.

    Args:
        even: take the least tile with as many rounds, and give idle units of the outermost level
            nothing to hold; fewer elements, never more steps.
    """
    out = torch.empty(len(form.log_tile), LEVELS, TILE.stop, dtype=torch.int64)
    logits = form.parallel.masked_fill(~limits.parallel[:, None], -torch.inf)
    out[:, :, PARALLEL] = logits.argmax(dim=-1)
    out[:, :, ORDER] = form.order.argsort(dim=-1, stable=True)
    left = limits.pes
    for level in reversed(range(LEVELS)):
        units = form.log_units[:, level].double().exp().round().long()
        out[:, level, UNITS] = units = torch.minimum(units.clamp(min=1), left)
        left = left // units
    above = limits.sizes
    for level in range(LEVELS):
        tile = form.log_tile[:, level].double().exp().round().long()
        tile = torch.minimum(tile.clamp(min=1), above)
        if even:
            tile = _evened(tile, above, out[:, level, PARALLEL], out[:, level, UNITS])
        out[:, level, TILE] = above = tile
    return out


def _evened(tile: Tensor, above: Tensor, parallel: Tensor, units: Tensor) -> Tensor:
    """The least tiles (n x 6) that need as many rounds."""
    spread = torch.ones_like(tile).scatter_(1, parallel[:, None], units[:, None])
    rounds = -(-above // (tile * spread))
    return -(-above // (rounds * spread))


@torch.no_grad()
def snap(form: Form, mappings: Tensor) -> None:
    """Rounding, in place: tiles and units take the integers of the mappings."""
    form.log_tile.copy_(mappings[:, :, TILE].double().log())
    form.log_units.copy_(mappings[:, :, UNITS].double().log())


def dataflow_tensors(
    form: Form, mappings: Tensor, limits: Limits, relaxation: Relaxation
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`log_tile, log_units, parallel, order` as `predictors.interface.Relaxed` has them.

    Values are those of the mappings (of the mixtures where `soft`), gradients those of the form.
    """
    tile = _through(mappings[:, :, TILE].float().log(), form.log_tile)
    units = _through(mappings[:, :, UNITS].float().log(), form.log_units)
    hard = torch.nn.functional.one_hot(mappings[:, :, PARALLEL], DIMENSIONS).float()
    places = torch.nn.functional.one_hot(mappings[:, :, ORDER], DIMENSIONS).float()
    if relaxation.discrete == "fixed":
        return tile, units, hard, places
    logits = form.parallel.masked_fill(~limits.parallel[:, None], -torch.inf)
    soft = (logits / relaxation.temperature).softmax(dim=-1)
    mixed = softsort(form.order, relaxation.temperature)
    if relaxation.discrete == "soft":
        return tile, units, soft, mixed
    return tile, units, _through(hard, soft), _through(places, mixed)


def softsort(scores: Tensor, temperature: float) -> Tensor:
    """Rows that sum to 1, `... x place x dimension`; near a permutation where scores differ."""
    ordered = scores.sort(dim=-1, stable=True).values
    distance = (ordered[..., :, None] - scores[..., None, :]).abs()
    return (-distance / temperature).softmax(dim=-1)


def _through(value: Tensor, smooth: Tensor) -> Tensor:
    """The value, with the gradient of a stand-in."""
    return value + (smooth - smooth.detach())
