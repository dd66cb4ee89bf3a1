"""MAESTRO's hardware files: lines `key: value`.

    num_pes: 168
    l1_size_cstr: 512
    l2_size_cstr: 108000
    noc_bw_cstr: 81920000
    NoC_NumHops: 1
    offchip_bw_cstr: 1073741824

A key left out takes MAESTRO's default for such a file, which is not that of its command line.
GAMMA's names of the keys (NumPEs, L1Size, L2Size, NoC_BW, OffchipBW) are accepted as well.
"""

from __future__ import annotations

from pathlib import Path

from dcp_hw.maestro.compat import MaestroHardware
from dcp_hw.maestro.layer import INT_MAX
from dcp_hw.maestro.syntax import Reader, read_text

_KEYS = {
    "num_pes": "pes",
    "l1_size_cstr": "l1_size",
    "l2_size_cstr": "l2_size",
    "noc_bw_cstr": "noc_bw",
    "NoC_NumHops": "noc_latency",
    "offchip_bw_cstr": "offchip_bw",
}
_GAMMA_KEYS = {
    "NumPEs": "pes",
    "L1Size": "l1_size",
    "L2Size": "l2_size",
    "NoC_BW": "noc_bw",
    "OffchipBW": "offchip_bw",
}
_DEFAULTS = {
    "pes": 1,
    "l1_size": INT_MAX,
    "l2_size": INT_MAX,
    "noc_bw": INT_MAX,
    "noc_latency": 1,
    "offchip_bw": INT_MAX,
}


def load_maestro_hardware(path: str | Path, *, simd: int = 1) -> MaestroHardware:
    """The hardware in the file at `path`.

    Args:
        simd: lanes of a PE, which a file cannot state.

    Raises: InputError with file, line and column, what was found and what is accepted.
    """
    return parse_hardware(read_text(path), str(path), simd=simd)


def parse_hardware(text: str, source: str = "hardware", *, simd: int = 1) -> MaestroHardware:
    """The hardware in `text`; inverse of `dump_hardware`. Raises: as `load_maestro_hardware`."""
    reader, found = Reader(text, source), {}
    for word in reader:
        name = _KEYS.get(word.text) or _GAMMA_KEYS.get(word.text)
        if name is None:
            raise reader.unexpected(word, "as key", ", ".join(_KEYS))
        if name in found:
            raise reader.error(word, f"second {word.text}; accepted: one")
        least = 0 if name == "noc_latency" else 1
        found[name] = reader.integer(word.text, least=least)
    return MaestroHardware(**{**_DEFAULTS, **found}, simd=simd)


def dump_hardware(hardware: MaestroHardware) -> str:
    """Text of a hardware file; SIMD lanes have no place in it."""
    return "".join(f"{key}: {getattr(hardware, name)}\n" for key, name in _KEYS.items())
