"""`dcp-hw dataset`: the benchmark data set of the MAESTRO space."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dcp_hw.errors import InputError

_SPACES = ("maestro",)


def add_parsers(subparsers: Any) -> None:
    """Nothing; adds the subcommand."""
    p = subparsers.add_parser(
        "dataset",
        help="layers x dataflows with the metrics of each pair, as Parquet",
        description="Samples layers of torchvision's classification networks and dataflows, and "
        "evaluates each pair by the honest model (docs/dataset.md). Stopped at any time, the same "
        "command goes on and ends with the same bytes; damaged parts are made again.",
    )
    p.add_argument("--space", choices=_SPACES, default="maestro")
    p.add_argument("--layers", type=_count, default=2000, metavar="N", help="default 2000")
    p.add_argument("--dataflows", type=_count, default=2000, metavar="N", help="default 2000")
    p.add_argument("--seed", type=int, default=0, help="of all that is drawn (default 0)")
    p.add_argument(
        "--out", type=Path, help="folder (default build/dataset/SPACE-LAYERSxDATAFLOWS-sSEED)"
    )
    p.add_argument("--threads", type=_count, default=2, metavar="N", help="default 2")
    p.add_argument(
        "--ray", metavar="ADDRESS", help="make the parts on a Ray cluster (local: on this machine)"
    )
    p.add_argument("--json", action="store_true", help="result as JSON on stdout")
    p.set_defaults(run=run_dataset)


def run_dataset(options: argparse.Namespace) -> int:
    """Exit code of `dataset`."""
    from dcp_hw.maestro.dataset_make import make

    spread = None
    if options.ray is not None:
        from dcp_hw.maestro.dataset_ray import cluster

        spread = cluster(options.ray)
    name = f"{options.space}-{options.layers}x{options.dataflows}-s{options.seed}"
    made = make(
        options.out or Path("build") / "dataset" / name,
        layers=options.layers,
        dataflows=options.dataflows,
        seed=options.seed,
        threads=options.threads,
        spread=spread,
    )
    if options.json:
        print(json.dumps({**asdict(made), "path": str(made.path)}))
        return 0
    print(f"{made.rows} rows, {made.feasible} feasible; {made.size / 1e6:.1f} MB in {made.path}")
    print(f"{made.made} parts made, {made.kept} kept")
    return 0


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise InputError(f"{text[:40]!r} asked for; accepted: a whole number from 1")
    return int(text)
