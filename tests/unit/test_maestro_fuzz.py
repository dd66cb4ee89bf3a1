"""Malformed files end with a clear error and exit code 2, whatever was done to them.

Valid files are broken in seeded ways and given to the commands that take them. A mutated file that
is still valid is counted apart. Anything but an exit code (a traceback) fails the test by itself.
"""

from __future__ import annotations

import csv
import gzip
import io
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dcp_hw import cli

MAPPING = """Constant Tile 4
Network net {
  Layer CONV1 {
    Type: CONV
    Stride { X: 1, Y: 1 }
    Dimensions { K: 16, C: 8, R: 3, S: 3, Y: 12, X: 12 }
    Dataflow {
      SpatialMap(1,1) K;
      TemporalMap(Tile,Tile) C;
      TemporalMap(Sz(R),Sz(R)) R;
      TemporalMap(Sz(S),Sz(S)) S;
      TemporalMap(Sz(R),1) Y;
      TemporalMap(Sz(S),1) X;
      Cluster(4, P);
      SpatialMap(1,1) C;
    }
  }
}
"""
HARDWARE = (
    "num_pes: 16\nl1_size_cstr: 512\nl2_size_cstr: 108000\nnoc_bw_cstr: 64\nNoC_NumHops: 1\n"
    "offchip_bw_cstr: 64\n"
)
TABLE = (
    "type,K,C,Y,X,R,S,stride,mapping,pes,noc_bw,noc_latency,offchip_bw,simd\n"
    "CONV,16,8,12,12,3,3,1,\"SK1,1 TC4,4 TR3,3 TS3,3 TY'2,2 TX'5,5 @4 SC1,1\",16,64,1,64,1\n"
    'DSCONV,1,8,12,12,3,3,2,"SC1,1 TR3,3 TS3,3 TY3,1 TX3,1",16,64,1,64,1\n'
)
GENOMES = (
    '[["K", 4], ["C", 8], ["K", 2], ["Y", 3], ["X", 3], ["R", 3], ["S", 3]]\n'
    '[["C", 4], ["C", 1], ["K", 1], ["Y", 3], ["X", 3], ["R", 3], ["S", 3]]\n'
)
LAYERS = "K,C,Y,X,R,S,T\n16,8,12,12,3,3,1\n1,8,12,12,3,3,2\n"
CLAIMS = (
    "name,network,layer,pes,technology,energy_parts,reading,cycles,energy_nj,utilisation\n"
    "all,mobilenetv2,,168,maestro,sram,total,9.66e4,3.51e3,\n"
    "one,mobilenetv2,features_0_0,168,45nm-lop,mac+dram,mean,70000,1e6,0.9\n"
)
NUMBERS = (
    "-1",
    "0",
    "1.5",
    "NaN",
    "inf",
    "1e400",
    "99999999999999999999",
    "2147483647",
    "x7",
    "٣",
    "",
    "0x10",
)
NOISE = ("\x00", "\xff", "é", "\u2028", '"', "'", "{", "}", "(", ",", ";", "//", "\r", "\t", "#")


@dataclass(frozen=True)
class Format:
    """A kind of file: a valid one, and the commands that take it.

    Attributes:
        kept: byte mutations are of the packed form (gzip, Parquet).
        places: what an error must say besides the file, where the text can be read at all.
    """

    text: str
    ending: str
    commands: Callable[[Path, Path], list[list[str]]]
    pack: Callable[[str], bytes] = lambda text: text.encode("utf-8", "surrogateescape")


def packed_parquet(text: str) -> bytes:
    """The table as Parquet."""
    rows = list(csv.DictReader(io.StringIO(text)))
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def batch(path: Path, folder: Path) -> list[list[str]]:
    """The commands that take a table of mappings."""
    out = str(folder / "out.csv")
    modes = [["maestro-batch", str(path), out, "--mode", mode] for mode in ("compat", "honest")]
    return [*modes, ["audit", str(path)]]


def with_other(folder: Path, name: str, text: str) -> str:
    """A valid second file that a command needs."""
    (folder / name).write_text(text)
    return str(folder / name)


FORMATS = {
    "mapping": Format(MAPPING, ".m", lambda p, _: [["maestro", str(p)], ["audit", str(p)]]),
    "hardware": Format(
        HARDWARE,
        ".hw",
        lambda p, f: [
            [command, with_other(f, "good.m", MAPPING), "--hw", str(p)]
            for command in ("maestro", "audit")
        ],
    ),
    "table": Format(TABLE, ".csv", batch),
    "table.gz": Format(TABLE, ".csv.gz", batch, lambda t: gzip.compress(t.encode(), mtime=0)),
    "table.parquet": Format(TABLE, ".parquet", batch, packed_parquet),
    "genomes": Format(
        GENOMES,
        ".json",
        lambda p, f: [["audit", str(p), "--layers", with_other(f, "good.csv", LAYERS)]],
    ),
    "layers": Format(
        LAYERS,
        ".csv",
        lambda p, f: [["audit", with_other(f, "good.json", GENOMES), "--layers", str(p)]],
    ),
    "claims": Format(CLAIMS, ".csv", lambda p, _: [["audit", str(p)]]),
}


# ---------------------------------------------------------------------------- mutations


def mutated_text(rng: random.Random, text: str) -> str:
    """The text with one thing wrong, perhaps."""
    tokens = list(re.finditer(r"[A-Za-z_]+'?|\d+(?:\.\d+)?(?:e\d+)?|[^\w\s]", text))
    numbers = [match for match in tokens if match.group()[0].isdigit()]
    kind = rng.choice(("drop", "double", "swap", "number", "number", "noise", "cut", "line"))
    one, other = rng.choice(tokens), rng.choice(tokens)
    if kind == "drop":
        return text[: one.start()] + text[one.end() :]
    if kind == "double":
        return text[: one.end()] + " " + one.group() + text[one.end() :]
    if kind == "swap":
        one, other = sorted((one, other), key=lambda match: match.start())
        middle = text[one.end() : other.start()]
        return text[: one.start()] + other.group() + middle + one.group() + text[other.end() :]
    if kind == "number":
        one = rng.choice(numbers)
        return text[: one.start()] + rng.choice(NUMBERS) + text[one.end() :]
    if kind == "noise":
        at = rng.randrange(len(text))
        return text[:at] + rng.choice(NOISE) + text[at:]
    if kind == "cut":
        return text[: rng.randrange(len(text))]
    lines = text.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    return "".join(lines[:at] + rng.choice(([], [lines[at]] * 2)) + lines[at + 1 :])


def mutated_columns(rng: random.Random, text: str) -> str:
    """The table without a column, or with one twice, renamed or emptied."""
    rows = list(csv.reader(io.StringIO(text)))
    at = rng.randrange(len(rows[0]))
    kind = rng.choice(("drop", "double", "rename", "empty"))
    for number, row in enumerate(rows):
        if kind == "drop":
            del row[at]
        elif kind == "double":
            row.insert(at, row[at])
        elif kind == "rename" and not number:
            row[at] = rng.choice(("", "Q", row[at].swapcase() + "_"))
        elif kind == "empty" and number:
            row[at] = ""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def mutated_bytes(rng: random.Random, data: bytes) -> bytes:
    """The bytes cut, with noise in them, or in another encoding."""
    kind = rng.choice(("cut", "noise", "flip", "utf-16", "empty"))
    at = rng.randrange(len(data))
    if kind == "cut":
        return data[:at]
    if kind == "noise":
        return data[:at] + rng.randbytes(rng.randint(1, 9)) + data[at:]
    if kind == "flip":
        return data[:at] + bytes((data[at] ^ (1 << rng.randrange(8)),)) + data[at + 1 :]
    return data.decode("latin-1").encode("utf-16") if kind == "utf-16" else b""


def mutations(rng: random.Random, form: Format, count: int) -> Iterator[bytes]:
    """Distinct wrong files, most of them."""
    seen = {form.pack(form.text)}
    while len(seen) <= count:
        kind = rng.random()
        try:
            if kind < 0.25:
                data = mutated_bytes(rng, form.pack(form.text))
            elif kind < 0.4 and "csv" in form.ending + form.pack.__name__.replace("parquet", "csv"):
                data = form.pack(mutated_columns(rng, form.text))
            else:
                data = form.pack(mutated_text(rng, form.text))
        except (pa.ArrowException, csv.Error, TypeError, AttributeError, UnicodeError):
            continue  # what is mutated is no table that could be packed
        if data not in seen:
            seen.add(data)
            yield data


# -------------------------------------------------------------------------------- tests


PLACE = re.compile(
    r":\d+:|row \d+|column|no (rows|layers|claims)|\d+ genomes|not a t|cannot be read"
)


@pytest.mark.parametrize("name", FORMATS)
def test_the_valid_file_is_accepted(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    form = FORMATS[name]
    path = tmp_path / f"file{form.ending}"
    path.write_bytes(form.pack(form.text))
    for command in form.commands(path, tmp_path):
        assert cli.main(command) in (0, 1), capsys.readouterr().err


COUNTS = {"mapping": 80, "hardware": 60, "table": 90, "table.gz": 40, "table.parquet": 40}
COUNTS |= {"genomes": 60, "layers": 60, "claims": 120}
REFUSED = {"mapping": 50, "hardware": 35, "table": 50, "table.gz": 25, "table.parquet": 20}
REFUSED |= {"genomes": 40, "layers": 35, "claims": 60}
"""Least number of files refused, of `COUNTS`; the others are still valid."""


@pytest.mark.parametrize("name", FORMATS)
def test_every_malformed_file_is_refused_clearly(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    form, refused, valid = FORMATS[name], 0, 0
    path = tmp_path / f"file{form.ending}"
    for number, data in enumerate(mutations(random.Random(name), form, COUNTS[name])):
        path.write_bytes(data)
        codes = set()
        for command in form.commands(path, tmp_path):
            code = cli.main(command)
            text = capsys.readouterr().err
            assert code in (0, 1, 2), (number, command, data, text)
            assert "Traceback" not in text
            if code == 2:
                assert text.startswith("dcp-hw: error: "), text
                assert str(path) in text, (data, text)
                assert PLACE.search(text.replace(str(path), "PATH")), (data, text)
                assert len(text) < 1200, text
            codes.add(code == 2)
        refused += True in codes
        valid += True not in codes
    print(f"{name}: {refused} refused, {valid} still valid")
    assert refused + valid == COUNTS[name]
    assert refused >= REFUSED[name]


def test_enough_files_are_refused() -> None:
    assert sum(REFUSED.values()) >= 300


@pytest.mark.parametrize("name", ["type", "K", "pes", "mapping"])
@pytest.mark.parametrize(
    "column",
    [
        *([True], [16.5], [float("inf")], [[16]], [{"a": 1}], [b"\xff16"], [-1], [1 << 62]),
        *(pa.array([(1 << 64) - 1], pa.uint64()), pa.array([0], pa.date32())),
    ],
    ids=str,
)
def test_parquet_columns_of_other_types_are_refused(
    name: str, column: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = next(csv.DictReader(io.StringIO(TABLE)))
    path = tmp_path / "file.parquet"
    pq.write_table(pa.table({key: [cell] for key, cell in row.items()} | {name: column}), path)
    for command in batch(path, tmp_path):
        assert cli.main(command) == 2
        assert re.search(rf"file.parquet: .*{name}.*accepted: ", capsys.readouterr().err)


@pytest.mark.parametrize("name", FORMATS)
def test_folders_and_missing_files_are_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    form = FORMATS[name]
    path = tmp_path / f"file{form.ending}"
    for make in (lambda: None, path.mkdir):
        make()
        for command in form.commands(path, tmp_path):
            assert cli.main(command) == 2
            assert str(path) in capsys.readouterr().err
