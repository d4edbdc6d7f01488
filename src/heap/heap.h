/* SPDX-License-Identifier: MIT
 *
 * heap.h - the heap of one pool: where descriptors and blocks come from and go back to
 *
 * Any thread may call these functions at any time, on any descriptor that it owns, unless a comment says otherwise.
 */
#ifndef BUFFERPOOL_HEAP_H
#define BUFFERPOOL_HEAP_H

#include "heap/account.h"
#include "heap/desc.h"
#include "types.h"

#define HEAP_ALIGNMENT_MIN ((size_t)16)

/* The largest cap that can be asked for. It leaves room for the prefix and for rounding up to huge pages. */
#define HEAP_CAP_MAX ((size_t)PTRDIFF_MAX - ((size_t)8 << 20))

/* What a block of that cap takes of the pool's budget. */
size_t heap_bytes(struct heap *heap, size_t cap);

/* Reserves bytes of the budget for heap_alloc. Returns false if the budget is used up; true if there is none. */
static inline bool heap_reserve(struct heap *heap)
{
    return likely(heap->slabs.budget == NULL) || account_reserve(heap->slabs.budget, heap_bytes(heap, heap->base));
}

/* Instead of heap_alloc. */
static inline void heap_unreserve(struct heap *heap)
{
    if (unlikely(heap->slabs.budget != NULL))
        account_return(heap->slabs.budget, heap_bytes(heap, heap->base));
}

/* Returns a descriptor in state FREE (its word says so, or is 0) with a block of exactly `base` bytes, after
 * heap_reserve. Returns NULL if there is no memory; then nothing is reserved any longer. */
struct desc *heap_alloc(struct heap *heap);

/* Frees the block, which must be intact, and the descriptor, whose word must say FREE. With `defer` the memory may stay
 * resident until heap_purge. Otherwise as much free memory may stay as purge.c says. `spare`: what callers hold beyond
 * the cap, this block included. So many bytes may stay, if that is more than 1 MiB: such buffers are soon freed, and
 * the next ones soon wanted. */
void heap_free(struct heap *heap, struct desc *d, bool defer, size_t spare);

/* Replaces a held block by one of at least `need` bytes, and more if there is memory for it, and the budget has room,
 * which heap->make_room may make. The first `keep` bytes stay. Returns 0; ENOMEM or EOVERFLOW, and then nothing
 * changed. The block must be intact. `spare`: what callers hold beyond the cap. */
int heap_grow(struct heap *heap, struct desc *d, size_t need, size_t keep, size_t spare);

/* Replaces a held block by one of exactly `cap` bytes: the base, or what block_grown_cap returns, less than the block
 * has. The first `keep` bytes stay. Returns false if there is no memory; then nothing changed. The block must be
 * intact. `spare`: as for heap_grow. */
bool heap_cut(struct heap *heap, struct desc *d, size_t cap, size_t keep, size_t spare);

/* Replaces an idle block by one of exactly `cap` bytes: the base, or a power of two above it that is less than the
 * block has. Its bytes are unspecified. Returns false if there is no memory; then nothing changed. The block must be
 * intact. `spare`: as for heap_grow. */
bool heap_shrink(struct heap *heap, struct desc *d, size_t cap, size_t spare);

/* Free memory is retained for as long as callers held as much within the last retain_ms. 0: it is not. To be called
 * before the heap is used, or with 0. */
void heap_retain(struct heap *heap, unsigned retain_ms);

/* After idle blocks of so many bytes were freed with `defer`: gives back as much, if more is free than may be. Callers
 * last held the blocks at most age_ms ago. */
void heap_settle(struct heap *heap, size_t bytes, uint64_t age_ms, size_t spare);

/* After `spare` fell while a call had memory in its hands: gives back what is more than may be free. */
void heap_lower(struct heap *heap, size_t spare);

/* Gives memory back that was retained for long enough. Returns when there is more to give back, on the coarse monotonic
 * clock; HEAP_NEVER: nothing is retained by time, and heap->wake is called when something is. */
#define HEAP_NEVER UINT64_MAX
uint64_t heap_ebb(struct heap *heap, size_t spare);

/* Gives the memory behind all free blocks back to the system, in steps of a few MiB. Returns how many bytes the system
 * refused to take. */
size_t heap_purge(struct heap *heap);

/* Gives back free memory that is retained, until so many bytes went or there is no more. Returns how many did. */
size_t heap_give_up(struct heap *heap, size_t bytes);
/* Returns the bytes of free memory that stay for new blocks. Takes no lock. */
size_t heap_retained_bytes(const struct heap *heap);

/* Returns the bytes of all mappings for blocks, taken and free ones; 0 with hooks. Takes no lock. */
size_t heap_mapped_bytes(const struct heap *heap);

/* The lock guards slabs, the table of descriptors, and retained mappings. */
void heap_lock(struct heap *heap);
void heap_unlock(struct heap *heap);

/* Overwrites any memory with zeros. The compiler cannot leave this out. */
void heap_wipe(void *memory, size_t n);

/* The same for a block of the heap. Pages of it that nobody has written stay without memory. */
void heap_wipe_block(const struct heap *heap, void *data, size_t n);

/* In the child of fork, when nobody else uses the heap: rebuilds what depends on the words of the descriptors, so that
 * it does not matter what threads of the parent were doing. Slabs, free descriptors and retained mappings are as the
 * lock, which was held across fork, left them. */
void heap_repair(struct heap *heap);

/* Frees every block, used or not, and clears the table. Nobody else uses the heap any more. */
void heap_destroy(struct heap *heap);

#endif
