"""The compiled closed form against the one that gradients go through, which knows none of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dcp_hw.baselines.problem import GAMMA_ACCELERATOR, Objective, Problem  # noqa: E402
from dcp_hw.optimise_closed import estimate_whole  # noqa: E402
from dcp_hw.optimise_descent import evaluate, judge, whole_parts  # noqa: E402
from dcp_hw.optimise_groups import Batch, Group, batch_of  # noqa: E402
from dcp_hw.train import prices  # noqa: E402
from dcp_hw.workload import Layer, Operator  # noqa: E402
from predictors.features import CLOSED_NAMES, PLAIN_NAMES, estimate  # noqa: E402
from predictors.model import GapPredictor, Shape  # noqa: E402

LAYERS = (
    Layer(name="pointwise", operator=Operator.CONV, K=24, C=16, Y=14, X=14),
    Layer(name="filter", operator=Operator.CONV, K=8, C=6, Y=19, X=17, R=3, S=5, count=2),
    Layer(
        name="stride",
        operator=Operator.CONV,
        K=32,
        C=3,
        Y=112,
        X=112,
        R=3,
        S=3,
        stride=2,
        padding=1,
    ),
    Layer(
        name="dw", operator=Operator.DWCONV, K=12, C=12, Y=8, X=8, R=3, S=3, groups=12, padding=1
    ),
    Layer(name="fc", operator=Operator.GEMM, M=7, N=20, K=300),
)
SMALL = replace(
    GAMMA_ACCELERATOR,
    machine=replace(
        GAMMA_ACCELERATOR.machine, pes=97, l1_size=128, l2_size=27_000, noc_bw=8, dram_bw=3
    ),
)
MACHINES = (GAMMA_ACCELERATOR, SMALL)


def drawn(accelerator, number: int = 300, shared: bool = False) -> tuple[Batch, torch.Tensor]:  # type: ignore[no-untyped-def]
    problems = [
        Problem(layer=layer, accelerator=accelerator, objective=Objective.EDP) for layer in LAYERS
    ]
    parts = [tuple(problems)] if shared else [(problem,) for problem in problems]
    groups = [
        Group(problems=part, counts=tuple(p.layer.count for p in part), weights=(0.5, 0.5))
        for part in parts
    ]
    rng = np.random.default_rng(5)
    found = np.concatenate([group.space.sample(rng, number) for group in groups])
    return batch_of(groups, number), torch.from_numpy(found)


@pytest.mark.parametrize("accelerator", MACHINES, ids=("GAMMA's", "small"))
@pytest.mark.parametrize("shared", [False, True], ids=("each", "shared"))
def test_both_forms_say_the_same(accelerator, shared: bool) -> None:  # type: ignore[no-untyped-def]
    """Logs to twelve digits, all 166 features to what float32 holds; clipped tiles too."""
    batch, mappings = drawn(accelerator, shared=shared)
    with torch.no_grad():
        told = estimate(batch.relaxed(whole_parts(mappings)), prices())
    found = estimate_whole(batch.layer, batch.machine, mappings, batch.owner, prices())
    for name in ("latency", "energy", "l1_excess", "l2_excess"):
        torch.testing.assert_close(
            getattr(found, name), getattr(told, name), rtol=0, atol=1e-11, msg=name
        )
    for name in ("latency", "energy", "compute", "noc", "dram"):
        torch.testing.assert_close(
            getattr(found.bound, name), getattr(told.bound, name), rtol=0, atol=1e-11, msg=name
        )
    off = (found.features - told.features).abs().amax(dim=0)
    names = (*PLAIN_NAMES, *CLOSED_NAMES)
    assert len(names) == len(off)
    assert {n: float(x) for n, x in zip(names, off, strict=True) if not x <= 2e-5} == {}


@pytest.mark.parametrize("closed", [True, False], ids=("ours", "plain"))
def test_a_predictor_judges_whole_dataflows_as_relaxed_ones(closed: bool) -> None:
    torch.manual_seed(3)
    model = GapPredictor(Shape(width=16, layers=1, closed=closed), prices()).eval()
    torch.nn.init.normal_(model.network[-1].weight)
    model.requires_grad_(False)
    batch, mappings = drawn(SMALL, 100, shared=True)
    told = evaluate(batch, whole_parts(mappings), model, 1.0)
    found = judge(batch, mappings, model, 1.0)
    assert float(told[0].std()) > 0.1
    assert int((told[1] > 0).sum()) > 0
    for one, other in zip(found, told, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
