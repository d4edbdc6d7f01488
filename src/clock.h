/* SPDX-License-Identifier: MIT
 *
 * clock.h - the time, for periods of milliseconds
 */
#ifndef BUFFERPOOL_CLOCK_H
#define BUFFERPOOL_CLOCK_H

#include <stdint.h>
#include <time.h>

/* The time in milliseconds on the coarse monotonic clock, which is a few milliseconds behind the exact one and costs no
 * system call. It is never 0. */
static inline uint64_t clock_coarse_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 + 1;
}

/* The time `ms` milliseconds from now, on the monotonic clock. */
static inline struct timespec clock_after_ms(uint64_t ms)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += (time_t)(ms / 1000);
    at.tv_nsec += (long)(ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

static inline int clock_before(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

#endif
