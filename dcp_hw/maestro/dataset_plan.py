"""What a data set is made of: layers, machines, recipes, splits; all drawn from one seed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcp_hw.errors import InputError
from dcp_hw.layerset_csv import load_layerset
from dcp_hw.maestro.audit_bounds import ceil_div
from dcp_hw.maestro.dataset_recipes import (
    LEVELS,
    Integers,
    Recipes,
    apply,
    fitted_recipes,
    loose_recipes,
    uniform_recipes,
)
from dcp_hw.maestro.encoding import encode_layer
from dcp_hw.maestro.honest_energy import energy, honest_layers
from dcp_hw.maestro.honest_fast import (
    FEASIBLE,
    HonestBatch,
    evaluate_batch,
    layer_row,
    machine_row,
)
from dcp_hw.maestro.honest_plan import DRAM_BW, NOC_BW, PES
from dcp_hw.maestro.honest_types import HonestMachine
from dcp_hw.metrics import Infeasible
from dcp_hw.progress import Advance
from dcp_hw.technology import DEFAULT_TECHNOLOGY
from dcp_hw.workload import Layer

LAYERS_CSV = Path(__file__).parent / "data" / "torchvision_layers.csv"
CLOCK_MHZ = 500
TECHNOLOGY = DEFAULT_TECHNOLOGY

KINDS = ("uniform", "loose", "fitted", "elite")
"""Kinds of recipes; docs/dataset.md says what each covers."""
SPLITS = ("train", "validation", "test")
_SPLIT_SHARES = (0.7, 0.1)  # the rest is for the test

MOST = 32_767  # layers, dataflows and sizes fit into int16
ANCHORS = (
    HonestMachine(pes=168, l1_size=512, l2_size=108_000, noc_latency=1),  # GAMMA's, DCP's
    HonestMachine(pes=168, l1_size=128, l2_size=27_000, noc_bw=16, noc_latency=1, dram_bw=16),
    HonestMachine(pes=256, l1_size=512, l2_size=327_680, noc_bw=64, noc_latency=1, dram_bw=16),
    HonestMachine(pes=1024, l1_size=1024, l2_size=1 << 20, noc_bw=256, noc_latency=2, dram_bw=64),
)
"""Machines that half of all rows run on, in equal shares."""
DRAWN_MACHINES = 60

_KIND_SHARES = (0.15, 0.2, 0.35)  # the rest is elite
PROBES = 48
"""Layers, each on a machine, on which the elite is chosen."""
_POOL = 24  # candidates for each place in it
_STREAMS = (
    *("layers", "layer split", "machines", "recipes", "probes", "order", "dataflow split"),
    "pairs",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What needs no evaluation: layers, machines, and which machine a pair runs on."""

    seed: int
    layers: tuple[Layer, ...]
    layer_split: Integers  # by layer: index into SPLITS
    machines: Integers  # rows as `honest_fast.machine_row`
    dataflows: int

    def machines_of(self, layer: int) -> Integers:
        """The machine of each dataflow on a layer: its row in `machines`."""
        drawn = len(self.machines) - len(ANCHORS)
        shares = [0.5 / len(ANCHORS)] * len(ANCHORS) + [0.5 / drawn] * drawn
        rng = np.random.default_rng([self.seed, _STREAMS.index("pairs"), layer])
        return rng.choice(len(self.machines), size=self.dataflows, p=shares)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that the rows of a data set follow from."""

    ground: Ground
    recipes: Recipes
    kind: Integers  # by recipe: index into KINDS
    split: Integers  # by recipe: index into SPLITS


def _rng(seed: int, stream: str) -> np.random.Generator:
    return np.random.default_rng([seed, _STREAMS.index(stream)])


@lru_cache(maxsize=1)
def all_layers() -> tuple[Layer, ...]:
    """The layers that a data set draws from."""
    return tuple(load_layerset(LAYERS_CSV))


def draw(layers: int, dataflows: int, seed: int) -> Ground:
    """Layers and machines of a data set.

    Raises: InputError for numbers that cannot be.
    """
    pool = all_layers()
    for name, asked, most in (("layers", layers, len(pool)), ("dataflows", dataflows, MOST)):
        if not 1 <= asked <= most:
            raise InputError(f"{asked} {name} asked for; accepted: 1 to {most}")
    if seed < 0:
        raise InputError(f"seed {seed} asked for; accepted: 0 and up")
    chosen = _rng(seed, "layers").choice(len(pool), size=layers, replace=False)
    return Ground(
        seed=seed,
        layers=tuple(pool[i] for i in sorted(chosen)),
        layer_split=_split(_rng(seed, "layer split"), layers),
        machines=_machines(_rng(seed, "machines")),
        dataflows=dataflows,
    )


def _split(rng: np.random.Generator, number: int) -> Integers:
    """A random split in exact shares; at least one for training."""
    ends = [max(1, round(share * number)) for share in np.cumsum(_SPLIT_SHARES)]
    return rng.permutation(np.searchsorted(ends, np.arange(number), side="right"))


def _machines(rng: np.random.Generator) -> Integers:
    """The anchors, then machines drawn from wide ranges, sizes uniform in their logarithm."""

    def sizes(least: int, most: int) -> Integers:
        return np.exp(rng.uniform(np.log(least), np.log(most), DRAWN_MACHINES)).astype(np.int64)

    def bandwidths(least: int, most: int) -> Integers:
        return np.where(rng.random(DRAWN_MACHINES) < 0.2, 0, sizes(least, most))

    drawn = np.column_stack(
        [
            sizes(32, 1024),
            sizes(96, 4096),
            sizes(16_384, 2_097_152),
            bandwidths(8, 512),
            rng.integers(0, 5, DRAWN_MACHINES),
            bandwidths(4, 128),
        ]
    )
    return np.concatenate([[machine_row(machine) for machine in ANCHORS], drawn])


# --- facts of a layer -----------------------------------------------------------------


def evaluated(layer: Layer) -> list[int]:
    """The layer as a row that `evaluate_batch` takes."""
    shape = honest_layers(layer)
    if isinstance(shape, Infeasible) or shape[1] != 1:
        raise InputError(f"layer '{layer.name}': one convolution or product is needed")
    if max(shape[0].sizes) > MOST:
        raise InputError(f"layer '{layer.name}': sizes {shape[0].sizes}; accepted: up to {MOST}")
    return layer_row(shape[0])


def coded(layer: Layer) -> tuple[int, ...]:
    """The layer's code, then stride and padding."""
    return (*encode_layer(layer).values, layer.stride, layer.padding)


def bound_cycles(layer: Layer, machines: Integers) -> Integers:
    """Cycles that a layer needs at least on each machine.

    One MAC per PE and cycle; each tensor crosses the DRAM port and the network once.
    """
    into, out = layer.input_bytes + layer.weight_bytes, layer.output_bytes
    noc, dram = machines[:, NOC_BW], machines[:, DRAM_BW]
    least = ceil_div(layer.macs, machines[:, PES])
    for elements, bandwidth in ((into, noc), (out, noc), (into + out, dram)):
        needed = np.where(bandwidth > 0, ceil_div(elements, np.maximum(bandwidth, 1)), 0)
        least = np.maximum(least, needed)
    return least


# --- recipes --------------------------------------------------------------------------


def choose(ground: Ground, *, threads: int, advance: Advance) -> Plan:
    """The plan: recipes of all kinds, in random order.

    Args:
        advance: called for each of PROBES probes.
    """
    rng, number = _rng(ground.seed, "recipes"), ground.dataflows
    uniform, loose, fitted = (round(share * number) for share in _KIND_SHARES)
    wanted = number - uniform - loose - fitted
    elite = _elite(ground, fitted_recipes(rng, max(1, wanted * _POOL)), wanted, threads, advance)
    recipes = uniform_recipes(rng, uniform).join(loose_recipes(rng, loose))
    order = _rng(ground.seed, "order").permutation(number)
    return Plan(
        ground=ground,
        recipes=recipes.join(fitted_recipes(rng, fitted)).join(elite).take(order),
        kind=np.repeat(range(len(KINDS)), (uniform, loose, fitted, wanted))[order],
        split=_split(_rng(ground.seed, "dataflow split"), number),
    )


def _elite(ground: Ground, pool: Recipes, wanted: int, threads: int, advance: Advance) -> Recipes:
    """Of many recipes those that rank best somewhere.

    Probes are layers of the training split, each on a machine; a recipe counts by its best rank in
    latency, energy or their product on any probe.
    """
    rng = _rng(ground.seed, "probes")
    known = np.flatnonzero(ground.layer_split == 0)
    layers = rng.choice(known, size=PROBES, replace=len(known) < PROBES)

    def ranks(layer: int) -> NDArray[np.float64]:
        row = np.array([evaluated(ground.layers[layer])])
        costs = _costs(pool, row, ground.machines[ground.machines_of(layer)[:1]])
        advance()
        return costs.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")

    with ThreadPoolExecutor(threads) as workers:
        found = np.concatenate(list(workers.map(ranks, map(int, layers))), axis=1)
    return pool.take(np.lexsort([found.mean(axis=1), found.min(axis=1)])[:wanted])


def _costs(recipes: Recipes, layer: Integers, machine: Integers) -> NDArray[np.float64]:
    """Latency, energy and EDP of each recipe, `n x 3`; infinite where infeasible."""
    layers, machines = (np.repeat(row, len(recipes), axis=0) for row in (layer, machine))
    batch = evaluate_batch(layer, machine, apply(recipes, layers, machines))
    joules = nanojoules(batch)["total"]
    costs = np.stack([batch.cycles, joules, batch.cycles * joules], axis=1)
    return np.nan_to_num(costs, nan=np.inf)


def nanojoules(batch: HonestBatch) -> dict[str, NDArray[np.float64]]:
    """Energy in total and by part of three-level mappings; NaN where infeasible.

    Only what is feasible is priced: sizes beyond all limits are many and their prices slow.
    """
    done = batch.reason == FEASIBLE
    some = HonestBatch(*(getattr(batch, field.name)[done] for field in fields(batch)))
    found = energy(some, LEVELS, technology=TECHNOLOGY, clock_mhz=CLOCK_MHZ)
    parts = {field.name: getattr(found, field.name) for field in fields(found)}
    parts["total"] = found.total_nj
    out = {name: np.full(len(done), np.nan) for name in parts}
    for name, values in parts.items():
        out[name][done] = values
    return out
