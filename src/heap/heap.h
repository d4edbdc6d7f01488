/* SPDX-License-Identifier: MIT
 *
 * heap.h - the heap of one pool: where descriptors and blocks come from and go back to
 *
 * Any thread may call these at any time, on any descriptor that it owns, except where it says otherwise.
 */
#ifndef BUFFERPOOL_HEAP_H
#define BUFFERPOOL_HEAP_H

#include "desc.h"
#include "heap/slab.h"
#include "heap/stash.h"

#define HEAP_ALIGNMENT_MIN ((size_t)16)

/* Bytes behind cap that are nobody's, with MODE_REDZONE. */
#define HEAP_REDZONE ((size_t)64)

/* What can be asked for at most: leaves room for the prefix and for rounding up to huge pages. */
#define HEAP_CAP_MAX ((size_t)PTRDIFF_MAX - ((size_t)8 << 20))

/* A descriptor in state FREE (its word says so, or is 0) with a block of exactly `base` bytes; NULL: no memory.
 * `brief`: it will soon be freed, and another be wanted, so as much free memory stays at hand. */
struct desc *heap_alloc(struct heap *heap, bool brief);

/* Frees the block, which must be intact, and the descriptor, whose word must say FREE. With `defer` the
 * memory may stay resident until heap_purge. */
void heap_free(struct heap *heap, struct desc *d, bool defer);

/* Replaces a held block by one of at least `need` bytes, more if that can be had, and keeps the first `keep` bytes.
 * Returns 0; ENOMEM or EOVERFLOW, and then nothing changed. The block must be intact. */
int heap_grow(struct heap *heap, struct desc *d, size_t need, size_t keep);

/* Replaces an idle block by one of exactly `cap` bytes: the base, or a power of two above it that is less than the
 * block has. Its bytes are unspecified. False: no memory, and then nothing changed. The block must be intact. */
bool heap_shrink(struct heap *heap, struct desc *d, size_t cap);

/* Gives the memory behind all free blocks back to the system. */
void heap_purge(struct heap *heap);

/* The lock over slabs, table and kept mappings. */
void heap_lock(struct heap *heap);
void heap_unlock(struct heap *heap);

/* Zeros that the compiler cannot leave out. */
void heap_wipe(void *data, size_t n);

/* In the child after fork, its only thread, the lock held: rebuilds what hangs on the words of the descriptors, so that
 * what threads of the parent were in the middle of does not matter. */
void heap_repair(struct heap *heap);

/* Frees every block, used or not, and the table. Nobody else uses the heap any more. */
void heap_destroy(struct heap *heap);

#endif
