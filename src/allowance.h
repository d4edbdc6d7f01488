/* SPDX-License-Identifier: MIT
 *
 * allowance.h - how much each thread's cache may hold
 *
 * A cache begins with thread_cache_bytes. A thread that overflows its cache, or empties it, again and again may come to
 * have ALLOWANCE_MOST times that. All caches together may hold
 *
 *     sum of allowance <= max(ALLOWANCE_CACHES, caches with an owner) * thread_cache_bytes
 *
 * so where many threads use the pool, the room comes from those that do not use theirs. A thread that has lent its room
 * gets it back at once when it needs it, and a new thread has its own at once. Then the sum may be larger until the
 * next reclaim takes the room away from the caches that have more than thread_cache_bytes.
 */
#ifndef BUFFERPOOL_ALLOWANCE_H
#define BUFFERPOOL_ALLOWANCE_H

#include "cache.h"

#define ALLOWANCE_CACHES 8u

/* Exchanges of the same kind as the one before after which a cache asks for more. */
#define ALLOWANCE_STREAK 4u

/* caches_lock is held in these. */

/* A thread gets the cache. */
void allowance_begin(bufferpool_t *pool, struct cache *c);

/* The cache has no thread any longer. */
void allowance_end(bufferpool_t *pool, struct cache *c);

/* For a cache behind a closed gate, which holds nothing: where room is scarce it lends all that it has. Its thread gets
 * it back when the gate opens (allowance_check). */
void allowance_lend(bufferpool_t *pool, struct cache *c);

/* Gives a cache back what it lent. Its gate is open, or about to open. */
void allowance_regain(bufferpool_t *pool, struct cache *c);

/* Whether the cache has more than thread_cache_bytes, and does not need it, or others do. If not, begins to look
 * anew. */
bool allowance_is_excess(const bufferpool_t *pool, struct cache *c);

/* How many bytes of what idles in such a cache stay: the buffers that came and went, as far as they fit. */
size_t allowance_kept(const bufferpool_t *pool, const struct cache *c);

/* Whether an unused cache has room that other threads may need. */
bool allowance_is_wanted(const bufferpool_t *pool, const struct cache *c);

/* Takes room away from a cache behind a closed gate, which is empty, or holds no more than thread_cache_bytes. */
void allowance_shrink(bufferpool_t *pool, struct cache *c, bool unused);

/* For the owner, without the lock. */

void allowance_grow(bufferpool_t *pool, struct cache *c);
void allowance_restore(bufferpool_t *pool, struct cache *c);

/* After an exchange with the depot, and before a put into a full cache. */
static inline void allowance_check(bufferpool_t *pool, struct cache *c)
{
    if (unlikely(load_relaxed(&c->allowance) == 0) && !c->shared && cache_is_open(c))
        allowance_restore(pool, c);
    else if (unlikely(load_relaxed(&c->streak) >= ALLOWANCE_STREAK))
        allowance_grow(pool, c);
}

#endif
