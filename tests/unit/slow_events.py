"""Counting what commands do, one event at a time; for `slow_timing`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from tensorlib.design import Design
from tensorlib.program import Config, Exec, Lanes, Store


def nest(bounds: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Indices of a loop nest, loop 0 fastest."""
    for index in itertools.product(*(range(n) for n in reversed(bounds))):
        yield index[::-1]


def banks_that_keep(
    design: Design, config: Config | None, lanes: Lanes | None, tensor: str, at: tuple[int, ...]
) -> int:
    """Banks in whose box a word lies."""
    assert config is not None
    assert lanes is not None
    shape = getattr(config, f"{tensor}_load")
    total = 0
    for i, j in getattr(design, tensor).lanes:
        one, two = lanes.axis1[i], lanes.axis2[j]
        total += all(
            (x - getattr(one, f"{tensor}_{n}") - getattr(two, f"{tensor}_{n}")) % 1024
            < getattr(shape, f"extent_{n}")
            for x, n in zip(at, "abc", strict=True)
        )
    return total


def enabled_pes(lanes: Lanes | None, command: Exec) -> int:
    """PEs with all digits in range."""
    assert lanes is not None
    total = 0
    for one, two in itertools.product(lanes.axis1, lanes.axis2):
        digits = [(a + b + 128) % 256 - 128 for a, b in zip(one.digits, two.digits, strict=True)]
        total += all(0 <= d < n for d, n in zip(digits, command.limits, strict=True))
    return total


def valid_outputs(command: Store, index: tuple[int, ...]) -> int:
    """Valid outputs of one store step."""
    group = 1 << command.log2_group
    step = 0 if group == 16 else index[0]
    block = sum(i * (s % 16) for i, s in zip(index, command.param_strides, strict=True)) % 256
    return sum(
        16 * block + step * group + lane % group < command.channels
        and command.pixel_mask >> (lane // group) & 1
        for lane in range(16)
    )
