#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# libuv_server.sh: examples/libuv_server.c under the load of wrk, of clients that read slowly, and of an echo client,
# all with fewer buffers than clients. Where the clients of one loop hold all buffers, those of the other wait too.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/common.sh"
needs wrk python3 curl

make_root
start_server "$root" 8
next_port
http=$port
next_port
echo=$port

look_at_files "$http"
for path in /none / /link /.. /../outside /.hidden; do
    answer=$(status "$http" "$path")
    [ "$answer" = 404 ] || [ "$answer" = 400 ] || fail "$path: $answer"
done
[ "$(status "$http" /small -X DELETE)" = 400 ] || fail "DELETE"
[ "$(status "$http" /small -H "Long: $(printf '%040000d' 0)")" = 400 ] || fail "a head that is longer than a buffer"

look_at_load "$http"

python3 "$here/slow.py" "$http" 20 large "$root/large" 8
python3 "$here/echo.py" "$echo" 100 "${ROUNDS:-40}" || fail "echo"
python3 "$here/hogs.py" "$echo" 8 100 "$http" fits "$root/fits" || fail "hogs"
stop_server
look_at_most
for loop in http echo; do
    [ "$(figure $loop loops)" -gt 0 ] || fail "no client of the $loop loop waited"
done
