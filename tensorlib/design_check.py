"""The rules of docs/hardware.md, section 3, that a design must keep."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tensorlib.errors import AnalysisError

if TYPE_CHECKING:
    from tensorlib.design import Design, Exit, Operand, Output, Pe

MAX_AXIS = 1024
MAX_ROWS = 4096  # 16-bit byte addresses
MAX_WORDS = 1 << 16
MAX_PARAM_ROWS = 256
MAX_LANE = 4095
MAX_WINDOW_STEP = 7
DIGITS = 4


def check(design: Design) -> None:
    """Nothing.

    Raises: `AnalysisError` that names the field and says what is accepted.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", design.name):
        raise AnalysisError(
            f"name must be an identifier of letters and digits, got {design.name!r}"
        )
    _within("array.rows", design.rows, 1, MAX_AXIS)
    _within("array.cols", design.cols, 1, MAX_AXIS)
    _within("widths.data", design.data_bits, 2, 8)
    _within("widths.acc", design.acc_bits, 8, 32)
    for name in ("in_bits", "out_bits"):
        if getattr(design, name) not in (32, 64, 128):
            raise AnalysisError(f"bus.{name} must be 32, 64 or 128, got {getattr(design, name)}")
    if design.loops != 6:
        raise AnalysisError(f"loops must be 6, got {design.loops}")
    _within("params.rows", design.param_rows, 1, MAX_PARAM_ROWS)
    if len(design.skew) != design.rows or any(len(row) != design.cols for row in design.skew):
        raise AnalysisError(f"skew must be {design.rows} x {design.cols}")
    if min(min(row) for row in design.skew) < 0:
        raise AnalysisError("skew must be >= 0")
    _check_window(design)
    for name, operand in design.operands:
        _check_operand(design, f"tensors.{name}", operand)
    _check_output(design, design.output)
    chained = [n for n in ("input", "weight", "output") if getattr(design, n).temporal == "chain"]
    if len(chained) > 1:
        raise AnalysisError(f"at most one tensor may be a chain, got {' and '.join(chained)}")


def _check_window(design: Design) -> None:
    if design.window is None:
        return
    if len(design.window) != DIGITS:
        raise AnalysisError(f"window.steps needs {DIGITS} entries, got {list(design.window)}")
    for step in design.window:
        _within("window.steps", step, -MAX_WINDOW_STEP, MAX_WINDOW_STEP)
    if design.chain_tensor is not None:
        raise AnalysisError(f"a design with a window has no chains, got {design.chain_tensor}")


def _check_operand(design: Design, name: str, operand: Operand) -> None:
    _temporal(name, operand.temporal, bool(operand.chains))
    _within(f"{name}.banks", operand.banks, 1, MAX_AXIS**2)
    _within(f"{name}.rows", operand.rows, 1, MAX_ROWS)
    _within(f"{name}.slots", operand.slots, 1, 16)
    if len(operand.lanes) != operand.banks:
        raise AnalysisError(
            f"{name}.lanes needs one entry per bank ({operand.banks}), got {len(operand.lanes)}"
        )
    _in_array(design, f"{name}.lanes", operand.lanes)
    _in_array(design, f"{name}.ports", (port.pe for port in operand.ports))
    skews: dict[int, int] = {}
    for port in operand.ports:
        _within(f"{name}.ports bank", port.bank, 0, operand.banks - 1)
        _within(f"{name}.ports slot", port.slot, 0, operand.slots - 1)
        skew = _skew(design, port.pe)
        if skews.setdefault(port.bank, skew) != skew:
            raise AnalysisError(
                f"{name}: ports of bank {port.bank} have skews {skews[port.bank]} and {skew};"
                " one bank needs one skew"
            )
    _once(f"{name}.ports (bank, slot)", ((port.bank, port.slot) for port in operand.ports))
    if len(skews) != operand.banks:
        unused = sorted(set(range(operand.banks)) - set(skews))
        raise AnalysisError(f"{name}: bank {unused[0]} has no port")
    if operand.temporal == "chain":
        if operand.links:
            raise AnalysisError(f"{name}: a chained tensor has no links")
        _check_chains(design, f"{name}.chains", operand.chains, rising=True)
        firsts = {chain[0] for chain in operand.chains}
        if {port.pe for port in operand.ports} != firsts or len(operand.ports) != len(firsts):
            raise AnalysisError(f"{name}: ports must be the first PEs of the chains, each once")
    else:
        _check_links(design, name, operand)


def _check_links(design: Design, name: str, operand: Operand) -> None:
    for link in operand.links:
        _in_array(design, f"{name}.links", (link.source, link.target))
        difference = _skew(design, link.target) - _skew(design, link.source)
        if design.window is not None:
            _within(f"{name}.links delay", link.delay, 0, MAX_AXIS)
        elif link.delay != difference or difference < 0:
            raise AnalysisError(
                f"{name}.links {link.source} -> {link.target}: delay {link.delay} must be the"
                f" skew difference ({difference}) and >= 0"
            )
    fed = [port.pe for port in operand.ports] + [link.target for link in operand.links]
    _partition(design, f"{name}: ports and link ends", fed)
    source = {link.target: link.source for link in operand.links}
    reached = {port.pe for port in operand.ports}
    for pe in fed:
        path = []
        while pe not in reached:
            path.append(pe)
            if len(path) > design.pes:
                raise AnalysisError(f"{name}.links form a ring at PE {pe}")
            pe = source[pe]
        reached.update(path)


def _check_output(design: Design, output: Output) -> None:
    name = "tensors.output"
    _temporal(name, output.temporal, bool(output.chains))
    _within(f"{name}.words", output.words, 1, MAX_WORDS)
    _within(f"{name}.lane_stride", output.lane_stride, 1, MAX_LANE)
    if len(output.store_lanes) != output.banks:
        raise AnalysisError(
            f"{name}.store_lanes needs one lane per bank ({output.banks}),"
            f" got {len(output.store_lanes)}"
        )
    for lane in output.store_lanes:
        _within(f"{name}.store_lanes", lane, 0, MAX_LANE)
    _once(f"{name}.store_lanes", output.store_lanes)
    ends = output.exits if output.temporal == "none" else output.chains
    if sorted(end.bank for end in ends) != list(range(output.banks)):
        raise AnalysisError(f"{name}: each of the {output.banks} banks needs exactly one exit")
    if output.temporal == "chain":
        if output.exits:
            raise AnalysisError(f"{name}: a chained output has no exits")
        pes = [chain.pes for chain in output.chains]
        _check_chains(design, f"{name}.chains", pes, rising=False)
        return
    for exit_ in output.exits:
        _check_exit(design, name, exit_)
    _partition(design, f"{name}.exits", [pe for exit_ in output.exits for pe in exit_.pes])


def _check_exit(design: Design, name: str, exit_: Exit) -> None:
    if not exit_.stages:
        raise AnalysisError(f"{name}: exit {exit_.bank} has no stage")
    before = None
    for n, stage in enumerate(exit_.stages):
        if not stage.pes:
            raise AnalysisError(f"{name}: a stage of exit {exit_.bank} has no PE")
        _in_array(design, f"{name}.exits", stage.pes)
        if design.window is not None:
            _within(f"{name}.exits delay of stage {n}", stage.delay, 0, MAX_AXIS if n else 0)
            continue
        skews = {_skew(design, pe) for pe in stage.pes}
        if len(skews) > 1:
            raise AnalysisError(f"{name}: a stage of exit {exit_.bank} has skews {sorted(skews)}")
        (skew,) = skews
        expected = 0 if before is None else skew - before
        if stage.delay != expected or expected < 0:
            raise AnalysisError(
                f"{name}: a stage of exit {exit_.bank} has delay {stage.delay}; it must be"
                f" the skew difference ({expected}) and >= 0"
            )
        before = skew


def _check_chains(
    design: Design, name: str, chains: Sequence[Sequence[Pe]], *, rising: bool
) -> None:
    if len({len(chain) for chain in chains}) != 1 or not chains[0]:
        raise AnalysisError(f"{name} must all have one length")
    pes = [pe for chain in chains for pe in chain]
    _in_array(design, name, pes)
    _partition(design, name, pes)
    for chain in chains:
        skews = [_skew(design, pe) for pe in chain]
        if skews != sorted(skews, reverse=not rising):
            order = "rise" if rising else "fall"
            raise AnalysisError(f"{name}: skews along a chain must not {order} back, got {skews}")


def _skew(design: Design, pe: Pe) -> int:
    return design.skew[pe[0]][pe[1]]


def _temporal(name: str, temporal: str, chained: bool) -> None:
    if temporal not in ("none", "chain"):
        raise AnalysisError(f'{name}.temporal must be "none" or "chain", got {temporal!r}')
    if chained != (temporal == "chain"):
        raise AnalysisError(f"{name}: chains are listed exactly for temporal chain")


def _within(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise AnalysisError(f"{name} must be an integer {least} to {most}, got {value!r}")


def _in_array(design: Design, name: str, pes: Iterable[Pe]) -> None:
    for i, j in pes:
        if not (0 <= i < design.rows and 0 <= j < design.cols):
            raise AnalysisError(
                f"{name}: PE ({i}, {j}) is outside the {design.rows} x {design.cols} array"
            )


def _once(name: str, values: Iterable[object]) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise AnalysisError(f"{name} must be distinct, got {twice[0]} more than once")


def _partition(design: Design, name: str, pes: Sequence[Pe]) -> None:
    _once(name, pes)
    if len(pes) != design.pes:
        have = set(pes)
        missing = next(
            (i, j) for i in range(design.rows) for j in range(design.cols) if (i, j) not in have
        )
        raise AnalysisError(f"{name}: PE {missing} is missing")
