"""Programs that break the rules of docs/hardware.md."""

from __future__ import annotations


class ProgramFault(Exception):
    """A program that the accelerator would run wrongly, or never finish.

    Attributes:
        index: of the offending command in its list; None if no single command is to blame.
    """

    def __init__(self, message: str, index: int | None = None) -> None:
        self.message = message
        self.index = index
        super().__init__(message if index is None else f"command {index}: {message}")

    def at(self, index: int, what: str) -> ProgramFault:
        """The same fault with the command it belongs to, unless it has one already."""
        if self.index is not None:
            return self
        return ProgramFault(f"{what}: {self.message}", index)
