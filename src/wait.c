/* SPDX-License-Identifier: MIT
 *
 * wait.c - callers that wait at the cap for a buffer, first come, first served
 *
 * While the queue is not empty, the flag `wanted` in the depot's counts is set. A buffer, or the right to make one, is
 * given to the first waiter in the queue, and only then that thread is woken. So no thread wakes for nothing, and no
 * thread that came later, waiting or not, takes a put away from one that came first.
 *
 * No wake-up is lost: a waiter sets the flag first and looks into the depot and at the cap afterwards; a call that puts
 * something there looks at the flag afterwards. depot.c (13) says why one of the two sees the other. Buffers that idle
 * in thread caches do not count here: a waiter makes sure that the pool is under pressure, which cannot end while the
 * flag is set. Where several attempts are needed to enter the pressure (pressure.c), the waiter makes one every
 * RETRY_MS.
 */
#include "wait.h"

#include "cache.h"
#include "clock.h"
#include "debug/modes.h"
#include "debug/quarantine.h"

#define RETRY_MS 2

/* The queue's lock is held in all of these. */

static bool is_served(const struct waiter *w)
{
    return w->buffer != NULL || w->reserved;
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

static void serve_first(bufferpool_t *pool, struct desc *d)
{
    struct waiter *w = pool->waiters.first;
    w->buffer = d;
    w->reserved = d == NULL;
    drop(pool, w);
    pthread_cond_signal(&w->woken);
}

/* Takes one buffer from the depot for a waiter. Returns NULL if the depot is empty. */
static struct desc *take_from_depot(bufferpool_t *pool)
{
    const struct magazine magazine = depot_pop_some(&pool->depot, &pool->heap.table, 1);
    if (magazine.head == NULL)
        return NULL;
    cache_left_depot(pool, 1, magazine.head->pub.cap);
    if (magazine.n > 1) {
        struct desc *bufs[MAGAZINE_MAX];
        magazine_open(&magazine, &pool->heap.table, bufs);
        depot_restore(&pool->depot, &pool->heap.table, bufs, magazine.n - 1, magazine.grown);
    }
    return magazine.head;
}

/* While more exist than the cap, what idles in the depot is freed, and given to nobody who waits. */
static void serve_all(bufferpool_t *pool)
{
    while (pool->waiters.first != NULL && !depot_over_cap(&pool->depot, &pool->max_live)) {
        struct desc *d = take_from_depot(pool);
        if (modes_have(MODE_QUARANTINE) && d == NULL && (d = quarantine_take(pool)) != NULL)
            cache_moved(pool, &pool->shared, -1); /* the waiter will count it */
        if (d == NULL && !depot_reserve(&pool->depot, &pool->max_live))
            return;
        serve_first(pool, d);
    }
}

/* ---- for calls that give ---- */

void wait_serve_all(bufferpool_t *pool)
{
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
        serve_first(pool, d);
    pthread_mutex_unlock(&pool->waiters.lock);
    return wanted;
}

/* ---- for callers that wait ---- */

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

bool wait_begin(bufferpool_t *pool, struct waiter *w, unsigned timeout_ms)
{
    *w = (struct waiter){.endless = timeout_ms == BUFFERPOOL_NEVER, .deadline = clock_after_ms(timeout_ms)};
    if (!init_condition(&w->woken))
        return false;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &w->cancelable);
    pthread_mutex_lock(&pool->waiters.lock);
    append(&pool->waiters, w);
    depot_want(&pool->depot, true);
    serve_all(pool);
    pthread_mutex_unlock(&pool->waiters.lock);
    return true;
}

bool wait_once(bufferpool_t *pool, struct waiter *w)
{
    bool over = false;
    pthread_mutex_lock(&pool->waiters.lock);
    if (!is_served(w)) {
        const struct timespec retry = clock_after_ms(RETRY_MS);
        const bool sure = depot_counts(&pool->depot).pressure;
        const bool last = !w->endless && (sure || clock_before(&w->deadline, &retry));
        if (sure && w->endless)
            pthread_cond_wait(&w->woken, &pool->waiters.lock);
        else if (pthread_cond_timedwait(&w->woken, &pool->waiters.lock, last ? &w->deadline : &retry) != 0)
            over = last;
    }
    const bool again = !is_served(w) && !over;
    pthread_mutex_unlock(&pool->waiters.lock);
    return again;
}

void wait_end(bufferpool_t *pool, struct waiter *w)
{
    pthread_mutex_lock(&pool->waiters.lock);
    if (!is_served(w))
        drop(pool, w);
    pthread_mutex_unlock(&pool->waiters.lock);
    pthread_setcancelstate(w->cancelable, NULL);
    pthread_cond_destroy(&w->woken);
}
