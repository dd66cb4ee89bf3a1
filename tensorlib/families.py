"""Named array families, at any size that they allow: what tests and examples elaborate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorlib.design import Design
from tensorlib.elaborate import OperandSpec, OutputSpec, elaborate
from tensorlib.errors import AnalysisError

OWN, MULTICAST, SYSTOLIC = "own", "multicast", "systolic"
Specs = dict[str, OperandSpec | OutputSpec]


def _operand(axis1: str, axis2: str, rows: int, **more: Any) -> OperandSpec:
    return OperandSpec(axis1=axis1, axis2=axis2, rows=rows, **more)


def _result(axis1: str, axis2: str, words: int, **more: Any) -> OutputSpec:
    return OutputSpec(axis1=axis1, axis2=axis2, words=words, **more)


def _specs(input: OperandSpec, weight: OperandSpec, output: OutputSpec) -> Specs:
    return {"input": input, "weight": weight, "output": output}


def _unicast_tree(cols: int, depth: int, words: int) -> Specs:
    """U x O: own operands everywhere, `cols` products summed; a row of bytes feeds one sum."""
    slots = next(g for g in (16, 8, 4, 2, 1) if cols % g == 0)
    return _specs(
        _operand(OWN, OWN, depth, slots=slots),
        _operand(OWN, OWN, depth, slots=slots),
        _result(OWN, "tree", words),
    )


def _unicast_multicast(cols: int, depth: int, words: int) -> Specs:
    """U x W: axis 1 all own, axis 2 shares the weight."""
    return _specs(
        _operand(OWN, OWN, depth), _operand(OWN, MULTICAST, depth), _result(OWN, OWN, words)
    )


def _broadcast(cols: int, depth: int, words: int) -> Specs:
    """Input shared along axis 1, weight along axis 2, in one cycle."""
    return _specs(
        _operand(MULTICAST, OWN, depth), _operand(OWN, MULTICAST, depth), _result(OWN, OWN, words)
    )


def _nvdla(cols: int, depth: int, words: int) -> Specs:
    """Axis 1 output channels, axis 2 input channels: input shared along 1, tree along 2."""
    slots = next(g for g in (16, 8, 4, 2, 1) if cols % g == 0)
    return _specs(
        _operand(MULTICAST, OWN, depth),  # a bank a column, so that columns can be window taps
        _operand(OWN, OWN, depth, slots=slots),
        _result(OWN, "tree", words),
    )


def _weight_stationary(cols: int, depth: int, words: int) -> Specs:
    """Systolic: weight held (chains along axis 2), input along axis 1, sums along axis 2."""
    return _specs(
        _operand(SYSTOLIC, OWN, depth),
        _operand(OWN, OWN, depth, chain_axis=2),
        _result(OWN, "chain", words),
    )


def _input_stationary(cols: int, depth: int, words: int) -> Specs:
    """Systolic: input held (chains along axis 1), weight along axis 2, sums along axis 1."""
    return _specs(
        _operand(OWN, OWN, depth, chain_axis=1),
        _operand(OWN, SYSTOLIC, depth),
        _result("chain", OWN, words),
    )


def _output_stationary(cols: int, depth: int, words: int) -> Specs:
    """Systolic: output held and drained along axis 2, both operands move."""
    return _specs(
        _operand(SYSTOLIC, OWN, depth),
        _operand(OWN, SYSTOLIC, depth),
        _result(OWN, OWN, words, chain_axis=2),
    )


def _output_broadcast(cols: int, depth: int, words: int) -> Specs:
    """Output held and drained along axis 1; operands shared in one cycle, no skew."""
    return _specs(
        _operand(MULTICAST, OWN, depth),
        _operand(OWN, MULTICAST, depth),
        _result(OWN, OWN, words, chain_axis=1),
    )


def _pixel_multicast(cols: int, depth: int, words: int) -> Specs:
    """ShiDianNao-like: one weight for all PEs, an output each, drained along axis 1."""
    return _specs(
        _operand(OWN, OWN, depth),
        _operand(MULTICAST, MULTICAST, depth),
        _result(OWN, OWN, words, chain_axis=1),
    )


def _row_stationary(cols: int, depth: int, words: int) -> Specs:
    """Eyeriss-like: weight shared along axis 2, input along diagonals, sums along axis 1."""
    return _specs(
        _operand(OWN, OWN, depth, diagonal=(1, -1)),
        _operand(OWN, MULTICAST, depth),
        _result("tree", OWN, words),
    )


def _row_systolic(cols: int, depth: int, words: int) -> Specs:
    """As `row_stationary`, with sums in registers along axis 1."""
    return _specs(
        _operand(OWN, OWN, depth, diagonal=(1, -1)),
        _operand(OWN, MULTICAST, depth),
        _result("chain", OWN, words),
    )


def _weight_broadcast(cols: int, depth: int, words: int) -> Specs:
    """Weight held (chains along axis 1), input shared along axis 1, tree along axis 2."""
    return _specs(
        _operand(MULTICAST, OWN, depth),
        _operand(OWN, OWN, depth, chain_axis=1),
        _result(OWN, "tree", words),
    )


def _reduce_both(cols: int, depth: int, words: int) -> Specs:
    """All products to one exit: a tree along axis 1, registers along axis 2."""
    return _specs(
        _operand(OWN, OWN, depth), _operand(OWN, OWN, depth), _result("tree", "chain", words)
    )


FAMILIES: dict[str, Callable[[int, int, int], Specs]] = {
    "unicast_tree": _unicast_tree,
    "unicast_multicast": _unicast_multicast,
    "broadcast": _broadcast,
    "nvdla": _nvdla,
    "weight_stationary": _weight_stationary,
    "weight_broadcast": _weight_broadcast,
    "input_stationary": _input_stationary,
    "output_stationary": _output_stationary,
    "output_broadcast": _output_broadcast,
    "pixel_multicast": _pixel_multicast,
    "row_stationary": _row_stationary,
    "row_systolic": _row_systolic,
    "reduce_both": _reduce_both,
}


def family(
    kind: str,
    rows: int,
    cols: int,
    *,
    name: str | None = None,
    depth: int = 64,
    words: int = 256,
    **settings: Any,
) -> Design:
    """A design of the family `kind`.

    Args:
        depth: 16-byte rows per operand bank and buffer.
        words: 32-bit words per output bank and buffer.
        settings: further arguments of `elaborate`.
    Raises: `AnalysisError` for an unknown family.
    """
    if kind not in FAMILIES:
        raise AnalysisError(f"family {kind!r} not found; have {', '.join(FAMILIES)}")
    specs: Any = FAMILIES[kind](cols, depth, words)
    return elaborate(name or f"{kind}_{rows}x{cols}", rows, cols, **specs, **settings)
