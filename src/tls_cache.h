/* SPDX-License-Identifier: MIT
 *
 * tls_cache.h - which thread has which caches
 *
 * A thread finds its cache of a pool in a table of its own, by the pool's TLS index (types.h). A thread that ends
 * leaves its cache to the next thread that needs one, and what it counted to the pool; the memory of a cache stays
 * until the pool is destroyed (roster.h), or longer (tls_cache.c).
 *
 * tls_self is one of
 *
 *     &no_thread      the thread has no cache yet: an empty table
 *     a struct        linked into the list of threads, and the value of the library's pthread key
 *     &gone_thread    the key's destructor runs, or has run: an empty table, and nothing fills it. From then on the
 *                     thread uses pool->shared, so every buffer comes from the depot or goes there
 *     &tls_forking    the thread is between two handlers of fork: an empty table (fork.c)
 */
#ifndef BUFFERPOOL_TLS_CACHE_H
#define BUFFERPOOL_TLS_CACHE_H

#include "types.h"

/* The calling thread's table. */
extern _Thread_local struct thread *tls_self TLS_MODEL;

/* Where put looks first: see tls_cache.c. */
static inline struct cache *tls_cache_last(void)
{
    return load_relaxed(&tls_self->last);
}

/* After put has looked there in vain; the thread uses the pool of `c`, or `c` has none. */
static inline void tls_cache_set_last(struct cache *c)
{
    store_release(&tls_self->last, c); /* with the acquire in forget (tls_cache.c) */
}

static inline struct cache *tls_cache_at(size_t tls_index)
{
    return load_relaxed(&tls_self->table[tls_index]);
}

/* The thread's entry for the pool of that index. Returns NULL if its tables are too small for that. */
static inline tls_entry *tls_entry_of(struct thread *thread, size_t index)
{
    if (index < TLS_INDEX_NONE)
        return &thread->table[index];
    return index - TLS_INDEX_NONE < thread->more_size ? &thread->more[index - TLS_INDEX_NONE] : NULL;
}

/* The calling thread's cache, or its `none`, which has no pool. */
static inline struct cache *tls_cache_find(size_t index)
{
    tls_entry *entry = tls_entry_of(tls_self, index);
    return entry != NULL ? load_relaxed(entry) : &tls_self->none;
}

/* Returns the calling thread's cache of the pool. Makes one if there is none yet, and returns pool->shared where that
 * is impossible. */
struct cache *tls_cache_own(bufferpool_t *pool);

/* The same, but makes none: returns pool->shared instead. */
struct cache *tls_cache_own_or_shared(bufferpool_t *pool);

/* Calls `each` for the calling thread's caches, of all pools, with no lock held. */
void tls_cache_for_own(void (*each)(bufferpool_t *pool, struct cache *c));

/* Sets what is called in a thread that ends, with no lock held, after one of its caches has gone to the depot; `c` is
 * pool->shared. Call this before any thread has a cache. */
void tls_cache_on_thread_end(void (*left)(bufferpool_t *pool, struct cache *c));

/* For what goes over the calling thread's caches, of a closed pool (close.h). Set under the registry's lock, before the
 * first pool is closed. */
struct tls_closed {
    bool (*hold)(bufferpool_t *pool);
    bool (*release)(bufferpool_t *pool);
    void (*end)(bufferpool_t *pool); /* the pool is pinned no longer */
};
void tls_cache_on_closed(const struct tls_closed *calls);

/* Forgets the pool in every thread's table. The caller destroys the pool, and holds the registry's lock, which is let
 * go while another thread works on the pool. */
void tls_cache_forget(bufferpool_t *pool);

/* Frees the caches of a pool that all threads forgot, but for those that a thread may still look at (tls_cache.c). No
 * lock need be held. */
void tls_cache_free_all(bufferpool_t *pool);

/* At the end of the library: threads that end later do not call into it. */
void tls_cache_end(void);

/* Around fork, with the registry's lock held. In between the calling thread has the table `tls_forking`, without
 * caches, so each of its calls is a slow one. In the child it has none after that, nor has any thread. */
void tls_fork_begin(void);
void tls_fork_end(void);
void tls_fork_end_in_child(void);

extern struct thread tls_forking;

static inline bool tls_is_forking(void)
{
    return tls_self == &tls_forking;
}

/* In a child that cannot use the library: no call is a fast one, and threads that end do not use it either. */
void tls_cache_abandon(void);

/* In the child, with the registry's lock held: empties the pool's caches. No thread owns them any longer. */
void tls_cache_disown_all(bufferpool_t *pool);

#endif
