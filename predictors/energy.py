"""Energy of relaxed dataflows: accesses times prices that depend on the size of a memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from predictors.interface import PredictorError
from predictors.traffic import Traffic

PRICE_COLUMNS = 6
"""Read, write (pJ per element), leakage (mW) of a PE's buffer, then of a shared memory."""
SCALARS = ("mac_pj", "dram_pj", "clock_mhz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What an event costs; one technology.

    Attributes:
        sizes: n, elements, rising.
        table: n x PRICE_COLUMNS, interpolated between sizes and constant outside.
        scalars: 3, SCALARS: pJ of a MAC, pJ of an element between DRAM and L2, MHz.
    """

    sizes: Tensor
    table: Tensor
    scalars: Tensor

    def __post_init__(self) -> None:
        if self.sizes.ndim != 1 or len(self.sizes) < 2 or bool((self.sizes.diff() <= 0).any()):
            raise PredictorError("sizes of a price table; accepted: two or more, rising")
        if tuple(self.table.shape) != (len(self.sizes), PRICE_COLUMNS):
            shape = tuple(self.table.shape)
            raise PredictorError(f"a price table of shape {shape}; accepted: n x {PRICE_COLUMNS}")
        if tuple(self.scalars.shape) != (len(SCALARS),):
            raise PredictorError(f"scalars of prices; accepted: {', '.join(SCALARS)}")

    def at(self, elements: Tensor) -> Tensor:
        """Rows of the table, `... -> ... x PRICE_COLUMNS`."""
        inside = elements.clamp(min=float(self.sizes[0]), max=float(self.sizes[-1])).contiguous()
        right = torch.bucketize(inside.detach(), self.sizes).clamp(1, len(self.sizes) - 1)
        low, high = self.sizes[right - 1], self.sizes[right]
        share = ((inside - low) / (high - low))[..., None]
        return self.table[right - 1] * (1 - share) + self.table[right] * share


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """nJ, b x 6: DRAM, L2, level 0, level 1, PE buffers, MACs; and leakage in mW, b."""

    parts: Tensor
    leak_mw: Tensor

    def total_nj(self, cycles: Tensor, prices: Prices) -> Tensor:
        """Energy of a run of that many cycles: mW x us = nJ."""
        return self.parts.sum(-1) + self.leak_mw * cycles / prices.scalars[2]


def energy_of(traffic: Traffic, macs: Tensor, prices: Prices) -> Energy:
    """Energy of traffic and MACs."""
    mac_pj, dram_pj, _ = prices.scalars
    dram, reads, writes = traffic.accesses(macs)
    shared = prices.at(traffic.required[:, :-1])[..., PRICE_COLUMNS // 2 :]
    private = prices.at(traffic.required[:, -1:])[..., : PRICE_COLUMNS // 2]
    price = torch.cat([shared, private], dim=1)
    stores = reads * price[..., 0] + writes * price[..., 1]
    parts = torch.cat([(dram * dram_pj)[:, None], stores, (macs * mac_pj)[:, None]], dim=1)
    return Energy(parts=parts * 1e-3, leak_mw=(price[..., 2] * traffic.buffers).sum(-1))
