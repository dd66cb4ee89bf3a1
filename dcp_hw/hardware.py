"""Hardware: the resources that a dataflow may use, and the YAML file that states them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from dcp_hw.errors import InputError
from dcp_hw.technology import DEFAULT_TECHNOLOGY, technologies

HARDWARE_FOLDER = Path(__file__).parent / "hardware"

_BUS_BITS = (32, 64, 128)
_RANGES = {
    "pes": (1, 65_536),
    "sram_kib": (1, 65_536),
    "clock_mhz": (1, 5_000),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """Budget of an accelerator.

    Raises: InputError for a value of the wrong type or out of range.
    """

    pes: int = 256  # each one int8 MAC per cycle
    sram_kib: int = 320  # all on-chip buffers together
    bus_in_bits: int = 128  # per cycle
    bus_out_bits: int = 128  # per cycle, at the same time as the input
    clock_mhz: int = 500
    technology: str = DEFAULT_TECHNOLOGY  # table of energies, or the path of a YAML file

    def __post_init__(self) -> None:
        for field in fields(self):
            problem = _problem(field.name, getattr(self, field.name))
            if problem:
                raise InputError(f"hardware: {problem}")

    @property
    def sram_bytes(self) -> int:
        """Bytes of all on-chip buffers together."""
        return self.sram_kib * 1024

    @property
    def bus_in_bytes(self) -> int:
        """Bytes that the input bus carries per cycle."""
        return self.bus_in_bits // 8

    @property
    def bus_out_bytes(self) -> int:
        """Bytes that the output bus carries per cycle."""
        return self.bus_out_bits // 8

    @property
    def cycle_ns(self) -> float:
        """Nanoseconds of one clock cycle."""
        return 1000 / self.clock_mhz

    def to_dict(self) -> dict[str, int | str]:
        """Field names and values, as in the YAML file."""
        return asdict(self)


def _problem(name: str, value: Any) -> str | None:
    """What is wrong with one value and what would be accepted, or None."""
    if name == "technology":
        known = isinstance(value, str) and (value in technologies() or value.endswith(".yaml"))
        accepted = f"{', '.join(technologies())}, or the path of a .yaml file"
        return None if known else f"technology is {value!r}; accepted: {accepted}"
    if not isinstance(value, int) or isinstance(value, bool):
        return f"{name} is {value!r} ({type(value).__name__}); accepted: a whole number"
    if name in _RANGES:
        least, most = _RANGES[name]
        return None if least <= value <= most else f"{name} is {value}; accepted: {least} to {most}"
    if value not in _BUS_BITS:
        return f"{name} is {value}; accepted: a power of two, {', '.join(map(str, _BUS_BITS))}"
    return None


class _UniqueKeyLoader(yaml.SafeLoader):
    """A safe loader that refuses a repeated key instead of taking the last value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"key {key!r} occurs more than once")
        return super().construct_mapping(node, deep)


def load_hardware(source: str | Path = "default") -> Hardware:
    """The hardware in a YAML file; a plain name means a shipped one (`default`).

    Keys are the fields of `Hardware`; one left out takes its default.
    Raises: InputError that says file, key, what was found and what is accepted.
    """
    path = Path(source)
    if len(path.parts) == 1 and not path.suffix:
        path = HARDWARE_FOLDER / f"{source}.yaml"
    if not path.is_file():
        have = ", ".join(sorted(p.stem for p in HARDWARE_FOLDER.glob("*.yaml")))
        raise InputError(
            f"hardware '{source}' not found; have {have}\n(or give the path of a YAML file)"
        )
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a YAML file: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    known = [field.name for field in fields(Hardware)]
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: a mapping of keys to values is needed, found "
            f"{type(content).__name__}; keys are {', '.join(known)}"
        )
    unknown = [repr(key) for key in content if key not in known]
    if unknown:
        raise InputError(f"{path}: unknown key {', '.join(unknown)}; keys are {', '.join(known)}")
    try:
        return Hardware(**content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
