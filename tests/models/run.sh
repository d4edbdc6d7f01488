#!/bin/sh
# run.sh MODEL.pml [MUTANT...]: Spin finds nothing wrong with the model, and something with each of its mutants. In the
# current folder; needs spin and a C compiler (CC).
set -eu
model=$1
shift

# verify OPTIONS...: the number of errors, 0 or 1, and what the search came to
verify() {
    spin -a "$@" "$model" >/dev/null
    ${CC:-cc} -O2 -w -DSAFETY -DCOLLAPSE -o pan pan.c
    ./pan -m1000000 -n >pan.out
    if grep -q "error: max search depth too small" pan.out; then
        echo "the search was not deep enough" >&2
        exit 1
    fi
    sed -n 's/.*errors: //p' pan.out
}

name=$(basename "$model" .pml)
test "$(verify)" = 0 || { cat pan.out; exit 1; }
echo "$name: no error, $(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' pan.out) states"
for mutant in "$@"; do
    errors=$(verify "-DMUTANT_$mutant") # which a mutant that is no model leaves empty
    test "$errors" -gt 0 || { echo "$name: $mutant was not refuted"; exit 1; }
    echo "$name: $mutant refuted"
done
