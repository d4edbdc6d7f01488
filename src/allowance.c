/* SPDX-License-Identifier: MIT
 *
 * allowance.c - how much each thread's cache may hold
 *
 * An allowance, and the sum of all, change under caches_lock: by the owner of the cache, which is not inside, or behind
 * a closed gate. So the owner reads its allowance without the lock. It may do so while it is not inside, and then meets
 * an old value or the new one (allowance_check): hence both this and the streak are relaxed atomics.
 *
 * Three things take room away. The first is a closed gate. A cache behind one can hold nothing, so it lends all its
 * room once a steal has visited it, if room is scarce. Its owner has the room back when the gate opens. The other two
 * come at the end of a period (steal.c). A cache that was not used lends all its room, if room is scarce. A cache that
 * has more than thread_cache_bytes loses the excess in two cases: if thread_cache_bytes were enough for all that came
 * and went between the looks at the clock, or if the sum is too large. So what a burst left in a cache that grew by it
 * goes within the same periods as the depot's part (reclaim.c).
 */
#include "allowance.h"

#include "roster.h"

static size_t bound(const bufferpool_t *pool)
{
    const size_t owners = load_relaxed(&pool->owners);
    return (owners > ALLOWANCE_CACHES ? owners : ALLOWANCE_CACHES) * pool->cache_bytes;
}

static bool is_scarce(const bufferpool_t *pool)
{
    return load_relaxed(&pool->owners) > ALLOWANCE_CACHES;
}

static void set(bufferpool_t *pool, struct cache *c, size_t bytes)
{
    bump_relaxed(&pool->allowances, bytes - load_relaxed(&c->allowance)); /* modulo 2^64 */
    cache_set_allowance(pool, c, bytes);
}

void allowance_begin(bufferpool_t *pool, struct cache *c)
{
    bump_relaxed(&pool->owners, 1);
    set(pool, c, pool->cache_bytes);
}

void allowance_end(bufferpool_t *pool, struct cache *c)
{
    store_relaxed(&pool->owners, load_relaxed(&pool->owners) - 1);
    set(pool, c, 0);
}

void allowance_lend(bufferpool_t *pool, struct cache *c)
{
    if (is_scarce(pool))
        set(pool, c, 0);
}

void allowance_regain(bufferpool_t *pool, struct cache *c)
{
    if (load_relaxed(&c->allowance) == 0)
        set(pool, c, pool->cache_bytes);
}

bool allowance_is_excess(const bufferpool_t *pool, struct cache *c)
{
    const uint32_t least = load_relaxed(&c->least), most = load_relaxed(&c->most);
    const bool enough = least <= most && (most - least + 1) * pool->heap.base <= pool->cache_bytes;
    if (load_relaxed(&c->allowance) > pool->cache_bytes && (enough || load_relaxed(&pool->allowances) > bound(pool)))
        return true;
    cache_begin_notes(c);
    return false;
}

size_t allowance_kept(const bufferpool_t *pool, const struct cache *c)
{
    const uint32_t least = load_relaxed(&c->least), n = cache_idle(c);
    const size_t used = (n >= least ? n - least + 1 : 1) * pool->heap.base;
    return least == CACHE_LEAST_UNKNOWN || used > pool->cache_bytes ? pool->cache_bytes : used;
}

bool allowance_is_wanted(const bufferpool_t *pool, const struct cache *c)
{
    return load_relaxed(&c->allowance) > (is_scarce(pool) ? 0 : pool->cache_bytes);
}

void allowance_shrink(bufferpool_t *pool, struct cache *c, bool unused)
{
    cache_begin_notes(c);
    store_relaxed(&c->streak, 0); /* it begins anew, and is not to grow back for what came before */
    c->overflowed = false;
    if (unused)
        set(pool, c, is_scarce(pool) ? 0 : pool->cache_bytes);
    else if (load_relaxed(&c->allowance) > pool->cache_bytes)
        set(pool, c, pool->cache_bytes);
}

static bool may_grow(const bufferpool_t *pool, const struct cache *c)
{
    return load_relaxed(&c->allowance) < ALLOWANCE_MOST * pool->cache_bytes &&
           load_relaxed(&pool->allowances) + load_relaxed(&c->allowance) <= bound(pool);
}

void allowance_grow(bufferpool_t *pool, struct cache *c)
{
    store_relaxed(&c->streak, 0);
    if (c->shared || !may_grow(pool, c) || pthread_mutex_trylock(&pool->caches_lock) != 0)
        return;
    if (cache_is_open(c) && may_grow(pool, c))
        set(pool, c, 2 * load_relaxed(&c->allowance));
    pthread_mutex_unlock(&pool->caches_lock);
}

void allowance_restore(bufferpool_t *pool, struct cache *c)
{
    roster_lock(pool);
    if (cache_is_open(c))
        allowance_regain(pool, c);
    roster_unlock(pool);
}
