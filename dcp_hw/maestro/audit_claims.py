"""Claims as CSV files: one row per claimed result.

The header names the columns, in any order; `network` and `pes` are required, an empty cell is a
column left out. Lines that start with '#' are comments. docs/audit.md explains the columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from dcp_hw.errors import InputError
from dcp_hw.layerset_csv import csv_rows
from dcp_hw.maestro.audit import Claim, Number
from dcp_hw.maestro.audit_bounds import Part
from dcp_hw.maestro.layer import INT_MAX
from dcp_hw.technology import load_technology
from dcp_hw.workload import Layer, LayerSet

_NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?")
_LARGEST = 1e30
_READINGS = ("total", "mean")


def _integer(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 11 and 1 <= int(text) <= INT_MAX):
        raise InputError(f"{text[:40]!r}; accepted: an integer from 1 to {INT_MAX}")
    return int(text)


def _number(text: str) -> Number:
    """The number that a cell holds; the last of its digits may be rounded unless it is whole."""
    if not (text.isascii() and _NUMBER.fullmatch(text)):
        raise InputError(f"{text[:40]!r}; accepted: a number like 1790501, 0.38 or 9.66e4")
    value = float(text)
    if not 0 < value <= _LARGEST:
        raise InputError(f"{text[:40]!r}; accepted: a number above 0, at most {_LARGEST:g}")
    if text.isdigit():
        return Number.exact(value)
    half = 0.5 * 10.0 ** int(Decimal(text).as_tuple().exponent)
    return Number(value, value - half, value + half)


def _clock(text: str) -> float:
    return _number(text).value


def _technology(text: str) -> str:
    load_technology(text)
    return text


def _parts(text: str) -> frozenset[Part]:
    parts = text.split("+")
    if not set(parts) <= set(Part) or len(set(parts)) < len(parts):
        raise InputError(f"{text[:40]!r}; accepted: one or several of {'+'.join(Part)}")
    return frozenset(map(Part, parts))


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise InputError(f"{text[:40]!r}; accepted: 0 or 1")
    return text == "1"


def _reading(text: str) -> bool:
    if text not in _READINGS:
        raise InputError(f"{text[:40]!r}; accepted: {' or '.join(_READINGS)}")
    return text == "mean"


RESULTS = (
    *("macs", "cycles", "energy_nj", "edp", "power_mw", "utilisation", "throughput"),
    *("l1_req", "l2_req"),
)
"""Columns of claimed numbers; a row needs at least one."""

_READ: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("name", "network", "layer", "source"), str),
    **dict.fromkeys(("pes", "simd", "noc_bw", "offchip_bw", "l1_size", "l2_size"), _integer),
    "clock_mhz": _clock,
    "technology": _technology,
    "energy_parts": _parts,
    "fused": _flag,
    "reading": _reading,
    **dict.fromkeys(RESULTS, _number),
}
COLUMNS = tuple(_READ)
REQUIRED = ("network", "pes")


def load_claims(path: Path) -> tuple[Claim, ...]:
    """The claims in a CSV file.

    Raises: InputError with file, line and column, what was found and what is accepted.
    """
    columns: list[str] | None = None
    claims = []
    for line, cells in csv_rows(path):
        try:
            if columns is None:
                columns = _header(cells)
            else:
                claims.append(_claim(dict(_cells(columns, cells)), path.parent, len(claims) + 1))
        except InputError as error:
            raise InputError(f"{path}:{line}: {error}") from None
    if not claims:
        raise InputError(
            f"{path}: no claims; accepted: a header and at least one row of {','.join(COLUMNS)}"
        )
    return tuple(claims)


def _header(cells: list[str]) -> list[str]:
    problems = {
        "unknown": [name for name in cells if name not in COLUMNS],
        "repeated": sorted({name for name in cells if cells.count(name) > 1}),
        "missing": [name for name in REQUIRED if name not in cells],
    }
    for problem, names in problems.items():
        if names:
            shown = ", ".join(repr(name[:40]) for name in names[:8])
            raise InputError(
                f"{problem} columns {shown} in the header; accepted: {','.join(COLUMNS)}, of "
                f"which {','.join(REQUIRED)} must be there (mappings: a column 'mapping')"
            )
    return cells


def _cells(columns: list[str], cells: list[str]) -> Iterator[tuple[str, Any]]:
    """(column, value) of the cells that are not empty."""
    if len(cells) != len(columns):
        raise InputError(
            f"{len(cells)} cells; accepted: {len(columns)}, as in the header "
            "(leave a cell empty rather than out)"
        )
    for column, text in zip(columns, cells, strict=True):
        if text:
            try:
                yield column, _READ[column](text)
            except InputError as error:
                raise InputError(f"column {column} is {error}") from None
        elif column in REQUIRED:
            raise InputError(
                f"column {column} is empty; every claim needs {' and '.join(REQUIRED)}"
            )


def _claim(given: dict[str, Any], folder: Path, row: int) -> Claim:
    if not any(name in given for name in RESULTS):
        raise InputError(f"claims nothing; accepted: at least one of {','.join(RESULTS)}")
    network, layer = given.pop("network"), given.pop("layer", "")
    given.setdefault("name", f"{network} {layer or row}")
    given["mean"] = given.pop("reading", False)
    given["layers"] = _layers(network, layer, folder)
    return Claim(**given)


def _layers(network: str, layer: str, folder: Path) -> tuple[tuple[Layer, int], ...]:
    """(layer, times) of a network, or of one of its layers once.

    Args:
        network: name of a layer set, or path of its CSV file relative to `folder`.
    """
    layers = _load(str(folder / network) if network.endswith(".csv") else network)
    if layer:
        return ((layers[layer], 1),)
    return tuple((one, one.count) for one in layers)


@lru_cache(maxsize=64)
def _load(name: str) -> LayerSet:
    return LayerSet.load(name)
