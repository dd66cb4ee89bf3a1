"""The folder of a data set: files that are whole or made again, a journal, a manifest.

While files are missing, `progress.jsonl` lists those that are there: the key of the data set, then
a line with the hash of each file, written after the file has its name. When all are there the
manifest takes its place. A file counts only if its bytes have the hash that is listed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dcp_hw.errors import InputError
from dcp_hw.process import note

MANIFEST, JOURNAL, LOCK = "manifest.json", "progress.jsonl", ".lock"
Key = Mapping[str, Any]


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


@dataclass(slots=True)
class Folder:
    """A folder that is being filled.

    Attributes:
        key: what the files follow from; files of another key are never mixed in.
        known: hash by name of the files that are whole.
        expected: hash by name as a manifest states it.
    """

    path: Path
    key: Key
    known: dict[str, str] = field(default_factory=dict)
    expected: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, content: bytes) -> None:
        """Put a whole file in place and note its hash.

        Raises: InputError where a manifest states another hash for it.
        """
        found = digest(content)
        if self.expected.get(name, found) != found:
            raise InputError(f"{self.path / name}: made again with other bytes than {MANIFEST} "
                             "states; accepted: the machine and libraries that made the data set, "
                             "or an empty folder (--out)")  # fmt: skip
        target, partial = self.path / name, self.path / f".{name}.part"
        try:
            partial.write_bytes(content)
            partial.replace(target)
            with (self.path / JOURNAL).open("a", encoding="utf-8") as journal:
                journal.write(json.dumps({"file": name, "sha256": found}) + "\n")
        except OSError as error:
            raise InputError(f"{target}: cannot be written ({error.strerror})") from None
        self.known[name] = found

    def read(self, name: str) -> bytes | None:
        """Bytes of a file; None if it is not there or not whole."""
        return (self.path / name).read_bytes() if name in self.known else None

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Write the manifest: the key, facts, and the hashes of all files; drop the journal."""
        listed = dict(sorted(self.known.items()))
        text = json.dumps({"key": self.key, **facts, "sha256": listed}, indent=1) + "\n"
        partial = self.path / f".{MANIFEST}.part"
        partial.write_text(text, encoding="utf-8")
        partial.replace(self.path / MANIFEST)
        (self.path / JOURNAL).unlink(missing_ok=True)
        for left in self.path.glob(".*.part"):
            left.unlink()


@contextmanager
def opened(path: Path, key: Key) -> Iterator[Folder]:
    """The folder, its files checked; alone in it until the end.

    Raises: InputError for a folder that holds something else, or that another run fills.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        is_used = any(not p.name.startswith(".") for p in path.iterdir())
        lock = (path / LOCK).open("w")
    except OSError as error:
        raise InputError(f"{path}: cannot be used as a folder ({error.strerror})") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{path}: another run fills it; wait for its end") from None
        try:
            yield _checked(path, key, is_used)
        finally:
            (path / LOCK).unlink(missing_ok=True)


def _checked(path: Path, key: Key, is_used: bool) -> Folder:
    """The folder with a journal of the files that are whole."""
    stated, listed = _listed(path)
    if stated is None and is_used:
        raise InputError(f"{path}: holds files, but no list of a data set's that can be read; "
                         "accepted: an empty or a new folder (--out)")  # fmt: skip
    if stated is not None and stated != key:
        raise InputError(f"{path}: holds a data set of {_difference(stated, key)}; accepted: "
                         "the same, or another folder (--out); or remove this one")  # fmt: skip
    folder = Folder(path, key, expected=listed if (path / MANIFEST).exists() else {})
    folder.known = {name: sha for name, sha in listed.items() if _whole(path / name, sha)}
    if folder.known != folder.expected or not folder.known:
        lines: list[dict[str, Any]] = [{"key": key}]
        lines += [{"file": name, "sha256": sha} for name, sha in folder.known.items()]
        partial = path / f".{JOURNAL}.part"
        partial.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        partial.replace(path / JOURNAL)
    return folder


def _listed(path: Path) -> tuple[Key | None, dict[str, str]]:
    """The key of a folder and the hashes of its files; None if there is no list."""
    try:
        if (path / MANIFEST).exists():
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            return manifest["key"], dict(manifest["sha256"])
        lines = (path / JOURNAL).read_text(encoding="utf-8").splitlines()
        key = json.loads(lines[0])["key"]
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None, {}
    hashes: dict[str, str] = {}
    for line in lines[1:]:
        try:
            entry = json.loads(line)
            hashes[str(entry["file"])] = str(entry["sha256"])
        except (ValueError, KeyError, TypeError):
            continue  # cut short by the end of its run: that file is made again
    return key, hashes


def _whole(path: Path, expected: str) -> bool:
    """Whether a file is there with these bytes; says so if it was changed."""
    try:
        if digest(path.read_bytes()) == expected:
            return True
        note(f"{path}: damaged; made again")
    except FileNotFoundError:
        note(f"{path}: missing; made again")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return False


def _difference(stated: Key, key: Key) -> str:
    """The entries in which two keys differ, in words."""
    both = {**stated, **key}
    parts = [
        f"{name} {stated.get(name)!r} (asked: {key.get(name)!r})"
        for name in both
        if stated.get(name) != key.get(name)
    ]
    return ", ".join(parts)
