"""Subcommand `dcp-hw optimise`: dataflows of a network by propagation through a predictor."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcp_hw.errors import InputError, ToolMissing
from dcp_hw.maestro.cli import add_hardware
from dcp_hw.optimise_settings import (
    DISCRETE,
    DRAWN,
    GUIDES,
    LAYER,
    MODEL,
    MOST_CHECKS,
    MOVED,
    RULES,
    SHARED_MOVES,
    Annealing,
    Descent,
    Moves,
    Relaxation,
    Settings,
)

if TYPE_CHECKING:
    from dcp_hw.optimise import Outcome
    from dcp_hw.optimise_groups import Group

OBJECTIVES = ("latency", "energy", "edp")
_SETTINGS, _MOVES, _DESCENT, _RELAXATION = LAYER, Moves(), Descent(), Relaxation()
_MOVED = 32  # dataflows of moves at model level


def add_parsers(subparsers: Any) -> None:
    """Nothing; adds the subcommand."""
    p = subparsers.add_parser(
        "optimise",
        help="find dataflows of a network by gradients through a trained predictor",
        description="Moves many dataflows of each layer by the gradient of a predicted metric, "
        "and checks the predicted best with the exact evaluator (docs/dcp.md). Hardware left out "
        "is GAMMA's: 168 PEs, L1 512, L2 108000 elements.",
    )
    p.add_argument("--layerset", required=True, metavar="NAME", help="name or CSV of a layer set")
    p.add_argument("--layer", metavar="NAME", help="only this layer")
    p.add_argument("--space", choices=("maestro", "tensorlib"), default="maestro",
                   help="tensorlib: designs of `generate`; --hw is its YAML file")  # fmt: skip
    p.add_argument("--level", choices=("layer", "model"), default="layer",
                   help="a dataflow for each layer, or one for all")  # fmt: skip
    p.add_argument("--objective", type=_objectives, default=("edp",), metavar="A,B",
                   help="of latency, energy, edp (default edp)")  # fmt: skip
    p.add_argument("--front", type=_number, metavar="N",
                   help="instead: a front of latency and energy over N weights")  # fmt: skip
    p.add_argument("--common-tiles", action="store_true",
                   help="model level: tiles within the smallest layer, none clipped")  # fmt: skip
    p.add_argument("--three-levels", action="store_true", help="layer level: none of two")
    p.add_argument("--weights", type=Path, metavar="FILE", help="checkpoint (default: shipped)")
    p.add_argument("--json", action="store_true", help="everything as JSON on stdout")
    p.add_argument("--technology", metavar="NAME", help="table of energies")
    p.add_argument("--threads", type=_number, default=2, metavar="N", help="default 2")
    _add_settings(p)
    add_hardware(p)
    p.set_defaults(run=main_optimise)


def _add_settings(p: argparse.ArgumentParser) -> None:
    group = p.add_argument_group("search")
    for name, value, text in (
        (
            "starts",
            f"{LAYER.starts}, moves and descent {MOVED.starts}; model level {MODEL.starts}, "
            f"moves {_MOVED}",
            "dataflows moved",
        ),
        (
            "screened",
            f"{LAYER.screened}, else {MOVED.screened}",
            "random ones of which the predictor chooses them",
        ),
        ("checks", LAYER.checks, f"candidates checked exactly, at most {MOST_CHECKS}"),
    ):
        group.add_argument(f"--{name}", type=_number, metavar="N",
                           help=f"{text} (default {value})")  # fmt: skip
    group.add_argument("--drawn", choices=DRAWN, default=_SETTINGS.drawn,
                       help="where the random ones come from (default shaped)")  # fmt: skip
    group.add_argument("--caution", type=_real, default=_SETTINGS.caution, metavar="X",
                       help="share of the predictor's interval added (default 1)")  # fmt: skip
    group.add_argument("--method", choices=("moves", "anneal", "descent"),
                       help="to neighbours that the gradient does not rule out (moves), to many "
                       "more that the closed form judges (anneal), or along the gradient as in the "
                       "paper (default anneal; layer level, no closed form: moves)")  # fmt: skip
    group.add_argument("--steps", type=_number, metavar="N",
                       help=f"T (default {_MOVES.steps}; moves at model level "
                       f"{SHARED_MOVES.steps}; descent {_DESCENT.steps})")  # fmt: skip
    group.add_argument("--without-gradients", action="store_true", help="starts and checks only")
    group.add_argument("--seed", type=_natural, default=_SETTINGS.seed, metavar="N",
                       help="default 1")  # fmt: skip
    _add_moves(p.add_argument_group("--method moves or anneal"))
    _add_descent(p.add_argument_group("--method descent"))


def _add_moves(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--tries", type=_number, default=_MOVES.tries, metavar="N",
                       help=f"neighbours predicted in a step (default {_MOVES.tries})")  # fmt: skip
    group.add_argument("--draws", type=_number, default=_MOVES.draws, metavar="N",
                       help=f"of so many random ones (default {_MOVES.draws})")  # fmt: skip
    group.add_argument("--halvings", type=_natural, metavar="N",
                       help="times that the worse half of the dataflows is given up (default "
                       f"{_annealed(LAYER).halvings}, moves {_MOVES.halvings}; model level "
                       f"{_annealed(MODEL).halvings}, moves {SHARED_MOVES.halvings})")  # fmt: skip
    group.add_argument("--predictions", type=_number, metavar="N",
                       help="neighbours that an annealing judges (default "
                       f"{_annealed(LAYER).predictions}; model level "
                       f"{_annealed(MODEL).predictions})")  # fmt: skip
    group.add_argument("--guide", choices=GUIDES, default=_MOVES.guide,
                       help="what the gradient is asked of them: which are worse, which are best, "
                       f"nothing (default {_MOVES.guide})")  # fmt: skip


def _add_descent(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--round-every", type=_number, default=_DESCENT.round_every, metavar="N",
                       help=f"T_int (default {_DESCENT.round_every})")  # fmt: skip
    group.add_argument("--renew-every", type=_natural, default=_DESCENT.renew_every, metavar="N",
                       help=f"0: never (default {_DESCENT.renew_every})")  # fmt: skip
    group.add_argument("--rate", type=_real, default=_DESCENT.rate, metavar="ETA",
                       help=f"step (default {_DESCENT.rate:g})")  # fmt: skip
    group.add_argument("--rule", choices=RULES, default=_DESCENT.rule)
    group.add_argument("--relaxation", choices=DISCRETE, default=_RELAXATION.discrete,
                       help="how orders and parallel dimensions move")  # fmt: skip
    group.add_argument("--gumbel", type=_real, default=_RELAXATION.gumbel, metavar="X",
                       help="scale of noise on discrete choices (default 0)")  # fmt: skip
    group.add_argument("--nearest", action="store_true",
                       help="round tiles to the nearest integers, not to even ones")  # fmt: skip


def _settings(options: argparse.Namespace, closed: bool) -> Settings:
    """The search that the options state; `closed`: the predictor has a closed form."""
    model = options.level == "model"
    method = options.method or ("anneal" if model or closed else "moves")
    chosen = None
    if not options.without_gradients:
        chosen = {"moves": _moves, "anneal": _annealing, "descent": _descent}[method](options)
    annealed = closed if chosen is None else isinstance(chosen, Annealing)
    base = LAYER if annealed else MOVED
    if model and not isinstance(chosen, Descent):
        base = replace(MODEL, starts=_MOVED) if isinstance(chosen, Moves) else MODEL
    starts = options.starts or base.starts
    return Settings(
        starts=starts,
        screened=max(options.screened or base.screened, starts),
        drawn=options.drawn,
        checks=options.checks or base.checks,
        descent=chosen,
        caution=options.caution,
        seed=options.seed,
    )


def _moves(options: argparse.Namespace) -> Moves:
    base = SHARED_MOVES if options.level == "model" else _MOVES
    return replace(
        base,
        steps=options.steps or base.steps,
        tries=options.tries,
        draws=max(options.draws, options.tries),
        guide=options.guide,
        halvings=base.halvings if options.halvings is None else options.halvings,
    )


def _annealed(settings: Settings) -> Annealing:
    assert isinstance(settings.descent, Annealing)
    return settings.descent


def _annealing(options: argparse.Namespace) -> Annealing:
    if options.steps:
        raise InputError("--steps with annealing; accepted: --predictions, or --method moves")
    base = _annealed(MODEL if options.level == "model" else LAYER)
    return replace(
        base,
        predictions=options.predictions or base.predictions,
        guide=options.guide,
        halvings=base.halvings if options.halvings is None else options.halvings,
    )


def _descent(options: argparse.Namespace) -> Descent:
    relaxation = replace(_RELAXATION, discrete=options.relaxation, gumbel=options.gumbel)
    return replace(
        _DESCENT,
        steps=options.steps or _DESCENT.steps,
        rate=options.rate,
        rule=options.rule,
        round_every=options.round_every,
        renew_every=options.renew_every,
        even=not options.nearest,
        relaxation=relaxation,
    )


def main_optimise(options: argparse.Namespace) -> int:
    """Exit code of `optimise`: 1 if a layer has no feasible candidate."""
    began = time.perf_counter()
    try:
        from dcp_hw.optimise_predictor import load_frozen
    except ImportError as error:
        raise ToolMissing(f"{error.name} is not installed; run `make setup-torch`") from None
    if options.space == "tensorlib":
        from dcp_hw import tensorlib_dcp_cli

        return tensorlib_dcp_cli.optimise(options)
    from dcp_hw.optimise import optimise
    from dcp_hw.progress import progress

    frozen = load_frozen(options.weights)
    settings, groups = _settings(options, frozen.closed), _groups(options)
    with progress(f"{options.layerset}: searches", len(groups)) as advance:
        found = optimise(groups, frozen, settings, threads=options.threads, advance=advance)
    seconds = time.perf_counter() - began
    report = {
        "layerset": options.layerset,
        "level": options.level,
        "seed": settings.seed,
        "checkpoint": str(options.weights or "shipped"),
        "calls": sum(outcome.calls for outcome in found),
        "invalid": sum(outcome.invalid for outcome in found),
        "seconds": round(seconds, 3),
    }
    if options.front:
        report["fronts"] = _fronts(groups, found, options)
    else:
        report["results"] = [_result(*pair) for pair in zip(groups, found, strict=True)]
    print(json.dumps(report, indent=2)) if options.json else _print(report)
    return 0 if all(outcome.mapping is not None for outcome in found) else 1


def _groups(options: argparse.Namespace) -> list[Group]:
    """What shares a dataflow, under each objective or pair of weights."""
    from dcp_hw.baselines.problem import Objective, Problem
    from dcp_hw.experiment_cli import accelerator
    from dcp_hw.layerset_csv import load_layerset
    from dcp_hw.optimise_front import weight_grid
    from dcp_hw.optimise_groups import OBJECTIVE_WEIGHTS, Group

    layers = load_layerset(options.layerset).layers
    if options.layer is not None:
        names = [layer.name for layer in layers]
        layers = tuple(layer for layer in layers if layer.name == options.layer)
        if not layers:
            raise InputError(f"layer {options.layer!r} not found; have {', '.join(names)}")
    if options.common_tiles and options.level != "model":
        raise InputError("--common-tiles with --level layer; accepted: --level model")
    machine = accelerator(options)
    if options.front:
        aims = [(Objective.EDP, weights) for weights in weight_grid(options.front)]
    else:
        chosen = [Objective(name) for name in options.objective]
        aims = [(objective, OBJECTIVE_WEIGHTS[objective]) for objective in chosen]
    parts = [layers] if options.level == "model" else [(layer,) for layer in layers]
    return [
        Group(
            problems=tuple(
                Problem(layer=layer, accelerator=machine, objective=objective) for layer in part
            ),
            counts=tuple(layer.count for layer in part),
            weights=weights,
            common=options.common_tiles,
            shallow=options.level == "layer" and not options.three_levels,
        )
        for objective, weights in aims
        for part in parts
    ]


def _result(group: Group, outcome: Outcome) -> dict[str, Any]:
    """One group as JSON: the shared code, and what each layer makes of it."""
    from dcp_hw.optimise_text import code_of, maestro_text

    layers = []
    for count, one in zip(group.counts, outcome.layers, strict=False):
        layer = one.problem.layer
        layers.append(
            {
                "layer": layer.name,
                "count": count,
                "code": code_of(one.problem, one.mapping),
                "maestro": maestro_text(one.problem, one.mapping),
                "predicted": {"cycles": one.predicted_cycles, "energy_nj": one.predicted_nj},
                "exact": {"cycles": one.cycles, "energy_nj": one.energy_nj},
            }
        )
    mapping = outcome.mapping
    return {
        "objective": str(group.problems[0].objective),
        "weights": group.weights,
        "value": outcome.value if mapping is not None else None,
        "code": None if mapping is None else code_of(group.problems[0], mapping),
        "calls": outcome.calls,
        "invalid": outcome.invalid,
        "seconds": round(outcome.seconds, 4),
        "infeasible": None if mapping is not None else _why_none(group),
        "layers": layers,
    }


def _why_none(group: Group) -> str:
    names = ", ".join(problem.layer.name for problem in group.problems)
    return f"{names}: no checked candidate fits the buffers; more --starts may find one"


def _fronts(
    groups: list[Group], found: list[Outcome], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """The front of each layer, or of the network, over all weights."""
    import numpy as np

    from dcp_hw.optimise_front import hypervolume, pareto

    each = len(groups) // options.front
    out = []
    for i in range(each):
        points = np.concatenate([outcome.points for outcome in found[i::each]])
        names = [problem.layer.name for problem in groups[i].problems]
        front = pareto(points)
        worst = tuple((1.1 * points.max(axis=0)).tolist()) if len(points) else (0.0, 0.0)
        out.append(
            {
                "layers": names,
                "weights": [group.weights for group in groups[i::each]],
                "checked": len(points),
                "front": [{"cycles": x, "energy_nj": y} for x, y in front.tolist()],
                "reference": worst,
                "hypervolume": hypervolume(points, worst),
            }
        )
    return out


def _print(report: dict[str, Any]) -> None:
    """The report as text."""
    for front in report.get("fronts", ()):
        print(f"{_names(front['layers'])}: {len(front['front'])} of {front['checked']} points on "
              f"the front, hypervolume {front['hypervolume']:.6g}")  # fmt: skip
        for point in front["front"]:
            print(f"  {point['cycles']:.0f} cycles  {point['energy_nj']:.6g} nJ")
    for result in report.get("results", ()):
        if result["infeasible"]:
            print(f"{result['objective']}: {result['infeasible']}")
        for one in result["layers"]:
            exact, predicted = one["exact"], one["predicted"]
            print(f"{result['objective']:8s} {one['layer']}: {exact['cycles']:.0f} cycles, "
                  f"{exact['energy_nj']:.6g} nJ (predicted {predicted['cycles']:.0f}, "
                  f"{predicted['energy_nj']:.6g})")  # fmt: skip
    totals: dict[str, float] = {}
    for result in report.get("results", ()):
        totals[result["objective"]] = totals.get(result["objective"], 0.0) + (result["value"] or 0)
    for objective, total in totals.items():
        print(f"{objective}: {total:.6g} over all layers and their counts")
    print(f"{report['calls']} exact evaluations, {report['invalid']} invalid, "
          f"{report['seconds']:.1f} s")  # fmt: skip


def _names(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} layers"


def _objectives(text: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    wrong = [word for word in words if word not in OBJECTIVES]
    if wrong or not words:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}; accepted: of {', '.join(OBJECTIVES)}")
    return words


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 8):
        raise argparse.ArgumentTypeError(f"{text[:40]!r}; accepted: an integer of at least 0")
    return int(text)


def _number(text: str) -> int:
    if _natural(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; accepted: an integer of at least 1")
    return int(text)


def _real(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text[:40]!r}; accepted: a number of at least 0")
    return value
