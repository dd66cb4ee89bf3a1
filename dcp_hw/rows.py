"""What a report says of designs and layers (docs/report.md)."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

from dcp_hw import physical
from dcp_hw.hardware import Hardware
from dcp_hw.measure import Measurement
from dcp_hw.metrics import Source
from dcp_hw.work import Work
from dcp_hw.workload import Layer
from tensorlib.design import Design, Operand

Row = dict[str, Any]

CAUSES = ("compute", "fill_drain", "config", "wait_load", "wait_store")


def design_row(design: Design, mode: str, title: str, hardware: Hardware, verilog: Path) -> Row:
    """A design's card.

    Args:
        verilog: folder, relative to the report.
    """
    area = physical.area(design, hardware.technology)
    info = design.stt
    memories = {
        name: {
            "banks": memory.banks,
            "rows": memory.rows,
            "width_bits": memory.width_bits,
            "bytes": memory.bytes,
        }
        for name, memory in physical.memories(design).items()
    }
    return {
        "id": design.name,
        "mode": mode,
        "label": f"{info['label']} {title}",
        "T": info["T"],
        "axes": dict(zip(("p1", "p2", "t"), info["loops"], strict=True)),
        "array": [design.rows, design.cols],
        "bus_bits": {"in": design.in_bits, "out": design.out_bits},
        "sram_bytes": sum(design.sram_bytes.values()),
        "ports": {
            "input": len(design.input.ports),
            "weight": len(design.weight.ports),
            "output": design.exits,
        },
        "area_mm2": area.total,
        "area": area.parts(),
        "verilog": str(verilog),
        "interconnect": {
            "input": _operand_wires(design.input, design),
            "weight": _operand_wires(design.weight, design),
            "output": _output_wires(design),
        },
        "memories": memories,
    }


def _operand_wires(operand: Operand, design: Design) -> Row:
    links = {
        ((link.target[0] - link.source[0], link.target[1] - link.source[1]), link.delay)
        for link in operand.links
    }
    kinds = ["systolic" if delay else "multicast" for _, delay in sorted(links)]
    wires: Row = {
        "links": [{"dp": list(dp), "delay": delay} for dp, delay in sorted(links)],
        "ports": len(operand.ports),
    }
    if operand.temporal == "chain":
        kinds.append("stationary")
        wires["links"].append({"dp": [0, 0], "delay": 1})
        wires["chain"] = _chain_wire(operand.chains[0], design)
    wires["kind"] = "+".join(dict.fromkeys(kinds)) or "unicast"
    return wires


def _output_wires(design: Design) -> Row:
    output = design.output
    if output.temporal == "chain":
        pes = output.chains[0].pes
        return {
            "kind": "stationary",
            "links": [{"dp": [0, 0], "delay": 1}],
            "ports": design.exits,
            "chain": _chain_wire(tuple(reversed(pes)), design),
        }
    links: set[tuple[tuple[int, int], int]] = set()
    kinds = []
    for an_exit in output.exits[:1]:
        for stage in an_exit.stages:
            if len(stage.pes) > 1:
                first, second = stage.pes[:2]
                links.add(((second[0] - first[0], second[1] - first[1]), 0))
                kinds.append("reduction_tree")
        for before, after in zip(an_exit.stages, an_exit.stages[1:], strict=False):
            one, two = before.pes[0], after.pes[0]
            links.add(((two[0] - one[0], two[1] - one[1]), after.delay))
            kinds.append("systolic_accumulation")
    return {
        "kind": "+".join(dict.fromkeys(kinds)) or "unicast",
        "links": [{"dp": list(dp), "delay": delay} for dp, delay in sorted(links)],
        "ports": design.exits,
    }


def _chain_wire(pes: tuple[tuple[int, int], ...], design: Design) -> Row | None:
    if len(pes) < 2:
        return None
    one, two = pes[:2]
    hop = design.skew[two[0]][two[1]] - design.skew[one[0]][one[1]]
    return {"dp": [two[0] - one[0], two[1] - one[1]], "delay": 1 + hop}


def layer_row(
    layer: Layer,
    mode: str,
    design: Design,
    hardware: Hardware,
    work: Work,
    measured: Measurement,
) -> Row:
    """A measured layer, figures per occurrence."""
    cycles = measured.latency_cycles
    bound = _bound(layer, hardware)
    energy = physical.energy(design, hardware, measured.counters, cycles)
    return {
        **_head(layer, mode, design.name),
        "source": str(Source.RTL),
        "feasible": True,
        "reason": None,
        "intrinsic_size": work.intrinsic_size(),
        "predicted_cycles": work.predicted_cycles,
        "measured_cycles": cycles,
        "bound_cycles": bound,
        "utilisation": layer.macs / (cycles * hardware.pes),
        "cycles_by_cause": {name: measured.counters[name] for name in CAUSES},
        "energy_nj": energy.parts(),
        "energy_total_nj": energy.total_nj,
        "words_expected": measured.words_expected,
        "words_compared": measured.words_compared,
        "mismatches": measured.mismatches + (0 if measured.checksum_ok else 1),
    }


def infeasible_row(layer: Layer, mode: str, design: Design, hardware: Hardware, reason: str) -> Row:
    """A layer that a design cannot run."""
    empty = dict.fromkeys(
        (
            *("intrinsic_size", "predicted_cycles", "measured_cycles", "utilisation"),
            *("cycles_by_cause", "energy_nj", "energy_total_nj"),
        )
    )
    return {
        **_head(layer, mode, design.name),
        "source": str(Source.MODEL),
        "feasible": False,
        "reason": reason,
        **empty,
        "bound_cycles": _bound(layer, hardware),
        "words_expected": prod(layer.output_shape),
        "words_compared": 0,
        "mismatches": 0,
    }


def _head(layer: Layer, mode: str, design: str) -> Row:
    return {
        "layer": layer.name,
        "count": layer.count,
        "macs": layer.macs,
        "mode": mode,
        "design": design,
    }


def _bound(layer: Layer, hardware: Hardware) -> int:
    return layer.bound_cycles(hardware.pes, hardware.bus_in_bytes, hardware.bus_out_bytes)
