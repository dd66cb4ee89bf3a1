"""DCP: mappings of layers found by propagation through a predictor, checked exactly.

Per group of layers (one at layer level, all at model level): random mappings, of which the
predictor chooses the starts; discrete moves, or gradient descent, of all starts in one batch; the
predicted best of everything passed, at most 16, checked with the exact evaluator, which counts its
calls. docs/dcp.md explains it.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dcp_hw.baselines.problem import Accelerator, Budgeted, Found, Objective, Problem
from dcp_hw.errors import ToolMissing
from dcp_hw.optimise_settings import LAYER, MOST_CHECKS, Annealing, Descent, Moves, Settings
from dcp_hw.workload import Layer

if TYPE_CHECKING:
    from dcp_hw.optimise_groups import Group
    from dcp_hw.optimise_predictor import Frozen

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LayerChecked:
    """The chosen mapping on one layer, one occurrence of it.

    Attributes:
        mapping: levels x 14, as it runs on the layer; of two or three levels.
        predicted_cycles, predicted_nj: by the predictor; the others exact.
    """

    problem: Problem
    mapping: Integers
    predicted_cycles: float
    predicted_nj: float
    cycles: float
    energy_nj: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search found for one group.

    Attributes:
        mapping: levels x 14, shared by the group; None if no candidate is feasible on every layer.
        layers: one for each layer; empty without a mapping.
        points: n x 2, cycles and nJ of all feasible candidates, summed over layers with counts.
        value: sum over layers of count x weighted product.
        calls: exact evaluations, of all layers together; invalid: those without a value.
        seconds: its share of the batch that it was moved in, and its checks.
    """

    mapping: Integers | None
    layers: tuple[LayerChecked, ...]
    points: Floats
    value: float
    calls: int
    invalid: int
    seconds: float = 0.0


def optimise(
    groups: Sequence[Group],
    frozen: Frozen,
    settings: Settings,
    *,
    threads: int = 2,
    advance: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """The best checked mapping of each group.

    Args:
        advance: called for each group.

    Raises: InputError for a predictor of other energies, or one that gives no numbers.
    """
    for group in groups:
        frozen.check(group.problems[0].accelerator)
    out = []
    for group, (found, seconds) in zip(
        groups, candidates(groups, frozen, settings, threads=threads), strict=True
    ):
        began = time.perf_counter()
        checked = check(group, found, frozen)
        out.append(replace(checked, seconds=seconds + time.perf_counter() - began))
        advance()
    return out


def candidates(
    groups: Sequence[Group], frozen: Frozen, settings: Settings, *, threads: int = 1
) -> Iterator[tuple[Integers, float]]:
    """At most `checks` mappings of each group, n x 3 x 14, predicted best first, and seconds.

    Groups that are moved together share the seconds of their batch.
    """
    import torch

    from dcp_hw.optimise_descent import chunks_of

    def search(part: range) -> list[tuple[Integers, float]]:
        began = time.perf_counter()
        found = _candidates(groups[part.start : part.stop], frozen, settings)
        return [(each, (time.perf_counter() - began) / len(part)) for each in found]

    held = torch.get_num_threads()
    torch.set_num_threads(1)  # tensors are small: more threads would wait for each other
    try:
        with ThreadPoolExecutor(threads) as pool:
            for part in pool.map(search, chunks_of(groups, _width(groups, settings))):
                yield from part
    finally:
        torch.set_num_threads(held)


def _width(groups: Sequence[Group], settings: Settings) -> int:
    """Dataflows of a group that the predictor sees at once."""
    from dcp_hw.optimise_descent import CHUNK

    if isinstance(settings.descent, Annealing) and any(len(g.problems) > 1 for g in groups):
        return CHUNK  # each group by itself
    tries = settings.descent.tries if isinstance(settings.descent, Moves) else 1
    return settings.starts * tries


def _candidates(groups: Sequence[Group], frozen: Frozen, settings: Settings) -> list[Integers]:
    """What is checked of each group, for groups that are moved together."""
    import torch

    from dcp_hw.optimise_descent import descend

    named = {"caution": settings.caution, "seed": settings.seed}
    first = torch.from_numpy(sampled(groups, settings))
    screened = descend(groups, first, frozen.predict, Descent(steps=0), **named)
    if settings.descent is None:
        return [passed.best(settings.checks).numpy() for passed in screened]
    starts = torch.stack([_filled(x.best(settings.starts), settings.starts) for x in screened])
    if isinstance(settings.descent, Annealing):
        from dcp_hw.optimise_anneal import anneal_search

        moved = anneal_search(groups, starts.numpy(), frozen.predict, settings.descent, **named)
    elif isinstance(settings.descent, Moves):
        from dcp_hw.optimise_local import local_search

        moved = local_search(groups, starts.numpy(), frozen.predict, settings.descent, **named)
    else:
        moved = descend(groups, starts, frozen.predict, settings.descent, **named)
    return [passed.best(settings.checks).numpy() for passed in moved]


def sampled(groups: Sequence[Group], settings: Settings) -> Integers:
    """The mappings that starts are chosen from, g x n x 3 x 14; the same whatever follows."""
    if settings.drawn == "shaped":
        from dcp_hw.optimise_local import shaped, shaped_of_two

        annealed = settings.descent is None or isinstance(settings.descent, Annealing)
        allowed = annealed and all(group.shallow for group in groups)
        two = settings.screened // 2 if allowed else 0
        three = shaped(groups, settings.screened - two, settings.seed)
        return np.concatenate([three, shaped_of_two(groups, two, settings.seed)], axis=1)
    found = []
    for group in groups:
        names = " ".join(problem.layer.name for problem in group.problems)
        rng = np.random.default_rng([settings.seed, zlib.crc32(names.encode())])
        found.append(group.space.sample(rng, settings.screened))
    return np.stack(found)


def _filled(mappings, number: int):  # type: ignore[no-untyped-def]
    """So many mappings: those there are, repeated where they are fewer."""
    return mappings.repeat(-(-number // len(mappings)), 1, 1)[:number]


def check(group: Group, mappings: Integers, frozen: Frozen) -> Outcome:
    """The best of n mappings (n x 3 x 14); the exact evaluator is asked n times a layer."""
    from dcp_hw.optimise_depth import costs as exact_costs
    from dcp_hw.optimise_depth import without_trivial
    from dcp_hw.optimise_groups import on_layer

    own = [on_layer(mappings, problem) for problem in group.problems]
    costs = np.stack(
        [exact_costs(p, each, group.shallow) for p, each in zip(group.problems, own, strict=True)]
    )  # layers x 2 x n
    counts = np.array(group.counts, dtype=np.float64)
    feasible = np.isfinite(costs).all(axis=(0, 1))
    points = np.einsum("l,lmn->nm", counts, costs[:, :, feasible])
    power = np.array(group.powers)
    values = np.full(len(mappings), np.inf)
    each = np.prod(costs[:, :, feasible] ** power[:, None], axis=1)
    values[feasible] = counts @ each
    calls = len(mappings) * len(group.problems)
    invalid = int((~np.isfinite(costs).all(axis=1)).sum())
    if not feasible.any():
        return Outcome(None, (), points, np.inf, calls, invalid)
    at = int(values.argmin())
    layers = []
    for problem, mine, cost, (cycles, nj) in zip(
        group.problems, own, costs, predicted(group, mappings[at], frozen).tolist(), strict=True
    ):
        shown = without_trivial(mine[at]) if group.shallow else mine[at]
        layers.append(LayerChecked(problem, shown, cycles, nj, cost[0, at], cost[1, at]))
    shared = without_trivial(mappings[at]) if group.shallow else mappings[at]
    return Outcome(shared, tuple(layers), points, float(values[at]), calls, invalid)


def predicted(group: Group, mapping: Integers, frozen: Frozen) -> Floats:
    """Cycles and nJ of one occurrence of each layer as the predictor sees them, layers x 2."""
    import torch

    from dcp_hw.optimise_descent import predictions
    from dcp_hw.optimise_groups import batch_of

    batch = batch_of([group], 1)
    found = predictions(batch, torch.from_numpy(mapping[None]), frozen.predict)
    logs = torch.stack([found.log_latency, found.log_energy], dim=1) + batch.times[:, None]
    return logs.exp().numpy()


# --- methods for the tables ------------------------------------------------------------------


@cache
def _shipped() -> Frozen:
    from dcp_hw.optimise_predictor import load_frozen

    return load_frozen()


@dataclass(frozen=True, slots=True)
class Method:
    """A search of one layer behind the protocol of `baselines.methods.Searcher`.

    Attributes:
        guide: what gradients are asked, as `Annealing`; None: no step.
        shallow: dataflows of two levels too (`optimise_depth`).
    """

    name: str
    guide: str | None
    shallow: bool = False

    def __call__(
        self, layer: Layer, accelerator: Accelerator, objective: Objective, budget: int, seed: int
    ) -> Found:
        """The best checked mapping; at most 16 samples, whatever the budget."""
        from dcp_hw.baselines.methods import run

        frozen = _need_torch()
        problem = Problem(layer=layer, accelerator=accelerator, objective=objective)

        def search(evaluate: Budgeted, _rng: np.random.Generator) -> None:
            settings = replace(self.of(LAYER), checks=min(MOST_CHECKS, budget), seed=seed)
            ask(evaluate, self.candidates(problem, frozen, settings), self.shallow)

        return replace(
            run(self.name, search, problem, budget, seed), training_samples=frozen.samples
        )

    def of(self, base: Settings) -> Settings:
        """The settings with this method's steps."""
        if self.guide is None or base.descent is None:
            return replace(base, descent=None)
        return replace(base, descent=replace(base.descent, guide=self.guide))

    def candidates(self, problem: Problem, frozen: Frozen, settings: Settings) -> Integers:
        """What is checked for one layer."""
        from dcp_hw.optimise_groups import group_of

        group = group_of(problem, shallow=self.shallow)
        frozen.check(problem.accelerator)
        ((found, _),) = candidates([group], frozen, settings)
        return found


def ask(evaluate: Budgeted, mappings: Integers, shallow: bool) -> None:
    """Ask for the costs of candidates (n x 3 x 14) of one layer, in their order.

    Args:
        shallow: those with a trivial level have two.
    """
    from dcp_hw.optimise_depth import runs

    for part in runs(mappings, shallow):
        evaluate(part)


def _need_torch() -> Frozen:
    """The shipped predictor. Raises: ToolMissing without torch."""
    try:
        return _shipped()
    except ImportError as error:
        raise ToolMissing(f"{error.name} is not installed; run `make setup-torch`") from None


SEARCHERS = {
    method.name: method
    for method in (
        Method("dcp", "reject"),
        Method("dcp-random-moves", "none"),
        Method("dcp-two-levels", "reject", shallow=True),
        Method("dcp-without-gradients", None),
    )
}
"""Methods that `baselines.methods` lists."""
