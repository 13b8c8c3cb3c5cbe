#!/usr/bin/env bash
# Builds the proxy twice: once to see what of its code requests run, and then laid out for that (profile-guided
# optimisation). For whoever runs many of them: a request takes less of the processor, see analysis/README.md.
#
#   rustup target add wasm32-unknown-unknown && rustup component add llvm-tools
#   apt-get install -y nginx haproxy wrk nghttp2-client openssl python3    # what the load is made with
#   analysis/pgo.sh
#
# It takes two builds and five minutes of load. The proxy is target/pgo/sluicegate then.
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
merge=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
[ -x "$merge" ] || { echo "llvm-profdata is missing: rustup component add llvm-tools" >&2; exit 1; }
for tool in nginx haproxy wrk h2load openssl; do
  command -v "$tool" > /dev/null || { echo "$tool is missing, which the load is made with" >&2; exit 1; }
done
out=$(realpath -m "${CARGO_TARGET_DIR:-target}")/pgo
mkdir -p "$out"

# For the proxy's own target alone: build scripts and policies are built as always.
build() {
  env "CARGO_TARGET_$(tr a-z- A-Z_ <<< "$host")_RUSTFLAGS=$2" \
    cargo build --release -p sluicegate --target "$host" --target-dir "$out/$1"
}

rm -rf "$out/profiles"
build first "-Cprofile-generate=$out/profiles"
cargo build --release -p sluicegate-analysis

# HTTP/1.1 and HTTP/2, with and without TLS, small and large; then everything else that the report measures: policies,
# swaps, origins that fail. What it says of the time that this takes is of no use, as counting takes time itself.
echo "Running load ..."
analysis/peers.py "$out/first/$host/release/sluicegate" > /dev/null
SLUICEGATE_BIN="$out/first/$host/release/sluicegate" "${CARGO_TARGET_DIR:-target}/release/sluicegate-analysis" \
  report --quick --out "$out/report" > /dev/null

"$merge" merge -o "$out/profile" "$out/profiles"
build second "-Cprofile-use=$out/profile"
cp "$out/second/$host/release/sluicegate" "$out/sluicegate"
echo "$out/sluicegate"
