"""Designs to Verilog to simulators, each made once: a content-addressed cache.

`cache/verilog/<hash>` holds the Verilog of a design as one generator made it,
`cache/models/<hash>` the compiled simulation of that Verilog.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dcp_hw import toolchain
from dcp_hw.errors import ToolError
from dcp_hw.process import cache_dir, locked
from sim import runner
from sim.errors import SimError
from sim.verilate import digest, verilog_files
from tensorlib.design import Design


@dataclass(frozen=True, slots=True, kw_only=True)
class Rtl:
    """Verilog of one design.

    Attributes:
        folder: with `filelist.f`, read-only by convention.
        digest: of the Verilog's text, 64 hexadecimal digits.
    """

    design: Design
    folder: Path
    digest: str


def verilog(designs: Sequence[Design]) -> list[Rtl]:
    """Verilog of each design, in order; elaborated in one start of the JVM where not cached.

    Raises: ToolError if the generator refuses a design.
    """
    root = cache_dir() / "verilog"
    root.mkdir(parents=True, exist_ok=True)
    generator = generator_key()
    folders = [root / _key(design.hash(), generator) for design in designs]
    with locked("verilog"):
        missing = {
            folder: design
            for folder, design in zip(folders, designs, strict=True)
            if not folder.is_dir()
        }
        if missing:
            _elaborate(missing, root)
    return [
        Rtl(design=design, folder=folder, digest=digest(verilog_files(folder)))
        for design, folder in zip(designs, folders, strict=True)
    ]


def _elaborate(missing: dict[Path, Design], root: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="making.", dir=root) as name:
        aside = Path(name)
        files = []
        for folder, design in missing.items():
            # the folder's name, because two designs may bear the same name
            file = aside / "json" / folder.name / "design.json"
            file.parent.mkdir(parents=True)
            design.save(file)
            files.append(file)
        toolchain.elaborate(files, aside / "out", log=root / "elaborate.log")
        for folder, file in zip(missing, files, strict=True):
            made = aside / "out" / file.parent.name
            shutil.copy(file, made / "design.json")
            made.rename(folder)


def model(rtl: Rtl, *, jobs: int = 2, quick: bool = False) -> runner.Built:
    """The compiled simulation of a design.

    Args:
        quick: compiled sooner, slower to run: for small designs and few cycles.

    Raises: ToolError if Verilator or the compiler fails.
    """
    root = cache_dir() / "models"
    root.mkdir(parents=True, exist_ok=True)
    env = toolchain.verilator_env()
    try:
        return runner.build(
            rtl.folder,
            root / (rtl.digest[:32] + ("-quick" if quick else "")),
            env=env,
            driver_dir=root / "driver",
            jobs=jobs,
            quick=quick,
        )
    except SimError as error:
        raise ToolError(str(error)) from error


def generator_key() -> str:
    """Names the generator: changes with the Chisel sources."""
    return toolchain.generator_jar().stem


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
