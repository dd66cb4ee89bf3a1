#!/usr/bin/env bash
# Renews requirements/*.lock, with the resolver in an environment of its own under build/.
# Hashes come from the index's metadata: nothing large is downloaded.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../requirements"

tool=../build/lock-tool
[[ -x $tool/bin/uv ]] || { python3 -m venv "$tool" && "$tool/bin/pip" install --quiet "uv>=0.5"; }

for name in main torch; do # main first: torch.in takes its versions as constraints
    "$tool/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-annotate --no-emit-index-url --custom-compile-command "make lock" \
        "$name.in" --output-file "$name.lock"
done
