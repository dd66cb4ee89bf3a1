"""`--space tensorlib` of `dcp-hw optimise` and `dcp-hw train`."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from dcp_hw.errors import InputError
from dcp_hw.metrics import Infeasible

DATA = Path("build") / "tensorlib-data"


def optimise(options: argparse.Namespace) -> int:
    """Exit code of `optimise --space tensorlib`: 1 if a layer has no design that runs it."""
    from dcp_hw import tensorlib_dcp_plan as dcp
    from dcp_hw.hardware import load_hardware
    from dcp_hw.known import Known
    from dcp_hw.workload import LayerSet

    for name in ("front", "common_tiles", "technology"):
        if getattr(options, name, None):
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} with --space tensorlib; accepted: with --space maestro")
    layers = LayerSet.load(options.layerset)
    if options.layer is not None:
        layers = layers.select(options.layer)
    hardware = load_hardware(options.hw or "default")
    gradients, began = not options.without_gradients, time.perf_counter()
    results = []
    for objective in options.objective:
        known = Known(hardware, objective, options.threads)
        if options.level == "model":
            found = dcp.fixed(tuple(layers), known, gradients=gradients, weights=options.weights)
            results.append(_network(objective, found))
        else:
            bests, seconds = dcp.layer_bests(
                tuple(layers), known, gradients=gradients, weights=options.weights
            )
            results.append(_layers(objective, bests, seconds))
    report = {
        "layerset": options.layerset,
        "space": "tensorlib",
        "level": options.level,
        "checkpoint": str(options.weights or "shipped"),
        "calls": sum(result["calls"] for result in results),
        "seconds": round(time.perf_counter() - began, 3),
        "results": results,
    }
    print(json.dumps(report, indent=2)) if options.json else _print(report)
    return 0 if all(one["feasible"] for each in results for one in each["layers"]) else 1


def _record(layer: Any, outcome: Any, predicted: tuple[float, float] | None) -> dict[str, Any]:
    record: dict[str, Any] = {"layer": layer.name, "count": layer.count}
    if outcome is None or isinstance(outcome, Infeasible):
        reason = "no design checked runs it" if outcome is None else outcome.reason
        return {**record, "feasible": False, "reason": reason}
    from dcp_hw.candidates import Candidate
    from dcp_hw.space import space
    from dcp_hw.tensorlib_dcp_code import encode

    key = outcome.design.name.split("_")[0]
    style = next(style for style in space().arrays if style.key == key)
    candidate = Candidate(style=style, design=outcome.design)
    guess = None if predicted is None else {"cycles": predicted[0], "energy_nj": predicted[1]}
    return {
        **record,
        "feasible": True,
        "design": outcome.design.name,
        "code": encode(candidate, outcome.mapping).tolist(),
        "predicted": guess,
        "exact": {"cycles": outcome.cycles, "energy_nj": outcome.energy_nj},
    }


def _network(objective: str, found: Any) -> dict[str, Any]:
    layers = [
        _record_of(outcome, name)
        for some in found.choices.values()
        for name, outcome in some.items()
    ]
    return {
        "objective": objective,
        "design": [candidate.design.name for candidate in found.candidates],
        "calls": found.calls,
        "propagation_seconds": round(found.seconds, 2),
        "layers": layers or [{"layer": "all", "count": 1, "feasible": False,
                              "reason": "no design fits the memory"}],
    }  # fmt: skip


def _record_of(outcome: Any, name: str) -> dict[str, Any]:
    if isinstance(outcome, Infeasible):
        return {"layer": name, "count": 1, "feasible": False, "reason": outcome.reason}
    return _record(outcome.layer, outcome, None)


def _layers(objective: str, bests: Any, seconds: float) -> dict[str, Any]:
    return {
        "objective": objective,
        "calls": sum(best.calls for best in bests),
        "propagation_seconds": round(seconds, 2),
        "layers": [_record(best.layer, best.outcome, best.predicted) for best in bests],
    }


def _print(report: dict[str, Any]) -> None:
    for result in report["results"]:
        for one in result["layers"]:
            if not one["feasible"]:
                print(f"{result['objective']:8s} {one['layer']}: {one['reason']}")
                continue
            exact, guess = one["exact"], one["predicted"]
            said = "" if guess is None else (
                f" (predicted {guess['cycles']:.0f}, {guess['energy_nj']:.6g})")  # fmt: skip
            print(f"{result['objective']:8s} {one['layer']}: {one['design']}, "
                  f"{exact['cycles']} cycles, {exact['energy_nj']:.6g} nJ{said}")  # fmt: skip
        print(f"{result['objective']}: {result['calls']} checks, "
              f"{result['propagation_seconds']} CPU s of propagation")  # fmt: skip
    print(f"{report['seconds']:.1f} s")


def train(options: argparse.Namespace) -> int:
    """Exit code of `train --space tensorlib`; makes the data set if it is not there."""
    from dcp_hw.tensorlib_dcp import load_predictor
    from dcp_hw.tensorlib_dcp_train import Order, report
    from dcp_hw.tensorlib_dcp_train import train as run

    if options.model != "ours" or options.machine is not None:
        raise InputError("--space tensorlib; accepted: --model ours, no --machine")
    data = options.data or DATA
    if options.report:
        out = options.out or Path("build") / "predictors-tensorlib"
        weights = None if options.weights.name == "maestro" else options.weights
        path = weights / "ours.safetensors" if weights and weights.is_dir() else weights
        print(report(data, load_predictor(path), out, seed=options.seed), end="")
        return 0
    order = Order(
        data=data,
        out=options.out or Path("build") / "train" / "tensorlib",
        seed=options.seed,
        cases=options.cases,
        epochs=options.epochs,
        minutes=options.minutes,
        threads=options.threads,
    )
    path, card = run(order)
    print(json.dumps({"checkpoint": str(path), **card}) if options.json else
          f"{path}: {card['epochs_done']} epochs, {card['training_seconds']:.0f} s of "
          f"training on {card['rows']} rows")  # fmt: skip
    return 0
