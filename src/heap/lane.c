/* SPDX-License-Identifier: MIT
 *
 * lane.c - stocks of descriptors with slots, one for each lane of CPUs, in a heap that many threads use at once
 *
 * A thread that makes a buffer needs a descriptor and a slot, and a thread that frees a buffer gives both back. Both
 * happen under the heap's lock, for some tens of nanoseconds. Where many processors make buffers at once, the lock and
 * the lines that it guards go from one processor to another each time, which takes longer than the work. So a heap gets
 * lanes once threads often had to wait for its lock. A lane has a stock for the CPUs whose numbers are the same modulo
 * LANES. A make takes from the stock, and a free adds to it, under the lane's lock. Descriptors and slots come from the
 * heap and go back to it in batches, under the heap's lock, which is taken after the lane's.
 *
 *     first     up to a batch; the descriptor that was freed last comes first
 *     full      NULL, or a whole batch
 *
 * There are two batches, so that a lane in which makes and frees take turns does not move a batch each time.
 *
 * To the heap, descriptors and slots in a stock are taken: the bit of the descriptor is set, and the slot is not free.
 * So the invariants of slab.c and desc.c hold unchanged. The word says FREE, like that of a buffer that a thread is
 * making. So the child of fork, which forgets the stocks, finds both: heap_repair gives back a taken descriptor that is
 * FREE, and a slot that no buffer claims. Therefore fork needs none of the lanes' locks, wherever other threads are at
 * that moment.
 *
 * Only slots of buffer_capacity are in stocks, and only if they are small (lane_batch). Heaps with hooks or a budget
 * have no lanes: hooks have locks of their own, and a budget is exact to the byte. Nor have heaps that a debug mode or
 * a sanitizer watches. What is in a stock counts as taken (window.h). So at most two batches for each lane may stay
 * resident beyond what the heap's limit allows (purge.c), until a call purges the heap or lets memory ebb. A slot that
 * comes back from a stock counts as dirty, even if no buffer used it.
 */
#include "heap/lane.h"

#include "debug/sanitizer.h"
#include "lock.h"

#include <sched.h>
#include <stdlib.h>

#if LANES_BUILT || !defined(__OPTIMIZE__) /* otherwise no call is left */

void lane_begin(struct heap *heap)
{
    if (heap->alloc != NULL || heap->slabs.budget != NULL || lane_batch(heap->base) == 0 || steps_are_watched())
        return;
    struct lane *lanes = aligned_alloc(CACHE_LINE, LANES * sizeof(*lanes));
    for (unsigned i = 0; lanes != NULL && i < LANES; i++) {
        lanes[i] = (struct lane){0};
        pthread_mutex_init(&lanes[i].lock, NULL);
    }
    store_release(&heap->slabs.lanes, lanes); /* with the acquire in lane_enter */
}

struct lane *lane_enter(struct heap *heap)
{
    struct lane *lanes = load_acquire(&heap->slabs.lanes); /* with the release in lane_begin */
    struct lane *lane = &lanes[(unsigned)sched_getcpu() % LANES];
    (void)lock_take(&lane->lock);
    return lane;
}

void lane_leave(struct lane *lane)
{
    lock_give(&lane->lock);
}

struct desc *lane_empty(struct lane *lane)
{
    (void)lock_take(&lane->lock);
    struct desc *all = lane->first, **end = &all;
    while (*end != NULL)
        end = &(*end)->chain;
    *end = lane->full;
    lane->first = lane->full = NULL;
    lane->n = 0;
    lock_give(&lane->lock);
    return all;
}

void lane_forget_stocks(struct heap *heap)
{
    struct lane *lanes = load_relaxed(&heap->slabs.lanes);
    for (unsigned i = 0; i < LANES; i++) {
        lanes[i] = (struct lane){0};
        pthread_mutex_init(&lanes[i].lock, NULL); /* a thread of the parent may have had it */
    }
}

void lane_end(struct heap *heap)
{
    free(load_relaxed(&heap->slabs.lanes));
    store_relaxed(&heap->slabs.lanes, NULL);
}

#endif
