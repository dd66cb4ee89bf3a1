"""The rows of a data set: one part, evaluated, as the bytes of a Parquet file."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dcp_hw.maestro.audit_bounds import Part, energy_floor_nj
from dcp_hw.maestro.dataset_plan import (
    CLOCK_MHZ,
    TECHNOLOGY,
    Plan,
    bound_cycles,
    coded,
    evaluated,
    nanojoules,
)
from dcp_hw.maestro.dataset_recipes import Integers, apply
from dcp_hw.maestro.encoding import CODE
from dcp_hw.maestro.honest_count import L2_REQUIRED, REQUIRED, SHARED_REQUIRED
from dcp_hw.maestro.honest_energy import HonestEnergy
from dcp_hw.maestro.honest_fast import FEASIBLE, evaluate_batch
from dcp_hw.technology import load_technology
from dcp_hw.workload import Layer

_ROWS = 40_000  # of one part, about

LAYER = (*CODE, "stride", "padding")
DATAFLOW = tuple(
    f"level{level}_{row}_{part}"
    for level in range(3)
    for row in ("parallel", *(f"loop{place}" for place in range(6)))
    for part in ("dim", "size")
)
"""The 42 numbers of a dataflow's code (3, 7, 2), in its order."""
HARDWARE = ("pes", "l1_size", "l2_size", "noc_bw", "noc_latency", "dram_bw")
PARTS = tuple(field.name for field in fields(HonestEnergy))
ENERGY = tuple(f"energy_{part}_nj" for part in PARTS)

_TYPES: dict[str, pa.DataType] = (
    dict.fromkeys(("layer_id", "dataflow_id", "hardware_id"), pa.int16())
    | dict.fromkeys(("layer_split", "dataflow_split", "dataflow_kind"), pa.int8())
    | dict.fromkeys(LAYER, pa.int16())
    | {name: pa.int8() if name.endswith("dim") else pa.int16() for name in DATAFLOW}
    | dict.fromkeys(HARDWARE, pa.int32())
    | {"macs": pa.int64(), "bound_cycles": pa.int64(), "bound_energy_nj": pa.float32()}
    | {"reason": pa.int8(), "latency_cycles": pa.int64(), "energy_nj": pa.float32()}
    | dict.fromkeys((*ENERGY, "power_mw"), pa.float32())
    | dict.fromkeys(("l2_required", "level0_required", "level1_required"), pa.int32())
    | {"pe_required": pa.int32(), "shared_required": pa.int64()}
)
SCHEMA = pa.schema(list(_TYPES.items()))


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows fall into parts: some layers with all their dataflows each."""

    layers: int
    dataflows: int

    @property
    def step(self) -> int:
        """Layers of one part."""
        return max(1, min(_ROWS // self.dataflows, -(-self.layers // 8)))

    @property
    def parts(self) -> int:
        """Number of parts."""
        return -(-self.layers // self.step)

    def layers_of(self, part: int) -> range:
        """The layers of a part."""
        return range(part * self.step, min((part + 1) * self.step, self.layers))


def part_bytes(plan: Plan, part: int) -> bytes:
    """The Parquet file of a part; equal for equal plans."""
    ground = plan.ground
    layout = Layout(len(ground.layers), ground.dataflows)
    columns = [_columns(plan, layer) for layer in layout.layers_of(part)]
    joined = {name: np.concatenate([one[name] for one in columns]) for name in _TYPES}
    infeasible = joined["reason"] != FEASIBLE
    blank = {"latency_cycles", "energy_nj", "power_mw", *ENERGY}
    arrays = [
        pa.array(joined[name], kind, mask=infeasible if name in blank else None)
        for name, kind in _TYPES.items()
    ]
    return table_bytes(pa.Table.from_arrays(arrays, schema=SCHEMA))


def table_bytes(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", compression_level=3)
    return sink.getvalue().to_pybytes()


def _columns(plan: Plan, number: int) -> dict[str, NDArray[Any]]:
    """All columns of one layer with every dataflow."""
    ground, n = plan.ground, plan.ground.dataflows
    layer, which = ground.layers[number], ground.machines_of(number)
    row, machines = np.array([evaluated(layer)]), ground.machines[which]
    mappings = apply(plan.recipes, np.repeat(row, n, axis=0), machines)
    batch = evaluate_batch(row, machines, mappings)
    parts = nanojoules(batch)
    cycles = np.nan_to_num(batch.cycles, nan=1)
    return {
        "layer_id": np.full(n, number),
        "dataflow_id": np.arange(n),
        "hardware_id": which,
        "layer_split": np.full(n, ground.layer_split[number]),
        "dataflow_split": plan.split,
        "dataflow_kind": plan.kind,
        **{name: np.full(n, value) for name, value in zip(LAYER, coded(layer), strict=True)},
        **dict(zip(DATAFLOW, codes(mappings).reshape(n, -1).T, strict=True)),
        **dict(zip(HARDWARE, machines.T, strict=True)),
        "macs": np.full(n, layer.macs),
        "bound_cycles": bound_cycles(layer, machines),
        "bound_energy_nj": np.full(n, _bound_energy_nj(layer)),
        "reason": batch.reason,
        "latency_cycles": cycles.astype(np.int64),
        "energy_nj": parts["total"],
        **{f"energy_{part}_nj": parts[part] for part in PARTS},
        "power_mw": parts["total"] / (cycles / CLOCK_MHZ),  # nJ / us
        "l2_required": batch.counts[:, L2_REQUIRED],
        "level0_required": batch.counts[:, REQUIRED],
        "level1_required": batch.counts[:, REQUIRED + 1],
        "pe_required": batch.counts[:, REQUIRED + 2],
        "shared_required": batch.counts[:, SHARED_REQUIRED],
    }


def _bound_energy_nj(layer: Layer) -> float:
    """Energy of the MACs and of the compulsory traffic."""
    into = layer.input_bytes + layer.weight_bytes
    table = load_technology(TECHNOLOGY)
    return energy_floor_nj(layer.macs, into, layer.output_bytes, table, frozenset(Part))


# --- codes and what is evaluated --------------------------------------------------------


def codes(mappings: Integers) -> Integers:
    """Dataflow codes `n x 3 x 7 x 2` of mappings `n x 3 x LEVEL_COLUMNS`."""
    code = np.empty((*mappings.shape[:2], 7, 2), dtype=np.int64)
    order = mappings[:, :, 2:8]
    code[:, :, 0, 0], code[:, :, 0, 1] = mappings[:, :, 1], mappings[:, :, 0]
    code[:, :, 1:, 0] = order
    code[:, :, 1:, 1] = np.take_along_axis(mappings[:, :, 8:], order, axis=2)
    return code


def mappings_of(code: NDArray[np.integer[Any]]) -> Integers:
    """Mappings of dataflow codes; inverse of `codes`."""
    mappings = np.empty((*code.shape[:2], 14), dtype=np.int64)
    mappings[:, :, 1], mappings[:, :, 0] = code[:, :, 0, 0], code[:, :, 0, 1]
    mappings[:, :, 2:8] = code[:, :, 1:, 0]
    np.put_along_axis(mappings[:, :, 8:], mappings[:, :, 2:8], code[:, :, 1:, 1], axis=2)
    return mappings


def layers_of(code: NDArray[np.integer[Any]]) -> Integers:
    """Layer rows as `evaluate_batch` takes them, of codes with stride and padding (`n x 9`)."""
    k, c, y, x, r, s, kind, stride, padding = code.astype(np.int64).T
    product = kind == 3  # K C Y hold M N K
    rows, columns = (y - r) // stride + 1, (x - s) // stride + 1
    one = np.ones_like(k)
    out = [
        np.where(product, c, k),
        np.where(product, y, c),
        np.where(product, k, rows),
        columns,
        *(r, s, stride, padding, kind == 2),
        np.where(product, k, y - 2 * padding),
        np.where(product, one, x - 2 * padding),
    ]
    return np.column_stack(out)
