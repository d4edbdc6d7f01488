/* SPDX-License-Identifier: MIT
 *
 * fork.c - the child of fork can use every pool
 *
 * fork copies the memory as it is at that moment, and of all threads only the calling one. The locks are taken
 * before, in their order, so what they guard is in order. The rest, lock-free lists and the caches of other threads,
 * may have been in any state. So the child does not trust them: it goes by the words of the descriptors.
 *
 *     IDLE     in the cache of the calling thread it stays there; otherwise it goes into the depot, wherever it was
 *     LIVE     stays live, whichever thread of the parent held it: the child must put it
 *     BYPASS   the same
 *     FREE     free
 *
 * What is lost is at most the large block or the hook's block of a buffer that another thread was making or freeing,
 * and mappings that it was about to unmap.
 *
 * Atomics are relaxed, or of the default order where there is no other: the child has one thread.
 */
#include "fork.h"

#include "background.h"
#include "cache.h"
#include "debug/quarantine.h"
#include "debug/sanitizer.h"
#include "depot.h"
#include "heap/heap.h"
#include "registry.h"
#include "steal.h"
#include "tls_cache.h"

#define MARK UINT32_MAX

/* What the words of the descriptors say. */
struct census {
    uint32_t live, bypass, idle, cached;
    size_t live_extra, cached_extra;
};

/* Idle buffers that are in no cache, on their way to the depot. */
struct collection {
    struct desc *bufs[MAGAZINE_MAX];
    uint32_t n;
    size_t bytes, extra;
};

static void collection_push(bufferpool_t *pool, struct collection *all)
{
    if (all->n > 0)
        depot_push(&pool->depot, all->bufs, all->n, all->extra != 0);
    all->n = 0;
}

static void collection_add(bufferpool_t *pool, struct collection *all, struct desc *d)
{
    all->bufs[all->n++] = d;
    all->bytes += d->pub.cap;
    all->extra += d->pub.cap - pool->heap.base;
    if (all->n == MAGAZINE_MAX || all->n >= (pool->cache_entries + 1) / 2)
        collection_push(pool, all);
}

static struct census take_census(bufferpool_t *pool)
{
    struct census census = {0};
    const struct desc *d;
    for_each_desc (&pool->heap.table, i, d, load_relaxed(&pool->heap.table.used)) {
        switch (desc_state(load_relaxed(&d->word))) {
        case STATE_LIVE:
        case STATE_LIVE_GROWN:
            census.live++;
            census.live_extra += d->pub.cap - pool->heap.base;
            break;
        case STATE_IDLE:
        case STATE_IDLE_GROWN:
            census.idle++;
            if (load_relaxed(&d->below) == MARK) {
                census.cached++;
                census.cached_extra += d->pub.cap - pool->heap.base;
            }
            break;
        case STATE_BYPASS:
            census.bypass++;
            break;
        case STATE_FREE:
            break;
        }
    }
    return census;
}

/* Marks the calling thread's idle buffers for the walks. */
static void mark_cached(struct cache *own, uint32_t mark)
{
    for (uint32_t i = 0; own != NULL && i < cache_idle(own); i++)
        store_relaxed(&cache_entries(own)[i]->below, mark);
}

/* Fills the depot. Its in_flight counts every pooled buffer at first. */
static struct collection refill_depot(bufferpool_t *pool)
{
    struct collection all = {0};
    struct desc *d;
    for_each_desc (&pool->heap.table, i, d, load_relaxed(&pool->heap.table.used)) {
        enum desc_state state = desc_state(load_relaxed(&d->word));
        if ((state == STATE_IDLE || state == STATE_IDLE_GROWN) && load_relaxed(&d->below) != MARK)
            collection_add(pool, &all, d);
    }
    collection_push(pool, &all);
    return all;
}

/* Makes bypass_live, which is gets less drops, what the census found. */
static void settle_bypass(bufferpool_t *pool, uint32_t bypass)
{
    uint64_t counted =
        load_relaxed(&pool->shared.counters[GETS_BYPASS]) - load_relaxed(&pool->shared.counters[DROPS_BYPASS]);
    for (const struct cache *c = load_relaxed(&pool->caches); c != NULL; c = c->next)
        counted += load_relaxed(&c->counters[GETS_BYPASS]) - load_relaxed(&c->counters[DROPS_BYPASS]);
    cache_count(&pool->shared, GETS_BYPASS, bypass - counted);
}

/* Adds the gets that are missing for buffers that are live or were dropped: a thread of the parent may not have counted
 * its get yet. */
static void settle_gets(bufferpool_t *pool)
{
    bufferpool_stats_t s = BUFFERPOOL_STATS_INIT;
    bufferpool_stats(pool, &s);
    const uint64_t gets = s.gets_thread + s.gets_depot + s.gets_fresh;
    const uint64_t least = s.live + s.drops_oversize + s.drops_over_cap + s.drops_idle_limit;
    if (gets < least)
        cache_count(&pool->shared, GETS_FRESH, least - gets);
}

static void pool_repair(bufferpool_t *pool)
{
    heap_repair(&pool->heap);
    struct cache *own = tls_cache_adopt(pool);
    mark_cached(own, MARK);
    struct census census = take_census(pool);
    uint32_t pooled = census.live + census.idle;
    depot_reset(&pool->depot, pooled, pooled);
    struct collection depot = refill_depot(pool);
    mark_cached(own, 0);

    store_relaxed(&pool->depot.extra, depot.extra);
    store_relaxed(&pool->grown_extra, depot.extra + census.cached_extra + census.live_extra);
    if (pool->max_idle_bytes != 0)
        store_relaxed(&pool->idle_reserved, depot.bytes + (own != NULL ? own->budget : 0));
    /* the calling thread's cache counts what it holds, the shared one what is live */
    if (own != NULL)
        cache_reset(own, census.cached, census.cached);
    cache_reset(&pool->shared, census.live, 0);
    settle_bypass(pool, census.bypass);
    atomic_flag_clear(&pool->reclaim.busy);
    pool->waiters.first = pool->waiters.last = NULL;
    quarantine_reset(&pool->quarantine);
    settle_gets(pool);
    /* the next slow path opens the gate; closed, so that the first call is one, which begins what the child lacks
     * (background.h) */
    store_relaxed(&pool->pressure.state, PRESSURE_OFF);
    if (own != NULL)
        cache_close(own);
}

/* ---- the handlers ---- */

static void before_fork(void)
{
    background_before_fork();
    registry_lock();
    if (sanitizer_on())
        sanitizer_lock();
    for_each_pool (pool) {
        pthread_mutex_lock(&pool->caches_lock);
        pthread_mutex_lock(&pool->waiters.lock);
        pthread_mutex_lock(&pool->quarantine.lock);
        pthread_mutex_lock(&pool->heap.slabs.lock);
    }
}

static void unlock_all(void)
{
    for_each_pool (pool) {
        pthread_mutex_unlock(&pool->heap.slabs.lock);
        pthread_mutex_unlock(&pool->quarantine.lock);
        pthread_mutex_unlock(&pool->waiters.lock);
        pthread_mutex_unlock(&pool->caches_lock);
    }
    if (sanitizer_on())
        sanitizer_unlock();
    registry_unlock();
}

static void after_fork_in_parent(void)
{
    unlock_all();
    background_after_fork();
}

static void after_fork_in_child(void)
{
    tls_cache_forget_others();
    registry_after_fork_in_child();
    background_after_fork_in_child();
    steal_after_fork_in_child();
    for_each_pool (pool)
        pool_repair(pool);
    unlock_all();
}

bool fork_handlers_install(void)
{
    static bool installed; /* under the registry's lock */
    if (!installed)
        installed = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0;
    return installed;
}
