#!/usr/bin/env bash
# Builds policy.wasm, or what the first argument names. Go has no target without a system, so that what its runtime wants
# of one is put into the module beside it (wasi.wat), with Binaryen, which comes along with AssemblyScript.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
go=${GO:-$("$here/../toolchain.sh" go)}
binaryen=${BINARYEN:-$("$here/../toolchain.sh" binaryen)}
output=$(realpath -m "${1:-$here/policy.wasm}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$here"
GOOS=wasip1 GOARCH=wasm GOTOOLCHAIN=local GOFLAGS=-mod=mod GOCACHE=${GOCACHE:-$work/cache} \
  $go build -buildmode=c-shared -trimpath -ldflags=-s -o "$work/go.wasm" .
features="--enable-bulk-memory --enable-nontrapping-float-to-int --enable-sign-ext --enable-mutable-globals"
# shellcheck disable=SC2086 # These are words.
{
  $binaryen/wasm-as $features wasi.wat -o "$work/wasi.wasm"
  $binaryen/wasm-merge $features "$work/go.wasm" go "$work/wasi.wasm" wasi_snapshot_preview1 \
    --skip-export-conflicts -o "$output"
}
