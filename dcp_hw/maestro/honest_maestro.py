"""MAESTRO's layers and mappings, GAMMA's dataflows and DCP's codes, as the honest model takes them.

The one place where the two worlds meet:

    honest_layer, honest_levels     one layer, one mapping of directives
    dataflow_levels                 one dataflow
    table_of, table_rows            many of both, compiled
    code_rows                       codes of layers and dataflows in bulk

MAESTRO states the padded input; the honest model counts outputs. `TY'4,4` is four outputs,
`TY6,4` with three taps as well: a tile of m input rows holds `(m - taps) // stride + 1` outputs,
and advances by that many (MAESTRO scales such offsets by the stride) or by that times the stride.
A dimension that a level leaves out has one tile there. What the model cannot express (a skipping
or overlapping tile, two SpatialMaps, batches, groups) is infeasible, with a reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dcp_hw.errors import InputError
from dcp_hw.maestro.compat import GAMMA_HARDWARE, MaestroHardware
from dcp_hw.maestro.compat_build import CLUSTER, KINDS, NAMES, SPATIAL, TEMPORAL
from dcp_hw.maestro.compat_codes import check_codes
from dcp_hw.maestro.compat_table import HARDWARE, Table
from dcp_hw.maestro.dataflow import Dataflow
from dcp_hw.maestro.honest_convert import convert
from dcp_hw.maestro.honest_plan import LAYER_COLUMNS, LEVEL_COLUMNS, LEVELS
from dcp_hw.maestro.honest_types import MAX_LEVELS, HonestLayer, HonestLevel
from dcp_hw.maestro.layer import OVERLAP, MaestroLayer
from dcp_hw.maestro.mapping import Mapping
from dcp_hw.metrics import Infeasible

Ints = NDArray[np.int64]


class Inexpressible(IntEnum):
    """What the honest model cannot express; 0 is nothing."""

    LEVELS = 1
    SPATIALS = 2
    TWICE = 3
    NOT_FOUND = 4
    OFFSET = 5
    TAPS = 6
    BATCH = 7
    GROUPS = 8
    SIMD = 9
    STRIDES = 10
    NO_OUTPUT = 11
    MACS = 12


_TEXTS = {
    Inexpressible.LEVELS: "{a} levels; the honest model has at most 3",
    Inexpressible.SPATIALS: "level {a} has {b} SpatialMaps; the honest model has one per level",
    Inexpressible.TWICE: "level {a} maps {dim} twice",
    Inexpressible.NOT_FOUND: "the layer has no dimension {dim}",
    Inexpressible.OFFSET: "tiles of {dim} hold {a} and advance by {b}; "
    "the honest model lays tiles side by side",
    Inexpressible.TAPS: "a tile of {a} of {dim} is smaller than its {b} taps",
    Inexpressible.BATCH: "a batch of {a}; the honest model takes one image at a time",
    Inexpressible.GROUPS: "{a} groups; the honest model takes one group at a time, as CONV",
    Inexpressible.SIMD: "{a} SIMD lanes; the honest model's PEs make one MAC per cycle",
    Inexpressible.STRIDES: "strides {a} and {b}; the honest model has one for both axes",
    Inexpressible.NO_OUTPUT: "{dim} of {a} is smaller than its {b} taps: there is no output",
    Inexpressible.MACS: "2^53 MACs or more",
}


def inexpressible_text(number: int, dim: int, a: int, b: int) -> str:
    """The sentence for a row of `Rows.status`."""
    name = NAMES[dim] if 0 <= dim < len(NAMES) else ""
    return _TEXTS[Inexpressible(number)].format(dim=name, a=a, b=b)


@dataclass(frozen=True, slots=True)
class Rows:
    """Many mappings as `honest_fast` takes them.

    Attributes:
        layers: `n x LAYER_COLUMNS`; mappings: `n x 3 x LEVEL_COLUMNS`, of which a row uses the
            first `depths[row]`; depths: `n`.
        status: `n x 4`: an `Inexpressible` or 0, and its details.
    """

    layers: Ints
    mappings: Ints
    depths: Ints
    status: Ints


def table_rows(table: Table, padding: Ints | None = None) -> Rows:
    """The rows of a table of MAESTRO's layers and mappings.

    Args:
        padding: `n`; of the input's stored size on every side, 0 if left out. It is part of the
            table's Y and X.
    """
    count = len(table)
    layers = np.zeros((count, LAYER_COLUMNS), dtype=np.int64)
    mappings = np.zeros((count, LEVELS, LEVEL_COLUMNS), dtype=np.int64)
    depths, status = np.zeros(count, dtype=np.int64), np.zeros((count, 4), dtype=np.int64)
    pad = np.zeros(count, dtype=np.int64) if padding is None else padding
    convert(
        *(table.directives, table.starts, table.sizes, table.strides, table.kinds),
        *(pad, layers, mappings, depths, status),
    )
    lanes = table.hardware[:, HARDWARE.index("simd")]
    wide = (lanes > 1) & (status[:, 0] == 0)
    status[wide, 0], status[wide, 2] = Inexpressible.SIMD, lanes[wide]
    macs = np.prod(layers[:, :6].astype(np.float64), axis=1)
    status[(macs >= 2.0**53) & (status[:, 0] == 0), 0] = Inexpressible.MACS
    return Rows(layers, mappings, depths, status)


def honest_layer(layer: MaestroLayer, *, padding: int = 0) -> HonestLayer | Infeasible:
    """The layer, or why the honest model cannot express it.

    Args:
        padding: how much of the layer's Y and X is padding, on every side.
    Raises: InputError where padding leaves no input.
    """
    axes = {dim: layer.size.get(dim, layer.size.get(f"{dim}'", 1)) for dim in "YX"}
    if layer.type.is_convolution and not 0 <= 2 * padding < min(axes.values()):
        raise InputError(f"layer '{layer.name}': padding {padding}; accepted: less than half Y, X")
    rows = table_rows(table_of([(layer, Mapping(((),)))]), np.array([padding]))
    number = int(rows.status[0, 0])
    if number and number != Inexpressible.SPATIALS:  # the mapping above is empty
        return Infeasible(inexpressible_text(*rows.status[0].tolist()))
    sizes, rest = rows.layers[0, :6].tolist(), rows.layers[0, 6:].tolist()
    K, C, Y, X, R, S = sizes
    return HonestLayer(
        K=K,
        C=C,
        Y=Y,
        X=X,
        R=R,
        S=S,
        stride=rest[0],
        padding=rest[1],
        depthwise=bool(rest[2]),
        rows=rest[3],
        columns=rest[4],
    )


def honest_levels(mapping: Mapping, layer: MaestroLayer) -> tuple[HonestLevel, ...] | Infeasible:
    """The levels of a mapping of this layer, or why the honest model cannot express them."""
    rows = table_rows(table_of([(layer, mapping)]))
    if rows.status[0, 0]:
        return Infeasible(inexpressible_text(*rows.status[0].tolist()))
    return tuple(
        HonestLevel(
            parallel=values[1],
            order=tuple(values[2:8]),
            tile=tuple(values[8:]),
            clusters=values[0] or None,
        )
        for values in rows.mappings[0, : int(rows.depths[0])].tolist()
    )


def table_of(
    cases: Sequence[tuple[MaestroLayer, Mapping]], machine: MaestroHardware = GAMMA_HARDWARE
) -> Table:
    """A table of layers and mappings; a layer that declares outputs gets the input they need."""
    sizes, strides, kinds, directives, starts = [], [], [], [], [0]
    for layer, mapping in cases:
        size, stride = layer.size, layer.stride
        for axis, taps in OVERLAP.items():
            if f"{axis}'" in size:
                size[axis] = size[f"{axis}'"] + size[taps] - 1
        sizes.append([size.get(dim, 0) for dim in NAMES[:9]])
        strides.append([stride.get(axis, stride.get(f"{axis}'", 1)) for axis in "XY"])
        kinds.append(KINDS.index(layer.type.model) + 4 * layer.batched)
        for i, level in enumerate(mapping.levels):
            if i:
                directives.append([CLUSTER, 0, mapping.clusters[i - 1], 1])
            for x in level:
                kind = SPATIAL if x.spatial else TEMPORAL
                directives.append([kind, NAMES.index(x.dim), x.size, x.offset])
        starts.append(len(directives))
    return Table(
        np.array(directives, dtype=np.int64).reshape(-1, 4),
        *(np.array(values, dtype=np.int64) for values in (starts, sizes, strides, kinds)),
        np.array([[getattr(machine, name) for name in HARDWARE]] * len(cases), dtype=np.int64),
    )


def dataflow_levels(dataflow: Dataflow) -> tuple[HonestLevel, ...] | Infeasible:
    """The levels of a dataflow; the units of the outermost one are a limit."""
    if len(dataflow.levels) > MAX_LEVELS:
        return Infeasible(inexpressible_text(Inexpressible.LEVELS, -1, len(dataflow.levels), 0))
    return tuple(
        HonestLevel(
            parallel=int(level.parallel),
            order=tuple(int(dim) for dim in level.order),
            tile=tuple(tile for _, tile in sorted(level.sizes.items())),
            clusters=level.units,
        )
        for level in dataflow.levels
    )


def code_rows(
    layers: ArrayLike,
    dataflows: ArrayLike,
    *,
    stride: ArrayLike = 1,
    padding: ArrayLike = 0,
) -> tuple[Ints, Ints]:
    """Codes of layers and dataflows as the rows that `honest_fast.evaluate_batch` takes.

    Args:
        layers: `n x 7`, or `7` for all; Y and X of the padded input.
        dataflows: `n x levels x 7 x 2`, 1 to 3 levels.
        stride, padding: of each convolution, or of all; other layers have none.

    Returns: layers `n x LAYER_COLUMNS`, mappings `n x levels x LEVEL_COLUMNS`.

    Raises: InputError for codes that no layer or dataflow has.
    """
    codes, flows, strides, pads = check_codes(layers, dataflows, stride, padding)
    if flows.shape[1] > MAX_LEVELS:
        raise InputError(f"dataflows of {flows.shape[1]} levels; accepted: 1 to {MAX_LEVELS}")
    shapes = np.ones((len(codes), LAYER_COLUMNS), dtype=np.int64)
    kind = codes[:, 6]
    shapes[:, :6] = codes[:, :6]
    gemm, slides = kind == 3, (kind == 1) | (kind == 2)
    shapes[gemm, 0], shapes[gemm, 1], shapes[gemm, 2] = (
        codes[gemm, 1],
        codes[gemm, 2],
        codes[gemm, 0],
    )
    shapes[:, 6], shapes[:, 7] = np.where(slides, strides, 1), np.where(slides, pads, 0)
    shapes[:, 8] = kind == 2
    shapes[:, 0] = np.where(kind == 2, 1, shapes[:, 0])
    shapes[:, 9:11] = shapes[:, 2:4] - 2 * shapes[:, 7:8]
    for axis, taps in ((2, 4), (3, 5)):
        shapes[:, axis] = np.where(
            slides, (codes[:, axis] - codes[:, taps]) // shapes[:, 6] + 1, shapes[:, axis]
        )
    for name, bad in (("outputs", shapes[:, 2:4] < 1), ("input rows", shapes[:, 9:11] < 1)):
        if bad.any():
            row = int(np.flatnonzero(bad.any(axis=1))[0])
            raise InputError(f"row {row + 1}: the layer {codes[row].tolist()} has no {name}")
    return shapes, flow_rows(flows)


def flow_rows(flows: Ints) -> Ints:
    """Dataflow codes, `n x levels x 7 x 2`, as mappings, `n x levels x LEVEL_COLUMNS`."""
    count, levels = flows.shape[:2]
    mappings = np.empty((count, levels, LEVEL_COLUMNS), dtype=np.int64)
    mappings[..., 0], mappings[..., 1] = flows[:, :, 0, 1], flows[:, :, 0, 0]
    mappings[..., 2:8] = flows[:, :, 1:, 0]
    np.put_along_axis(mappings[..., 8:], flows[:, :, 1:, 0], flows[:, :, 1:, 1], axis=2)
    return mappings
