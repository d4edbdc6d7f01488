#!/bin/sh
# SPDX-License-Identifier: MIT
#
# compile.sh <src> <include>
#
# Whether every harness still compiles with the sources in <src>. This needs no GenMC, only a clang, whose name CLANG may
# give.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
src=$1 include=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# what scene.h and the harnesses use of GenMC
cat >"$scratch/genmc.h" <<'EOF'
#define SCENE_OF_HEADERS
void __VERIFIER_assume(int condition);
EOF

status=0
sed '/^#/d; /^$/d' "$here/harnesses.txt" >"$scratch/list"
while read -r name _ harness arguments; do
    # shellcheck disable=SC2086
    "${CLANG:-clang}" -std=gnu11 -fsyntax-only -Wall -Wextra -Wno-unused-function -Werror -DBUFFERPOOL_NO_SDT \
        -DBUFFERPOOL_NO_DEBUG_MODES -isystem "$scratch" -I"$src" -I"$include" -I"$here" $arguments "$here/$harness" ||
        { echo "$name does not compile"; status=1; }
done <"$scratch/list"
exit $status
