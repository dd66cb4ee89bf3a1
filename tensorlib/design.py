"""The elaborated accelerator: `Design` and its file, design.json (docs/hardware.md, section 3).

A `Design` that exists is valid: the constructor runs `design_check.check`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tensorlib import design_check

SCHEMA = 1
LOOPS = 6
ROW_BYTES = 16
PARAM_ROW_BYTES = 112
"""Bias, multiplier and shift of 16 channels: 7 words."""

Pe = tuple[int, int]
"""Axis-1 and axis-2 index of a PE."""


@dataclass(frozen=True, slots=True)
class Port:
    """PE `pe` reads byte `slot` past the address of bank `bank`."""

    bank: int
    slot: int
    pe: Pe


@dataclass(frozen=True, slots=True)
class Link:
    """The operand of `target` is that of `source`, `delay` cycles earlier."""

    source: Pe
    target: Pe
    delay: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """Banks, ports and links of the input or the weight."""

    temporal: str = "none"  # or "chain"
    banks: int
    rows: int  # of 16 bytes, per bank and buffer
    lanes: tuple[Pe, ...]  # per bank
    slots: int = 1
    ports: tuple[Port, ...]
    links: tuple[Link, ...] = ()
    chains: tuple[tuple[Pe, ...], ...] = ()  # port PE first

    @property
    def chain_length(self) -> int:
        """PEs of one chain; 0 without chains."""
        return len(self.chains[0]) if self.chains else 0

    @property
    def link_registers(self) -> int:
        """Registers of all links."""
        return sum(link.delay for link in self.links)

    @property
    def sram_bytes(self) -> int:
        """Both buffers of all banks."""
        return 2 * self.banks * self.rows * ROW_BYTES


@dataclass(frozen=True, slots=True)
class Stage:
    """PEs whose products are summed, `delay` cycles after the stage before.

    They have one skew, except in a design with a `window`.
    """

    pes: tuple[Pe, ...]
    delay: int


@dataclass(frozen=True, slots=True)
class Exit:
    """Stages whose sum goes to output bank `bank`, in step with PE `head`."""

    bank: int
    stages: tuple[Stage, ...]

    @property
    def pes(self) -> tuple[Pe, ...]:
        """All PEs that it sums."""
        return tuple(pe for stage in self.stages for pe in stage.pes)

    @property
    def head(self) -> Pe:
        """First PE of the last stage, whose skew is the exit's."""
        return self.stages[-1].pes[0]


@dataclass(frozen=True, slots=True)
class DrainChain:
    """PEs whose sums leave through a shift chain to output bank `bank`; exit PE first."""

    bank: int
    pes: tuple[Pe, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Banks and exits (or drain chains) of the output."""

    temporal: str = "none"  # or "chain"
    banks: int
    words: int  # of 32 bits, per bank and buffer
    lane_stride: int
    store_lanes: tuple[int, ...]  # per bank
    exits: tuple[Exit, ...] = ()
    chains: tuple[DrainChain, ...] = ()

    @property
    def chain_length(self) -> int:
        """PEs of one drain chain; 0 without chains."""
        return len(self.chains[0].pes) if self.chains else 0

    @property
    def link_registers(self) -> int:
        """Registers between the stages of all exits."""
        return sum(stage.delay for exit_ in self.exits for stage in exit_.stages)

    @property
    def sram_bytes(self) -> int:
        """Both buffers of all banks."""
        return 2 * self.banks * self.words * 4


@dataclass(frozen=True, kw_only=True)
class Design:
    """One accelerator; everything the generator reads.

    Raises: `AnalysisError` (constructor) for a design that docs/hardware.md does not allow.
    """

    name: str
    rows: int  # PEs along axis 1
    cols: int  # PEs along axis 2
    skew: tuple[tuple[int, ...], ...]  # rows x cols, cycles
    input: Operand
    weight: Operand
    output: Output
    param_rows: int  # 16-channel blocks per buffer
    data_bits: int = 8
    acc_bits: int = 32
    in_bits: int = 128
    out_bits: int = 128
    loops: int = LOOPS
    window: tuple[int, ...] | None = None  # per digit, its change per step of loop 0
    stt: Mapping[str, Any] = field(default_factory=dict, compare=False)  # provenance

    def __post_init__(self) -> None:
        design_check.check(self)

    def __hash__(self) -> int:
        """Hash of a few sizes: caches ask for it thousands of times, and links are many."""
        memories = (self.input.rows, self.input.banks, self.weight.rows, self.weight.banks)
        outputs = (self.output.words, self.output.banks, self.in_bits, self.out_bits)
        return hash((self.rows, self.cols, self.skew[-1][-1], memories, outputs))

    # --- derived ------------------------------------------------------------------------

    @property
    def pes(self) -> int:
        """Processing elements."""
        return self.rows * self.cols

    @property
    def operands(self) -> tuple[tuple[str, Operand], ...]:
        """`("input", ...), ("weight", ...)`."""
        return (("input", self.input), ("weight", self.weight))

    @property
    def skew_max(self) -> int:
        """Largest skew, cycles."""
        return max(max(row) for row in self.skew)

    @property
    def r_in(self) -> int:
        """Beats per word of the input bus."""
        return 128 // self.in_bits

    @property
    def r_out(self) -> int:
        """Beats per word of the output bus."""
        return 128 // self.out_bits

    @property
    def chain_tensor(self) -> str | None:
        """The tensor that is held in the PEs: input, weight, output or None."""
        for name in ("input", "weight", "output"):
            if getattr(self, name).temporal == "chain":
                return name
        return None

    @property
    def chain_length(self) -> int:
        """PEs of one chain of `chain_tensor`; 0 without chains."""
        return self.input.chain_length or self.weight.chain_length or self.output.chain_length

    @property
    def sweep_min(self) -> int:
        """Smallest `sweep_min` that a program may give; 0 without chains."""
        if self.chain_tensor is None:
            return 0
        return self.chain_length + (self.chain_tensor != "output")

    @property
    def finish_cycles(self) -> int:
        """D of section 8: cycles from an EXEC's last step to the next start of the unit."""
        drain = self.output.chain_length + 1 if self.output.temporal == "chain" else 0
        return self.skew_max + 5 + drain

    @property
    def exits(self) -> int:
        """Exits or drain chains: output banks that take a word at a time."""
        return len(self.output.exits) + len(self.output.chains)

    @property
    def tree_adds_per_step(self) -> int:
        """Adds of products and link sums in exits; 0 with an output chain."""
        return 0 if self.output.temporal == "chain" else self.pes - self.exits

    @property
    def groups(self) -> int:
        """Groups of 16 store lanes."""
        return max(self.output.store_lanes) // 16 + 1

    @property
    def param_bytes(self) -> int:
        """Both buffers of the scale parameters."""
        return 2 * self.param_rows * PARAM_ROW_BYTES

    @property
    def sram_bytes(self) -> dict[str, int]:
        """Bytes of both buffers per tensor."""
        return {
            "input": self.input.sram_bytes,
            "weight": self.weight.sram_bytes,
            "output": self.output.sram_bytes,
            "params": self.param_bytes,
        }

    # --- file ---------------------------------------------------------------------------

    def canonical_json(self) -> str:
        """The text of design.json: one per design, whatever wrote the file it came from."""
        from tensorlib.design_json import to_text

        return to_text(self)

    @cached_property
    def _hash(self) -> str:
        return hashlib.sha256(self.canonical_json().encode("utf-8")).hexdigest()

    def hash(self) -> str:
        """SHA-256 of design.json, 64 hexadecimal digits; its first 8 are register ID.

        Covers name and provenance too; `replace(design, name="x", stt={})` takes them out.
        """
        return self._hash

    def save(self, path: Path) -> None:
        """Nothing; writes design.json, one port, link or stage a line."""
        path.write_text(self.canonical_json(), encoding="utf-8")

    @staticmethod
    def load(path: Path) -> Design:
        """The design in a design.json.

        Raises: `AnalysisError` with the file and the offending field.
        """
        from tensorlib.design_json import from_text
        from tensorlib.errors import AnalysisError

        try:
            return from_text(path.read_text(encoding="utf-8"))
        except AnalysisError as error:
            raise AnalysisError(f"{path}: {error}") from error
