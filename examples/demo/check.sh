#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# check.sh PROGRAM CASE: one of the demonstration's tests, by name. Exit status 0: as it should be; 77: cannot be tested
# here. Nothing waits for a while and hopes: each step waits for the line that says the last one is done.
set -u
program=$1
case=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir "$root"

fail() {
    echo "check.sh: $*" >&2
    [ -s "$work/err" ] && sed 's/^/    stderr: /' "$work/err" >&2
    exit 1
}

# expect STATUS PATTERN ARGUMENT...: the program ends with STATUS and says one line, which matches PATTERN.
expect() {
    local status=$1 pattern=$2
    shift 2
    "$program" "$@" >"$work/out" 2>"$work/err"
    local got=$?
    [ "$got" = "$status" ] || fail "$*: exit status $got, not $status"
    [ "$(wc -l <"$work/err")" = 1 ] || fail "$*: not one line on stderr"
    grep -q "^bufferpool-demo: .*$pattern" "$work/err" || fail "$*: the message does not say \"$pattern\""
}

# start_serving ARGUMENT...: starts the server; sets pid, port and the descriptor from, where its output comes.
start_serving() {
    coproc SERVER { exec "$program" --serve 0 --root "$root" "$@" 2>"$work/err"; }
    pid=$SERVER_PID
    exec {from}<&"${SERVER[0]}"
    read -r line <&"$from" || fail "--serve says nothing"
    port=${line##*:}
    port=${port%/}
    case $line in
    "serving $root on http://127.0.0.1:"*/) ;;
    *) fail "--serve says: $line" ;;
    esac
}

# Ends it with SIGINT and checks that it ends well; its last line goes to $work/last.
stop_serving() {
    kill -INT "$pid"
    wait "$pid"
    local got=$?
    [ "$got" = 0 ] || fail "--serve: exit status $got after SIGINT"
    [ -s "$work/err" ] && fail "--serve has something to say"
    cat <&"$from" >"$work/last"
    grep -q "every buffer came back" "$work/last" || fail "--serve does not say that all came back"
}

# How many connections have sent bytes that the server has not read.
unread() {
    awk -v "port=$(printf ':%04X$' "$port")" \
        '$2 ~ port && $4 == "01" && $5 !~ /:00000000$/ { n++ } END { print n + 0 }' /proc/net/tcp
}

# Waits until the server has read all that was sent to it.
wait_until_read() {
    local n=1
    while [ "$n" != 0 ]; do
        n=$(unread) || fail "cannot read /proc/net/tcp"
    done
}

# ask REQUEST STATUS: sends the request (with printf's escapes) on a connection of its own, compares the status line,
# and leaves the rest of the answer in $work/rest.
ask() {
    exec {socket}<>"/dev/tcp/127.0.0.1/$port" || fail "cannot connect"
    # cat sends it in one piece, which printf does not; the server may refuse it and close after the first.
    printf "$1" >"$work/request"
    cat "$work/request" >&"$socket"
    IFS= read -r status <&"$socket"
    status=${status%$'\r'}
    cat <&"$socket" >"$work/rest"
    exec {socket}>&-
    case $status in
    "HTTP/1.1 $2"*) ;;
    *) fail "$1: \"$status\", not $2" ;;
    esac
}

# row NAME: the four figures of a row in the table, without commas and units
row() {
    sed -n "s/^$1  *//p" "$work/out" | tr -d , | sed 's/ \(MiB\|ms\)//g'
}

close='Connection: close\r\n\r\n'
case $case in
arguments)
    expect 2 'unknown option --nonsense' --nonsense
    expect 2 '--connections needs a value' --connections
    expect 2 '"12x" is not a number from' --connections 12x
    expect 2 '"0" is not a number from' --waves 0
    expect 2 '"-1" is not a number from' --cap -1
    expect 2 '"70000" is not a number from' --serve 70000
    for budget in 0 -1 2048 4MiB 1.5 ''; do
        expect 2 "--budget: \"$budget\" is not a number from 1 to 2047" --budget "$budget"
    done
    expect 2 '--budget needs a value' --budget
    expect 2 '--budget and --block do not go together' --serve 0 --budget 1 --block
    expect 2 'unexpected argument "here"' here
    "$program" --help | grep -q '^Usage: ' || fail "--help prints no help"
    ;;
missing-directory)
    expect 1 'No such file or directory' --root "$root/nowhere"
    touch "$root/file"
    expect 1 'Not a directory' --root "$root/file"
    expect 1 'No such file or directory' --root "$root" --out "$root/nowhere"
    : >"$root/file"
    expect 1 'holds no readable file' --root "$root" --out "$work" --connections 4
    ;;
taken-port)
    start_serving
    mv "$work/err" "$work/server-err"
    expect 1 "cannot listen on 127.0.0.1:$port: Address already in use" --serve "$port" --root "$root"
    : >"$work/err"
    stop_serving
    ;;
requests)
    echo inside >"$root/file"
    echo outside >"$work/secret"
    ln -s ../secret "$root/link"
    mkdir "$root/dir"
    touch "$root/dir/a <b> & c"
    start_serving
    ask "GET /file HTTP/1.1\r\n$close" '200 OK'
    ask "HEAD /file HTTP/1.1\r\n$close" '200 OK'
    grep -q inside "$work/rest" && fail "HEAD sends a body"
    ask "GET /f%%69le?query HTTP/1.0\r\n\r\n" '200 OK'
    ask "GET /nothing HTTP/1.1\r\n$close" '404 Not Found'
    for path in /../secret /dir/../../secret /%%2e%%2e/secret /dir/%%2e./..%%2fsecret /..; do
        ask "GET $path HTTP/1.1\r\n$close" '400 Bad Request'
        grep -q "'\.\.' is not allowed in a path" "$work/rest" || fail "$path: no clear message"
    done
    ask "GET /link HTTP/1.1\r\n$close" '403 Forbidden'
    ask "GET /dir HTTP/1.1\r\n$close" '301 Moved Permanently'
    ask "GET /dir/ HTTP/1.1\r\n$close" '200 OK'
    grep -q 'href="./a%20%3Cb%3E%20%26%20c">a &lt;b&gt; &amp; c</a>' "$work/rest" || fail "the listing lacks its entry"
    ask "GET /%%0 HTTP/1.1\r\n$close" '400 Bad Request'
    ask "GET /%%00 HTTP/1.1\r\n$close" '400 Bad Request'
    ask "GET file HTTP/1.1\r\n$close" '400 Bad Request'
    ask "nonsense\r\n\r\n" '400 Bad Request'
    ask "GET /file HTTP/2.0\r\n$close" '505'
    ask "DELETE /file HTTP/1.1\r\n$close" '405 Method Not Allowed'
    grep -q '^Allow: GET, HEAD' "$work/rest" || fail "405 without Allow"
    ask "GET /file HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello" '413'
    ask "GET /$(printf 'x%.0s' {1..5000}) HTTP/1.1\r\n$close" '431'
    ask "GET /metrics HTTP/1.1\r\n$close" '200 OK'
    grep -q '^Content-Type: text/plain; version=0.0.4' "$work/rest" || fail "/metrics: another content type"
    grep -q '^bufferpool_live_buffers{pool="default"} 1$' "$work/rest" || fail "/metrics has no figures"
    tail -n 1 "$work/rest" | grep -q '^# EOF$' || fail "/metrics is not whole"
    ask "GET /holders HTTP/1.1\r\n$close" '200 OK'
    grep -q ' default: ' "$work/rest" || fail "/holders does not name who has a buffer of the default pool"
    # Three requests in one piece on one connection: three answers, in order, and then the end.
    ask "GET /file HTTP/1.1\r\n\r\nGET /nothing HTTP/1.1\r\n\r\nGET /file HTTP/1.1\r\n$close" '200 OK'
    [ "$(grep -c '^HTTP/1.1 200' "$work/rest")" = 1 ] || fail "the third of three requests is not answered"
    [ "$(grep -c '^HTTP/1.1 404' "$work/rest")" = 1 ] || fail "the second of three requests is not answered"
    stop_serving
    ;;
file)
    # Larger than the buffer's 32 KiB, so it has to grow; and a request that comes in two pieces.
    head -c 300000 /dev/urandom >"$root/large"
    start_serving
    exec {socket}<>"/dev/tcp/127.0.0.1/$port"
    printf 'GET /lar' >&"$socket"
    printf "ge HTTP/1.1\r\n$close" >&"$socket"
    cat <&"$socket" | sed '1,/^\r$/d' >"$work/large"
    cmp "$root/large" "$work/large" || fail "the file came out different"
    exec {socket}>&-
    stop_serving
    ;;
wait)
    # One buffer for all. While the response that holds it is read, others wait: one that has sent two requests, one that
    # goes away, and one more. Then the same across two workers, where the first is waited for by the other one.
    echo inside >"$root/file"
    head -c 16000000 /dev/urandom >"$root/large"
    for how in '--wait --workers 1' '--wait --workers 2' '--block --workers 1' '--block --workers 2'; do
        # shellcheck disable=SC2086 # two words
        start_serving --cap 1 $how
        exec {gone}<>"/dev/tcp/127.0.0.1/$port" {holder}<>"/dev/tcp/127.0.0.1/$port" \
            {second}<>"/dev/tcp/127.0.0.1/$port" {third}<>"/dev/tcp/127.0.0.1/$port"
        printf 'GET /file HTTP/1.1\r\n\r\n' >&"$gone"
        IFS= read -r status <&"$gone"
        printf "GET /large HTTP/1.1\r\n$close" >&"$holder"
        IFS= read -r status <&"$holder"
        printf 'GET /file HTTP/1.1\r\n\r\n' >&"$second"
        printf 'GET /file HTTP/1.1\r\n\r\n' >&"$gone"
        printf "GET /file HTTP/1.1\r\n$close" >&"$third"
        wait_until_read
        printf "GET /nothing HTTP/1.1\r\n$close" >&"$second" # which is not read while the first one waits
        exec {gone}>&- # with the first answer unread, so it is a reset
        cat <&"$holder" | sed '1,/^\r$/d' >"$work/large"
        cmp "$root/large" "$work/large" || fail "the file came out different"
        cat <&"$second" >"$work/second"
        [ "$(grep -c '^HTTP/1.1 200' "$work/second")" = 1 ] || fail "the first request of two is not answered"
        [ "$(grep -c '^HTTP/1.1 404' "$work/second")" = 1 ] || fail "the second request of two is not answered"
        cat <&"$third" >"$work/third"
        grep -q '^HTTP/1.1 200' "$work/third" || fail "the last one is not answered"
        exec {holder}>&- {second}>&- {third}>&-
        stop_serving
        # Of six requests the first never waits, and two wait for certain: the first of $second, and that of $third.
        grep -q 'of which [2-5] had to wait' "$work/last" || fail "$(cat "$work/last")"
    done
    ;;
budget)
    # 40 responses of 16 MB within 1 MiB, which has room for 31 buffers of 32 KiB. None is read at first, so at least 9
    # wait, of which the server may not have come to the last one when the reading begins. The first and the last are
    # read, and in between the clients of the 30 others that have buffers go away.
    head -c 16000000 /dev/urandom >"$root/large"
    most=0
    look() { # at resident memory, in KiB
        now=$(awk '/^Rss:/ { print $2 }' "/proc/$pid/smaps_rollup")
        [ "$now" -le "$most" ] || most=$now
    }
    read_whole() {
        cat <&"$1" | sed '1,/^\r$/d' | cmp - "$root/large" || fail "a file came out different"
        look
    }
    start_serving --budget 1 --workers 1
    ask "GET /metrics HTTP/1.1\r\n$close" '200 OK'
    grep -q '^bufferpool_budget_bytes{budget="server"} 1048576$' "$work/rest" || fail "/metrics lacks the budget"
    used=$(sed -n 's/^bufferpool_budget_used_bytes{budget="server"} //p' "$work/rest")
    if [ "${used:-0}" -lt 32768 ] || [ "$used" -gt 1048576 ]; then
        fail "/metrics: ${used:-no} bytes of the budget are used"
    fi
    look
    before=$most
    sockets=()
    for _ in {1..40}; do
        exec {socket}<>"/dev/tcp/127.0.0.1/$port"
        printf "GET /large HTTP/1.1\r\n$close" >&"$socket"
        sockets+=("$socket")
    done
    wait_until_read
    look
    read_whole "${sockets[0]}"
    for socket in "${sockets[@]:1:30}"; do
        exec {socket}>&-
    done
    read_whole "${sockets[39]}"
    stop_serving
    grep -q 'served 41 requests, of which \([89]\|[123][0-9]\) had to wait' "$work/last" || fail "$(cat "$work/last")"
    # What the program itself needs more under load is far below 1 MiB. RESIDENT=0: as for the case runs.
    [ "${RESIDENT:-1}" = 0 ] || [ $((most - before)) -lt 2048 ] ||
        fail "resident memory went from $before to $most KiB, with a budget of 1 MiB"
    ;;
interrupt-serve)
    echo inside >"$root/file"
    head -c 8000000 /dev/urandom >"$root/large"
    start_serving
    ask "GET /file HTTP/1.1\r\n$close" '200 OK'
    # Interrupted while a response is only half sent, so a buffer is out.
    exec {socket}<>"/dev/tcp/127.0.0.1/$port"
    printf 'GET /large HTTP/1.1\r\n\r\n' >&"$socket"
    IFS= read -r status <&"$socket"
    stop_serving
    exec {socket}>&-
    # The same while another one waits for that buffer.
    for how in --wait --block; do
        start_serving --cap 1 "$how"
        exec {socket}<>"/dev/tcp/127.0.0.1/$port" {other}<>"/dev/tcp/127.0.0.1/$port"
        printf 'GET /large HTTP/1.1\r\n\r\n' >&"$socket"
        IFS= read -r status <&"$socket"
        printf 'GET /file HTTP/1.1\r\n\r\n' >&"$other"
        wait_until_read
        stop_serving
        exec {socket}>&- {other}>&-
    done
    ;;
sleeps)
    # One buffer, and 128 requests wait for it while nothing happens. A worker that waits without blocking has no
    # turn of its loop meanwhile, so it does not use the processor at all. It reads no further requests either: they
    # would only wait too.
    echo inside >"$root/file"
    head -c 16000000 /dev/urandom >"$root/large"
    start_serving --cap 1 --workers 1 --wait
    exec {holder}<>"/dev/tcp/127.0.0.1/$port"
    printf "GET /large HTTP/1.1\r\n$close" >&"$holder"
    IFS= read -r status <&"$holder"
    others=()
    for i in {1..138}; do
        [ "$i" != 129 ] || wait_until_read
        exec {other}<>"/dev/tcp/127.0.0.1/$port"
        printf "GET /file HTTP/1.1\r\n$close" >&"$other"
        others+=("$other")
    done
    asleep() { # the worker's switches: how often it fell asleep
        cat /proc/"$pid"/task/*/status | awk '/^voluntary_ctxt/ { n += $2 } END { print n }'
    }
    before=$(asleep)
    sleep 0.5 # a worker that blocks for 2 ms at a time would fall asleep some 250 times
    after=$(asleep)
    [ $((after - before)) -lt 50 ] || fail "the server woke $((after - before)) times in half a second of nothing"
    [ "$(unread)" = 10 ] || fail "$(unread) requests are not read, and not the 10 after the first 128 that wait"
    cat <&"$holder" >/dev/null
    for other in "${others[@]}"; do
        cat <&"$other" | grep -q '^HTTP/1.1 200' || fail "one that waited is not answered"
        exec {other}>&-
    done
    exec {holder}>&-
    stop_serving
    ;;
runs)
    # The promises of the four runs, in the table's order: malloc, beyond, block, wait.
    for n in 1 2 3 4; do
        head -c 20000 /dev/urandom >"$root/$n"
    done
    "$program" --root "$root" --out "$work" --connections 400 --cap 8 --waves 3 >"$work/out" 2>"$work/err" ||
        fail "it fails"
    [ "$(row 'responses compared' | tr -s ' ')" = '1200 1200 1200 1200' ] || fail "not every request was served"
    [ "$(row 'responses wrong' | tr -s ' ')" = '0 0 0 0' ] || fail "responses are wrong"
    read -r _ beyond block wait <<<"$(row 'made beyond the cap')"
    [ "$beyond" -gt 0 ] || fail "the second run never went beyond the cap"
    [ "$block $wait" = '0 0' ] || fail "a run in which requests wait went beyond the cap"
    read -r malloc beyond block wait <<<"$(row 'most buffers out at once')"
    [ "$malloc $beyond" = '400 400' ] || fail "not all buffers were out at once: $malloc $beyond"
    [ "$block" -le 8 ] || fail "$block buffers were out, with a cap of 8"
    [ "$wait" = 8 ] || fail "$wait buffers were out, and not the 8 of the cap"
    read -r _ beyond block wait <<<"$(row 'requests that waited')"
    [ "$beyond" = 0 ] || fail "$beyond requests waited although there was no need"
    [ "$block" -gt 0 ] || fail "no request waited for a thread that blocks"
    [ "$wait" -gt 0 ] || fail "no request waited"
    # 8 buffers of 32 KiB, of 400 of which 20 KB are used. RESIDENT=0: a sanitizer or valgrind has memory of its own.
    [ "${RESIDENT:-1}" = 1 ] || exit 0
    paste -d ' ' <(row 'resident before the load') <(row 'resident, peak') <(row 'resident after the load') |
        awk '{ exit !($5 - $1 > 6 && $6 - $2 > 6 && $8 - $4 < 2 && $12 - $4 < 2) }' ||
        fail "resident: $(row 'resident before the load') / $(row 'resident, peak') / $(row 'resident after the load')"
    ;;
load)
    # All as it is by default, but the last run has a budget. The files fit into a buffer, or do not by far.
    for size in 20000 32000 33000 200000; do
        head -c "$size" /dev/urandom >"$root/$size"
    done
    "$program" --root "$root" --out "$work" --connections 300 --budget 2 >"$work/out" 2>"$work/err" || fail "it fails"
    [ "$(row 'responses wrong' | tr -s ' ')" = '0 0 0 0' ] || fail "responses are wrong"
    grep -q '^  *budget 2 MiB$\|cap 256  budget 2 MiB$' "$work/out" || fail "the table does not name the budget"
    read -r malloc beyond block wait <<<"$(row 'most of the budget used')"
    [ "$malloc $beyond $block" = '- - -' ] || fail "runs without a budget used it: $malloc $beyond $block"
    # The load generator reads when 58 responses have begun, each in 32 KiB.
    awk "BEGIN { exit !($wait >= 1.8 && $wait <= 2) }" || fail "$wait MiB of the budget were used at most"
    grep -q "^budget 2 MiB, wait: buffers took $wait MiB at most" "$work/out" || fail "the budget has no line"
    read -r _ _ _ waited <<<"$(row 'requests that waited')"
    [ "$waited" -gt 0 ] || fail "no request waited for bytes"
    # What the program itself needs more under load is far below 1 MiB.
    paste -d ' ' <(row 'resident before the load') <(row 'resident, peak') |
        awk '{ exit !($8 - $4 < 2 + 1) }' || [ "${RESIDENT:-1}" = 0 ] ||
        fail "resident: $(row 'resident before the load') / $(row 'resident, peak')"
    ;;
interrupt-load)
    for n in 1 2 3 4; do
        head -c 20000 /dev/urandom >"$root/$n"
    done
    coproc LOAD { exec "$program" --root "$root" --out "$work" --connections 300 --waves 1000 2>"$work/err"; }
    pid=$LOAD_PID
    exec {from}<&"${LOAD[0]}"
    while read -r line <&"$from"; do
        case $line in *"connections are open"*) break ;; esac
    done
    kill -INT "$pid"
    wait "$pid"
    got=$?
    [ "$got" = 130 ] || fail "exit status $got after SIGINT, not 130"
    [ "$(cat "$work/err")" = 'bufferpool-demo: interrupted' ] || fail "it does not end cleanly"
    ;;
full-disk)
    # First a file that takes nothing, then a disk of some KiB. What is not whole must not be there afterwards.
    head -c 20000 /dev/urandom >"$root/file"
    mkdir "$work/disk"
    ln -s /dev/full "$work/disk/demo.csv"
    expect 1 "cannot write $work/disk/demo.csv: No space left on device" --root "$root" --out "$work/disk" \
        --connections 4 --waves 1
    [ ! -e "$work/disk/demo.csv" ] || fail "demo.csv is there, and not whole"
    [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=8k none "$work/disk" 2>/dev/null || exit 77
    trap 'umount "$work/disk"; rm -rf "$work"' EXIT
    head -c 8192 /dev/zero >"$work/disk/rest" 2>/dev/null
    expect 1 "cannot write $work/disk/demo.csv: No space left on device" --root "$root" --out "$work/disk" \
        --connections 4 --waves 1
    [ ! -e "$work/disk/demo.csv" ] || fail "demo.csv is there, and not whole"
    ;;
few-files)
    head -c 20000 /dev/urandom >"$root/file"
    run=("$program")
    if (ulimit -n 200 && ulimit -Hn 300) 2>/dev/null; then
        # This user may raise the hard limit; without that right the program has to make do.
        command -v setpriv >/dev/null || exit 77
        run=(setpriv --bounding-set -sys_resource --inh-caps -sys_resource "$program")
    fi
    ulimit -n 200
    "${run[@]}" --root "$root" --out "$work" --connections 300 >"$work/out" 2>"$work/err" || fail "it fails"
    grep -q 'open files is 200 and cannot be raised: 72 connections instead of 300' "$work/err" ||
        fail "it does not say so"
    grep -q '^72 connections' "$work/out" || fail "it does not use 72 connections"
    ;;
*)
    fail "no such case: $case"
    ;;
esac
