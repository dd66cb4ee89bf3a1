"""What a design is expected to cost, with the best program of every layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import erf, exp, pi, sqrt

import numpy as np

from dcp_hw.finetune import Estimate, Floats, Predictor
from dcp_hw.loop_candidates import Option

WORTH = 1e-4
"""Share of a design's EDP that another program of a layer must be expected to save to be tried."""

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


@dataclass(frozen=True, slots=True)
class _Rows:
    """Options of all layers on one design, in a row, with their corrected cost.

    Attributes:
        spans: of each layer in `flat`.
        energy, cycles: of all occurrences of the layer; means.
        doubt: n x 2, standard deviations of ln energy and ln cycles.
        edp: n x 2, ln of a layer's EDP and its standard deviation.
    """

    design: str
    flat: tuple[Option, ...]
    spans: tuple[range, ...]
    energy: Floats
    cycles: Floats
    doubt: Floats
    edp: Floats

    def least(self) -> list[int]:
        """Of each layer the option that makes the design's EDP least, to first order."""
        chosen = [span[0] for span in self.spans]
        for _ in range(3):
            cost = self.shares(chosen).sum(axis=1)
            chosen = [min(span, key=lambda n: cost[n]) for span in self.spans]
        return chosen

    def shares(self, chosen: Sequence[int]) -> Floats:
        """n x 2, energy and cycles of options as shares of a choice's."""
        whole = self.energy[chosen].sum(), self.cycles[chosen].sum()
        return np.column_stack((self.energy / whole[0], self.cycles / whole[1]))

    def guess(self, chosen: Sequence[int]) -> Guess:
        """The design with these options."""
        joules, time = self.energy[chosen], self.cycles[chosen]
        # errors of layers on one design are taken to go together
        spread = (self.shares(chosen)[chosen] * self.doubt[chosen]).sum(axis=0)
        return Guess(
            design=self.design,
            chosen=tuple(self.flat[n] for n in chosen),
            value=float(np.log(joules.sum()) + np.log(time.sum())),
            spread=float(np.hypot(*spread)),
            layer_edp=self.edp[chosen],
            energy_nj=float(joules.sum()),
            cycles=float(time.sum()),
        )


def _rows(
    design: str, rows: Sequence[Sequence[Option]], predictor: Predictor, measured: Measured
) -> _Rows:
    flat = tuple(option for row in rows for option in row)
    seen = estimate(flat, predictor, measured)
    counts = np.array([o.count for o in flat], dtype=np.float64)
    ends = np.cumsum([len(row) for row in rows]).tolist()
    return _Rows(
        design=design,
        flat=flat,
        spans=tuple(range(end - len(row), end) for end, row in zip(ends, rows, strict=True)),
        energy=counts * np.exp(seen.energy[:, 0]),
        cycles=counts * np.exp(seen.cycles[:, 0]),
        doubt=np.column_stack((seen.energy[:, 1], seen.cycles[:, 1])),
        edp=seen.edp,
    )


def guess(
    design: str,
    rows: Sequence[Sequence[Option]],
    predictor: Predictor,
    measured: Measured | None = None,
) -> Guess:
    """The options that make a design's predicted EDP least, and that EDP.

    A layer's share of the network's EDP is taken to first order, about the sums before.
    """
    found = _rows(design, rows, predictor, measured or {})
    return found.guess(found.least())


# --- what a trial is expected to save -------------------------------------------------


def promise(
    design: str,
    rows: Sequence[Sequence[Option]],
    predictor: Predictor,
    measured: Measured,
    best: float,
) -> tuple[float, Guess]:
    """Share of the best EDP that a trial of a design is expected to save, and what it runs.

    A layer that was measured on the design keeps its best program unless another turns out better;
    the one tried is that with the most expected gain. Errors of layers on one design go together,
    those of energy and of cycles do not.

    Args:
        best: ln of the best measured EDP.
    """
    found = _rows(design, rows, predictor, measured)
    middle = found.least()
    shares = found.shares(middle)
    cost, doubt = shares.sum(axis=1), shares * found.doubt
    spread = np.hypot(*doubt.T)
    chosen, kept = list(middle), np.full(len(middle), np.inf)
    for layer, span in enumerate(found.spans):
        known = [n for n in span if found.flat[n].key in measured]
        if known:
            held = min(known, key=lambda n: cost[n])
            kept[layer] = cost[held]
            gains = {n: expected_gain(cost[n], spread[n], cost[held]) for n in span}
            tried = max(span, key=lambda n: gains[n])
            chosen[layer] = tried if gains[tried] > WORTH else held
    # ln EDP to first order about the choice of least means
    middle_value = found.guess(middle).value
    layers = cost[chosen, None] + doubt[chosen] @ _NODES
    value = middle_value + np.minimum(layers, kept[:, None]).sum(axis=0) - cost[middle].sum()
    saved = np.maximum(0.0, -np.expm1(value - best))
    return float(saved @ _NODE_SHARES), found.guess(chosen)


def _grid() -> tuple[Floats, Floats]:
    """2 x n points of two independent standard normal variables, and their shares, n."""
    line = np.linspace(-5, 5, 51)
    density = np.exp(-(line**2) / 2)
    share = density / density.sum()
    return np.stack([z.ravel() for z in np.meshgrid(line, line)]), np.outer(share, share).ravel()


_NODES, _NODE_SHARES = _grid()


def expected_gain(value: float, spread: float, least: float) -> float:
    """Mean of max(0, least - x) for x of a normal distribution."""
    gain = least - value
    if spread <= 0:
        return max(0.0, gain)
    z = gain / spread
    below = 0.5 * (1 + erf(z / sqrt(2)))
    return gain * below + spread * exp(-z * z / 2) / sqrt(2 * pi)
