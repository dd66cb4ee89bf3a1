"""Fixed dataflows: two-level mappings of MAESTRO's styles with tiles stated here.

NVDLA-like: K over clusters, C over 64 PEs, weights stay, one element of each dimension in a PE.
Eyeriss-like: output rows over clusters, filter rows over PEs (as many as the filter has), 2 output
and 3 input channels in a PE. ShiDianNao-like: output rows over clusters, 8 columns over PEs,
outputs stay. Filters are whole. Where a PE's buffer or the L2 is too small, tiles of the cluster
are halved, the widest dimension first; every attempt is a sample.

Sources: `dse_space.STYLES`; maestro-project/maestro, data/mapping (kcp_ws, rs, yxp_os).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dcp_hw.baselines.problem import Budgeted
from dcp_hw.maestro.dse_space import STYLES
from dcp_hw.maestro.honest_fast import mapping_rows

FIXED = {
    "nvdla-like": ("kc-p", (64, 1, 1, 1, 1)),
    "eyeriss-like": ("yr-p", (0, 2, 3, 1, 1)),
    "shidiannao-like": ("yx-p", (8, 1, 1, 1, 1)),
}
"""Style, and its tile: units of a cluster (0: filter rows), then K C Y X of a PE."""


def fixed_search(name: str) -> Callable[[Budgeted, np.random.Generator], None]:
    """The search that tries a fixed dataflow, and smaller tiles until one is feasible."""
    style, (units, *sizes) = FIXED[name]

    def search(evaluate: Budgeted, _rng: np.random.Generator) -> None:
        layer, pes = evaluate.problem.shape[0], evaluate.problem.space.pes
        spread = min(units or layer.R, pes)
        rows = np.array(mapping_rows(STYLES[style].mapping((spread, *sizes), layer)))
        rows[0, 0] = pes // spread
        while not np.isfinite(evaluate(rows[None])[0]) and rows[:, 8:].max() > 1:
            widest = int(rows[1, 8:].argmax()) if rows[1, 8:].max() > 1 else -1
            for level in range(2):
                at = widest if widest >= 0 else int(rows[0, 8:].argmax())
                if widest >= 0 or level == 0:
                    rows[level, 8 + at] = (rows[level, 8 + at] + 1) // 2
            rows[1, 8:] = np.minimum(rows[1, 8:], rows[0, 8:])

    return search
