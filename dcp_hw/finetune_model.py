"""What the models leave open, learnt from few measurements: regression with honest intervals.

A Gaussian process on the logarithm of measured / modelled. Its covariance is a sum: a constant (one
factor for all), a linear part in the features, the same two for each data profile, a smooth part,
something of its own for each layer and each design (so a layer not seen is less certain), and
noise. Sizes of these are not known, so many are weighed by how well they explain the measurements
(prior draws, then draws around the best); with few measurements the prior speaks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Groups = NDArray[np.int64]

SCALES = ("factor", "linear", "profile_factor", "profile_linear", "smooth", "layer", "design")
SCALES += ("length", "noise")
_PRIOR_MEAN = np.log(np.array([0.1, 0.15, 0.05, 0.1, 0.05, 0.02, 0.01, 1.0, 0.01]))
_PRIOR_SIGMA = np.array([0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.5, 0.8])
_DRAWS, _ROUNDS, _KEPT = 160, 3, 12
_JITTER = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """Measurements and the weighed sizes of the parts.

    Attributes:
        inputs: n x d features.
        groups: n x 3, numbers that name data profile, layer and design.
        targets: n, ln(measured / modelled).
        scales: k x 7, logarithms of `SCALES`; weights: k, sum 1.
    """

    inputs: Floats
    groups: Groups
    targets: Floats
    scales: Floats
    weights: Floats


def fit(inputs: Floats, groups: Groups, targets: Floats, seed: int = 0) -> Fit:
    """The fit to n >= 0 measurements.

    Raises: ValueError for numbers that are not finite, or arrays that do not fit each other.
    """
    if inputs.ndim != 2 or groups.shape != (len(inputs), 3) or len(inputs) != len(targets):
        raise ValueError(
            f"{len(targets)} targets, groups {groups.shape}, inputs {inputs.shape}; "
            "accepted: one of each a measurement"
        )
    if not (np.isfinite(inputs).all() and np.isfinite(targets).all()):
        raise ValueError("inputs or targets are not finite")
    rng = np.random.default_rng(seed)
    draws = _PRIOR_MEAN + _PRIOR_SIGMA * rng.standard_normal((_DRAWS, len(SCALES)))
    parts = _parts(inputs, groups, inputs, groups)
    scores = np.array([_log_posterior(parts, targets, s) for s in draws])
    if len(targets):
        for n in range(_ROUNDS):
            best = draws[np.argsort(-scores)[:_KEPT]]
            step = _PRIOR_SIGMA * 0.5 / (n + 1)
            near = np.repeat(best, 6, axis=0)
            near = near + step * rng.standard_normal(near.shape)
            draws = np.concatenate((draws, near))
            more = np.array([_log_posterior(parts, targets, s) for s in near])
            scores = np.concatenate((scores, more))
        kept = np.argsort(-scores)[:_KEPT]
        weights = np.exp(scores[kept] - scores[kept[0]])
    else:  # the prior as it is
        kept, weights = np.arange(_KEPT), np.ones(_KEPT)
    return Fit(
        inputs=inputs,
        groups=groups,
        targets=targets,
        scales=draws[kept],
        weights=weights / weights.sum(),
    )


def predict(model: Fit, inputs: Floats, groups: Groups) -> tuple[Floats, Floats]:
    """Mean and standard deviation of ln(measured / modelled) of m runs, noise included."""
    across = _parts(inputs, groups, model.inputs, model.groups)
    inside = _parts(model.inputs, model.groups, model.inputs, model.groups)
    own = _diagonal(inputs)
    means, variances = [], []
    for scales in model.scales:
        noise = np.exp(2 * scales[-1])
        prior = _variance(own, scales) + noise
        if not len(model.targets):
            means.append(np.zeros(len(inputs)))
            variances.append(prior)
            continue
        lower = np.linalg.cholesky(_covariance(inside, scales) + _noise(model.targets, noise))
        gain = np.linalg.solve(lower, _covariance(across, scales).T)
        means.append(gain.T @ np.linalg.solve(lower, model.targets))
        variances.append(np.maximum(prior - (gain**2).sum(axis=0), noise))
    mean = model.weights @ np.array(means)
    spread = (np.array(means) - mean) ** 2
    return mean, np.sqrt(model.weights @ (np.array(variances) + spread))


def one_factor(targets: Floats) -> tuple[float, float]:
    """What every run is corrected by, and its spread: mean and standard deviation of targets."""
    if not len(targets):
        return 0.0, 0.0
    return float(np.mean(targets)), float(np.std(targets, ddof=min(1, len(targets) - 1)))


Parts = tuple[Floats, Floats, Floats]
"""Linear products (m x n), whether groups are equal (3 x m x n), squared distances (m x n)."""


def _parts(a: Floats, of_a: Groups, b: Floats, of_b: Groups) -> Parts:
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :]
    linear = a @ b.T
    same = (of_a.T[:, :, None] == of_b.T[:, None, :]).astype(float)
    return linear, same, np.maximum(squares - 2 * linear, 0)


def _covariance(parts: Parts, scales: Floats) -> Floats:
    linear, (profile, layer, design), distance = parts
    factor, slope, own_factor, own_slope, smooth, by_layer, by_design = np.exp(2 * scales[:7])
    rest = smooth * np.exp(-distance / (2 * np.exp(2 * scales[7])))
    rest = rest + by_layer * layer + by_design * design
    return factor + slope * linear + profile * (own_factor + own_slope * linear) + rest


def _diagonal(inputs: Floats) -> Floats:
    return (inputs**2).sum(axis=1)


def _variance(squares: Floats, scales: Floats) -> Floats:
    factor, slope, own_factor, own_slope, smooth, by_layer, by_design = np.exp(2 * scales[:7])
    return factor + own_factor + smooth + by_layer + by_design + (slope + own_slope) * squares


def _noise(targets: Floats, noise: float) -> Floats:
    return (noise + _JITTER) * np.eye(len(targets))


def _log_posterior(parts: Parts, targets: Floats, scales: Floats) -> float:
    """Logarithm of likelihood times prior, up to a constant."""
    prior = -0.5 * float((((scales - _PRIOR_MEAN) / _PRIOR_SIGMA) ** 2).sum())
    if not len(targets):
        return prior
    covariance = _covariance(parts, scales) + _noise(targets, np.exp(2 * scales[-1]))
    try:
        lower = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return -np.inf
    white = np.linalg.solve(lower, targets)
    return prior - 0.5 * float(white @ white) - float(np.log(np.diag(lower)).sum())
