"""Progress of long steps on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from dcp_hw.process import note

_LINE_EVERY_S = 10.0


class Advance(Protocol):
    """Counts finished items."""

    def __call__(self, steps: int = 1, text: str = "") -> None: ...


@contextmanager
def progress(what: str, total: int) -> Iterator[Advance]:
    """A function to call for each finished item of `total`."""
    if total <= 0:
        yield lambda steps=1, text="": None
    elif sys.stderr.isatty():
        yield from _bar(what, total)
    else:
        yield from _lines(what, total)


def _bar(what: str, total: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(what, total=total, text="")

        def advance(steps: int = 1, text: str = "") -> None:
            bars.update(task, advance=steps, text=text)

        yield advance


def _lines(what: str, total: int) -> Iterator[Advance]:
    start = last = time.monotonic()
    done = 0
    note(f"{what}: 0/{total}")

    def advance(steps: int = 1, text: str = "") -> None:
        nonlocal done, last
        done += steps
        now = time.monotonic()
        if done < total and now - last < _LINE_EVERY_S:
            return
        last = now
        note(f"{what}: {done}/{total} after {now - start:.0f} s{' ' + text if text else ''}")

    yield advance
