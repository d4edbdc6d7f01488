/* SPDX-License-Identifier: MIT
 *
 * pool.c - create, destroy, get, put
 *
 * The fast paths are cache_pop_plain and cache_push_plain (cache.h): a few plain loads and stores. All else is in
 * get_slow and put_slow, which may lock and count with atomic read-modify-writes. The cap's argument stands in
 * depot.c.
 *
 * Where a get is served, first to last:
 *
 *     thread cache   its warmest buffer
 *     depot          a magazine: one buffer for the caller, the rest for the thread cache
 *     fresh          a new pooled buffer, if depot_reserve says that the cap allows one more
 *     depot          once more: what others put meanwhile
 *     bypass         a new buffer that is no pooled one; try_get refuses instead
 */
#include "pool.h"

#include "config.h"
#include "debug.h"
#include "reclaim.h"
#include "registry.h"
#include "tls_cache.h"

#include <errno.h>
#include <stdlib.h>

struct bufferpool pool_default = {
    .slot = REGISTRY_DEFAULT_SLOT,
    .tag = REGISTRY_DEFAULT_TAG | REGISTRY_DEFAULT_SLOT,
    .name = (char[]){"default"},
    .max_capacity = CONFIG_MAX_CAPACITY,
    .cache_bytes = CONFIG_THREAD_CACHE_BYTES,
    .cache_slots = CONFIG_THREAD_CACHE_BYTES / CONFIG_BUFFER_CAPACITY,
    .reclaim_interval_ms = CONFIG_RECLAIM_INTERVAL_MS,
    .reclaim = {.busy = ATOMIC_FLAG_INIT},
    .heap = {.base = CONFIG_BUFFER_CAPACITY,
             .alignment = CONFIG_ALIGNMENT,
             .slabs = {.lock = PTHREAD_MUTEX_INITIALIZER}},
    .shared = {.shared = true},
};

/* ---- create and destroy ---- */

static void pool_configure(bufferpool_t *pool, const bufferpool_config_t *config)
{
    size_t base = config->buffer_capacity;
    size_t cache_bytes = config->thread_cache_bytes > base ? config->thread_cache_bytes : base;
    size_t slots = cache_bytes / base;
    pool->max_capacity = config->max_capacity;
    pool->max_idle_bytes = config->max_idle_bytes;
    pool->cache_bytes = cache_bytes;
    pool->cache_slots = slots < CACHE_SLOTS_MAX ? (uint32_t)slots : CACHE_SLOTS_MAX;
    pool->reclaim_interval_ms = config->reclaim_interval_ms;
    pool->shared.shared = true;
    atomic_flag_clear(&pool->reclaim.busy);

    struct heap *heap = &pool->heap;
    heap->base = base;
    heap->alignment = config->alignment > HEAP_ALIGNMENT_MIN ? config->alignment : HEAP_ALIGNMENT_MIN;
    heap->wipe = (config->flags & BUFFERPOOL_ZERO) != 0;
    heap->alloc = config->alloc;
    heap->free = config->free;
    heap->ctx = config->ctx;
    heap->slabs.huge = (config->flags & BUFFERPOOL_HUGEPAGES) != 0;
    pthread_mutex_init(&heap->slabs.lock, NULL);
    store_relaxed(&pool->max_live, depot_cap(config->max_live));
}

bufferpool_t *bufferpool_create(const bufferpool_config_t *config)
{
    int saved_errno = errno;
    bufferpool_config_t resolved;
    int error = config_resolve(config, &resolved);
    bufferpool_t *pool = error == 0 ? aligned_alloc(CACHE_LINE, sizeof(*pool)) : NULL;
    if (pool == NULL) {
        errno = error != 0 ? error : ENOMEM;
        return NULL;
    }
    *pool = (bufferpool_t){0};
    pool_configure(pool, &resolved);

    registry_lock();
    bool added = registry_add(pool, resolved.name);
    registry_unlock();
    if (!added) {
        free(pool);
        errno = ENOMEM;
        return NULL;
    }
    errno = saved_errno;
    return pool;
}

int bufferpool_destroy(bufferpool_t *pool)
{
    if (pool == NULL || pool == &pool_default)
        return EINVAL;
    int saved_errno = errno;
    bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
    registry_lock();
    bufferpool_stats(pool, &stats);
    bool busy = stats.live > 0 || stats.bypass_live > 0;
    if (!busy) {
        tls_cache_forget(pool);
        registry_remove(pool);
    }
    registry_unlock();
    if (busy)
        return EBUSY;

    heap_destroy(&pool->heap);
    tls_cache_free_all(pool);
    free(pool->name);
    free(pool);
    errno = saved_errno;
    return 0;
}

/* ---- making and freeing ---- */

bufferpool_t *pool_of(const struct desc *d, uintptr_t word)
{
    bufferpool_t *pool = registry_find(desc_slot(word));
    if (pool == NULL || word >> STATE_BITS != pool->tag || !desc_table_has(&pool->heap.table, d))
        return NULL;
    return pool;
}

/* Frees block and descriptor of any buffer; nobody counts it any more but depot_unreserve. */
static void free_buffer(bufferpool_t *pool, struct desc *d, bool defer, const char *caller)
{
    if (!heap_intact(&pool->heap, d))
        misuse(caller, &d->pub, pool, "the bytes in front of data were overwritten");
    store_relaxed(&d->word, desc_word(pool->tag, STATE_FREE));
    heap_free(&pool->heap, d, defer);
}

void pool_free_buffer(bufferpool_t *pool, struct desc *d, bool defer, const char *caller)
{
    size_t extra = d->pub.cap - pool->heap.base;
    free_buffer(pool, d, defer, caller);
    if (extra != 0)
        sub_relaxed(&pool->grown_extra, extra);
    depot_unreserve(&pool->depot, 1);
}

static struct desc *make_buffer(bufferpool_t *pool, enum desc_state state)
{
    struct desc *d = heap_alloc(&pool->heap);
    if (d == NULL)
        return NULL;
    d->pub.len = 0;
    store_relaxed(&d->word, desc_word(pool->tag, state));
    return d;
}

/* ---- get ---- */

enum at_cap { BYPASS, REFUSE };

/* Opens a gate that was closed: frees what the thread's cache has beyond a lowered cap. While more pooled buffers exist
 * than it allows the gate is closed again, so that put_slow sees every buffer that comes back. */
static void service_gate(bufferpool_t *pool, struct cache *c, const char *caller)
{
    if (c->shared || !cache_gate_tripped(pool, c))
        return;
    cache_gate_open(pool, c);
    if (depot_over_cap(&pool->depot, &pool->max_live)) {
        reclaim_surplus(pool, c, caller);
        if (depot_over_cap(&pool->depot, &pool->max_live))
            cache_gate_close(c);
    }
}

/* A buffer from where the cache itself does not have one; *source says whence. NULL with errno ENOMEM or EAGAIN. */
static struct desc *take_beyond_cache(bufferpool_t *pool, struct cache *c, enum at_cap at_cap, enum counter *source,
                                      const char *caller)
{
    struct desc *d;
    for (int look = 0; look < 2; look++) {
        d = cache_refill(pool, c, caller);
        if (d != NULL) {
            *source = GETS_DEPOT;
            return d;
        }
        if (depot_reserve(&pool->depot, &pool->max_live)) {
            *source = GETS_FRESH;
            d = make_buffer(pool, STATE_LIVE);
            if (d != NULL) {
                cache_moved(c, 1);
                return d;
            }
            depot_unreserve(&pool->depot, 1);
            errno = ENOMEM;
            return NULL;
        }
    }
    if (at_cap == REFUSE) {
        cache_count(c, GETS_REFUSED, 1);
        errno = EAGAIN;
        return NULL;
    }
    *source = GETS_BYPASS;
    d = make_buffer(pool, STATE_BYPASS);
    if (d == NULL)
        errno = ENOMEM;
    return d;
}

/* A buffer, not yet counted in *source. NULL with errno ENOMEM or EAGAIN. */
static struct desc *take_slow(bufferpool_t *pool, struct cache *c, enum at_cap at_cap, enum counter *source,
                              const char *caller)
{
    service_gate(pool, c, caller);
    *source = GETS_THREAD;
    struct desc *d = cache_take(pool, c, caller);
    if (d == NULL)
        d = take_beyond_cache(pool, c, at_cap, source, caller);
    if (d != NULL && *source == GETS_DEPOT)
        reclaim_tick(pool, c, caller);
    return d;
}

static __attribute__((noinline)) bufferpool_buf_t *get_slow(bufferpool_t *pool, enum at_cap at_cap, const char *caller)
{
    int saved_errno = errno;
    struct cache *c = tls_cache_own(pool);
    if (c == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    enum counter source;
    struct desc *d = take_slow(pool, c, at_cap, &source, caller);
    if (d == NULL)
        return NULL;
    cache_count(c, source, 1);
    errno = saved_errno;
    return &d->pub;
}

static inline struct desc *get_fast(const bufferpool_t *pool)
{
    struct cache *c = tls_cache_find(pool->slot);
    struct desc *d = cache_pop_plain(c);
    if (likely(d != NULL))
        bump_relaxed(&c->counters[GETS_THREAD], 1);
    return d;
}

bufferpool_buf_t *bufferpool_get(bufferpool_t *pool)
{
    if (pool == NULL)
        pool = &pool_default;
    struct desc *d = get_fast(pool);
    return likely(d != NULL) ? &d->pub : get_slow(pool, BYPASS, "bufferpool_get");
}

bufferpool_buf_t *bufferpool_try_get(bufferpool_t *pool)
{
    if (pool == NULL)
        pool = &pool_default;
    struct desc *d = get_fast(pool);
    return likely(d != NULL) ? &d->pub : get_slow(pool, REFUSE, "bufferpool_try_get");
}

/* ---- put ---- */

/* Moves a held buffer to the state in which it leaves the caller. Of two puts at once only one gets through. */
static void claim(bufferpool_t *pool, struct desc *d, uintptr_t word, const char *caller)
{
    enum desc_state to;
    switch (desc_state(word)) {
    case STATE_LIVE:
        to = STATE_IDLE;
        break;
    case STATE_LIVE_GROWN:
        to = STATE_IDLE_GROWN;
        break;
    case STATE_BYPASS:
        to = STATE_FREE;
        break;
    case STATE_FREE:
    case STATE_IDLE:
    case STATE_IDLE_GROWN:
        misuse(caller, &d->pub, pool, "put twice");
    default:
        misuse(caller, &d->pub, pool, "handed out twice, after it was put twice at the same time");
    }
    if (!atomic_compare_exchange_strong_explicit(&d->word, &word, desc_word(pool->tag, to), memory_order_relaxed,
                                                 memory_order_relaxed))
        misuse(caller, &d->pub, pool, "put twice at the same time");
}

/* Frees a claimed pooled buffer that a caller had. */
static enum counter drop(bufferpool_t *pool, struct cache *c, struct desc *d, enum counter reason, const char *caller)
{
    pool_free_buffer(pool, d, false, caller);
    cache_moved(c, -1);
    return reason;
}

#define KEPT COUNTERS /* not counted: puts_kept follows from the rest */

/* Takes a buffer back; says where it went, which is not yet counted. */
static enum counter give_slow(bufferpool_t *pool, struct cache *c, struct desc *d, uintptr_t word, const char *caller)
{
    claim(pool, d, word, caller);
    if (desc_state(word) == STATE_BYPASS) {
        free_buffer(pool, d, false, caller);
        return DROPS_BYPASS;
    }
    if (d->pub.cap > pool->max_capacity)
        return drop(pool, c, d, DROPS_OVERSIZE, caller);
    service_gate(pool, c, caller);
    if (depot_over_cap(&pool->depot, &pool->max_live))
        return drop(pool, c, d, DROPS_OVER_CAP, caller);
    if (pool->heap.wipe)
        heap_wipe(d->pub.data, d->pub.cap);
    if (!cache_keep(pool, c, d))
        return drop(pool, c, d, DROPS_IDLE_LIMIT, caller);
    reclaim_tick(pool, c, caller);
    return KEPT;
}

static __attribute__((noinline)) void put_slow(struct desc *d, const char *caller)
{
    int saved_errno = errno;
    uintptr_t word = load_relaxed(&d->word);
    bufferpool_t *pool = pool_of(d, word);
    if (pool == NULL)
        misuse_unknown(caller, d);
    struct cache *c = tls_cache_own(pool);
    if (c == NULL)
        c = &pool->shared;
    enum counter reason = give_slow(pool, c, d, word, caller);
    if (reason != KEPT)
        cache_count(c, reason, 1);
    errno = saved_errno;
}

static inline void put(bufferpool_buf_t *buf, const char *caller)
{
    if (unlikely(!desc_aligned(buf)))
        misuse_unknown(caller, buf);
    struct desc *d = desc_of(buf);
    uintptr_t word = load_relaxed(&d->word);
    if (unlikely(!cache_push_plain(tls_cache_find(desc_slot(word)), d, word)))
        put_slow(d, caller);
}

void bufferpool_put(bufferpool_buf_t *buf)
{
    if (likely(buf != NULL))
        put(buf, "bufferpool_put");
}

/* ---- many at once ---- */

/* Takes back what a get_bulk that fails had taken, as if it had never been. */
static void return_uncounted(bufferpool_t *pool, struct cache *c, bufferpool_buf_t **bufs, size_t n)
{
    while (n > 0) {
        struct desc *d = desc_of(bufs[--n]);
        (void)give_slow(pool, c, d, load_relaxed(&d->word), "bufferpool_get_bulk");
    }
}

int bufferpool_get_bulk(bufferpool_t *pool, bufferpool_buf_t **bufs, size_t n)
{
    if (n == 0)
        return 0;
    if (bufs == NULL)
        return EINVAL;
    pool = pool_or_default(pool);
    int saved_errno = errno;
    struct cache *c = tls_cache_own(pool);
    if (c == NULL) {
        errno = saved_errno;
        return ENOMEM;
    }
    uint64_t taken[COUNTERS] = {0};
    for (size_t i = 0; i < n; i++) {
        enum counter source = GETS_THREAD;
        struct desc *d = c->shared ? NULL : cache_pop_plain(c);
        if (d == NULL)
            d = take_slow(pool, c, BYPASS, &source, "bufferpool_get_bulk");
        if (d == NULL) {
            return_uncounted(pool, c, bufs, i);
            errno = saved_errno;
            return ENOMEM;
        }
        bufs[i] = &d->pub;
        taken[source]++;
    }
    for (int source = GETS_THREAD; source <= GETS_BYPASS; source++)
        if (taken[source] != 0)
            cache_count(c, (enum counter)source, taken[source]);
    errno = saved_errno;
    return 0;
}

void bufferpool_put_bulk(bufferpool_buf_t **bufs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bufs[i] != NULL)
            put(bufs[i], "bufferpool_put_bulk");
}
