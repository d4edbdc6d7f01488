# SPDX-License-Identifier: MIT
#
# tables.awk - prints the tables of medians, from the arrays of summary.awk

# Returns whether the contestant has the best figure, or one that is not told apart from the best.
function among_the_best(workload, name, best) {
    return name == best ||
        (best != "" && !(name in reference) && !(name in variant) && alike(workload, name, workload, best, 1))
}

# Returns whether a contestant that matches the pattern has a figure.
function measured(workload, pattern,    i) {
    for (i = 1; i <= peers; i++)
        if (peer[i] ~ pattern && has(workload, peer[i]))
            return 1
    return 0
}

# Prints a table of the workloads in `list`, each written as "workload=heading". The rows are the peers that have a
# figure for any of them and that match the pattern, if there is one. Workloads without a figure have no column. The
# least figure is the best, unless the table is `plain` and has no best.
function table(title, list, pattern, plain,    n, column, part, i, k, line, lines, any, workload, best, value, rows) {
    pattern = pattern == "" ? "." : pattern
    n = split(list, column, ";")
    line = "| |"
    lines = "|---|"
    for (k = 1; k <= n; k++) {
        split(column[k], part, "=")
        workload[k] = part[1]
        if (!measured(part[1], pattern))
            continue
        line = line " " part[2] " |"
        lines = lines "---:|"
        best_of(part[1], pattern)
        best[k] = plain ? "" : best_name
    }
    lines = line "\n" lines
    for (i = 1; i <= peers; i++) {
        if (peer[i] !~ pattern)
            continue
        any = 0
        line = "| " (peer[i] in reference ? "*" peer[i] "*" : peer[i]) " |"
        for (k = 1; k <= n; k++) {
            if (!measured(workload[k], pattern))
                continue
            any = any || has(workload[k], peer[i])
            value = figure(workload[k], peer[i])
            if (has(workload[k], peer[i]) && among_the_best(workload[k], peer[i], best[k]))
                value = "**" value "**"
            line = line " " value " |"
        }
        if (any) {
            lines = lines "\n" line
            rows++
        }
    }
    if (rows > 0) # no table if nothing was measured
        print "**" title "**\n\n" lines "\n"
}

function columns(suffix) {
    return "pairs-1" suffix "=1 thread;pairs-2" suffix "=2 threads;pairs-64" suffix "=64 threads;hold-64" suffix \
        "=hold 64;hold-64-2t" suffix "=the same, 2 threads;hold-64-8t" suffix "=8 threads;hold-1024" suffix \
        "=hold 1024;hold-1024-2t" suffix "=the same, 2 threads;fifo-1024" suffix "=FIFO 1024;fifo-1024-2t" suffix \
        "=the same, 2 threads;handoff" suffix "=get here, put there;larson" suffix "=Larson-like, 8 threads"
}

function burst(workload, rest) {
    return workload ":take=take and write, ms;" workload ":put=put, ms;" workload ":faults=page faults;" workload \
        ":peak=MiB at the peak;" workload ":after-put=after put;" rest workload ":after-trim=after trim"
}

END {
    if (brief) { # for the README of the project
        mallocs = "glibc|jemalloc|mimalloc|tcmalloc"
        some = mallocs "|dpdk-mempool|go-sync-pool"
        table("Memory: five bursts of 10,000 buffers of 32 KiB, 0.3 s between them", "waves:peak=MiB at the peak;" \
            "waves:paused=between bursts;waves:after-rest=2 s after the last;waves:after-trim=after trim;" \
            "waves:later-faults=page faults of a later burst;waves:later=its time, ms",
            "^(libbufferpool(-cap-256(-background)?)?|" mallocs ")$")
        table("Overload: ns per get and put, by buffers out, at a cap of 512", "cap-at=512;cap-plus-1=513;" \
            "cap-plus-2=514;cap-plus-8=520;cap-plus-64=576;cap-twice=1,024;cap-beyond-28=28 more at a time;" \
            "cap-beyond-64=64 more at a time", "^(null|floor|libbufferpool(-background)?|" some ")$")
        table("The common case: ns per get and put of 32 KiB, 64 bytes written", "pairs-1=1 thread;pairs-2=2 threads;" \
            "pairs-64=64 threads;hold-64=hold 64;hold-1024=hold 1024;handoff=get here, put there;" \
            "larson=Larson-like;instructions=instructions", "^(null|floor|libbufferpool|" some ")$")
        exit
    }
    table("ns per get and put of 32 KiB, 64 bytes written", columns("") ";instructions=instructions per pair")
    table("The same, 4 KiB written", columns("+4k"))
    table("The same, 32 KiB written", columns("+all"))
    table("ns per operation: a thread that gets and puts once; appending 1 KiB at a time; 32 at once, per buffer",
        "threads=thread;grow-64k=to 64 KiB;grow-256k=to 256 KiB;grow-2m=to 2 MiB;bulk-32=bulk of 32")
    table("ns per get, growth at once to 256 KiB, and put", "pairs-grown=1 thread")
    table("ns per get and put, 8 threads, at a cap of 512", "cap-at=512 out;cap-twice=1024 out, any;" \
        "cap-twice-pooled=1024 out, the pooled;cap-twice-bypass=1024 out, the bypass")
    table("ns per get and put, 8 threads, any of 512 + x buffers, at a cap of 512, by x", "cap-plus-1=1;cap-plus-2=2;" \
        "cap-plus-4=4;cap-plus-8=8;cap-plus-16=16;cap-plus-32=32;cap-plus-64=64;cap-plus-128=128;cap-plus-256=256")
    table("ns per get and put, 1 thread, k buffers taken and put while all 512 of the cap are out, by k",
        "cap-beyond-28=28;cap-beyond-64=64;cap-beyond-1024=1,024")
    table("ns per get and put by threads", "pairs-1=1;pairs-2=2;pairs-4=4;pairs-16=16;pairs-64=64;pairs-256=256")
    table("ns per get and put of 4 KiB, unwritten, by live buffers: of one that was just put; of any of them",
        "live-1=1;live-1000=1,000;live-100000=100,000;live-1000000=1,000,000;" \
        "replace-1000=any of 1,000;replace-100000=any of 100,000;replace-1000000=any of 1,000,000")
    table("ns per get and put from pools in turn", "pools-1=1;pools-4=4;pools-16=16;pools-64=64")
    table("A burst of 10,000 buffers of 32 KiB, written whole", burst("burst", "burst:after-rest=after 1 s;"))
    table("The same, 4 KiB of each written", burst("burst+4k", ""))
    table("Five such bursts, 0.3 s between them", "waves:first=first, ms;waves:later=a later one, ms;" \
        "waves:first-faults=page faults, first;waves:later-faults=a later one;waves:peak=MiB at the peak;" \
        "waves:paused=between;waves:after-put=after the last;waves:after-rest=2 s later;waves:after-trim=after trim")
    table("The demonstration: a server's requests, and its resident memory in MiB", "demo:requests=requests/s;" \
        "demo:p50=latency, p50, ms;demo:p99=p99;demo:beyond=made beyond the cap;demo:waited=that waited;" \
        "demo:peak=MiB at the peak;demo:after=after the load;demo:idle=when idle again", "", 1)
}
