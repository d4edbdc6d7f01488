/* SPDX-License-Identifier: MIT
 *
 * block.h - the bytes behind a buffer, and the prefix that leads back to it
 *
 * A block is `pad` bytes of padding and prefix, then `cap` bytes for the caller:
 *
 *     block                           data = block + pad           (and HEAP_REDZONE bytes, with that debug mode)
 *     | padding ... | desc | check |  cap bytes ...                pad = max(alignment, 16)
 *
 * The prefix leads from data back to the handle; its check tells that nobody wrote over it. Small blocks lie in slabs,
 * larger ones have a mapping of their own, and with allocator hooks every block comes from there.
 *
 * Any thread may call these at any time, on any block that it owns, except where it says otherwise.
 */
#ifndef BUFFERPOOL_BLOCK_H
#define BUFFERPOOL_BLOCK_H

#include "heap/heap.h"

struct block {
    unsigned char *data;
    size_t cap;
    struct slab *slab; /* NULL: mapped by itself, or from the hook */
    bool brief;        /* that of a bypass buffer; false if from the hook */
};

#define BRIEF ((uintptr_t)1) /* in the descriptor's pointer to the slab: so its owner can tell without the lock */

static inline struct block block_of(const struct desc *d)
{
    uintptr_t slab = (uintptr_t)d->slab;
    return (struct block){d->pub.data, d->pub.cap, (struct slab *)(slab & ~BRIEF), (slab & BRIEF) != 0};
}

static inline void block_attach(struct desc *d, const struct block *block)
{
    d->pub.data = block->data;
    d->pub.cap = block->cap;
    d->slab = (struct slab *)((uintptr_t)block->slab | (block->brief ? BRIEF : 0));
}

/* ---- size ---- */

/* Whether blocks of that cap lie in slabs, and then in which. The slot may be larger than the block. */
bool block_class(struct heap *heap, size_t cap, struct slab_request *request);

/* The cap that a block for n bytes gets, other than the first block of a buffer: a power of two, or above 128 KiB whole
 * pages, and the prefix on top of them. So doubling meets round figures, such as max_capacity, exactly. */
size_t block_grown_cap(const struct heap *heap, size_t n);

/* What a block that lies in no slab has mapped. */
size_t block_mapped_bytes(const struct heap *heap, size_t cap);

/* ---- prefix ---- */

void block_write_prefix(struct desc *d, unsigned char *data);

/* The descriptor that the prefix in front of data names, if its check holds; else NULL. */
struct desc *block_desc_of_data(const void *data);

/* Whether the descriptor's block is as the library made it. */
bool block_intact(const struct heap *heap, const struct desc *d);

/* ---- where it comes from, and goes ---- */

/* A slot for a block, the lock held. */
bool block_take(struct heap *heap, struct slab_request *request, struct block *block);

/* A block of the cap and the kind that `block` says, in a mapping that was kept. */
bool block_take_retained(struct heap *heap, struct block *block);

/* The same, from the hook or in a new mapping. */
bool block_make_large(struct heap *heap, struct block *block);

/* Frees a block that lies in no slab, and that no descriptor has any more. */
void block_free_large(struct heap *heap, const struct block *block, bool defer);

/* ---- whose it is, for AddressSanitizer and memcheck (sanitizer.h) ---- */

/* The block is a caller's from now on: `defined` if its bytes are known; and it is nobody's again, as it is when
 * heap_alloc returns it and when heap_free gets it. To be called if sanitizer_on(). */
void block_show(const struct heap *heap, const struct desc *d, bool defined);
void block_hide(const struct heap *heap, const struct desc *d);

/* The word of a buffer that goes to a caller; else as block_show. */
void block_set_held(const struct heap *heap, struct desc *d, uintptr_t word, bool defined);

/* Between these two the library may touch what is behind the block's cap, and if it is not `held` all of it. */
void block_open(const struct heap *heap, const struct desc *d, bool held);
void block_close(const struct heap *heap, const struct desc *d, bool held);

#endif
