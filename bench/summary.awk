# SPDX-License-Identifier: MIT
#
# summary.awk - reads summary.tsv into median[], low[], high[], samples[], each by workload and peer. peer[1 .. peers]
# are the peers in the order of `order`.

BEGIN {
    peers = split(order, peer, " ")
    # Contestants without a cap, a count and checks are there to compare with, not to win.
    split("null floor floor-counter magazines", names, " ")
    for (i in names)
        reference[names[i]] = 1
    # So are ours that are not set up by default.
    split("libbufferpool-tuned libbufferpool-background libbufferpool-cap-256 libbufferpool-cap-256-background " \
        "libbufferpool-hugepages", names, " ")
    for (i in names)
        variant[names[i]] = 1
}

{
    samples[$1, $2] = $3
    low[$1, $2] = $4
    median[$1, $2] = $5
    high[$1, $2] = $6
}

function has(workload, name) {
    return (workload, name) in median
}

# Three digits, or all digits before the point; "–" if there is no figure.
function figure(workload, name,    value) {
    if (!has(workload, name))
        return "–"
    return digits(median[workload, name])
}

function digits(value,    text) {
    if (value == 0)
        return "0"
    if (value < 10)
        return sprintf("%.1f", value)
    text = sprintf("%.0f", value)
    while (text ~ /[0-9][0-9][0-9][0-9]/)
        sub(/[0-9][0-9][0-9]($|,)/, ",&", text)
    return text
}

# The least median of the contestants that count as peers and match the pattern. Sets `best_name` to the name.
function best_of(workload, pattern,    i, name, least) {
    least = ""
    best_name = ""
    for (i = 1; i <= peers; i++) {
        name = peer[i]
        if (!has(workload, name) || name in reference || name in variant || name !~ pattern)
            continue
        if (least == "" || median[workload, name] < least) {
            least = median[workload, name]
            best_name = name
        }
    }
    return least
}

# Returns whether `factor` times the figures of b may be taken for those of a: the medians differ by less than a tenth
# of the smaller one, or the quartiles overlap. Two runs differ by as much, so no order is claimed.
function alike(workload, a, other, b, factor,    ours, theirs) {
    ours = median[workload, a]
    theirs = factor * median[other, b]
    return (ours < 1.1 * theirs && theirs < 1.1 * ours) ||
        (low[workload, a] <= factor * high[other, b] && factor * low[other, b] <= high[workload, a])
}
