#!/usr/bin/env bash
# Builds policy.wasm, or what the first argument names: a component with the QuickJS interpreter in it, and no WASI.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
componentize=${COMPONENTIZE_JS:-$("$here/../toolchain.sh" javascript)}
# shellcheck disable=SC2086 # These are words.
$componentize --wit "$here/../../plugin-sdk/wit" --world policy --js "$here/policy.js" --sync --stub-wasi \
  --output "${1:-$here/policy.wasm}"
