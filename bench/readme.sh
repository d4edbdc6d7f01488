#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# readme.sh [--check] [RESULT.tsv]: writes the figures of a committed result (by default the newest of results/, by
# name) into the README.md here and into the one in the folder above, between the lines
#
#     <!-- bench: NAME -->  ...  <!-- bench: end -->
#
# NAME is machine, tables, plots or targets here, and brief (small tables) above. Nothing between the lines is written by
# hand. --check changes nothing, and fails if a figure differs or if such a pair of lines is missing. Without it, the
# plots go to results/ too.
set -eu
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
check=
if [ "${1:-}" = --check ]; then
    check=yes
    shift
fi
result=${1:-$(find "$here/results" -maxdepth 1 -name '*.tsv' | sort | tail -n 1)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$here/report.sh" "$result" "$work" 2>"$work/log" || { cat "$work/log" >&2 && exit 1; }
if [ -z "$check" ]; then
    # a plot that is not on the page stays away
    grep -q beyond.svg "$work/plots.md" || rm -f "$work/beyond.svg"
    cp "$work"/*.svg "$here/results/" 2>/dev/null || echo "readme.sh: no gnuplot here, the plots stay as they are" >&2
fi

head_of() { # NAME: prints the value of this line of the result's head
    sed -n "s/^# $1: //p" "$result"
}

# The lines about the run become a list, and those about the peers a table.
{
    echo "\`results/$(basename "$result")\`:"
    echo
    sed -n -e '/^# peer:/d' -e 's/^# \(.*\): \(.*\)/- \1: \2/p' "$result"
    echo
    echo '| peer | version | environment |'
    echo '|---|---|---|'
    sed -n 's/^# peer: \([^ ]*\) \([^ ]*\) *\(.*\)/| \1 | \2 | \3 |/p' "$result" | sed -e 's/| - |/| |/' -e 's/|  |/| |/'
} >"$work/machine.md"
printf 'Medians of %s rounds; Linux %s; %s; %s %s\n' "$(head_of rounds)" "$(head_of kernel | sed 's/^Linux //')" \
    "$(head_of processor | sed 's/ of them/ processors/')" "$(head_of compiler)" "$(head_of flags)" >>"$work/brief.md"

stale=0
place() { # README NAME...: writes or checks the text for each name, which must be there once
    local readme=$1 name
    shift
    for name in "$@"; do
        if [ "$(grep -c "^<!-- bench: $name -->" "$readme")" != 1 ]; then
            echo "readme.sh: no place, or several, for '$name' in $readme" >&2
            exit 1
        fi
    done
    awk -v work="$work" '
        /^<!-- bench: end -->/ { inside = 0 }
        !inside { print }
        /^<!-- bench: / && !/ end -->/ {
            inside = 1
            print ""
            while ((getline line <(work "/" $3 ".md")) > 0)
                text = text line "\n"
            sub(/\n+$/, "", text)
            print text "\n"
            text = ""
        }
        END { exit inside }' "$readme" >"$work/README.md" || { echo "readme.sh: no end in $readme" >&2 && exit 1; }
    if [ -z "$check" ]; then
        cmp -s "$work/README.md" "$readme" || cat "$work/README.md" >"$readme"
    elif ! diff -u "$readme" "$work/README.md" >&2; then
        stale=1
    fi
}
place "$here/README.md" machine tables plots targets
place "$here/../README.md" brief
if [ "$stale" != 0 ]; then
    echo "readme.sh: not what $result says; made by: cmake --build build/bench --target bench-readme" >&2
    exit 1
fi
