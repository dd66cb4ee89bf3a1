"""Reading the benchmark data set of the MAESTRO space into NumPy arrays.

    rows = load("build/dataset/maestro-2000x2000-s0", layers="train", dataflows="train")
    rows.dataflow           # n x 3 x 7 x 2
    rows["latency_cycles"]  # n

docs/dataset.md describes the columns.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dcp_hw.errors import InputError
from dcp_hw.maestro.dataset_files import MANIFEST
from dcp_hw.maestro.dataset_plan import KINDS, SPLITS
from dcp_hw.maestro.dataset_recipes import Integers
from dcp_hw.maestro.dataset_rows import DATAFLOW, HARDWARE, LAYER, SCHEMA, layers_of, mappings_of
from dcp_hw.maestro.honest_fast import FEASIBLE

METRICS = (
    *("layer_id", "dataflow_id", "hardware_id", "bound_cycles", "bound_energy_nj"),
    *("reason", "latency_cycles", "energy_nj", "power_mw"),
)
"""Columns that `load` reads unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Rows:
    """n rows.

    Attributes:
        layer: int16, n x 9: the layer's code K C Y X R S T, stride, padding.
        dataflow: int16, n x 3 x 7 x 2: the dataflow's code.
        hardware: int32, n x 6: PEs, L1 and L2 in elements, elements per cycle of the network, its
            latency, elements per cycle of the DRAM; 0 stands for unlimited.
        columns: further columns by name; where a row is infeasible its cycles are 0, its energies
            and power NaN.
    """

    layer: NDArray[np.int16]
    dataflow: NDArray[np.int16]
    hardware: NDArray[np.int32]
    columns: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.layer)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def inputs(self) -> tuple[Integers, Integers, Integers]:
        """Layers, machines and mappings as `honest_fast.evaluate_batch` takes them."""
        return (
            layers_of(self.layer),
            self.hardware.astype(np.int64),
            mappings_of(self.dataflow),
        )


def load(
    folder: str | Path,
    *,
    layers: str | None = None,
    dataflows: str | None = None,
    kinds: Sequence[str] = KINDS,
    machines: Sequence[int] | None = None,
    feasible: bool = True,
    columns: Sequence[str] = METRICS,
) -> Rows:
    """Rows of a finished data set, in the order of layer, then dataflow.

    Args:
        layers, dataflows: only rows of this split: train, validation or test; None: all.
        kinds: only dataflows of these kinds: uniform, loose, fitted, elite.
        machines: only rows on these machines, by hardware_id; None: all.
        feasible: only rows that have metrics.
        columns: what else to read, by name.
    Raises: InputError for a folder without a finished data set, and for unknown names.
    """
    parts = _parts(Path(folder))
    _known("split", [s for s in (layers, dataflows) if s is not None], SPLITS)
    _known("kind", kinds, KINDS)
    _known("column", columns, SCHEMA.names)
    blocks = (LAYER, DATAFLOW, HARDWARE)
    tests = ("layer_split", "dataflow_split", "dataflow_kind", "hardware_id", "reason")
    names = list(dict.fromkeys((*LAYER, *DATAFLOW, *HARDWARE, *tests, *columns)))
    found: list[list[NDArray[Any]]] = []
    for path in parts:
        table = _read(path, names)
        keep = np.isin(_plain(table["dataflow_kind"]), [KINDS.index(kind) for kind in kinds])
        for name, split in (("layer_split", layers), ("dataflow_split", dataflows)):
            keep &= split is None or _plain(table[name]) == SPLITS.index(split)
        if machines is not None:
            keep &= np.isin(_plain(table["hardware_id"]), machines)
        if feasible:
            keep &= _plain(table["reason"]) == FEASIBLE
        table = table.filter(pa.array(keep))
        stacked = [np.column_stack([_plain(table[name]) for name in block]) for block in blocks]
        found.append([*stacked, *(_plain(table[name]) for name in columns)])
    code, dataflow, hardware, *rest = (
        np.concatenate([part[i] for part in found]) for i in range(3 + len(columns))
    )
    return Rows(
        layer=code,
        dataflow=dataflow.reshape(-1, 3, 7, 2),
        hardware=hardware,
        columns=dict(zip(columns, rest, strict=True)),
    )


def _parts(folder: Path) -> list[Path]:
    """Files of a finished data set, in order."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        names = sorted(name for name in manifest["sha256"] if name.startswith("part-"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder}: no finished data set ({type(error).__name__} at {MANIFEST}); "
            "make one with `dcp-hw dataset --out FOLDER`, or let that command finish it"
        ) from None
    return [folder / name for name in names]


def _known(what: str, asked: Sequence[str], have: Sequence[str]) -> None:
    if unknown := [name for name in asked if name not in have]:
        raise InputError(f"{what} {', '.join(unknown)} not found; have {', '.join(have)}")


def _read(path: Path, names: list[str]) -> pa.Table:
    try:
        return pq.read_table(path, columns=names)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{path}: cannot be read ({str(error).splitlines()[0]}); run the command that made the "
            "data set again, which makes damaged parts again"
        ) from None


def _plain(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column as an array; 0 for cycles and NaN for floats that are missing."""
    if column.null_count and pa.types.is_integer(column.type):
        column = column.fill_null(0)
    return column.to_numpy()
