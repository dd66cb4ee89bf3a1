"""Design cards: the interconnect of each tensor as an SVG picture of the PE array."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from dcp_hw.report_view import Report, Row, number, plain, plural

_TENSORS = ("input", "weight", "output")
_COLOURS = {"input": "#0072B2", "weight": "#D55E00", "output": "#009E73"}
_MOST = (4, 5)  # rows and columns drawn of a larger array
_STEP, _PE, _MARGIN = 40, 20, 23  # pixels: pitch, side of a PE, room for ports around
_TEXT = 62  # height of the lines of text below an array
_WIDTH = 670  # of a whole picture, at least: the legend needs it

Place = tuple[int, int]


def card_files(report: Report) -> dict[str, str]:
    """File name -> SVG of every design with a known interconnect."""
    return {
        card_file(design): card_svg(design)
        for design in report["designs"]
        if design.get("interconnect")
    }


def card_file(design: Row) -> str:
    """File name of a design's picture."""
    return f"design_{design['id']}.svg"


def card_svg(design: Row) -> str:
    """Picture of a design: per tensor, PEs, links and ports (a corner of a larger array)."""
    interconnect = design["interconnect"]
    tensors = [tensor for tensor in _TENSORS if tensor in interconnect]
    rows, columns = (min(n, most) for n, most in zip(design["array"], _MOST, strict=True))
    wide = max(columns * _STEP - (_STEP - _PE) + 2 * _MARGIN, _WIDTH // len(tensors))
    high = rows * _STEP - (_STEP - _PE) + 2 * _MARGIN
    width, height = wide * len(tensors), high + _TEXT + 36
    body = []
    for index, tensor in enumerate(tensors):
        inner = "".join(_array(tensor, interconnect[tensor], rows, columns))
        text = "".join(_captions(design, tensor, rows, columns, high))
        body.append(f'<g transform="translate({index * wide} 0)">{inner}{text}</g>')
    legend = _legend(height - 16, tensors)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" font-family="sans-serif" font-size="11">'
        f"<title>Interconnect of {escape(design['id'])}</title>"
        f'<rect width="{width}" height="{height}" fill="white"/>{"".join(body)}{legend}</svg>\n'
    )


def _captions(design: Row, tensor: str, rows: int, columns: int, top: float) -> Iterator[str]:
    """Lines below an array: tensor and kind, ports, memory."""
    wires = design["interconnect"][tensor]
    memory = design.get("memories", {}).get(tensor)
    size = " × ".join(map(str, design["array"]))
    whole = [rows, columns] == list(design["array"])
    part = f"{size} PEs" if whole else f"{rows} × {columns} of {size} PEs"
    kind = wires["kind"].replace("_", " ").replace("+", " + ")
    lines = [
        f'<tspan font-weight="bold" fill="{_COLOURS[tensor]}">{tensor}</tspan> {escape(kind)}',
        f"{plural(wires['ports'], 'port')}, {part}",
    ]
    if memory:
        lines.append(
            f"{plural(memory['banks'], 'bank')}, {memory['rows']} × {memory['width_bits']} bit"
        )
        lines.append(f"{number(memory['bytes'] / 1024)} KiB, all copies")
    for index, line in enumerate(lines):
        yield f'<text x="6" y="{top + 10 + 15 * index}">{line}</text>'


def _array(tensor: str, wires: Mapping[str, Any], rows: int, columns: int) -> Iterator[str]:
    """PEs, links and ports of one tensor.

    An input comes from the neighbour `p - dp` of the first link where that PE exists, an output
    goes to `p + dp`; where there is none, the PE has a port. A tensor that is only held has the
    shift chain, where given, in place of links.
    """
    colour, out = _COLOURS[tensor], tensor == "output"
    links = [(tuple(k["dp"]), k["delay"]) for k in wires["links"] if any(k["dp"])]
    held = len(links) < len(wires["links"])
    if held and not links:
        colour = "#777"
        if chain := wires.get("chain"):
            links = [(tuple(chain["dp"]), chain["delay"])]
    places = [(i, j) for i in range(rows) for j in range(columns)]
    for place in places:
        x, y = _centre(place)
        yield (
            f'<rect x="{x - _PE / 2}" y="{y - _PE / 2}" width="{_PE}" height="{_PE}" rx="3" '
            f'fill="{_COLOURS[tensor] if held else "white"}" '
            f'fill-opacity="{0.3 if held else 1}" '
            'stroke="#444"/>'
        )
    for place in places:
        for dp, delay in links:
            sign = 1 if out else -1
            other = (place[0] + sign * dp[0], place[1] + sign * dp[1])
            if other in places:
                source, sink = (place, other) if out else (other, place)
                yield _link(source, sink, delay, colour)
                break
        else:
            if links or not held:
                yield _port(place, [dp for dp, _ in links], out)


def _centre(place: Place) -> tuple[float, float]:
    return _MARGIN + _PE / 2 + place[1] * _STEP, _MARGIN + _PE / 2 + place[0] * _STEP


def _link(source: Place, sink: Place, delay: int, colour: str) -> str:
    """A wire from PE to PE with an arrow, and a register where it takes cycles."""
    (x0, y0), (x1, y1) = _centre(source), _centre(sink)
    length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    away = _PE / 2 / max(abs(ux), abs(uy)) + 1
    x0, y0, x1, y1 = x0 + ux * away, y0 + uy * away, x1 - ux * away, y1 - uy * away
    dashes = "" if delay else ' stroke-dasharray="5 2"'
    parts = [
        f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{colour}" '
        f'stroke-width="2"{dashes}/>',
        _tip(x1, y1, ux, uy, colour),
    ]
    if delay:
        x, y = (x0 + x1) / 2 - 2 * ux, (y0 + y1) / 2 - 2 * uy
        parts.append(
            f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="white" '
            f'stroke="{colour}" stroke-width="1.5"/>'
        )
        if delay > 1:
            parts.append(f'<text x="{x + 5:.1f}" y="{y - 6:.1f}" font-size="9">{delay}</text>')
    return "".join(parts)


def _tip(x: float, y: float, ux: float, uy: float, colour: str) -> str:
    """Head of an arrow that ends at (x, y)."""
    bx, by = x - 6 * ux, y - 6 * uy
    points = [(x, y), (bx - 3.5 * uy, by + 3.5 * ux), (bx + 3.5 * uy, by - 3.5 * ux)]
    text = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    return f'<polygon points="{text}" fill="{colour}"/>'


def _port(place: Place, links: Sequence[Place], out: bool) -> str:
    """An arrow from outside into a PE (or out of it), on the side where its links would go on."""
    x, y = _centre(place)
    sign = 1 if out else -1
    dy, dx = next(
        (
            (sign * (dp[0] > 0) - sign * (dp[0] < 0), sign * (dp[1] > 0) - sign * (dp[1] < 0))
            for dp in links
        ),
        (1, 1) if out else (-1, -1),
    )
    norm = (dx * dx + dy * dy) ** 0.5
    ux, uy = dx / norm, dy / norm
    near, far = _PE / 2 / max(abs(ux), abs(uy)) + 1, _PE / 2 / max(abs(ux), abs(uy)) + 14
    if not links:  # unicast: every PE has its own, drawn short between the PEs
        near, far = near - 2, near + 11
    x0, y0, x1, y1 = x + ux * near, y + uy * near, x + ux * far, y + uy * far
    if not out:
        x0, y0, x1, y1 = x1, y1, x0, y0
    tip_x, tip_y = (ux, uy) if out else (-ux, -uy)
    return (
        f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="#111" '
        f'stroke-width="1.6"/>{_tip(x1, y1, tip_x, tip_y, "#111")}'
    )


def _legend(y: float, tensors: Sequence[str]) -> str:
    """What the signs mean."""
    items = (
        ("port", f'<line x1="0" y1="0" x2="14" y2="0" stroke="#111" stroke-width="1.6"/>'
         f'{_tip(16, 0, 1, 0, "#111")}'),
        ("same cycle", '<line x1="0" y1="0" x2="22" y2="0" stroke="#555" stroke-width="2" '
         'stroke-dasharray="5 2"/>'),
        ("register (number: cycles)", '<line x1="0" y1="0" x2="22" y2="0" stroke="#555" '
         'stroke-width="2"/><rect x="7" y="-4" width="8" height="8" fill="white" stroke="#555" '
         'stroke-width="1.5"/>'),
        ("grey: shift chain of held values", '<line x1="0" y1="0" x2="22" y2="0" stroke="#777" '
         'stroke-width="2"/><rect x="7" y="-4" width="8" height="8" fill="white" stroke="#777" '
         'stroke-width="1.5"/>'),
        ("held in the PE", '<rect x="6" y="-6" width="12" height="12" rx="2" fill="#555" '
         'fill-opacity="0.3" stroke="#444"/>'),
    )  # fmt: skip
    parts, x = [], 6.0
    for text, sign in items:
        parts.append(
            f'<g transform="translate({x} {y})">{sign}<text x="28" y="4">{text}</text></g>'
        )
        x += 38 + 5.4 * len(text)
    return f'<g fill="#333">{"".join(parts)}</g>' if tensors else ""


def card_facts(design: Row) -> list[tuple[str, str]]:
    """(name, value) of what stands beside the picture."""
    area = design.get("area") or {}
    sram = sum(value for part, value in area.items() if part.endswith("_sram"))
    facts = [
        ("mode", design["mode"]),
        ("PE array", " × ".join(map(str, design["array"]))),
        ("axes", plain(design["axes"])),
        ("bus", f"{plain(design['bus_bits'])} bit"),
        ("ports", plain(design["ports"])),
        ("on-chip memory", f"{number(design['sram_bytes'] / 1024)} KiB"),
    ]
    if design["area_mm2"] is not None:
        facts.append(("area", f"{number(design['area_mm2'])} mm²"))
    if area:
        logic = sum(area.values()) - sram
        facts.append(("of which", f"SRAM {number(sram)} mm², PEs and logic {number(logic)} mm²"))
        parts = ", ".join(f"{k.replace('_', ' ')} {number(v)}" for k, v in area.items())
        facts.append(("by part (mm²)", parts))
    if design["verilog"]:
        facts.append(("Verilog", design["verilog"]))
    return facts
