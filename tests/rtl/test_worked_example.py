"""The numbers of docs/worked-example.md, read from the page alone, on the generated Verilog."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from dcp_hw import rtl
from sim import runner
from tensorlib.activity import COUNTERS
from tensorlib.design import Design

pytestmark = pytest.mark.needs("java", "verilator", "cocotb")


def _words(page: str, heading: str) -> np.ndarray:
    """uint8 `n x 16`, byte 0 first: the words of one table."""
    section = page.split(f"\n## {heading}")[1].split("\n## ")[0]
    values = re.findall(r"^\| \d+ \| `([0-9a-f]{32})` \|", section, re.MULTILINE)
    data = b"".join(bytes.fromhex(value)[::-1] for value in values)
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, 16)


def _registers(page: str) -> dict[str, int]:
    section = page.split("\n## Registers afterwards")[1].split("\n## ")[0]
    rows = re.findall(r"^\| 0x\w\w \| (\w+) \| (\w+) \|", section, re.MULTILINE)
    return {name: int(value, 0) for name, value in rows}


def test_the_verilog_gives_what_the_page_says(root: Path) -> None:
    page = (root / "docs" / "worked-example.md").read_text(encoding="utf-8")
    design = Design.load(root / "tests" / "golden" / "designs" / "broadcast.json")
    built = rtl.model(rtl.verilog([design])[0])
    expected, registers = _words(page, "Output stream"), _registers(page)
    result = runner.run(built, _words(page, "Input stream"), len(expected), timeout_cycles=10_000)
    assert np.array_equal(result.words, expected)
    assert result.latency_cycles == result.observed_latency_cycles == registers["LATENCY"]
    assert result.checksum == registers["CHECKSUM"]
    assert result.design_id == registers["ID"]
    assert result.counters == {name: registers[name] for name in COUNTERS}
