#!/bin/sh
# minute.sh FUZZER CORPUS SECONDS [OPTION...] - runs libFuzzer from the seeds, for so many seconds, with a seed that it
# prints. New inputs that it finds stay in ./found. An input that fails stays in ./artifacts, and its path is printed.
# libFuzzer would end with 77 then, by which the fuzzer says that it cannot run here.
set -eu
fuzzer=$1 corpus=$2 seconds=$3
shift 3
seed=${FUZZ_SEED:-20261124}
mkdir -p found artifacts
echo "seed $seed, $seconds s; FUZZ_SEED sets another"
status=0
"$fuzzer" -seed="$seed" -max_total_time="$seconds" -max_len=300 -len_control=0 -timeout=30 -error_exitcode=1 \
    -print_final_stats=1 -artifact_prefix="$PWD/artifacts/" "$@" found "$corpus" >log 2>&1 || status=$?
if [ "$status" -eq 0 ]; then
    grep -E 'INITED|DONE|stat::' log
else
    [ "$status" -eq 77 ] || grep -v '^#[0-9]' log | head -n 60
    sed -n 's/.*Test unit written to /the input: /p' log
fi
exit "$status"
