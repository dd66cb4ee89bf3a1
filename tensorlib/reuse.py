"""Reuse of every tensor of an operator under a space-time transformation.

The integer kernel of a tensor's access matrix, restricted to the selected loops and mapped by
`T`, is the lattice of `(dp1, dp2, dt)` along which one element is used again. Its rank and
directions fix the interconnect (TensorLib, Jia et al., DAC 2021, Table II); orientation, the
axis-aligned basis and the skewed hold are derived in docs/design-space.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd

from tensorlib.errors import AnalysisError
from tensorlib.lattice import hermite, integer_kernel
from tensorlib.op import Operator
from tensorlib.stt import Stt, Triple

# The eight ways to swap and mirror PE axes: (swap, sign of p1, sign of p2).
AXIS_SYMMETRIES = tuple(itertools.product((False, True), (1, -1), (1, -1)))
_KIND_ORDER = (
    "unicast", "multicast", "reduction_tree", "systolic", "systolic_accumulation", "stationary",
)  # fmt: skip
_LETTERS = {
    "unicast": "U", "multicast": "M", "reduction_tree": "M", "systolic": "S",
    "systolic_accumulation": "S", "stationary": "T",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorReuse:
    """Reuse of one tensor: its lattice, and the links that the array is built with.

    `basis` holds `rank` vectors `(dp1, dp2, dt)` with `dt >= 0`, spatial ones first, a purely
    temporal one last; `kinds` names the dataflow of each. Basis vectors generate `lattice`.
    """

    tensor: str
    is_output: bool
    lattice: tuple[Triple, ...]  # Hermite normal form, rank x 3
    basis: tuple[Triple, ...]

    @property
    def rank(self) -> int:
        """Dimensions of reuse: the nullity of the access matrix on the selected loops."""
        return len(self.lattice)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Dataflow kind of each basis vector; `("unicast",)` where there is none."""
        return tuple(vector_kind(v, is_output=self.is_output) for v in self.basis) or ("unicast",)

    @property
    def kind(self) -> str:
        """Kinds in a fixed order, joined by `+`, e.g. `multicast+systolic`."""
        return "+".join(sorted(self.kinds, key=_KIND_ORDER.index))

    @property
    def letter(self) -> str:
        """Letter of the tensor in a TensorLib label: U, M, S, T, or B from rank 2 on."""
        return "B" if self.rank > 1 else _LETTERS[self.kind]

    @property
    def spatial(self) -> tuple[Triple, ...]:
        """Basis vectors that lead to another PE: the links of the array."""
        return tuple(v for v in self.basis if v[:2] != (0, 0))

    @property
    def held(self) -> bool:
        """Whether a PE uses one element throughout a sweep (a purely temporal vector)."""
        return any(v[:2] == (0, 0) for v in self.basis)

    @property
    def long_link(self) -> bool:
        """Whether some link spans two or more PEs along an axis."""
        return any(max(abs(v[0]), abs(v[1])) > 1 for v in self.spatial)

    @property
    def diagonal_link(self) -> bool:
        """Whether some link runs along both axes at once."""
        return any(v[0] and v[1] for v in self.spatial)

    @property
    def classes(self) -> int:
        """Elements that complete per cycle on a large array for two spatial directions, else 0.

        1: an axis-aligned basis exists and one port serves the array. More (`|w_3|`, 2 or 3 over
        {-1, 0, 1}): one port per residue class of PEs, no axis-aligned basis.
        """
        if len(self.spatial) < 2:
            return 0
        (a, b, _), (c, d, _) = self.spatial
        return abs(a * d - b * c)

    @property
    def axis_aligned(self) -> bool:
        """False where reuse has two spatial directions but no axis-aligned basis."""
        return self.classes < 2


@dataclass(frozen=True, slots=True)
class Analysis:
    """Reuse of all tensors of an operator on an array with space-time transformation `stt`."""

    op: Operator
    selected: tuple[str, str, str]
    stt: Stt
    tensors: Mapping[str, TensorReuse]  # inputs first, output last
    skew_loop: int | None  # selected loop whose first step is a PE's local step 0

    @property
    def u(self) -> Triple:
        """Change of the selected loop indices from one step of a PE to its next."""
        return self.stt.u

    @property
    def keeps_pes_busy(self) -> bool:
        """Whether `u` has a single non-zero entry, so that sweeps follow without idle steps."""
        return sum(a != 0 for a in self.u) == 1

    def structure_key(self) -> tuple[tuple[Triple, ...], ...]:
        """Lattices of all tensors, equal for designs that differ by PE axes swapped or mirrored.

        Returns: per tensor (inputs first, output last) its lattice in Hermite normal form, the
            smallest over the eight symmetries of the array.
        """
        return min(
            tuple(_transform(reuse.lattice, *symmetry) for reuse in self.tensors.values())
            for symmetry in AXIS_SYMMETRIES
        )

    def label(self) -> str:
        """TensorLib label: selected loops, then a letter per tensor, e.g. `MNK-SST`.

        Legend (docs/design-space.md): U unicast, M multicast or reduction tree, S systolic, T
        stationary, B reuse in two or three directions; inputs first, output last.
        """
        loops = "".join(i.upper() for i in self.selected)
        return f"{loops}-{''.join(reuse.letter for reuse in self.tensors.values())}"


def analyse(
    op: Operator,
    selected: Sequence[str],
    matrix: Stt | Sequence[Sequence[int]],
    sizes: Mapping[str, int] | None = None,
) -> Analysis:
    """Reuse of every tensor of `op` with the `selected` loops mapped to `(p1, p2, t)`.

    Args:
        selected: three iterators, in the order of the columns of `matrix`.
        matrix: non-singular 3 x 3 integers, rows `p1`, `p2`, `t`.
        sizes: bounds of the selected loops at design time (others are ignored). They decide only
            which loop with `|u_i| = 1` gives the skew: the smallest, without them the first.
    Raises: `AnalysisError` for a wrong selection or a singular matrix.
    """
    stt = matrix if isinstance(matrix, Stt) else Stt.of(matrix)
    loops = tuple(selected)
    if len(loops) != 3 or len(set(loops)) != 3:
        raise AnalysisError(f"select three different loops of {op.iterators}, got {loops}")
    for loop in loops:
        op.column(loop)
    skew_loop = choose_skew_loop(stt, [sizes[i] for i in loops] if sizes else (1, 1, 1))
    tensors = {t: _tensor_reuse(op, loops, stt, t, skew_loop) for t in op.tensor_names}
    return Analysis(op, loops, stt, tensors, skew_loop)


def choose_skew_loop(stt: Stt, sizes: Sequence[int]) -> int | None:
    """Position of the smallest loop with `|u_i| = 1`; None if no loop has that or `|det| > 1`.

    Every step of a PE's window lies in that loop's range, which starts at the PE's skew.
    """
    if not stt.unimodular:
        return None
    return min((i for i in range(3) if abs(stt.u[i]) == 1), key=lambda i: sizes[i], default=None)


def skew_vector(stt: Stt, loop: int) -> tuple[int, int]:
    """`(d1, d2)` of the skew `p1 d1 + p2 d2 + const`: cycles later per row and per column.

    The skew is the time at which `loop` (with `|u_loop| = 1`) is at its first step on a PE.
    """
    a1, a2, unit = stt.inverse[loop]
    return (-a1 * unit, -a2 * unit)


def vector_kind(vector: Triple, *, is_output: bool) -> str:
    """Dataflow kind of one reuse vector (TensorLib, Jia et al., DAC 2021, Table II)."""
    if vector[:2] == (0, 0):
        return "stationary"
    if vector[2] == 0:
        return "reduction_tree" if is_output else "multicast"
    return "systolic_accumulation" if is_output else "systolic"


def orient(vector: Sequence[int]) -> Triple:
    """`vector` or its negative: `dt > 0`, or `dt = 0` and the first non-zero entry positive."""
    dp1, dp2, dt = vector
    return (dp1, dp2, dt) if (dt, dp1, dp2) > (0, 0, 0) else (-dp1, -dp2, -dt)


def _tensor_reuse(
    op: Operator, loops: tuple[str, ...], stt: Stt, tensor: str, skew_loop: int | None
) -> TensorReuse:
    kernel = integer_kernel(op.access(tensor, loops), 3)
    lattice = hermite([stt.apply(x) for x in kernel])
    skew = (0, 0) if skew_loop is None else skew_vector(stt, skew_loop)
    return TensorReuse(tensor, tensor == op.output, lattice, link_basis(lattice, skew))  # type: ignore[arg-type]


def link_basis(lattice: Sequence[Triple], skew: tuple[int, int]) -> tuple[Triple, ...]:
    """Oriented basis of a reuse lattice, from which links are built; spatial vectors first.

    Along a purely temporal vector the `dt` of the others is free: it follows the skew. Two
    spatial directions get the axis-aligned basis if there is one, else a reduced one.
    Source: docs/design-space.md, "Links".
    """
    # Hermite form of (dp1, dp2, dt): only the last row can be purely temporal.
    hold = lattice[-1] if lattice and lattice[-1][:2] == (0, 0) else None
    spatial = [v for v in lattice if v is not hold]
    if hold is not None:
        step = hold[2]
        moved = []
        for dp1, dp2, dt in spatial:
            wanted = skew[0] * dp1 + skew[1] * dp2
            moved.append((dp1, dp2, wanted + (dt - wanted) % step))
        return (*(orient(v) for v in moved), hold)
    if len(spatial) == 2 and abs(spatial[0][0] * spatial[1][1]) > 1:
        spatial = list(_reduced_pair(spatial))
    return tuple(orient(v) for v in spatial)


def _reduced_pair(basis: Sequence[Triple]) -> tuple[Triple, Triple]:
    """Shortest basis (PEs, then cycles) of a lattice with two spatial directions.

    Lagrange-Gauss reduction is not needed at this size: all small combinations are compared.
    """
    span = range(-4, 5)
    combined = {
        orient([a * p + b * q for p, q in zip(*basis, strict=True)])
        for a in span for b in span if gcd(a, b) == 1
    }  # fmt: skip
    index = abs(basis[0][0] * basis[1][1] - basis[0][1] * basis[1][0])
    ordered = sorted(combined, key=lambda v: (abs(v[0]) + abs(v[1]), v[2], v))
    for first, second in itertools.combinations(ordered[:24], 2):
        if abs(first[0] * second[1] - first[1] * second[0]) == index:
            return first, second
    raise AnalysisError(f"no short basis for the reuse lattice {tuple(basis)}")


def _transform(lattice: Sequence[Triple], swap: bool, s1: int, s2: int) -> tuple[Triple, ...]:
    """Canonical basis of a lattice after PE axes are mirrored and swapped."""
    moved = [(s1 * a, s2 * b, dt) for a, b, dt in lattice]
    return hermite([(b, a, dt) for a, b, dt in moved] if swap else moved)  # type: ignore[return-value]
