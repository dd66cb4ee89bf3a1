"""Subcommands of `dcp-hw` that learn from measured hardware: collect, finetune, loop."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcp_hw.errors import InputError

if TYPE_CHECKING:
    from dcp_hw.loop import Outcome
    from dcp_hw.store import Store

LEAST_GAIN = 0.005
"""Share of the best EDP that a trial must be expected to save, or the loop ends."""

_STORE = "folder of the store (default: the one that `dcp-hw generate` adds to)"


def add_parsers(subparsers: Any) -> None:
    """Nothing; adds the subcommands."""
    _collect(subparsers)
    _finetune(subparsers)
    _loop(subparsers)


def _collect(subparsers: Any) -> None:
    p = subparsers.add_parser(
        "collect",
        help="measure small layers on small arrays, with toggles counted",
        description="Measures all pairs of some drawn designs and layers with probes beside the "
        "array and behind a memory model, and adds them to a store. Pairs that the store has are "
        "left out, so the same command goes on after an interruption.",
    )
    p.add_argument("--measurements", type=Path, metavar="DIR", help=_STORE)
    p.add_argument("--designs", type=_count, default=24, metavar="N", help="default 24")
    p.add_argument("--layers", type=_count, default=24, metavar="N", help="default 24")
    p.add_argument("--profiles", help="comma-separated data profiles, by turns (default: all)")
    p.add_argument("--memory", default="dram", help="ideal, random or dram (default dram)")
    p.add_argument("--hw", help="hardware that designs are drawn for (default 16 PEs, 24 KiB)")
    p.add_argument("--seed", type=int, default=0, help="of designs, layers and data (default 0)")
    p.add_argument("--out", type=Path, metavar="DIR", help="also a table of all runs as CSV there")
    p.add_argument("--json", action="store_true", help="result as JSON on stdout")
    p.set_defaults(run=run_collect)


def _finetune(subparsers: Any) -> None:
    p = subparsers.add_parser(
        "finetune",
        help="learn from measurements what cycle model and energy table leave open",
        description="Fits the predictor to N measurements with probes and says how well it does "
        "on layers and designs that are not among them. --curve does so for N = 0 to 100.",
    )
    p.add_argument("--measurements", type=Path, metavar="DIR", help=_STORE)
    p.add_argument("--n", type=_natural, default=50, metavar="N", help="default 50")
    p.add_argument("--base", type=Path, metavar="FILE", help="checkpoint to go on from")
    p.add_argument("--out", type=Path, metavar="FILE", help="checkpoint to write")
    p.add_argument("--curve", type=Path, metavar="DIR", help="tables and plot for N = 0 to 100")
    p.add_argument("--draws", type=_count, default=10, metavar="N", help="of --curve (default 10)")
    p.add_argument("--seed", type=int, default=0, help="of split and draw (default 0)")
    p.add_argument("--json", action="store_true", help="result as JSON on stdout")
    p.set_defaults(run=run_finetune)


def _loop(subparsers: Any) -> None:
    p = subparsers.add_parser(
        "loop",
        help="search, generate, measure, fine-tune, search again",
        description="Finds one design for a layer set by measured EDP. Measurements are kept in "
        "the store; run the same command again to go on.",
    )
    p.add_argument("--layerset", default="tiny", help="name, or path of a CSV file")
    p.add_argument("--layers", help="comma-separated names: only these layers")
    p.add_argument("--hw", default="default", help="hardware: YAML file (default: shipped)")
    p.add_argument("--profile", default="realistic", help="data of the layers (default realistic)")
    p.add_argument("--memory", default="dram", help="ideal, random or dram (default dram)")
    p.add_argument("--pool", type=_count, default=24, metavar="N", help="candidates (default 24)")
    p.add_argument("--search", type=_natural, default=32, metavar="N",
                   help="designs looked at anew after each fit (default 32)")  # fmt: skip
    p.add_argument("--per-round", type=_count, default=2, metavar="N", help="designs (default 2)")
    p.add_argument("--budget", type=_count, default=12, metavar="N", help="designs (default 12)")
    p.add_argument("--least-gain", type=_share, default=LEAST_GAIN, metavar="SHARE",
                   help="end when the next trial is expected to save less than this share of the "
                   f"best EDP (default {LEAST_GAIN}; 0: only at the budget)")  # fmt: skip
    p.add_argument("--base", type=Path, metavar="FILE", help="checkpoint to begin with")
    p.add_argument("--measurements", type=Path, metavar="DIR", help=_STORE)
    p.add_argument("--out", type=Path, metavar="DIR", help="default build/loop/LAYERSET")
    p.add_argument("--jobs", type=_count, default=2, metavar="N", help="of the search (default 2)")
    p.add_argument("--seed", type=int, default=0, help="of data and fit (default 0)")
    p.add_argument("--json", action="store_true", help="result as JSON on stdout")
    p.set_defaults(run=run_loop)


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        raise argparse.ArgumentTypeError(f"{text[:40]!r}; accepted: an integer of at least 0")
    return int(text)


def _count(text: str) -> int:
    if _natural(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; accepted: an integer of at least 1")
    return int(text)


def _share(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < 1:  # not a number fails too
        raise argparse.ArgumentTypeError(f"{text[:40]!r}; accepted: a share, 0 to below 1")
    return found


def _store(options: argparse.Namespace) -> Store:
    from dcp_hw.store import Store, default_folder

    return Store(options.measurements or default_folder())


def run_collect(options: argparse.Namespace) -> int:
    """Exit code of `collect`."""
    from dcp_hw.hardware import load_hardware
    from dcp_hw.observations_collect import Collection, collect
    from dcp_hw.store_report import by_profile, write_table

    settings: dict[str, Any] = {"hardware": load_hardware(options.hw)} if options.hw else {}
    if options.profiles:
        settings["profiles"] = tuple(p.strip() for p in options.profiles.split(",") if p.strip())
    plan = Collection(
        designs=options.designs,
        layers=options.layers,
        memory=options.memory,
        seed=options.seed,
        **settings,
    )
    store = _store(options)
    found = collect(plan, store)
    result = {
        "measurements": len(found),
        "designs": len({r.design_hash for r in found}),
        "store": str(store.folder),
    }
    if options.out:
        write_table(found, options.out)
    if options.json:
        print(json.dumps(result))
    else:
        print(f"{_line(result)}\n\n{by_profile(found)}")
    return 0


def run_finetune(options: argparse.Namespace) -> int:
    """Exit code of `finetune`."""
    import random

    from dcp_hw.finetune import load, save, tune
    from dcp_hw.finetune_report import curve, markdown, scores, split, write_curve

    store = _store(options)
    records = store.read("probed")
    if options.curve:
        found = curve(records, options.draws, options.seed)
        name = options.measurements or "DIR"
        head = (
            f"`dcp-hw finetune --measurements {name} --curve {options.curve} --draws "
            f"{options.draws} --seed {options.seed}`: {len(records)} measurements, medians over "
            f"{options.draws} draws of held-out layers and designs and of the N runs learnt from."
        )
        paths = write_curve(found, options.curve, head)
        print(json.dumps([asdict(s) for s in found]) if options.json else markdown(found))
        if not options.json:
            print("\n" + "\n".join(map(str, paths)))
        return 0
    base = load(options.base) if options.base else None
    parts = split(records, options.seed)
    if options.n > len(parts.pool):
        raise InputError(
            f"--n {options.n}: there are {len(parts.pool)} measurements to learn from, and "
            f"{len(parts.held_out)} held out; accepted: 0 to {len(parts.pool)}"
        )
    learnt = random.Random(f"runs {options.seed}").sample(parts.pool, options.n)
    predictor = tune(learnt, base=base, seed=options.seed, made_by="dcp-hw finetune", n=options.n)
    found = scores(predictor, learnt, parts.held_out)
    if options.out:
        save(options.out, predictor)
    if options.json:
        print(json.dumps([asdict(s) for s in found]))
    else:
        print(f"{len(learnt)} measurements learnt, {len(parts.held_out)} held out\n")
        print(markdown(found))
        print(f"\ncheckpoint: {options.out}" if options.out else "\n(no --out: not kept)")
    return 0


def run_loop(options: argparse.Namespace) -> int:
    """Exit code of `loop`."""
    from dcp_hw.finetune import check_profile, load, save
    from dcp_hw.hardware import load_hardware
    from dcp_hw.loop import run
    from dcp_hw.loop_candidates import Task
    from dcp_hw.loop_report import markdown, write_loop
    from dcp_hw.switching import MEMORIES
    from dcp_hw.workload import LayerSet

    layers = LayerSet.load(options.layerset)
    if options.layers:
        layers = layers.select(options.layers)
    check_profile(options.profile)
    if options.memory not in MEMORIES:
        raise InputError(f"memory {options.memory!r} not found; have {', '.join(MEMORIES)}")
    task = Task(
        layers=layers,
        hardware=load_hardware(options.hw or "default"),
        profile=options.profile,
        memory=options.memory,
        pool=options.pool,
        per_round=options.per_round,
        search=options.search,
        budget=options.budget,
        least_gain=options.least_gain,
        seed=options.seed,
        jobs=options.jobs,
    )
    out = options.out or Path("build/loop") / Path(options.layerset).stem
    names = ("layerset", "layers", "hw", "profile", "memory", "pool", "per_round")
    given = {
        name: getattr(options, name)
        for name in (*names, "search", "budget", "least_gain", "base", "seed", "out")
    }
    words = [f"--{n.replace('_', '-')} {v}" for n, v in given.items() if v is not None]

    def write(found: Outcome) -> list[Path]:
        assert found.predictor is not None
        save(out / "predictor.safetensors", found.predictor)
        return write_loop(found, out, f"`dcp-hw loop {' '.join(words)}`")

    base = load(options.base) if options.base else None
    store = _store(options)
    store.keys()  # says now what is wrong with it, not after the search
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from None
    found = run(task, store, base, write)  # can be read while the next round runs
    paths = write(found)
    if options.json:
        parts = {"trials": found.trials, "searches": found.searches}
        rows = {name: [asdict(one) for one in some] for name, some in parts.items()}
        print(json.dumps(rows | {"reason": found.reason}))
    else:
        print(markdown(found))
        print("\n" + "\n".join(map(str, paths)))
    return 0


def _line(result: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in result.items())
