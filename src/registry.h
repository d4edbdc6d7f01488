/* SPDX-License-Identifier: MIT
 *
 * registry.h - all pools of the process, each in a slot of its own, and the lock over pools and threads
 */
#ifndef BUFFERPOOL_REGISTRY_H
#define BUFFERPOOL_REGISTRY_H

#include "heap/desc.h"

/* The default pool's index: it stands in the registry from the start. */
#define REGISTRY_DEFAULT_INDEX 0u

/* What a configuration field is where it is 0. */
#define DEFAULT_BUFFER_CAPACITY     ((size_t)32 << 10)
#define DEFAULT_MAX_CAPACITY        ((size_t)1 << 20)
#define DEFAULT_THREAD_CACHE_BYTES  ((size_t)512 << 10)
#define DEFAULT_ALIGNMENT           ((size_t)64)
#define DEFAULT_RECLAIM_INTERVAL_MS 10000u
#define DEFAULT_RETAIN_MS           1000u

extern struct bufferpool pool_default;

/* The lock over pools and threads. It is taken to create and destroy pools, to give a thread a cache, to flush a
 * thread's caches, when a thread exits, across fork, and for what a child does first. No other lock of the library is
 * held when it is taken, but the one under which a budget makes room (budget.c). Under it no thread waits for a lock of
 * a pool, except in fork: all threads that come and go would wait too.
 *
 * The first thread that takes it gives the default pool its tag, which no buffer has before: init_first_use comes
 * before the first buffer, and takes the lock. */
void registry_lock(void);
void registry_unlock(void);

/* Gives the pool, which has a name and is configured, an index and a tag that no other pool has. Other threads find it
 * from then on. Returns false if there is no index left or no memory; then the name is free again. The caller holds the
 * lock. */
bool registry_add(bufferpool_t *pool);

/* A name for the default pool, in two steps, of which the second cannot fail: `named`, of which only the name is used,
 * gets one that no other pool has; NULL: "default". Returns false if there is no memory. Then the default pool gets it,
 * or it is dropped. The caller holds the lock. */
bool registry_take_default_name(bufferpool_t *named, const char *name);
void registry_set_default_name(const bufferpool_t *named);
void registry_drop_default_name(const bufferpool_t *named);

/* Takes the pool out of the registry: it is POOL_ENDED from now on. The caller holds the lock. */
void registry_remove(bufferpool_t *pool);

/* How many of the pools that were destroyed keep their struct, their name, and the addresses of their descriptors. So a
 * call on one of them, or on one of its buffers, is reported, and meets neither memory that is gone nor another
 * pool. */
#define REGISTRY_ENDED 32u

/* Keeps a removed pool that has nothing left but these. Returns the pool that is kept no longer in its place, for
 * registry_free, or NULL. The caller holds the lock. */
bufferpool_t *registry_keep(bufferpool_t *pool);

/* Frees what is left of a pool; NULL has no effect. */
void registry_free(bufferpool_t *pool);

/* As long as somebody else keeps the struct of a pool, it is not freed, although the pool has ended; what can be used
 * of it then is the lock of its queue. */
void registry_keep_struct(bufferpool_t *pool);
void registry_release(bufferpool_t *pool);

/* The pools that are kept, i from 0 to REGISTRY_ENDED - 1; NULL: none yet. The caller is about to abort. */
const bufferpool_t *registry_ended(unsigned i);

/* Frees those that are kept. */
void registry_end(void);

/* The pool of that index, or NULL. Any thread, without the lock. */
bufferpool_t *registry_find(size_t index);

/* The pool of the lowest index from `index` on, or NULL. The caller holds the lock, or is about to abort. */
bufferpool_t *registry_from(size_t index);

/* For each pool, by index; as registry_from. */
// NOLINTBEGIN(bugprone-macro-parentheses): the loop declares its pool
#define for_each_pool(pool)                                                                                            \
    for (bufferpool_t *pool = registry_from(0); (pool) != NULL; (pool) = registry_from((pool)->index + 1))
// NOLINTEND(bugprone-macro-parentheses)

/* ---- a thread works on a pool that it may know nothing of ---- */

/* bufferpool_destroy waits for a pinned pool. So a thread that pins it needs no lock while it works on it. The caller
 * holds the lock. */
void registry_pin(bufferpool_t *pool);
void registry_unpin(bufferpool_t *pool);

/* Waits until the pool is not pinned. The caller holds the lock, which is let go meanwhile. */
void registry_await_unpinned(const bufferpool_t *pool);

/* ---- in which order pools were made ---- */

/* registry_newest returns a number for the pool that was made last. registry_is_newer returns whether this pool was
 * made after that one. The caller holds the lock. */
uint32_t registry_newest(void);
bool registry_is_newer(const bufferpool_t *pool, uint32_t than);

/* In the child after fork, the lock held: no pool is pinned. */
void registry_after_fork_in_child(void);

#endif
