"""When things happen: PE windows, port windows, initiation interval, starts of sweeps.

A sweep is one run through the selected loops. All times are cycles relative to its start, and
exact: PE `p` computes loop point `x = T^-1 (p, t)` in cycle `t` if `x` is in range, and nothing
otherwise. Needs a unimodular `T`. Source: docs/design-space.md, "Schedule".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tensorlib.errors import AnalysisError
from tensorlib.links import ArrayShape, Chain, Ints, Links, build_chain, build_links
from tensorlib.reuse import Analysis, TensorReuse, skew_vector

LOAD_LEAD = 2  # cycles from the chain port over the shadow register to the operand register
DRAIN_LAG = 1  # cycles from a PE's last local step plus one to its shadow register


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """First and last cycle of activity per PE or port, relative to the start of the sweep.

    `first[i] > last[i]` where there is none. Consecutive sweeps do not collide if they start
    `longest()` cycles apart.
    """

    first: Ints
    last: Ints

    @property
    def active(self) -> NDArray[np.bool_]:
        """Whether there is any activity."""
        return self.first <= self.last

    def longest(self) -> int:
        """Cycles of the longest span, 0 if nothing is active."""
        return int(np.max(self.last - self.first + 1, initial=0))


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """An elaborated array: its rectangle, and per tensor links or a shift chain.

    Streamed tensors (every kind but `stationary` alone) are in `links`, the others in `chains`.
    """

    analysis: Analysis
    shape: ArrayShape
    links: Mapping[str, Links]
    chains: Mapping[str, Chain]

    def ports(self, tensor: str) -> int:
        """Number of ports of a tensor on this array."""
        if tensor in self.links:
            return len(self.links[tensor].ports)
        return self.shape.pes // self.chains[tensor].length


def build_schedule(
    analysis: Analysis,
    sizes: Mapping[str, int],
    *,
    shape: ArrayShape | None = None,
    chain_axis: Mapping[str, int] | None = None,
) -> Schedule:
    """Array, links, ports and chains for loops of up to `sizes`.

    Args:
        sizes: bounds of the selected loops that the array is built for; smaller ones run on it.
        shape: a rectangle to use instead of the smallest one.
        chain_axis: per stationary tensor the array axis (0, 1) of its chains.
    Raises: `AnalysisError` if `T` is not unimodular, or an element is held and no loop has
        `|u_i| = 1`.
    """
    _require_unimodular(analysis)
    rectangle = shape or ArrayShape.covering(analysis.stt, _bounds(analysis, sizes))
    links, chains = {}, {}
    for name, reuse in analysis.tensors.items():
        if is_streamed(reuse):
            links[name] = build_links(reuse, rectangle)
        else:
            axis = (chain_axis or {}).get(name)
            chains[name] = build_chain(skew(analysis), rectangle, axis)
    return Schedule(analysis, rectangle, links, chains)


def is_streamed(reuse: TensorReuse) -> bool:
    """Whether a tensor passes ports while the sweep runs (not `stationary` alone)."""
    return reuse.kind != "stationary"


def skew(analysis: Analysis) -> tuple[int, int]:
    """`(d1, d2)`: cycles by which a PE's local step 0 comes later per row and per column.

    Local step 0 is the first step of the skew loop (`|u_i| = 1`), at cycle
    `d1 p1 + d2 p2 + skew_offset`. Every step of a PE's window is one of the local steps
    `0 .. N_i - 1`.
    Raises: `AnalysisError` if `T` is not unimodular or no loop has `|u_i| = 1`.
    """
    return skew_vector(analysis.stt, _skew_loop(analysis))


def skew_offset(analysis: Analysis, sizes: Mapping[str, int]) -> int:
    """Cycle of local step 0 of the PE at `p = (0, 0)`; non-zero if the skew loop counts down."""
    loop = _skew_loop(analysis)
    return 0 if analysis.u[loop] > 0 else 1 - _bounds(analysis, sizes)[loop]


def local_steps(analysis: Analysis, sizes: Mapping[str, int]) -> int:
    """Number of local steps of a PE in one sweep: the bound of the skew loop."""
    return _bounds(analysis, sizes)[_skew_loop(analysis)]


def local_start(schedule: Schedule, sizes: Mapping[str, int]) -> Ints:
    """`pes`: cycle of local step 0 of every PE."""
    offset = skew_offset(schedule.analysis, sizes)
    start: Ints = schedule.shape.positions() @ np.array(skew(schedule.analysis)) + offset
    return start


def initiation_interval(analysis: Analysis, sizes: Mapping[str, int]) -> int:
    """Cycles W between starts of consecutive sweeps at which nothing collides.

    The largest of: steps of a PE; uses of a port (an element index moves by `M_t u` per cycle
    within its extent); local steps, if an element is kept in place. Transfers of stationary
    tensors come on top, see `sweep_starts`.
    Raises: `AnalysisError` as `build_schedule`.
    Source: docs/design-space.md, "Initiation interval".
    """
    _require_unimodular(analysis)
    bounds, u = _bounds(analysis, sizes), analysis.u
    needed = [min(_ceil_div(n, abs(a)) for n, a in zip(bounds, u, strict=True) if a)]
    for name, reuse in analysis.tensors.items():
        if reuse.held:
            needed.append(local_steps(analysis, sizes))
            continue
        steps = []
        for row in analysis.op.access(name, analysis.selected):
            moved = abs(sum(a * b for a, b in zip(row, u, strict=True)))
            extent = 1 + sum(abs(a) * (n - 1) for a, n in zip(row, bounds, strict=True))
            steps += [_ceil_div(extent, moved)] if moved else []
        needed.append(min(steps))
    return max(needed)


def pe_windows(schedule: Schedule, sizes: Mapping[str, int]) -> Spans:
    """Cycles in which each PE is enabled: all three indices of `T^-1 (p, t)` in range.

    The window is contiguous; from step to step the indices change by `u`.
    """
    positions = schedule.shape.positions()
    far = np.iinfo(np.int64).max // 4
    first = np.full(len(positions), -far)
    last = np.full(len(positions), far)
    bounds = _bounds(schedule.analysis, sizes)
    for (a1, a2, unit), n in zip(schedule.analysis.stt.inverse, bounds, strict=True):
        base = positions @ np.array([a1, a2])
        if unit == 0:
            last[(base < 0) | (base >= n)] = -far
            continue
        low, high = (-base, n - 1 - base) if unit > 0 else (base - n + 1, base)
        first = np.maximum(first, -(-low // abs(unit)))
        last = np.minimum(last, high // abs(unit))
    empty = first > last
    first[empty], last[empty] = 0, -1
    return Spans(first, last)


def port_spans(schedule: Schedule, sizes: Mapping[str, int], tensor: str) -> Spans:
    """Cycles in which each port of a streamed tensor injects (input) or delivers (output).

    Returns: spans aligned with `schedule.links[tensor].ports`. Within its span a port handles
        element `M_t T^-1 (p, t)` of its own PE `p` in cycle `t`, needed by any PE or not.
    """
    links, windows = schedule.links[tensor], pe_windows(schedule, sizes)
    sign = 1 if schedule.analysis.tensors[tensor].is_output else -1
    far = np.iinfo(np.int64).max // 4
    first = np.full(schedule.shape.pes, far)
    last = np.full(schedule.shape.pes, -far)
    active, moved = windows.active, sign * links.depth
    np.minimum.at(first, links.port[active], (windows.first + moved)[active])
    np.maximum.at(last, links.port[active], (windows.last + moved)[active])
    idle = first > last
    first[idle], last[idle] = 0, -1
    return Spans(first[links.ports], last[links.ports])


def shortest_interval(schedule: Schedule, sizes: Mapping[str, int]) -> int:
    """Smallest distance of sweep starts without collision, by enumeration; at most W.

    Below W where no PE or port reaches its bound.
    """
    windows = pe_windows(schedule, sizes)
    needed = [windows.longest()]
    needed += [port_spans(schedule, sizes, t).longest() for t in schedule.links]
    if schedule.chains:
        local_steps = windows.last - local_start(schedule, sizes) + 1
        needed.append(int(local_steps[windows.active].max()))
    return max(needed)


def sweep_extent(schedule: Schedule, sizes: Mapping[str, int]) -> tuple[int, int]:
    """First and last cycle of one sweep: first injection, last exit (transfers excluded).

    Enumerated over PEs; the extremes need not lie at corners of the loop box.
    """
    windows = pe_windows(schedule, sizes)
    first = int(windows.first[windows.active].min())
    last = int(windows.last[windows.active].max())
    for tensor in schedule.links:
        spans = port_spans(schedule, sizes, tensor)
        first = min(first, int(spans.first[spans.active].min()))
        last = max(last, int(spans.last[spans.active].max()))
    return first, last


def transfer_extent(schedule: Schedule, sizes: Mapping[str, int], tensor: str) -> tuple[int, int]:
    """First and last cycle in which chain ports of a stationary tensor move elements.

    An input is loaded before the sweep, element by element so that the far end comes first; an
    output leaves once its PE's local steps are over. Both take `length` cycles per chain.
    """
    chain = schedule.chains[tensor]
    order, local = chain.order(schedule.shape), local_start(schedule, sizes)
    if not schedule.analysis.tensors[tensor].is_output:
        entrance = local[order[:, 0]]
        return (
            int(entrance.min()) - LOAD_LEAD - chain.length + 1,
            int(entrance.max()) - LOAD_LEAD,
        )
    done = local[order[:, -1]] + local_steps(schedule.analysis, sizes) + DRAIN_LAG
    return int(done.min()), int(done.max()) + chain.length - 1


def sweep_starts(
    schedule: Schedule, interval: int, sweeps: int, transfers: Mapping[str, Sequence[bool]]
) -> list[int]:
    """Start cycles of consecutive sweeps, as early as interval and chains allow.

    Args:
        interval: cycles between starts, `initiation_interval` or more.
        transfers: per stationary tensor and sweep whether it is loaded for, or drained after,
            that sweep.
    """
    starts: list[int] = []
    previous: dict[str, int] = {}
    for sweep in range(sweeps):
        start = starts[-1] + interval if starts else 0
        moving = [t for t in schedule.chains if transfers[t][sweep]]
        for tensor in moving:
            if tensor in previous:
                start = max(start, previous[tensor] + schedule.chains[tensor].length)
        previous.update(dict.fromkeys(moving, start))
        starts.append(start)
    return starts


def _bounds(analysis: Analysis, sizes: Mapping[str, int]) -> tuple[int, int, int]:
    """Bounds of the selected loops in the order of the columns of `T`."""
    missing = [i for i in analysis.selected if sizes.get(i, 0) < 1]
    if missing:
        raise AnalysisError(f"sizes of {missing} must be given and >= 1, got {dict(sizes)}")
    a, b, c = (sizes[i] for i in analysis.selected)
    return a, b, c


def _require_unimodular(analysis: Analysis) -> None:
    stt = analysis.stt
    if not stt.unimodular:
        raise AnalysisError(f"a schedule needs det(T) = 1 or -1, got {stt.rows}, det {stt.det}")


def _skew_loop(analysis: Analysis) -> int:
    _require_unimodular(analysis)
    if analysis.skew_loop is None:
        raise AnalysisError(
            f"{analysis.stt.rows} has no skew: T^-1 e_t needs an entry 1 or -1, got {analysis.u}"
        )
    return analysis.skew_loop


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)
