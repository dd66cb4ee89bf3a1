"""Designs: families as documented, files, rules and derived numbers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from tensorlib.design import Design, Link, Port
from tensorlib.design_json import from_dict, from_text, to_dict, to_text
from tensorlib.elaborate import OperandSpec, OutputSpec, elaborate, lane_stride
from tensorlib.errors import AnalysisError
from tensorlib.families import FAMILIES, family


@pytest.fixture(scope="module")
def schema(root: Path) -> dict:
    return json.loads((root / "tensorlib/schemas/design.schema.json").read_text())


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 1), (1, 4), (6, 1)])
def test_every_family_survives_its_file(
    kind: str, size: tuple[int, int], schema: dict, tmp_path: Path
) -> None:
    design = family(kind, *size, stt={"why": "test"})
    path = tmp_path / "design.json"
    design.save(path)
    jsonschema.validate(json.loads(path.read_text()), schema)
    again = Design.load(path)
    assert again == design
    assert again.hash() == design.hash()
    assert to_text(again) == path.read_text()


def test_unicast_tree_has_the_banks_of_the_specification() -> None:
    design = family("unicast_tree", 64, 4)
    assert (design.input.banks, design.weight.banks, design.output.banks) == (64, 64, 64)
    assert design.input.ports[:5] == (
        *(Port(0, slot, (0, slot)) for slot in range(4)),
        Port(1, 0, (1, 0)),
    )
    assert design.output.lane_stride == 64
    assert design.output.store_lanes == tuple(range(64))
    assert design.tree_adds_per_step == 192


def test_unicast_multicast_has_the_banks_of_the_specification() -> None:
    design = family("unicast_multicast", 32, 8)
    assert (design.input.banks, design.weight.banks, design.output.banks) == (256, 32, 256)
    assert design.output.store_lanes == tuple(range(256))
    assert design.skew_max == 0
    assert all(link.delay == 0 for link in design.weight.links)
    assert design.input.lanes[33] == (1, 1)


def test_weight_stationary_systolic_array() -> None:
    design = family("weight_stationary", 16, 16)
    assert (design.input.banks, design.weight.banks, design.output.banks) == (16, 16, 16)
    assert design.skew_max == 30
    assert design.input.link_registers == design.output.link_registers == 240
    assert design.weight.chain_length == design.chain_length == 16
    assert design.sweep_min == 17
    assert design.finish_cycles == 35
    assert design.weight.ports[3] == Port(3, 0, (3, 0))
    assert [stage.delay for stage in design.output.exits[2].stages] == [0, *[1] * 15]


def test_output_stationary_drains_from_the_largest_skew() -> None:
    design = family("output_stationary", 4, 6)
    assert design.output.chains[1].pes[:2] == ((1, 5), (1, 4))
    assert design.output.store_lanes == (0, 1, 2, 3)
    assert design.finish_cycles == 8 + 5 + 6 + 1
    assert design.sweep_min == 6
    assert design.tree_adds_per_step == 0


def test_diagonal_input_enters_at_the_border() -> None:
    design = family("row_stationary", 3, 4)
    ports = {port.pe for port in design.input.ports}
    assert ports == {(0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (2, 3)}
    assert Link((2, 0), (1, 1), 0) in design.input.links
    skewed = family("row_systolic", 3, 4)
    assert {port.pe for port in skewed.input.ports} == {
        *((0, j) for j in range(4)),
        *((i, 3) for i in range(3)),
    }
    assert Link((0, 2), (1, 1), 1) in skewed.input.links


@pytest.mark.parametrize(
    ("rows", "stride"),
    [(1, 1), (2, 2), (3, 4), (8, 8), (12, 16), (16, 16), (17, 32), (32, 32), (40, 48), (48, 48)],
)
def test_lane_stride(rows: int, stride: int) -> None:
    assert lane_stride(rows) == stride


def test_multicast_along_a_skewed_axis_is_refused() -> None:
    with pytest.raises(AnalysisError, match="use systolic"):
        elaborate(
            "wrong",
            4,
            4,
            input=OperandSpec(axis1="multicast", axis2="own", rows=4),
            weight=OperandSpec(axis1="own", axis2="own", rows=4),
            output=OutputSpec(axis1="chain", axis2="own", words=4),
        )


def test_derived_sizes() -> None:
    design = family("broadcast", 4, 8, depth=10, words=20, param_rows=3, in_bits=32, out_bits=64)
    assert design.sram_bytes == {
        "input": 2 * 8 * 160,
        "weight": 2 * 4 * 160,
        "output": 2 * 32 * 80,
        "params": 2 * 3 * 112,
    }
    assert (design.r_in, design.r_out) == (4, 2)
    assert design.groups == 2


def test_hash_covers_the_file(tmp_path: Path) -> None:
    design = family("broadcast", 4, 4, stt={"t": [[1, 0, 0]]})
    design.save(tmp_path / "design.json")
    assert design.hash() == hashlib.sha256((tmp_path / "design.json").read_bytes()).hexdigest()
    assert replace(design, out_bits=64).hash() != design.hash()
    bare = replace(design, stt={})
    assert bare == design
    assert bare.hash() != design.hash()


def _without_first_link(values: dict) -> None:
    del values["tensors"]["weight"]["links"][0]


def _ring(values: dict) -> None:
    links = values["tensors"]["weight"]["links"]
    for link in links:
        if link["to"] == [0, 1]:
            link["from"] = [0, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_first_link, "is missing"),
        (_ring, "form a ring"),
        (lambda v: v.update(schema=2), "schema must be 1"),
        (lambda v: v.update(extra=2), "unknown fields"),
        (lambda v: v["array"].update(rows=5), "skew must be 5 x 4"),
        (lambda v: v["bus"].update(in_bits=16), "32, 64 or 128"),
        (lambda v: v["skew"][0].__setitem__(1, 1), "skew"),
        (lambda v: v["tensors"]["input"]["ports"][1].update(bank=0), "more than once"),
        (lambda v: v["tensors"]["input"].update(temporal="chain"), "exactly for temporal chain"),
        (lambda v: v["tensors"]["input"].update(rows=0), "1 to 4096"),
        (lambda v: v["tensors"]["output"].update(banks=3), "store_lanes"),
        (lambda v: v["tensors"]["output"]["exits"][0].update(bank=1), "exactly one exit"),
        (lambda v: v["tensors"]["output"]["store_lanes"].__setitem__(0, 1), "more than once"),
        (lambda v: v["tensors"]["output"]["exits"][0]["stages"][0].update(delay=1), "delay"),
        (lambda v: v["tensors"]["input"]["lanes"].__setitem__(0, [4, 0]), "outside"),
    ],
)
def test_broken_files_are_refused(change, message: str) -> None:
    values = to_dict(family("broadcast", 4, 4))
    change(values)
    with pytest.raises(AnalysisError, match=message):
        from_dict(values)


def test_text_that_is_not_json_is_refused() -> None:
    with pytest.raises(AnalysisError, match="not JSON"):
        from_text("{")
