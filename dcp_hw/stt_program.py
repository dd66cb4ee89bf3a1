"""Programs for the array of any transformation: GEMM, batched GEMM and convolutions of any size.

    layer, design -> tile of the selected loops -> placement -> LOAD, EXEC, STORE

Both operands are packed beforehand, port by port and step by step; sums leave as they lie in the
output banks, int32, and are put in place afterwards. A sweep runs one tile of the three selected
loops, an EXEC as many sweeps as its loops and the banks hold; tiles that are cut short have
smaller limits. This is how arrays are studied that the search leaves out (docs/design-space.md,
"Windows"); layers of a network run by `dcp_hw.lowering`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from dcp_hw.lowering import program_text
from dcp_hw.metrics import Infeasible
from dcp_hw.problem import ceil_div
from dcp_hw.stt_builder import MAX_LIMIT, Builder
from dcp_hw.stt_layer import Nest, nest_of
from dcp_hw.stt_loops import TooLarge
from dcp_hw.stt_placement import Ints, Unplaceable, fits, matrix_of, place
from dcp_hw.workload import Layer
from sim.layer_data import LayerData
from tensorlib.design import Design
from tensorlib.program import Command
from tensorlib.stt import Stt, Triple

_TRIED = 6
"""Tiles of either estimate that are laid out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SttProgram:
    """A layer on the array of a transformation.

    Attributes:
        tile: sizes of the selected loops in one sweep; `window`: steps of a sweep.
        packed: int64 per operand: for every byte of its area the element's place in the layer's
            tensor, -1 for 0.
        unpacked: int64 per int32 word of the output area: its place in the output, -1 for a word
            that no output is in, which is 0.
    """

    design: Design
    layer: Layer
    tile: Triple
    window: int
    commands: tuple[Command, ...]
    packed: tuple[Ints, Ints]
    unpacked: Ints

    @property
    def int32(self) -> bool:
        """Sums leave as they are."""
        return True

    def to_json(self) -> str:
        """The text of program.json: one command a line."""
        head = {
            "layer": self.layer.name,
            "design": self.design.hash(),
            "tile": list(self.tile),
            "window": self.window,
        }
        return program_text(head, self.commands)

    def image(self, data: LayerData) -> NDArray[np.uint8]:
        """The memory before the program: both operands packed, zeros for the output."""
        parts = [np.zeros(4 * len(self.unpacked), dtype=np.int8)]
        for operand, places in zip((data.x, data.w), self.packed, strict=True):
            flat = np.append(operand.reshape(-1), np.int8(0))  # -1: the zero
            parts.insert(-1, flat[places])
        return np.concatenate(parts).view(np.uint8)

    def sums(self, memory: NDArray[np.uint8]) -> NDArray[np.int32]:
        """The output area of the memory, as int32 words."""
        return memory[len(memory) - 4 * len(self.unpacked) :].view("<i4")

    def results(
        self, memory: NDArray[np.uint8], data: LayerData
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """All words of the output area, and what they must be: outputs in their places, else 0."""
        return self.sums(memory), np.append(data.acc.reshape(-1), np.int32(0))[self.unpacked]

    def output(self, memory: NDArray[np.uint8]) -> NDArray[np.int32]:
        """The layer's output `layer.output_shape`, taken from where the program left it."""
        found = np.zeros(prod(self.layer.output_shape), dtype=np.int32)
        there = self.unpacked >= 0
        found[self.unpacked[there]] = self.sums(memory)[there]
        return found.reshape(self.layer.output_shape)


def stt_program(
    layer: Layer, design: Design, *, tile: Triple | None = None
) -> SttProgram | Infeasible:
    """The program of a layer on the array of a transformation.

    Args:
        design: of `tensorlib.from_stt`, with the operator of this kind of layer.
        tile: sizes of the selected loops in one sweep; by default those with the fewest steps
            among some that fit.
    """
    nest = nest_of(layer)
    try:
        stt, loops = matrix_of(design)
        if missing := [loop for loop in loops if loop not in nest.op.iterators]:
            return Infeasible(f"{nest.op.name} has no loops {', '.join(missing)}")
        sizes = [nest.sizes[loop] for loop in loops]
        if tile is not None and any(not 1 <= n <= m for n, m in zip(tile, sizes, strict=True)):
            return Infeasible(f"tile {tile} must be 1 to {tuple(sizes)}")
        found = _best(design, nest, [[tile]] if tile else _tiles(design, stt, sizes))
        if isinstance(found, Infeasible):
            return found
        parts = found.build()
    except Unplaceable as error:
        return Infeasible(str(error))
    return SttProgram(
        design=design,
        layer=layer,
        tile=found.placed.tile,
        window=found.steps,
        commands=parts.commands,
        packed=parts.packed,
        unpacked=parts.unpacked,
    )


def _best(design: Design, nest: Nest, choices: Iterable[Sequence[Triple]]) -> Builder | Infeasible:
    """The tile with the fewest steps among the first choices of which one fits."""
    reason = "no tile fits the array"
    for tiles in choices:
        best: Builder | None = None
        for tile in tiles:
            try:
                made = Builder(design, nest, place(design, nest.op, tile))
            except TooLarge as error:
                reason = str(error)
                continue
            if best is None or made.exec_steps < best.exec_steps:
                best = made
        if best is not None:
            return best
    return Infeasible(reason)


def _tiles(design: Design, stt: Stt, sizes: list[int]) -> list[list[Triple]]:
    """Tiles that lie on the array: first those that promise few steps, then ever smaller ones."""
    in_time = [not (stt.rows[0][n] or stt.rows[1][n]) for n in range(3)]
    most = max(design.rows, design.cols)
    ranges: list[Sequence[int]] = []
    for size, alone in zip(sizes, in_time, strict=True):
        whole = min(size, MAX_LIMIT if alone else most)
        powers = {1 << b for b in range(whole.bit_length()) if 1 << b <= whole}
        ranges.append(sorted({whole, *powers}) if alone else range(1, whole + 1))
    time = next(n for n in range(3) if stt.u[n])
    found = [tile for tile in itertools.product(*ranges) if fits(design, stt, tile)]

    def steps(tile: Triple, wires: int) -> int:
        sweeps = prod(ceil_div(size, n) for size, n in zip(sizes, tile, strict=True))
        return sweeps * (tile[time] + wires)

    long_wires = sorted(found, key=lambda t: (steps(t, design.rows + design.cols), t))
    no_wires = sorted(found, key=lambda t: (steps(t, 0), t))
    first = [*dict.fromkeys([*long_wires[:_TRIED], *no_wires[:_TRIED]])]
    smaller = sorted(found, key=prod, reverse=True)
    return [first, *([tile] for tile in smaller[:: max(1, len(smaller) // _TRIED)]), [(1, 1, 1)]]
