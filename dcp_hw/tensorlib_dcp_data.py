"""Exact results of layers on random designs of the Tensorlib space, to learn from and to judge by.

A case is a layer, a hardware and a design; its rows are programs of many kinds on it: the best of
the estimate, steps away from those, and random lanes with random tiles. Layers of MobileNet-V2 and
a fifth of the other sets' are for tests only, and so is a fifth of all array shapes.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcp_hw import physical
from dcp_hw.axes import axes_of
from dcp_hw.candidates import SPLITS, Candidate, design_of
from dcp_hw.errors import InputError
from dcp_hw.fast import evaluate_batch
from dcp_hw.hardware import Hardware
from dcp_hw.lane_options import lane_options, mapping_of
from dcp_hw.layerset_csv import load_layerset
from dcp_hw.mapping import Mapping
from dcp_hw.problem import Problem, ceil_div, problem_of
from dcp_hw.progress import progress
from dcp_hw.scan import TILE_ORDERS
from dcp_hw.search import OBJECTIVES, Effort, neighbours, ranked
from dcp_hw.space import shapes_of, space
from dcp_hw.tensorlib_dcp_code import NAMES, encode
from dcp_hw.workload import Layer, Operator
from tensorlib.activity import COUNTERS

FORMAT = 1
TEST_SET = "mobilenetv2"
OTHER_SETS = ("resnet50", "resnet101", "vgg16", "vit_b16", "tiny")
SHARD = 100
"""Cases in a file: what is lost when a run is stopped."""
PARTS = ("train", "test layers", "test designs", "test both")
_SHARES = (0.8, 0.1, 0.05, 0.05)
MOST_EXECS = 20_000
"""Of a program: more are slow to evaluate and far from good."""
_GOOD = Effort(lanes=3, keep=3, exact=9, near=3, starts=0, every=2)

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rows:
    """n results: codes (n x 42), layer and hardware numbers, part, and logs of cycles and nJ.

    Attributes:
        layers, machines: what the numbers stand for.
    """

    codes: Integers
    layer: Integers
    machine: Integers
    part: Integers
    logs: Floats
    layers: tuple[Layer, ...]
    machines: tuple[Hardware, ...]

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, which: NDArray) -> Rows:
        """Some rows."""
        columns = (self.codes, self.layer, self.machine, self.part, self.logs)
        return Rows(*(column[which] for column in columns), self.layers, self.machines)


def is_test_layer(layer: Layer) -> bool:
    """Whether a layer of `OTHER_SETS` is kept for tests; by its sizes, not by its name."""
    return zlib.crc32(repr(problem_of(layer)).encode()) % 5 == 0


def is_test_shape(key: str, rows: int, cols: int) -> bool:
    """Whether an array shape is kept for tests."""
    return zlib.crc32(f"{key} {rows} {cols}".encode()) % 5 == 0


def known_layers() -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
    """Layers to learn from and layers for tests; different nests only."""
    tests = {problem_of(layer): layer for layer in load_layerset(TEST_SET)}
    others = {problem_of(layer): layer for name in OTHER_SETS for layer in load_layerset(name)}
    train = {}
    for nest, layer in others.items():
        if nest in tests:
            continue
        (tests if is_test_layer(layer) else train)[nest] = layer
    return tuple(train.values()), tuple(tests.values())


# --- drawing ------------------------------------------------------------------------


def varied(layer: Layer, rng: np.random.Generator, tests: frozenset[Problem]) -> Layer:
    """A layer of other sizes, often depthwise; not one of the tests'."""
    for _ in range(20):
        found = _varied(layer, rng)
        if problem_of(found) not in tests:
            return found
    return layer


def _varied(layer: Layer, rng: np.random.Generator) -> Layer:
    def near(size: int, least: int = 1, multiple: int = 1) -> int:
        value = size * 2.0 ** rng.normal(0, 0.8)
        return max(least, multiple * round(value / multiple))

    if not layer.operator.is_convolution:
        change = {dim: near(size, 1) for dim, size in layer.sizes.items() if dim != "B"}
        return replace(layer, **change)
    edge = int(rng.choice([7, 10, 13, 14, 16, 19, 28, 35, 56, 80, 112]))
    if rng.random() < 0.35:
        taps, stride = int(rng.choice([3, 3, 5])), int(rng.choice([1, 1, 2]))
        k = int(rng.choice([16, 24, 32, 48, 72, 96, 120, 160, 240, 288, 384, 480, 672, 960, 1152]))
        return Layer(name="varied", operator=Operator.DWCONV, K=k, C=k, groups=k, Y=edge, X=edge,
                     R=taps, S=taps, stride=stride, padding=taps // 2)  # fmt: skip
    taps = int(rng.choice([1, 1, 1, 3, 3, 5]))
    c = 3 if rng.random() < 0.04 else near(max(layer.C, 8), 8, 8)
    return Layer(name="varied", operator=Operator.CONV, K=near(max(layer.K, 8), 8, 8), C=c,
                 Y=edge, X=edge, R=taps, S=taps, stride=int(rng.choice([1, 1, 1, 2])),
                 padding=taps // 2)  # fmt: skip


def random_hardware(rng: np.random.Generator) -> Hardware:
    """The default in half of all draws; otherwise other PEs, memories and buses."""
    if rng.random() < 0.5:
        return Hardware()
    return Hardware(
        pes=int(rng.choice([64, 128, 168, 256, 256, 512])),
        sram_kib=int(rng.choice([128, 256, 320, 320, 512, 1024])),
        bus_in_bits=int(rng.choice([32, 64, 128, 128])),
        bus_out_bits=int(rng.choice([32, 64, 128, 128])),
    )


def random_candidate(
    rng: np.random.Generator, hardware: Hardware, *, test: bool | None = None
) -> Candidate:
    """A random design with buses as wide as the hardware's.

    Args:
        test: only shapes kept for tests, or none of them.
    """
    arrays = space().arrays
    while True:
        style = arrays[rng.integers(len(arrays))]
        if any(style.wires.diagonals) and rng.random() < 0.5:
            continue
        shapes = list(shapes_of(style, hardware.pes))
        logs = np.log([rows for rows, _ in shapes])
        at = int(np.abs(logs - rng.uniform(0, np.log(hardware.pes))).argmin())
        rows, cols = shapes[at]
        if test is not None and is_test_shape(style.key, rows, cols) != test:
            continue
        split = SPLITS[rng.integers(len(SPLITS))]
        design = design_of(style, rows, cols, split, hardware)
        if design is not None:
            return Candidate(style=style, design=design)


def programs(
    problem: Problem, candidate: Candidate, rng: np.random.Generator, most: int
) -> list[Mapping]:
    """Different programs of a layer on a design, some of them good; not all need fit."""
    design = candidate.design
    objective = OBJECTIVES[rng.integers(len(OBJECTIVES))]
    good = [mapping for _, mapping in ranked(problem, design, _GOOD, objective=objective)]
    found = good[:6]
    for mapping in good[:6]:
        steps = list(neighbours(mapping))
        found += [steps[n] for n in rng.choice(len(steps), min(4, len(steps)), replace=False)]
        lanes = (mapping.axis1, mapping.axis2), axes_of(design), problem
        found += [_random_tiles(problem, mapping_of(*lanes), rng) for _ in range(4)]
    options = lane_options(problem, design)
    if options:
        for n in (rng.beta(1, 2, 5) * len(options)).astype(int):
            lanes = options[n][1]
            found += [_random_tiles(problem, mapping_of(lanes, axes_of(design), problem), rng)
                      for _ in range(5)]  # fmt: skip
    short = [mapping for mapping in dict.fromkeys(found) if execs(problem, mapping) <= MOST_EXECS]
    return short[:most]


def execs(problem: Problem, mapping: Mapping) -> int:
    """About how many EXECs a program has."""
    lanes = dict(mapping.axis1 + mapping.axis2)
    steps = {"k": mapping.ks, "c": mapping.ct, "y": mapping.ys, "x": mapping.xs}
    parts = [ceil_div(problem.size(x), lanes.get(x, 1) * n) for x, n in steps.items()
             if not (problem.depthwise and x == "c")]  # fmt: skip
    return problem.batch * prod(parts)


def _random_tiles(problem: Problem, mapping: Mapping, rng: np.random.Generator) -> Mapping:
    lanes = dict(mapping.axis1 + mapping.axis2)
    sizes: dict[str, int] = {}
    for loop in "kcyx":
        whole = ceil_div(problem.size(loop), lanes.get(loop, 1))
        share = 1 - rng.random() ** 2 if loop == "c" else rng.random()
        rounds = max(1, round(whole ** (1 - share)))
        sizes[f"{loop}t"] = ceil_div(whole, rounds)
    whole_c = sizes["ct"] * lanes.get("c", 1) >= problem.c or problem.depthwise
    for loop in "kyx":
        parts = int(rng.integers(1, 5)) if whole_c and rng.random() < 0.4 else 1
        sizes[f"{loop}s"] = ceil_div(sizes[f"{loop}t"], parts)
    trim = problem.depthwise and problem.padding > 0 and rng.random() < 0.4
    return replace(
        mapping,
        **sizes,
        tiles=TILE_ORDERS[rng.integers(3)],
        snake=bool(rng.random() < 0.3),
        late_params=bool(rng.random() < 0.7),
        trim=trim and max(lanes.get("y", 1), lanes.get("r", 1)) == 1,
        lead=int(rng.choice([1, 1, 2, 3])) if lanes.get("y", 1) == 1 and whole_c else 1,
    )


def results(
    layer: Layer, candidate: Candidate, hardware: Hardware, mappings: Sequence[Mapping]
) -> tuple[Integers, Floats]:
    """Codes (m x 42) of the mappings that run, and logs of cycles and nJ (m x 2)."""
    design = candidate.design
    exact = evaluate_batch(problem_of(layer), design, mappings, counters=True)
    ran = exact.cycles > 0
    if not ran.any():
        return np.zeros((0, len(NAMES)), dtype=np.int64), np.zeros((0, 2))
    counters = dict(zip(COUNTERS, exact.counters[ran].T, strict=True))
    energy = physical.energy_nj(design, hardware, counters, exact.cycles[ran])
    codes = [encode(candidate, m) for m, ok in zip(mappings, ran, strict=True) if ok]
    return np.array(codes), np.log(np.stack([exact.cycles[ran], energy], axis=1))


# --- the data set -------------------------------------------------------------------


def make(folder: Path, *, cases: int, seed: int, most: int = 64) -> Path:
    """The folder with `cases` cases in shards; a run that was stopped goes on.

    Raises: InputError for a folder with another data set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    card = {"format": FORMAT, "cases": cases, "seed": seed, "most": most, "names": list(NAMES)}
    manifest = folder / "manifest.json"
    if manifest.is_file() and json.loads(manifest.read_text()) != card:
        raise InputError(f"{folder}: holds another data set; accepted: an empty folder, or the "
                         "same --cases and --seed")  # fmt: skip
    manifest.write_text(json.dumps(card))
    numbers = range(0, cases, SHARD)
    todo = [first for first in numbers if not _shard(folder, first).is_file()]
    with progress(f"{folder.name}: cases", cases) as advance:
        advance(cases - sum(min(SHARD, cases - first) for first in todo))
        for first in todo:
            here = min(SHARD, cases - first)
            _write_shard(_shard(folder, first), first, here, seed, most)
            advance(here)
    return folder


def _shard(folder: Path, first: int) -> Path:
    return folder / f"cases-{first:07d}.npz"


def _write_shard(path: Path, first: int, cases: int, seed: int, most: int) -> None:
    train, tests = known_layers()
    nests = frozenset(problem_of(layer) for layer in tests)
    codes, logs, of, parts, layers, machines = [], [], [], [], [], []
    for case in range(first, first + cases):
        rng = np.random.default_rng([seed, case])
        part = int(rng.choice(len(PARTS), p=_SHARES))
        layer, hardware, candidate = _draw(part, rng, train, tests, nests)
        mappings = programs(problem_of(layer), candidate, rng, most)
        if not mappings:
            continue
        found, values = results(layer, candidate, hardware, mappings)
        codes.append(found)
        logs.append(values)
        of += [len(layers)] * len(found)
        parts += [part] * len(found)
        layers.append(asdict(layer))
        machines.append(hardware.to_dict())
    whole = json.dumps({"layers": layers, "machines": machines})
    aside = path.with_suffix(f".{os.getpid()}.tmp.npz")
    np.savez_compressed(
        aside,
        codes=np.concatenate(codes).astype(np.int32),
        logs=np.concatenate(logs),
        case=np.array(of, dtype=np.int32),
        part=np.array(parts, dtype=np.int8),
        of=np.frombuffer(whole.encode(), dtype=np.uint8),
    )
    aside.replace(path)


def _draw(
    part: int,
    rng: np.random.Generator,
    train: Sequence[Layer],
    tests: Sequence[Layer],
    nests: frozenset[Problem],
) -> tuple[Layer, Hardware, Candidate]:
    if PARTS[part] in ("test layers", "test both"):
        layer = tests[rng.integers(len(tests))]
    else:
        layer = train[rng.integers(len(train))]
        if rng.random() < 0.7:
            layer = varied(layer, rng, nests)
    hardware = random_hardware(rng)
    test = PARTS[part] in ("test designs", "test both")
    return layer, hardware, random_candidate(rng, hardware, test=test)


def load(folder: Path) -> Rows:
    """All rows of a data set; `layer` and `machine` number cases' layers and hardware once each.

    Raises: InputError for a folder without rows, or with numbers that are not finite.
    """
    files = sorted(folder.glob("cases-*.npz"))
    files = [file for file in files if ".tmp" not in file.name]
    if not files:
        raise InputError(f"{folder}: no data set; make one with `dcp-hw train --space tensorlib`")
    layers: dict[Layer, int] = {}
    machines: dict[Hardware, int] = {}
    parts: list[tuple[NDArray, ...]] = []
    for file in files:
        parts.append(_read_shard(file, layers, machines))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    rows = Rows(*columns, tuple(layers), tuple(machines))
    if not len(rows):
        raise InputError(f"{folder}: no rows; accepted: at least one case that runs")
    if not np.isfinite(rows.logs).all():
        raise InputError(f"{folder}: cycles or energies that are no numbers; make it again")
    return rows


def _read_shard(
    file: Path, layers: dict[Layer, int], machines: dict[Hardware, int]
) -> tuple[NDArray, ...]:
    try:
        with np.load(file, allow_pickle=False) as held:
            of = json.loads(held["of"].tobytes())
            codes, logs, case, part = (held[name] for name in ("codes", "logs", "case", "part"))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{file}: no shard of a data set ({error}); remove it") from None
    mine = [
        layers.setdefault(replace(Layer(**one), name="layer", count=1), len(layers))
        for one in of["layers"]
    ]
    theirs = [machines.setdefault(Hardware(**one), len(machines)) for one in of["machines"]]
    layer, machine = (np.array(each, dtype=np.int64)[case] for each in (mine, theirs))
    return codes.astype(np.int64), layer, machine, part.astype(np.int64), logs


def by_case(rows: Rows) -> Iterator[NDArray]:
    """Row numbers of each layer."""
    order = np.argsort(rows.layer, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(rows.layer[order])) + 1)
