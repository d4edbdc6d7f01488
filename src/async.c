/* SPDX-License-Identifier: MIT
 *
 * async.c - gets whose event loop waits at the cap: get_async, cancel, notifier_next
 *
 * A waiter belongs to the thread that runs its loop, but while it stands in the pool's queue (wait.c), and while it is
 * in its notifier's list (notifier.c). `pool` is the loop's own: it says whether the waiter is anywhere at all. So a
 * cancel that comes too late, or to a waiter that never waited, touches nothing.
 *
 *     get_async     loop     -> queue
 *     any put       queue    -> list, with a buffer, or the right to make one
 *     close         queue    -> list, with ECANCELED
 *     next          list     -> loop, which makes the buffer for a right
 *     cancel        either   -> loop; what the waiter had been given goes back, and so to the next
 *
 * The pool of a waiter that has a buffer or a right is there, since its depot counts that. The pool of one with
 * ECANCELED may have ended. Its struct stays, since each waiter is one of the `keepers`: so a cancel can take the
 * queue's lock to find out where the waiter is.
 *
 * Where an owner was preempted in its cache, the pool may not be under pressure yet when the waiter joins (pressure.c),
 * and what idles in that cache may never come out by itself. A thread that waits tries again every RETRY_MS. A loop
 * must not sleep, so it is rung: its next call of notifier_next tries again, after a pause, and rings once more if that
 * was in vain. The pause lets the owner run, where the loop has a higher priority. This goes on for as long as a
 * thread is preempted in the middle of some ten instructions.
 */
#include "budget.h"
#include "cache.h"
#include "call.h"
#include "clock.h"
#include "close.h"
#include "fork.h"
#include "life.h"
#include "notifier.h"
#include "pool.h"
#include "pressure.h"
#include "reclaim.h"
#include "registry.h"
#include "wait.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- notifiers ---- */

bufferpool_notifier_t *bufferpool_notifier_create(void)
{
    const int saved_errno = errno;
    struct bufferpool_notifier *notifier = calloc(1, sizeof(*notifier));
    if (notifier == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    notifier->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (notifier->fd < 0) {
        const int error = errno;
        free(notifier);
        errno = error == EMFILE || error == ENFILE ? error : ENOMEM;
        return NULL;
    }
    notifier->epoch = fork_epoch;
    pthread_mutex_init(&notifier->lock, NULL);
    errno = saved_errno;
    return notifier;
}

int bufferpool_notifier_fd(const bufferpool_notifier_t *notifier)
{
    return notifier != NULL ? notifier->fd : -1;
}

/* In a child of fork there are no waiters, and another thread may have had the lock. */
int bufferpool_notifier_destroy(bufferpool_notifier_t *notifier)
{
    if (notifier == NULL)
        return EINVAL;
    if (notifier->epoch == fork_epoch) {
        if (notifier->waiters > 0)
            return EBUSY;
        notifier_await_rings(notifier);
        pthread_mutex_lock(&notifier->lock); /* a thread may be on its way out of notifier_push */
        pthread_mutex_unlock(&notifier->lock);
        pthread_mutex_destroy(&notifier->lock);
    }
    const int saved_errno = errno;
    close(notifier->fd);
    free(notifier);
    errno = saved_errno;
    return 0;
}

/* ---- waiters ---- */

/* A child of fork has none of its parent's waiters. */
static bool is_waiting(const struct waiter *w)
{
    return w->pool != NULL && w->epoch == fork_epoch;
}

/* The waiter is nobody's any more. */
static void release(struct waiter *w)
{
    bufferpool_t *pool = w->pool;
    w->notifier->waiters--;
    w->pool = NULL;
    registry_release(pool);
}

/* ---- get_async ---- */

/* Whether the pool is under pressure now, and the others of its budget if somebody waits for bytes: so that every
 * buffer that comes back serves those that wait. */
static bool is_sure(bufferpool_t *pool)
{
    if (!depot_counts(&pool->depot).pressure) {
        pressure_enter(pool);
        reclaim_keep_cap(pool, &pool->shared); /* what it brought to the depot may be beyond a lowered cap */
        wait_serve(pool);
    }
    return (budget_wait(pool) && depot_counts(&pool->depot).pressure) || !depot_wanted(&pool->depot);
}

static void ring_again(struct bufferpool_notifier *notifier)
{
    store_relaxed(&notifier->again, true);
    notifier_ring_again(notifier);
}

/* Returns EINPROGRESS, or ECANCELED if the pool was closed. */
static int join(bufferpool_t *pool, struct cache *c, struct waiter *w, struct bufferpool_notifier *notifier)
{
    pressure_flush(pool, c); /* a loop does not wait while its own cache has buffers */
    reclaim_keep_cap(pool, c);
    *w = (struct waiter){.pool = pool, .notifier = notifier, .epoch = fork_epoch};
    notifier->waiters++;
    registry_keep_struct(pool);
    if (!wait_join(pool, w)) {
        release(w);
        return ECANCELED;
    }
    if (!is_sure(pool))
        ring_again(notifier);
    return EINPROGRESS;
}

static int join_in_call(bufferpool_t *pool, struct waiter *w, struct bufferpool_notifier *notifier)
{
    const bool stepped_out = fork_enter(pool);
    struct cache *c = pool_cache(pool);
    int error = ENOMEM;
    if (c != NULL) {
        cache_begin_call(c);
        error = cache_pool_is_closed(pool) ? ECANCELED : join(pool, c, w, notifier);
        call_serve(pool);
        cache_end_call(c);
    }
    fork_leave(stepped_out);
    return error;
}

bufferpool_buf_t *bufferpool_get_async(bufferpool_t *pool, bufferpool_waiter_t *waiter, bufferpool_notifier_t *notifier)
{
    pool = pool_of_call(pool, "bufferpool_get_async");
    if (waiter == NULL || notifier == NULL || notifier->epoch != fork_epoch) {
        errno = EINVAL;
        return NULL;
    }
    struct waiter *w = notifier_waiter(waiter);
    if (is_waiting(w)) {
        errno = EBUSY;
        return NULL;
    }
    if (likely(!depot_wanted(&pool->depot))) {
        const int saved_errno = errno;
        bufferpool_buf_t *buf = pool_get_below_cap(pool, "bufferpool_get_async", CALLER);
        if (likely(buf != NULL) || errno != EAGAIN)
            return buf;
        errno = saved_errno;
    }
    struct call call = call_begin("bufferpool_get_async", CALLER);
    const int error = join_in_call(pool, w, notifier);
    call_end(&call, NULL);
    errno = error;
    return NULL;
}

/* ---- notifier_next ---- */

/* Makes the buffer for a right. A closed pool must not end with a right that is given up in vain. */
static struct desc *make(bufferpool_t *pool, struct cache *c)
{
    cache_begin_call(c);
    const bool closed = cache_pool_is_closed(pool);
    if (closed)
        close_hold(pool);
    struct desc *d = pool_make_reserved(pool, c);
    if (!closed)
        call_serve(pool);
    cache_end_call(c);
    if (closed)
        close_release(pool);
    return d;
}

/* The buffer that a ready waiter was given, or the one that it may make. Returns NULL if there is no memory. */
static bufferpool_buf_t *take(bufferpool_t *pool, struct waiter *w)
{
    const bool stepped_out = fork_enter(pool);
    struct cache *c = tls_cache_own(pool);
    struct desc *d = w->given;
    const enum counter source = d != NULL ? GETS_DEPOT : GETS_FRESH;
    d = d != NULL ? life_hand_out(pool, d) : make(pool, c);
    if (d != NULL) {
        cache_count(c, source, 1);
        (void)life_got(pool, d);
    }
    fork_leave(stepped_out);
    return d != NULL ? &d->pub : NULL;
}

/* The same for a pool that is pinned, and in which the caller may have nothing. A close waits for the mark (close.c).
 */
static bool is_sure_if_open(bufferpool_t *pool)
{
    cache_begin_call(&pool->shared);
    const bool sure = cache_pool_is_closed(pool) || is_sure(pool);
    cache_end_call(&pool->shared);
    return sure;
}

/* Tries again to put each pool under pressure for which somebody waits. Returns whether all are. */
static bool try_again(void)
{
    bool sure = true;
    size_t next = 0;
    registry_lock();
    for (bufferpool_t *pool; (pool = registry_from(next)) != NULL;) {
        next = pool->index + 1;
        /* a pool that is still as the parent left it has no waiters here */
        if (load_relaxed(&pool->epoch) != fork_epoch || !depot_wanted(&pool->depot) ||
            (depot_counts(&pool->depot).pressure && !account_is_wanted(pool->heap.slabs.budget)))
            continue;
        registry_pin(pool);
        registry_unlock();
        sure = is_sure_if_open(pool) && sure;
        registry_lock();
        registry_unpin(pool);
    }
    registry_unlock();
    return sure;
}

static struct waiter *next_ready(struct bufferpool_notifier *notifier)
{
    struct waiter *w = notifier_pop(notifier);
    if (likely(!load_relaxed(&notifier->again)))
        return w;
    if (w == NULL) {
        clock_pause();
        (void)exchange_acquire(&notifier->again, false); /* with the release in notifier_call: before try_again looks */
        if (!try_again())
            store_relaxed(&notifier->again, true);
        w = notifier_pop(notifier);
    }
    if (load_relaxed(&notifier->again))
        notifier_ring_again(notifier); /* after the pop, which may have made it unreadable */
    return w;
}

bufferpool_waiter_t *bufferpool_notifier_next(bufferpool_notifier_t *notifier)
{
    if (notifier == NULL || notifier->epoch != fork_epoch)
        return NULL;
    struct call call = call_begin("bufferpool_notifier_next", CALLER);
    struct waiter *w = next_ready(notifier);
    bufferpool_waiter_t *waiter = NULL;
    if (w != NULL) {
        waiter = notifier_embedder(w);
        waiter->error = w->error;
        waiter->buf = w->error == 0 ? take(w->pool, w) : NULL;
        if (waiter->buf == NULL && waiter->error == 0)
            waiter->error = ENOMEM;
        release(w);
    }
    call_end(&call, NULL);
    return waiter;
}

/* ---- cancel ---- */

/* Gives back a buffer that a ready waiter was given, or with NULL the right to make one. */
static void give_back(bufferpool_t *pool, struct desc *d)
{
    const bool stepped_out = fork_enter(pool);
    struct cache *c = tls_cache_own(pool);
    cache_begin_call(c);
    const bool closed = cache_pool_is_closed(pool);
    if (!closed && d != NULL)
        pool_give_back(pool, c, d);
    else if (!closed)
        life_unreserve(pool, 1);
    if (!closed) {
        reclaim_keep_cap(pool, c);
        call_serve(pool);
        pressure_relax(pool);
    }
    cache_end_call(c); /* a closed pool stays, since it counts what is given back */
    if (closed && d != NULL) {
        close_give_back(pool, d);
    } else if (closed) {
        heap_unreserve(&pool->heap);
        close_release(pool);
    }
    fork_leave(stepped_out);
}

void bufferpool_cancel(bufferpool_waiter_t *waiter)
{
    if (waiter == NULL || !is_waiting(notifier_waiter(waiter)))
        return;
    struct waiter *w = notifier_waiter(waiter);
    struct call call = call_begin("bufferpool_cancel", CALLER);
    bufferpool_t *pool = w->pool;
    if (!wait_leave(pool, w)) {
        notifier_remove(w);
        if (w->error == 0)
            give_back(pool, w->given);
    }
    release(w);
    call_end(&call, NULL);
}
