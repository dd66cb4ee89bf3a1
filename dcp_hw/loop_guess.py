"""What a design is expected to cost, with the best program of every layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
        energy, cycles: of all occurrences of the layer; means. modelled: cycles by the model.
        doubt: n x 2, standard deviations of ln energy and ln cycles.
        edp: n x 2, ln of a layer's EDP and its standard deviation.
    """

    design: str
    flat: tuple[Option, ...]
    spans: tuple[range, ...]
    energy: Floats
    cycles: Floats
    modelled: Floats
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

    def possible(self, layer: int) -> tuple[Floats, Floats]:
        """n x g energies and n x g cycles of a layer's options, with errors as in `_LINE`.

        A memory makes streams wait and never hurries them, so cycles are at least the model's.
        """
        some = slice(self.spans[layer].start, self.spans[layer].stop)
        errors = np.exp(self.doubt[some, :, None] * _LINE)
        time = self.cycles[some, None] * errors[:, 1]
        least = self.modelled[some, None]
        return self.energy[some, None] * errors[:, 0], np.maximum(time, least)

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
        modelled=counts * np.array([o.cycles for o in flat]),
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
    whole = found.energy[middle].sum(), found.cycles[middle].sum()
    chosen, joules, time = list(middle), np.zeros(_SHARES.shape), np.zeros(_SHARES.shape)
    for layer, span in enumerate(found.spans):
        energy, cycles = found.possible(layer)
        cost = (energy / whole[0])[:, :, None] + (cycles / whole[1])[:, None, :]
        known = [n for n, at in enumerate(span) if found.flat[at].key in measured]
        tried = held = middle[layer] - span[0]
        if known:
            held = min(known, key=lambda n: cost[n, 0, 0])
            gains = (np.maximum(0.0, cost[held] - cost) * _SHARES).sum(axis=(1, 2))
            tried = int(gains.argmax()) if gains.max() > WORTH else held
        chosen[layer] = span[tried]
        better = cost[tried] < cost[held]
        joules += np.where(better, energy[tried, :, None], energy[held, :, None])
        time += np.where(better, cycles[tried], cycles[held])
    saved = np.maximum(0.0, 1 - np.exp(np.log(joules) + np.log(time) - best))
    return float((saved * _SHARES).sum()), found.guess(chosen)


_LINE = np.linspace(-4.5, 4.5, 37)
"""Values of a standard normal variable."""

_DENSITY = np.exp(-(_LINE**2) / 2) / np.exp(-(_LINE**2) / 2).sum()
_SHARES = np.outer(_DENSITY, _DENSITY)
"""g x g, how often pairs of values come, of the errors of energy and of cycles."""
