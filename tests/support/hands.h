/* SPDX-License-Identifier: MIT
 *
 * hands.h - threads that do one step at a time, when the test says so, and sleep in between
 *
 * Stealing is about buffers that idle in the cache of a sleeping thread. A hand sleeps between its steps. A step may
 * leave the hand inside its cache (hand_stall): then it looks like a thread that lost its processor in the middle of a
 * call. For tests with INTERNAL.
 */
#ifndef TEST_HANDS_H
#define TEST_HANDS_H

#include "laws.h"

#include "inside.h"
#include "tls_cache.h"

#include <semaphore.h>

enum { HANDS = 16, HAND_HOLDS = 128 };

struct hand {
    bufferpool_t *pool;
    unsigned index;
    bufferpool_buf_t *bufs[HAND_HOLDS];
    size_t n;            /* buffers that it holds */
    size_t want;         /* an argument of steps */
    size_t grow;         /* another: hand_get grows what it gets to so many bytes */
    struct cache *cache; /* its own, after hand_stall */
    pthread_t thread;
    sem_t go, done;
    void (*step)(struct hand *);
};

static inline void sem_wait_for_sure(sem_t *sem)
{
    while (sem_wait(sem) != 0)
        ;
}

static inline void *hand_main(void *arg)
{
    struct hand *hand = arg;
    for (;;) {
        sem_wait_for_sure(&hand->go);
        if (hand->step == NULL)
            return NULL;
        hand->step(hand);
        sem_post(&hand->done);
    }
}

/* ---- for the test ---- */

/* Whether another thread can make any call of the pool to its end, although this thread was stopped within one. */
static inline bool pool_is_unlocked(bufferpool_t *pool)
{
    pthread_mutex_t *const locks[] = {&pool->caches_lock, &pool->waiters.lock, &pool->quarantine.lock,
                                      &pool->heap.slabs.lock};
    bool unlocked = true;
    for (size_t i = 0; i < sizeof locks / sizeof locks[0]; i++) {
        if (pthread_mutex_trylock(locks[i]) == 0)
            pthread_mutex_unlock(locks[i]);
        else
            unlocked = false;
    }
    return unlocked;
}

static inline void hand_begin(struct hand *hand, bufferpool_t *pool, unsigned index)
{
    *hand = (struct hand){.pool = pool, .index = index};
    if (sem_init(&hand->go, 0, 0) != 0 || sem_init(&hand->done, 0, 0) != 0 ||
        pthread_create(&hand->thread, NULL, hand_main, hand) != 0)
        abort();
}

static inline void hand_start(struct hand *hand, void (*step)(struct hand *))
{
    hand->step = step;
    sem_post(&hand->go);
}

static inline void hand_finish(struct hand *hand)
{
    sem_wait_for_sure(&hand->done);
}

static inline void hand_do(struct hand *hand, void (*step)(struct hand *))
{
    hand_start(hand, step);
    hand_finish(hand);
}

/* The end of its thread. */
static inline void hand_end(struct hand *hand)
{
    hand_start(hand, NULL);
    pthread_join(hand->thread, NULL);
    sem_destroy(&hand->go);
    sem_destroy(&hand->done);
}

static inline void hands_begin(struct hand hands[HANDS], bufferpool_t *pool)
{
    for (unsigned i = 0; i < HANDS; i++)
        hand_begin(&hands[i], pool, i);
}

static inline void hands_do(struct hand hands[HANDS], void (*step)(struct hand *))
{
    for (unsigned i = 0; i < HANDS; i++)
        hand_do(&hands[i], step);
}

static inline void hand_nothing(void *arg, unsigned index)
{
    (void)arg, (void)index;
}

/* Fails the test if a thread_check() did in one of them. */
static inline void hands_end(struct hand hands[HANDS])
{
    for (unsigned i = 0; i < HANDS; i++)
        hand_end(&hands[i]);
    run_threads(1, hand_nothing, NULL);
}

/* ---- steps ---- */

static inline void hand_get(struct hand *hand)
{
    for (size_t i = 0; i < hand->want; i++) {
        bufferpool_buf_t *buf = bufferpool_get(hand->pool);
        if (!thread_check(buf != NULL))
            abort();
        if (hand->grow > buf->cap)
            thread_check(bufferpool_buf_reserve(buf, hand->grow) == 0);
        hand->bufs[hand->n++] = buf;
    }
}

static inline void hand_put(struct hand *hand)
{
    while (hand->n > 0) {
        bufferpool_buf_t *buf = hand->bufs[--hand->n];
        buf->len = buf->cap; /* used well, so that a grown one keeps its size */
        bufferpool_put(buf);
    }
}

static inline void hand_flush(struct hand *hand)
{
    (void)hand;
    bufferpool_thread_flush();
}

/* Some turns that want no more than one buffer. */
static inline void hand_use(struct hand *hand)
{
    for (size_t i = 0; i < hand->want; i++) {
        bufferpool_buf_t *buf = bufferpool_get(hand->pool);
        if (!thread_check(buf != NULL))
            abort();
        bufferpool_put(buf);
    }
}

/* Goes inside its cache as a call does, and stays there. */
static inline void hand_stall(struct hand *hand)
{
    hand->cache = tls_cache_find(hand->pool->index);
    thread_check(hand->cache->pool == hand->pool);
    cache_enter(hand->cache);
    thread_check(!gate_is_closed(gate_load(&hand->cache->gate)));
}

static inline void hand_unstall(struct hand *hand)
{
    cache_leave(hand->cache);
}

/* ---- scenes ---- */

/* n buffers of at least `grow` bytes, shared out evenly, come to idle with the hands. */
static inline void hands_fill(struct hand hands[HANDS], size_t n, size_t grow)
{
    for (unsigned i = 0; i < HANDS; i++) {
        hands[i].want = n / HANDS + (i < n % HANDS);
        hands[i].grow = grow;
    }
    hands_do(hands, hand_get);
    hands_do(hands, hand_put);
}

#endif /* TEST_HANDS_H */
