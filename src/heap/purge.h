/* SPDX-License-Identifier: MIT
 *
 * purge.h - how much free memory a heap retains, and when the rest goes back to the system
 *
 * The caller holds the heap's lock. Functions that let it go and take it again say so.
 */
#ifndef BUFFERPOOL_PURGE_H
#define BUFFERPOOL_PURGE_H

#include "types.h"

/* How many more bytes may be dirty. `spare`: what callers hold beyond the cap, here
 * and below. */
size_t purge_room(const struct slabs *slabs, size_t spare);

/* Gives memory back if too much is dirty. To be called after a block was freed. May let the lock go. */
void purge_excess(struct slabs *slabs, size_t spare);

/* Unmaps the retained mapping that is oldest, if there is one. Lets the lock go. */
void purge_oldest(struct slabs *slabs);

/* Gives the memory of all free slots and retained mappings back. Returns how many bytes the system refused to take.
 * Lets the lock go. */
size_t purge_all(struct slabs *slabs);

/* Unmaps everything. Nobody else uses the heap any more. */
void purge_end(struct slabs *slabs);

#endif
