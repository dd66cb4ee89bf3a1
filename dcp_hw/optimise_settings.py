"""How dataflows are searched by gradients: what can be set, and what each setting accepts."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from dcp_hw.errors import InputError

DISCRETE = ("straight-through", "soft", "fixed")
RULES = ("plain", "adam")
GUIDES = ("reject", "rank", "none")
DRAWN = ("shaped", "uniform")
MOST_CHECKS = 16
"""Candidates of a layer that the exact evaluator checks, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """How discrete choices get gradients.

    Attributes:
        discrete: "straight-through"; "soft": the predictor sees the mixtures themselves;
            "fixed": orders and parallel dimensions stay as they start.
        temperature: of softmax and SoftSort.
        gumbel: scale of Gumbel noise on logits and scores; 0: none.

    Raises: InputError for settings without a meaning.
    """

    discrete: str = "straight-through"
    temperature: float = 0.5
    gumbel: float = 0.0

    def __post_init__(self) -> None:
        if self.discrete not in DISCRETE:
            raise InputError(f"relaxation {self.discrete!r} not found; have {', '.join(DISCRETE)}")
        _above_zero("temperature", self.temperature)
        _at_least_zero("gumbel", self.gumbel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """How dataflows are moved.

    Attributes:
        steps: T; 0 leaves the starts where they are.
        rule: "plain", eta times the gradient; "adam", each number by its own scale.
        rate: eta; falls to `last_rate` of it over the steps, geometrically.
        round_every: T_int; the predictor sees rounded numbers in every step, this makes them stay.
        penalty: weight of the logs by which buffers are exceeded.
        renew_every: steps after which the worse half of a group's dataflows goes on from near the
            best of the better half; 0: never.
        noise: standard deviation there, of logs, logits and scores.
        even: round tiles to the least with as many rounds.
        relaxation: how discrete choices move.

    Raises: InputError for settings without a meaning.
    """

    steps: int = 60
    rule: str = "adam"
    rate: float = 1.0
    last_rate: float = 0.1
    round_every: int = 60
    penalty: float = 0.5
    renew_every: int = 10
    noise: float = 0.5
    even: bool = True
    relaxation: Relaxation = field(default_factory=Relaxation)

    def __post_init__(self) -> None:
        _whole("steps", self.steps, 0)
        _whole("round_every", self.round_every, 1)
        if self.rule not in RULES:
            raise InputError(f"rule {self.rule!r} not found; have {', '.join(RULES)}")
        _whole("renew_every", self.renew_every, 0)
        _above_zero("rate", self.rate)
        _at_least_zero("noise", self.noise)
        _above_zero("last_rate", self.last_rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """How dataflows go from neighbour to neighbour.

    Attributes:
        steps: T; 0 leaves the starts where they are.
        tries: neighbours of each dataflow that the predictor sees in a step.
        draws: random neighbours that they are taken from.
        guide: what the gradient at a dataflow is asked: "reject", which neighbours are worse;
            "rank", which are best; "none".
        refresh: steps after which gradients are taken anew.
        halvings: times that the worse half of a group's dataflows is given up; those that are left
            take twice as many steps before the next, so that each part has as many predictions.
        warmth: a step may make the log of the value worse by a random number of this mean, which
            falls to 0 over the steps.

    Raises: InputError for settings without a meaning.
    """

    steps: int = 120
    tries: int = 4
    draws: int = 16
    guide: str = "reject"
    refresh: int = 6
    halvings: int = 0
    warmth: float = 0.02

    def __post_init__(self) -> None:
        _whole("steps", self.steps, 0)
        _whole("tries", self.tries, 1)
        _whole("draws", self.draws, self.tries)
        _whole("refresh", self.refresh, 1)
        _whole("halvings", self.halvings, 0)
        if self.guide not in GUIDES:
            raise InputError(f"guide {self.guide!r} not found; have {', '.join(GUIDES)}")
        _at_least_zero("warmth", self.warmth)

    @property
    def halved_at(self) -> frozenset[int]:
        """Steps before which the worse half is given up."""
        parts = 2 ** (self.halvings + 1) - 1
        ends = (self.steps * (2**j - 1) // parts for j in range(1, self.halvings + 1))
        return frozenset(ends)


@dataclass(frozen=True, slots=True, kw_only=True)
class Annealing:
    """How dataflows go from neighbour to neighbour, by the closed form.

    Attributes:
        predictions: neighbours that the closed form judges, of many layers on as many as it needs.
        guide: "reject": gradients of the whole predictor leave out neighbours; "none".
        rounds: times that gradients are taken anew between halvings.
        halvings: as `Moves`; each part has as many predictions.
        warmth: as `Moves`.
        pool: best dataflows that the whole predictor judges in the end.

    Raises: InputError for settings without a meaning.
    """

    predictions: int = 160_000
    guide: str = "reject"
    rounds: int = 4
    halvings: int = 4
    warmth: float = 0.02
    pool: int = 256

    def __post_init__(self) -> None:
        for name, least in (("predictions", 1), ("rounds", 1), ("halvings", 0), ("pool", 1)):
            _whole(name, getattr(self, name), least)
        if self.guide not in (known := ("reject", "none")):
            raise InputError(f"guide {self.guide!r} not found; have {', '.join(known)}")
        _at_least_zero("warmth", self.warmth)

    @property
    def slices(self) -> list[tuple[int, int]]:
        """Predictions before and after each time that gradients are taken."""
        number = self.rounds * (self.halvings + 1)
        ends = [self.predictions * i // number for i in range(number + 1)]
        return list(pairwise(ends))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A whole search.

    Attributes:
        starts: dataflows moved for each group of layers.
        screened: random mappings of which the predictor chooses them.
        drawn: "shaped", by what good dataflows have in common; "uniform", from the whole space.
        checks: candidates that the exact evaluator checks, at most MOST_CHECKS.
        descent: how they move; None: not at all.
        caution: share of the predictor's interval that is added to a prediction.

    Raises: InputError for settings without a meaning.
    """

    starts: int = 8
    screened: int = 128
    drawn: str = "shaped"
    checks: int = MOST_CHECKS
    descent: Moves | Annealing | Descent | None = field(default_factory=Moves)
    caution: float = 1.0
    seed: int = 1

    def __post_init__(self) -> None:
        _whole("starts", self.starts, 1)
        _whole("screened", self.screened, self.starts)
        if self.drawn not in DRAWN:
            raise InputError(f"starts drawn {self.drawn!r} not found; have {', '.join(DRAWN)}")
        _at_least_zero("caution", self.caution)
        _whole("seed", self.seed, 0)
        _whole("checks", self.checks, 1)
        if self.checks > MOST_CHECKS:
            raise InputError(f"checks is {self.checks}; accepted: 1 to {MOST_CHECKS}")

    @property
    def predictions(self) -> int:
        """Dataflows of a group that the predictor sees, at most; more than once in a descent."""
        if self.descent is None:
            return self.screened
        if isinstance(self.descent, Annealing):
            return self.screened + self.descent.predictions + self.descent.pool
        if isinstance(self.descent, Descent):
            return self.screened + self.starts * self.descent.steps
        ends = [0, *sorted(self.descent.halved_at), self.descent.steps]
        parts = [max(1, self.starts >> j) * (b - a) for j, (a, b) in enumerate(pairwise(ends))]
        return self.screened + self.descent.tries * sum(parts)


def _whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} is {value!r}; accepted: an integer of at least {least}")


def _at_least_zero(name: str, value: float) -> None:
    if not 0 <= value < float("inf"):
        raise InputError(f"{name} is {value}; accepted: a number of at least 0")


def _above_zero(name: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise InputError(f"{name} is {value}; accepted: a number above 0")


LAYER = Settings(
    starts=32,
    screened=512,
    descent=Annealing(predictions=30_000, rounds=1, halvings=3),
)
"""The search of a layer's own dataflow."""
MOVED = Settings()
"""The same where every neighbour is judged by the whole predictor: it needs no closed form."""
SHARED_MOVES = Moves(steps=600, refresh=16, halvings=3)
"""Moves of one dataflow for many layers, where every neighbour is judged by the whole predictor."""
MODEL = Settings(starts=64, descent=Annealing())
"""The search of one dataflow for many layers: it has more local optima, and is done once."""
