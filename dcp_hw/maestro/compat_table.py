"""Columns of layers, mappings and hardware as the arrays that the compiled model takes."""

from __future__ import annotations

from collections.abc import Mapping as Columns
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcp_hw.errors import InputError
from dcp_hw.maestro.compat import GAMMA_HARDWARE, MaestroHardware
from dcp_hw.maestro.compat_build import CLUSTER, KINDS, NAMES, SPATIAL, TEMPORAL, Ints
from dcp_hw.maestro.layer import INT_MAX, LayerType, MaestroLayer
from dcp_hw.maestro.mapping import Mapping, parse_compact

HARDWARE = ("pes", "noc_bw", "noc_latency", "offchip_bw", "simd")
SIZES = ("K", "C", "Y", "X", "R", "S", "M", "N", "G")
N = NAMES.index("N")


@dataclass(frozen=True, slots=True)
class Table:
    """Many mappings; a row's directives start at `starts[row]`.

    Attributes:
        directives: `all x 4`; starts: `rows + 1`; sizes: `rows x 9`; strides: `rows x 2`, of X
            and Y; kinds: `rows`; hardware: `rows x 5`, as `HARDWARE`.
    """

    directives: Ints
    starts: Ints
    sizes: Ints
    strides: Ints
    kinds: Ints
    hardware: Ints

    def __len__(self) -> int:
        return len(self.kinds)

    def part(self, start: int, stop: int) -> Table:
        """Some of the rows."""
        rows = (x[start:stop] for x in (self.sizes, self.strides, self.kinds, self.hardware))
        return Table(self.directives, self.starts[start : stop + 1], *rows)

    def layer(self, row: int) -> MaestroLayer:
        """The layer of a row."""
        sizes = zip(NAMES, self.sizes[row].tolist(), strict=False)
        kind = KINDS[int(self.kinds[row]) % len(KINDS)]
        strides = zip("XY", self.strides[row].tolist(), strict=True)
        return MaestroLayer(
            f"row {row + 1}",
            kind,
            tuple((dim, size) for dim, size in sizes if size),
            tuple(strides),
        )

    def mapping(self, row: int) -> Mapping:
        """The mapping of a row."""
        words = []
        for kind, dim, size, offset in self.directives[self.starts[row] : self.starts[row + 1]]:
            letter = "S" if kind == SPATIAL else "T"
            words.append(f"@{size}" if kind == CLUSTER else f"{letter}{NAMES[dim]}{size},{offset}")
        return parse_compact(" ".join(words))

    def machine(self, row: int) -> MaestroHardware:
        """The hardware of a row."""
        return MaestroHardware(**dict(zip(HARDWARE, self.hardware[row].tolist(), strict=True)))


def table(columns: Columns[str, Sequence], *, first_row: int = 1, threads: int = 1) -> Table:
    """The table of columns `type`, `mapping`, layer sizes, `stride` and hardware.

    Sizes that a layer type lacks are empty or 0. A column left out: stride 1, GAMMA's hardware.

    Args:
        first_row: number of the first row in error messages.

    Raises: InputError that names row, column, what was found and what is accepted.
    """
    for name in ("type", "mapping"):
        if name not in columns:
            have = ", ".join(map(str, columns))[:300]
            raise InputError(f"column {name} is missing; accepted: one of this name; have {have}")
    count = len(columns["mapping"])
    for name, column in columns.items():
        if len(column) != count:
            raise InputError(f"column {name} has {len(column)} rows, mapping has {count}")

    kinds, codes = _kinds(columns["type"], first_row)
    sizes = np.zeros((count, len(NAMES) - 2), dtype=np.int64)
    for dim in SIZES:
        sizes[:, NAMES.index(dim)] = integer_column(columns, dim, count, first_row)
    _check_sizes(kinds, codes, sizes, first_row)
    kinds = np.where((kinds < 3) & (sizes[:, N] > 0), kinds + len(KINDS), kinds)
    stride = integer_column(columns, "stride", count, first_row, default=1, least=1)
    hardware = np.empty((count, len(HARDWARE)), dtype=np.int64)
    for i, name in enumerate(HARDWARE):
        least = 0 if name == "noc_latency" else 1
        default = getattr(GAMMA_HARDWARE, name)
        hardware[:, i] = integer_column(
            columns, name, count, first_row, default=default, least=least
        )
    texts = columns["mapping"]
    directives, starts = parse_mappings(texts, first_row, threads=threads)
    strides = np.stack((stride, stride), axis=1)
    return Table(directives, starts, sizes, strides, kinds, hardware)


def integer_column(
    columns: Columns[str, Sequence],
    name: str,
    count: int,
    first_row: int,
    *,
    default: int = 0,
    least: int = 0,
) -> Ints:
    """A column of integers; the default where it is left out or a cell is empty.

    Raises: InputError that names row, column, what was found and what is accepted.
    """
    if name not in columns:
        return np.full(count, default, dtype=np.int64)
    values = _integers(name, columns[name], first_row, default)
    bad = np.flatnonzero((values < least) | (values > INT_MAX))
    if bad.size:
        raise InputError(
            f"row {first_row + bad[0]}, {name}: {values[bad[0]]}; "
            f"accepted: an integer from {least} to {INT_MAX}"
        )
    return values


def _integers(name: str, column: Sequence, first_row: int, empty: int) -> Ints:
    """A column of numbers or their texts; empty cells are `empty`."""
    values = np.asarray(column)
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), empty, values)
        if (values == np.rint(values)).all() and (np.abs(values) < 1 << 53).all():
            return values.astype(np.int64)
    numbers: dict[object, int] = {None: empty, "": empty}
    found = np.empty(len(column), dtype=np.int64)
    for i, cell in enumerate(column):
        known = numbers.get(cell)
        if known is None:
            known = numbers[cell] = _cell(name, cell, first_row + i, empty)
        found[i] = known
    return found


def _cell(name: str, cell: object, row: int, empty: int) -> int:
    """The integer in a cell; 8.0 is one, as tables with empty cells write it."""
    text = "" if cell is None or cell != cell else str(cell).strip().removesuffix(".0")
    if not text:
        return empty
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InputError(f"row {row}, {name}: {text[:40]!r}; accepted: an integer")
    return int(text)


def _kinds(column: Sequence, first_row: int) -> tuple[Ints, list[LayerType]]:
    names, inverse = np.unique(np.asarray(column, dtype=object).astype(str), return_inverse=True)
    found = []
    for i, name in enumerate(names.tolist()):
        if name not in list(LayerType):
            row = first_row + int(np.flatnonzero(inverse == i)[0])
            raise InputError(f"row {row}, type: {name[:40]!r}; accepted: {', '.join(LayerType)}")
        found.append(LayerType(name))
    numbers = np.array([KINDS.index(kind.model) for kind in found], dtype=np.int64)
    return numbers[inverse] if found else np.zeros(0, dtype=np.int64), found


def _check_sizes(kinds: Ints, found: list[LayerType], sizes: Ints, first_row: int) -> None:
    """Refuse rows without a size that the type needs, and drop sizes that a GEMM lacks."""
    for kind in {kind.model for kind in found}:
        rows = np.flatnonzero(kinds == KINDS.index(kind))
        for dim in kind.required:
            bad = rows[sizes[rows, NAMES.index(dim)] == 0]
            if bad.size:
                raise InputError(
                    f"row {first_row + bad[0]}, {dim}: empty; accepted: the size of {dim}, "
                    f"which {kind} needs"
                )
        if kind is LayerType.GEMM:
            for i, dim in enumerate(NAMES[: sizes.shape[1]]):
                if dim not in kind.required:
                    sizes[rows, i] = 0


def parse_mappings(
    texts: Sequence[str], first_row: int = 1, *, threads: int = 1
) -> tuple[Ints, Ints]:
    """Directives of compact texts, and where each text's start.

    Raises: InputError that names the row, the column and what is accepted.
    """
    if not len(texts):
        return np.zeros((0, 4), dtype=np.int64), np.zeros(1, dtype=np.int64)
    size = -(-len(texts) // threads)
    parts = [texts[start : start + size] for start in range(0, len(texts), size)]
    rows = [first_row + start for start in range(0, len(texts), size)]
    if len(parts) == 1:
        found = [_parse_part(parts[0], first_row)]
    else:
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(_parse_part, parts, rows))
    ends = np.cumsum([0, *(len(directives) for directives, _ in found)])
    starts = [begins[:-1] + end for (_, begins), end in zip(found, ends[:-1], strict=True)]
    return np.concatenate([x for x, _ in found]), np.concatenate([*starts, ends[-1:]])


def _parse_part(texts: Sequence[str], first_row: int) -> tuple[Ints, Ints]:
    try:
        joined = "\n".join(texts)
    except TypeError:
        row = next(i for i, text in enumerate(texts) if not isinstance(text, str))
        raise InputError(
            f"row {first_row + row}, mapping: {texts[row]!r}; accepted: text like SK1,1 TC64,64"
        ) from None
    data = np.frombuffer(joined.encode("utf-8", "replace") + b"\n", dtype=np.uint8)
    directives = np.zeros((joined.count(" ") + len(texts), 4), dtype=np.int64)
    starts = np.zeros(len(texts) + 1, dtype=np.int64)
    if _parse(data, directives, starts) < 0:
        return directives[: starts[-1]], starts
    plain = []
    for row, text in enumerate(texts):  # the slow parser says what is wrong
        try:
            plain.append(str(parse_compact(text)))
        except InputError as error:
            raise InputError(f"row {first_row + row}, {error}") from None
    return _parse_part(plain, first_row)  # nothing is: they only held other white space


_LETTERS = np.full(128, -1, dtype=np.int64)
_LETTERS[[ord(name) for name in NAMES[:9]]] = np.arange(9)
_PRIMED = np.full(128, -1, dtype=np.int64)
_PRIMED[[ord("X"), ord("Y")]] = (9, 10)
_INT_MAX = INT_MAX


@njit(cache=True, nogil=True, error_model="numpy")
def _parse(data: NDArray[np.uint8], directives: Ints, starts: Ints) -> int:
    """Fill in directives and starts; -1, or the number of the first row that is wrong."""
    at = count = row = 0
    while at < data.shape[0]:
        if data[at] == 10:  # end of the row
            if count == starts[row]:
                return row
            row += 1
            if row >= starts.shape[0]:
                return row - 1
            starts[row] = count
            at += 1
            continue
        if data[at] == 32:
            at += 1
            continue
        target = directives[count]
        if data[at] == 64:  # @
            target[0] = CLUSTER
            at += 1
            at, target[2] = _number(data, at)
            target[3] = 1
        else:
            if data[at] == 83:  # S
                target[0] = SPATIAL
            elif data[at] == 84:  # T
                target[0] = TEMPORAL
            else:
                return row
            letter = data[at + 1] if at + 1 < data.shape[0] else 0
            if letter >= 128 or _LETTERS[letter] < 0:
                return row
            target[1] = _LETTERS[letter]
            at += 2
            if at < data.shape[0] and data[at] == 39:  # '
                if _PRIMED[letter] < 0:
                    return row
                target[1] = _PRIMED[letter]
                at += 1
            at, target[2] = _number(data, at)
            if data[at] != 44:  # ,
                return row
            at, target[3] = _number(data, at + 1)
        if target[2] < 1 or target[3] < 1 or (data[at] != 32 and data[at] != 10):
            return row
        count += 1
    return -1


@njit(cache=True, nogil=True, error_model="numpy")
def _number(data: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """Place behind the digits from `at` on, and their value: 0 for none or too large a one."""
    value = 0
    while at < data.shape[0] and 48 <= data[at] <= 57:
        value = min(value * 10 + data[at] - 48, _INT_MAX + 1)
        at += 1
    return at, value if value <= _INT_MAX else 0
