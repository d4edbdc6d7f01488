/* SPDX-License-Identifier: MIT
 *
 * roster.h - which thread caches a pool has: lists by what has to be done with them
 *
 *     all         pool->caches, linked by next. A cache stays in it until the pool is destroyed. For what has to find
 *                 everything: the repair after fork, close, the end
 *     owned       those that a thread has; from pool->shared.next_alike on. Statistics add them up, without a lock
 *     unowned     those that no thread has: empty, behind a closed gate, with counters of 0; from pool->unowned_caches
 *                 on. The next thread takes the first
 *     open        those that a steal has to visit: all with an open gate, and all that are pending; from
 *                 pool->shared.next_open on
 *
 * So what a call costs depends on the threads that there are, and not on those that ever were. A steal visits only what
 * may hold something: not the cache of a thread that has slept since its cache was emptied.
 *
 * All of them change under caches_lock. Why a reader may walk over the owned ones without it:
 *
 *     1. A cache that leaves the list is not freed before the pool, so a reader that stands at it never meets memory
 *        that is gone. But it may go astray from there, into the unowned ones, or to the front of the list, if another
 *        thread took that cache. It may also miss what the cache counted, or count it twice, since that is added to
 *        what the shared cache counted (fold).
 *     2. `changes` is odd while the list changes, or counters move. Whatever a walk reads that such a change writes
 *        (links, counters, moved) is written with release after `changes` became odd, and read with acquire before the
 *        walk looks at `changes` again. So a walk that finds it as it was has seen no part of a change. It reads
 *        `changes` with acquire at its beginning, after the release that made it even, so it has seen all of the
 *        changes before. A walk looks at each step. So it goes astray for one step at most, and ends.
 *     3. A walk that finds a change begins anew, a few times, and then takes the lock. So threads that come and go all
 *        the time do not keep it from its end.
 *     4. A child of fork may find a change half made. It walks over `all`, which has no such moment, and makes the
 *        others anew. A counter that was moving is lost there at worst (fork.c).
 *
 * Why a steal finds what it has to:
 *
 *     5. A cache comes into the list of the open ones where its gate opens, and that is cache_open alone. A cache
 *        becomes pending only when a steal visits it. Only a steal takes a cache out of the list, and only if the gate
 *        is closed and nothing is pending. So each cache with an open gate, or pending, is in the list.
 *     6. A steal lets the lock go between its steps, and stands at a cache meanwhile. So a steal takes caches out only
 *        while it is the only one (`steals`). Caches are added at the front alone.
 */
#ifndef BUFFERPOOL_ROSTER_H
#define BUFFERPOOL_ROSTER_H

#include "cache.h"

/* ---- under caches_lock ---- */

/* Locks caches_lock, for a call that waits for it. A steal that lets the lock go between two steps sees that such a
 * call waits, and lets it go first: a mutex would mostly give the lock back to the thread that just had it. */
void roster_lock(bufferpool_t *pool);
void roster_unlock(bufferpool_t *pool);

/* The same for a call that changes nothing. Returns the pool, for roster_unlock. */
bufferpool_t *roster_lock_for_reading(const bufferpool_t *pool);

/* Lets the lock go for a moment, so that calls that wait for it come first. */
void roster_breathe(bufferpool_t *pool);

/* Adds a new cache, which is for roster_join. */
void roster_add(bufferpool_t *pool, struct cache *c);

/* Adds one that nobody needs yet. */
void roster_add_spare(bufferpool_t *pool, struct cache *c);

/* A thread gets a cache that had a thread before. Returns NULL if there is none. */
struct cache *roster_reuse(bufferpool_t *pool);

/* A thread gets a cache that was just added. */
void roster_join(bufferpool_t *pool, struct cache *c);

/* The cache, which is empty, has no thread any longer. What it counted goes to pool->shared. */
void roster_leave(bufferpool_t *pool, struct cache *c);

/* In the child after fork: the same for all of them. */
void roster_disown_all(bufferpool_t *pool);

/* ---- without the lock ---- */

/* Whether the list of owned caches is at rest; then *at is for roster_is_at. */
static inline bool roster_read(const bufferpool_t *pool, uint32_t *at)
{
    *at = load_acquire(&pool->shared.roster.changes); /* with the release in end_change (roster.c) */
    return (*at & 1) == 0;
}

/* Whether it is as it was then. */
static inline bool roster_is_at(const bufferpool_t *pool, uint32_t at)
{
    return load_relaxed(&pool->shared.roster.changes) == at; /* after the acquires of the walk (2) */
}

#endif
