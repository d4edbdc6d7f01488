/* SPDX-License-Identifier: MIT
 *
 * wait.c - callers that wait at the cap for a buffer, first come, first served
 *
 * While the queue is not empty, the flag `wanted` in the depot's counts is set. A buffer, or the right to make one, is
 * given to the first in the queue, who is woken only then: so nobody wakes for nothing, and nobody who came later,
 * waiting or not, takes a put away from who came first.
 *
 * No wake-up is lost: who waits sets the flag first and looks into depot and cap afterwards; whoever puts something
 * there looks at the flag afterwards. depot.c (11) says why one of the two sees the other. What idles in thread caches
 * is no matter of theirs: who waits sees to it that the pool is under pressure, which cannot end while the flag is set.
 * Where entering it takes several attempts (pressure.c), the attempts are made here every RETRY_MS.
 */
#include "wait.h"

#include "clock.h"
#include "debug/modes.h"
#include "pool.h"
#include "pressure.h"

#define RETRY_MS 2

struct waiter {
    struct waiter *next;
    struct wait_result result;
    pthread_cond_t woken;
};

/* The queue's lock is held in all of these. */

static bool is_served(const struct waiter *w)
{
    return w->result.d != NULL || w->result.reserved;
}

static void append(struct wait_queue *queue, struct waiter *w)
{
    *(queue->last != NULL ? &queue->last->next : &queue->first) = w;
    queue->last = w;
}

static void drop(bufferpool_t *pool, const struct waiter *w)
{
    struct wait_queue *queue = &pool->waiters;
    struct waiter *before = NULL;
    for (struct waiter *at = queue->first; at != w; at = at->next)
        before = at;
    *(before != NULL ? &before->next : &queue->first) = w->next;
    if (queue->last == w)
        queue->last = before;
    if (queue->first == NULL)
        depot_want(&pool->depot, false);
}

static void serve_first(bufferpool_t *pool, struct wait_result result)
{
    struct waiter *w = pool->waiters.first;
    w->result = result;
    drop(pool, w);
    pthread_cond_signal(&w->woken);
}

/* Takes one buffer from the depot for somebody who waits; NULL: it is empty. */
static struct desc *take_from_depot(bufferpool_t *pool)
{
    const struct magazine magazine = depot_pop(&pool->depot, &pool->heap.table);
    if (magazine.head == NULL)
        return NULL;
    struct desc *bufs[MAGAZINE_MAX];
    magazine_open(&magazine, &pool->heap.table, bufs);
    depot_take(&pool->depot, 1);
    cache_left_depot(pool, 1, magazine.head->pub.cap);
    if (magazine.n > 1)
        depot_restore(&pool->depot, bufs, magazine.n - 1, magazine.grown);
    return magazine.head;
}

static void serve_all(bufferpool_t *pool)
{
    while (pool->waiters.first != NULL) {
        struct wait_result result = {take_from_depot(pool), false};
        if (modes_have(MODE_QUARANTINE) && result.d == NULL && (result.d = quarantine_take(pool)) != NULL)
            cache_moved(pool, &pool->shared, -1); /* who waits will count it */
        if (result.d == NULL)
            result.reserved = depot_reserve(&pool->depot, &pool->max_live);
        if (result.d == NULL && !result.reserved)
            return;
        serve_first(pool, result);
    }
}

/* ---- for everybody ---- */

void wait_check(bufferpool_t *pool)
{
    if (likely(!depot_wanted(&pool->depot)))
        return;
    pthread_mutex_lock(&pool->waiters.lock);
    serve_all(pool);
    pthread_mutex_unlock(&pool->waiters.lock);
}

bool wait_hand_over(bufferpool_t *pool, struct desc *d)
{
    if (likely(!depot_wanted(&pool->depot)))
        return false;
    pthread_mutex_lock(&pool->waiters.lock);
    bool wanted = pool->waiters.first != NULL;
    if (wanted)
        serve_first(pool, (struct wait_result){d, false});
    pthread_mutex_unlock(&pool->waiters.lock);
    return wanted;
}

static bool init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0)
        return false;
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    bool made = pthread_cond_init(condition, &attributes) == 0;
    pthread_condattr_destroy(&attributes);
    return made;
}

/* Returns when it was served or the time is over. */
static void wait_until(bufferpool_t *pool, struct waiter *w, const struct timespec *deadline)
{
    bool over = false;
    while (!is_served(w) && !over) {
        if (!depot_counts(&pool->depot).pressure) {
            pthread_mutex_unlock(&pool->waiters.lock);
            pressure_enter(pool);
            pthread_mutex_lock(&pool->waiters.lock);
            if (is_served(w))
                return;
        }
        struct timespec retry = clock_after_ms(RETRY_MS);
        bool sure = depot_counts(&pool->depot).pressure;
        bool last = deadline != NULL && (sure || clock_before(deadline, &retry));
        if (sure && deadline == NULL)
            pthread_cond_wait(&w->woken, &pool->waiters.lock);
        else if (pthread_cond_timedwait(&w->woken, &pool->waiters.lock, last ? deadline : &retry) != 0)
            over = last;
    }
}

bool wait_for_buffer(bufferpool_t *pool, unsigned timeout_ms, struct wait_result *result)
{
    struct waiter w = {NULL, {NULL, false}, PTHREAD_COND_INITIALIZER};
    struct timespec deadline = clock_after_ms(timeout_ms);
    int cancelable;
    if (!init_condition(&w.woken))
        return false;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelable); /* the queue must not point to a stack that is gone */
    pthread_mutex_lock(&pool->waiters.lock);
    append(&pool->waiters, &w);
    depot_want(&pool->depot, true);
    serve_all(pool);
    wait_until(pool, &w, timeout_ms == BUFFERPOOL_NEVER ? NULL : &deadline);
    if (!is_served(&w))
        drop(pool, &w);
    pthread_mutex_unlock(&pool->waiters.lock);
    pthread_setcancelstate(cancelable, NULL);
    pthread_cond_destroy(&w.woken);
    *result = w.result;
    return true;
}
