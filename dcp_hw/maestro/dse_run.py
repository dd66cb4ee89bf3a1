"""A sweep in parts: each in a file with its hash, so that a stopped sweep goes on where it was."""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dcp_hw.errors import InputError
from dcp_hw.maestro.dse_part import Part, Setting, empty_part, merge, sweep_part
from dcp_hw.maestro.dse_space import TILE_AXES
from dcp_hw.process import note
from dcp_hw.progress import progress

PART_TILES = 64
"""Tiles of one part at most: a few seconds of work."""


@dataclass(frozen=True, slots=True)
class Done:
    """A finished sweep.

    Attributes:
        evaluations: distinct model evaluations over all parts.
        elapsed_s: of this run; `resumed` parts were there before.
    """

    total: Part
    evaluations: int
    elapsed_s: float
    cpu_s: float
    parts: int
    resumed: int


def run(setting: Setting, out: Path, *, threads: int) -> Done:
    """All designs of a setting; parts go to `out/parts`, and those already there are kept.

    Raises: InputError where `out` cannot be written.
    """
    started, cpu = time.perf_counter(), time.process_time()
    store = _Store(out / "parts", setting)
    slices = list(parts_of(setting))
    total, distinct = empty_part(setting), []
    missing = []
    for i in range(len(slices)):
        part = store.load(i)
        if part is None:
            missing.append(i)
        else:
            merge(total, part)
            distinct.append(part.arrays["distinct"])
    resumed = len(slices) - len(missing)
    if resumed:
        note(f"dse: {resumed} of {len(slices)} parts are there already")
    for part in _computed(setting, slices, missing, threads, store):
        merge(total, part)
        distinct.append(part.arrays["distinct"])
    points = len(np.unique(np.concatenate(distinct))) if distinct else 0
    return Done(
        total=total,
        evaluations=points * len(setting.space.noc_bw),
        elapsed_s=time.perf_counter() - started,
        cpu_s=time.process_time() - cpu,
        parts=len(slices),
        resumed=resumed,
    )


def parts_of(setting: Setting) -> Iterator[slice]:
    """Tiles of each part: those that differ in the last axes only, at most PART_TILES."""
    tiles = setting.space.shape[0]
    size = 1
    for name in reversed(TILE_AXES):
        if size * len(setting.space.tiles[name]) > PART_TILES:
            break
        size *= len(setting.space.tiles[name])
    return (slice(start, min(start + size, tiles)) for start in range(0, tiles, size))


def _computed(
    setting: Setting, slices: list[slice], missing: list[int], threads: int, store: _Store
) -> Iterator[Part]:
    """The missing parts, saved, as they finish; an interrupt gives up those not begun."""
    stop = threading.Event()

    def one(i: int) -> tuple[int, Part | None]:
        if stop.is_set():
            return i, None
        part = sweep_part(setting, slices[i])
        store.save(i, part)
        return i, part

    per_part = setting.space.designs // setting.space.shape[0]
    designs = sum(slices[i].stop - slices[i].start for i in missing) * per_part
    with (
        progress("dse: million designs", -(-designs // 1_000_000)) as advance,
        ThreadPoolExecutor(threads) as pool,
    ):
        done = shown = 0
        try:
            for future in as_completed([pool.submit(one, i) for i in missing]):
                i, part = future.result()
                if part is not None:
                    yield part
                done += (slices[i].stop - slices[i].start) * per_part
                if new := -(-done // 1_000_000) - shown:
                    advance(new)
                    shown += new
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


class _Store:
    """Files of parts; one that is missing, cut short, altered or of another setting is not read."""

    def __init__(self, folder: Path, setting: Setting) -> None:
        self.folder, self.key = folder, key_of(setting)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{folder} cannot be made ({error.strerror}); give another folder with --out"
            ) from None

    def _paths(self, i: int) -> tuple[Path, Path]:
        return self.folder / f"part-{i:05}.npz", self.folder / f"part-{i:05}.json"

    def save(self, i: int, part: Part) -> None:
        """Writes a part, then its hash; each beside its place first."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **part.arrays)
        data = buffer.getvalue()
        about = {"key": self.key, "sha256": hashlib.sha256(data).hexdigest()}
        contents = (data, json.dumps(about).encode())
        try:
            for path, content in zip(self._paths(i), contents, strict=True):
                aside = path.with_name(f".{path.name}.{os.getpid()}")
                aside.write_bytes(content)
                aside.replace(path)
        except OSError as error:
            raise InputError(f"{self.folder} cannot be written ({error.strerror})") from None

    def load(self, i: int) -> Part | None:
        """A part as saved, None if it has to be made."""
        path, about_path = self._paths(i)
        try:
            about = json.loads(about_path.read_text())
            data = path.read_bytes()
        except (OSError, ValueError):
            return None
        if about != {"key": self.key, "sha256": hashlib.sha256(data).hexdigest()}:
            return None
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return Part({name: arrays[name] for name in arrays.files})


def key_of(setting: Setting) -> str:
    """Hash of all that decides a sweep's result: settings, layers, prices, and the sources."""
    digest = hashlib.sha256(json.dumps(describe(setting), sort_keys=True).encode() + _sources())
    for name, values in asdict(setting.prices).items():
        digest.update(f"{name}{np.asarray(values).tobytes().hex()}".encode())
    return digest.hexdigest()


@cache
def _sources() -> bytes:
    """Hash of the sources that decide a sweep's result, as they were when the process began."""
    here, digest = Path(__file__).parent, hashlib.sha256()
    names = ("space", "price", "evaluate", "kernel", "front", "part")
    for path in sorted([*here.glob("honest_*.py"), *(here / f"dse_{name}.py" for name in names)]):
        digest.update(path.read_bytes())
    return digest.digest()


def describe(setting: Setting) -> dict[str, Any]:
    """A setting as JSON."""
    space = setting.space
    return {
        "style": space.style.name,
        "layerset": setting.layers.name,
        "layers": [
            {name: value for name, value in asdict(layer).items() if value is not None}
            for layer in setting.layers
        ],
        "area_mm2": setting.area_mm2,
        "power_mw": setting.power_mw,
        "clock_mhz": setting.clock_mhz,
        "technology": setting.table.name,
        "dram_bw": setting.dram_bw,
        "noc_latency": setting.noc_latency,
        "axes": {
            **{f"tile_{name}": list(space.tiles[name]) for name in TILE_AXES},
            **{
                name: list(getattr(space, name)) for name in ("pes", "noc_bw", "l1_bytes", "l2_kib")
            },
        },
        "designs": space.designs,
    }
