"""tests/golden/designs stands in for the elaborator in ScalaTest: it must not fall behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tensorlib.design import Design
from tensorlib.design_json import to_text
from tensorlib.families import FAMILIES, family

RENEW = "renew the files with `.venv/bin/python scripts/golden_designs.py`"


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "tests" / "golden" / "designs"


def test_one_golden_design_per_family(folder: Path) -> None:
    assert {path.stem for path in folder.glob("*.json")} == set(FAMILIES), RENEW


@pytest.mark.parametrize("kind", FAMILIES)
def test_golden_design_is_what_the_elaborator_gives(folder: Path, kind: str) -> None:
    path = folder / f"{kind}.json"
    assert path.read_text() == to_text(family(kind, 4, 4)), RENEW
    assert Design.load(path).hash() == family(kind, 4, 4).hash()
