"""The legal code near a relaxed one (`dcp_hw.tensorlib_dcp_form`).

Forward, a predictor sees the legal code (`harden`); backward, gradients reach the unrounded numbers
(straight-through), and of a choice the mixture (softmax).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dcp_hw.tensorlib_dcp_code import (
    ARRAY,
    AT,
    LANES,
    NAMES,
)  # fmt: skip
from dcp_hw.tensorlib_dcp_form import Context, Form, arrays
from predictors.tensorlib_point import ARRAY_NAMES, LAYER_NAMES, Point, through
from tensorlib.design_check import MAX_AXIS

K, C, Y, X, R, S = range(6)
_OF = {name: n for n, name in enumerate(ARRAY_NAMES)}
_LAYER = {name: n for n, name in enumerate(LAYER_NAMES)}
MOST_LANES = 127
"""What a lane digit counts to."""
MOST_K = 128
"""Channels of a loaded tile: as many as scale parameters have room for."""


def harden(form: Form, context: Context, temperature: float = 1.0) -> tuple[Point, Tensor]:
    """Points (a * l rows, arrays outermost) with gradients by the form, and their codes.

    Returns: codes int64 `a x l x 42`. Points have the values of the codes.
    """
    known = arrays()
    a, layers = form.lanes.shape[:2]
    kind, mixed = _chosen(form.array, temperature)
    split, shares = _chosen(form.split, temperature)
    rows, cols = _shape(form.log_rows.detach(), kind, context)
    table = known.table[kind]
    lanes = _lanes(form.lanes.detach(), table, rows, cols, context)
    kinds = _kinds(lanes, table, cols, context)
    tile, parts = _tiles(form, lanes, kinds, table, context)
    order, orders = _chosen(form.order.flatten(0, 1), temperature)
    n_y, n_r = lanes[..., Y].prod(2), lanes[..., R].prod(2)
    depthwise = context.layers[:, :, _LAYER["depthwise"]] > 0
    padded = context.layers[:, :, _LAYER["padding"]] > 0
    trim = (form.trim.detach() > 0) & depthwise & padded & (n_y == 1) & (n_r == 1)
    lead = form.lead.detach().exp().round().clamp(1, 6)
    lead = torch.where(depthwise & (n_y == 1), lead, torch.ones_like(lead))
    code = _code(kind, split, rows, cols, lanes, tile, parts, order.reshape(a, layers), trim,
                 lead, table, context)  # fmt: skip

    def each(part: Tensor) -> Tensor:
        return part[:, None].expand(-1, layers, *part.shape[1:]).flatten(0, 1)

    seen = torch.where(_mask(table, context), lanes.log(), form.lanes.detach())
    size = torch.stack([rows, cols], dim=1).double().log()
    soft_size = torch.stack([form.log_rows, context.machine[0].log() - form.log_rows], dim=1)
    exact = torch.cat([tile.log(), (tile[..., [K, 2, 3]] / parts).ceil().log()], dim=-1)
    soft = torch.cat([form.tile, form.tile[..., [K, 2, 3]] - form.parts], dim=-1)
    sizes = through(exact, soft).flatten(0, 1)
    soft_trim = torch.sigmoid(4 * form.trim) * (depthwise & padded)
    points = Point(
        layer=context.layers.expand(a, -1, -1).flatten(0, 1),
        machine=context.machine.expand(a * layers, -1),
        array=each(mixed @ known.table),
        log_bus=context.machine[2:].log().expand(a * layers, -1),
        log_size=each(through(size, soft_size)),
        share=each(shares @ known.splits),
        log_lanes=through(seen, form.lanes).flatten(0, 1),
        log_tile=sizes[:, :4],
        log_exec=sizes[:, 4:],
        order=orders,
        trim=through(trim.double(), soft_trim).flatten(),
        log_lead=through(lead.log(), form.lead * depthwise).flatten(),
    )
    return points, code


def _chosen(logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The likeliest choices (n), and one-hot rows with the gradient of the softmax."""
    at = logits.detach().argmax(dim=-1)
    hard = torch.nn.functional.one_hot(at, logits.shape[-1]).double()
    return at, through(hard, torch.softmax(logits / temperature, dim=-1))


def _shape(log_rows: Tensor, kind: Tensor, context: Context) -> tuple[Tensor, Tensor]:
    """Rows and columns that leave less than a further row over."""
    known, pes = arrays(), context.machine[0]
    low = torch.where(known.one_row[kind], 1.0, 2.0)
    high = torch.where(known.one_col[kind], pes, torch.floor(pes / 2)).clamp(max=MAX_AXIS)
    rows = torch.minimum(torch.maximum(log_rows.exp().round(), low), high)
    cols = torch.floor(pes / rows).clamp(max=MAX_AXIS)
    return torch.floor(pes / cols).clamp(max=MAX_AXIS), cols


def _mask(table: Tensor, context: Context) -> Tensor:
    """a x l x 2 x 6: which loops each axis may carry."""
    dense, depthwise = table[:, None, :12], table[:, None, 12:24]
    which = context.layers[:, :, _LAYER["depthwise"], None] > 0
    return torch.where(which, depthwise, dense).unflatten(2, (2, 6)) > 0.5


def _lanes(logs: Tensor, table: Tensor, rows: Tensor, cols: Tensor, context: Context) -> Tensor:
    """Legal lanes near some logs, a x l x 2 x 6; float64 whole numbers."""
    size = context.layers[:, :, :6].expand(len(logs), -1, -1)
    mask = _mask(table, context)
    places = torch.stack([rows, cols], dim=1)[:, None, :].double()
    logs = torch.where(mask, logs.clamp(min=0), torch.zeros_like(logs))
    logs = torch.minimum(logs, size[:, :, None].log())
    twice = mask[:, :, 0] & mask[:, :, 1]
    first = logs[:, :, 0] >= logs[:, :, 1]
    keep = torch.stack([~twice | first, ~twice | ~first], dim=2)
    logs = torch.where(keep, logs, torch.zeros_like(logs))
    logs = _single(logs, table)
    most = places.log()
    logs = logs * (most / logs.sum(-1).clamp(min=1e-9)).clamp(max=1)[..., None]
    lanes = torch.ones_like(logs)
    left = places.expand(-1, logs.shape[1], -1).clone()
    for loop in range(6):
        wanted = logs[..., loop].exp()
        for axis in (0, 1):
            n = _legal(loop, axis, wanted[..., axis], left[..., axis], table, context)
            n = torch.where(mask[:, :, axis, loop] & keep[:, :, axis, loop], n, torch.ones_like(n))
            lanes[..., axis, loop] = n
            left[..., axis] = torch.floor(left[..., axis] / n)
    _share_banks(lanes, table, cols, context)
    _diagonal_pairs(lanes, table)
    return lanes


def _diagonal_pairs(lanes: Tensor, table: Tensor) -> None:
    """Nothing; leaves y and r, or x and s, or one loop, on arrays with a diagonal input."""
    diagonal = (table[:, _OF["diagonal"], None] > 0.5) & (lanes > 1).any(-1).all(-1)
    loops = (lanes > 1).any(2)
    pair = (loops[..., Y] & loops[..., R]) | (loops[..., X] & loops[..., S])
    lanes[..., 1, :] = torch.where(
        (diagonal & ~pair)[..., None], torch.ones_like(lanes[..., 1, :]), lanes[..., 1, :]
    )


def _share_banks(lanes: Tensor, table: Tensor, cols: Tensor, context: Context) -> None:
    """Nothing; takes taps off ports that share input banks, and off words of 4 pixels."""
    depthwise = context.layers[:, :, _LAYER["depthwise"]] > 0
    one = torch.ones_like(lanes[..., 0, 0])
    slots = _slots(table, one * cols[:, None], context)
    c2, wide = lanes[..., 1, C], lanes[..., 0, K] > 1
    dense_ok = (slots == 1) | ((c2 >= slots) & (c2 % slots == 0))
    s_ok = torch.where(depthwise, (slots == 1) | (wide & (lanes[..., 1, S] <= slots)), dense_ok)
    r_ok = torch.where(depthwise, slots == 1, dense_ok)
    lanes[..., 1, R] = torch.where(r_ok, lanes[..., 1, R], one)
    lanes[..., 1, S] = torch.where(s_ok, lanes[..., 1, S], one)
    n_s = lanes[..., S].prod(2)
    taps = torch.ceil(context.layers[:, :, S] / n_s) * context.layers[:, :, _LAYER["dilation"]]
    split = (context.layers[:, :, _LAYER["c4"]] > 0) & (n_s > 1) & (taps % 4 != 0)
    lanes[..., S] = torch.where(split[..., None], torch.ones_like(lanes[..., S]), lanes[..., S])


def _single(logs: Tensor, table: Tensor) -> Tensor:
    """One loop only on an axis that is drained, or of a diagonal."""
    drained = table[:, _OF["chain_output"]]
    alone = torch.stack([drained * table[:, _OF[f"chain_{n}"]] for n in (1, 2)], dim=1)
    alone = (alone + table[:, _OF["diagonal"], None]) > 0.5
    best = torch.nn.functional.one_hot(logs.argmax(-1), 6).bool()
    return torch.where(alone[:, None, :, None] & ~best, torch.zeros_like(logs), logs)


def _even(size: Tensor, count: Tensor) -> Tensor:
    """The least count that needs as many rounds."""
    return torch.ceil(size / torch.ceil(size / count))


def _legal(
    loop: int, axis: int, wanted: Tensor, left: Tensor, table: Tensor, context: Context
) -> Tensor:
    """Lanes of a loop on an axis with `left` places, as `dcp_hw.lane_options` allows them."""
    size = context.layers[:, :, loop].expand_as(wanted)
    depthwise = context.layers[:, :, _LAYER["depthwise"]] > 0
    one = torch.ones_like(wanted)
    n = torch.minimum(torch.maximum(wanted.round(), one), torch.minimum(left, size))
    blocks = torch.ceil(size / 16)

    def flag(name: str) -> Tensor:
        return (table[:, _OF[name]] > 0.5)[:, None]

    if loop in (Y, X):
        return _even(size, n.clamp(max=MOST_LANES))
    if loop in (R, S):
        best = one
        for d in range(2, 17):
            best = torch.where((size % d == 0) & (n >= d), one * d, best)
        return best
    if loop == C:
        outer = torch.minimum(torch.minimum(n, blocks), left)
        whole = torch.where((wanted > torch.maximum(blocks, 8 * one)) & (left >= 16), 16 * one,
                            _even(blocks, outer))  # fmt: skip
        if axis == 1:
            slots = _slots(table, left, context)
            several = torch.where(
                wanted * 1.5 < slots, one,
                torch.where(n < 2 * slots, torch.minimum(slots, size),
                            slots * torch.floor(torch.minimum(n, left) / slots)),
            )  # fmt: skip
            whole = torch.where(slots > 1, several, whole)
        chained = flag("chain_input") & flag(f"chain_{axis + 1}")
        held = torch.where(wanted < 1.5, one, torch.minimum(left, size))
        held = torch.where(torch.ceil(size / held) * held > blocks * 16, one, held)
        return torch.where(chained, held, whole)
    if axis == 1:
        found = _even(blocks, torch.minimum(n, blocks))
    else:
        n = torch.minimum(torch.maximum(wanted.round(), one), torch.minimum(left, blocks * 16))
        small = 2.0 ** torch.floor(torch.log2(n))
        found = torch.where(n < 16, small, 16 * torch.floor(n / 16))
        whole = torch.where(left >= 16, 16 * one, one)
        found = torch.where(depthwise & (found < 16) & (found < size) & (found > 1), whole, found)
    drained = flag("chain_output") & flag(f"chain_{axis + 1}")
    return torch.where(drained, torch.where(depthwise | (wanted < 2), one, left), found)


def _slots(table: Tensor, cols: Tensor, context: Context) -> Tensor:
    """Ports of an input bank on an array of so many columns."""
    group = torch.ones_like(cols)
    for g in (2, 4, 8, 16):
        group = torch.where(cols % g == 0, g * torch.ones_like(cols), group)
    return torch.where((table[:, _OF["slots_input"]] > 0.5)[:, None], group, torch.ones_like(cols))


class _Kinds(NamedTuple):
    unit: Tensor  # a x l: inner and drained lanes of k
    outer: Tensor
    ci: Tensor
    bytes: Tensor
    slots: Tensor


def _kinds(lanes: Tensor, table: Tensor, cols: Tensor, context: Context) -> _Kinds:
    """Kinds of lanes that tiles depend on, as `predictors.tensorlib_fit` has them."""
    one = torch.ones_like(lanes[..., 0, 0])
    depthwise = context.layers[:, :, _LAYER["depthwise"]] > 0
    c4 = context.layers[:, :, _LAYER["c4"]] > 0

    def flag(name: str) -> Tensor:
        return (table[:, _OF[name]] > 0.5)[:, None]

    drained = [flag("chain_output") & flag(f"chain_{n}") for n in (1, 2)]
    ki = torch.where(drained[0], one, lanes[..., 0, K].clamp(max=16))
    kd = torch.where(drained[0], lanes[..., 0, K], one)
    kd = torch.where(drained[1], lanes[..., 1, K], kd)
    outer = lanes[..., K].prod(2) / (ki * kd)
    slots = _slots(table, (one * cols[:, None]), context)
    c2, n_c = lanes[..., 1, C], lanes[..., C].prod(2)
    ci = torch.where(c2 > 1, torch.minimum(c2, slots), one)
    ci = torch.where(flag("chain_input"), n_c, ci)
    narrow = ~depthwise & ~c4 & (ci == 1) & (n_c == 16)
    wide = depthwise & (ki > 1)
    ci = torch.where(narrow, 16 * one, ci)
    return _Kinds(unit=ki * kd, outer=outer, ci=ci, bytes=wide | narrow, slots=slots)


def _tiles(
    form: Form, lanes: Tensor, kinds: _Kinds, table: Tensor, context: Context
) -> tuple[Tensor, Tensor]:
    """Legal tiles (a x l x 4) and EXECs per tile (a x l x 3) near the form's."""
    size = context.layers[:, :, :4]
    n = lanes.prod(2)
    whole = torch.ceil(size / n[..., :4])
    tile = torch.minimum(form.tile.detach().exp().round().clamp(min=1), whole)
    tile = torch.ceil(whole / torch.ceil(whole / tile))
    of = {name: context.layers[:, :, at] for name, at in _LAYER.items()}
    depthwise, c4 = of["depthwise"] > 0, of["c4"] > 0
    one = torch.ones_like(tile[..., 0])
    # channels: whole blocks of 16 unless it is all of them, and no more than have parameters
    block = _block(kinds.unit)
    most = torch.floor(MOST_K / n[..., K]).clamp(min=1)
    kt = torch.minimum(tile[..., K], torch.maximum(torch.floor(most / block) * block, one))
    aligned = torch.ceil(kt / block) * block
    kt = torch.where((kt == whole[..., K]) & (kinds.outer == 1), kt, aligned)
    single = kinds.bytes & depthwise & (kinds.outer > 1)
    k_tile = n[..., K] * kt
    kt = torch.where(single & (k_tile < of["k"]) & (of["k"] % k_tile != 0), one, kt)
    block = torch.where(kinds.bytes, one, _block(kinds.ci))
    ct = tile[..., C]
    aligned = torch.minimum(
        torch.ceil(ct / block) * block, torch.ceil(whole[..., C] / block) * block
    )
    outer_c = n[..., C] / kinds.ci
    ct = torch.where((ct == whole[..., C]) & (outer_c <= 1), ct, aligned)
    ct = torch.where(depthwise | c4, whole[..., C], ct)
    xt = tile[..., 3]
    xt = torch.where(c4 & (n[..., X] > 1), torch.ceil(xt / 4) * 4, xt)
    taps = torch.ceil(of["s"] / n[..., S])
    row = torch.floor((15 - (taps - 1) * of["dilation"]) / of["stride"]) + 1
    xt = torch.where(kinds.bytes & (kinds.slots > 1), torch.minimum(xt, row.clamp(min=1)), xt)
    yt = tile[..., 2]
    diagonal = table[:, _OF["diagonal"], None] > 0.5
    for at, (loop, tap, name) in enumerate(((Y, R, "r"), (X, S, "s"))):
        reach = torch.ceil(of[name] / n[..., tap]) * of["dilation"] / of["stride"]
        both = diagonal & (n[..., loop] > 1) & (n[..., tap] > 1)
        yt, xt = (
            (torch.where(both, reach.round().clamp(min=1), yt), xt)
            if at == 0
            else (yt, torch.where(both, reach.round().clamp(min=1), xt))
        )
    tile = torch.stack([kt, ct, yt, xt], dim=-1)
    parts = form.parts.detach().exp().round().clamp(min=1)
    parts = torch.minimum(parts, tile[..., [0, 2, 3]])
    cut = (torch.ceil(of["c"] / (n[..., C] * ct)) <= 1) | depthwise
    parts = torch.where(cut[..., None], parts, torch.ones_like(parts))
    ks = torch.ceil(kt / parts[..., 0])
    parts_k = torch.where((ks * kinds.unit) % 16 == 0, parts[..., 0], one)
    return tile, torch.stack([parts_k, parts[..., 1], parts[..., 2]], dim=-1)


def _block(unit: Tensor) -> Tensor:
    """The least number of units that makes a multiple of 16."""
    found = 16 * torch.ones_like(unit)
    for n in (8, 4, 2, 1):
        found = torch.where(unit % (16 / n) == 0, n * torch.ones_like(unit), found)
    return found


def _code(
    kind: Tensor, split: Tensor, rows: Tensor, cols: Tensor, lanes: Tensor, tile: Tensor,
    parts: Tensor, order: Tensor, trim: Tensor, lead: Tensor, table: Tensor, context: Context,
) -> Tensor:  # fmt: skip
    """Whole numbers in the order of `tensorlib_dcp_code.NAMES`, a x l x 42."""
    a, layers = lanes.shape[:2]
    code = torch.zeros(a, layers, len(NAMES), dtype=torch.int64)
    bus = context.machine[2:].long()
    known = arrays()
    top = torch.cat(
        [bus.expand(a, -1), known.fields[kind], torch.stack([rows, cols], 1).long(),
         (known.splits[split] * 20).round().long()], dim=1,
    )  # fmt: skip
    code[..., : len(ARRAY)] = top[:, None]
    code[..., len(ARRAY) : len(ARRAY) + len(LANES)] = lanes.flatten(2).round().long()
    sizes = torch.cat([tile, torch.ceil(tile[..., [0, 2, 3]] / parts)], dim=-1)
    code[..., AT["kt"] : AT["kt"] + 7] = sizes.round().long()
    depthwise = context.layers[:, :, _LAYER["depthwise"]] > 0
    steps = torch.where(table[:, _OF["chain_weight"]] > 0.5, 3, 0)[:, None].expand(-1, layers)
    held = (table[:, _OF["chain_input"]] > 0.5)[:, None]
    steps = torch.where(held, torch.where(depthwise, 5, 4), steps)
    code[..., AT["tile_order"]], code[..., AT["step_order"]] = order, steps
    code[..., AT["late_params"]] = 1
    code[..., AT["trim"]], code[..., AT["lead"]] = trim.long(), lead.long()
    code[..., AT["flat"]] = context.flat
    return code
