#!/usr/bin/env bash
# Builds policy.wasm, or what the first argument names: a component with CPython in it, and no WASI.
set -euo pipefail
export PYTHONDONTWRITEBYTECODE=1
here=$(cd "$(dirname "$0")" && pwd)
componentize=${COMPONENTIZE_PY:-$("$here/../toolchain.sh" python)}
# shellcheck disable=SC2086 # These are words.
$componentize --wit-path "$here/../../plugin-sdk/wit" --world policy componentize --stub-wasi \
  --python-path "$here" policy --output "${1:-$here/policy.wasm}"
