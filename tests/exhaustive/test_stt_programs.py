"""Every structure of every operator of two operands, on its array (minutes; `pytest -m slow`)."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from dcp_hw.stt_layer import nest_of
from dcp_hw.stt_program import SttProgram, stt_program
from dcp_hw.workload import Layer
from sim.interpreter import interpret
from sim.layer_data import make_data
from sim.stream import scatter
from tensorlib.design import Design
from tensorlib.from_stt import Held, design_from_stt
from tensorlib.structures import distinct_structures

pytestmark = pytest.mark.slow
LAYERS = {
    "gemm": Layer(name="gemm", operator="gemm", M=7, N=5, K=11),
    "bgemm": Layer(name="bgemm", operator="bgemm", B=3, M=7, N=5, K=9),
    "conv": Layer(name="conv", operator="conv", K=5, C=4, Y=7, X=5, R=3, S=2, padding=1),
    "strided": Layer(
        name="strided", operator="conv", K=3, C=4, Y=4, X=5, R=3, S=3, padding=1, stride=2
    ),
    "dilated": Layer(
        name="dilated", operator="conv", K=3, C=4, Y=5, X=4, R=3, S=2, padding=1, dilation=2
    ),
    "dw": Layer(name="dw", operator="dwconv", K=5, C=5, Y=7, X=5, R=3, S=2, padding=1, groups=5),
}
STRUCTURES = {"gemm": 120, "bgemm": 204, "conv": 590, "strided": 643, "dilated": 643, "dw": 317}


@pytest.mark.parametrize("held", ["chain", "port"])
@pytest.mark.parametrize("name", LAYERS)
def test_every_structure_computes(name: str, held: Held) -> None:
    layer = LAYERS[name]
    found: Counter[str] = Counter()
    for s in distinct_structures(nest_of(layer).op):
        design = design_from_stt(
            nest_of(layer).op, s.selected, s.stt, 4, 5, depth=64, words=512, held=held
        )
        assert isinstance(design, Design)
        program = stt_program(layer, design)
        assert isinstance(program, SttProgram), (s, program)
        data = make_data(layer, seed=3, profile="uniform")
        memory = program.image(data)
        scatter(program.commands, interpret(design, program.commands, memory).words, memory)
        right = np.array_equal(*program.results(memory, data))
        right &= np.array_equal(program.output(memory), data.acc)
        found["right" if right else f"wrong: {s}"] += 1
    assert found == {"right": STRUCTURES[name]}
