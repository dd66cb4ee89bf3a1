"""Verilator's lint of a design, with the waivers of `waivers.vlt`."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from sim.errors import SimError
from sim.verilate import HERE, find, verilog_files

WAIVERS = HERE / "waivers.vlt"


def lint(
    verilog_dir: Path,
    *,
    env: Mapping[str, str],
    top: str = "Accelerator",
    waivers: Path | None = WAIVERS,
) -> list[str]:
    """What `verilator --lint-only -Wall` finds, one line each: code, file, line, message.

    Args:
        env: variables that Verilator needs, on top of this process's own.
        waivers: file of warnings not to give; None to hear them all.

    Raises:
        SimError: Verilator could not be run or said nothing about why it failed.
    """
    folder = verilog_dir.resolve()
    command = [
        *(find("verilator", env), "--lint-only", "-Wall", "-Wno-fatal", "--top-module", top),
        *([str(waivers)] if waivers is not None else []),
        *(str(path) for path in verilog_files(folder)),
    ]
    done = subprocess.run(
        command,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(
        r"^%(?:Warning|Error)(?:-(\w+))?: (?:([^:\s]+):(\d+):\d+: )?(.+)$",
        done.stderr,
        re.MULTILINE,
    )
    messages = [
        f"{code or 'ERROR'} {Path(file).name}:{line}: {text}"
        for code, file, line, text in found
        if file
    ]
    if done.returncode != 0 and not messages:
        raise SimError(
            f"verilator's lint failed:\n{done.stderr[-2000:]}",
            command=command,
            returncode=done.returncode,
        )
    return sorted(set(messages))
