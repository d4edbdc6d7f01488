/* SPDX-License-Identifier: MIT
 *
 * close.c - a closed pool ends with its last put
 *
 * `pooled` in the depot's counts says how many buffers there are, rights to make one included. In a closed pool it only
 * falls, but for holds. The call that takes it to 0 ends the pool, so:
 *
 *     1. In a closed pool, whatever lowers `pooled` to 0 must find that out, and must not touch the pool afterwards
 *        unless it ends it. So every call that frees there does it under a buffer or a hold of its own, and gives that
 *        up last, by one read-modify-write that says whether it was the last (depot_drop).
 *     2. A hold is taken only where `pooled` is not 0: by a call that has a buffer or a right, or by a compare-and-swap
 *        (close_hold_if_any). So it never comes back from 0, and one call alone ends the pool.
 *     3. Calls that began before the pool was closed know nothing of this. Each puts a mark on its thread's cache
 *        (cache_begin_call) and then reads `life`; close_pool stores `life` and then reads the marks. All four are
 *        seq_cst: so either the call sees POOL_CLOSED and goes by (1), or close_pool sees the mark and waits for the
 *        end of the call, under a hold. A cache that is not in the list yet when close_pool walks over it was linked
 *        after close_pool had the caches_lock (pressure_close), so its owner sees POOL_CLOSED.
 *     4. Gates are closed for good (pressure_close), so every put is a slow one. What idled is in the depot then, and
 *        close_pool frees it. Without membarrier(2) the caches of other threads keep what they have; their owners move
 *        it to the depot in their next put, thread_flush or at their end, and free it there (close_left).
 *     5. The library's thread and the threads that wait are gone before the hold of close_pool is given up.
 *
 * Only puts, cancels, and ends of threads may come after a close. A get, which must not, returns ECANCELED as long as
 * the pool is there.
 */
#include "close.h"

#include "background.h"
#include "budget.h"
#include "cache.h"
#include "call.h"
#include "clock.h"
#include "create.h"
#include "depot.h"
#include "fork.h"
#include "life.h"
#include "pressure.h"
#include "reclaim.h"
#include "registry.h"
#include "tls_cache.h"
#include "wait.h"

/* ---- in a closed pool ---- */

void close_hold(bufferpool_t *pool)
{
    depot_hold(&pool->depot);
}

/* The last that a call does with the pool, unless it ends it. Bytes may have come back for callers of other pools. */
static bool drop(bufferpool_t *pool)
{
    members_serve(pool);
    return depot_drop(&pool->depot);
}

void close_release(bufferpool_t *pool)
{
    if (drop(pool))
        close_end(pool);
}

void close_end(bufferpool_t *pool)
{
    create_end(pool);
}

void close_give_back(bufferpool_t *pool, struct desc *d)
{
    pressure_flush(pool, tls_cache_own_or_shared(pool));
    reclaim_all_idle(pool, &pool->shared);
    cache_moved(pool, &pool->shared, -1);
    cache_count(&pool->shared, DROPS_OVER_CAP, 1);
    life_free(pool, d, false);
    close_release(pool);
}

void close_put(bufferpool_t *pool, struct desc *d, uintptr_t word)
{
    life_claim(pool, d, word);
    close_give_back(pool, d);
}

bool close_hold_if_any(bufferpool_t *pool)
{
    return depot_hold_if_any(&pool->depot);
}

bool close_left(bufferpool_t *pool)
{
    reclaim_all_idle(pool, &pool->shared);
    return drop(pool);
}

/* ---- close ---- */

static void await_calls_of(const struct cache *c)
{
    while (load_seq_cst(&c->calls) != 0) /* after the store to life; with cache_begin_call and cache_end_call */
        clock_pause();
}

static void await_calls(const bufferpool_t *pool)
{
    /* acquire: with the release in roster_add (roster.c) */
    for (const struct cache *c = load_acquire(&pool->caches); c != NULL; c = c->next)
        await_calls_of(c);
    await_calls_of(&pool->shared);
}

static void close_pool(bufferpool_t *pool)
{
    uint32_t alive = POOL_ALIVE;
    registry_lock();
    tls_cache_on_closed(&(struct tls_closed){close_hold_if_any, close_left, close_end});
    registry_unlock();
    close_hold(pool);
    if (!atomic_compare_exchange_strong(&pool->life, &alive, POOL_CLOSED)) /* seq_cst: before await_calls */
        report_misuse(pool, pool, "the pool was closed already");
    budget_leave(pool); /* what frees for the budget's sake knows nothing of (1) */
    wait_cancel_all(pool);
    pressure_close(pool);
    await_calls(pool);
    background_end(pool);
    heap_retain(&pool->heap, 0);
    reclaim_all_idle(pool, &pool->shared);
    close_release(pool);
}

void bufferpool_close(bufferpool_t *pool)
{
    pool = pool_of_call(pool, "bufferpool_close");
    struct call call = call_begin("bufferpool_close", CALLER);
    if (pool == &pool_default)
        report_misuse(pool, pool, "the default pool cannot be closed");
    const bool stepped_out = fork_enter(pool);
    close_pool(pool);
    fork_leave(stepped_out);
    call_end(&call, NULL);
}
