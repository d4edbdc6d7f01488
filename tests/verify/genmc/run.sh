#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run.sh <src> <include> holds|refuted <harness.c> [-D...]
#
# Has GenMC explore a harness with the sources in <src>, and fails unless the outcome is the expected one. GENMC, CLANG
# and OPT name the programs; clang and opt are of the LLVM that GenMC was built with.
#
# The functions are inlined and their structs are taken apart before, because GenMC takes it for an access of another
# size when a small struct travels in a register. Nothing else is optimized: GenMC is to see each access that the
# source has. It does not know the additions that tell of an overflow. -DNO_LOOP_JUMPS leaves out one of its own passes,
# which fails an assertion where a loop depends on a pointer (0.10.2).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
src=$1 include=$2 expected=$3 harness=$4
shift 4
genmc=$(command -v "${GENMC:-genmc}")
headers=$(dirname "$genmc")/../include/genmc/include
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"${CLANG:-clang-16}" -std=gnu11 -Wall -Wextra -Wno-unused-function -Werror -g -O2 -Xclang -disable-llvm-passes \
    -DBUFFERPOOL_NO_SDT -DBUFFERPOOL_NO_DEBUG_MODES -emit-llvm -c -isystem "$headers" \
    -D__CONFIG_GENMC_INODE_DATA_SIZE=64 "-D__builtin_add_overflow(a, b, sum)=(*(sum) = (a) + (b), *(sum) < (a))" \
    -I"$src" -I"$include" -I"$here" "$@" "$here/$harness" -o "$scratch/harness.bc"
"${OPT:-opt-16}" -passes='internalize,inline,function(sroa),globaldce' -internalize-public-api-list=main \
    -inline-threshold=100000 -inline-cold-callsite-threshold=100000 "$scratch/harness.bc" -o "$scratch/inlined.bc"
case " $* " in
*" -DNO_LOOP_JUMPS "*) passes=-disable-loop-jump-threading ;;
*) passes= ;;
esac
report=$("$genmc" -disable-estimation $passes -input-from-bitcode-file -- "$scratch/inlined.bc" 2>&1) || true
printf '%s\n' "$report" | grep -v 'naming info\|bug report'

case $report in
*"No errors were detected"*) outcome=holds ;;
*"Error: Safety violation!"* | *"Error: Non-atomic race!"* | *"Error: Attempt to access freed memory!"*)
    outcome=refuted ;;
*) outcome=broken ;;
esac
case $report in
# an execution that an assume() cut short shows nothing
*"complete executions explored: 0"*) [ $outcome = refuted ] || outcome=vacuous ;;
esac
echo "$harness $*: $outcome, expected: $expected"
[ $outcome = "$expected" ]
