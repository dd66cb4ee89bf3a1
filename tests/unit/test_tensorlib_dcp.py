"""The Tensorlib space's codes, predictor and propagation."""

from __future__ import annotations

import argparse
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dcp_hw import funnel_near as near  # noqa: E402
from dcp_hw import tensorlib_dcp as dcp  # noqa: E402
from dcp_hw import tensorlib_dcp_code as tc  # noqa: E402
from dcp_hw import tensorlib_dcp_data as data  # noqa: E402
from dcp_hw import tensorlib_dcp_form as tf  # noqa: E402
from dcp_hw import tensorlib_dcp_plan as plans  # noqa: E402
from dcp_hw.bounds_programs import PointBound  # noqa: E402
from dcp_hw.candidates import (  # noqa: E402
    SPLITS,
    Candidate,
    Point,
    design_of,
)
from dcp_hw.commands import SEARCHES  # noqa: E402
from dcp_hw.errors import InputError  # noqa: E402
from dcp_hw.explore import METHODS, plan  # noqa: E402
from dcp_hw.fast import evaluate, evaluate_batch  # noqa: E402
from dcp_hw.hardware import Hardware  # noqa: E402
from dcp_hw.known import Choice, Known  # noqa: E402
from dcp_hw.layerset_csv import load_layerset  # noqa: E402
from dcp_hw.metrics import Infeasible  # noqa: E402
from dcp_hw.problem import problem_of  # noqa: E402
from dcp_hw.space import shapes_of, space  # noqa: E402
from dcp_hw.tensorlib_dcp_legal import harden  # noqa: E402
from dcp_hw.tensorlib_dcp_points import points_of  # noqa: E402
from dcp_hw.tensorlib_dcp_settings import MOST_CHECKS, Descent, Settings  # noqa: E402
from dcp_hw.tensorlib_dcp_train import fresh  # noqa: E402
from dcp_hw.workload import LayerSet  # noqa: E402
from predictors import tensorlib as predictors  # noqa: E402
from predictors import tensorlib_fit, tensorlib_form, tensorlib_point  # noqa: E402
from predictors.interface import PredictorError  # noqa: E402
from predictors.tensorlib_point import ARRAY_NAMES, LAYER_NAMES  # noqa: E402

HW = Hardware()
LAYERS = tuple(load_layerset("mobilenetv2"))
SOME = tuple(LAYERS[n] for n in (0, 1, 3, 12, 30))


@pytest.fixture(scope="module")
def closed() -> predictors.DesignPredictor:
    """A predictor that has learnt nothing: the closed form with its prices."""
    return fresh(HW.technology, HW.clock_mhz).eval().requires_grad_(False)


def numbers(layer) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[no-untyped-def]
    nest = problem_of(layer)
    return np.array([tc.layer_numbers(layer, nest)]), np.array([tc.machine_numbers(HW)])


# --- codes --------------------------------------------------------------------------


def test_every_array_has_a_code_of_its_own() -> None:
    fields = [tc.style_fields(style) for style in tc.styles()]
    assert len(set(fields)) == len(fields) == 291
    assert tc.array_table().shape == (291, len(ARRAY_NAMES))


@pytest.mark.parametrize("seed", range(4))
def test_codes_of_programs_that_run_come_back(seed: int) -> None:
    """Drawn designs and programs of all kinds: decode(encode) is what was encoded."""
    rng = np.random.default_rng(seed)
    compared = 0
    for layer in rng.choice(np.array(SOME, dtype=object), 3):
        candidate = data.random_candidate(rng, HW)
        mappings = data.programs(problem_of(layer), candidate, rng, 20)
        exact = evaluate_batch(problem_of(layer), candidate.design, mappings)
        for mapping, cycles in zip(mappings, exact.cycles, strict=True):
            if cycles:
                found = tc.decode(tc.encode(candidate, mapping), layer, HW)
                assert found == (candidate, mapping)
                compared += 1
    assert compared >= 5


def test_designs_with_narrow_buses_come_back() -> None:
    style = space().arrays[0]
    design = design_of(style, 16, 16, SPLITS[3], HW, (64, 32))
    assert design is not None
    candidate = Candidate(style=style, design=design)
    assert tc.decode_array(tc.encode_array(candidate), HW) == candidate


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("bus_in", 256, "buses of 256"),
        ("axis_1", 7, "no array"),
        ("rows", 17, "no shape"),
        ("rows", 0, "no shape"),
        ("share_input", 11, "no memory split"),
        ("tile_order", 3, "tile_order 3"),
        ("step_order", -1, "step_order -1"),
        ("trim", 2, "trim 2"),
        ("kt", 0, "steps and lanes"),
        ("lanes_1k", 0, "at least 1"),
        ("lanes_1k", 3, "power of two"),
        ("lanes_1c", 16, "one digit of one axis"),
        ("yt", 1000, "fit"),
        ("flat", 1, "flat"),
    ],
)
def test_codes_that_are_no_design_say_why(name: str, value: int, reason: str) -> None:
    layer = LAYERS[0]
    style = next(style for style in space().arrays if style.key == "uo")
    design = design_of(style, 64, 4, SPLITS[0], HW)
    assert design is not None
    candidate = Candidate(style=style, design=design)
    rng = np.random.default_rng(0)
    mapping = data.programs(problem_of(layer), candidate, rng, 1)[0]
    code = tc.encode(candidate, mapping)
    assert not isinstance(tc.decode(code, layer, HW), Infeasible)
    code[tc.AT[name]] = value
    found = tc.decode(code, layer, HW)
    assert isinstance(found, Infeasible)
    assert reason in found.reason
    assert isinstance(tc.decode(code[:10], layer, HW), Infeasible)


# --- legality -----------------------------------------------------------------------


def test_hardened_codes_are_designs_and_most_programs_run() -> None:
    """Also after random steps: every array is built, and what is said to fit mostly runs."""
    random = torch.Generator().manual_seed(2)
    context = tf.context_of([SOME], HW).times(64)
    form = tf.random_form(context, [random])
    for part in form.tensors():
        part += torch.randn(part.shape, generator=random, dtype=torch.float64)
    points, codes = harden(form, context)
    fits = (fresh(HW.technology, HW.clock_mhz).closed(points).excess <= 1e-6).all(1)
    fits = fits.reshape(64, len(SOME))
    ran = said = 0
    for array in range(64):
        assert isinstance(tc.decode_array(codes[array, 0].numpy(), HW), Candidate)
        for n, layer in enumerate(SOME):
            if not fits[array, n]:
                continue
            said += 1
            found = tc.decode(codes[array, n].numpy(), layer, HW)
            if not isinstance(found, Infeasible):
                if data.execs(problem_of(layer), found[1]) > 500:  # slow to run
                    said -= 1
                    continue
                ran += not isinstance(evaluate(problem_of(layer), found[0].design, found[1]), str)
    assert said >= 10
    assert ran >= 0.75 * said


def test_points_of_codes_equal_hardened_points() -> None:
    random = torch.Generator().manual_seed(3)
    context = tf.context_of([SOME], HW).times(16)
    points, codes = harden(tf.random_form(context, [random]), context)
    rows = codes.flatten(0, 1).numpy()
    other = points_of(rows, points.layer.numpy(), points.machine.numpy())
    for name in ("array", "log_size", "share", "log_tile", "log_exec", "order", "trim", "log_lead"):
        assert torch.allclose(getattr(points, name), getattr(other, name), atol=1e-9), name
    mask = torch.where(points.layer[:, 10:11] > 0, points.array[:, 12:24], points.array[:, :12])
    lanes = [p.log_lanes.flatten(1) * mask for p in (points, other)]
    assert torch.allclose(lanes[0], lanes[1], atol=1e-9)


def test_pinned_arrays_stay(closed: predictors.DesignPredictor) -> None:
    small = Settings(screened=4, programs=2,
                         descent=Descent(rounds=((2, 3),), last=(0, 0)))  # fmt: skip
    groups = dcp.groups_of(SOME[:2], "layer")
    ((first, *_), _) = dcp.propose(groups, HW, "edp", closed, small)
    only = first.candidate
    for some in dcp.propose(groups, HW, "edp", closed, small, only=only):
        assert {p.candidate for p in some} == {only}


# --- the closed form and the predictor ------------------------------------------------


def test_closed_form_is_near_the_exact_model(closed: predictors.DesignPredictor) -> None:
    """Programs of a plain array, good and bad: medians of what the network is to correct."""
    rng = np.random.default_rng(7)
    off: list[np.ndarray] = []
    for layer in SOME:
        style = next(style for style in space().arrays if style.key == "uo")
        design = design_of(style, 64, 4, SPLITS[0], HW)
        assert design is not None
        candidate = Candidate(style=style, design=design)
        mappings = data.programs(problem_of(layer), candidate, rng, 30)
        codes, logs = data.results(layer, candidate, HW, mappings)
        one, machine = numbers(layer)
        shape = len(codes), 1
        found = closed(points_of(codes, np.tile(one, shape), np.tile(machine, shape)))
        guess = torch.stack([found.log_latency, found.log_energy], dim=1).numpy()
        off.append(np.abs(guess - logs))
    median = np.median(np.concatenate(off), axis=0)
    assert median[0] < 0.08
    assert median[1] < 0.15


def test_gradients_of_sizes_equal_finite_differences(
    closed: predictors.DesignPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its roundings the form is smooth: each slope is a difference quotient."""
    for module in (tensorlib_fit, tensorlib_point):
        monkeypatch.setattr(module, "through", lambda hard, soft: soft)
    for module in (tensorlib_fit, tensorlib_form):
        monkeypatch.setattr(module, "up", lambda a: torch.where(a > 1, a, 0.8 + 0.2 * a))
    random = torch.Generator().manual_seed(11)
    context = tf.context_of([SOME], HW).times(12)
    points, _ = harden(tf.random_form(context, [random]), context)
    logs = ("log_lanes", "log_tile", "log_exec", "log_size")
    off = {
        name: getattr(points, name).detach()
        + 0.05 * torch.rand(getattr(points, name).shape, generator=random, dtype=torch.float64)
        for name in logs
    }
    off["array"] = 0.9 * points.array.detach() + 0.05 * torch.rand(
        points.array.shape, generator=random, dtype=torch.float64
    )
    points = points.moved(order=torch.softmax(points.order.detach(), 1), **off)
    for name in ("share", *logs, "order", "array"):
        part = getattr(points, name).detach()
        direction = torch.randn(part.shape, generator=random, dtype=torch.float64)
        moved = part.clone().requires_grad_()
        values = closed.closed(points.moved(**{name: moved}))
        (slope,) = torch.autograd.grad((values.latency + values.energy).sum(), moved)
        expected = (slope * direction).reshape(len(points), -1).sum(1)
        step = 1e-7
        with torch.no_grad():
            ends = [closed.closed(points.moved(**{name: part + sign * step * direction}))
                    for sign in (1, -1)]  # fmt: skip
        high, low = (end.latency + end.energy for end in ends)
        same = torch.isclose((high - low) / (2 * step), expected, rtol=1e-3, atol=1e-4)
        assert same.double().mean() > 0.8, name  # the others cross a limit of a choice


def test_gradients_of_bus_and_lead_are_exact(closed: predictors.DesignPredictor) -> None:
    """Cycles are smooth in the bus width and in the lead: every slope is a difference quotient."""
    random = torch.Generator().manual_seed(12)
    context = tf.context_of([SOME], HW).times(8)
    points, _ = harden(tf.random_form(context, [random]), context)
    for name in ("log_bus", "log_lead"):
        part = getattr(points, name).detach().double()
        moved = part.clone().requires_grad_()
        (slope,) = torch.autograd.grad(
            closed.closed(points.moved(**{name: moved})).latency.sum(), moved
        )
        direction = torch.randn(part.shape, generator=random, dtype=torch.float64)
        step = 1e-6
        with torch.no_grad():
            high, low = (
                closed.closed(points.moved(**{name: part + sign * step * direction})).latency
                for sign in (1, -1)
            )
        measured = (high - low) / (2 * step)
        expected = (slope * direction).reshape(len(points), -1).sum(1)
        assert torch.isclose(measured, expected, rtol=1e-4, atol=1e-7).double().mean() > 0.95


def test_a_step_against_the_gradient_lowers_the_loss(closed: predictors.DesignPredictor) -> None:
    """Of tiles and lanes, whose values are rounded: most designs get better within a few steps."""
    groups = dcp.groups_of(SOME, "layer")
    settings = Settings(screened=32, programs=2, checks=1)
    short = Descent(rounds=((8, 12),), last=(4, 6))
    moved = dcp.propose(groups, HW, "edp", closed, Settings(
        screened=32, programs=2, checks=1, descent=short))  # fmt: skip
    still = dcp.propose(groups, HW, "edp", closed, Settings(
        screened=settings.screened, programs=2, checks=1, descent=None))  # fmt: skip
    gain = [b[0].value - a[0].value for a, b in zip(moved, still, strict=True)]
    assert min(gain) >= 0
    assert np.mean(gain) > 0.5


def test_model_level_sums_over_layers(closed: predictors.DesignPredictor) -> None:
    """The value of a network is that of its layers' cycles and energies with their counts."""
    short = Settings(screened=16, programs=2, descent=Descent(rounds=((4, 4),), last=(4, 4)))
    (found,) = dcp.propose(dcp.groups_of(SOME, "model"), HW, "edp", closed, short)
    assert 1 <= len(found) <= MOST_CHECKS
    assert len({p.candidate.design.name for p in found}) == len(found)
    for one in found:
        cycles = sum(layer.count * c for layer, c in zip(SOME, one.cycles, strict=True))
        energy = sum(layer.count * e for layer, e in zip(SOME, one.energy_nj, strict=True))
        assert math.isclose(one.value, math.log(cycles) + math.log(energy), rel_tol=1e-9)


# --- checkpoints --------------------------------------------------------------------


def test_shipped_checkpoint_loads_and_names_its_data() -> None:
    model, card = predictors.load(predictors.SHIPPED)
    assert card["rows"] > 100_000
    assert card["errors"]["test both: latency"]["median_error"] < 0.05
    assert card["errors"]["test both: energy"]["spearman_in_layer"] > 0.97
    assert not any(p.requires_grad for p in model.parameters())


def test_foreign_and_damaged_checkpoints_are_refused(
    tmp_path: Path, closed: predictors.DesignPredictor
) -> None:
    maestro = predictors.WEIGHTS.parent / "maestro" / "ours.safetensors"
    with pytest.raises(InputError, match="space is 'maestro'"):
        dcp.load_predictor(maestro)
    with pytest.raises(InputError, match="no checkpoint"):
        dcp.load_predictor(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("not weights")
    with pytest.raises(InputError, match="no readable safetensors"):
        dcp.load_predictor(tmp_path / "text.safetensors")
    wrong = fresh(HW.technology, HW.clock_mhz)
    with torch.no_grad():
        wrong.network[0].weight[0, 0] = math.nan
    predictors.save(tmp_path / "nan.safetensors", wrong, {})
    with pytest.raises(InputError, match="not finite"):
        dcp.load_predictor(tmp_path / "nan.safetensors")
    predictors.save(tmp_path / "other.safetensors", closed, {"features": ["something"]})
    with pytest.raises(PredictorError, match="other features"):
        predictors.load(tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="clock_mhz 250"):
        dcp.check_machine(predictors.SHIPPED, Hardware(clock_mhz=250))


def test_a_predictor_without_numbers_is_refused(closed: predictors.DesignPredictor) -> None:
    broken = fresh(HW.technology, HW.clock_mhz)
    with torch.no_grad():
        broken.scalars[2] = math.nan
    with pytest.raises(InputError, match="not finite"):
        dcp.propose(dcp.groups_of(SOME[:1], "layer"), HW, "energy", broken, Settings(screened=4))


def test_data_with_nan_is_refused(tmp_path: Path) -> None:
    folder = data.make(tmp_path / "set", cases=2, seed=4, most=6)
    rows = data.load(folder)
    assert len(rows) > 0
    assert rows.codes.shape[1] == len(tc.NAMES)
    file = next(folder.glob("cases-*.npz"))
    with np.load(file) as held:
        columns = dict(held)
    columns["logs"][0, 1] = math.nan
    np.savez(file, **columns)
    with pytest.raises(InputError, match="no numbers"):
        data.load(folder)
    with pytest.raises(InputError, match="another data set"):
        data.make(folder, cases=3, seed=4, most=6)


def test_test_layers_are_never_learnt_from() -> None:
    train, tests = data.known_layers()
    assert not {problem_of(x) for x in train} & {problem_of(x) for x in tests}
    assert {problem_of(x) for x in LAYERS} <= {problem_of(x) for x in tests}


# --- SEARCH=dcp ---------------------------------------------------------------------


def test_search_dcp_plans_tiny_in_both_modes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Predicted only: designs, a choice for every layer, and no more checks than allowed."""
    monkeypatch.setenv("DCP_HW_CACHE", str(tmp_path))
    small = Settings(screened=24, programs=2,
                         descent=Descent(rounds=((8, 6),), last=(8, 6)))  # fmt: skip
    monkeypatch.setattr(plans, "LAYER", small)
    monkeypatch.setattr(plans, "MODEL", small)
    monkeypatch.setattr(plans, "FULL", plans.QUICK)
    monkeypatch.setattr(plans, "FULL_DESIGNS", 1)
    layers = LayerSet("some", tuple(load_layerset("tiny"))[:2])
    assert set(SEARCHES) == set(METHODS)
    for mode, method in product(("fixed", "per-layer"), ("dcp", "dcp-without-gradients")):
        known = Known(HW, "edp", 1)
        found = plan(mode, layers, known, method=method)
        assert found.search["method"] == method
        chosen = {name for some in found.choices.values() for name in some}
        assert chosen == {layer.name for layer in layers}
        assert all(isinstance(x, Choice) for some in found.choices.values() for x in some.values())
        assert len(found.designs) <= (1 if mode == "fixed" else 6)
        for layer in layers:
            checked = {name for name, of, *_ in (*known.screened, *known.table) if of == layer.name}
            assert 1 <= len(checked) <= MOST_CHECKS
        parts = ("narrower_bus", "more_skew", "bound", "no_room", "screened", "not_examined")
        assert sum(found.search[part] for part in parts) == found.search["candidates"]


def test_options_of_the_other_space_are_refused() -> None:
    from dcp_hw.tensorlib_dcp_cli import optimise

    with pytest.raises(InputError, match="--front with --space tensorlib"):
        optimise(argparse.Namespace(front=3, common_tiles=False, technology=None))


def test_layer_numbers_have_their_names() -> None:
    assert len(tc.layer_numbers(LAYERS[0], problem_of(LAYERS[0]))) == len(LAYER_NAMES)


def test_the_bound_chooses_shapes_near_the_proposed_ones_and_splits() -> None:
    """A poor shape is proposed; what is checked are the best designs of those near it."""
    layer = LAYERS[5]
    style = next(style for style in space().arrays if style.key == "wo")
    start = Point(style=style, rows=16, cols=16)
    chosen = near.likely(layer, [start], HW, "edp", 5)
    points = [point for (point, _), _ in chosen]
    assert len(chosen) == 5
    assert max(points.count(point) for point in points) <= near.OF_A_SHAPE

    def bound(point: Point) -> float:
        probe = point.style.array(point.rows, point.cols, depth=1, words=1)
        least = PointBound(layer, probe, HW, {"edp": math.inf})
        return min(least.least(n, "edp").value for n in range(len(SPLITS)))

    best = min(bound(point) for point in (start, *near.near(start, HW.pes)))
    assert bound(points[0]) <= best
    assert bound(points[0]) < bound(start)


def test_shapes_near_one_differ_in_one_thing() -> None:
    style = next(style for style in space().arrays if style.key == "iw")
    found = list(near.near(Point(style=style, rows=32, cols=8), HW.pes))
    keys = {(point.style.key, point.rows, point.cols) for point in found}
    assert {("iwho1", 32, 8), ("wi", 8, 32), ("iw", 64, 4), ("iw", 16, 16), ("uw", 32, 8)} <= keys
    assert ("iw", 32, 8) not in keys
    assert all((p.rows, p.cols) in set(shapes_of(p.style, HW.pes)) for p in found)
