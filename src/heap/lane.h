/* SPDX-License-Identifier: MIT
 *
 * lane.h - stocks of descriptors with slots, one for each lane of CPUs, in a heap that many threads use at once
 *
 * Any thread may call these functions at any time, unless a comment says otherwise.
 */
#ifndef BUFFERPOOL_LANE_H
#define BUFFERPOOL_LANE_H

#include "heap/slab.h"
#include "types.h"

_Static_assert(LANES == 32 && 2 * LANE_BYTES == (size_t)132 << 10, "bufferpool.h says so: Freed memory");

/* Only machines with 64 bits have so many processors that lanes help. */
#define LANES_BUILT (UINTPTR_MAX > UINT32_MAX)

/* How many times threads have to wait for the heap's lock before the heap gets lanes. */
#define LANES_AFTER 64u

/* Whether the heap has lanes. Every call into lane.c is behind this test, so that the compiler drops the calls where
 * lanes are not built. */
#define lane_is_there(heap) (LANES_BUILT && unlikely(load_relaxed(&(heap)->slabs.lanes) != NULL))

/* The size of a batch: how many descriptors, with slots of that stride, come and go at once. 0 means that two slots are
 * too large, so there are no lanes. */
static inline unsigned lane_batch(size_t stride)
{
    const size_t n = LANE_BYTES / stride;
    return n < 2 ? 0 : n < LANE_BATCH_MAX ? (unsigned)n : LANE_BATCH_MAX;
}

/* Gives the heap lanes, if there is memory and the heap may have lanes. The caller holds the heap's lock. */
void lane_begin(struct heap *heap);

/* Takes the lock of the lane of the CPU on which the thread runs. The heap has lanes. */
struct lane *lane_enter(struct heap *heap);
void lane_leave(struct lane *lane);

/* Empties the lane's stock, and returns it as a list that is linked by `chain`. Takes the lane's lock. */
struct desc *lane_empty(struct lane *lane);

/* lane_forget_stocks, in the child of fork, forgets what is in the stocks. lane_end, at the end of the pool, frees the
 * lanes. No other thread uses the heap. lane_forget_stocks needs a heap that has lanes. */
void lane_forget_stocks(struct heap *heap);
void lane_end(struct heap *heap);

/* A descriptor in a stock is taken, and its word says FREE. It has its slab, and the address of its slot in place of
 * its cap. */
static inline void lane_note_slot(struct desc *d, const unsigned char *slot)
{
    d->own.cap = (size_t)(uintptr_t)slot;
}

static inline unsigned char *lane_slot_of(const struct desc *d)
{
    return (unsigned char *)(uintptr_t)d->own.cap;
}

/* Takes a descriptor out of the stock. Returns NULL if the stock is empty. The lane has been entered. */
static inline struct desc *lane_pop(struct lane *lane, unsigned batch)
{
    if (lane->first == NULL && lane->full != NULL) {
        lane->first = lane->full;
        lane->full = NULL;
        lane->n = batch;
    }
    struct desc *d = lane->first;
    if (d != NULL) {
        lane->first = d->chain;
        lane->n--;
        d->chain = NULL;
    }
    return d;
}

/* Puts a descriptor into the stock. Returns a batch that is to go back to the heap, or NULL. The lane has been entered.
 */
static inline struct desc *lane_push(struct lane *lane, struct desc *d, unsigned batch)
{
    struct desc *out = NULL;
    if (lane->n >= batch) {
        out = lane->full;
        lane->full = lane->first;
        lane->first = NULL;
        lane->n = 0;
    }
    d->chain = lane->first;
    lane->first = d;
    lane->n++;
    return out;
}

#endif
