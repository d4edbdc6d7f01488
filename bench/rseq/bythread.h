/* SPDX-License-Identifier: MIT
 *
 * bythread.h - the functions of percpu.h, with a cache for each thread: the control
 *
 * percpu.c is the same with both. So a difference of time is that between the two kinds of caches, and not one of how
 * buffers lie in memory or of the depot. As in libbufferpool, an owner says by two plain stores that it is inside.
 */
#ifndef BENCH_BYTHREAD_H
#define BENCH_BYTHREAD_H

#include "percpu.h"

#include <pthread.h>
#include <stdlib.h>

enum { BYTHREAD_MOST = 1024 };

static struct percpu_cache bythread_nobodys; /* full and empty */
static _Thread_local struct percpu_cache *bythread_own = &bythread_nobodys;
static pthread_mutex_t bythread_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_key_t bythread_key;
static struct percpu_cache *bythread_free[BYTHREAD_MOST];
static unsigned bythread_n_free, bythread_n;

/* The next thread goes on with the cache of one that ended. */
static void bythread_end(void *cache)
{
    pthread_mutex_lock(&bythread_lock);
    bythread_free[bythread_n_free++] = cache;
    pthread_mutex_unlock(&bythread_lock);
    bythread_own = &bythread_nobodys;
}

static void bythread_begin(struct percpu_cache *caches)
{
    if (bythread_own != &bythread_nobodys)
        return;
    pthread_mutex_lock(&bythread_lock);
    if (bythread_n == 0 && pthread_key_create(&bythread_key, bythread_end) != 0)
        abort();
    if (bythread_n_free > 0)
        bythread_own = bythread_free[--bythread_n_free];
    else if (bythread_n < BYTHREAD_MOST)
        bythread_own = &caches[bythread_n++];
    else
        abort();
    pthread_mutex_unlock(&bythread_lock);
    (void)pthread_setspecific(bythread_key, bythread_own);
}

static inline struct percpu_cache *bythread_enter(void)
{
    __atomic_store_n(&bythread_own->busy, 1, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return bythread_own;
}

static inline void bythread_leave(struct percpu_cache *own)
{
    __atomic_store_n(&own->busy, 0, __ATOMIC_RELEASE);
}

static inline bool bythread_open(const struct percpu_cache *own)
{
    return __atomic_load_n(&own->closed, __ATOMIC_RELAXED) == 0;
}

static inline void *bythread_pop(void)
{
    struct percpu_cache *own = bythread_enter();
    void *popped = NULL;
    const unsigned n = percpu_count(own);
    if (__builtin_expect(n != 0 && bythread_open(own), 1)) {
        popped = own->slots[n - 1];
        own->level += ((uint64_t)1 << 16) - 1;
    }
    bythread_leave(own);
    return popped;
}

static inline bool bythread_push_many(void *const *from, uint64_t k)
{
    struct percpu_cache *own = bythread_enter();
    const unsigned n = percpu_count(own);
    const bool done = n + k <= own->limit && bythread_open(own);
    for (uint64_t i = 0; done && i < k; i++)
        own->slots[n + i] = from[i];
    own->level += done ? k : 0;
    bythread_leave(own);
    return done;
}

static inline bool bythread_push(void *pushed)
{
    struct percpu_cache *own = bythread_enter();
    const unsigned n = percpu_count(own);
    const bool done = n < own->limit && bythread_open(own);
    if (__builtin_expect(done, 1)) {
        own->slots[n] = pushed;
        own->level++;
    }
    bythread_leave(own);
    return done;
}

static inline bool bythread_pop_many(void **to, uint64_t k)
{
    struct percpu_cache *own = bythread_enter();
    const unsigned n = percpu_count(own);
    const bool done = k <= n && bythread_open(own);
    for (uint64_t i = 0; done && i < k; i++)
        to[i] = own->slots[n - k + i];
    own->level -= done ? k : 0;
    bythread_leave(own);
    return done;
}

#define percpu_pop(caches)                bythread_pop()
#define percpu_push(caches, buf)          bythread_push(buf)
#define percpu_pop_many(caches, to, k)    bythread_pop_many(to, k)
#define percpu_push_many(caches, bufs, k) bythread_push_many(bufs, k)

#endif
