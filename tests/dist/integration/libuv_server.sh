#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# libuv_server.sh: examples/libuv_server.c under the load of wrk, of clients who read slowly, and of an echo client, all with
# fewer buffers than clients.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/common.sh"
needs wrk python3 curl

root=$work/root
mkdir "$root"
echo secret >"$work/outside"
ln -s ../outside "$root/link"
: >"$root/empty"
printf 'hello\n' >"$root/small"
seq 1 5000 >"$root/fits"
seq 1 50000 >"$root/grows"
seq 1 1200000 >"$root/large"
start_server "$root" 8
next_port
http=$port
next_port
echo=$port

# status PATH [OPTION...]: what it answers
status() {
    curl -sS -o "$work/body" -w '%{http_code}' --path-as-is "${@:2}" "http://127.0.0.1:$http$1"
}
for name in empty small fits grows; do
    [ "$(status "/$name")" = 200 ] || fail "/$name"
    cmp "$work/body" "$root/$name"
done
for path in /none / /link /.. /../outside /.hidden; do
    answer=$(status "$path")
    [ "$answer" = 404 ] || [ "$answer" = 400 ] || fail "$path: $answer"
done
[ "$(status /small -X DELETE)" = 400 ] || fail "DELETE"
[ "$(status /small -H "Long: $(printf '%040000d' 0)")" = 400 ] || fail "a head that is longer than a buffer"

wrk -t2 -c64 "-d${SECONDS_OF_LOAD:-4}s" -s "$here/answers.lua" "http://127.0.0.1:$http" -- \
    "$root" small fits grows >"$work/wrk" || fail "wrk"
grep '^answers' "$work/wrk"
grep -Eq '^answers [1-9][0-9]* wrong 0$' "$work/wrk" || fail "$(cat "$work/wrk")"

python3 "$here/slow.py" "$http" 20 large "$root/large" 8
python3 "$here/echo.py" "$echo" 100 "${ROUNDS:-40}" || fail "echo"
python3 "$here/hogs.py" "$echo" 8 100 || fail "hogs"
stop_server
look_at_cap
