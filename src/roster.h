/* SPDX-License-Identifier: MIT
 *
 * roster.h - which thread caches a pool has: lists by what has to be done with them
 *
 *     all         pool->caches, linked by next. A cache stays in this list until the pool is destroyed. It is for calls
 *                 that have to find everything: the repair after fork, close, and the end of the pool
 *     owned       caches that a thread has, from pool->shared.next_alike on. Statistics add them up, without a lock
 *     unowned     caches that no thread has, from pool->unowned_caches on. They are empty, behind a closed gate, with
 *                 counters of 0. The next thread takes the first one
 *     open        caches that a steal has to visit, from pool->shared.next_open on: all with an open gate, and all that
 *                 are pending
 *
 * So the cost of a call depends on how many threads exist, not on how many there ever were. A steal visits only caches
 * that may hold something: not the cache of a thread that has slept since its cache was emptied.
 *
 * All of these lists change under caches_lock. Why a reader may walk over the owned caches without it:
 *
 *     1. A cache that leaves the list is not freed before the pool, so a reader that stands at it never meets memory
 *        that is gone. But from there the reader may go astray: into the list of unowned caches, or to the front of the
 *        list if another thread took that cache. It may also miss what the cache counted, or count it twice, since that
 *        is added to the counters of the shared cache (fold).
 *     2. `changes` is odd while the list changes, or while counters move. Everything that such a change writes and a
 *        walk reads (links, counters, moved) is written with release after `changes` became odd, and read with acquire
 *        before the walk looks at `changes` again. So a walk that finds `changes` as it was has seen no part of a
 *        change. It reads `changes` with acquire at its beginning, after the release that made it even, so it has seen
 *        all earlier changes. A walk looks at `changes` in each step. So it goes astray for one step at most, and it
 *        ends.
 *     3. A walk that finds a change begins anew, a few times, and then takes the lock. So threads that come and go all
 *        the time cannot keep it from its end.
 *     4. A child of fork may find a change half made. It walks over `all`, whose changes are never half made, and makes
 *        the other lists anew. At worst, a counter that was moving is lost there (fork.c).
 *
 * Why a steal finds every cache that it has to visit:
 *
 *     5. Only cache_open opens a gate, and it adds the cache to the list of open caches. A cache becomes pending only
 *        when a steal visits it. Only a steal takes a cache out of the list, and only if the gate is closed and nothing
 *        is pending. So each cache that has an open gate or is pending is in the list.
 *     6. A steal lets the lock go between its steps, and keeps its place at a cache meanwhile. So a steal takes caches
 *        out only while no other steal is under way (`steals`). Caches are added only at the front.
 */
#ifndef BUFFERPOOL_ROSTER_H
#define BUFFERPOOL_ROSTER_H

#include "cache.h"

/* ---- under caches_lock ---- */

/* Locks caches_lock, and lets others know while the call waits for it. A steal that is between two steps then lets the
 * lock go for a moment. Otherwise a mutex would mostly give the lock back to the thread that just had it. */
void roster_lock(bufferpool_t *pool);
void roster_unlock(bufferpool_t *pool);

/* The same for a call that changes nothing. Returns the pool, for roster_unlock. */
bufferpool_t *roster_lock_for_reading(const bufferpool_t *pool);

/* Lets the lock go for a moment, so that calls that wait for it come first. */
void roster_breathe(bufferpool_t *pool);

/* Adds a new cache. roster_join gives it to a thread. */
void roster_add(bufferpool_t *pool, struct cache *c);

/* Adds a new cache that no thread needs yet. */
void roster_add_spare(bufferpool_t *pool, struct cache *c);

/* Gives an unowned cache to a thread. Returns NULL if there is none. */
struct cache *roster_reuse(bufferpool_t *pool);

/* Gives a cache that was just added to a thread. */
void roster_join(bufferpool_t *pool, struct cache *c);

/* Takes the cache, which is empty, from its thread. What it counted goes to pool->shared. */
void roster_leave(bufferpool_t *pool, struct cache *c);

/* In the child after fork: the same for all caches. */
void roster_disown_all(bufferpool_t *pool);

/* ---- without the lock ---- */

/* Returns whether the list of owned caches is at rest. *at is then what roster_is_at compares with. */
static inline bool roster_read(const bufferpool_t *pool, uint32_t *at)
{
    *at = load_acquire(&pool->shared.roster.changes); /* with the release in end_change (roster.c) */
    return (*at & 1) == 0;
}

/* Whether the list is still as it was when roster_read set `at`. */
static inline bool roster_is_at(const bufferpool_t *pool, uint32_t at)
{
    return load_relaxed(&pool->shared.roster.changes) == at; /* after the acquires of the walk (2) */
}

#endif
