"""The cocotb test of a protocol run: one stream, under the scenario of `sim.protocol`.

Runs inside the simulator.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import cocotb
from cocotb.triggers import ClockCycles

from sim import bench
from sim.bench import Testbench
from sim.cocotb_run import SAID_FILE

SCENARIO_FILE = "DCP_SIM_SCENARIO"
"""Environment variable: JSON file with the fields of `sim.protocol.Scenario` and file names."""


@cocotb.test()
async def scenario(dut: object) -> None:
    """Every repetition gives the same words, counters and checksum, and nothing comes after."""
    plan = json.loads(Path(os.environ[SCENARIO_FILE]).read_text())
    words = Path(plan["words"]).read_bytes()
    tb = await Testbench.start(dut, plan["seed"])
    tb.stall(plan["source"], plan["sink"], plan["longest"])
    await idle(tb)
    if plan["abort_after"] is not None:
        await abort(tb, words, plan["abort_after"])
    if plan["before"] is not None:
        await other(tb, Path(plan["before"]).read_bytes(), plan["timeout_cycles"])
    seen = [await once(tb, words, plan) for _ in range(plan["runs"])]
    free = {"cycles"} | (set() if plan["steady"] else set(plan["by_time"]))
    steady = [name for name in seen[0] if name not in free]
    for later in seen[1:]:
        for name in steady:
            assert later[name] == seen[0][name], (
                f"{name} was {seen[0][name]} and, run again, {later[name]}"
            )
    Path(os.environ[SAID_FILE]).write_text(json.dumps(seen[0]))


async def idle(tb: Testbench) -> None:
    """After reset nothing is done or busy, and nothing moves, whatever is offered."""
    assert await tb.read(bench.STATUS) == 0, "STATUS is not 0 after reset"
    assert await tb.read(bench.CTRL) == 0, "CTRL does not read 0"
    assert not tb.dut.s_axis_tready.value, "the stream is enabled before the start"
    assert not tb.dut.m_axis_tvalid.value, "there is output before the start"


async def abort(tb: Testbench, words: bytes, cycles: int) -> None:
    """Starts, and resets in the middle."""
    await tb.offer(words)
    await tb.write(bench.CTRL, bench.START)
    await ClockCycles(tb.dut.clock, cycles)
    await tb.reset()
    tb.received()
    await idle(tb)


async def other(tb: Testbench, words: bytes, timeout_cycles: int) -> None:
    """Another stream, from start to done."""
    await tb.offer(words)
    await tb.write(bench.CTRL, bench.START)
    status = await tb.finish(timeout_cycles)
    assert status == bench.DONE, f"STATUS is {status}, not just done"
    assert tb.received(), "the other stream sends nothing"


async def once(tb: Testbench, words: bytes, plan: dict) -> dict[str, object]:
    """One run from start to done: registers, and the file of its words."""
    tb.watcher.restart()
    start = tb.watcher.cycle
    await tb.offer(words)
    if plan["program"] is None:
        await tb.write(bench.CTRL, bench.START)
    else:
        await tb.command(bytes(32))  # before the start: dropped
        await tb.write(bench.CTRL, bench.START | bench.FROM_REGISTERS)
        await tb.command(Path(plan["program"]).read_bytes())
    status = await tb.finish(plan["timeout_cycles"])
    assert status == bench.DONE, f"STATUS is {status}, not just done"
    cycles = tb.watcher.cycle - start
    answer: dict[str, object] = {
        "latency": await tb.read(bench.LATENCY),
        "checksum": await tb.read(bench.CHECKSUM),
        "id": await tb.read(bench.ID),
    }
    for n, name in enumerate(plan["counters"]):
        answer[name] = await tb.read(bench.COUNTER + 4 * n)
    await ClockCycles(tb.dut.clock, 64)  # for beats that should not come
    tb.guard_alive()
    assert await tb.read(bench.CTRL) == 0, "CTRL does not read 0"
    assert tb.watcher.in_beats * tb.in_bytes == len(words), (
        f"done after {tb.watcher.in_beats} input beats of {len(words) // tb.in_bytes}"
    )
    out = tb.received()
    assert len(out) == tb.watcher.out_beats * tb.out_bytes
    assert len(out) == 16 * plan["expected_words"], (
        f"sent {len(out) / 16:g} words, expected {plan['expected_words']}"
    )
    out_file = Path(plan["out"])
    if out_file.exists():
        assert out_file.read_bytes() == out, "run again, it sent other words"
    out_file.write_bytes(out)
    answer["observed_latency"] = tb.watcher.last_out - tb.watcher.first_in + 1
    answer["cycles"] = cycles
    return answer
