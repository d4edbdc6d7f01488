/* SPDX-License-Identifier: MIT
 *
 * pressure.c - what a pool does at its cap
 *
 *     OFF  --- a get finds nothing: all gates closed --->  ENTERING  --- every cache was emptied --->  ON
 *      ^                                                      |                                        |
 *      +-------------- callers have at most 3/4 of the cap, and DWELL pops went by -------------------+
 *
 * The state moves under caches_lock. `pressure` in the depot's counts says ON: no thread cache holds anything (but see
 * steal.c for what holds without membarrier). That is so from when it is set until it is cleared, since a gate opens
 * under the lock too, and only in state OFF.
 *
 * ENTERING lasts where an owner was preempted inside its cache. The gets that find nothing wait for the owner, all of
 * them until the same moment, PATIENCE_NS after the first; then they go beyond the cap. Each later get that finds
 * nothing looks once more (the gate was closed long ago, so that takes no barrier), and the owner itself flushes its
 * cache in its next call. An owner that comes out and makes no call leaves its buffers to the next call of any thread.
 *
 * Two things keep the state from fluttering: pressure ends only well below the cap, and not before DWELL buffers came
 * out of the depot. So stealing, which costs some microseconds and may touch every cache, comes at most once per DWELL
 * such gets.
 *
 * What is relaxed: state and since move under the lock. Without it they are hints for when to look, as max_live is
 * here, and a thread that acts on one looks again under the lock.
 */
#include "pressure.h"

#include "cache.h"
#include "depot.h"
#include "steal.h"

#define DWELL 256u

/* caches_lock is held: after a steal, whether the pool is ON. The steal may have let the lock go, and pressure may have
 * ended meanwhile. */
static void settle(bufferpool_t *pool, struct stolen stolen)
{
    if (load_relaxed(&pool->pressure.state) == PRESSURE_ENTERING && (stolen.complete || stolen.refused)) {
        store_relaxed(&pool->pressure.state, PRESSURE_ON);
        depot_begin_pressure(&pool->depot);
    }
}

/* Enters the pressure, or goes on with entering it. It may end after `dwell` pops, at most DWELL. Returns whether it is
 * ON. */
static bool enter(bufferpool_t *pool, uint32_t dwell)
{
    steal_init(pool);
    pthread_mutex_lock(&pool->caches_lock);
    if (load_relaxed(&pool->pressure.state) == PRESSURE_OFF) {
        struct patience fresh = {0};
        (void)patience_left(&fresh);
        pool->pressure.until_ns = fresh.until_ns;
        store_relaxed(&pool->pressure.since, depot_pops(&pool->depot) + dwell - DWELL);
        store_relaxed(&pool->pressure.state, PRESSURE_ENTERING);
    }
    if (load_relaxed(&pool->pressure.state) == PRESSURE_ENTERING) {
        struct patience patience = {pool->pressure.until_ns};
        settle(pool, steal_caches(pool, STEAL_ALL, &patience));
    }
    bool on = load_relaxed(&pool->pressure.state) == PRESSURE_ON;
    pthread_mutex_unlock(&pool->caches_lock);
    return on;
}

bool pressure_rise(bufferpool_t *pool, struct patience *patience)
{
    const bool first = patience->until_ns == 0;
    if (!patience_left(patience))
        return false;
    if (load_relaxed(&pool->pressure.state) != PRESSURE_ON)
        return enter(pool, DWELL) || first; /* what was stolen is worth one more look */
    spin_hint();
    return true;
}

void pressure_enter(bufferpool_t *pool)
{
    (void)enter(pool, 0);
}

static bool may_end(const bufferpool_t *pool)
{
    struct depot_counts counts = depot_counts(&pool->depot);
    size_t cap = load_relaxed(&pool->max_live);
    if (counts.wanted)
        return false;
    if (cap == 0)
        return true;
    size_t margin = cap >= 4 ? cap / 4 : 1;
    return counts.in_flight <= cap - margin && counts.pooled <= cap &&
           depot_pops(&pool->depot) - load_relaxed(&pool->pressure.since) >= DWELL;
}

void pressure_relax(bufferpool_t *pool)
{
    if (load_relaxed(&pool->pressure.state) == PRESSURE_OFF || !may_end(pool) ||
        pthread_mutex_trylock(&pool->caches_lock) != 0)
        return;
    /* once more: one thread may have ended the pressure meanwhile, and another have begun it anew */
    if (may_end(pool) && depot_end_pressure(&pool->depot))
        store_relaxed(&pool->pressure.state, PRESSURE_OFF);
    pthread_mutex_unlock(&pool->caches_lock);
}

void pressure_take_rest(bufferpool_t *pool)
{
    if (likely(!steal_has_rest(pool)))
        return;
    steal_init(pool);
    if (pthread_mutex_trylock(&pool->caches_lock) != 0)
        return;
    settle(pool, steal_caches(pool, STEAL_REST, NULL));
    pthread_mutex_unlock(&pool->caches_lock);
}

/* ---- the gate, for its owner ---- */

/* caches_lock is held, so the calling thread may move what its cache has, whether the gate is open or not. */
static void flush_and_open(bufferpool_t *pool, struct cache *c)
{
    (void)cache_flush_inside(pool, c);
    c->pending = PENDING_NOTHING;
    if (load_relaxed(&pool->pressure.state) == PRESSURE_OFF)
        cache_open(pool, c);
}

void pressure_flush(bufferpool_t *pool, struct cache *c)
{
    if (c->shared)
        return;
    pthread_mutex_lock(&pool->caches_lock);
    flush_and_open(pool, c);
    pthread_mutex_unlock(&pool->caches_lock);
}

void pressure_serve_gate(bufferpool_t *pool, struct cache *c)
{
    pressure_take_rest(pool);
    if (likely(cache_is_open(c)) || c->shared)
        return;
    int state = load_relaxed(&pool->pressure.state);
    if (state == PRESSURE_ON && cache_idle(c) > 0) { /* without membarrier(2) no other thread can take it */
        pressure_flush(pool, c);
    } else if ((state == PRESSURE_OFF || cache_idle(c) > 0) && pthread_mutex_trylock(&pool->caches_lock) == 0) {
        flush_and_open(pool, c);
        pthread_mutex_unlock(&pool->caches_lock);
    }
}
