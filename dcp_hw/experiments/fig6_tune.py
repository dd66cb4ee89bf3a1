"""Fine-tuning of the shipped predictor on samples of a new machine, and its errors there."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dcp_hw.baselines.problem import Integers, Problem
from dcp_hw.errors import InputError
from dcp_hw.maestro.honest_fast import layer_row, machine_row
from dcp_hw.optimise_groups import relaxed_of
from dcp_hw.optimise_predictor import Frozen, freeze
from dcp_hw.train import gap_batch
from dcp_hw.train_data import Samples
from predictors.model import GapPredictor, logistic_loss
from predictors.train import Schedule, fit

SCHEDULE = Schedule(epochs=8, batch=512, learning_rate=3e-4)
HELD_SHARE = 0.1
_TUNING, _TEST = 1, 2  # streams of random samples
_TEST_SAMPLES = 200  # of a layer


@dataclass(frozen=True, slots=True)
class Tuned:
    """A predictor that learned from a machine; rows: feasible samples of all layers."""

    model: GapPredictor
    rows: int
    cpu_seconds: float


def tune(
    frozen: Frozen,
    problems: Sequence[Problem],
    number: int,
    seed: int,
    schedule: Schedule = SCHEDULE,
) -> Tuned:
    """The predictor after training on so many samples of each layer; the given one stays.

    Raises: InputError for a predictor that is not ours, or fewer than two feasible samples.
    """
    if not isinstance(frozen.predict, GapPredictor):
        raise InputError("few-shot needs a predictor of kind 'ours' or 'plain'")
    began = time.process_time()
    model = copy.deepcopy(frozen.predict).requires_grad_(True)
    rows = samples(problems, number, seed, _TUNING)
    held = round(HELD_SHARE * len(rows))
    if not 0 < held < len(rows):
        raise InputError(f"{len(rows)} feasible samples to fine-tune on; accepted: 10 and more")
    order = np.random.default_rng(seed).permutation(len(rows))
    parts = [gap_batch(model, rows.take(which)) for which in (order[held:], order[:held])]
    with tempfile.TemporaryDirectory() as folder:
        fit(
            model,
            lambda net, batch: logistic_loss(*net.correct(batch[0]), batch[1]),
            parts[0],
            parts[1],
            schedule,
            seed=seed,
            state=Path(folder) / "state.safetensors",
            identity={"rows": len(rows)},
        )
    freeze(model)
    return Tuned(model, len(rows), time.process_time() - began)


def samples(problems: Sequence[Problem], number: int, seed: int, stream: int) -> Samples:
    """The feasible ones of so many random mappings of each layer, with their exact costs."""
    parts = []
    for i, problem in enumerate(problems):
        rng = np.random.default_rng([seed, stream, i])
        mappings = problem.space.sample(rng, number)
        cycles, nj = problem.costs(mappings)
        known = np.isfinite(cycles)
        parts.append(_rows(problem, mappings[known], cycles[known], nj[known], i))
    return Samples(
        *(np.concatenate([getattr(p, name) for p in parts]) for name in Samples.__slots__)
    )


def _rows(
    problem: Problem, mappings: Integers, cycles: np.ndarray, nj: np.ndarray, number: int
) -> Samples:
    """n mappings of a layer with the logs of cycles, nJ and mW of one run of it."""
    shape, times = problem.shape
    n = len(mappings)
    accelerator = problem.accelerator
    power = nj / cycles * accelerator.clock_mhz
    return Samples(
        layer=np.tile(layer_row(shape), (n, 1)),
        machine=np.tile(machine_row(accelerator.machine), (n, 1)),
        code=problem.space.code(mappings),
        paper=np.zeros((n, 1), dtype=np.float32),
        logs=np.log(np.column_stack([cycles / times, nj / times, power])),
        group=np.tile([number, 0], (n, 1)),
    )


def errors(frozen: Frozen, problems: Sequence[Problem], seed: int) -> tuple[float, float]:
    """Median relative errors of latency and energy on random mappings not trained on."""
    off = []
    for i, problem in enumerate(problems):
        rng = np.random.default_rng([seed, _TEST, i])
        mappings = problem.space.sample(rng, _TEST_SAMPLES)
        cycles, nj = problem.costs(mappings)
        known = np.isfinite(cycles)
        if not known.any():
            continue
        found = frozen.predict(relaxed_of(problem, mappings[known]))
        times = problem.shape[1]
        logs = np.column_stack([found.log_latency.numpy(), found.log_energy.numpy()])
        real = np.column_stack([cycles[known], nj[known]]) / times
        off.append(np.abs(np.exp(logs) / real - 1))
    if not off:
        raise InputError("no feasible random mapping on any layer; accepted: larger buffers")
    latency, energy = np.median(np.concatenate(off), axis=0)
    return float(latency), float(energy)
