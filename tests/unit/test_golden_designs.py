"""tests/golden/designs stands in for the elaborator in ScalaTest: it must not fall behind."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from tensorlib.design import Design
from tensorlib.design_json import to_text
from tensorlib.families import FAMILIES, family

RENEW = "renew the files with `.venv/bin/python scripts/golden_designs.py`"


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "tests" / "golden" / "designs"


@pytest.fixture(scope="module")
def made(root: Path) -> dict[str, Design]:
    """What the script would write."""
    return runpy.run_path(str(root / "scripts" / "golden_designs.py"))["designs"]()


NAMES = (*FAMILIES, "windows")


def test_one_golden_design_per_family(folder: Path, made: dict[str, Design]) -> None:
    assert {path.stem for path in folder.glob("*.json")} == set(NAMES) == set(made), RENEW
    assert {name: design.window is not None for name, design in made.items() if design.window} == {
        "windows": True
    }


@pytest.mark.parametrize("name", NAMES)
def test_golden_design_is_what_the_elaborator_gives(
    folder: Path, made: dict[str, Design], name: str
) -> None:
    path = folder / f"{name}.json"
    assert path.read_text() == to_text(made[name]), RENEW
    assert Design.load(path).hash() == made[name].hash()
    if name in FAMILIES:
        assert made[name] == family(name, 4, 4)
