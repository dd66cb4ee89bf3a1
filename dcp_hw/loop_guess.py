"""What a design is expected to cost, with the best program of every layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dcp_hw.finetune import Estimate, Floats, Predictor
from dcp_hw.loop_candidates import Option

Measured = Mapping[str, tuple[float, float]]
"""Key of an option -> measured nJ and cycles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """A design with the best option of each layer, as predicted.

    Attributes:
        value: ln of the network's EDP (nJ x cycles); spread: its standard deviation.
        layer_edp: ln of each layer's EDP.
        energy_nj, cycles: of the network.
    """

    design: str
    chosen: tuple[Option, ...]
    value: float
    spread: float
    layer_edp: Floats
    energy_nj: float
    cycles: float


def estimate(options: Sequence[Option], predictor: Predictor, measured: Measured) -> Estimate:
    """Corrected cost of options; what was measured stands in its place, without doubt."""
    seen = predictor.estimate(
        [o.features for o in options],
        np.array([o.group for o in options], dtype=np.int64),
        [o.table_nj for o in options],
        [o.cycles for o in options],
    )
    energy, cycles = seen.energy.copy(), seen.cycles.copy()
    for n, option in enumerate(options):
        if option.key in measured:
            known = measured[option.key]
            energy[n], cycles[n] = (np.log(known[0]), 0.0), (np.log(known[1]), 0.0)
    return Estimate(energy=energy, cycles=cycles)


def guess(
    design: str,
    rows: Sequence[Sequence[Option]],
    predictor: Predictor,
    measured: Measured | None = None,
) -> Guess:
    """The options that make a design's predicted EDP least, and that EDP.

    A layer's share of the network's EDP is taken to first order, about the sums before.
    """
    flat = [option for row in rows for option in row]
    seen = estimate(flat, predictor, measured or {})
    energy, cycles = np.exp(seen.energy[:, 0]), np.exp(seen.cycles[:, 0])
    counts = np.array([o.count for o in flat], dtype=np.float64)
    ends = np.cumsum([len(row) for row in rows])
    spans = [range(end - len(row), end) for end, row in zip(ends.tolist(), rows, strict=True)]
    chosen = [span[0] for span in spans]
    for _ in range(3):
        whole = (counts * energy)[chosen].sum(), (counts * cycles)[chosen].sum()
        cost = energy / whole[0] + cycles / whole[1]
        chosen = [min(span, key=lambda n: cost[n]) for span in spans]
    joules, time = (counts * energy)[chosen], (counts * cycles)[chosen]
    # errors of layers on one design are taken to go together
    spread = float(
        np.hypot(
            joules @ seen.energy[chosen, 1] / joules.sum(),
            time @ seen.cycles[chosen, 1] / time.sum(),
        )
    )
    return Guess(
        design=design,
        chosen=tuple(flat[n] for n in chosen),
        value=float(np.log(joules.sum()) + np.log(time.sum())),
        spread=spread,
        layer_edp=seen.edp[chosen],
        energy_nj=float(joules.sum()),
        cycles=float(time.sum()),
    )
