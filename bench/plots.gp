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
bars(peer) = sprintf("< awk -F '\\t' -v OFS='\\t' 'BEGIN { n = split(\"pairs-1 pairs-2 pairs-64 hold-64 hold-1024 hold-1024-2t fifo-1024 fifo-1024-2t handoff larson\", w, \" \") } $2 == \"%s\" { m[$1] = $5; l[$1] = $4; h[$1] = $6 } END { for (i = 1; i <= n; i++) if (w[i] in m) print i, w[i], m[w[i]], l[w[i]], h[w[i]] }' '%s'", peer, summary)

set key outside right
set style line 100 lw 3

set output out."/columns.svg"
set xrange [0.5:10.5]
set xtics rotate by 30 right
set title "Median and quartiles by workload, 32 KiB, 64 bytes written"
plot for [i=1:words(shown)] bars(word(shown, i)) using ($1 + (i - 6) * 0.05):3:4:5:xtic(2) \
    with yerrorbars pointtype i pointsize 0.7 title word(shown, i)

set xtics norotate autofreq
set logscale x
set output out."/threads.svg"
set title "By threads"
set xlabel "threads"
set xrange [0.8:320]
plot for [peer in shown] pick("^pairs-[0-9]+$", peer) using 1:5 with linespoints title peer

set output out."/live.svg"
set title "By live buffers of 4 KiB, one got and put beside them, unwritten"
set xlabel "live buffers"
set xrange [0.8:1.5e6]
plot for [peer in "null libbufferpool glibc jemalloc mimalloc tcmalloc"] \
    pick("^live-[0-9]+$", peer) using 1:5 with linespoints title peer
