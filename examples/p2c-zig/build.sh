#!/usr/bin/env bash
# Builds policy.wasm, or what the first argument names.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
zig=${ZIG:-$("$here/../toolchain.sh" zig)}
# ReleaseSafe: what goes wrong is a panic, which says in the log what it is. -fstrip leaves out 400 KiB of debug information.
# shellcheck disable=SC2086 # These are words.
$zig build-exe "$here/policy.zig" -target wasm32-freestanding -O ReleaseSafe -fstrip -fno-entry -rdynamic --stack 65536 \
  -femit-bin="${1:-$here/policy.wasm}"
