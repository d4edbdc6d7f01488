# SPDX-License-Identifier: MIT
#
# plots.gp - gnuplot -e "summary='summary.tsv'; out='.'" plots.gp
set datafile separator "\t"
set terminal svg size 960,540 font "sans,13" background "white"
set grid y
set logscale y
set ylabel "ns per get and put"
shown = "null floor magazines libbufferpool glibc jemalloc mimalloc tcmalloc dpdk-mempool ck-stack avbuffer go-original"
pick(workload, peer) = sprintf("< awk -F '\\t' -v OFS='\\t' '$2 == \"%s\" && $1 ~ /%s/ { sub(/.*-/, \"\", $1); print }' '%s' | sort -g", peer, workload, summary)
bars(peer) = sprintf("< awk -F '\\t' -v OFS='\\t' 'BEGIN { n = split(\"pairs-1 pairs-2 pairs-64 hold-64 hold-64-2t hold-64-8t hold-1024 hold-1024-2t fifo-1024 fifo-1024-2t handoff larson\", w, \" \") } $2 == \"%s\" { m[$1] = $5; l[$1] = $4; h[$1] = $6 } END { for (i = 1; i <= n; i++) if (w[i] in m) print i, w[i], m[w[i]], l[w[i]], h[w[i]] }' '%s'", peer, summary)

beyond(peer) = sprintf("< awk -F '\\t' -v OFS='\\t' '$2 == \"%s\" && $1 ~ /^cap-(at|plus-[0-9]+|twice)$/ { sub(/cap-at/, \"0.5\", $1); sub(/cap-twice/, \"512\", $1); sub(/.*-/, \"\", $1); print }' '%s' | sort -g", peer, summary)

set key outside right
ours(peer) = peer eq "libbufferpool"
color(i) = ours(word(shown, i)) ? 0x000000 : word("0xbbbbbb 0x888888 0x4477aa 0 0x66ccee 0x228833 0xccbb44 0xee6677 0xaa3377 0xee8866 0x44bb99 0x99ddff", i) + 0
width(i) = ours(word(shown, i)) ? 3 : 1

set output out."/columns.svg"
set xrange [0.5:12.7]
set xtics rotate by 30 right ("pairs-1" 1, "pairs-2" 2, "pairs-64" 3, "hold-64" 4, "hold-64-2t" 5, "hold-64-8t" 6, \
    "hold-1024" 7, "hold-1024-2t" 8, "fifo-1024" 9, "fifo-1024-2t" 10, "handoff" 11, "larson" 12)
set title "Median and quartiles by workload, 32 KiB, 64 bytes written"
plot for [i=1:words(shown)] bars(word(shown, i)) using ($1 + (i - 6) * 0.06):3:4:5 with yerrorbars \
    pointtype i pointsize 0.7 linecolor rgb color(i) linewidth width(i) title word(shown, i)

unset xtics
set xtics autofreq
set logscale x
set output out."/threads.svg"
set title "By threads"
set xlabel "threads"
set xrange [0.8:320]
plot for [i=1:words(shown)] pick("^pairs-[0-9]+$", word(shown, i)) using 1:5 with linespoints \
    pointtype i linecolor rgb color(i) linewidth width(i) title word(shown, i)

set output out."/live.svg"
set title "By live buffers of 4 KiB: one got and put beside them, unwritten"
set xlabel "live buffers"
set xrange [0.8:1.5e6]
plot for [i=1:words(shown)] pick("^live-[0-9]+$", word(shown, i)) using 1:5 with linespoints \
    pointtype i linecolor rgb color(i) linewidth width(i) title word(shown, i)

set output out."/beyond.svg"
set title "8 threads at a cap of 512, by buffers beyond it; peers without a cap ignore it"
set xlabel "buffers beyond the cap"
set xrange [0.4:640]
set xtics ("0" 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
plot for [i=1:words(shown)] beyond(word(shown, i)) using 1:5 with linespoints \
    pointtype i linecolor rgb color(i) linewidth width(i) title word(shown, i)
