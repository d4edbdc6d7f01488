/* SPDX-License-Identifier: MIT
 *
 * stats.c - what a pool holds and what it did
 *
 * Each call counts one thing in the cache of its thread; the rest follows by conservation:
 *
 *     live        = the sum of (moved - n) over all caches, the shared one included (cache.h)
 *     puts_kept   = gets of pooled buffers - live - drops of pooled buffers
 *
 * It reads the caches of the threads that exist, and the shared cache, which has what ended threads counted (roster.h).
 * So the cost depends on how many threads exist now.
 *
 * The numbers are read one after the other, without a lock. When one thread gets a buffer and another puts it, the
 * reader may see only one of the two calls. So a sum may be off by the calls that are made while it is added up. A
 * reader that loses its processor halfway would be off by thousands of calls. Therefore it adds up again until two sums
 * in a row agree, but at most READINGS times. Where there are MANY caches, one sum is enough if it was quick. A figure
 * that would be negative is shown as 0, and no more buffers are shown as live than exist. Relaxed loads suffice where a
 * number by itself is one that was there; what moves when a thread ends is read with acquire.
 */
#include "stats.h"

#include "cache.h"
#include "clock.h"
#include "debug/report.h"
#include "depot.h"
#include "fork.h"
#include "heap/heap.h"
#include "registry.h"
#include "roster.h"
#include "shards.h"

#include <string.h>

struct totals {
    uint32_t outside; /* the sum of moved, modulo 2^32 */
    uint32_t idle;    /* the sum of n */
    uint32_t held_back;
    uint64_t extra;
    uint64_t owned;
    uint64_t counters[COUNTERS];
};

static void add_cache(struct totals *totals, const struct cache *c, bool all)
{
    const struct cache_counts counts = cache_read(c);
    totals->outside += counts.moved;
    totals->idle += counts.n;
    if (!all)
        return;
    totals->counters[GETS_THREAD] += counts.gets;
    totals->extra += load_relaxed(&c->extra);
    for (int i = 0; i < COUNTERS; i++)
        totals->counters[i] += load_acquire(&c->counters[i]); /* with the releases in fold (roster.c) */
}

/* Without this, a walk over thousands of caches would wait for the memory of each. */
static void fetch_ahead(const struct cache *c, bool all)
{
#if UINTPTR_MAX > UINT32_MAX
    const struct cache *ahead = load_relaxed(&c->ahead);
    if (ahead == NULL)
        return;
    __builtin_prefetch(&ahead->next_alike);
    __builtin_prefetch(&ahead->level);
    if (all) {
        __builtin_prefetch(&ahead->counters[0]);
        __builtin_prefetch(&ahead->counters[COUNTERS - 1]);
    }
#else
    (void)c, (void)all;
#endif
}

/* Returns false if the list changed meanwhile (roster.h). It cannot change if the calling thread has the lock. */
static bool add_all(const bufferpool_t *pool, struct totals *totals, bool all)
{
    uint32_t at;
    *totals = (struct totals){0};
    if (!roster_read(pool, &at))
        return false;
    add_cache(totals, &pool->shared, all);
    totals->held_back = load_relaxed(&pool->quarantine.count);
    /* acquires: with the releases in roster.c */
    for (struct cache *c = load_acquire(&pool->shared.next_alike); c != NULL; c = load_acquire(&c->next_alike)) {
        if (!roster_is_at(pool, at))
            return false;
        fetch_ahead(c, all);
        add_cache(totals, c, all);
        totals->owned++;
    }
    return roster_is_at(pool, at);
}

#define READINGS 8

/* Adds up what all caches have; only moved and n unless `all` is asked for. */
static struct totals add_up_once(const bufferpool_t *pool, bool all)
{
    struct totals totals;
    for (int i = 0; i < READINGS; i++)
        if (likely(add_all(pool, &totals, all)))
            return totals;
    bufferpool_t *locked = roster_lock_for_reading(pool);
    (void)add_all(pool, &totals, all);
    roster_unlock(locked);
    return totals;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* Buffers that are neither in a cache, nor held back, nor in the depot. */
static uint32_t outside_all(const struct totals *totals)
{
    return totals->outside - totals->idle - totals->held_back;
}

/* With so many caches, other calls change something while a reading is under way, so two sums do not agree. What
 * matters then is that the reader did not lose its processor: that it took no longer than EACH_NS for each cache. */
#define MANY    64u
#define EACH_NS 100u

static bool was_quick(const struct totals *totals, uint64_t from_ns)
{
    return totals->owned >= MANY && clock_ns() - from_ns <= totals->owned * EACH_NS;
}

/* With all figures, or only with those that outside_all needs. */
static struct totals add_up(const bufferpool_t *pool, bool all)
{
    const bool many = load_relaxed(&pool->owners) >= MANY;
    struct totals totals = {0};
    uint32_t before = 0;
    for (int i = 0; i < READINGS; i++) {
        const uint64_t from_ns = many ? clock_ns() : 0;
        totals = add_up_once(pool, all);
        if ((i > 0 && outside_all(&totals) == before) || (many && was_quick(&totals, from_ns)))
            break;
        before = outside_all(&totals);
    }
    return totals;
}

/* Buffers that callers hold. */
static uint32_t held_of(const bufferpool_t *pool, const struct totals *totals)
{
    uint32_t held = outside_all(totals);
    uint32_t pooled = depot_counts(&pool->depot).pooled;
    if (held > INT32_MAX)
        return 0;
    return held < pooled ? held : pooled;
}

/* Those of them that do not go beyond the cap. */
static uint32_t live_of(const bufferpool_t *pool, uint32_t held)
{
    const size_t n = depot_cap_of(&pool->max_live);
    return held < n ? held : (uint32_t)n;
}

size_t bufferpool_live(const bufferpool_t *pool)
{
    pool = pool_of_call(pool, "bufferpool_live");
    fork_leave(fork_enter(pool));
    struct totals totals = add_up(pool, false);
    return live_of(pool, held_of(pool, &totals));
}

size_t stats_idle_bytes(const bufferpool_t *pool, uint32_t *caches)
{
    const struct totals totals = add_up_once(pool, true);
    const size_t idle = shards_idle(&pool->depot, &pool->heap.table) + totals.idle;
    *caches = (uint32_t)totals.owned;
    return idle * pool->heap.base + (size_t)totals.extra + load_relaxed(&pool->depot.extra);
}

/* What of the held bytes is beyond the cap: all buffers count with their average. */
static uint64_t share_of(uint64_t bytes, uint64_t some, uint64_t all)
{
    if (all == 0)
        return 0;
    return bytes / all * some + bytes % all * some / all; /* in this order, since bytes * some may exceed 64 bits */
}

static void fill_memory_and_waits(const bufferpool_t *pool, bufferpool_stats_t *stats)
{
    stats->pooled = depot_counts(&pool->depot).pooled;
    stats->pooled_bytes = stats->pooled * pool->heap.base + load_relaxed(&pool->grown_extra);
    stats->retained_bytes = heap_retained_bytes(&pool->heap);
    stats->mapped_bytes = heap_mapped_bytes(&pool->heap);
    stats->bypass_bytes = share_of(stats->live_bytes, stats->bypass_live, stats->live + stats->bypass_live);
    stats->waiting = load_relaxed(&pool->waiters.waiting);
    stats->waits = load_relaxed(&pool->waiters.waits);
    stats->waited_ns = load_relaxed(&pool->waiters.waited_ns);
}

static void fill(const bufferpool_t *pool, bufferpool_stats_t *stats)
{
    struct totals totals = add_up(pool, true);
    const uint64_t *n = totals.counters;
    uint64_t depot_extra = load_relaxed(&pool->depot.extra);
    uint64_t idle_extra = totals.extra + depot_extra +
                          less(load_relaxed(&pool->quarantine.bytes), totals.held_back * (uint64_t)pool->heap.base);

    const uint32_t held = held_of(pool, &totals);
    stats->live = live_of(pool, held);
    stats->bypass_live = held - stats->live;
    stats->idle_thread = totals.idle;
    stats->idle_depot = shards_idle(&pool->depot, &pool->heap.table) + totals.held_back;
    stats->idle_bytes = (stats->idle_thread + stats->idle_depot) * pool->heap.base + idle_extra;
    stats->live_bytes = held * (uint64_t)pool->heap.base + less(load_relaxed(&pool->grown_extra), idle_extra);
    stats->peak_in_flight = load_relaxed(&pool->depot.peak);
    stats->max_live = load_relaxed(&pool->max_live);
    stats->thread_caches = totals.owned;

    uint64_t gets = n[GETS_THREAD] + n[GETS_DEPOT] + n[GETS_FRESH] + n[GETS_BYPASS];
    uint64_t drops = n[DROPS_OVERSIZE] + n[DROPS_OVER_CAP] + n[DROPS_IDLE_LIMIT];
    stats->gets_thread = n[GETS_THREAD];
    stats->gets_depot = n[GETS_DEPOT];
    stats->gets_fresh = n[GETS_FRESH];
    stats->gets_bypass = n[GETS_BYPASS];
    stats->gets_refused = n[GETS_REFUSED];
    stats->puts_kept = less(gets, held + drops);
    stats->drops_oversize = n[DROPS_OVERSIZE];
    stats->drops_bypass = 0; /* what is freed because it is beyond the cap counts in drops_over_cap */
    stats->drops_over_cap = n[DROPS_OVER_CAP];
    stats->drops_idle_limit = n[DROPS_IDLE_LIMIT];
    stats->grows = n[GROWS];
    stats->reclaimed_bytes = n[RECLAIMED_BYTES];
    stats->shrinks = n[SHRINKS];
    stats->stolen = n[STOLEN];
    stats->memory_pressure_watched = load_relaxed(&pool->background.watched);
    stats->memory_pressure_trims = load_relaxed(&pool->background.trims_so_far);
}

void bufferpool_stats(const bufferpool_t *pool, bufferpool_stats_t *stats)
{
    size_t size = stats->size;
    bufferpool_stats_t full = BUFFERPOOL_STATS_INIT;
    pool = pool_of_call(pool, "bufferpool_stats");
    fork_leave(fork_enter(pool));
    fill(pool, &full);
    fill_memory_and_waits(pool, &full);
    full.size = size;
    if (size <= sizeof(full)) {
        if (size >= sizeof(size))
            memcpy(stats, &full, size);
    } else {
        memcpy(stats, &full, sizeof(full));
        memset((unsigned char *)stats + sizeof(full), 0, size - sizeof(full));
    }
}

#define STRING(x)                    #x
#define VERSION(major, minor, patch) STRING(major) "." STRING(minor) "." STRING(patch)

const char *bufferpool_version(void)
{
    return VERSION(BUFFERPOOL_VERSION_MAJOR, BUFFERPOOL_VERSION_MINOR, BUFFERPOOL_VERSION_PATCH)
        BUFFERPOOL_VERSION_SUFFIX;
}
