"""Fig. 11 of the DCP paper, measured: fixed designs against well-known dataflows, on RTL.

Every distinct layer of every network runs on the Verilog of every accelerator; figures are sums
over a network, each layer weighted by how often it occurs.
"""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dcp_hw import flow
from dcp_hw.errors import CheckFailed
from dcp_hw.experiments.costs import markdown_table, number
from dcp_hw.hardware import Hardware
from dcp_hw.process import note
from dcp_hw.workload import LayerSet

PICTURES = ("fig_totals.png", "fig_latency.png", "fig_energy.png")
RUNS = "runs"
"""Folder of the reports, which the measurements' cache makes again quickly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRow:
    """A network on an accelerator.

    Attributes:
        cycles, energy_nj, edp: None where a layer cannot run; EDP in cycles x nJ.
        bound_ratio: cycles over the sum of the layers' bounds.
        search: how the design was chosen; empty for an example.
        edp_ratio: EDP over that of the network's first fixed design.
        compared, mismatches: output words of all distinct layers.
        unpredicted: layers whose measured cycles are not the predicted ones.
    """

    network: str
    accelerator: str
    mode: str
    search: str
    label: str
    layers: int
    cycles: int | None
    bound_ratio: float | None
    energy_nj: float | None
    edp: float | None
    edp_ratio: float | None
    area_mm2: float
    compared: int
    mismatches: int
    unpredicted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPlan:
    """What is measured; a fixed design by each of the methods in `searches`."""

    networks: tuple[LayerSet, ...]
    hardware: Hardware
    objective: str
    searches: tuple[str, ...]
    seed: int = 0


def run(plan: MeasuredPlan, out: Path, command: str) -> list[MeasuredRow]:
    """The table; writes it, its layers and the pictures of the reports to `out`.

    Raises: CheckFailed where a word differs or a prediction fails, after all files are written.
    """
    table: list[MeasuredRow] = []
    layers: list[dict[str, Any]] = []
    wrong: list[str] = []
    networks = [network.name for network in plan.networks]
    for network in plan.networks:
        edp = None
        for search in plan.searches:
            first = search == plan.searches[0]
            report, found, folder = _measured(plan, network, search, examples=first)
            wrong += [f"{network.name}: {text}" for text in found]
            edp = edp or next((t["edp"] for t in report["totals"] if t["mode"] == "fixed"), None)
            table += network_rows(network.name, search, report, edp)
            for row in report["layers"]:
                by = search if row["mode"] == "fixed" else ""
                layers.append({"network": network.name, "search": by} | row)
            if first:
                _copy_pictures(folder, out, network.name)
        table.sort(key=lambda row: (networks.index(row.network), row.mode == "example"))
        _write_tables(out, table, layers)
        (out / "fig11.md").write_text(_page(plan, table, command), encoding="utf-8")
        note(f"fig11: {network.name} is in {out}")
    if wrong:
        raise CheckFailed("; ".join(wrong[:10]))
    return table


def _measured(
    plan: MeasuredPlan, network: LayerSet, search: str, *, examples: bool
) -> tuple[dict[str, Any], list[str], Path]:
    """The report of one search, what is wrong in it, and its folder."""
    folder = Path("build") / "experiments" / "fig11" / RUNS / f"{network.name}-{search}"
    order = flow.Order(
        layerset=network,
        hardware=plan.hardware,
        objective=plan.objective,
        search=search,
        modes=("fixed", "example") if examples else ("fixed",),
        seed=plan.seed,
        out=folder,
    )
    return *flow.generate(order), folder


def _copy_pictures(folder: Path, out: Path, network: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        shutil.copyfile(folder / name, out / f"{network}-{name.removeprefix('fig_')}")


def network_rows(
    network: str, search: str, report: dict[str, Any], fixed: float | None
) -> list[MeasuredRow]:
    """Rows of a network, from its finished report.

    Args:
        fixed: EDP that those of all rows are compared with, in cycles x nJ.
    """
    cards = {card["id"]: card for card in report["designs"]}
    rows = []
    for total in report["totals"]:
        mine = [
            row for row in report["layers"]
            if row["mode"] == total["mode"] and row["design"] == total["design"]
        ]  # fmt: skip
        measured = [row for row in mine if row["measured_cycles"] is not None]
        cycles, edp = total["measured_cycles"], total["edp"]
        rows.append(
            MeasuredRow(
                network=network,
                accelerator=total["design"],
                mode=total["mode"],
                search=search if total["mode"] == "fixed" else "",
                label=cards[total["design"]]["label"],
                layers=len(measured),
                cycles=cycles,
                bound_ratio=total["ratio_to_bound"],
                energy_nj=total["energy_total_nj"],
                edp=edp,
                edp_ratio=edp / fixed if edp and fixed else None,
                area_mm2=cards[total["design"]]["area_mm2"],
                compared=sum(row["words_compared"] for row in measured),
                mismatches=sum(row["mismatches"] for row in measured),
                unpredicted=sum(r["predicted_cycles"] != r["measured_cycles"] for r in measured),
            )
        )
    return rows


_LAYER_COLUMNS = (
    *("network", "layer", "count", "macs", "mode", "search", "design", "feasible", "reason"),
    *("predicted_cycles", "measured_cycles", "bound_cycles", "energy_total_nj"),
    *("words_compared", "mismatches"),
)


def _write_tables(out: Path, table: list[MeasuredRow], layers: list[dict[str, Any]]) -> None:
    with (out / "fig11.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(MeasuredRow)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in table)
    with (out / "fig11-layers.csv").open("w", newline="", encoding="utf-8") as file:
        other = csv.DictWriter(file, _LAYER_COLUMNS, extrasaction="ignore", lineterminator="\n")
        other.writeheader()
        other.writerows(layers)


def _page(plan: MeasuredPlan, table: list[MeasuredRow], command: str) -> str:
    runs = sum(row.layers for row in table)
    lines = [
        "# Fixed designs against well-known dataflows, measured on RTL",
        "",
        f"{runs} layer runs on generated Verilog, {sum(row.compared for row in table):,} output "
        f"words compared, {sum(row.mismatches for row in table)} mismatches, "
        f"{sum(row.unpredicted for row in table)} runs whose cycles were not the predicted ones.",
        f"Hardware: {json.dumps(plan.hardware.to_dict())}. Objective {plan.objective}; one fixed "
        f"design by each search ({', '.join(plan.searches)}). Distinct layers, weighted by how "
        "often they occur; energy with bus and leakage; EDP: total cycles times total energy.",
    ]
    head = ["accelerator", "cycles", "× bound", "energy µJ", "EDP cycles·nJ", "× first", "mm²"]
    for network in dict.fromkeys(row.network for row in table):
        cells = [
            [
                f"fixed by {row.search}: {row.label}" if row.search else row.label,
                "cannot run" if row.cycles is None else f"{row.cycles:,}",
                number(row.bound_ratio),
                "" if row.energy_nj is None else f"{row.energy_nj / 1e3:,.0f}",
                "" if row.edp is None else f"{row.edp:.3e}",
                number(row.edp_ratio),
                f"{row.area_mm2:.2f}",
            ]
            for row in table
            if row.network == network
        ]
        lines += ["", f"## {network}", "", *markdown_table(head, cells), ""]
        lines += [f"![{network}: totals]({network}-totals.png)", ""]
        lines += [f"![{network}: latency per layer]({network}-latency.png)", ""]
        lines += [f"![{network}: energy per layer]({network}-energy.png)"]
    return "\n".join([*lines, "", "Made by", "", f"    {command}", ""])
