#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# run.sh [-w WORKLOADS] [-p PEERS] PEERS.tsv RESULT.tsv: measures every contestant on every workload
# run.sh --check PEERS.tsv: runs each of them once, for a moment; fails if a contestant fails on a workload
#
# The build writes PEERS.tsv. WORKLOADS and PEERS are extended regular expressions that must match whole names. You can
# also set them in the environment, under these names, as well as ROUNDS (5).
#
# A sample is a process of its own. In each round every workload comes once, and all contestants run it in turn, in an
# order of that workload's own. So other work on the machine hits all of them alike. Long workloads come in every second
# round, and those with a million buffers in every fourth. The burst comes three times in each round, since its time
# varies, but only the first time with its rest. The demonstration, which is its four runs in turn, comes in each of the
# first three rounds. It serves what lies beneath DEMO_ROOT (/usr/include) to DEMO_CONNECTIONS (10000).
set -eu
export LC_ALL=C
rounds=${ROUNDS:-5}
workloads=${WORKLOADS:-.*}
peers=${PEERS:-.*}
check=
while [ $# -gt 0 ]; do
    case $1 in
    --check) check=yes rounds=1 ;;
    -w) workloads=$2 && shift ;;
    -p) peers=$2 && shift ;;
    *) break ;;
    esac
    shift
done
list=$1
result=${2:-/dev/null}
if [ -z "$check" ]; then
    mkdir -p "$(dirname "$result")"
fi

columns="pairs-1 pairs-2 pairs-64 hold-64 hold-64-2t hold-64-8t hold-1024 hold-1024-2t fifo-1024 fifo-1024-2t handoff larson"
others="threads grow-64k grow-256k grow-2m pairs-grown bulk-32
        cap-at cap-plus-1 cap-plus-2 cap-plus-4 cap-plus-8 cap-plus-16 cap-plus-32 cap-plus-64 cap-plus-128 cap-plus-256
        cap-twice cap-twice-pooled cap-twice-bypass cap-beyond-28 cap-beyond-64 cap-beyond-1024
        pairs-4 pairs-16 live-1 live-1000 live-100000 replace-1000 replace-100000
        pools-1 pools-4 pools-16 pools-64"
million="live-1000000 replace-1000000"

# Succeeds if the contestant does not run the workload. A list that waits at its maximum cannot go beyond its cap; the
# others without a cap ignore it. Very many live buffers are for whole allocators. Bursts are for contestants that make
# buffers as they are needed. Some of ours run only the workloads that their setting is for.
unfit() { # WORKLOAD PEER
    local ours mallocs='glibc|jemalloc|mimalloc|tcmalloc'
    case $1 in
    burst*) ours='cap-256|hugepages' ;;
    waves) ours='background|cap-256|cap-256-background' ;;
    esac
    case $1 in
    burst* | waves) [[ ! $2 =~ ^(libbufferpool|libbufferpool-($ours)|$mallocs)$ ]] && return ;;
    cap-*) [[ $2 =~ ^libbufferpool-(cap-256.*|hugepages)$ || $2 = apr-reslist ]] && return ;;
    grow-2m) [[ $2 =~ ^libbufferpool-(cap-256.*|hugepages)$ ]] && return ;;
    *) [[ $2 =~ ^libbufferpool-(background|cap-256.*|hugepages)$ ]] && return ;;
    esac
    case $1 in
    *-1000000 | *-100000) [[ ! $2 =~ ^(null|libbufferpool|$mallocs)$ ]] ;;
    *) false ;;
    esac
}

names=() && declare -A program environment version
while IFS=$'\t' read -r name env_of version_of program_of; do
    [[ $name == \#* || ! $name =~ ^($peers)$ ]] && continue
    names+=("$name")
    program[$name]=$program_of
    version[$name]=$version_of
    environment[$name]=${env_of/#-/}
done <"$list"

# sample PEER ARGUMENT...: runs one process; 77 if the contestant cannot do the workload
sample() {
    local peer=$1
    shift
    # shellcheck disable=SC2086 # words
    timeout 120 env ${environment[$peer]} "${program[$peer]}" "$@"
}

head_lines() {
    echo "# date: $(date -u +%Y-%m-%dT%H:%MZ)"
    grep -v '^#demo' "$list" | grep '^#' | sed 's/^#\([^\t]*\)\t/# \1: /'
    echo "# kernel: $(uname -sr | sed "s/-.*//")"
    echo "# processor: $(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1), $(nproc) of them"
    echo "# huge pages: $(cat /sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null || echo none)"
    echo "# rounds: $rounds"
    for name in "${names[@]}"; do
        # of a path only the name of the file
        printf '# peer: %s %s %s\n' "$name" "${version[$name]}" "${environment[$name]/=\/*\//=}"
    done
    printf 'workload\tpeer\tround\tvalue\tunit\n'
}

list_workloads() { # ROUND
    echo "$columns" "$others" burst
    if [ -z "$check" ]; then
        echo burst:again burst:again
        if (($1 % 4 == 1)); then
            echo "$million"
        fi
        if (($1 <= 3)); then
            echo demo
        fi
    fi
    if (($1 % 2 == 1)); then
        echo pairs-256 burst+4k waves
        for column in $columns; do
            echo "$column+4k" "$column+all"
        done
    fi
}

# A virtual machine may have given free pages back to its host, and the first process that touches them waits for the
# host. So the seventh burst in a row counts.
warm_up() { # PEER WORKLOAD
    for _ in 1 2 3 4 5 6; do
        sample "$1" "$2" 0 >/dev/null 2>&1 || return 0
    done
}

declare -A cannot
failures=0
measure() { # WORKLOAD PEER ROUND
    local output status=0 what value unit name=${1%:again} ms=${check:+1}
    [ -n "${cannot[$name $2]:-}" ] && return
    if [[ -z $check && $1 =~ ^(burst|waves) ]]; then
        warm_up "$2" "${name/waves/burst}"
        [[ $1 =~ ^(burst|waves)$ ]] || ms=0 # no rest
    fi
    # shellcheck disable=SC2086 # nothing, or a number
    output=$(sample "$2" "$name" $ms 2>&1) || status=$?
    if [ "$status" = 75 ]; then
        return # no operation ended in the measured time, on a busy machine
    elif [ "$status" != 0 ]; then
        cannot[$name $2]=yes
        if [ "$status" != 77 ]; then
            failures=$((failures + 1))
            printf '\n%s on %s: status %s\n%s\n' "$2" "$name" "$status" "$output" >&2
        fi
        return
    fi
    while read -r what value unit; do
        [ "$what" = - ] && what="" || what=":$what"
        printf '%s\t%s\t%s\t%s\t%s\n' "$name$what" "$2" "$3" "$value" "$unit" >>"$result"
    done <<<"$output"
}

# The figures of the demonstration's table: a line for each row and run.
demo() { # ROUND
    local program directory
    program=$(sed -n 's/^#demo\t//p' "$list")
    directory=$(mktemp -d)
    if [ ! -x "$program" ]; then
        echo "run.sh: no demonstration here" >&2
    elif "$program" --root "${DEMO_ROOT:-/usr/include}" --connections "${DEMO_CONNECTIONS:-10000}" --out "$directory" \
        >"$directory/out" 2>"$directory/err"; then
        [ "$1" != 1 ] || sed -n 's/^[0-9]* connections, /# demo: &/p' "$directory/out" "$directory/err" >>"$result"
        awk -v round="$1" -v OFS='\t' '
            BEGIN {
                split("malloc/free cap-256-beyond cap-256-block cap-256-wait", run, " ")
                what["requests/s"] = "requests"; what["latency, p50"] = "p50"; what["latency, p99"] = "p99"
                what["made beyond the cap"] = "beyond"; what["requests that waited"] = "waited"
                what["resident, peak"] = "peak"; what["resident after the load"] = "after"
                what["resident when idle again"] = "idle"
            }
            {
                name = substr($0, 1, 24)
                sub(/ +$/, "", name)
                if (!(name in what) || seen[name]++)
                    next
                values = substr($0, 25)
                unit = values ~ / ms/ ? "ms" : values ~ / MiB/ ? "MiB" : "requests"
                gsub(/,| ms| MiB/, "", values)
                split(values, value, " ")
                for (i = 1; i <= 4; i++)
                    if (value[i] != "-")
                        print "demo:" what[name], run[i], round, value[i], unit
            }' "$directory/out" >>"$result"
    else
        failures=$((failures + 1))
        printf '\nthe demonstration failed\n%s\n' "$(tail -n 5 "$directory/err")" >&2
    fi
    rm -rf "$directory"
}

# Instructions per pair, exact: the difference of two runs of different length, so start and end cancel out.
instructions() { # PEER
    local n short=200 long=400 directory count=()
    directory=$(mktemp -d)
    for n in $short $long; do
        # shellcheck disable=SC2086 # words
        env ${environment[$1]} timeout 120 valgrind --tool=callgrind --callgrind-out-file="$directory/$n" \
            "${program[$1]}" pairs-1 -n "$n" >"$directory/log" 2>&1 || break
        count+=("$(sed -n 's/^summary: //p' "$directory/$n")")
    done
    if [ "${#count[@]}" = 2 ]; then
        awk -v a="${count[0]}" -v b="${count[1]}" -v n=$(((long - short) * 256)) -v peer="$1" \
            'BEGIN { printf "instructions\t%s\t1\t%.1f\tinstructions\n", peer, (b - a) / n }' >>"$result"
    fi
    rm -rf "$directory"
}

[ -n "$check" ] || head_lines >"$result"
begun=$SECONDS
for ((round = 1; round <= rounds; round++)); do
    for workload in $(list_workloads "$round"); do
        [[ ${workload%:again} =~ ^($workloads)$ ]] || continue
        printf '\rround %d of %d, %d s: %-24s' "$round" "$rounds" $((SECONDS - begun)) "$workload" >&2
        if [ "$workload" = demo ]; then
            demo "$round"
            continue
        fi
        for i in $(shuf -e "${!names[@]}"); do
            unfit "$workload" "${names[i]}" || measure "$workload" "${names[i]}" "$round"
        done
    done
done
if [ -z "$check" ] && [[ instructions =~ ^($workloads)$ ]]; then
    if command -v valgrind >/dev/null; then
        for name in "${names[@]}"; do
            unfit instructions "$name" && continue
            printf '\rinstructions, %d s: %-24s' $((SECONDS - begun)) "$name" >&2
            instructions "$name"
        done
    else
        echo "run.sh: no valgrind here, so instructions are not counted" >&2
    fi
fi
printf '\r%-60s\r' '' >&2
[ -n "$check" ] || echo "run.sh: $result, $((SECONDS - begun)) s" >&2
[ "$failures" = 0 ]
