/* SPDX-License-Identifier: MIT
 *
 * roster.c - which thread caches a pool has; roster.h says what the lists are for
 *
 * What is relaxed: reads and writes of what the lock guards, by the thread that has the lock. `waits` is a hint.
 */
#include "roster.h"

#include "clock.h"

void roster_lock(bufferpool_t *pool)
{
    (void)add_relaxed(&pool->shared.roster.waits, 1);
    pthread_mutex_lock(&pool->caches_lock);
    (void)sub_relaxed(&pool->shared.roster.waits, 1);
}

bufferpool_t *roster_lock_for_reading(const bufferpool_t *pool)
{
    bufferpool_t *locked = (bufferpool_t *)(uintptr_t)pool;
    roster_lock(locked);
    return locked;
}

void roster_unlock(bufferpool_t *pool)
{
    pthread_mutex_unlock(&pool->caches_lock);
}

void roster_breathe(bufferpool_t *pool)
{
    pthread_mutex_unlock(&pool->caches_lock);
    if (load_relaxed(&pool->shared.roster.waits) != 0)
        clock_pause();
    pthread_mutex_lock(&pool->caches_lock);
}

/* ---- changes ---- */

static void begin_change(bufferpool_t *pool)
{
    bump_relaxed(&pool->shared.roster.changes, 1); /* before the releases of the change (2) */
}

static void end_change(bufferpool_t *pool)
{
    /* with the acquire in roster_read */
    store_release(&pool->shared.roster.changes, load_relaxed(&pool->shared.roster.changes) + 1);
}

#if UINTPTR_MAX > UINT32_MAX
static struct cache *next_of(const struct cache *c)
{
    return c != NULL ? load_relaxed(&c->next_alike) : NULL;
}

static struct cache *fourth_from(const struct cache *c)
{
    return next_of(next_of(next_of(next_of(c))));
}

/* Only a hint for prefetching, so it may stay when the cache that it names leaves the list. */
#define set_ahead(c) store_relaxed(&(c)->ahead, fourth_from(fourth_from(fourth_from(fourth_from(c)))))
#else
#define set_ahead(c) ((void)(c))
#endif

/* releases: with the acquires of a walk (2) */
static void link_owned(bufferpool_t *pool, struct cache *c)
{
    struct cache *first = load_relaxed(&pool->shared.next_alike);
    store_release(&c->next_alike, first);
    c->link = &pool->shared.next_alike;
    if (first != NULL)
        first->link = &c->next_alike;
    set_ahead(c);
    store_release(&pool->shared.next_alike, c);
}

static void unlink_owned(const struct cache *c)
{
    struct cache *next = load_relaxed(&c->next_alike);
    store_release(c->link, next); /* as above */
    if (next != NULL)
        next->link = c->link;
}

/* Adds what a cache counted to the counters of the shared cache. Between the two steps a counter is too small, never
 * too large. So a child of fork that is made between the two counts too little (fork.c). */
static void fold(bufferpool_t *pool, struct cache *c)
{
    const struct cache_counts counts = cache_read(c);
    cache_clear(c);
    (void)add_seq_cst(&pool->shared.counters[GETS_THREAD], counts.gets); /* a release, as below */
    (void)add_seq_cst(&pool->shared.base[0].moved, counts.moved);
    for (int i = 0; i < COUNTERS; i++) {
        const uint64_t n = load_relaxed(&c->counters[i]);
        if (n == 0)
            continue;
        store_release(&c->counters[i], 0);
        (void)add_seq_cst(&pool->shared.counters[i], n);
    }
}

static void stack(bufferpool_t *pool, struct cache *c)
{
    store_release(&c->next_alike, pool->unowned_caches); /* a walk that stands here goes astray */
    pool->unowned_caches = c;
}

void roster_add(bufferpool_t *pool, struct cache *c)
{
    c->next = load_relaxed(&pool->caches);
    store_release(&pool->caches, c); /* with the acquire in await_calls (close.c) */
}

void roster_add_spare(bufferpool_t *pool, struct cache *c)
{
    roster_add(pool, c);
    stack(pool, c);
}

struct cache *roster_reuse(bufferpool_t *pool)
{
    struct cache *c = pool->unowned_caches;
    if (c == NULL)
        return NULL;
    pool->unowned_caches = load_relaxed(&c->next_alike);
    roster_join(pool, c);
    return c;
}

void roster_join(bufferpool_t *pool, struct cache *c)
{
    begin_change(pool);
    link_owned(pool, c);
    end_change(pool);
}

void roster_leave(bufferpool_t *pool, struct cache *c)
{
    begin_change(pool);
    unlink_owned(c);
    fold(pool, c);
    stack(pool, c);
    end_change(pool);
}

void roster_disown_all(bufferpool_t *pool)
{
    pool->unowned_caches = NULL;
    pool->shared.roster = (struct roster){0};
    pool->shared.next_open = NULL;
    store_relaxed(&pool->shared.next_alike, NULL);
    for (struct cache *c = load_relaxed(&pool->caches); c != NULL; c = c->next) {
        c->listed = false;
        fold(pool, c);
        stack(pool, c);
    }
}
