"""Mappings as the DCP code and as the text of a MAESTRO mapping file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcp_hw.baselines.problem import Problem
from dcp_hw.errors import InputError
from dcp_hw.maestro.encoding import decode, maestro_layer
from dcp_hw.maestro.mapping_file import dump_mapping
from dcp_hw.maestro.syntax import MappingFile


def code_of(problem: Problem, mapping: NDArray[np.int64]) -> list[Any]:
    """The code of a mapping (3 x 14): levels x 7 x 2, outermost level first."""
    return problem.space.code(mapping[None])[0].tolist()


def maestro_text(problem: Problem, mapping: NDArray[np.int64]) -> str | None:
    """A mapping file of the problem's layer; None for a layer that MAESTRO cannot state.

    MAESTRO gives the outermost level all PEs that are left, whatever the mapping says; padding
    becomes part of the layer.
    """
    try:
        shape = maestro_layer(problem.layer)
        dataflow = decode(code_of(problem, mapping))
        return dump_mapping(MappingFile.of([dataflow.to_maestro(shape)]))
    except InputError:
        return None
