#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# libevent_server.sh: examples/libevent_server.c under the load of wrk, and of clients that read slowly. Slow clients
# hold all buffers. Others wait until the slow ones have read. Beyond those that may wait, the server refuses.
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
[ "$(figure waits loops)" = 0 ] || fail "somebody waited though there were buffers"

# Ten ask at once for what none of them reads yet, with four buffers: six wait, and all are served.
start_server "$root" 4
next_port
python3 "$here/slow.py" "$port" 10 large "$root/large" 4
stop_server
[ "$(figure waits loops)" = 6 ] || fail "$(figure waits loops) waited, not 6"
look_at_most

# Two hold all buffers, and two wait. One of these goes away, which the server sees when it answers; the other one is
# served. When the server ends, two answers are under way and three requests wait.
start_server "$root" 2
next_port
python3 - "$port" "$pid" <<'PYTHON' || fail "those that wait"
import os, select, signal, socket, struct, sys
def ask(path):
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 60)
    s.sendall(b"GET /%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)
    return s
def rest(s):
    return b"".join(iter(lambda: s.recv(1 << 20), b""))
holders = [ask(b"large") for _ in range(2)]
for s in holders:
    select.select([s], [], [])
gone, stays = ask(b"small"), ask(b"small")
gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
gone.close()
if select.select([stays], [], [], 0.2)[0]:
    sys.exit("answered without a buffer")
rest(holders[0])
if not rest(stays).endswith(b"hello\n"):
    sys.exit("not the file")
rest(holders[1])
holders = [ask(b"large") for _ in range(2)]
for s in holders:
    select.select([s], [], [])
waiting = [ask(b"small") for _ in range(3)]
if select.select(waiting, [], [], 0.2)[0]:
    sys.exit("answered without a buffer")
os.kill(int(sys.argv[2]), signal.SIGTERM)
for s in waiting:
    if rest(s) != b"":
        sys.exit("answered without a buffer")
PYTHON
wait_for_server
[ "$(figure gets)" = 6 ] || fail "$(figure gets) buffers for 6 requests that were answered"

# With nobody allowed to wait, it refuses.
start_server "$root" 4 0
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
