"""The plot of the experiment `bridge`: cycles of the RTL by cause beside those of the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dcp_hw.bridge.models import Cost
from dcp_hw.experiments.bridge import CAUSES, Forward, Measured, Reverse

# Okabe and Ito: told apart by most colour-blind readers
_COLOURS = ("#0072B2", "#E69F00", "#999999", "#D55E00", "#CC79A7")


def plot(there: Sequence[Forward], back: Sequence[Reverse], path: Path) -> None:
    """Write a PNG: MAESTRO's best on the RTL above, Tensorlib's best in the model below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.0, 9.0), layout="constrained")
    FigureCanvasAgg(figure)
    panels = [
        ("best MAESTRO dataflow on the RTL", [(x.layer.name, x.measured, x.honest) for x in there]),
        (
            "best Tensorlib program of the search, and its dataflow in the model",
            [(x.layer.name, x.measured, x.measured.honest) for x in back],
        ),
    ]
    shown = [(title, items) for title, items in panels if items]
    for number, (title, items) in enumerate(shown, start=1):
        axes = figure.add_subplot(len(shown), 1, number)
        _bars(axes, items)
        axes.set(title=title, ylabel="cycles of one occurrence")
        axes.grid(visible=True, axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        if number == 1:
            axes.legend(fontsize="small", ncols=3)
    figure.savefig(path, dpi=110)


def _bars(axes, items: Sequence[tuple[str, Measured | None, object]]) -> None:  # type: ignore[no-untyped-def]
    """Stacked bars of the RTL's cycles by cause; a mark for the model's."""
    places = range(len(items))
    base = [0] * len(items)
    for cause, colour in zip(("compute", *CAUSES), _COLOURS, strict=True):
        parts = [0 if m is None else m.counters[cause] for _, m, _ in items]
        axes.bar(places, parts, bottom=base, color=colour, label=f"RTL: {cause}", width=0.75)
        base = [a + b for a, b in zip(base, parts, strict=True)]
    known = [(n, model.cycles) for n, (_, _, model) in enumerate(items) if isinstance(model, Cost)]
    axes.plot(
        [n for n, _ in known],
        [cycles for _, cycles in known],
        linestyle="none",
        marker="D",
        markersize=5,
        color="black",
        markerfacecolor="white",
        label="honest model",
    )
    missing = [n for n, (_, m, _) in enumerate(items) if m is None]
    if missing:
        axes.plot(missing, [0] * len(missing), "x", color="black", label="not lowered")
    axes.set_xticks(list(places), [name.replace("features_", "") for name, _, _ in items])
    axes.tick_params(axis="x", rotation=90, labelsize="small")
    axes.set_xlim(-0.6, len(items) - 0.4)
