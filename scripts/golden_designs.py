"""Writes tests/golden/designs/*.json: one 4 x 4 design of each family, for pytest and ScalaTest."""

from pathlib import Path

from tensorlib.families import FAMILIES, family

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "golden" / "designs"


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for stale in FOLDER.glob("*.json"):
        stale.unlink()
    for kind in FAMILIES:
        family(kind, 4, 4).save(FOLDER / f"{kind}.json")


if __name__ == "__main__":
    main()
