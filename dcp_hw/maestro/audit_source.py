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
from dcp_hw.maestro.compat_columns import columns as result_columns
from dcp_hw.maestro.compat_table import integer_column, table
from dcp_hw.maestro.dataflow import Dataflow
from dcp_hw.maestro.gamma import load_gamma_layers, parse_genome
from dcp_hw.maestro.honest_maestro import table_of
from dcp_hw.maestro.layer import INT_MAX, MaestroLayer
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
    nothing = Mapping(((),))
    rows = table_of([(x, mapping or nothing) for x, mapping, _ in cases], hardware)
    limits = {
        name: np.full(len(cases), size)
        for name in _LIMITS
        if (size := getattr(hardware, name)) < INT_MAX
    }
    try:
        bounds = checks(least(rows.kinds, rows.sizes, rows.strides), rows.hardware, claims, limits)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    found = honest_batch.evaluate_table(rows, **limits)
    names = [layer.name for layer, _, _ in cases]
    return _piece(names, claims, bounds, found, np.ones(len(cases), dtype=bool))


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
    padding = integer_column(columns, "padding", len(rows), row)
    floor = least(rows.kinds, rows.sizes, rows.strides, padding, first_row=row)
    bounds = checks(floor, rows.hardware, claims, limits)
    found = honest_batch.evaluate_batch(columns, threads=threads, first_row=row)
    return _piece(names, claims, bounds, found, chosen)


def _piece(
    names: list[str], claims: Result, bounds: list[Check], found: Result, chosen: NDArray[np.bool_]
) -> Piece:
    """The piece of claims by compat mode and of results of the honest model."""
    honest = np.where(found["infeasible"] == "", found["runtime"].astype(np.float64), np.nan)
    return Piece(names, claims, bounds, honest, found["infeasible"], chosen)


def _text(cell: object) -> str:
    return "" if cell is None else str(cell)
