/* SPDX-License-Identifier: MIT
 *
 * quarantine.c - the last buffers put, held back
 *
 * No caller waits in vain for a buffer that is here. A waiter sets the flag `wanted` first, and looks here afterwards,
 * under the lock. A put that leaves a buffer here looks at the flag afterwards (wait_serve). Relaxed fields are written
 * under the lock, and read without it for statistics.
 */
#include "debug/quarantine.h"

#include "cache.h"
#include "debug/modes.h"
#include "debug/watch.h"
#include "depot.h"
#include "life.h"

#include <stdlib.h>

static void count(struct quarantine *q, const struct desc *d, bool in)
{
    store_relaxed(&q->count, q->n);
    if (in)
        add_relaxed(&q->bytes, d->pub.cap);
    else
        sub_relaxed(&q->bytes, d->pub.cap);
}

/* The lock is held, as in the next. */
static struct desc *take_oldest(struct quarantine *q)
{
    if (q->n == 0)
        return NULL;
    struct desc *d = q->ring[q->oldest];
    q->oldest = (q->oldest + 1) % q->size;
    q->n--;
    count(q, d, false);
    return d;
}

static bool has_ring(struct quarantine *q)
{
    if (q->ring == NULL) {
        q->size = modes_quarantine();
        q->ring = calloc(q->size, sizeof(struct desc *));
    }
    return q->ring != NULL;
}

struct desc *quarantine_swap(bufferpool_t *pool, struct desc *d)
{
    struct quarantine *q = &pool->quarantine;
    struct desc *out = d;
    pthread_mutex_lock(&q->lock);
    if (has_ring(q)) {
        out = q->n == q->size ? take_oldest(q) : NULL;
        q->ring[(q->oldest + q->n) % q->size] = d;
        q->n++;
        count(q, d, true);
    }
    pthread_mutex_unlock(&q->lock);
    return out;
}

struct desc *quarantine_take(bufferpool_t *pool)
{
    struct quarantine *q = &pool->quarantine;
    pthread_mutex_lock(&q->lock);
    struct desc *d = take_oldest(q);
    pthread_mutex_unlock(&q->lock);
    return d;
}

size_t quarantine_release(bufferpool_t *pool)
{
    size_t freed = 0;
    struct desc *d;
    pthread_mutex_lock(&pool->quarantine.lock); /* a put that was here before left its buffer, or sees the waiter */
    uint32_t n = pool->quarantine.n;
    pthread_mutex_unlock(&pool->quarantine.lock);
    for (; n > 0 && (d = quarantine_take(pool)) != NULL; n--) {
        if (cache_keep(pool, &pool->shared, d))
            continue;
        freed += d->pub.cap;
        cache_moved(pool, &pool->shared, -1);
        life_free(pool, d, true);
        depot_unreserve(&pool->depot, 1);
    }
    return freed;
}

void quarantine_verify(bufferpool_t *pool)
{
    struct quarantine *q = &pool->quarantine;
    pthread_mutex_lock(&q->lock);
    for (uint32_t i = 0; i < q->n; i++)
        watch_idle(pool, q->ring[(q->oldest + i) % q->size]);
    pthread_mutex_unlock(&q->lock);
}
