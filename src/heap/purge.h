/* SPDX-License-Identifier: MIT
 *
 * purge.h - how much free memory a heap retains, and when the rest goes back to the system
 *
 * The caller holds the heap's lock. Functions that let it go and take it again say so.
 */
#ifndef BUFFERPOOL_PURGE_H
#define BUFFERPOOL_PURGE_H

#include "heap/account.h"
#include "types.h"

/* As much may be dirty in any pool that is not over its budget. */
#define DIRTY_MIN ((size_t)1 << 20)

/* Needs no lock for statistics. */
static inline size_t purge_dirty(const struct slabs *slabs)
{
    return load_relaxed(&slabs->dirty_bytes) + load_relaxed(&slabs->retained.bytes);
}

/* How many more bytes may be dirty. `spare`: what callers hold beyond the cap, here and below. */
size_t purge_room(const struct slabs *slabs, size_t spare);

/* purge_excess, if more is dirty than may be in any pool. */
void purge_steps(struct slabs *slabs, size_t spare);

/* Gives memory back if too much is dirty. To be called after a block was freed. May let the lock go. */
static inline void purge_excess(struct slabs *slabs, size_t spare)
{
    if (unlikely(purge_dirty(slabs) > DIRTY_MIN) || account_is_over(slabs->budget))
        purge_steps(slabs, spare);
}

/* The same, until no more is dirty than may be, or so many bytes went. May let the lock go. */
void purge_down(struct slabs *slabs, size_t bytes, size_t spare);

/* Gives back so many bytes of what is dirty, if there are as many. Returns how many bytes went. Lets the lock go. */
size_t purge_some(struct slabs *slabs, size_t bytes);

/* When memory that is retained by time will be too much, on the clock of the window; WINDOW_NEVER: there is none. */
uint64_t purge_due(const struct slabs *slabs, size_t spare);

/* Unmaps the retained mapping that is oldest, if there is one. Lets the lock go. */
void purge_oldest(struct slabs *slabs);

/* Gives the memory of all free slots and retained mappings back. Returns how many bytes the system refused to take.
 * Lets the lock go. */
size_t purge_all(struct slabs *slabs);

/* Unmaps everything. Nobody else uses the heap any more. */
void purge_end(struct slabs *slabs);

#endif
