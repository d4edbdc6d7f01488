/* SPDX-License-Identifier: MIT
 *
 * steal.h - taking what idles in the caches of other threads
 *
 * All functions are called with the pool's caches_lock held, by a thread that is not inside its own cache.
 */
#ifndef BUFFERPOOL_STEAL_H
#define BUFFERPOOL_STEAL_H

#include "bufferpool.h"

#include <stdbool.h>
#include <stdint.h>

enum steal_kind {
    STEAL_ALL,    /* whatever they hold goes to the depot */
    STEAL_UNUSED, /* the same, where nothing went in or out since the last time that this was asked */
    STEAL_BUDGETS /* only what they have set aside of max_idle_bytes and do not use */
};

struct stolen {
    uint32_t buffers; /* moved to the depot */
    bool complete;    /* no cache was skipped because its owner was inside, or because it cannot be taken over here */
};

/* Takes over the caches of all threads, the calling one's included. Under pressure (pressure.h) the gates of all of
 * them stay closed; else each opens again at once. An owner that is inside is skipped: with `patient` after a bounded
 * time. Where taking over is impossible it reaches the calling thread's cache alone; under pressure it closes the
 * others' gates all the same, and each owner flushes its cache at its next call. */
struct stolen steal_caches(bufferpool_t *pool, enum steal_kind kind, bool patient);

/* Registers the process for membarrier(2), if nobody has: without any lock, since it takes some milliseconds where
 * threads run already. So it is done when a pool is created, which is early as a rule, or else for the first cache, and
 * not for the first take-over. */
void steal_init(void);

/* In the child after fork: if another thread was at it, the next call is. */
void steal_after_fork_in_child(void);

/* Whether caches of other threads can be taken over. Any thread, no lock. */
bool steal_possible(void);

#endif
