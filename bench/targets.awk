# SPDX-License-Identifier: MIT
#
# targets.awk - prints the targets of libbufferpool: target, measured, whether it holds; from the arrays of summary.awk

BEGIN {
    US = "libbufferpool"
    PEERS = "^(mutex|glibc|jemalloc|mimalloc|tcmalloc|ck|urcu|avbuffer|apr|dpdk-mempool$|go)"
    MALLOCS = "^(glibc|jemalloc|mimalloc|tcmalloc)"
    COUNTED = "^(avbuffer|apr-reslist|go-original)" # with a cap or a count of what is out
}

function row(target, measured, holds) {
    printf "| %s | %s | %s |\n", target, measured, holds == "" ? "–" : holds ? "yes" : "**no**"
}

function ratio(a, b) {
    return sprintf("%.2f", a / b)
}

# Compares ours with one other: at most `limit` times.
function against(target, workload, name, limit) {
    if (!has(workload, US) || !has(workload, name))
        return row(target, "not measured", "")
    row(target, sprintf("%s / %s = %s", figure(workload, US), figure(workload, name),
        ratio(median[workload, US], median[workload, name])), median[workload, US] <= limit * median[workload, name])
}

# Compares ours, or the one named by `us`, with the best of the others.
function against_best(target, workload, pattern, limit, us,    best) {
    us = us == "" ? US : us
    best = best_of(workload, pattern)
    if (!has(workload, us) || best == "")
        return row(target, "not measured", "")
    row(target, sprintf("%s / %s (%s) = %s", figure(workload, us), digits(best), best_name,
        ratio(median[workload, us], best)), median[workload, us] <= limit * best)
}

# Returns a pattern for the mallocs that give back half of the memory or more while buffers are put.
function returning(    i, names) {
    for (i = 1; i <= peers; i++)
        if (peer[i] ~ MALLOCS && has("burst:peak", peer[i]) &&
            median["burst:after-put", peer[i]] <= 0.5 * median["burst:peak", peer[i]])
            names = names "|" peer[i]
    return "^(" (names == "" ? "-" : substr(names, 2)) ")$"
}

# Compares ours with ours on another workload.
function against_own(target, workload, other, limit) {
    if (!has(workload, US) || !has(other, US))
        return row(target, "not measured", "")
    row(target, sprintf("%s / %s = %s", figure(workload, US), figure(other, US),
        ratio(median[workload, US], median[other, US])), median[workload, US] <= limit * median[other, US])
}

function holding(what, workload) {
    against_best("6. " what ": at most 0.6 × the best peer", workload, PEERS, 0.6)
    against("6. " what ": at most 1.3 × the text-book magazines", workload, "magazines", 1.3)
}

END {
    print "| target | measured | holds? |\n|---|---|---|"
    against("4. 1 thread: at most 1.25 × the floor", "pairs-1", "floor", 1.25)
    against("4. 1 thread: aim for 1.1 × the floor", "pairs-1", "floor", 1.1)
    against_best("4. 1 thread: less than every peer", "pairs-1", PEERS, 0.9999)
    if (has("instructions", US)) {
        row("4. at most 64 instructions per pair, driver included", figure("instructions", US),
            median["instructions", US] <= 64)
        row("4. aim for 50 instructions", figure("instructions", US), median["instructions", US] <= 50)
    }
    against_own("5. 2 threads: at most 1.05 × its own for one", "pairs-2", "pairs-1", 1.05)
    against_own("5. 64 threads: at most 1.05 × its own for one", "pairs-64", "pairs-1", 1.05)
    against_best("5. 2 threads: no peer with a cap or a count within a factor of 4", "pairs-2", COUNTED, 0.25)
    against_best("5. 64 threads: no peer with a cap or a count within a factor of 4", "pairs-64", COUNTED, 0.25)
    against("6. hold 64: at most 1.3 × the floor", "hold-64", "floor", 1.3)
    holding("hold 1024, LIFO", "hold-1024")
    holding("hold 1024, LIFO, 2 threads", "hold-1024-2t")
    holding("hold 1024, FIFO", "fifo-1024")
    holding("hold 1024, FIFO, 2 threads", "fifo-1024-2t")
    against("7. get here, put there: at most 1.15 × the text-book magazines", "handoff", "magazines", 1.15)
    against_best("7. get here, put there: ahead of every peer", "handoff", PEERS, 0.9999)
    against("8. Larson-like: at most 1.2 × the floor", "larson", "floor", 1.2)
    against("8. thread create and exit: at most 1.1 × a thread that does nothing", "threads", "null", 1.1)
    against_best("9. twice the cap, bypass: at most 1.1 × the best allocator", "cap-twice-bypass", MALLOCS, 1.1)
    against_own("9. twice the cap, pooled: at most 3 × the uncontended path", "cap-twice-pooled", "pairs-1", 3)
    against_best("10. burst, take and write: at most 1.05 × the best malloc", "burst:take", MALLOCS, 1.05)
    against_best("10. burst, put: at most the best malloc that returns the memory", "burst:put", returning(), 1)
    against_best("10. burst, put, with a cap of 256: the same", "burst:put", returning(), 1, US "-cap-256")
    against_best("10. burst, take and write, BUFFERPOOL_HUGEPAGES: at most a third of the best malloc", "burst:take", MALLOCS,
        1 / 3, US "-hugepages")
    against("11. appending to 2 MiB: at most 1.5 × a realloc loop (glibc)", "grow-2m", "glibc", 1.5)
    against_own("12. 1,000 live buffers: at most 1.2 × one", "live-1000", "live-1", 1.2)
    against_own("12. 100,000 live buffers: at most 1.2 × one", "live-100000", "live-1", 1.2)
    against_own("12. 1,000,000 live buffers: at most 1.2 × one", "live-1000000", "live-1", 1.2)
    against_own("12. 64 pools in turn: at most 1.2 × one", "pools-64", "pools-1", 1.2)
}
