"""Which code a result of a method came from: a hash that comments and docstrings do not change."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from dcp_hw.baselines.blackbox import NEVERGRAD
from dcp_hw.baselines.methods import EXACT, METHODS

_PACKAGE = Path(__file__).resolve().parents[1]
_PREDICTORS = _PACKAGE.parent / "predictors"
_PREDICTOR_PARTS = ("energy", "features", "interface", "loops", "model", "timing", "traffic")
_NO_SEARCH = ("optimise_cli", "optimise_text", "optimise_front")
"""Parts of DCP that no result depends on."""
SHIPPED = _PREDICTORS / "weights" / "maestro" / "ours.safetensors"


@cache
def version(method: str) -> str:
    """Twelve hex digits of the code, and for DCP the weights, that a method's result follows from.

    The evaluator is no part of it: a stored result is evaluated again when it is read.
    """
    sha = hashlib.sha256()
    for path in _sources(method):
        sha.update(f"{path.name} {meaning(path.read_text(encoding='utf-8'))}".encode())
    if method in NEVERGRAD:
        sha.update(_installed("nevergrad").encode())
    if method not in METHODS and SHIPPED.exists():
        sha.update(SHIPPED.read_bytes())
    return sha.hexdigest()[:12]


def _sources(method: str) -> Iterable[Path]:
    """The files that decide what a method finds; methods of plug-ins are DCP's."""
    if method not in METHODS:
        ours = sorted(_PACKAGE.glob("optimise*.py"))
        used = [path for path in ours if path.stem not in _NO_SEARCH]
        return [*used, *(_PREDICTORS / f"{part}.py" for part in _PREDICTOR_PARTS)]
    if method == EXACT:
        parts = ("exact", "bounds")
    elif method.endswith("-like"):
        parts = ("fixed",)
    elif method in ("ga", "gamma"):
        parts = ("genetic",)
    else:
        parts = ("blackbox",)
    return [_PACKAGE / "mapspace.py", *(_PACKAGE / "baselines" / f"{p}.py" for p in parts)]


def meaning(text: str) -> str:
    """A program without its comments, layout and docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and len(body) > 1 and _is_text(body[0]):
            del body[0]
    return ast.dump(tree)


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _installed(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
