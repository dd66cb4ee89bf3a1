"""Subcommands of `dcp-hw` for searches of MAESTRO mappings and for the experiments."""

from __future__ import annotations

import argparse
import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcp_hw.errors import InputError
from dcp_hw.experiments import bridge_cli, commands, fig11_cli
from dcp_hw.experiments.commands import STORE, words
from dcp_hw.maestro.cli import add_hardware, hardware_of

if TYPE_CHECKING:
    from dcp_hw.workload import LayerSet


def add_parsers(subparsers: Any) -> None:
    """Nothing; adds the subcommands."""
    p = subparsers.add_parser(
        "baseline",
        help="search the mapping of one layer",
        description="Searches the (3, 7, 2) space of a layer under a budget of samples. "
        "Hardware left out is GAMMA's: 168 PEs, L1 512, L2 108000 elements.",
    )
    p.add_argument("layerset", metavar="LAYERSET", help="name or CSV of a layer set")
    p.add_argument("--layer", metavar="NAME", help="default: the first one")
    p.add_argument("--method", default="gamma", metavar="NAME", help="default gamma")
    p.add_argument("--objective", choices=("latency", "energy", "edp"), default="edp")
    p.add_argument("--budget", type=positive, default=10_000, metavar="N", help="default 10000")
    p.add_argument("--seed", type=_natural, default=1, metavar="N", help="default 1")
    p.add_argument("--json", action="store_true", help="everything, with the trace, as JSON")
    _add_machine(p)
    p.set_defaults(run=main_baseline)

    p = subparsers.add_parser("experiment", help="run one of the experiments")
    names = p.add_subparsers(dest="experiment", metavar="NAME", required=True)
    p = names.add_parser(
        "table1",
        help="every layer, objective and method under one budget",
        description="Tables and a plot of all methods on a network. A cell once searched is kept; "
        "run the same command again to go on.",
    )
    p.add_argument("--layerset", default="mobilenetv2", metavar="NAME", help="default mobilenetv2")
    p.add_argument("--objectives", type=words, default=("edp",), metavar="A,B")
    p.add_argument("--methods", type=words, metavar="A,B",
                   help="NAME, or NAME@SAMPLES with one seed; default: all")  # fmt: skip
    p.add_argument("--budget", type=positive, default=10_000, metavar="N", help="default 10000")
    p.add_argument("--seeds", type=positive, default=1, metavar="N", help="seeds 1 to N; default 1")
    p.add_argument("--out", type=Path, metavar="DIR",
                   help="default build/experiments/table1/LAYERSET")  # fmt: skip
    p.add_argument("--cells", type=Path, default=STORE, metavar="DIR",
                   help=f"kept searches, shared by experiments; default {STORE}")  # fmt: skip
    p.add_argument("--json", action="store_true", help="the table as JSON")
    _add_machine(p)
    p.set_defaults(run=main_table1)
    commands.add_parsers(names)
    bridge_cli.add_parser(names)
    fig11_cli.add_parser(names)


def _add_machine(p: argparse.ArgumentParser) -> None:
    add_hardware(p)
    p.add_argument("--technology", metavar="NAME", help="table of energies")


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text[:40]!r}; accepted: an integer of at least 0")
    return int(text)


def positive(text: str) -> int:
    """A number of an option, at least 1."""
    if _natural(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; accepted: an integer of at least 1")
    return int(text)


def accelerator(options: argparse.Namespace) -> Any:
    """The accelerator that the options state; left out, GAMMA's."""
    from dcp_hw.baselines.problem import Accelerator
    from dcp_hw.maestro.compat import GAMMA_HARDWARE
    from dcp_hw.maestro.honest_types import HonestMachine
    from dcp_hw.maestro.layer import INT_MAX
    from dcp_hw.technology import DEFAULT_TECHNOLOGY, load_technology

    given = hardware_of(options, GAMMA_HARDWARE)
    if given.simd != 1:
        raise InputError(f"--num_simd_lanes is {given.simd}; accepted: 1 in the honest model")
    values = {
        "l1_size": given.l1_size,
        "l2_size": given.l2_size,
        "noc_bw": given.noc_bw,
        "dram_bw": None if given.offchip_bw == GAMMA_HARDWARE.offchip_bw else given.offchip_bw,
    }
    limits = {name: None if value == INT_MAX else value for name, value in values.items()}
    technology = options.technology or DEFAULT_TECHNOLOGY
    load_technology(technology)
    machine = HonestMachine(pes=given.pes, noc_latency=given.noc_latency, **limits)
    return Accelerator(machine=machine, technology=technology)


def main_baseline(options: argparse.Namespace) -> int:
    """Exit code of `baseline`: 1 if no feasible mapping was found."""
    from dcp_hw.baselines.bounds import bound
    from dcp_hw.baselines.methods import searcher
    from dcp_hw.baselines.problem import Objective, Problem
    from dcp_hw.layerset_csv import load_layerset
    from dcp_hw.mapspace import text

    layers = {layer.name: layer for layer in load_layerset(options.layerset).layers}
    name = options.layer or next(iter(layers))
    if name not in layers:
        raise InputError(f"layer {name!r} not found; have {', '.join(layers)}")
    objective, machine = Objective(options.objective), accelerator(options)
    search = searcher(options.method)
    found = search(layers[name], machine, objective, options.budget, options.seed)
    least = bound(Problem(layer=layers[name], accelerator=machine, objective=objective))
    if options.json:
        from dataclasses import asdict

        about = {"layer": name, "objective": objective, "bound": least.of(objective)}
        values = about | asdict(found)
        print(json.dumps({key: finite(value) for key, value in values.items()}, indent=2))
    elif found.mapping is None:
        print(f"{name}: no feasible mapping in {found.calls} samples")
    else:
        print(
            f"{name}: {objective} {found.value:.6g}, {found.value / least.of(objective):.3f} x the "
            f"bound; {found.cycles:.0f} cycles, {found.energy_nj:.6g} nJ; {found.calls} samples, "
            f"{found.invalid} invalid, {found.seconds:.2f} s"
        )
        print(text(found.mapping))
    return 0 if found.mapping is not None else 1


def finite(value: object) -> object:
    """The value as JSON can hold it."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main_table1(options: argparse.Namespace) -> int:
    """Exit code of `experiment table1`."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # matrices are small: threads only wait
    from dataclasses import asdict

    from dcp_hw.baselines.methods import methods
    from dcp_hw.baselines.problem import Objective
    from dcp_hw.experiments import table1
    from dcp_hw.experiments.cells import Plan
    from dcp_hw.layerset_csv import load_layerset

    accepted = [str(objective) for objective in Objective]
    for word in options.objectives:
        if word not in accepted:
            raise InputError(f"objective {word!r}; accepted: {', '.join(accepted)}")
    layers = expressible(load_layerset(options.layerset))
    names = options.methods or tuple(methods())
    plan = Plan(
        layers=layers,
        accelerator=accelerator(options),
        objectives=tuple(Objective(word) for word in options.objectives),
        methods=names,
        budget=options.budget,
        seeds=tuple(range(1, options.seeds + 1)),
    )
    folder = options.out or STORE.parent / "table1" / layers.name
    table = table1.run(plan, folder, _command(options, names), options.cells)
    if options.json:
        rows = [{key: finite(value) for key, value in asdict(row).items()} for row in table]
        print(json.dumps({"rows": rows, "out": str(folder)}, indent=2))
    else:
        print((folder / "table1.md").read_text(encoding="utf-8"), end="")
    return 0


_FLAGS = {
    "hw": "hw",
    "num_pes": "pes",
    "noc_bw_cstr": "noc_bw",
    "offchip_bw_cstr": "offchip_bw",
    "l1_size_cstr": "l1_size",
    "l2_size_cstr": "l2_size",
    "noc_hop_latency": "noc_hop_latency",
    "technology": "technology",
}


def expressible(layers: LayerSet) -> LayerSet:
    """The layers that the honest model can express; stderr names the others."""
    from dcp_hw.maestro.honest_energy import honest_layers
    from dcp_hw.metrics import Infeasible
    from dcp_hw.process import note

    kept = []
    for layer in layers.layers:
        if isinstance(found := honest_layers(layer), Infeasible):
            note(f"layer '{layer.name}' is left out: {found.reason}")
        else:
            kept.append(layer)
    return replace(layers, layers=tuple(kept))


def _command(options: argparse.Namespace, names: tuple[str, ...]) -> str:
    """The command that makes the table again."""
    words = ["dcp-hw experiment table1", f"--layerset {options.layerset}"]
    words += [f"--objectives {','.join(options.objectives)}", f"--methods {','.join(names)}"]
    words += [f"--budget {options.budget}", f"--seeds {options.seeds}"]
    words += [
        f"--{flag} {value}"
        for flag, name in _FLAGS.items()
        if (value := getattr(options, name)) is not None
    ]
    return " ".join(words)
