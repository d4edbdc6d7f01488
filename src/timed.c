/* SPDX-License-Identifier: MIT
 *
 * timed.c - gets whose thread waits at the cap: get_timed, get_bulk_timed
 *
 * Both first try to get without waiting, unless other callers wait already: a caller does not overtake those. At the
 * cap they hold nothing, of what they could have got: a thread that waits with a part would keep it from the one that
 * is first in the queue, and that one's part from it. wait.c has the queue.
 */
#include "budget.h"
#include "cache.h"
#include "call.h"
#include "fork.h"
#include "life.h"
#include "pool.h"
#include "pressure.h"
#include "reclaim.h"
#include "wait.h"

/* Gives back what a thread that left the queue was given. */
static void give_up(bufferpool_t *pool, struct cache *c, struct sleeper *s)
{
    for (struct desc *d = s->waiter.given, *next; d != NULL; d = next) {
        next = d->chain;
        pool_give_back(pool, c, d);
    }
    life_unreserve(pool, s->reserved);
    reclaim_keep_cap(pool, c);
}

/* Fills bufs with what the thread was given, and counts it. The rights to make a buffer come first, since that may
 * fail. Returns false, with nothing kept, if there is no memory. */
static bool take_all(bufferpool_t *pool, struct cache *c, struct sleeper *s, bufferpool_buf_t **bufs)
{
    const uint32_t rights = s->reserved;
    uint32_t n = 0;
    for (; s->reserved > 0; s->reserved--) {
        struct desc *d = pool_make_reserved(pool, c);
        if (d == NULL)
            break;
        bufs[n++] = life_got(pool, d);
    }
    if (n < rights) {
        s->reserved--; /* that of the buffer that could not be made */
        while (n > 0) {
            struct desc *d = desc_of(bufs[--n]);
            life_claim(pool, d, load_relaxed(&d->word));
            pool_give_back(pool, c, d);
        }
        give_up(pool, c, s);
        return false;
    }
    for (struct desc *d = s->waiter.given, *next; d != NULL; d = next) {
        next = d->chain;
        bufs[n++] = life_got(pool, life_hand_out(pool, d));
    }
    cache_count(c, GETS_FRESH, rights);
    cache_count(c, GETS_DEPOT, n - rights);
    return true;
}

/* Waits for n buffers, in bufs. Returns 0, ENOMEM, ETIMEDOUT, ECANCELED, or EINVAL if the cap was lowered below n. */
static int wait_for(bufferpool_t *pool, struct cache *c, bufferpool_buf_t **bufs, uint32_t n, unsigned timeout_ms)
{
    struct sleeper s;
    pressure_flush(pool, c); /* a thread does not wait while its own cache has buffers */
    reclaim_keep_cap(pool, c);
    if (!wait_begin(pool, &s, n, timeout_ms))
        return ENOMEM;
    do {
        if (!depot_counts(&pool->depot).pressure) {
            pressure_enter(pool);
            reclaim_keep_cap(pool, c); /* what it brought to the depot may be beyond a lowered cap */
            wait_serve(pool);
        }
        (void)budget_wait(pool);
    } while (wait_once(pool, &s));
    const int error = wait_end(pool, &s);
    if (error == 0)
        return take_all(pool, c, &s, bufs) ? 0 : ENOMEM;
    give_up(pool, c, &s);
    if (error == ETIMEDOUT)
        cache_count(c, GETS_REFUSED, 1);
    return error;
}

/* The same, as a call. A close waits for its end (close.c). */
static int wait_in_call(bufferpool_t *pool, bufferpool_buf_t **bufs, uint32_t n, unsigned timeout_ms)
{
    const bool stepped_out = fork_enter(pool);
    struct cache *c = pool_cache(pool);
    int error = ENOMEM;
    if (c != NULL) {
        cache_begin_call(c);
        error = cache_pool_is_closed(pool) ? ECANCELED : wait_for(pool, c, bufs, n, timeout_ms);
        call_serve(pool);
        cache_end_call(c);
    }
    fork_leave(stepped_out);
    return error;
}

bufferpool_buf_t *bufferpool_get_timed(bufferpool_t *pool, unsigned timeout_ms)
{
    pool = pool_of_call(pool, "bufferpool_get_timed");
    if (likely(!depot_wanted(&pool->depot))) {
        const int saved_errno = errno;
        bufferpool_buf_t *buf = pool_get_below_cap(pool, "bufferpool_get_timed", CALLER);
        if (likely(buf != NULL) || errno != EAGAIN)
            return buf;
        errno = saved_errno;
    }
    struct call call = call_begin("bufferpool_get_timed", CALLER);
    bufferpool_buf_t *buf = NULL;
    const int error = wait_in_call(pool, &buf, 1, timeout_ms);
    call_end(&call, NULL);
    if (error != 0) {
        errno = error;
        return NULL;
    }
    return buf;
}

/* ---- many at once ---- */

/* Returns EAGAIN at the cap, or while others wait. */
static int get_many_now(bufferpool_t *pool, bufferpool_buf_t **bufs, uint32_t n, bool count_refusal)
{
    const bool stepped_out = fork_enter(pool);
    struct cache *c = pool_cache(pool);
    int error = ENOMEM;
    if (c != NULL) {
        cache_begin_call(c);
        error = EAGAIN;
        if (cache_pool_is_closed(pool))
            error = ECANCELED;
        else if (!depot_wanted(&pool->depot))
            error = pool_get_many_below_cap(pool, c, bufs, n);
        if (error == EAGAIN && count_refusal)
            cache_count(c, GETS_REFUSED, 1);
        call_serve(pool);
        cache_end_call(c);
    }
    fork_leave(stepped_out);
    return error;
}

int bufferpool_get_bulk_timed(bufferpool_t *pool, bufferpool_buf_t **bufs, size_t n, unsigned timeout_ms)
{
    if (n == 0)
        return 0;
    pool = pool_of_call(pool, "bufferpool_get_bulk_timed");
    if (bufs == NULL || n > depot_cap_of(&pool->max_live))
        return EINVAL;
    struct call call = call_begin("bufferpool_get_bulk_timed", CALLER);
    int error = get_many_now(pool, bufs, (uint32_t)n, timeout_ms == 0);
    if (error == EAGAIN && timeout_ms != 0)
        error = wait_in_call(pool, bufs, (uint32_t)n, timeout_ms);
    call_end(&call, NULL);
    return error;
}
