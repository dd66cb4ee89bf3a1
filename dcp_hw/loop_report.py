"""What a loop found, round by round: CSV, Markdown, a plot."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from dcp_hw.loop import Outcome, Trial


def write_loop(found: Outcome, folder: Path, head: str) -> list[Path]:
    """Files written.

    Args:
        head: lines that stand above the table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table, text, plot = (folder / f"loop.{kind}" for kind in ("csv", "md", "png"))
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Trial)], lineterminator="\n")
        writer.writeheader()
        for one in found.trials:
            row = asdict(one)
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    text.write_text(f"{head}\n\n{markdown(found)}\n")
    _plot(found, plot)
    return [table, text, plot]


def rounds(found: Outcome) -> Iterator[tuple[int, list[Trial]]]:
    """Trials by round."""
    for number in range(max(t.round for t in found.trials) + 1):
        yield number, [t for t in found.trials if t.round == number]


def markdown(found: Outcome) -> str:
    """A row for each round, and why it ended."""
    lines = [
        "| round | designs measured | expected to save, most | saved | "
        "best measured EDP so far, nJ x cycles | its design | "
        "EDP of unseen designs' layers: error of the model | of the predictor | "
        "in the 90 % interval |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for number, trials in rounds(found):
        best = found.best(number)
        names = [_name(trial) for trial in trials]
        unseen = [t for t in trials if t.new]
        errors = "– | – | –"
        if unseen:
            middle = [float(np.median([getattr(t, k) for t in unseen])) for k in _ERRORS]
            inside = float(np.mean([t.layers_inside for t in unseen]))
            errors = f"{middle[0]:.1%} | {middle[1]:.1%} | {inside:.0%}"
        least = f"{best.best_programs:.5g}"
        saved = (
            f"{1 - best.best_programs / found.best(number - 1).best_programs:.2%}"
            if number
            else "–"
        )
        lines.append(
            f"| {number} | {', '.join(names)} | {_promised(trials)} | {saved} | {least} | "
            f"{best.design} | {errors} |"
        )
    first, best = found.trials[0], found.best()
    gain = 1 - best.best_programs / first.measured
    ended = f"Ended after {len(found.trials)} trials: {found.reason}."
    ends = (
        f"{ended if found.reason else f'Not ended: {len(found.trials)} trials so far.'} The first "
        f"choice, {first.design}, measures {first.measured:.5g}; the best, {best.design}, "
        f"{best.best_programs:.5g} with the best programs measured on it ({gain:.1%} less)."
    )
    return "\n".join([*lines, "", *_searches(found), ends])


def _promised(trials: Sequence[Trial]) -> str:
    some = [t.promised for t in trials if t.promised is not None]
    return f"{max(some):.2%}" if some else "–"


def _name(trial: Trial) -> str:
    """A design, and what is special about its trial."""
    notes = [f"search {trial.search}"] if trial.search else []
    notes += [] if trial.new else ["other programs"]
    return f"{trial.design} ({', '.join(notes)})" if notes else trial.design


def _searches(found: Outcome) -> list[str]:
    """A row for each search after a fit, and the exact model's answers that it took."""
    if not found.searches:
        return []
    lines = [
        "Searches after a fit, with the corrected cost; search n comes before round n:",
        "",
        "| search | designs looked at | that run every layer | mappings evaluated by counts | "
        "programs evaluated by commands | best guess, not measured before | its EDP by the model | "
        "by the predictor |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {s.number} | {s.designs} | {s.candidates} | {s.mappings:,} | {s.programs:,} | "
        f"{s.promising} | {s.modelled:.5g} | {s.corrected:.5g} |"
        for s in found.searches
    ]
    return [*lines, ""]


_ERRORS = ("model_layer_error", "layer_error")


def _plot(found: Outcome, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    numbers = [number for number, _ in rounds(found)]
    for later, mark, label in ((False, "o", "first search"), (True, "^", "later searches")):
        some = [t for t in found.trials if bool(t.search) == later]
        if some:
            values = [t.measured for t in some]
            left.plot(
                [t.round for t in some], values, mark, color="0.6", label=f"design of {label}"
            )
    left.plot(
        numbers, [found.best(n).best_programs for n in numbers], "-o", ms=4, label="best so far"
    )
    left.set(xlabel="round", ylabel="measured EDP, nJ x cycles")
    for key, label in zip(_ERRORS, ("model", "predictor"), strict=True):
        unseen = {n: [getattr(t, key) for t in some if t.new] for n, some in rounds(found)}
        known = [n for n in numbers if unseen[n]]
        values = [100 * float(np.median(unseen[n])) for n in known]
        right.plot(known, values, "-o", ms=4, label=label)
    right.set(xlabel="round", ylabel="median error on unseen designs, %", ylim=(0, None))
    for axes in (left, right):
        axes.set_xticks(numbers)
        axes.grid(visible=True, alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=100)
