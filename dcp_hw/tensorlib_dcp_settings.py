"""How a search by propagation of the Tensorlib space moves and checks."""

from __future__ import annotations

from dataclasses import dataclass

MOST_CHECKS = 16
"""Designs of a layer, or of a network, that are searched exactly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """How arrays and programs move.

    Attributes:
        rounds: arrays and steps: so many arrays move so many steps, the best of them go on.
        last: designs and steps: of the best designs that were passed, only the programs move.
        rate, last_rate: step of Adam, and its last as a share of the first.
        renew_every: steps between renewals: the worse half goes on near the better; 0: never.
        noise: of renewed numbers, in logs and logits.
        temperature: of choices, for gradients.
        discrete: whether arrays, splits and orders have gradients; if not, renewal alone moves
            them.
    """

    rounds: tuple[tuple[int, int], ...] = ((96, 16), (32, 24))
    last: tuple[int, int] = (32, 36)
    rate: float = 0.3
    last_rate: float = 0.1
    renew_every: int = 10
    noise: float = 0.6
    temperature: float = 1.0
    discrete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A search.

    Attributes:
        screened: random arrays, per layer or per network, of which the predictor chooses those
            that move.
        programs: of each layer on each array.
        checks: designs that are searched exactly; at most 16.
        pool: designs that are proposed; `checks` by default.
        descent: None: no gradient step ("DCP without gradients").
    """

    screened: int = 256
    programs: int = 4
    checks: int = MOST_CHECKS
    pool: int | None = None
    descent: Descent | None = Descent()
    seed: int = 1


LAYER = Settings(
    screened=512, pool=256, descent=Descent(rounds=((48, 16), (16, 24)), last=(16, 24))
)
MODEL = Settings()
"""Searches of single layers, and of a network on one design."""
