/* SPDX-License-Identifier: MIT
 *
 * stash.h - bypass buffers that were put, whole, for the next get beyond the cap: without the heap's lock
 *
 * A lane for each CPU, modulo their number, and a cache line for each lane, with a few places. A place is closed,
 * empty, or has a buffer: its descriptor, in state FREE, with its block. Each step is one compare-and-swap of one
 * place, so nothing is ever half done, nobody waits, and a place that cannot be had at once is as good as none. Whoever
 * swaps a descriptor out has it; that it was there before, and came back meanwhile, does no harm.
 *
 * What the open places may hold is set aside from what may be dirty (slab.c), whether they hold it or not: so what is
 * kept stays within the limit although nothing is counted here. Places are opened under the heap's lock by the first
 * buffer that could have used one, and closed by a purge.
 *
 * Loads are relaxed: what they find is acted on only by a swap that finds it too, or is all that is asked. So is
 * opening: an empty place leads nowhere.
 */
#ifndef BUFFERPOOL_STASH_H
#define BUFFERPOOL_STASH_H

#include "heap/desc.h"

#define STASH_CLOSED ((uintptr_t)0)
#define STASH_EMPTY  ((uintptr_t)1)

/* Any thread. NULL: none there, or others were quicker. */
static inline struct desc *stash_pop(struct stash_lane *lane)
{
    for (unsigned i = 0; i < STASH_CELLS; i++) {
        uintptr_t found = load_relaxed(&lane->cell[i]);
        if (found == STASH_CLOSED)
            break;
        /* acquire: with the release in stash_push; the buffer is as who put it left it */
        if (found != STASH_EMPTY && cas_acquire(&lane->cell[i], &found, STASH_EMPTY))
            return (struct desc *)found;
    }
    return NULL;
}

/* Any thread that owns the descriptor; it does no longer if this is true. */
static inline bool stash_push(struct stash_lane *lane, struct desc *d)
{
    for (unsigned i = 0; i < STASH_CELLS; i++) {
        uintptr_t found = load_relaxed(&lane->cell[i]);
        if (found == STASH_CLOSED)
            break;
        /* release: with the acquires in stash_pop and stash_close */
        if (found == STASH_EMPTY && cas_release(&lane->cell[i], &found, (uintptr_t)d))
            return true;
    }
    return false;
}

/* Under the heap's lock, as all that follows. */
static inline bool stash_is_open(const struct stash_lane *lane)
{
    return load_relaxed(&lane->cell[0]) != STASH_CLOSED;
}

/* Opens a closed lane. */
static inline void stash_open(struct stash_lane *lane, unsigned places)
{
    while (places-- > 0) /* the first one last, or a pop might pass by those behind it */
        store_relaxed(&lane->cell[places], STASH_EMPTY);
}

/* Closes every place. Returns what was in them, linked by chain. */
static inline struct desc *stash_close(struct stash *stash)
{
    struct desc *chain = NULL;
    for (unsigned lane = 0; lane < STASH_LANES; lane++)
        for (unsigned i = STASH_CELLS; i-- > 0;) {
            /* acquire: with the release in stash_push */
            uintptr_t found = exchange_acquire(&stash->lanes[lane].cell[i], STASH_CLOSED);
            if (found > STASH_EMPTY) {
                struct desc *d = (struct desc *)found;
                d->chain = chain;
                chain = d;
            }
        }
    return chain;
}

/* In the child after fork: as if it had never been used. What was in it is found by its words. */
static inline void stash_reset(struct stash *stash)
{
    for (unsigned lane = 0; lane < STASH_LANES; lane++)
        for (unsigned i = 0; i < STASH_CELLS; i++)
            store_relaxed(&stash->lanes[lane].cell[i], STASH_CLOSED);
}

#endif
