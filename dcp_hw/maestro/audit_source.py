"""Mappings to audit: mapping files, GAMMA's genomes and layers, tables of mappings.

Each source becomes pieces: names, what compat mode claims, the bounds, and what the honest model
says of the same mappings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Columns
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcp_hw.errors import InputError
from dcp_hw.maestro import honest_batch
from dcp_hw.maestro.audit_mappings import Check, checks, least
from dcp_hw.maestro.batch_file import columns_of, pieces
from dcp_hw.maestro.compat import CompatResult, MaestroHardware, evaluate
from dcp_hw.maestro.compat_batch import COLUMNS, INTEGERS, evaluate_table
from dcp_hw.maestro.compat_build import KINDS, NAMES, Ints
from dcp_hw.maestro.compat_columns import columns as result_columns
from dcp_hw.maestro.compat_table import HARDWARE, Table, integer_column, parse_mappings, table
from dcp_hw.maestro.dataflow import Dataflow
from dcp_hw.maestro.gamma import load_gamma_layers, parse_genome
from dcp_hw.maestro.layer import INT_MAX, OVERLAP, MaestroLayer
from dcp_hw.maestro.mapping import Mapping
from dcp_hw.maestro.mapping_file import load_mapping
from dcp_hw.maestro.syntax import read_text
from dcp_hw.metrics import Infeasible

Result = Columns[str, NDArray[Any]]

_INT64 = (1 << 63) - 1
_LIMITS = ("l1_size", "l2_size")


@dataclass(frozen=True, slots=True)
class Piece:
    """Some audited mappings (n).

    Attributes:
        claims: compat mode's columns, `infeasible` among them.
        honest: cycles by the honest model (n), NaN where it has none; reasons: why (n).
        chosen: which rows to report (n).
    """

    names: list[str]
    claims: Result
    checks: list[Check]
    honest: NDArray[np.float64]
    reasons: NDArray[Any]
    chosen: NDArray[np.bool_]


Case = tuple[MaestroLayer, Mapping | None, bool]
"""A layer, its mapping, and whether MAESTRO counts its batch dimension."""


def of_mapping_file(path: Path, hardware: MaestroHardware) -> Piece:
    """The layers of a mapping file. Raises: InputError for a malformed one."""
    file = load_mapping(path)
    cases = [(x.layer, x.mapping, file.batched(x.layer.type)) for x in file.layers]
    return _of_cases(str(path), cases, hardware)


def of_genomes(path: Path, layers: Path, hardware: MaestroHardware) -> Piece:
    """GAMMA's genomes, one a line, for the layers of its layer file: one each, or one for all.

    Raises: InputError with file and line, what was found and what is accepted.
    """
    flows: list[tuple[int, Dataflow]] = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            try:
                flows.append((number, parse_genome(line)))
            except InputError as error:
                raise InputError(f"{path}:{number}: {error}") from None
    codes = load_gamma_layers(layers)
    if len(flows) not in (1, len(codes)):
        raise InputError(
            f"{path}: {len(flows)} genomes for {len(codes)} layers of {layers}; "
            "accepted: one line for each layer, or one for all"
        )
    flows = flows if len(flows) > 1 else flows * len(codes)
    cases: list[Case] = []
    for i, ((number, flow), code) in enumerate(zip(flows, codes, strict=True), start=1):
        try:
            cases.append((*flow.to_maestro(code.to_maestro(f"layer {i}")), False))
        except InputError as error:
            raise InputError(f"{path}:{number}: {error}") from None
    return _of_cases(str(path), cases, hardware)


def _of_cases(source: str, cases: Sequence[Case], hardware: MaestroHardware) -> Piece:
    claims = _claims([evaluate(x, mapping, hardware, batched=n) for x, mapping, n in cases])
    rows = _table(cases, hardware)
    limits = {
        name: np.full(len(cases), size)
        for name in _LIMITS
        if (size := getattr(hardware, name)) < INT_MAX
    }
    names = [layer.name for layer, _, _ in cases]
    try:
        return _piece(names, rows, claims, limits, first_row=1, threads=1)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def _table(cases: Sequence[Case], hardware: MaestroHardware) -> Table:
    """The cases as arrays; a layer without a mapping has an empty one."""
    texts = ["" if mapping is None else str(mapping) for _, mapping, _ in cases]
    directives, starts = [np.zeros((0, 4), dtype=np.int64)], [0]
    for text in texts:
        if text:
            directives.append(parse_mappings([text])[0])
        starts.append(starts[-1] + (len(directives[-1]) if text else 0))
    kinds = [KINDS.index(x.type.model) + 4 * x.batched for x, _, _ in cases]
    machine = [getattr(hardware, name) for name in HARDWARE]
    return Table(
        np.concatenate(directives),
        np.array(starts, dtype=np.int64),
        np.array([[_size(x, name) for name in NAMES[:9]] for x, _, _ in cases], dtype=np.int64),
        np.array([[_stride(x, axis) for axis in "XY"] for x, _, _ in cases], dtype=np.int64),
        np.array(kinds, dtype=np.int64),
        np.array([machine] * len(cases), dtype=np.int64),
    )


def _size(layer: MaestroLayer, dim: str) -> int:
    """Size of a dimension, 0 if the layer has none; Y and X of the input."""
    size = layer.size
    if dim in OVERLAP and (outputs := size.get(f"{dim}'")):
        return outputs + size[OVERLAP[dim]] - 1
    return size.get(dim, 0)


def _stride(layer: MaestroLayer, axis: str) -> int:
    return layer.stride.get(axis, layer.stride.get(f"{axis}'", 1))


def _claims(results: Sequence[CompatResult | Infeasible]) -> Result:
    """The columns of compat mode for single results."""
    done = [None if isinstance(x, Infeasible) else result_columns(x) for x in results]
    claims: dict[str, NDArray[Any]] = {}
    for name in COLUMNS:
        blank, kind = (0, np.int64) if name in INTEGERS else (np.nan, np.float64)
        cells = [blank if row is None else row.get(name, blank) for row in done]
        if kind is np.int64:  # counters beyond 64 bits are as large as it gets
            cells = [max(-_INT64, min(cell, _INT64)) for cell in cells]
        claims[name] = np.array(cells, dtype=kind)
    reasons = [x.reason if isinstance(x, Infeasible) else "" for x in results]
    claims["infeasible"] = np.array(reasons, dtype=object)
    return claims


def of_batch_file(path: Path, where: tuple[str, str] | None, threads: int) -> Iterator[Piece]:
    """The rows of a table of mappings, in pieces of bounded memory.

    Args:
        where: (column, text): report rows that hold this text only.

    Raises: InputError with file and row, what was found and what is accepted.
    """
    row = 1
    try:
        for piece in pieces(path):
            yield _of_columns(columns_of(piece), where, threads, row)
            row += piece.num_rows
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(str(path)) else f"{path}: {text}") from None
    if row == 1:
        raise InputError(f"{path}: no rows; accepted: a header and at least one row")


def _of_columns(
    columns: Columns[str, Sequence[Any]], where: tuple[str, str] | None, threads: int, row: int
) -> Piece:
    rows = table(columns, first_row=row, threads=threads)
    limits = {}
    for name in _LIMITS:  # 0: unlimited
        sizes = integer_column(columns, name, len(rows), row)
        if sizes.any():
            limits[name] = np.where(sizes == 0, INT_MAX, sizes)
    labels = columns.get("layer", [""] * len(rows))
    names = [f"row {row + i} {_text(label)}".rstrip() for i, label in enumerate(labels)]
    claims = evaluate_table(rows, threads=threads)
    chosen = np.ones(len(rows), dtype=bool)
    if where is not None:
        if where[0] not in columns:
            raise InputError(f"column {where[0]} is missing; have {', '.join(columns)}")
        chosen = np.array([_text(cell) == where[1] for cell in columns[where[0]]], dtype=bool)
    return _piece(names, rows, claims, limits, first_row=row, threads=threads, chosen=chosen)


def _piece(
    names: list[str],
    rows: Table,
    claims: Result,
    limits: Columns[str, Ints],
    *,
    first_row: int,
    threads: int,
    chosen: NDArray[np.bool_] | None = None,
) -> Piece:
    floor = least(rows.kinds, rows.sizes, rows.strides, first_row)
    bounds = checks(floor, rows.hardware, claims, limits)
    found = honest_batch.evaluate_table(rows, **limits, threads=threads)
    honest = np.where(found["infeasible"] == "", found["runtime"].astype(np.float64), np.nan)
    if chosen is None:
        chosen = np.ones(len(rows), dtype=bool)
    return Piece(names, claims, bounds, honest, found["infeasible"], chosen)


def _text(cell: object) -> str:
    return "" if cell is None else str(cell)
