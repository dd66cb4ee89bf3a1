"""A Tensorlib design with its mapping as a MAESTRO dataflow: DCP code and mapping file.

A mapping's digits become parallel levels, its tiles the level that fills the chip, one step of the
sequencer a PE's tile of one element. The axis along which sums are built is the inner level, so
that they are added on the way in each step. What a dataflow cannot state is in `notes`.
"""

from __future__ import annotations

from dataclasses import dataclass

from dcp_hw.axes import axes_of
from dcp_hw.bridge.reasons import NotBridged, Reason
from dcp_hw.bridge.tiles import loop_names
from dcp_hw.errors import InputError
from dcp_hw.lane_options import Lanes
from dcp_hw.maestro.dataflow import Dataflow, Dim, Level
from dcp_hw.maestro.encoding import maestro_layer
from dcp_hw.maestro.honest_energy import honest_layers
from dcp_hw.maestro.honest_types import DIMS
from dcp_hw.maestro.mapping_file import dump_mapping
from dcp_hw.maestro.syntax import MappingFile
from dcp_hw.mapping import Mapping
from dcp_hw.metrics import Infeasible
from dcp_hw.problem import Problem, ceil_div, problem_of
from dcp_hw.workload import Layer, Operator
from tensorlib.design import Design

MAX_LEVELS = 3
"""Of the DCP code and the honest model; a mapping file may have more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """A dataflow and the layer that it runs.

    Attributes:
        layer: a matrix product where the mapping takes all pixels of a pointwise layer as one row.
        dataflow: with R and S whole in a PE as MAESTRO wants it if `whole_filters` was set.
        pes: PEs that work; MAESTRO gives the outermost level all that it is told of.
        notes: what of the program the dataflow leaves out.
    """

    layer: Layer
    dataflow: Dataflow
    pes: int
    notes: tuple[str, ...]

    def mapping_text(self) -> str:
        """The MAESTRO mapping file. Raises: InputError for a layer that MAESTRO cannot state."""
        shape = maestro_layer(self.layer)
        return dump_mapping(MappingFile.of([self.dataflow.to_maestro(shape)]))


def raise_mapping(
    layer: Layer,
    design: Design,
    mapping: Mapping,
    *,
    whole_filters: bool = False,
    most_levels: int | None = MAX_LEVELS,
) -> Raised | NotBridged:
    """The dataflow of a layer program, or why there is none.

    Args:
        whole_filters: R and S stay whole in a PE where they are not parallel, as MAESTRO's files
            demand; otherwise a PE takes one tap at a time, as the array does.
        most_levels: parallel loops above this are `NotBridged`; None: any number.
    """
    problem = problem_of(layer, flat=mapping.flat)
    if problem.patch or problem.padded_groups:
        what = "patches of an image" if problem.patch else "a dense convolution"
        return NotBridged(f"{layer.name} runs as {what}", Reason.LAYER)
    shown = _product_of(layer, problem) if problem.row else layer
    shapes = honest_layers(shown)
    if isinstance(shapes, Infeasible):
        return NotBridged(f"{layer.name}: {shapes.reason}", Reason.LAYER)
    sizes = shapes[0].sizes
    names = loop_names(shown)
    dims = {loop: dim for dim, loop in names.items()}
    spread = [(dims[loop], n) for loop, n in _parallel(design, mapping) if n > 1]
    if most_levels is not None and max(2, len(spread)) > most_levels:
        return NotBridged(
            f"{layer.name}: {len(spread)} parallel loops; a code has {most_levels} levels",
            Reason.LEVELS,
        )
    lanes = dict(mapping.axis1 + mapping.axis2)
    chip = _chip(problem, mapping, lanes, dims, sizes)
    tiles = [dims[loop] for loop in (*mapping.tiles, "c") if loop in dims]
    steps = [dims[loop] for loop in reversed(mapping.order) if loop in dims]
    one = [1] * len(DIMS)
    if whole_filters:
        on_axes = {dim for dim, _ in spread}
        one = [s if d in (Dim.R, Dim.S) and d not in on_axes else 1 for d, s in enumerate(sizes)]
    levels = _levels(spread, chip, one, (_whole(tiles), _whole(steps)))
    pes = 1
    for _, count in spread:
        pes *= count
    return Raised(
        layer=shown, dataflow=Dataflow(tuple(levels)), pes=pes, notes=_notes(problem, mapping)
    )


def _product_of(layer: Layer, problem: Problem) -> Layer:
    """The matrix product of pixels and channels that a pointwise layer in one row is."""
    return Layer(
        name=layer.name,
        operator=Operator.GEMM,
        M=problem.x,
        N=problem.k,
        K=problem.c,
        count=layer.count,
    )


def _parallel(design: Design, mapping: Mapping) -> list[tuple[str, int]]:
    """Digits, outermost level first: the axis that sums, or shares more, is the inner one."""
    axes = axes_of(design)
    digits: Lanes = (mapping.axis1, mapping.axis2)
    weight = [(axes.reduced[n], len(axes.shared[n])) for n in (0, 1)]
    inner = 0 if weight[0] > weight[1] else 1
    return [*reversed(digits[1 - inner]), *reversed(digits[inner])]


def _chip(
    problem: Problem,
    mapping: Mapping,
    lanes: dict[str, int],
    dims: dict[str, int],
    sizes: tuple[int, ...],
) -> list[int]:
    """Elements of each dimension that are on chip together."""
    steps = {"k": mapping.kt, "c": mapping.ct, "y": mapping.yt, "x": mapping.xt}
    chip = list(sizes)
    for loop, dim in dims.items():
        if loop in steps:
            chip[dim] = min(sizes[dim], steps[loop] * lanes.get(loop, 1))
    return chip


def _levels(
    spread: list[tuple[int, int]],
    chip: list[int],
    pe: list[int],
    orders: tuple[tuple[Dim, ...], tuple[Dim, ...]],
) -> list[Level]:
    """Levels: the first fills the chip, the last one walks the steps of the sequencer.

    Args:
        spread: (dimension, units), outermost first; with fewer than two a level has one unit.
        pe: elements of a PE's tile.
        orders: of tiles and of steps, outermost first.
    """
    padded = [*[(int(Dim.K), 1)] * (2 - len(spread)), *spread]
    levels = []
    tile = list(chip)
    for number, (dim, units) in enumerate(padded):
        last = number == len(padded) - 1
        tile[dim] = ceil_div(tile[dim], units)
        sizes = pe if last else tile
        order = orders[0] if number == 0 else orders[1]
        levels.append(
            Level(parallel=Dim(dim), units=units, order=order, tile=tuple(sizes[d] for d in order))
        )
    return levels


def _whole(dims: list[int]) -> tuple[Dim, ...]:
    """The order with the dimensions that it leaves out innermost: they have one tile there."""
    return tuple(Dim(d) for d in [*dims, *(d for d in range(len(DIMS)) if d not in dims)])


def _notes(problem: Problem, mapping: Mapping) -> tuple[str, ...]:
    found = []
    parts = (mapping.ks, mapping.ys, mapping.xs) != (mapping.kt, mapping.yt, mapping.xt)
    if parts:
        found.append("one EXEC does part of a tile")
    if mapping.snake:
        found.append("tile loops turn around")
    if mapping.trim:
        found.append("padding above and below is skipped")
    if mapping.lead > 1:
        found.append("first and last tile are cut")
    if problem.row:
        found.append("pixels in one row")
    return tuple(found)


def mapping_file(raised: Raised) -> str | NotBridged:
    """The text of the mapping file, or why MAESTRO cannot state the layer."""
    try:
        return raised.mapping_text()
    except InputError as error:
        return NotBridged(str(error), Reason.LAYER)
