"""Rows of the benchmark data set as the tensors that predictors take."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcp_hw.errors import InputError
from dcp_hw.maestro.dataset import Rows, load
from dcp_hw.maestro.dataset_files import MANIFEST

if TYPE_CHECKING:
    import torch

    from predictors.interface import Relaxed

COLUMNS = ("layer_id", "hardware_id", "latency_cycles", "energy_nj", "power_mw")
QUADRANTS = {
    "seen layers, seen dataflows": ("train", "train"),
    "seen layers, unseen dataflows": ("train", "test"),
    "unseen layers, seen dataflows": ("test", "train"),
    "unseen layers, unseen dataflows": ("test", "test"),
}
"""Splits of layers and of dataflows; rows of the first are those that no training took."""

_CHUNK = 8192


@dataclass(frozen=True, slots=True)
class Samples:
    """n feasible rows with what a predictor is asked to say of them.

    Attributes:
        layer, machine, mapping code: n x 11, n x 6, n x 3 x 7 x 2, as `predictors.interface`.
        paper: n x 49, layer's and dataflow's code as the DCP paper has them.
        logs: n x 3, natural logs of METRIC_NAMES.
        group: n x 2, layer and machine by number.
    """

    layer: NDArray[np.int64]
    machine: NDArray[np.int64]
    code: NDArray[np.int64]
    paper: NDArray[np.float32]
    logs: NDArray[np.float64]
    group: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.layer)

    def take(self, which: NDArray[Any]) -> Samples:
        """Some of the rows."""
        return Samples(*(getattr(self, name)[which] for name in self.__slots__))

    def relaxed(self) -> Iterator[Relaxed]:
        """The rows as predictors take them, some thousand at a time."""
        import torch

        from predictors.interface import relax

        for start in range(0, len(self), _CHUNK):
            rows = slice(start, start + _CHUNK)
            arrays = (self.layer[rows], self.machine[rows], self.code[rows])
            yield relax(*(torch.from_numpy(one) for one in arrays))

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Paper codes (n x 49) and logs (n x 3), float32."""
        import torch

        return torch.from_numpy(self.paper), torch.from_numpy(self.logs.astype(np.float32))


def samples_of(rows: Rows) -> Samples:
    """Rows of a data set.

    Raises: InputError where metrics are NaN or no numbers that a run can have.
    """
    metrics = np.column_stack([rows[name] for name in COLUMNS[2:]]).astype(np.float64)
    wrong = ~(np.isfinite(metrics) & (metrics > 0)).all(axis=1)
    if wrong.any():
        raise InputError(
            f"{int(wrong.sum())} of {len(wrong)} feasible rows have latency, energy or power that "
            "is NaN, infinite or not above 0; make the data set again with `dcp-hw dataset`"
        )
    layer, machine, _ = rows.inputs()
    code = rows.dataflow.astype(np.int64)
    paper = np.column_stack([rows.layer[:, :7], rows.dataflow.reshape(len(rows), -1)])
    return Samples(
        layer=layer,
        machine=machine,
        code=code,
        paper=paper.astype(np.float32),
        logs=np.log(metrics),
        group=np.column_stack([rows["layer_id"], rows["hardware_id"]]).astype(np.int64),
    )


def read_samples(
    folder: Path,
    layers: str | None,
    dataflows: str | None,
    *,
    most: int | None,
    seed: int,
    machine: int | None = None,
    skip: int = 0,
    layers_most: int | None = None,
) -> Samples:
    """Feasible rows of two splits (None: of all), in random order.

    Args:
        most: at most so many, drawn without repetition; None: all.
        machine: only rows of this machine of the data set.
        skip: leave out so many of those drawn first.
        layers_most: only rows of at most so many layers, drawn as well; None: of all.
    Raises: InputError for a folder without a data set, or splits without rows.
    """
    rows = load(folder, layers=layers, dataflows=dataflows, columns=COLUMNS)
    where = np.arange(len(rows))
    if machine is not None:
        where = where[rows["hardware_id"] == machine]
    if not len(where):
        raise InputError(
            f"{folder}: no feasible rows of layers '{layers}' with dataflows '{dataflows}'"
            f"{'' if machine is None else f' on machine {machine}'}; accepted: a larger data set"
        )
    chosen = np.random.default_rng(seed).permutation(where)[skip:][:most]
    if layers_most is not None:
        number = rows["layer_id"][chosen]
        some = np.random.default_rng(seed).permutation(np.unique(number))[:layers_most]
        chosen = chosen[np.isin(number, some)]
    if not len(chosen):
        raise InputError(f"{folder}: trainings took all {skip} rows and more; accepted: fewer rows "
                         "to train (--rows), or a larger data set")  # fmt: skip
    picked = Rows(
        layer=rows.layer[chosen],
        dataflow=rows.dataflow[chosen],
        hardware=rows.hardware[chosen],
        columns={name: rows[name][chosen] for name in COLUMNS},
    )
    return samples_of(picked)


def manifest_hash(folder: Path) -> str:
    """SHA-256 of a data set's manifest, which lists the hashes of all its parts."""
    try:
        return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(
            f"{folder}: no finished data set ({error.strerror}: {MANIFEST}); "
            "make one with `dcp-hw dataset --out FOLDER`"
        ) from None
