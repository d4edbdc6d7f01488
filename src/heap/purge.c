/* SPDX-License-Identifier: MIT
 *
 * purge.c - how much free memory a heap retains, and when the rest goes back to the system
 *
 * Dirty memory is memory that has pages but no buffer: dirty slots and retained mappings. It stays below a limit: 1
 * MiB, or the `spare` bytes that the caller states, whichever is more. The pool states what callers hold beyond its
 * cap. So buffers beyond the cap that come and go find their memory still there, however many they are. When a burst of
 * them ebbs, dirty memory ebbs with it, and when the last is gone 1 MiB is left. In a pool that retains memory by time,
 * what callers held lately may stay as well (window.h), so that the next wave of a load finds the memory of the last.
 *
 * Of a pool with a budget, dirty memory is charged to that like the blocks (account.h), so both together stay within
 * it. While the budget is over, nothing may be dirty. Where it is used up, purge_some gives dirty memory of any of its
 * pools back.
 *
 * What is resident is thus at most
 *     the blocks that are not free
 *     + 1 MiB, or the spare bytes, or what callers held within retain_ms less what they hold
 *     + two batches for each lane (lane.c)
 *     + the memory that threads are about to give back, up to 8 MiB each
 *     + the pages at the edges of taken slots.
 * With huge pages, a page is a huge page: it is resident until all slots in it are free and purged.
 *
 * A call that frees a block beyond the limit unmaps retained mappings, the oldest first. If there are none it purges
 * slots: down to half of the limit, so that the next calls need not purge; but what callers held lately stays whole. It
 * takes at most two steps of some 8 MiB.
 */
#include "heap/purge.h"

#include "heap/large.h"
#include "heap/os.h"
#include "heap/slab.h"
#include "heap/window.h"

static size_t base_limit(size_t spare)
{
    return spare > DIRTY_MIN ? spare : DIRTY_MIN;
}

static size_t dirty_limit(const struct slabs *slabs, size_t spare)
{
    if (account_is_over(slabs->budget))
        return 0;
    const size_t base = base_limit(spare), lately = window_limit(&slabs->window);
    return lately > base ? lately : base;
}

size_t purge_room(const struct slabs *slabs, size_t spare)
{
    const size_t all = purge_dirty(slabs), limit = dirty_limit(slabs, spare);
    return all < limit ? limit - all : 0;
}

/* Needs no lock. */
static void unmap_all(struct slabs *slabs, const struct os_range *mappings, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const size_t bytes = (size_t)(mappings[i].to - mappings[i].from);
        os_unmap(mappings[i].from, bytes);
        sub_relaxed(&slabs->large_bytes, bytes);
    }
}

static size_t sum_of(const struct os_range *mappings, unsigned n)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < n; i++)
        bytes += (size_t)(mappings[i].to - mappings[i].from);
    return bytes;
}

/* Unmaps the oldest retained mappings, of `bytes` bytes or more. Returns how many bytes went; 0 if there is none. Lets
 * the lock go. */
static size_t purge_retained(struct slabs *slabs, size_t bytes)
{
    struct os_range taken[RETAINED_MAX];
    const unsigned n = large_evict(slabs, bytes, taken);
    if (n == 0)
        return 0;
    const size_t sum = sum_of(taken, n);
    pthread_mutex_unlock(&slabs->lock);
    unmap_all(slabs, taken, n);
    account_give(slabs->budget, sum);
    pthread_mutex_lock(&slabs->lock);
    return sum;
}

void purge_oldest(struct slabs *slabs)
{
    (void)purge_retained(slabs, 1);
}

/* Returns false if no more is dirty than may be, or if there is nothing to purge. Lets the lock go. */
static bool purge_step(struct slabs *slabs, size_t spare)
{
    const size_t all = purge_dirty(slabs), limit = dirty_limit(slabs, spare);
    if (all <= limit)
        return false;
    if (purge_retained(slabs, all - limit < SLAB_PURGE_BYTES ? all - limit : SLAB_PURGE_BYTES) > 0)
        return true;
    const size_t half = limit > 0 ? base_limit(spare) / 2 : 0, lately = window_limit(&slabs->window);
    size_t refused = 0;
    return slab_purge(slabs, lately > half && limit > 0 ? lately : half, &refused) > 0;
}

/* Two steps take more than one call can add. With more steps one call would do the work of another, which deferred its
 * purge. */
void purge_steps(struct slabs *slabs, size_t spare)
{
    if (purge_step(slabs, spare))
        (void)purge_step(slabs, spare);
}

void purge_down(struct slabs *slabs, size_t bytes, size_t spare)
{
    for (size_t gone = 0, before = purge_dirty(slabs); gone < bytes && purge_step(slabs, spare);) {
        const size_t all = purge_dirty(slabs);
        gone += all < before ? before - all : 0;
        before = all;
    }
}

size_t purge_some(struct slabs *slabs, size_t bytes)
{
    size_t gone = purge_retained(slabs, bytes), refused = 0;
    for (size_t purged = 1; gone < bytes && purged > 0; gone += purged) {
        const size_t all = load_relaxed(&slabs->dirty_bytes), rest = bytes - gone;
        purged = slab_purge(slabs, all > rest ? all - rest : 0, &refused);
    }
    return gone - (refused < gone ? refused : gone);
}

uint64_t purge_due(const struct slabs *slabs, size_t spare)
{
    const size_t all = purge_dirty(slabs);
    return all > base_limit(spare) ? window_due(&slabs->window, all) : WINDOW_NEVER;
}

size_t purge_all(struct slabs *slabs)
{
    size_t refused = 0;
    (void)purge_retained(slabs, SIZE_MAX);
    /* no more than there is now: other threads may go on freeing */
    size_t left = load_relaxed(&slabs->dirty_bytes), purged = 1;
    while (left > 0 && purged > 0) {
        purged = slab_purge(slabs, 0, &refused);
        left -= purged < left ? purged : left;
    }
    purge_excess(slabs, 0); /* what other threads freed meanwhile, and could not purge beside this call */
    return refused;
}

void purge_end(struct slabs *slabs)
{
    struct os_range taken[RETAINED_MAX];
    const size_t dirty = purge_dirty(slabs);
    const unsigned n = large_evict(slabs, SIZE_MAX, taken);
    unmap_all(slabs, taken, n);
    slab_destroy_all(slabs);
    account_give(slabs->budget, dirty);
}
