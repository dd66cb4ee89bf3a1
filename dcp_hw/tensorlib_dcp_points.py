"""Codes of Tensorlib designs as tensors, and the prices that a predictor needs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dcp_hw.energy import Memory
from dcp_hw.problem import LOOPS
from dcp_hw.technology import load_technology
from dcp_hw.tensorlib_dcp_code import ARRAY, AT, Integers, array_numbers, array_table
from predictors.tensorlib_point import PRICE_SHAPE, SCALARS, Point

_STYLE = slice(AT["axis_1"], AT["rows"])
_LANES = slice(len(ARRAY), len(ARRAY) + 2 * len(LOOPS))


def points_of(
    codes: Integers, layers: np.ndarray, machines: np.ndarray, *, arrays: Tensor | None = None
) -> Point:
    """Points of legal codes; exact.

    Args:
        codes: n x 42; layers: n x 18; machines: n x 4.
        arrays: rows of `array_table` of the codes, if they are known.
    """
    codes = np.asarray(codes)

    def column(name: str) -> Tensor:
        return torch.from_numpy(codes[:, AT[name]].astype(np.float64))

    def columns(*names: str) -> Tensor:
        return torch.stack([column(name) for name in names], dim=1)

    if arrays is None:
        table, numbers = array_table(), array_numbers()
        places = [numbers[tuple(row)] for row in codes[:, _STYLE].tolist()]
        arrays = torch.from_numpy(table[places])
    order = torch.nn.functional.one_hot(column("tile_order").long(), 3).double()
    lanes = torch.from_numpy(codes[:, _LANES].astype(np.float64)).reshape(-1, 2, len(LOOPS))
    return Point(
        layer=torch.from_numpy(np.asarray(layers, dtype=np.float64)),
        machine=torch.from_numpy(np.asarray(machines, dtype=np.float64)),
        array=arrays,
        log_bus=columns("bus_in", "bus_out").log(),
        log_size=columns("rows", "cols").log(),
        share=columns("share_input", "share_weight", "share_output") / 20,
        log_lanes=lanes.log(),
        log_tile=columns("kt", "ct", "yt", "xt").log(),
        log_exec=columns("ks", "ys", "xs").log(),
        order=order,
        trim=column("trim"),
        log_lead=column("lead").log(),
    )


def price_tensors(technology: str, clock_mhz: float) -> tuple[Tensor, Tensor]:
    """Prices (PRICE_SHAPE, logs of pJ and mW of one bank) and SCALARS of a technology."""
    table = load_technology(technology)
    kinds: Sequence[tuple[int, int]] = ((128, 8), (32, 32))
    prices = np.zeros(PRICE_SHAPE)
    for kind, (width, element) in enumerate(kinds):
        for i in range(PRICE_SHAPE[1]):
            for j in range(PRICE_SHAPE[2]):
                rows, banks = max(1, round(2 ** (i / 2))), 1 << j
                memory = Memory(name="m", rows=rows, width_bits=width * banks, banks=banks,
                                element_bits=element)  # fmt: skip
                share = 1 / banks
                prices[kind, i, j] = (
                    memory.read_pj(table, share),
                    memory.write_pj(table, share),
                    memory.leak_mw(table) * share,
                )
    of = {**table.energy_pj, "clock_mhz": clock_mhz}
    scalars = [float(of[name]) for name in SCALARS]
    return torch.from_numpy(np.log(np.maximum(prices, 1e-9))), torch.tensor(scalars).double()
