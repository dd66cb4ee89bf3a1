"""Generated Verilog as data: modules, ports, registers, memories, instances, and what drives what.

Read with pyverilog, so the text must stay in its plain subset of Verilog-2005.
"""

from __future__ import annotations

import functools
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pyverilog.vparser import ast
from pyverilog.vparser.parser import ParseError, VerilogParser

from sim.errors import SimError
from sim.verilate import verilog_files

Expression = ast.Node


@dataclass(frozen=True, slots=True)
class Root:
    """Where a value comes from: an input port (`instance` is "") or an instance's output pin."""

    instance: str
    pin: str

    def __str__(self) -> str:
        return f"{self.instance}.{self.pin}" if self.instance else self.pin


@dataclass(frozen=True, slots=True)
class Instance:
    """One instantiation: parameters as numbers, and the expression at each pin (None: open)."""

    module: str
    name: str
    parameters: dict[str, int]
    pins: dict[str, Expression | None]


@dataclass(frozen=True, slots=True)
class Update:
    """`register <= value` under conditions, each `(expression, whether it holds)`."""

    conditions: tuple[tuple[Expression, bool], ...]
    value: Expression


@dataclass(slots=True)
class Module:
    """One module.

    Attributes:
        ports: direction and bits by name.
        registers: bits of what clocked processes assign, by name.
        memories: `(bits, words)` by name.
        drivers: expression of each continuously assigned signal.
        pin_of: instance and pin that drive a signal.
        multipliers: `*` in its text.
    """

    name: str
    ports: dict[str, tuple[str, int]] = field(default_factory=dict)
    registers: dict[str, int] = field(default_factory=dict)
    memories: dict[str, tuple[int, int]] = field(default_factory=dict)
    drivers: dict[str, Expression] = field(default_factory=dict)
    updates: dict[str, list[Update]] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    pin_of: dict[str, Root] = field(default_factory=dict)
    multipliers: int = 0
    _variables: dict[str, int] = field(default_factory=dict)

    # --- what a value is ----------------------------------------------------------------

    def trace(self, value: Expression | str | None) -> tuple[Root | None, int]:
        """Where a value comes from unchanged, and the registers on the way.

        A register counts if it takes its value in every cycle, other than a constant at reset.
        The root is None if the value is computed, held, a constant, or open.
        """
        delay = 0
        while True:
            name = _name(value)
            if name is None:
                return None, delay
            if name in self.pin_of:
                return self.pin_of[name], delay
            if self.ports.get(name, ("", 0))[0] == "input":
                return Root("", name), delay
            if name in self.registers:
                value = self._every_cycle(name)
                delay += 1
            else:
                value = self.drivers.get(name)

    def _every_cycle(self, register: str) -> Expression | None:
        """What a register takes in every cycle but those of a reset, which must be constant."""
        updates = self.updates.get(register, [])
        if len(updates) == 1 and not updates[0].conditions:
            return updates[0].value
        if len(updates) != 2:
            return None
        at_reset, otherwise = sorted(updates, key=lambda update: not update.conditions[-1:][0][1])
        paths = [update.conditions for update in (at_reset, otherwise)]
        alike = len(paths[0]) == len(paths[1]) == 1 and paths[0][0][0] is paths[1][0][0]
        is_reset = alike and "reset" in (_name(paths[0][0][0]) or "").lower()
        if is_reset and isinstance(at_reset.value, ast.IntConst):
            return otherwise.value
        return None

    def addends(
        self, value: Expression | str | None, term_bits: int, full_bits: int
    ) -> Counter[tuple[Root, int]]:
        """Terms of a signed sum, each with the registers between it and the sum.

        Sums may be nested, sign-extended, and registered on the way.

        Args:
            term_bits: of each term.
            full_bits: of the sum; sums on the way may be narrower if they cannot overflow.

        Raises:
            SimError: it is more than a sum, or a sum on the way is too narrow.
        """
        at = _sign_extended(value)
        if isinstance(at, ast.Plus):
            left = self.addends(at.left, term_bits, full_bits)
            return left + self.addends(at.right, term_bits, full_bits)
        name = _name(at)
        if name in self.pin_of:
            return Counter({(self.pin_of[name], 0): 1})
        if name is not None and self.ports.get(name, ("", 0))[0] == "input":
            return Counter({(Root("", name), 0): 1})
        if name in self.registers:
            inner = self.addends(self._every_cycle(name), term_bits, full_bits)
            found = Counter({(root, delay + 1): n for (root, delay), n in inner.items()})
        elif name in self.drivers:
            found = self.addends(self.drivers[name], term_bits, full_bits)
        else:
            raise SimError(f"{self.name}: {name or type(at).__name__} is no part of a sum")
        needed = min(full_bits, term_bits + (found.total() - 1).bit_length())
        if self.bits(name) < needed:
            raise SimError(f"{self.name}: {name} has {self.bits(name)} bits, needs {needed}")
        return found

    def bits(self, name: str) -> int:
        """Width of a signal."""
        return self.ports[name][1] if name in self.ports else self._variables[name]

    def cone(self, value: Expression | str | None) -> set[Root]:
        """Ports, pins and registers (as `Root("", name)`) that a value depends on in its cycle."""
        roots: set[Root] = set()
        seen: set[str] = set()
        pending = list(_names(value))
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in self.pin_of:
                roots.add(self.pin_of[name])
            elif name in self.registers or self.ports.get(name, ("", 0))[0] == "input":
                roots.add(Root("", name))
            elif name in self.drivers:
                pending += _names(self.drivers[name])
        return roots

    def of(self, module: str) -> list[Instance]:
        """Instances of a module."""
        return [one for one in self.instances.values() if one.module == module]


def read(verilog_dir: Path) -> dict[str, Module]:
    """All modules of a design by name.

    Raises:
        SimError: pyverilog cannot parse a file.
    """
    modules: dict[str, Module] = {}
    for path in verilog_files(verilog_dir):
        try:
            source = _parser().parse(path.read_text())
        except ParseError as error:
            raise SimError(f"pyverilog cannot parse {path}: {error}") from error
        for definition in source.description.definitions:
            if isinstance(definition, ast.ModuleDef):
                modules[definition.name] = _module(definition)
    for module in modules.values():
        for instance in module.instances.values():
            target = modules.get(instance.module)
            if target is None:
                raise SimError(f"{module.name}: no module {instance.module} for {instance.name}")
            for pin, value in instance.pins.items():
                if pin not in target.ports:
                    raise SimError(f"{module.name}.{instance.name}: no pin {pin}")
                name = _name(value)
                if target.ports[pin][0] == "output" and name is not None:
                    module.pin_of[name] = Root(instance.name, pin)
    return modules


def part(value: Expression | None) -> tuple[int, int] | None:
    """Highest and lowest bit of a part select; None for anything else."""
    if isinstance(value, ast.Partselect):
        return _number(value.msb), _number(value.lsb)
    return None


def is_zero(value: Expression | None) -> bool:
    """Whether a value is the constant 0."""
    return isinstance(value, ast.IntConst) and _number(value) == 0


# --- reading the syntax tree ----------------------------------------------------------


@functools.cache
def _parser() -> VerilogParser:
    with tempfile.TemporaryDirectory() as folder:  # for the parser's tables
        return VerilogParser(outputdir=folder, debug=False)


def _module(definition: ast.ModuleDef) -> Module:
    module = Module(definition.name)
    parameters = {
        item.name: _number(item.value.var)
        for group in definition.paramlist.params
        for item in getattr(group, "list", [group])
        if isinstance(item, ast.Parameter)
    }
    for port in definition.portlist.ports:
        item = port.first if isinstance(port, ast.Ioport) else port
        direction = type(item).__name__.lower()
        module.ports[item.name] = (direction, _bits(item.width, parameters))
        if isinstance(getattr(port, "second", None), ast.Reg):
            module._variables[item.name] = module.ports[item.name][1]
    for item in definition.items:
        _item(module, item, parameters)
    clocked = {name for name in module.updates if name in module._variables}
    module.registers = {name: module._variables[name] for name in sorted(clocked)}
    return module


def _item(module: Module, item: ast.Node, parameters: dict[str, int]) -> None:
    if isinstance(item, ast.Decl):
        for one in item.list:
            if isinstance(one, ast.Reg) and one.dimensions is not None:
                length = one.dimensions.lengths[0]
                ends = (_number(length.msb, parameters), _number(length.lsb, parameters))
                module.memories[one.name] = _bits(one.width, parameters), abs(ends[0] - ends[1]) + 1
            elif isinstance(one, ast.Reg | ast.Wire):
                module._variables[one.name] = _bits(one.width, parameters)
            else:
                _item(module, one, parameters)
    elif isinstance(item, ast.Assign):
        name = _name(item.left.var)
        if name is not None:
            module.drivers[name] = item.right.var
        module.multipliers += _count(item.right, ast.Times)
    elif isinstance(item, ast.Always):
        if any(sens.type in ("posedge", "negedge") for sens in item.sens_list.list):
            _statements(module, item.statement, ())
        else:
            _choices(module, item.statement)
        module.multipliers += _count(item.statement, ast.Times)
    elif isinstance(item, ast.InstanceList):
        for one in item.instances:
            module.instances[one.name] = Instance(
                one.module,
                one.name,
                {given.paramname: _number(given.argname) for given in one.parameterlist},
                {pin.portname: pin.argname for pin in one.portlist},
            )


def _statements(module: Module, statement: ast.Node | None, conditions: tuple) -> None:
    """Nothing; notes the updates of a clocked process."""
    if isinstance(statement, ast.Block):
        for one in statement.statements:
            _statements(module, one, conditions)
    elif isinstance(statement, ast.IfStatement):
        condition = statement.cond
        _statements(module, statement.true_statement, (*conditions, (condition, True)))
        _statements(module, statement.false_statement, (*conditions, (condition, False)))
    elif isinstance(statement, ast.NonblockingSubstitution):
        name = _name(statement.left.var)
        if name is not None:
            update = Update(conditions, statement.right.var)
            module.updates.setdefault(name, []).append(update)


def _choices(module: Module, statement: ast.Node) -> None:
    """Nothing; notes a combinational process's targets as driven by all that it reads."""
    targets = {
        name
        for node in _walk(statement)
        if isinstance(node, ast.Substitution) and (name := _name(node.left.var)) is not None
    }
    for name in targets:
        module.drivers[name] = statement


def _walk(node: ast.Node | None) -> Iterator[ast.Node]:
    pending = [node]
    while pending:
        one = pending.pop()
        if one is not None:
            yield one
            pending += one.children()


def _count(node: ast.Node, kind: type) -> int:
    return sum(isinstance(one, kind) for one in _walk(node))


def _names(value: Expression | str | None) -> list[str]:
    if value is None or isinstance(value, str):
        return [value] if value else []
    return [one.name for one in _walk(value) if isinstance(one, ast.Identifier)]


def _name(value: Expression | str | None) -> str | None:
    if isinstance(value, str):
        return value
    return value.name if isinstance(value, ast.Identifier) else None


def _sign_extended(value: Expression | str | None) -> Expression | str | None:
    """What `{{n{x[15]}}, x}` or `{x[15], x}` extends; any other value as it is."""
    if isinstance(value, ast.Concat) and len(value.list) == 2:
        head, tail = value.list
        if isinstance(head, ast.Concat) and len(head.list) == 1:
            head = head.list[0]
        sign = head.value if isinstance(head, ast.Repeat) else head
        if isinstance(sign, ast.Concat):
            sign = sign.list[0]
        if isinstance(sign, ast.Pointer) and _name(sign.var) == _name(tail):
            return tail
    return value


def _bits(width: ast.Width | None, parameters: dict[str, int]) -> int:
    if width is None:
        return 1
    return abs(_number(width.msb, parameters) - _number(width.lsb, parameters)) + 1


def _number(value: ast.Node, parameters: dict[str, int] | None = None) -> int:
    """A constant: 12, 8'h1f, a parameter, or a difference of such."""
    if isinstance(value, ast.Rvalue):
        return _number(value.var, parameters)
    if isinstance(value, ast.Minus):
        return _number(value.left, parameters) - _number(value.right, parameters)
    if isinstance(value, ast.Identifier) and parameters and value.name in parameters:
        return parameters[value.name]
    if isinstance(value, ast.IntConst):
        text = value.value.replace("_", "")
        if "'" not in text:
            return int(text)
        base, digits = text.split("'")[1].lstrip("sS")[0], text.split("'")[1].lstrip("sS")[1:]
        return int(digits, {"h": 16, "d": 10, "o": 8, "b": 2}[base.lower()])
    raise SimError(f"line {value.lineno}: not a constant")
