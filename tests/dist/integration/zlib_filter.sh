#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# zlib_filter.sh: examples/zlib_filter.c and gzip understand each other, both ways. The filter refuses input that is cut
# off, damaged, too large, or followed by something else. Then it writes nothing, and every buffer still comes back.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/common.sh"
needs gzip

# run STATUS IN ARGUMENT...: the program; output to $work/out. Both its pools end well.
run() {
    local status=0
    "${under[@]}" "$PROGRAM" "${@:3}" <"$2" >"$work/out" 2>"$work/err" || status=$?
    [ "$status" = "$1" ] || fail "$2, exit status $status"
    [ "$(grep -c '^pool: .* live 0$' "$work/err")" = 2 ] || fail "not two pools that are empty"
    [ "$status" = 0 ] || [ ! -s "$work/out" ] || fail "it wrote something"
}
refused() {
    run 1 "${@:2}"
    grep -q "$1" "$work/err" || fail "not \"$1\""
}

: >"$work/empty"
printf a >"$work/one"
seq 1 1000000 >"$work/numbers"
head -c 5000000 /dev/urandom >"$work/noise"
head -c 100000000 /dev/zero >"$work/zeros"
for name in empty one numbers noise zeros; do
    run 0 "$work/$name"
    gzip -dc <"$work/out" | cmp - "$work/$name" || fail "gzip does not get back $name"
    look_at_balance
    [ "$(figure gets)" = 5 ] || fail "zlib's five blocks are not from the pool"
    gzip -c <"$work/$name" >"$work/$name.gz"
    run 0 "$work/$name.gz" -d
    cmp "$work/out" "$work/$name" || fail "not what gzip compressed: $name"
done
grep '^pool' "$work/err"
size=$(stat -c %s "$work/numbers")
run 0 "$work/numbers.gz" -d "$size"
refused 'too large' "$work/numbers.gz" -d $((size - 1))
refused 'too large' "$work/zeros.gz" -d 1000000
[ "$(sed -n '/^pool/{s/.*grown \([0-9]*\).*/\1/p;q}' "$work/err")" -lt 12 ] || fail "it grew far beyond the limit"
head -c 1000000 "$work/numbers.gz" >"$work/cut"
refused multibyte "$work/cut" -d
{ head -c 1000000 "$work/numbers.gz"; printf XXXX; tail -c +1000005 "$work/numbers.gz"; } >"$work/damaged"
refused multibyte "$work/damaged" -d
{ cat "$work/one.gz"; printf X; } >"$work/behind"
refused multibyte "$work/behind" -d
refused multibyte "$work/empty" -d
# fewer blocks than zlib needs
refused 'Cannot allocate' "$work/one" 1000 4
[ "$(figure refused)" = 1 ] || fail "not refused by the pool"
look_at_cap
run 0 "$work/one" 1000 5
look_at_pool
