/* SPDX-License-Identifier: MIT
 *
 * block.h - the bytes behind a buffer, and the prefix that leads back to it
 *
 * A block is `pad` bytes of padding and prefix, then `cap` bytes for the caller:
 *
 *     block                           data = block + pad           (and HEAP_REDZONE bytes, with that debug mode)
 *     | padding ... | desc | check |  cap bytes ...                pad = max(alignment, 16)
 *
 * The prefix leads from data back to the handle. Its check tells whether somebody wrote over it. Small blocks lie in
 * slabs (slab.h). Larger blocks have a mapping of their own, and with allocator hooks every block is a hook's
 * (large.h).
 *
 * Any thread may call these functions at any time, on any block that it owns.
 */
#ifndef BUFFERPOOL_BLOCK_H
#define BUFFERPOOL_BLOCK_H

#include "debug/sanitizer.h"
#include "heap/desc.h"
#include "heap/slab.h"

#include <string.h>

/* Bytes behind cap that are nobody's, with MODE_REDZONE. */
#define HEAP_REDZONE ((size_t)64)

struct block {
    unsigned char *data;
    size_t cap;
    struct slab *slab; /* NULL: a mapping of its own, or a hook's */
};

static inline struct block block_of(const struct desc *d)
{
    return (struct block){d->pub.data, d->pub.cap, d->slab};
}

static inline void block_attach(struct desc *d, const struct block *block)
{
    desc_set_block(d, block->data, block->cap);
    d->slab = block->slab;
}

/* ---- size ---- */

/* Returns whether blocks of that cap lie in slabs, and if so sets the class and the stride of the request. The slot may
 * be larger than the block. */
bool block_class(struct heap *heap, size_t cap, struct slab_request *request);

/* The cap that a grown block for n bytes gets: a power of two, or above 128 KiB a multiple of the page. The prefix is
 * on top of it. So doubling meets round figures, such as max_capacity, exactly. */
size_t block_grown_cap(const struct heap *heap, size_t n);

/* The bytes of a block of that cap: the prefix, cap, and what the debug modes add. */
size_t block_bytes(const struct heap *heap, size_t cap);

/* The bytes of the mapping of such a block, where it lies in no slab. */
size_t block_mapped_bytes(const struct heap *heap, size_t cap);

/* The largest power of two below cap that blocks with a mapping of their own have; 0 if there is none. */
size_t block_next_smaller(size_t cap);

/* ---- prefix ---- */

struct prefix {
    struct desc *desc;
    uintptr_t check;
};

static inline uintptr_t prefix_check(const struct desc *d, const unsigned char *data)
{
    return ~(uintptr_t)d ^ ((uintptr_t)data << 7) ^ (uintptr_t)0x5bd1e995u;
}

void block_write_prefix(struct desc *d, unsigned char *data);

/* Erases the prefix of a block that goes back to a hook. The memory may still be read by way of a stale pointer to
 * data, and by then the descriptor may be gone. */
void block_erase_prefix(unsigned char *data);

static inline struct prefix block_prefix(const void *data)
{
    struct prefix prefix;
    memcpy(&prefix, (const unsigned char *)data - sizeof(prefix), sizeof(prefix)); /* data may be anywhere */
    return prefix;
}

/* block_desc_of_data, where AddressSanitizer or memcheck guards the prefix. */
struct desc *block_desc_of_data_watched(const unsigned char *data);

/* Returns the descriptor that the prefix in front of data names, or NULL if the prefix's check fails. The prefix can be
 * read. */
static inline struct desc *block_desc_of_data(const void *data)
{
    if (sanitizer_on())
        return block_desc_of_data_watched(data);
    const struct prefix prefix = block_prefix(data);
    return prefix.check == prefix_check(prefix.desc, data) ? prefix.desc : NULL;
}

/* Whether the descriptor's block is as the library made it. */
bool block_intact(const struct heap *heap, const struct desc *d);

/* ---- whose it is, for AddressSanitizer and memcheck (sanitizer.h) ---- */

/* block_show: the block is a caller's from now on. `defined`: its bytes are known.
 * block_hide: the block is nobody's again, as it is when heap_alloc returns it and when heap_free gets it.
 * To be called if sanitizer_on(). */
void block_show(const struct heap *heap, const struct desc *d, bool defined);
void block_hide(const struct heap *heap, const struct desc *d);

/* Sets the word of a buffer that goes to a caller, and shows its block. */
void block_set_held(const struct heap *heap, struct desc *d, uintptr_t word, bool defined);

/* Between these two calls the library may touch the bytes behind the block's cap. If the block is not `held`, it may
 * touch the bytes of the block too. */
void block_open(const struct heap *heap, const struct desc *d, bool held);
void block_close(const struct heap *heap, const struct desc *d, bool held);

#endif
