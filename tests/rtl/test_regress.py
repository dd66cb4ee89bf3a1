"""Random layers on random designs: bit-exact, cycle-exact, event by event, also under stalls."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from math import prod
from pathlib import Path

import pytest

from dcp_hw import regress
from dcp_hw.regress import SHARED, Case, CaseResult
from dcp_hw.stt_program import SttProgram
from dcp_hw.work import Work
from tensorlib.families import FAMILIES
from tensorlib.program import Store

pytestmark = pytest.mark.needs("java", "verilator", "cocotb")

SEED = 0
CASES = SHARED * (len(FAMILIES) + 2 * (len(FAMILIES) // 2))
"""Families, designs of a random T that mappings use, and designs that none uses."""


@cache
def drawn() -> tuple[Case, ...]:
    """All cases of the seed."""
    return tuple(regress.draw(SEED, number) for number in range(CASES))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("regress")


@pytest.fixture(scope="module")
def results(folder: Path) -> list[CaseResult]:
    """All cases of the seed, run here and now."""
    return regress.run(cases=CASES, seed=SEED, out=folder)


def test_every_case_passes(results: list[CaseResult]) -> None:
    assert [result.number for result in results] == list(range(CASES))
    failed = [result.repeat() for result in results if not result.passed]
    assert not failed, "\n".join(failed)


def test_every_value_is_compared(results: list[CaseResult]) -> None:
    cases = drawn()
    programs = [case.work.program for case in cases]
    values = [
        len(program.unpacked) if isinstance(program, SttProgram) else prod(case.layer.output_shape)
        for case, program in zip(cases, programs, strict=True)
    ]
    assert [result.words for result in results] == values
    assert sum(values) > 15_000
    assert [result.measured_cycles for result in results] == [
        case.work.predicted_cycles for case in cases
    ]


def test_cases_cover_families_buses_widths_operators_and_stalls() -> None:
    cases = drawn()
    designs = [case.design for case in cases]
    kinds = Counter(design.name.rpartition("_")[0].rpartition("_")[0] for design in designs)
    assert set(kinds) == {*FAMILIES, regress.FROM_STT, regress.FROM_OTHER_STT}
    assert sum(design.window is not None for design in designs) >= SHARED * 4
    assert {design.in_bits for design in designs} == set(regress.BUSES)
    assert {design.out_bits for design in designs} == set(regress.BUSES)
    assert {design.data_bits for design in designs} >= {4, 8}
    assert {design.acc_bits for design in designs} >= {20, 32}
    assert {str(case.layer.operator) for case in cases} == {"gemm", "bgemm", "conv", "dwconv"}
    assert {case.profile for case in cases} == {"realistic", "uniform", "corner", "extreme"}
    assert {case.work.program.int32 for case in cases} == {False, True}
    assert len({case.design.hash() for case in cases}) >= len(FAMILIES)


def test_passed_cases_are_not_run_again(
    results: list[CaseResult], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> CaseResult:
        raise AssertionError("a passed case is run again")

    log = folder / f"results-{SEED}.jsonl"
    log.write_text(log.read_text() + '{"seed": 0, "number"')  # cut off while it was written
    monkeypatch.setattr(regress, "check", refuse)
    assert regress.run(cases=CASES, seed=SEED, out=folder) == results


def misplaced(case: Case) -> Case | None:
    """The case with the words of one STORE written to memory in reverse; None if that is none."""
    commands = list(case.work.program.commands)
    for n, command in enumerate(commands):
        if not isinstance(command, Store):
            continue
        places = [place for place, _ in command.bursts]
        if len(set(places)) > 1 and len({length for _, length in command.bursts}) == 1:
            commands[n] = replace(command, bursts=command.bursts[::-1])
            return replace(case, work=Work(replace(case.work.program, commands=tuple(commands))))
    return None


def test_a_failing_case_says_how_to_repeat_it(
    results: list[CaseResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = next(case for case in map(misplaced, drawn()) if case is not None)
    number = wrong.number
    monkeypatch.setattr(regress, "draw", lambda *_: wrong)
    [result] = regress.run(cases=40, seed=SEED, out=tmp_path, only=number)
    assert not result.passed
    assert result.repeat().startswith(f"dcp-hw regress --seed {SEED} --only {number} ")
    assert "values differ" in result.repeat()
    assert "the interpreted program is wrong too" in result.repeat()
    assert not (tmp_path / f"results-{SEED}.jsonl").exists()


def test_another_program_prediction_or_generator_is_another_case() -> None:
    case = regress.draw(SEED, 3)
    key = case.key("generator")
    assert regress.draw(SEED, 3).key("generator") == key
    assert case.key("another generator") != key
    assert replace(case, profile="none").key("generator") != key
    other = regress.draw(SEED, 2)
    assert replace(case, work=other.work).key("generator") != key
    assert replace(case, number=2).key("generator") != key
