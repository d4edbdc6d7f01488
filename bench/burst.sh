#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# burst.sh BURST: runs the benchmark and prints its table. BURST is the program made from burst.c. Each sample is a
# process of its own. Contestants take turns, in another order each round, so that whatever else the machine does hits
# all alike. Each turn is taken four times, and the last counts: a virtual machine may have given free pages back to
# its host, and the first process to touch them again would pay for that.
#
# Environment: ROUNDS (15), WRITTEN (32768: bytes written into each buffer).
set -eu
export LC_ALL=C
burst=$1
rounds=${ROUNDS:-15}
written=${WRITTEN:-32768}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# name | what burst is told | what is preloaded, by the loader's own search path
contestants=(
    "pool|pool|"
    "pool, max_live 256|capped|"
    "pool, HUGEPAGES|huge|"
    "glibc|malloc|"
    "jemalloc|malloc|libjemalloc.so.2"
    "mimalloc|malloc|libmimalloc.so.2.0"
    "tcmalloc|malloc|libtcmalloc_minimal.so.4"
)

# sample KIND LIBRARY: one line of figures
sample() {
    if [ -n "$2" ]; then
        LD_PRELOAD=$2 "$burst" "$1" "$written"
    else
        "$burst" "$1" "$written"
    fi
}

# The loader goes on without a library that is missing, and complains.
present=()
for contestant in "${contestants[@]}"; do
    IFS='|' read -r name _ library <<<"$contestant"
    if [ -n "$library" ] && [ -n "$(LD_PRELOAD=$library "$burst" malloc 0 2>&1 >/dev/null)" ]; then
        echo "burst.sh: $name is skipped: no $library here" >&2
    else
        present+=("$contestant")
    fi
done

for ((round = 1; round <= rounds; round++)); do
    for i in $(shuf -e "${!present[@]}"); do
        IFS='|' read -r name kind library <<<"${present[i]}"
        for _ in 1 2 3; do
            sample "$kind" "$library" >"$work/warm-up"
        done
        sample "$kind" "$library" >>"$work/$i"
    done
done

# medians FILE: of each of its columns, in one line
medians() {
    for column in {1..9}; do
        cut -d ' ' -f "$column" "$1" | sort -g | sed -n "$(((rounds + 1) / 2))p"
    done | paste -s -d ' '
}

best=$(for i in "${!present[@]}"; do
    [[ ${present[i]} == *'|malloc|'* ]] && medians "$work/$i" | cut -d ' ' -f 3
done | sort -g | head -n 1)

echo "10,000 buffers of 32 KiB, $written bytes written, 4 threads; medians of $rounds; MiB: resident memory"
echo "transparent huge pages: $(cat /sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null || echo none)"
echo
format='%-19s %10s %7s %7s %6s  %7s %6s  %6s %6s %6s %6s\n'
# shellcheck disable=SC2059 # a format of our own
{
    printf "$format" "" take+write put both "x best" faults faults MiB at after after
    printf "$format" "" ms ms ms malloc take put start peak put trim
    for i in "${!present[@]}"; do
        read -r take put both faults_take faults_put resident < <(medians "$work/$i")
        # shellcheck disable=SC2046 # split into words
        printf "$format" "${present[i]%%|*}" "$take" "$put" "$both" \
            "$(awk "BEGIN { printf \"%.2f\", $both / $best }")" "$faults_take" "$faults_put" \
            $(awk '{ for (i = 1; i <= NF; i++) printf "%.1f ", $i / 1024 }' <<<"$resident")
    done
}
