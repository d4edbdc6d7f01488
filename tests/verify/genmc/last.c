/* SPDX-License-Identifier: MIT
 *
 * last.c - a put looks into its thread's last cache, whose pool another thread destroys
 *
 *     SCENE 1    a put of another pool's buffer; then the thread makes a cache
 *     SCENE 2    two puts of another pool's buffers; then the same
 *     SCENE 3    a put of another pool's buffer, and a get from a third pool
 *     SCENE 4    two pools are destroyed, while the thread goes from the first of them to the second and then puts
 *
 * To free a cache is a plain write to it. A use of the cache that does not come before is a race.
 */
#include "caches.h"

typedef unsigned pthread_key_t;
#define pthread_key_create(key, end)    (0)
#define pthread_key_delete(key)         ((void)0)
#define pthread_setspecific(key, value) (0)
#define aligned_alloc(align, size)      NULL /* GenMC has none */
#define realloc(memory, size)           NULL
#undef memcpy
#undef memset
#define memset(memory, byte, size) ((void)(memory))

static struct cache_room ended_room, first_room;
static _Atomic(int) times_freed; /* of ended_room */

static void freed(void *memory)
{
    struct cache_room *room = memory;
    assert(room == &ended_room || room == &first_room);
    *(unsigned char *)&room->cache.busy = 0; /* plain */
    (void)add_relaxed(&times_freed, room == &ended_room);
}
#define free(memory) freed(memory)

#include "tls_cache.c"

static pthread_mutex_t lock;

void registry_lock(void)
{
    pthread_mutex_lock(&lock);
}

void registry_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

void registry_await_unpinned(const bufferpool_t *unused)
{
    (void)unused;
}

/* `pool` has room_a. The third pool has room_b, of which no more is needed than the address. */
enum { INDEX = 1, ENDED_INDEX = 2, FIRST_INDEX = 3 };
static struct bufferpool ended_pool, first_pool; /* first_pool ends before ended_pool */
static struct thread owner;
static _Atomic(bool) moved; /* the thread does not use ended_pool any more */

/* The steps of put (pool.c) that concern the last cache. */
static void put_by_last(unsigned i)
{
    struct desc *d = &scene_descs[i];
    const uintptr_t word = load_relaxed(&d->word);
    struct cache *last = tls_cache_last();
    if (cache_push_plain(last, d, word))
        return;
    struct cache *c = tls_cache_at(desc_tls_index_of(word));
    assert(c == &room_a.cache && c != last);
    tls_cache_set_last(c);
    const bool pushed = cache_push_plain(c, d, word);
    assert(pushed);
}

static void *user(void *unused)
{
    (void)unused;
    tls_self = &owner;
    if (SCENE == 4) {
        store_relaxed(&tls_self->last, &ended_room.cache); /* the last step of a fast get */
        store_release(&moved, true);
    }
    put_by_last(0);
    if (SCENE == 2)
        put_by_last(1);
    if (SCENE == 3) {
        store_relaxed(&tls_self->last, &room_b.cache); /* the last step of a fast get */
        return NULL;
    }
    registry_lock();
    free_strays(&owner);
    registry_unlock();
    return NULL;
}

static void *destroyer(void *unused)
{
    (void)unused;
    tls_self = &no_thread;
    if (SCENE == 4) {
        registry_lock();
        tls_cache_forget(&first_pool);
        registry_unlock();
        tls_cache_free_all(&first_pool);
        assume(load_acquire(&moved));
    }
    registry_lock();
    tls_cache_forget(&ended_pool);
    registry_unlock();
    tls_cache_free_all(&ended_pool);
    return NULL;
}

static void end_with(struct bufferpool *ended, size_t index, struct cache_room *room)
{
    struct cache *c = &room->cache;
    ended->index = index;
    ended->cache_entries = SLOTS;
    store_relaxed(&ended->caches, c);
    c->pool = ended;
    c->bottom = &cache_bottom;
    c->limit = SLOTS;
    store_relaxed(&c->gate, desc_word(index, STATE_LIVE));
    store_relaxed(&owner.table[index], c);
    store_relaxed(&owner.last, c);
}

int main(void)
{
    pool_init(2);
    pool.index = INDEX;
    pool.tag = INDEX; /* the TLS index is the lowest part of it */
    store_relaxed(&owner.table[INDEX], &room_a.cache);
    end_with(&ended_pool, ENDED_INDEX, &ended_room);
    if (SCENE == 4)
        end_with(&first_pool, FIRST_INDEX, &first_room);
    store_relaxed(&owner.none.gate, GATE_NONE);
    owner.none.bottom = &cache_bottom;
    threads = &owner;
    pthread_mutex_init(&lock, NULL);

    run(user, destroyer, NULL);

    assert(load_relaxed(&owner.last) != &ended_room.cache);
    assert(load_relaxed(&owner.table[ENDED_INDEX]) == &owner.none);
    const bool stays = SCENE != 4 && owner.strays != NULL; /* the user came first, and makes no cache any more */
    assert(SCENE == 4 || (load_relaxed(&times_freed) == !stays && (!stays || owner.strays == &ended_room.cache)));
    assert(cache_idle(&room_a.cache) == (SCENE == 2 ? 2 : 1));
    return 0;
}
