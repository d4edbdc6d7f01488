/* SPDX-License-Identifier: MIT
 *
 * wait.c - the callers that wait at the cap for buffers: one queue for each pool, first come, first served
 *
 * Threads (get_timed, get_bulk_timed) and waiters of event loops (get_async) stand in one queue. While it is not empty,
 * the flag `wanted` in the depot's counts is set. A buffer, or the right to make one, is given to the first caller in
 * the queue. When that has all that it waits for, it leaves the queue, and only then its thread or its loop is woken.
 * So nobody wakes for nothing, and no call that came later, waiting or not, takes a put away from one that came first.
 *
 *     1. Each caller waits for 1 to N buffers, and the first in the queue is the only one that has a part of them. A
 *        caller that wants many gets them while the others wait behind it, so small ones do not starve it; and it is
 *        served before all that came later, so it does not starve them. If every thread takes what it needs in one
 *        call, and holds nothing meanwhile, all buffers come back to the first in the queue: there is no deadlock.
 *     2. If the cap falls below what the first one waits for, it leaves with EINVAL, since it would never be served.
 *     3. What a caller was given counts as held: so live, and the verdict of depot.c (9), take the time from get to put
 *        to begin there. A right to make a buffer is counted in `pooled` alone.
 *     4. No wake-up is lost: a caller sets the flag first and looks into the depot and at the cap afterwards; a call
 *        that puts something there looks at the flag afterwards. depot.c (13) says why one of the two sees the other.
 *     5. Buffers that idle in thread caches do not count here: a caller makes sure that the pool is under pressure,
 *        which cannot end while the flag is set. Where several attempts are needed to enter the pressure (pressure.c),
 *        a thread makes one every RETRY_MS, and a loop is rung to make the next (async.c).
 *     6. The right to make a buffer is one of the cap's count and the bytes of the budget, both. A caller that lacks
 *        the bytes says so (account.h), and is served when some come back, in whatever pool of the budget (members.c).
 *        A thread looks every RETRY_MS, too, since buffers may idle where a thread was preempted (budget_wait); a loop
 *        is rung to look once in each round of serving (account.h).
 *     7. A pool is closed by a store to `life`, and then the queue is emptied under its lock; a caller looks at `life`
 *        under that lock before it joins. So nobody waits in a closed pool.
 *
 * `waiting`, `waits` and `waited_ns` change under the lock, and are read relaxed by statistics.
 */
#include "wait.h"

#include "cache.h"
#include "clock.h"
#include "debug/modes.h"
#include "debug/quarantine.h"
#include "life.h"
#include "notifier.h"
#include "shards.h"

#include <errno.h>

#define RETRY_MS 2

static struct sleeper *sleeper_of(struct waiter *w)
{
    return (struct sleeper *)(void *)((unsigned char *)w - offsetof(struct sleeper, waiter));
}

static bool is_thread(const struct waiter *w)
{
    return w->notifier == NULL;
}

/* ---- the queue; its lock is held in all of these ---- */

static bool join(bufferpool_t *pool, struct waiter *w)
{
    struct wait_queue *queue = &pool->waiters;
    if (load_relaxed(&pool->life) != POOL_ALIVE)
        return false;
    const uint64_t now = clock_ns();
    w->since_ns[0] = (uint32_t)now;
    w->since_ns[1] = (uint32_t)(now >> 32);
    w->next = NULL;
    w->prev = queue->last;
    *(w->prev != NULL ? &w->prev->next : &queue->first) = w;
    queue->last = w;
    bump_relaxed(&queue->waiting, 1);
    depot_want(&pool->depot, true);
    return true;
}

/* The caller waits no more. A bufferpool_waiter_t is its loop's again from here on. */
static void leave(bufferpool_t *pool, struct waiter *w, int error)
{
    struct wait_queue *queue = &pool->waiters;
    *(w->prev != NULL ? &w->prev->next : &queue->first) = w->next;
    *(w->next != NULL ? &w->next->prev : &queue->last) = w->prev;
    bump_relaxed(&queue->waiting, (uint32_t)-1);
    if (!w->brief) {
        bump_relaxed(&queue->waits, 1);
        bump_relaxed(&queue->waited_ns, clock_ns() - (w->since_ns[0] | (uint64_t)w->since_ns[1] << 32));
    }
    if (queue->first == NULL)
        depot_want(&pool->depot, false);
    w->error = (uint8_t)error;
    w->left = true;
}

/* Notifiers whose loops are to be woken once the lock is free (notifier.c). */
struct rings {
    struct bufferpool_notifier *notifiers[4];
    unsigned n;
};

static void ring_later(struct bufferpool_notifier *notifier, struct rings *rings)
{
    if (rings->n < sizeof(rings->notifiers) / sizeof(rings->notifiers[0]))
        rings->notifiers[rings->n++] = notifier;
    else
        notifier_ring(notifier);
}

static void wake(struct waiter *w, struct rings *rings)
{
    struct bufferpool_notifier *notifier = w->notifier;
    if (is_thread(w))
        pthread_cond_signal(&sleeper_of(w)->woken);
    else if (notifier_push(w))
        ring_later(notifier, rings);
}

static void unlock_and_ring(struct wait_queue *queue, struct rings *rings)
{
    pthread_mutex_unlock(&queue->lock);
    while (rings->n > 0)
        notifier_ring(rings->notifiers[--rings->n]);
}

/* The first in the queue, after those have left that wait for more than the cap; NULL: the queue is empty. */
static struct waiter *first_that_fits(bufferpool_t *pool, struct rings *rings)
{
    struct waiter *w;
    while ((w = pool->waiters.first) != NULL && is_thread(w) && sleeper_of(w)->need > depot_cap_of(&pool->max_live)) {
        leave(pool, w, EINVAL);
        wake(w, rings);
    }
    return w;
}

/* Gives the buffer, or with NULL a right to make one, to the first in the queue. */
static void give(bufferpool_t *pool, struct waiter *w, struct desc *d, struct rings *rings)
{
    if (d != NULL) {
        d->chain = w->given;
        w->given = d;
    }
    if (is_thread(w)) {
        struct sleeper *s = sleeper_of(w);
        s->reserved += d == NULL;
        if (++s->has < s->need)
            return;
    }
    leave(pool, w, 0);
    wake(w, rings);
}

/* Takes one buffer, which counts as held from now on, from the depot. Returns NULL if the depot is empty. */
static struct desc *take_from_depot(bufferpool_t *pool)
{
    const struct magazine magazine = shards_pop_some(&pool->depot, &pool->heap.table, 1);
    if (magazine.head == NULL)
        return NULL;
    cache_left_depot(pool, 1, magazine.head->pub.cap);
    cache_moved(pool, &pool->shared, 1);
    if (magazine.n > 1) {
        struct desc *bufs[MAGAZINE_MAX];
        magazine_open(&magazine, &pool->heap.table, bufs);
        depot_restore(&pool->depot, &pool->heap.table, bufs, magazine.n - 1, magazine.grown);
    }
    return magazine.head;
}

/* Says that a caller waits for bytes, if it does, and tries once more: account.h. A caller that waited for the cap
 * until then wakes, to take care that no pool of the budget lets buffers idle (budget_wait). A thread takes care before
 * each wait. A loop is called once in each round: the caller that said first that bytes are wanted may have got them
 * since, and then takes no care. */
static bool reserve_wanted(bufferpool_t *pool, struct waiter *w, struct rings *rings)
{
    struct bufferpool_budget *budget = pool->heap.slabs.budget;
    if (likely(budget == NULL) || !life_cap_has_room(pool))
        return false;
    const uint8_t round = account_round(budget);
    account_want(budget);
    if (life_reserve(pool))
        return true;
    if (is_thread(w)) {
        pthread_cond_signal(&sleeper_of(w)->woken);
    } else if (w->called != round) {
        w->called = round;
        ring_later(notifier_call(w->notifier), rings);
    }
    return false;
}

/* While more exist than the cap, what idles in the depot is freed, and given to no call that waits. */
static void serve_all(bufferpool_t *pool, struct rings *rings)
{
    struct waiter *w;
    while ((w = first_that_fits(pool, rings)) != NULL && !depot_over_cap(&pool->depot, &pool->max_live)) {
        struct desc *d = take_from_depot(pool);
        if (modes_have(MODE_QUARANTINE) && d == NULL)
            d = quarantine_take(pool); /* counted as held there too */
        if (d == NULL && !life_reserve(pool) && !reserve_wanted(pool, w, rings))
            return;
        give(pool, w, d, rings);
    }
}

/* ---- for calls that give ---- */

void wait_serve_all(bufferpool_t *pool)
{
    struct rings rings = {0};
    pthread_mutex_lock(&pool->waiters.lock);
    serve_all(pool, &rings);
    unlock_and_ring(&pool->waiters, &rings);
}

bool wait_hand_over(bufferpool_t *pool, struct desc *d)
{
    if (likely(!depot_wanted(&pool->depot)))
        return false;
    struct rings rings = {0};
    pthread_mutex_lock(&pool->waiters.lock);
    struct waiter *w = first_that_fits(pool, &rings);
    if (w != NULL)
        give(pool, w, d, &rings);
    unlock_and_ring(&pool->waiters, &rings);
    return w != NULL;
}

void wait_cancel_all(bufferpool_t *pool)
{
    struct rings rings = {0};
    pthread_mutex_lock(&pool->waiters.lock);
    for (struct waiter *w; (w = pool->waiters.first) != NULL;) {
        leave(pool, w, ECANCELED);
        wake(w, &rings);
    }
    unlock_and_ring(&pool->waiters, &rings);
}

/* ---- for threads that wait ---- */

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

bool wait_begin(bufferpool_t *pool, struct sleeper *s, uint32_t n, unsigned timeout_ms)
{
    *s = (struct sleeper){.waiter.brief = timeout_ms == 0,
                          .need = n,
                          .endless = timeout_ms == BUFFERPOOL_NEVER,
                          .deadline = clock_after_ms(timeout_ms)};
    if (!init_condition(&s->woken))
        return false;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &s->cancelable);
    struct rings rings = {0};
    pthread_mutex_lock(&pool->waiters.lock);
    if (join(pool, &s->waiter))
        serve_all(pool, &rings);
    else
        s->waiter = (struct waiter){.left = true, .error = ECANCELED};
    unlock_and_ring(&pool->waiters, &rings);
    return true;
}

bool wait_once(bufferpool_t *pool, struct sleeper *s)
{
    bool over = false;
    pthread_mutex_lock(&pool->waiters.lock);
    if (!s->waiter.left) {
        const struct timespec retry = clock_after_ms(RETRY_MS);
        const bool sure = depot_counts(&pool->depot).pressure;
        const bool quiet = sure && !account_is_wanted(pool->heap.slabs.budget);
        const bool last = !s->endless && (quiet || clock_before(&s->deadline, &retry));
        if (quiet && s->endless)
            pthread_cond_wait(&s->woken, &pool->waiters.lock);
        else if (pthread_cond_timedwait(&s->woken, &pool->waiters.lock, last ? &s->deadline : &retry) != 0)
            over = last;
    }
    const bool again = !s->waiter.left && !over;
    pthread_mutex_unlock(&pool->waiters.lock);
    return again;
}

int wait_end(bufferpool_t *pool, struct sleeper *s)
{
    pthread_mutex_lock(&pool->waiters.lock);
    if (!s->waiter.left)
        leave(pool, &s->waiter, ETIMEDOUT);
    pthread_mutex_unlock(&pool->waiters.lock);
    pthread_setcancelstate(s->cancelable, NULL);
    pthread_cond_destroy(&s->woken);
    return s->waiter.error;
}

/* ---- for waiters of event loops ---- */

bool wait_join(bufferpool_t *pool, struct waiter *w)
{
    struct rings rings = {0};
    pthread_mutex_lock(&pool->waiters.lock);
    const bool joined = join(pool, w);
    if (joined)
        serve_all(pool, &rings);
    unlock_and_ring(&pool->waiters, &rings);
    return joined;
}

/* The next one may be first now, and may not fit. A caller that is in the queue is proof that the pool is there. */
bool wait_leave(bufferpool_t *pool, struct waiter *w)
{
    struct rings rings = {0};
    pthread_mutex_lock(&pool->waiters.lock);
    const bool waits = !w->left;
    if (waits) {
        leave(pool, w, 0);
        serve_all(pool, &rings);
    }
    unlock_and_ring(&pool->waiters, &rings);
    return waits;
}
