/* SPDX-License-Identifier: MIT
 *
 * create.c - a pool begins and ends
 */
#include "create.h"
#include "background.h"
#include "budget.h"
#include "call.h"
#include "debug/modes.h"
#include "debug/records.h"
#include "debug/say.h"
#include "debug/watch.h"
#include "fork.h"
#include "heap/heap.h"
#include "heap/os.h"
#include "init.h"
#include "life.h"
#include "pressure.h"
#include "registry.h"
#include "stats.h"
#include "steal.h"
#include "tls_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the configuration ---- */

/* The size of the struct in version 0.1, the first: no program was built with a smaller one. */
#define SIZE_MIN (offsetof(bufferpool_config_t, ctx) + sizeof(void *))

#define FLAGS_KNOWN                                                                                                    \
    (BUFFERPOOL_ZERO | BUFFERPOOL_BACKGROUND | BUFFERPOOL_HUGEPAGES | BUFFERPOOL_PRESSURE | BUFFERPOOL_START_NOW |     \
     BUFFERPOOL_NO_MEMBARRIER)

static void default_to(size_t *field, size_t value)
{
    if (*field == 0)
        *field = value;
}

/* What is wrong with a configuration, in words: "name (value) what (limit)", without the numbers that are 0. */
struct flaw {
    bool found;
    const char *name;
    size_t value;
    const char *what;
    size_t limit;
};

static void say_flaw(const struct flaw *flaw)
{
    char value[32] = "", limit[32] = "", line[256];
    init_modes();
    if (!modes_have(MODES_NAMED))
        return;
    if (flaw->value != 0)
        (void)snprintf(value, sizeof(value), " (%zu)", flaw->value);
    if (flaw->limit != 0)
        (void)snprintf(limit, sizeof(limit), " (%zu)", flaw->limit);
    const int length = snprintf(line, sizeof(line), "libbufferpool: %s: %s%s %s%s\n", report_context.function,
                                flaw->name, value, flaw->what, limit);
    if (length > 0)
        say(line, (size_t)length);
}

/* Returns whether there is a flaw, and says so under a debug mode. */
static bool has_flaw(const struct flaw *flaws, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!flaws[i].found)
            continue;
        say_flaw(&flaws[i]);
        return true;
    }
    return false;
}

static bool is_valid(const bufferpool_config_t *c)
{
    const unsigned unknown = c->flags & ~FLAGS_KNOWN, now = c->flags & BUFFERPOOL_START_NOW;
    const size_t page = os_page_size(), most = HEAP_CAP_MAX;
    const struct flaw flaws[] = {
        {(c->alignment & (c->alignment - 1)) != 0, "alignment", c->alignment, "is no power of two", 0},
        {c->alignment > page, "alignment", c->alignment, "is more than the page size", page},
        {c->buffer_capacity > most, "buffer_capacity", c->buffer_capacity, "is more than PTRDIFF_MAX - 8 MiB", most},
        {c->max_capacity > most, "max_capacity", c->max_capacity, "is more than PTRDIFF_MAX - 8 MiB", most},
        {c->max_capacity < c->buffer_capacity, "max_capacity", c->max_capacity, "is less than buffer_capacity",
         c->buffer_capacity},
        {c->alloc != NULL && c->free == NULL, "alloc", 0, "is set without free", 0},
        {c->alloc == NULL && c->free != NULL, "free", 0, "is set without alloc", 0},
        {c->retain_ms == BUFFERPOOL_NEVER, "retain_ms", c->retain_ms, "is BUFFERPOOL_NEVER", 0},
        {unknown != 0, "flags", c->flags, "has bits that are not known", unknown},
        {now != 0 && (c->flags & (BUFFERPOOL_BACKGROUND | BUFFERPOOL_PRESSURE)) == 0, "flags", c->flags,
         "has BUFFERPOOL_START_NOW without BUFFERPOOL_BACKGROUND or BUFFERPOOL_PRESSURE", 0},
    };
    return !has_flaw(flaws, sizeof(flaws) / sizeof(flaws[0]));
}

/* Copies a configuration that has a size of any version. An odd one is of BUFFERPOOL_CONFIG, where 0 stands for the
 * default of retain_ms as well. Returns false if the size is not known. */
static bool config_copy(const bufferpool_config_t *from, bufferpool_config_t *to)
{
    const size_t size = from->size & ~(size_t)1;
    const struct flaw flaws[] = {
        {size < SIZE_MIN, "size", from->size, "is less than that of the first version", SIZE_MIN},
        {from->size > SIZE_MIN && size < offsetof(bufferpool_config_t, retain_ms), "size", from->size,
         "is between those of two versions", 0},
        {size > sizeof(*to), "size", from->size, "is more than this version of the library knows", sizeof(*to)},
    };
    if (has_flaw(flaws, sizeof(flaws) / sizeof(flaws[0])))
        return false;
    memcpy(to, from, size);
    if (size != from->size && to->retain_ms == 0)
        to->retain_ms = DEFAULT_RETAIN_MS;
    return true;
}

/* Copies *from to *to, and sets each field that is 0 to its default, but for retain_ms, where 0 has a meaning. NULL
 * stands for all defaults. Returns 0 or EINVAL. */
static int config_resolve(const bufferpool_config_t *from, bufferpool_config_t *to)
{
    memset(to, 0, sizeof(*to));
    to->retain_ms = DEFAULT_RETAIN_MS; /* a program built with version 0.2 has no such field */
    if (from != NULL && !config_copy(from, to))
        return EINVAL;
    default_to(&to->buffer_capacity, DEFAULT_BUFFER_CAPACITY);
    default_to(&to->max_capacity,
               to->buffer_capacity > DEFAULT_MAX_CAPACITY ? to->buffer_capacity : DEFAULT_MAX_CAPACITY);
    default_to(&to->thread_cache_bytes, DEFAULT_THREAD_CACHE_BYTES);
    default_to(&to->alignment, DEFAULT_ALIGNMENT);
    if (to->reclaim_interval_ms == 0)
        to->reclaim_interval_ms = DEFAULT_RECLAIM_INTERVAL_MS;
    return is_valid(to) ? 0 : EINVAL;
}

/* ---- the beginning ---- */

/* Locks are no part of this: the default pool's are there from the start. */
static void configure(bufferpool_t *pool, const bufferpool_config_t *config)
{
    size_t base = config->buffer_capacity;
    size_t cache_bytes = config->thread_cache_bytes > base ? config->thread_cache_bytes : base;
    size_t entries = cache_bytes / base * ALLOWANCE_MOST;
    pool->max_capacity = config->max_capacity;
    pool->max_idle_bytes = config->max_idle_bytes;
    pool->cache_bytes = cache_bytes;
    pool->cache_entries = entries < CACHE_ENTRIES_MAX ? (uint32_t)entries : CACHE_ENTRIES_MAX;
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
    pthread_mutex_destroy(&pool->caches_lock);
    pthread_mutex_destroy(&pool->quarantine.lock);
    free(pool->quarantine.ring);
    records_destroy(&pool->records);
}

/* Returns NULL with *error set. */
static bufferpool_t *create(const bufferpool_config_t *config, int *error)
{
    bufferpool_config_t resolved;
    *error = config_resolve(config, &resolved);
    if (*error != 0)
        return NULL;
    *error = ENOMEM;
    bufferpool_t *pool = aligned_alloc(CACHE_LINE, sizeof(*pool));
    if (pool == NULL)
        return NULL;
    *pool = (bufferpool_t){0};
    pool->no_membarrier = (resolved.flags & BUFFERPOOL_NO_MEMBARRIER) != 0;
    (void)init_first_use(pool); /* if it failed, the first get fails */
    steal_init(pool);           /* again: the first use may have been that of a pool that does without */
    registry_lock();
    pool_begin(pool, &resolved);
    bool added = registry_add(pool, resolved.name);
    if (added) {
        budget_join(pool);
        pool->heap.table.colour = pool->heap.slabs.colour = (uint32_t)pool->index;
    }
    registry_unlock();
    if (!added) {
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

static bufferpool_config_t default_config; /* what it was configured with last; under the registry's lock */

/* The registry's lock is held. */
static void configure_anew(const bufferpool_config_t *config)
{
    budget_withdraw(&pool_default);
    configure(&pool_default, config);
    budget_join(&pool_default);
}

/* Configures the default pool, but for its name, which `named` gets. The registry's lock is held, which the first use
 * of the pool takes too. */
static int begin_default(const bufferpool_config_t *config, bufferpool_t *named)
{
    if (init_default_used())
        return EBUSY;
    if (!registry_take_default_name(named, config->name))
        return ENOMEM;
    configure_anew(config);
    return 0;
}

/* If the thread of BUFFERPOOL_START_NOW could not be started, the pool is as before, unless a get of another thread was
 * quicker. The registry's lock is held. */
static void end_default(const bufferpool_config_t *config, const bufferpool_t *named, int error)
{
    if (error != 0) {
        registry_drop_default_name(named);
        if (!init_default_used())
            configure_anew(&default_config);
        return;
    }
    registry_set_default_name(named);
    default_config = *config;
    if ((config->flags & BUFFERPOOL_START_NOW) != 0) /* its thread uses it */
        init_use_default();
}

/* `named` is for the name alone. */
static int configure_default(const bufferpool_config_t *config, bufferpool_t *named)
{
    registry_lock();
    if (default_config.size == 0) {
        (void)config_resolve(NULL, &default_config);
        default_config.size = sizeof(default_config);
    }
    int error = begin_default(config, named);
    registry_unlock();
    if (error != 0)
        return error;
    if ((config->flags & BUFFERPOOL_START_NOW) != 0)
        error = background_start(&pool_default);
    registry_lock();
    end_default(config, named, error);
    registry_unlock();
    return error;
}

int bufferpool_configure_default(const bufferpool_config_t *config)
{
    struct call call = call_begin("bufferpool_configure_default", CALLER);
    const bool stepped_out = fork_enter(&pool_default);
    bufferpool_config_t resolved;
    int error = config_resolve(config, &resolved);
    resolved.size = sizeof(resolved);
    bufferpool_t *named = error == 0 ? aligned_alloc(CACHE_LINE, sizeof(*named)) : NULL;
    if (error == 0)
        error = named != NULL ? configure_default(&resolved, named) : ENOMEM;
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
