#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# libevent_server.sh: examples/libevent_server.c under the load of wrk, and of clients who read slowly: these hold all
# buffers, and until they have read, everybody else is refused.
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

status() {
    curl -sS -o "$work/body" -w '%{http_code}' --path-as-is "${@:2}" "http://127.0.0.1:$port$1"
}
start_server "$root" 70
next_port
for name in empty small fits grows; do
    [ "$(status "/$name")" = 200 ] || fail "/$name"
    cmp "$work/body" "$root/$name"
done
for path in /none / /link /.. /../outside /.hidden /%2e%2e/outside; do
    answer=$(status "$path")
    [ "$answer" = 404 ] || fail "$path: $answer"
done
# more buffers than connections: nobody is refused
wrk -t2 -c64 "-d${SECONDS_OF_LOAD:-4}s" -s "$here/answers.lua" "http://127.0.0.1:$port" -- \
    "$root" small fits grows >"$work/wrk" || fail "wrk"
grep '^answers' "$work/wrk"
grep -Eq '^answers [1-9][0-9]* wrong 0$' "$work/wrk" || fail "$(cat "$work/wrk")"
stop_server
[ "$(figure refused)" = 0 ] || fail "it refused somebody though there were buffers"

start_server "$root" 4
next_port
python3 "$here/slow.py" "$port" 10 large "$root/large" 4 503
[ "$(status /small)" = 200 ] || fail "refused though all have come back"
# A client that goes away in the middle of an answer: its buffer comes back too. The server ends with others under way.
python3 - "$port" <<'PYTHON'
import select, socket, sys
sockets = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(3)]
for s in sockets:
    s.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    select.select([s], [], [])
PYTHON
stop_server
[ "$(figure refused)" = 6 ] || fail "$(figure refused) were refused, not 6"
look_at_cap
