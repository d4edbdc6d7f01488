#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# operations.sh names|commands: what docs/operations.md names is there, and its commands run. In the root of the project.
#   names     every function, metric and setting that the page names exists
#   commands  the blocks `sh` of the page run as they stand against the demonstration's server, whose clients do not read,
#             and do what the page says. 77: gdb cannot attach here.
set -euo pipefail
page=docs/operations.md
status=0

fail() {
    echo "$page: $*"
    exit 1
}

if [ "$1" = names ]; then
    grep -o '`[^`]*`' "$page" | tr -d '`' >"$WORK/quoted"
    # the page's own function, and what the kernel and ps call so
    known=' in_gdb min_flt oom_kill '
    for name in $(grep -Eo '^[a-z]+(_[a-z]+)+' "$WORK/quoted" | sort -u); do
        case $known in *" $name "*) continue ;; esac
        grep -qw "$name" include/bufferpool.h || grep -qw "\(bufferpool_\)\?$name" docs/metrics.md ||
            { echo "$page names $name"; status=1; }
    done
    for name in $(sed -n '/^ *```sh/,/^ *```$/p' "$page" | grep -Eo '\) bufferpool_[a-z_]+' | tr -d ') ' | sort -u); do
        grep -q "^$name@*" tests/dist/exported-symbols.txt || grep -qw "$name" include/bufferpool.h ||
            { echo "$page calls $name"; status=1; }
    done
    exit $status
fi

# ---- the commands ----

for program in gdb curl ps; do
    command -v "$program" >/dev/null || { echo "$program is not installed: not tested"; exit 77; }
done
work=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill -KILL "$server" 2>/dev/null || true; fi; rm -rf "$work"' EXIT
unset DEBUGINFOD_URLS BUFFERPOOL_DEBUG
mkdir "$work/files"
head -c 12000000 /dev/urandom >"$work/files/large" # more than the kernel takes for a connection
export OUT=$work/out PAUSE=1

# block NUMBER: the lines of that block
block() {
    awk -v wanted="$1" '/^ *```sh$/ { on = ++n == wanted; next } /^ *```$/ { on = 0 } on' "$page"
}

# serve OPTION...: the server, and six clients that ask and never read; sets PID, URL, metrics and in_gdb as the page does
serve() {
    coproc SERVER { exec "$DEMO" --serve 0 --root "$work/files" --cap 2 --workers 2 "$@"; }
    server=$SERVER_PID
    local line i socket
    read -r line <&"${SERVER[0]}"
    port=${line##*:}
    port=${port%/}
    eval "$(block 1 | sed -e "s|^PID=.*|PID=$server|" -e "s|^URL=.*|URL=http://127.0.0.1:$port/metrics|")"
    in_gdb -ex 'print 6 * 7' | grep -q '= 42' || { echo "gdb cannot attach here: $(in_gdb | tail -n 1)"; exit 77; }
    sockets=()
    for i in 1 2 3 4 5 6; do
        exec {socket}<>"/dev/tcp/127.0.0.1/$port"
        printf 'GET /large HTTP/1.1\r\n\r\n' >&"$socket"
        sockets+=("$socket")
    done
}

end() {
    local socket
    for socket in "${sockets[@]}"; do exec {socket}>&-; done
    kill -INT "$server"
    wait "$server" || fail "the server ends with $?"
    server=
}

# run NUMBER: runs that block, whose output goes to $work/said; it must say something, and nothing that an error says
run() {
    block "$1" >"$work/block"
    (set -euo pipefail; eval "$(cat "$work/block")") >"$work/said" 2>&1 || fail "$(cat "$work/block" "$work/said")"
    [ -s "$work/said" ] || fail "this says nothing: $(cat "$work/block")"
    ! grep -E 'No symbol|no pool|Undefined|Traceback|No such file or directory\.$|unknown return type|[Ss]yntax|ptrace:|annot' \
        "$work/said" | grep -v '^[0-9]*[[:space:]].*No such file' || fail "$(cat "$work/block")"
}

says() {
    grep -Eq "$1" "$work/said" || fail "not '$1': $(cat "$work/block" "$work/said")"
}

# the block that has the text
with() {
    local n=1
    while block $n | grep -q .; do
        if block $n | grep -qF -- "$1"; then echo $n; return; fi
        n=$((n + 1))
    done
    fail "no block has $1"
}

# Beyond the cap: every block runs.
serve
until [ "$(metrics | awk '/^bufferpool_(live|bypass)_buffers.*responses/ { n += $2 } END { print n }')" -ge 7 ]; do :; done
n=2
while block $n | grep -q .; do
    run $n
    n=$((n + 1))
done
[ $n -gt 10 ] || fail "only $n blocks"
run "$(with bufferpool_metrics)"
says '^bufferpool_max_live_buffers\{pool="responses"\} 512' # which the page has set meanwhile
says '^ +6 +[0-9]+ .* responses:'
run "$(with 'bufferpool_trim(')"
says '^\$2 = [0-9]+' # two values
[ "$(metrics | sed -n 's/^bufferpool_retained_bytes{pool="responses"} //p')" = 0 ] || fail "trim leaves retained memory"
run "$(with 'HANDLE')"
says 'HTTP/1.1 200 OK' # what the first buffer of the list has
[ -s "$work/out.$server" ] || fail "no core"
end

# Where requests wait: the metrics page does not answer, gdb sees who waits, and a higher cap serves them.
serve --wait
waiters() {
    block "$(with 'bufferpool pools')" >"$work/block"
    eval "$(cat "$work/block")" | awk '$2 == "responses" { print $9 }'
}
until [ "$(waiters)" -ge 4 ]; do :; done
curl -sS -m 0.2 "$URL" >"$work/page" 2>&1 && fail "the metrics page answers at the cap"
run "$(with bufferpool_set_max_live)"
says '= 512'
until [ "$(waiters)" = 0 ]; do :; done
metrics | grep -q '^bufferpool_live_buffers{pool="responses"} [6-8]' || fail "$(metrics | grep live)"
end
echo "$((n - 1)) blocks"
