"""Compares generated Verilog with the design it was made from, by structure alone.

Nothing is simulated. Instances and ports are known by name; between them operands and sums are
followed through wires and registers, whatever these are called, and must arrive from where
design.json says, as late as it says.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from sim import netlist
from sim.errors import SimError
from sim.netlist import Module, Root
from tensorlib.design import PARAM_ROW_BYTES, ROW_BYTES, Design, Operand, Pe

_BYTE = 8
_STEP_VALID = "io_step_output_valid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was found.

    Attributes:
        problems: differences between Verilog and design, one line each; empty if there are none.
        pes, multipliers: in the whole accelerator, from the Verilog.
        link_registers: registers between PEs, and their bits.
        memory_bits: by tensor: input, weight, output, params.
    """

    problems: tuple[str, ...]
    pes: int
    multipliers: int
    link_registers: int
    link_register_bits: int
    memory_bits: dict[str, int]


def audit(design: Design, verilog_dir: Path, top: str = "Accelerator") -> Audit:
    """The comparison of a design with its Verilog.

    Raises:
        SimError: the Verilog cannot be read, or lacks a module that every design has.
    """
    modules = netlist.read(verilog_dir)
    absent = {top, "PeArray", "InputBanks", "WeightBanks", "OutputBanks", "StoreUnit"} - set(
        modules
    )
    if absent:
        raise SimError(f"{verilog_dir} has no module {', '.join(sorted(absent))}")
    array = modules["PeArray"]
    pes = {name: one for name, one in array.instances.items() if one.module.startswith("Pe")}
    memory_bits = {
        "input": _memory_bits(modules, "InputBanks"),
        "weight": _memory_bits(modules, "WeightBanks"),
        "output": _memory_bits(modules, "OutputBanks"),
        "params": sum(
            _ram_bits(modules, one)
            for one in modules["StoreUnit"].instances.values()
            if one.module == "WordRam"
        ),
    }
    problems = [
        *_ports(design, modules[top]),
        *_pes(design, modules, pes),
        *_wiring(modules[top]),
        *_windows(design, modules[top]),
        *_memories(design, memory_bits),
        *_link_registers(design, array),
    ]
    if not problems:  # the rest follows pins of PEs that are known to be there
        problems = [
            *_control(design, array),
            *_operand(design, array, modules["InputBanks"], "input", design.input),
            *_operand(design, array, modules["WeightBanks"], "weight", design.weight),
            *_outputs(design, array, modules["OutputBanks"]),
        ]
    return Audit(
        problems=tuple(problems),
        pes=len(pes),
        multipliers=sum(modules[one.module].multipliers for one in pes.values()),
        link_registers=len(array.registers),
        link_register_bits=sum(array.registers.values()),
        memory_bits=memory_bits,
    )


def _pe(pe: Pe) -> str:
    return f"pe_{pe[0]}_{pe[1]}"


def _all_pes(design: Design) -> list[Pe]:
    return [(i, j) for i in range(design.rows) for j in range(design.cols)]


def _skew(design: Design, pe: Pe) -> int:
    return design.skew[pe[0]][pe[1]]


# --- what there is ----------------------------------------------------------------------


def _ports(design: Design, top: Module) -> Iterator[str]:
    expected = {
        "s_axis_tdata": ("input", design.in_bits),
        "m_axis_tdata": ("output", design.out_bits),
        "s_axil_araddr": ("input", 8),
        "s_axil_rdata": ("output", 32),
    }
    for name, port in expected.items():
        if top.ports.get(name) != port:
            yield f"port {name} is {top.ports.get(name)}, not {port}"


def _pes(design: Design, modules: dict[str, Module], pes: dict) -> Iterator[str]:
    expected = {_pe(pe) for pe in _all_pes(design)}
    if set(pes) != expected:
        missing, extra = sorted(expected - set(pes)), sorted(set(pes) - expected)
        yield f"PEs missing: {missing[:8]}, too many: {extra[:8]}"
    kinds = {one.module for one in pes.values()}
    if len(kinds) != 1:
        yield f"PEs are of several modules: {sorted(kinds)}"
    held = sum(one.temporal == "chain" for one in (design.input, design.weight))
    registers = Counter({2 * design.data_bits: 1})  # product
    registers.update({_BYTE: 2 * held} if held else {})  # shadow and held operand
    if design.output.temporal == "chain":
        registers.update({design.acc_bits: 2})  # sum and shadow
    for kind in sorted(kinds):
        module = modules[kind]
        if module.multipliers != 1:
            yield f"{kind} has {module.multipliers} multipliers, not 1"
        # the generator may leave out the unused bits of narrow operands
        widths = Counter(module.registers.values())
        if design.data_bits == _BYTE and widths != registers:
            yield f"{kind} has registers of {dict(widths)} bits, not {dict(registers)}"
        for pin in ("io_input", "io_weight"):
            if module.ports.get(pin, ("", 0))[0] != "input":
                yield f"{kind} has no {pin}"


def _ram_bits(modules: dict[str, Module], ram: netlist.Instance) -> int:
    """Bits of one black-box memory, from its parameters and, for the width, its text."""
    given = ram.parameters
    if ram.module == "OperandRam":
        return given["ROWS"] * modules["OperandRam"].memories["mem"][0]
    return given["WORDS"] * given["WIDTH"]


def _memory_bits(modules: dict[str, Module], name: str) -> int:
    instances = modules[name].instances.values()
    return sum(_ram_bits(modules, one) for one in instances if one.module.endswith("Ram"))


def _memories(design: Design, found: dict[str, int]) -> Iterator[str]:
    expected = {
        "input": 2 * design.input.banks * design.input.rows * ROW_BYTES * _BYTE,
        "weight": 2 * design.weight.banks * design.weight.rows * ROW_BYTES * _BYTE,
        "output": 2 * design.output.banks * design.output.words * design.acc_bits,
        "params": 2 * design.param_rows * PARAM_ROW_BYTES * _BYTE,
    }
    for tensor, bits in expected.items():
        if found[tensor] != bits:
            yield f"{tensor} memories have {found[tensor]} bits, not {bits}"


def _link_registers(design: Design, array: Module) -> Iterator[str]:
    def hops(pes: tuple[Pe, ...]) -> int:
        return abs(_skew(design, pes[-1]) - _skew(design, pes[0]))

    bits: Counter[int] = Counter()
    for operand in (design.input, design.weight):
        bits[_BYTE] += operand.link_registers + sum(hops(chain) for chain in operand.chains)
    bits[design.acc_bits] += design.output.link_registers
    bits[design.acc_bits] += sum(hops(chain.pes) for chain in design.output.chains)
    found = Counter(array.registers.values())
    if found != +bits:
        yield f"PeArray has registers of {dict(found)} bits (bits: number), not {dict(+bits)}"


# --- what goes where --------------------------------------------------------------------


def _arrives(module: Module, instance: str, pin: str, root: Root, delay: int = 0) -> Iterator[str]:
    """Nothing if a pin gets exactly this value, so many cycles later."""
    found, registers = module.trace(module.instances[instance].pins.get(pin))
    if (found, registers) != (root, delay):
        yield (
            f"{module.name}: {instance}.{pin} is {found} after {registers} registers,"
            f" not {root} after {delay}"
        )


def _depends(module: Module, instance: str, pin: str, roots: set[str]) -> Iterator[str]:
    """Nothing if a pin depends on exactly these inputs of the module."""
    value = module.instances[instance].pins.get(pin)
    found = {str(root) for root in module.cone(value)}
    if found != roots:
        yield f"{module.name}: {instance}.{pin} depends on {sorted(found)}, not {sorted(roots)}"


def _wiring(top: Module) -> Iterator[str]:
    """Array, banks, lane table and sequencer meet without detours."""
    array, output = top.instances.get("array"), top.instances.get("outputBanks")
    if array is None or output is None:
        yield f"{top.name} has no instances array and outputBanks"
        return
    for pin in array.pins:
        number = re.fullmatch(r"io_(input|weight|enable|valid)_(\d+)", pin)
        if number is None:
            continue
        kind, n = number[1], int(number[2])
        if kind == "valid":
            yield from _arrives(top, "array", pin, Root("sequencer", _STEP_VALID), n)
        elif kind == "enable":
            yield from _arrives(top, "array", pin, Root("lanes", pin))
        else:
            yield from _arrives(top, "array", pin, Root(f"{kind}Banks", f"io_bytes_{n}"))
    for pin in output.pins:
        if re.fullmatch(r"io_exits_\d+", pin):
            yield from _arrives(top, "outputBanks", pin, Root("array", pin))


def _windows(design: Design, top: Module) -> Iterator[str]:
    """With windows, and only then, the lane table sees loop 0 as late as PEs are skewed."""
    lanes = top.instances.get("lanes")
    steps = {int(pin[8:]) for pin in lanes.pins if pin.startswith("io_step_")} if lanes else set()
    skews = {skew for row in design.skew for skew in row} if design.window is not None else set()
    if steps != skews:
        yield f"the lane table sees steps of skews {sorted(steps)}, not {sorted(skews)}"
    for late in sorted(steps & skews):
        yield from _arrives(top, "lanes", f"io_step_{late}", Root("sequencer", "io_inner"), late)


def _control(design: Design, array: Module) -> Iterator[str]:
    """Each PE works `skew` cycles after the sequencer."""
    for n, pe in enumerate(_all_pes(design)):
        late = _skew(design, pe)
        expected = {
            "io_enable": {f"io_valid_{late + 1}", f"io_enable_{n}"},
            "io_shift": {f"io_shift_{late + 1}"},
            "io_swap": {f"io_valid_{late}", f"io_sweepFirst_{late}"},
            "io_valid": {f"io_valid_{late + 2}"},
            "io_clear": {f"io_sweepFirst_{late + 2}"},
            "io_capture": {f"io_valid_{late + 3}", f"io_sweepLast_{late + 3}"},
        }
        for pin, roots in expected.items():
            if pin in array.instances[_pe(pe)].pins:
                yield from _depends(array, _pe(pe), pin, roots)


def _operand(
    design: Design, array: Module, banks: Module, name: str, operand: Operand
) -> Iterator[str]:
    """Each PE gets the byte of its port, bank and slot, through its links or its chain."""
    source: dict[Pe, tuple[Root, int]] = {
        port.pe: (Root("", f"io_{name}_{k}"), 0) for k, port in enumerate(operand.ports)
    }
    for chain in operand.chains:
        for before, after in pairwise(chain):
            hop = _skew(design, after) - _skew(design, before)
            source[after] = Root(_pe(before), "io_chain"), hop
    incoming = {link.target: link for link in operand.links}
    for pe in _all_pes(design):
        path, at = [], pe
        while at not in source:
            path.append(incoming[at])
            at = incoming[at].source
        root, delay = source[at]
        total = delay + sum(link.delay for link in path)
        yield from _arrives(array, _pe(pe), f"io_{name}", root, total)
    for k, port in enumerate(operand.ports):
        pin = f"io_bytes_{k}"
        rams = {root.instance for root in banks.cone(pin) if root.pin == "rdata"}
        numbers = sorted(int(re.sub(r".*_", "", ram)) for ram in rams)
        if numbers != [port.bank]:
            yield f"{banks.name}: {pin} reads banks {numbers}, not {port.bank}"
        bits = netlist.part(banks.drivers.get(pin))
        expected = (_BYTE * port.slot + 7, _BYTE * port.slot)
        if bits != expected:
            yield f"{banks.name}: {pin} is bits {bits} of the shifted row, not {expected}"
        reads = next(one for one in banks.instances.values() if one.name.endswith(f"_{port.bank}"))
        late = _skew(design, port.pe)
        taps = {
            root.pin
            for root in banks.cone(reads.pins["ren"])
            if root.pin.startswith("io_read") and not root.instance
        }
        if taps != {f"io_read_{late}_valid", f"io_read_{late}_newRow"}:
            yield f"{banks.name}: bank {port.bank} is read by {sorted(taps)}, at skew {late}"


def _outputs(design: Design, array: Module, banks: Module) -> Iterator[str]:
    """Each exit is the sum, or the end of the drain chain, that the design lists."""
    for chain in design.output.chains:
        yield from _same(
            array,
            f"io_exits_{chain.bank}",
            Counter({(Root(_pe(chain.pes[0]), "io_drainOut"), 0): 1}),
            design,
        )
        for to, source in pairwise(chain.pes):
            hop = _skew(design, to) - _skew(design, source)
            root = Root(_pe(source), "io_drainOut")
            yield from _arrives(array, _pe(to), "io_drainIn", root, hop)
        pins = array.instances[_pe(chain.pes[-1])].pins
        # a pin that is 0 in all PEs is left out
        if "io_drainIn" in pins and not netlist.is_zero(pins["io_drainIn"]):
            yield f"PeArray: the drain chain of bank {chain.bank} does not begin with 0"
    for exit_ in design.output.exits:
        expected: Counter[tuple[Root, int]] = Counter()
        late = 0
        for stage in reversed(exit_.stages):
            expected.update({(Root(_pe(pe), "io_product"), late): 1 for pe in stage.pes})
            late += stage.delay
        yield from _same(array, f"io_exits_{exit_.bank}", expected, design)
    for bank in range(design.output.banks):
        taken = [
            name
            for name, updates in banks.updates.items()
            if len(updates) == 1
            and {root.pin for root in banks.cone(updates[0].value)} == {f"io_exits_{bank}"}
        ]
        if len(taken) != 1:
            yield f"OutputBanks: io_exits_{bank} goes to {len(taken)} registers, not 1"


def _same(
    array: Module, exit_: str, expected: Counter[tuple[Root, int]], design: Design
) -> Iterator[str]:
    """Nothing if an exit sums these values."""
    try:
        found = array.addends(exit_, 2 * design.data_bits, design.acc_bits)
    except SimError as error:
        yield f"{exit_}: {error.message}"
        return
    if found != expected:
        less = [f"{root} {late} late" for root, late in (expected - found)][:4]
        more = [f"{root} {late} late" for root, late in (found - expected)][:4]
        yield f"{exit_} lacks {less} and has {more}"
