/* SPDX-License-Identifier: MIT
 *
 * reclaim.c - idle memory goes back: trim, a lowered cap, and by itself what the depot did not need
 *
 * Magazines are popped one at a time, so the depot never looks empty to the others while it is not, and every step is
 * bounded: by what the depot held at the beginning, or by STEP. Blocks are freed without any lock but the heap's.
 *
 * The depot's need is told by its low-water mark: what lay there at its lowest point since the last period was not
 * needed, and is freed in the next one, STEP buffers per call, by one caller at a time.
 */
#include "reclaim.h"

#include "pool.h"
#include "registry.h"
#include "tls_cache.h"

#include <errno.h>
#include <time.h>

#define STEP 32u

/* Takes a magazine out of the depot and frees at most `most` of its buffers, at least one; adds their cap to *bytes.
 * Returns how many; 0: the depot is empty. */
static uint32_t free_magazine(bufferpool_t *pool, uint32_t most, bool defer, size_t *bytes, const char *caller)
{
    uint32_t count;
    struct desc *d = depot_pop(&pool->depot, &pool->heap.table, &count);
    if (d == NULL)
        return 0;
    uint32_t freed = 0;
    size_t size = 0;
    while (d != NULL && freed < most) {
        struct desc *next = d->chain;
        size += d->pub.cap;
        pool_free_buffer(pool, d, defer, caller);
        freed++;
        d = next;
    }
    size_t extra = size - freed * pool->heap.base;
    if (extra != 0)
        sub_relaxed(&pool->depot.extra, extra);
    cache_unreserve_idle(pool, size);
    if (d != NULL)
        depot_push(&pool->depot, d, count - freed);
    *bytes += size;
    return freed;
}

void reclaim_surplus(bufferpool_t *pool, struct cache *c, const char *caller)
{
    size_t bytes = 0;
    while (depot_over_cap(&pool->depot, &pool->max_live) && free_magazine(pool, 1, false, &bytes, caller) > 0)
        ;
    struct desc *d;
    while (depot_over_cap(&pool->depot, &pool->max_live) && (d = cache_evict(pool, c)) != NULL) {
        bytes += d->pub.cap;
        pool_free_buffer(pool, d, false, caller);
    }
    if (bytes > 0)
        cache_count(c, RECLAIMED_BYTES, bytes);
}

/* ---- by itself ---- */

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 + 1;
}

/* Begins a new period if the last is over. */
static void period_update(bufferpool_t *pool)
{
    uint64_t now = now_ms();
    uint64_t next = load_relaxed(&pool->reclaim.next_ms);
    if (now < next || !cas_relaxed(&pool->reclaim.next_ms, &next, now + pool->reclaim_interval_ms))
        return;
    uint32_t idle = depot_idle(depot_counts(&pool->depot));
    uint32_t low = exchange_relaxed(&pool->depot.low, idle);
    store_relaxed(&pool->reclaim.due, next != 0 ? low : 0);
}

static void reclaim_step(bufferpool_t *pool, struct cache *c, const char *caller)
{
    if (atomic_flag_test_and_set_explicit(&pool->reclaim.busy, memory_order_acquire)) /* with the clear below */
        return;
    uint32_t due = load_relaxed(&pool->reclaim.due);
    uint32_t freed = 0;
    size_t bytes = 0;
    while (freed < due && freed < STEP) {
        uint32_t most = due - freed < STEP - freed ? due - freed : STEP - freed;
        uint32_t n = free_magazine(pool, most, false, &bytes, caller);
        if (n == 0)
            due = 0;
        freed += n;
    }
    store_relaxed(&pool->reclaim.due, due > freed ? due - freed : 0);
    if (bytes > 0)
        cache_count(c, RECLAIMED_BYTES, bytes);
    atomic_flag_clear_explicit(&pool->reclaim.busy, memory_order_release);
}

void reclaim_tick(bufferpool_t *pool, struct cache *c, const char *caller)
{
    if (depot_over_cap(&pool->depot, &pool->max_live))
        reclaim_surplus(pool, c, caller);
    if (pool->reclaim_interval_ms == BUFFERPOOL_NEVER)
        return;
    period_update(pool);
    if (load_relaxed(&pool->reclaim.due) > 0)
        reclaim_step(pool, c, caller);
}

/* ---- when called ---- */

size_t bufferpool_trim(bufferpool_t *pool)
{
    int saved_errno = errno;
    pool = pool_or_default(pool);
    struct cache *c = tls_cache_own_or_shared(pool);
    size_t bytes = 0;
    struct desc *d;
    while ((d = cache_evict(pool, c)) != NULL) {
        bytes += d->pub.cap;
        pool_free_buffer(pool, d, true, "bufferpool_trim");
    }
    cache_flush(pool, c); /* nothing to move, but max_idle_bytes has its allowance back */

    uint32_t left = depot_idle(depot_counts(&pool->depot));
    while (left > 0) {
        uint32_t n = free_magazine(pool, left, true, &bytes, "bufferpool_trim");
        if (n == 0)
            break;
        left -= n;
    }
    heap_purge(&pool->heap);
    cache_count(c, RECLAIMED_BYTES, bytes);
    errno = saved_errno;
    return bytes;
}

void bufferpool_thread_flush(void)
{
    int saved_errno = errno;
    struct thread *self = tls_self;
    for (size_t slot = 0; slot < self->size; slot++) {
        struct cache *c = load_relaxed(&self->table[slot]);
        if (c == &tls_cache_none)
            continue;
        bufferpool_t *pool = registry_find(slot);
        cache_flush(pool, c);
        reclaim_tick(pool, c, "bufferpool_thread_flush");
    }
    errno = saved_errno;
}

void bufferpool_set_max_live(bufferpool_t *pool, size_t n)
{
    int saved_errno = errno;
    pool = pool_or_default(pool);
    store_seq_cst(&pool->max_live, depot_cap(n)); /* with depot_reserve: depot.c (6) */
    if (depot_over_cap(&pool->depot, &pool->max_live)) {
        reclaim_surplus(pool, tls_cache_own_or_shared(pool), "bufferpool_set_max_live");
        cache_close_gates(pool); /* so that the others see to theirs, and puts drop what comes back */
    }
    errno = saved_errno;
}

size_t bufferpool_max_live(const bufferpool_t *pool)
{
    return load_relaxed(&pool_or_default(pool)->max_live);
}
