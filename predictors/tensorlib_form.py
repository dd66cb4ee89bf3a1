"""A closed form of what a layer costs on a relaxed design of the Tensorlib space.

Forward, roundings are exact; backward, they pass gradients on (straight-through), so that the
closed form follows `dcp_hw.scan.estimate` at whole numbers and has slopes between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from predictors.tensorlib_fit import (
    Lanes,
    excess_of,
    lanes_of,
    loads_of,
    rooms_of,
    tiles_of,
)
from predictors.tensorlib_point import (
    ARRAY_NAMES,
    LAYER_NAMES,
    Point,
    up,
)


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


def closed_form(p: Point, prices: Tensor, scalars: Tensor) -> Closed:
    """Latency and energy of points, and features of both.

    Args:
        prices: PRICE_SHAPE; scalars: SCALARS, pJ and MHz.
    """
    of = {name: p.layer[:, i] for i, name in enumerate(LAYER_NAMES)}
    a = {name: p.array[:, i] for i, name in enumerate(ARRAY_NAMES)}
    lanes = lanes_of(p, of, a)
    size = p.log_size.exp()
    t = tiles_of(p, of, lanes)
    t["chain"] = a["chain_1"] * size[:, 0] + a["chain_2"] * size[:, 1]
    t |= loads_of(p, of, a, lanes, t)
    excess, fill = excess_of(p, of, a, lanes, t, size)
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


def _cycles(
    p: Point,
    of: dict[str, Tensor],
    a: dict[str, Tensor],
    lanes: Lanes,
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
    lanes: Lanes,
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
    rooms = rooms_of(p, lanes)
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
    lanes: Lanes,
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
