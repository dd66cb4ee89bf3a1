"""The page of the experiment `bridge`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dcp_hw.bridge.lower import Lowered
from dcp_hw.bridge.models import Cost
from dcp_hw.bridge.reasons import MEANING, NotBridged
from dcp_hw.experiments.bridge import Forward, Reverse, Setting
from dcp_hw.experiments.bridge_report import Row, cycle_causes, energy_causes, how
from dcp_hw.metrics import Infeasible


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
        *(_both(there, back) if there and back else []),
        *(_forward_part(there) if there else []),
        *(_reverse_part(back) if back else []),
        "![cycles](bridge.png)",
        "",
        f"Made by `{command}`.",
        "",
    ]
    return "\n".join(lines)


def _both(there: Sequence[Forward], back: Sequence[Reverse]) -> list[str]:
    """Each space's best in both: sums over layers that have all four values."""
    ran = {one.layer.name: one for one in there if one.measured is not None}
    some = [
        (ran[one.layer.name], one)
        for one in back
        if one.layer.name in ran and isinstance(one.measured.honest, Cost)
    ]
    lines = [
        f"Each space's best in both, sums over the {len(some)} layers that have all values:",
        "",
        "| | honest cycles | honest nJ | RTL cycles | RTL nJ |",
        "|---|--:|--:|--:|--:|",
    ]
    pairs = {
        "best dataflow of the honest model": [(x.layer, x.honest, x.measured) for x, _ in some],
        "best program of the Tensorlib search": [
            (x.layer, x.measured.honest, x.measured) for _, x in some
        ],
    }
    for title, items in pairs.items():
        sums = [0.0] * 4
        for layer, honest, measured in items:
            assert isinstance(honest, Cost)
            assert measured is not None
            both = (honest, measured.cost)
            for n, value in enumerate(x for c in both for x in (c.cycles, c.energy_nj)):
                sums[n] += layer.count * value
        lines.append(f"| {title} | " + " | ".join(f"{value:,.0f}" for value in sums) + " |")
    return [*lines, ""]


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
    for word in ("as it is", "changed", "no"):
        some = [one for one in there if how(one) == word]
        part = sum(one.layer.macs * one.layer.count for one in some) / macs
        count = sum(one.layer.count for one in some)
        lines.append(f"| {word} | {len(some)} | {count} | {100 * part:.1f} % |")
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
        "| the same, DRAM as wide as both buses together "
        f"| {_total(some, lambda x: x.wide.cycles):,.0f} "
        f"| {_total(some, lambda x: x.wide.energy_nj):,.0f} |",
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
