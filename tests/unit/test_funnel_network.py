"""Which designs of a network DCP checks: one of each kind, then those like the best ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dcp_hw import funnel_network as networks
from dcp_hw.bounds_programs import PointBound
from dcp_hw.candidates import SPLITS, Point
from dcp_hw.funnel_near import kind
from dcp_hw.funnel_network import Network
from dcp_hw.hardware import Hardware
from dcp_hw.known import Known, network_value
from dcp_hw.layerset_csv import load_layerset
from dcp_hw.space import space

HW = Hardware()
LAYERS = tuple(load_layerset("mobilenetv2"))[15:17]
STYLES = {style.key: style for style in space().arrays}
START = [
    *(Point(style=STYLES["uo"], rows=rows, cols=256 // rows) for rows in (64, 32)),
    Point(style=STYLES["iw"], rows=16, cols=16),
    Point(style=STYLES["uw"], rows=32, cols=8),
    Point(style=STYLES["wo"], rows=28, cols=9),  # a depthwise layer has few channels to add up
]


def total(point: Point, split: int) -> float:
    """Bound of both layers together; the same programs as in `Network`."""
    probe = point.style.array(point.rows, point.cols, depth=1, words=1)
    bounds = [PointBound(x, probe, HW, {"edp": math.inf}, slack=networks.SLACK) for x in LAYERS]
    costs = [(x.count, one.least(split, "edp")[1:]) for x, one in zip(LAYERS, bounds, strict=True)]
    return network_value("edp", costs)


def test_the_first_round_has_the_best_of_every_kind() -> None:
    """But for kinds whose bounds are more than twice the best one."""
    network = Network(LAYERS, HW, "edp", START)
    chosen = [key for key, _ in network.choose(9)]
    assert {kind(point.style) for point, _ in chosen} == {("o", "u"), ("i", "w"), ("u", "w")}
    assert len(chosen) == 3
    for proposed in START[:-1]:
        (mine,) = [key for key in chosen if kind(key[0].style) == kind(proposed.style)]
        assert total(*mine) <= min(total(proposed, n) for n in range(len(SPLITS)))


def test_what_checks_tell_chooses_the_next() -> None:
    """A kind that is far from its bounds is left for the others, whose bounds are worse."""
    network = Network(LAYERS, HW, "edp", START)
    first = network.choose(9)
    best = min(total(*key) for key, _ in first)
    for far in {kind(key[0].style) for key, _ in first}:
        one = Network(LAYERS, HW, "edp", START)
        one.seen, one._bounds = dict(network.seen), dict(network._bounds)
        one.found({key: 9 * best if kind(key[0].style) == far else 2 * best for key, _ in first})
        others = [key for key, _ in one.choose(6)]
        assert others
        assert far not in {kind(point.style) for point, _ in others}
        assert not set(others) & {key for key, _ in first}
        assert all(total(*key) < 2 * best for key in others)


def test_nothing_is_left_to_check_where_bounds_are_reached() -> None:
    network = Network(LAYERS, HW, "edp", START)
    first = network.choose(9)
    network.found({key: total(*key) for key, _ in first})
    assert all(math.isclose(total(*key), network.best) for key, _ in network.choose(9))


def test_shapes_that_cannot_be_best_are_left_out() -> None:
    """Shapes are dropped after some layers where those alone cost more than the best design."""
    network = Network(LAYERS, HW, "edp", START[:1])
    network.found({(START[0], 0): min(network.seen.values()) * 1.2})
    for rows in (256, 128, 16):
        point = Point(style=STYLES["wo"], rows=rows, cols=256 // rows)
        network._look(point)
        whole = total(point, networks.BELOW)
        assert network.seen[point] == (whole if whole < network.best else np.inf)


def test_mirror_images_are_checked_once() -> None:
    network = Network(LAYERS, HW, "edp", START)
    chosen = [key for key, _ in network.choose(9)]
    network.found({key: 3 * total(*key) for key in chosen})
    for _ in range(2):
        some = [key for key, _ in network.choose(8)]
        chosen += some
        network.found({key: 3 * total(*key) for key in some})
    twins = [network._twin(key) for key in chosen]
    assert len(set(twins)) == len(twins) > 10


def test_per_layer_expects_of_a_kind_what_its_nearest_design_costs() -> None:
    """Checked costs stay; a design of a checked kind is as far from its bound, others reach it."""
    plans = pytest.importorskip("dcp_hw.tensorlib_dcp_plan")
    known = Known(HW, "edp", 1)
    pool = {}
    for key, rows in (("uo", 64), ("uo", 32), ("uw", 32)):
        point = Point(style=STYLES[key], rows=rows, cols=256 // rows)
        candidate = point.candidate(SPLITS[0], HW)
        assert candidate is not None
        pool[candidate.design.name] = (point, 0), candidate
    one, like, other = pool
    bounds = plans.bounds_table(pool, LAYERS, known)
    layer = LAYERS[0].name
    assert (
        bounds[like, layer]
        == PointBound(
            LAYERS[0], pool[like][1].design, HW, {"edp": math.inf}, slack=networks.SLACK
        ).least(0, "edp")[1:]
    )
    low, near = bounds[one, layer], bounds[like, layer]
    guess = plans._guess(pool, LAYERS[:1], bounds, {(one, layer): (2 * low[0], 3 * low[1])})
    assert guess[one, layer] == (2 * low[0], 3 * low[1])
    assert guess[like, layer] == pytest.approx((2 * near[0], 3 * near[1]))
    assert guess[other, layer] == bounds[other, layer]
