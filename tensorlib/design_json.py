"""design.json, schema 1: text to `Design` and back (docs/hardware.md, section 3)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tensorlib.design import (
    SCHEMA,
    Design,
    DrainChain,
    Exit,
    Link,
    Operand,
    Output,
    Pe,
    Port,
    Stage,
)
from tensorlib.errors import AnalysisError

Json = dict[str, Any]


def to_dict(design: Design) -> Json:
    """The object of design.json, keys in the order of the documentation."""
    return {
        "schema": SCHEMA,
        "name": design.name,
        "stt": dict(design.stt),
        "array": {"rows": design.rows, "cols": design.cols},
        "widths": {"data": design.data_bits, "acc": design.acc_bits},
        "bus": {"in_bits": design.in_bits, "out_bits": design.out_bits},
        "loops": design.loops,
        "skew": [list(row) for row in design.skew],
        "tensors": {
            **{name: _operand_dict(operand) for name, operand in design.operands},
            "output": _output_dict(design.output),
        },
        "params": {"rows": design.param_rows},
        **({} if design.window is None else {"window": {"steps": list(design.window)}}),
    }


def _operand_dict(operand: Operand) -> Json:
    return {
        "temporal": operand.temporal,
        "banks": operand.banks,
        "rows": operand.rows,
        "lanes": [list(pe) for pe in operand.lanes],
        "slots": operand.slots,
        "ports": [{"bank": p.bank, "slot": p.slot, "pe": list(p.pe)} for p in operand.ports],
        "links": [
            {"from": list(n.source), "to": list(n.target), "delay": n.delay} for n in operand.links
        ],
        "chains": [[list(pe) for pe in chain] for chain in operand.chains],
    }


def _output_dict(output: Output) -> Json:
    return {
        "temporal": output.temporal,
        "banks": output.banks,
        "words": output.words,
        "lane_stride": output.lane_stride,
        "store_lanes": list(output.store_lanes),
        "exits": [
            {
                "bank": e.bank,
                "stages": [{"pes": [list(pe) for pe in s.pes], "delay": s.delay} for s in e.stages],
            }
            for e in output.exits
        ],
        "chains": [{"bank": c.bank, "pes": [list(pe) for pe in c.pes]} for c in output.chains],
    }


def to_text(design: Design) -> str:
    """design.json: indented, short values on one line."""
    return _layout(to_dict(design), 0) + "\n"


def _layout(value: Any, depth: int) -> str:
    flat = json.dumps(value)
    if len(flat) + 2 * depth <= 96 or not isinstance(value, dict | list):
        return flat
    pad = "  " * (depth + 1)
    if isinstance(value, dict):
        items = [f"{pad}{json.dumps(k)}: {_layout(v, depth + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(items) + "\n" + "  " * depth + "}"
    items = [pad + _layout(v, depth + 1) for v in value]
    return "[\n" + ",\n".join(items) + "\n" + "  " * depth + "]"


def from_text(text: str) -> Design:
    """The design of a design.json.

    Raises: `AnalysisError` for text that is not JSON, unknown, missing or wrong fields.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise AnalysisError(f"not JSON: {error}") from error
    return from_dict(values)


def from_dict(values: Any) -> Design:
    """The design of a parsed design.json.

    Raises: `AnalysisError` with the path of the offending field.
    """
    if not isinstance(values, Mapping):
        raise AnalysisError(f"design.json must hold an object, got {type(values).__name__}")
    if values.get("schema") != SCHEMA:
        raise AnalysisError(f"schema must be {SCHEMA}, got {values.get('schema')!r}")
    windowed = "window" in values
    top = _fields("design", values, _TOP | ({"window": dict} if windowed else {}))
    array = _fields("array", top["array"], {"rows": int, "cols": int})
    widths = _fields("widths", top["widths"], {"data": int, "acc": int})
    bus = _fields("bus", top["bus"], {"in_bits": int, "out_bits": int})
    tensors = _fields("tensors", top["tensors"], {"input": dict, "weight": dict, "output": dict})
    params = _fields("params", top["params"], {"rows": int})
    window = _fields("window", top["window"], {"steps": list}) if windowed else None
    return Design(
        name=top["name"],
        stt=top["stt"],
        rows=array["rows"],
        cols=array["cols"],
        data_bits=widths["data"],
        acc_bits=widths["acc"],
        in_bits=bus["in_bits"],
        out_bits=bus["out_bits"],
        loops=top["loops"],
        window=_integers("window.steps", window["steps"]) if window else None,
        skew=tuple(_integers("skew", row) for row in top["skew"]),
        input=_operand("tensors.input", tensors["input"]),
        weight=_operand("tensors.weight", tensors["weight"]),
        output=_output("tensors.output", tensors["output"]),
        param_rows=params["rows"],
    )


_TOP: dict[str, type] = {
    "schema": int,
    "name": str,
    "stt": dict,
    "array": dict,
    "widths": dict,
    "bus": dict,
    "loops": int,
    "skew": list,
    "tensors": dict,
    "params": dict,
}
_OPERAND: dict[str, type] = {
    "temporal": str,
    "banks": int,
    "rows": int,
    "lanes": list,
    "slots": int,
    "ports": list,
    "links": list,
    "chains": list,
}
_OUTPUT: dict[str, type] = {
    "temporal": str,
    "banks": int,
    "words": int,
    "lane_stride": int,
    "store_lanes": list,
    "exits": list,
    "chains": list,
}


def _operand(path: str, values: Json) -> Operand:
    v = _fields(path, values, _OPERAND)
    ports = [
        _fields(f"{path}.ports[{n}]", p, {"bank": int, "slot": int, "pe": list})
        for n, p in enumerate(v["ports"])
    ]
    links = [
        _fields(f"{path}.links[{n}]", p, {"from": list, "to": list, "delay": int})
        for n, p in enumerate(v["links"])
    ]
    return Operand(
        temporal=v["temporal"],
        banks=v["banks"],
        rows=v["rows"],
        lanes=_pes(f"{path}.lanes", v["lanes"]),
        slots=v["slots"],
        ports=tuple(Port(p["bank"], p["slot"], _pe(f"{path}.ports pe", p["pe"])) for p in ports),
        links=tuple(
            Link(_pe(f"{path}.links from", n["from"]), _pe(f"{path}.links to", n["to"]), n["delay"])
            for n in links
        ),
        chains=tuple(_pes(f"{path}.chains", chain) for chain in v["chains"]),
    )


def _output(path: str, values: Json) -> Output:
    v = _fields(path, values, _OUTPUT)
    exits = []
    for n, item in enumerate(v["exits"]):
        e = _fields(f"{path}.exits[{n}]", item, {"bank": int, "stages": list})
        stages = []
        for stage in e["stages"]:
            s = _fields(f"{path}.exits[{n}].stages", stage, {"pes": list, "delay": int})
            stages.append(Stage(_pes(f"{path}.exits[{n}].stages pes", s["pes"]), s["delay"]))
        exits.append(Exit(e["bank"], tuple(stages)))
    chains = [
        _fields(f"{path}.chains[{n}]", item, {"bank": int, "pes": list})
        for n, item in enumerate(v["chains"])
    ]
    return Output(
        temporal=v["temporal"],
        banks=v["banks"],
        words=v["words"],
        lane_stride=v["lane_stride"],
        store_lanes=_integers(f"{path}.store_lanes", v["store_lanes"]),
        exits=tuple(exits),
        chains=tuple(DrainChain(c["bank"], _pes(f"{path}.chains pes", c["pes"])) for c in chains),
    )


def _fields(path: str, values: Any, types: Mapping[str, type]) -> Json:
    """`values`, checked to have exactly the fields `types`."""
    if not isinstance(values, Mapping):
        raise AnalysisError(f"{path} must be an object, got {values!r}")
    if values.keys() != types.keys():
        missing, unknown = (
            sorted(types.keys() - values.keys()),
            sorted(values.keys() - types.keys()),
        )
        raise AnalysisError(f"{path}: missing fields {missing}, unknown fields {unknown}")
    for name, kind in types.items():
        if not isinstance(values[name], kind) or (kind is int and isinstance(values[name], bool)):
            raise AnalysisError(f"{path}.{name} must be {kind.__name__}, got {values[name]!r}")
    return dict(values)


def _integers(path: str, values: Any) -> tuple[int, ...]:
    if not isinstance(values, list) or any(type(v) is not int for v in values):
        raise AnalysisError(f"{path} must be a list of integers, got {values!r}")
    return tuple(values)


def _pe(path: str, values: Any) -> Pe:
    pe = _integers(path, values)
    if len(pe) != 2:
        raise AnalysisError(f"{path} must be [axis-1 index, axis-2 index], got {values!r}")
    return (pe[0], pe[1])


def _pes(path: str, values: Any) -> tuple[Pe, ...]:
    if not isinstance(values, list):
        raise AnalysisError(f"{path} must be a list of PEs, got {values!r}")
    return tuple(_pe(path, v) for v in values)
