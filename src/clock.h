/* SPDX-License-Identifier: MIT
 *
 * clock.h - the time, for periods of milliseconds
 */
#ifndef BUFFERPOOL_CLOCK_H
#define BUFFERPOOL_CLOCK_H

#include <pthread.h>
#include <stdbool.h>
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

/* The time in nanoseconds on the monotonic clock. */
static inline uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
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

/* Sleeps for a tenth of a millisecond, so that threads of a lower priority run too. No cancellation point. */
static inline void clock_pause(void)
{
    const struct timespec pause = {0, 100000};
    int cancelable;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelable);
    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    pthread_setcancelstate(cancelable, NULL);
}

/* How long one call waits, in all, for calls of other threads that are under way. It spins: most of them are over in
 * less than a microsecond, and to give up the processor costs tens of milliseconds where many threads want it. */
#define PATIENCE_NS 200000u

struct patience {
    uint64_t until_ns; /* 0: it has not begun to wait */
};

static inline bool patience_left(struct patience *patience)
{
    const uint64_t now_ns = clock_ns();
    if (patience->until_ns == 0)
        patience->until_ns = now_ns + PATIENCE_NS;
    return now_ns < patience->until_ns;
}

#endif
