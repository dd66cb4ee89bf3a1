"""The honest model with gradients: counts and time for real-valued tile sizes (PyTorch).

Equal to `honest_fast` where tiles divide what is above them, the tiles of a parallel dimension are
at most as many as the units or a multiple of them, filters are whole, and padding is at most the
stride. Between such points every number of rounds is a real number, so remainders are interpolated
and not counted. Loads jump where a loop gets its second round; rounding up to whole cycles has the
gradient of the number before rounding. docs/honest-model.md says more.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_MASKS = {
    False: ((1, 2, 3, 4, 5), (0, 1, 4, 5), (0, 2, 3)),
    True: ((1, 2, 3, 4, 5), (1, 4, 5), (1, 2, 3)),
}
_INPUT, _WEIGHT, _OUTPUT = range(3)
_SLACK = 1e-9  # relative; what counts as a second round


@dataclass(frozen=True, slots=True)
class HonestTensors:
    """Counts and time of n mappings of L levels; as `honest_types.HonestCounts`, float64.

    Boundary 0 lies between DRAM and L2, 1 between L2 and the units of level 0, and so on.
    """

    cycles: Tensor  # n
    supplied: Tensor  # n x (L + 1) x 3
    taken: Tensor  # n x (L + 1) x 3
    drained: Tensor  # n x (L + 1)
    collected: Tensor  # n x (L + 1)
    sums_read: Tensor  # n
    l2_required: Tensor  # n
    required: Tensor  # n x L


@dataclass(frozen=True, slots=True)
class _Nest:
    """Mappings laid out; index 0 of `L + 1` is the whole layer as one round, then the levels."""

    size: Tensor  # n x 6
    stride: Tensor  # n
    edges: Tensor  # n x 2; positions of the outermost rows, columns that are padding
    masks: Tensor  # 3 x n x 6; whether a dimension selects a tensor's elements
    tile: Tensor  # n x (L + 1) x 6
    extent: Tensor  # elements of a round, all units together
    rounds: Tensor  # of one range
    ranges: Tensor  # in the layer
    share: Tensor  # units that work side by side along a dimension
    place: Tensor  # n x (L + 1) x 6; of each loop in the order
    order: Tensor
    moves: Tensor  # bool: whether a loop has a second round
    view: Tensor  # n x (L + 1) x 3; index of the level whose loops replace a tensor's tile


def evaluate(
    layers: Tensor, machines: Tensor, mappings: Tensor, tiles: Tensor | None = None
) -> HonestTensors:
    """Counts and time; differentiable in the tiles, the layers' sizes and the bandwidths.

    Args:
        layers: `n x 11`, machines: `n x 6`, mappings: `n x L x 14`, as `honest_fast.layer_row`,
            `machine_row`, `mapping_rows`; buffer sizes are not compared.
        tiles: `n x L x 6` real numbers in the order K C Y X R S, in place of the mappings' own.

    Raises: ValueError for layers that this form does not take.
    """
    mappings = mappings.to(torch.int64)
    tiles = mappings[:, :, 8:].double() if tiles is None else tiles.double()
    nest = _lay_out(layers.double(), machines.double(), mappings, tiles)
    supplied, taken, drained, collected, sums_read = _traffic(nest)
    l2_required, required = _requirements(nest)
    noc, dram = (
        torch.where(machines[:, i] > 0, machines[:, i].double(), torch.inf) for i in (3, 5)
    )
    cycles = _cycles(nest, noc, dram) + 2 * tiles.shape[1] * machines[:, 4].double()
    return HonestTensors(
        cycles, supplied, taken, drained, collected, sums_read, l2_required, required
    )


def _lay_out(layers: Tensor, machines: Tensor, mappings: Tensor, tiles: Tensor) -> _Nest:
    size, stride, pad = layers[:, :6], layers[:, 6], layers[:, 7]
    depthwise = layers[:, 8] > 0
    high = (size[:, 2:4] - 1) * stride[:, None] + size[:, 4:] - pad[:, None] - layers[:, 9:11]
    edges = pad[:, None] + high.clamp(min=0) * (pad > 0)[:, None]
    wide = torch.maximum(pad, high.amax(dim=1)) > stride
    narrow = (stride[:, None] > size[:, 4:]).any(dim=1)
    if bool(((pad > 0) & (wide | narrow)).any()):
        raise ValueError("padding wider than the stride, or than the filter, is not modelled here")
    if bool((tiles[:, :, 4:] < size[:, None, 4:] - 1e-6).any()):
        raise ValueError("tiles of R and S must be whole in this form")
    count, depth = tiles.shape[:2]
    inner = mappings[:, 1:, 0].clamp(min=1).prod(dim=1).double()
    limit = torch.floor(machines[:, 0] / inner)
    if bool((limit < 1).any()):
        raise ValueError("a mapping needs more PEs than there are; leave it out")
    ones = torch.ones_like(size)
    tile, extent, rounds, ranges, share = [size], [size], [ones], [ones], [ones]
    for i in range(depth):
        units = mappings[:, i, 0].double()
        if i == 0:
            units = torch.where(units > 0, torch.minimum(units, limit), limit)
        parallel = mappings[:, i, 1]
        parallel = torch.where(depthwise & (parallel == 0), 1, parallel)
        along = torch.nn.functional.one_hot(parallel, 6).bool()
        outer = tile[-1]
        inside = torch.minimum(tiles[:, i], outer)
        units = torch.where(along, units.clamp(min=1)[:, None], 1.0)
        ranges.append(size / outer)
        tile.append(inside)
        extent.append(torch.minimum(inside * units, outer))
        rounds.append(outer / extent[-1])
        share.append(extent[-1] / inside)
    order = torch.cat((torch.arange(6).expand(count, 1, 6), mappings[:, :, 2:8]), dim=1)
    moves = torch.stack(rounds, dim=1) > 1 + _SLACK
    coupled = [[_MASKS[bool(x)][t] for x in depthwise] for t in range(3)]
    masks = torch.tensor([[[d in dims for d in range(6)] for dims in row] for row in coupled])
    view = torch.zeros(count, depth + 1, 3, dtype=torch.int64)
    for i in range(1, depth + 1):
        for t in range(3):
            changing = (moves[:, i] & masks[t]).any(dim=1)
            view[:, i, t] = torch.where(changing, i, view[:, i - 1, t])
    stacked = (torch.stack(values, dim=1) for values in (tile, extent, rounds, ranges, share))
    return _Nest(
        size, stride, edges, masks, *stacked, torch.argsort(order, dim=2), order, moves, view
    )


def _at_view(values: Tensor, view: Tensor) -> Tensor:
    """`n x 6` of `n x (L + 1) x 6`: the row of each mapping's view."""
    return values.gather(1, view[:, None, None].expand(-1, 1, values.shape[2]))[:, 0]


# ---------------------------------------------------------------------------- counting


def _entering(nest: _Nest, t: int, view: Tensor, at: int, own: int = -1) -> Tensor:
    """Elements of a tensor that enter the units of level index `at`, counted one by one.

    As `honest_count`: from the innermost loop of the view outwards, `enter` of what enters, and
    `inside` of what stays of the inner loops when a loop further out moves on.

    Args:
        own: level index whose units read together (-1: every tile by itself).
    """
    steps, number = _steps(nest, view, at)
    moves, size = _at_view(nest.moves, view), nest.size
    out = torch.where(nest.masks[t], size, steps)
    moved = torch.where(nest.masks[t], 0.0, steps - number)
    inside = torch.where(nest.masks[t], torch.where(moves, 0.0, size), number)
    if t == _INPUT:
        whole, stays, first = _axes(nest, view, at, own, steps, number)
        out = torch.cat((out[:, :2], whole, torch.ones_like(whole)), dim=1)
        moved = torch.cat((moved[:, :2], stays, torch.zeros_like(whole)), dim=1)
        inside = torch.cat((inside[:, :2], first, torch.ones_like(whole)), dim=1)
    order = _at_view(nest.order, view)
    enter = torch.ones_like(size[:, 0])
    kept = torch.ones_like(enter)
    for place in range(5, -1, -1):
        p = order[:, place : place + 1]
        a, b, c = (values.gather(1, p)[:, 0] for values in (out, moved, inside))
        enter, kept = a * enter - b * kept, c * kept
    return enter


def _steps(nest: _Nest, view: Tensor, at: int) -> tuple[Tensor, Tensor]:
    """Steps of all unit paths, and paths, along each dimension; `n x 6` each."""
    ranges, rounds = _at_view(nest.ranges, view), _at_view(nest.rounds, view)
    tile, extent = _at_view(nest.tile, view), _at_view(nest.extent, view)
    product = torch.cumprod(nest.share, dim=1)
    full = product[:, at] / _at_view(product, view)
    below = (view > at)[:, None]
    return (
        torch.where(below, ranges * rounds, nest.size / tile * full),
        torch.where(below, ranges, ranges * extent / tile * full),
    )


def _axes(
    nest: _Nest, view: Tensor, at: int, own: int, steps: Tensor, number: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of Y with R and X with S: all positions, those that stay at a step, at a new beginning.

    Each `n x 2`. Units that read together keep what the first of them (or the last) keeps.
    """
    stride, taps = nest.stride[:, None], nest.size[:, 4:]
    each = torch.minimum(stride, taps)
    size, steps, number = nest.size[:, 2:4], steps[:, 2:4], number[:, 2:4]
    whole = each * size + (taps - each) * steps - nest.edges
    extent = _at_view(nest.extent, view)[:, 2:4]
    unit = torch.where((view > at)[:, None], extent, nest.tile[:, at, 2:4])
    split = nest.share[:, : at + 1]
    for i in range(1, at + 1):  # the innermost units that share the axis decide
        inner = (i >= view)[:, None] & (split[:, i, 2:4] > 1 + _SLACK)
        unit = torch.where(inner | (view == i)[:, None], nest.tile[:, i, 2:4], unit)
    if own >= 0:
        apart = nest.share[:, own, 2:4] > 1 + _SLACK
        unit = torch.where(apart, nest.tile[:, own, 2:4], unit)
    rounds = _at_view(nest.rounds, view)[:, 2:4]
    stays = (taps - stride - (extent - unit) * stride).clamp(min=0)
    back = (taps - stride - ((rounds - 1) * extent - unit) * stride).clamp(min=0)
    moves = _at_view(nest.moves, view)[:, 2:4]
    first = torch.where(moves, number * back, whole)
    return whole, torch.where(moves, (steps - number) * stays, 0.0), first


def _traffic(nest: _Nest) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Supplied, taken, drained, collected, sums read; see `HonestTensors`."""
    depth = nest.tile.shape[1] - 1
    macs, outputs = nest.size.prod(dim=1), torch.where(nest.masks[2], nest.size, 1.0).prod(dim=1)
    supplied, taken, drained, collected = [], [], [], []
    fresh = outputs
    for b in range(depth + 1):
        i, at = max(b, 1), max(b - 1, 0)
        row_in, row_out = [], []
        for t in (_INPUT, _WEIGHT):
            view = nest.view[:, i, t]
            one = _entering(nest, t, view, at, i if b and t == _INPUT else -1)
            each = one
            if b:
                alone = torch.where(nest.masks[t], 1.0, nest.share[:, i]).prod(dim=1)
                each = one * alone
                if t == _INPUT:
                    side = (nest.share[:, i, 2:4] > 1 + _SLACK).any(dim=1)
                    each = torch.where(side, _entering(nest, t, view, i), each)
            row_in.append(one)
            row_out.append(each)
        up = _entering(nest, _OUTPUT, nest.view[:, i, 2], at)
        unit = _entering(nest, _OUTPUT, nest.view[:, i, 2], i) if b else up
        loads = up - fresh
        if b:
            fresh = unit - loads
        supplied.append(torch.stack((*row_in, loads), dim=1))
        taken.append(torch.stack((*row_out, loads), dim=1))
        drained.append(unit)
        collected.append(up)
    stacked = [torch.stack(values, dim=1) for values in (supplied, taken, drained, collected)]
    return stacked[0], stacked[1], stacked[2], stacked[3], macs - fresh


def _volume(nest: _Nest, t: int, extent: Tensor) -> Tensor:
    """Elements of a tensor in boxes `n x 6`; of the input with padding."""
    if t != _INPUT:
        return torch.where(nest.masks[t], extent, 1.0).prod(dim=1)
    return extent[:, 1] * _span(nest, extent).prod(dim=1)


def _span(nest: _Nest, extent: Tensor) -> Tensor:
    """Positions along both axes, `n x 2`."""
    taps = nest.size[:, 4:]
    return (extent[:, 2:4] - 1) * torch.minimum(nest.stride[:, None], taps) + taps


def _requirements(nest: _Nest) -> tuple[Tensor, Tensor]:
    """Elements of the L2 alone, and of one buffer of each level."""
    sizes = []
    for i in range(nest.tile.shape[1]):
        box = nest.tile[:, i] if i else nest.extent[:, 1]
        view = nest.view[:, max(i, 1)]
        sizes.append(
            sum(_volume(nest, t, box) * torch.where(view[:, t] > 0, 2, 1) for t in range(3))
        )
    return sizes[0], torch.stack(sizes[1:], dim=1)


# -------------------------------------------------------------------------------- time


def _up(cycles: Tensor) -> Tensor:
    """Rounded up, with the gradient of what it was."""
    return cycles + (torch.ceil(cycles - 1e-9) - cycles).detach()


def _cycles(nest: _Nest, noc: Tensor, dram: Tensor) -> Tensor:
    """Time without latency: `honest_time` where every range of a level has the same size."""
    depth = nest.tile.shape[1] - 1
    rests: dict[int, tuple[Tensor, Tensor]] = {}  # level: if its sums are new, and if not
    for level in range(depth, 0, -1):
        rests[level] = _rest(nest, level, rests, noc, dram)
    still = torch.zeros_like(nest.size)
    total = _step(nest, 1, still, True, False, rests, noc, dram) + rests[1][0]
    for level in range(1, depth + 1):
        box = nest.extent[:, level]
        fill, drain = _volume(nest, 0, box) + _volume(nest, 1, box), _volume(nest, 2, box)
        for moved in (fill, drain):
            cycles = _up(moved / noc)
            total = total + (torch.maximum(cycles, _up(moved / dram)) if level == 1 else cycles)
    return total


def _rest(
    nest: _Nest, level: int, rests: dict[int, tuple[Tensor, Tensor]], noc: Tensor, dram: Tensor
) -> tuple[Tensor, Tensor]:
    """Cycles after the first step of a range: if its sums start at zero, and if there are some."""
    rounds, extent = nest.rounds[:, level], nest.extent[:, level]
    place, moves = nest.place[:, level], nest.moves[:, level]
    new = again = torch.zeros_like(nest.size[:, 0])
    for at in range(6):
        p = nest.order[:, level, at : at + 1]
        several = moves.gather(1, p)[:, 0]
        inside, outside = place > at, place < at
        times = torch.where(outside & moves, rounds, 1.0).prod(dim=1) * (
            rounds.gather(1, p)[:, 0] - 1
        )
        start = torch.where(nest.masks[2] & outside & moves, rounds, 1.0).prod(dim=1)
        selects = nest.masks[2].gather(1, p)[:, 0]
        start = torch.where(selects, start * (rounds.gather(1, p)[:, 0] - 1), 0.0)
        moved = torch.where(inside & moves, (rounds - 1) * extent, 0.0)
        moved = torch.where((place == at) & moves, -extent, moved)
        first = _step(nest, level, moved, False, False, rests, noc, dram)
        later = _step(nest, level, moved, False, True, rests, noc, dram)
        again = again + torch.where(several, times * later, 0.0)
        new = new + torch.where(several, start * first + (times - start) * later, 0.0)
    return new, again


def _step(
    nest: _Nest,
    level: int,
    moved: Tensor,
    first: bool,
    again: bool,
    rests: dict[int, tuple[Tensor, Tensor]],
    noc: Tensor,
    dram: Tensor,
) -> Tensor:
    """Cycles of one step: of its own ports, or of the range below.

    Args:
        moved: `n x 6`; how far the tile moved.
        first: the layer's very first step; its loads are the fill.
        again: its sums have been worked on before.
    """
    depth = nest.tile.shape[1] - 1
    waits = []
    empty = torch.zeros(3, len(moved), dtype=torch.bool)
    for at in range(level, depth + 1):
        waits.append(
            torch.zeros_like(noc) if first else _wait(nest, at, moved, empty, again, noc, dram)
        )
        if at < depth:
            last = (nest.rounds[:, at + 1] - 1) * nest.extent[:, at + 1]
            moved = moved + torch.where(nest.moves[:, at + 1], last, 0.0)
            changing = [(nest.moves[:, at + 1] & mask).any(dim=1) for mask in nest.masks]
            empty = empty | torch.stack(changing)
    cycles = nest.tile[:, depth].prod(dim=1)
    for at in range(depth, level - 1, -1):
        if at < depth:
            cycles = cycles + rests[at + 1][1 if again else 0]
        cycles = torch.maximum(cycles, waits[at - level])
    return cycles


def _wait(
    nest: _Nest, level: int, moved: Tensor, empty: Tensor, again: bool, noc: Tensor, dram: Tensor
) -> Tensor:
    """Cycles that the ports of a level need for a step; `empty`: `3 x n`, tensors not held."""
    changed = moved != 0
    box = nest.extent[:, level]
    load = [empty[t] | (changed & nest.masks[t]).any(dim=1) for t in range(3)]
    keeps = ~empty[0] & ~changed[:, 1]
    span, zero = _span(nest, box), torch.zeros_like(noc)
    taps, stride = nest.size[:, 4:], nest.stride[:, None]
    distance = moved[:, 2:4].abs()
    stays = []
    for unit in (nest.tile[:, level, 2:4], box[:, 2:4]):  # units side by side; all as one
        part = (taps - stride - (distance - unit) * stride).clamp(min=0)
        part = torch.where(distance > 0, part, span).prod(dim=1)
        stays.append(torch.where(keeps, box[:, 1] * part, zero))
    whole = _volume(nest, 0, box)
    weights = torch.where(load[1], _volume(nest, 1, box), zero)
    sums = torch.where(load[2], _volume(nest, 2, box), zero)
    back = sums if again else zero
    into = torch.where(load[0], whole - stays[0], zero) + weights + back
    cycles = _up(torch.maximum(into, sums) / noc)
    if level > 1:
        return cycles
    l2 = torch.where(load[0], whole - stays[1], zero) + weights + back
    return torch.maximum(cycles, _up((l2 + sums) / dram))
