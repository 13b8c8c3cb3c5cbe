#!/usr/bin/env bash
# Builds policy.wasm, or what the first argument names. CC may be any clang that has wasm-ld (Debian's packages `clang` and
# `lld`, with CC="clang --target=wasm32 -nostdlib"); by default it is the one in Zig's package.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cc=${CC:-"$("$here/../toolchain.sh" zig) cc --target=wasm32-freestanding"}
# -g0 leaves the names of functions in, for traces. 64 KiB of stack are plenty.
# shellcheck disable=SC2086 # These are words.
$cc -std=c11 -O2 -g0 -Wall -Wextra -Werror -nostdlib -Wl,--no-entry -Wl,-z,stack-size=65536 \
  "$here/policy.c" -o "${1:-$here/policy.wasm}"
