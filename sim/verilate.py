"""Verilator as a tool: which files make up a design, how they are compiled, where results go.

The caller passes the variables that Verilator needs as `env`; they go on top of this
process's own.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sim.errors import SimError

HERE = Path(__file__).resolve().parent
SUFFIXES = (".v", ".sv")

FAST = (
    *("-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert"),
    # without the split the compiler's time is erratic
    *("--output-split", "5000", "--output-split-cfuncs", "1000"),
)
QUICK = (
    *("-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert"),
    # most of the time goes into reading headers, once per file
    *("--output-split", "0"),
)
QUIET = ("-Wno-fatal", "-Wno-lint", "-Wno-style")  # `sim.lint` looks at these

_TAIL_LINES = 15
_KEY = "key"  # file in a build's folder, written last


def verilog_files(folder: Path) -> list[Path]:
    """The design's files: those in `filelist.f` if there is one, else every .v and .sv.

    Raises:
        SimError: there are none, or a listed one is missing.
    """
    filelist = folder / "filelist.f"
    if filelist.is_file():
        lines = (line.strip() for line in filelist.read_text().splitlines())
        files = [folder / line for line in lines if line and not line.startswith(("//", "#"))]
    else:
        files = sorted(path for path in folder.glob("*") if path.suffix in SUFFIXES)
    files = [path for path in files if path.suffix in SUFFIXES]
    absent = [str(path) for path in files if not path.is_file()]
    if absent:
        raise SimError(f"missing Verilog files of {folder}: {', '.join(absent)}")
    if not files:
        raise SimError(f"no Verilog files in {folder}")
    return files


def digest(files: Iterable[Path], *words: str) -> str:
    """SHA-256 over names and contents of files, and over further words."""
    total = hashlib.sha256()
    for path in files:
        content = path.read_bytes()
        total.update(f"{path.name}\0{len(content)}\0".encode())
        total.update(content)
    total.update("\0".join(words).encode())
    return total.hexdigest()


def port_bits(files: Iterable[Path], top: str) -> dict[str, int]:
    """Width in bits of each port of the module `top`, from its header.

    Reads `input [7:0] a, b,` as well as one declaration a port.

    Raises:
        SimError: no file has such a module.
    """
    for path in files:
        text = re.sub(r"//[^\n]*|/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
        header = re.search(rf"\bmodule\s+{re.escape(top)}\s*\(([^;]*)\)\s*;", text)
        if header is None:
            continue
        found: dict[str, int] = {}
        bits = 1
        for port in header[1].split(","):
            words = re.fullmatch(
                r"\s*(input|output|inout)?\s*(?:wire|reg|logic)?\s*"
                r"(?:\[\s*(\d+)\s*:\s*0\s*\])?\s*(\w+)\s*",
                port,
            )
            if words is None:
                raise SimError(f"cannot read port {port.strip()!r} of module {top} in {path}")
            if words[1]:
                bits = int(words[2]) + 1 if words[2] else 1
            found[words[3]] = bits
        return found
    raise SimError(f"no module {top} in the Verilog files")


def tail(log: Path) -> str:
    """The last lines of a log that say something, errors before others, indented."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"error|fatal|abort", line, re.IGNORECASE)]
    return "\n".join(f"  | {line}" for line in (errors or lines)[-_TAIL_LINES:])


def find(program: str, env: Mapping[str, str]) -> str:
    """The full name of a program on the PATH that `env` sets.

    Raises:
        SimError: it is not there.
    """
    found = shutil.which(program, path=env.get("PATH", os.environ.get("PATH")))
    if found is None:
        raise SimError(f"{program} not found on PATH")
    return found


def version(env: Mapping[str, str]) -> str:
    """What Verilator says that it is, with its place."""
    program = find("verilator", env)
    said = subprocess.run(
        [program, "--version"],
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if said.returncode != 0:
        raise SimError(f"{program} --version failed:\n{said.stderr}", returncode=said.returncode)
    return f"{program} {said.stdout.strip()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Verilator and compiler, with one log for all that they say.

    Attributes:
        env: variables set on top of this process's own.
        log: their output is added here.
        jobs: compilers at a time.
        optimise: option of the compiler.
    """

    env: Mapping[str, str]
    log: Path
    jobs: int
    optimise: str = "-O2"

    def call(self, command: Sequence[str | Path], *, cwd: Path, what: str) -> None:
        """Nothing; runs a command.

        Raises:
            SimError: it failed.
        """
        words = [str(word) for word in command]
        with self.log.open("ab") as sink:
            done = subprocess.run(
                words,
                cwd=cwd,
                env={**os.environ, **self.env},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode != 0:
            raise SimError(
                f"{what} failed:\n{tail(self.log)}",
                command=words,
                returncode=done.returncode,
                log=self.log,
            )

    def verilate(
        self, arguments: Sequence[str | Path], *, folder: Path, top: str, prefix: str
    ) -> None:
        """Nothing; translates Verilog to C++ in `folder`."""
        options = ("--cc", "--top-module", top, "--prefix", prefix, "-Mdir", folder, *QUIET)
        self.call(
            [find("verilator", self.env), *options, *arguments],
            cwd=folder.parent,
            what=f"verilator on {top}",
        )

    def make(self, *arguments: str, folder: Path, makefile: str) -> None:
        """Nothing; compiles what `verilate` wrote.

        Args:
            arguments: targets, and variables as `NAME=value`.
        """
        # the makefiles call `python`, which not every system has
        settings = (f"PYTHON3={sys.executable}", f"OPT_FAST={self.optimise}")
        self.call(
            [find("make", self.env), "-j", str(self.jobs), "-f", makefile, *settings, *arguments],
            cwd=folder,
            what="compiling the simulation",
        )


def key_of(folder: Path) -> str | None:
    """The key of the complete build in `folder`; None if there is none."""
    try:
        return (folder / _KEY).read_text()
    except OSError:
        return None


@contextmanager
def built_aside(final: Path, key: str) -> Iterator[Path]:
    """A folder beside `final` that takes its place when complete, with `key`.

    If another process was faster, its result stays and this one is dropped. Of a failure
    nothing stays but the log, as `NAME.failed.log`.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        yield folder
        folder.chmod(0o755)
        (folder / _KEY).write_text(key)
        _publish(folder, final, key)
    except SimError as error:
        if error.log is not None and error.log.is_file():
            kept = final.with_name(f"{final.name}.failed.log")
            shutil.copyfile(error.log, kept)
            error.log = kept
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(folder: Path, final: Path, key: str) -> None:
    """Nothing; `folder` becomes `final`, unless the same build is there already."""
    for _ in range(3):
        try:
            folder.rename(final)
            return
        except OSError:  # there is something
            if key_of(final) == key:
                return
            shutil.rmtree(final, ignore_errors=True)
    raise SimError(f"cannot move a finished build to {final}")
