#!/usr/bin/env bash
# Builds policy.wasm, or what the first argument names.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
asc=${ASC:-$("$here/../toolchain.sh" assemblyscript)}
output=$(realpath -m "${1:-$here/policy.wasm}")
cd "$here"
# --debug only leaves the names of functions in, for traces.
# shellcheck disable=SC2086 # These are words.
$asc policy.ts --outFile "$output" --optimizeLevel 3 --runtime minimal --use abort=policy/abort --debug \
  --transform ./exports.mjs
