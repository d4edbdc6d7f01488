/* SPDX-License-Identifier: MIT
 *
 * stash.h - put buffers that were made beyond the cap wait here, whole, for the next get beyond the cap
 *
 * The stash has lanes by CPU, modulo their number. A lane is a cache line of cells. A cell is closed, is empty, or has
 * a buffer: the buffer's descriptor, in state FREE, with its block. Each step is one compare-and-swap of one cell,
 * without the heap's lock. So nothing is ever half done, and no thread waits: a call that finds no suitable cell, or
 * loses the swap, goes on to the next cell, and in the end to the heap. The thread that swaps a descriptor out has the
 * buffer. It does no harm if the descriptor left the cell and came back before the swap.
 *
 * As many bytes as the open cells may hold are set aside from the bytes that may be dirty, whether the cells have
 * buffers or not (purge.c). So dirty memory stays within its limit, although nothing is counted here. The first buffer
 * that could have used a lane opens the lane's cells, under the heap's lock. A purge closes all cells.
 *
 * Loads are relaxed. A call acts on the value that it loads only after a swap that finds the same value, or needs
 * nothing but the value. Opening is relaxed too, since an empty cell leads to no memory.
 */
#ifndef BUFFERPOOL_STASH_H
#define BUFFERPOOL_STASH_H

#include "heap/desc.h"

#define STASH_CLOSED ((uintptr_t)0)
#define STASH_EMPTY  ((uintptr_t)1)

/* Takes a buffer out of the lane. Returns NULL if there is none, or if other threads were quicker. Any thread. */
static inline struct desc *stash_pop(struct stash_lane *lane)
{
    for (unsigned i = 0; i < STASH_CELLS; i++) {
        uintptr_t found = load_relaxed(&lane->cell[i]);
        if (found == STASH_CLOSED)
            break;
        /* acquire: with the release in stash_push; the buffer is as the thread that put it left it */
        if (found != STASH_EMPTY && cas_acquire(&lane->cell[i], &found, STASH_EMPTY))
            return (struct desc *)found;
    }
    return NULL;
}

/* Puts the buffer into the lane. Returns true if the buffer is there now, and false if no empty cell was found. Any
 * thread that owns the descriptor; after true it does no longer. */
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

/* Whether the lane is open. The caller holds the heap's lock, here and in all functions below. */
static inline bool stash_is_open(const struct stash_lane *lane)
{
    return load_relaxed(&lane->cell[0]) != STASH_CLOSED;
}

/* Opens that many cells of a closed lane. */
static inline void stash_open(struct stash_lane *lane, unsigned places)
{
    while (places-- > 0) /* the first one last, or a pop might miss the cells behind it */
        store_relaxed(&lane->cell[places], STASH_EMPTY);
}

/* Closes every cell. Returns the descriptors that were in the cells, linked by chain. */
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

/* In the child after fork: closes every cell. The buffers that were in the stash are found by their words. */
static inline void stash_reset(struct stash *stash)
{
    for (unsigned lane = 0; lane < STASH_LANES; lane++)
        for (unsigned i = 0; i < STASH_CELLS; i++)
            store_relaxed(&stash->lanes[lane].cell[i], STASH_CLOSED);
}

#endif
