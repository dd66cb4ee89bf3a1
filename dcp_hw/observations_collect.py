"""Many small runs collected in a store: all pairs of drawn designs and layers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from dcp_hw import rtl, switching
from dcp_hw.candidates import EXAMPLES, SPLITS, STYLES, design_of
from dcp_hw.errors import InputError
from dcp_hw.hardware import Hardware
from dcp_hw.known import QUICK, Choice, evaluate
from dcp_hw.measure import Job
from dcp_hw.observations import probe
from dcp_hw.process import note
from dcp_hw.store import Record, Store
from dcp_hw.workload import Layer
from sim.layer_data import TYPICAL
from tensorlib.design import Design

KINDS = ("conv", "pointwise", "gemm", "dwconv", "strided", "fc")
"""Of layers, in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """Small designs and layers, all pairs of them.

    Attributes:
        hardware: budgets that designs are drawn for.
        designs, layers: how many of each; profiles: data of each layer.
    """

    hardware: Hardware = field(default_factory=lambda: Hardware(pes=16, sram_kib=24))
    designs: int = 24
    layers: int = 24
    profiles: tuple[str, ...] = TYPICAL
    memory: str = "dram"
    seed: int = 0
    max_macs: int = 150_000

    def __post_init__(self) -> None:
        if unknown := [p for p in self.profiles if p not in TYPICAL]:
            raise InputError(f"profile {', '.join(unknown)} not found; have {', '.join(TYPICAL)}")
        if self.memory not in switching.MEMORIES:
            have = ", ".join(switching.MEMORIES)
            raise InputError(f"memory {self.memory!r} not found; have {have}")


def drawn_designs(plan: Collection) -> list[Design]:
    """Different designs: the example styles first, then arrays of the whole space."""
    from dcp_hw.space import BUS_BITS, shapes_of, space

    rng = random.Random(f"designs {plan.seed}")
    styles = [*STYLES, *EXAMPLES]
    more = list(space().arrays)
    rng.shuffle(more)
    found: dict[str, Design] = {}
    for style in [*styles, *more]:
        shapes = [s for s in shapes_of(style, plan.hardware.pes) if min(s) > 1]
        if not shapes:
            continue
        bits = rng.choice(BUS_BITS)
        shape, split = rng.choice(shapes), rng.choice(SPLITS)
        design = design_of(style, *shape, split, plan.hardware, (bits, bits))
        if design is not None:
            found[design.name] = design
        if len(found) == plan.designs:
            break
    return list(found.values())


def drawn_layers(plan: Collection) -> list[Layer]:
    """Layers of all operators in turn, of at most `max_macs` multiplications."""
    rng = random.Random(f"layers {plan.seed}")
    found: list[Layer] = []
    while len(found) < plan.layers:
        layer = _layer(rng, len(found))
        if plan.max_macs // 8 <= layer.macs <= plan.max_macs:
            found.append(layer)
    return found


def _layer(rng: random.Random, number: int) -> Layer:
    def size(*sizes: int) -> int:
        return rng.choice(sizes)

    kind = KINDS[number % len(KINDS)]
    name = f"{kind}_{number}"
    if kind == "fc":
        m, n, k = size(1, 1, 2, 4), size(64, 128, 256), size(128, 192, 256)
        return Layer(name=name, operator="gemm", M=m, N=n, K=k)
    if kind == "gemm":
        m, n, k = size(16, 24, 49, 64), size(16, 32, 40, 64), size(24, 48, 64, 96)
        return Layer(name=name, operator="gemm", M=m, N=n, K=k)
    y = size(6, 7, 12, 14)
    window = {"pointwise": 1}.get(kind, size(3, 3, 5))
    common = {
        "Y": y,
        "X": size(y, 8, 16),
        "R": window,
        "S": window,
        "padding": window // 2,
        "stride": 2 if kind == "strided" else 1,
    }
    if kind == "dwconv":
        channels = size(16, 32, 48)
        return Layer(
            name=name, operator="dwconv", K=channels, C=channels, groups=channels, **common
        )
    return Layer(name=name, operator="conv", K=size(8, 16, 24, 32), C=size(3, 8, 16, 32), **common)


def cases(plan: Collection) -> Iterator[tuple[Choice, str]]:
    """Mapped pairs of a design and a layer, each with one profile of data.

    A layer has one profile, so that runs on several designs differ by the design only.
    """
    layers = drawn_layers(plan)
    for design in drawn_designs(plan):
        for number, layer in enumerate(layers):
            outcome = evaluate(layer, design, plan.hardware, "edp", QUICK)
            if isinstance(outcome, Choice):
                yield outcome, plan.profiles[(number + number // len(KINDS)) % len(plan.profiles)]


def collect(plan: Collection, store: Store) -> list[Record]:
    """Records of the whole collection, measured where the store lacks them.

    Raises: as `probe`.
    """
    found = list(cases(plan))
    designs = list({c.design.name: c.design for c, _ in found}.values())
    note(f"collect: {len(found)} runs, {len(designs)} designs")
    made = dict(zip((d.name for d in designs), rtl.verilog(designs), strict=True))
    jobs = [
        Job(
            rtl=made[choice.design.name],
            layer=replace(choice.layer, count=1),
            work=choice.work(),
            seed=plan.seed,
            profile=profile,
        )
        for choice, profile in found
    ]
    return probe(jobs, plan.hardware, plan.memory, store, "measuring with probes")
