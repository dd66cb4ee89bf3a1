"""Checkpoints: safetensors with a JSON card in the header; nothing of a file is ever executed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from predictors.energy import PRICE_COLUMNS, Prices
from predictors.interface import METRIC_NAMES, PredictorError
from predictors.model import GapPredictor, Shape
from predictors.paper import PaperPredictor

FORMAT = 1
SPACE = "maestro"
WEIGHTS = Path(__file__).parent / "weights" / SPACE
"""Shipped checkpoints, `KIND.safetensors`."""
KINDS = ("ours", "plain", "paper")
"""Ours; ours without the closed form; the paper's."""
UNITS = dict(zip(METRIC_NAMES, ("cycles", "nJ", "mW"), strict=True))

_KEY = "dcp_hw_predictor"
Predictor = GapPredictor | PaperPredictor


def write_tensors(path: Path, tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    save_file(whole, partial, metadata={_KEY: json.dumps(card)})
    partial.replace(path)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and card of a file.

    Raises: PredictorError for a file that is not there, damaged, or of another program.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise PredictorError(
            f"{path}: no readable safetensors file ({str(error).splitlines()[0]}); "
            "accepted: a checkpoint that `dcp-hw train` wrote"
        ) from None
    if text is None:
        raise PredictorError(f"{path}: weights without a card of dcp-hw; accepted: a checkpoint "
                             "that `dcp-hw train` wrote")  # fmt: skip
    try:
        card = json.loads(text)
    except ValueError:
        card = None
    if not isinstance(card, dict):
        raise PredictorError(f"{path}: its card is no JSON object; train it again")
    return tensors, card


def save(path: Path, model: Predictor, card: Mapping[str, Any]) -> None:
    """Write a checkpoint; the card says where the weights come from, this adds what they are."""
    write_tensors(path, model.state_dict(), {**describe(model), **card})


def describe(model: Predictor) -> dict[str, Any]:
    """What every card holds, and what `load` compares."""
    if isinstance(model, PaperPredictor):
        what: dict[str, Any] = {"kind": "paper", "features": "DCP codes: layer 7, dataflow 3x7x2"}
    else:
        kind = "ours" if model.shape.closed else "plain"
        what = {"kind": kind, "shape": asdict(model.shape), "features": list(model.shape.features)}
    return {"format": FORMAT, "space": SPACE, "metrics": UNITS, **what}


def load(path: Path, *, kind: str | None = None) -> tuple[Predictor, dict[str, Any]]:
    """A predictor ready to predict, and its card.

    Args:
        kind: refuse any other.
    Raises: PredictorError for a file that is damaged, of another program, space, format or
        kind, made for other features, or that holds numbers that are not finite.
    """
    tensors, card = read_tensors(path)
    for name, wanted in (("format", FORMAT), ("space", SPACE), ("metrics", UNITS)):
        if card.get(name) != wanted:
            raise PredictorError(f"{path}: {name} is {card.get(name)!r}; accepted: {wanted!r}")
    accepted = KINDS if kind is None else (kind,)
    if card.get("kind") not in accepted:
        found = card.get("kind")
        raise PredictorError(f"{path}: a predictor of kind {found!r}; accepted: {accepted}")
    model = _empty(path, card, tensors)
    expected = describe(model)["features"]
    if card.get("features") != expected:
        raise PredictorError(f"{path}: made for other features than this version computes; "
                             "train it again with `dcp-hw train`")  # fmt: skip
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise PredictorError(f"{path}: {name} holds numbers that are not finite; train again")
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise PredictorError(f"{path}: weights do not fit the network ({reason})") from None
    return model.eval(), card


def _empty(path: Path, card: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Predictor:
    if card["kind"] == "paper":
        return PaperPredictor()
    try:
        shape = Shape(**card["shape"])
        prices = Prices(
            **{name: tensors[f"price_{name}"] for name in ("sizes", "table", "scalars")}
        )
        if not 1 <= shape.width <= 1 << 14 or not 1 <= shape.layers <= 64:
            raise ValueError(f"shape {shape}")
        return GapPredictor(shape, prices)
    except (KeyError, TypeError, ValueError) as error:
        raise PredictorError(
            f"{path}: its card or prices do not describe a network ({error}); prices are n x "
            f"{PRICE_COLUMNS}; train it again"
        ) from None


def parameters(model: nn.Module) -> int:
    """Number of trained numbers."""
    return sum(p.numel() for p in model.parameters())
