"""Traffic and work of one iteration case of a level, as MAESTRO counts them.

Source: maestro-project/maestro commit 4eb08d1, DFA_iteration-analysis and CA_reuse-analysis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from math import prod

from dcp_hw.maestro.compat_levels import ClusterLevel, Entry, idiv
from dcp_hw.maestro.compat_reasons import Crash, Reason
from dcp_hw.maestro.layer import OVERLAP, Tensors

_Volume = Callable[[tuple[str, ...], bool, bool], int]


class Position(IntEnum):
    """Where in its loop a dimension stands."""

    INIT = 0
    STEADY = 1
    EDGE = 2


@dataclass(frozen=True, slots=True)
class State:
    """A group of alike iterations of one loop.

    Attributes:
        count: iterations in the group.
        unrolled: the first iteration covers everything.
        edge: the iteration ends in a part of a tile (or of a fold of units).
        partial: the last active unit has a partial tile.
    """

    position: Position
    count: int = 1
    unrolled: bool = False
    edge: bool = False
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """One state of every loop, and how often they meet."""

    occurrences: int
    states: dict[str, State]

    @property
    def all_init(self) -> bool:
        """Whether every loop stands at its first iteration."""
        return all(state.position is Position.INIT for state in self.states.values())


def cases(level: ClusterLevel, dims: dict[str, int]) -> Iterator[Case]:
    """All cases of a level on the sizes it received, in MAESTRO's order.

    Raises: Crash for a number of iterations that overflows MAESTRO's 32-bit counter.
    """
    table = [
        _spatial_states(entry, dims[entry.dim], level.units)
        if entry.spatial
        else _temporal_states(entry, dims[entry.dim])
        for entry in level.entries
    ]
    total = prod(len(states) for states in table)
    for number in range(total):
        chosen, inner = [], total
        for states in table:
            inner //= len(states)
            chosen.append(states[-(-number // inner) % len(states)])
        occurrences = (prod(state.count for state in chosen) + (1 << 31)) % (1 << 32) - (1 << 31)
        by_dim = {entry.dim: state for entry, state in zip(level.entries, chosen, strict=True)}
        yield Case(occurrences, by_dim)


def _temporal_states(entry: Entry, whole: int) -> list[State]:
    size, offset = entry.size, entry.offset
    states = [State(Position.INIT, 1, whole <= size, whole < size)]
    steps = idiv(whole - size, offset)
    if size < whole and steps > 0:
        states.append(State(Position.STEADY, steps))
    if whole >= size and steps * offset + size < whole:
        states.append(State(Position.EDGE, 1, edge=True))
    return states


def _spatial_states(entry: Entry, whole: int, units: int) -> list[State]:
    size, offset = entry.size, entry.offset
    span, fold = size + offset * (units - 1), offset * units
    states = [State(Position.INIT, 1, whole <= span, whole < span, whole < span)]
    folds = idiv(idiv(whole - size, offset) + 1, units) - 1
    if span < whole and folds > 0:
        states.append(State(Position.STEADY, folds))
    if whole > span and (folds + 1) * fold + span > whole and folds * fold + span != whole:
        rest = whole - (folds + 1) * fold
        active = 1 if rest < size else idiv(rest - size, offset) + 1
        partial = (active - 1) * offset + size < rest
        states.append(State(Position.EDGE, 1, edge=True, partial=partial))
    return states


class Volumes:
    """Elements moved and MACs done in one case of a level."""

    def __init__(self, level: ClusterLevel, tensors: Tensors, case: Case) -> None:
        self.level, self.tensors, self.states = level, tensors, case.states
        self.moving = -1  # innermost loop that is past its first iteration
        for i, entry in enumerate(level.entries):
            if case.states[entry.dim].position is not Position.INIT:
                self.moving = i

    # ------------------------------------------------------------ inputs, filters

    def ingress(self, dims: tuple[str, ...]) -> int:
        """Elements of an operand that enter the level, one copy of what units share."""
        return self._over_units(dims, self._loaded)

    def _loaded(self, dims: tuple[str, ...], first: bool, partial: bool) -> int:
        """Elements of an operand that one unit takes.

        Args:
            first: the first unit, which shares nothing with a unit before it.
            partial: the unit with the partial tile.
        """
        level = self.level
        if self.moving < 0:
            return self._held(dims, first, partial)
        fresh = any(
            entry.dim in dims
            and self.states[entry.dim].position is Position.INIT
            and not self.states[entry.dim].unrolled
            for entry in level.entries[self.moving + 1 :]
        )
        mapped = level.mapped_edge if partial else level.mapped
        unique = level.unique_edge if partial else level.unique
        total = 1
        for i, entry in enumerate(level.entries):
            if entry.dim not in dims:
                continue
            dim, state = entry.dim, self.states[entry.dim]
            advances = i == self.moving and not fresh
            if not entry.spatial:
                if state.position is Position.INIT:
                    total *= (level.mapped_edge if state.edge else level.mapped)[dim]
                elif not advances:
                    total *= level.mapped[dim]
                elif level.unique[dim] == 0:
                    raise Crash(Reason.NOTHING_NEW, dim=dim)
                else:
                    total *= level.unique[dim]
            elif state.position is Position.INIT:
                total *= (mapped if first or i <= self.moving else unique)[dim]
            else:
                total *= (unique if not first and advances else mapped)[dim]
        return total if level.entries[self.moving].dim in dims else 0

    def _held(self, dims: tuple[str, ...], first: bool, partial: bool) -> int:
        """Elements of an operand that one unit holds."""
        level, total = self.level, 1
        for entry in level.entries:
            if entry.dim not in dims:
                continue
            edge = self.states[entry.dim].edge
            if entry.spatial and edge:
                if level.edge_units > 1:
                    edge = partial
                elif not (first or partial):
                    continue
            total *= (level.mapped_edge if edge else level.mapped)[entry.dim]
        return total

    # --------------------------------------------------------------------- output

    def egress(self) -> int:
        """Output elements that leave the level."""

        def volume(_: tuple[str, ...], first: bool, partial: bool) -> int:
            return self._produced(False, first, partial)

        return self._over_units(self.tensors.output, volume)

    def critical_macs(self) -> int:
        """MACs of the unit that MAESTRO takes for the slowest."""
        _, edge, partial = self._spatial_state(self.tensors.output)
        return self._produced(True, True, edge and partial and self.level.edge_units == 1)

    def macs(self) -> int:
        """MACs of all units together."""
        _, edge, partial = self._spatial_state(self.tensors.output, self.level.entries)
        if not edge:
            return self.level.units * self._produced(True, True, False)
        active = self.level.edge_units
        total = self._produced(True, True, partial and active == 1)
        if active > 1:
            total += max(active - partial - 1, 0) * self._produced(True, True, False)
            if partial:
                total += self._produced(True, False, True, reuse=False)
        return total

    def _produced(self, macs: bool, first: bool, partial: bool, *, reuse: bool = True) -> int:
        """Output elements of one unit, or its MACs."""
        level, total = self.level, 1
        output = self.tensors.output
        if macs:
            for entry in level.entries:
                if entry.dim not in output:
                    dim = entry.dim
                    total *= self._extent(entry, dim, first, partial, is_output=False, reuse=reuse)
        for dim in output:
            entry = level.find(dim)
            name = f"{dim}'" if dim in OVERLAP else dim
            total *= self._extent(entry, name, first, partial, is_output=True, reuse=reuse)
        return total

    def _extent(
        self, entry: Entry, name: str, first: bool, partial: bool, *, is_output: bool, reuse: bool
    ) -> int:
        """Factor of one dimension in what a unit produces, looked up under `name`."""
        level, state = self.level, self.states[entry.dim]
        if not entry.spatial:
            return (level.mapped_edge if state.edge else level.mapped)[name]
        plain = level.mapped[name] if first else level.unique[name] or 1
        if state.position is Position.INIT and state.edge and partial:
            if level.edge_units > 1 and is_output and reuse:
                return level.unique_edge[name]
            return level.mapped_edge[name]
        if state.position is Position.EDGE:
            if level.edge_units == 1:  # input extent even for an output
                return level.mapped_edge[entry.dim] if first or partial else 1
            return level.unique_edge[name] if partial else plain
        return plain

    # --------------------------------------------------------------------- shared

    def _spatial_state(
        self, dims: tuple[str, ...], more: Iterable[Entry] = ()
    ) -> tuple[bool, bool, bool]:
        """Whether one of `dims` is spatial, one stands at an edge, and the last is partial."""
        spatial = edge = partial = False
        for entry in (*(self.level.find(dim) for dim in dims), *more):
            if entry.spatial:
                state = self.states[entry.dim]
                spatial, partial = True, state.partial
                edge = edge or state.edge
        return spatial, edge, partial

    def _over_units(self, dims: tuple[str, ...], volume: _Volume) -> int:
        """Sum of a unit's volume over the units of the level, shared elements once."""
        spatial, edge, partial = self._spatial_state(dims)
        if not spatial:
            return volume(dims, True, False)
        if not edge:
            rest = self.level.units - 1
            return volume(dims, True, False) + rest * volume(dims, False, False)
        active = self.level.edge_units
        total = volume(dims, True, partial and active == 1)
        if active > 1:
            total += max(active - partial - 1, 0) * volume(dims, False, False)
            if partial:
                total += volume(dims, False, True)
        return total

    def handed_down(self, partial: bool) -> dict[str, int]:
        """Sizes that a unit hands to the next level; static, whatever this level received."""
        level, sizes = self.level, {}
        for entry in level.entries:
            edge = self.states[entry.dim].edge
            if entry.spatial and edge:
                edge = level.edge_units == 1 or partial
            table = level.mapped_edge if edge else level.mapped
            sizes.setdefault(entry.dim, table[entry.dim])
        return sizes
