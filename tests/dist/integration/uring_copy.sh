#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# uring_copy.sh: examples/uring_copy.c copies files of any length, with one buffer and with many, all out of its
# registered region. An error leaves no buffer out.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/common.sh"

run() {
    local status=0
    "${under[@]}" "$PROGRAM" "${@:2}" >"$work/out" 2>"$work/err" || status=$?
    [ "$status" != 77 ] || skip "$(cat "$work/err")"
    [ "$status" = "$1" ] || fail "${*:2}: exit status $status"
}

: >"$work/empty"
printf a >"$work/one"
head -c 32768 /dev/urandom >"$work/part"
head -c 5000001 /dev/urandom >"$work/noise"
for name in empty one part noise; do
    for cap in 1 7 64; do
        run 0 "$work/$name" "$work/copy" "$cap"
        cmp "$work/$name" "$work/copy" || fail "the copy of $name differs"
        look_at_balance
        [ "$(figure beyond)" = 0 ] || fail "gets went beyond the cap"
    done
done
run 0 "$work/noise" "$work/copy" 4
grep -q '^waits [1-9]' "$work/err" || fail "no part had to wait"
look_at_cap
grep '^pool' "$work/err"
run 1 "$work/noise" /dev/full 8
grep -q 'No space left' "$work/err" || fail "not the error of the device"
look_at_balance
run 1 "$work/missing" "$work/copy"
