"""Small hand-made programs, one mapping per array family: matrix products and convolutions.

Each sample knows its operands and what memory must hold afterwards, from `sim.reference`.
"""

from __future__ import annotations

from dataclasses import replace

from sim.sample_conv import conv_depthwise, conv_row_stationary
from sim.sample_gemm import (
    Gemm,
    gemm_broadcast,
    gemm_input_stationary,
    gemm_nvdla,
    gemm_tree,
    gemm_weight_stationary,
)  # fmt: skip
from sim.sample_parts import P, Sample
from sim.sample_tiled import gemm_tiled
from tensorlib.design import Design
from tensorlib.families import family

__all__ = ["Sample", "samples"]


def samples(**settings: object) -> dict[str, Sample]:
    """All samples by name.

    Args:
        settings: of the designs, such as `in_bits`.
    """

    def design(kind: str, rows: int = P, cols: int = P) -> Design:
        return family(kind, rows, cols, depth=256, words=256, **settings)  # type: ignore[arg-type]

    small = Gemm(m=8, k=40, n=20)
    blocked = replace(small, k=64)
    return {
        "broadcast": gemm_broadcast(design("broadcast"), small),
        "output_stationary": gemm_broadcast(design("output_stationary"), small),
        "unicast_tree": gemm_tree(design("unicast_tree"), small),
        "nvdla": gemm_nvdla(design("nvdla"), blocked),
        "weight_stationary": gemm_weight_stationary(design("weight_stationary"), blocked),
        "input_stationary": gemm_input_stationary(design("input_stationary"), blocked),
        "row_stationary": conv_row_stationary(design("row_stationary", 3)),
        "tiled": gemm_tiled(design("broadcast"), Gemm(m=24, k=64, n=20)),
        "depthwise": conv_depthwise(design("unicast_multicast")),
        "row_systolic": conv_row_stationary(design("row_systolic", 3)),
    }
