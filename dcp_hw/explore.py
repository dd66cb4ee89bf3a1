"""Which designs: those of each mode, chosen from the space by the exact cycle model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dcp_hw.candidates import EXAMPLES, Candidate
from dcp_hw.errors import DcpError, ToolMissing
from dcp_hw.funnel import BUDGET, EXAMPLE_BUDGET, Budget, Funnel
from dcp_hw.funnel_field import Field, Tally
from dcp_hw.known import FULL, Choice, Known, Outcome
from dcp_hw.per_layer import PerLayer
from dcp_hw.space import space
from dcp_hw.workload import LayerSet
from tensorlib.design import Design

__all__ = ["Choice", "Known", "NoDesign", "Outcome", "Plan", "plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Designs of a mode and the choice for each layer that they run.

    Attributes:
        choices: design name -> layer name -> outcome; a layer stands under one design only in
            mode `per-layer`, under every design otherwise.
        search: what was considered, as in report.json.
    """

    designs: dict[str, Design]
    titles: dict[str, str]
    choices: dict[str, dict[str, Outcome]]
    search: dict[str, Any]


class NoDesign(DcpError):
    """The memory is too small for any candidate."""


METHODS = ("exact", "dcp", "dcp-without-gradients")
"""How designs are chosen: by bounds and screening, or by propagation (docs/dcp-tensorlib.md);
without gradients: the same starts and the same choice of what is checked, no step."""


def plan(
    mode: str,
    layers: LayerSet,
    known: Known,
    budget: Budget | None = None,
    *,
    method: str = "exact",
) -> Plan:
    """Designs and choices of a mode.

    Args:
        method: of `METHODS`; of modes `fixed` and `per-layer`, examples are searched exactly.
    Raises: NoDesign if the memory is too small for every candidate.
    """
    if method != "exact" and mode != "example":
        return _propagated(mode, layers, known, method)
    if mode == "per-layer":
        return _per_layer(layers, known, budget or BUDGET)
    bests: list[Candidate] = []
    if mode == "example":
        tallies = {}
        for style in EXAMPLES:
            funnel = Funnel(
                Field([style], layers, known.hardware), known, budget or EXAMPLE_BUDGET, style.key
            )
            bests += funnel.finalists()[:1]
            tallies[style.key] = funnel.tally
        search = {"mode": mode, "examples": {key: t.to_dict() for key, t in tallies.items()}}
    else:
        found = space()
        field = Field(found.arrays, layers, known.hardware)
        funnel = Funnel(field, known, budget or BUDGET, mode, found.twins)
        bests = funnel.finalists()[:1]
        search = _searched(mode, funnel.tally)
    if not bests:
        raise _no_design(known)
    outcomes = known.outcomes([c.design for c in bests], layers, FULL, f"{mode}: mappings")
    return _plan(bests, outcomes, search)


def _propagated(mode: str, layers: LayerSet, known: Known, method: str) -> Plan:
    """Designs by propagation. Raises: ToolMissing without torch; NoDesign."""
    try:
        from dcp_hw import tensorlib_dcp_plan
    except ImportError as error:
        raise ToolMissing(f"{error.name} is not installed; run `make setup-torch`") from None
    search = tensorlib_dcp_plan.fixed if mode == "fixed" else tensorlib_dcp_plan.per_layer
    found = search(tuple(layers), known, gradients=method == "dcp")
    if not found.candidates:
        raise _no_design(known)
    return _plan(found.candidates, found.choices, found.search | {"method": method})


def _no_design(known: Known) -> NoDesign:
    return NoDesign(
        f"no design fits {known.hardware.sram_kib} KiB on {known.hardware.pes} PEs: some bank "
        "would be empty (give more sram_kib or fewer pes in the hardware file)"
    )


def _plan(
    chosen: Sequence[Candidate], choices: Mapping[str, dict[str, Outcome]], search: dict[str, Any]
) -> Plan:
    return Plan(
        designs={c.design.name: c.design for c in chosen},
        titles={c.design.name: c.style.title for c in chosen},
        choices=dict(choices),
        search=search,
    )


def _searched(mode: str, tally: Tally) -> dict[str, Any]:
    """What was considered, as in report.json."""
    census = {
        name: {
            "structures": count.structures,
            "generated": count.generated,
            "mapped": count.mapped,
            "reasons": dict(count.reasons),
        }
        for name, count in space().census.items()
    }
    return {"mode": mode, "operators": census, **tally.to_dict()}


def _per_layer(layers: LayerSet, known: Known, budget: Budget) -> Plan:
    found = space()
    field = Field(found.arrays, layers, known.hardware)
    single = Funnel(field, known, budget, "per-layer, one design", found.twins)
    search = PerLayer(field, known, budget, found.twins, single)
    chosen, choices = search.chosen()
    if not chosen:
        raise _no_design(known)
    return _plan(chosen, choices, _searched("per-layer", search.tally))
