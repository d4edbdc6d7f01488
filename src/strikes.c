/* SPDX-License-Identifier: MIT
 *
 * strikes.c - a buffer that was grown once and is little used since does not keep its size
 *
 * A strike is a put after a turn that used less than a quarter of the buffer. Five in a row shrink it; one well-used
 * turn clears them, so that a buffer that is needed now and then is not shrunk and grown again and again.
 */
#include "strikes.h"

#include "debug/report.h"
#include "debug/watch.h"
#include "heap/block.h"
#include "pool.h"

#define STRIKES 5u

static size_t power_of_two_for(size_t n)
{
    size_t power = 64; /* the smallest of slabs */
    while (power < n)
        power *= 2;
    return power;
}

void strikes_judge(bufferpool_t *pool, struct cache *c, struct desc *d, const char *caller)
{
    size_t cap = d->pub.cap;
    size_t len = d->pub.len < cap ? d->pub.len : cap;
    size_t used = len > d->asked ? len : d->asked;
    if (used >= cap / 4) {
        d->strikes = 0;
        return;
    }
    if (++d->strikes < STRIKES)
        return;
    d->strikes = STRIKES - 1;
    size_t base = pool->heap.base;
    size_t fit = used <= base ? base : power_of_two_for(used);
    if (fit >= cap)
        return;
    if (!block_intact(&pool->heap, d))
        report_misuse(caller, &d->pub, pool, REPORT_OVERWRITTEN);
    if (modes_have(MODES_WATCH))
        watch_resize(pool, d, caller);
    const bool shrunk = heap_shrink(&pool->heap, d, fit);
    if (modes_have(MODES_WATCH))
        watch_resized(pool, d, true);
    if (!shrunk)
        return;
    d->strikes = 0;
    sub_relaxed(&pool->grown_extra, cap - d->pub.cap);
    if (d->pub.cap == base)
        store_relaxed(&d->word, desc_word(pool->tag, STATE_IDLE));
    cache_count(c, SHRINKS, 1);
}
