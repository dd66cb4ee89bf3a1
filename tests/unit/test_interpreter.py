"""The interpreter against the golden models, and the faults that it must find."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest

from sim import reference
from sim.interpreter import ProgramFault, build_stream, interpret, scatter
from sim.iss_memory import LaneTable, OperandMemory
from sim.sample_parts import Sample
from sim.samples import samples
from tensorlib.program import Command, Config, End, Exec, Lane, Lanes, Load, LoadShape, Store

SAMPLES = samples()


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_compute_what_the_golden_model_does(name: str) -> None:
    sample = SAMPLES[name]
    before = sample.memory.copy()
    result = interpret(sample.design, sample.commands, sample.memory)
    assert np.array_equal(sample.memory, before)
    memory = sample.memory.copy()
    scatter(sample.commands, result.words, memory)
    assert not np.array_equal(memory, before)
    assert np.array_equal(memory, sample.expected)
    assert result.checksum == reference.checksum(sample.acc)
    assert result.counters["requantise"] == sample.acc.size


def test_narrow_data_uses_the_low_bits() -> None:
    wide = samples(data_bits=8)["broadcast"]
    narrow = samples(data_bits=4)["broadcast"]
    memory = wide.memory.copy()
    low = (memory.view(np.int8) << 4) >> 4
    loads = [c for c in wide.commands if isinstance(c, Load) and c.tensor != "params"]
    for load in loads:
        for address, length in load.bursts:
            memory[address : address + length] = low[address : address + length].view(np.uint8)
    expected = interpret(wide.design, wide.commands, memory)
    result = interpret(narrow.design, narrow.commands, narrow.memory)
    assert np.array_equal(result.words, expected.words)


def test_narrow_sums_wrap() -> None:
    sample = samples(acc_bits=16)["broadcast"]
    result = interpret(sample.design, sample.commands, sample.memory)
    wrapped = sample.acc.astype(np.int16)
    assert not np.array_equal(wrapped, sample.acc)
    assert result.checksum == reference.checksum(wrapped)


def test_the_stream_holds_commands_and_data_in_order() -> None:
    sample = SAMPLES["tiled"]
    stream = build_stream(sample.commands, sample.memory)
    at = 0
    for command in sample.commands:
        for word in command.words():
            assert int.from_bytes(stream[at].tobytes(), "little") == word
            at += 1
        if isinstance(command, Load):
            for address, length in command.bursts:
                data = stream[at : at + length // 16].reshape(-1)
                assert np.array_equal(data, sample.memory[address : address + length])
                at += length // 16
    assert at == len(stream)


def test_an_exec_may_be_queued_before_its_loads() -> None:
    sample = SAMPLES["broadcast"]
    loads = [c for c in sample.commands if isinstance(c, Load)]
    others = [c for c in sample.commands if not isinstance(c, Load)]
    moved = [*others[:3], *loads, *others[3:]]  # CONFIG, LANES, EXEC, loads, ...
    assert isinstance(moved[2], Exec)
    result = interpret(sample.design, moved, sample.memory)
    assert result.checksum == reference.checksum(sample.acc)


# --- faults ---------------------------------------------------------------------------------


def changed(
    commands: Iterable[Command], kind: type, change: Callable, which: int = 0
) -> list[Command]:
    """The commands with the `which`-th of a kind changed."""
    result: list[Command] = []
    seen = 0
    for command in commands:
        if isinstance(command, kind):
            command = change(command) if seen == which else command
            seen += 1
        result.append(command)
    return result


def lane(change: Callable[[Lane], Lane]) -> Callable[[Lanes], Lanes]:
    return lambda c: replace(c, axis1=(change(c.axis1[0]), *c.axis1[1:]))


def bounds(loop: int, bound: int) -> Callable[[Exec], Exec]:
    return lambda c: replace(c, bounds=(*c.bounds[:loop], bound, *c.bounds[loop + 1 :]))


def strides(field: str, loop: int, stride: int) -> Callable[[Config], Config]:
    def change(command: Config) -> Config:
        values = list(getattr(command, field))
        values[loop] = stride
        return replace(command, **{field: tuple(values)})

    return change


@pytest.mark.parametrize(
    ("name", "kind", "change", "message"),
    [
        ("broadcast", Load, lambda c: replace(c, na=1024), "does not fit 10 bits"),
        ("unicast_tree", Exec, lambda c: replace(c, input_base=1), "crosses a row"),
        ("broadcast", Exec, lambda c: replace(c, input_base=96), "its last LOAD did not write it"),
        ("broadcast", Exec, lambda c: replace(c, weight_base=4096), "banks have 256 rows"),
        ("broadcast", Exec, lambda c: replace(c, output_base=250), "output word 2.. is used"),
        ("broadcast", Exec, bounds(2, 3), "did not write it"),
        ("broadcast", Exec, lambda c: replace(c, accumulate=True), "partial sum begins with"),
        ("broadcast", Config, strides("output_strides", 2, 0), "less than 3 steps apart"),
        ("broadcast", Config, strides("output_strides", 0, 1), "inside a run"),
        ("weight_stationary", Config, lambda c: replace(c, sweep_min=4), "below 5"),
        ("output_stationary", Config, lambda c: replace(c, sweep_min=3), "below 4"),
        ("output_stationary", Config, lambda c: replace(c, sweep_depth=1), "sweep_depth = run"),
        ("output_stationary", Config, lambda c: replace(c, drain_stride=0), "3 steps apart"),
        ("weight_stationary", Exec, bounds(0, 2), "3 steps apart"),
        ("weight_stationary", Exec, lambda c: replace(c, weight_base=16), "did not|banks have"),
        ("broadcast", Lanes, lane(lambda n: replace(n, weight_b=4)), "did not write it"),
        ("broadcast", Lanes, lane(lambda n: replace(n, weight_base=16)), "is written at byte"),
        ("broadcast", Lanes, lambda c: replace(c, axis1=c.axis1[1:]), "LANES has 3 . 4"),
        ("broadcast", Load, lambda c: replace(c, bursts=c.bursts * 2), "bursts hold"),
        ("broadcast", Load, lambda c: replace(c, bursts=((1 << 20, 384),)), "leaves the memory"),
        ("broadcast", Load, lambda c: replace(c, buffer=1), "input buffer 0 is not full"),
        ("broadcast", Store, lambda c: replace(c, params_buffer=1), "parameter buffer 1 is not"),
        ("broadcast", Store, lambda c: replace(c, params_row=1), "did not write it"),
        ("broadcast", Store, lambda c: replace(c, bounds=(3, 2, 2, 1)), "n0 = 3 does not fit"),
        ("broadcast", Store, lambda c: replace(c, channels=40), "never written|did not write"),
        ("broadcast", Store, lambda c: replace(c, address_base=250), "output word 2.. is sent"),
        ("broadcast", Store, lambda c: replace(c, pixel_mask=7), "bursts hold"),
        ("broadcast", Store, lambda c: replace(c, output_buffer=1), "output buffer 1 is not"),
        ("tiled", Exec, lambda c: replace(c, release_input=False), "never becomes free"),
    ],
)
def test_faults_are_found(name: str, kind: type, change: Callable, message: str) -> None:
    sample = SAMPLES[name]
    commands = changed(sample.commands, kind, change)
    with pytest.raises(ProgramFault, match=message):
        interpret(sample.design, commands, sample.memory)


def run(sample: Sample, commands: Iterable[Command]) -> None:
    interpret(sample.design, list(commands), sample.memory)


def test_programs_that_do_not_end_are_found() -> None:
    sample = SAMPLES["broadcast"]
    commands = sample.commands
    with pytest.raises(ProgramFault, match="no END"):
        run(sample, commands[:-1])
    with pytest.raises(ProgramFault, match="after END"):
        run(sample, [*commands, End()])
    incomplete = changed(commands, Exec, lambda c: replace(c, output_complete=False))
    with pytest.raises(ProgramFault, match="deadlock: the program never ends; STORE"):
        run(sample, incomplete)
    execs = [c for c in commands if isinstance(c, Exec)]
    with pytest.raises(ProgramFault, match=re.escape("deadlock: its queue is full; EXEC")):
        run(sample, [*commands[:2], *execs * 5])
    with pytest.raises(ProgramFault, match="EXEC queue must run empty"):
        run(sample, [*commands[:2], *execs, commands[0]])


def test_stale_bytes_of_an_earlier_load_are_found() -> None:
    sample = SAMPLES["tiled"]

    def shorter(load: Load) -> Load:
        return replace(load, na=load.na - 1, bursts=load.bursts[:-1])

    commands = changed(sample.commands, Load, shorter, which=5)  # second filling of input 0
    with pytest.raises(ProgramFault, match="input buffer 0"):
        run(sample, commands)


@pytest.mark.parametrize(
    ("shape", "load", "message"),
    [
        ({"stride_b": 8}, {}, "writes two rows of its box to one row"),
        ({"stride_b": 16}, {"start": 14}, "writes a row of its box to two rows"),
        ({"stride_b": 16}, {"c_hi": 1}, "needs c_lo < c_hi"),
    ],
)
def test_rows_that_cannot_be_cleared_are_found(shape: dict, load: dict, message: str) -> None:
    design = SAMPLES["broadcast"].design
    memory = OperandMemory(design, "input", design.input)
    lane = Lane(digits=(0, 0, 0, 0))
    memory.place(LaneTable(design, Lanes(axis1=(lane,) * design.rows, axis2=(lane,) * design.cols)))
    memory.configure(LoadShape(stride_c=1, extent_b=2, extent_c=4, byte_mode=True, **shape))
    fields = {"c_lo": 1, "c_hi": 4, "start": 1} | load
    command = Load(tensor="input", buffer=0, nb=2, nc=4, b_hi=2, clear=True, **fields)
    with pytest.raises(ProgramFault, match=message):
        memory.load(command, np.zeros((command.data_words, 16), dtype=np.uint8))


def test_scatter_refuses_wrong_counts() -> None:
    sample = SAMPLES["broadcast"]
    words = interpret(sample.design, sample.commands, sample.memory).words
    with pytest.raises(ProgramFault, match="the program sends"):
        scatter(sample.commands, words[:-1], sample.memory.copy())
