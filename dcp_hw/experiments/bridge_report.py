"""Rows, CSV and mapping files of the experiment `bridge`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dcp_hw.bridge.lower import Lowered
from dcp_hw.bridge.models import PARTS, TRAFFIC, Cost
from dcp_hw.bridge.reasons import NotBridged
from dcp_hw.bridge.upward import raise_mapping
from dcp_hw.experiments.bridge import CAUSES, Forward, Measured, Reverse
from dcp_hw.maestro.encoding import maestro_layer
from dcp_hw.maestro.mapping_file import dump_mapping
from dcp_hw.maestro.syntax import MappingFile
from dcp_hw.metrics import Infeasible

Row = dict[str, Any]


def cycle_causes(model: Cost, same: Cost | Infeasible, measured: Measured) -> Row:
    """What a measured layer takes more than a model says, in cycles; the causes add up.

    Args:
        model: of the dataflow that was asked for; same: of the one that runs.
    """
    counters = measured.counters
    steps = same.steps if isinstance(same, Cost) else model.steps
    waits = counters["wait_load"] + counters["wait_store"]
    return {
        "changed_tiles": steps - model.steps,
        "other_steps": counters["compute"] - steps,
        "fill_drain": counters["fill_drain"],
        "config": counters["config"],
        "waiting": waits - (model.cycles - model.steps),
    }


def energy_causes(model: Cost, measured: Measured) -> Row:
    """What a measured layer takes more than a model says, in nJ; DRAM by what is moved."""
    cost = measured.cost
    per_byte = cost.parts_nj["dram"] / sum(cost.dram.values())
    moved = {f"dram_{x}_nj": (cost.dram[x] - model.dram[x]) * per_byte for x in TRAFFIC}
    price = cost.parts_nj["dram"] - model.parts_nj["dram"] - sum(moved.values())
    rest = {f"{x}_nj": cost.parts_nj[x] - model.parts_nj[x] for x in PARTS[1:]}
    return moved | {"dram_price_nj": price} | rest


def forward_row(one: Forward) -> Row:
    """A line of forward.csv; figures per occurrence."""
    row: Row = {
        "layer": one.layer.name,
        "count": one.layer.count,
        "macs": one.layer.macs,
        "method": one.method,
        "honest_cycles": one.honest.cycles,
        "honest_nj": one.honest.energy_nj,
        "honest_steps": one.honest.steps,
        "honest_cycles_both_buses": one.wide.cycles,
        **_compat(one.compat),
        "lowered": how(one),
        "in_the_way": one.strict or "",
    }
    if isinstance(one.lowered, Lowered):
        assert one.measured is not None
        row |= {"changes": " ".join(one.lowered.changes), "why": ""}
        row |= _program(one.measured)
        row |= {f"more_{k}": v for k, v in cycle_causes(
            one.honest, one.measured.honest, one.measured).items()}  # fmt: skip
        row |= {f"more_{k}": v for k, v in energy_causes(one.honest, one.measured).items()}
    else:
        row |= {"changes": "", "why": one.lowered.reason}
    return row


def reverse_row(one: Reverse) -> Row:
    """A line of reverse.csv; figures per occurrence."""
    measured, same = one.measured, one.measured.honest
    row: Row = {"layer": one.layer.name, "count": one.layer.count, "macs": one.layer.macs}
    row |= _program(measured)
    row["why"] = measured.raised.reason if isinstance(measured.raised, NotBridged) else ""
    if isinstance(same, Cost):
        causes = cycle_causes(same, same, measured)
        row |= {f"more_{k}": v for k, v in causes.items()}
        row |= {f"more_{k}": v for k, v in energy_causes(same, measured).items()}
    return row


def how(one: Forward) -> str:
    """Whether a dataflow was lowered: as it is, changed, or no."""
    if isinstance(one.lowered, NotBridged):
        return "no"
    return "changed" if one.lowered.changes else "as it is"


def _compat(found: tuple[float, float] | Infeasible) -> Row:
    if isinstance(found, Infeasible):
        return {"compat_cycles": "", "compat_nj": "", "compat_why": found.reason}
    return {"compat_cycles": found[0], "compat_nj": found[1], "compat_why": ""}


def _program(measured: Measured) -> Row:
    """What ran, and what both models say of it."""
    design, mapping, cost, same = measured.design, measured.mapping, measured.cost, measured.honest
    row: Row = {
        "design": design.name,
        "label": design.stt["label"],
        "T": design.stt["T"],
        "rows": design.rows,
        "cols": design.cols,
        "axis1": " ".join(f"{loop}{n}" for loop, n in mapping.axis1),
        "axis2": " ".join(f"{loop}{n}" for loop, n in mapping.axis2),
        "steps": f"k{mapping.kt} c{mapping.ct} y{mapping.yt} x{mapping.xt}",
        "order": mapping.order,
        "tiles": mapping.tiles,
        "execs": measured.execs,
        "rtl_cycles": cost.cycles,
        "rtl_nj": cost.energy_nj,
        "compute": measured.counters["compute"],
        **{cause: measured.counters[cause] for cause in CAUSES},
        **{f"rtl_{part}_nj": cost.parts_nj[part] for part in PARTS},
        **{f"rtl_{x}_bytes": cost.dram[x] for x in TRAFFIC},
        "same_honest_cycles": same.cycles if isinstance(same, Cost) else "",
        "same_honest_nj": same.energy_nj if isinstance(same, Cost) else "",
    }
    if isinstance(same, Cost):
        row |= {f"same_{part}_nj": same.parts_nj[part] for part in PARTS}
        row |= {f"same_{x}_bytes": same.dram[x] for x in TRAFFIC}
    row |= {f"same_{key}": text for key, text in _compat(measured.compat).items()}
    raised = measured.raised
    row["notes"] = "; ".join(raised.notes) if not isinstance(raised, NotBridged) else ""
    return row


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write rows as CSV; a column that a row lacks is empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, names, lineterminator="\n", restval="")
        out.writeheader()
        out.writerows({k: _cell(v) for k, v in row.items()} for row in rows)


def _cell(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def mapping_files(there: Sequence[Forward], back: Sequence[Reverse]) -> dict[str, str]:
    """Name -> text of MAESTRO mapping files: the best dataflows, and those of the programs."""
    found = {"forward.m": [one.dataflow.to_maestro(maestro_layer(one.layer)) for one in there]}
    raised = [
        raise_mapping(
            one.layer,
            one.measured.design,
            one.measured.mapping,
            whole_filters=True,
            most_levels=None,
        )
        for one in back
    ]
    found["reverse.m"] = [
        one.dataflow.to_maestro(maestro_layer(one.layer))
        for one in raised
        if not isinstance(one, NotBridged)
    ]
    return {name: dump_mapping(MappingFile.of(pairs)) for name, pairs in found.items() if pairs}
