/* SPDX-License-Identifier: MIT
 *
 * walk.c - threads get their first cache of a pool, or end, while another walks over the caches without a lock, for
 * statistics
 *
 *     SCENE 1    one thread makes a cache, beside one that adds up
 *     SCENE 2    two threads make one each, under the lock, beside one that adds up
 *     SCENE 3    one thread makes a cache, beside one that steals from all that there are, under the lock too
 *     SCENE 4    one thread ends, beside one that adds up: what it counted is counted once
 *     SCENE 5    the same, and then a thread gets its cache
 *     SCENE 6    the same with a second thread that ends: a cache comes to the front, or to the other list
 */
#include "caches.h"

typedef unsigned pthread_key_t;
#define pthread_key_create(key, end)    (0)
#define pthread_key_delete(key)         ((void)0)
#define pthread_setspecific(key, value) (0)

/* New memory is zero already, and stays that. */
static struct cache_room rooms[2];
static _Atomic(int) rooms_used;
#define aligned_alloc(align, size) ((void *)&rooms[add_relaxed(&rooms_used, 1)])
#define realloc(memory, size)      NULL /* GenMC has none */
#undef memcpy
#undef memset
#define memset(memory, byte, size) ((void)0)

#include "tls_cache.c"

#define __builtin_prefetch(at) ((void)(at))
#include "stats.c"

#define COUNTED 5u /* by the first thread */

#include "steal.c"

/* The end of a thread calls these. */

void registry_lock(void)
{
}

void registry_unlock(void)
{
}

static void *maker(void *unused)
{
    (void)unused;
    tls_entry entry;
    struct cache *c = cache_acquire(&pool, &entry);
    assert(c->limit == SLOTS && c->bottom == &cache_bottom && cache_is_open(c));
    return NULL;
}

/* A walk during which the list changed shows nothing: it is made again. */
static void *reader(void *unused)
{
    (void)unused;
    struct totals totals;
    if (!add_all(&pool, &totals, true))
        return NULL;
    assert(totals.outside == 1 && totals.idle == 0 && totals.owned <= 2u + SCENE);
    assert(totals.owned >= (SCENE == 6 ? 0 : SCENE >= 4 ? 1 : 2));
    assert(totals.counters[DROPS_OVERSIZE] == COUNTED);
    return NULL;
}

static void *leaver(void *unused)
{
    (void)unused;
    cache_disown(&pool, &room_a.cache);
    if (SCENE == 6)
        cache_disown(&pool, &room_b.cache);
    if (SCENE >= 5)
        (void)maker(NULL);
    return NULL;
}

static void *thief(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&pool.caches_lock);
    const struct stolen stolen = steal_caches(&pool, STEAL_ALL, NULL);
    pthread_mutex_unlock(&pool.caches_lock);
    assert(stolen.complete && stolen.buffers == 0);
    return NULL;
}

int main(void)
{
    struct totals totals;
    pool_init(1);
    level_set(&room_a.cache, 1, 0); /* the base is at its other side again, where cache_clear writes */
    store_relaxed(&room_a.cache.counters[DROPS_OVERSIZE], COUNTED);
    steal_init(&pool);
    run(SCENE >= 4 ? leaver : maker, SCENE == 3 ? thief : reader, SCENE == 2 ? maker : NULL);
    assert(add_all(&pool, &totals, true) && totals.outside == 1);
    assert(totals.owned == (SCENE == 2 ? 4 : SCENE == 4 || SCENE == 6 ? 1 : SCENE == 5 ? 2 : 3));
    return 0;
}
