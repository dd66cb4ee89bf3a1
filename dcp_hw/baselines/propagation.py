"""DCP behind the counted evaluator, for layers moved together and for a network as a whole.

The shipped predictor is taken unless another is given. Layers that are moved in one batch cost a
fraction of what they cost alone, where small tensors keep the machine waiting.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dcp_hw.baselines.genetic import Search
from dcp_hw.baselines.methods import run
from dcp_hw.baselines.problem import Budgeted, Found, Problem
from dcp_hw.errors import InputError, ToolMissing

if TYPE_CHECKING:
    from dcp_hw.baselines.network import Network
    from dcp_hw.optimise_predictor import Frozen
    from dcp_hw.optimise_settings import Settings

DCP = ("dcp", "dcp-random-moves", "dcp-two-levels", "dcp-without-gradients")
"""Names of `dcp_hw.optimise.SEARCHERS`: guided by gradients; as many predictions, moves at random;
dataflows of two levels too, of a layer by itself; starts and checks alone."""


def shipped() -> Frozen:
    """The shipped predictor. Raises: ToolMissing without torch."""
    try:
        from dcp_hw.optimise_predictor import load_frozen
    except ImportError as error:
        raise ToolMissing(f"{error.name} is not installed; run `make setup-torch`") from None
    return load_frozen()


def settings_of(
    method: str, seed: int, budget: int, *, shared: bool = False, closed: bool = True
) -> Settings:
    """The search that a method's name stands for.

    Args:
        shared: of one mapping for many layers.
        closed: the predictor has a closed form.
    """
    from dcp_hw.optimise import SEARCHERS
    from dcp_hw.optimise_settings import LAYER, MODEL, MOST_CHECKS, MOVED

    base = MODEL if shared else LAYER if closed else MOVED
    return replace(SEARCHERS[method].of(base), seed=seed, checks=min(MOST_CHECKS, budget))


def propagate_layers(
    problems: Sequence[Problem], method: str, budget: int, seed: int, frozen: Frozen | None = None
) -> list[Found]:
    """The outcome for each layer, all moved together; times are shares of the whole.

    Raises: InputError for a predictor of other energies.
    """
    frozen = frozen or shipped()
    from dcp_hw.optimise import SEARCHERS, ask, candidates
    from dcp_hw.optimise_groups import group_of

    for problem in problems:
        frozen.check(problem.accelerator)
    wall, cpu = time.perf_counter(), time.process_time()
    shallow = SEARCHERS[method].shallow
    groups = [group_of(problem, shallow=shallow) for problem in problems]
    settings = settings_of(method, seed, budget, closed=frozen.closed)
    chosen = [rows for rows, _ in candidates(groups, frozen, settings)]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    out = []
    for problem, rows in zip(problems, chosen, strict=True):
        found = run(
            method,
            lambda evaluate, _, rows=rows: ask(evaluate, rows, shallow),
            problem,
            budget,
            seed,
        )
        out.append(
            replace(
                found,
                seconds=found.seconds + wall / len(problems),
                cpu_seconds=found.cpu_seconds + cpu / len(problems),
                training_samples=frozen.samples,
            )
        )
    return out


def propagation(network: Network, method: str, seed: int) -> Search:
    """DCP on a whole network as a search: its candidates are the samples.

    Raises: InputError for a method of single layers.
    """
    if method not in ("dcp", "dcp-random-moves", "dcp-without-gradients"):
        raise InputError(f"{method} searches layers by themselves; accepted for a network: dcp")
    frozen = shipped()

    def search(evaluate: Budgeted, _rng: np.random.Generator) -> None:
        from dcp_hw.optimise import candidates
        from dcp_hw.optimise_groups import Group

        frozen.check(network.accelerator)
        group = Group(problems=network.problems, counts=network.counts, weights=network.weights)
        settings = settings_of(method, seed, evaluate.budget, shared=True)
        ((found, _seconds),) = candidates([group], frozen, settings)
        evaluate(found)

    return search
