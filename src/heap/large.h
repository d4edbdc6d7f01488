/* SPDX-License-Identifier: MIT
 *
 * large.h - blocks that lie in no slab: a mapping of their own, or memory of the caller's hook
 *
 * A freed mapping may be retained, with its memory, for the next block of its size. How much memory may be retained is
 * not decided here (purge.h).
 */
#ifndef BUFFERPOOL_LARGE_H
#define BUFFERPOOL_LARGE_H

#include "heap/block.h"
#include "heap/os.h"

/* Makes memory for a block of block->cap bytes, by the hook or in a new mapping. Without the lock. Returns false if
 * there is no memory. */
bool large_make(struct heap *heap, struct block *block);

/* What a block of that cap costs a budget: the bytes that the hook is told, or those of the mapping. */
size_t large_bytes(const struct heap *heap, size_t cap);

/* Takes memory for the block from retained mappings: the newest of the right size, or the beginning of the smallest
 * larger one. The caller holds the lock. Returns false if there is none. */
bool large_take_retained(struct heap *heap, struct block *block);

/* Grows the mapping of a block to what one of `cap` bytes needs, by retained memory that lies behind it. Nothing moves.
 * The caller holds the lock. Returns false, and does nothing, if there is no such memory. */
bool large_extend(struct heap *heap, const struct desc *d, size_t cap);

/* Retains the mapping of a freed block if the mapping has at most `room` bytes. Otherwise retains as much of its
 * beginning as a smaller block would have: the largest one that fits into `room`. The caller holds the lock. Returns
 * how many bytes are retained: 0 if the list is full, or if the block is a hook's. */
size_t large_retain(struct heap *heap, const struct block *block, size_t room);

/* Frees a block, which no descriptor has any more, except for the bytes that large_retain returned. Without the
 * lock. */
void large_free(struct heap *heap, const struct block *block, size_t retained);

/* Unmaps a part of a block's mapping that the block does not need any more. Without the lock. */
void large_unmap(struct heap *heap, unsigned char *from, size_t bytes);

/* Grows the mapping of a held block to what a block of `cap` bytes needs. The mapping may move. Returns its new
 * address, or NULL if the system refuses, for want of memory or because the caller locked a part of it. */
unsigned char *large_grow(struct heap *heap, const struct desc *d, size_t cap);

/* Takes retained mappings off the list, the oldest first, until they have `bytes` bytes. The caller holds the lock,
 * and unmaps the mappings without it. Returns how many went to `taken`. */
unsigned large_evict(struct slabs *slabs, size_t bytes, struct os_range taken[RETAINED_MAX]);

#endif
