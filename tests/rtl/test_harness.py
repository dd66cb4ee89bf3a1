"""The simulation harness on a hand-written stand-in: no generator needed."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from sim import protocol, runner
from sim.cocotb_run import run_cocotb
from sim.errors import HardwareError, SimError
from sim.lint import lint
from sim.mutations import Edit, NoMatch, mutate
from sim.protocol import Scenario
from sim.runner import Stalls

pytestmark = pytest.mark.needs("verilator", "cocotb")

ECHO = Path(__file__).parent / "fixtures" / "echo"
END = 0x0F
WORDS = 300


@pytest.fixture(scope="module")
def env() -> dict[str, str]:
    from dcp_hw.toolchain import verilator_env

    return verilator_env()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("harness")


@pytest.fixture(scope="module")
def echo(work: Path, env: dict[str, str]) -> runner.Built:
    return runner.build(ECHO, work / "echo", env=env)


@pytest.fixture(scope="module")
def echo_protocol(work: Path, env: dict[str, str]) -> protocol.ProtocolBuilt:
    return protocol.build_protocol(ECHO, work / "protocol", env=env)


@pytest.fixture
def stream() -> runner.Words:
    words = np.random.default_rng(1).integers(0, 256, (WORDS, 16), dtype=np.uint8)
    words[:, 0] = np.arange(WORDS) % END
    words[-1, 0] = END
    return words


@pytest.mark.parametrize(
    "stalls",
    [
        None,
        Stalls(source=0.5, sink=0),
        Stalls(source=0, sink=0.5, longest=1),
        Stalls(source=0.1, sink=0.1, longest=40, seed=7),
    ],
)
def test_every_word_arrives_in_order(
    echo: runner.Built, stream: runner.Words, stalls: Stalls | None
) -> None:
    result = runner.run(echo, stream, WORDS - 1, 100_000, stalls)
    np.testing.assert_array_equal(result.words, stream[:-1])
    first = stream[:-1, :4].copy().view("<u4").astype(np.uint64)
    assert result.checksum == int(first.sum()) % 2**32
    assert result.design_id == 0xDC000001
    assert result.counters["bus_in_beat"] == WORDS
    assert result.counters["bus_out_beat"] == WORDS - 1
    assert tuple(result.counters) == runner.COUNTER_NAMES
    if stalls is None:
        assert result.latency_cycles == result.observed_latency_cycles == WORDS
    else:
        assert result.latency_cycles > WORDS + 20
    assert result.cycles > result.latency_cycles
    assert not list(echo.folder.glob("run.*")), "files of a good run stayed"


def test_runs_of_one_seed_are_alike(echo: runner.Built, stream: runner.Words) -> None:
    def latency(seed: int) -> int:
        stalls = Stalls(source=0.3, sink=0.3, seed=seed)
        return runner.run(echo, stream, WORDS - 1, 100_000, stalls).latency_cycles

    assert latency(3) == latency(3) != latency(4)


def test_a_stream_without_an_end_is_given_up(echo: runner.Built, stream: runner.Words) -> None:
    with pytest.raises(HardwareError, match="not done after"):
        runner.run(echo, stream[:-1], WORDS - 1, 1000)


def test_words_after_the_end_are_an_error(echo: runner.Built, stream: runner.Words) -> None:
    more = np.concatenate([stream, stream])
    with pytest.raises(HardwareError, match="with more to come"):
        runner.run(echo, more, WORDS - 1, 100_000)


@pytest.mark.parametrize("expected", [WORDS - 2, WORDS, 0])
def test_a_wrong_number_of_words_is_an_error(
    echo: runner.Built, stream: runner.Words, expected: int
) -> None:
    with pytest.raises(HardwareError, match=f"sent {WORDS - 1} words, expected {expected}"):
        runner.run(echo, stream, expected, 100_000)


BREAKS = {
    "LATENCY is": Edit("*", r"latency <= now \+ 32'd1", "latency <= now"),
    "the register bus does not answer": Edit(
        "*", r"s_axil_arready = .*;", "s_axil_arready = 1'b0;"
    ),
    "answered with an error": Edit("*", r"s_axil_rresp = .*;", "s_axil_rresp = 2'b10;"),
    "tdata changed": Edit(
        "*", r"m_axis_tdata = (.*);", r"m_axis_tdata = \1 ^ {127'd0, ~m_axis_tready};"
    ),
    "tvalid fell": Edit("*", r"m_axis_tvalid = (.*);", r"m_axis_tvalid = \1 && now[1:0] != 2'd3;"),
    "not done after": Edit("*", r"m_axis_tvalid = (.*);", r"m_axis_tvalid = \1 && m_axis_tready;"),
}


@pytest.mark.parametrize("message", BREAKS)
def test_broken_rules_are_found(
    message: str, work: Path, env: dict[str, str], stream: runner.Words
) -> None:
    name = message.replace(" ", "_")
    mutate(ECHO, work / name, [BREAKS[message]])
    built = runner.build(work / name, work / f"{name}.built", env=env, driver_dir=work / "driver")
    stalls = None if "LATENCY" in message else Stalls(source=0.1, sink=0.4, longest=5)
    with pytest.raises(HardwareError, match=message):
        runner.run(built, stream, WORDS - 1, 5000, stalls)


def test_a_build_is_made_once_and_again_when_the_text_changes(
    work: Path, env: dict[str, str]
) -> None:
    source = work / "changing"
    shutil.copytree(ECHO, source)
    first = runner.build(source, work / "once", env=env, driver_dir=work / "driver")
    made = first.model.stat().st_mtime_ns
    again = runner.build(source, work / "once", env=env, driver_dir=work / "driver")
    assert again == first
    assert again.model.stat().st_mtime_ns == made
    text = (source / "Accelerator.v").read_text()
    (source / "Accelerator.v").write_text(text.replace("dc000001", "dc000002"))
    other = runner.build(source, work / "once", env=env, driver_dir=work / "driver")
    words = np.full((1, 16), END, dtype=np.uint8)
    # nothing is sent, so that there is no latency either
    with pytest.raises(HardwareError, match="LATENCY is 0"):
        runner.run(other, words, 0, 1000)
    stalls = Stalls(source=0, sink=0)
    assert runner.run(other, words, 0, 1000, stalls).design_id == 0xDC000002


def test_a_failed_build_leaves_its_log_only(work: Path, env: dict[str, str]) -> None:
    mutate(ECHO, work / "bad", [Edit("*", r"\breg busy", "reg busy nonsense")])
    with pytest.raises(SimError, match="verilator on DcpHarness failed") as caught:
        runner.build(work / "bad", work / "bad.built", env=env, driver_dir=work / "driver")
    assert not (work / "bad.built").exists()
    assert caught.value.log is not None
    assert "nonsense" in caught.value.log.read_text()
    assert not isinstance(caught.value, HardwareError)
    assert not [path for path in work.iterdir() if path.name.startswith(".bad")]


@pytest.mark.parametrize("top", ["Accelerator2", "reg"])
def test_a_missing_top_is_named(work: Path, env: dict[str, str], top: str) -> None:
    with pytest.raises(SimError, match=f"no module {top}"):
        runner.build(ECHO, work / "x", env=env, top=top, driver_dir=work / "driver")


def test_a_test_that_does_not_exist_is_an_error(echo: runner.Built, tmp_path: Path) -> None:
    with pytest.raises(SimError, match=r"ended without results|results of one test"):
        run_cocotb(echo.driver / "DcpTop", tmp_path, test_module="sim.no_such_test")


def test_a_simulator_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    program = tmp_path / "DcpTop"
    program.write_text("#!/bin/sh\nexit 3\n")
    os.chmod(program, 0o755)
    with pytest.raises(SimError, match="ended without results"):
        run_cocotb(program, tmp_path, test_module="sim.done_test")


@pytest.mark.parametrize(
    "stalls", [None, Stalls(source=0.3, sink=0.3), Stalls(source=0.02, sink=0.02, longest=90)]
)
def test_python_drives_every_port(
    echo_protocol: protocol.ProtocolBuilt, stream: runner.Words, stalls: Stalls | None
) -> None:
    scenario = Scenario(runs=2, abort_after=WORDS // 2)
    result = protocol.run_protocol(
        echo_protocol, stream, WORDS - 1, 100_000, stalls, scenario=scenario
    )
    np.testing.assert_array_equal(result.words, stream[:-1])
    assert result.counters["bus_in_beat"] == WORDS


def test_the_protocol_bench_sees_too_few_words(
    echo_protocol: protocol.ProtocolBuilt, stream: runner.Words
) -> None:
    with pytest.raises(HardwareError, match=f"sent {WORDS - 1} words, expected {WORDS}"):
        protocol.run_protocol(echo_protocol, stream, WORDS, 100_000)


def test_a_missing_reset_shows(work: Path, env: dict[str, str], stream: runner.Words) -> None:
    mutate(ECHO, work / "unreset", [Edit("*", r"^      busy <= 1'b0;\n", "")])
    built = protocol.build_protocol(work / "unreset", work / "unreset.built", env=env)

    def works(seed: int) -> bool:
        try:
            protocol.run_protocol(built, stream, WORDS - 1, 5000, Stalls(seed=seed))
        except HardwareError:
            return False
        return True

    assert not all(works(seed) for seed in range(1, 6)), "a random bit is 0 now and then"


def test_lint_is_quiet_on_the_stand_in_and_finds_a_width(work: Path, env: dict[str, str]) -> None:
    unused = [message for message in lint(ECHO, env=env) if "UNUSED" not in message]
    assert unused == []
    mutate(ECHO, work / "wide", [Edit("*", r"now <= now \+ 32'd1", "now <= now + 33'd1")])
    assert any(message.startswith("WIDTH") for message in lint(work / "wide", env=env))


def test_an_edit_that_changes_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoMatch, match="changes nothing"):
        mutate(ECHO, tmp_path / "a", [Edit("*", "no such text", "")])
    with pytest.raises(NoMatch, match="changes nothing"):
        mutate(ECHO, tmp_path / "b", [Edit("*", r"busy", "busy")])
    with pytest.raises(NoMatch, match="changes nothing"):
        mutate(ECHO, tmp_path / "c", [Edit("Other.*", r"busy", "bus")])
    lines = mutate(ECHO, tmp_path / "d", [Edit("*", r"(beats_in) <= 32'd0", r"\1 <= 32'd1")])
    assert [line[:16] for line in lines] == ["Accelerator.v: -", "Accelerator.v: +"]


def test_a_simulation_without_python_ends(
    echo: runner.Built, stream: runner.Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never_ends(*_: object) -> None:
        raise TimeoutError("the simulation goes on after its run")

    monkeypatch.setenv("GPI_USERS", "")  # names Python's library otherwise
    before = signal.signal(signal.SIGALRM, never_ends)
    signal.alarm(60)  # this run takes milliseconds
    try:
        with pytest.raises(SimError, match="without results"):
            runner.run(echo, stream, WORDS - 1, 100_000)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
