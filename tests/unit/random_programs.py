"""Random command lists that make sense to tokens and queues, though not to data."""

from __future__ import annotations

import random
from dataclasses import replace

from tensorlib.design import Design
from tensorlib.families import FAMILIES, family
from tensorlib.program import Command, Config, End, Exec, Lane, Lanes, Load, LoadShape, Store


def random_design(rng: random.Random) -> Design:
    """A small member of any family, with any bus widths."""
    return family(
        rng.choice(sorted(FAMILIES)),
        rng.randint(1, 4),
        rng.randint(1, 4),
        in_bits=rng.choice((32, 64, 128)),
        out_bits=rng.choice((32, 64, 128)),
    )


def random_program(rng: random.Random, design: Design, tiles: int) -> list[Command]:
    """Tiles with double buffers; loads run ahead, stores lag, settings change now and then."""
    commands: list[Command] = [random_config(rng, design), random_lanes(rng, design)]
    late: list[Command] = []  # EXECs and STOREs that may still move behind later loads
    buffers = {"input": 0, "weight": 0, "params": 0, "output": 0}
    weight_held = params_held = output_held = False
    for tile in range(tiles):
        commands.append(random_load(rng, "input", buffers["input"]))
        if not weight_held:
            commands.append(random_load(rng, "weight", buffers["weight"]))
        weight_held = tile < tiles - 1 and rng.random() < 0.4
        output_held = tile < tiles - 1 and rng.random() < 0.3
        late.append(random_exec(rng, buffers, not weight_held, not output_held))
        buffers["input"] ^= 1
        buffers["weight"] ^= not weight_held
        if not output_held:
            int32 = rng.random() < 0.3
            if not int32:
                if not params_held:
                    commands.append(random_load(rng, "params", buffers["params"]))
                params_held = rng.random() < 0.5
            late.append(random_store(rng, buffers, int32, int32 or params_held))
            if not int32:
                buffers["params"] ^= not params_held
            buffers["output"] ^= 1
        if rng.random() < 0.7:
            commands += late
            late = []
            if tile < tiles - 1 and rng.random() < 0.2:
                commands.append(random_config(rng, design))
            if tile < tiles - 1 and rng.random() < 0.2:
                commands.append(random_lanes(rng, design))
    commands += late
    for index in reversed(range(len(commands))):  # the last word sent ends the program
        command = commands[index]
        if isinstance(command, Store):
            commands[index] = replace(command, pixel_mask=0xFFFF)
            break
    return [*commands, End()]


def random_config(rng: random.Random, design: Design) -> Config:
    """Any strides, depths that fit the design's chain."""

    def strides() -> tuple[int, ...]:
        return tuple(rng.choice((0, 0, 1, 2, 16, -1, 48)) for _ in range(6))

    def shape() -> LoadShape:
        return LoadShape(
            extent_a=rng.choice((1, 2, 1023)),
            extent_b=rng.choice((1, 3)),
            extent_c=rng.choice((1, 2, 600)),
        )

    run = rng.randint(0, 3)
    return Config(
        input_load=shape(),
        weight_load=shape(),
        input_strides=strides(),
        weight_strides=strides(),
        output_strides=strides(),
        run_depth=run,
        reduction_mask=rng.randrange(64),
        sweep_depth=run if design.chain_tensor == "output" else rng.randint(0, 6),
        sweep_min=design.sweep_min + rng.choice((0, 0, 1, 7)),
        input_fill_stride=rng.choice((0, 1, -16)),
        weight_fill_stride=rng.choice((0, 1, -16)),
        drain_stride=1,
    )


def random_lanes(rng: random.Random, design: Design) -> Lanes:
    """Small numbers everywhere, a few that wrap."""

    def lane() -> Lane:
        fields = {
            f"{t}_{n}": rng.choice((0, 0, 1, 2, 1022)) for t in ("input", "weight") for n in "abc"
        }
        return Lane(**fields, digits=(rng.randint(-1, 3), rng.choice((0, 100)), 0, 0))

    return Lanes(
        axis1=tuple(lane() for _ in range(design.rows)),
        axis2=tuple(lane() for _ in range(design.cols)),
    )


def random_load(rng: random.Random, tensor: str, buffer: int) -> Load:
    """At most some 150 steps, some of them padding."""
    if tensor == "params":
        return Load(tensor=tensor, buffer=buffer, na=rng.randint(1, 3), nb=7, b_hi=7)
    nb, nc = rng.randint(1, 4), rng.randint(1, 8)
    b_lo, c_lo = rng.randint(0, nb), rng.randint(0, nc)
    c_hi = rng.randint(c_lo, nc + 1)
    return Load(
        tensor=tensor,
        buffer=buffer,
        na=rng.randint(1, 5),
        nb=nb,
        nc=nc,
        b_lo=b_lo,
        b_hi=rng.randint(b_lo, nb + 1),
        c_lo=c_lo,
        c_hi=c_hi,
        clear=c_lo < c_hi <= nc and rng.random() < 0.3,
    )


def random_exec(
    rng: random.Random, buffers: dict[str, int], release_weight: bool, complete: bool
) -> Exec:
    """Up to some 200 steps."""
    bounds = [1] * 6
    for _ in range(rng.randint(0, 4)):
        bounds[rng.randrange(6)] = rng.randint(1, 4)
    return Exec(
        input_buffer=buffers["input"],
        weight_buffer=buffers["weight"],
        output_buffer=buffers["output"],
        bounds=tuple(bounds),
        limits=(rng.randint(1, 5), rng.choice((101, 256)), 1, 1),
        release_input=True,
        release_weight=release_weight,
        output_complete=complete,
        accumulate=rng.random() < 0.3,
        input_base=rng.randrange(100),
        weight_base=rng.randrange(65536),
    )


def random_store(
    rng: random.Random, buffers: dict[str, int], int32: bool, params_stay: bool
) -> Store:
    """Up to some hundred words, so that the FIFO can fill up."""
    log2_group = rng.randint(0, 4)
    n0 = 16 >> log2_group
    if int32 and log2_group < 4:
        n0 = rng.randint(1, n0)
    if log2_group == 4:
        n0 = rng.randint(1, 3)
    return Store(
        output_buffer=buffers["output"],
        bounds=(n0, rng.randint(1, 6), rng.randint(1, 3), 1),
        lane_strides=(0, 0, 0, 0),
        address_strides=(0, 0, 0, 0),
        param_strides=(0, rng.randint(0, 1), rng.choice((0, 1, 15)), 0),
        log2_group=log2_group,
        channels=rng.choice((1, 5, 16, 40)),
        int32=int32,
        params_buffer=buffers["params"],
        release_params=not params_stay,
        pixel_mask=rng.choice((0, 1, 0xFFFF, 0b1010101, 0xFFFF)),
    )
