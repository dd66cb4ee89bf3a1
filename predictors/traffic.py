"""Traffic at every boundary and what the buffers need: the closed form of docs/honest-model.md.

Counted as in the honest model, with three simplifications that the network on top learns to mend:
units that share a loop hold equal tiles, halos of cut filters are those of mean tiles, and padding
is met by the first and last tile. Everything has a gradient by tiles, orders, parallel dimensions
and units.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from predictors.interface import LEVELS, Relaxed
from predictors.loops import Loops

K, C, Y, X, R, S = range(6)
INPUT, WEIGHT, OUTPUT = range(3)
AXES = ((Y, R), (X, S))
_TINY = 1e-30


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Elements, float64.

    Attributes:
        supplied: b x 4 x 3, read in the store above boundary 0 (DRAM to L2) to 3 (into the PEs).
        taken: b x 4 x 3, written in the units below.
        drained: b x 4, sums read below; collected: b x 4, sums written above.
        sums_read: b, by the MACs.
        required: b x 4, of the L2 and of one buffer of each level; buffers: b x 4, how many.
    """

    supplied: Tensor
    taken: Tensor
    drained: Tensor
    collected: Tensor
    sums_read: Tensor
    required: Tensor
    buffers: Tensor

    @property
    def shared_required(self) -> Tensor:
        """b, elements of the L2 and all buffers between it and the PEs."""
        return (self.required * self.buffers)[:, :-1].sum(dim=1)

    def accesses(self, macs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Elements to and from DRAM (b), reads and writes (b x 4) of the L2 and each buffer."""
        down = self.supplied.sum(dim=2)
        below, up = torch.zeros_like(down), torch.zeros_like(down)
        below[:, :-1], up[:, :-1] = down[:, 1:], self.collected[:, 1:]
        reads = self.drained + below
        writes = self.taken.sum(dim=2) + up
        last = torch.tensor([0.0, 0, 0, 1], dtype=down.dtype, device=down.device)
        reads = reads + (2 * macs + self.sums_read)[:, None] * last
        return down[:, 0] + self.collected[:, 0], reads, writes + macs[:, None] * last


def coupled(x: Relaxed) -> Tensor:
    """Which dimensions select an element of each tensor: b x 3 x 6 of 0 and 1."""
    rows = [
        [[0, 1, 1, 1, 1, 1], [1, 1, 0, 0, 1, 1], [1, 0, 1, 1, 0, 0]],
        [[0, 1, 1, 1, 1, 1], [0, 1, 0, 0, 1, 1], [0, 1, 1, 1, 0, 0]],
    ]
    masks = torch.tensor(rows, dtype=torch.float64, device=x.layer.device)
    return masks[x.layer[:, 8].long()]


def span(extent: Tensor, taps: Tensor, stride: Tensor) -> Tensor:
    """Positions that `extent` outputs and `taps` taps need."""
    return (extent - 1) * torch.minimum(stride, taps) + taps


def volumes(extent: Tensor, x: Relaxed, mask: Tensor) -> Tensor:
    """Elements of input, weight and output in boxes, `... x 6 -> ... x 3`.

    Args:
        extent: b x n x 6; mask: of `coupled`.
    """
    stride = x.layer[:, 6].double()[:, None]
    rows = span(extent[..., Y], extent[..., R], stride)
    columns = span(extent[..., X], extent[..., S], stride)
    log = extent.clamp(min=1e-9).log()
    plain = torch.einsum("bnd,btd->bnt", log, mask[:, WEIGHT:]).exp()
    return torch.cat([(extent[..., C] * rows * columns)[..., None], plain], dim=-1)


def views(loops: Loops, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Where tensors change.

    Returns:
        changing: b x 3 x 3 of 0 and 1, whether a level's loops change a tensor;
        view: b x 3 x 3, the nearest level at or above where one does, -1 for none.
    """
    changing = (torch.einsum("bld,btd->blt", loops.multi, mask) > 0).double()
    nearest, found = [], torch.full_like(changing[:, 0], -1)
    for level in range(LEVELS):
        found = torch.where(changing[:, level] > 0, float(level), found)
        nearest.append(found)
    return changing, torch.stack(nearest, dim=1).long()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """One level's tensors as its view counts them; by tensor, b x 3 x 6 unless noted."""

    steps: Tensor  # logs
    number: Tensor
    single: Tensor  # logs of elements in ranges of one round
    outside: Tensor  # b x 3 x 6 x 6
    shift: Tensor  # elements that a round moves by
    moves: Tensor  # b x 3: 1 where there is a view


def _seen(loops: Loops, view: Tensor, level: int, at: int) -> _Seen:
    """What the views of a level's tensors count, units of levels up to `at` one by one."""
    zero = torch.zeros_like(loops.hold[:, 0])
    inner = [loops.hold[:, i] for i in range(at + 1)]
    steps, number = [sum(inner, zero)], [sum(inner, zero)]
    for v in range(level + 1):
        if at < v:
            steps.append(loops.rounds[:, v])
            number.append(loops.ranges[:, v])
        else:
            below = sum((loops.hold[:, i] for i in range(v + 1, at + 1)), zero)
            steps.append(loops.ranges[:, v + 1] + below)
            number.append(loops.starts[:, v] + below)
    index = view[:, level] + 1  # b x 3

    def pick(options: list[Tensor]) -> Tensor:
        table = torch.stack(options, dim=1)
        shape = (-1, -1, *table.shape[2:])
        return table.gather(1, index.reshape(*index.shape, *[1] * (table.ndim - 2)).expand(shape))

    top = [torch.zeros_like(zero)]
    return _Seen(
        steps=pick(steps),
        number=pick(number),
        single=pick([*top, *loops.single.unbind(1)[: level + 1]]),
        outside=pick(
            [torch.zeros_like(loops.outside[:, 0]), *loops.outside.unbind(1)[: level + 1]]
        ),
        shift=pick([*top, *loops.once.unbind(1)[: level + 1]]).exp(),
        moves=(index > 0).double(),
    )


def _plain(size: Tensor, mask: Tensor, seen: _Seen) -> Tensor:
    """Elements of weights and outputs (b x 2) that enter; as `honest_count._plain`."""
    part = slice(WEIGHT, OUTPUT + 1)
    mask, steps, number = mask[:, part], seen.steps[:, part], seen.number[:, part]
    outside = seen.outside[:, part]
    before = mask * size.log()[:, None] + (1 - mask) * steps
    after = mask * seen.single[:, part] + (1 - mask) * number
    total = before.sum(dim=-1)
    around = torch.einsum("btdp,btd->btp", outside, before)
    around = around + torch.einsum("btpd,btd->btp", outside, after)
    more = (steps.exp() - number.exp()) * (1 - mask)
    stays = (around.exp() * more).sum(dim=-1) * seen.moves[:, part]
    whole = total.exp()
    return torch.maximum(whole - stays, size.log()[:, None].mul(mask).sum(-1).exp())


def _inputs(x: Relaxed, loops: Loops, seen: _Seen, own: Tensor) -> Tensor:
    """Elements of the input (b) that enter.

    Args:
        own: b x 6, 1 where the counted units share out a dimension: nothing stays between rounds.
    """
    size, stride = x.layer[:, :6].double(), x.layer[:, 6].double()
    steps, number = seen.steps[:, INPUT].exp(), seen.number[:, INPUT].exp()
    outside, shift = seen.outside[:, INPUT], seen.shift[:, INPUT]
    alone = seen.single[:, INPUT].exp() / size  # share of elements in ranges of one round
    whole, stays, state = [], [], []
    for axis, (d, f) in enumerate(AXES):
        extent, taps = size[:, d] / steps[:, d], size[:, f] / steps[:, f]
        wide = span(extent, taps, stride)
        padded = span(size[:, d], size[:, f], stride) - x.layer[:, 9 + axis].double()
        tiles = steps[:, d] * steps[:, f]
        whole.append((tiles * wide - padded.clamp(min=0) * steps[:, f]).clamp(min=1))
        # Loops inside the moved one go from their last round to the first: only single rounds stay.
        one = [outside[:, e] + (1 - outside[:, e]) * alone[:, e, None] for e in (d, f)]
        state.append(one[0] * one[1])
        kept = (wide - stride * shift[:, d]).clamp(min=0) * (1 - own[:, d])
        rows = (steps[:, d] - number[:, d]) * kept * steps[:, f] * one[1][:, d]
        moved = torch.where(stride == 1, shift[:, f], wide)
        kept = (wide - moved).clamp(min=0) * (1 - own[:, f])
        columns = (steps[:, f] - number[:, f]) * kept * steps[:, d] * one[0][:, f]
        stays.append((rows, columns))
    channels = outside[:, C] * size[:, C, None] + (1 - outside[:, C]) * (
        alone[:, C, None] * size[:, C, None]
    )
    fixed = outside[:, K] * steps[:, K, None] + (1 - outside[:, K]) * number[:, K, None]
    total = steps[:, K] * size[:, C] * whole[0] * whole[1]
    kept = (steps[:, K] - number[:, K]) * channels[:, K]
    kept = kept * whole[0] * state[0][:, K] * whole[1] * state[1][:, K]
    for axis in range(2):
        other = whole[1 - axis][:, None] * state[1 - axis]
        for dim, number_kept in zip(AXES[axis], stays[axis], strict=True):
            kept = kept + fixed[:, dim] * channels[:, dim] * number_kept * other[:, dim]
    stored = size[:, C] * (x.layer[:, 9] * x.layer[:, 10]).double()
    used = torch.minimum(stored, size[:, C] * whole[0] * whole[1])
    least = torch.minimum(used, total)
    return torch.maximum(total - kept * seen.moves[:, INPUT], least.clamp(min=1) * 0.25)


def traffic_of(x: Relaxed, loops: Loops, mask: Tensor, view: Tensor) -> Traffic:
    """Traffic and requirements of relaxed dataflows."""
    size = x.layer[:, :6].double()
    zero = torch.zeros_like(size)
    outputs = (size.log() * mask[:, OUTPUT]).sum(-1).exp()
    supplied, taken, drained, collected = [], [], [], []
    fresh = outputs
    for boundary in range(LEVELS + 1):
        level = max(boundary - 1, 0)
        split = loops.parallel[:, level]
        shared = _seen(loops, view, level, level - 1)
        plain = _plain(size, mask, shared)
        above = _inputs(x, loops, shared, split if boundary else zero)
        up = plain[:, 1]
        if boundary == 0:
            below, weights, down = above, plain[:, 0], up
        else:
            units = _seen(loops, view, level, level)
            along = split[:, Y:].sum(-1)
            hold = loops.hold[:, level]
            direct = _inputs(x, loops, units, zero)
            below = along * direct + (1 - along) * above * (hold[:, K]).exp()
            weights = plain[:, 0] * (hold * (1 - mask[:, WEIGHT])).sum(-1).exp()
            down = _plain(size, mask, units)[:, 1]
        loads = (up - fresh).clamp(min=0)
        fresh = torch.maximum(down - loads, fresh) if boundary else fresh
        supplied.append(torch.stack([above, plain[:, 0], loads], dim=1))
        taken.append(torch.stack([below, weights, loads], dim=1))
        drained.append(down)
        collected.append(up)
    macs = size.log().sum(-1).exp()
    required, buffers = _required(x, loops, mask, view)
    return Traffic(
        supplied=torch.stack(supplied, dim=1),
        taken=torch.stack(taken, dim=1),
        drained=torch.stack(drained, dim=1),
        collected=torch.stack(collected, dim=1),
        sums_read=(macs - fresh).clamp(min=0),
        required=required,
        buffers=buffers,
    )


def _required(x: Relaxed, loops: Loops, mask: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
    """Elements of the L2 and of a buffer of each level, and their numbers, b x 4."""
    size = x.layer[:, :6].double()
    together = torch.minimum(loops.once[:, 0].exp(), size)[:, None]
    boxes = torch.cat([together, loops.tile.exp()], dim=1)
    times = 1 + (view >= 0).double()
    times = torch.cat([times[:, :1], times], dim=1)
    buffers = loops.hold.sum(-1).cumsum(dim=1).exp()
    return (
        (volumes(boxes, x, mask) * times).sum(-1),
        torch.cat([torch.ones_like(buffers[:, :1]), buffers], dim=1),
    )
