"""Which designs and programs are the same but for their names."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from dcp_hw.lowering import Program, program_text
from tensorlib.design import Design
from tensorlib.design_json import to_dict

_PROVENANCE = ("name", "stt")


def hardware_key(design: Design) -> str:
    """Equal for designs whose Verilog is the same, or that of one is the other's with axes swapped.

    Names, provenance and what else the generator does not read (docs/hardware.md, section 3) do not
    count; the order of banks does, because programs fill them in that order.
    """
    plain = to_dict(design)
    for name in _PROVENANCE:
        del plain[name]
    del plain["tensors"]["output"]["lane_stride"]
    ways = [_canonical(plain, swapped=False)]
    if "window" not in plain:  # its digits belong to axes
        ways.append(_canonical(plain, swapped=True))
    return hashlib.sha256(min(ways).encode()).hexdigest()


def _canonical(plain: dict[str, Any], *, swapped: bool) -> str:
    """The text of a design with PE (i, j) named (j, i) or not, lists without order sorted."""

    def pe(place: list[int]) -> list[int]:
        return place[::-1] if swapped else place

    def operand(one: dict[str, Any]) -> dict[str, Any]:
        return one | {
            "lanes": [pe(p) for p in one["lanes"]],
            "ports": sorted([x["bank"], x["slot"], *pe(x["pe"])] for x in one["ports"]),
            "links": sorted([pe(x["from"]), pe(x["to"]), x["delay"]] for x in one["links"]),
            "chains": sorted([pe(p) for p in chain] for chain in one["chains"]),
        }

    tensors, array, skew = plain["tensors"], plain["array"], plain["skew"]
    output = tensors["output"]
    exits = [
        [x["bank"], [[sorted(pe(p) for p in s["pes"]), s["delay"]] for s in x["stages"]]]
        for x in output["exits"]
    ]
    chains = [[x["bank"], [pe(p) for p in x["pes"]]] for x in output["chains"]]
    sizes = [array["rows"], array["cols"]]
    found = plain | {
        "array": sizes[::-1] if swapped else sizes,
        "skew": [list(row) for row in zip(*skew, strict=True)] if swapped else skew,
        "tensors": {
            "input": operand(tensors["input"]),
            "weight": operand(tensors["weight"]),
            "output": output | {"exits": sorted(exits), "chains": sorted(chains)},
        },
    }
    return json.dumps(found, sort_keys=True)


def program_key(program: Program) -> str:
    """Equal for programs of the same commands and memory map, whatever mapping they came from."""
    head: dict[str, object] = {
        "memory_bytes": program.memory_bytes,
        "regions": program.regions,
        "layouts": program.layouts,
        "weight_tiles": list(program.tiles),
    }
    return hashlib.sha256(program_text(head, program.commands).encode()).hexdigest()
