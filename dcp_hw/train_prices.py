"""A technology's prices as tensors for the predictors: sampled over sizes of memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcp_hw.maestro.honest_energy import private_price, shared_price
from dcp_hw.technology import Macro, Technology

_EVERY = 1024  # elements; up to here every size is a row
_MOST_LOG2 = 26
_PER_OCTAVE = 16


def price_rows(
    technology: Technology, clock_mhz: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Sizes (n), prices (n x 6) and scalars (3), as `predictors.energy.Prices` takes them."""
    octaves = _MOST_LOG2 - int(np.log2(_EVERY))
    above = _EVERY * np.exp2(np.arange(1, octaves * _PER_OCTAVE + 1) / _PER_OCTAVE)
    sizes = np.concatenate([np.arange(1, _EVERY + 1), above.astype(np.int64)])

    def row(macro: Macro) -> tuple[float, float, float]:
        return macro.read_pj, macro.write_pj, macro.leak_mw

    table = [
        (*row(private_price(technology, int(n))), *row(shared_price(technology, int(n))))
        for n in sizes
    ]
    pj = technology.energy_pj
    scalars = [pj["multiply"] + pj["add"], 8 * pj["bus_per_bit"], clock_mhz]
    return sizes.astype(np.float64), np.array(table), np.array(scalars)
