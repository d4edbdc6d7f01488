#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# curl_fetch.sh: examples/curl_fetch.c fetches from the demonstration's server, with more transfers at once than
# buffers.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/common.sh"
needs python3

root=$work/root
mkdir "$root"
for i in $(seq 1 200); do
    seq "$i" $((i * 300)) >"$root/$i"
done
coproc SERVER { exec "$DEMO" --serve 0 --root "$root"; }
pid=$SERVER_PID
read -r line <&"${SERVER[0]}" || fail "the server ended"
url=${line##* }

# run STATUS ARGUMENT...: the program; output to $work/out
run() {
    local status=0
    "${under[@]}" "$PROGRAM" "${@:2}" >"$work/out" 2>"$work/err" || status=$?
    [ "$status" = "$1" ] || fail "exit status $status"
    look_at_balance
}
# How many bodies there are, each as its file.
bodies() {
    python3 - "$work/out" "$root" <<'PYTHON'
import os, sys
seen = set()
with open(sys.argv[1], "rb") as out:
    while line := out.readline():
        size, url = line.split()
        name = os.path.basename(url.decode())
        if out.read(int(size)) != open(os.path.join(sys.argv[2], name), "rb").read() or name in seen:
            sys.exit(f"{name} is not what it should be")
        seen.add(name)
print(len(seen))
PYTHON
}
urls=()
for i in $(seq 1 200); do
    urls+=("$url$i")
done
run 0 7 100000000 "${urls[@]}"
[ "$(bodies)" = 200 ] || fail "not all 200"
look_at_pool
look_at_cap
# one that is not there, one that is too large: the others are fetched
run 1 2 "$(stat -c %s "$root/100")" "${url}99" "${url}none" "${url}100" "${url}101"
[ "$(bodies)" = 2 ] || fail "not the two that it may fetch"
for name in none 101; do
    grep -q "/$name: " "$work/err" || fail "it does not say that it could not fetch $name"
done
[ "$(figure gets)" = 4 ] || fail "not four buffers"
kill -TERM "$pid"
wait "$pid" || fail "the server's exit status"
pid=
