"""Operators as perfect loop nests with affine accesses (docs/design-space.md, "Operators").

`O[M_O x] += product over inputs t of t[M_t x]` for every `x` in the box `0 <= x < N`.
Built in: GEMM, batched GEMM, 2-D convolution, depthwise convolution, MTTKRP and TTMc
(TensorLib, Jia et al., DAC 2021, Table I); `Operator.parse` describes any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tensorlib.errors import AnalysisError

Matrix = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Operator:
    """A perfect loop nest: iterators, and per tensor the integer access matrix `M_t`.

    `tensors[t]` is `d_t x n`: one row per dimension of tensor `t`, one column per iterator.
    """

    name: str
    iterators: tuple[str, ...]
    tensors: Mapping[str, Matrix]
    output: str

    def __post_init__(self) -> None:
        if len(self.iterators) < 3 or len(set(self.iterators)) != len(self.iterators):
            raise AnalysisError(
                f"operator {self.name!r} needs three or more distinct iterators, "
                f"got {self.iterators}"
            )
        if self.output not in self.tensors or len(self.tensors) < 2:
            raise AnalysisError(
                f"operator {self.name!r} needs one output and at least one input, got output "
                f"{self.output!r} and tensors {sorted(self.tensors)}"
            )
        for tensor, rows in self.tensors.items():
            if not rows or any(len(row) != len(self.iterators) for row in rows):
                raise AnalysisError(
                    f"access matrix of {self.name}.{tensor} must have rows of "
                    f"{len(self.iterators)} entries (one per iterator), got {rows}"
                )

    def __hash__(self) -> int:
        return hash((self.name, self.iterators, frozenset(self.tensors.items()), self.output))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the input tensors in the order of their description."""
        return tuple(t for t in self.tensors if t != self.output)

    @property
    def tensor_names(self) -> tuple[str, ...]:
        """Names of all tensors, inputs first, output last (the order of labels)."""
        return (*self.inputs, self.output)

    def access(self, tensor: str, selected: Sequence[str] | None = None) -> Matrix:
        """Access matrix of one tensor, restricted to the `selected` iterators if given.

        Returns: `d x len(selected)` (or `d x n`), columns in the order of `selected`.
        Raises: `AnalysisError` for an unknown tensor or iterator.
        """
        if tensor not in self.tensors:
            raise AnalysisError(f"{self.name} has no tensor {tensor!r}; have {self.tensor_names}")
        if selected is None:
            return self.tensors[tensor]
        columns = [self.column(i) for i in selected]
        return tuple(tuple(row[c] for c in columns) for row in self.tensors[tensor])

    def column(self, iterator: str) -> int:
        """Position of an iterator in `iterators`.

        Raises: `AnalysisError` for an unknown one.
        """
        if iterator not in self.iterators:
            raise AnalysisError(f"{self.name} has no iterator {iterator!r}; have {self.iterators}")
        return self.iterators.index(iterator)

    @classmethod
    def parse(
        cls, name: str, iterators: Sequence[str], output: str, inputs: Sequence[str]
    ) -> Operator:
        """Operator from subscript notation, e.g. `"I[c, 2*y + r, 2*x + s]"`.

        Args:
            iterators: loop names, letters, digits and `_`.
            output, inputs: `name[affine, ...]`; an affine term is `i` or `number*i`, joined by
                `+` and `-`.
        Raises: `AnalysisError` with the text that was not understood.
        """
        names = tuple(iterators)
        tensors = dict(_parse_tensor(text, names) for text in inputs)
        out, rows = _parse_tensor(output, names)
        if out in tensors or len(tensors) != len(inputs):
            raise AnalysisError(f"operator {name!r} names a tensor twice: {output}, {inputs}")
        return cls(name, names, {**tensors, out: rows}, out)


def _parse_tensor(text: str, iterators: tuple[str, ...]) -> tuple[str, Matrix]:
    """Name and access matrix of one subscripted tensor."""
    match = re.fullmatch(r"\s*(\w+)\s*\[(.*)\]\s*", text)
    if match is None:
        raise AnalysisError(f"expected name[subscript, ...], got {text!r}")
    return match[1], tuple(_parse_affine(part, iterators) for part in match[2].split(","))


def _parse_affine(text: str, iterators: tuple[str, ...]) -> tuple[int, ...]:
    """Coefficients (one per iterator) of a homogeneous affine expression."""
    row = [0] * len(iterators)
    compact = re.sub(r"\s+", "", text)
    terms = re.findall(r"([+-]?)(?:(\d+)\*)?([A-Za-z_]\w*)", compact)
    if not terms or "".join(f"{s}{c}*{i}" if c else s + i for s, c, i in terms) != compact:
        raise AnalysisError(f"subscript {text!r} is not a sum of terms such as 2*y or r")
    for sign, coefficient, iterator in terms:
        if iterator not in iterators:
            raise AnalysisError(f"subscript {text!r} uses {iterator!r}; iterators: {iterators}")
        row[iterators.index(iterator)] += int(sign + "1") * int(coefficient or 1)
    return tuple(row)


def gemm() -> Operator:
    """`C[m, n] += A[m, k] * B[k, n]`."""
    return Operator.parse("gemm", "mnk", "C[m, n]", ["A[m, k]", "B[k, n]"])


def batched_gemm() -> Operator:
    """`C[b, m, n] += A[b, m, k] * B[b, k, n]`."""
    return Operator.parse("batched_gemm", "bmnk", "C[b, m, n]", ["A[b, m, k]", "B[b, k, n]"])


def conv2d(*, stride: int = 1, dilation: int = 1, groups: bool = False) -> Operator:
    """`O[k, y, x] += I[c, s y + d r, s x + d q] * W[k, c, r, q]` with stride `s`, dilation `d`.

    The second kernel iterator is called `s` in the nest. Padding shifts subscripts by a constant
    and changes no reuse; it belongs to the layer. With `groups` an iterator `g` leads every
    tensor, and `k`, `c` count within a group.
    """
    _require_positive(stride=stride, dilation=dilation)
    g, names = ("g, ", "gkcyxrs") if groups else ("", "kcyxrs")
    image = f"I[{g}c, {stride}*y + {dilation}*r, {stride}*x + {dilation}*s]"
    name = "grouped_conv2d" if groups else "conv2d"
    return Operator.parse(name, names, f"O[{g}k, y, x]", [image, f"W[{g}k, c, r, s]"])


def depthwise_conv2d(*, stride: int = 1, dilation: int = 1) -> Operator:
    """`O[c, y, x] += I[c, s y + d r, s x + d q] * W[c, r, q]`; see `conv2d`."""
    _require_positive(stride=stride, dilation=dilation)
    image = f"I[c, {stride}*y + {dilation}*r, {stride}*x + {dilation}*s]"
    return Operator.parse("depthwise_conv2d", "cyxrs", "O[c, y, x]", [image, "W[c, r, s]"])


def mttkrp() -> Operator:
    """`D[i, j] += A[i, k, l] * B[k, j] * C[l, j]` (three inputs)."""
    return Operator.parse("mttkrp", "ijkl", "D[i, j]", ["A[i, k, l]", "B[k, j]", "C[l, j]"])


def ttmc() -> Operator:
    """`D[i, j, k] += A[i, l, m] * B[l, j] * C[m, k]` (three inputs)."""
    return Operator.parse("ttmc", "ijklm", "D[i, j, k]", ["A[i, l, m]", "B[l, j]", "C[m, k]"])


BUILT_IN = {
    "gemm": gemm,
    "batched_gemm": batched_gemm,
    "conv2d": conv2d,
    "depthwise_conv2d": depthwise_conv2d,
    "mttkrp": mttkrp,
    "ttmc": ttmc,
}


def _require_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise AnalysisError(f"{name} must be >= 1, got {value}")
