"""The table of experiment fig11, from a report written by hand."""

from __future__ import annotations

from typing import Any

from dcp_hw.experiments.fig11 import network_rows


def layer(design: str, name: str, cycles: int | None, count: int, **more: Any) -> dict[str, Any]:
    """A row of a report; mode by design."""
    return {
        "layer": name,
        "mode": "fixed" if design == "mine" else "example",
        "design": design,
        "count": count,
        "measured_cycles": cycles,
        "predicted_cycles": cycles,
        "words_compared": 7,
        "mismatches": 0,
    } | more


def total(design: str, cycles: int | None, energy: float | None) -> dict[str, Any]:
    """A total of a report; the sum of bounds is 100."""
    return {
        "mode": "fixed" if design == "mine" else "example",
        "design": design,
        "measured_cycles": cycles,
        "ratio_to_bound": cycles / 100 if cycles else None,
        "energy_total_nj": energy,
        "edp": cycles * energy if cycles and energy else None,
    }


def test_rows_of_a_network() -> None:
    report = {
        "designs": [
            {"id": name, "label": name.upper(), "area_mm2": area}
            for name, area in (("mine", 1.5), ("other", 1.0), ("small", 0.5))
        ],
        "totals": [total("mine", 120, 10.0), total("other", 360, 20.0), total("small", None, None)],
        "layers": [
            layer("mine", "a", 50, 2),
            layer("mine", "b", 20, 1),
            layer("other", "a", 170, 2, mismatches=3),
            layer("other", "b", 20, 1, predicted_cycles=19),
            layer("small", "a", 70, 2),
            layer("small", "b", None, 1),
        ],
    }
    mine, other, small = network_rows("net", "dcp", report, 1200.0)
    assert (mine.edp_ratio, other.edp_ratio, small.edp_ratio) == (1.0, 6.0, None)
    assert (mine.search, other.search) == ("dcp", "")
    assert (mine.bound_ratio, other.bound_ratio) == (1.2, 3.6)
    assert (mine.layers, other.layers, small.layers) == (2, 2, 1)
    assert (mine.mismatches, other.mismatches) == (0, 3)
    assert (mine.unpredicted, other.unpredicted) == (0, 1)
    assert (mine.compared, small.compared) == (14, 7)
    assert (other.label, other.area_mm2, other.cycles) == ("OTHER", 1.0, 360)
