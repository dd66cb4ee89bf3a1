"""Random search, a NAAS-like evolution, and Nevergrad's optimisers on the real encoding.

Nevergrad minimises the logarithm of the objective on [0, 1]^n (numbers outside are clipped); an
invalid sample gets a value worse than any mapping's, as GAMMA's 2^63. It is asked for one sample at
a time, so most of its time is its own.

Sources: Rapin and Teytaud, "Nevergrad: A Gradient-Free Optimization Platform", 2018; Lin, Yang,
Han, "NAAS: Neural Accelerator Architecture Search", DAC 2021.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from dcp_hw.baselines.genetic import population
from dcp_hw.baselines.problem import Budgeted
from dcp_hw.errors import ToolMissing

_BATCH = 1024


def random_search(evaluate: Budgeted, rng: np.random.Generator) -> None:
    """Independent samples of the space."""
    space = evaluate.problem.space
    while True:
        evaluate(space.sample(rng, _BATCH))


# --- NAAS-like ------------------------------------------------------------------------------

_START_SIGMA = 0.3
_LEAST_VARIANCE = 1e-5
_LEARN_COVARIANCE, _LEARN_MEAN = 0.3, 0.9
_PATIENCE = 12  # generations without progress before a new start


def naas(evaluate: Budgeted, rng: np.random.Generator) -> None:
    """A NAAS-like evolution: a multivariate normal moved to the best quarter of each generation.

    It works on importances: the dimension of the largest importance is parallel, and loops stand
    in the order of theirs. Invalid samples are never selected. Without progress it starts again.
    """
    space = evaluate.problem.space
    number = population(evaluate.budget, 50)
    chosen = max(2, number // 4)
    weights = np.log(chosen + 0.5) - np.log(np.arange(1, chosen + 1))
    weights /= weights.sum()
    while True:
        mean = rng.random(space.importances) if evaluate.calls else np.full(space.importances, 0.5)
        spread = np.eye(space.importances) * _START_SIGMA**2
        best, idle = np.inf, 0
        while idle < _PATIENCE:
            root = np.linalg.cholesky(spread)
            steps = rng.standard_normal((number, space.importances)) @ root.T
            points = np.clip(mean + steps, 0.0, 1.0)
            values = evaluate(space.decode_importance(points))
            idle, best = (0, values.min()) if values.min() < best else (idle + 1, best)
            top = np.argsort(values, kind="stable")[:chosen]
            top = top[np.isfinite(values[top])]
            if len(top) < 2:
                continue
            share = weights[: len(top)] / weights[: len(top)].sum()
            moved = points[top] - mean
            spread = (1 - _LEARN_COVARIANCE) * spread
            spread += _LEARN_COVARIANCE * (moved.T * share) @ moved
            spread += _LEAST_VARIANCE * np.eye(space.importances)
            mean = mean + _LEARN_MEAN * (share @ moved)


# --- Nevergrad ------------------------------------------------------------------------------

NEVERGRAD = {
    "pso": "PSO",
    "portfolio": "Portfolio",
    "one-plus-one": "OnePlusOne",
    "cma-es": "CMA",
    "de": "DE",
    "tbpsa": "NaiveTBPSA",
}
"""Our name -> Nevergrad's."""

_RANDOM_START = ("OnePlusOne",)  # in the middle all levels split X: it would stay on that plateau
_SIGMA = 0.25
_PENALTY = 100.0  # above the logarithm of any objective


def nevergrad_search(name: str) -> Callable[[Budgeted, np.random.Generator], None]:
    """The search by one of Nevergrad's optimisers, by our name."""

    def search(evaluate: Budgeted, rng: np.random.Generator) -> None:
        optimiser = _optimiser(NEVERGRAD[name], evaluate, rng)
        space = evaluate.problem.space
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own inner optimisers
            while True:
                asked = optimiser.ask()
                value = evaluate(space.decode(np.asarray(asked.value)[None]))[0]
                optimiser.tell(asked, float(np.log(value)) if np.isfinite(value) else _PENALTY)

    return search


def _optimiser(name: str, evaluate: Budgeted, rng: np.random.Generator) -> Any:
    """A seeded optimiser of Nevergrad. Raises: ToolMissing without Nevergrad."""
    try:
        import nevergrad
    except ImportError:
        raise ToolMissing(
            "nevergrad is not installed; PSO, Portfolio, (1+1)-ES, CMA-ES, DE and TBPSA need it "
            "(make setup-torch, or pip install nevergrad)"
        ) from None
    number = evaluate.problem.space.reals
    start = rng.random(number) if name in _RANDOM_START else np.full(number, 0.5)
    vector = nevergrad.p.Array(init=start).set_mutation(sigma=_SIGMA)
    vector = vector.set_bounds(0.0, 1.0, method="clipping")
    vector.random_state = np.random.RandomState(int(rng.integers(2**31)))
    return nevergrad.optimizers.registry[name](vector, budget=evaluate.budget, num_workers=1)
