"""The levels that MAESTRO builds from a mapping: completed directives and static sizes.

Quirks are kept on purpose: this is what the binary computes, not what it should. Source:
maestro-project/maestro commit 4eb08d1, DFA_cluster-analysis, DFA_cluster-unit and the size tables
of CA_reuse-analysis.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dcp_hw.maestro.compat_reasons import Crash, Reason
from dcp_hw.maestro.layer import INT_MAX, OVERLAP, MaestroLayer, Tensors
from dcp_hw.maestro.mapping import Directive, Mapping

MAX_LEVELS = 4
"""MAESTRO makes four models of its network, one per level."""

_PRIMES = {"X'": "X", "Y'": "Y"}


def idiv(a: int, b: int) -> int:
    """Quotient rounded toward zero, as in C."""
    return a // b if (a < 0) == (b < 0) else -(-a // b)


@dataclass(slots=True)
class Entry:
    """A directive of a level while it is completed; stride and renaming change it."""

    spatial: bool
    dim: str
    size: int
    offset: int


@dataclass(slots=True)
class ClusterLevel:
    """One level of the machine.

    Attributes:
        units: units of this level under one unit of the level above.
        edge_units: how many of them MAESTRO takes to work in a spatial edge.
        entries: the complete directives, outermost loop first.
        dims: size of each dimension that the level is built for.
        mapped, unique: elements of a full tile, and those that the tile before does not hold.
        mapped_edge, unique_edge: the same of the last tile. Y' and X' are output extents.
    """

    units: int
    entries: list[Entry]
    dims: dict[str, int]
    edge_units: int = 1
    mapped: dict[str, int] = field(default_factory=dict)
    unique: dict[str, int] = field(default_factory=dict)
    mapped_edge: dict[str, int] = field(default_factory=dict)
    unique_edge: dict[str, int] = field(default_factory=dict)

    @property
    def first_spatial(self) -> Entry:
        """The SpatialMap that governs recursion: the first in list order."""
        return next(entry for entry in self.entries if entry.spatial)

    def find(self, dim: str) -> Entry:
        """The first directive of a dimension."""
        return next(entry for entry in self.entries if entry.dim == dim)


def build_levels(
    layer: MaestroLayer, mapping: Mapping, tensors: Tensors, pes: int
) -> list[ClusterLevel]:
    """All levels, outermost first.

    Raises: Crash where the binary would end without a result, or where its result depends on
        memory that it never wrote.
    """
    if len(mapping.levels) > MAX_LEVELS:
        raise Crash(Reason.LEVELS, a=len(mapping.levels))
    _check_filters(layer, mapping)
    for dim in (*tensors.operands, *tensors.output):
        if dim not in layer.size and f"{dim}'" not in layer.size:
            raise Crash(Reason.MISSING, dim=dim)
    dims, strides = _layer_dims(layer)
    whole = dims
    top = 1
    for size in mapping.clusters:
        top *= size if top <= INT_MAX else 1
    if top > pes:
        raise Crash(Reason.OVERSUBSCRIBED, a=top, b=pes)
    levels: list[ClusterLevel] = []
    above: list[Entry] = []
    for i, given in enumerate(mapping.levels):
        entries = _complete(given, above, dims, strides, whole, tensors, is_top=i == 0)
        units = pes // top if i == 0 else mapping.clusters[i - 1]
        level = ClusterLevel(units, entries, dims)
        _spatial_edge(level)
        levels.append(level)
        _static_sizes(level, layer.type.is_convolution)
        dims = {dim: min(level.find(dim).size, dims[dim]) for dim in tensors.operands}
        above = entries
    return levels


def _check_filters(layer: MaestroLayer, mapping: Mapping) -> None:
    """Refuse temporal maps of R and S that are not whole, as the parser of the binary does."""
    size = layer.size
    for level in mapping.levels:
        for directive in level:
            if directive.spatial or directive.dim not in ("R", "S"):
                continue
            if directive.size != directive.offset:
                raise Crash(
                    Reason.FILTER_OFFSET, dim=directive.dim, a=directive.size, b=directive.offset
                )
            whole = size.get(directive.dim, directive.size)
            if whole != directive.size:
                raise Crash(Reason.FILTER_SIZE, dim=directive.dim, a=directive.size, b=whole)


def _layer_dims(layer: MaestroLayer) -> tuple[dict[str, int], dict[str, int]]:
    """Sizes of the top level with inputs and outputs of both axes, and strides of the inputs."""
    dims, stride = layer.size, layer.stride
    if not layer.type.is_convolution:
        return dims, {}
    strides = {}
    primed = [f"{axis}'" in dims for axis in OVERLAP]
    if any(primed) and not all(primed):
        raise Crash(Reason.OUTPUTS)
    for axis, taps in OVERLAP.items():
        if f"{axis}'" in dims:
            dims[axis] = dims[f"{axis}'"] + dims[taps] - 1
            other = "X'" if axis == "Y" else "Y'"  # MAESTRO swaps them
            strides[axis] = stride.get(other, 1)
        else:
            dims[f"{axis}'"] = dims[axis] - dims[taps] + 1
            strides[axis] = stride.get(axis, 1)
    return dims, strides


def _complete(
    given: tuple[Directive, ...],
    above: list[Entry],
    dims: dict[str, int],
    strides: dict[str, int],
    whole: dict[str, int],
    tensors: Tensors,
    *,
    is_top: bool,
) -> list[Entry]:
    """Directives of one level: in input coordinates, inherited, unrolled, strided."""
    entries = [Entry(x.spatial, x.dim, x.size, x.offset) for x in given]
    present = {entry.dim for entry in entries}
    for prime, axis in _PRIMES.items():
        if prime in present and axis not in present:
            _to_input(entries, prime)
    present = {entry.dim for entry in entries}
    for entry in above:
        if entry.dim not in present:
            present.add(entry.dim)
            entries.insert(0, Entry(False, entry.dim, entry.size, entry.offset))
    for dim in tensors.operands:
        if dim not in present:
            entries.append(Entry(False, dim, dims[dim], dims[dim]))
    for entry in entries:
        if entry.dim not in dims:
            raise Crash(Reason.NOT_FOUND, dim=entry.dim)
    for entry in entries:
        stride = strides.get(entry.dim, 1)
        if stride != 1:
            first = next(x for x in entries if x.dim == entry.dim)
            _apply_stride(first, entry.size, stride, whole[OVERLAP[entry.dim]], is_top=is_top)
    for prime in _PRIMES:  # left where the level also maps the input axis
        while any(entry.dim == prime for entry in entries):
            _to_input(entries, prime)
    spatial = sum(entry.spatial for entry in entries)
    if not 1 <= spatial <= 2:
        raise Crash(Reason.SPATIALS, a=spatial)
    return entries


def _to_input(entries: list[Entry], prime: str) -> None:
    """Rename the first map of output axis `prime` to its input axis, enlarged by the filter."""
    axis = _PRIMES[prime]
    taps = [entry.size for entry in entries if entry.dim == OVERLAP[axis]]
    if not taps:
        raise Crash(Reason.NO_FILTER, dim=prime)
    entry = next(entry for entry in entries if entry.dim == prime)
    entry.dim = axis
    entry.size += taps[-1] - 1


def _apply_stride(entry: Entry, size: int, stride: int, taps: int, *, is_top: bool) -> None:
    """Turn a map of an input axis into whole strides of output."""
    if size < taps:
        return
    outputs = (size + stride - taps) // stride
    entry.size = outputs * min(stride, taps) + max(taps - stride, 0)
    entry.offset = outputs * (taps if not is_top and taps < stride else stride)


def _spatial_edge(level: ClusterLevel) -> None:
    """Set the number of units at work in a spatial edge; a partial tile may be forgotten."""
    entry, n = level.first_spatial, level.units
    size, offset, whole = entry.size, entry.offset, level.dims[entry.dim]
    if whole + offset * n + size > INT_MAX:
        raise Crash(Reason.SPAN, dim=entry.dim)
    if whole > offset * (n - 1) + size:
        folds = idiv(idiv(whole - size, offset) + 1, n) - 1
        rest = whole - (folds + 1) * offset * n
        level.edge_units = 1 if rest < size else idiv(rest - size, offset) + 1
    elif whole > size:
        units = idiv(whole - size, offset) + 1
        level.edge_units = units + (offset * (units - 1) + size < whole)
    if whole <= size:
        level.edge_units = 1


def _static_sizes(level: ClusterLevel, is_convolution: bool) -> None:
    """Fill in the size tables, from the sizes that the level was built for."""
    for entry in level.entries:
        size, offset, whole = entry.size, entry.offset, level.dims[entry.dim]
        steps = max(idiv(whole - size, offset), 0)
        has_edge = steps * offset + size < whole or size > whole
        edge = whole - (steps + 1) * offset
        edge = whole if edge < 0 else edge
        level.mapped[entry.dim] = size
        level.unique[entry.dim] = 0 if not entry.spatial and whole <= size else min(size, offset)
        level.mapped_edge[entry.dim] = edge if has_edge else size
        level.unique_edge[entry.dim] = max(offset - (size - edge), 0)
    if not is_convolution:
        return
    for entry in level.entries:
        if entry.dim in OVERLAP:
            prime, taps = f"{entry.dim}'", OVERLAP[entry.dim]
            level.mapped[prime] = level.mapped[entry.dim] - level.mapped[taps] + 1
            level.unique[prime] = min(entry.offset, entry.size)
            edge = level.mapped_edge[entry.dim] - level.mapped_edge[taps] + 1
            level.mapped_edge[prime] = edge
            level.unique_edge[prime] = min(entry.offset, edge)
