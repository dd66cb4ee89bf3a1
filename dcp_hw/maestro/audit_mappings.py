"""What MAESTRO claims of mappings, against physical bounds and against the honest model.

Works on columns: a `Check` holds one bound for all rows. The claims are those of compat mode, which
equals MAESTRO's binary.
"""

from __future__ import annotations

from collections.abc import Mapping as Columns
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcp_hw.errors import InputError
from dcp_hw.maestro.audit import Sense, Verdict
from dcp_hw.maestro.audit_bounds import Part, ceil_div, energy_floor_nj
from dcp_hw.maestro.compat_build import NAMES, Ints
from dcp_hw.technology import load_technology

_MOST_WORK = 2.0**62


@dataclass(frozen=True, slots=True)
class Least:
    """The least that n layers take: MACs, and elements of each tensor (n each)."""

    macs: Ints
    inputs: Ints
    filters: Ints
    outputs: Ints


def least(
    kinds: Ints, sizes: Ints, strides: Ints, padding: Ints | int = 0, *, first_row: int = 1
) -> Least:
    """What the layers of a table take at least; input positions that no window reads are left out.

    Args:
        kinds: n; sizes: n x 9; strides: n x 2, of X and Y; as in `Table`.
        padding: n; how much of Y and X is padding, on every side, and need not be read.

    Raises: InputError for a layer beyond 64-bit counters.
    """
    whole = {name: np.maximum(sizes[:, i], 1) for i, name in enumerate(NAMES[: sizes.shape[1]])}
    work = np.prod(np.maximum(sizes, 1).astype(np.float64), axis=1)
    if (large := np.flatnonzero(work >= _MOST_WORK)).size:
        raise InputError(
            f"row {first_row + large[0]}: the layer's sizes multiply to {work[large[0]]:.3g}; "
            f"accepted: less than 2^62 = {_MOST_WORK:.3g}"
        )
    lines, read_lines = _windows(whole["Y"], whole["R"], strides[:, 1])
    columns, read_columns = _windows(whole["X"], whole["S"], strides[:, 0])
    read_lines, read_columns = (
        np.maximum(read - 2 * padding, 0) for read in (read_lines, read_columns)
    )
    channels = np.where(kinds % 4 == 1, whole["C"], whole["K"])  # of the output
    reduced = np.where(kinds % 4 == 1, 1, whole["C"]) * whole["R"] * whole["S"]
    images = whole["N"] * whole["G"]
    is_gemm = kinds % 4 == 3
    m, n, k = whole["M"], whole["N"], whole["K"]
    return Least(
        macs=np.where(is_gemm, m * n * k, images * channels * reduced * lines * columns),
        inputs=np.where(is_gemm, m * k, images * whole["C"] * read_lines * read_columns),
        filters=np.where(is_gemm, k * n, whole["G"] * channels * reduced),
        outputs=np.where(is_gemm, m * n, images * channels * lines * columns),
    )


def _windows(size: Ints, taps: Ints, stride: Ints) -> tuple[Ints, Ints]:
    """Number of windows along an axis, and of positions that they read."""
    number = np.maximum(-(-(size - taps + 1) // stride), 0)
    read = (number - 1) * np.minimum(stride, taps) + taps
    return number, np.where(number > 0, read, 0)


@dataclass(frozen=True, slots=True)
class Check:
    """One bound on n rows."""

    bound: str
    claimed: NDArray[Any]
    sense: Sense
    limit: NDArray[Any]
    unit: str
    reason: str

    @property
    def broken(self) -> NDArray[np.bool_]:
        """Which rows break it; a claim that is no number breaks nothing."""
        if self.claimed.dtype.kind == "i" and self.limit.dtype.kind == "i":
            slack = np.zeros(1)
        else:
            slack = 1e-12 * np.abs(self.limit)
        if self.sense is Sense.LEAST:
            return self.claimed < self.limit - slack
        if self.sense is Sense.MOST:
            return self.claimed > self.limit + slack
        return self.claimed != self.limit

    @property
    def factors(self) -> NDArray[np.float64]:
        """How many times each claim is off; infinite where it is 0 or less."""
        claimed, limit = self.claimed.astype(np.float64), self.limit.astype(np.float64)
        low, high = np.minimum(claimed, limit), np.maximum(claimed, limit)
        return np.where(low > 0, high / np.where(low > 0, low, 1.0), np.inf)

    def verdict(self, row: int, *, holds: bool) -> Verdict:
        """The verdict on one row."""
        return Verdict(
            bound=self.bound,
            claimed=self.claimed[row].item(),
            sense=self.sense,
            limit=self.limit[row].item(),
            unit=self.unit,
            holds=holds,
            reason=self.reason,
        )


def checks(
    floor: Least,
    hardware: Ints,
    found: Columns[str, NDArray[Any]],
    sizes: Columns[str, Ints] | None = None,
) -> list[Check]:
    """Every bound on MAESTRO's results.

    Args:
        hardware: n x 5, as in `Table`.
        found: columns of results, as `compat_batch.evaluate_batch` gives them.
        sizes: `l1_size`, `l2_size` in elements where they are limited.
    """
    pes, noc_bw, _, offchip_bw, simd = hardware.T
    units, runtime = pes * simd, found["runtime"]
    entering = floor.inputs + floor.filters
    work = (floor.macs, entering, floor.outputs, load_technology("maestro"))
    sram, both = frozenset((Part.SRAM,)), frozenset((Part.MAC, Part.SRAM))
    rows = [
        ("macs", found["macs_reported"], Sense.EQUAL, floor.macs, "MACs", "the layer's own"),
        _least("compute", runtime, ceil_div(floor.macs, units), "cycles", "MACs / PEs"),
    ]
    for bound, bandwidth in (("noc", noc_bw), ("offchip", offchip_bw)):
        limit = np.maximum(ceil_div(entering, bandwidth), ceil_div(floor.outputs, bandwidth))
        rows.append(_least(bound, runtime, limit, "cycles", "each tensor once / bandwidth"))
    for bound, column, limit in (
        ("input_reads", "input_l2r", floor.inputs),
        ("filter_reads", "filter_l2r", floor.filters),
        ("output_writes", "output_l2w", floor.outputs),
    ):
        rows.append(_least(bound, found[column], limit, "elements of L2", "each element once"))
    for bound, column, parts in (("energy", "energy_nj", sram), ("energy_full", "", both)):
        limit, text = (
            energy_floor_nj(*work, parts),
            " + ".join(part for part in Part if part in parts),
        )
        rows.append(_least(bound, found[column or "energy_full_nj"], limit, "nJ", text))
    rows += [
        ("utilisation", found["avg_pes"], Sense.MOST, pes, "PEs", "all of them"),
        ("throughput", found["throughput"], Sense.MOST, units, "MACs/cycle", "one per PE"),
    ]
    for bound, size in (sizes or {}).items():
        name = bound.removesuffix("_size")
        need = found[f"{name}_req"]
        rows.append((name, need, Sense.MOST, size, "elements", "size of the buffer"))
    return [Check(*row) for row in rows]


def _least(
    bound: str, claimed: NDArray[Any], limit: NDArray[Any], unit: str, reason: str
) -> tuple[str, NDArray[Any], Sense, NDArray[Any], str, str]:
    return bound, claimed, Sense.LEAST, limit, unit, reason
