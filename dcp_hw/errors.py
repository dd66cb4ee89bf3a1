"""Errors that a user can act on, each with the exit code it ends the command with.

Exit codes: 0 done, 1 a check failed, 2 wrong input, 3 a tool missing or failed,
130 stopped with Ctrl-C.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class DcpError(Exception):
    """An expected failure: the message is enough, a traceback would not help."""

    exit_code: ClassVar[int] = 1


class CheckFailed(DcpError):
    """A comparison came out wrong, for example simulated values against the reference."""

    exit_code: ClassVar[int] = 1


class InputError(DcpError):
    """The user asked for something that does not exist or cannot be."""

    exit_code: ClassVar[int] = 2


class ToolError(DcpError):
    """An external tool failed.

    Attributes:
        command: what was run, empty if nothing could be.
        returncode: its exit status; negative for a signal, None if it did not end by itself.
        log: file with its whole output, if one was kept.
    """

    exit_code: ClassVar[int] = 3

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
            lines.append(f"  command: {_shortened(shlex.join(self.command))}")
        if self.returncode is not None:
            lines.append(f"  exit code: {self.returncode}")
        if self.log is not None:
            lines.append(f"  log: {self.log}")
        return "\n".join(lines)


class ToolMissing(ToolError):
    """A tool is not installed, or too old; the message says how to get it."""


def exit_code(error: BaseException) -> int | None:
    """Exit code for an error a command ended with; None for one nobody foresaw (a bug)."""
    if isinstance(error, DcpError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return None


def _shortened(text: str, limit: int = 600) -> str:
    """The text, with its middle left out where it is longer than `limit` characters."""
    if len(text) <= limit:
        return text
    return f"{text[: limit * 2 // 3]} ... {text[-limit // 3 :]}"
