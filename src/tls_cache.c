/* SPDX-License-Identifier: MIT
 *
 * tls_cache.c - threads come, get caches, and go
 *
 * All changes of a thread's table happen under the registry's lock, those of who has which cache under that and the pool's
 * caches_lock. The owner reads its table without: others only ever replace the entry of a pool that is being destroyed,
 * which the owner, by contract, does not use any more.
 */
#include "tls_cache.h"

#include "background.h"
#include "fork.h"
#include "pool.h"
#include "registry.h"
#include "takeover.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct thread no_thread;
static struct thread gone_thread;

_Thread_local struct thread *tls_self = &no_thread;
static struct desc *no_slots[] = {&cache_bottom};
struct cache tls_cache_none = {.gate = GATE_CLOSED, .slots = no_slots + 1};

static struct thread *threads; /* linked by next; under the registry's lock */
static pthread_key_t key;      /* its value is tls_self; there once key_made; under the registry's lock */
static bool key_made;

/* ---- the end of a thread, and of the library ---- */

/* A cache that nobody owns is empty, and its gate is closed. */
static void cache_disown(bufferpool_t *pool, struct cache *c)
{
    pthread_mutex_lock(&pool->caches_lock);
    cache_close(c);
    (void)cache_flush_inside(pool, c);
    store_relaxed(&c->owned, false);
    c->next_unowned = pool->unowned_caches;
    pool->unowned_caches = c;
    pthread_mutex_unlock(&pool->caches_lock);
    wait_check(pool);
}

static void thread_unlink(struct thread *thread)
{
    *thread->link = thread->next;
    if (thread->next != NULL)
        thread->next->link = thread->link;
}

static void thread_end(void *value)
{
    struct thread *thread = value;
    registry_lock();
    for (size_t slot = 0; slot < thread->size; slot++) {
        struct cache *c = load_relaxed(&thread->table[slot]);
        if (c != &tls_cache_none)
            cache_disown(registry_find(slot), c);
    }
    thread_unlink(thread);
    tls_self = &gone_thread;
    registry_unlock();
    free(thread);
}

/* The shared library is never unmapped. A plug-in that contains the static one may be, and its key must go with it. */
__attribute__((destructor)) static void library_end(void)
{
    background_stop();
    registry_lock();
    if (key_made)
        pthread_key_delete(key);
    key_made = false;
    registry_unlock();
}

/* ---- the beginning ---- */

static struct cache *cache_make(const bufferpool_t *pool)
{
    struct cache *c = aligned_alloc(CACHE_LINE, sizeof(*c));
    if (c == NULL)
        return NULL;
    memset(c, 0, sizeof(*c));
    c->gate = GATE_CLOSED;
    struct desc **slots = malloc((pool->cache_slots + 1) * sizeof(struct desc *));
    if (slots == NULL) {
        free(c);
        return NULL;
    }
    slots[0] = &cache_bottom;
    c->slots = slots + 1;
    return c;
}

static void cache_link(bufferpool_t *pool, struct cache *c)
{
    c->next = load_relaxed(&pool->caches);
    store_release(&pool->caches, c); /* with the acquires of those who walk the list */
}

static struct cache *cache_acquire(bufferpool_t *pool)
{
    pthread_mutex_lock(&pool->caches_lock);
    struct cache *c = pool->unowned_caches;
    if (c != NULL)
        pool->unowned_caches = c->next_unowned;
    else if ((c = cache_make(pool)) != NULL)
        cache_link(pool, c);
    if (c != NULL) {
        (void)cache_flush_inside(pool, c); /* nothing to move, but it sets the limit */
        store_relaxed(&c->owned, true);
        if (load_relaxed(&pool->pressure.state) == PRESSURE_OFF)
            cache_open(pool, c);
    }
    pthread_mutex_unlock(&pool->caches_lock);
    return c;
}

/* The calling thread's table, large enough for the slot; NULL: no memory, or no key. */
static struct thread *thread_with(size_t slot)
{
    struct thread *old = tls_self;
    if (slot < old->size)
        return old;
    if (!key_made && pthread_key_create(&key, thread_end) != 0)
        return NULL;
    key_made = true;

    size_t size = 8;
    while (size <= slot)
        size *= 2;
    struct thread *thread = malloc(sizeof(*thread) + size * sizeof(thread->table[0]));
    if (thread == NULL)
        return NULL;
    if (pthread_setspecific(key, thread) != 0) {
        free(thread);
        return NULL;
    }
    thread->size = size;
    thread->bytes = size * sizeof(thread->table[0]);
    for (size_t i = 0; i < size; i++)
        store_relaxed(&thread->table[i], i < old->size ? load_relaxed(&old->table[i]) : &tls_cache_none);
    thread->link = &threads;
    thread->next = threads;
    if (threads != NULL)
        threads->link = &thread->next;
    threads = thread;
    if (old != &no_thread) {
        thread_unlink(old);
        free(old);
    }
    tls_self = thread;
    return thread;
}

struct cache *tls_cache_own_or_shared(bufferpool_t *pool)
{
    struct cache *c = tls_cache_find(pool->slot);
    return c != &tls_cache_none ? c : &pool->shared;
}

struct cache *tls_cache_own(bufferpool_t *pool)
{
    struct cache *c = tls_cache_find(pool->slot);
    if (c != &tls_cache_none)
        return c;
    if (tls_self == &gone_thread)
        return &pool->shared;

    takeover_init();
    registry_lock();
    bool ready = fork_handlers_install();
    struct thread *self = ready ? thread_with(pool->slot) : NULL;
    c = self != NULL ? cache_acquire(pool) : NULL;
    if (c != NULL)
        store_relaxed(&self->table[pool->slot], c);
    registry_unlock();
    if (!ready)
        return NULL;
    return c != NULL ? c : &pool->shared;
}

/* ---- the end of a pool ---- */

void tls_cache_forget(const bufferpool_t *pool)
{
    for (struct thread *thread = threads; thread != NULL; thread = thread->next)
        if (pool->slot < thread->size)
            store_relaxed(&thread->table[pool->slot], &tls_cache_none);
}

void tls_cache_free_all(bufferpool_t *pool)
{
    for (struct cache *c = load_relaxed(&pool->caches); c != NULL;) {
        struct cache *next = c->next;
        free(c->slots - 1);
        free(c);
        c = next;
    }
}

/* ---- fork ---- */

void tls_cache_forget_others(void)
{
    for (struct thread *thread = threads; thread != NULL;) {
        struct thread *next = thread->next;
        if (thread != tls_self) {
            thread_unlink(thread);
            free(thread);
        }
        thread = next;
    }
}

struct cache *tls_cache_adopt(bufferpool_t *pool)
{
    struct cache *own = tls_cache_find(pool->slot);
    if (own == &tls_cache_none)
        own = NULL;
    pool->unowned_caches = NULL;
    for (struct cache *c = load_relaxed(&pool->caches); c != NULL; c = c->next) {
        if (c == own)
            continue;
        cache_close(c);
        store_relaxed(&c->level, 0);
        store_relaxed(&c->extra, 0);
        store_relaxed(&c->busy, false);
        c->budget = 0;
        store_relaxed(&c->owned, false);
        c->next_unowned = pool->unowned_caches;
        pool->unowned_caches = c;
    }
    return own;
}
