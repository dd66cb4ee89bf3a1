"""Relaxed designs of the Tensorlib space as rows of numbers.

A design with its program is a row (`Point`): logs of lanes, tiles and array sizes, shares of the
memory, and attributes of the array (`ARRAY_NAMES`), which for a mixture of arrays are mixed too.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from predictors.interface import PredictorError

LOOPS = ("k", "c", "y", "x", "r", "s")
LAYER_NAMES = (
    *LOOPS, "batch", "stride", "dilation", "padding", "depthwise", "c4", "from_memory", "in_y",
    "in_x", "macs", "input_words", "output_words",
)  # fmt: skip
MACHINE_NAMES = ("pes", "sram_bytes", "bus_in_bits", "bus_out_bits")
_PLACES = tuple(f"{axis}{loop}" for axis in (1, 2) for loop in LOOPS)
ARRAY_NAMES = (
    *(f"allow_{place}" for place in _PLACES),
    *(f"allow_depthwise_{place}" for place in _PLACES),
    *(f"banks_{tensor}_{axis}" for tensor in ("input", "weight", "output") for axis in (1, 2)),
    *("slots_input", "slots_weight", "chain_input", "chain_weight", "chain_output"),
    *("chain_1", "chain_2", "skew_1", "skew_2", "diagonal"),
)
FEATURE_NAMES = (
    *(f"log_{name}" for name in (*LOOPS, "batch", "stride")),
    *("depthwise", "c4", "from_memory", "pes", "sram", "bus_in", "bus_out"),
    *(f"lanes_{place}" for place in _PLACES),
    *(f"tile_{loop}" for loop in "kcyx"),
    *(f"exec_{loop}" for loop in "kyx"),
    *(f"tiles_{loop}" for loop in "kcyx"),
    *("order_kyx", "order_yxk", "order_ykx", "trim", "lead", "rows", "cols"),
    *(f"share_{tensor}" for tensor in ("input", "weight", "output")),
    *(f"fill_{tensor}" for tensor in ("input", "weight", "output")),
    *(f"banks_{tensor}" for tensor in ("input", "weight", "output")),
    *("chain_input", "chain_weight", "chain_output", "diagonal", "skew", "bytes", "ki", "ci"),
    *("compute", "loading", "storing", "prologue", "last_store", "execs", "steps", "first"),
    *("input_words", "weight_words", "gap_latency", "gap_energy"),
    *(f"energy_{part}" for part in ("fixed", "clock", "input", "weight", "output", "bus")),
)
PRICE_SHAPE = (2, 33, 9, 3)
"""Operand or output memory x half octaves of rows x octaves of banks x log (read, write, leak)."""
SCALARS = ("multiply", "add", "clock_per_bit", "requantise", "bus_per_bit", "register_8bit",
           "register_32bit", "clock_mhz")  # fmt: skip

PARAM_ROWS, MOST_ROWS, MOST_WORDS, MOST_COUNT = 8, 4096, 1 << 16, 1023
MOST_BASE = (1 << 14) - 1
PARAM_BYTES = 2 * PARAM_ROWS * 112
HALF = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Layers, machines and relaxed designs with their programs; float64, b rows each.

    Attributes:
        layer: b x 18, LAYER_NAMES; machine: b x 4, MACHINE_NAMES.
        array: b x 40, ARRAY_NAMES; of one array, or a mixture.
        log_bus: b x 2, log of the bits of both buses.
        log_size: b x 2, log of rows and columns.
        share: b x 3, of the memory: input, weight, output; sum 1.
        log_lanes: b x 2 x 6, log of the lanes of each loop on each axis.
        log_tile: b x 4, log of kt, ct, yt, xt; log_exec: b x 3, of ks, ys, xs.
        order: b x 3, which order of tile loops (kyx, yxk, ykx): a distribution.
        trim: b, 0 or 1; log_lead: b.
    """

    layer: Tensor
    machine: Tensor
    array: Tensor
    log_bus: Tensor
    log_size: Tensor
    share: Tensor
    log_lanes: Tensor
    log_tile: Tensor
    log_exec: Tensor
    order: Tensor
    trim: Tensor
    log_lead: Tensor

    def __post_init__(self) -> None:
        b = self.layer.shape[0]
        for name, shape in SHAPES.items():
            found = tuple(getattr(self, name).shape)
            if found != (b, *shape):
                raise PredictorError(f"{name} has shape {found}; accepted: {(b, *shape)}")

    def __len__(self) -> int:
        return self.layer.shape[0]

    def take(self, which: Tensor | slice) -> Point:
        """Some rows."""
        return Point(**{f.name: getattr(self, f.name)[which] for f in fields(self)})

    def moved(self, **parts: Tensor) -> Point:
        """The same with other tensors."""
        return replace(self, **parts)


SHAPES: dict[str, tuple[int, ...]] = {
    "layer": (len(LAYER_NAMES),),
    "machine": (len(MACHINE_NAMES),),
    "array": (len(ARRAY_NAMES),),
    "log_bus": (2,),
    "log_size": (2,),
    "share": (3,),
    "log_lanes": (2, 6),
    "log_tile": (4,),
    "log_exec": (3,),
    "order": (3,),
    "trim": (),
    "log_lead": (),
}


def through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard` with the gradient of `soft`."""
    return soft + (hard - soft).detach()


def up(a: Tensor) -> Tensor:
    """ceil(a), at least 1; its gradient is that of a, weak where a < 1."""
    return through(torch.ceil(a - HALF).clamp(min=1), torch.where(a > 1, a, 0.2 * a))


def gate(a: Tensor, limit: float) -> Tensor:
    """1 where a > limit, else 0; the gradient of a sigmoid of log a."""
    return through((a > limit).to(a.dtype), torch.sigmoid(4 * (a / limit).log()))
