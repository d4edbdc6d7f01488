# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034 # what is set here is used there
#
# common.sh - for the tests of the examples, which source it: starts the program under test, ends it, and reads what it
# says about its pool. PROGRAM: what is tested; empty where it was not built. UNDER: what runs it, such as valgrind with its
# options, or nothing. Nothing here waits for a while and hopes: each step waits for what says that the last one is done.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
read -ra under <<<"${UNDER:-}"
work=$(mktemp -d)
pid=
cleanup() { :; }
trap 'if [ -n "$pid" ]; then kill -KILL "$pid" 2>/dev/null || true; fi; cleanup; rm -rf "$work"' EXIT

fail() {
    echo "failed: $*" >&2
    if [ -s "$work/err" ]; then sed 's/^/    stderr: /' "$work/err" >&2; fi
    exit 1
}

skip() {
    echo "not tested: $*"
    exit 77
}

needs() {
    local program
    for program; do
        command -v "$program" >/dev/null || skip "$program is not installed"
    done
}

if [ -z "${PROGRAM:-}" ]; then skip "it was not built, its library is not there"; fi

# Starts PROGRAM with the arguments, a server that says "WHAT PORT" in its first lines; its output comes from descriptor $from.
start_server() {
    coproc SERVER { exec "${under[@]}" "$PROGRAM" "$@" 2>"$work/err"; }
    pid=$SERVER_PID
    exec {from}<&"${SERVER[0]}"
}

# The next port that it says, in $port.
next_port() {
    local line status=0
    if read -r line <&"$from"; then
        port=${line##* }
        return
    fi
    wait "$pid" || status=$?
    pid=
    [ "$status" != 77 ] || skip "$(cat "$work/err")"
    fail "no port, exit status $status"
}

# ---- for servers of files ----

# In $root: files that fit into a buffer, and such as do not; beside it one that must not be served.
make_root() {
    root=$work/root
    mkdir "$root"
    echo secret >"$work/outside"
    ln -s ../outside "$root/link"
    : >"$root/empty"
    printf 'hello\n' >"$root/small"
    seq 1 5000 >"$root/fits"
    seq 1 50000 >"$root/grows"
    seq 1 1200000 >"$root/large"
}

# status PORT PATH [OPTION...]: the status of the answer, whose content is in $work/body
status() {
    curl -sS -o "$work/body" -w '%{http_code}' --path-as-is "${@:3}" "http://127.0.0.1:$1$2"
}

look_at_files() {
    local name
    for name in empty small fits grows; do
        [ "$(status "$1" "/$name")" = 200 ] || fail "/$name"
        cmp "$work/body" "$root/$name"
    done
}

# Many clients at once; every answer must be right.
look_at_load() {
    wrk -t2 -c64 "-d${SECONDS_OF_LOAD:-4}s" -s "$here/answers.lua" "http://127.0.0.1:$1" -- \
        "$root" small fits grows >"$work/wrk" || fail "wrk"
    grep '^answers' "$work/wrk"
    grep -Eq '^answers [1-9][0-9]* wrong 0$' "$work/wrk" || fail "$(cat "$work/wrk")"
}

# ---- the end ----

# Ends it, and looks at what it has to say: it must have ended well, and with every buffer.
stop_server() {
    kill -TERM "$pid"
    wait_for_server
}

# The same, if it has been told to end already.
wait_for_server() {
    local status=0
    wait "$pid" || status=$?
    pid=
    [ "$status" = 0 ] || fail "exit status $status"
    look_at_pool
}

# figure NAME [OF]: what the program's last line about its pool, or about OF, says of it.
figure() {
    sed -n "s/^${2:-pool}: .*\b$1 \([0-9]*\).*/\1/p" "$work/err" | tail -n 1
}

look_at_balance() {
    [ "$(figure gets)" = "$(figure puts)" ] || fail "not as many puts as gets"
    [ "$(figure live)" = 0 ] || fail "buffers are out"
}

# The laws, of every line about a pool: nothing is out, nothing went beyond the cap, as many puts as gets.
look_at_pool() {
    grep '^pool: ' "$work/err" || fail "it says nothing about its pool"
    # --PID-- is valgrind about system calls that it does not know; what it finds is in the exit status
    [ "$(grep -Ecv '^(pool: gets|loops: (http|waits)|--[0-9]+--) ' "$work/err")" = 0 ] || fail "it says more than it should"
    look_at_balance
    [ "$(figure beyond)" = 0 ] || fail "gets went beyond the cap"
    [ "$(figure cap)" = 0 ] || [ "$(figure most)" -le "$(figure cap)" ] || fail "more buffers than the cap allows"
    [ "$(figure gets)" -gt 0 ] || fail "it never used its pool"
}

# As many buffers were out as there may be.
look_at_most() {
    [ "$(figure most)" = "$(figure cap)" ] || fail "fewer buffers were out than the cap allows"
}

# The cap was really reached.
look_at_cap() {
    [ "$(figure refused)" -gt 0 ] || fail "nobody ever found the cap reached"
    look_at_most
}
