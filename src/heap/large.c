/* SPDX-License-Identifier: MIT
 *
 * large.c - blocks that lie in no slab: a mapping of their own, or memory of the caller's hook
 */
#include "heap/large.h"

#include "debug/sanitizer.h"
#include "heap/account.h"

#include <string.h>

size_t large_bytes(const struct heap *heap, size_t cap)
{
    return heap->alloc != NULL ? block_bytes(heap, cap) : block_mapped_bytes(heap, cap);
}

/* Sets block->data, which follows from the memory. Returns false if the memory is NULL. */
static bool block_at(const struct heap *heap, unsigned char *memory, struct block *block)
{
    block->data = memory != NULL ? memory + heap->alignment : NULL;
    return memory != NULL;
}

/* ---- retained mappings ---- */

static size_t bytes_of(const struct os_range *mapping)
{
    return (size_t)(mapping->to - mapping->from);
}

static void remove_from(struct retained *retained, unsigned first, unsigned n)
{
    for (unsigned i = first; i < first + n; i++)
        bump_relaxed(&retained->bytes, -bytes_of(&retained->mapping[i]));
    retained->n -= n;
    memmove(&retained->mapping[first], &retained->mapping[first + n],
            (retained->n - first) * sizeof(retained->mapping[0]));
    memmove(&retained->tail[first], &retained->tail[first + n], (retained->n - first) * sizeof(retained->tail[0]));
}

/* Takes so many bytes from the beginning of a mapping, which has no fewer. The rest stays. */
static unsigned char *take_beginning(struct retained *retained, unsigned i, size_t bytes)
{
    unsigned char *from = retained->mapping[i].from;
    if (bytes_of(&retained->mapping[i]) == bytes) {
        remove_from(retained, i, 1);
    } else {
        retained->mapping[i].from += bytes;
        retained->tail[i] = true;
        bump_relaxed(&retained->bytes, -bytes);
    }
    return from;
}

bool large_take_retained(struct heap *heap, struct block *block)
{
    struct retained *retained = &heap->slabs.retained;
    const size_t bytes = block_mapped_bytes(heap, block->cap);
    size_t least = SIZE_MAX;
    unsigned best = 0;
    for (unsigned i = retained->n; i-- > 0;) {
        const size_t has = bytes_of(&retained->mapping[i]);
        if (has >= bytes && has < least) {
            least = has;
            best = i;
        }
    }
    if (least == SIZE_MAX)
        return false;
    account_give(heap->slabs.budget, bytes); /* the block has reserved as many */
    return block_at(heap, take_beginning(retained, best, bytes), block);
}

bool large_extend(struct heap *heap, const struct desc *d, size_t cap)
{
    struct retained *retained = &heap->slabs.retained;
    const size_t old_bytes = block_mapped_bytes(heap, d->pub.cap), more = block_mapped_bytes(heap, cap) - old_bytes;
    const unsigned char *end = d->pub.data - heap->alignment + old_bytes;
    for (unsigned i = 0; i < retained->n; i++) {
        if (retained->mapping[i].from != end || bytes_of(&retained->mapping[i]) < more)
            continue;
        (void)take_beginning(retained, i, more);
        account_give(heap->slabs.budget, more); /* the growth has reserved as many */
        return true;
    }
    return false;
}

/* Puts the memory in front of the rest of the mapping that it was taken from. Returns false if that is not there. */
static bool join_tail(struct retained *retained, unsigned char *memory, size_t bytes)
{
    for (unsigned i = 0; i < retained->n; i++) {
        if (!retained->tail[i] || retained->mapping[i].from != memory + bytes)
            continue;
        retained->mapping[i].from = memory;
        bump_relaxed(&retained->bytes, bytes);
        return true;
    }
    return false;
}

size_t large_retain(struct heap *heap, const struct block *block, size_t room)
{
    struct retained *retained = &heap->slabs.retained;
    if (heap->alloc != NULL || retained->n == RETAINED_MAX)
        return 0;
    size_t bytes = block_mapped_bytes(heap, block->cap);
    /* no block smaller than the first block of a buffer is ever asked for */
    for (size_t cap = block->cap; bytes > room; bytes = block_mapped_bytes(heap, cap))
        if (block->cap == heap->base || (cap = block_next_smaller(cap)) == 0)
            return 0;
    unsigned char *memory = block->data - heap->alignment;
    if (join_tail(retained, memory, bytes))
        return bytes;
    retained->tail[retained->n] = false;
    retained->mapping[retained->n++] = (struct os_range){memory, memory + bytes};
    bump_relaxed(&retained->bytes, bytes);
    return bytes;
}

unsigned large_evict(struct slabs *slabs, size_t bytes, struct os_range taken[RETAINED_MAX])
{
    unsigned n = 0;
    for (size_t sum = 0; n < slabs->retained.n && sum < bytes; n++) {
        taken[n] = slabs->retained.mapping[n];
        sum += bytes_of(&taken[n]);
    }
    remove_from(&slabs->retained, 0, n);
    return n;
}

/* ---- made and freed ---- */

/* The block is nobody's until a caller gets it. */
static void hide(const struct heap *heap, const struct block *block)
{
    if (!sanitizer_on())
        return;
    if (heap->alloc != NULL)
        sanitizer_region(block->data, block->cap);
    else
        sanitizer_region(block->data - heap->alignment, block_mapped_bytes(heap, block->cap));
}

bool large_make(struct heap *heap, struct block *block)
{
    const size_t bytes = block_bytes(heap, block->cap);
    unsigned char *memory =
        heap->alloc != NULL ? heap->alloc(bytes, heap->alignment, heap->ctx) : os_map(bytes, heap->slabs.huge);
    if (!block_at(heap, memory, block))
        return false;
    if (heap->alloc == NULL)
        add_relaxed(&heap->slabs.large_bytes, os_mapped(bytes, heap->slabs.huge));
    hide(heap, block);
    return true;
}

void large_unmap(struct heap *heap, unsigned char *from, size_t bytes)
{
    os_unmap(from, bytes);
    sub_relaxed(&heap->slabs.large_bytes, bytes);
}

void large_free(struct heap *heap, const struct block *block, size_t retained)
{
    unsigned char *memory = block->data - heap->alignment;
    if (heap->alloc != NULL) {
        block_erase_prefix(block->data);
        if (sanitizer_on())
            sanitizer_forget(block->data, block->cap, true);
        heap->free(memory, block_bytes(heap, block->cap), heap->ctx);
        account_return(heap->slabs.budget, block_bytes(heap, block->cap));
        return;
    }
    const size_t bytes = block_mapped_bytes(heap, block->cap);
    if (retained < bytes)
        large_unmap(heap, memory + retained, bytes - retained);
    account_end_block(heap->slabs.budget, bytes);
    account_give(heap->slabs.budget, bytes - retained);
}

unsigned char *large_grow(struct heap *heap, const struct desc *d, size_t cap)
{
    const size_t old_bytes = block_mapped_bytes(heap, d->pub.cap), bytes = block_mapped_bytes(heap, cap);
    unsigned char *memory = d->pub.data - heap->alignment;
    /* before it moves, since another thread may map memory at the old address at once */
    if (SANITIZER_ASAN)
        sanitizer_forget(memory, old_bytes, false);
    // NOLINTNEXTLINE(readability-suspicious-call-argument): from the old size to the new one
    unsigned char *grown = os_grow(memory, old_bytes, bytes);
    if (grown != NULL)
        add_relaxed(&heap->slabs.large_bytes, bytes - old_bytes);
    if (SANITIZER_ASAN) {
        unsigned char *now = grown != NULL ? grown : memory;
        sanitizer_region(now, grown != NULL ? bytes : old_bytes);
        sanitizer_show(now + heap->alignment, grown != NULL ? cap : d->pub.cap, true);
    }
    return grown;
}
