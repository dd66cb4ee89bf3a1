"""Sourced tables of energy and area per event: one `Technology` per technology.

The tables lie in `dcp_hw/data/energy_<name>.yaml`, the CACTI rows in `dcp_hw/data/sram_*.csv`;
docs/energy.md gives the derivations.
"""

from __future__ import annotations

import csv
import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dcp_hw.errors import InputError

DATA = Path(__file__).parent / "data"

DEFAULT_TECHNOLOGY = "45nm-lop"

ENERGIES = (
    "multiply",
    "add",
    "register_8bit",
    "register_32bit",
    "clock_per_bit",
    "toggle_per_bit",
    "requantise",
    "bus_per_bit",
)
AREAS = ("multiplier", "adder", "requantiser", "flip_flop")
_KEYS = {"name", "extends", "title", "node_nm", "energy_pj", "sram", "area_um2"}

TOGGLE_ACTIVITY = 0.5  # toggles per bit and write of uniform random data

_FLIP_FLOP_BYTES = 512  # below this size of one copy there is no SRAM macro
_COLUMNS = ("read_pJ", "write_pJ", "leak_mW", "area_um2")


@dataclass(frozen=True, slots=True)
class Macro:
    """Access energies (pJ), leakage (mW) and area (um2) of a piece of memory, one copy."""

    read_pj: float
    write_pj: float
    leak_mw: float
    area_um2: float

    def __add__(self, other: Macro) -> Macro:
        """Both side by side, accessed together."""
        return Macro(
            self.read_pj + other.read_pj,
            self.write_pj + other.write_pj,
            self.leak_mw + other.leak_mw,
            self.area_um2 + other.area_um2,
        )

    def times(self, wide: int, deep: int = 1) -> Macro:
        """`wide` accessed together, times `deep` of which one is accessed."""
        return Macro(
            self.read_pj * wide,
            self.write_pj * wide,
            self.leak_mw * wide * deep,
            self.area_um2 * wide * deep,
        )


class SramTable:
    """CACTI rows of one cell type: size (bytes) x width (bits) -> `Macro`."""

    def __init__(self, rows: Mapping[int, list[tuple[int, tuple[float, ...]]]]) -> None:
        """`rows`: width_bits -> [(size_bytes, (read, write, leak, area))]."""
        self.widths = tuple(sorted(rows))
        # plain lists: for a single size faster than numpy
        self._sizes, self._logs, self._slopes = {}, {}, {}
        for width, entries in rows.items():
            sizes, logs = (np.log([entry[i] for entry in sorted(entries)]) for i in range(2))
            slopes = np.diff(logs, axis=0) / np.diff(sizes)[:, None]
            self._sizes[width], self._logs[width] = sizes.tolist(), logs.tolist()
            self._slopes[width] = slopes.tolist()

    @classmethod
    def load(cls, path: Path, cell: str) -> SramTable:
        """Table of the rows with `cell` in a CSV file.

        Raises: InputError where the file is missing, broken or has no such cell.
        """
        found: dict[int, list[tuple[int, tuple[float, ...]]]] = {}
        cells: set[str] = set()
        try:
            with path.open(newline="") as file:
                for line, row in enumerate(csv.DictReader(file), start=2):
                    try:
                        cells.add(row["cell"])
                        if row["cell"] == cell:
                            values = tuple(float(row[c]) for c in _COLUMNS)
                            if min(values) <= 0:
                                raise ValueError(f"values must be > 0, got {values}")
                            size = int(row["size_bytes"])
                            found.setdefault(int(row["width_bits"]), []).append((size, values))
                    except (KeyError, TypeError, ValueError) as error:
                        raise InputError(
                            f"{path}:{line}: not an SRAM row ({error!r}); wanted are the columns "
                            f"cell, size_bytes, width_bits, {', '.join(_COLUMNS)}"
                        ) from error
        except OSError as error:
            raise InputError(f"SRAM table {path} cannot be read: {error.strerror}") from error
        if not found:
            have = ", ".join(sorted(cells)) or "none"
            raise InputError(f"{path} has no rows for SRAM cell {cell!r}; have {have}")
        return cls(found)

    def macro(self, size_bytes: float, width_bits: int) -> Macro:
        """Macro of a tabulated width, log-log interpolation over the size.

        Below the smallest row of this width, that row; above the largest, equal macros in depth, of
        which one is accessed. Never extrapolated.
        """
        sizes, logs = self._sizes[width_bits], self._logs[width_bits]
        deep = max(1, math.ceil(size_bytes / math.exp(sizes[-1]) - 1e-9))
        at = min(max(math.log(size_bytes / deep), sizes[0]), sizes[-1])
        row = bisect_right(sizes, at) - 1
        if at == sizes[-1] or len(sizes) == 1:
            found = logs[-1]
        else:
            beyond = at - sizes[row]
            slopes = self._slopes[width_bits][row]
            found = [s * beyond + y for s, y in zip(slopes, logs[row], strict=True)]
        return Macro(*map(math.exp, found)).times(1, deep)

    def wide(self, rows: int, width_bits: int) -> Macro:
        """A memory of any width: macros side by side, all of one width but for a narrower last.

        The macro width is the one of least read + write energy; a last, narrower macro is rounded
        up to the next tabulated width.
        """

        def built_of(width: int) -> Macro:
            full, rest = divmod(width_bits, width)
            parts = [self.macro(rows * width / 8, width).times(full)] if full else []
            if rest:
                last = next(w for w in self.widths if w >= rest)
                parts.append(self.macro(rows * last / 8, last))
            return sum(parts[1:], parts[0])

        enough = next((w for w in self.widths if w >= width_bits), self.widths[-1])
        widths = (w for w in self.widths if w <= enough)
        return min(map(built_of, widths), key=lambda m: m.read_pj + m.write_pj)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Technology:
    """One table: energies in pJ, areas in um2, each with its source."""

    name: str
    title: str
    node_nm: int
    energy_pj: Mapping[str, float]
    area_um2: Mapping[str, float]
    sram: SramTable | tuple[float, float]  # CACTI rows, or read and write pJ per element
    sources: Mapping[str, str]

    def memory(self, rows: int, width_bits: int, elements: int) -> Macro:
        """One copy of a memory: energies of an access of its whole width.

        Args:
            rows: words.
            width_bits: bits of one access.
            elements: operands in one access; only tables that price elements use it.
        """
        return _memory(self, rows, width_bits, elements)


@lru_cache(maxsize=65536)
def _memory(technology: Technology, rows: int, width_bits: int, elements: int) -> Macro:
    bits = rows * width_bits
    flip_flops = bits * technology.area_um2["flip_flop"]
    if not isinstance(technology.sram, SramTable):
        read_pj, write_pj = technology.sram
        return Macro(read_pj * elements, write_pj * elements, 0.0, flip_flops)
    if bits >= 8 * _FLIP_FLOP_BYTES:
        return technology.sram.wide(rows, width_bits)
    toggle = technology.energy_pj["toggle_per_bit"] * TOGGLE_ACTIVITY
    levels = 1 + math.ceil(math.log2(rows))  # nets from a flip-flop through the read multiplexer
    return Macro(
        width_bits * toggle * levels,
        width_bits * (toggle + technology.energy_pj["clock_per_bit"]),
        0.0,
        flip_flops,
    )


def technologies() -> tuple[str, ...]:
    """Names of the tables that come with dcp-hw."""
    return tuple(sorted(p.stem.removeprefix("energy_") for p in DATA.glob("energy_*.yaml")))


@lru_cache(maxsize=64)
def load_technology(name: str) -> Technology:
    """Table by name, or by the path of a YAML file of the same form.

    Raises: InputError for an unknown name or a broken file.
    """
    raw, folder = _read(name)
    energy, area, sram = (raw.get(part) for part in ("energy_pj", "area_um2", "sram"))
    energies, energy_sources = _values(name, "energy_pj", energy, ENERGIES)
    areas, area_sources = _values(name, "area_um2", area, AREAS)
    node = raw.get("node_nm")
    if not isinstance(node, int) or node <= 0:
        raise InputError(f"technology {name!r}: node_nm must be a whole number > 0, got {node!r}")
    if not isinstance(sram, dict):
        raise InputError(f"technology {name!r}: sram must be a mapping, got {sram!r}")
    return Technology(
        name=str(raw.get("name", name)),
        title=str(raw.get("title", name)),
        node_nm=node,
        energy_pj=energies,
        area_um2=areas,
        sram=_sram(name, sram, folder),
        sources=energy_sources | {"sram": str(sram.get("source", ""))} | area_sources,
    )


def _read(name: str) -> tuple[dict[str, Any], Path]:
    """YAML of a table, completed by what it extends, and the folder of its files."""
    path = DATA / f"energy_{name}.yaml" if name in technologies() else Path(name)
    if not path.is_file():
        raise InputError(
            f"technology {name!r} not found; have {', '.join(technologies())} "
            "(or give the path of a YAML file of the same form, see docs/energy.md)"
        )
    try:
        raw = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"technology file {path} cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise InputError(f"technology file {path} must be a mapping, got {type(raw).__name__}")
    if unknown := sorted(map(str, set(raw) - _KEYS)):
        raise InputError(f"{path}: unknown {', '.join(unknown)}; accepted: {', '.join(_KEYS)}")
    folder = path.parent
    if "extends" in raw:
        if raw["extends"] not in technologies() or raw["extends"] == name:
            raise InputError(f"{path}: extends must be one of {', '.join(technologies())}")
        base, base_folder = _read(raw["extends"])
        for part in ("energy_pj", "area_um2"):
            if isinstance(raw.get(part, {}), dict):
                raw[part] = base[part] | raw.get(part, {})
        folder = folder if "sram" in raw else base_folder
        raw = base | raw
    return raw, folder


def _values(
    name: str, part: str, raw: Any, keys: tuple[str, ...]
) -> tuple[dict[str, float], dict[str, str]]:
    """Numbers and sources of one part of a table, checked."""
    if not isinstance(raw, dict):
        raise InputError(f"technology {name!r}: {part} must be a mapping, got {raw!r}")
    if set(raw) != set(keys):
        wrong = ", ".join(map(str, sorted(set(raw) ^ set(keys), key=str)))
        raise InputError(
            f"technology {name!r}: {part} must have exactly {', '.join(keys)}; "
            f"missing or unknown: {wrong}"
        )
    values, sources = {}, {}
    for key in keys:
        entry = raw[key]
        value = entry.get("value") if isinstance(entry, dict) else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise InputError(
                f"technology {name!r}: {part}.{key} must be {{value: number >= 0, source: text}}, "
                f"got {entry!r}"
            )
        values[key] = float(value)
        sources[key] = str(entry.get("source", ""))
    return values, sources


def _sram(name: str, raw: Mapping[str, Any], folder: Path) -> SramTable | tuple[float, float]:
    """SRAM part of a table."""
    if raw.get("model") == "cacti":
        if not (isinstance(raw.get("file"), str) and isinstance(raw.get("cell"), str)):
            raise InputError(f"technology {name!r}: sram of model cacti needs file and cell")
        return SramTable.load(folder / raw["file"], raw["cell"])
    if raw.get("model") == "per_element":
        try:
            read_pj, write_pj = float(raw["read_pj"]), float(raw["write_pj"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"technology {name!r}: sram of model per_element needs read_pj and write_pj"
            ) from error
        return read_pj, write_pj
    raise InputError(
        f"technology {name!r}: sram.model must be cacti or per_element, got {raw.get('model')!r}"
    )
