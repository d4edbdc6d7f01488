#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# compare.sh [--check] FOLDER: caches by processor beside caches by thread, which are libbufferpool's. FOLDER has the
# programs that are built of this one. Prints tables of median ns of processor time with quartiles, of instructions, of
# turns of many threads, and of the buffers that idle.
# With --check: one short round, without instructions; fails if a program fails.
#
# A sample is a process of its own. In each round every row comes once, and the five take turns, in another order each
# time. The control is percpu.c with a cache for each thread.
#
# Environment: ROUNDS (15)
set -eu
export LC_ALL=C
check=
if [ "$1" = --check ]; then
    check=yes
    shift
fi
folder=$1
rounds=${ROUNDS:-15}
ms=()
turns=20000
many="64 1000"
workloads="pairs-1 pairs-2 pairs-64 hold-64 hold-64-2t hold-64-8t hold-1024 hold-1024-2t handoff handoff@1 larson"
workloads+=" cap-at"
if [ -n "$check" ]; then
    rounds=1 ms=(3) turns=100 many=8
    workloads="pairs-1 pairs-64 hold-1024-2t handoff@1"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
first=$(taskset -pc $$ | sed 's/.*: \([0-9]*\).*/\1/')
contestants=(threads control-64 percpu-64 percpu-256 bare-64)

run() { # CONTESTANT ARGUMENT...
    case $1 in
    threads) "$folder/bench-percpu-threads" "${@:2}" ;;
    percpu-*) PERCPU_LIMIT=${1#*-} "$folder/bench-percpu" "${@:2}" ;;
    control-*) PERCPU_LIMIT=${1#*-} "$folder/bench-percpu-control" "${@:2}" ;;
    bare-*) PERCPU_LIMIT=${1#*-} "$folder/bench-percpu-bare" "${@:2}" ;;
    esac
}

sample() { # CONTESTANT WORKLOAD; with @1 behind, on one processor
    local status=0 before=()
    case $2 in *@1) before=(taskset -pc "$first" "$BASHPID") ;; esac
    (
        if [ ${#before[@]} -gt 0 ]; then "${before[@]}" >/dev/null; fi
        run "$1" "${2%@*}" "${ms[@]}"
    ) >"$work/out" || status=$?
    if [ "$status" = 77 ]; then exit 77; fi
    if [ "$status" = 75 ]; then return; fi # nothing was done in the measured time
    if [ "$status" != 0 ]; then
        echo "compare.sh: $1 $2: exit status $status" >&2
        exit 1
    fi
    sed -n 's/^- \(.*\) ns$/\1/p' "$work/out" >>"$work/$1.$2"
}

quartiles() { # FILE: median (quartile to quartile)
    sort -g "$1" | awk '
        { v[NR] = $1 }
        END {
            if (NR == 0) { printf "-"; exit }
            printf "%.1f (%.1f to %.1f)", v[int(NR / 2 + 0.5)], v[int(NR / 4 + 0.75)], v[int(NR * 3 / 4 + 0.25)]
        }'
}

# Per pair. The difference of two runs of different length, so start and end cancel out. Under valgrind no area is
# registered.
instructions() { # CONTESTANT WORKLOAD
    local n count=() pairs=()
    for n in 200 400; do
        pairs+=("$(PERCPU_UNPROTECTED=1 run_under "$1" "$2" -n "$n" | sed 's/^- \([0-9]*\) .*/\1/')")
        count+=("$(sed -n 's/^summary: //p' "$work/callgrind")")
    done
    awk "BEGIN { printf \"%.1f\", (${count[1]} - ${count[0]}) / (${pairs[1]} - ${pairs[0]}) }"
}

run_under() {
    local under=(valgrind --tool=callgrind --callgrind-out-file="$work/callgrind")
    case $1 in
    threads) "${under[@]}" "$folder/bench-percpu-threads" "${@:2}" ;;
    percpu-*) PERCPU_LIMIT=${1#*-} "${under[@]}" "$folder/bench-percpu" "${@:2}" ;;
    control-*) PERCPU_LIMIT=${1#*-} "${under[@]}" "$folder/bench-percpu-control" "${@:2}" ;;
    bare-*) PERCPU_LIMIT=${1#*-} "${under[@]}" "$folder/bench-percpu-bare" "${@:2}" ;;
    esac 2>/dev/null
}

for ((round = 1; round <= rounds; round++)); do
    for workload in $workloads; do
        for contestant in $(shuf -e "${contestants[@]}"); do
            : >>"$work/$contestant.$workload"
            sample "$contestant" "$workload"
        done
    done
done

echo "| ns per get and put | threads | threads, control | processors, 64 | processors, 256 | 64, no checks |"
echo "|---|---:|---:|---:|---:|---:|"
for workload in $workloads; do
    row="| $workload |"
    for contestant in "${contestants[@]}"; do
        row+=" $(quartiles "$work/$contestant.$workload") |"
    done
    echo "$row"
done
if [ -z "$check" ] && command -v valgrind >/dev/null; then
    echo
    echo "| instructions | threads | threads, control | processors, 64 | processors, 256 | 64, no checks |"
    echo "|---|---:|---:|---:|---:|---:|"
    for workload in pairs-1 hold-64 hold-1024; do
        row="| $workload |"
        for contestant in "${contestants[@]}"; do
            row+=" $(instructions "$contestant" "$workload") |"
        done
        echo "$row"
    done
fi
echo
echo "| ns per turn of many threads on one processor | threads | that flush | threads, control | processors, 64 |"
echo "|---|---:|---:|---:|---:|"
for threads in $many; do
    for bytes in 64 32768; do
        for ((round = 1; round <= rounds; round++)); do
            for kind in $(shuf -e threads flush control processors); do
                case $kind in
                control) command=("$folder/bench-percpu-turns-control" processors) ;;
                *) command=("$folder/bench-percpu-turns" "$kind") ;;
                esac
                "${command[@]}" "$threads" "$bytes" "$turns" >>"$work/$kind.$threads.$bytes"
            done
        done
        row="| $threads threads, $bytes bytes written |"
        for kind in threads flush control processors; do
            row+=" $(quartiles "$work/$kind.$threads.$bytes") |"
        done
        echo "$row"
    done
done
echo
echo "| idle in caches, of those that were made | threads | processors |"
echo "|---|---:|---:|"
for threads in $many; do
    for held in 1 16; do
        "$folder/bench-percpu-idle" "$threads" "$held" | awk -v what="$threads threads, $held each" -F '\t' '
            { cell[$1] = $2 " of " $3; idle[$1] = $2 }
            END {
                print "| " what " | " cell["threads"] " | " cell["processors"] " |"
                exit !(idle["threads"] > 0 && idle["processors"] > 0)
            }'
    done
done
