"""Prints docs/worked-example.md: one matrix product, from its words to its registers.

    .venv/bin/python scripts/worked_example.py > docs/worked-example.md
    .venv/bin/python scripts/worked_example.py --verilog DIR    copies the Verilog to DIR instead

Command words are taken apart with the tables of docs/hardware.md, section 5.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sim.interpreter import interpret
from sim.sample_gemm import Gemm, gemm_broadcast
from sim.sample_parts import Sample
from sim.stream import build_stream, burst_addresses
from tensorlib.design import Design
from tensorlib.program import TENSORS, WORD_BYTES, Command, Lanes, Load, Store
from tensorlib.timing import Prediction, predict

ROOT = Path(__file__).resolve().parents[1]
DESIGN = ROOT / "tests" / "golden" / "designs" / "broadcast.json"
HARDWARE = ROOT / "docs" / "hardware.md"
GEMM = Gemm(m=8, k=40, n=20)
REPEATS = {"l": 6, "n": 4}
"""Loops of an EXEC, loops of a STORE or digits: what an index in a table runs over."""


# --- the tables of docs/hardware.md ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Field:
    """Bits of one command word."""

    word: int
    high: int
    low: int
    name: str
    signed: bool

    def value(self, word: int) -> int:
        """The field of a word."""
        width = self.high - self.low + 1
        bits = word >> self.low & ((1 << width) - 1)
        return bits - (1 << width) if self.signed and bits >> (width - 1) else bits


def tables(text: str) -> dict[str, list[Field]]:
    """Fields by command, from the headings `### NAME` of section 5 and the tables below them."""
    section = text.split("\n## 5.")[1].split("\n## ")[0]
    found: dict[str, list[Field]] = {}
    for part in section.split("\n### ")[1:]:
        name, rest = part.split("\n", 1)
        rows = re.findall(r"^\| (\d) \| ([^|]+) \| ([^|]+) \| ([us])(\d+) \|", rest, re.MULTILINE)
        found[name.strip()] = [field for row in rows for field in _fields(*row)]
    return found


def _fields(word: str, bits: str, name: str, sign: str, width: str) -> Iterator[Field]:
    """The fields of one row; several where the row has an index."""
    index = re.search(r"\[([ln])\]", name)
    ends = bits.split(":")
    for n in range(REPEATS[index[1]] if index else 1):
        high, low = (_bit(end, n) for end in (ends[0], ends[-1]))
        if high - low + 1 != int(width):
            raise ValueError(f"{name}: bits {bits} are not {width}")
        label = name.replace(f"[{index[1]}]", f"[{n}]") if index else name
        yield Field(int(word), high, low, label.strip(), sign == "s")


def _bit(text: str, n: int) -> int:
    """Bit number of `12`, `16l` or `16l+15`."""
    match = re.fullmatch(r"(?:(\d+)[ln]\+?)?(\d+)?", text.strip())
    if match is None:
        raise ValueError(f"not a bit number: {text!r}")
    return int(match[1] or 0) * n + int(match[2] or 0)


def said(fields: Sequence[Field], number: int, word: int) -> str:
    """The fields of a word that are not 0 (`op` left out), as text."""
    parts: dict[str, list[int]] = {}
    for field in fields:
        if field.word == number and field.name != "op":
            parts.setdefault(re.sub(r"\[\d\]", "", field.name), []).append(field.value(word))
    shown = [
        f"{name} {' '.join(map(str, values))}" for name, values in parts.items() if any(values)
    ]
    return ", ".join(shown) or "all fields 0"


# --- the example ----------------------------------------------------------------------


def example() -> Sample:
    """A matrix product on the 4 x 4 array of tests/golden/designs/broadcast.json."""
    return gemm_broadcast(Design.load(DESIGN), GEMM)


def hexadecimal(word: int | np.ndarray) -> str:
    """A word as one number of 32 digits."""
    if isinstance(word, np.ndarray):
        word = int.from_bytes(word.tobytes(), "little")
    return f"{word:032x}"


def stream_rows(sample: Sample, fields: dict[str, list[Field]]) -> list[tuple[str, str]]:
    """(hexadecimal, what it is) of every word of the input stream."""
    rows: list[tuple[str, str]] = []
    for command in sample.commands:
        name = type(command).__name__.upper()
        for number, word in enumerate(command.words()):
            rows.append(
                (hexadecimal(word), f"**{name}** {_meaning(command, number, word, fields)}")
            )
        if isinstance(command, Load):
            addresses = burst_addresses(command.bursts)[::WORD_BYTES]
            for index, address in enumerate(addresses.tolist()):
                word = sample.memory[address : address + WORD_BYTES]
                rows.append((hexadecimal(word), _content(command, index)))
    whole = build_stream(sample.commands, sample.memory)
    assert [row[0] for row in rows] == [hexadecimal(word) for word in whole]
    return rows


def _meaning(command: Command, number: int, word: int, fields: dict[str, list[Field]]) -> str:
    """What one command word says."""
    name = type(command).__name__.upper()
    if isinstance(command, Lanes) and number:
        first = len(command.axis1)
        axis, entry = (1, number - 1) if number <= first else (2, number - 1 - first)
        return f"axis {axis}, entry {entry}: {said(fields[name], 1, word)}"
    text = said(fields[name], number, word)
    if isinstance(command, Load):
        text = text.removeprefix(f"tensor {TENSORS.index(command.tensor)}, ")
        return f"{command.tensor}: {text}"
    return text if any(f.word == number and f.name != "op" for f in fields[name]) else "header"


def _content(command: Load, index: int) -> str:
    """What one data word of a LOAD of this example holds."""
    if command.tensor == "params":
        block, piece = divmod(index, 7)
        first = 16 * block
        if piece < 4:
            return f"bias of n {first + 4 * piece} to {first + 4 * piece + 3}"
        if piece < 6:
            return f"multiplier of n {first + 8 * (piece - 4)} to {first + 8 * (piece - 4) + 7}"
        return f"shift of n {first} to {first + 15}"
    if command.tensor == "input":
        block, m = divmod(index, GEMM.m)
        return f"A: m {m}, k {16 * block} to {16 * block + 15}"
    n, block = divmod(index, GEMM.kb)
    return f"W: n {n}, k {16 * block} to {16 * block + 15}"


def sent_rows(sample: Sample) -> list[tuple[str, int, str]]:
    """(hexadecimal, byte address, what it is) of every word of the output stream."""
    words = interpret(sample.design, sample.commands, sample.memory).words
    stores = [c for c in sample.commands if isinstance(c, Store)]
    bursts = [burst for store in stores for burst in store.bursts]
    places = burst_addresses(bursts)[::WORD_BYTES].tolist()
    base = min(places)
    rows = []
    for word, address in zip(words, places, strict=True):
        block, m = divmod((address - base) // WORD_BYTES, GEMM.m)
        rows.append((hexadecimal(word), address, f"m {m}, n {16 * block} to {16 * block + 15}"))
        assert np.array_equal(word, sample.expected[address : address + WORD_BYTES])
    return rows


# --- the page -------------------------------------------------------------------------


def page() -> str:
    """The text of docs/worked-example.md."""
    sample = example()
    fields = tables(HARDWARE.read_text(encoding="utf-8"))
    prediction = predict(sample.design, sample.commands)
    parts = [_HEAD, _memory(sample), _stream(sample, fields), _sent(sample)]
    parts += [_by_hand(sample), _registers(sample, prediction), _times(sample, prediction)]
    return "\n".join(parts)


_HEAD = f"""# A layer, word by word

One matrix product on a 4 x 4 array: every word of the input stream, every word that must come
out, and the registers afterwards. Printed by `scripts/worked_example.py`; edit that, not this
page. Words are numbers of 32 hexadecimal digits, as on a 128-bit bus: byte 0 is the last two
digits. Section numbers are those of [hardware.md](hardware.md).

**Array**: `tests/golden/designs/broadcast.json`. Axis 1 carries output channels n, axis 2 pixels
m. An input bank serves a column, a weight bank a row, and each PE has an output bank of its own.
`.venv/bin/python scripts/worked_example.py --verilog DIR` puts its Verilog into DIR.

**Layer**: A ({GEMM.m} x {GEMM.k}) times W ({GEMM.k} x {GEMM.n}), int8, random; outputs are
requantised to int8.

**How it runs**: PE (i, j) works on n = 4 n' + i and m = 4 m' + j. Loops of the EXEC, innermost
first: k in its block of 16, block of k, m', n'. The first two are a run: their sum is one output,
written to word 2 n' + m' of the PE's bank. The STORE reads four n of four m at a time (G = 4), so
a batch is four steps and gives the words of four m.
"""


def _memory(sample: Sample) -> str:
    loads = [c for c in sample.commands if isinstance(c, Load)]
    names = {
        "input": f"A, `[{GEMM.kb}][1][{GEMM.m}][16]` (2.1)",
        "weight": f"W, `[{GEMM.n}][{GEMM.kb}][16]`: n, block of k",
        "params": f"scale parameters, `[{-(-GEMM.n // 16)}][112]` (2.4)",
    }
    regions = [(load.bursts[0][0], load.bursts[0][1], names[load.tensor]) for load in loads]
    first = min(address for _, address, _ in sent_rows(sample))
    blocks = -(-GEMM.n // 16)
    regions.append(
        (first, len(sample.memory) - first, f"result, `[{blocks}][1][{GEMM.m}][16]` (2.1)")
    )
    rows = "\n".join(f"| {address} | {size} | {what} |" for address, size, what in regions)
    return f"## Memory\n| byte address | bytes | |\n|---|---|---|\n{rows}\n"


def _stream(sample: Sample, fields: dict[str, list[Field]]) -> str:
    rows = stream_rows(sample, fields)
    text = "\n".join(f"| {n} | `{word}` | {what} |" for n, (word, what) in enumerate(rows))
    return f"""## Input stream
{len(rows)} words. Fields that are 0 are left out; lists are in the order of their index.

| word | value | |
|---|---|---|
{text}
"""


def _sent(sample: Sample) -> str:
    rows = sent_rows(sample)
    text = "\n".join(
        f"| {n} | `{word}` | {address} | {what} |" for n, (word, address, what) in enumerate(rows)
    )
    return f"""## Output stream
{len(rows)} words. Channels beyond {GEMM.n - 1} are 0.

| word | value | byte address | |
|---|---|---|---|
{text}
"""


def _by_hand(sample: Sample) -> str:
    m, n = 0, 0
    params = next(c for c in sample.commands if isinstance(c, Load) and c.tensor == "params")
    block = sample.memory[params.bursts[0][0] :]
    bias = int(block[4 * n : 4 * n + 4].view("<i4")[0])
    multiplier = int(block[64 + 2 * n : 66 + 2 * n].view("<u2")[0])
    shift = int(block[96 + n])
    acc = int(sample.acc[m, n])
    a, w = (values.tolist() for values in (GEMM.a[m], GEMM.w[:, n]))
    assert sum(x * y for x, y in zip(a, w, strict=True)) == acc
    exact = (acc + bias) * multiplier / (1 << shift)
    result = max(-128, min(127, round(exact)))
    assert result & 255 == int(sent_rows(sample)[0][0][-2:], 16)
    return f"""## One value by hand
m = {m}, n = {n}: the sum of A[{m}, k] W[k, {n}] over {GEMM.k} k is
{a[0]} x {w[0]} + {a[1]} x {w[1]} + ... = {acc}.
Bias {bias}, multiplier {multiplier}, shift {shift}:
({acc} + {bias}) x {multiplier} / 2^{shift} = {exact:.4f}, rounded {result} = `{result & 255:02x}`,
the last byte of output word 0.
"""


def _registers(sample: Sample, prediction: Prediction) -> str:
    result = interpret(sample.design, sample.commands, sample.memory)
    rows = [
        (0x04, "STATUS", 1),
        (0x08, "LATENCY", prediction.latency_cycles),
        (0x0C, "CHECKSUM", f"0x{result.checksum:08x}"),
        (0x10, "ID", f"0x{sample.design.hash()[:8]}"),
    ]
    rows += [
        (0x20 + 4 * n, name, value) for n, (name, value) in enumerate(prediction.counters.items())
    ]
    text = "\n".join(f"| 0x{address:02x} | {name} | {value} |" for address, name, value in rows)
    return f"""## Registers afterwards
With a source that offers its first beat in cycle 0 and never pauses, and a sink that is always
ready:

| address | name | value |
|---|---|---|
{text}
"""


def _times(sample: Sample, prediction: Prediction) -> str:
    rows = []
    for command, begin, end in zip(
        sample.commands, prediction.begin.tolist(), prediction.end.tolist(), strict=True
    ):
        name = type(command).__name__.upper()
        name += f" {command.tensor}" if isinstance(command, Load) else ""
        rows.append(f"| {name} | {begin} | {end} |")
    text = "\n".join(rows)
    store = next(c for c in sample.commands if isinstance(c, Store))
    batch = store.pixel_mask.bit_count()
    return f"""## Where the cycles are
Section 8. CONFIG, LANES, LOAD, END: cycles in which the header and the last word are consumed.
EXEC, STORE: cycle of the start, cycle of the last step.

| command | from | to |
|---|---|---|
{text}

The last batch of {batch} words can be sent from 6 cycles after the STORE's last step on; its last
word leaves in cycle {prediction.latency_cycles - 1}, and LATENCY is one more.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Prints docs/worked-example.md.")
    parser.add_argument("--verilog", type=Path, metavar="DIR", help="copy the Verilog to DIR")
    folder = parser.parse_args().verilog
    if folder is None:
        print(page(), end="")
        return
    from dcp_hw import rtl

    shutil.copytree(rtl.verilog([Design.load(DESIGN)])[0].folder, folder, dirs_exist_ok=True)
    print(f"Verilog in {folder}")


if __name__ == "__main__":
    main()
