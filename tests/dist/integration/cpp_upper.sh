#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# cpp_upper.sh: examples/cpp_upper.cpp does what tr does, with fewer buffers than pieces. After an exception in one of
# its threads every buffer has still come back.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/common.sh"

run() {
    local status=0
    "${under[@]}" "$PROGRAM" "$2" <"$3" >"$work/out" 2>"$work/err" || status=$?
    [ "$status" = "$1" ] || fail "exit status $status"
}
seq 1 300000 | sed 's/$/ some Words/' >"$work/in"
run 0 3 "$work/in"
LC_ALL=C tr '[:lower:]' '[:upper:]' <"$work/in" | cmp - "$work/out" || fail "not what tr makes of it"
look_at_pool
look_at_cap
{ head -c 1000000 "$work/in"; printf '\0'; cat "$work/in"; } >"$work/zero"
run 1 3 "$work/zero"
grep -q '^cpp_upper: a byte 0' "$work/err" || fail "no exception"
look_at_balance
