"""From measurements to a predictor that knows what the cycle model and the energy table do not.

A `Predictor` corrects both by a factor that it learnt from measured runs: one for energy (real
switching), one for cycles (stalls of the memory). It knows features of the run that the model
gives before anything is simulated, and says how sure it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dcp_hw.energy import PARTS
from dcp_hw.errors import InputError
from dcp_hw.finetune_model import Fit, Floats, Groups, fit, predict
from dcp_hw.store import Record
from sim.layer_data import TYPICAL
from tensorlib.timing import CYCLE_CAUSES

FORMAT = 1
KIND = "hardware-residual"
SPACE = "tensorlib"
TARGETS = ("energy", "cycles")
UNITS = {"energy": "ln(measured nJ / table nJ)", "cycles": "ln(measured / predicted cycles)"}

INTERVAL = 0.9
"""Share of runs that an interval is meant to hold."""
QUANTILE = 1.6449  # of a normal distribution, for that share on both sides

_BURST_COSTS = (8.0, 16.0, 24.0, 32.0)  # cycles a burst might take, for the memory to be the limit

Features = Mapping[str, float]

NEEDED = (
    *(f"share_{part}" for part in PARTS),
    *(f"cause_{cause}" for cause in CYCLE_CAUSES),
    *("bus_in", "bus_out", "in_bursts", "out_bursts", "in_bits", "out_bits"),
    *("input_changes", "weight_changes", "product_activity", "busy"),
    *("stream_input", "stream_weight", "input_fill", "weight_fill", "output_fill"),
)
"""Features that a run must have."""


def energy_inputs(f: Features) -> list[float]:
    """What the energy's factor depends on: parts of the table's energy, and how busy bits are."""
    shares = [f[f"share_{part}"] for part in PARTS]
    activity = f["product_activity"] - 0.25  # 0.25: one operand new in every step
    return [
        *shares,
        4 * f["share_mac"] * activity,
        4 * f["share_adders"] * activity,
        f["share_registers"] * f["busy"],
        f["share_registers"] * f["input_changes"],
        f["share_registers"] * f["weight_changes"],
        (f["share_registers"] + f["share_leakage"]) * _bursts(f),
        f["share_bus_in"] * f["stream_input"] * f["input_fill"],
        f["share_bus_in"] * f["stream_input"] * (1 - f["input_fill"]),
        f["share_bus_in"] * f["stream_weight"] * f["weight_fill"],
        f["share_bus_in"] * f["stream_weight"] * (1 - f["weight_fill"]),
        f["share_bus_out"] * f["output_fill"],
    ]


def cycle_inputs(f: Features) -> list[float]:
    """What the cycles' factor depends on: where cycles go, and what the memory has to do.

    Per unit of `exposure`: were a burst to take so many cycles, by how much the memory would be
    the limit.
    """
    limits = [
        float(np.log(max(1.0, f[f"bus_{way}"] + cost * f[f"{way}_bursts"]))) / _bursts(f)
        for way in ("in", "out")
        for cost in _BURST_COSTS
    ]
    some = _bursts(f)
    return [
        *(f[f"cause_{cause}"] for cause in CYCLE_CAUSES),
        f["bus_in"],
        f["bus_out"],
        8 * f["in_bursts"] / some,
        8 * f["out_bursts"] / some,
        *limits,
    ]


def _bursts(f: Features) -> float:
    """About the share of cycles in which the memory could be waited for."""
    return 0.01 + 8 * (f["in_bursts"] + f["out_bursts"])


def exposure(f: Features, target: str) -> float:
    """What a run's factor, and the doubt about it, is proportional to.

    A run with few bursts cannot be held up much by the memory, whatever that does.
    """
    return 10 * _bursts(f) if target == "cycles" else 1.0


INPUTS = {"energy": energy_inputs, "cycles": cycle_inputs}


# --- the predictor ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Corrected cost of n runs: natural logarithms, with standard deviations.

    Attributes:
        energy, cycles: n x 2, mean and standard deviation of ln nJ and ln cycles.
    """

    energy: Floats
    cycles: Floats

    @property
    def edp(self) -> Floats:
        """n x 2, of ln(nJ x cycles); both errors taken as independent."""
        mean = self.energy[:, 0] + self.cycles[:, 0]
        return np.column_stack((mean, np.hypot(self.energy[:, 1], self.cycles[:, 1])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """Corrections learnt from measured runs; without any, the model as it is.

    Attributes:
        fits: by name of `TARGETS`.
        card: where it comes from.
    """

    fits: Mapping[str, Fit]
    card: Mapping[str, Any]

    @property
    def measurements(self) -> int:
        """Runs that it learnt from."""
        return len(self.fits["energy"].targets)

    def estimate(
        self,
        features: Sequence[Features],
        groups: Groups,
        table_nj: Sequence[float] | Floats,
        model_cycles: Sequence[float] | Floats,
    ) -> Estimate:
        """Corrected energies and cycles of runs that the model has evaluated.

        Args:
            groups: n x 3, of `group_of`.
        Raises: InputError for a feature that is missing or not finite.
        """
        base = {"energy": np.log(table_nj), "cycles": np.log(model_cycles)}
        found = {}
        for target in TARGETS:
            mean, spread = predict(self.fits[target], inputs_of(features, target), groups)
            scale = np.array([exposure(f, target) for f in features])
            found[target] = np.column_stack((base[target] + scale * mean, scale * spread))
        return Estimate(**found)


def check_profile(profile: str) -> None:
    """Nothing.

    Raises: InputError for a data profile that no predictor knows.
    """
    if profile not in TYPICAL:
        raise InputError(f"profile {profile} not found; have {', '.join(TYPICAL)}")


def group_of(profile: str, layer: Mapping[str, Any], design_hash: str) -> tuple[int, int, int]:
    """Numbers that name profile, layer (its sizes, with this data) and design.

    Raises: InputError for an unknown profile.
    """
    check_profile(profile)
    return (
        TYPICAL.index(profile),
        _number(f"{profile} {sorted(layer.items())}"),
        _number(design_hash),
    )


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])


def groups_of(records: Sequence[Record]) -> Groups:
    """n x 3, of `group_of`."""
    rows = [group_of(r.profile, r.layer_code, r.design_hash) for r in records]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def inputs_of(features: Sequence[Features], target: str) -> Floats:
    """n x d inputs of a target.

    Raises: InputError for a feature that is missing or not finite.
    """
    rows = []
    for number, row in enumerate(features):
        missing = [name for name in NEEDED if name not in row]
        if missing:
            raise InputError(
                f"run {number} lacks the feature {', '.join(missing[:3])}; measure again with "
                "this version (dcp-hw collect)"
            )
        rows.append(INPUTS[target](row))
    if not rows:
        width = len(INPUTS[target](dict.fromkeys(NEEDED, 0.0)))
        return np.zeros((0, width))
    found = np.array(rows, dtype=np.float64)
    if not np.isfinite(found).all():
        raise InputError("a feature of the measurements is not finite; measure again")
    return found


def targets_of(records: Sequence[Record]) -> dict[str, Floats]:
    """ln(measured / modelled) by target, n each."""
    return {
        "energy": np.array([np.log(r.energy_nj / sum(r.table_nj.values())) for r in records]),
        "cycles": np.array([np.log(r.cycles / r.predicted_cycles) for r in records]),
    }


def tune(
    records: Sequence[Record], *, base: Predictor | None = None, seed: int = 0, **card: Any
) -> Predictor:
    """A predictor that knows these records besides what `base` knows.

    Raises: InputError for records of several technologies or memories, or unusable numbers.
    """
    made_of = _origin(records, base)
    features = [r.features for r in records]
    named = groups_of(records)
    targets = targets_of(records)
    fits = {}
    for target in TARGETS:
        inputs, groups = inputs_of(features, target), named
        values = targets[target] / np.array([exposure(f, target) for f in features])
        if base is not None:
            old = base.fits[target]
            inputs = np.concatenate((old.inputs, inputs))
            groups = np.concatenate((old.groups, groups))
            values = np.concatenate((old.targets, values))
        fits[target] = fit(inputs, groups, values, seed)
    return Predictor(fits=fits, card={**made_of, "seed": seed, **card})


def _origin(records: Sequence[Record], base: Predictor | None) -> dict[str, Any]:
    found = {
        "technology": {str(r.hardware["technology"]) for r in records},
        "memory": {r.memory for r in records},
    }
    for name, values in found.items():
        if base is not None and base.measurements:
            values.add(str(base.card[name]))
        if len(values) > 1:
            raise InputError(
                f"measurements of several values of {name}: {', '.join(sorted(values))}; "
                "tune one predictor for each"
            )
    return {name: next(iter(values), "") for name, values in found.items()}


# --- checkpoints --------------------------------------------------------------------


def save(path: Path, predictor: Predictor) -> None:
    """Nothing; writes a checkpoint (safetensors), whole or not at all."""
    import torch

    from predictors.checkpoint import write_tensors

    tensors = {}
    for target, one in predictor.fits.items():
        for name in ("inputs", "groups", "targets", "scales", "weights"):
            tensors[f"{target}.{name}"] = torch.tensor(getattr(one, name))
    write_tensors(path, tensors, {**predictor.card, **_described()})


def _described() -> dict[str, Any]:
    return {
        "format": FORMAT,
        "kind": KIND,
        "space": SPACE,
        "targets": UNITS,
        "features": list(NEEDED),
        "profiles": list(TYPICAL),
    }


def load(path: Path) -> Predictor:
    """The predictor in a checkpoint.

    Raises: InputError for a file that is missing, damaged, of another program or kind, made for
        other features, or that holds numbers that are not finite.
    """
    from predictors.checkpoint import read_tensors
    from predictors.interface import PredictorError

    try:
        tensors, card = read_tensors(path)
    except PredictorError as error:
        raise InputError(f"{error} or `dcp-hw finetune`") from error
    for name, wanted in _described().items():
        if card.get(name) != wanted:
            found = str(card.get(name))[:80]
            raise InputError(
                f"{path}: {name} is {found}; accepted: a checkpoint that this version of "
                f"`dcp-hw finetune` wrote ({name} {str(wanted)[:80]})"
            )
    fits = {}
    for target in TARGETS:
        try:
            arrays = {
                name: tensors[f"{target}.{name}"].numpy()
                for name in ("inputs", "groups", "targets", "scales", "weights")
            }
        except KeyError as error:
            raise InputError(f"{path}: lacks {error.args[0]}; fine-tune again") from None
        bad = [n for n, a in arrays.items() if not np.isfinite(a).all()]
        width = inputs_of([], target).shape[1]
        if bad or arrays["inputs"].ndim != 2 or arrays["inputs"].shape[1] != width:
            what = f"{bad[0]} holds numbers that are not finite" if bad else "inputs do not fit"
            raise InputError(f"{path}: {target}: {what}; fine-tune again")
        fits[target] = Fit(**arrays)
    return Predictor(fits=fits, card=card)
