/* SPDX-License-Identifier: MIT
 *
 * steal.h - taking what idles in the caches of other threads
 */
#ifndef BUFFERPOOL_STEAL_H
#define BUFFERPOOL_STEAL_H

#include "cache.h"
#include "clock.h"

enum steal_kind {
    STEAL_ALL,      /* all buffers go to the depot */
    STEAL_UNUSED,   /* the same, but only from caches that were not used since the last STEAL_UNUSED */
    STEAL_RESERVED, /* only what the caches have reserved of max_idle_bytes and do not use */
    STEAL_NOTHING,  /* but the idle buffers are verified where they are; a debug mode watches */
    STEAL_REST      /* only from caches that an earlier call was to empty and did not reach */
};

struct stolen {
    uint32_t buffers; /* moved to the depot */
    bool complete;    /* no cache is left that was to be stolen from */
    bool refused; /* some are left, and none of these had a barrier: the system refused it, or the pool never asks */
};

/* Steals from the caches of all threads, the calling one's included. Under pressure (pressure.h) all their gates stay
 * closed. Otherwise each gate opens again at once, unless the cache was not used for a period. If an owner is inside
 * its cache, the call waits for it as long as the patience lasts (NULL: none). It lets the lock go meanwhile, and
 * between any two steps. A cache that was to be emptied and was not reached stays closed: its owner flushes it in its
 * next call, or the next call of this function empties it.
 *
 * Where stealing is impossible, the call reaches only the calling thread's cache. Under pressure it closes the other
 * gates all the same, and each owner flushes its cache in its next call. The pool's caches_lock is held, and the
 * calling thread is not inside its own cache. */
struct stolen steal_caches(bufferpool_t *pool, enum steal_kind kind, struct patience *patience);

/* The same as steal_caches with STEAL_ALL under pressure, for a get: it ends as soon as some buffers moved. Then it has
 * not touched the caches that it did not visit, and visited caches may still be pending. */
struct stolen steal_some(bufferpool_t *pool, struct patience *patience);

/* Whether all gates are closed and no cache is pending. With `refused`, pending caches that had no barrier do not
 * count. While the pool is under pressure, gates that are open by tickets do not count. The pool's caches_lock is held.
 */
bool steal_is_over(const bufferpool_t *pool, bool refused);

/* The same as steal_caches, for a call that holds no lock. If `patient`, it has a patience of its own. */
struct stolen steal(bufferpool_t *pool, enum steal_kind kind, bool patient);

/* Whether the system may be asked for a barrier now: it has not refused one within the last second. Any thread. */
bool steal_may_ask(void);

/* Whether an earlier call did not reach a cache, and STEAL_REST may now. Any thread, without a lock: a hint. */
static inline bool steal_has_rest(const bufferpool_t *pool)
{
    /* acquire: with the release in go_over (steal.c). Caches stay as long as the pool. */
    const struct cache *stuck = load_acquire(&pool->stuck);
    return unlikely(stuck != NULL) && (stuck->shared ? steal_may_ask() : cache_owner_is_out(stuck));
}

/* Registers the process for membarrier(2), unless that was done, or was refused within the last second, or the pool
 * does without. It takes no lock, since registering takes some milliseconds where threads run already. So it is called
 * when a pool is created, which is early as a rule, or otherwise before the first cache is made, and again before each
 * steal, where it mostly finds nothing to do. A child of fork whose parent was not registered asks anew. */
void steal_init(const bufferpool_t *pool);

/* In the child after fork: what the parent did not have, the child asks for itself. Another thread may have been in the
 * middle of it. */
void steal_after_fork_in_child(void);

/* Whether caches of other threads can be stolen from, as far as the system has said. Any thread, without a lock. */
bool steal_possible(const bufferpool_t *pool);

#endif
