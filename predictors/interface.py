"""What goes into a predictor of the MAESTRO space, and what comes out.

Integers in (`b` mappings at once):

    layer    b x 11        LAYER_NAMES: sizes (Y, X of outputs), stride, padding, 0 or 1, input
    machine  b x 6         MACHINE_NAMES: PEs, elements, elements per cycle; 0: unlimited
    code     b x 3 x 7 x 2 DCP code: level, (parallel, loops), (dimension, units or elements)

A predictor takes the *relaxed* form, `Relaxed`, in which a dataflow can be moved by gradients.
`relax` is exact: a dimension becomes a one-hot row, an order a permutation matrix, a number its
logarithm, and `harden` gives the integers back. Out comes a `Prediction`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

DIMS = ("K", "C", "Y", "X", "R", "S")
LEVELS = 3
LAYER_NAMES = (*DIMS, "stride", "padding", "depthwise", "rows", "columns")
MACHINE_NAMES = ("pes", "l1_size", "l2_size", "noc_bw", "noc_latency", "dram_bw")
METRIC_NAMES = ("latency_cycles", "energy_nj", "power_mw")
UNLIMITED = float(1 << 40)
"""Stands for a size or a bandwidth that is not limited."""


class PredictorError(ValueError):
    """Tensors, a checkpoint or data that no predictor takes; says what is accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxed:
    """Layers, machines and relaxed dataflows; float tensors, levels outermost first.

    Attributes:
        layer: b x 11, LAYER_NAMES.
        machine: b x 6, MACHINE_NAMES; limits that are not there are UNLIMITED.
        log_tile: b x 3 x 6, natural log of elements of one unit, by dimension.
        log_units: b x 3, natural log of units under each unit of the level above.
        parallel: b x 3 x 6, which dimension is spread: a distribution, one-hot for a real dataflow.
        order: b x 3 x 6 x 6, place x dimension: doubly stochastic, a permutation for a real one.
    """

    layer: Tensor
    machine: Tensor
    log_tile: Tensor
    log_units: Tensor
    parallel: Tensor
    order: Tensor

    def __post_init__(self) -> None:
        b = self.layer.shape[0]
        for name, shape in (
            ("layer", (b, len(LAYER_NAMES))),
            ("machine", (b, len(MACHINE_NAMES))),
            ("log_tile", (b, LEVELS, 6)),
            ("log_units", (b, LEVELS)),
            ("parallel", (b, LEVELS, 6)),
            ("order", (b, LEVELS, 6, 6)),
        ):
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise PredictorError(f"{name} has shape {found}; accepted: {shape}")

    def __len__(self) -> int:
        return self.layer.shape[0]

    def take(self, which: Tensor | slice) -> Relaxed:
        """Some of them."""
        return Relaxed(**{f.name: getattr(self, f.name)[which] for f in fields(self)})

    def with_dataflow(
        self, log_tile: Tensor, log_units: Tensor, parallel: Tensor, order: Tensor
    ) -> Relaxed:
        """The same layers and machines with other dataflows."""
        return replace(self, log_tile=log_tile, log_units=log_units, parallel=parallel, order=order)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a predictor says of b mappings; every tensor has a gradient by the relaxed dataflow.

    Attributes:
        log_latency: b, natural log of cycles.
        log_energy: b, natural log of nJ.
        log_power: b, natural log of mW, energy / time at the checkpoint's clock.
        half_width: b x 2, of latency and energy in the same logs: the interval that holds
            the exact value in nine of ten cases on layers not seen in training.
        l1_excess: b, log of what a PE's buffer needs over its limit; above 0 it does not fit.
        l2_excess: b, the same of the L2 and all buffers between it and the PEs.
    """

    log_latency: Tensor
    log_energy: Tensor
    log_power: Tensor
    half_width: Tensor
    l1_excess: Tensor
    l2_excess: Tensor

    @property
    def log_edp(self) -> Tensor:
        """b, natural log of cycles x nJ."""
        return self.log_latency + self.log_energy

    @property
    def feasible(self) -> Tensor:
        """b, whether both buffers fit."""
        return (self.l1_excess <= 1e-6) & (self.l2_excess <= 1e-6)


def relax(
    layer: Tensor, machine: Tensor, code: Tensor, *, dtype: torch.dtype = torch.float32
) -> Relaxed:
    """The relaxed form of integer layers, machines and codes; exact.

    Args: shapes as above; `layer` and `machine` may have one row for all.
    Raises: PredictorError for other shapes, or codes that are no dataflows.
    """
    _check(code)
    b = code.shape[0]
    dims, numbers = code[..., 0].long(), code[..., 1].to(torch.float64)
    by_place = torch.nn.functional.one_hot(dims[:, :, 1:], 6)
    tile = (by_place * numbers[:, :, 1:, None]).sum(dim=2)
    limits = machine.to(torch.float64)
    may_lack = torch.tensor([name != "noc_latency" for name in MACHINE_NAMES])
    limits = torch.where((limits == 0) & may_lack.to(limits.device), UNLIMITED, limits)
    return Relaxed(
        layer=layer.to(dtype).expand(b, -1),
        machine=limits.to(dtype).expand(b, -1),
        log_tile=tile.log().to(dtype),
        log_units=numbers[:, :, 0].log().to(dtype),
        parallel=torch.nn.functional.one_hot(dims[:, :, 0], 6).to(dtype),
        order=by_place.to(dtype),
    )


def harden(relaxed: Relaxed) -> Tensor:
    """The nearest codes, int64 `b x 3 x 7 x 2`: numbers rounded, the likeliest order and dimension.

    Inverse of `relax` for real dataflows. Loops are sorted by their mean place.
    """
    places = torch.arange(6, dtype=relaxed.order.dtype, device=relaxed.order.device)
    mean = (relaxed.order * places[:, None]).sum(dim=2) / relaxed.order.sum(dim=2)
    order = mean.argsort(dim=-1, stable=True)
    tile = relaxed.log_tile.double().exp().round().clamp(min=1).long()
    units = relaxed.log_units.double().exp().round().clamp(min=1).long()
    code = torch.empty(len(relaxed), LEVELS, 7, 2, dtype=torch.int64, device=order.device)
    code[:, :, 0, 0], code[:, :, 0, 1] = relaxed.parallel.argmax(dim=-1), units
    code[:, :, 1:, 0], code[:, :, 1:, 1] = order, tile.gather(-1, order)
    return code


def _check(code: Tensor) -> None:
    if code.ndim != 4 or tuple(code.shape[1:]) != (LEVELS, 7, 2):
        raise PredictorError(f"codes of shape {tuple(code.shape)}; accepted: (b, 3, 7, 2)")
    loops = code[:, :, 1:, 0].long().sort(dim=-1).values
    if not torch.equal(loops, torch.arange(6, device=code.device).expand_as(loops)):
        raise PredictorError("a code's loops; accepted: each of the dimensions 0 to 5 once a level")
    along = code[:, :, 0, 0]
    if not bool((code[..., 1] >= 1).all() & (along >= 0).all() & (along < 6).all()):
        raise PredictorError("a code's numbers; accepted: units and tiles from 1, dimensions 0-5")
