"""Every reuse structure, and every GEMM array, register by register (minutes; `pytest -m slow`)."""

from collections.abc import Sequence

import numpy as np
import pytest

from tensorlib.array_sim import simulate, tensor_shape
from tensorlib.op import BUILT_IN, Operator, gemm
from tensorlib.reuse import analyse
from tensorlib.schedule import build_schedule, initiation_interval
from tensorlib.structures import distinct_structures
from tensorlib.stt import Stt, matrices

pytestmark = pytest.mark.slow
SIZES = [(4, 3, 5), (5, 5, 5), (2, 7, 3), (1, 4, 6)]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_structure(name, sizes):
    op = BUILT_IN[name]()
    found = distinct_structures(op)
    assert found
    for structure in found:
        run_back_to_back(op, structure.selected, structure.stt, sizes)


@pytest.mark.parametrize("sizes", SIZES)
def test_every_gemm_matrix(sizes):
    for rows in matrices():
        run_back_to_back(gemm(), "mnk", Stt.of(rows.tolist()), sizes)


def run_back_to_back(op: Operator, selected: Sequence[str], stt: Stt, sizes: Sequence[int]) -> None:
    """Nothing; `simulate` raises where operands, outputs or sums differ from the loop nest."""
    bounds = dict(zip(selected, sizes, strict=True))
    analysis = analyse(op, selected, stt, bounds)
    tiles = {selected[0]: 2, selected[2]: 2}
    steps = {i: bounds.get(i, 2) for i in op.iterators}
    total = {i: n * tiles.get(i, 1) for i, n in steps.items()}
    rng = np.random.default_rng(1)
    data = {t: rng.integers(-128, 128, tensor_shape(op, total, t)) for t in op.inputs}
    interval = initiation_interval(analysis, bounds)
    simulate(build_schedule(analysis, bounds), steps, data, interval=interval, tiles=tiles)
