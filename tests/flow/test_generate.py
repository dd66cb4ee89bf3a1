"""From a layer set to a measured report through the command line, and again with nothing to do."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dcp_hw import layerset_csv, report, toolchain
from dcp_hw.errors import INTERRUPTED
from dcp_hw.workload import LayerSet

pytestmark = pytest.mark.needs("java", "verilator", "cocotb")

PES, SRAM_KIB = 16, 48
HARDWARE = f"pes: {PES}\nsram_kib: {SRAM_KIB}\n"
TOO_LONG_S = 240
QUICK_S = 30
"""For a run with nothing to do, on a machine that does much else."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with a cache of its own, so that what earlier tests left does not count."""

    folder: Path

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def generate(self) -> list[str]:
        """Arguments of a small `generate`."""
        words = ["generate", "--layerset", "tiny", "--hw", str(self.folder / "small.yaml")]
        return [*words, "--modes", "fixed", "--objective", "latency", "--out", str(self.out)]

    def files(self) -> dict[Path, int]:
        """What is in cache and output folder, with times of change; without locks and logs."""
        found = [*self.out.rglob("*"), *self.cache.rglob("*")]
        kept = (p for p in found if p.is_file() and p.suffix not in (".lock", ".log"))
        return {path: path.stat().st_mtime_ns for path in kept}


def command(*words: str | Path) -> list[str]:
    """A `dcp-hw` command line."""
    return [sys.executable, "-m", "dcp_hw.cli", *map(str, words)]


def run(*words: str | Path, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A finished `dcp-hw` command."""
    return subprocess.run(
        command(*words),
        env=environment(cache),
        capture_output=True,
        text=True,
        check=False,
        timeout=TOO_LONG_S,
    )


def environment(cache: Path | None) -> dict[str, str]:
    return {**os.environ} | ({} if cache is None else {"DCP_HW_CACHE": str(cache)})


def interrupted(place: Place, after: str) -> tuple[int, str]:
    """Exit code and messages of a `generate` stopped by Ctrl-C when it says `after`."""
    process = subprocess.Popen(
        command(*place.generate),
        env=environment(place.cache),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    lines = []
    for line in process.stderr or ():
        lines.append(line)
        if after in line:
            time.sleep(0.5)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            break
    _, rest = process.communicate(timeout=TOO_LONG_S)
    return process.returncode, "".join(lines) + rest


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Hardware in a file, and a cache with the tools only."""
    place = Place(tmp_path_factory.mktemp("flow"))
    (place.folder / "small.yaml").write_text(HARDWARE)
    jars = toolchain.generator_jar().parent
    place.cache.mkdir()
    (place.cache / "jars").symlink_to(jars)
    return place


@pytest.fixture(scope="module")
def finished(place: Place) -> dict[str, Any]:
    """The report of a run that was stopped twice on its way."""
    for after in ("designs: 0/", "simulating layers: 0/"):
        code, said = interrupted(place, after)
        assert code == INTERRUPTED, said
        assert "run the same command again to go on" in said
        assert "Traceback" not in said
        assert not (place.out / "report.json").exists()
    result = run(*place.generate, cache=place.cache)
    assert result.returncode == 0, result.stderr
    assert "× bound" in result.stdout
    return json.loads((place.out / "report.json").read_text())


def test_every_layer_is_measured_and_right(finished: dict[str, Any]) -> None:
    report.validate(finished)
    layers = LayerSet.load("tiny")
    assert [row["layer"] for row in finished["layers"]] == [layer.name for layer in layers]
    compared = 0
    for row, layer in zip(finished["layers"], layers, strict=True):
        assert row["feasible"]
        assert row["source"] == "rtl"
        assert row["mismatches"] == 0
        assert row["words_compared"] == row["words_expected"] == layer.output_elements
        assert row["predicted_cycles"] == row["measured_cycles"] >= row["bound_cycles"]
        assert sum(row["cycles_by_cause"].values()) == row["measured_cycles"]
        compared += row["words_compared"]
    assert compared == sum(layer.output_elements for layer in layers) > 6_000
    (design,) = finished["designs"]
    assert design["array"][0] * design["array"][1] <= PES
    assert design["sram_bytes"] <= SRAM_KIB * 1024


def test_predictions_are_older_than_measurements(finished: dict[str, Any], place: Place) -> None:
    file = place.out / "predictions-fixed.json"
    predicted = {row["layer"]: row["predicted_cycles"] for row in json.loads(file.read_text())}
    assert predicted == {row["layer"]: row["measured_cycles"] for row in finished["layers"]}
    [digest, name] = file.with_suffix(".sha256").read_text().split()
    assert (digest, name) == (hashlib.sha256(file.read_bytes()).hexdigest(), file.name)
    measurements = list((place.cache / "measurements").glob("*.json"))
    assert len(measurements) == len(predicted)
    assert min(path.stat().st_mtime_ns for path in measurements) > file.stat().st_mtime_ns


def test_files_are_there(finished: dict[str, Any], place: Place) -> None:
    for name in ("report.html", "report.md", "report.csv", "predictions-fixed.json"):
        assert (place.out / name).stat().st_size > 0
    (design,) = finished["designs"]
    assert (place.out / design["verilog"] / "Accelerator.sv").is_file()
    for row in finished["layers"]:
        assert (place.out / "programs" / design["id"] / f"{row['layer']}.json").is_file()


def test_the_manifest_names_every_file(finished: dict[str, Any], place: Place) -> None:
    manifest = json.loads((place.out / "manifest.json").read_text())
    assert manifest["versions"] == finished["versions"]
    there = {str(p.relative_to(place.out)): p for p in place.out.rglob("*") if p.is_file()}
    assert manifest["sha256"].keys() == there.keys() - {"manifest.json"}
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256(there[name].read_bytes()).hexdigest() == digest


def test_a_second_run_does_nothing(finished: dict[str, Any], place: Place) -> None:
    """Nothing searched, elaborated, compiled, simulated or written; the report comes at once."""
    before = place.files()
    start = time.monotonic()
    result = run(*place.generate, "--json", cache=place.cache)
    assert time.monotonic() - start < QUICK_S
    assert result.returncode == 0
    assert place.files() == before
    assert json.loads(result.stdout)["layers"] == finished["layers"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["generate", "--layerset", "nothing"], "not found"),
        (["generate", "--modes", "fastest"], "fixed, per-layer, example"),
        (["generate", "--hw", "nothing.yaml"], "nothing.yaml"),
        (["generate", "--objective", "beauty"], "latency"),
        (["report", "nothing.json"], "nothing.json"),
        (["regress", "--count", "0"], "count must be >= 1"),
        (["fly"], "generate"),
    ],
)
def test_wrong_input_ends_with_two(words: list[str], says: str) -> None:
    result = run(*words)
    assert result.returncode == 2
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("found", "wrong", "says"),
    [
        ("gemm,gemm,", "gemm,gem,", "gem"),
        ("gemm,gemm,", "gemm,gemm,7,", "field|column|value"),
    ],
)
def test_a_broken_layer_set_names_its_line(
    found: str, wrong: str, says: str, tmp_path: Path
) -> None:
    text = layerset_csv.dump_layerset(LayerSet.load("tiny").select("gemm"))
    assert found in text
    file = tmp_path / "mine.csv"
    file.write_text(text.replace(found, wrong))
    result = run("generate", "--layerset", file)
    assert result.returncode == 2
    assert re.search(r"mine\.csv.*\b2\b", result.stderr)
    assert re.search(says, result.stderr)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pes: 16\nrows: 4\n", "unknown key 'rows'"),
        ("pes: many\n", "accepted: a whole number"),
        ("bus_in_bits: 48\n", "accepted: a power of two"),
        ("[16]\n", "keys are pes"),
        ("pes: [\n", "not a YAML file"),
    ],
)
def test_a_broken_hardware_file_says_what_is_accepted(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    result = run("generate", "--layerset", "tiny", "--hw", file)
    assert result.returncode == 2
    assert "mine.yaml" in result.stderr
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_dcp_hw_can_be_called_from_anywhere(tmp_path: Path) -> None:
    result = subprocess.run(
        command("layersets"), capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )  # fmt: skip
    assert result.returncode == 0
    assert "mobilenetv2" in result.stdout
