"""`dcp-hw bridge`: a dataflow's code to an array and back; docs/bridge.md explains it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcp_hw.errors import InputError

if TYPE_CHECKING:
    from dcp_hw.mapping import Mapping
    from dcp_hw.workload import Layer


def add_parsers(subparsers: Any) -> None:
    """Nothing; adds the subcommand."""
    p = subparsers.add_parser(
        "bridge",
        help="a MAESTRO dataflow as an array with its program, or the other way round",
        description="`down` lays a DCP code on an array and writes design.json and program.json; "
        "`up` writes a layer program as a code and a MAESTRO mapping file. Exit code 1: there is "
        "no counterpart, stderr says why.",
    )
    ways = p.add_subparsers(dest="way", metavar="WAY", required=True)
    down = ways.add_parser("down", help="code to design and program")
    _layer_options(down)
    down.add_argument("--code", type=Path, required=True, metavar="FILE",
                      help="JSON: levels x 7 x 2, as `dcp-hw optimise --json` gives")  # fmt: skip
    down.add_argument("--hw", default="default", metavar="FILE", help="hardware (default: shipped)")
    down.add_argument("--objective", choices=("latency", "energy", "edp"), default="edp")
    down.add_argument("--strict", action="store_true", help="change nothing of the dataflow")
    down.add_argument("--out", type=Path, metavar="DIR", help="for design.json and program.json")
    down.set_defaults(run=main_down)
    up = ways.add_parser("up", help="design and program to code and mapping file")
    _layer_options(up)
    up.add_argument("--design", type=Path, required=True, metavar="FILE", help="design.json")
    up.add_argument("--program", type=Path, required=True, metavar="FILE", help="program.json")
    up.add_argument("--out", type=Path, metavar="FILE", help="for the mapping file")
    up.set_defaults(run=main_up)


def _layer_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("--layerset", required=True, metavar="NAME", help="name or CSV of a layer set")
    p.add_argument("--layer", required=True, metavar="NAME", help="one of its layers")


def _layer(options: argparse.Namespace) -> Layer:
    from dcp_hw.workload import LayerSet

    return next(iter(LayerSet.load(options.layerset).select(options.layer)))


def _read(path: Path) -> Any:
    """The JSON of a file. Raises: InputError for one that cannot be read or is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError(f"{path}: no JSON ({error}); accepted: a JSON file") from None


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def main_down(options: argparse.Namespace) -> int:
    """Exit code of `bridge down`."""
    from dcp_hw.bridge.lower import lower_dataflow
    from dcp_hw.bridge.reasons import NotBridged
    from dcp_hw.hardware import load_hardware
    from dcp_hw.maestro.encoding import decode
    from dcp_hw.maestro.honest_maestro import dataflow_levels
    from dcp_hw.metrics import Infeasible
    from dcp_hw.process import note

    layer, code = _layer(options), _read(options.code)
    try:
        dataflow = decode(code)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{options.code}: no code ({error}); accepted: levels x 7 x 2 numbers"
        ) from None
    levels = dataflow_levels(dataflow)
    if isinstance(levels, Infeasible):
        raise InputError(f"{options.code}: {levels.reason}")
    found = lower_dataflow(
        layer,
        levels,
        load_hardware(options.hw),
        objective=options.objective,
        strict=options.strict,
    )
    if isinstance(found, NotBridged):
        note(f"not bridged ({found.kind}): {found.reason}")
        return 1
    if options.out:
        _write(options.out / "program.json", found.program().to_json())
        found.design.save(options.out / "design.json")
    mapping, design = found.mapping, found.design
    answer = {
        "layer": layer.name,
        "label": design.stt["label"],
        "T": design.stt["T"],
        "selected": design.stt["selected"],
        "array": [design.rows, design.cols],
        "axis1": mapping.axis1,
        "axis2": mapping.axis2,
        "steps": {"k": mapping.kt, "c": mapping.ct, "y": mapping.yt, "x": mapping.xt},
        "order": mapping.order,
        "tiles": mapping.tiles,
        "changes": found.changes,
        "sram_bytes": sum(design.sram_bytes.values()),
        "predicted": {"cycles": found.cycles, "energy_nj": found.energy_nj},
    }
    print(json.dumps(answer, indent=2))
    return 0


def main_up(options: argparse.Namespace) -> int:
    """Exit code of `bridge up`."""
    from dcp_hw.bridge.reasons import NotBridged
    from dcp_hw.bridge.upward import mapping_file, raise_mapping
    from dcp_hw.maestro.encoding import encode
    from dcp_hw.process import note
    from tensorlib.design import Design
    from tensorlib.errors import AnalysisError

    layer = _layer(options)
    try:
        design = Design.load(options.design)
    except (AnalysisError, OSError, ValueError) as error:
        raise InputError(f"{options.design}: {error}") from None
    mapping = _mapping(options.program)
    found = raise_mapping(layer, design, mapping)
    whole = raise_mapping(layer, design, mapping, whole_filters=True, most_levels=None)
    if isinstance(found, NotBridged):
        note(f"not bridged ({found.kind}): {found.reason}")
        return 1
    answer: dict[str, Any] = {
        "layer": found.layer.name,
        "operator": str(found.layer.operator),
        "code": encode(found.dataflow).tolist(),
        "pes": found.pes,
        "notes": found.notes,
    }
    if not isinstance(whole, NotBridged):
        text = mapping_file(whole)
        answer["maestro"] = None if isinstance(text, NotBridged) else text
        if options.out and answer["maestro"]:
            _write(options.out, answer["maestro"])
    print(json.dumps(answer, indent=2))
    return 0


def _mapping(path: Path) -> Mapping:
    """The mapping of a program.json. Raises: InputError for a file without one."""
    from dcp_hw.mapping import Mapping, Unmappable

    content = _read(path)
    try:
        values = dict(content["mapping"])
        for name in ("axis1", "axis2"):
            values[name] = tuple((str(loop), int(lanes)) for loop, lanes in values[name])
        return Mapping(**values)
    except (KeyError, TypeError, ValueError, Unmappable) as error:
        raise InputError(
            f"{path}: no mapping ({error}); accepted: a program.json of `dcp-hw generate`"
        ) from None
