"""Tables of mappings in and out: CSV (also gzipped) and Parquet, in pieces of bounded memory."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dcp_hw.errors import InputError

PIECE = 65_536
"""Rows evaluated at a time."""

_SEVEN_DIGITS = ("energy_full_nj",)
_ENGINES = {"compat": "dcp_hw.maestro.compat_batch", "honest": "dcp_hw.maestro.honest_batch"}


def evaluate_file(source: Path, target: Path, mode: str, *, threads: int = 1) -> tuple[int, int]:
    """Number of rows, and of those without a result; writes `target`.

    Raises: InputError for a file or a row that is wrong; then `target` is not written.
    """
    engine = _engine(mode)
    partial = target.with_name(f".{target.name}.part")
    writer: _Writer | None = None
    row, failed = 1, 0
    try:
        for piece in pieces(source):
            columns = columns_of(piece)
            found = engine(columns, threads=threads, first_row=row)
            writer = writer or _Writer(partial, target.name)
            writer.write(found)
            row += piece.num_rows
            failed += int(np.count_nonzero(found["infeasible"] != ""))
        if writer is None:
            raise InputError(f"{source}: no rows; accepted: a header and at least one row")
        writer.close()
        partial.replace(target)
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(str(source)) else f"{source}: {text}") from None
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from None
    finally:
        if writer is not None:
            writer.abandon()
        partial.unlink(missing_ok=True)
    return row - 1, failed


def _engine(mode: str) -> Callable[..., dict[str, NDArray[Any]]]:
    try:
        return importlib.import_module(_ENGINES[mode]).evaluate_batch
    except ModuleNotFoundError as error:
        if error.name != _ENGINES[mode]:
            raise
        raise InputError(f"mode {mode} is not built in; have compat") from None


def pieces(path: Path) -> Iterator[pa.Table]:
    """The rows of a file, in pieces. Raises: InputError for a file that is no table."""
    if not path.is_file():
        raise InputError(f"{path}: not found; accepted: a .csv, .csv.gz or .parquet file")
    try:
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path)
            _check_once(path, file.schema_arrow.names)
            for batch in file.iter_batches(PIECE):
                yield pa.Table.from_batches([batch])
            return
        names = pyarrow.csv.open_csv(path).schema.names
        _check_once(path, names)
        options = pyarrow.csv.ConvertOptions(
            column_types={name: pa.string() for name in names}, strings_can_be_null=False
        )
        with pyarrow.csv.open_csv(path, convert_options=options) as reader:
            for batch in reader:
                table = pa.Table.from_batches([batch])
                for start in range(0, table.num_rows, PIECE):
                    yield table.slice(start, PIECE)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: not a table: {str(error).splitlines()[0][:200]}; "
            "accepted: CSV in UTF-8 (.csv, .csv.gz) or Parquet, with a column 'mapping'"
        ) from None


def _check_once(path: Path, names: list[str]) -> None:
    """Nothing. Raises: InputError for a column that is there twice."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{path}: column {', '.join(twice)[:80]} more than once; accepted: once")


def columns_of(piece: pa.Table) -> dict[str, Any]:
    """The columns of a piece, as NumPy integers or as lists of numbers and texts.

    Raises: InputError for a column of anything else, or of text that is not UTF-8.
    """
    columns = {}
    for name in piece.column_names:
        column = piece.column(name)
        kind = column.type
        if pa.types.is_integer(kind) and not column.null_count:
            columns[name] = column.to_numpy()
            continue
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            raise InputError(
                f"column {name} holds {kind}; accepted: numbers or text".replace("\n", " ")
            )
        try:
            columns[name] = column.to_pylist()
        except UnicodeDecodeError:
            raise InputError(f"column {name} is not text; accepted: UTF-8") from None
    return columns


class _Writer:
    """Writes pieces of a result to a CSV or Parquet file.

    Args:
        name: of the file that it becomes; its ending says what is written.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.out: Any = None
        if not name.endswith((".csv", ".csv.gz", ".parquet")):
            raise InputError(f"{name}: unknown ending; accepted: .csv, .csv.gz, .parquet")

    def write(self, found: dict[str, NDArray[Any]]) -> None:
        """Add rows; floats of a CSV have the digits that MAESTRO prints."""
        is_csv = not self.name.endswith(".parquet")
        done = found["infeasible"] == ""
        arrays = {}
        for name, column in found.items():
            if column.dtype == object:
                arrays[name] = pa.array(column.tolist(), pa.string())
                continue
            if is_csv and column.dtype.kind == "f":
                column = round_digits(column, 7 if name in _SEVEN_DIGITS else 6)
            blank = None if name == "macs_true" else ~done
            arrays[name] = pa.array(np.ascontiguousarray(column), mask=blank)
        table = pa.table(arrays)
        if self.out is None:
            if is_csv:
                kind = "gzip" if self.name.endswith(".gz") else None
                self.stream = pa.output_stream(str(self.path), compression=kind)
                self.out = pyarrow.csv.CSVWriter(self.stream, table.schema)
            else:
                self.out = pq.ParquetWriter(self.path, table.schema)
        self.out.write_table(table)

    def close(self) -> None:
        """Finish the file."""
        self.out.close()
        if stream := getattr(self, "stream", None):
            stream.close()
        self.out = self.stream = None

    def abandon(self) -> None:
        """Let go of a file that was not finished."""
        if self.out is not None:
            self.close()


def round_digits(values: NDArray[np.float64], digits: int) -> NDArray[np.float64]:
    """The doubles nearest to the decimals that `%.{digits}g` prints."""
    values = np.ascontiguousarray(values, dtype=np.float64)
    finite = np.isfinite(values) & (values != 0)
    safe = np.where(finite, np.abs(values), 1.0)
    power = digits - 1 - np.floor(np.log10(safe)).astype(np.int64)
    usable = finite & (np.abs(power) <= 22)
    power = np.where(usable, power, 0)
    up, down = 10.0 ** np.maximum(power, 0), 10.0 ** np.maximum(-power, 0)
    scaled = safe * up / down
    whole = np.rint(scaled)
    rounded = np.copysign(whole * down / up, values)
    unsure = finite & (~usable | (np.abs(np.abs(scaled - whole) - 0.5) < 1e-3))
    for i in np.flatnonzero(unsure):
        rounded[i] = float(f"{values[i]:.{digits}g}")
    return np.where(finite, rounded, values)
