"""What tests of propagation share: small layers, and a predictor known by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dcp_hw.baselines.problem import GAMMA_ACCELERATOR, Objective, Problem  # noqa: E402
from dcp_hw.optimise_descent import loss_of  # noqa: E402
from dcp_hw.optimise_form import (  # noqa: E402
    dataflow_tensors,
    form_of,
)
from dcp_hw.optimise_groups import (  # noqa: E402
    Group,
    batch_of,
)
from dcp_hw.optimise_settings import (  # noqa: E402
    Relaxation,
)
from dcp_hw.workload import Layer, Operator  # noqa: E402
from predictors.interface import Prediction, Relaxed  # noqa: E402

POINTWISE = Layer(name="pw", operator=Operator.CONV, K=24, C=16, Y=14, X=14)
FILTER = Layer(name="filter", operator=Operator.CONV, K=8, C=6, Y=9, X=9, R=3, S=3, count=2)
DEPTHWISE = Layer(name="dw", operator=Operator.DWCONV, K=12, C=12, Y=8, X=8, R=3, S=3, groups=12)
PRODUCT = Layer(name="fc", operator=Operator.GEMM, M=1, N=20, K=30)
LAYERS = (POINTWISE, FILTER, DEPTHWISE, PRODUCT)


def problem(layer: Layer = POINTWISE, objective: str = "edp") -> Problem:
    return Problem(layer=layer, accelerator=GAMMA_ACCELERATOR, objective=Objective(objective))


def weighted(*layers: Layer, latency: float = 0.5, common: bool = False) -> Group:
    return Group(
        problems=tuple(problem(layer) for layer in layers),
        counts=tuple(layer.count for layer in layers),
        weights=(latency, 1 - latency),
        common=common,
    )


def toy(x: Relaxed) -> Prediction:
    """Smooth in everything; latency falls with tiles and units, energy has an optimum at e^1."""
    size = x.layer[:, :6].log().sum(-1)
    latency = size - 0.3 * x.log_tile.sum((1, 2)) - 0.2 * x.log_units.sum(1) + x.parallel[:, 0, 0]
    places = torch.arange(6.0)
    energy = ((x.log_tile - 1.0) ** 2).sum((1, 2)) + 0.1 * (x.order[:, 1] @ places**2).norm(dim=1)
    zero = torch.zeros(len(x))
    return Prediction(
        log_latency=latency.double(),
        log_energy=energy.double(),
        log_power=(energy - latency).double(),
        half_width=torch.zeros(len(x), 2),
        l1_excess=zero,
        l2_excess=zero,
    )


def starts_of(groups: list[Group], number: int, seed: int = 3) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    drawn = [group.space.sample(rng, number) for group in groups]
    return torch.from_numpy(np.stack(drawn))


def gradient_of(group: Group, mapping: torch.Tensor, predict: Callable) -> list[torch.Tensor]:
    """Gradient of the loss of one dataflow by its four parts, relaxed (no rounding)."""
    form, batch = form_of(mapping), batch_of([group], 1)
    parts = dataflow_tensors(
        form, mapping, batch.limits, Relaxation(discrete="soft", temperature=1.0)
    )
    value, _ = batch.objective(predict(batch.relaxed(parts)))
    return list(torch.autograd.grad(loss_of(value).sum(), form.leaves(), allow_unused=True))
