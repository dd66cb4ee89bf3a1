"""Breaks Verilog on purpose, to show that the checks would notice.

An `Edit` is a regular expression on the text of some files; `mutate` applies edits to a copy of
a design and refuses edits that change nothing, so that a fault is never reported as missed (or
found) when there was none.
"""

from __future__ import annotations

import difflib
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from sim.errors import SimError
from sim.verilate import verilog_files


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement in the text of a design.

    Attributes:
        files: pattern of file names, such as `PeArray.*`.
        pattern: regular expression; `.` matches no line break, `^` and `$` match at lines.
        replacement: text with `\\1`, or a function of the match.
        count: of replacements per file, the first ones; None for all.
    """

    files: str
    pattern: str
    replacement: str | Callable[[re.Match[str]], str]
    count: int | None = 1


class NoMatch(SimError):
    """An edit that would change nothing."""


def fits(edit: Edit, verilog_dir: Path) -> bool:
    """Whether an edit would change a design."""
    return bool(_apply(edit, verilog_files(verilog_dir)))


def mutate(verilog_dir: Path, out_dir: Path, edits: Sequence[Edit]) -> list[str]:
    """Lines of the difference, `-` before and `+` after; `out_dir` then has the changed design.

    Args:
        out_dir: must not exist or be empty.

    Raises:
        NoMatch: an edit matches nothing, or what it writes is what was there.
        SimError: `out_dir` has files already.
    """
    if out_dir.exists() and any(out_dir.iterdir()):
        raise SimError(f"{out_dir} is not empty")
    shutil.copytree(verilog_dir, out_dir, dirs_exist_ok=True)
    for edit in edits:
        changed = _apply(edit, verilog_files(out_dir))
        if not changed:
            raise NoMatch(f"{edit.pattern!r} changes nothing in {edit.files} of {verilog_dir}")
        for path, text in changed.items():
            path.write_text(text)
    lines: list[str] = []
    for path in verilog_files(out_dir):
        before = (verilog_dir / path.relative_to(out_dir)).read_text()
        if before != path.read_text():
            lines += _difference(path.name, before, path.read_text())
    if not lines:
        raise NoMatch(f"the edits of {verilog_dir} cancel out")
    return lines


def _apply(edit: Edit, files: Sequence[Path]) -> dict[Path, str]:
    """New text of the files that the edit changes."""
    changed = {}
    for path in files:
        if fnmatch(path.name, edit.files):
            before = path.read_text()
            after = re.sub(
                edit.pattern, edit.replacement, before, count=edit.count or 0, flags=re.MULTILINE
            )
            if after != before:
                changed[path] = after
    return changed


def _difference(name: str, before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [f"{name}: {line}" for line in lines if not line.startswith(("---", "+++", "@@"))]


# --- faults for generated accelerators ----------------------------------------------

_LINK = r"\w*(?:Link|Chain|drain)_\w+"

FAULTS: dict[str, Edit] = {
    "link one cycle late": Edit(
        "PeArray.*",
        rf"^(\s*)reg(\s*)(\[\d+:0\])(\s*)({_LINK});([\s\S]*?)\b\5 <=([^;]+);",
        r"\1reg\2\3\4\5;\1reg\2\3\4\5_late;\6\5_late <=\7;\n    \5 <= \5_late;",
    ),
    "two links crossed": Edit(
        "PeArray.*",
        rf"\b({_LINK}) <= (\w+);([\s\S]*?)\b({_LINK}) <= (?!\2;)(\w+);",
        r"\1 <= \5;\3\4 <= \2;",
    ),
    "operands of two PEs swapped": Edit(
        "PeArray.*",
        r"(\.io_input\s*)\((\w+)\)([\s\S]*?\.io_input\s*)\((?!\2\))(\w+)\)",
        r"\1(\4)\3(\2)",
    ),
    "operand without its sign": Edit("Pe*.*", r"\{\{8\{\w+\[7\]\}\}, (\w+)\} \*", r"{8'h0, \1} *"),
    "PE enabled a cycle late": Edit(
        "PeArray.*", r"(\.io_enable\s*)\(io_valid_1 & (\w+)\)", r"\1(io_valid_2 & \2)"
    ),
    "sum of 15 bits": Edit("OutputBanks.*", r"\b(\w*sums_0) <=([^;]+);", r"\1 <= 32'h7FFF & (\2);"),
    "partial sum not read": Edit("OutputBanks.*", r"\(\w*next_partial\s*\?", "(1'b0 ?", None),
    "bank reads another row": Edit("InputBanks.*", r"(\.rrow\s*)\((.+)\),$", r"\1((\2) ^ 1'b1),"),
    "bank keeps words of others": Edit("WeightBanks.*", r"(\.wen\s*)\(\w+\)", r"\1(anyStep)"),
    "half rounded up": Edit("StoreUnit.*", r"& \w*result_floor\w*\[0\]", "& 1'b1", None),
    "scale of another channel": Edit(
        "StoreUnit.*", r"(4'b0100:\s+casez_tmp_0 = \w+)\[79:64\]", r"\1[63:48]"
    ),
    "checksum subtracts": Edit("StoreUnit.*", r"(checksum <=\s+checksum) \+", r"\1 -"),
    "MACs not counted": Edit("Activity.*", r"\bmac <=\s+mac\b", "mac <= 32'd0 & mac"),
    "latency one too small": Edit("Activity.*", r"latency <= cycle \+ 32'h1", "latency <= cycle"),
    "beats lost": Edit(
        "OutputAdapter.*",
        r"io_beat_valid = io_word_valid;",
        "io_beat_valid = io_word_valid & ^io_word_bits;",
    ),
    "output changes while it waits": Edit(
        "OutputAdapter.*",
        r"io_beat_bits = io_word_bits;",
        "io_beat_bits = io_word_bits ^ {128{~io_beat_ready}};",
    ),
    "output waits for ready": Edit(
        "OutputAdapter.*",
        r"io_beat_valid = io_word_valid;",
        "io_beat_valid = io_word_valid & io_beat_ready;",
    ),
    "decoder keeps its state at a start": Edit(
        "Accelerator.*", r"(Decoder decoder \([\s\S]*?\.reset\s*)\(coreReset\)", r"\1(reset)"
    ),
}
"""Faults by name; each fits designs with the structure that it breaks (see `fits`)."""
