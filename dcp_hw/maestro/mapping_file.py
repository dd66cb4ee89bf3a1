"""MAESTRO's mapping files (`.m`): parser and writer.

    Constant TileC 64
    Network vgg16 {
      Layer CONV1 {
        Type: CONV
        Stride { X: 1, Y: 1 }
        Dimensions { K: 64, C: 3, R: 3, S: 3, Y: 226, X: 226 }
        Dataflow {
          SpatialMap(1,1) K;
          TemporalMap(TileC,TileC) C;
          TemporalMap(Sz(R),1) Y;
          Cluster(64, P);
          SpatialMap(1,1) C;
        }
      }
    }

Words are split as MAESTRO splits them, so punctuation other than braces may be left out. Where
MAESTRO reads something into a wrong word (a name as the number 0, a minus as nothing, an unknown
block as no block) this parser raises an error instead.
"""

from __future__ import annotations

import re
from pathlib import Path

from dcp_hw.errors import InputError
from dcp_hw.maestro.layer import DIMENSIONS, LayerType, MaestroLayer
from dcp_hw.maestro.syntax import (
    ClusterStatement,
    LayerBlock,
    MappingFile,
    MapStatement,
    Reader,
    Size,
    Statement,
    Word,
    read_text,
)

_UNUSABLE_TYPES = ("FC", "POOL", "LSTM")
_ACCELERATOR = {
    "PE": ("NumPEs", "VectorWidth", "MultPrecision", "AddPrecision"),
    "Buffer": (),  # names are free
    "NoC": ("Bandwidth", "LatencyPerHop", "AvgLatency"),
    "DistributionNoC": ("Bandwidth", "LatencyPerHop", "AvgLatency"),
}


def load_mapping(path: str | Path) -> MappingFile:
    """The mapping file at `path`.

    Raises: InputError with file, line and column, what was found and what is accepted.
    """
    return parse_mapping(read_text(path), str(path))


def parse_mapping(text: str, source: str = "mapping") -> MappingFile:
    """The mapping file in `text`; inverse of `dump_mapping`.

    Args:
        source: what errors call the file.

    Raises: InputError with line and column, what was found and what is accepted.
    """
    parser = _Parser(Reader(text, source))
    try:
        return parser.file()
    except InputError as error:
        if str(error).startswith(f"{source}:"):
            raise
        last = parser.reader.last
        raise InputError(f"{source}:{last.line}:{last.column}: {error}") from None


def dump_mapping(file: MappingFile) -> str:
    """Text of a mapping file. Raises: InputError for a name that a file cannot hold."""
    names = [name for name, _ in file.constants]
    symbols = len(set(names)) == len(names)  # a constant with two values stands for neither
    lines = [f"Constant {_name(name)} {value};" for name, value in file.constants if symbols]
    lines.append(f"Network {_name(file.network)} {{" if file.network else "Network {")
    for block in file.layers:
        lines += [f"  Layer {_name(block.layer.name)} {{", f"    Type: {block.layer.type}"]
        if block.layer.strides:
            strides = ", ".join(f"{dim}: {step}" for dim, step in block.layer.strides)
            lines.append(f"    Stride {{ {strides} }}")
        sizes = ", ".join(f"{dim}: {_size(size, symbols)}" for dim, size in block.dimensions)
        lines.append(f"    Dimensions {{ {sizes} }}")
        if block.dataflow is not None:
            lines.append("    Dataflow {")
            lines += [f"      {_statement(x, symbols)}" for x in block.dataflow]
            lines.append("    }")
        lines.append("  }")
    return "\n".join([*lines, "}"]) + "\n"


def _name(name: str) -> str:
    if not re.fullmatch(r"(?!//)[^\s,\->():;{}]+", name):
        raise InputError(
            f"name {name[:40]!r} does not fit into a mapping file; "
            "accepted: no white space, braces, parentheses or any of , - > : ;"
        )
    return name


def _size(size: Size, symbols: bool) -> str:
    return str(size) if symbols else str(size.value)


def _statement(statement: Statement, symbols: bool) -> str:
    if symbols:
        return str(statement)
    size = Size(statement.size.value)
    if isinstance(statement, ClusterStatement):
        return str(ClusterStatement(size, statement.letter))
    return str(MapStatement(statement.spatial, size, Size(statement.offset.value), statement.dim))


class _Parser:
    """Descends through one file.

    Attributes:
        pending: the name that MAESTRO gives to the next layer: the last free word, which for an
            unnamed layer may be the name of a constant or a dimension.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.pending = ""
        self.constants: list[tuple[str, int]] = []
        self.layers: list[LayerBlock] = []

    def file(self) -> MappingFile:
        """Everything up to the end."""
        network = ""
        for word in self.reader:
            if word.text == "Network":
                network = self._named_block("Network")[0] or network
                self._network()
            elif word.text == "Constant":
                name = self._constant_name()
                self.constants.append((name, self.reader.integer(f"constant {name}", least=0)))
                self.pending = name
            elif word.text == "Accelerator":
                self.reader.expect("{", "after Accelerator")
                self._accelerator()
            else:
                raise self.reader.unexpected(
                    word, "outside of a block", "Constant, Network or Accelerator"
                )
        return MappingFile(network, tuple(self.layers), tuple(self.constants))

    def _constant_name(self) -> str:
        word = self.reader.take("the name of a constant")
        if "{" in word.text or "}" in word.text:
            raise self.reader.unexpected(word, "after Constant", "a name")
        return word.text

    def _named_block(self, kind: str) -> tuple[str, Word | None]:
        """The last word before the brace that opens a block, if there is one."""
        name, where = "", None
        while (word := self.reader.take(f"a name or '{{' after {kind}")).text != "{":
            if "{" in word.text or "}" in word.text:
                raise self.reader.unexpected(word, f"after {kind}", "a name or '{'")
            name, where = word.text, word
        return name, where

    def _network(self) -> None:
        while (word := self.reader.take("Layer or '}' in the Network")).text != "}":
            if word.text != "Layer":
                raise self.reader.unexpected(word, "in the Network", "Layer or '}'")
            name, where = self._named_block("Layer")
            self.pending = name or self.pending
            self._layer(where or word)

    def _layer(self, where: Word) -> None:
        reader, seen = self.reader, set()
        name, kind = "", None
        strides: dict[str, int] = {}
        sizes: list[tuple[str, Size]] = []
        dataflow: list[Statement] | None = None
        accepted = "Type, Stride, Dimensions, Dataflow or '}'"
        while (word := reader.take(f"{accepted} in the Layer")).text != "}":
            if word.text in seen:
                raise reader.error(word, f"second {word.text} in one Layer; accepted: one")
            seen.add(word.text)
            if word.text == "Type":
                name, kind = self.pending or "Layer", self._type()
                self.pending = ""
            elif word.text == "Stride":
                if "Dimensions" in seen:
                    raise reader.error(word, "Stride after Dimensions; accepted: before them")
                strides = self._strides()
            elif word.text == "Dimensions":
                sizes = self._dimensions()
            elif word.text == "Dataflow":
                dataflow = self._dataflow(dict(sizes))
            else:
                raise reader.unexpected(word, "in the Layer", accepted)
        if kind is None:
            raise reader.error(where, f"the layer has no Type; accepted: {', '.join(LayerType)}")
        try:
            plain = tuple((dim, size.value) for dim, size in sizes)
            layer = MaestroLayer(name, kind, plain, tuple(strides.items()))
        except InputError as error:
            raise reader.error(where, str(error)) from None
        flow = None if dataflow is None else tuple(dataflow)
        self.layers.append(LayerBlock(layer, tuple(sizes), flow))

    def _type(self) -> LayerType:
        word = self.reader.take("a layer type")
        if word.text in _UNUSABLE_TYPES:
            raise self.reader.error(
                word,
                f"type {word.text} has no cost model in MAESTRO; accepted: {', '.join(LayerType)}",
            )
        if word.text not in list(LayerType):
            raise self.reader.unexpected(word, "as layer type", ", ".join(LayerType))
        return LayerType(word.text)

    def _dim(self, word: Word, where: str) -> str:
        if word.text not in DIMENSIONS:
            raise self.reader.unexpected(word, where, f"a dimension, {' '.join(DIMENSIONS)}")
        return word.text

    def _strides(self) -> dict[str, int]:
        self.reader.expect("{", "after Stride")
        strides: dict[str, int] = {}
        while (word := self.reader.take("a dimension or '}' in Stride")).text != "}":
            dim = self._dim(word, "in Stride")
            strides[dim] = self.reader.integer(f"stride of {dim}")
        return strides

    def _dimensions(self) -> list[tuple[str, Size]]:
        self.reader.expect("{", "after Dimensions")
        sizes: list[tuple[str, Size]] = []
        while (word := self.reader.take("a dimension or '}' in Dimensions")).text != "}":
            dim = self._dim(word, "in Dimensions")
            if dim in dict(sizes):
                raise self.reader.error(word, f"second {dim} in Dimensions; accepted: one")
            self.pending = dim
            sizes.append((dim, self._size(f"size of {dim}", None)))
        return sizes

    def _dataflow(self, sizes: dict[str, Size]) -> list[Statement]:
        reader = self.reader
        reader.expect("{", "after Dataflow")
        statements: list[Statement] = []
        accepted = "SpatialMap, TemporalMap, Cluster or '}'"
        while (word := reader.take(f"{accepted} in the Dataflow")).text != "}":
            if word.text in ("SpatialMap", "TemporalMap"):
                size = self._size(f"size of the {word.text}", sizes)
                offset = self._size(f"offset of the {word.text}", sizes)
                where = f"as dimension of the {word.text}"
                dim = self._dim(reader.take(f"a dimension {where}"), where)
                statements.append(MapStatement(word.text == "SpatialMap", size, offset, dim))
            elif word.text == "Cluster":
                size = self._size("size of the Cluster", sizes)
                letter = reader.take("P or L in Cluster(size, P)")
                if letter.text not in ("P", "L"):
                    raise reader.unexpected(letter, "as type of the Cluster", "P or L")
                statements.append(ClusterStatement(size, letter.text))
            else:
                raise reader.unexpected(word, "in the Dataflow", accepted)
        return statements

    def _size(self, what: str, sizes: dict[str, Size] | None) -> Size:
        """A number, a constant or, where `sizes` are given, `Sz(D)`."""
        word = self.reader.take(f"{what}: a number, a constant or Sz(dimension)")
        if word.text == "Sz" and sizes is not None:
            dim = self.reader.take("a dimension in Sz()")
            if dim.text not in sizes:
                have = " ".join(sizes) or "none so far"
                raise self.reader.unexpected(
                    dim, "in Sz()", f"a dimension of this layer's Dimensions ({have})"
                )
            return Size(sizes[dim.text].value, f"Sz({dim.text})")
        constants = dict(self.constants)
        if word.text in constants and not word.negative:
            value = constants[word.text]
            if value < 1:
                raise self.reader.error(
                    word, f"{what} is {word.text} = {value}; accepted: at least 1"
                )
            return Size(value, word.text)
        return Size(self.reader.value(word, what), word.text)

    def _accelerator(self) -> None:
        """Skip a block that MAESTRO reads and ignores."""
        reader = self.reader
        while (word := reader.take("PE, Buffer, NoC or '}' in Accelerator")).text != "}":
            if word.text not in _ACCELERATOR:
                raise reader.unexpected(
                    word, "in Accelerator", f"{', '.join(_ACCELERATOR)} or '}}'"
                )
            keys = _ACCELERATOR[word.text]
            reader.expect("{", f"after {word.text}")
            depth, where = 1, f"in {word.text}"
            while depth:
                key = reader.take(f"a name or '}}' {where}")
                if key.text in ("{", "}"):
                    depth += 1 if key.text == "{" else -1
                elif keys and depth == 1 and word.text == "PE" and key.text not in keys:
                    raise reader.unexpected(key, where, f"{', '.join(keys)} or '}}'")
                elif key.text in keys or word.text == "Buffer":
                    self._accelerator_value(key)

    def _accelerator_value(self, key: Word) -> None:
        if key.text.endswith("Precision"):
            word = self.reader.take("a precision")
            if not re.fullmatch(r"(FP|INT)(4|8|16|32)", word.text):
                raise self.reader.unexpected(word, f"as {key.text}", "FP or INT and 4, 8, 16 or 32")
            return
        self.reader.integer(key.text)
