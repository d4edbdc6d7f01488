#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# report.sh RESULT.tsv DIRECTORY: makes, from the result of run.sh,
#
#     summary.tsv       workload, peer, samples, quartile, median, quartile, unit
#     tables.md         the tables, the best of the peers in bold
#     brief.md          a part of the first table, for the README of the project
#     targets.md        the targets of libbufferpool, and whether it reaches them
#     plots.md          the plots that the result has points for
#     columns.svg, threads.svg, live.svg, beyond.svg    if gnuplot is there
set -eu
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
result=$1
out=$2
mkdir -p "$out"

# Quartiles by linear interpolation between the samples next to them.
grep -v -e '^#' -e '^workload' "$result" | sort -t "$(printf '\t')" -k 1,1 -k 2,2 -k 4,4g | awk -F '\t' -v OFS='\t' '
    function at(share,    place, below) {
        place = 1 + (n - 1) * share
        below = int(place)
        return below == n ? value[n] : value[below] + (place - below) * (value[below + 1] - value[below])
    }
    function flush_group() {
        if (n > 0)
            print group, n, sprintf("%.4g", at(0.25)), sprintf("%.4g", at(0.5)), sprintf("%.4g", at(0.75)), unit
        n = 0
    }
    $1 OFS $2 != group { flush_group(); group = $1 OFS $2 }
    { value[++n] = $4; unit = $5 }
    END { flush_group() }' >"$out/summary.tsv"

order="$(sed -n 's/^# peer: \([^ ]*\) .*/\1/p' "$result" | paste -s -d ' ')"
order="$order malloc/free cap-256-beyond cap-256-block cap-256-wait" # the demonstration's runs
order="$order pool pool-cap-256 pool-cap-256-wait"                    # those that it had before
awk -F '\t' -v order="$order" -f "$here/summary.awk" -f "$here/tables.awk" "$out/summary.tsv" >"$out/tables.md"
awk -F '\t' -v order="$order" -v brief=1 -f "$here/summary.awk" -f "$here/tables.awk" "$out/summary.tsv" >"$out/brief.md"
awk -F '\t' -v order="$order" -f "$here/summary.awk" -f "$here/targets.awk" "$out/summary.tsv" >"$out/targets.md"

{
    echo '![by workload](results/columns.svg)'
    echo '![by threads](results/threads.svg)'
    echo '![by live buffers](results/live.svg)'
    if grep -q '^cap-plus-' "$out/summary.tsv"; then
        echo '![by buffers beyond the cap](results/beyond.svg)'
    fi
} >"$out/plots.md"

if command -v gnuplot >/dev/null; then
    # After a run of a few workloads some plots have no points, and gnuplot ends at such a plot.
    gnuplot -e "summary='$out/summary.tsv'; out='$out'" "$here/plots.gp" 2>"$out/plots.log" ||
        echo "report.sh: not all that is plotted was measured" >&2
else
    echo "report.sh: no gnuplot here, so nothing is plotted" >&2
fi
echo "report.sh: $out/tables.md, targets.md" >&2
