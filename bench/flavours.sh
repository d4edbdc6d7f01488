#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# flavours.sh BENCH-LIBBUFFERPOOL: compares compiler flags and models of thread-local storage. Prints a table of
# instructions per get and put (callgrind, the benchmark's loop included) and of median ns with quartiles. Each flavour
# is built from a copy of this tree and preloaded into the benchmark. They take turns, in another order each round.
#
# Environment: ROUNDS (15), CC (cc), FLAVOURS (default all; an extended regular expression for whole names)
set -eu
export LC_ALL=C
bench=$(realpath "$1")
tree=$(cd "$(dirname "$0")/.." && pwd)
rounds=${ROUNDS:-15}
command -v valgrind >/dev/null || { echo "flavours.sh: no valgrind here" >&2 && exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
workloads="pairs-1 hold-64"

# name | flags | what make_flavour does with the tree
all=(
    "-O3, initial-exec (as it is)|-O3|"
    "-O3, not hardened|-O3|unhardened"
    "-O3, -fstack-protector-strong|-O3 -fstack-protector-strong|"
    "-O3, -fcf-protection=full|-O3 -fcf-protection=full|"
    "-O3, TLS descriptors|-O3 -mtls-dialect=gnu2|default_tls"
    "-O3, __tls_get_addr|-O3 -mtls-dialect=gnu|default_tls"
    "-O2|-O2|"
    "-O2 -flto|-O2 -flto|"
    "-O3 -flto|-O3 -flto|"
    "-O2, profile|-O2|profile"
    "-O3, profile|-O3|profile"
)

build() { # FLAGS [OPTION...]
    cmake -S "$work/tree" -B "$folder" -DCMAKE_C_COMPILER="${CC:-cc}" -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_C_FLAGS_RELEASE="-DNDEBUG $1" -DBUFFERPOOL_BUILD_TESTS=OFF -DBUFFERPOOL_BUILD_EXAMPLES=OFF \
        -DBUFFERPOOL_BUILD_STATIC=OFF -DBUFFERPOOL_INSTALL=OFF "${@:2}" &&
        cmake --build "$folder" --clean-first
}

run() { # FOLDER ARGUMENT...
    LD_PRELOAD=$1/libbufferpool.so "$bench" "${@:2}"
}

train() {
    for workload in $workloads; do
        run "$folder" "$workload" -n 20000 || return
    done
}

make_flavour() { # FLAGS WHAT; set -e has no effect here
    rm -rf "$work/tree" && mkdir "$work/tree" &&
        cp -R "$tree/CMakeLists.txt" "$tree/cmake" "$tree/include" "$tree/src" "$work/tree" || return
    case $2 in
    default_tls) # the compiler's own default
        sed -i 's/tls_model("initial-exec")/unused/' "$work/tree/src/tls_cache.h" && build "$1" &&
            ! readelf -dW "$folder/libbufferpool.so" | grep STATIC_TLS
        ;;
    unhardened) build "$1" -DBUFFERPOOL_HARDENING=OFF ;;
    profile)
        build "$1 -fprofile-generate -fprofile-update=atomic" && train &&
            build "$1 -fprofile-use -Werror=missing-profile"
        ;;
    *) build "$1" ;;
    esac
}

instructions() { # FOLDER WORKLOAD; per pair. The difference of two runs of different length, so start and end cancel out
    local n count=() pairs=()
    for n in 200 400; do
        pairs+=("$(LD_PRELOAD=$1/libbufferpool.so valgrind --tool=callgrind --callgrind-out-file="$work/callgrind" \
            "$bench" "$2" -n "$n" 2>"$work/log" | sed 's/^- \([0-9]*\) .*/\1/')")
        count+=("$(sed -n 's/^summary: //p' "$work/callgrind")")
    done
    awk "BEGIN { printf \"%.1f\", (${count[1]} - ${count[0]}) / (${pairs[1]} - ${pairs[0]}) }"
}

names=()
for flavour in "${all[@]}"; do
    IFS='|' read -r name flags what <<<"$flavour"
    [[ $name =~ ^(${FLAVOURS:-.*})$ ]] || continue
    folder=$work/${#names[@]}
    echo "flavours.sh: $name" >&2
    make_flavour "$flags" "$what" >"$work/log" 2>&1 || { cat "$work/log" >&2 && exit 1; }
    names+=("$name")
done

for ((round = 1; round <= rounds; round++)); do
    for workload in $workloads; do
        for i in $(shuf -e "${!names[@]}"); do
            run "$work/$i" "$workload" | sed -n 's/^- \(.*\) ns$/\1/p' >>"$work/$i/$workload.ns"
        done
    done
done

quartiles() { # FILE: median (quartile to quartile)
    sort -g "$1" | awk '
        { v[NR] = $1 }
        END { printf "%.2f (%.2f to %.2f)", v[int(NR / 2 + 0.5)], v[int(NR / 4 + 0.75)], v[int(NR * 3 / 4 + 0.25)] }'
}

echo "| flavour | instructions per pair | ... hold 64 | ns per pair | ... hold 64 |"
echo "|---|---:|---:|---:|---:|"
for i in "${!names[@]}"; do
    row="| ${names[i]} |"
    for workload in $workloads; do
        row+=" $(instructions "$work/$i" "$workload") |"
    done
    for workload in $workloads; do
        row+=" $(quartiles "$work/$i/$workload.ns") |"
    done
    echo "$row"
done
