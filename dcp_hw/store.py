"""Measurements kept for good: an append-only folder of Parquet parts.

A part is written beside and moved, and its name ends with the hash of its bytes: it is there
whole or not at all, and damage shows. Nothing is changed or removed; a measurement made twice
counts once.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dcp_hw.errors import InputError
from dcp_hw.process import cache_dir

FORMAT = "1"
_FORMAT_KEY = b"dcp_hw_store"
_HASH_DIGITS = 32

_TEXT = ("key", "kind", "layer", "operator", "profile", "memory", "design", "design_hash")
_TEXT += ("program_hash", "verilog_hash", "made_at")
_INTEGERS = ("seed", "predicted_cycles", "cycles")
_FLOATS = ("energy_nj", "energy_spread_nj")
_OBJECTS = ("layer_code", "design_code", "hardware", "versions", "predicted", "counters")
_OBJECTS += ("toggles", "table_nj", "parts_nj", "features")


class StoreError(InputError):
    """The store is empty, damaged, or not one of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One layer measured on one design.

    Attributes:
        key: hash of all that the result depends on.
        kind: `plain` (counters only) or `probed` (toggles counted as well).
        profile, seed: of the data.
        memory: of `dcp_hw.switching.MEMORIES`.
        layer_code: fields of the layer; design_code: the design.json.
        predicted, counters: counters by name, of the cycle model and of the hardware; the first
            five are cycles by cause.
        toggles: toggled bits by group; empty if not probed.
        table_nj: energy by part by the table of event prices, from the predicted counters.
        energy_nj, energy_spread_nj: measured, and what prices leave open; from toggles if probed.
        parts_nj: the same by part.
        features: of `dcp_hw.observations`, from the model alone.
        versions: of the tools; made_at: UTC.
    """

    key: str
    kind: str
    layer: str
    operator: str
    profile: str
    seed: int
    memory: str
    design: str
    design_hash: str
    program_hash: str
    verilog_hash: str
    predicted_cycles: int
    cycles: int
    energy_nj: float
    energy_spread_nj: float
    layer_code: Mapping[str, Any]
    design_code: Mapping[str, Any]
    hardware: Mapping[str, Any]
    versions: Mapping[str, str]
    predicted: Mapping[str, int]
    counters: Mapping[str, int]
    toggles: Mapping[str, int]
    table_nj: Mapping[str, float]
    parts_nj: Mapping[str, float]
    features: Mapping[str, float]
    made_at: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))

    def __post_init__(self) -> None:
        numbers = {
            "cycles": self.cycles,
            "predicted_cycles": self.predicted_cycles,
            "energy_nj": self.energy_nj,
        }
        for name, value in numbers.items():
            if not math.isfinite(value) or value <= 0:
                raise StoreError(
                    f"measurement of {self.layer} on {self.design}: {name} is {value}; "
                    "accepted: finite and > 0 (measure it again)"
                )
        for group in ("table_nj", "parts_nj", "features"):
            for name, value in getattr(self, group).items():
                if not math.isfinite(value):
                    raise StoreError(
                        f"measurement of {self.layer} on {self.design}: {group} {name} is {value}; "
                        "accepted: finite numbers (measure it again)"
                    )


def default_folder() -> Path:
    """Where `dcp-hw generate` keeps what it measures."""
    return cache_dir() / "store"


class Store:
    """A folder of parts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parts: dict[str, list[Record]] = {}

    def append(self, records: Iterable[Record]) -> int:
        """Number of records added: those whose key is not there yet."""
        import pyarrow.parquet as parquet

        known = self.keys()
        fresh = {r.key: r for r in records if r.key not in known}
        if not fresh:
            return 0
        buffer = io.BytesIO()
        parquet.write_table(_table(list(fresh.values())), buffer, compression="zstd")
        data = buffer.getvalue()
        self.folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(data).hexdigest()[:_HASH_DIGITS]
        path = self.folder / f"part-{time.time_ns():020d}-{digest}.parquet"
        aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        return len(fresh)

    def keys(self) -> set[str]:
        """Keys of all records; empty for a store that is not there.

        Raises: StoreError as `read`.
        """
        return {record.key for record in self._all()}

    def read(self, kind: str | None = None) -> list[Record]:
        """All records, oldest first, each key once.

        Args:
            kind: only these.
        Raises: StoreError for a store without such records, a damaged part, or a part that is
            not ours.
        """
        found = {r.key: r for r in self._all() if kind is None or r.kind == kind}
        if not found:
            what = f"{kind} measurements" if kind else "measurements"
            raise StoreError(
                f"{self.folder}: no {what}; make some with `dcp-hw collect` or `dcp-hw loop`"
            )
        return list(found.values())

    def _all(self) -> Iterator[Record]:
        if self.folder.exists() and not self.folder.is_dir():
            raise StoreError(f"{self.folder} is a file; accepted: the folder of a store")
        for path in sorted(self.folder.glob("part-*.parquet")):
            if path.name not in self._parts:
                self._parts[path.name] = _records(path)
            yield from self._parts[path.name]


def _table(records: list[Record]) -> Any:
    import pyarrow as pa

    kinds = {**dict.fromkeys(_INTEGERS, pa.int64()), **dict.fromkeys(_FLOATS, pa.float64())}
    columns = {
        f.name: pa.array(
            [
                json.dumps(dict(getattr(r, f.name)), sort_keys=True)
                if f.name in _OBJECTS
                else getattr(r, f.name)
                for r in records
            ],
            kinds.get(f.name, pa.string()),
        )
        for f in fields(Record)
    }
    return pa.table(columns).replace_schema_metadata({_FORMAT_KEY: FORMAT.encode()})


def _records(path: Path) -> list[Record]:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    digest = path.stem.rsplit("-", 1)[-1]
    if hashlib.sha256(data).hexdigest()[:_HASH_DIGITS] != digest:
        raise StoreError(
            f"{path} is damaged: its bytes are not those that were written (its name holds their "
            "hash); move it away to use the rest, or bring it back from a copy"
        )
    try:
        # from a Python file, threads of Arrow may outlive the read and abort the process at its end
        table = parquet.read_table(pa.BufferReader(data), use_threads=False)
        if (table.schema.metadata or {}).get(_FORMAT_KEY) != FORMAT.encode():
            raise StoreError(f"{path}: not a part of format {FORMAT} of a store of measurements")
        rows = table.to_pylist()
        return [
            Record(**{k: json.loads(v) if k in _OBJECTS else v for k, v in row.items()})
            for row in rows
        ]
    except (pa.ArrowInvalid, TypeError, ValueError) as error:
        raise StoreError(f"{path}: not a part of a store of measurements ({error})") from error
