# SPDX-License-Identifier: MIT
#
# targets.awk - prints the targets of libbufferpool, from the arrays of summary.awk: target, measured, what DPDK has
# there, whether it holds. "even" means that the figure is not told apart from the limit: see alike() in summary.awk.

BEGIN {
    US = "libbufferpool"
    MALLOCS = "^(glibc|jemalloc|mimalloc|tcmalloc)"
    OTHERS = "^(mutex|glibc|jemalloc|mimalloc|tcmalloc|ck|urcu|avbuffer|apr|go)" # all but DPDK
    COUNTED = "^(avbuffer|apr-reslist|go-original)" # with a cap or a count of what is out
}

function row(target, measured, beside, holds) {
    printf "| %s | %s | %s | %s |\n", target, measured, beside, holds
}

function ratio(a, b) {
    return b == 0 ? "–" : sprintf("%.2f", a / b)
}

# Compares `us` on one workload with `name` on another: at most `limit` times. `shown` is what to call the other.
function compare(target, workload, us, other, name, limit, shown,    verdict) {
    if (!has(workload, us) || !has(other, name))
        return row(target, "not measured", "–", "–")
    verdict = alike(workload, us, other, name, limit) ? "even" : \
        median[workload, us] <= limit * median[other, name] ? "yes" : "**no**"
    row(target, sprintf("%s / %s%s = %s", figure(workload, us), figure(other, name), shown == "" ? "" : " (" shown ")",
        ratio(median[workload, us], median[other, name])), figure(workload, "dpdk-mempool"), verdict)
}

# Compares ours, or the one named by `us`, with one other.
function against(target, workload, name, limit, us) {
    compare(target, workload, us == "" ? US : us, workload, name, limit)
}

# The same with the best of the others.
function against_best(target, workload, pattern, limit, us) {
    best_of(workload, pattern)
    compare(target, workload, us == "" ? US : us, workload, best_name, limit, best_name)
}

# Compares ours with ours on another workload.
function against_own(target, workload, other, limit, us) {
    us = us == "" ? US : us
    compare(target, workload, us, other, us, limit)
}

# Returns a pattern for the mallocs that give back half of the memory or more while buffers are put.
function returning(    i, names) {
    for (i = 1; i <= peers; i++)
        if (peer[i] ~ MALLOCS && has("burst:peak", peer[i]) &&
            median["burst:after-put", peer[i]] <= 0.5 * median["burst:peak", peer[i]])
            names = names "|" peer[i]
    return "^(" (names == "" ? "-" : substr(names, 2)) ")$"
}

function uncontended(    n, i) {
    split("1 2 64", n, " ")
    for (i = 1; i <= 3; i++)
        against(n[i] (n[i] == 1 ? " thread" : " threads") ": at most 1.3 × the floor", "pairs-" n[i], "floor", 1.3)
    for (i = 2; i <= 3; i++)
        against_best(n[i] " threads: no peer with a cap or a count within a factor of 4", "pairs-" n[i], COUNTED, 0.25)
    if (has("instructions", US))
        row("at most 64 instructions per pair, driver included", figure("instructions", US),
            figure("instructions", "dpdk-mempool"), median["instructions", US] <= 64 ? "yes" : "**no**")
}

function holding() {
    against("hold 64: at most 1.2 × DPDK", "hold-64", "dpdk-mempool", 1.2)
    against("hold 64: ahead of tcmalloc", "hold-64", "tcmalloc", 1)
    against("hold 64, 2 threads: at most 1.5 × the floor", "hold-64-2t", "floor", 1.5)
    against("hold 64, 2 threads: ahead of tcmalloc", "hold-64-2t", "tcmalloc", 1)
    against("hold 1024: at most 1.15 × DPDK", "hold-1024", "dpdk-mempool", 1.15)
    against_best("hold 1024: ahead of every allocator", "hold-1024", MALLOCS, 1)
    against("hold 1024, 2 threads: at most 5 × DPDK", "hold-1024-2t", "dpdk-mempool", 5)
    against_best("hold 1024, 2 threads: ahead of every allocator", "hold-1024-2t", MALLOCS, 1)
    against("get here, put there: at most 1.8 × DPDK", "handoff", "dpdk-mempool", 1.8)
    against_best("get here, put there: ahead of all others", "handoff", OTHERS, 1)
    against("Larson-like: at most 1.1 × tcmalloc", "larson", "tcmalloc", 1.1)
    against("32 at once: at most 2.2 × DPDK", "bulk-32", "dpdk-mempool", 2.2)
    against_best("32 at once: ahead of all others", "bulk-32", OTHERS, 1)
}

function beyond_the_cap(    n, k, i) {
    against("twice the cap, any: at most 1.0 × tcmalloc", "cap-twice", "tcmalloc", 1)
    against("twice the cap, the pooled: at most 1.0 × tcmalloc", "cap-twice-pooled", "tcmalloc", 1)
    against("twice the cap, the bypass: at most 1.0 × tcmalloc", "cap-twice-bypass", "tcmalloc", 1)
    n = split("1 2 4 8 16 32 64 128 256", k, " ")
    for (i = 1; i <= n; i++)
        against_own(sprintf("%d beyond the cap: at most %d × all of the cap out", k[i], k[i] < 8 ? 12 : 3),
            "cap-plus-" k[i], "cap-at", k[i] < 8 ? 12 : 3)
    against_own("512 beyond the cap: at most 3 × all of the cap out", "cap-twice", "cap-at", 3)
    n = split("28 64 1024", k, " ")
    for (i = 1; i <= n; i++)
        against(k[i] " at a time beyond the cap, BUFFERPOOL_BACKGROUND: at most 1.0 × tcmalloc", "cap-beyond-" k[i],
            "tcmalloc", 1, US "-background")
}

function memory() {
    against("appending to 2 MiB: at most 2.5 × a realloc loop (glibc)", "grow-2m", "glibc", 2.5)
    against("appending to 2 MiB: ahead of jemalloc", "grow-2m", "jemalloc", 1)
    against("appending to 2 MiB: ahead of tcmalloc", "grow-2m", "tcmalloc", 1)
    if (has("grow-2m", US "-background")) {
        against("appending to 2 MiB, BUFFERPOOL_BACKGROUND: at most 2.5 × a realloc loop (glibc)", "grow-2m", "glibc", 2.5,
            US "-background")
        against("appending to 2 MiB, BUFFERPOOL_BACKGROUND: ahead of jemalloc", "grow-2m", "jemalloc", 1,
            US "-background")
        against("appending to 2 MiB, BUFFERPOOL_BACKGROUND: ahead of tcmalloc", "grow-2m", "tcmalloc", 1,
            US "-background")
    }
    against_own("waves, cap of 256, BUFFERPOOL_BACKGROUND: page faults at most 0.02 × those of the first wave",
        "waves:later-faults", "waves:first-faults", 0.02, US "-cap-256-background")
    against_best("burst, take and write: at most 1.05 × the best malloc", "burst:take", MALLOCS, 1.05)
    against_best("burst, put: at most the best malloc that returns the memory", "burst:put", returning(), 1)
    against_best("burst, put, with a cap of 256: the same", "burst:put", returning(), 1, US "-cap-256")
    against_best("burst, take and write, BUFFERPOOL_HUGEPAGES: at most a third of the best malloc", "burst:take",
        MALLOCS, 1 / 3, US "-hugepages")
    against("any of 1,000,000: at most 1.0 × jemalloc", "replace-1000000", "jemalloc", 1)
}

function others() {
    against("thread create and exit: at most 1.1 × a thread that does nothing", "threads", "null", 1.1)
    against_own("1,000 live buffers: at most 1.2 × one", "live-1000", "live-1", 1.2)
    against_own("100,000 live buffers: at most 1.2 × one", "live-100000", "live-1", 1.2)
    against_own("1,000,000 live buffers: at most 1.2 × one", "live-1000000", "live-1", 1.2)
    against_own("64 pools in turn: at most 1.2 × one", "pools-64", "pools-1", 1.2)
}

END {
    print "| target | measured | DPDK | holds? |\n|---|---|---:|---|"
    uncontended()
    holding()
    beyond_the_cap()
    memory()
    others()
}
