"""Subcommands of `dcp-hw` for the Tensorlib space; each imports its stage when it runs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from dcp_hw.errors import CheckFailed, InputError

MODES = ("fixed", "per-layer", "example")
SEARCHES = ("exact", "dcp", "dcp-without-gradients")
OBJECTIVES = ("latency", "energy", "edp")


def add_parsers(subparsers: Any) -> None:
    """Nothing; adds the subcommands."""
    _generate(subparsers)
    _layersets(subparsers)
    _search(subparsers)
    _report(subparsers)
    _regress(subparsers)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="result as JSON on stdout")
    parser.add_argument("--seed", type=int, default=0, help="of data and search (default 0)")


def _workload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--layerset", default="mobilenetv2", help="name, or path of a CSV file")
    parser.add_argument("--layers", help="comma-separated names: only these layers")
    parser.add_argument("--hw", default="default", help="hardware: YAML file (default: shipped)")
    parser.add_argument("--objective", choices=OBJECTIVES, default="edp")


def _load(options: argparse.Namespace) -> tuple[Any, Any]:
    from dcp_hw.hardware import load_hardware
    from dcp_hw.workload import LayerSet

    layers = LayerSet.load(options.layerset)
    if options.layers:
        layers = layers.select(options.layers)
    return layers, load_hardware(options.hw or "default")


# --- generate -----------------------------------------------------------------------


def _generate(subparsers: Any) -> None:
    p = subparsers.add_parser(
        "generate",
        help="designs, Verilog, measured latency and energy, report",
        description="Chooses designs for a layer set, writes their Verilog, measures every "
        "layer on it with Verilator, and writes report.html, .md, .csv and .json.",
    )
    _workload(p)
    p.add_argument("--modes", default=",".join(MODES), help=f"comma-separated: {', '.join(MODES)}")
    p.add_argument("--search", choices=SEARCHES, default="exact",
                   help="how designs are chosen: bounds and exact screening "
                   "(default), propagation through a predictor, or its starts without a step "
                   "(docs/dcp-tensorlib.md)")  # fmt: skip
    p.add_argument("--out", type=Path, help="folder (default build/LAYERSET)")
    _common(p)
    p.set_defaults(run=run_generate)


def run_generate(options: argparse.Namespace) -> int:
    """Exit code of `generate`: 1 if a measurement is wrong."""
    from dcp_hw import flow
    from dcp_hw.report_text import summary_table

    modes = tuple(mode.strip() for mode in options.modes.split(",") if mode.strip())
    if unknown := [mode for mode in modes if mode not in MODES]:
        raise InputError(f"mode {', '.join(unknown)} not found; have {', '.join(MODES)}")
    if not modes:
        raise InputError(f"no mode asked for; have {', '.join(MODES)}")
    layers, hardware = _load(options)
    out = options.out or Path("build") / Path(options.layerset).stem
    order = flow.Order(
        layerset=layers,
        hardware=hardware,
        objective=options.objective,
        modes=modes,
        seed=options.seed,
        out=out,
        search=options.search,
    )
    report, wrong = flow.generate(order)
    print(json.dumps(report) if options.json else summary_table(report))
    if not options.json:
        print(f"\nreport: {out / 'report.html'}")
    if wrong:
        raise CheckFailed("\n".join([f"{len(wrong)} measurement(s) are wrong:", *wrong[:20]]))
    return 0


# --- search -------------------------------------------------------------------------


def _search(subparsers: Any) -> None:
    p = subparsers.add_parser(
        "search", help="best mapping of each layer on one design, by the cycle model"
    )
    _workload(p)
    p.add_argument("--design", type=Path, required=True, help="design.json")
    p.add_argument("--effort", choices=("quick", "normal", "thorough"), default="thorough")
    _common(p)
    p.set_defaults(run=run_search)


def run_search(options: argparse.Namespace) -> int:
    """Exit code of `search`."""
    from dcp_hw import explore
    from dcp_hw.metrics import Infeasible
    from tensorlib.design import Design

    layers, hardware = _load(options)
    design = Design.load(options.design)
    known = explore.Known(hardware, options.objective, 2)
    found = known.outcomes([design], layers, options.effort, "mappings")[design.name]
    table = []
    for layer in layers:
        outcome = found[layer.name]
        bound = layer.bound_cycles(hardware.pes, hardware.bus_in_bytes, hardware.bus_out_bytes)
        if isinstance(outcome, Infeasible):
            table.append({"layer": layer.name, "feasible": False, "reason": outcome.reason})
        else:
            table.append(
                {
                    "layer": layer.name,
                    "feasible": True,
                    "count": layer.count,
                    "cycles": outcome.cycles,
                    "bound_cycles": bound,
                    "energy_nj": outcome.energy_nj,
                    "mapping": str(outcome.mapping),
                }
            )
    if options.json:
        print(json.dumps(table))
        return 0
    for row in table:
        if row["feasible"]:
            ratio = row["cycles"] / row["bound_cycles"]
            print(f"{row['layer']:32} {row['count']:3} {row['cycles']:9} {ratio:6.3f}")
        else:
            print(f"{row['layer']:32} {row['reason']}")
    done = [row for row in table if row["feasible"]]
    if len(done) == len(table):
        cycles = sum(r["count"] * r["cycles"] for r in done)
        bound = sum(r["count"] * r["bound_cycles"] for r in done)
        print(f"{'total':36} {cycles:9} {cycles / bound:6.3f}")
    return 0


# --- layer sets, report, regression ---------------------------------------------------


def _layersets(subparsers: Any) -> None:
    p = subparsers.add_parser("layersets", help="the shipped layer sets and their sizes")
    p.add_argument("--json", action="store_true", help="result as JSON on stdout")
    p.set_defaults(run=run_layersets)


def run_layersets(options: argparse.Namespace) -> int:
    """Exit code of `layersets`."""
    from dcp_hw.layerset_csv import layerset_names
    from dcp_hw.workload import LayerSet

    sets = [LayerSet.load(name) for name in layerset_names()]
    table = [
        {"name": s.name, "layers": len(s), "occurrences": s.occurrences, "macs": s.macs}
        for s in sets
    ]
    if options.json:
        print(json.dumps(table))
    else:
        for row in table:
            print(f"{row['name']:14} {row['layers']:4} layers {row['macs']:>15,} MACs")
    return 0


def _report(subparsers: Any) -> None:
    p = subparsers.add_parser("report", help="render a report.json again")
    p.add_argument("report", type=Path, help="report.json")
    p.add_argument("--out", type=Path, help="folder (default: the report's own)")
    p.add_argument("--json", action="store_true", help="the completed report on stdout")
    p.set_defaults(run=run_report)


def run_report(options: argparse.Namespace) -> int:
    """Exit code of `report`."""
    from dcp_hw.report import completed, write_report
    from dcp_hw.report_text import summary_table

    try:
        report = json.loads(options.report.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"{options.report}: not a report.json ({error})") from error
    write_report(report, options.out or options.report.parent)
    full = completed(report)
    print(json.dumps(full) if options.json else summary_table(full))
    return 0


def _regress(subparsers: Any) -> None:
    p = subparsers.add_parser(
        "regress", help="random designs and layers, measured and compared with the reference"
    )
    p.add_argument("--count", type=int, default=40, help="number of cases (default 40)")
    p.add_argument("--only", type=int, help="repeat this case only")
    p.add_argument("--out", type=Path, default=Path("build/regress"))
    _common(p)
    p.set_defaults(run=run_regress)


def run_regress(options: argparse.Namespace) -> int:
    """Exit code of `regress`: 1 if a case fails."""
    from dcp_hw import regress

    results = regress.run(
        cases=options.count, seed=options.seed, out=options.out, only=options.only
    )
    failed = [r for r in results if not r.passed]
    if options.json:
        print(json.dumps([r.record() for r in results]))
    else:
        print(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    for result in failed:
        print(result.repeat(), file=sys.stderr)
    return 1 if failed else 0
