"""Subcommand `dcp-hw train`: train a predictor, or judge those that are trained."""

from __future__ import annotations

import argparse
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dcp_hw.errors import InputError, ToolMissing

MODELS = ("ours", "paper", "plain")
WEIGHTS = Path(__file__).resolve().parents[1] / "predictors" / "weights" / "maestro"
_MOST = 1 << 31


def add_parsers(subparsers: Any) -> None:
    """Nothing; adds the subcommand."""
    p = subparsers.add_parser(
        "train",
        help="train a cost predictor on a data set, or report how well the trained ones predict",
        description="Trains a predictor of latency, energy and power on a data set that "
        "`dcp-hw dataset` made; writes MODEL.safetensors and its curve. Stopped, the same command "
        "goes on. With --report: tables and plots on layers and dataflows not seen in training, "
        "beside the bound alone and boosted trees (docs/predictors.md).",
    )
    p.add_argument("--space", choices=("maestro", "tensorlib"), default="maestro")
    p.add_argument("--model", choices=MODELS, default="ours",
                   help="ours; the DCP paper's; plain: ours without the closed form")  # fmt: skip
    p.add_argument("--data", type=Path,
                   help="folder of the data set; tensorlib: made there if it is not")  # fmt: skip
    p.add_argument("--cases", type=_number, default=16_000, metavar="N",
                   help="tensorlib: size of the data set (default 16000)")  # fmt: skip
    p.add_argument("--out", type=Path, help="folder (default build/train/MODEL, build/predictors)")
    p.add_argument("--seed", type=_count, default=0, help="of rows and weights (default 0)")
    p.add_argument("--rows", type=_number, default=1_000_000, metavar="N",
                   help="rows to draw, a fifth held out (default 1000000)")  # fmt: skip
    p.add_argument("--minutes", type=_minutes, metavar="M", help="end after so much training")
    p.add_argument("--epochs", type=_number, metavar="N", help="instead of the model's own")
    p.add_argument("--machine", type=_count, metavar="ID", help="only rows of this machine")
    p.add_argument("--threads", type=_number, default=2, metavar="N", help="default 2")
    p.add_argument("--report", action="store_true", help="judge the weights instead of training")
    p.add_argument("--weights", type=Path, default=WEIGHTS,
                   help="folder of checkpoints to judge (default: shipped)")  # fmt: skip
    p.add_argument("--layers", type=_number, default=60, metavar="N",
                   help="of a report: layers of each quadrant (default 60)")  # fmt: skip
    p.add_argument("--json", action="store_true", help="result as JSON on stdout")
    p.set_defaults(run=run_train)


def run_train(options: argparse.Namespace) -> int:
    """Exit code of `train`."""
    _need_torch()
    if options.space == "tensorlib":
        from dcp_hw import tensorlib_dcp_cli

        return tensorlib_dcp_cli.train(options)
    if options.data is None:
        raise InputError("--data is missing; accepted: a folder that `dcp-hw dataset` made")
    return _report(options) if options.report else _train(options)


def _train(options: argparse.Namespace) -> int:
    from dcp_hw.train import Order, train

    order = Order(
        kind=options.model,
        data=options.data,
        out=options.out or Path("build") / "train" / options.model,
        seed=options.seed,
        rows=options.rows,
        minutes=options.minutes,
        epochs=options.epochs,
        machine=options.machine,
        threads=options.threads,
    )
    trained = train(order)
    last = trained.curve[-1]
    if options.json:
        print(json.dumps({"checkpoint": str(trained.checkpoint), **trained.card}))
        return 0
    print(f"{trained.checkpoint}: {last.epoch} epochs, {last.seconds:.0f} s of training, "
          f"loss {last.training_loss:.4f}, held out {last.held_loss:.4f}")  # fmt: skip
    return 0


def _report(options: argparse.Namespace) -> int:
    from dcp_hw.train_report import report

    made = report(
        options.data,
        options.weights,
        options.out or Path("build") / "predictors",
        layers=options.layers,
        threads=options.threads,
    )
    print(json.dumps(made.summary()) if options.json else made.markdown(), end="")
    return 0


def _need_torch() -> None:
    for name in ("torch", "safetensors", "sklearn"):
        if find_spec(name) is None:
            raise ToolMissing(f"{name} is not installed; run `make setup-torch`")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < _MOST):
        raise InputError(f"{text[:40]!r} asked for; accepted: a whole number from 0")
    return int(text)


def _number(text: str) -> int:
    if _count(text) < 1:
        raise InputError(f"{text[:40]!r} asked for; accepted: a whole number from 1")
    return int(text)


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 10_000:
        raise InputError(f"{text[:40]!r} minutes asked for; accepted: a number above 0")
    return value
