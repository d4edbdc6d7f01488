/* SPDX-License-Identifier: MIT
 *
 * cache.c - a thread's cache of one pool: what happens when it is empty, full, or its gate is closed
 *
 * The owner calls these; on pool->shared, which holds nothing, any thread may. The invariants stand in cache.h.
 *
 * Why the owner's plain stores do: nobody else reads the slots. What others read (level, extra, counters) is atomic,
 * and wrong by at most the call under way. A cache changes hands under the registry's lock.
 */
#include "cache.h"

#include "debug.h"
#include "pool.h"

#include <string.h>

/* ---- counts ---- */

void cache_count(struct cache *c, enum counter counter, uint64_t n)
{
    if (c->shared)
        add_relaxed(&c->counters[counter], n);
    else
        bump_relaxed(&c->counters[counter], n);
}

/* moved += m, n += n: both in one store, so that whoever sums up (moved - n) never sees half of it. */
static void level_add(struct cache *c, int32_t moved, int32_t n)
{
    uint64_t delta = ((uint64_t)(uint32_t)moved << 32) + (uint64_t)(int64_t)n;
    if (c->shared)
        add_relaxed(&c->level, delta);
    else
        bump_relaxed(&c->level, delta);
}

void cache_moved(struct cache *c, int32_t n)
{
    level_add(c, n, 0);
}

static size_t beyond_base(const bufferpool_t *pool, const struct desc *d)
{
    return d->pub.cap - pool->heap.base;
}

static size_t held_bytes(const bufferpool_t *pool, const struct cache *c)
{
    return cache_idle(c) * pool->heap.base + load_relaxed(&c->extra);
}

/* How many buffers the cache may hold if the next ones are plain. */
static void limit_update(const bufferpool_t *pool, struct cache *c)
{
    size_t bytes = pool->cache_bytes;
    if (pool->max_idle_bytes != 0 && c->budget < bytes)
        bytes = c->budget;
    size_t limit = (bytes - load_relaxed(&c->extra)) / pool->heap.base;
    c->limit = limit < pool->cache_slots ? (uint32_t)limit : pool->cache_slots;
}

/* ---- max_idle_bytes ---- */

static bool reserve_idle(bufferpool_t *pool, size_t bytes)
{
    size_t reserved = load_relaxed(&pool->idle_reserved);
    do {
        if (bytes > pool->max_idle_bytes - reserved)
            return false;
    } while (!cas_relaxed(&pool->idle_reserved, &reserved, reserved + bytes));
    return true;
}

void cache_unreserve_idle(bufferpool_t *pool, size_t bytes)
{
    if (pool->max_idle_bytes != 0)
        sub_relaxed(&pool->idle_reserved, bytes);
}

/* Sees to it that the budget has room for `cap` more bytes. For the shared cache they count as the depot's at once. */
static bool budget_add(bufferpool_t *pool, struct cache *c, size_t cap)
{
    if (pool->max_idle_bytes == 0)
        return true;
    size_t unused = c->budget - held_bytes(pool, c); /* 0 - 0 for the shared one */
    size_t missing = cap > unused ? cap - unused : 0;
    if (!reserve_idle(pool, missing))
        return false;
    if (!c->shared)
        c->budget += missing;
    return true;
}

/* Moves budget from the cache to the depot with the bytes that go there. */
static void budget_to_depot(const bufferpool_t *pool, struct cache *c, size_t bytes)
{
    if (pool->max_idle_bytes != 0 && !c->shared)
        c->budget -= bytes;
}

/* Moves budget from the depot to the cache; what that has beyond its need goes back to all. */
static void budget_from_depot(bufferpool_t *pool, struct cache *c, size_t bytes)
{
    if (pool->max_idle_bytes == 0)
        return;
    size_t budget = c->budget + bytes;
    size_t keep = c->shared ? 0 : pool->cache_bytes;
    if (budget > keep) {
        cache_unreserve_idle(pool, budget - keep);
        budget = keep;
    }
    if (!c->shared)
        c->budget = budget;
}

/* ---- to and from the depot ---- */

/* Pushes the chain, of which `extra` bytes are beyond buffer_capacity, as one magazine. */
static void push_magazine(bufferpool_t *pool, struct desc *first, uint32_t count, size_t extra)
{
    if (extra != 0)
        add_relaxed(&pool->depot.extra, extra);
    depot_push(&pool->depot, first, count);
}

/* Moves the `count` coldest buffers to the depot. */
static void flush_coldest(bufferpool_t *pool, struct cache *c, uint32_t count)
{
    uint32_t n = cache_idle(c);
    size_t extra = 0;
    struct desc *first = NULL;
    for (uint32_t i = 0; i < count; i++) {
        struct desc *d = c->slots[i];
        d->chain = first; /* so the warmest of them comes first */
        first = d;
        extra += beyond_base(pool, d);
    }
    memmove(c->slots, c->slots + count, (n - count) * sizeof(*c->slots));
    budget_to_depot(pool, c, count * pool->heap.base + extra);
    store_relaxed(&c->extra, load_relaxed(&c->extra) - extra);
    level_add(c, -(int32_t)count, -(int32_t)count);
    limit_update(pool, c);
    push_magazine(pool, first, count, extra);
}

void cache_flush(bufferpool_t *pool, struct cache *c)
{
    if (c->shared)
        return;
    uint32_t n = cache_idle(c);
    if (n > 0)
        flush_coldest(pool, c, n);
    cache_unreserve_idle(pool, c->budget);
    c->budget = 0;
    limit_update(pool, c);
}

/* Whether one more buffer of that cap fits. */
static bool has_room(const bufferpool_t *pool, const struct cache *c, size_t cap)
{
    return cache_idle(c) < pool->cache_slots && held_bytes(pool, c) + cap <= pool->cache_bytes;
}

static void store_warmest(const bufferpool_t *pool, struct cache *c, struct desc *d)
{
    c->slots[cache_idle(c)] = d;
    store_relaxed(&c->extra, load_relaxed(&c->extra) + beyond_base(pool, d));
    level_add(c, 0, 1);
    limit_update(pool, c);
}

/* From an idle state to a held one. */
static struct desc *hand_out(const bufferpool_t *pool, struct desc *d, const char *caller)
{
    uintptr_t word = load_relaxed(&d->word);
    if (word != desc_word(pool->tag, STATE_IDLE) && word != desc_word(pool->tag, STATE_IDLE_GROWN))
        misuse(caller, d, pool, "an idle buffer's handle was overwritten");
    store_relaxed(&d->word, word + (STATE_LIVE - STATE_IDLE));
    d->pub.len = 0;
    return d;
}

struct desc *cache_take(bufferpool_t *pool, struct cache *c, const char *caller)
{
    uint32_t n = cache_idle(c);
    if (n == 0)
        return NULL;
    struct desc *d = c->slots[n - 1];
    level_add(c, 0, -1);
    store_relaxed(&c->extra, load_relaxed(&c->extra) - beyond_base(pool, d));
    limit_update(pool, c);
    return hand_out(pool, d, caller);
}

struct desc *cache_evict(bufferpool_t *pool, struct cache *c)
{
    uint32_t n = cache_idle(c);
    if (n == 0)
        return NULL;
    struct desc *d = c->slots[0];
    memmove(c->slots, c->slots + 1, (n - 1) * sizeof(*c->slots));
    level_add(c, -1, -1);
    store_relaxed(&c->extra, load_relaxed(&c->extra) - beyond_base(pool, d));
    limit_update(pool, c);
    return d;
}

struct desc *cache_refill(bufferpool_t *pool, struct cache *c, const char *caller)
{
    uint32_t count;
    struct desc *first = depot_pop(&pool->depot, &pool->heap.table, &count);
    if (first == NULL)
        return NULL;

    /* the first is for the caller; as many of the others as fit are for the cache, the warmest on top */
    size_t extra = beyond_base(pool, first);
    size_t bytes = first->pub.cap;
    size_t cached = 0;
    uint32_t fit = 0;
    struct desc *d = first->chain;
    for (; d != NULL && !c->shared && fit < pool->cache_slots && cached + d->pub.cap <= pool->cache_bytes;
         d = d->chain, fit++) {
        c->slots[fit] = d;
        cached += d->pub.cap;
    }
    for (uint32_t i = 0; i < fit / 2; i++) {
        struct desc *swap = c->slots[i];
        c->slots[i] = c->slots[fit - 1 - i];
        c->slots[fit - 1 - i] = swap;
    }
    bytes += cached;
    extra += cached - fit * pool->heap.base;
    if (extra != 0)
        sub_relaxed(&pool->depot.extra, extra);

    store_relaxed(&c->extra, c->shared ? 0 : cached - fit * pool->heap.base);
    level_add(c, (int32_t)fit + 1, (int32_t)fit);
    budget_from_depot(pool, c, bytes);
    if (!c->shared)
        limit_update(pool, c);
    if (d != NULL)
        depot_push(&pool->depot, d, count - 1 - fit); /* its bytes never left the depot's account */
    return hand_out(pool, first, caller);
}

bool cache_keep(bufferpool_t *pool, struct cache *c, struct desc *d)
{
    size_t cap = d->pub.cap;
    if (!budget_add(pool, c, cap))
        return false;
    if (c->shared || cap > pool->cache_bytes) {
        d->chain = NULL;
        budget_to_depot(pool, c, cap);
        if (!c->shared)
            limit_update(pool, c);
        level_add(c, -1, 0);
        push_magazine(pool, d, 1, cap - pool->heap.base);
        return true;
    }
    while (!has_room(pool, c, cap))
        flush_coldest(pool, c, (cache_idle(c) + 1) / 2);
    store_warmest(pool, c, d);
    return true;
}

/* ---- the gate ---- */

static uintptr_t open_word(const bufferpool_t *pool)
{
    return pool->heap.wipe ? GATE_CLOSED : pool_live_word(pool);
}

bool cache_gate_tripped(const bufferpool_t *pool, const struct cache *c)
{
    return load_relaxed(&c->live_word) != open_word(pool);
}

void cache_gate_open(const bufferpool_t *pool, struct cache *c)
{
    store_seq_cst(&c->live_word, open_word(pool)); /* with cache_gate_close */
}

void cache_gate_close(struct cache *c)
{
    /* seq_cst: either the owner opens the gate before this, and it stays closed; or after, and then what the owner
     * reads with seq_cst next (depot_over_cap) is at least as new as what the closing thread had stored before */
    store_seq_cst(&c->live_word, GATE_CLOSED);
}

void cache_close_gates(bufferpool_t *pool)
{
    /* acquire: with the release in cache_link (tls_cache.c) */
    for (struct cache *c = load_acquire(&pool->caches); c != NULL; c = c->next)
        cache_gate_close(c);
}
