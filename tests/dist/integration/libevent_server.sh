#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# libevent_server.sh: examples/libevent_server.c under the load of wrk, and of clients that read slowly. Slow clients
# hold all buffers, and the server refuses all others until the slow ones have read.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/common.sh"
needs wrk python3 curl

make_root
start_server "$root" 70
next_port
look_at_files "$port"
for path in /none / /link /.. /../outside /.hidden /%2e%2e/outside; do
    answer=$(status "$port" "$path")
    [ "$answer" = 404 ] || fail "$path: $answer"
done
# more buffers than connections: nobody is refused
look_at_load "$port"
stop_server
[ "$(figure refused)" = 0 ] || fail "it refused somebody though there were buffers"

start_server "$root" 4
next_port
python3 "$here/slow.py" "$port" 10 large "$root/large" 4 503
[ "$(status "$port" /small)" = 200 ] || fail "refused though all have come back"
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
