"""Subcommands of `dcp-hw` for the MAESTRO space."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from dcp_hw.errors import InputError

_HARDWARE = (
    ("num_pes", "pes", "number of PEs (default 7)"),
    ("noc_bw_cstr", "noc_bw", "elements per cycle of the network (default: unlimited)"),
    ("offchip_bw_cstr", "offchip_bw", "elements per cycle of the off-chip memory (default 70000)"),
    ("num_simd_lanes", "simd", "MACs per cycle of a PE (default 1)"),
    ("l1_size_cstr", "l1_size", "elements; compared with the requirement, never enforced"),
    ("l2_size_cstr", "l2_size", "elements; compared with the requirement, never enforced"),
)
_IGNORED = (
    *("print_res", "print_log_file", "msg_print_lv", "dataflow_file", "layer_file"),
    *("noc_mc_support", "top_bw_only", "bw_sweep", "do_implicit_reduction", "do_fg_sync"),
    *("do_reduction_op", "full_buffer", "do_dse", "verbose", "print_design_space", "print_space"),
    *("min_num_PEs", "min_noc_bw", "max_num_PEs", "max_noc_bw", "pe_tick", "bw_tick"),
    *("area_constraint", "power_constraint", "optimization_target"),
)


def add_parsers(subparsers: Any) -> None:
    """Nothing; adds the subcommands."""
    p = subparsers.add_parser(
        "maestro",
        help="what MAESTRO prints for a mapping file",
        description="Evaluates a MAESTRO mapping file with MAESTRO's own numbers, quirks "
        "included, or by the honest model. Takes MAESTRO's options; those without effect there "
        "have none here.",
    )
    p.add_argument(
        "--mode",
        choices=("compat", "honest"),
        default="compat",
        help="MAESTRO's numbers, or exact counts (then the buffer sizes are limits)",
    )
    p.add_argument("file", nargs="?", metavar="FILE.m", help="mapping file")
    p.add_argument("--Mapping_file", dest="mapping_file", metavar="FILE", help="the same")
    add_hardware(p)
    shape = p.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="all columns as JSON")
    shape.add_argument("--csv", action="store_true", help="MAESTRO's CSV on stdout")
    p.add_argument(
        "--print_res_csv_file",
        type=_boolean,
        default=False,
        metavar="BOOL",
        help="also append to the CSV file that MAESTRO writes in the current folder",
    )
    for option in _IGNORED:
        p.add_argument(f"--{option}", help=argparse.SUPPRESS)
    p.set_defaults(run=main_maestro)

    p = subparsers.add_parser(
        "maestro-batch",
        help="cost many mappings of a table",
        description="Evaluates each row of a table: type, K C Y X R S (or M N K), stride, "
        "mapping in compact text, pes noc_bw noc_latency offchip_bw simd.",
    )
    p.add_argument("source", type=Path, metavar="IN", help=".csv, .csv.gz or .parquet")
    p.add_argument("target", type=Path, metavar="OUT", help=".csv, .csv.gz or .parquet")
    p.add_argument("--mode", choices=("compat", "honest"), default="compat")
    p.add_argument("--threads", type=_integer, default=2, metavar="N", help="default 2")
    p.add_argument("--json", action="store_true", help="row counts as JSON on stdout")
    p.set_defaults(run=main_maestro_batch)


def add_hardware(p: argparse.ArgumentParser) -> None:
    """Nothing; adds MAESTRO's options for hardware, which `hardware_of` reads."""
    p.add_argument("--hw", "--HW_file", dest="hw", metavar="FILE", help="MAESTRO hardware file")
    for option, name, text in _HARDWARE:
        p.add_argument(f"--{option}", dest=name, type=_integer, metavar="N", help=text)
    p.add_argument("--noc_hops", type=_integer, default=1, metavar="N", help="default 1")
    p.add_argument("--noc_hop_latency", type=_natural, metavar="N", help="default 0")


def _integer(text: str) -> int:
    value = _natural(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; accepted: an integer of at least 1")
    return value


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 11):
        raise argparse.ArgumentTypeError(f"{text[:40]!r}; accepted: an integer")
    return int(text)


def _boolean(text: str) -> bool:
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}; accepted: true or false")
    return known[text.lower()]


def main_maestro(options: argparse.Namespace) -> int:
    """Exit code of `maestro`: 1 if MAESTRO has no result for a layer."""
    from dcp_hw.maestro import compat_csv
    from dcp_hw.maestro.mapping_file import load_mapping
    from dcp_hw.metrics import Infeasible

    path = options.file or options.mapping_file
    if not path:
        raise InputError("no mapping file given; accepted: dcp-hw maestro FILE.m")
    file, hardware = load_mapping(path), hardware_of(options)
    if options.mode == "honest":
        from dcp_hw.maestro.honest_cli import print_file

        return print_file(options, file, hardware, _print_cells)
    results = compat_csv.evaluate_file(file, hardware)
    rows = compat_csv.rows(file, results)
    failed = [
        {"layer": block.layer.name, "infeasible": result.reason}
        for block, result in zip(file.layers, results, strict=True)
        if isinstance(result, Infeasible)
    ]
    if options.json:
        names = _distinct(compat_csv.names())
        layers = [dict(zip(names, map(_finite, row), strict=True)) for row in rows]
        print(json.dumps({"layers": layers, "infeasible": failed}, indent=2))
    elif options.csv:
        print("\n".join([compat_csv.header(), *map(compat_csv.line, rows)]))
    else:
        _print_table(rows)
    for layer in failed:
        print(f"layer '{layer['layer']}': no result: {layer['infeasible']}", file=sys.stderr)
    if options.print_res_csv_file and not failed:
        _append(Path(compat_csv.csv_name(path)), rows)
    return 1 if failed else 0


def hardware_of(options: argparse.Namespace, base: Any = None) -> Any:
    """The hardware that the options of `add_hardware` state.

    Args:
        base: what options left out stand for; MAESTRO's defaults if this is.
    """
    from dcp_hw.maestro.compat import MaestroHardware
    from dcp_hw.maestro.hardware_file import load_maestro_hardware

    if options.hw:  # overrides everything else, as in MAESTRO
        return load_maestro_hardware(options.hw, simd=options.simd or 1)
    given = {name: getattr(options, name) for _, name, _ in _HARDWARE}
    given = {name: value for name, value in given.items() if value is not None}
    base = base or MaestroHardware()
    if options.noc_hop_latency is not None:
        given["noc_latency"] = options.noc_hops * options.noc_hop_latency
    return replace(base, **given)


def _append(path: Path, rows: list[list[Any]]) -> None:
    from dcp_hw.maestro import compat_csv

    lines = ([] if path.exists() else [compat_csv.header()]) + [compat_csv.line(x) for x in rows]
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def _distinct(names: tuple[str, ...]) -> list[str]:
    """The names; the second `Compute Delay (Min)` is the maximum."""
    out: list[str] = []
    for name in names:
        out.append(name.replace("(Min)", "(Max)") if name in out else name)
    return out


def _finite(value: Any) -> Any:
    """The value, or None for one that JSON cannot hold."""
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    return value


def _print_table(rows: list[list[Any]]) -> None:
    from dcp_hw.maestro import compat_csv

    names = ("layer", "cycles", "energy nJ", "MACs", "MACs/cycle", "PEs used", "L1", "L2")
    places = (1, 3, 4, 21, 5, -2, 15, 14)
    _print_cells(names, [[compat_csv.text(row[i]) for i in places] for row in rows])


def _print_cells(titles: tuple[str, ...], rows: list[list[str]]) -> None:
    """A table, its first column to the left and the others to the right."""
    cells = [list(titles), *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(titles))]
    for row in cells:
        left = row[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        print("  ".join((left, *rest)))


def main_maestro_batch(options: argparse.Namespace) -> int:
    """Exit code of `maestro-batch`: 0 also where rows have no result, which the table says."""
    from dcp_hw.maestro.batch_file import evaluate_file

    rows, failed = evaluate_file(
        options.source, options.target, options.mode, threads=options.threads
    )
    if options.json:
        print(json.dumps({"rows": rows, "infeasible": failed, "out": str(options.target)}))
    else:
        print(f"{rows} rows, {failed} without a result: {options.target}")
    return 0
