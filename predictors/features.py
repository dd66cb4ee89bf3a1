"""What the network sees of a relaxed dataflow, and the estimates that it corrects.

All features are logarithms, shares or ratios without a scale of their own, so that one network
serves layers and machines that differ by a thousand.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from predictors.energy import Energy, Prices, energy_of
from predictors.interface import DIMS, LAYER_NAMES, LEVELS, MACHINE_NAMES, Relaxed
from predictors.loops import Loops, loops_of
from predictors.timing import Timing, timing_of
from predictors.traffic import OUTPUT, Traffic, coupled, traffic_of, views, volumes

_LEVEL_DIMS = [f"{level}_{dim}" for level, dim in product(range(LEVELS), DIMS)]
_EDGES = [f"{b}_{t}" for b, t in product(range(LEVELS + 1), ("input", "weight", "output"))]
_PARTS = ("dram", "l2", "buffer_0", "buffer_1", "buffer_pe", "mac")

PLAIN_NAMES = (
    *(f"layer_{name}" for name in LAYER_NAMES[:9]),
    *(f"machine_{name}" for name in MACHINE_NAMES),
    *(
        f"{what}_{which}"
        for what in ("tile", "rounds", "parallel", "place")
        for which in _LEVEL_DIMS
    ),
    *(f"units_{level}" for level in range(LEVELS)),
    *("bound_compute", "bound_dram", "bound_noc", "bound_energy_per_mac"),
)
"""Features that follow from the input and the bounds alone."""

CLOSED_NAMES = (
    *(f"{what}_{which}" for what in ("edge", "repeats") for which in _LEVEL_DIMS),
    *(f"hold_{level}" for level in range(LEVELS)),
    *(f"supplied_{edge}" for edge in _EDGES),
    *(f"drained_{b}" for b in range(LEVELS + 1)),
    *(f"busy_{b}" for b in range(LEVELS + 1)),
    *("compute_share", "ends_share", "gap_latency", "gap_energy", "leakage_share"),
    *(f"energy_share_{part}" for part in _PARTS),
    *("l1_excess", "l2_excess"),
)
"""Features that follow from the closed form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Logs of the least cycles and nJ of a layer on a machine (b), and what they are made of.

    `compute`, `noc` and `dram` are logs of the least cycles by PEs and bandwidths.
    """

    latency: Tensor
    energy: Tensor
    compute: Tensor
    noc: Tensor
    dram: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The closed form of one batch; logs, b each."""

    latency: Tensor
    energy: Tensor
    l1_excess: Tensor
    l2_excess: Tensor
    bound: Bound
    features: Tensor  # b x PLAIN_NAMES + CLOSED_NAMES, float32


def bound_of(x: Relaxed, mask: Tensor, prices: Prices) -> Bound:
    """Each MAC is done; each tensor crosses the DRAM port, the L2 and the network once."""
    size, machine = x.layer[:, :6].double(), x.machine.double()
    log_macs = size.log().sum(-1)
    tensors = volumes(size[:, None], x, mask)[:, 0]
    stored = size[:, 1] * (x.layer[:, 9] * x.layer[:, 10]).double()
    into = torch.minimum(tensors[:, 0], stored) + tensors[:, 1]
    out = tensors[:, OUTPUT]
    compute = log_macs - machine[:, 0].log()
    noc = (torch.maximum(into, out) / machine[:, 3]).log()
    dram = ((into + out) / machine[:, 5]).log()
    mac_pj, dram_pj, _ = prices.scalars
    read, write = prices.table[0, 3], prices.table[0, 4]
    energy = log_macs.exp() * mac_pj + into * (read + write) + out * write + (into + out) * dram_pj
    return Bound(
        latency=torch.maximum(torch.maximum(compute, noc), dram).clamp(min=0),
        energy=(energy * 1e-3).log(),
        compute=compute,
        noc=noc,
        dram=dram,
    )


def estimate(x: Relaxed, prices: Prices) -> Estimate:
    """Closed form and features of relaxed dataflows."""
    loops, mask = loops_of(x), coupled(x)
    changing, view = views(loops, mask)
    traffic = traffic_of(x, loops, mask, view)
    timing = timing_of(x, loops, mask, changing)
    bound = bound_of(x, mask, prices)
    macs = x.layer[:, :6].double().prod(-1)
    energy = energy_of(traffic, macs, prices)
    total = energy.total_nj(timing.total, prices)
    latency, log_energy = timing.total.log(), total.log()
    l1 = traffic.required[:, -1].log() - x.machine[:, 1].double().log()
    l2 = traffic.shared_required.log() - x.machine[:, 2].double().log()
    gaps = torch.stack([latency - bound.latency, log_energy - bound.energy], dim=1)
    features = torch.cat(
        [
            *_plain(x, loops, bound, macs),
            *_closed(x, loops, traffic, mask),
            *_results(timing, energy, total, gaps),
            torch.stack([l1.clamp(-12, 12), l2.clamp(-12, 12)], dim=1),
        ],
        dim=1,
    )
    return Estimate(
        latency=latency,
        energy=log_energy,
        l1_excess=l1,
        l2_excess=l2,
        bound=bound,
        features=features.float(),
    )


def _plain(x: Relaxed, loops: Loops, bound: Bound, macs: Tensor) -> list[Tensor]:
    layer, machine = x.layer.double(), x.machine.double()
    places = torch.arange(6, dtype=torch.float64, device=layer.device)
    place = torch.einsum("blpd,p->bld", x.order.double(), places)
    limits = machine.log().clamp(max=18.0)
    limits = torch.cat([limits[:, :4], machine[:, 4:5], limits[:, 5:]], dim=1)
    bounds = torch.stack(
        [
            *(part - bound.latency for part in (bound.compute, bound.dram, bound.noc)),
            bound.energy - macs.log(),
        ],
        dim=1,
    )
    return [
        torch.cat([layer[:, :7].log(), layer[:, 7:9]], dim=1),
        limits,
        loops.tile.flatten(1),
        (loops.outer - loops.once).clamp(min=0).flatten(1),
        loops.parallel.flatten(1),
        place.flatten(1),
        loops.units,
        bounds.clamp(min=-18),
    ]


def _closed(x: Relaxed, loops: Loops, traffic: Traffic, mask: Tensor) -> list[Tensor]:
    size = x.layer[:, :6].double()
    edge = torch.minimum(loops.once, loops.outer) - loops.extent
    tensors = volumes(size[:, None], x, mask)
    supplied = (traffic.supplied.clamp(min=1) / tensors).log()
    drained = (traffic.drained / tensors[:, :, OUTPUT]).log()
    # Mean traffic of one port against the MACs of the units below it.
    ports = torch.cat([torch.ones_like(traffic.buffers[:, :1]), traffic.buffers[:, :-1]], dim=1)
    width = torch.cat([x.machine[:, 5:6], x.machine[:, 3:4].expand(-1, LEVELS)], dim=1).double()
    cycles = traffic.supplied.sum(-1) / ports / width
    busy = (cycles.log() - loops.serial.sum(-1, keepdim=True)).clamp(min=-12)
    repeats = loops.rounds - (size.log()[:, None] - loops.once).clamp(min=0)
    return [
        edge.flatten(1),
        repeats.flatten(1),
        loops.hold.sum(-1),
        supplied.flatten(1),
        drained,
        busy,
    ]


def _results(timing: Timing, energy: Energy, total: Tensor, gaps: Tensor) -> list[Tensor]:
    parts = energy.parts / total[:, None]
    return [
        torch.stack([timing.compute / timing.total, timing.ends / timing.total], dim=1),
        gaps,
        (1 - parts.sum(-1, keepdim=True)).clamp(min=0),
        parts,
    ]
