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
 * ENTERING lasts where an owner was preempted inside its cache: the get that could not wait any longer goes beyond the
 * cap; the next get that finds nothing looks again (the gate was closed long ago, so that takes no barrier); and the
 * owner itself flushes its cache at its next call.
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

#include <sched.h>

#define DWELL    256u
#define ATTEMPTS 64u /* of a get, until it goes beyond the cap although a call under way has yet to finish */
#define SPINS    8u  /* those of them that do not yield */

/* Enters the pressure, or goes on with entering it. It may end after `dwell` pops, at most DWELL. Returns whether it is
 * ON. */
static bool enter(bufferpool_t *pool, uint32_t dwell)
{
    steal_init();
    pthread_mutex_lock(&pool->caches_lock);
    int state = load_relaxed(&pool->pressure.state);
    if (state == PRESSURE_OFF) {
        store_relaxed(&pool->pressure.state, PRESSURE_ENTERING);
        store_relaxed(&pool->pressure.since, depot_pops(&pool->depot) + dwell - DWELL);
    }
    if (state != PRESSURE_ON) {
        struct stolen stolen = steal_caches(pool, STEAL_ALL, state == PRESSURE_OFF);
        if (stolen.complete || !steal_possible()) {
            store_relaxed(&pool->pressure.state, PRESSURE_ON);
            depot_begin_pressure(&pool->depot);
        }
    }
    bool on = load_relaxed(&pool->pressure.state) == PRESSURE_ON;
    pthread_mutex_unlock(&pool->caches_lock);
    return on;
}

bool pressure_rise(bufferpool_t *pool, unsigned attempt)
{
    if (attempt >= ATTEMPTS)
        return false;
    if (load_relaxed(&pool->pressure.state) != PRESSURE_ON)
        return enter(pool, DWELL) || attempt == 0; /* what was stolen is worth one more look */
    if (attempt >= SPINS)
        (void)sched_yield();
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

/* ---- the gate, for its owner ---- */

/* caches_lock is held, so the calling thread may move what its cache has, whether the gate is open or not. */
static void flush_and_open(bufferpool_t *pool, struct cache *c)
{
    (void)cache_flush_inside(pool, c);
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
