/* SPDX-License-Identifier: MIT
 *
 * pressure.c - what a pool does at its cap
 *
 *     OFF  --- a get finds nothing: gates begin to close --->  ENTERING  --- all closed, all empty --->  ON
 *      ^                                                          |                                      |
 *      +---------------- callers have at most 3/4 of the cap, and DWELL pops went by -----------------+
 *
 * The state moves under caches_lock. `pressure` in the depot's counts says ON: no thread cache holds anything without a
 * ticket (but see steal.c for what holds without membarrier). That is so from when it is set until it is cleared, since
 * a gate opens under the lock too: in state OFF, or with tickets in state ON.
 *
 * ENTERING lasts until all caches are known to be empty. A get that finds nothing empties further caches, but only
 * until it has found some buffers (steal_some). So it does not pay for caches that later gets need, and each gate is
 * closed once. A get that finds nothing although it went over all caches has shown that they are empty.
 *
 * ENTERING also lasts where an owner was preempted inside its cache. The gets that find nothing wait for the owner, all
 * of them until the same moment, PATIENCE_NS after the first that found it so; then they go beyond the cap. Each later
 * get that finds nothing looks once more (the gate was closed long ago, so that takes no barrier), and the owner itself
 * flushes its cache in its next call. An owner that comes out and makes no call leaves its buffers to the next call of
 * any thread.
 *
 * Two things keep the state from fluttering: pressure ends only well below the cap, and not before DWELL buffers came
 * out of the depot. So closing all gates, which costs some microseconds and may touch every cache with an open one,
 * comes at most once per DWELL such gets.
 *
 * Overload. Under pressure each get that goes beyond the cap makes a buffer, and each put while more exist than the cap
 * frees one. After `grant_after` of these, the next thread that makes one takes a ticket, and its cache opens, with
 * room for one buffer. When that is full, the thread takes twice as many, up to 8. All tickets together are at most
 * half of the buffers beyond the cap, so that callers have to put many before the tickets have to be taken back. A
 * thread's first ticket may go beyond that, if one buffer beyond the cap is left for each thread without tickets: for
 * each puts one before it gets the next. depot.c (8) to (10) say why no get goes beyond the cap too early for that, and
 * when the tickets have to be taken back. That is a steal from all caches, in state ON as it is: while it lasts, a
 * buffer has its ticket until it is in the depot.
 *
 * An overload that ends soon after it began has callers swing around the cap. Then the next one begins later: each time
 * `grant_after` doubles, from GRANT_AFTER to GRANT_LATEST. It falls back once an overload has lasted for LASTED_MS.
 *
 * What is relaxed: state and since move under the lock. Without it they are hints for when to look, as max_live is
 * here, and a thread that acts on one looks again under the lock.
 */
#include "pressure.h"

#include "allowance.h"
#include "cache.h"
#include "debug/modes.h"
#include "depot.h"
#include "heap/account.h"
#include "roster.h"
#include "shards.h"
#include "steal.h"

#define DWELL 256u

/* After a steal: if all caches are known to be empty, drains the shards and turns the pressure ON. The steal has let
 * the lock go, so pressure may have ended meanwhile, and begun anew. Therefore what counts is not what the steal found,
 * but what is so now. caches_lock is held. */
static void settle(bufferpool_t *pool, struct stolen stolen)
{
    const int state = load_relaxed(&pool->pressure.state);
    if (state == PRESSURE_OFF || !steal_is_over(pool, stolen.refused))
        return;
    shards_drain(&pool->depot, &pool->heap.table, steal_is_over(pool, false)); /* first: shards.c (3), (4) */
    if (state == PRESSURE_ENTERING) {
        store_relaxed(&pool->pressure.state, PRESSURE_ON);
        depot_begin_pressure(&pool->depot);
    }
}

/* Enters the pressure, or goes on with entering it. With `some`, it stops once buffers moved. The pressure may end
 * after `dwell` pops, at most DWELL. Returns whether it is ON, or whether buffers moved, so that the call stopped. */
static bool enter(bufferpool_t *pool, uint32_t dwell, bool some)
{
    bool moved = false;
    steal_init(pool);
    roster_lock(pool);
    const int state = load_relaxed(&pool->pressure.state);
    const bool begins = state == PRESSURE_OFF;
    if (begins || (state == PRESSURE_ENTERING && load_relaxed(&pool->stuck) == NULL)) { /* no owner is waited for */
        struct patience fresh = {0};
        (void)patience_left(&fresh);
        pool->pressure.until_ns = fresh.until_ns;
    }
    if (begins) {
        store_relaxed(&pool->pressure.since, depot_pops(&pool->depot) + dwell - DWELL);
        store_relaxed(&pool->pressure.state, PRESSURE_ENTERING);
    }
    if (load_relaxed(&pool->pressure.state) == PRESSURE_ENTERING) {
        struct patience patience = {pool->pressure.until_ns};
        const struct stolen stolen = some ? steal_some(pool, &patience) : steal_caches(pool, STEAL_ALL, &patience);
        settle(pool, stolen);
        moved = some && stolen.buffers > 0;
    }
    bool on = load_relaxed(&pool->pressure.state) == PRESSURE_ON;
    roster_unlock(pool);
    return on || moved;
}

bool pressure_rise(bufferpool_t *pool, struct patience *patience)
{
    const bool first = patience->until_ns == 0, left = patience_left(patience);
    /* Whatever time that takes: other gets may take what moved, and the rest of the caches is yet to be visited. */
    if (load_relaxed(&pool->pressure.state) != PRESSURE_ON)
        /* what was stolen is worth one more look, and so is what gates that opened meanwhile let through */
        return enter(pool, DWELL, true) || first || (left && load_relaxed(&pool->pressure.state) == PRESSURE_OFF);
    if (left)
        spin_hint();
    return left;
}

void pressure_enter(bufferpool_t *pool)
{
    (void)enter(pool, 0, false);
}

void pressure_close(bufferpool_t *pool)
{
    bool done;
    steal_init(pool);
    do {
        struct patience patience = {0};
        roster_lock(pool);
        if (load_relaxed(&pool->pressure.state) == PRESSURE_OFF)
            store_relaxed(&pool->pressure.state, PRESSURE_ENTERING);
        const struct stolen stolen = steal_caches(pool, STEAL_ALL, &patience);
        settle(pool, stolen);
        done = load_relaxed(&pool->pressure.state) == PRESSURE_ON && (stolen.complete || stolen.refused);
        roster_unlock(pool);
        if (!done)
            clock_pause();
    } while (!done);
}

static bool may_end(const bufferpool_t *pool)
{
    struct depot_counts counts = depot_counts(&pool->depot);
    size_t cap = load_relaxed(&pool->max_live);
    if (counts.wanted || load_relaxed(&pool->pressure.granted) != 0 || load_relaxed(&pool->life) != POOL_ALIVE ||
        account_is_tight(pool->heap.slabs.budget))
        return false;
    if (cap == 0)
        return true;
    size_t margin = cap >= 4 ? cap / 4 : 1;
    return counts.pooled <= cap && depot_pops(&pool->depot) - load_relaxed(&pool->pressure.since) >= DWELL &&
           counts.pooled - shards_idle(&pool->depot, &pool->heap.table) <= cap - margin;
}

void pressure_relax(bufferpool_t *pool)
{
    if (load_relaxed(&pool->pressure.state) == PRESSURE_OFF || !may_end(pool) ||
        pthread_mutex_trylock(&pool->caches_lock) != 0)
        return;
    /* once more: one thread may have ended the pressure meanwhile, and another have begun it anew */
    if (may_end(pool) && depot_end_pressure(&pool->depot, &pool->max_live))
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

/* ---- overload ---- */

#define GRANT_AFTER  32u
#define GRANT_LATEST 4096u
#define LASTED_MS    20u

/* How many threads may put a buffer that is freed, once one more has a ticket. Without caches_lock a hint. */
static size_t others(const bufferpool_t *pool)
{
    const size_t owners = load_relaxed(&pool->owners), holders = load_relaxed(&pool->pressure.holders);
    return owners > holders + 1 ? owners - holders - 1 : 0;
}

/* caches_lock is held. Gives more tickets to a cache that has `has` of them. Returns whether there were any. */
static bool grant(bufferpool_t *pool, struct cache *c, uint32_t has, uint32_t most)
{
    const uint32_t granted = load_relaxed(&pool->pressure.granted);
    for (uint32_t more = most; more > 0; more /= 2) {
        store_relaxed(&pool->pressure.granted, granted + more); /* first: pressure_is_short */
        if (!depot_add_tickets(&pool->depot, &pool->max_live, more, has == 0 ? others(pool) : SIZE_MAX))
            continue;
        if (has == 0)
            bump_relaxed(&pool->pressure.holders, 1);
        if (granted == 0)
            pool->pressure.overload_ms = clock_coarse_ms();
        cache_set_tickets(pool, c, has + more);
        return true;
    }
    store_relaxed(&pool->pressure.granted, granted);
    return false;
}

/* caches_lock is held. While a budget is over nothing is to idle in caches. What lies in the depot although more exist
 * than the cap, where a thread has ended, is the first that a get takes: as long as it is there, callers may hold less
 * than is beyond the cap. What the quarantine holds back idles outside of the depot too, and has no tickets. */
static bool may_grant(const bufferpool_t *pool, const struct cache *c)
{
    return load_relaxed(&pool->life) == POOL_ALIVE && !modes_have(MODE_QUARANTINE) &&
           load_relaxed(&pool->pressure.state) == PRESSURE_ON && c->pending == PENDING_NOTHING &&
           steal_possible(pool) && !depot_wanted(&pool->depot) && !account_is_over(pool->heap.slabs.budget) &&
           shards_are_empty(&pool->depot);
}

void pressure_grant(bufferpool_t *pool, struct cache *c)
{
    const uint32_t after = load_relaxed(&pool->pressure.grant_after);
    const uint32_t beyond = add_relaxed(&pool->pressure.beyond, 1) + 1;
    if (beyond < (after != 0 ? after : GRANT_AFTER) || c->shared || load_relaxed(&c->tickets) != 0 ||
        !depot_allows_tickets(depot_counts(&pool->depot), depot_cap_of(&pool->max_live), 1, others(pool)) ||
        pthread_mutex_trylock(&pool->caches_lock) != 0)
        return;
    if (may_grant(pool, c) && !cache_is_open(c) && cache_idle(c) == 0 && grant(pool, c, 0, 1)) {
        allowance_regain(pool, c);
        cache_open(pool, c);
    }
    pthread_mutex_unlock(&pool->caches_lock);
}

bool pressure_grant_more(bufferpool_t *pool, struct cache *c)
{
    const uint32_t has = load_relaxed(&c->tickets);
    if (has == 0 || has >= CACHE_TICKETS_MAX ||
        !depot_allows_tickets(depot_counts(&pool->depot), depot_cap_of(&pool->max_live), 1, SIZE_MAX) ||
        pthread_mutex_trylock(&pool->caches_lock) != 0)
        return false;
    const bool more = may_grant(pool, c) && cache_is_open(c) && load_relaxed(&c->tickets) == has &&
                      grant(pool, c, has, has < CACHE_TICKETS_MAX - has ? has : CACHE_TICKETS_MAX - has);
    pthread_mutex_unlock(&pool->caches_lock);
    return more;
}

/* caches_lock is held. */
static void wait_longer(struct pressure *pressure)
{
    const uint32_t after = load_relaxed(&pressure->grant_after), doubled = 2 * (after != 0 ? after : GRANT_AFTER);
    const bool lasted = clock_coarse_ms() - pressure->overload_ms >= LASTED_MS;
    store_relaxed(&pressure->grant_after, lasted ? GRANT_AFTER : doubled < GRANT_LATEST ? doubled : GRANT_LATEST);
    store_relaxed(&pressure->beyond, 0);
}

void pressure_end_overload(bufferpool_t *pool)
{
    roster_lock(pool);
    if (pressure_is_short(pool)) {
        struct patience patience = {0};
        const bool known = load_relaxed(&pool->stuck) != NULL; /* an owner that is inside; others have waited for it */
        wait_longer(&pool->pressure);
        (void)steal_caches(pool, STEAL_ALL, known ? NULL : &patience);
    }
    roster_unlock(pool);
}

/* ---- the gate, for its owner ---- */

/* caches_lock is held, so the calling thread may move what its cache has, whether the gate is open or not. */
static void flush_and_open(bufferpool_t *pool, struct cache *c)
{
    if (load_relaxed(&pool->pressure.state) != PRESSURE_OFF)
        cache_close(c); /* it may be open by tickets, which end now */
    (void)cache_flush_inside(pool, c);
    c->pending = PENDING_NOTHING;
    if (load_relaxed(&pool->pressure.state) == PRESSURE_OFF)
        cache_open(pool, c);
}

void pressure_flush(bufferpool_t *pool, struct cache *c)
{
    if (c->shared)
        return;
    roster_lock(pool);
    flush_and_open(pool, c);
    roster_unlock(pool);
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
