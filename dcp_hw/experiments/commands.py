"""Subcommands of `dcp-hw experiment` in the MAESTRO space; docs/experiments.md explains them."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcp_hw.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dcp_hw.workload import LayerSet

NETWORKS = ("mobilenetv2", "resnet101", "vit_b16")
FAST = ("random", "ga", "gamma", "naas")
"""Searches that take microseconds a sample beside the evaluation."""
FIXED = ("nvdla-like", "eyeriss-like", "shidiannao-like")
DCP = ("dcp", "dcp-random-moves", "dcp-without-gradients")
TWO = "dcp-two-levels"
SLOW = ("pso", "portfolio", "one-plus-one", "cma-es", "de", "tbpsa")
"""Nevergrad's: about a millisecond a sample."""
STORE = Path("build") / "experiments" / "cells"


def add_parsers(names: Any) -> None:
    """Nothing; adds the experiments."""
    p = names.add_parser(
        "samples",
        help="best value against samples, on a dozen layers",
        description="Best value after 10 to 10,000 samples of all methods, DCP's training samples "
        "shown in full and divided by the layers that it serves.",
    )
    add_common(p, "samples", methods=(*FAST, *SLOW, *FIXED, "exact", *DCP, TWO), seeds=1)
    _add_networks(p)
    p.add_argument("--each", type=positive_option, default=4, metavar="N",
                   help="layers of each network; default 4")  # fmt: skip
    p.add_argument("--objectives", type=words, default=("edp",), metavar="A", help="one of them")
    p.set_defaults(run=main_samples)

    p = names.add_parser(
        "table2",
        help="one dataflow for a whole network",
        description="One mapping for each network, against fixed dataflows and searches.",
    )
    add_common(p, "table2", methods=(*FAST, *FIXED, *DCP), seeds=3)
    _add_networks(p)
    p.add_argument("--objectives", type=words, default=("edp", "latency", "energy"), metavar="A,B")
    p.set_defaults(run=main_table2)

    p = names.add_parser(
        "table3",
        help="several objectives: all metrics under each, and Pareto fronts",
        description="Each layer's best mapping under one objective in all metrics, and fronts of "
        "latency and energy of one mapping for a network, with hypervolume.",
    )
    add_common(p, "table3", methods=(*FAST, *DCP), seeds=3)
    _add_networks(p)
    p.add_argument("--single", type=words, default=(*FAST, "exact", *DCP), metavar="A,B",
                   help="methods of the layer level")  # fmt: skip
    p.add_argument("--weights", type=positive_option, default=9, metavar="N",
                   help="pairs of weights of a front; default 9")  # fmt: skip
    p.set_defaults(run=main_table3)

    p = names.add_parser(
        "fig6",
        help="hardware that the predictor has not seen: zero-shot, few-shot, from scratch",
        description="DCP with the shipped predictor on machines it has not seen, fine-tuned on a "
        "tenth of GAMMA's samples, and searches from scratch; layer level, EDP.",
    )
    add_common(p, "fig6", methods=("gamma", "naas"), seeds=1)
    p.add_argument("--layersets", type=words, default=NETWORKS[:1], metavar="A", help="one")
    p.add_argument("--machines", type=words, metavar="A,B", help="default: all")
    p.add_argument("--without-dcp", action="store_true", help="searches from scratch only")
    p.add_argument("--learned", type=Path, metavar="FILE",
                   help="also rows of a predictor without a closed form (`dcp-hw train --model "
                   "plain`)")  # fmt: skip
    p.set_defaults(run=main_fig6)

    p = names.add_parser(
        "tight",
        help="one dataflow for a network, with a quarter of the buffers and little bandwidth",
        description="One mapping for each network by EDP: 168 PEs, L1 128, L2 27,000 elements, "
        "NoC of 8 to 32 elements per cycle.",
    )
    add_common(p, "tight", methods=(*FAST, *FIXED, *DCP), seeds=3)
    _add_networks(p)
    p.add_argument("--bandwidths", type=words, default=("8", "16", "24", "32"), metavar="A,B")
    p.set_defaults(run=main_tight)


def add_common(p: argparse.ArgumentParser, name: str, methods: Iterable[str], seeds: int) -> None:
    """Nothing; adds the options that all experiments have."""
    listed = ",".join(methods)
    p.add_argument("--methods", type=words, default=words(listed), metavar="A,B",
                   help=f"NAME, or NAME@SAMPLES with one seed; default {listed}")  # fmt: skip
    p.add_argument(
        "--budget", type=positive_option, default=10_000, metavar="N", help="default 10000"
    )
    p.add_argument("--seeds", type=positive_option, default=seeds, metavar="N",
                   help=f"seeds 1 to N; default {seeds}")  # fmt: skip
    p.add_argument("--out", type=Path, default=STORE.parent / name, metavar="DIR",
                   help=f"default {STORE.parent / name}")  # fmt: skip
    p.add_argument("--cells", type=Path, default=STORE, metavar="DIR",
                   help=f"kept searches, shared by experiments; default {STORE}")  # fmt: skip
    p.add_argument("--json", action="store_true", help="the table as JSON")


def _add_networks(p: argparse.ArgumentParser) -> None:
    p.add_argument("--layersets", type=words, default=NETWORKS, metavar="A,B",
                   help=f"default {','.join(NETWORKS)}")  # fmt: skip


def positive_option(text: str) -> int:
    """A number of an option, at least 1."""
    from dcp_hw.experiment_cli import positive

    return positive(text)


def words(text: str) -> tuple[str, ...]:
    """The parts of a list with commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def networks(options: argparse.Namespace) -> tuple[LayerSet, ...]:
    """The layer sets asked for, without layers that the honest model cannot express."""
    from dcp_hw.experiment_cli import expressible
    from dcp_hw.layerset_csv import load_layerset

    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # matrices are small: threads only wait
    if not options.layersets:
        raise InputError("--layersets is empty; accepted: at least one name")
    return tuple(expressible(load_layerset(name)) for name in options.layersets)


def command(options: argparse.Namespace, *more: str) -> str:
    """The command that makes an experiment again."""
    listed = [f"--{name} {','.join(getattr(options, name))}" for name in more]
    given = [f"dcp-hw experiment {options.experiment}", *listed]
    given += [f"--methods {','.join(options.methods)}"]
    return " ".join([*given, f"--budget {options.budget}", f"--seeds {options.seeds}"])


def show(options: argparse.Namespace, table: Iterable[Any]) -> int:
    """Exit code 0; prints the page, or the rows as JSON."""
    from dcp_hw.experiment_cli import finite

    if options.json:
        found = [{key: finite(value) for key, value in asdict(row).items()} for row in table]
        print(json.dumps({"rows": found, "out": str(options.out)}, indent=2))
    else:
        page = options.out / f"{options.experiment}.md"
        print(page.read_text(encoding="utf-8"), end="")
    return 0


def seeds(options: argparse.Namespace) -> tuple[int, ...]:
    """Seeds 1 to N."""
    return tuple(range(1, options.seeds + 1))


def objectives(options: argparse.Namespace) -> tuple[Any, ...]:
    """The objectives asked for. Raises: InputError for a name that is none."""
    from dcp_hw.baselines.problem import Objective

    accepted = [str(objective) for objective in Objective]
    for word in options.objectives:
        if word not in accepted:
            raise InputError(f"objective {word!r}; accepted: {', '.join(accepted)}")
    return tuple(Objective(word) for word in options.objectives)


def main_samples(options: argparse.Namespace) -> int:
    """Exit code of `experiment samples`."""
    from dcp_hw.baselines.problem import GAMMA_ACCELERATOR
    from dcp_hw.experiments import samples

    if len(options.objectives) != 1:
        raise InputError(f"objectives {list(options.objectives)}; accepted: one")
    plan = samples.SamplePlan(
        networks=networks(options),
        each=options.each,
        accelerator=GAMMA_ACCELERATOR,
        objective=objectives(options)[0],
        methods=options.methods,
        budget=options.budget,
        seeds=seeds(options),
    )
    again = command(options, "layersets", "objectives") + f" --each {options.each}"
    return show(options, samples.run(plan, options.out, options.cells, again))


TABLE2 = (
    "One dataflow for each network",
    "Model level: all layers of a network share one mapping, clipped to each layer; a mapping "
    "counts only if it fits every layer. The fixed dataflows may shrink their tiles on each layer "
    "whose buffers they overflow, which the searched mappings may not: there they have the "
    "easier task. Honest model; a sample is one mapping, evaluated on every layer; invalid ones "
    "count.",
)


def main_table2(options: argparse.Namespace) -> int:
    """Exit code of `experiment table2`."""
    from dcp_hw.baselines.problem import GAMMA_ACCELERATOR
    from dcp_hw.experiments import network_table

    plan = network_table.NetworkPlan(
        networks=networks(options),
        machines=(("GAMMA's", GAMMA_ACCELERATOR),),
        objectives=objectives(options),
        methods=options.methods,
        budget=options.budget,
        seeds=seeds(options),
    )
    again = command(options, "layersets", "objectives")
    table = network_table.run(plan, options.out, options.cells, "table2", TABLE2, again)
    return show(options, table)


def main_table3(options: argparse.Namespace) -> int:
    """Exit code of `experiment table3`."""
    from dcp_hw.baselines.problem import GAMMA_ACCELERATOR
    from dcp_hw.experiments import table3

    plan = table3.MultiPlan(
        networks=networks(options),
        accelerator=GAMMA_ACCELERATOR,
        methods=options.methods,
        single=options.single,
        weights=options.weights,
        budget=options.budget,
        seeds=seeds(options),
    )
    again = command(options, "layersets", "single") + f" --weights {options.weights}"
    single, fronts = table3.run(plan, options.out, options.cells, again)
    return show(options, [*single, *fronts])


def main_fig6(options: argparse.Namespace) -> int:
    """Exit code of `experiment fig6`."""
    from dcp_hw.experiments import fig6

    if len(options.layersets) != 1:
        raise InputError(f"--layersets {','.join(options.layersets)}; accepted: one")
    options.machines = options.machines or tuple(fig6.MACHINES)
    plan = fig6.UnseenPlan(
        network=networks(options)[0],
        machines=options.machines,
        methods=options.methods,
        variants=() if options.without_dcp else _variants(options),
        budget=options.budget,
        share=0.1,
        seeds=seeds(options),
        learned=options.learned,
    )
    again = command(options, "layersets", "machines")
    again += f" --learned {options.learned.name}" if options.learned else ""
    return show(options, fig6.run(plan, options.out, options.cells, again))


def _variants(options: argparse.Namespace) -> tuple[str, ...]:
    """DCP's rows of Fig. 6. Raises: InputError for a checkpoint that is not there."""
    from dcp_hw.experiments.fig6 import LEARNED, VARIANTS

    if options.learned is None:
        return tuple(VARIANTS)
    if not options.learned.is_file():
        raise InputError(
            f"--learned {options.learned}: no checkpoint (make one: `dcp-hw train --model plain`)"
        )
    return (*VARIANTS, *LEARNED)


TIGHT = (
    "One dataflow for each network, little memory and bandwidth",
    "As Table 2, EDP, with L1 and L2 at a quarter and a network-on-chip of few elements per cycle. "
    "The fixed dataflows may shrink their tiles on each layer that does not fit.",
)


def main_tight(options: argparse.Namespace) -> int:
    """Exit code of `experiment tight`."""
    from dcp_hw.baselines.problem import GAMMA_ACCELERATOR, Objective
    from dcp_hw.experiments import network_table

    machine = replace(GAMMA_ACCELERATOR.machine, l1_size=128, l2_size=27_000)
    try:
        bandwidths = [positive_option(word) for word in options.bandwidths]
    except argparse.ArgumentTypeError as error:
        raise InputError(f"--bandwidths: {error}") from None
    plan = network_table.NetworkPlan(
        networks=networks(options),
        machines=tuple(
            (f"NoC {n}", replace(GAMMA_ACCELERATOR, machine=replace(machine, noc_bw=n)))
            for n in bandwidths
        ),
        objectives=(Objective.EDP,),
        methods=options.methods,
        budget=options.budget,
        seeds=seeds(options),
    )
    again = command(options, "layersets", "bandwidths")
    table = network_table.run(plan, options.out, options.cells, "tight", TIGHT, again)
    return show(options, table)
