"""Writes tests/golden/designs/*.json, for pytest and ScalaTest.

One 4 x 4 design of each family, and one whose PEs have windows.
"""

from pathlib import Path

from tensorlib.design import Design
from tensorlib.families import FAMILIES, family
from tensorlib.from_stt import design_from_stt
from tensorlib.op import gemm

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "golden" / "designs"
SYSTOLIC = [[-1, 0, 1], [0, 1, 1], [1, 1, 1]]


def designs() -> dict[str, Design]:
    """Designs by the name of their file."""
    windows = design_from_stt(gemm(), "mnk", SYSTOLIC, 4, 4, depth=256, words=1024)
    assert isinstance(windows, Design)
    return {kind: family(kind, 4, 4) for kind in FAMILIES} | {"windows": windows}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for stale in FOLDER.glob("*.json"):
        stale.unlink()
    for name, design in designs().items():
        design.save(FOLDER / f"{name}.json")


if __name__ == "__main__":
    main()
