/* SPDX-License-Identifier: MIT
 *
 * tls_cache.h - which thread has which caches
 *
 * A thread finds its cache of a pool in a table of its own, by the pool's slot. The caches of one pool are linked,
 * newest first, and stay in the list until the pool is destroyed; a thread that ends leaves its cache to the next
 * that needs one. So the counters in them are never lost, and live and stats may walk the list without a lock.
 *
 * tls_self is one of
 *
 *     &no_thread      the thread has no cache yet: an empty table
 *     a struct        linked into the list of threads, and the value of the library's pthread key
 *     &gone_thread    the key's destructor has run: an empty table, and nothing fills it. From then on the thread uses
 *                     pool->shared, which goes to the depot with every buffer
 *
 * The table has a place for each of the first slots, so that the fast path need not ask how large it is; pools beyond
 * these are found in the second table, by the slow path.
 */
#ifndef BUFFERPOOL_TLS_CACHE_H
#define BUFFERPOOL_TLS_CACHE_H

#include "cache.h"

#include <pthread.h> /* tells whose C library it is */

/* Where the calling thread's table is found: by one instruction, where in a shared library the default costs a call.
 * glibc keeps room for that when a library is opened with dlopen; others, such as musl, refuse to open it. */
#if defined(__GLIBC__)
#define TLS_SELF_MODEL __attribute__((tls_model("initial-exec")))
#else
#define TLS_SELF_MODEL
#endif

/* The calling thread's table. */
extern _Thread_local struct thread *tls_self TLS_SELF_MODEL;

static inline struct cache *tls_cache_at(size_t place)
{
    return load_relaxed(&tls_self->table[place]);
}

/* Where the thread has the slot's cache; NULL: its tables are too small for that. */
static inline tls_entry *tls_entry_of(struct thread *thread, size_t slot)
{
    if (slot < TLS_INDEX_NONE)
        return &thread->table[slot];
    return slot - TLS_INDEX_NONE < thread->more_size ? &thread->more[slot - TLS_INDEX_NONE] : NULL;
}

/* The calling thread's cache, or its `none`, which has no pool. */
static inline struct cache *tls_cache_find(size_t slot)
{
    tls_entry *entry = tls_entry_of(tls_self, slot);
    return entry != NULL ? load_relaxed(entry) : &tls_self->none;
}

/* The calling thread's cache of the pool, made if need be; pool->shared where that is impossible. NULL: no memory for
 * the fork handlers, without which nothing may be handed out. */
struct cache *tls_cache_own(bufferpool_t *pool);

/* The same, but makes none, and is never NULL. */
struct cache *tls_cache_own_or_shared(bufferpool_t *pool);

/* Forgets the pool in every thread's table. The caller holds the registry's lock and destroys the pool. */
void tls_cache_forget(const bufferpool_t *pool);

/* Frees the caches of a pool that all threads forgot. */
void tls_cache_free_all(bufferpool_t *pool);

/* In the child after fork, the registry's lock held: forgets the other threads. */
void tls_cache_forget_others(void);

/* Then, for each pool: makes the caches that others had empty and free to have. Returns the calling thread's, or
 * NULL. */
struct cache *tls_cache_adopt(bufferpool_t *pool);

#endif
