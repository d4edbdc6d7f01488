/* SPDX-License-Identifier: MIT
 *
 * reclaim.c - idle memory goes back: trim, a lowered cap, and by itself what was not needed
 *
 * The need of a period is told by two marks. What lay in the depot at its lowest point was not needed. A thread cache
 * in which nothing came or went was not needed either: it is taken over. Their sum is `due`, and is freed in the next
 * period.
 *
 *     512 once, then 64 at a time       due after the first period that saw only the 64: 448
 *     512 once, then nothing            due after the first period without a call: 512
 *
 * Magazines are popped one at a time, so the depot does not look empty to the others while it holds more, and every
 * step is bounded: by what the depot held at the beginning, or by STEP and a magazine more. Of a magazine in transit
 * nothing goes back that is beyond the cap, and who put a part back looks once more: a call that lowered the cap in
 * between found the depot without it. Blocks are freed without any lock but the heap's.
 * One thread at a time reclaims; whoever finds another at it goes on without.
 *
 * What is relaxed: `due`, period_end_ms, idle_tight and the depot's `low` are marks of how much and when, mostly moved
 * by the one that reclaims; an old value frees a little too much, or a little late. max_live is read for its number
 * alone.
 */
#include "reclaim.h"

#include "clock.h"
#include "debug/modes.h"
#include "pool.h"
#include "pressure.h"
#include "probes.h"
#include "registry.h"
#include "steal.h"
#include "tls_cache.h"

#include <errno.h>

#define STEP 32u

/* What frees so far. */
struct freed {
    uint32_t count;
    size_t bytes;  /* the sum of their caps */
    bool restored; /* the last magazine went back in part: whoever lowered the cap meanwhile may have missed it */
};

/* Takes a magazine out of the depot and frees at most `most` of its buffers, and those that are beyond the cap. False:
 * the depot is empty. */
static bool free_magazine(bufferpool_t *pool, uint32_t most, struct freed *so_far, bool defer, const char *caller)
{
    const struct magazine magazine = depot_pop(&pool->depot, &pool->heap.table);
    if (magazine.head == NULL)
        return false;
    struct desc *bufs[MAGAZINE_MAX];
    magazine_open(&magazine, &pool->heap.table, bufs);
    uint32_t freed = 0;
    size_t size = 0;
    for (; freed < magazine.n && (freed < most || depot_over_cap(&pool->depot, &pool->max_live)); freed++) {
        size += bufs[freed]->pub.cap;
        pool_free_buffer(pool, bufs[freed], defer, caller);
        depot_discard(&pool->depot, 1);
    }
    cache_left_depot(pool, freed, size);
    if (freed < magazine.n)
        depot_restore(&pool->depot, bufs + freed, magazine.n - freed, magazine.grown);
    wait_check(pool);
    PROBE3(pool, reclaim, size, freed, caller);
    so_far->restored = freed < magazine.n;
    so_far->count += freed;
    so_far->bytes += size;
    return true;
}

/* At most so many, and what is beyond the cap of magazines that went back. */
static size_t free_buffers(bufferpool_t *pool, uint32_t most, bool defer, const char *caller)
{
    struct freed freed = {0, 0, false};
    while ((freed.count < most || (freed.restored && depot_over_cap(&pool->depot, &pool->max_live))) &&
           free_magazine(pool, freed.count < most ? most - freed.count : 0, &freed, defer, caller))
        ;
    return freed.bytes;
}

/* Of what is beyond the cap at most so many, and the rest of the last one's magazine. */
static void free_surplus(bufferpool_t *pool, struct cache *c, uint32_t most, bool defer, const char *caller)
{
    struct freed freed = {0, 0, false};
    if (modes_have(MODE_QUARANTINE) && depot_over_cap(&pool->depot, &pool->max_live))
        freed.bytes = quarantine_release(pool, caller);
    while ((freed.count < most || freed.restored) && depot_over_cap(&pool->depot, &pool->max_live) &&
           free_magazine(pool, 0, &freed, defer, caller))
        ;
    if (freed.bytes > 0)
        cache_count(c, RECLAIMED_BYTES, freed.bytes);
}

void reclaim_surplus(bufferpool_t *pool, struct cache *c, const char *caller)
{
    free_surplus(pool, c, STEP, false, caller);
}

/* ---- by working set ---- */

/* Ends a period: what it showed not to be needed is due. */
static void end_period(bufferpool_t *pool)
{
    uint32_t low = load_relaxed(&pool->depot.low);
    pthread_mutex_lock(&pool->caches_lock);
    struct stolen taken = steal_caches(pool, STEAL_UNUSED, false);
    pthread_mutex_unlock(&pool->caches_lock);
    store_relaxed(&pool->reclaim.due, low + taken.buffers);
    store_relaxed(&pool->idle_tight, false);
    store_relaxed(&pool->depot.low, depot_idle(depot_counts(&pool->depot)));
    wait_check(pool);
}

/* Frees at most `most` of what is due. */
static size_t free_due(bufferpool_t *pool, uint32_t most, bool defer, const char *caller)
{
    uint32_t due = load_relaxed(&pool->reclaim.due);
    if (due == 0)
        return 0;
    if (most > due)
        most = due;
    size_t bytes = free_buffers(pool, most, defer, caller);
    /* the depot held less than that: then it was needed after all */
    store_relaxed(&pool->reclaim.due, bytes > 0 ? due - most : 0);
    return bytes;
}

static bool begin_reclaiming(bufferpool_t *pool)
{
    return !atomic_flag_test_and_set_explicit(&pool->reclaim.busy, memory_order_acquire); /* with end_reclaiming */
}

static void end_reclaiming(bufferpool_t *pool, struct cache *c, size_t bytes)
{
    if (bytes > 0)
        cache_count(c, RECLAIMED_BYTES, bytes);
    atomic_flag_clear_explicit(&pool->reclaim.busy, memory_order_release); /* with begin_reclaiming */
}

/* Whether a period is over; the next then begins. */
static bool period_is_over(bufferpool_t *pool)
{
    uint64_t now = clock_coarse_ms();
    uint64_t end = load_relaxed(&pool->reclaim.period_end_ms);
    if (now < end)
        return false;
    store_relaxed(&pool->reclaim.period_end_ms, now + pool->reclaim_interval_ms);
    if (end == 0) /* the first begins */
        store_relaxed(&pool->depot.low, depot_idle(depot_counts(&pool->depot)));
    return end != 0;
}

static bool is_time(const bufferpool_t *pool)
{
    return pool->reclaim_interval_ms != BUFFERPOOL_NEVER &&
           (load_relaxed(&pool->reclaim.due) > 0 || clock_coarse_ms() >= load_relaxed(&pool->reclaim.period_end_ms));
}

void reclaim_on_time(bufferpool_t *pool, struct cache *c, const char *caller)
{
    if (likely(!is_time(pool)) || !begin_reclaiming(pool))
        return;
    int saved_errno = errno;
    if (period_is_over(pool))
        end_period(pool);
    end_reclaiming(pool, c, free_due(pool, STEP, false, caller));
    errno = saved_errno;
}

void reclaim_tick(bufferpool_t *pool, struct cache *c, const char *caller)
{
    if (depot_over_cap(&pool->depot, &pool->max_live))
        reclaim_surplus(pool, c, caller);
    reclaim_on_time(pool, c, caller);
}

uint64_t reclaim_in_background(bufferpool_t *pool)
{
    static const char caller[] = "background";
    if (begin_reclaiming(pool)) {
        size_t bytes = free_due(pool, UINT32_MAX, true, caller); /* what the ticks of the last period left */
        bool over = period_is_over(pool);
        if (over) {
            end_period(pool);
            bytes += free_due(pool, UINT32_MAX, true, caller);
        }
        end_reclaiming(pool, &pool->shared, bytes);
        if (over || bytes > 0)
            heap_purge(&pool->heap);
    }
    return load_relaxed(&pool->reclaim.period_end_ms);
}

/* ---- when called ---- */

size_t bufferpool_reclaim(bufferpool_t *pool)
{
    int saved_errno = errno;
    pool = pool_or_default(pool);
    size_t bytes = 0;
    if (begin_reclaiming(pool)) {
        bytes = free_due(pool, UINT32_MAX, true, "bufferpool_reclaim");
        end_period(pool);
        bytes += free_due(pool, UINT32_MAX, true, "bufferpool_reclaim");
        end_reclaiming(pool, tls_cache_own_or_shared(pool), bytes);
        heap_purge(&pool->heap);
    }
    errno = saved_errno;
    return bytes;
}

size_t bufferpool_trim(bufferpool_t *pool)
{
    int saved_errno = errno;
    pool = pool_or_default(pool);
    size_t bytes = modes_have(MODE_QUARANTINE) ? quarantine_release(pool, "bufferpool_trim") : 0;
    pthread_mutex_lock(&pool->caches_lock);
    (void)steal_caches(pool, STEAL_ALL, true);
    pthread_mutex_unlock(&pool->caches_lock);
    bytes += free_buffers(pool, depot_idle(depot_counts(&pool->depot)), true, "bufferpool_trim");
    store_relaxed(&pool->reclaim.due, 0); /* that is among it */
    heap_purge(&pool->heap);
    cache_count(tls_cache_own_or_shared(pool), RECLAIMED_BYTES, bytes);
    wait_check(pool);
    errno = saved_errno;
    return bytes;
}

/* The registry's lock keeps the pools from being destroyed meanwhile: who flushes knows nothing of who uses them. */
void bufferpool_thread_flush(void)
{
    int saved_errno = errno;
    registry_lock();
    for (bufferpool_t *pool = registry_from(0); pool != NULL; pool = registry_from(pool->index + 1)) {
        struct cache *c = tls_cache_find(pool->index);
        if (c->pool != NULL)
            pressure_flush(pool, c);
    }
    registry_unlock();
    errno = saved_errno;
}

void bufferpool_set_max_live(bufferpool_t *pool, size_t n)
{
    int saved_errno = errno;
    pool = pool_or_default(pool);
    store_seq_cst(&pool->max_live, depot_cap(n)); /* with depot_reserve: depot.c (6) */
    if (depot_over_cap(&pool->depot, &pool->max_live)) {
        pressure_enter(pool); /* what idles in thread caches comes to the depot, and puts drop what is too much */
        free_surplus(pool, tls_cache_own_or_shared(pool), UINT32_MAX, true, "bufferpool_set_max_live");
        heap_purge(&pool->heap);
    }
    pressure_relax(pool);
    wait_check(pool);
    /* again: whoever served those who wait had a magazine in transit, but has put it back by now */
    free_surplus(pool, tls_cache_own_or_shared(pool), UINT32_MAX, false, "bufferpool_set_max_live");
    errno = saved_errno;
}

size_t bufferpool_max_live(const bufferpool_t *pool)
{
    return load_relaxed(&pool_or_default(pool)->max_live);
}
