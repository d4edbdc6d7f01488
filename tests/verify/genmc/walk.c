/* SPDX-License-Identifier: MIT
 *
 * walk.c - a thread gets its first cache of a pool while another walks the list of caches, without a lock, for
 * statistics
 *
 *     SCENE 1    one thread makes a cache, beside one that adds up
 *     SCENE 2    two threads make one each, under the lock, beside one that adds up
 *     SCENE 3    one thread makes a cache, beside one that steals from all that there are, under the lock too
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

#include "stats.c"

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

static void *reader(void *unused)
{
    (void)unused;
    const struct totals totals = add_up_once(&pool);
    assert(totals.outside == 1 && totals.idle == 0 && totals.owned >= 2 && totals.owned <= 2u + SCENE);
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
    pool_init(1);
    steal_init(&pool);
    run(maker, SCENE == 3 ? thief : reader, SCENE == 2 ? maker : NULL);
    assert(add_up_once(&pool).owned == (SCENE == 2 ? 4 : 3));
    return 0;
}
