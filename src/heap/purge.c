/* SPDX-License-Identifier: MIT
 *
 * purge.c - how much free memory a heap retains, and when the rest goes back to the system
 *
 * Dirty memory is memory that has pages but no buffer: dirty slots and retained mappings. It stays below a limit: 1
 * MiB, or the `spare` bytes that the caller states, whichever is more. The pool states what callers hold beyond its
 * cap. So buffers beyond the cap that come and go find their memory still there, however many they are. When a burst of
 * them ebbs, dirty memory ebbs with it, and when the last is gone 1 MiB is left.
 *
 * What is resident is thus at most
 *     the blocks that are not free
 *     + 1 MiB, or the spare bytes
 *     + the memory that threads are about to give back, up to 8 MiB each
 *     + the pages at the edges of taken slots.
 * With huge pages, a page is a huge page: it is resident until all slots in it are free and purged.
 *
 * A call that frees a block beyond the limit unmaps retained mappings, the oldest first. If there are none it purges
 * slots, down to half of what the limit leaves them. It takes at most two steps of some 8 MiB.
 */
#include "heap/purge.h"

#include "heap/large.h"
#include "heap/os.h"
#include "heap/slab.h"

#define DIRTY_MIN ((size_t)1 << 20)

static size_t dirty_limit(size_t spare)
{
    return spare > DIRTY_MIN ? spare : DIRTY_MIN;
}

static size_t all_dirty(const struct slabs *slabs)
{
    return slabs->dirty_bytes + slabs->retained.bytes;
}

size_t purge_room(const struct slabs *slabs, size_t spare)
{
    const size_t all = all_dirty(slabs), limit = dirty_limit(spare);
    return all < limit ? limit - all : 0;
}

/* Needs no lock. */
static void unmap_all(const struct os_range *mappings, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        os_unmap(mappings[i].from, (size_t)(mappings[i].to - mappings[i].from));
}

/* Unmaps the oldest retained mappings, of `bytes` bytes or more. Returns false if there is none. Lets the lock go. */
static bool purge_retained(struct slabs *slabs, size_t bytes)
{
    struct os_range taken[RETAINED_MAX];
    const unsigned n = large_evict(slabs, bytes, taken);
    if (n == 0)
        return false;
    pthread_mutex_unlock(&slabs->lock);
    unmap_all(taken, n);
    pthread_mutex_lock(&slabs->lock);
    return true;
}

void purge_oldest(struct slabs *slabs)
{
    (void)purge_retained(slabs, 1);
}

/* Two steps take more than one call can add. With more steps one call would do the work of another, which deferred its
 * purge. */
void purge_excess(struct slabs *slabs, size_t spare)
{
    size_t refused = 0;
    const size_t limit = dirty_limit(spare);
    for (int step = 0; step < 2; step++) {
        const size_t all = all_dirty(slabs);
        if (likely(all <= limit))
            return;
        if (purge_retained(slabs, all - limit < SLAB_PURGE_BYTES ? all - limit : SLAB_PURGE_BYTES))
            continue;
        if (slab_purge(slabs, limit / 2, &refused) == 0)
            return;
    }
}

size_t purge_all(struct slabs *slabs)
{
    size_t refused = 0;
    (void)purge_retained(slabs, SIZE_MAX);
    /* no more than there is now: other threads may go on freeing */
    size_t left = slabs->dirty_bytes, purged = 1;
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
    unmap_all(taken, large_evict(slabs, SIZE_MAX, taken));
    slab_destroy_all(slabs);
}
