"""What a sweep leaves: summary.json, front.parquet, pictures, summary.md, one HTML file."""

from __future__ import annotations

import base64
import json
import os
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dcp_hw import __version__
from dcp_hw.errors import InputError
from dcp_hw.maestro import dse_kernel as kernel
from dcp_hw.maestro.dse_design import Sheet, sheet
from dcp_hw.maestro.dse_front import OBJECTIVES, best
from dcp_hw.maestro.dse_part import CALLS, PRICED, PRUNED, Setting
from dcp_hw.maestro.dse_plots import images
from dcp_hw.maestro.dse_run import Done, describe
from dcp_hw.maestro.dse_space import describe_tile
from dcp_hw.report_plots import Image
from dcp_hw.report_view import plural

WORDS = {
    "no_cluster": "pruned as invalid: fewer PEs than one cluster",
    "area_floor": "pruned as invalid: the PEs with the smallest buffers exceed the area",
    "l1_needed": "pruned as invalid: the tile needs more than the largest L1",
    "l2_needed": "pruned as invalid: the tile needs more than the largest L2",
    "area_needed": "pruned as invalid: PEs and the smallest buffers that fit exceed the area",
    "l1_small": "closed form: L1 too small for the tile",
    "l2_small": "closed form: L2 too small for the tile",
    "area": "closed form: over the area",
    "power": "closed form: over the power",
    "valid": "closed form: valid",
}


def summary(setting: Setting, done: Done, objective: str, checked: int) -> dict[str, Any]:
    """All figures of a sweep as JSON."""
    arrays = done.total.arrays
    pruned = dict(zip(PRUNED, map(int, arrays["pruned"]), strict=True))
    priced = dict(zip(PRICED, map(int, arrays["fate"]), strict=True))
    calls = dict(zip(CALLS, map(int, arrays["calls"]), strict=True))
    left = sum(priced.values())
    if sum(pruned.values()) + left != setting.space.designs:
        raise RuntimeError("designs were lost or counted twice")
    own = left // (len(setting.space.l1_bytes) * len(setting.space.l2_kib))
    pool, numbers = arrays["pool"], arrays["numbers"]
    optima = {}
    for name in (objective, *OBJECTIVES) if len(pool) else ():
        found = sheet(setting, int(numbers[best(pool, name)]))
        if isinstance(found, Sheet):
            optima[name] = _optimum(setting, found)
    return {
        "version": __version__,
        "objective": objective,
        "designs": setting.space.designs,
        "pruned_invalid_before_evaluation": pruned,
        "pruned_as_dominated": 0,
        "priced_in_closed_form": priced,
        "priced_with_cycles_and_counts_of_their_own": own,
        "covered_as_l1_and_l2_change_no_count": left - own,
        "front": len(pool),
        "valid_but_dominated": priced["valid"] - len(pool),
        "model_evaluations": {
            "asked_by_points_and_layers": calls["wanted"],
            "distinct": done.evaluations,
            "covered_as_clipped_tiles_or_idle_units_change_nothing": calls["wanted"]
            - done.evaluations,
            "run": calls["run"],
            "repeated_across_parts": calls["run"] - done.evaluations,
            "requirements_only": calls["requirements"],
        },
        "front_designs_checked_one_by_one": checked,
        "optima": optima,
        "run": {
            "parts": done.parts,
            "resumed_parts": done.resumed,
            "elapsed_s": round(done.elapsed_s, 1),
            "cpu_s": round(done.cpu_s, 1),
        },
        "setting": describe(setting),
        "prices": f"{setting.table.name}: {setting.table.title}",
    }


def _optimum(setting: Setting, found: Sheet) -> dict[str, Any]:
    return {
        **found.parameters,
        "tile": describe_tile(setting.space.style, found.parameters),
        "clusters": found.clusters,
        "cluster_buffer_bytes": found.buffer_bytes,
        "l2_own_bytes": found.l2_own_bytes,
        "cycles": found.cycles,
        "macs_per_cycle": setting.layers.macs / found.cycles,
        "latency_ms": found.cycles / setting.clock_mhz * 1e-3,
        "energy_mj": found.total_nj * 1e-6,
        "edp_cycles_nj": found.total_nj * found.cycles,
        "power_mw": found.power_mw,
        "area_mm2": found.total_mm2,
        "energy_parts_mj": {name: nj * 1e-6 for name, nj in found.energy_nj.items()},
        "area_parts_mm2": found.area_mm2,
        "layer_cycles": found.layer_cycles,
    }


def write(setting: Setting, done: Done, about: dict[str, Any], out: Path) -> list[Path]:
    """The files written to `out`; each is put in place whole.

    Raises: InputError where `out` cannot be written.
    """
    pictures = images(setting, done.total)
    sink = pa.BufferOutputStream()
    pq.write_table(_table(setting, done), sink)
    files = {
        "front.parquet": sink.getvalue().to_pybytes(),
        **{image.file: image.png for image in pictures},
        "summary.json": (json.dumps(about, indent=2) + "\n").encode(),
        "summary.md": _markdown(about, pictures).encode(),
        "report.html": _html(about, pictures).encode(),
    }
    try:
        for name, data in files.items():
            aside = out / f".{name}.{os.getpid()}"
            aside.write_bytes(data)
            aside.replace(out / name)
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror})") from None
    return [out / name for name in files]


def _table(setting: Setting, done: Done) -> pa.Table:
    """The front, fewest cycles first."""
    pool, numbers = done.total.arrays["pool"], done.total.arrays["numbers"]
    designs = [setting.space.design(int(number)) for number in numbers]
    columns: dict[str, Any] = {"design": numbers}
    for name in setting.space.design(0):
        columns[name] = np.array([design[name] for design in designs], dtype=np.int64)
    cycles, energy = pool[:, kernel.CYCLES], pool[:, kernel.ENERGY]
    columns |= {
        "cycles": cycles.astype(np.int64),
        "macs_per_cycle": setting.layers.macs / cycles,
        "energy_nj": energy,
        "edp_cycles_nj": energy * cycles,
        "power_mw": pool[:, kernel.POWER],
        "area_mm2": pool[:, kernel.AREA],
    }
    return pa.table(columns).replace_schema_metadata({"setting": json.dumps(describe(setting))})


def count_rows(about: dict[str, Any]) -> list[tuple[str, str]]:
    """Counts as lines of words and number: designs, each once, then evaluations."""
    parts = {**about["pruned_invalid_before_evaluation"], **about["priced_in_closed_form"]}
    calls = about["model_evaluations"]
    rows = [("designs", about["designs"])]
    rows += [(f"· {WORDS[name]}", number) for name, number in parts.items()]
    rows += [
        ("of the valid: on the front of throughput, energy and area", about["front"]),
        ("of the valid: dominated", about["valid_but_dominated"]),
        ("left out unpriced because dominated", about["pruned_as_dominated"]),
        (
            "of those in closed form: with cycles and counts of their own",
            about["priced_with_cycles_and_counts_of_their_own"],
        ),
        (
            "of those in closed form: covered, L1 and L2 size change no cycle and no count",
            about["covered_as_l1_and_l2_change_no_count"],
        ),
        ("model evaluations asked (points x layers)", calls["asked_by_points_and_layers"]),
        ("· distinct", calls["distinct"]),
        (
            "· covered: clipped tiles and idle units change nothing",
            calls["covered_as_clipped_tiles_or_idle_units_change_nothing"],
        ),
        ("model evaluations run", calls["run"]),
        ("· repeated in several parts", calls["repeated_across_parts"]),
        ("model calls for buffer requirements only", calls["requirements_only"]),
    ]
    return [(words, f"{number:,}") for words, number in rows]


OPTIMUM_COLUMNS = (
    ("macs_per_cycle", "MACs/cycle", ".1f"),
    ("latency_ms", "ms", ".2f"),
    ("energy_mj", "mJ", ".2f"),
    ("edp_cycles_nj", "EDP, cycles × nJ", ".3g"),
    ("power_mw", "mW", ".0f"),
    ("area_mm2", "mm²", ".2f"),
    ("pes", "PEs", "d"),
    ("l1_bytes", "L1, B", "d"),
    ("l2_kib", "L2, KiB", "d"),
    ("noc_bw", "NoC", "d"),
    ("tile", "tile", "s"),
)


def optimum_rows(about: dict[str, Any]) -> list[list[str]]:
    """The best designs as a table: a header, then one row each."""
    rows = [["best", *(title for _, title, _ in OPTIMUM_COLUMNS)]]
    for name, found in about["optima"].items():
        rows.append([name, *(format(found[key], how) for key, _, how in OPTIMUM_COLUMNS)])
    return rows


def headline(about: dict[str, Any]) -> str:
    """What was swept, in a line."""
    setting, ran = about["setting"], about["run"]
    layers = plural(len(setting["layers"]), "layer")
    return (
        f"{setting['style'].upper()} on {setting['layerset']} ({layers}), "
        f"{setting['area_mm2']:g} mm², {setting['power_mw']:g} mW, {setting['clock_mhz']:g} MHz: "
        f"{about['designs']:,} designs in {ran['elapsed_s']:.0f} s"
        + (f", {ran['resumed_parts']} of {ran['parts']} parts resumed" * (ran["resumed_parts"] > 0))
    )


def _markdown(about: dict[str, Any], pictures: list[Image]) -> str:
    """summary.md."""
    header, *rows = optimum_rows(about)
    lines = [f"# {headline(about)}", "", "| count | |", "|---|---:|"]
    lines += [f"| {words} | {number} |" for words, number in count_rows(about)]
    lines += ["", "| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    for image in pictures:
        lines += ["", f"![{image.title}]({image.file})", "", image.caption]
    return "\n".join([*lines, "", f"Prices: {about['prices']}.", ""])


_CSS = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; margin: 0 auto; max-width: 1200px;
       padding: 0 24px 60px; }
h2 { margin: 36px 0 6px; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; text-align: right; border-bottom: 1px solid #e5e5e5; }
th:first-child, td:first-child { text-align: left; }
.scroll { overflow-x: auto; } img { max-width: 100%; }
figure { margin: 10px 0; } figcaption, .note { color: #555; font-size: 13px; }
pre { font-size: 12px; overflow-x: auto; background: #f6f6f6; padding: 10px; }
"""


def _html(about: dict[str, Any], pictures: list[Image]) -> str:
    """report.html: pictures inlined, no script, nothing fetched."""
    title = headline(about)
    body = [f"<h1>{escape(title)}</h1>", f'<p class="note">{escape(about["prices"])}.</p>']
    body += ["<h2>Best designs</h2>", _html_table(optimum_rows(about))]
    for image in pictures:
        data = base64.b64encode(image.png).decode()
        body.append(
            f"<h2>{escape(image.title)}</h2><figure>"
            f'<img alt="{escape(image.title)}" src="data:image/png;base64,{data}">'
            f"<figcaption>{escape(image.caption)}</figcaption></figure>"
        )
    body += ["<h2>Counts</h2>", _html_table([["", "number"], *map(list, count_rows(about))])]
    for what, unit in (("energy_parts_mj", "Energy, mJ"), ("area_parts_mm2", "Area, mm²")):
        rows = [
            [name, *(f"{value:.3f}" for value in found[what].values())]
            for name, found in about["optima"].items()
        ]
        if rows:
            header = ["best", *next(iter(about["optima"].values()))[what]]
            body += [f"<h2>{unit}, by part</h2>", _html_table([header, *rows])]
    body += ["<h2>Setting</h2>", f"<pre>{escape(json.dumps(about['setting'], indent=1))}</pre>"]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{_CSS}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _html_table(rows: list[list[str]]) -> str:
    header, *others = rows
    cells = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in header) + "</tr>"]
    for row in others:
        cells.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    return '<div class="scroll"><table>' + "\n".join(cells) + "</table></div>"


def text(about: dict[str, Any], files: list[Path]) -> str:
    """The result for a terminal."""
    lines = [headline(about), ""]
    lines += [f"{number:>18}  {words}" for words, number in count_rows(about)]
    header, *rows = optimum_rows(about)
    lines += ["", *(_best_line(header, row) for row in rows)]
    if not rows:
        lines += ["", "no design is valid under these limits"]
    return "\n".join([*lines, "", *(f"{path}" for path in files)])


def _best_line(header: list[str], row: list[str]) -> str:
    named = zip(header[1:], row[1:], strict=True)
    return f"best {row[0]}: " + ", ".join(f"{value} {name}" for name, value in named)
