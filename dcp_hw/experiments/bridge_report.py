"""Tables and the page of the experiment `bridge`."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from dcp_hw.bridge.lower import Lowered
from dcp_hw.bridge.models import PARTS, TRAFFIC, Cost
from dcp_hw.bridge.reasons import MEANING, NotBridged
from dcp_hw.bridge.upward import raise_mapping
from dcp_hw.experiments.bridge import CAUSES, Forward, Measured, Reverse, Setting
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
        **_compat(one.compat),
        "lowered": _how(one),
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


def _how(one: Forward) -> str:
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


# --- the page --------------------------------------------------------------------------------


def page(setting: Setting, there: Sequence[Forward], back: Sequence[Reverse], command: str) -> str:
    """The tables as Markdown."""
    machine = setting.machine
    lines = [
        f"# {setting.layers.name}: dataflows of one space in the other",
        "",
        f"{len(setting.layers)} distinct layers, weighted by their count where sums are given. "
        f"{machine.pes} PEs; MAESTRO's machine has {machine.l1_size} bytes in a PE and "
        f"{machine.l2_size:,} in the L2, the accelerator {setting.hardware.sram_bytes:,} in all; "
        f"DRAM {machine.dram_bw} bytes per cycle in both directions together there, as many in "
        f"each here; {setting.hardware.technology}. Objective {setting.objective}. RTL: cycles "
        "counted by the simulated Verilog, all output values compared, energy from its counters.",
        "",
        *(_forward_part(there) if there else []),
        *(_reverse_part(back) if back else []),
        "![cycles](bridge.png)",
        "",
        f"Made by `{command}`.",
        "",
    ]
    return "\n".join(lines)


def _forward_part(there: Sequence[Forward]) -> list[str]:
    return [
        *("## MAESTRO to Tensorlib", "", *_shares(there), ""),
        *(*_forward_totals(there), "", *_forward_table(there), ""),
    ]


def _reverse_part(back: Sequence[Reverse]) -> list[str]:
    return [
        *("## Tensorlib to MAESTRO", "", *_reverse_totals(back), ""),
        *(*_reverse_table(back), ""),
    ]


def _shares(there: Sequence[Forward]) -> list[str]:
    """Layers lowered as they are, with changes and not, and what was in the way."""
    macs = sum(one.layer.macs * one.layer.count for one in there)
    lines = ["| lowered | layers | occurrences | MACs |", "|---|--:|--:|--:|"]
    for how in ("as it is", "changed", "no"):
        some = [one for one in there if _how(one) == how]
        part = sum(one.layer.macs * one.layer.count for one in some) / macs
        count = sum(one.layer.count for one in some)
        lines.append(f"| {how} | {len(some)} | {count} | {100 * part:.1f} % |")
    lines += [
        "",
        "| what no program keeps | changed | not lowered | meaning |",
        "|---|--:|--:|---|",
    ]
    changed = Counter(
        x for one in there if isinstance(one.lowered, Lowered) for x in one.lowered.changes
    )
    failed = Counter(one.lowered.kind for one in there if isinstance(one.lowered, NotBridged))
    for kind in MEANING:
        if changed[kind] or failed[kind]:
            lines.append(f"| {kind} | {changed[kind]} | {failed[kind]} | {MEANING[kind]} |")
    return lines


def _total(items: Iterable[Any], number: Callable[[Any], float]) -> float:
    return sum(one.layer.count * number(one) for one in items)


def _forward_totals(there: Sequence[Forward]) -> list[str]:
    """Sums over lowered layers, and where the difference comes from."""
    some = [one for one in there if one.measured is not None]
    honest = _total(some, lambda x: x.honest.cycles), _total(some, lambda x: x.honest.energy_nj)
    comparable = [one for one in some if isinstance(one.measured.honest, Cost)]
    lines = [
        f"Sums over the {len(some)} lowered layers:",
        "",
        "| | cycles | nJ |",
        "|---|--:|--:|",
        f"| honest model, dataflow as searched | {honest[0]:,.0f} | {honest[1]:,.0f} |",
    ]
    if len(comparable) == len(some):
        same = (
            _total(some, lambda x: x.measured.honest.cycles),
            _total(some, lambda x: x.measured.honest.energy_nj),
        )
        lines.append(f"| honest model, dataflow as it runs | {same[0]:,.0f} | {same[1]:,.0f} |")
    rtl = (
        _total(some, lambda x: x.measured.cost.cycles),
        _total(some, lambda x: x.measured.cost.energy_nj),
    )
    lines.append(f"| RTL | {rtl[0]:,.0f} | {rtl[1]:,.0f} |")
    lines.append(f"| RTL / honest | {rtl[0] / honest[0]:.3f} | {rtl[1] / honest[1]:.3f} |")
    causes = [(one, cycle_causes(one.honest, one.measured.honest, one.measured)) for one in some]
    energies = [(one, energy_causes(one.honest, one.measured)) for one in some]
    return [*lines, "", *_causes(causes, energies, honest)]


_WORDS = {
    "changed_tiles": "steps of changed lanes and tiles",
    "other_steps": "steps that the program adds or leaves out",
    "fill_drain": "array filled and drained, once an EXEC",
    "config": "CONFIG and LANES",
    "waiting": "waiting for transfers, beyond what the model waits",
    "dram_input_nj": "input moved",
    "dram_weight_nj": "weights moved",
    "dram_output_nj": "outputs moved",
    "dram_params_nj": "scale parameters, which the model lacks",
    "dram_commands_nj": "commands, which the model lacks",
    "dram_price_nj": "price of a DRAM byte",
    "memories_nj": "memories on chip",
    "logic_nj": "logic: MACs, registers, adders, requantisation",
    "leakage_nj": "leakage",
}


def _causes(
    cycles: list[tuple[Any, Row]], energies: list[tuple[Any, Row]], honest: tuple[float, float]
) -> list[str]:
    """Tables of what the RTL takes more, by cause, with its share of the model's value."""
    lines = []
    for title, pairs, whole in (
        ("cycles more than the model", cycles, honest[0]),
        ("nJ more than the model", energies, honest[1]),
    ):
        lines += [f"| {title} | sum | of the model's |", "|---|--:|--:|"]
        for name in pairs[0][1] if pairs else ():
            value = round(sum(one.layer.count * row[name] for one, row in pairs), 3)
            if name == "changed_tiles" and not value:
                continue
            share = 100 * value / whole
            lines.append(f"| {_WORDS[name]} | {value + 0.0:,.0f} | {share + 0.0:+.1f} % |")
        lines.append("")
    return lines[:-1]


def _forward_table(there: Sequence[Forward]) -> list[str]:
    lines = [
        "| layer | x | by | honest cycles | RTL | ratio | honest nJ | RTL | ratio | array "
        "| changes |",
        "|---|--:|---|--:|--:|--:|--:|--:|--:|---|---|",
    ]
    for one in there:
        head = f"| {one.layer.name} | {one.layer.count} | {one.method} | {one.honest.cycles:,} "
        if one.measured is None or not isinstance(one.lowered, Lowered):
            why = one.lowered.kind if isinstance(one.lowered, NotBridged) else ""
            lines.append(head + f"| | | {one.honest.energy_nj:,.0f} | | | | not lowered: {why} |")
            continue
        cost, design = one.measured.cost, one.measured.design
        lines.append(
            head + f"| {cost.cycles:,} | {cost.cycles / one.honest.cycles:.2f} "
            f"| {one.honest.energy_nj:,.0f} | {cost.energy_nj:,.0f} "
            f"| {cost.energy_nj / one.honest.energy_nj:.2f} "
            f"| {design.stt['label']} {design.rows} x {design.cols} "
            f"| {', '.join(one.lowered.changes)} |"
        )
    return lines


def _reverse_totals(back: Sequence[Reverse]) -> list[str]:
    """Sums over layers that the honest model can state, and where the difference comes from."""
    some = [one for one in back if isinstance(one.measured.honest, Cost)]
    if not some:
        return ["No program can be stated as a dataflow."]
    honest = (
        _total(some, lambda x: x.measured.honest.cycles),
        _total(some, lambda x: x.measured.honest.energy_nj),
    )
    rtl = (
        _total(some, lambda x: x.measured.cost.cycles),
        _total(some, lambda x: x.measured.cost.energy_nj),
    )
    runs = [one for one in some if not isinstance(one.measured.compat, Infeasible)]
    lines = [
        f"{len(some)} of {len(back)} programs have a dataflow; {len(runs)} run in MAESTRO too "
        "(whole filters in a PE; its energy has other constants, so only its cycles are shown).",
        "",
        "| | cycles | nJ |",
        "|---|--:|--:|",
        f"| RTL | {rtl[0]:,.0f} | {rtl[1]:,.0f} |",
        f"| honest model | {honest[0]:,.0f} | {honest[1]:,.0f} |",
        f"| RTL / honest | {rtl[0] / honest[0]:.3f} | {rtl[1] / honest[1]:.3f} |",
    ]
    if runs:
        theirs = _total(runs, lambda x: x.measured.compat[0])
        own = _total(runs, lambda x: x.measured.cost.cycles)
        lines += ["", f"RTL / MAESTRO's cycles on the {len(runs)}: {own / theirs:.3f}."]
    models = [(one, one.measured.honest, one.measured) for one in some]
    cycles = [(one, cycle_causes(same, same, measured)) for one, same, measured in models]
    energies = [(one, energy_causes(same, measured)) for one, same, measured in models]
    return [*lines, "", *_causes(cycles, energies, honest)]


def _reverse_table(back: Sequence[Reverse]) -> list[str]:
    lines = [
        "| layer | x | design | RTL cycles | honest | MAESTRO | RTL nJ | honest | notes |",
        "|---|--:|---|--:|--:|--:|--:|--:|---|",
    ]
    for one in back:
        m = one.measured
        same = m.honest if isinstance(m.honest, Cost) else None
        theirs = "" if isinstance(m.compat, Infeasible) else f"{m.compat[0]:,.0f}"
        notes = m.raised.reason if isinstance(m.raised, NotBridged) else "; ".join(m.raised.notes)
        lines.append(
            f"| {one.layer.name} | {one.layer.count} | {m.design.name} | {m.cost.cycles:,} "
            f"| {f'{same.cycles:,}' if same else ''} | {theirs} | {m.cost.energy_nj:,.0f} "
            f"| {f'{same.energy_nj:,.0f}' if same else ''} | {notes} |"
        )
    return lines
