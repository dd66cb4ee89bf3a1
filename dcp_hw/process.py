"""Running external programs: output in a log, clean stop, one at a time where needed."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from dcp_hw.errors import ToolError, ToolMissing

_TAIL_LINES = 15


def cache_dir() -> Path:
    """Folder for things worth keeping between checkouts: $DCP_HW_CACHE or ~/.cache/dcp-hw."""
    chosen = os.environ.get("DCP_HW_CACHE")
    if chosen:
        folder = Path(chosen)
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dcp-hw"
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def run(
    command: Sequence[str | Path],
    *,
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    what: str | None = None,
) -> None:
    """Nothing; runs a command to its end with all output in `log`.

    The command gets no input. It and its children are stopped when this process is
    interrupted or the time is up.

    Args:
        env: variables set on top of this process's own.
        what: name for messages; the program's name if None.

    Raises:
        ToolMissing: the program does not exist.
        ToolError: it failed or timed out; the message ends with the log's last lines.
    """
    words = [str(word) for word in command]
    name = what or Path(words[0]).name
    log.parent.mkdir(parents=True, exist_ok=True)
    interrupts = _HeldInterrupts()
    with log.open("wb") as sink:
        try:
            process = subprocess.Popen(
                words,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            interrupts.release()
            raise ToolMissing(f"{name}: {error.filename} not found", command=words) from error
        except BaseException:
            interrupts.release()
            raise
        try:
            interrupts.release()
            returncode = process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            _stop(process)
            raise ToolError(
                f"{name} did not end within {timeout_s:g} s", command=words, log=log
            ) from error
        except BaseException:
            _stop(process)
            raise
    if returncode != 0:
        raise ToolError(
            f"{name} failed:\n{_tail(log)}", command=words, returncode=returncode, log=log
        )


class _HeldInterrupts:
    """Keeps Ctrl-C back from its creation to `release`, which then raises it.

    Otherwise one that comes while a process is being started would leave it running, with
    nobody who knows it. Blocking the signal would not do: the child would inherit that.
    """

    def __init__(self) -> None:
        self._came = False
        # signals reach the main thread only, and only that may set handlers
        self._holds = threading.current_thread() is threading.main_thread()
        if self._holds:
            self._previous = signal.signal(signal.SIGINT, self._remember)

    def _remember(self, _number: int, _frame: FrameType | None) -> None:
        self._came = True

    def release(self) -> None:
        """Nothing; from here on Ctrl-C acts as before.

        Raises:
            KeyboardInterrupt: one came meanwhile.
        """
        if self._holds:
            signal.signal(signal.SIGINT, self._previous)
        if self._came:
            raise KeyboardInterrupt


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Nothing; ends the process and its children, by force after five seconds."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            return
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            continue
        return


def _tail(log: Path) -> str:
    """The last lines of a log that say something, indented."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    said = [line for line in lines if not re.match(r"(\[error\]\s+|\s+)at ", line)]  # no traces
    errors = [line for line in said if re.search("error|exception|failed", line, re.IGNORECASE)]
    return "\n".join(f"  | {line}" for line in (errors or said)[-_TAIL_LINES:])


def note(text: str) -> None:
    print(f"dcp-hw: {text}", file=sys.stderr, flush=True)


@contextmanager
def announced(text: str) -> Iterator[None]:
    """A line before and after a slow step."""
    start = time.monotonic()
    note(f"{text} ...")
    yield
    note(f"{text}: done in {time.monotonic() - start:.0f} s")


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time, over all checkouts of this user."""
    with (cache_dir() / f"{name}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(f"waiting for another {name} run to end")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def output_of(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> str:
    """Standard output and error of a quick command; empty if it cannot run."""
    try:
        done = subprocess.run(
            [str(word) for word in command],
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr if done.returncode == 0 else ""
