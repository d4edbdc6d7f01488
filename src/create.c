/* SPDX-License-Identifier: MIT
 *
 * create.c - a pool begins and ends
 */
#include "create.h"
#include "background.h"
#include "budget.h"
#include "call.h"
#include "config.h"
#include "debug/modes.h"
#include "debug/records.h"
#include "debug/watch.h"
#include "fork.h"
#include "heap/heap.h"
#include "init.h"
#include "life.h"
#include "names.h"
#include "pressure.h"
#include "registry.h"
#include "shards.h"
#include "stats.h"
#include "steal.h"
#include "tls_cache.h"

#include <stdlib.h>

/* ---- the beginning ---- */

/* Locks are no part of this: the default pool's are there from the start. */
static void configure(bufferpool_t *pool, const bufferpool_config_t *config)
{
    size_t base = config->buffer_capacity;
    size_t cache_bytes = config->thread_cache_bytes > base ? config->thread_cache_bytes : base;
    size_t plain = cache_bytes / base; /* compared before it is multiplied, since it may be SIZE_MAX */
    pool->max_capacity = config->max_capacity;
    pool->max_idle_bytes = config->max_idle_bytes;
    pool->cache_bytes = cache_bytes;
    pool->cache_entries =
        plain < CACHE_ENTRIES_MAX / ALLOWANCE_MOST ? (uint32_t)plain * ALLOWANCE_MOST : CACHE_ENTRIES_MAX;
    pool->reclaim_interval_ms = config->reclaim_interval_ms;
    pool->background.by_time =
        (config->flags & BUFFERPOOL_BACKGROUND) != 0 && config->reclaim_interval_ms != BUFFERPOOL_NEVER;
    pool->no_membarrier = (config->flags & BUFFERPOOL_NO_MEMBARRIER) != 0;
    pool->background.trims = (config->flags & BUFFERPOOL_PRESSURE) != 0;
    pool->background.wanted = pool->background.by_time || pool->background.trims;

    struct heap *heap = &pool->heap;
    heap->base = base;
    heap->alignment = config->alignment > HEAP_ALIGNMENT_MIN ? config->alignment : HEAP_ALIGNMENT_MIN;
    heap->wipe = (config->flags & BUFFERPOOL_ZERO) != 0;
    heap->alloc = config->alloc;
    heap->free = config->free;
    heap->ctx = config->ctx;
    if (MODES_BUILT)
        watch_configure(heap);
    heap->slabs.budget = config->budget;
    heap->make_room = budget_room_for_heap;
    heap->slabs.huge = (config->flags & BUFFERPOOL_HUGEPAGES) != 0;
    heap->wake = background_wake;
    heap_retain(heap, pool->background.by_time && heap->alloc == NULL ? config->retain_ms : 0);
    store_relaxed(&pool->max_live, depot_cap(config->max_live));
}

static void pool_begin(bufferpool_t *pool, const bufferpool_config_t *config)
{
    pool->shared.shared = true;
    store_relaxed(&pool->keepers, 1);
    pthread_mutex_init(&pool->caches_lock, NULL);
    pthread_mutex_init(&pool->waiters.lock, NULL);
    pthread_mutex_init(&pool->quarantine.lock, NULL);
    pthread_mutex_init(&pool->heap.slabs.lock, NULL);
    atomic_flag_clear(&pool->reclaim.busy); /* no order is needed, here and below: no other thread has the pool yet */
    configure(pool, config);
    store_relaxed(&pool->epoch, fork_epoch);
}

/* The end of a pool that no thread works on, but for its struct. */
static void dispose(bufferpool_t *pool)
{
    registry_lock();
    tls_cache_forget(pool);
    registry_remove(pool);
    registry_unlock();

    heap_destroy(&pool->heap);
    budget_end(pool->heap.slabs.budget);
    tls_cache_free_all(pool);
    shards_free(&pool->depot);
    pthread_mutex_destroy(&pool->caches_lock);
    pthread_mutex_destroy(&pool->quarantine.lock);
    free(pool->quarantine.ring);
    records_destroy(&pool->records);
}

/* Gives the pool its name, its configuration and its place in the registry. Returns false if there is no memory. */
static bool enter(bufferpool_t *pool, const bufferpool_config_t *own, bufferpool_config_t *resolved)
{
    struct config_remark remark = {0};
    registry_lock();
    bool added = names_take(pool, own->name);
    if (added) {
        config_resolve(own, pool, resolved, &remark);
        pool_begin(pool, resolved);
        added = registry_add(pool);
    }
    if (added) {
        budget_join(pool);
        pool->heap.table.colour = pool->heap.slabs.colour = (uint32_t)pool->index;
    }
    registry_unlock();
    config_tell(&remark);
    return added;
}

/* Returns NULL with *error set. */
static bufferpool_t *create(const bufferpool_config_t *config, int *error)
{
    bufferpool_config_t own, resolved;
    *error = config_take(config, &own);
    if (*error != 0)
        return NULL;
    *error = ENOMEM;
    bufferpool_t *pool = aligned_alloc(CACHE_LINE, sizeof(*pool));
    if (pool == NULL)
        return NULL;
    *pool = (bufferpool_t){0};
    pool->no_membarrier = (own.flags & BUFFERPOOL_NO_MEMBARRIER) != 0;
    (void)init_first_use(pool); /* if it failed, the first get fails */
    steal_init(pool);           /* again: the first use may have been that of a pool that does without */
    if (!enter(pool, &own, &resolved)) {
        free(pool);
        return NULL;
    }
    if (account_is_wanted(pool->heap.slabs.budget)) /* somebody waits already: see budget_wait */
        pressure_enter(pool);
    *error = (resolved.flags & BUFFERPOOL_START_NOW) != 0 ? background_start(pool) : 0;
    if (*error == 0)
        return pool;
    budget_leave(pool);
    dispose(pool);
    registry_free(pool); /* no caller has seen it, so it need not be kept for reports */
    return NULL;
}

bufferpool_t *bufferpool_create(const bufferpool_config_t *config)
{
    struct call call = call_begin("bufferpool_create", CALLER);
    const bool stepped_out = fork_enter(NULL);
    int error;
    bufferpool_t *pool = create(config, &error);
    fork_leave(stepped_out);
    call_end(&call, NULL);
    if (pool == NULL)
        errno = error;
    return pool;
}

/* ---- the default pool ---- */

/* The program's configuration of it; under the registry's lock. */
static bufferpool_config_t default_own = {.retain_ms = DEFAULT_RETAIN_MS};
static bool default_is_configured, default_begins; /* begins: the thread of BUFFERPOOL_START_NOW is being started */

/* The registry's lock is held. */
static void configure_anew(const bufferpool_config_t *config)
{
    budget_withdraw(&pool_default);
    configure(&pool_default, config);
    budget_join(&pool_default);
}

/* What the environment says of the pool holds from its first use on. So it also outranks a cap that was set before. */
static void begin_default_use(void)
{
    bufferpool_config_t resolved;
    struct config_remark remark = {0};
    registry_lock();
    if (default_begins) { /* the words were applied just now, to what is not in default_own yet */
        init_use_default();
    } else if (!init_default_used()) {
        default_own.max_live = load_relaxed(&pool_default.max_live);
        if (config_resolve(&default_own, &pool_default, &resolved, &remark))
            configure_anew(&resolved);
        if (default_is_configured)
            remark.length = 0; /* it was said then */
        init_use_default();
    }
    registry_unlock();
    config_tell(&remark);
}

bool create_first_use(bufferpool_t *pool)
{
    if (pool == &pool_default && unlikely(!init_default_used()))
        begin_default_use();
    return init_first_use(pool);
}

/* Configures the default pool, but for its name, which `named` gets. The registry's lock is held, which the first use
 * of the pool takes too. */
static int begin_default(const bufferpool_config_t *own, bufferpool_t *named, struct config_remark *remark)
{
    if (init_default_used())
        return EBUSY;
    if (!registry_take_default_name(named, own->name))
        return ENOMEM;
    bufferpool_config_t resolved;
    (void)config_resolve(own, named, &resolved, remark);
    configure_anew(&resolved);
    default_begins = (own->flags & BUFFERPOOL_START_NOW) != 0;
    return 0;
}

/* If the thread of BUFFERPOOL_START_NOW could not be started, the pool is as before, unless a get of another thread was
 * quicker. The registry's lock is held. */
static void end_default(const bufferpool_config_t *own, const bufferpool_t *named, int error)
{
    default_begins = false;
    if (error != 0) {
        bufferpool_config_t before;
        struct config_remark unsaid;
        registry_drop_default_name(named);
        (void)config_resolve(&default_own, &pool_default, &before, &unsaid);
        if (!init_default_used())
            configure_anew(&before);
        return;
    }
    registry_set_default_name(named);
    default_own = *own;
    default_own.name = NULL; /* the caller's; the pool has a copy */
    default_is_configured = true;
    if ((own->flags & BUFFERPOOL_START_NOW) != 0) /* its thread uses it */
        init_use_default();
}

/* `named` is for the name alone. */
static int configure_default(const bufferpool_config_t *own, bufferpool_t *named)
{
    struct config_remark remark = {0};
    registry_lock();
    int error = begin_default(own, named, &remark);
    registry_unlock();
    config_tell(&remark);
    if (error != 0)
        return error;
    if ((own->flags & BUFFERPOOL_START_NOW) != 0)
        error = background_start(&pool_default);
    registry_lock();
    end_default(own, named, error);
    registry_unlock();
    return error;
}

int bufferpool_configure_default(const bufferpool_config_t *config)
{
    struct call call = call_begin("bufferpool_configure_default", CALLER);
    const bool stepped_out = fork_enter(&pool_default);
    bufferpool_config_t own;
    int error = config_take(config, &own);
    bufferpool_t *named = error == 0 ? aligned_alloc(CACHE_LINE, sizeof(*named)) : NULL;
    if (error == 0)
        error = named != NULL ? configure_default(&own, named) : ENOMEM;
    free(named);
    fork_leave(stepped_out);
    call_end(&call, NULL);
    return error;
}

/* ---- the end ---- */

static bool is_busy(const bufferpool_t *pool)
{
    bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
    bufferpool_stats(pool, &stats);
    return stats.live > 0 || stats.bypass_live > 0 || load_relaxed(&pool->keepers) > 1;
}

void create_end(bufferpool_t *pool)
{
    budget_leave(pool);
    background_end(pool);
    life_check_idle(pool);
    if (modes_have(MODE_STATS))
        metrics_say(pool, "destroyed");
    dispose(pool);
    registry_lock();
    bufferpool_t *out = registry_keep(pool);
    registry_unlock();
    registry_free(out);
}

int bufferpool_destroy(bufferpool_t *pool)
{
    if (pool == NULL || pool == &pool_default)
        return EINVAL;
    pool_check_open(pool, "bufferpool_destroy");
    struct call call = call_begin("bufferpool_destroy", CALLER);
    const bool stepped_out = fork_enter(pool), busy = is_busy(pool);
    if (!busy)
        create_end(pool);
    fork_leave(stepped_out);
    call_end(&call, NULL);
    return busy ? EBUSY : 0;
}
