"""The report as one self-contained HTML file: pictures inlined, no script, nothing fetched."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from dcp_hw.report_cards import card_facts, card_svg
from dcp_hw.report_text import LAYER_COLUMNS, headline, layer_cells
from dcp_hw.report_view import (
    MODES,
    TOTAL_COLUMNS,
    Report,
    Row,
    energy_line,
    hardware_line,
    matrix,
    plain,
    plural,
    search_lines,
    series,
    total_cells,
)

if TYPE_CHECKING:
    from dcp_hw.report_plots import Image

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; margin: 0 auto; max-width: 1400px;
       padding: 0 24px 60px; }
h1 { margin: 28px 0 4px; } h2 { margin: 40px 0 6px; border-bottom: 1px solid #ddd; }
h3 { margin: 0 0 8px; font-size: 16px; }
p { margin: 6px 0; } .note { color: #555; font-size: 13px; }
nav a { margin-right: 16px; } a { color: #0072B2; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; text-align: right; border-bottom: 1px solid #e5e5e5; }
th:first-child, td:first-child { text-align: left; }
th { border-bottom: 2px solid #888; position: sticky; top: 0; background: #fff; }
tr:hover td { background: #f4f8fb; }
.scroll { overflow-x: auto; }
figure { margin: 10px 0; } figure img { max-width: 100%; height: auto; }
figcaption { color: #555; font-size: 13px; max-width: 1000px; }
.swatch { display: inline-block; width: 11px; height: 11px; border: 1px solid #333;
          margin-right: 6px; }
.problems { border-left: 5px solid #D55E00; background: #fdf1ea; padding: 8px 16px; }
.partial { border-left: 5px solid #E69F00; background: #fdf7e8; padding: 8px 16px; }
.cards { display: flex; flex-wrap: wrap; gap: 16px; }
.card { border: 1px solid #ccc; border-radius: 8px; padding: 14px 16px; width: 690px;
        box-sizing: border-box; }
.card svg { max-width: 100%; height: auto; }
.card dl { display: grid; grid-template-columns: 120px 1fr; margin: 8px 0 0; font-size: 13px; }
.card dt { color: #555; } .card dd { margin: 0; overflow-wrap: anywhere; }
details { margin: 8px 0; } summary { cursor: pointer; font-weight: 600; }
code { font-size: 13px; }
"""


def html_page(report: Report, issues: Sequence[str], images: Sequence[Image]) -> str:
    """The whole page.

    Args:
        report: with totals and energy table (`completed`).
        issues: of `problems`.
        images: of `figures`.
    """
    title = f"{report['layerset']}: measured accelerators"
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{_strong(headline(report, issues))}</p>",
        f'<p class="note">{escape(hardware_line(report))}. Objective: '
        f"{escape(report['objective'])}, seed {report['seed']}.<br>"
        f"{escape(energy_line(report))}.</p>",
        '<nav><a href="#summary">Summary</a>',
        *(f'<a href="#{_anchor(image)}">{escape(image.title)}</a>' for image in images),
        '<a href="#designs">Designs</a><a href="#layers">Layers</a><a href="#sources">Sources</a>'
        "</nav>",
        *_problems(issues),
        *_partial(report),
        '<h2 id="summary">Summary</h2>',
        *_totals(report),
        *(part for image in images for part in _figure(image)),
        '<h2 id="designs">Designs</h2>',
        *(f'<p class="note">{escape(line)}.</p>' for line in search_lines(report)),
        *_cards(report),
        '<h2 id="layers">Layers</h2>',
        *_layers(report),
        '<h2 id="sources">Versions and sources</h2>',
        *_sources(report),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _strong(text: str) -> str:
    """Escaped text in which **so** is bold."""
    parts = escape(text).split("**")
    return "".join(f"<b>{p}</b>" if at % 2 else p for at, p in enumerate(parts))


def _anchor(image: Image) -> str:
    return image.file.removesuffix(".png")


def _problems(issues: Sequence[str]) -> Iterable[str]:
    if issues:
        items = "".join(f"<li>{escape(issue)}</li>" for issue in issues)
        yield f'<div class="problems"><b>{plural(len(issues), "problem")}</b><ul>{items}</ul></div>'


def _partial(report: Report) -> Iterable[str]:
    """A notice where modes or layers are still to be measured."""
    have = {row["mode"] for row in report["layers"]}
    missing = [mode for mode in MODES if mode not in have]
    open_ = [
        f"{t['mode']} {t['design'] or ''}".strip()
        for t in report["totals"]
        if not t["complete"] and not t["infeasible"]
    ]
    said = [f"not measured: {', '.join(missing)}"] if missing else []
    said += [f"not all layers measured: {', '.join(open_)}"] if open_ else []
    if said:
        yield f'<div class="partial">Part of the modes only; {escape("; ".join(said))}.</div>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells are HTML already."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead>\n{body}</table></div>'


def _totals(report: Report) -> Iterable[str]:
    rows = []
    for one in series(report):
        first, *others = map(escape, total_cells(report, one))
        swatch = f'<span class="swatch" style="background:{one.colour}"></span>'
        rows.append([swatch + first, *others])
    yield _table(TOTAL_COLUMNS, rows)
    yield (
        '<p class="note">× bound: cycles over the sum of the layers\' bounds. Figures are weighted '
        "by how often a layer occurs; energy includes bus and leakage; EDP is total cycles times "
        "total energy. Per layer: switching designs is free, area is the largest design's.</p>"
    )


def _figure(image: Image) -> Iterable[str]:
    data = base64.b64encode(image.png).decode()
    yield f'<h2 id="{_anchor(image)}">{escape(image.title)}</h2>'
    yield (
        f'<figure><figcaption>{escape(image.caption)}</figcaption><img alt="{escape(image.title)}" '
        f'src="data:image/png;base64,{data}"></figure>'
    )


def _cards(report: Report) -> Iterable[str]:
    yield '<div class="cards">'
    for design in report["designs"]:
        yield _card(design)
    yield "</div>"


def _card(design: Row) -> str:
    facts = [("T (p1; p2; t)", matrix(design["T"])), *card_facts(design)]
    terms = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts)
    picture = card_svg(design) if design.get("interconnect") else ""
    return (
        f'<div class="card" id="design-{escape(design["id"])}"><h3>{escape(design["label"])} '
        f"<code>{escape(design['id'])}</code></h3>{picture}<dl>{terms}</dl></div>"
    )


def _layers(report: Report) -> Iterable[str]:
    for one in series(report):
        rows = ([escape(cell) for cell in layer_cells(row)] for row in one.rows.values())
        opened = " open" if one.mode == "fixed" else ""
        yield (
            f"<details{opened}><summary>{escape(one.label)}</summary>"
            f"{_table(LAYER_COLUMNS, rows)}</details>"
        )


def _sources(report: Report) -> Iterable[str]:
    yield f"<p>{escape(energy_line(report))}.</p>"
    table = report["energy_table"]["sources"]
    for name, entries in (("Energy and area", table), ("Versions", report["versions"])):
        items = "".join(
            f"<li>{escape(str(key))}: {escape(plain(value))}</li>" for key, value in entries.items()
        )
        yield f"<details><summary>{name}</summary><ul>{items}</ul></details>"
