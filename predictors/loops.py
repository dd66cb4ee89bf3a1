"""Rounds, ranges and tiles of the loops of a dataflow: exact values with smooth gradients.

A count such as ceil(size / tile) is flat almost everywhere, so its gradient says nothing. Every
number here has the value that the honest model counts (docs/honest-model.md), and the gradient of a
smooth stand-in: of the logarithm of the plain ratio, bent where a loop has one round only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from predictors.interface import LEVELS, Relaxed

_BEND = 4.0  # how sharply the stand-in of log(max(1, ratio)) bends
_TINY = 1e-30


@dataclass(frozen=True, slots=True, kw_only=True)
class Loops:
    """Logs by level and dimension, `b x 3 x 6` unless noted; float64.

    Attributes:
        tile: elements of a tile, clipped to the level above; outer: of the range it cuts.
        once: elements of one round: a tile, or all units' tiles where the loop is spread.
        hold: units of a spread loop that ever hold a tile; log 1 for other loops.
        ranges: tiles of the level above in the whole layer (level 0: one), `b x 4 x 6`.
        rounds: rounds in all ranges; starts: tiles in their first rounds.
        single: elements in ranges of one round.
        path_rounds: rounds along the units that take longest.
        extent: mean elements of a round there.
        serial: elements one PE works through, `b x 6`.
        units: `b x 3`, the units of a level; parallel: `b x 3 x 6`; C for K of a depthwise layer.
        outside: `b x 3 x 6 x 6`, whether a loop lies outside another.
        multi: 1 where the full range has more than one round.
    """

    tile: Tensor
    outer: Tensor
    once: Tensor
    hold: Tensor
    ranges: Tensor
    rounds: Tensor
    starts: Tensor
    single: Tensor
    path_rounds: Tensor
    extent: Tensor
    serial: Tensor
    units: Tensor
    parallel: Tensor
    outside: Tensor
    multi: Tensor


def loops_of(x: Relaxed) -> Loops:
    """The loops of relaxed dataflows."""
    size = x.layer[:, :6].double()
    log_size = size.log()
    parallel = _merge_depthwise(x.parallel.double(), x.layer[:, 8].double())
    units = _units(x)
    tile, above = [], log_size
    for level in range(LEVELS):
        above = _least(_snapped(x.log_tile[:, level]), above)
        tile.append(above)
    log_tile = torch.stack(tile, dim=1)
    outer = torch.cat([log_size[:, None], log_tile[:, :-1]], dim=1)
    once = log_tile + parallel * units[:, :, None]
    more = _bent(outer - once)
    counts = _count(size, log_tile, once)
    path = more.cumsum(dim=1)
    hold = parallel * (outer - log_tile).clamp(min=0).minimum(units[:, :, None])
    known = _with_gradient
    depth = torch.cat([torch.zeros_like(path[:, :1]), path[:, :-1]], dim=1)
    return Loops(
        tile=log_tile,
        outer=outer,
        once=once,
        hold=known(_exact_hold(parallel, outer, log_tile, units), hold),
        ranges=known(counts["ranges"], log_size[:, None] - torch.cat([outer, log_tile[:, -1:]], 1)),
        rounds=known(counts["rounds"], log_size[:, None] - outer + more),
        starts=known(counts["starts"], log_size[:, None] - outer + hold),
        single=counts["single"],
        path_rounds=known(counts["path_rounds"], path),
        extent=known(counts["extent"], depth + outer - path),
        serial=known(counts["serial"], path[:, -1] + log_tile[:, -1]),
        units=units,
        parallel=parallel,
        outside=_outside(x.order.double()),
        multi=(outer > once + 1e-6).double(),
    )


def _merge_depthwise(parallel: Tensor, depthwise: Tensor) -> Tensor:
    """A depthwise layer has no K: what would spread K spreads C."""
    moved = parallel[..., 0] * depthwise[:, None]
    shift = torch.zeros_like(parallel)
    shift[..., 0], shift[..., 1] = -moved, moved
    return parallel + shift


def _units(x: Relaxed) -> Tensor:
    """Log units of each level; the outermost has at most what the PEs leave."""
    log_units, pes = _snapped(x.log_units), x.machine[:, 0].double()
    inner = log_units[:, 1] + log_units[:, 2]
    whole = (pes / inner.exp() + 1e-6).floor().clamp(min=1).log()
    room = _with_gradient(whole, (pes.log() - inner).clamp(min=0))
    return torch.stack([_least(log_units[:, 0], room), *log_units[:, 1:].unbind(1)], dim=1)


def _least(value: Tensor, limit: Tensor) -> Tensor:
    """The value, at most the limit; where both are equal the whole gradient is the value's."""
    return torch.where(value <= limit, value, limit)


def _outside(order: Tensor) -> Tensor:
    """`[d, e]`: loop d lies outside loop e; exact for permutations, bilinear between."""
    places = order.shape[-1]
    upper = torch.ones(places, places, dtype=order.dtype, device=order.device).triu(1)
    return order.transpose(-1, -2) @ upper @ order


def _snapped(log: Tensor) -> Tensor:
    """Log of the nearest whole number, with the gradient of the log itself; float64."""
    exact = log.double()
    return _with_gradient(_whole(exact).log(), exact)


def _bent(ratio: Tensor) -> Tensor:
    """A smooth max(0, ratio)."""
    return torch.nn.functional.softplus(ratio, beta=_BEND)


def _with_gradient(value: Tensor, smooth: Tensor) -> Tensor:
    """The value, with the gradient of a stand-in."""
    return value.detach() + (smooth - smooth.detach())


def _exact_hold(parallel: Tensor, outer: Tensor, tile: Tensor, units: Tensor) -> Tensor:
    tiles = (_whole(outer) / _whole(tile) - 1e-9).ceil().log()
    return parallel * torch.minimum(tiles, units[:, :, None])


def _whole(log: Tensor) -> Tensor:
    return log.detach().exp().round().clamp(min=1)


@torch.no_grad()
def _count(size: Tensor, log_tile: Tensor, log_once: Tensor) -> dict[str, Tensor]:
    """Logs of the exact counts of whole tiles; names as in `Loops`."""
    tile = _whole(log_tile)
    once = tile * (log_once - log_tile).exp()
    sizes, number = size[..., None], torch.ones_like(size)[..., None]  # sizes of ranges, how often
    steps, path = sizes, number
    found: dict[str, list[Tensor]] = {
        name: [] for name in ("ranges", "rounds", "starts", "single", "path_rounds", "extent")
    }
    for level in range(LEVELS):
        t, u = tile[:, level, :, None], once[:, level, :, None]
        found["ranges"].append((number * (sizes > 0)).sum(-1))
        found["rounds"].append((number * _ceil(sizes, u)).sum(-1))
        found["starts"].append((number * _ceil(torch.minimum(sizes, u), t)).sum(-1))
        found["single"].append((number * sizes * (sizes <= u * (1 + 1e-9))).sum(-1))
        rounds = (path * _ceil(steps, u)).sum(-1)
        found["path_rounds"].append(rounds)
        found["extent"].append((path * steps).sum(-1) / rounds)
        whole, folds = _floor(sizes, t), _floor(steps, u)
        number = torch.cat([number * whole, number], dim=-1)
        sizes = torch.cat([t.expand_as(sizes), sizes - whole * t], dim=-1)
        path = torch.cat([path * folds, path], dim=-1)
        rest = (steps - folds * u).clamp(min=0)
        steps = torch.cat([t.expand_as(steps), torch.minimum(t, rest)], dim=-1)
        number, path = number * (sizes > 0), path * (steps > 0)
    found["ranges"].append(number.sum(-1))
    counts = {name: torch.stack(each, dim=1) for name, each in found.items()}
    counts["serial"] = (path * steps).sum(-1)
    return {name: value.clamp(min=_TINY).log() for name, value in counts.items()}


def _ceil(a: Tensor, b: Tensor) -> Tensor:
    return (a / b - 1e-9).ceil()


def _floor(a: Tensor, b: Tensor) -> Tensor:
    return (a / b + 1e-9).floor()
