"""Starts a compiled simulation under cocotb and reads what came of it.

cocotb's `Runner.test()` needs no `build()` before it if `hdl_toplevel_lang` is given: the
private fields that `build()` sets are read only to guess the language. It raises on a failed
test under pytest only, so the results file is read here in every case.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from cocotb_tools.runner import get_runner

from sim.errors import HardwareError, SimError
from sim.verilate import tail

SAID_FILE = "DCP_SIM_SAID"
"""Environment variable that a test finds the file in to which it writes its JSON object."""


def run_cocotb(
    executable: Path,
    folder: Path,
    *,
    test_module: str,
    plusargs: Sequence[str] = (),
    extra_env: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """The JSON object that the only test of a module wrote to the file in `SAID_FILE`.

    Args:
        executable: compiled with cocotb's main program, named like its top module.
        folder: where it runs; log and results stay there.
        test_module: dotted name, importable here.

    Raises:
        HardwareError: the test failed.
        SimError: the simulator failed, no test ran, or it wrote nothing.
    """
    log, results, said = folder / "sim.log", folder / "results.xml", folder / "said.json"
    for stale in (results, said):
        stale.unlink(missing_ok=True)
    program: object = None
    try:
        get_runner("verilator").test(
            test_module=test_module,
            hdl_toplevel=executable.name,
            hdl_toplevel_lang="verilog",
            build_dir=executable.parent,
            test_dir=folder,
            results_xml=str(results),
            log_file=log,
            plusargs=plusargs,
            extra_env={SAID_FILE: str(said), **(extra_env or {})},
        )
    # RuntimeError: the simulator's exit code; SystemExit: under pytest, for a failed test too
    except (RuntimeError, SystemExit) as error:
        program = error
    failures = _failures(results, log)
    if failures:
        raise HardwareError(f"{test_module} failed: {'; '.join(failures)}", log=log)
    if program is not None:
        raise SimError(f"the simulator failed ({program}):\n{tail(log)}", log=log)
    try:
        return json.loads(said.read_text())
    except (OSError, ValueError) as error:
        raise SimError(f"{test_module} passed but wrote no result: {error}", log=log) from error


def _failures(results: Path, log: Path) -> list[str]:
    """What the failed tests say; empty if the one test passed.

    Raises:
        SimError: there are no results, or not of one test.
    """
    if not results.is_file():
        why = tail(log) if log.is_file() else "  it did not start"
        raise SimError(f"the simulation ended without results:\n{why}", log=log)
    cases = list(ElementTree.parse(results).getroot().iter("testcase"))
    if len(cases) != 1 or cases[0].find("skipped") is not None:
        raise SimError(f"expected results of one test, found {len(cases)}", log=log)
    bad = [mark for kind in ("failure", "error") for mark in cases[0].iter(kind)]
    return [mark.get("message") or mark.get("error_msg") or "no reason given" for mark in bad]
