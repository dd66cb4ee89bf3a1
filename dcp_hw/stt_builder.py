"""Sweeps of a tile laid into EXECs, and EXECs into a program, with what its LOADs carry."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod

import numpy as np

from dcp_hw.problem import ceil_div
from dcp_hw.stt_banks import MAX_COORDINATE, Filter
from dcp_hw.stt_layer import Nest
from dcp_hw.stt_loops import Area, Loop, Parts, TooLarge
from dcp_hw.stt_placement import Ints, Placement, Stream, Unplaceable, matrix_of
from tensorlib.design import ROW_BYTES, Design, Operand
from tensorlib.program import (
    LOOPS,
    Command,
    Config,
    End,
    Exec,
    Lane,
    Lanes,
    Load,
    Store,
)

LANES = 16
MAX_BOUND = 4095  # of a STORE's loop
MAX_LIMIT = 511
RUN_DISTANCE = 3


class Builder:
    """Lays sweeps into EXECs and EXECs into a program."""

    def __init__(self, design: Design, nest: Nest, placed: Placement) -> None:
        self.design, self.nest, self.placed = design, nest, placed
        stt, self.loops = matrix_of(design)
        self.time = next((n for n in range(3) if stt.u[n]), 0)
        self.down = stt.u[self.time] < 0
        every = [self._loop(iterator) for iterator in nest.op.iterators]
        self.steps = self._steps(every)
        self.inner: list[Loop] = []
        self.outer: list[Loop] = []
        self._check_room()
        for loop in sorted((x for x in every if x.count > 1), key=lambda x: not x.reduces):
            (self.inner if self._holds(loop) else self.outer).append(loop)
        self.outer.sort(key=lambda x: x.reduces)  # reductions are the inner ones
        self.areas = (Area(), Area())
        self.filters = [Filter(operand) for _, operand in design.operands]

    @property
    def exec_steps(self) -> int:
        """Steps of all sweeps: cycles in which PEs may work."""
        return self.steps * prod(x.count for x in (*self.inner, *self.outer))

    def _loop(self, iterator: str) -> Loop:
        op = self.nest.op
        at = self.loops.index(iterator) if iterator in self.loops else None
        column = op.column(iterator)
        uses = [any(row[column] for row in op.tensors[t]) for t in op.tensor_names]
        return Loop(
            iterator=iterator,
            step=1 if at is None else self.placed.tile[at],
            size=self.nest.sizes[iterator],
            selected=at,
            operands=(uses[0], uses[1]),
            reduces=not uses[2],
        )

    def _steps(self, every: list[Loop]) -> int:
        """Steps from one sweep to the next; a word is used every third at most."""
        if self.design.window is None or self.placed.held:
            return self.placed.steps
        again = any(x.reduces and x.count > 1 for x in every)
        return max(self.placed.steps, RUN_DISTANCE) if again else self.placed.steps

    # --- what one EXEC holds --------------------------------------------------------------

    def _table(self, stream: Stream, operand: Operand) -> int:
        """Bytes of one sweep in each bank."""
        return stream.bytes if operand.chains else self.steps * stream.slots

    def _words(self) -> int:
        """Words of one sweep in each output bank."""
        whole = self.placed.held or self.design.output.chains
        return self.placed.words if whole else self.steps

    def _room(self, tensor: int, loops: list[Loop]) -> bool:
        operand = self.design.operands[tensor][1]
        sweeps = prod(x.count for x in loops if x.operands[tensor])
        size = sweeps * self._table(self.placed.streams[tensor], operand)
        return ceil_div(size, ROW_BYTES) <= min(operand.rows, MAX_COORDINATE)

    def _check_room(self) -> None:
        """Raises: `TooLarge` if the banks do not hold even one sweep."""
        for n, name in enumerate(("input", "weight")):
            if not self._room(n, []):
                raise TooLarge(f"{name} banks do not hold the elements of a sweep")
        if self._words() > self.design.output.words:
            raise TooLarge("output banks do not hold the sums of a sweep")
        if max(self.placed.tile) > MAX_LIMIT:
            raise TooLarge(f"tile {self.placed.tile} exceeds the limits of an EXEC")

    def _holds(self, loop: Loop) -> bool:
        """Whether an EXEC has room for one more loop."""
        loops = [*self.inner, loop]
        if len(loops) > LOOPS - 1 or not all(self._room(n, loops) for n in (0, 1)):
            return False
        if loop.reduces:
            least = self.steps
            if self.design.window is None:
                size = self.nest.sizes[self.loops[self.time]]
                least = min(least, size % least or least)
            return self.placed.held or least >= RUN_DISTANCE
        words = self._words() * prod(x.count for x in loops if not x.reduces)
        return words <= self.design.output.words

    # --- commands ---------------------------------------------------------------------------

    def build(self) -> Parts:
        """The whole program.

        Raises: `Unplaceable` if an output leaves at several places.
        """
        blocks = list(self._blocks())
        commands: list[Command] = [self._config(), self._lanes()]
        parts: list[Ints] = []
        stores: list[int] = []  # positions of STOREs, whose bursts follow the packed operands
        loaded = [(), ()]
        buffer = [1, 1]
        output = 0
        for n, block in enumerate(blocks):
            keys = [self._key(t, block) for t in (0, 1)]
            for t in (0, 1):
                if n == 0 or keys[t] != loaded[t]:
                    buffer[t] = 1 - buffer[t]
                    commands.append(self._load(t, keys[t], block, buffer[t]))
                    loaded[t] = keys[t]
            after = blocks[n + 1] if n + 1 < len(blocks) else None
            release = [after is None or self._key(t, after) != keys[t] for t in (0, 1)]
            done = after is None or self._outputs(after) != self._outputs(block)
            commands += self._execs(block, (buffer[0], buffer[1], output), release, done)
            if done:
                made, places = self._stores(block, output)
                stores += range(len(commands), len(commands) + len(made))
                commands += made
                parts += places
                output = 1 - output
        return self._finished(commands, stores, parts)

    def _finished(self, commands: list[Command], stores: list[int], parts: list[Ints]) -> Parts:
        """Addresses: input, weight, output."""
        packed = [np.concatenate(area.places) for area in self.areas]
        at = sum(len(places) for places in packed)
        for n, places in zip(stores, parts, strict=True):
            store = commands[n]
            assert isinstance(store, Store)
            commands[n] = _with_burst(store, at, 4 * len(places))
            at += 4 * len(places)
        weight = len(packed[0])
        for n, command in enumerate(commands):
            if isinstance(command, Load) and command.tensor == "weight":
                ((start, size),) = command.bursts
                commands[n] = _with_burst(command, start + weight, size)
        unpacked = np.concatenate(parts)
        there = unpacked[unpacked >= 0]
        outputs = prod(self.nest.shapes[self.nest.op.output])
        if not np.array_equal(np.sort(there), np.arange(outputs)):
            raise Unplaceable("outputs of this operator leave at several places of the array")
        return Parts((*commands, End()), (packed[0], packed[1]), unpacked)

    def _blocks(self) -> Iterator[dict[str, tuple[int, int]]]:
        """Per block the first index and the indices of a turn of every loop outside the EXECs."""
        turns = [
            [
                (x.iterator, (turn * x.step, length))
                for first, count, length in x.parts()
                for turn in range(first, first + count)
            ]
            for x in self.outer
        ]
        for chosen in itertools.product(*turns):
            yield dict(chosen)

    def _key(self, tensor: int, block: Mapping[str, tuple[int, int]]) -> tuple[int, ...]:
        """Names what the banks of an operand hold."""
        return tuple(block[x.iterator][0] for x in self.outer if x.operands[tensor])

    def _outputs(self, block: Mapping[str, tuple[int, int]]) -> tuple[int, ...]:
        return tuple(block[x.iterator][0] for x in self.outer if not x.reduces)

    def _strides(self, unit: int, sweep: int, moves: list[bool]) -> tuple[int, ...]:
        """`unit` per step of a sweep; sweeps of `sweep`, one after the other, along some loops."""
        strides, size = [unit], sweep
        for loop, moving in zip(self.inner, moves, strict=True):
            strides.append(size if moving else 0)
            size *= loop.count if moving else 1
        return (*strides, *[0] * (LOOPS - len(strides)))

    def _all_strides(self) -> list[tuple[int, ...]]:
        """Of input, weight (bytes) and output (words)."""
        strides = []
        for n, (_, operand) in enumerate(self.design.operands):
            stream = self.placed.streams[n]
            unit = 0 if operand.chains else stream.slots
            moves = [x.operands[n] for x in self.inner]
            strides.append(self._strides(unit, self._table(stream, operand), moves))
        still = self.placed.held or bool(self.design.output.chains)
        moves = [not x.reduces for x in self.inner]
        return [*strides, self._strides(0 if still else 1, self._words(), moves)]

    def _config(self) -> Config:
        strides = self._all_strides()
        reductions = [n + 1 for n, x in enumerate(self.inner) if x.reduces]
        run = 1 + len(reductions) if self.placed.held else 0
        held = self.design.chain_tensor
        slots = [stream.slots for stream in self.placed.streams]
        return Config(
            input_load=self.filters[0].shape(),
            weight_load=self.filters[1].shape(),
            input_strides=strides[0],
            weight_strides=strides[1],
            output_strides=strides[2],
            run_depth=run,
            reduction_mask=sum(1 << n for n in reductions),
            sweep_depth=0 if held is None else run if held == "output" else 1,
            sweep_min=self.design.sweep_min,
            input_fill_stride=slots[0] if held == "input" else 0,
            weight_fill_stride=slots[1] if held == "weight" else 0,
            drain_stride=1 if held == "output" else 0,
        )

    def _lanes(self) -> Lanes:
        rows = self.design.rows
        entries = []
        for n, digits in enumerate(self.placed.digits.tolist()):
            axis, at = (0, n) if n < rows else (1, n - rows)
            places = [f.low(axis, at) for f in self.filters]
            entries.append(
                Lane(
                    input_a=places[0][0], input_b=places[0][1],
                    weight_a=places[1][0], weight_b=places[1][1],
                    digits=(digits[0], digits[1], digits[2], 0),
                )
            )  # fmt: skip
        return Lanes(axis1=tuple(entries[:rows]), axis2=tuple(entries[rows:]))

    def _load(
        self, tensor: int, key: tuple[int, ...], block: Mapping[str, tuple[int, int]], buffer: int
    ) -> Load:
        """A LOAD of what the banks hold, packed anew or as packed before."""
        area, filt = self.areas[tensor], self.filters[tensor]
        rows = self._rows(tensor)
        size = filt.na * filt.nb * rows * ROW_BYTES
        if key not in area.begins:
            area.begins[key] = area.size
            area.size += size
            area.places.append(filt.arrange(self._packed(tensor, block, rows)))
        return Load(
            tensor=("input", "weight")[tensor], buffer=buffer, na=filt.na, nb=filt.nb, nc=rows,
            b_hi=filt.nb, c_hi=rows, bursts=((area.begins[key], size),),
        )  # fmt: skip

    def _rows(self, tensor: int) -> int:
        operand = self.design.operands[tensor][1]
        sweeps = prod(x.count for x in self.inner if x.operands[tensor])
        return ceil_div(sweeps * self._table(self.placed.streams[tensor], operand), ROW_BYTES)

    def _packed(self, tensor: int, block: Mapping[str, tuple[int, int]], rows: int) -> Ints:
        """`banks x bytes`: places in the operand, -1 for zeros."""
        stream, operand = self.placed.streams[tensor], self.design.operands[tensor][1]
        name = self.nest.op.inputs[tensor]
        matrix = np.array(self.nest.op.tensors[name])
        turns = [x for x in self.inner if x.operands[tensor]]
        moves, base = self._moves(matrix, turns), self._base(matrix, block)
        # banks x sweeps x steps x slots
        element = stream.element[:, None] + moves[None, :, None, None] + base
        places = self.nest.places(name, element)
        places[~np.broadcast_to(stream.used[:, None], places.shape)] = -1
        size = self._table(stream, operand)
        whole = np.full((operand.banks, len(moves), size), -1, dtype=np.int64)
        whole[..., : stream.bytes] = places.reshape(operand.banks, len(moves), -1)
        packed = np.full((operand.banks, rows * ROW_BYTES), -1, dtype=np.int64)
        packed[:, : whole[0].size] = whole.reshape(operand.banks, -1)
        return packed

    def _moves(self, matrix: Ints, turns: list[Loop]) -> Ints:
        """`sweeps x dimensions`: what the turns of loops add to subscripts, the first fastest."""
        moves: Ints = np.zeros((1, len(matrix)), dtype=np.int64)
        for loop in turns:
            column = matrix[:, self.nest.op.column(loop.iterator)] * loop.step
            moves = (np.arange(loop.count)[:, None, None] * column + moves).reshape(-1, len(column))
        return moves

    def _base(self, matrix: Ints, block: Mapping[str, tuple[int, int]]) -> Ints:
        """What the loops outside the EXECs add to subscripts."""
        base: Ints = np.zeros(len(matrix), dtype=np.int64)
        for iterator, (first, _) in block.items():
            base += matrix[:, self.nest.op.column(iterator)] * first
        return base

    def _execs(
        self,
        block: Mapping[str, tuple[int, int]],
        buffers: tuple[int, int, int],
        release: list[bool],
        done: bool,
    ) -> list[Exec]:
        """EXECs of one block: whole turns, and those cut short."""
        strides = self._all_strides()
        again = any(block[x.iterator][0] for x in self.outer if x.reduces)
        made = []
        for parts in itertools.product(*(x.parts() for x in self.inner)):
            lengths = {x.iterator: block[x.iterator][1] for x in self.outer}
            lengths |= {x.iterator: part[2] for x, part in zip(self.inner, parts, strict=True)}
            tile = [
                min(lengths.get(loop, n), n)
                for loop, n in zip(self.loops, self.placed.tile, strict=True)
            ]
            steps, skipped = self.steps, 0
            if self.design.window is None:
                steps = tile[self.time]
                skipped = self.steps - steps if self.down else 0
            first = [skipped, *(part[0] for part in parts)]
            bases = [sum(a * b for a, b in zip(first, s, strict=False)) for s in strides]
            partial = any(x.reduces and p[0] for x, p in zip(self.inner, parts, strict=True))
            bounds = (steps, *(part[1] for part in parts))
            made.append(
                Exec(
                    input_buffer=buffers[0], weight_buffer=buffers[1], output_buffer=buffers[2],
                    bounds=(*bounds, *[1] * (LOOPS - len(bounds))), limits=self._limits(tile),
                    accumulate=again or partial,
                    input_base=bases[0], weight_base=bases[1], output_base=bases[2],
                )
            )  # fmt: skip
        made[-1] = _released(made[-1], release, done)
        return made

    def _limits(self, tile: list[int]) -> tuple[int, int, int, int]:
        """A loop that runs in time alone has no digit."""
        if self.design.window is None:
            tile = [1 if n == self.time else size for n, size in enumerate(tile)]
        return tile[0], tile[1], tile[2], 1

    def _stores(
        self, block: Mapping[str, tuple[int, int]], buffer: int
    ) -> tuple[list[Store], list[Ints]]:
        """STOREs of all words of a buffer, and the places of these words in the output."""
        sweeps = prod(x.count for x in self.inner if not x.reduces)
        words = sweeps * self._words()
        places = self._output_places(block, sweeps)
        stores, parts = [], []
        for first in range(0, words, MAX_BOUND):
            last = min(words, first + MAX_BOUND)
            stores.append(
                Store(
                    output_buffer=buffer, bounds=(last - first, self.design.groups, 1, 1),
                    lane_strides=(0, 1, 0, 0), address_strides=(1, 0, 0, 0),
                    param_strides=(0, 0, 0, 0), log2_group=4, channels=LANES, int32=True,
                    address_base=first, release_output=last == words,
                )
            )  # fmt: skip
            parts.append(places[:, first:last].reshape(-1))
        return stores, parts

    def _output_places(self, block: Mapping[str, tuple[int, int]], sweeps: int) -> Ints:
        """`groups x words x 16`: places in the output, -1 where there is no output."""
        op, placed = self.nest.op, self.placed
        matrix = np.array(op.tensors[op.output])
        element = placed.points @ np.array(op.access(op.output, self.loops)).T
        turns = [x for x in self.inner if not x.reduces]
        moves, base = self._moves(matrix, turns), self._base(matrix, block)
        places = self.nest.places(op.output, element[None] + moves[:, None] + base)
        lanes = np.array(self.design.output.store_lanes)[placed.bank]
        found = np.full((self.design.groups * LANES, sweeps, self._words()), -1, dtype=np.int64)
        found[lanes[None], np.arange(sweeps)[:, None], placed.word[None]] = places
        if not np.array_equal(
            found[lanes[None], np.arange(sweeps)[:, None], placed.word[None]], places
        ):
            raise Unplaceable("PEs that share an exit add to different outputs")
        return found.reshape(-1, LANES, sweeps * self._words()).transpose(0, 2, 1)


def _with_burst(command: Load | Store, address: int, size: int) -> Load | Store:
    return replace(command, bursts=((address, size),))


def _released(command: Exec, release: list[bool], done: bool) -> Exec:
    return replace(
        command, release_input=release[0], release_weight=release[1], output_complete=done
    )
