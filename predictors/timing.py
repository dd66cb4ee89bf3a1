"""Cycles of relaxed dataflows: steps in groups, each as long as its slowest unit or port.

The groups of docs/honest-model.md: a step belongs to the outermost loop that moved. Of each group
the mean step is timed; the honest model times every step, so what a maximum does to uneven steps is
left to the network on top.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from predictors.interface import LEVELS, UNLIMITED, Relaxed
from predictors.loops import Loops
from predictors.traffic import AXES, INPUT, OUTPUT, WEIGHT, C, K, R, S, span, volumes

REDUCED = (C, R, S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Cycles, float64, b each: all; MACs alone; steps without the ends; fill, drains, latency."""

    total: Tensor
    compute: Tensor
    steps: Tensor
    ends: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Level:
    """What the loops of one level do to the tensors, by the loop that moved outermost: b x 6."""

    number: Tensor  # steps of the group in a range
    changed: Tensor  # b x 6 x 3
    kept: Tensor  # share of the input that stays with its units
    kept_l2: Tensor  # that stays in the store above
    again: Tensor  # share of steps whose sums were there before
    volume: Tensor  # b x 3, of a round


def _levels(x: Relaxed, loops: Loops, mask: Tensor) -> list[_Level]:
    per_range = loops.path_rounds.clone()
    per_range[:, 1:] = loops.path_rounds[:, 1:] - loops.path_rounds[:, :-1]
    per_range = per_range.clamp(min=0)
    volume = volumes(loops.extent.exp(), x, mask)
    reduced = 1 - mask[:, OUTPUT]
    reduced = torch.where(x.layer[:, 8:9] > 0, _without(reduced, K), reduced)
    fresh = torch.ones_like(x.layer[:, 0], dtype=torch.float64)
    found = []
    for level in range(LEVELS):
        rounds = per_range[:, level]
        outside = loops.outside[:, level]
        number = (rounds.exp() - 1).clamp(min=0) * _product(outside, rounds)
        multi = loops.multi[:, level]
        # A loop inside the moved one goes back to its first round.
        turned = outside * multi[:, None]  # moved x inside
        same = torch.eye(6, dtype=turned.dtype, device=turned.device)
        moves = torch.maximum(turned, same)
        changed = 1 - torch.stack(
            [(1 - moves * mask[:, t, None]).prod(dim=-1) for t in range(3)], dim=-1
        )
        kept, kept_l2 = _kept(x, loops, level, moves, turned)
        inside = _product(outside, -rounds * reduced) * (1 - reduced)
        again = 1 - fresh[:, None] * inside
        fresh = fresh * (-rounds * reduced).sum(-1).exp()
        found.append(
            _Level(
                number=number,
                changed=changed,
                kept=kept,
                kept_l2=kept_l2,
                again=again,
                volume=volume[:, level],
            )
        )
    return found


def _without(values: Tensor, column: int) -> Tensor:
    keep = torch.ones(values.shape[-1], dtype=values.dtype, device=values.device)
    keep[column] = 0
    return values * keep


def _product(outside: Tensor, log: Tensor) -> Tensor:
    """Product over the loops outside each loop, b x 6."""
    return torch.einsum("bdp,bd->bp", outside, log).exp()


def _kept(
    x: Relaxed, loops: Loops, level: int, moves: Tensor, turned: Tensor
) -> tuple[Tensor, Tensor]:
    """Shares of the input that stay in units and in the store above, b x 6 by moved loop."""
    extent, once = loops.extent[:, level].exp(), loops.once[:, level].exp()
    stride, split = x.layer[:, 6].double(), loops.parallel[:, level]
    eye = torch.eye(6, dtype=extent.dtype, device=extent.device)
    units = above = 1 - torch.maximum(moves[..., C], eye[C])
    for d, f in AXES:
        wide = span(extent[:, d], extent[:, f], stride)
        stay = (1 - turned[..., d]) * (1 - turned[..., f])
        row = ((wide - stride * once[:, d]) / wide).clamp(min=0)
        tap = torch.where(stride == 1, ((wide - once[:, f]) / wide).clamp(min=0), 0.0)
        other = 1 - eye[d] - eye[f]
        above = above * stay * (other + eye[d] * row[:, None] + eye[f] * tap[:, None])
        alone = 1 - split[:, d] - split[:, f]
        row, tap = row * alone, tap * alone
        units = units * stay * (other + eye[d] * row[:, None] + eye[f] * tap[:, None])
    return units, above


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moved:
    """Elements through a level's port in one step: b x n each."""

    into: Tensor
    out: Tensor
    l2: Tensor


def _moved(one: _Level, changed: Tensor, kept: Tensor, kept_l2: Tensor, again: Tensor) -> _Moved:
    inputs, weights, sums = (changed[..., t] * one.volume[:, t, None] for t in range(3))
    back = sums * again
    return _Moved(
        into=inputs * (1 - kept) + weights + back,
        out=sums,
        l2=inputs * (1 - kept_l2) + weights + back,
    )


def _wait(moved: _Moved, noc: Tensor, dram: Tensor | None) -> Tensor:
    """Cycles that the ports take."""
    cycles = _whole(torch.maximum(moved.into, moved.out) / noc)
    return cycles if dram is None else torch.maximum(cycles, _whole((moved.l2 + moved.out) / dram))


def _whole(cycles: Tensor) -> Tensor:
    """Rounded up, with the gradient of the number itself."""
    return cycles + ((cycles - 1e-6).ceil().clamp(min=0) - cycles).detach()


def timing_of(x: Relaxed, loops: Loops, mask: Tensor, changing: Tensor) -> Timing:
    """Cycles of relaxed dataflows."""
    levels = _levels(x, loops, mask)
    noc, dram = x.machine[:, 3:4].double(), x.machine[:, 5:6].double()
    work = (loops.serial - loops.path_rounds[:, -1]).sum(-1, keepdim=True).exp()
    waits = [
        _wait(
            _moved(one, one.changed, one.kept, one.kept_l2, one.again),
            noc,
            dram if level == 0 else None,
        )
        for level, one in enumerate(levels)
    ]

    def first(level: int, changed: Tensor, kept: Tensor, again: Tensor) -> tuple[Tensor, Tensor]:
        """Wait of the first step of a range, and what it changes, after a step above."""
        emptied = changing[:, level, None]
        changes = torch.maximum(changed, emptied.expand_as(changed))
        stays = kept * (1 - emptied[..., INPUT])
        moved = _moved(levels[level], changes, stays, stays, again)
        return _wait(moved, noc, None), changes

    two = levels[2]
    rest2 = (two.number * torch.maximum(work, waits[2])).sum(-1, keepdim=True)
    one = levels[1]
    wait2, _ = first(2, one.changed, one.kept, one.again)
    step = torch.maximum(torch.maximum(work, wait2) + rest2, waits[1])
    rest1 = (one.number * step).sum(-1, keepdim=True)
    top = levels[0]
    wait1, changes = first(1, top.changed, top.kept, top.again)
    kept = top.kept * (1 - changing[:, 1, None, INPUT])
    wait2, _ = first(2, changes, kept, top.again)
    step = torch.maximum(torch.maximum(work, wait2) + rest2, wait1) + rest1
    rest0 = (top.number * torch.maximum(step, waits[0])).sum(-1, keepdim=True)
    steps = (work + rest2 + rest1 + rest0)[:, 0]
    compute = loops.serial.sum(-1).exp()
    ends = _ends(levels, x, noc, dram)
    return Timing(total=steps + ends, compute=compute, steps=steps, ends=ends)


def _ends(levels: list[_Level], x: Relaxed, noc: Tensor, dram: Tensor) -> Tensor:
    """Fill, last drains, latency: b."""
    total = 2 * LEVELS * x.machine[:, 4].double()
    for level, one in enumerate(levels):
        for elements in (one.volume[:, INPUT] + one.volume[:, WEIGHT], one.volume[:, OUTPUT]):
            cycles = _whole(elements / noc[:, 0])
            if level == 0:
                cycles = torch.maximum(cycles, _whole(elements / dram[:, 0]))
            total = total + torch.where(cycles < UNLIMITED, cycles, 0.0)
    return total
