"""Why a dataflow has no counterpart in the other space, and what may be changed to find one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dcp_hw.metrics import Infeasible


class Reason(StrEnum):
    """Classes of reasons; tables and tests rely on these names."""

    LAYER = "layer"
    THIRD_SPATIAL = "third-spatial-level"
    SAME_DIMENSION = "same-dimension-twice"
    PARTIAL_SUMS = "partial-sums-off-chip"
    FILTER_TILES = "filter-tiles"
    AXES = "axes"
    BLOCKS = "channel-blocks"
    ORDER = "loop-order"
    MEMORY = "memory"
    LIMITS = "program-limits"
    LEVELS = "levels"
    PES = "pes"


MEANING = {
    Reason.LAYER: "the layer runs as another loop nest there",
    Reason.THIRD_SPATIAL: "three levels work in parallel, an array has two axes",
    Reason.SAME_DIMENSION: "two levels are parallel in one dimension",
    Reason.PARTIAL_SUMS: "tiles of input channels are not innermost: sums would leave the chip",
    Reason.FILTER_TILES: "filters are tiled between DRAM and chip",
    Reason.AXES: "no array shares tensors along its axes as the parallel dimensions do",
    Reason.BLOCKS: "memory holds blocks of 16 channels; tiles and lanes do not keep to them",
    Reason.ORDER: "the sequencer cannot run the order",
    Reason.MEMORY: "a tile, with its copies in the banks, exceeds the memory",
    Reason.LIMITS: "a field of a command or a limit of designs is too small",
    Reason.LEVELS: "more parallel loops than levels",
    Reason.PES: "more units than PEs",
}


@dataclass(frozen=True, slots=True)
class NotBridged(Infeasible):
    """No counterpart in the other space, with the class of its reason."""

    kind: Reason


_WORDS = (
    ("partial sums of one word", Reason.ORDER),
    ("must be innermost", Reason.ORDER),
    ("does not fit a bank", Reason.MEMORY),
    ("too large for its command", Reason.LIMITS),
    ("does not fit 16 bits", Reason.LIMITS),
    ("does not fit", Reason.LIMITS),
    ("16 channels", Reason.BLOCKS),
    ("lanes of k", Reason.BLOCKS),
    ("last block", Reason.BLOCKS),
    ("words of 4 pixels", Reason.BLOCKS),
    ("whole tiles", Reason.BLOCKS),
    ("4 channels", Reason.BLOCKS),
    ("need 16 lanes", Reason.BLOCKS),
    ("bytes on lanes", Reason.BLOCKS),
    ("ports per bank", Reason.BLOCKS),
    ("ports that share a bank", Reason.AXES),
    ("a row of 16 bytes", Reason.LIMITS),
    ("cannot carry", Reason.AXES),
    ("drained", Reason.AXES),
    ("chain of inputs", Reason.AXES),
    ("no mapping knows", Reason.AXES),
    ("channels on lanes", Reason.AXES),
    ("one EXEC per tile", Reason.PARTIAL_SUMS),
)


def kind_of(text: str) -> Reason:
    """The class of what the compiler says of a mapping that cannot run."""
    return next((kind for words, kind in _WORDS if words in text), Reason.LIMITS)
