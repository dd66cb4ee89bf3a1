"""Array shapes of some styles with their bounds, and the count of what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from dcp_hw.bounds import Bounds
from dcp_hw.candidates import SPLITS, Point, Style
from dcp_hw.hardware import Hardware
from dcp_hw.space import buses, shapes_of
from dcp_hw.workload import LayerSet


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of candidates (style, shape, memory split, bus widths); parts sum to the whole.

    Attributes:
        styles: arrays considered, those with a twin of less skew included.
        shapes, splits, bus_widths: different values of each.
        candidates: all combinations.
        narrower_bus: left out, because the widest bus is never worse.
        more_skew: left out, because the same array with less skew is never worse.
        bound: left out, because no mapping can beat a design found.
        no_room: left out, because a bank would be empty.
        screened: one mapping of each layer was evaluated exactly.
        not_examined: left over.
        quick, full: of the screened ones, designs whose layers were searched.
    """

    styles: int = 0
    shapes: int = 0
    splits: int = 0
    bus_widths: int = 0
    candidates: int = 0
    narrower_bus: int = 0
    more_skew: int = 0
    bound: int = 0
    no_room: int = 0
    screened: int = 0
    not_examined: int = 0
    quick: int = 0
    full: int = 0

    def to_dict(self) -> dict[str, int]:
        """Names and numbers."""
        return asdict(self)


class Field:
    """Points of some styles with their bounds.

    Attributes:
        points: n points.
        cycles, energy_nj: `layers x n` lower bounds of one occurrence.
    """

    def __init__(self, styles: Sequence[Style], layers: LayerSet, hardware: Hardware) -> None:
        self.layers, self.hardware = layers, hardware
        self.points: list[Point] = []
        bounds = Bounds(hardware)
        cycles, energy = [], []
        for style in styles:
            shapes = list(shapes_of(style, hardware.pes))
            if not shapes:
                continue
            self.points += [Point(style=style, rows=r, cols=c) for r, c in shapes]
            least = [bounds.cycles(layer, style, shapes) for layer in layers]
            cycles.append(np.array(least))
            energy.append(
                np.array(
                    [bounds.energy_nj(x, shapes, c) for x, c in zip(layers, least, strict=True)]
                )
            )
        self.cycles: NDArray[np.int64] = np.hstack(cycles)
        self.energy_nj: NDArray[np.float64] = np.hstack(energy)

    def network(self, objective: str) -> NDArray[np.float64]:
        """Lower bound of a network's objective, one number per point."""
        counts = np.array([layer.count for layer in self.layers])
        cycles, energy = counts @ self.cycles, counts @ self.energy_nj
        return {"latency": cycles * 1.0, "energy": energy, "edp": cycles * energy}[objective]

    def order(self, objective: str) -> list[int]:
        """Points in the order in which to look at them, most promising first.

        By the network's bound. That of the energy knows neither reads of banks nor waiting, so
        small arrays that share little all have nearly the same; every other point is therefore
        the one of the least bound of EDP.
        """
        first = np.argsort(self.network(objective), kind="stable")
        if objective != "energy":
            return first.tolist()
        return in_turn(first, np.argsort(self.network("edp"), kind="stable"))

    def kinds(self, objective: str) -> list[int]:
        """The most promising point of every kind of array: roles of its axes, what it holds."""
        first: dict[object, int] = {}
        for number in self.order(objective):
            style = self.points[number].style
            first.setdefault((style.loops, style.wires.diagonals), number)
        return list(first.values())

    def tally(self, twins: Sequence[Style] = ()) -> Tally:
        """Counts of all candidates, nothing evaluated yet."""
        widths = len(buses(self.hardware))
        skewed = sum(len(list(shapes_of(style, self.hardware.pes))) for style in twins)
        designs = (len(self.points) + skewed) * len(SPLITS)
        return Tally(
            styles=len({p.style.key for p in self.points}) + len(twins),
            shapes=len({(p.rows, p.cols) for p in self.points}),
            splits=len(SPLITS),
            bus_widths=widths,
            candidates=designs * widths,
            narrower_bus=designs * (widths - 1),
            more_skew=skewed * len(SPLITS),
        )


def in_turn(first: NDArray[np.int64], other: NDArray[np.int64]) -> list[int]:
    """Numbers of two orders of the same points, one of each in turn, without repetition."""
    return list(dict.fromkeys(np.column_stack((first, other)).ravel().tolist()))
