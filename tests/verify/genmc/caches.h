/* SPDX-License-Identifier: MIT
 *
 * caches.h - a pool with real caches, for harnesses that include src/cache.c
 */
#ifndef CACHES_H
#define CACHES_H

#include "scene.h"

#include "depot.c"

#if defined(MEMBARRIER)
#include "membarrier.h"
#endif

#include "debug/report.h"
#include "heap/block.h"

#include <string.h>

/* GenMC has no memcpy of a size that it does not know beforehand; cache.c copies pointers only. */
static inline void copy_pointers(struct desc **to, struct desc *const *from, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof(struct desc *); i++)
        to[i] = from[i];
}
#undef memcpy
#define memcpy(to, from, bytes) copy_pointers((to), (from), (bytes))

#include "cache.c"

#include "roster.c"

#include "allowance.c"

#define sched_getcpu() 0 /* GenMC has none */
#include "shards.c"

#include "life.c"

void report_misuse(const void *address, const bufferpool_t *pool, const char *what)
{
    (void)address, (void)pool, (void)what;
    assert(!"misuse");
    abort();
}

#define SLOTS 4u

struct cache_room {
    struct cache cache;
    struct desc *slots[SLOTS];
};

static struct bufferpool pool;
static struct cache_room room_a, room_b;

static void cache_init(struct cache_room *room)
{
    struct cache *c = &room->cache;
    c->pool = &pool;
    c->bottom = &cache_bottom;
    c->limit = SLOTS;
    store_relaxed(&c->allowance, SLOTS); /* bytes, of which a buffer has one */
    store_relaxed(&c->owned, true);
    c->fenced = true;
    roster_add(&pool, c);
    roster_join(&pool, c);
    cache_open(&pool, c);
}

/* With so many buffers, all of them held, and two caches. */
static void pool_init(uint32_t pooled)
{
    buffers_init(&pool.heap.table);
    pool.tag = 1;
    store_relaxed(&pool.life, POOL_ALIVE);
    pool.heap.base = 1;
    pool.cache_bytes = SLOTS;
    pool.cache_entries = SLOTS;
    pool.shared.shared = true;
    pool.shared.bottom = &cache_bottom;
    store_relaxed(&pool.shared.gate, GATE_NONE);
    store_relaxed(&pool.max_live, pooled);
    depot_reset(&pool.depot, pooled);
    for (uint32_t i = 0; i < BUFFERS; i++)
        store_relaxed(&scene_descs[i].word, desc_word(pool.tag, STATE_LIVE));
    cache_init(&room_a);
    cache_init(&room_b);
    level_set(&room_a.cache, pooled, 0); /* as if this thread had made them */
}

/* The steps of get and put (pool.c) that concern the gate. A get that finds nothing returns NULL. */

static struct desc *get(struct cache *c)
{
    struct desc *d = cache_pop_plain(c);
    if (d != NULL)
        return d;
    d = cache_take(&pool, c);
    if (d == NULL)
        d = cache_refill(&pool, c);
    return d != NULL ? life_hand_out(&pool, d) : NULL;
}

static void put(struct cache *c, struct desc *d)
{
    const uintptr_t word = load_relaxed(&d->word);
    if (cache_push_plain(c, d, word))
        return;
    life_claim(&pool, d, word);
    assert(cache_keep(&pool, c, d));
}

/* While no thread is inside: everything adds up (types.h), for `live` buffers that callers hold. */
static void caches_add_up(uint32_t live)
{
    const uint32_t in_depot = shards_idle(&pool.depot, &pool.heap.table);
    uint32_t moved = load_relaxed(&pool.shared.base[0].moved), idle = 0;
    for (const struct cache *c = load_relaxed(&pool.caches); c != NULL; c = c->next) {
        const struct cache_counts read = cache_read(c);
        assert(read.n <= c->limit && !load_relaxed(&c->busy));
        moved += read.moved;
        idle += read.n;
    }
    assert(moved == depot_counts(&pool.depot).pooled - in_depot && moved - idle == live);
}

#endif
