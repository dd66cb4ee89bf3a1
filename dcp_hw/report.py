"""The report of a run: totals, checks, and its files (JSON, CSV, Markdown, PNG, HTML).

Input is one dictionary in the form of `data/report.schema.json`, which may still lack modes and
layers: an intermediate report renders like a finished one. docs/report.md describes the fields.
"""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema

from dcp_hw.errors import InputError
from dcp_hw.report_view import (
    CAUSES,
    ENERGY_PARTS,
    MODES,
    Report,
    Row,
    is_measured,
    layer_names,
    series_key,
)
from dcp_hw.technology import DATA, load_technology

_SUM_TOLERANCE = 1e-6  # relative, of energies summed in floating point
_MOST_ERRORS = 10


def totals(
    layers: Sequence[Row], pes: int | None = None, clock_mhz: float | None = None
) -> list[dict[str, Any]]:
    """Network totals, one per (mode, design), weighted by `count`; the per-layer mode is one.

    A design with an infeasible layer has None in place of every figure. A total over fewer layers
    than the report names has `complete` False and covers what was measured.

    Args:
        layers: rows of `layers[]`.
        pes: of the hardware, for the utilisation.
        clock_mhz: of the hardware, for the power.
    Returns: rows of `totals[]`; cycles, nJ, mW, EDP in cycles x nJ (total cycles x total energy).
    """
    expected = len(layer_names(layers))
    grouped: dict[tuple[str, str | None], list[Row]] = {}
    for row in layers:
        grouped.setdefault(series_key(row), []).append(row)
    ordered = sorted(grouped.items(), key=lambda item: MODES.index(item[0][0]))
    return [
        _total(mode, design, rows, expected, pes, clock_mhz) for (mode, design), rows in ordered
    ]


def _total(
    mode: str,
    design: str | None,
    rows: Sequence[Row],
    expected: int,
    pes: int | None,
    clock_mhz: float | None,
) -> dict[str, Any]:
    infeasible = [row["layer"] for row in rows if not row["feasible"]]
    done = [row for row in rows if is_measured(row)]
    total: dict[str, Any] = {
        "mode": mode,
        "design": design,
        "designs": sorted({row["design"] for row in rows if row["design"] is not None}),
        "layers_measured": len(done),
        "layers_expected": expected,
        "complete": len(done) == expected,
        "infeasible": infeasible,
    }
    summed = ("macs", "bound_cycles", "predicted_cycles", "measured_cycles", "energy_total_nj")
    checked = ("words_expected", "words_compared", "mismatches")
    derived = ("occurrences", "ratio_to_bound", "utilisation", "power_mw", "edp")
    if infeasible or not done:
        total |= dict.fromkeys((*summed, *checked, *derived))
        return total | {"cycles_by_cause": None, "energy_nj": None}

    def add(values: Iterable[Any]) -> Any:
        pairs = list(zip((row["count"] for row in done), values, strict=True))
        return None if any(v is None for _, v in pairs) else sum(n * v for n, v in pairs)

    total["occurrences"] = sum(row["count"] for row in done)
    total |= {name: add(row[name] for row in done) for name in (*summed, *checked)}
    for name, keys in (("cycles_by_cause", CAUSES), ("energy_nj", ENERGY_PARTS)):
        total[name] = {key: add(row[name].get(key, 0) for row in done) for key in keys}
    cycles, energy = total["measured_cycles"], total["energy_total_nj"]
    total["ratio_to_bound"] = cycles / total["bound_cycles"]
    total["utilisation"] = total["macs"] / (pes * cycles) if pes else None
    total["power_mw"] = energy * clock_mhz / cycles if clock_mhz else None
    total["edp"] = energy * cycles
    return total


def completed(report: Report) -> dict[str, Any]:
    """The report with totals and energy table worked out from its layers and hardware.

    Raises: InputError for an unknown technology.
    """
    hardware = report["hardware"]
    done = dict(report)
    done["totals"] = totals(report["layers"], hardware["pes"], hardware["clock_mhz"])
    if "energy_table" not in report:
        table = load_technology(hardware["technology"])
        done["energy_table"] = {
            "name": table.name,
            "title": table.title,
            "node_nm": table.node_nm,
            "sources": dict(table.sources),
        }
    return done


@lru_cache(maxsize=1)
def _validator() -> Any:
    schema = json.loads((DATA / "report.schema.json").read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema)


def validate(report: Report) -> None:
    """Nothing; checks form and inner consistency: schema, references, sums.

    Raises: InputError that lists what is wrong and where.
    """
    try:  # tuples and such as a reader will see them
        as_json = json.loads(json.dumps(report, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"broken report: not JSON: {error}") from error
    errors = [
        f"{'.'.join(map(str, error.absolute_path)) or 'report'}: {error.message}"
        for error in sorted(_validator().iter_errors(as_json), key=lambda e: list(map(str, e.path)))
    ]
    errors = errors or list(_inconsistencies(report))
    if errors:
        more = len(errors) - _MOST_ERRORS
        tail = [f"... and {more} more"] if more > 0 else []
        raise InputError("\n".join(["broken report:", *errors[:_MOST_ERRORS], *tail]))


def _inconsistencies(report: Report) -> Iterable[str]:
    """References that lead nowhere, rows given twice, and parts that do not make their sum."""
    designs = [design["id"] for design in report["designs"]]
    if twice := sorted({d for d in designs if designs.count(d) > 1}):
        yield f"designs: {', '.join(twice)} given twice"
    seen: set[tuple[str | None, ...]] = set()
    facts: dict[str, tuple[int, ...]] = {}
    for row in report["layers"]:
        where = row_name(row)
        if row["design"] not in designs and (row["feasible"] or row["design"] is not None):
            yield f"{where}: design {row['design']!r} is not in designs"
        if row["mode"] != "per-layer" and row["design"] is None:
            yield f"{where}: only the per-layer mode may lack a design"
        key = (*series_key(row), row["layer"])
        if key in seen:
            yield f"{where}: given twice"
        seen.add(key)
        fact = tuple(row[name] for name in ("count", "macs", "bound_cycles"))
        if facts.setdefault(row["layer"], fact) != fact:
            yield f"{where}: count, macs, bound_cycles are {fact}, elsewhere {facts[row['layer']]}"
        if not row["feasible"] and not row["reason"]:
            yield f"{where}: infeasible without a reason"
        if is_measured(row):
            yield from _wrong_sums(row, where)


def _wrong_sums(row: Row, where: str) -> Iterable[str]:
    causes = row["cycles_by_cause"]
    if sum(causes.values()) != row["measured_cycles"]:
        yield (
            f"{where}: cycles_by_cause sums to {sum(causes.values())}, "
            f"measured_cycles is {row['measured_cycles']}"
        )
    energy, total = sum(row["energy_nj"].values()), row["energy_total_nj"]
    if abs(energy - total) > _SUM_TOLERANCE * max(abs(energy), abs(total)):
        yield f"{where}: energy_nj sums to {energy}, energy_total_nj is {total}"


def row_name(row: Row) -> str:
    """How messages call a row of `layers[]`."""
    return f"layer {row['layer']} ({row['mode']}, {row['design']})"


def problems(report: Report) -> list[str]:
    """Results that must not be, one line each; empty where all is well.

    A mismatch, a word not compared, a prediction other than the measurement, a figure below its
    bound, a feasible row without measurement.
    """
    found = []
    for row in report["layers"]:
        if not row["feasible"]:
            continue
        say = f"{row_name(row)}: {{}}".format
        if not is_measured(row):
            found.append(say("feasible, but not measured"))
            continue
        if row["mismatches"] != 0:
            found.append(say(f"{row['mismatches']} of {row['words_expected']} words differ"))
        if row["words_compared"] != row["words_expected"]:
            compared = f"{row['words_compared']} of {row['words_expected']}"
            found.append(say(f"only {compared} words compared"))
        if row["predicted_cycles"] != row["measured_cycles"]:
            predicted = f"predicted {row['predicted_cycles']}"
            found.append(say(f"{predicted} cycles, measured {row['measured_cycles']}"))
        if row["measured_cycles"] < row["bound_cycles"]:
            bound = f"the bound {row['bound_cycles']}"
            found.append(say(f"{row['measured_cycles']} cycles are below {bound}"))
    return found


def csv_text(report: Report) -> str:
    """`layers[]` as CSV, one row each, causes and energy parts as columns of their own."""
    plain = (
        *("layer", "count", "macs", "mode", "design", "source", "feasible", "reason"),
        *("predicted_cycles", "measured_cycles", "bound_cycles", "utilisation"),
    )
    head = [*plain, *(f"{cause}_cycles" for cause in CAUSES)]
    head += [*(f"{part}_nj" for part in ENERGY_PARTS), "energy_total_nj"]
    head += ["words_expected", "words_compared", "mismatches", "intrinsic_size", "energy_table"]
    table = report["energy_table"]
    sink = io.StringIO()
    writer = csv.DictWriter(sink, head, lineterminator="\n")
    writer.writeheader()
    for row in report["layers"]:
        causes, energy = row["cycles_by_cause"] or {}, row["energy_nj"] or {}
        cells = {name: row[name] for name in head if name in row}
        cells |= {f"{cause}_cycles": causes.get(cause) for cause in CAUSES}
        cells |= {f"{part}_nj": energy.get(part) for part in ENERGY_PARTS}
        cells["intrinsic_size"] = json.dumps(row["intrinsic_size"])
        cells["energy_table"] = f"{table['name']} ({table['node_nm']} nm)"
        writer.writerow(cells)
    return sink.getvalue()


def write_report(report: Report, out_dir: Path | str) -> list[Path]:
    """Paths of the report's files, all written beside and then moved into place.

    Totals (and the energy table, if absent) are worked out here. A file whose content does not
    change keeps its time.

    Raises: InputError for a broken report or an unknown technology.
    """
    from dcp_hw.report_cards import card_files
    from dcp_hw.report_html import html_page
    from dcp_hw.report_plots import figures
    from dcp_hw.report_text import markdown

    validate(report)
    full = completed(report)
    out = Path(out_dir)
    images = figures(full)
    files: dict[str, bytes] = {image.file: image.png for image in images}
    files |= {name: text.encode() for name, text in card_files(full).items()}
    files["report.csv"] = csv_text(full).encode()
    files["report.md"] = markdown(full, problems(full), images).encode()
    files["report.html"] = html_page(full, problems(full), images).encode()
    files["report.json"] = (json.dumps(full, indent=1, ensure_ascii=False) + "\n").encode()
    return _place(files, out)


def _place(files: Mapping[str, bytes], out: Path) -> list[Path]:
    """Files in a folder, each complete or as before."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".report-", dir=out) as beside:
        changed = [
            name
            for name, content in files.items()
            if not (out / name).is_file() or (out / name).read_bytes() != content
        ]
        for name in changed:
            (Path(beside) / name).write_bytes(files[name])
        for name in changed:
            os.replace(Path(beside) / name, out / name)
    return [out / name for name in files]
