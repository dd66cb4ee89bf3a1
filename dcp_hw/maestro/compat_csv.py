"""MAESTRO's own CSV: names, order, spaces and digits as its binary writes them.

Source: maestro-project/maestro commit 4eb08d1, DSE_csv_writer.
"""

from __future__ import annotations

import math
from pathlib import PurePosixPath

from dcp_hw.maestro.compat import KINDS, CompatResult, MaestroHardware, evaluate, ratio
from dcp_hw.maestro.compat_columns import columns, energy_nj
from dcp_hw.maestro.layer import tensors
from dcp_hw.maestro.syntax import MappingFile
from dcp_hw.metrics import Infeasible

Value = str | int | float

_NAMES = (
    *("Neural Network Name", "Layer Number", "NumPEs", "Runtime (Cycles)"),
    *("Activity count-based Energy (nJ)", "Throughput (MACs/Cycle)"),
    *("Throughput Per Energy (GMACs/s*J)", "Area", "Power", "NoC BW Req (Elements/cycle)"),
    *("Avg BW Req", "Peak BW Req", "Vector Width", "Offchip BW Req (Elements/cycle)"),
    *(" L2 SRAM Size Req (Bytes)", "L1 SRAM Size Req (Bytes)", "Multicasting Factor (Weight)"),
    *("Multicasting Factor (Input)", "Num Total Input Pixels", "Num Total Weight Pixels"),
    *("Ops/J", "Num MACs", "PE power", "L1 power", "L2 power", "NOC power"),
)
_ACCESSES = ("l1 read", "l1 write", "l2 read", "l2 write", "reuse factor")
_DELAYS = (
    "Ingress Delay (Min), Ingress Delay (Max), Ingress Delay (Avg), "
    "Egress Delay (Min), Egress Delay (Max),  Egress Delay (Avg),"
    "Compute Delay (Min), Compute Delay (Min), Compute Delay (Avg),"
)
_LAST = "Avg number of utilized PEs, Arithmetic Intensity"


def header() -> str:
    """The first line of the CSV."""
    accesses = "".join(f"{', '.join(f'{kind} {x}' for x in _ACCESSES)}," for kind in KINDS)
    return ", ".join(_NAMES) + ", " + accesses + _DELAYS + _LAST


def names() -> tuple[str, ...]:
    """The columns' names; MAESTRO calls the compute delay's maximum `(Min)` too."""
    return tuple(name.strip() for name in header().split(","))


def evaluate_file(file: MappingFile, hardware: MaestroHardware) -> list[CompatResult | Infeasible]:
    """The result of each layer. MAESTRO itself prints nothing if one of them is infeasible."""
    return [
        evaluate(block.layer, block.mapping, hardware, batched=file.batched(block.layer.type))
        for block in file.layers
    ]


def rows(file: MappingFile, results: list[CompatResult | Infeasible]) -> list[list[Value]]:
    """Values of the CSV's lines, one per feasible layer.

    The energy of a mapping of several levels holds the L1 accesses of the layer before it.
    """
    lines = []
    before: list[tuple[int, int]] = []
    for block, result in zip(file.layers, results, strict=True):
        if isinstance(result, Infeasible):
            continue
        energy = energy_nj(result, before)
        counts = result.counts
        before = list(zip(counts.down_read, counts.down_write, strict=True))
        lines.append(_row(file, block.layer.name, result, energy))
    return lines


def _row(file: MappingFile, name: str, result: CompatResult, energy: float) -> list[Value]:
    row, counts, hardware = columns(result), result.counts, result.hardware
    batched = file.batched(result.layer.type)
    kind, size = tensors(result.layer.type, batched=batched), result.layer.size
    pixels = [math.prod(size.get(dim, 1) for dim in dims) for dims in (kind.input, kind.filter)]
    values: list[Value] = [
        *(file.network, name, hardware.pes, counts.runtime, energy, row["throughput"]),
        *(ratio(row["throughput"], energy) * 1e9, row["area"], row["power"], row["peak_bw"]),
        *(row["avg_bw"], row["peak_bw"], hardware.simd, row["offchip_bw_req"], row["l2_req"]),
        *(row["l1_req"], *(ratio(counts.down_write[i], counts.up_read[i]) for i in (1, 0))),
        *(*pixels, ratio(counts.macs, energy) * 1e9, counts.macs),
        *(row[f"{part}_power"] for part in ("pe", "l1", "l2", "noc")),
    ]
    for i, tensor in enumerate(KINDS):
        values += [row[f"{tensor}_{store}"] for store in ("l1r", "l1w", "l2r", "l2w")]
        values.append(ratio(counts.down_read[i], counts.down_write[i]))
    for delay in ("ing", "egr", "cmp"):
        values += [row[f"{delay}_{what}"] for what in ("min", "max", "avg")]
    return [*values, counts.active, counts.intensity]


def text(value: Value) -> str:
    """A value as C++ prints it: six digits of a float."""
    if isinstance(value, float):
        return "-nan" if math.isnan(value) else f"{value:.6g}"
    return str(value)


def line(values: list[Value]) -> str:
    """One line of the CSV."""
    cells = [text(value) for value in values]
    return ",".join(cells[:26]) + "," + ", ".join(cells[26:])


def csv_name(path: str) -> str:
    """Name of the CSV that MAESTRO writes for a mapping file, in the current folder."""
    for _ in range(2):
        path = path[path.find("/") + 1 :]
    return PurePosixPath(path.split(".", 1)[0] + ".csv").as_posix()
