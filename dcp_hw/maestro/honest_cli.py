"""What `dcp-hw maestro --mode honest` prints."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from dcp_hw.errors import InputError
from dcp_hw.maestro.compat import MaestroHardware
from dcp_hw.maestro.honest_batch import evaluate_cases
from dcp_hw.maestro.syntax import MappingFile

_TITLES = {
    "layer": "layer",
    "runtime": "cycles",
    "energy_nj": "energy nJ",
    "macs_reported": "MACs",
    "throughput": "MACs/cycle",
    "l1_req": "L1",
    "l2_req": "L2",
}


def print_file(
    options: argparse.Namespace,
    file: MappingFile,
    hardware: MaestroHardware,
    print_cells: Callable[[tuple[str, ...], list[list[str]]], None],
) -> int:
    """Exit code: 1 if a mapping of the file cannot run; stderr says why.

    Args:
        options: as `dcp-hw maestro`: json, csv, print_res_csv_file.
        print_cells: prints a table of titles and rows.
    Raises: InputError for an option that only MAESTRO's own numbers have.
    """
    if options.print_res_csv_file:
        raise InputError("--print_res_csv_file is for MAESTRO's numbers; accepted: --csv")
    rows, failed = _results(file, hardware)
    if options.json:
        print(json.dumps({"layers": rows, "infeasible": failed}, indent=2))
    elif options.csv:
        lines = [list(rows[0]), *(list(row.values()) for row in rows)] if rows else []
        print("\n".join(",".join(map(str, line)) for line in lines))
    else:
        print_cells(
            tuple(_TITLES.values()), [[_text(row[name]) for name in _TITLES] for row in rows]
        )
    for layer in failed:
        print(f"layer '{layer['layer']}': cannot run: {layer['infeasible']}", file=sys.stderr)
    return 1 if failed else 0


def _results(
    file: MappingFile, hardware: MaestroHardware
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Columns of the layers that can run; names and reasons of the others."""
    cases = [(block.layer, block.mapping) for block in file.layers if block.mapping is not None]
    found = evaluate_cases(cases, hardware)
    reasons = iter(enumerate(found.pop("infeasible").tolist()))
    rows, failed = [], []
    for block in file.layers:
        place, reason = (0, "it has no Dataflow") if block.mapping is None else next(reasons)
        if reason:
            failed.append({"layer": block.layer.name, "infeasible": reason})
            continue
        values = {name: column[place].item() for name, column in found.items()}
        rows.append({"layer": block.layer.name} | values)
    return rows, failed


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
