/* SPDX-License-Identifier: MIT
 *
 * accounts.h - the accounts of a pool, against its descriptors
 *
 * When no call is under way, each idle buffer lies in one cache or in the depot, and every account of buffers and bytes
 * says exactly what is there. For tests with INTERNAL.
 */
#ifndef TEST_ACCOUNTS_H
#define TEST_ACCOUNTS_H

#include "laws.h"

#include "inside.h"

#include "heap/block.h"

struct accounts {
    size_t held, idle;
    uint64_t live_bytes, idle_bytes;
};

static inline struct accounts accounts_of_words(const bufferpool_t *pool)
{
    struct accounts a = {0};
    for (uint32_t i = load_relaxed(&pool->heap.table.used); i > 0; i--) {
        const struct desc *d = desc_at(&pool->heap.table, i);
        const enum desc_state s = desc_state(load_relaxed(&d->word));
        if (s == STATE_LIVE || s == STATE_LIVE_GROWN) {
            a.held++;
            a.live_bytes += d->pub.cap;
        } else if (s == STATE_IDLE || s == STATE_IDLE_GROWN) {
            a.idle++;
            a.idle_bytes += d->pub.cap;
        }
    }
    return a;
}

/* Of the caches: what is in them, what they set aside. */
struct cached {
    size_t n, extra, reserved, tickets, holders;
    bool ok;
};

static inline struct cached accounts_of_caches(const bufferpool_t *pool)
{
    struct cached all = {.ok = true};
    for (struct cache *c = load_acquire(&pool->caches); c != NULL; c = c->next) {
        size_t extra = 0;
        const uint32_t n = cache_idle(c);
        for (uint32_t i = 0; i < n; i++)
            extra += cache_entries(c)[i]->pub.cap - pool->heap.base;
        const size_t held = n * pool->heap.base + extra;
        all.ok = all.ok && extra == load_relaxed(&c->extra) && n <= pool->cache_entries &&
                 held <= load_relaxed(&c->allowance);
        all.ok = all.ok && (pool->max_idle_bytes == 0 || held <= c->reserved);
        if (load_relaxed(&c->owned) && cache_is_open(c)) {
            const size_t most = c->limit * pool->heap.base + c->most_extra;
            all.ok = all.ok && n <= c->limit && extra <= c->most_extra && most <= load_relaxed(&c->allowance);
            all.ok = all.ok && (pool->max_idle_bytes == 0 || most <= c->reserved);
        }
        const uint32_t tickets = load_relaxed(&c->tickets);
        if (depot_counts(&pool->depot).pressure && !pool->no_membarrier)
            all.ok = all.ok && n <= tickets && (!cache_is_open(c) || tickets > 0);
        all.n += n;
        all.extra += extra;
        all.reserved += c->reserved;
        all.tickets += tickets;
        all.holders += tickets != 0;
    }
    return all;
}

/* What is mapped: spans, the blocks that lie in none, and retained mappings. */
static inline size_t mapped_by_words(const bufferpool_t *pool)
{
    const struct heap *heap = &pool->heap;
    size_t bytes = load_relaxed(&heap->slabs.retained.bytes);
    for (const struct span *span = heap->slabs.spans; span != NULL; span = span->next)
        bytes += span->bytes;
    for (uint32_t i = load_relaxed(&heap->table.used); heap->alloc == NULL && i > 0; i--) {
        const struct desc *d = desc_at(&heap->table, i);
        if (d->pub.data != NULL && d->slab == NULL)
            bytes += block_mapped_bytes(heap, d->pub.cap);
    }
    return bytes;
}

/* Whether the accounts are right, whatever they say of the cap. */
static inline bool accounts_add_up(const bufferpool_t *pool)
{
    const bufferpool_stats_t s = stats_of(pool); /* first: in a child of fork it repairs the pool */
    const struct accounts a = accounts_of_words(pool);
    const struct cached c = accounts_of_caches(pool);
    const struct depot_counts counts = depot_counts(&pool->depot);
    const size_t base = pool->heap.base;
    const size_t depot_extra = load_relaxed(&pool->depot.extra);
    const size_t n = depot_cap_of(&pool->max_live), live = a.held < n ? a.held : n;
    bool ok = c.ok && s.live == live && s.bypass_live == a.held - live && idle_of(&s) == a.idle && s.idle_thread == c.n;
    ok = ok && s.live_bytes == a.live_bytes && s.idle_bytes == a.idle_bytes;
    ok = ok && s.pooled == a.held + a.idle && s.pooled_bytes == a.live_bytes + a.idle_bytes;
    ok = ok && s.mapped_bytes == mapped_by_words(pool);
    ok = ok && counts.pooled == a.held + a.idle && counts.tickets == c.tickets;
    ok = ok && load_relaxed(&pool->pressure.granted) == c.tickets;
    ok = ok && load_relaxed(&pool->pressure.holders) == c.holders;
    ok = ok && a.idle * base + c.extra + depot_extra == a.idle_bytes;
    if (pool->max_idle_bytes != 0) {
        const size_t reserved = load_relaxed(&pool->idle_reserved);
        ok = ok && reserved == c.reserved + (a.idle - c.n) * base + depot_extra && reserved <= pool->max_idle_bytes;
    }
    if (!ok) {
        print_stats(&s);
        print_error(
            "words: held %zu, %" PRIu64 " bytes, idle %zu, %" PRIu64
            " bytes; caches: %s, %zu, extra %zu, reserved %zu, tickets %zu; depot: extra %zu, pooled %u, tickets %u\n",
            a.held, a.live_bytes, a.idle, a.idle_bytes, c.ok ? "in order" : "not in order", c.n, c.extra, c.reserved,
            c.tickets, depot_extra, counts.pooled, counts.tickets);
    }
    return ok;
}

/* And no more exist than the cap allows, or callers have as many. That may have to wait for the next call if the cap
 * was lowered, or tickets were taken back, while an owner was inside its cache. */
static inline bool accounts_agree(const bufferpool_t *pool)
{
    const bufferpool_stats_t s = stats_of(pool);
    const size_t n = depot_cap_of(&pool->max_live), pooled = depot_counts(&pool->depot).pooled;
    const bool ok = pooled <= n || s.live + s.bypass_live >= n;
    if (!ok)
        print_error("%zu buffers exist, %" PRIu64 " are held, the cap is %zu\n", pooled, s.live + s.bypass_live, n);
    return accounts_add_up(pool) && ok;
}

#define check_accounts(pool) assert_true(accounts_agree(pool))

#endif /* TEST_ACCOUNTS_H */
