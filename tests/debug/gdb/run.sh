#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run.sh scene|holders|errors: tools/gdb/bufferpool-gdb.py in gdb.
#   scene    what it says of scene.c, as a process and as a core, is what that wrote down: check.py
#   holders  the same, with callers recorded
#   errors   of a program without the library, or without its debugging information, it says so
#
# Environment: SOURCE, SCRATCH (a folder of this test's own), GDB, SCENE, LIBRARY (the file with the library's code); for errors
# STATIC (a scene with the archive), with SCENE having the shared library
set -eu
unset DEBUGINFOD_URLS BUFFERPOOL_DEBUG LD_LIBRARY_PATH LD_PRELOAD
export LC_ALL=C HOME="$SCRATCH"
rm -rf "$SCRATCH"
mkdir -p "$SCRATCH"
# A core is large.
trap 'rm -rf "$SCRATCH"' EXIT

fail()
{
    echo "FAILED: $*" >&2
    exit 1
}

skip()
{
    echo "SKIPPED: $*"
    exit 77
}

in_gdb()
{
    "$GDB" -nx -batch -iex 'set auto-load off' -iex 'set startup-with-shell off' -iex 'set disable-randomization off' "$@"
}

script=$SOURCE/tools/gdb/bufferpool-gdb.py
"$GDB" --version >/dev/null 2>&1 || skip "no gdb"
in_gdb -ex 'python print(6 * 7)' 2>/dev/null | grep -qx 42 || skip "this gdb has no Python"
in_gdb -ex starti "$(command -v true)" >"$SCRATCH/log" 2>&1 || true
grep -q 'Program stopped' "$SCRATCH/log" || skip "programs cannot be traced here: $(tail -n 1 "$SCRATCH/log")"

# says EXPECTED GDB-ARGUMENT...: every command gives that error, and no other
says()
{
    expected=$1
    shift
    for command in pools 'depot requests' 'caches 0' holders 'buffer 4096'; do
        in_gdb -ex "source $script" "$@" -ex 'echo \n--\n' -ex "bufferpool $command" >"$SCRATCH/log" 2>&1 || true
        sed '1,/^--$/d' "$SCRATCH/log" >"$SCRATCH/said"
        if [ "$(wc -l <"$SCRATCH/said")" != 1 ] || ! grep -q "$expected" "$SCRATCH/said"; then
            fail "bufferpool $command: not '$expected' but: $(cat "$SCRATCH/log")"
        fi
    done
}

if [ "$1" = errors ]; then
    mkdir "$SCRATCH/stripped"
    strip --strip-debug -o "$SCRATCH/stripped/libbufferpool.so.$SOVERSION" "$LIBRARY"
    strip --strip-debug -o "$SCRATCH/no-debug" "$STATIC"
    strip --strip-all -o "$SCRATCH/no-symbols" "$STATIC"
    says 'neither a process nor a core file'
    says 'neither a process nor a core file' "$STATIC"
    says 'There is no libbufferpool in this program' -ex starti "$(command -v true)"
    says 'There is no libbufferpool in this program' -ex starti "$SCENE" # before it is loaded
    says 'has no debugging information here' -ex "set environment LD_LIBRARY_PATH $SCRATCH/stripped" -ex 'break stopped' \
        -ex "run $SCRATCH/figures" "$SCENE"
    says 'has no debugging information here' -ex starti "$SCRATCH/no-debug"
    says 'or it is stripped of all symbols' -ex starti "$SCRATCH/no-symbols"
    exit 0
fi

if ! readelf -SW "$LIBRARY" | grep -q 'debug_info'; then
    skip "the library is built without debugging information"
fi
if [ "$1" = holders ]; then
    export BUFFERPOOL_DEBUG=holders
fi
export SCRIPT="$script" FIGURES="$SCRATCH/figures" CORE="$SCRATCH/core"
for mode in process core torn; do
    MODE=$mode in_gdb -ex "source $script" -ex "source $SOURCE/tests/debug/gdb/check.py" >"$SCRATCH/log" 2>&1 ||
        fail "$(cat "$SCRATCH/log")"
    grep -qx 'as it was told' "$SCRATCH/log" || fail "$(cat "$SCRATCH/log")"
    echo "$mode: as it was told"
done
