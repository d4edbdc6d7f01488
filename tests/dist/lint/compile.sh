#!/bin/sh
# SPDX-License-Identifier: MIT
#
# compile.sh fanalyzer|strict-gcc|strict-clang: each source of the library, compiled with every warning an error
#
#   fanalyzer     gcc follows the paths through each source, and those that its functions take together
#   strict-gcc    the project's own warnings and many more, at -O2 (some come from the optimizer) and at -O0
#   strict-clang  the same; -Weverything but for a few, below
#
# Environment: SOURCE (the tree), SCRATCH (where the object goes), GCC, CLANG
set -eu
kind=$1
object=$SCRATCH/$kind.o
common="-std=c11 -D_GNU_SOURCE -DNDEBUG -fPIC -fvisibility=hidden -pthread -I$SOURCE/include -I$SOURCE/src"
ours="-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wundef -Wvla -Wstrict-prototypes -Wmissing-prototypes"
more="-Wcast-align -Wcast-qual -Wdouble-promotion -Wfloat-equal -Wformat=2 -Wimplicit-fallthrough -Wmissing-declarations \
    -Wnested-externs -Wnull-dereference -Wold-style-definition -Wpointer-arith -Wredundant-decls -Wsign-conversion \
    -Wstrict-aliasing -Wunused-macros -Wwrite-strings"

case $kind in
fanalyzer)
    compiler=$GCC
    runs="-O2 -O0"
    flags="-Wall -Wextra -fanalyzer"
    ;;
strict-gcc)
    compiler=$GCC
    runs="-O2 -O0"
    flags="$ours $more -Walloc-zero -Warith-conversion -Wcast-align=strict -Wduplicated-branches -Wduplicated-cond \
        -Wformat-overflow=2 -Wformat-signedness -Wjump-misses-init -Wlogical-op -Wstringop-overflow=4 \
        -Wtrampolines -Wunsafe-loop-optimizations"
    ;;
strict-clang)
    compiler=$CLANG
    runs="-O2"
    # Padding is meant: fields lie in cache lines. Declarations stand where they are needed. A format may be the caller's.
    # A default covers what is not named, and also what no enumerator names: a word may have been overwritten.
    flags="$ours $more -Weverything -Wno-padded -Wno-declaration-after-statement -Wno-format-nonliteral -Wno-switch-enum \
        -Wno-covered-switch-default"
    ;;
esac

"$compiler" --version | head -n 1
failed=0 n=0
for source in "$SOURCE"/src/*.c "$SOURCE"/src/*/*.c; do
    n=$((n + 1))
    for run in $runs; do
        # shellcheck disable=SC2086 # many words
        "$compiler" $common $flags $run -Werror -c "$source" -o "$object" || failed=$((failed + 1))
    done
done
echo "$n sources, findings in $failed"
test "$n" -gt 10 && test "$failed" -eq 0
