/* SPDX-License-Identifier: MIT
 *
 * tls_cache.c - threads come, get caches, and go
 *
 * The list of threads and the size of a table change only under the registry's lock. An entry, and which thread has
 * which cache, change only under the pool's caches_lock, so that fork finds both or neither. A thread reads its own
 * table without a lock: other threads replace only the entry of a pool that is being destroyed, and by contract the
 * thread does not use that pool any more. So the tables' entries are relaxed, and so are fields that the locks guard:
 * `owned`, the pressure's state. Where a pool ends, and in the child of fork, no other thread walks the list.
 *
 * No thread waits for a pool's lock under the registry's. A thread that gets its first cache uses the pool, which
 * therefore stays. A thread that ends or flushes may know nothing of the pool, and pins it (registry.h).
 *
 * Where put looks first
 *
 * A buffer's word tells which entry of the table put needs. But a processor that finds the cache through the word waits
 * for the load of the word before it knows where the cache's level is. The next get needs that level to find a buffer,
 * and so on: then all gets and puts are one chain of loads. So put looks into the thread's `last` cache, and only
 * compares the word with its gate. If they differ, put takes the entry of the table, and makes that the last.
 *
 *     1. `last` is the thread's `none`, or an entry of its table. The fast get and put_other (pool.c) store it, for a
 *        pool that the thread uses just then and that therefore stays. The call that destroys a pool replaces it.
 *     2. So a put of one pool's buffer may look into the cache of another pool, which another thread destroys at that
 *        moment. The put writes `busy`, reads the level, and reads the gate, which no word of the first pool equals.
 *        It does nothing else. Until then the memory of that cache must stay. A cache that is the last one of another
 *        thread, when its pool ends, is therefore a stray. Its block stays until that thread makes a cache, flushes, or
 *        ends: then the look is over.
 *     3. A put that looked into the cache of another pool stores `last` with release after that. The call that destroys
 *        the pool replaces the cache by a compare-and-swap with acquire. If that finds another cache, no put is in the
 *        middle of such a look. A plain store could overwrite what the thread stores meanwhile: the next call that
 *        destroys a pool would not find it. The store in the fast get is relaxed. What the thread did in a cache before
 *        that get, it did for the cache's own pool, and by contract before the pool was destroyed, or a store with
 *        release came in between.
 *     4. A thread makes a cache before the cache can become its last one. So the strays of a thread are no more than
 *        the caches that it had when it last made one.
 *     5. The thread that destroys the pool is not looking, even if a put of the last buffer of a closed pool destroys
 *        it. So its own last cache becomes no stray.
 *     6. A thread that ends has the table of gone_thread from the beginning of that. So the hooks that run meanwhile do
 *        not look into the caches that it leaves, which other threads may have by then.
 */
#include "tls_cache.h"

#include "allowance.h"
#include "cache.h"
#include "call.h"
#include "registry.h"
#include "roster.h"

#include <stdlib.h>
#include <string.h>

#define FOUR(x) x, x, x, x
#if UINTPTR_MAX > UINT32_MAX
#define EMPTY_TABLE(none) FOUR(FOUR(FOUR(FOUR(none))))
_Static_assert(TLS_INDEXES == 256, "an empty table has that many entries");
#else
#define EMPTY_TABLE(none) FOUR(FOUR(none)), FOUR(FOUR(none))
_Static_assert(TLS_INDEXES == 32, "an empty table has that many entries");
#endif

#define NO_CACHE                                                                                                       \
    {                                                                                                                  \
        .gate = GATE_NONE, .bottom = &cache_bottom                                                                     \
    }
#define EMPTY(thread)                                                                                                  \
    {                                                                                                                  \
        .table = {EMPTY_TABLE(&(thread).none)}, .last = &(thread).none, .none = NO_CACHE                               \
    }
static struct thread no_thread = EMPTY(no_thread);
static struct thread gone_thread = EMPTY(gone_thread);
struct thread tls_forking = EMPTY(tls_forking);

_Thread_local struct thread *tls_self TLS_MODEL = &no_thread;

static struct thread *threads; /* linked by next; under the registry's lock */
static pthread_key_t key;      /* its value is tls_self; made if key_made; under the registry's lock */
static bool key_made;
static struct thread *forking_self; /* what the forking thread has as tls_self otherwise; under the registry's lock */
static struct thread *inherited;    /* structs of the parent's threads, in a child that has none yet; the same */
static bool abandoned;              /* the process is a child that cannot use the library */

/* ---- the end of a thread ---- */

/* A cache that no thread owns is empty, and its gate is closed. */
static void cache_disown(bufferpool_t *pool, struct cache *c)
{
    roster_lock(pool);
    cache_close(c);
    (void)cache_flush_inside(pool, c);
    allowance_end(pool, c);
    c->pending = PENDING_NOTHING;
    /* should a signal handler have ended the thread in the middle of a call */
    store_relaxed(&c->busy, false);
    store_release(&c->calls, 0); /* with the acquire in close.c */
    store_relaxed(&c->owned, false);
    roster_leave(pool, c);
    roster_unlock(pool);
}

/* A block of caches whose pool has ended is freed with the last stray in it. The registry's lock is held. */
static void free_strays(struct thread *thread)
{
    for (struct cache *c = thread->strays, *next; c != NULL; c = next) {
        next = c->next_open;
        struct cache *first = c->stray.block;
        if (--first->stray.in_block == 0)
            free(first);
    }
    thread->strays = NULL;
}

static void thread_free(struct thread *thread)
{
    free(thread->more);
    free(thread);
}

static void thread_unlink(struct thread *thread)
{
    *thread->link = thread->next;
    if (thread->next != NULL)
        thread->next->link = thread->link;
}

/* Written once, before the first pool is closed; read after a pool was found closed. */
static struct tls_closed on_closed;

void tls_cache_on_closed(const struct tls_closed *calls)
{
    if (on_closed.hold == NULL)
        on_closed = *calls;
}

/* Calls `each` for a cache of a pool that is pinned. While the pool is open, the mark keeps a close waiting; a closed
 * one is held, unless it is about to end. Returns whether the pool is to be ended (close.c). */
static bool call_for(void (*each)(bufferpool_t *pool, struct cache *c), bufferpool_t *pool, struct cache *c)
{
    cache_begin_call(&pool->shared);
    const bool closed = cache_pool_is_closed(pool);
    if (!closed)
        each(pool, c);
    cache_end_call(&pool->shared);
    if (!closed || !on_closed.hold(pool))
        return false;
    each(pool, c);
    return on_closed.release(pool);
}

/* The same for all caches of the thread, with the registry's lock held before and after. If it ends, it has none
 * afterwards. */
static void for_own(struct thread *thread, bool ends, void (*each)(bufferpool_t *pool, struct cache *c))
{
    size_t next = 0;
    for (bufferpool_t *pool; (pool = registry_from(next)) != NULL;) {
        next = pool->index + 1;
        tls_entry *entry = tls_entry_of(thread, pool->index);
        struct cache *c = entry != NULL ? load_relaxed(entry) : &thread->none;
        if (c->pool == NULL)
            continue;
        registry_pin(pool);
        registry_unlock();
        const bool pool_ends = call_for(each, pool, c);
        registry_lock();
        if (ends) /* while the pool is pinned: another thread may have the cache by now, and that one forgets it */
            store_relaxed(entry, &thread->none);
        registry_unpin(pool);
        if (pool_ends) {
            registry_unlock();
            on_closed.end(pool);
            registry_lock();
        }
    }
}

void tls_cache_for_own(void (*each)(bufferpool_t *pool, struct cache *c))
{
    registry_lock();
    free_strays(tls_self);
    for_own(tls_self, false, each);
    registry_unlock();
}

static void (*after_leaving)(bufferpool_t *pool, struct cache *c); /* written once, before any thread has a cache */

void tls_cache_on_thread_end(void (*left)(bufferpool_t *pool, struct cache *c))
{
    if (after_leaving == NULL) /* otherwise a thread that ends may read it just now, without the lock */
        after_leaving = left;
}

static void leave_cache(bufferpool_t *pool, struct cache *c)
{
    struct call call = call_begin("the end of a thread", 0);
    cache_disown(pool, c);
    if (after_leaving != NULL)
        after_leaving(pool, &pool->shared);
    call_end(&call, pool);
}

static void thread_end(void *value)
{
    struct thread *thread = value;
    if (abandoned || thread != tls_self) /* the thread that forked has not used the library in the child */
        return;
    registry_lock();
    tls_self = &gone_thread;
    for_own(thread, true, leave_cache);
    free_strays(thread);
    thread_unlink(thread);
    registry_unlock();
    thread_free(thread);
}

void tls_cache_end(void)
{
    registry_lock();
    free_strays(tls_self);
    if (key_made)
        pthread_key_delete(key);
    key_made = false;
    registry_unlock();
}

/* ---- the beginning ---- */

/* If many threads use a pool, caches are made in blocks of this many. Calls that go over all of them then touch fewer
 * pages, and take a third of the time. */
#define BLOCK      16u
#define BLOCK_FROM 16u /* owners */

static void cache_begin(bufferpool_t *pool, struct cache *c)
{
    memset(c, 0, sizeof(*c));
    c->pool = pool;
    c->capacity = pool->heap.base;
    store_relaxed(&c->gate, gate_closed(desc_word(pool->tag, STATE_LIVE)));
    c->bottom = &cache_bottom;
    cache_begin_notes(c);
    cache_reset(c, 0, 0);
}

static struct cache *cache_in_block(const bufferpool_t *pool, struct cache *first, unsigned i)
{
    return (struct cache *)(void *)((unsigned char *)first + i * cache_size(pool->cache_entries));
}

/* A block of n caches. Returns the first, or NULL if there is no memory. */
static struct cache *block_make(bufferpool_t *pool, unsigned n)
{
    struct cache *first = aligned_alloc(CACHE_LINE, n * cache_size(pool->cache_entries));
    if (first == NULL)
        return NULL;
    for (unsigned i = 0; i < n; i++) {
        struct cache *c = cache_in_block(pool, first, i);
        cache_begin(pool, c);
        c->in_block = (uint8_t)i;
    }
    return first;
}

/* A cache for the calling thread, in its table. Returns NULL if there is no memory. */
static struct cache *cache_acquire(bufferpool_t *pool, tls_entry *entry)
{
    roster_lock(pool);
    struct cache *c = roster_reuse(pool);
    if (c == NULL) {
        const unsigned n = load_relaxed(&pool->owners) < BLOCK_FROM ? 1 : BLOCK;
        roster_unlock(pool);
        c = block_make(pool, n);
        if (c == NULL)
            return NULL;
        roster_lock(pool);
        roster_add(pool, c); /* before the others of the block: tls_cache_free_all */
        for (unsigned i = 1; i < n; i++)
            roster_add_spare(pool, cache_in_block(pool, c, i));
        roster_join(pool, c);
    }
    (void)cache_flush_inside(pool, c); /* moves nothing */
    allowance_begin(pool, c);
    store_relaxed(&c->owned, true);
    c->fenced = true; /* its new owner has yet to see it */
    if (load_relaxed(&pool->pressure.state) == PRESSURE_OFF)
        cache_open(pool, c);
    else
        allowance_lend(pool, c);
    store_relaxed(entry, c);
    roster_unlock(pool);
    return c;
}

static void clear(struct thread *thread, tls_entry *entries, size_t n)
{
    for (size_t i = 0; i < n; i++)
        store_relaxed(&entries[i], &thread->none);
}

static void free_inherited(void)
{
    while (inherited != NULL) {
        struct thread *thread = inherited;
        inherited = thread->next;
        free_strays(thread);
        thread_free(thread);
    }
}

/* The calling thread's struct, made if there is none yet. Returns NULL if there is no memory, or no key. */
static struct thread *thread_own(void)
{
    if (tls_self != &no_thread) {
        free_strays(tls_self);
        return tls_self;
    }
    free_inherited();
    if (!key_made && pthread_key_create(&key, thread_end) != 0)
        return NULL;
    key_made = true;

    struct thread *thread = aligned_alloc(CACHE_LINE, sizeof(*thread));
    if (thread == NULL)
        return NULL;
    if (pthread_setspecific(key, thread) != 0) {
        free(thread);
        return NULL;
    }
    thread->none = (struct cache)NO_CACHE;
    clear(thread, thread->table, TLS_INDEXES);
    store_relaxed(&thread->last, &thread->none);
    thread->strays = NULL;
    thread->more = NULL;
    thread->more_size = 0;
    thread->link = &threads;
    thread->next = threads;
    if (threads != NULL)
        threads->link = &thread->next;
    threads = thread;
    tls_self = thread;
    return thread;
}

/* The calling thread's entry for the pool of that index. Returns NULL if there is no memory. */
static tls_entry *entry_make(size_t index)
{
    struct thread *thread = thread_own();
    if (thread == NULL)
        return NULL;
    tls_entry *entry = tls_entry_of(thread, index);
    if (entry != NULL)
        return entry;
    size_t size = TLS_INDEXES;
    while (size <= index - TLS_INDEX_NONE)
        size *= 2;
    tls_entry *more = realloc(thread->more, size * sizeof(*more)); /* other threads look at it under the lock only */
    if (more == NULL)
        return NULL;
    clear(thread, more + thread->more_size, size - thread->more_size);
    thread->more = more;
    thread->more_size = size;
    return tls_entry_of(thread, index);
}

struct cache *tls_cache_own_or_shared(bufferpool_t *pool)
{
    struct cache *c = tls_cache_find(pool->index);
    return c->pool != NULL ? c : &pool->shared;
}

struct cache *tls_cache_own(bufferpool_t *pool)
{
    struct cache *c = tls_cache_find(pool->index);
    if (c->pool != NULL)
        return c;
    if (tls_self == &gone_thread)
        return &pool->shared;

    registry_lock();
    tls_entry *entry = entry_make(pool->index);
    registry_unlock();
    c = entry != NULL ? cache_acquire(pool, entry) : NULL;
    return c != NULL ? c : &pool->shared;
}

/* ---- the end of a pool ---- */

static struct cache *first_of_block(const bufferpool_t *pool, struct cache *c)
{
    return (struct cache *)(void *)((unsigned char *)c - c->in_block * cache_size(pool->cache_entries));
}

/* Keeps the memory of a cache, of a pool that ends, for a thread that may look at it (2). */
static void keep_stray(const bufferpool_t *pool, struct thread *thread, struct cache *c)
{
    c->stray.block = first_of_block(pool, c);
    c->stray.block->stray.in_block++;
    c->next_open = thread->strays;
    thread->strays = c;
}

/* Returns whether the cache was the last one of the thread, which has none as its last one now (3). */
static bool take_last(struct thread *thread, struct cache *c)
{
    struct cache *last = c;
    while (!cas_acquire(&thread->last, &last, &thread->none)) /* with the release in tls_cache_set_last */
        if (last != c)
            return false;
    return true;
}

void tls_cache_forget(bufferpool_t *pool)
{
    registry_await_unpinned(pool);
    for (struct cache *c = load_relaxed(&pool->caches); c != NULL; c = c->next)
        c->stray.in_block = 0;
    for (struct thread *thread = threads; thread != NULL; thread = thread->next) {
        tls_entry *entry = tls_entry_of(thread, pool->index);
        struct cache *c = entry != NULL ? load_relaxed(entry) : &thread->none;
        if (c->pool == NULL)
            continue;
        store_relaxed(entry, &thread->none);
        if (take_last(thread, c) && thread != tls_self) /* (5) */
            keep_stray(pool, thread, c);
    }

    struct cache *blocks = NULL; /* without strays */
    for (struct cache *c = load_relaxed(&pool->caches), *next; c != NULL; c = next) {
        next = c->next;
        if (c->in_block == 0 && c->stray.in_block == 0) {
            c->next = blocks;
            blocks = c;
        }
    }
    store_relaxed(&pool->caches, blocks);
}

void tls_cache_free_all(bufferpool_t *pool)
{
    for (struct cache *c = load_relaxed(&pool->caches), *next; c != NULL; c = next) {
        next = c->next;
        free(c);
    }
}

/* ---- fork ---- */

void tls_fork_begin(void)
{
    forking_self = tls_self;
    tls_self = &tls_forking;
}

void tls_fork_end(void)
{
    tls_self = forking_self;
}

/* The structs are freed later, if this process comes to make one: at fork that would be a page fault for each. */
void tls_fork_end_in_child(void)
{
    tls_self = forking_self == &gone_thread ? &gone_thread : &no_thread;
    if (inherited == NULL) /* otherwise this process's parent has made none itself */
        inherited = threads;
    threads = NULL;
}

void tls_cache_abandon(void)
{
    abandoned = true;
    tls_self = &no_thread;
}

void tls_cache_disown_all(bufferpool_t *pool)
{
    store_relaxed(&pool->owners, 0);
    store_relaxed(&pool->allowances, 0);
    store_relaxed(&pool->stuck, NULL);
    for (struct cache *c = load_relaxed(&pool->caches); c != NULL; c = c->next) {
        cache_close(c);
        cache_reset(c, 0, 0);
        store_relaxed(&c->extra, 0);
        store_relaxed(&c->busy, false);
        store_relaxed(&c->calls, 0);
        store_relaxed(&c->tickets, 0);
        store_relaxed(&c->allowance, 0);
        c->pending = PENDING_NOTHING;
        c->reserved = 0;
        store_relaxed(&c->owned, false);
    }
    roster_disown_all(pool);
}
