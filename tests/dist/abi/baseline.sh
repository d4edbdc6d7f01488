# SPDX-License-Identifier: MIT
#
# baseline.sh TREE: writes what abidiff must know of the library in TREE to the standard output. Part of a release:
#
#     sh tests/dist/abi/baseline.sh . >tests/dist/abi/released-X.Y.Z.abi
#
# x86-64, gcc and abigail-tools.
set -eu
: "${CC:=gcc}" "${CMAKE:=cmake}" "${GENERATOR:=Ninja}"
SOURCE=$(cd "$(dirname "$0")/../../.." && pwd)
SCRATCH=$(mktemp -d) NAME=baseline
trap 'rm -rf "$SCRATCH"' EXIT
SOVERSION=$(sed -n 's/^set(bufferpool_soversion \([0-9]*\))/\1/p' "$1/CMakeLists.txt")
. "$SOURCE/tests/dist/abi/common.sh"

tree=$(cd "$1" && pwd)
build_library "$tree" "$work/libbufferpool.so"
record "$tree/include" "$work/libbufferpool.so"
