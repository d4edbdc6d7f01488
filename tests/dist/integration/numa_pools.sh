#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# numa_pools.sh: examples/numa_pools.c reads topologies of each form, binds the memory of each pool to its node where the
# kernel lets it, and says so where not. Every machine can run this: one with one node binds to that.
#
# Environment: REFUSE (the program without_mbind)
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/common.sh"

run() { # STATUS ARGUMENT...
    local status=0
    "${before[@]}" "${under[@]}" "$PROGRAM" "${@:2}" >"$work/out" 2>"$work/err" || status=$?
    [ "$status" = "$1" ] || fail "${*:2}: exit status $status: $(cat "$work/out")"
}
before=()

says() { # a line of the output
    grep -Fqx -- "$1" "$work/out" || fail "it does not say '$1' but: $(cat "$work/out")"
}

# ---- topologies ----

top=$work/node
topology() { # ONLINE HAS_MEMORY; then for each online node "NUMBER CPULIST [DISTANCE]"
    rm -rf "$top"
    mkdir "$top"
    echo "$1" >"$top/online"
    echo "$2" >"$top/has_memory"
    local node number list distance
    for node in "${@:3}"; do
        IFS=' ' read -r number list distance <<<"$node"
        mkdir "$top/node$number"
        [ "$list" != none ] || list=
        echo "$list" >"$top/node$number/cpulist"
        [ -z "$distance" ] || echo "$distance" >"$top/node$number/distance"
    done
}

shows() { # LINE...: all that it shows, in this order
    run 0 -s -t "$top"
    diff <(printf '%s\n' "$@") "$work/out" || fail "the topology is not as it should be"
}

topology 0-1 0-1 "0 0-3,8-11 10 21" "1 4-7,12-15 21 10"
shows "node 0: memory, a pool" "node 1: memory, a pool" "processors 0-3: node 0" "processors 4-7: node 1" \
    "processors 8-11: node 0" "processors 12-15: node 1"
topology 0-3 0-3 "0 0" "1 1,3" "2 2,4-5" "3 6-7"
shows "node 0: memory, a pool" "node 1: memory, a pool" "node 2: memory, a pool" "node 3: memory, a pool" \
    "processors 0-0: node 0" "processors 1-1: node 1" "processors 2-2: node 2" "processors 3-3: node 1" \
    "processors 4-5: node 2" "processors 6-7: node 3"
# numbers with gaps, and processors that nobody has
topology 1,16,255 1,16,255 "1 0-1" "16 4" "255 5-6,4095"
shows "node 1: memory, a pool" "node 16: memory, a pool" "node 255: memory, a pool" "processors 0-1: node 1" \
    "processors 4-4: node 16" "processors 5-6: node 255" "processors 4095-4095: node 255"
# node 1 has no memory: node 2 is nearer than node 0. Node 3 has memory alone.
topology 0-3 0,2-3 "0 0-1 10 32 32 40" "1 2-3 32 10 12 40" "2 4-5 32 12 10 40" "3 none 40 40 40 10"
shows "node 0: memory, a pool" "node 1: no memory, no pool" "node 2: memory, a pool" "node 3: memory, no pool" \
    "processors 0-1: node 0" "processors 2-5: node 2"
# the nearest of two; all processors on a node without memory
topology 0,4,9 4,9 "0 0-1 10 30 20" "4 none 30 10 20" "9 none 20 20 10"
shows "node 0: no memory, no pool" "node 4: memory, no pool" "node 9: memory, a pool" "processors 0-1: node 9"
# node 0 has memory alone: processors that no node lists use node 1
topology 0-1 0-1 "0 none" "1 4000"
shows "node 0: memory, no pool" "node 1: memory, a pool" "processors 4000-4000: node 1"
run 0 -t "$top"
grep -q "^numa: pools 1, " "$work/out" || fail "$(cat "$work/out")"
# without distances, any
topology 0-1 1 "0 0" "1 1"
shows "node 0: no memory, no pool" "node 1: memory, a pool" "processors 0-1: node 1"

for list in 3-1 x 1- -1 1,,2 "1," ,1 8192 0-99999999999999999999 "1 2" 1-2-3 0x1; do
    topology 0 0 "0 0"
    echo "$list" >"$top/node0/cpulist"
    run 1 -s -t "$top"
    grep -q 'no topology in .*: Invalid argument' "$work/err" || fail "of the list '$list': $(cat "$work/err")"
done
topology 0 0 "0 0"
rm "$top/has_memory"
run 1 -s -t "$top"
topology 0-64 0 "0 0"
run 1 -s -t "$top"
grep -q 'Argument list too long' "$work/err" || fail "65 nodes: $(cat "$work/err")"
topology 0 "" "0 0"
run 1 -s -t "$top"
topology 0 0 "0 none"
run 1 -s -t "$top"
run 0 -s -t "$work/missing"
says "node 0: memory, a pool"

# ---- memory ----

balance() { # every pool has got back what it handed out, and pages lie where the program says
    grep -Ecq '^pool: gets [1-9]' "$work/err" || fail "no pool was used"
    awk '/^pool: / { if ($3 != $5 || $NF != 0 || $9 != 0) exit 1 }' "$work/err" || fail "a pool is not balanced"
}

nodes=$(sed -n '$=' < <(ls -d /sys/devices/system/node/node[0-9]* 2>/dev/null))
run 0
if [ "${nodes:-0}" -le 1 ]; then says "numa: pools 1, since there is one node"; fi
balance

run 0 -b
case $(head -n 1 "$work/out") in
*"the memory of each on its node")
    balance
    # Every page that was looked at lies on its node. A node that is full would be an exception, which tests do not have.
    grep -q '^node [0-9]*: pages there [1-9]' "$work/out" || echo "move_pages is refused here"
    awk '/^node / { if ($7 != 0 || $9 != 0) exit 1 }' "$work/out" || fail "pages lie elsewhere: $(cat "$work/out")"
    ;;
*"mbind is refused"*) echo "mbind is refused here" ;;
*) fail "$(cat "$work/out")" ;;
esac
cat "$work/out"

# Two pools, where threads of both put buffers of both. The second node is none that the kernel knows.
topology 0,1023 0,1023 "0 0" "1023 1-8191"
run 0 -t "$top"
says "numa: pools 2, pages where they are first touched, since mbind is refused: Invalid argument"
balance
if [ "$(nproc)" -gt 1 ]; then
    [ "$(grep -c '^pool: gets [0-9]*' "$work/err")" = 2 ] || fail "not two pools"
fi

# A container that refuses mbind. Under valgrind, valgrind would be what is filtered.
if [ ${#under[@]} = 0 ]; then
    for error in 1 38; do
        before=("$REFUSE" "$error")
        "$REFUSE" "$error" "$(type -P true)" || skip "no filter of system calls here"
        run 0 -b
        grep -Eq '^numa: pools 1, .* mbind is refused: (Operation not permitted|Function not implemented)$' \
            "$work/out" || fail "$(cat "$work/out")"
        balance
    done
fi
