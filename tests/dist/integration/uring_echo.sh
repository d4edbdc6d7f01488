#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# uring_echo.sh: examples/uring_echo.c with clients that all send before they read: first more clients than buffers,
# then more buffers than clients.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/common.sh"
needs python3

start_server 8
next_port
python3 "$here/echo.py" "$port" 100 "${ROUNDS:-40}" || fail "echo"
python3 "$here/hogs.py" "$port" 8 100 || fail "hogs"
stop_server
[ "$(figure waits loops)" -gt 0 ] || fail "the loop never waited for a buffer"
look_at_most

start_server 1000
next_port
python3 "$here/echo.py" "$port" 100 "${ROUNDS:-40}" || fail "echo"
stop_server
[ "$(figure most)" -gt 16 ] || fail "the ring was never filled again"
[ "$(figure waits loops)" = 0 ] || fail "the loop waited though there were buffers"
