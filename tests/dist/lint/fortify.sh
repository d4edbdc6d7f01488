#!/bin/sh
# SPDX-License-Identifier: MIT
#
# fortify.sh: builds the library and its unit tests with _FORTIFY_SOURCE=3 and -fstack-protector-strong, and runs them.
# It leaves out tests that take long, tests that replace functions whose fortified twins they would miss, and valgrind.
#
# Environment: SOURCE (the tree), SCRATCH (where the build goes), CMAKE, GENERATOR, GCC
set -eu
build=$SCRATCH/fortify
"$CMAKE" -S "$SOURCE" -B "$build" -G "$GENERATOR" -DCMAKE_C_COMPILER="$GCC" -DCMAKE_BUILD_TYPE=None \
    -DCMAKE_C_FLAGS="-O2 -D_FORTIFY_SOURCE=3 -fstack-protector-strong" -DBUFFERPOOL_WERROR=ON \
    -DBUFFERPOOL_BUILD_EXAMPLES=OFF -DBUFFERPOOL_INSTALL=OFF -DBUFFERPOOL_VALGRIND=
"$CMAKE" --build "$build" -j 2
nm -D --undefined-only "$build/libbufferpool.so" | grep -q '_chk' || { echo "nothing is fortified" >&2 && exit 1; }
export BUFFERPOOL_TEST_SCALE=small
"$(dirname "$CMAKE")/ctest" --test-dir "$build" --output-on-failure -j 2 -LE packaging \
    -E '^(resident|strikes|wait|steal_races|visibility_of_writes)$'
