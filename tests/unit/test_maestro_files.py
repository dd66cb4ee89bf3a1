"""MAESTRO's and GAMMA's files: round trips, and a clear error for every malformed one."""

from __future__ import annotations

import csv
import gzip
import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcp_hw import cli
from dcp_hw.errors import InputError
from dcp_hw.maestro.compat import MaestroHardware
from dcp_hw.maestro.gamma import (
    dump_gamma_layers,
    dump_genome,
    parse_gamma_layers,
    parse_genome,
)
from dcp_hw.maestro.hardware_file import dump_hardware, parse_hardware
from dcp_hw.maestro.layer import LayerType, MaestroLayer
from dcp_hw.maestro.mapping import Directive, Mapping, parse_compact
from dcp_hw.maestro.mapping_file import dump_mapping, parse_mapping
from dcp_hw.maestro.syntax import MappingFile

FILE = """// a comment
Constant SzM 100;
Constant KTile 10
Network Net {
\tLayer CONV1 {
\t\tType: CONV
\t\tStride { X: 2, Y: 2 }
\t\tDimensions { K: 64, C: 128, R: 3, S: 3, Y:224, X:224 } // another
\t\tDataflow {
\t\t\tSpatialMap(1,1) K;
\t\t\tTemporalMap(64,64) C;
\t\t\tTemporalMap(Sz(R),Sz(R)) R;
\t\t\tTemporalMap(Sz(R),1) Y;
\t\t\tTemporalMap(8, 8) X';
\t\t\tCluster(KTile, P);
\t\t\tSpatialMap(1,1) C;
\t\t}
\t}
\tLayer DEPTH { Type: DSCONV Dimensions { K 1 C 8 R 3 S 3 Y' 9 X' 9 }
\t\tDataflow { SpatialMap(1,1) C } }
\tLayer GROUP { Type: NGCONV Dimensions { G: 2, K: 4, C: 4, R: 1, S: 1, Y: 5, X: 5 } }
\tLayer UP { Type: TRCONV Dimensions { N: 2, K: 4, C: 4, R: 2, S: 2, Y: 6, X: 6 }
\t\tDataflow { Cluster(2,L) SpatialMap(1,1) K } }
\tLayer FC { Type: GEMM Dimensions { M: 3, N: 4, K: SzM } Dataflow { SpatialMap(1,1) M; } }
}
Accelerator { PE { NumPEs: 128; VectorWidth: 4; MultPrecision: INT8, AddPrecision: INT16 }
  Buffer { GlobalL2: 2048, LocalL1: 64 } NoC { Top { Bandwidth: 64; LatencyPerHop: 2 } } }
"""
HARDWARE = "num_pes: 168\nl1_size_cstr: 512 // small\nnoc_bw_cstr: 64\nNoC_NumHops: 2\n"
LAYERS = "K,C,Y,X,R,S,T\n64,32,56,56,3,3,1\n1,32,14,14,3,3,2\n256,128,2048\n10,20,1,1,1,1,0\n"
PLACE = re.compile(r"^\S+:\d+:\d+: .*accepted: ", re.DOTALL)


def test_a_file_with_everything_is_read() -> None:
    file = parse_mapping(FILE)
    assert [block.layer.type for block in file.layers] == [
        *(LayerType.CONV, LayerType.DSCONV, LayerType.NGCONV, LayerType.TRCONV, LayerType.GEMM)
    ]
    first = file.layers[0]
    assert str(first.mapping) == "SK1,1 TC64,64 TR3,3 TY3,1 TX'8,8 @10 SC1,1"
    assert first.layer.stride == {"X": 2, "Y": 2}
    assert file.layers[2].mapping is None
    assert file.layers[4].layer.size == {"M": 3, "N": 4, "K": 100}


def test_writing_keeps_constants_and_meaning() -> None:
    file = parse_mapping(FILE)
    text = dump_mapping(file)
    assert parse_mapping(text) == file
    assert "Cluster(KTile, P)" in text
    assert "TemporalMap(Sz(R),1) Y" in text
    assert dump_mapping(parse_mapping(text)) == text


def test_an_unnamed_layer_is_called_as_by_maestro() -> None:
    layer = "Layer { Type: GEMM Dimensions { M: 3, N: 4, K: 5 } }"
    text = f"Network {{ {layer} {layer} }}"
    assert [block.layer.name for block in parse_mapping(text).layers] == ["Layer", "K"]


sizes = st.integers(1, 2**31 - 1)
directives = st.builds(
    Directive, st.booleans(), st.sampled_from(["K", "C", "Y", "X'", "R", "S", "N"]), sizes, sizes
)
mappings = st.lists(st.lists(directives, min_size=1, max_size=4), min_size=1, max_size=4).flatmap(
    lambda levels: st.builds(
        Mapping,
        st.just(tuple(map(tuple, levels))),
        st.tuples(*[sizes] * (len(levels) - 1)),
    )
)


@given(mappings, st.tuples(*[sizes] * 6), sizes)
@settings(max_examples=100, deadline=None)
def test_mappings_survive_both_texts(mapping: Mapping, shape: tuple[int, ...], stride: int) -> None:
    layer = MaestroLayer(
        "l", LayerType.CONV, tuple(zip("KCYXRS", shape, strict=True)), (("X", stride),)
    )
    assert parse_compact(str(mapping)) == mapping
    file = MappingFile.of([(layer, mapping)])
    again = parse_mapping(dump_mapping(file))
    assert again == file
    assert again.layers[0].mapping == mapping


def test_hardware_and_layers_survive() -> None:
    hardware = parse_hardware(HARDWARE)
    assert hardware.pes == 168
    assert hardware.noc_latency == 2
    assert parse_hardware(dump_hardware(hardware)) == hardware
    assert parse_hardware("") == MaestroHardware(
        pes=1, noc_latency=1, offchip_bw=2**31 - 1
    )  # a file's defaults
    assert parse_hardware("NumPEs: 168 NoC_BW: 81920000").noc_bw == 81_920_000
    layers = parse_gamma_layers(LAYERS)
    assert parse_gamma_layers(dump_gamma_layers(layers)) == layers
    assert parse_gamma_layers("64,32,56,56,3,3,1") == layers[:1]


# ---------------------------------------------------------------------------- malformed


def words_of(text: str) -> list[re.Match[str]]:
    """Words of a file outside of comments."""
    plain = re.sub(r"//[^\n]*", lambda match: " " * len(match.group()), text)
    return list(re.finditer(r"[^ ,\->():\t;\n]+", plain))


def malformed_mappings() -> list[str]:
    """Files that are wrong in one place each."""
    start = FILE.index("Network")
    network = FILE[start : FILE.index("Accelerator")].rstrip()
    bad = []
    for word in words_of(network):
        begin, end = word.span()
        bad.append(network[:begin])  # ends too early
        if word.group() in "{}":
            bad.append(network[:begin] + network[end:])  # a brace is missing
        elif word.group().isdigit():
            for other in ("0", "x7", "-3", "1e3", "99999999999", "7}"):
                bad.append(network[:begin] + other + network[end:])
        elif word.group() in ("Type", "Stride", "Dimensions", "Dataflow", "SpatialMap", "Sz"):
            bad.append(network[:begin] + "Oops " + network[end:])
    constants = FILE[:start]
    return [constants + text for text in bad]


MALFORMED_HARDWARE = [
    *("num_pes", "num_pes: x", "num_pes: 0", "pes: 3", "num_pes: 4 num_pes: 5", "{ }"),
    *("noc_bw_cstr: -5", "num_pes: 99999999999", "num_pes: 1.5", "L1: 5", "num_pes: 3 4"),
]
MALFORMED_LAYERS = [
    *("", "K,C,Y,X,R,S,T\n", "1,2\n", "1,2,3,4,5,6,7,8\n", "a,b,c,d,e,f,g\n"),
    *("64,32,56,56,3,3,4\n", "0,32,56,56,3,3,1\n", "64,32,2,2,3,3,1\n", "2,32,9,9,3,3,2\n"),
    *("64,32,56,56,3,3,-1\n", "64,32,56,56,3,,1\n", "64,32,56,56,3,3,99999999999\n", "1,2,x\n"),
    "K,C,Y,X,R,S,T\nK,C,Y,X,R,S,T\n",
]


def test_every_malformed_mapping_says_where_and_what() -> None:
    bad = malformed_mappings()
    assert len(bad) >= 300
    for text in bad:
        with pytest.raises(InputError, match=PLACE):
            print(parse_mapping(text, "net.m"))


@pytest.mark.parametrize("text", MALFORMED_HARDWARE)
def test_every_malformed_hardware_says_where_and_what(text: str) -> None:
    with pytest.raises(InputError, match=PLACE):
        parse_hardware(text, "hw.m")


@pytest.mark.parametrize("text", MALFORMED_LAYERS)
def test_every_malformed_layer_file_says_where_and_what(text: str) -> None:
    with pytest.raises(InputError, match=PLACE):
        parse_gamma_layers(text, "net.csv")


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_read_or_refused(seed: int) -> None:
    """No other exception, whatever the bytes."""
    rng = random.Random(seed)
    alphabet = "{}():;,->/ \n\t019KCYXRS'PLSzTemporalMap\x00é²"
    for _ in range(400):
        for text, parse in (
            (FILE, parse_mapping),
            (HARDWARE, parse_hardware),
            (LAYERS, parse_gamma_layers),
            ("SK1,1 TC64,64 @4 SC1,1 TY'3,1", parse_compact),
            (dump_genome_of_noise(rng), parse_genome),
        ):
            letters = list(text)
            for _ in range(rng.randint(1, 6)):
                place = rng.randrange(len(letters))
                letters[place : place + rng.randint(0, 3)] = rng.choices(alphabet, k=2)
            try:
                parse("".join(letters))
            except InputError as error:
                assert len(str(error)) < 700  # noqa: PT017


def dump_genome_of_noise(rng: random.Random) -> str:
    """A genome that may be wrong."""
    genes = [[rng.choice("KCYXRSQ"), rng.randint(0, 9)] for _ in range(7)]
    return str(genes).replace("'", '"')


def test_genomes_survive() -> None:
    text = '[["K", 4], ["C", 8], ["K", 2], ["Y", 3], ["X", 3], ["R", 3], ["S", 3]]'
    assert dump_genome(parse_genome(text)) == text


# ------------------------------------------------------------------------ command line


def test_wrong_files_end_with_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, hw, batch = tmp_path / "a.m", tmp_path / "hw.m", tmp_path / "in.csv"
    good.write_text("Network { Layer { Type: GEMM Dimensions { M: 3, N: 4, K: 5 } } }")
    for text in malformed_mappings()[::25]:
        bad = tmp_path / "bad.m"
        bad.write_text(text)
        assert cli.main(["maestro", str(bad)]) == 2
        assert f"{bad}:" in capsys.readouterr().err
    for text in MALFORMED_HARDWARE:
        hw.write_text(text)
        assert cli.main(["maestro", str(good), "--hw", str(hw)]) == 2
    header = "type,K,C,Y,X,R,S,stride,mapping\n"
    for row in (
        *("", "CONV,1,1,1,1,1,1,1,\n", "CONV,1,1,1,1,1,1,x,SK1_1\n", 'FC,1,1,1,1,1,1,1,"SK1,1"\n'),
        *(
            'CONV,,1,1,1,1,1,1,"SK1,1"\n',
            'CONV,1,1,1,1,1,1,1,"SK1,"\n',
            'CONV,1,1,1,1,1,1,"SK1,1"\n',
        ),
        *('CONV,1,1,1,1,1,1,0,"SK1,1"\n', 'CONV,1,1.5,1,1,1,1,1,"SK1,1"\n'),
    ):
        batch.write_text(header + row)
        assert cli.main(["maestro-batch", str(batch), str(tmp_path / "out.csv")]) == 2, row
        assert str(batch) in capsys.readouterr().err
        assert not (tmp_path / "out.csv").exists()
    for arguments in (["no.csv", "out.csv"], [str(batch), "out.xlsx"]):
        assert cli.main(["maestro-batch", *arguments]) == 2
    assert not list(tmp_path.glob(".*.part"))


def test_the_command_prints_what_maestro_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with gzip.open(
        Path(__file__).resolve().parents[1] / "golden" / "maestro" / "reference.csv.gz", "rt"
    ) as file:
        row = next(csv.DictReader(file))
    layer = MaestroLayer("l", LayerType.CONV, tuple((dim, int(row[dim])) for dim in "KCYXRS"))
    path = tmp_path / "some.m"
    path.write_text(dump_mapping(MappingFile.of([(layer, parse_compact(row["mapping"]))])))
    monkeypatch.chdir(tmp_path)
    options = [
        *(f"--Mapping_file={path.name}", f"--num_pes={row['pes']}"),
        *(f"--noc_bw_cstr={row['noc_bw']}", "--noc_hops=1", "--noc_hop_latency=1"),
        *(f"--offchip_bw_cstr={row['offchip_bw']}", "--print_res=false"),
        "--print_res_csv_file=true",
    ]
    assert cli.main(["maestro", *options, "--csv"]) == 0
    header, line = capsys.readouterr().out.splitlines()
    assert len(header.split(",")) == len(line.split(",")) == 52
    cells = [cell.strip() for cell in line.split(",")]
    assert cells[3] == row["runtime"]
    assert float(cells[4]) == float(row["energy_nj"])
    assert (tmp_path / "some.csv").read_text() == f"{header}\n{line}\n"
    assert cli.main(["maestro", *options, "--json"]) == 0
    assert (tmp_path / "some.csv").read_text() == f"{header}\n{line}\n{line}\n"


def test_a_crash_of_maestro_is_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.m"
    path.write_text("Network { Layer { Type: GEMM Dimensions { M: 3, N: 4, K: 5 } } }")
    assert cli.main(["maestro", str(path)]) == 1
    assert "no Dataflow" in capsys.readouterr().err


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_batches_go_in_and_out(tmp_path: Path, ending: str) -> None:
    source, target = tmp_path / "in.csv", tmp_path / f"out{ending}"
    source.write_text(
        "type,K,C,Y,X,R,S,M,N,stride,mapping\n"
        'CONV,16,32,112,112,1,1,,,1,"SK1,1 TC32,32 TY1,1 TX1,1"\n'
        'GEMM,8,,,,,,4,6,1,"TK4,4 TM1,1 TN2,2"\n'
    )
    assert cli.main(["maestro-batch", str(source), str(target)]) == 0
    if ending == ".parquet":
        import pyarrow.parquet as pq

        rows = pq.read_table(target).to_pylist()
    else:
        data = target.read_bytes()
        text = (gzip.decompress(data) if ending.endswith("gz") else data).decode()
        rows = list(csv.DictReader(text.splitlines()))
    assert [str(row["infeasible"])[:13] for row in rows] == ["", "0 SpatialMaps"]
    assert int(rows[0]["macs_true"]) == 16 * 32 * 112 * 112
    assert rows[1]["runtime"] in (None, "")
