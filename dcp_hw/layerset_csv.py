"""Layer sets as CSV files: one row per distinct layer.

The header names the columns, in any order; `name` and `operator` are required, a column left
out or a cell left empty takes the default of `Layer` (groups of a dwconv: K). Lines that start
with '#' are comments.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from dcp_hw.errors import InputError
from dcp_hw.workload import Layer, LayerSet, Operator

LAYERSET_FOLDER = Path(__file__).parent / "layersets"
COLUMNS = tuple(field.name for field in fields(Layer))
REQUIRED_COLUMNS = ("name", "operator", "K")


def layerset_names() -> tuple[str, ...]:
    """Names of the layer sets that come with dcp-hw."""
    return tuple(sorted(path.stem for path in LAYERSET_FOLDER.glob("*.csv")))


def load_layerset(name: str | Path) -> LayerSet:
    """The shipped layer set called `name`, or the one in the file at that path.

    A name with a folder separator or the ending .csv is a path.
    Raises: InputError that says file, line, what was found and what is accepted.
    """
    text = os.fspath(name)
    is_path = isinstance(name, Path) or text.endswith(".csv") or os.sep in text
    path = Path(text) if is_path else LAYERSET_FOLDER / f"{text}.csv"
    if not path.is_file():
        have = ", ".join(layerset_names())
        advice = (
            "give the path of a CSV file, or one of these names"
            if is_path
            else f"add dcp_hw/layersets/{text}.csv, or give the path of a CSV file"
        )
        raise InputError(f"layer set '{text}' not found; have {have}\n({advice})")
    return LayerSet(path.stem, tuple(_read_layers(path)))


def dump_layerset(layerset: LayerSet, comment: str = "") -> str:
    """CSV text of a layer set; inverse of `load_layerset`.

    A column in which every layer has the default is left out, except `count`.
    """
    columns = [
        field.name
        for field in fields(Layer)
        if field.name in (*REQUIRED_COLUMNS, "count")
        or any(getattr(layer, field.name) != field.default for layer in layerset)
    ]
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines.append(",".join(columns))
    for layer in layerset:
        used = layer.operator.fields
        cells = (str(getattr(layer, column)) if column in used else "" for column in columns)
        lines.append(",".join(cells))
    return "\n".join(lines) + "\n"


def _read_layers(path: Path) -> Iterator[Layer]:
    """Layers of the file, one per row below the header."""
    columns: list[str] | None = None
    for line, cells in csv_rows(path):
        if columns is None:
            columns = _header(path, line, cells)
            continue
        if len(cells) != len(columns):
            raise InputError(
                f"{path}:{line}: {len(cells)} cells found, but the header has {len(columns)} "
                f"columns ({','.join(columns)}); leave a cell empty rather than out"
            )
        try:
            yield _layer(dict(zip(columns, cells, strict=True)))
        except InputError as error:
            raise InputError(f"{path}:{line}: {error}") from None
    if columns is None:
        raise InputError(
            f"{path}: no header found; the first line names columns, such as {','.join(COLUMNS)}"
        )


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and stripped cells of every row that is neither empty nor a comment."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for cells in reader:
                stripped = [cell.strip() for cell in cells]
                if any(stripped) and not stripped[0].startswith("#"):
                    yield reader.line_num, stripped
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path}: cannot be read as CSV text in UTF-8 ({error}); save it as plain CSV"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason})") from error


def _header(path: Path, line: int, columns: list[str]) -> list[str]:
    """The checked column names."""
    problems = {
        "unknown columns": [c for c in columns if c not in COLUMNS],
        "repeated columns": sorted({c for c in columns if columns.count(c) > 1}),
        "missing columns": [c for c in REQUIRED_COLUMNS if c not in columns],
    }
    for problem, names in problems.items():
        if names:
            raise InputError(
                f"{path}:{line}: {problem} {', '.join(map(repr, names))} in the header; accepted "
                f"are {','.join(COLUMNS)}, of which {','.join(REQUIRED_COLUMNS)} must be there"
            )
    return columns


def _layer(cells: dict[str, str]) -> Layer:
    """The layer of one row."""
    given: dict[str, str | int] = {
        column: text if column in ("name", "operator") else _integer(column, text)
        for column, text in cells.items()
        if text
    }
    for column in REQUIRED_COLUMNS:
        if column not in given:
            raise InputError(f"column {column} is empty; every layer needs {REQUIRED_COLUMNS}")
    if given["operator"] == Operator.DWCONV:
        given.setdefault("groups", given["K"])
    return Layer(**given)  # type: ignore[arg-type]


def _integer(column: str, text: str) -> int:
    """The integer in a cell, plain decimal digits only."""
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"column {column} is {text!r}; accepted: a whole number, digits only")
    return int(text)
