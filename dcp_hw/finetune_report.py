"""How good a fine-tuned predictor is on layers and designs that it has not seen."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from dcp_hw.errors import InputError
from dcp_hw.finetune import QUANTILE, Estimate, Floats, Predictor, groups_of, targets_of, tune
from dcp_hw.finetune_model import one_factor
from dcp_hw.progress import progress
from dcp_hw.store import Record
from dcp_hw.train_scores import spearman

METRICS = ("energy", "cycles", "edp")
METHODS = ("model", "one factor", "fine-tuned")
SIZES = (0, 5, 10, 20, 50, 100)
HELD_OUT = 1 / 3
_LEAST_RANKED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Runs to learn from, and runs whose layer and design are not among them."""

    pool: tuple[Record, ...]
    held_out: tuple[Record, ...]


def split(records: Sequence[Record], seed: int, share: float = HELD_OUT) -> Split:
    """A third of the layers and a third of the designs, drawn, are held out.

    Runs with only one of the two held out are in neither part.

    Raises: InputError if a part is empty.
    """
    rng = random.Random(f"split {seed}")

    def drawn(names: set[str]) -> set[str]:
        return set(rng.sample(sorted(names), round(share * len(names))))

    layers = drawn({layer_of(r) for r in records})
    designs = drawn({r.design_hash for r in records})
    inside = [r for r in records if layer_of(r) not in layers and r.design_hash not in designs]
    outside = [r for r in records if layer_of(r) in layers and r.design_hash in designs]
    if not inside or not outside:
        raise InputError(
            f"{len(records)} measurements of too few layers and designs to hold a third of both "
            "out; measure more (dcp-hw collect)"
        )
    return Split(pool=tuple(inside), held_out=tuple(outside))


def layer_of(record: Record) -> str:
    """Names a layer by its sizes."""
    return str(sorted(record.layer_code.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One method on one metric of the held-out runs.

    Attributes:
        median_error, p90_error: of |predicted / measured - 1|.
        spearman: mean over layers of the rank correlation over designs.
        coverage: share of runs in the 90 % interval; width: its median half width, relative.
    """

    method: str
    metric: str
    n: int
    draw: int
    median_error: float
    p90_error: float
    spearman: float
    coverage: float
    width: float


def scores(
    predictor: Predictor, learnt: Sequence[Record], held_out: Sequence[Record], draw: int = 0
) -> list[Score]:
    """Scores of the model as it is, of one factor, and of the predictor."""
    exact = _measured(held_out)
    factors = {t: one_factor(values) for t, values in targets_of(learnt).items()}
    spreads = {"energy": factors["energy"][1], "cycles": factors["cycles"][1]}
    base = _modelled(held_out, {"energy": 0.0, "cycles": 0.0}, {"energy": 0.0, "cycles": 0.0})
    one = _modelled(held_out, {t: f[0] for t, f in factors.items()}, spreads)
    tuned = estimate(predictor, held_out)
    found = []
    for method, guess in zip(METHODS, (base, one, tuned), strict=True):
        for metric in METRICS:
            mean, spread = getattr(guess, metric).T
            off = mean - getattr(exact, metric)[:, 0]
            found.append(
                Score(
                    method=method,
                    metric=metric,
                    n=len(learnt),
                    draw=draw,
                    median_error=float(np.median(np.abs(np.expm1(off)))),
                    p90_error=float(np.quantile(np.abs(np.expm1(off)), 0.9)),
                    spearman=_ranking(getattr(exact, metric)[:, 0], mean, held_out),
                    coverage=float(np.mean(np.abs(off) <= QUANTILE * spread)),
                    width=float(np.median(np.expm1(QUANTILE * spread))),
                )
            )
    return found


def estimate(predictor: Predictor, records: Sequence[Record]) -> Estimate:
    """What a predictor says of runs."""
    return predictor.estimate(
        [r.features for r in records],
        groups_of(records),
        [sum(r.table_nj.values()) for r in records],
        [r.predicted_cycles for r in records],
    )


def _measured(records: Sequence[Record]) -> Estimate:
    zero = np.zeros(len(records))
    return Estimate(
        energy=np.column_stack((np.log([r.energy_nj for r in records]), zero)),
        cycles=np.column_stack((np.log([r.cycles for r in records]), zero)),
    )


def _modelled(
    records: Sequence[Record], factor: dict[str, float], spread: dict[str, float]
) -> Estimate:
    base = {
        "energy": np.log([sum(r.table_nj.values()) for r in records]),
        "cycles": np.log([r.predicted_cycles for r in records]),
    }
    return Estimate(
        **{
            t: np.column_stack((values + factor[t], np.full(len(values), spread[t])))
            for t, values in base.items()
        }
    )


def _ranking(exact: Floats, guess: Floats, records: Sequence[Record]) -> float:
    """Mean over layers of the rank correlation between designs."""
    layers = np.array([layer_of(r) + r.profile for r in records])
    found = []
    for layer in np.unique(layers):
        rows = layers == layer
        if rows.sum() >= _LEAST_RANKED:
            found.append(spearman(exact[rows], guess[rows]))
    known = [value for value in found if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


# --- the curve ----------------------------------------------------------------------


def curve(
    records: Sequence[Record], draws: int, seed: int, sizes: Sequence[int] = SIZES
) -> list[Score]:
    """Scores after n measurements, for every n of `sizes`, in several draws of split and runs.

    Raises: InputError as `split`, or if there are too few runs to learn from.
    """
    found: list[Score] = []
    with progress("fine-tuning", draws * len(sizes)) as advance:
        for draw in range(draws):
            parts = split(records, seed + draw)
            if len(parts.pool) < max(sizes):
                raise InputError(
                    f"{len(parts.pool)} runs to learn from; N of {max(sizes)} needs as many "
                    "(measure more: dcp-hw collect)"
                )
            order = random.Random(f"runs {seed + draw}").sample(parts.pool, max(sizes))
            for n in sizes:
                predictor = tune(order[:n], seed=seed + draw)
                found += scores(predictor, order[:n], parts.held_out, draw)
                advance(1, f"N = {n}")
    return found


def summary(found: Sequence[Score]) -> Iterator[dict[str, float | str | int]]:
    """Medians over draws, a row for each metric, N and method."""
    numbers = ("median_error", "p90_error", "spearman", "coverage", "width")
    for metric in METRICS:
        for n in sorted({s.n for s in found}):
            for method in METHODS:
                rows = [s for s in found if (s.metric, s.n, s.method) == (metric, n, method)]
                medians = {k: float(np.median([getattr(s, k) for s in rows])) for k in numbers}
                worst = {"worst_median_error": max(s.median_error for s in rows)}
                yield {"metric": metric, "n": n, "method": method, **medians, **worst}


def write_curve(found: Sequence[Score], folder: Path, head: str) -> list[Path]:
    """Files written: all scores as CSV, medians as Markdown, a plot.

    Args:
        head: lines that stand above the table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "finetune.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Score)], lineterminator="\n")
        writer.writeheader()
        for score in found:
            row = asdict(score)
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    text = folder / "finetune.md"
    text.write_text(f"{head}\n\n{markdown(found)}\n")
    plot = folder / "finetune.png"
    _plot(found, plot)
    return [table, text, plot]


def markdown(found: Sequence[Score]) -> str:
    """The medians as a table."""
    lines = [
        "| metric | N | method | median error | 90 % of errors below | rank correlation | "
        "in the 90 % interval | its half width |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in summary(found):
        sure = row["method"] == "fine-tuned" or (row["method"] == "one factor" and row["n"])
        interval = f"{row['coverage']:.0%} | {row['width']:.1%}" if sure else "– | –"
        lines.append(
            f"| {row['metric']} | {row['n']} | {row['method']} | {row['median_error']:.2%} | "
            f"{row['p90_error']:.1%} | {row['spearman']:.3f} | {interval} |"
        )
    return "\n".join(lines)


def _plot(found: Sequence[Score], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    rows = list(summary(found))
    sizes = sorted({s.n for s in found})
    for column, metric in enumerate(METRICS, start=1):
        axes = figure.add_subplot(1, len(METRICS), column)
        for method in METHODS:
            line = [r for r in rows if (r["metric"], r["method"]) == (metric, method)]
            axes.plot(range(len(sizes)), [100 * r["p90_error"] for r in line], "--o", ms=3)
            colour = axes.lines[-1].get_color()
            axes.plot(
                range(len(sizes)),
                [100 * r["median_error"] for r in line],
                "-o",
                color=colour,
                label=method,
            )
        axes.set_xticks(range(len(sizes)), [str(n) for n in sizes])
        axes.set(yscale="log", xlabel="measurements N", title=metric)
        axes.grid(visible=True, which="both", alpha=0.3)
    figure.axes[0].set(ylabel="error of held-out runs, % (– median, -- 90 %)")
    figure.axes[0].legend(fontsize="small")
    figure.savefig(path, dpi=100)
