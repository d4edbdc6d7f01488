#!/bin/sh
# seeds.sh FUZZER REPLAY FOUND CORPUS [MOST] - makes the seeds of CORPUS anew from its own and from those that a longer
# run found. Of the fewest inputs that reach every edge, those that reach a new state are named after it, and the
# smallest of the others are kept, up to MOST in all. Seeds named bug-* and made-* stay. FOUND must not change
# meanwhile.
set -eu
fuzzer=$1 replay=$2 found=$3 corpus=$4 most=${5:-50}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/merged"
"$fuzzer" -merge=1 -set_cover_merge=1 -use_counters=0 -max_len=300 "$work/merged" "$corpus" "$found" >"$work/log" 2>&1 ||
    { tail -n 20 "$work/log"; exit 1; }
find "$corpus" -type f ! -name 'bug-*' ! -name 'made-*' -exec rm {} +

# The smallest first: FILE WORD...
find "$work/merged" -type f -printf '%s %p\n' | sort -n | cut -d' ' -f2 | xargs "$replay" -n >"$work/words"
awk -v most="$most" '
    {
        name = ""
        for (i = 2; i <= NF; i++)
            if (!($i in seen)) {
                seen[$i] = 1
                if (split(name, parts, "_") < 3)
                    name = name (name == "" ? "" : "_") $i
            }
        file[NR] = $1
        is[NR] = name
        last[NR] = NF > 1 ? $NF : "calls"
        if (name != "")
            named++
    }
    END {
        for (i = 1; i <= NR; i++) {
            if (is[i] == "") {
                if (named >= most)
                    continue
                named++
                is[i] = sprintf("%s-%02d", last[i], ++count[last[i]])
            }
            print file[i], is[i]
        }
    }' "$work/words" | while read -r file name; do
    cp "$file" "$corpus/$name"
done
find "$corpus" -type f | wc -l
