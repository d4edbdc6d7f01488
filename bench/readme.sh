#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# readme.sh [RESULT.tsv]: puts the figures of a committed result (the newest of results/, by name) into README.md here and
# in the folder above, between the lines
#
#     <!-- bench: NAME -->  ...  <!-- bench: end -->
#
# NAME: machine, columns (the first table), tables (all), targets. Nothing there is written by hand. The plots go to
# results/, too.
set -eu
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
result=${1:-$(find "$here/results" -name '*.tsv' | sort | tail -n 1)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$here/report.sh" "$result" "$work" 2>"$work/log"
cp "$work"/*.svg "$here/results/" 2>/dev/null || echo "readme.sh: no gnuplot here, the plots stay as they are" >&2

# The lines about the run as a list; the peers' as a table.
{
    echo "\`results/$(basename "$result")\`:"
    echo
    sed -n -e '/^# peer:/d' -e 's/^# \(.*\): \(.*\)/- \1: \2/p' "$result"
    echo
    echo '| peer | version | environment |'
    echo '|---|---|---|'
    sed -n 's/^# peer: \([^ ]*\) \([^ ]*\) *\(.*\)/| \1 | \2 | \3 |/p' "$result" | sed -e 's/| - |/| |/' -e 's/|  |/| |/'
} >"$work/machine.md"
awk '/^\*\*/ && ++n == 2 { exit } { print }' "$work/tables.md" >"$work/columns.md"

for readme in "$here/README.md" "$here/../README.md"; do
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
        }' "$readme" >"$work/README.md"
    cmp -s "$work/README.md" "$readme" || cat "$work/README.md" >"$readme"
done
