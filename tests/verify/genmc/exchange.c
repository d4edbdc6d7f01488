/* SPDX-License-Identifier: MIT
 *
 * exchange.c - two caches and the depot between them, as get and put use them: each buffer has one owner, comes out as
 * it was put, and all accounts add up
 *
 *     SCENE 1    one thread moves the colder half of its cache to the depot, the other refills its cache from there
 *     SCENE 2    one thread puts into a full cache, the other refills and puts
 *     SCENE 3    both refill from one magazine
 *     SCENE 4    the limit on idle bytes leaves room for one: two threads put, and no more than that is reserved
 */
#include "caches.h"

static struct desc *held[2];
static bool kept[2];

static void fill(struct cache *c, unsigned from, unsigned n)
{
    for (unsigned i = from; i < from + n; i++) {
        use(&scene_descs[i], 7);
        put(c, &scene_descs[i]);
    }
}

static struct desc *get_one(struct cache *c)
{
    struct desc *d = get(c);
    if (d != NULL) {
        assert(d->pub.len == 0 && d->pub.data[0] == 7);
        use(d, 7);
    }
    return d;
}

static void keep(struct cache *c, unsigned i)
{
    struct desc *d = &scene_descs[i];
    use(d, 7);
    life_claim(&pool, d, load_relaxed(&d->word));
    kept[i] = cache_keep(&pool, c, d);
    held[i] = kept[i] ? NULL : d;
    assert(load_relaxed(&pool.idle_reserved) <= pool.max_idle_bytes);
}

static void *first(void *unused)
{
    struct cache *c = &room_a.cache;
    (void)unused;
    switch (SCENE) {
    case 1:
        c->limit = SLOTS / 2;
        (void)cache_overflow(&pool, c);
        break;
    case 2:
        put(c, held[0]);
        held[0] = NULL;
        break;
    case 3:
        held[0] = get_one(c);
        break;
    default:
        keep(c, 0);
    }
    return NULL;
}

static void *second(void *unused)
{
    struct cache *c = &room_b.cache;
    (void)unused;
    switch (SCENE) {
    case 2:
        held[1] = get_one(c);
        if (held[1] != NULL)
            put(c, held[1]);
        held[1] = NULL;
        break;
    case 4:
        keep(c, 1);
        break;
    default:
        held[1] = get_one(c);
    }
    return NULL;
}

int main(void)
{
    pool_init(SCENE == 2 ? 3 : 2);
    switch (SCENE) {
    case 1:
        fill(&room_a.cache, 0, 2);
        break;
    case 2:
        pool.cache_entries = 2;
        pool.cache_bytes = 2;
        limit_update(&pool, &room_a.cache);
        limit_update(&pool, &room_b.cache);
        fill(&room_a.cache, 0, 2);
        held[0] = &scene_descs[2];
        use(held[0], 7);
        break;
    case 3:
        fill(&room_a.cache, 0, 2);
        assert(cache_flush_inside(&pool, &room_a.cache) == 2);
        break;
    default:
        pool.max_idle_bytes = 1;
    }
    run(first, second, NULL);
    caches_add_up((uint32_t)(held[0] != NULL) + (held[1] != NULL));
    assert(held[0] == NULL || held[0] != held[1]);
    if (SCENE == 4)
        assert(kept[0] + kept[1] == 1 && load_relaxed(&pool.idle_reserved) == 1);
    return 0;
}
