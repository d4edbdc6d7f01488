/* SPDX-License-Identifier: MIT
 *
 * create.c - a pool begins and ends; the default pool, which does neither
 */
#include "background.h"
#include "config.h"
#include "debug/watch.h"
#include "pool.h"
#include "registry.h"
#include "steal.h"
#include "tls_cache.h"

#include <errno.h>
#include <stdlib.h>

struct bufferpool pool_default = {
    .index = REGISTRY_DEFAULT_INDEX,
    .tag = REGISTRY_DEFAULT_TAG,
    .name = (char[]){"default"},
    .max_capacity = CONFIG_MAX_CAPACITY,
    .cache_bytes = CONFIG_THREAD_CACHE_BYTES,
    .cache_entries = CONFIG_THREAD_CACHE_BYTES / CONFIG_BUFFER_CAPACITY,
    .reclaim_interval_ms = CONFIG_RECLAIM_INTERVAL_MS,
    .caches_lock = PTHREAD_MUTEX_INITIALIZER,
    .waiters = {.lock = PTHREAD_MUTEX_INITIALIZER},
    .quarantine = {.lock = PTHREAD_MUTEX_INITIALIZER},
    .reclaim = {.busy = ATOMIC_FLAG_INIT},
    .heap = {.base = CONFIG_BUFFER_CAPACITY,
             .alignment = CONFIG_ALIGNMENT,
             .slabs = {.lock = PTHREAD_MUTEX_INITIALIZER}},
    .shared = {.shared = true},
};

static void pool_configure(bufferpool_t *pool, const bufferpool_config_t *config)
{
    size_t base = config->buffer_capacity;
    size_t cache_bytes = config->thread_cache_bytes > base ? config->thread_cache_bytes : base;
    size_t slots = cache_bytes / base;
    pool->max_capacity = config->max_capacity;
    pool->max_idle_bytes = config->max_idle_bytes;
    pool->cache_bytes = cache_bytes;
    pool->cache_entries = slots < CACHE_ENTRIES_MAX ? (uint32_t)slots : CACHE_ENTRIES_MAX;
    pool->reclaim_interval_ms = config->reclaim_interval_ms;
    pool->background.wanted =
        (config->flags & BUFFERPOOL_BACKGROUND) != 0 && config->reclaim_interval_ms != BUFFERPOOL_NEVER;
    pool->shared.shared = true;
    pthread_mutex_init(&pool->caches_lock, NULL);
    pthread_mutex_init(&pool->waiters.lock, NULL);
    pthread_mutex_init(&pool->quarantine.lock, NULL);
    atomic_flag_clear(&pool->reclaim.busy); /* no order is needed, here and below: nobody else has the pool yet */

    struct heap *heap = &pool->heap;
    heap->base = base;
    heap->alignment = config->alignment > HEAP_ALIGNMENT_MIN ? config->alignment : HEAP_ALIGNMENT_MIN;
    heap->wipe = (config->flags & BUFFERPOOL_ZERO) != 0;
    heap->alloc = config->alloc;
    heap->free = config->free;
    heap->ctx = config->ctx;
    if (MODES_BUILT)
        watch_configure(heap);
    heap->slabs.huge = (config->flags & BUFFERPOOL_HUGEPAGES) != 0;
    pthread_mutex_init(&heap->slabs.lock, NULL);
    store_relaxed(&pool->max_live, depot_cap(config->max_live));
}

bufferpool_t *bufferpool_create(const bufferpool_config_t *config)
{
    int saved_errno = errno;
    steal_init();
    bufferpool_config_t resolved;
    int error = config_resolve(config, &resolved);
    bufferpool_t *pool = error == 0 ? aligned_alloc(CACHE_LINE, sizeof(*pool)) : NULL;
    if (pool == NULL) {
        errno = error != 0 ? error : ENOMEM;
        return NULL;
    }
    *pool = (bufferpool_t){0};

    registry_lock();
    if (MODES_BUILT)
        watch_init();
    pool_configure(pool, &resolved);
    bool added = registry_add(pool, resolved.name);
    if (added)
        pool->heap.table.colour = pool->heap.slabs.colour = (uint32_t)pool->index;
    registry_unlock();
    if (MODES_BUILT)
        modes_tell();
    if (!added) {
        free(pool);
        errno = ENOMEM;
        return NULL;
    }
    errno = saved_errno;
    return pool;
}

static bool is_busy(const bufferpool_t *pool)
{
    bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
    registry_lock(); /* a thread that exits is moving its cache under it */
    bufferpool_stats(pool, &stats);
    registry_unlock();
    return stats.live > 0 || stats.bypass_live > 0;
}

int bufferpool_destroy(bufferpool_t *pool)
{
    if (pool == NULL || pool == &pool_default)
        return EINVAL;
    int saved_errno = errno;
    if (is_busy(pool))
        return EBUSY;
    background_end(pool);
    if (MODES_BUILT)
        watch_destroy(pool);
    registry_lock();
    tls_cache_forget(pool);
    registry_remove(pool);
    registry_unlock();

    heap_destroy(&pool->heap);
    tls_cache_free_all(pool);
    pthread_mutex_destroy(&pool->caches_lock);
    pthread_mutex_destroy(&pool->waiters.lock);
    pthread_mutex_destroy(&pool->quarantine.lock);
    free(pool->quarantine.ring);
    records_destroy(&pool->records);
    free(pool->name);
    free(pool);
    errno = saved_errno;
    return 0;
}
