"""Errors of this package: a tool that failed is one thing, hardware that misbehaves another."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path


class SimError(Exception):
    """The simulation could not be built or run; says nothing about the design under test.

    Attributes:
        command: what was run, empty if nothing could be.
        returncode: its exit status, None if it did not end by itself.
        log: file with its whole output, if one was kept.
    """

    def __init__(
        self,
        message: str,
        *,
        command: Sequence[str | Path] = (),
        returncode: int | None = None,
        log: Path | None = None,
    ) -> None:
        self.message = message
        self.command = tuple(str(word) for word in command)
        self.returncode = returncode
        self.log = log
        super().__init__(message)

    def __str__(self) -> str:
        lines = [self.message]
        if self.command:
            lines.append(f"  command: {shlex.join(self.command)}")
        if self.returncode is not None:
            lines.append(f"  exit code: {self.returncode}")
        if self.log is not None:
            lines.append(f"  log: {self.log}")
        return "\n".join(lines)


class HardwareError(SimError):
    """The simulation ran, and the hardware did what it must not: hung, lost words, broke a rule."""
