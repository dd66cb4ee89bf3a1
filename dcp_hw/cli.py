"""`dcp-hw`: one subcommand per stage. Results on stdout, log on stderr, exact exit codes.

Exit codes: 0 done, 1 a check failed, 2 wrong input, 3 a tool missing or failed, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from dcp_hw import __version__
from dcp_hw.errors import InputError, exit_code

PARTS = (
    "dcp_hw.commands",
    "dcp_hw.maestro.cli",
    "dcp_hw.maestro.audit_cli",
    "dcp_hw.maestro.dataset_cli",
    "dcp_hw.maestro.dse_cli",
    "dcp_hw.train_cli",
    "dcp_hw.optimise_cli",
    "dcp_hw.bridge.cli",
    "dcp_hw.experiment_cli",
    "dcp_hw.finetune_cli",
    "dcp_hw.stt_cli",
)


class _Parser(argparse.ArgumentParser):
    """Wrong arguments are an `InputError`, like any other wrong input."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise InputError(f"{message}\n{self.format_usage().strip()}\n(see {self.prog} --help)")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = _Parser(
        prog="dcp-hw",
        description="From a neural network to dataflows, Verilog, and measured latency and energy.",
        epilog="Exit codes: 0 done, 1 a check failed, 2 wrong input, 3 a tool missing or failed.",
    )
    root.add_argument("--version", action="version", version=f"dcp-hw {__version__}")
    root.add_argument("--debug", action="store_true", help="show the traceback of an error")
    subparsers = root.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for part in PARTS:
        try:
            module = importlib.import_module(part)
        except ModuleNotFoundError as error:
            if error.name and part.startswith(error.name):
                continue  # an optional part that is not there
            raise
        module.add_parsers(subparsers)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code of one command."""
    signal.signal(signal.SIGTERM, _terminate)
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        options = parser().parse_args(words)
        run: Callable[[argparse.Namespace], int | None] = options.run
        return run(options) or 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, KeyboardInterrupt) as error:
        code = exit_code(error)
        if debug or code is None:
            raise
        if isinstance(error, KeyboardInterrupt):
            print("dcp-hw: interrupted; run the same command again to go on", file=sys.stderr)
        else:
            print(f"dcp-hw: error: {error}", file=sys.stderr)
        return code


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
