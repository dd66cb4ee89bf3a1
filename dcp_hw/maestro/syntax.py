"""Words of MAESTRO's mapping and hardware files, and what a mapping file consists of.

Source: maestro-project/maestro commit 4eb08d1, DFSL_parser and DFSL_syntax_tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dcp_hw.errors import InputError
from dcp_hw.maestro.layer import INT_MAX, LayerType, MaestroLayer
from dcp_hw.maestro.mapping import Directive, Mapping

_WORD = re.compile(r"[^ ,\->():\t;\r]+")
"""MAESTRO splits at these characters and drops them; braces are words of their own."""

MAX_BYTES = 64 << 20
"""Largest file that is read: far above any network."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word and where it stands, counted from 1."""

    text: str
    line: int
    column: int
    negative: bool = False  # written with a '-' in front, which MAESTRO drops


def words(text: str) -> Iterator[Word]:
    """The words of a file; one that starts with `//` drops the rest of its line."""
    for number, line in enumerate(text.split("\n"), start=1):
        for match in _WORD.finditer(line):
            if match.group().startswith("//"):
                break
            start = match.start()
            yield Word(match.group(), number, start + 1, start > 0 and line[start - 1] == "-")


class Reader:
    """Takes words one by one and raises errors that say where.

    Args:
        source: what errors call the file.
    """

    def __init__(self, text: str, source: str) -> None:
        self.source = source
        self.last = Word("", 1, 1)
        self._words = words(text)
        self._lines = text.count("\n") + 1

    def __iter__(self) -> Iterator[Word]:
        """The words that are left."""
        for word in self._words:
            self.last = word
            yield word

    def take(self, accepted: str) -> Word:
        """The next word. Raises: InputError at the end of the file."""
        for word in self:
            return word
        end = Word("", self._lines, 1)
        raise self.error(end, f"the file ends; accepted: {accepted}")

    def expect(self, text: str, where: str) -> Word:
        """The next word, which must be `text`."""
        word = self.take(f"'{text}' {where}")
        if word.text != text:
            raise self.error(word, f"found {_quoted(word)} {where}; accepted: '{text}'")
        return word

    def integer(self, what: str, *, least: int = 1) -> int:
        """The value of the next word."""
        word = self.take(f"{what}, an integer from {least} to {INT_MAX}")
        return self.value(word, what, least=least)

    def value(self, word: Word, what: str, *, least: int = 1) -> int:
        """The integer that a word spells."""
        number = int(word.text) if re.fullmatch(r"[0-9]{1,18}", word.text) else -1
        if word.negative or not least <= number <= INT_MAX:
            sign = "-" if word.negative else ""
            raise self.error(
                word,
                f"{what} is '{sign}{word.text[:40]}'; accepted: an integer from {least} to "
                f"{INT_MAX}{_brace_advice(word)}",
            )
        return number

    def unexpected(self, word: Word, where: str, accepted: str) -> InputError:
        """The error of a word that does not belong here."""
        return self.error(
            word, f"found {_quoted(word)} {where}; accepted: {accepted}{_brace_advice(word)}"
        )

    def error(self, word: Word, message: str) -> InputError:
        """An error at a word."""
        return InputError(f"{self.source}:{word.line}:{word.column}: {message}")


def _quoted(word: Word) -> str:
    return f"'{word.text[:40]}'"


def _brace_advice(word: Word) -> str:
    glued = len(word.text) > 1 and ("{" in word.text or "}" in word.text)
    return " (a brace needs white space on both sides)" if glued else ""


def read_text(path: str | Path) -> str:
    """Text of a file. Raises: InputError if it cannot be read as such."""
    path = Path(path)
    try:
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES >> 20} MiB; give a smaller file")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        raise InputError(f"{path}:{line}:{column}: not a text file; accepted: UTF-8") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason})") from None


@dataclass(frozen=True, slots=True)
class Size:
    """A size, and how it is written: a number, a constant's name or `Sz(D)`."""

    value: int
    text: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.text or str(self.value)


@dataclass(frozen=True, slots=True)
class MapStatement:
    """`SpatialMap(size, offset) dim` or `TemporalMap(size, offset) dim`."""

    spatial: bool
    size: Size
    offset: Size
    dim: str

    def __str__(self) -> str:
        kind = "SpatialMap" if self.spatial else "TemporalMap"
        return f"{kind}({self.size},{self.offset}) {self.dim};"


@dataclass(frozen=True, slots=True)
class ClusterStatement:
    """`Cluster(size, P)`, or L; the letter has no effect."""

    size: Size
    letter: str = "P"

    def __str__(self) -> str:
        return f"Cluster({self.size}, {self.letter});"


Statement = MapStatement | ClusterStatement


@dataclass(frozen=True, slots=True)
class LayerBlock:
    """A layer of a mapping file and its dataflow; None where it has no Dataflow of its own."""

    layer: MaestroLayer
    dimensions: tuple[tuple[str, Size], ...]
    dataflow: tuple[Statement, ...] | None = None

    @property
    def mapping(self) -> Mapping | None:
        """The dataflow with sizes for constants."""
        if not self.dataflow:
            return None
        levels: list[list[Directive]] = [[]]
        clusters = []
        for statement in self.dataflow:
            if isinstance(statement, ClusterStatement):
                clusters.append(statement.size.value)
                levels.append([])
            else:
                size, offset = statement.size.value, statement.offset.value
                levels[-1].append(Directive(statement.spatial, statement.dim, size, offset))
        return Mapping(tuple(map(tuple, levels)), tuple(clusters))

    @staticmethod
    def of(layer: MaestroLayer, mapping: Mapping | None) -> LayerBlock:
        """The block of a layer and its mapping."""
        sizes = tuple((dim, Size(size)) for dim, size in layer.sizes)
        if mapping is None:
            return LayerBlock(layer, sizes)
        statements: list[Statement] = []
        for i, level in enumerate(mapping.levels):
            if i:
                statements.append(ClusterStatement(Size(mapping.clusters[i - 1])))
            statements += [
                MapStatement(x.spatial, Size(x.size), Size(x.offset), x.dim) for x in level
            ]
        return LayerBlock(layer, sizes, tuple(statements))


@dataclass(frozen=True, slots=True)
class MappingFile:
    """A network of layers with their dataflows. Raises: InputError if it has no layers."""

    network: str
    layers: tuple[LayerBlock, ...]
    constants: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        if not self.layers:
            raise InputError("no layers found; accepted: Network name { Layer name { ... } }")

    @staticmethod
    def of(
        pairs: Iterable[tuple[MaestroLayer, Mapping | None]], network: str = "network"
    ) -> MappingFile:
        """A file of layers and their mappings."""
        return MappingFile(network, tuple(LayerBlock.of(*pair) for pair in pairs))

    def batched(self, kind: LayerType) -> bool:
        """Whether MAESTRO takes N for a dimension of this type's tensors."""
        same = (b.layer for b in self.layers if b.layer.type.model is kind.model)
        first = next(same, None)
        return first is not None and first.batched
