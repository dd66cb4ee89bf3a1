"""MAESTRO's cost model for codes of layers and dataflows (see `encoding`), in bulk."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from dcp_hw.errors import InputError
from dcp_hw.maestro.compat import GAMMA_HARDWARE, MaestroHardware
from dcp_hw.maestro.compat_batch import evaluate_table
from dcp_hw.maestro.compat_build import CLUSTER, NAMES, SPATIAL, TEMPORAL, Ints
from dcp_hw.maestro.compat_table import HARDWARE, Table
from dcp_hw.maestro.dataflow import BLOCK
from dcp_hw.maestro.layer import INT_MAX

_DIMS = np.array([NAMES.index(name) for name in ("K", "C", "Y'", "X'", "R", "S")], dtype=np.int64)
_FC, _CONV, _DSCONV, _GEMM = range(4)


def evaluate_codes(
    layers: ArrayLike,
    dataflows: ArrayLike,
    *,
    stride: ArrayLike = 1,
    hardware: MaestroHardware = GAMMA_HARDWARE,
    threads: int = 1,
) -> dict[str, NDArray[Any]]:
    """MAESTRO's results for codes, as GAMMA would write them for MAESTRO.

    Args:
        layers: `n x 7`, or `7` for all.
        dataflows: `n x levels x 7 x 2`.
        stride: of each convolution, or of all.

    Returns: as `compat_batch.evaluate_batch`.

    Raises: InputError for codes that no layer or dataflow has.
    """
    table = table_of_codes(layers, dataflows, stride=stride, hardware=hardware)
    return evaluate_table(table, threads=threads)


def table_of_codes(
    layers: ArrayLike,
    dataflows: ArrayLike,
    *,
    stride: ArrayLike = 1,
    hardware: MaestroHardware = GAMMA_HARDWARE,
) -> Table:
    """The table of codes. Args and errors: as `evaluate_codes`."""
    codes, flows, strides, _ = check_codes(layers, dataflows, stride)
    count = flows.shape[0]
    sizes = np.zeros((count, len(NAMES) - 2), dtype=np.int64)
    gemm = codes[:, 6] == _GEMM
    for i, name in enumerate("KCYXRS"):
        sizes[:, NAMES.index(name)] = codes[:, i]
    for name, i in (("K", 1), ("C", 2), ("Y", 0)):  # (M, N, K) as a convolution
        place = NAMES.index(name)
        sizes[:, place] = np.where(gemm, codes[:, i], sizes[:, place])
    steps = np.where((codes[:, 6] == _CONV) | (codes[:, 6] == _DSCONV), strides, 1)
    kinds = (codes[:, 6] == _DSCONV).astype(np.int64)
    directives = np.empty((count * flows.shape[1] * BLOCK, 4), dtype=np.int64)
    starts = np.zeros(count + 1, dtype=np.int64)
    _directives(flows, kinds, _DIMS, directives, starts)
    machine = [getattr(hardware, name) for name in HARDWARE]
    return Table(
        directives[: starts[-1]],
        starts,
        sizes,
        np.stack((steps, steps), axis=1),
        kinds,
        np.tile(np.array(machine, dtype=np.int64), (count, 1)),
    )


def check_codes(
    layers: ArrayLike, dataflows: ArrayLike, stride: ArrayLike = 1, padding: ArrayLike = 0
) -> tuple[Ints, Ints, Ints, Ints]:
    """Codes `n x 7`, dataflows `n x levels x 7 x 2`, strides `n`, paddings `n`.

    Raises: InputError for shapes that do not fit, and for numbers that no code holds.
    """
    flows = np.ascontiguousarray(dataflows, dtype=np.int64)
    if flows.ndim != 4 or flows.shape[2:] != (BLOCK, 2) or not flows.shape[1]:
        raise InputError(f"dataflows of shape {flows.shape}; accepted: (n, levels, {BLOCK}, 2)")
    count = flows.shape[0]
    try:
        codes = np.broadcast_to(np.asarray(layers, dtype=np.int64), (count, 7))
        strides, pads = (
            np.broadcast_to(np.asarray(x, dtype=np.int64), (count,)) for x in (stride, padding)
        )
    except ValueError as error:
        raise InputError(f"layers or strides do not fit {count} dataflows: {error}") from None
    for what, bad in (
        ("layer", ((codes[:, :6] < 1) | (codes[:, :6] > INT_MAX)).any(axis=1)),
        ("layer", (codes[:, 6] < _FC) | (codes[:, 6] > _GEMM)),
        ("stride", (strides < 1) | (strides > INT_MAX)),
        ("padding", (pads < 0) | (pads > INT_MAX)),
        ("dataflow", ((flows[..., 1] < 1) | (flows[..., 1] > INT_MAX)).any(axis=(1, 2))),
        ("dataflow", (np.sort(flows[:, :, 1:, 0]) != np.arange(6)).any(axis=(1, 2))),
        ("dataflow", ((flows[:, :, 0, 0] < 0) | (flows[:, :, 0, 0] > 5)).any(axis=1)),
    ):
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            found = {"layer": codes, "stride": strides, "padding": pads, "dataflow": flows}[what]
            raise InputError(f"row {row + 1}: no {what} has the code {found[row].tolist()}")
    return codes, flows, strides, pads


@njit(cache=True, nogil=True, error_model="numpy")
def _directives(flows: Ints, kinds: Ints, dims: Ints, directives: Ints, starts: Ints) -> None:
    """Fill in what `Dataflow.to_maestro` gives for each row."""
    at = 0
    for row in range(flows.shape[0]):
        depthwise = kinds[row] == 1
        for level in range(flows.shape[1]):
            if level:
                directives[at, 0], directives[at, 1] = CLUSTER, 0
                directives[at, 2], directives[at, 3] = flows[row, level, 0, 1], 1
                at += 1
            parallel = flows[row, level, 0, 0]
            if depthwise and parallel == 0:
                parallel = 1
            for i in range(1, BLOCK):
                dim, tile = flows[row, level, i, 0], flows[row, level, i, 1]
                if depthwise and dim == 0:
                    continue
                directives[at, 0] = SPATIAL if dim == parallel else TEMPORAL
                directives[at, 1] = dims[dim]
                directives[at, 2] = directives[at, 3] = tile
                at += 1
        starts[row + 1] = at
