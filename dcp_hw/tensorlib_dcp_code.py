"""The code of a Tensorlib design with a layer's program on it: 42 whole numbers.

    array    bus_in bus_out | axis_1 axis_2 diagonal held chain_axis skew_1 skew_2
             shared_input shared_weight | rows cols | share_input share_weight share_output
    STT      lanes_1k .. lanes_1s, lanes_2k .. lanes_2s: how many lanes of each loop are on an axis
    program  kt ct yt xt ks ys xs | tile_order step_order snake late_params trim lead flat

Row p1 of the STT is mixed-radix over the loops that axis 1 carries, k c y x r s, fastest first:
with n_l lanes a loop's digit counts n_1 n_2 .. n_(l-1) positions; p2 likewise; t is the step plus
skew_1 p1 + skew_2 p2. docs/dcp-tensorlib.md has the table of values. `encode` and `decode` are
inverse on the legal space; a code that is no design is `Infeasible`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache
from math import prod

import numpy as np
from numpy.typing import NDArray

from dcp_hw.axes import axes_of
from dcp_hw.bounds import input_words, output_words
from dcp_hw.candidates import SPLITS, Candidate, Style, design_of
from dcp_hw.hardware import Hardware
from dcp_hw.layout import Layout
from dcp_hw.mapping import Digits, Mapping, Unmappable
from dcp_hw.metrics import Infeasible
from dcp_hw.problem import LOOPS, Problem, problem_of
from dcp_hw.scan import TILE_ORDERS
from dcp_hw.space import buses, letters, shapes_of, space
from dcp_hw.workload import Layer

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

LETTERS = "uiwo"
STEP_ORDERS = ("csrxyk", "csrkxy", "scrxyk", "xykcsr", "kxycsr", "ckxysr")
_TILES = tuple(
    f.name for f in fields(Mapping) if f.name in ("kt", "ct", "yt", "xt", "ks", "ys", "xs")
)
ARRAY = (
    *("bus_in", "bus_out", "axis_1", "axis_2", "diagonal", "held", "chain_axis", "skew_1"),
    *("skew_2", "shared_input", "shared_weight", "rows", "cols"),
    *("share_input", "share_weight", "share_output"),
)
LANES = tuple(f"lanes_{axis}{loop}" for axis in (1, 2) for loop in LOOPS)
PROGRAM = (*_TILES, "tile_order", "step_order", "snake", "late_params", "trim", "lead", "flat")
NAMES = (*ARRAY, *LANES, *PROGRAM)
"""What the numbers of a code are, in order."""

AT = {name: number for number, name in enumerate(NAMES)}
_STYLE = slice(AT["axis_1"], AT["rows"])


# --- arrays -------------------------------------------------------------------------


def style_fields(style: Style) -> tuple[int, ...]:
    """The numbers axis_1 .. shared_weight of an array."""
    wires = style.wires
    one, two = letters(wires)
    diagonal = next((n + 1 for n, d in enumerate(wires.diagonals) if d), 0)
    chained = style.held == "chain" and wires.held is not None
    held = wires.held + 1 if chained and wires.held is not None else 0
    return (
        *(LETTERS.index(one), LETTERS.index(two), diagonal, held),
        (style.chain_axis or 0) if chained else 0,
        *wires.skew,
        *(int(shared) for shared in style.shared_banks),
    )


@lru_cache(maxsize=1)
def styles() -> tuple[Style, ...]:
    """All arrays: those that are searched, then those that have a twin of less skew."""
    found = space()
    return (*found.arrays, *found.twins)


@lru_cache(maxsize=1)
def _by_fields() -> dict[tuple[int, ...], Style]:
    return {style_fields(style): style for style in styles()}


def encode_array(candidate: Candidate) -> Integers:
    """The first 16 numbers of a code."""
    design = candidate.design
    split = tuple(int(part) for part in design.name.split("_")[2:5])
    array = (*style_fields(candidate.style), design.rows, design.cols)
    return np.array([design.in_bits, design.out_bits, *array, *split], dtype=np.int64)


def decode_array(code: Sequence[int] | Integers, hardware: Hardware) -> Candidate | Infeasible:
    """The design of a code's first 16 numbers, or why there is none."""
    numbers = [int(value) for value in code[: len(ARRAY)]]
    if len(numbers) < len(ARRAY):
        return Infeasible(f"{len(numbers)} numbers; a design has {len(ARRAY)}")
    of = dict(zip(ARRAY, numbers, strict=True))
    bus = of["bus_in"], of["bus_out"]
    if bus not in buses(hardware):
        return Infeasible(f"buses of {bus[0]} and {bus[1]} bits; the hardware gives "
                          f"{hardware.bus_in_bits} and {hardware.bus_out_bits}")  # fmt: skip
    style = _by_fields().get(tuple(numbers[_STYLE]))
    if style is None:
        return Infeasible(f"no array has the structure {numbers[_STYLE]}")
    shape = of["rows"], of["cols"]
    if min(shape) < 1 or shape not in _shapes(style, hardware.pes):
        return Infeasible(f"{shape[0]} x {shape[1]} of {style.key} is no shape for "
                          f"{hardware.pes} PEs")  # fmt: skip
    split = of["share_input"], of["share_weight"], of["share_output"]
    if split not in SPLITS:
        return Infeasible(f"no memory split {split}")
    design = design_of(style, *shape, split, hardware, bus)
    if design is None:
        return Infeasible(f"{style.key} {shape[0]} x {shape[1]}: a bank would be empty")
    return Candidate(style=style, design=design)


@lru_cache(maxsize=512)
def _shapes(style: Style, pes: int) -> frozenset[tuple[int, int]]:
    return frozenset(shapes_of(style, pes))


# --- programs -----------------------------------------------------------------------


def encode(candidate: Candidate, mapping: Mapping) -> Integers:
    """The code of a design and a mapping on it; inverse of `decode`."""
    lanes = np.ones((2, len(LOOPS)), dtype=np.int64)
    for axis, digits in enumerate((mapping.axis1, mapping.axis2)):
        for loop, count in digits:
            lanes[axis, LOOPS.index(loop)] = count
    program = [getattr(mapping, name) for name in _TILES]
    program += [TILE_ORDERS.index(mapping.tiles), STEP_ORDERS.index(mapping.order)]
    flags = (mapping.snake, mapping.late_params, mapping.trim)
    program += [*map(int, flags), mapping.lead, int(mapping.flat)]
    return np.concatenate([encode_array(candidate), lanes.ravel(), np.array(program)])


def mapping_of_code(code: Sequence[int] | Integers) -> Mapping | Infeasible:
    """The mapping of a code, whatever the design."""
    numbers = [int(value) for value in code]
    if len(numbers) != len(NAMES):
        return Infeasible(f"{len(numbers)} numbers; a code has {len(NAMES)}")
    of = dict(zip(NAMES, numbers, strict=True))
    for name, most in (("tile_order", len(TILE_ORDERS)), ("step_order", len(STEP_ORDERS))):
        if not 0 <= of[name] < most:
            return Infeasible(f"{name} {of[name]}; accepted: 0 to {most - 1}")
    for name in ("snake", "late_params", "trim", "flat"):
        if of[name] not in (0, 1):
            return Infeasible(f"{name} {of[name]}; accepted: 0 or 1")
    axes: list[Digits] = []
    for axis in (1, 2):
        counts = [(loop, of[f"lanes_{axis}{loop}"]) for loop in LOOPS]
        if min(count for _, count in counts) < 1:
            return Infeasible("lanes are at least 1")
        axes.append(tuple((loop, count) for loop, count in counts if count > 1))
    try:
        return Mapping(
            axis1=axes[0],
            axis2=axes[1],
            **{name: of[name] for name in _TILES},
            order=STEP_ORDERS[of["step_order"]],
            tiles=TILE_ORDERS[of["tile_order"]],
            snake=bool(of["snake"]),
            late_params=bool(of["late_params"]),
            trim=bool(of["trim"]),
            flat=bool(of["flat"]),
            lead=of["lead"],
        )
    except Unmappable as error:
        return Infeasible(str(error))


def decode(
    code: Sequence[int] | Integers, layer: Layer, hardware: Hardware
) -> tuple[Candidate, Mapping] | Infeasible:
    """Design and mapping of a code for a layer, or why there are none."""
    mapping = mapping_of_code(code)
    if isinstance(mapping, Infeasible):
        return mapping
    candidate = decode_array(code, hardware)
    if isinstance(candidate, Infeasible):
        return candidate
    problem = problem_of(layer, flat=mapping.flat)
    if mapping.flat != (problem.row > 0):
        return Infeasible("flat 1: only the pixels of a pointwise layer are one row")
    try:
        Layout(problem, candidate.design, mapping)
    except Unmappable as error:
        return Infeasible(str(error))
    return candidate, mapping


# --- what a predictor is told ---------------------------------------------------------


@lru_cache(maxsize=8192)
def layer_numbers(layer: Layer, problem: Problem) -> tuple[float, ...]:
    """`predictors.tensorlib_point.LAYER_NAMES` of a nest."""
    p = problem
    return (
        *(float(p.size(loop)) for loop in LOOPS),
        *(float(p.batch), float(p.stride), float(p.dilation), float(p.padding)),
        *(float(p.depthwise), float(p.c4), float(p.activation_weights), float(p.in_y)),
        *(float(p.in_x), float(layer.macs), float(input_words(layer))),
        float(output_words(layer)),
    )


def machine_numbers(hardware: Hardware) -> tuple[float, ...]:
    """`predictors.tensorlib_point.MACHINE_NAMES` of a hardware file."""
    bits = (hardware.bus_in_bits, hardware.bus_out_bits)
    return (float(hardware.pes), float(hardware.sram_bytes), *map(float, bits))


@lru_cache(maxsize=1)
def array_table() -> Floats:
    """`predictors.tensorlib_point.ARRAY_NAMES` of every array of `styles`, n x 40."""
    return np.array([_attributes(style) for style in styles()])


@lru_cache(maxsize=1)
def array_numbers() -> dict[tuple[int, ...], int]:
    """Numbers axis_1 .. shared_weight -> place in `styles`."""
    return {style_fields(style): n for n, style in enumerate(styles())}


def _attributes(style: Style) -> list[float]:
    axes = axes_of(style.array(3, 4, depth=1, words=1))
    found: list[float] = []
    for depthwise in (False, True):
        problem = _nest(depthwise)
        for axis in (0, 1):
            allowed = axes.loops(axis, problem)
            if axes.diagonal:
                allowed = "".join(loop for loop in allowed if loop in "yxrs")
            if axes.chain == "input" and axes.chain_axis == axis:
                allowed = "c" if "c" in allowed else ""
            found += [float(loop in allowed) for loop in LOOPS]
    # shapes whose columns no bank of several ports divides
    small, tall, wide = (style.array(r, c, depth=1, words=1) for r, c in ((3, 3), (9, 3), (3, 9)))
    for tensor in ("input", "weight", "output"):
        banks = [getattr(design, tensor).banks for design in (small, tall, wide)]
        found += [float(np.log(banks[n] / banks[0]) / np.log(3)) for n in (1, 2)]
    fields_ = dict(zip(ARRAY[_STYLE], style_fields(style), strict=True))
    found += [float(fields_["shared_input"]), float(fields_["shared_weight"])]
    found += [float(fields_["held"] == n) for n in (1, 2, 3)]
    found += [float(fields_["chain_axis"] == n) for n in (1, 2)]
    found += [float(fields_["skew_1"]), float(fields_["skew_2"]), float(axes.diagonal)]
    return found


@lru_cache(maxsize=2)
def _nest(depthwise: bool) -> Problem:
    sizes = dict.fromkeys(("k", "c", "y", "x", "r", "s"), 2)
    sizes |= dict.fromkeys(("in_y", "in_x", "stored_y", "stored_x"), 4)
    return Problem(depthwise=depthwise, batch=1, **sizes)


def lanes_of(mapping: Mapping, axis: int) -> int:
    """Lanes on an axis in all."""
    return prod(count for _, count in (mapping.axis1, mapping.axis2)[axis])
