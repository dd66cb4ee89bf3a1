#!/usr/bin/env bash
# Makes .venv from the hash-locked requirement files.
#
#   scripts/setup.sh main    environment of every target but training
#   scripts/setup.sh torch   the same, plus torch unless one is importable, and what learning needs
#
# Exit code 3 and one line on stderr when something this machine lacks is needed
# (make itself then exits 2, its own code for a failed rule).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

missing() {
    echo "dcp-hw setup: $1" >&2
    exit 3
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    if [[ -n "${PYTHON:-}" ]]; then
        command -v "$PYTHON" >/dev/null || missing "PYTHON=$PYTHON not found"
        is_new_enough "$PYTHON" || missing "PYTHON=$PYTHON is too old; Python 3.11 or newer is needed"
        echo "$PYTHON"
        return
    fi
    local candidate
    for candidate in python3 python python3.11 python3.12 python3.13 python3.14; do
        if is_new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    missing "Python 3.11 or newer is needed, found $(python3 --version 2>/dev/null || echo none); install it or set PYTHON=/path/to/python3"
}

has_torch() { # python: a torch that works with this environment's numpy
    "$1" -c 'import numpy, torch; torch.from_numpy(numpy.zeros(1))' >/dev/null 2>&1
}

pip_install() {
    # The lock files are complete, so pip must not resolve anything.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
        --no-deps "$@" || missing "pip install $* failed (see above); is the package index reachable?"
}

setup_main() {
    command -v make >/dev/null || missing "make not found; install GNU make"
    command -v g++ >/dev/null || missing "g++ not found; Verilator needs it to compile models"
    command -v perl >/dev/null || missing "perl not found; Verilator's start script is written in it"
    local python
    python="$(find_python)"
    echo "dcp-hw setup: creating .venv with $("$python" --version)" >&2
    if ! is_new_enough .venv/bin/python; then
        rm -rf .venv
        "$python" -m venv .venv || missing "python -m venv failed; install the venv module (python3-venv)"
    fi
    pip_install --require-hashes -r requirements/main.lock
    pip_install --no-build-isolation --editable .
    link_system_torch "$python"
}

# The environment is isolated: with --system-site-packages pip would count whatever the
# system has as installed, and pytest would load its plug-ins. A torch that somebody tuned
# for this machine's accelerator is the exception: it is 5 GB and better than ours. Its
# folder goes to the end of sys.path, so that every locked package still comes first.
link_system_torch() {
    local python="$1" folder pth
    pth="$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/dcp_hw_system_torch.pth"
    rm -f "$pth"
    folder="$("$python" -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parents[1])' 2>/dev/null)" || return 0
    has_torch .venv/bin/python && return 0
    echo "$folder" >"$pth"
    if has_torch .venv/bin/python; then
        echo "dcp-hw setup: using the torch in $folder" >&2
    else
        rm -f "$pth"
    fi
}

setup_torch() {
    if has_torch .venv/bin/python; then
        echo "dcp-hw setup: torch is there already, left alone" >&2
        local rest=build/torch-rest.lock
        mkdir -p build
        # A block of the lock is a line with a name and the indented lines of its hashes.
        awk '/^[^ ]/ { keep = !/^(torch|triton|nvidia-[a-z0-9-]*|cuda-[a-z]*)==/ } keep' \
            requirements/torch.lock >"$rest"
        pip_install --require-hashes -r "$rest"
        return
    fi
    echo "dcp-hw setup: installing torch (several GB, minutes)" >&2
    pip_install --require-hashes -r requirements/torch.lock
    has_torch .venv/bin/python || missing "torch was installed but cannot be imported; try: .venv/bin/python -c 'import torch'"
}

case "${1:-}" in
main) setup_main ;;
torch) setup_torch ;;
*)
    echo "usage: scripts/setup.sh main|torch" >&2
    exit 2
    ;;
esac
