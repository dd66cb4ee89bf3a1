"""`dcp-hw stt`: layers on the array of any space-time transformation.

Of one transformation, or of every reuse structure of a layer's operator; interpreted, or measured
on generated Verilog. All words that the array sends are compared.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from dcp_hw.errors import InputError

if TYPE_CHECKING:
    from dcp_hw.stt_program import SttProgram
    from dcp_hw.work import Work
    from dcp_hw.workload import Layer
    from tensorlib.design import Design

    Asked = tuple[Layer, Design]

Matrix = list[list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A layer on an array.

    Attributes:
        loops, matrix: selected loops and T as built.
        windows: PEs are enabled step by step.
        steps: of a sweep.
        busy: MACs over PEs and steps.
        cycles: by the cycle model; `measured_cycles` of the Verilog, None where interpreted.
        mismatches: of `words` int32 words, those without an output included.
        reason: why it cannot run, else empty; then the numbers are 0.
    """

    layer: str
    loops: str
    matrix: str
    label: str
    windows: bool
    tile: str = ""
    steps: int = 0
    busy: float = 0.0
    cycles: int = 0
    measured_cycles: int | None = None
    words: int = 0
    mismatches: int = 0
    reason: str = ""

    @property
    def right(self) -> bool:
        """Whether all words are right, and the cycles as predicted."""
        return not (self.reason or self.mismatches) and self.measured_cycles in (None, self.cycles)


def add_parsers(subparsers: Any) -> None:
    """Nothing; adds the subcommand."""
    p = subparsers.add_parser(
        "stt",
        help="layers on the array of any space-time transformation",
        description="Runs layers on the array of a transformation T of three loops (rows p1, p2, "
        "t), or with --every on those of all reuse structures of the layer's operator. Programs "
        "are interpreted; with --measure they run on generated Verilog. Operands are packed and "
        "sums put in place outside the array (docs/design-space.md).",
    )
    p.add_argument("--layerset", default="tiny", help="name, or path of a CSV file (default tiny)")
    p.add_argument("--layers", help="comma-separated names: only these layers")
    p.add_argument("--loops", help="three loops, such as mnk, kcx")
    p.add_argument("--matrix", help="T row by row, such as '1,0,1 0,1,0 0,0,1'")
    p.add_argument("--every", action="store_true", help="all reuse structures instead of one T")
    p.add_argument("--rows", type=int, default=8, help="PEs along p1 (default 8)")
    p.add_argument("--cols", type=int, default=8, help="PEs along p2 (default 8)")
    p.add_argument("--depth", type=int, default=512, help="16-byte rows of an operand bank")
    p.add_argument("--words", type=int, default=4096, help="words of an output bank")
    p.add_argument(
        "--held",
        choices=("chain", "port"),
        default="chain",
        help="how a tensor that stays gets there (no windows; default chain)",
    )
    p.add_argument("--measure", action="store_true", help="on generated Verilog")
    p.add_argument("--json", action="store_true", help="result as JSON on stdout")
    p.add_argument("--seed", type=int, default=0, help="of the data (default 0)")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Exit code of `stt`: 1 if a word or a cycle differs."""
    from dcp_hw.process import note
    from dcp_hw.workload import LayerSet

    if options.every == bool(options.loops or options.matrix):
        raise InputError("give --loops with --matrix, or --every for all reuse structures")
    layers = LayerSet.load(options.layerset)
    if options.layers:
        layers = layers.select(options.layers)
    given = [(layer, design) for layer in layers for design in _arrays(options, layer)]
    rows = list((_measured if options.measure else _interpreted)(given, options.seed))
    if options.json:
        print(json.dumps([asdict(row) | {"right": row.right} for row in rows]))
    else:
        writer = csv.DictWriter(sys.stdout, list(asdict(rows[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    for line in _summary(rows):
        note(line)
    return 0 if all(row.right or row.reason for row in rows) else 1


def _arrays(options: argparse.Namespace, layer: Layer) -> Iterator[Design]:
    """The arrays that a layer is asked to run on."""
    from dcp_hw.stt_layer import nest_of
    from tensorlib.errors import AnalysisError
    from tensorlib.from_stt import NotGenerated, design_from_stt
    from tensorlib.structures import distinct_structures

    op = nest_of(layer).op
    wanted: list[tuple[Any, Any]]
    if options.every:
        wanted = [(s.selected, s.stt) for s in distinct_structures(op)]
    else:
        wanted = [(options.loops or "", _matrix(options.matrix or ""))]
    for n, (loops, matrix) in enumerate(wanted):
        try:
            made = design_from_stt(
                op, loops, matrix, options.rows, options.cols, depth=options.depth,
                words=options.words, held=options.held, name=f"{layer.name}_{n}",
            )  # fmt: skip
        except AnalysisError as error:
            raise InputError(f"layer {layer.name}: {error}") from error
        if isinstance(made, NotGenerated):
            raise InputError(f"layer {layer.name}: no array of this T: {made.reason}")
        yield made


def _matrix(text: str) -> Matrix:
    try:
        rows = [[int(a) for a in row.split(",")] for row in text.split()]
    except ValueError:
        rows = []
    if len(rows) != 3 or any(len(row) != 3 for row in rows):
        raise InputError(
            f"--matrix must be three rows of three integers, such as '1,0,1 0,1,0 0,0,1', "
            f"got {text!r}"
        )
    return rows


def _work(layer: Layer, design: Design) -> Work | Row:
    """The program with its prediction; a row where the layer cannot run."""
    from dcp_hw.metrics import Infeasible
    from dcp_hw.stt_program import stt_program
    from dcp_hw.work import Work

    program = stt_program(layer, design)
    if isinstance(program, Infeasible):
        return Row(**_about(layer, design), reason=program.reason)
    return Work(program)


def _about(layer: Layer, design: Design) -> dict[str, Any]:
    return {
        "layer": layer.name,
        "loops": "".join(design.stt["loops"]),
        "matrix": " ".join(",".join(map(str, row)) for row in design.stt["T"]),
        "label": design.stt["label"],
        "windows": design.window is not None,
    }


def _row(layer: Layer, program: SttProgram, work: Work, words: int, wrong: int) -> Row:
    counters = work.prediction.counters
    return Row(
        **_about(layer, program.design),
        tile="x".join(map(str, program.tile)),
        steps=program.window,
        busy=round(counters["mac"] / (counters["step"] * program.design.pes), 4),
        cycles=work.predicted_cycles,
        words=words,
        mismatches=wrong,
    )


def _interpreted(given: list[Asked], seed: int) -> Iterator[Row]:
    import numpy as np

    from dcp_hw.progress import progress
    from sim.interpreter import interpret
    from sim.layer_data import make_data
    from sim.stream import scatter

    with progress("arrays", len(given)) as advance:
        for layer, design in given:
            work = _work(layer, design)
            advance(1)
            if isinstance(work, Row):
                yield work
                continue
            data = make_data(layer, seed, data_bits=design.data_bits, acc_bits=design.acc_bits)
            program: Any = work.program
            memory = program.image(data)
            scatter(program.commands, interpret(design, program.commands, memory).words, memory)
            found, expected = program.results(memory, data)
            yield _row(layer, program, work, found.size, int(np.count_nonzero(found != expected)))


def _measured(given: list[Asked], seed: int) -> Iterator[Row]:
    """On Verilog, one design after the other."""
    from dataclasses import replace

    from dcp_hw import rtl
    from dcp_hw.measure import Job, measure
    from dcp_hw.progress import progress

    made = rtl.verilog([design for _, design in given])
    with progress("measurements", len(given)) as advance:
        for (layer, design), one in zip(given, made, strict=True):
            work = _work(layer, design)
            if isinstance(work, Row):
                advance(1)
                yield work
                continue
            job = Job(rtl=one, layer=layer, work=work, seed=seed)
            found = measure(job, rtl.model(one, quick=True))
            advance(1)
            program: Any = work.program
            yield replace(
                _row(layer, program, work, found.words_compared, found.mismatches),
                measured_cycles=found.latency_cycles,
            )


def _summary(rows: list[Row]) -> Iterator[str]:
    """Per layer and kind of array how many are right, and how busy PEs are."""
    kinds: dict[tuple[str, bool], list[Row]] = {}
    for row in rows:
        kinds.setdefault((row.layer, row.windows), []).append(row)
    for (layer, windows), of_kind in kinds.items():
        busy = [row.busy for row in of_kind if not row.reason]
        spread = f"{min(busy):.2f} / {median(busy):.2f} / {max(busy):.2f}" if busy else "-"
        yield (
            f"{layer}, {'with windows' if windows else 'without gaps'}: {len(of_kind)} arrays,"
            f" {sum(row.right for row in of_kind)} right; PEs busy (least, median, most) {spread}"
        )
