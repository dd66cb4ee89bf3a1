"""Lanes, tiles and words of relaxed designs, and whether they fit (`predictors.tensorlib_form`)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from predictors.tensorlib_point import (
    HALF,
    MOST_BASE,
    MOST_COUNT,
    MOST_ROWS,
    MOST_WORDS,
    PARAM_BYTES,
    PARAM_ROWS,
    Point,
    gate,
    through,
    up,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """Lanes of b points, linear: b x 6 in all, and their kinds (`dcp_hw.mapping.LaneSplit`)."""

    log: Tensor  # b x 2 x 6, masked
    n: Tensor
    ki: Tensor
    kd: Tensor
    ko: Tensor
    ci: Tensor
    co: Tensor
    bytes: Tensor  # 0 or 1: input banks take single bytes
    local: Tensor  # ports or chain places of one weight bank
    banks: Tensor  # b x 3


def lanes_of(p: Point, of: dict[str, Tensor], a: dict[str, Tensor]) -> Lanes:
    """Lanes that the arrays carry; `of`: columns of p.layer by name, `a`: of p.array."""
    dw = of["depthwise"]
    dense, depthwise = p.array[:, :12], p.array[:, 12:24]
    mask = torch.where(dw[:, None] > 0, depthwise, dense).reshape(-1, 2, 6)
    log = mask * p.log_lanes
    n = log.sum(1).exp()
    rows, cols = p.log_size.exp().unbind(1)
    group = torch.ones_like(cols)
    for g in (2, 4, 8, 16):
        group = torch.where((cols.detach() / g - (cols.detach() / g).round()).abs() < HALF,
                            torch.full_like(group, g), group)  # fmt: skip
    k1, k2 = log[:, 0, 0].exp(), log[:, 1, 0].exp()
    drained_1, drained_2 = a["chain_output"] * a["chain_1"], a["chain_output"] * a["chain_2"]
    kd = 1 + drained_1 * (k1 - 1) + drained_2 * (k2 - 1)
    ki = torch.where(drained_1 > 0.5, torch.ones_like(k1), k1.clamp(max=16))
    ko = n[:, 0] / (ki * kd)
    slots = 1 + a["slots_input"] * (group - 1)
    c2 = log[:, 1, 1].exp()
    ci = torch.where(c2 > 1.5, torch.minimum(c2, slots), torch.ones_like(c2))
    chained = a["chain_input"] * (a["chain_1"] * log[:, 0, 1] + a["chain_2"] * log[:, 1, 1])
    ci = torch.where(a["chain_input"] > 0.5, chained.exp(), ci)
    wide = (ki > 1.5) & (dw > 0)
    narrow = (dw == 0) & (of["c4"] == 0) & (ci < 1.5) & ((n[:, 1] - 16).abs() < 1e-3)
    ci = torch.where(narrow, torch.full_like(ci, 16.0), ci)
    co = torch.where(dw > 0, torch.ones_like(ci), n[:, 1] / ci)
    chain = a["chain_1"] * rows + a["chain_2"] * cols
    local = 1 + a["slots_weight"] * (group - 1)
    local = torch.where(a["chain_weight"] > 0.5, chain, local)
    banks = []
    for i, tensor in enumerate(("input", "weight", "output")):
        log_banks = a[f"banks_{tensor}_1"] * p.log_size[:, 0]
        log_banks = log_banks + a[f"banks_{tensor}_2"] * p.log_size[:, 1]
        if i < 2:
            log_banks = log_banks - a[f"slots_{tensor}"] * group.log()
        banks.append(log_banks.exp())
    return Lanes(
        log=log, n=n, ki=ki, kd=kd, ko=ko, ci=ci, co=co, bytes=(wide | narrow).to(n.dtype),
        local=local, banks=torch.stack(banks, dim=1),
    )  # fmt: skip


def tiles_of(p: Point, of: dict[str, Tensor], lanes: Lanes) -> dict[str, Tensor]:
    """Tiles, steps and EXECs, as `scan.estimate` counts them."""
    kt, ct, yt, xt = p.log_tile.exp().unbind(1)
    ks, ys, xs = p.log_exec.exp().unbind(1)
    n = lanes.n
    t = {"kt": kt, "ct": ct, "yt": yt, "xt": xt, "ks": ks, "ys": ys, "xs": xs}
    t["rt"], t["st"] = up(of["r"] / n[:, 4]), up(of["s"] / n[:, 5])
    dense = of["depthwise"] == 0
    one = torch.ones_like(kt)
    c_size = torch.where(dense, of["c"], one)
    for loop, size, lane, step in (
        ("k", of["k"], n[:, 0], kt),
        ("c", c_size, torch.where(dense, n[:, 1], one), torch.where(dense, ct, one)),
        ("y", of["y"], n[:, 2], yt),
        ("x", of["x"], n[:, 3], xt),
    ):
        tiles = up(size / (lane * step))
        rest = size - (tiles - 1) * lane * step
        if loop in "yx":
            end = torch.minimum(rest, step)
        elif loop == "c":
            end = torch.where(up(rest / (step * lanes.ci)) > 1, step, up(rest / lanes.ci))
        else:
            spread = up(up(rest / 16) / lanes.ko) * up(16 / (lanes.ki * lanes.kd))
            many = torch.where(dense, torch.minimum(step, spread), step)
            end = torch.where(lanes.ko > 1.5, many, up(rest / (lanes.ki * lanes.kd)))
        t[f"{loop}_tiles"] = tiles
        t[f"{loop}_end"] = through(end.clamp(min=1), rest / lane)
        t[f"{loop}_steps"] = through((tiles - 1) * step + end.clamp(min=1), size / lane)
    t["outputs"] = of["batch"]
    for loop, step, part in (("k", kt, ks), ("y", yt, ys), ("x", xt, xs)):
        execs = (t[f"{loop}_tiles"] - 1) * up(step / part) + up(t[f"{loop}_end"] / part)
        t[f"{loop}_execs"] = execs
        t["outputs"] = t["outputs"] * execs
    t["execs"] = t["outputs"] * t["c_tiles"]
    t["taps"] = t["rt"] * t["st"]
    steps = of["batch"] * t["taps"]
    for loop in "kcyx":
        steps = steps * t[f"{loop}_steps"]
    t["steps"] = steps
    return t


def loads_of(
    p: Point, of: dict[str, Tensor], a: dict[str, Tensor], lanes: Lanes, t: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Words of 16 bytes loaded and stored, in all and for a single tile."""
    n, dense = lanes.n, of["depthwise"] == 0
    window_r = (of["r"] - 1) * of["dilation"] + 1
    window_s = (of["s"] - 1) * of["dilation"] + 1
    rows, rows_one = _reach(of["y"], n[:, 2], t["yt"], t["y_tiles"], of["stride"], window_r)
    cols, cols_one = _reach(of["x"], n[:, 3], t["xt"], t["x_tiles"], of["stride"], window_s)
    below = ((of["y"] - 1) * of["stride"] + window_r - of["padding"] - of["in_y"]).clamp(min=0)
    cut = p.trim * (of["padding"] + below)
    rows = rows - cut
    rows_one = torch.where(t["y_tiles"] < 1.5, rows_one - cut, rows_one).clamp(min=1)
    c4 = of["c4"] > 0
    count = cols_one
    cols = torch.where(c4, cols / 4 + 2 * t["x_tiles"], cols)
    cols_one = torch.where(c4, up((cols_one + 3) / 4), cols_one)
    k_tile, c_tile = n[:, 0] * t["kt"], n[:, 1] * t["ct"]
    channels = torch.where(dense, of["c"], of["k"])
    blocks = up(channels / 16)
    one = torch.minimum(blocks, up(torch.where(dense, c_tile, k_tile) / 16))
    blocks = torch.where(lanes.co > 1.5, torch.maximum(blocks, t["c_tiles"] * one), blocks)
    blocks, one = (torch.where(c4, torch.ones_like(x), x) for x in (blocks, one))
    kyx, yxk, ykx = p.order.unbind(1)
    inside = t["c_tiles"] * (kyx * t["y_tiles"] * t["x_tiles"] + yxk + ykx * t["x_tiles"])
    again = gate(inside, 2.5) * dense
    passes = 1 + (t["k_tiles"] - 1) * again
    input_words = of["batch"] * rows * cols * blocks * passes
    depth = torch.where(dense, t["ct"], torch.ones_like(t["ct"]))
    bank = up(t["kt"] * t["taps"] * depth * lanes.local / 16)
    used_k = torch.minimum(n[:, 0], of["k"])
    used_c = torch.where(dense, n[:, 1], torch.ones_like(used_k))
    # ports that share a bank, or chain places, are inside it
    others = (used_c * n[:, 4] * n[:, 5] / lanes.local).clamp(min=1)
    others = torch.where(
        a["chain_weight"] > 0.5, (used_k * used_c * n[:, 4] * n[:, 5] / lanes.local).clamp(min=1),
        others * used_k,
    )  # fmt: skip
    weight_one = others * bank
    taps_form = (lanes.bytes > 0) & ~dense & (lanes.ki > 15.5)
    plain = up(of["k"] / 16) * of["r"] * of["s"]
    weight_words = t["c_tiles"] * t["k_tiles"] * weight_one
    weight_words = torch.where(taps_form, plain, weight_words)
    weight_one = torch.where(taps_form, plain / t["k_tiles"], weight_one)
    by_memory = up(of["k"] / 16) * t["c_steps"] * n[:, 1]
    weight_words = torch.where(of["from_memory"] > 0, by_memory, weight_words)
    held = t["c_tiles"] * (kyx + yxk * t["k_tiles"] + ykx * t["k_tiles"])
    whole = 1 + (t["y_tiles"] * t["x_tiles"] - 1) * gate(held, 2.5)
    c_gate = gate(t["c_tiles"], 2.5)
    middle = (1 + (t["y_tiles"] - 1) * gate(t["k_tiles"] * t["c_tiles"], 2.5)) * (
        1 + (t["x_tiles"] - 1) * c_gate
    )
    repeats = (kyx + yxk) * whole + ykx * middle
    weight_words = of["batch"] * weight_words * repeats
    return {
        "input_words": input_words,
        "weight_words": weight_words,
        "input_one": rows_one * cols_one * one,
        "weight_one": weight_one,
        "blocks_one": one,
        "most_count": torch.maximum(rows_one, count),
        "output_words": of["batch"] * up(of["k"] / 16) * of["y"] * of["x"],
        "params": 7 * up(of["k"] / 16),
        "bank_words": bank,
        "k_tile": k_tile,
    }


def _reach(
    size: Tensor, lanes: Tensor, step: Tensor, tiles: Tensor, stride: Tensor, window: Tensor
) -> tuple[Tensor, Tensor]:
    """Input positions of all tiles, and of the largest."""
    rest = size - (tiles - 1) * lanes * step
    full = (lanes * step - 1) * stride + window
    used = up(rest / step)
    last = torch.where(used > 1, used * step, rest)
    tail = (last - 1) * stride + window
    total = (tiles - 1) * full + tail
    return through(total, tiles * full.clamp(max=1e9)), torch.where(tiles > 1, full, tail)


def excess_of(
    p: Point,
    of: dict[str, Tensor],
    a: dict[str, Tensor],
    lanes: Lanes,
    t: dict[str, Tensor],
    size: Tensor,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Logs of need over limit (b x 4), and of need over room of the three memories."""
    room = rooms_of(p, lanes)
    taps_s = t["st"]
    rows = (t["yt"] - 1) * of["stride"] + (t["rt"] - 1) * of["dilation"] + 1
    cols = (t["xt"] - 1) * of["stride"] + (taps_s - 1) * of["dilation"] + 1
    dense = of["depthwise"] == 0
    single = torch.where(dense, t["ct"], t["kt"])
    by_bytes = single * rows * torch.where(a["slots_input"] > 0.5, torch.full_like(cols, 16), cols)
    blocks = up(torch.where(dense, t["ct"] * lanes.ci, t["kt"]) / 16)
    by_words = rows * cols * blocks * 16
    quads = rows * up((cols + 3) / 4) * 16
    pixel = torch.where(lanes.bytes > 0, torch.ones_like(cols), blocks * 16)
    pixel = torch.where(of["c4"] > 0, torch.full_like(cols, 4), pixel)
    line = torch.where(lanes.bytes > 0, by_bytes / (single * rows), cols * blocks * 16)
    line = torch.where(of["c4"] > 0, quads / rows, line)
    block = torch.where(lanes.bytes > 0, by_bytes, blocks * 16)
    base = (
        (lanes.n[:, 2] - 1) * t["yt"] * of["stride"] * line
        + (lanes.n[:, 3] - 1) * t["xt"] * of["stride"] * pixel
        + (lanes.co - 1) * block
    )
    used = torch.where(lanes.bytes > 0, by_bytes, torch.where(of["c4"] > 0, quads, by_words))
    used = used + a["chain_input"] * t["chain"]
    group = (16 / lanes.ki).clamp(min=1)
    pitch = up(t["ks"] * lanes.kd / group) * group
    places = 1 + a["chain_output"] * (lanes.kd < 1.5) * (
        a["chain_1"] * size[:, 0] + a["chain_2"] * size[:, 1] - 1
    )
    words = pitch * t["xs"] * t["ys"] * places
    params = up(t["k_tile"].clamp(max=1e9) / 16).minimum(up(of["k"] / 16)) / PARAM_ROWS
    fill = (
        (used / (16 * room[0])).log(),
        (t["bank_words"] / room[1]).log(),
        (words / room[2]).log(),
    )
    counts = torch.maximum(params, t["most_count"] / MOST_COUNT)
    counts = torch.maximum(counts, t["bank_words"] / MOST_COUNT)
    counts = torch.maximum(counts, base / MOST_BASE)
    weight = torch.where(of["from_memory"] > 0, fill[1] - 1.0, fill[1])
    return torch.stack([fill[0], weight, fill[2], counts.log()], dim=1), fill


def rooms_of(p: Point, lanes: Lanes) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of an input and a weight bank, words of an output bank."""
    total = p.machine[:, 1] - PARAM_BYTES
    found = []
    for i, (bytes_each, most) in enumerate(((32, MOST_ROWS), (32, MOST_ROWS), (8, MOST_WORDS))):
        rows = total * p.share[:, i] / (bytes_each * lanes.banks[:, i])
        found.append(through(torch.floor(rows + HALF), rows).clamp(min=1, max=most))
    return found[0], found[1], found[2]
