"""`dcp-hw experiment fig11`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dcp_hw.commands import SEARCHES
from dcp_hw.experiments.commands import NETWORKS, STORE, words


def add_parser(names: Any) -> None:
    """Nothing; adds the experiment."""
    p = names.add_parser(
        "fig11",
        help="fixed designs against well-known dataflows, measured on RTL",
        description="Every distinct layer of every network on the Verilog of fixed designs and "
        "of the examples. Pictures are of the first search. It goes on where it was stopped; "
        "ResNet-101 takes about half an hour.",
    )
    p.add_argument("--layersets", type=words, default=NETWORKS, metavar="A,B",
                   help=f"default {','.join(NETWORKS)}")  # fmt: skip
    p.add_argument("--objective", choices=("latency", "energy", "edp"), default="edp")
    p.add_argument("--search", type=words, default=SEARCHES, metavar="A,B",
                   help=f"a fixed design by each; default {','.join(SEARCHES)}")  # fmt: skip
    p.add_argument("--hw", metavar="FILE", help="hardware file, or a name; default: default")
    p.add_argument("--out", type=Path, default=STORE.parent / "fig11", metavar="DIR",
                   help=f"default {STORE.parent / 'fig11'}")  # fmt: skip
    p.add_argument("--json", action="store_true", help="the table as JSON")
    p.set_defaults(run=main)


def main(options: argparse.Namespace) -> int:
    """Exit code of `experiment fig11`."""
    from dcp_hw.errors import InputError
    from dcp_hw.experiments import fig11
    from dcp_hw.hardware import load_hardware
    from dcp_hw.workload import LayerSet

    if not options.layersets:
        raise InputError("--layersets is empty; accepted: at least one name")
    if not options.search or not set(options.search) <= set(SEARCHES):
        given = ",".join(options.search) or "nothing"
        raise InputError(f"--search is {given}; accepted, with commas: {', '.join(SEARCHES)}")
    plan = fig11.MeasuredPlan(
        networks=tuple(LayerSet.load(name) for name in options.layersets),
        hardware=load_hardware(options.hw or "default"),
        objective=options.objective,
        searches=tuple(dict.fromkeys(options.search)),
    )
    again = (
        f"dcp-hw experiment fig11 --layersets {','.join(options.layersets)} "
        f"--objective {options.objective} --search {','.join(options.search)} --out {options.out}"
    )
    table = fig11.run(plan, options.out, again + (f" --hw {options.hw}" if options.hw else ""))
    if options.json:
        print(json.dumps({"rows": [asdict(row) for row in table], "out": str(options.out)}))
    else:
        print((options.out / "fig11.md").read_text(encoding="utf-8"), end="")
    return 0
