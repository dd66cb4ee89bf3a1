"""Relaxed codes of Tensorlib designs: numbers that gradients move.

Sizes are logs; which array, which memory split and which order of tile loops are logits. The legal
codes near them are those of `dcp_hw.tensorlib_dcp_legal`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from dcp_hw.candidates import SPLITS
from dcp_hw.hardware import Hardware
from dcp_hw.problem import problem_of
from dcp_hw.space import letters, space
from dcp_hw.tensorlib_dcp_code import (
    ARRAY,
    AT,
    LANES,
    array_table,
    layer_numbers,
    machine_numbers,
    style_fields,
)  # fmt: skip
from dcp_hw.workload import Layer


@dataclass(slots=True)
class Form:
    """What moves: `a` arrays and `a x l` programs, one for each layer.

    Attributes:
        array: a x arrays, logits; split: a x 12, logits; log_rows: a.
        lanes: a x l x 2 x 6, logs; tile: a x l x 4, logs; parts: a x l x 3, logs of EXECs a tile.
        order: a x l x 3, logits; trim: a x l, logit; lead: a x l, log.
    """

    array: Tensor
    split: Tensor
    log_rows: Tensor
    lanes: Tensor
    tile: Tensor
    parts: Tensor
    order: Tensor
    trim: Tensor
    lead: Tensor

    def tensors(self) -> list[Tensor]:
        """All parts."""
        return [getattr(self, f.name) for f in fields(self)]

    def programs(self) -> list[Tensor]:
        """What does not concern the arrays."""
        return [self.lanes, self.tile, self.parts, self.order, self.trim, self.lead]

    def take(self, which: Tensor) -> Form:
        """Some arrays with their programs; copies."""
        return Form(*(part.detach()[which].clone() for part in self.tensors()))


class Context(NamedTuple):
    """Where codes run.

    Attributes:
        layers: g x l x 18, of each of g groups, or a x l x 18, of each array.
        machine: 4. flat: g x l or a x l, whether pixels are one row.
    """

    layers: Tensor
    machine: Tensor
    flat: Tensor

    def times(self, number: int) -> Context:
        """The same for so many arrays of each group."""
        layers, flat = (x.repeat_interleave(number, 0) for x in (self.layers, self.flat))
        return Context(layers=layers, machine=self.machine, flat=flat)


class _Arrays(NamedTuple):
    table: Tensor  # arrays x ARRAY_NAMES
    fields: Tensor  # arrays x 9, whole numbers of the code
    one_row: Tensor  # arrays: whether one row (column) is a shape of its own
    one_col: Tensor
    splits: Tensor  # 12 x 3, shares


@lru_cache(maxsize=1)
def arrays() -> _Arrays:
    """The arrays that are searched."""
    found = space().arrays
    plain = [style.held != "chain" and not any(style.wires.diagonals) for style in found]
    names = [letters(style.wires) for style in found]
    return _Arrays(
        table=torch.from_numpy(array_table()[: len(found)]),
        fields=torch.tensor([style_fields(style) for style in found]),
        one_row=torch.tensor([p and n[0] == "o" for p, n in zip(plain, names, strict=True)]),
        one_col=torch.tensor([p and n[1] == "o" for p, n in zip(plain, names, strict=True)]),
        splits=torch.tensor(SPLITS).double() / 20,
    )


def context_of(groups: Sequence[Sequence[Layer]], hardware: Hardware, programs: int = 1) -> Context:
    """The context of groups of equally many layers on one hardware, each layer repeated."""
    groups = [[layer for layer in group for _ in range(programs)] for group in groups]
    nests = [[problem_of(layer) for layer in group] for group in groups]
    rows = [
        [layer_numbers(layer, nest) for layer, nest in zip(group, some, strict=True)]
        for group, some in zip(groups, nests, strict=True)
    ]
    return Context(
        layers=torch.tensor(rows).double(),
        machine=torch.tensor(machine_numbers(hardware)).double(),
        flat=torch.tensor([[nest.row > 0 for nest in some] for some in nests]).long(),
    )


def random_form(context: Context, generators: Sequence[torch.Generator]) -> Form:
    """Random arrays with random programs for every layer, equally many from each generator."""
    each = len(context.layers) // len(generators)
    log_pes, layers = context.machine[0].log(), context.layers.shape[1]
    parts = [_random(each, layers, log_pes, generator) for generator in generators]
    merged = [torch.cat(part) for part in zip(*(one.tensors() for one in parts), strict=True)]
    form = Form(*merged)
    form.tile = form.tile * context.layers[:, :, :4].log()
    return form


def _random(number: int, layers: int, log_pes: Tensor, generator: torch.Generator) -> Form:
    """Random arrays with programs; tiles as shares of the logs of whole loops."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    known, one = arrays(), torch.nn.functional.one_hot
    kinds = torch.randint(len(known.table), (number,), generator=generator)
    splits = torch.randint(len(SPLITS), (number,), generator=generator)
    return Form(
        array=one(kinds, len(known.table)).double(),
        split=one(splits, len(SPLITS)).double(),
        log_rows=uniform(number) * log_pes,
        lanes=uniform(number, layers, 2, 6) ** 2 * log_pes / 2,
        tile=uniform(number, layers, 4) ** 2,
        parts=uniform(number, layers, 3) * 0.8,
        order=uniform(number, layers, 3),
        trim=uniform(number, layers) - 0.5,
        lead=uniform(number, layers) * 1.1,
    )


def pin(form: Form, code: Tensor) -> None:
    """Nothing; makes the arrays of a form those of codes.

    Args:
        code: a x 16 or more whole numbers, or 1 x 16 for all.
    """
    known, firm = arrays(), 1e3
    style = code[:, None, AT["axis_1"] : AT["rows"]]
    share = code[:, None, AT["share_input"] : AT["share_output"] + 1]
    splits = (known.splits * 20).round().long()
    form.array = firm * (known.fields == style).all(2).double().expand_as(form.array)
    form.split = firm * (splits == share).all(2).double().expand_as(form.split)
    form.log_rows = code[:, AT["rows"]].double().log().expand_as(form.log_rows).clone()


def form_of(codes: Tensor, programs: int, noise: float, random: torch.Generator) -> Form:
    """A form near codes a x l x 42: each layer's program once as it is, the others with noise."""
    a, layers = codes.shape[:2]
    each = codes.repeat_interleave(programs, 1).double()
    lanes = each[..., len(ARRAY) : len(ARRAY) + len(LANES)].unflatten(2, (2, 6))
    sizes = each[..., AT["kt"] : AT["kt"] + 7].log()
    order = torch.nn.functional.one_hot(each[..., AT["tile_order"]].long(), 3).double()
    form = Form(
        array=torch.zeros(a, len(arrays().table), dtype=torch.float64),
        split=torch.zeros(a, len(SPLITS), dtype=torch.float64),
        log_rows=torch.zeros(a, dtype=torch.float64),
        lanes=lanes.log(),
        tile=sizes[..., :4],
        parts=sizes[..., [0, 2, 3]] - sizes[..., 4:],
        order=order,
        trim=each[..., AT["trim"]] - 0.5,
        lead=each[..., AT["lead"]].log(),
    )
    pin(form, codes[:, 0])
    other = (torch.arange(layers * programs) % programs > 0).double()[:, None]
    for part in form.programs():
        drawn = torch.randn(part.shape, generator=random, dtype=torch.float64)
        part += noise * drawn * other.reshape(-1, *[1] * (part.ndim - 2))
    return form
