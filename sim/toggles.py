"""Bit toggles counted beside an accelerator in simulation; nothing of it is synthesised.

A folder of probes around the design's Verilog: `bind` puts counters at the registers of the array,
the multipliers' operands and the memories' read data, and a module `DcpMeasured` with the
accelerator's ports counts the buses and may put a slow memory between (sim/dram.py). The Verilog
of the design stays as it is, and so does every build without probes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from sim.errors import SimError
from sim.verilate import HERE, port_bits, verilog_files

TOP = "DcpMeasured"
DUT = "Accelerator"

GROUPS = (
    "operand_input",
    "operand_weight",
    "partial_product",
    "product",
    "sum",
    "link_input",
    "link_weight",
    "link_output",
    "hold",
    "input_read",
    "weight_read",
    "output_read",
    "params_read",
    "input_write",
    "weight_write",
    "bus_in",
    "bus_out",
)
"""What is counted, in toggled bits over a whole run (docs/learning.md says where)."""

_REGISTER = re.compile(r"^\s*reg\s+(?:\[(\d+):0\]\s*)?(\w+)\s*;", re.MULTILINE)
_PORT = re.compile(r"\b(?:input|output)\s+(?:\[(\d+):0\]\s*)?(\w+)\s*[,)\n]")
_MODULE = re.compile(r"^module\s+(\w+)", re.MULTILINE)

# group of a register by its name, in the modules of the array and of the output banks
_ARRAY = (
    (re.compile(r"input(Link|Chain)_"), "link_input"),
    (re.compile(r"weight(Link|Chain)_"), "link_weight"),
    (re.compile(r"(sumLink|drain)_"), "link_output"),
    (re.compile(r"classes_(sums|arrived)"), "sum"),
)
_PE = {
    "product": "product",
    "sum": "sum",
    "shadow": "link_output",
    "a_now": "hold",
    "b_now": "hold",
    "a_now_shadow": "hold",
    "b_now_shadow": "hold",
}


def instrumented(verilog_dir: Path, folder: Path) -> Path:
    """`folder`, made a design for `runner.build(..., top=TOP)`: the Verilog and its probes.

    Raises: SimError for Verilog that is not an accelerator of the generator.
    """
    files = verilog_files(verilog_dir)
    folder.mkdir(parents=True, exist_ok=True)
    probes = folder / "probes.sv"
    probes.write_text(wrapper(port_bits(files, DUT)) + "\n".join(_binds(files)) + "\n")
    listed = [*files, HERE / "measured.sv", probes]
    (folder / "filelist.f").write_text("".join(f"{path.resolve()}\n" for path in listed))
    return folder


def wrapper(ports: dict[str, int]) -> str:
    """Verilog of `DcpMeasured`: the accelerator behind its memory, with its ports.

    Args:
        ports: bits by name.
    """
    outputs = ("s_axil_awready", "s_axil_wready", "s_axil_bvalid", "s_axil_bresp")
    outputs += ("s_axil_arready", "s_axil_rvalid", "s_axil_rdata", "s_axil_rresp")
    outputs += ("s_axis_tready", "m_axis_tvalid", "m_axis_tdata")
    header = ",\n".join(
        f"  {'output' if name in outputs else 'input'} {_range(bits)}{name}"
        for name, bits in ports.items()
    )
    inner = {
        **dict.fromkeys(ports),
        "s_axis_tvalid": "in_valid",
        "s_axis_tready": "in_ready",
        "s_axis_tdata": "in_data",
        "m_axis_tvalid": "out_valid",
        "m_axis_tready": "out_ready",
        "m_axis_tdata": "out_data",
        # no answers while words are still on their way to memory: what follows them is the end
        "s_axil_arvalid": "s_axil_arvalid && out_empty",
        "s_axil_arready": "arready",
    }
    pins = ",\n".join(f"    .{name}({wire or name})" for name, wire in inner.items())
    in_bits, out_bits = ports["s_axis_tdata"], ports["m_axis_tdata"]
    return f"""// Made by sim/toggles.py.
module {TOP}(
{header}
);
  wire in_valid, in_ready, out_valid, out_ready, out_empty, arready;
  wire {_range(in_bits)}in_data;
  wire {_range(out_bits)}out_data;
  assign s_axil_arready = arready && out_empty;
  DcpMemory #(.BITS({in_bits}), .SUFFIX(".read")) source(.clock(clock), .reset(reset),
    .from_valid(s_axis_tvalid), .from_ready(s_axis_tready), .from_data(s_axis_tdata),
    .to_valid(in_valid), .to_ready(in_ready), .to_data(in_data), .empty());
  DcpMemory #(.BITS({out_bits}), .SUFFIX(".write")) sink(.clock(clock), .reset(reset),
    .from_valid(out_valid), .from_ready(out_ready), .from_data(out_data),
    .to_valid(m_axis_tvalid), .to_ready(m_axis_tready), .to_data(m_axis_tdata), .empty(out_empty));
  DcpToggles #(.WIDTH({in_bits}), .NAME("bus_in")) count_in(.clock(clock),
    .take(in_valid && in_ready), .value(in_data));
  DcpToggles #(.WIDTH({out_bits}), .NAME("bus_out")) count_out(.clock(clock),
    .take(out_valid && out_ready), .value(out_data));
  {DUT} dut(
{pins}
  );
endmodule
"""


def _range(bits: int) -> str:
    return f"[{bits - 1}:0] " if bits > 1 else ""


def _binds(files: Sequence[Path]) -> Iterator[str]:
    """A `bind` per counter and module; every instance of the module gets one."""
    multipliers = 0
    for path in files:
        text = path.read_text()
        name = _MODULE.search(text)
        if name is None:
            continue
        module = name[1]
        registers = {n: int(high or 0) + 1 for high, n in _REGISTER.findall(text)}
        if module.startswith("Pe") and module != "PeArray":
            multipliers += 1
            yield from _pe(module, registers)
        elif module in ("PeArray", "OutputBanks"):
            for register, bits in registers.items():
                group = next((g for form, g in _ARRAY if form.search(register)), None)
                if group is not None:
                    yield _toggles(module, register, bits, group)
        elif module in ("InputBanks", "WeightBanks") and "word" in registers:
            yield _toggles(module, "word", registers["word"], f"{module[:-5].lower()}_write")
        elif module == "OperandRam":
            yield _toggles(module, "rdata", 128, "read")
        elif module == "WordRam":
            yield _toggles(module, "rdata", "WIDTH", "read")
    if not multipliers:
        raise SimError("no processing element among the Verilog files: not an accelerator of ours")


def _pe(module: str, registers: dict[str, int]) -> Iterator[str]:
    if "product" not in registers:
        raise SimError(f"module {module} has no register `product`; have {', '.join(registers)}")
    bits = registers["product"] // 2
    wires = {}
    for tensor, letter in (("input", "a"), ("weight", "b")):
        held = f"{letter}_now"
        wires[letter] = held if held in registers else f"io_{tensor}"
        yield _toggles(module, f"{wires[letter]}[{bits - 1}:0]", bits, f"operand_{tensor}")
    yield (
        f"bind {module} DcpProducts #(.WIDTH({bits})) dcp_products(.clock(clock), "
        f".a({wires['a']}[{bits - 1}:0]), .b({wires['b']}[{bits - 1}:0]));"
    )
    for register, group in _PE.items():
        if register in registers:
            yield _toggles(module, register, registers[register], group)


def _toggles(module: str, value: str, bits: int | str, group: str) -> str:
    instance = f"dcp_{group}_{re.sub(r'[^0-9a-zA-Z_]', '_', value)}"
    return (
        f'bind {module} DcpToggles #(.WIDTH({bits}), .NAME("{group}")) {instance}('
        f".clock(clock), .take(1'b1), .value({value}));"
    )


def read_toggles(folder: Path) -> dict[str, int]:
    """Toggled bits by group of the run in `folder`, 0 where nothing moved.

    Raises: SimError if there is no count, or one that cannot be read.
    """
    path = folder / "report.txt.toggles"
    found: Counter[str] = Counter()
    try:
        for line in path.read_text().splitlines():
            place, group, number = line.split()
            found[_group(place, group)] += int(number)
    except (OSError, ValueError) as error:
        raise SimError(f"the probes left no readable counts: {error}", log=path) from error
    return {group: found[group] for group in GROUPS}


def _group(place: str, group: str) -> str:
    if group != "read":
        return group
    for unit, name in (("inputBanks", "input"), ("weightBanks", "weight"), ("store", "params")):
        if f".{unit}." in place:
            return f"{name}_read"
    return "output_read"
