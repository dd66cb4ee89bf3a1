"""GAMMA's genomes as JSON text, and its layer files.

A layer file has CSV rows K, C, Y, X, R, S, T, with or without that header. T is 0 FC, 1 CONV,
2 DSCONV, 3 GEMM. Y and X are the input sizes; GAMMA's own files leave padding and stride out. Rows
of type 3 hold M, N, K in their first three cells, and files of such rows only may end a row there.

Source: maestro-project/gamma commit 3d6caf8, data/model.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path

from dcp_hw.errors import InputError
from dcp_hw.maestro.dataflow import Dataflow, from_genome
from dcp_hw.maestro.encoding import CODE, LayerCode
from dcp_hw.maestro.layer import INT_MAX
from dcp_hw.maestro.syntax import read_text


def load_gamma_layers(path: str | Path) -> tuple[LayerCode, ...]:
    """The layers of a GAMMA layer file.

    Raises: InputError with file, line and column, what was found and what is accepted.
    """
    return parse_gamma_layers(read_text(path), str(path))


def parse_gamma_layers(text: str, source: str = "layers") -> tuple[LayerCode, ...]:
    """The layers in `text`; inverse of `dump_gamma_layers`. Raises: as `load_gamma_layers`."""
    codes = []
    for number, line in enumerate(text.splitlines(), start=1):
        cells = [cell.strip() for cell in line.split(",")]
        if cells == [""] or (number == 1 and tuple(cells) == CODE):
            continue
        where = f"{source}:{number}"
        if len(cells) not in (3, len(CODE)):
            raise InputError(
                f"{where}:1: {len(cells)} cells; accepted: {','.join(CODE)}, or M,N,K of a GEMM"
            )
        values, column = [], 1
        for cell, raw in zip(cells, line.split(","), strict=True):
            if not (cell.isascii() and cell.isdigit() and len(cell) < 11 and int(cell) <= INT_MAX):
                raise InputError(
                    f"{where}:{column}: {cell[:40]!r}; accepted: an integer from 0 to {INT_MAX}"
                )
            values.append(int(cell))
            column += len(raw) + 1
        if len(values) == 3:
            values += [1, 1, 1, 3]
        kept = {0: 2, 3: 3}.get(values[6], 6)  # GAMMA reads no more cells of such a row
        values = [*values[:kept], *[1] * (6 - kept), values[6]]
        try:
            codes.append(LayerCode(*values))
        except InputError as error:
            raise InputError(f"{where}:1: {error}") from None
    if not codes:
        raise InputError(f"{source}:1:1: no layers; accepted: rows of {','.join(CODE)}")
    return tuple(codes)


def dump_gamma_layers(codes: Iterable[LayerCode]) -> str:
    """Text of a GAMMA layer file with its header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CODE)
    writer.writerows(code.values for code in codes)
    return out.getvalue()


def parse_genome(text: str) -> Dataflow:
    """The dataflow of a genome in JSON, a list of [dimension, number] pairs.

    Raises: InputError that says what was found and what is accepted.
    """
    try:
        genome = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f'genome: not JSON ({error}); accepted: [["K", 1], ["C", 8], ...]'
        ) from None
    return from_genome(genome)


def dump_genome(dataflow: Dataflow) -> str:
    """JSON text of a dataflow's genome; inverse of `parse_genome`."""
    return json.dumps(dataflow.to_genome())
