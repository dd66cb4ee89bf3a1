"""Counts over audited mappings: rows, broken bounds, claims against the honest model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcp_hw.maestro.audit import Verdict
from dcp_hw.maestro.audit_mappings import Check
from dcp_hw.maestro.audit_source import Piece


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdicts on one mapping.

    Attributes:
        infeasible: why MAESTRO has no result; then nothing is claimed.
        claimed_cycles, honest_cycles: None where compat mode or the honest model has no result.
        honest_infeasible: why the honest model has none, "" where it has one.
    """

    name: str
    infeasible: str
    claimed_cycles: int | None
    honest_cycles: int | None
    honest_infeasible: str
    verdicts: tuple[Verdict, ...]

    def record(self) -> dict[str, Any]:
        """The finding for JSON."""
        return {
            "name": self.name,
            "infeasible": self.infeasible or None,
            "claimed_cycles": self.claimed_cycles,
            "honest_cycles": self.honest_cycles,
            "honest_infeasible": self.honest_infeasible or None,
            "verdicts": [verdict.record() for verdict in self.verdicts],
        }


@dataclass(slots=True)
class Summary:
    """Counts, added to piece by piece.

    Attributes:
        claimed: rows with a result in compat mode; broken: of them, rows that break a bound.
        bounds: bound -> [rows that break it, the largest factor, that row's name].
        ratios: claimed / honest cycles of every row that has both.
    """

    rows: int = 0
    claimed: int = 0
    broken: int = 0
    bounds: dict[str, list[Any]] = field(default_factory=dict)
    ratios: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, piece: Piece, *, every: bool) -> Iterator[Finding]:
        """The findings of a piece, while they are counted.

        Args:
            every: all rows and verdicts, instead of the broken ones.
        """
        done = piece.chosen & (piece.claims["infeasible"] == "")
        self.rows += int(piece.chosen.sum())
        self.claimed += int(done.sum())
        masks = [check.broken & done for check in piece.checks]
        for check, mask in zip(piece.checks, masks, strict=True):
            self._count(piece.names, check, mask)
        both = done & ~np.isnan(piece.honest)
        self.ratios.append(piece.claims["runtime"][both] / piece.honest[both])
        bad = np.any(masks, axis=0)
        self.broken += int(bad.sum())
        for i in np.flatnonzero(piece.chosen if every else bad).tolist():
            yield _finding(piece, i, masks if done[i] else [], every=every)

    def _count(self, names: list[str], check: Check, mask: NDArray[np.bool_]) -> None:
        entry = self.bounds.setdefault(check.bound, [0, 1.0, ""])
        entry[0] += int(mask.sum())
        if mask.any():
            factors = np.where(mask, check.factors, 0.0)
            worst = int(np.argmax(factors))
            if factors[worst] > entry[1]:
                entry[1], entry[2] = float(factors[worst]), names[worst]

    def record(self) -> dict[str, Any]:
        """The counts for JSON."""
        ratios = np.concatenate(self.ratios) if self.ratios else np.zeros(0)
        least, middle, most = (
            np.quantile(ratios, (0, 0.5, 1)).tolist() if ratios.size else [None] * 3
        )
        return {
            "rows": self.rows,
            "without_result": self.rows - self.claimed,
            "broken": self.broken,
            "bounds": {
                bound: {
                    "broken": count,
                    "largest_factor": factor if np.isfinite(factor) else None,
                    "row": name,
                }
                for bound, (count, factor, name) in self.bounds.items()
            },
            "honest": {
                "compared": int(ratios.size),
                "claimed_below": int((ratios < 1).sum()),
                "claimed_below_by_a_tenth": int((ratios <= 0.9).sum()),
                "claimed_over_honest": {"least": least, "median": middle, "most": most},
            },
        }


def _finding(piece: Piece, row: int, masks: list[NDArray[np.bool_]], *, every: bool) -> Finding:
    """The verdicts on one row; no masks where it has no result."""
    verdicts = tuple(
        check.verdict(row, holds=not mask[row])
        for check, mask in zip(piece.checks, masks, strict=False)
        if every or mask[row]
    )
    return Finding(
        name=piece.names[row],
        infeasible=piece.claims["infeasible"][row],
        claimed_cycles=int(piece.claims["runtime"][row]) if masks else None,
        honest_cycles=None if np.isnan(piece.honest[row]) else int(piece.honest[row]),
        honest_infeasible=piece.reasons[row],
        verdicts=verdicts,
    )
