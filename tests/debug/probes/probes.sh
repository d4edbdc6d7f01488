#!/bin/sh
# SPDX-License-Identifier: MIT
#
# probes.sh: the probes of the shared library, by the notes in its file, are those of the tables in docs/tracing.md,
# each with as many arguments. The values in the tables are those of the enumerations, and the lines for bpftrace use no
# other probes. gdb stops at each probe and finds the arguments.
#
# Environment: SOURCE (the tree), WORK (a folder), CC, CFLAGS, LIBRARY, SCENE (the program scene.c), GDB (or empty)
set -eu
export LC_ALL=C
page=$SOURCE/docs/tracing.md
cd "$WORK"

fail()
{
    echo "FAILED: $*" >&2
    exit 1
}

# notes_of FILE: a line for each name and number of arguments
notes_of()
{
    readelf -n "$1" | awk '
        /^ *Provider:/ { provider = $2 }
        /^ *Name:/ { name = $2 }
        /^ *Arguments:/ { print provider ":" name, NF - 1 }' | sort -u
}

notes_of "$LIBRARY" >notes
# shellcheck disable=SC2086 # many words
compile()
{
    "$CC" ${CFLAGS:-} -std=c11 -D_GNU_SOURCE -DBUFFERPOOL_STATIC -I"$SOURCE/src" -I"$SOURCE/include" "$@"
}
if ! printf '#include "probes.h"\n#ifndef STAP_PROBE\n#error none\n#endif\n' | compile -x c -E - >/dev/null 2>&1; then
    test ! -s notes || fail "there are probes without sys/sdt.h"
    echo "SKIPPED: no sys/sdt.h (Debian: systemtap-sdt-dev)"
    exit 77
fi

# The table of probes: those that are not "–" of arg1 to arg3, and arg0.
awk -F ' *[|] *' '
    /^[|] probe / { on = 1; next }
    on && !/^[|]/ { exit }
    on && $2 ~ /^`/ { n = 1; for (i = 3; i <= 5; i++) n += $i != "–"; gsub("`", "", $2); print "bufferpool:" $2, n }' "$page" |
    sort >documented
test -s documented || fail "docs/tracing.md has no table of probes"
diff documented notes || fail "docs/tracing.md (<) and the library (>) differ"
echo "$(wc -l <notes) probes"

# They are in a library without symbols too, as packages have it.
if command -v strip >/dev/null && strip -o stripped "$LIBRARY" 2>/dev/null; then
    notes_of stripped | diff notes - || fail "strip takes notes away (<)"
fi

# The values.
sed -n 's/^| `\(STEAL_[A-Z_]*\|DROPS_[A-Z_]*\)` | \([0-9]*\) |.*/\1 \2/p' "$page" | sort >values
grep -oh '\b\(STEAL\|DROPS\)_[A-Z_]*\b' "$SOURCE/src/types.h" "$SOURCE/src/steal.h" | grep -v '_H$' | sort -u >names
cut -d ' ' -f 1 values | diff - names || fail "docs/tracing.md (<) and the enumerations (>) differ"
{
    printf '#include "cache.h"\n#include "steal.h"\n'
    sed 's/\(.*\) \(.*\)/_Static_assert(\1 == \2, "docs\/tracing.md");/' values
} >values.c
compile -c -o /dev/null values.c || fail "a value in docs/tracing.md is another"

# The lines for bpftrace: each probe is there, and has the arguments that stand in its block.
sed -n "s/^bpftrace -e '\(.*\)'\$/\1/p" "$page" >programs
test -s programs || fail "docs/tracing.md has no line for bpftrace"
sed 's/usdt:/\n&/g' programs | sed -n 's/^usdt:[^:]*:\(bufferpool:[a-z_]*\)/\1/p' >blocks
while read -r probe rest; do
    n=$(sed -n "s/^$probe //p" notes)
    test -n "$n" || fail "a line for bpftrace has $probe"
    for used in $(echo "$rest" | grep -o 'arg[0-9]'); do
        test "${used#arg}" -lt "$n" || fail "a line for bpftrace has $used of $probe"
    done
done <blocks
test "$(cut -d ' ' -f 1 blocks | sort -u | wc -l)" = "$(wc -l <notes)" || fail "a probe is in no line for bpftrace"

# With BUFFERPOOL_NO_SDT there are none.
for source in $(grep -l '"probes.h"' "$SOURCE"/src/*.c "$SOURCE"/src/*/*.c); do
    compile -DBUFFERPOOL_NO_SDT -c -o without.o "$source"
    test -z "$(notes_of without.o)" || fail "$source has probes with BUFFERPOOL_NO_SDT"
done

if [ -z "${GDB:-}" ]; then
    echo "no gdb: nobody stopped at a probe"
    exit 0
fi
# commands NAME FORMAT EXPRESSION...: gdb writes that line at each of the probe's places, and goes on
commands()
{
    probe=$1 format=$2
    shift 2
    echo "break -probe-stap bufferpool:$probe"
    echo commands
    echo silent
    printf 'printf "SEEN %s %%s' "$probe"
    printf ' %s\\n", (char *)$_probe_arg0' "$format"
    printf ', %s' "$@"
    printf '\ncontinue\nend\n'
}
{
    cat <<'END'
set confirm off
set pagination off
set debuginfod enabled off
set environment ASAN_OPTIONS=detect_leaks=0
break main
run
END
    # what follows are gdb's variables
    # shellcheck disable=SC2016
    {
        commands get_slow %s '(char *)$_probe_arg1'
        commands refill %d '(int)$_probe_arg1'
        commands bypass %d '$_probe_arg1 != 0'
        commands flush '%d of %d' '(int)$_probe_arg1' '(int)$_probe_arg2'
        commands steal_begin %d '(int)$_probe_arg1'
        commands steal_end '%d %d' '(int)$_probe_arg1' '(int)$_probe_arg2'
        commands reclaim '%d %d %s' '(int)$_probe_arg1' '(int)$_probe_arg2' '(char *)$_probe_arg3'
        commands drop '%d %d %d' '(int)$_probe_arg1' '(int)$_probe_arg2' '$_probe_arg3 != 0'
    }
    echo continue
} >script
"$GDB" -nx -batch -x script "$SCENE" >gdb.out 2>&1 </dev/null || true
if ! grep -q 'Breakpoint 1, main' gdb.out; then
    cat gdb.out
    echo "gdb cannot run a program here: nobody stopped at a probe"
    exit 0
fi
grep '^SEEN' gdb.out | sort | uniq -c | sed 's/^ *[0-9]* //' >seen || true
grep -q 'exited normally' gdb.out || { cat gdb.out && fail "the program under gdb does not end well"; }
for line in 'get_slow roomy bufferpool_get' 'flush roomy 8 of 16' 'flush roomy 16 of 16' 'refill roomy 16' 'drop roomy 5 [0-9]{5} 1' \
    'steal_begin roomy 0' 'steal_end roomy [1-9][0-9]* 1' 'reclaim roomy [0-9]{4,} [0-9]+ bufferpool_trim' \
    'steal_begin tight 0' 'steal_end tight 0 1' 'bypass tight 1' 'drop tight 6 4096 1'; do
    grep -Eqx "SEEN $line" seen || { cat gdb.out && fail "gdb does not see $line"; }
done
cat seen
