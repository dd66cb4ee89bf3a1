"""Making a data set: a folder of Parquet parts, resumed where an earlier run was stopped."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dcp_hw.maestro import dataset_plan as plans
from dcp_hw.maestro.dataset_files import Folder, opened
from dcp_hw.maestro.dataset_plan import Ground, Plan
from dcp_hw.maestro.dataset_recipes import Recipes
from dcp_hw.maestro.dataset_rows import (
    HARDWARE,
    LAYER,
    SCHEMA,
    Layout,
    part_bytes,
    table_bytes,
)
from dcp_hw.progress import progress
from dcp_hw.technology import DATA

Spread = Callable[[Plan, list[int]], Iterator[tuple[int, bytes]]]
"""Makes parts somewhere: (number, bytes) as they get ready."""

_LAYERS, _MACHINES, _RECIPES = "layers.parquet", "hardware.parquet", "dataflows.parquet"


@dataclass(frozen=True, slots=True)
class Made:
    """What a run did.

    Attributes:
        made: parts of this run; kept: parts that were there.
    """

    path: Path
    rows: int
    feasible: int
    made: int
    kept: int
    size: int  # bytes of all files


def make(
    out: Path,
    *,
    layers: int,
    dataflows: int,
    seed: int,
    threads: int = 1,
    spread: Spread | None = None,
) -> Made:
    """Make a data set, or what is missing of it.

    Args:
        spread: makes the parts; by default threads of this process.
    Raises: InputError for numbers that cannot be, or a folder that holds something else.
    """
    ground = plans.draw(layers, dataflows, seed)
    layout = Layout(layers, dataflows)
    names = [f"part-{number:05d}.parquet" for number in range(layout.parts)]
    with opened(out, _key(ground)) as folder:
        kept = sum(name in folder.known for name in names)
        missing = [i for i, name in enumerate(names) if name not in folder.known]
        if missing or set(folder.known) != set(folder.expected):
            plan = _planned(folder, ground, threads)
            with progress("parts of the data set", layout.parts) as advance:
                advance(kept)
                for number, content in (spread or _threads(threads))(plan, missing):
                    folder.write(names[number], content)
                    advance()
            folder.finish(_facts(plan, layout))
        feasible = sum(_feasible(out / name) for name in names)
    return Made(
        path=out,
        rows=layers * dataflows,
        feasible=feasible,
        made=len(missing),
        kept=kept,
        size=sum(path.stat().st_size for path in out.iterdir()),
    )


def _threads(number: int) -> Spread:
    """Parts made by threads of this process."""

    def spread(plan: Plan, parts: list[int]) -> Iterator[tuple[int, bytes]]:
        pool = ThreadPoolExecutor(number)
        try:
            running = {pool.submit(part_bytes, plan, part): part for part in parts}
            for done in as_completed(running):
                yield running.pop(done), done.result()
        finally:
            pool.shutdown(cancel_futures=True)

    return spread


def _feasible(path: Path) -> int:
    """Rows of a part that have a latency; from its statistics."""
    found = pq.ParquetFile(path).metadata
    column = found.schema.names.index("latency_cycles")
    groups = (found.row_group(i).column(column) for i in range(found.num_row_groups))
    return found.num_rows - sum(group.statistics.null_count for group in groups)


# --- what a data set follows from -------------------------------------------------------


def _key(ground: Ground) -> dict[str, Any]:
    """Settings, versions and sources; equal keys give equal files."""
    return {
        "space": "maestro",
        "layers": len(ground.layers),
        "dataflows": ground.dataflows,
        "seed": ground.seed,
        "technology": plans.TECHNOLOGY,
        "clock_mhz": plans.CLOCK_MHZ,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("dcp-hw", "numpy", "numba", "pyarrow")},
        },
        "sources": _sources(),
    }


@lru_cache(maxsize=1)  # what runs is what was there at first
def _sources() -> str:
    """A hash of the model, of the sampling, and of the tables that they read."""
    here = Path(__file__).parent
    files = [*here.glob("honest_*.py"), *here.glob("dataset_*.py"), plans.LAYERS_CSV]
    files += [*DATA.glob("energy_*.yaml"), *DATA.glob("sram_*.csv"), DATA.parent / "technology.py"]
    unused = ("check", "interpreter", "batch", "torch")
    left_out = {"dataset_cli.py", *(f"honest_{name}.py" for name in unused)}
    found = hashlib.sha256()
    for path in sorted(path for path in files if path.name not in left_out):
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def _planned(folder: Folder, ground: Ground, threads: int) -> Plan:
    """The plan; its tables are read from the folder, or made and written there."""
    if _LAYERS not in folder.known:
        folder.write(_LAYERS, table_bytes(_layer_table(ground)))
    if _MACHINES not in folder.known:
        columns = dict(zip(HARDWARE, ground.machines.T, strict=True))
        table = pa.table({"hardware_id": np.arange(len(ground.machines)), **columns})
        folder.write(_MACHINES, table_bytes(table))
    content = folder.read(_RECIPES)
    if content is not None:
        return _plan_of(ground, pq.read_table(pa.BufferReader(content), use_threads=False))
    with progress("probes for dataflows", plans.PROBES) as advance:
        plan = plans.choose(ground, threads=threads, advance=advance)
    folder.write(_RECIPES, table_bytes(_recipe_table(plan)))
    return plan


def _layer_table(ground: Ground) -> pa.Table:
    """One row per layer."""
    codes = np.array([plans.coded(layer) for layer in ground.layers])
    return pa.table(
        {
            "layer_id": np.arange(len(ground.layers)),
            "name": [layer.name for layer in ground.layers],
            **dict(zip(LAYER, codes.T, strict=True)),
            "macs": [layer.macs for layer in ground.layers],
            "count": [layer.count for layer in ground.layers],
            "split": ground.layer_split,
        }
    )


def _recipe_table(plan: Plan) -> pa.Table:
    """One row per recipe; arrays as lists."""
    n = len(plan.recipes)
    arrays = {f.name: getattr(plan.recipes, f.name) for f in fields(Recipes)}
    columns = {name: list(a.reshape(n, -1)) for name, a in arrays.items() if a.ndim > 1}
    columns |= {name: a for name, a in arrays.items() if a.ndim == 1}
    ids = {"dataflow_id": np.arange(n), "kind": plan.kind, "split": plan.split}
    return pa.table({**ids, **columns})


def _plan_of(ground: Ground, table: pa.Table) -> Plan:
    """The plan of a table of recipes; inverse of `_recipe_table`."""
    shapes = {"share": (-1, 2), "spread": (-1,), "fitted": (-1,)}
    arrays = {
        f.name: np.array(table[f.name].to_pylist()).reshape(shapes.get(f.name, (-1, 3, 6)))
        for f in fields(Recipes)
    }
    return Plan(
        ground=ground,
        recipes=Recipes(**arrays),
        kind=table["kind"].to_numpy(),
        split=table["split"].to_numpy(),
    )


def _facts(plan: Plan, layout: Layout) -> dict[str, Any]:
    """What the manifest says besides the key and the hashes."""
    splits = {
        name: {split: np.flatnonzero(values == i).tolist() for i, split in enumerate(plans.SPLITS)}
        for name, values in (("layer", plan.ground.layer_split), ("dataflow", plan.split))
    }
    return {
        "format": 1,
        "rows": len(plan.ground.layers) * plan.ground.dataflows,
        "parts": layout.parts,
        "layers_per_part": layout.step,
        "columns": {name: str(kind) for name, kind in zip(SCHEMA.names, SCHEMA.types, strict=True)},
        "splits": plans.SPLITS,
        "kinds": plans.KINDS,
        "split_members": splits,
    }
