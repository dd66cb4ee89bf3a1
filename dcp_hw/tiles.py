"""The stream of tiles of a mapping: which EXECs run, on what, and what they enable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from dcp_hw.layout import Layout
from dcp_hw.mapping import Unmappable
from dcp_hw.problem import BLOCK, ceil_div


@dataclass(frozen=True, slots=True)
class Step:
    """One EXEC: nest, tile indices, indices of the part of the tile, and its rows and taps.

    Attributes:
        rows: first of the part's rows, and their number.
        taps: first tap along r, and their number.
        last: it is the last EXEC of its part and c tile.
    """

    b: int
    k: int
    c: int
    y: int
    x: int
    sk: int = 0
    sy: int = 0
    sx: int = 0
    rows: tuple[int, int] = (0, 1)
    taps: tuple[int, int] = (0, 1)
    last: bool = True


@dataclass(frozen=True, slots=True)
class Span:
    """One tile along one loop.

    Attributes:
        first: first element.
        count: elements of the layer in it.
        lanes: lanes with work.
        steps: steps of each of them.
    """

    first: int
    count: int
    lanes: int
    steps: int


class TileStream:
    """Tiles of a layout."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.k_span = lru_cache(maxsize=None)(self._k_span)
        self.c_span = lru_cache(maxsize=None)(self._c_span)
        self.y_span = lru_cache(maxsize=None)(self._y_span)
        self.x_span = lru_cache(maxsize=None)(lambda i: self._pixel_span("x", i))

    # ------------------------------------------------------------------- spans

    def _k_span(self, index: int) -> Span:
        """Channels of a k tile; a last tile is spread over the outer lanes anew."""
        p, m, s, t = (
            self.layout.problem,
            self.layout.mapping,
            self.layout.split,
            self.layout.tiles,
        )
        first = index * t.k
        count = min(t.k, p.k - first)
        unit = s.ki * s.kd
        if p.depthwise and s.ko > 1:
            outer, steps = ceil_div(count, m.kt * unit), m.kt
        elif s.ko > 1:
            per_block = BLOCK // unit  # steps per 16 channels
            blocks = ceil_div(count, BLOCK)
            steps = min(m.kt, ceil_div(blocks, s.ko) * per_block)
            outer = ceil_div(blocks * per_block, steps)
        else:
            outer, steps = 1, ceil_div(count, unit)
        lanes = outer * unit if outer > 1 else min(unit, count)
        if s.ko > 1:
            lanes = outer * unit
        return Span(first, count, lanes, steps)

    def _c_span(self, index: int) -> Span:
        p, m, s, t = (
            self.layout.problem,
            self.layout.mapping,
            self.layout.split,
            self.layout.tiles,
        )
        if p.depthwise:
            return Span(0, 1, 1, 1)
        first = index * t.c
        count = min(t.c, p.c - first)
        outer = ceil_div(count, m.ct * s.ci)
        steps = m.ct if outer > 1 else ceil_div(count, s.ci)
        return Span(first, count, outer * s.ci if s.co > 1 else min(s.ci, count), steps)

    def _pixel_span(self, loop: str, index: int) -> Span:
        p, m, t = self.layout.problem, self.layout.mapping, self.layout.tiles
        size, steps = (p.y, m.yt) if loop == "y" else (p.x, m.xt)
        tile = t.y if loop == "y" else t.x
        first = index * tile
        count = min(tile, size - first)
        lanes = ceil_div(count, steps)
        return Span(first, count, lanes, steps if lanes > 1 else count)

    def _y_span(self, index: int) -> Span:
        """A y tile; indices past the last one are pieces of cut tiles, in turn."""
        tiles, pieces = self.layout.tiles.y_tiles, self.layout.mapping.lead
        if index < tiles:
            return self._pixel_span("y", index)
        tile, piece = divmod(index - tiles, pieces)
        whole = self._pixel_span("y", tile)
        size = ceil_div(whole.count, pieces)
        count = max(0, min(size, whole.count - piece * size))
        return Span(whole.first + piece * size, count, 1, count)

    def _pieces(self, y: int, *, cut: bool) -> list[int]:
        """Indices of the y tiles that a tile is done in."""
        tiles, pieces = self.layout.tiles.y_tiles, self.layout.mapping.lead
        if not cut or pieces == 1:
            return [y]
        parts = range(tiles + y * pieces, tiles + (y + 1) * pieces)
        return [n for n in parts if self.y_span(n).count]

    def taps(self, loop: str) -> int:
        """Lanes of r or s with work."""
        p, t = self.layout.problem, self.layout.tiles
        return ceil_div(p.r, t.rt) if loop == "r" else ceil_div(p.s, t.st)

    def tap_reach(self, loop: str) -> int:
        """Taps that the enabled lanes read, r or s (may exceed the layer's)."""
        t = self.layout.tiles
        return self.taps(loop) * (t.rt if loop == "r" else t.st)

    # ------------------------------------------------------------------- order

    def steps(self) -> Iterator[Step]:
        """All EXECs in program order."""
        p, m, t = self.layout.problem, self.layout.mapping, self.layout.tiles
        counts = {"k": t.k_tiles, "y": t.y_tiles, "x": t.x_tiles}
        names = (*m.tiles, "c")
        bounds = (*(counts[loop] for loop in m.tiles), t.c_tiles)
        walk = list(_walk(bounds, snake=m.snake))
        ends = (0, p.batch * len(walk) - 1)
        for b in range(p.batch):
            for n, indices in enumerate(walk):
                at = dict(zip(names, indices, strict=True))
                for y in self._pieces(at["y"], cut=b * len(walk) + n in ends):
                    for part in self._parts(at["k"], y, at["x"]):
                        yield from self._rows((b, at["k"], at["c"], y, at["x"], *part))

    def _parts(self, k: int, y: int, x: int) -> Iterator[tuple[int, int, int]]:
        """Indices of the parts of a tile that EXECs work on, along k, y and x."""
        m = self.layout.mapping
        yield from product(
            range(ceil_div(self.k_span(k).steps, m.ks)),
            range(ceil_div(self.y_span(y).steps, m.ys)),
            range(ceil_div(self.x_span(x).steps, m.xs)),
        )

    def _rows(self, tile: tuple[int, ...]) -> Iterator[Step]:
        """The EXECs of one part of a tile: one, or with `trim` one per kind of border."""
        p, m, t = self.layout.problem, self.layout.mapping, self.layout.tiles
        b, k, c, y, x, sk, sy, sx = tile
        count = min(m.ys, self.y_span(y).steps - sy * m.ys)
        runs: list[tuple[tuple[int, int], tuple[int, int]]] = [((0, count), (0, t.rt))]
        if m.trim:
            runs = []
            for row in range(count):
                top = (self.y_span(y).first + sy * m.ys + row) * p.stride - p.padding
                low = max(0, ceil_div(-top, p.dilation))
                high = min(p.r, (p.in_y - 1 - top) // p.dilation + 1)
                if high <= low:
                    raise Unmappable("a row of outputs has no input to trim to")
                taps = (low, high - low)
                if runs and runs[-1][1] == taps:
                    runs[-1] = ((runs[-1][0][0], runs[-1][0][1] + 1), taps)
                else:
                    runs.append(((row, 1), taps))
        for n, (rows, taps) in enumerate(runs):
            yield Step(b, k, c, y, x, sk, sy, sx, rows, taps, n == len(runs) - 1)

    def loaded_rows(self, y: int) -> tuple[int, int]:
        """First input row of a y tile (may be in the padding) and number of rows to load."""
        p, m = self.layout.problem, self.layout.mapping
        span = self.y_span(y)
        height = (span.lanes - 1) * m.yt + span.steps
        first = span.first * p.stride - p.padding
        rows = (height - 1) * p.stride + (self.tap_reach("r") - 1) * p.dilation + 1
        if m.trim:
            last = min(first + rows, p.in_y)
            first = max(0, first)
            rows = last - first
        return first, rows

    def input_key(self, step: Step) -> tuple[int, int, int, int]:
        """What input tile an EXEC reads."""
        channel = step.k if self.layout.problem.depthwise else step.c
        return step.b, channel, step.y, step.x

    def weight_key(self, step: Step) -> tuple[int, int, int]:
        """What weight tile an EXEC reads."""
        return step.b, step.k, step.c

    # ------------------------------------------------------------------ bounds

    def bounds(self, step: Step) -> dict[str, int]:
        """Steps of each loop in an EXEC."""
        m, t = self.layout.mapping, self.layout.tiles
        return {
            "k": min(m.ks, self.k_span(step.k).steps - step.sk * m.ks),
            "c": self.c_span(step.c).steps,
            "y": step.rows[1],
            "x": min(m.xs, self.x_span(step.x).steps - step.sx * m.xs),
            "r": step.taps[1],
            "s": t.st,
        }

    def active(self, step: Step) -> dict[str, int]:
        """Lanes with work of each loop in an EXEC."""
        return {
            "k": self.k_span(step.k).lanes,
            "c": self.c_span(step.c).lanes,
            "y": self.y_span(step.y).lanes,
            "x": self.x_span(step.x).lanes,
            "r": self.taps("r"),
            "s": self.taps("s"),
        }

    def active_weight(self, k: int, c: int) -> dict[str, int]:
        """Lanes with work of the loops of a weight tile."""
        return {
            "k": self.k_span(k).lanes,
            "c": self.c_span(c).lanes,
            "r": self.taps("r"),
            "s": self.taps("s"),
        }


def _walk(bounds: tuple[int, ...], *, snake: bool) -> Iterator[tuple[int, ...]]:
    """All index tuples, last one fastest; with `snake` each inner loop turns around."""
    if not bounds:
        yield ()
        return
    backwards = False
    for i in range(bounds[0]):
        inner = list(_walk(bounds[1:], snake=snake))
        if snake and backwards:
            inner.reverse()
        backwards = not backwards
        for rest in inner:
            yield (i, *rest)


class Residency:
    """Two buffers of one tensor, used in turn: what must be loaded, where, and when it goes."""

    def __init__(self, keys: list[tuple[int, ...]]) -> None:
        """Args: keys: tile that each use reads."""
        self.buffer: list[int] = []
        self.load: list[bool] = []
        self.release = [False] * len(keys)
        content: list[tuple[int, ...] | None] = [None, None]
        used = [-1, -1]
        for index, key in enumerate(keys):
            if key in content:
                place = content.index(key)
                self.load.append(False)
            else:
                place = 0 if used[0] <= used[1] else 1
                if used[place] >= 0:
                    self.release[used[place]] = True
                content[place] = key
                self.load.append(True)
            used[place] = index
            self.buffer.append(place)
        for last in used:
            if last >= 0:
                self.release[last] = True
