"""`dcp-hw experiment bridge`; docs/bridge.md explains it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcp_hw.errors import InputError
from dcp_hw.experiments.commands import STORE, words

if TYPE_CHECKING:
    from dcp_hw.experiments.bridge import Forward, Reverse, Setting

METHODS = ("exact", "dcp")
MODES = ("per-layer", "fixed")


def add_parser(names: Any) -> None:
    """Nothing; adds the experiment."""
    p = names.add_parser(
        "bridge",
        help="MAESTRO's best dataflows on the RTL, and Tensorlib's best ones in the models",
        description="Lowers each layer's best MAESTRO dataflow to an array, writes Verilog and "
        "measures it; states the search's best Tensorlib programs as dataflows. Searches, Verilog "
        "and measurements are kept: run the same command again to go on.",
    )
    p.add_argument("--layerset", default="mobilenetv2", metavar="NAME", help="default mobilenetv2")
    p.add_argument("--layers", metavar="A,B", help="only these layers")
    p.add_argument("--hw", default="default", metavar="FILE", help="hardware (default: shipped)")
    p.add_argument("--objective", choices=("latency", "energy", "edp"), default="edp")
    p.add_argument("--methods", type=words, default=METHODS, metavar="A,B",
                   help=f"the best of these searches; default {','.join(METHODS)}")  # fmt: skip
    p.add_argument("--budget", type=_number, default=10_000, metavar="N",
                   help="samples of a search; default 10000")  # fmt: skip
    p.add_argument("--l1", type=_number, default=64, metavar="BYTES",
                   help="PE buffer of MAESTRO's machine; default 64")  # fmt: skip
    p.add_argument("--mode", choices=MODES, default=MODES[0], help="of the Tensorlib search")
    p.add_argument("--only", choices=("forward", "reverse"), help="one direction; default both")
    p.add_argument("--out", type=Path, metavar="DIR",
                   help="default build/experiments/bridge/LAYERSET")  # fmt: skip
    p.add_argument("--cells", type=Path, default=STORE, metavar="DIR",
                   help=f"kept searches; default {STORE}")  # fmt: skip
    p.add_argument("--workers", type=_number, default=2, metavar="N", help="default 2")
    p.add_argument("--json", action="store_true", help="the rows as JSON on stdout")
    p.set_defaults(run=main)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**9):
        raise argparse.ArgumentTypeError(f"{text[:40]!r}; accepted: an integer of at least 1")
    return int(text)


def main(options: argparse.Namespace) -> int:
    """Exit code of `experiment bridge`."""
    from dcp_hw.baselines.problem import Objective
    from dcp_hw.experiments.bridge import Setting, forward, reverse
    from dcp_hw.hardware import load_hardware
    from dcp_hw.workload import LayerSet

    layers = LayerSet.load(options.layerset)
    layers = layers.select(options.layers) if options.layers else layers
    hardware = load_hardware(options.hw)
    if hardware.sram_bytes <= hardware.pes * options.l1:
        most = (hardware.sram_bytes - 1) // hardware.pes
        raise InputError(f"--l1 {options.l1}: nothing is left for the L2; accepted: 1 to {most}")
    setting = Setting(
        layers=layers,
        hardware=hardware,
        objective=Objective(options.objective),
        methods=options.methods,
        budget=options.budget,
        l1_bytes=options.l1,
        workers=options.workers,
    )
    folder = options.out or Path("build") / "experiments" / "bridge" / layers.name
    there = [] if options.only == "reverse" else forward(setting, options.cells)
    if there and options.only is None:
        _write(options, setting, folder, there, [])  # can be read while the other way is measured
    back = [] if options.only == "forward" else reverse(setting, options.mode)
    rows, text = _write(options, setting, folder, there, back)
    if options.json:
        print(json.dumps(rows | {"out": str(folder)}, indent=2))
    else:
        print(text, end="")
    return 0


def _write(
    options: argparse.Namespace,
    setting: Setting,
    folder: Path,
    there: list[Forward],
    back: list[Reverse],
) -> tuple[dict[str, Any], str]:
    """Rows and page; writes CSV, Markdown, PNG and mapping files. Raises: InputError."""
    from dcp_hw.experiments import bridge_report as report
    from dcp_hw.experiments.bridge_page import page
    from dcp_hw.experiments.bridge_plot import plot

    rows = {
        "forward": [report.forward_row(one) for one in there],
        "reverse": [report.reverse_row(one) for one in back],
    }
    text = page(setting, there, back, _command(options))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, own in rows.items():
            if own:
                report.write_rows(own, folder / f"{name}.csv")
        for name, mappings in report.mapping_files(there, back).items():
            (folder / name).write_text(mappings, encoding="utf-8")
        (folder / "bridge.md").write_text(text, encoding="utf-8")
        plot(there, back, folder / "bridge.png")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
    return rows, text


def _command(options: argparse.Namespace) -> str:
    """The command that makes the tables again."""
    parts = [
        f"dcp-hw experiment bridge --layerset {options.layerset} --hw {options.hw}",
        f"--objective {options.objective} --methods {','.join(options.methods)}",
        f"--budget {options.budget} --l1 {options.l1} --mode {options.mode}",
    ]
    if options.layers:
        parts.append(f"--layers {options.layers}")
    if options.only:
        parts.append(f"--only {options.only}")
    return " ".join(parts)
