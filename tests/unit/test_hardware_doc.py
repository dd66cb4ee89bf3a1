"""docs/hardware.md against the code: fields of commands, counters, and the worked example."""

from __future__ import annotations

import importlib.util
import random
import re
import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

from tensorlib.activity import COUNTERS
from tensorlib.program import (
    TENSORS,
    Command,
    Config,
    End,
    Exec,
    Lane,
    Lanes,
    Load,
    LoadShape,
    Store,
)


@pytest.fixture(scope="module")
def script(root: Path) -> ModuleType:
    """scripts/worked_example.py."""
    path = root / "scripts" / "worked_example.py"
    spec = importlib.util.spec_from_file_location("worked_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["worked_example"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def hardware(root: Path) -> str:
    return (root / "docs" / "hardware.md").read_text(encoding="utf-8")


def test_worked_example_is_what_the_script_prints(script: ModuleType, root: Path) -> None:
    text = (root / "docs" / "worked-example.md").read_text(encoding="utf-8")
    assert text == script.page(), (
        "renew it: .venv/bin/python scripts/worked_example.py > docs/worked-example.md"
    )


def test_counters_are_listed_in_order(hardware: str) -> None:
    section = hardware.split("\n## 9.")[1].split("\n## ")[0]
    listed: dict[int, str] = {}
    for numbers, names in re.findall(r"^\| ([\d, -]+) \| ([a-z_, ]+) \|", section, re.MULTILINE):
        ends = [int(n) for n in re.findall(r"\d+", numbers)]
        which = range(ends[0], ends[1] + 1) if "-" in numbers else ends
        listed |= dict(zip(which, names.split(", "), strict=True))
    assert [listed[n] for n in range(len(COUNTERS))] == list(COUNTERS)


def test_fields_do_not_overlap(script: ModuleType, hardware: str) -> None:
    for name, listed in script.tables(hardware).items():
        bits = [(f.word, bit) for f in listed for bit in range(f.low, f.high + 1)]
        assert len(bits) == len(set(bits)), name
        assert max(bit for _, bit in bits) < 128


@pytest.mark.parametrize("seed", range(20))
def test_fields_are_those_of_the_code(script: ModuleType, hardware: str, seed: int) -> None:
    """Commands with random fields, taken apart with the tables of the text."""
    tables = script.tables(hardware)
    assert set(tables) == {"CONFIG", "LANES", "LOAD", "EXEC", "STORE", "END"}
    rng = random.Random(seed)
    for command in _commands(rng):
        name = type(command).__name__.upper()
        words = command.words()
        for field in tables[name]:
            assert field.value(words[field.word]) == _value(command, field.name), field
        covered = {field.word for field in tables[name]}
        # the header of LANES has no table of its own
        assert covered == set(range(1 if name == "LANES" else 0, len(words)))


def _commands(rng: random.Random) -> list[Command]:
    def u(bits: int) -> int:
        return rng.randrange(1 << bits)

    def s(bits: int) -> int:
        return u(bits) - (1 << (bits - 1))

    def shape() -> LoadShape:
        return LoadShape(
            **{f"stride_{x}": s(16) for x in "abc"},
            **{f"extent_{x}": u(10) for x in "abc"},
            byte_mode=bool(u(1)),
        )

    def many(count: int, bits: int, draw=u) -> tuple[int, ...]:
        return tuple(draw(bits) for _ in range(count))

    config = Config(
        input_load=shape(),
        weight_load=shape(),
        **{f"{x}_strides": many(6, 16, s) for x in ("input", "weight", "output")},
        **{f"{x}_stride": s(16) for x in ("input_fill", "weight_fill", "drain")},
        run_depth=u(3),
        reduction_mask=u(6),
        sweep_depth=u(3),
        sweep_min=u(16),
    )
    bits = {"a": 10, "b": 10, "c": 10, "base": 14, "select": 4}
    lane = Lane(
        **{f"{t}_{x}": u(n) for t in ("input", "weight") for x, n in bits.items()},
        digits=many(4, 8, s),
    )
    load = Load(
        tensor=rng.choice(TENSORS),
        buffer=u(1),
        **{x: u(10) for x in ("na", "nb", "nc", "b_lo", "b_hi", "c_lo", "c_hi")},
    )
    run = Exec(
        **{f"{x}_buffer": u(1) for x in ("input", "weight", "output")},
        **{x: bool(u(1)) for x in ("release_input", "release_weight")},
        **{x: bool(u(1)) for x in ("output_complete", "accumulate")},
        **{f"{x}_base": u(16) for x in ("input", "weight", "output")},
        bounds=tuple(1 + n for n in many(6, 15)),
        limits=many(4, 9),
    )
    store = Store(
        output_buffer=u(1),
        int32=bool(u(1)),
        release_output=bool(u(1)),
        params_buffer=u(1),
        release_params=bool(u(1)),
        log2_group=u(3),
        bounds=many(4, 12),
        lane_strides=many(4, 8, s),
        params_row=u(8),
        param_strides=many(4, 4),
        address_strides=many(4, 16, s),
        address_base=u(16),
        lane_base=u(8),
        pixel_mask=u(16),
        channels=u(12),
    )
    return [config, Lanes(axis1=(lane,), axis2=()), load, run, store, End()]


def _value(command: Command, name: str) -> int:
    """The number that a field of this name holds."""
    if name == "op":
        return command.op
    if isinstance(command, Lanes):
        (command,) = command.axis1  # type: ignore[assignment]
    if name == "tensor":
        return TENSORS.index(command.tensor)  # type: ignore[union-attr]
    index = re.search(r"\[(\d)\]$", name)
    value: object = command
    for part in name.split("[")[0].split("."):
        assert part in {f.name for f in fields(value)}, name  # type: ignore[arg-type]
        value = getattr(value, part)
    return int(value[int(index[1])] if index else value)  # type: ignore[index,call-overload]
