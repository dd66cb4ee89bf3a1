"""Relaxed designs of the Tensorlib space, and a closed form of what a layer costs on them.

A design with its program is a row of numbers (`Point`): logs of lanes, tiles and array sizes,
shares of the memory, and attributes of the array (`ARRAY_NAMES`), which for a mixture of arrays
are mixed too. Forward, roundings are exact; backward, they pass gradients on (straight-through), so
that the closed form follows `dcp_hw.scan.estimate` at whole numbers and has slopes between them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from predictors.interface import PredictorError

LOOPS = ("k", "c", "y", "x", "r", "s")
LAYER_NAMES = (
    *LOOPS, "batch", "stride", "dilation", "padding", "depthwise", "c4", "from_memory", "in_y",
    "in_x", "macs", "input_words", "output_words",
)  # fmt: skip
MACHINE_NAMES = ("pes", "sram_bytes", "bus_in_bits", "bus_out_bits")
_PLACES = tuple(f"{axis}{loop}" for axis in (1, 2) for loop in LOOPS)
ARRAY_NAMES = (
    *(f"allow_{place}" for place in _PLACES),
    *(f"allow_depthwise_{place}" for place in _PLACES),
    *(f"banks_{tensor}_{axis}" for tensor in ("input", "weight", "output") for axis in (1, 2)),
    *("slots_input", "slots_weight", "chain_input", "chain_weight", "chain_output"),
    *("chain_1", "chain_2", "skew_1", "skew_2", "diagonal"),
)
FEATURE_NAMES = (
    *(f"log_{name}" for name in (*LOOPS, "batch", "stride")),
    *("depthwise", "c4", "from_memory", "pes", "sram", "bus_in", "bus_out"),
    *(f"lanes_{place}" for place in _PLACES),
    *(f"tile_{loop}" for loop in "kcyx"),
    *(f"exec_{loop}" for loop in "kyx"),
    *(f"tiles_{loop}" for loop in "kcyx"),
    *("order_kyx", "order_yxk", "order_ykx", "trim", "lead", "rows", "cols"),
    *(f"share_{tensor}" for tensor in ("input", "weight", "output")),
    *(f"fill_{tensor}" for tensor in ("input", "weight", "output")),
    *(f"banks_{tensor}" for tensor in ("input", "weight", "output")),
    *("chain_input", "chain_weight", "chain_output", "diagonal", "skew", "bytes", "ki", "ci"),
    *("compute", "loading", "storing", "prologue", "last_store", "execs", "steps", "first"),
    *("input_words", "weight_words", "gap_latency", "gap_energy"),
    *(f"energy_{part}" for part in ("fixed", "clock", "input", "weight", "output", "bus")),
)
PRICE_SHAPE = (2, 33, 9, 3)
"""Operand or output memory x half octaves of rows x octaves of banks x log (read, write, leak)."""
SCALARS = ("multiply", "add", "clock_per_bit", "requantise", "bus_per_bit", "register_8bit",
           "register_32bit", "clock_mhz")  # fmt: skip

PARAM_ROWS, MOST_ROWS, MOST_WORDS, MOST_COUNT = 8, 4096, 1 << 16, 1023
MOST_BASE = (1 << 14) - 1
_PARAM_BYTES = 2 * PARAM_ROWS * 112
_HALF = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Layers, machines and relaxed designs with their programs; float64, b rows each.

    Attributes:
        layer: b x 18, LAYER_NAMES; machine: b x 4, MACHINE_NAMES.
        array: b x 40, ARRAY_NAMES; of one array, or a mixture.
        log_bus: b x 2, log of the bits of both buses.
        log_size: b x 2, log of rows and columns.
        share: b x 3, of the memory: input, weight, output; sum 1.
        log_lanes: b x 2 x 6, log of the lanes of each loop on each axis.
        log_tile: b x 4, log of kt, ct, yt, xt; log_exec: b x 3, of ks, ys, xs.
        order: b x 3, which order of tile loops (kyx, yxk, ykx): a distribution.
        trim: b, 0 or 1; log_lead: b.
    """

    layer: Tensor
    machine: Tensor
    array: Tensor
    log_bus: Tensor
    log_size: Tensor
    share: Tensor
    log_lanes: Tensor
    log_tile: Tensor
    log_exec: Tensor
    order: Tensor
    trim: Tensor
    log_lead: Tensor

    def __post_init__(self) -> None:
        b = self.layer.shape[0]
        for name, shape in SHAPES.items():
            found = tuple(getattr(self, name).shape)
            if found != (b, *shape):
                raise PredictorError(f"{name} has shape {found}; accepted: {(b, *shape)}")

    def __len__(self) -> int:
        return self.layer.shape[0]

    def take(self, which: Tensor | slice) -> Point:
        """Some rows."""
        return Point(**{f.name: getattr(self, f.name)[which] for f in fields(self)})

    def moved(self, **parts: Tensor) -> Point:
        """The same with other tensors."""
        return replace(self, **parts)


SHAPES: dict[str, tuple[int, ...]] = {
    "layer": (len(LAYER_NAMES),),
    "machine": (len(MACHINE_NAMES),),
    "array": (len(ARRAY_NAMES),),
    "log_bus": (2,),
    "log_size": (2,),
    "share": (3,),
    "log_lanes": (2, 6),
    "log_tile": (4,),
    "log_exec": (3,),
    "order": (3,),
    "trim": (),
    "log_lead": (),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The closed form of b points; natural logs, b each.

    Attributes:
        bound_latency, bound_energy: what no design of the machine is below.
        excess: b x 4, log of need over limit of input, weight, output banks and of counts and
            scale parameters; above 0 the tiles do not fit.
        features: b x FEATURE_NAMES, float32.
    """

    latency: Tensor
    energy: Tensor
    bound_latency: Tensor
    bound_energy: Tensor
    excess: Tensor
    features: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lanes:
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


def through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard` with the gradient of `soft`."""
    return soft + (hard - soft).detach()


def up(a: Tensor) -> Tensor:
    """ceil(a), at least 1; its gradient is that of a, weak where a < 1."""
    return through(torch.ceil(a - _HALF).clamp(min=1), torch.where(a > 1, a, 0.2 * a))


def gate(a: Tensor, limit: float) -> Tensor:
    """1 where a > limit, else 0; the gradient of a sigmoid of log a."""
    return through((a > limit).to(a.dtype), torch.sigmoid(4 * (a / limit).log()))


def closed_form(p: Point, prices: Tensor, scalars: Tensor) -> Closed:
    """Latency and energy of points, and features of both.

    Args:
        prices: PRICE_SHAPE; scalars: SCALARS, pJ and MHz.
    """
    of = {name: p.layer[:, i] for i, name in enumerate(LAYER_NAMES)}
    a = {name: p.array[:, i] for i, name in enumerate(ARRAY_NAMES)}
    lanes = _lanes(p, of, a)
    size = p.log_size.exp()
    t = _tiles(p, of, lanes)
    t["chain"] = a["chain_1"] * size[:, 0] + a["chain_2"] * size[:, 1]
    t |= _loads(p, of, a, lanes, t)
    excess, fill = _excess(p, of, a, lanes, t, size)
    cycles, parts = _cycles(p, of, a, lanes, t, size)
    nj, energies = _energy(p, of, a, lanes, t, size, cycles, prices, scalars)
    bound = torch.maximum(
        torch.maximum(of["macs"] / p.machine[:, 0], of["input_words"] * 128 / p.machine[:, 2]),
        of["output_words"] * 128 / p.machine[:, 3],
    ).log()
    outputs = of["batch"] * of["k"] * of["y"] * of["x"]
    least = (
        of["macs"] * scalars[0]
        + (of["macs"] - outputs).clamp(min=0) * scalars[1]
        + outputs * scalars[3]
        + (of["input_words"] + of["output_words"]) * 128 * scalars[4]
    )
    bound_energy = (least * 1e-3).log()
    latency, energy = cycles.log(), nj.log()
    gaps = [latency - bound, energy - bound_energy]
    ratios = [(part.clamp(min=1e-3) / cycles).log().clamp(min=-12) for part in parts]
    columns = [
        *(p.layer[:, i].log() for i in range(8)),
        *(p.layer[:, 10], p.layer[:, 11], p.layer[:, 12]),
        *p.machine.log().unbind(1)[:2],
        *p.log_bus.unbind(1),
        *lanes.log.flatten(1).unbind(1),
        *p.log_tile.unbind(1),
        *p.log_exec.unbind(1),
        *(t[f"{loop}_tiles"].log() for loop in "kcyx"),
        *p.order.unbind(1),
        *(p.trim, p.log_lead, *p.log_size.unbind(1), *p.share.unbind(1)),
        *fill,
        *lanes.banks.log().unbind(1),
        *(a["chain_input"], a["chain_weight"], a["chain_output"], a["diagonal"]),
        *(a["skew_1"] + a["skew_2"], lanes.bytes, lanes.ki.log(), lanes.ci.log()),
        *ratios,
        *gaps,
        *((part / nj).clamp(min=1e-6).log() for part in energies),
    ]
    return Closed(
        latency=latency,
        energy=energy,
        bound_latency=bound,
        bound_energy=bound_energy,
        excess=excess,
        features=torch.stack(columns, dim=1).float(),
    )


def _lanes(p: Point, of: dict[str, Tensor], a: dict[str, Tensor]) -> _Lanes:
    dw = of["depthwise"]
    dense, depthwise = p.array[:, :12], p.array[:, 12:24]
    mask = torch.where(dw[:, None] > 0, depthwise, dense).reshape(-1, 2, 6)
    log = mask * p.log_lanes
    n = log.sum(1).exp()
    rows, cols = p.log_size.exp().unbind(1)
    group = torch.ones_like(cols)
    for g in (2, 4, 8, 16):
        group = torch.where((cols.detach() / g - (cols.detach() / g).round()).abs() < _HALF,
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
    return _Lanes(
        log=log, n=n, ki=ki, kd=kd, ko=ko, ci=ci, co=co, bytes=(wide | narrow).to(n.dtype),
        local=local, banks=torch.stack(banks, dim=1),
    )  # fmt: skip


def _tiles(p: Point, of: dict[str, Tensor], lanes: _Lanes) -> dict[str, Tensor]:
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


def _loads(
    p: Point, of: dict[str, Tensor], a: dict[str, Tensor], lanes: _Lanes, t: dict[str, Tensor]
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


def _excess(
    p: Point,
    of: dict[str, Tensor],
    a: dict[str, Tensor],
    lanes: _Lanes,
    t: dict[str, Tensor],
    size: Tensor,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Logs of need over limit (b x 4), and of need over room of the three memories."""
    room = _rooms(p, lanes)
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


def _rooms(p: Point, lanes: _Lanes) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of an input and a weight bank, words of an output bank."""
    total = p.machine[:, 1] - _PARAM_BYTES
    found = []
    for i, (bytes_each, most) in enumerate(((32, MOST_ROWS), (32, MOST_ROWS), (8, MOST_WORDS))):
        rows = total * p.share[:, i] / (bytes_each * lanes.banks[:, i])
        found.append(through(torch.floor(rows + _HALF), rows).clamp(min=1, max=most))
    return found[0], found[1], found[2]


def _cycles(
    p: Point,
    of: dict[str, Tensor],
    a: dict[str, Tensor],
    lanes: _Lanes,
    t: dict[str, Tensor],
    size: Tensor,
) -> tuple[Tensor, list[Tensor]]:
    """Latency, and its parts as features."""
    r_in, r_out = (128 / p.log_bus.exp()).unbind(1)
    chain = t["chain"]
    skew = a["skew_1"] * (size[:, 0] - 1) + a["skew_2"] * (size[:, 1] - 1)
    finish = 5 + skew + a["chain_output"] * (chain + 1)
    dense = of["depthwise"] == 0
    compute = t["steps"] + t["execs"] * finish
    depth = torch.where(t["c_tiles"] < 1.5, t["c_end"], t["ct"])
    depth = torch.where(dense, depth, torch.ones_like(depth))
    sweep = (
        a["chain_output"] * depth * t["taps"]
        + a["chain_weight"] * torch.minimum(t["ys"], of["y"]) * torch.minimum(t["xs"], of["x"])
        + a["chain_input"] * t["ks"]
    ).clamp(min=1)
    chained = (a["chain_output"] + a["chain_weight"] + a["chain_input"]).clamp(max=1)
    t["sweeps"] = chained * t["steps"] / sweep
    least = chain + 1 - a["chain_output"]
    compute = compute + chained * t["steps"] / sweep * (least - sweep).clamp(min=0)
    compute = compute + (a["chain_weight"] + a["chain_input"]) * t["execs"] * (chain + 1)
    below = ((of["y"] - 1) * of["stride"] + of["r"] - of["padding"] - of["in_y"]).clamp(min=0)
    borders = 1 + (below > 0).to(below.dtype)
    trimmed = of["batch"] * t["k_execs"] * t["x_execs"] * borders * finish
    trimmed = trimmed - of["batch"] * t["k_steps"] * t["x_steps"] * t["st"] * borders
    compute = (compute + p.trim * trimmed).clamp(min=1)
    y_first, x_first = torch.minimum(t["ys"], t["y_steps"]), torch.minimum(t["xs"], t["x_steps"])
    first = torch.minimum(t["ks"], t["kt"]) * torch.minimum(t["ct"], t["c_steps"])
    first = first * y_first * x_first * t["taps"]
    lead = p.log_lead.exp()
    loads = t["input_words"] + t["weight_words"] + t["params"] + 3 * t["execs"] + 2 * t["outputs"]
    setup = (8 + size.sum(1)) * r_in
    prologue = setup + (t["input_one"] / lead + t["weight_one"]) * r_in + 4
    stores = t["output_words"] * r_out + 2 * t["outputs"]
    y_last = torch.minimum(t["ys"], t["y_end"]) / lead
    x_last = torch.minimum(t["xs"], t["x_end"])
    k_last = torch.minimum(t["ks"], t["k_end"])
    pixels = torch.minimum(lanes.n[:, 2] * y_last, of["y"]) * torch.minimum(
        lanes.n[:, 3] * x_last, of["x"]
    )
    last_store = up(torch.minimum(lanes.n[:, 0] * k_last, of["k"]) / 16) * pixels * r_out + 8
    last_exec = k_last * t["c_end"] * y_last * x_last * t["taps"] + finish
    busy = prologue + compute + last_store
    loading = setup + loads * r_in + last_exec + last_store
    storing = prologue + first + finish + stores
    cycles = torch.maximum(busy, torch.maximum(loading, storing))
    parts = [compute, loading, storing, prologue, last_store, t["execs"] * finish, t["steps"],
             first, t["input_words"] * r_in, t["weight_words"] * r_in]  # fmt: skip
    return cycles, parts


def _energy(
    p: Point,
    of: dict[str, Tensor],
    a: dict[str, Tensor],
    lanes: _Lanes,
    t: dict[str, Tensor],
    size: Tensor,
    cycles: Tensor,
    prices: Tensor,
    scalars: Tensor,
) -> tuple[Tensor, list[Tensor]]:
    """nJ of the layer, and its parts."""
    multiply, add, clock, requantise, bus, hop_8, hop_32, mhz = scalars
    pes, macs = size.prod(1), of["macs"]
    outputs = of["batch"] * of["k"] * of["y"] * of["x"]
    registers = 17 + 16 * (a["chain_input"] + a["chain_weight"]) + 64 * a["chain_output"]
    registers = registers + 64 * lanes.banks[:, 2] / pes
    adds = torch.where(a["chain_output"] > 0.5, macs, t["steps"] * pes)
    fixed = macs * multiply + adds * add + outputs * requantise
    clocks = cycles * pes * registers * clock
    hops = t["steps"] * pes * (hop_8 * (a["skew_1"] + a["skew_2"]).clamp(max=2))
    shifted = hop_8 * (a["chain_input"] + a["chain_weight"]) + hop_32 * a["chain_output"]
    hops = hops + t["sweeps"] * pes * t["chain"] * shifted
    rooms = _rooms(p, lanes)
    price = [_price(prices[min(i, 1) if i == 2 else 0], rooms[i], lanes.banks[:, i])
             for i in range(3)]  # fmt: skip
    writes, reads, runs, again = _accesses(p, of, a, lanes, t, pes)
    sram_in = reads[0] * price[0][0] + writes[0] * price[0][1]
    sram_w = reads[1] * price[1][0] + writes[1] * price[1][1]
    sram_out = (again + outputs) * price[2][0] + runs * price[2][1]
    leak = cycles * sum(price[i][2] * lanes.banks[:, i] for i in range(3)) / mhz * 1e3
    words = t["input_words"] + t["weight_words"] + t["params"] + t["output_words"]
    words = words + 3 * t["execs"] + 2 * t["outputs"] + 8 + size.sum(1)
    on_bus = words * 128 * bus
    parts = [part * 1e-3 for part in (fixed, clocks + hops + leak, sram_in, sram_w, sram_out,
                                      on_bus)]  # fmt: skip
    return sum(parts[1:], parts[0]), parts


def _accesses(
    p: Point,
    of: dict[str, Tensor],
    a: dict[str, Tensor],
    lanes: _Lanes,
    t: dict[str, Tensor],
    pes: Tensor,
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Tensor, Tensor]:
    """Writes and reads of input and weight banks; writes and second reads of output banks.

    A bank reads where the row of 16 bytes differs from the step before, and keeps what lies in its
    box of each load (docs/hardware.md, section 9).
    """
    dense, steps = of["depthwise"] == 0, t["steps"]
    depth = torch.where(dense, torch.minimum(t["ct"], t["c_steps"]), torch.ones_like(t["ct"]))
    fills = t["sweeps"] * t["chain"] / 16
    by_bytes = torch.where(depth > 1.5, steps, steps / t["st"])
    by_words = steps / depth * up(depth * lanes.ci / 16)
    quads = steps / (depth * t["st"].clamp(max=4))
    reads_in = torch.where(lanes.bytes > 0, by_bytes, torch.where(of["c4"] > 0, quads, by_words))
    reads_in = torch.where(a["chain_weight"] > 0.5, steps, reads_in)
    reads_in = torch.where(a["chain_input"] > 0.5, fills, reads_in)
    run = up(depth * t["taps"] * lanes.local / 16)
    again = torch.where(run > 1.5, run, 1 / (t["xs"] * t["ys"]).clamp(min=1))
    reads_w = torch.where(a["chain_weight"] > 0.5, fills, steps / (depth * t["taps"]) * again)
    rows = (t["yt"] - 1) * of["stride"] + (t["rt"] - 1) * of["dilation"] + 1
    cols = (t["xt"] - 1) * of["stride"] + (t["st"] - 1) * of["dilation"] + 1
    single = torch.where(dense, t["ct"], t["kt"])
    blocks = up(torch.where(dense, t["ct"] * lanes.ci, t["kt"]) / 16)
    box = torch.where(lanes.bytes > 0, single * cols, blocks * cols)
    box = rows * torch.where(of["c4"] > 0, up((cols + 3) / 4), box)
    used = (lanes.n.prod(1) / pes).clamp(max=1)
    writes_in = box * lanes.banks[:, 0] * used * t["input_words"] / t["input_one"]
    loads = t["weight_words"] / t["weight_one"].clamp(min=1)
    writes_w = t["bank_words"] * lanes.banks[:, 1] * used * loads
    inner = a["chain_weight"] + a["chain_input"]
    run = torch.where(inner > 0.5, torch.ones_like(depth), depth * t["taps"])
    runs = steps / run * lanes.banks[:, 2] * (1 + a["chain_output"] * (t["chain"] - 1))
    second = runs * (1 - run / (depth * t["taps"] * t["c_tiles"]))
    reads = reads_in * lanes.banks[:, 0], reads_w * lanes.banks[:, 1]
    return (writes_in, writes_w), reads, runs, second


def _price(table: Tensor, rows: Tensor, banks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """pJ of a read and a write of one bank, and mW of one bank; bilinear in logs."""
    at_row = (2 * torch.log2(rows)).clamp(0, table.shape[0] - 1.001)
    at_bank = torch.log2(banks).clamp(0, table.shape[1] - 1.001)
    i, j = at_row.detach().long(), at_bank.detach().long()
    u, v = (at_row - i)[:, None], (at_bank - j)[:, None]
    low = table[i, j] * (1 - v) + table[i, j + 1] * v
    high = table[i + 1, j] * (1 - v) + table[i + 1, j + 1] * v
    read, write, leak = (low * (1 - u) + high * u).exp().unbind(1)
    return read, write, leak
