"""A layer program ready to run: with its prediction, made before anything is simulated."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from dcp_hw.lowering import Program
from dcp_hw.problem import BLOCK
from dcp_hw.stt_program import SttProgram
from tensorlib.program import WORD_BYTES, Store
from tensorlib.timing import Prediction, predict


@dataclass(frozen=True)
class Work:
    """A program and what the cycle model says of it."""

    program: Program | SttProgram

    @cached_property
    def prediction(self) -> Prediction:
        """Cycles and counters, by the function that the search uses."""
        return predict(self.program.design, self.program.commands)

    @property
    def predicted_cycles(self) -> int:
        """Latency by the cycle model."""
        return self.prediction.latency_cycles

    @cached_property
    def sent_words(self) -> int:
        """Words that the program sends."""
        stores = (c for c in self.program.commands if isinstance(c, Store))
        return sum(length for store in stores for _, length in store.bursts) // WORD_BYTES

    @cached_property
    def digest(self) -> str:
        """SHA-256 of program.json."""
        return hashlib.sha256(self.program.to_json().encode()).hexdigest()

    def intrinsic_size(self) -> dict[str, int]:
        """Bound of every loop on the array from one on-chip tile."""
        assert isinstance(self.program, Program)
        mapping, problem = self.program.mapping, self.program.problem
        lanes = dict(mapping.axis1 + mapping.axis2)
        steps = {"k": mapping.kt, "c": mapping.ct, "y": mapping.yt, "x": mapping.xt}
        sizes = {loop: lanes.get(loop, 1) * steps[loop] for loop in steps}
        sizes |= {"r": problem.r, "s": problem.s}
        full = {"k": -(-problem.k // BLOCK) * BLOCK, "c": problem.c, "y": problem.y, "x": problem.x}
        return {loop: min(n, full.get(loop, n)) for loop, n in sizes.items()}
