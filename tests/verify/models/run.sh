#!/bin/sh
# run.sh MODEL.pml SIZES PROGRESS [MUTANT...]: Spin searches all states of the model, in each of the sizes, and must find
# no error. With each of the mutants it must find one. Runs in the current folder; needs spin and a C compiler (CC).
#
#     SIZES       one or more of NAME=VALUE,NAME=VALUE; separated by blanks
#     PROGRESS    none
#                 all: no run may have a cycle without progress. Each loop of the model is such a cycle unless it is
#                 labelled progress.
#                 fair: the same, but only for runs in which every thread that can go on does so, sooner or later
#     MUTANT      the name of a macro MUTANT_<name>, in the first size, or name:SIZE in another one. A name that begins
#                 with SPIN must be refuted by a cycle without progress.
set -eu
model=$1 sizes=$2 progress=$3
shift 3
name=$(basename "$model" .pml)

# search HOW SIZE [OPTION]: sets `wrong` to the error that Spin found, and `states` to the number of states. Without an
# error, no part of the states may be left out for want of depth or memory. Only the long searches for cycles are
# optimized: for the others, to compile that takes longer than it saves.
search()
{
    how=$1
    options=$(echo ",$2" | sed 's/,/ -D/g')
    case $how in
    safety) optimize=-O0 defines=-DSAFETY flags= ;;
    all) optimize=-O1 defines=-DNP flags=-l ;;
    fair) optimize=-O1 defines=-DNP flags="-l -f" ;;
    *) echo "$name: $how?"; exit 1 ;;
    esac
    rm -f pan pan.out
    # shellcheck disable=SC2086
    spin -a $options ${3:+"$3"} "$model" >spin.out || { cat spin.out; exit 1; }
    # shellcheck disable=SC2086
    ${CC:-cc} $optimize -w $defines -DCOLLAPSE -DMEMLIM=1500 -o pan pan.c
    # shellcheck disable=SC2086
    ./pan -m4000000 -n $flags >pan.out 2>&1 || true
    errors=$(sed -n 's/.*errors: \([0-9]*\)$/\1/p' pan.out)
    states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' pan.out)
    wrong=$(sed -n 's/^pan:[0-9]*: \(.*\) (at depth [0-9]*)$/\1/p' pan.out | head -n 1)
    test -n "$errors" && test -n "$states" || { echo "$name: the search came to no end"; cat pan.out; exit 1; }
    if test "$errors" = 0 &&
        grep -qE 'max search depth too small|Search not completed|reached -DMEMLIM|out of memory|aborting|hash table full|Bit statespace' pan.out
    then
        echo "$name: not all states were searched"
        cat pan.out
        exit 1
    fi
}

# right HOW SIZE
right()
{
    search "$1" "$2"
    test "$errors" = 0 || { echo "$name, $2: $wrong"; cat pan.out; exit 1; }
    echo "$name, $2: nothing wrong ($1), $states states"
}

for size in $sizes; do
    right safety "$size"
    test "$progress" = none || right "$progress" "$size"
done
for mutant in "$@"; do
    size=${sizes%% *} how=safety
    case $mutant in *:*) size=${mutant#*:} ;; esac
    case $mutant in SPIN*) how=$progress ;; esac
    search "$how" "$size" "-DMUTANT_${mutant%%:*}"
    test "$errors" != 0 || { echo "$name, $size: ${mutant%%:*} was not refuted"; exit 1; }
    case $how,$wrong in
    safety,*) ;;
    *,non-progress*) ;;
    *) echo "$name, $size: ${mutant%%:*} was refuted for another reason: $wrong"; exit 1 ;;
    esac
    echo "$name, $size: ${mutant%%:*} refuted: $wrong"
done
