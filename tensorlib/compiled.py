"""How functions are compiled that other compiled functions call."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

INNER: dict[str, Any] = {
    "_nrt": False,
    "forceinline": True,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "error_model": "numpy",
}
"""Options of numba for functions that own no array: nothing counts references to what they get.

Without `_nrt=False` every array of every tuple that is passed on costs two atomic operations.
"""


def source_tag(*files: str) -> int:
    """A number that changes with these files, for closures that numba caches.

    numba looks at the file of a cached function only; what its closure holds is part of the key.
    """
    return zlib.crc32(b"".join(Path(file).read_bytes() for file in files))
