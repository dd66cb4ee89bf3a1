"""Subcommand `dcp-hw dse`: hardware design-space exploration of a dataflow style."""

from __future__ import annotations

import argparse
import json
import math
import re
from pathlib import Path
from typing import Any

from dcp_hw.errors import InputError

STYLES = ("kc-p", "yr-p", "yx-p")
OBJECTIVES = ("throughput", "energy", "edp")
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9})(?:/([0-9]{1,9}))?)?")
_MOST_VALUES = 65_536


def add_parsers(subparsers: Any) -> None:
    """Nothing; adds the subcommand."""
    p = subparsers.add_parser(
        "dse",
        help="hardware design-space exploration: valid designs and the Pareto front",
        description="Sweeps PEs, L1, L2, NoC bandwidth and tiles of a dataflow style on a network "
        "with the honest model, under limits of area and power. Writes summary.json, "
        "front.parquet, pictures and report.html. Stopped, it goes on where it was.",
    )
    p.add_argument("--style", choices=STYLES, default="kc-p", help="default kc-p")
    p.add_argument("--layerset", default="vgg16", help="name, or path of a CSV file")
    p.add_argument("--layers", help="comma-separated names: only these layers")
    p.add_argument("--area-mm2", type=_positive, default=16.0, metavar="MM2", help="default 16")
    p.add_argument("--power-mw", type=_positive, default=450.0, metavar="MW",
                   help="mean power of the chip without DRAM; default 450")  # fmt: skip
    p.add_argument("--objective", choices=OBJECTIVES, default="throughput",
                   help="best design to name first")  # fmt: skip
    p.add_argument("--clock-mhz", type=_positive, default=500.0, metavar="MHZ", help="default 500")
    p.add_argument("--technology", default="45nm-lop", help="table of prices (docs/energy.md)")
    p.add_argument("--dram-bw", type=_count, default=16, metavar="N",
                   help="elements per cycle, both ways; 0: unlimited; default 16")  # fmt: skip
    p.add_argument("--noc-latency", type=_count, default=1, metavar="N", help="default 1")
    p.add_argument("--space", choices=("full", "quick"), default="full")
    for name, text in (
        ("pes", "numbers of PEs, as 64,128 or 8-1024/8"),
        ("noc-bw", "elements per cycle and direction"),
        ("l1", "bytes of one PE's buffer"),
        ("l2-kib", "KiB of the L2 and the clusters' buffers"),
    ):
        p.add_argument(f"--{name}", type=_values, metavar="LIST", help=text)
    p.add_argument("--tile", action="append", default=[], metavar="NAME=LIST",
                   help="values of units, K, C, Y or X; may be repeated")  # fmt: skip
    p.add_argument("--out", type=Path, help="folder (default build/dse/STYLE-LAYERSET)")
    p.add_argument("--threads", type=_count, default=2, metavar="N", help="default 2")
    p.add_argument("--check", type=_count, default=200, metavar="N",
                   help="designs of the front computed again one by one (default 200)")  # fmt: skip
    p.add_argument("--seed", type=_count, default=0, help="of the choice of those (default 0)")
    p.add_argument("--json", action="store_true", help="result as JSON on stdout")
    p.set_defaults(run=main_dse)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}; accepted: a number above 0, below 1e9")
    return value


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text[:40]!r}; accepted: an integer of at least 0")
    return int(text)


def _values(text: str) -> tuple[int, ...]:
    """Values of a list such as 8,16 or 8-1024/8, rising."""
    accepted = "integers of at least 1 as 64,128 or 8-1024/8"
    found: set[int] = set()
    for word in text.split(","):
        match = _RANGE.fullmatch(word.strip())
        first, last, step = (int(x) if x else None for x in match.groups()) if match else (0, 0, 0)
        if not first or (last is not None and last < first) or step == 0:
            raise argparse.ArgumentTypeError(f"{word[:40]!r}; accepted: {accepted}")
        values = range(first, (last or first) + 1, step or 1)
        if len(values) > _MOST_VALUES:
            raise argparse.ArgumentTypeError(f"{word[:40]!r}; accepted: at most {_MOST_VALUES}")
        found |= set(values)
    return tuple(sorted(found))


def _tiles(words: list[str]) -> dict[str, tuple[int, ...]]:
    found = {}
    for word in words:
        name, equals, values = word.partition("=")
        if not equals:
            raise InputError(f"--tile {word[:40]!r}; accepted: NAME=LIST, as K=1,2,4")
        try:
            found[name] = _values(values)
        except argparse.ArgumentTypeError as error:
            raise InputError(f"--tile {name}: {error}") from None
    return found


def main_dse(options: argparse.Namespace) -> int:
    """Exit code of `dse`."""
    from dcp_hw.maestro import dse_design, dse_report, dse_run
    from dcp_hw.maestro.dse_part import Setting
    from dcp_hw.maestro.dse_space import make_space
    from dcp_hw.workload import LayerSet

    if not 1 <= options.threads <= 64:
        raise InputError(f"--threads {options.threads}; accepted: 1 to 64")
    layers = LayerSet.load(options.layerset)
    if options.layers is not None:
        layers = layers.select(options.layers)
    given = {"pes": options.pes, "noc_bw": options.noc_bw}
    given |= {"l1_bytes": options.l1, "l2_kib": options.l2_kib}
    space = make_space(
        options.style,
        options.space,
        axes={name: values for name, values in given.items() if values},
        tiles=_tiles(options.tile),
    )
    setting = Setting(
        space=space,
        layers=layers,
        area_mm2=options.area_mm2,
        power_mw=options.power_mw,
        clock_mhz=options.clock_mhz,
        technology=options.technology,
        dram_bw=options.dram_bw or None,
        noc_latency=options.noc_latency,
    )
    out = options.out or Path("build/dse") / f"{options.style}-{Path(options.layerset).stem}"
    done = dse_run.run(setting, out, threads=options.threads)
    arrays = done.total.arrays
    checked = dse_design.check(
        setting, arrays["pool"], arrays["numbers"], options.check, options.seed
    )
    about = dse_report.summary(setting, done, options.objective, checked)
    files = dse_report.write(setting, done, about, out)
    print(json.dumps(about) if options.json else dse_report.text(about, files))
    return 0
