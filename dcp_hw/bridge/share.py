"""Arrays that several layers share: equal ones are built once, with banks for the largest need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dcp_hw.bridge.arrays import Refused, bytes_of, probe_of, sized
from dcp_hw.bridge.lower import Lowered
from dcp_hw.hardware import Hardware
from tensorlib.design import Design


def shared_designs(found: Sequence[Lowered], hardware: Hardware) -> list[Design]:
    """A design for each lowered dataflow, in order; equal arrays share one.

    Arrays whose PEs are linked alike are equal, whatever loop is t; the design states T of the
    first. A layer whose tiles would make the shared banks exceed the memory gets an array of its
    own.
    """
    groups: dict[str, list[list[int]]] = {}
    for n, one in enumerate(found):
        parts = groups.setdefault(_array_key(one), [])
        for part in parts:
            if _design([found[i] for i in (*part, n)], hardware, "probe") is not None:
                part.append(n)
                break
        else:
            parts.append([n])
    designs: dict[int, Design] = {}
    for number, part in enumerate(part for parts in groups.values() for part in parts):
        first = found[part[0]]
        name = f"bridge{number + 1}_{first.design.rows}x{first.design.cols}"
        design = _design([found[i] for i in part], hardware, name)
        assert design is not None
        designs |= dict.fromkeys(part, design)
    return [designs[n] for n in range(len(found))]


def _array_key(one: Lowered) -> str:
    """Hash of the array without its memories and its provenance."""
    probe = probe_of(one.style, one.design.rows, one.design.cols)
    assert not isinstance(probe, Refused)
    return replace(probe, stt={}).hash()


def _design(members: Sequence[Lowered], hardware: Hardware, name: str) -> Design | None:
    """The array with banks for all members; None if they exceed the memory."""
    first = members[0]
    needs = first.needs
    for member in members[1:]:
        needs |= member.needs
    probe = probe_of(first.style, first.design.rows, first.design.cols)
    assert not isinstance(probe, Refused)
    design = sized(first.style, probe, needs, hardware, name)
    return design if bytes_of(design) <= hardware.sram_bytes else None
