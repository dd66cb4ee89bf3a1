"""Why MAESTRO's binary ends without a result."""

from __future__ import annotations

from enum import IntEnum


class Reason(IntEnum):
    """Kinds of ends; the compiled form stores them as numbers."""

    LEVELS = 1
    FILTER_OFFSET = 2
    FILTER_SIZE = 3
    MISSING = 4
    OUTPUTS = 5
    OVERSUBSCRIBED = 6
    NO_FILTER = 7
    NOT_FOUND = 8
    SPATIALS = 9
    SPAN = 10
    NOTHING_NEW = 11
    NOTHING_DONE = 12
    ITERATIONS = 13
    NO_DATAFLOW = 14


_TEXTS = {
    Reason.LEVELS: "{a} levels, of which MAESTRO supports 4",
    Reason.FILTER_OFFSET: "tile size of {dim} ({a}) should be equal to its offset ({b})",
    Reason.FILTER_SIZE: "tile size of {dim} ({a}) should be equal to its dimension ({b})",
    Reason.MISSING: "the layer has no dimension {dim} (SIGSEGV)",
    Reason.OUTPUTS: "only one of Y' and X' is declared: a stride is never set (undefined)",
    Reason.OVERSUBSCRIBED: "clusters of {a} units on {b} PEs: division by zero (SIGFPE)",
    Reason.NO_FILTER: "{dim} is mapped without its filter in the same level (undefined)",
    Reason.NOT_FOUND: "dimension {dim} not found in the level",
    Reason.SPATIALS: "{a} SpatialMaps in one level; MAESTRO accepts 1 or 2",
    Reason.SPAN: "the span of {dim} overflows a 32-bit integer (undefined)",
    Reason.NOTHING_NEW: "{dim} advances without a new element (exit 255)",
    Reason.NOTHING_DONE: "an iteration computes nothing: division by zero (SIGFPE)",
    Reason.ITERATIONS: "the number of iterations overflows 32 bits (abort)",
    Reason.NO_DATAFLOW: "no Dataflow: MAESTRO reuses the last one with a level too many (exit 255)",
}


class Crash(Exception):
    """MAESTRO ends without a result, or with one that depends on memory it never wrote."""

    def __init__(self, reason: Reason, *, dim: str = "", a: int = 0, b: int = 0) -> None:
        super().__init__(reason_text(reason, dim=dim, a=a, b=b))


def reason_text(reason: Reason, *, dim: str = "", a: int = 0, b: int = 0) -> str:
    """The sentence for a reason and its details."""
    return _TEXTS[reason].format(dim=dim, a=a, b=b)
