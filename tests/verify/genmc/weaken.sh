#!/bin/sh
# SPDX-License-Identifier: MIT
#
# weaken.sh <project> [pattern]
# weaken.sh <project> --edits
#
# Weakens one memory order of src/ after the other, in a copy, and tells whether a harness refutes it. weakened.txt
# says for each order which harnesses are run, and whether one of them must refute it (refuted) or none may (holds: the
# order is more than is needed, for the reason given there). With a pattern, only rows whose name matches the pattern
# are tried.
#
# With --edits nothing is run: each edit must change exactly one line, and each row must name harnesses. This needs no
# GenMC.
set -u

here=$(cd "$(dirname "$0")" && pwd)
project=$1
only=${2:-*}
edits=no
if [ "$only" = --edits ]; then
    only='*' edits=yes
fi
copy=$(mktemp -d) || exit 1
trap 'rm -rf "$copy"' EXIT
status=0

# Adds the weaker operations that the sources do not use.
weaker_macros() {
    sed -i '/^#define likely/i\
#define cas_acq_rel(p, expected, v) atomic_compare_exchange_weak_explicit((p), (expected), (v), memory_order_acq_rel, memory_order_relaxed)\
#define cas_acq_rel_acquire(p, expected, v) atomic_compare_exchange_weak_explicit((p), (expected), (v), memory_order_acq_rel, memory_order_acquire)\
#define add_acq_rel(p, v) atomic_fetch_add_explicit((p), (v), memory_order_acq_rel)\
#define sub_acq_rel(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_acq_rel)\
#define or_acq_rel(p, v) atomic_fetch_or_explicit((p), (v), memory_order_acq_rel)\
#define or_relaxed(p, v) atomic_fetch_or_explicit((p), (v), memory_order_relaxed)\
#define and_relaxed(p, v) atomic_fetch_and_explicit((p), (v), memory_order_relaxed)\
#define exchange_relaxed(p, v) atomic_exchange_explicit((p), (v), memory_order_relaxed)' "$1"
}

# Prints the lines of harnesses.txt whose name matches one of the patterns.
harnesses() {
    sed '/^#/d; /^$/d' "$here/harnesses.txt" | while read -r name outcome arguments; do
        for pattern; do
            # shellcheck disable=SC2254
            case $name in $pattern) [ "$outcome" = holds ] && echo "$name $arguments" ;; esac
        done
    done
}

# try <name> <file> <expected> <patterns> <sed>
try() {
    name=$1 file=$2 expected=$3 patterns=$4 edit=$5
    rm -rf "$copy/src"
    cp -r "$project/src" "$copy/src"
    sed "$edit" "$project/src/$file" >"$copy/src/$file"
    changed=$(diff "$project/src/$file" "$copy/src/$file" | grep -c '^>')
    if [ "$changed" != 1 ]; then
        echo "$name: $changed lines of $file changed, not one"
        return 1
    fi
    weaker_macros "$copy/src/atomic.h"
    set -f
    # shellcheck disable=SC2086
    harnesses $patterns >"$copy/list"
    set +f
    if [ ! -s "$copy/list" ]; then
        echo "$name: no such harness: $patterns"
        return 1
    fi
    if [ $edits = yes ]; then
        echo "$name: $(grep -c . "$copy/list") harnesses"
        return 0
    fi
    found='' ran=0
    while read -r harness arguments; do
        ran=$((ran + 1))
        # shellcheck disable=SC2086
        if sh "$here/run.sh" "$copy/src" "$project/include" refuted $arguments >"$copy/report" 2>&1 </dev/null; then
            found=$harness
            break
        fi
        if ! tail -n 1 "$copy/report" | grep -q ': holds, '; then
            echo "$name: $harness"
            cat "$copy/report"
            return 1
        fi
    done <"$copy/list"
    if [ -n "$found" ]; then
        echo "$name: refuted by $found: $(grep -m 1 'Error: ' "$copy/report")"
        [ "$expected" = refuted ]
    else
        echo "$name: holds in $ran harnesses"
        [ "$expected" = holds ]
    fi
}

sed '/^#/d; /^$/d' "$here/weakened.txt" >"$copy/table"
while read -r name file expected patterns edit <&3; do
    # shellcheck disable=SC2254
    case $name in $only) ;; *) continue ;; esac
    if ! try "$name" "$file" "$expected" "$(echo "$patterns" | tr , ' ')" "$edit"; then
        echo "$name: not as expected: $expected"
        status=1
    fi
done 3<"$copy/table"
exit $status
